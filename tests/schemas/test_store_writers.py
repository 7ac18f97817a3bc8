"""Two writers, lost locks and cut connections: what was confirmed is kept, and the loser gets an error."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.errors import StoreBusy, StoreError, StoreFull
from schemas.records import Call, Receipt, Seed, Verdict
from schemas.store import Store, tables, writer
from schemas.store.failures import explained, is_transient
from schemas.store.lock import writer_lock
from schemas.store.opening import engine_of, sqlite_path
from schemas.store.writer import Writer

ROOT = Path(__file__).parents[2]


def call(key: str = "k", attempt: int = 1, *, text: str = "a dog", request_id: str = "1") -> Call:
    return Call(
        key=key,
        attempt=attempt,
        status="ok",
        request={},
        raw={},
        text=text,
        request_id=request_id,
        sample=0,
        teacher="t",
        endpoint="http://h",
        seconds=1.0,
    )


def seed(text: str) -> Seed:
    return Seed(kind="input", text=text, source="s.txt:1")


def test_a_store_behind_a_link_has_one_writer(tmp_path: Path) -> None:
    """The lock belongs to the file, however its path is written."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Store.open(f"sqlite:///{tmp_path / 'real' / 'p.db'}"), pytest.raises(StoreBusy):
        Store.open(f"sqlite:///{tmp_path / 'link' / 'p.db'}")
    with Store.open(f"sqlite:///{tmp_path / 'real' / 'p.db'}"):
        (tmp_path / "alias.db").symlink_to(tmp_path / "real" / "p.db")
        with pytest.raises(StoreBusy):
            Store.open(f"sqlite:///{tmp_path / 'alias.db'}")


@pytest.mark.parametrize("write", [True, False])
def test_a_store_with_a_second_name_is_refused(tmp_path: Path, *, write: bool) -> None:
    """Lock and log depend on the name: through a hard link a second writer would get in, and a reader would miss what
    is in the log. The fix in the message separates the two, and then each is a store with everything that was
    confirmed."""
    url, other = f"sqlite:///{tmp_path / 'p q.db'}", f"sqlite:///{tmp_path / 'snapshot.db'}"
    with Store.open(url) as store:
        store.write(call())
        (tmp_path / "snapshot.db").hardlink_to(tmp_path / "p q.db")
        with pytest.raises(StoreError, match="second name"):
            Store.open(other, write=write)
    with pytest.raises(StoreError, match="second name") as refused:
        Store.open(url, write=write)
    subprocess.run(str(refused.value.fix).partition(": ")[2], shell=True, check=True)
    for one in (url, other):
        with Store.open(one, write=write) as store:
            assert len(store.calls("k")) == 1


@pytest.mark.parametrize("write", [True, False])
def test_store_without_access_is_one_clear_error(tmp_path: Path, *, write: bool) -> None:
    """A folder without permission to enter gives an error message, not a traceback."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o000)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)  # root may access everything
        with pytest.raises(StoreError, match=r"cannot be opened: Permission denied.*Give this user access"):
            Store.open(f"sqlite:///{folder / 'p.db'}", write=write)
    finally:
        os.seteuid(user)


def test_a_file_that_is_mounted_by_itself_is_refused(tmp_path: Path) -> None:
    """For example with `docker run -v ./p.db:/data/p.db`: confirmed data is in the log beside the file, which is not
    mounted. A folder that is mounted twice is one store with one lock."""
    names = [tmp_path / name for name in ("real", "file mount", "folder")]
    for folder in names:
        folder.mkdir()
    with Store.open(f"sqlite:///{names[0] / 'p.db'}") as store:
        store.write(call())
    (names[1] / "p.db").touch()
    script = """
import subprocess, sys
from schemas.errors import StoreBusy, StoreError
from schemas.store import Store
real, mounted, folder = sys.argv[1:]
subprocess.run(["mount", "--bind", f"{real}/p.db", f"{mounted}/p.db"], check=True)
subprocess.run(["mount", "--bind", real, folder], check=True)
try:
    Store.open(f"sqlite:///{mounted}/p.db")
except StoreError as error:
    print(error)
with Store.open(f"sqlite:///{folder}/p.db") as store:
    print(len(store.calls("k")))
    try:
        Store.open(f"sqlite:///{real}/p.db")
    except StoreBusy:
        print("busy")
"""
    unshare = ["unshare", "--user", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces for mounts here")
    ran = subprocess.run([*unshare, sys.executable, "-c", script, *names], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert "mounted on its own" in ran.stdout
    assert ran.stdout.endswith("1\nbusy\n")


def test_busy_store_names_the_command_of_its_writer(tmp_path: Path) -> None:
    """The command is shown up to its first option, whose value would be cut off."""
    script = """
import sys
from schemas.errors import StoreBusy
from schemas.store import Store
url, sys.argv = sys.argv[1], ["/usr/bin/pairsmith", "curate", "--project", "mine"]
with Store.open(url):
    try:
        Store.open(url)
    except StoreBusy as busy:
        print(busy)
"""
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/p.db"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "`pairsmith curate`, since" in ran.stdout, ran.stderr


def test_conflicting_answer_of_another_process_is_an_error(store_url: str) -> None:
    """Writing the same answer twice stores it once. A different one in its place is an error and is not confirmed."""
    with Store.open(store_url) as store:
        store.write(call())
        store.write(call(), call("other"))
        assert len(store.calls("k")) == 1
        with pytest.raises(StoreError, match="another process"):
            store.write(call(text="a cat", request_id="2"))
        assert store.calls("k")[0].text == "a dog"


def cut(url: str) -> None:
    """End all other connections to the server, like a restart or a proxy, and wait until the server has done so."""
    engine = engine_of(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
        ended = connection.scalars(sa.text(f"SELECT pid, pg_terminate_backend(pid) {others}")).all()
        left = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:ended)")
        until = time.monotonic() + 60
        while connection.scalar(left, {"ended": ended}):
            assert time.monotonic() < until
            time.sleep(0.01)
    engine.dispose()


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """An empty schema for this test only."""
    engine = engine_of(postgres)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA IF EXISTS writers CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA writers"))
    engine.dispose()
    return f"{postgres}&options=-csearch_path%3Dwriters"


def test_a_connection_that_was_cut_while_idle_costs_nothing(postgres_url: str) -> None:
    """After hours of training the first write uses a new connection, with the same lock."""
    with Store.open(postgres_url) as store:
        store.write(seed("before"))
        cut(postgres_url)
        store.write(seed("after"))
        assert [s.text for s in store.each_seed()] == ["before", "after"]
        with pytest.raises(StoreBusy):
            Store.open(postgres_url)


def test_a_standby_behind_the_address_is_waited_for(postgres_url: str) -> None:
    """During a failover the address may lead to a read-only server for a dozen seconds. Nothing confirmed is lost, and
    what is written in the meantime is stored once the server accepts writes again."""

    def read_only(setting: str) -> None:
        engine = engine_of(postgres_url)
        with engine.begin() as connection:
            connection.execute(sa.text("SET TRANSACTION READ WRITE"))
            connection.execute(sa.text(f"ALTER DATABASE postgres {setting}"))
        engine.dispose()
        cut(postgres_url)

    with Store.open(postgres_url) as store:
        store.write(seed("before"))
        read_only("SET default_transaction_read_only = on")
        promoted = threading.Timer(12.0, read_only, ["RESET default_transaction_read_only"])
        promoted.start()
        try:
            store.write(seed("after"))
        finally:
            promoted.join()
        assert [s.text for s in store.each_seed()] == ["before", "after"]


def test_a_lost_lock_that_another_writer_has_is_noticed(postgres_url: str) -> None:
    """Nothing is confirmed any more once another process writes."""
    with Store.open(postgres_url) as store:
        store.write(seed("first"))
        cut(postgres_url)
        with Store.open(postgres_url) as other:
            other.write(seed("other"))
            with pytest.raises(StoreBusy):
                store.write(seed("lost"))
            assert [s.text for s in other.each_seed()] == ["first", "other"]


DIES_AT_ITS_FIRST_COMMIT = """
CREATE SEQUENCE writers.commits;
CREATE FUNCTION writers.dies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('writers.commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON writers.seeds
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION writers.dies()
"""


def test_a_connection_that_is_lost_in_a_commit_costs_no_answer(postgres_url: str) -> None:
    """It is unknown whether the commit succeeded. Existing rows are not written twice, so it is repeated. A receipt or
    a verdict would be stored twice, so such a commit is not repeated."""
    with Store.open(postgres_url) as store:
        engine = engine_of(postgres_url)
        with engine.begin() as connection:
            connection.exec_driver_sql(DIES_AT_ITS_FIRST_COMMIT)
        engine.dispose()
        store.write(seed("a dog"), call())
        assert ([s.text for s in store.each_seed()], len(store.calls("k"))) == (["a dog"], 1)
        with pytest.raises(StoreBusy):
            Store.open(postgres_url)
    assert {Receipt, Verdict} == tables.NOT_IDEMPOTENT


def test_a_connection_that_is_lost_while_a_judgement_is_committed_costs_no_answer(postgres_url: str) -> None:
    """Judging an answer again changes nothing, so such a commit is repeated too, with the answers in it."""
    with Store.open(postgres_url) as store:
        store.write(call())
        engine = engine_of(postgres_url)
        with engine.begin() as connection:
            sql = DIES_AT_ITS_FIRST_COMMIT.replace("INSERT ON writers.seeds", "UPDATE ON writers.calls")
            connection.exec_driver_sql(sql)
        engine.dispose()
        asyncio.run(store.judge(call(text="a cat")))
        assert [answer.text for answer in store.calls("k")] == ["a cat"]


def test_process_suspended_in_a_transaction_continues(postgres_url: str) -> None:
    """The server ends the session of a process that was suspended. What it was about to write is written afterwards."""
    asleep, tries = iter([1.5]), list[int]()

    def work(connection: sa.Connection) -> None:
        tries.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
        time.sleep(next(asleep, 0.0))
        connection.execute(sa.text("SELECT pg_backend_pid()"))

    url = f"{postgres_url}%20-cidle_in_transaction_session_timeout%3D500"
    engine = engine_of(url)
    writer = Writer(engine, url, lambda connection: None)
    try:
        writer.submit(work).result()
    finally:
        writer.close()
        engine.dispose()
    assert len(tries) >= 2  # more if the machine stands still for half a second


def test_file_locked_for_long_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A backup or a viewer that locks the file for longer than SQLite's timeout ends no run, and a server or a program,
    which has no screen of ours, logs what it waits for."""
    path = tmp_path / "p.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.write(seed("first"))
        held = sqlite3.connect(path, check_same_thread=False)
        held.execute("BEGIN IMMEDIATE")

        def release(_: logging.LogRecord) -> bool:
            held.rollback()
            return True

        began = time.monotonic()
        with caplog.filtering(release):
            store.write(seed("second"))
        assert time.monotonic() - began > 10  # the database's own timeout
        held.close()
        assert len(list(store.each_seed())) == 2
    assert caplog.messages == ["The store cannot be written at the moment (database is locked). Trying again."]


def test_message_that_cannot_be_shown_stops_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is to be tried again, and the function that shows this raises, as on a full disk. The writer's thread
    ended, and everything that waited for it did so for ever."""

    def show(line: str) -> None:
        raise OSError("No space left on device")

    def insert(*arguments: Any) -> set[str]:
        monkeypatch.setattr(writer, "insert_records", usual)
        raise sqlite3.OperationalError("database is locked")

    with Store.open(f"sqlite:///{tmp_path / 'p.db'}", say=show) as store:
        usual = writer.insert_records
        monkeypatch.setattr(writer, "insert_records", insert)
        monkeypatch.setattr(writer, "is_transient", lambda *arguments, **more: True)
        store.append(seed("first")).result(timeout=60)
        assert len(list(store.each_seed())) == 1


@pytest.mark.parametrize("other", [None, "another store"])
def test_store_file_that_is_deleted_or_replaced_loses_nothing_confirmed(other: str | None, tmp_path: Path) -> None:
    """SQLite would keep writing to the deleted file without an error. The next write is refused, and what was confirmed
    is in a copy that the error names. The old file's log is not applied to a file that took its place."""
    path = tmp_path / "pairsmith.db"
    if other:
        with Store.open(f"sqlite:///{tmp_path / 'other.db'}") as store:
            store.write(call("other"))
    with Store.open(f"sqlite:///{path}") as store:
        store.write(call("kept"))
        (tmp_path / "other.db").replace(path) if other else path.unlink()
        with pytest.raises(StoreError, match="deleted or replaced") as caught:
            store.write(call("late"))
    (copy,) = tmp_path.glob("pairsmith.db.saved-*")
    assert f"mv {copy} {path}" in str(caught.value)
    assert path.exists() == bool(other)
    assert not Path(f"{path}-wal").exists()
    if other:
        with Store.open(f"sqlite:///{path}", write=False) as store:
            assert [key for key, _, _ in store.each_answer()] == ["other"]
    copy.replace(path)
    with Store.open(f"sqlite:///{path}") as store:
        assert [key for key, _, _ in store.each_answer()] == ["kept"]


def test_store_file_deleted_before_the_first_write_of_a_run_loses_nothing(tmp_path: Path) -> None:
    """A command may read for hours before it writes. What earlier runs stored is in the copy."""
    path = tmp_path / "pairsmith.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.write(call("kept"))
    with Store.open(f"sqlite:///{path}") as store:
        path.unlink()
        with pytest.raises(StoreError, match="Everything confirmed before was saved"):
            store.write(call("late"))
    (copy,) = tmp_path.glob("pairsmith.db.saved-*")
    with Store.open(f"sqlite:///{copy}", write=False) as store:
        assert [key for key, _, _ in store.each_answer()] == ["kept"]


def test_copy_of_a_replaced_store_is_of_the_old_file(tmp_path: Path) -> None:
    """While another thread reads, a write may open a connection of its own, which is to the new file."""
    path, backup = tmp_path / "pairsmith.db", tmp_path / "backup.db"
    with Store.open(f"sqlite:///{backup}") as store:
        store.write(call("old"))
    with Store.open(f"sqlite:///{path}") as store:
        store.write(*(call(f"new {n}") for n in range(200)))
    with Store.open(f"sqlite:///{path}") as store:
        store.write(call("newest"))
        pool = store.engine.pool
        assert isinstance(pool, sa.QueuePool)
        with ExitStack() as reading:
            for _ in range(pool.checkedin()):
                reading.enter_context(store.engine.connect())
            backup.replace(path)
            with pytest.raises(StoreError, match="Everything confirmed before was saved"):
                store.write(call("late"))
    (copy,) = tmp_path.glob("pairsmith.db.saved-*")
    with Store.open(f"sqlite:///{copy}", write=False) as store:
        assert [key for key, _, _ in store.each_answer()] == [*(f"new {n}" for n in range(200)), "newest"]


def test_log_of_a_renamed_store_stays_where_no_copy_can_be_made(tmp_path: Path) -> None:
    """On a full disk, the log has the only lasting copy of the latest rows: renamed back, the store has them."""
    path, elsewhere = tmp_path / "pairsmith.db", tmp_path / "renamed.db"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(f"sqlite:///{path}") as store:
        store.write(call("kept"))
        path.replace(elsewhere)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a file may not become larger than this
        try:
            with pytest.raises(StoreError, match="If it was renamed, move it back"):
                store.write(call("late"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*.saved-*"))
    elsewhere.replace(path)
    with Store.open(f"sqlite:///{path}") as store:
        assert [key for key, _, _ in store.each_answer()] == ["kept"]


def test_which_errors_are_transient() -> None:
    """A locked file and an unreachable server are retried, but a commit whose outcome is unknown is never repeated."""
    locked = sa.exc.OperationalError("x", None, sqlite3.OperationalError("database is locked"))
    full = sa.exc.OperationalError("x", None, sqlite3.OperationalError("database or disk is full"))
    away = sa.exc.OperationalError("x", None, ConnectionError("server closed the connection unexpectedly"))
    assert is_transient(locked, committing=False)
    assert is_transient(locked, committing=True)
    assert not is_transient(full, committing=False)
    assert is_transient(away, committing=False)
    assert not is_transient(away, committing=True)


def test_failing_disk_is_not_reported_as_full(tmp_path: Path) -> None:
    """An I/O error with free space is a fault of the disk or its mount."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    Store.open(url).close()
    failing = explained(sa.exc.OperationalError("x", None, sqlite3.OperationalError("disk I/O error")), url)
    assert not isinstance(failing, StoreFull)
    assert "fails to read or write" in str(failing)
    full = explained(sa.exc.OperationalError("x", None, sqlite3.OperationalError("database or disk is full")), url)
    assert isinstance(full, StoreFull)


def test_missing_write_permission_is_reported_as_such(tmp_path: Path) -> None:
    """If this user may not write the file, the message does not suggest checking whether a server runs."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    Store.open(url).close()
    shut = sqlite3.connect(f"file:{tmp_path / 'p.db'}?mode=ro", uri=True)
    with closing(shut), pytest.raises(sqlite3.OperationalError) as refused:
        shut.execute("CREATE TABLE more (id TEXT)")
    locked = PermissionError(errno.EACCES, "Permission denied", "p.db.lock")
    for error in (sa.exc.OperationalError("x", None, refused.value), locked):
        assert "this user may not write to it" in str(explained(error, url))
    assert "the database reports an error" in str(explained(ConnectionRefusedError("refused"), url))


def test_record_of_a_newer_pairsmith_is_one_clear_error(tmp_path: Path) -> None:
    """A field that this version does not know gives no traceback."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    with Store.open(url) as store:
        store.write(call())
    with closing(sqlite3.connect(tmp_path / "p.db")) as raw, raw:
        raw.execute('UPDATE calls SET body = replace(body, \'"raw"\', \'"mood":1,"raw"\')')
    with Store.open(url, write=False) as store, pytest.raises(StoreError, match=r"mood.*upgrade"):
        store.calls("k")


def test_a_database_of_another_application_is_not_called_newer(tmp_path: Path) -> None:
    """Its migrations have other names than pairsmith's."""
    with closing(sqlite3.connect(tmp_path / "p.db")) as raw, raw:
        raw.execute("CREATE TABLE alembic_version (version_num TEXT)")
        raw.execute("INSERT INTO alembic_version VALUES ('ae1027a6acf')")
    for write in (True, False):
        with pytest.raises(StoreError, match="another application"):
            Store.open(f"sqlite:///{tmp_path / 'p.db'}", write=write)


def test_tables_of_another_application_are_not_mixed_with_ours(tmp_path: Path) -> None:
    """This holds without Alembic too: the error names the conflicting table instead of "already exists"."""
    with closing(sqlite3.connect(tmp_path / "p.db")) as raw, raw:
        raw.execute("CREATE TABLE calls (number TEXT)")
    with pytest.raises(StoreError, match=r"another application \('calls' is one of them\).*Use a separate database"):
        Store.open(f"sqlite:///{tmp_path / 'p.db'}")


def test_a_lock_without_its_label_is_looked_at_again(tmp_path: Path) -> None:
    """A process takes the lock before it writes its label. Until then nothing says that it only upgrades the store, so
    a writer that meets it waits a moment; a holder that never writes one is reported."""
    path = tmp_path / "p.db"
    Store.open(f"sqlite:///{path}").close()
    with Path(f"{path}.lock").open("wb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match="has just started"):
            Store.open(f"sqlite:///{path}")
        threading.Timer(0.5, fcntl.flock, (holder.fileno(), fcntl.LOCK_UN)).start()
        Store.open(f"sqlite:///{path}").close()


def test_upgrade_by_a_reader_is_waited_for(store_url: str) -> None:
    """Also if the schema is already up to date and only the lock is not yet free. A writer is not waited for."""
    Store.open(store_url).close()
    engine = engine_of(store_url)
    opened, lines = threading.Event(), list[str]()

    def write() -> None:
        with Store.open(store_url, say=lines.append):
            opened.set()

    second = threading.Thread(target=write)
    with writer_lock(sqlite_path(store_url), engine, store_url, upgrades=True):
        second.start()
        until = time.monotonic() + 60
        while not lines:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not opened.is_set()
        (line,) = lines
        assert "Waiting for the store" in line
        assert "upgrade of the store by" in line
        assert f"pid {os.getpid()} on " in line
    second.join(60)
    engine.dispose()
    assert opened.is_set()
    with Store.open(store_url), pytest.raises(StoreBusy):
        Store.open(store_url)


def test_reader_sees_the_command_of_a_killed_writer(store_url: str) -> None:
    """`status` continues a killed `run --no-review` with it. On PostgreSQL nothing had been known of the command."""
    write = (
        "import sys; from schemas.store import Store; sys.argv[0] = 'pairsmith';"
        " store = Store.open(sys.argv.pop()); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", write, "run", "--no-review", store_url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with Store.open(store_url, write=False) as store:
            assert store.last_writer is None
        process.kill()
        process.wait()
    until = time.monotonic() + 60
    with Store.open(store_url, write=False) as store:
        while (last := store.last_writer) is None:  # PostgreSQL notices the end of a connection a moment later
            assert time.monotonic() < until
            time.sleep(0.05)
        assert last[0] == "pairsmith run --no-review"
    if store_url.startswith("sqlite"):
        return
    comments = "SELECT obj_description('receipts'::regclass), obj_description('receipts_pkey'::regclass)"
    with Store.open(store_url, write=False) as store, store.engine.begin() as connection:
        assert connection.scalar(sa.text(comments)) is None, "the table's comment is not ours"
        connection.exec_driver_sql("COMMENT ON TABLE receipts IS 'paid by 4711'")
        connection.exec_driver_sql("COMMENT ON INDEX receipts_pkey IS '42'")
    Store.open(store_url).close()
    with Store.open(store_url, write=False) as store, store.engine.begin() as connection:
        assert store.last_writer is None
        assert connection.execute(sa.text(comments)).one() == ("paid by 4711", "42"), "they are somebody else's"
        earlier = json.dumps({"command": "pairsmith run --no-review", "at": "2026-12-01T00:00:00+00:00"})
        connection.exec_driver_sql(f"COMMENT ON TABLE receipts IS '{earlier}'")
        connection.exec_driver_sql("COMMENT ON INDEX receipts_pkey IS NULL")
    with Store.open(store_url, write=False) as store:
        assert store.last_writer == ("pairsmith run --no-review", datetime(2026, 12, 1, tzinfo=UTC)), "as noted before"
    Store.open(store_url).close()
    with Store.open(store_url, write=False) as store, store.engine.connect() as connection:
        table, index = connection.execute(sa.text(comments)).one()
        assert (table, bool(index)) == (None, True)


def test_reader_sees_the_current_writer(tmp_path: Path) -> None:
    """`status` during a run used to say "not run yet" and nothing about the run. Without a writer the name is empty."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    with Store.open(url), Store.open(url, write=False) as reader:
        assert f"pid {os.getpid()} on " in reader.current_writer
    with Store.open(url, write=False) as reader:
        assert reader.current_writer == ""
