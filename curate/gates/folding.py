"""One form of a text, in which gates look for words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# What is written or left out at will: the vowels and the long stroke of Arabic, the dot that a Turkish İ leaves.
_AT_WILL = re.compile("[\u064b-\u0652\u0640]|(?<=i)\u0307")


REMEMBERED = 512  # texts of which a cache of gates keeps what it found


@lru_cache(maxsize=REMEMBERED)  # every gate asks for the same few texts
def fold(text: str) -> str:
    """`text` in one form: compatibility characters, case, apostrophes and vowel marks of Arabic made equal."""
    if text.isascii():
        return text.casefold()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _AT_WILL.sub("", folded.replace("\u2019", "'").replace("\u02bc", "'"))


# Longer than any that a text is told by. Rules begin anew at each of its places, so that one of 20,000 blank lines or
# letters took seconds.
_LONG = re.compile(r"(?<!\W)(\W{24})\W{24,}(\W{24})|(?<!\w)(\w{500})\w+(\w{500})")


def shortened(text: str) -> str:
    """`text` with the beginning and the end alone of every run of 72 signs and more and of every word longer than
    1,000 letters."""
    return _LONG.sub(lambda run: "".join(filter(None, run.groups())), text)


def unaccented(folded: str) -> str:
    """`folded` without the accents of Latin letters: `dias` for `días`."""
    return (
        folded if folded.isascii() or folded[:1] > "\u024f" else _ACCENT.sub("", unicodedata.normalize("NFD", folded))
    )


_ACCENT = re.compile("[\u0300-\u036f]")
