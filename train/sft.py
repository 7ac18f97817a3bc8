"""Supervised fine-tuning of an adapter: LoRA (Hu et al. 2021) or QLoRA (Dettmers et al. 2023) through TRL.

What is added to TRL: rows that would be cut are refused, the loss mask of every row is checked, the curve comes back as
numbers, and an adapter that learned nothing is an error. The adapter appears whole or not at all. A run that is killed
starts again from its first step: at this scale that costs less than keeping optimiser states honest.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import NoWork, PairsmithError
from schemas.files import replaced_folder
from schemas.progress import Progress
from schemas.records import content_id, identity
from schemas.spec import TrainSettings
from train.mask import assert_completion_only, plain_preview
from train.model_card import model_card
from train.outcome import TrainResult
from train.quiet import quiet
from train.rows import Row, refuse_unusable
from train.served_base import served_base
from train.student import Student, load_for_training, load_tokenizer, read_json

RESULT_NAME = "training.json"
_WARMUP = 0.1
_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")


def adapter_id(dataset_id: str, settings: TrainSettings, base_hash: str) -> str:
    """The name of the adapter that these inputs make. Library versions and the processor are facts, not inputs."""
    recipe = {name: value for name, value in identity(settings).items() if name != "base"}
    return content_id("adapter", [dataset_id, recipe, base_hash])


def fine_tune(
    student: Student,
    splits: Mapping[str, Sequence[Row]],
    dataset_id: str,
    settings: TrainSettings,
    out_dir: Path,
    *,
    progress: Progress | None = None,
) -> TrainResult:
    """Train an adapter on `splits["train"]` and save it as `out_dir/<adapter id>`; `splits["validation"]` is measured.

    Reports progress("train", {done, total, loss, tokens, eta_s, epoch}) after each step, and `validation_loss` when
    one is measured. If the adapter is there already, it is returned and nothing is trained. Raises InputError for
    rows that cannot be used, NoWork when nothing was learned: no rows, no token with loss, a loss that is not finite,
    or an adapter that is still zero.
    """
    name = adapter_id(dataset_id, settings, student.hash)
    folder = out_dir / name
    if (folder / RESULT_NAME).is_file():
        kept = TrainResult.model_validate(read_json(folder / RESULT_NAME))
        return kept.model_copy(update={"folder": str(folder), "reused": True})
    tokenizer = load_tokenizer(student)
    for split in ("train", "validation"):
        refuse_unusable(splits.get(split, ()), tokenizer, settings.max_length, split)
    with replaced_folder(folder) as partial:
        with quiet():
            result = _train(student, tokenizer, splits, dataset_id, settings, partial, progress)
        result = result.model_copy(update={"folder": str(folder)})
        (partial / "README.md").write_text(model_card(result), encoding="utf-8")
        kept_json = result.model_dump(mode="json", exclude={"folder", "reused"})
        (partial / RESULT_NAME).write_bytes(orjson.dumps(kept_json, option=orjson.OPT_INDENT_2))
    # The first time for a base this takes seconds and space; better here than when the answers are waited for.
    served_base(student, settings.method)
    return result


def _train(
    student: Student,
    tokenizer: Any,
    splits: Mapping[str, Sequence[Row]],
    dataset_id: str,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None,
) -> TrainResult:
    """One run: load, check the mask of what TRL made of the rows, train, check that something was learned, save."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import PrinterCallback, set_seed
    from trl import SFTConfig

    from train.completion_loss import CompletionTrainer
    from train.watch import Watch

    started = time.monotonic()
    set_seed(settings.seed)
    model, four_bit_layers = load_for_training(student, settings.method)
    dtype = model.dtype
    model = get_peft_model(
        model,
        LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    # Else the saved adapter would name a folder of this machine.
    model.peft_config["default"].base_model_name_or_path = student.name
    on_gpu = torch.cuda.is_available()
    train_rows, validation_rows = splits["train"], splits.get("validation", ())
    watch = Watch(progress)
    trainer = CompletionTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=settings.batch,
            per_device_eval_batch_size=settings.batch,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=_WARMUP,
            optim="adamw_torch",
            seed=settings.seed,
            data_seed=settings.seed,
            # Nothing may be cut: refuse_unusable has already measured every row.
            max_length=None,
            completion_only_loss=True,
            packing=False,
            use_cpu=not on_gpu,
            bf16=dtype == torch.bfloat16,
            # Recomputing activations buys memory that small models on a CPU do not need, for a third more time.
            gradient_checkpointing=on_gpu,
            dataloader_pin_memory=on_gpu,
            logging_steps=1,
            logging_nan_inf_filter=False,
            include_num_input_tokens_seen="non_padding",
            eval_strategy="epoch" if validation_rows else "no",
            eval_on_start=bool(validation_rows),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([dict(row) for row in train_rows]),
        eval_dataset=Dataset.from_list([dict(row) for row in validation_rows]) if validation_rows else None,
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        # TRL turns a quantised model's adapter to bfloat16; in that precision Adam's small late steps are rounded away.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    learned_tokens = _check_masks(tokenizer, train_rows, trainer.train_dataset)
    if validation_rows:
        _check_masks(tokenizer, validation_rows, trainer.eval_dataset)
    masks = tuple(plain_preview(tokenizer, row["input_ids"], row["labels"]) for row in _first(trainer.train_dataset))
    training_started = time.monotonic()
    trainer.train()
    training_seconds = time.monotonic() - training_started
    parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    _refuse_no_learning(trainer.model, watch)
    # "auto" would ask a hub whether the vocabulary grew; it cannot have.
    trainer.model.save_pretrained(str(folder), save_embedding_layers=False)
    tokenizer.save_pretrained(str(folder))
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    return TrainResult(
        adapter_id=adapter_id(dataset_id, settings, student.hash),
        dataset_id=dataset_id,
        base=student.name,
        base_hash=student.hash,
        settings=settings,
        train_rows=len(train_rows),
        validation_rows=len(validation_rows),
        learned_tokens=learned_tokens,
        trained_tokens=watch.tokens,
        steps=len(watch.curve),
        curve=tuple(watch.curve),
        validation=tuple(watch.validation),
        four_bit_layers=four_bit_layers,
        trainable_parameters=sum(parameter.numel() for parameter in parameters),
        compute_dtype=str(dtype).removeprefix("torch."),
        seconds=time.monotonic() - started,
        seconds_per_step=training_seconds / len(watch.curve),
        peak_gib=_peak_gib(),
        versions={package: version(package) for package in _PACKAGES},
        masks=masks,
    )


def _check_masks(tokenizer: Any, rows: Sequence[Row], prepared: Any) -> int:
    """Check every row that TRL prepared against the row it was made of; returns the number of tokens with loss."""
    if len(prepared) != len(rows):
        raise PairsmithError(
            f"{len(rows)} rows were given to the trainer and {len(prepared)} came out.",
            why="Rows would be missing from the training without a reason.",
            fix="This is a defect; please report it with the version of trl.",
        )
    by_id = {row["pair_id"]: row for row in rows}
    return sum(
        assert_completion_only(tokenizer, by_id[made["pair_id"]], made["input_ids"], made["labels"])
        for made in prepared
    )


def _first(prepared: Any, count: int = 3) -> list[dict[str, Any]]:
    return [prepared[index] for index in range(min(count, len(prepared)))]


def _refuse_no_learning(model: Any, watch: Any) -> None:
    losses = [step.loss for step in watch.curve] + [measured.loss for measured in watch.validation]
    moved = any(bool(parameter.any()) for name, parameter in model.named_parameters() if "lora_B" in name)
    if not watch.curve or not all(math.isfinite(loss) for loss in losses) or not moved:
        what = (
            "no step was made"
            if not watch.curve
            else "the adapter's weights are all zero"
            if not moved
            else "the loss is not finite"
        )
        raise NoWork(
            f"training ended, but {what}.",
            why="The tuned model would be the base model, or broken.",
            fix="Lower train.learning_rate, raise train.epochs, or look at the rows with `pairsmith explain`.",
        )


def _peak_gib() -> float:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
