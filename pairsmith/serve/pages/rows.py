"""The rows page: search and filter rows, trace their lineage, compare candidates, answer and download."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, Form, Query, Request, Response

from pairsmith.rows.lineage import lineage_of
from pairsmith.serve.access import Answerer, Viewer
from pairsmith.serve.api.rows import Answer, record_answer
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import snapshot
from pairsmith.serve.pages.shell import link, page_router, redirect_to, render
from pairsmith.serve.pages.word_diff import word_diff
from pairsmith.serve.rows_view import COUNTED, SORTS, Filters, RowFacets, RowsView, RowView, Sort
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import count, row_sum
from schemas.errors import UsageError

router = page_router()
_SORT_WORDS: dict[Sort, str] = {
    "asked": "in request order",
    "newest": "newest first",
    "best": "best score first",
    "worst": "lowest score first",
    "longest": "longest first",
    "shortest": "shortest first",
}
_OPENED = "drawer-title"  # the place on the page where an open row begins
_EXTRA_FILTERS = ("reason", "step", "split", "generator", "reviewed")
Text = Annotated[str | None, Query(max_length=400)]


def _filters(
    state: Text = None,
    reason: Text = None,
    step: Text = None,
    split: Text = None,
    generator: Text = None,
    reviewed: Text = None,
    q: Text = None,
) -> Filters:
    return Filters(
        state=state or None,
        reason=reason or None,
        step=step or None,
        split=split or None,
        generator=generator or None,
        reviewed={"yes": True, "no": False}.get(reviewed or ""),
        q=(q or "").strip() or None,
    )


@router.get("/p/{project}/rows", name="page_rows")
def rows(
    caller: Viewer,
    project: str,
    request: Request,
    filters: Annotated[Filters, Depends(_filters)],
    sort: Text = None,
    after: Text = None,
    row: Text = None,
    compare: bool = False,
    edit: bool = False,
) -> Response:
    """One page of filtered rows, with the open row next to it."""
    views = state_of(request).views
    order = _sort(sort)
    if not views.is_ready(project):
        again = link(f"/p/{project}/rows", **request.query_params)
        return render(request, "rows_awaited", caller, slug=project, place="Rows", again=again, refresh_s=5)
    page, facets = views.page(project, filters, order, after), views.facets(project, filters)
    opened = views.row(project, row) if row else None
    query = _query(filters, order)
    base = f"/p/{project}/rows"

    def to(**changed: Any) -> str:
        return link(base, **{**query, **changed})

    start = to(after=after, row=None)
    start += "&" if "?" in start else "?"

    return render(
        request,
        "rows",
        caller,
        slug=project,
        place="Rows",
        heading=_heading(facets, filters),
        page=page,
        facets=facets,
        filters=filters,
        query=query,
        to=to,
        total=f"{count(COUNTED)}+" if page.capped else count(page.total),
        sort=order,
        sorts=_SORT_WORDS,
        after=after,
        open_row=lambda row_id: f"{start}row={quote(row_id)}#{_OPENED}",
        states=[(s, facets.state.get(s, 0)) for s in words.STATES],
        minor=[(name, list(getattr(facets, name).items())[:14]) for name in _EXTRA_FILTERS],
        chosen={name: query.get(name) for name in _EXTRA_FILTERS},
        row=opened,
        gone=row if row and opened is None else None,
        lineage=_lineage(request, project, opened) if opened else None,
        candidates=_candidates(views, project, opened) if opened and compare else None,
        others=len(views.candidates(project, opened)) if opened else 0,
        editing=edit,
        here=to(row=row, after=after),
        answers=link(f"{base}/{opened.id}/answer", **query, after=after) if opened else None,
        rows_line=row_sum(facets.all) if facets.all else None,
        download=lambda form: link(f"/api/v1/projects/{project}/rows/download", format=form, **_api_query(filters)),
    )


def _query(filters: Filters, order: Sort) -> dict[str, Any]:
    """The current list as query parameters."""
    query = {**filters.given(), "sort": None if order == "asked" else order}
    if "reviewed" in query:
        query["reviewed"] = "yes" if filters.reviewed else "no"
    return query


def _api_query(filters: Filters) -> dict[str, Any]:
    given = filters.given()
    if "step" in given:
        given["by"] = given.pop("step")
    if "reviewed" in given:
        given["reviewed"] = "true" if filters.reviewed else "false"
    return given


def _sort(sort: str | None) -> Sort:
    if sort in (None, ""):
        return "asked"
    if sort not in SORTS:
        raise UsageError(f"rows cannot be sorted by '{sort}'.", where="sort", fix=f"Choose one of {', '.join(SORTS)}.")
    return sort


def _heading(facets: RowFacets, filters: Filters) -> str:
    all_rows = sum(facets.all.values())
    if not all_rows:
        return "There are no rows yet. The first one appears with the first answer."
    if not filters.given():
        states = ", ".join(f"{count(facets.all.get(state, 0))} {state}" for state in words.STATES)
        return f"{count(all_rows)} rows: {states}."
    total = f"More than {count(COUNTED)}" if facets.capped and facets.total >= COUNTED else count(facets.total)
    chosen = [filters.state] if filters.state else []
    chosen += [f"“{filters.q}”"] if filters.q else []
    chosen += [words.reason(filters.reason).rstrip(".").lower()] if filters.reason else []
    chosen += [f"{filters.split} split"] if filters.split else []
    chosen += [f"rejected by {words.step(filters.step)}"] if filters.step else []
    chosen += [filters.generator] if filters.generator else []
    chosen += (
        ["answered by reviewers" if filters.reviewed else "not answered by reviewers"]
        if filters.reviewed is not None
        else []
    )
    return f"{total} of {count(all_rows)} rows{': ' + ', '.join(chosen) if chosen else ''}."


def _lineage(request: Request, project: str, row: RowView) -> dict[str, Any] | None:
    """Everything that the store knows about the pair of a row; None if the row has no pair."""
    now = snapshot(request, project)
    if row.pair_id is None or now.store is None:
        return None
    (pair,) = now.store.pairs([row.pair_id])
    lineage = lineage_of(now.project, now.store, pair)
    origin = lineage["origin"]
    lineage["edited_from"] = None
    if origin["by"] == "edited" and (parents := now.store.pairs([origin["parent_id"]])):
        lineage["edited_from"] = word_diff(parents[0].output, pair.output)
    return lineage


def _candidates(views: RowsView, project: str, row: RowView) -> list[dict[str, Any]]:
    """All candidates of the row's input, the best one first. Words that differ from the best one are marked."""
    slots = views.candidates(project, row)
    won = next((slot for slot in slots if slot.state == "accepted"), row)
    return [
        {
            "row": slot,
            "won": slot.state == "accepted",
            "text": slot.output if slot is won or slot.output is None else word_diff(won.output or "", slot.output),
        }
        for slot in sorted(slots, key=lambda slot: (slot is not won, -(slot.score or -1e9)))
    ]


def answer_in_form(
    decision: Annotated[Literal["accept", "edit", "reject"], Form()],
    edited: Annotated[str, Form(max_length=100_000)] = "",
    reason: Annotated[str, Form(max_length=40)] = "",
) -> Answer:
    """Parse the answer form. The text is used only if the decision is to edit."""
    text = edited.replace("\r\n", "\n").strip() or None
    return Answer(decision=decision, edited=text if decision == "edit" else None, reasons=[reason] if reason else [])


InForm = Annotated[Answer, Depends(answer_in_form)]


@router.post("/p/{project}/rows/{row}/answer", name="page_answer")
def answer(
    caller: Answerer,
    project: str,
    row: str,
    request: Request,
    answer: InForm,
    filters: Annotated[Filters, Depends(_filters)],
    sort: Text = None,
    after: Text = None,
) -> Response:
    """Store an answer to a row and return to the list. In a list of unanswered rows, the next row opens."""
    order, opened = _sort(sort), row
    if filters.reviewed is False:
        listed = [each.id for each in state_of(request).views.page(project, filters, order, after).rows]
        at = listed.index(row) if row in listed else -1
        opened = next((each for each in (*listed[at + 1 :], *listed) if each != row), "")
    record_answer(request, caller, project, row, answer, is_timed=True)
    place = _OPENED if opened else ""
    return redirect_to(f"/p/{project}/rows", place, done="answered", **_query(filters, order), after=after, row=opened)
