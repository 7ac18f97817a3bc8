"""Rows on which reviewers disagree, settled on the review page."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

import prompts as library

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.commands import start
from pairsmith.serve.workspace import Workspace
from schemas.reviews import Review, Sampled
from schemas.store import Store
from tests.serve.conftest import Browse, write_project
from tests.synth.loopback import LoopbackTeacher

OWN = {"Sec-Fetch-Site": "same-origin"}
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.slow
@pytest.mark.parametrize(("decision", "kept"), [("accept", True), ("reject", False)])
def test_disagreement_is_shown_and_settled(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse, decision: str, kept: bool
) -> None:
    """Both answers are shown with names and reasons; a third user settles the row, and the next curation follows that
    decision."""
    folder = write_project(workspace, "tiny", teacher.url)
    for command in ("generate", "curate"):
        assert start([command, "--project", str(folder)]) == 0
    browser = browse(workspace, headers=OWN)
    unanswered = browser.get("/p/tiny/review").text.partition('id="settle"')[2]
    assert "Reviewers agree" not in unanswered
    rows = "/api/v1/projects/tiny/rows"
    accepted = browser.get(rows, params={"state": "accepted", "limit": 200}).json()["items"]
    row = accepted[0]
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        shared = {"pair_id": row["pair_id"], "at": AT, "seconds": 5.0}
        store.write(
            Review(reviewer="argilla:x/1", name="ann", decision="accept", **shared),
            Review(reviewer="argilla:x/2", name="bob", decision="reject", reasons=("off_topic",), **shared),
        )
    page = browser.get("/p/tiny/review").text
    part = page.partition('id="settle"')[2]
    assert all(words in part for words in ("ann", "bob", "off_topic", "Settle: accept", "Settle: reject"))
    path = f"/p/tiny/review/{row['pair_id']}/settle"
    assert browser.post(path, data={"decision": decision}).status_code == 303
    assert "Reviewers agree on every row" in browser.get("/p/tiny/review").text
    assert start(["curate", "--project", str(folder)]) == 0
    after = browser.get(rows, params={"state": "accepted", "limit": 200}).json()["items"]
    assert [row["id"] for row in after] == [row["id"] for row in accepted[not kept :]]


@pytest.mark.slow
def test_a_new_prompt_is_due_at_once_and_answers_are_kept(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """A prompt version that is saved on the page, which leaves the spec unchanged, makes generation due on every page
    without a write to the store. The review page says so and that answers are kept; it had shown the old rates until
    something was written, and "There are no judged rows to review" from then on."""
    folder = write_project(workspace, "tiny", teacher.url)
    for command in ("generate", "curate"):
        assert start([command, "--project", str(folder)]) == 0
    browser = browse(workspace, headers=OWN)
    row = browser.get("/api/v1/projects/tiny/rows", params={"state": "accepted"}).json()["items"][0]
    assert browser.post(f"/p/tiny/review/{row['id']}", data={"decision": "accept"}).status_code == 303
    for file in folder.glob("pairsmith.db*"):
        os.utime(file, (1e9, 1e9))  # settled: from now on the pages may use what they have read
    assert "has changed" not in browser.get("/p/tiny").text
    text = library.load("enhance/v1", folder).text + "Be brief.\n"
    assert browser.post("/p/tiny/prompts", data={"name": "enhance/v1", "text": text}).status_code == 303
    for path in ("/p/tiny", "/p/tiny/review"):
        assert "“Prompts” (generate.forward.prompt) has changed" in unescape(browser.get(path).text), path
    assert "1 answer is kept" in browser.get("/p/tiny/review").text


@pytest.mark.slow
def test_the_review_page_follows_samples_and_erased_answers(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows drawn by a push that was killed before its receipt, and the erased answers of a person whose were not the
    last, change the page as they change `pairsmith review status`. It had shown an erased person's answers until the
    next write."""
    folder = write_project(workspace, "tiny", teacher.url)
    for command in ("generate", "curate"):
        assert start([command, "--project", str(folder)]) == 0
    browser = browse(workspace, headers=OWN)
    rows = browser.get("/api/v1/projects/tiny/rows", params={"state": "accepted"}).json()["items"][:2]
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        for name in ("ann", "bob"):
            shared = {"reviewer": f"argilla:x/{name}", "name": name, "at": AT, "seconds": 5.0}
            store.write(*(Review(pair_id=row["pair_id"], decision="accept", **shared) for row in rows))
        assert "ann" in browser.get("/p/tiny/review").text
        assert "Reviewers have decided" not in browser.get("/p/tiny/review").text
        of = [{"pair_id": row["pair_id"], "reason": "certify", "dataset": "d"} for row in rows]
        store.write(*(Sampled(sampling_probability=0.5, **one) for one in of))
    assert "Reviewers have decided 2 rows of 2" in browser.get("/p/tiny/review").text
    home = tmp_path / "argilla"
    home.mkdir()
    (home / "venv").touch()  # no server can be installed here: the user's own would be started, and left running
    monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(home))
    assert start(["erase", "--person", "ann", "--yes", "--project", str(folder)]) == 0
    page = browser.get("/p/tiny/review").text
    assert ">ann<" not in page
    assert ">bob<" in page


@pytest.mark.slow
def test_a_missing_dataset_is_noticed_without_a_write(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """Deleting what a stage wrote makes that stage due on the pages, as in `pairsmith status`, and its return undoes
    that, although neither the store nor the spec changes."""
    folder = write_project(workspace, "tiny", teacher.url)
    for command in ("generate", "curate"):
        assert start([command, "--project", str(folder)]) == 0
    browser = browse(workspace, headers=OWN)
    for file in folder.glob("pairsmith.db*"):
        os.utime(file, (1e9, 1e9))
    assert "is missing" not in browser.get("/p/tiny").text
    for old, new, missing in (("dataset", "away", True), ("away", "dataset", False)):
        (folder / old).rename(folder / new)
        assert ("is missing" in browser.get("/p/tiny").text) is missing
