"""What nearly all of a project's own outputs say with the same words: `within 30 days`, and who signs.

An output that says something else there is flagged, because the imported outputs are the only source of such facts.

    usual_values(outputs)     # (("paid back within", "30", "days"), ...)
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial

from curate.gates.folding import fold
from curate.gates.judgement import Gate, Judgement, quote, rejected
from schemas.records import Pair

UsualValues = tuple[tuple[str, str, str], ...]
"""The words before, the value and the words after it."""

_LEAST, _OTHERS = 8, 0.05  # outputs with the usual value; share of those with another, which one may always have
_SIDES = ((3.0, 1.0), (2.0, 2.0), (1.0, 3.0))  # words before and after a number that are compared
_SIGNER_WORDS, _FAR = 4, 12  # words of a line; tokens that may weigh three words
_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]|[\u3040-\u9fff]|[^\W\d_]+")
_WEIGHTS = (("\u0e00", "\u17ff", 0.25), ("\u3040", "\u9fff", 0.5))  # of a letter where spaces separate no words
_START, _END = "^", "$"


def usual_values(outputs: Iterable[tuple[str, str]]) -> UsualValues:
    """Return the values that all but one, or but 5 %, of the outputs that have the words around them have there, and at
    least eight.

    `outputs` come with their inputs, whose own numbers do not count.
    """
    values, total = defaultdict[tuple[str, str], Counter[str]](Counter), Counter[tuple[str, str]]()
    for input, output in outputs:
        folded = fold(input)
        in_input = {*_TOKEN.findall(folded), *folded.split("\n")}
        for frame, inside in _values(output).items():
            values[frame].update(inside - in_input)
            total[frame] += bool(inside - in_input)
    usual = ((frame, *counted.most_common(1)[0]) for frame, counted in values.items() if counted)
    return tuple(
        sorted(
            (before, value, after)
            for (before, after), value, times in usual
            if times >= _LEAST and total[before, after] - times <= max(1, _OTHERS * total[before, after])
        )
    )


def beside_usual(gate: Gate, usual: UsualValues, style: str) -> Gate:
    """Return `gate` as one that also objects to a value other than the usual one, unless the input or style says it."""
    values = {(before, after): value for before, value, after in usual}
    return partial(_judge_beside_usual, gate, values, style) if usual else gate


def _judge_beside_usual(gate: Gate, usual: Mapping[tuple[str, str], str], style: str, pair: Pair) -> Judgement:
    judgement = gate(pair)
    if judgement.keep is False:
        return judgement
    own, given = _values(pair.output), None
    for frame in sorted(own.keys() & usual.keys()):
        if usual[frame] in own[frame]:
            continue
        given = fold(f"{pair.input}\n{style}") if given is None else given
        if new := [value for value in sorted(own[frame]) if value not in given]:
            sentence = f"it says {quote(new[0])} where nearly all imported outputs say {quote(usual[frame])}"
            return rejected("unusual", f"{sentence}, between the same words")
    return judgement


def _values(output: str) -> dict[tuple[str, str], set[str]]:
    """Return the numbers of an output by the words around them, and its short lines by the lines around them."""
    by_frame = defaultdict[tuple[str, str], set[str]](set)
    lines = [line for line in map(str.strip, fold(output).split("\n")) if line]
    for line in lines:
        tokens = [_START, *_TOKEN.findall(line), _END]
        masked = ["#" if token[0].isdecimal() else token for token in tokens]
        for at in (at for at, token in enumerate(masked) if token == "#"):
            behind, ahead = masked[max(0, at - _FAR) : at][::-1], masked[at + 1 : at + 1 + _FAR]
            for before, after in _SIDES:
                frame = " ".join(_nearest(behind, before)[::-1]), " ".join(_nearest(ahead, after))
                by_frame[frame].add(tokens[at])
    for above, line, below in zip(lines, lines[1:], [*lines[2:], _END], strict=False):
        if len(line.split()) <= _SIGNER_WORDS and not any(map(str.isdigit, line)):
            by_frame[f"{above}\n", f"\n{below}"].add(line)
    return by_frame


def _nearest(tokens: list[str], weight: float) -> list[str]:
    """Return the first tokens that together weigh as much as so many words."""
    near = list[str]()
    for token in tokens:
        if weight <= 0:
            break
        near.append(token)
        weight -= next((share for first, last, share in _WEIGHTS if first <= token[0] <= last), 1.0)
    return near
