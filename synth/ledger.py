"""The call ledger: a teacher is asked only through it; every answer is durable before it is used; none is bought twice.

A key names everything that changes an answer; rows are `(key, attempt)`, and only a row of status `ok` is a hit. See
docs/teachers.md for the whole contract.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.failpoints import failpoint
from schemas.records import Call, CallStatus, Json, Message, Sampling, Usage, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat_completions import Answer, Refused, Unanswered
from synth.endpoint import Endpoint

# Seeds of a sample's later attempts lie this far apart, beyond any number of samples.
_ATTEMPT_STRIDE = 1_000_003

_ADVICE = {
    "empty": "the answer held no text",
    "truncated": "the answer hit the token limit; raise sampling.max_tokens",
    "malformed": "the answer was no chat completion",
    "schema": "the answer did not match the schema",
    "refused": "the teacher refused",
}


class Completion(NamedTuple):
    """A usable answer: its ledger row is `(key, attempt)`. `logprobs` is as the endpoint sent it."""

    text: str
    key: str
    attempt: int
    logprobs: Any | None
    finish: str | None


class Miss(NamedTuple):
    """No usable answer. `reason` begins with one word: the status of the last bad answer (empty, truncated,
    malformed, schema, refused), or why none came (throttled, server, broken, timeout); the latter are asked again by
    the next run. The bad answers, if any came, are the store's calls of `key`."""

    reason: str
    key: str


class Ledger:
    """Asks `endpoint` for what the store does not hold yet. One per teacher and process.

    `concurrency` (default `teacher.concurrency`) bounds requests on the wire; answers that are not durable yet do not
    occupy those places, but sent and not durable together are bounded at twice that. `retry_failed` grants samples
    whose attempts were exhausted when the ledger was opened another `teacher.attempts` answers each.

    Counters: `reused` (samples answered from the store), `in_flight` (requests sent and not durable), `in_flight_peak`,
    `usage` and `usd` of this run, `usage_unknown` (answers whose endpoint counted no tokens: they are not in `usage`),
    `served` (model names the endpoint says it answered with); `sent` and `retries_by_kind` come from the endpoint.
    """

    def __init__(
        self,
        store: Store,
        endpoint: Endpoint,
        teacher: TeacherSettings,
        *,
        retry_failed: bool = False,
        concurrency: int | None = None,
    ) -> None:
        self.identity = teacher.identity or teacher.model
        self.revision = teacher.revision
        self.concurrency = concurrency or teacher.concurrency
        self.reused = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        self.usd = 0.0
        self.usage_unknown = 0
        self.served: Counter[str] = Counter()
        self._store = store
        self._endpoint = endpoint
        self._attempts = teacher.attempts
        self._usd_per_prompt_token = teacher.usd_per_million_prompt_tokens / 1e6
        self._usd_per_completion_token = teacher.usd_per_million_completion_tokens / 1e6
        self._tokens = [0, 0, 0]
        self._places = asyncio.Semaphore(self.concurrency)
        self._undurable = asyncio.Semaphore(2 * self.concurrency)
        self._index = store.call_index()
        self._asking: dict[str, asyncio.Future[Completion | Miss]] = {}
        self._validators: dict[str, Callable[[Any], str | None]] = {}
        self._limits: dict[str, int] = {}
        if retry_failed:
            for key, rows in self._index.items():
                if len(rows) >= self._attempts:
                    self._limits[key] = len(rows) + self._attempts

    @property
    def sent(self) -> int:
        """HTTP requests for completions in this run, retries included."""
        return self._endpoint.sent

    @property
    def retries_by_kind(self) -> Counter[str]:
        """How many of them were sent again, by the word of the failure."""
        return self._endpoint.retries_by_kind

    @property
    def usage(self) -> Usage:
        """Tokens of this run, as far as the endpoint counts them."""
        prompt, completion, cached = self._tokens
        return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)

    def drain(self) -> None:
        """Send nothing more; requests on the wire finish and become durable. Waiting `complete` calls raise Stopped."""
        self._endpoint.drain()

    async def complete(
        self, messages: Sequence[Message], sampling: Sampling, n: int = 1, schema: Json | None = None
    ) -> list[Completion | Miss]:
        """Element i is sample i of this question: from the store if it is there, else bought and made durable first.

        Samples that are missing are asked for in one request. A bad answer is asked again until the sample has had
        `teacher.attempts` answers in total, over all runs. With `sampling.seed`, sample i is drawn with seed + i: a
        request for samples i.. carries seed + i and is made for neighbouring samples only, which is how vLLM and the
        embedded teacher seed the choices of one request. Two calls for the same key at the same time send one
        request.

        Raises TeacherError (and its kinds) and StoreError, which concern every row, and Stopped after `drain()`.
        """
        question = self._question(messages, sampling, schema)
        keys = [content_id("sample", [question, sample]) for sample in range(n)]
        found: dict[int, Completion | Miss] = {}
        while len(found) < n:
            mine, kept = [], []
            others: dict[int, asyncio.Future[Completion | Miss]] = {}
            for sample, key in enumerate(keys):
                if sample in found:
                    continue
                if key in self._asking:
                    others[sample] = self._asking[key]
                    continue
                rows = self._index.get(key, [])
                if any(status == "ok" for _, status in rows):
                    kept.append(sample)
                elif len(rows) >= self._limits.get(key, self._attempts):
                    found[sample] = Miss(_why_bad(rows[-1][1], len(rows)), key)
                else:
                    self._asking[key] = asyncio.get_running_loop().create_future()
                    mine.append(sample)
            # Nothing is awaited between claiming a key above and the try that frees it in _settle.
            if mine:
                found |= await self._settle(keys, mine, messages, sampling, schema)
            for sample in kept:
                found[sample] = await self._kept(keys[sample])
            for sample, asked in others.items():
                await asyncio.wait((asked,))
                # Cancelled: its asker was, so the next round asks here.
                if not asked.cancelled():
                    found[sample] = asked.result()
        return [found[sample] for sample in range(n)]

    def _question(self, messages: Sequence[Message], sampling: Sampling, schema: Json | None) -> str:
        chat = [[m.role, m.content] for m in messages]
        return content_id("question", [self.identity, self.revision, chat, sampling.body(), schema])

    async def _kept(self, key: str) -> Completion:
        """The good answer that the store holds."""
        calls = await asyncio.to_thread(self._store.calls, key)
        self.reused += 1
        return _completion(next(call for call in calls if call.status == "ok"))

    async def _settle(
        self,
        keys: Sequence[str],
        samples: list[int],
        messages: Sequence[Message],
        sampling: Sampling,
        schema: Json | None,
    ) -> dict[int, Completion | Miss]:
        """Ask until each of `samples` has a good answer, or no attempts left, or stays unanswered."""
        settled: dict[int, Completion | Miss] = {}
        try:
            while waiting := [sample for sample in samples if sample not in settled]:
                group = self._group(keys, waiting, seeded=sampling.seed is not None)
                try:
                    calls = await self._send([keys[s] for s in group], group, messages, sampling, schema)
                except Unanswered as failure:
                    for sample in waiting:
                        settled[sample] = Miss(str(failure), keys[sample])
                    break
                for call in calls:
                    if call.status == "ok":
                        settled[call.sample] = _completion(call)
                    elif call.attempt >= self._limits.get(call.key, self._attempts):
                        reason = call.raw.get("error") or _why_bad(call.status, call.attempt)
                        settled[call.sample] = Miss(reason, call.key)
        except BaseException as error:
            for sample in samples:
                self._release(keys[sample], settled.get(sample), error)
            raise
        for sample in samples:
            self._release(keys[sample], settled[sample], None)
        return settled

    def _release(self, key: str, outcome: Completion | Miss | None, error: BaseException | None) -> None:
        """Let those who wait for `key` go on: with the outcome, with the error, or to ask for themselves."""
        asked = self._asking.pop(key)
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
        group = waiting[:1]
        tried = len(self._index.get(keys[group[0]], ()))
        for sample in waiting[1:]:
            if sample != group[-1] + 1 or len(self._index.get(keys[sample], ())) != tried:
                break
            group.append(sample)
        return group

    async def _send(
        self,
        keys: list[str],
        samples: list[int],
        messages: Sequence[Message],
        sampling: Sampling,
        schema: Json | None,
    ) -> list[Call]:
        """One request for `samples`; the rows it brought, durable."""
        if sampling.seed is not None:
            tried = len(self._index.get(keys[0], ()))
            seed = sampling.seed + samples[0] + _ATTEMPT_STRIDE * tried
            sampling = sampling.model_copy(update={"seed": seed})
        async with self._undurable:
            async with self._places:
                self.in_flight += 1
                self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
                try:
                    answer = await self._endpoint.ask(messages, sampling, len(samples), schema)
                    refusal = None
                except Refused as error:
                    answer, refusal = error.answer, str(error)
                except BaseException:
                    self.in_flight -= 1
                    raise
            # The place is free for the next request here, before the disk has said anything.
            try:
                calls = self._rows(keys, samples, answer, refusal, schema)
                await self._store.put(*calls)
            finally:
                self.in_flight -= 1
        failpoint("committed")
        for call in calls:
            self._index.setdefault(call.key, []).append((call.attempt, call.status))
        return calls

    def _rows(
        self, keys: list[str], samples: list[int], answer: Answer, refusal: str | None, schema: Json | None
    ) -> list[Call]:
        """The ledger rows of one answer: one for each choice; where it held none, a bad one for each sample."""
        judged: list[tuple[Any, CallStatus, str]]
        if refusal is not None:
            judged = [({"error": refusal, "body": answer.body}, "refused", "")] * len(samples)
            usage, usd = Usage(), 0.0
        else:
            judged = [(choice, *self._judged(choice, schema)) for choice in answer.choices[: len(samples)]]
            judged = judged or [({"body": answer.body}, "malformed", "")] * len(samples)
            usage, usd = self._count(answer)
        return [
            Call(
                key=key,
                attempt=len(self._index.get(key, ())) + 1,
                status=status,
                request=answer.request,
                raw=raw if isinstance(raw, dict) else {"body": raw},
                text=text,
                usage=usage if place == 0 else Usage(),
                usd=usd if place == 0 else 0.0,
                request_id=answer.request_id,
                sample=sample,
                teacher=self.identity,
                endpoint=self._endpoint.url,
                seconds=answer.seconds,
            )
            for place, (key, sample, (raw, status, text)) in enumerate(zip(keys, samples, judged, strict=False))
        ]

    def _count(self, answer: Answer) -> tuple[Usage, float]:
        if answer.model:
            self.served[answer.model] += 1
        usage = answer.usage
        if usage is None:
            self.usage_unknown += 1
            return Usage(), 0.0
        self._tokens[0] += usage.prompt_tokens
        self._tokens[1] += usage.completion_tokens
        self._tokens[2] += usage.cached_tokens
        usd = (
            usage.prompt_tokens * self._usd_per_prompt_token + usage.completion_tokens * self._usd_per_completion_token
        )
        self.usd += usd
        return usage, usd

    def _judged(self, choice: Any, schema: Json | None) -> tuple[CallStatus, str]:
        """Whether a choice is a usable answer, and its text."""
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            return "malformed", ""
        text = message.get("content")
        finish = choice.get("finish_reason")
        if message.get("refusal") or finish == "content_filter":
            return "refused", text if isinstance(text, str) else ""
        if text is not None and not isinstance(text, str):
            return "malformed", ""
        if finish == "length":
            return "truncated", text or ""
        if text is None or not text.strip():
            return "empty", text or ""
        if schema is not None and self._violation(text, schema) is not None:
            return "schema", text
        return "ok", text

    def _violation(self, text: str, schema: Json) -> str | None:
        """What in `text` breaks `schema` (JSON Schema, the draft it names), or None."""
        name = content_id("schema", schema)
        validate = self._validators.get(name)
        if validate is None:
            validate = self._validators[name] = _validator(schema)
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return str(error)
        return validate(parsed)


def _validator(schema: Json) -> Callable[[Any], str | None]:
    from jsonschema.validators import validator_for

    validator = validator_for(schema)(schema)

    def violation(value: Any) -> str | None:
        error = next(iter(validator.iter_errors(value)), None)
        return None if error is None else str(error.message)

    return violation


def _completion(call: Call) -> Completion:
    finish = call.raw.get("finish_reason")
    return Completion(call.text, call.key, call.attempt, call.raw.get("logprobs"), finish)


def _why_bad(status: str, attempt: int) -> str:
    return f"{status}: {_ADVICE[status]} (attempt {attempt})"
