"""Tests of an export's instructions for running it elsewhere: the snippet runs, and every template renders the same
bytes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, GenerationConfig

from schemas.records import Sampling
from synth.chat_template import Chat
from synth.embedded.weights import embedded_weights
from tests.train.families import FAMILIES, Family, tokenizer_of
from tests.train.tiny import rows, settings
from train.base_models.base_model import Base
from train.dataset import Dataset
from train.export.model_card import model_card
from train.export.run_snippets import modelfile, ollama_template, snippet, vllm_command, write_generation_config
from train.results import TrainResult
from train.sft import tune

SAMPLED = Sampling(temperature=0.7, top_p=0.9, max_tokens=12)


@pytest.fixture(scope="module", params=["lora", "qlora"])
def tuned(request: pytest.FixtureRequest, tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    train_settings = settings(method=request.param, epochs=3)
    result = tune(tiny_base, Dataset("d", rows(4)), train_settings, tmp_path_factory.mktemp("adapters"))
    # Before an export adds the decoding, the snippet must not stop after transformers' 20 tokens either.
    assert GenerationConfig.from_pretrained(folder_of(result)).max_new_tokens == train_settings.max_length
    return result


def folder_of(tuned: TrainResult) -> Path:
    return Path(tuned.folder) / ("merged" if tuned.settings.method == "qlora" else "")


def test_the_snippet_of_the_card_runs(tiny_base: Base, tuned: TrainResult) -> None:
    """Copied from the card into a file, with the folder's path filled in, it prints an answer."""
    folder = folder_of(tuned)
    write_generation_config(folder, SAMPLED)
    (code,) = re.findall(r"```python\n(.*?)```", model_card(tuned, place=str(folder)), re.DOTALL)
    assert code == snippet(tuned, str(folder)) + "\n"
    code = code.replace(f'"{tiny_base.name}"', repr(str(tiny_base.folder)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_snippet_trusts_code_only_for_its_own_base(tuned: TrainResult) -> None:
    """An entry for another model is no reason to tell users to run code that they have not read."""
    for name in ("other", tuned.settings.base):
        changed = tuned.settings.model_copy(update={"trust_remote_code": (f"{name}@0",)})
        words = snippet(tuned := tuned.model_copy(update={"settings": changed})) + vllm_command(tuned)
        assert ("trust_remote_code" in words, "--trust-remote-code" in words) == (2 * (name != "other",))


def test_a_pinned_base_is_loaded_at_its_commit(tuned: TrainResult) -> None:
    """The adapter fits the commit that was fetched, or that `train.revision` names: the snippet and the vLLM command
    loaded the newest one. A merged model brings its own weights."""
    is_adapter = tuned.settings.method == "lora"
    pinned = tuned.model_copy(update={"settings": tuned.settings.model_copy(update={"revision": "v2.0"})})
    for trained, commit in ((pinned, "v2.0"), (pinned.model_copy(update={"base_commit": "abc123"}), "abc123")):
        assert (f'", revision="{commit}", dtype="auto")' in snippet(trained)) == is_adapter
        assert (f" --revision {commit} --enable-lora" in vllm_command(trained)) == is_adapter
    assert "revision" not in snippet(tuned) + vllm_command(tuned)


def test_the_generation_config_matches_the_evaluation(tuned: TrainResult) -> None:
    """It stops at the end of a turn and samples as in the evaluation: a setting that was off is written as off, where
    transformers would use top_k 50. Greedy decoding is do_sample for transformers and a temperature of zero for vLLM,
    which ignores do_sample; neither misreads the other's setting."""
    folder = folder_of(tuned)
    write_generation_config(folder, SAMPLED)
    config = json.loads((folder / "generation_config.json").read_text())
    assert (config["do_sample"], config["temperature"], config["top_p"], config["max_new_tokens"]) == (
        True,
        0.7,
        0.9,
        12,
    )
    assert config["top_k"] == 0
    assert config["eos_token_id"]
    # As it is loaded: transformers' default of 50 does not return.
    assert GenerationConfig.from_pretrained(folder).top_k == 0
    (folder / "generation_config.json").unlink()  # version 0.1 wrote none, and `export` failed on that
    write_generation_config(folder, SAMPLED)
    again = json.loads((folder / "generation_config.json").read_text())
    assert again == {name: value for name, value in config.items() if name in again}
    assert (again["top_p"], bool(again["eos_token_id"])) == (0.9, True)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2]}')
    write_generation_config(folder, Sampling(temperature=0))
    greedy = json.loads((folder / "generation_config.json").read_text())
    assert greedy == {"eos_token_id": [2], "do_sample": False, "temperature": 0.0}
    write_generation_config(folder, Sampling(temperature=0, repetition_penalty=1.1, no_repeat_ngram_size=3))
    aided = json.loads((folder / "generation_config.json").read_text())
    assert (aided["repetition_penalty"], aided["no_repeat_ngram_size"]) == (1.1, 3)


def test_the_vllm_command_has_the_template_of_training(tuned: TrainResult) -> None:
    """An adapter is served on its base with its own template and a rank that vLLM supports; a merged model by
    itself."""
    command = vllm_command(tuned, "FOLDER")
    if tuned.settings.method == "qlora":
        assert command == "vllm serve FOLDER --served-model-name tuned"
    else:
        assert "--lora-modules tuned=FOLDER" in command
        assert "--max-lora-rank 8 " in command
        assert "--chat-template FOLDER/chat_template.jinja" in command


def test_no_vllm_command_for_a_dora_adapter(tuned: TrainResult) -> None:
    """vLLM cannot load a DoRA adapter, but serves it merged."""
    settings = tuned.settings.model_copy(update={"dora": True})
    card = model_card(tuned.model_copy(update={"settings": settings}), place="THIS_FOLDER")
    assert ("$ vllm serve" in card) == (tuned.settings.method == "qlora")
    assert ("vLLM cannot load DoRA adapters" in card) == (tuned.settings.method == "lora")


@pytest.mark.parametrize("adds_begin", [True, False], ids=["adds", "bare"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_ollamas_template_renders_the_familys_prompt(family: Family, adds_begin: bool) -> None:
    """Rendered as by Ollama, with and without a system message and with one or several questions, it gives the prompt
    of training, except for the begin-of-text token where llama.cpp adds one, which it does for a tokenizer that does.
    So it does with a greeting before the first question."""
    if family.text is None:
        pytest.skip("the installed trl does not ship this template")
    tokenizer = tokenizer_of(family)
    if adds_begin and family.bos:
        begin = (family.bos, tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{family.bos} $A", None, [begin])
    chat = Chat(tokenizer)
    template = ollama_template(chat)
    turns = [("user", "two boats"), ("assistant", "an answer"), ("user", "a fox"), ("assistant", "b"), ("user", "c")]
    for system, length in product(("Rewrite it.", ""), (1, 3, 5)):
        first = [{"role": "system", "content": system}] if system else []
        asked = [{"role": role, "content": text} for role, text in turns[:length]]
        for greeting in ([], [{"role": "assistant", "content": "good day"}]):
            prompt = chat.prompt([*first, *greeting, *asked]) + chat.turn.lead
            expected = prompt.removeprefix(family.bos or "" if adds_begin else "")
            assert render(template, [*first, *greeting, *asked]) == expected, (system, length, greeting)


@pytest.mark.parametrize("taken", ["(messages if messages | length < 4 else raise_exception(''))", "messages[-2:]"])
def test_a_single_turn_template_is_repeated_for_each_question(taken: str) -> None:
    """A template that refuses a conversation or drops its beginning can be exported; every question has the prompt of
    training, after the end of the previous turn."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_weights().folder)
    turn = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    lead = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    tokenizer.chat_template = f"{{% for m in {taken} %}}{turn}{{% endfor %}}{lead}"
    chat = Chat(tokenizer)
    asked = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    each = [chat.prompt([question]) for question in asked[::2]]
    assert render(ollama_template(chat), asked) == f"{each[0]}b{chat.turn.end}{each[1]}"


def test_a_begin_token_that_llama_cpp_does_not_add_stays_in_the_template() -> None:
    """SmolLM2's is the one that begins every turn: without it the first turn, a question or a greeting, would have no
    beginning."""
    chat = Chat(AutoTokenizer.from_pretrained(embedded_weights().folder))
    assert ollama_template(chat).count("<|im_start|>system") == 2 + 2


def test_the_modelfile_decodes_as_in_the_evaluation() -> None:
    """The Modelfile has every setting, also those that were off in the evaluation, because Ollama's defaults are top_k
    40, top_p 0.9 and a repeat penalty of 1.1, which applies even to greedy answers."""
    family = next(family for family in FAMILIES if family.name == "Qwen2.5")
    chat = Chat(tokenizer_of(family))

    def parameters(sampling: Sampling, max_length: int = 1024) -> list[str]:
        text = modelfile(chat, "m-q8_0.gguf", "Rewrite it.", sampling, max_length)
        assert text.startswith("FROM ./m-q8_0.gguf\n")
        return [line.removeprefix("PARAMETER ") for line in text.splitlines() if line.startswith("PARAMETER")]

    drawn = ["temperature 0.7", "top_p 0.9", "top_k 0", "repeat_penalty 1.0", "num_predict 12", "num_ctx 4096"]
    assert parameters(SAMPLED) == [*drawn, 'stop "<|im_end|>"']
    silent = ["temperature 0.0", "top_p 1.0", "top_k 0", "repeat_penalty 1.0", "num_ctx 4096"]
    assert parameters(Sampling(temperature=0, stop=("§",))) == [*silent, 'stop "<|im_end|>"', 'stop "§"']
    assert "num_ctx 8204" in parameters(SAMPLED, max_length=8192), "a row of the maximum training length and its answer"
    short = modelfile(chat, "m.gguf", None, SAMPLED, 1024, context=512)
    assert "num_ctx 512\n" in short, "a base of 512 tokens cannot read 4,096"
    quoted = parameters(Sampling(temperature=0, stop=('"', '", "next":')))[-2:]
    assert quoted == ['stop """""""', 'stop """", "next":"""'], "Ollama reads one quote in quotes as the start of three"


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("Réponds en une phrase.\n\tSois bref.", ['SYSTEM """Réponds en une phrase.', '\tSois bref."""']),
        ('Say "so".', ['SYSTEM """Say "so"."""']),
        (
            "En\u00a0: \u0928\u094d\u200d",
            [
                "# Ollama drops U+00A0, U+200D from SYSTEM; send the message with each request to keep them.",
                'SYSTEM """En\u00a0: \u0928\u094d\u200d"""',
            ],
        ),
        (
            'Write\n"""Docs.""" \nfirst.',
            [
                "# No SYSTEM: one of its lines ends in three quotes, which would end it early."
                " Send it with each request."
            ],
        ),
        (None, []),
    ],
)
def test_system_messages_that_ollama_would_alter_are_pointed_out(system: str | None, lines: list[str]) -> None:
    """Ollama silently drops characters that are not printable, so the model would get another prompt than in training;
    three quotes at the end of a line would make the file invalid."""
    chat = Chat(tokenizer_of(FAMILIES[0]))
    text = modelfile(chat, "m.gguf", system, SAMPLED, 512)
    assert text.split('"""', 2)[2].partition("PARAMETER")[0].strip("\n").split("\n") == (lines or [""])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_system_message_is_stripped_as_in_training(family: Family) -> None:
    """A system prompt between three quotes in TOML ends in a line break. Llama's, Gemma's and other templates strip it:
    the model must get no other prompt from Ollama."""
    if family.text is None:
        pytest.skip("the installed trl does not ship this template")
    chat, system = Chat(tokenizer_of(family)), "  Rewrite it.\n"
    text = modelfile(chat, "m.gguf", system, SAMPLED, 512)
    shown = text.split('SYSTEM """')[1].partition('"""')[0]
    asked = {"role": "user", "content": "a fox"}
    prompt = chat.prompt([{"role": "system", "content": system}, asked]) + chat.turn.lead
    assert render(ollama_template(chat), [{"role": "system", "content": shown}, asked]) == prompt


def render(template: str, messages: list[dict[str, str]]) -> str:
    """Render the subset of Go's text/template used here, on a conversation as Ollama passes it."""
    opened = re.fullmatch(
        r"\{\{ \$first := true \}\}\{\{ range \$at, \$_ := \.Messages \}\}"
        r"\{\{ \$last := eq \(len \(slice \$\.Messages \$at\)\) 1 \}\}(.*)\{\{ end \}\}",
        template,
        re.DOTALL,
    )
    assert opened is not None
    parts, text = re.split(r"\{\{ (.*?) \}\}", opened[1]), ""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    first = True
    for at, message in enumerate(messages):
        role, branches = message["role"], [True]
        holds = {"$first": first, "$last": at == len(messages) - 1, "$.System": bool(system)}
        holds |= {'eq .Role "user"': role == "user", 'eq .Role "assistant"': role == "assistant", "": True}
        holds['and (eq .Role "assistant") (not $first)'] = role == "assistant" and not first
        taken = [False]
        for number, part in enumerate(parts):
            is_live = all(branches)
            if number % 2 == 0:
                text += part if is_live else ""
            elif part.startswith("if "):
                branches.append(holds[part.removeprefix("if ")])
                taken.append(branches[-1])
            elif part.startswith("else"):
                branches[-1] = not taken[-1] and holds[part.removeprefix("else").removeprefix(" if ")]
                taken[-1] |= branches[-1]
            elif part == "end":
                branches.pop(), taken.pop()
            elif is_live:
                text += {".Content": message["content"], "$.System": system, "$first = false": ""}[part]
                first = first and part != "$first = false"
    return text
