"""A provider that is slow to answer, and a run that is stopped meanwhile: the user learns of it soon, and no more is
created."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from schemas.errors import TeacherError
from synth.batch import api as batch_api
from synth.chat.completions import StoppedError
from synth.ledger import Completion, Ledger, Question
from tests.synth.batch.test_batch_leftovers import PRICE, spent
from tests.synth.batch.test_batches import EVERY_FORM, SAMPLING, ask_dogs, chat, with_batches
from tests.synth.batch.test_lost_batches import (
    Busy,
    all_answered,
    forget_submitted_batches,
    refuses_upload,
    until,
)
from tests.synth.batch_loopback import BatchProvider


class Silent(BatchProvider):
    """Never answers the first two questions for the state of a batch."""

    silences = 2

    async def _job(self, request: web.Request) -> web.Response:
        if self.silences:
            self.silences -= 1
            await asyncio.sleep(600)
        return await super()._job(request)


@EVERY_FORM
def test_silent_provider_is_reported_and_asked_again(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status request without an answer is repeated, and the user learns after some seconds why nothing happens: the
    time that passed counts, not only the next wait."""
    monkeypatch.setattr(batch_api, "_GET_TIMEOUT", aiohttp.ClientTimeout(sock_read=0.2))
    monkeypatch.setattr(batch_api, "_REPORTED_WAIT_S", 1.15)
    lines: list[str] = []
    with Silent(form) as provider:
        with_batches(provider, tmp_path, all_answered, warn=lines.append)
        assert provider.silences == 0
    (line,) = [line for line in lines if "no answer" in line]
    assert "still retrying" in line


class Upload(Busy):
    uploads = 0

    async def _upload(self, request: web.Request) -> web.Response:
        self.uploads += 1
        return await super()._upload(request)


@pytest.mark.parametrize("form", ["openai", "mistral", "together"])
def test_stopped_run_submits_no_batch_that_was_throttled(form: str, tmp_path: Path) -> None:
    """Ctrl-C while the provider refuses an upload for a moment: it is not tried again, and since there is no batch, no
    money is held for one."""

    async def stopped(ledger: Ledger, lines: list[str]) -> None:
        asked = asyncio.ensure_future(ask_dogs(ledger))
        await until(lambda: provider.uploads == 1)
        ledger.drain()
        with pytest.raises(StoppedError):
            await asked
        await asyncio.sleep(0.2)

    with Upload(form) as provider:
        provider.refusals = [refuses_upload("Too many batches") for _ in range(30)]
        with_batches(provider, tmp_path, stopped, **PRICE)
        assert (provider.uploads, len(provider.batches), spent(tmp_path).lost) == (1, 0, 0)


class Crossing(BatchProvider):
    """Has created the second of two batches first."""

    async def _list(self, request: web.Request) -> web.Response:
        times = [job["created_at"] for job in self._jobs.values()]
        for job, time in zip(self._jobs.values(), sorted(times, reverse=True), strict=True):
            job["created_at"] = time
        self._jobs = dict(reversed(self._jobs.items())) if times != sorted(times, reverse=True) else self._jobs
        return await super()._list(request)


def test_batches_without_labels_that_were_mistaken_for_each_other_change_places(tmp_path: Path) -> None:
    """Two batches of one size, of which it is unknown whether they were created: the provider lists them in another
    order than they were announced. Each question gets its own answer, and none is paid for twice."""

    async def one_dog_a_batch(ledger: Ledger, lines: list[str]) -> None:
        asked = []
        for number in range(2):
            asked.append(asyncio.ensure_future(ledger.answer(Question(chat(f"dog {number}"), SAMPLING), 1)))
            await until(lambda count=number + 1: len(provider.batches) == count)  # type: ignore[misc]
        await asyncio.sleep(0.2)
        ledger.drain()
        await asyncio.gather(*asked, return_exceptions=True)

    async def each_has_its_own(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 2)
        assert [one.text for (one,) in answers if isinstance(one, Completion)] == [
            f"dog {i}, at length (1)" for i in range(2)
        ]

    with Crossing("anthropic") as provider:
        provider.finishes = False
        with_batches(provider, tmp_path, one_dog_a_batch, **PRICE)
        provider.finishes = True
        forget_submitted_batches(tmp_path)
        with_batches(provider, tmp_path, each_has_its_own, **PRICE)
        assert [len(batch) for batch in provider.batches] == [1, 1]
        assert (spent(tmp_path).lost, spent(tmp_path).reserved) == (0, 0.0)


class Emptied(BatchProvider):
    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=b"")


@pytest.mark.parametrize("form", ["openai", "mistral", "together"])
def test_completed_batch_without_results_is_not_bought_again(form: str, tmp_path: Path) -> None:
    """Also where the provider does not count the answers, as Together: that its requests expired would be another
    status."""

    async def ends(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match=r"No result of batch .* can be read"):
            await ask_dogs(ledger)

    with Emptied(form) as provider:
        with_batches(provider, tmp_path, ends)
        assert len(provider.batches) == 1
