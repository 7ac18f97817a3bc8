"""Backup of a workspace while jobs use it, and its restoration."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from bench.service.postgres import Postgres, programs
from pairsmith.commands import start
from pairsmith.serve.accounts import Accounts
from pairsmith.serve.backup import MANIFEST, backup, check, restore
from pairsmith.serve.database import open_database
from pairsmith.serve.job import JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from pairsmith.stages.table import stage
from schemas.errors import StoreError, UsageError
from schemas.spec_file import load
from schemas.store import Store
from tests.serve.conftest import write_project
from tests.synth.loopback import LoopbackTeacher


@pytest.fixture
def used_workspace(workspace: Workspace, teacher: LoopbackTeacher) -> Workspace:
    """A workspace with a project that has pairs, a queued job, and files that a backup does not need."""
    folder = write_project(workspace, "tiny", teacher.url)
    (folder / "prompts").mkdir()
    (folder / "adapters/one").mkdir(parents=True)
    (folder / "adapters/one/adapter.safetensors").write_bytes(b"weights")
    (folder / ".adapters.1.partial").mkdir()
    (folder / ".adapters.1.partial/half").write_text("half")
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        stage("generate").do(project, store)
    jobs = Jobs(workspace)
    jobs.start("tiny", "curate", JobOptions(), "ann")
    jobs.close()
    (workspace.serve / "views").mkdir()
    (workspace.serve / "views/tiny.db").write_text("can be made again")
    return workspace


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if programs() is None or not (shutil.which("pg_dump") and shutil.which("pg_restore")):
        pytest.skip("PostgreSQL's programs are not on this machine")
    with Postgres() as server:
        yield server


def test_backup_is_restored_completely(used_workspace: Workspace, tmp_path: Path) -> None:
    """Every record, file and job is restored in a working workspace. A job that had not ended is stopped, because it
    may still be running in the original workspace."""
    kept = backup(used_workspace, tmp_path / "saved")
    assert check(tmp_path / "saved") == kept
    names = set(json.loads((tmp_path / "saved" / MANIFEST).read_text())["files"])
    assert {"projects/tiny/pairsmith.toml", "projects/tiny/adapters/one/adapter.safetensors"} <= names
    assert not [name for name in names if "views" in name or "half" in name or name.endswith(("-wal", ".lock"))]
    again = Workspace(tmp_path / "again")
    assert restore(tmp_path / "saved", again) == kept
    with Store.open(Store.url_for(again.project("tiny")), write=False) as store:
        assert len(store.pairs()) == 24
        assert [receipt.command for receipt in store.receipts()] == ["generate"]
    jobs = Jobs(again)
    assert [(job.command, job.state) for job in jobs.list()] == [("curate", "stopped")]
    jobs.close()
    with pytest.raises(UsageError, match="not empty"):
        restore(tmp_path / "saved", again)


def test_backup_is_a_consistent_snapshot(used_workspace: Workspace, tmp_path: Path) -> None:
    """A store that is written to during the backup is copied as of one moment, and is valid."""
    path, ended = used_workspace.folder("tiny") / "pairsmith.db", threading.Event()
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE twins (a INTEGER, b INTEGER)")

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as store:
            while not ended.is_set():
                with store:
                    store.execute("INSERT INTO twins VALUES (1, 1)")
                    store.execute("INSERT INTO twins VALUES (2, 2)")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        backup(used_workspace, tmp_path / "saved")
    finally:
        ended.set()
        writing.join()
    check(tmp_path / "saved")
    with closing(sqlite3.connect(tmp_path / "saved/projects/tiny/pairsmith.db")) as copy:
        one, two = copy.execute("SELECT sum(a = 1), sum(a = 2) FROM twins").fetchone()
    assert one == two


def test_postgresql_database_is_backed_up_and_restored(
    tmp_path: Path, workspace: Workspace, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pg_dump` writes the database into the backup, and a service restored with `pg_restore` has the same users and
    jobs. No password appears on a command line."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    before = open_database(workspace.serve, postgres.url)
    Accounts(before).redeem(Accounts(before).first_owner_link(), "ann", "four words are good")
    before.dispose()
    with closing(Jobs(workspace, database_url=postgres.url)) as jobs:
        asked = jobs.start("tiny", "curate", JobOptions(), "ann")
    ran: list[list[str]] = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **more: ran.append(command) or real(command, **more))
    user = postgres.url.partition("://")[2].partition("@")[0]
    with_password = postgres.url.replace(f"{user}@", f"{user}:canary-password@")
    kept = backup(workspace, tmp_path / "saved", with_password)
    monkeypatch.undo()
    assert check(tmp_path / "saved") == kept
    assert "canary-password" not in str(ran)
    assert restore(tmp_path / "saved", Workspace(tmp_path / "again")).notes[-1].startswith("the service's database")
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE again")
    again = postgres.url.replace("/postgres?", "/again?")
    command = ["pg_restore", "--exit-on-error", "--dbname", again, str(tmp_path / "saved/service.pgdump")]
    done = real(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    restored = Workspace(tmp_path / "again")
    after = open_database(restored.serve, again)
    assert Accounts(after).has_owner()
    after.dispose()
    with closing(Jobs(restored, database_url=again)) as jobs:
        assert [(job.id, job.state) for job in jobs.list()] == [(asked.id, "queued")]
        assert jobs.cancel(asked.id).state == "stopped"
    with pytest.raises(StoreError, match=r"pg_dump failed: .*nowhere"):
        backup(workspace, tmp_path / "other", postgres.url.replace("/postgres?", "/nowhere?"))
    assert not (tmp_path / "other").exists()


def test_damaged_backup_is_detected(used_workspace: Workspace, tmp_path: Path) -> None:
    """A missing, altered or truncated file is named, and nothing is restored from such a backup."""
    saved = tmp_path / "saved"
    backup(used_workspace, saved)
    seeds = saved / "projects/tiny/seeds.jsonl"
    kept = seeds.read_bytes()
    for damage in (lambda: seeds.unlink(), lambda: seeds.write_bytes(kept[:-1])):
        damage()
        with pytest.raises(StoreError, match=r"seeds\.jsonl"):
            restore(saved, Workspace(tmp_path / "again"))
        seeds.write_bytes(kept)
    manifest = json.loads((saved / MANIFEST).read_text())
    manifest["files"]["projects/tiny/pairsmith.db"]["rows"]["pairs"] += 1
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="row counts"):
        check(saved)
    manifest["files"] = {"../outside": {"sha256": "", "bytes": 0}}
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="outside it"):
        check(saved)
    assert not (tmp_path / "again").exists()


def test_backup_overwrites_nothing(used_workspace: Workspace, tmp_path: Path) -> None:
    """An existing target folder and one inside the workspace are refused."""
    with pytest.raises(UsageError, match="already exists"):
        backup(used_workspace, tmp_path)
    with pytest.raises(UsageError, match="contain itself"):
        backup(used_workspace, used_workspace.root / "saved")


def test_backup_and_restore_commands(
    used_workspace: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`serve backup` and `serve restore`, with `--check` and `--json`; any other word after `serve` is a workspace."""
    saved = str(tmp_path / "saved")
    assert start(["serve", "backup", saved, "--workspace", str(used_workspace.root)]) == 0
    assert "copied: " in capfd.readouterr().out
    assert start(["serve", "restore", saved, "--check", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["result"] == "sound"
    assert start(["serve", "restore", saved]) == 2
    assert "--workspace DIR or --check" in capfd.readouterr().err
    assert start(["serve", "restore", saved, "--workspace", str(tmp_path / "again")]) == 0
    assert start(["serve", "restore", str(tmp_path), "--check"]) == 2
    assert start(["serve", "backup", str(tmp_path / "b"), "--workspace", str(tmp_path / "none")]) == 2
    assert start(["serve", "--help"]) == 0
    assert "[WORKSPACE]" in capfd.readouterr().out
