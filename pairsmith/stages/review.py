"""Human review: rows go to Argilla, answers come back, and the loop goes on once people have said enough."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from textwrap import shorten
from typing import Any, NamedTuple

from curate.review.adjudication import push_adjudication
from curate.review.children import OWNER
from curate.review.pool import Pool, read_pool
from curate.review.pull import pull
from curate.review.push import PushResult, push, route
from curate.review.queues import Argilla
from curate.review.server import ArgillaServer, default_home, up
from curate.review.standing import Standing, as_json, standing_of
from pairsmith import plan
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from pairsmith.stages.generate import pool_fingerprints
from schemas.errors import MissingDependency, NoWork, ReviewError, StoreBusy
from schemas.records import Counts, Json
from schemas.spec_file import Project
from schemas.store import Store

_SHOWN = 80  # characters of either side of an example
GO_ON = "`pairsmith run --no-review` goes on without people."


def judged_pool(session: Session, project: Project, store: Store) -> Pool:
    """What curation knows of the candidates of the present spec. Raises NoWork before curation."""
    pool = read_pool(project, store, asyncio.run(pool_fingerprints(session, project, store)))
    if not any(row.passed is not None for row in pool.rows.values()):
        raise NoWork("there is no judged row to review.", fix="Run `pairsmith curate` first.")
    return pool


@contextmanager
def argilla(session: Session, project: Project) -> Iterator[Argilla]:
    """A connection to the spec's Argilla, or to the one of our own, which is started if it does not run."""
    spec = project.spec.review
    if spec.url:
        assert spec.key_env is not None, "the spec refuses a url without it"
        key = os.environ.get(spec.key_env)
        if not key:
            raise ReviewError(
                f"the variable {spec.key_env} with the API key of Argilla is not set.",
                where=spec.url,
                fix=f"Set it: export {spec.key_env}=...",
            )
        url = spec.url
    else:
        server = own_server(
            session,
            database_url=os.environ.get("PAIRSMITH_ARGILLA_DATABASE_URL"),
            redis_url=os.environ.get("PAIRSMITH_ARGILLA_REDIS_URL"),
        )
        url, key = server.url, server.api_key
    with Argilla(url, key, spec.workspace) as connected:
        yield connected


def own_server(session: Session, **options: Any) -> ArgillaServer:
    """The server of this user, with the progress of its start shown. Raises ReviewError and MissingDependency."""
    with session.progress() as progress:
        return up(progress=progress, **options)


class Invited(NamedTuple):
    """Where people sign in, and the password of each."""

    url: str
    passwords: dict[str, str]


def invite(session: Session, project: Project, names: Sequence[str]) -> Invited:
    """Make an annotator of each name in the spec's workspace, with a password made at random that is kept nowhere.

    Raises ReviewError if a user of that name is there already; then nobody was made.
    """
    with argilla(session, project) as connected:
        taken = sorted(set(names) & {user.name for user in connected.users().values()})
        if taken:
            raise ReviewError(
                f"there is a user {', '.join(taken)} already.", where=connected.url, fix="Choose another name."
            )
        return Invited(connected.url, {name: connected.add_annotator(name) for name in names})


def review(session: Session, project: Project, store: Store) -> Draft:
    """The human gate: `facts["waits"]` of the draft says what keeps the loop from going on, and is empty once people
    have said enough and accept enough of it (`curate.review.gate`).

    Where the answers in the store are not enough, those on the server are brought (`facts["brought"]` of them), then
    rows are drawn and pushed.
    """
    with recording(project, store, "review") as draft:
        draft.facts |= plan.inputs_of("review", project, store)
        draft.facts |= {"made": draft.facts["from"], "brought": 0}
        pool = judged_pool(session, project, store)
        if not standing_of(project, store, pool).enough:
            with _or_without(), argilla(session, project) as connected:
                if store.routed():
                    with session.progress() as progress:
                        push(project, store, pool, connected, progress)  # what a killed run had drawn and not sent
                        draft.facts["brought"] = pull(project, store, connected, progress).news
                pushed = send(session, project, store, pool, connected)
                draft.facts |= {"url": connected.url, "queues": list(pushed.queues), "sent": pushed.sent}
        standing = _tell(draft, session, project, store, pool)
        draft.facts["waits"] = "" if standing.enough else waits(standing)
    return draft


@contextmanager
def _or_without() -> Iterator[None]:
    """Whatever keeps review from starting, the loop can go on without it, and the error says how."""
    try:
        yield
    except (ReviewError, MissingDependency) as error:
        fix = " ".join(part for part in (error.fix, GO_ON) if part)
        raise type(error)(error.what, where=error.where, why=error.why, fix=fix) from error


def send(
    session: Session, project: Project, store: Store, pool: Pool, connected: Argilla, *, more: bool = False
) -> PushResult:
    """Draw the next batch if it is time (or `more` is asked), and send what is not on the server yet: what was drawn,
    and what people disagree about."""
    with session.progress() as progress:
        route(project, store, pool, more=more)
        rows = push(project, store, pool, connected, progress)
        settle = push_adjudication(project, store, pool, connected, progress)
    return PushResult(rows.sent + settle.sent, rows.there + settle.there, rows.decided, (*rows.queues, *settle.queues))


def push_rows(session: Session, project: Project, store: Store, *, more: bool) -> Draft:
    """What `review push` does."""
    with recording(project, store, "review-push") as draft:
        pool = judged_pool(session, project, store)
        with argilla(session, project) as connected:
            pushed = send(session, project, store, pool, connected, more=more)
        draft.facts |= {
            "url": connected.url,
            "sent": pushed.sent,
            "there": pushed.there,
            "queues": list(pushed.queues),
        }
        _tell(draft, session, project, store, pool)
    return draft


def pull_answers(session: Session, project: Project, store: Store, connected: Argilla) -> Draft:
    """What `review pull` does once."""
    with recording(project, store, "review-pull") as draft:
        with session.progress() as progress:
            pulled = pull(project, store, connected, progress)
        draft.facts |= {"url": connected.url, **asdict(pulled)}
        _tell(draft, session, project, store)
    return draft


def watch(session: Session, project: Project, connected: Argilla, every_s: float) -> Iterator[Draft]:
    """Look again and again until Ctrl-C, and pull whenever there is something new. In between the store is free for
    other commands; while one of them writes to it, answers wait on the server.
    """
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(every_s)
            with session.store(project, write=False) as store:
                news = pull(project, store, connected, dry=True).news
            if not news:
                continue
            try:
                with session.store(project) as store:
                    draft = pull_answers(session, project, store, connected)
            except StoreBusy as busy:
                session.say(f"{news} answers wait: {busy.what}")
                continue
            yield draft


def _tell(draft: Draft, session: Session, project: Project, store: Store, pool: Pool | None = None) -> Standing:
    """Fill in where review stands. A row of it is one routed row of the present pool; gold is counted apart."""
    standing = standing_of(project, store, pool or judged_pool(session, project, store))
    draft.counts = Counts(
        rows_in=standing.routed,
        accepted=standing.accepted + standing.edited,
        rejected=standing.rejected,
        waiting=standing.waiting,
    )
    reasons = {
        "review": standing.rejected,
        "undecided": standing.undecided,
        "incomplete": standing.incomplete,
        "unanswered": standing.open,
    }
    draft.reasons = {reason: number for reason, number in reasons.items() if number}
    draft.facts["review"] = as_json(standing)
    return standing


def waits(standing: Standing) -> str:
    """What keeps the loop from going on, in a line."""
    gate, share = standing.gate, standing.shares.accepted
    if gate.state == "rejected" and share:
        return f"people reject this set: they accept {share} of what would be trained on, not {gate.at_least:.0%}"
    if gate.state == "exhausted":
        of = f"people accept {share} of what would be trained on" if share else "too few of them are decided"
        return f"every row that can be drawn was asked about, and {of}, so whether {gate.at_least:.0%} are is open"
    missing = f"about {gate.missing:,} more labels are missing" if gate.missing else ""
    if standing.waiting:
        settle = f", {standing.undecided} of them to settle" if standing.undecided else ""
        others = f", {standing.incomplete} of them for another annotator" if standing.incomplete else ""
        return "; ".join(filter(None, [f"{standing.waiting} rows wait for people{settle}{others}", missing]))
    return missing or "people have said too little for the interval that the spec asks"


def summary(draft: Draft) -> list[tuple[str, str]]:
    """What there is to say beside the counts: what people accept, and what more answers would buy."""
    told = draft.facts["review"]
    lines = []
    for name, key, of in (
        ("people", "accept_share", "of what passed the gates is accepted as it is"),
        ("to train", "trained_share", "of what the programs accept is accepted as it is"),
        ("missed", "missed_share", "of what the programs rejected is accepted by people"),
    ):
        if (share := told.get(key)) and (key == "accept_share" or share != told["accept_share"]):
            spread = f"{share['low']:.1%} to {share['high']:.1%}"
            seen = f"{share['rows']:,} of {share['population']:,} rows seen"
            lines.append((name, f"{share['value']:.1%} ({spread}) {of}; {seen}"))
    if told.get("gate") == "rejected":
        lines += rejection(told)
    elif told["advice"]:
        lines.append(("advice", told["advice"]))
    elif told["routed"]:
        lines.append(("advice", "too few answers yet to tell what people accept"))
    return lines


def rejection(told: Json) -> list[tuple[str, str]]:
    """Why people reject a set: each reason with its rows and the first of them, and what there is to do."""
    lines = [("gate", f"people reject this set: review.accept_at_least asks for {told['accept_at_least']:.0%}")]
    for one in told["objections"]:
        row = one["examples"][0]
        example = " -> ".join(shorten(row[side], _SHOWN, placeholder="...") for side in ("input", "output"))
        lines.append(("", f"{one['reason']}: {one['rows']:,} rows, such as {row['pair_id'][:12]}: {example}"))
    return [*lines, ("advice", "mend the prompt, the gates or the style and run again; more labels change nothing")]


def where(project: Project, draft: Draft) -> list[tuple[str, str]]:
    """The page, its queues, and how to sign in."""
    lines = [("page", draft.facts["url"]), ("queues", ", ".join(draft.facts["queues"]) or "none")]
    if project.spec.review.url is None:
        lines.append(("sign in", f"as {OWNER}; the password is in {default_home() / 'credentials.json'}"))
    return lines
