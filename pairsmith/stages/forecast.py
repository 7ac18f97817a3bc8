"""Forecast of a whole run: a pilot with a few seeds goes through the ledger, and gives intervals for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.curation import curate
from curate.forecast import Pilot, Range, forecast_accepted_rows
from curate.pool import Pool
from curate.rows import CONTAMINATION, DUPLICATE, SPLIT, pair_of
from curate.similarity.contamination import collect_held_out
from curate.similarity.near_duplicates import find_repeated_rows
from curate.split import max_kept_per_input, max_test_inputs, seed_split
from curate.steps import CERTIFIED, SELECTED, best, decontaminate, id_of, steps_for
from pairsmith.checks.personal_data_warning import warn_about_personal_data
from pairsmith.checks.preflight import refuse_base, run_preflight
from pairsmith.plan import pinned, why_not
from pairsmith.receipts.outcome import EVALUATED, ForecastOutcome, GenerateOutcome
from pairsmith.receipts.receipt import Recording, recording
from pairsmith.stages.generate import (
    AskPlan,
    ask,
    generation_seeds,
    load_seeds,
    warn_about_shortages,
    without_test_overlap,
)
from pairsmith.stages.table import NO_AUDIENCE, Audience, Numeric, Option, Stage
from pairsmith.style.numbers import between, count
from pairsmith.teachers import teachers
from pairsmith.teachers.ledgers import open_ledgers
from pairsmith.teachers.pilot_costs import SeedCost, costs_of, hull, scaled, seed_cost, sum_ranges
from prompts import load
from schemas.blocking import run
from schemas.errors import Interrupted, NoWork
from schemas.kinds import KINDS
from schemas.money import dollars
from schemas.progress import Say, discard_message
from schemas.project import Project
from schemas.records import Direction, Json, Seed, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.latest import request_order
from schemas.wording import counted
from synth.engine import GenerateResult
from synth.generators import GENERATOR_CLASSES, fingerprints
from synth.prices import prices_of
from synth.question import max_answer_tokens

if TYPE_CHECKING:
    from rich.console import RenderableType

SEEDS = 20  # per direction
_CODES = 5  # reasons listed by code
# Steps that need all rows, of which the pilot has only a part.
_WHOLE_POOL_STEPS = (DUPLICATE, CERTIFIED, SELECTED, SPLIT)
_FORECAST_STAGES = ("generate", "curate")  # stages whose settings affect the forecast rows
_MEASURES = ("tokens", "usd", "batch_usd", "minutes", "rows")
_SHARED = ("calls_sent", "calls_reused", "usage", "usd", "costs")  # facts that a pilot has in common with a run


class _SeedInput(NamedTuple):
    """The input of a seed that has no rows yet, compared like a pair."""

    asked: str
    output: str = ""


@dataclass(frozen=True)
class _Direction:
    """One direction of generation: its seeds, and the seeds of the pilot."""

    way: Direction
    teacher: TeacherSettings
    seeds: Sequence[Seed]
    pilot: Sequence[Seed]


def forecast(
    project: Project, store: Store, audience: Audience = NO_AUDIENCE, *, seeds: int = SEEDS
) -> ForecastOutcome:
    """Ask about `seeds` seeds of each direction, drawn by their ids, and estimate what all of them will take.

    The answers are in the ledger and the pairs in the pool, so `generate` does not ask for them again. Raises NoWork if
    nothing is generated, and Interrupted after Ctrl-C.
    """
    say, generate = audience.say, project.spec.generate
    forward = generate.forward.model_copy(update={"candidates": None})
    backward = generate.backward.model_copy(update={"accepted": None, "candidates": None})
    generate = generate.model_copy(update={"accepted": None, "forward": forward, "backward": backward})
    piloted = replace(project, spec=project.spec.model_copy(update={"generate": generate}))
    refuse_base(project)
    with recording(project, store, "forecast", ForecastOutcome()) as record:
        _, all_seeds = load_seeds(project, store, say, audience.progress)
        short = warn_about_shortages(say, project, all_seeds)
        by_direction = teachers.by_direction(project, say)
        run_preflight(project, all_seeds)
        warn_about_personal_data(say, all_seeds, by_direction.values(), project.spec, audience.progress)
        seeds_to_ask, _ = without_test_overlap(project, all_seeds, say, audience.progress)
        every = (_direction(way, teacher, seeds_to_ask, seeds) for way, teacher in by_direction.items())
        directions = [direction for direction in every if direction.seeds]
        if not directions:
            raise nothing_to_generate("forecast")
        result, recorded = GenerateResult(), Recording(GenerateOutcome())
        pilot = [seed for direction in directions for seed in direction.pilot]
        # Asked first: later requests find the prompt in the provider's cache, as in a full run. A batch takes a day.
        first = [direction.pilot[0] for direction in directions if not direction.teacher.batch]
        try:
            run(ask(AskPlan(piloted, store, by_direction, audience, first=first), pilot, recorded, result))
        finally:
            shared = {name: getattr(recorded.outcome, name) for name in _SHARED}
            record.add(counts=result.counts, reasons=dict(result.reasons), **shared)
        if result.stopped:
            raise Interrupted("the pilot is not done.", fix="Run it again: it continues, and asks for nothing twice.")
        costs = run(_pilot_costs(project, store, by_direction, directions))
        lines = [_generation(project, store, one, costs[one.way], all_seeds, audience.say) for one in directions]
        if evaluation := _evaluation(project, directions, costs.get("forward", []), all_seeds):
            lines.append(evaluation)
        record.add(
            throttled=recorded.outcome.retries.get("throttled", 0),
            unreached=max(map(_unreached, directions)),
            seeds=sum(len(direction.seeds) for direction in directions),
            pilot_seeds=len(pilot),
            shortages=short,
            unlimited=tuple(
                way for way in by_direction if max_answer_tokens(generate.directions[way].sampling.body()) is None
            ),
            judges=_judges(project),
            lines=tuple(lines),
            whole=_limited_rows(_total(lines), project, all_seeds),
            usd_elsewhere=_spent_elsewhere(project, store, directions),
            is_generated=not why_not("generate", project, store, ()),
            shaped_by={stage: shapes for stage, shapes in pinned(project, store).items() if stage in _FORECAST_STAGES},
        )
    return record.outcome


def nothing_to_generate(left_out: str) -> NoWork:
    """The error of a forecast or preview if no seed needs a teacher."""
    return NoWork(
        f"nothing is generated from these seeds, so there is nothing to {left_out}.",
        why="They already have outputs, or all of them are test inputs.",
        fix=f"`pairsmith run` works without a {left_out}; `pairsmith doctor` shows whether there are enough seeds.",
    )


def _direction(way: Direction, teacher: TeacherSettings, seeds: Sequence[Seed], pilot: int) -> _Direction:
    takes = GENERATOR_CLASSES[way].takes
    matching = sorted((seed for seed in seeds if seed.kind in takes), key=lambda seed: content_id("pilot", seed.id))
    return _Direction(way, teacher, matching, matching[:pilot])


def _unreached(direction: _Direction) -> int:
    """The concurrency of a direction if its pilot, whose first seed is asked alone, came to less than half of it."""
    others, concurrency = len(direction.pilot) - 1, direction.teacher.concurrency
    is_part = len(direction.pilot) < len(direction.seeds) and not direction.teacher.batch
    return concurrency if is_part and 2 * others < min(concurrency, len(direction.seeds)) else 0


async def _pilot_costs(
    project: Project, store: Store, by_direction: Mapping[Direction, TeacherSettings], directions: Sequence[_Direction]
) -> dict[Direction, list[SeedCost]]:
    """The cost of the answers about each seed of the pilot, including unusable ones, according to the ledger."""
    costs: dict[Direction, list[SeedCost]] = {}
    async with open_ledgers(store, by_direction, discard_message) as ledgers:
        for direction in directions:
            ledger = ledgers[direction.way]
            generator = GENERATOR_CLASSES[direction.way].of(project, ledger)
            batch, order = direction.teacher.batch, request_order(store, ledger.identity)
            costs[direction.way] = [
                seed_cost(store, ledger, generator, seed, batch=batch, order=order) for seed in direction.pilot
            ]
    return costs


def _generation(
    project: Project,
    store: Store,
    direction: _Direction,
    costs: Sequence[SeedCost],
    all_seeds: Sequence[Seed],
    say: Say,
) -> Json:
    settings = project.spec.generate.directions[direction.way]
    n, limit = settings.samples, max_answer_tokens(settings.sampling.body())
    others = len(direction.seeds) - len(costs)
    sizes = [len(seed.asked) for seed in direction.seeds[len(costs) :]]
    measured = costs_of(direction.teacher, costs, others, limit, n, sizes=sizes)
    if direction.teacher.batch:
        measured |= {"usd": measured["batch_usd"], "minutes": None}
    pilot, reasons = run(_pilot(project, store, direction, all_seeds))
    if reasons and not any(pilot.rows):
        why = ", ".join(f"{code} {rows:,}" for code, rows in list(reasons.items())[:_CODES])
        say(f"warning: curation accepts none of the pilot's {direction.way} rows ({why}). `pairsmith docs gates` lists")
        say("         the key behind each of these codes, and `pairsmith preview` shows such answers.")
    per_seed = max_kept_per_input(project.spec, n)
    measured["rows"] = forecast_accepted_rows(pilot, others, max([per_seed, *pilot.rows]))
    return _line("generate", direction.way, measured, len(direction.seeds))


def _evaluation(
    project: Project, directions: Sequence[_Direction], costs: Sequence[SeedCost], all_seeds: Sequence[Seed]
) -> Json | None:
    """The line of the teacher in the evaluation: a greedy answer to each test input, and sampled ones as far as
    generation has not bought them. None if another teacher is evaluated, which the pilot did not ask."""
    spec = project.spec
    forward = next((direction for direction in directions if direction.way == "forward"), None)
    inputs = max_test_inputs(all_seeds, spec)
    if forward is None or not inputs or spec.teacher_name("evaluate") != spec.teacher_name("forward"):
        return None
    n, limit = spec.generate.forward.n, max_answer_tokens(spec.generate.forward.sampling.body())
    answers = 1 + max(0, spec.evaluate.samples - n)
    requests = 1 + (spec.evaluate.samples > n)
    teacher, prices = forward.teacher, prices_of(forward.teacher)

    def measure(together: bool) -> dict[str, Range | None]:
        # Each request pays for the prompt. Whether the server gives several answers to one is known from n > 1.
        prompts = [
            requests / one.requests if (one.requests < n if n > 1 else together) else answers / n for one in costs
        ]
        share = [scaled(one, answers / n, of_prompt, prices) for one, of_prompt in zip(costs, prompts, strict=True)]
        return costs_of(teacher, share, inputs, limit, answers, without_pilot=True)

    fewest, most = measure(True), measure(False)
    return _line("evaluate", "", {name: hull(fewest[name], most[name]) for name in fewest} | {"rows": None}, inputs)


async def _pilot(
    project: Project, store: Store, direction: _Direction, all_seeds: Sequence[Seed]
) -> tuple[Pilot, Mapping[str, int]]:
    """The rows of the pilot after gates, contamination and best of n, which of them repeat each other, and why the
    others were rejected. Near-duplicate candidates of one seed count as one row: they predict nothing about other
    seeds. What is a template shows in the inputs of all seeds: those without rows stand beside the pilot's rows, which
    are repeats only if they are also among them. No scorer runs: the first candidates that pass stand for the best.
    Reviews are ignored."""
    spec, ids = project.spec, {seed.id for seed in direction.pilot}
    fingerprint = fingerprints(project, {direction.way: direction.teacher})[direction.way]
    n = spec.generate.directions[direction.way].samples
    slots = (slot for slot in store.candidates(fingerprint) if slot.seed_id in ids and slot.sample < n)
    pairs = store.pairs([slot.pair_id for slot in slots if slot.pair_id])
    beside = [seed.asked for seed in direction.seeds if seed.id not in ids]
    held_out, threshold = collect_held_out(spec, project.folder, all_seeds), spec.curate.duplicates.jaccard
    steps = [
        decontaminate(held_out, threshold, beside) if id_of(step).by == CONTAMINATION else step
        for step in steps_for(project, all_seeds, None)
        if id_of(step).by not in _WHOLE_POOL_STEPS
    ]
    pool = await curate(Pool.of(pairs), [*steps, best(max_kept_per_input(spec, n))])
    accepted = list(map(pair_of, pool.accepted()))
    repeats: Mapping[int, Any] = {}
    if spec.curate.duplicates.enabled:
        kind, others = KINDS[spec.task.kind], [_SeedInput(text) for text in beside]
        by_input = replace(kind, duplicate="input near", flag=None)
        among_all = find_repeated_rows(lambda: chain(accepted, others), threshold, by_input).of
        alone = find_repeated_rows(lambda: accepted, threshold, kind).of
        repeats = {number: one for number, one in among_all.items() if number in alone}
    first = (repeats[number].earlier if number in repeats else number for number in range(len(accepted)))
    rows = {(pair.seed_id, group) for pair, group in zip(accepted, first, strict=True)}
    groups, rows_by_seed = Counter(group for _, group in rows), Counter(seed_id for seed_id, _ in rows)
    return Pilot([rows_by_seed[seed.id] for seed in direction.pilot], list(groups.values())), pool.reasons


def _line(stage: str, way: str, measured: dict[str, Range | None], seeds: int) -> Json:
    return {
        "stage": stage,
        "direction": way,
        "seeds": seeds,
        **{name: None if (interval := measured[name]) is None else interval._asdict() for name in _MEASURES},
    }


def _judges(project: Project) -> tuple[str, ...]:
    spec = project.spec
    named = {"curate.judge.teachers": spec.curate.judge.teachers, "evaluate.judges": spec.evaluate.judges}
    of_judges = tuple(key for key, names in named.items() if names)
    measured = spec.teacher_name("evaluate") != spec.teacher_name("forward")
    return (*of_judges, EVALUATED) if measured else of_judges


def _limited_rows(forecast: Json, project: Project, seeds: Sequence[Seed]) -> Json:
    """The totals with rows limited to `curate.select.rows`, which applies to the training split."""
    most, rows = project.spec.curate.select.rows, forecast["rows"]
    if most is None or rows is None:
        return forecast
    of_generation = generation_seeds(seeds)
    share = sum(seed_split(seed, project.spec.split) == "train" for seed in of_generation) / len(of_generation)
    return forecast | {"rows": {end: min(number * share, most) + number * (1 - share) for end, number in rows.items()}}


def _total(lines: Sequence[Json]) -> Json:
    """All lines added up; only those of generation have rows."""
    of_rows = [line for line in lines if line["stage"] == "generate"]
    return {name: sum_ranges([line[name] for line in (of_rows if name == "rows" else lines)]) for name in _MEASURES}


def shown(project: Project, outcome: ForecastOutcome) -> list[RenderableType]:
    """The intervals as a table, and the cost of the pilot."""
    from rich.table import Table

    from pairsmith.terminal import screen
    from schemas.progress_line import clock

    table = Table(box=None, padding=(0, 2, 0, 0))
    batch = {"batch_usd": "as a batch"} if any(line["batch_usd"] for line in outcome.lines) else {}
    costs = {"usd": "cost", **batch}
    for title in ("", "seeds", "tokens", *costs.values(), "time", "accepted rows"):
        table.add_column(title, justify="left" if not title else "right")

    def row(name: str, seeds: str, line: dict[str, Any], rows: str) -> None:
        money = [between(line[key], dollars, "unknown") for key in costs]
        minutes = between(line["minutes"], lambda number: clock(60 * number), "unknown")
        tokens, counts = between(line["tokens"], count, "unknown"), between(line["rows"], count, rows)
        table.add_row(name, seeds, tokens, *money, minutes, counts)

    few = "too few seeds to tell"
    for line in outcome.lines:
        name = f"{line['stage']} {line['direction']}".strip()
        row(name, f"{line['seeds']:,}", line, few if line["stage"] == "generate" else "")
    row("[bold]total[/]", "", outcome.whole, few)
    pilot = f"{counted(outcome.pilot_seeds, 'seed', 'seeds')}, kept for the run"
    spent = [("pilot", f"{pilot}; {screen.cost(outcome)}")]
    if outcome.is_generated:
        spent.append(("paid", "`generate` is done, so what its figures cover has been paid for"))
    if outside_cap := outcome.beside_cap(project.spec.budget.max_usd):
        spent.append(("budget", outside_cap))
    note = (
        "90 % intervals for the whole run, pilot included; more seeds (--seeds) make them narrower. Rows: after gates, "
        "best of n and duplicates, before review; few rows say little about how duplicates grow. "
        "Time: that of the requests, at the concurrency and rates of the spec, if the server stays as fast as it was; "
        "gates, scorers, training and the model's own answers take more."
    )
    aims = {"forward": "generate.accepted", "backward": "generate.backward.accepted"}
    alternatives = " ".join(
        f"{aims[way]} = {rows:,} may end {way} generation early; the intervals assume that all seeds are asked."
        for way, rows in project.spec.generate.targets.items()
        if any(line["direction"] == way for line in outcome.lines)
    )
    most = project.spec.curate.select.rows
    prices = _unpriced(project) if outcome.whole["usd"] is None else ""
    limited = f"The total has at most curate.select.rows = {most:,} rows of the training split." if most else ""
    return [
        table,
        "",
        screen.facts(spent),
        "",
        " ".join(filter(None, (note, prices, limited, alternatives, outcome.note))),
    ]


def _unpriced(project: Project) -> str:
    """What makes an unknown cost known: the prices of a model that no list has."""
    asked = map(project.spec.teacher_for, project.spec.generate.directions)
    model = next((teacher.model for teacher in asked if prices_of(teacher) is None), "")
    keys = "usd_per_million_prompt_tokens and usd_per_million_completion_tokens"
    again = "and run this again, which asks nothing twice"
    return f"No price of model '{model}' is known: set {keys} in its table {again}." if model else ""


def _spent_elsewhere(project: Project, store: Store, directions: Sequence[_Direction]) -> float:
    """US dollars that were spent or reserved through this store with prompts or teachers other than this run's."""
    ways = [(one.teacher, project.spec.generate.directions[one.way].prompt) for one in directions]
    used_here = {(teacher.known_as, load(prompt, project.folder).ref) for teacher, prompt in ways}
    return sum(cost.usd + cost.reserved for cost in store.costs() if (cost.teacher, cost.prompt) not in used_here)


STAGE = Stage[ForecastOutcome](
    "forecast",
    forecast,
    """Ask about a few seeds, and forecast what all of them will take: tokens, money, minutes and accepted rows.

    The answers are kept, so `generate` does not pay for them again. Intervals are 90 % prediction intervals.""",
    summary=None,
    shown=shown,
    options=(Option("--seeds", Numeric(SEEDS, 2), "Seeds per direction; more seeds make the intervals narrower."),),
    asks=True,
)
