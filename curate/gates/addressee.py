"""Detects a text that addresses somebody other than its instruction names.

wrong_addressee("to Ms Hale: Rob's ring is ready. Kit", "Dear Rob,\\n\\nIt is ready.\\n\\nKit", "en") == "rob"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import lexicon, says, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import words

_ROOT_LETTERS = 5  # letters by which an inflected name is recognised
_LAST_LINE = re.compile(r"\n[^\S\n]*([^\W\d_][^\n,.!?:]{1,40}?)\W*\Z")


def wrong_addressee(given: str, text: str, language: str, kind: str = "rewrite") -> str:
    """Return the wrong person that a text greets or is signed by, or ''.

    The instruction (`to Ms Hale: ...`) names the addressee. A greeting is wrong if it names somebody whom the
    instruction only mentions. A signature is wrong if it is the addressee's, or in a reply, that of the person who
    wrote the message.
    """
    folded, signed = fold(given), _LAST_LINE.search(text.strip())
    signature = _names(signed[1]) if signed else frozenset[str]()
    if kind == "reply":
        if own := _own_greeting(given, text, language):
            return own
        writers = [_names(name) for name in _writers().findall(given)]
        return (signed or "")[1] if signature and any(signature <= writer for writer in writers) else ""
    if not (to := _to().match(folded)):
        return ""
    addressee, rest = _names(to[1]), _names(folded[to.end() :])
    greeted = _greeted(language).search(fold(text))
    names = _names(greeted[1]) if greeted else frozenset[str]()
    if greeted and names and addressee and names.isdisjoint(addressee) and names <= rest:
        return greeted[1].strip()
    return signed[1] if signed and signature and signature <= addressee and not signature <= rest else ""


def _own_greeting(given: str, text: str, language: str) -> str:
    """Return the name that a reply greets, if its message greets it too and somebody else signed the message; or ''."""
    here, there = (_greeted(language).search(fold(side)) for side in (given, text))
    signed = _SIGNED.search(given)
    if not here or not there or not signed or not given[: here.end(1)].split()[-1][0].isupper():
        return ""
    greeted, same = (_names(greeting[1]) for greeting in (here, there))
    named = " ".join(word for word in words(here[1]) if word[:_ROOT_LETTERS] not in _ignored_words())
    if says(language, "addressees", named):
        return ""
    return there[1].strip() if greeted and greeted == same and _names(signed[1]).isdisjoint(greeted) else ""


_SIGNED = re.compile(r"[\n.!?,][^\S\n]*([A-ZÀ-ÞА-Я][^\n.!?:]{1,40})\W*\Z")


def _names(text: str) -> frozenset[str]:
    """Return the beginnings of the words of a text, without titles and the like."""
    return (
        frozenset(word[:_ROOT_LETTERS] for word in words(fold(text).replace("'s", "")) if len(word) > 2)
        - _ignored_words()
    )


@cache
def _ignored_words() -> frozenset[str]:
    known = *words_of("titles"), *words_of("greet"), *words_of("articles"), *words_of("to_whom"), *words_of("mine")
    return frozenset(word[:_ROOT_LETTERS] for word in known)


# An instruction that begins with its addressee.
_to = word_pattern(r"\W*{to_whom}\s+((?:[^\n:.,;]|(?<=\w[rsf]|ra)\.){2,40})[:,\n]")


@cache
def _greeted(language: str) -> re.Pattern[str]:
    greetings = alternation(lexicon(language).words("greet"))
    return re.compile(rf"\A\W*(?:{greetings}),? ([^\n,!:]{{2,40}})[,!:\n]" if greetings else "(?!)")


# The writer of a message: `it's Daniel`, `this is Ada`.
_writers = word_pattern(r"(?<!\w)(?i:{it_is_i})\s+([A-ZÀ-ÞА-Я][^\W\d_]+)")
