"""Answers sent through Argilla's API in the way its web page sends them, and the queue they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.argilla.client import Argilla, Queue


def answer(
    client: Any, record_id: str, verdict: str | None, status: str = "submitted", **values: Any
) -> Mapping[str, Any]:
    """Send one response of the client's user, as the web page does, and return the API's answer."""
    filled = {name: {"value": value} for name, value in {"verdict": verdict, **values}.items() if value is not None}
    response = client.http_client.post(
        f"/api/v1/records/{record_id}/responses", json={"values": filled, "status": status}
    )
    response.raise_for_status()
    return response.json()  # type: ignore[no-any-return]


def change(
    client: Any, response_id: str, verdict: str | None, status: str = "submitted", **values: Any
) -> Mapping[str, Any]:
    """Replace an earlier answer."""
    filled = {name: {"value": value} for name, value in {"verdict": verdict, **values}.items() if value is not None}
    response = client.http_client.put(f"/api/v1/responses/{response_id}", json={"values": filled, "status": status})
    response.raise_for_status()
    return response.json()  # type: ignore[no-any-return]


def queue_named(argilla: Argilla, name: str) -> Queue | None:
    """The published queue of that name, whichever project it is marked for."""
    ready = (of for of in argilla.datasets() if of["name"] == name and of["status"] == "ready")
    return next(map(argilla.queue_of, ready), None)
