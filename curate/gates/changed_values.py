"""Values that a text changed: another time, day or number of a thing; minutes that are another number of the text, a
reversed move between two days, and the other half of the day (also of a translation).

another_value("the kitchen closes at 21:00", "It closes at 22:00.", "en") == ("changed_time", "21:00", "22:00")
mixed_times("leaves 8.15 from bay 12", "It leaves at 8.12 from bay 15.") == ("8.15", "8.12")
reversed_move("14 June becomes 21 June", "It moves from 21 June to 14 June.", "en") == ("14 june", "21 june")
other_half_of_day("doors 7 pm", "Doors open at 7 a.m.") == ("7 pm", "7 a.m")
other_half_of_day("午後2時から", "from 2 am") == ("午後2", "2 am")
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from curate.gates.folding import fold
from curate.gates.number_forms import Number
from curate.gates.number_words import invented_weekday, month_name_dates, words_to_digits
from curate.gates.numbers import NumberMentions, with_ascii_digits
from curate.gates.phrases import says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import stemmer_for

_TIME = re.compile(r"(?<![\d.:,])(\d{1,2})[:h](\d\d)(?![\d:])|(?<![\d.:,])(\d{1,2}) ?[ap][.]?m(?!\w)")
_ASKED = re.compile(r"(?<![^.!?\u061f\uff1f\u3002\n(\[])[^.!?\u061f\uff1f\u3002\n(\[]*+[?\u061f\uff1f]")
_NUMBERED = re.compile(r"([^\W\d_]{3,}) (\d+[a-z]?)(?![\w:%\u00b0]|[.,]\d)")


def another_value(before: str, after: str, language: str) -> tuple[str, str, str] | None:
    """Return a code, the value in the message and the one in the reply, or None.

    This requires that the reply keeps no value of that kind, and that the message has none of those in the reply.
    Values in questions of the message do not count, because the reply need not repeat them.
    """
    given, text = (with_ascii_digits(side) for side in (before, after))
    given, mentions = _ASKED.sub(" ", given), NumberMentions(before, language)
    here, there = ([match[0] for match in _TIME.finditer(side)] for side in (given, text))
    if here and there and not any(_are_mentioned(re.findall(r"\d+", time), mentions) for time in there):
        return "changed_time", here[0], there[0]
    if day := invented_weekday(text, given, language, language, only_in_place_of_another=True):
        return "changed_date", "", day
    days, others = (month_name_dates(side, language) for side in (given, text))
    if days and others and not any(_are_mentioned(date[1:2], mentions) for date in others):
        return "changed_date", days[0][0], others[0][0]
    if slip := _mistyped_number(with_ascii_digits(before), given, text):
        return "changed_number", *slip
    own, now = _numbers_by_word(given, language), _numbers_by_word(text, language)
    counted = {int(digits) for digits in _digits_of(words_to_digits(before, language))}
    for thing in sorted(own.keys() & now.keys()):
        computed = {str(int(n) + sign * by) for n in own[thing] if n.isdecimal() for by in counted for sign in (1, -1)}
        if not any(number in computed | own[thing] or _are_mentioned([number], mentions) for number in now[thing]):
            return "changed_number", f"{thing} {min(own[thing])}", f"{thing} {min(now[thing])}"
    return None


def _mistyped_number(before: str, stated_in: str, after: str) -> tuple[str, str] | None:
    """Return a number that a reply lost and the one it has instead, which differs in one digit or has two digits
    exchanged, in a row if it is short; or None.

    It must have three digits, or five if it is only in a question, whose answer may name another one: `is room 204
    free?` Years, times and the parts of a longer number do not count, nor does a number that a third one leads to, nor
    one digit of a short or round number: the room next to 204 is 205.
    """
    here, there, stated = _digits_of(before), _digits_of(after), _digits_of(stated_in)
    lost, new = sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())
    if max(len(lost), len(new)) > _MAX_CHANGED:
        return None
    named = {int(number) for number in (*here, *there)}
    for digits in lost:
        least = _MIN_STATED if digits in stated else _MIN_ASKED
        if len(digits) < least or _YEAR.fullmatch(digits) or _CLOCK.fullmatch(here[digits]):
            continue
        has_cents = bool(_CENTS.search(here[digits]))
        for other in new:
            change = abs(int(digits) - int(other))
            is_computed = change in named - _ONE_DIGIT or (has_cents and change / 100 in named)
            if _is_slip(digits, other, has_cents=has_cents) and not is_computed:
                return here[digits], there[other]
    return None


def _digits_of(text: str) -> dict[str, str]:
    """Map the digits of each number of a text to the number as written."""
    return {re.sub(r"\D", "", number): number for number in _ONE_NUMBER.findall(text)}


def _is_slip(one: str, other: str, *, has_cents: bool) -> bool:
    if len(one) != len(other) or _YEAR.fullmatch(other):
        return False
    places = [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    first, last = places[0], places[-1]
    if first == last:
        is_round = first < len(one) - 1 and not one[first + 1 :].strip("0")
        return has_cents or (len(one) > _MIN_STATED and not is_round)
    is_near = last - first == 1 or len(one) >= _MIN_ASKED  # 20551 and 20155
    return len(places) == 2 and is_near and one[first] + one[last] == other[last] + other[first]


_ONE_NUMBER = re.compile(r"(?<![\d.,:/+-])\d{1,15}(?:[., \u00a0\u202f]\d{3}){0,3}(?:[.,]\d{1,2})?(?![\d/]|[.,:-]\d)")
_CENTS = re.compile(r"[.,]\d\d?\Z")
_CLOCK = re.compile(r"(?:[01]?\d|2[0-3])\.[0-5]\d")
_YEAR = re.compile(r"(?:19|20)\d\d")
_MIN_STATED, _MIN_ASKED = 3, 5  # digits
_ONE_DIGIT = {*range(10)}
_MAX_CHANGED = 20  # numbers; more are another list


def exchanged_values(before: str, after: str) -> tuple[str, str] | None:
    """Return two numbers that each follow the other's key: 3.4 and 4.3 if `2022: 3.4. 2023: 4.3` has become `2022: 4.3
    and 2023: 3.4`; or None.

    Each clause of the input has a key and its value, and a sentence of the output begins with the two keys and values.
    """
    numbers = _FIGURES.findall(before)
    if len(numbers) < 2 * _PAIR:
        return None
    clauses = (_FIGURES.findall(clause) for clause in _CLAUSE_END.split(before))
    values = dict(clause for clause in clauses if len(clause) == _PAIR and all(numbers.count(n) == 1 for n in clause))
    if len(values) < _PAIR:
        return None
    for sentence in _SENTENCE_END.split(after):
        first, one, second, other = (*_FIGURES.findall(sentence)[: 2 * _PAIR], "", "", "", "")[: 2 * _PAIR]
        if one != other and values.get(first) == other and values.get(second) == one:
            return one, other
    return None


_PAIR = 2  # a key and its value
_FIGURES = re.compile(r"\d+(?:[.,:]\d+)*")
_CLAUSE_END, _SENTENCE_END = (
    re.compile(r"[.,;](?:\s|\Z)|[\n;\u3001\u3002\uff0c\uff1b]"),
    re.compile(r"[.;](?:\s|\Z)|[\n\u3002]"),
)


def _numbers_by_word(folded: str, language: str) -> dict[str, set[str]]:
    """Map each word, by its stem, to the numbers that follow it."""
    numbers, stem = dict[str, set[str]](), stemmer_for(language)
    for word, number in _NUMBERED.findall(folded):
        numbers.setdefault(stem(word), set()).add(number)
    return numbers


def _are_mentioned(numbers: Iterable[str], mentions: NumberMentions) -> bool:
    return all(
        not (plain := number.lstrip("0")) or Number(plain, frozenset((plain,))) in mentions for number in numbers
    )


_TIME_OR_PRICE = re.compile(r"(\d(?<![\d.:,]\d)\d?)[.:](\d\d)(?![\d:]|[.,]\d)")
_MAY_BE_TIME = re.compile(r"\d[.:]\d\d")
_WHOLE = re.compile(r"\d(?<![\d.:,]\d)\d{0,2}(?![\d:]|[.,]\d)")


def mixed_times(before: str, after: str) -> tuple[str, str] | None:
    """Return a time or price of `before` and the one in `after` whose minutes are another number of `before`, or None.

    The original minutes must occur in `after` as a number of their own, that is, the two numbers changed places.
    """
    if not (_MAY_BE_TIME.search(before) and _MAY_BE_TIME.search(after)):
        return None
    here, there = dict(_TIME_OR_PRICE.findall(before)), dict(_TIME_OR_PRICE.findall(after))
    if all(here.get(whole, minutes) == minutes for whole, minutes in there.items()):
        return None
    alone, now = set(_WHOLE.findall(before)), set(_WHOLE.findall(after))
    for whole, minutes in there.items():
        own = here.get(whole)
        moved = own is not None and own != minutes and minutes in alone and own not in alone
        if moved and own in now and minutes not in now:
            mark = _TIME_OR_PRICE.search(after)
            joined = "." if mark is None or ":" not in mark[0] else ":"
            return f"{whole}{joined}{own}", f"{whole}{joined}{minutes}"
    return None


def reversed_move(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return the two days of a move that `after` describes in the opposite direction, or None.

    The note must name two days of which the first becomes the second. A note that says which day was and which will be
    (`now 3 May, was 9 May`) has no such order.
    """
    text, note = fold(after), fold(before)
    if not _becomes(note):
        return None
    days, other = (list(dict.fromkeys(month_name_dates(side, language))) for side in (note, text))
    if len(days) != 2 or [day[1:] for day in other] != [day[1:] for day in days[::-1]]:
        return None
    one, two = (note.index(day[0]) for day in days)
    if one > two or not _becomes(note[one + len(days[0][0]) : two]):
        return None
    first, second = (text.index(day[0]) for day in other)
    turned = first < second and _from().search(text[:first]) and _to().search(text[first + len(other[0][0]) : second])
    return (days[0][0], other[0][0]) if turned else None


_from = word_pattern(r"(?<!\w){moved_from}\s*\Z")
_to = word_pattern(r"(?<!\w){moved_to}\s*\Z")


def _becomes(note: str) -> bool:
    return "->" in note or "\u2192" in note or says("any", "becomes", note) is not None


_HALF = re.compile(r"(?P<hour>\d(?<![\d:.]\d)\d?)(?:[:.]\d\d)? ?(?P<half>[ap])\.?m\b")


def other_half_of_day(before: str, after: str) -> tuple[str, str] | None:
    """Return an hour of `before` and the same hour of `after` in the other half of the day, or None.

    Both texts are folded. An hour that `after` also gives in the right half does not count.
    """
    here = _hours_by_half(before)
    there = _hours_by_half(after) if here else here
    hour = next((hour for hour in here if hour in there and here[hour].keys().isdisjoint(there[hour])), "")
    return (next(iter(here[hour].values())), next(iter(there[hour].values()))) if hour else None


def _hours_by_half(folded: str) -> dict[str, dict[str, str]]:
    hours = dict[str, dict[str, str]]()
    for match in _HALF.finditer(folded) if "m" in folded else ():
        hours.setdefault(match["hour"], {})[match["half"]] = match[0]
    for match in _half_before().finditer(folded) if not folded.isascii() else ():
        hours.setdefault(match["hour"], {})["a" if match["a"] else "p"] = match[0]
    return hours


_half_before = word_pattern(
    r"(?:(?P<a>{hour_before_noon})|(?P<p>{hour_after_noon})) ?(?P<hour>\d{1,2})(?=[:时時点點시])"
)
