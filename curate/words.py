"""The words of a text, in any script."""

from __future__ import annotations

import re
import unicodedata

# A Chinese or Japanese character counts as a word, since these scripts do not separate words.
ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{ALONE}]|[^\\W_{ALONE}]+")


def plain(text: str) -> str:
    """A text without what is only another way to write it: case, and compatibility characters."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; a text without words is one word, as it stands."""
    return _WORD.findall(plain(text)) or text.split() or [""]
