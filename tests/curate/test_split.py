"""The split by seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from curate.split import PARTS, split_of
from schemas.spec import SplitSettings


@given(st.text(), st.floats(0, 0.49), st.floats(0, 0.49))
def test_every_seed_has_one_part_and_keeps_it(seed_id: str, test: float, validation: float) -> None:
    """The part depends on the seed and the settings alone, not on which other seeds there are."""
    split = SplitSettings(test=test, validation=validation)
    assert split_of(seed_id, split) in PARTS
    assert split_of(seed_id, split) == split_of(seed_id, split)


@given(st.text(), st.floats(0, 0.4), st.floats(0, 0.3))
def test_a_larger_test_share_only_adds_to_the_test(seed_id: str, test: float, more: float) -> None:
    """A seed that was locked away stays locked away when the test share grows."""
    if split_of(seed_id, SplitSettings(test=test, validation=0)) == "test":
        assert split_of(seed_id, SplitSettings(test=test + more, validation=0)) == "test"


def test_shares_are_those_of_the_spec() -> None:
    """Of 5,000 seeds the parts are within two points of 20, 10 and 70 %."""
    parts = Counter(split_of(f"seed {n}", SplitSettings()) for n in range(5000))
    assert abs(parts["test"] / 5000 - 0.2) < 0.02
    assert abs(parts["validation"] / 5000 - 0.1) < 0.02


def test_the_salt_draws_anew() -> None:
    """Another salt is another draw, so a lucky split can be checked."""
    ids = [f"seed {n}" for n in range(200)]
    assert [split_of(i, SplitSettings()) for i in ids] != [split_of(i, SplitSettings(salt="other")) for i in ids]


def test_known_seeds_stay_where_released_versions_put_them() -> None:
    """The hash may never change: it would move seeds from the test into training."""
    assert [split_of(f"seed {n}", SplitSettings()) for n in range(10)] == [
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
        "test",
        "train",
    ]
