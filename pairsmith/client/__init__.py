"""A small client of `pairsmith serve`, typed from the schema of its API.

    from pairsmith.client import Client

    service = Client("http://127.0.0.1:8660", key="ps_...")
    job = service.start_job("tickets", {"command": "run"}, idempotency_key="monday")
    job = service.wait(job)

Each operation of `/api/v1` is a method of the same name: `calls.py`, with the shapes of `shapes.py`; both are written
by `python -m pairsmith.serve.write_client`. For `/v1` take OpenAI's client.
"""

from __future__ import annotations

from http.client import HTTPException

from pairsmith.client.calls import Calls
from pairsmith.client.http import ProblemError
from pairsmith.client.shapes import Job

__all__ = ["Client", "ProblemError"]

_RESTART_S = 120.0
ENDED = frozenset({"stopped", "waits_for_people", "done", "failed"})


class Client(Calls):
    """The service at `url`, with an API key; without one where the service runs with `--no-auth`."""

    def wait(self, job: Job, *, every_s: float = 2.0) -> Job:
        """The job when it has ended. A service that starts anew meanwhile is waited for: its jobs go on. Raises what a
        call raises once nothing has answered for two minutes."""
        import time

        answered = time.monotonic()
        while job["state"] not in ENDED:
            time.sleep(every_s)
            try:
                job = self.job(job["id"])
                answered = time.monotonic()
            except (OSError, HTTPException, ProblemError) as error:
                away = not isinstance(error, ProblemError) or error.status in (502, 503, 504)  # a proxy's words for it
                if not away or time.monotonic() - answered > _RESTART_S:
                    raise
        return job
