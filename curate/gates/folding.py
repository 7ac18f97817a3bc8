"""One form of a text, in which gates look for words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from curate.words import ALONE

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


@lru_cache(maxsize=REMEMBERED)
def letter_runs(folded: str) -> tuple[str, ...]:
    """What of a folded text is letters alone, in order: of `3pm` the `pm`."""
    if folded.isascii():
        return tuple(folded.encode().translate(_NO_LETTERS).decode().split())
    return tuple(_LETTERS.findall(folded))


_LETTERS = re.compile(r"[^\W\d_]+")
_NO_LETTERS = bytes(number if chr(number).isalpha() else ord(" ") for number in range(128)) + bytes(128)


# Longer than any that a text is told by, such as the closing brackets of nested JSON. Rules begin anew at each of its
# places, so that one of 20,000 blank lines or letters took seconds.
_LONG = re.compile(r"(?<!\W)(\W{500})\W+(\W{500})|(?<!\w)(\w{500})\w+(\w{500})")
# A transcript in a script without blanks is one word of thousands of letters, each of which tells something.
_WITHOUT_BLANKS = re.compile(rf"(\w{{499}}[{ALONE}])(?=[{ALONE}])")


def shortened(text: str) -> str:
    """`text` with the beginning and the end alone of every run of more than 1,000 signs and of every word of more than
    1,000 letters; where a script writes no blanks, with one about every 500 letters of such a word."""
    return _LONG.sub(lambda run: _LONG.sub(_ends, _WITHOUT_BLANKS.sub(r"\1 ", run[0])), text)


def _ends(run: re.Match[str]) -> str:
    return "".join(filter(None, run.groups()))


def unaccented(folded: str) -> str:
    """`folded` without the accents of Latin and Greek letters: `dias` for `días`, `μπαλτασ` for `μπαλτάσ`."""
    if folded.isascii():
        return folded
    return unicodedata.normalize("NFC", _ACCENTED.sub(r"\1", unicodedata.normalize("NFD", folded)))


_ACCENTED = re.compile("([a-z\u03b1-\u03c9])[\u0300-\u036f]+")
