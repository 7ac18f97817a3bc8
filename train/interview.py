"""Asking the systems of an evaluation, a server at a time, and judging their answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import aiohttp

from schemas.money import Cost, summed
from schemas.progress import Progress
from schemas.progress_line import clock
from schemas.records import Call, Seed, Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.answers import clean
from synth.endpoint import Endpoint
from synth.ledger import Completion, FailedSample, Ledger, Question
from synth.prices import free
from train.adapter_check import Probe, Scores, check_adapter, check_distinct, score, score_probes
from train.failures import REFUSAL
from train.local_model import serving
from train.measured_by_vllm import Scored, by_vllm
from train.metrics import MODES, NO_ANSWER, TUNED, AdapterCheck, Mode, Output
from train.systems import ASK_TIMEOUT_S, EvaluationPlan, LocalModel, System, decodings

_BEAT_S, _HEALTH_S = 1.0, 10.0
_PACE_TOKENS = 200  # prompts are read first, so the first tokens tell of no pace
OpenTeacher = Callable[[TeacherSettings], AbstractAsyncContextManager[Endpoint]]


class Answers(NamedTuple):
    """The answers of one system under one decoding, in the order of the seeds, the tokens they took and their cost in
    US dollars, None where any of it is unknown."""

    outputs: list[Output]
    usage: Usage
    usd: float | None


class Round(NamedTuple):
    """The answers of the systems that share a server, and their cost. `adapter_check` is there if it has an adapter,
    `validation` if it has the tuned model: its greedy answers to the validation inputs."""

    answers: list[dict[Mode, Answers]]
    adapter_check: AdapterCheck | None
    sent: int
    costs: list[Cost]
    validation: list[Output]


class Interview:
    """Asks systems one after another, each about all seeds at the same time, and judges the answers."""

    def __init__(self, plan: EvaluationPlan, store: Store, progress: Progress) -> None:
        self._plan, self._store, self._progress = plan, store, progress
        self._samples = {"sampled": plan.spec.evaluate.samples, "greedy": 1}
        self._base_scores: Scores | None = None
        self._has_merged = any(system.model.local and system.model.local.is_merged for system in plan.systems)
        self._done, self._total = 0, plan.answers_per_system * len(plan.systems) + len(plan.validation)
        self._due = 0  # of `_done`, once those that are asked now are done
        self._written = 0  # tokens of the answers that a server has given, as long as it runs

    async def ask(self, systems: Sequence[System], open_teacher: OpenTeacher | None) -> Round:
        """Open the server that `systems` share, and ask them."""
        model, concurrency = systems[0].model, self._plan.spec.evaluate.concurrency
        if model.local is None:
            assert open_teacher is not None, "a teacher is asked"
            opened = _remote(model.settings, open_teacher)
        else:
            opened = self._served(model.local, concurrency)
        beats = model.local is not None and model.local.vllm is None
        async with AsyncExitStack() as held:
            async with self._beating(starts=systems[0].name):  # loading it takes minutes on a busy machine
                endpoint, adapter_check = await held.enter_async_context(opened)
            await held.enter_async_context(self._beating(endpoint.url if beats else None))
            # A ledger each: the same model has other attempts as a teacher than as a base. A model that only thinks is
            # a result here, not a reason to stop.
            ledgers = [
                Ledger(
                    self._store,
                    endpoint,
                    system.model.settings if model.local is None else free(system.model.settings),
                    concurrency=concurrency,
                    keep_asking=True,
                    stage="evaluate",
                )
                for system in systems
            ]
            answers = [
                await self._asked(system, ledger, MODES, self._plan.seeds)
                for system, ledger in zip(systems, ledgers, strict=True)
            ]
            validation = [
                output
                for system, ledger in zip(systems, ledgers, strict=True)
                if TUNED in system.names
                for output in (await self._asked(system, ledger, ["greedy"], self._plan.validation))["greedy"].outputs
            ]
            costs = [cost for ledger in ledgers for cost in ledger.costs]
            return Round(answers, adapter_check, endpoint.sent, costs, validation)

    @asynccontextmanager
    async def _served(self, local: LocalModel, concurrency: int) -> AsyncIterator[tuple[Endpoint, AdapterCheck | None]]:
        """A local model under its own name, or under the name `tuned` with the adapter on. The tuned one is checked
        first, a merged model against the base, whose round comes before."""
        # Under the tuned system's prompts for every model, so that the scores compare.
        tuned = next(system for system in self._plan.systems if TUNED in system.names)
        probes = [Probe(tuned.messages(seed), text) for seed, text in self._plan.probes]
        async with _scored(local, concurrency) as served:
            check = None
            if local.adapter is not None:
                check = await check_adapter(served.score, served.base, served.name, probes)
            elif local.is_merged:
                assert self._base_scores is not None, "the base is asked before the tuned model"
                check = check_distinct(self._base_scores, await score_probes(served.score, served.name, probes), probes)
            elif self._has_merged:
                self._base_scores = await score_probes(served.score, served.name, probes)
            options: dict[str, Any] = {"key": served.key, "timeout_s": ASK_TIMEOUT_S, "concurrency": concurrency}
            async with Endpoint(served.base_url, served.name, **options) as endpoint:
                yield endpoint, check

    async def _asked(
        self, system: System, ledger: Ledger, modes: Sequence[Mode], seeds: Sequence[Seed]
    ) -> dict[Mode, Answers]:
        """The answers of a system under each decoding. One input is asked under all of them before the next, so that a
        server that keeps beginnings computes its prompt once."""
        # From here a rate counts: the first answers end together, after minutes.
        self._due = self._done + len(seeds) * sum(self._samples[mode] for mode in modes)
        self._progress("evaluate", {**self._numbers(), "system": system.name, "most_s": 0})
        tasks = [
            (mode, asyncio.create_task(self._seed(system, ledger, seed, mode))) for seed in seeds for mode in modes
        ]
        try:
            await asyncio.gather(*(task for _, task in tasks))
        finally:
            for _, task in tasks:
                task.cancel()
            await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
        return {mode: _together([task.result() for of, task in tasks if of == mode]) for mode in modes}

    def _numbers(self) -> dict[str, int]:
        in_flight = min(self._plan.spec.evaluate.concurrency, self._due - self._done)
        return {"done": self._done, "total": self._total, "in_flight": in_flight}

    @asynccontextmanager
    async def _beating(self, base_url: str | None = None, starts: str = "") -> AsyncIterator[None]:
        """Tell every second how far it is: that the server of the system `starts` is not up yet, or what the embedded
        server at `base_url` has written. Who reads a pipe sees a line only where something is told."""
        beat = asyncio.create_task(self._beat(base_url, starts))
        try:
            yield
        finally:
            self._written = 0
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _beat(self, base_url: str | None, starts: str) -> None:
        began, before = time.monotonic(), None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_HEALTH_S)) as session:
            while True:
                numbers: dict[str, Any] = {**self._numbers()}
                if starts:
                    system = f"starting {starts}, {clock(time.monotonic() - began)}"
                    numbers |= {"in_flight": 0, "system": system, "mode": "", "most_s": None}
                with suppress(aiohttp.ClientError, TimeoutError):
                    if base_url:
                        async with session.get(f"{base_url.removesuffix('/v1')}/health") as answer:
                            tokens = int((await answer.json())["generated_tokens"])
                        before = tokens if before is None else before
                        numbers |= self._most(tokens, tokens - before, time.monotonic() - began)
                        numbers["tokens"] = tokens
                self._progress("evaluate", numbers)
                await asyncio.sleep(_BEAT_S)

    def _most(self, tokens: int, since: int, seconds: float) -> dict[str, float]:
        """The seconds to the end where every answer that is left takes all of its tokens and they come as fast as the
        `since` of the last `seconds`; nothing where no limit is set or somebody else answers, too."""
        plan, limit = self._plan, decodings(self._plan.spec)[0].max_tokens
        alone = not plan.judging and all(system.model.local is not None for system in plan.systems)
        if not (alone and limit) or since < _PACE_TOKENS:
            return {}
        left = (self._total - self._done) * limit - max(0, tokens - self._written)
        return {"most_s": left * seconds / since}

    async def _seed(self, system: System, ledger: Ledger, seed: Seed, mode: Mode) -> Answers:
        samples = self._samples[mode]
        asked = system.messages(seed), system.sampling(mode, seed), system.schema, system.binding, system.name
        answers = await ledger.answer(Question(*asked), samples)
        calls = [await asyncio.to_thread(self._call_that_counts, system, answer) for answer in answers]
        outputs = []
        for sample, (answer, call) in enumerate(zip(answers, calls, strict=True)):
            blank = Output(
                system=system.name, mode=mode, seed_id=seed.id, sample=sample, answered=False, key=answer.key
            )
            outputs.append(blank if call is None else _judged(blank, call, self._plan, seed))
        self._done += len(outputs)
        taken = [_share_of(call, samples) for call in calls if call is not None]
        self._written += sum(usage.completion_tokens for usage, _ in taken)
        numbers = {**self._numbers(), "system": system.name, "mode": mode}
        if system.model.local is None or system.model.local.vllm is not None:
            numbers["tokens"] = ledger.usage.completion_tokens
        self._progress("evaluate", numbers)
        usd = None if any(share is None for _, share in taken) else sum(share or 0.0 for _, share in taken)
        return Answers(outputs, summed([usage for usage, _ in taken]), usd)

    def _call_that_counts(self, system: System, answer: Completion | FailedSample) -> Call | None:
        """The ledger row that counts: the first attempt as it came, because asking again after a cut or empty answer
        would flatter whoever gives those; of the teacher as it generates, the answer that generation ends up with."""
        calls = self._store.calls(answer.key)
        if system.decoding == "evaluation":
            return calls[0] if calls else None
        if isinstance(answer, Completion):
            return next(call for call in calls if call.attempt == answer.attempt)
        return calls[-1] if calls else None


def _together(answers: Sequence[Answers]) -> Answers:
    """Those to several inputs as one."""
    usd = None if any(given.usd is None for given in answers) else sum(given.usd or 0.0 for given in answers)
    return Answers([o for given in answers for o in given.outputs], summed([given.usage for given in answers]), usd)


@asynccontextmanager
async def _scored(local: LocalModel, max_batch: int) -> AsyncIterator[Scored]:
    """The server that measures `local`."""
    if local.vllm is not None:
        async with by_vllm(local, local.vllm) as served:
            yield served
        return
    async with serving(local, max_batch=max_batch) as (server, name):
        yield Scored(server.base_url, server.model, name, partial(score, server.base_url))


def _judged(blank: Output, call: Call, plan: EvaluationPlan, seed: Seed) -> Output:
    """`blank` with the answer of `call` in it, and its checks."""
    text = plan.form.canonical(clean(call.text))
    checked = plan.checks(seed.body, text, plan.reference_of(seed))
    output = blank.model_copy(
        update={
            "answered": True,
            "text": text,
            "finish": call.raw.get("finish_reason"),
            "words": len(text.split()),
            "seconds": call.seconds,
            "checks": dict(checked.passed),
            "reasons": dict(checked.reasons),
            "all_pass": checked.all_pass,
        }
    )
    # A cut answer is no answer, however well it began; neither is a refusal or one that breaks the schema.
    word = "refused" if call.status in ("declined", "unsettled") else call.status
    no_answer = "cut" if output.cut else None if word == "ok" else word
    if no_answer is None or (output.empty and word != "refused"):
        return output
    words = {REFUSAL: call.reason.removeprefix("refused: ")} if word == "refused" and call.reason else {}
    return output.model_copy(update={"all_pass": False, "reasons": {**output.reasons, NO_ANSWER: no_answer, **words}})


@asynccontextmanager
async def _remote(
    settings: TeacherSettings, open_teacher: OpenTeacher
) -> AsyncIterator[tuple[Endpoint, AdapterCheck | None]]:
    async with open_teacher(settings) as endpoint:
        yield endpoint, None


def _share_of(call: Call, samples: int) -> tuple[Usage, float | None]:
    """A request's usage and cost as far as they belong to `samples` answers: generation may have asked for more."""
    asked, written = call.request.get("n") or 1, call.usage.completion_tokens
    if asked <= samples:
        return call.usage, call.usd
    share = samples / asked
    usage = call.usage.model_copy(update={"completion_tokens": round(written * share)})
    return usage, None if call.usd is None else call.usd * share
