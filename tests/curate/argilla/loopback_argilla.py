"""The part of Argilla's HTTP API that reading its queues needs, on a loopback port. The test sets rows, answers and
users. Every request is recorded, so that a test can check what was requested and that nothing was changed."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from tests.servers import Handler, OnThreads

START = datetime(2026, 3, 1, tzinfo=UTC)
WORKSPACE = "11111111-1111-1111-1111-111111111111"


def at(minute: float) -> str:
    """A time as Argilla writes it: UTC, without a time zone."""
    return (START + timedelta(minutes=minute)).replace(tzinfo=None).isoformat()


@dataclass
class Dataset:
    """A queue: its status, and pair id -> user id -> answer."""

    status: str = "ready"
    questions: tuple[str, ...] = ("verdict", "reasons", "edited")
    guidelines: str | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    last_activity: str = at(-60)


class LoopbackArgilla(OnThreads):
    """Use it in a `with`; `url` is its address. `users` maps user id to name; `requests` holds (method, path)."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {"00000000-0000-0000-0000-000000000001": "pairsmith"}
        self.since: dict[str, float] = {}
        self.datasets: dict[str, Dataset] = {}
        self.requests: list[tuple[str, str]] = []
        self.wants: tuple[str, str] | None = None  # a header that a proxy in front of it requires
        self.refuses: str | None = None  # the body with which every request is refused
        self.status = 422  # of what is refused
        self.version = "2.8.0"
        stub = self

        class Answering(Handler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.body()
                path, _, query = self.path.removeprefix("/api/v1/").partition("?")
                stub.requests.append((self.command, path))
                if stub.refuses is not None:
                    self.reply(stub.refuses.encode(), stub.status)
                    return
                answer = stub.read(path, query) if self.command == "GET" else {}
                refused = bool(stub.wants) and self.headers.get(stub.wants[0]) != stub.wants[1]
                refused = refused or path.startswith("webhooks")
                self.reply(json.dumps(answer).encode(), 404 if refused else 200)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

        super().__init__(Answering)

    def user(self, name: str, *, since: float = -60) -> str:
        """Add a user of that name, created in the minute `since`, and return the id."""
        id_ = str(uuid.uuid4())
        self.users[id_], self.since[id_] = name, since
        return id_

    def delete_user(self, name: str) -> None:
        """Delete the users of that name and, as Argilla does, their answers."""
        for id_ in [id_ for id_, known in self.users.items() if known == name]:
            del self.users[id_]
            for dataset in self.datasets.values():
                for by_user in dataset.rows.values():
                    by_user.pop(id_, None)

    def answer(self, queue: str, pair_id: str, user_id: str, verdict: str, minute: float, **values: Any) -> None:
        """Set the user's answer to a row of a queue, replacing an earlier one; queue and row are created if absent."""
        filled = {name: {"value": value} for name, value in {"verdict": verdict, **values}.items()}
        response = {"user_id": user_id, "status": "submitted", "values": filled, "updated_at": at(minute)}
        dataset = self.datasets.setdefault(queue, Dataset())
        dataset.rows.setdefault(pair_id, {})[user_id] = response
        dataset.last_activity = at(minute)

    def read(self, path: str, query: str) -> Any:
        """Return the answer to a GET."""
        if path == "me":
            ((id_, name), *_) = self.users.items()
            return self._user(id_, name) | {"role": "owner"}
        if path == "users":
            return {"items": [self._user(id_, name) for id_, name in self.users.items()]}
        if path in ("me/workspaces", "workspaces"):
            return {"items": [{"id": WORKSPACE, "name": "pairsmith", "inserted_at": at(-99), "updated_at": at(-99)}]}
        if path == "me/datasets":
            return {"items": [{"id": d.id, "name": name, "status": d.status, "guidelines": d.guidelines,
                               "workspace_id": WORKSPACE, "last_activity_at": d.last_activity}
                              for name, d in self.datasets.items()]}  # fmt: skip
        if match := re.fullmatch(r"datasets/([^/]+)/(fields|questions|records)", path):
            dataset = next(d for d in self.datasets.values() if d.id == match[1])
            if match[2] == "fields":
                return {"items": [{"name": name} for name in ("simple", "enhanced")]}
            if match[2] == "questions":
                return {"items": [{"name": name, "id": name} for name in dataset.questions]}
            asked = dict(part.split("=") for part in query.split("&"))
            begin = int(asked["offset"])
            rows = [
                {
                    "id": id_,
                    "external_id": id_,
                    "fields": {},
                    "metadata": {},
                    "inserted_at": at(-60),
                    "responses": list(by.values()),
                }
                for id_, by in islice(dataset.rows.items(), begin, begin + int(asked["limit"]))
            ]
            return {"items": rows, "total": len(dataset.rows)}
        return {"version": self.version}

    def _user(self, id_: str, name: str) -> dict[str, Any]:
        times = {"inserted_at": at(self.since.get(id_, -60)), "updated_at": at(-60)}
        return {"id": id_, "username": name, "first_name": name, "role": "annotator", **times}
