"""A worked example said again: what a small teacher gives when it does not know what to say."""

from __future__ import annotations

from collections.abc import Sequence

from curate.gates.coverage import roots, share
from curate.gates.words import words
from schemas.records import Generated, Pair

_ITS_OWN = 0.5  # of the content of an input is in its output, or in the example's input: then it may well be its own


def copied(pair: Pair, exemplars: Sequence[tuple[str, str]], language: str = "en") -> int | None:
    """The number, from 1, of the worked example (input, output) whose output this one has for another input, or, where
    the input was generated, whose input it has for another output; None if there is none.

    Case, spacing and punctuation make no difference. An input that shares half of its content with its own output, or
    with the example's input, may have the example's text by right. Not covered: a copy with a word changed.
    """
    generated = isinstance(pair.origin, Generated) and pair.origin.generator == "backward"
    for number, (given, answer) in enumerate(exemplars, 1):
        same_input, same_output = (
            words(one) == words(other) for one, other in zip((pair.input, pair.output), (given, answer), strict=True)
        )
        if same_input == same_output or (same_input and not generated):
            continue
        content = roots(pair.input, language)
        if share(content, roots(pair.output, language)) < _ITS_OWN and (
            same_input or share(content, roots(given, language)) < _ITS_OWN
        ):
            return number
    return None
