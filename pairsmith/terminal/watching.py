"""What a command gets from the process that runs it, and how another program in that process, such as a job of the
service, follows the command."""

from __future__ import annotations

from typing import Any, NamedTuple

from pairsmith.terminal.failures import WriteJson
from pairsmith.terminal.stopping import Stopping
from schemas.progress import Progress, unseen


def ignore_answer(data: dict[str, Any]) -> None:
    """Discard the answer."""


class Watcher(NamedTuple):
    """Receives each progress report, and the command's `--json` object: its answer, or the object with its `error`."""

    progress: Progress = unseen
    answer: WriteJson = ignore_answer


NOBODY = Watcher()


class Invocation(NamedTuple):
    """One run of the command line: click's object, which every command gets. `write_json` writes the one JSON object on
    stdout (None without --json), and `warnings` are what the command warned of so far."""

    write_json: WriteJson | None
    stopping: Stopping
    watcher: Watcher
    warnings: list[str]
