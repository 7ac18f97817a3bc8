"""Tests of the Python API, from a list of texts to curated rows without the command line."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from copy import deepcopy
from decimal import Decimal
from functools import partial
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from curate import Pool, best, curate, decontaminate, duplicates, each, gates, named, scored
from curate.curation import curate as asynchronous
from pairsmith import Project
from schemas.errors import AuthError, InputError, PairsmithError, StoreBusy, UsageError
from schemas.records import Pair, Sampling, Seed, Verdict
from schemas.store.shared import shared
from synth import Backward, Forward, Function, generate, teacher
from synth import pairs as pairs_of
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

RICH = {
    "a red fox": "A red fox stands in deep snow at dawn, the light low and gold on a thin line of pines.",
    "a lighthouse": "White surf breaks around a lighthouse on black rocks while a storm front rolls in from the sea.",
}
STYLE = "Expand it into one rich sentence."


def rich(ask: Ask) -> Reply:
    """A different long sentence about the subject for each sample; an empty text for `a ghost`."""
    subject = ask.prompt.rpartition(": ")[2].strip()
    if "ghost" in ask.prompt:
        return says(*[""] * ask.n)
    sentence = RICH.get(subject, f"Here is {subject} on a day in {sum(map(ord, subject))}, a long shadow over it.")
    return says(*[f"{sentence} Take {number}." for number in ("one", "two", "three", "four")[: ask.n]])


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackTeacher]:
    """A teacher that writes long answers; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    with LoopbackTeacher(rich) as running:
        yield running


def forward(t: Any, n: int = 2) -> Forward:
    return Forward(t, STYLE, n)


def test_texts_become_curated_rows_and_a_second_run_sends_nothing(loopback: LoopbackTeacher) -> None:
    """The store is `pairsmith.db` in the working directory unless another is named."""
    for sent in (2, 0):
        with teacher(loopback.url, "loopback") as t:
            pairs = generate(["a lighthouse", "a red fox"], forward(t), progress=False)
        assert (pairs.calls_sent, pairs.counts.rows_in, pairs.counts.waiting) == (sent, 4, 4)
        pool = curate(pairs, [*gates(min_words=8), best(1), duplicates(0.7)], progress=False)
        assert pool.counts.adds_up
        assert sorted(row.pair.input for row in pool.accepted() if row.pair) == ["a lighthouse", "a red fox"]
        assert pool.reasons == {"outranked": 2}
        for copied in (pickle.loads(pickle.dumps(pool)), deepcopy(pool)):  # for another process, with its texts
            assert list(copied.accepted()) == list(pool.accepted())
    assert Path("pairsmith.db").is_file()
    with teacher(loopback.url, "loopback", store="other.db") as t:
        assert generate(["a lighthouse"], forward(t), progress=False).calls_sent == 1
    assert Path("other.db").is_file()


def test_a_teacher_of_an_earlier_cell_can_be_opened_again(loopback: LoopbackTeacher) -> None:
    """Running a cell with `with t as ledger:` a second time failed inside contextlib. It cannot be open twice."""
    t = teacher(loopback.url, "loopback")
    for kept in (0, 1):
        with t as ledger:
            result = generate(["a fox"], Forward(ledger, style="Richly.", n=1), progress=False)
            with pytest.raises(UsageError, match="this teacher is open already"), t:
                pass
        assert result.pairs_kept == kept


def test_failed_rows_are_counted_with_their_reason(loopback: LoopbackTeacher) -> None:
    """In the result of `generate`, and in the pool that is made from it. Whose own function fails sees why at once:
    "crashed 3" alone sent people looking for a log."""
    with teacher(loopback.url, "loopback") as t:
        pairs = generate(["a ghost", "a red fox"], forward(t), progress=False)
        pool = curate(pairs, gates(), progress=False)  # the teacher's open store is shared
    assert (pairs.reasons, pairs.counts.failed) == ({"empty": 2}, 2)
    assert (pool.counts.failed, pool.reasons["empty"]) == (2, 2)
    assert "2 failed (empty 2), mostly empty: " in repr(pairs)
    assert sum(pairs.failures.values()) == 2
    for row in pool.rows():
        if row.pair:
            assert (row.input, row.output) == (row.pair.input, row.pair.output)
        else:
            with pytest.raises(UsageError, match="a slot that failed has no pair"):
                print(row.output)


def test_settings_are_what_a_notebook_holds(loopback: LoopbackTeacher) -> None:
    """Numbers of numpy, worked examples and sampling settings as dicts: they ended in a TypeError, a KeyError and an
    AttributeError inside. They mean the same as plain values, so nothing is asked twice."""
    plain = {"n": 2, "exemplars": [("a cat", "A cat sleeps.")], "sampling": Sampling(temperature=0.5, max_tokens=64)}
    odd = {
        "n": np.int64(2),
        "exemplars": [{"input": "a cat", "output": "A cat sleeps."}],
        "sampling": {"temperature": np.float64(0.5), "max_tokens": np.int64(64)},
    }
    with teacher(loopback.url, "loopback") as t:
        for sent, given in ((1, plain), (0, odd)):
            assert generate(["a fox"], Forward(t, STYLE, **given), progress=False).calls_sent == sent
        for wrong in ("x", ["x"], [("a", "b", "c")]):
            with pytest.raises(UsageError, match="exemplars"):
                Forward(t, STYLE, exemplars=wrong)  # type: ignore[arg-type]
    numbers = [(best(np.int64(2)), best(2)), (duplicates(np.float32(0.7)), duplicates(0.7))]  # type: ignore[arg-type]
    assert all(one.id == other.id for one, other in numbers)
    turns = [{"role": "user", "content": "a fox"}, {"role": "assistant", "content": "A red fox."}]
    (from_parquet,) = pairs_of([{"messages": np.array(turns), 0: "a column without a name"}])
    (from_list,) = pairs_of([{"messages": turns}])
    assert from_parquet.id == from_list.id
    assert pairs_of(np.array(ROWS)).pairs == pairs_of(ROWS).pairs
    assert generate(pa.array(["a fox"]), shout, progress=False).pairs_made == 2  # its items are objects of Arrow's
    assert (
        pairs_of([("a", "b"), ("c", pd.NA), (np.float32("nan"), "d")]).problems
        == pairs_of(  # type: ignore[list-item]
            [("a", "b"), ("c", None), (None, "d")]  # type: ignore[list-item]
        ).problems
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: generate(["a fox", float("nan")], shout), r"seed 2 is missing\. Leave it out: .*dropna"),  # type: ignore[list-item]
        (lambda: generate(["a fox", pd.NA], shout), r"seed 2 is missing\. Leave it out: .*dropna"),  # type: ignore[list-item]
        (lambda: generate([np.array(["a", "b"])], shout), r"seed 1 is of type ndarray"),  # type: ignore[list-item]
        (lambda: decontaminate(["a fox", None]), "held_out: text 2 is missing"),  # type: ignore[list-item]
        (lambda: decontaminate({"s1": 3}), "held_out: text 1 is of type int"),  # type: ignore[dict-item]
        (lambda: best(np.array([1])), "best: n must be"),  # type: ignore[arg-type]
        (lambda: duplicates(Decimal("0.7")), "duplicates: jaccard = "),  # type: ignore[arg-type]
        (lambda: named(shout, "mine", {"a": {1}}), r"\['mine', .* cannot be stored: JSON has"),
        (lambda: pairs_of([SimpleNamespace(input="a", output="b")]), r"pair 1 is .* Pass two texts, or a dict"),  # type: ignore[list-item]
        (lambda: pairs_of({"train": []}), r"rows is of type dict, .* such as rows\['train'\]"),  # type: ignore[arg-type]
        (lambda: pairs_of({"a fox": "A red fox."}), r"rows is of type dict, not a list of pairs\.\Z"),  # type: ignore[arg-type]
        (lambda: teacher("http://localhost:1", api_key="sk-1").__enter__(), "takes no key.*key_env"),
        (lambda: generate(["a fox"], Forward), r"Forward'> is not a generator\. Pass Forward\(t, style"),
        (lambda: Forward(None, style="x", columns="product"), r"columns is one text, .* Write \[text\]"),
        (lambda: Forward(None, style="x", prompt=3), "prompt = 3 is of type int, not a text"),  # type: ignore[arg-type]
        (lambda: Function(shout, system=3), "system = 3 is of type int, not a text"),  # type: ignore[arg-type]
        (lambda: pairs_of([("a", "b")], system=3), "pairs: system = 3 is of type int"),  # type: ignore[arg-type]
        (lambda: gates(style=None), "gates: style = None is of type NoneType"),  # type: ignore[arg-type]
        (lambda: named(shout, 3), "named: the name = 3 is of type int"),  # type: ignore[arg-type]
        (lambda: decontaminate(["a fox"], 2), "decontaminate: jaccard = 2"),
        (lambda: curate(ROWS, [], progress=False).rows(["nope"]).__next__(), "no pair of the pool has the id 'nope'"),
    ],
)
def test_what_a_notebook_holds_is_refused_with_what_to_pass(
    call: Any, words: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """An empty cell of pandas was "of type float", an object of one's own "a JSON SimpleNamespace"; the others were
    errors inside."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        call()
    assert re.search(words, str(refused.value))


def test_a_generator_without_a_teacher_is_a_clear_error(loopback: LoopbackTeacher) -> None:
    """It was an AssertionError about a ledger."""
    with pytest.raises(UsageError, match="the teacher of a Forward is not open"):
        generate(["a red fox"], Forward(None, STYLE), progress=False)


@pytest.mark.parametrize("steps", [gates, [gates], [best(1), gates]])
def test_gates_that_are_not_called_are_named(steps: Any) -> None:
    """Parentheses are easily forgotten; the error says so instead of how to identify a function."""
    with pytest.raises(UsageError, match=r"Call it, and unpack its list: \[\*gates\(\), \.\.\.\]"):
        curate([("a lamp", "A lamp is lit.")], steps, progress=False)


def test_steps_may_come_from_a_generator() -> None:
    """A look at the steps used them up, and the pool came back as if every step had accepted every row."""
    judged = curate([("a lamp", "Lit.")], (step for step in gates(min_words=8)), progress=False)  # type: ignore[arg-type]
    assert judged.counts.rejected == 1


def test_a_missing_key_is_an_error_only_if_it_is_needed(loopback: LoopbackTeacher) -> None:
    """The error names the variable; answers in the store need no key."""
    with teacher(loopback.url, "loopback") as t:
        generate(["a red fox"], forward(t), progress=False)
    with teacher(loopback.url, "loopback", key_env="NO_SUCH_KEY") as t:
        assert generate(["a red fox"], forward(t), progress=False).pairs_kept == 2
        with pytest.raises(AuthError, match="NO_SUCH_KEY"):
            generate(["a lighthouse"], forward(t), progress=False)


def test_texts_have_the_kind_of_the_generators(loopback: LoopbackTeacher) -> None:
    """For `Backward` the given texts are outputs; with generators of both directions plain texts are refused as
    ambiguous."""
    with teacher(loopback.url, "loopback") as t:
        pairs = generate(["A red fox in deep snow"], Backward(t, STYLE, ("three words", "a phrase")), progress=False)
        assert [pair.output for pair in pairs.pairs()] == ["A red fox in deep snow"] * 2
        with pytest.raises(UsageError, match="could be an input or an output"):
            generate(["x"], forward(t), Backward(t, STYLE), progress=False)


def shout(text: str) -> list[str]:
    return [text.upper(), f"{text}!"]


async def whisper(text: str) -> str:
    await asyncio.sleep(0)
    if text == "bomb":
        raise RuntimeError("boom")
    return text.lower()


within_context = ContextVar("within_context", default="nobody's")


def test_a_function_of_a_text_is_a_generator(loopback: LoopbackTeacher) -> None:
    """Plain or async; an exception fails only its own slot, and outputs are stored."""
    pairs = generate(["a Fox", "bomb"], shout, whisper, progress=False)
    assert sorted(pair.output for pair in pairs.pairs()) == ["A FOX", "BOMB", "a Fox!", "a fox", "bomb!"]
    assert pairs.reasons == {"crashed": 1}
    assert generate(["a Fox"], shout, progress=False).pairs_kept == 2
    assert loopback.asked == []


async def one_by_one(text: str) -> AsyncIterator[str]:
    for word in ("first", "second"):
        yield f"{text} {word}"


@pytest.mark.parametrize(
    "function", [one_by_one, lambda text: whisper(text), lambda text: (text + end for end in "!?")]
)
def test_a_function_may_yield_outputs_or_return_a_coroutine(
    function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Awaitables are awaited, however they are wrapped; iterators are read to the end, off the event loop."""
    monkeypatch.chdir(tmp_path)
    pairs = generate(["a fox"], Function(function, named="odd"), progress=False)
    assert pairs.pairs_made
    assert not pairs.counts.failed


class Lazy:
    """Outputs that are produced while they are read, like a stream of a library."""

    def __iter__(self) -> Iterator[str]:
        yield "a fox"
        raise RuntimeError("cut off")


async def endless(text: str) -> AsyncIterator[str]:
    while True:
        yield text


@pytest.mark.parametrize(("given", "kept"), [(lambda text: Lazy(), 1), (endless, 0), (lambda text: repeat(text), 0)])
def test_errors_while_reading_outputs_fail_one_slot(given: Any, kept: int, tmp_path: Path, monkeypatch: Any) -> None:
    """An error used to end the run with a traceback, and an endless iterator used up all memory: of that one nothing
    is kept."""
    monkeypatch.chdir(tmp_path)
    pairs = generate(["a fox"], shout, Function(given, named="odd"), progress=False)
    assert (pairs.pairs_made, pairs.reasons) == (2 + kept, {"crashed": 1})


def test_a_function_sees_the_callers_context(tmp_path: Path, monkeypatch: Any) -> None:
    """Context variables, e.g. for tracing, logging and decimals, are those of the script, also in a thread."""
    monkeypatch.chdir(tmp_path)
    within_context.set("mine")
    pairs = generate(["a fox"], Function(lambda text: within_context.get(), named="context"), progress=False)
    assert [pair.output for pair in pairs.pairs()] == ["mine"]


def within(text: str) -> list[str]:
    return [pair.output for pair in generate([f"{text} inside"], shout, progress=False).pairs()]


def test_a_function_may_generate_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in more calls than there are threads: in the event loop's own thread pool they used to wait for each
    other."""
    monkeypatch.chdir(tmp_path)
    seeds = [f"a fox {number}" for number in range(40)]
    assert generate(seeds, within, progress=False).pairs_made == 80


def cancels(text: str) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "stop",
    [lambda text: next(iter([])), lambda text: sys.exit(3), cancels],
    ids=["next", "exit", "cancels"],
)
def test_no_way_of_ending_a_function_blocks_the_others(
    stop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """StopIteration, which a future cannot hold, a cancelled task, which used not to be counted, and `sys.exit` fail
    only their row; `sys.exit` in a step ends the script, and the next call works."""
    monkeypatch.chdir(tmp_path)
    assert generate(["a fox"], Function(stop, named="stop"), progress=False).reasons == {"crashed": 1}
    assert curate(ROWS[:1], [scored(named(stop, "stop"))], progress=False).reasons == {"crashed": 1}

    def leave(pool: Pool) -> Any:
        sys.exit(3)

    with pytest.raises(SystemExit):
        curate(ROWS[:1], [leave], progress=False)
    assert curate(ROWS[:1], [best(1)], progress=False).counts.accepted == 1


def test_a_scorer_that_calls_curate_is_refused() -> None:
    """Steps and scorers run where `curate` runs, so a nested call used to deadlock silently."""

    def within(pair: Pair) -> float:
        return float(len(curate(ROWS, [best(1)], progress=False).counts))

    with pytest.raises(UsageError, match="wait for itself"):
        curate(ROWS, [scored(within)], progress=False)


@pytest.mark.parametrize(
    ("given", "code"),
    [([], "empty"), ([3], "malformed"), (None, "malformed"), (" ", "empty"), ({"output": "a fox"}, "malformed")],
)
def test_an_invalid_output_fails_its_slot(
    given: Any, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reason; a dict's keys are not taken for texts."""
    monkeypatch.chdir(tmp_path)
    pairs = generate(["a fox"], Function(lambda text: given, named="odd"), progress=False)
    assert (pairs.reasons, pairs.counts.failed) == ({code: 1}, 1)


class Table:
    """Iterates over the names of its columns, as a DataFrame does."""

    columns = ("text", "source")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


ROWS = [("a fox", "a red fox"), ("a cat", "a cat on a sofa"), ("a dog", "a dog"), ("a bomb", "a bomb")]


def red(pair: Pair) -> tuple[bool, str] | bool:
    if "bomb" in pair.output:
        raise RuntimeError("boom")
    return ("red" in pair.output) or (False, "pale: nothing in it is red")


async def length(pair: Pair) -> float | None:
    return None if "dog" in pair.output else float(len(pair.output))


async def no_cats(pool: Pool) -> AsyncIterator[Verdict]:
    for row in pool.accepted():
        yield row.verdict(row.pair is not None and "cat" not in row.pair.output, "cat: it is about a cat")


def outcomes(pool: Pool) -> list[tuple[bool | None, str | None]]:
    return [(row.keep, row.reason.code if row.reason else None) for row in pool.rows()]


def test_an_own_gate_is_a_function_of_a_pair() -> None:
    """With the built-in gates or alone; if it crashes, the row waits."""
    kept = [(True, None), (False, "pale"), (False, "pale"), (None, "crashed")]
    assert outcomes(curate(ROWS, [each(red)], progress=False)) == kept
    assert gates(red)[-1].id.by == f"gate/user:{__name__}.red@1"
    assert [step.id.by for step in gates(length=False)] == [s.id.by for s in gates() if "length" not in s.id.by]


def test_an_own_scorer_is_a_function_of_a_pair() -> None:
    """A row without a score waits; it does not count as the worst."""
    pool = curate(ROWS, [scored(length), best(1)], progress=False)
    assert outcomes(pool)[2] == (None, "unsure")
    assert [row.score for row in pool.rows()] == [9.0, 15.0, None, 6.0]


def test_an_own_step_is_a_function_of_a_pool() -> None:
    """Its verdicts carry its name and the hash of its source."""
    pool = curate(ROWS, [no_cats], progress=False)
    assert outcomes(pool)[1] == (False, "cat")
    assert pool.steps[0].by == f"pool/{__name__}.no_cats@1"
    source = hashlib.sha256(inspect.getsource(no_cats).encode()).hexdigest()[:32]
    assert {verdict.fingerprint for row in pool.rows() for verdict in row.verdicts} == {source}


def no_cats_sync(pool: Pool) -> Any:
    for row in pool.accepted():
        yield row.verdict(row.pair is not None and "cat" not in row.pair.output, "cat: it is about a cat")


def test_a_step_may_be_a_plain_function_and_must_yield_verdicts() -> None:
    """Like gates, scorers and generators; if it returns something else, the error names the step and the value."""
    pool = curate(ROWS, [no_cats_sync], progress=False)
    assert outcomes(pool) == outcomes(curate(ROWS, [no_cats], progress=False))
    for wrong in (lambda pool: 3, lambda pool: [True]):
        with pytest.raises(UsageError, match=r"the step mine returned (3|True), which is not a verdict"):
            curate(ROWS, [named(wrong, "mine")], progress=False)


def test_a_verdict_is_true_false_or_none() -> None:
    """ "no" was a rejection whose reason was ok, and the place of a score that is no number was left to chance."""

    (row,) = curate([ROWS[0]], [], progress=False).rows()
    for keep, score in (("no", None), (pd.NA, None), (2, None), (True, float("nan"))):
        with pytest.raises(UsageError, match="verdict is "):
            row.verdict(keep, score=score)  # type: ignore[arg-type]
    assert [str(row.verdict(keep).reason) for keep in (np.True_, 0, None)] == ["ok", "user", "unsure"]  # type: ignore[arg-type]


def long_enough(pair: Pair) -> bool:
    return len(pair.output) > 3


def faulty(pool: Pool) -> Any:
    return pool.outputs  # type: ignore[attr-defined]


WRAPPING = "@functools.wraps(Rules)\ndef rule(pair):\n    return True\n"


def test_a_function_that_was_edited_after_its_import_is_not_stored_as_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdicts of the old code, which still runs, were stored under the hash of the new source: after a reload, the
    new gate was never called. An edit elsewhere in the file changes nothing, although the function has moved."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file, old = tmp_path / "own_rules.py", "def rule(pair):\n    return [True, lambda: 1][0]\n"
    file.write_text(old)
    rules: Any = importlib.import_module("own_rules")
    pairs = generate(["a lamp", "a cat"], shout, progress=False)
    before = each(rules.rule).id
    file.write_text(f"WORDS = 3\n\n\ndef other(pair):\n    return None\n\n\n{old}")
    assert each(rules.rule).id == before
    for edited in ('def rule(pair):\n    return False, "no: never"\n', "def rule(pair:\n"):
        file.write_text(edited)
        with pytest.raises(UsageError, match="the file was edited after it was imported") as refused:
            each(rules.rule)
        assert "importlib.reload(own_rules)" in str(refused.value)
    file.write_text('def rule(pair):\n    return False, "no: never"\n')
    importlib.reload(rules)
    assert curate(pairs, [each(rules.rule)], progress=False).counts.accepted == 0
    file.write_text(f"import functools\n\n\nclass Rules:\n    def __init__(self, pair): ...\n\n\n{WRAPPING}")
    importlib.reload(rules)
    assert each(rules.rule).id != before, "a class that is wrapped has no code of its own"


def test_a_gate_among_the_steps_is_explained() -> None:
    """A function of one pair that is passed as a step was a traceback about an attribute of the pool. An error of one's
    own step stays one's own."""
    with pytest.raises(UsageError, match=r"asks the pool for 'output', which a pair has.*\[\*gates\(function\)\]"):
        curate(ROWS, [long_enough], progress=False)
    with pytest.raises(AttributeError, match="outputs"):
        curate(ROWS, [faulty], progress=False)


def of_two(first: Any, second: Any) -> bool:
    return first == second


def yielding(pair: Pair) -> Iterator[bool]:
    yield True


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: each(of_two), r"the gate of_two cannot be called with one pair: its parameters are \(first"),
        (lambda: each(named(of_two, "two-1")), "the gate of_two cannot be called with one pair"),
        (lambda: gates(yielding), "the gate yielding is a generator"),
        (lambda: scored(of_two), "the scorer of_two cannot be called with one pair"),
        (lambda: curate(ROWS, [of_two], progress=False), "the step of_two cannot be called with one pool"),
        (lambda: generate(["a lamp"], of_two, progress=False), "the generator of_two cannot be called with one text"),
        (lambda: Function(partial(of_two), named="two-1"), "cannot be called with one text"),
        (lambda: Function(5, named="five-1"), "5 is not a function"),  # type: ignore[arg-type]
        (lambda: named(5, "five-1"), "5 is not a function"),  # type: ignore[arg-type]
        (lambda: named(long_enough, " "), "the name is empty"),
    ],
)
def test_a_function_of_the_wrong_shape_is_refused_before_the_first_row(
    use: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a step it was a TypeError from inside; as a gate, scorer or generator it crashed on every row, and the rows
    waited or failed as if they were at fault. The gates of a spec were already refused."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        use()


@pytest.mark.parametrize("patterns", [r"\.\Z", [r"\.\Z"]])
def test_a_pattern_without_a_name_is_refused(patterns: Any) -> None:
    """Its name is what reasons and counts call it."""
    with pytest.raises(UsageError, match="a pattern has no name"):
        gates(must=patterns)


def test_functions_that_never_wait_can_be_cancelled() -> None:
    """Ctrl-C in a notebook cancels the task of `curate`, which used to come through only after 128 rows of a slow gate,
    and never before the end of a scorer without a store."""
    rows = [(f"input {number}", f"output {number}") for number in range(400)]
    judged: list[Pair] = []

    def cancelled_by(judge: Callable[[Pair], Any], step: Callable[[Any], Any]) -> int:
        judged.clear()
        running: list[asyncio.Task[Pool]] = []

        def function(pair: Pair) -> Any:
            judged.append(pair)
            if len(judged) == 3:
                running[0].cancel()
            return judge(pair)

        async def run() -> Pool:
            running.append(
                asyncio.create_task(asynchronous(Pool.of(pairs_of(rows)), [step(named(function, "judge-1"))]))
            )
            return await running[0]

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(run())
        return len(judged)

    assert cancelled_by(lambda _: True, each) <= 8
    assert cancelled_by(lambda pair: len(pair.output), scored) <= 256


def test_arguments_of_the_wrong_type_are_clear_errors(loopback: LoopbackTeacher) -> None:
    """A step instead of a list of steps, a number instead of rows, an incomplete pair, a missing file, a teacher that
    was never opened and one that is closed: each is a clear error that does not mention a spec."""
    with pytest.raises(UsageError, match=r"steps is a single step, .* not a list of steps\. Write \[step\]"):
        curate(ROWS, best(1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"steps contains a list of steps\. `gates` returns a list: write \[\*gates"):
        curate(ROWS, [gates(), best(1)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="rows is of type int, not a list of pairs, a pool or"):
        curate(42, [best(1)])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pair 2 is \('a',\), not \(input, output\)"):
        pairs_of([("a", "b"), ("a",)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="there are no pairs"):
        pairs_of([])
    with pytest.raises(InputError, match=r"/nowhere\.csv: there is no such file") as absent:
        pairs_of("nowhere.csv")
    assert "pairsmith.toml" not in str(absent.value)
    absent_or_gone = teacher(loopback.url, "loopback")
    with absent_or_gone as t:
        pass
    for wrong in (absent_or_gone, t):
        with pytest.raises(UsageError, match=r"the teacher of a Forward is not open\. .* with teacher\(\.\.\.\) as t"):
            generate(["a red fox"], forward(wrong), progress=False)
    assert not loopback.asked


def test_held_out_texts_need_no_ids() -> None:
    """A list of texts is enough; a table is refused, because only its column names would be compared."""
    with pytest.raises(UsageError, match=r"held_out is of type Table.* list\(table\[\"input\"\]\)"):
        decontaminate(Table())
    pool = curate([*ROWS, ("x", "a cat on a sofa!")], [decontaminate(["a cat on a sofa"])], progress=False)
    assert [keep for keep, _ in outcomes(pool)] == [True, False, True, True, False]


def more_than(words: int) -> Callable[[Pair], bool]:
    def long(pair: Pair) -> bool:
        return len(pair.output.split()) > words

    return long


@pytest.mark.parametrize(
    "held", ["My kettle leaks at the spout.", "my kettle leaks at the spout", "A new one leaves us today."]
)
def test_an_exact_copy_of_a_held_out_text_is_rejected(held: str) -> None:
    """Exact copies used to pass, taken for rows of the test itself, and only near-duplicates were rejected."""
    rows = [
        ("My kettle leaks at the spout.", "We are sorry. A new one leaves us today."),
        ("Is it loud?", "No, it hums."),
    ]
    pool = curate(rows, [decontaminate(["something else", held])], progress=False)
    (out,) = [row for row in pool.rows() if not row.keep]
    assert out.pair.input == rows[0][0]
    assert "held-out text 2" in str(out.reason)


def test_invalid_arguments_of_steps_are_refused() -> None:
    """Each is a likely typo that would otherwise show only after the teacher was paid."""
    for step in (
        lambda: best(0),
        lambda: duplicates(70),
        lambda: duplicates(0.7, kind="label"),
        lambda: decontaminate("a"),
    ):
        with pytest.raises(UsageError):
            step()


def test_closure_variables_are_part_of_the_id() -> None:
    """The same source with another number is another gate."""
    assert each(more_than(2)).id != each(more_than(3)).id
    assert each(more_than(2)).id == each(more_than(2)).id


@pytest.mark.parametrize("function", [lambda pair: True, partial(red), len])
def test_a_function_without_source_needs_a_name(function: Any) -> None:
    """Its verdicts could not be distinguished from those of an edited version."""
    with pytest.raises(UsageError, match=r"named\(function"):
        each(function)
    assert each(named(function, "mine-1")).id.by == "gate/user:mine-1@1"
    with pytest.raises(UsageError, match=r"Function\(function, named="):
        Function(function)


def test_the_language_of_the_texts_can_be_set_or_ignored() -> None:
    """`language` is that of the texts, and like any gate the language gate can be switched off; a file name instead of
    rows is a clear error."""
    answer = "Kuule, matkalainen, siitä ei puhuta ääneen ennen kuin aurinko laskee. Näin veljesi eilen sillalla."
    rows = [("Missä on vanha kaivos?", answer)]
    for language, accepted in (("en", 0), ("fi", 1), (False, 1), (True, 0)):
        assert curate(rows, gates(language=language, length=False), progress=False).counts.accepted == accepted
    with pytest.raises(UsageError, match=r"rows is one text, .* use `pairs\(FILE\)`"):
        curate("npc.json", [])


def test_an_unknown_setting_is_a_clear_error() -> None:
    """With the most similar of the existing settings and all of them, for gates and teachers alike."""
    with pytest.raises(UsageError, match=r"'min_word'.*Did you mean 'min_words'\? It has: min_words, max_words"):
        gates(min_word=8)
    with pytest.raises(UsageError, match=r"'length\.mn'. It has: min_words, max_words"):
        gates(length={"mn": 8})
    with pytest.raises(UsageError, match=r"'sampling\.temprature'.*Did you mean 'temperature'"):
        Forward(None, STYLE, sampling={"temprature": 1})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"'concurency'.*concurrency"), teacher("http://h", "m", concurency=3):
        pass
    with pytest.raises(UsageError, match=r"the pattern flag.*not a regular expression"):
        gates(must={"flag": "("})
    with pytest.raises(UsageError, match="row 1 is neither"):
        curate(["a text"], [], progress=False)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "seeds",
    ["a fox", [], [" "], [Seed(kind="output", text="x", source="y")], {"a fox": 1}, None, Path("seeds.txt"), Table()],
)
def test_invalid_seeds_are_refused(seeds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written or paid for."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        generate(seeds, shout, progress=False)
    assert not list(tmp_path.iterdir())


def test_notebook_tables_escape_texts(loopback: LoopbackTeacher) -> None:
    """Everything is escaped, in pools and in the result of `generate`; the repr of a pool shows its counts."""
    texts = [f"<script>alert({number})</script>" for number in range(30)]
    pairs = generate(texts, shout, progress=False)
    pool = curate(pairs, gates(), progress=False)
    for html in (pool._repr_html_(), pairs._repr_html_()):
        assert "<script" not in html.lower()
        assert html.count("<tr>") == 11
    assert repr(curate(ROWS, [each(red)], progress=False)) == "Pool(4 rows: 1 accepted, 2 rejected, 1 waiting)"


def test_the_seeds_of_a_project_in_the_same_folder_stay_active(loopback: LoopbackTeacher) -> None:
    """A script beside pairsmith.toml shares its store without changing the project's seeds."""
    from schemas.store import Store

    seed = Seed(kind="input", text="the project's", source="seeds.txt:1")
    with Store.open("sqlite:///pairsmith.db") as store:
        store.set_active_seeds([seed])
    generate(["a fox"], shout, progress=False)
    with Store.open("sqlite:///pairsmith.db", write=False) as store:
        assert list(store.active_seeds()) == [seed]


def test_the_accepted_rows_are_a_dataset() -> None:
    """`to_dataset` returns the accepted rows as a `datasets.Dataset`."""
    (row,) = curate(ROWS, [each(red)], progress=False).to_dataset().select_columns(["input", "output"])
    assert row == {"input": "a fox", "output": "a red fox"}


def test_progress_is_a_line_on_stderr_and_can_be_off(loopback: LoopbackTeacher, capfd: Any) -> None:
    """In a pipe progress is plain lines; with `progress=False` nothing is printed."""
    with teacher(loopback.url, "loopback") as t:
        curate(generate(["a red fox"], forward(t), progress=False), gates(), progress=False)
        assert capfd.readouterr().err == ""
        pairs = generate(["a lighthouse"], forward(t))
        curate(pairs, gates())
    shown = capfd.readouterr().err
    assert "generate  2 of 2" in shown
    assert "gates     2 of 2" in shown


@pytest.mark.slow
def test_imports_are_light() -> None:
    """Heavy packages are imported only when they are used."""
    code = (
        "import sys; from synth import Forward, generate, teacher; from curate import best, curate, duplicates, gates\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'argilla', 'pyarrow'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


@pytest.mark.slow
def test_a_notebook_completes_names_and_settings() -> None:
    """Before anything is imported from a package, completing its name offers its public names and nothing else; a call
    of `gates` offers the keys of the spec, with their defaults."""
    code = (
        "import curate, pairsmith, synth, train\n"
        "for package in (curate, pairsmith, synth, train):\n"
        "    assert dir(package) == sorted(package.__all__), dir(package)\n"
        "import inspect\n"
        "names = inspect.signature(curate.gates).parameters\n"
        "assert names['min_words'].default == 1 and names['pii'].default is False and 'style' in names\n"
        "assert 'pii' in curate.gates.__call__.__doc__ and not {'settings', 'length'} & names.keys()\n"
        "for name in names.keys() - {'own', 'style', 'must', 'must_not'}:\n"
        "    curate.gates(**{name: names[name].default})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["synth", "curate", "train"])
def test_a_users_files_do_not_shadow_ours_in_python(first: str, tmp_path: Path) -> None:
    """In a script and a notebook the working directory is first on the path; the product's packages are still imported,
    and so is the user's `my.py`."""
    for name in {"schemas", "prompts", "train", "curate", "synth"} - {first}:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('took the decoy {name}')\n")
    (tmp_path / "my.py").write_text("word = 'mine'\n")
    imports = {
        "synth": "from synth import Forward, generate",
        "curate": "from curate import best, curate",
        "train": "import train; train.fine_tune",
    }
    order = [imports[first], *imports.values(), "import train, my", "assert train.__path__ and my.word == 'mine'"]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + "\n".join(order)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200, cwd=tmp_path)


def test_invalid_seeds_and_generators_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number among the seeds, a number instead of a generator, and no generator at all are clear errors."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="seed 2 is of type int"):
        generate(["a lamp", 2], shout)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="5 is not a generator"):
        generate(["a lamp"], 5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no generator"):
        generate(["a lamp"])


def _asleep(text: str) -> str:
    return f"{text} sleeps"


def _generate_in_child(name: str) -> str:
    try:
        return repr(generate([name], _asleep, store=f"{name}.db", progress=False))
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_may_be_started_after_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A forked process waited for ever for the thread of its parent. A store that the parent has open stays its own."""
    monkeypatch.chdir(tmp_path)
    generate(["a fox"], _asleep, progress=False)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply_async(_generate_in_child, ("owl",)).get(timeout=250).startswith("Generation(1 pair new")
        with shared(tmp_path / "hare.db"):
            busy = pool.apply_async(_busy_in_child, ("hare",)).get(timeout=250)
            assert "another process is writing to this store" in busy
    assert repr(generate(["a hen"], _asleep, progress=False)) == "Generation(1 pair new, 0 kept, 0 failed)"


def _busy_in_child(name: str) -> str:
    try:
        return _generate_in_child(name)
    except StoreBusy as error:
        return str(error)


LEFT_IN_CHILD = """
import os
from schemas.store.shared import shared

with shared("a.db") as store:
    child = os.fork()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
with shared("a.db") as store:
    assert list(store.active_seeds()) == []
"""


def test_process_forked_in_the_block_of_a_store_may_leave_it(tmp_path: Path) -> None:
    """It ended with a KeyError; the store is its parent's, which closes it."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", LEFT_IN_CHILD], cwd=tmp_path, env=environment, check=True)


def test_a_row_shows_its_texts_and_what_became_of_it() -> None:
    """In a notebook, a list of rows was pages of ids and verdicts."""
    pool = curate([("a fox", "A fox sleeps."), ("b", "x" * 100)], [*gates(min_words=2, language=False)], progress=False)
    shown = sorted(map(repr, pool.rows()))
    assert shown == ["Row('a fox' -> 'A fox sleeps.', accepted)", f"Row('b' -> '{'x' * 60}...', rejected (short))"]


def test_a_teacher_shows_what_it_is() -> None:
    """Beginners print it, or forget its `with`."""
    assert (
        repr(teacher("http://localhost:1/v1", "m")) == "teacher('m' at http://localhost:1/v1), to be opened by `with`"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curate([("a", "b")], [best]), r"`best` itself.*Call it: \[best"),
        (lambda: curate([("a", "b")], scored), r"`scored` itself"),  # type: ignore[arg-type]
        (lambda: duplicates("0.7"), r"jaccard = '0\.7'"),  # type: ignore[arg-type]
        (lambda: pairs_of([("a", "b")], columns=["input"]), r"is not a mapping"),  # type: ignore[arg-type]
        (lambda: pairs_of("."), r"is not a folder saved by `datasets`"),
        (lambda: generate(["a"], _asleep, store="."), r"is a folder.*pairsmith\.db"),
        (lambda: generate(["a"], _asleep, store=b"a.db"), r"of type bytes"),  # type: ignore[arg-type]
        (lambda: Project(None), r"of type NoneType"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_of_a_beginner_are_explained(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ended in a TypeError from inside, or in the complaint of another function."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(PairsmithError, match=message):
        call()
