"""What many outputs of a project's own pairs say although their inputs do not: signatures, contacts, opening hours.

Whoever imports their support replies has not invented the name under them. Only outputs that came with the seeds count,
so that a teacher cannot make a name known by repeating it.

shared_facts(seeds) == ("Mike Stone", "Un saludo,", "Vivero Alba", ...)
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from heapq import nsmallest

from curate.gates.folding import fold
from curate.gates.formatted import without_formatting
from curate.gates.judgement import Gate, Judgement
from curate.gates.number_words import is_day_or_month
from schemas.identity import random_sort_key
from schemas.records import Pair, Seed

_SAMPLE, _CHARACTERS = 600, 2_000_000  # seeds that are compared; characters of their outputs together
_MIN_OUTPUTS, _MIN_SHARE = 3, 0.02  # a team of forty may sign
# Kinds whose outputs may say more than their inputs: a label, a record or a translation has everything from its input.
_KINDS = ("rewrite", "reply", "free")


def shared_facts(seeds: Sequence[Seed], kind: str = "reply", language: str = "en") -> tuple[str, ...]:
    """Return the lines, sentences, names, contacts and numbers between the same words that at least 3 and 2 % of the
    distinct outputs in `seeds` contain although their inputs do not.

    A number is not shared if more than half of the outputs that have its words have another one with them: `5 days`
    beside `3 days` and `7 days`. A weekday or month is not either. Of more than 600 pairs a random sample is compared,
    the same in any order.
    Not covered: a name that an earlier model invented in as many of the imported outputs.
    """
    inputs = imported_outputs(seeds, kind)
    times, at_all = Counter[str](), Counter[str]()
    for output, texts in inputs.items():
        given = fold(texts)
        parts = {part for part in _parts(output, language) if not _is_said(part, given)}
        times.update(parts)
        at_all.update(set(map(_without_numbers, parts)))
    least = max(_MIN_OUTPUTS, math.ceil(_MIN_SHARE * len(inputs)))
    shared = (part for part, count in times.items() if count >= least and 2 * count >= at_all[_without_numbers(part)])
    return tuple(sorted(shared))


def imported_sample(seeds: Sequence[Seed]) -> list[Seed]:
    """Draw at most 600 of the imported pairs at random, the same in any order, whose outputs have at most two million
    characters together."""
    imported = (seed for seed in seeds if seed.kind in ("pair", "conversation") and seed.reference)
    sample, room = list[Seed](), _CHARACTERS
    for seed in nsmallest(_SAMPLE, imported, key=lambda seed: random_sort_key(seed.id)):
        if (size := len(seed.reference or "")) <= room:
            room -= size
            sample.append(seed)
    return sample


def imported_outputs(seeds: Sequence[Seed], kind: str = "reply") -> dict[str, str]:
    """Map the distinct outputs of a sample of the imported pairs, without markup that only formats them, to their
    inputs; none for a kind whose outputs say nothing of their own."""
    inputs = defaultdict[str, list[str]](list)
    for seed in imported_sample(seeds) if kind in _KINDS else ():
        inputs[without_formatting(seed.reference or "")] += [seed.body, *(turn.content for turn in seed.turns)]
    return {output: "\n".join(texts) for output, texts in inputs.items()}


def beside_shared(gate: Gate, shared: Sequence[str], language: str) -> Gate:
    """Return `gate` as one that does not object to the `shared` facts of an output; everything else in the output is
    judged as if they were not there."""
    return partial(_judge_beside_shared, gate, frozenset(shared), language) if shared else gate


def _judge_beside_shared(gate: Gate, shared: frozenset[str], language: str, pair: Pair) -> Judgement:
    judgement = gate(pair)
    if judgement.keep is not False or not judgement.reason.code.startswith(_ADDED):
        return judgement
    own = _without(shared, pair.output, fold(pair.input), language)
    return judgement if own == pair.output else gate(pair.model_copy(update={"output": own}))


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


def _without(shared: frozenset[str], output: str, given: str, language: str) -> str:
    """Return an output without the shared parts that the folded input does not say.

    Its first line loses only details, because it may be the answer, and a shared line right above an own one as well,
    because a closing shows that a name below it signs.
    """
    left, lines = list[str](), list(map(str.strip, output.strip().split("\n")))
    for at, line in reversed(list(enumerate(lines))):
        own = _without_details(shared, line, given, language)
        if at and line in shared and fold(line) not in given and (own != line or not any(left)):
            continue
        sentences = _SENTENCE_END.split(line)
        first, *others = sentences
        others = [one for one in others if one not in shared or fold(one) in given]
        left.append(" ".join(_without_details(shared, one, given, language) for one in (first, *others)))
    return "\n".join(reversed(left))


def _without_details(shared: frozenset[str], sentence: str, given: str, language: str) -> str:
    kept = list(sentence)
    for start, end in _details(sentence, language):
        if (part := sentence[start:end]) in shared and fold(part) not in given:
            kept[start:end] = " " * (end - start)
    return "".join(kept)


def _is_said(part: str, given: str) -> bool:
    """Whether the folded input says a part, or a word of it that may be a name: a greeting is no signature."""
    words = (word.strip(_MARKS) for word in part.split()[1:] if not word.islower())
    return fold(part) in given or any(len(word) >= _NAME_LETTERS and fold(word) in given for word in words)


def _parts(output: str, language: str) -> Iterator[str]:
    """Yield the lines and sentences of an output, and the names, contacts and numbers with their words in them.

    The first of several lines is not among them, nor are its names, because most greet somebody.
    """
    lines = [*filter(None, map(str.strip, output.split("\n")))]
    for number, line in enumerate(lines):
        whole = number > 0 or len(lines) == 1
        yield from [line] if whole else []
        for sentence in _SENTENCE_END.split(line):
            yield from [sentence] if whole else []
            parts = (sentence[start:end] for start, end in _details(sentence, language))
            yield from (part for part in parts if whole or _has_digit(part) or not part[:1].isupper())


def _details(sentence: str, language: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the contacts and names in a sentence, and of its numbers with the words on both sides."""
    yield from (match.span() for match in _CONTACT.finditer(sentence))
    tokens = [match.span() for match in _TOKEN.finditer(sentence)]
    yield from _names(sentence, tokens, language)
    numeric = [_has_digit(sentence[slice(*token)]) for token in tokens]
    for at in (at for at, is_number in enumerate(numeric) if is_number):
        first, last = max(0, at - 1), min(at + 1, len(tokens) - 1)
        if first < last and sum(numeric[first : last + 1]) == 1:  # else it may be a piece of a longer one
            yield tokens[first][0], tokens[last][1]


def _names(sentence: str, tokens: Sequence[tuple[int, int]], language: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the longest runs of capitalised words. Since the first word of a sentence has a capital
    anyway, it is no name alone, and a run of three words or more also counts without it: `Ask Mike Stone`."""
    runs = list[list[tuple[int, int]]]()
    for before, token in zip([(0, 0), *tokens], tokens, strict=False):
        text = sentence[slice(*token)]
        if not text[0].isupper() or _has_digit(text):
            continue
        follows = runs and runs[-1][-1] == before and sentence[before[1] : token[0]] == " "
        runs[-1].append(token) if follows else runs.append([token])
    for run in runs:
        words = [sentence[slice(*token)] for token in run]
        if all(is_day_or_month(fold(word), language) for word in words):
            continue
        is_first = run[0] == tokens[0]
        if len(run) > 1 or (not is_first and len(words[0]) >= _NAME_LETTERS):
            yield run[0][0], run[-1][1]
        if is_first and len(run) > 2:
            yield run[1][0], run[-1][1]


def _without_numbers(part: str) -> str:
    """Return a part with a mark for each number, so that it is equal to those with other numbers. A long number, such
    as that of a telephone, is kept."""
    return part if sum(map(str.isdigit, part)) >= _PHONE_DIGITS else _NUMBER.sub("#", part)


def _has_digit(token: str) -> bool:
    return any(map(str.isdigit, token))


# The reasons that say what an output has and its input does not, and none that says what it lost or turned round.
_ADDED = ("invented", "changed_name", "changed_time", "changed_date", "changed_number", "promise")
_MARKS = " .,;:!?()[]«»\"'\u201c\u201d\u201e|*_"
_TOKEN = re.compile(rf"[^\s{re.escape(_MARKS)}](?:\S*[^\s{re.escape(_MARKS)}])?")
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u061f])\s+|(?<=[\u3002\uff01\uff1f\uff0c\u3001\u060c\uff1a])|\s[|\u00b7]\s")
_CONTACT = re.compile(
    r"(?<!\S)\S+@\S+\w|(?<![\w.@-])\w[\w-]*(?:\.[\w-]+)*\.[a-z]{2,}(?:/\S*\w)?|[+(]?(?<!\d)\d[\d ()./-]{4,}\d"
    r"|(?<!\d)\d[\d.,:]*[\u3040-\u9fff\uac00-\ud7a3]{1,2}"
)
_NUMBER = re.compile(r"\d[\d.,:]*(?<=\d)")
_NAME_LETTERS, _PHONE_DIGITS = 3, 6
