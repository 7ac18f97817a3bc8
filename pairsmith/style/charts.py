"""Charts as inline SVG: no script, no image file, colours from the page's style sheet.

Horizontal positions are percentages and heights are in pixels, so a chart takes the available width while its text
keeps its size. Only curves stretch a path, in a nested `svg` whose strokes do not scale. The numbers of a chart are
also given in a table or a sentence beside it; `label` is its text for screen readers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from markupsafe import Markup, escape

from train.evaluation.intervals import Interval
from train.learning_curve import LearningCurve
from train.results import Step, Validation

_BINS = 24


class BarPart(NamedTuple):
    """A segment of a bar; `tone` is a class of the style sheet."""

    tone: str
    value: int


class Bin(NamedTuple):
    """The values from `low` to `high` (inclusive in the last bin): how many there are, and how many of them were
    kept."""

    low: float
    high: float
    everything: int
    kept: int


def bar(parts: Sequence[BarPart], total: int, label: str, height: int = 22) -> Markup:
    """A horizontal bar of length `total`, divided into `parts` in their order; the remainder stays empty."""
    if total <= 0:
        return _svg("bar", height, label, "")
    body, x = "", 0.0
    for part in parts:
        width = 100 * part.value / total
        if part.value:
            body += f'<rect class="{escape(part.tone)}" x="{_n(x)}%" width="{_n(width)}%" y="0" height="{height}"/>'
        x += width
    return _svg("bar", height, label, body)


def interval_track(interval: Interval, tone: str, other: float | None, label: str) -> Markup:
    """A share with its interval on a track from 0 to 1; `other` is a second estimate without an interval, drawn
    hollow."""
    body = "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="26"/>' for x in (0.0, 25.0, 50.0, 75.0, 100.0))
    if other is not None:
        # Wider than the dot, so that both are visible when they overlap.
        body += f'<circle class="{escape(tone)} hollow" cx="{_n(100 * other)}%" cy="13" r="7"/>'
    body += _whisker(100 * interval.low, 100 * interval.high, 100 * interval.estimate, tone)
    return _svg("track", 26, label, body)


def track_scale(ticks: Sequence[tuple[float, str]]) -> Markup:
    """The axis below tracks: (position in percent, text). Hidden from screen readers, which get the numbers."""
    body = "".join(f'<text x="{_n(x)}%" y="12" {_anchor(x)}>{escape(text)}</text>' for x, text in ticks)
    return Markup(f'<svg class="scale" width="100%" height="16" aria-hidden="true">{body}</svg>')


def reach(intervals: Sequence[Interval]) -> float:
    """The half-width of a common track of differences: a multiple of 0.25, at most 1."""
    widest = max(max(abs(interval.low), abs(interval.high)) for interval in intervals)
    return min(1.0, max(0.25, math.ceil(widest / 0.25) * 0.25))


def difference_track(interval: Interval, limit: float, tone: str, label: str) -> Markup:
    """A difference of shares on a track from -limit to +limit, with zero in the middle."""

    def place(value: float) -> float:
        return 50 + 50 * value / limit

    body = "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="26"/>' for x in (0.0, 25.0, 75.0, 100.0))
    body += '<line class="zero" x1="50%" x2="50%" y1="0" y2="26"/>'
    body += _whisker(place(interval.low), place(interval.high), place(interval.estimate), tone)
    return _svg("track", 26, label, body)


def _whisker(low: float, high: float, middle: float, tone: str) -> str:
    return (
        f'<line class="{escape(tone)} whisker" x1="{_n(low)}%" x2="{_n(high)}%" y1="13" y2="13"/>'
        f'<circle class="{escape(tone)} dot" cx="{_n(middle)}%" cy="13" r="5.5"/>'
    )


def bins(everything: Sequence[float], kept: Sequence[float]) -> list[Bin]:
    """Bins of equal width with round edges over `everything`, of which `kept` is a part: at most about 24 of them, and
    not finer than whole numbers if all values are whole."""
    if not everything:
        return []
    low, high = min(everything), max(everything)
    width = _round_step((high - low) / _BINS) if high > low else 1.0
    width = max(width, 1.0) if all(map(float.is_integer, map(float, everything))) else width
    first = math.floor(low / width)
    last = max(first, math.ceil(high / width) - 1)

    def at(value: float) -> int:
        return min(max(math.floor(value / width), first), last)

    all_counts, kept_counts = (Counter(map(at, values)) for values in (everything, kept))
    return [Bin(i * width, (i + 1) * width, all_counts[i], kept_counts[i]) for i in range(first, last + 1)]


def histogram(columns: Sequence[Bin], label: str) -> Markup:
    """Columns for everything (pale) with the kept part (solid) inside; round ticks below."""
    low, high = columns[0].low, columns[-1].high
    tallest = max(column.everything for column in columns)
    floor, body = 130, ""
    for share in (0.5, 1.0):
        y = floor - share * (floor - 14)
        body += f'<line class="grid" x1="0" x2="100%" y1="{_n(y)}" y2="{_n(y)}"/>'
    width = 100 / len(columns)
    for i, column in enumerate(columns):
        for tone, count in (("pale", column.everything), ("accepted", column.kept)):
            column_height = count / tallest * (floor - 14)
            if count:
                body += (
                    f'<rect class="{tone}" x="{_n(i * width + width * 0.06)}%" width="{_n(width * 0.88)}%"'
                    f' y="{_n(floor - column_height)}" height="{_n(column_height)}"/>'
                )
    body += f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>'
    body += f'<text x="0" y="10">{tallest}</text>'
    for tick in round_ticks(low, high, min(5, len(columns))):  # no tick inside a column
        x = 100 * (tick - low) / (high - low)
        body += f'<text x="{_n(x)}%" y="{floor + 16}" {_anchor(x)}>{_tick(tick)}</text>'
    return _svg("histogram", floor + 20, label, body)


def loss_curve(training: Sequence[Step], validation: Sequence[Validation], label: str) -> Markup:
    """Training and validation loss over optimizer steps; both axes start at zero."""
    points: list[Step | Validation] = [*training, *validation]
    right, top = max(1, *(p.step for p in points)), 1.02 * max(p.loss for p in points)
    lines = [
        Line("training", [(p.step, p.loss) for p in training], [(p.step, p.loss) for p in training[-1:]]),
        Line("validation", [(p.step, p.loss) for p in validation], [(p.step, p.loss) for p in validation]),
    ]
    return _line_chart(
        lines, [tick for tick in round_ticks(0.0, right, 5) if tick.is_integer()], right, top, None, label
    )


def learning_curve(curve: LearningCurve, label: str) -> Markup:
    """The measure of every training over its number of rows, a line through the means, and the noise floor as a band
    around the mean for all rows; both axes start at zero."""
    dots = [(point.rows, curve.value(point)) for point in curve.points]
    rows = sorted({count for count, _ in dots})
    means = [(count, fmean(value for at, value in dots if at == count)) for count in rows]
    band = (means[-1][1] - curve.floor, means[-1][1] + curve.floor)
    top = 1.0 if curve.of == "pass rate" else 1.02 * max(band[1], *(value for _, value in dots))
    return _line_chart([Line("validation", means, dots)], rows, rows[-1], top, band, label)


class Line(NamedTuple):
    """A line through `path` in a tone of the style sheet, with its own dots."""

    tone: str
    path: Sequence[tuple[float, float]]
    dots: Sequence[tuple[float, float]]


def _line_chart(
    lines: Sequence[Line],
    ticks_x: Sequence[float],
    right: float,
    top: float,
    band: tuple[float, float] | None,
    label: str,
) -> Markup:
    """Lines over two axes from zero to `right` and about `top`; `band` is a stripe between two values."""
    ticks_y = round_ticks(0.0, top, 4)
    ceiling = max(top, ticks_y[-1]) or 1.0
    floor, head, body = 206, 8, ""

    def y_of(value: float) -> float:
        return floor - min(max(value, 0.0), ceiling) / ceiling * (floor - head)

    if band is not None:
        low, high = (y_of(value) for value in band)
        body += f'<rect class="band" x="0" width="100%" y="{_n(high)}" height="{_n(low - high)}"/>'
    for tick in ticks_y:
        y = y_of(tick)
        body += f'<line class="grid" x1="0" x2="100%" y1="{_n(y)}" y2="{_n(y)}"/>'
        # The style sheet leaves a margin for these on the left.
        body += f'<text x="-8" y="{_n(y + 4)}" text-anchor="end">{_tick(tick)}</text>'
    for tick in ticks_x:
        x = 100 * tick / right
        body += f'<text x="{_n(x)}%" y="{floor + 18}" {_anchor(x)}>{_tick(tick)}</text>'
    paths = "".join(
        f'<polyline class="{line.tone}" points="'
        + " ".join(f"{_n(1000 * x / right)},{_n(1000 * (1 - y / ceiling))}" for x, y in line.path)
        + '"/>'
        for line in lines
    )
    dots = "".join(
        f'<circle class="{line.tone} dot" cx="{_n(100 * x / right)}%" cy="{_n(y_of(y))}" r="3.5"/>'
        for line in lines
        for x, y in line.dots
    )
    body += (
        f'<svg x="0" y="{head}" width="100%" height="{floor - head}" viewBox="0 0 1000 1000"'
        f' preserveAspectRatio="none" overflow="visible">{paths}</svg>{dots}'
    )
    return _svg("curve", floor + 24, label, body)


def round_ticks(low: float, high: float, target: int) -> list[float]:
    """Round numbers from `low` to `high`, about as many as requested."""
    if high <= low:
        return [low]
    step = _round_step((high - low) / target)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _anchor(x_percent: float) -> str:
    side = "start" if x_percent <= 2 else "end" if x_percent >= 98 else "middle"
    return f'text-anchor="{side}"'


def _svg(kind: str, height: int, label: str, body: str) -> Markup:
    return Markup(
        f'<svg class="{kind}" width="100%" height="{height}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _tick(number: float) -> str:
    return f"{number:,.10g}".replace("-", "\u2212")
