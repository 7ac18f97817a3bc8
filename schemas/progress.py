"""Progress of long work. Every layer takes a callback and reports to it in the same way.

`progress(stage, numbers)`: the known numbers are `done` and `total` (rows or steps), `kept` (those of `done` that
existed before), `failed`, `in_flight`, `tokens`, `usd` (None: part of the cost is unknown), `usd_known` (the part that
is known), and `eta_s` and `most_s` (expected and maximum seconds left; None: unknown). Any other number is shown after
them under its own name, and a text (such as `message`) as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

R = TypeVar("R")

Progress = Callable[[str, Mapping[str, Any]], None]
"""Called from the worker thread up to ten times a second; it must not block."""

Say = Callable[[str], None]
"""Called with a line for the user."""

ShouldStop = Callable[[], bool]
"""Returns whether the work has been asked to stop; it is checked between steps."""


def unseen(stage: str, numbers: Mapping[str, Any]) -> None:
    """A progress callback that does nothing."""


_EVERY = 1_000  # rows between two reports


def reporting(
    rows: Iterable[R], progress: Progress, stage: str, total: int | None = None, every: int = _EVERY
) -> Iterator[R]:
    """The rows, with a report whenever another `every` of them has been used, and at the end. Fewer rows are used
    before anybody could read a report, so there is none."""
    known, done = {} if total is None else {"total": total}, 0
    if total is not None and total >= every:
        progress(stage, {"done": 0, **known})
    for done, row in enumerate(rows, 1):
        yield row
        if done % every == 0 and done != total:
            progress(stage, {"done": done, **known})
    if done >= every:
        progress(stage, {"done": done, "total": done})


def discard_message(line: str) -> None:
    """A `Say` that discards the line."""


def log_message(line: str) -> None:
    """A `Say` that logs the line as a warning, for a server or a program, which have no screen of ours."""
    logging.getLogger("pairsmith").warning(line)


def never_stop() -> bool:
    """A stop check that is always False."""
    return False
