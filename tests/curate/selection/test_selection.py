"""Ranking the candidates of an input."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.selection.best import ranked

inputs = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.integers(-3, 3).map(float), max_size=8)


@settings(deadline=None)
@given(inputs)
def test_higher_scores_come_first_and_unscored_candidates_are_not_ranked(scores: dict[str, float | None]) -> None:
    """Candidates with a score are ordered, best first; those without are not ranked at all."""
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


def test_accepted_candidate_is_ranked_first() -> None:
    """A candidate that a reviewer accepted comes first whatever its score, even without one."""
    scores: dict[str, float | None] = {"a": 3.0, "b": -3.0, "c": None, "d": None}
    assert ranked(scores, {"b"}) == ["b", "a"]
    assert ranked(scores, {"b", "c"})[2] == "a"
