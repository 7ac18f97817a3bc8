"""What is moving right now: a file of JSON lines that a job's process appends to, and a hub that tells it to browsers.

A line is `{"at": seconds since 1970, "stage": ..., "numbers": {...}, "pace": {...}}`; the numbers are those of
`schemas.progress`. The file is never the truth about rows or money, which is in the store: a line that a crash or a
full disk has cost is no loss.
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
# From so many lines on, some 90 minutes at full speed, a tenth of them is written: a long training fills no disk.
_MANY = 20_000
_TAIL = 65_536  # bytes; the longest line is some 1,000

State = dict[str, Any]


@contextmanager
def recorded(path: Path) -> Iterator[Progress]:
    """The callback that appends reports to `path`, four a second, and the last one of every stage always."""
    paces: dict[str, Pace] = {}
    unwritten: dict[str, Pace] = {}
    written, written_s = 0, 0.0

    def write(pace: Pace, at_s: float) -> None:
        nonlocal written, written_s
        unwritten.pop(pace.stage, None)
        rates = {f"{name}_per_s": round(pace.rate(name), 3) for name in ("done", "tokens")}
        timing = {"seconds": round(pace.seconds, 2), "left_s": pace.left_s, **rates}
        line = {"at": round(time.time(), 3), "stage": pace.stage, "numbers": pace.numbers, "pace": timing}
        with contextlib.suppress(OSError):  # a full disk stops no work that needs no room
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
            file.write(b"\n")  # after a crash in the middle of a line
        try:
            yield progress
        finally:
            for pace in list(unwritten.values()):
                write(pace, time.monotonic())


def last(path: Path) -> State | None:
    """The newest whole line; None without one."""
    return next(_backwards(path), None)


def _backwards(path: Path) -> Iterator[State]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            if isinstance(state := orjson.loads(line), dict):
                yield state


def each(path: Path) -> Iterator[tuple[int, State]]:
    """Every whole line with its number, from 1."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    yield number, orjson.loads(line)


class Hub:
    """Tells subscribers the present state of things, each under a key: state, not a log.

    A new subscriber hears every present state at once, a slow one only the newest of each, and one that was cut off,
    which knows the `number` of the last state that it heard, those that came after. `name` is another for each hub, so
    that numbers of an earlier server are not taken for ours. For one event loop.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        self._number = 0
        self._states: dict[str, State] = {}
        self._subscribers: set[_Subscriber] = set()
        self._has_ended = False

    def publish(self, event: str, project: str, key: str, data: State) -> None:
        """Tell who may see `project`, now and later, that `key` is now `data`."""
        self._number += 1
        self._states.pop(key, None)
        state = {"event": event, "project": project, "key": key, "data": data, "number": self._number}
        self._states[key] = state
        for subscriber in self._subscribers:
            subscriber.hear(state)

    def forget(self, project: str) -> None:
        """Tell nobody any more how things of a project are, which is gone."""
        self._states = {key: state for key, state in self._states.items() if state["project"] != project}

    def states(self) -> list[State]:
        """The present states."""
        return list(self._states.values())

    async def subscribe(self, slugs: Collection[str], after: int = 0) -> AsyncIterator[State]:
        """Events of the projects `slugs`, by number: what is now and came after the number `after`, then each change,
        until nobody iterates or the hub has ended."""
        subscriber = _Subscriber(slugs)
        for state in self._states.values():
            if state["number"] > after:
                subscriber.hear(state)
        self._subscribers.add(subscriber)
        try:
            while not self._has_ended:
                await subscriber.changed.wait()
                subscriber.changed.clear()
                while subscriber.unheard:
                    yield subscriber.unheard.pop(next(iter(subscriber.unheard)))
        finally:
            self._subscribers.discard(subscriber)

    def end(self) -> None:
        """Tell every subscriber that this was all."""
        self._has_ended = True
        for subscriber in self._subscribers:
            subscriber.changed.set()

    @property
    def listening(self) -> int:
        """How many subscribers there are."""
        return len(self._subscribers)


class _Subscriber:
    def __init__(self, slugs: Collection[str]) -> None:
        self.slugs, self.changed = slugs, asyncio.Event()
        self.unheard: dict[str, State] = {}

    def hear(self, state: State) -> None:
        if state["project"] in self.slugs:
            self.unheard.pop(state["key"], None)  # what is heard later stands behind what is heard first
            self.unheard[state["key"]] = state
            self.changed.set()
