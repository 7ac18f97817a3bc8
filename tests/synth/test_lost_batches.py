"""Batches that a provider knows no more, or in a state that nobody knows: no run waits for ever, or pays unasked."""

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

from schemas.errors import AuthError, TeacherError
from synth.chat_completions import StoppedError
from synth.ledger import Completion, Ledger
from tests.synth.batch_loopback import BatchProvider
from tests.synth.test_batches import EVERY_FORM, ask_dogs, with_batches


def aged(folder: Path, hours: int) -> None:
    """As if everything in the store had been written so long ago."""
    at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    with closing(sqlite3.connect(folder / "pairsmith.db")) as db, db:
        assert db.execute("UPDATE artifacts SET body = json_set(body, '$.at', ?)", (at,)).rowcount


def left_waiting(provider: BatchProvider, folder: Path) -> None:
    """A run that handed 20 lines over and was stopped."""

    async def stopped(ledger: Ledger, lines: list[str]) -> None:
        asked = asyncio.ensure_future(ask_dogs(ledger))
        await asyncio.to_thread(provider.wait_for_a_batch)
        ledger.drain()
        with pytest.raises(StoppedError):
            await asked

    provider.finishes = False
    with_batches(provider, folder, stopped)
    provider.finishes = True


def forget_what_was_made(folder: Path) -> None:
    """As if the process had ended while it handed its batch over, before anything of it was answered."""
    with closing(sqlite3.connect(folder / "pairsmith.db")) as db, db:
        assert db.execute("DELETE FROM artifacts WHERE id LIKE 'batch:%:made'").rowcount
        db.execute("DELETE FROM calls")


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110  it happens at the provider, in a thread of its own
            await asyncio.sleep(0.01)


async def all_answered(ledger: Ledger, lines: list[str]) -> list[str]:
    assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))
    return lines


@EVERY_FORM
def test_a_batch_that_is_unknown_for_a_moment_is_waited_for(form: str, tmp_path: Path) -> None:
    """Anthropic answers 404 seconds after a batch was made, and between two polls: nothing is handed over again."""
    with BatchProvider(form) as provider:
        provider.forgets = 5
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@EVERY_FORM
def test_a_batch_is_waited_for_where_its_key_is_refused_for_a_moment(form: str, tmp_path: Path) -> None:
    """A batch is asked about for hours: one of many gateways that does not know the key then ends no run."""
    with BatchProvider(form) as provider:
        provider.forgets, provider.unknown_is = 2, 401
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_shut_while_a_batch_is_waited_for_ends_the_run(status: int, tmp_path: Path) -> None:
    """In the provider's words, as a wrong key and not as a fault; what was handed over is found by the next run."""
    with BatchProvider("openai") as provider:
        provider.forgets, provider.unknown_is = 100, status
        with pytest.raises(TeacherError, match=f"HTTP {status}") as caught:
            with_batches(provider, tmp_path, all_answered)
        assert isinstance(caught.value, AuthError) == (status == 401)
        provider.forgets = 0
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


class Busy(BatchProvider):
    """Refuses the first uploads."""

    refusals: list[web.Response]

    async def _upload(self, request: web.Request) -> web.Response:
        if not self.refusals:
            return await super()._upload(request)
        await request.read()
        return self.refusals.pop(0)


def refuses_upload(message: str, headers: dict[str, str] | None = None, **error: Any) -> web.Response:
    return web.json_response({"error": {"message": message, **error}}, status=429, headers=headers)


def test_a_provider_that_takes_no_batch_just_now_is_asked_again(tmp_path: Path) -> None:
    """After as long as it asks to wait: a refused upload has made nothing."""
    with Busy("openai") as provider:
        provider.refusals = [refuses_upload("Rate limit reached for files", {"Retry-After": "2"})]
        began = time.monotonic()
        with_batches(provider, tmp_path, all_answered)
        assert time.monotonic() - began >= 2
        assert len(provider.batches) == 1


def test_an_account_without_credit_ends_a_batch_before_it_is_made(tmp_path: Path) -> None:
    """OpenAI says so with the status of a rate limit: no quarter of an hour of waiting, and no other cause is named."""
    with Busy("openai") as provider:
        provider.refusals = [refuses_upload("You exceeded your current quota.", code="insufficient_quota")]
        with pytest.raises(TeacherError, match="no quota left"):
            with_batches(provider, tmp_path, all_answered)
        assert provider.refusals == []


@pytest.mark.parametrize("again", [1, 100])
def test_a_key_that_some_lines_were_refused_for_is_asked_once_more(again: int, tmp_path: Path) -> None:
    """Among answers it may be the slip of one of many gateways, so these lines go into another batch, but only one,
    which may take a day. Refused there too, the key is shut, and the run ends."""

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
def test_a_batch_that_the_provider_knows_no_more_is_handed_over_again(form: str, status: int, tmp_path: Path) -> None:
    """Deleted, or of another key: it stops no run for a month. What that may cost twice is told before it is done."""
    price = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 1e6}

    with BatchProvider(form) as provider:
        left_waiting(provider, tmp_path)
        provider.forgets, provider.unknown_is = 20, status
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
def test_results_that_were_deleted_are_asked_for_again(form: str, tmp_path: Path) -> None:
    """The batch is there and has ended, its files are gone: the same as a batch that is gone."""
    with BatchProvider(form) as provider:
        left_waiting(provider, tmp_path)
        provider.keeps_results = False

        async def work(ledger: Ledger, lines: list[str]) -> None:
            asked = asyncio.ensure_future(ask_dogs(ledger))
            await until(lambda: len(provider.batches) == 2)
            provider.keeps_results = True
            assert all(isinstance(answer, Completion) for (answer,) in await asked)

        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [20, 20]


@EVERY_FORM
def test_a_batch_that_vanishes_under_the_run_that_made_it_ends_that_run(form: str, tmp_path: Path) -> None:
    """Handed over again by the same run, and again, a provider that forgets would be paid without an end."""

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
def test_a_word_that_nobody_knows_is_waited_for_as_long_as_a_batch_may_take(form: str, tmp_path: Path) -> None:
    """Then the run ends and names it, unless there are results. Cancelled at the provider, it is handed over again."""

    async def strange(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match=r"'paused' after 50 hours, a status that pairsmith does not know"):
            await ask_dogs(ledger)

    async def waits(ledger: Ledger, lines: list[str]) -> None:
        looks, asked = provider.looks, asyncio.ensure_future(ask_dogs(ledger))
        await until(lambda: provider.looks >= looks + 10)
        assert sum("'paused'" in line for line in lines) == 1
        provider.word = ""
        assert all(isinstance(answer, Completion) for (answer,) in await asked)

    with BatchProvider(form) as provider:
        left_waiting(provider, tmp_path)
        provider.word, provider.finishes, provider.keeps_results = "paused", False, False
        aged(tmp_path, 50)
        with_batches(provider, tmp_path, strange)
        assert len(provider.batches) == 1
        aged(tmp_path, 10)
        provider.finishes = provider.keeps_results = True
        with_batches(provider, tmp_path, waits)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "anthropic"])
def test_results_under_a_word_that_nobody_knows_are_taken(form: str, tmp_path: Path) -> None:
    """Once its time is over."""
    with BatchProvider(form) as provider:
        left_waiting(provider, tmp_path)
        aged(tmp_path, 50)
        provider.word = "partially_completed"
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "gemini"])
def test_a_list_of_batches_in_another_form_is_a_sentence(form: str, tmp_path: Path) -> None:
    """It is read where a run was killed as it handed a batch over, to find out whether that is there."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="responds in an unexpected format"):
            await ask_dogs(ledger)

    with BatchProvider(form) as provider:
        left_waiting(provider, tmp_path)
        with closing(sqlite3.connect(tmp_path / "pairsmith.db")) as db, db:
            assert db.execute("DELETE FROM artifacts WHERE id LIKE '%:made'").rowcount == 1
        provider.says_only = b"[]"
        with_batches(provider, tmp_path, work)
        provider.says_only = b""
        assert len(provider.batches) == 1


async def _completed(ledger: Ledger, lines: list[str]) -> None:
    assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))


def test_a_batch_of_the_same_size_that_is_another_one_costs_no_row(tmp_path: Path) -> None:
    """Anthropic's batches bear no label, so the one that was being handed over is looked for by size and hour; of
    another project's none of the names fits, and the lines are handed over after all."""
    (other := tmp_path / "other").mkdir()
    (ours := tmp_path / "ours").mkdir()
    with BatchProvider("anthropic") as provider:
        with_batches(provider, ours, _completed)
        forget_what_was_made(ours)
        provider._jobs.clear()
        with_batches(provider, other, _completed, identity="another")
        with_batches(provider, ours, _completed)
        assert [len(batch) for batch in provider.batches] == [20, 20, 20]


@pytest.mark.parametrize("before", [0, 1, 3])
def test_ours_is_waited_for_though_others_of_its_size_and_hour_are_looked_at_first(before: int, tmp_path: Path) -> None:
    """A run was killed as it handed a batch over while other projects of the account handed over as many lines: theirs
    are tried first, none of their names fits, and the next one is looked at until ours is there. Nothing is paid for
    twice, and once ours is known it is not looked for again."""
    (ours := tmp_path / "ours").mkdir()
    with BatchProvider("anthropic") as provider:
        for number in range(before):
            (other := tmp_path / f"other-{number}").mkdir()
            with_batches(provider, other, _completed, identity=f"another-{number}")
        with_batches(provider, ours, _completed)
        forget_what_was_made(ours)
        with_batches(provider, ours, _completed)
        assert len(provider.batches) == before + 1
        with closing(sqlite3.connect(ours / "pairsmith.db")) as db, db:
            db.execute("DELETE FROM calls")
        looks = provider.listed
        with_batches(provider, ours, _completed)
        assert (len(provider.batches), provider.listed) == (before + 1, looks)
