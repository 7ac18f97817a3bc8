"""Recognises a label as people and models write it: in any case, in quotation marks, with a full stop at the end."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_AROUND = " \t\r\n.,;:!?*_`'\"()[]\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u300c\u300d\u3002\u061f\uff01\uff1f"


def folded_label(text: str) -> str:
    """The part of a label that distinguishes it from others: its words, without case, repeated spaces, and surrounding
    punctuation.

    A label of nothing but punctuation is unchanged.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_AROUND) or folded


def label_in(labels: Iterable[str], text: str) -> str | None:
    """The label that `text` spells, exactly as it is written in the list, or None.

    In Turkish and Azerbaijani, I is the capital of a dotless i, but most programs treat it as that of a dotted one;
    both readings are tried.
    """
    known = _known(tuple(labels))
    return next((known[spelling] for spelling in _spellings(text) if spelling in known), None)


def distinct_labels(texts: Iterable[str]) -> list[str]:
    """The labels that the texts spell, sorted; of spellings that differ only in case or punctuation, the most
    frequent."""
    known, times = dict[str, str](), Counter(texts)
    for text in sorted(times, key=lambda text: (-times[text], text)):
        spellings = _spellings(text)
        if not any(spelling in known for spelling in spellings):
            known |= dict.fromkeys(spellings, text)
    return sorted(set(known.values()))


@lru_cache(maxsize=64)
def _known(labels: tuple[str, ...]) -> dict[str, str]:
    spelt = [(_spellings(label), label) for label in labels]
    return {spellings[at]: label for at in (1, 0) for spellings, label in spelt}


def _spellings(text: str) -> tuple[str, str]:
    """The folded label under the usual case rules and under the Turkish ones. Python lower-cases a dotted capital I to
    an i with a combining dot, which is reduced to i."""
    turkish = text.replace("I", "\u0131").replace("\u0130", "i")
    return folded_label(text).replace("i\u0307", "i"), folded_label(turkish).replace("i\u0307", "i")
