"""`run --from` and `run --until`: the pipeline in parts is the pipeline."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from tests.pairsmith.conftest import Project, answer
from tests.synth.loopback import LoopbackTeacher, says


def test_a_run_in_parts_does_what_one_run_does(project: Project, teacher: LoopbackTeacher) -> None:
    """Each part does its stages once, tells what is next, and counts rows; the next one finds them done."""
    first = project.json("run", "--until", "curate")
    assert (first["facts"]["stages"], first["facts"]["until"]) == (["generate"], "curate")
    assert (first["rows_in"], first["waiting"]) == (24, 24)
    second = project.run("run", "--from", "curate", "--until", "review")
    assert second.returncode == 0, second.stderr
    assert "review is next" in second.stdout
    assert (project.folder / "report.html").exists()
    commands = [receipt["command"] for receipt in project.receipts()]
    assert commands == ["generate", "run", "curate", "run"]
    assert project.receipts()[-1]["counts"]["accepted"] > 0
    again = project.json("run", "--until", "review")
    assert again["facts"]["stages"] == []
    assert len(teacher.asked) == 12
    assert not project.json("status")["stages"][2]["done"], "nobody has reviewed, nor gone on without people"


def test_the_command_that_goes_on_works_as_it_is_printed(project: Project) -> None:
    """With the folder and the overrides of the command before it, and still without people where those were left out:
    what a run of a part, `status` and `init` name can be copied from the screen."""
    folder = project.folder.rename(project.folder.parent / "my captions")
    outside = Project(folder.parent, project.environment)
    given = ("--project", folder.name, "--set", "generate.forward.n=3")
    part = outside.run("run", "--no-review", "--until", "curate", *given)
    again = "pairsmith run --no-review --project 'my captions' --set generate.forward.n=3"
    assert f"`{again}`: curate is next" in " ".join(part.stdout.split()), part.stderr
    done = outside.run(*shlex.split(again)[1:], "--until", "train")
    assert "generate  already done" in done.stderr
    left = outside.run("status", *given).stdout
    assert "pairsmith run --project 'my captions' --set generate.forward.n=3 will review" in " ".join(left.split())
    first = outside.run("init", "my replies", "--kind", "reply", "--embedded")
    assert first.stdout.endswith("\n  pairsmith run --project 'my replies'\n")


def test_where_no_row_can_be_trained_on_training_is_not_next(make_project: Callable[..., Project]) -> None:
    """Every row that was accepted is a test row: what is left to do is to see why."""
    with LoopbackTeacher(answer) as teacher:
        project = make_project(teacher.url)
        test = ("--set", "split.test=0.96", "--set", "split.validation=0.03")
        done = project.run("run", "--no-review", "--until", "train", *test)
    assert "train is next" not in done.stdout
    assert "there are no rows to train on" in done.stdout + done.stderr


def test_parts_that_leave_no_stage_are_refused(project: Project) -> None:
    """Before anything is asked."""
    done = project.run("run", "--from", "train", "--until", "curate")
    assert done.returncode == 2
    assert "there is no stage from train on that comes before curate" in done.stderr
    assert project.run("run", "--until", "supper").returncode == 2
    assert not (project.folder / "receipts").exists()


def test_a_run_asks_again_for_failed_rows_when_told(make_project: Callable[..., Project]) -> None:
    """As `generate --retry-failed` does."""
    good = [False]
    with LoopbackTeacher(lambda ask: answer(ask) if good[0] else says("", "")) as teacher:
        project = make_project(teacher.url)
        project.run("run", "--until", "curate")
        good[0] = True
        asked = len(teacher.asked)
        project.run("run", "--until", "curate")
        assert len(teacher.asked) == asked
        done = project.json("run", "--until", "curate", "--retry-failed")
        assert (done["rows_in"], done["failed"]) == (24, 0)
