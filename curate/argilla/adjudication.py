"""Disagreements between annotators, and the adjudication queue that settles them.

A row is undecided while no verdict has more than half of its annotators, or while an edit was requested without a
corrected text. In the adjudication queue one reviewer sees every annotator's answer; the adjudicator's answer is final
(`curate.review.decision`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from curate.argilla.client import Argilla
from curate.argilla.push import Delivery, PushResult, base_name, queue_name, sampling_reasons, send
from curate.argilla.task import record
from curate.review.decision import ADJUDICATION, answers_given, current_answers, decide
from curate.review.population import Population
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Json, Message, Pair, Reason
from schemas.reviews import Review
from schemas.store import Store


class Disagreement(NamedTuple):
    """An undecided pair with its current answers, oldest first."""

    pair: Pair
    answers: tuple[Review, ...]
    why: Reason


def disagreements(reviews: Mapping[str, Sequence[Review]], pairs: Iterable[Pair]) -> list[Disagreement]:
    """Return the pairs that are undecided, in the order given."""
    waiting = []
    for pair in pairs:
        reviews_of_row = reviews.get(pair.id, ())
        decision = decide(reviews_of_row, pair)
        if decision and decision.verdict == "undecided":
            waiting.append(Disagreement(pair, tuple(current_answers(reviews_of_row)), decision.why))
    return waiting


def push_adjudication(
    project: Project, store: Store, population: Population, argilla: Argilla, progress: Progress = unseen
) -> PushResult:
    """Send each disagreement that is not on the server yet to the adjudication queue, with the annotators' answers."""
    reviews = store.reviews()
    pairs = population.pairs(pair_id for pair_id in population.rows if pair_id in reviews)
    # An edit without a text by a single annotator is left for that annotator to finish. A row that still expects
    # answers is left out too, because the next answer may settle it.
    waiting = {
        disagreement.pair.id: disagreement
        for disagreement in disagreements(reviews, pairs.values())
        if len(disagreement.answers) > 1
        and answers_given(reviews[disagreement.pair.id]) >= project.spec.review.annotators_per_row
    }
    sampled = store.sampled()
    by_queue: dict[str, list[Pair]] = {}
    for id_, disagreement in waiting.items():
        base = base_name(sampled[id_][0]) if id_ in sampled else queue_name(project)
        by_queue.setdefault(base + ADJUDICATION, []).append(disagreement.pair)

    def row(pair: Pair, messages: Sequence[Message]) -> Json:
        reasons = sampling_reasons(sampled.get(pair.id, ()))
        return record(project, population, pair, reasons, messages=messages, answers=waiting[pair.id].answers)

    return send(Delivery(project, store, population, argilla, progress), by_queue, row, adjudication=True)
