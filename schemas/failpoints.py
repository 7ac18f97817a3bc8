"""Named points at which a process can be killed, so that recovery is tested at the places where it matters.

`PAIRSMITH_FAILPOINT=received:3` kills the process with SIGKILL when it passes `failpoint("received")` for the third
time. Without the variable a call costs one comparison. The names: sent, received, committed, pair_written, mid_curate,
mid_train, mid_push, mid_pull, mid_erase.
"""

from __future__ import annotations

import os
import signal

_name, _, _nth = os.environ.get("PAIRSMITH_FAILPOINT", "").partition(":")
_left = int(_nth or 1)


def armed(name: str) -> bool:
    """Whether `name` is the configured failpoint, for code that reaches it only if it makes an effort."""
    return name == _name


def failpoint(name: str) -> None:
    """Pass the failpoint `name`; the process is killed here if the environment says so."""
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
