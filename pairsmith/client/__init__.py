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
from http.client import HTTPException

from pairsmith.client.calls import Calls
from pairsmith.client.http import ProblemError
from pairsmith.client.shapes import Job

__all__ = ["Client", "ProblemError"]

_RESTART_S = 120.0
_UNAVAILABLE = (502, 503, 504)  # the statuses with which a proxy reports that the service is away
ENDED = frozenset({"stopped", "waits_for_people", "done", "failed"})


class Client(Calls):
    """The service at `url`, with an API key; no key is needed if the service runs with `--no-auth`."""

    def wait(self, job: Job, *, every_s: float = 2.0) -> Job:
        """Wait until a job has ended, and return it.

        A restart of the service is waited out, because its jobs continue. Raises the error of the call once the service
        has been unavailable for two minutes.
        """
        answered = time.monotonic()
        while job["state"] not in ENDED:
            time.sleep(every_s)
            try:
                job = self.job(job["id"])
                answered = time.monotonic()
            except (OSError, HTTPException, ProblemError) as error:
                unavailable = not isinstance(error, ProblemError) or error.status in _UNAVAILABLE
                if not unavailable or time.monotonic() - answered > _RESTART_S:
                    raise
        return job
