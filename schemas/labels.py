"""Reading a label as people and models write it: in any case, in quotation marks, with a dot behind it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_AROUND = " \t\r\n.,;:!?*_`'\"()[]\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u300c\u300d\u3002\u061f\uff01\uff1f"


def folded_label(text: str) -> str:
    """What of a label tells it from another: its words, without case, runs of blanks, and what stands around them.

    A label of nothing but such marks stays as it is.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_AROUND) or folded


def label_in(labels: Iterable[str], text: str) -> str | None:
    """The label that `text` spells, or None; exactly as it is written in the list. In Turkish and in Azerbaijani I is
    the capital of a dotless i, and most programs take it for that of the other: both are read."""
    known = _known(tuple(labels))
    return next((known[spelling] for spelling in _spellings(text) if spelling in known), None)


def different_labels(texts: Iterable[str]) -> list[str]:
    """The labels that texts spell, sorted; of those that differ in case or punctuation alone, the most frequent."""
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
    """Without case as other languages and as Turkish have it; what Python makes of a dotted capital is an i."""
    turkish = text.replace("I", "\u0131").replace("\u0130", "i")
    return folded_label(text).replace("i\u0307", "i"), folded_label(turkish).replace("i\u0307", "i")
