"""The evaluation: base, few-shot, teacher and tuned on the locked test split, judged alike.

Every answer is asked through the call ledger, so an evaluation that was stopped goes on, and one that is done sends
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from curate.split import held_out_inputs
from schemas.errors import NoWork, PairsmithError
from schemas.files import replaced
from schemas.progress import Progress
from schemas.project import Project
from schemas.records import Call, Seed, Usage, content_id, identity
from schemas.spec import Spec, TeacherSettings
from schemas.store import Store
from synth.answers import clean
from synth.embedded.process import EmbeddedServer, embedded
from synth.endpoint import Endpoint
from synth.ledger import Completion, Ledger, Miss
from train.adapter_check import check_adapter
from train.checks import Checks, checks_for
from train.evaluation import (
    MODES,
    NO_ANSWER,
    TUNED,
    AdapterCheck,
    Evaluation,
    Example,
    Mode,
    Output,
    Rung,
    against_the_rest,
    pick_examples,
    summarise,
)
from train.outcome import TrainResult
from train.rungs import Contender, contenders, decodings
from train.served_base import served_base
from train.student import Student, find_student

OpenTeacher = Callable[[TeacherSettings], AbstractAsyncContextManager[Endpoint]]

_SIDE_BY_SIDE = 10
_TIMEOUT_S = 1800.0


class Answers(NamedTuple):
    """What one rung answered under one decoding, in the order of the seeds, and the tokens it took."""

    outputs: list[Output]
    usage: Usage


async def evaluate(
    project: Project,
    store: Store,
    trained: TrainResult,
    teacher: TeacherSettings,
    open_teacher: OpenTeacher,
    out_dir: Path,
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate `trained` and write `out_dir/<evaluation id>.json`; if that is there already, read it and ask nothing.

    `teacher` is the spec's teacher with its revision; `open_teacher` is called only if it is another model than the
    base. It is asked as in generation, so what was bought there is found in the ledger. Reports progress("evaluate",
    {done, total, rung, mode, tokens}), in answers. Raises NoWork when no active input seed falls into the test split
    or no rung gave any answer, and PairsmithError when the adapter is not really on and off, or was trained on another
    base. The caller stores `result.artifact`.
    """
    spec = project.spec
    student = await asyncio.to_thread(find_student, spec.train.base, project.folder, progress)
    if student.hash != trained.base_hash:
        raise PairsmithError(
            f"the adapter {trained.adapter_id} was trained on another base than train.base = '{spec.train.base}'.",
            why="It would be put on weights that it does not fit.",
            fix="Train again.",
        )
    checks = checks_for(spec, project.folder)
    seeds = held_out_seeds(store, spec)
    base = _base_teacher(spec, student, teacher)
    tuned_base = await asyncio.to_thread(served_base, student, trained.settings.method)
    revision = f"{trained.adapter_id} on {trained.settings.method} base"
    tuned = base.model_copy(update={"model": TUNED, "identity": TUNED, "revision": revision})
    rungs = contenders(project, seeds, base, tuned, teacher)
    identity = _evaluation_id(spec, trained, seeds, checks, rungs)
    path = out_dir / f"{identity}.json"
    if path.is_file():
        kept = Evaluation.model_validate_json(path.read_bytes())
        return kept.model_copy(update={"path": str(path), "reused": True, "calls_sent": 0})
    started, known = time.monotonic(), store.call_index().keys()
    asking = _Asking(store, checks, seeds, spec, progress, total=_answers(spec, seeds) * len(rungs))
    answers: list[dict[Mode, Answers]] = []
    used: list[Ledger] = []
    sent = 0
    for where, group in groupby(rungs, key=lambda rung: rung.where):
        first, *more = group
        if where == "teacher":
            opened = _elsewhere(first.teacher, open_teacher)
        else:
            folder = tuned_base if where == "tuned" else student.folder
            model = None if spec.train.base == "embedded" and folder == student.folder else folder
            opened = _here(model, Path(trained.folder) if where == "tuned" else None, spec.evaluate.concurrency)
        # One model at a time: the servers of base and tuned never stand beside each other in memory.
        async with opened as (endpoint, server):
            if where == "tuned" and server is not None:
                shown = spec.exemplars[0].output if spec.exemplars else spec.task.style
                adapter = await check_adapter(server.base_url, server.model, TUNED, first.messages(seeds[0]), shown)
            for rung in (first, *more):
                # One each: the same model has other attempts as a teacher than as a base. A model that only thinks is a
                # result here, not a reason to stop.
                places = spec.evaluate.concurrency
                used.append(ledger := Ledger(store, endpoint, rung.teacher, concurrency=places, keep_asking=True))
                answers.append(await asking.rung(rung, ledger))
            sent += endpoint.sent
    evaluation = _evaluation(identity, spec, trained, seeds, checks, rungs, answers, adapter)
    evaluation = evaluation.model_copy(
        update={
            "calls_sent": sent,
            "calls_reused": sum(output.key in known for output in evaluation.outputs),
            "usage": _sum([ledger.usage for ledger in used]),
            "usd": sum(ledger.usd for ledger in used),
            "seconds": time.monotonic() - started,
        }
    )
    _write(path, evaluation)
    return evaluation.model_copy(update={"path": str(path)})


def held_out_seeds(store: Store, spec: Spec) -> list[Seed]:
    """The active seeds that an evaluation asks (`curate.split.held_out_inputs`). Raises NoWork if there are none."""
    seeds = store.seeds()
    if held_out := held_out_inputs(seeds, spec):
        return held_out
    input = sum(seed.kind == "input" for seed in seeds)
    raise NoWork(
        f"none of the {input} input seeds falls into the test split.",
        why="There is nothing to evaluate on that training has not seen.",
        fix='Raise split.test and curate and train again, or add a source of fresh inputs with use = "test".',
    )


def _base_teacher(spec: Spec, student: Student, teacher: TeacherSettings) -> TeacherSettings:
    """The untuned student as a teacher of its own ledger; the embedded teacher itself where they are the same model."""
    local = {"url": "embedded", "attempts": 1, "concurrency": spec.evaluate.concurrency, "timeout_s": _TIMEOUT_S}
    if teacher.url == "embedded" and spec.train.base == "embedded":
        return teacher.model_copy(update=local)
    return TeacherSettings(model=student.name, revision=student.hash, retries=teacher.retries, **local)


def _evaluation_id(
    spec: Spec, trained: TrainResult, seeds: Sequence[Seed], checks: Checks, rungs: Sequence[Contender]
) -> str:
    """Everything that could change a number of the evaluation, messages included."""
    asked = [rung.key(seeds) for rung in rungs]
    settings = {k: v for k, v in identity(spec.evaluate).items() if k not in ("concurrency", "resamples")}
    seed = spec.train.seed
    return content_id(
        "evaluation", [trained.adapter_id, test_set_hash(seeds), asked, checks.fingerprint, settings, seed]
    )


def test_set_hash(seeds: Sequence[Seed]) -> str:
    """The name of a set of seeds, whatever their order."""
    return content_id("test_set", sorted(seed.id for seed in seeds))


@asynccontextmanager
async def _here(
    model: Path | None, adapter: Path | None, places: int
) -> AsyncIterator[tuple[Endpoint, EmbeddedServer | None]]:
    """A local model, asked under its own name, or with the adapter on under the name `tuned`."""
    adapters = {} if adapter is None else {TUNED: adapter}
    async with embedded(model, adapters=adapters, max_batch=places) as server:
        name = server.model if adapter is None else TUNED
        async with Endpoint(server.base_url, name, timeout_s=_TIMEOUT_S, concurrency=places) as endpoint:
            yield endpoint, server


@asynccontextmanager
async def _elsewhere(
    teacher: TeacherSettings, open_teacher: OpenTeacher
) -> AsyncIterator[tuple[Endpoint, EmbeddedServer | None]]:
    async with open_teacher(teacher) as endpoint:
        yield endpoint, None


class _Asking:
    """Asks one rung after another, a rung's seeds at the same time, and judges what comes."""

    def __init__(
        self,
        store: Store,
        checks: Checks,
        seeds: Sequence[Seed],
        spec: Spec,
        progress: Progress | None,
        total: int,
    ) -> None:
        self._store, self._checks, self._seeds = store, checks, seeds
        self._samples = {"sampled": spec.evaluate.samples, "greedy": 1}
        self._progress, self._done, self._total = progress, 0, total

    async def rung(self, rung: Contender, ledger: Ledger) -> dict[Mode, Answers]:
        """What one rung answers under each decoding."""
        found: dict[Mode, Answers] = {}
        for mode in MODES:
            asked = [asyncio.create_task(self._seed(rung, ledger, seed, mode)) for seed in self._seeds]
            try:
                answers = await asyncio.gather(*asked)
            finally:
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
            outputs = [output for one in answers for output in one.outputs]
            found[mode] = Answers(outputs, _sum([one.usage for one in answers]))
        return found

    async def _seed(self, rung: Contender, ledger: Ledger, seed: Seed, mode: Mode) -> Answers:
        samples = self._samples[mode]
        answers = await ledger.complete(rung.messages(seed), rung.sampling(mode, seed), samples, rung.schema)
        calls = [await asyncio.to_thread(self._taken, rung, answer) for answer in answers]
        outputs = [
            self._output(rung, seed, mode, sample, answer.key, call)
            for sample, (answer, call) in enumerate(zip(answers, calls, strict=True))
        ]
        usage = _sum([_part(call, samples) for call in calls if call is not None])
        self._done += len(outputs)
        if self._progress is not None:
            numbers = {"done": self._done, "total": self._total, "rung": rung.name, "mode": mode}
            self._progress("evaluate", {**numbers, "tokens": ledger.usage.completion_tokens})
        return Answers(outputs, usage)

    def _taken(self, rung: Contender, answer: Completion | Miss) -> Call | None:
        """The ledger row that counts: the first attempt as it came, because asking again after a cut or empty answer
        would flatter whoever gives those; of the teacher as it generates, the answer that generation ends up with."""
        calls = self._store.calls(answer.key)
        if rung.decoding == "evaluation":
            return calls[0] if calls else None
        if isinstance(answer, Completion):
            return next(call for call in calls if call.attempt == answer.attempt)
        return calls[-1] if calls else None

    def _output(self, rung: Contender, seed: Seed, mode: Mode, sample: int, key: str, call: Call | None) -> Output:
        place: dict[str, Any] = {"rung": rung.name, "mode": mode, "seed_id": seed.id, "sample": sample, "key": key}
        if call is None:
            return Output(**place, answered=False)
        text = clean(call.text)
        checked = self._checks(seed.text or "", text)
        output = Output(
            **place,
            answered=True,
            text=text,
            finish=call.raw.get("finish_reason"),
            words=len(text.split()),
            seconds=call.seconds,
            checks=dict(checked.passed),
            reasons=dict(checked.reasons),
            strict=checked.strict,
        )
        # A cut answer is no answer, however well it began; neither is a refusal or one that breaks the schema.
        bad = "cut" if output.cut else None if call.status == "ok" else call.status
        if bad is None or output.empty:
            return output
        return output.model_copy(update={"strict": False, "reasons": {**output.reasons, NO_ANSWER: bad}})


def _evaluation(
    identity: str,
    spec: Spec,
    trained: TrainResult,
    seeds: Sequence[Seed],
    checks: Checks,
    rungs: Sequence[Contender],
    answers: Sequence[dict[Mode, Answers]],
    adapter: AdapterCheck,
) -> Evaluation:
    random_seed = spec.train.seed
    outputs = [output for found in answers for mode in MODES for output in found[mode].outputs]
    if not any(output.answered for output in outputs):
        raise NoWork("no rung gave a single answer.", fix="Look at the failures above, and run it again.")
    comparisons = against_the_rest([{mode: found[mode].outputs for mode in MODES} for found in answers])
    sampled, greedy = decodings(spec)
    return Evaluation(
        id=identity,
        adapter_id=trained.adapter_id,
        test_set=test_set_hash(seeds),
        checks_fingerprint=checks.fingerprint,
        check_names=checks.names,
        seeds=len(seeds),
        samples=spec.evaluate.samples,
        sampling=sampled,
        greedy=greedy,
        concurrency=spec.evaluate.concurrency,
        rungs=tuple(
            Rung(
                name=rung.name,
                names=rung.names,
                model=rung.teacher.identity or rung.teacher.model,
                revision=rung.teacher.revision,
                system=rung.messages(seeds[0])[0].content,
                exemplars=rung.exemplars,
                decoding=rung.decoding,
                sampling=rung.sampled,
                greedy_sampling=rung.greedy,
                **{mode: summarise(*found[mode], checks.names) for mode in MODES},
            )
            for rung, found in zip(rungs, answers, strict=True)
        ),
        comparisons=comparisons,
        adapter_check=adapter,
        side_by_side=pick_examples(
            [Example(seed_id=seed.id, input=seed.text or "") for seed in seeds], _SIDE_BY_SIDE, random_seed
        ),
        side_by_side_seed=random_seed,
        outputs=tuple(outputs),
        calls_sent=0,
        calls_reused=0,
        usage=Usage(),
        usd=0.0,
        seconds=0.0,
    )


def _answers(spec: Spec, seeds: Sequence[Seed]) -> int:
    """How many answers one rung is asked for."""
    return len(seeds) * (spec.evaluate.samples + 1)


def _part(call: Call, samples: int) -> Usage:
    """A request's usage as far as it belongs to `samples` answers: generation may have asked for more at once."""
    asked = call.request.get("n") or 1
    if asked <= samples:
        return call.usage
    return call.usage.model_copy(update={"completion_tokens": round(call.usage.completion_tokens * samples / asked)})


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
    )


def _write(path: Path, evaluation: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = evaluation.model_dump(mode="json", exclude={"path", "reused"})
    with replaced(path) as partial:
        partial.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
