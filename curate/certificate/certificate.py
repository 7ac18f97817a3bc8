"""The certificate: which rows are accepted without human review, and a lower bound on how many of them are good.

The method is Learn-then-Test (Angelopoulos et al. 2021, arXiv:2110.01052) with a fixed sequence of nested sets of rows,
from those with the highest P(good) on. Testing stops at the first set whose labels are not clear enough; the last set
that passed is accepted. With the requested confidence, at most a share of 1 - precision of its rows is bad. This holds
at every look at the answers, because the test statistic is that of `curate.certificate.evidence.evidence`.

The sets and P(good) are fixed from the answers of the calibration half alone (`Trial`), before any answer of the
estimation half is used. A new trial starts after a change to anything that shapes the rows or to the requested
precision, or when there are four times as many calibration answers. Each trial gets a smaller error budget than the one
before, so that together they err with a probability of at most 1 - confidence. Of several trials of the same rows, the
one that accepts most may therefore be used.

A row with answers that settle nothing counts as bad until an adjudicator decides it: left out, such rows, which are
worse than the others, would make a set look better than it is. The bound holds, because evidence falls with every bad
row.

Not covered: reviewers who are wrong (a label is what they decided), and a gate that was written to reject the very rows
of the estimation half that reviewers rejected. Rows without an answer are assumed to be like those with one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from curate.certificate.calibration import LEAST, Calibrator, Features, calibrate
from curate.certificate.evidence import GoodShare, evidence, good_share
from curate.rows import StepId
from schemas.records import Artifact, content_id
from schemas.wording import capital, counted, percent

SETS = 20
"""About how many sets are tested. More would end the sequence early by chance more often; fewer would lose rows."""
_RETRIAL_FACTOR = 4  # a new trial starts with this many times the calibration answers
_START, _LEAST_START = 0.3, 0.1  # share of the rows in the strictest set
# Numbers of further labels to forecast.
_MORE_LABELS = (*range(10, 100, 10), *range(100, 400, 20), *range(400, 2_001, 100))
_BETTER = "improve the prompt or the gates, use a scorer that ranks better, or request a lower --precision."
# The steps that a certificate depends on, by the prefix of their names, and the word that users see for each.
_PARTS = {
    "gate/": "gates",
    "pool/contamination": "contamination",
    "judge/": "judge",
    "score/": "scorer",
    "pool/best": "selection",
    "pool/duplicate": "duplicates",
    "pool/semantic": "duplicates",
    "nli/": "flags",  # the flags of gates belong to "gates"
    "pool/unlikely_label": "flags",
}


def parts_of(generation: str, steps: Iterable[StepId]) -> dict[str, str]:
    """Hash everything that the rows and their scores depend on, by part. A change in any of them makes another pool."""
    settings: dict[str, list[list[str]]] = {name: [] for name in _PARTS.values()}
    for step in steps:
        for begins, name in _PARTS.items():
            if step.by.startswith(begins):
                settings[name].append([step.by, step.settings])
    return {"generation": generation, **{name: content_id("part", part) for name, part in settings.items()}}


def changed_parts(known: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the parts that differ. A part that an earlier version did not record counts as unchanged."""
    return [name for name, part in now.items() if known.get(name, part) != part]


@dataclass(frozen=True)
class Trial:
    """The sets to test, fixed before any answer of the estimation half is used.

    Set i holds the rows whose P(good) is at least `thresholds[i]`, strictest first. `number` counts the trials of the
    project from 1.
    """

    number: int
    precision: float
    parts: dict[str, str]
    calibrator: Calibrator
    thresholds: tuple[float, ...]

    def as_artifact(self) -> Artifact:
        facts = asdict(self)
        return Artifact(id=content_id("artifact", ["calibration", facts]), kind="calibration", path="", facts=facts)

    @classmethod
    def read(cls, artifact: Artifact) -> Trial:
        return TypeAdapter(cls).validate_python(artifact.facts)

    def error(self, confidence: float) -> float:
        """The error budget of this trial. The budgets of all trials sum to 1 - confidence."""
        return (1 - confidence) * 6 / (math.pi * self.number) ** 2


def trials_for(
    earlier: Sequence[Trial],
    precision: float,
    parts: dict[str, str],
    features: Features,
    answered: Mapping[str, bool],
    rows: Iterable[str],
) -> list[Trial]:
    """The trials of these parts and this precision, plus a new one at the end if it is due.

    A new trial is due if there is none yet, or if there are four times as many calibration answers as for the last one.
    Returns an empty list if the calibration half has too few answers. `answered` holds those answers (pair id ->
    accepted as it is); `rows` are the rows that may be accepted.
    """
    usable = {id_: good for id_, good in answered.items() if id_ in features}
    same = [trial for trial in earlier if not changed_parts(trial.parts, parts) and trial.precision == precision]
    if len(usable) < (_RETRIAL_FACTOR * same[-1].calibrator.rows if same else LEAST):
        return same
    calibrator = calibrate(features, usable)
    p = calibrator.probabilities({id_: features[id_] for id_ in rows if id_ in features})
    number = max((trial.number for trial in earlier), default=0) + 1
    return [*same, Trial(number, precision, dict(parts), calibrator, thresholds_of(list(p.values()), precision))]


def thresholds_of(probabilities: Sequence[float], precision: float) -> tuple[float, ...]:
    """The thresholds of the sets, strictest first.

    The strictest set has 30 % of the rows. If their mean P(good) is below `precision`, it is instead the largest set
    whose mean is at least halfway between `precision` and 1, and at least 10 % of the rows.
    """
    ordered = sorted(probabilities, reverse=True)
    if not ordered:
        return ()
    size = len(ordered)
    start, summed, safe = math.ceil(_START * size), 0.0, 0
    for count, p in enumerate(ordered[:start], 1):
        summed += p
        if summed / count >= 1 - (1 - precision) / 2:
            safe = count
    if summed / start < precision:
        start = max(safe, math.ceil(_LEAST_START * size))
    steps = max(1, round(SETS * (1 - start / size)))
    sizes = [round(start + (size - start) * step / steps) for step in range(steps + 1)]
    return tuple(sorted({ordered[count - 1] for count in sizes}, reverse=True))


class RowSet(NamedTuple):
    """The rows whose P(good) is at least `threshold`: how many there are, are labelled, and are labelled bad."""

    threshold: float
    size: int
    seen: int
    bad: int


@dataclass(frozen=True)
class Certificate:
    """The result of a look at the answers.

    `rows` are accepted (empty: no certificate), out of `considered` that could have been. `sets` are strictest first;
    `passed` of them passed before the first that failed. `labels` of `labels_possible` rows of the estimation half have
    enough answers, `disputed` of them without a decision, and `calibrated_on` rows of the calibration half. `why` says
    why there is no certificate, `more` what would change that. `rejected_since`: rows of the estimation half that
    reviewers rejected and that a gate rejects now, although it had passed them when they were drawn.
    """

    precision: float
    confidence: float
    rows: tuple[str, ...]
    considered: int
    labels: int
    labels_possible: int
    calibrated_on: int
    sets: tuple[RowSet, ...] = ()
    passed: int = 0
    share: GoodShare | None = None
    trial: int = 0
    why: str = ""
    more: str = ""
    disputed: int = 0
    rejected_since: int = 0


def certify(
    trial: Trial,
    probabilities: Mapping[str, float],
    labels: Mapping[str, bool],
    possible: int,
    confidence: float,
    disputed: Collection[str] = (),
) -> Certificate:
    """Test the sets of a trial.

    `probabilities` holds P(good) of all rows that may be accepted; `labels` holds the answers to a random sample of
    them, out of `possible` rows that could be sampled, without those `disputed`.
    """
    share = _share(labels, disputed, probabilities, confidence)
    at_best, labels = ({**labels, **dict.fromkeys(disputed, good)} for good in (True, False))
    error = trial.error(confidence)
    sets, best_sets = (sets_above(trial.thresholds, probabilities, known) for known in (labels, at_best))
    passed, best_passed = (_passed(of, trial.precision, error) for of in (sets, best_sets))
    threshold = sets[passed - 1].threshold if passed else None
    rows = () if threshold is None else tuple(sorted(id_ for id_, p in probabilities.items() if p >= threshold))
    left = possible - len(labels)
    if passed:
        why, more = "", _more_rows(sets, passed, trial.precision, error, len(labels), left)
    else:
        first = sets[0].size / len(probabilities) if sets else 1.0
        unsettled = sum(probabilities[id_] >= sets[0].threshold for id_ in disputed) if sets else 0
        why, more = _why_none(sets, trial.precision, error, first, left, unsettled)
        if disputed:
            hint = _why_none(best_sets, trial.precision, error, first, left)[1]
            more = f"Even if all of these are good, {hint[:1].lower()}{hint[1:]}"
    if best_passed > passed:
        more = f"{'if' if passed else 'If'} all of these are good, {best_sets[best_passed - 1].size:,} are accepted"
    return Certificate(
        precision=trial.precision,
        confidence=confidence,
        rows=rows,
        considered=len(probabilities),
        labels=len(labels),
        labels_possible=possible,
        calibrated_on=trial.calibrator.rows,
        sets=tuple(sets),
        passed=passed,
        share=share,
        trial=trial.number,
        why=why,
        more=more,
        disputed=len(disputed),
    )


def _share(
    labels: Mapping[str, bool], disputed: Collection[str], probabilities: Mapping[str, float], confidence: float
) -> GoodShare | None:
    """The share of good rows, with an interval that holds however the disputed rows are decided."""

    def of(known: Mapping[str, bool]) -> GoodShare | None:
        ids = sorted(known)
        others = [p for id_, p in probabilities.items() if id_ not in known]
        return good_share([known[id_] for id_ in ids], [probabilities[id_] for id_ in ids], others, confidence)

    decided = of(labels)
    worst, best = (of({**labels, **dict.fromkeys(disputed, good)}) for good in (False, True))
    if not (decided and worst and best):
        return decided
    return decided.within(min(decided.low, worst.low), max(decided.high, best.high))


def sets_above(
    thresholds: Sequence[float], probabilities: Mapping[str, float], labels: Mapping[str, bool]
) -> list[RowSet]:
    """Count the rows and labels above each threshold."""
    everything = np.sort(np.fromiter(probabilities.values(), float))
    seen = np.sort(np.array([probabilities[id_] for id_ in labels]))
    bad = np.sort(np.array([probabilities[id_] for id_, good in labels.items() if not good]))
    above = (
        [len(own) - np.searchsorted(own, threshold) for own in (everything, seen, bad)] for threshold in thresholds
    )
    return [RowSet(t, *map(int, counts)) for t, counts in zip(thresholds, above, strict=True)]


def _passed(sets: Sequence[RowSet], precision: float, error: float) -> int:
    """The number of sets that pass before the first that fails."""
    for number, of in enumerate(sets):
        if evidence(of.size, of.seen, of.bad, precision) < 1 / error:
            return number
    return len(sets)


def _with_more(of: RowSet, labels: int, more: int) -> RowSet:
    """The set after `more` labels, assuming that its shares of labelled and bad rows stay the same."""
    seen = min(of.size, round(of.seen * (labels + more) / labels))
    return of._replace(seen=seen, bad=min(seen, math.ceil(of.bad * seen / of.seen - 1e-9)) if of.seen else 0)


def _more_rows(sets: Sequence[RowSet], passed: int, precision: float, error: float, labels: int, left: int) -> str:
    """What more labels would do for an existing certificate."""
    if passed == len(sets):
        return ""
    for more in (more for more in _MORE_LABELS if more <= left):
        then = _passed([_with_more(of, labels, more) for of in sets], precision, error)
        if then > passed:
            return (
                f"{more:,} more labels would accept about {sets[then - 1].size:,}, if they turn out like those so far"
            )
    return "more labels would hardly accept more rows" if left else "no row of the estimation half is left to label"


def _why_none(
    sets: Sequence[RowSet], precision: float, error: float, share: float, left: int, unsettled: int = 0
) -> tuple[str, str]:
    """Why the first set failed, and what would change that. It holds `share` of the rows; `left` rows can still be sent
    to reviewers. `unsettled` of its bad rows only count as bad, because their answers settle nothing."""
    if not sets:
        return "the programs accept no row", "Improve the gates, the prompt or the style."
    first, threshold = sets[0], 1 / error
    are, only = ("is", "are"), ""
    if unsettled:
        are, only = ("counts as", "count as"), f" ({unsettled:,} only because the answers settle nothing)"
    of = f"of the {first.size:,} rows with the highest P(good)"
    needed = next((n for n in range(1, first.size + 1) if evidence(first.size, n, 0, precision) >= threshold), None)
    too_bad = first.bad > (1 - precision) * first.seen
    hopeless = f"More labels would not help at this share: {_BETTER}"
    if needed and first.seen < needed:
        bad = f", and {first.bad:,} of them {are[first.bad != 1]} bad{only}" if first.bad else ""
        why = f"{of} only {first.seen:,} are labelled{bad}; {needed:,} are needed, if all of them are good"
        return why, hopeless if too_bad else _more_labels_hint(math.ceil((needed - first.seen) / share), left)
    why = f"{of} {first.bad:,} of {first.seen:,} labelled ones {are[first.bad != 1]} bad{only}"
    if too_bad:
        return f"{why}, more than {percent(1 - precision)}", hopeless
    for more in _MORE_LABELS:
        seen = min(first.size, first.seen + round(more * share))
        if evidence(first.size, seen, math.ceil(first.bad * seen / first.seen - 1e-9), precision) >= threshold:
            return f"{why}, which may be chance", _more_labels_hint(more, left)
    return f"{why}, which is too close to {percent(1 - precision)} to tell", f"More labels would hardly help: {_BETTER}"


def _more_labels_hint(more: int, left: int) -> str:
    if more <= left:
        return f"About {more:,} more labels would decide it at this share (`pairsmith review push --more` draws rows)."
    rest = f"only {left:,} rows are" if left else "no row of the estimation half is"
    return f"About {more:,} more labels are needed, but {rest} left to review: generate more."


def too_few_to_calibrate(answered: int, precision: float, confidence: float, considered: int, left: int) -> Certificate:
    """No certificate, because too few answers exist to fit P(good). `left` rows of the calibration half can still be
    sent to reviewers."""
    there = "there is 1" if answered == 1 else f"there are {answered:,}"
    why = f"estimating P(good) needs {LEAST} answers in the calibration half, and {there}"
    more = f"Rows of that half left to review: {left:,}. Generate more."
    if answered + left >= LEAST:
        draws = "`pairsmith review push --more` draws rows; see [review.shares] calibration"
        more = f"{LEAST - answered:,} more are needed ({draws})."
    return Certificate(precision, confidence, (), considered, 0, 0, answered, why=why, more=more)


def none_to_calibrate(
    answered: int, precision: float, confidence: float, considered: int, *, half_proves: bool
) -> Certificate:
    """No certificate, because there is no calibration half: an estimate needs the whole pool, or needed it when its
    rows were drawn although `half_proves` enough now."""
    why = "all rows are drawn for the human gate, and none is left to estimate P(good)"
    more = "Half of them could not prove what review.accept_at_least asks for"
    if half_proves:
        more = (
            "Rows of both halves were drawn before: for a higher review.accept_at_least, from fewer rows, or by an "
            "earlier version. They cannot be used for calibration"
        )
    more += "; the gate shows what people accept."
    return Certificate(precision, confidence, (), considered, 0, 0, answered, why=why, more=more)


def in_words(certificate: Certificate, waiting: int, rejected: int, decided: int = 0) -> str:
    """The certificate in one line. `waiting` rows are for reviewers, who have already decided `decided` of them;
    `rejected` rows are out."""
    c, disputes, gated = certificate, "", ""
    if c.disputed:
        rows = counted(
            c.disputed, "row whose answers settle nothing: it counts", "rows whose answers settle nothing: they count"
        )
        disputes = f"first settle {rows} as bad until an adjudicator decides (`pairsmith review push` queues"
        disputes += " disagreements)"
    if not c.rows:
        return " ".join(
            f"{part.rstrip('.')}." for part in (f"no certificate: {c.why}", capital(disputes), c.more) if part
        )
    if c.rejected_since:
        rows = counted(c.rejected_since, "row that reviewers rejected is", "rows that reviewers rejected are")
        gated = f"{rows} rejected by gates since: if these were written for them, review another batch before you rely"
        gated += " on this (`pairsmith docs review-method`)"
    more = "".join(f"; {part}" for part in (disputes, gated, c.more) if part)
    by_people = f"; {decided:,} decided by people" if decided else ""
    return (
        f"auto-accept {len(c.rows):,} rows at >= {percent(c.precision)} precision ({percent(c.confidence)} confidence, "
        f"{c.labels:,} labels); {waiting - decided:,} to review{by_people}; {rejected:,} rejected{more}"
    )
