"""Batches that a provider no longer knows, or in an unknown state: no run waits forever or pays without need."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from schemas.errors import AuthError, TeacherError, Unreachable
from schemas.store import Store
from synth.batch import api as batch_api
from synth.chat.completions import StoppedError
from synth.ledger import Completion, Ledger
from tests.synth.batch.test_batches import EVERY_FORM, ask_dogs, with_batches
from tests.synth.batch_loopback import BatchProvider


def age_store(folder: Path, hours: int) -> None:
    """Make everything in the store appear to have been written `hours` hours ago."""
    at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    with closing(sqlite3.connect(folder / "pairsmith.db")) as db, db:
        assert db.execute("UPDATE artifacts SET body = json_set(body, '$.at', ?)", (at,)).rowcount


def submit_and_stop(provider: BatchProvider, folder: Path, **settings: Any) -> None:
    """Submit 20 lines in a run that is then stopped."""

    async def stopped(ledger: Ledger, lines: list[str]) -> None:
        asked = asyncio.ensure_future(ask_dogs(ledger))
        await asyncio.to_thread(provider.wait_for_a_batch)
        ledger.drain()
        with pytest.raises(StoppedError):
            await asked

    provider.finishes = False
    with_batches(provider, folder, stopped, **settings)
    provider.finishes = True


def forget_submitted_batches(folder: Path) -> None:
    """Make it appear that the process ended while it submitted its batch, before anything was answered."""
    with closing(sqlite3.connect(folder / "pairsmith.db")) as db, db:
        assert db.execute("DELETE FROM artifacts WHERE id LIKE 'batch:%:made'").rowcount
        db.execute("DELETE FROM calls")


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110 it happens at the provider, in a thread of its own
            await asyncio.sleep(0.01)


async def all_answered(ledger: Ledger, lines: list[str]) -> list[str]:
    assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))
    return lines


@EVERY_FORM
def test_a_batch_that_is_unknown_for_a_moment_is_waited_for(form: str, tmp_path: Path) -> None:
    """Anthropic may answer 404 seconds after a batch was created, and between two polls. Nothing is submitted again."""
    with BatchProvider(form) as provider:
        provider.forgets = 5
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@EVERY_FORM
def test_batch_is_waited_for_although_its_key_is_refused_for_a_moment(form: str, tmp_path: Path) -> None:
    """A batch is polled for hours. A gateway that briefly does not know the key ends no run."""
    with BatchProvider(form) as provider:
        provider.forgets, provider.unknown_is = 2, 401
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_key_revoked_while_a_batch_is_waited_for_ends_the_run(status: int, tmp_path: Path) -> None:
    """The run ends with the provider's message, as a wrong key and not as a fault. The next run finds what was
    submitted."""
    with BatchProvider("openai") as provider:
        provider.forgets, provider.unknown_is = 100, status
        with pytest.raises(TeacherError, match=f"HTTP {status}") as caught:
            with_batches(provider, tmp_path, all_answered)
        assert isinstance(caught.value, AuthError) == (status == 401)
        provider.forgets = 0
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


class Busy(BatchProvider):
    """Rejects the first uploads."""

    refusals: list[web.Response]

    async def _upload(self, request: web.Request) -> web.Response:
        if not self.refusals:
            return await super()._upload(request)
        await request.read()
        return self.refusals.pop(0)


def refuses_upload(message: str, headers: dict[str, str] | None = None, **error: Any) -> web.Response:
    return web.json_response({"error": {"message": message, **error}}, status=429, headers=headers)


def test_throttled_upload_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the requested wait: a rejected upload has created nothing. A longer wait is reported, in the provider's
    words."""
    monkeypatch.setattr(batch_api, "_REPORTED_WAIT_S", 1.5)

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ledger.endpoint.flow.say = lines.append
        await all_answered(ledger, lines)
        assert [line for line in lines if "HTTP 429: Rate limit reached for files" in line and "in 2.0s" in line]

    with Busy("openai") as provider:
        provider.refusals = [refuses_upload("Rate limit reached for files", {"Retry-After": "2"})]
        began = time.monotonic()
        with_batches(provider, tmp_path, work)
        assert time.monotonic() - began >= 2
        assert len(provider.batches) == 1


def test_batch_whose_file_was_not_uploaded_costs_nothing(tmp_path: Path) -> None:
    """A fault during the upload leaves no batch that could be charged for."""
    with Busy("openai") as provider:
        provider.refusals = [web.Response(status=502)]
        with pytest.raises(Unreachable, match="HTTP 502"):
            with_batches(provider, tmp_path, all_answered)
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        assert store.spent().lost == 0


def test_account_without_credit_ends_the_run_before_a_batch_is_created(tmp_path: Path) -> None:
    """OpenAI reports it with the status of a rate limit. The run does not wait a quarter of an hour, and the error
    names no other cause."""
    with Busy("openai") as provider:
        provider.refusals = [refuses_upload("You exceeded your current quota.", code="insufficient_quota")]
        with pytest.raises(TeacherError, match="no quota left"):
            with_batches(provider, tmp_path, all_answered)
        assert provider.refusals == []


@pytest.mark.parametrize("again", [1, 100])
def test_lines_refused_for_their_key_are_submitted_once_more(again: int, tmp_path: Path) -> None:
    """Among answers this may be an error of one of many gateways, so these lines go into another batch, but only one,
    because it may take a day. If the key is rejected there too, the run ends."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        if again > 1:
            with pytest.raises(AuthError, match="HTTP 401"):
                await ask_dogs(ledger)
        else:
            await all_answered(ledger, lines)

    with BatchProvider("openai", lambda dog, nth: 401 if int(dog[4:]) < 3 and nth <= again else "a dog") as provider:
        with_batches(provider, tmp_path, work, retries=5)
        assert [len(batch) for batch in provider.batches] == [20, 3]


@EVERY_FORM
@pytest.mark.parametrize("status", [404, 410, 403])
def test_batch_unknown_to_the_provider_is_submitted_again(form: str, status: int, tmp_path: Path) -> None:
    """A batch that was deleted, or belongs to another key, does not block runs for a month. What may be paid for twice
    is reported before that is done."""
    price = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 1e6}

    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path)
        provider.unknown_is = status
        provider.forget_batches()
        lines = with_batches(provider, tmp_path, all_answered, **price)
        assert [len(batch) for batch in provider.batches] == [20, 20]
        warning, lost, *_ = lines
        assert f"HTTP {status}" in warning
        assert "the 20 requests in it are paid for twice (about $" in warning
        assert "another key" in warning
        assert "submitted again" in lost
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 2


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "anthropic"])
def test_batch_with_deleted_results_is_submitted_again(form: str, tmp_path: Path) -> None:
    """The batch exists and has ended, but its files are gone: it is treated like a deleted batch."""
    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path)
        provider.keeps_results = False

        async def work(ledger: Ledger, lines: list[str]) -> None:
            asked = asyncio.ensure_future(ask_dogs(ledger))
            await until(lambda: len(provider.batches) == 2)
            provider.keeps_results = True
            assert all(isinstance(answer, Completion) for (answer,) in await asked)

        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [20, 20]


@EVERY_FORM
def test_batch_that_vanishes_during_its_own_run_ends_that_run(form: str, tmp_path: Path) -> None:
    """If the same run submitted it again and again, a provider that forgets batches would be paid endlessly."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="does not know this batch"):
            await ask_dogs(ledger)
        assert "this run ends" in lines[1]

    with BatchProvider(form) as provider:
        provider.forgets = 1000
        with_batches(provider, tmp_path, work)
        assert len(provider.batches) == 1
        provider.forgets = 0
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@EVERY_FORM
def test_unknown_batch_status_is_waited_for_as_long_as_a_batch_may_take(form: str, tmp_path: Path) -> None:
    """After that the run ends and names the status, unless there are results."""

    async def strange(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match=r"'paused' after 50 hours, a status that pairsmith does not know"):
            await ask_dogs(ledger)

    async def waits(ledger: Ledger, lines: list[str]) -> None:
        polls_before, asked = provider.looks, asyncio.ensure_future(ask_dogs(ledger))
        await until(lambda: provider.looks >= polls_before + 10)
        assert sum("'paused'" in line for line in lines) == 1
        provider.word = ""
        assert all(isinstance(answer, Completion) for (answer,) in await asked)

    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path)
        provider.word, provider.finishes, provider.keeps_results = "paused", False, False
        age_store(tmp_path, 50)
        with_batches(provider, tmp_path, strange)
        assert len(provider.batches) == 1
        age_store(tmp_path, 10)
        provider.finishes = provider.keeps_results = True
        with_batches(provider, tmp_path, waits)
        assert len(provider.batches) == 1


@EVERY_FORM
def test_overdue_batch_that_is_cancelled_at_the_provider_is_submitted_again(form: str, tmp_path: Path) -> None:
    """A run that ends for an unknown status says to cancel the batch there. The next run then submits its requests
    again."""

    async def overdue(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="Cancel or delete it at the provider, then run the same command again"):
            await ask_dogs(ledger)

    with BatchProvider(form, lambda dog, nth: "a dog" if nth > 1 else None) as provider:
        submit_and_stop(provider, tmp_path)
        provider.word, provider.finishes, provider.keeps_results = "paused", False, False
        age_store(tmp_path, 50)
        with_batches(provider, tmp_path, overdue)
        provider.word, provider.finishes, provider.keeps_results, provider.cancels = "", True, True, True
        with_batches(provider, tmp_path, all_answered)
        assert [len(batch) for batch in provider.batches] == [20, 20]


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "anthropic"])
def test_results_of_a_batch_with_an_unknown_status_are_used(form: str, tmp_path: Path) -> None:
    """If a batch has an unknown status, its results are used once the maximum time of a batch is over."""
    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path)
        age_store(tmp_path, 50)
        provider.word = "partially_completed"
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "gemini"])
def test_list_of_batches_in_an_unexpected_format_is_one_clear_error(form: str, tmp_path: Path) -> None:
    """The list is read after a run was killed while it submitted a batch, to find out whether the batch was created."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="responds in an unexpected format"):
            await ask_dogs(ledger)

    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path)
        with closing(sqlite3.connect(tmp_path / "pairsmith.db")) as db, db:
            assert db.execute("DELETE FROM artifacts WHERE id LIKE '%:made'").rowcount == 1
        provider.says_only = b"[]"
        with_batches(provider, tmp_path, work)
        provider.says_only = b""
        assert len(provider.batches) == 1


async def _completed(ledger: Ledger, lines: list[str]) -> None:
    assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))


def test_unrelated_batch_of_the_same_size_costs_no_row(tmp_path: Path) -> None:
    """Anthropic's batches have no label, so an unconfirmed one is searched by size and time. In another project's batch
    none of the ids match, and the lines are submitted after all."""
    (other := tmp_path / "other").mkdir()
    (ours := tmp_path / "ours").mkdir()
    with BatchProvider("anthropic") as provider:
        with_batches(provider, ours, _completed)
        forget_submitted_batches(ours)
        provider._jobs.clear()
        with_batches(provider, other, _completed, identity="another")
        with_batches(provider, ours, _completed)
        assert [len(batch) for batch in provider.batches] == [20, 20, 20]


@pytest.mark.parametrize("before", [0, 1, 3])
def test_own_batch_is_found_among_others_of_its_size_and_time(before: int, tmp_path: Path) -> None:
    """A run was killed while it submitted a batch, and other projects of the account submitted as many lines at that
    time. Their batches are tried first, none of their ids match, and the next one is tried until the run's own batch is
    found. Nothing is paid for twice, and once the batch is known it is not searched for again."""
    (ours := tmp_path / "ours").mkdir()
    with BatchProvider("anthropic") as provider:
        for number in range(before):
            (other := tmp_path / f"other-{number}").mkdir()
            with_batches(provider, other, _completed, identity=f"another-{number}")
        with_batches(provider, ours, _completed)
        forget_submitted_batches(ours)
        with_batches(provider, ours, _completed)
        assert len(provider.batches) == before + 1
        with closing(sqlite3.connect(ours / "pairsmith.db")) as db, db:
            db.execute("DELETE FROM calls")
        listed_before = provider.listed
        with_batches(provider, ours, _completed)
        assert (len(provider.batches), provider.listed) == (before + 1, listed_before)
