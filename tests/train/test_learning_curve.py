"""The learning curve: what is trained, what follows from it, and one on a real, tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import NoWork
from tests.train import tiny
from train.base_model import Base
from train.dataset import Dataset
from train.intervals import Interval, share
from train.learning_curve import SHARES, in_words, learning_curve
from train.sft import tune

ROWS = Dataset("whole", tiny.rows(200))


def curve(value: Callable[[Dataset, int], float], **more: Any) -> Any:
    """A curve whose pass rates are `value(part, random seed)`."""

    def train(part: Dataset, seed: int) -> Any:
        return SimpleNamespace(adapter_id=f"{part.id} {seed}", validation=(), value=value(part, seed))

    def measure(result: Any) -> Interval:
        return share([round(1000 * result.value)], [1000])

    return learning_curve(ROWS, train, measure, seed=17, **more)


def test_three_shares_are_trained_with_two_seeds_each() -> None:
    """Smaller shares lie in larger ones, each random seed draws its own rows, and all rows are the dataset itself."""
    parts: dict[tuple[int, int], Dataset] = {}

    def value(part: Dataset, seed: int) -> float:
        parts[len(part.train), seed] = part
        return 0.5

    found = curve(value)
    assert [(point.rows, point.seed) for point in found.points] == [
        (rows, seed) for rows in (50, 100, 200) for seed in (17, 18)
    ]
    ids = {place: {row["pair_id"] for row in part.train} for place, part in parts.items()}
    assert ids[50, 17] < ids[100, 17] < ids[200, 17]
    assert ids[50, 17] != ids[50, 18]
    assert parts[200, 17].id == "whole"
    assert len({part.id for part in parts.values()}) == 5


def test_what_more_rows_buy_is_read_off_the_curve() -> None:
    """Ten points for each doubling: 500 beside 200 rows are 1.81 doublings. Chance widens it, and that is said."""
    steady = curve(lambda part, seed: {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)])
    assert steady.more.estimate == pytest.approx(0.1 * 1.8074, abs=0.001)
    assert steady.floor == pytest.approx(0, abs=1e-9)
    noisy = curve(lambda part, seed: {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)] + (0.1 if seed == 17 else -0.1))
    assert noisy.more.low < 0 < noisy.more.estimate < noisy.more.high
    assert noisy.run_sd == pytest.approx(0.1414, abs=0.001)
    assert any("includes nothing at all" in line for line in in_words(noisy))


def test_a_slice_helps_or_hurts_only_beyond_the_noise() -> None:
    """Left out alone, and compared with both trainings on all rows; one too small or of all rows is not tried."""
    ids = [row["pair_id"] for row in ROWS.train]
    slices = {"backward rows": ids[:60], "forward rows": ids[60:], "a handful": ids[:3], "all": ids}

    def value(part: Dataset, seed: int) -> float:
        kept = {row["pair_id"] for row in part.train}
        if part.id != "whole" and len(kept) in (140, 60):
            return 0.7 if ids[0] in kept else 0.4
        return 0.6 + (0.01 if seed == 17 else -0.01)

    found = curve(value, slices=slices)
    assert [(point.slice, point.rows) for point in found.slices] == [("forward rows", 60), ("backward rows", 140)]
    forward, backward = in_words(found)[-2:]
    assert forward == "without forward rows (140 rows): pass rate +0.10, the slice hurts"
    assert backward == "without backward rows (60 rows): pass rate -0.20, the slice helps"


def test_what_cannot_be_measured_is_said() -> None:
    """Too few rows, and neither validation inputs nor rows, are no work; a loss stands in where there is no input."""
    with pytest.raises(NoWork, match="7 rows are too few"):
        learning_curve(Dataset("few", tiny.rows(7)), _never, lambda result: None, seed=1)

    def lossless(part: Dataset, seed: int) -> Any:
        return SimpleNamespace(adapter_id="a", validation=())

    with pytest.raises(NoWork, match="neither validation inputs nor validation rows"):
        learning_curve(ROWS, lossless, lambda result: None, seed=1)


def _never(part: Dataset, seed: int) -> Any:
    raise AssertionError("nothing is trained")


def test_a_tiny_model_has_a_curve(tiny_base: Base, tmp_path: Path) -> None:
    """Six trainings, the validation loss of each, and the next time all are found again."""
    dataset = Dataset("tiny", tiny.rows(16), tiny.rows(2, start=90))
    told: list[str] = []

    def train(part: Dataset, seed: int) -> Any:
        return tune(tiny_base, part, tiny.settings(seed=seed, epochs=2), tmp_path)

    first = learning_curve(dataset, train, lambda result: None, seed=3, say=told.append)
    assert (first.of, len(first.points), len(told)) == ("loss", 2 * len(SHARES), 6)
    assert all(point.loss for point in first.points)
    assert len({point.adapter_id for point in first.points}) == 6
    assert learning_curve(dataset, train, lambda result: None, seed=3) == first
