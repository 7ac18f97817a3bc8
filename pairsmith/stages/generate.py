"""Generation: read the seeds, open the teachers, and run the generators through the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pairsmith
import prompts
from curate.gates import free_tables
from curate.gates.judgement import Judgement
from curate.redaction import answer_redaction, treated
from curate.similarity.contamination import filter_contaminated_seeds
from curate.split import assign_splits, has_given_output, max_kept_per_input, shortages
from pairsmith import plan
from pairsmith.checks.personal_data_warning import warn_about_personal_data
from pairsmith.checks.preflight import (
    doubtful_settings,
    gates_against_examples,
    refuse_base,
    run_preflight,
    unused_task_texts,
)
from pairsmith.receipts.outcome import GenerateOutcome
from pairsmith.receipts.receipt import Recording, recording
from pairsmith.rows.generated import pool_facts
from pairsmith.stages.table import NO_AUDIENCE, Audience, Option, Stage
from pairsmith.style.numbers import describe_failure
from pairsmith.teachers import teachers
from pairsmith.teachers.ledgers import open_ledgers, try_directly
from pairsmith.terminal.standard_input import is_terminal, piped
from pairsmith.terminal.stopping import Stopping
from schemas.allocator import give_back
from schemas.blocking import run
from schemas.errors import InputError, Interrupted, UsageError
from schemas.gc_tuning import infrequent_gc
from schemas.progress import Progress, Say, unseen
from schemas.project import Project
from schemas.records import Direction, Json, Pair, Seed
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.active_seeds import ActiveSeeds
from schemas.streamed import FilteredRows
from schemas.wording import counted
from synth import generators
from synth.engine import GenerateResult
from synth.engine import generate as run_engine
from synth.families import is_different_model
from synth.ledger import Ledger
from synth.sources.seeds import SeedReading, read_seeds

SHOWN_PROBLEMS = 5
SHOWN_FAILURES = 3
LISTED_PROBLEMS = 1_000  # in a receipt, which every command reads
# Codes of failures without an answer, so that the next run asks again.
UNANSWERED = frozenset({"throttled", "server", "broken", "timeout", "unanswered"})


@infrequent_gc()
def generate(
    project: Project,
    store: Store,
    audience: Audience = NO_AUDIENCE,
    *,
    retry_failed: bool = False,
    batch: bool = False,
) -> GenerateOutcome:
    """Ask for every pair that is not in the store yet. If the audience watches, the progress also counts the pairs that
    pass the gates.

    Raises Interrupted after Ctrl-C, once everything in flight is saved, and InputError for seeds that cannot be read.
    Before anything is asked, raises PairsmithError for what a later stage would refuse: a base model that cannot be
    trained, or missing gates, checks, scorers and files.
    """
    say, live = audience.say, audience.is_watched
    _refuse_empty_pipe(project, say)
    refuse_base(project)
    with recording(project, store, "generate", GenerateOutcome()) as record:
        inputs = plan.inputs_of("generate", project, store, stdin=True)
        if not (retry_failed or live) and (before := _outcome_if_complete(project, store, inputs)) is not None:
            record.outcome = before
            _repeat_warnings(say, before)
            return before
        reading, all_seeds = load_seeds(project, store, say, audience.progress)
        by_direction = teachers.by_direction(project, say, batch=batch)
        run_preflight(project, all_seeds)
        _warn(project, all_seeds, by_direction.values(), audience)
        give_back()
        seeds, left_out = without_test_overlap(project, all_seeds, say, audience.progress)
        problems = [*(f"{problem.where}: {problem.what}" for problem in reading.problems), *left_out]
        record.outcome = GenerateOutcome(
            **inputs._asdict(),
            seeds=dict(reading.kinds),
            shortages=warn_about_shortages(say, project, all_seeds),
            seed_problems=tuple(problems[:LISTED_PROBLEMS]),
            seed_problem_count=len(problems),
            fingerprints=generators.fingerprints(project, by_direction),
        )
        _free_memory(gates_run=live or bool(project.spec.generate.targets))
        result = GenerateResult()
        asking = AskPlan(project, store, by_direction, audience, retry_failed, tallies=live)
        try:
            run(ask(asking, seeds, record, result))
        finally:
            record.add(**_facts_of(result))
        record.add(**pool_facts(project, store, record.outcome, stopped=result.stopped))
        if result.stopped:
            raise Interrupted(
                f"{result.rows_in} rows are done and every answer is in the store.",
                fix="Run the same command again: it continues from here and asks for nothing twice.",
            )
    return record.outcome


def _facts_of(result: GenerateResult) -> dict[str, Any]:
    return {
        "counts": result.counts,
        "reasons": dict(result.reasons),
        "failures": _most_frequent(result),
        "pairs_made": result.pairs_made,
        "pairs_kept": result.pairs_kept,
        "missed": result.missed,
        "unanswered": sum(count for word, count in result.reasons.items() if word in UNANSWERED),
    }


def _free_memory(*, gates_run: bool) -> None:
    """Free what the checks before a run have left behind, and the gates' tables unless gates run during generation."""
    if not gates_run:
        free_tables()
    give_back()


def _refuse_empty_pipe(project: Project, say: Say) -> None:
    """Raise InputError if standard input should have seeds but is empty. This comes before any receipt is written, so
    that what an earlier run made of its input still counts as done."""
    if all(source.path != "-" for source in project.spec.seeds):
        return
    if is_terminal():
        say("reading the seeds from the terminal, one per line; Ctrl-D on a line of its own ends them.")
    if piped().fingerprint is None:
        raise InputError(
            "standard input is empty.",
            where="seeds",
            fix="Pipe the seeds in, as in `cat seeds.txt | pairsmith run`.",
        )


def _outcome_if_complete(project: Project, store: Store, inputs: plan.Inputs) -> GenerateOutcome | None:
    """The outcome of a run that would find a pair in every slot: the last run had the same spec, files and version, and
    no slot is missing. None if a run is needed. This saves reading the seeds, which takes most of a minute for 100,000
    of them."""
    receipts = [receipt for receipt in store.receipts() if receipt.command in ("generate", "forecast", "preview")]
    if not receipts or receipts[-1].command != "generate" or not receipts[-1].ok:
        return None  # the other commands may have read the seeds of another spec
    last, outcome = receipts[-1], GenerateOutcome.of(receipts[-1])
    same = last.spec_hash == project.spec_hash and outcome.inputs == inputs.inputs
    same = same and last.versions.get("pairsmith") == pairsmith.__version__ and outcome.shaped_by is not None
    read_anew = any(source.path == "-" or source.format == "hub" for source in project.spec.seeds)
    rows = outcome.counts.rows_in
    if not same or read_anew or project.spec.curate.contamination.files or outcome.counts.waiting != rows:
        return None
    if store.count_candidates(outcome.fingerprints.values()) != rows:
        return None
    nothing = GenerateOutcome(**inputs._asdict())
    kept = {name: getattr(outcome, name) for name in _KEPT_IF_COMPLETE}
    return replace(nothing, pairs_kept=rows, costs=(), **kept)


_KEPT_IF_COMPLETE = (
    "counts",
    "seeds",
    "shortages",
    "seed_problems",
    "seed_problem_count",
    "fingerprints",
    "artifact_id",
    "missed",
    "passed_over",
)


def _repeat_warnings(say: Say, outcome: GenerateOutcome) -> None:
    _say_first(say, outcome.seed_problems, max(outcome.seed_problem_count, len(outcome.seed_problems)))
    for shortage in outcome.shortages:
        say(f"warning: {shortage}.")


def load_seeds(
    project: Project, store: Store, say: Say, progress: Progress = unseen
) -> tuple[SeedReading, ActiveSeeds]:
    """Read the seeds, split them, and store them as the active ones. Returns the reading and these, paged from disk."""
    stdin = piped().content if any(source.path == "-" for source in project.spec.seeds) else None
    if stdin:
        stdin.seek(0)
    read = read_seeds(project.spec.seeds, project.folder, stdin, progress=progress)
    reading = treated(read, project.spec.personal, project.spec.task.languages, progress)
    notes = [f"{problem.where}: {problem.what}" for problem in (*reading.notes, *reading.problems)]
    _say_first(say, notes, len(notes))
    if reading.not_used:
        say(f"{reading.not_used}.")
    splits = assign_splits(reading.seeds, project.spec.split, store.each_seed(), progress)
    store.set_active_seeds(splits, progress)
    return reading, store.active_seeds()


def generation_seeds(seeds: Sequence[Seed]) -> Sequence[Seed]:
    """The seeds that pairs are generated from. Inputs of a separate test set are only used by the evaluation, so a pair
    for them would be paid for in vain."""
    return FilteredRows(seeds, lambda seed: seed.meta.get("use") != "test" or has_given_output(seed))


def without_test_overlap(
    project: Project, seeds: ActiveSeeds, say: Say, progress: Progress = unseen
) -> tuple[Sequence[Seed], list[str]]:
    """The seeds to generate from, without those that repeat a text of the locked test split (curation would reject
    their pairs), and a message for each seed that is left out.

    Raises UsageError for an exemplar that repeats one: the teacher would see what the test asks.
    """
    test = seeds.containing('"test"')  # as their recorded split, or as the `use` of their source
    kept, left_out, exemplars = filter_contaminated_seeds(seeds, project.spec, project.folder, test, progress)
    if exemplars:
        number, sentence, text = exemplars[0]
        raise UsageError(
            f"exemplars.{number} is {sentence}: '{text[:80]}'.",
            where=str(project.folder),
            why="Every pair would be influenced by the test, and the evaluation would be too favourable.",
            fix='Remove it from [[exemplars]], or the seed from the test: move it to a source with use = "train".',
        )
    messages = [f"{seed.source}: skipped, because it is {likeness.sentence}" for seed, likeness in left_out]
    if messages:
        what = "seed repeats a held-out text and is" if len(messages) == 1 else "seeds repeat a held-out text and are"
        say(f"{len(messages):,} {what} skipped. {messages[0]}.")
    return generation_seeds(kept), messages


def _most_frequent(result: GenerateResult) -> tuple[Json, ...]:
    ordered = sorted(result.sentences.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple({"what": what, "rows": rows, "first": first} for what, (rows, first) in ordered[:SHOWN_FAILURES])


def summary(outcome: GenerateOutcome) -> list[tuple[str, str]]:
    """The most frequent failures with their first row, and warnings about truncated prompts, abandoned endpoints,
    missed targets and unexpected models."""
    failures = [describe_failure(failure) for failure in outcome.failures]
    lines = list(zip(("failed", *[""] * len(failures)), failures, strict=False))
    if outcome.passed_over:
        rows = counted(outcome.passed_over, "of these rows is", "of these rows are")
        earlier = f"{rows} of earlier runs, and this one ended before them; `pairsmith curate` judges all"
        lines.append(("earlier", earlier))
    if outcome.cut_prompts:
        cut = f"the server seems to have truncated {outcome.cut_prompts:,} prompts: raise its context length"
        lines.append(("warning", f"{cut} (Ollama: OLLAMA_CONTEXT_LENGTH, or PARAMETER num_ctx in a Modelfile)"))
    lines += [("warning", f"{url} was no longer used at the end: {why}") for url, why in outcome.left_alone.items()]
    for way, accepted in outcome.missed.items():
        key = "generate.accepted" if way == "forward" else f"generate.{way}.accepted"
        more = "generate.forward.n" if way == "forward" else "generate.backward.levels"
        reached = f"only {accepted:,} rows count towards {key}, which asks for more, and no candidates are left"
        lines.append(("warning", f"{reached}: add seeds or {more}, or raise generate.{way}.candidates if it is set"))
    for teacher, models in outcome.mixed.items():
        names = ", ".join(f"{model} ({answers:,})" for model, answers in sorted(models.items(), key=lambda m: -m[1]))
        by = f"{len(models)} models" if len(models) > 1 else "another model"
        lines.append(("warning", f"answers of '{teacher}' came from {by}: {names}"))
    return lines


def _say_first(say: Say, lines: Sequence[str], count: int) -> None:
    """Say the first of `count` lines, of which `lines` may be only the first ones."""
    for line in lines[:SHOWN_PROBLEMS]:
        say(line)
    if (more := count - SHOWN_PROBLEMS) > 0:
        listed = "them all" if count <= LISTED_PROBLEMS else f"the first {LISTED_PROBLEMS:,}"
        say(f"and {more:,} more; the receipt lists {listed}.")


def _warn(project: Project, seeds: Sequence[Seed], teachers: Iterable[TeacherSettings], audience: Audience) -> None:
    """Warn about settings that may not be intended, before anything is sent."""
    say = audience.say
    for what, fix in (*doubtful_settings(project.spec), *unused_task_texts(project)):
        say(f"warning: {what}. {fix}")
    warn_about_personal_data(say, seeds, teachers, project.spec, audience.progress)
    ways = [way.prompt for way in project.spec.generate.directions.values()]
    for name in prompts.unused(ways, project.folder):
        used = f"{' and '.join(ways)} {'is' if len(ways) == 1 else 'are'}"
        say(f"warning: prompts/{name} is not used; {used}. Name it in generate.forward.prompt.")


_LANGUAGE_GATES = ("language", "mixed_language")  # these load a model of 100 MB; `doctor` runs them too


def warn_about_shortages(say: Say, project: Project, seeds: Sequence[Seed]) -> tuple[str, ...]:
    """Warn about what the seeds are too few for, and about exemplars that the gates reject, before anything is paid
    for."""
    short = shortages(seeds, project.spec)
    for shortage in short:
        say(f"warning: {shortage.what}. {shortage.fix}")
    for what, fix in gates_against_examples(project, (), without=_LANGUAGE_GATES):
        say(f"warning: {what}. {fix}")
    return tuple(shortage.what for shortage in short)


class AskPlan(NamedTuple):
    """What to ask which teachers, by direction, and who follows it. With `tallies`, the progress counts the pairs that
    pass the gates. `first` are seeds to ask about before the others."""

    project: Project
    store: Store
    teachers: Mapping[Direction, TeacherSettings]
    audience: Audience
    retry_failed: bool = False
    tallies: bool = False
    first: Sequence[Seed] = ()


async def ask(
    asking: AskPlan, seeds: Sequence[Seed], record: Recording[GenerateOutcome], result: GenerateResult
) -> None:
    """Ask about `seeds` whatever is not in the store, in order, until done or Ctrl-C."""
    project, store, generate = asking.project, asking.store, asking.project.spec.generate
    say, progress = asking.audience.say, asking.audience.progress
    with (asking.audience.stop or Stopping()).draining() as stop:
        earlier = _earlier_prompts(store, asking.teachers)
        parts = (project, store, asking.teachers, seeds, say, stop, earlier)
        tried = await try_directly(*parts, retry_failed=asking.retry_failed)
        async with open_ledgers(store, asking.teachers, say, retry_failed=asking.retry_failed) as ledgers:
            distinct = list(dict.fromkeys(ledgers.values()))
            teachers.refuse_unkeepable_caps(project, ledgers)
            engine = partial(
                run_engine,
                store,
                generators=generators.enabled_generators(project, ledgers, answer_redaction(project.spec.personal)),
                concurrency=sum(ledger.concurrency for ledger in distinct) or 50,  # imported rows share commits
                accept=_acceptance_check(project, store.active_seeds()) if generate.targets else None,
                targets=generate.targets,
                counted={"forward": max_kept_per_input(project.spec, generate.forward.n)},
                candidates=generate.limits,
                stop=stop,
                earlier_prompts=earlier,
            )
            tally = GateTally(project, store.active_seeds()) if asking.tallies else None
            try:
                if asking.first:
                    await engine(iter(asking.first), progress=progress)  # without a total, because more follow
                await engine(seeds, progress=progress, result=result, tally=tally)
                if not result.stopped:
                    for batches in filter(None, (ledger.batches for ledger in distinct)):
                        await batches.settle_unasked()
            finally:
                record.add(**_counted([*tried, *distinct]))


def _earlier_prompts(store: Store, ways: Iterable[str]) -> set[str]:
    """The refs of the prompts that earlier runs used in these directions."""
    used = [GenerateOutcome.of(receipt).shaped_by or {} for receipt in store.receipts("generate")]
    return {shapes[key] for shapes in used for way in ways if (key := f"generate.{way}.prompt") in shapes}


def _counted(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    return {
        **teachers.spent(ledgers),
        "retries": dict(sum((ledger.endpoint.flow.retries_by_kind for ledger in ledgers), Counter())),
        "left_alone": {url: why for ledger in ledgers for url, why in ledger.endpoint.flow.left_alone.items()},
        "served": dict(sum((ledger.served for ledger in ledgers), Counter())),
        "mixed": {ledger.identity: dict(ledger.served) for ledger in ledgers if _has_other_models(ledger)},
        "usage_unknown": sum(ledger.usage_unknown for ledger in ledgers),
        "cut_prompts": sum(ledger.cut_prompts for ledger in ledgers),
    }


def _has_other_models(ledger: Ledger) -> bool:
    return len(ledger.served) > 1 or any(is_different_model(ledger.endpoint.model, model) for model in ledger.served)


class GateTally:
    """Counts the pairs that the gates pass and reject, and the reason codes, for a watcher."""

    def __init__(self, project: Project, seeds: Sequence[Seed]) -> None:
        self._judge = gate_judge(project, seeds)
        self._passed, self._rejected, self._reasons = 0, 0, Counter[str]()

    def __call__(self, pair: Pair) -> Json:
        judgements = self._judge(pair)
        rejecting = next((judgement for judgement in judgements if judgement.keep is False), None)
        if rejecting is not None:
            self._rejected += 1
            self._reasons[rejecting.reason.code] += 1
        elif all(judgement.keep for judgement in judgements):
            self._passed += 1
        return {"passed": self._passed, "rejected": self._rejected, "reasons": self._reasons}


def _acceptance_check(project: Project, seeds: Sequence[Seed]) -> Callable[[Pair], Awaitable[bool | None]]:
    """A function that returns True for a pair that passes every gate, and None if a gate could not judge it and none
    rejects it."""
    from curate.rows import fold

    judge = gate_judge(project, seeds)

    async def accept(pair: Pair) -> bool | None:
        return fold(judgement.keep for judgement in judge(pair))

    return accept


def gate_judge(project: Project, seeds: Sequence[Seed]) -> Callable[[Pair], list[Judgement]]:
    """A function that returns the judgement of each gate of the spec on a pair that is generated from these seeds."""
    from curate.gates import gates_of

    steps = gates_of(project, seeds)
    return lambda pair: [step.judge(pair) for step in steps]


STAGE = Stage[GenerateOutcome](
    "generate",
    generate,
    """Ask the teacher for every pair that is not in the store yet.

    Answers that were paid for are never requested again, however the last run ended.
    """,
    summary=summary,
    options=(
        Option("--retry-failed", bool, "Ask again for rows that got no usable answer."),
        Option("--batch", bool, "Use the provider's batch API: answers within a day, at half the price."),
    ),
    asks=True,
)
