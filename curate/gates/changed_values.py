"""A value in a reply that replaces the message's own: another time, another day, another number of a thing.

another_value("the kitchen closes at 21:00", "It closes at 22:00.", "en") == ("changed_time", "21:00", "22:00")
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from curate.gates.number import Number
from curate.gates.number_words import invented_weekday, month_name_dates
from curate.gates.numbers import NumberMentions, with_ascii_digits
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
    own, now = _numbers_by_word(given, language), _numbers_by_word(text, language)
    for thing in sorted(own.keys() & now.keys()):
        if not any(_are_mentioned([number], mentions) for number in now[thing]):
            return "changed_number", f"{thing} {min(own[thing])}", f"{thing} {min(now[thing])}"
    return None


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
