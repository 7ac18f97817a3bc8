"""Tests of own generator functions that end before they have yielded everything: what they yielded is kept."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curate import best, curate
from schemas.errors import BudgetReached
from schemas.store.shared import reader, shared
from synth import Function, engine, generate
from synth.generation import _seeds

CALLS: Counter[str] = Counter()
# What the generators below do at their first call and at later ones: yield a text, or raise an error. Then the texts
# that are kept after each.
PLANS: dict[str, tuple[list[Any], list[Any], str, str]] = {
    "breaks once": (["one", "two", OSError("reset")], ["one", "two", "three"], "one two", "one three two"),
    "writes anew": (["one", OSError("reset")], ["other", "one", "third"], "one", "one other third"),
    "breaks at its end": (["one", "two", OSError("reset")], ["one", "two"], "one two", "one two"),
    "writes twice": (["one", "one", ValueError("odd")], ["one", "one", "one"], "one one", "one one one"),
    "has a gap": ([3, "one", 3, "two"], ["two"], "one two", "one two"),
}
ENDED: dict[str, tuple[list[Any], list[Any], str, str]] = {
    "is capped": (["one", BudgetReached("the cap is reached.")], ["one", "two"], "one", "one two"),
    "is stopped": (["one", KeyboardInterrupt()], ["one", "two"], "one", "one two"),
}


def one_after_another(text: str) -> Iterator[str]:
    CALLS[text] += 1
    for step in {**PLANS, **ENDED}[text][CALLS[text] > 1]:
        if isinstance(step, BaseException):
            raise step
        yield step


async def asynchronously(text: str) -> AsyncIterator[str]:
    for step in one_after_another(text):
        await asyncio.sleep(0)
        yield step


class Lazy:
    """Read by iteration, like a stream of a library."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __iter__(self) -> Iterator[str]:
        return one_after_another(self.text)


async def returned(text: str) -> Lazy:
    return Lazy(text)


def outputs_of(pairs: Any) -> dict[str, str]:
    store = reader()
    texts = {pair.id: pair for pair in store.pairs()}
    each: dict[str, list[str]] = {}
    for candidate in pairs.candidates(store):
        if candidate.pair_id:
            each.setdefault(texts[candidate.pair_id].input, []).append(texts[candidate.pair_id].output)
    return {text: " ".join(sorted(outputs)) for text, outputs in each.items()}


@pytest.mark.slow
@pytest.mark.parametrize("function", [one_after_another, asynchronously, Lazy, returned])
def test_what_was_yielded_before_an_error_is_kept(
    function: Callable[[str], Any], tmp_path: Path, monkeypatch: Any
) -> None:
    """Each output may have been paid for. The error is a failed row, the next call of `generate` asks for the seed
    again and adds what is new, and the one after that calls nothing. All rows are counted each time."""
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    own = Function(function, named="own")
    pairs = generate(list(PLANS), own, progress=False)
    assert outputs_of(pairs) == {text: kept for text, (*_, kept, _) in PLANS.items()}
    assert (pairs.counts.waiting, pairs.counts.failed, dict(pairs.reasons)) == (9, 6, {"crashed": 4, "malformed": 2})
    assert curate(pairs, [best(9)], progress=False).counts.failed == 6
    for new in (3, 0):
        pairs = generate(list(PLANS), own, progress=False)
        assert outputs_of(pairs) == {text: kept for text, (*_, kept) in PLANS.items()}
        assert (pairs.counts.rows_in, pairs.counts.failed, pairs.pairs_made) == (13, 0, new)
        assert set(CALLS.values()) == {2}
    assert curate(pairs, [best(9)], progress=False).counts.failed == 0
    for text, (first, *_) in ENDED.items():
        with pytest.raises(type(first[-1])):
            generate([text], own, progress=False)
        assert [pair.output for pair in reader().pairs() if pair.input == text] == ["one"]
        assert outputs_of(generate([text], own, progress=False)) == {text: "one two"}


WAITS, CANCELLED = threading.Event(), threading.Event()


def slowly(text: str) -> Iterator[str]:
    yield f"{text} one"
    WAITS.set()
    CANCELLED.wait()
    yield f"{text} two"
    CALLS["went on"] += 1
    yield f"{text} three"


def test_a_run_that_is_cancelled_keeps_what_was_yielded(tmp_path: Path, monkeypatch: Any) -> None:
    """As Ctrl-C cancels it. The function is not run to its end in its thread."""
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    own = Function(slowly)

    async def cancel(store: Any, seeds: Any) -> None:
        running = asyncio.create_task(engine.generate(store, seeds, [own], concurrency=2))
        await asyncio.to_thread(WAITS.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        CANCELLED.set()

    with shared(tmp_path / "pairsmith.db") as store:
        seeds = _seeds(["a fox"], [own])
        store.write(*seeds)
        asyncio.run(cancel(store, seeds))
    assert [pair.output for pair in reader().pairs()] == ["a fox one"]
    pairs = generate(["a fox"], own, progress=False)
    assert [pair.output for pair in pairs.pairs()] == ["a fox one", "a fox two", "a fox three"]
    assert (pairs.counts.failed, pairs.pairs_made, CALLS["went on"]) == (0, 2, 1)
