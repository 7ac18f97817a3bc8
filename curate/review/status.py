"""The status of a review: how many rows were shown and decided, the acceptance rates, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curate.review.acceptance import AcceptanceRates, acceptance_rates
from curate.review.decision import (
    answers_given,
    complete_decisions,
    current_answers,
    labels_of,
    latest_answers,
    replaced_pairs,
)
from curate.review.estimate import Advice, Estimate, advice, seconds_per_item
from curate.review.gate import Gate, Objection, gate_of, objections
from schemas.project import Project
from schemas.records import Json
from schemas.reviews import Review, Sampled
from schemas.store import Store
from schemas.wording import capital, counted, percent

if TYPE_CHECKING:
    from curate.review.population import Population


@dataclass(frozen=True)
class ReviewStatus:
    """The sampled rows of the present pool by decision, and what follows.

    `undecided` rows have answers that settle nothing, `incomplete` ones have fewer than `annotators_per_row`, `open`
    ones have none. `discarded` are those of the last two that a reviewer discarded, or whose answer was withdrawn.
    `rates` are the acceptance rates; `advice` is the cost of a narrower interval than the one shown (None without one).
    `gate` says whether there are enough answers, `objections` why rows were not accepted as they are. `seconds` is the
    median time per answer. `compared_by` is the earlier scorer whose choice the rates refer to; empty if it is the
    present one. `not_asked` is the number of rows that the present one was not asked about. `elsewhere` is the number
    of answered rows that are not in the present pool.
    """

    accepted: int
    edited: int
    rejected: int
    undecided: int
    incomplete: int
    open: int
    discarded: int
    rates: AcceptanceRates
    advice: Advice | None
    gate: Gate
    objections: list[Objection]
    seconds: float | None
    compared_by: str
    not_asked: int
    elsewhere: int

    @property
    def decided(self) -> int:
        return self.accepted + self.edited + self.rejected

    @property
    def waiting(self) -> int:
        """Rows that need an answer, or another one."""
        return self.undecided + self.incomplete + self.open

    @property
    def sampled(self) -> int:
        return self.decided + self.waiting

    @property
    def next_step(self) -> str | None:
        """What more answers would bring: first whether the set passes, then a narrower interval."""
        if self.gate.out_of_reach:
            return self.gate.out_of_reach
        if self.gate.state == "asking" and self.gate.missing:
            at_least = percent(self.gate.at_least)
            return f"about {self.gate.missing:,} more answers will show whether people accept {at_least} of the rows"
        return str(self.advice) if self.advice else None

    @property
    def enough(self) -> bool:
        """Whether reviewers accept enough rows to continue."""
        return self.gate.state == "open"


def review_status(project: Project, store: Store, population: Population) -> ReviewStatus:
    """Compute the status from the store, without contacting the server. Raises MissingDependency without the extra
    `review`."""
    spec = project.spec.review
    sampled, reviews = store.sampled(), store.reviews()
    shown = [id_ for id_ in sampled if id_ in population.rows]
    pairs = population.pairs(shown)
    decisions = complete_decisions(pairs, reviews, spec.annotators_per_row)
    accepted, settles_nothing = labels_of(decisions)
    answers = [review for id_ in shown for review in current_answers(reviews.get(id_, ()))]
    seconds = seconds_per_item(review.seconds for review in answers)
    next_advice = None
    rates = acceptance_rates(population.drawn(sampled, spec), accepted, spec.confidence, settles_nothing)
    shown_rate, trained = rates.passed, rates.accepted
    if shown_rate and trained and shown_rate.population == trained.population:
        shown_rate = trained  # if both rates cover the same rows, show the interval that the gate uses
    if shown_rate:
        per_row = len(answers) / max(shown_rate.reviewed + rates.unsettled, 1)
        next_advice = advice(
            shown_rate,
            spec.margin_of_error,
            seconds=seconds,
            answers_per_row=per_row,
            left=rates.left,
            unsettled=rates.unsettled,
        )
    counts = Counter(decision.verdict for decision in decisions.values())
    answered = sum(answers_given(reviews.get(id_, ())) > 0 for id_ in shown)
    return ReviewStatus(
        accepted=counts["accept"],
        edited=counts["edit"],
        rejected=counts["reject"],
        undecided=counts["undecided"],
        incomplete=answered - len(decisions),
        open=len(shown) - answered,
        discarded=sum(_is_discarded(reviews.get(id_, ())) for id_ in shown if id_ not in decisions),
        rates=rates,
        advice=next_advice,
        gate=gate_of(rates, spec.accept_at_least, len(answers), spec.confidence),
        objections=objections(pairs, reviews),
        seconds=seconds,
        compared_by=population.compared_by,
        not_asked=len(set(population.not_asked) & set(shown)),
        elsewhere=_answered_elsewhere(store, population, reviews, sampled),
    )


def _is_discarded(reviews: Sequence[Review]) -> bool:
    """Whether a person discarded the row, which Argilla does not show to this person again, or withdrew the answer."""
    return any(review.decision == "withdrawn" and not review.simulated for review in latest_answers(reviews))


def _answered_elsewhere(
    store: Store,
    population: Population,
    reviews: Mapping[str, Sequence[Review]],
    sampled: Mapping[str, Sequence[Sampled]],
) -> int:
    """How many rows that people answered, apart from gold, are not in the population: made under other settings, for
    example. The answer to an edited text counts for the row that was edited."""
    ids = [id_ for id_, answers in reviews.items() if id_ not in population.rows and current_answers(answers)]
    others = (id_ for id_ in ids if not any(record.reason == "gold" for record in sampled.get(id_, ())))
    generated = {[pair, *replaced_pairs(pair, store)][-1].id for pair in store.pairs(others)}
    return len(generated - population.rows.keys())


def as_json(status: ReviewStatus) -> Json:
    """The status for receipts, the dataset card and other programs; rates are fractions with their interval."""
    gate, answers = status.gate, status.gate.missing
    return {
        "sampled": status.sampled,
        "accepted": status.accepted,
        "edited": status.edited,
        "rejected": status.rejected,
        "undecided": status.undecided,
        "incomplete": status.incomplete,
        "unanswered": status.open,
        "discarded": status.discarded,
        "acceptance_rate": _rate(status.rates.passed),
        "trained_acceptance_rate": _rate(status.rates.accepted),
        "missed_acceptance_rate": _rate(status.rates.missed),
        "set_aside": status.rates.set_aside,
        "compared_by": status.compared_by,
        "not_asked": status.not_asked,
        "elsewhere": status.elsewhere,
        "enough": status.enough,
        "gate": gate.state,
        "accept_at_least": gate.at_least,
        "answers_missing": gate.missing,
        "objections": [
            {
                "reason": objection.reason,
                "rows": objection.rows,
                "examples": [{"pair_id": p.id, "input": p.input, "output": p.output} for p in objection.examples],
            }
            for objection in status.objections
        ],
        "seconds_per_answer": status.seconds,
        "advice": status.next_step,
        "minutes_left": answers * status.seconds / 60 if answers and status.seconds is not None else None,
    }


def _rate(estimate: Estimate | None) -> Json | None:
    """A rate as fractions; `rows` of `population` were decided."""
    if estimate is None:
        return None
    fractions = {name: getattr(estimate, name) for name in ("value", "low", "high", "confidence")}
    return {**fractions, "rows": estimate.reviewed, "population": estimate.population}


# Names used by `as_json` of earlier versions, which older receipts contain.
_OLD_NAMES = {
    "routed": "sampled",
    "accept_share": "acceptance_rate",
    "trained_share": "trained_acceptance_rate",
    "missed_share": "missed_acceptance_rate",
}


def from_facts(facts: Json) -> Json:
    """The result of `as_json`, of this version or an older one, under the present names."""
    return {_OLD_NAMES.get(name, name): value for name, value in facts.items()}


def in_words(facts: Json) -> list[str]:
    """The result of `as_json`, of this version or an older one, as sentences for the dataset card and the report."""
    status = from_facts(facts)
    waiting = status["unanswered"] + status["undecided"] + status.get("incomplete", 0)
    lines = [
        f"{counted(status['sampled'], 'row was', 'rows were')} drawn at random for review: {status['accepted']:,}"
        f" accepted unchanged, {status['edited']:,} edited, {status['rejected']:,} rejected, {waiting:,} not decided."
    ]
    rates = rates_in_words(status)
    if trained := rates.pop("trained_acceptance_rate", ""):
        lines.append(f"{trained} This is the rate before review: rows that people rejected are not in the dataset.")
    if older := earlier_scorer_notice(status):
        lines.append(f"{capital(older)}.")
    if not status["acceptance_rate"]:
        lines.append("These are too few answers to estimate what share people would accept.")
    lines += [*rates.values(), *unsettled_notice(status)]
    if status.get("gate") == "rejected":
        lines.append(
            f"People reject this set: they accept fewer than the required {percent(status['accept_at_least'])}."
        )
    elif not status["enough"]:
        lines.append("The review was not finished: there are too few answers for what the spec asks.")
    return lines


def rates_in_words(status: Json) -> dict[str, str]:
    """A sentence for each known acceptance rate, by its name in `as_json`. If the programs accept all rows that passed
    the gates, one sentence is for both."""
    sentences = {
        "trained_acceptance_rate": "Of the rows that the programs accept, people accept {} unchanged.",
        "acceptance_rate": "Of the rows that passed the gates, people accept {} unchanged.",
        "missed_acceptance_rate": "Of the rows that the programs rejected, people would have accepted {}.",
    }
    passed, trained = status["acceptance_rate"], status.get("trained_acceptance_rate")
    if passed and trained and passed["population"] == trained["population"]:
        del sentences["acceptance_rate"]
    return {name: words.format(_with_interval(status[name])) for name, words in sentences.items() if status.get(name)}


def elsewhere_notice(status: Json) -> list[str]:
    """A sentence about answers that do not count at present; none if all do."""
    if not (rows := status.get("elsewhere")):
        return []
    were = counted(rows, "row that people answered is", "rows that people answered are")
    return [
        f"{were} not among the present ones: they were made under other settings (prompt, style, teacher, number of"
        " candidates), or their seeds are gone. The answers are kept, and count once these rows are back"
    ]


def unsettled_notice(status: Json) -> list[str]:
    """A sentence about rows that wait for an adjudicator; none without such rows, or without a rate."""
    if not status["undecided"] or not status["acceptance_rate"]:
        return []
    rows = counted(status["undecided"], "row", "rows")
    return [f"The answers to {rows} settle nothing: the intervals hold however they are decided."]


def earlier_scorer_notice(status: Json) -> str:
    """A sentence saying that the rates refer to the choice of an earlier scorer, or that the choice of the present one
    is unknown; empty if neither is so."""
    if not (by := status.get("compared_by")):
        if not (rows := status.get("not_asked")):
            return ""
        were = counted(rows, "row that people rejected or edited was", "rows that people rejected or edited were")
        return (
            f"{were} never scored, because the scorer was added later; here they count as chosen by it, so the rate of"
            " its choice may be too low, and that of good rows that it missed too high: `pairsmith certify` has them"
            " scored"
        )
    return (
        f"these rates are for the rows chosen by the earlier scorer {by}: the present scorer does not score rows that"
        " people rejected or edited, so it is not known which of them it would choose"
    )


def _with_interval(rate: Json) -> str:
    interval = f"{percent(rate['confidence'])} interval {rate['low']:.1%} to {rate['high']:.1%}"
    return f"{rate['value']:.1%} ({interval}, from {rate['rows']:,} of {counted(rate['population'], 'row', 'rows')})"
