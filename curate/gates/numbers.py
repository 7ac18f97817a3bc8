"""Numbers in a text, in digits or in words, so that `three`, `3` and `a trio` are the same number.

The number words of a language are in curate/gates/phrases.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache, cached_property, lru_cache
from itertools import takewhile
from math import inf, nextafter

from curate.gates.amounts import GAPS, SHORT_SCALES, amounts, scale_zeros
from curate.gates.calendars import other_calendars
from curate.gates.folding import CACHE_SIZE, fold, letter_runs
from curate.gates.number_forms import (
    Number,
    are_computable,
    clock_forms,
    ends_in_group,
    forms_of_fractions,
    fraction_forms,
    is_rounded,
    only_digits,
    rounding_ranges,
    with_decimal_fractions,
    with_fractions_in_order,
    with_spelt_fractions,
    without_mixed_fractions,
)
from curate.gates.number_words import has_number_words, spelt_out_values, values_of_numeral, words_to_digits
from curate.gates.phrases import Lexicon, lexicon, words_of

# Letters that a code or an option may begin with: those of scripts with capitals. In any other script, a letter before
# a digit belongs to a word of the sentence.
_CODE_LETTERS = "a-zµß-öø-ɏͰ-ԯա-և"
_DIGITS = re.compile(r"(?P<number>\d\d*(?:[.,]\d+)*)(?P<tail>[^\W\d_]*)")
_is_code_letter = re.compile(f"[{_CODE_LETTERS}]").match
_LETTERS, _FIGURES, _POINT = re.compile(r"[^\W\d_]+"), re.compile(r"\d+"), re.compile(r"[.,]")
_LIST_NUMBER, _MAY_LIST = re.compile(r"(?m)^\s*\d{1,2}[.)]\s"), re.compile(r"[.)](?<=\d.)\s")


def required_numbers(text: str, language: str = "en") -> list[Number]:
    """Return the numbers that a rewrite of `text` has to keep: all in digits except 0, and words from two up.

    The numbering of a list, `1 1/2`, `one`, `first` and vague words (`a couple`) are not required. In a language whose
    number words are not known, neither is a number that may be spelt out: those below 100, round ones, and days of a
    month such as `24.12`.
    """
    known = lexicon(language)
    folded = without_mixed_fractions(_without_list_numbers(text))
    kept = [
        n
        for n in _in_digits(folded)
        if n.forms != {"0"}
        and (known.ones or n.letters or n.forms != {"1"})
        and (has_number_words(language) or not may_be_spelt_out(n))
    ]
    return kept + [n for n in _in_words(folded, language) if n.forms not in ({"0"}, {"1"})]


def may_be_spelt_out(number: Number) -> bool:
    """Whether a text may spell out `number`: `drei`, `zwei Millionen`, `24. Dezember`."""
    if number.letters:
        return False
    return bool(re.fullmatch(r"\d{1,2}|\d0*|(?:[012]?\d|3[01])\.(?:0?\d|1[0-2])", number.text))


class NumberMentions:
    """All numbers that a text mentions in any form, with a test for whether a number of another text is among them."""

    def __init__(self, text: str, language: str = "en") -> None:
        self._language, written = language, with_ascii_digits(text)
        self._folded = with_decimal_fractions(with_spelt_fractions(written))
        self._digits = _in_digits(self._folded)
        self._in_digits = set(forms_of_fractions(self._folded)).union(*(n.forms for n in self._digits))
        if (joined := join_digit_groups(self._folded)) != self._folded:
            self._in_digits.update(*(n.forms for n in _in_digits(joined)))
        if self._digits:
            self._in_digits.update(*(amount.values for amount in amounts(joined, language)))
        for n in self._digits if written == self._folded else _in_digits(written):
            parts = _FIGURES.findall(n.text)
            self._in_digits.update(_plain(part) for part in parts if len(part) <= 2 or "," in n.text)

    @cached_property
    def _spelt_out(self) -> frozenset[str]:
        """The forms of the numbers in words. Computed only if the digits do not contain a number."""
        hinted = lexicon(self._language).hints
        unspaced = lexicon(self._language).before == ""
        runs = frozenset[str]() if unspaced else letter_runs(self._folded)
        hinting = (w for w in hinted if w in runs or ((unspaced or not w.isalpha()) and w in self._folded))
        hints = (hinted[word] for word in hinting)
        number_words = (n.forms for n in _in_words(self._folded, self._language))
        halves = with_decimal_fractions(words_to_digits(self._folded, self._language))
        halved = (n.forms for n in _in_digits(halves) if n.text.endswith(".5"))
        words = frozenset(spelt_out_values(self._folded, self._language)).union(*number_words, *halved, *hints)
        words = words.union(*other_calendars(self._folded).values())  # also of years and months in words
        return words | clock_forms(words | self._in_digits, self._folded, self._language)

    @cached_property
    def _plain(self) -> set[str]:
        return {form for n in self._digits if not n.letters for form in n.forms}

    @cached_property
    def _joined(self) -> str:
        return re.sub(r"[\W_]+", "", self._folded)

    @cached_property
    def _all_digits(self) -> str:
        return only_digits(self._folded)

    def _has_any_form(self, forms: Iterable[str]) -> bool:
        return not self._in_digits.isdisjoint(forms) or not self._spelt_out.isdisjoint(forms)

    def __contains__(self, number: Number) -> bool:
        """Whether the text mentions a number.

        A number attached to letters is kept as a whole (`PW-55120`) or as a plain number; others by value. A long
        number may be grouped differently.
        """
        if number.letters:
            joined = re.sub(r"[\W_]+", "", number.text)
            return joined in self._joined or not number.forms.isdisjoint(self._plain | self._spelt_out)
        if self._has_any_form(number.forms):
            return True
        parts = _POINT.split(number.text)
        if len(parts) == 2 and all(self._has_any_form((_plain(part),)) for part in parts if part.isdigit()):
            turned = _plain(f"{parts[1]}.{parts[0]}")  # 6.4 is not 4.6, though it has both parts
            return "." not in turned or turned in number.forms or turned not in self._in_digits  # 10.30 is 10:30
        if (time := _FOUR_DIGITS.fullmatch(number.text)) and not any(
            _FOUR_DIGITS.fullmatch(n.text) for n in self._digits
        ):  # 1430 is 14:30
            hour, minute = int(time[1]), _plain(time[2])
            return self._has_any_form((str(hour), str(hour % 12 or 12))) and (
                minute == "0" or self._has_any_form((minute,))
            )
        digits = only_digits(number.text)
        return len(digits) >= 5 and digits in self._all_digits and not ends_in_group(digits, self._folded)

    def has_hours_of(self, number: Number, text: str) -> bool:
        """Whether the text mentions the hours that a number stands for in `text`: a quarter to 10 is 9:45."""
        return self._has_any_form(clock_forms(number.forms, fold(text), self._language) - {"0"})

    def has_rounded(self, number: Number) -> bool:
        """Whether the text has a number in digits that rounds to this one, or to which this one rounds."""
        return self._has_rounded(number.forms)

    @cached_property
    def _has_rounded(self) -> Callable[[frozenset[str]], bool]:
        return cache(self._find_rounded)  # a text may repeat a number

    def _find_rounded(self, forms: frozenset[str]) -> bool:
        for form in filter(are_computable, forms):
            for low, high in rounding_ranges(form):
                first, end = bisect_left(self._by_value, (low,)), bisect_left(self._by_value, (nextafter(high, inf),))
                if any(is_rounded(one, form) or is_rounded(form, one) for _, one in self._by_value[first:end]):
                    return True
        return False

    @cached_property
    def _by_value(self) -> list[tuple[float, str]]:
        return sorted((float(form), form) for form in self._plain if are_computable(form))


@lru_cache(maxsize=CACHE_SIZE)
def number_mentions(text: str, language: str) -> NumberMentions:
    """Return the numbers of a text. They are read once for all gates."""
    return NumberMentions(text, language)


_FOUR_DIGITS, _OTHER = re.compile(r"([01]\d|2[0-3])([0-5]\d)"), re.compile(r"[^\D0-9]")

_ARABIC_SEPARATORS = str.maketrans("\u066b\u066c", ".,")


def with_ascii_digits(text: str) -> str:
    """Return `text` folded, with the digits of every script as 0-9, and Arabic separators as `.` and `,`."""
    folded = fold(text)
    if folded.isascii():
        return folded
    figures = _OTHER.sub(lambda digit: str(unicodedata.digit(digit[0])), folded).translate(_ARABIC_SEPARATORS)
    return with_fractions_in_order(figures)


_POWER = re.compile(r"(?<![^\W\d_])([^\W\d_]{1,3})[\u00b2\u00b3](?!\w)")  # m\u00b2 has no number


def _without_list_numbers(text: str) -> str:
    """Return `with_ascii_digits` without the numbering of a list and the powers of units."""
    folded = with_ascii_digits(_POWER.sub(r"\1", text) if "\u00b2" in text or "\u00b3" in text else text)
    return _LIST_NUMBER.sub(" ", folded) if _MAY_LIST.search(folded) else folded


# The grouping of digits differs by language, and a translation may change it: 1 200, 1'200 and 1.200 are all 1200.
_GROUPED = re.compile("[ \u00a0\u202f\u2009'\u2019](?<=\\d.)(?=\\d{3}(?!\\d))")


def join_digit_groups(text: str) -> str:
    """Return `text` without spaces and apostrophes between the thousands of a number."""
    return _GROUPED.sub("", text)


_SCALES = {"万": 4, "萬": 4, "만": 4, "億": 8, "亿": 8, "억": 8, "千": 3, "천": 3, "百": 2, "백": 2}
# Digits mixed with scales: 3万5千, 1億2500万, 3만 5천, 1万2000円.
_GROUP = r"(?:\d{1,3}(?:,\d{3})+|\d{1,4})(?!\d|[.,]\d)"
_SCALED = rf"{_GROUP}[{''.join(_SCALES)}]+"
_REST = rf"(?: ?{_GROUP}(?=[원명円元块人名])|{_GROUP}(?!\w)|\d{{4}}(?![\d年년]|[.,]\d))"
_MIXED = re.compile(rf"{_SCALED}(?:(?: ?{_SCALED}){{1,6}}{_REST}?|{_REST})")


def _scale_of(tail: str) -> int:
    """Return the number of zeros that the scales at the start of the letters behind a number stand for: 7 for 千万."""
    return sum(_SCALES[scale] for scale in takewhile(_SCALES.__contains__, tail[:3]))


def digit_numbers(text: str) -> tuple[Number, ...]:
    """Return the numbers that `text` writes in digits, without the numbering of a list."""
    return _in_digits(with_decimal_fractions(_without_list_numbers(text)))


def spelt_out_numbers(text: str, language: str) -> tuple[Number, ...]:
    """Return the numbers that `text` spells out, if the table of `language` has number words."""
    return _in_words(with_ascii_digits(text), language)


@lru_cache(maxsize=CACHE_SIZE)
def _in_digits(folded: str) -> tuple[Number, ...]:
    return tuple(_read_digits(folded))


def _read_digits(folded: str) -> Iterator[Number]:
    end, elsewhere = 0, other_calendars(folded)
    if "/" in folded:
        elsewhere = fraction_forms(folded) | elsewhere
    for match in _DIGITS.finditer(folded):
        (number, tail), start = match.groups(), match.start()
        if start < end:
            continue  # a part of a numeral
        while start > end and _is_code_letter(folded[start - 1]):
            start -= 1
        if tail[:1] in _SCALES and start == match.start() and (numeral := _MIXED.match(folded, start)):
            end = numeral.end()
            yield Number(numeral[0], frozenset(map(str, values_of_numeral(numeral[0].replace(",", "")))))
            continue
        head, end = folded[start : match.start()], match.end()
        letters = "" if head in ("x", "v", "f") or head in words_of("before_amounts") else head
        parts = [number] if number.isdecimal() else _POINT.split(number)
        if len(parts) > 2 and not _is_grouped(number, parts):  # a date or a version: every part counts
            years = _years_of(parts[-1], ".".join(parts[:-1]) + ".")
            first = elsewhere.get(match.start(), frozenset()) | {_plain(parts[0])}
            yield Number(parts[0], first, letters)
            yield from (Number(part, frozenset({_plain(part)}), letters) for part in parts[1:-1])
            yield Number(parts[-1], years | {_plain(parts[-1])}, letters)
            continue
        before = ":" if start and folded[start - 1] == ":" else ""
        forms = _forms(number, tail, before, _behind(folded, end))
        if len(number) == _SHORT_YEAR and head == _FISCAL:
            forms |= {f"20{number}", f"19{number}"}
        if len(number) == _SHORT_YEAR and folded[start - 1 : start] in _DATE_MARKS:
            forms |= _years_of(number, folded[max(0, start - _MAX_DAY) : start])
        forms |= elsewhere.get(match.start(), frozenset())
        yield Number(folded[start:end] if letters else number, forms, letters)


_INDIAN = re.compile(r"\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?")  # 12,34,567.50: lakhs and crores
_SHORT_YEAR, _MAX_DAY, _DATE_MARKS = 2, 6, frozenset("/-")  # digits of the year in 3/4/24; letters of a day before it
_FISCAL = "fy"  # FY24 is the fiscal year 2024
_DAY = re.compile(r"(?<!\d)[0-3]?\d([./-])[0-3]?\d\1\Z")


def _years_of(number: str, before: str) -> frozenset[str]:
    """Return the years that the last number of a date may stand for: 24 is 2024 or 1924 after 12.03."""
    is_year = len(number) == _SHORT_YEAR and _DAY.search(before)
    return frozenset((f"19{number}", f"20{number}") if is_year else ())


def _behind(folded: str, end: int) -> str:
    """Return the text behind a number if it may begin with minutes, a scale word or an afternoon word, else ''."""
    gap, then = folded[end : end + 1], folded[end + 1 : end + 2]
    return folded[end : end + 12] if gap == ":" or (gap in GAPS and then.isalpha()) else ""


@lru_cache(maxsize=8 * CACHE_SIZE)  # a number is read in several forms of a text
def _forms(number: str, tail: str, before: str, after: str) -> frozenset[str]:
    """Return the values that a number may have, given the letters attached to it and the text around it."""
    parts = _POINT.split(number)
    forms = set(_values(number, parts))
    for zeros in filter(None, (SHORT_SCALES.get(tail), _scale_of(tail) or scale_zeros(after))):
        if len(parts) <= 2:
            forms.add(_plain(parts[0] + "".join(parts[1:]).ljust(zeros, "0")))
    if tail == "s" and len(number) in (2, 4):
        forms |= {number[-2:], "19" + number[-2:]}
    if len(number) <= 2 or "." in number:
        forms |= _clock(number, tail, after, before)
    return frozenset(forms)


def _clock(number: str, tail: str, after: str, before: str) -> set[str]:
    """Return the hour on the other clock: `2pm` and `2 p.m.` are also 14, `14:00` is also 2 (zero minutes are
    optional)."""
    if before == ":" and number == "00":
        return {"0"}
    if (time := _TIME.fullmatch(number)) and (tail in words_of("afternoon") or _afternoon().match(after)):
        return {_plain(f"{int(time[1]) + 12}.{time[2]}")} if int(time[1]) < 12 else set()
    if time and 13 <= int(time[1]) <= 23:
        return {_plain(f"{int(time[1]) - 12}.{time[2]}")}
    if not number.isdigit() or len(number) > 2:
        return set()
    hour = int(number)
    if 1 <= hour <= 11 and (tail in words_of("afternoon") or _afternoon().match(after)):
        return {str(hour + 12)}
    return {str(hour - 12)} if 13 <= hour <= 23 and re.match(r":\d\d", after) else set()


_TIME = re.compile(r"(\d{1,2})[.](\d\d)")


@cache
def _afternoon() -> re.Pattern[str]:
    return re.compile(rf"(?::\d\d)? ?(?:{'|'.join(r'[.]?'.join(word) for word in sorted(words_of('afternoon')))})")


@cache
def _symbols(language: str) -> dict[str, str]:
    from babel import Locale, UnknownLocaleError

    try:
        return dict(Locale.parse(language).number_symbols["latn"])
    except (UnknownLocaleError, ValueError, KeyError):
        return {}


def thousands_separator(language: str) -> str:
    """Return the thousands separator of a language, a point or a comma (Unicode CLDR)."""
    return "." if _symbols(language).get("decimal") == "," else ","


def groups_by_space(language: str) -> bool:
    """Whether a language separates thousands by a space (Unicode CLDR)."""
    return _symbols(language).get("group", ",").isspace()


def _is_grouped(number: str, parts: list[str]) -> bool:
    return _INDIAN.fullmatch(number) is not None or (all(len(part) == 3 for part in parts[1:-1]) and len(parts[0]) <= 3)


def _values(number: str, parts: list[str]) -> Iterator[str]:
    """Return the plain decimal forms of a number in the English and in the continental notation."""
    if len(parts) == 1:
        yield _plain(number)
        return
    whole, last = "".join(parts[:-1]), parts[-1]
    if len(last) == 3 and len(parts[0]) <= 3:
        yield _plain(whole + last)
    if len(last) != 3 or "." in number:
        yield _plain(f"{whole}.{last}")


def _plain(digits: str) -> str:
    """Remove leading zeros, and zeros after the point. Never converts to a float, which would round."""
    whole, _, fraction = digits.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


@lru_cache(maxsize=CACHE_SIZE)
def _in_words(folded: str, language: str) -> tuple[Number, ...]:
    known = _number_words(language)
    return () if known.isdisjoint(letter_runs(folded)) else tuple(_read_words(folded, lexicon(language), known))


@cache
def _number_words(language: str) -> frozenset[str]:
    known = lexicon(language)
    return frozenset().union(known.ones, known.tens, known.scales)


_ENDS_IN_DIGIT = re.compile(r"\d[ \u00a0-]?\Z")
_LARGEST_SCALED = 1_000_000  # larger than anything that a text multiplies: `hundred hundred hundred ...` is a loop


def _read_words(folded: str, known: Lexicon, listed: Collection[str]) -> Iterator[Number]:
    """Yield the numbers in runs of number words: `twenty-five`, `two hundred and five`, `a dozen`.

    The `million` of `2 million` belongs to the digits. `three quarters` may be 75 (percent) or 45 (minutes) too.
    """
    total = current = 0
    words: list[str] = []
    last_end = 0

    def number(behind: str = "") -> Number:
        value, of_part = total + current, known.hints.get(behind, ())
        parts = of_part if value < 10 and any(part.startswith("0.") for part in of_part) else ()
        forms = (str(value * int(part)) for part in parts if part.isdecimal())
        return Number(" ".join(words), frozenset({str(value), *forms}))

    for match in _LETTERS.finditer(folded):
        word = match[0]
        start, is_scale = match.start(), known.scales.get(word, 0) >= 1000
        if not words and (word not in listed or (is_scale and _ENDS_IN_DIGIT.search(folded, max(0, start - 2), start))):
            last_end = match.end()
            continue
        gap = folded[last_end : match.start()]
        last_end = match.end()
        joined = bool(words) and gap.strip(" -") == ""
        if words and joined and word in known.links and words[-1] in known.scales:
            continue
        ones, tens, scale = known.ones.get(word), known.tens.get(word), known.scales.get(word)
        continues = joined and (
            (scale is not None and 0 < current < _LARGEST_SCALED)
            or (ones is not None and (words[-1] in known.scales or (words[-1] in known.tens and 0 < ones < 10)))
            or (tens is not None and words[-1] in known.scales)
        )
        if words and not continues:
            yield number(word if joined else "")
            total, current, words = 0, 0, []
        if scale is not None:
            current = max(current, 1) * scale
            if scale >= 1000:
                total, current = total + current, 0
        elif ones is not None or tens is not None:
            current += ones if ones is not None else tens or 0
        else:
            continue
        words.append(word)
    if words:
        yield number()
