"""The interval of the mean of bounded values (`curate.certificate.bounded_mean`)."""

from __future__ import annotations

import numpy as np
import pytest

from curate.certificate.bounded_mean import _chance_below_zero, mean_limits
from curate.review.estimate import binomial


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 5, 20, 300])
def test_limits_of_zeros_and_ones_are_the_exact_binomial_ones(n: int) -> None:
    """Clopper and Pearson's limits, to 0.003 from a single value on, also at other ends and in units of several
    values."""
    for ones in {0, 1, n // 2, n}:
        values = np.array([1.0] * ones + [0.0] * (n - ones))
        expected = binomial(ones, n)
        assert mean_limits(values) == pytest.approx(expected, abs=0.003)
        assert mean_limits(2 * values - 1, (-1.0, 1.0)) == pytest.approx(
            [2 * limit - 1 for limit in expected], abs=0.006
        )
        assert mean_limits(7 * values, sizes=[7] * n) == pytest.approx(expected, abs=0.003)


def test_chance_is_close_to_the_exact_one_on_both_sides_of_the_mean() -> None:
    """2 A - B - C of three standard exponential variables is below 0 with probability 5/9; at the mean a term of its
    expansion is used, which had the wrong sign."""
    skewed, once = np.array([2.0, -1.0, -1.0]), np.ones(3)
    for shift in (-1e-3, -1e-9, 0.0, 1e-9, 1e-3):
        assert _chance_below_zero(skewed + shift, once) == pytest.approx(5 / 9, abs=0.003)
        assert _chance_below_zero(-skewed + shift, once) == pytest.approx(4 / 9, abs=0.003)
        halves, times = np.array([2.0, -1.0]) + shift, np.array([1.0, 2.0])
        assert _chance_below_zero(halves, times) == pytest.approx(_chance_below_zero(skewed + shift, once))


@pytest.mark.parametrize("values", [[5e-324, 0.0], [0.0, 1e-300, 1e-17, 1 - 1e-16, 1.0], [1.0], [1 / 3] * 9])
def test_extreme_values_and_ties_have_limits(values: list[float]) -> None:
    """Values at or next to an end, and ties, give limits between the ends around the mean."""
    low, high = mean_limits(values)
    assert 0 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1
