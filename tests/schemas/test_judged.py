"""The verdicts of all gates on a pair are one row of the store, and are read as separate verdicts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.gates import Judgement
from schemas.gate_verdicts import body_of, decode_verdicts
from schemas.records import Reason, Verdict
from schemas.store import Store

STEPS = [("gate/a@1", "x"), ("gate/b@1", "y")]
texts = st.text(max_size=20)
judgements = st.builds(
    Judgement,
    st.sampled_from([True, False, None]),
    st.one_of(st.none(), st.floats(allow_nan=False)),
    st.builds(Reason, texts, texts),
    st.lists(texts, max_size=2).map(tuple),
)


@given(st.lists(judgements, min_size=2, max_size=2))
def test_body_preserves_all_verdicts(judgements: list[Judgement]) -> None:
    """Keep, score, reason and flags are preserved, including lone surrogates and infinite scores."""
    assert [Judgement(one.keep, one.score, Reason(one.code, one.detail), one.flags)
            for one in decode_verdicts("p", STEPS, body_of(judgements))] == judgements  # fmt: skip


def verdict(step: int, keep: bool | None, pair_id: str = "p", code: str = "ok") -> Verdict:
    by, fingerprint = STEPS[step]
    return Verdict(pair_id=pair_id, by=by, fingerprint=fingerprint, keep=keep, reason=Reason(code))


def judged(*keeps: bool | None) -> str:
    return body_of([Judgement(keep, None, Reason("ok")) for keep in keeps])


def test_rows_and_single_verdicts_are_one_history(tmp_path: Path) -> None:
    """The latest verdict of a step on a pair counts, however it was stored, and all of them are counted."""
    with Store.open(f"sqlite:///{tmp_path / 'p.db'}") as store:
        store.write(verdict(0, None, code="crashed"))
        asyncio.run(store.put_gate_verdicts(STEPS, [("p", judged(True, False)), ("q", judged(True, True))]))
        assert store.verdicts(["p"]) == {"p": [verdict(0, True), verdict(1, False)]}
        assert store.verdict_count() == 5
        store.write(verdict(1, True, code="late"))
        asyncio.run(store.put_gate_verdicts(STEPS[:1], [("q", judged(False))]))
        assert store.verdicts()["p"] == [verdict(0, True), verdict(1, True, code="late")]
        assert store.verdicts()["q"] == [verdict(0, False, "q"), verdict(1, True, "q")]
        assert [judgement.keep for judgement in store.verdicts_of_steps(STEPS[1:])] == [False, True, True]
        assert [judgement.pair_id for judgement in store.verdicts_of_steps(STEPS[:1])] == ["p", "p", "q", "q"]


def test_gate_verdicts_are_read_after_reopening_the_store(tmp_path: Path) -> None:
    """The list of steps is stored with them. A step in no list has no verdict."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    with Store.open(url) as store:
        asyncio.run(store.put_gate_verdicts(STEPS, [("p", judged(True, None))]))
    with Store.open(url, write=False) as store:
        assert store.verdicts() == {"p": [verdict(0, True), verdict(1, None)]}
        assert list(store.verdicts_of_steps([("gate/c@1", "x")])) == []


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_score_that_is_not_finite_is_not_lost(score: float) -> None:
    """JSON cannot represent it, and null would mean that there was no score."""
    (judgement,) = decode_verdicts("p", STEPS[:1], body_of([Judgement(True, score, Reason("ok"))]))
    assert repr(judgement.score) == repr(score)
