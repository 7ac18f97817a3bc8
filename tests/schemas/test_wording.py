"""Tests of the wording of numbers that several layers share."""

from __future__ import annotations

import pytest

from schemas.wording import apart, decimals


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (2.5312, 0.7491, ("2.53", "0.75")),
        (0.6931, 0.6922, ("0.693", "0.692")),  # DPO begins at ln 2
        (0.69315, 0.69313, ("0.6932", "0.6931")),
        (5.6874, 0.0006065, ("5.69", "0.0006")),
        (1.5, 1.5, ("1.50", "1.50")),
        (0.0, 1.0, ("0.00", "1.00")),
    ],
)
def test_two_losses_are_told_apart(before: float, after: float, shown: tuple[str, str]) -> None:
    """A training that changed the loss does not read `0.69 to 0.69`, and a small loss is not shown as 0."""
    assert apart(before, after) == shown


def test_a_small_loss_is_not_shown_as_none() -> None:
    """A training that was stopped at a validation loss of 0.0042 was reported with 0.00."""
    assert [decimals(loss) for loss in (0.0042, 1.416, 0.0)] == ["0.004", "1.42", "0.00"]
