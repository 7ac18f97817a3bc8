"""Rows that are about the same in other words, which near-duplicates are blind to: a flag, never a rejection.

A static embedding sees what a text is about and not what it says of it (curate/static_embedding.py), so rows whose
numbers differ are left alone, and a person decides about the rest. Which rows are compared is `curate.neighbours`.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from itertools import islice

import numpy as np

from curate.contamination import HeldOut, with_inputs_of
from curate.gates.words import count_words
from curate.neighbours import Vectors, near_earlier
from curate.pool import Pool
from curate.rows import StepId
from curate.static_embedding import static_embedding
from curate.steps import Named
from curate.unlikely_labels import unlikely_labels
from curate.words import numbers_in
from schemas.kinds import KINDS, DuplicateRule
from schemas.records import Reason, Verdict, content_id
from schemas.spec import Spec

SEMANTIC = "pool/semantic@1"
FLAG = "semantic_duplicate"
SEMANTIC_TEST = "pool/semantic_contamination@1"
TEST_FLAG = "semantic_contamination"
_WORDS = 4  # of a held-out text
_BLOCK = 2048


def semantic_steps(spec: Spec, held_out: HeldOut) -> list[Named]:
    """The steps that a spec asks for; for labels `curate.unlikely_labels`, which is by default."""
    duplicates, contamination = spec.curate.duplicates.semantic, spec.curate.contamination.semantic
    return [
        *([] if duplicates is None else [semantic_duplicates(duplicates, KINDS[spec.task.kind].duplicate)]),
        *([] if contamination is None else [semantic_contamination(held_out, contamination)]),
        *([unlikely_labels()] if spec.task.labels and spec.curate.unlikely_labels else []),
    ]


def semantic_duplicates(cosine: float, rule: DuplicateRule) -> Named:
    """Flags an accepted row that is about the same as one before it: both sides at least so alike, or for tasks where
    the input alone makes a row (`rule`), the input."""
    sides = ("asked",) if rule == "input near" else ("output", "asked")

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        ids, numbers = list[str](), array("q")
        rows = (row.pair for row in pool.accepted(verdicts=False) if row.pair is not None)
        with Vectors(len(sides)) as vectors:
            while block := list(islice(rows, _BLOCK)):
                ids += (pair.id for pair in block)
                numbers.extend(hash((_numbers(pair.asked), _numbers(pair.output))) for pair in block)
                vectors.add(*(static_embedding().embed([getattr(pair, side) for pair in block]) for side in sides))
            like = near_earlier(vectors, numbers, cosine)
        for number, id_ in enumerate(ids):
            if near := like.get(number):
                sentence = f"{near.cosine:.0%} like pair {ids[near.earlier]} in meaning"
                yield step.verdict(id_, True, float(near.cosine), Reason("alike", sentence), (FLAG,))
            else:
                yield step.verdict(id_, True, None, Reason("unlike"))

    step = Named(StepId(SEMANTIC, content_id("step", [SEMANTIC, cosine, rule])), look)
    return step


def semantic_contamination(held_out: HeldOut, cosine: float) -> Named:
    """Flags an accepted row with a side that is about the same as a held-out text of four words or more. Rows of the
    test itself are left alone, and so is a side with other numbers than the text."""
    settings = content_id("step", [SEMANTIC_TEST, cosine, sorted(zip(held_out.names, held_out.texts, strict=True))])

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        now = with_inputs_of(pool, held_out)
        named = zip(now.names, now.texts, strict=True)
        held = [(name, text) for name, text in named if count_words(text) >= _WORDS]
        known = static_embedding().embed([text for _, text in held])
        rows = (row.pair for row in pool.accepted(verdicts=False) if row.pair is not None)
        while block := list(islice(rows, _BLOCK)):
            sides = [[pair.asked for pair in block], [pair.output for pair in block]]
            cosines = [static_embedding().embed(texts) @ known.T for texts in sides]
            for at, pair in enumerate(block):
                alike = [] if pair.seed_id in held_out.seed_ids else _touched(cosines, sides, at, held, cosine)
                if alike:
                    similarity, number = max(alike)
                    sentence = f"{similarity:.0%} like {held[number][0]} in meaning"
                    yield step.verdict(pair.id, True, similarity, Reason("alike", sentence), (TEST_FLAG,))
                else:
                    yield step.verdict(pair.id, True, None, Reason("unlike"))

    step = Named(StepId(SEMANTIC_TEST, settings), look)
    return step


def _touched(
    cosines: list[np.ndarray], sides: list[list[str]], at: int, held: list[tuple[str, str]], cosine: float
) -> list[tuple[float, int]]:
    """How alike a row and each held-out text are that it is like, and the place of the text."""
    return [
        (min(1.0, float(side[at, number])), int(number))
        for side, texts in zip(cosines, sides, strict=True)
        for number in np.flatnonzero(side[at] >= cosine)
        if _numbers(texts[at]) == _numbers(held[number][1])
    ]


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(numbers_in(text))
