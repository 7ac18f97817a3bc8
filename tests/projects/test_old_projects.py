"""A project of the version before opens, and keeps every id: tests/projects/v0_1, which make_v0_1.py made once.

`store.sql` is the dump of its store, `expected.json` what its ids, accepted rows, `status` and `explain` were then.
Records are read through the store and commands are run, so that the promise is about what a person has, not about how
this version names a field: where it renames one, `NAMES` below is the one place to say so.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from schemas.records import content_id
from schemas.store import Store
from tests.pairsmith.conftest import Project

KEPT = Path(__file__).parent / "v0_1"
EXPECTED: dict[str, Any] = json.loads((KEPT / "expected.json").read_text())
# As v0_1 calls a key of `status --json` or `explain --json`, and what later versions may call it.
NAMES = {"simple": ("simple", "input"), "enhanced": ("enhanced", "output")}
_ATTEMPT_STRIDE = 1_000_003


def named(answer: dict[str, Any], name: str) -> Any:
    """The value that v0_1 calls `name`."""
    return next(answer[known] for known in NAMES.get(name, (name,)) if known in answer)


def copied(folder: Path) -> Path:
    """The project's files as `cp -r` leaves them: with the time of now."""
    leave = shutil.ignore_patterns("store.sql", "expected.json")
    shutil.copytree(KEPT, folder, ignore=leave, copy_function=shutil.copyfile)
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Project:
    """A copy of the project, its store as that version wrote it."""
    folder = copied(tmp_path / "old")
    with closing(sqlite3.connect(folder / "pairsmith.db")) as connection:
        connection.executescript((KEPT / "store.sql").read_text())
    return Project(folder)


def opened(project: Project) -> Store:
    return Store.open(f"sqlite:///{project.folder / 'pairsmith.db'}")


def test_an_old_store_opens_with_every_record_under_its_id(old: Project) -> None:
    """Ids are hashes of content by a frozen recipe: computed anew from what was read, each is what it was."""
    with opened(old) as store:
        records = {
            "seeds": [seed.id for seed in store.seeds(active=False)],
            "pairs": [pair.id for pair in store.pairs()],
            "reviews": [review.id for reviews in store.reviews().values() for review in reviews],
            "routed": [sampled.id for reasons in store.sampled().values() for sampled in reasons],
            "artifacts": [artifact.id for artifact in store.artifacts()],
        }
        calls = sorted((call.key, call.attempt, call.status) for key in store.call_index() for call in store.calls(key))
        accepted = [list(member) for member in store.artifacts("dataset")[-1].members]
    assert {kind: sorted(ids) for kind, ids in records.items()} == {
        kind: sorted(ids) for kind, ids in EXPECTED["ids"].items()
    }
    assert calls == sorted(map(tuple, EXPECTED["calls"]))
    assert accepted == EXPECTED["accepted"]


def test_a_call_key_is_made_of_what_was_asked(old: Project) -> None:
    """The recipe, written out: teacher, revision, messages, sampling, schema, sample. The seed is the one of sample 0
    and attempt 1; address, request size and port are not in it."""
    with opened(old) as store:
        calls = [call for key in store.call_index() for call in store.calls(key)]
    first_sample: dict[str, int] = {}
    for call in calls:
        first_sample[call.request_id] = min(call.sample, first_sample.get(call.request_id, call.sample))
    for call in calls:
        request = dict(call.request)
        chat = [[message["role"], message["content"]] for message in request.pop("messages")]
        sampling = {name: value for name, value in request.items() if name not in ("model", "n")}
        if "seed" in sampling:
            sampling["seed"] -= first_sample[call.request_id] + _ATTEMPT_STRIDE * (call.attempt - 1)
        revision = EXPECTED["revisions"][call.teacher]
        question = content_id("question", [call.teacher, revision, chat, sampling, None])
        assert call.key == content_id("sample", [question, call.sample])


@pytest.mark.slow
def test_the_ledger_alone_makes_the_pool_again(old: Project, tmp_path: Path) -> None:
    """With nothing but the old answers, and nobody listening at the teacher's address, `generate` finds every answer
    under its key and makes the same candidates in the same scopes of the same pairs."""
    again = Project(copied(tmp_path / "again"))
    with opened(old) as store, opened(again) as empty:
        empty.write(*(call for key in store.call_index() for call in store.calls(key)))
    answer = again.json("generate")
    assert (answer["calls_sent"], answer["failed"]) == (0, 6)
    assert answer["facts"]["scopes"] == EXPECTED["scopes"]

    with opened(again) as store:
        slots = {
            (c.fingerprint, c.seed_id, c.generator, c.sample, c.pair_id, c.failure.code if c.failure else "")
            for c in store.candidates()
        }
    assert slots == {(*slot, code(failure or "")) for *slot, failure in EXPECTED["candidates"]}


def in_present_words(reasons: dict[str, int]) -> dict[str, int]:
    """What v0_1 called a leak is contamination."""
    return {{"leak": "contamination"}.get(code, code): count for code, count in reasons.items()}


def code(reason: str) -> str:
    """The code of a reason as v0_1 wrote it: its first word."""
    return reason.split(maxsplit=1)[0].rstrip(":") if reason else ""


@pytest.mark.slow
def test_curation_of_an_old_project_comes_to_the_same(old: Project) -> None:
    """The same rows are accepted, in the same splits, and the rest for the same reasons; people are heard as before."""
    answer = old.json("curate")
    assert {name: answer[name] for name in EXPECTED["curated"]["counts"]} == EXPECTED["curated"]["counts"]
    assert answer["reasons"] == in_present_words(EXPECTED["curated"]["reasons"])
    with opened(old) as store:
        accepted = [list(member) for member in store.artifacts("dataset")[-1].members]
    assert accepted == EXPECTED["accepted"]


@pytest.mark.slow
@pytest.mark.parametrize("lineage", EXPECTED["explain"], ids=lambda lineage: lineage["origin"]["by"])
def test_a_row_is_explained_as_it_was(old: Project, lineage: dict[str, Any]) -> None:
    """Seed, both texts, origin, answers, every verdict of a single row, reviews, split, and the models trained on the
    row; what a step that sees the whole pool said is told as the row's state now."""
    answer = old.json("explain", lineage["id"][:12])
    for name in ("id", "simple", "enhanced", "system", "split", "artifacts"):
        assert named(answer, name) == lineage[name]
    assert answer["seed"]["id"] == lineage["seed"]["id"]
    assert answer["origin"]["by"] == lineage["origin"]["by"]
    assert [(call["key"], call["text"]) for call in answer["calls"]] == [
        (c["key"], c["text"]) for c in lineage["calls"]
    ]
    verdicts = {(verdict["by"], verdict["keep"], code(verdict["reason"])) for verdict in answer["verdicts"]}
    per_row = [verdict for verdict in lineage["verdicts"] if not verdict["by"].startswith("pool/")]
    assert verdicts >= {(verdict["by"], verdict["keep"], code(verdict["reason"])) for verdict in per_row}
    assert [(review["reviewer"], review["decision"]) for review in answer["reviews"]] == [
        (review["reviewer"], review["decision"]) for review in lineage["reviews"]
    ]


@pytest.mark.slow
def test_status_of_an_old_project_is_what_it_was(old: Project) -> None:
    """Seeds, pairs, what was spent, and the counts and reasons of every stage."""
    answer, then = old.json("status"), EXPECTED["status"]
    assert (answer["task"], answer["seeds"], answer["pairs"]) == (then["task"], then["seeds"], then["pairs"])
    assert {name: answer["ledger"][name] for name in then["ledger"]} == then["ledger"]
    stages = {stage["stage"]: stage for stage in answer["stages"]}
    for stage in then["stages"]:
        now = stages[stage["stage"]]
        assert (now["counts"], now["reasons"]) == (stage["counts"], in_present_words(stage["reasons"]))


@pytest.mark.slow
def test_what_older_rules_decided_stands_and_says_so(old: Project) -> None:
    """A rule that changed reopens no stage; `status` tells, and the next curation decides by the rules of now."""

    def curated() -> tuple[bool, str]:
        (stage,) = (stage for stage in old.json("status")["stages"] if stage["stage"] == "curate")
        return stage["done"], stage["why"]

    assert curated() == (
        True,
        "by older rules (gates, contamination, duplicate); `pairsmith curate` applies the current ones",
    )
    old.json("curate")
    assert curated() == (True, "")


@pytest.mark.slow
def test_what_was_done_is_done_after_a_copy(old: Project) -> None:
    """A project that is copied, or cloned from git, is where it was: `run` has nothing to do."""
    assert EXPECTED["status"]["next"] == []
    assert old.json("status")["next"] == []


@pytest.mark.slow
def test_a_project_of_today_is_as_done_after_a_copy(old: Project, tmp_path: Path) -> None:
    """The same for stages that this version has run; and a changed seed file is seen, whatever its time says."""
    old.json("generate")
    old.json("curate")
    moved = Project(tmp_path / "moved")
    shutil.copytree(old.folder, moved.folder, copy_function=shutil.copyfile)
    assert not {"generate", "curate"} & set(moved.json("status")["next"])
    seeds = moved.folder / "seeds.jsonl"
    seeds.write_text(seeds.read_text().replace("night tram", "dawn trams"))
    assert "generate" in moved.json("status")["next"]
