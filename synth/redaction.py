"""Secrets out of texts that a person, a log or the store sees. Answers are never touched: they are data."""

from __future__ import annotations

import re

# A key this long is no word of anybody's language; a shorter one (`test`, `EMPTY`, `1`) may be.
LONG_KEY_CHARS = 16
_NAMED = r"(?i:\b(?:bearer|authorization|api[ _-]?key|key|token|provided)\b[\"']?\s*(?:[:=]|is\b)?\s*[\"']?)"
_USER_INFO = re.compile(r"(?:(?<=//)[^\s/\"'<>]*|(?<![^\s\"'<>(=,])[^\s/\"'<>:@]+:[^\s/\"'<>@]+)@")


def without_key(text: str, key: str) -> str:
    """`text`, the words of an error, with `***` for the key.

    A key of `LONG_KEY_CHARS` or more goes wherever it stands. A shorter one, such as the dummy keys of local servers,
    goes only as a whole word behind a word that introduces keys ("Bearer test"), because it may be an ordinary word.
    """
    if not key or key not in text:
        return text
    if len(key) >= LONG_KEY_CHARS:
        return text.replace(key, "***")
    return re.sub(rf"({_NAMED}){re.escape(key)}(?![\w-])", r"\1***", text)


def without_user_info(text: str) -> str:
    """`text` with `***@` for the user and password of every URL in it."""
    return _USER_INFO.sub("***@", text)
