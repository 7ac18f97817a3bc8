"""The best candidates of an input."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.selection import ranked

inputs = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.integers(-3, 3).map(float), max_size=8)


@settings(deadline=None)
@given(inputs)
def test_higher_scores_come_first_and_the_unscored_in_no_rank(scores: dict[str, float | None]) -> None:
    """What has a score stands in its order, best first; what has none is neither first nor last."""
    order = ranked(scores)
    assert set(order) == {id_ for id_, score in scores.items() if score is not None}
    assert [scores[id_] for id_ in order] == sorted((s for s in scores.values() if s is not None), reverse=True)


@settings(deadline=None)
@given(inputs, st.randoms(use_true_random=False))
def test_ties_do_not_depend_on_the_order_of_the_pool(scores: dict[str, float | None], rng: object) -> None:
    """The same candidates in another order have the same ranks."""
    other = list(scores.items())
    rng.shuffle(other)  # type: ignore[attr-defined]
    assert ranked(dict(other)) == ranked(scores)


def test_what_a_person_accepted_takes_the_first_place() -> None:
    """A person's choice comes first whatever its score, and is compared without one."""
    scores: dict[str, float | None] = {"a": 3.0, "b": -3.0, "c": None, "d": None}
    assert ranked(scores, {"b"}) == ["b", "a"]
    assert ranked(scores, {"b", "c"})[2] == "a"
