"""Detects text encoded with two or four bytes per character by its byte order mark, or by where its NULs are."""

from __future__ import annotations

import codecs

HEAD_BYTES = 1024  # enough: texts in other alphabets have an ASCII character, such as a space, far more often

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # checked first, because it begins with the UTF-16 mark
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROLS = bytes({*range(1, 32), 127} - {*b"\t\n\f\r"})


def wide_encoding(head: bytes) -> str:
    """The encoding of a text that begins with `head`, of `HEAD_BYTES` or the first line up to its newline byte; without
    a byte order mark only if its first character is ASCII. Otherwise empty: a few stray NULs do not make a UTF-8 text a
    wide one."""
    head = head[:HEAD_BYTES]
    if name := next((name for mark, name in _MARKS.items() if head.startswith(mark)), ""):
        return name
    if len(head) % 2 and head.endswith(b"\n"):  # the first byte of a newline
        head = head[:-1]
    order, upper = ("be", 0) if head.startswith(b"\0") else ("le", 1)
    if b"\0\0\0" in (head[:3], head[1:4]):
        return f"utf-32-{order}" if _is_utf_32(head, order) else ""
    uppers = head[upper::2]
    nulls = uppers.count(0)
    is_latin = 4 * nulls > 3 * len(uppers) and 2 * len(uppers) == len(head)
    is_wide = uppers.startswith(b"\0") and (is_latin or (nulls > 1 and not _is_utf_8(head)))
    return f"utf-16-{order}" if is_wide else ""


def _is_utf_32(head: bytes, order: str) -> bool:
    try:
        codecs.getincrementaldecoder(f"utf-32-{order}")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf_8(head: bytes) -> bool:
    """Whether `head` without its NULs is the beginning of a text in UTF-8."""
    rest = head.replace(b"\0", b"")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(rest)
    except UnicodeDecodeError:
        return False
    return rest == rest.translate(None, _CONTROLS)
