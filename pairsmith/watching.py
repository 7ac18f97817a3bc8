"""A watcher of a command: what a program hears of it that runs it in its own process, as a job of the service does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.progress import Progress, unseen

Tell = Callable[[dict[str, Any]], None]


def untold(data: dict[str, Any]) -> None:
    """An answer that nobody waits for."""


class Watcher(NamedTuple):
    """Told each report of progress, and the command's `--json` object: its answer, or the `error` in it."""

    progress: Progress = unseen
    answer: Tell = untold


NOBODY = Watcher()
