"""The review page: acceptance rates with their intervals, the user's queue, certification, and disagreements."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import Form, Request, Response

from curate.review.decision import current_answers
from curate.review.estimate import seconds_per_item
from curate.review.status import elsewhere_notice, rates_in_words, unsettled_notice
from pairsmith.certified import in_words, last_certification
from pairsmith.checks import health
from pairsmith.checks.health import Check
from pairsmith.serve.access import Answerer, Editor, Member, Right
from pairsmith.serve.api.rows import Answer, record_answer, review_queue, reviewer_of
from pairsmith.serve.api.specs import save_keys
from pairsmith.serve.edge import CSP
from pairsmith.serve.pages.figures import Snapshot, continue_action, displayed_run, jobs_of, live_job, snapshot
from pairsmith.serve.pages.page_terms import on_page
from pairsmith.serve.pages.populations import ReviewFacts
from pairsmith.serve.pages.rows import InForm
from pairsmith.serve.pages.shell import page_router, project_page, redirect_to, render
from pairsmith.serve.pages.word_diff import word_diff
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import count
from schemas.errors import PairsmithError
from schemas.reviews import Alias
from schemas.store.annotate import annotate
from schemas.wording import capital, counted
from train.evaluation.intervals import Interval

router = page_router()
_SETTLED = 20
_QUEUE = 5
_facts = ReviewFacts()


@router.get("/p/{project}/review", name="page_review")
def review(caller: Member, project: str, request: Request) -> Response:
    """The state of the review."""
    now = snapshot(request, project)
    facts, job = _review_state(now), live_job(request, project)
    last = displayed_run(job, jobs_of(request, project))
    status = facts["review"]
    certificate = last_certification(now.project, now.store, now.stages) if now.store else None
    sees_work = caller.may(Right.see_work, project)
    if not sees_work:
        facts = {**facts, "disagreements": []}  # reviewers do not see the answers of others
    return project_page(
        request,
        "review",
        caller,
        project,
        heading=_heading(now, facts),
        now=now,
        facts=facts,
        again=f"/p/{project}/review" if facts.get("awaited") else None,
        refresh_s=5 if facts.get("awaited") else None,
        review_state=status,
        has_answers=now.store is not None and now.store.review_count() > 0,
        rates=_rates(status) if status else [],
        people=_by_reviewer(now) if status is not None and sees_work else [],
        queue=review_queue(caller, project, request, limit=_QUEUE).items if caller.may(Right.answer, project) else [],
        reasons=now.project.spec.review.reasons,
        disagreements=[_disagreement_view(d) for d in facts.get("disagreements", [])[:_SETTLED]],
        more=max(0, len(facts.get("disagreements", [])) - _SETTLED),
        url=_argilla_url(now),
        is_curated=now.last("curate") is not None,
        push_problem=_push_problem(now) if caller.may(Right.run, project) and not job and now.last("curate") else None,
        is_elsewhere=now.project.spec.review.url is not None,
        job=job,
        continue_label=caller.may(Right.run, project) and not job and _continue_label(now, status, certificate),
        continue_action=continue_action(project, None if last and last.options.no_review else last),
        certificate=certificate,
        certified=certificate and in_words(certificate),
        only_certified=now.project.spec.curate.select.certified,
    )


def _push_problem(now: Snapshot) -> Check | None:
    """A known problem that keeps rows from being sent to reviewers, shown in advance; None if there is none."""
    finding = health.review(now.project)
    return finding if finding.state != "ok" else None


def _continue_label(now: Snapshot, status: dict[str, Any] | None, certificate: dict[str, Any] | None) -> str:
    """The label of the button that continues the run; empty if there is nothing to continue.

    The run can continue if reviewers have given the answers that the spec requires or a certificate names the rows to
    train on, and a stage is left to do."""
    if not now.next_stage:
        return ""
    if now.project.spec.curate.select.certified and certificate and certificate["holds"]:
        return "Continue and train on certified rows"
    return "Continue and train" if status and status.get("gate") == "open" else ""


def _review_state(now: Snapshot) -> dict[str, Any]:
    """The output of `pairsmith review status --json`."""
    if now.store is None or now.last("curate") is None:
        return {"review": None, "why": "Nothing has been curated yet, so there are no rows to review."}
    try:
        return _facts.of(now, now.store) or {"review": None, "why": "The answers are being counted.", "awaited": True}
    except PairsmithError as error:
        first, answers = now.next_stage, now.store.review_count()
        if first and first.stage in ("generate", "curate") and answers:
            kept = counted(answers, "answer is kept", "answers are kept")
            return {"review": None, "why": f"{capital(first.stage)} comes first: {on_page(first.why)}; {kept}."}
        return {"review": None, "why": error.what}


def _heading(now: Snapshot, facts: dict[str, Any]) -> str:
    status = facts["review"]
    if status is None:
        first = str(facts["why"]).partition(". ")[0]  # the fix is shown below, as a button
        return capital(first).rstrip(".") + "."
    elsewhere = "".join(f"{notice}." for notice in elsewhere_notice(status))
    if not status["sampled"] and not (status["accepted"] + status["rejected"] + status["edited"]):
        off = "; review is turned off in the spec" if not now.project.spec.review.enabled else ""
        if elsewhere:
            return elsewhere
        if now.store and (answers := now.store.review_count()):
            given = counted(answers, "answer was given", "answers were given")
            return f"{given} on these pages; no random sample has been sent to reviewers yet{off}."
        return f"No rows have been sent to reviewers yet{off}."
    rate = status["acceptance_rate"]
    decided = status["accepted"] + status["edited"] + status["rejected"]
    if rate is None:
        of = f"{counted(decided, 'row', 'rows')} of {count(status['sampled'])}"
        return f"Reviewers have decided {of}: too few to estimate an acceptance rate."
    more = status["answers_missing"]
    left = (
        f", about {counted(round(status['minutes_left']) or 1, 'minute', 'minutes')}," if status["minutes_left"] else ""
    )
    rest = f" {counted(more, 'more answer', 'more answers')}{left} would settle it." if more else ""
    rates = rates_in_words(status)
    shown = rates.get("acceptance_rate") or rates["trained_acceptance_rate"]
    return " ".join(filter(None, [f"{' '.join([shown, *unsettled_notice(status)])}{rest}", elsewhere]))


def _rates(status: dict[str, Any]) -> list[tuple[str, Interval, str]]:
    named = (
        ("rows that passed the gates", status["acceptance_rate"]),
        ("rows selected for training", status["trained_acceptance_rate"]),
        ("rows that the programs rejected", status["missed_acceptance_rate"]),
    )
    rates = []
    for name, r in named:
        if r:
            share = Interval(estimate=r["value"], low=r["low"], high=r["high"], level=r["confidence"], seeds=r["rows"])
            rates.append((name, share, f"{count(r['rows'])} of {count(r['population'])} rows decided"))
    return rates


def _by_reviewer(now: Snapshot) -> list[dict[str, Any]]:
    assert now.store is not None
    people: dict[str, dict[str, Any]] = {}
    for of_pair in now.store.reviews().values():
        for answer in current_answers(of_pair):
            person = people.setdefault(answer.reviewer, {"name": answer.who, "answers": 0, "seconds": []})
            person["name"], person["answers"] = answer.who, person["answers"] + 1
            person["seconds"].append(answer.seconds)
    for person in people.values():
        median = seconds_per_item(person["seconds"])
        person["median"] = "not measured" if median is None else f"{median:.0f} s"
    return sorted(people.values(), key=lambda person: -person["answers"])


def _disagreement_view(disagreement: dict[str, Any]) -> dict[str, Any]:
    answers = [
        {**answer, "edited": word_diff(disagreement["output"], answer["edited"]) if answer["edited"] else None}
        for answer in disagreement["answers"]
    ]
    return {**disagreement, "answers": answers}


def _argilla_url(now: Snapshot) -> str | None:
    """The address of Argilla, from the last push, else from the spec."""
    for receipt in reversed(now.receipts):
        if receipt.facts.get("url") and receipt.command.startswith(("review", "run")):
            url = str(receipt.facts["url"])
            return url if url.startswith(("http://", "https://")) else None
    return now.project.spec.review.url


@router.post("/p/{project}/review/argilla", name="page_argilla")
def argilla(caller: Answerer, project: str, request: Request) -> Response:
    """Sign the user in to their queue in Argilla, creating an account there if needed.

    The returned page posts a code to Argilla, which accepts it only from a form on this service."""
    from curate.argilla import people as accounts
    from curate.argilla import server
    from curate.argilla.client import Argilla
    from curate.argilla.push import workspace_of
    from curate.argilla.responses import reviewer_key

    now = snapshot(request, project)
    running = server.status()
    if running.state != "running" or running.credentials is None or running.url is None or now.store is None:
        fix = "Send rows to reviewers to start it, or answer them here."
        raise Refusal(409, "Argilla is not running.", code="not_running", fix=fix)
    secrets = json.loads(running.credentials.read_text(encoding="utf-8"))
    # These account names are specific to the service, so an account created by an invitation is never taken over.
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
    # The only page whose form posts to another site. Argilla needs the origin to recognise this service.
    theirs = urlsplit(action)
    page.headers["Content-Security-Policy"] = CSP.replace(
        "form-action 'self'", f"form-action 'self' {theirs.scheme}://{theirs.netloc}"
    )
    page.headers["Referrer-Policy"] = "origin"
    return page


def _origin(request: Request) -> str:
    """The origin of this service, as the browser that sent this request sees it."""
    host, ours = request.headers.get("host", ""), urlsplit(state_of(request).settings.url or "")
    return f"{ours.scheme if host == ours.netloc else request.url.scheme}://{host}"


def _queue_page(now: Snapshot) -> str:
    """The path of the first queue in the last push; `/` if there is none."""
    pages = (receipt.facts.get("pages") for receipt in reversed(now.receipts))
    first = next((str(queues[0]) for queues in pages if queues), "")
    return urlsplit(first).path or "/"


@router.post("/p/{project}/review/certified", name="page_only_certified")
def only_certified(
    caller: Editor, project: str, request: Request, only: Annotated[Literal["yes", ""], Form()] = ""
) -> Response:
    """Set whether training uses only rows that are certified or accepted by reviewers, or all accepted rows."""
    save_keys(request, caller, project, {"curate.select.certified": only == "yes"})
    return redirect_to(f"/p/{project}/review", done="saved")


@router.post("/p/{project}/review/{row}", name="page_queue_answer")
def answer(caller: Answerer, project: str, row: str, request: Request, answer: InForm) -> Response:
    """Answer a row in the user's queue."""
    record_answer(request, caller, project, row, answer, is_timed=True)
    return redirect_to(f"/p/{project}/review", done="answered")


@router.post("/p/{project}/review/{row}/settle", name="page_settle")
def settle(
    caller: Editor, project: str, row: str, request: Request, decision: Annotated[Literal["accept", "reject"], Form()]
) -> Response:
    """Settle a row that reviewers disagree about. This answer is final."""
    record_answer(request, caller, project, row, Answer(decision=decision), settles=True)
    return redirect_to(f"/p/{project}/review", done="answered")
