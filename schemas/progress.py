"""Progress of long work: every layer reports the same way, and takes a callback that shows it.

`progress(stage, numbers)`: numbers known by name are `done` and `total` (rows or steps), `kept` (of the done,
those there before), `failed`, `in_flight`, `tokens`, `usd` (None: nobody knows the cost), `eta_s` and `most_s` (seconds
left, about and at most; None: nobody knows); any other number is shown after them under its own name, a text (such as
`message`) as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Progress = Callable[[str, Mapping[str, Any]], None]
"""Called from the thread that works, up to ten times a second; it must not block."""

Say = Callable[[str], None]
"""Called with a line for a person."""

Asked = Callable[[], bool]
"""Whether somebody has asked the work to end; looked at between two steps of it."""


def unseen(stage: str, numbers: Mapping[str, Any]) -> None:
    """Progress that nobody watches."""


def unheard(line: str) -> None:
    """A line that nobody reads."""


def unasked() -> bool:
    """Work that nobody ends."""
    return False
