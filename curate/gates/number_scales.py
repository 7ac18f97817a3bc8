"""Detects a number whose digits are kept but whose power of ten changed: 3.5亿 is not 3.5 billion.

changed_scale("营收达3.5亿元", "Revenue reached 3.5 billion yuan.", "zh", "en") == ("3.5亿", "3.5 billion")
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import words_of
from curate.gates.phrases.lists import alternation


def changed_scale(before: str, after: str, language: str, to: str) -> tuple[str, str] | None:
    """Return a number with a scale word and the same digits with another scale in the other text, or None.

    Digits that occur twice with a scale word in one text are ignored.
    """
    here = _scaled_digits(fold(before), language)
    there = _scaled_digits(fold(after), to) if here else here
    for digits in here.keys() & there.keys():
        (scale, before_it), (other, after_it) = here[digits], there[digits]
        if scale != other:
            return before_it, after_it
    return None


def _scaled_digits(folded: str, language: str) -> dict[str, tuple[int, str]]:
    """Map the digits before a scale word to its power of ten and the text. Digits that occur twice are left out."""
    scales, of_digits = scale_powers(language), dict[str, tuple[int, str]]()
    for match in _scaled_number(language).finditer(folded) if scales else ():
        digits = match[1].replace(",", ".")
        of_digits[digits] = (0 if digits in of_digits else scales[match[2]], match[0])
    return {digits: scale for digits, scale in of_digits.items() if scale[0]}


@cache
def _scaled_number(language: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\d.,])(\d+(?:[.,]\d+)?) ?({alternation(scale_powers(language))})")


@cache
def scale_powers(language: str) -> dict[str, int]:
    """Return the scale words of a language with their powers of ten.

    `billion` is left out of every language but English, because in some of them it means 10^12.
    """
    pairs = (word.split("=") for word in words_of("scales"))
    every = {fold(word).replace("_", " "): int(power) for word, power in pairs}
    return every if language == "en" else {word: power for word, power in every.items() if word != "billion"}
