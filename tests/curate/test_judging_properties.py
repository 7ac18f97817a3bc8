"""Properties for any steps in any order: no row is lost, judging is idempotent, a crash affects only its row, and a row
that could not be judged is neither accepted nor rejected for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.curation import curate
from curate.pool import Pool
from curate.scorers import Score
from curate.steps import NamedStep, best, duplicates, each, named, scored
from schemas.records import Imported, Pair, Reason

WORDS = ("odd", "bad", "flag", "nan", "fine", "calm")
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
TEXTS = st.lists(TEXT, min_size=1, max_size=7).map(lambda texts: [*texts, texts[0]])
INPUTS = st.lists(TEXTS, min_size=1, max_size=4)


def pool_of(inputs: Sequence[Sequence[str]]) -> Pool:
    """A pool in which equal texts are duplicates: they differ in full stops only."""
    return Pool.of(
        Pair(seed_id=f"s{n}", input=f"input {n}", output=f"{text}{'.' * m}", system="", origin=Imported(source="t"))
        for n, texts in enumerate(inputs)
        for m, text in enumerate(texts)
    )


async def judge(pairs: Sequence[Pair]) -> list[Score]:
    """A batch scorer like the judge's: it crashes on a batch with an "odd" row, gives some rows no score, rejects "bad"
    ones and flags others."""
    if any("odd" in pair.output for pair in pairs):
        raise RuntimeError("odd")
    return [_judged(pair.output) for pair in pairs]


def _judged(output: str) -> Score:
    if "nan" in output:
        return Score(None, Reason("unreadable", "it said hm"))
    flags = ("calm",) if "flag" in output else ()
    return Score(len(output) / 10, Reason("judged"), flags, rejects="bad" in output)


def steps() -> dict[str, NamedStep]:
    return {
        "gate": each(named(lambda pair: None if "calm" in pair.output else "fine" not in pair.output, "gate/g@1")),
        "judge": scored(judge, "judge/j@1", "j", compares=False),
        "score": scored(judge, "score/j@1", "s"),
        "best": best(2),
        "controlled": best(1, length_control=True),
        "duplicates": duplicates(0.7),
    }


ORDERS = st.lists(st.sampled_from(sorted(steps())), unique=True, max_size=6)


def state(pool: Pool) -> list[tuple[bool | None, str | None, float | None, tuple[str, ...]]]:
    return [(row.keep, str(row.reason) if row.reason else None, row.score, row.flags) for row in pool.rows()]


@pytest.mark.slow
@given(INPUTS, ORDERS)
@settings(max_examples=60)
def test_any_steps_in_any_order_lose_no_row(inputs: list[list[str]], order: list[str]) -> None:
    """Accepted, rejected and waiting rows add up to all rows, and each row that is not accepted has a reason. A row is
    rejected exactly if a step rejects it, as are all duplicates and outranked rows."""
    named_steps = steps()
    pool = asyncio.run(curate(pool_of(inputs), [named_steps[name] for name in order]))
    counts = pool.counts
    assert counts.adds_up
    assert counts.rows_in == sum(map(len, inputs))
    assert sum(pool.reasons.values()) == counts.rows_in - counts.accepted
    for row in pool.rows():
        assert row.keep or row.reason is not None
        assert (row.keep is False) == (False in {verdict.keep for verdict in row.verdicts})
        codes = {verdict.reason.code for verdict in row.verdicts}
        assert row.keep is False or codes.isdisjoint({"duplicate", "outranked"})


@pytest.mark.slow
@given(INPUTS, ORDERS)
@settings(max_examples=40)
def test_judging_is_idempotent(inputs: list[list[str]], order: list[str]) -> None:
    """Running the same steps again on the judged pool changes nothing."""
    named_steps = steps()
    asked = [named_steps[name] for name in order]
    once = asyncio.run(curate(pool_of(inputs), asked))
    twice = asyncio.run(curate(once, asked))
    assert state(twice) == state(once)


@given(INPUTS, st.sampled_from(["judge", "score"]))
@settings(max_examples=40)
def test_crash_affects_only_its_row(inputs: list[list[str]], name: str) -> None:
    """A scorer that crashes on a batch is called row by row: only the odd rows wait, the others have their scores."""
    pool = asyncio.run(curate(pool_of(inputs), [steps()[name]]))
    for row in pool.rows():
        assert row.pair is not None
        text = row.pair.output
        if "odd" in text:
            assert (row.keep, row.reason and row.reason.code) == (None, "crashed")
        else:
            expected = _judged(text)
            assert row.keep is (None if expected.value is None else not expected.rejects)
            assert row.flags == expected.flags
            assert row.score == (expected.value if name == "score" else None)


@pytest.mark.slow
@given(INPUTS, ORDERS)
@settings(max_examples=60)
def test_unreadable_row_is_neither_accepted_nor_rejected_by_the_judge(
    inputs: list[list[str]], order: list[str]
) -> None:
    """Another step may still reject it."""
    named_steps = steps()
    pool = asyncio.run(curate(pool_of(inputs), [named_steps[name] for name in order]))
    asked = {"judge", "score"} & set(order)
    for row in pool.rows():
        assert row.pair is not None
        verdicts = {verdict.by: verdict for verdict in row.verdicts}
        undecided = [v for v in verdicts.values() if v.by in ("judge/j@1", "score/j@1") and v.keep is None]
        if undecided:
            assert row.keep is not True
            assert row.step not in ("judge/j@1", "score/j@1") or row.keep is None
        if asked and row.keep is True:
            assert all(f"{name}/j@1" in verdicts for name in asked)
