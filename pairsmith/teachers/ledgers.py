"""Opens the ledgers of a run, and asks a few questions directly before a batch of an untried prompt is submitted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import islice

from curate.redaction import answer_redaction
from schemas.errors import TeacherError
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Direction, Seed
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.latest import latest_answers
from schemas.wording import counted
from synth.batch.api import batches_unavailable
from synth.batch.batches import Batches
from synth.batch.earlier import unread_lines
from synth.batch.holds import BatchHolds
from synth.engine import generate
from synth.generators import Backward, Forward, enabled_generators
from synth.ledger import Ledger
from synth.teachers import opened

# Seeds that are asked about directly before a batch, and the number of seeds up to which a batch is itself a small one.
# Ten useless answers in a row end a run: if every second answer is useless, 1 run in 1,000 begins like this.
TRIED_FIRST, SMALL_BATCH = 10, 40


@asynccontextmanager
async def open_ledgers(
    store: Store,
    by_direction: Mapping[Direction, TeacherSettings],
    say: Say,
    *,
    retry_failed: bool = False,
    stage: str = "generate",
) -> AsyncIterator[dict[Direction, Ledger]]:
    """The ledger of each direction. Directions with the same teacher share one. No endpoint is contacted before the
    first request."""
    async with AsyncExitStack() as stack:
        ledgers: dict[Direction, Ledger] = {}
        holds: dict[str, BatchHolds] = {}
        for way, teacher in by_direction.items():
            shared = next((ledger for ledger in ledgers.values() if ledger.teacher is teacher), None)
            if shared is None:
                endpoint = await stack.enter_async_context(opened(teacher, say))
                batches = None
                if teacher.batch or (unread_lines(store) and batches_unavailable(teacher) is None):
                    mine = holds[teacher.known_as] = BatchHolds(store, teacher, holds.get(teacher.known_as))
                    of_all = partial(Batches, stage=stage, submits=teacher.batch, others=by_direction.values())
                    batches = await stack.enter_async_context(of_all(store, endpoint, teacher, say, holds=mine))
                shared = Ledger(store, endpoint, teacher, retry_failed=retry_failed, stage=stage, batches=batches)
            ledgers[way] = shared
        yield ledgers


def asked_directly(by_direction: Mapping[Direction, TeacherSettings]) -> dict[Direction, TeacherSettings]:
    """The same teachers, none of them asked in batches. Directions that share one still do."""
    copies = {id(one): one.model_copy(update={"batch": False}) for one in by_direction.values()}
    return {way: copies[id(one)] for way, one in by_direction.items()}


async def try_directly(
    project: Project,
    store: Store,
    by_direction: Mapping[Direction, TeacherSettings],
    seeds: Sequence[Seed],
    say: Say,
    stop: asyncio.Event,
    earlier_prompts: Collection[str],
    *,
    retry_failed: bool,
) -> list[Ledger]:
    """Ask about the first open seeds directly where many are about to be asked about in batches, and no answer to their
    prompt has been usable yet: a batch is paid for as a whole, also if none of its answers can be used. Returns the
    ledgers that were used, for what was spent.

    Raises TeacherError if no answer can be used. What batches in flight have is not asked for.
    """
    batched = {way: one for way, one in by_direction.items() if one.batch}
    if not batched or unread_lines(store):
        return []
    async with open_ledgers(store, asked_directly(batched), say, retry_failed=retry_failed) as ledgers:
        asked = list[Ledger]()
        for generator in enabled_generators(project, ledgers, answer_redaction(project.spec.personal)):
            if not isinstance(generator, Forward | Backward) or (ledger := generator.ledger) is None:
                continue
            if _is_answered(store, generator, seeds) or not (first := _tried_first(project, generator, seeds)):
                continue
            say(
                f"{generator.name}: {counted(TRIED_FIRST, 'seed is', 'seeds are')} asked about directly first, at the "
                "usual price, because no answer to this prompt has been usable yet, and a batch is paid for as a whole."
            )
            asked.append(ledger)
            await generate(
                store,
                first,
                [generator],
                concurrency=TRIED_FIRST,
                stop=stop,
                earlier_prompts=earlier_prompts,
            )
            if not stop.is_set() and not _is_answered(store, generator, seeds):
                raise TeacherError(
                    f"No answer about the {TRIED_FIRST} seeds that were tried first can be used.",
                    where=ledger.endpoint.url,
                    why="A batch is paid for as a whole, so none was submitted.",
                    fix="`pairsmith rows --state failed` lists them. Fix the cause, or run without --batch.",
                )
        return asked


def _tried_first(project: Project, generator: Forward | Backward, seeds: Sequence[Seed]) -> list[Seed]:
    """The first open seeds; none if only a small batch is to be submitted."""
    is_open = (seed for seed in seeds if _is_open(generator, seed))
    first, samples, settings = list(islice(is_open, SMALL_BATCH + 1)), generator.samples or 1, project.spec.generate
    ends = (settings.targets.get(generator.name), settings.limits.get(generator.name))
    rows = min([len(first) * samples, *(end for end in ends if end is not None)])
    return first[:TRIED_FIRST] if rows > SMALL_BATCH * samples else []


def _is_answered(store: Store, generator: Forward | Backward, seeds: Iterable[Seed]) -> bool:
    """Whether an answer of this teacher to the prompt of this generator has been usable. True if it has no seed."""
    prompts = (generator.questions(seed)[0][0].prompt for seed in seeds if seed.kind in generator.takes)
    if (prompt := next(prompts, None)) is None or generator.ledger is None:
        return True
    return any(call.prompt == prompt for call in islice(latest_answers(store, generator.ledger.identity, prompt), 1))


def _is_open(generator: Forward | Backward, seed: Seed) -> bool:
    """Whether a question about this seed would be asked."""
    questions = generator.questions(seed) if seed.kind in generator.takes else ()
    return generator.ledger is not None and any(generator.ledger.count_missing_samples(*one) for one in questions)
