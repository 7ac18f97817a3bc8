"""The proof: base, few-shot, teacher and tuned model on the locked test split."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pairsmith import event_loop, plan, teachers
from pairsmith.outcome import EvaluateOutcome
from pairsmith.receipt import recording
from pairsmith.stopping import Stopping
from schemas.errors import NoWork
from schemas.progress import Progress, Say, unheard, unseen
from schemas.project import Project
from schemas.records import Counts, Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.endpoint import Endpoint

if TYPE_CHECKING:
    from rich.console import RenderableType

    from train.evaluation import Evaluation, Output
    from train.outcome import TrainResult

EVALUATIONS = "evaluations"


def evaluate(
    project: Project,
    store: Store,
    *,
    progress: Progress = unseen,
    say: Say = unheard,
    stop: Stopping | None = None,
) -> EvaluateOutcome:
    """Evaluate the adapter that was trained last; an evaluation that is there already is found, not repeated.

    It is not drained: `stop` ends it at once, and answers that came are kept.
    """
    with recording(project, store, "evaluate", EvaluateOutcome()) as record:
        record.outcome = EvaluateOutcome(**plan.inputs_of("evaluate", project, store)._asdict())
        trained = _latest_adapter(project, store)
        teacher = teachers.identified(project, say)
        say("starting the models")
        from train.ladder import evaluate as measure

        def open_teacher(asked: TeacherSettings) -> AbstractAsyncContextManager[Endpoint]:
            return teachers.opened(asked, say)

        folder = project.folder / EVALUATIONS
        measured = event_loop.run(measure(project, store, trained, teacher, open_teacher, folder, progress=progress))
        path = project.inside(Path(measured.path))
        store.write(measured.artifact.model_copy(update={"path": path}))
        counts, reasons = counted(measured)
        record.outcome = replace(
            record.outcome,
            counts=counts,
            reasons=reasons,
            calls_sent=measured.calls_sent,
            calls_reused=0 if measured.reused else measured.calls_reused,
            usage=Usage() if measured.reused else measured.usage,
            usd=0.0 if measured.reused else measured.usd,
            made=measured.id,
            files=(path,),
            reused=measured.reused,
            strict_pass=strict_pass(measured),
            systems=systems(measured),
            outcomes=outcomes(measured),
        )
    return record.outcome


def _latest_adapter(project: Project, store: Store) -> TrainResult:
    from train.outcome import TrainResult
    from train.sft import RESULT_NAME

    adapters = store.artifacts("adapter")
    if not adapters:
        raise NoWork("there is no tuned model to evaluate.", fix="Run `pairsmith train` first.")
    folder = project.folder / adapters[-1].path
    try:
        result = TrainResult.model_validate_json((folder / RESULT_NAME).read_bytes())
    except FileNotFoundError:
        raise NoWork("the tuned model is gone.", where=str(folder), fix="Run `pairsmith train` again.") from None
    return result.model_copy(update={"folder": str(folder)})


def counted(found: Evaluation) -> tuple[Counts, dict[str, int]]:
    """An answer passes, fails a check, could not be judged, or never came."""
    passed = sum(output.passes for output in found.outputs)
    failed = sum(not output.answered for output in found.outputs)
    waiting = sum(output.answered and output.strict is None for output in found.outputs)
    rejected = len(found.outputs) - passed - failed - waiting
    reasons: dict[str, int] = {}
    for output in found.outputs:
        if output.answered and not output.passes and output.strict is not None:
            word = _why_not(found, output)
            reasons[word] = reasons.get(word, 0) + 1
    if failed:
        reasons["unanswered"] = failed
    if waiting:
        reasons["not scored"] = waiting
    counts = Counts(rows_in=len(found.outputs), accepted=passed, rejected=rejected, waiting=waiting, failed=failed)
    return counts, reasons


def _why_not(found: Evaluation, output: Output) -> str:
    """The word for why an answer did not pass: that it was cut or none at all, else the first check that failed."""
    from train.evaluation import NO_ANSWER

    if output.cut:
        return "cut"
    if bad := output.reasons.get(NO_ANSWER):
        return bad
    return next(name for name in found.check_names if output.checks[name] is False)


def outcomes(found: Evaluation) -> dict[str, dict[str, str]]:
    """system -> {"sampled": what may be said of tuned against it, "greedy": the same}."""
    names = {rung.name: " = ".join(rung.names) for rung in found.rungs}
    said: dict[str, dict[str, str]] = {}
    for one in found.comparisons:
        said.setdefault(names[one.b], {})[one.mode] = one.outcome
    return said


def strict_pass(found: Evaluation) -> dict[str, dict[str, float]]:
    """rung -> its strict pass share, sampled, with its interval; merged rungs are joined with an equals sign."""
    return {
        " = ".join(rung.names): {
            "share": round(rung.sampled.strict.estimate, 4),
            "low": round(rung.sampled.strict.low, 4),
            "high": round(rung.sampled.strict.high, 4),
        }
        for rung in found.rungs
        if rung.sampled.strict
    }


def systems(found: Evaluation) -> dict[str, dict[str, dict[str, float]]]:
    """system -> its strict pass share with its interval, under both decodings."""
    told: dict[str, dict[str, dict[str, float]]] = {}
    for rung in found.rungs:
        results = {"strict_sampled": rung.sampled.strict, "strict_greedy": rung.greedy.strict}
        told[" = ".join(rung.names)] = {
            name: {"share": round(one.estimate, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
            for name, one in results.items()
            if one
        }
    return told


def summary(outcome: EvaluateOutcome) -> list[tuple[str, str]]:
    """Nothing beside the counts; `ladder` shows the rest."""
    return []


def ladder(project: Project, outcome: EvaluateOutcome) -> list[RenderableType]:
    """The ladder of an evaluation as tables, and the differences in words."""
    from train.evaluation import Evaluation
    from train.results_table import checks_table, contrast_lines, ladder_table

    found = Evaluation.model_validate_json((project.folder / outcome.files[0]).read_bytes())
    return ["", ladder_table(found), "", checks_table(found), "", "\n".join(contrast_lines(found))]
