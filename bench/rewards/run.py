"""Rows per second of a local reward model through pairsmith, compared with a plain loop.

    python -m bench.rewards.run [ROWS]                 # writes bench/results/rewards.json

The model is a random Llama of 4 layers and 256 dimensions with SmolLM2's tokenizer: the quality of the scores does not
matter here, and a small model shows overhead more clearly than a large one. The plain loop templates and tokenizes the
chats, sorts them by length and runs them through transformers in padded batches of as many tokens as pairsmith's. Both
score the same rows alternately, in one process, five times each after a warm-up; the median counts. Logits must agree
to 0.01.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.harness import cpu_s, keep, random_llama, timed

TOKENS, TURNS = 2048, 5
Rows = list[tuple[list[dict[str, str]], str]]


def rows_of(count: int) -> Rows:
    """Questions preceded by rules, and answers of 10 to 120 words."""
    rng = random.Random(3)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    asked = "Rewrite the prompt below in the house style.\n\nName a light, a medium and one flag.\n\n"
    return [
        ([{"role": "user", "content": asked + " ".join(rng.choices(words, k=6))}], " ".join(rng.choices(words, k=n)))
        for n in (rng.randint(10, 120) for _ in range(count))
    ]


def reward_model(folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4}
    return random_llama("LlamaForSequenceClassification", folder, num_labels=1, max_position_embeddings=2048, **shape)


def bare(model: Any, tokenizer: Any, rows: Rows) -> list[float]:
    """The loop of a model card, in batches."""
    import torch

    chats = [
        tokenizer(tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": output}], tokenize=False))
        for chat, output in rows
    ]
    order = sorted(range(len(rows)), key=lambda row: -len(chats[row]["input_ids"]))
    scores = [0.0] * len(rows)
    while order:
        size = max(1, min(64, TOKENS // len(chats[order[0]]["input_ids"])))
        batch, order = order[:size], order[size:]
        padded = tokenizer.pad([chats[row] for row in batch], return_tensors="pt").to(model.device)
        with torch.inference_mode():
            logits = model(**padded).logits[:, 0].float().tolist()
        for row, logit in zip(batch, logits, strict=True):
            scores[row] = logit
    return scores


def main(count: int) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from curate.scorers.reward import dtype_and_device, open_reward_model

    rows = rows_of(count)
    with tempfile.TemporaryDirectory() as scratch:
        folder = reward_model(Path(scratch))
        ours = open_reward_model(folder, batch_tokens=TOKENS)
        dtype, device = dtype_and_device()
        loaded = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype, device_map=device).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ways = {"bare": lambda: bare(loaded, tokenizer, rows), "pairsmith": lambda: ours.score(rows)}
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(TURNS + 1):
            scored = {}
            for name, work in ways.items():
                began = cpu_s()
                wall, scored[name] = timed(work)
                if turn:
                    seconds[name].append((wall, cpu_s() - began))
        largest_difference = max(abs(a - b.value) for a, b in zip(scored["bare"], scored["pairsmith"], strict=True))
        assert largest_difference < 0.01, largest_difference
    wall_s = {name: statistics.median(one[0] for one in listed) for name, listed in seconds.items()}
    used_s = {name: statistics.median(one[1] for one in listed) for name, listed in seconds.items()}
    results = {
        "rows": count,
        "model": "random Llama, 4 layers of 256, SmolLM2's tokenizer",
        "precision": str(loaded.dtype).removeprefix("torch."),
        "rows_per_s": {name: round(count / one, 2) for name, one in wall_s.items()},
        "cpu_seconds": {name: round(one, 2) for name, one in used_s.items()},
        "ratio": round(wall_s["bare"] / wall_s["pairsmith"], 3),
        "cpu_ratio": round(used_s["bare"] / used_s["pairsmith"], 3),
        "largest_difference": round(largest_difference, 5),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}",
    }
    keep("rewards", results, whole=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
