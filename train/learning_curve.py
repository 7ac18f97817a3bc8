"""The learning curve: how the tuned model improves with more rows, what further rows would gain, and the effect of each
slice.

The model is trained on 25, 50 and 100 % of the rows, each with two random seeds, which also draw the rows. The greedy
pass rate is measured on validation inputs, never on the test. Two runs on the same number of rows differ by chance:
that is the noise floor, and a smaller difference means nothing. Two runs that happen to agree do not prove the absence
of noise: the floor is never below what an exact test could detect on as many inputs, and no point is assumed to be more
precise than one input. Inputs that belong together count as one. A slice (rows of one origin or source) is left out in
a separate training. Preferences follow the rows of their inputs.

Not covered: another base, other settings, and rows unlike the present ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from schemas.errors import NoWork
from schemas.identity import random_sort_key
from schemas.progress import Say, discard_message
from schemas.records import Record, content_id
from schemas.wording import counted
from train.evaluation.intervals import Interval, student_quantile
from train.results import TrainResult

if TYPE_CHECKING:
    from train.dataset import Dataset

SHARES, SEEDS, MIN_ROWS, MORE = (0.25, 0.5, 1.0), 2, 8, 500
_LEVEL, _MIN_SLICE_SHARE, _MAX_SLICES = 0.95, 0.05, 6
# On the logarithmic scale, this factor reaches as far ahead as the smallest share reaches back.
_FAR = 1 / SHARES[0]

Train = Callable[["Dataset", int], TrainResult]
"""Trains on a dataset with a random seed."""
Measure = Callable[[TrainResult], Interval | None]
"""The pass rate of an adapter on validation inputs; None where it could not be measured."""


class Point(Record):
    """One training on `rows` rows (`share` of all, or all without the `slice`), with its pass rate and lowest
    validation loss; each is None if it was not measured."""

    rows: int
    share: float
    seed: int
    adapter_id: str
    pass_rate: Interval | None
    loss: float | None
    slice: str = ""


class Gain(Record):
    """What `rows` more rows would change, with a 95 % interval: the pass rate or loss, extrapolated along the logarithm
    of the number of rows and limited to possible values. `is_limit`: the line leaves the range of a pass rate, so the
    estimate is that limit."""

    rows: int
    of: str
    estimate: float
    low: float
    high: float
    is_limit: bool = False


class LearningCurve(Record):
    """`points` are the curve, `slices` the trainings with a slice left out. `run_sd` is the standard deviation between
    trainings on the same number of rows, of the measure `of` (`pass rate` or `loss`). `group_sizes` are the numbers of
    validation inputs that belong together, the largest first; empty if each stands alone."""

    dataset_id: str
    rows: int
    of: str
    points: tuple[Point, ...]
    slices: tuple[Point, ...]
    run_sd: float
    more: Gain
    group_sizes: tuple[int, ...] = ()

    @property
    def inputs(self) -> int:
        """The number of validation inputs behind the pass rates; 0 for a loss."""
        rates = [point.pass_rate for point in self.points if point.pass_rate] if self.of == "pass rate" else []
        return min((rate.seeds for rate in rates), default=0)

    @property
    def units(self) -> tuple[int, ...]:
        """The sizes of the groups of validation inputs, counting an input that stands alone as a group; none for a
        loss."""
        return (self.group_sizes or (1,) * self.inputs) if self.inputs else ()

    @property
    def floor(self) -> float:
        """The noise floor: two trainings that differ by no more may differ by chance (95 %). It holds for all slices at
        once (Bonferroni), and is at least the share of the inputs, in the largest groups, that are too few for a test.
        """
        by_chance = student_quantile(len(SHARES), 1 - self._risk) * math.sqrt(2) * self.run_sd
        return max(by_chance, sum(self.units[: self.min_units - 1]) / self.inputs) if self.inputs else by_chance

    @property
    def min_units(self) -> int:
        """The least number of inputs (or groups) with which two trainings can be distinguished: n that all favour one
        side have p = 2 ** (1 - n) in the sign-flip test."""
        return math.ceil(1 - math.log2(self._risk))

    @property
    def _risk(self) -> float:
        return (1 - _LEVEL) / max(1, len(self.slices))

    def value(self, point: Point) -> float:
        """The point's value of the measure."""
        number = point.pass_rate.estimate if self.of == "pass rate" and point.pass_rate else point.loss
        assert number is not None, "every point has the measure of the curve"
        return number


def learning_curve(
    dataset: Dataset,
    train: Train,
    measure: Measure,
    *,
    seed: int,
    slices: Mapping[str, Collection[str]] | None = None,
    group_sizes: Sequence[int] = (),
    of_preferences: bool = False,
    say: Say = discard_message,
) -> LearningCurve:
    """Train on parts of the rows and measure. `slices` maps a name to ids of rows; slices of less than a twentieth of
    the rows, or of all rows, are left out. `group_sizes` as in the result.

    Raises NoWork with fewer than 8 rows, if a training that learns from preferences (`of_preferences`) would have none,
    and if nothing can be measured.
    """
    number = len(dataset.train)
    if number < MIN_ROWS:
        raise NoWork(f"{number} rows are too few for a learning curve.", fix=f"Provide at least {MIN_ROWS} rows.")
    jobs = [(share, seed + at, "") for share in SHARES for at in range(SEEDS)]
    named = {name: {*ids} & {row["pair_id"] for row in dataset.train} for name, ids in (slices or {}).items()}
    fitting = [name for name, ids in named.items() if _MIN_SLICE_SHARE * number <= len(ids) < number]
    jobs += [(1.0, seed, name) for name in sorted(fitting, key=lambda name: -len(named[name]))[:_MAX_SLICES]]
    parts = [_part(dataset, share, random_seed, named.get(left_out, set())) for share, random_seed, left_out in jobs]
    if of_preferences and not all(part.preferences for part in parts):
        raise NoWork(
            f"{len(dataset.preferences)} preferences are too few for a learning curve: some parts would have none.",
            fix="Provide more, or compute the curve with train.objective = 'sft'.",
        )
    points = []
    for at, ((share, random_seed, left_out), part) in enumerate(zip(jobs, parts, strict=True), 1):
        what = f"without {left_out}" if left_out else f"{share:.0%} of the rows, random seed {random_seed}"
        say(f"learning curve, training {at} of {len(jobs)}: {what}")
        result = train(part, random_seed)
        losses = [measured.loss for measured in result.validation if measured.step]
        points.append(
            Point(
                rows=len(part.train),
                share=share,
                seed=random_seed,
                adapter_id=result.adapter_id,
                pass_rate=measure(result),
                loss=min(losses, default=None),
                slice=left_out,
            )
        )
    return _fit_curve(dataset, points, group_sizes)


def _part(dataset: Dataset, share: float, seed: int, without: Collection[str]) -> Dataset:
    """A share of the rows, drawn by a hash of the seed so that smaller shares are subsets of larger ones. The full
    share is the dataset itself, so that its adapter is reused."""
    if share == 1.0 and not without:
        return dataset

    kept = [row for row in dataset.train if row["pair_id"] not in without]
    shuffled = sorted((row["pair_id"] for row in kept), key=lambda pair_id: random_sort_key(f"{seed}\0{pair_id}"))
    chosen = set(shuffled[: round(share * len(kept))])
    rows = [row for row in kept if row["pair_id"] in chosen]
    prompts = {json.dumps(row["prompt"], sort_keys=True) for row in rows}
    preferences = [
        preference for preference in dataset.preferences if json.dumps(preference["prompt"], sort_keys=True) in prompts
    ]
    part_id = content_id("part", [dataset.id, sorted(chosen)])
    return replace(dataset, id=part_id, train=rows, preferences=preferences)


def _fit_curve(dataset: Dataset, points: Sequence[Point], group_sizes: Sequence[int]) -> LearningCurve:
    of = "pass rate" if all(point.pass_rate for point in points) else "loss"
    if of == "loss" and any(point.loss is None for point in points):
        raise NoWork(
            "the learning curve cannot be measured: there are neither validation inputs nor validation rows.",
            fix="Raise split.validation, and run curation again.",
        )
    curve = tuple(point for point in points if not point.slice)
    slices = tuple(point for point in points if point.slice)
    empty_gain = Gain(rows=MORE, of=of, estimate=0, low=0, high=0)
    unfitted = LearningCurve(
        dataset_id=dataset.id,
        rows=len(dataset.train),
        of=of,
        points=curve,
        slices=slices,
        run_sd=0.0,
        more=empty_gain,
        group_sizes=tuple(sorted(group_sizes, reverse=True)) if max(group_sizes, default=1) > 1 else (),
    )
    import numpy as np

    pairs = [[unfitted.value(point) for point in curve if point.share == share] for share in SHARES]
    run_sd = math.sqrt(float(np.mean([np.var(pair, ddof=1) for pair in pairs])))
    return unfitted.model_copy(update={"run_sd": run_sd, "more": _gain(unfitted)})


def _gain(curve: LearningCurve) -> Gain:
    """Least squares on the logarithm of the number of rows.

    The interval of the slope combines two errors, both by Student's t: that of trainings, with points assumed to vary
    by at least one input; and that of inputs (or groups), of which at least as many change between the fewest and all
    rows as the line rises or falls. It is limited to the range of the measure, and if the line itself leaves that, the
    interval includes no change at all.
    """
    import numpy as np

    values, x = np.array([curve.value(point) for point in curve.points]), np.log([point.rows for point in curve.points])
    spread, reach = x - x.mean(), float(np.ptp(x))
    slope = round(float(spread @ values / (spread @ spread)), 12)  # a flat line has exactly none
    residuals, degrees = values - values.mean() - slope * spread, len(x) - 2
    min_sd = 1 / curve.inputs if curve.inputs else 0.0
    of_trainings = math.sqrt(max(float(residuals @ residuals) / degrees, min_sd**2) / float(spread @ spread))
    changed, sizes = min(1.0, abs(slope * reach)), np.array(curve.units or (1,), dtype=np.float64)
    independent = float(sizes.sum() ** 2 / (sizes**2).sum())
    of_inputs = math.sqrt(changed * (1 - changed) / independent) / reach if curve.inputs else 0.0
    of_inputs *= student_quantile(max(1, math.floor(independent + 1e-9) - 1), _LEVEL)
    half = math.hypot(student_quantile(degrees, _LEVEL) * of_trainings, of_inputs)
    ahead = math.log((curve.rows + MORE) / curve.rows)
    present = fmean(curve.value(point) for point in curve.points if point.share == 1.0)
    most = 1 - present if curve.of == "pass rate" else math.inf
    low, estimate, high = np.clip([(slope + side * half) * ahead for side in (-1, 0, 1)], -present, most).tolist()
    if is_limit := estimate != slope * ahead:
        low, high = min(low, 0.0), max(high, 0.0)
    return Gain(rows=MORE, of=curve.of, estimate=estimate, low=low, high=high, is_limit=is_limit)


def in_words(curve: LearningCurve) -> list[str]:
    """The curve in lines, what 500 more rows would gain, and the effect of each slice."""
    unmeasured = sum(point.pass_rate is None for point in (*curve.points, *curve.slices))
    lines = []
    if 0 < unmeasured < len(curve.points) + len(curve.slices):
        gave = "gave no answer, and so"
        which = counted(unmeasured, f"training {gave} has", f"trainings {gave} have")
        lines.append(f"shown as validation loss: {which} no pass rate")
    for share in SHARES:
        points = [point for point in curve.points if point.share == share]
        values = " and ".join(f"{curve.value(point):.2f}" for point in points)
        lines.append(f"{share:.0%} of the rows ({points[0].rows}): {curve.of} {values}")
    inputs = counted(curve.inputs, "validation input", "validation inputs")
    inputs += f" of {counted(len(curve.units), 'group', 'groups')}" if curve.group_sizes else ""
    too_few = f"noise floor: {inputs} {'is' if curve.inputs == 1 else 'are'} too few to distinguish any two trainings"
    floor = f"noise floor: two trainings that differ by {_digits(curve.floor)} or less may differ by chance"
    if not curve.floor:
        floor = "noise floor: trainings on the same number of rows gave identical results"
    elif len(curve.slices) > 1:
        floor += f" (allowing for {len(curve.slices)} slices)"
    lines.append(too_few if 0 < len(curve.units) < curve.min_units else floor)
    more = curve.more
    span = f"{_digits(more.estimate, '+')} [{_digits(more.low, '+')}, {_digits(more.high, '+')}]"
    flat = "; the interval includes no change at all" if more.low <= 0 <= more.high else ""
    if more.is_limit:
        flat = f"; the line leaves the possible range, so this is only the most that the {more.of} can still change"
    is_far = curve.rows + more.rows > _FAR * curve.rows
    guess = "; this is a rough guess, because it extrapolates further than the curve reaches back" if is_far else ""
    change = f"{more.rows} more rows like these would change the {more.of} by about {span}"
    lines.append(f"{change}, if the curve continues{flat}{guess}")
    full_values = [curve.value(point) for point in curve.points if point.share == 1.0]
    lines += [_describe_slice(curve, point, sum(full_values) / len(full_values)) for point in curve.slices]
    return lines


def _describe_slice(curve: LearningCurve, point: Point, all_rows: float) -> str:
    change = curve.value(point) - all_rows
    better = change > 0 if curve.of == "pass rate" else change < 0
    sense = "hurts" if better else "helps"
    effect = f"the slice {sense}" if abs(change) > curve.floor + 1e-9 else "within the noise"
    return f"without {point.slice} ({curve.rows - point.rows} rows): {curve.of} {_digits(change, '+')}, {effect}"


def _digits(value: float, sign: str = "") -> str:
    """Two decimals; a non-zero value that would be shown as 0.00 gets one significant digit instead."""
    return format(value, f"{sign}z.2f" if abs(value) >= 0.005 or not value else f"{sign}.1g")
