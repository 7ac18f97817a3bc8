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

    from train.evaluation import Evaluation, Output
    from train.outcome import TrainResult

EVALUATIONS = "evaluations"


def evaluate(session: Session, project: Project, store: Store) -> Draft:
    """Evaluate the adapter that was trained last; an evaluation that is there already is found, not repeated."""
    with recording(project, store, "evaluate") as draft:
        draft.facts |= plan.inputs_of("evaluate", project, store)
        trained = _latest_adapter(project, store)
        teacher = teachers.identified(project, session.say)
        session.say("starting the models")
        from train.ladder import evaluate as climb

        with session.progress() as progress:
            found = asyncio.run(
                climb(
                    project,
                    store,
                    trained,
                    teacher,
                    lambda asked: teachers.opened(asked, session.say),
                    project.folder / EVALUATIONS,
                    progress=progress,
                )
            )
        path = inside(project, found.path)
        store.write(found.artifact.model_copy(update={"path": path}))
        draft.counts, draft.reasons = counted(found)
        draft.calls_sent, draft.usage, draft.usd = found.calls_sent, found.usage, found.usd
        if found.reused:
            draft.usage, draft.usd = type(found.usage)(), 0.0
        else:
            draft.calls_reused = found.calls_reused
        draft.facts |= {"made": found.id, "files": [path], "reused": found.reused, "strict_pass": strict_pass(found)}
        draft.facts |= {"outcomes": outcomes(found), "systems": systems(found)}
    return draft


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


def ladder(project: Project, draft: Draft) -> list[RenderableType]:
    """The ladder of an evaluation as tables, and the differences in words."""
    from train.evaluation import Evaluation
    from train.results_table import checks_table, contrast_lines, ladder_table

    found = Evaluation.model_validate_json((project.folder / draft.facts["files"][0]).read_bytes())
    return ["", ladder_table(found), "", checks_table(found), "", "\n".join(contrast_lines(found))]
