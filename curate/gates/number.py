"""The type for a number as it is written in a text."""

from __future__ import annotations

from typing import NamedTuple


class Number(NamedTuple):
    """A number as written, with every plain form it may stand for: `1,200.50` is `1200.5`, `5k` is `5` or `5000`.

    `letters` are the letters attached to its front (`PW` in `PW55120`); empty for a plain number.
    """

    text: str
    forms: frozenset[str]
    letters: str = ""
