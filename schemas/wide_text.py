"""Detects text encoded with two or four bytes per character by its byte order mark or its first character."""

from __future__ import annotations

import codecs

_HEADS = {
    codecs.BOM_UTF32_LE: "utf-32",  # checked first, because it begins with the UTF-16 mark
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"\0\0\0": "utf-32-be",
    b"\0": "utf-16-be",
}


def wide_encoding(head: bytes) -> str:
    """The encoding of a text that begins with `head`; without a byte order mark only if its first character is ASCII.
    Otherwise empty."""
    if name := next((name for mark, name in _HEADS.items() if head.startswith(mark)), ""):
        return name
    return "utf-32-le" if head[1:4] == b"\0\0\0" else "utf-16-le" if head[1:2] == b"\0" else ""
