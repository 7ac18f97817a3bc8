"""Connection to an Argilla server: API calls, the workspace, and a project's queues (Argilla's datasets).

Every call goes through the official client's HTTP connection and is retried while the server is unavailable.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple, Self

import orjson

from curate.argilla.marks import METADATA_KEY, UNKNOWN, Place, format_mark, read_mark
from curate.argilla.probe import fetch_username, is_local_address
from schemas.errors import ReviewError, needing
from schemas.progress import Say, discard_message
from schemas.records import Json
from schemas.streamed import batched
from synth.chat.error_words import displayed_text

PATIENCE_S = 180.0  # a server's restart takes up to 100 s on a busy machine
OLDEST_VERSION = (2, 6)  # tried with 2.6.0 and 2.8.0
_SAID_AFTER_S = 3.0  # a shorter pause of the server is nobody's concern
_PAGE_SIZE = 1_000
_PAGE_SIZE_WITH_ANSWERS = 250  # records per page with answers: one page is processed while the server builds the next
_BULK = 500  # records per request to our own server; with Argilla's route, that many cost a tenth more per record
_BULK_ELSEWHERE = 250
_TIMEOUT_S = 60.0
_BULK_TIMEOUT_S = 300.0  # Argilla stores about 100 records a second, fewer on a busy machine
_MAX_REQUEST_BYTES = 4_000_000  # so that a few very long texts do not overload the server
_MAX_DELETED = 100  # records per request: Argilla's limit


@dataclass(frozen=True)
class Queue:
    """A published dataset.

    `made_as`: the name it was created for. `project`: the project that created it; None if an earlier version of
    pairsmith or somebody else did. `fields`: the names of its fields. `questions`: the ids of its questions by name;
    `titles` and `labels` are theirs, also by name, and cannot change once a dataset is published. `place`: where the
    store is that fills it.
    """

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
    place: Place = UNKNOWN


class ArgillaUser(NamedTuple):
    """An Argilla user: the user name and the time the account was created."""

    name: str
    since: datetime


def utc(text: str) -> datetime:
    """Parse a time from Argilla; one without a time zone is UTC."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Argilla:
    """A signed-in connection. Use it as a context manager."""

    def __init__(
        self,
        url: str,
        api_key: str,
        workspace: str,
        *,
        patience_s: float = PATIENCE_S,
        headers: Mapping[str, str] | None = None,
        say: Say = discard_message,
    ) -> None:
        """Connect and sign in.

        `patience_s`: how long a later call keeps retrying while the server is unavailable, about which `say` is called
        once. `headers` are sent with every call, for a proxy in front of the server.

        Raises ReviewError (nothing answers, not an Argilla server, or wrong key) and MissingDependency.
        """
        self.url, self.workspace, self.patience_s, self.say = url.rstrip("/"), workspace, patience_s, say
        self.sdk = self._signed_in(api_key, dict(headers or {}))

    def _signed_in(self, api_key: str, headers: dict[str, str]) -> Any:
        with needing("review", "review needs"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client's models trigger warnings in the newest versions of pydantic
            import argilla
            from argilla._exceptions import ArgillaError
        import httpx

        logging.getLogger("argilla.sdk").setLevel(logging.CRITICAL)  # everything it logs is also raised
        fetch_username(self.url, api_key, timeout_s=_TIMEOUT_S, headers=headers)
        options: dict[str, Any] = {
            "timeout": _TIMEOUT_S,
            "headers": headers,
            "trust_env": not is_local_address(self.url),
        }
        try:
            self._refuse_old_version(httpx.get(f"{self.url}/api/v1/version", **options).json()["version"])
            return argilla.Argilla(api_url=self.url, api_key=api_key, **options)
        except (ArgillaError, httpx.HTTPError, ValueError, KeyError) as error:
            raise ReviewError(f"Argilla cannot be used: {error}.", where=self.url, fix="Read its log.") from error

    def _refuse_old_version(self, version: str) -> None:
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_VERSION:
            raise ReviewError(
                f"Argilla {version} is too old.",
                where=self.url,
                why="It cannot store the mark by which a project finds its queues, so answers would be lost.",
                fix=f"Use Argilla {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or newer, or remove [review] url: pairsmith"
                " then starts its own server.",
            )

    def in_workspace(self, name: str) -> Argilla:
        """Return this connection, with another workspace selected."""
        other = copy(self)
        other.workspace = name
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sdk.http_client.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the API and return its JSON response. Retries for up to `patience_s` while the server is unavailable or
        failing; raises ReviewError if it remains so, or if the server refuses the request."""
        return self._decode(self._request(method, f"/api/v1/{path}", **arguments), path)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        import httpx

        started, pause, is_known = time.monotonic(), 0.2, False
        while True:
            try:
                answer = self.sdk.http_client.request(method, path, **arguments)
                if answer.status_code < 500:
                    return answer
                problem, first = f"Argilla fails: {_describe_failure(answer)}.", "Fix that (its log has details)"
            except httpx.TransportError as error:
                problem = f"Argilla does not answer: {str(error) or type(error).__name__}."
                first = "Start it (`pairsmith review up`)"
            waited_s = time.monotonic() - started
            if waited_s + pause > self.patience_s:
                raise self.unavailable_error(problem, first)
            if waited_s > _SAID_AFTER_S and not is_known:
                is_known = True
                self.say(f"{self.url}: {problem} Trying again for up to {self.patience_s:,.0f} s.")
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _decode(self, answer: Any, path: str) -> Any:
        if answer.status_code in (401, 403):
            raise ReviewError(
                f"Argilla denies this user access to {path} ({answer.status_code}).",
                where=self.url,
                fix="Use the API key of an owner, or of an admin of the workspace.",
            )
        if answer.status_code >= 400:
            raise ReviewError(
                f"Argilla refuses the request ({answer.status_code} at {path}): {_describe_refusal(answer)}.",
                where=self.url,
                why="Everything sent before is stored. Somebody may have changed or deleted the queue meanwhile.",
                fix="Run the command again. If it fails in the same way, check the queue in Argilla, or send the rows "
                "to a new one: give review.dataset another name.",
            )
        return orjson.loads(answer.content) if answer.content else None

    def workspace_id(self, *, make: bool) -> str | None:
        """Return the workspace's id. If it does not exist, create it if `make`, otherwise return None."""
        for workspace in self.call("GET", "me/workspaces")["items"]:
            if workspace["name"] == self.workspace:
                return str(workspace["id"])
        if not make:
            return None
        created = self._request("POST", "/api/v1/workspaces", json={"name": self.workspace})
        if created.status_code == 409:  # somebody else has just created it
            return self.workspace_id(make=False) or self._decode(created, "workspaces")
        return str(self._decode(created, "workspaces")["id"])

    def datasets(self) -> list[Json]:
        workspace = self.workspace_id(make=False)
        return [] if workspace is None else self._datasets(workspace_id=workspace)

    def _datasets(self, **query: str) -> list[Json]:
        datasets: list[Json] = self.call("GET", "me/datasets", params=query)["items"]
        return datasets

    def _datasets_of(self, project: str | None, *, here: bool = False) -> list[tuple[Json, Json]]:
        """Return the datasets with the project's mark, with `here` only those of this workspace, and the unmarked ones
        of this workspace; each after its mark."""
        workspace = self.workspace_id(make=False)
        marked = [(read_mark(dataset), dataset) for dataset in self._datasets()]
        return [
            (mark, dataset)
            for mark, dataset in marked
            if (not mark or mark.get("project") == project)
            and (dataset["workspace_id"] == workspace or (mark and not here))
        ]

    def activity(self, project: str | None) -> dict[str, str]:
        """Return when somebody last answered in each dataset of a project, or changed or withdrew an answer, by its id.

        Answers that a program stores together with their rows leave it as it is (Argilla 2.8)."""
        return {str(dataset["id"]): str(dataset.get("last_activity_at")) for _, dataset in self._datasets_of(project)}

    def queues(self, project: str | None, names: Collection[str], *, here: bool = False) -> list[Queue]:
        """Return the queues that carry the project's mark, whatever their present names and workspaces, and the
        unmarked ones of this workspace with one of `names`. `here`: only those of this workspace. Read-only."""
        return [
            self.queue_of(dataset)
            for mark, dataset in sorted(self._datasets_of(project, here=here), key=lambda one: str(one[1]["name"]))
            if dataset["status"] == "ready" and (mark or dataset["name"] in names)
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
            labels={name: tuple(str(choice["value"]) for choice in choices) for name, choices in options.items()},
            guidelines=dataset.get("guidelines") or "",
            min_submitted=(dataset.get("distribution") or {}).get("min_submitted", 1),
            place=Place(*mark.get("place", ())),
        )

    def update_queue(self, queue: Queue, project: str, place: Place, guidelines: str, min_submitted: int) -> None:
        """Update the queue's guidelines and required answers to match the spec, and mark the queue as this project's,
        filled from `place`."""
        mark: Json = {"project": project, "queue": queue.made_as}
        guidelines_with_mark = f"{guidelines}\n{format_mark({**mark, 'place': place})}\n"
        changes: Json = {}
        if queue.guidelines != guidelines_with_mark:
            changes["guidelines"] = guidelines_with_mark
        if queue.min_submitted != min_submitted:
            changes["distribution"] = {"strategy": "overlap", "min_submitted": min_submitted}
        if changes or queue.project != project:
            changes["metadata"] = {METADATA_KEY: mark}
            self.call("PATCH", f"datasets/{queue.id}", json=changes)

    def unavailable_error(self, problem: str, first: str) -> ReviewError:
        return ReviewError(
            problem,
            where=self.url,
            why="Everything sent before is stored, and nothing was sent twice.",
            fix=f"{first} and run the command again; it continues where it stopped.",
        )

    @cached_property
    def _is_pairsmith_server(self) -> bool:
        """Whether this is pairsmith's own server, which has faster routes for rows (curate/argilla/engine/rows.py). Any
        other Argilla answers this request with its HTML page."""
        script = self._request("GET", "/pairsmith/page.js")
        return str(script.headers.get("content-type")).startswith("text/javascript")

    def records(self, queue: Queue, *, responses: bool = False) -> Iterator[Json]:
        """Yield every record of a queue, oldest first: id, external id and status; with `responses` also its fields,
        metadata and everybody's responses."""
        return (record for page in self.pages(queue, responses=responses) for record in page)

    def pages(self, queue: Queue, *, responses: bool = False) -> Iterator[list[Json]]:
        """Yield `records` a page at a time. The next page is requested while the current one is processed."""
        query: Json = {"include": "responses"} if responses else {}
        path, size = f"datasets/{queue.id}/records", _PAGE_SIZE_WITH_ANSWERS if responses else _PAGE_SIZE
        if self._is_pairsmith_server:
            path, size, query = f"pairsmith/{path}", _PAGE_SIZE, {"responses": responses}

        def page(offset: int) -> tuple[list[Json], bool]:
            answer: Json = self.call("GET", path, params={"offset": offset, "limit": size, **query})
            items: list[Json] = answer["items"]
            end = offset + len(items)
            return items, len(items) == size and end < (answer.get("total") or end + 1)

        with ThreadPoolExecutor(1) as executor:
            next_page, offset, more = executor.submit(page, 0), 0, True
            while more:
                items, more = next_page.result()
                if more:
                    offset += size
                    next_page = executor.submit(page, offset)
                yield items

    def add(self, queue: Queue, items: Iterable[Json], done: Callable[[int], None]) -> None:
        """Add records that the queue does not have, in the format of Argilla's bulk route. `done` is called with the
        number of records in each stored chunk. The next chunk is serialised while one is being sent."""
        path, max_items = f"datasets/{queue.id}/records/bulk", _BULK_ELSEWHERE
        if self._is_pairsmith_server:
            path, max_items = f"pairsmith/datasets/{queue.id}/records", _BULK

        def send(chunk: list[bytes]) -> int:
            headers = {"Content-Type": "application/json"}
            content = b'{"items":[' + b",".join(chunk) + b"]}"
            self.call("PUT", path, content=content, headers=headers, timeout=_BULK_TIMEOUT_S)
            return len(chunk)

        with ThreadPoolExecutor(1) as executor:  # Argilla handles two requests in parallel slower than in sequence
            sent: Future[int] | None = None
            for chunk in _chunks(map(orjson.dumps, items), max_items):
                if sent is not None:
                    done(sent.result())
                sent = executor.submit(send, chunk)
            if sent is not None:
                done(sent.result())

    def withdraw(self, queue: Queue, record_ids: Collection[str]) -> int:
        """Remove those rows from a queue that nobody has started to answer; return their number."""
        answered = {str(row["id"]) for row in self.records(queue, responses=True) if row.get("responses")}
        unanswered = sorted(set(record_ids) - answered)
        return self.delete(queue, unanswered)

    def delete(self, queue: Queue, record_ids: Iterable[str]) -> int:
        """Remove rows from a queue together with their answers; return their number."""
        deleted = 0
        for some in batched(record_ids, _MAX_DELETED):
            self.call("DELETE", f"datasets/{queue.id}/records", params={"ids": ",".join(some)})
            deleted += len(some)
        return deleted

    @property
    def alone(self) -> bool:
        """Whether the signed-in user is the only one who may answer in the workspace."""
        workspace, me = self.workspace_id(make=False), self.call("GET", "me")["id"]
        if workspace is None:
            return True
        return all(str(user["id"]) == str(me) for user in self.call("GET", f"workspaces/{workspace}/users")["items"])

    def page_of(self, queue: Queue) -> str:
        """Return the URL of the page where a queue's rows are answered."""
        return f"{self.url}/dataset/{queue.id}/annotation-mode"

    @property
    def sees_everybody(self) -> bool:
        """Whether `users` are all users of the server, so that a missing one is deleted."""
        return bool(self.call("GET", "me")["role"] == "owner")

    def users(self) -> dict[str, ArgillaUser]:
        """Return the users by id: all users for an owner, those of the workspace for an admin."""
        path = "users" if self.sees_everybody else f"workspaces/{self.workspace_id(make=False)}/users"
        users = self.call("GET", path)["items"]
        return {str(user["id"]): ArgillaUser(user["username"], utc(user["inserted_at"])) for user in users}


def _chunks(items: Iterable[bytes], max_items: int) -> Iterator[list[bytes]]:
    """Group items into chunks of at most `max_items` and, unless a chunk is a single item, `_MAX_REQUEST_BYTES`."""
    chunk: list[bytes] = []
    size = 0
    for item in items:
        if chunk and (len(chunk) == max_items or size + len(item) > _MAX_REQUEST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += len(item)
    if chunk:
        yield chunk


def _describe_failure(answer: Any) -> str:
    """Describe why a server failed, from its response with status 500 or above."""
    if "disk is full" in answer.text or "No space left" in answer.text:
        return "the disk of its database is full"
    if "redis.exceptions" in answer.text:
        return "its Redis does not answer"
    return f"status {answer.status_code} {displayed_text(answer.text)[:300]}".strip()


def _describe_refusal(answer: Any) -> str:
    """Return Argilla's own message for a refused request; for several errors the first one, with its location."""
    try:
        detail = orjson.loads(answer.content)["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        detail = displayed_text(answer.text)
    if isinstance(detail, dict):
        params = detail.get("params") or {}
        detail = params.get("errors") or params.get("detail") or str(detail.get("code")).rpartition("::")[2]
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        detail = f"{'.'.join(map(str, detail[0].get('loc', ())))}: {detail[0].get('msg', '')}"
    return " ".join(str(detail).split())[:300].strip(" .:") or "no reason given"


def describe_outage(error: BaseException) -> str:
    """Describe an outage or server failure behind an error, which the client may have wrapped in its own; empty if the
    error has another cause."""
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
