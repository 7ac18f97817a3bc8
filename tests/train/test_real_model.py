"""Test with the real weights and a few steps: QLoRA on a CPU learns, and the adapter answers under its own name."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from schemas.spec import TrainSettings
from synth.embedded.process import embedded
from tests.train.tiny import row, rows, settings
from train.base_models.base_model import find_base
from train.dataset import Dataset
from train.evaluation.adapter_check import Probe, check_adapter, score
from train.evaluation.metrics import AdapterCheck
from train.sft import tune


@pytest.mark.model
def test_qlora_on_smollm2_learns(smollm2_folder: Path, tmp_path: Path) -> None:
    """Eight steps of NF4 QLoRA more than halve the validation loss on these easy rows. On the embedded server the text
    that they teach is more likely with the adapter, and with the merged weights, than with the base."""
    base = find_base(TrainSettings(), tmp_path)
    given = settings(method="qlora", r=8, learning_rate=2e-3, epochs=2)
    result = tune(base, Dataset("d", rows(16), rows(4, start=16)), given, tmp_path)
    assert result.four_bit_layers == 210
    before, after = result.validation[0].loss, result.validation[-1].loss
    assert after < before / 2
    assert result.peak_gib < 3.5
    text = rows(1, start=17)[0]
    merged = Path(result.folder) / "merged"
    check, on_merged = asyncio.run(_scores(base.folder, Path(result.folder), merged, text["completion"][0]["content"]))
    assert check.tuned > check.base + check.tokens * 0.5
    assert result.merged is not None
    assert [build.into for build in result.merged.builds] == ["rounded", "stock"]
    assert result.merged.rows == 4
    # Merged weights are rounded to 16 bits again; the adapter is scored on the original base here.
    assert on_merged > check.base + check.tokens * 0.5


async def _scores(base: Path, adapter: Path, merged: Path, text: str) -> tuple[AdapterCheck, float]:
    from schemas.records import Message

    given = row("scored", "two boats", text)
    messages = tuple(Message.model_validate(message) for message in given["prompt"])
    async with embedded(base, adapters={"tuned": adapter}) as server:
        check = await check_adapter(partial(score, server.base_url), server.model, "tuned", [Probe(messages, text)])
    async with embedded(merged) as server:
        on_merged, _ = await score(server.base_url, server.model, messages, text)
    return check, on_merged
