"""The proof: base, few-shot, teacher and tuned model on the locked test split."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pairsmith import plan, teachers
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from pairsmith.stages.train import inside
from schemas.errors import NoWork
from schemas.records import Counts
from schemas.spec_file import Project
from schemas.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

    from train.metrics import Evaluation, Output
    from train.results import TrainResult

EVALUATIONS = "evaluations"


def evaluate(session: Session, project: Project, store: Store) -> Draft:
    """Evaluate the adapter that was trained last; an evaluation that is there already is found, not repeated."""
    with recording(project, store, "evaluate") as draft:
        draft.facts |= plan.inputs_of("evaluate", project, store)
        trained = _latest_adapter(project, store)
        teacher = teachers.identified(project, session.say)
        session.say("starting the models")
        from train.evaluation import held_out_seeds, measured_once, plan_evaluation

        with session.progress() as progress:
            measurement = plan_evaluation(project, held_out_seeds(store, project.spec), trained, teacher)
            evaluation = asyncio.run(
                measured_once(
                    measurement,
                    store,
                    project.folder / EVALUATIONS,
                    lambda asked: teachers.opened(asked, session.say),
                    progress,
                )
            )
        path = inside(project, evaluation.path)
        store.write(evaluation.artifact.model_copy(update={"path": path}))
        draft.counts, draft.reasons = counted(evaluation)
        draft.calls_sent, draft.usage, draft.usd = evaluation.calls_sent, evaluation.usage, evaluation.usd
        if evaluation.reused:
            draft.usage, draft.usd = type(evaluation.usage)(), 0.0
        else:
            draft.calls_reused = evaluation.calls_reused
        draft.facts |= {"made": evaluation.id, "files": [path], "reused": evaluation.reused}
        draft.facts |= {"pass_rate": pass_rates(evaluation), "outcomes": outcomes(evaluation)}
    return draft


def _latest_adapter(project: Project, store: Store) -> TrainResult:
    from train.results import read_result

    adapters = store.artifacts("adapter")
    if not adapters:
        raise NoWork("there is no tuned model to evaluate.", fix="Run `pairsmith train` first.")
    folder = project.folder / adapters[-1].path
    if result := read_result(folder):
        return result
    raise NoWork("the tuned model is gone.", where=str(folder), fix="Run `pairsmith train` again.")


def counted(evaluation: Evaluation) -> tuple[Counts, dict[str, int]]:
    """An answer passes, fails a check, could not be judged, or never came."""
    outputs = evaluation.outputs
    passed = sum(output.passes for output in outputs)
    failed = sum(not output.answered for output in outputs)
    waiting = sum(output.answered and output.all_pass is None for output in outputs)
    rejected = len(outputs) - passed - failed - waiting
    reasons: dict[str, int] = {}
    for output in outputs:
        if output.answered and not output.passes and output.all_pass is not None:
            word = _why_not(evaluation, output)
            reasons[word] = reasons.get(word, 0) + 1
    if failed:
        reasons["unanswered"] = failed
    if waiting:
        reasons["not scored"] = waiting
    counts = Counts(rows_in=len(outputs), accepted=passed, rejected=rejected, waiting=waiting, failed=failed)
    return counts, reasons


def _why_not(evaluation: Evaluation, output: Output) -> str:
    """The word for why an answer did not pass: that it was cut or none at all, else the first check that failed."""
    from train.metrics import NO_ANSWER

    if output.cut:
        return "cut"
    if no_answer := output.reasons.get(NO_ANSWER):
        return no_answer
    return next(name for name in evaluation.check_names if output.checks[name] is False)


def outcomes(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """system -> {"sampled": the outcome of tuned against it, "greedy": the same}."""
    by_system: dict[str, dict[str, str]] = {}
    for comparison in evaluation.comparisons:
        by_system.setdefault(evaluation.system(comparison.b).label, {})[comparison.mode] = comparison.outcome
    return by_system


def pass_rates(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """system -> its pass rate, sampled, with its interval; merged systems are joined with an equals sign."""
    return {
        system.label: {"share": round(rate.estimate, 4), "low": round(rate.low, 4), "high": round(rate.high, 4)}
        for system in evaluation.systems
        if (rate := system.sampled.pass_rate)
    }


def tables(project: Project, draft: Draft) -> list[RenderableType]:
    """The systems and checks of an evaluation as tables, and the differences in words."""
    from train.metrics import Evaluation
    from train.results_table import checks_table, comparison_lines, systems_table

    evaluation = Evaluation.model_validate_json((project.folder / draft.facts["files"][0]).read_bytes())
    lines = "\n".join(comparison_lines(evaluation))
    return ["", systems_table(evaluation), "", checks_table(evaluation), "", lines]
