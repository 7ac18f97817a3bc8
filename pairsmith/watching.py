"""How another program in the same process, such as a job of the service, follows a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.progress import Progress, unseen

SendJson = Callable[[dict[str, Any]], None]


def ignore_answer(data: dict[str, Any]) -> None:
    """Discard the answer."""


class Watcher(NamedTuple):
    """Receives each progress report, and the command's `--json` object: its answer, or the object with its `error`."""

    progress: Progress = unseen
    answer: SendJson = ignore_answer


NOBODY = Watcher()
