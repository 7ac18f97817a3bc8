"""The best candidates of every input."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from curate.selection import best
from schemas.records import Imported, Pair

rows = st.lists(
    st.tuples(st.sampled_from(["s1", "s2"]), st.sampled_from(["fox", "cat"]), st.none() | st.integers(-3, 3)),
    max_size=14,
)


def pool(given_rows: list[tuple[str, str, int | None]]) -> tuple[list[Pair], dict[str, float | None]]:
    pairs = [
        Pair(seed_id=seed, input=input, output=f"text {n}", system="", origin=Imported(source=f"{n}"))
        for n, (seed, input, _) in enumerate(given_rows)
    ]
    scores = {p.id: None if s is None else float(s) for p, (_, _, s) in zip(pairs, given_rows, strict=True)}
    return pairs, scores


@given(rows, st.integers(1, 3))
def test_the_kept_are_the_n_highest_of_their_input(given_rows: list[tuple[str, str, int | None]], n: int) -> None:
    """Per seed and input: min(n, scored) are kept, none outranked by a rejected one, and the unscored wait."""
    pairs, scores = pool(given_rows)
    verdicts = best(pairs, scores, n)
    assert [v.pair_id for v in verdicts] == [p.id for p in pairs]
    inputs = defaultdict(list)
    for p, v in zip(pairs, verdicts, strict=True):
        inputs[p.seed_id, p.input].append(v)
        assert (v.keep is None) == (scores[p.id] is None)
    for rivals in inputs.values():
        kept = [v.score for v in rivals if v.keep]
        rejected = [v.score for v in rivals if v.keep is False]
        assert len(kept) == min(n, len(kept) + len(rejected))
        assert all(k is not None and r is not None and k >= r for k in kept for r in rejected)


@given(rows)
def test_ties_do_not_depend_on_the_order_of_the_pool(given_rows: list[tuple[str, str, int | None]]) -> None:
    """The same pool in another order keeps the same rows."""
    pairs, scores = pool(given_rows)
    forwards = {v.pair_id: v.keep for v in best(pairs, scores, 1)}
    assert forwards == {v.pair_id: v.keep for v in best(pairs[::-1], scores, 1)}


def test_an_unscored_row_waits_and_is_never_chosen() -> None:
    """Alone or beside a poor one, a row without a score is neither kept nor rejected."""
    pairs, scores = pool([("s1", "fox", -3), ("s1", "fox", None), ("s2", "cat", None)])
    assert [v.keep for v in best(pairs, scores, 1)] == [True, None, None]


def test_what_a_person_accepted_takes_the_first_place() -> None:
    """A person's choice is kept whatever its score, and displaces a model's favourite where only one may stay."""
    pairs, scores = pool([("s1", "fox", 3), ("s1", "fox", -3), ("s1", "fox", None)])
    assert [v.keep for v in best(pairs, scores, 1, {pairs[1].id})] == [False, True, None]
    assert [v.keep for v in best(pairs, scores, 1, {pairs[1].id, pairs[2].id})] == [False, True, True]
    assert [v.keep for v in best(pairs, scores, 2, {pairs[2].id})] == [True, False, True]
