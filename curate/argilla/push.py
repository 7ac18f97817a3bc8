"""Sending rows to review: drawing the next batch, and adding missing rows to Argilla's queues.

There are two steps, each safe to repeat: `draw_batch` samples rows and stores the sample durably; `push` sends the
sampled rows. A record's external id is the pair's id, by which Argilla matches records, so a batch whose response was
lost is not stored twice. Rows that are already on the server stay as they are, except those that are no longer needed
(they left the pool, or are decided) and that nobody has started to answer: these are withdrawn, so that nobody spends
time on them.

A queue carries the project's id, so it is recognised under any name, and two projects of the same name never share a
queue. Labels of a published queue cannot be changed: if the spec's reasons differ, unanswered rows move to another
queue.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

from curate.argilla.client import Argilla, Queue
from curate.argilla.edits import EDITED, offered_labels, question_names, record_fields
from curate.argilla.marks import place_of
from curate.argilla.queue_creation import make_queue
from curate.argilla.queue_rows import awaits_answers, reconcile
from curate.argilla.task import LETTERS, GoldDisguise, bad_examples, guidelines, record, settings
from curate.gates import gates_of, judge
from curate.review.acceptance import needs_whole_pool
from curate.review.decision import ADJUDICATION, SHARED, answers_given, answers_needed, decide
from curate.review.gold import read_gold
from curate.review.population import Population
from curate.review.sampling import REASONS, divide, draw, frames, permanent_random_number, sampled_ids
from curate.review.status import review_status
from prompts.answer_form import AnswerForm
from schemas.errors import ReviewError
from schemas.failpoints import failpoint
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Json, Message, Pair, content_id
from schemas.reviews import Review, Sampled, SamplingReason, first_drawn
from schemas.store import Store

_GOLD_SHARE = 0.1  # of a batch


def queue_name(project: Project) -> str:
    """Return the name of the main queue. The names of the other queues add a suffix: `-shared` (rows that one more
    annotator answers) and `-adjudication`."""
    return project.spec.review.dataset or project.spec.task.name


def draw_batch(project: Project, store: Store, population: Population, *, more: bool = False) -> list[Sampled]:
    """Fill the batch up with newly drawn rows once half of the last one is decided, store the draw durably, and return
    it.

    Unless `more`, nothing is drawn once the answers suffice or show that reviewers reject the set.
    """
    spec, status = project.spec.review, review_status(project, store, population)
    if status.gate.state != "asking" and not more:
        return []
    missing = spec.batch - (status.waiting - status.discarded)  # a discarded row may never be answered
    if missing < spec.batch / 2:
        return []
    sampled = store.sampled()
    before = sampled_ids(record for records in sampled.values() for record in records)
    rows = list(population.rows.values())
    is_whole_pool = needs_whole_pool(rows, before, spec.seed, spec.accept_at_least, spec.confidence)
    sampling_frames = frames(rows, spec.seed, before, whole=is_whole_pool)
    # Draws that empty frames leave over go to `remainder`. When the whole pool is drawn, that is the accepted rows, to
    # which the required share refers.
    remainder: SamplingReason = "audit_accepted" if is_whole_pool else "certify"
    chosen = draw(sampling_frames, divide(missing, spec.shares, sampling_frames, remainder), spec.seed, before)
    new = [
        Sampled(
            pair_id=row.pair_id,
            reason=reason,
            sampling_probability=row.probability,
            draw=details,
            dataset=_assigned_queue(project, row.pair_id),
        )
        for row in chosen
        for reason, details in row.draws
    ]
    gold = [item.pair for item in read_gold(project, store) if item.pair.id not in sampled]
    gold = gold[: max(1, round(_GOLD_SHARE * len(chosen)))] if chosen else []
    new += [
        Sampled(pair_id=pair.id, reason="gold", sampling_probability=1, dataset=_assigned_queue(project, pair.id))
        for pair in gold
    ]
    if new:
        store.write(*gold, *new)
    return new


def base_name(sampled: Sampled) -> str:
    """Return the base name of a sampled row's queues, which may differ from the present spec's."""
    return sampled.dataset.removesuffix(SHARED)


def _assigned_queue(project: Project, pair_id: str) -> str:
    spec = project.spec.review
    shared = permanent_random_number(spec.seed, "overlap", pair_id) < spec.overlap
    return queue_name(project) + (SHARED if shared else "")


@dataclass(frozen=True)
class PushResult:
    """The result of a push.

    `sent`: records added. `there`: records that were already on the server. `decided`: rows that need no further
    answer. `withdrawn`: records removed because they are no longer needed. `queues`: the queues with rows to answer,
    whose pages are at the URLs in `pages`. `left`: queues that a copy of this project in another place fills,
    with open rows that this one does not need.
    """

    sent: int
    there: int
    decided: int
    queues: tuple[str, ...]
    withdrawn: int = 0
    pages: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def __add__(self, other: PushResult) -> PushResult:
        return PushResult(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))


def push(
    project: Project,
    store: Store,
    population: Population,
    argilla: Argilla,
    progress: Progress = unseen,
    *,
    alone: bool = False,
    take_over: bool = False,
) -> PushResult:
    """Send every sampled row that still needs a decision and is not on the server.

    `alone`: there is only one reviewer, so rows for the shared queue are put into the main one. Once others are
    invited, the remaining ones move to the shared queue. `take_over`: the project was moved here, so queues that
    another place has filled are this one's.

    Waits while the server restarts. If killed, it continues where it stopped when run again. Raises ReviewError if the
    server cannot be used, or if a queue of that name has other questions.
    """
    sampled, reviews = store.sampled(), store.reviews()
    gold = {item.pair.id: item.pair for item in read_gold(project, store)}
    as_calibration = _gold_disguises(project, store, population, list(gold.values()))
    known = {**population.pairs(sampled), **gold}
    by_queue: dict[str, list[Pair]] = {}
    decided = 0
    for id_, draws in sampled.items():
        if id_ not in known:
            continue
        if _is_settled(project, known[id_], draws, reviews.get(id_, ()), id_ in gold):
            decided += 1
            continue
        by_queue.setdefault(base_name(draws[0]) if alone else draws[0].dataset, []).append(known[id_])
    for pairs in by_queue.values():
        pairs.sort(key=lambda pair: permanent_random_number(project.spec.review.seed, "queue", pair.id))

    form = AnswerForm.of(project.spec.task, project.folder)

    def row(pair: Pair, messages: Sequence[Message]) -> Json:
        reasons, as_gold = sampling_reasons(sampled[pair.id]), as_calibration.get(pair.id)
        return record(project, population, pair, reasons, messages=messages, gold=as_gold, form=form)

    delivery = Delivery(project, store, population, argilla, progress, take_over)
    return replace(send(delivery, by_queue, row), decided=decided)


def _gold_disguises(
    project: Project, store: Store, population: Population, gold: Sequence[Pair]
) -> dict[str, GoldDisguise]:
    """Return the disguises of the gold items that are shown as calibration rows: about half of the eligible ones. If
    rows have other candidates, an item is eligible only if the gold file has another output for its input."""
    spec, form = project.spec, {}
    gates = gates_of(project, store.active_seeds()) if gold else []
    for pair in gold:
        others = {one.id: one for one in gold if one.input == pair.input and one.id != pair.id}
        is_eligible = others or max(map(len, population.inputs.values()), default=1) == 1
        if is_eligible and permanent_random_number(spec.review.seed, "gold form", pair.id) < 0.5:
            findings = [verdict for verdict in judge(pair, gates) if verdict.keep is not True or verdict.flags]
            form[pair.id] = GoldDisguise(findings, dict(sorted(others.items())[: len(LETTERS)]))
    return form


def _is_settled(project: Project, pair: Pair, draws: Sequence[Sampled], reviews: Sequence[Review], gold: bool) -> bool:
    """Whether a row has as many answers as its queue requires, and they decide it."""
    decision = decide(reviews, pair)
    enough = answers_given(reviews) >= _min_submitted(project, draws[0].dataset)
    return enough and (gold or (decision is not None and decision.verdict != "undecided"))


def _min_submitted(project: Project, queue: str) -> int:
    return answers_needed(queue, project.spec.review.annotators_per_row)


def sampling_reasons(draws: Sequence[Sampled]) -> list[SamplingReason]:
    """Return the distinct sampling reasons of a row in the order of `REASONS`, gold last."""
    reasons = {record.reason for record in draws}
    return [reason for reason in (*REASONS, "gold") if reason in reasons]


def project_id(sampled: Mapping[str, Sequence[Sampled]]) -> str | None:
    """Return the project's id, which is derived from its first draw; None before the first draw."""
    first = first_drawn(record for records in sampled.values() for record in records)
    return content_id("project", [first.id, first.at.isoformat()]) if first else None


OLD_WORKSPACE = "pairsmith"  # shared by all projects before each had its own


def require_project_id(store: Store | None) -> str:
    """Return the project's id. Raises ReviewError before the first draw."""
    project_key = project_id(store.sampled()) if store else None
    if project_key is None:
        raise ReviewError(
            "no rows have been drawn for review yet, so there is nothing to answer.",
            fix="Run `pairsmith review push` first, or name a workspace: [review] workspace = ...",
        )
    return project_key


def workspace_of(project: Project, store: Store, argilla: Argilla) -> str:
    """Return the project's workspace: the one that the spec names, or the one where an earlier version put its rows, or
    else one of its own, so that invited reviewers see no other project.

    Raises ReviewError before the first draw.
    """
    if project.spec.review.workspace:
        return project.spec.review.workspace
    project_key = require_project_id(store)
    sampled, old = store.sampled(), argilla.in_workspace(OLD_WORKSPACE)
    for queue in old.queues(project_key, queue_names(project, sampled), here=True):
        if queue.project == project_key or any(record["external_id"] in sampled for record in old.records(queue)):
            return OLD_WORKSPACE
    return f"pairsmith-{project_key[:8]}"


def queue_names(project: Project, sampled: Mapping[str, Sequence[Sampled]]) -> set[str]:
    """Return every queue name under which rows of this project were sent or would be sent now. The name in the spec may
    have changed, but the answers remain in the old queues."""
    bases = {queue_name(project)} | {base_name(record) for records in sampled.values() for record in records}
    return {base + suffix for base in bases for suffix in ("", SHARED, ADJUDICATION)}


class Delivery(NamedTuple):
    """A project's rows, the server they are sent to, and the receiver of progress reports. `take_over`: see `push`."""

    project: Project
    store: Store
    population: Population
    argilla: Argilla
    progress: Progress
    take_over: bool = False


MakeRow = Callable[[Pair, Sequence[Message]], Json]


def send(
    delivery: Delivery, by_queue: Mapping[str, Sequence[Pair]], row: MakeRow, *, adjudication: bool = False
) -> PushResult:
    """Send `row(pair, messages of its seed)` for each pair that is not in its queue yet, and withdraw unanswered rows
    that `by_queue` no longer contains.

    Works on the annotators' queues, or with `adjudication` on the adjudication queues. A copy of the project leaves the
    queues of the original as they are, and uses them only if they look as its own would.
    """
    project, store, argilla = delivery.project, delivery.store, delivery.argilla
    conversations = {seed.id: seed.messages for seed in store.active_seeds() if seed.messages}
    drawn = store.sampled()
    project_key = project_id(drawn)
    if project_key is None:
        return PushResult(0, 0, 0, ())
    page = _QueueSpec(delivery, project_key, conversation=bool(conversations))
    queues: dict[str, list[Queue]] = {name: [] for name in by_queue}
    sampled = set(drawn)
    for queue in argilla.queues(project_key, queue_names(project, drawn), here=True):
        if queue.made_as.endswith(ADJUDICATION) is adjudication and page.is_ours(queue, sampled):
            queues.setdefault(queue.made_as, []).append(queue)
    sent = there = withdrawn = 0
    used: list[Queue] = []
    left: list[Queue] = []
    current_of = {name: page.current(name, existing) for name, existing in queues.items()}
    present: set[str] = set()  # also rows in another queue that somebody has started to answer
    for name, existing in queues.items():
        needed = {pair.id for pair in by_queue.get(name, ())}
        for queue in existing:
            is_current = queue is current_of[name]
            if page.is_here(queue):
                remaining, removed = reconcile(argilla, queue, needed, sampled, delivery.progress, move=not is_current)
                withdrawn += removed
            else:
                statuses = {record["external_id"]: record["status"] for record in argilla.records(queue)}
                remaining, unneeded = set(statuses), sampled - needed
                left += [queue] if any(statuses.get(id_) == "pending" for id_ in unneeded) else []
            present |= remaining
            if not is_current and awaits_answers(argilla, queue, remaining & needed, _min_submitted(project, name)):
                used.append(queue)
    absent_of = {name: [pair for pair in by_queue.get(name, ()) if pair.id not in present] for name in current_of}
    # Create all queues before sending any row, so that a failing server is detected before anything is half sent.
    for name in sorted(name for name, current in current_of.items() if current is None and absent_of[name]):
        current_of[name] = page.make(name)
    for name, current in sorted(current_of.items()):
        pairs, absent = by_queue.get(name, ()), absent_of[name]
        if current and absent:
            _send_missing(delivery, current, [(pair, conversations.get(pair.seed_id, ())) for pair in absent], row)
        sent, there = sent + len(absent), there + len(pairs) - len(absent)
        used += [current] if current and pairs else []
    names = (tuple(queue.name for queue in queues) for queues in (used, left))
    return PushResult(sent, there, 0, next(names), withdrawn, tuple(map(argilla.page_of, used)), next(names))


def _send_missing(
    delivery: Delivery, queue: Queue, absent: Sequence[tuple[Pair, Sequence[Message]]], row: MakeRow
) -> None:
    there = 0

    def done(sent: int) -> None:
        nonlocal there
        there += sent
        failpoint("mid_push")
        delivery.progress("push", {"done": there, "total": len(absent)})

    delivery.argilla.add(queue, (_fit_to_queue(row(pair, messages), queue) for pair, messages in absent), done)


class _QueueSpec:
    """How a project's queues should look according to the present spec."""

    def __init__(self, delivery: Delivery, project_key: str, *, conversation: bool) -> None:
        self.project, self.argilla = delivery.project, delivery.argilla
        self.project_id, self.conversation = project_key, conversation
        self.store = content_id("store", [socket.gethostname(), delivery.store.url])
        self.place, self.take_over = place_of(delivery.store.url), delivery.take_over
        self.guidelines = guidelines(delivery.project, bad_examples(delivery.population))
        self.form = AnswerForm.of(delivery.project.spec.task, delivery.project.folder)
        self.other_candidates = max(map(len, delivery.population.inputs.values()), default=1) - 1

    def is_ours(self, queue: Queue, sampled: set[str]) -> bool:
        """Whether the queue is this project's. An unmarked queue is if it is empty or contains one of our rows.

        Raises ReviewError if it is somebody else's dataset.
        """
        edited = any(name.startswith(EDITED) for name in queue.questions)
        if missing := {"verdict", "reasons"} - set(queue.questions) | (set() if edited else {EDITED}):
            raise ReviewError(
                f"the queue {queue.name} exists and does not ask for {', '.join(sorted(missing))}.",
                where=self.argilla.url,
                why="It was not created by pairsmith, and nothing in it is replaced.",
                fix='Name another queue: [review] dataset = "..."',
            )
        if queue.project is not None:
            return True
        rows = {record["external_id"] for record in self.argilla.records(queue)}
        return not rows or bool(rows & sampled)

    def is_here(self, queue: Queue) -> bool:
        """Whether this store fills the queue, not a copy of it in another place."""
        return self.take_over or queue.place.is_at(self.place)

    def current(self, name: str, existing: Sequence[Queue]) -> Queue | None:
        """Return the queue created as `name` that matches the spec; None if there is none.

        All `existing` ones that this store fills are updated: rows that somebody has started to answer stay in theirs,
        and need as many answers as the others."""
        ours = [queue for queue in existing if self.is_here(queue)]
        for queue in ours:
            self.argilla.update_queue(
                queue, self.project_id, self.place, self.guidelines, _min_submitted(self.project, name)
            )
        others = (queue for queue in existing if queue not in ours and self._looks_the_same(queue, name))
        return next(filter(self._asks_the_same, (*ours, *others)), None)

    def _looks_the_same(self, queue: Queue, name: str) -> bool:
        """Whether an update would change nothing in a queue but its place."""
        guidelines = queue.guidelines.startswith(f"{self.guidelines}\n")
        return guidelines and queue.min_submitted == _min_submitted(self.project, name)

    def _asks_the_same(self, queue: Queue) -> bool:
        """Whether a queue's reasons and correction questions match the present spec."""
        corrected = {name for name in queue.questions if name.startswith(EDITED)}
        fields = list(record_fields(self.form))
        return (
            set(queue.labels["reasons"]) == set(self.project.spec.review.reasons)
            and corrected == set(question_names(self.form))
            and set(queue.labels.get(EDITED, ())) == set(offered_labels(self.form))
            and (not fields or fields == [queue.titles[name] for name in question_names(self.form)])
        )

    def make(self, name: str) -> Queue:
        """Create a queue `name`, under a free name."""
        queue = make_queue(
            self.argilla,
            name,
            lambda client: settings(
                self.project,
                client,
                self.guidelines,
                other_candidates=self.other_candidates,
                min_submitted=_min_submitted(self.project, name),
                conversation=self.conversation,
                adjudication=name.endswith(ADJUDICATION),
            ),
            project=self.project_id,
            store=self.store,
            place=self.place,
            fits=lambda queue: (
                self._asks_the_same(queue) and (self.is_here(queue) or self._looks_the_same(queue, name))
            ),
        )
        return self.current(name, [queue]) or queue


def _fit_to_queue(row: Json, queue: Queue) -> Json:
    """Return a row with question ids instead of names, and without fields and suggestions that the queue does not have:
    it may have been created when no input had another candidate, and a queue's fields and questions cannot be
    changed."""
    suggestions = [
        {**{k: v for k, v in given.items() if k != "question"}, "question_id": queue.questions[given["question"]]}
        for given in row["suggestions"]
        if given["question"] in queue.questions
    ]
    fields = {name: value for name, value in row["fields"].items() if name in queue.fields}
    return {**row, "fields": fields, "suggestions": suggestions}
