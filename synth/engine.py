"""Runs generators over seeds: concurrently, in constant memory, resumable, with every slot accounted for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import StoreError
from schemas.failpoints import failpoint
from schemas.gc_tuning import infrequent_gc
from schemas.money import exact, total
from schemas.progress import Progress, unseen
from schemas.records import Generated, Imported, Pair, Reason, Record, Seed
from schemas.store import Store
from synth.chat.completions import StoppedError
from synth.earlier_runs import EarlierRuns
from synth.generators import Forward, Generator
from synth.question import Completion
from synth.slots import GenerateResult as GenerateResult
from synth.slots import Outcome, Unfinished

Accept = Callable[[Pair], Awaitable[bool | None]]
Tally = Callable[[Pair], Mapping[str, Any]]

_PROGRESS_EVERY_S, _REPORT_EVERY_S = 0.1, 1.0
_MAX_FAILURE_TEXTS, _MAX_TALLIED = 1_000, 20_000


async def generate(
    store: Store,
    seeds: Iterable[Seed],
    generators: Sequence[Generator],
    *,
    concurrency: int,
    accept: Accept | None = None,
    targets: Mapping[str, int] | None = None,
    counted: Mapping[str, int] | None = None,
    candidates: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
    result: GenerateResult | None = None,
    earlier_prompts: Collection[str] = (),
    tally: Tally | None = None,
) -> GenerateResult:
    """Process every slot: ask `generators` for the seeds that they take, and write pairs and failures to the store.

    A slot that has a pair from an earlier run is not asked again. Every other slot goes to its generator, whose ledger
    knows what has been paid for. At most `4 * concurrency` seeds are open at once, however many `seeds` yields:
    `concurrency` requests in flight, the rest waiting for the disk. The pairs and outcomes of a seed are written as one
    group.

    `accept` is called with every pair, including earlier ones. `targets` sets, by generator name, how many rows are to
    be accepted, and `counted`, by the same name, how many of the accepted rows of a seed count towards it (all, if it
    is not set). A target ends that generator alone: no more of its slots are open than are still needed, and no seed is
    begun once the target is reached, so that it is exceeded by the slots of one seed at most. `candidates` limits, by
    the same name, how many slots are begun to reach it.

    `stop` ends the run in order: nothing more is sent, requests in flight are awaited and their answers made durable,
    and the result is returned with `stopped` set. A failure of a teacher that concerns every row ends the run the same
    way and is then raised. A StoreError cancels everything immediately. A caller that needs the counts even then passes
    its own `result`, which is updated during the run.

    `earlier_prompts` are refs under which pairs of these seeds were made before. A new pair with the same answers is
    replaced by that one, so that its verdicts and reviews remain: only a comment of the prompt file has changed.

    `tally` returns, for every pair, numbers to report with the others; unused beyond 20,000 pairs of earlier runs.
    """
    if targets and accept is None:
        raise ValueError("a target of accepted rows needs an accept function")
    result = GenerateResult() if result is None else result
    progress = None if progress is unseen else progress  # without a display nothing is counted for it
    window, targets = 4 * concurrency, targets or {}
    limits = (targets, counted or {}, candidates or {})
    run = _Run(store, generators, window, accept, *limits, progress, result, earlier_prompts, tally)
    side_tasks = [asyncio.create_task(run.stop_at(stop))] if stop is not None else []
    side_tasks += [asyncio.create_task(run.report_regularly())] if progress is not None else []
    began = time.perf_counter()
    try:
        with infrequent_gc():
            await run.process(seeds)
    finally:
        for task in side_tasks:
            task.cancel()
        result.seconds = time.perf_counter() - began
    return result


@dataclass(eq=False)
class _Run:
    """The state of one call of `generate`."""

    store: Store
    generators: Sequence[Generator]
    window: int  # the most seeds that are open at once
    accept: Accept | None
    targets: Mapping[str, int]
    counted: Mapping[str, int]
    limits: Mapping[str, int]
    progress: Progress | None
    result: GenerateResult
    earlier_prompts: Collection[str]
    tally: Tally | None

    def __post_init__(self) -> None:
        self._total: int | None = None
        self._tallied: Mapping[str, Any] = {}
        self._not_asked = 0  # rows of an earlier run or of an import, which are no part of a pace or a price
        self._names = {g.name for g in self.generators}
        self._ledgers = list({id(g.ledger): g.ledger for g in self.generators if g.ledger is not None}.values())
        self._bulks = {id(ledger): bulk for ledger in self._ledgers if (bulk := ledger.bulk()) is not None}
        self._open: dict[asyncio.Task[None] | BulkRow, tuple[str, int]] = {}
        # By the name of a generator. `_ended`: generators that ended before the seeds did.
        self._open_slots, self._begun, self._accepted = Counter[str](), Counter[str](), Counter[str]()
        self._ended: set[str] = set()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None
        self._reported_s = 0.0
        self._earlier = EarlierRuns(self.store, self.generators)
        if len(self._earlier) > _MAX_TALLIED:
            self.tally = None

    async def process(self, seeds: Iterable[Seed]) -> None:
        generators = self.generators
        if self.progress is not None and isinstance(seeds, Sequence) and all(g.samples is not None for g in generators):
            self._total = sum(g.samples or 0 for seed in seeds for g in generators if seed.kind in g.takes)
        try:
            for number, (seed, generator) in enumerate(self._iter_work(seeds)):
                if not await self._wait_to_begin(generator):
                    if self.result.stopped or self._error is not None or self._ended >= self._names:
                        break
                    continue  # this generator has enough; seeds for another direction may follow
                earlier = self._earlier.pair_ids(seed, generator)
                if earlier is not None and self.accept is None and self.tally is None:
                    self._count_kept(len(earlier))
                    if number % 1000 == 0:
                        await asyncio.sleep(0)  # let other tasks run while many earlier pairs are skipped
                    continue
                self._open_slots[generator.name] += self._counted(generator, generator.samples or 1)
                if earlier is not None:
                    self._start_task(self._recount(earlier, generator), generator)
                elif not self._start_in_bulk(seed, generator):
                    self._start_task(self._ask(seed, generator), generator)
            while self._open:
                await self._wait_for_change()
            for ledger in [] if self._error is not None or self.result.stopped else self._ledgers:
                await ledger.settle_refusals()
            counts = ((name, self._accepted[name]) for name in self.targets if name in self._names)
            self.result.missed = {name: accepted for name, accepted in counts if accepted < self.targets[name]}
        except BaseException:
            self._cancel()
            await asyncio.gather(*(bulk.wait_until_stored() for bulk in self._bulks.values()), return_exceptions=True)
            self._cancel()
            await asyncio.gather(*(one for one in self._open if isinstance(one, asyncio.Task)), return_exceptions=True)
            raise
        self._report(last=True)
        if self._error is not None:
            raise self._error

    async def stop_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.result.stopped = True
        self._drain()

    async def report_regularly(self) -> None:
        """Report regularly, also while no answer arrives because of a rate limit or a slow teacher."""
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            self._report()

    def _iter_work(self, seeds: Iterable[Seed]) -> Iterator[tuple[Seed, Generator]]:
        """The seeds and generators to process. With a target of accepted rows, those that already have a pair, from an
        earlier run or a forecast, come first: they are paid for and count towards the target."""
        paid_first = self.targets and len(self._earlier) and isinstance(seeds, Sequence)
        for paid in (True, False) if paid_first else (None,):
            for seed in seeds:
                for generator in self.generators:
                    if seed.kind in generator.takes and (
                        paid is None or paid == self._earlier.has_pair(seed, generator)
                    ):
                        yield seed, generator

    async def _wait_to_begin(self, generator: Generator) -> bool:
        """Wait until `generator` may begin one more seed; False if it will begin no more."""
        while True:
            if self.result.stopped or self._error is not None:
                return False
            name, slots = generator.name, generator.samples or 1
            target, enough = self.targets.get(name), False
            if target is not None:
                if self._accepted[name] >= target:
                    self._ended.add(name)
                    return False
                # If all open slots were accepted, would another seed still be needed?
                enough = self._accepted[name] + self._open_slots[name] >= target
            if not enough and self._begun[name] + slots > self.limits.get(name, sys.maxsize):
                self._ended.add(name)
                return False
            if len(self._open) < self.window and not enough:
                self._begun[name] += slots
                return True
            await self._wait_for_change()

    def _counted(self, generator: Generator, rows: int) -> int:
        """How many of these accepted rows of a seed count towards the target."""
        return min(rows, self.counted.get(generator.name, rows))

    async def _wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _drain(self) -> None:
        for ledger in self._ledgers:
            ledger.drain()
        self._changed.set()

    def _start_task(self, work: Coroutine[Any, Any, None], generator: Generator) -> None:
        task = asyncio.create_task(work)
        self._open[task] = (generator.name, self._counted(generator, generator.samples or 1))
        task.add_done_callback(lambda done: self.ended(done, None if done.cancelled() else done.exception()))

    def _start_in_bulk(self, seed: Seed, generator: Generator) -> bool:
        """Ask the question about a seed in bulk, without a task of its own; False if that is not possible."""
        if type(generator) is not Forward or generator.ledger is None or self.earlier_prompts:
            return False
        bulk = self._bulks.get(id(generator.ledger))
        if bulk is None or not bulk.can_ask:
            return False
        try:
            question, n = generator.questions(seed)[0]
        except Exception:
            return False  # the task raises it again, which ends the run in order
        row = BulkRow(self, seed, generator)
        self._open[row] = (generator.name, self._counted(generator, n))
        has_begun = bulk.begin(question, n, row)
        if not has_begun:
            del self._open[row]
        return has_begun

    def fall_back(self, row: BulkRow) -> None:
        """Continue in a task a question that was asked in bulk."""
        del self._open[row]
        self._start_task(self._ask(row.seed, row.generator), row.generator)

    def finish_row(self, row: BulkRow) -> None:
        """Count the pairs of a row, which are durable now."""
        if self.accept is not None:  # it may have to wait
            del self._open[row]
            self._start_task(self._count_all(row.seed, row.outcomes, row.generator), row.generator)
            return
        for candidate, pair in row.outcomes:
            if pair is not None:  # a good answer always makes a pair
                self._count_decision(None, pair, new=self._earlier.is_new(candidate))
        self._report()
        self.ended(row, None)

    def ended(self, one: asyncio.Task[None] | BulkRow, error: BaseException | None) -> None:
        """Record that a task or row has ended."""
        name, slots = self._open.pop(one)
        self._open_slots[name] -= slots
        self._changed.set()
        if error is None or isinstance(error, StoppedError | asyncio.CancelledError):
            return
        if self._error is None:
            self._error = error
        if isinstance(error, StoreError):
            self._cancel()
        self._drain()

    def _cancel(self) -> None:
        for bulk in self._bulks.values():
            bulk.cancel()
        for one in self._open:
            if isinstance(one, asyncio.Task):
                one.cancel()

    def _count_kept(self, slots: int) -> None:
        self.result.rows_in += slots
        self.result.waiting += slots
        self.result.pairs_kept += slots
        self._not_asked += slots
        self._report()

    async def _recount(self, pair_ids: list[str], generator: Generator) -> None:
        """Count pairs of an earlier run by what `accept` returns now."""
        pairs = await asyncio.to_thread(self.store.pairs, pair_ids)
        accepted = sum([await self._count(pair, new=False) for pair in pairs])
        self._accepted[generator.name] += self._counted(generator, accepted)

    async def _ask(self, seed: Seed, generator: Generator) -> None:
        """Run one seed through its generator: its outcomes become durable together and are then counted."""
        cause: BaseException | None = None
        try:
            outcomes: Sequence[Outcome] = await generator(seed)
        except Unfinished as unfinished:
            outcomes, cause = unfinished.outcomes, unfinished.cause
        if self.earlier_prompts:
            outcomes = await asyncio.to_thread(self._with_earlier_pairs, outcomes)
        if self._earlier.has_failed(seed, generator):
            outcomes = await asyncio.to_thread(self._earlier.joined, seed, generator, outcomes)
            await self._earlier.put_all(_records(outcomes))
        else:
            await self.store.put(*_records(outcomes))
        failpoint("pair_written")
        if cause is not None:
            raise cause
        await self._count_all(seed, outcomes, generator)

    async def _count_all(self, seed: Seed, outcomes: Sequence[Outcome], generator: Generator) -> None:
        accepted = 0
        for candidate, pair in outcomes:
            if pair is None:
                self._count_failed(seed, candidate.failure or Reason("unknown"))
            else:
                accepted += await self._count(pair, new=self._earlier.is_new(candidate))
        self._accepted[generator.name] += self._counted(generator, accepted)
        self._report()

    def _with_earlier_pairs(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, with each pair replaced by one of the same answers under an earlier prompt, if there is one."""
        same: dict[str, Outcome] = {}
        for candidate, pair in outcomes:
            if pair is None or not isinstance(pair.origin, Generated):
                continue
            for ref in self.earlier_prompts:
                before = pair.model_copy(update={"origin": pair.origin.model_copy(update={"prompt": ref})})
                same[before.id] = Outcome(candidate.model_copy(update={"pair_id": before.id}), before)
        kept = {same[pair.id].candidate.sample: same[pair.id] for pair in self.store.pairs(same)}
        return [kept.get(outcome.candidate.sample, outcome) for outcome in outcomes]

    def _count_failed(self, seed: Seed, failure: Reason) -> None:
        self.result.rows_in += 1
        self.result.failed += 1
        self.result.reasons[failure.code] += 1
        text, texts = str(failure), self.result.sentences
        count, source = texts.get(text, (0, seed.source))
        if count or len(texts) < _MAX_FAILURE_TEXTS:
            texts[text] = (count + 1, source)

    async def _count(self, pair: Pair, *, new: bool) -> bool:
        keep = None if self.accept is None else await self.accept(pair)
        self._count_decision(keep, pair, new=new)
        return keep is True

    def _count_decision(self, keep: bool | None, pair: Pair, *, new: bool) -> None:
        self._tallied = self._tallied if self.tally is None else self.tally(pair)
        self.result.rows_in += 1
        self.result.pairs_made += new
        self.result.pairs_kept += not new
        self._not_asked += not new or isinstance(pair.origin, Imported)
        if keep is None:
            self.result.waiting += 1
        elif keep:
            self.result.accepted += 1
        else:
            self.result.rejected += 1

    def _report(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if self.progress is None or (not last and now_s - self._reported_s < _PROGRESS_EVERY_S):
            return
        self._reported_s = now_s
        cost = total(cost for ledger in self._ledgers for cost in ledger.costs)
        numbers: dict[str, Any] = {
            "done": self.result.rows_in,
            "kept": self._not_asked,
            "failed": self.result.failed,
            "in_flight": sum(ledger.in_flight for ledger in self._ledgers),
            "tokens": sum(ledger.usage.completion_tokens for ledger in self._ledgers),
            "usd": cost.total,
            "usd_known": exact(cost.usd),
        }
        numbers["message"] = next(filter(None, (ledger.endpoint.flow.held for ledger in self._ledgers)), "")
        if self._total is not None:
            numbers["total"] = self._total
        if self.accept is not None:
            numbers["accepted"] = self.result.accepted
        if self.tally is not None:
            numbers |= self._tallied
            numbers["reasons"] = Counter(numbers.get("reasons", {})) + self.result.reasons
        self.progress("generate", numbers)


def _records(outcomes: Iterable[Outcome]) -> list[Record]:
    return [record for candidate, pair in outcomes for record in (pair, candidate) if record is not None]


class BulkRow:
    """A seed whose question is asked in bulk. Exactly one of `on_durable`, `on_fallback` and `on_failure` is called,
    once."""

    __slots__ = ("_run", "generator", "outcomes", "seed")

    def __init__(self, run: _Run, seed: Seed, generator: Forward) -> None:
        self._run, self.seed, self.generator = run, seed, generator
        self.outcomes: list[Outcome] = []

    def records_of(self, answers: Sequence[Completion]) -> list[Record]:
        """The records to write together with these answers, all of which are good."""
        outcome, seed = self.generator.outcome, self.seed
        self.outcomes = [outcome(seed, sample, answer) for sample, answer in enumerate(answers)]
        return _records(self.outcomes)

    def on_durable(self) -> None:
        """The answers and these records are written."""
        failpoint("pair_written")
        try:
            self._run.finish_row(self)
        except Exception as error:  # raised by a callback: the other answers of this batch are counted all the same
            self._run.ended(self, error)

    def on_fallback(self) -> None:
        """Continue in a task, in which `Ledger.answer` continues from the outcome so far."""
        self._run.fall_back(self)

    def on_failure(self, error: BaseException) -> None:
        """The run ended before there was an answer."""
        self._run.ended(self, error)
