"""The words of a text, in any script."""

from __future__ import annotations

import re
import unicodedata

# A Chinese or Japanese character counts as a word, since these scripts do not separate words, and so does a Korean
# syllable, since where Korean puts blanks is half a matter of taste.
ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(f"[{ALONE}]|[^\\W_{ALONE}]+")

_NUMBER = re.compile(r"[0-9]+")
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
    if text.isascii():
        return text.casefold()
    return _OTHERWISE.sub(_usual, unicodedata.normalize("NFKC", text).casefold())


def _usual(otherwise: re.Match[str]) -> str:
    written = otherwise[0]
    return str(unicodedata.digit(written)) if written.isdecimal() else otherwise[1] or ""


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; a text without words is one word, as it stands."""
    written = plain(text)
    return _WORD.findall(written) or written.split() or [""]


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in order, whichever digits it has."""
    return _NUMBER.findall(plain(text))
