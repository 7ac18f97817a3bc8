"""The words of a text, in any script."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache


def _marks(*blocks: tuple[int, int]) -> str:
    every = (chr(code) for first, last in blocks for code in range(first, last + 1))
    return "".join(char for char in every if unicodedata.category(char) in ("Mn", "Mc"))


# Vowel signs distinguish words in scripts that write them as combining marks. In the scripts of India, which separate
# words by spaces, they belong to words. In Thai, Lao, Burmese and Khmer, which do not, each counts as a word of its
# own, like the letters between them.
SIGNS = _marks((0x0900, 0x0DFF))
_SIGNS_ALONE = _marks((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
# A Chinese or Japanese character counts as a word, since these scripts do not separate words. So does a Korean
# syllable, since spacing in Korean varies between writers.
ALONE = rf"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff{_SIGNS_ALONE}"
_LETTERS = f"[^\\W_{ALONE}]"
WORD = re.compile(f"[{ALONE}]|(?:{_LETTERS}|[{SIGNS}]){_LETTERS}*(?:[{SIGNS}]+{_LETTERS}*)*")
# A letter or digit of a script that separates words by spaces; in other scripts a number directly adjoins letters.
SPACED = rf"[^\W{ALONE}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"

# Most texts are pure ASCII, for which a table of 256 bytes takes half the time of a regular expression: lower-case
# letters and digits for words, digits for numbers, and a space for everything else.
WORDS_OF_ASCII = bytes(ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256))
_NUMBERS_OF_ASCII = bytes(code if chr(code) in "0123456789" else 32 for code in range(256))

_OPTIONAL = r"\u00ad\u2060\ufeff\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670"
# Thai, Lao, Burmese and Khmer use spaces at most between phrases, but a space also separates numbers in their digits.
_UNSPACED_SCRIPTS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED = rf"(?!\d)[{_UNSPACED_SCRIPTS}]"
_SPACES = r"[\s\u200b]"
_VARIANTS = re.compile(
    rf"[^\D0-9]|[{_OPTIONAL}]|({_UNSPACED}){_SPACES}++|(?<!{_SPACES}){_SPACES}++(?={_UNSPACED})"  # no space twice
)
# Most texts have none of the characters of these: two searches for a character take a tenth of the time.
_HAS_VARIANT = re.compile(f"[{_OPTIONAL}{_UNSPACED_SCRIPTS}]").search
_HAS_DIGIT_OF_OTHER_SCRIPT = re.compile(r"[^\D0-9]").search


def plain(text: str) -> str:
    """Normalise variants of writing.

    Folded are case, compatibility characters and digits of other scripts. Removed are soft hyphens, the optional vowel
    signs of Hebrew and Arabic, and spaces in scripts that do not need them.
    """
    return text.casefold() if text.isascii() else _plain(text)


@lru_cache(16)  # callers usually ask for both the words and the numbers of a text
def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _VARIANTS.sub(_canonical, folded) if _HAS_VARIANT(folded) or _HAS_DIGIT_OF_OTHER_SCRIPT(folded) else folded


def _canonical(variant: re.Match[str]) -> str:
    written = variant[0]
    return str(unicodedata.digit(written)) if written.isdecimal() else variant[1] or ""


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation. A text without words is a single word, unchanged."""
    if text.isascii():
        return text.encode().translate(WORDS_OF_ASCII).decode().split() or text.split() or [""]
    written = plain(text)
    return WORD.findall(written) or written.split() or [""]


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in order, with digits of any script as ASCII."""
    return plain(text).encode("ascii", "replace").translate(_NUMBERS_OF_ASCII).decode().split()
