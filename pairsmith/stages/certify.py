"""Certify: which rows need no review, and how good they are at least."""

from __future__ import annotations

from dataclasses import asdict, replace

import orjson

from curate.certificate.certificate import in_words
from curate.certificate.certifying import Look, current_parts, look
from curate.outcome import judged
from curate.pool import Pool
from curate.review.population import read_population
from curate.scorers.remote import RemoteScorers
from curate.split import seed_split
from pairsmith.certified import share_in_words
from pairsmith.receipts.outcome import CertifyOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.curate import run_with_judges
from pairsmith.stages.table import NO_AUDIENCE, Audience, Numeric, Option, Stage
from pairsmith.teachers import teachers
from schemas.errors import NoWork
from schemas.files import replaced
from schemas.project import CERTIFICATE, Project
from schemas.records import Artifact, Counts, Json, content_id
from schemas.store import Store


def certify(
    project: Project, store: Store, audience: Audience = NO_AUDIENCE, *, precision: float = 0.9, confidence: float = 0.9
) -> CertifyOutcome:
    """From the reviews, find rows of which at least the share `precision` is good, with `confidence`.

    A certificate is written to `certificate.json` and to the store. If none can be issued, the file of an earlier one
    is removed. Raises NoWork before the first review.
    """
    with recording(project, store, "certify", CertifyOutcome(review_count=store.review_count())) as record:
        fingerprints = teachers.fingerprints_of(project, audience.say)
        if not store.review_count():
            fix = "Rows are waiting in Argilla: `pairsmith review pull` fetches the reviews made there."
            fix = fix if store.sampled() else "`pairsmith review push` sends rows to reviewers."
            raise NoWork("no row has been reviewed yet.", fix=fix)

        async def work(remote_scorers: RemoteScorers) -> Pool:
            forward_n, progress = project.spec.generate.forward.n, audience.progress
            pool = Pool.read(store, fingerprints, people=False, forward_n=forward_n, progress=progress)
            if not len(pool):
                raise NoWork("there are no rows to certify.", fix="Run `pairsmith generate` and `pairsmith curate`.")
            unselected = _before_selection(project)
            return (
                await judged(
                    unselected, pool, store.active_seeds(), store, remote_scorers=remote_scorers, progress=progress
                )
            )[0]

        pool = run_with_judges(project, store, audience.say, record, work)
        parts = current_parts(project, store, fingerprints, pool.steps)
        population = read_population(project, store, fingerprints, progress=audience.progress)
        audience.progress("certify", {"message": "calibrating"})
        looked = look(project, store, pool, population, parts, precision=precision, confidence=confidence)
        counts = _counts(pool, len(looked.certificate.rows))
        facts = _facts(looked)
        words = in_words(looked.certificate, counts.waiting, counts.rejected, _decided(pool, looked))
        if not looked.certificate.rows and (project.folder / CERTIFICATE).is_file():
            words += " The earlier certificate is withdrawn."
        record.add(counts=counts, words=words, certificate=facts, parts=parts)
        audience.progress("certify", {"message": "storing the result"})
        record.add(artifact_id=_store_certificate(project, store, pool, looked, words, facts, parts))
    return record.outcome


def _before_selection(project: Project) -> Project:
    """The project without the settings that exclude rows because of a certificate or a choice among good rows."""
    curate = project.spec.curate
    select = curate.select.model_copy(update={"certified": False, "rows": None})
    spec = project.spec.model_copy(update={"curate": curate.model_copy(update={"select": select})})
    return replace(project, spec=spec)


def _counts(pool: Pool, accepted: int) -> Counts:
    counts = pool.counts
    waiting = counts.waiting + counts.accepted - accepted
    return counts.model_copy(update={"accepted": accepted, "waiting": waiting})


def _decided(pool: Pool, looked: Look) -> int:
    """The number of rows outside the certificate that need no further review because they have been decided."""
    others = set(looked.decided) - set(looked.certificate.rows)
    return sum(row.keep is not False for row in pool.rows(others, verdicts=False))


def _facts(looked: Look) -> Json:
    """The certificate without its rows, and how P(good) was computed."""
    facts = asdict(looked.certificate)
    facts["rows"] = len(looked.certificate.rows)
    facts["sets"] = [part._asdict() for part in looked.certificate.sets]
    facts["share"] = looked.certificate.share and looked.certificate.share._asdict()
    facts["calibrator"] = looked.trial and asdict(looked.trial.calibrator)
    facts["reliability"] = [part._asdict() for part in looked.reliability]
    return facts


def _store_certificate(
    project: Project, store: Store, pool: Pool, looked: Look, words: str, facts: Json, parts: dict[str, str]
) -> str:
    """Store the certificate with the ids of its rows. Returns its id, or an empty string if there is no certificate."""
    path, rows = project.folder / CERTIFICATE, looked.certificate.rows
    if not rows:
        path.unlink(missing_ok=True)
        return ""
    artifact_id = content_id("artifact", ["certificate", facts, parts, rows])
    splits = {seed.id: seed_split(seed, project.spec.split) for seed in store.active_seeds()}
    seeds = {row.pair_id: row.seed_id for row in pool.survivors()}
    members = tuple((id_, splits[seeds[id_]]) for id_ in rows)
    with replaced(path) as partial:
        certificate = {"id": artifact_id, "words": words, "bound_to": parts, **facts, "rows": list(rows)}
        partial.write_bytes(orjson.dumps(certificate, option=orjson.OPT_INDENT_2))
    store.write(
        Artifact(
            id=artifact_id,
            kind="certificate",
            path=CERTIFICATE,
            members=members,
            facts={**facts, "words": words, "bound_to": parts},
        )
    )
    return artifact_id


def summary(outcome: CertifyOutcome) -> list[tuple[str, str]]:
    """What was certified, and how many rows are good."""
    share = share_in_words(outcome.certificate)
    return [("certified" if outcome.artifact_id else "", outcome.words), *([("good", share)] if share else [])]


_SHARE = Numeric(0.9, 0.5, 1.0)
STAGE = Stage[CertifyOutcome](
    "certify",
    certify,
    """Find the rows that need no review, with a guaranteed precision, based on the reviews so far.

    Run it after every batch of reviews if you like: the guarantee accounts for repeated runs. If no certificate is
    possible, it says what would change that. No teacher is asked, except a judge if the spec has one.
    """,
    summary=summary,
    options=(
        Option("--precision", _SHARE, "The share of good rows to guarantee."),
        Option("--confidence", _SHARE, "The confidence of the guarantee."),
    ),
    asks=True,
)
