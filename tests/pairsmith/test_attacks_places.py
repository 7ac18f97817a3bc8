"""Tests of projects in folders without write permission, and of paths that are taken by something else."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.pairsmith.conftest import Project
from tests.projects.test_old_projects import EXPECTED, KEPT, copied
from tests.train import tiny


def _without_write_privilege() -> list[str]:
    """Words to put before a command so that file permissions apply to it even for root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root bypasses permissions, and setpriv is not installed")
    return ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]


@pytest.fixture(params=["old", "of today"])
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project of version 0.1, as it is or curated again, in a folder without write permission."""
    project = Project(copied(tmp_path / "project"))
    with closing(sqlite3.connect(project.folder / "pairsmith.db")) as connection:
        connection.executescript((KEPT / "store.sql").read_text())
    if request.param == "of today":
        project.json("curate")
    folders = [project.folder, *(path for path in project.folder.rglob("*") if path.is_dir())]
    for path in (*project.folder.rglob("*"), project.folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield project
    for folder in folders:
        folder.chmod(0o755)


def run_json(project: Project, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [*_without_write_privilege(), *project.command(*arguments, "--json")],
        cwd=project.folder,
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == code, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_read_only_project_can_be_read(read_only: Project) -> None:
    """`status`, `rows` and `explain` work with the store of any schema version and leave no files behind."""
    before = sorted(path.name for path in read_only.folder.iterdir())
    undone = ["train", "evaluate"] if "pairsmith.db.lock" in before else []  # the new curation made another dataset
    assert run_json(read_only, "status")["next"] == undone
    answer = run_json(read_only, "rows", "--limit", "0")
    counts = answer["counts"]
    assert len(answer["rows"]) == counts["rows_in"] == 48
    explained = EXPECTED["explain"][0]
    assert run_json(read_only, "explain", explained["id"])["id"] == explained["id"]
    assert sorted(path.name for path in read_only.folder.iterdir()) == before
    # doctor used to say "This project can run.": the first command that writes said that it cannot
    checks = {check["about"]: check["state"] for check in run_json(read_only, "doctor", code=1)["findings"]}
    assert checks["store"] == "fail"


@pytest.mark.parametrize(
    ("name", "command"), [("receipts", ["curate"]), ("kept", ["export", "--out", "kept/new"])], ids=["receipts", "kept"]
)
def test_a_file_in_place_of_a_folder_is_a_clear_error(name: str, command: list[str], tmp_path: Path) -> None:
    """The error names the path and says what to do, without a traceback, for every folder of a project."""
    (tmp_path / "pairsmith.toml").write_text(tiny.SPEC)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in tiny.PAIRS))
    project = Project(tmp_path)
    for before in ("generate", "curate"):
        assert project.run(before).returncode == 0
    shutil.rmtree(tmp_path / name, ignore_errors=True)
    (tmp_path / name).touch()
    done = project.run(*command)
    assert (done.returncode, "Traceback" in done.stderr) == (6, False), done.stderr
    assert name in done.stderr.partition("error: ")[2]
    assert ".partial" not in done.stderr  # of a folder that is being written
    assert "There is a file where a folder is needed" in done.stderr


@pytest.mark.parametrize("below", ["", "models"])
def test_a_cache_path_that_is_not_a_folder_names_the_variable(tmp_path: Path, below: str) -> None:
    """The error names the environment variable to change, also for a folder below a file. `doctor` shows it as a
    finding."""
    (tmp_path / "cache").touch()
    (tmp_path / "pairsmith.toml").write_text('task = { name = "t", style = "Long." }\nteacher = { url = "embedded" }\n')
    (tmp_path / "seeds.txt").write_text("a fox\n")
    seeds, cache = ("--set", 'seeds=[{path="seeds.txt"}]'), tmp_path / "cache"
    done = Project(tmp_path).run("generate", *seeds, PAIRSMITH_CACHE=str(cache / below))
    assert done.returncode == 2, done.stderr
    assert f"error: PAIRSMITH_CACHE, {cache}: this is not a folder." in done.stderr
    done = Project(tmp_path).run("doctor", "--json", *seeds, PAIRSMITH_CACHE=str(cache / below))
    weights = {one["about"]: one["what"] for one in json.loads(done.stdout)["findings"]}["weights"]
    assert (done.returncode, weights) == (1, f"PAIRSMITH_CACHE, {cache}: this is not a folder.")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder in which nobody may write")
def test_a_home_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    """The model's weights are not fetched into a home folder that is read-only, as in many containers. The advice to
    choose another path named no way to do it."""
    (tmp_path / "pairsmith.toml").write_text('task = { name = "t", style = "Long." }\nteacher = { url = "embedded" }\n')
    (tmp_path / "seeds.txt").write_text("a fox\n")
    seeds = ("--set", 'seeds=[{path="seeds.txt"}]')
    done = Project(tmp_path).run("generate", *seeds, PAIRSMITH_CACHE="/sys/kernel/none/pairsmith")
    assert done.returncode == 6, done.stderr
    assert "error: /sys/kernel/none: it cannot be used" in done.stderr
    assert "or set PAIRSMITH_CACHE to a folder of your own." in done.stderr
