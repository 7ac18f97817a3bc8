"""Argilla's background worker with our search engine: webhooks, changes of the distribution, imports from a hub.

A single process that takes jobs from both of Argilla's job queues. Like serve.py, it runs in the server's own
environment.
"""

import pairsmith_sql_engine  # noqa: F401  registers the engine, which jobs open by name
from argilla_server.jobs.queues import DEFAULT_QUEUE, HIGH_QUEUE, REDIS_CONNECTION
from outage import RetryUntilRestart
from rq import Worker
from serve import stop_with_parent

if __name__ == "__main__":
    stop_with_parent()
    REDIS_CONNECTION.set_retry(RetryUntilRestart())
    Worker([HIGH_QUEUE, DEFAULT_QUEUE], connection=REDIS_CONNECTION).work(logging_level="WARNING")
