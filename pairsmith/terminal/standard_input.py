"""Standard input, read once and kept, so that a run can compare it with what an earlier run read."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from functools import cache
from typing import BinaryIO, NamedTuple, cast

_IN_MEMORY_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20


class Piped(NamedTuple):
    """Everything that was piped in, positioned at its start, and its fingerprint (None if nothing was piped in)."""

    content: BinaryIO
    fingerprint: str | None


@cache
def piped() -> Piped:
    """The content of standard input. The first call reads it to the end, and on a terminal waits for the user to
    type."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - kept until the process ends
    digest = hashlib.sha256()
    while sys.stdin is not None and (chunk := sys.stdin.buffer.read(_CHUNK_BYTES)):
        spool.write(chunk)
        digest.update(chunk)
        if len(chunk) < _CHUNK_BYTES:  # that was the end; a terminal would want a second Ctrl-D
            break
    size = spool.tell()
    spool.seek(0)
    return Piped(cast(BinaryIO, spool), f"sha256:{digest.hexdigest()[:16]}" if size else None)


def is_terminal() -> bool:
    """True if standard input is a terminal or closed, so that nothing is piped in."""
    return sys.stdin is None or sys.stdin.isatty()
