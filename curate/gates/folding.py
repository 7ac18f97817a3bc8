"""The normalised form of a text in which gates search for words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from curate.words import ALONE

# Optional marks: the vowel signs and the elongation stroke of Arabic, and the dot that a Turkish İ leaves behind.
_OPTIONAL_MARKS = re.compile("[\u064b-\u0652\u0640]|(?<=i)\u0307")
_FRACTION = re.compile("(\\d)(\\d\u2044\\d)")  # 1\u00bd is 1 1/2

CACHE_SIZE = 512  # number of texts for which a cache of the gates keeps its results
SENTENCE_END = re.compile(r"[.!?;\n\u3002\uff01\uff1f\u0964]+")  # in instructions, whose parts may end with a semicolon


@lru_cache(maxsize=CACHE_SIZE)  # all gates ask for the same few texts
def fold(text: str) -> str:
    """Return `text` with compatibility characters, case, apostrophes and Arabic vowel signs normalised."""
    if text.isascii():
        return text.casefold()
    folded = unicodedata.normalize("NFKC", text).casefold()
    if "\u2044" in folded:
        folded = _FRACTION.sub(r"\1 \2", folded).replace("\u2044", "/")
    return _OPTIONAL_MARKS.sub("", folded.replace("\u2019", "'").replace("\u02bc", "'"))


@lru_cache(maxsize=CACHE_SIZE)
def letter_runs(folded: str) -> frozenset[str]:
    """Return the runs of letters in a folded text: `pm` of `3pm`."""
    if folded.isascii():
        return frozenset(folded.encode().translate(_NO_LETTERS).decode().split())
    return frozenset(_LETTERS.findall(folded))


_LETTERS = re.compile(r"[^\W\d_]+")
_NO_LETTERS = bytes(number if chr(number).isalpha() else ord(" ") for number in range(128)) + bytes(128)


# Longer than any run that carries information, such as the closing brackets of nested JSON. Rules restart at every
# position of a run, so one of 20,000 empty lines or letters took seconds.
_MAX_RUN = 1000
_LONG = re.compile(r"(?<!\W)(\W{500})\W+(\W{500})|(?<!\w)(\w{500})\w+(\w{500})")
# In a script without spaces a transcript is one word of thousands of letters, and each of them carries information.
_UNSPACED = re.compile(f"[{ALONE}](?=[{ALONE}])")
_PIECE = _MAX_RUN // 2  # letters of a piece of such a word


def shorten_runs(text: str) -> str:
    """Shorten very long runs, keeping only their beginning and end.

    This applies to runs of more than 1,000 non-word characters and to words of more than 1,000 letters. In a script
    without spaces, such a word is instead split by a space about every 500 letters.
    """
    if len(text) <= _MAX_RUN:
        return text
    return _LONG.sub(lambda run: _LONG.sub(_ends, _in_pieces(run[0])), text)


def _in_pieces(run: str) -> str:
    """Return a run with a space about every 500 characters, wherever two letters of a script without spaces meet."""
    pieces, start = list[str](), 0
    while pair := _UNSPACED.search(run, start + _PIECE - 1):
        pieces.append(run[start : pair.end()])
        start = pair.end()
    return " ".join((*pieces, run[start:]))


def _ends(run: re.Match[str]) -> str:
    return "".join(filter(None, run.groups()))


def unaccented(folded: str) -> str:
    """Return `folded` without the accents of Latin and Greek letters: `dias` for `días`, `μπαλτασ` for `μπαλτάσ`."""
    if folded.isascii():
        return folded
    return unicodedata.normalize("NFC", _ACCENTED.sub(r"\1", unicodedata.normalize("NFD", folded)))


_ACCENTED = re.compile("([a-z\u03b1-\u03c9])[\u0300-\u036f]+")
