"""Preview: a few seeds through the present prompt, next to their outputs in the pool, and what a full run would ask and
cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from curate.forecast import Range
from curate.gates.judgement import Judgement
from curate.redaction import answer_redaction
from pairsmith import plan
from pairsmith.checks.personal_data_warning import warn_about_personal_data
from pairsmith.receipts.outcome import GenerateOutcome, PreviewOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.forecast import nothing_to_generate
from pairsmith.stages.generate import gate_judge, load_seeds, without_test_overlap
from pairsmith.stages.table import NO_AUDIENCE, Audience, Numeric, Option, Stage
from pairsmith.style.numbers import between
from pairsmith.teachers import teachers
from pairsmith.teachers.ledgers import asked_directly, open_ledgers
from pairsmith.teachers.pilot_costs import costs_of, seed_cost, sum_ranges
from pairsmith.terminal.stopping import Stopping
from schemas.blocking import run
from schemas.errors import Interrupted
from schemas.project import Project
from schemas.records import Counts, Direction, Json, Pair, Reason, Seed, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.wording import counted
from synth.chat.completions import StoppedError
from synth.generators import GENERATOR_CLASSES, Backward, Forward, fingerprints
from synth.ledger import Ledger
from synth.question import max_answer_tokens
from synth.slots import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType

SEEDS = 5
_SEED_CHARACTERS = 300  # characters of a seed that are shown


def preview(project: Project, store: Store, audience: Audience = NO_AUDIENCE, *, seeds: int = SEEDS) -> PreviewOutcome:
    """Ask about `seeds` seeds of each direction with the present spec, and show the outputs next to the pool of the
    last run.

    The answers are in the ledger, so a later `generate` does not pay for them again; the pool is not changed. Raises
    NoWork if nothing is generated, and Interrupted after Ctrl-C.
    """
    say = audience.say
    with recording(project, store, "preview", PreviewOutcome()) as record:
        _, all_seeds = load_seeds(project, store, say, audience.progress)
        by_direction = teachers.by_direction(project, say)
        warn_about_personal_data(say, all_seeds, by_direction.values(), project.spec, audience.progress)
        before = store.receipts("generate")[-1:]
        pools = GenerateOutcome.of(before[0]).fingerprints if before else {}
        try:
            seeds_to_ask, _ = without_test_overlap(project, all_seeds, say, audience.progress)
            shown = run(_ask(project, store, audience, by_direction, seeds_to_ask, pools, most=seeds))
        except StoppedError:
            raise Interrupted("the preview is not done.", fix="Run it again: it asks for nothing twice.") from None
        record.outcome = replace(shown, shaped_by=plan.pinned(project, store)["generate"])
        if not record.outcome.rows:
            raise nothing_to_generate("preview")
    return record.outcome


async def _ask(
    project: Project,
    store: Store,
    audience: Audience,
    by_direction: Mapping[Direction, TeacherSettings],
    seeds: Sequence[Seed],
    pools: Mapping[str, str],
    *,
    most: int,
) -> PreviewOutcome:
    rows, redaction = list[Json](), answer_redaction(project.spec.personal)
    left_samples, left_seeds, left_usd = 0, 0, list[Range | None]()
    judge = gate_judge(project, store.active_seeds())
    with (audience.stop or Stopping()).draining() as stopping:
        direct = asked_directly(by_direction)  # a batch of five seeds may take a day
        async with open_ledgers(store, direct, audience.say, stage="preview") as ledgers:
            distinct = list(dict.fromkeys(ledgers.values()))
            watch = asyncio.create_task(_drain_on_stop(stopping, distinct))
            try:
                for way, ledger in ledgers.items():
                    generator = GENERATOR_CLASSES[way].of(project, ledger, redaction)
                    if not (matching := [seed for seed in seeds if seed.kind in generator.takes]):
                        continue
                    old = _outputs(store, pools.get(way), generator)
                    order = sorted(matching, key=lambda seed: (seed.id not in old, content_id("preview", seed.id)))
                    chosen = order[:most]
                    answered = await _answered(generator, chosen, distinct)
                    for seed, outcomes in zip(chosen, answered, strict=True):
                        rows.append(_row(way, seed, old.get(seed.id, []), outcomes, judge))
                        audience.progress("preview", {"done": len(rows)})
                    questions = (generator.questions(seed) for seed in matching)
                    left = [sum(ledger.count_missing_samples(*one) for one in of_seed) for of_seed in questions]
                    left_samples += sum(left)
                    if seeds_left := sum(map(bool, left)):
                        left_seeds += seeds_left
                        usd = _remaining_cost(by_direction[way], store, ledger, generator, chosen, seeds_left)
                        left_usd.append(usd)
            finally:
                watch.cancel()
    failed = sum(isinstance(new, dict) for row in rows for new in row["new"])
    answers = sum(len(row["new"]) for row in rows)
    present = fingerprints(project, by_direction)
    return PreviewOutcome(
        counts=Counts(rows_in=answers, waiting=answers - failed, failed=failed),
        **teachers.spent(distinct),
        rows=tuple(rows),
        same_prompt=all(pools.get(way) == fingerprint for way, fingerprint in present.items()),
        left_candidates=left_samples,
        left_seeds=left_seeds,
        left_usd=sum_ranges([None if amount is None else amount._asdict() for amount in left_usd]),
    )


async def _drain_on_stop(stopping: asyncio.Event, ledgers: Sequence[Ledger]) -> None:
    await stopping.wait()
    for ledger in ledgers:
        ledger.drain()


async def _answered(
    generator: Forward | Backward, seeds: Sequence[Seed], ledgers: Sequence[Ledger]
) -> list[list[Outcome]]:
    """The outcomes of each seed. The first seed is asked alone, so that the others find the prompt in the provider's
    cache, as in a full run. If an error ends the preview, answers in flight are awaited and kept."""
    tasks = list[asyncio.Task[list[Outcome]]]()
    for part in (seeds[:1], seeds[1:]):
        if not any(task.exception() for task in tasks):
            tasks += [asyncio.create_task(generator(seed)) for seed in part]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    if any(task.done() and task.exception() for task in tasks):
        for ledger in ledgers:
            ledger.drain()
    answered = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [error for error in answered if isinstance(error, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
        raise error
    return [outcomes for outcomes in answered if not isinstance(outcomes, BaseException)]


def _row(
    way: Direction, seed: Seed, old: list[str], outcomes: Sequence[Outcome], judge: Callable[[Pair], list[Judgement]]
) -> Json:
    """What the preview shows of a seed: its earlier outputs, its new ones, and why gates would reject those."""
    new = [_text(way, outcome) for outcome in outcomes]
    rejected = [_rejected(judge, outcome) for outcome in outcomes]
    return {"direction": way, "seed": seed.text, "old": old, "new": new, "rejected": rejected}


def _text(way: Direction, outcome: Outcome) -> str | Json:
    """The generated text, or why there is none."""
    if outcome.pair is None:
        return {"failure": str(outcome.candidate.failure)}
    return outcome.pair.output if way == "forward" else outcome.pair.input


def _rejected(judge: Callable[[Pair], list[Judgement]], outcome: Outcome) -> Json | None:
    """The reason of the first gate that would reject the generated pair; None if all gates pass."""
    judgements = judge(outcome.pair) if outcome.pair else []
    reason = next((judgement.reason for judgement in judgements if judgement.keep is False), None)
    return None if reason is None else {"code": reason.code, "reason": reason.detail}


def _outputs(store: Store, fingerprint: str | None, generator: Forward | Backward) -> dict[str, list[str]]:
    """The outputs that the pool of the last run holds for each seed, in order of their samples."""
    slots = [] if fingerprint is None else [slot for slot in store.candidates(fingerprint) if slot.pair_id]
    pairs = {pair.id: pair for pair in store.pairs([slot.pair_id for slot in slots if slot.pair_id])}
    outputs: dict[str, list[str]] = {}
    for slot in sorted(slots, key=lambda slot: slot.sample):
        pair = pairs[slot.pair_id or ""]
        outputs.setdefault(slot.seed_id, []).append(pair.output if generator.name == "forward" else pair.input)
    return outputs


def _remaining_cost(
    teacher: TeacherSettings,
    store: Store,
    ledger: Ledger,
    generator: Forward | Backward,
    chosen: Sequence[Seed],
    others: int,
) -> Range | None:
    """The cost of the remaining seeds, estimated from the previewed ones."""
    measured = [seed_cost(store, ledger, generator, seed, batch=teacher.batch) for seed in chosen]
    limit = max_answer_tokens(generator.sampling.body())
    costs = costs_of(teacher, measured, others, limit, generator.samples, without_pilot=True)
    return costs["batch_usd" if teacher.batch else "usd"]


def shown(project: Project, outcome: PreviewOutcome) -> list[RenderableType]:
    """Old and new outputs of each seed, and what a full run would ask."""
    from rich.text import Text

    from pairsmith.terminal import screen
    from schemas.money import dollars

    has_earlier = any(row["old"] for row in outcome.rows)
    parts: list[RenderableType] = []
    for row in outcome.rows:
        texts, rejected = list[tuple[str, str]](), dict(enumerate(row.get("rejected", ())))
        for nth, (old, new) in enumerate(zip_longest(row["old"], row["new"], fillvalue="")):
            texts += [("last run", old), ("now", new["failure"] if isinstance(new, dict) else new)]
            if why := rejected.get(nth):
                texts.append(("", f"✗ rejected: {Reason(why['code'], why['reason'])}"))
        parts.append(screen.entry(Text(_shortened(row["seed"]), style="bold"), texts))
    left = "nothing: every answer is in the store"
    if outcome.left_candidates:
        candidates = counted(outcome.left_candidates, "candidate", "candidates")
        left = f"{candidates} of {counted(outcome.left_seeds, 'seed', 'seeds')}"
        few = "cost unknown" if outcome.usd is None else "preview more seeds to estimate the cost: --seeds 5"
        left += f", {between(outcome.left_usd, dollars, few)}"
    other = "prompt or settings differ from the last run" if has_earlier else "no run has asked about these seeds yet"
    same = "prompt and settings are the same as in the last run" if outcome.same_prompt else other
    facts = [("prompt", same), ("to ask", left), ("spent", screen.cost(outcome))]
    return [*parts, screen.facts(facts)]


def _shortened(seed: str) -> str:
    """A seed for display. A long one is shortened, with its number of words."""
    if len(seed) <= _SEED_CHARACTERS:
        return seed
    return f"{seed[:_SEED_CHARACTERS].rsplit(maxsplit=1)[0]} … ({len(seed.split()):,} words)"


STAGE = Stage[PreviewOutcome](
    "preview",
    preview,
    """Run a few seeds through the current prompt, and show the outputs next to those of the last run.

    Edit a prompt, the style or the sampling, and check the effect before you pay for all seeds. It also shows what a
    full run would ask again, and the cost. The answers are kept, so `generate` does not pay for them again.
    """,
    summary=None,
    shown=shown,
    options=(Option("--seeds", Numeric(SEEDS, 1), "Seeds per direction."),),
    asks=True,
)
