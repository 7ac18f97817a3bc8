"""What code of the user's own prints goes to standard error: what programs read on standard output is ours."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, cast

_is_own: ContextVar[bool] = ContextVar("is_own", default=False)
_lock = threading.Lock()
_left: list[TextIO] = []
"""What own code has put in the place of standard output: going, it would close the stream that it stands on."""


class _Sorted:
    """Standard output, which for the user's own code is standard error."""

    def __init__(self, ours: TextIO) -> None:
        self.ours = ours
        self.blocks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _is_own.get() else self.ours, name)


@contextmanager
def own_output() -> Iterator[None]:
    """For this thread and task only: `contextlib.redirect_stdout` is the process's, and of two that overlap the second
    leaves standard output turned away for good."""
    with _lock:
        before: object = sys.stdout
        held = before if isinstance(before, _Sorted) else _Sorted(sys.stdout)
        held.blocks += 1
        sys.stdout = cast(TextIO, held)
    own = _is_own.set(True)
    try:
        yield
    finally:
        _is_own.reset(own)
        with _lock:
            held.blocks -= 1
            if sys.stdout is not cast(TextIO, held):
                _left.append(sys.stdout)
            sys.stdout = cast(TextIO, held) if held.blocks else held.ours
