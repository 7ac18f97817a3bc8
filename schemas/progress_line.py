"""Shows the progress of a long stage: a live line on a terminal, updated lines under a notebook cell, a plain line
every few seconds in a pipe.

`schemas.progress` explains the numbers.
"""

from __future__ import annotations

import math
import select
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from schemas.progress import Progress, unseen

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_EVERY_S = 5.0
CELL_EVERY_S = 0.25
_WIDTH = 20  # of a bar, in characters
_NARROW = 100  # a terminal of fewer columns gets no bar
_NAME_WIDTH = len("bradley_terry")  # the longest name of a step; what it prepares may have a longer one
_KNOWN = ("done", "total", "failed", "in_flight", "tokens", "usd", "usd_known", "eta_s", "most_s", "message")
_ON_PAGES = ("kept", "reasons", "memory_gib", "peak_gib")  # numbers shown on pages only; a line has no room for them


class Pace:
    """The reports of a stage and derived values. Rates are measured since its first report, and leave out `kept` rows:
    those of an earlier run and imports, for which nothing is asked."""

    def __init__(self, stage: str, numbers: Mapping[str, Any], at_s: float) -> None:
        self.stage, self.first, self.numbers = stage, dict(numbers), dict(numbers)
        self.started_s = self.latest_s = self.advanced_s = at_s

    def update(self, numbers: Mapping[str, Any], at_s: float) -> None:
        before = self.numbers.get("tokens", 0)
        if numbers.get("tokens", before) < before:  # another part of the stage, which counts from 0 again
            self.first["tokens"] = self.first.get("tokens", 0) - before
        if numbers.get("done") not in (None, self.numbers.get("done")):
            self.advanced_s = at_s
        self.numbers.update(numbers)
        self.latest_s = at_s

    @property
    def seconds(self) -> float:
        return self.latest_s - self.started_s

    def rate(self, name: str) -> float:
        """Units of `name` per second since the first report; 0 if nothing changed."""
        counted = {name: 1.0, "kept": -1.0} if name == "done" else {name: 1.0}
        moved = sum(n * (float(self.numbers.get(key, 0)) - float(self.first.get(key, 0))) for key, n in counted.items())
        return moved / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the current rate; None if there is no total or no progress yet, if the time is unknown,
        or if nothing was done for longer: the last of 105 answers, ten times as long as the others, is not 10 s away.

        What is in flight is half done on average, except for the request that just replaced the last one: the first of
        twenty requests sent at the same time ends just before the others.
        """
        unknown = "total" not in self.numbers or self.numbers.get("most_s", 0) is None
        if unknown or (rate := self.rate("done")) <= 0:  # below 0: rows that are kept are counted before they are done
            return None
        half = max(0.0, float(self.numbers.get("in_flight", 0)) - 1) / 2
        left = float(self.numbers["total"]) - float(self.numbers["done"]) - half
        left_s = max(0.0, left) / (rate + half / self.seconds)
        return None if self.latest_s - self.advanced_s > left_s else left_s

    def parts(self) -> list[str]:
        """The parts of the line after the stage's name, most important first."""
        n = self.numbers
        shown = []
        if "done" in n:
            shown.append(f"{n['done']:,.0f} of {n['total']:,.0f}" if "total" in n else f"{n['done']:,.0f}")
        if n.get("failed"):
            shown.append(f"{n['failed']:,.0f} failed")
        if n.get("in_flight"):
            shown.append(f"{n['in_flight']:,.0f} in flight")
        if rate := self.rate("tokens"):
            shown.append(f"{rate:,.0f} tok/s")
        if "usd" in n:
            shown.extend(_spent(n["usd"], n.get("usd_known")))
        for name, value in n.items():
            if name not in _KNOWN + _ON_PAGES and value != "":
                shown.append(str(value) if isinstance(value, str) else f"{name.replace('_', ' ')} {value:.4g}")
        if n.get("message"):
            shown.append(n["message"])
        if n.get("most_s"):
            shown.append(f"at most {clock(n['most_s'])} left at this pace")
        elif self.left_s:
            shown.append(f"{clock(self.left_s)} left")
        return shown

    @property
    def share(self) -> float | None:
        total = self.numbers.get("total")
        return min(1.0, self.numbers.get("done", 0) / total) if total else None


def _spent(usd: float | None, known: float | None) -> list[str]:
    """What was spent, if anything."""
    from schemas.money import dollars  # which takes a quarter of a second to import

    if usd is None:
        return [f"at least {dollars(known)} spent" if known else "cost unknown"]
    return [f"{dollars(usd)} spent"] if usd else []


def reported(paces: dict[str, Pace], stage: str, numbers: Mapping[str, Any], at_s: float) -> Pace:
    """The pace of a stage updated with its latest report. A stage that starts counting again after its end, such as the
    trainings of a learning curve, gets a new pace."""
    pace = paces.get(stage)
    if pace is None or (pace.share == 1.0 and numbers.get("done", math.inf) < pace.numbers["done"]):
        pace = paces[stage] = Pace(stage, numbers, at_s)
    pace.update(numbers, at_s)
    return pace


def clock(seconds: float) -> str:
    """0.4s, 12s, 1m 05s, 2h 03m, 3d 04h."""
    total_s = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if total_s < 60:
        return f"{total_s}s"
    if total_s < 3600:
        return f"{total_s // 60}m {total_s % 60:02d}s"
    if total_s < 172_800:
        return f"{total_s // 3600}h {total_s % 3600 // 60:02d}m"
    return f"{total_s // 86_400}d {total_s % 86_400 // 3600:02d}h"


@contextmanager
def shown(*, silent: bool, stream: TextIO | None = None, watcher: Progress = unseen) -> Iterator[Progress]:
    """Yield the progress callback that every layer takes, and display its reports on `stream`, or on stderr, which in a
    notebook is the output of the cell. `watcher` receives all reports, silent or not."""
    with _display(silent, stream) as progress:

        def both(stage: str, numbers: Mapping[str, Any]) -> None:
            watcher(stage, numbers)
            progress(stage, numbers)

        yield progress if watcher is unseen else both


def requested(progress: bool | Progress) -> AbstractContextManager[Progress]:
    """What a caller of the Python API asks for: `shown`, nothing, or only its own callback."""
    return shown(silent=progress is not True, watcher=progress if callable(progress) else unseen)


@contextmanager
def _display(silent: bool, stream: TextIO | None) -> Iterator[Progress]:
    notebook = stream is None and _in_notebook()
    stream = stream or sys.stderr
    if silent:
        yield unseen
    elif notebook:
        with _notebook_progress() as progress:
            yield progress
    elif stream.isatty():
        with _live_progress(stream) as progress:
            yield progress
    else:
        with _plain_progress(stream) as progress:
            yield progress


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


@contextmanager
def _notebook_progress() -> Iterator[Progress]:
    """One line per stage under the running cell; in the end the last numbers of each."""
    from IPython.display import display

    paces: dict[str, Pace] = {}
    handle: Any = None
    written_s, is_behind = -math.inf, False

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        nonlocal written_s, is_behind
        at_s = time.monotonic()
        pace = reported(paces, stage, numbers, at_s)
        is_behind = at_s - written_s < CELL_EVERY_S and pace.share != 1.0
        if not is_behind:
            written_s = at_s
            write()

    def write() -> None:
        nonlocal handle
        text = {"text/plain": "\n".join(f"{pace.stage:<9} {', '.join(pace.parts())}" for pace in paces.values())}
        if handle is None:
            handle = display(text, raw=True, display_id=True)
        else:
            handle.update(text, raw=True)

    try:
        yield progress
    finally:
        if is_behind:
            write()


@contextmanager
def _plain_progress(stream: TextIO) -> Iterator[Progress]:
    """A line whenever a stage reports and five seconds have passed since its last one. A report that nothing follows
    for so long is written then: a step that says only what it begins would be silent to its end."""
    paces: dict[str, Pace] = {}
    written_s: dict[Pace, float] = {}
    latest: Pace | None = None  # not written yet
    lock, ended = threading.Lock(), threading.Event()

    def write(pace: Pace, at_s: float) -> None:
        nonlocal latest
        if pace.parts() and not _is_stalled(stream):
            stream.write(f"{pace.stage:<9} {', '.join(pace.parts())}\n")
            stream.flush()
        written_s[pace], latest = at_s, None

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        nonlocal latest
        at_s = time.monotonic()
        with lock:
            latest = pace = reported(paces, stage, numbers, at_s)
            finished = pace.share == 1.0
            due = at_s - written_s.setdefault(pace, at_s) >= PLAIN_EVERY_S
            if due or (finished and written_s[pace] < math.inf):
                write(pace, math.inf if finished else at_s)
            elif finished:
                latest = None

    def write_what_waits() -> None:
        while not ended.wait(PLAIN_EVERY_S):
            with lock, suppress(OSError):  # the next report meets the same full disk or closed pipe, and raises it
                if latest and time.monotonic() - latest.latest_s >= PLAIN_EVERY_S:
                    write(latest, time.monotonic())

    waiting = threading.Thread(target=write_what_waits, name="progress", daemon=True)
    waiting.start()
    try:
        yield progress
    finally:
        ended.set()
        waiting.join()


def _is_stalled(stream: TextIO) -> bool:
    """Whether a pipe is full because its reader has paused (`| less`): a line of progress may be lost, and the work
    would wait for it."""
    with suppress(OSError):  # no descriptor
        return not select.select([], [stream.fileno()], [], 0)[1]
    return False


@contextmanager
def _live_progress(stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    spinner = Spinner("dots", style="cyan")
    paces: dict[str, Pace] = {}

    def row(pace: Pace, *, running: bool) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        head = spinner if running else Text("done" if pace.share in (None, 1.0) else "part", style="green")
        is_narrow = console.width < _NARROW
        seconds = pace.seconds if "done" in pace.numbers else time.monotonic() - pace.started_s  # one report may be all
        bar = clock(seconds) if not running else "" if is_narrow else _bar(pace.share)
        parts = pace.parts()
        if running and is_narrow:  # what does not fit is cut off at the end, and the time left is the last part
            parts = [*parts[:1], *parts[1:][-1:], *parts[1:-1]]
        detail = Text(" · ".join(parts), overflow="ellipsis", no_wrap=running)
        grid.add_column(width=4)
        grid.add_column(width=max(_NAME_WIDTH, len(pace.stage)))
        grid.add_row(head, Text(pace.stage, style="bold", no_wrap=True), Text(bar, style="cyan"), detail)
        return grid

    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def progress(stage: str, numbers: Mapping[str, Any]) -> None:
            at_s = time.monotonic()
            before = [*paces.values()]
            pace = reported(paces, stage, numbers, at_s)
            for ended in before:
                if ended is not pace:
                    console.print(row(ended, running=False))
            paces.clear()
            paces[stage] = pace
            live.update(Group(row(pace, running=True)))

        try:
            yield progress
        finally:
            for pace in paces.values():
                if pace.parts():
                    console.print(row(pace, running=False))


def _bar(share: float | None) -> str:
    filled = round((share or 0.0) * _WIDTH)
    return "━" * filled + "─" * (_WIDTH - filled)
