"""`review pull --watch` between answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curate.argilla.client import Argilla
from pairsmith.stages import review
from schemas.errors import ReviewError
from schemas.reviews import Sampled
from schemas.store import Store
from tests.curate.argilla.conftest import argilla_client
from tests.curate.argilla.loopback_argilla import Dataset, LoopbackArgilla
from tests.curate.review.review_project import fill, project

argilla_client()


def test_watching_reads_the_rows_only_after_an_answer(tmp_path: Path) -> None:
    """Every ten seconds, all rows of all queues were read with their answers, while nobody was answering."""
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store:
        pairs = fill(project_, store)
        store.write(*(Sampled(pair_id=p.id, reason="certify", sampling_probability=0.5, dataset="cats") for p in pairs))
    with LoopbackArgilla() as server, ThreadPoolExecutor(1) as aside:
        server.datasets["cats"] = Dataset(rows={pair.id: {} for pair in pairs})

        def polls() -> int:
            return server.requests.count(("GET", "me/datasets"))

        def readings() -> int:
            return sum(path.endswith("/records") for _, path in server.requests)

        def wait_for(until: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 120
            while not until():
                assert time.monotonic() < deadline
                time.sleep(0.01)

        with Argilla(server.url, "key", "pairsmith", patience_s=1) as argilla:
            watching = aside.submit(lambda: next(review.watch(project_, argilla, 0.01), None))
            wait_for(lambda: polls() > 10)
            assert readings() == 1
            server.answer("cats", "somebody else's row", server.user("ann"), "accept", 5)
            wait_for(lambda: readings() == 2)
            begun = polls()
            wait_for(lambda: polls() > begun + 10)
            assert readings() == 2
            server.refuses = "{}"
            with pytest.raises(ReviewError):
                watching.result(120)
