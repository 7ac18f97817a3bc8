"""Review: how many rows people accept, how sure that is, what is left to do, and disagreements settled here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import Form, Request, Response

from pairsmith import health
from pairsmith.certified import last_look
from pairsmith.health import Check
from pairsmith.serve.access import Answerer, Editor, Member, Right
from pairsmith.serve.api.rows import Answer, give_answer, review_queue, reviewer_of
from pairsmith.serve.api.specs import save_keys
from pairsmith.serve.edge import CSP
from pairsmith.serve.job import Job
from pairsmith.serve.pages.figures import Snapshot, jobs_of, live_job, snapshot
from pairsmith.serve.pages.rows import InForm
from pairsmith.serve.pages.shell import gone_to, page_router, project_page, render
from pairsmith.serve.pages.word_diff import word_diff
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import count, in_brackets, percent
from schemas.errors import PairsmithError
from schemas.reviews import Alias
from schemas.store.annotate import annotate
from schemas.wording import capital, counted
from train.intervals import Interval

router = page_router()
_SETTLED = 20
_QUEUE = 5
_kept: dict[str, tuple[object, dict[str, Any]]] = {}


@router.get("/p/{project}/review", name="page_review")
def review(caller: Member, project: str, request: Request) -> Response:
    """Where the review stands."""
    now = snapshot(request, project)
    facts, job = _state_of(now), live_job(request, project)
    status = facts["review"]
    certificate = last_look(now.project, now.store, now.stages) if now.store else None
    sees_work = caller.may(Right.see_work, project)
    if not sees_work:
        facts = {**facts, "disagreements": []}  # whoever answers does not see what others said
    return project_page(
        request,
        "review",
        caller,
        project,
        heading=_heading(now, facts),
        now=now,
        facts=facts,
        review_state=status,
        has_answers=now.store is not None and now.store.review_count() > 0,
        rates=_rates(status) if status else [],
        people=_by_person(now) if status is not None and sees_work else [],
        queue=review_queue(caller, project, request, limit=_QUEUE).items if caller.may(Right.answer, project) else [],
        reasons=now.project.spec.review.reasons,
        disagreements=[_shown(d) for d in facts.get("disagreements", [])[:_SETTLED]],
        more=max(0, len(facts.get("disagreements", [])) - _SETTLED),
        url=_argilla(now),
        is_curated=now.last("curate") is not None,
        asking=_asking(now) if caller.may(Right.run, project) and not job and now.last("curate") else None,
        is_elsewhere=now.project.spec.review.url is not None,
        job=job,
        goes_on=caller.may(Right.run, project) and not job and _goes_on(now, status, certificate),
        going_on=going_on(project, jobs_of(request, project)),
        certificate=certificate,
        only_certified=now.project.spec.curate.select.certified,
    )


def _asking(now: Snapshot) -> Check | None:
    """What keeps rows from being sent to people, told before somebody tries; None if nothing is known to."""
    finding = health.review(now.project)
    return finding if finding.state != "ok" else None


def _goes_on(now: Snapshot, status: dict[str, Any] | None, certificate: dict[str, Any] | None) -> str:
    """The button that goes on, where people have said what the spec asks of them or a certificate names the rows to
    train on, and something is left to do; else empty."""
    if not now.next_stage:
        return ""
    if now.project.spec.curate.select.certified and certificate and certificate["holds"]:
        return "Go on and train on certified rows"
    return "Enough answers: go on and train" if status and status.get("gate") == "open" else ""


def going_on(slug: str, jobs: Sequence[Job]) -> str:
    """Where going on is asked for: the last run, if it waits for people, is continued as it was asked for, its cap
    included."""
    last = next((job for job in jobs if job.command == "run"), None)
    return f"/p/{slug}/run" + (f"/{last.id}/continue" if last and last.state == "waits_for_people" else "")


def _state_of(now: Snapshot) -> dict[str, Any]:
    """As `pairsmith review status --json` tells it; read again when the store has something new."""
    if now.store is None or now.last("curate") is None:
        return {"review": None, "why": "Nothing is curated yet, so nobody can be asked."}
    kept = _kept.get(now.slug)
    if kept and kept[0] is now:
        return kept[1]
    from pairsmith.review_status import read

    try:
        facts = read(now.project, now.store)
    except PairsmithError as error:
        return {"review": None, "why": error.what}
    _kept[now.slug] = (now, facts)
    return facts


def _heading(now: Snapshot, facts: dict[str, Any]) -> str:
    status = facts["review"]
    if status is None:
        first = str(facts["why"]).partition(". ")[0]  # what to do about it stands below, as a button
        return capital(first).rstrip(".") + "."
    if not status["sampled"] and not (status["accepted"] + status["rejected"] + status["edited"]):
        off = "; the spec has review switched off" if not now.project.spec.review.enabled else ""
        if now.store and (answers := now.store.review_count()):
            given = counted(answers, "answer was given", "answers were given")
            return f"{given} on these pages; no random sample has been sent to people yet{off}."
        return f"Nobody has been asked yet{off}."
    rate = status["acceptance_rate"]
    decided = status["accepted"] + status["edited"] + status["rejected"]
    if rate is None:
        of = f"{counted(decided, 'row', 'rows')} of {count(status['sampled'])}"
        return f"People have decided {of}: too few to tell a share."
    interval = in_brackets(rate["low"], rate["high"])
    more = status["answers_missing"]
    left = (
        f", about {counted(round(status['minutes_left']) or 1, 'minute', 'minutes')}," if status["minutes_left"] else ""
    )
    rest = f"; {counted(more, 'more answer', 'more answers')}{left} would decide" if more else ""
    of = f"of {count(rate['population'])} rows, judging by {count(rate['rows'])} of them"
    return f"People accept {percent(rate['value'])} {interval} {of}{rest}."


def _rates(status: dict[str, Any]) -> list[tuple[str, Interval, str]]:
    named = (
        ("of what passed the gates", status["acceptance_rate"]),
        ("of what would be trained on", status["trained_acceptance_rate"]),
        ("of what programs rejected", status["missed_acceptance_rate"]),
    )
    return [
        (name, Interval(estimate=r["value"], low=r["low"], high=r["high"], level=r["confidence"], seeds=r["rows"]),
         f"{count(r['rows'])} of {count(r['population'])} rows decided")
        for name, r in named if r
    ]  # fmt: skip


def _by_person(now: Snapshot) -> list[dict[str, Any]]:
    assert now.store is not None
    people: dict[str, dict[str, Any]] = {}
    for of_pair in now.store.reviews().values():
        for answer in of_pair:
            if answer.simulated:
                continue
            person = people.setdefault(answer.reviewer, {"name": answer.who, "answers": 0, "seconds": []})
            person["name"], person["answers"] = answer.who, person["answers"] + 1
            if answer.seconds is not None:
                person["seconds"].append(answer.seconds)
    for person in people.values():
        taken = sorted(person["seconds"])
        person["median"] = f"{taken[len(taken) // 2]:.0f} s" if taken else "—"
    return sorted(people.values(), key=lambda person: -person["answers"])


def _shown(disagreement: dict[str, Any]) -> dict[str, Any]:
    answers = [
        {**answer, "edited": word_diff(disagreement["output"], answer["edited"]) if answer["edited"] else None}
        for answer in disagreement["answers"]
    ]
    return {**disagreement, "answers": answers}


def _argilla(now: Snapshot) -> str | None:
    """Where people answer, as the last push has found it."""
    for receipt in reversed(now.receipts):
        if receipt.facts.get("url") and receipt.command.startswith(("review", "run")):
            url = str(receipt.facts["url"])
            return url if url.startswith(("http://", "https://")) else None
    return now.project.spec.review.url


@router.post("/p/{project}/review/argilla", name="page_argilla")
def argilla(caller: Answerer, project: str, request: Request) -> Response:
    """Into one's queue in Argilla, signed in: an account there is made for who has none.

    The page that answers sends a code on to Argilla, which takes it from a form of ours alone."""
    from curate.argilla import people as accounts
    from curate.argilla import server
    from curate.argilla.client import Argilla
    from curate.argilla.push import workspace_of
    from curate.argilla.responses import reviewer_key

    now = snapshot(request, project)
    running = server.status()
    if running.state != "running" or running.credentials is None or running.url is None or now.store is None:
        fix = "Send rows to people: that starts it. Or answer them here."
        raise Refusal(409, "Argilla does not run now.", code="not_running", fix=fix)
    secrets = json.loads(running.credentials.read_text(encoding="utf-8"))
    # Names are the service's own; an account that somebody was invited to by name is never entered.
    name = f"{caller.name} ({(caller.user or 'local')[:8]})"
    with Argilla(running.url, secrets["api_key"], "") as connected:
        connected.workspace = workspace_of(now.project, now.store, connected)
        person = accounts.member(connected, name)
        code = accounts.code(connected, person, origin=_origin(request), page=_queue_page(now))
    aliases = now.store.aliases()
    if reviewer_of(caller) not in aliases:
        key = reviewer_key(running.url, person.id, aliases.values())
        annotate(now.store, Alias(name=reviewer_of(caller), reviewer=key))
    request.state.changed = {"target": f"Argilla account {person.id}"}
    action = accounts.action(running.public_url or running.url)
    page = render(
        request,
        "argilla",
        caller,
        slug=project,
        place="Review",
        title=f"To Argilla · {project} · pairsmith",
        heading="Your queue in Argilla is ready.",
        action=action,
        code=code,
        name=name,
    )
    # The one page whose form leaves us. Without an origin Argilla would not know that it comes from here.
    theirs = urlsplit(action)
    page.headers["Content-Security-Policy"] = CSP.replace(
        "form-action 'self'", f"form-action 'self' {theirs.scheme}://{theirs.netloc}"
    )
    page.headers["Referrer-Policy"] = "origin"
    return page


def _origin(request: Request) -> str:
    """The origin of our pages, as the browser that has sent this request names it."""
    host, ours = request.headers.get("host", ""), urlsplit(state_of(request).settings.url or "")
    return f"{ours.scheme if host == ours.netloc else request.url.scheme}://{host}"


def _queue_page(now: Snapshot) -> str:
    """The path of the first queue that the last push has named."""
    pages = (receipt.facts.get("pages") for receipt in reversed(now.receipts))
    first = next((str(queues[0]) for queues in pages if queues), "")
    return urlsplit(first).path or "/"


@router.post("/p/{project}/review/certified", name="page_only_certified")
def only_certified(
    caller: Editor, project: str, request: Request, only: Annotated[Literal["yes", ""], Form()] = ""
) -> Response:
    """Train on rows that a certificate names or people have accepted, or on all that programs accept."""
    save_keys(request, caller, project, {"curate.select.certified": only == "yes"})
    return gone_to(f"/p/{project}/review", done="saved")


@router.post("/p/{project}/review/{row}", name="page_queue_answer")
def answer(caller: Answerer, project: str, row: str, request: Request, answer: InForm) -> Response:
    """Answer a row of one's queue."""
    give_answer(request, caller, project, row, answer)
    return gone_to(f"/p/{project}/review", done="answered")


@router.post("/p/{project}/review/{row}/settle", name="page_settle")
def settle(
    caller: Editor, project: str, row: str, request: Request, decision: Annotated[Literal["accept", "reject"], Form()]
) -> Response:
    """Decide a row that people disagree about; this answer is final."""
    give_answer(request, caller, project, row, Answer(decision=decision), settles=True)
    return gone_to(f"/p/{project}/review", done="answered")
