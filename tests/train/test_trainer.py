"""The cheaper loss is TRL's loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.spec import TrainSettings
from tests.train.tiny import row, rows
from train.base_model import Base, load_for_training
from train.quiet import quiet


@pytest.fixture
def trainer(tiny_base: Base, tokenizer: Any, tmp_path: Path) -> Any:
    """A trainer over rows of unequal prompts and completions, so that learning starts at another column in each."""
    with quiet():
        from datasets import Dataset
        from trl import SFTConfig

        from train.trainer import CompletionTrainer

        given = [*rows(2), row("long-prompt", "a fox " * 20, "a fox"), row("long", "a fox", "a fox, warm light " * 8)]
        model, _ = load_for_training(tiny_base, TrainSettings(method="lora"))
        args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_length=None)
        data = Dataset.from_list([dict(one) for one in given])
        return CompletionTrainer(model=model.float(), args=args, train_dataset=data, processing_class=tokenizer)


@pytest.mark.parametrize("items", [None, 50])
def test_it_is_the_loss_of_trl(trainer: Any, items: int | None) -> None:
    """The same value and gradient as TRL's own loss, per batch and when the caller says how many tokens count."""
    from trl import SFTTrainer

    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    with quiet():
        losses = {}
        for name, loss_of in (("ours", trainer.compute_loss), ("theirs", SFTTrainer.compute_loss.__get__(trainer))):
            trainer.model.requires_grad_(True)
            trainer.model.zero_grad()
            loss = loss_of(trainer.model, dict(batch), num_items_in_batch=items)
            loss.backward()
            gradient = trainer.model.model.layers[0].self_attn.q_proj.weight.grad.clone()
            losses[name] = (loss.item(), gradient)
    assert losses["ours"][0] == pytest.approx(losses["theirs"][0], rel=1e-4)
    scale = losses["theirs"][1].abs().max()
    assert float((losses["ours"][1] - losses["theirs"][1]).abs().max()) < 1e-3 * float(scale)


def test_two_gpus_make_no_data_parallel(tmp_path: Path) -> None:
    """Where a machine shows two GPUs, one trains: a 4-bit model cannot be copied, and the batch stays as asked."""
    from trl import SFTConfig

    from train.trainer import on_one_device

    with quiet():
        config = SFTConfig(output_dir=str(tmp_path), per_device_train_batch_size=4, use_cpu=True, bf16=False)
    assert config.device.type == "cpu"
    config._n_gpu = 2
    assert config.train_batch_size == 8
    assert on_one_device(config).n_gpu == 1
    assert config.train_batch_size == 4


def test_the_memory_that_is_told_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU its memory is what runs out; elsewhere it is this process's."""
    import torch

    from train.trainer import memory

    assert min(memory().values()) > 0.05
    for name, answer in (("is_available", True), ("memory_allocated", 3 * 2**30), ("max_memory_allocated", 5 * 2**30)):
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    assert memory() == {"memory_gib": 3.0, "peak_gib": 5.0}
