"""A project whose folder goes while a command works on it: the command would go on asking, and pay for what nobody will
ever see."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairsmith.stopping import Stopping
from schemas.errors import StoreError

_LOOK_EVERY_S = 1.0
_LOOKS = 4  # in a row: a sync or a slow disk may take it away for a moment


@contextmanager
def still_there(folder: Path, stopping: Stopping) -> Iterator[None]:
    """Stop the work in order once `folder` has been deleted, moved or replaced, and raise StoreError for that. Its
    files do not count: an editor saves by putting another in their place."""
    path, ended, is_gone = folder.absolute(), threading.Event(), threading.Event()
    ours = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # its number is no other's while it is open

    def look() -> None:
        away = 0
        while away < _LOOKS and not ended.wait(_LOOK_EVERY_S):
            away = away + 1 if _is_away(path, ours) else 0
        if away == _LOOKS:
            is_gone.set()
            if not stopping.asked:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    except BaseException as error:
        if is_gone.is_set() or (isinstance(error, Exception) and _is_away(path, ours)):  # whatever it stumbled over
            raise gone(path) from None
        raise
    else:
        if is_gone.is_set():
            raise gone(path)
    finally:
        ended.set()
        watch.join()
        os.close(ours)


def _is_away(path: Path, ours: int) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(ours))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a network that is slow
        return False


def gone(folder: Path) -> StoreError:
    """What is said where the folder of a project went while it was worked on."""
    return StoreError(
        "the folder of the project was deleted or moved while this ran.",
        where=str(folder),
        why="What was asked since then went with its store.",
        fix="Bring the folder back, and go on.",
    )
