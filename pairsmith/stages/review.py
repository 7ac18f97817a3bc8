"""Human review: rows go to Argilla, answers come back, and the loop goes on once people have said enough."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from textwrap import shorten
from typing import Any

from curate.argilla import server
from curate.argilla.adjudication import push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.launch import OWNER
from curate.argilla.probe import IN_THE_CLEAR
from curate.argilla.pull import pull
from curate.argilla.push import PushResult, draw_batch, own_id, project_id, push, workspace_of
from curate.argilla.webhook import answers_heard
from curate.review.population import Population, read_population
from curate.review.status import ReviewStatus, as_json, from_facts, older_choice, review_status, same_rows
from pairsmith import plan, teachers
from pairsmith.outcome import PullOutcome, PushOutcome, ReviewOutcome
from pairsmith.receipt import recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Stage
from schemas.errors import MissingDependency, NoWork, ReviewError, StoreBusy
from schemas.progress import Progress, Say, unheard, unseen
from schemas.project import Project
from schemas.records import Counts, Json
from schemas.store import Store
from schemas.wording import counted, percent

_CALLED_S = 60.0
_SHOWN = 80  # characters of either side of an example
GO_ON = "`pairsmith run --no-review` goes on without people."


def judged_population(project: Project, store: Store, say: Say) -> Population:
    """What curation knows of the candidates of the present spec. Raises NoWork before curation."""
    population = read_population(project, store, teachers.fingerprints_of(project, say))
    if not any(row.passed is not None for row in population.rows.values()):
        raise NoWork("there is no judged row to review.", fix="Run `pairsmith curate` first.")
    return population


@contextmanager
def argilla(project: Project, progress: Progress = unseen) -> Iterator[Argilla]:
    """A connection to the spec's Argilla, or to the one of our own, which is started if it does not run."""
    spec = project.spec.review
    headers: dict[str, str] = {}
    if spec.url:
        assert spec.key_env is not None, "the spec refuses a url without it"
        key = _variable(spec.key_env, "API key", spec.url)
        headers = {name: _variable(env, f"header {name}", spec.url) for name, env in spec.headers_env.items()}
        url = spec.url
    else:
        running = server.up(
            progress=progress,
            database_url=os.environ.get("PAIRSMITH_ARGILLA_DATABASE_URL"),
            redis_url=os.environ.get("PAIRSMITH_ARGILLA_REDIS_URL"),
        )
        url, key = running.url, running.api_key
    with Argilla(url, key, spec.workspace or "", headers=headers) as connected:
        yield connected


def _variable(name: str, holds: str, url: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ReviewError(
            f"the variable {name} with the {holds} of Argilla is not set.",
            where=url,
            fix=f"Set it: export {name}=...",
        )
    return value


@contextmanager
def own_workspace(project: Project, progress: Progress = unseen) -> Iterator[Argilla]:
    """A connection that looks at this project's workspace. Raises ReviewError before its first rows were drawn, and
    starts no server then."""
    named, url = project.spec.review.workspace, Store.url_for(project)
    with ExitStack() as reading:
        store = reading.enter_context(Store.open(url, write=False)) if Store.exists(url) else None
        if named is None:
            own_id(store)
        with argilla(project, progress) as connected:
            connected.workspace = workspace_of(project, store, connected) if store else named or ""
            reading.close()
            yield connected


def review(project: Project, store: Store, audience: Audience = NO_AUDIENCE) -> ReviewOutcome:
    """The human gate: the outcome's `waits` says what keeps the pipeline from going on, and is empty once people have
    said enough and accept enough of it (`curate.review.gate`).

    Where the answers in the store are not enough, those on the server are brought (`brought` of them), then rows are
    drawn and pushed. It is not drained: `stop` ends it at once.
    """
    progress, say, _ = audience
    with recording(project, store, "review", ReviewOutcome()) as record:
        inputs = plan.inputs_of("review", project, store)
        record.outcome = ReviewOutcome(**inputs._asdict(), artifact_id=inputs.source)
        population = judged_population(project, store, say)
        if not review_status(project, store, population).enough:
            with _or_without(), argilla(project, progress) as connected:
                if store.sampled():
                    connected.workspace = workspace_of(project, store, connected)
                    # What a killed run had drawn and not sent.
                    push(project, store, population, connected, progress, alone=connected.alone)
                    brought = pull(project, store, connected, progress).news
                    record.add(brought=brought)
                pushed = send(project, store, population, connected, progress)
                record.add(url=connected.url, queues=pushed.queues, pages=pushed.pages, sent=pushed.sent)
        status = review_status(project, store, population)
        record.add(**_known(status), waits="" if status.enough else waits(status))
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
    if not store.sampled():
        return PushResult(0, 0, 0, ())
    connected.workspace = workspace_of(project, store, connected)
    rows = push(project, store, population, connected, progress, alone=connected.alone)
    settle = push_adjudication(project, store, population, connected, progress)
    return PushResult(
        sent=rows.sent + settle.sent,
        there=rows.there + settle.there,
        decided=rows.decided,
        queues=(*rows.queues, *settle.queues),
        withdrawn=rows.withdrawn + settle.withdrawn,
        pages=(*rows.pages, *settle.pages),
    )


def push_rows(project: Project, store: Store, audience: Audience, *, more: bool) -> PushOutcome:
    """What `review push` does."""
    progress, say, _ = audience
    with recording(project, store, "review-push", PushOutcome()) as record:
        population = judged_population(project, store, say)
        with argilla(project, progress) as connected:
            pushed = send(project, store, population, connected, progress, more=more)
        facts = {name: value for name, value in asdict(pushed).items() if name != "decided"}
        record.outcome = PushOutcome(url=connected.url, **facts)
        record.add(**_known(review_status(project, store, population)))
    return record.outcome


def pull_answers(project: Project, store: Store, connected: Argilla, audience: Audience) -> PullOutcome:
    """What `review pull` does once."""
    progress, say, _ = audience
    with recording(project, store, "review-pull", PullOutcome()) as record:
        connected.workspace = workspace_of(project, store, connected)
        pulled = pull(project, store, connected, progress)
        record.outcome = PullOutcome(url=connected.url, **asdict(pulled))
        record.add(**_known(review_status(project, store, judged_population(project, store, say))))
    return record.outcome


def watch(project: Project, connected: Argilla, every_s: float, *, say: Say = unheard) -> Iterator[PullOutcome]:
    """Look again and again until Ctrl-C, pull whenever there is something new, and send the next rows when it is time.
    Where the server can reach us it tells of answers at once, else it is asked every `every_s`. In between the store is
    free for other commands; while one of them writes to it, answers wait on the server.
    """
    with Store.open(Store.url_for(project), write=False) as store:
        own = project_id(store.sampled()) or project.spec.task.name
    with suppress(KeyboardInterrupt), answers_heard(connected, own) as heard:
        news_wait = False
        while True:
            if heard and not news_wait:
                heard(max(every_s, _CALLED_S))  # a call may be lost
            else:
                time.sleep(every_s)
            with Store.open(Store.url_for(project), write=False) as store:
                news = pull(project, store, connected, dry=True).news
            if not news:
                continue
            try:
                with Store.open(Store.url_for(project)) as store:
                    outcome = pull_answers(project, store, connected, Audience(say=say))
                    sent = send(project, store, judged_population(project, store, say), connected, unseen).sent
            except StoreBusy as busy:
                say(f"{counted(news, 'answer waits', 'answers wait')}: {busy.what}")
                news_wait = True
                continue
            news_wait = False
            if sent:
                say(f"{sent:,} more rows wait for people")
            yield outcome


def _known(status: ReviewStatus) -> dict[str, Any]:
    """Rows by the status of the review. A row is one sampled row of the present pool; gold is counted apart."""
    reasons = {
        "review": status.rejected,
        "undecided": status.undecided,
        "incomplete": status.incomplete,
        "unanswered": status.open,
    }
    accepted = status.accepted + status.edited
    counts = Counts(rows_in=status.sampled, accepted=accepted, rejected=status.rejected, waiting=status.waiting)
    reasons = {reason: number for reason, number in reasons.items() if number}
    return {"counts": counts, "reasons": reasons, "review": as_json(status)}


def waits(status: ReviewStatus) -> str:
    """What keeps the loop from going on, in a line."""
    gate, rate = status.gate, status.rates.accepted
    if gate.state == "rejected" and rate:
        return f"people reject this set: they accept {rate} of what would be trained on, not {percent(gate.at_least)}"
    if gate.state == "exhausted":
        of = f"people accept {rate} of what would be trained on" if rate else "too few of them are decided"
        return f"every row that can be drawn was asked about, and {of}, so whether {percent(gate.at_least)} are is open"
    missing = f"about {gate.missing:,} more labels are missing" if gate.missing else gate.out_of_reach
    if status.waiting:
        settle = f", {status.undecided} of them to settle" if status.undecided else ""
        others = f", {status.incomplete} of them for another annotator" if status.incomplete else ""
        return "; ".join(
            filter(None, [f"{counted(status.waiting, 'row waits', 'rows wait')} for people{settle}{others}", missing])
        )
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
            rows = f"from {rate['rows']:,} of {rate['population']:,} rows"
            lines.append((name, f"{rate['value']:.1%} ({interval}) {of}, {rows}"))
    if older := older_choice(status):
        lines.append(("", older))
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
    lines = [("gate", f"people reject this set: review.accept_at_least asks for {percent(status['accept_at_least'])}")]
    for objection in status["objections"]:
        row = objection["examples"][0]
        example = " -> ".join(shorten(row[side], _SHOWN, placeholder="...") for side in ("input", "output"))
        rows = counted(objection["rows"], "row", "rows")
        lines.append(("", f"{objection['reason']}: {rows}, such as {row['pair_id'][:12]}: {example}"))
    return [*lines, ("advice", "correct the prompt, the gates or the style and run again; more labels change nothing")]


def page(project: Project, url: str) -> tuple[str, list[tuple[str, str]]]:
    """The address of the page for other people, and what there is to say about it."""
    if project.spec.review.url is not None:
        return url, []
    public = server.status().public_url
    if public is None:
        return url, [("", "this machine only: `pairsmith review up --host 0.0.0.0` lets others in")]
    return public, [("", IN_THE_CLEAR)]


def where(project: Project, url: str, queues: Sequence[str], pages: Sequence[str]) -> list[tuple[str, str]]:
    """Each queue with the address of its page, and how to sign in."""
    lines = list(zip(("page", *("",) * len(pages)), map("{} {}".format, pages, queues), strict=False))
    lines = lines or [("page", f"{url}, on which no row waits")]
    if project.spec.review.url is None:
        lines.append(("sign in", f"as {OWNER}; the password is in {server.default_home() / 'credentials.json'}"))
    return lines


STAGE = Stage[ReviewOutcome](
    "review",
    review,
    """Bring people's answers, and send rows until the accept share is known as well as the spec asks.""",
    summary=summary,
)
