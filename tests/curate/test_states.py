"""The decisions of a curation, one record per slot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curate.outcome import CurateResult, curate_project
from curate.rows import DUPLICATE, SPLIT
from curate.states import last_curation, read_states
from schemas.project import Project
from schemas.records import Artifact, Counts, Reason, Receipt, RowState, Verdict
from schemas.reviews import Review
from schemas.store import Store, tables
from tests.curate import tiny

AT = datetime(2026, 1, 1, tzinfo=UTC)
ANSWERS = {"a": ["must be fine", "no such word", "must  be fine!"], "b": ["must something quite else", "must be new"]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, tiny.spec())


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with Store.open(Store.url_for(project)) as opened:
        tiny.pool(opened, project, ANSWERS, {"c": "empty: nothing came"})
        yield opened


def run(project: Project, store: Store) -> CurateResult:
    return asyncio.run(curate_project(project, store, fingerprints=["now"]))


def receipt(store: Store, result: CurateResult, *, ok: bool = True, **facts: Any) -> Receipt:
    kept = Receipt(
        command="curate",
        ok=ok,
        counts=result.counts,
        reasons=result.reasons,
        seconds=1,
        started=AT,
        spec_hash="",
        facts={**result.facts, **facts},
    )
    store.write(kept)
    return kept


def curations(store: Store) -> set[str]:
    """The names of all curations that have row states."""
    return {state.curation for state in store.pages(RowState, tables.row_states)}


def states(store: Store, **wanted: Any) -> list[RowState]:
    curation = last_curation(store)
    assert curation is not None
    return list(read_states(store, curation, **wanted))


def test_every_slot_has_a_state_that_matches_the_receipt(project: Project, store: Store) -> None:
    """Including failed ones; each with the reason code that the receipt counts, the deciding step and the full
    reason."""
    result = run(project, store)
    receipt(store, result)
    slots = states(store)
    kinds = [state.state for state in slots]
    counted = {name: kinds.count(name) for name in ("accepted", "rejected", "waiting", "failed")}
    assert Counts(rows_in=len(slots), **counted) == result.counts
    codes = [state.reason.code for state in slots if state.reason]
    assert {code: codes.count(code) for code in codes} == result.reasons
    (failed,) = states(store, state="failed")
    assert (failed.reason, failed.step, failed.pair_id) == (Reason("empty", "nothing came"), "generate", None)
    (missing,) = states(store, code="missing:must")
    assert missing.step == "gate/must:must@1"
    assert missing.reason is not None
    assert "nothing matches" in missing.reason.detail
    for kept in result.accepted:
        (state,) = states(store, pair_id=kept.pair.id)
        assert (state.state, state.split, state.reason) == ("accepted", kept.split, None)


def test_states_become_current_with_their_receipt(project: Project, store: Store) -> None:
    """Until the receipt is written, the earlier states are current; states without a receipt are deleted by the next
    curation."""
    first = run(project, store)
    receipt(store, first)
    seen = states(store)
    (pair,) = (kept.pair for kept in first.accepted if kept.pair.output == "must be new")
    store.write(Review(pair_id=pair.id, reviewer="ann", decision="reject", at=AT))
    killed = run(project, store)  # and no receipt
    assert states(store) == seen
    second = run(project, store)
    assert killed.facts["curation"] not in curations(store)
    receipt(store, second)
    assert states(store, pair_id=pair.id)[0].reason == Reason("review", "rejected in review")
    run(project, store)
    assert first.facts["curation"] not in curations(store)


def test_failed_curation_is_the_last_one_too(project: Project, store: Store) -> None:
    """Its receipt is not ok, but its reasons can be read; the last successful one is kept for the report."""
    good = run(project, store)
    receipt(store, good)
    bad = run(project, store)
    receipt(store, bad, ok=False)
    newest, finished = last_curation(store), last_curation(store, finished=True)
    assert newest is not None
    assert finished is not None
    assert (newest.facts["curation"], finished.facts["curation"]) == (bad.facts["curation"], good.facts["curation"])
    run(project, store)
    assert {good.facts["curation"], bad.facts["curation"]} <= curations(store)


def test_edit_takes_the_slot_of_the_corrected_pair(project: Project, store: Store) -> None:
    """The slot is the candidate's, the pair the corrected one."""
    parent = next(pair for pair in store.pairs() if pair.output == "no such word")
    store.write(Review(pair_id=parent.id, reviewer="ann", decision="edit", edited="must be mended", at=AT))
    receipt(store, run(project, store))
    slot = next(c for c in store.candidates("now") if c.pair_id == parent.id)
    (state,) = (s for s in states(store) if (s.seed_id, s.sample) == (slot.seed_id, slot.sample))
    assert state.state == "accepted"
    assert [pair.output for pair in store.pairs([state.pair_id or ""])] == ["must be mended"]


def revert_to_earlier_version(store: Store, result: CurateResult) -> Receipt:
    """The store as the earlier version left it: verdicts of every step, a dataset, and a receipt that names no
    states."""
    store.delete_row_states(but=())
    members = tuple((kept.pair.id, kept.split) for kept in result.accepted)
    records: list[Any] = [Artifact(id="d", kind="dataset", path="dataset", members=members)]
    for pair in store.pairs():
        if pair.output == "must  be fine!":
            verdict = {"keep": False, "reason": "duplicate: 100% like kept pair x"}
            records.append(Verdict.model_validate({"pair_id": pair.id, "by": DUPLICATE, "fingerprint": "p", **verdict}))
    for pair_id, part in members:
        verdict = {"keep": True, "reason": f"{part} split"}
        records.append(Verdict.model_validate({"pair_id": pair_id, "by": SPLIT, "fingerprint": "p", **verdict}))
    store.write(*records)
    result.facts.pop("curation")
    return receipt(store, result, made="d")


def test_states_of_an_earlier_versions_store_are_derived_once(project: Project, store: Store) -> None:
    """They are derived from the verdicts and the dataset and equal those of now, also in a read-only store. If the
    store can be written, they are stored once."""
    store.write(Review(pair_id=store.pairs()[0].id, reviewer="ann", decision="accept", at=AT))
    result = run(project, store)
    receipt(store, result)
    now = [(s.pair_id, s.state, s.reason and s.reason.code, s.step, s.split) for s in states(store)]
    revert_to_earlier_version(store, result)
    with Store.open(Store.url_for(project), write=False) as reader:
        derived = [(s.pair_id, s.state, s.reason and s.reason.code, s.step, s.split) for s in states(reader)]
        assert states(reader, state="failed") == [s for s in states(reader) if s.state == "failed"]
        assert curations(reader) == set()
    assert derived == now
    filled = states(store)
    assert [(s.pair_id, s.state, s.reason and s.reason.code, s.step, s.split) for s in filled] == now
    assert len(curations(store)) == 1
    assert states(store) == filled
    run(project, store)
    assert states(store) == filled, "the next curation keeps them until its own receipt is written"


def test_derived_states_know_no_decisions_on_copies(tmp_path: Path) -> None:
    """A rejection in review did not hold for rows with the same texts then: a gate rejected this one."""
    project = Project(tmp_path, tiny.spec())
    answers = {"a fox": ["no such word"], "a fox ": ["no such word"], "a dog": ["must be here"]}
    with Store.open(Store.url_for(project)) as store:
        fingerprint = tiny.pool(store, project, answers)
        rejected, copy = (pair.id for pair in store.pairs() if pair.output == "no such word")
        store.write(Review(pair_id=rejected, reviewer="ann", decision="reject", at=AT))
        result = asyncio.run(curate_project(project, store, fingerprints=[fingerprint]))
        receipt(store, result)
        assert [states(store, pair_id=id_)[0].step for id_ in (rejected, copy)] == ["review", "review"]
        revert_to_earlier_version(store, result)
        of_copy = states(store, pair_id=copy)[0].step or ""
        assert (states(store, pair_id=rejected)[0].step, of_copy.partition("/")[0]) == ("review", "gate")
