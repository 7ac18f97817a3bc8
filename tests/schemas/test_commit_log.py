"""Rows that come by the dozen go into a log first: they are confirmed there, and lost or doubled by nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from schemas.errors import StoreBusy, StoreError
from schemas.money import Hold
from schemas.records import Call, Candidate, Generated, Pair, Reason, Record, Sampling, Usage
from schemas.store import Store, commit_log
from schemas.store.commit_log import is_left
from schemas.store.erase import left_in
from schemas.store.lock import file_lock
from schemas.store.opening import copy_for_reading, log_of, sqlite_url
from schemas.store.shared import reader, shared

ROOT = Path(__file__).parents[2]
MANY = 20  # rows of three records each


def row(number: int) -> list[Record]:
    """A generated row: answer, pair and slot."""
    origin = Generated(
        generator="forward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=((f"k{number}", 1),)
    )
    pair = Pair(seed_id=f"s{number}", input="a cat", output=f"A cat, “{number}” \x00\n.", system="", origin=origin)
    call = Call(
        key=f"k{number}",
        attempt=1,
        status="ok",
        request={"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": str(number)}]},
        raw={"message": {"content": pair.output}},
        text=pair.output,
        usd=0.1 + number,
        request_id=str(number),
        sample=0,
        teacher="t",
        endpoint="http://h",
        seconds=1.0,
    )
    slot = Candidate(fingerprint="f", seed_id=pair.seed_id, generator="forward", sample=0, pair_id=pair.id)
    return [call, pair, slot]


def rows(count: int = MANY, first: int = 0) -> list[Record]:
    return [record for number in range(first, first + count) for record in row(number)]


def put(store: Store, records: list[Record]) -> None:
    asyncio.run(store.put(*records))


def tabled(path: Path, table: str = "calls") -> int:
    """How many rows stand in a table, whatever else is in the store."""
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def held(store: Store) -> tuple[list[Call], list[Pair], list[Candidate]]:
    return [call for key in store.call_index() for call in store.calls(key)], store.pairs(), store.candidates()


def pairs_of(path: Path) -> int:
    with Store.open(sqlite_url(path), write=False) as store:
        return len(store.pairs())


def whole(count: int = MANY) -> tuple[list[Record], ...]:
    return tuple([one for one in rows(count) if isinstance(one, kind)] for kind in (Call, Pair, Candidate))


def same(store: Store, count: int = MANY) -> None:
    """The store holds the first rows, in the order in which they came, each once."""
    calls, pairs, slots = held(store)
    at = {call.key: call.at for call in calls}
    expected, *others = whole(count)
    assert [call.model_copy(update={"at": at[call.key]}) for call in expected if isinstance(call, Call)] == calls
    assert [pairs, slots] == others


KILLED = """
import os, signal, sys
from pathlib import Path
from schemas.store import Store, commit_log
from tests.schemas.test_commit_log import MANY, put, rows, tabled
commit_log._MOST_S = 600.0
path = Path(sys.argv[1])
with Store.open(f"sqlite:///{path}") as store:
    put(store, rows())
    assert tabled(path) == 0, "they were to be in the log alone"
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The store of a process that was killed as soon as its rows were confirmed."""
    path = tmp_path / "p.db"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    assert tabled(path) == 0
    assert log_of(path).stat().st_size > 0
    return path


@pytest.mark.parametrize("write", [True, False])
def test_what_a_killed_process_had_confirmed_is_there_for_the_next(killed: Path, *, write: bool) -> None:
    """Whoever opens the store next, if only to read it, finds every row that was confirmed, and once."""
    with Store.open(sqlite_url(killed), write=write) as store:
        same(store)
        assert store.spent().usd == pytest.approx(sum(0.1 + number for number in range(MANY)))
    assert not log_of(killed).exists()


def test_a_reader_that_was_open_before_finds_it_too(tmp_path: Path) -> None:
    """A server's reader outlives the jobs that it reads after: it need not be opened anew."""
    path = tmp_path / "p.db"
    Store.open(sqlite_url(path)).close()
    with Store.open(sqlite_url(path), write=False) as reader:
        assert held(reader) == ([], [], [])
        assert subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False).returncode == -9
        same(reader)


def test_a_reader_waits_for_another_one_that_puts_it_there(killed: Path) -> None:
    """Of two that come at once after a process was killed, none is told less than was confirmed."""
    with ThreadPoolExecutor() as threads:
        with file_lock(Path(f"{killed}.lock"), sqlite_url(killed), upgrades=True):
            second = threads.submit(pairs_of, killed)
            wait([second], timeout=0.5)
        assert second.result(60) == MANY


def test_a_store_that_may_not_be_written_is_read_whole(killed: Path, tmp_path: Path) -> None:
    """The copy that it is read from has what the log has."""
    (tmp_path / "copies").mkdir()
    with Store.open(sqlite_url(copy_for_reading(killed, tmp_path / "copies")), write=False) as copy:
        same(copy)
    assert tabled(killed) == 0, "the store itself is as it was"


def test_rows_that_are_in_their_tables_already_are_not_doubled(killed: Path, tmp_path: Path) -> None:
    """A process that dies between the tables and the emptying of the log leaves its rows in both."""
    shutil.copy(log_of(killed), tmp_path / "log")
    Store.open(sqlite_url(killed)).close()
    shutil.copy(tmp_path / "log", log_of(killed))
    with Store.open(sqlite_url(killed)) as store:
        same(store)


@pytest.mark.parametrize("end", [b"", b"0", b'12345678 [["calls",["key"],[["k99"]]]]\n', b"12345678 [[\n", b"\xff\x00"])
def test_an_entry_that_is_not_whole_is_none(killed: Path, end: bytes) -> None:
    """A power cut in the midst of writing leaves a part of an entry, which was confirmed to nobody."""
    with log_of(killed).open("ab") as log:
        log.write(end)
    with Store.open(sqlite_url(killed)) as store:
        same(store)


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 600, b"0123", b"01234567", b"01234567\n\n"])
def test_a_log_that_was_only_begun_holds_nothing(tmp_path: Path, content: bytes) -> None:
    """A power cut before its first entry was confirmed leaves anything there, and the store opens."""
    path = tmp_path / "p.db"
    with Store.open(sqlite_url(path)) as store:
        store.write(*rows())
    log_of(path).write_bytes(content)
    for write in (False, True):
        with Store.open(sqlite_url(path), write=write) as store:
            same(store)


OVER = """
import os, signal, sys
from pathlib import Path
from schemas.records import Candidate, Reason
from schemas.store import Store, commit_log
from tests.schemas.test_commit_log import MANY, put, row, rows, tabled
commit_log._MOST_S = 600.0
path = Path(sys.argv[1])
why = Reason("empty")
failed = [Candidate(fingerprint="f", seed_id=f"s{n}", generator="forward", sample=0, failure=why) for n in range(MANY)]
with Store.open(f"sqlite:///{path}") as store:
    put(store, [*rows(), *rows()])
    put(store, [*rows(), *failed])
    store.write(*(row(number)[2] for number in range(MANY)))
    put(store, [*rows(), *rows()])
    assert tabled(path, "candidates") == MANY
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_lies_behind_the_last_entry_is_of_before(tmp_path: Path) -> None:
    """The log is written over: an entry of an earlier time that begins where the last one ends is none any more."""
    path = tmp_path / "p.db"
    ended = subprocess.run([sys.executable, "-c", OVER, str(path)], cwd=ROOT, capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    assert log_of(path).read_bytes().count(b"\n") > 2
    with Store.open(sqlite_url(path)) as store:
        same(store)


def test_the_log_of_a_store_that_was_deleted_is_nobodys(killed: Path) -> None:
    """Who deletes a store to begin anew begins anew."""
    for end in ("", "-wal", "-shm"):
        killed.with_name(killed.name + end).unlink(missing_ok=True)
    with Store.open(sqlite_url(killed)) as store:
        assert held(store) == ([], [], [])


def test_a_store_reads_what_it_has_written(store_url: str) -> None:
    """At once, on both databases, and in the order in which it came: part in the log, part in the tables."""
    with Store.open(store_url) as store:
        for first in range(0, 3 * MANY, MANY):
            put(store, rows(MANY, first))
            assert store.count_candidates(["f"]) == first + MANY
        put(store, rows())
        same(store, 3 * MANY)
    with Store.open(store_url, write=False) as store:
        same(store, 3 * MANY)


def test_another_reader_sees_it_soon(tmp_path: Path) -> None:
    """While the writer has nothing more to write, too."""
    url = sqlite_url(tmp_path / "p.db")
    with Store.open(url) as store, Store.open(url, write=False) as reader:
        put(store, rows())
        until = time.monotonic() + 60
        while reader.count_candidates(["f"]) < MANY and time.monotonic() < until:
            time.sleep(0.05)
        same(reader)
        with pytest.raises(StoreBusy):
            Store.open(url)


def test_another_reader_in_the_same_process_sees_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `generate` returned is read, and curated, inside of the teacher's block too: by a reader of its own, which
    is not told less than was confirmed."""
    monkeypatch.setattr(commit_log, "_MOST_S", 600.0)
    with shared(tmp_path / "p.db") as store:
        put(store, rows())
        same(reader(tmp_path / "p.db"))


def test_what_a_thread_waits_for_is_in_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with it all that was confirmed before: what comes later is never undone by what came first."""
    monkeypatch.setattr(commit_log, "_MOST_S", 600.0)  # however busy the machine is
    path = tmp_path / "p.db"
    failed = Candidate(fingerprint="f", seed_id="s3", generator="forward", sample=0, failure=Reason("empty"))
    hold = Hold(id="h", stage="generate", teacher="t", prompt="p", usd=1.0, requests=3)
    slot = row(3)[2]
    with Store.open(sqlite_url(path)) as store:
        put(store, [*rows(3), *row(3)[:2], failed, hold, *rows(MANY - 4, 4)])
        assert tabled(path) == 0
        store.write(slot, hold.model_copy(update={"requests": 0}))
        assert tabled(path) == MANY
        assert not is_left(path)
        assert [one for one in store.candidates() if one.seed_id == "s3"] == [slot]
        assert store.spent().lost == 0


def test_what_json_cannot_tell_goes_where_it_went_before(tmp_path: Path) -> None:
    """An infinite price is kept as it is, of an answer and of a hold."""
    url = sqlite_url(tmp_path / "p.db")
    call = row(MANY)[0]
    assert isinstance(call, Call)
    with Store.open(url) as store:
        put(store, [*rows(), call.model_copy(update={"usd": float("inf")})])
        assert tabled(tmp_path / "p.db") == MANY + 1
        put(store, [*rows(MANY, 2 * MANY), Hold(id="h", usd=float("inf"))])
        assert tabled(tmp_path / "p.db") == 2 * MANY + 1
    with Store.open(url, write=False) as store:
        assert store.spent().usd == store.spent().reserved == float("inf")


def test_what_no_table_takes_is_refused_at_once(tmp_path: Path) -> None:
    """A number of more bits than a table has would be confirmed, and then keep whoever comes from opening the store."""
    url = sqlite_url(tmp_path / "p.db")
    call = row(MANY)[0]
    assert isinstance(call, Call)
    endless = call.model_copy(update={"usage": Usage(prompt_tokens=2**63)})
    with Store.open(url) as store, pytest.raises(StoreError):
        put(store, [*rows(), endless])
    with Store.open(url) as store:
        put(store, [*rows(), call.model_copy(update={"usage": Usage(prompt_tokens=2**60 + 1)})])
    with Store.open(url) as store:
        assert store.spent().usage.prompt_tokens == 2**60 + 1


def test_the_log_belongs_to_whom_the_store_belongs(tmp_path: Path) -> None:
    """Two people write to a store in turn: who comes next must be able to settle what the other's process left."""
    path = tmp_path / "p.db"
    Store.open(sqlite_url(path)).close()
    path.chmod(0o666)
    before = os.umask(0o077)
    try:
        with Store.open(sqlite_url(path)) as store:
            put(store, rows())
            log, of = log_of(path).stat(), path.stat()
    finally:
        os.umask(before)
    assert (log.st_mode & 0o777, log.st_uid, log.st_gid) == (0o666, of.st_uid, of.st_gid)


def test_a_log_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """Also for a reader that was open before."""
    path = tmp_path / "p.db"
    Store.open(sqlite_url(path)).close()
    with Store.open(sqlite_url(path), write=False) as store:
        log_of(path).mkdir()
        with pytest.raises(StoreError, match=r"p\.db-commits"):
            store.pairs()


FULL = """
import resource, sys
from pathlib import Path
from schemas.errors import StoreFull
from schemas.store import Store
from tests.schemas.test_commit_log import MANY, put, rows
path = Path(sys.argv[1])
with Store.open(f"sqlite:///{path}") as store:
    put(store, rows())
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        put(store, rows(MANY, MANY))
    except StoreFull:
        print("full")
"""


def test_a_full_disk_takes_nothing_that_was_confirmed(tmp_path: Path) -> None:
    """Neither log nor tables can grow: the run is told so, and what it had before is there when there is room."""
    path = tmp_path / "p.db"
    ended = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "full\n", ended.stderr
    with Store.open(sqlite_url(path)) as store:
        same(store)


def test_erasing_looks_into_the_log(killed: Path) -> None:
    """What is left of a text is found there as well."""
    with Store.open(sqlite_url(killed)) as store:
        log_of(killed).write_text("something of “7” there")
        assert left_in(store, ["something of"]) == 1


def test_a_log_that_was_emptied_and_left_goes_with_its_texts(tmp_path: Path) -> None:
    """A process that is killed while its rows are all in their tables leaves a log of which one byte was written over.
    The next to write takes it away: what is erased from the tables may stand in it."""
    path = tmp_path / "p.db"
    Store.open(sqlite_url(path)).close()
    log_of(path).write_bytes(b"\n2345678\n12345678 a text\n")
    with Store.open(sqlite_url(path)):
        assert not log_of(path).exists()
