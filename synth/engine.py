"""Runs generators over seeds: many at once, in steady memory, resumable after any end, every slot accounted for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from schemas.cycles import seldom_sought
from schemas.errors import StoreError
from schemas.failpoints import failpoint
from schemas.money import total
from schemas.numbered import Ids, Numbered
from schemas.progress import Progress, unseen
from schemas.records import Candidate, Generated, Pair, Reason, Record, Seed
from schemas.store import Store
from synth.chat_completions import StoppedError
from synth.generators import Forward, Generator
from synth.question import Completion
from synth.slots import GenerateResult as GenerateResult
from synth.slots import Outcome

Accept = Callable[[Pair], Awaitable[bool | None]]
Tally = Callable[[Pair], Mapping[str, Any]]

_PROGRESS_EVERY_S, _TELL_EVERY_S = 0.1, 1.0
_SENTENCES, _MOST_TALLIED = 1_000, 20_000


async def generate(
    store: Store,
    seeds: Iterable[Seed],
    generators: Sequence[Generator],
    *,
    concurrency: int,
    accept: Accept | None = None,
    targets: Mapping[str, int] | None = None,
    candidates: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
    result: GenerateResult | None = None,
    earlier_prompts: Collection[str] = (),
    tally: Tally | None = None,
) -> GenerateResult:
    """Give every slot its outcome: ask `generators` for the seeds they take, write pairs and failures to the store.

    A slot that has a pair from an earlier run is not asked again; any other is handed to the generator, whose ledger
    knows what has been paid for. At most `4 * concurrency` seeds are open at once, however many `seeds` yields:
    `concurrency` requests on the wire, the rest waiting for the disk. A seed's pairs and outcomes are written as one
    group.

    `accept` is asked about every pair, old ones included. `targets` says by a generator's name how many of its rows are
    to be accepted, and ends that one alone: no more of its slots are open than are still needed, and none of its seeds
    is begun once so many are accepted, so at most one seed's slots are asked beyond it. `candidates` says by the same
    name how many slots are begun at most, to find them.

    `stop` ends the run in order: nothing more is sent, answers on their way are made durable, and the result is
    returned with `stopped` set. A teacher's failure that concerns every row ends it the same way and is then raised;
    a StoreError cancels all at once. A caller that wants the counts even then passes its own `result`, which is
    filled as the run goes.

    `earlier_prompts` are refs under which pairs of these seeds were made before. A pair of the very same answers as one
    of them is that one, with what people said of it: only a comment of the prompt file has changed.

    `tally` is told every pair and gives numbers that are reported with the others, up to 20,000 pairs of earlier runs.
    """
    if targets and accept is None:
        raise ValueError("a target of accepted rows needs an accept function")
    result = GenerateResult() if result is None else result
    progress = None if progress is unseen else progress  # nobody looks, so nothing is counted for it
    run = _Run(store, generators, 4 * concurrency, accept, targets or {}, candidates or {}, progress, result)
    run.earlier_prompts = tuple(earlier_prompts)
    run.tally = tally if run.pairs_before <= _MOST_TALLIED else None
    if progress is not None and isinstance(seeds, Sequence) and all(g.samples is not None for g in generators):
        run.total = sum(g.samples or 0 for seed in seeds for g in generators if seed.kind in g.takes)
    beside = [asyncio.create_task(run.stop_at(stop))] if stop is not None else []
    beside += [asyncio.create_task(run.tell())] if progress is not None else []
    began = time.perf_counter()
    try:
        with seldom_sought():
            await run.over(seeds)
    finally:
        for task in beside:
            task.cancel()
        result.seconds = time.perf_counter() - began
    return result


class _Run:
    """The state of one call of `generate`."""

    def __init__(
        self,
        store: Store,
        generators: Sequence[Generator],
        window: int,
        accept: Accept | None,
        targets: Mapping[str, int],
        candidates: Mapping[str, int],
        progress: Progress | None,
        result: GenerateResult,
    ) -> None:
        self.total: int | None = None
        self.earlier_prompts: tuple[str, ...] = ()
        self.tally: Tally | None = None
        self._tallied: Mapping[str, Any] = {}
        self._store, self._generators, self._window = store, generators, window
        self._accept, self._progress, self._result = accept, progress, result
        self._targets, self._limits = targets, candidates
        self._names = {g.name for g in generators}
        self._ledgers = list({id(g.ledger): g.ledger for g in generators if g.ledger is not None}.values())
        self._bulks = {id(ledger): bulk for ledger in self._ledgers if (bulk := ledger.bulk()) is not None}
        self._open: dict[asyncio.Task[None] | _Row, tuple[str, int]] = {}
        # By the name of a generator; those that have ended before the seeds did.
        self._open_slots, self._begun, self._accepted = Counter[str](), Counter[str](), Counter[str]()
        self._ended: set[str] = set()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None
        self._reported_s = 0.0
        # The pairs of earlier runs: by fingerprint and sample a seed's place among their ids.
        self._before: dict[tuple[str, int], Numbered] = defaultdict(Numbered)
        self._pair_ids = Ids()
        for fingerprint in {g.fingerprint for g in generators}:
            for candidate in store.skim_candidates(fingerprint):
                if candidate.get("pair_id") is not None:
                    self._before[fingerprint, candidate["sample"]][candidate["seed_id"]] = self.pairs_before
                    self._pair_ids.append(candidate["pair_id"])

    @property
    def pairs_before(self) -> int:
        return len(self._pair_ids)

    def _pair_id(self, fingerprint: str, seed_id: str, sample: int) -> str | None:
        """The pair of an earlier run."""
        before = self._before.get((fingerprint, sample))
        place = None if before is None else before.get(seed_id)
        return None if place is None else self._pair_ids[place]

    async def over(self, seeds: Iterable[Seed]) -> None:
        try:
            for number, (seed, generator) in enumerate(self._work(seeds)):
                if not await self._may_begin(generator):
                    if self._result.stopped or self._error is not None or self._ended >= self._names:
                        break
                    continue  # it has enough, and seeds for another direction may follow
                kept = self._kept(seed, generator)
                if kept is not None and self._accept is None and self.tally is None:
                    self._count_kept(len(kept))
                    if number % 1000 == 0:
                        await asyncio.sleep(0)  # a long resumed stretch must not starve the loop
                    continue
                self._open_slots[generator.name] += generator.samples or 1
                if kept is not None:
                    self._in_task(self._again(kept, generator), generator)
                elif not self._in_bulk(seed, generator):
                    self._in_task(self._ask(seed, generator), generator)
            while self._open:
                await self._change()
            for ledger in [] if self._error is not None or self._result.stopped else self._ledgers:
                await ledger.settle_refusals()
            aims = ((name, self._accepted[name]) for name in self._targets if name in self._names)
            self._result.missed = {name: accepted for name, accepted in aims if accepted < self._targets[name]}
        except BaseException:
            self._cancel()
            await asyncio.gather(*(bulk.kept() for bulk in self._bulks.values()), return_exceptions=True)
            self._cancel()
            await asyncio.gather(*(one for one in self._open if isinstance(one, asyncio.Task)), return_exceptions=True)
            raise
        self._report(last=True)
        if self._error is not None:
            raise self._error

    async def stop_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._result.stopped = True
        self._drain()

    async def tell(self) -> None:
        """Report also while nothing comes: a rate limit, or an answer that takes minutes, is no silence."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            self._report()

    def _work(self, seeds: Iterable[Seed]) -> Iterator[tuple[Seed, Generator]]:
        """What is to be asked. Where a number of accepted rows ends it, those come first that have a pair of an earlier
        run or a forecast: it is paid for, and counts."""
        paid_first = self._targets and self.pairs_before and isinstance(seeds, Sequence)
        for has_pair in (True, False) if paid_first else (None,):
            for seed in seeds:
                for generator in self._generators:
                    if seed.kind in generator.takes and has_pair in (None, self._has_pair(seed, generator)):
                        yield seed, generator

    def _has_pair(self, seed: Seed, generator: Generator) -> bool:
        return any(self._pair_id(generator.fingerprint, seed.id, n) for n in range(generator.samples or 1))

    async def _may_begin(self, generator: Generator) -> bool:
        """Wait until one more seed may be begun by `generator`; False if none will be."""
        while True:
            if self._result.stopped or self._error is not None:
                return False
            name, slots = generator.name, generator.samples or 1
            target, enough = self._targets.get(name), False
            if target is not None:
                if self._accepted[name] >= target:
                    self._result.target_reached = True
                    self._ended.add(name)
                    return False
                # Were all open slots accepted, would another seed still be needed?
                enough = self._accepted[name] + self._open_slots[name] >= target
            if not enough and self._begun[name] + slots > self._limits.get(name, sys.maxsize):
                self._result.limit_reached = True
                self._ended.add(name)
                return False
            if len(self._open) < self._window and not enough:
                self._begun[name] += slots
                return True
            await self._change()

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _drain(self) -> None:
        for ledger in self._ledgers:
            ledger.drain()
        self._changed.set()

    def _in_task(self, work: Coroutine[Any, Any, None], generator: Generator) -> None:
        task = asyncio.create_task(work)
        self._open[task] = (generator.name, generator.samples or 1)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.ended(task, None if task.cancelled() else task.exception())

    def _in_bulk(self, seed: Seed, generator: Generator) -> bool:
        """Whether the question about a seed goes with others, without a task of its own."""
        if type(generator) is not Forward or generator.ledger is None or self.earlier_prompts:
            return False
        bulk = self._bulks.get(id(generator.ledger))
        if bulk is None or not bulk.may_ask:
            return False
        try:
            question, n = generator.questions(seed)[0]
        except Exception:
            return False  # the same is raised in a task, and ends the run in order
        row = _Row(self, seed, generator)
        self._open[row] = (generator.name, n)
        begun = bulk.begin(question, n, row)
        if not begun:
            del self._open[row]
        return begun

    def alone(self, row: _Row) -> None:
        """Ask in a task what was asked in bulk."""
        del self._open[row]
        self._in_task(self._ask(row.seed, row.generator), row.generator)

    def made(self, row: _Row) -> None:
        """The pairs of a row are durable."""
        if self._accept is not None:  # it may wait
            del self._open[row]
            self._in_task(self._count_all(row.seed, row.outcomes, row.generator), row.generator)
            return
        for candidate, pair in row.outcomes:
            if pair is not None:  # an answer that is good makes one
                self._count_as(None, pair, row.generator, new=self._is_new(candidate))
        self._report()
        self.ended(row, None)

    def ended(self, one: asyncio.Task[None] | _Row, error: BaseException | None) -> None:
        """One that was open is over."""
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

    def _is_new(self, candidate: Candidate) -> bool:
        return self._pair_id(candidate.fingerprint, candidate.seed_id, candidate.sample) is None

    def _kept(self, seed: Seed, generator: Generator) -> list[str] | None:
        """The pairs of an earlier run, if every slot of this seed has one."""
        if not self.pairs_before:
            return None
        ids: list[str] = []
        for sample in count() if generator.samples is None else range(generator.samples):
            pair_id = self._pair_id(generator.fingerprint, seed.id, sample)
            if pair_id is None:
                return ids if generator.samples is None and ids else None
            ids.append(pair_id)
        return ids

    def _count_kept(self, slots: int) -> None:
        self._result.rows_in += slots
        self._result.waiting += slots
        self._result.pairs_kept += slots
        self._report()

    async def _again(self, pair_ids: list[str], generator: Generator) -> None:
        """Count pairs of an earlier run as `accept` sees them now."""
        for pair in await asyncio.to_thread(self._store.pairs, pair_ids):
            await self._count(pair, generator, new=False)

    async def _ask(self, seed: Seed, generator: Generator) -> None:
        """One seed through its generator: outcomes become durable together, then they are counted."""
        outcomes = await generator(seed)
        if self.earlier_prompts:
            outcomes = await asyncio.to_thread(self._as_made_before, outcomes)
        await self._store.put(*_records(outcomes))
        failpoint("pair_written")
        await self._count_all(seed, outcomes, generator)

    async def _count_all(self, seed: Seed, outcomes: Sequence[Outcome], generator: Generator) -> None:
        for candidate, pair in outcomes:
            if pair is None:
                self._count_failed(seed, candidate.failure or Reason("unknown"))
            else:
                await self._count(pair, generator, new=self._is_new(candidate))
        self._report()

    def _as_made_before(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, where there is a pair of the same answers under an earlier prompt with that pair."""
        same: dict[str, Outcome] = {}
        for candidate, pair in outcomes:
            if pair is None or not isinstance(pair.origin, Generated):
                continue
            for ref in self.earlier_prompts:
                before = pair.model_copy(update={"origin": pair.origin.model_copy(update={"prompt": ref})})
                same[before.id] = Outcome(candidate.model_copy(update={"pair_id": before.id}), before)
        kept = {same[pair.id].candidate.sample: same[pair.id] for pair in self._store.pairs(same)}
        return [kept.get(outcome.candidate.sample, outcome) for outcome in outcomes]

    def _count_failed(self, seed: Seed, failure: Reason) -> None:
        self._result.rows_in += 1
        self._result.failed += 1
        self._result.reasons[failure.code] += 1
        sentence, sentences = str(failure), self._result.sentences
        count, place = sentences.get(sentence, (0, seed.source))
        if count or len(sentences) < _SENTENCES:
            sentences[sentence] = (count + 1, place)

    async def _count(self, pair: Pair, generator: Generator, *, new: bool) -> None:
        keep = None if self._accept is None else await self._accept(pair)
        self._count_as(keep, pair, generator, new=new)

    def _count_as(self, keep: bool | None, pair: Pair, generator: Generator, *, new: bool) -> None:
        self._tallied = self._tallied if self.tally is None else self.tally(pair)
        self._result.rows_in += 1
        self._result.pairs_made += new
        self._result.pairs_kept += not new
        if keep is None:
            self._result.waiting += 1
        elif keep:
            self._result.accepted += 1
            self._accepted[generator.name] += 1
        else:
            self._result.rejected += 1

    def _report(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if self._progress is None or (not last and now_s - self._reported_s < _PROGRESS_EVERY_S):
            return
        self._reported_s = now_s
        numbers: dict[str, Any] = {
            "done": self._result.rows_in,
            "kept": self._result.pairs_kept,
            "failed": self._result.failed,
            "in_flight": sum(ledger.in_flight for ledger in self._ledgers),
            "tokens": sum(ledger.usage.completion_tokens for ledger in self._ledgers),
            "usd": total(cost for ledger in self._ledgers for cost in ledger.costs).total,
        }
        numbers["message"] = next(filter(None, (ledger.flow.held for ledger in self._ledgers)), "")
        if self.total is not None:
            numbers["total"] = self.total
        if self._accept is not None:
            numbers["accepted"] = self._result.accepted
        if self.tally is not None:
            numbers |= self._tallied
            numbers["reasons"] = Counter(numbers.get("reasons", {})) + self._result.reasons
        self._progress("generate", numbers)


def _records(outcomes: Iterable[Outcome]) -> list[Record]:
    return [record for candidate, pair in outcomes for record in (pair, candidate) if record is not None]


class _Row:
    """A seed whose question is asked in bulk."""

    __slots__ = ("_run", "generator", "outcomes", "seed")

    def __init__(self, run: _Run, seed: Seed, generator: Forward) -> None:
        self._run, self.seed, self.generator = run, seed, generator
        self.outcomes: list[Outcome] = []

    def made_of(self, answers: Sequence[Completion]) -> list[Record]:
        outcome, seed = self.generator.outcome, self.seed
        self.outcomes = [outcome(seed, sample, answer) for sample, answer in enumerate(answers)]
        return _records(self.outcomes)

    def durable(self) -> None:
        failpoint("pair_written")
        try:
            self._run.made(self)
        except Exception as error:  # of who is told of it; the others that came with it are counted all the same
            self._run.ended(self, error)

    def alone(self) -> None:
        self._run.alone(self)

    def ended(self, error: BaseException) -> None:
        self._run.ended(self, error)
