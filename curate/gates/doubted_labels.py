"""The gate on labels: one of the task's, and one that the words of the text do not contradict. What a text means is for
scorers and reviewers; this detects obvious cases.

doubt_about_label("Worst hotel ever.", "positive", ("positive", "negative"), "en")     # a message with the reason
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile

from curate.gates.folding import fold
from curate.gates.identification import identified
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.phrases import is_listed, says, words_of
from curate.gates.scripts import in_simplified
from curate.gates.words import words
from schemas.records import Pair

_MAX_LABELS = 12  # labels in a message
# A list of labels, the list of words that contradict them, and the list that supports them.
_AGAINST = (
    ("labels_positive", "complains", "praises"),
    ("labels_negative", "praises", "complains"),
    ("labels_low", "alarms", "calms"),
)


def label(pair: Pair, labels: Collection[str], language: str = "en") -> Judgement:
    """The output is one of the task's labels, as the spec writes it.

    A label that contradicts the words of the text is flagged: praise labelled negative, an alarm labelled low, the name
    of another language.
    Not covered: any other wrong label.
    """
    if pair.output in labels:
        text, named, *others = (in_simplified(one, language) for one in (pair.input, pair.output, *labels))
        doubt = doubt_about_label(text, named, others, language)
        return passed(doubt, flag="contrary") if doubt else passed()
    shown = ", ".join(list(labels)[:_MAX_LABELS]) + (", ..." if len(labels) > _MAX_LABELS else "")
    return rejected("label", f"{quote(pair.output)} is not one of the {len(labels)} labels: {shown}")


def doubt_about_label(text: str, label: str, labels: Collection[str], language: str) -> str:
    """Return the reason to doubt a label, or ''. A text with a denial, or with words of both kinds, is not doubted."""
    folded, named = fold(text), _plain(label)
    for of_labels, against, for_it in _AGAINST:
        if not is_listed("any", of_labels, named):
            continue
        speaks = says(language, against, folded)
        before = (
            folded
            if against == "praises"
            else folded[max(0, speaks.start() - _DENIAL_REACH) : speaks.start()]
            if speaks
            else ""
        )
        denied = says(language, "denial", before)
        if speaks and not denied and not says(language, for_it, folded):
            return f"the label is {quote(label)}, and the text says {quote(speaks[0])}"
    return _is_other_language(text, named, labels) or _names_other_label(text, named, labels, language)


_DENIAL_REACH = 12  # characters between a denial and what it refers to
_ROOT_LETTERS = 5  # letters by which a word of a label is recognised
_COMPOUND_LETTERS = 4  # letters after the root from which on an ending is a word of its own


def _names_other_label(text: str, named: str, labels: Collection[str], language: str) -> str:
    """Return the reason to doubt a label of which the text has no word, but those of exactly one other label; or ''."""
    spoken = words(text)
    known = [one for one in labels if (parts := words(_plain(one))) and all(_occurs(word, spoken) for word in parts)]
    if len(known) != 1 or (other := _plain(known[0])) == named:
        return ""
    denials: tuple[str, ...] = ("denial",)
    rest = f" {named} ".replace(f" {other} ", " ", 1)
    if rest != f" {named} ":  # `account deletion` is a kind of `account`, `not allergic` none of `allergic`
        denials = ("denial", "negation", "negated")
        if not any(says(language, name, rest) for name in denials[:2]):
            return ""
    if any(says(language, name, fold(text)) for name in denials):
        return ""
    return f"the label is {quote(named)}, and the text has the words of {quote(known[0])}"


def _occurs(word: str, spoken: Sequence[str]) -> bool:
    """Whether a word of the text has the same root. `Straßenlampe` is not `Straßenschäden`: long endings make them two
    compounds."""
    for other in spoken if len(word) > _ROOT_LETTERS else ():
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(word, other, strict=False)))
        if shared >= _ROOT_LETTERS and min(len(word), len(other)) - shared < _COMPOUND_LETTERS:
            return True
    return False


def _is_other_language(text: str, named: str, labels: Collection[str]) -> str:
    """Return the reason to doubt a label that names another language than the text's, or ''.

    All labels must be languages.
    """
    if not is_listed("any", "labels_languages", named):
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
