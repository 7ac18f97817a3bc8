"""Ask the systems of an evaluation, one server at a time, and judge their answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import aiohttp

from curate.gates.words import count_words
from schemas.blocking import together
from schemas.money import Cost, sum_if_known, summed
from schemas.progress import Progress
from schemas.progress_line import clock
from schemas.records import Call, Seed, Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.answers import clean
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Completion, FailedSample, Ledger, Question
from synth.prices import free
from train.evaluation.adapter_check import Probe, Scores, check_adapter, check_distinct, score, score_probes
from train.evaluation.failures import REFUSAL
from train.evaluation.metrics import MODES, NO_ANSWER, TUNED, AdapterCheck, Mode, Output
from train.evaluation.systems import ASK_TIMEOUT_S, EvaluationPlan, LocalModel, System, decodings
from train.evaluation.vllm_scoring import ScoringServer, serve_with_vllm
from train.local_model import serving

_REPORT_INTERVAL_S, _HEALTH_TIMEOUT_S = 1.0, 10.0
_MIN_RATE_TOKENS = 200  # prompts are processed first, so the first tokens do not show the generation rate
OpenTeacher = Callable[[TeacherSettings], AbstractAsyncContextManager[Endpoint]]


class Answers(NamedTuple):
    """The answers of one system under one decoding, in the order of the seeds; the token usage and the cost in US
    dollars (None if any of it is unknown) of all requests for them; the tokens of the answers that were not part of a
    batch, and the sum of their seconds, where every answer of a request takes as long as the request; and whether any
    request asked for further answers."""

    outputs: list[Output]
    usage: Usage
    usd: float | None
    timed_tokens: int = 0
    timed_seconds: float = 0.0
    shared: bool = False


class Round(NamedTuple):
    """The answers of the systems that share a server, and their cost. `adapter_check` is set if the server has an
    adapter. `validation` holds the tuned model's greedy answers to the validation inputs, if the server has the tuned
    model."""

    answers: list[dict[Mode, Answers]]
    adapter_check: AdapterCheck | None
    sent: int
    costs: list[Cost]
    validation: list[Output]


class AnswerCollector:
    """Asks one system after another, each about all seeds concurrently, and judges the answers."""

    def __init__(self, plan: EvaluationPlan, store: Store, progress: Progress, modes: Sequence[Mode] = MODES) -> None:
        self._plan, self._store, self._progress, self._modes = plan, store, progress, modes
        self._samples = {"sampled": plan.spec.evaluate.samples, "greedy": 1}
        self._base_scores: Scores | None = None
        self._has_merged = any(system.model.local and system.model.local.is_merged for system in plan.systems)
        per_system = len(plan.seeds) * sum(self._samples[mode] for mode in modes)
        self._done, self._total = 0, per_system * len(plan.systems) + len(plan.validation)
        self._target = 0  # the value of `_done` once the current requests are finished
        # Ids of seeds whose random seed is settled, and of those that keep that of earlier versions.
        self._settled, self._by_reference = set[str](), set[str]()
        self._written = 0  # completion tokens of finished answers since the current server started

    async def ask(self, systems: Sequence[System], open_teacher: OpenTeacher | None) -> Round:
        """Start the server that `systems` share, and ask them."""
        model, concurrency = systems[0].model, self._plan.spec.evaluate.concurrency
        adapter_check = None
        has_health_route = model.local is not None and model.local.vllm is None
        async with AsyncExitStack() as stack:
            async with self._reporting(starting=systems[0].name):  # loading takes minutes on a busy machine
                if model.local is None:
                    assert open_teacher is not None, "a teacher is asked"
                    endpoint = await stack.enter_async_context(open_teacher(model.settings))
                else:
                    served = self._serve(model.local, concurrency)
                    endpoint, adapter_check = await stack.enter_async_context(served)
            await stack.enter_async_context(self._reporting(endpoint.url if has_health_route else None))
            # One ledger per system: the same model has other attempts as a teacher than as a base. A model that
            # returns only reasoning is a result here, not a reason to stop.
            ledgers = [self._ledger(system, endpoint) for system in systems]
            answers = [
                await self._ask_system(system, ledger, self._modes, self._plan.seeds)
                for system, ledger in zip(systems, ledgers, strict=True)
            ]
            validation = [
                output
                for system, ledger in zip(systems, ledgers, strict=True)
                if TUNED in system.names
                for output in (await self._ask_system(system, ledger, ["greedy"], self._plan.validation))[
                    "greedy"
                ].outputs
            ]
            costs = [cost for ledger in ledgers for cost in ledger.costs]
            return Round(answers, adapter_check, endpoint.sent, costs, validation)

    async def recalled(self, system: System) -> dict[Mode, Answers] | None:
        """The answers of a local system without starting its model; None if one is not in the store."""
        async with Endpoint("http://localhost", system.name) as unasked:  # nothing listens there, and nothing is sent
            ledger, seeds = self._ledger(system, unasked), self._plan.seeds
            for mode, seed in product(self._modes, seeds):
                if ledger.count_missing_samples(self._question(system, ledger, seed, mode), self._samples[mode]):
                    return None
            return await self._ask_system(system, ledger, self._modes, seeds)

    def _ledger(self, system: System, endpoint: Endpoint) -> Ledger:
        settings, concurrency = system.model.settings, self._plan.spec.evaluate.concurrency
        teacher = settings if system.model.local is None else free(settings)
        return Ledger(self._store, endpoint, teacher, concurrency=concurrency, keep_asking=True, stage="evaluate")

    @asynccontextmanager
    async def _serve(self, local: LocalModel, concurrency: int) -> AsyncIterator[tuple[Endpoint, AdapterCheck | None]]:
        """Serve a local model under its own name, or under the name `tuned` with the adapter active. The tuned model is
        checked first; a merged model is compared with the base, which is asked in an earlier round."""
        # Every model is scored with the tuned system's prompts, so that the scores are comparable.
        tuned = next(system for system in self._plan.systems if TUNED in system.names)
        probes = [Probe(tuned.messages(seed), text) for seed, text in self._plan.probes]
        async with _scoring_server(local, concurrency) as served:
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
                endpoint.check_server = served.check
                yield endpoint, check

    async def _ask_system(
        self, system: System, ledger: Ledger, modes: Sequence[Mode], seeds: Sequence[Seed]
    ) -> dict[Mode, Answers]:
        """The answers of a system under each decoding. Each input is asked under all of them before the next one, so
        that a server with a prefix cache computes its prompt once."""
        # The rate is measured from here: the first answers finish together, after minutes.
        self._target = self._done + len(seeds) * sum(self._samples[mode] for mode in modes)
        self._progress("evaluate", {**self._progress_numbers(), "system": system.name, "most_s": 0})
        answers = await together(self._ask_seed(system, ledger, seed, mode) for seed in seeds for mode in modes)
        return {mode: _combine(answers[at :: len(modes)]) for at, mode in enumerate(modes)}

    def _progress_numbers(self) -> dict[str, int]:
        in_flight = min(self._plan.spec.evaluate.concurrency, self._target - self._done)
        return {"done": self._done, "total": self._total, "in_flight": in_flight}

    @asynccontextmanager
    async def _reporting(self, base_url: str | None = None, starting: str = "") -> AsyncIterator[None]:
        """Report progress every second while the block runs: that the server of the system `starting` is still
        starting, or how many tokens the embedded server at `base_url` has generated. The progress line itself decides
        when a pipe gets a new line."""
        reporter = asyncio.create_task(self._report_forever(base_url, starting))
        try:
            yield
        finally:
            self._written = 0
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)

    async def _report_forever(self, base_url: str | None, starting: str) -> None:
        started, before = time.monotonic(), None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_HEALTH_TIMEOUT_S)) as session:
            while True:
                numbers: dict[str, Any] = {**self._progress_numbers()}
                if starting:
                    system = f"starting {starting}, {clock(time.monotonic() - started)}"
                    numbers |= {"in_flight": 0, "system": system, "mode": "", "most_s": None}
                with suppress(aiohttp.ClientError, TimeoutError):
                    if base_url:
                        async with session.get(f"{base_url.removesuffix('/v1')}/health") as answer:
                            tokens = int((await answer.json())["generated_tokens"])
                        before = tokens if before is None else before
                        numbers |= self._worst_case(tokens, tokens - before, time.monotonic() - started)
                        numbers["tokens"] = tokens
                self._progress("evaluate", numbers)
                await asyncio.sleep(_REPORT_INTERVAL_S)

    def _worst_case(self, tokens: int, since: int, seconds: float) -> dict[str, float]:
        """The remaining seconds if every outstanding answer used its full token limit, at the rate of the `since`
        tokens generated in the last `seconds`. Empty if there is no token limit, or if a remote model or a judge also
        has to answer."""
        plan, limit = self._plan, decodings(self._plan.spec)[0].max_tokens
        all_local = not plan.judging and all(system.model.local is not None for system in plan.systems)
        if not (all_local and limit) or since < _MIN_RATE_TOKENS:
            return {}
        remaining = (self._total - self._done) * limit - max(0, tokens - self._written)
        return {"most_s": remaining * seconds / since}

    async def _ask_seed(self, system: System, ledger: Ledger, seed: Seed, mode: Mode) -> Answers:
        samples = self._samples[mode]
        answers = await ledger.answer(self._question(system, ledger, seed, mode), samples)
        rows = [await asyncio.to_thread(self._ledger_rows, system, answer) for answer in answers]
        outputs = []
        for sample, (answer, (call, _)) in enumerate(zip(answers, rows, strict=True)):
            blank = Output(
                system=system.name, mode=mode, seed_id=seed.id, sample=sample, answered=False, key=answer.key
            )
            outputs.append(blank if call is None else _judge_output(blank, call, self._plan, seed))
        self._done += len(outputs)
        paid = [call for _, calls in rows for call in calls]
        attributed = [_attributed_usage(call, samples) for call in paid]
        self._written += sum(usage.completion_tokens for usage, _ in attributed)
        numbers = {**self._progress_numbers(), "system": system.name, "mode": mode}
        if system.model.local is None or system.model.local.vllm is not None:
            numbers["tokens"] = ledger.usage.completion_tokens
        self._progress("evaluate", numbers)
        usd = sum_if_known(cost for _, cost in attributed)
        # The row of a request's first sample has its usage, if the server counted it.
        timed = [call for call in paid if call.usage.completion_tokens and call.transport == "http"]
        tokens = sum(call.usage.completion_tokens for call in timed)
        seconds = sum(call.seconds * (call.request.get("n") or 1) for call in timed)
        shared = any((call.request.get("n") or 1) > samples for call in paid)
        return Answers(outputs, summed([usage for usage, _ in attributed]), usd, tokens, seconds, shared)

    def _question(self, system: System, ledger: Ledger, seed: Seed, mode: Mode) -> Question:
        """The question for an answer. If the first system that is asked has answers that earlier versions stored under
        another random seed, this seed keeps it for all systems."""

        def question(mode: Mode, *, by_reference: bool) -> Question:
            sampling = system.sampling(mode, seed, by_reference=by_reference)
            return Question(system.messages(seed), sampling, system.schema, system.binding, system.name)

        if system.decoding == "evaluation" and seed.reference is not None and seed.id not in self._settled:
            self._settled.add(seed.id)
            stored = (ledger.keys(question(of, by_reference=True), self._samples[of]) for of in self._modes)
            if any(key in ledger.answered for keys in stored for key in keys):
                self._by_reference.add(seed.id)
        return question(mode, by_reference=seed.id in self._by_reference)

    def _ledger_rows(self, system: System, answer: Completion | FailedSample) -> tuple[Call | None, list[Call]]:
        """The ledger row that counts, and all rows that were paid for it. The first attempt counts as it came, because
        retrying after a cut or empty answer would flatter systems that give those. For the teacher, which is asked as
        in generation, it is the answer that generation accepts, and the attempts before it are part of its price."""
        calls = self._store.calls(answer.key)
        if system.decoding == "evaluation":
            return (calls[0], calls[:1]) if calls else (None, [])
        if isinstance(answer, Completion):
            calls = [call for call in calls if call.attempt <= answer.attempt]
        return (calls[-1], calls) if calls else (None, [])


def _combine(answers: Sequence[Answers]) -> Answers:
    """The answers to several inputs as one."""
    return Answers(
        [output for given in answers for output in given.outputs],
        summed([given.usage for given in answers]),
        sum_if_known(given.usd for given in answers),
        sum(given.timed_tokens for given in answers),
        sum(given.timed_seconds for given in answers),
        any(given.shared for given in answers),
    )


@asynccontextmanager
async def _scoring_server(local: LocalModel, max_batch: int) -> AsyncIterator[ScoringServer]:
    """Start the server that is used to measure `local`."""
    if local.vllm is not None:
        async with serve_with_vllm(local, local.vllm) as served:
            yield served
        return
    async with serving(local, max_batch=max_batch) as (server, name):
        yield ScoringServer(server.base_url, server.model, name, partial(score, server.base_url), server.check)


def _judge_output(blank: Output, call: Call, plan: EvaluationPlan, seed: Seed) -> Output:
    """`blank` with the answer of `call` and its check results."""
    text = plan.form.canonical(clean(call.text))
    checked = plan.checks(seed.body, text, plan.reference_of(seed))
    output = blank.model_copy(
        update={
            "answered": True,
            "text": text,
            "finish": call.raw.get("finish_reason"),
            "words": count_words(text),
            "seconds": call.seconds if call.transport == "http" else 0.0,
            "checks": dict(checked.passed),
            "reasons": dict(checked.reasons),
            "all_pass": checked.all_pass,
        }
    )
    # A cut answer does not count, however good its beginning; neither does a refusal or one that breaks the schema.
    status = "refused" if call.status in ("declined", "unsettled") else call.status
    no_answer = "cut" if output.cut else None if status == "ok" else status
    if no_answer is None or (output.empty and status != "refused"):
        return output
    refusal = {REFUSAL: call.reason.removeprefix("refused: ")} if status == "refused" and call.reason else {}
    return output.model_copy(update={"all_pass": False, "reasons": {**output.reasons, NO_ANSWER: no_answer, **refusal}})


def _attributed_usage(call: Call, samples: int) -> tuple[Usage, float | None]:
    """The part of a request's usage and cost that belongs to `samples` answers; generation may have requested more."""
    requested, written = call.request.get("n") or 1, call.usage.completion_tokens
    if requested <= samples:
        return call.usage, call.usd
    share = samples / requested
    usage = call.usage.model_copy(update={"completion_tokens": round(written * share)})
    return usage, None if call.usd is None else call.usd * share
