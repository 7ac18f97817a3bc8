"""A file or folder is completely the old one or completely the new one, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from schemas import files
from schemas.files import copy_folder, is_locked, labelled_lock, replaced, replaced_folder
from tests.pairsmith.conftest import ROOT

DIES = """
import os, signal, sys
from pathlib import Path
from schemas import files

moment, path = sys.argv[1], Path(sys.argv[2])
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if moment == "before":
    files.os.replace = files._exchange = die
elif moment == "between":
    files._exchange = lambda *_: False
    rename, calls = os.rename, []
    files.os.rename = lambda *names: die() if calls else (calls.append(1), rename(*names))
if path.is_dir():
    with files.replaced_folder(path) as new:
        (new / "a").write_text("new")
        moment == "inside" and die()
else:
    with files.replaced(path) as new:
        new.write_text("new")
        moment == "inside" and die()
"""


def killed(moment: str, path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, moment, str(path)], cwd=ROOT, timeout=200)
    assert done.returncode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("moment", ["inside", "before"])
def test_a_crash_leaves_the_old_file(tmp_path: Path, moment: str) -> None:
    """kill -9 while the new text is written, or before the rename."""
    path = tmp_path / "x.json"
    path.write_text("old")
    killed(moment, path)
    assert path.read_text() == "old"
    with replaced(path) as new:
        new.write_text("newer")
    assert path.read_text() == "newer"


@pytest.mark.parametrize("moment", ["inside", "before"])
def test_a_crash_leaves_the_old_folder(tmp_path: Path, moment: str) -> None:
    """kill -9 while the folder is filled, or before the exchange. Leftovers are removed later."""
    path = tmp_path / "dataset"
    path.mkdir()
    (path / "a").write_text("old")
    killed(moment, path)
    assert contents(path) == {"a": "old"}
    (left,) = tmp_path.glob(".dataset.*.partial")
    os.utime(left, (0, 0))
    with replaced_folder(path) as new:
        (new / "b").write_text("newer")
    assert contents(path) == {"b": "newer"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["dataset"]


def test_old_folder_is_restored_where_exchange_is_not_supported(tmp_path: Path) -> None:
    """After a crash between the two renames the old folder is left under another name. The next writer restores it
    first."""
    path = tmp_path / "dataset"
    path.mkdir()
    (path / "a").write_text("old")
    killed("between", path)
    assert not path.exists()
    with suppress(RuntimeError), replaced_folder(path):
        assert contents(path) == {"a": "old"}
        raise RuntimeError
    assert contents(path) == {"a": "old"}


def test_an_error_in_the_block_changes_nothing(tmp_path: Path) -> None:
    """Neither the file or folder nor anything beside it changes."""
    (tmp_path / "x").write_text("old")
    (tmp_path / "d").mkdir()
    with suppress(RuntimeError), replaced(tmp_path / "x") as new:
        new.write_text("half")
        raise RuntimeError
    with suppress(RuntimeError), replaced_folder(tmp_path / "d") as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "x"]
    assert (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize("exchange", [True, False])
def test_folder_replaces_another(tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step or in two. Nothing is left beside it, and a block that deletes the new folder changes nothing."""
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    path = tmp_path / "deep" / "dataset"
    for text in ("one", "two"):
        with replaced_folder(path) as new:
            (new / text).write_text(text)
    assert contents(path) == {"two": "two"}
    with replaced_folder(path) as new:
        new.rmdir()
    assert contents(path) == {"two": "two"}
    assert [entry.name for entry in path.parent.iterdir()] == ["dataset"]


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    """`mode` applies from the first byte on."""
    with replaced(tmp_path / "key", mode=0o600) as new:
        assert new.stat().st_mode & 0o777 == 0o600
        new.write_text("key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_folder_being_filled_is_not_removed(tmp_path: Path) -> None:
    """A second writer of the same folder does not remove the first one's work, however long that takes."""
    path = tmp_path / "model"
    with replaced_folder(path) as slow:
        os.utime(slow, (0, 0))
        files._clean_up(path)
        assert slow.exists()
        (slow / "a").write_text("a")
    assert contents(path) == {"a": "a"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full: needs /dev/full")
def test_folder_is_copied_or_the_full_disk_is_reported(tmp_path: Path) -> None:
    """Exports and releases copy models. Exclusions apply at the top level only, weights that only their owner can read
    are copied for all, and a full disk is the system's own error, which every command turns into one message and exit
    code 6."""
    source, target, full = tmp_path / "source", tmp_path / "target", tmp_path / "full"
    for name in ("a.txt", "merged/w.bin", "inside/merged/b.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "a.txt").chmod(0o600)
    copy_folder(source, target, without=("merged",))
    assert (target / "a.txt").stat().st_mode == (source / "merged" / "w.bin").stat().st_mode
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*.*")) == [
        "a.txt",
        "inside/merged/b.txt",
    ]
    full.mkdir()
    (full / "a.txt").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as refused:
        copy_folder(source, full)
    assert refused.value.errno == errno.ENOSPC

    def write_to_full_disk() -> None:
        with replaced(tmp_path / "x") as new:
            new.symlink_to("/dev/full")
            new.write_bytes(b"x")

    with pytest.raises(OSError, match="No space left") as unwritten:
        write_to_full_disk()
    assert unwritten.value.filename == str(tmp_path / "x")


def test_a_forked_process_does_not_keep_a_lock(tmp_path: Path) -> None:
    """A worker that was forked while the lock was held may outlive it, and inherits the open file."""
    end, begin = os.pipe()
    with labelled_lock(tmp_path / "lock", b"ours") as ours:
        assert ours
        if (child := os.fork()) == 0:
            os.close(begin)
            os.read(end, 1)
            os._exit(0)
    with labelled_lock(tmp_path / "lock", b"again") as ours:
        os.close(begin)
        os.waitpid(child, 0)
        assert ours


def test_a_forked_process_does_not_free_the_lock_of_its_parent(tmp_path: Path) -> None:
    """Not even if it leaves the block in which its parent took it."""
    with suppress(SystemExit), labelled_lock(tmp_path / "lock", b"ours"):
        if (child := os.fork()) == 0:
            raise SystemExit
        os.waitpid(child, 0)
        assert is_locked(tmp_path / "lock")
        return
    os._exit(0)
