"""Asks through a provider's batch API: the same answers within a day, at half the price.

For the ledger it is another way to get an answer. Lines are gathered until no more are added, and then submitted. Their
names and the batch's id are stored before anything waits for it, so that they are found again if the process ends.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from schemas.errors import TeacherError, Unreachable
from schemas.failpoints import failpoint
from schemas.money import Hold
from schemas.progress import Say
from schemas.records import Artifact, Json, Message, Sampling, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.latest import latest_answers
from schemas.wording import counted
from synth.batch.api import (
    BatchApi,
    NotCreatedError,
    NotThereError,
    batches_unavailable,
    explained,
    if_missing,
    not_ended,
    overdue,
    unreadable_results,
)
from synth.batch.earlier import EarlierBatches, settle_unasked, unread_lines
from synth.batch.holds import BatchHolds
from synth.batch.lines import (
    FORMAT_ERRORS,
    BatchLine,
    NotInBatchError,
    Results,
    State,
    StoredResult,
    announcement,
    first_batch,
    max_costs,
    merge_answers,
)
from synth.chat.completions import (
    Answer,
    RefusedError,
    ServerFaultError,
    StoppedError,
    UnansweredError,
    UnconfirmedError,
    one_line,
    read_answer,
)
from synth.chat.error_words import error_body
from synth.endpoints.endpoint import Endpoint

# A quarter of the questions that are open at once: as many as every provider takes in a batch, which may take a day.
IN_BATCHES = 12_500
MAX_BATCH_TIME = timedelta(hours=48)  # by then every provider has finished a batch or reports it as expired
_MAX_POLL_FACTOR = 60  # in units of the first wait
_ANSWERS_AT_ONCE = 500  # in memory; the others stay in the file of results
_MISSES_IN_A_ROW = 20  # batches, or their results, are missing for a moment at times (anthropic-sdk-python#1432)
_QUEUE_FULL = re.compile(r"enqueued token|token_limit_exceeded|too many (enqueued|queued)", re.IGNORECASE)
# Status of a line that goes into another batch, and of one whose batch was cancelled at the provider.
_RESUBMIT, _CANCELLED = -1, -2


class Batches:
    """Asks `endpoint`'s provider in batches. Use as an async context manager. Without `submits`, nothing is submitted:
    answers are only taken from batches of earlier runs that have ended.

    The batches of `others`, the teachers of this run, are left to those. Gathered lines are submitted when none was
    added for `gather_s`. A line that expired, was cancelled or met a server fault is submitted again, up to `retries`
    times; after that its row is unanswered. A batch with more tokens than the account may have queued is split into
    halves that are submitted one after the other. `poll_s` is the first wait before a batch is polled again.
    """

    def __init__(
        self,
        store: Store,
        endpoint: Endpoint,
        teacher: TeacherSettings,
        say: Say,
        *,
        stage: str = "generate",
        submits: bool = True,
        others: Iterable[TeacherSettings] = (),
        holds: BatchHolds | None = None,
        gather_s: float = 1.0,
        poll_s: float = 1.0,
    ) -> None:
        if refusal := batches_unavailable(teacher):
            raise refusal
        self._store, self._endpoint, self._teacher, self._say = store, endpoint, teacher, say
        self.submits, self._stage, self._gather_s, self._poll_s = submits, stage, gather_s, poll_s
        self._unread, self._identity = unread_lines(store), teacher.known_as
        self._others = Counter(one.known_as for one in {id(one): one for one in others}.values())
        self._is_alone = self._others.pop(self._identity, 1) == 1  # no other teacher of this run has the same identity
        self._queue: list[BatchLine] = []
        self._waiting: dict[str, tuple[BatchLine, asyncio.Future[StoredResult]]] = {}
        self._results: dict[str, StoredResult] = {}  # results that arrived before they were asked for
        self._batch_of: dict[str, str] = {}
        self._accepted = set[bytes]()  # settings with which a line was answered
        self.holds = holds or BatchHolds(store, teacher)
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._api: BatchApi
        self._earlier: EarlierBatches
        self._is_open, self._stack = False, AsyncExitStack()
        self._opening, self._one_at_a_time = asyncio.Lock(), asyncio.Lock()
        self.places = asyncio.Semaphore(_ANSWERS_AT_ONCE)  # for answers of `ask` that are not durable
        self._max_lines: int | None = None  # the number of lines in a batch if the account's queue is limited

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks, *self._watched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if changes := self.holds.changes():
            self._store.append(*changes)
        await self._stack.aclose()

    @property
    def waiting(self) -> int:
        """Number of lines that are submitted, or about to be, and have no answer yet."""
        return len(self._waiting)

    def may_have(self, name: str) -> bool:
        """Whether the answer to the question with this name is to be taken from a batch."""
        return self.submits or name in self._unread or f"{name}-0" in self._unread

    def drain(self) -> None:
        """Submit nothing more and wait for nothing; the next run finds the batches in flight."""
        self._fail_all(StoppedError())
        self.holds.settled(*self._watched.values())

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, n: int, schema: Json | None, *, name: str
    ) -> Answer:
        """Like `Endpoint.ask`, but in a batch. `name` must be the same when an answer is asked for after a crash.

        Raises NotInBatchError if nothing is submitted and no batch has it, and UsageError if its batch has not ended.
        """
        await self._open()
        body = self._endpoint.dialect.body(messages, sampling, n, schema)
        lines = [BatchLine(name, body)]
        if n > 1 and not (self._api.form.takes_n and body.get("n") == n):
            body.pop("n", None)
            # With a seed, each sample gets its own, as with servers that accept `n`.
            bodies = [{**body, "seed": body["seed"] + i} if "seed" in body else body for i in range(n)]
            lines = [BatchLine(f"{name}-{i}", one) for i, one in enumerate(bodies)]
        if len(lines) == 1:
            results: Sequence[Callable[[], Answer] | BaseException] = [await self._ask_line(lines[0])]
        else:
            results = await asyncio.gather(*map(self._ask_line, lines), return_exceptions=True)
        await self.places.acquire()
        try:
            return merge_answers(results)
        except BaseException:
            self.places.release()
            raise

    def _read(self, line: BatchLine, result: StoredResult, batch: str | None, seconds: float) -> Answer:
        most_usd = self.holds.use(batch, line.name)
        return read_answer(result.results.take(line.name), seconds, line.body, most_usd)

    async def _ask_line(self, line: BatchLine) -> Callable[[], Answer]:
        """Wait for the answer to a line. Returns a function that reads it."""
        loop = asyncio.get_running_loop()
        began, tries, doubts = loop.time(), 0, 0
        while True:
            if self._endpoint.flow.draining.is_set():
                raise StoppedError
            result = self._results.pop(line.name, None) or await self._result_of(line)
            batch, seconds = self._batch_of.pop(line.name, None), loop.time() - began
            if result.status == 200:
                return partial(self._read, line, result, batch, seconds)
            if result.status == _RESUBMIT or (result.status == _CANCELLED and batch in self._earlier):
                continue
            if result.status == _CANCELLED:
                raise ServerFaultError(f"batch {batch} was cancelled at the provider; the next run asks again")
            message = one_line(self._endpoint.shown(str(error_body(result.content)[1].get("message") or "")))
            reason = f"the batch ended before this request was processed{message and f' ({message})'}"
            if result.status:
                failure = await self._endpoint.failure(result.status, {}, result.content, line.body, seconds)
                if isinstance(failure, UnconfirmedError):
                    doubts += batch not in self._earlier
                    if not failure.of_key or doubts > 1:  # once: a gateway may not have known the key for a moment
                        failure = failure.verdict
                is_its_own = line.settings in self._accepted
                adapt = self._endpoint.dialect.adapt_once
                if isinstance(failure, RefusedError) and not is_its_own and adapt(line.body, failure):
                    continue
                if isinstance(failure, TeacherError) and batch in self._earlier:
                    continue  # true when that batch was submitted, but it may have been fixed since
                if not isinstance(failure, UnansweredError):  # which is temporary
                    raise failure
                reason = failure.what
            tries += 1
            if tries > self._teacher.retries and self.submits:
                raise ServerFaultError(reason)
            self._endpoint.flow.retries_by_kind["server" if result.status else "expired"] += 1

    async def _result_of(self, line: BatchLine) -> StoredResult:
        """Wait for the batch that has the line. A line that is in none is submitted, or raises NotInBatchError."""
        batch, loop = self._batch_of.get(line.name), asyncio.get_running_loop()
        if batch is None and not self.submits:
            raise NotInBatchError
        future: asyncio.Future[StoredResult] = loop.create_future()
        self._waiting[line.name] = line, future
        if batch is not None:
            self._watch(batch)
        else:
            self._queue.append(line)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(self._gather_s, self._submit_gathered)
        try:
            return await future
        finally:
            self._waiting.pop(line.name, None)

    def _submit_gathered(self) -> None:
        lines, self._queue = self._queue, []
        task = asyncio.ensure_future(self._submit_all(lines, is_first=not self._tasks))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit_all(self, lines: list[BatchLine], *, is_first: bool) -> None:
        try:
            if self._is_alone and is_first and self._watched.keys() <= self._earlier.submitted_at.keys():
                for earlier, hold in self._earlier.unasked(self._watched).items():
                    self._say(self._earlier.describe_unasked(earlier, hold))
            while lines and not self._endpoint.flow.draining.is_set():
                count = first_batch(lines, self._max_lines or self._api.form.max_lines, self._api.form.max_bytes)
                is_queue_limited = self._max_lines is not None
                async with self._one_at_a_time if is_queue_limited else nullcontext():
                    batch, count = await self._submit_some(lines[:count])
                    if is_queue_limited:
                        await asyncio.wait((self._watched[batch],))
                lines = lines[count:]
        except Exception as error:  # it concerns every line, and each caller raises it
            self._fail_all(explained(self._api.base, error))

    async def _submit_some(self, lines: list[BatchLine]) -> tuple[str, int]:
        """Submit as many of the lines as the caps leave room for; return the batch and their number."""
        label = content_id("batch", [[line.name for line in lines], datetime.now(UTC).isoformat()])[:16]
        count, hold = await self.holds.hold(lines, label, self._stage, self._endpoint.flow.draining.is_set)
        try:
            return await self._submit(lines[:count], label, hold, len(lines) - count), count
        finally:
            self.holds.settled(label)

    async def _submit(self, lines: list[BatchLine], label: str, hold: Hold | None, left: int) -> str:
        """Submit a batch of these lines and return it. `left` others wait for room under the caps."""
        names = [line.name for line in lines]
        announced = Artifact(id=f"batch:{label}", kind="batch", path="", facts={"lines": names, "base": self._api.base})
        await self._store.put(announced, *filter(None, [hold]))
        failpoint("batch_announced")
        try:
            batch = await self._api.submit(lines, label)
        except (TeacherError, StoppedError) as error:
            if not isinstance(error, Unreachable) or isinstance(error, NotCreatedError):
                self.holds.release(hold)
                await self._earlier.record(label, "")
            raise
        failpoint("batch_made")
        await self._earlier.record(label, batch)
        self._submitted_at[batch] = datetime.now(UTC)
        self.holds.add(batch, hold)
        self._endpoint.sent += len(lines)
        tried = next(latest_answers(self._store, self._identity, ""), None)
        self._say(f"batch {batch}: {announcement(self._teacher, lines, left, is_tried=tried is not None)}")
        self._batch_of.update(dict.fromkeys(names, batch))
        self._watch(batch)
        return batch

    def _watch(self, batch: str) -> None:
        if batch not in self._watched:
            self._watched[batch] = asyncio.ensure_future(self._finish_batch(batch))
            self.holds.in_flight(self._watched[batch])

    async def _finish_batch(self, batch: str) -> None:
        try:
            state, results = await self._wait_for_end(batch) or (None, None)
            names = {name for name, other in self._batch_of.items() if other == batch}
            is_ours = results is not None and not names.isdisjoint(results.names)
            if (guess := self._earlier.guessed.pop(batch, None)) and not is_ours:
                other = await self._earlier.reassign(batch, guess, names, results)
                if other is None:
                    self.holds.read(batch, len(names), {}, ())
                    await self._earlier.record(guess.label, "")
                    return self._resubmit(names)
                self._submitted_at.setdefault(other, self._earlier.submitted_at[other])
                self._watch(other)
                return await self._finish_batch(batch) if batch in self._earlier.guessed else None
            if guess:
                await self._earlier.record(guess.label, batch)
            if state is None or results is None:
                return self._resubmit(names)
            if not is_ours and state.failure is None and (results.lines or state.answered or state.completed):
                return self._leave_unread(batch, names, results)
            lost = names - set(results.names) if (missing := results.missing(state.answered)) else set[str]()
            results.keep(names)
            answers = results.answers
            self.holds.read(batch, len(names), answers, self._waiting, min(missing, len(lost)))
            if state.failure is not None and len(names) > 1 and _QUEUE_FULL.search(state.failure):
                self._max_lines = len(names) // 2
                self._say(
                    f"batch {batch}: {one_line(state.failure)} Submitting it again, {self._max_lines:,} at a time."
                )
                self._resubmit(names)
                return None
            if state.failure is not None and batch in self._earlier:
                return self._resubmit(names)  # the cause may have been fixed since
            if state.failure is not None:
                raise TeacherError(
                    f"The provider refused the batch ({one_line(state.failure)}).",
                    where=self._api.base,
                    fix="None of its requests was answered. Run without --batch, or fix the cause.",
                )
            # Before refusals are read: if others were answered, a refusal concerns its row alone.
            self._endpoint.answered |= bool(answers)
            self._accepted |= {self._waiting[name][0].settings for name in answers.keys() & self._waiting.keys()}
            for result in map(results.__getitem__, names - lost):
                is_cancelled = state.cancelled and not result.status
                self._deliver(result._replace(status=_CANCELLED) if is_cancelled else result)
            if lost:
                self._leave_unread(batch, lost, results, min(missing, len(lost)))
        except Exception as error:  # each caller raises it
            self._fail_all(explained(self._api.base, error))

    def _leave_unread(self, batch: str, names: Collection[str], results: Results, missing: int = 0) -> None:
        """No result of these lines can be found: raise TeacherError, or without --batch ask again, as it advises."""
        error = unreadable_results(self._api.base, batch, results.nameless or missing, nameless=results.nameless > 0)
        if self.submits:
            raise error
        self._say(f"warning: {error.what} {counted(len(names), 'request is', 'requests are')} paid for again.")
        self._resubmit(names)

    async def _wait_for_end(self, batch: str) -> tuple[State, Results] | None:
        """The final state of a batch, and its results. None for a batch of an earlier run that no longer exists."""
        wait_s, misses, strange = self._poll_s, 0, None
        while True:
            try:
                state = await self._api.state(batch)
                if state.failure is not None:
                    return state, Results()
                if state.ended:
                    return state, await self._api.results(state, self._poll_s)
                if not self.submits:
                    count = sum(other == batch for other in self._batch_of.values())
                    raise not_ended(self._api.base, batch, count, self._submitted_at[batch])
                if state.strange is not None and datetime.now(UTC) - self._submitted_at[batch] > MAX_BATCH_TIME:
                    with suppress(NotThereError):
                        if (results := await self._api.results(state, self._poll_s)).lines:
                            return state, results
                    raise overdue(self._api.base, batch, state.strange, self._submitted_at[batch])
                if state.strange is not None and state.strange != strange:
                    self._say(f"batch {batch}: its status is '{state.strange}', which is unknown. Waiting for it.")
                misses, strange = 0, state.strange
            except NotThereError as error:
                misses += 1
                if misses == 1:
                    lines = [line for name, (line, _) in self._waiting.items() if self._batch_of.get(name) == batch]
                    twice = if_missing(lines, max_costs(self._teacher, lines), is_earlier=batch in self._earlier)
                    self._say(f"batch {batch}: {error.what} {twice}")
                elif misses == _MISSES_IN_A_ROW and batch in self._earlier:
                    self._say(f"batch {batch}: it no longer exists. Its requests are submitted again.")
                    return None
                elif misses == _MISSES_IN_A_ROW:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(_MAX_POLL_FACTOR * self._poll_s, wait_s * 1.5)

    async def settle_unasked(self) -> None:
        """Replace the most that earlier batches may cost by their real cost, if they have ended although no question of
        this run is in them (the prompt or the model has changed since, for example)."""
        if self._unread:
            await settle_unasked(self._open, self._watched, self._say)

    def _resubmit(self, names: Iterable[str]) -> None:
        for name in names:
            self._deliver(StoredResult(name, _RESUBMIT, Results()))

    def _deliver(self, result: StoredResult) -> None:
        if result.name not in self._waiting:
            self._results[result.name] = result
        elif not (future := self._waiting[result.name][1]).done():
            future.set_result(result)

    def _fail_all(self, error: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    async def _open(self) -> EarlierBatches:
        async with self._opening:
            if not self._is_open:
                await self._connect()
        return self._earlier

    async def _connect(self) -> None:
        self._api = await BatchApi.connect(self._endpoint, self._teacher)
        self._stack.push_async_callback(self._api.close)
        self._earlier = EarlierBatches(self._store, self._api, self.holds, self._say, self._poll_s, self._others)
        try:
            await self._earlier.load()
        except FORMAT_ERRORS as error:
            raise explained(self._api.base, error) from None
        self._batch_of, self._submitted_at = self._earlier.batch_of, dict(self._earlier.submitted_at)
        self._is_open = True  # only now: concurrent calls would submit requests that are already in a batch
