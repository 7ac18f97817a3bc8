"""The prompts page: immutable versions, old and new outputs for five seeds, and what a change would cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import Form, Request, Response

import prompts as library
from pairsmith.receipts.outcome import PreviewOutcome
from pairsmith.serve.access import Caller, Editor, Viewer
from pairsmith.serve.api.jobs import start_job
from pairsmith.serve.api.prompts import next_number, save_version
from pairsmith.serve.api.specs import save_keys
from pairsmith.serve.job import JobOptions
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import Snapshot, live_job, snapshot
from pairsmith.serve.pages.shell import page_router, project_page, redirect_to
from pairsmith.serve.pages.word_diff import word_diff
from pairsmith.serve.rows_view import Filters, RowsView
from pairsmith.serve.state import state_of
from schemas.errors import PairsmithError, UsageError
from schemas.records import Generated

router = page_router()
_LOOKED_AT = 100  # newest rows of each direction
_TAKES = {"forward": "input", "backward": "output"}  # the kind of seed of which each direction asks


@router.get("/p/{project}/prompts", name="page_prompts")
def prompts(caller: Viewer, project: str, request: Request, ref: str | None = None) -> Response:
    """The versions, one of them open, and the last preview."""
    return _prompts(request, caller, project, ref)


def _prompts(
    request: Request,
    caller: Caller,
    slug: str,
    ref: str | None,
    draft: str | None = None,
    error: PairsmithError | None = None,
) -> Response:
    now = snapshot(request, slug)
    names, kinds_of_seeds = library.available(now.project.folder), {source.kind for source in now.project.spec.seeds}
    ways = [one for one in now.project.spec.generate.directions.items() if _TAKES[one[0]] in kinds_of_seeds]
    in_use = {name: library.load(way.prompt, now.project.folder).ref.partition("@")[0] for name, way in ways}
    shown = ref or next(iter(in_use.values()), names[0])
    prompt = library.load(shown, now.project.folder)
    preview = now.last("preview")
    outcome = PreviewOutcome.of(preview) if preview else None
    kinds = {name.partition("/")[0] for name in in_use.values()} | {prompt.ref.partition("/")[0]}
    return project_page(
        request,
        "prompts",
        caller,
        slug,
        heading=_heading(in_use.values(), outcome, now.asked_since(preview)),
        error=error,
        versions=[(name, name in in_use.values()) for name in names if name.partition("/")[0] in kinds],
        others=[name for name in names if name.partition("/")[0] not in kinds],
        prompt=prompt,
        name=prompt.ref.partition("@")[0],
        is_used=prompt.ref.partition("@")[0] in in_use.values(),
        text=draft if draft is not None else prompt.text,
        next_version=f"v{next_number(now.project.folder, prompt.ref.partition('/')[0])}",
        messages=_last_messages(now, state_of(request).views, prompt.ref.partition("@")[0]),
        preview=outcome,
        preview_at=preview.started if preview else None,
        asked_since=now.asked_since(preview),
        rows=_side_by_side(outcome) if outcome else [],
        job=live_job(request, slug),
    )


def _heading(in_use: Collection[str], outcome: PreviewOutcome | None, asked_since: bool) -> str:
    using = " and ".join(in_use) or "no prompt"
    if outcome is None:
        return f"This project uses {using}; no other version has been previewed yet."
    if asked_since:
        return f"This project uses {using}; a run has requested the rows that the last preview left open."
    if not outcome.left_candidates:
        return f"This project uses {using}; continuing repeats no request."
    return (
        f"This project uses {using}; continuing would request {outcome.left_candidates:,} more candidates"
        f" {words.money_range(outcome.left_usd)}."
    )


def _last_messages(now: Snapshot, views: RowsView, name: str) -> list[dict[str, str]]:
    """The messages of the latest row requested with this version, as they were sent.

    No template is rendered here: templates are written by users, and one that never ends would block the server."""
    of_each = [Filters(generator=direction) for direction in now.project.spec.generate.directions]
    pages = [views.page(now.slug, filters, sort="newest", limit=_LOOKED_AT) for filters in of_each]
    ids = [row.pair_id for page in pages for row in page.rows if row.pair_id]
    store = now.store
    for pair in store.pairs(ids) if store else ():
        if isinstance(pair.origin, Generated) and pair.origin.prompt.partition("@")[0] == name and pair.origin.calls:
            call = store.call(*pair.origin.calls[0]) if store else None
            messages = call.request.get("messages", []) if call else []
            return [{"role": str(m.get("role")), "content": str(m.get("content"))} for m in messages]
    return []


def _side_by_side(outcome: PreviewOutcome) -> list[dict[str, Any]]:
    """The old and new output for each seed, with the differences marked in the new one."""
    rows = []
    for row in outcome.rows:
        new = next((n for n in row["new"] if isinstance(n, str)), None)
        failure = next((n["failure"] for n in row["new"] if isinstance(n, dict)), None)
        old = next(iter(row["old"]), None)
        diff = word_diff(old, new) if old is not None and new is not None else new
        rows.append({"seed": row["seed"], "old": old, "new": diff, "failure": failure})
    return rows


@router.post("/p/{project}/prompts", name="page_save_prompt")
def save(
    caller: Editor,
    project: str,
    request: Request,
    name: Annotated[str, Form(max_length=100)],
    text: Annotated[str, Form(max_length=200_000)] = "",
    do: Annotated[str, Form()] = "save",
) -> Response:
    """Save a new version, switch to a version, or preview the current one on five seeds. Versions are immutable."""
    folder = state_of(request).workspace.folder(project)
    try:
        if do == "preview":
            job = start_job(request, caller, project, "preview", JobOptions(seeds=5))
            return redirect_to(f"/p/{project}/run", job=job.id)
        if do == "use":
            ref = library.load(name, folder).ref.partition("@")[0]
            save_keys(request, caller, project, {f"generate.{_direction_of(request, project, ref)}.prompt": ref})
            return redirect_to(f"/p/{project}/prompts", done="saved", ref=ref)
        saved = save_version(folder, name.partition("/")[0], text.replace("\r\n", "\n"))
        return redirect_to(f"/p/{project}/prompts", done="saved", ref=saved.ref.partition("@")[0])
    except PairsmithError as error:
        return _prompts(request, caller, project, name, draft=text or None, error=error)


def _direction_of(request: Request, slug: str, ref: str) -> str:
    generate = state_of(request).workspace.project(slug).spec.generate
    name = ref.partition("/")[0]
    for way, settings in (("forward", generate.forward), ("backward", generate.backward)):
        if settings.prompt.partition("/")[0] == name:
            return way
    raise UsageError(
        f"no direction of this project uses '{name}'.",
        where="generate",
        fix=f"Set generate.forward.prompt in the spec; it is currently '{generate.forward.prompt}'.",
    )
