"""Rows and a model small enough to train in a test: a random two-layer Llama with the real SmolLM2 tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from schemas.spec import TrainSettings
from schemas.spec_file import set_keys
from train.base_models.base_model import Base, hash_model
from train.dataset import TrainingRow

SYSTEM = "Rewrite the image prompt in the house style."
SUBJECTS = ("a fox", "two boats", "an old bridge", "a cup of tea", "a tall pine", "a violin", "wet stones", "a clock")
LINEAR_LAYERS = 2 * 7


def row(pair_id: str, input: str, output: str) -> TrainingRow:
    return TrainingRow(
        pair_id=pair_id,
        prompt=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": input}],
        completion=[{"role": "assistant", "content": output}],
    )


def rows(count: int, start: int = 0) -> list[TrainingRow]:
    """Rows that follow one easy rule: the subject, a light, a flag."""
    subjects = [SUBJECTS[i % len(SUBJECTS)] for i in range(start, start + count)]
    texts = [f"{subject}, warm sunset light, number {start + i} --ar 3:2" for i, subject in enumerate(subjects)]
    return [
        row(f"pair-{start + i}", subject, text) for i, (subject, text) in enumerate(zip(subjects, texts, strict=True))
    ]


def settings(**more: object) -> TrainSettings:
    """Few steps with a high learning rate, so that a random model visibly learns."""
    values: dict[str, object] = {"method": "lora", "r": 4, "learning_rate": 1e-2, "batch": 4, "epochs": 2, **more}
    return TrainSettings.model_validate(values)


SPEC = """[task]
name = "rewrite"
style = "As in the examples."

[[seeds]]
path = "pairs.jsonl"
kind = "pair"

[review]
enabled = false

[curate.score]
model = "none"

[train]
base = "tiny-llama"
method = "lora"
warmup = 0.0
"""
PAIRS = tuple(
    {"input": text, "output": f"{text}, warm sunset light, long shadows --ar 3:2"}
    for text in (f"{subject} number {nth}" for nth in range(5) for subject in SUBJECTS)
)


def write_project(folder: Path, smollm2: Path, keys: Mapping[str, object]) -> None:
    """Write a project of pairs that trains the tiny model, with `keys` set in its spec."""
    (folder / "pairsmith.toml").write_text(set_keys(SPEC, keys))
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    make_base(folder / "tiny-llama", smollm2)


def make_base(folder: Path, smollm2: Path) -> Base:
    """Save a random Llama with SmolLM2's tokenizer and chat template."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Base("tiny-llama", folder, hash_model(folder))
