"""A project of an earlier version opens and keeps every id: tests/projects/v0_1, which make_v0_1.py created once.

`store.sql` is the dump of its store; `expected.json` has its ids, accepted rows, and the output of `status` and
`explain` at that time. Records are read through the store and commands are run, so the tests are about what users have,
not about the names of fields in this version. If a field is renamed, `NAMES` below is the only place to change.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.records import content_id
from schemas.store import Store
from tests.ledger_rows import call_index
from tests.pairsmith import forked
from tests.pairsmith.conftest import Project
from tests.synth.loopback import LoopbackTeacher, says

KEPT = Path(__file__).parent / "v0_1"
EXPECTED: dict[str, Any] = json.loads((KEPT / "expected.json").read_text())
# A key of `status --json` or `explain --json` in v0_1, and its possible names in later versions.
NAMES = {"simple": ("simple", "input"), "enhanced": ("enhanced", "output")}
_ATTEMPT_STRIDE = 1_000_003


def value_of(answer: dict[str, Any], name: str) -> Any:
    """The value that v0_1 calls `name`."""
    return next(answer[known] for known in NAMES.get(name, (name,)) if known in answer)


def copied(folder: Path) -> Path:
    """The project's files as `cp -r` leaves them: with the current time."""
    leave = shutil.ignore_patterns("store.sql", "expected.json")
    shutil.copytree(KEPT, folder, ignore=leave, copy_function=shutil.copyfile)
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Project:
    """A copy of the project, with its store as that version wrote it."""
    folder = copied(tmp_path / "old")
    with closing(sqlite3.connect(folder / "pairsmith.db")) as connection:
        connection.executescript((KEPT / "store.sql").read_text())
    return Project(folder)


def opened(project: Project) -> Store:
    return Store.open(f"sqlite:///{project.folder / 'pairsmith.db'}")


def test_an_old_store_opens_with_every_record_under_its_id(old: Project) -> None:
    """Ids are content hashes with a frozen recipe. Recomputed from the records as read, each is unchanged."""
    with opened(old) as store:
        records = {
            "seeds": [seed.id for seed in store.each_seed()],
            "pairs": [pair.id for pair in store.pairs()],
            "reviews": [review.id for reviews in store.reviews().values() for review in reviews],
            "routed": [sampled.id for reasons in store.sampled().values() for sampled in reasons],
            "artifacts": [artifact.id for artifact in store.artifacts()],
        }
        calls = sorted((call.key, call.attempt, call.status) for key in call_index(store) for call in store.calls(key))
        accepted = [list(member) for member in store.artifacts("dataset")[-1].members]
    assert {kind: sorted(ids) for kind, ids in records.items()} == {
        kind: sorted(ids) for kind, ids in EXPECTED["ids"].items()
    }
    assert calls == sorted(map(tuple, EXPECTED["calls"]))
    assert accepted == EXPECTED["accepted"]


def test_call_key_is_the_hash_of_the_question(old: Project) -> None:
    """The recipe in full: teacher, revision, messages, sampling, schema, sample. The seed is that of sample 0 and
    attempt 1. Address, request size and port are not part of it."""
    with opened(old) as store:
        calls = [call for key in call_index(store) for call in store.calls(key)]
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
def test_pool_is_recreated_from_the_ledger_alone(old: Project, tmp_path: Path) -> None:
    """With only the old answers, and no server at the teacher's address, `generate` finds every answer under its key
    and creates the same candidates with the same fingerprints and pairs."""
    again = Project(copied(tmp_path / "again"))
    with opened(old) as store, opened(again) as empty:
        empty.write(*(call for key in call_index(store) for call in store.calls(key)))
    answer = again.json("generate")
    assert (answer["calls_sent"], answer["failed"]) == (0, 6)
    assert answer["facts"]["scopes"] == EXPECTED["scopes"]

    with opened(again) as store:
        slots = {
            (c.fingerprint, c.seed_id, c.generator, c.sample, c.pair_id, c.failure.code if c.failure else "")
            for c in store.candidates()
        }
    assert slots == {(*slot, code(failure or "")) for *slot, failure in EXPECTED["candidates"]}


def with_current_codes(reasons: dict[str, int]) -> dict[str, int]:
    """What v0_1 called a leak is contamination now."""
    return {{"leak": "contamination"}.get(code, code): count for code, count in reasons.items()}


def code(reason: str) -> str:
    """The code of a reason as v0_1 wrote it: its first word."""
    return reason.split(maxsplit=1)[0].rstrip(":") if reason else ""


@pytest.mark.slow
def test_curation_of_an_old_project_gives_the_same_result(old: Project) -> None:
    """The same rows are accepted, in the same splits, and the others have the same reasons. Reviews count as before."""
    answer = old.json("curate")
    assert {name: answer[name] for name in EXPECTED["curated"]["counts"]} == EXPECTED["curated"]["counts"]
    assert answer["reasons"] == with_current_codes(EXPECTED["curated"]["reasons"])
    with opened(old) as store:
        accepted = [list(member) for member in store.artifacts("dataset")[-1].members]
    assert accepted == EXPECTED["accepted"]


def test_status_names_seeds_as_now(old: Project) -> None:
    """The receipt of 0.1 counts them as simple and enhanced: the screen said "20 simples and 4 enhanceds"."""
    assert "20 inputs and 4 outputs" in old.run("status").stdout


@pytest.mark.slow
@pytest.mark.parametrize("lineage", EXPECTED["explain"], ids=lambda lineage: lineage["origin"]["by"])
def test_a_row_is_explained_as_it_was(old: Project, lineage: dict[str, Any]) -> None:
    """Seed, both texts, origin, answers, every verdict on the single row, reviews, split, and the models trained on the
    row. Verdicts of steps that see the whole pool are now shown as the row's state, and an edit has the review that
    made it."""
    answer = old.json("explain", lineage["id"][:12])
    for name in ("id", "simple", "enhanced", "system", "split", "artifacts"):
        assert value_of(answer, name) == lineage[name]
    assert answer["seed"]["id"] == lineage["seed"]["id"]
    assert answer["origin"]["by"] == lineage["origin"]["by"]
    assert [(call["key"], call["text"]) for call in answer["calls"]] == [
        (c["key"], c["text"]) for c in lineage["calls"]
    ]
    verdicts = {(verdict["by"], verdict["keep"], code(verdict["reason"])) for verdict in answer["verdicts"]}
    per_row = [verdict for verdict in lineage["verdicts"] if not verdict["by"].startswith("pool/")]
    assert verdicts >= {(verdict["by"], verdict["keep"], code(verdict["reason"])) for verdict in per_row}
    made_it = [("ann", "edit")] if lineage["origin"]["by"] == "edited" else []
    assert [(review["reviewer"], review["decision"]) for review in answer["reviews"]] == [
        *made_it,
        *((review["reviewer"], review["decision"]) for review in lineage["reviews"]),
    ]


@pytest.mark.slow
def test_status_of_an_old_project_is_what_it_was(old: Project) -> None:
    """Seeds, pairs, costs, and the counts and reasons of every stage."""
    answer, then = old.json("status"), EXPECTED["status"]
    assert (answer["task"], answer["seeds"], answer["pairs"]) == (then["task"], then["seeds"], then["pairs"])
    assert {name: answer["ledger"][name] for name in then["ledger"]} == then["ledger"]
    stages = {stage["stage"]: stage for stage in answer["stages"]}
    for stage in then["stages"]:
        now = stages[stage["stage"]]
        assert (now["counts"], now["reasons"]) == (stage["counts"], with_current_codes(stage["reasons"]))


@pytest.mark.slow
def test_decisions_of_older_rules_stay_and_are_marked(old: Project) -> None:
    """A changed rule reopens no stage. `status` reports it, and the next curation applies the current rules."""

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
def test_stages_stay_done_after_a_copy(old: Project) -> None:
    """A project that is copied, or cloned from git, is in the same state: `run` has nothing to do."""
    assert EXPECTED["status"]["next"] == []
    assert old.json("status")["next"] == []


@pytest.mark.slow
def test_stages_of_the_current_version_stay_done_after_a_copy(old: Project, tmp_path: Path) -> None:
    """The same for stages run by this version. A changed seed file is noticed, whatever its time stamp."""
    old.json("generate")
    old.json("curate")
    moved = Project(tmp_path / "moved")
    shutil.copytree(old.folder, moved.folder, copy_function=shutil.copyfile)
    assert not {"generate", "curate"} & set(moved.json("status")["next"])
    seeds = moved.folder / "seeds.jsonl"
    seeds.write_text(seeds.read_text().replace("night tram", "dawn trams"))
    assert "generate" in moved.json("status")["next"]


@pytest.mark.slow
def test_an_old_adapter_is_evaluated_for_ci_and_exported(old: Project) -> None:
    """With its base, which the kept project lacks, the adapter of 0.1 is measured. `--gate` exits with the code of the
    verdict (eight tokens give no complete answer), and the export has a card, the decoding, and the tokenizer of the
    base, because the adapter has none."""
    from synth.embedded.weights import embedded_weights
    from tests.train.tiny import make_base

    base = make_base(old.folder / "base-model", embedded_weights().folder)
    (adapter,) = (old.folder / "adapters").iterdir()
    record = json.loads((adapter / "training.json").read_bytes())
    (adapter / "training.json").write_text(json.dumps({**record, "base_hash": base.hash}))
    spec, models = old.folder / "pairsmith.toml", replace(old, kind=forked.MODELS)
    with LoopbackTeacher(lambda ask: says("a kite on a wall, soft sun END")) as teacher:
        spec.write_text(spec.read_text().replace("http://127.0.0.1:41941", teacher.url))
        evaluated = models.run("evaluate", "--gate")
    assert evaluated.returncode == 14, evaluated.stderr[-3000:]
    assert "Verdict: do not ship" in evaluated.stdout
    assert "tuned gave no complete answer" in evaluated.stdout
    exported = models.run("export")
    assert exported.returncode == 0, exported.stderr[-3000:]
    written = {path.name for path in (old.folder / "export" / "adapter").iterdir()}
    decoding = {"README.md", "generation_config.json", "tokenizer.json", "chat_template.jinja"}
    assert decoding | {"adapter_model.safetensors"} <= written
    ends = json.loads((old.folder / "export" / "adapter" / "generation_config.json").read_bytes())["eos_token_id"]
    assert ends
    mark = json.loads((old.folder / "export" / "export.json").read_bytes())
    assert mark["adapter"] in EXPECTED["ids"]["artifacts"]
