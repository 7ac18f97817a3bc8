"""Texts that begin with yes or no: against the facts, or as an answer to a question that was to be rewritten.

opposite_answer("no, full on monday", "Yes, there is room.") == ("no", "yes")
answered_question("could we come on monday?", "Yes, you can.", "en") == "yes"
"""

from __future__ import annotations

import re

from curate.gates.folding import fold
from curate.gates.limits import begins_like_question
from curate.gates.phrases import says, says_one
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.same_words import ASKS


def answered_question(given: str, text: str, language: str) -> str:
    """Return the yes or no that a text without a question begins with, if its input asks something and says neither;
    or ''. A clause of the input says it at its start or end: `no, full`, `tell them no`."""
    answer = _leading(fold(text))
    if not answer or ASKS.search(text):
        return ""
    asked = fold(given)
    asks = ASKS.search(asked) or begins_like_question(asked) or says(language, "asked", asked)
    asks = asks or says_one(language, "ask_for", asked[:_START])
    clauses = _CLAUSE_END.split(asked)
    return answer[1] if asks and not any(_leading(one) or _ended().search(one) for one in clauses) else ""


_CLAUSE_END = re.compile(r"[^\w\s'\u2019-]+")
_START = 30  # characters in which an input asks for a question


def opposite_answer(facts: str, text: str) -> tuple[str, str] | None:
    """Return the yes or no that the facts begin with and the opposite one that the answer begins with, or None."""
    first, second = (_leading(fold(side)) for side in (facts, text))
    return (first[1], second[1]) if first and second and first[0] != second[0] else None


def _leading(folded: str) -> tuple[str, str] | None:
    begun = _begun().match(folded)
    return (begun.lastgroup or "", begun[0].strip(" ,.!:;\"'")) if begun else None


# A yes or a no at the start, followed by the end of a clause.
_begun = word_pattern(
    r"\W*(?:(?P<yes>{yes_first})|(?P<no>{no_first}))"
    r"(?=\s*(?:[,.;:!)\u2013\u2014\u3001\u3002\uff0c\uff01\u060c\u0964-]|\Z))"
)
_ended = word_pattern(r"(?<!\w)(?:{yes_first|no_first})\s*\Z")
