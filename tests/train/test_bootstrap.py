"""Intervals mean what they say: they agree with a plain reimplementation and cover the truth as often as promised."""

from __future__ import annotations

import random

import numpy as np
import pytest

from train.bootstrap import difference, share


def slow_share(passed: list[int], asked: list[int], rng: random.Random) -> float:
    drawn = rng.choices(range(len(passed)), k=len(passed))
    return sum(passed[i] for i in drawn) / sum(asked[i] for i in drawn)


def test_a_share_agrees_with_a_slow_reference() -> None:
    """The vectorised resampling gives the quantiles of drawing seeds one by one."""
    rng = random.Random(1)
    asked = [rng.choice((2, 3)) for _ in range(24)]
    passed = [rng.randint(0, n) for n in asked]
    slow = [slow_share(passed, asked, rng) for _ in range(20_000)]
    found = share(passed, asked, resamples=20_000, seed=3)
    assert found.estimate == sum(passed) / sum(asked)
    assert found.low == pytest.approx(np.quantile(slow, 0.025), abs=0.01)
    assert found.high == pytest.approx(np.quantile(slow, 0.975), abs=0.01)


def test_a_difference_is_paired() -> None:
    """A rung that is better by the same amount on every seed is better without any doubt, however seeds differ."""
    lower, asked = [0, 1, 2, 0, 1, 2, 2, 1], [4] * 8
    higher = [count + 1 for count in lower]
    gap = difference(higher, asked, lower, asked)
    assert (gap.low, gap.estimate, gap.high) == (0.25, 0.25, 0.25)
    assert gap.excludes_zero
    alone = share(higher, asked)
    assert alone.high - alone.low > 0.2


def test_a_difference_agrees_with_a_slow_reference() -> None:
    """Both sides are resampled with the same seeds."""
    rng = random.Random(2)
    a, b, asked = [rng.randint(0, 3) for _ in range(20)], [rng.randint(0, 2) for _ in range(20)], [3] * 20
    slow = []
    for _ in range(20_000):
        drawn = rng.choices(range(20), k=20)
        slow.append(sum(a[i] - b[i] for i in drawn) / 60)
    found = difference(a, asked, b, asked, resamples=20_000, seed=5)
    assert found.low == pytest.approx(np.quantile(slow, 0.025), abs=0.012)
    assert found.high == pytest.approx(np.quantile(slow, 0.975), abs=0.012)


def test_intervals_cover_the_truth_as_often_as_promised() -> None:
    """30 seeds of unequal difficulty, 3 samples each: 95 % intervals hold the true share in 91 to 98 % of 600 runs, and
    intervals that take answers as independent do not."""
    rng = np.random.default_rng(11)
    true, runs, seeds, samples = 0.4, 600, 30, 3
    covered = naive = 0
    for run in range(runs):
        chances = rng.beta(0.4 * 1.0, 0.6 * 1.0, size=seeds)
        passed = rng.binomial(samples, chances)
        found = share(passed.tolist(), [samples] * seeds, resamples=1000, seed=run)
        covered += found.low <= true <= found.high
        estimate = passed.sum() / (seeds * samples)
        half = 1.96 * (estimate * (1 - estimate) / (seeds * samples)) ** 0.5
        naive += abs(estimate - true) <= half
    assert 0.91 <= covered / runs <= 0.98
    assert naive / runs < 0.87


def test_intervals_of_a_difference_cover_the_truth() -> None:
    """The same for a paired difference of two rungs whose answers share the difficulty of the seed."""
    rng = np.random.default_rng(12)
    covered, runs, seeds, samples = 0, 600, 30, 3
    for run in range(runs):
        easy = rng.uniform(0.2, 0.8, size=seeds)
        a, b = rng.binomial(samples, easy + 0.15), rng.binomial(samples, easy - 0.15)
        asked = [samples] * seeds
        found = difference(a.tolist(), asked, b.tolist(), asked, resamples=1000, seed=run)
        covered += found.low <= 0.3 <= found.high
    assert 0.91 <= covered / runs <= 0.98


def test_a_share_without_variation_still_has_an_interval() -> None:
    """None of 24 seeds passed: the truth may still be up to 14 %, not exactly zero; and the mirror image."""
    none, everything = share([0] * 24, [3] * 24), share([3] * 24, [3] * 24)
    assert (none.low, none.method) == (0.0, "exact")
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 24))
    assert (everything.low, everything.high) == (pytest.approx(1 - none.high), 1.0)


def test_the_seed_decides() -> None:
    """The same data and seed give the same interval."""
    counts = [0, 1, 3, 2, 0, 3], [3] * 6
    assert share(*counts, seed=4) == share(*counts, seed=4)


@pytest.mark.parametrize(("passed", "asked"), [([], []), ([1], [0]), ([4], [3]), ([1, 1], [3]), ([-1], [3])])
def test_counts_that_make_no_sense_are_refused(passed: list[int], asked: list[int]) -> None:
    """Impossible counts are a defect of the caller, not a number."""
    with pytest.raises(ValueError, match="seed"):
        share(passed, asked)


def test_a_difference_needs_the_same_seeds() -> None:
    """Sides of unequal length cannot be paired."""
    with pytest.raises(ValueError, match="same seeds"):
        difference([1, 2], [3, 3], [1], [3])
