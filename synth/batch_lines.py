"""The lines and results of a batch, independent of the provider's format."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.records import Json

Call = Callable[..., Awaitable[bytes]]
"""`call(method, url, json=... or form=...)` returns the body of the response; it raises for any failure."""

LABEL = "pairsmith"


class BatchLine(NamedTuple):
    """One request of a batch, with a unique name."""

    name: str
    body: Json


class Announced(NamedTuple):
    """A batch that was about to be created at `at`: its label, its number of lines, and the ids of other batches."""

    label: str
    lines: int
    at: datetime
    others: Collection[str]


class Result(NamedTuple):
    """The result of a line: an HTTP status and a body. Status 0: it was not processed (expired, cancelled), or its
    result cannot be read."""

    name: str
    status: int
    content: bytes


@dataclass(frozen=True)
class State:
    """The state of a batch. `failure` is the provider's message for one that was refused as a whole; `cancelled`: it
    was cancelled at the provider; `strange` is the provider's status if it is unknown."""

    ended: bool
    failure: str | None
    raw: Json
    cancelled: bool = False
    strange: str | None = None


def parse_lines(content: bytes) -> Iterator[Any]:
    for line in content.splitlines():
        with contextlib.suppress(ValueError):  # cut off, or an HTML page
            yield orjson.loads(line)


def parse_results(result: Callable[[Json], Result], rows: Iterable[Any]) -> Iterator[Result]:
    """The results of rows, without rows of an unexpected format, so that these do not affect the others."""
    for row in rows:
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, IndexError):
            yield result(row)
