"""Certify: which rows need no person, and how good they are at least."""

from __future__ import annotations

from dataclasses import asdict, replace

import orjson

from curate.asked import Asked
from curate.certificate import in_words
from curate.certifying import Look, look, parts_now
from curate.outcome import judged
from curate.pool import Pool
from curate.review.population import read_population
from curate.split import seed_split
from pairsmith import teachers
from pairsmith.outcome import CertifyOutcome
from pairsmith.receipt import recording
from pairsmith.stages.curate import with_asked
from pairsmith.stages.table import NO_AUDIENCE, Audience, Numeric, Option, Stage
from schemas.errors import NoWork
from schemas.files import replaced
from schemas.project import CERTIFICATE, Project
from schemas.records import Artifact, Counts, Json, content_id
from schemas.store import Store
from schemas.wording import percent


def certify(
    project: Project,
    store: Store,
    audience: Audience = NO_AUDIENCE,
    *,
    precision: float = 0.9,
    confidence: float = 0.9,
) -> CertifyOutcome:
    """Look at people's answers, and name the rows of which at least the share `precision` are good, with `confidence`.

    A certificate goes into `certificate.json` and into the store; a look without one removes the file of an earlier
    one. Raises NoWork before the first answer.
    """
    with recording(project, store, "certify", CertifyOutcome(review_count=store.review_count())) as record:
        fingerprints = teachers.fingerprints_of(project, audience.say)
        if not store.review_count():
            fix = "Rows wait in Argilla: `pairsmith review pull` brings what people have answered there."
            fix = fix if store.sampled() else "`pairsmith review push` sends rows to people."
            raise NoWork("nobody has answered a row yet.", fix=fix)

        async def work(asked: Asked) -> Pool:
            pool = Pool.read(store, fingerprints, people=False, forward_n=project.spec.generate.forward.n)
            if not len(pool):
                raise NoWork("there is no row to certify.", fix="Run `pairsmith generate` and `pairsmith curate`.")
            unselected, progress = _before_selection(project), audience.progress
            return (await judged(unselected, pool, store.seeds(), store, asked=asked, progress=progress))[0]

        pool = with_asked(project, store, audience.say, record, work)
        parts = parts_now(project, store, fingerprints, pool.steps)
        population = read_population(project, store, fingerprints)
        looked = look(project, store, pool, population, parts, precision=precision, confidence=confidence)
        counts = _counts(pool, len(looked.certificate.rows))
        facts = _facts(looked)
        words = in_words(looked.certificate, counts.waiting, counts.rejected, _decided(pool, looked))
        record.add(counts=counts, words=words, certificate=facts, parts=parts)
        record.add(artifact_id=_kept(project, store, looked, words, facts, parts))
    return record.outcome


def _before_selection(project: Project) -> Project:
    """The project without what a certificate itself, or a choice among good rows, keeps out."""
    curate = project.spec.curate
    select = curate.select.model_copy(update={"certified": False, "rows": None})
    spec = project.spec.model_copy(update={"curate": curate.model_copy(update={"select": select})})
    return replace(project, spec=spec)


def _counts(pool: Pool, accepted: int) -> Counts:
    counts = pool.counts
    waiting = counts.waiting + counts.accepted - accepted
    return counts.model_copy(update={"accepted": accepted, "waiting": waiting})


def _decided(pool: Pool, looked: Look) -> int:
    """The rows beside the certified ones that nobody has to look at any more: people have decided."""
    others = set(looked.decided) - set(looked.certificate.rows)
    return sum(row.keep is not False for row in pool.rows(others, verdicts=False))


def _facts(looked: Look) -> Json:
    """The certificate without its rows, and how P(good) was computed."""
    facts = asdict(looked.certificate)
    facts["rows"] = len(looked.certificate.rows)
    facts["sets"] = [of._asdict() for of in looked.certificate.sets]
    facts["share"] = looked.certificate.share and looked.certificate.share._asdict()
    facts["calibrator"] = looked.trial and looked.trial.calibrator.as_json()
    facts["reliability"] = [of._asdict() for of in looked.reliability]
    return facts


def _kept(project: Project, store: Store, looked: Look, words: str, facts: Json, parts: dict[str, str]) -> str:
    """Keep the certificate with the names of its rows; the id of it, or nothing."""
    path, rows = project.folder / CERTIFICATE, looked.certificate.rows
    if not rows:
        path.unlink(missing_ok=True)
        return ""
    artifact_id = content_id("artifact", ["certificate", facts, parts, rows])
    splits = {seed.id: seed_split(seed, project.spec.split) for seed in store.seeds()}
    members = tuple((pair.id, splits[pair.seed_id]) for pair in store.pairs(rows))
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


def share_in_words(certificate: Json) -> str:
    """The estimated share of good rows, where there are labels enough."""
    share = certificate.get("share")
    if not share:
        return ""
    of = f"of the {share['rows']:,} rows that the programs accept are good"
    worth = f"{share['labels']:,} labels and P(good) say as much as {share['effective']:,.0f} labels alone"
    interval = f"{share['low']:.1%} to {share['high']:.1%} with {percent(share['confidence'])} confidence"
    return f"{share['value']:.1%} ({interval}) {of}; {worth}"


_SHARE = Numeric(0.9, 0.5, 1.0)
STAGE = Stage[CertifyOutcome](
    "certify",
    certify,
    """Name the rows that need no person, and say how good they are at least, from people's answers.

    It may be run after every batch of answers: the promise holds at all looks together. "No certificate" is an answer
    too, with what would change it. Only a judge, if the spec has one, asks anybody.
    """,
    summary=summary,
    options=(
        Option("--precision", _SHARE, "The share of good rows to promise."),
        Option("--confidence", _SHARE, "How sure the promise is."),
    ),
    asks=True,
)
