"""Standard input, read once and kept, so that a run can tell whether it holds what an earlier run has read."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from functools import cache
from typing import BinaryIO, NamedTuple, cast

_IN_MEMORY_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20


class Piped(NamedTuple):
    """All that was piped in, at its beginning, and its fingerprint (None if that was nothing)."""

    content: BinaryIO
    fingerprint: str | None


@cache
def piped() -> Piped:
    """The content of standard input, read to its end the first time. On a terminal it waits for a person to type."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - kept as long as the process
    digest = hashlib.sha256()
    while sys.stdin is not None and (chunk := sys.stdin.buffer.read(_CHUNK_BYTES)):
        spool.write(chunk)
        digest.update(chunk)
    size = spool.tell()
    spool.seek(0)
    return Piped(cast(BinaryIO, spool), f"sha256:{digest.hexdigest()[:16]}" if size else None)


def is_terminal() -> bool:
    """True if a person would have to type, or nobody could."""
    return sys.stdin is None or sys.stdin.isatty()
