"""The evaluation: the tuned model beside its base, the base with examples, and the teacher, on inputs that no row of
training came from, all judged alike.

    plan = plan_evaluation(project, seeds, trained, teacher)      # who is asked what, and how it is judged
    evaluation = await measured_once(plan, store, folder, open_teacher)

From Python, without a project: `evaluate(trained, inputs, checks)`. Every answer is asked through the call ledger, so
an evaluation that was stopped goes on, and one that is done sends nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from curate.split import asked_of, held_out_inputs
from prompts.answer_form import AnswerForm
from schemas.blocking import run
from schemas.errors import NoWork, PairsmithError
from schemas.files import replaced
from schemas.kinds import KINDS
from schemas.money import total
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Seed
from schemas.spec import EvaluateSettings, Exemplar, SeedSource, Spec, TaskSettings, TeacherSettings
from schemas.store import Store
from train.base_model import Base, find_base
from train.checks import Check, Checks, checks_for, checks_of
from train.interview import Answers, Interview, OpenTeacher
from train.local_model import tuned_model
from train.metrics import (
    MODES,
    TUNED,
    Evaluation,
    Example,
    Mode,
    ModeResult,
    SystemResult,
    against_the_rest,
    pick_examples,
    summarise,
)
from train.references import Answer, against_references
from train.results import TrainResult
from train.systems import (
    ASK_TIMEOUT_S,
    EvaluationPlan,
    LocalModel,
    Model,
    Models,
    System,
    decodings,
    systems_of,
    test_set_hash,
)

_SIDE_BY_SIDE = 10


def evaluate(
    trained: TrainResult,
    inputs: Iterable[str | Seed],
    checks: Sequence[Check],
    *,
    style: str | None = None,
    exemplars: Sequence[tuple[str, str]] = (),
    store: str | Path | None = None,
    progress: Progress = unseen,
    **settings: Any,
) -> Evaluation:
    """Measure `trained` (see `train.fine_tune`) beside its base on `inputs`, which training must not have seen.

    `checks` are patterns that a good output holds, or functions (input, output) -> bool. The base is told `style`
    (default: the system prompt that was trained with), and with `exemplars`, pairs of input and output, once more with
    those. `settings` are the keys of `[evaluate]`: samples, sampling, concurrency, max_seeds. `store` is a file that
    keeps the answers, so that a second evaluation asks only what is new; without it they are thrown away. Blocks. Works
    in a notebook, too. Raises NoWork without inputs, without checks and without any answer.
    """
    system = trained.system_prompt or ""
    spec = Spec(
        task=TaskSettings(name="evaluation", system=system, style=style or system or "Answer."),
        seeds=(SeedSource(path="-"),),
        exemplars=tuple(Exemplar(input=input, output=output) for input, output in exemplars),
        train=trained.settings,
        evaluate=EvaluateSettings.model_validate(settings),
    )
    seeds = [
        entry if isinstance(entry, Seed) else Seed(kind="input", text=entry, source=f"inputs:{number}")
        for number, entry in enumerate(inputs, 1)
    ]
    distinct = list({seed.id: seed for seed in seeds}.values())[: spec.evaluate.max_seeds]
    plan = plan_evaluation(Project(Path(), spec), distinct, trained, None, checks_of(checks))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "answers.db") if store is None else Path(store)
        with Store.open(f"sqlite:///{path.resolve()}") as answers:
            return run(measured(plan, answers, progress=progress))


def plan_evaluation(
    project: Project,
    seeds: Sequence[Seed],
    trained: TrainResult,
    teacher: TeacherSettings | None,
    checks: Checks | None = None,
) -> EvaluationPlan:
    """The evaluation of `trained` on `seeds` that a spec means; `checks` stand in for those of the spec.

    `teacher` is the spec's teacher with its revision; it is asked as in generation, so what was bought there is found
    in the ledger. Without it no teacher is measured. Blocks: the weights of the base are hashed, and for QLoRA perhaps
    written dequantised. Raises NoWork without seeds or without checks and gates, and PairsmithError when `trained` was
    trained on another base.
    """
    spec = project.spec
    base = find_base(spec.train.base, project.folder, revision=spec.train.revision)
    _refuse_another_base(spec, base, trained)
    checks = checks or checks_for(spec, project.folder)
    if KINDS[spec.task.kind].needs and seeds and all(seed.reference is not None for seed in seeds):
        checks = replace(checks, exact=True)
    if not checks.names:
        raise NoWork(
            "there is neither a check nor a gate, so no answer could pass or fail.",
            why="Every system would pass everything.",
            fix="Name a check of a good output in evaluate.checks, or switch a gate of curate.gates on.",
        )
    if not seeds:
        raise NoWork("there is no input to evaluate on.", fix="Name some that training has not seen.")
    models = _models(spec, base, trained, teacher)
    form = AnswerForm.of(spec.task, project.folder)
    return EvaluationPlan(spec, trained, tuple(seeds), systems_of(project, seeds, models), checks, form)


def held_out_seeds(store: Store, spec: Spec) -> list[Seed]:
    """The active seeds that an evaluation asks (`curate.split.held_out_inputs`). Raises NoWork if there are none."""
    seeds = store.seeds()
    if held_out := held_out_inputs(seeds, spec):
        return held_out
    inputs = sum(map(asked_of, seeds))
    raise NoWork(
        f"none of the {inputs} input seeds falls into the test split.",
        why="There is nothing to evaluate on that training has not seen.",
        fix='Raise split.test and curate and train again, or add a source of fresh inputs with use = "test".',
    )


def _refuse_another_base(spec: Spec, base: Base, trained: TrainResult) -> None:
    if base.hash != trained.base_hash:
        raise PairsmithError(
            f"the adapter {trained.adapter_id} was trained on another base than train.base = '{spec.train.base}'.",
            why="It would be put on weights that it does not fit.",
            fix="Train again.",
        )


def _models(spec: Spec, base: Base, trained: TrainResult, teacher: TeacherSettings | None) -> Models:
    """Base and tuned model as the ledger knows them, and their weights; the embedded teacher is the base itself where
    the two are the same model."""
    local = {"url": "embedded", "attempts": 1, "concurrency": spec.evaluate.concurrency, "timeout_s": ASK_TIMEOUT_S}
    if teacher is not None and (teacher.url, spec.train.base) == ("embedded", "embedded"):
        settings = teacher.model_copy(update=local)
    else:
        retries = {} if teacher is None else {"retries": teacher.retries}
        settings = TeacherSettings.model_validate({"model": base.name, "revision": base.hash, **retries, **local})
    arguments = tuple(sorted(trained.settings.template_arguments.items()))
    if arguments:
        # They change the prompt, so an answer without them is another one.
        settings = settings.model_copy(update={"revision": f"{settings.revision} {dict(arguments)}"})
    weights = None if spec.train.base == "embedded" else base.folder
    tuned_as, revision = tuned_model(base, weights, trained)
    tuned = settings.model_copy(update={"model": TUNED, "identity": TUNED, "revision": revision})
    return Models(
        base=Model(settings, LocalModel(weights, template_arguments=arguments)),
        tuned=Model(tuned, tuned_as),
        teacher=teacher,
    )


async def measured_once(
    plan: EvaluationPlan,
    store: Store,
    out_dir: Path,
    open_teacher: OpenTeacher | None = None,
    progress: Progress = unseen,
) -> Evaluation:
    """`measured`, kept as `out_dir/<evaluation id>.json`; if that is there already, it is read and nothing is asked."""
    path = out_dir / f"{plan.id}.json"
    if path.is_file():
        evaluation = Evaluation.model_validate_json(path.read_bytes())
        return evaluation.model_copy(update={"path": str(path), "reused": True, "calls_sent": 0})
    evaluation = await measured(plan, store, open_teacher, progress)
    _write(path, evaluation)
    return evaluation.model_copy(update={"path": str(path)})


async def measured(
    plan: EvaluationPlan,
    store: Store,
    open_teacher: OpenTeacher | None = None,
    progress: Progress = unseen,
) -> Evaluation:
    """Ask every system of `plan`, judge the answers, and draw the conclusions.

    `open_teacher` is called only if the teacher is another model than the base. Reports progress("evaluate", {done,
    total, system, mode, tokens}), in answers. Raises NoWork when no system gave any answer, and PairsmithError when
    the adapter is not really on and off.
    """
    started, known = time.monotonic(), store.call_index().keys()
    interview = Interview(plan, store, progress)
    # One model at a time: the servers of base and tuned never stand beside each other in memory.
    rounds = [
        await interview.ask(list(systems), open_teacher)
        for _, systems in groupby(plan.systems, key=lambda system: system.model.local)
    ]
    answers = [answers for asked in rounds for answers in asked.answers]
    outputs = tuple(output for given in answers for mode in MODES for output in given[mode].outputs)
    if not any(output.answered for output in outputs):
        raise NoWork("no system gave a single answer.", fix="Look at the failures above, and run it again.")
    sampled, greedy = decodings(plan.spec)
    examples = [Example(seed_id=seed.id, input=seed.body) for seed in plan.seeds]
    random_seed, spent = plan.spec.train.seed, total(cost for asked in rounds for cost in asked.costs)
    return Evaluation(
        id=plan.id,
        adapter_id=plan.trained.adapter_id,
        test_set=test_set_hash(plan.seeds),
        checks_fingerprint=plan.checks.fingerprint,
        check_names=plan.checks.names,
        seeds=len(plan.seeds),
        samples=plan.spec.evaluate.samples,
        sampling=sampled,
        greedy=greedy,
        concurrency=plan.spec.evaluate.concurrency,
        systems=tuple(_result(plan, system, given) for system, given in zip(plan.systems, answers, strict=True)),
        comparisons=against_the_rest([{mode: given[mode].outputs for mode in MODES} for given in answers]),
        adapter_check=next(asked.adapter_check for asked in rounds if asked.adapter_check),
        side_by_side=pick_examples(examples, _SIDE_BY_SIDE, random_seed),
        side_by_side_seed=random_seed,
        outputs=outputs,
        references=plan.references,
        calls_sent=sum(asked.sent for asked in rounds),
        calls_reused=sum(output.key in known for output in outputs),
        usage=spent.usage,
        usd=spent.total,
        costs=tuple(cost for asked in rounds for cost in asked.costs),
        seconds=time.monotonic() - started,
    )


def _result(plan: EvaluationPlan, system: System, answers: dict[Mode, Answers]) -> SystemResult:
    def summary(mode: Mode) -> ModeResult:
        outputs = answers[mode].outputs
        given = [Answer(seed_id=output.seed_id, text=output.text if output.whole else "") for output in outputs]
        compared = against_references(given, plan.references, [*plan.form.labels], is_json=plan.form.schema is not None)
        result = summarise(outputs, answers[mode].usage, plan.checks.names, answers[mode].usd)
        return result.model_copy(update={"by_reference": compared})

    prompt = system.messages(plan.seeds[0])[0]
    return SystemResult(
        name=system.name,
        names=system.names,
        model=system.model.settings.identity or system.model.settings.model,
        revision=system.model.settings.revision,
        system_prompt=prompt.content if prompt.role == "system" else "",
        exemplars=system.exemplars,
        decoding=system.decoding,
        sampling=system.sampled,
        greedy_sampling=system.greedy,
        sampled=summary("sampled"),
        greedy=summary("greedy"),
    )


def _write(path: Path, evaluation: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = evaluation.model_dump(mode="json", exclude={"path", "reused"})
    with replaced(path) as partial:
        partial.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
