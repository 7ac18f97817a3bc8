"""Trains the same rows with the given backend in this process, and prints the result as one JSON line.

    python -m tests.train.unsloth_once BACKEND METHOD OUT [BASE]

BASE is a folder; without it the embedded model is used.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from schemas.spec import TrainSettings
from tests.train.tiny import rows, settings
from train.base_models.base_model import Base, find_base, hash_model, load_chat
from train.dataset import Dataset
from train.sft import tune


def main(backend: str, method: str, out: Path, folder: Path | None) -> None:
    """Train eight rows for three epochs, and score a text with Unsloth if that trained them."""
    base = find_base(TrainSettings(), Path()) if folder is None else Base("tiny-llama", folder, hash_model(folder))
    train_settings = settings(backend=backend, method=method, epochs=3, learning_rate=1e-2 if folder else 1e-3)
    tuned = tune(base, Dataset("d", rows(8), rows(2, start=8)), train_settings, out)
    print(
        json.dumps(
            {
                "folder": tuned.folder,
                "losses": [step.loss for step in tuned.curve],
                "validation": [measured.loss for measured in tuned.validation],
                "four_bit_layers": tuned.four_bit_layers,
                "versions": tuned.versions,
                "logprob": scored_by_unsloth(base, Path(tuned.folder)) if backend == "unsloth" else None,
            }
        )
    )


def scored_by_unsloth(base: Base, adapter: Path) -> float:
    """log p of the first row's output under the adapter on the base as loaded by Unsloth, in float32."""
    import torch
    from peft import PeftModel
    from unsloth import FastLanguageModel

    with redirect_stdout(sys.stderr):
        model, _ = FastLanguageModel.from_pretrained(str(base.folder), dtype=torch.float32, load_in_4bit=False)
    model = PeftModel.from_pretrained(model, str(adapter)).float().eval()
    (row,) = rows(1)
    prompt, answer = load_chat(base).answer_ids(row["prompt"], row["completion"][0]["content"])
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].float().log_softmax(-1)
    at = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return float(logprobs[at, torch.tensor(answer)].sum())


if __name__ == "__main__":
    backend, method, out, *folder = sys.argv[1:]
    main(backend, method, Path(out), Path(folder[0]) if folder else None)
