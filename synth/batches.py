"""Asking through a provider's batch API: the same answers within a day, at half the price.

For the ledger it is another way to get an answer. Lines are gathered until nobody adds one, handed over, and their
names and the batch's id are in the store before anyone waits: a process that ends meanwhile finds them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import aiohttp
import orjson

from schemas.errors import TeacherError, Unreachable, UsageError
from schemas.failpoints import failpoint
from schemas.progress import Say
from schemas.records import Artifact, Json, Message, Sampling, Usage, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.batch_forms import BatchLine, Result, form_of
from synth.chat_completions import (
    Answer,
    RefusedError,
    ServerFaultError,
    StoppedError,
    UnansweredError,
    one_line,
    read_answer,
)
from synth.endpoint import Endpoint
from synth.prices import FREE, prices_of
from synth.proxy import REFUSALS, proxy_for, refused_by

OPEN_QUESTIONS = 10_000  # asked at once, so that a batch is worth waiting for
KEPT = timedelta(days=29)  # how long providers keep results, or less
_POLL_FIRST_S, _POLL_LONGEST_S = 1.0, 60.0
_FAULTS_IN_A_ROW = 20
_TOO_MUCH = re.compile(r"enqueued token|token_limit_exceeded|too many (enqueued|queued)", re.IGNORECASE)
_PART = -1  # the status of a line whose batch was more than the account may have waiting at once


class Batches:
    """Asks `endpoint`'s provider in batches. Use as an async context manager.

    `gather_s` is how long nobody may add a line before what was gathered is handed over. A line that expired, was
    cancelled or met a fault of the server is handed over again, `retries` times; then its row is unanswered. A batch of
    more tokens than the account may have waiting is handed over in halves, one after the other.
    """

    def __init__(
        self,
        store: Store,
        endpoint: Endpoint,
        teacher: TeacherSettings,
        say: Say,
        *,
        gather_s: float = 1.0,
    ) -> None:
        if teacher.url == "embedded":
            raise UsageError("the embedded teacher has no batch API.", fix="Run without --batch.")
        self._store, self._endpoint, self._teacher, self._say = store, endpoint, teacher, say
        self._gather_s = gather_s
        self._queue: list[BatchLine] = []
        self._waiting: dict[str, asyncio.Future[Result]] = {}
        self._results: dict[str, Result] = {}  # that came before they were asked for
        self._batch_of: dict[str, str] = {}
        self._earlier: set[str] = set()  # batches of runs before this one
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
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
        if self._session is not None:
            await self._session.close()

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
            if self._session is None:
                await self._open()
        body = self._endpoint.dialect.body(messages, sampling, n, schema)
        if self._form.takes_n or n == 1:
            return await self._line(BatchLine(name, body))
        body.pop("n", None)
        # A seed draws each sample otherwise, as servers that take `n` do.
        bodies = [{**body, "seed": body["seed"] + i} if "seed" in body else body for i in range(n)]
        lines = [BatchLine(f"{name}-{i}", one) for i, one in enumerate(bodies)]
        return _together(await asyncio.gather(*map(self._line, lines)))

    async def _line(self, line: BatchLine) -> Answer:
        loop = asyncio.get_running_loop()
        began, tries = loop.time(), 0
        while True:
            if self._endpoint.flow.draining.is_set():
                raise StoppedError
            result = self._results.pop(line.name, None)
            if result is None:
                self._waiting[line.name] = future = loop.create_future()
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
            if result.status == _PART:
                continue
            reason = "the batch did not get to it"
            if result.status:
                failure = await self._endpoint.failure(result.status, {}, result.content, line.body, seconds)
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
                for line in lines[: self._most or self._form.max_lines]:
                    size += len(orjson.dumps(line.body)) + 200
                    if count and size > self._form.max_bytes:
                        break
                    count += 1
                part, lines = lines[:count], lines[count:]
                if self._most is None:
                    await self._submit(part)
                    continue
                async with self._alone:
                    await asyncio.wait((self._watched[await self._submit(part)],))
        except Exception as error:  # it is the failure of every line, and each asker raises it
            self._end_all(error)

    async def _submit(self, lines: list[BatchLine]) -> str:
        names = [line.name for line in lines]
        label = content_id("batch", [names, datetime.now(UTC).isoformat()])[:16]
        await self._store.put(Artifact(id=f"batch:{label}", kind="batch", path="", facts={"lines": names}))
        failpoint("batch_announced")
        batch = await self._form.submit(self._call, self._base, self._teacher.model, lines, label)
        failpoint("batch_made")
        await self._store.put(Artifact(id=f"batch:{label}:made", kind="batch", path=batch, facts={"label": label}))
        self._endpoint.sent += len(lines)
        self._say(
            f"batch {batch}: {len(lines):,} requests handed over; answers come within 24 hours, mostly sooner, and "
            f"cost {self._saving(lines)}. Ctrl-C is safe: the next run with --batch waits for the same ones."
        )
        for name in names:
            self._batch_of[name] = batch
        self._watch(batch)
        return batch

    def _saving(self, lines: Sequence[BatchLine]) -> str:
        limits = [int(line.body.get("max_tokens") or line.body.get("max_completion_tokens") or 0) for line in lines]
        prices = prices_of(self._teacher)
        if prices is None or prices.source == FREE or not all(limits):
            return "half of what they would now"
        usage = Usage(
            prompt_tokens=sum(len(m["content"].encode()) for line in lines for m in line.body["messages"]) // 4,
            completion_tokens=sum(
                int(line.body.get("n") or 1) * limit for line, limit in zip(lines, limits, strict=True)
            ),
        )
        now, waited = prices.usd(usage) or 0.0, prices.in_batch(usage)
        return f"about ${waited:.2f} at most, where the same now would cost ${now:.2f}"

    # -- waiting -------------------------------------------------------------------------------------------------

    def _watch(self, batch: str) -> None:
        if batch not in self._watched:
            self._watched[batch] = asyncio.ensure_future(self._until_it_ends(batch))

    async def _until_it_ends(self, batch: str) -> None:
        try:
            wait_s = _POLL_FIRST_S
            while not (state := await self._form.state(self._call, self._base, batch)).ended:
                await asyncio.sleep(wait_s)
                wait_s = min(_POLL_LONGEST_S, wait_s * 1.5)
            names = {name for name, its in self._batch_of.items() if its == batch}
            if state.failure is not None and len(names) > 1 and _TOO_MUCH.search(state.failure):
                self._most = len(names) // 2
                self._say(
                    f"batch {batch}: {one_line(state.failure)} It is handed over again, {self._most:,} at a time."
                )
                for name in names:
                    self._found(Result(name, _PART, b"{}"))
                return
            if state.failure is not None:
                raise TeacherError(
                    f"The provider refused the batch ({one_line(state.failure)}).",
                    where=self._base,
                    fix="Nothing of it was answered. Run without --batch, or mend what it names.",
                )
            results = list(await self._form.results(self._call, self._base, state))
            # Before any refusal is read: it concerns its row alone where others were answered.
            self._endpoint.answered |= any(result.status == 200 for result in results)
            for result in results:
                if result.name in names:
                    names.discard(result.name)
                    self._found(result)
            for name in names:
                self._found(Result(name, 0, b"{}"))
        except Exception as error:  # each asker raises it
            self._end_all(error)

    def _found(self, result: Result) -> None:
        future = self._waiting.get(result.name)
        if future is None:
            self._results[result.name] = result
        elif not future.done():
            future.set_result(result)

    def _end_all(self, error: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    # -- the provider --------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        key, headers, self._params = await self._endpoint.access()
        self._base = self._endpoint.url
        self._form = form_of(self._teacher.batch_api, self._base)
        self._proxy = proxy_for(self._base)
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": "pairsmith", **dict(self._form.headers), **self._form.key(key), **headers},
            timeout=aiohttp.ClientTimeout(total=600, sock_connect=15),
            proxy=self._proxy,
        )
        announced: dict[str, list[str]] = {}
        batches: dict[str, str] = {}
        for artifact in self._store.artifacts("batch"):
            if artifact.at < datetime.now(UTC) - KEPT:
                continue
            if label := artifact.facts.get("label"):
                batches[label] = artifact.path
            else:
                announced[artifact.id.removeprefix("batch:")] = artifact.facts["lines"]
        for label, names in announced.items():
            batch = batches.get(label)
            if batch is None:  # the process ended while it was handed over: it may be there, unknown to us
                batch = await self._form.find(self._call, self._base, label)
                if batch is None:
                    continue
                await self._store.put(
                    Artifact(id=f"batch:{label}:made", kind="batch", path=batch, facts={"label": label})
                )
            self._earlier.add(batch)
            for name in names:
                self._batch_of[name] = batch

    async def _call(self, method: str, url: str, *, json: Any = None, form: aiohttp.FormData | None = None) -> bytes:
        """The body of an answer of status 200. A passing fault of a GET is waited out; what makes something is sent
        once, because nobody knows whether it was made."""
        assert self._session is not None
        faults = 0
        while True:
            data = form if form is not None else orjson.dumps(json) if json is not None else None
            headers = {"Content-Type": "application/json"} if json is not None else None
            try:
                async with self._session.request(
                    method, url, params=self._params, data=data, headers=headers, allow_redirects=False
                ) as response:
                    status, content = response.status, await response.read()
                if status in (200, 201):
                    return content
                if status == 407 and self._proxy is not None:
                    raise refused_by(self._proxy, url, status)
                if status < 500 and status != 429:
                    failure = await self._endpoint.failure(status, {}, content, {}, 0.0)
                    raise (
                        failure
                        if isinstance(failure, TeacherError)
                        else TeacherError(
                            f"The provider's batch API answers {str(failure).removeprefix('refused: ')}.",
                            where=url,
                            fix="Everything answered is kept. If it has no batch API, run without --batch; "
                            'teacher.batch_api = "openai", "mistral", "anthropic" or "gemini" names its form.',
                        )
                    )
                why = f"HTTP {status}"
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in REFUSALS:
                    raise refused_by(self._proxy or "", url, error.status) from None
                why = type(error).__name__
            faults += 1
            if (method != "GET" and why != "HTTP 429") or faults >= _FAULTS_IN_A_ROW:  # after a 429 nothing was made
                raise Unreachable(
                    f"The provider's batch API does not answer ({why}).",
                    where=url,
                    fix="Everything answered is kept, and batches on their way are found by the next run with --batch.",
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._endpoint.flow.draining.wait(), min(60.0, 2.0 ** (faults - 1)))


def _together(answers: Sequence[Answer]) -> Answer:
    """The answers to several lines of one question as one."""
    first = answers[0]
    used = [answer.usage for answer in answers if answer.usage is not None]
    total = Usage(**{name: sum(getattr(one, name) for one in used) for name in Usage.model_fields})
    choices = [choice for a in answers for choice in (a.choices or [{"body": a.body}])]
    sums = [answer.usd for answer in answers]
    usd = None if None in sums else sum(usd or 0.0 for usd in sums)
    return first._replace(choices=choices, usage=total if len(used) == len(answers) else None, usd=usd)
