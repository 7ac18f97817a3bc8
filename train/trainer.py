"""TRL's trainer configured for pairsmith: LoRA, loss on the completion only, checkpoints to resume from, a log of the
loss, and guards that stop a run that has gone wrong."""

from __future__ import annotations

import inspect
import json
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import torch
from datasets import Dataset as HubDataset
from torch.nn.functional import cross_entropy
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from schemas.errors import NoWork
from schemas.files import files_in, sha256
from schemas.memory import free_bytes
from schemas.progress import Progress, ShouldStop, never_stop
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from train.adapter import new_adapter
from train.batch_memory import rows_at_once
from train.dataset import Dataset, TrainingRow
from train.mask import IGNORED, plain_preview, tokenise
from train.results import Step, Validation

# A checkpoint is written at least this often, so that a killed run loses little.
_CHECKPOINT_S = 120.0
# Stored in each checkpoint: the training time until then, in seconds; and last, the SHA-256 of its files.
_ELAPSED_FILE, _DIGESTS_FILE = "seconds.txt", "sha256.json"
# A run has diverged if the mean loss of the last _WINDOW steps exceeds this multiple of that of the first ones.
_WINDOW, _DIVERGED = 5, 3.0


def adapter_trainer(
    model: Any, chat: Chat, dataset: Dataset, settings: TrainSettings, folder: Path, log: LossLog
) -> CompletionTrainer:
    """A trainer for a new adapter on the frozen `model`; `folder` is for its checkpoints. Training is not started.

    Raises InputError for `train.targets` that the model does not have.
    """
    set_padding(chat)
    adapted, rows = new_adapter(model, settings), _tokenised(chat, dataset.train)
    has_own_loss = settings.backend == "trl" and _can_skip_positions(adapted)
    if has_own_loss:
        settings = in_free_memory(adapted, partial(_most_tokens, rows, settings), settings, log)
    trainer = CompletionTrainer(
        model=adapted,
        args=on_one_device(_config(settings, folder, model.dtype, validate=bool(dataset.validation))),
        train_dataset=rows,
        eval_dataset=_tokenised(chat, dataset.validation) if dataset.validation else None,
        processing_class=chat.tokenizer,
        callbacks=callbacks(settings, log),
    )
    log.shown = trainer.last_rows
    trainer.has_own_loss = has_own_loss
    prepare(trainer)
    return trainer


def in_free_memory(
    model: Any, tokens: Callable[[], tuple[int, int]], settings: TrainSettings, log: LossLog, what: str = "rows"
) -> TrainSettings:
    """The settings with fewer rows at a time if those of a batch could take too much memory; a step learns from as many
    rows as before, and in supervised training from each token with the same weight. `tokens` returns those of the
    longest row, and the most learned ones of a row. A GPU is left alone, and models whose code scores every position.
    """
    if torch.cuda.is_available() or not _can_skip_positions(model):
        return settings
    longest, learned = tokens()
    at_once = rows_at_once(model, settings.batch, longest, learned, free_bytes())
    if at_once < settings.batch:
        log.progress("train", {"message": in_parts(settings.batch, what, longest, at_once)})
    parts = settings.accumulation * settings.batch // at_once
    return settings.model_copy(update={"batch": at_once, "accumulation": parts})


def in_parts(batch: int, what: str, longest: int, at_once: int) -> str:
    """The message that fewer rows are computed at a time."""
    problem = f"{batch} {what} of up to {longest:,} tokens may not fit into memory"
    return f"{problem}, so they are computed {at_once} at a time"


def _most_tokens(rows: HubDataset, settings: TrainSettings) -> tuple[int, int]:
    if settings.packing:
        return settings.max_length, settings.max_length
    learned = (sum(label != IGNORED for label in row) for row in rows["labels"])
    return max(map(len, rows["input_ids"])), max(learned)


def _can_skip_positions(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(type(model.get_base_model()).forward).parameters


def set_padding(chat: Chat) -> None:
    """Trainers need a padding token; it is masked, so the end of a turn will do."""
    if chat.tokenizer.pad_token is None:
        chat.tokenizer.pad_token = chat.tokenizer.eos_token or chat.turn_token


def callbacks(settings: TrainSettings, log: LossLog) -> list[Any]:
    """The log, and early stopping if `train.patience` is set."""
    return [log, *([] if settings.patience is None else [EarlyStoppingCallback(settings.patience)])]


def prepare(trainer: Any) -> None:
    """Remove the trainer's own printing, convert its adapter to float32, and leave out a warm-up that would take the
    only step: its first step has a learning rate of 0."""
    trainer.remove_callback(PrinterCallback)
    a = trainer.args
    at_once = a.per_device_train_batch_size * a.gradient_accumulation_steps * a.world_size
    if a.num_train_epochs * math.ceil(len(trainer.train_dataset) / at_once) <= 1:
        a.warmup_steps = 0
    for parameter in trainer.model.parameters():
        # TRL casts a quantised model's adapter to bfloat16, in which Adam's small late steps are rounded away.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def on_one_device(arguments: Any) -> Any:
    """`arguments` of a trainer, restricted to one GPU. A quantised model cannot be copied to each GPU
    (nn.DataParallel), and every copy would take a batch of its own. `accelerate launch` uses more GPUs."""
    arguments.device  # noqa: B018 - the first access counts the GPUs
    arguments._n_gpu = min(1, arguments._n_gpu)
    return arguments


def _tokenised(chat: Chat, rows: Sequence[TrainingRow]) -> HubDataset:
    parts = ((row["pair_id"], *tokenise(chat, row)) for row in rows)
    return HubDataset.from_list([{"pair_id": name, "input_ids": ids, "labels": labels} for name, ids, labels in parts])


def train(trainer: CompletionTrainer, folder: Path, log: LossLog) -> None:
    """Train to the end, resuming from the last complete checkpoint in `folder` if there is one. With validation rows,
    the weights with the lowest validation loss are kept."""
    resumed = last_checkpoint(folder)
    newest = max(map(_step_of, _checkpoints(folder)), default=0)
    if newest > (step := _step_of(resumed) if resumed else 0):
        what = f"the checkpoint of step {newest} is incomplete, was changed or is of an earlier version"
        log.progress("train", {"message": f"{what}; training continues after step {step}"})
    if resumed:
        # The loss was already measured when the checkpoint was written.
        trainer.args.eval_on_start = False
        log.earlier_s = float((resumed / _ELAPSED_FILE).read_text())
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is as the trainer wrote it, and so are the best weights until then, which may be in an
    earlier one."""
    for checkpoint in sorted(_checkpoints(folder), key=_step_of, reverse=True):
        if _is_sealed(checkpoint):
            best = json.loads((checkpoint / "trainer_state.json").read_bytes()).get("best_global_step")
            if not best or _is_sealed(folder / f"checkpoint-{best}"):
                return checkpoint
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Without other folders, such as a copy `checkpoint-4.bak`."""
    return [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]


def seal(checkpoint: Path) -> None:
    """Write the SHA-256 of the files of a checkpoint beside them. One that was not written completely has none, or has
    others."""
    (checkpoint / _DIGESTS_FILE).write_text(json.dumps(_digests(checkpoint)), encoding="utf-8")


def _is_sealed(checkpoint: Path) -> bool:
    try:
        recorded = json.loads((checkpoint / _DIGESTS_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(recorded == _digests(checkpoint))


def _digests(checkpoint: Path) -> dict[str, str]:
    """Without the random states, which other processes of `accelerate launch` may still be writing."""
    left_out = (_DIGESTS_FILE, "rng_state")
    return {name: sha256(path) for name, path in files_in(checkpoint).items() if not name.startswith(left_out)}


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _config(settings: TrainSettings, folder: Path, dtype: torch.dtype, *, validate: bool) -> SFTConfig:
    return SFTConfig(
        **arguments(settings, folder, dtype, validate=validate),
        # Nothing may be cut: longer rows are already filtered out. A pack is as long as the longest allowed row.
        max_length=settings.max_length if settings.packing else None,
        completion_only_loss=True,
        packing=settings.packing,
    )


def arguments(settings: TrainSettings, folder: Path, dtype: torch.dtype, *, validate: bool) -> dict[str, Any]:
    """The arguments shared by all of transformers' trainers, whatever the objective."""
    on_gpu = torch.cuda.is_available()
    when = "steps" if settings.evaluation_steps else "epoch"
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": settings.batch,
        "per_device_eval_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulation,
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay,
        "neftune_noise_alpha": settings.neftune,
        "optim": "adamw_torch",
        "seed": settings.random_seed,
        "data_seed": settings.random_seed,
        "use_cpu": not on_gpu,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        # Recomputing activations saves memory that small models on a CPU do not need, and takes a third more time.
        "gradient_checkpointing": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "eval_strategy": when if validate else "no",
        "eval_steps": settings.evaluation_steps,
        "eval_on_start": validate,
        "save_strategy": when if validate else "epoch",
        "save_steps": settings.evaluation_steps or 500,
        "save_total_limit": 2,
        "load_best_model_at_end": validate,
        "metric_for_best_model": "eval_loss" if validate else None,
        "greater_is_better": False if validate else None,
        "report_to": "none",
        "disable_tqdm": True,
    }


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]  # trl ships no types
    """SFTTrainer that applies the language-model head only at positions with something to learn.

    Without a GPU, TRL 1.16 scores every position, prompt and padding included, and computes entropy and accuracy in
    addition to the loss. Leaving that out saves a sixth of the step time of SmolLM2 on 2 cores, and 0.17 GiB. The loss
    is the same number: the sum over learned tokens of -log p(token), divided by their number in the batch. Unsloth has
    its own loss, and code shipped with a model may only support scoring every position (`has_own_loss` False).
    """

    has_own_loss = True
    _last_batch: Any = None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"]
        if model.training:
            self._last_batch = inputs
        if return_outputs or labels.is_cuda or not self.has_own_loss:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        else:
            loss = self._completion_loss(model, inputs, num_items_in_batch)
        if model.training:
            _refuse_infinite(float(loss.detach()), self.state.global_step + 1, self.last_rows)
        return loss

    def last_rows(self) -> str:
        """Two rows of the last batch with their masks, as the end of an error message."""
        if self._last_batch is None:
            return ""
        count = min(2, len(self._last_batch["labels"]))
        rows = [plain_preview(self.processing_class, *_unpadded(self._last_batch, row)) for row in range(count)]
        return f", on these rows: {' | '.join(rows)[:600]}"

    def _completion_loss(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        labels = inputs["labels"]
        learned = labels[:, 1:] != IGNORED
        # Each position predicts the next token, and rows are padded on the right: nothing is learned before this.
        first = int(learned.any(dim=0).to(torch.int).argmax())
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            logits_to_keep=labels.size(1) - first,
        ).logits[:, :-1]
        learned = learned[:, first:]
        targets = labels[:, 1 + first :][learned]
        total = cross_entropy(logits[learned].float(), targets, reduction="sum")
        return total / (len(targets) if num_items_in_batch is None else num_items_in_batch)


def _unpadded(inputs: dict[str, Any], row: int) -> tuple[list[int], list[int]]:
    length = int(inputs["attention_mask"][row].sum())
    return inputs["input_ids"][row, :length].tolist(), inputs["labels"][row, :length].tolist()


class LossLog(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Reports each step, stops a run that diverges or that the user stops, and requests a checkpoint now and then.

    The curve itself is kept by the trainer and stored in its checkpoints (`read_curve`). `seconds` is the time of this
    run, `earlier_s` that of the run it resumed. `shown` describes the rows of the last step, if the trainer supports
    that.
    """

    def __init__(self, progress: Progress, should_stop: ShouldStop = never_stop) -> None:
        self.progress, self.should_stop = progress, should_stop
        self.shown: Callable[[], str] = str
        self.ended = False
        self.seconds = self.earlier_s = 0.0
        self.steps = 0
        self._started = self._saved = 0.0
        self._losses = list[float]()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.best_global_step:  # the folder may have been moved or copied since
            state.best_model_checkpoint = str(Path(args.output_dir, f"checkpoint-{state.best_global_step}"))
        self._started = self._saved = time.monotonic()
        self._losses = [entry["loss"] for entry in state.log_history if "loss" in entry]  # before a resume

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds = time.monotonic() - self._started

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps += 1
        if time.monotonic() - self._saved > _CHECKPOINT_S:
            control.should_save = True
        if self.should_stop():
            # Evaluate and save this step, so that its weights are among the candidates for the best.
            control.should_evaluate = control.should_evaluate or args.eval_strategy != "no"
            control.should_save = control.should_training_stop = self.ended = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = time.monotonic()
        if not state.is_world_process_zero:  # of several processes, the first one writes the checkpoint
            return
        checkpoint = Path(args.output_dir, f"checkpoint-{state.global_step}")
        elapsed = f"{self.earlier_s + self._saved - self._started:.3f}"
        (checkpoint / _ELAPSED_FILE).write_text(elapsed, encoding="ascii")
        seal(checkpoint)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "eval_loss" in logs:
            self._report(state, {"validation_loss": logs["eval_loss"]})
        elif "loss" in logs:
            self._report(state, {"loss": logs["loss"]})
            _refuse_infinite(logs["loss"], int(state.global_step), self.shown)
            self._losses.append(logs["loss"])
            _refuse_divergence(self._losses, int(state.max_steps), self.shown)

    def _report(self, state: Any, extra: dict[str, Any]) -> None:
        done, total = int(state.global_step), int(state.max_steps)
        elapsed_s = time.monotonic() - self._started
        numbers: dict[str, Any] = {"done": done, "total": total, "epoch": round(float(state.epoch or 0), 2)}
        if done:
            numbers |= {"tokens": int(state.num_input_tokens_seen)}
        if self.steps:
            numbers["eta_s"] = elapsed_s / self.steps * (total - done)
        self.progress("train", numbers | memory() | extra)


def memory() -> dict[str, float]:
    """Current and peak memory in GiB, of the GPU, or of this process if there is none."""
    if torch.cuda.is_available():
        now, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        now, peak = psutil.Process().memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"memory_gib": round(now / 2**30, 3), "peak_gib": round(peak / 2**30, 3)}


def read_curve(state: Any) -> tuple[tuple[Step, ...], tuple[Validation, ...]]:
    """The losses of the whole run, including those before a resume."""
    steps = tuple(
        Step(step=entry["step"], epoch=entry["epoch"], loss=entry["loss"], learning_rate=entry["learning_rate"])
        for entry in state.log_history
        if "loss" in entry
    )
    validation = tuple(
        Validation(step=entry["step"], epoch=entry["epoch"], loss=entry["eval_loss"])
        for entry in state.log_history
        if "eval_loss" in entry
    )
    return steps, validation


def _refuse_infinite(loss: float, step: int, shown: Callable[[], str]) -> None:
    if not math.isfinite(loss):
        raise NoWork(
            f"the loss is not finite in step {step}{shown() or '.'}",
            why="The tuned model would be broken.",
            fix="Lower train.learning_rate, or check the rows.",
        )


def _refuse_divergence(losses: Sequence[float], planned: int, shown: Callable[[], str] = str) -> None:
    """Raise NoWork if the loss diverges, judged by the first and the last few steps. A run too short for two windows is
    checked at its end, by its first and its last third."""
    window = min(_WINDOW, max(1, planned // 3))
    if len(losses) < min(2 * _WINDOW, planned):
        return
    first, last = (fmean(part) for part in (losses[:window], losses[-window:]))
    if last > _DIVERGED * first:
        raise NoWork(
            f"training diverges: the loss was {first:.2f} in the first {window} steps and is {last:.2f} now, at step"
            f" {len(losses)}{shown() or '.'}",
            why="The model has lost what it had learned so far.",
            fix="Lower train.learning_rate, or raise train.batch or train.accumulation.",
        )
