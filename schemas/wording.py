"""How a sentence counts and begins, in every layer."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str) -> str:
    """A count with its noun: `1 row`, `1,600 rows`."""
    return f"{number:,} {singular if number == 1 else plural}"


def percent(share: float) -> str:
    """A share that was asked for, with all its digits: `90%`, `99.5%`. A bound that is rounded is another bound."""
    return f"{round(100 * share, 9):.10g}%"


def capital(sentence: str) -> str:
    """The same with a capital at its beginning."""
    return sentence[:1].upper() + sentence[1:]
