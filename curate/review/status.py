"""Where review stands: how many rows were shown and decided, what follows for the accept share, and what to do next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from curate.review.acceptance import AcceptanceRates, acceptance_rates
from curate.review.answers import current_answers
from curate.review.decision import answers_given, decide
from curate.review.estimate import Advice, Estimate, advice, seconds_per_item
from curate.review.gate import Gate, Objection, gate_of, objections
from curate.review.population import Population
from curate.review.sampling import sampled_ids
from schemas.errors import MissingDependency
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store


@dataclass(frozen=True)
class ReviewStatus:
    """Rows of the present pool that were routed, by what people decided; `undecided` have answers that settle nothing,
    `incomplete` have fewer than `annotators_per_row`, `open` have none. `shares` are what people accept; `advice` is
    what a tighter interval of all that passed the gates would cost (None without one). `gate` says whether people have
    said enough, and `objections` why rows were not accepted as they are. `seconds` is the median time of an answer."""

    accepted: int
    edited: int
    rejected: int
    undecided: int
    incomplete: int
    open: int
    rates: AcceptanceRates
    advice: Advice | None
    gate: Gate
    objections: list[Objection]
    seconds: float | None

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
        """What more answers would buy: a tighter interval, or, where it is tight enough, whether the set passes."""
        if self.gate.state == "asking" and self.gate.missing and self.advice and self.advice.stop:
            return f"about {self.gate.missing:,} more answers tell whether people accept {self.gate.at_least:.0%} of it"
        return str(self.advice) if self.advice else None

    @property
    def enough(self) -> bool:
        """Whether people have said enough, and accept enough of it, to go on."""
        return self.gate.state == "open"


def review_status(project: Project, store: Store, population: Population) -> ReviewStatus:
    """Counted from the store; nothing is asked of the server. Raises MissingDependency without the extra `review`."""
    spec = project.spec.review
    sampled, reviews = store.sampled(), store.reviews()
    shown = [id_ for id_ in sampled if id_ in population.pairs]
    verdicts = {id_: d.verdict for id_ in shown if (d := decide(reviews.get(id_, ()), population.pairs[id_]))}
    settled = {id_ for id_, verdict in verdicts.items() if verdict != "undecided"}
    # What one of three people said is not yet what the row's people said.
    incomplete = {id_ for id_ in settled if answers_given(reviews[id_]) < spec.annotators_per_row}
    accepted = {id_: verdicts[id_] == "accept" for id_ in settled - incomplete}
    rows, reasons = list(population.rows.values()), sampled_ids(record for id_ in shown for record in sampled[id_])
    answers = [review for id_ in shown for review in current_answers(reviews.get(id_, ()))]
    seconds = seconds_per_item(review.seconds for review in answers)
    tightness = None
    if accepted:
        _needs_scipy()
    known = acceptance_rates(rows, reasons, accepted, spec.seed, spec.confidence)
    if passed := known.passed:
        each = len(answers) / max(passed.reviewed, 1)
        tightness = advice(passed, spec.margin_of_error, seconds=seconds, answers_per_row=each, left=known.left)
    counts = Counter(verdict for id_, verdict in verdicts.items() if id_ not in incomplete)
    return ReviewStatus(
        accepted=counts["accept"],
        edited=counts["edit"],
        rejected=counts["reject"],
        undecided=counts["undecided"],
        incomplete=len(incomplete),
        open=len(shown) - len(verdicts),
        rates=known,
        advice=tightness,
        gate=gate_of(known.accepted, tightness, spec.accept_at_least, known.left_accepted, len(answers)),
        objections=objections({id_: population.pairs[id_] for id_ in shown}, reviews),
        seconds=seconds,
    )


def as_json(status: ReviewStatus) -> Json:
    """The standing for receipts, the dataset card and programs; shares are fractions with their interval."""
    gate, answers = status.gate, status.gate.missing
    if gate.state == "asking" and answers is None and status.advice:
        answers = status.advice.answers
    return {
        "routed": status.sampled,
        "accepted": status.accepted,
        "edited": status.edited,
        "rejected": status.rejected,
        "undecided": status.undecided,
        "incomplete": status.incomplete,
        "unanswered": status.open,
        "accept_share": _share(status.rates.passed),
        "trained_share": _share(status.rates.accepted),
        "missed_share": _share(status.rates.missed),
        "enough": status.enough,
        "gate": gate.state,
        "accept_at_least": gate.at_least,
        "answers_missing": gate.missing,
        "objections": [
            {
                "reason": one.reason,
                "rows": one.rows,
                "examples": [{"pair_id": pair.id, "input": pair.input, "output": pair.output} for pair in one.examples],
            }
            for one in status.objections
        ],
        "seconds_per_answer": status.seconds,
        "advice": status.next_step,
        "minutes_left": answers * status.seconds / 60 if answers and status.seconds is not None else None,
    }


def _share(share: Estimate | None) -> Json | None:
    """A share as fractions; `rows` of `population` were decided."""
    if share is None:
        return None
    return {
        "value": share.value,
        "low": share.low,
        "high": share.high,
        "confidence": share.confidence,
        "rows": share.reviewed,
        "population": share.population,
    }


def in_words(told: Json) -> list[str]:
    """`as_json` in sentences, for the dataset card and the report."""
    waiting = told["unanswered"] + told["undecided"] + told.get("incomplete", 0)
    lines = [
        f"{told['routed']:,} rows were drawn at random and shown to people: {told['accepted']:,} accepted as they were,"
        f" {told['edited']:,} edited, {told['rejected']:,} rejected, {waiting:,} not"
        " decided."
    ]
    if share := told["accept_share"]:
        lines.append(
            f"Of what passed the gates, people accept {_spread(share)} as it is. That is about the rows before review:"
            " those that people rejected are not in the dataset."
        )
    else:
        lines.append("That is too few answers to tell what share people would accept.")
    if (share := told.get("trained_share")) and share != told["accept_share"]:
        lines.append(f"Of what the programs accept, people accept {_spread(share)} as it is.")
    if share := told["missed_share"]:
        lines.append(f"Of what the programs rejected, people would have accepted {_spread(share)}.")
    if told.get("gate") == "rejected":
        lines.append(f"People reject this set: fewer than the {told['accept_at_least']:.0%} asked for are accepted.")
    elif not told["enough"]:
        lines.append("The review was not finished: people have said too little for what the spec asks.")
    return lines


def _spread(share: Json) -> str:
    interval = f"{share['confidence']:.0%} interval {share['low']:.1%} to {share['high']:.1%}"
    return f"{share['value']:.1%} ({interval}, from {share['rows']:,} of {share['population']:,} rows)"


def _needs_scipy() -> None:
    try:
        import scipy  # noqa: F401
    except ModuleNotFoundError:
        raise MissingDependency(
            "the interval of the accept share needs the package scipy.",
            fix="Install it: pip install 'pairsmith[review]'",
        ) from None
