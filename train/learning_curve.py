"""The learning curve: how the tuned model grows with its rows, what more of them would buy, and what each slice does.

Trained are 25, 50 and 100 % of the rows, each with two random seeds, which also draw the rows; measured is the greedy
pass rate on validation inputs, never on the test. Two runs on as many rows differ by chance: that is the noise floor,
and a difference below it means nothing. A slice (rows of one origin or source) is left out of a training of its own.

Not covered: another base, other settings, and rows that are unlike those that are there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from schemas.errors import NoWork
from schemas.progress import Say, unheard
from schemas.records import Record, content_id
from train.dataset import Dataset, Row
from train.intervals import Interval, student_quantile
from train.results import TrainResult

SHARES, SEEDS, LEAST_ROWS, MORE = (0.25, 0.5, 1.0), 2, 8, 500
_LEVEL, _LEAST_SLICE, _MOST_SLICES = 0.95, 0.05, 6

Train = Callable[[Dataset, int], TrainResult]
"""Trains on a dataset with a random seed."""
Measure = Callable[[TrainResult], Interval | None]
"""The pass rate of an adapter on validation inputs; None where it could not be measured."""


class Point(Record):
    """One training: on `rows` of the rows (`share`, or all without the `slice`), with its pass rate and the lowest
    validation loss, None where that was not measured."""

    rows: int
    share: float
    seed: int
    adapter_id: str
    pass_rate: Interval | None
    loss: float | None
    slice: str = ""


class Gain(Record):
    """What `rows` more rows would change, with a 95 % interval: an extrapolation of pass rate or loss along the
    logarithm of the rows."""

    rows: int
    of: str
    estimate: float
    low: float
    high: float


class LearningCurve(Record):
    """`points` are the curve, `slices` the trainings with a slice left out. `run_sd` is the standard deviation of one
    training from another on as many rows, of the measure `of` (`pass rate` or `loss`)."""

    dataset_id: str
    rows: int
    of: str
    points: tuple[Point, ...]
    slices: tuple[Point, ...]
    run_sd: float
    more: Gain

    @property
    def floor(self) -> float:
        """The noise floor: two trainings that differ by less differ by chance, with 95 %."""
        return student_quantile(len(SHARES), _LEVEL) * math.sqrt(2) * self.run_sd

    def value(self, point: Point) -> float:
        """The point's measure."""
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
    say: Say = unheard,
) -> LearningCurve:
    """Train and measure; `slices` maps a name to ids of rows. Slices of less than a twentieth of the rows, or of all
    of them, are left out. Raises NoWork with fewer than 8 rows, and where nothing can be measured."""
    number = len(dataset.train)
    if number < LEAST_ROWS:
        raise NoWork(f"{number} rows are too few for a learning curve.", fix=f"Have {LEAST_ROWS} or more.")
    jobs = [(share, seed + at, "") for share in SHARES for at in range(SEEDS)]
    named = {name: {*ids} & {row["pair_id"] for row in dataset.train} for name, ids in (slices or {}).items()}
    fitting = [name for name, ids in named.items() if _LEAST_SLICE * number <= len(ids) < number]
    jobs += [(1.0, seed, name) for name in sorted(fitting, key=lambda name: -len(named[name]))[:_MOST_SLICES]]
    points = []
    for at, (share, random_seed, left_out) in enumerate(jobs, 1):
        what = f"without {left_out}" if left_out else f"{share:.0%} of the rows, random seed {random_seed}"
        say(f"learning curve, training {at} of {len(jobs)}: {what}")
        part = _part(dataset, share, random_seed, named.get(left_out, set()))
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
    return _concluded(dataset, points)


def _part(dataset: Dataset, share: float, seed: int, without: Collection[str]) -> Dataset:
    """A share of the rows, drawn by a hash of the seed so that smaller shares lie in larger ones; all of them are the
    dataset itself, whose adapter is found again."""
    if share == 1.0 and not without:
        return dataset

    def drawn(row: Row) -> bytes:
        return hashlib.sha256(f"{seed}\0{row['pair_id']}".encode()).digest()

    kept = [row for row in dataset.train if row["pair_id"] not in without]
    chosen = {row["pair_id"] for row in sorted(kept, key=drawn)[: round(share * len(kept))]}
    rows = [row for row in kept if row["pair_id"] in chosen]
    return replace(dataset, id=content_id("part", [dataset.id, sorted(chosen)]), train=rows)


def _concluded(dataset: Dataset, points: Sequence[Point]) -> LearningCurve:
    of = "pass rate" if all(point.pass_rate for point in points) else "loss"
    if of == "loss" and any(point.loss is None for point in points):
        raise NoWork(
            "the learning curve cannot be measured: there are neither validation inputs nor validation rows.",
            fix="Raise split.validation, and curate again.",
        )
    curve = tuple(point for point in points if not point.slice)
    slices = tuple(point for point in points if point.slice)
    nothing = Gain(rows=MORE, of=of, estimate=0, low=0, high=0)
    drawn = LearningCurve(
        dataset_id=dataset.id,
        rows=len(dataset.train),
        of=of,
        points=curve,
        slices=slices,
        run_sd=0.0,
        more=nothing,
    )
    pairs = [[drawn.value(point) for point in curve if point.share == share] for share in SHARES]
    run_sd = math.sqrt(float(np.mean([np.var(pair, ddof=1) for pair in pairs])))
    values, rows = [drawn.value(point) for point in curve], [point.rows for point in curve]
    return drawn.model_copy(update={"run_sd": run_sd, "more": _gain(rows, values, len(dataset.train), of)})


def _gain(rows: Sequence[int], values: Sequence[float], now: int, of: str) -> Gain:
    """Least squares on the logarithm of the rows; the interval is that of the slope, by Student's t."""
    x, y = np.log(np.array(rows, dtype=np.float64)), np.array(values)
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread))
    rest = y - y.mean() - slope * spread
    freedom = len(rows) - 2
    error = math.sqrt(float(rest @ rest) / freedom / float(spread @ spread))
    ahead, half = math.log((now + MORE) / now), student_quantile(freedom, _LEVEL) * error
    return Gain(rows=MORE, of=of, estimate=slope * ahead, low=(slope - half) * ahead, high=(slope + half) * ahead)


def in_words(curve: LearningCurve) -> list[str]:
    """The curve in lines, what 500 more rows would buy, and what each slice does."""
    lines = []
    for share in SHARES:
        here = [point for point in curve.points if point.share == share]
        values = " and ".join(f"{curve.value(point):.2f}" for point in here)
        lines.append(f"{share:.0%} of the rows ({here[0].rows}): {curve.of} {values}")
    lines.append(f"noise floor: two trainings that differ by less than {curve.floor:.2f} differ by chance")
    more = curve.more
    span = f"{more.estimate:+.2f} [{more.low:+.2f}, {more.high:+.2f}] of {more.of}"
    flat = ", which includes nothing at all" if more.low <= 0 <= more.high else ""
    lines.append(f"{more.rows} more rows like these would buy about {span}, if the curve goes on{flat}")
    whole = [curve.value(point) for point in curve.points if point.share == 1.0]
    lines += [_of_slice(curve, point, sum(whole) / len(whole)) for point in curve.slices]
    return lines


def _of_slice(curve: LearningCurve, point: Point, whole: float) -> str:
    change = curve.value(point) - whole
    better = change > 0 if curve.of == "pass rate" else change < 0
    sense = "hurts" if better else "helps"
    said = f"the slice {sense}" if abs(change) > curve.floor else "within the noise"
    return f"without {point.slice} ({curve.rows - point.rows} rows): {curve.of} {change:+.2f}, {said}"
