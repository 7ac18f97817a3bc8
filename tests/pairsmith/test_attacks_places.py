"""A project in a place that this process may not write: what is in it can still be looked at."""

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


def _cannot_write() -> list[str]:
    """What to put before a command so that file permissions hold for it; root goes past them otherwise."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root goes past permissions, and setpriv is not on this machine")
    return ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]


@pytest.fixture(params=["old", "of today"])
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project of version 0.1, as that left it or curated again, in a folder that nobody may write."""
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


def looked(project: Project, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*_cannot_write(), *project.command(*arguments, "--json")],
        cwd=project.folder,
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_read_only_project_can_be_looked_at(read_only: Project) -> None:
    """`status`, `rows` and `explain` tell what they tell elsewhere, whatever the store's schema, and leave no trace."""
    before = sorted(path.name for path in read_only.folder.iterdir())
    undone = ["train", "evaluate"] if "pairsmith.db.lock" in before else []  # curated anew, its dataset is another
    assert looked(read_only, "status")["next"] == undone
    answer = looked(read_only, "rows", "--limit", "0")
    counts = answer["counts"]
    assert len(answer["rows"]) == counts["rows_in"] == 48
    story = EXPECTED["explain"][0]
    assert looked(read_only, "explain", story["id"])["id"] == story["id"]
    assert sorted(path.name for path in read_only.folder.iterdir()) == before
