"""TRL's trainer as it is used here: LoRA on all linear layers, loss on the completion only, and a log of the loss."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as HubDataset
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from schemas.progress import Progress
from schemas.spec import TrainSettings
from train.dataset import Dataset
from train.mask import IGNORED
from train.results import Step, Validation

_WARMUP = 0.1


def adapter_trainer(
    model: Any, tokenizer: Any, dataset: Dataset, settings: TrainSettings, folder: Path, log: LossLog
) -> SFTTrainer:
    """A trainer of a new adapter on the frozen `model`; `folder` is for its scratch files. Nothing is trained yet."""
    lora = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    config = _config(settings, folder, bf16=model.dtype == torch.bfloat16, validate=bool(dataset.validation))
    trainer = CompletionTrainer(
        model=get_peft_model(model, lora),
        args=config,
        train_dataset=HubDataset.from_list([dict(row) for row in dataset.train]),
        eval_dataset=HubDataset.from_list([dict(row) for row in dataset.validation]) if dataset.validation else None,
        processing_class=tokenizer,
        callbacks=[log],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        # TRL turns a quantised model's adapter to bfloat16; in that precision Adam's small late steps are rounded away.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def _config(settings: TrainSettings, folder: Path, *, bf16: bool, validate: bool) -> SFTConfig:
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=_WARMUP,
        optim="adamw_torch",
        seed=settings.seed,
        data_seed=settings.seed,
        # Nothing may be cut: every row has been measured already.
        max_length=None,
        completion_only_loss=True,
        packing=False,
        use_cpu=not on_gpu,
        bf16=bf16,
        # Recomputing activations buys memory that small models on a CPU do not need, for a third more time.
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        eval_strategy="epoch" if validate else "no",
        eval_on_start=validate,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]  # trl ships no types
    """SFTTrainer that applies the language-model head only where a batch has something to learn.

    Off a GPU, TRL 1.16 scores every position, prompt and padding included, with entropy and accuracy beside the loss.
    Leaving that out takes a sixth off a step of SmolLM2 on 2 cores, and 0.17 GiB. The loss is the same number: the sum
    over learned tokens of -log p(token), divided by how many there are in the batch.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        labels = inputs["labels"]
        if return_outputs or labels.is_cuda:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        learned = labels[:, 1:] != IGNORED
        # The position before a token predicts it, and rows are padded on the right: nothing is learned before this.
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


class LossLog(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Collects the curve, the validation losses and the tokens seen, and reports each step."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.curve: list[Step] = []
        self.validation: list[Validation] = []
        self.tokens = 0
        self.seconds = 0.0
        self._started = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds = time.monotonic() - self._started

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        step, epoch = int(state.global_step), float(state.epoch or 0)
        if "eval_loss" in logs:
            self.validation.append(Validation(step=step, epoch=epoch, loss=logs["eval_loss"]))
            self._report(state, {"validation_loss": logs["eval_loss"]})
        elif "loss" in logs:
            self.tokens = int(state.num_input_tokens_seen)
            rate = float(logs["learning_rate"])
            self.curve.append(Step(step=step, epoch=epoch, loss=logs["loss"], learning_rate=rate))
            self._report(state, {})

    def _report(self, state: Any, extra: dict[str, Any]) -> None:
        done, total = int(state.global_step), int(state.max_steps)
        elapsed_s = time.monotonic() - self._started
        numbers: dict[str, Any] = {"done": done, "total": total, "epoch": round(float(state.epoch or 0), 2)}
        if self.curve:
            numbers |= {"loss": self.curve[-1].loss, "tokens": self.tokens}
        if done:
            numbers["eta_s"] = elapsed_s / done * (total - done)
        self.progress("train", numbers | extra)
