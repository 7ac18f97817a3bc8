"""What many outputs of a project's own pairs say although their inputs do not: signatures, contacts, opening hours.

Whoever imports their support replies has not invented the name under them. Only outputs that came with the seeds count,
so that a teacher cannot make a name known by repeating it.

shared_facts(seeds) == ("Un saludo, Vivero Alba", "Vivero Alba", ...)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

from curate.gates.folding import fold
from curate.gates.judgement import Gate, Judgement
from schemas.records import Pair, Seed

_SAMPLE = 600  # seeds that are compared, at equal distances
_MIN_OUTPUTS, _MIN_SHARE = 3, 0.02  # a team of forty may sign


def shared_facts(seeds: Sequence[Seed]) -> tuple[str, ...]:
    """Return the lines, sentences, names, contacts and numbers with their words that at least 3 and 2 % of the distinct
    outputs in `seeds` contain although their inputs do not.

    Of more than 600 seeds a sample is compared.
    Not covered: a name that an earlier model invented in as many of the imported outputs.
    """
    spread = seeds[:: len(seeds) // _SAMPLE + 1]
    sample = {seed.reference: seed for seed in spread if seed.kind in ("pair", "conversation") and seed.reference}
    outputs = Counter[str]()
    for output, seed in sample.items():
        given = fold("\n".join((seed.body, *(turn.content for turn in seed.turns))))
        outputs.update({part for part in _parts(output) if not _is_said(part, given)})
    least = max(_MIN_OUTPUTS, math.ceil(_MIN_SHARE * len(sample)))
    return tuple(sorted(part for part, times in outputs.items() if times >= least))


def beside_shared(gate: Gate, shared: Sequence[str]) -> Gate:
    """Return `gate` as one that treats the `shared` facts that an output contains as part of its input."""
    return partial(_judge_beside_shared, gate, shared) if shared else gate


def _judge_beside_shared(gate: Gate, shared: Sequence[str], pair: Pair) -> Judgement:
    judgement = gate(pair)
    if judgement.keep is not False or not (known := [part for part in shared if part in pair.output]):
        return judgement
    # In front, because a note for the answer is at the end of the input.
    beside = gate(pair.model_copy(update={"input": "\n".join((*known, pair.input))}))
    return beside if beside.keep else judgement


def without_shared_end(gate: Gate, shared: Sequence[str]) -> Gate:
    """Return `gate` as one that flags nothing about the end of a text if its last lines are `shared`."""
    return partial(_judge_without_shared_end, gate, frozenset(shared)) if shared else gate


def _judge_without_shared_end(gate: Gate, shared: frozenset[str], pair: Pair) -> Judgement:
    judgement = gate(pair)
    if not (judgement.keep and judgement.flags):
        return judgement
    lines = pair.output.rstrip().split("\n")
    while lines and (not (line := lines[-1].strip()) or line in shared):
        lines.pop()
    return gate(pair.model_copy(update={"output": "\n".join(lines)})) if lines else judgement


def _is_said(part: str, given: str) -> bool:
    """Whether the folded input says a part, or a word of it that may be a name: a greeting is no signature."""
    words = (word.strip(_MARKS) for word in part.split()[1:] if not word.islower())
    return fold(part) in given or any(len(word) >= _NAME_LETTERS and fold(word) in given for word in words)


def _parts(output: str) -> Iterator[str]:
    """Yield the lines and sentences of an output, and the names, contacts and numbers with their words in them.

    The first of several lines is not among them, because most greet somebody.
    """
    lines = [*filter(None, map(str.strip, output.split("\n")))]
    for number, line in enumerate(lines):
        whole = number > 0 or len(lines) == 1
        yield from [line] if whole else []
        yield from (match[0] for match in _CONTACT.finditer(line))
        for sentence in _SENTENCE_END.split(line):
            yield from [sentence] if whole else []
            tokens = [token.strip(_MARKS) for token in sentence.split()]
            for before, token in pairwise(tokens):
                if len(token) >= _NAME_LETTERS and token[0].isupper():
                    yield token
                if _has_digit(token) and not before.islower():
                    yield f"{before} {token}"
            for at, token in enumerate(tokens):
                if _has_digit(token):
                    yield from (" ".join(tokens[at:end]) for end in (at + 2, at + 3) if end <= len(tokens))
                    yield from [token] if sum(map(str.isdigit, token)) >= _LONG_NUMBER or _PRICE.search(token) else []


def _has_digit(token: str) -> bool:
    return any(map(str.isdigit, token))


_MARKS = " .,;:!?()[]«»\"'\u201c\u201d\u201e|*_"
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u061f])\s+|(?<=[\u3002\uff01\uff1f\uff0c\u3001\u060c\uff1a])|\s[|\u00b7]\s")
_CONTACT = re.compile(
    r"(?<!\S)\S+@\S+\w|(?<![\w.@-])\w[\w-]*(?:\.[\w-]+)*\.[a-z]{2,}(?:/\S*\w)?|[+(]?(?<!\d)\d[\d ()./-]{4,}\d"
    r"|(?<!\d)\d[\d.,:]*[\u3040-\u9fff\uac00-\ud7a3]{1,2}"
)
_PRICE = re.compile(r"[$\u00a3\u00a5\u20ac\u20b9\u20bd]|%")
_NAME_LETTERS, _LONG_NUMBER = 3, 4
