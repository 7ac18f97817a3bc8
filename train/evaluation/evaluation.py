"""The evaluation: the tuned model compared with its base, the base with examples, and the teacher, on inputs that no
training row came from. All answers are judged by the same checks.

    plan = plan_evaluation(project, seeds, trained, teacher)      # the systems, inputs and checks
    evaluation = await measure_or_load(plan, store, folder, open_teacher)

From Python, without a project: `evaluate(trained, inputs, checks)`. Every request goes through the call ledger, so an
interrupted evaluation resumes, and a finished one sends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from curate.scorers.judge import judging
from curate.split import distinct_questions
from prompts.answer_form import AnswerForm
from schemas import progress_line
from schemas.blocking import run
from schemas.errors import NoWork, UsageError, several
from schemas.money import total
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.python_terms import python_terms
from schemas.records import Message, Seed
from schemas.spec import EvaluateSettings, Exemplar, SeedSource, Spec, TaskSettings, TeacherSettings, given
from schemas.store import Store
from schemas.store.latest import members_of
from schemas.temporary_folders import temporary_folder
from train.base_models.base_model import Base, find_trained_base
from train.dataset import Data, TrainingRow, conversation_text, dataset_of, refuse_contaminated
from train.evaluation.answering import AnswerCollector, Answers, OpenTeacher
from train.evaluation.checks import Check, Checks, build_checks, checks_for, void_references
from train.evaluation.comparison import compare_last
from train.evaluation.examples import Example, pick_examples
from train.evaluation.intervals import Interval
from train.evaluation.invented import detail_gates, invented_rate
from train.evaluation.judging import OpenJudge, judged, judged_again
from train.evaluation.metrics import (
    MODES,
    TUNED,
    Evaluation,
    Mode,
    ModeResult,
    SystemResult,
    summarise,
)
from train.evaluation.prompt_room import room_of
from train.evaluation.references import GivenAnswer, compare_with_references
from train.evaluation.retrieval import LearnedRow
from train.evaluation.systems import (
    ASK_TIMEOUT_S,
    EvaluationPlan,
    LocalModel,
    Model,
    Models,
    System,
    Vllm,
    decodings,
    systems_of,
    test_set_hash,
)
from train.evaluation.verdict import is_form_only
from train.local_model import tuned_model
from train.results import TrainResult, read_record, write_record

_SIDE_BY_SIDE, _MAX_RETRIEVAL_ROWS = 10, 20_000


@python_terms()
def evaluate(
    trained: TrainResult,
    inputs: Iterable[str | Seed],
    checks: Sequence[Check],
    *,
    style: str | None = None,
    exemplars: Sequence[tuple[str, str]] = (),
    references: Mapping[str, str] | Sequence[str | None] | None = None,
    rows: Data = (),
    store: str | Path | None = None,
    progress: bool | Progress = True,
    **settings: Any,
) -> Evaluation:
    """Measure `trained` (see `train.fine_tune`) against its base on `inputs`, which must not be in the training data.

    `checks` are patterns that a good output matches, or functions (input, output) -> bool. The base gets `style` as its
    prompt (default: the system prompt used in training). With `exemplars`, pairs of input and output, the base is
    measured a second time with those. `references` are outputs written by people, by input or in the order of the
    inputs (None: no reference). With `rows`, the training data (as `fine_tune` takes them), the base is measured once
    more with the rows nearest to each input. `settings` are the keys of `[evaluate]`: samples, sampling, concurrency,
    max_seeds. `store` is a file that keeps the answers, so that a second evaluation sends only new requests; without it
    they are discarded.

    Blocks; also works in a notebook. Raises NoWork without inputs, checks or any answer, UsageError for references that
    match no input and for unknown settings, and InputError for a row that is one of the inputs.
    """
    named: Any = trained
    if not isinstance(named, TrainResult):
        fix = "Pass what fine_tune returned: evaluate(fine_tune(pool), inputs, checks)."
        raise UsageError(f"trained is of type {type(named).__name__}, not the result of fine_tune.", fix=fix)
    system = trained.system_prompt or ""
    spec = Spec(
        task=TaskSettings(name="evaluation", system=system, style=style or system or "Answer."),
        seeds=(SeedSource(path="-"),),
        exemplars=tuple(map(Exemplar.of, several(exemplars, "exemplars", "worked examples"))),
        train=trained.settings,
        evaluate=given(EvaluateSettings, "evaluate", **settings),
    )
    distinct = distinct_questions(_seeds_of(list(several(inputs, "inputs")), references))
    check_set = build_checks(several(checks, "checks", "checks"))
    training_data = dataset_of(rows)
    refuse_contaminated(replace(training_data, held_out=[seed.asked for seed in distinct]))
    training_rows = [_learned(row) for row in training_data.train]
    project = Project(Path(), spec)
    plan = plan_evaluation(project, distinct[: spec.evaluate.max_seeds], trained, None, check_set, training_rows)
    with temporary_folder() as scratch:
        path = scratch / "answers.db" if store is None else Path(store)
        with Store.open(f"sqlite:///{path.resolve()}") as answers, progress_line.requested(progress) as shown:
            return run(measured(plan, answers, progress=shown))


def _seeds_of(
    inputs: Sequence[str | Seed], references: Mapping[str, str] | Sequence[str | None] | None
) -> Iterator[Seed]:
    """The inputs as seeds, each with its reference. Raises UsageError for references that match no input."""
    texts = [entry.asked if isinstance(entry, Seed) else entry for entry in inputs]
    if isinstance(references, Mapping):
        if unknown := sorted(set(references) - set(texts)):
            raise UsageError(f"references has {unknown[0]!r}, which is not one of the inputs.")
        paired: list[str | None] = [references.get(text) for text in texts]
    else:
        paired = [None] * len(texts) if references is None else list(references)
        if isinstance(references, str) or len(paired) != len(texts):
            raise UsageError(
                f"there are {len(paired)} references for {len(texts)} inputs.",
                fix="Pass one for each input (None if there is none), or a dict of input to reference.",
            )
    for number, (entry, reference) in enumerate(zip(inputs, paired, strict=True), 1):
        if not isinstance(entry, str | Seed) or not isinstance(reference, str | None):
            raise UsageError(f"input {number} or its reference is not a string: {entry!r:.80}, {reference!r:.80}.")
        seed = entry if isinstance(entry, Seed) else Seed(kind="input", text=entry, source=f"inputs:{number}")
        # Validated again instead of copied: the id covers the reference, and a copy would keep the old id.
        yield seed if reference is None else Seed.model_validate({**seed.model_dump(), "reference": reference})


def _learned(row: TrainingRow) -> LearnedRow:
    """A training row of a dataset; the input of a conversation is all turns before the answer."""
    *turns, last = (Message.model_validate(dict(message)) for message in row["prompt"] if message["role"] != "system")
    output = row["completion"][0]["content"]
    return LearnedRow(input=conversation_text(row["prompt"]), output=output, turns=tuple(turns), last=last.content)


def trained_rows(store: Store, trained: TrainResult) -> list[LearnedRow]:
    """The accepted rows of the training split that `trained` learned from, by pair id, at most 20,000; empty if the
    dataset is not in the store."""
    ids = [id_ for _, of in members_of(store, [trained.dataset_id]) for id_, split in of.items() if split == "train"]
    pairs = store.pairs(sorted(ids)[:_MAX_RETRIEVAL_ROWS])
    return [
        LearnedRow(input=pair.asked, output=pair.output, turns=pair.turns, last=pair.input)
        for pair in sorted(pairs, key=lambda pair: pair.id)
    ]


def plan_evaluation(
    project: Project,
    seeds: Sequence[Seed],
    trained: TrainResult,
    teacher: TeacherSettings | None,
    checks: Checks | None = None,
    rows: Sequence[Exemplar] = (),
    validation: Sequence[Seed] = (),
    imported: Sequence[Seed] = (),
) -> EvaluationPlan:
    """Plan the evaluation of `trained` on `seeds`; `checks` replace those of the spec. `rows` are the training rows,
    for the retrieval system. The tuned model is also asked the `validation` inputs, to see where it fails.
    What the outputs of the `imported` seeds have in common counts as known, not as invented.

    `teacher` is the spec's teacher with its revision. It is asked as in generation, so answers bought there are reused
    from the ledger. Without it no teacher is measured. Blocks: the weights of the base are hashed, and for QLoRA a
    dequantised copy may be written. Raises NoWork without seeds, or without any check or gate, and PairsmithError when
    `trained` was trained on another base.
    """
    spec = project.spec
    base = find_trained_base(trained, spec.train, project.folder)
    checks = checks or checks_for(spec, project.folder, imported)
    form = AnswerForm.of(spec.task, project.folder)
    references = [form.canonical(seed.reference) for seed in seeds if seed.reference is not None]
    one_right_answer = form.has_single_answer and 0 < len(references) == len(seeds)
    checks = replace(checks, exact=checks.exact or one_right_answer, void=void_references(references, form))
    if not checks.names:
        raise NoWork(
            "there is neither a check nor a gate, so no answer could pass or fail.",
            why="Every system would pass everything.",
            fix="Add a check to evaluate.checks, or enable a gate in curate.gates.",
        )
    if not seeds:
        raise NoWork("there is no input to evaluate on.", fix="Pass inputs that are not in the training data.")
    models = _models(spec, base, trained, teacher)
    room = room_of(base, spec, trained.settings.template_arguments)
    systems = systems_of(project, seeds, models, rows, room)
    judges = judging(project, spec.evaluate.judges)
    return EvaluationPlan(
        spec, trained, tuple(seeds), systems, checks, form, judges, tuple(validation), learned=tuple(rows),
        detail_gates=detail_gates(spec, project.folder, imported),
    )  # fmt: skip


def _models(spec: Spec, base: Base, trained: TrainResult, teacher: TeacherSettings | None) -> Models:
    """Base and tuned model as the ledger identifies them, and their weights. The embedded teacher is the base itself if
    both are the same model."""
    local = {"url": "embedded", "attempts": 1, "concurrency": spec.evaluate.concurrency, "timeout_s": ASK_TIMEOUT_S}
    if teacher is not None and (teacher.url, spec.train.base) == ("embedded", "embedded"):
        settings = teacher.model_copy(update=local)
    else:
        retries = {} if teacher is None else {"retries": teacher.retries}
        settings = TeacherSettings.model_validate({"model": base.name, "revision": base.hash, **retries, **local})
    arguments = tuple(sorted(trained.settings.template_arguments.items()))
    if arguments:
        # They change the prompt, so answers obtained without them must not be reused.
        settings = settings.model_copy(update={"revision": f"{settings.revision} {dict(arguments)}"})
    weights = None if spec.train.base == "embedded" else base.folder
    tuned_as, revision = tuned_model(base, weights, trained)
    vllm = Vllm(spec.evaluate.vllm_python, spec.evaluate.vllm_args) if spec.evaluate.vllm else None
    if vllm is not None:
        # vLLM computes differently, so answers of the embedded server must not be reused for it.
        settings = settings.model_copy(update={"revision": f"{settings.revision} by vllm"})
        revision += " by vllm"
    tuned = settings.model_copy(update={"model": TUNED, "identity": TUNED, "revision": revision})
    return Models(
        base=Model(settings, LocalModel(weights, None, arguments, vllm=vllm, runs_code=base.runs_code)),
        tuned=Model(tuned, replace(tuned_as, vllm=vllm)),
        teacher=teacher,
    )


async def measure_or_load(
    plan: EvaluationPlan,
    store: Store,
    out_dir: Path,
    open_teacher: OpenTeacher | None = None,
    progress: Progress = unseen,
    open_judge: OpenJudge | None = None,
    answered: Evaluation | None = None,
) -> Evaluation:
    """`measured`, saved as `out_dir/<evaluation id>.json`. If that file exists it is read, and only missing answers are
    requested; `answered`, if any, is an evaluation that differs in its judges only."""
    path = out_dir / f"{plan.id}.json"
    if (evaluation := load_saved(plan, out_dir)) and not count_missing(evaluation):
        return evaluation.model_copy(update={"path": str(path), "reused": True, "calls_sent": 0})
    if answered:
        evaluation = await judged_again(plan, answered, open_judge, progress)
    else:
        evaluation = await measured(plan, store, open_teacher, progress, open_judge)
    write_record(path, evaluation, without={"path", "reused"})
    return evaluation.model_copy(update={"path": str(path)})


def load_saved(plan: EvaluationPlan, out_dir: Path) -> Evaluation | None:
    """The saved evaluation of `plan`, complete or not; None if there is none."""
    return read_record(out_dir / f"{plan.id}.json", Evaluation)


def count_missing(evaluation: Evaluation) -> int:
    """How many answers of systems and judges are missing and will be requested again."""
    judgements = evaluation.judged
    return sum(not output.answered for output in evaluation.outputs) + (judgements.unanswered if judgements else 0)


async def measured(
    plan: EvaluationPlan,
    store: Store,
    open_teacher: OpenTeacher | None = None,
    progress: Progress = unseen,
    open_judge: OpenJudge | None = None,
) -> Evaluation:
    """Ask every system of `plan`, judge the answers, and compute the results.

    `open_teacher` is called only if the teacher is a different model from the base; `open_judge` after all systems have
    answered. Reports progress("evaluate", {done, total, in_flight, system, mode, tokens}), counted in answers.
    Raises NoWork without any answer, and PairsmithError when the adapter is not really on or off.
    """
    started, known = time.monotonic(), {key for key, *_ in store.each_answer()}
    collector = AnswerCollector(plan, store, progress)
    # One model at a time, so that the servers of base and tuned are never in memory together.
    rounds = [
        await collector.ask(list(systems), open_teacher)
        for _, systems in groupby(plan.systems, key=lambda system: system.model.local)
    ]
    answers = [answers for round_ in rounds for answers in round_.answers]
    outputs = tuple(output for by_mode in answers for mode in MODES for output in by_mode[mode].outputs)
    if not any(output.answered for output in outputs):
        raise NoWork("no system gave a single answer.", fix="Check the failures above, and run it again.")
    judgements, judge = await judged(plan, outputs, open_judge, progress)
    costs = (*(cost for round_ in rounds for cost in round_.costs), *(judge.costs if judge else ()))
    (sampled, greedy), spent = decodings(plan.spec), total(costs)
    return Evaluation(
        id=plan.id,
        answers_id=plan.answers_id,
        adapter_id=plan.trained.adapter_id,
        test_set=test_set_hash(plan.seeds),
        inputs={seed.id: seed.body for seed in plan.seeds},
        groups=plan.groups,
        checks_fingerprint=plan.checks.fingerprint,
        check_names=plan.checks.names,
        patterns=plan.checks.by_pattern,
        seeds=len(plan.seeds),
        samples=plan.spec.evaluate.samples,
        sampling=sampled,
        greedy=greedy,
        concurrency=plan.spec.evaluate.concurrency,
        systems=tuple(_result(plan, system, by_mode) for system, by_mode in zip(plan.systems, answers, strict=True)),
        comparisons=compare_last([{mode: by_mode[mode].outputs for mode in MODES} for by_mode in answers], plan.groups),
        adapter_check=next(round_.adapter_check for round_ in rounds if round_.adapter_check),
        side_by_side=_side_by_side(plan),
        side_by_side_seed=plan.spec.train.seed,
        outputs=outputs,
        references=plan.references,
        void=plan.void,
        judged=judgements,
        validation=tuple(output for round_ in rounds for output in round_.validation),
        validation_inputs={seed.id: seed.body for seed in plan.validation},
        calls_sent=sum(round_.sent for round_ in rounds) + (judge.sent if judge else 0),
        calls_reused=sum(output.key in known for output in outputs) + (judge.reused if judge else 0),
        usage=spent.usage,
        usd=spent.total,
        costs=costs,
        seconds=time.monotonic() - started,
    )


def _side_by_side(plan: EvaluationPlan) -> tuple[Example, ...]:
    examples = [Example(seed_id=seed.id, input=seed.body) for seed in plan.seeds]
    return pick_examples(examples, _SIDE_BY_SIDE, plan.spec.train.seed)


async def validated(plan: EvaluationPlan, store: Store, progress: Progress = unseen) -> Interval | None:
    """The greedy pass rate of the tuned model on `plan.validation`. None if no answer arrived, or if only the form
    of a label or a record could be checked. The base is asked only to compare a merged model with it, and no model is
    started for answers that the store has.
    """
    if is_form_only(plan.checks.names):
        return None
    merged = (local := plan.systems[-1].model.local) is not None and local.is_merged
    systems = (plan.systems[0], plan.systems[-1]) if merged else plan.systems[-1:]
    validation_plan = replace(plan, seeds=plan.validation, systems=systems, validation=())
    collector = AnswerCollector(validation_plan, store, progress, ["greedy"])
    answers = await collector.recalled(systems[-1])
    if answers is None:
        answers = [await collector.ask([system], None) for system in systems][-1].answers[0]
    outputs, usage, *_ = answers["greedy"]
    return summarise(outputs, usage, plan.checks.names, groups=validation_plan.groups).pass_rate


def _result(plan: EvaluationPlan, system: System, answers: dict[Mode, Answers]) -> SystemResult:
    def summary(mode: Mode) -> ModeResult:
        outputs = answers[mode].outputs
        usage, usd, timed = answers[mode].usage, answers[mode].usd, answers[mode][3:5]
        result = summarise(outputs, usage, plan.checks.names, usd, groups=plan.groups, timed=timed)
        answers_ = [
            GivenAnswer(seed_id=output.seed_id, text=output.text if output.whole and output.seed_id not in void else "")
            for output in outputs
        ]
        labels, is_json = [*plan.form.labels], plan.form.schema is not None
        by_reference = (
            compare_with_references(answers_, plan.references, labels, is_json=is_json, groups=plan.groups)
            if result.pass_rate and result.complete
            else None
        )
        invented = invented_rate(outputs, inputs, plan.references, plan.detail_gates, plan.groups)
        more = {"by_reference": by_reference, "invented": invented, "shared": answers[mode].shared}
        return result.model_copy(update=more)

    inputs, void = {seed.id: seed.asked for seed in plan.seeds}, plan.void
    prompt = system.messages(plan.seeds[0])[0]
    return SystemResult(
        name=system.name,
        names=system.names,
        model=system.model.settings.known_as,
        revision=system.model.settings.revision,
        system_prompt=prompt.content if prompt.role == "system" else "",
        exemplars=system.exemplars,
        shortened=system.shortened,
        decoding=system.decoding,
        sampling=system.sampled,
        greedy_sampling=system.greedy,
        sampled=summary("sampled"),
        greedy=summary("greedy"),
    )
