"""Models and pools that are small enough to be created in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.project import Project
from schemas.records import Candidate, Generated, Imported, Pair, Sampling, Seed
from schemas.spec import GateSettings, Spec
from schemas.store import Store

WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "el", "is", "or", "ut")]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def pair(input: str, output: str) -> Pair:
    """A pair of which only the texts matter."""
    return Pair(seed_id="s", input=input, output=output, system="", origin=Imported(source="test"))


def tokenizer(*, template: bool = True, adds_bos: bool = True, pad: str | None = "<pad>") -> Any:
    """A word tokenizer whose template and post-processor each add a BOS token, like those of Llama 3."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<bos>", "<end>", "<user>", "<assistant>", "<system>", "<pad>", "<unk>"]
    vocabulary = {token: at for at, token in enumerate([*special, "good", "bad", ",", *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(special)
    if adds_bos:
        core.post_processor = processors.TemplateProcessing("<bos> $A", "<bos> $A $B", [("<bos>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<end>", unk_token="<unk>", pad_token=pad
    )
    if template:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def config(**more: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(WORDS) + 10,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        **more,
    )


def language_model(folder: Path) -> Path:
    """A random causal language model with its tokenizer."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(3)
    LlamaForCausalLM(config(pad_token_id=5)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def reward_model(folder: Path, *, steps: int = 30, pad_token_id: int | None = 5, **more: Any) -> Path:
    """A reward model, trained here to prefer the word "good" to "bad"."""
    import random

    import torch
    from transformers import LlamaForSequenceClassification

    from curate.scorers.reward import chat_tokens

    torch.manual_seed(5)
    words, rng = tokenizer(), random.Random(5)
    model = LlamaForSequenceClassification(config(num_labels=1, pad_token_id=5, **more))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        places = [(rng.choices(WORDS, k=6), rng.randrange(7)) for _ in range(8)]
        chats = [
            chat_tokens(words, "ban bel", " ".join([*text[:at], word, *text[at:]]))
            for word in ("good", "bad")
            for text, at in places
        ]
        scores = model(input_ids=torch.tensor(chats)).logits[:, 0]
        loss = -torch.nn.functional.logsigmoid(scores[:8] - scores[8:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.config.pad_token_id = pad_token_id
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


# Every gate that can be switched off.
OFF = dict.fromkeys(GateSettings.model_fields.keys() - {"must", "must_not", "json_schema", "user"}, False)


def spec(**curate: Any) -> Spec:
    """A spec whose only gate requires the word "must"; keys of `curate` are tables of `[curate]`."""
    checks = [{"name": name, "pattern": name} for name in ("one", "two")]
    return Spec.model_validate(
        {
            "task": {"name": "tiny", "style": "Say it well.", "system": "Rewrite."},
            "seeds": [{"path": "seeds.jsonl"}],
            "curate": {
                "gates": {**OFF, "must": [{"name": "must", "pattern": "must"}]},
                "score": {"model": "none"},
                **curate,
            },
            "evaluate": {"checks": checks},
        }
    )


def pool(
    store: Store,
    project: Project,
    answers: dict[str, list[str]],
    failures: dict[str, str] | None = None,
    fingerprint: str = "now",
) -> str:
    """Write seeds (by their text) with their answers as forward candidates of one generation. Returns its
    fingerprint."""
    failures = failures or {}
    seeds = [Seed(kind="input", text=t, source=f"seeds.jsonl:{n}") for n, t in enumerate({**answers, **failures}, 1)]
    store.set_active_seeds(seeds)
    for seed in seeds:
        text = seed.text or ""
        for sample, output in enumerate(answers.get(text, ())):
            pair = made_pair(seed, output, sample)
            place = Candidate(
                fingerprint=fingerprint, seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id
            )
            store.write(pair, place)
        if why := failures.get(text):
            place = {"fingerprint": fingerprint, "seed_id": seed.id, "generator": "forward", "sample": 0}
            store.write(Candidate.model_validate({**place, "failure": why}))
    return fingerprint


def made_pair(seed: Seed, output: str, sample: int) -> Pair:
    origin = Generated(
        generator="forward", prompt="enhance/v1@0", teacher="t", sampling=Sampling(), calls=((f"k{sample}", 1),)
    )
    return Pair(seed_id=seed.id, input=seed.text or "", output=output, system="Rewrite.", origin=origin)
