"""A Redis that is away for a moment (killed, it is started again within seconds) fails nobody who hands it work."""

import time

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

WAIT_S = 10.0
_OUTAGE_INTERVAL_S = 60.0
_PAUSE_S = 0.05


class RetryUntilRestart(Retry):
    """Tries again while Redis cannot be reached. The server stands still meanwhile, because Argilla hands work over in
    its event loop; so of an outage that lasts at most `WAIT_S` a minute are waited for, and then it is told at once."""

    began = None  # the wait, of all connections together; None while Redis answers

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
