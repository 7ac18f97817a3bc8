"""Listening to the trainer: the curve as numbers, progress, and the place where a test kills the process."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

from schemas.failpoints import failpoint
from schemas.progress import Progress
from train.outcome import Step, Validation


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Collects `curve` and `validation`, and reports each step."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.curve: list[Step] = []
        self.validation: list[Validation] = []
        self.tokens = 0
        self._started = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == max(1, state.max_steps // 2):
            failpoint("mid_train")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        step, epoch = int(state.global_step), float(state.epoch or 0)
        if "eval_loss" in logs:
            self.validation.append(Validation(step=step, epoch=epoch, loss=logs["eval_loss"]))
            self._tell(state, {"validation_loss": logs["eval_loss"]})
        elif "loss" in logs:
            self.tokens = int(state.num_input_tokens_seen)
            rate = float(logs["learning_rate"])
            self.curve.append(Step(step=step, epoch=epoch, loss=logs["loss"], learning_rate=rate))
            self._tell(state, {})

    def _tell(self, state: Any, extra: dict[str, Any]) -> None:
        if self.progress is None:
            return
        done, total = int(state.global_step), int(state.max_steps)
        spent_s = time.monotonic() - self._started
        numbers: dict[str, Any] = {"done": done, "total": total, "epoch": round(float(state.epoch or 0), 2)}
        if self.curve:
            numbers |= {"loss": self.curve[-1].loss, "tokens": self.tokens}
        if done:
            numbers["eta_s"] = spent_s / done * (total - done)
        self.progress("train", numbers | extra)
