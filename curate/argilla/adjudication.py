"""Disagreements between annotators, and the adjudication queue that settles them.

A row is undecided while no verdict has more than half of its annotators, or while an edit was requested without a
corrected text. In the adjudication queue one reviewer sees every annotator's answer; the adjudicator's answer is final
(`curate.review.decision`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from curate.argilla.client import Argilla
from curate.argilla.push import Delivery, PushResult, base_name, queue_name, sampling_reasons, send
from curate.argilla.task import record
from curate.review.decision import ADJUDICATION, complete_decisions, current_answers
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


def disagreements(
    pairs: Mapping[str, Pair], reviews: Mapping[str, Sequence[Review]], annotators_per_row: int
) -> list[Disagreement]:
    """Return the pairs that have enough answers and are undecided, in the order given."""
    return [
        Disagreement(pairs[id_], tuple(current_answers(reviews[id_])), decision.why)
        for id_, decision in complete_decisions(pairs, reviews, annotators_per_row).items()
        if decision.verdict == "undecided"
    ]


def push_adjudication(
    project: Project,
    store: Store,
    population: Population,
    argilla: Argilla,
    progress: Progress = unseen,
    *,
    take_over: bool = False,
) -> PushResult:
    """Send each disagreement that is not on the server yet to the adjudication queue, with the annotators' answers."""
    reviews = store.reviews()
    pairs = population.pairs(pair_id for pair_id in population.rows if pair_id in reviews)
    # An edit without a text by a single annotator is left for that annotator to finish.
    waiting = {
        disagreement.pair.id: disagreement
        for disagreement in disagreements(pairs, reviews, project.spec.review.annotators_per_row)
        if len(disagreement.answers) > 1
    }
    sampled = store.sampled()
    by_queue: dict[str, list[Pair]] = {}
    for id_, disagreement in waiting.items():
        base = base_name(sampled[id_][0]) if id_ in sampled else queue_name(project)
        by_queue.setdefault(base + ADJUDICATION, []).append(disagreement.pair)

    def row(pair: Pair, messages: Sequence[Message]) -> Json:
        reasons = sampling_reasons(sampled.get(pair.id, ()))
        return record(project, population, pair, reasons, messages=messages, answers=waiting[pair.id].answers)

    return send(Delivery(project, store, population, argilla, progress, take_over), by_queue, row, adjudication=True)
