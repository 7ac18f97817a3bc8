"""How a sentence counts and begins, in every layer."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str) -> str:
    """A count with its noun: `1 row`, `1,600 rows`."""
    return f"{number:,} {singular if number == 1 else plural}"


def capital(sentence: str) -> str:
    """The same with a capital at its beginning."""
    return sentence[:1].upper() + sentence[1:]
