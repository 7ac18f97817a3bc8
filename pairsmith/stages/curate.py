"""Pairs to an accepted set: judges the pool of the present spec and writes the dataset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from curate.asked import Asked, open_asked
from curate.export import export_dataset
from curate.judge import of_one_family
from curate.outcome import CurateResult, curate_project
from curate.review.population import read_population
from curate.review.status import as_json, review_status
from curate.selection import in_words
from curate.tallies import key_of
from pairsmith import plan, teachers
from pairsmith.outcome import CurateOutcome
from pairsmith.personal_data_warning import is_local
from pairsmith.receipt import Recording, recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Stage
from schemas.blocking import run
from schemas.errors import NoWork
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store
from schemas.wording import counted

DATASET = "dataset"
Judged = TypeVar("Judged")
_GATES_SHOWN = 3
_USELESS = {
    "unreadable": ("row whose answer could not be read", "rows whose answer could not be read"),
    "unanswered": ("answer that never came", "answers that never came"),
}


def curate(project: Project, store: Store, audience: Audience = NO_AUDIENCE) -> CurateOutcome:
    """Judge every candidate of the present spec and write what is accepted to `dataset/`.

    It is not drained: `stop` ends it at once, and what was judged is kept. Only judges and served reward models are
    asked. Raises NoWork if there is no candidate, or none is accepted.
    """
    with recording(project, store, "curate", CurateOutcome()) as record:
        inputs = plan.inputs_of("curate", project, store)
        record.outcome = CurateOutcome(**inputs._asdict(), review_count=store.review_count())
        fingerprints = teachers.fingerprints_of(project, audience.say)
        for sentence in _warnings(project):
            audience.say(sentence)

        async def work(asked: Asked) -> CurateResult:
            progress = audience.progress
            return await curate_project(project, store, fingerprints=fingerprints, asked=asked, progress=progress)

        result = with_asked(project, store, audience.say, record, work)
        facts = dict(result.facts)
        scorer = facts.pop("scorer", None)
        record.add(counts=result.counts, reasons=result.reasons, scorer=scorer, more=facts)
        if store.sampled():
            population = read_population(project, store, fingerprints, facts["judged_by"])
            review = as_json(review_status(project, store, population))
            record.add(review=review)
            result.facts["review"] = review
        dataset = export_dataset(project, store, result, project.folder / DATASET)
        record.add(artifact_id=dataset.id, files=(dataset.path,), rows=dataset.facts["rows"])
        if not dataset.facts["rows"]["train"]:
            nothing = "no accepted row is of the train split, so `pairsmith train` has nothing to learn from"
            audience.say(f"warning: {nothing}.")
    return record.outcome


def _warnings(project: Project) -> list[str]:
    """What should be known of the judges before they are asked: where the rows go, and whom they are related to."""
    spec = project.spec
    names = spec.curate.judge.teachers
    writers = [spec.teacher_for("forward"), spec.teacher_for("backward")] if spec.asks_teacher else []
    asked = [*names, *([spec.curate.score.teacher] if spec.curate.score.teacher else [])]
    away = sorted({url for name in asked for url in spec.teachers[name].addresses if not is_local(url)})
    leaves = [f"the texts of rows that pass the gates leave this machine, to {' and '.join(away)}"] if away else []
    return [*leaves, *of_one_family(spec, names, writers)]


def with_asked(
    project: Project, store: Store, say: Say, record: Recording[Any], work: Callable[[Asked], Awaitable[Judged]]
) -> Judged:
    """What `work` gives with those whom the spec asks, whose cost goes into the receipt. A pool without a row names the
    cause that lies in `generate`."""

    async def judged() -> Judged:
        async with AsyncExitStack() as opened:
            asked = await open_asked(project, store, opened, say)
            try:
                return await work(asked)
            finally:
                if asked.ledgers:
                    record.add(**teachers.spent(asked.ledgers))

    try:
        return run(judged())
    except NoWork as nothing:
        cause = plan.cause("generate", project, store)
        if not cause:
            raise
        raise NoWork(
            nothing.what,
            where=nothing.where,
            why=f"The pool of the present spec is empty, and `pairsmith generate` made another one: {cause}.",
            fix="Run `pairsmith generate` for the spec as it is now, or give both commands the same --set.",
        ) from None


def summary(outcome: CurateOutcome) -> list[tuple[str, str]]:
    """The summary beside the counts: gates that alone keep many rows out, the scorer and why, where the dataset is."""
    more = outcome.more or {}
    steps = more.get("steps", {})
    by_number = sorted(((counts.get("alone", 0), by) for by, counts in steps.items()), reverse=True)
    lines = [
        (
            "by one gate",
            f"only {by} rejects {counted(rows, 'row', 'rows')}; {key_of(by)} changes it, the report shows some",
        )
        for rows, by in by_number[:_GATES_SHOWN]
        if rows
    ]
    if flags := more.get("flags"):
        by_flag = ", ".join(f"{flag} {counted(count, 'row', 'rows')}" for flag, count in flags.items())
        listed = "`pairsmith rows --state accepted --flagged` lists them"
        lines.append(("flagged", f"accepted, and worth a look: {by_flag}; {listed}"))
    lines += [("scored by", outcome.scorer["why"])] if outcome.scorer else []
    facts = (("selection", "selection", in_words), ("judge", "judged by", _judges), ("choice", "selected", _selection))
    lines += [(word, says(more[name])) for name, word, says in facts if more.get(name)]
    rows_ = ", ".join(f"{count:,} {part}" for part, count in outcome.rows.items())
    return [*lines, ("dataset", f"{outcome.files[0]}: {rows_}")]


def _selection(choice: Json) -> str:
    """How many were chosen of how many, and whether that stands for the rows better than chance does."""
    far = choice["farness"]
    return (
        f"{choice['rows']:,} of {choice['of']:,} rows to train on, {choice['spread']}: on average a row is"
        f" {far['chosen']:.3f} from the nearest chosen one, and {far['random']:.3f} from one of a random arm"
    )


def _judges(judge: Json) -> str:
    """Who judged, how many rows wait because no answer was of use, and what helps."""
    useless = [counted(judge[name], *words) for name, words in _USELESS.items() if judge[name]]
    by = f"{', '.join(judge['judges'])}, by {len(judge['questions'])} questions"
    helps = "`pairsmith rows --state waiting` shows what was said"
    helps += "; another judge, or a prompts/judge of your own, is asked anew" if judge["unreadable"] else ""
    return f"{by}; {', '.join(useless)}: they wait, {helps}" if useless else by


STAGE = Stage[CurateOutcome](
    "curate",
    curate,
    """Gates, duplicates, scores and selection: what is accepted goes into `dataset/`.

    Steps only annotate, so running it again after a change of thresholds judges nothing twice.
    """,
    summary=summary,
    asks=True,
)
