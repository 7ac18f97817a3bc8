"""The split by seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from curate.split import PARTS, part_of, split_of
from schemas.records import Seed
from schemas.spec import Split


@given(st.text(), st.floats(0, 0.49), st.floats(0, 0.49))
def test_every_seed_has_one_part_and_keeps_it(seed_id: str, test: float, validation: float) -> None:
    """The part depends on the seed and the settings alone, not on which other seeds there are."""
    split = Split(test=test, validation=validation)
    assert split_of(seed_id, split) in PARTS
    assert split_of(seed_id, split) == split_of(seed_id, split)


@given(st.text(), st.floats(0, 0.4), st.floats(0, 0.3))
def test_a_larger_test_share_only_adds_to_the_test(seed_id: str, test: float, more: float) -> None:
    """A seed that was locked away stays locked away when the test share grows."""
    if split_of(seed_id, Split(test=test, validation=0)) == "test":
        assert split_of(seed_id, Split(test=test + more, validation=0)) == "test"


def test_shares_are_those_of_the_spec() -> None:
    """Of 5,000 seeds the parts are within two points of 20, 10 and 70 %."""
    parts = Counter(split_of(f"seed {n}", Split()) for n in range(5000))
    assert abs(parts["test"] / 5000 - 0.2) < 0.02
    assert abs(parts["validation"] / 5000 - 0.1) < 0.02


def test_the_salt_draws_anew() -> None:
    """Another salt is another draw, so a lucky split can be checked."""
    ids = [f"seed {n}" for n in range(200)]
    assert [split_of(i, Split()) for i in ids] != [split_of(i, Split(salt="other")) for i in ids]


def test_known_seeds_stay_where_released_versions_put_them() -> None:
    """The hash may never change: it would move seeds from the test into training."""
    assert [split_of(f"seed {n}", Split()) for n in range(10)] == [
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


def test_a_source_can_name_the_part_of_its_seeds() -> None:
    """`use` decides whatever the hash says; a seed without it goes where its hash puts it."""
    split = Split(test=0.5, validation=0.3)
    for n in range(20):
        plain = Seed(kind="simple", text=f"seed {n}", source="a.jsonl:1")
        assert part_of(plain, split) == split_of(plain.id, split)
        for part in PARTS:
            assert part_of(plain.model_copy(update={"meta": {"use": part}}), split) == part
