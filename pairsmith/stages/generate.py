"""Seeds to pairs: reads the seeds, opens the teacher, runs the generators through the ledger."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

import uvloop

import prompts
from curate.split import shortages
from pairsmith import plan, teachers
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from schemas.errors import Interrupted
from schemas.records import Pair, Seed, content_id
from schemas.spec import TeacherSettings
from schemas.spec_file import Project
from schemas.store import Store
from synth import generators
from synth.endpoint import Endpoint
from synth.engine import GenerateResult
from synth.engine import generate as run_engine
from synth.generators import Generator
from synth.ledger import Ledger
from synth.seeds import SeedReading, read_seeds

SHOWN_PROBLEMS = 5
# First words of a failure after which no answer was ever seen, so that the next run asks again.
UNANSWERED = frozenset({"throttled", "server", "broken", "timeout", "unanswered"})


def generate(session: Session, project: Project, store: Store, *, retry_failed: bool = False) -> Draft:
    """Ask for every pair that is not in the store yet.

    Raises Interrupted after Ctrl-C, when everything in flight was saved; InputError for seeds that cannot be read.
    """
    with recording(project, store, "generate") as draft:
        draft.facts |= plan.inputs_of("generate", project, store)
        reading = read_seeds(project.spec.seeds, project.folder, sys.stdin.buffer)
        _report_problems(session, reading)
        store.set_active_seeds(reading.seeds)
        draft.facts["seeds"] = dict(Counter(seed.kind for seed in reading.seeds))
        draft.facts["shortages"] = _report_shortages(session, project, reading.seeds)
        draft.facts["seed_problems"] = [f"{problem.where}: {problem.what}" for problem in reading.problems]
        teacher = teachers.identified(project, session.say)
        result = GenerateResult()
        try:
            uvloop.run(_ask(session, project, store, teacher, reading.seeds, retry_failed, draft, result))
        finally:
            draft.counts = result.counts
            draft.reasons = dict(result.reasons)
            draft.facts |= {"pairs_made": result.pairs_made, "pairs_kept": result.pairs_kept}
            draft.facts["unanswered"] = sum(n for word, n in result.reasons.items() if word in UNANSWERED)
        draft.facts["made"] = _pool_id(store, draft.facts["scopes"].values())
        if result.stopped:
            raise Interrupted(
                f"{result.rows_in} rows are done and every answer is in the store.",
                fix="Run the same command again: it goes on from here and asks for none of them twice.",
            )
    return draft


def _report_problems(session: Session, reading: SeedReading) -> None:
    for problem in (*reading.notes, *reading.problems)[:SHOWN_PROBLEMS]:
        session.say(f"{problem.where}: {problem.what}")
    if (more := len(reading.problems) + len(reading.notes) - SHOWN_PROBLEMS) > 0:
        session.say(f"and {more} more; the receipt lists them all.")


def _report_shortages(session: Session, project: Project, seeds: Sequence[Seed]) -> list[str]:
    """Say what the seeds are too few for, before anything is paid for."""
    short = shortages(seeds, project.spec)
    for one in short:
        session.say(f"warning: {one.what}. {one.fix}")
    return [one.what for one in short]


async def _ask(
    session: Session,
    project: Project,
    store: Store,
    teacher: TeacherSettings,
    seeds: Sequence[Seed],
    retry_failed: bool,
    draft: Draft,
    result: GenerateResult,
) -> None:
    # Whether there is anything to ask is known before the teacher is opened: the embedded one takes seconds to start.
    async with teachers.asleep(teacher) as nobody:
        ready = _generators(project, Ledger(store, nobody, teacher))
        if not retry_failed and all_decided(store, seeds, ready):
            await _run(session, project, store, teacher, seeds, retry_failed, draft, result, nobody)
            if not nobody.was_asked:
                return
            # A failed place may be asked again: the spec grants more attempts, or a rule has changed.
            vars(result).update(vars(GenerateResult()))
    async with teachers.opened(teacher, session.say) as endpoint:
        await _run(session, project, store, teacher, seeds, retry_failed, draft, result, endpoint)


async def _run(
    session: Session,
    project: Project,
    store: Store,
    teacher: TeacherSettings,
    seeds: Sequence[Seed],
    retry_failed: bool,
    draft: Draft,
    result: GenerateResult,
    endpoint: Endpoint,
) -> None:
    with session.progress() as progress, session.stopping.draining() as stop:
        ledger = Ledger(store, endpoint, teacher, retry_failed=retry_failed)
        made_by = _generators(project, ledger)
        draft.facts["scopes"] = {generator.name: generator.fingerprint for generator in made_by}
        try:
            await run_engine(
                store,
                seeds,
                made_by,
                concurrency=ledger.concurrency,
                accept=_accept(project) if project.spec.generate.accepted else None,
                target=project.spec.generate.accepted,
                progress=progress,
                stop=stop,
                result=result,
            )
        finally:
            draft.calls_sent, draft.calls_reused = ledger.sent, ledger.reused
            draft.usage, draft.usd = ledger.usage, ledger.usd
            draft.facts |= {
                "retries": dict(ledger.retries_by_kind),
                "served": dict(ledger.served),
                "usage_unknown": ledger.usage_unknown,
            }


def _generators(project: Project, ledger: Ledger) -> list[Generator]:
    spec = project.spec
    ways = []
    if (settings := spec.generate.forward).enabled:
        prompt = prompts.load(settings.prompt, project.folder)
        ways.append(generators.forward(spec.task, spec.exemplars, settings, prompt, ledger))
    if (back := spec.generate.backward).enabled:
        prompt = prompts.load(back.prompt, project.folder)
        ways.append(generators.backward(spec.task, spec.exemplars, back, prompt, ledger))
    return ways


def all_decided(store: Store, seeds: Sequence[Seed], ready: Sequence[Generator]) -> bool:
    """Whether every place has a pair, or a failure after which it would not be asked again."""
    for generator in ready:
        decided = {
            (c.seed_id, c.sample)
            for c in store.candidates(generator.fingerprint)
            if c.failure is None or c.failure.code not in UNANSWERED
        }
        wanted = {(seed.id, n) for seed in seeds if seed.kind == generator.takes for n in range(generator.samples)}
        if not wanted <= decided:
            return False
    return True


def _pool_id(store: Store, fingerprints: Iterable[str]) -> str:
    """A hash of every place and its outcome: another pair in the pool makes another id."""
    candidates = (c for fingerprint in fingerprints for c in store.each_candidate(fingerprint))
    return content_id("pool", sorted([c.seed_id, c.sample, c.pair_id or "", str(c.failure or "")] for c in candidates))


async def pool_fingerprints(session: Session, project: Project, store: Store) -> list[str]:
    """The scopes under which the candidates of the present spec stand. Asks no teacher."""
    teacher = teachers.identified(project, session.say)
    async with teachers.asleep(teacher) as nobody:
        return [generator.fingerprint for generator in _generators(project, Ledger(store, nobody, teacher))]


def _accept(project: Project) -> Callable[[Pair], Awaitable[bool | None]]:
    """Whether a pair passes every gate; None if one of them could not judge and none rejects it."""
    from curate.gates import gates_for
    from curate.pool import fold

    steps = gates_for(project.spec.task, project.spec.curate.gates, project.folder)

    async def accept(pair: Pair) -> bool | None:
        return fold(step.judge(pair).keep for step in steps)

    return accept
