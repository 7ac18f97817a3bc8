"""Tests of the learning curve: what is trained, what is concluded from it, and one on a real, tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import NoWork
from tests.train import tiny
from train.base_models.base_model import Base
from train.dataset import Dataset, PreferenceRow
from train.evaluation.intervals import Interval, share
from train.learning_curve import SHARES, in_words, learning_curve
from train.sft import tune

ROWS = Dataset("whole", tiny.rows(200))


def curve(value: Callable[[Dataset, int], float], *, rows: Dataset = ROWS, inputs: int = 1000, **more: Any) -> Any:
    """A curve of pass rates on `inputs` inputs, given by `value(part, random seed)`."""

    def train(part: Dataset, seed: int) -> Any:
        return SimpleNamespace(adapter_id=f"{part.id} {seed}", validation=(), value=value(part, seed))

    def measure(result: Any) -> Interval:
        passed = round(inputs * result.value)
        return share([1] * passed + [0] * (inputs - passed), [1] * inputs)

    return learning_curve(rows, train, measure, seed=17, **more)


def test_three_shares_are_trained_with_two_seeds_each() -> None:
    """Smaller shares are subsets of larger ones, each random seed draws its own rows, and the full share is the dataset
    itself."""
    parts: dict[tuple[int, int], Dataset] = {}

    def value(part: Dataset, seed: int) -> float:
        parts[len(part.train), seed] = part
        return 0.5

    measured_curve = curve(value)
    assert [(point.rows, point.seed) for point in measured_curve.points] == [
        (rows, seed) for rows in (50, 100, 200) for seed in (17, 18)
    ]
    ids = {place: {row["pair_id"] for row in part.train} for place, part in parts.items()}
    assert ids[50, 17] < ids[100, 17] < ids[200, 17]
    assert ids[50, 17] != ids[50, 18]
    assert parts[200, 17].id == "whole"
    assert len({part.id for part in parts.values()}) == 5


def test_the_gain_of_more_rows_is_extrapolated() -> None:
    """Ten points per doubling: 500 rows added to 200 are 1.81 doublings. Noise widens the interval, and the text says
    so."""
    steady = curve(lambda part, seed: {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)])
    assert steady.more.estimate == pytest.approx(0.1 * 1.8074, abs=0.001)
    assert steady.floor == pytest.approx(0.005), "five of the thousand inputs, although the pairs agree"
    noisy = curve(lambda part, seed: {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)] + (0.1 if seed == 17 else -0.1))
    assert noisy.more.low < 0 < noisy.more.estimate < noisy.more.high
    assert noisy.run_sd == pytest.approx(0.1414, abs=0.001)
    assert any("the interval includes no change at all" in line for line in in_words(noisy))


def test_a_slice_helps_or_hurts_only_beyond_the_noise() -> None:
    """Each slice is left out by itself and compared with both trainings on all rows; one that is too small or has all
    rows is not tried."""
    ids = [row["pair_id"] for row in ROWS.train]
    slices = {"backward rows": ids[:60], "forward rows": ids[60:], "a handful": ids[:3], "all": ids}

    def value(part: Dataset, seed: int) -> float:
        kept = {row["pair_id"] for row in part.train}
        if part.id != "whole" and len(kept) in (140, 60):
            return 0.7 if ids[0] in kept else 0.4
        return 0.6 + (0.01 if seed == 17 else -0.01)

    measured_curve = curve(value, slices=slices)
    assert [(point.slice, point.rows) for point in measured_curve.slices] == [
        ("forward rows", 60),
        ("backward rows", 140),
    ]
    forward, backward = in_words(measured_curve)[-2:]
    assert forward == "without forward rows (140 rows): pass rate +0.10, the slice hurts"
    assert backward == "without backward rows (60 rows): pass rate -0.20, the slice helps"


def test_several_slices_must_differ_more_than_one() -> None:
    """Among six slices that make no difference, one exceeds the noise of a single comparison in about one curve of ten:
    all of them are within the noise in 95 % of curves. The printed noise floor is the one that decides."""
    ids = [row["pair_id"] for row in ROWS.train]

    def value(part: Dataset, seed: int) -> float:
        is_without_first = len(part.train) == 180 and part.train[0]["pair_id"] != ids[0]
        return (0.35 if is_without_first else 0.5) + (0.02 if seed == 17 else -0.02)

    def endings(number: int) -> list[str]:
        slices = {f"slice {at}": ids[at * 20 : at * 20 + 20] for at in range(number)}
        return [line.rpartition(", ")[2] for line in in_words(curve(value, slices=slices))[-number:]]

    assert endings(1) == ["the slice helps"]
    assert endings(6) == ["within the noise"] * 6
    for number, lost, ending in ((1, 5, "within the noise"), (1, 6, "the slice helps"), (6, 6, "within the noise")):

        def drop(part: Dataset, seed: int, lost: int = lost) -> float:
            return 0.5 - (lost / 50 if len(part.train) == 180 else 0)

        slices = {f"slice {at}": ids[at * 20 : at * 20 + 20] for at in range(number)}
        lines = in_words(curve(drop, inputs=50, slices=slices))
        (floor,) = (line for line in lines if line.startswith("noise floor"))
        assert lines[-1].endswith(ending)
        assert floor.endswith("(allowing for 6 slices)") == (number == 6)
        assert (float(floor.split()[7]) >= lost / 50) == (ending == "within the noise")


def test_agreeing_trainings_are_not_certainty() -> None:
    """If nothing or everything passes with any number of rows, the line is flat and its interval still has a width. The
    cost of leaving a slice out is noise up to five inputs, which no test confirms; with five inputs no two trainings
    can be distinguished."""
    for rate in (0.0, 1.0):
        flat = curve(lambda part, seed, rate=rate: rate, inputs=50)
        assert flat.more.estimate == pytest.approx(0)
        assert flat.more.high - flat.more.low > 0.04
        assert rate + flat.more.low >= 0
        assert rate + flat.more.high <= 1
    slices = {"old rows": {row["pair_id"] for row in ROWS.train[:60]}}
    for lost, ending in ((5, "within the noise"), (7, "the slice helps")):

        def value(part: Dataset, seed: int, lost: int = lost) -> float:
            return 0.5 - (lost / 50 if len(part.train) == 140 else 0)

        assert in_words(curve(value, inputs=50, slices=slices))[-1].endswith(ending)
    few = in_words(curve(lambda part, seed: 0.6, inputs=5))
    assert "noise floor: 5 validation inputs are too few to distinguish any two trainings" in few


@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_a_flat_line_changes_nothing(rate: float) -> None:
    """Six equal pass rates have a slope of zero, not of what rounding leaves: that was shown as -5e-16, and at a pass
    rate of 1 it may be a line that leaves the range."""
    flat = curve(lambda part, seed: rate, inputs=50)
    assert (flat.more.estimate, flat.more.is_limit) == (0, False)
    assert any("change the pass rate by about +0.00 [" in line for line in in_words(flat))
    few = curve(lambda part, seed: rate, inputs=5, group_sizes=[5])
    assert "noise floor: 5 validation inputs of 1 group are too few to distinguish any two trainings" in in_words(few)


def test_small_noise_is_shown_with_enough_digits() -> None:
    """Losses differ in the third digit, so "less than 0.00" would say that no difference can be chance; no noise at all
    has a wording of its own."""

    def drawn(noise: float) -> list[str]:
        def losses(part: Dataset, seed: int) -> Any:
            loss = 1 + 1 / len(part.train) + noise * (seed % 2)
            return SimpleNamespace(adapter_id="a", validation=[SimpleNamespace(step=1, loss=loss)])

        return in_words(learning_curve(ROWS, losses, lambda result: None, seed=1))

    assert "noise floor: two trainings that differ by 0.002 or less may differ by chance" in drawn(0.0006)
    assert "noise floor: trainings on the same number of rows gave identical results" in drawn(0.0)
    assert not any("0.00 " in line or "-0.00" in line for line in (*drawn(0.0006), *drawn(0.0)))


def test_extrapolations_stay_within_the_possible() -> None:
    """From 8 to 508 rows is further than the curve looks back, which the text says; a pass rate stays below 1, a loss
    above 0."""
    few = Dataset("few", tiny.rows(8))
    steep = curve(lambda part, seed: len(part.train) / 10, rows=few, inputs=50)
    assert 0.8 + steep.more.estimate <= 1
    assert 0.8 + steep.more.high <= 1
    assert any("this is a rough guess" in line for line in in_words(steep))
    assert not any("guess" in line for line in in_words(curve(lambda part, seed: 0.5)))

    def losses(part: Dataset, seed: int) -> Any:
        loss = 2.0 / len(part.train)
        return SimpleNamespace(adapter_id="a", validation=[SimpleNamespace(step=1, loss=loss)])

    fallen = learning_curve(few, losses, lambda result: None, seed=1)
    assert fallen.of == "loss"
    assert 0.25 + fallen.more.low >= 0


def test_preferences_are_split_with_the_rows_of_their_inputs() -> None:
    """Otherwise every point of a DPO or ORPO curve would have learned from all of them. If a part would have none,
    nothing is trained."""
    numbered = [tiny.row(f"pair-{number}", f"fox {number}", f"a fox, number {number} --ar 3:2") for number in range(40)]
    worse = [{"role": "assistant", "content": "no"}]
    preferences = [PreferenceRow(prompt=row["prompt"], chosen=row["completion"], rejected=worse) for row in numbered]
    learned: list[tuple[int, int]] = []

    def value(part: Dataset, seed: int) -> float:
        asked = [row["prompt"] for row in part.train]
        assert all(one["prompt"] in asked for one in part.preferences)
        learned.append((len(part.train), len(part.preferences)))
        return 0.5

    curve(value, rows=Dataset("d", numbered, preferences=preferences), of_preferences=True)
    assert learned == [(10, 10), (10, 10), (20, 20), (20, 20), (40, 40), (40, 40)]
    few = Dataset("d", numbered, preferences=preferences[:1])
    with pytest.raises(NoWork, match="1 preferences are too few for a learning curve"):
        learning_curve(few, _never, lambda result: None, seed=17, of_preferences=True)


def test_a_curve_that_cannot_be_measured_is_an_error() -> None:
    """Too few rows, or neither validation inputs nor validation rows, raise NoWork."""
    with pytest.raises(NoWork, match="7 rows are too few"):
        learning_curve(Dataset("few", tiny.rows(7)), _never, lambda result: None, seed=1)

    def lossless(part: Dataset, seed: int) -> Any:
        return SimpleNamespace(adapter_id="a", validation=())

    with pytest.raises(NoWork, match="neither validation inputs nor validation rows"):
        learning_curve(ROWS, lossless, lambda result: None, seed=1)


def _never(part: Dataset, seed: int) -> Any:
    raise AssertionError("nothing is trained")


def test_a_tiny_model_has_a_curve(tiny_base: Base, tmp_path: Path) -> None:
    """Six trainings with the validation loss of each; the next time all are reused."""
    dataset = Dataset("tiny", tiny.rows(16), tiny.rows(2, start=90))
    lines: list[str] = []

    def train(part: Dataset, seed: int) -> Any:
        return tune(tiny_base, part, tiny.settings(seed=seed, epochs=2), tmp_path)

    first = learning_curve(dataset, train, lambda result: None, seed=3, say=lines.append)
    assert (first.of, len(first.points), len(lines)) == ("loss", 2 * len(SHARES), 6)
    assert all(point.loss for point in first.points)
    assert len({point.adapter_id for point in first.points}) == 6
    assert learning_curve(dataset, train, lambda result: None, seed=3) == first


def test_inputs_of_one_group_count_as_one() -> None:
    """48 inputs in 12 groups are 12 independent observations: a difference of five groups (20 inputs) may be chance,
    and the interval for more rows is wider than with independent inputs. With five groups no two trainings can be
    distinguished."""
    slices = {"old rows": {row["pair_id"] for row in ROWS.train[:60]}}

    def value(part: Dataset, seed: int) -> float:
        return 0.25 if len(part.train) == 140 else {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)]

    alone, of_groups = (curve(value, inputs=48, slices=slices, group_sizes=sizes) for sizes in ((), [4] * 12))
    assert (alone.floor, of_groups.floor) == (pytest.approx(5 / 48), pytest.approx(20 / 48))
    assert (alone.group_sizes, of_groups.units) == ((), (4,) * 12)
    assert in_words(alone)[-1].endswith("the slice helps")
    assert in_words(of_groups)[-1].endswith("within the noise")
    assert of_groups.more.high - of_groups.more.low > 1.5 * (alone.more.high - alone.more.low)
    few = in_words(curve(value, inputs=40, group_sizes=[8] * 5))
    assert "noise floor: 40 validation inputs of 5 groups are too few to distinguish any two trainings" in few


def test_interval_includes_the_sampling_of_inputs() -> None:
    """Trainings that agree on a straight line say nothing about other inputs: if ten of fifty inputs begin to pass
    between a quarter and all of the rows, the true number may be five or fifteen. In simulations intervals from the
    trainings alone covered two of three cases."""
    steady = curve(lambda part, seed: {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)], inputs=50)
    assert steady.more.estimate == pytest.approx(0.181, abs=0.001)
    assert steady.more.high - steady.more.estimate > 0.09
    many = curve(lambda part, seed: {50: 0.4, 100: 0.5, 200: 0.6}[len(part.train)], inputs=5000)
    assert many.more.high - many.more.estimate < 0.015


def test_a_line_that_leaves_the_range_is_a_limit() -> None:
    """From 0.92, growing in steps of ten points, more rows cannot add more than 0.08. That the fitted line predicts
    more proves nothing, so the interval includes no change. A fall is called a change, not a gain."""
    steep = curve(lambda part, seed: {50: 0.7, 100: 0.8, 200: 0.92}[len(part.train)], inputs=500)
    assert (steep.more.low, steep.more.is_limit) == (0, True)
    assert steep.more.high == steep.more.estimate == pytest.approx(0.08)
    ending = "; the line leaves the possible range, so this is only the most that the pass rate can still change"
    assert ending in in_words(steep)[-1]
    falling = in_words(curve(lambda part, seed: {50: 0.7, 100: 0.65, 200: 0.6}[len(part.train)]))[-1]
    assert falling.startswith("500 more rows like these would change the pass rate by about -0.09")


def test_a_training_without_a_pass_rate_is_reported() -> None:
    """Two of six trainings gave only truncated answers: the curve shows losses instead of pass rates, and says why."""

    def train(part: Dataset, seed: int) -> Any:
        loss = SimpleNamespace(step=1, loss=1 + 1 / len(part.train))
        return SimpleNamespace(adapter_id="a", validation=[loss], rows=len(part.train))

    def measure(result: Any) -> Interval | None:
        return None if result.rows == 50 else share([1] * 20, [1] * 20)

    lines = in_words(learning_curve(ROWS, train, measure, seed=1, group_sizes=[4] * 5))
    assert not any("validation inputs" in line for line in lines), "a loss is not of inputs in groups"
    assert lines[0] == "shown as validation loss: 2 trainings gave no answer, and so have no pass rate"
    assert lines[1].startswith("25% of the rows (50): loss")
