"""The sentences of the report. Every sentence follows from the evidence; none is there whatever the numbers say."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from curate.review.status import in_words
from pairsmith.report import proof
from pairsmith.report.evidence import Distribution, Evidence, Reviews, Scorer
from pairsmith.style.charts import BarPart
from pairsmith.style.numbers import MISSING, count, duration, rounded, seeds
from schemas.money import Cost, dollars, per_row, told, total
from schemas.records import Counts
from schemas.wording import capital, counted
from train.learning_curve import LearningCurve
from train.learning_curve import in_words as told_curve
from train.results import TrainResult


class StageWords(NamedTuple):
    """The names of a stage that counts rows, and of its rows that were accepted or wait; `waiting_tone` colours
    those."""

    title: str
    noun: str
    accepted: str
    waiting: str
    waiting_tone: str


STAGES = {
    "generate": StageWords(
        "Generation: one row for each sample of each seed", "Generation", "accepted", "pairs to be curated", "pale"
    ),
    "curate": StageWords("Curation: the same rows, judged", "Curation", "accepted", "waiting", "waiting"),
}


def headline(evidence: Evidence) -> str:
    """The report in a sentence or two, as far as the pipeline has got."""
    if evidence.evaluation is not None:
        return proof.headline(evidence.evaluation)
    if rows := evidence.counts("curate"):
        return (
            f"{count(rows.accepted)} of {counted(rows.rows_in, 'row', 'rows')} accepted."
            " There is no evaluation yet, so nothing here says that a model is better."
        )
    if rows := evidence.counts("generate"):
        return f"{counted(rows.rows_in - rows.failed, 'pair', 'pairs')} generated; none is curated yet."
    return "Nothing has run yet, so there is nothing to report."


def lede(evidence: Evidence) -> list[str]:
    """Cautions for the headline: which way the differences fall, and who looked at the rows."""
    sentences = proof.in_words(evidence.evaluation) if evidence.evaluation is not None else []
    return [*sentences, reviewed(evidence.reviews)] if evidence.counts("generate") else sentences


def reviewed(reviews: Reviews) -> str:
    """A sentence on whether people looked at the rows."""
    simulated = f" {count(reviews.simulated)} simulated decisions are not counted." if reviews.simulated else ""
    if not reviews.decisions:
        off = " Human review was switched off." if reviews.switched_off else ""
        return f"Not reviewed by humans: no person has looked at these rows.{off}{simulated}"
    people = counted(reviews.reviewers, "person", "people")
    decisions = counted(reviews.decisions, "decision", "decisions")
    off = " Human review was then switched off." if reviews.switched_off else ""
    return f"{people} reviewed {counted(reviews.pairs, 'row', 'rows')} in {decisions}.{off}{simulated}"


def people(reviews: Reviews) -> list[str]:
    """The answers of people to the rows that were drawn for them."""
    return in_words(reviews.status) if reviews.status else []


def key_figures(evidence: Evidence) -> list[tuple[str, str, str]]:
    """Four figures under the headline: (name, value, detail)."""
    rows, training, evaluation = evidence.counts("curate"), evidence.training, evidence.evaluation
    spent = total(evidence.costs)
    asked = f"{count(spent.usage.prompt_tokens + spent.usage.completion_tokens)} tokens, "
    asked += counted(spent.requests, "request", "requests")
    if each := per_row(spent, rows.accepted if rows else 0):
        asked += f", {dollars(each)} for each accepted row"
    measured = [evaluation.of_groups, f"{counted(evaluation.samples, 'sample', 'samples')} each"] if evaluation else []
    return [
        (
            "rows accepted",
            count(rows.accepted if rows else None),
            f"of {count(rows.rows_in)}" if rows else "not curated yet",
        ),
        (
            "rows trained on",
            count(training.train_rows if training else None),
            counted(training.steps, "step", "steps") if training else "not trained yet",
        ),
        (
            "held-out inputs",
            count(evaluation.seeds if evaluation else None),
            ", ".join(filter(None, measured)).strip() or "not evaluated yet",
        ),
        (
            "spent on teachers",
            told(spent) if spent.requests else MISSING,
            asked if spent.requests else "nothing asked yet",
        ),
    ]


def row_count_check(counts: Counts) -> str:
    """The sum that must hold."""
    return (
        f"{count(counts.rows_in)} in = {count(counts.accepted)} accepted + {count(counts.rejected)} rejected"
        f" + {count(counts.waiting)} waiting + {count(counts.failed)} failed"
    )


def parts(counts: Counts, words: StageWords) -> list[BarPart]:
    """The sum as the pieces of a bar."""
    return [
        BarPart("accepted", counts.accepted),
        BarPart("rejected", counts.rejected),
        BarPart(words.waiting_tone, counts.waiting),
        BarPart("failed", counts.failed),
    ]


def seeds_read(evidence: Evidence) -> str | None:
    """The seeds that were read before anything was asked."""
    if evidence.seeds is None:
        return None
    unread = evidence.unread_seeds
    return f"Seeds: {seeds(evidence.seeds)}. " + (
        f"{counted(unread, 'line', 'lines')} of the seed files could not be used; the receipt names each."
        if unread
        else "Every line that was read was used."
    )


def drawn_rows(shown: int, of: int | None) -> str:
    """The number of rows on the page that were drawn, and of all of their kind."""
    total = f" of {count(of)}" if of is not None else ""
    return f"{shown}{total}, each with the same chance. Read them before the numbers."


def splits(evidence: Evidence) -> str:
    """The splits of the accepted rows, and whether the splits really are apart."""
    rows = evidence.splits or {}
    sizes = ", ".join(f"{count(number)} {split}" for split, number in rows.items())
    alike = evidence.near_duplicate_seeds
    return f"The accepted rows by split: {sizes}. All rows of a seed are in one split. " + (
        f"{counted(alike, 'pair', 'pairs')} of nearly equal seeds fell into different splits, so these are not quite"
        " apart; the receipt names them."
        if alike
        else "No two nearly equal seeds fell into different splits."
    )


def distribution(unit: str, numbers: Distribution) -> str:
    """A histogram in a sentence."""
    digits = 0 if all(number.is_integer() for number in numbers.everything) else 1
    middle, low, high = (rounded(of(numbers.everything), digits) for of in (median, min, max))
    sentence = f"Median {middle} over {counted(len(numbers.everything), 'row', 'rows')} (from {low} to {high})"
    if numbers.accepted:
        sentence += f"; {rounded(median(numbers.accepted), digits)} over the {count(len(numbers.accepted))} accepted"
    missing = counted(numbers.missing, "row has", "rows have")
    return f"{sentence}. {missing} no {unit} and are not drawn." if numbers.missing else f"{sentence}."


def scorer(scorer: Scorer) -> str:
    """The scorer of the rows and why it was chosen, as curation said it."""
    changed = f" {capital(scorer.changed)}." if scorer.changed else ""
    return f"ScoringServer by {scorer.why} ({scorer.name}).{changed}"


def curve(training: TrainResult) -> str:
    """The loss curve in a sentence."""
    steps = counted(training.steps, "step", "steps")
    sentence = f"Training loss {rounded(training.curve[0].loss, 2)} to {rounded(training.curve[-1].loss, 2)} in {steps}"
    if training.validation:
        first, after, step = training.validation[0].loss, training.kept_loss, training.kept_step
        kept = "" if step is None else f" at step {step}, whose weights the adapter has"
        return f"{sentence}; validation loss {rounded(first, 2)} to {rounded(after, 2)}{kept}."
    return f"{sentence}. There were no validation rows, so there is no validation loss."


def learning_curve(curve: LearningCurve) -> list[str]:
    """The learning curve, what more rows would buy, and the slices."""
    return [f"{capital(line)}." for line in told_curve(curve)]


def training_facts(training: TrainResult) -> list[tuple[str, str]]:
    """The training of the adapter."""
    s, layers = training.settings.last_stage, training.four_bit_layers
    objective = "" if s.objective == "sft" else f"{s.objective} (beta {s.beta:g}), "
    four_bit = f", {counted(layers, 'layer', 'layers')} in 4 bits" if layers else ""
    return [
        ("base", f"{training.base}, {training.compute_dtype}{four_bit}"),
        (
            "method",
            f"{s.method}, r {s.r}, alpha {s.alpha}, dropout {s.dropout:g};"
            f" {count(training.trainable_parameters)} trainable parameters",
        ),
        ("exported", training.artefact),
        (
            "schedule",
            f"{objective}learning rate {s.learning_rate:g}, batch {s.batch},"
            f" {s.epochs:g} {'epoch' if s.epochs == 1 else 'epochs'}, seed {s.seed}",
        ),
        (
            "rows" if s.objective == "sft" else "preferences",
            f"{count(training.train_rows)} train, {count(training.validation_rows)} validation",
        ),
        (
            "tokens",
            f"{count(training.learned_tokens)} with loss in an epoch,"
            f" {count(training.trained_tokens)} through the model in all",
        ),
        ("time", f"{duration(training.seconds)}, {rounded(training.seconds_per_step, 2)} s a step"),
        ("memory", f"{rounded(training.peak_gib)} GiB at most"),
    ]


def spending(costs: Sequence[Cost]) -> str:
    """The ledger's sum."""
    spent = total(costs)
    usage, requests = spent.usage, spent.requests
    if not requests:
        return "No teacher has been asked yet."
    cached = f" ({count(usage.cached_tokens)} of them cached)" if usage.cached_tokens else ""
    return (
        f"The ledger holds {counted(requests, 'request', 'requests')}: {count(usage.prompt_tokens)} prompt tokens"
        f"{cached}, {count(usage.completion_tokens)} answer tokens, {told(spent)}."
    )


def limits(evidence: Evidence) -> list[str]:
    """The limits of the numbers."""
    sentences = [
        "Gates and checks see form, not sense. A text can have the right length, the right ending and every word that a"
        " pattern looks for, and still say nothing, or something absurd. Read the answers side by side.",
    ]
    if not evidence.reviews.decisions:
        sentences.append(
            "No person has judged a row or an answer: “passes” means that code found nothing to object to."
        )
    if evidence.evaluation is not None:
        sentences += proof.limits(evidence.evaluation)
    if evidence.scorer is not None:
        sentences.append(
            "A score is a model's opinion of which of two answers to one input is better. Here it was not compared with"
            " a person's, and an accepted row carries no certificate."
        )
    sentences.append(
        "Costs are what the provider says it charged, else tokens times the prices of the spec or of the table that the"
        " receipts name. What is free by those has a machine and electricity that are not."
    )
    return sentences
