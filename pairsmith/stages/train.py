"""Training: an accepted dataset to a tuned model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from curate.groups import groups_of
from curate.split import questions
from pairsmith import plan
from pairsmith.receipts.outcome import TrainOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Option, Stage
from pairsmith.terminal.stopping import Stopping
from schemas.blocking import run
from schemas.errors import Interrupted, NoWork
from schemas.files import replaced, sha256
from schemas.progress_line import clock
from schemas.project import Project
from schemas.records import Counts
from schemas.spec import TrainSettings
from schemas.store import Store
from schemas.store.latest import last_good, latest
from schemas.wording import apart, capital, counted, decimals, examples

if TYPE_CHECKING:
    from train.base_models.base_model import Base
    from train.dataset import Dataset
    from train.evaluation.intervals import Interval
    from train.results import TrainResult
    from train.sft import Receipts

ADAPTERS, CURVE, CURVE_FILE = "adapters", "curve", "curve.json"


def train(project: Project, store: Store, audience: Audience = NO_AUDIENCE, *, curve: bool = False) -> TrainOutcome:
    """Fine-tune the base on the dataset. With the same dataset and settings, the existing adapter is reused. With
    `curve`, also draw the learning curve, which takes up to a dozen more trainings.

    `stop` ends it after the present step and keeps the best weights so far as an adapter, then Interrupted is raised;
    the next run resumes from that step. Raises NoWork, also if the dataset was not compared with the held-out files of
    the spec.
    """
    progress, say, stop = audience.progress, audience.say, audience.stop
    with recording(project, store, "train", TrainOutcome()) as record:
        record.outcome = TrainOutcome(**plan.inputs_of("train", project, store)._asdict())
        settings, exported = project.spec.train, latest(store, "dataset")
        if settings.needs_special_support and plan.why_not("train", project, store, ()):
            from train.base_models.check import refusals

            for refused in refusals(settings):
                raise refused
        if exported is None:
            raise NoWork("there is no dataset to train on.", fix="Run `pairsmith curate` first.")
        plan.refuse_unchecked(project, store)
        plan.warn_outdated(project, store, dict.fromkeys(("generate", "curate"), "the dataset"), say)
        from train.dataset import dataset_of, describe_untaught

        dataset = dataset_of(project.folder / exported.path)
        tested = [seed.asked for seed in questions(store.active_seeds(), project.spec, "test")]
        dataset = replace(dataset, held_out=[*dataset.held_out, *tested])
        from train.sft import refuse_untrainable, tune

        refuse_untrainable(dataset, settings)
        answers = (row["completion"][0]["content"] for row in dataset.train)
        if untaught := describe_untaught(project.spec.task.labels, answers):
            say(f"warning: {untaught}. Add rows with such an answer, or remove it from task.labels.")
        say("loading the base model")
        from train.base_models.base_model import find_base

        base, adapters = find_base(settings, project.folder, progress), project.folder / ADAPTERS
        with (stop or Stopping()).polled() as should_stop:
            receipts = _receipts(adapters, store)
            result = tune(base, dataset, settings, adapters, progress, should_stop=should_stop, receipts=receipts)
        path = project.inside(Path(result.folder))
        store.write(result.artifact.model_copy(update={"path": path}))
        record.outcome = _with_result(record.outcome, result, path)
        if settings.objective != "sft":
            # Not of the artifact: that of the same rows with earlier preferences is the same one.
            curated = last_good(store.receipts("curate"), "curate")
            record.add(without_preference=curated.facts.get("rows_without_preference", {}) if curated else {})
        if result.planned_steps is not None:
            raise _ended(result)
        if curve:
            lines = learning_curve_of(project, store, audience, base, dataset, result.settings)
            record.add(curve=tuple(lines), curve_sha256=sha256(project.folder / CURVE_FILE))
    for adapter in filter(None, (result.adapter_id, result.began_with)):
        _mark_of(adapters, adapter).unlink(missing_ok=True)
    return record.outcome


def _receipts(adapters: Path, store: Store) -> Receipts:
    """What receipts record of adapters. One that is being trained is marked by a file until its receipt is written: if
    the process is killed in between, earlier receipts are about files that no longer exist."""
    from train.sft import Receipts

    def digests(adapter: str) -> Mapping[str, str]:
        # its own record may have been edited together with its files
        return {} if _mark_of(adapters, adapter).exists() else recorded_digests(store, adapter)

    return Receipts(digests, begin=lambda adapter: _mark_of(adapters, adapter).touch())


def _mark_of(adapters: Path, adapter: str) -> Path:
    return adapters / f".{adapter}.unrecorded"


def _ended(result: TrainResult) -> Interrupted:
    """The error for a training that the user stopped: what is kept of it, and how to resume it."""
    from train.results import no_gain_warning

    kept, kept_loss = result.kept_step or result.steps, result.kept_loss
    loss = "" if kept_loss is None else f", validation loss {decimals(kept_loss)}"
    gain = no_gain_warning(result.validation[0].loss if result.validation else None, kept_loss)
    return Interrupted(
        f"the training was stopped after {result.steps} of {result.planned_steps} steps; its best state (step {kept}"
        f"{loss}) is kept as the adapter {result.adapter_id[:8]}.",
        why=f"{capital(gain)}." if gain else None,
        fix="`pairsmith evaluate` and `pairsmith export` use it; `pairsmith train` resumes the training.",
    )


def recorded_digests(store: Store, adapter_id: str) -> dict[str, str]:
    """The SHA-256 of the adapter's files, and the digest of its record, as its last training or reuse recorded them, or
    the DPO that continued from it; none in receipts of earlier versions."""
    keys = (("made", "digests"), ("began_with", "began_with_digests"))
    for receipt in reversed(store.receipts("train")):
        for name, digests in keys:
            if receipt.facts.get(name) == adapter_id:
                return dict(receipt.facts.get(digests) or {})
    return {}


def _digests_of(result: TrainResult | None) -> dict[str, str]:
    """Of the adapter's own files and its record."""
    from train.results import RECORD

    digests = {**result.weights, **result.files, RECORD: result.digest} if result else {}
    return {name: digest for name, digest in digests.items() if digest and not name.startswith("merged/")}


def _with_result(outcome: TrainOutcome, result: TrainResult, path: str) -> TrainOutcome:
    from train.results import read_result

    rows, left_out = result.train_rows + result.validation_rows, len(result.left_out)
    losses = [validation.loss for validation in result.validation]
    adapters = Path(result.folder).parent
    start: TrainResult | None = None
    if result.began_with and (not result.reused or _mark_of(adapters, result.began_with).exists()):
        start = read_result(adapters / result.began_with)
    return replace(
        outcome,
        counts=Counts(rows_in=rows + left_out, accepted=rows, rejected=left_out),
        reasons={"too_long": left_out} if left_out else {},
        artifact_id=result.adapter_id,
        files=(path,),
        reused=result.reused,
        digests=_digests_of(result),
        began_with=start.adapter_id if start else "",
        began_with_digests=_digests_of(start) if start else {},
        base=result.base,
        objective=result.settings.objective,
        train_rows=result.train_rows,
        validation_rows=result.validation_rows,
        steps=result.steps,
        learned_tokens=result.learned_tokens,
        four_bit_layers=result.four_bit_layers,
        train_seconds=result.seconds,
        first_loss=result.curve[0].loss,
        last_loss=result.curve[-1].loss,
        validation_before=losses[0] if losses else None,
        validation_after=result.kept_loss,
    )


def learning_curve_of(
    project: Project, store: Store, audience: Audience, base: Base, dataset: Dataset, settings: TrainSettings
) -> list[str]:
    """Draw the learning curve, store it as `curve.json`, and return it as text lines. `settings` are those of the
    trained adapter. Slices are the origins of rows and the sources of their seeds. The adapters are kept in `curve/`,
    so drawing it again trains nothing."""
    from train.evaluation.evaluation import plan_evaluation, validated
    from train.evaluation.held_out import validation_seeds
    from train.learning_curve import in_words, learning_curve
    from train.sft import tune

    watched = validation_seeds(store, project.spec)

    def train(part: Dataset, seed: int) -> TrainResult:
        is_whole = part.id == dataset.id and seed == settings.seed
        folder = project.folder / (ADAPTERS if is_whole else CURVE)
        return tune(base, part, settings.model_copy(update={"seed": seed}), folder, audience.progress)

    def measure(result: TrainResult) -> Interval | None:
        if not watched:
            return None
        plan = plan_evaluation(project, watched, result, None, validation=watched, imported=store.active_seeds())
        return run(validated(plan, store, audience.progress))

    groups = groups_of(watched)
    group_sizes = [*Counter(groups.get(seed.id, seed.id) for seed in watched).values()]
    drawn = learning_curve(
        dataset,
        train,
        measure,
        seed=settings.seed,
        slices=_slices(store, [row["pair_id"] for row in dataset.train]),
        group_sizes=group_sizes,
        of_preferences=settings.objective != "sft",
        say=audience.say,
    )
    with replaced(project.folder / CURVE_FILE) as partial:
        partial.write_text(drawn.model_dump_json(indent=2), encoding="utf-8")
    return in_words(drawn)


def _slices(store: Store, pair_ids: Sequence[str]) -> dict[str, list[str]]:
    """The rows by origin and by the file of their seed; slices with the same rows are listed once."""
    sources = {seed.id: seed.file for seed in store.each_seed()}
    slices: dict[str, list[str]] = {}
    for pair in store.pairs(pair_ids):
        origin = pair.origin.generator if pair.origin.by == "generated" else pair.origin.by
        for name in (f"{origin} rows", f"rows from {sources.get(pair.seed_id, 'elsewhere')}"):
            slices.setdefault(name, []).append(pair.id)
    by_rows: dict[frozenset[str], str] = {}
    for name, ids in slices.items():
        by_rows.setdefault(frozenset(ids), name)
    return {name: slices[name] for name in by_rows.values()}


def summary(outcome: TrainOutcome) -> list[tuple[str, str]]:
    """Steps, losses and the path of the adapter."""
    from train.results import no_gain_warning

    rows, steps = examples(outcome.train_rows, outcome.objective), counted(outcome.steps, "step", "steps")
    took = f"{rows}, {steps} in {clock(outcome.train_seconds)}"
    lines = [("trained", f"{outcome.base} on {took}{' (reused from an earlier run)' if outcome.reused else ''}")]
    if left_out := outcome.counts.rejected:
        long = examples(left_out, outcome.objective)
        lines.append(("", f"left out: {long} longer than train.max_length or the base's context; see training.json"))
    if outcome.without_preference:
        from curate.preferences import without_in_words

        lines.append(("", without_in_words(outcome.without_preference, outcome.objective)))
    if outcome.first_loss is not None and outcome.last_loss is not None:
        loss = " to ".join(apart(outcome.first_loss, outcome.last_loss))
        if outcome.validation_before is not None and outcome.validation_after is not None:
            loss += f"; on validation {' to '.join(apart(outcome.validation_before, outcome.validation_after))}"
        lines.append(("loss", loss))
        if gain := no_gain_warning(outcome.validation_before, outcome.validation_after):
            lines.append(("", gain))
    curve = [("curve" if not at else "", line) for at, line in enumerate(outcome.curve)]
    return [*lines, ("adapter", outcome.files[0]), *curve]


STAGE = Stage[TrainOutcome](
    "train",
    train,
    """Fine-tune the small model on the accepted pairs; the adapter is written to `adapters/`.

    If the dataset and the settings are unchanged, the existing adapter is reused.
    """,
    summary=summary,
    options=(Option("--curve", bool, "Also draw the learning curve: six more trainings, and one per slice of rows."),),
)
