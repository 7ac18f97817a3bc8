"""The call ledger. Every request to a teacher goes through it: answers are durable before use, none is bought twice.

A key covers all that changes an answer. Rows are `(key, attempt)`, and only status `ok` is a hit: docs/teachers.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from schemas.errors import BudgetReached
from schemas.failpoints import failpoint
from schemas.identity import construct
from schemas.money import Cost, total
from schemas.records import Call, Json, Record, Sampling, Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.failures import refuse_full
from schemas.store.latest import probe_key
from synth.answer_index import AnswerIndex
from synth.answer_judge import AnswerJudge
from synth.answers import why_bad
from synth.batch.batches import IN_BATCHES, Batches
from synth.batch.lines import NotInBatchError, line_name
from synth.bulk import Bulk, BulkRequest
from synth.chat.completions import Answer, RefusedError, StoppedError, UnansweredError, prompt_seems_cut
from synth.endpoints.endpoint import Endpoint
from synth.endpoints.fair_semaphore import FairSemaphore
from synth.endpoints.first_answers import reported_wait
from synth.meter import Meter, Reserved
from synth.question import Completion as Completion
from synth.question import FailedSample as FailedSample
from synth.question import Question as Question
from synth.question import completion
from synth.refusals import Refusals, repeated_requests

Settled = Completion | FailedSample
# Judged again at every use: a rule may have changed since, or the spec may have declared a finish reason.
_REJUDGED = ("received", "ok", "unknown_finish")


class Ledger:
    """Asks `endpoint` for what the store does not hold yet. One per teacher and process.

    `concurrency` (default `teacher.concurrency`) limits the requests in flight; twice that number may be in flight or
    answered but not durable. `retry_failed` grants samples that have used up their attempts another `teacher.attempts`
    answers each. A run ends with a TeacherError if all further answers would be unusable or refused, unless
    `keep_asking`. With `batches` it asks through them, and four times `concurrency` questions are open.

    Counters: `reused` (samples answered from the store), `in_flight` (requests sent and not durable),
    `costs` and `usage` of this run, `served` (names of the models that answered, as reported by the endpoint),
    `cut_prompts` (requests of which the endpoint seems to have read only a part); `sent` comes from the endpoint.
    """

    def __init__(
        self,
        store: Store,
        endpoint: Endpoint,
        teacher: TeacherSettings,
        *,
        retry_failed: bool = False,
        concurrency: int | None = None,
        keep_asking: bool = False,
        stage: str = "generate",
        batches: Batches | None = None,
    ) -> None:
        self.teacher = teacher
        self.identity = teacher.known_as
        self.revision = teacher.revision
        self._in_batches = batches is not None and batches.submits
        self.concurrency = concurrency or (IN_BATCHES if self._in_batches else teacher.concurrency)
        self.reused = self.cut_prompts = 0
        self.meter = Meter(store, teacher, stage)
        self._usage_unknown = 0
        self.served: Counter[str] = Counter()
        self.store, self.endpoint, self.batches = store, endpoint, batches
        endpoint.refuse = partial(refuse_full, store.url)
        self._attempts = teacher.attempts
        self._stage = stage
        endpoint.flow.concurrency = min(endpoint.flow.concurrency, self.concurrency)
        self.places = FairSemaphore((4 if self._in_batches else 2) * self.concurrency)  # 4: all that the engine opens
        self.answered = AnswerIndex(store.each_answer())
        self.pending: dict[str, asyncio.Future[Settled] | None] = {}  # None: nobody else waits for it
        self.refusals = Refusals(self._ask_again, self._keep_judgements, keep_asking=keep_asking)
        repeat = None if keep_asking else self._ask_again
        meter = None if self._in_batches else self.meter
        self.judge = AnswerJudge(teacher.finish_reasons, endpoint, repeat, meter, keep_asking=keep_asking)
        self.handed_over: dict[str, BulkRequest] = {}  # handed over from bulk, to be continued here
        self._granted: dict[str, int] = {}
        keys = [key for key, _, _ in store.each_answer() if self._is_given_up(key)] if retry_failed else []
        self._granted = {key: len(self._settled_statuses(key)) for key in keys}

    @property
    def in_flight(self) -> int:
        """Number of requests that are sent and not durable yet."""
        in_batches = 0 if self.batches is None else self.batches.waiting
        return self.endpoint.flow.in_flight + in_batches + self.endpoint.flow.first.unjudged

    @property
    def sent(self) -> int:
        """Number of HTTP requests for completions in this run, retries included."""
        return self.endpoint.sent

    @property
    def usage_unknown(self) -> int:
        """Number of answers without a token count and of requests whose answer was lost: not part of `usage`."""
        return self._usage_unknown + self.endpoint.lost

    @property
    def usage(self) -> Usage:
        """Tokens of this run, as far as the endpoint reports them."""
        return total(self.costs).usage

    @property
    def costs(self) -> list[Cost]:
        """The costs of this run by prompt."""
        return self.meter.costs

    def bulk(self) -> Bulk | None:
        """A `Bulk` for the questions of one run; None if they go in batches."""
        return None if self._in_batches else Bulk(self)

    def drain(self) -> None:
        """Send nothing more: requests in flight become durable, waiting `answer` calls raise StoppedError."""
        self.endpoint.drain()
        if self.batches is not None:
            self.batches.drain()

    def may_be_in_batch(self, keys: Sequence[str]) -> bool:
        """Whether the answer for these samples is to be taken from a batch."""
        return self.batches is not None and self.batches.may_have(line_name(keys, len(self.answered.of(keys[0]))))

    def count_missing_samples(self, question: Question, n: int = 1) -> int:
        """For how many of samples 0 to n - 1 `answer` would send a request."""
        return sum(
            not any(status in _REJUDGED for _, status in self.answered.of(key)) and not self._is_given_up(key)
            for key in self.keys(question, n)
        )

    def keys(self, question: Question, n: int = 1) -> list[str]:
        """The keys of samples 0 to n - 1: in the spelling under which the store already has one of them, if any."""
        usual, *others = question.keys(self.identity, self.revision, n)
        known = (keys for keys in (usual, *others) if any(key in self.answered for key in keys))
        return next(known, usual) if others else usual

    async def answer(self, question: Question, n: int = 1) -> list[Settled]:
        """Return samples 0 to n - 1 of a question, each from the store if it is there, else bought and made durable.

        If the question is `binding`, an answer that violates its schema is bad; otherwise the schema is only sent.

        All missing samples are asked for in one request. A bad answer is asked for again until the sample has had
        `teacher.attempts` answers in total, over all runs. With `sampling.seed`, sample i is drawn with seed + i: a
        request for samples from i on carries seed + i and covers consecutive samples only, because vLLM and the
        embedded teacher seed the choices of one request that way. Concurrent calls for the same key share one request.

        Raises TeacherError (or a subclass) and StoreError, which concern every row, and StoppedError after `drain()`.
        """
        keys = self.keys(question, n)
        answers: dict[int, Settled] = {}
        while waiting := [sample for sample in range(n) if sample not in answers]:
            come_from = defaultdict[str, list[int]](list)
            for sample in waiting:
                come_from[self._claim(keys[sample], keys)].append(sample)
            elsewhere = {sample: self._pending_answer(keys[sample]) for sample in come_from["another call"]}
            if missing := come_from["a request"]:  # no await between claiming a key and the `try` that releases it
                self.judge.begin(question.prompt)
                answers |= await self._ask_until_settled(question, keys, missing)
            for sample in come_from["the store"]:
                if (answer := await self._load_good(keys[sample], question)) is not None:
                    answers[sample] = answer
            for sample in come_from["the last try"]:
                answers[sample] = await self._load_failure(keys[sample])
            for sample, pending in elsewhere.items():
                await asyncio.wait((pending,))
                # Cancelled together with the call that was asking: the next round asks here.
                if not pending.cancelled():
                    answers[sample] = pending.result()
        return [answers[sample] for sample in range(n)]

    def _claim(self, key: str, keys: Sequence[str]) -> str:
        """What the answer to a sample comes from. If that is a request, the key now belongs to the caller."""
        if (handed_over := self.handed_over.get(key)) is not None and handed_over.keys == keys:
            return "a request"  # claimed in bulk
        if key in self.pending:
            return "another call"
        answered = self.answered.of(key)
        if any(status in _REJUDGED for _, status in answered):
            return "the store"
        if answered and self._is_given_up(key):
            return "the last try"
        self.pending[key] = None
        return "a request"

    def _pending_answer(self, key: str) -> asyncio.Future[Settled]:
        """A future for the answer that another call is asking for."""
        if (pending := self.pending[key]) is None:
            pending = self.pending[key] = asyncio.get_running_loop().create_future()
        return pending

    def _is_given_up(self, key: str) -> bool:
        """Whether a sample without a good answer has used up its attempts. An answer that is only thinking, or a
        refusal by the endpoint, counts as final: the same question would end the same way."""
        statuses, before = self._settled_statuses(key), self._granted.get(key, 0)
        once = len(statuses) > before and statuses[-1] in ("thinking", "declined")
        return once or len(statuses) >= before + self._attempts

    def _settled_statuses(self, key: str) -> list[str]:
        """The statuses of the answers to a sample, without refusals that may not concern this row."""
        return [status for _, status in self.answered.of(key) if status != "unsettled"]

    async def _load_failure(self, key: str) -> FailedSample:
        """The failure of a sample that is given up, described by its last answer."""
        *_, last = await asyncio.to_thread(self.store.calls, key)
        return FailedSample(why_bad(last.status, last.attempt, last.reason), key)

    async def _load_good(self, key: str, question: Question) -> Completion | None:
        """The good answer in the store, judged again. None if it is no longer good; TeacherError if that cannot be
        decided."""
        calls = await asyncio.to_thread(self.store.calls, key)
        now = [self.judge.judged(call, question) if call.status in _REJUDGED else call for call in calls]
        await self._keep_judgements([new for old, new in zip(calls, now, strict=True) if new != old])
        good = next((call for call in now if call.status == "ok"), None)
        if good is None:
            self.judge.stop_if_unknown(now)
            return None
        self.reused += 1
        return completion(good)

    async def _ask_until_settled(
        self, question: Question, keys: Sequence[str], samples: list[int]
    ) -> dict[int, Settled]:
        """Ask until each of `samples` has a good answer, has no attempts left, or remains unanswered."""
        settled: dict[int, Settled] = {}
        try:
            while waiting := [sample for sample in samples if sample not in settled]:
                group = waiting if question.sampling.seed is None else self.answered.consecutive(keys, waiting)
                try:
                    calls = await self._send(question, [keys[s] for s in group], group)
                except UnansweredError as failure:
                    settled |= {sample: FailedSample(str(failure), keys[sample]) for sample in waiting}
                    break
                for call in calls:
                    if call.status == "ok":
                        settled[call.sample] = completion(call)
                    elif call.status == "unsettled" or self._is_given_up(call.key):
                        settled[call.sample] = FailedSample(why_bad(call.status, call.attempt, call.reason), call.key)
                await self.judge.stop_if_useless(calls, question)
        except BaseException as error:
            for sample in samples:
                self.release(keys[sample], settled.get(sample), error)
            raise
        for sample in samples:
            self.release(keys[sample], settled[sample], None)
        return settled

    def release(self, key: str, outcome: Settled | None, error: BaseException | None) -> None:
        """Release `key`: calls that wait for it get the outcome or the error, or else ask themselves."""
        pending = self.pending.pop(key)
        if pending is None:
            return
        if outcome is not None:
            pending.set_result(outcome)
        elif isinstance(error, Exception):
            pending.set_exception(error)
            pending.exception()  # mark as retrieved: the asking call raises it, and nothing else may be waiting
        else:
            pending.cancel()

    async def _send(self, question: Question, keys: list[str], samples: list[int]) -> list[Call]:
        """Send one request for `samples`. Its rows are queued for the disk first, then judged, and made durable."""
        handed_over = self.handed_over.get(keys[0])
        for key in handed_over.keys if handed_over is not None else ():
            del self.handed_over[key]
        if handed_over is not None and handed_over.calls:
            return handed_over.calls
        sampling = question.sampling_for(samples[0], len(self.answered.of(keys[0])))
        async with self.places if handed_over is None else self.places.held():
            try:
                sent = self.refusals.sent() if handed_over is None else handed_over.sent
                answer = await self._answer(question, sampling, keys, handed_over)
                refusal = None
            except RefusedError as error:
                answer, refusal = error.answer, str(error)
            self.endpoint.flow.first.received(question.prompt)  # its place in flight is free again
            try:
                received, settled = self.rows(question, keys, samples, answer, refusal)
                if self.batches is not None:  # in the same commit: an answer counts in its row or in its batch
                    settled += self.batches.holds.changes()
                # Queued before any code looks at them, so that they are written whatever judging does.
                work, written = self.store.put_revisable([*received, *settled])
                calls = [self.judge.received(call, question) for call in received] if refusal is None else received
                revised = work.replace([*calls, *settled])
                try:
                    await written
                finally:  # also if cancelled: they are written all the same
                    for call in calls if revised else received:
                        self.answered.add(call.key, call.attempt, call.status)
            finally:
                self.endpoint.flow.first.judged(question.prompt)
                if self.batches is not None and answer.reserved is not None and answer.reserved.batch:
                    self.batches.places.release()
        failpoint("committed")
        if refusal is None and not revised:
            await self._keep_judgements(calls)
        if not answer.choices:
            await self.refusals.record_refusal(calls, self.endpoint.url)
        elif self._in_batches:  # its requests are sent together, so an answer settles all refusals of the batch
            await self.refusals.answered(self.refusals.sent())
        elif calls[0].transport == "http":  # one in a batch of an earlier run says nothing about this one
            await self.refusals.answered(sent)
        return calls

    async def settle_refusals(self, error: object = None, *_: object) -> None:
        """At the end of a run without an error, decide the open refusals. TeacherError if they concern every row."""
        if error is None:
            await self.refusals.decide(self.endpoint.url)

    @reported_wait
    async def _ask_again(
        self, request: Json, prompt: str, like: Question | None = None, *, once: bool = False, beside: bool = False
    ) -> str | None:
        """Repeat a question that was answered before, with the settings of `request`. Returns the text of the refusal,
        empty if it is answered, None if that is unknown. It is paid for, with its own key. With `like`, it must be one
        of the same prompt, and answered usably for `like`."""
        of, text = (self.endpoint.model, self.identity, prompt), None
        earlier = repeated_requests(self.store, request, *of, only_this_prompt=like is not None)
        for body, before in await asyncio.to_thread(list, earlier) if once else earlier:  # may take seconds
            if like is not None and not self.judge.is_usable(before, like):
                continue
            try:
                answer = await self.endpoint.send(body, account=self.meter, prompt=before.prompt, once=once, ahead=True)
            except RefusedError as refusal:
                text = str(refusal)
                continue
            except (UnansweredError, StoppedError, BudgetReached):
                return None
            question = (like or Question((), Sampling()))._replace(prompt=before.prompt)
            (call,), settled = self.rows(question, [probe_key(before.key)], [0], answer, None)
            call = self.judge.judged(call, question)
            self.answered.add(call.key, call.attempt, call.status)  # before the await: written even if cancelled
            await self.store.put(call, *settled)
            if answer.choices and (like is None or self.judge.is_usable(call, like)):
                return ""
            text = call.reason or "it cannot be read"
        return text

    async def _answer(
        self, question: Question, sampling: Sampling, keys: list[str], bulk: BulkRequest | None
    ) -> Answer:
        """Send one request for the samples of `keys`, directly or in a batch."""
        prompt, parts = question.prompt, (question.messages, sampling, len(keys), question.schema)
        if self.batches is not None and self.may_be_in_batch(keys):
            with suppress(NotInBatchError):
                answer = await self.batches.ask(*parts, name=line_name(keys, len(self.answered.of(keys[0]))))
                held = Reserved(answer.request, prompt, None, batch=True, usd=answer.reserved)
                return answer._replace(reserved=held)
        control = partial(self._ask_again, prompt=prompt, once=True)
        return await self.endpoint.ask(*parts, account=self.meter, prompt=prompt, started=bulk, control=control)

    def rows(
        self,
        question: Question,
        keys: list[str],
        samples: Sequence[int],
        answer: Answer,
        refusal: str | None = None,
        first: bool = False,
    ) -> tuple[list[Call], list[Record]]:
        """The ledger rows of one answer, not judged yet, and the records that settle its cost. There is one row per
        choice; without a choice, each sample gets the whole body as its choice. The first row has the tokens and the
        cost of all; the others refer to its request. `first`: none has an earlier answer."""
        whole: Json = {"body": answer.body} if refusal is None else {"error": refusal, "body": answer.body}
        choices = answer.choices[: len(samples)] or [whole] * len(samples)
        usage, usd, settled = (Usage(), 0.0, list[Record]()) if refusal is not None else self._count_answer(answer)
        in_batch = self._in_batches if answer.reserved is None else answer.reserved.batch
        common: Json = {
            "status": "received" if refusal is None else self.refusals.status,
            "request": answer.request,
            "text": "",
            "reason": refusal or "",
            "request_id": answer.request_id,
            "stage": self._stage,
            "prompt": question.prompt,
            "teacher": self.identity,
            "endpoint": answer.url or self.endpoint.url,
            "transport": "batch" if in_batch else "http",
            "seconds": answer.seconds,
        }
        facts = answer.facts or {}
        if len(samples) > 1 and len(answer.choices) == 1:  # the token count is that of this single choice
            facts = {**facts, "choices": 1}
        of_others = {name: value for name, value in facts.items() if name != "usage"} if len(samples) > 1 else facts
        places = [(key, 1 if first else len(self.answered.of(key)) + 1) for key in keys]
        rows = [
            construct(
                Call,
                {
                    **common,
                    "key": key,
                    "attempt": attempt,
                    "sample": sample,
                    "request_of": places[0] if nth else None,
                    "facts": of_others if nth else facts,
                    "raw": raw if isinstance(raw, dict) else {"body": raw},
                    "usage": Usage() if nth else usage,
                    "usd": 0.0 if nth else usd,
                },
            )
            for nth, ((key, attempt), sample, raw) in enumerate(zip(places, samples, choices, strict=False))
        ]
        return rows, settled

    def _count_answer(self, answer: Answer) -> tuple[Usage, float | None, list[Record]]:
        if answer.model:
            self.served[answer.model] += 1
        if answer.usage is None:
            self._usage_unknown += 1
        else:
            self.cut_prompts += prompt_seems_cut(answer.request, answer.usage.prompt_tokens)
        usd, settled = self.meter.settle(answer.reserved, answer.usage, answer.usd, answer.facts)
        return answer.usage or Usage(), usd, settled

    async def _keep_judgements(self, calls: Sequence[Call]) -> None:
        if calls:
            await self.store.judge(*calls)
        for call in calls:
            self.answered.mark(call.key, call.attempt, call.status)
