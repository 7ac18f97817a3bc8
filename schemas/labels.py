"""Recognises a label as people and models write it: in any case, in quotation marks, with a full stop at the end."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache

_AROUND = (
    " \t\r\n.,;:!?*_`'\"()[]\u201c\u201d\u201e\u201a\u00ab\u00bb\u2039\u203a\u2018\u2019"
    "\u300c\u300d\u300e\u300f\u3001\u3002\u060c\u061f\u06d4\u0964\u0965\uff01\uff1f"  # of Asian scripts
)


def folded_label(text: str) -> str:
    """The part of a label that distinguishes it from others: its words, without case, repeated spaces, and surrounding
    punctuation.

    A label of nothing but punctuation is unchanged.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_AROUND) or folded


def label_in(labels: Iterable[str], text: str) -> str | None:
    """The label that `text` spells, exactly as it is written in the list, or None.

    Spaces, hyphens and underscores between words may differ (`too-late` for `too late`, `tier 1` for `tier_1`, 문제없음
    for 문제 없음), unless nothing else distinguishes two labels. Between two digits they count: `1-2` is not `12`.
    In Turkish and Azerbaijani, I is the capital of a dotless i, but most programs treat it as that of a dotted one;
    both readings are tried.
    """
    known = _known(tuple(labels))
    spellings = _spellings(text)
    exact = next((known[spelling] for spelling in spellings if spelling in known), None)
    return exact or next((known[one] for one in map(_joined, spellings) if one in known), None)


def label_counts(texts: Iterable[str]) -> dict[str, int]:
    """The labels that the texts spell, each with its number of texts; of spellings that differ only in case,
    punctuation or what separates words, the most frequent."""
    known, times, counts = dict[str, str](), Counter(texts), Counter[str]()
    for text in sorted(times, key=lambda text: (-times[text], text)):
        spellings = (*_spellings(text), *map(_joined, _spellings(text)))
        if (label := next((known[one] for one in spellings if one in known), None)) is None:
            known |= dict.fromkeys(spellings, label := text)
        counts[label] += times[text]
    return counts


def distinct_labels(texts: Iterable[str]) -> list[str]:
    """The labels of `label_counts` that a spec can list, sorted."""
    return sorted(filter(is_listable, label_counts(texts)))


LISTABLE, MOST_CHARACTERS = r"^\S(.*\S)?$", 200  # a single line


def is_listable(text: str) -> bool:
    """Whether a spec can list this text as a label."""
    return len(text) <= MOST_CHARACTERS and re.fullmatch(LISTABLE, text) is not None


@lru_cache(maxsize=64)
def _known(labels: tuple[str, ...]) -> dict[str, str]:
    spelt = [(_spellings(label), label) for label in labels]
    joined = defaultdict[str, set[str]](set)
    for spellings, label in spelt:
        for spelling in spellings:
            joined[_joined(spelling)].add(label)
    known = {spelling: label for spelling, (label, *others) in joined.items() if not others}
    return known | {spellings[at]: label for at in (1, 0) for spellings, label in spelt}


def _joined(spelling: str) -> str:
    """A folded label without what separates its words, which no folded label equals. A long text is unchanged."""
    return f" {spelling if len(spelling) > _LONGEST else _SEPARATOR.sub(_kept_separator, spelling)}"


_LONGEST = 100  # characters of a label; joining the words of 10,000 texts would take seconds
# Whitespace, underscores, hyphens and dashes, and the invisible characters that allow or prevent a break.
_SEPARATOR = re.compile(r"[\s_\u00ad\u200b-\u200d\u2010-\u2015\u2060-]+")


def _kept_separator(match: re.Match[str]) -> str:
    """The separator if it is not between two parts of words: letters with their marks, and digits but not two."""
    text, (start, end) = match.string, match.span()
    beside = [unicodedata.category(character)[0] for character in text[start - 1 : start] + text[end : end + 1]]
    return "" if len(beside) == 2 and {"L", "M", "N"}.issuperset(beside) and beside != ["N", "N"] else match[0]


def _spellings(text: str) -> tuple[str, str]:
    """The folded label under the usual case rules and under the Turkish ones. Python lower-cases a dotted capital I to
    an i with a combining dot, which is reduced to i."""
    turkish = text.replace("I", "\u0131").replace("\u0130", "i")
    return folded_label(text).replace("i\u0307", "i"), folded_label(turkish).replace("i\u0307", "i")
