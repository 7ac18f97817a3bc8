"""Sending rows to review: drawing the next batch, and filling Argilla's queues with what is not there yet.

Two steps, each safe to repeat: `draw_batch` samples rows and makes the sample durable; `push` sends what was sampled.
A record's external id is the pair's id, and Argilla matches records by it, so a batch whose answer was lost is never
doubled. What is on the server already is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from curate.argilla.client import Argilla, Queue
from curate.argilla.task import bad_examples, guidelines, record, settings
from curate.review.decision import answers_given, decide
from curate.review.gold import read_gold
from curate.review.population import Population
from curate.review.sampling import REASONS, divide, draw, frames, permanent_random_number, sampled_ids
from curate.review.status import review_status
from schemas.errors import ReviewError
from schemas.failpoints import failpoint
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Json, Message, Pair
from schemas.reviews import Review, Sampled, SamplingReason
from schemas.store import Store

SHARED, ADJUDICATION = "-shared", "-adjudication"
_BULK = 50
_GOLD_SHARE = 0.1  # of a batch


def queue_name(project: Project) -> str:
    """The name of the queue; `-shared` (rows that several people answer) and `-adjudication` are named after it."""
    return project.spec.review.dataset or project.spec.task.name


def draw_batch(project: Project, store: Store, population: Population, *, more: bool = False) -> list[Sampled]:
    """Draw what is missing to a batch, once half of the last one is decided, and make the draw durable. Nothing is
    drawn once people have said enough, or reject the set, unless `more`.
    """
    spec, status = project.spec.review, review_status(project, store, population)
    if status.gate.state != "asking" and not more:
        return []
    wanted = spec.batch - status.waiting
    if wanted < spec.batch / 2:
        return []
    sampled = store.sampled()
    before = sampled_ids(record for records in sampled.values() for record in records)
    of = frames(list(population.rows.values()), spec.seed, before)
    chosen = draw(of, divide(wanted, spec.shares, of), spec.seed, before)
    new = [
        Sampled(
            pair_id=row.pair_id,
            reason=reason,
            sampling_probability=row.probability,
            draw=details,
            dataset=_queue_of(project, row.pair_id),
        )
        for row in chosen
        for reason, details in row.draws
    ]
    gold = [item.pair for item in read_gold(project) if item.pair.id not in sampled]
    gold = gold[: max(1, round(_GOLD_SHARE * len(chosen)))] if chosen else []
    new += [
        Sampled(pair_id=pair.id, reason="gold", sampling_probability=1, dataset=_queue_of(project, pair.id))
        for pair in gold
    ]
    if new:
        store.write(*gold, *new)
    return new


def base_name(sampled: Sampled) -> str:
    """The name that the queues of a sampled row are named after, which may be another than the spec's now."""
    return sampled.dataset.removesuffix(SHARED)


def _queue_of(project: Project, pair_id: str) -> str:
    spec = project.spec.review
    shared = permanent_random_number(spec.seed, "overlap", pair_id) < spec.overlap
    return queue_name(project) + (SHARED if shared else "")


@dataclass(frozen=True)
class PushResult:
    """`sent` records went out, `there` were on the server already, `decided` need no answer any more."""

    sent: int
    there: int
    decided: int
    queues: tuple[str, ...]


def push(
    project: Project, store: Store, population: Population, argilla: Argilla, progress: Progress = unseen
) -> PushResult:
    """Send every sampled row that still needs a decision and is not on the server.

    Waits while the server restarts; killed, it goes on where it stopped when run again. Raises ReviewError where the
    server cannot be used, or a queue of that name asks other questions.
    """
    sampled, reviews = store.sampled(), store.reviews()
    gold = {item.pair.id: item.pair for item in read_gold(project)}
    known = {**population.pairs(sampled), **gold}
    by_queue: dict[str, list[Pair]] = {}
    decided = 0
    for id_, why in sampled.items():
        if id_ not in known:
            continue
        if _answered(project, known[id_], why, reviews.get(id_, ()), id_ in gold):
            decided += 1
            continue
        by_queue.setdefault(why[0].dataset, []).append(known[id_])
    for pairs in by_queue.values():
        pairs.sort(key=lambda pair: permanent_random_number(project.spec.review.seed, "queue", pair.id))

    def row(pair: Pair, messages: Sequence[Message]) -> Json:
        why = sampled[pair.id]
        return record(project, population, pair, reasons_of(why), why[-1].sampling_probability, messages=messages)

    return replace(send(project, store, population, argilla, by_queue, row, progress), decided=decided)


def _answered(project: Project, pair: Pair, why: Sequence[Sampled], reviews: Sequence[Review], gold: bool) -> bool:
    """Whether a row has as many answers as its queue asks for, and they decide it."""
    decision = decide(reviews, pair)
    enough = answers_given(reviews) >= _min_submitted(project, why[0].dataset)
    return enough and (gold or (decision is not None and decision.verdict != "undecided"))


def _min_submitted(project: Project, queue: str) -> int:
    if queue.endswith(ADJUDICATION):
        return 1
    return project.spec.review.annotators_per_row + queue.endswith(SHARED)


def reasons_of(why: Sequence[Sampled]) -> list[SamplingReason]:
    """In the order of `REASONS`, gold last."""
    reasons = {record.reason for record in why}
    return [reason for reason in (*REASONS, "gold") if reason in reasons]


def send(
    project: Project,
    store: Store,
    population: Population,
    argilla: Argilla,
    by_queue: Mapping[str, Sequence[Pair]],
    row: Callable[[Pair, Sequence[Message]], Json],
    progress: Progress,
) -> PushResult:
    """Send `row(pair, messages of its seed)` of the pairs that are not in their queue yet."""
    conversations = {seed.id: seed.messages for seed in store.seeds() if seed.messages}
    sent = there = 0
    for name, pairs in sorted(by_queue.items()):
        queue = _open_queue(project, population, argilla, name, conversation=bool(conversations))
        present = {record["external_id"] for record in argilla.records(queue)}
        absent = [pair for pair in pairs if pair.id not in present]
        for start in range(0, len(absent), _BULK):
            batch = absent[start : start + _BULK]
            items = [_for_queue(row(pair, conversations.get(pair.seed_id, ())), queue) for pair in batch]
            argilla.call("PUT", f"datasets/{queue.id}/records/bulk", json={"items": items})
            failpoint("mid_push")
            progress("push", {"done": start + len(items), "total": len(absent)})
        sent, there = sent + len(absent), there + len(pairs) - len(absent)
    return PushResult(sent, there, 0, tuple(sorted(by_queue)))


def _open_queue(project: Project, population: Population, argilla: Argilla, name: str, *, conversation: bool) -> Queue:
    """The queue of that name, made if it is not there. Raises ReviewError if another's stands in its place."""
    other_candidates = max(map(len, population.inputs.values()), default=1) - 1
    text = guidelines(project, bad_examples(population))
    queue = argilla.make_queue(
        name,
        lambda client: settings(
            project,
            client,
            text,
            other_candidates=other_candidates,
            min_submitted=_min_submitted(project, name),
            conversation=conversation,
            adjudication=name.endswith(ADJUDICATION),
        ),
    )
    if missing := {"verdict", "edited", "reasons"} - set(queue.questions):
        raise ReviewError(
            f"the queue {name} is there and does not ask for {', '.join(sorted(missing))}.",
            where=argilla.url,
            why="It was not made by pairsmith, and nothing of it is replaced.",
            fix='Name another queue: [review] dataset = "..."',
        )
    return queue


def _for_queue(row: Json, queue: Queue) -> Json:
    """With the questions' ids, and without what the queue has no place for: it may have been made when no input had
    another candidate, and its fields and questions cannot be changed."""
    suggestions = [
        {**{k: v for k, v in given.items() if k != "question"}, "question_id": queue.questions[given["question"]]}
        for given in row["suggestions"]
        if given["question"] in queue.questions
    ]
    fields = {name: value for name, value in row["fields"].items() if name in queue.fields}
    return {**row, "fields": fields, "suggestions": suggestions}
