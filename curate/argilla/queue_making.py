"""Making a queue: one for each project, whoever else makes one at the same moment.

A name belongs to who got it first, which Argilla decides. A draft bears from its first moment whose it is and the store
that it is made from: a store has one writer, so a draft of this very store is what a crash left, and holds nothing,
while that of a copy of the project is being made by somebody else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from curate.argilla.client import MARK, Argilla, Queue, describe_outage, format_mark, read_mark
from schemas.errors import ReviewError
from schemas.records import Json

_WAIT_S = 30.0  # for a queue that a copy of the project is making, in some twenty requests


def make_queue(
    argilla: Argilla,
    name: str,
    settings: Callable[[Any], Any],
    *,
    project: str,
    store: str,
    fits: Callable[[Queue], bool] = lambda _: True,
) -> Queue:
    """A queue of a project, made as `name` with `settings(client)`, under the first of `name`, `name-2`, ... that is
    free; or the one that somebody else has made meanwhile, if it `fits`. `store` says where it is made from.

    Raises ReviewError if somebody's draft of that name is in its place, or it cannot be made.
    """
    mark = {"project": project, "queue": name, "store": store}
    started = time.monotonic()
    argilla.workspace_id(make=True)
    while True:
        there = argilla.datasets()
        own = [(read_mark(dataset), dataset) for dataset in there if read_mark(dataset).items() >= _project_items(mark)]
        for ready in (argilla.queue_of(dataset) for _, dataset in own if dataset["status"] == "ready"):
            if fits(ready):
                return ready
        drafts = [(claimed, dataset) for claimed, dataset in own if dataset["status"] != "ready"]
        remains = [dataset for claimed, dataset in drafts if claimed == mark] + _find_unmarked_draft(argilla, name, there)
        for dataset in remains:
            argilla.call("DELETE", f"datasets/{dataset['id']}")
        if any(claimed != mark for claimed, _ in drafts) and time.monotonic() - started < min(
            _WAIT_S, argilla.patience_s
        ):
            time.sleep(0.5)
            continue
        taken = {dataset["name"] for dataset in there if dataset not in remains}
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        failure = _try_create(argilla, next(free for free in names if free not in taken), settings, mark)
        if failure and time.monotonic() - started > argilla.patience_s:
            raise argilla.unavailable_error(f"The queue {name} cannot be made: {failure}.", "Mend that (its log tells more)")
        time.sleep(1 if failure else 0)


def _project_items(mark: Json) -> Any:
    return {key: mark[key] for key in ("project", "queue")}.items()


def _find_unmarked_draft(argilla: Argilla, name: str, there: list[Json]) -> list[Json]:
    """The draft of that name that a crash of an earlier version left. Raises ReviewError if it is somebody's."""
    drafts = [one for one in there if one["name"] == name and one["status"] != "ready" and not read_mark(one)]
    if drafts and MARK not in (drafts[0].get("guidelines") or ""):
        raise ReviewError(
            f"a draft named {name} is there that this version of pairsmith did not make.",
            where=argilla.url,
            why="It may be somebody's work, so it is not removed.",
            fix='Remove it in Argilla, or name another queue: [review] dataset = "..."',
        )
    return drafts


def _try_create(argilla: Argilla, name: str, settings: Callable[[Any], Any], mark: Json) -> str:
    """Makes the dataset; empty, or why that is to be tried again: the server is describe_outage, or the name is taken by now."""
    import argilla as rg
    import httpx
    from argilla._exceptions import ArgillaError, ConflictError

    asked, claimed = settings(argilla.sdk), format_mark(mark)
    asked.guidelines = f"{asked.guidelines}\n{claimed}\n"
    dataset = rg.Dataset(name=name, workspace=argilla.workspace, settings=asked, client=argilla.sdk)
    dataset._model.guidelines = claimed  # the client first makes a bare draft
    try:
        dataset.create()
    except ConflictError:
        return "others take each name first"
    except (ArgillaError, httpx.HTTPError) as error:
        if failure := describe_outage(error):
            return failure
        raise ReviewError(
            f"The queue {name} cannot be made: {_server_error(error)}", where=argilla.url, fix="Read the server's log."
        ) from error
    return ""


def _server_error(error: BaseException) -> BaseException:
    """What the client's own errors, which say nothing, were raised for: the one that quotes the server."""
    cause = error.__cause__ or error.__context__
    return _server_error(cause) if cause is not None and type(cause).__module__.startswith("argilla.") else error
