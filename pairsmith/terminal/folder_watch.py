"""Detects that a project's folder disappears while a command works on it. Otherwise the command would keep asking, and
pay for answers that are lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairsmith.terminal.stopping import Stopping
from schemas.blocking import beside
from schemas.errors import StoreError

_CHECK_EVERY_S = 1.0
_MISSES = 4  # in a row: a sync or a slow disk may hide the folder for a moment


@contextmanager
def stop_if_folder_disappears(folder: Path, stopping: Stopping) -> Iterator[None]:
    """Stop the work cleanly once `folder` has been deleted, moved or replaced, and raise StoreError. Its files may be
    replaced: editors save that way."""
    path, is_gone = folder.absolute(), threading.Event()
    # no other folder can get this inode while it is open
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def watch_folder(ended: threading.Event) -> None:
        misses = 0
        while misses < _MISSES and not ended.wait(_CHECK_EVERY_S):
            misses = misses + 1 if _is_away(path, descriptor) else 0
        if misses == _MISSES:
            is_gone.set()
            if not stopping.asked:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    try:
        with beside(watch_folder):
            yield
    except BaseException as error:
        if is_gone.is_set() or (
            isinstance(error, Exception) and _is_away(path, descriptor)
        ):  # whatever error it caused
            raise gone(path) from None
        raise
    else:
        if is_gone.is_set():
            raise gone(path)
    finally:
        os.close(descriptor)


def _is_away(path: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a slow network drive
        return False


def gone(folder: Path) -> StoreError:
    """The error for a project folder that disappeared during the work."""
    return StoreError(
        "the folder of the project was deleted or moved while this ran.",
        where=str(folder),
        why="Answers received since then are lost with its store.",
        fix="Restore the folder, then run the command again.",
    )
