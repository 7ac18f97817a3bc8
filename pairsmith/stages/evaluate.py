"""Evaluation: base, few-shot, teacher and tuned model on the locked test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from curate.split import disputed_questions
from pairsmith import plan
from pairsmith.receipts.outcome import EvaluateOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Option, Stage
from schemas.blocking import run
from schemas.errors import InputError, NoWork
from schemas.files import sha256
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Artifact, Counts, Json, Receipt, Seed
from schemas.store import Store
from schemas.store.latest import latest
from schemas.wording import counted, listed

if TYPE_CHECKING:
    from rich.console import RenderableType

    from train.evaluation.metrics import Evaluation
    from train.evaluation.systems import EvaluationPlan
    from train.results import TrainResult

EVALUATIONS = "evaluations"
_SHOWN = 3  # examples listed in warnings
# The exit codes of `--gate`.
CODES = {"ship": 0, "do not ship": 14, "not enough evidence": 15}
_MEASURED = {
    **dict.fromkeys(("generate", "curate"), "the training data of the evaluated model"),
    "train": "the evaluated adapter",
}


def evaluate(
    project: Project, store: Store, audience: Audience = NO_AUDIENCE, *, gate: bool = False
) -> EvaluateOutcome:
    """Evaluate the adapter that was trained last. An existing evaluation is reused, not repeated. With `gate`, the
    command's exit code is that of the verdict.

    It does not drain: `stop` ends it at once, and answers that arrived are kept.
    """
    spec, progress, say = project.spec, audience.progress, audience.say
    with recording(project, store, "evaluate", EvaluateOutcome()) as record:
        record.outcome = EvaluateOutcome(**plan.inputs_of("evaluate", project, store)._asdict())
        trained = latest_adapter(project, store)
        plan.warn_outdated(project, store, _MEASURED, say)
        from curate.scorers.judge import open_judge
        from synth.teachers import identified, opened

        teacher = identified(spec.teacher_for("evaluate"), say) if spec.measures_teacher else None
        say("preparing the evaluation")
        from train.evaluation import evaluation, failures, held_out
        from train.evaluation.priced import priced
        from train.evaluation.verdict import verdict

        seeds = _unseen(store, trained, held_out.held_out_seeds(store, spec), say)
        rows, watched = evaluation.trained_rows(store, trained), held_out.validation_seeds(store, spec)
        own = store.active_seeds()
        planned = evaluation.plan_evaluation(project, seeds, trained, teacher, None, rows, watched, own)
        folder = project.folder / EVALUATIONS
        drop_unfinished(store, planned.id, folder / f"{planned.id}.json")
        answered = _answered(project, store, planned)
        if spec.evaluate.vllm and not answered and not (folder / f"{planned.id}.json").is_file():
            from synth.local_vllm import find_vllm_python, has_gpu

            find_vllm_python(spec.evaluate.vllm_python, gpu=has_gpu(), say=say)  # may take minutes
        _say_all(say, (*_caveats(project, store, planned), *_planned_requests(planned, folder, answered)))
        judges = partial(open_judge, project, store, spec.evaluate.judges, say=say, stage="evaluate")
        asked = evaluation.measure_or_load(planned, store, folder, lambda t: opened(t, say), progress, judges, answered)
        measured = run(asked)
        _say_all(say, (f"warning: {sentence}" for sentence in failures.describe_refusals(measured)))
        path, digest = project.inside(Path(measured.path)), sha256(Path(measured.path))
        if measured.reused:
            refuse_modified(store, measured.id, digest, measured.path)
        store.write(measured.artifact.model_copy(update={"path": path}))
        concluded = verdict(priced(measured, spec), spec.evaluate.ship_at)
        (counts, reasons), by_system = counts_of(measured), systems(measured)
        record.add(
            **_spent(measured),
            counts=counts,
            reasons=reasons,
            artifact_id=measured.id,
            files=(path,),
            reused=measured.reused,
            pass_rate={name: rates["sampled"] for name, rates in by_system.items() if "sampled" in rates},
            systems=by_system,
            outcomes=outcomes(measured),
            verdict=concluded.model_dump(mode="json"),
            gated=gate,
            sha256=digest,
            unjudged=measured.judged.unanswered if measured.judged else 0,
        )
    return record.outcome


def _unseen(store: Store, trained: TrainResult, seeds: Sequence[Seed], say: Say) -> list[Seed]:
    """The test inputs without those that `trained` learned from, which are named. Raises NoWork if none is left."""
    from train.dataset import seen_in_training

    seen = seen_in_training(store, trained.dataset_id, seeds)
    if not seen:
        return [*seeds]
    sources = ", ".join(seed.source for seed in seen[:_SHOWN])
    number = counted(len(seen), "test input is an input", "test inputs are inputs")
    what = f"{number} that the evaluated model was trained on ({sources})"
    fix = "`pairsmith run` removes such rows from training and trains again"
    if len(seen) == len(seeds):
        raise NoWork(f"{what}.", why="It would be measured on what it has memorised.", fix=f"{fix}.")
    say(f"warning: {what}: left out of this evaluation; {fix}.")
    known = {seed.id for seed in seen}
    return [seed for seed in seeds if seed.id not in known]


def _say_all(say: Say, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(sentence)


def _caveats(project: Project, store: Store, measurement: EvaluationPlan) -> Iterator[str]:
    """Warnings about results that can be misread."""
    from train.evaluation.checks import describe_void_references
    from train.evaluation.held_out import rejected_references
    from train.evaluation.judging import warnings

    if disputed := disputed_questions(store.active_seeds(), project.spec):
        sources = ", ".join(seed.source for seed in disputed[:_SHOWN])
        number = counted(len(disputed), "test input has", "test inputs have")
        yield f"warning: {number} several references; answers are compared only with that of {sources}."
    if rejected := rejected_references(store, measurement.seeds):
        sources = ", ".join(seed.source for seed in rejected[:_SHOWN])
        number = counted(len(rejected), "test input has a reference", "test inputs have references")
        yield (
            f"warning: {number} that reviewers rejected ({sources}); answers are compared with"
            f" {'it' if len(rejected) == 1 else 'them'} all the same. Correct such a reference by an edit in review, or"
            " in its file."
        )
    void = [f"{seed.source}: {measurement.void[seed.id]}" for seed in measurement.seeds if seed.id in measurement.void]
    yield from (f"warning: {words}" for words in describe_void_references(void))
    yield from _unreferenced(measurement)
    yield from _untested(measurement)
    yield from (f"warning: {one.in_words}." for system in measurement.systems for one in system.shortened)
    yield from warnings(project.spec)


def _answered(project: Project, store: Store, planned: EvaluationPlan) -> Evaluation | None:
    """The last evaluation that differs in its judges only, if no answer of a system is missing in it. Raises InputError
    for one that was changed by hand."""
    for artifact in reversed(store.artifacts("evaluation")):
        if planned.answers_id in (artifact.id, artifact.facts.get("answers_id")) and artifact.id != planned.id:
            measured = _as_measured(project, artifact, store)
            if measured and all(output.answered for output in measured.outputs):
                return measured
    return None


def _planned_requests(measurement: EvaluationPlan, folder: Path, answered: Evaluation | None = None) -> Iterator[str]:
    """What is about to be asked; nothing if the evaluation exists and is complete."""
    from train.evaluation.evaluation import count_missing, load_saved

    if existing := load_saved(measurement, folder):
        unjudged = existing.judged.unanswered if existing.judged else 0
        missing = ((count_missing(existing) - unjudged, "answer", "answers"), (unjudged, "judgement", "judgements"))
        if named := " and ".join(counted(*each) for each in missing if each[0]):
            yield f"{named} missing from this evaluation will be requested again"
        return
    if answered:
        yield f"only the judges have changed: all {counted(len(answered.outputs), 'answer', 'answers')} are known"
        return
    systems = [" = ".join(system.names) for system in measurement.systems]
    settings, inputs = measurement.spec.evaluate, counted(len(measurement.seeds), "test input", "test inputs")
    answers = counted(measurement.answers_per_system * len(systems), "answer", "answers")
    limit = settings.sampling.max_tokens
    room = f", each of at most {limit:,} tokens" if limit else ""
    watched = len(measurement.validation)
    validation_note = (
        f", and {counted(watched, 'greedy answer', 'greedy answers')} of tuned to validation inputs" if watched else ""
    )
    yield f"{answers}: {inputs} x ({settings.samples} sampled + 1 greedy) x {', '.join(systems)}{validation_note}{room}"


def _unreferenced(measurement: EvaluationPlan) -> Iterator[str]:
    seeds, known = len(measurement.seeds), len(measurement.references)
    if measurement.form.has_single_answer and known < seeds:
        subject = counted(seeds - known, "test input has", "test inputs have")
        without = ", or remove those without one" if known else ""
        yield (
            f"warning: {subject} no reference to match: the pass rate only covers what the gates"
            f"{' and evaluate.checks' if measurement.spec.evaluate.check_names else ''} check."
            f" Give each of the {seeds} one{without}."
        )


def _untested(measurement: EvaluationPlan) -> Iterator[str]:
    """Warn about labels that no test input covers."""
    tested = {*measurement.references.values()}
    if tested and (untested := [label for label in measurement.form.labels if label not in tested]):
        labels = f"{'the label' if len(untested) == 1 else 'one of the labels'} {listed(untested, _SHOWN)}"
        yield (
            f"warning: no reference of a test input is {labels}: macro F1 is the mean of the other labels, and its"
            f" interval is wider, because {'this one' if len(untested) == 1 else 'these'} may do well or badly."
        )


def refuse_modified(store: Store, evaluation_id: str, digest: str, path: str) -> None:
    """Raise InputError if the file of a reused evaluation is not the one that was written: a verdict would be based on
    it."""
    last = _last_of(store, evaluation_id)
    known = last and last.facts.get("sha256")
    if known and known != digest:
        raise modified("evaluation", path, "`pairsmith evaluate` again: answers that were paid for are reused.")


def modified(kind: str, path: str, command: str) -> InputError:
    """The error about a file of measurements whose hash is not the recorded one; `command` measures again."""
    return InputError(
        f"this {kind} was changed after it was written, or the run that wrote it was killed.",
        where=path,
        why="Its numbers may not be the measured ones.",
        fix=f"Delete the file and run {command}",
    )


def drop_unfinished(store: Store, evaluation_id: str, file: Path) -> None:
    """Delete the file of an interrupted run that was completing an evaluation and was killed before its receipt: its
    content cannot be verified. The evaluation is computed again from the answers in the store."""
    last = _last_of(store, evaluation_id)
    is_open = last and (last.counts.failed or last.facts.get("unjudged"))
    if last and is_open and file.is_file() and sha256(file) != last.facts.get("sha256"):
        file.unlink()


def _last_of(store: Store, evaluation_id: str) -> Receipt | None:
    """The receipt of the last successful run that measured or reused an evaluation."""
    evaluations = (receipt for receipt in reversed(store.receipts("evaluate")) if receipt.ok)
    return next((receipt for receipt in evaluations if receipt.facts.get("made") == evaluation_id), None)


def evaluation_in(project: Project, evaluated: Artifact, store: Store) -> Evaluation | None:
    """The evaluation of an artifact, with the teacher's price; None if its file is missing. Raises InputError if the
    file was changed after it was written."""
    from train.evaluation.priced import priced

    measured = _as_measured(project, evaluated, store)
    return measured and priced(measured, project.spec)


def _as_measured(project: Project, evaluated: Artifact, store: Store) -> Evaluation | None:
    from train.evaluation.metrics import Evaluation
    from train.results import read_record

    file = project.folder / evaluated.path
    if file.is_file():
        refuse_modified(store, evaluated.id, sha256(file), str(file))
    return read_record(file, Evaluation)


def latest_adapter(project: Project, store: Store) -> TrainResult:
    """The adapter that was trained or reused last. Raises NoWork if there is none, and InputError if its weights are
    not those that training wrote."""
    from pairsmith.stages.train import recorded_digests
    from train.results import read_result, refuse_changed

    adapter = latest(store, "adapter")
    if adapter is None:
        raise NoWork("there is no tuned model yet.", fix="Run `pairsmith train` first.")
    folder = project.folder / adapter.path
    if result := read_result(folder):
        refuse_changed(result, recorded=recorded_digests(store, adapter.id))
        return result
    raise NoWork("the tuned model is missing.", where=str(folder), fix="Run `pairsmith train` again.")


def _spent(measured: Evaluation) -> Json:
    """What this run asked and spent; nothing if the evaluation was reused."""
    if measured.reused:
        return {"costs": ()}
    spent = {name: getattr(measured, name) for name in ("calls_sent", "calls_reused", "usage", "usd")}
    return {**spent, "costs": tuple(cost.as_json() for cost in measured.costs)}


def counts_of(evaluation: Evaluation) -> tuple[Counts, dict[str, int]]:
    """Count the answers that pass, fail a check, could not be judged, or are missing; and the reasons."""
    from train.evaluation.failures import why_not

    outputs = evaluation.outputs
    passed = sum(output.passes for output in outputs)
    failed = sum(not output.answered for output in outputs)
    waiting = sum(output.answered and output.all_pass is None for output in outputs)
    rejected = len(outputs) - passed - failed - waiting
    decided = (output for output in outputs if output.answered and not output.passes and output.all_pass is not None)
    reasons = dict(Counter(why_not(output, evaluation.check_names) for output in decided))
    reasons |= {word: rows for word, rows in (("unanswered", failed), ("not scored", waiting)) if rows}
    counts = Counts(rows_in=len(outputs), accepted=passed, rejected=rejected, waiting=waiting, failed=failed)
    return counts, reasons


def outcomes(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """system -> {"sampled": the outcome of the tuned model against it, "greedy": the same}."""
    by_system: dict[str, dict[str, str]] = {}
    for comparison in evaluation.comparisons:
        by_system.setdefault(evaluation.system(comparison.b).label, {})[comparison.mode] = comparison.outcome
    return by_system


def systems(evaluation: Evaluation) -> dict[str, dict[str, dict[str, float]]]:
    """system -> decoding -> its pass rate with its interval. A decoding that was not measured is left out. Names of
    merged systems are joined with an equals sign."""
    return {
        system.label: {
            mode: {"share": round(rate.estimate, 4), "low": round(rate.low, 4), "high": round(rate.high, 4)}
            for mode, rate in (("sampled", system.sampled.pass_rate), ("greedy", system.greedy.pass_rate))
            if rate
        }
        for system in evaluation.systems
    }


def exit_code(outcome: EvaluateOutcome) -> int:
    """The exit code of the command: that of the verdict if requested, else 0."""
    return CODES[outcome.verdict["decision"]] if outcome.gated else 0


def tables(project: Project, outcome: EvaluateOutcome) -> list[RenderableType]:
    """The systems and checks of an evaluation as tables, and the comparisons in words."""
    from train.evaluation.metrics import Evaluation
    from train.evaluation.priced import priced
    from train.evaluation.results_table import (
        checks_table,
        comparison_lines,
        judged_lines,
        judged_table,
        references_table,
        systems_table,
    )
    from train.evaluation.verdict import in_words, verdict

    measured = Evaluation.model_validate_json((project.folder / outcome.files[0]).read_bytes())
    evaluation = priced(measured, project.spec)
    decided = in_words(verdict(evaluation, project.spec.evaluate.ship_at))
    lines = "\n".join([*comparison_lines(evaluation), *judged_lines(evaluation), "", *decided])
    listed = (systems_table, checks_table, references_table, judged_table)
    shown = (*(table(evaluation) for table in listed), lines)
    return [part for table in shown if table for part in ("", table)]


STAGE = Stage[EvaluateOutcome](
    "evaluate",
    evaluate,
    """Evaluate base, few-shot, retrieval, teacher and tuned model on the locked test split.

    Answers are kept in the ledger: a stopped evaluation continues, and a finished one sends no requests.
    """,
    shown=tables,
    options=(Option("--gate", bool, "Use the verdict as exit code: 0 ship, 14 do not ship, 15 not enough evidence."),),
    asks=True,
    code=exit_code,
)
