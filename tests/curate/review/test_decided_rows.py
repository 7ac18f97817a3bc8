"""How curation applies reviews: undecided rows wait, and withdrawn answers leave the decision to the programs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from curate.outcome import CurateResult, curate_project
from schemas.project import Project
from schemas.records import Counts, Pair
from schemas.reviews import Review
from schemas.store import Store
from tests.curate import tiny

START = datetime(2026, 1, 1, tzinfo=UTC)


def decided(folder: Path, output: str, *answers: tuple[str, str, dict[str, Any]]) -> tuple[CurateResult, Pair]:
    """Curate one candidate with the given reviews, a minute apart."""
    project_ = Project(folder, tiny.spec())
    with Store.open(Store.url_for(project_)) as store:
        tiny.pool(store, project_, {"a": [output]})
        (pair,) = store.pairs()
        for minute, (reviewer, decision, more) in enumerate(answers):
            at = START + timedelta(minutes=minute)
            values = {"pair_id": pair.id, "reviewer": reviewer, "decision": decision, "at": at, **more}
            store.write(Review.model_validate(values))
        return asyncio.run(curate_project(project_, store, fingerprints=["now"])), pair


def test_row_with_disagreeing_reviewers_waits(tmp_path: Path) -> None:
    """It is neither accepted nor rejected although every gate kept it, and it is counted as undecided."""
    result, _ = decided(tmp_path, "must be fine", ("ann", "accept", {}), ("bob", "reject", {}))
    assert result.counts == Counts(rows_in=1, waiting=1)
    assert result.reasons == {"disagreement": 1}
    assert result.facts["undecided"] == 1


def test_adjudication_decides_a_disagreement(tmp_path: Path) -> None:
    """The adjudicator's answer is the decision, and all three reviews are kept with the row."""
    final = ("cid", "accept", {"role": "adjudicator"})
    result, _ = decided(tmp_path, "must be fine", ("ann", "accept", {}), ("bob", "reject", {}), final)
    assert result.counts == Counts(rows_in=1, accepted=1)
    assert len(result.accepted[0].reviews) == 3


def test_an_edit_without_a_text_waits(tmp_path: Path) -> None:
    """An edit without a text is not an acceptance. Its reason was `incomplete`, as rows with too few answers are called
    in `review status`, and the pages said "Too few reviewers have answered"."""
    result, _ = decided(tmp_path, "must be fine", ("ann", "edit", {}))
    assert result.reasons == {"no_edit": 1}


def test_after_a_withdrawal_the_programs_decide_again(tmp_path: Path) -> None:
    """After a withdrawn rejection, a row that passed is accepted; after a withdrawn acceptance, a row that a gate
    rejects is rejected."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    result, _ = decided(tmp_path / "a", "must be fine", ("ann", "reject", {}), ("ann", "withdrawn", {}))
    assert result.counts == Counts(rows_in=1, accepted=1)
    result, _ = decided(tmp_path / "b", "not by the rules", ("ann", "accept", {}), ("ann", "withdrawn", {}))
    assert result.counts == Counts(rows_in=1, rejected=1)
