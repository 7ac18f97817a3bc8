"""Whether a text gives a result or a ratio from its other side, so that turned figures are right.

names_turned("Ajax beat PSV 2-1", "PSV lost 1-2 to Ajax") is True
names_turned("won 3-1 against Leeds", "Leeds lost 1-3") is True
parts_turned("water and syrup 4:1", "syrup and water 1:4", "en") is True

reversed_result("主队3比2获胜", "主队最终以2比3获胜。", "zh") == ("3比2", "2比3")

Not covered: a result whose names are translated, and one with a single name that is named on neither side as opponent.
"""

from __future__ import annotations

import re
from itertools import pairwise

from curate.gates.folding import fold
from curate.gates.phrases import lexicon, says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import stemmer_for, words

_NAME, _STEM = re.compile(r"[^\W\d_]\w+(?:\.\w+)?"), 4  # letters of a name that its cases share
_SIDES = 2  # of a game


def names_turned(before: str, after: str) -> bool:
    """Whether the first name in `before` that `after` has too is not the first one there.

    If only one name is in both, it must be the opponent of one text and not of the other, or each text has two names
    of which it is the first in one and the second in the other: Köln and Cologne are then the other one.
    """
    names = [[word[:_STEM] for word in _NAME.findall(side) if word[0].isupper()] for side in (before, after)]
    known = set(names[0]).intersection(names[1])
    first, now = (next((word for word in side if word in known), "") for side in names)
    if not first or names[0].count(first) > 1 or names[1].count(first) > 1:
        return first != now and names[0].count(now) == 1
    if first != now:
        return names[0].count(now) == 1
    if len(known) > 1:
        return False
    if len(names[0]) == len(names[1]) == _SIDES and names[0].index(first) != names[1].index(first):
        return True
    opposed = [fold(first) in {name[:_STEM] for name in _opponent().findall(fold(side))} for side in (before, after)]
    return opposed[0] != opposed[1]


_opponent = word_pattern(r"(?<!\w){opposed} (\w+)")


def is_result_turned(before: str, after: str) -> bool:
    """Whether both texts have a result, and its names changed places."""
    return all(map(_RESULT.search, (before, after))) and names_turned(before, after)


_RESULT = re.compile(r"(?<![\d:.-])\d{1,3}[:\u2013-]\d{1,3}(?![\d:-]|\.\d)")


def reversed_result(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return a result with a word between its figures (3比2) and its reversal in another text, or None.

    Both texts must begin with the same name, say that it won, and not who lost, because without capitals a name is no
    more than the first characters. A ratio has no winner.
    """
    here, there = (_result_in_words().findall(side) for side in (before, after))
    if len(here) != 1 or len(there) != 1 or here[0][::2] != there[0][::-2] or here[0][0] == here[0][2]:
        return None
    start, begun = before[:_FIRST], after[:_FIRST]
    if start != begun or not start.isalpha():
        return None
    if not all(says(language, "won_by", side) and not says(language, "lost_to", side) for side in (before, after)):
        return None
    return "".join(here[0]), "".join(there[0])


_FIRST = 2  # characters of a name
_result_in_words = word_pattern(r"(?<![\d.,:])(\d{1,3}) ?({result_marks}) ?(\d{1,3})(?![\d.,:])")


def parts_turned(before: str, after: str, language: str) -> bool:
    """Whether two words of content that are next to each other in `before` are so in `after` in the other order."""
    here, there = (_neighbours(side, language) for side in (before, after))
    return any((b, a) in there and (b, a) not in here and (a, b) not in there for a, b in here)


def _neighbours(text: str, language: str) -> set[tuple[str, str]]:
    stop, stem = lexicon(language).stop | lexicon(language).words("joins"), stemmer_for(language)
    content = [stem(word) for word in words(text) if word[0].isalpha() and word not in stop]
    return set(pairwise(content))
