"""Tests for many model families: training, serving, export and evaluation use the same prompt, and generation stops at
the end of the turn."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import jinja2
import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from schemas.errors import PairsmithError
from synth.chat_template import Chat
from tests.train import families
from tests.train.families import FAMILIES, Family, make, tokenizer_of
from tests.train.tiny import row, settings
from train.adapter import new_adapter
from train.base_models import check as base_check
from train.base_models.base_model import Base, hash_model, load_chat, read_config
from train.dataset import Dataset
from train.mask import IGNORED, assert_completion_only, tokenise
from train.quiet import quiet
from train.sft import tune

ANSWERS = (
    "a fox in snow --ar 3:2",
    "Grüße, 日本語 🙂",
    "  indented\n\n- list\n",
    '"quoted" <|im_end|> and </s>',
    "</think>x",
)
ASKED = [{"role": "system", "content": "Rewrite it."}, {"role": "user", "content": "a fox"}]
CONVERSATIONS = (
    [{"role": "user", "content": "a fox"}],
    [*ASKED, {"role": "assistant", "content": "a red fox"}, {"role": "user", "content": "and two crabs"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": "a fox\n"}],
    [{"role": "system", "content": "„ß“ 日本語 🙂"}, {"role": "user", "content": '\n\n{{ 7 * 7 }} It\'s e\u0301 "狐"'}],
)
ARCHITECTURES = list({family.architecture: family for family in FAMILIES}.values())

by_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
by_architecture = pytest.mark.parametrize("family", ARCHITECTURES, ids=lambda family: family.architecture)


@pytest.fixture(autouse=True)
def _has_its_template(request: pytest.FixtureRequest) -> None:
    if "family" in request.fixturenames and request.getfixturevalue("family").text is None:
        pytest.skip("the installed trl does not ship this template")


@by_family
def test_the_loss_covers_the_answer_and_the_end_of_its_turn(family: Family) -> None:
    """Whatever the answer contains, the tokens with loss are the answer and the family's turn end, after exactly the
    prompt that evaluation uses."""
    chat = Chat(tokenizer_of(family))
    assert chat.turn.end == family.turn_end
    for text in ANSWERS:
        one = row("pair", "a fox <|im_end|> </s>", text)
        ids, labels = tokenise(chat, one)
        prompt = chat.prompt_ids(one["prompt"])
        assert ids[: len(prompt)] == prompt
        assert assert_completion_only(chat, one, ids, labels) == len(ids) - len(prompt)
        assert labels[: len(prompt)] == [IGNORED] * len(prompt)
        # A text that spells the end token does not end the turn: only the turn's own end is the special token.
        assert ids[len(prompt) :].count(chat.turn.end_token) == 1


@by_family
def test_the_exported_template_renders_the_same_prompt(family: Family, tmp_path: Path) -> None:
    """A server that loads the saved tokenizer, passes no arguments and runs on another day renders the prompt of
    training. Normalising the template again changes nothing; it contains the system message and does not start
    reasoning."""
    from transformers import AutoTokenizer

    chat = Chat(tokenizer_of(family))
    chat.tokenizer.save_pretrained(tmp_path)
    served: Any = AutoTokenizer.from_pretrained(tmp_path)
    today = {"strftime_now": lambda form: "tomorrow", "date_string": "tomorrow"}
    text = chat.prompt(ASKED)
    for messages in (ASKED, *CONVERSATIONS):
        asked = served.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert asked == chat.prompt(messages)
        assert all(message["content"].strip() in asked for message in messages)
    if "date_string is defined" not in str(family.text):
        assert served.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True, **today) == text
    assert Chat(served).tokenizer.chat_template == chat.tokenizer.chat_template
    assert "Rewrite it." in text
    assert "tomorrow" not in text
    assert not text.rstrip().endswith("<think>")
    assert not re.search(r"\{%-?\s*(end)?generation\s", str(served.chat_template))
    bos = chat.tokenizer.bos_token
    assert bos is None or text.count(bos) <= 1


def test_thinking_is_set_by_the_spec() -> None:
    """`train.template_arguments` decide: a template with a thinking mode has it off unless the spec says otherwise, and
    one that then opens a reasoning block is refused before anything is paid for."""
    qwen = next(family for family in FAMILIES if family.name == "Qwen3")
    off, on = Chat(tokenizer_of(qwen)), Chat(tokenizer_of(qwen), {"enable_thinking": True})
    assert off.prompt(ASKED).endswith("<think>\n\n</think>\n\n")
    assert on.prompt(ASKED).endswith("assistant\n")
    small = next(family for family in FAMILIES if family.name == "Qwen3.5 small")
    with pytest.raises(PairsmithError, match="opens <think>"):
        Chat(tokenizer_of(small), {"enable_thinking": True})


@pytest.mark.parametrize("opened", ["<think>\n", ""])
@pytest.mark.parametrize("strip", [".strip()", ""])
def test_thinking_that_a_word_of_the_messages_switches_is_off(opened: str, strip: str) -> None:
    """Nemotron's templates think unless a system message contains `/no_think`, and again if a question contains
    `/think`; they take both out, have no argument for it, and some do not even open a block, so the base would think
    within its answer. The settled template switches it off, with a system message or without one, whatever the messages
    say, keeps their words, and settling it again changes nothing."""
    tokenizer = tokenizer_of(FAMILIES[0])
    tokenizer.chat_template = (
        (
            "{%- set ns = namespace(on=true) %}{%- for m in messages if m.role != 'assistant' %}"
            "{%- if '/think' in m.content %}{% set ns.on = true %}"
            "{%- elif '/no_think' in m.content %}{% set ns.on = false %}{% endif %}{% endfor %}"
            "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
            "{{- m.content.replace('/think', '').replace('/no_think', '')STRIP + '<|im_end|>\n' }}{% endfor %}"
            "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
            "{{- 'OPENED' if ns.on else '<think></think>' }}{% endif %}\n"
        )
        .replace("STRIP", strip)
        .replace("OPENED", opened.replace("\n", "\\n"))
    )
    chat = Chat(tokenizer)
    settled = tokenizer.chat_template
    for text in ("a fox", "/no_think: https://foxes.example/thinkpads"):
        question = {"role": "user", "content": text}
        for messages in ([ASKED[0], question], [question]):
            prompt = chat.prompt(messages)
            assert prompt.endswith(f"{text}<|im_end|>\n<|im_start|>assistant\n<think></think>")
            assert prompt.count("think") == text.count("think") + 2
    assert chat.prompt(ASKED).startswith("<|im_start|>system\nRewrite it.")
    assert Chat(tokenizer).tokenizer.chat_template == settled


@pytest.mark.parametrize(
    ("argument", "off", "on"),
    [("thinking", "not thinking", True), ("thinking_budget", "thinking_budget == 0", 512)],
)
def test_thinking_that_another_argument_switches_is_off(argument: str, off: str, on: object) -> None:
    """Kimi has `thinking`, Seed-OSS `thinking_budget`. Where they change nothing the template is kept, and the spec may
    set them, or switch thinking on by another argument of the template."""
    block = f"{{{{ '<think></think>' if {argument} is defined and {off} else '' }}}}{{% endif %}}"
    template = _TURNS.replace("HEAD", "''") + _ASKING.replace("{% endif %}", block)
    tokenizer = tokenizer_of(FAMILIES[0])
    tokenizer.chat_template = template
    assert Chat(tokenizer).prompt(ASKED).endswith("<think></think>")
    settled = tokenizer.chat_template
    assert Chat(tokenizer).tokenizer.chat_template == settled
    for other in ({"zeta": 1}, {"a": 1, "prompt": "x"}):  # before and after it, and a name that is one of ours
        tokenizer.chat_template = template
        settled = Chat(tokenizer, other).tokenizer.chat_template
        assert Chat(tokenizer, other).tokenizer.chat_template == settled
        assert Chat(tokenizer).prompt(ASKED).endswith("<think></think>")
    for arguments in ({argument: on}, {"enable_thinking": True}):
        tokenizer.chat_template = template
        assert Chat(tokenizer, arguments).prompt(ASKED).endswith("assistant\n")
    tokenizer.chat_template = unused = template.replace(off, "false")
    assert Chat(tokenizer).tokenizer.chat_template == unused


def test_a_template_that_only_takes_the_word_out_is_kept() -> None:
    """It thinks in neither case, so there is nothing to switch off."""
    tokenizer = tokenizer_of(FAMILIES[0])
    turns = _TURNS.replace("HEAD + m.content", "m.content.replace('/no_think', '')")
    tokenizer.chat_template = turns + _ASKING
    assert Chat(tokenizer).tokenizer.chat_template == turns + _ASKING


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (None, "no single chat template"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "no end token"),
        ("{{ raise_exception('no') }}", "cannot render the conversation: no$"),
        ("{% if %}", "cannot render the conversation"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[0].content + 1 }}", "cannot render the conversation"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "drops or changes the text of a message"),
        (
            "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
            "drops or changes",
        ),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content.split('\n\n')[-1] }}{% endfor %}",
            "drops the system message",
        ),
    ],
)
def test_an_unusable_template_is_a_clear_error(template: str | None, what: str) -> None:
    """No template, one without an end, one that refuses everything, invalid Jinja, two that raise Python errors, one
    that alters every message, and one that wants a list of parts, as for images (both were said to drop the system
    message only): each error says what is wrong, without a traceback."""
    tokenizer = tokenizer_of(FAMILIES[0])
    tokenizer.chat_template = template
    with pytest.raises(PairsmithError) as refused:
        Chat(tokenizer)
    assert re.search(what, refused.value.what.removesuffix("."))


_TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + HEAD + m.content + '<|im_end|>\n' }}{% endfor %}"
_THINKING = "('<think>\n\n</think>\n\n' if m.role == 'assistant' else '')"
_ASKING = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "ending"),
    [
        (_TURNS.replace("HEAD", "''"), "<|im_start|>assistant\n"),
        (_TURNS.replace("HEAD", "''") + "\n", "<|im_start|>assistant\n"),
        ("{{ '' if messages[0].role == 'user' else raise_exception('no') }}" + _TURNS.replace("HEAD", "''"), "tant\n"),
        (_TURNS.replace("HEAD", _THINKING) + _ASKING, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ("{% for m in messages %}{{ m.role + ': ' + m.content + '</s>' }}{% endfor %}", "</s>assistant:"),
    ],
)
def test_the_prompt_ends_where_the_answer_starts(template: str, ending: str) -> None:
    """With a template that ignores `add_generation_prompt` the base had to open its own turn, which only the tuned
    model learned to do. With one that puts an empty thinking block before an answer, the prompt includes the block."""
    tokenizer = tokenizer_of(FAMILIES[0])
    tokenizer.chat_template = template
    chat = Chat(tokenizer)
    prompt, settled = chat.prompt(ASKED), tokenizer.chat_template
    assert prompt.endswith(ending)
    assert "Rewrite it." in prompt
    whole = tokenizer.apply_chat_template([*ASKED, {"role": "assistant", "content": "red"}], tokenize=False)
    assert whole == f"{prompt}{chat.turn.lead}red{chat.turn.end}"
    assert Chat(tokenizer).tokenizer.chat_template == settled


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<seed:think>", "</seed:think>"), ("<thought>", "</thought>"), ("<seed:reflect>", "</seed:reflect>"),
        ("Here are my reasoning steps:", "\n[BEGIN FINAL RESPONSE]"), ("Thoughts\nFirst", "\n</thoughts>"),
    ],
)  # fmt: skip
def test_an_opened_thinking_block_is_refused_whatever_its_tag(opened: str, closed: str) -> None:
    """The answer would be taken for thinking, also where plain words open it; a block that is closed again is fine."""
    tokenizer = tokenizer_of(FAMILIES[0])
    turns = _TURNS.replace("HEAD", "''")
    tokenizer.chat_template = turns + _ASKING.replace(" }}{% endif", f" + '{opened}' }}}}{{% endif")
    with pytest.raises(PairsmithError, match=re.escape(f"opens {opened.splitlines()[-1]} before the answer")):
        Chat(tokenizer)
    tokenizer.chat_template = turns + _ASKING.replace(" }}{% endif", f" + '{opened}{closed}' }}}}{{% endif")
    assert Chat(tokenizer).prompt(ASKED).endswith(f"{opened}{closed}")


def test_a_block_that_stays_open_without_a_budget_is_closed() -> None:
    """A look-alike of Seed-OSS, whose weights we have not run: without a budget its prompt ends within the reasoning
    block, which the model closes itself. It used to be refused. Without a known end it still is."""
    tokenizer = tokenizer_of(FAMILIES[0])
    opened = "{% if thinking_budget == 0 %}<seed:think><seed:reflect>{% endif %}"
    ends = "{# </seed:reflect> </seed:think> #}"
    written = _TURNS.replace("HEAD", "''") + _ASKING.removesuffix("{% endif %}") + opened + "{% endif %}"
    tokenizer.chat_template = (
        "{% if not thinking_budget is defined %}{% set thinking_budget = -1 %}{% endif %}" + written
    )
    with pytest.raises(PairsmithError, match="opens <seed:reflect> before the answer"):
        Chat(tokenizer)
    tokenizer.chat_template = ends + written
    chat = Chat(tokenizer)
    assert chat.prompt(ASKED).endswith("<seed:think><seed:reflect></seed:reflect></seed:think>")
    settled = chat.tokenizer.chat_template
    assert Chat(chat.tokenizer).tokenizer.chat_template == settled


@by_family
def test_a_greeting_before_the_first_question_is_kept(family: Family) -> None:
    """Many support chats begin with the agent. Templates that demand that the sides alternate refused all of them, once
    training had begun; none of the three turns may be lost, and settling the template again changes nothing."""
    chat = Chat(tokenizer_of(family))
    settled = chat.tokenizer.chat_template
    prompt = chat.prompt([ASKED[0], {"role": "assistant", "content": "Good day!"}, ASKED[1]])
    assert "Rewrite it." in prompt  # some templates write it before the last question
    assert -1 < prompt.find("Good day!") < prompt.find(ASKED[1]["content"])
    assert Chat(chat.tokenizer).tokenizer.chat_template == settled


def test_a_greeting_is_kept_without_a_system_message_too() -> None:
    """Of a template that refuses it only there, every such chat without a system message was refused in training."""
    tokenizer = tokenizer_of(FAMILIES[0])
    refused = "{% if messages[0].role == 'assistant' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer.chat_template = refused + _TURNS.replace("HEAD", "''") + _ASKING
    prompt = Chat(tokenizer).prompt([{"role": "assistant", "content": "Good day!"}, ASKED[1]])
    assert -1 < prompt.find("Good day!") < prompt.find(ASKED[1]["content"])


def test_of_several_templates_the_default_is_used() -> None:
    """Hermes and Command R have one for tools too: transformers uses the default for a plain conversation, and so does
    the normalised template."""
    alone, several = tokenizer_of(FAMILIES[0]), tokenizer_of(FAMILIES[0])
    several.chat_template = {"tool_use": "{{ tools[0] }}", "default": alone.chat_template}
    assert Chat(several).prompt(ASKED) == Chat(alone).prompt(ASKED)
    assert several.chat_template == alone.chat_template


@pytest.mark.parametrize(
    "call",
    [
        "strftime_now(format='%H:%M:%S %f')", "strftime_now(fmt)", "strftime_now('%f')", "strftime_now('%S' ~ '%f')",
        "(strftime_now if strftime_now is defined else fmt.format)('%f')",
    ],
)  # fmt: skip
def test_the_date_in_a_template_is_fixed(call: str) -> None:
    """However a template asks for the date, it gets the same one at training and a year later, also from a server
    without a clock. A system message that it drops is kept, and normalising it twice, arguments included, changes
    nothing."""
    tokenizer = tokenizer_of(FAMILIES[0])
    plain = "".join(
        (
            "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n",
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        )
    )
    tokenizer.chat_template = "{% set fmt = '%S %f' %}{{ " + call + " }}" + plain
    chat = Chat(tokenizer, {"place": "Oslo"})
    once, text = chat.prompt(ASKED), tokenizer.chat_template
    time.sleep(0.001)
    assert Chat(tokenizer, {"place": "Oslo"}).prompt(ASKED) == once
    assert tokenizer.chat_template == text
    assert ASKED[0]["content"] in once
    clockless = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    assert clockless.render(messages=ASKED, add_generation_prompt=True) == once


@by_architecture
def test_an_architecture_is_trained_and_served(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model learns; the server computes the logits of a plain forward pass for prompt and answer, beyond the
    window of sliding attention and with a shared prefix, and stops where the turn ends, as the exported adapter does.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from synth.embedded.model import ChatModel

    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    folder = make(family, tmp_path / "base")
    base = Base(family.name, folder, hash_model(folder))
    dataset = Dataset("d", [row(f"p{i}", f"a fox {i}", f"snow {i}") for i in range(4)])
    result = tune(base, dataset, settings(epochs=4), tmp_path / "out")
    assert result.curve[-1].loss < result.curve[0].loss
    end = load_chat(base).turn.end_token
    assert end in GenerationConfig.from_pretrained(result.folder).eos_token_id
    with quiet():
        served = ChatModel(folder, {"tuned": Path(result.folder)}, torch.float32)
    assert end in served.end_tokens
    with torch.inference_mode(), quiet():
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        ids = torch.tensor([served.chat.prompt_ids(ASKED)] * 2)[:, -40:]
        rows = served.new_rows()
        rows.reserve(2, 64)
        half = ids.shape[1] // 2
        parts = [(0, half), (half, half + 1), (half + 1, ids.shape[1])]
        logits = torch.cat(
            [
                # Both rows are equal, so for the one new token everything before it can count as shared.
                served.forward(rows, 0, ids[:, a:b], torch.arange(a, b).expand(2, -1), every_logit=True, shared=a)
                for a, b in parts
            ],
            dim=1,
        )
        expected = plain(input_ids=ids, use_cache=False).logits
    assert float((logits - expected).norm() / expected.norm()) < 1e-3


_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
_LATENT["num_key_value_heads"] = 4


@pytest.mark.parametrize("architecture", ["olmo2", "mamba", "bloom", "recurrent_gemma", "minicpm3"])
def test_other_architectures_are_trained_and_served_as_announced(architecture: str, tmp_path: Path) -> None:
    """Families that the table does not name train too: in Mamba's, two layers cannot have an adapter, so the others get
    one. What `doctor` says about their cache is what the server then does. `train.targets` that peft refuses is a clear
    error. A tokenizer needs neither an end token (BLOOM's here) nor one for padding."""
    import torch

    from synth.embedded.model import ChatModel

    more = {"intermediate_size": 96, **(_LATENT if architecture == "minicpm3" else {})}
    eos = None if architecture == "bloom" else FAMILIES[0].eos
    family = FAMILIES[0]._replace(architecture=architecture, more=more, eos=eos)
    folder = make(family, tmp_path / "base")
    base = Base(architecture, folder, hash_model(folder))
    dataset = Dataset("d", [row(f"p{i}", f"a fox {i}", f"snow {i}") for i in range(4)])
    result = tune(base, dataset, settings(epochs=4), tmp_path / "out")
    assert result.curve[-1].loss < result.curve[0].loss
    with quiet():
        served = ChatModel(folder, {"tuned": Path(result.folder)}, torch.float32)
    announced = base_check._check_serving(read_config(folder))
    cached = served._layout is not None
    assert (announced.state, cached) == (("ok", True) if architecture == "olmo2" else ("warn", False))
    if architecture == "mamba":
        with pytest.raises(PairsmithError, match="incompatible with Mamba") as refused:
            tune(base, dataset, settings(targets=("out_proj",)), tmp_path / "out")
        assert refused.value.where == "train.targets"


def test_code_that_transformers_does_not_know_may_keep_anything() -> None:
    """`doctor` promises no cache for a model with code of its own."""
    assert base_check._check_serving({"model_type": "their_own"}).state == "warn"


def test_the_key_that_peft_refuses_is_named(tmp_path: Path) -> None:
    """DoRA cannot adapt experts that are one tensor. The fault is `train.dora`, even if no layers were chosen."""
    from transformers import AutoModelForCausalLM

    with quiet():
        base = AutoModelForCausalLM.from_pretrained(make(FAMILIES[0]._replace(architecture="mixtral"), tmp_path))
    with pytest.raises(PairsmithError, match="use_dora") as refused:
        new_adapter(base, settings(dora=True))
    assert refused.value.where == "train.dora"


_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
_TEXT = {**_SIZES, "vocab_size": 300, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
_VISION = {**_SIZES, "image_size": 28, "patch_size": 14}


@pytest.mark.parametrize(
    ("kind", "config", "layers", "of_images"),
    [
        (
            "gemma3",
            {
                "text_config": {**_TEXT, "layer_types": ["full_attention"]},
                "vision_config": {**_VISION, "vision_use_head": False},
                "mm_tokens_per_image": 4,
            },
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
            "fc1",
        ),
        (
            "phi4_multimodal",
            {
                **_TEXT,
                "vision_config": {**_VISION, "crop_size": 28, "feature_layer": -1},
                "audio_config": {**_SIZES, "num_blocks": 1, "nemo_conv_channels": 32, "input_size": 16},
            },
            {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
            "img_projection_up",
        ),
        (
            "mllama",
            {
                "text_config": {**_TEXT, "num_hidden_layers": 2, "cross_attention_layers": [1]},
                "vision_config": {"attention_heads": 4, "intermediate_layers_indices": [0]},
            },
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
            "fc1",
        ),
    ],
)
def test_only_the_text_part_of_a_model_that_reads_images_gets_an_adapter(
    kind: str, config: dict[str, Any], layers: set[str], of_images: str
) -> None:
    """Gemma's checkpoints from 4B on hold a vision tower, whose layers have the names of the text's: q_proj, fc1; Phi-4
    multimodal has one, and one for sound, within its decoder, and Llama 3.2 Vision has blocks there that only attend to
    images. They learn nothing from texts, so they get no adapter, chosen by name or not."""
    from transformers import AutoConfig, AutoModelForCausalLM

    def model() -> Any:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config))

    for targets in ((), ("o_proj",)):
        with quiet():
            adapted = new_adapter(model(), settings(targets=targets))
        trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
        assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == {*(targets or layers)}
        assert len(trained) == 2 * len(targets or layers)
        assert all(re.search(r"\.model\.(language_model\.)?layers\.0\.", name) for name in trained)
    with pytest.raises(PairsmithError, match=f"no linear layer named '{of_images}'"):
        new_adapter(model(), settings(targets=(of_images,)))


def test_generation_stops_where_the_turn_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma's turns end with <end_of_turn>, which is not its <eos>: a model that writes it has finished its answer."""
    import torch

    from synth.embedded.constrain import SchemaCompiler
    from synth.embedded.decoder import Decoder
    from synth.embedded.jobs import GenerationJob
    from synth.embedded.model import ChatModel
    from synth.embedded.sampling import TokenSampling

    gemma = next(family for family in FAMILIES if family.name == "Gemma 3")
    served = ChatModel(make(gemma, tmp_path), {}, torch.float32)
    end, letter = served.chat.turn.end_token, served.chat.plain_ids("o")[0]
    assert end != served.tokenizer.eos_token_id

    def forward(rows: Any, first: int, ids: Any, positions: Any, *, every_logit: bool = False, shared: int = 0) -> Any:
        logits = torch.zeros(*(ids.shape if every_logit else (len(ids), 1)), served.vocabulary)
        logits[..., end if int(ids[0, -1]) == letter else letter] = 9.0
        return logits

    monkeypatch.setattr(served, "forward", forward)
    compiler = SchemaCompiler(served.tokenizer, served.vocabulary, served.end_tokens)
    decoder = Decoder(served, {"gemma": None}, compiler.start, max_batch=4, kv_mib=64)
    job = GenerationJob(
        model="gemma", prompt=served.chat.prompt_ids(ASKED), sampling=TokenSampling(temperature=0), max_tokens=64, n=1,
        seed=1, stop=[], top_logprobs=None, grammar=None,
    )  # fmt: skip
    decoder.submit(job)
    (choice,) = job.future.result(timeout=600)
    decoder.close()
    assert (choice.finish_reason, choice.text) == ("stop", "o")


def test_the_table_in_the_docs_is_up_to_date() -> None:
    """docs/models.md shows for every family what is determined here from its template; `python -m tests.train.families`
    prints the table."""
    docs = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
    missing = [line for line in families.table() if line not in docs.splitlines()]
    assert not missing, "\n".join(missing)
