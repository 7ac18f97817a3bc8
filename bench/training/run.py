"""Seconds per step of `pairsmith train` compared with plain TRL: same base, rows, adapter, precision and batch; no
validation.

    python -m bench.training.run [--steps 8] [--rounds 3]

Each round trains both, each in a process of its own, in alternating order. The CPU time of a step counts: on a busy
machine wall time shows what else ran. The first step, which includes warm-up, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness import figures_of, keep, peak_mb

SIDES = ("pairsmith", "trl")


def rows(count: int) -> list[Any]:
    """Rows of about 90 tokens: a system prompt, a short input, a longer output."""
    from train.dataset import TrainingRow

    things = ("a fox", "two boats", "an old bridge", "a cup of tea", "a tall pine", "a violin", "wet stones", "a clock")
    examples = []
    for number in range(count):
        thing = things[number % len(things)]
        text = f"{thing} by the water at dawn, low warm light from the left, long shadows, fine mist, muted palette of"
        text += f" ochre and slate, shallow depth of field, 50mm photograph, plate {number} --ar 3:2"
        prompt = [
            {"role": "system", "content": "Rewrite the image prompt in the house style."},
            {"role": "user", "content": thing},
        ]
        examples.append(
            TrainingRow(pair_id=str(number), prompt=prompt, completion=[{"role": "assistant", "content": text}])
        )
    return examples


def measure(side: str, steps: int) -> dict[str, float]:
    """CPU and wall seconds per step, without the first, and the peak resident memory in GiB."""
    import time

    from transformers import TrainerCallback

    from schemas.spec import TrainSettings
    from synth.embedded.weights import embedded_weights
    from train.base_models.base_model import Base, load_chat, load_for_training
    from train.dataset import Dataset
    from train.quiet import quiet
    from train.trainer import LossLog, adapter_trainer, train

    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append((time.process_time(), time.monotonic()))

    settings = TrainSettings(method="lora", batch=4, epochs=1, learning_rate=1e-3)
    base = Base("embedded", embedded_weights().folder, "")
    data = rows(4 * steps)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model, _ = load_for_training(base, settings)
        if side == "pairsmith":
            log = LossLog(lambda stage, numbers: None)
            trainer = adapter_trainer(model, load_chat(base), Dataset("d", data), settings, Path(folder), log)
            trainer.add_callback(Clock())
            train(trainer, Path(folder), log)
        else:
            bare(model, base.folder, data, settings, folder, Clock()).train()
    (cpu_s, wall_s), (cpu_end_s, wall_end_s) = marks[0], marks[-1]
    counted = len(marks) - 1
    peak = peak_mb() / 1024
    return {"cpu_s": (cpu_end_s - cpu_s) / counted, "wall_s": (wall_end_s - wall_s) / counted, "peak_gib": peak}


def bare(model: Any, folder: Path, data: list[Any], settings: Any, out: str, clock: Any) -> Any:
    """TRL as in its documentation, with the settings that determine the computation of a step made equal."""
    import torch
    from datasets import Dataset as HubDataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=out,
        per_device_train_batch_size=settings.batch,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        use_cpu=True,
        bf16=model.dtype == torch.bfloat16,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(r=settings.r, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    texts = HubDataset.from_list([{"prompt": row["prompt"], "completion": row["completion"]} for row in data])
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=texts,
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=lora,
        callbacks=[clock],
    )


def main() -> None:
    """Run the rounds and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.steps)))
        return
    results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    load = os.getloadavg()[0]
    for number in range(options.rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            results[side].append(figures_of("-m", "bench.training.run", "--side", side, "--steps", str(options.steps)))
            print(side, results[side][-1], flush=True)
    middle = {side: {key: median(one[key] for one in results[side]) for key in results[side][0]} for side in SIDES}
    result = {
        "base": "SmolLM2-135M-Instruct, LoRA r 16 on all linear layers, batch 4, rows of about 90 tokens",
        "steps": options.steps,
        "rounds": options.rounds,
        "cores": os.cpu_count(),
        "load_average_at_start": round(load, 1),
        **{side: {key: round(value, 3) for key, value in middle[side].items()} for side in SIDES},
        "speed_by_cpu": round(middle["trl"]["cpu_s"] / middle["pairsmith"]["cpu_s"], 3),
        "speed_by_wall": round(middle["trl"]["wall_s"] / middle["pairsmith"]["wall_s"], 3),
    }
    keep("training", result, whole=True)


if __name__ == "__main__":
    main()
