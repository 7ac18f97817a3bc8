"""Argilla's background worker with our search engine: webhooks, changes of the distribution, imports from a hub.

A single process that takes jobs from both of Argilla's job queues. Like serve.py, it runs in the server's own
environment. Argilla, whose import takes 4 CPU seconds and 0.2 GB, is imported at the first job and does not delay the
server's start.
"""

import os
from typing import Any

from outage import RetryUntilRestart
from redis import Redis
from rq import Worker
from serve import stop_with_parent


class LazyWorker(Worker):
    """Imports Argilla when a job arrives: here, not in the process that is forked for it, so that it happens once."""

    def execute_job(self, job: Any, queue: Any) -> None:
        import pairsmith_sql_engine  # noqa: F401  registers the engine, which jobs open by name
        from argilla_server.jobs.queues import REDIS_CONNECTION

        REDIS_CONNECTION.set_retry(RetryUntilRestart())
        super().execute_job(job, queue)


if __name__ == "__main__":
    stop_with_parent()
    connection = Redis.from_url(os.environ["ARGILLA_REDIS_URL"])
    connection.set_retry(RetryUntilRestart())
    LazyWorker(["high", "default"], connection=connection).work(logging_level="WARNING")
