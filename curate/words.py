"""The words of a text, in any script."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache


def _marks(*blocks: tuple[int, int]) -> str:
    every = (chr(code) for first, last in blocks for code in range(first, last + 1))
    return "".join(char for char in every if unicodedata.category(char) in ("Mn", "Mc"))


# Signs of vowels tell words apart where a script writes them as marks: in those of India, which part words by blanks,
# and in Thai, Lao, Burmese and Khmer, which do not; there each is a word, like the letters that it parts.
SIGNS = _marks((0x0900, 0x0DFF))
_SIGNS_ALONE = _marks((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
# A Chinese or Japanese character counts as a word, since these scripts do not separate words, and so does a Korean
# syllable, since where Korean puts blanks is half a matter of taste.
ALONE = rf"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff{_SIGNS_ALONE}"
_LETTERS = f"[^\\W_{ALONE}]"
_WORD = re.compile(f"[{ALONE}]|(?:{_LETTERS}|[{SIGNS}]){_LETTERS}*(?:[{SIGNS}]+{_LETTERS}*)*")
# A letter or digit of a script that parts words by blanks: in another one a number stands right beside letters.
SPACED = rf"[^\W{ALONE}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"

# Most texts are ASCII throughout, and a table of 256 bytes reads them in half of an expression's time: of a word its
# small letters and digits, of a number its digits, and blanks for all the rest.
_WORDS_OF_ASCII = bytes(ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256))
_NUMBERS_OF_ASCII = bytes(code if chr(code) in "0123456789" else 32 for code in range(256))

_OPTIONAL = r"\u00ad\u2060\ufeff\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670"
# Thai, Lao, Burmese and Khmer: a blank parts phrases, if any; but it parts numbers in their digits.
_UNSPACED = r"(?!\d)[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
_BLANKS = r"[\s\u200b]"
_OTHERWISE = re.compile(
    rf"[^\D0-9]|[{_OPTIONAL}]|({_UNSPACED}){_BLANKS}++|(?<!{_BLANKS}){_BLANKS}++(?={_UNSPACED})"  # no blank twice
)


def plain(text: str) -> str:
    """A text without what is only another way to write it: case, compatibility characters, the digits of a script of
    its own, soft hyphens, vowel signs that Hebrew and Arabic may leave out, and blanks where a script needs none."""
    return text.casefold() if text.isascii() else _plain(text)


@lru_cache(16)  # what asks for the words of a text asks for its numbers, too
def _plain(text: str) -> str:
    return _OTHERWISE.sub(_usual, unicodedata.normalize("NFKC", text).casefold())


def _usual(otherwise: re.Match[str]) -> str:
    written = otherwise[0]
    return str(unicodedata.digit(written)) if written.isdecimal() else otherwise[1] or ""


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; a text without words is one word, as it stands."""
    if text.isascii():
        return text.encode().translate(_WORDS_OF_ASCII).decode().split() or text.split() or [""]
    written = plain(text)
    return _WORD.findall(written) or written.split() or [""]


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in order, whichever digits it has."""
    return plain(text).encode("ascii", "replace").translate(_NUMBERS_OF_ASCII).decode().split()
