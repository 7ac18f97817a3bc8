"""The sentences of the report. Every sentence follows from the evidence; none is printed regardless of the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from curate.review.status import in_words
from curate.similarity.overlap import FEW
from pairsmith.report import proof
from pairsmith.report.evidence import Distribution, Evidence, Reviews, Scorer
from pairsmith.style.charts import BarPart
from pairsmith.style.numbers import MISSING, count, duration, rounded, seeds
from schemas.money import Cost, describe_cost, dollars, per_row, total
from schemas.records import Counts
from schemas.step_names import REFERENCE
from schemas.wording import apart, capital, counted
from train.learning_curve import LearningCurve
from train.learning_curve import in_words as curve_in_words
from train.results import TrainResult


class StageWords(NamedTuple):
    """Display names for a stage that counts rows and for its waiting rows, and the colour class of the latter."""

    title: str
    noun: str
    waiting: str
    waiting_tone: str


STAGES = {
    "generate": StageWords(
        "Generation: one row for each sample of each seed", "Generation", "pairs awaiting curation", "pale"
    ),
    "curate": StageWords("Curation: the same rows, judged", "Curation", "waiting", "waiting"),
}


def stages(evidence: Evidence) -> dict[str, StageWords]:
    """The stages that count rows. Rows whose outputs were all imported were read, not generated; a test file of inputs
    generates none."""
    counts, seeds_by_kind = evidence.counts("generate"), evidence.seeds or {}
    imported = sum(number for kind, number in seeds_by_kind.items() if kind not in ("input", "output"))
    if not imported or (counts and counts.rows_in > imported):
        return STAGES
    return {
        **STAGES,
        "generate": StageWords("Import: one row for each pair read", "Import", "pairs awaiting curation", "pale"),
    }


def headline(evidence: Evidence) -> str:
    """The state of the project in a sentence or two, as far as the pipeline has progressed."""
    if evidence.evaluation is not None:
        return proof.headline(evidence.evaluation)
    if rows := evidence.counts("curate"):
        lacks = "The evaluation's files are missing" if evidence.counts("evaluate") else "There is no evaluation yet"
        return (
            f"{count(rows.accepted)} of {counted(rows.rows_in, 'row', 'rows')} accepted."
            f" {lacks}, so nothing here shows that a model is better."
        )
    if rows := evidence.counts("generate"):
        return f"{counted(rows.rows_in - rows.failed, 'pair', 'pairs')}; none has been curated yet."
    return "Nothing has run yet, so there is nothing to report."


def lede(evidence: Evidence) -> list[str]:
    """Cautions for the headline: the direction of the differences, and whether the rows were reviewed."""
    sentences = proof.in_words(evidence.evaluation) if evidence.evaluation is not None else []
    return [*sentences, reviewed(evidence.reviews)] if evidence.counts("generate") else sentences


def reviewed(reviews: Reviews) -> str:
    """A sentence on whether the rows were reviewed."""
    simulated = f" {count(reviews.simulated)} simulated decisions are not counted." if reviews.simulated else ""
    if not reviews.decisions:
        off = " Human review was disabled." if reviews.switched_off else ""
        return f"Not reviewed by humans: nobody has judged these rows.{off}{simulated}"
    people = counted(reviews.reviewers, "person", "people")
    decisions = counted(reviews.decisions, "decision", "decisions")
    off = " Human review was then disabled." if reviews.switched_off else ""
    return f"{people} reviewed {counted(reviews.pairs, 'row', 'rows')} in {decisions}.{off}{simulated}"


def people(reviews: Reviews) -> list[str]:
    """The reviewers' answers on the rows that were sampled for review."""
    return in_words(reviews.status) if reviews.status else []


def key_figures(evidence: Evidence) -> list[tuple[str, str, str]]:
    """Four figures under the headline: (name, value, detail)."""
    rows, training, evaluation = evidence.counts("curate"), evidence.training, evidence.evaluation
    spent = total(evidence.costs)
    least = "at least " if spent.uncounted else ""
    usage_note = f"{least}{count(spent.usage.prompt_tokens + spent.usage.completion_tokens)} tokens, "
    usage_note += counted(spent.requests, "request", "requests")
    if each := per_row(evidence.costs, rows.accepted if rows else 0):
        usage_note += f", {dollars(each)} per accepted row"
    measured = [evaluation.group_note, f"{counted(evaluation.samples, 'sample', 'samples')} each"] if evaluation else []
    return [
        (
            "rows accepted",
            count(rows.accepted if rows else None),
            f"of {count(rows.rows_in)}" if rows else "not curated yet",
        ),
        (
            "rows trained on" if training is None or training.settings.objective == "sft" else "preferences trained on",
            count(training.train_rows if training else None),
            _steps_taken(training) if training else "not trained yet",
        ),
        (
            "held-out inputs",
            count(evaluation.seeds if evaluation else None),
            ", ".join(filter(None, measured)).strip() or "not evaluated yet",
        ),
        (
            "spent",
            describe_cost(spent) if spent.requests else MISSING,
            usage_note if spent.requests else "no requests yet",
        ),
    ]


def _steps_taken(training: TrainResult) -> str:
    """The number of steps; of a training that was stopped, out of how many, because it has not seen every row."""
    if training.planned_steps is None:
        return counted(training.steps, "step", "steps")
    return f"stopped after {count(training.steps)} of {counted(training.planned_steps, 'step', 'steps')}"


def parts(counts: Counts, words: StageWords) -> list[BarPart]:
    """The sum of rows as the segments of a bar."""
    return [
        BarPart("accepted", counts.accepted),
        BarPart("rejected", counts.rejected),
        BarPart(words.waiting_tone, counts.waiting),
        BarPart("failed", counts.failed),
    ]


def seeds_read(evidence: Evidence) -> str | None:
    """The seeds that were read before any request was sent."""
    if evidence.seeds is None:
        return None
    unread, erased = evidence.unread_seeds, evidence.erased_seeds
    return (
        f"Seeds: {seeds(evidence.seeds)}. "
        + (
            f"{counted(unread, 'line', 'lines')} of the seed files could not be used; the receipt lists them."
            if unread
            else "All lines were used."
        )
        + (f" {counted(erased, 'seed', 'seeds')} erased since, with all rows, still counted here." if erased else "")
    )


def drawn_rows(shown: int, of: int | None) -> str:
    """How many rows are shown, and out of how many."""
    total = f" of {count(of)}" if of is not None else ""
    return f"{shown}{total}, a uniform random sample. Read them before you look at the numbers."


def splits(evidence: Evidence) -> str:
    """The splits of the accepted rows, and whether near-duplicate seeds fell into different splits."""
    rows = evidence.splits or {}
    sizes = ", ".join(f"{count(number)} {split}" for split, number in rows.items())
    alike = evidence.near_duplicate_seeds
    return f"Accepted rows by split: {sizes}. All rows of a seed are in the same split. " + (
        f"{counted(alike, 'seed', 'seeds')} fell into another split than a seed that {'it' if alike == 1 else 'they'}"
        f" nearly repeat{'s' if alike == 1 else ''}, so the splits are not fully separate; the receipt lists some."
        " Rows that repeat a test input are removed. Rows that only share a template with it"
        f" ({FEW} or more similar texts) stay, so the test does not show how the model does on other templates."
        if alike
        else "No two near-duplicate seeds fell into different splits."
    )


def distribution(unit: str, numbers: Distribution) -> str:
    """A histogram in a sentence."""
    if len({*numbers.everything}) == 1 and not numbers.missing:
        return f"{unit.capitalize()} {rounded(numbers.everything[0], 0)} in all {count(len(numbers.everything))} rows."
    digits = 0 if all(number.is_integer() for number in numbers.everything) else 1
    middle, low, high = (rounded(of(numbers.everything), digits) for of in (median, min, max))
    sentence = f"Median {middle} over {counted(len(numbers.everything), 'row', 'rows')} (from {low} to {high})"
    if numbers.accepted:
        sentence += f"; {rounded(median(numbers.accepted), digits)} over the {count(len(numbers.accepted))} accepted"
    missing = counted(numbers.missing, "row has", "rows have")
    return f"{sentence}. {missing} no {unit} and are not shown." if numbers.missing else f"{sentence}."


def scorer(scorer: Scorer) -> str:
    """The scorer of the rows and why it was chosen, as recorded by curation."""
    changed = f" {capital(scorer.changed)}." if scorer.changed else ""
    return f"Scored by {scorer.why} ({scorer.name}).{changed}"


def curve(training: TrainResult) -> str:
    """The loss curve in a sentence."""
    steps = counted(training.steps, "step", "steps")
    sentence = f"Training loss {' to '.join(apart(training.curve[0].loss, training.curve[-1].loss))} in {steps}"
    if training.validation and (after := training.kept_loss) is not None:
        first, step = training.validation[0].loss, training.kept_step
        kept = "" if step is None else f" at step {step}, whose weights the adapter has"
        return f"{sentence}; validation loss {' to '.join(apart(first, after))}{kept}."
    return f"{sentence}. There were no validation rows, so there is no validation loss."


def learning_curve(curve: LearningCurve) -> list[str]:
    """The learning curve, the expected gain from more rows, and the slices."""
    return [f"{capital(line)}." for line in curve_in_words(curve)]


def kind_of_loss(objective: str) -> str:
    """What the numbers of a training curve are (`train.objective`)."""
    return {
        "sft": "Loss is the mean per answer token, in nats; prompt tokens carry no loss.",
        "dpo": "Loss is that of a preference, in nats: 0.69 if the better answer has gained nothing on the worse one"
        " since the supervised training.",
        "orpo": "Loss is the mean per token of the better answer plus the weighted loss of the preference, in nats.",
    }[objective]


def training_facts(training: TrainResult, without_preference: Mapping[str, int] = {}) -> list[tuple[str, str]]:
    """Facts about the adapter's training, with the rows that gave no preference to train on."""
    from curate.preferences import without_in_words  # loads the pool and numpy

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
        *([("no preference", f"{without_in_words(without_preference, s.objective)}.")] if without_preference else []),
        (
            "tokens",
            f"{count(training.learned_tokens)} with loss per epoch,"
            f" {count(training.trained_tokens)} processed in total",
        ),
        ("time", f"{duration(training.seconds)}, {rounded(training.seconds_per_step, 2)} s per step"),
        ("memory", f"{rounded(training.peak_gib)} GiB at peak"),
    ]


def spending(costs: Sequence[Cost]) -> str:
    """The ledger's total."""
    spent = total(costs)
    usage, requests = spent.usage, spent.requests
    if not requests:
        return "No request has been sent yet."
    cached = f" ({count(usage.cached_tokens)} of them cached)" if usage.cached_tokens else ""
    without = counted(spent.uncounted, "answer", "answers")
    uncounted = f" {without} came without a count of tokens, so there were more." if spent.uncounted else ""
    return (
        f"The ledger holds {counted(requests, 'request', 'requests')}: {count(usage.prompt_tokens)} prompt tokens"
        f"{cached}, {count(usage.completion_tokens)} answer tokens, {describe_cost(spent)}.{uncounted}"
    )


def limits(evidence: Evidence) -> list[str]:
    evaluation = evidence.evaluation
    sentences = [
        "An answer is right if it matches its reference, so a wrong or debatable reference fails a good answer. Read"
        " the answers side by side."
        if evaluation and REFERENCE in evaluation.check_names
        else "Gates and checks test form, not meaning. A text can have the right length, the right ending and every"
        " word that a pattern looks for, and still be empty or absurd. Read the answers side by side.",
    ]
    if not evidence.reviews.decisions:
        sentences.append("No person has judged a row or an answer: “passes” means that no automatic check failed.")
    if evaluation is not None:
        sentences += proof.limits(evaluation)
    if evidence.scorer is not None:
        sentences.append(
            "A score is a model's opinion of which of two answers to one input is better. It was not compared with"
            f" human judgement here{'' if evidence.certificate else ', and accepted rows carry no certificate'}."
        )
    charged = (
        "Costs are the charges reported by the provider, otherwise tokens times the prices of the spec or of the price"
        " table named in the receipts. "
    )
    own = "Models that are free by these prices still cost a machine and electricity."
    sentences.append(own if describe_cost(total(evidence.costs)) == "free" else charged + own)
    return sentences
