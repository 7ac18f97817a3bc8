"""Detects copies of a worked example: what a small teacher returns when it does not know what to write."""

from __future__ import annotations

from collections.abc import Sequence

from curate.gates.coverage import roots, share
from curate.gates.words import words
from schemas.records import Generated, Pair

_ITS_OWN = 0.5  # share of an input's content in its output, or in the example's input


def copied_example(pair: Pair, exemplars: Sequence[tuple[str, str]], language: str = "en") -> int | None:
    """Return the number (from 1) of the worked example (input, output) that the pair copies, or None.

    A copy has the example's output for another input or, where the input was generated backward, the example's input
    for another output. Case, spacing and punctuation are ignored. An input that shares half of its content with its own
    output, or with the example's input, may legitimately have the example's text.
    Not covered: a copy in which a word was changed.
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
