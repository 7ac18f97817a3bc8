"""A number that two texts tell in the same digits and another power of ten: 3.5亿 is no 3.5 billion.

scaled("营收达3.5亿元", "Revenue reached 3.5 billion yuan.", "zh", "en") == ("3.5亿", "3.5 billion")
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import words_of
from curate.gates.phrases.lists import either


def scaled(before: str, after: str, language: str, to: str) -> tuple[str, str] | None:
    """A number before a word of scale and what the other text tells by the same digits, once each, where their scales
    are others; or None."""
    here = _scales(fold(before), language)
    there = _scales(fold(after), to) if here else here
    for digits in here.keys() & there.keys():
        (scale, before_it), (other, after_it) = here[digits], there[digits]
        if scale != other:
            return before_it, after_it
    return None


def _scales(folded: str, language: str) -> dict[str, tuple[int, str]]:
    """The digits before a word of scale, with its power of ten; without those of two scales."""
    scales, of_digits = _powers(language), dict[str, tuple[int, str]]()
    for match in _told(language).finditer(folded) if scales else ():
        digits = match[1].replace(",", ".")
        of_digits[digits] = (0 if digits in of_digits else scales[match[2]], match[0])
    return {digits: scale for digits, scale in of_digits.items() if scale[0]}


@cache
def _told(language: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\d.,])(\d+(?:[.,]\d+)?) ?({either(_powers(language))})")


@cache
def _powers(language: str) -> dict[str, int]:
    """The words of scale of a language with their powers of ten: `long` is who counts a thousand million a milliard."""
    pairs = (word.split("=") for word in words_of("scales"))
    every = {fold(word).replace("_", " "): int(power) for word, power in pairs}
    return every if language == "en" else {word: power for word, power in every.items() if word != "billion"}
