"""An upgrade that is killed, raced or stopped by a full disk: the store has the old schema or the new one, never a
third.

The store is that of version 0.1 (tests/projects/v0_1), opened in separate processes.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.errors import StoreFull
from schemas.store import Store, tables

ROOT = Path(__file__).parents[2]
OPEN = """
import os, sys, time
import sqlalchemy as sa
from schemas.store import Store
url, write, kill_at, slow_s = sys.argv[1], sys.argv[2] == "write", int(sys.argv[3]), float(sys.argv[4])
seen = 0
@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def hear(*_):
    global seen
    seen += 1
    time.sleep(slow_s)
    if seen == kill_at:
        os.kill(os.getpid(), 9)
with Store.open(url, write=write) as store:
    print(len(store.pairs()), len(store.candidates()))
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The file of a store of version 0.1."""
    path = tmp_path / "pairsmith.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ROOT / "tests" / "projects" / "v0_1" / "store.sql").read_text())
    return path


def opening(url: str, *, write: bool = True, kill_at: int = 0, slow_s: float = 0.0) -> subprocess.Popen[str]:
    mode = "write" if write else "read"
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, url, mode, str(kill_at), str(slow_s)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        ((number,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(number)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [6, 12, 17, 21, 26, 56])
def test_an_upgrade_that_was_killed_is_done_by_the_next_command(old: Path, kill_at: int) -> None:
    """Wherever it was killed: between two tables, chunks or artifacts, or before the version is written. The copy is a
    complete copy of the old store."""
    killed = opening(f"sqlite:///{old}", kill_at=kill_at)
    killed.communicate(timeout=200)
    assert killed.returncode == -9
    assert version(old) == "0002"
    with Store.open(f"sqlite:///{old}", write=False) as store:
        assert len(store.pairs()) == 44
        assert len(store.candidates()) == 48
    assert version(old) == tables.SCHEMA_VERSION
    assert version(old.with_name(f"{old.name}.before-{tables.SCHEMA_VERSION}")) == "0002"


@pytest.mark.slow
def test_new_store_whose_creation_was_killed_is_created_by_the_next_command(tmp_path: Path) -> None:
    """No partial schema is left either."""
    path = tmp_path / "pairsmith.db"
    for kill_at in (5, 14, 23):
        killed = opening(f"sqlite:///{path}", kill_at=kill_at)
        killed.communicate(timeout=200)
        assert killed.returncode == -9
    with Store.open(f"sqlite:///{path}") as store:
        assert store.pairs() == []


@pytest.mark.slow
def test_commands_that_open_an_old_store_concurrently_all_succeed(old: Path) -> None:
    """One of them upgrades it and the others wait. A reader never reports that the store is busy."""
    first = opening(f"sqlite:///{old}", write=False, slow_s=0.1)
    others = [opening(f"sqlite:///{old}", write=write) for write in (False, True, False)]
    for process in (first, *others):
        printed, failed = process.communicate(timeout=120)
        assert (process.returncode, printed.split()) == (0, ["44", "48"]), failed


def test_upgrade_on_a_full_disk_leaves_the_old_store(old: Path) -> None:
    """A full disk in the middle gives one clear error. With free space the upgrade succeeds."""

    def full(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE verdicts"):
            raise sqlite3.OperationalError("database or disk is full")

    sa.event.listen(sa.Engine, "before_cursor_execute", full)
    try:
        with pytest.raises(StoreFull, match="no space is left"):
            Store.open(f"sqlite:///{old}")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", full)
    assert version(old) == "0002"
    with Store.open(f"sqlite:///{old}") as store:
        assert len(store.pairs()) == 44
