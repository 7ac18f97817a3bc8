"""Retries during short outages of Redis, which the supervisor restarts within seconds, so that no enqueued job is
lost."""

import time

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

WAIT_S = 10.0
_OUTAGE_INTERVAL_S = 60.0
_PAUSE_S = 0.05


class RetryUntilRestart(Retry):
    """Retries while Redis cannot be reached, for at most `WAIT_S` per minute; after that, errors are raised at once.
    The limit is needed because Argilla enqueues jobs in its event loop, so the whole server blocks while this waits."""

    began = None  # start of the outage, shared by all connections; None while Redis answers

    def __init__(self):
        super().__init__(NoBackoff(), 0)

    def call_with_retry(self, *args, **kwargs):
        while True:
            try:
                answer = super().call_with_retry(*args, **kwargs)
            except ConnectionError:
                now = time.monotonic()
                if RetryUntilRestart.began is None or now - RetryUntilRestart.began > _OUTAGE_INTERVAL_S:
                    RetryUntilRestart.began = now
                if now - RetryUntilRestart.began > WAIT_S:
                    raise
                time.sleep(_PAUSE_S)
            else:
                RetryUntilRestart.began = None
                return answer
