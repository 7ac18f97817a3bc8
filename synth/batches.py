"""Asking through a provider's batch API: the same answers within a day, at half the price.

For the ledger it is another way to get an answer. Lines are gathered until nobody adds one, handed over, and their
names and the batch's id are in the store before anyone waits: a process that ends meanwhile finds them again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Self

import orjson

from schemas.errors import TeacherError
from schemas.failpoints import failpoint
from schemas.money import dollars
from schemas.progress import Say
from schemas.records import Artifact, Json, Message, Sampling, Usage, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.wording import counted
from synth.batch_api import BatchApi, NotThereError, not_in_batches
from synth.batch_lines import Announced, BatchLine, Result, State
from synth.chat_completions import (
    Answer,
    DoubtedError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    UnansweredError,
    one_line,
    read_answer,
)
from synth.endpoint import Endpoint
from synth.error_words import error_body
from synth.prices import FREE, prices_of
from synth.question import limit_of

OPEN_QUESTIONS = 10_000  # asked at once, so that a batch is worth waiting for
KEPT = timedelta(days=29)  # how long providers keep results, or less
ITS_TIME = timedelta(hours=48)  # in which every provider is done with a batch, or says that it expired
_POLL_LONGEST = 60  # times the first wait
_MISSES_IN_A_ROW = 20  # a batch is forgotten for a moment at times, or its results are (anthropic-sdk-python#1432)
_OTHER_FORM = (ValueError, TypeError, AttributeError, KeyError, IndexError)  # of an answer, met while it is read
_TOO_MUCH = re.compile(r"enqueued token|token_limit_exceeded|too many (enqueued|queued)", re.IGNORECASE)
# The status of a line that is to go into another batch, and of one whose batch was cancelled at the provider.
_AGAIN, _CANCELLED = -1, -2


class Batches:
    """Asks `endpoint`'s provider in batches. Use as an async context manager.

    `gather_s` is how long nobody may add a line before what was gathered is handed over. A line that expired, was
    cancelled or met a fault of the server is handed over again, `retries` times; then its row is unanswered. A batch of
    more tokens than the account may have waiting is handed over in halves, one after the other. `poll_s` is the first
    wait before a batch is asked for again.
    """

    def __init__(
        self,
        store: Store,
        endpoint: Endpoint,
        teacher: TeacherSettings,
        say: Say,
        *,
        gather_s: float = 1.0,
        poll_s: float = 1.0,
    ) -> None:
        if refusal := not_in_batches(teacher):
            raise refusal
        self._store, self._endpoint, self._teacher, self._say = store, endpoint, teacher, say
        self._gather_s, self._poll_s = gather_s, poll_s
        self._queue: list[BatchLine] = []
        self._waiting: dict[str, tuple[BatchLine, asyncio.Future[Result]]] = {}
        self._results: dict[str, Result] = {}  # that came before they were asked for
        self._batch_of: dict[str, str] = {}
        self._earlier: set[str] = set()  # batches of runs before this one
        self._guessed: dict[str, Announced] = {}  # those that bear no label, until a line in it is one of ours
        self._since: dict[str, datetime] = {}  # when a batch was handed over
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._api: BatchApi
        self._is_open, self._opened = False, AsyncExitStack()
        self._opening = asyncio.Lock()
        self._most: int | None = None  # lines in a batch, where the account takes no more at once
        self._alone = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks, *self._watched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._opened.aclose()

    @property
    def waiting(self) -> int:
        """Lines that were handed over, or are about to be, and have no answer yet."""
        return len(self._waiting)

    def drain(self) -> None:
        """Hand nothing more over, and wait for nothing; what is on its way is found by the next run."""
        self._end_all(StoppedError())

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, n: int, schema: Json | None, *, name: str
    ) -> Answer:
        """`Endpoint.ask`, through a batch. `name` is the same when the same answer is asked for after a crash."""
        async with self._opening:
            if not self._is_open:
                await self._open()
        body = self._endpoint.dialect.body(messages, sampling, n, schema)
        if n == 1 or (self._api.form.takes_n and "n" in body):
            return await self._line(BatchLine(name, body))
        body.pop("n", None)
        # A seed draws each sample otherwise, as servers that take `n` do.
        bodies = [{**body, "seed": body["seed"] + i} if "seed" in body else body for i in range(n)]
        lines = [BatchLine(f"{name}-{i}", one) for i, one in enumerate(bodies)]
        return _together(await asyncio.gather(*map(self._line, lines)))

    async def _line(self, line: BatchLine) -> Answer:
        loop = asyncio.get_running_loop()
        began, tries, doubts = loop.time(), 0, 0
        while True:
            if self._endpoint.flow.draining.is_set():
                raise StoppedError
            result = self._results.pop(line.name, None)
            if result is None:
                future = loop.create_future()
                self._waiting[line.name] = line, future
                if (batch := self._batch_of.get(line.name)) is not None:
                    self._watch(batch)
                else:
                    self._queue.append(line)
                    if self._timer is not None:
                        self._timer.cancel()
                    self._timer = loop.call_later(self._gather_s, self._hand_over)
                try:
                    result = await future
                finally:
                    self._waiting.pop(line.name, None)
            batch = self._batch_of.pop(line.name, None)
            seconds = loop.time() - began
            if result.status == 200:
                return read_answer(result.content, seconds, line.body)
            if result.status == _AGAIN or (result.status == _CANCELLED and batch in self._earlier):
                continue
            if result.status == _CANCELLED:
                raise ServerFaultError(f"batch {batch} was cancelled at the provider; the next run asks again")
            words = error_body(result.content)[1].get("message")
            words = one_line(self._endpoint.shown(str(words or "")))
            reason = f"the batch did not get to it{words and f' ({words})'}"
            if result.status:
                failure = await self._endpoint.failure(result.status, {}, result.content, line.body, seconds)
                if isinstance(failure, DoubtedError):
                    doubts += batch not in self._earlier
                    if not failure.of_key or doubts > 1:  # a key that a gateway did not know for a moment it knows now
                        failure = failure.verdict
                if isinstance(failure, RefusedError) and self._endpoint.dialect.adapt(line.body, failure):
                    continue
                if isinstance(failure, TeacherError) and batch in self._earlier:
                    continue  # so it was when that batch was handed over; since then it may have been mended
                if not isinstance(failure, UnansweredError):  # that one passes
                    raise failure
                reason = failure.what
            tries += 1
            if tries > self._teacher.retries:
                raise ServerFaultError(reason)
            self._endpoint.flow.retries_by_kind["server" if result.status else "expired"] += 1

    # -- handing over --------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        lines, self._queue = self._queue, []
        task = asyncio.ensure_future(self._submit_all(lines))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit_all(self, lines: list[BatchLine]) -> None:
        try:
            while lines:
                size, count = 0, 0
                for line in lines[: self._most or self._api.form.max_lines]:
                    size += len(orjson.dumps(line.body)) + 200
                    if count and size > self._api.form.max_bytes:
                        break
                    count += 1
                part, lines = lines[:count], lines[count:]
                if self._most is None:
                    await self._submit(part)
                    continue
                async with self._alone:
                    await asyncio.wait((self._watched[await self._submit(part)],))
        except Exception as error:  # it is the failure of every line, and each asker raises it
            self._end_all(self._named(error))

    def _named(self, error: Exception) -> Exception:
        """What was raised, in words where it was met in an answer."""
        if not isinstance(error, _OTHER_FORM):
            return error
        return TeacherError(
            f"The provider's batch API answers in another form than expected ({type(error).__name__}: {error}).",
            where=self._api.base,
            why="What was handed over may be on its way there all the same, and be charged.",
            fix="Cancel it there before you ask again; teacher.batch_api names its form. Everything answered is kept.",
        )

    async def _submit(self, lines: list[BatchLine]) -> str:
        names = [line.name for line in lines]
        label = content_id("batch", [names, datetime.now(UTC).isoformat()])[:16]
        await self._store.put(Artifact(id=f"batch:{label}", kind="batch", path="", facts={"lines": names}))
        failpoint("batch_announced")
        batch = await self._api.submit(lines, label)
        failpoint("batch_made")
        await self._put_made(label, batch)
        self._since[batch] = datetime.now(UTC)
        self._endpoint.sent += len(lines)
        self._say(
            f"batch {batch}: {counted(len(lines), 'request', 'requests')} handed over; answers come within 24 hours, "
            f"mostly sooner, and cost {self._saving(lines)}. Ctrl-C is safe: the next run with --batch waits for it."
        )
        for name in names:
            self._batch_of[name] = batch
        self._watch(batch)
        return batch

    def _saving(self, lines: Sequence[BatchLine]) -> str:
        usd = self._usd(lines)
        if usd is None:
            return "what they would now" if self._teacher.batches_like == "together" else "half of what they would now"
        return f"about {dollars(usd[1])} at most, where the same now would cost {dollars(usd[0])}"

    def _usd(self, lines: Sequence[BatchLine]) -> tuple[float, float] | None:
        """What lines cost at most, asked for now and in a batch; None if nobody knows."""
        prices = prices_of(self._teacher)
        if prices is None or prices.source == FREE or not all(limit_of(line.body) for line in lines):
            return None
        each = [  # a list may ask other prices for a long prompt, which is one line's
            Usage(
                prompt_tokens=sum(len(m["content"].encode()) for m in line.body["messages"]) // 4,
                completion_tokens=int(line.body.get("n") or 1) * (limit_of(line.body) or 0),
            )
            for line in lines
        ]
        return sum(prices.usd(usage) or 0.0 for usage in each), sum(map(prices.in_batch, each))

    # -- waiting -------------------------------------------------------------------------------------------------

    def _watch(self, batch: str) -> None:
        if batch not in self._watched:
            self._watched[batch] = asyncio.ensure_future(self._until_it_ends(batch))

    async def _until_it_ends(self, batch: str) -> None:
        try:
            ended = await self._ended(batch)
            names = {name for name, its in self._batch_of.items() if its == batch}
            state, results = ended or (None, [])
            if (guess := self._guessed.pop(batch, None)) and not any(result.name in names for result in results):
                if (other := await self._looked_for(guess, batch)) is not None:
                    self._batch_of.update(dict.fromkeys(names, other))
                    self._watch(other)
                    return
            elif guess:
                await self._put_made(guess.label, batch)
            if state is None:
                self._ask_again(names)
                return
            if state.failure is not None and len(names) > 1 and _TOO_MUCH.search(state.failure):
                self._most = len(names) // 2
                self._say(
                    f"batch {batch}: {one_line(state.failure)} It is handed over again, {self._most:,} at a time."
                )
                self._ask_again(names)
                return
            if state.failure is not None and batch in self._earlier:
                self._ask_again(names)  # since then what it names may have been mended
                return
            if state.failure is not None:
                raise TeacherError(
                    f"The provider refused the batch ({one_line(state.failure)}).",
                    where=self._api.base,
                    fix="Nothing of it was answered. Run without --batch, or mend what it names.",
                )
            # Before any refusal is read: it concerns its row alone where others were answered.
            self._endpoint.answered |= any(result.status == 200 for result in results)
            came = {result.name: result for result in reversed(results) if result.name in names}
            for name in names:
                result = came.get(name, Result(name, 0, b"{}"))
                self._found(result if result.status or not state.cancelled else Result(name, _CANCELLED, b"{}"))
        except Exception as error:  # each asker raises it
            self._end_all(self._named(error))

    async def _ended(self, batch: str) -> tuple[State, list[Result]] | None:
        """The last state of a batch and what came of it. None: one of an earlier run that is not there any more."""
        wait_s, misses, strange = self._poll_s, 0, None
        while True:
            try:
                state = await self._api.state(batch)
                if state.failure is not None:
                    return state, []
                if state.ended:
                    return state, list(await self._api.results(state))
                if state.strange is not None and datetime.now(UTC) - self._since[batch] > ITS_TIME:
                    with suppress(NotThereError):
                        if results := list(await self._api.results(state)):
                            return state, results
                    raise self._overdue(batch, state.strange)
                if state.strange is not None and state.strange != strange:
                    self._say(
                        f"batch {batch}: it is '{state.strange}' there, a word that is not known. Waiting for it."
                    )
                misses, strange = 0, state.strange
            except NotThereError as error:
                misses += 1
                if misses == 1:
                    self._say(f"batch {batch}: {error.what} {self._again(batch)}")
                elif misses == _MISSES_IN_A_ROW and batch in self._earlier:
                    self._say(f"batch {batch}: it is not there any more. Its requests are handed over again.")
                    return None
                elif misses == _MISSES_IN_A_ROW:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(_POLL_LONGEST * self._poll_s, wait_s * 1.5)

    async def _looked_for(self, announced: Announced, wrong: str = "") -> str | None:
        """A batch that was announced and of which nobody knows whether it was made, if the provider has it. Where it is
        known by size and hour alone it may be `wrong`: until one of its lines is ours, the next one is looked for."""
        others = {*announced.others, *self._guessed, *([wrong] if wrong else ())}
        batch = await self._api.find(announced._replace(others=others))
        if batch is not None:
            self._earlier.add(batch)
            self._since[batch] = announced.at
            if not self._api.form.labels:
                self._guessed[batch] = announced._replace(others=others)
        return batch

    async def _put_made(self, label: str, batch: str) -> None:
        await self._store.put(Artifact(id=f"batch:{label}:made", kind="batch", path=batch, facts={"label": label}))

    def _again(self, batch: str) -> str:
        """What becomes of a batch that is not there, and what that costs."""
        lines = [line for name, (line, _) in self._waiting.items() if self._batch_of.get(name) == batch]
        usd = self._usd(lines)
        price = "" if usd is None else f" (about {dollars(usd[1])} at most)"
        return (
            "It is looked for a while longer, then "
            + ("its requests are handed over again" if batch in self._earlier else "this run ends")
            + f". If it was deleted, the {len(lines):,} that wait for it are paid for twice{price}. If it was made "
            "with another key or at another address, press Ctrl-C and use that one."
        )

    def _overdue(self, batch: str, word: str) -> TeacherError:
        hours = (datetime.now(UTC) - self._since[batch]).total_seconds() / 3600
        return TeacherError(
            f"Batch {batch} is '{word}' after {hours:.0f} hours, a word that pairsmith does not know, and it "
            "has no results.",
            where=self._api.base,
            why="Waiting longer would hardly bring them, and asking again would pay for its requests twice.",
            fix="Everything answered is kept. Cancel or delete it at the provider, then run the same command again, "
            "which hands its requests over again. Or run without --batch.",
        )

    def _ask_again(self, names: Iterable[str]) -> None:
        for name in names:
            self._found(Result(name, _AGAIN, b"{}"))

    def _found(self, result: Result) -> None:
        if result.name not in self._waiting:
            self._results[result.name] = result
        elif not (future := self._waiting[result.name][1]).done():
            future.set_result(result)

    def _end_all(self, error: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    async def _open(self) -> None:
        self._api = await BatchApi.opened(self._endpoint, self._teacher)
        self._opened.push_async_callback(self._api.close)
        announced: dict[str, Artifact] = {}
        batches: dict[str, Artifact] = {}
        for artifact in self._store.artifacts("batch"):
            if artifact.at < datetime.now(UTC) - KEPT:
                continue
            if label := artifact.facts.get("label"):
                batches[label] = artifact
            else:
                announced[artifact.id.removeprefix("batch:")] = artifact
        others = [one.path for one in batches.values()]
        for label, artifact in announced.items():
            names: list[str] = artifact.facts["lines"]
            if (known := batches.get(label)) is not None:
                batch: str | None = known.path
                self._earlier.add(known.path)
                self._since[known.path] = known.at
            else:  # the process ended while it was handed over: it may be there, unknown to us
                try:
                    batch = await self._looked_for(Announced(label, len(names), artifact.at, others))
                except _OTHER_FORM as error:
                    raise self._named(error) from None
                if batch is not None and self._api.form.labels:
                    await self._put_made(label, batch)
                    others.append(batch)
            if batch is not None:
                self._batch_of.update(dict.fromkeys(names, batch))
        self._is_open = True  # not before: whoever asks meanwhile would hand over what is on its way


def _together(answers: Sequence[Answer]) -> Answer:
    """The answers to several lines of one question as one."""
    first = answers[0]
    used = [answer.usage for answer in answers if answer.usage is not None]
    total = Usage(**{name: sum(getattr(one, name) for one in used) for name in Usage.model_fields})
    choices = [choice for a in answers for choice in (a.choices or [{"body": a.body}])]
    sums = [answer.usd for answer in answers]
    usd = None if None in sums else sum(usd or 0.0 for usd in sums)
    return first._replace(choices=choices, usage=total if len(used) == len(answers) else None, usd=usd)
