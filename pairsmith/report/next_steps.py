"""What to do next: where the tuned model fails on validation, seeds for the next round, and the steps in order."""

from __future__ import annotations

from collections.abc import Collection

from curate.similarity.overlap import contaminated
from curate.split import LEAST_TEST_INPUTS, is_question, seed_split
from pairsmith.receipts.outcome import ReviewOutcome
from pairsmith.report.evidence import Evidence, NextSeeds
from schemas.kinds import KINDS
from schemas.spec import Spec
from schemas.store import Store
from schemas.store.latest import last_review
from schemas.wording import capital, counted
from train.evaluation.failures import TOKEN_LIMIT, failures
from train.evaluation.metrics import TUNED, Evaluation
from train.evaluation.relation import relation, untuned
from train.evaluation.retrieval import Nearest
from train.results import no_gain_warning

_MAX_GROUPS, _MAX_SEEDS, _MAX_NEAR, _MAX_SEARCHED = 6, 3, 50, 20_000
_MAX_CHARACTERS = 2_000  # of a text that is compared by its characters: a document would take minutes


def next_seeds(
    store: Store, spec: Spec, evaluation: Evaluation | None, with_rows: Collection[str]
) -> tuple[NextSeeds, ...]:
    """The largest groups of validation failures, each with similar training seeds that have no accepted row.

    `with_rows` are the ids of seeds that have one. Validation and test inputs, and seeds that repeat one, are never
    proposed: curation would reject the rows, or training on them would make the input useless for validation.
    """
    groups = [] if evaluation is None else failures(evaluation)[:_MAX_GROUPS]
    if not groups:
        return ()
    with_split = ((seed, seed_split(seed, spec.split)) for seed in store.active_seeds() if is_question(seed))
    held_out, unused = list[str](), list[str]()
    for seed, split in with_split:
        if split != "train":
            held_out.append(seed.asked)
        elif seed.id not in with_rows and len(unused) < _MAX_SEARCHED:
            unused.append(seed.asked)
    questions = [" ".join(text[:_MAX_CHARACTERS] for text in group.inputs) for group in groups]
    nearest = Nearest([text[:_MAX_CHARACTERS] for text in unused], questions)
    orders = [[unused[at] for at in nearest.order(question)[:_MAX_NEAR]] for question in questions]
    candidates = list({text: None for order in orders for text in order})
    equal_numbers, jaccard = KINDS[spec.task.kind].equal_numbers, spec.curate.duplicates.jaccard
    repeats = contaminated(lambda: ((text,) for text in candidates), held_out, jaccard, equal_numbers=equal_numbers)
    proposed, proposals = {candidates[number] for number in repeats}, []
    for group, order in zip(groups, orders, strict=True):
        near = [text for text in order if text not in proposed][:_MAX_SEEDS]
        proposed.update(near)
        proposals.append(NextSeeds(group, tuple(near)))
    return tuple(proposals)


def next_steps(evidence: Evidence) -> list[str]:
    """What to do next, most important first; each step follows from the evidence."""
    for stage in evidence.stages:
        if stage.counts is None:
            reviewed = stage.command == "train" and not evidence.reviews.switched_off
            review = last_review(evidence.receipts) if reviewed else None
            if review and (waits := ReviewOutcome.of(review).waits):
                return [f"{capital(waits)}. After the review run `pairsmith run`."]
            if reviewed and not review and not stage.stopped:
                return [
                    "Run `pairsmith run`: it sends rows to reviewers, and trains after that; or skip the review with"
                    " `pairsmith run --no-review`."
                ]
            return [f"Run `pairsmith run`: {stage.command} has not {'finished' if stage.stopped else 'run'} yet."]
    steps = [*_for_the_verdict(evidence)]
    training = evidence.training
    before = training.validation[0].loss if training and training.validation else None
    if training and (gain := no_gain_warning(before, training.kept_loss)):
        steps.append(f"{capital(gain)}.")
    if evidence.failing:
        first = evidence.failing[0].failures
        inputs = counted(len(first.inputs), "input", "inputs")
        if first.check == TOKEN_LIMIT:
            steps.append(
                f"Read the answers to {inputs} of validation that were cut at the token limit, listed below: raise"
                " `evaluate.sampling.max_tokens` if they go on well; if they repeat themselves, train longer."
            )
        else:
            steps.append(
                f"Add seeds like those that fail on validation: {inputs} fail the check"
                f" `{first.check.removeprefix('check:')}` first. They are listed below with seeds for the next round."
            )
    gates = [step for step in evidence.steps if step.alone and step.key]
    if gates:
        most = max(gates, key=lambda step: step.alone)
        steps.append(
            f"Read the {counted(most.alone, 'row', 'rows')} that only `{most.name}` rejects: if they are good,"
            f" `{most.key}` is too strict for this task."
        )
    if not evidence.reviews.decisions:
        enable = "remove `review.enabled = false`, " if evidence.reviews.switched_off else ""
        steps.append(
            f"Have some rows reviewed: {enable}`pairsmith review up`, then `pairsmith run`. None has been reviewed yet."
        )
    return steps


def _for_the_verdict(evidence: Evidence) -> list[str]:
    verdict, evaluation = evidence.verdict, evidence.evaluation
    if verdict is None or evaluation is None:
        return []
    if verdict.decision == "ship":
        return ["Ship it: `pairsmith export` copies adapter, dataset, report and evidence into one folder."]
    if (needed := LEAST_TEST_INPUTS - evaluation.number_of_groups) > 0:
        units = " groups" if evaluation.groups else ""
        return [f"Add {evaluation.more_inputs(needed)}: fewer than {LEAST_TEST_INPUTS}{units} prove nothing."]
    more = "improve the training: more rows, better outputs, or a larger base."
    if verdict.fine_tune == "do not fine-tune":
        prompts = untuned(evaluation)
        local = [*prompts, evaluation.system(TUNED)]
        rates = [rate for system in local for rate in (system.sampled.pass_rate, system.greedy.pass_rate)]
        best = max((rate.estimate for rate in rates if rate), default=0.0)
        if best < 0.5:
            return [f"Neither the tuned model nor a prompt passes half of the answers: {more}"]
        level = [of.label for of in prompts if relation(evaluation, of) in ("tie", "worse")]
        return [f"Use the untuned base with the prompt that does as well ({' or '.join(level)}), or {more}"]
    flips = f" This would change if {verdict.flips_when[0]}." if verdict.flips_when else ""
    if verdict.decision == "not enough evidence":
        return [f"Do not decide yet: {verdict.because[0]}.{flips}"]
    helps = "training helps, but " if verdict.fine_tune == "fine-tune" else ""
    return [f"Do not ship it yet: {helps}{verdict.because[0]}.{flips}"]
