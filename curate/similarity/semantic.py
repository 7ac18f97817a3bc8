"""Flag rows that mean about the same in other words, which near-duplicates do not find. Never a rejection.

A static embedding captures what a text is about, not what it states (`static_embedding`). Rows with different numbers
are therefore left alone, and a reviewer decides about the rest. `neighbours` selects the rows to compare.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator

import numpy as np

from curate.flags.unlikely_labels import unlikely_labels
from curate.gates.words import count_words
from curate.pool import Pool
from curate.rows import StepId, pair_of
from curate.similarity.contamination import HeldOut, with_test_rows
from curate.similarity.neighbours import Vectors, find_near_earlier
from curate.similarity.static_embedding import static_embedding
from curate.steps import NamedStep
from curate.words import numbers_in
from schemas.kinds import KINDS, DuplicateRule
from schemas.records import Reason, Verdict, content_id
from schemas.spec import Spec
from schemas.streamed import batched

SEMANTIC = "pool/semantic@1"
FLAG = "semantic_duplicate"
SEMANTIC_TEST = "pool/semantic_contamination@1"
TEST_FLAG = "semantic_contamination"
_WORDS = 4  # least number of words of a held-out text
_BLOCK = 2048


def semantic_steps(spec: Spec, held_out: HeldOut) -> list[NamedStep]:
    """The semantic steps that a spec asks for, and `curate.unlikely_labels` for tasks with labels, which is on by
    default."""
    duplicates, contamination = spec.curate.duplicates.semantic, spec.curate.contamination.semantic
    return [
        *([] if duplicates is None else [semantic_duplicates(duplicates, KINDS[spec.task.kind].duplicate)]),
        *([] if contamination is None else [semantic_contamination(held_out, contamination)]),
        *([unlikely_labels()] if spec.task.labels and spec.curate.unlikely_labels else []),
    ]


def semantic_duplicates(cosine: float, rule: DuplicateRule) -> NamedStep:
    """Flag an accepted row that means about the same as an earlier one.

    Both sides must have a cosine of at least `cosine`; for tasks where the input alone makes a row (`rule`), the input.
    """
    sides = ("asked",) if rule == "input near" else ("output", "asked")

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        ids, numbers = list[str](), array("q")
        rows = map(pair_of, pool.accepted(verdicts=False))
        with Vectors(len(sides)) as vectors:
            for block in batched(rows, _BLOCK):
                ids += (pair.id for pair in block)
                numbers.extend(hash((_numbers(pair.asked), _numbers(pair.output))) for pair in block)
                vectors.add(*(static_embedding().embed([getattr(pair, side) for pair in block]) for side in sides))
            like = find_near_earlier(vectors, numbers, cosine)
        for number, id_ in enumerate(ids):
            if near := like.get(number):
                sentence = f"{near.cosine:.0%} like pair {ids[near.earlier]} in meaning"
                yield step.verdict(id_, True, float(near.cosine), Reason("alike", sentence), (FLAG,))
            else:
                yield step.verdict(id_, True, None, Reason("unlike"))

    step = NamedStep(StepId(SEMANTIC, content_id("step", [SEMANTIC, cosine, rule])), look)
    return step


def semantic_contamination(held_out: HeldOut, cosine: float) -> NamedStep:
    """Flag an accepted row with a side that means about the same as a held-out text of four words or more.

    Not flagged are rows of the test split, and sides whose numbers differ from those of the held-out text.
    """
    settings = content_id("step", [SEMANTIC_TEST, cosine, sorted(zip(held_out.names, held_out.texts, strict=True))])

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        now = with_test_rows(pool, held_out)
        named = zip(now.names, now.texts, strict=True)
        held = [(name, text) for name, text in named if count_words(text) >= _WORDS]
        known = static_embedding().embed([text for _, text in held])
        rows = map(pair_of, pool.accepted(verdicts=False))
        for block in batched(rows, _BLOCK):
            sides = [[pair.asked for pair in block], [pair.output for pair in block]]
            cosines = [static_embedding().embed(texts) @ known.T for texts in sides]
            for at, pair in enumerate(block):
                matches = (
                    [] if pair.seed_id in held_out.seed_ids else _held_out_matches(cosines, sides, at, held, cosine)
                )
                if matches:
                    similarity, number = max(matches)
                    sentence = f"{similarity:.0%} like {held[number][0]} in meaning"
                    yield step.verdict(pair.id, True, similarity, Reason("alike", sentence), (TEST_FLAG,))
                else:
                    yield step.verdict(pair.id, True, None, Reason("unlike"))

    step = NamedStep(StepId(SEMANTIC_TEST, settings), look)
    return step


def _held_out_matches(
    cosines: list[np.ndarray], sides: list[list[str]], at: int, held_out: list[tuple[str, str]], cosine: float
) -> list[tuple[float, int]]:
    """(cosine, index) of each held-out text that a row is similar to."""
    return [
        (min(1.0, float(side[at, number])), int(number))
        for side, texts in zip(cosines, sides, strict=True)
        for number in np.flatnonzero(side[at] >= cosine)
        if _numbers(texts[at]) == _numbers(held_out[number][1])
    ]


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(numbers_in(text))
