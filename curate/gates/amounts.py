"""Amounts in digits with scale words, in the words of each language: `3.2 million`, `2 tỷ 350 triệu`, `elfu 50`.

amounts("giá 2 tỷ 350 triệu", "vi")[-1].values == {"2350000000"}
changed_scale("营收达3.5亿元", "Revenue reached 3.5 billion yuan.", "zh", "en") == ("3.5亿", "3.5 billion")
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from functools import cache, lru_cache
from itertools import chain
from typing import NamedTuple

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.number_words import SECOND_SCRIPT
from curate.gates.phrases import words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import listed_values


class Amount(NamedTuple):
    """An amount as written, its values as plain numbers (two if a mark may be a point or not), the plain numbers before
    its scale words, and the power of ten of its only scale word; 0 if it has several."""

    text: str
    values: frozenset[str]
    digits: frozenset[str]
    power: int


@lru_cache(maxsize=CACHE_SIZE)
def amounts(folded: str, language: str) -> tuple[Amount, ...]:
    """Return the amounts of a folded text, each by itself, and those that one after another make up a sum
    (`2 tỷ 350 triệu`)."""
    single, sums = list[Amount](), list[Amount]()
    start = end = 0
    parts: Iterable[re.Match[str]] = _part(language).finditer(folded)
    if before := _part_before(language):
        parts = sorted([*parts, *before.finditer(folded)], key=re.Match[str].start)
    for match in parts:
        number, scale = match["number"], match["scale"]
        if len(number) > _MAX_LENGTH or match.start() < end:
            continue
        numbers, power = _readings(number), scale_powers(language)[scale]
        values = frozenset(_plain(one.scaleb(power)) for one in numbers)
        part = Amount(match[0], values, frozenset(map(_plain, numbers)), power)
        if single and power < single[-1].power and _GAP.fullmatch(folded, end, match.start()):
            whole = sums[-1] if sums and sums[-1].text == folded[start:end] else single[-1]
            added = (_plain(Decimal(one) + Decimal(other)) for one in whole.values for other in values)
            sums.append(Amount(folded[start : match.end()], frozenset(added), whole.digits | part.digits, 0))
        else:
            start = match.start()
        single.append(part)
        end = match.end()
    return (*single, *sums)


def scaled_values(folded: str, start: int, end: int, language: str) -> frozenset[str]:
    """Return the values of a number in a folded text with the scale word behind it: `2.5 million`, `3m`."""
    number, near = folded[start:end], folded[start : end + _MAX_SCALE]
    if not near[len(number) :][:2].strip(" \u00a0-")[:1].isalpha() or len(number) > _MAX_LENGTH:
        return frozenset()
    letters = _LETTERS.match(near, len(number))
    power = SHORT_SCALES.get(letters[0], 0) if letters else 0
    short = (_plain(one.scaleb(power)) for one in (_readings(number) if power else ()))
    named = (amount.values for amount in amounts(near, language)[:1] if amount.text.startswith(number))
    return frozenset(short).union(*named)


SHORT_SCALES = {"k": 3, "m": 6, "b": 9, "bn": 9}
_LETTERS, _MAX_SCALE = re.compile(r"[^\W\d_]+"), 16  # letters of a scale word
_NUMBER, _MAX_LENGTH = r"\d+(?:[.,]\d+)*", 20
_GROUPED = re.compile(r"\d{1,3}\.\d{3}")
_GAP = re.compile(r"[\s,]*(?:[^\W\d]{1,3}[\s,]+)?")  # with a word for *and*
# In these scripts, a word may follow another without a space.
NO_SPACES = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"


def _readings(number: str) -> tuple[Decimal, ...]:
    """Return the values of a number in the English and in the continental notation."""
    plain = number.replace(",", ".")
    if plain.count(".") > 1:
        return (Decimal(plain.replace(".", "")),)
    return tuple(map(Decimal, (plain, plain.replace(".", "")) if _GROUPED.fullmatch(plain) else (plain,)))


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


@cache
def _part_before(language: str) -> re.Pattern[str] | None:
    before = scales_before_digits(language)
    return re.compile(rf"(?<!\w)(?P<scale>{alternation(before)}) (?P<number>{_NUMBER})") if before else None


@cache
def _part(language: str) -> re.Pattern[str]:
    ends = rf"(?:(?<=[{NO_SPACES}])|(?<=[^\W\d_]{{5}})|(?![^\W\d_]))"  # long words may have endings
    number = r"\d(?<![\d.,]\d)\d*(?:[.,]\d+)*"  # begins with a digit, so that other characters are skipped quickly
    return re.compile(rf"(?P<number>{number})[ \u00a0-]?(?P<scale>{alternation(scale_powers(language))}){ends}")


@cache
def _scale_words() -> re.Pattern[str]:
    """Return a pattern for the scale words of all languages that follow a number."""
    named = (
        f"(?P<n{zeros}>{alternation(words_of(name), ends=True)})"
        for name, zeros in (("billion", 9), ("million", 6), ("thousand", 3))
    )
    return re.compile(rf"[ \u00a0-]?(?:{'|'.join(named)})")


GAPS = frozenset(" \u00a0-")  # between a number and the scale word behind it


def scale_zeros(after: str) -> int:
    """Return the number of zeros of the scale word at the start of a folded text; 0 if there is none."""
    if not after[1 if after[:1] in GAPS else 0 :][:1].isalpha():
        return 0
    scale = _scale_words().match(after)
    return int((scale.lastgroup or "n0")[1:]) if scale else 0


def changed_scale(before: str, after: str, language: str, to: str) -> tuple[str, str] | None:
    """Return a number with a scale word and the same digits with another scale in the other text, or None.

    Digits that occur twice with a scale word in one text are ignored.
    """
    here = _by_digits(before, language)
    there = _by_digits(after, to) if here else here
    for digits in here:  # in their order, which that of a set is not
        if digits in there and here[digits].power != there[digits].power:
            return here[digits].text, there[digits].text
    return None


def _by_digits(text: str, language: str) -> dict[frozenset[str], Amount]:
    single = [amount for amount in amounts(fold(text), language) if amount.power]
    if len(single) < 2:
        return {amount.digits: amount for amount in single}
    times = Counter(amount.digits for amount in single)
    return {amount.digits: amount for amount in single if times[amount.digits] == 1}


def at_another_scale(before: str, after: str, language: str, to: str) -> frozenset[str]:
    """Return the numbers in amounts whose value the other text has: 31 of `31 million` for 3,100만."""
    here = amounts(fold(before), language)
    there = {value for amount in amounts(fold(after), to) for value in amount.values} if here else set[str]()
    whole = {str(int(_MARK.sub("", number[0]))) for number in _WHOLE.finditer(after)} if here else set[str]()
    kept = (amount.digits for amount in here if not amount.values.isdisjoint(there | whole))
    return frozenset(chain.from_iterable(kept))


_MARK = re.compile(r"[.,]")
_WHOLE = re.compile(  # the second one as in India
    r"(?<![\d.,])(?:\d{1,3}([.,])\d{3}(?:\1\d{3}){0,3}|\d{1,2}(?:,\d\d){1,4},\d{3}|\d{4,15})(?![.,]?\d)"
)


@cache
def scale_powers(language: str) -> dict[str, int]:
    """Return the scale words of the tables and those of the CLDR for a language, with their powers of ten.

    Some of the tables count in some languages only: elsewhere, `billion` may be 10^12, and `2 mil` 2 million.
    """
    listed = listed_values("scale_names") | listed_values("scales")
    tables = {word: int(power) for word, power in listed.items() if language in _ONLY_IN.get(word, (language,))}
    return tables | {word: power for word, (power, _) in _compact_scales(language).items()}


_ONLY_IN = {"billion": ("en",), "trillion": ("en",), "mil": ("es", "pt", "ca", "gl")}


@cache
def scales_before_digits(language: str) -> tuple[str, ...]:
    """Return the scale words that stand before a number, if the language has such: `elfu 50`."""
    return tuple(word for word, (_, is_before) in _compact_scales(language).items() if is_before)


@cache
def _compact_scales(language: str) -> dict[str, tuple[int, bool]]:
    """Return the scale words beside digits, from the Unicode CLDR, with their powers of ten and whether they stand
    before the number: `tỷ` is (9, False), `elfu` (3, True). A single letter is none, nor is the Catalan `km`."""
    from babel import Locale, UnknownLocaleError

    try:
        places = filter(None, (language, SECOND_SCRIPT.get(language)))
        formats = [form for place in places for form in Locale.parse(place).compact_decimal_formats.values()]
    except (UnknownLocaleError, ValueError):
        return {}
    scales = dict[str, tuple[int, bool]]()
    for power, form in (item for plurals in formats for forms in plurals.values() for item in forms.items()):
        scale = _SCALE.fullmatch(fold(_MARKS.sub("", form.pattern.partition(";")[0])))
        if scale and len(word := (scale[1] or scale[3] or "").rstrip(".")) > 1 and word != "km":
            for spelling in (word, f"{word}."):
                scales.setdefault(spelling, (len(power) - len(scale[2]), bool(scale[1])))
    return scales


_MARKS = re.compile("['\u200e\u200f]")  # quotation marks of a pattern, and directions
_SCALE = re.compile(r"([^\W\d]\D*?)?\s?(0+)\s?([^\W\d]\D*)?")
