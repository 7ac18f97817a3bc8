"""Whom a text speaks to, where its instruction says another.

wrong_addressee("to Ms Hale: Rob's ring is ready. Kit", "Dear Rob,\\n\\nIt is ready.\\n\\nKit", "en") == "rob"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import lexicon, words_of
from curate.gates.phrases.lists import either
from curate.gates.phrases.worded import worded
from curate.gates.words import words

_ROOT = 5  # letters by which a name is known again in another case
_LAST = re.compile(r"\n[^\S\n]*([^\W\d_][^\n,.!?:]{1,40}?)\W*\Z")


def wrong_addressee(given: str, text: str, language: str, kind: str = "rewrite") -> str:
    """Whom a text greets though its instruction (`to Ms Hale: ...`) names another and only tells of them, or who signs
    it though it is to them; in a reply, who signs it though they wrote the message. Or ''."""
    folded, signed = fold(given), _LAST.search(text.strip())
    signature = _names(signed[1]) if signed else frozenset[str]()
    if kind == "reply":
        writers = [_names(name) for name in _writers().findall(given)]
        return (signed or "")[1] if signature and any(signature <= writer for writer in writers) else ""
    if not (to := _to().match(folded)):
        return ""
    whom, rest = _names(to[1]), _names(folded[to.end() :])
    greeted = _greeted(language).search(fold(text))
    names = _names(greeted[1]) if greeted else frozenset[str]()
    if greeted and names and whom and names.isdisjoint(whom) and names <= rest:
        return greeted[1].strip()
    return signed[1] if signed and signature and signature <= whom and not signature <= rest else ""


def _names(text: str) -> frozenset[str]:
    """The beginnings of the words of a text that are no titles."""
    return frozenset(word[:_ROOT] for word in words(fold(text).replace("'s", "")) if len(word) > 2) - _titles()


@cache
def _titles() -> frozenset[str]:
    known = *words_of("titles"), *words_of("greet"), *words_of("articles"), *words_of("to_whom"), *words_of("mine")
    return frozenset(word[:_ROOT] for word in known)


# An instruction that begins with whom the text is for.
_to = worded(r"\W*{to_whom}\s+((?:[^\n:.,;]|(?<=\w[rsf]|ra)\.){2,40})[:,\n]")


@cache
def _greeted(language: str) -> re.Pattern[str]:
    greetings = either(lexicon(language).words("greet"))
    return re.compile(rf"\A\W*(?:{greetings}),? ([^\n,!:]{{2,40}})[,!:\n]" if greetings else "(?!)")


# Who says of a message that it is theirs: `it's Daniel`, `this is Ada`.
_writers = worded(r"(?<!\w)(?i:{it_is_i})\s+([A-ZÀ-ÞА-Я][^\W\d_]+)")
