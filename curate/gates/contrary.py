"""A label that the words of a text speak against. What it means is for scorers and people; this sees plain cases.

contrary("Worst hotel ever.", "positive", ("positive", "negative"), "en")     # a sentence that says why
"""

from __future__ import annotations

from collections.abc import Collection

from curate.gates.folding import fold
from curate.gates.judgement import quote
from curate.gates.language import identified
from curate.gates.phrases import is_one_of, says, words_of
from curate.gates.words import words

# A list of labels, the list of words that speak against them, and the one that speaks for them.
_AGAINST = (
    ("labels_positive", "complains", "praises"),
    ("labels_negative", "praises", "complains"),
    ("labels_low", "alarms", "calms"),
)


def contrary(text: str, label: str, labels: Collection[str], language: str) -> str:
    """Why the label is doubted, or ''. A text that denies anything, or says words of both kinds, is left alone."""
    folded, named = fold(text), _plain(label)
    if len(labels) < 2:
        return ""
    for of_labels, against, for_it in _AGAINST:
        if not is_one_of("any", of_labels, named):
            continue
        speaks = says(language, against, folded)
        before = (
            folded
            if against == "praises"
            else folded[max(0, speaks.start() - _NEAR) : speaks.start()]
            if speaks
            else ""
        )
        denied = says(language, "denial", before)
        if speaks and not denied and not says(language, for_it, folded):
            return f"the label is {quote(label)}, and the text says {quote(speaks[0])}"
    return _another_language(text, named, labels) or _another_name(text, named, labels, language)


_NEAR = 12  # characters between a denial and what it denies
_ROOT = 5  # letters of a label's word by which it is known again


def _another_name(text: str, named: str, labels: Collection[str], language: str) -> str:
    """Why a label is doubted of which the text says no word, where it says those of one other alone; or ''."""
    beginnings = {word[:_ROOT] for word in words(text)}
    known = [
        one for one in labels if (parts := words(_plain(one))) and all(_is_told(word, beginnings) for word in parts)
    ]
    denials = ("denial", "negation", "negated") if known and f" {_plain(known[0])} " in f" {named} " else ("denial",)
    if len(known) != 1 or _plain(known[0]) == named or any(says(language, name, fold(text)) for name in denials):
        return ""  # of `allergic` and `not allergic` both are told by one word
    return f"the label is {quote(named)}, and the text says {quote(known[0])}"


def _is_told(word: str, beginnings: set[str]) -> bool:
    return len(word) > _ROOT and word[:_ROOT] in beginnings


def _another_language(text: str, named: str, labels: Collection[str]) -> str:
    """Why a label that names a language is not the one of the text, where all labels name languages; or ''."""
    if not is_one_of("any", "labels_languages", named):
        return ""
    codes = {_plain(one): _code_of(_plain(one)) for one in labels}
    if not all(code or one in words_of("labels_other") for one, code in codes.items()):
        return ""
    spoken = identified(text, [code for code in codes.values() if code])
    return f"the label is {quote(named)}, and the text looks like {spoken}" if spoken and spoken != codes[named] else ""


def _code_of(named: str) -> str:
    codes = dict(pair.split("=") for pair in words_of("languages_named"))
    return named if named in codes.values() else codes.get(named, "")


def _plain(label: str) -> str:
    return fold(label).replace("_", " ").strip()
