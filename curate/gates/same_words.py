"""Outputs that have the words of their input without repeating it: a corrected sentence, a confirmed request.

is_corrected("We was there on friday.", "We were there on Friday.", "en") is True
is_confirmed("Please confirm two meals.", "We confirm two meals.", "en") is True
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import cache

from curate.gates.folding import fold
from curate.gates.frames import sentences
from curate.gates.phrases import lexicon, says, words_of
from curate.gates.words import words

# A question mark, also as in Greek, Armenian, Amharic and Burmese.
ASKS = re.compile("[?\u061f\u055e\u1367\u037e]|(?<=[\u03ac-\u03ce]);|\u101c\u102c\u1038(?=\u104b|\\s*\\Z)")
FULL_STOPS = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f", "\u061f", "\u06d4", "\u0964")
CLOSING = " \"'\u201d\u00bb\u300d)*_"  # what may follow a full stop


def is_corrected(given: str, text: str, language: str) -> bool:
    """Whether a finished sentence, with words that join others, was changed in at most one word in twenty."""
    known = lexicon(language).stop
    if not given.rstrip(CLOSING).endswith(FULL_STOPS) or (known and known.isdisjoint(words(given))):
        return False
    before, after = (list(side) if language in _UNSPACED else side.split() for side in (given, text))
    matcher = SequenceMatcher(None, before, after, autojunk=False)  # takes quadratic time in the length
    return matcher.quick_ratio() < _SAME_TEXT or (len(before) < _MAX_COMPARED and matcher.ratio() < _SAME_TEXT)


_SAME_TEXT = 0.95  # similarity of the words of two texts, in order
_MAX_COMPARED = 2_000  # words from which on their order is not compared
_UNSPACED = ("zh", "ja")


def is_confirmed(given: str, text: str, language: str) -> bool:
    """Whether a text states what its message asks for, rather than asking again.

    The message is a question, has a word such as `please`, or begins with what the text says that `we` do. The text
    does not ask, has no word such as `my` if the message has one, has more than an article of its own,
    and no number of its own or in another order. What a question word asks for cannot be confirmed.
    """
    asked, answer = fold(given), fold(text)
    if ASKS.search(answer) or says(language, "asks", answer):
        return False
    if says(language, "first_person", asked) and says(language, "first_person", answer):
        return False
    before, after = words(given), words(text)
    if set(after) - set(before) <= _articles():
        return False
    numbers = iter([word for word in before if any(map(str.isdigit, word))])
    if not all(word in numbers for word in after if any(map(str.isdigit, word))):
        return False
    if before[:1] == after[:1] and before[1:2] != after[1:2]:  # `Why is it closed?`: `Why it is closed.`
        return False
    each, questions = [words(sentence) for sentence in sentences(asked)], words_of("question_words")
    if not questions.intersection(word for one in each for word in one[:2]) <= {*after}:  # `It is closed.`
        return False
    if not questions.isdisjoint(word for one in each for word in one[2:]):  # `We tell you when it opens.`
        return False
    begins = after[1:2] == before[:1] and after[0] in words_of("answerers")
    return begins or bool(ASKS.search(asked) or says(language, "asks", asked))


@cache
def _articles() -> frozenset[str]:
    return words_of("articles") | words_of("articles_of_one") | words_of("definite_articles")
