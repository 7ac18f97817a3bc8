"""Fetching answers: every reviewer's responses become `Review` records, and existing records are never replaced.

A changed response becomes another review. A response that was deleted, discarded or turned back into a draft becomes a
review with the decision `withdrawn`; so does the first discarded response to a row. An edit also creates the corrected
pair. Argilla does not record working time, so `seconds` is the time since the same reviewer's previous answer in any
queue of the project; it is None for a reviewer's first answer and after a pause of more than `schemas.reviews.PAUSE_S`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from curate.argilla.client import Argilla, ArgillaUser, Queue
from curate.argilla.edits import edited_text
from curate.argilla.push import project_id, queue_name, queue_names
from curate.argilla.responses import (
    NotCounted,
    Response,
    new_aliases,
    read_responses,
    returned_users,
    reviewer_of,
    with_durations,
)
from curate.argilla.task import LETTERS, THIS, VERDICTS, displayed_field_text, escaped, render_texts
from curate.review.decision import ADJUDICATION, differs, edited_pair, latest_answers
from prompts.answer_form import ANY_TEXT, AnswerForm
from schemas.errors import ReviewError
from schemas.failpoints import failpoint
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Pair, Record, now
from schemas.reviews import ON_PAGES, Alias, PullResult, Review, Role, Sampled, follow_aliases, resolve_alias
from schemas.store import Store
from schemas.streamed import batched

AT_ONCE = 100  # records per durable write
_EVER = datetime.min.replace(tzinfo=UTC)


def pull(
    project: Project, store: Store, argilla: Argilla, progress: Progress = unseen, *, dry: bool = False
) -> PullResult:
    """Read every response once and append new answers to the store. With `dry`, only count them; a read-only store is
    enough for that.

    Argilla does not have the answers that were given in the service, so it neither changes nor withdraws them. If
    killed, it continues when run again; a second run adds nothing. Raises ReviewError if this project has no queue on
    the server.
    """
    users, sampled, on_pages = argilla.users(), store.sampled(), _answers_on_pages(store)
    reviews = store.reviews()
    stored = [review for previous in reviews.values() for review in previous]
    identify, returned = _reviewers(argilla, users, stored, store.aliases())
    named = _adjudicators(project, stored)
    people = {identify(id_): user for id_, user in users.items()}
    form = AnswerForm.of(project.spec.task, project.folder)
    responses: list[Response] = []  # without texts: a page of rows is in memory at a time
    seen: dict[tuple[str, Role], datetime] = {}  # for a row in two queues, the earlier time
    ours: set[str] = set()
    for page, there in read_responses(find_queues(project, sampled, argilla), argilla, identify, users, progress):
        pairs = {pair.id: pair for pair in store.pairs(pair_id for pair_id, _ in there)}
        for response in page:
            pair = pairs.get(response.pair_id)
            why_not = _why_not_counted(project, form, response, pair, named) if pair else "foreign"
            responses.append(replace(response, why_not=why_not, input=None, output=None))
        seen |= {row: min(since, seen.get(row, since)) for row, since in there.items()}
        ours |= pairs.keys()
    known = _resolved({id_: previous for id_, previous in reviews.items() if id_ in ours}, returned)
    named_before = new_aliases(known, responses, seen, people)
    known = _resolved(known, named_before)
    if (returned or named_before) and not dry:
        store.write(*returned, *named_before)
    counts = Counter(foreign=len({pair_id for pair_id, _ in seen if pair_id not in ours}))
    submitted: set[tuple[str, Role, str]] = set()
    pending: list[Record] = []
    writes: list[Future[None]] = []
    for response, pair in _with_pairs(_one_per_reviewer(with_durations(responses)), ours, store):
        earlier = [review for review in known.get(pair.id, ()) if review.id not in on_pages]
        previous = [r for r in earlier if (r.role, r.reviewer) == (response.role, response.reviewer)]
        count, records = _process_response(response, pair, previous, sampled.get(pair.id, ()), form)
        counts.update(filter(None, (count, "edits" if len(records) > 1 else "")))
        if count in ("new", "changed", "unchanged"):
            submitted.add((pair.id, response.role, response.reviewer))
        if records and not dry:
            pending += records
            if len(pending) >= AT_ONCE:
                writes.append(store.append(*pending))
                pending = []
            failpoint("mid_pull")
    for write in (*writes, *([store.append(*pending)] if pending else ())):
        write.result()
    since = {response.reviewer: _EVER for response in responses} | {key: user.since for key, user in people.items()}
    for gone in batched(_find_withdrawals(known, seen, submitted, since, responses, on_pages), AT_ONCE):
        if not dry:
            store.write(*gone)
        counts["withdrawn"] += len(gone)
    return PullResult(**counts)


def _reviewers(
    argilla: Argilla, users: Mapping[str, ArgillaUser], stored: Sequence[Review], aliases: Mapping[str, str]
) -> tuple[Callable[[str], str], list[Alias]]:
    """Return what gives the reviewer of a user's id, and new aliases for accounts that replace deleted ones."""
    returned = returned_users(argilla.url, users, stored, aliases) if argilla.sees_everybody else []
    known = follow_aliases({**aliases, **{alias.name: alias.reviewer for alias in returned}})
    return partial(reviewer_of, argilla.url, known={review.reviewer for review in stored}, aliases=known), returned


def _resolved(known: Mapping[str, list[Review]], aliases: Sequence[Alias]) -> dict[str, list[Review]]:
    """The reviews under the reviewers that new aliases name."""
    by_name = {alias.name: alias.reviewer for alias in aliases}
    return {id_: [resolve_alias(review, by_name) for review in previous] for id_, previous in known.items()}


def _answers_on_pages(store: Store) -> set[str]:
    """Return the ids of the reviews that were given in the service. The copy of all reviews that this takes is freed
    before another one is read."""
    as_given = store.reviews(as_stored=True).values()
    return {review.id for given in as_given for review in given if review.reviewer.startswith(ON_PAGES)}


def _with_pairs(responses: Sequence[Response], ours: set[str], store: Store) -> Iterator[tuple[Response, Pair]]:
    """The responses to our rows, each with its pair, unless it has been erased meanwhile (a dry run locks nothing)."""
    for some in batched((response for response in responses if response.pair_id in ours), AT_ONCE):
        pairs = {pair.id: pair for pair in store.pairs({response.pair_id for response in some})}
        yield from ((response, pairs[response.pair_id]) for response in some if response.pair_id in pairs)


def _process_response(
    response: Response,
    pair: Pair,
    previous: Sequence[Review],
    sampled: Sequence[Sampled],
    form: AnswerForm,
) -> tuple[str, list[Record]]:
    """Return the field of `PullResult` that counts a response, if any, and the records to store (two for an edit).
    `previous`: the same reviewer's earlier answers."""
    why_not = response.why_not
    if why_not == "discarded" and not previous:
        return why_not, [_withdrawal(pair.id, response, response.at)]
    if why_not in ("draft", "discarded", "foreign"):
        return why_not if why_not == "foreign" else "", []
    review = review_of(response, pair, sampled[-1].sampling_probability if sampled else None, form)
    known_already = _is_known(review, previous)
    # An answer that was fetched before the row was altered refers to our version of the row.
    if why_not and not (why_not == "altered" and known_already):
        return why_not, []
    if known_already:
        return "unchanged", []
    if any(earlier.at == response.at for earlier in previous):  # a restored server reports an old answer again
        review = Review(**{**dict(review), "at": max(now(), previous[-1].at)})
    records: list[Record] = [review]
    gold = any(record.reason == "gold" for record in sampled)
    if review.decision == "edit" and review.edited is not None and differs(review.edited, pair) and not gold:
        records.append(edited_pair(pair, review))
    return "changed" if previous and previous[-1].decision != "withdrawn" else "new", records


def find_queues(
    project: Project, sampled: Mapping[str, Sequence[Sampled]], argilla: Argilla
) -> list[tuple[Queue, Role]]:
    """Return every queue that the project's `sampled` rows were sent to, with the role of those who answer there.

    Raises ReviewError if there is none.
    """
    queues = argilla.queues(project_id(sampled), queue_names(project, sampled))
    if not queues:
        raise ReviewError(
            f"there is no queue for {queue_name(project)} in the workspace {argilla.workspace}.",
            where=argilla.url,
            fix="Run `pairsmith review push` first.",
        )
    return [(queue, "adjudicator" if queue.made_as.endswith(ADJUDICATION) else "annotator") for queue in queues]


def _one_per_reviewer(responses: Iterable[Response]) -> list[Response]:
    """Return one response per row, role and reviewer, because a row may be in two queues: the latest submitted one, or
    else the latest. `responses` must be in chronological order."""
    last: dict[tuple[str, Role, str], Response] = {}
    for response in responses:
        key = response.pair_id, response.role, response.reviewer
        if response.status == "submitted" or key not in last or last[key].status != "submitted":
            last[key] = response
    return list(last.values())


def _adjudicators(project: Project, reviews: Iterable[Review]) -> set[str]:
    """Return the names and keys of the permitted adjudicators; if empty, anybody may adjudicate. A reviewer who
    adjudicated under a name in the spec remains permitted after a change of name."""
    names = set(project.spec.review.adjudicators)
    adjudicated = (review for review in reviews if review.role == "adjudicator" and review.name in names)
    return names | {review.reviewer for review in adjudicated}


def _why_not_counted(
    project: Project, form: AnswerForm, response: Response, pair: Pair, adjudicators: set[str]
) -> NotCounted | None:
    """Return why a response does not count as an answer to our row; None if it does."""
    if response.status != "submitted":
        return "discarded" if response.status == "discarded" else "draft"
    if response.values.get("verdict") not in VERDICTS:
        return "foreign"
    fields = response.input, response.output
    plain = all(map(_field_shows, fields, map(escaped, (pair.input, pair.output))))
    if not plain and not all(map(_field_shows, fields, render_texts(project, form, pair))):
        return "altered"
    if response.role == "adjudicator" and adjudicators and not {response.name, response.reviewer} & adjudicators:
        return "not_named"
    return None


def _field_shows(field: str | None, text: str) -> bool:
    """Whether a field, if known, displays a text, whatever its markup."""
    return field is None or field == f"<div>{text}</div>" or displayed_field_text(field) == displayed_field_text(text)


def _is_known(review: Review, previous: Sequence[Review]) -> bool:
    """Whether a review repeats the reviewer's last stored answer."""
    if not previous or previous[-1].decision == "withdrawn":
        return False
    repeated = any(earlier.at == review.at for earlier in previous)  # a restored server reports an old answer again
    return previous[-1].at == review.at or (repeated and _answer_content(review) == _answer_content(previous[-1]))


def review_of(response: Response, pair: Pair, probability: float | None, form: AnswerForm = ANY_TEXT) -> Review:
    """Convert a submitted response to a review. `accept` with a changed text counts as an edit; with `reject` the text
    is ignored."""
    values = response.values
    verdict, text = values["verdict"], edited_text(form, pair, values, response.titles)
    changed = text is not None and differs(text, pair)
    decision = "edit" if verdict == "accept" and changed else verdict
    names = dict(zip((THIS, *LETTERS), (pair.id, *response.other_candidates), strict=False))
    ranks = [(names[item["value"]], item["rank"]) for item in values.get("ranking") or () if item["value"] in names]
    if (best := values.get("best")) in names:  # queues of earlier versions ask for a whole ranking instead
        ranks = [(id_, 1 if name == best else 2) for name, id_ in names.items()]
    return Review(
        pair_id=pair.id,
        reviewer=response.reviewer,
        name=response.name,
        decision=decision,
        edited=text if decision == "edit" else None,
        reasons=tuple(values.get("reasons") or ()),
        seconds=response.seconds,
        sampling_probability=probability,
        simulated=response.simulated,
        ranking=tuple((id_, rank) for id_, rank in ranks if rank is not None),
        role=response.role,
        at=response.at,
    )


def _answer_content(review: Review) -> tuple[object, ...]:
    return review.decision, review.edited, review.reasons, review.ranking


def _find_withdrawals(
    known: Mapping[str, list[Review]],
    seen: Mapping[tuple[str, Role], datetime],
    submitted: set[tuple[str, Role, str]],
    since: Mapping[str, datetime],
    responses: list[Response],
    on_pages: set[str],
) -> Iterator[Review]:
    """Yield a withdrawal for each answer that was current at the last pull but is gone now, although its reviewer's
    account, which exists `since` then, and its record still exist. Answers given `on_pages` of the service were never
    there.

    A record created after the answer (because its queue had been deleted) never contained it, so such an answer was not
    withdrawn.
    """
    response_times = {(r.pair_id, r.role, r.reviewer): r.at for r in responses}
    for pair_id, pair_reviews in known.items():
        for review in latest_answers(pair_reviews):
            role, reviewer = review.role, review.reviewer
            had_answer = (pair_id, role) in seen and seen[pair_id, role] <= review.at
            had_account = reviewer in since and since[reviewer] <= review.at
            is_gone = had_answer and had_account and (pair_id, role, reviewer) not in submitted
            if is_gone and review.decision != "withdrawn" and review.id not in on_pages:
                yield _withdrawal(
                    pair_id, review, max(response_times.get((pair_id, role, reviewer)) or now(), review.at)
                )


def _withdrawal(pair_id: str, given: Review | Response, at: datetime) -> Review:
    """The review that says that a reviewer has no answer to a row (any more)."""
    return Review(
        pair_id=pair_id,
        reviewer=given.reviewer,
        name=given.name,
        decision="withdrawn",
        simulated=given.simulated,
        role=given.role,
        at=at,
    )
