"""Backup of the review server, and its restoration."""

from __future__ import annotations

import random
import shutil
import sqlite3
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from curate.argilla import server, supervisor
from curate.argilla.backup import backup, restore
from curate.argilla.client import Argilla
from curate.argilla.people import invite
from curate.argilla.push import draw_batch, push
from curate.review.population import read_population
from pairsmith.erasing import erased
from schemas.errors import ReviewError
from schemas.ports import free_port
from schemas.store import Store
from tests.curate.argilla.answering import answer, queue_named
from tests.curate.argilla.conftest import START_S
from tests.curate.argilla.small_disk import small_disk
from tests.curate.review.review_project import SCOPE, fill, project


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="arg-"))
    yield folder
    server.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_backup_of_a_running_server_is_restored_completely(
    tmp_path: Path, home: Path, venv: Path, argilla_on_sqlite: server.ArgillaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup has the rows, an answer that was not pulled, an invited user and the owner's key, and only its owner
    can read it. A home that a server has used is not overwritten. Search works on the restored server. Once it is
    stopped, `erase` starts it, deletes the rows in it and stops it again."""
    cats = project(tmp_path, "kept-cats", workspace="kept")
    with (
        Store.open(Store.url_for(cats)) as store,
        Argilla(argilla_on_sqlite.url, argilla_on_sqlite.api_key, "kept") as argilla,
    ):
        fill(cats, store)
        population = read_population(cats, store, [SCOPE])
        draw_batch(cats, store, population)
        push(cats, store, population, argilla)
        queue = queue_named(argilla, "kept-cats")
        assert queue
        rows = list(argilla.records(queue, responses=True))
        answer(argilla.sdk, rows[0]["id"], "accept")
        invite(argilla, ["kept-ann"])
    file = tmp_path / "copy.tar.gz"
    backup(file, argilla_on_sqlite.home)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ReviewError, match="already exists"):
        backup(file, argilla_on_sqlite.home)
    with pytest.raises(ReviewError, match="it is not overwritten"):
        restore(file, argilla_on_sqlite.home)
    restore(file, home)
    again = server.up(home, port=free_port(), venv=venv, start_timeout_s=START_S)
    assert again.api_key == argilla_on_sqlite.api_key
    with Argilla(again.url, again.api_key, "kept") as argilla:
        queue = queue_named(argilla, "kept-cats")
        assert queue
        back = list(argilla.records(queue, responses=True))
        assert [row["external_id"] for row in back] == [row["external_id"] for row in rows]
        assert sum(len(row["responses"]) for row in back) == 1
        assert "kept-ann" in {user.name for user in argilla.users().values()}
        matches = argilla.call(
            "POST", f"datasets/{queue.id}/records/search", json={"query": {"text": {"q": "tabby"}}}, params={"limit": 5}
        )
        assert matches["total"] > 0
        server.down(home)
        (home / "venv").symlink_to(venv)
        monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(home))
        with Store.open(Store.url_for(cats)) as store:
            outcome = erased(cats, store, source="seeds.jsonl")
        assert outcome["argilla"].endswith(" rows deleted there; the server was started for that and is stopped again")
        assert server.status(home).state == "stopped"
    with closing(sqlite3.connect(home / "data" / "argilla.db")) as database:
        # The queues of other tests, which the server of the backup has as well, may hold the same rows.
        ours = "SELECT external_id FROM records WHERE REPLACE(dataset_id, '-', '') = ?"
        left = {id_ for (id_,) in database.execute(ours, [str(queue.id).replace("-", "")])}
        datasets = {id_.replace("-", "") for (id_,) in database.execute("SELECT id FROM datasets")}
    assert str(queue.id).replace("-", "") in datasets
    assert left.isdisjoint(population.rows)


def test_invalid_backup_is_refused(tmp_path: Path) -> None:
    """A text file and an archive with a path outside the home are not restored; for PostgreSQL the error refers to
    pg_dump."""
    with pytest.raises(ReviewError, match="no review server here"):
        backup(tmp_path / "a.tar.gz", tmp_path / "home")
    text = tmp_path / "text"
    text.write_text("no archive")
    with pytest.raises(ReviewError, match="cannot be restored"):
        restore(text, tmp_path / "home")
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as archive:
        archive.add(text, "../outside")
    with pytest.raises(ReviewError, match="is not a backup"):
        restore(evil, tmp_path / "home")
    assert not (tmp_path / "outside").exists()
    facts = {"host": "127.0.0.1", "port": 1, "database": "PostgreSQL"}
    environment = {"ARGILLA_DATABASE_URL": "postgresql+asyncpg://me:hush@localhost/x"}
    (tmp_path / "home").mkdir(exist_ok=True)
    config = {"facts": facts, "children": [{"environment": environment}], "scratch": None}
    supervisor.write_json(tmp_path / "home" / "supervisor.json", config)
    with pytest.raises(ReviewError, match="pg_dump") as caught:
        backup(tmp_path / "a.tar.gz", tmp_path / "home")
    assert "hush" not in str(caught.value)


@pytest.fixture
def used_home(tmp_path: Path) -> Path:
    """A home with a database of some 2 MB and credentials, in which no server is running."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    with closing(sqlite3.connect(home / "data" / "argilla.db")) as database:
        database.execute("CREATE TABLE records (fields BLOB)")
        database.executemany(
            "INSERT INTO records VALUES (?)", [(random.Random(n).randbytes(1_000),) for n in range(2_000)]
        )
        database.commit()
    (home / "credentials.json").write_text('{"username": "pairsmith"}')
    return home


def test_damaged_backup_is_refused_and_leaves_nothing(used_home: Path, tmp_path: Path) -> None:
    """A backup with a changed byte or a missing end is refused with a message. The empty home stays empty, and the
    intact backup can be restored there."""
    good = tmp_path / "copy.tar.gz"
    backup(good, used_home)
    bytes_, rng = good.read_bytes(), random.Random(7)
    for number, at in enumerate([15, len(bytes_) - 6, *(rng.randrange(len(bytes_)) for _ in range(10))]):
        bad = tmp_path / f"bad-{number}.tar.gz"
        bad.write_bytes(bytes_[:at] + bytes([bytes_[at] ^ 0xFF]) + bytes_[at + 1 :] if number % 3 < 2 else bytes_[:at])
        with pytest.raises(ReviewError, match=r"cannot be restored|is not a backup"):
            restore(bad, tmp_path / "new")
        assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()], at
    restore(good, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    restored, before = (home / "data" / "argilla.db" for home in (tmp_path / "new", used_home))
    assert restored.stat().st_size == before.stat().st_size


def test_full_disk_leaves_no_partial_backup(used_home: Path, tmp_path: Path) -> None:
    """A disk too small for the backup, for the working copy in the home, or for the restored home gives a message and
    leaves no partial file. Once there is room, the same command works."""

    def enlarge(disk: Path) -> None:
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)

    good = tmp_path / "copy.tar.gz"
    backup(good, used_home)
    with small_disk("1m") as disk:
        for _ in range(2):
            with pytest.raises(ReviewError, match="no backup was made"):
                backup(disk / "copy.tar.gz", used_home)
            with pytest.raises(ReviewError, match="cannot be restored"):
                restore(good, disk / "home")
        assert not [path for path in disk.rglob("*") if path.is_file()]
        enlarge(disk)
        assert backup(disk / "copy.tar.gz", used_home) > 2_000_000
        restore(good, disk / "home")
        assert (disk / "home" / "credentials.json").read_text() == '{"username": "pairsmith"}'
    with small_disk("3m") as disk:
        shutil.copytree(used_home, disk / "home")
        with pytest.raises(ReviewError, match="no backup was made"):
            backup(tmp_path / "second.tar.gz", disk / "home")
        assert not (tmp_path / "second.tar.gz").exists()
        enlarge(disk)
        assert backup(tmp_path / "second.tar.gz", disk / "home") > 2_000_000


def test_incomplete_home_is_reported(used_home: Path, tmp_path: Path) -> None:
    """Without credentials or with an invalid database file no backup is made, and the message names the reason."""
    (used_home / "credentials.json").rename(tmp_path / "kept.json")
    with pytest.raises(ReviewError, match=r"no backup was made: .*credentials.json"):
        backup(tmp_path / "copy.tar.gz", used_home)
    (tmp_path / "kept.json").rename(used_home / "credentials.json")
    (used_home / "data" / "argilla.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(ReviewError, match="no backup was made: file is not a database"):
        backup(tmp_path / "copy.tar.gz", used_home)
    assert not (tmp_path / "copy.tar.gz").exists()
