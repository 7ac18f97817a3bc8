"""Two ways to query the search engine: in a separate process, and over a real server's HTTP API.

A question is a dictionary (see `engine_questions`). An answer has the numbers of the records found, the total and the
scores, or the message of a refusal."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from curate.argilla.server import ArgillaServer

SIDE = Path(__file__).parents[3] / "curate" / "argilla" / "engine"
HERE = Path(__file__).parent
COUNT = 300
_SPACE = uuid.UUID(int=0x5EED)  # as in fill.py
DATASET, OTHER_DATASET = uuid.uuid5(_SPACE, "pairs"), uuid.uuid5(_SPACE, "beside")


def record_id(number: int) -> uuid.UUID:
    """The id that `fill.py` gives a record."""
    return uuid.uuid5(_SPACE, f"record {number}")


class EngineProcess:
    """A known database. `ask` queries the engine in one process of the server's Python, without a server."""

    def __init__(self, python: Path, home: Path, url: str) -> None:
        self.environment = {
            "PYTHONPATH": f"{SIDE}:{HERE}",
            "ARGILLA_HOME_PATH": str(home),
            "ARGILLA_DATABASE_URL": url,
            "ARGILLA_SEARCH_ENGINE": "pairsmith-sql",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TMPDIR": str(home),  # each process leaves 14 MB there
        }
        self.python, self.home = python, home
        self.run(SIDE / "serve.py", "migrate")

    def run(self, *argv: object, stdin: str = "") -> str:
        done = subprocess.run(
            [self.python, *map(str, argv)],
            env=self.environment,
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def ask(self, *questions: dict[str, Any]) -> list[Any]:
        answers: list[Any] = json.loads(
            self.run(HERE / "probe_engine.py", stdin=json.dumps(questions)).splitlines()[-1]
        )
        return answers


class EngineOverHTTP:
    """A known dataset on a real server. `ask` sends the requests that the web page and the client send."""

    def __init__(self, running: ArgillaServer) -> None:
        self.running = running
        children = json.loads((running.home / "supervisor.json").read_text())["children"]
        environment = {**children[-1]["environment"], "PYTHONPATH": f"{SIDE}{os.pathsep}{HERE}"}
        filled = subprocess.run(
            [children[-1]["argv"][0], HERE / "fill.py", "known"],
            env=environment,
            cwd=running.home,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert filled.returncode == 0, filled.stderr[-3000:]
        listed = self.call("GET", f"/me/datasets/{DATASET}/metadata-properties")["items"]
        self.properties = {item["name"]: item["id"] for item in listed}

    def call(self, method: str, path: str, body: Any = None, user: str | None = None) -> Any:
        """Call the API as the owner, or as `user`. Returns its answer, or {"refused": message} for a 422."""
        key = f"key.{user}" if user else self.running.api_key
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Argilla-Api-Key": key, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.running.url}/api/v1{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 422:
                raise AssertionError(f"{method} {path} {body}: {error.code} {error.read().decode()}") from error
            return {"refused": json.load(error)["detail"]}

    def ask(self, *questions: dict[str, Any]) -> list[Any]:
        return [self._answer(dict(question)) for question in questions]

    def _answer(self, asked: dict[str, Any]) -> Any:
        kind = asked.pop("ask", "search")
        if kind == "progress":
            return self.call("GET", f"/datasets/{DATASET}/progress")
        if kind == "user_progress":
            return self.call("GET", f"/me/datasets/{DATASET}/metrics", user=asked["user"])["responses"]
        if kind == "metrics":
            return self.call("GET", f"/metadata-properties/{self.properties[asked['name']]}/metrics")
        if kind == "change":
            return self._change(asked["do"], record_id(asked["number"]))
        return self.search(**asked)

    def search(
        self,
        *,
        text: str | None = None,
        field: str | None = None,
        filters: list[dict[str, Any]] | None = None,
        sort: list[dict[str, Any]] | None = None,
        user: str | None = None,
        offset: int = 0,
        limit: int = 100,
        number: int | None = None,
        value: list[float] | None = None,
        order: str = "most_similar",
    ) -> Any:
        """The records found. Runs as the user that the question names, because a filter on responses means that user's
        own."""
        users = {part.get("user") for part in [*(filters or []), *(sort or [])]} | {user}
        user = next((name for name in users if name), None)
        body: dict[str, Any] = {"query": {}}
        if text is not None:
            body["query"]["text"] = {"q": text, "field": field}
        if number is not None or value is not None:
            near = {"value": value} if number is None else {"record_id": str(record_id(number))}
            body["query"]["vector"] = {"name": "mini", "order": order, **near}
        if filters:
            body["filters"] = {"and": [_filter(part) for part in filters]}
        if sort:
            body["sort"] = [{"scope": _scope(part), "order": part["order"]} for part in sort]
        path = f"{'/me' if user else ''}/datasets/{DATASET}/records/search?offset={offset}&limit={limit}"
        answer = self.call("POST", path, body, user)
        if "refused" in answer:
            return answer
        numbers = [int(item["record"]["external_id"].removeprefix("row-")) for item in answer["items"]]
        scores = [item.get("query_score") for item in answer["items"]]
        return {"numbers": numbers, "total": answer["total"], "scores": scores}

    def _change(self, do: str, record: uuid.UUID) -> Any:
        if do == "delete":
            return self.call("DELETE", f"/records/{record}")
        if do == "suggest":
            question = str(uuid.uuid5(DATASET, "question verdict"))
            suggestion = {"question_id": question, "value": "brandnew", "score": 0.99, "agent": "later"}
            return self.call("PUT", f"/records/{record}/suggestions", suggestion)
        fields = {"prompt": "wholly changedword", "reply": "", "talk": [], "picture": None}
        return self.call(
            "PATCH", f"/records/{record}", {"fields": fields, "metadata": {"topic": "changed", "length": -5}}
        )


def _scope(part: dict[str, Any]) -> dict[str, Any]:
    scope = {name: part[name] for name in ("entity", "property", "question") if name in part}
    return {**scope, "metadata_property": part["name"]} if "name" in part else scope


def _filter(part: dict[str, Any]) -> dict[str, Any]:
    scope = _scope(part)
    if "values" in part:
        return {"type": "terms", "scope": scope, "values": part["values"]}
    return {"type": "range", "scope": scope, "ge": part.get("ge"), "le": part.get("le")}
