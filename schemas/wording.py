"""Helpers for the wording of messages in every layer."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, singular: str, plural: str) -> str:
    """A count with its noun: `1 row`, `1,600 rows`."""
    return f"{number:,} {singular if number == 1 else plural}"


def listed(words: Sequence[str], most: int, between: str = ", ") -> str:
    """The first words, and how many are left out: `a, b and 3 more`, or between semicolons `a; b; and 3 more`."""
    more = f"{between.strip(', ')} and {len(words) - most:,} more" if len(words) > most else ""
    return f"{between.join(words[:most])}{more}"


def percent(share: float) -> str:
    """A share from the settings with all its digits: `90%`, `99.5%`. Rounding a bound would make it another bound."""
    return f"{round(100 * share, 9):.10g}%"


def cut(text: str, most: int) -> str:
    """The text, cut with an ellipsis to at most this many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quote(text: str, most: int = 80) -> str:
    """The text on one line in quotation marks, cut to `most` characters, as evidence in a reason."""
    return f"“{cut(' '.join(text.split()), most)}”"


def capital(sentence: str) -> str:
    """The sentence with a capital first letter."""
    return sentence[:1].upper() + sentence[1:]


def examples(number: int, objective: str) -> str:
    """`44 rows`, or `44 preferences` for a training that compares answers (`train.objective`)."""
    return counted(number, "row", "rows") if objective == "sft" else counted(number, "preference", "preferences")


def apart(before: float, after: float) -> tuple[str, str]:
    """Two measured numbers with two decimals, or with as many as tell them apart, at most five; and one digit of a
    number that these would show as 0."""
    digits = next((most for most in range(2, 6) if f"{before:.{most}f}" != f"{after:.{most}f}"), 2)
    return decimals(before, digits), decimals(after, digits)


def decimals(number: float, digits: int = 2) -> str:
    """A measured number with `digits` decimals, or with one digit if these would show it as 0."""
    return f"{number:.{digits}f}" if not number or round(number, digits) else f"{number:.1g}"
