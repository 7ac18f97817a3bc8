"""The comparison of two systems: the difference of their pass rates, its exact test, and the outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from curate.split import LEAST_TEST_INPUTS
from schemas.records import Record
from train.evaluation.intervals import (
    ALONE,
    Interval,
    difference,
    flip_spread,
    grouped,
    holm,
    required_standard_errors,
    seeds_factor,
    seeds_needed,
    share,
    sign_flip_p,
    standard_errors,
)

if TYPE_CHECKING:
    from train.evaluation.metrics import Mode, Output

TUNED, _MAX_HIDDEN = "tuned", 0.25
# A loop repeats a part at least this many times, and for this many characters.
_AGAIN, _MIN_LOOP = 1.25, 24
Outcome = Literal["better", "worse", "inconclusive", "not enough evidence", "not measured"]


class Comparison(Record):
    """Pass rate of system `a` minus that of system `b`, on the same seeds.

    `difference` is None if one of the two was not measured (`is_measured`). `simultaneous`, which is shown, is the same
    with a wider interval: those of all comparisons of the evaluation hold together at `difference.level` (Bonferroni).
    `p_value` is from the exact sign-flip test, `p_holm` is adjusted for all comparisons. `p_unscored` is `p_holm` if
    every answer of the system with the lower rate that a check could not judge had passed, because that system may be
    equally good. It is 1 if the interval of the difference would then include zero, None without such answers. `spread`
    says how many more seeds the test needs (`flip_spread`); it is absent in evaluations of earlier versions.
    """

    a: str
    b: str
    mode: Literal["sampled", "greedy"]
    difference: Interval | None
    simultaneous: Interval | None = None
    p_value: float | None = None
    p_holm: float | None = None
    p_unscored: float | None = None
    spread: tuple[float, float] | None = None

    @property
    def outcome(self) -> Outcome:
        """The verdict on a against b: the adjusted exact test, given enough seeds or groups and a non-zero interval,
        whatever the answers were that a check could not judge."""
        return "inconclusive" if self.hangs_on_unscored else self.judged_outcome

    @property
    def hangs_on_unscored(self) -> bool:
        """Whether it would be better or worse, but not if the other's answers that a check could not judge are good."""
        if self.judged_outcome not in ("better", "worse") or self.p_unscored is None or self.difference is None:
            return False
        return self.p_unscored > 1 - self.difference.level + 1e-12

    @property
    def judged_outcome(self) -> Outcome:
        """The outcome if answers that a check could not judge have failed."""
        gap = self.difference
        if gap is None:
            return "not measured"
        if gap.units < LEAST_TEST_INPUTS:
            return "not enough evidence"
        if self.p_holm is None or self.p_holm > 1 - gap.level + 1e-12 or not gap.excludes_zero:
            return "inconclusive"
        return "better" if gap.estimate > 0 else "worse"

    @property
    def shown(self) -> Interval | None:
        """The difference with the interval that is shown to users."""
        return self.simultaneous or self.difference

    @property
    def more_inputs(self) -> int | None:
        """About how many more test inputs would decide it if the difference stayed the same, at least up to the minimum
        of an evaluation. None if it is decided, if only answers that a check could not judge keep it from being so, or
        without a difference."""
        gap = self.difference
        if gap is None or self.judged_outcome in ("better", "worse"):
            return None
        needed = seeds_needed(gap)
        if needed is None:
            return LEAST_TEST_INPUTS - gap.units if gap.units < LEAST_TEST_INPUTS else None
        if self.spread is not None:
            # The test decides; the interval, which has to exclude zero too, asks for about a tenth more.
            factor = seeds_factor(self.spread, self._required_standard_errors)
            needed = math.ceil(
                1.1 * gap.seeds * (factor if self.outcome == "not enough evidence" else max(1.0, factor))
            )
        return max(needed - gap.seeds, LEAST_TEST_INPUTS - gap.units)

    @property
    def _required_standard_errors(self) -> float:
        """As many as Holm's adjustment asks for. A p-value that it raised to 1 does not show how much that is; then the
        adjustment for all comparisons is used."""
        if self.p_holm is not None and self.p_holm < 1:
            return required_standard_errors(self.p_value, self.p_holm)
        return standard_errors(1 - self.shown.level if self.shown else 0.05)


def compare_last(
    systems: Sequence[dict[Mode, list[Output]]], groups: Mapping[str, str] = ALONE
) -> tuple[Comparison, ...]:
    """Compare the last system with each other, under both decodings; p-values are adjusted for one another."""
    *rest, tuned = systems
    number = len(tuned) * len(rest)
    return adjusted([compare(tuned[mode], other[mode], of=number, groups=groups) for mode in tuned for other in rest])


def adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with `p_holm` and `p_unscored`, adjusted over all that have a p-value."""
    p_values = [gap.p_value for gap in comparisons if gap.p_value is not None]
    p_holm = iter(holm(p_values))

    def adjust(gap: Comparison) -> Comparison:
        if gap.p_value is None:
            return gap
        new = {"p_holm": next(p_holm)}
        if gap.p_unscored is not None:
            others = [*p_values]
            others.remove(gap.p_value)
            new["p_unscored"] = holm([gap.p_unscored, *others])[0]
        return gap.model_copy(update=new)

    return tuple(map(adjust, comparisons))


def compare(a: Sequence[Output], b: Sequence[Output], *, of: int = 1, groups: Mapping[str, str] = ALONE) -> Comparison:
    """System a minus system b, as one of `of` comparisons. Each side must contain outputs of one system, both in the
    same mode. Seeds without an answer on either side are left out."""
    counts_a, counts_b = (by_seed(filter(_arrived, side)) for side in (a, b))
    seeds = sorted(counts_a.keys() & counts_b.keys())
    unmeasured = Comparison(a=a[0].system, b=b[0].system, mode=a[0].mode, difference=None)
    if not seeds or not (is_measured(a) and is_measured(b)):
        return unmeasured
    columns, seed_groups = (*columns_of(counts_a, seeds), *columns_of(counts_b, seeds)), grouped(seeds, groups)
    single = difference(*columns, groups=seed_groups)
    simultaneous = difference(*columns, level=1 - (1 - single.level) / of, groups=seed_groups)
    p_value = sign_flip_p(*columns, groups=seed_groups)
    spread = flip_spread(*columns, groups=seed_groups)
    tested = {"difference": single, "simultaneous": simultaneous, "p_value": p_value, "spread": spread}
    lower = b if single.estimate > 0 else a
    if any(output.is_unscored for output in lower):
        generous = columns_of(by_seed(filter(_arrived, lower), unscored_pass=True), seeds)
        columns = (*columns[:2], *generous) if lower is b else (*generous, *columns[2:])
        generous_gap = difference(*columns, groups=seed_groups)
        still = generous_gap.excludes_zero and generous_gap.estimate * single.estimate > 0
        tested["p_unscored"] = sign_flip_p(*columns, groups=seed_groups) if still else 1.0
    return unmeasured.model_copy(update=tested)


def is_measured(outputs: Sequence[Output]) -> bool:
    """Whether the answers of one system under one decoding say how good it is.

    Answers that were cut, empty or refused fail. But if they are more than half, a limit or a server decided more than
    the model did, and tuned would win over a system that never had its chance: then, passing as often as the others may
    (the upper end of their interval), they must not add more than 25 points. An answer cut in a loop, which no limit
    ends, is one of the others. Of tuned itself everything that arrived counts, because what is wrong with its answers
    is wrong with what would ship.
    """
    arrived = [output for output in outputs if output.answered]
    answers = [output for output in arrived if (output.whole and not output.refused) or output.loops]
    if 2 * len(answers) >= len(arrived) or arrived[0].system == TUNED:
        return bool(arrived)
    counts = by_seed(answers)
    most = share(*columns_of(counts, sorted(counts))).high if answers else 1.0
    return (1 - len(answers) / len(arrived)) * most <= _MAX_HIDDEN


def ends_in_loop(text: str) -> bool:
    """Whether the end of a text has begun to repeat a part for the third time."""
    text = " ".join(text.split())
    end, at = text[-_MIN_LOOP:], len(text) - _MIN_LOOP
    while at > 0 and (at := text.rfind(end, 0, at + _MIN_LOOP - 1)) >= 0:
        period = len(text) - _MIN_LOOP - at
        again = max(round(_AGAIN * period), _MIN_LOOP)
        if len(text) < again + period:
            return False
        if text[-again:] == text[-again - period : -period]:
            return True
    return False


def _arrived(output: Output) -> bool:
    return output.answered


def by_seed(outputs: Iterable[Output], *, unscored_pass: bool = False) -> dict[str, tuple[int, int]]:
    """seed id -> (passed, answered). With `unscored_pass`, answers that a check could not judge count as passed."""
    counts: dict[str, tuple[int, int]] = {}
    for output in outputs:
        passed, answered = counts.get(output.seed_id, (0, 0))
        passes = output.passes or (unscored_pass and output.is_unscored)
        counts[output.seed_id] = (passed + passes, answered + 1)
    return counts


def columns_of(counts: dict[str, tuple[int, int]], seeds: Sequence[str]) -> tuple[list[int], list[int]]:
    return [counts[seed][0] for seed in seeds], [counts[seed][1] for seed in seeds]
