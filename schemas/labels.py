"""Reading a label as people and models write it: in any case, in quotation marks, with a dot behind it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_AROUND = " \t\r\n.,;:!?*_`'\"()[]\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u300c\u300d\u3002\u061f\uff01\uff1f"


def folded_label(text: str) -> str:
    """What of a label tells it from another: its words, without case, runs of blanks, and what stands around them.

    A label of nothing but such marks stays as it is.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_AROUND) or folded


def label_in(labels: Iterable[str], text: str) -> str | None:
    """The label that `text` spells, or None; exactly as it is written in the list."""
    return {folded_label(label): label for label in labels}.get(folded_label(text))
