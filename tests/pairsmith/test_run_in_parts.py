"""Tests of `run --from` and `run --until`: a run in parts does the same as one run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.pairsmith.conftest import Project, answer
from tests.synth.loopback import LoopbackTeacher, says


def test_a_run_in_parts_does_what_one_run_does(project: Project, teacher: LoopbackTeacher) -> None:
    """Each part runs its stages once, says which stage is next, and counts rows; the next part reuses them."""
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
    assert not project.json("status")["stages"][2]["done"], "review has neither happened nor been skipped"


def test_the_next_command_works_as_printed(project: Project) -> None:
    """The next command printed by a partial run, `status` and `init` can be copied from the screen: it has the folder
    and the overrides of the command before it, and --no-review if that was given."""
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


def test_without_training_rows_training_is_not_next(make_project: Callable[..., Project]) -> None:
    """If all accepted rows are test rows, the output says so instead of naming training as the next stage."""
    with LoopbackTeacher(answer) as teacher:
        project = make_project(teacher.url)
        test = ("--set", "split.test=0.96", "--set", "split.validation=0.03")
        done = project.run("run", "--no-review", "--until", "train", *test)
    assert "train is next" not in done.stdout
    assert "there are no rows to train on" in done.stdout + done.stderr


def test_packages_that_a_later_stage_needs_are_missed_first(project: Project, tmp_path: Path) -> None:
    """`run` names the packages that a later stage needs and that are not installed before it asks a teacher (here one
    that does not answer), but not those of a stage that it will not reach."""
    installed = tmp_path / "site" / "pairsmith-0.1.0.dist-info"
    installed.mkdir(parents=True)
    needs = [f"Requires-Dist: no-{name} ; extra == '{name}'" for name in ("review", "train")]
    lines = ["Metadata-Version: 2.1", "Name: pairsmith", "Version: 0.1.0", *needs]
    (installed / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = os.pathsep.join([str(installed.parent), str(Path(__file__).parents[2])])
    nobody = ["--set", "teacher.url=http://127.0.0.1:9/v1", "--project", str(project.folder)]

    def warnings(*options: str) -> list[str]:
        command = [sys.executable, "-m", "pairsmith", "run", *nobody, *options]
        environment = os.environ | project.environment | {"PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
        assert done.returncode == 5, done.stderr
        return [line for line in done.stderr.splitlines() if "not installed" in line]

    of_review, of_training = warnings()
    assert of_review.startswith(
        "warning: review needs packages that are not installed (no-review), so this run may stop"
    )
    assert of_training.startswith(
        "warning: train needs packages that are not installed (no-train), so this run may stop"
    )
    assert of_training.endswith("pip install 'pairsmith[train]'")
    assert not warnings("--no-review", "--until", "train")


def test_from_and_until_without_a_stage_between_are_refused(project: Project) -> None:
    """Refused before anything runs, as is an unknown stage."""
    done = project.run("run", "--from", "train", "--until", "curate")
    assert done.returncode == 2
    assert "there is no stage from train on that comes before curate" in done.stderr
    assert project.run("run", "--until", "supper").returncode == 2
    assert not (project.folder / "receipts").exists()


def test_run_retries_failed_rows_with_the_option(make_project: Callable[..., Project]) -> None:
    """`run --retry-failed` requests failed rows again, as `generate --retry-failed` does."""
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
