"""Rows of a project: pages of rows, the lineage of one, its candidates, and review answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from curate.export.licences import refuse_unlicensed
from curate.review.decision import answers_given, answers_needed, current_answers, differs
from pairsmith.rows.lineage import lineage_of
from pairsmith.serve.access import Answerer, Caller, Member, Right, Viewer, needs
from pairsmith.serve.api.pages import Cursor, Limit, Page, attachment_headers, link_next, page_of
from pairsmith.serve.api.people import RequestBody
from pairsmith.serve.api.row_files import FORMATS
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.rows_view import Filters, RowFacets, RowView, Sort
from pairsmith.serve.state import state_of
from schemas.records import Pair, now
from schemas.reviews import ON_PAGES, Review, seconds_since
from schemas.spec.export import ExportSettings
from schemas.store import Store, tables
from schemas.store.annotate import annotate
from schemas.store.since import newest

router = APIRouter(prefix="/api/v1/projects/{project}", tags=["rows"])
State = Literal["accepted", "rejected", "waiting", "failed"]
_RECENT = 50  # answers among which the caller's previous one is looked for
Word = Annotated[str | None, Query(max_length=80)]


class Answer(
    RequestBody, json_schema_extra={"examples": [{"decision": "reject", "reasons": ["wrong_tone"], "seconds": 12.5}]}
):
    """A review answer. `edited` is the text of an `edit`; `seconds` is how long the reviewer looked at the row."""

    decision: Literal["accept", "edit", "reject", "withdrawn"]
    edited: Annotated[str, Field(max_length=100_000)] | None = None
    reasons: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=20)] = Field(default_factory=list)
    seconds: float | None = Field(default=None, ge=0, le=86_400)


class ReviewRecord(BaseModel):
    id: str
    pair_id: str
    reviewer: str
    name: str | None
    decision: str
    edited: str | None
    reasons: list[str]


class QueueRow(BaseModel):
    """A row in the review queue, without its author. `answered`: you have answered it, or enough others have."""

    id: str
    input: str
    output: str
    answered: bool


def filters_of(
    state: State | None = None,
    reason: Word = None,
    by: Annotated[str | None, Query(max_length=80, description="The step that decided.")] = None,
    split: Literal["train", "validation", "test"] | None = None,
    generator: Word = None,
    reviewed: bool | None = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
) -> Filters:
    """The filters in a request's query."""
    return Filters(state=state, reason=reason, step=by, split=split, generator=generator, reviewed=reviewed, q=q)


Filtered = Annotated[Filters, Depends(filters_of)]


@router.get("/rows", name="rows")
def rows(
    caller: Viewer,
    project: str,
    request: Request,
    response: Response,
    filters: Filtered,
    sort: Sort = "asked",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[RowView]:
    """The rows of the last curation, and those that were generated since."""
    selected = state_of(request).views.page(project, filters, sort, cursor, limit)
    page: Page[RowView] = Page(
        items=selected.rows, next=selected.next, total=selected.total, total_is_capped=selected.capped
    )
    link_next(request, response, page)
    return page


@router.get("/rows/facets", name="row_facets")
def facets(caller: Viewer, project: str, request: Request, filters: Filtered) -> RowFacets:
    """Counts of rows by each property."""
    return state_of(request).views.facets(project, filters)


@router.get(
    "/rows/download",
    name="download_rows",
    response_class=StreamingResponse,
    responses={200: {"content": {media: {} for media, _ in FORMATS.values()}}},
)
def download_rows(
    caller: Annotated[Caller, needs(Right.download_dataset)],
    project: str,
    request: Request,
    filters: Filtered,
    format: Literal["jsonl", "parquet", "csv"] = "jsonl",
) -> StreamingResponse:
    """All rows that match the filters, streamed."""
    media, write_rows = FORMATS[format]
    opened, rows = state_of(request).workspace.project(project), state_of(request).views.each(project, filters)
    if opened.spec.export != ExportSettings():
        places = [(row.pair_id, row.seed_id) for row in rows]
        pairs, seeds = {pair for pair, _ in places if pair}, {seed for pair, seed in places if not pair}
        refuse_unlicensed(opened, _store(request, project), pair_ids=pairs, seed_ids=seeds)
    lines = write_rows(state_of(request).views.each(project, filters))
    return StreamingResponse(lines, media_type=media, headers=attachment_headers(f"{project}-rows.{format}"))


@router.get("/rows/{row}", name="row")
def row(caller: Viewer, project: str, row: str, request: Request) -> dict[str, Any]:
    """The lineage of a row: seed, prompt, answers, verdicts, reviews, datasets (`pairsmith explain --json`)."""
    readers = state_of(request).readers
    store = _store(request, project)
    return lineage_of(readers.project(project), store, pair_of(store, row))


@router.get("/rows/{row}/candidates", name="candidates")
def candidates(caller: Viewer, project: str, row: str, request: Request) -> Page[RowView]:
    """All candidates for the row's input, for comparison."""
    view = state_of(request).views
    shown = view.row(project, row)
    if shown is None:
        raise no_row(row)
    items = view.candidates(project, shown)
    return Page(items=items, total=len(items))


@router.post("/rows/{row}/reviews", name="review_row", status_code=201)
def review_row(caller: Answerer, project: str, row: str, body: Answer, request: Request) -> ReviewRecord:
    """Answer a row. It is stored immediately, even while a job runs. A reviewer can only answer rows in the queue."""
    return ReviewRecord.model_validate(record_answer(request, caller, project, row, body), from_attributes=True)


@router.get("/review/queue", name="review_queue")
def review_queue(
    caller: Member, project: str, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> Page[QueueRow]:
    """The rows in the review queue, those that need your answer first."""
    answered = _queue(caller, project, request)
    page = page_of(sorted(answered, key=lambda pair_id: (answered[pair_id], pair_id)), limit, cursor, str)
    store = state_of(request).readers.store(project)
    pairs = {pair.id: pair for pair in store.pairs(page.items)} if store else {}
    items = [
        QueueRow(id=pair_id, input=pairs[pair_id].input, output=pairs[pair_id].output, answered=answered[pair_id])
        for pair_id in page.items
        if pair_id in pairs
    ]
    return Page(items=items, next=page.next, total=page.total)


def queue_left(caller: Caller, slug: str, request: Request) -> int:
    """How many rows in the review queue need the caller's answer."""
    return list(_queue(caller, slug, request).values()).count(False)


def _queue(caller: Caller, slug: str, request: Request) -> dict[str, bool]:
    """The ids of the pairs in the review queue, and whether the caller, or enough others, have answered them."""
    readers = state_of(request).readers
    store = readers.store(slug)
    sampled = store.sampled() if store else {}
    if store is None or not sampled:
        return {}
    me = {reviewer_of(caller), store.aliases().get(reviewer_of(caller))}  # the same user may also answer in Argilla
    annotators = readers.project(slug).spec.review.annotators_per_row
    given = store.reviews(sampled)
    return {
        pair_id: any(review.reviewer in me for review in current_answers(given.get(pair_id, ())))
        or answers_given(given.get(pair_id, ())) >= answers_needed(draws[0].dataset, annotators)
        for pair_id, draws in sampled.items()
    }


def record_answer(
    request: Request,
    caller: Caller,
    slug: str,
    row: str,
    answer: Answer,
    *,
    settles: bool = False,
    is_timed: bool = False,
) -> Review:
    """Store a review answer, for the API and the pages. With `settles` it resolves a disagreement; with `is_timed`, its
    time is what has passed since the caller's previous answer, as for answers in Argilla. The same answer once more, as
    by a second click, changes neither. Raises Refusal."""
    store = _store(request, slug)
    pair = pair_of(store, row)
    if not caller.may(Right.see_work, slug) and pair.id not in store.sampled([pair.id]):
        raise no_row(row)
    if (answer.decision == "edit") != (answer.edited is not None):
        raise Refusal(
            422, "an edit needs a text, and other decisions must not have one.", where="/body/edited", code="not_valid"
        )
    if answer.edited is not None and not differs(answer.edited, pair):
        fix = "Change the text, or accept the row as it is."
        raise Refusal(422, "the edit does not change the output.", where="/body/edited", code="not_valid", fix=fix)
    known = state_of(request).readers.project(slug).spec.review.reasons
    if wrong := [reason for reason in answer.reasons if reason not in known]:
        raise Refusal(
            422,
            f"'{wrong[0]}' is not a reason in this project.",
            code="not_valid",
            fix=f"Use one of: {', '.join(known)}.",
        )
    same: dict[str, Any] = {"reviewer": reviewer_of(caller), "role": "adjudicator" if settles else "annotator"}
    same |= {"decision": answer.decision, "edited": answer.edited, "reasons": tuple(answer.reasons)}
    for previous in current_answers(store.reviews([pair.id]).get(pair.id, ())):
        if all(getattr(previous, name) == value for name, value in same.items()):
            return previous
    seconds = _seconds_since_last(store, reviewer_of(caller)) if is_timed else answer.seconds
    review = Review(pair_id=pair.id, name=caller.name, seconds=seconds, **same)
    annotate(store, review)
    request.state.changed = {"target": f"row {pair.id}", "after": review.id}
    return review


def _seconds_since_last(store: Store, reviewer: str) -> float | None:
    last = (Review.model_validate_json(body) for body in newest(store, tables.reviews, _RECENT))
    return seconds_since(next((review.at for review in last if review.reviewer == reviewer), None), now())


def reviewer_of(caller: Caller) -> str:
    """The permanent identity of a reviewer in records."""
    return f"{ON_PAGES}{caller.user}"


def pair_of(store: Store, row: str) -> Pair:
    """The pair of a row by its full id. Raises Refusal."""
    pairs = list(store.pairs([row]))
    if not pairs:
        raise no_row(row)
    return pairs[0]


def no_row(row: str) -> Refusal:
    return not_there(f"there is no row '{row[:80]}'.", fix="GET .../rows lists the rows.")


def _store(request: Request, slug: str) -> Store:
    store = state_of(request).readers.store(slug)
    if store is None:
        raise not_there("nothing has been generated yet, so there are no rows.", fix="Start a job.")
    return store
