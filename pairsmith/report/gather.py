"""Collect the evidence of a project from receipts, verdicts, artifacts and the files that the artifacts name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.export.dataset import refuse_edited
from curate.redaction import display_redactor
from curate.review.decision import current_answers
from curate.tallies import spec_key_of_gate
from pairsmith.certified import last_certification
from pairsmith.plan import STAGES, due
from pairsmith.receipts.outcome import GenerateOutcome
from pairsmith.report.evidence import Evidence, Reviews, StageEvidence, StepTally
from pairsmith.report.next_steps import next_seeds
from pairsmith.report.rows import ReportRows
from pairsmith.stages.evaluate import evaluation_in, modified, outcomes
from pairsmith.stages.train import CURVE_FILE, recorded_digests
from schemas.errors import PairsmithError
from schemas.files import sha256
from schemas.project import Project
from schemas.records import Artifact, Receipt, now
from schemas.step_names import display_step
from schemas.store import Store, tables
from schemas.store.latest import last_good, present
from train.evaluation.metrics import Evaluation
from train.evaluation.verdict import verdict
from train.learning_curve import LearningCurve
from train.results import RECORD, TrainResult, read_record, refuse_changed

COMMANDS = ("generate", "curate", "train", "evaluate")


def gather(project: Project, store: Store) -> Evidence:
    """The evidence from the store's present state. Results of stages that have not run are None or empty."""
    receipts = store.receipts()
    finished = {receipt.command: receipt for receipt in receipts if receipt.ok}
    rows = ReportRows(store, finished.get("generate"), finished.get("curate"), display_redactor(project.spec))
    artifacts, stage_receipts = present(store), receipts
    dataset, adapter, evaluated = artifacts.get("dataset"), artifacts.get("adapter"), artifacts.get("evaluation")
    if evaluated is None:  # none, or it belongs to another adapter
        stage_receipts = [receipt for receipt in receipts if receipt.command != "evaluate" or not receipt.ok]
    if dataset is not None:
        refuse_edited(project.folder / dataset.path)
    training = None if adapter is None else _training(project.folder / adapter.path, adapter, store)
    evaluation = None if evaluated is None else evaluation_in(project, evaluated, store)
    latest = receipts[-1] if receipts else None
    return Evidence(
        project=project.spec.task.name,
        written_at=now(),
        stages=tuple(_stage(command, stage_receipts, rows) for command in COMMANDS),
        seeds=_facts(finished, "generate").get("seeds"),
        unread_seeds=_unread_seeds(_facts(finished, "generate")),
        accepted=rows.accepted(),
        rejected=rows.rejected(),
        steps=tuple(
            StepTally(
                display_step(name),
                **tally | {"shown": rows.of(tally.get("shown", ()), name)},
                key=spec_key_of_gate(name),
            )
            for name, tally in _facts(finished, "curate").get("steps", {}).items()
        ),
        splits=_facts(finished, "curate").get("splits"),
        near_duplicate_seeds=_near_duplicate_seeds(_facts(finished, "curate")),
        lengths=rows.lengths,
        scorer=rows.scorer,
        training=training,
        evaluation=evaluation,
        verdict=None if evaluation is None else verdict(evaluation, project.spec.evaluate.ship_at),
        outcomes={} if evaluation is None else outcomes(evaluation),
        failing=next_seeds(store, project.spec, evaluation, rows.seeds_with_rows),
        curve=_curve(project, receipts, dataset, training),
        receipts=tuple(receipts),
        costs=tuple(store.costs()),
        reviews=_reviews(project, store, receipts),
        hashes=tuple(_hashes(project, rows, dataset, training, evaluation)),
        versions={} if latest is None else latest.versions,
        certificate=_certificate(project, store),
        erased_seeds=_erased_seeds(store, finished["generate"]) if "generate" in finished else 0,
        outdated=_outdated(project, store, finished),
    )


def _outdated(project: Project, store: Store, finished: Mapping[str, Receipt]) -> str:
    """A sentence that names the first stage that is due, if it or a later one left results; empty if none did."""
    try:
        first = due(project, store)
    except (PairsmithError, OSError) as error:
        return f"It could not be determined whether these results belong to the present files: {error}"
    if first is None or not finished.keys() & {*STAGES[STAGES.index(first.stage) :]} - {"review"}:
        return ""
    since = f"`pairsmith {first.stage}` is due ({first.why})"
    return f"Not up to date: {since}. What is shown of it and of later stages comes from an earlier run."


def _erased_seeds(store: Store, generated: Receipt) -> int:
    """At least how many of the seeds that were generated from have been erased since. Seeds that only left the files,
    which `preview` notices, are still stored."""
    return max(0, sum(GenerateOutcome.of(generated).seeds.values()) - store.count(tables.seeds))


def _curve(
    project: Project, receipts: Sequence[Receipt], dataset: Artifact | None, training: TrainResult | None
) -> LearningCurve | None:
    """The learning curve, if it belongs to the present dataset and has the settings of the present adapter, and if the
    hash of its file was recorded. Raises InputError if the file was changed after it was written."""
    file = project.folder / CURVE_FILE
    curve = read_record(file, LearningCurve)
    if curve is None or dataset is None or training is None or curve.dataset_id != dataset.id:
        return None
    if training.adapter_id not in {point.adapter_id for point in curve.points}:
        return None
    digests = (receipt.facts.get("curve_sha256") for receipt in reversed(receipts) if receipt.command == "train")
    if (known := next(filter(None, digests), None)) is None:
        return None
    if known != sha256(file):
        raise modified("learning curve", CURVE_FILE, "`pairsmith train --curve` again: its trainings are reused.")
    return curve


def _stage(command: str, receipts: Sequence[Receipt], rows: ReportRows) -> StageEvidence:
    runs = [receipt for receipt in receipts if receipt.command == command]
    good = last_good(runs, command)
    stopped = None if not runs or runs[-1].ok else str(runs[-1].facts.get("error", "the receipt gives no reason."))
    if good is None:
        return StageEvidence(command, stopped=stopped)
    return StageEvidence(command, good.counts, tuple(rows.reasons(good)), stopped)


def _facts(finished: Mapping[str, Receipt], command: str) -> dict[str, Any]:
    return finished[command].facts if command in finished else {}


def _unread_seeds(generated: Mapping[str, Any]) -> int:
    return int(generated.get("seed_problem_count") or len(generated.get("seed_problems", ())))


def _near_duplicate_seeds(facts: Mapping[str, Any]) -> int:
    """Their number; receipts of earlier versions list all of them instead."""
    return int(facts.get("near_duplicate_seed_count", len(facts.get("near_duplicate_seeds", ()))))


def _training(folder: Path, adapter: Artifact, store: Store) -> TrainResult:
    """The training result with its curve, or if the folder is missing, without the curve from the artifact's facts.
    Raises InputError if its numbers were changed after they were written."""
    if saved := read_record(folder / RECORD, TrainResult):
        digests = {name: digest for name, digest in recorded_digests(store, adapter.id).items() if name == RECORD}
        own = saved.model_copy(update={"weights": {}, "files": {}, "folder": str(folder)})
        refuse_changed(own, recorded=digests)
    return saved or TrainResult.model_validate({**adapter.facts, "curve": (), "masks": ()})


def _reviews(project: Project, store: Store, receipts: Sequence[Receipt]) -> Reviews:
    reviews = store.reviews().values()
    human = [answer for of_pair in reviews for answer in current_answers(of_pair)]
    return Reviews(
        decisions=len(human),
        pairs=len({review.pair_id for review in human}),
        reviewers=len({review.reviewer for review in human}),
        simulated=sum(review.simulated for of_pair in reviews for review in of_pair),
        status=next((r.facts["review"] for r in reversed(receipts) if r.facts.get("review")), None),
        switched_off=not project.spec.review.enabled,
    )


def _certificate(project: Project, store: Store) -> dict[str, Any] | None:
    state, looked = last_certification(project, store), last_good(store.receipts("certify"), "certify")
    return {**state, "saw": looked.facts["certificate"]} if state and looked else None


def _hashes(
    project: Project,
    rows: ReportRows,
    dataset: Artifact | None,
    training: TrainResult | None,
    evaluation: Evaluation | None,
) -> list[tuple[str, str]]:
    hashes = [("spec", project.spec_hash)]
    hashes += [("prompt", ref) for ref in rows.prompts]
    hashes += [("teacher", teacher) for teacher in rows.teachers]
    if dataset is not None:
        hashes.append(("dataset", dataset.id))
    if training is not None:
        hashes += [("base model", training.base_hash), ("adapter", training.adapter_id)]
    if evaluation is not None:
        hashes += [
            ("evaluation", evaluation.id),
            ("test inputs", evaluation.test_set),
            ("checks", evaluation.checks_fingerprint),
        ]
    return hashes
