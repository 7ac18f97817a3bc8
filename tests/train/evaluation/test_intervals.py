"""Tests that intervals have the promised coverage, from five seeds to many and at any rate, and that equal systems are
seldom called different."""

from __future__ import annotations

import itertools
import math
import random
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from train.evaluation.intervals import difference, grouped, holm, seeds_needed, share, sign_flip_p, student_quantile
from train.evaluation.limits import Floats, difference_limits, share_limits, sign_flips

RUNS = 2000
RATES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0)


def answers(
    a: float, b: float, seeds: int, samples: int, correlation: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """(runs, seeds) passes of two systems with the given correlation between answers to a seed (beta-binomial)."""

    def side(rate: float) -> Floats:
        if correlation == 0 or rate in (0.0, 1.0):
            chances = np.full((RUNS, seeds), rate)
        else:
            k = (1 - correlation) / correlation
            chances = rng.beta(rate * k, (1 - rate) * k, size=(RUNS, seeds))
        return rng.binomial(samples, chances).astype(np.float64)

    return side(a), side(b)


def settings() -> Iterator[tuple[int, int, float]]:
    yield from itertools.product((5, 8, 12, 27), (1, 3), (0.0, 0.6, 0.9))


@pytest.mark.slow
def test_coverage_of_a_share() -> None:
    """From 5 seeds on, at every rate, however correlated a seed's answers are: at least 93 % of 2,000 runs each."""
    rng = np.random.default_rng(11)
    for (seeds, samples, correlation), rate in itertools.product(settings(), RATES):
        passed, _ = answers(rate, rate, seeds, samples, correlation, rng)
        limits = share_limits(passed, np.full_like(passed, samples))
        covered = np.mean((limits.low <= rate) & (rate <= limits.high))
        assert covered >= 0.93, (seeds, samples, correlation, rate)


@pytest.mark.slow
def test_coverage_of_a_difference() -> None:
    """The same for differences, where a system at 0 or 1 has uncertainty too: 24 passes of 27 are no certainty."""
    rng = np.random.default_rng(12)
    pairs = [(rate, rate) for rate in RATES] + [(0.0, 0.3), (0.02, 0.27), (0.1, 0.3), (0.3, 0.7), (0.0, 1.0)]
    for (seeds, samples, correlation), (a, b) in itertools.product(settings(), pairs):
        x, y = answers(a, b, seeds, samples, correlation, rng)
        asked = np.full_like(x, samples)
        limits = difference_limits(x, asked, y, asked)
        covered = np.mean((limits.low <= a - b + 1e-9) & (a - b - 1e-9 <= limits.high))
        assert covered >= 0.93, (seeds, samples, correlation, a, b)


@pytest.mark.slow
def test_equal_systems_are_seldom_called_different() -> None:
    """The exact test calls equal systems different in at most 5 % of runs, plus simulation error."""
    rng = np.random.default_rng(13)
    for (seeds, samples, correlation), rate in itertools.product(settings(), RATES):
        x, y = answers(rate, rate, seeds, samples, correlation, rng)
        assert np.mean(sign_flips((x - y).astype(np.int64)) <= 0.05) <= 0.066, (seeds, samples, correlation, rate)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 27, 500])
def test_certainty_is_never_claimed(seeds: int) -> None:
    """Even if all answers of one system pass and none of the other's, the intervals have a width."""
    everything, nothing, asked = [3] * seeds, [0] * seeds, [3] * seeds
    gap, none = difference(everything, asked, nothing, asked), difference(nothing, asked, nothing, asked)
    assert gap.estimate == 1.0
    assert gap.low < 1.0
    assert none.low < 0.0 < none.high
    assert share(nothing, asked).high > 0.0
    assert share(everything, asked).low < 1.0


def test_the_other_sides_uncertainty_stays_in_the_difference() -> None:
    """19 of 81 against none of 81: the interval is wider than the share's own on the side where the other system's rate
    could be higher."""
    tuned = [3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1] + [0] * 16
    asked = [3] * 27
    gap, alone = difference(tuned, asked, [0] * 27, asked), share(tuned, asked)
    assert gap.estimate == alone.estimate
    assert gap.low < alone.low
    assert 0.0 < gap.low < 0.1


def test_a_difference_uses_the_pairing() -> None:
    """A system that is a little better on every seed gives a narrower interval than the variation between seeds
    would."""
    lower, asked = [0, 1, 2, 0, 1, 2, 2, 1] * 5, [4] * 40
    higher, other = [count + 1 for count in lower], [count + 1 for count in reversed(lower)]
    paired, unpaired = difference(higher, asked, lower, asked), difference(other, asked, lower, asked)
    assert paired.estimate == unpaired.estimate == 0.25
    assert paired.high - paired.low < 0.8 * (unpaired.high - unpaired.low)


def test_mirrored_data_give_mirrored_intervals() -> None:
    """Neither passing nor side a is favoured."""
    rng = random.Random(4)
    asked = [rng.choice((1, 2, 3)) for _ in range(24)]
    a, b = [rng.randint(0, n) for n in asked], [rng.randint(0, n) for n in asked]
    there, back = difference(a, asked, b, asked), difference(b, asked, a, asked)
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    passing, failing = share(a, asked), share([n - x for x, n in zip(a, asked, strict=True)], asked)
    assert (passing.low, passing.high) == (pytest.approx(1 - failing.high), pytest.approx(1 - failing.low))
    assert sign_flip_p(a, asked, b, asked) == pytest.approx(sign_flip_p(b, asked, a, asked))


def test_the_sign_flip_test_is_exact() -> None:
    """p is the share of all 2^n sign assignments whose sum is at least as far from zero, as plain enumeration gives
    it."""
    rng = random.Random(2)
    for seeds in (1, 2, 5, 9, 12):
        asked = [rng.choice((1, 2, 3)) for _ in range(seeds)]
        a, b = [rng.randint(0, n) for n in asked], [rng.randint(0, n) for n in asked]
        gaps = [n * (x - y) for x, y, n in zip(a, b, asked, strict=True)]
        sums = [
            sum(s * g for s, g in zip(signs, gaps, strict=True)) for signs in itertools.product((1, -1), repeat=seeds)
        ]
        plain = sum(abs(total) >= abs(sum(gaps)) for total in sums) / len(sums)
        assert sign_flip_p(a, asked, b, asked) == pytest.approx(plain)
    assert sign_flip_p([1], [1], [0], [1]) == 1.0
    assert sign_flip_p([1] * 500, [1] * 500, [0] * 500, [1] * 500) < 1e-12


def test_holm_adjustment() -> None:
    """The smallest p times the number of tests, and no adjusted p below that of a smaller one."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_students_quantile_is_exact_at_every_level() -> None:
    """It agrees with scipy's at few degrees of freedom too, and at the levels of simultaneous intervals."""
    by_scipy = {
        (1, 0.95): 12.70620474,
        (2, 0.99): 9.92484320,
        (3, 0.95): 3.18244631,
        (3, 1 - 0.05 / 12): 7.93975073,
        (4, 1 - 0.05 / 8): 5.26105758,
        (7, 0.95): 2.36462425,
        (30, 0.99): 2.74999565,
        (31, 1 - 0.05 / 12): 3.09350558,
        (1000, 0.95): 1.96233908,
    }
    for (degrees, level), quantile in by_scipy.items():
        assert student_quantile(degrees, level) == pytest.approx(quantile, rel=1e-6)


def test_seeds_needed_for_a_significant_difference() -> None:
    """About as many as move the interval's end to zero; unknown if there is no difference."""
    asked = [1] * 10
    gap = difference([1] * 4 + [0] * 6, asked, [1] * 2 + [0] * 8, asked)
    more = seeds_needed(gap)
    assert more is not None
    assert more > 30
    assert seeds_needed(difference([1] * 10, asked, [1] * 10, asked)) is None


@pytest.mark.parametrize(("passed", "asked"), [([], []), ([1], [0]), ([4], [3]), ([1, 1], [3]), ([-1], [3])])
def test_impossible_counts_are_refused(passed: list[int], asked: list[int]) -> None:
    """Impossible counts are a defect in the caller and raise ValueError."""
    with pytest.raises(ValueError, match="seed"):
        share(passed, asked)


def test_a_difference_needs_the_same_seeds() -> None:
    """Sides of unequal length cannot be paired."""
    with pytest.raises(ValueError, match="same seeds"):
        difference([1, 2], [3, 3], [1], [3])


@pytest.mark.parametrize(
    ("seeds", "a", "b", "both"),
    [
        *((27, 0.02, 0.98, 0.02), (27, 0.5, 0.5, 0.25), (12, 0.01, 0.99, 0.0), (12, 0.05, 0.96, 0.05)),
        *((8, 0.0, 1.0, 0.0), (8, 0.5, 0.5, 0.0), (8, 0.5, 0.6, 0.1), (5, 0.5, 0.5, 0.0), (5, 0.5, 0.55, 0.05)),
    ],
)
def test_exact_coverage_of_a_difference(seeds: int, a: float, b: float, both: float) -> None:
    """Computed exactly over every table of who passes which input: at least 94 %, also at extreme rates, where the
    steps between possible differences are large."""
    tables = [
        (n11, n10, n01)
        for n11 in range(seeds + 1)
        for n10 in range(seeds + 1 - n11)
        for n01 in range(seeds + 1 - n11 - n10)
    ]
    place = np.arange(seeds)
    both_pass, only_b, only_a = (np.array([table[at] for table in tables])[:, None] for at in range(3))
    passed_b = (place < both_pass + only_b).astype(float)
    passed_a = ((place < both_pass) | ((place >= both_pass + only_b) & (place < both_pass + only_b + only_a))) * 1.0
    asked = np.ones_like(passed_a)
    limits = difference_limits(passed_b, asked, passed_a, asked)
    inside = (limits.low <= b - a + 1e-9) & (b - a - 1e-9 <= limits.high)
    chances = (both, b - both, a - both, 1 - a - b + both)
    covered = sum(
        math.factorial(seeds)
        / math.prod(math.factorial(count) for count in cells)
        * math.prod(max(chance, 0.0) ** count for chance, count in zip(chances, cells, strict=True))
        for table, yes in zip(tables, inside, strict=True)
        for cells in [(*table, seeds - sum(table))]
        if yes
    )
    assert covered >= 0.94


def test_zero_is_excluded_only_if_the_exact_test_rejects_it() -> None:
    """Interval and test never contradict each other, at 95 % and at the level of eight simultaneous intervals: five
    inputs that all agree have p = .06 and are not enough for "better"."""
    rng = np.random.default_rng(17)
    assert difference([1] * 5, [1] * 5, [0] * 5, [1] * 5).low == 0.0
    assert difference([1] * 6, [1] * 6, [0] * 6, [1] * 6).excludes_zero
    excluded = 0
    for seeds, level in itertools.product((3, 5, 6, 8, 12, 27), (0.95, 0.99375)):
        for _ in range(60):
            asked = [int(n) for n in rng.integers(1, 4, seeds)]
            a = [int(rng.binomial(n, 0.8)) for n in asked]
            b = [int(rng.binomial(n, rng.choice((0.0, 0.2, 0.5)))) for n in asked]
            gap, p = difference(a, asked, b, asked, level=level), sign_flip_p(a, asked, b, asked)
            excluded += gap.excludes_zero
            assert not gap.excludes_zero or p <= 1 - level + 1e-9, (seeds, level, a, b, asked)
    assert excluded > 100


def test_groups_of_one_change_nothing() -> None:
    """An evaluation whose inputs are all independent is computed as without groups."""
    assert grouped(["a", "b"], {"a": "x", "b": "y", "c": "x"}) is None
    assert grouped(["a", "b", "c"], {"a": "x", "c": "x"}) == ["x", "b", "x"]


def test_the_sign_flip_test_flips_whole_groups() -> None:
    """p is the share of all sign assignments to groups, as plain enumeration gives it: ten inputs in three groups carry
    no more evidence than three."""
    rng = random.Random(6)
    for number in (1, 2, 3, 6, 9):
        groups = [f"g{rng.randrange(number)}" for _ in range(12)]
        a, b, asked = [rng.randint(0, 3) for _ in groups], [rng.randint(0, 3) for _ in groups], [3] * 12
        sums = {group: sum(x - y for x, y, of in zip(a, b, groups, strict=True) if of == group) for group in groups}
        flips = [
            sum(s * gap for s, gap in zip(signs, sums.values(), strict=True))
            for signs in itertools.product((1, -1), repeat=len(sums))
        ]
        plain = sum(abs(flip) >= abs(sum(sums.values())) for flip in flips) / len(flips)
        assert sign_flip_p(a, asked, b, asked, groups=groups) == pytest.approx(plain)
    gap = difference([1] * 10, [1] * 10, [0] * 10, [1] * 10, groups=["a"] * 3 + ["b"] * 3 + ["c"] * 4)
    assert gap.low <= 0 < gap.high
    assert (gap.seeds, sign_flip_p([1] * 10, [1] * 10, [0] * 10, [1] * 10, groups=["a"] * 10)) == (10, 1.0)


def _of_groups(sizes: list[int], rate: float, correlation: float, rng: np.random.Generator, runs: int) -> Floats:
    """(runs, inputs) of passes with the given correlation between the inputs of a group."""
    k = (1 - correlation) / correlation if correlation else 0.0
    shape = (runs, len(sizes))
    chances = rng.beta(rate * k, (1 - rate) * k, size=shape) if correlation else np.full(shape, rate)
    return rng.binomial(1, np.repeat(chances, sizes, axis=-1)).astype(np.float64)


@pytest.mark.slow
def test_coverage_with_groups() -> None:
    """Groups of equal size, of 1 to 10, and one of ten beside four single inputs: at least 93 % of 1,000 runs. Without
    groups, coverage is about 80 % for correlated groups of four and about 60 % for groups of ten."""
    rng, worst_alone = np.random.default_rng(14), 1.0
    for number, pattern in itertools.product((5, 12, 50), ([4], [10], [*range(1, 11)], [1, 1, 1, 1, 10])):
        sizes = list(np.resize(pattern, number))
        groups = [str(of) for of, size in enumerate(sizes) for _ in range(size)]
        for correlation, rate in itertools.product((0.0, 0.3, 0.8), (0.02, 0.1, 0.5, 0.9)):
            a, b = (_of_groups(sizes, rate, correlation, rng, 1000) for _ in range(2))
            asked = np.ones_like(a)
            alone, ours = share_limits(a, asked), share_limits(a, asked, groups=groups)
            gap = difference_limits(a, asked, b, asked, groups=groups)
            covers = np.mean((ours.low <= rate) & (rate <= ours.high)), np.mean((gap.low <= 0) & (gap.high >= 0))
            assert min(covers) >= 0.93, (sizes, correlation, rate, covers)
            worst_alone = min(worst_alone, float(np.mean((alone.low <= rate) & (rate <= alone.high))))
    assert worst_alone < 0.75


@pytest.mark.parametrize("answers_each", [(10, 10), (20, 20), (4, 24)])
def test_coverage_with_many_answers_per_input(answers_each: tuple[int, int]) -> None:
    """With twenty samples per input, or 4 to 24 fields per record, a few inputs may have all the failures, and
    intervals made for one to three answers covered only 86 and 89 %. Up to three answers nothing changes."""
    rng = np.random.default_rng(15)
    asked = np.tile(np.linspace(*answers_each, 50).round(), (1000, 1))
    for likeness, rate in itertools.product((0.3, 0.6), (0.02, 0.5, 0.98)):
        k = (1 - likeness) / likeness
        passed = rng.binomial(asked.astype(int), rng.beta(rate * k, (1 - rate) * k, size=asked.shape)) * 1.0
        limits = share_limits(passed, asked)
        assert np.mean((limits.low <= rate) & (rate <= limits.high)) >= 0.93, (likeness, rate)
    few = share([3] * 10 + [2] * 17, [3] * 27)
    assert (few.low, few.high) == (pytest.approx(0.6765, abs=1e-4), pytest.approx(0.8730, abs=1e-4))


def test_coverage_of_a_difference_with_many_answers_per_input() -> None:
    """With twenty answers to each of 20 or 27 inputs, intervals of a difference cover at least 95 % too; those made for
    a few answers cover 92 %. Up to ten answers nothing changes."""
    rng, asked = np.random.default_rng(16), 20
    for seeds, likeness, (high, low) in itertools.product((20, 27), (0.3, 0.6), ((0.05, 0.02), (0.98, 0.9))):
        k = (1 - likeness) / likeness
        a, b = (rng.binomial(asked, rng.beta(of * k, (1 - of) * k, (2000, seeds))) * 1.0 for of in (high, low))
        gap = difference_limits(a, np.full_like(a, asked), b, np.full_like(b, asked))
        assert np.mean((gap.low <= high - low) & (high - low <= gap.high)) >= 0.95, (seeds, likeness, high)
    ten = difference([10, 9] * 10, [10] * 20, [5, 1] * 10, [10] * 20)
    assert (ten.low, ten.high) == (pytest.approx(0.5702, abs=1e-4), pytest.approx(0.7258, abs=1e-4))


def test_twenty_thousand_inputs_are_tested_in_little_memory() -> None:
    """The exact test of 20,000 inputs with three answers each takes less than 50 MiB, as its time depends only on the
    largest sum. A table of every power up to the number of inputs had taken gigabytes."""
    rng = np.random.default_rng(1)
    a, b, asked = rng.binomial(3, 0.51, 20_000), rng.binomial(3, 0.5, 20_000), [3] * 20_000
    tracemalloc.start()
    p = sign_flip_p(a.tolist(), asked, b.tolist(), asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    z = abs(float((a - b).sum())) / math.sqrt(float(((a - b) ** 2).sum()))
    assert p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.05)
    assert peak < 50 * 2**20
