"""Live progress: a file of JSON lines that a job's process appends to, and a hub that publishes states to browsers.

A line is `{"at": seconds since 1970, "stage": ..., "numbers": {...}, "pace": {...}}`; the numbers are those of
`schemas.progress`. The file is never authoritative for rows or money, which are in the store, so a line lost to a crash
or a full disk does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from schemas.progress import Progress
from schemas.progress_line import Pace, reported

EVERY_S = 0.25
# After this many lines, some 90 minutes at full speed, only a tenth is written, so a long training fills no disk.
_MANY = 20_000
_TAIL = 65_536  # bytes read from the end of the file; the longest line has some 1,000

State = dict[str, Any]


@contextmanager
def record_progress(path: Path) -> Iterator[Progress]:
    """Yields a progress callback that appends reports to `path`: up to four a second, and always the last of each
    stage."""
    paces: dict[str, Pace] = {}
    unwritten: dict[str, Pace] = {}
    written, written_s = 0, 0.0

    def write(pace: Pace, at_s: float) -> None:
        nonlocal written, written_s
        unwritten.pop(pace.stage, None)
        rates = {f"{name}_per_s": round(pace.rate(name), 3) for name in ("done", "tokens")}
        timing = {"seconds": round(pace.seconds, 2), "left_s": pace.left_s, **rates}
        line = {"at": round(time.time(), 3), "stage": pace.stage, "numbers": pace.numbers, "pace": timing}
        with contextlib.suppress(OSError):  # a full disk does not stop work that needs no space
            file.write(orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")
        written, written_s = written + 1, at_s

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        at_s = time.monotonic()
        before = paces.get(stage)
        pace = reported(paces, stage, numbers, at_s)
        new = pace is not before
        if new:
            for other in list(unwritten.values()):
                write(other, at_s)
        unwritten[stage] = pace
        if new or pace.share == 1.0 or at_s - written_s >= EVERY_S * (10 if written > _MANY else 1):
            write(pace, at_s)

    with path.open("ab", buffering=0) as file:
        if file.tell():
            file.write(b"\n")  # an earlier process may have crashed in the middle of a line
        try:
            yield progress
        finally:
            for pace in list(unwritten.values()):
                write(pace, time.monotonic())


def last(path: Path) -> State | None:
    """The newest complete line; None if there is none."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        for line in reversed(file.read().splitlines()):
            with contextlib.suppress(ValueError):
                if isinstance(state := orjson.loads(line), dict):
                    return state
    return None


def each(path: Path) -> Iterator[tuple[int, State]]:
    """Every complete line with its number, from 1."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    yield number, orjson.loads(line)


class Hub:
    """Publishes the current state of things, each under a key. It holds states, not a log.

    A new subscriber receives every current state at once, and a slow one only the newest state of each key. A
    subscriber that was cut off and knows the `number` of the last state it received gets the later ones. `name` differs
    between hubs, so that numbers from an earlier server are not mistaken for ours. For use in one event loop.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        self._number = 0
        self._states: dict[str, State] = {}
        self._subscribers: set[_Subscriber] = set()
        self._is_closed = False

    def publish(self, event: str, project: str, key: str, data: State) -> None:
        """Set the state of `key` to `data` for all present and future subscribers that may see `project`."""
        self._number += 1
        self._states.pop(key, None)
        state = {"event": event, "project": project, "key": key, "data": data, "number": self._number}
        self._states[key] = state
        for subscriber in self._subscribers:
            subscriber.receive(state)

    def forget(self, project: str) -> None:
        """Drop all states of a deleted project."""
        self._states = {key: state for key, state in self._states.items() if state["project"] != project}

    async def subscribe(self, slugs: Collection[str], after: int = 0) -> AsyncIterator[State]:
        """Yields the events of the projects `slugs` by number, until the caller stops iterating or the hub is closed.

        These are the current states that came after the number `after`, then each change.
        """
        subscriber = _Subscriber(slugs)
        for state in self._states.values():
            if state["number"] > after:
                subscriber.receive(state)
        self._subscribers.add(subscriber)
        try:
            while not self._is_closed:
                await subscriber.changed.wait()
                subscriber.changed.clear()
                while subscriber.pending:
                    yield subscriber.pending.pop(next(iter(subscriber.pending)))
        finally:
            self._subscribers.discard(subscriber)

    def end(self) -> None:
        """Close the hub and end all subscriptions."""
        self._is_closed = True
        for subscriber in self._subscribers:
            subscriber.changed.set()


class _Subscriber:
    def __init__(self, slugs: Collection[str]) -> None:
        self.slugs, self.changed = slugs, asyncio.Event()
        self.pending: dict[str, State] = {}

    def receive(self, state: State) -> None:
        if state["project"] in self.slugs:
            self.pending.pop(state["key"], None)  # a newer state moves to the end of the order
            self.pending[state["key"]] = state
            self.changed.set()
