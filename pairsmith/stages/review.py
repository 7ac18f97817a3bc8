"""Human review: rows go to Argilla, answers come back, and the loop goes on once people have said enough."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from textwrap import shorten
from typing import NamedTuple

from curate.argilla.adjudication import push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.launch import OWNER
from curate.argilla.pull import pull
from curate.argilla.push import PushResult, draw_batch, push
from curate.argilla.server import default_home, up
from curate.review.population import Population, read_population
from curate.review.status import ReviewStatus, as_json, from_facts, review_status, same_rows
from pairsmith import plan, teachers
from pairsmith.outcome import Came, PullOutcome, PushOutcome, ReviewOutcome
from pairsmith.receipt import recording
from pairsmith.stopping import Stopping
from schemas.errors import MissingDependency, NoWork, ReviewError, StoreBusy
from schemas.progress import Progress, Say, unheard, unseen
from schemas.project import Project
from schemas.records import Counts, Json
from schemas.store import Store

_SHOWN = 80  # characters of either side of an example
GO_ON = "`pairsmith run --no-review` goes on without people."


def judged_population(project: Project, store: Store, say: Say) -> Population:
    """What curation knows of the candidates of the present spec. Raises NoWork before curation."""
    population = read_population(project, store, teachers.scopes_of(project, say))
    if not any(row.passed is not None for row in population.rows.values()):
        raise NoWork("there is no judged row to review.", fix="Run `pairsmith curate` first.")
    return population


@contextmanager
def argilla(project: Project, progress: Progress = unseen) -> Iterator[Argilla]:
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
        server = up(
            progress=progress,
            database_url=os.environ.get("PAIRSMITH_ARGILLA_DATABASE_URL"),
            redis_url=os.environ.get("PAIRSMITH_ARGILLA_REDIS_URL"),
        )
        url, key = server.url, server.api_key
    with Argilla(url, key, spec.workspace) as connected:
        yield connected


class Invited(NamedTuple):
    """Where people sign in, and the password of each."""

    url: str
    passwords: dict[str, str]


def invite(project: Project, names: Sequence[str], progress: Progress = unseen) -> Invited:
    """Make an annotator of each name in the spec's workspace, with a password made at random that is kept nowhere.

    Raises ReviewError if a user of that name is there already; then nobody was made.
    """
    with argilla(project, progress) as connected:
        taken = sorted(set(names) & {user.name for user in connected.users().values()})
        if taken:
            raise ReviewError(
                f"there is a user {', '.join(taken)} already.", where=connected.url, fix="Choose another name."
            )
        return Invited(connected.url, {name: connected.add_annotator(name) for name in names})


def review(
    project: Project,
    store: Store,
    *,
    progress: Progress = unseen,
    say: Say = unheard,
    stop: Stopping | None = None,
) -> ReviewOutcome:
    """The human gate: the outcome's `waits` says what keeps the pipeline from going on, and is empty once people have
    said enough and accept enough of it (`curate.review.gate`).

    Where the answers in the store are not enough, those on the server are brought (`brought` of them), then rows are
    drawn and pushed. It is not drained: `stop` ends it at once.
    """
    with recording(project, store, "review", ReviewOutcome()) as record:
        inputs = plan.inputs_of("review", project, store)
        record.outcome = ReviewOutcome(**inputs._asdict(), made=inputs.source)
        population = judged_population(project, store, say)
        if not review_status(project, store, population).enough:
            with _or_without(), argilla(project, progress) as connected:
                if store.sampled():
                    push(project, store, population, connected, progress)  # what a killed run had drawn and not sent
                    brought = pull(project, store, connected, progress).news
                    record.outcome = replace(record.outcome, brought=brought)
                pushed = send(project, store, population, connected, progress)
                record.outcome = replace(record.outcome, url=connected.url, queues=pushed.queues, sent=pushed.sent)
        status = review_status(project, store, population)
        todo = "" if status.enough else waits(status)
        record.outcome = replace(_with_status(record.outcome, status), review=as_json(status), waits=todo)
    return record.outcome


@contextmanager
def _or_without() -> Iterator[None]:
    """Whatever keeps review from starting, the loop can go on without it, and the error says how."""
    try:
        yield
    except (ReviewError, MissingDependency) as error:
        fix = " ".join(part for part in (error.fix, GO_ON) if part)
        raise type(error)(error.what, where=error.where, why=error.why, fix=fix) from error


def send(
    project: Project,
    store: Store,
    population: Population,
    connected: Argilla,
    progress: Progress,
    *,
    more: bool = False,
) -> PushResult:
    """Draw the next batch if it is time (or `more` is asked), and send what is not on the server yet: what was drawn,
    and what people disagree about."""
    draw_batch(project, store, population, more=more)
    rows = push(project, store, population, connected, progress)
    settle = push_adjudication(project, store, population, connected, progress)
    return PushResult(rows.sent + settle.sent, rows.there + settle.there, rows.decided, (*rows.queues, *settle.queues))


def push_rows(
    project: Project, store: Store, *, more: bool, progress: Progress = unseen, say: Say = unheard
) -> PushOutcome:
    """What `review push` does."""
    with recording(project, store, "review-push", PushOutcome()) as record:
        population = judged_population(project, store, say)
        with argilla(project, progress) as connected:
            pushed = send(project, store, population, connected, progress, more=more)
        record.outcome = PushOutcome(url=connected.url, sent=pushed.sent, there=pushed.there, queues=pushed.queues)
        status = review_status(project, store, population)
        record.outcome = replace(_with_status(record.outcome, status), review=as_json(status))
    return record.outcome


def pull_answers(
    project: Project, store: Store, connected: Argilla, *, progress: Progress = unseen, say: Say = unheard
) -> PullOutcome:
    """What `review pull` does once."""
    with recording(project, store, "review-pull", PullOutcome()) as record:
        pulled = pull(project, store, connected, progress)
        record.outcome = PullOutcome(url=connected.url, **asdict(pulled))
        status = review_status(project, store, judged_population(project, store, say))
        record.outcome = replace(_with_status(record.outcome, status), review=as_json(status))
    return record.outcome


def watch(
    project: Project, connected: Argilla, every_s: float, *, progress: Progress = unseen, say: Say = unheard
) -> Iterator[PullOutcome]:
    """Look again and again until Ctrl-C, and pull whenever there is something new. In between the store is free for
    other commands; while one of them writes to it, answers wait on the server.
    """
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(every_s)
            with Store.open(Store.url_for(project), write=False) as store:
                news = pull(project, store, connected, dry=True).news
            if not news:
                continue
            try:
                with Store.open(Store.url_for(project)) as store:
                    outcome = pull_answers(project, store, connected, progress=progress, say=say)
            except StoreBusy as busy:
                say(f"{news} answers wait: {busy.what}")
                continue
            yield outcome


def _with_status(outcome: Came, status: ReviewStatus) -> Came:
    """Rows by the status of the review. A row is one sampled row of the present pool; gold is counted apart."""
    reasons = {
        "review": status.rejected,
        "undecided": status.undecided,
        "incomplete": status.incomplete,
        "unanswered": status.open,
    }
    return replace(
        outcome,
        counts=Counts(
            rows_in=status.sampled,
            accepted=status.accepted + status.edited,
            rejected=status.rejected,
            waiting=status.waiting,
        ),
        reasons={reason: number for reason, number in reasons.items() if number},
    )


def waits(status: ReviewStatus) -> str:
    """What keeps the loop from going on, in a line."""
    gate, rate = status.gate, status.rates.accepted
    if gate.state == "rejected" and rate:
        return f"people reject this set: they accept {rate} of what would be trained on, not {gate.at_least:.0%}"
    if gate.state == "exhausted":
        of = f"people accept {rate} of what would be trained on" if rate else "too few of them are decided"
        return f"every row that can be drawn was asked about, and {of}, so whether {gate.at_least:.0%} are is open"
    missing = f"about {gate.missing:,} more labels are missing" if gate.missing else ""
    if status.waiting:
        settle = f", {status.undecided} of them to settle" if status.undecided else ""
        others = f", {status.incomplete} of them for another annotator" if status.incomplete else ""
        return "; ".join(filter(None, [f"{status.waiting} rows wait for people{settle}{others}", missing]))
    return missing or "people have said too little to tell what share of it they accept"


def summary(outcome: ReviewOutcome | PushOutcome | PullOutcome) -> list[tuple[str, str]]:
    """What there is to say beside the counts: what people accept, and what more answers would buy."""
    return in_lines(outcome.review) if outcome.review else []


def in_lines(facts: Json) -> list[tuple[str, str]]:
    """The same of a review status as JSON, of this version or an older one."""
    status = from_facts(facts)
    lines = []
    for name, key, of in (
        ("to train", "trained_acceptance_rate", "of what the programs accept is accepted as it is"),
        ("people", "acceptance_rate", "of what passed the gates is accepted as it is"),
        ("missed", "missed_acceptance_rate", "of what the programs rejected is accepted by people"),
    ):
        if (rate := status.get(key)) and not (key == "acceptance_rate" and same_rows(status)):
            interval = f"{rate['low']:.1%} to {rate['high']:.1%}"
            seen = f"{rate['rows']:,} of {rate['population']:,} rows seen"
            lines.append((name, f"{rate['value']:.1%} ({interval}) {of}; {seen}"))
    if aside := status.get("set_aside"):
        lines.append(("", f"{aside:,} decided rows count again once the rows that joined since are drawn"))
    if status.get("gate") == "rejected":
        lines += rejection(status)
    elif status["advice"]:
        lines.append(("advice", status["advice"]))
    elif status["sampled"]:
        lines.append(("advice", "too few answers yet to tell what people accept"))
    return lines


def rejection(status: Json) -> list[tuple[str, str]]:
    """Why people reject a set: each reason with its rows and the first of them, and what there is to do."""
    lines = [("gate", f"people reject this set: review.accept_at_least asks for {status['accept_at_least']:.0%}")]
    for objection in status["objections"]:
        row = objection["examples"][0]
        example = " -> ".join(shorten(row[side], _SHOWN, placeholder="...") for side in ("input", "output"))
        lines.append(
            ("", f"{objection['reason']}: {objection['rows']:,} rows, such as {row['pair_id'][:12]}: {example}")
        )
    return [*lines, ("advice", "correct the prompt, the gates or the style and run again; more labels change nothing")]


def where(project: Project, url: str, queues: Sequence[str]) -> list[tuple[str, str]]:
    """The page, its queues, and how to sign in."""
    lines = [("page", url), ("queues", ", ".join(queues) or "none")]
    if project.spec.review.url is None:
        lines.append(("sign in", f"as {OWNER}; the password is in {default_home() / 'credentials.json'}"))
    return lines
