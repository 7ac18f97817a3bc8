"""Tests of a project used from Python: the stages without the command line's screen."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from curate import best, curate, gates
from pairsmith import Project
from schemas.errors import InputError, NoWork, SpecError, StoreError, UsageError
from schemas.spec import Spec, TaskSettings
from tests.door.test_door import rich
from tests.synth.loopback import LoopbackTeacher

SPEC = """
[task]
name = "tiny"
style = "Expand it into one rich sentence."
[[seeds]]
path = "seeds.txt"
[teacher]
url = "{url}"
model = "loopback"
[generate.forward]
n = 2
[generate.backward]
enabled = false
[curate.score]
model = "none"
"""


def test_a_relative_folder_is_that_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `%cd` in a notebook the project was not there any more, or another one was read."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pairsmith.toml").write_text(SPEC.format(url="http://127.0.0.1:9"))
    monkeypatch.chdir(tmp_path)
    project = Project("mine")
    monkeypatch.chdir(tmp_path / "mine")
    assert next(step.stage for step in project.status()) == "generate"


def test_the_stages_run_without_a_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Typed outcomes and nothing printed; a pool that can be curated from Python, the rows of the last curation, and
    the report."""
    with LoopbackTeacher(rich) as loopback:
        (tmp_path / "pairsmith.toml").write_text(SPEC.format(url=loopback.url))
        (tmp_path / "seeds.txt").write_text("a red fox\na lighthouse\n")
        project = Project(tmp_path)
        assert [step.done for step in project.status()][:1] == [False]
        for nothing in (project.rows, project.report):
            with pytest.raises(NoWork):
                nothing()
        generated = project.generate()
        assert (generated.pairs_made, generated.counts.rows_in) == (4, 4)
        assert project.generate().pairs_kept == 4
        curated = project.curate()
        assert curated.counts.adds_up
        assert {row.state for row in project.rows(state="accepted")} <= {"accepted"}
        assert len(list(project.rows())) == 4
        assert {row.reason.code for row in project.rows(reason="duplicate") if row.reason} == {"duplicate"}
        for wrong, there in (({"state": "acepted"}, "accepted, rejected"), ({"reason": "shrt"}, "reasons: duplicate")):
            with pytest.raises(UsageError, match=there):
                project.rows(**wrong)
        assert list(project.rows(reason="contamination")) == []
        assert curate(project.pool(), [*gates(), best(1)], progress=False).counts.accepted == 2
        assert [step.stage for step in project.status() if step.done] == ["generate", "curate"]
        page = project.report(str(tmp_path / "out" / "page.html"))
        assert project.report() == tmp_path / "report.html"
        written = [re.sub(r"\d\d:\d\d UTC", "", path.read_text("utf-8")) for path in (page, tmp_path / "report.html")]
        assert written[0] == written[1]  # except for the time
        assert (tmp_path / "evidence.json").is_file()
        assert project.export(str(tmp_path / "out" / "rows")).counts.accepted == curated.counts.accepted
    assert capfd.readouterr() == ("", "")


def test_overrides_and_errors_are_those_of_the_commands(tmp_path: Path) -> None:
    """The same syntax and the same errors."""
    (tmp_path / "pairsmith.toml").write_text(SPEC.format(url="http://h"))
    settings: Any = Project(tmp_path, ["train.epochs=2"]).settings
    assert settings.spec.train.epochs == 2
    with pytest.raises(SpecError, match="epoch"):
        Project(tmp_path, ["train.epoch=2"]).status()
    with pytest.raises(UsageError, match=r"\[\"KEY=VALUE\"\]"):
        Project(tmp_path, "train.epochs=2")
    for wrong in (lambda: Project(tmp_path).certify(90), lambda: Project(tmp_path).forecast(1)):
        with pytest.raises(UsageError, match=r"at least (0\.5|2)"):
            wrong()


OWN_PAIRS = "input,output\na kettle,A red kettle on a stove.\na boat,A boat of paper.\n"


def test_stages_in_two_threads_wait_for_each_other(tmp_path: Path) -> None:
    """They share the store's writer, whose lock only separates processes, so they used to write one dataset at the same
    time: FileExistsError."""
    pairs = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "own.csv"\nkind = "pair"\n'
    (tmp_path / "pairsmith.toml").write_text(pairs)
    (tmp_path / "own.csv").write_text(OWN_PAIRS)
    Project(tmp_path).generate()
    with ThreadPoolExecutor() as threads:
        both = list(threads.map(lambda _: Project(tmp_path).curate().counts.rows_in, range(4)))
    assert both == [2] * 4


def test_a_path_that_cannot_be_used_is_an_error_of_pairsmith(tmp_path: Path) -> None:
    """As the command reports it. It used to be an OSError, which nobody expects after `except PairsmithError`."""
    (tmp_path / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "own.csv"\nkind = "pair"\n'
    )
    (tmp_path / "own.csv").write_text(OWN_PAIRS)
    project = Project(tmp_path)
    project.generate()
    project.curate()
    with pytest.raises(StoreError, match=r"own\.csv.*There is a file where a folder is needed"):
        project.export(tmp_path / "own.csv" / "inside")


def test_a_gate_that_runs_a_stage_fails(tmp_path: Path) -> None:
    """It used to wait for the stage that had called it: a deadlock."""
    spec = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "own.csv"\nkind = "pair"\n'
    (tmp_path / "pairsmith.toml").write_text(f'{spec}[curate.gates]\nuser = ["asks_back:gate"]\n')
    (tmp_path / "own.csv").write_text(OWN_PAIRS)
    gate = f"def gate(pair):\n    Project({str(tmp_path)!r}).curate()\n"
    (tmp_path / "asks_back.py").write_text(f"from pairsmith import Project\n{gate}")
    project = Project(tmp_path)
    project.generate()
    with pytest.raises(NoWork):
        project.curate()
    assert ["wait for itself" in str(row.reason) for row in project.rows("waiting")] == [True, True]
    assert list(project.rows(reason="contamination")) == [], (
        "a known reason without rows is an empty list, not an error"
    )


def test_only_the_task_is_required(tmp_path: Path) -> None:
    """A minimal spec is valid; the stage that needs seeds says how to add them, and starts nothing."""
    assert Spec(task=TaskSettings(name="t", style="s")).evaluate.checks == ()
    (tmp_path / "pairsmith.toml").write_text('[task]\nname = "t"\nstyle = "s"\n')
    project = Project(tmp_path)
    assert [step.done for step in project.status()] == [False] * len(project.status())
    with pytest.raises(InputError, match=r"no seeds.*\[\[seeds\]\]"):
        project.generate()


def test_a_finished_generation_is_recognised_by_its_receipt(tmp_path: Path) -> None:
    """Nothing is sent and every pair is reported as kept. If a seed is added or the style changes, only what is missing
    is requested; returning to earlier settings requests nothing."""
    with LoopbackTeacher(rich) as loopback:
        (tmp_path / "pairsmith.toml").write_text(SPEC.format(url=loopback.url))
        (tmp_path / "seeds.txt").write_text("a red fox\na lighthouse\n")
        first = Project(tmp_path).generate()
        again = Project(tmp_path).generate()
        assert (again.pairs_made, again.pairs_kept, again.counts) == (0, 4, first.counts)
        assert (again.artifact_id, again.fingerprints, again.costs) == (first.artifact_id, first.fingerprints, ())
        assert len(loopback.asked) == 2
        (tmp_path / "seeds.txt").write_text("a red fox\na lighthouse\na paper boat\n")
        more = Project(tmp_path).generate()
        assert (more.pairs_made, more.pairs_kept, len(loopback.asked)) == (2, 4, 3)
        styled = Project(tmp_path, ["task.style=Say it in one long sentence."])
        assert (styled.generate().pairs_made, len(loopback.asked)) == (6, 6)
        back = Project(tmp_path).generate()
        assert (back.pairs_made, back.pairs_kept, len(loopback.asked)) == (0, 6, 6)
        (tmp_path / "seeds.txt").write_text("a lighthouse\n")
        assert Project(tmp_path).generate().counts.rows_in == 2
        assert len(loopback.asked) == 6
