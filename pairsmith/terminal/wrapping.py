"""Wrapping text to the width of a terminal without breaking what users copy from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

QUOTED = r"""'[^']*'|"[^"]*\""""
"""A part of a command line in quotes, as `shlex` writes them."""

# One of our commands with its options, or a word; after the spaces before it.
_IN_BACKQUOTES = rf"`pairsmith (?:{QUOTED}|[^`'\"])*`"
_BARE = rf"pairsmith [a-z-]+(?:(?: [a-z-]+)*(?: --[^\s=]+(?: (?!-)(?:{QUOTED}|[^\s'\"])+)?)+)?"
_LETTER = re.compile(r"[!-~]+|.")  # of a text without spaces, or a word in Latin letters within it
_PIECE = re.compile(rf"(\s*)((?:{_IN_BACKQUOTES}|{_BARE}|\S)+)")


def line_breaks(line: str, width: int) -> list[int]:
    """Where to break `line`, so that each part takes at most `width` cells of the terminal: between words, or between
    letters of a text without spaces, as Chinese, Thai and others are written. A command, a URL or another word in Latin
    letters stays whole, also within such a text: broken, it would no longer run as copied."""
    cells: Callable[[str], int] = len
    if not line.isascii():
        from rich.cells import cell_len as cells
    breaks, used = [], 0
    for piece in _PIECE.finditer(line):
        gap, word = piece.groups()
        size = cells(word)
        if used + cells(gap) + size <= width:
            used += cells(gap) + size
            continue
        used += cells(gap)
        has_marks = len(word) > size > width  # as Thai has
        is_spaceless = (size > len(word) or has_marks) and "pairsmith " not in word
        for at, part in [(one.start(), one[0]) for one in _LETTER.finditer(word)] if is_spaceless else [(0, word)]:
            size = cells(part)
            if piece.start() + at and used + size > width:
                breaks.append(piece.start(2) + at)
                used = 0
            used += size
    return breaks


def wrapped(text: str, indent: str = "") -> str:
    """`text` with its lines wrapped to the width of the terminal by `line_breaks`, each after `indent`."""
    import shutil

    room = shutil.get_terminal_size().columns - len(indent)
    parts = []
    for line in text.split("\n"):
        breaks = line_breaks(line, room)
        parts += [line[start:end].rstrip() for start, end in pairwise([0, *breaks])]
        parts.append(line[breaks[-1] if breaks else 0 :])
    return "\n".join(indent + part for part in parts)
