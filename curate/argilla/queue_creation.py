"""Creation of a queue, safe against other processes that create one at the same time.

A name belongs to whoever gets it first; Argilla decides. A draft is marked from the start with its project and the
store it is created from. A store has only one writer, so a draft marked with this store was left by a crash and is
empty, while a draft of the same project from another store is being created by another copy of the project.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from curate.argilla.client import Argilla, Queue, describe_outage
from curate.argilla.marks import MARK, UNKNOWN, Place, format_mark, read_mark
from schemas.errors import ReviewError
from schemas.records import Json

_WAIT_S = 30.0  # for a queue that a copy of the project is creating, which takes about twenty requests


def make_queue(
    argilla: Argilla,
    name: str,
    settings: Callable[[Any], Any],
    *,
    project: str,
    store: str,
    place: Place = UNKNOWN,
    fits: Callable[[Queue], bool] = lambda _: True,
) -> Queue:
    """Create a project's queue `name` with `settings(client)`, under the first free name of `name`, `name-2`, ...; or
    return the one that another process has created meanwhile, if it `fits`.

    `store` identifies the store that the queue is created from, also where another machine has one at the same `place`.

    Raises ReviewError if a draft of that name exists that may be somebody's work, or if the queue cannot be created.
    """
    wanted = {"project": project, "queue": name}
    mark = {**wanted, "store": store}
    started = time.monotonic()
    argilla.workspace_id(make=True)
    while True:
        datasets = argilla.datasets()
        questions = [(read_mark(dataset), dataset) for dataset in datasets]
        questions = [(claimed, dataset) for claimed, dataset in questions if claimed.items() >= wanted.items()]
        for ready in (argilla.queue_of(dataset) for _, dataset in questions if dataset["status"] == "ready"):
            if fits(ready):
                return ready
        drafts = [(claimed, dataset) for claimed, dataset in questions if dataset["status"] != "ready"]
        remains = [dataset for claimed, dataset in drafts if claimed.items() >= mark.items()] + _find_unmarked_draft(
            argilla, name, datasets
        )
        for dataset in remains:
            argilla.call("DELETE", f"datasets/{dataset['id']}")
        if any(not claimed.items() >= mark.items() for claimed, _ in drafts) and time.monotonic() - started < min(
            _WAIT_S, argilla.patience_s
        ):
            time.sleep(0.5)
            continue
        taken = {dataset["name"] for dataset in datasets if dataset not in remains}
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        failure = _try_create(
            argilla, next(free for free in names if free not in taken), settings, {**mark, "place": place}
        )
        if failure and time.monotonic() - started > argilla.patience_s:
            raise argilla.unavailable_error(
                f"The queue {name} cannot be created: {failure}.", "Fix that (its log has details)"
            )
        time.sleep(1 if failure else 0)


def _find_unmarked_draft(argilla: Argilla, name: str, datasets: list[Json]) -> list[Json]:
    """Return the draft of that name, if any, that an earlier version left in a crash. Raises ReviewError if pairsmith
    did not make it."""
    drafts = [one for one in datasets if one["name"] == name and one["status"] != "ready" and not read_mark(one)]
    if drafts and MARK not in (drafts[0].get("guidelines") or ""):
        raise ReviewError(
            f"a draft named {name} is there, which this version of pairsmith did not create.",
            where=argilla.url,
            why="It may be somebody's work, so it is not removed.",
            fix='Remove it in Argilla, or name another queue: [review] dataset = "..."',
        )
    return drafts


def _try_create(argilla: Argilla, name: str, settings: Callable[[Any], Any], mark: Json) -> str:
    """Create the dataset. Returns an empty string, or why creation should be retried: the server is unavailable, or the
    name has been taken meanwhile."""
    import argilla as rg
    import httpx
    from argilla._exceptions import ArgillaError, ConflictError

    queue_settings, comment = settings(argilla.sdk), format_mark(mark)
    queue_settings.guidelines = f"{queue_settings.guidelines}\n{comment}\n"
    dataset = rg.Dataset(name=name, workspace=argilla.workspace, settings=queue_settings, client=argilla.sdk)
    dataset._model.guidelines = comment  # the client first creates a draft without the settings
    try:
        dataset.create()
    except ConflictError:
        return "other processes take every name first"
    except (ArgillaError, httpx.HTTPError) as error:
        if failure := describe_outage(error):
            return failure
        raise ReviewError(
            f"The queue {name} cannot be created: {_server_error(error)}",
            where=argilla.url,
            fix="Read the server's log.",
        ) from error
    return ""


def _server_error(error: BaseException) -> BaseException:
    """Return the innermost of the client's own errors: only that one quotes the server."""
    cause = error.__cause__ or error.__context__
    return _server_error(cause) if cause is not None and type(cause).__module__.startswith("argilla.") else error
