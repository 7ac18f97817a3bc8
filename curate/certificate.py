"""The certificate: which rows are accepted without anybody looking at them, and how many of them are good at least.

Learn-then-Test (Angelopoulos et al. 2021, arXiv:2110.01052) with a fixed sequence: sets of rows, each holding the one
before it, from those with the highest P(good) on; the first whose labels do not speak clearly enough ends it, and the
last that passed is accepted. Rows in it that are bad are a share of at most 1 - precision with the confidence that was
asked for, at every look, because the evidence is that of `curate.evidence.evidence`.

Sets and P(good) are fixed by answers of the calibration half alone (`Trial`) before an answer of the estimation half is
looked at. Each trial of a project, after a change of what shapes the rows, of the precision asked for, or with four
times as many answers to calibrate with, may err with less than the one before it, so that all of them together err with
a probability of at most 1 - confidence. So of the trials of the same rows the one that accepts most may be taken.

Not covered: people who err (a label is what they decided), and rows that nobody answers are taken to be like those that
somebody did.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from curate.calibration import LEAST, Calibrator, Features, calibrate
from curate.evidence import GoodShare, evidence, good_share
from curate.rows import StepId
from schemas.records import Artifact, content_id
from schemas.wording import percent

SETS = 20
"""About how many sets are tested. More would end the sequence by chance more often, fewer would lose rows."""
_AGAIN = 4  # times as many answers are worth another trial
_START, _LEAST_START = 0.3, 0.1  # of the rows: the strictest set
_AHEAD = (*range(10, 100, 10), *range(100, 400, 20), *range(400, 2_001, 100))  # more labels that are thought of
_BETTER = "correct the prompt or the gates, take a scorer that ranks better, or ask for a lower --precision."
# The steps that a certificate is about, by what their names begin with, in the words that a person reads.
_PARTS = {
    "gate/": "gates",
    "pool/contamination": "contamination",
    "judge/": "judge",
    "score/": "scorer",
    "pool/best": "selection",
    "pool/duplicate": "duplicates",
    "pool/semantic": "duplicates",
    "nli/": "flags",  # what a gate flags is of "gates"
    "pool/unlikely_label": "flags",
}


def parts_of(generation: str, steps: Iterable[StepId]) -> dict[str, str]:
    """What the rows and their scores hang on, each named by a hash: any change of it is another pool."""
    settings: dict[str, list[list[str]]] = {name: [] for name in _PARTS.values()}
    for step in steps:
        for begins, name in _PARTS.items():
            if step.by.startswith(begins):
                settings[name].append([step.by, step.settings])
    return {"generation": generation, **{name: content_id("part", own) for name, own in settings.items()}}


def changed_parts(known: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the parts that are others now; one that an earlier version did not know is taken to be as it was."""
    return [name for name, part in now.items() if known.get(name, part) != part]


@dataclass(frozen=True)
class Trial:
    """The sets that are tested, fixed before an answer of the estimation half is looked at: rows whose P(good) is at
    least a threshold, strict ones first. `number` counts the trials of the project, from 1."""

    number: int
    precision: float
    parts: dict[str, str]
    calibrator: Calibrator
    thresholds: tuple[float, ...]

    def as_artifact(self) -> Artifact:
        facts = {**asdict(self), "calibrator": self.calibrator.as_json()}
        return Artifact(id=content_id("artifact", ["calibration", facts]), kind="calibration", path="", facts=facts)

    @classmethod
    def read(cls, artifact: Artifact) -> Trial:
        facts = artifact.facts
        calibrator, thresholds = Calibrator.read(facts["calibrator"]), tuple(facts["thresholds"])
        return cls(**{**facts, "calibrator": calibrator, "thresholds": thresholds})

    def error(self, confidence: float) -> float:
        """How probably this trial may err: those of all trials sum up to 1 - confidence."""
        return (1 - confidence) * 6 / (math.pi * self.number) ** 2


def trials_for(
    earlier: Sequence[Trial],
    precision: float,
    parts: dict[str, str],
    features: Features,
    answered: Mapping[str, bool],
    rows: Iterable[str],
) -> list[Trial]:
    """The trials of these parts and this precision, with a further one at the end where there was none, or there are
    four times as many answers to calibrate with. None where the answers of the calibration half are too few.

    `answered` are these answers (pair id -> accepted as it is), `rows` those that may be accepted.
    """
    usable = {id_: good for id_, good in answered.items() if id_ in features}
    same = [trial for trial in earlier if not changed_parts(trial.parts, parts) and trial.precision == precision]
    if len(usable) < (_AGAIN * same[-1].calibrator.rows if same else LEAST):
        return same
    calibrator = calibrate(features, usable)
    p = calibrator.probabilities({id_: features[id_] for id_ in rows if id_ in features})
    number = max((trial.number for trial in earlier), default=0) + 1
    return [*same, Trial(number, precision, dict(parts), calibrator, thresholds_of(list(p.values()), precision))]


def thresholds_of(probabilities: Sequence[float], precision: float) -> tuple[float, ...]:
    """Where the sets begin, strict ones first. The strictest set is three tenths of the rows; where P(good) says that
    even these are not good enough, as many as it says are, and a tenth at least."""
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
    """Rows whose P(good) is at least `threshold`: how many there are, were labelled, and are bad of those."""

    threshold: float
    size: int
    seen: int
    bad: int


@dataclass(frozen=True)
class Certificate:
    """What came of a look: `rows` are accepted (none: no certificate), of `considered` that might have been. Of `sets`,
    strict ones first, `passed` were good enough before the first that was not. `labels` of `labels_possible` rows of
    the estimation half are answered, and `calibrated_on` of the other half. `why` says why there is none, `more` what
    would change it."""

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


def certify(
    trial: Trial,
    probabilities: Mapping[str, float],
    labels: Mapping[str, bool],
    possible: int,
    confidence: float,
) -> Certificate:
    """Test the sets of a trial. `probabilities` are those of all rows that may be accepted, `labels` the answers to a
    random sample of them (of `possible` ones)."""
    error = trial.error(confidence)
    sets = sets_above(trial.thresholds, probabilities, labels)
    passed = _passed(sets, trial.precision, error)
    threshold = sets[passed - 1].threshold if passed else None
    rows = () if threshold is None else tuple(sorted(id_ for id_, p in probabilities.items() if p >= threshold))
    own = sorted(labels)
    others = [p for id_, p in probabilities.items() if id_ not in labels]
    share = good_share([labels[i] for i in own], [probabilities[i] for i in own], others, confidence)
    left = possible - len(labels)
    if passed:
        why, more = "", _more_rows(sets, passed, trial.precision, error, len(labels), left)
    else:
        first = sets[0].size / len(probabilities) if sets else 1.0
        why, more = _why_none(sets, trial.precision, error, first, left)
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
    )


def sets_above(
    thresholds: Sequence[float], probabilities: Mapping[str, float], labels: Mapping[str, bool]
) -> list[RowSet]:
    """What the labels say of the set above each threshold."""
    everything = np.sort(np.fromiter(probabilities.values(), float))
    seen = np.sort(np.array([probabilities[id_] for id_ in labels]))
    bad = np.sort(np.array([probabilities[id_] for id_, good in labels.items() if not good]))
    above = (
        [len(own) - np.searchsorted(own, threshold) for own in (everything, seen, bad)] for threshold in thresholds
    )
    return [RowSet(t, *map(int, counts)) for t, counts in zip(thresholds, above, strict=True)]


def _passed(sets: Sequence[RowSet], precision: float, error: float) -> int:
    """How many sets pass before the first that does not."""
    for number, of in enumerate(sets):
        if evidence(of.size, of.seen, of.bad, precision) < 1 / error:
            return number
    return len(sets)


def _with_more(of: RowSet, labels: int, more: int) -> RowSet:
    """The set after `more` labels, if the shares of it that are labelled and bad stay."""
    seen = min(of.size, round(of.seen * (labels + more) / labels))
    return of._replace(seen=seen, bad=min(seen, math.ceil(of.bad * seen / of.seen - 1e-9)) if of.seen else 0)


def _more_rows(sets: Sequence[RowSet], passed: int, precision: float, error: float, labels: int, left: int) -> str:
    """What more labels would do for a certificate that is there."""
    if passed == len(sets):
        return ""
    for more in (more for more in _AHEAD if more <= left):
        then = _passed([_with_more(of, labels, more) for of in sets], precision, error)
        if then > passed:
            return f"{more:,} more labels would accept about {sets[then - 1].size:,}, if they come as those so far did"
    return "more labels would hardly accept more rows" if left else "no row is left to ask about"


def _why_none(sets: Sequence[RowSet], precision: float, error: float, share: float, left: int) -> tuple[str, str]:
    """Why the first set failed, and what would change it. `share` of the rows are in it, and `left` rows can still be
    asked about."""
    if not sets:
        return "no row is left that the programs accept", "Correct the gates, the prompt or the style."
    first, speaks = sets[0], 1 / error
    of = f"of the {first.size:,} rows with the highest P(good)"
    needed = next((n for n in range(1, first.size + 1) if evidence(first.size, n, 0, precision) >= speaks), None)
    too_bad = first.bad > (1 - precision) * first.seen
    hopeless = f"More labels change nothing at this share: {_BETTER}"
    if needed and first.seen < needed:
        bad = f", and {first.bad:,} of them {'is' if first.bad == 1 else 'are'} bad" if first.bad else ""
        why = f"{of} only {first.seen:,} are labelled{bad}; it takes {needed:,}, if all of them are good"
        return why, hopeless if too_bad else _labels(math.ceil((needed - first.seen) / share), left)
    why = f"{of} {first.bad:,} of {first.seen:,} labelled ones are bad"
    if too_bad:
        return f"{why}, more than {percent(1 - precision)}", hopeless
    for more in _AHEAD:
        seen = min(first.size, first.seen + round(more * share))
        if evidence(first.size, seen, math.ceil(first.bad * seen / first.seen - 1e-9), precision) >= speaks:
            return f"{why}, which may be chance", _labels(more, left)
    return f"{why}, which is too near {percent(1 - precision)} to tell", f"More labels hardly help: {_BETTER}"


def _labels(more: int, left: int) -> str:
    if more <= left:
        return f"About {more:,} more labels would tell, at this share (`pairsmith review push --more` draws rows)."
    rest = f"only {left:,} rows are" if left else "no row of the estimation half is"
    return f"It takes about {more:,} more labels, and {rest} left to ask about: generate more."


def too_few_to_calibrate(
    answered: int, precision: float, confidence: float, considered: int, left: int | None, half_proves: bool = False
) -> Certificate:
    """No certificate, because there is no P(good); `left` rows of the calibration half can still be asked about (None:
    there is no such half, because an estimate needs the whole pool, or did when its rows were drawn and now
    `half_proves` enough)."""
    why = f"to tell how likely a row is good takes {LEAST} answers of the calibration half, and there "
    why += "is 1" if answered == 1 else f"are {answered:,}"
    more = (
        f"{LEAST - answered:,} more of them (`pairsmith review push --more` draws rows; [review.shares] calibration)."
    )
    if left is None:
        why = "all rows are drawn for the human gate, and none to tell how likely a row is good"
        more = "Half of them could not prove what review.accept_at_least asks for; the gate says what people accept."
        if half_proves:
            more = (
                "Rows of both halves were drawn before: for a higher review.accept_at_least, from fewer rows, or by an"
            )
            more += " earlier version. What an estimate stands on calibrates nothing; the gate says what people accept."
    elif answered + left < LEAST:
        more = f"Rows of it that are left to ask about: {left:,}. Generate more."
    return Certificate(precision, confidence, (), considered, 0, 0, answered, why=why, more=more)


def in_words(certificate: Certificate, waiting: int, rejected: int, decided: int = 0) -> str:
    """The certificate in a line; `waiting` rows are for people, who have `decided` about some of them already, and
    `rejected` ones are out."""
    c = certificate
    if not c.rows:
        return f"no certificate: {c.why}. {c.more}".strip()
    more = f"; {c.more}" if c.more else ""
    by_people = f"; {decided:,} decided by people" if decided else ""
    return (
        f"auto-accept {len(c.rows):,} rows at >= {percent(c.precision)} precision ({percent(c.confidence)} confidence, "
        f"{c.labels:,} labels); {waiting - decided:,} to review{by_people}; {rejected:,} rejected{more}"
    )
