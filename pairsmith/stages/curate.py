"""Curation: judge the pool of the present spec and write the accepted dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from curate.export.dataset import export_dataset
from curate.outcome import CurateResult, curate_project
from curate.review.population import read_population
from curate.review.status import as_json, elsewhere_notice, review_status
from curate.rows import ROWS
from curate.scorers.judge import same_family_warnings
from curate.scorers.remote import RemoteScorers, open_remote_scorers
from curate.selection.best import in_words
from curate.similarity.overlap import FEW
from curate.states import REPEATED
from curate.tallies import spec_key_of_gate
from pairsmith import plan
from pairsmith.checks.personal_data_warning import addresses_elsewhere
from pairsmith.receipts.outcome import CurateOutcome
from pairsmith.receipts.receipt import Recording, recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Stage
from pairsmith.teachers import teachers
from schemas.blocking import run
from schemas.errors import NoWork
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Json
from schemas.step_names import By
from schemas.store import Store
from schemas.streamed import batched
from schemas.wording import counted, cut

DATASET = "dataset"
Judged = TypeVar("Judged")
_GATES_SHOWN = 3
_MANY_REPEATED = 0.2  # share of rows lost to repetition from which on it is explained
_SHOWN_TEXT = 80  # characters
_STRICT_JACCARD = 0.9  # the value to try
_USELESS = {
    "unreadable": ("row whose answer could not be read", "rows whose answer could not be read"),
    "unanswered": ("answer that never came", "answers that never came"),
}


def curate(project: Project, store: Store, audience: Audience = NO_AUDIENCE) -> CurateOutcome:
    """Judge every candidate of the present spec and write the accepted rows to `dataset/`.

    It does not drain: `stop` ends it at once, and finished verdicts are kept. Only judges and served reward models are
    asked. Raises NoWork if there are no candidates, or none is accepted.
    """
    with recording(project, store, "curate", CurateOutcome()) as record:
        inputs = plan.inputs_of("curate", project, store)
        record.outcome = CurateOutcome(**inputs._asdict(), review_count=store.review_count())
        fingerprints = teachers.fingerprints_of(project, audience.say)
        for sentence in _warnings(project):
            audience.say(sentence)

        async def work(remote_scorers: RemoteScorers) -> CurateResult:
            progress = audience.progress
            return await curate_project(
                project, store, fingerprints=fingerprints, remote_scorers=remote_scorers, progress=progress
            )

        result = run_with_judges(project, store, audience.say, record, work)
        facts = dict(result.facts)
        scorer = facts.pop("scorer", None)
        if sum(facts["lost"].values()) >= _MANY_REPEATED * result.counts.rows_in:
            facts["one_input"] = _one_input(store, facts["curation"])
        record.add(counts=result.counts, reasons=result.reasons, scorer=scorer, more=facts)
        if store.sampled():
            population = read_population(project, store, fingerprints, facts["judged_by"], audience.progress)
            review = as_json(review_status(project, store, population))
            record.add(review=review)
            result.facts["review"] = review
        dataset = export_dataset(project, store, result, project.folder / DATASET, audience.progress)
        facts["rows_without_preference"] = dataset.facts["rows_without_preference"]
        record.add(artifact_id=dataset.id, files=(dataset.path,), rows=dataset.facts["rows"], more=facts)
        if not dataset.facts["rows"]["train"]:
            nothing = "no accepted row is in the train split, so `pairsmith train` has nothing to learn from"
            audience.say(f"warning: {nothing}.")
    return record.outcome


def _one_input(store: Store, curation: str) -> Json | None:
    """The input that a teacher wrote for more than half of the rows that repeat others, with their number."""
    states = (state for code in REPEATED for state in store.row_states(curation, code=code))
    ids, written = [state.pair_id for state in states if state.pair_id], Counter[tuple[str, str]]()
    for some in batched(ids, ROWS):
        for pair in store.pairs(some):
            if pair.origin.by == "generated" and pair.origin.generator == "backward":
                written[pair.origin.prompt, " ".join(pair.input.split())] += 1
    ((prompt, text), rows), *_ = written.most_common(1) or [(("", ""), 0)]
    return {"rows": rows, "prompt": prompt, "text": text} if 2 * rows > len(ids) else None


def _warnings(project: Project) -> list[str]:
    """Warnings about the judges before they are asked: where the rows are sent, and whether a judge belongs to the
    family of the model whose texts it judges."""
    spec = project.spec
    names = spec.curate.judge.teachers
    writers = [spec.teacher_for("forward"), spec.teacher_for("backward")] if spec.needs_teacher else []
    names_of_teachers = [*names, *([spec.curate.score.teacher] if spec.curate.score.teacher else [])]
    away = addresses_elsewhere(spec.teachers[name] for name in names_of_teachers)
    leaves = [f"the texts of rows that pass the gates are sent to {' and '.join(away)}"] if away else []
    return [*leaves, *same_family_warnings(spec, names, writers)]


def run_with_judges(
    project: Project, store: Store, say: Say, record: Recording[Any], work: Callable[[RemoteScorers], Awaitable[Judged]]
) -> Judged:
    """Run `work` with the judges and scorers of the spec, and add their cost to the receipt. If the pool is empty
    because of a change since `generate`, the error says so."""

    async def judged() -> Judged:
        async with AsyncExitStack() as opened:
            scorers = await open_remote_scorers(project, store, opened, say)
            try:
                return await work(scorers)
            finally:
                if scorers.ledgers:
                    record.add(**teachers.spent(scorers.ledgers))

    try:
        return run(judged())
    except NoWork as nothing:
        cause = plan.cause("generate", project, store)
        if not cause:
            raise
        raise NoWork(
            nothing.what,
            where=nothing.where,
            why=f"The present spec has no candidates; `pairsmith generate` made them for another one: {cause}.",
            fix="Run `pairsmith generate` for the present spec, or use the same --set options in both commands.",
        ) from None


def summary(outcome: CurateOutcome) -> list[tuple[str, str]]:
    """Lines shown after the counts: gates that alone reject many rows, the scorer and why it was chosen, and the path
    of the dataset."""
    more = outcome.more
    steps = more.get("steps", {})
    by_number = sorted(((counts.get("alone", 0), by) for by, counts in steps.items()), reverse=True)
    lines = [
        (
            "by one gate",
            f"{by} alone rejects {counted(rows, 'row', 'rows')}; {spec_key_of_gate(by)}"
            f"{' or task.language' * (By.read(by).key == 'language')} changes it, the report shows examples",
        )
        for rows, by in by_number[:_GATES_SHOWN]
        if rows
    ]
    if overruled := {by: counts["overruled"] for by, counts in steps.items() if counts.get("overruled")}:
        by_gate = ", ".join(f"{by} {counted(rows, 'row', 'rows')}" for by, rows in overruled.items())
        lines.append(("by people", f"reviewers accept what gates reject: {by_gate}"))
    if many := _repeated_rows(outcome):
        lines.append(("repeated", many))
    if (alike := more.get("near_duplicate_seed_count", 0)) >= FEW:
        kept = f"rows that only share a template with a test input ({FEW} or more similar texts) stay"
        lines.append(("templates", f"{alike:,} seeds nearly repeat one in another split; {kept}: the test measures it"))
    if flags := more.get("flags"):
        by_flag = ", ".join(f"{flag} {counted(count, 'row', 'rows')}" for flag, count in flags.items())
        listed = "`pairsmith rows --state accepted --flagged` lists them"
        lines.append(("flagged", f"accepted, but worth a look: {by_flag}; {listed}"))
    lines += [("reviews", notice) for notice in elsewhere_notice(outcome.review or {})]
    lines += [("scored by", outcome.scorer["why"])] if outcome.scorer else []
    facts = (("selection", "selection", in_words), ("judge", "judged by", _judges), ("choice", "selected", _selection))
    lines += [(word, says(more[name])) for name, word, says in facts if more.get(name)]
    rows_ = ", ".join(f"{count:,} {part}" for part, count in outcome.rows.items())
    return [*lines, ("dataset", f"{outcome.files[0]}: {rows_}")]


def _repeated_rows(outcome: CurateOutcome) -> str:
    """What to do if a large share of the rows repeats test inputs or rows of other seeds; empty otherwise."""
    why = {"contamination": "repeat a test text", "duplicate": "repeat an accepted row"}
    numbers = {code: outcome.reasons.get(code, 0) for code in why}
    lost: dict[str, int] = outcome.more.get("lost", {})
    if sum(lost.values()) < _MANY_REPEATED * outcome.counts.rows_in:
        return ""
    parts = [f"{number:,} {why[code]}" for code, number in numbers.items() if number]
    code = max(lost, key=lambda name: lost[name])
    sentence = (
        f"{' and '.join(parts)}, of {outcome.counts.rows_in:,} rows; `pairsmith rows --reason {code}` lists them."
    )
    if one := outcome.more.get("one_input"):
        return (
            f"{sentence} For {one['rows']:,} of them the teacher wrote one and the same input,"
            f" '{cut(one['text'], _SHOWN_TEXT)}': change the prompt ({one['prompt']}) or the teacher"
        )
    sentence += (
        " If they are versions of one text, begin a new project and name the column that says which belong together:"
        " seeds.group"
    )
    if outcome.more.get("jaccard", 0.0) >= _STRICT_JACCARD:
        return sentence
    return (
        f"{sentence}. If they differ in what matters, raise curate.duplicates.jaccard: `pairsmith curate --what-if"
        f" curate.duplicates.jaccard={_STRICT_JACCARD}` shows what that changes"
    )


def _selection(choice: Json) -> str:
    """How many rows were selected of how many, and whether they represent the rest better than a random selection."""
    far = choice["farness"]
    return (
        f"{choice['rows']:,} of {choice['of']:,} rows to train on, {choice['spread']}: the mean distance of a row"
        f" to the nearest selected one is {far['chosen']:.3f}, and {far['random']:.3f} for a random selection"
    )


def _judges(judge: Json) -> str:
    """The judges, how many rows wait because no answer was usable, and what to do about it."""
    useless = [counted(judge[name], *words) for name, words in _USELESS.items() if judge[name]]
    by = f"{', '.join(judge['judges'])}, by {len(judge['questions'])} questions"
    helps = "`pairsmith rows --state waiting` shows the answers"
    helps += "; another judge, or your own prompts/judge, is asked again" if judge["unreadable"] else ""
    return f"{by}; {', '.join(useless)}: their rows wait; {helps}" if useless else by


STAGE = Stage[CurateOutcome](
    "curate",
    curate,
    """Build the accepted dataset in `dataset/`: gates, duplicates, scores and selection.

    Verdicts are stored, so running it again after a change of thresholds judges nothing twice.
    """,
    summary=summary,
    asks=True,
)
