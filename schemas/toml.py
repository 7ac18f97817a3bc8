"""Parses TOML from untrusted sources. A key with thousands of parts, which takes Python's parser minutes, is
rejected."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_MAX_KEY_PARTS = 32
# A single-line string, a key part, a dot, spaces, or any other character; every character matches one of them.
_TOKEN = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|[\w-]+|\.|[ \t]+|.", re.DOTALL)


def loads(text: str) -> dict[str, Any]:
    """`tomllib.loads`. Raises TOMLDecodeError also for a key with too many parts and for a number with thousands of
    digits."""
    if text.count(".") > _MAX_KEY_PARTS:
        dots, is_part = 0, False
        for match in _TOKEN.finditer(text):
            token = match[0]
            if token == ".":
                dots, is_part = (dots + 1 if is_part else 0), False
                if dots >= _MAX_KEY_PARTS:
                    line = text.count("\n", 0, match.start()) + 1
                    raise tomllib.TOMLDecodeError(f"a key has more than {_MAX_KEY_PARTS} parts (at line {line})")
            elif not token.isspace():
                # Only a dot continues a key; after a space or any other character something new begins.
                dots = dots if not is_part and (token[0] in "\"'" or token[0].isalnum() or token[0] in "_-") else 0
                is_part = token[0] in "\"'_-" or token[0].isalnum()
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python cannot parse such a number
        raise tomllib.TOMLDecodeError("a number has too many digits") from None
