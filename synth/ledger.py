"""The call ledger: a teacher is asked only through it; every answer is durable before it is used; none is bought twice.

A key names all that changes an answer; rows are `(key, attempt)`, and only status `ok` is a hit: docs/teachers.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from schemas.errors import BudgetReached
from schemas.failpoints import failpoint
from schemas.identity import made
from schemas.money import Cost, total
from schemas.records import Call, Json, Message, Record, Sampling, Usage, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.latest import key_again
from synth.answered import Answered
from synth.answers import AnswerJudge, why_bad
from synth.batches import OPEN_QUESTIONS, Batches
from synth.bulk import Bulk, Underway
from synth.chat_completions import Answer, RefusedError, StoppedError, UnansweredError, seems_cut
from synth.endpoint import Endpoint
from synth.flow import Flow
from synth.meter import Meter, Reserved
from synth.places import Places
from synth.question import Completion as Completion
from synth.question import FailedSample as FailedSample
from synth.question import Question as Question
from synth.question import completion
from synth.refusals import Refusals, once_more

# What is judged again whenever it is used: since then a rule may have changed, or the spec declared a finish reason.
_JUDGED_ANEW = ("received", "ok", "unknown_finish")


class Ledger:
    """Asks `endpoint` for what the store does not hold yet. One per teacher and process.

    `concurrency` (default `teacher.concurrency`) bounds requests on the wire; sent and not durable together are bounded
    at twice that. `retry_failed` grants samples whose attempts were exhausted another `teacher.attempts` answers each.
    A run whose first answers are all unusable, or nothing but thinking, or turned down, ends by a TeacherError, unless
    `keep_asking`. With `batches` it asks through them, and `concurrency` is how many questions are open.

    Counters: `reused` (samples answered from the store), `in_flight` (requests sent and not durable), `in_flight_peak`,
    `costs`, `usage` and `usd` of this run, `served` (model names the endpoint says it answered with), `cut_prompts`
    (requests of which the endpoint seems to have read only a part); `sent` comes from the endpoint."""

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
        self.identity = teacher.identity or teacher.model
        self.revision = teacher.revision
        self.concurrency = concurrency or (OPEN_QUESTIONS if batches is not None else teacher.concurrency)
        self.reused = self.in_flight_peak = self.cut_prompts = 0
        self.meter = Meter(store, teacher, stage)
        self.unconfirmed = self._usage_unknown = 0
        self.served: Counter[str] = Counter()
        self.store = store
        self.endpoint = endpoint
        self._batches = batches
        self._attempts = teacher.attempts
        self._stage = stage
        endpoint.flow.concurrency = min(endpoint.flow.concurrency, self.concurrency)
        self.undurable = Places(2 * self.concurrency)
        self.answered = Answered(store.each_answer())
        self.asking: dict[str, asyncio.Future[Completion | FailedSample] | None] = {}  # None: nobody else waits for it
        self.refusals = Refusals(self._again, self._keep_judgements, keep_asking=keep_asking)
        # Where any answer was good before, what is left may be the hard rows; a batch is paid for as a whole.
        tried = batches is not None or self.answered.any_is("ok")
        self.judge = AnswerJudge(teacher.finish_reasons, endpoint, keep_asking=keep_asking, tried=tried)
        self.begun: dict[str, Underway] = {}  # what was asked in bulk, and goes on here
        self._granted: dict[str, int] = {}
        if retry_failed:
            keys = (key for key, _, _ in store.each_answer())
            self._granted = {key: len(self._tried(key)) for key in keys if self._given_up(key)}

    @property
    def in_flight(self) -> int:
        """Requests sent and not durable."""
        in_batches = 0 if self._batches is None else self._batches.waiting
        return self.endpoint.flow.in_flight + in_batches + self.unconfirmed

    @property
    def sent(self) -> int:
        """HTTP requests for completions in this run, retries included."""
        return self.endpoint.sent

    @property
    def flow(self) -> Flow:
        """How they were sent, and how many of them again."""
        return self.endpoint.flow

    @property
    def usage_unknown(self) -> int:
        """Answers whose endpoint counted no tokens, and requests whose answer was lost: `usage` does not hold them."""
        return self._usage_unknown + self.endpoint.lost

    @property
    def usage(self) -> Usage:
        """Tokens of this run, as far as the endpoint counts them."""
        return total(self.costs).usage

    @property
    def usd(self) -> float | None:
        """US dollars of this run; None where any part is unknown."""
        return total(self.costs).total

    @property
    def costs(self) -> list[Cost]:
        """What this run has sent, by prompt."""
        return self.meter.costs

    def bulk(self) -> Bulk | None:
        """For one run's questions that are asked in bulk; None where they go in batches."""
        return Bulk(self) if self._batches is None else None

    def drain(self) -> None:
        """Send nothing more; what is on the wire becomes durable; other `complete` calls raise StoppedError."""
        self.endpoint.drain()
        if self._batches is not None:
            self._batches.drain()

    def would_ask(self, question: Question, n: int = 1) -> int:
        """How many of samples 0 to n - 1 `answer` would send a request for."""
        return sum(
            not any(status in _JUDGED_ANEW for _, status in self.answered.of(key)) and not self._given_up(key)
            for key in self.keys(question, n)
        )

    def keys(self, question: Question, n: int = 1) -> list[str]:
        """The keys of samples 0 to n - 1: those under which the store has any of them already, if it does."""
        own, *others = question.keys(self.identity, self.revision, n)
        known = (keys for keys in (own, *others) if any(key in self.answered for key in keys))
        return next(known, own) if others else own

    async def complete(
        self, messages: Sequence[Message], sampling: Sampling, n: int = 1, schema: Json | None = None
    ) -> list[Completion | FailedSample]:
        """`answer`, for a question of these parts."""
        return await self.answer(Question(messages, sampling, schema), n)

    async def answer(self, question: Question, n: int = 1) -> list[Completion | FailedSample]:
        """Element i is sample i of this question: from the store if it is there, else bought and made durable first.

        Where the question is `binding` an answer that breaks its schema is bad; else the schema is only sent.

        Samples that are missing are asked for in one request. A bad answer is asked again until the sample has had
        `teacher.attempts` answers in total, over all runs. With `sampling.seed`, sample i is drawn with seed + i: a
        request for samples i.. carries seed + i and is made for neighbouring samples only, which is how vLLM and the
        embedded teacher seed the choices of one request. Two calls for the same key at the same time send one
        request.

        Raises TeacherError (and its kinds) and StoreError, which concern every row, and StoppedError after `drain()`.
        """
        keys = self.keys(question, n)
        answers: dict[int, Completion | FailedSample] = {}
        while len(answers) < n:
            missing, kept, given_up = [], [], []
            asked_elsewhere: dict[int, asyncio.Future[Completion | FailedSample]] = {}
            for sample, key in enumerate(keys):
                if sample in answers:
                    continue
                if (begun := self.begun.get(key)) is not None and begun.keys == keys:
                    missing.append(sample)
                    continue
                if key in self.asking:
                    asked_elsewhere[sample] = self._asked(key)
                    continue
                answered = self.answered.of(key)
                if any(status in _JUDGED_ANEW for _, status in answered):
                    kept.append(sample)
                elif answered and self._given_up(key):
                    given_up.append(sample)
                else:
                    self.asking[key] = None
                    missing.append(sample)
            if missing:  # nothing is awaited between claiming a key above and the try that frees it in _settle
                answers |= await self._settle(question, keys, missing)
            for sample in kept:
                if (answer := await self._kept(keys[sample], question)) is not None:
                    answers[sample] = answer
            for sample in given_up:
                answers[sample] = await self._failed(keys[sample])
            for sample, asked in asked_elsewhere.items():
                await asyncio.wait((asked,))
                # Cancelled: its asker was, so the next round asks here.
                if not asked.cancelled():
                    answers[sample] = asked.result()
        return [answers[sample] for sample in range(n)]

    def _asked(self, key: str) -> asyncio.Future[Completion | FailedSample]:
        """What another asks for just now."""
        if (asked := self.asking[key]) is None:
            asked = self.asking[key] = asyncio.get_running_loop().create_future()
        return asked

    def _given_up(self, key: str) -> bool:
        """Whether a sample without a good answer has had all that it may have. What is all thinking, and what the
        endpoint turned down, is asked once: the same question ends in the same way."""
        statuses, before = self._tried(key), self._granted.get(key, 0)
        once = len(statuses) > before and statuses[-1] in ("thinking", "declined")
        return once or len(statuses) >= before + self._attempts

    def _tried(self, key: str) -> list[str]:
        """The statuses of the answers to a sample. A refusal that may be everybody's is none."""
        return [status for _, status in self.answered.of(key) if status != "unsettled"]

    async def _failed(self, key: str) -> FailedSample:
        """What became of a sample that is given up, in the words of its last answer."""
        *_, last = await asyncio.to_thread(self.store.calls, key)
        return FailedSample(why_bad(last.status, last.attempt, last.reason), key)

    async def _kept(self, key: str, question: Question) -> Completion | None:
        """The good answer that the store holds, judged again; None if it is not good any more, and TeacherError if
        nobody knows whether it is."""
        calls = await asyncio.to_thread(self.store.calls, key)
        now = [self.judge.judged(call, question) if call.status in _JUDGED_ANEW else call for call in calls]
        await self._keep_judgements([new for old, new in zip(calls, now, strict=True) if new != old])
        good = next((call for call in now if call.status == "ok"), None)
        if good is None:
            self.judge.stop_at_unknown(now)
            return None
        self.reused += 1
        return completion(good)

    async def _settle(
        self, question: Question, keys: Sequence[str], samples: list[int]
    ) -> dict[int, Completion | FailedSample]:
        """Ask until each of `samples` has a good answer, or no attempts left, or stays unanswered."""
        settled: dict[int, Completion | FailedSample] = {}
        try:
            while waiting := [sample for sample in samples if sample not in settled]:
                group = self._group(keys, waiting, seeded=question.sampling.seed is not None)
                try:
                    calls = await self._send(question, [keys[s] for s in group], group)
                except UnansweredError as failure:
                    settled |= {sample: FailedSample(str(failure), keys[sample]) for sample in waiting}
                    break
                for call in calls:
                    if call.status == "ok":
                        settled[call.sample] = completion(call)
                    elif call.status == "unsettled" or self._given_up(call.key):
                        settled[call.sample] = FailedSample(why_bad(call.status, call.attempt, call.reason), call.key)
                self.judge.stop_at_useless(calls)
        except BaseException as error:
            for sample in samples:
                self.release(keys[sample], settled.get(sample), error)
            raise
        for sample in samples:
            self.release(keys[sample], settled[sample], None)
        return settled

    def release(self, key: str, outcome: Completion | FailedSample | None, error: BaseException | None) -> None:
        """Let those who wait for `key` go on: with the outcome, with the error, or to ask for themselves."""
        asked = self.asking.pop(key)
        if asked is None:
            return
        if outcome is not None:
            asked.set_result(outcome)
        elif isinstance(error, Exception):
            asked.set_exception(error)
            asked.exception()  # it is raised by the asker; nobody else may be waiting
        else:
            asked.cancel()

    def _group(self, keys: Sequence[str], waiting: list[int], *, seeded: bool) -> list[int]:
        """The samples of the next request: all, or where each has a seed of its own, neighbours of equal attempt."""
        if not seeded:
            return waiting
        group, tried = waiting[:1], len(self.answered.of(keys[waiting[0]]))
        for sample in waiting[1:]:
            if sample != group[-1] + 1 or len(self.answered.of(keys[sample])) != tried:
                break
            group.append(sample)
        return group

    async def _send(self, question: Question, keys: list[str], samples: list[int]) -> list[Call]:
        """One request for `samples`; its rows, queued for the disk before anything looks into them, judged, durable."""
        begun = self.begun.get(keys[0])
        for key in begun.keys if begun is not None else ():
            del self.begun[key]
        if begun is not None and begun.calls:
            return begun.calls
        sampling = question.drawn(samples[0], len(self.answered.of(keys[0])))
        async with self.undurable if begun is None else self.undurable.taken:
            try:
                sent = self.refusals.sent() if begun is None else begun.sent
                answer = await self._answer(question, sampling, keys, begun)
                refusal = None
            except RefusedError as error:
                answer, refusal = error.answer, str(error)
            self.unconfirmed += 1  # the next request has been sent by now, before the disk has said anything
            self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
            try:
                calls, settled = self.rows(question, keys, samples, answer, refusal)
                # Queued before any code looks into them: whatever judging does, they are written.
                work, written = self.store.put_revisable([*calls, *settled])
                received = calls
                if refusal is None:
                    calls = [self.judge.judged(call, question) for call in received]
                revised = work.replace([*calls, *settled])
                try:
                    await written
                finally:  # cancelled, too: they are written all the same
                    for call in calls if revised else received:
                        self.answered.add(call.key, call.attempt, call.status)
            finally:
                self.unconfirmed -= 1
        failpoint("committed")
        if refusal is None and not revised:
            await self._keep_judgements(calls)
        if not answer.choices:
            await self.refusals.came(calls, self.endpoint.url)
        else:  # what a batch answers was sent together with what it refuses
            await self.refusals.answered(sent if self._batches is None else self.refusals.sent())
        return calls

    async def settle_refusals(self, error: object = None, *_: object) -> None:
        """At a run's end, if no error ended it: tell whose the last refusals are. TeacherError if everybody's."""
        if error is None:
            await self.refusals.decide(self.endpoint.url)

    async def _again(self, refused: Call) -> str | None:
        """Ask what was answered before once more: the words it is turned down with, empty if it is answered; None if
        nobody knows. What comes is paid for and kept, under a key that nobody asks for."""
        words = None
        for body, before in once_more(self.store, refused, self.endpoint.model):
            try:
                answer = await self.endpoint.send(body, paying=self.meter, prompt=before.prompt)
            except RefusedError as refusal:
                words = str(refusal)
                continue
            except (UnansweredError, StoppedError, BudgetReached):
                return None
            question = Question((), Sampling(), prompt=before.prompt)
            (call,), settled = self.rows(question, [key_again(before.key)], [0], answer, None)
            call = self.judge.judged(call, question)
            self.answered.add(call.key, call.attempt, call.status)  # cancelled, it is written all the same
            await self.store.put(call, *settled)
            if answer.choices:
                return ""
            words = call.reason
        return words

    async def _answer(self, question: Question, sampling: Sampling, keys: list[str], begun: Underway | None) -> Answer:
        """What one request for the samples of `keys` brings, now or in a batch."""
        if self._batches is None:
            asked = question.messages, sampling, len(keys), question.schema
            return await self.endpoint.ask(*asked, paying=self.meter, prompt=question.prompt, begun=begun)
        name = content_id("line", [keys, len(self.answered.of(keys[0]))])
        answer = await self._batches.ask(question.messages, sampling, len(keys), question.schema, name=name)
        return answer._replace(reserved=Reserved(answer.request, question.prompt, None, batch=True))

    def rows(
        self, question: Question, keys: list[str], samples: Sequence[int], answer: Answer, refusal: str | None
    ) -> tuple[list[Call], list[Record]]:
        """The ledger rows of one answer, not judged yet: one for each choice; where it held none, the whole body as the
        choice of each sample. And what settles its cost."""
        status = "received" if refusal is None else self.refusals.status
        if refusal is not None:
            choices: list[Any] = [{"error": refusal, "body": answer.body}] * len(samples)
            usage, settled = Usage(), list[Record]()
            usd: float | None = 0.0
        else:
            choices = answer.choices[: len(samples)] or [{"body": answer.body}] * len(samples)
            usage, usd, settled = self._count(answer)
        facts, attempts = answer.facts or {}, [len(self.answered.of(key)) + 1 for key in keys]
        if len(samples) > 1 and len(answer.choices) == 1:  # the tokens that were counted are those of this one
            facts = {**facts, "choices": 1}
        calls = [
            made(
                Call,
                {
                    "key": key,
                    "attempt": attempts[nth],
                    "status": status,
                    "request": answer.request,
                    "request_of": None if nth == 0 else (keys[0], attempts[0]),
                    "facts": facts if nth == 0 else {name: value for name, value in facts.items() if name != "usage"},
                    "raw": raw if isinstance(raw, dict) else {"body": raw},
                    "text": "",
                    "reason": refusal or "",
                    "usage": usage if nth == 0 else Usage(),
                    "usd": usd if nth == 0 else 0.0,
                    "request_id": answer.request_id,
                    "stage": self._stage,
                    "prompt": question.prompt,
                    "sample": sample,
                    "teacher": self.identity,
                    "endpoint": answer.url or self.endpoint.url,
                    "seconds": answer.seconds,
                },
            )
            for nth, (key, sample, raw) in enumerate(zip(keys, samples, choices, strict=False))
        ]
        return calls, settled

    def _count(self, answer: Answer) -> tuple[Usage, float | None, list[Record]]:
        if answer.model:
            self.served[answer.model] += 1
        if answer.usage is None:
            self._usage_unknown += 1
        else:
            self.cut_prompts += seems_cut(answer.request, answer.usage.prompt_tokens)
        tier = (answer.facts or {}).get("service_tier")
        usd, settled = self.meter.settle(answer.reserved, answer.usage, answer.usd, tier)
        return answer.usage or Usage(), usd, settled

    async def _keep_judgements(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        await self.store.judge(*calls)
        for call in calls:
            self.answered.mark(call.key, call.attempt, call.status)
