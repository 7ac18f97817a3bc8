"""Tests of `pairsmith curate`, `rows`, `explain` and `export` on pairs from a loopback teacher."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate.gate_versions import VERSIONS
from schemas.records import Reason, Verdict
from schemas.reviews import Review
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith.conftest import SUBJECTS, Project, answer
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

ROWS = 2 * len(SUBJECTS)


@pytest.fixture
def generated(project: Project) -> Project:
    project.json("generate")
    return project


def exported(project: Project) -> list[str]:
    """Every line of the dataset's JSONL files."""
    files = sorted((project.folder / "dataset" / "data").glob("*.jsonl"))
    return [line for path in files for line in path.read_text().splitlines()]


def test_rows_in_are_accounted_for_and_the_accepted_are_written(generated: Project) -> None:
    """Accepted + rejected + waiting + failed is rows in, and the dataset contains exactly the accepted rows."""
    counted = generated.json("curate")
    parts = ("accepted", "rejected", "waiting", "failed")
    assert counted["rows_in"] == ROWS == sum(counted[part] for part in parts)
    assert counted["accepted"] > 0
    lines = exported(generated)
    assert len(lines) == counted["accepted"]
    assert sum(counted["reasons"].values()) == ROWS - counted["accepted"]


def test_a_second_run_judges_nothing_again(generated: Project) -> None:
    """With the same pool and settings no verdict is added, and the dataset is byte-identical."""
    first = generated.json("curate")
    manifest = (generated.folder / "dataset" / "manifest.json").read_bytes()
    second = generated.json("curate")
    assert second["facts"]["verdicts_appended"] == 0
    assert second["facts"]["made"] == first["facts"]["made"]
    assert (generated.folder / "dataset" / "manifest.json").read_bytes() == manifest


def test_a_changed_threshold_costs_no_request(generated: Project, teacher: LoopbackTeacher) -> None:
    """Stricter gates accept fewer rows without asking the teacher, and `status` knows which stages are due because of
    them."""
    before = generated.json("curate")["accepted"]
    asked = len(teacher.asked)
    stricter = ("--set", "curate.gates.length.max_words=21")
    assert generated.json("status", *stricter)["next"] == ["curate", "review", "train", "evaluate"]
    assert 0 < generated.json("curate", *stricter)["accepted"] < before
    assert len(teacher.asked) == asked
    shown = generated.run("status", *stricter).stdout.splitlines()
    assert [line.split() for line in shown].count(["dataset", "dataset"]) == 1, "it replaces the previous dataset"


def test_kill_9_in_the_middle_of_curation(generated: Project) -> None:
    """Killed while it writes verdicts, the next run gives the same result as an undisturbed one."""
    undisturbed = Project(Path(shutil.copytree(generated.folder, generated.folder.with_name("undisturbed"))))
    killed = generated.run("curate", PAIRSMITH_FAILPOINT="mid_curate")
    assert killed.returncode == -signal.SIGKILL
    assert generated.is_intact()
    resumed = generated.json("curate")
    expected = undisturbed.json("curate")
    assert resumed["facts"]["made"] == expected["facts"]["made"]
    assert (resumed["reasons"], exported(generated)) == (expected["reasons"], exported(undisturbed))
    assert generated.is_intact()


def test_curating_an_empty_pool_fails(project: Project) -> None:
    """Without candidates the command ends with code 8 and names the command to run first."""
    done = project.run("curate")
    assert done.returncode == 8
    assert "pairsmith generate" in done.stderr


def test_explain_follows_a_row_into_the_dataset(generated: Project) -> None:
    """`explain` with an exported row's id shows its verdicts, state, split and dataset."""
    generated.json("curate")
    lines = exported(generated)
    row = json.loads(lines[0])
    lineage = generated.json("explain", row["pair_id"])
    steps = {verdict["by"].partition("@")[0] for verdict in lineage["verdicts"]}
    assert steps >= {"gate/length", "gate/must:ends"}
    assert [(state["state"], state["split"]) for state in lineage["rows"]] == [("accepted", lineage["split"])]
    assert all(verdict["keep"] for verdict in lineage["verdicts"])
    assert [(artifact["kind"], artifact["split"]) for artifact in lineage["artifacts"]] == [
        ("dataset", lineage["split"])
    ]
    shown = generated.run("explain", row["pair_id"]).stdout
    assert "gate/must:ends@1" in shown
    assert "accepted" in shown


def test_explain_names_the_role_of_each_reviewer(generated: Project) -> None:
    """An answer of an adjudicator and one of a program are told apart from an annotator's."""
    generated.json("curate")
    row = json.loads(exported(generated)[0])["pair_id"]
    answers: list[dict[str, Any]] = [
        {"reviewer": "bob", "reasons": ("off_style",)},
        {"reviewer": "ann", "role": "adjudicator"},
        {"reviewer": "simulated-tom", "simulated": True},
    ]
    with Store.open(Store.url_for(load(generated.folder))) as store:
        store.write(*(Review(pair_id=row, decision="reject", **answer) for answer in answers))
    shown = generated.run("explain", row).stdout
    for line in ("bob: off_style", "ann (adjudicator)", "simulated-tom (simulated)"):
        assert f"reject by {line}\n" in shown


def test_rows_lists_every_slot_with_its_state(generated: Project) -> None:
    """All states by default, with reasons and the totals; filtered by state and reason on request, with numbers that
    match the counts; the output says if there are more rows."""
    uncurated = generated.json("rows", "--limit", "0")["rows"]
    assert [row["code"] for row in uncurated] == ["uncurated"] * ROWS
    stricter = ("--set", "curate.gates.length.max_words=21")
    counted = generated.json("curate", *stricter)
    listed = generated.json("rows", "--limit", "0")
    assert len(listed["rows"]) == counted["rows_in"] == listed["counts"]["rows_in"]
    assert not listed["more"]
    states = [row["state"] for row in listed["rows"]]
    assert {s: states.count(s) for s in set(states)} == {s: counted[s] for s in set(states)}
    for code, number in counted["reasons"].items():
        rows = generated.json("rows", "--reason", code, "--limit", "0")["rows"]
        assert len(rows) == number
        assert all(row["code"] == code and row["reason"].startswith(code) and row["step"] for row in rows)
    rejected = generated.json("rows", "--state", "rejected", "--limit", "1")
    assert (len(rejected["rows"]), rejected["more"]) == (1, counted["rejected"] > 1)
    shown = generated.run("rows", "--state", "rejected", "--limit", "2").stdout
    assert rejected["rows"][0]["pair_id"][:12] in shown
    assert f"gate/length@{VERSIONS['length']}" in shown
    assert not re.search(r"[0-9a-f]{13}", generated.run("rows", "--limit", "0").stdout), (
        "all ids are as short as in the first column"
    )
    assert generated.run("rows", "--state", "lost").returncode == 2
    assert generated.run("rows", "--state", "failed").stdout.endswith("\nNo row matches.\n")
    unknown = generated.run("rows", "--reason", "lost")
    assert unknown.returncode == 2
    assert "Existing reasons: " in unknown.stderr


def test_rows_lists_flagged_rows_with_the_flag(tmp_path: Path) -> None:
    """A flag does not reject a row, so flagged rows cannot be listed by state: --flagged lists them, with why."""
    records = [{"bill": "Milk, 2 euros, by card.", "record": {"item": "Milk", "paid": how}} for how in ("card", "cash")]
    (tmp_path / "bills.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    here = Project(tmp_path / "mine")
    assert Project(tmp_path).run("init", "mine", "--kind", "extract", "--from", "bills.jsonl").returncode == 0
    here.json("generate")
    off = ("--set", "curate.duplicates.enabled=false", "--set", "split.test=0", "--set", "split.validation=0")
    shown = here.run("curate", *off).stdout
    listing = " ".join(("pairsmith rows", *off, "--state accepted --flagged"))
    sentence = f"accepted, but worth a look: value 1 row; `{listing}` lists them"
    assert sentence in " ".join(shown.split())
    assert [row["flags"] for row in here.json("rows", "--state", "accepted", "--flagged")["rows"]] == [["value"]]
    (row,) = here.json("rows", "--flagged")["rows"]
    assert row["flagged"] == ["value: “cash” at $.paid is not in the input"]
    assert (row["state"], here.json("rows", "--reason", "value")["rows"]) == ("accepted", [row])
    assert not here.json("rows", "--reason", "value", "--state", "rejected")["rows"]
    assert "flag value: “cash”" in " ".join(here.run("rows", "--flagged").stdout.split())
    refused = here.run("rows", "--reason", "nothing")
    assert "no row has the reason or flag 'nothing'" in refused.stderr


def test_a_flag_has_the_same_name_everywhere(tmp_path: Path) -> None:
    """A flagged row shows the flag's own name, never "ok", in `rows`, as a value of `--reason` and in `explain`."""
    answered = "The museum opens at nine on weekdays and at ten on Sundays. Bring the children. Bring the children."
    rows = [{"question": "When does the museum open on weekdays?", "answer": answered}]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    here = Project(tmp_path / "mine")
    assert Project(tmp_path).run("init", "mine", "--from", "asked.jsonl").returncode == 0
    here.json("generate")
    here.json("curate", "--set", "split.test=0", "--set", "split.validation=0")
    (row,) = here.json("rows", "--flagged")["rows"]
    for flag, sentence in zip(row["flags"], row["flagged"], strict=True):
        assert sentence.startswith(f"{flag}: ")
        assert here.json("rows", "--reason", flag)["rows"] == [row]
    assert "twice" in row["flags"]
    explained = here.run("explain", row["pair_id"]).stdout
    assert re.search(r"^flag +gate/repetition@\d+ .*twice: ", explained, re.MULTILINE)


def test_rows_shows_why_generation_failed(make_project: Callable[..., Project]) -> None:
    """A row without a pair is listed with its seed's text and the reason of its failure, also before curation."""

    def nothing_for_goats(ask: Ask) -> Reply:
        return says("", "") if "goats" in ask.prompt else answer(ask)

    with LoopbackTeacher(nothing_for_goats) as teacher:
        project = make_project(teacher.url)
        assert project.run("rows").returncode == 6, "there is no store yet"
        project.json("generate")
        before = project.json("rows", "--state", "failed")["rows"]
        project.json("curate")
        (first, *_) = after = project.json("rows", "--state", "failed")["rows"]
    assert before == after
    assert (first["input"], first["pair_id"], first["step"]) == ("two goats on a roof", None, "generate")
    assert first["reason"].startswith("empty: ")


def test_an_export_is_a_self_contained_folder(generated: Project, tmp_path: Path) -> None:
    """It contains dataset, spec and ids; an earlier export is replaced, any other folder is not."""
    generated.json("curate")
    out = tmp_path / "handed-on"
    for _ in range(2):
        generated.json("export", "--out", str(out))
        assert {path.name for path in out.iterdir()} == {"dataset", "pairsmith.toml", "export.json"}
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    done = generated.run("export", "--out", str(foreign))
    assert done.returncode == 2
    assert (foreign / "thesis.txt").read_text() == "mine"
    if Path("/proc/self").exists():  # nothing can be created there
        done = generated.run("export", "--out", "/proc/handed-on")
        assert (done.returncode, "error: /proc/handed-on: it cannot be used (" in done.stderr) == (6, True), done.stderr


def test_later_stages_name_the_missing_one(project: Project) -> None:
    """`train`, `evaluate` and `export` name the stage that is missing, with code 8."""
    for command, first in (("train", "curate"), ("evaluate", "train"), ("export", "curate")):
        done = project.run(command)
        assert done.returncode == 8, done.stderr
        assert f"pairsmith {first}" in done.stderr


def test_explain_marks_the_verdicts_of_other_rules(generated: Project) -> None:
    """After a change of a gate, `explain` lists the verdicts that count first and marks the others. A return to
    the old setting makes its verdict count again, without judging anything."""
    generated.json("curate")
    generated.json("curate", "--set", "curate.gates.length.max_words=21")
    pair = generated.json("rows", "--reason", "long", "--limit", "1")["rows"][0]["pair_id"]

    def lengths() -> list[tuple[bool, bool | None]]:
        verdicts = generated.json("explain", pair)["verdicts"]
        assert [v["other_rules"] for v in verdicts] == sorted(v["other_rules"] for v in verdicts)
        return [(v["other_rules"], v["keep"]) for v in verdicts if v["by"].startswith("gate/length@")]

    assert lengths() == [(False, False), (True, True)]
    assert generated.run("explain", pair).stdout.count("(by other rules)") == 1
    generated.json("curate")
    assert lengths() == [(False, True), (True, False)]


def test_explain_marks_the_score_of_a_scorer_that_is_no_longer_used(generated: Project) -> None:
    """A score that the last curation did not read is not shown as if it counted."""
    generated.json("curate")
    pair = generated.json("rows", "--limit", "1")["rows"][0]["pair_id"]
    score = Verdict(pair_id=pair, by="score/pmi@1", fingerprint="f", keep=True, score=1.0, reason=Reason("ok"))
    with Store.open(Store.url_for(load(generated.folder))) as store:
        store.write(score)
    verdicts = generated.json("explain", pair)["verdicts"]
    assert [v["by"] for v in verdicts if v["other_rules"]] == ["score/pmi@1"]
