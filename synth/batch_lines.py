"""What goes into a batch, and what comes back, in whichever form a provider takes it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.records import Json

Call = Callable[..., Awaitable[bytes]]
"""`call(method, url, json=... or form=...)` is the body of the answer, whatever failed on the way has been raised."""

LABEL = "pairsmith"


class BatchLine(NamedTuple):
    """One request of a batch, under a name that is its own."""

    name: str
    body: Json


class Announced(NamedTuple):
    """A batch that was about to be made at `at`: its label, how many lines it has, and which batches are others."""

    label: str
    lines: int
    at: datetime
    others: Collection[str]


class Result(NamedTuple):
    """What became of a line: an HTTP status and a body. Status 0: it was not tried (expired, cancelled), or what came
    of it cannot be read."""

    name: str
    status: int
    content: bytes


@dataclass(frozen=True)
class State:
    """How far a batch is. `failure` is the provider's sentence for one that was refused as a whole; `cancelled`:
    somebody ended it there; `strange` is the provider's word for its state, if it is none that is known."""

    ended: bool
    failure: str | None
    raw: Json
    cancelled: bool = False
    strange: str | None = None


def lines_of(content: bytes) -> Iterator[Any]:
    for line in content.splitlines():
        with contextlib.suppress(ValueError):  # broken off, or a page
            yield orjson.loads(line)


def readable(result: Callable[[Json], Result], rows: Iterable[Any]) -> Iterator[Result]:
    """The results of rows; those of another form are left out, so that they cost no other one."""
    for row in rows:
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, IndexError):
            yield result(row)
