"""TOML that others have written: a key of thousands of parts, for which Python's reader needs minutes, is refused."""

from __future__ import annotations

import re
import tomllib
from typing import Any

MOST_PARTS = 32
# A string in one line, a part of a key, a dot, blanks, anything else; each character is in one of them.
_TOKEN = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|[\w-]+|\.|[ \t]+|.", re.DOTALL)


def loads(text: str) -> dict[str, Any]:
    """`tomllib.loads`. Raises TOMLDecodeError for such a key too, and for a number of thousands of digits."""
    if text.count(".") > MOST_PARTS:
        dots, is_part = 0, False
        for match in _TOKEN.finditer(text):
            token = match[0]
            if token == ".":
                dots, is_part = (dots + 1 if is_part else 0), False
                if dots >= MOST_PARTS:
                    line = text.count("\n", 0, match.start()) + 1
                    raise tomllib.TOMLDecodeError(f"a key has more than {MOST_PARTS} parts (at line {line})")
            elif not token.isspace():
                # A part goes on after a dot; behind a blank or any other sign something new begins.
                dots = dots if not is_part and (token[0] in "\"'" or token[0].isalnum() or token[0] in "_-") else 0
                is_part = token[0] in "\"'_-" or token[0].isalnum()
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python reads no such number
        raise tomllib.TOMLDecodeError("a number has too many digits") from None
