"""A small client for `pairsmith serve`, typed from its OpenAPI schema.

    from pairsmith.client import Client

    service = Client("http://127.0.0.1:8660", key="ps_...")
    job = service.start_job("tickets", {"command": "run"}, idempotency_key="monday")
    job = service.wait(job)

Each operation of `/api/v1` is a method of the same name in `calls.py`, with the types in `shapes.py`. Both are written
by `python -m pairsmith.serve.write_client`. For `/v1` use OpenAI's client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any

from pairsmith.client.calls import Calls
from pairsmith.client.http import ProblemError, Result
from pairsmith.client.shapes import Job

__all__ = ["Client", "ProblemError"]

_RESTART_S = 120.0
_RECONNECT_S = 1.0
_JOBS = 200  # on one page
_ERRORS = (OSError, HTTPException, ProblemError)
_UNAVAILABLE = (502, 503, 504)  # the statuses with which a proxy reports that the service is away
ENDED = frozenset({"stopped", "waits_for_people", "done", "failed"})


class Client(Calls):
    """The service at `url`, with an API key; no key is needed if the service runs with `--no-auth`."""

    def wait(self, job: Job, *, every_s: float = 2.0) -> Job:
        """Wait until a job has ended, and return it.

        A restart of the service is waited out, because its jobs continue. Raises the error of the call once the service
        has been unavailable for two minutes.
        """
        id_ = job["id"]
        while job["state"] not in ENDED:
            time.sleep(every_s)
            job = _patiently(lambda: self.job(id_), every_s)
        return job

    def events(self, *, last_event_id: str | None = None) -> Iterator[Any]:
        """Live events of your projects until no job of theirs is queued or running: all current states at once, then
        each change. If no job is queued or running, there are no events.

        A restart of the service is waited out as by `wait`; all current states then come again.
        """
        while running := _patiently(self._running):
            try:
                for event in super().events(last_event_id=last_event_id):
                    if event is None:  # a heartbeat
                        running &= self._running()
                    elif event:
                        yield event
                        running -= {event["data"]["id"]} if event["data"]["state"] in ENDED else set()
                    if not running:
                        break
            except _ERRORS as error:
                if not _is_unavailable(error):
                    raise
            time.sleep(_RECONNECT_S)

    def _running(self) -> set[str]:
        """The ids of the jobs that have not ended."""
        page = self.jobs(limit=_JOBS)
        jobs = page["items"]
        while cursor := page.get("next"):
            page = self.jobs(limit=_JOBS, cursor=cursor)
            jobs += page["items"]
        return {job["id"] for job in jobs if job["state"] not in ENDED}


def _patiently(call: Callable[[], Result], every_s: float = 2.0) -> Result:
    """Call again while the service is unavailable, for at most two minutes."""
    began_s = time.monotonic()
    while True:
        try:
            return call()
        except _ERRORS as error:
            if not _is_unavailable(error) or time.monotonic() - began_s > _RESTART_S:
                raise
        time.sleep(every_s)


def _is_unavailable(error: Exception) -> bool:
    """Whether the service, or what a proxy in front of it leads to, is away."""
    return not isinstance(error, ProblemError) or error.status in _UNAVAILABLE
