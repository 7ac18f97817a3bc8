"""Texts in two or four bytes a sign, which a byte order mark or the first sign shows."""

from __future__ import annotations

import codecs

_HEADS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"\0\0\0": "utf-32-be",
    b"\0": "utf-16-be",
}


def wide_encoding(head: bytes) -> str:
    """The encoding of a text that begins with `head`, without a mark if its first sign is ASCII; else empty."""
    if shown := next((name for mark, name in _HEADS.items() if head.startswith(mark)), ""):
        return shown
    return "utf-32-le" if head[1:4] == b"\0\0\0" else "utf-16-le" if head[1:2] == b"\0" else ""
