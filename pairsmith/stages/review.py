"""Human review: send rows to Argilla, fetch the reviews, and let the pipeline continue once there are enough."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from textwrap import shorten
from typing import Any

from curate.argilla import server
from curate.argilla.adjudication import push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.launch import OWNER
from curate.argilla.probe import UNENCRYPTED_WARNING
from curate.argilla.pull import pull
from curate.argilla.push import PushResult, draw_batch, project_id, push, require_project_id, workspace_of
from curate.argilla.responses import returned_users
from curate.argilla.webhook import listen_for_answers
from curate.review.population import Population, read_population
from curate.review.status import (
    ReviewStatus,
    as_json,
    earlier_scorer_notice,
    elsewhere_notice,
    from_facts,
    rates_in_words,
    review_status,
    unsettled_notice,
)
from pairsmith import plan
from pairsmith.receipts.outcome import PullOutcome, PushOutcome, ReviewOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Stage
from pairsmith.teachers import teachers
from schemas.errors import MissingDependency, NoWork, PairsmithError, ReviewError, StoreBusy, require_packages
from schemas.progress import Progress, Say, discard_message, unseen
from schemas.project import Project
from schemas.records import Counts, Json
from schemas.reviews import Alias, Review
from schemas.store import Store
from schemas.wording import counted, percent

_WEBHOOK_TIMEOUT_S = 60.0
_READ_AT_LEAST_EVERY_S = 600.0  # the rows of the queues, whether or not the server reports an answer
_SHOWN = 80  # longest input or output shown in an example, in characters
_UNJUDGED = (
    "no row of the present settings is judged yet, so the answers do not count for anything so far; they are kept."
    " `pairsmith status` names the next step, and `pairsmith curate` applies the answers"
)
_WITHOUT_REVIEW = "`pairsmith run --no-review` continues without review."


def judged_population(project: Project, store: Store, say: Say, progress: Progress = unseen) -> Population:
    """What curation knows about the candidates of the present spec. Raises NoWork before curation."""
    population = read_population(project, store, teachers.fingerprints_of(project, say), progress=progress)
    if not any(row.passed is not None for row in population.rows.values()):
        raise NoWork("there are no judged rows to review.", fix="Run `pairsmith curate` first.")
    return population


def require_client() -> None:
    """Raise MissingDependency without the extra `review`, before a server is installed that nothing could talk to."""
    require_packages(("argilla",), "review", "review needs")


@contextmanager
def argilla(
    project: Project, progress: Progress = unseen, say: Say = discard_message, *, leaves_running: bool = True
) -> Iterator[Argilla]:
    """A connection to the Argilla server named in the spec, or to our own, which is started if it is not running, and
    then stopped at the end unless `leaves_running`. Raises like `require_client`."""
    require_client()
    spec = project.spec.review
    headers: dict[str, str] = {}
    is_borrowed = False
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
        is_borrowed = not leaves_running and not running.already_running
    try:
        with Argilla(url, key, spec.workspace or "", headers=headers, say=say) as connected:
            yield connected
    finally:
        if is_borrowed:
            server.down()


def _variable(name: str, holds: str, url: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ReviewError(
            f"the environment variable {name} with Argilla's {holds} is not set.",
            where=url,
            fix=f"Set it: export {name}=...",
        )
    return value


@contextmanager
def own_workspace(project: Project, progress: Progress, say: Say = discard_message) -> Iterator[Argilla]:
    """A connection that uses this project's workspace. Raises ReviewError, without starting a server, if no rows have
    been drawn yet."""
    named, url = project.spec.review.workspace, Store.url_for(project)
    with ExitStack() as reading:
        store = reading.enter_context(Store.open(url, write=False, say=say)) if Store.exists(url) else None
        if named is None:
            require_project_id(store)
        with argilla(project, progress, say) as connected:
            connected.workspace = workspace_of(project, store, connected) if store else named or ""
            reading.close()
            yield connected


def returned(project: Project, connected: Argilla, names: Collection[str]) -> list[tuple[str, str]]:
    """For each of the `names` whose earlier account was deleted: that its answers count as the present one's. Raises
    nothing: the passwords of new accounts can be shown only once."""
    url, stored, aliases = Store.url_for(project), list[Review](), list[Alias]()
    with suppress(PairsmithError):
        if names and Store.exists(url) and connected.sees_everybody:
            with Store.open(url, write=False) as store:
                stored = [review for given in store.reviews().values() for review in given]
                aliases = returned_users(connected.url, connected.users(), stored, store.aliases())
    rows = Counter(name for name, _ in {(review.name, review.pair_id) for review in stored if review.name in names})
    return [
        (
            name,
            f"had an account that was deleted; its answers to {counted(rows[name], 'row', 'rows')} count as this one's."
            " If this is somebody else, invite them under another name",
        )
        for name in names
        if any(one.reviewer == review.reviewer for one in aliases for review in stored if review.name == name)
    ]


def review(project: Project, store: Store, audience: Audience = NO_AUDIENCE) -> ReviewOutcome:
    """The human gate. The outcome's `waits` says what stops the pipeline; it is empty once there are enough reviews and
    they accept enough rows (`curate.review.gate`).

    If the reviews in the store are not enough, those on the server are fetched (`brought`), then rows are drawn and
    pushed. It does not drain: `stop` ends it at once.
    """
    progress, say = audience.progress, audience.say
    with recording(project, store, "review", ReviewOutcome()) as record:
        inputs = plan.inputs_of("review", project, store)
        record.outcome = ReviewOutcome(**inputs._asdict(), artifact_id=inputs.source)
        population = judged_population(project, store, say, progress)
        if not review_status(project, store, population).enough:
            with _suggesting_no_review(), argilla(project, progress, say) as connected:
                if store.sampled():
                    connected.workspace = workspace_of(project, store, connected)
                    # Send what an interrupted run had drawn but not sent.
                    push(project, store, population, connected, progress, alone=connected.alone)
                    brought = pull(project, store, connected, progress).news
                    record.add(brought=brought)
                pushed = send(project, store, population, connected, progress)
                _say_left(pushed, say)
                record.add(url=connected.url, queues=pushed.queues, pages=pushed.pages, sent=pushed.sent)
        status = review_status(project, store, population)
        record.add(**_status_facts(status))
    return record.outcome


@contextmanager
def _suggesting_no_review() -> Iterator[None]:
    """Add to an error that prevents review how to continue without it."""
    try:
        yield
    except (ReviewError, MissingDependency) as error:
        fix = f"{error.fix.rstrip('.')}. {_WITHOUT_REVIEW}" if error.fix else _WITHOUT_REVIEW
        raise type(error)(error.what, where=error.where, why=error.why, fix=fix) from error


def send(
    project: Project,
    store: Store,
    population: Population,
    connected: Argilla,
    progress: Progress,
    *,
    more: bool = False,
    take_over: bool = False,
) -> PushResult:
    """Draw the next batch if it is due (or if `more` is set), and send what is not on the server yet: drawn rows, and
    rows on which reviewers disagree. `take_over`: see `push`."""
    progress("draw", {"message": "counting the answers and choosing rows"})
    draw_batch(project, store, population, more=more)
    if not store.sampled():
        return PushResult(0, 0, 0, ())
    connected.workspace = workspace_of(project, store, connected)
    rows = push(project, store, population, connected, progress, alone=connected.alone, take_over=take_over)
    return rows + push_adjudication(project, store, population, connected, progress, take_over=take_over)


def push_rows(
    project: Project, store: Store, audience: Audience, *, more: bool, take_over: bool = False
) -> PushOutcome:
    """Implements `review push`."""
    progress, say = audience.progress, audience.say
    with recording(project, store, "review-push", PushOutcome()) as record:
        population = judged_population(project, store, say, progress)
        if not more and not store.sampled() and not any(row.accepted for row in population.rows.values()):
            raise NoWork(
                "curation accepted no row, so there is no share of good rows that people could estimate.",
                fix="`pairsmith rows` shows the reason for each row. To have people look at some of them nevertheless: "
                "`pairsmith review push --more`.",
            )
        with argilla(project, progress, say) as connected:
            pushed = send(project, store, population, connected, progress, more=more, take_over=take_over)
        _say_left(pushed, say)
        facts = {name: value for name, value in asdict(pushed).items() if name != "decided"}
        record.outcome = PushOutcome(url=connected.url, **facts)
        record.add(**_status_facts(review_status(project, store, population)))
    return record.outcome


def _say_left(pushed: PushResult, say: Say) -> None:
    """Say that queues of another copy of this project were left as they are."""
    if pushed.left:
        say(
            f"warning: {', '.join(pushed.left)} in Argilla is filled by a copy of this project in another folder or on"
            " another machine, so rows there that this one does not need were left for it. If there is no other copy,"
            " because the project was moved: `pairsmith review push --take-over`."
        )


def pull_answers(project: Project, store: Store, connected: Argilla, audience: Audience) -> PullOutcome:
    """Implements `review pull`, once."""
    return _pulled(project, store, connected, audience)[0]


def _pulled(
    project: Project, store: Store, connected: Argilla, audience: Audience
) -> tuple[PullOutcome, Population | None]:
    """The same, with the population that it has read; None if no row of the present spec is judged yet."""
    population = None
    progress, say = audience.progress, audience.say
    with recording(project, store, "review-pull", PullOutcome()) as record:
        connected.workspace = workspace_of(project, store, connected)
        pulled = pull(project, store, connected, progress)
        record.outcome = PullOutcome(url=connected.url, **asdict(pulled))
        try:
            population = judged_population(project, store, say, progress)
            record.add(**_status_facts(review_status(project, store, population)))
        except NoWork:
            record.add(waits=_UNJUDGED)
    return record.outcome, population


def watch(project: Project, connected: Argilla, every_s: float, *, say: Say = discard_message) -> Iterator[PullOutcome]:
    """Poll until Ctrl-C: fetch reviews whenever there are new ones, and send the next rows when they are due. If the
    server can reach this machine, it announces reviews immediately; otherwise it is asked every `every_s` seconds. Rows
    are read only if somebody has answered since, and every ten minutes. In between, the store is free for other
    commands; while another command writes to it, reviews wait on the server."""
    with Store.open(Store.url_for(project), write=False, say=say) as store:
        queue_id = project_id(store.sampled()) or project.spec.task.name
    with suppress(KeyboardInterrupt), listen_for_answers(connected, queue_id) as listener:
        news_wait, before, read_s = False, dict[str, str](), -math.inf
        while True:
            if listener and not news_wait:
                listener(max(every_s, _WEBHOOK_TIMEOUT_S))  # a webhook call may be lost
            else:
                time.sleep(every_s)
            activity = connected.activity(queue_id)
            if not news_wait and activity == before and time.monotonic() - read_s < _READ_AT_LEAST_EVERY_S:
                continue
            before, read_s = activity, time.monotonic()
            with Store.open(Store.url_for(project), write=False, say=say) as store:
                news = pull(project, store, connected, dry=True).news
            if not news:
                continue
            try:
                with Store.open(Store.url_for(project), say=say) as store:
                    outcome, population = _pulled(project, store, connected, Audience(say=say))
                    sent = send(project, store, population, connected, unseen).sent if population else 0
            except StoreBusy as busy:
                say(f"{counted(news, 'review is', 'reviews are')} waiting: {busy.what}")
                news_wait = True
                continue
            news_wait = False
            if sent:
                say(f"{sent:,} more rows are waiting for review")
            yield outcome


def _status_facts(status: ReviewStatus) -> dict[str, Any]:
    """Row counts by review status, and what stops the pipeline. A row is a sampled row of the present pool; gold rows
    are counted separately."""
    reasons = {
        "review": status.rejected,
        "undecided": status.undecided,
        "incomplete": status.incomplete,
        "unanswered": status.open,
    }
    accepted = status.accepted + status.edited
    counts = Counts(rows_in=status.sampled, accepted=accepted, rejected=status.rejected, waiting=status.waiting)
    reasons = {reason: number for reason, number in reasons.items() if number}
    left = "" if status.enough else waits(status)
    return {"counts": counts, "reasons": reasons, "review": as_json(status), "waits": left}


def waits(status: ReviewStatus) -> str:
    """What stops the pipeline, in one line."""
    gate, rate = status.gate, status.rates.accepted
    if gate.state == "rejected" and rate:
        return (
            f"reviewers reject this dataset: they accept {rate} of the rows to train on, not {percent(gate.at_least)}"
        )
    if gate.state == "exhausted":
        rate_note = f"reviewers accept {rate} of the rows to train on" if rate else "too few of them are decided"
        return f"every available row has been sent, but {rate_note}: whether {percent(gate.at_least)} are good is open"
    missing = f"about {gate.missing:,} more labels are needed" if gate.missing else gate.out_of_reach
    if status.waiting:
        settle = f", {status.undecided} of them to settle" if status.undecided else ""
        others = f", {status.incomplete} of them for another annotator" if status.incomplete else ""
        aside = f", {status.discarded} of them discarded: others can still answer them" if status.discarded else ""
        rows = f"{counted(status.waiting, 'row waits', 'rows wait')} for review{settle}{others}{aside}"
        return "; ".join(filter(None, [rows, missing]))
    return missing or "there are too few reviews to estimate the acceptance rate"


def summary(outcome: ReviewOutcome | PushOutcome | PullOutcome) -> list[tuple[str, str]]:
    """Lines shown after the counts: the acceptance rates, and what more reviews would achieve."""
    if outcome.review:
        return in_lines(outcome.review)
    return [("", outcome.waits)] if outcome.waits else []


def in_lines(facts: Json) -> list[tuple[str, str]]:
    """The same for a review status as JSON, from this version or an older one."""
    status = from_facts(facts)
    labels = {"trained_acceptance_rate": "to train", "acceptance_rate": "people", "missed_acceptance_rate": "missed"}
    lines = [(labels[name], sentence) for name, sentence in rates_in_words(status).items()]
    lines += [("", notice) for notice in (*unsettled_notice(status), *elsewhere_notice(status))]
    if older := earlier_scorer_notice(status):
        lines.append(("", older))
    if aside := status.get("set_aside"):
        lines.append(("", f"{aside:,} decided rows will count again once the rows added since are drawn"))
    if status.get("gate") == "rejected":
        lines += rejection(status)
    elif status["advice"]:
        lines.append(("advice", status["advice"]))
    elif status["sampled"]:
        lines.append(("advice", "too few reviews yet to estimate the acceptance rate"))
    return lines


def rejection(status: Json) -> list[tuple[str, str]]:
    """Why reviewers reject a dataset: each reason with its number of rows and an example, and what to do."""
    lines = [("gate", f"reviewers reject this dataset: review.accept_at_least is {percent(status['accept_at_least'])}")]
    for objection in status["objections"]:
        row = objection["examples"][0]
        example = " -> ".join(shorten(row[side], _SHOWN, placeholder="...") for side in ("input", "output"))
        rows = counted(objection["rows"], "row", "rows")
        lines.append(("", f"{objection['reason']}: {rows}, for example {row['pair_id'][:12]}: {example}"))
    return [*lines, ("advice", "fix the prompt, the gates or the style and run again; more labels do not help")]


def page(project: Project, url: str) -> tuple[str, list[tuple[str, str]]]:
    """The address for other reviewers, and notes about it."""
    if project.spec.review.url is not None:
        return url, []
    public = server.status().public_url
    if public is None:
        return url, [("", "this machine only: `pairsmith review up --host 0.0.0.0` admits others")]
    return public, [("", UNENCRYPTED_WARNING)]


def where(project: Project, url: str, queues: Sequence[str], pages: Sequence[str]) -> list[tuple[str, str]]:
    """Each queue with its address, and how to sign in."""
    lines = list(zip(("page", *("",) * len(pages)), map("{} {}".format, pages, queues), strict=False))
    lines = lines or [("page", f"{url}, where no row is waiting")]
    if project.spec.review.url is None:
        lines.append(("sign in", f"as {OWNER}; the password is in {server.default_home() / 'credentials.json'}"))
    return lines


STAGE = Stage[ReviewOutcome](
    "review",
    review,
    """Fetch reviews, and send rows until the acceptance rate is known as precisely as the spec asks.""",
    summary=summary,
)
