"""An Argilla seen from here: the client, the workspace, and the queues (Argilla's datasets) of a project.

Every call goes through the official client's HTTP connection and is sent again while the server restarts.
"""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from curate.argilla.probe import is_local_address, who_am_i
from schemas.errors import ReviewError, needing
from schemas.records import Json
from synth.error_words import shown_of

PATIENCE_S = 180.0  # a server's restart takes up to 100 s on a busy machine
OLDEST_VERSION = (2, 6)  # tried with 2.6.0 and 2.8.0
_PAGE_SIZE = 1_000
_PAGE_SIZE_WITH_ANSWERS = 250  # records with answers a page: what one holds is read while another is made
_BULK = 500  # records a request, to our own server; of as many each costs Argilla's route a tenth more
_BULK_ELSEWHERE = 250
_TIMEOUT_S = 60.0
_BULK_TIMEOUT_S = 300.0  # at some 100 records a second, less on a busy machine
_MAX_REQUEST_BYTES = 4_000_000  # a request: a few texts as long as a book are no burden that the server breaks under
_MAX_DELETED = 100  # records a request: Argilla's limit
MARK = "<!-- made by pairsmith -->"  # in a queue's guidelines, where nobody sees it
_CLAIM = re.compile(r"<!-- made by pairsmith (\{.*\}) -->")
_METADATA_KEY = "pairsmith"  # the key in a dataset's metadata under which stands whose it is


@dataclass(frozen=True)
class Queue:
    """A published dataset: its id, the names of its fields, and the ids of its questions by name. `made_as` is the name
    that it was made under, and `project` the project that made it (None: an earlier version, or somebody else).
    `titles` and `labels` are those of the questions, by name; a published dataset keeps them for good."""

    id: str
    name: str
    made_as: str
    project: str | None
    fields: frozenset[str]
    questions: dict[str, str]
    titles: dict[str, str]
    labels: dict[str, tuple[str, ...]]
    guidelines: str
    min_submitted: int


class ArgillaUser(NamedTuple):
    """A user of an Argilla: what they are called, and since when they are there."""

    name: str
    since: datetime


def utc(text: str) -> datetime:
    """Argilla's times are UTC, written without saying so."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Argilla:
    """A signed-in connection. Use it in a `with`."""

    def __init__(
        self,
        url: str,
        api_key: str,
        workspace: str,
        *,
        patience_s: float = PATIENCE_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`patience_s`: how long a call waits for a server that goes describe_outage later. `headers` go with every call, as what
        stands before the server wants. Raises ReviewError (nothing answers, no Argilla, wrong key) and
        MissingDependency."""
        self.url, self.workspace, self.patience_s = url.rstrip("/"), workspace, patience_s
        self.sdk = self._signed_in(api_key, dict(headers or {}))

    def _signed_in(self, api_key: str, headers: dict[str, str]) -> Any:
        with needing("review", "review needs"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client's own models warn under pydantic's newest versions
            import argilla
            from argilla._exceptions import ArgillaError
        import httpx

        logging.getLogger("argilla.sdk").setLevel(logging.CRITICAL)  # what it logs is raised as well
        who_am_i(self.url, api_key, timeout_s=_TIMEOUT_S, headers=headers)
        way: dict[str, Any] = {"timeout": _TIMEOUT_S, "headers": headers, "trust_env": not is_local_address(self.url)}
        try:
            self._refuse_old_version(httpx.get(f"{self.url}/api/v1/version", **way).json()["version"])
            return argilla.Argilla(api_url=self.url, api_key=api_key, **way)
        except (ArgillaError, httpx.HTTPError, ValueError, KeyError) as error:
            raise ReviewError(f"Argilla cannot be used: {error}.", where=self.url, fix="Read its log.") from error

    def _refuse_old_version(self, version: str) -> None:
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_VERSION:
            raise ReviewError(
                f"Argilla {version} answers, which is too old.",
                where=self.url,
                why="It has no place for the mark by which a project finds its queues, and answers would be lost.",
                fix=f"Use Argilla {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or newer, or leave [review] url out for a server of ours.",
            )

    def in_workspace(self, name: str) -> Argilla:
        """The same connection, looking at another workspace."""
        other = copy(self)
        other.workspace = name
        return other

    def __enter__(self) -> Argilla:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sdk.http_client.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """The JSON that the API answers. Waits for a server that is describe_outage or failing; a refusal is a ReviewError."""
        return self._decode(self._request(method, f"/api/v1/{path}", **arguments), path)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        import httpx

        started, pause = time.monotonic(), 0.2
        while True:
            try:
                answer = self.sdk.http_client.request(method, path, **arguments)
                if answer.status_code < 500:
                    return answer
                problem, first = f"Argilla fails: {_describe_failure(answer)}.", "Mend that (its log tells more)"
            except httpx.TransportError as error:
                problem = f"Argilla does not answer: {str(error) or type(error).__name__}."
                first = "Start it (`pairsmith review up`)"
            if time.monotonic() - started + pause > self.patience_s:
                raise self.unavailable_error(problem, first)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _decode(self, answer: Any, path: str) -> Any:
        if answer.status_code in (401, 403):
            raise ReviewError(
                f"Argilla refuses this user ({answer.status_code}) at {path}.",
                where=self.url,
                fix="Use the API key of an owner, or of an admin of the workspace.",
            )
        if answer.status_code >= 400:
            raise ReviewError(
                f"Argilla refuses what it is asked ({answer.status_code} at {path}): {_describe_refusal(answer)}.",
                where=self.url,
                why="What was sent before is there. Somebody may have changed or deleted the queue meanwhile.",
                fix="Run the command again. If it ends in the same way, look at the queue in Argilla, or send rows to "
                "a new one: give review.dataset another name.",
            )
        return orjson.loads(answer.content) if answer.content else None

    def workspace_id(self, *, make: bool) -> str | None:
        """The workspace's id; made if it is not there and `make`."""
        for workspace in self.call("GET", "me/workspaces")["items"]:
            if workspace["name"] == self.workspace:
                return str(workspace["id"])
        if not make:
            return None
        created = self._request("POST", "/api/v1/workspaces", json={"name": self.workspace})
        if created.status_code == 409:  # somebody else made it since
            return self.workspace_id(make=False) or self._decode(created, "workspaces")
        return str(self._decode(created, "workspaces")["id"])

    def datasets(self) -> list[Json]:
        workspace = self.workspace_id(make=False)
        if workspace is None:
            return []
        datasets: list[Json] = self.call("GET", "me/datasets", params={"workspace_id": workspace})["items"]
        return datasets

    def queue(self, name: str) -> Queue | None:
        """The published dataset of that name. Nothing is changed."""
        dataset = next((dataset for dataset in self.datasets() if dataset["name"] == name), None)
        return self.queue_of(dataset) if dataset and dataset["status"] == "ready" else None

    def queues(self, project: str | None, names: Collection[str]) -> list[Queue]:
        """The queues of a project, whatever they are called by now; of those that bear no project's mark, the ones of
        these names. Nothing is changed."""
        ready = [dataset for dataset in self.datasets() if dataset["status"] == "ready"]
        marked = [(read_mark(dataset), dataset) for dataset in ready]
        return [
            self.queue_of(dataset)
            for mark, dataset in sorted(marked, key=lambda one: str(one[1]["name"]))
            if (mark["project"] == project if mark else dataset["name"] in names)
        ]

    def queue_of(self, dataset: Json) -> Queue:
        fields = self.call("GET", f"datasets/{dataset['id']}/fields")["items"]
        questions = self.call("GET", f"datasets/{dataset['id']}/questions")["items"]
        options = {q["name"]: (q.get("settings") or {}).get("options") or () for q in questions}
        mark = read_mark(dataset)
        return Queue(
            id=str(dataset["id"]),
            name=dataset["name"],
            made_as=mark.get("queue") or str(dataset["name"]),
            project=mark.get("project"),
            fields=frozenset(field["name"] for field in fields),
            questions={q["name"]: str(q["id"]) for q in questions},
            titles={q["name"]: str(q.get("title") or q["name"]) for q in questions},
            labels={name: tuple(str(one["value"]) for one in of) for name, of in options.items()},
            guidelines=dataset.get("guidelines") or "",
            min_submitted=(dataset.get("distribution") or {}).get("min_submitted", 1),
        )

    def update_queue(self, queue: Queue, project: str, guidelines: str, min_submitted: int) -> None:
        """Say on the page what the spec says now, and that the queue is this project's."""
        wanted = f"{guidelines}\n{MARK}\n"
        changes: Json = {}
        if queue.guidelines != wanted:
            changes["guidelines"] = wanted
        if queue.min_submitted != min_submitted:
            changes["distribution"] = {"strategy": "overlap", "min_submitted": min_submitted}
        if changes or queue.project != project:
            changes["metadata"] = {_METADATA_KEY: {"project": project, "queue": queue.made_as}}
            self.call("PATCH", f"datasets/{queue.id}", json=changes)

    def unavailable_error(self, problem: str, first: str) -> ReviewError:
        return ReviewError(
            problem,
            where=self.url,
            why="What was sent before is there, and nothing was sent twice.",
            fix=f"{first} and run the command again; it goes on where it stopped.",
        )

    @cached_property
    def _is_pairsmith_server(self) -> bool:
        """Whether it is a server of our own, which has quicker ways in and out (curate/argilla/engine/rows.py). Another
        answers with its page."""
        script = self._request("GET", "/pairsmith/page.js")
        return str(script.headers.get("content-type")).startswith("text/javascript")

    def records(self, queue: Queue, *, responses: bool = False) -> Iterator[Json]:
        """Every record of a queue, oldest first: its id, its external id and its status, and if asked fields, metadata
        and everybody's responses."""
        return (record for page in self.pages(queue, responses=responses) for record in page)

    def pages(self, queue: Queue, *, responses: bool = False) -> Iterator[list[Json]]:
        """`records`, a page at a time. The next one is asked for while one is read."""
        asked: Json = {"include": "responses"} if responses else {}
        path, size = f"datasets/{queue.id}/records", _PAGE_SIZE_WITH_ANSWERS if responses else _PAGE_SIZE
        if self._is_pairsmith_server:
            path, size, asked = f"pairsmith/{path}", _PAGE_SIZE, {"responses": responses}

        def page(offset: int) -> tuple[list[Json], bool]:
            answer: Json = self.call("GET", path, params={"offset": offset, "limit": size, **asked})
            items: list[Json] = answer["items"]
            end = offset + len(items)
            return items, len(items) == size and end < (answer.get("total") or end + 1)

        with ThreadPoolExecutor(1) as ahead:
            coming, offset, more = ahead.submit(page, 0), 0, True
            while more:
                items, more = coming.result()
                if more:
                    offset += size
                    coming = ahead.submit(page, offset)
                yield items

    def add(self, queue: Queue, items: Iterable[Json], done: Callable[[int], None]) -> None:
        """Add records that the queue does not have, as the bulk route of Argilla's API takes them. `done` is told the
        number of a chunk that is there; the next one is made while one is sent."""
        path, most = f"datasets/{queue.id}/records/bulk", _BULK_ELSEWHERE
        if self._is_pairsmith_server:
            path, most = f"pairsmith/datasets/{queue.id}/records", _BULK

        def send(chunk: list[bytes]) -> int:
            headers = {"Content-Type": "application/json"}
            content = b'{"items":[' + b",".join(chunk) + b"]}"
            self.call("PUT", path, content=content, headers=headers, timeout=_BULK_TIMEOUT_S)
            return len(chunk)

        with ThreadPoolExecutor(1) as aside:  # two at once cost Argilla more than one after the other
            sent: Future[int] | None = None
            for chunk in _chunks(map(orjson.dumps, items), most):
                if sent is not None:
                    done(sent.result())
                sent = aside.submit(send, chunk)
            if sent is not None:
                done(sent.result())

    def withdraw(self, queue: Queue, record_ids: Collection[str]) -> int:
        """Take rows out of a queue that nobody has begun to answer; the number of them."""
        answered = {str(row["id"]) for row in self.records(queue, responses=True) if row.get("responses")}
        unanswered = sorted(set(record_ids) - answered)
        return self.delete(queue, unanswered)

    def delete(self, queue: Queue, record_ids: Sequence[str]) -> int:
        """Take rows out of a queue with all that was said of them; the number of them."""
        for start in range(0, len(record_ids), _MAX_DELETED):
            ids = ",".join(record_ids[start : start + _MAX_DELETED])
            self.call("DELETE", f"datasets/{queue.id}/records", params={"ids": ids})
        return len(record_ids)

    @property
    def alone(self) -> bool:
        """Whether nobody but who is signed in may answer in the workspace."""
        workspace, me = self.workspace_id(make=False), self.call("GET", "me")["id"]
        if workspace is None:
            return True
        return all(str(user["id"]) == str(me) for user in self.call("GET", f"workspaces/{workspace}/users")["items"])

    def page_of(self, queue: Queue) -> str:
        """The address of the page on which the rows of a queue are answered."""
        return f"{self.url}/dataset/{queue.id}/annotation-mode"

    def users(self) -> dict[str, ArgillaUser]:
        """user id -> who that is, of everyone, or for an admin of the workspace's."""
        owner = self.call("GET", "me")["role"] == "owner"
        path = "users" if owner else f"workspaces/{self.workspace_id(make=False)}/users"
        users = self.call("GET", path)["items"]
        return {str(user["id"]): ArgillaUser(user["username"], utc(user["inserted_at"])) for user in users}


def _chunks(items: Iterable[bytes], most: int) -> Iterator[list[bytes]]:
    """At most `most` items, and if there are several at most `_MAX_REQUEST_BYTES`."""
    chunk: list[bytes] = []
    size = 0
    for item in items:
        if chunk and (len(chunk) == most or size + len(item) > _MAX_REQUEST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += len(item)
    if chunk:
        yield chunk


def read_mark(dataset: Json) -> Json:
    """What we wrote about a dataset: the `project` it belongs to and the `queue` it is, while it is made also the
    `store` of who makes it; empty if we did not."""
    claimed = _CLAIM.search(dataset.get("guidelines") or "")
    mark: Json = (dataset.get("metadata") or {}).get(_METADATA_KEY) or (json.loads(claimed[1]) if claimed else {})
    return mark


def format_mark(mark: Json) -> str:
    """The mark of a queue that is being made, for its guidelines: a draft can have it from its first moment."""
    return f"<!-- made by pairsmith {json.dumps(mark)} -->"


def _describe_failure(answer: Any) -> str:
    """Why a server failed, read off its answer of status 500 or above."""
    if "disk is full" in answer.text or "No space left" in answer.text:
        return "the disk of its database is full"
    if "redis.exceptions" in answer.text:
        return "its Redis does not answer"
    return f"status {answer.status_code} {shown_of(answer.text)[:300]}".strip()


def _describe_refusal(answer: Any) -> str:
    """What Argilla says against a request, in its words: of several errors the first, and where it lies."""
    try:
        detail = orjson.loads(answer.content)["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        detail = shown_of(answer.text)
    if isinstance(detail, dict):
        params = detail.get("params") or {}
        detail = params.get("errors") or params.get("detail") or str(detail.get("code")).rpartition("::")[2]
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        detail = f"{'.'.join(map(str, detail[0].get('loc', ())))}: {detail[0].get('msg', '')}"
    return " ".join(str(detail).split())[:300].strip(" .:") or "it says nothing"


def describe_outage(error: BaseException) -> str:
    """How the server was describe_outage or failing, which the client may have wrapped in an error of its own; empty if it was
    not."""
    import httpx

    cause: BaseException | None = error
    failing = ""
    while cause is not None:
        if isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code >= 500:
            return _describe_failure(cause.response)
        if isinstance(cause, httpx.TransportError):
            return f"Argilla does not answer: {str(cause) or type(cause).__name__}"
        if (getattr(cause, "status_code", None) or 0) >= 500:
            failing = f"Argilla fails: {cause}"
        cause = cause.__cause__ or cause.__context__
    return failing
