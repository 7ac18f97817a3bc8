"""From the answers in a project's store to a certificate (see `curate.certificate.certificate`)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from curate.arrays.slots import skim_candidates_of
from curate.certificate.calibration import Features, features_of
from curate.certificate.certificate import (
    Certificate,
    Trial,
    certify,
    changed_parts,
    none_to_calibrate,
    parts_of,
    too_few_to_calibrate,
    trials_for,
)
from curate.pool import Pool
from curate.review.acceptance import Drawn, estimation_sample, needs_whole_pool
from curate.review.decision import complete_decisions, labels_of
from curate.review.population import Population
from curate.review.sampling import ESTIMATION, in_estimation_half, sampled_ids
from curate.rows import StepId
from curate.steps import NO_CERTIFICATE, CertificateOf
from schemas.project import CERTIFICATE, Project
from schemas.records import content_id
from schemas.reviews import SamplingReason
from schemas.store import Store

_BINS = 10
_DRAWN_IF_PASSED: Sequence[SamplingReason] = ("certify", "audit_accepted")  # from rows that had passed the gates


class CalibrationBin(NamedTuple):
    """The labelled rows with P(good) between `low` and `high`: their number, mean P(good), and how many are good."""

    low: float
    high: float
    rows: int
    predicted: float
    good: int


class Look(NamedTuple):
    """The result of a look at the answers so far.

    `trial` is None if there was nothing to calibrate with. `probabilities` holds P(good) of every comparable row,
    `reliability` how well it fits the labels of the estimation half, and `decided` the rows that reviewers decided.
    """

    certificate: Certificate
    trial: Trial | None = None
    probabilities: Mapping[str, float] = {}
    reliability: Sequence[CalibrationBin] = ()
    decided: Collection[str] = ()


def generation_of(store: Store, fingerprints: Sequence[str], forward_n: int) -> str:
    """Hash every slot of the present spec with the pair that generation put there, independent of order."""
    total = 0
    for slot in skim_candidates_of(store, fingerprints, forward_n):
        named = "/".join(str(slot.get(name)) for name in ("fingerprint", "seed_id", "generator", "sample", "pair_id"))
        total += int.from_bytes(hashlib.blake2b(named.encode(), digest_size=16).digest())
    return f"{total % 2**128:032x}"


def current_parts(
    project: Project, store: Store, fingerprints: Sequence[str], steps: Sequence[StepId]
) -> dict[str, str]:
    """The hashes that a certificate of the present spec is bound to."""
    return parts_of(generation_of(store, fingerprints, project.spec.generate.forward.n), steps)


def certified_rows(store: Store, parts: Mapping[str, str]) -> tuple[frozenset[str], str]:
    """The rows of the last certificate and its id, if it is bound to `parts`; else no rows and "none"."""
    looks = [receipt for receipt in store.receipts("certify") if receipt.ok]
    certificate_id = looks[-1].facts.get("made") if looks else None
    for artifact in store.artifacts("certificate", ids=[str(certificate_id)]):
        if not changed_parts(artifact.facts["bound_to"], parts):
            return frozenset(id_ for id_, _ in artifact.members), artifact.id
    return frozenset(), "none"


def present_certificate(project: Project, store: Store, fingerprints: Sequence[str]) -> CertificateOf:
    """A function that looks up the certified rows once the steps before selection are known.

    It returns no rows if the certificate's file is gone, e.g. after the erasure of answers that it was based on.
    """

    def of(steps: Sequence[StepId]) -> tuple[Collection[str], str]:
        if not (project.folder / CERTIFICATE).is_file():
            return NO_CERTIFICATE
        return certified_rows(store, current_parts(project, store, fingerprints, steps))

    return of


def trials(store: Store) -> list[Trial]:
    """All trials of the project so far."""
    return [Trial.read(artifact) for artifact in store.artifacts("calibration")]


def look(
    project: Project,
    store: Store,
    pool: Pool,
    population: Population,
    parts: dict[str, str],
    *,
    precision: float,
    confidence: float,
) -> Look:
    """Evaluate the answers so far.

    `pool` must be judged by the present steps without reviews. A new trial is stored before any answer of the
    estimation half is used.

    Rows whose output equals that of an exemplar are left out: a copy of it is known to be good, and the teacher and the
    scorer have seen it.
    """
    exemplars = {exemplar.output.strip() for exemplar in project.spec.exemplars}
    accepted = (row.pair for row in pool.accepted(verdicts=False) if row.pair)
    rows = {pair.id for pair in accepted if pair.output.strip() not in exemplars}
    parts = {**parts, "rows": content_id("rows", sorted(rows))}
    features = features_of(pool)
    sampled = {id_: draws for id_, draws in store.sampled().items() if id_ in population.rows}
    answers = population.pairs(sampled), store.reviews(sampled), project.spec.review.annotators_per_row
    labels, disputed = labels_of(complete_decisions(*answers))
    drawn = sampled_ids(record for draws in sampled.values() for record in draws)
    review, drawn_from = project.spec.review, list(population.rows.values())
    seed = review.seed
    question = seed, review.accept_at_least, review.confidence
    is_whole_pool = needs_whole_pool(drawn_from, drawn, *question)
    chosen, possible = estimation_sample(Drawn(drawn_from, drawn, seed, is_whole_pool), rows)
    for_estimates = {id_ for reason in ESTIMATION for id_ in drawn.get(reason, ())}
    to_calibrate = {
        id_: good for id_, good in labels.items() if id_ not in for_estimates and not in_estimation_half(seed, id_)
    }
    known = trials(store)
    tried = trials_for(known, precision, parts, features, to_calibrate, rows)
    if not tried:
        half = [id_ for id_ in features if id_ not in for_estimates and not in_estimation_half(seed, id_)]
        answered = sum(id_ in to_calibrate for id_ in half)
        asked = answered, precision, confidence, len(rows)
        if is_whole_pool:
            half_proves = not needs_whole_pool(drawn_from, {}, *question)
            return Look(none_to_calibrate(*asked, half_proves=half_proves))
        return Look(too_few_to_calibrate(*asked, left=len(half) - answered))
    if tried[-1] not in known:
        store.write(tried[-1].as_artifact())
    of_chosen = {id_: labels[id_] for id_ in chosen if id_ in labels}
    looked = most_accepting_look(tried, features, rows, of_chosen, len(possible), confidence, chosen & disputed)
    had_passed = {id_ for reason in _DRAWN_IF_PASSED for id_ in drawn.get(reason, ())}
    gated = sum(population.rows[id_].passed is False and labels.get(id_) is False for id_ in had_passed)
    return looked._replace(certificate=replace(looked.certificate, rejected_since=gated), decided=labels.keys())


def most_accepting_look(
    tried: Sequence[Trial],
    features: Features,
    rows: Collection[str],
    labels: Mapping[str, bool],
    possible: int,
    confidence: float,
    disputed: Collection[str] = (),
) -> Look:
    """Of several trials of the same rows, the one that accepts most; the latest where none accepts any."""
    looks = []
    for trial in tried:
        p = trial.calibrator.probabilities(features)
        certificate = certify(trial, {id_: p[id_] for id_ in rows}, labels, possible, confidence, disputed)
        looks.append(Look(certificate, trial, p, reliability(p, labels)))
    return max(reversed(looks), key=lambda look: len(look.certificate.rows))


def reliability(probabilities: Mapping[str, float], labels: Mapping[str, bool]) -> list[CalibrationBin]:
    """The labelled rows binned by P(good) in tenths; empty bins are left out."""
    tenths: dict[int, list[str]] = {}
    for id_ in labels:
        tenths.setdefault(min(int(probabilities[id_] * _BINS), _BINS - 1), []).append(id_)
    return [
        CalibrationBin(
            tenth / _BINS,
            (tenth + 1) / _BINS,
            len(ids),
            sum(probabilities[id_] for id_ in ids) / len(ids),
            sum(labels[id_] for id_ in ids),
        )
        for tenth, ids in sorted(tenths.items())
    ]
