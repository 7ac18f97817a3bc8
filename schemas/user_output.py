"""Sends what user code prints to standard error, because programs parse our standard output."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, cast

_in_user_code: ContextVar[bool] = ContextVar("is_own", default=False)
_lock = threading.Lock()
_replacements: list[TextIO] = []
"""Replacements of standard output left behind by user code. They are kept alive because destroying one would close the
underlying stream."""


class _OutputRouter:
    """Standard output for our code, standard error for user code."""

    def __init__(self, ours: TextIO) -> None:
        self.ours = ours
        self.blocks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _in_user_code.get() else self.ours, name)


@contextmanager
def user_output() -> Iterator[None]:
    """Redirect the output of user code, for this thread and task only.

    `contextlib.redirect_stdout` affects the whole process, and if two of its blocks overlap, the second leaves standard
    output redirected for good.
    """
    with _lock:
        before: object = sys.stdout
        router = before if isinstance(before, _OutputRouter) else _OutputRouter(sys.stdout)
        router.blocks += 1
        sys.stdout = cast(TextIO, router)
    token = _in_user_code.set(True)
    try:
        yield
    finally:
        _in_user_code.reset(token)
        with _lock:
            router.blocks -= 1
            if sys.stdout is not cast(TextIO, router):
                _replacements.append(sys.stdout)
            sys.stdout = cast(TextIO, router) if router.blocks else router.ours
