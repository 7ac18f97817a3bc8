"""Tests of the trainer: its cheaper loss equals TRL's, and every setting reaches it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from schemas.progress import unseen
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from tests.train.tiny import row, rows, settings
from train.base_models.base_model import Base, load_for_training
from train.dataset import Dataset
from train.quiet import quiet


@pytest.fixture
def trainer(tiny_base: Base, tokenizer: Any, tmp_path: Path) -> Any:
    """A trainer on rows with unequal prompts and completions, so that the loss starts at another column in each."""
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
def test_the_loss_equals_that_of_trl(trainer: Any, items: int | None) -> None:
    """The same value and gradient as TRL's own loss, per batch and with a given number of tokens."""
    from trl import SFTTrainer

    trainer.model.train()
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
    assert trainer.last_rows().count("[[") == 2, "a run that stops shows rows of its last batch"
    scale = losses["theirs"][1].abs().max()
    assert float((losses["ours"][1] - losses["theirs"][1]).abs().max()) < 1e-3 * float(scale)


def test_every_setting_reaches_the_trainer(tiny_base: Base, chat: Chat, tmp_path: Path) -> None:
    """Under the library's names, with no value at its default; a share of warm-up becomes a share of the steps."""
    import torch

    given = settings(
        r=3, alpha=7, dropout=0.1, learning_rate=3e-3, batch=2, epochs=1.5, seed=5, accumulation=3, schedule="cosine",
        warmup=0.25, weight_decay=0.02, targets=["q_proj", "v_proj"], rslora=True, dora=True, neftune=5.0,
        evaluation_steps=2, patience=4,
    )  # fmt: skip
    with quiet():
        from transformers import EarlyStoppingCallback

        from train import trainer as subject

        model, _ = load_for_training(tiny_base, given)
        dataset = Dataset("d", rows(8), rows(2, start=8))
        log = subject.LossLog(unseen)
        built = subject.adapter_trainer(model, chat, dataset, given, tmp_path, log)
        packed = subject._config(settings(packing=True, max_length=64), tmp_path, torch.float32, validate=False)
        half = subject.arguments(given, tmp_path, torch.float16, validate=False)
    args, lora = built.args, built.model.peft_config["default"]
    expected = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "learning_rate": 3e-3,
        "num_train_epochs": 1.5, "lr_scheduler_type": "cosine", "weight_decay": 0.02, "neftune_noise_alpha": 5.0,
        "seed": 5, "data_seed": 5, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2,
        "load_best_model_at_end": True, "packing": False, "fp16": False,
    }  # fmt: skip
    assert {name: getattr(args, name) for name in expected} == expected
    assert args.get_warmup_steps(100) == 25
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (3, 7, 0.1)
    assert (lora.target_modules, lora.use_rslora, lora.use_dora) == (["q_proj", "v_proj"], True, True)
    (stopper,) = (one for one in built.callback_handler.callbacks if isinstance(one, EarlyStoppingCallback))
    assert stopper.early_stopping_patience == 4
    assert (packed.packing, packed.max_length) == (True, 64)
    assert (half["fp16"], half["bf16"]) == (True, False)
    assert log.shown == built.last_rows


def test_of_two_gpus_only_one_trains(tmp_path: Path) -> None:
    """A 4-bit model cannot be copied to a second GPU, and the batch size stays as configured."""
    from trl import SFTConfig

    from train.trainer import on_one_device

    with quiet():
        config = SFTConfig(output_dir=str(tmp_path), per_device_train_batch_size=4, use_cpu=True, bf16=False)
    assert config.device.type == "cpu"
    config._n_gpu = 2
    assert config.train_batch_size == 8
    assert on_one_device(config).n_gpu == 1
    assert config.train_batch_size == 4


def test_reported_memory_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU its memory is what runs out; otherwise it is this process's."""
    import torch

    from train.trainer import memory

    assert min(memory().values()) > 0.05
    for name, answer in (("is_available", True), ("memory_allocated", 3 * 2**30), ("max_memory_allocated", 5 * 2**30)):
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    assert memory() == {"memory_gib": 3.0, "peak_gib": 5.0}


def test_warnings_about_checkpoint_times_are_silenced() -> None:
    """A short training writes several checkpoints within a second, and transformers warns that it orders them by step,
    which is intended. Outside `quiet` the logger is unchanged."""
    transformers = logging.getLogger("transformers.trainer_utils")
    before = transformers.isEnabledFor(logging.WARNING)
    with quiet():
        assert not transformers.isEnabledFor(logging.WARNING)
    assert transformers.isEnabledFor(logging.WARNING) == before


def test_fewer_rows_at_a_time_learn_the_same(
    tiny_base: Base, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows of a batch could take too much memory, they are computed one after the other, which is reported:
    with as many steps and the same adapter, apart from rounding."""
    import torch

    adapters, messages = [], []
    for free in (2**40, 0):
        with quiet():
            from transformers import set_seed

            from train import trainer as subject

            monkeypatch.setattr(subject, "free_bytes", lambda free=free: free)
            set_seed(1)
            log = subject.LossLog(lambda _, numbers: messages.extend(filter(None, [numbers.get("message")])))
            model, _ = load_for_training(tiny_base, TrainSettings(method="lora"))
            data, given = Dataset("d", rows(7), []), settings(dropout=0.0)
            built = subject.adapter_trainer(model.float(), chat, data, given, tmp_path / str(free), log)
            subject.train(built, tmp_path / str(free), log)
        assert (built.args.per_device_train_batch_size, built.state.global_step) == (4 if free else 1, 4)
        adapters.append(torch.cat([p.flatten() for p in built.model.parameters() if p.requires_grad]))
    assert torch.allclose(*adapters, atol=2e-4)
    assert [message.endswith("so they are computed 1 at a time") for message in messages] == [True]


def test_as_many_rows_at_a_time_as_fit(tiny_base: Base) -> None:
    """A divisor of the batch, so that each step learns from as many rows as the spec says; one row if none fits."""
    with quiet():
        from train.adapter import new_adapter
        from train.batch_memory import rows_at_once

        model, _ = load_for_training(tiny_base, TrainSettings(method="lora"))
        adapted = new_adapter(model, settings())
    one = next(free for free in range(1, 2**30, 2**20) if rows_at_once(adapted, 6, 300, 100, 2 * free) > 1) // 2
    assert [rows_at_once(adapted, 6, 300, 100, share * one) for share in (1, 3, 9, 11, 20)] == [1, 1, 3, 3, 6]
    assert rows_at_once(adapted, 6, 600, 200, 9 * one) < rows_at_once(adapted, 6, 300, 100, 9 * one)
