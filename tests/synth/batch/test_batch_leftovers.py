"""What batches leave behind: money that is held for them, answers that another run can use, doubt whether they exist.
Nothing is paid for twice, and no money is held for what cannot cost anything."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from schemas.errors import Unreachable, UsageError
from schemas.money import Cost
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.batch import api as batch_api
from synth.batch import earlier as earlier_batches
from synth.batch.batches import Batches
from synth.batch.lines import Result, Results, spooled
from synth.chat.completions import StoppedError
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Completion, Ledger, Question
from tests.synth.batch.test_batches import EVERY_FORM, SAMPLING, ask_dogs, chat, with_batches
from tests.synth.batch.test_lost_batches import (
    Busy,
    all_answered,
    forget_submitted_batches,
    refuses_upload,
    submit_and_stop,
    until,
)
from tests.synth.batch_loopback import BatchProvider

PRICE = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 1e6}
FILES = pytest.mark.parametrize("form", ["openai", "mistral", "together", "anthropic"])


def spent(folder: Path) -> Cost:
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        return store.spent()


def without_batches(
    provider: BatchProvider, folder: Path, work: Callable[[Ledger], Awaitable[Any]], **settings: Any
) -> list[str]:
    """A run that submits no batch, in a project that has. Returns what it says."""

    async def run() -> list[str]:
        spec = TeacherSettings(url=provider.url, model="loopback", batch_api=provider.form, **settings)
        lines: list[str] = []
        with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
            async with (
                Endpoint(f"{provider.address}/v1", spec.model, key="sk-batch") as endpoint,
                Endpoint(spec.url, spec.model, key="sk-batch") as of_batches,
                Batches(store, of_batches, spec, lines.append, submits=False, poll_s=0.001) as batches,
            ):
                await work(Ledger(store, endpoint, spec, batches=batches))
        return lines

    return asyncio.run(run())


def die_before_creation(provider: BatchProvider, folder: Path, **settings: Any) -> None:
    """A run whose request to create a batch does not arrive, so that it is unknown whether the batch exists."""
    submit_and_stop(provider, folder, **settings)
    forget_submitted_batches(folder)
    provider._jobs.clear()
    provider.batches.clear()


@EVERY_FORM
def test_batch_that_was_never_created_costs_nothing(form: str, tmp_path: Path) -> None:
    """A run was killed before the provider had its batch. The next run learns that from the list of batches: the money
    that was held for it is released, the requests are submitted, and the list is not read again."""
    with BatchProvider(form) as provider:
        die_before_creation(provider, tmp_path, **PRICE)
        assert (spent(tmp_path).lost, spent(tmp_path).reserved > 0) == (20, True)
        lines = with_batches(provider, tmp_path, all_answered, **PRICE)
        assert any("20 requests. The provider has no such batch, so it costs nothing" in line for line in lines)
        assert (spent(tmp_path).lost, spent(tmp_path).reserved, len(provider.batches)) == (0, 0.0, 1)
        listed = provider.listed
        with_batches(provider, tmp_path, all_answered, **PRICE)
        assert (provider.listed, len(provider.batches)) == (listed, 1)


@EVERY_FORM
def test_batch_is_found_although_it_is_listed_late(form: str, tmp_path: Path) -> None:
    """A process is killed while its request is on the way, and the next one begins at once. The provider lists the
    batch a moment later: it is not submitted a second time."""
    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path)
        forget_submitted_batches(tmp_path)
        provider.hides = 3
        with_batches(provider, tmp_path, all_answered)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("form", ["openai", "mistral", "anthropic", "gemini"])
def test_batch_is_found_beyond_the_first_page_of_the_list(form: str, tmp_path: Path) -> None:
    """An account has many batches, and lists them by the page, the latest first."""
    (ours := tmp_path / "ours").mkdir()
    with BatchProvider(form) as provider:
        submit_and_stop(provider, ours)
        forget_submitted_batches(ours)
        for number in range(5):
            (other := tmp_path / f"other-{number}").mkdir()
            with_batches(provider, other, lambda ledger, lines: ask_dogs(ledger, 3), identity=f"other-{number}")
        provider.page = 2
        with_batches(provider, ours, all_answered)
        assert [len(batch) for batch in provider.batches] == [20, 3, 3, 3, 3, 3]


def test_batch_of_a_provider_without_a_list_remains_in_doubt(tmp_path: Path) -> None:
    """A gateway has no list of batches. The run says that the requests may be paid for twice, and their cost remains
    reserved."""

    class Unlisted(BatchProvider):
        async def _list(self, request: web.Request) -> web.Response:
            return web.Response(status=404)

    with Unlisted("openai") as provider:
        die_before_creation(provider, tmp_path, **PRICE)
        lines = with_batches(provider, tmp_path, all_answered, **PRICE)
        assert any("20 requests" in line and "paid for twice" in line for line in lines)
        assert (len(provider.batches), spent(tmp_path).lost) == (1, 20)


def test_batch_of_another_address_is_not_declared_missing(tmp_path: Path) -> None:
    """The provider that does not list a batch is not the one that it was sent to: its cost remains reserved."""
    with BatchProvider("openai") as provider, BatchProvider("openai") as other:
        die_before_creation(provider, tmp_path, **PRICE)
        with_batches(other, tmp_path, all_answered, **PRICE)
        assert spent(tmp_path).lost == 20


def forget_addresses(folder: Path) -> None:
    """Announce the batches as earlier versions did."""
    with closing(sqlite3.connect(folder / "pairsmith.db")) as db, db:
        removed = "UPDATE artifacts SET body = json_remove(body, '$.facts.base') WHERE body LIKE '%\"base\"%'"
        assert db.execute(removed).rowcount


@EVERY_FORM
def test_batch_announced_without_an_address_is_found(form: str, tmp_path: Path) -> None:
    """Earlier versions did not record where a batch was sent. If this provider has it, nothing is submitted again."""
    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path, **PRICE)
        forget_submitted_batches(tmp_path)
        forget_addresses(tmp_path)
        with_batches(provider, tmp_path, all_answered, **PRICE)
        assert (len(provider.batches), spent(tmp_path).reserved) == (1, 0.0)


@EVERY_FORM
def test_batch_announced_without_an_address_is_not_declared_missing(form: str, tmp_path: Path) -> None:
    """It may have been sent to another provider: its cost remains reserved."""
    with BatchProvider(form) as provider:
        die_before_creation(provider, tmp_path, **PRICE)
        forget_addresses(tmp_path)
        lines = with_batches(provider, tmp_path, all_answered, **PRICE)
        assert not any("has no such batch" in line for line in lines)
        assert (len(provider.batches), spent(tmp_path).lost) == (1, 20)


@pytest.mark.parametrize("is_same", [True, False])
def test_run_that_needs_no_batch_does_not_fail_for_one(
    is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was killed while it submitted a batch. The next one asks something else, without batches, and the list of
    batches cannot be read: everything that it asks is answered, and it ends without an error, soon. The provider of
    another address is not asked for that batch at all."""
    monkeypatch.setattr(earlier_batches, "_MAX_S", 0.5)

    class Broken(BatchProvider):
        async def _list(self, request: web.Request) -> web.Response:
            self.listed += 1
            return web.Response(status=500)

    async def others(ledger: Ledger) -> None:
        (answer,) = await ledger.answer(Question(chat("cat"), SAMPLING))
        assert isinstance(answer, Completion)
        assert ledger.batches is not None
        await ledger.batches.settle_unasked()

    with Broken("openai") as provider, Broken("openai") as other:
        die_before_creation(provider, tmp_path, **PRICE)
        lines = without_batches(provider if is_same else other, tmp_path, others, **PRICE)
        assert (lines, other.listed) == (
            ["The cost of batches of earlier runs could not be read (no answer in time)."] if is_same else [],
            0,
        )
        assert spent(tmp_path).lost == 20


def test_provider_that_accepts_no_batch_has_created_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers 429 until the run gives up: no money is held."""
    monkeypatch.setattr(batch_api, "_MAX_FAULTS", 2)

    class Full(Busy):
        async def _create_from_file(self, request: web.Request) -> web.Response:
            return self.refusals.pop()

    with Full("openai") as provider:
        provider.refusals = []
        provider._upload = BatchProvider._upload.__get__(provider)  # type: ignore[method-assign]
        provider.refusals = [refuses_upload("Too many batches") for _ in range(2)]
        with pytest.raises(Unreachable):
            with_batches(provider, tmp_path, all_answered, **PRICE)
    assert spent(tmp_path).lost == 0


@FILES
@pytest.mark.parametrize(
    "wraps",
    [
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body.replace(b"\n", b"\r\n"),
        gzip.compress,
        lambda body: b"\n".join(reversed(body.split(b"\n"))),
        lambda body: body + b"\n" + body,
    ],
    ids=["mark", "crlf", "gzip", "reversed", "twice"],
)
def test_results_in_another_shape_are_read(form: str, wraps: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A byte order mark costs no line, and neither do other line ends, an undeclared compression, another order or
    every line twice."""
    with BatchProvider(form) as provider:
        provider.wraps = wraps
        with_batches(provider, tmp_path, all_answered)
        assert [len(batch) for batch in provider.batches] == [20]


@pytest.mark.parametrize("form", ["openai", "mistral", "anthropic"])
def test_results_that_break_off_are_read_again(form: str, tmp_path: Path) -> None:
    """The provider counts more answers than a download has, so it is repeated before anything is paid for again."""
    with BatchProvider(form) as provider:
        provider.breaks_off = 2
        with_batches(provider, tmp_path, all_answered)
        assert [len(batch) for batch in provider.batches] == [20]


@pytest.mark.parametrize("form", ["openai", "mistral"])
def test_answers_of_a_batch_that_failed_in_the_middle_are_kept(form: str, tmp_path: Path) -> None:
    """Its status is that of a refused batch, but it has results. Only the rest is submitted again."""

    class Failing(BatchProvider):
        async def _job(self, request: web.Request) -> web.Response:
            id_ = request.match_info["id"]
            self._jobs[id_]["ended"]["status"] = (
                "FAILED" if id_ == "b1" else "SUCCESS" if form == "mistral" else "completed"
            )
            return await super()._job(request)

    with Failing(form, lambda dog, nth: None if nth == 1 and dog in ("dog 3", "dog 5") else "a dog") as provider:
        with_batches(provider, tmp_path, all_answered)
        assert [len(batch) for batch in provider.batches] == [20, 2]


@EVERY_FORM
def test_run_without_batches_pays_for_nothing_that_is_in_one(form: str, tmp_path: Path) -> None:
    """While a batch is in progress, a run without --batch that needs its answers ends before it sends them again. Once
    the batch has ended, its answers are used at the price of a batch, and only the others are sent."""

    async def refused(ledger: Ledger) -> None:
        with pytest.raises(UsageError, match=r"20 requests of this project are in batch .*has not ended"):
            await ask_dogs(ledger)

    async def answered(ledger: Ledger) -> None:
        answers = [answer for (answer,) in await ask_dogs(ledger, 21)]
        assert all(isinstance(answer, Completion) for answer in answers)
        assert ledger.usage.completion_tokens == 18 * 5

    with BatchProvider(form, lambda dog, nth: None if dog in ("dog 3", "dog 5") else "a dog") as provider:
        submit_and_stop(provider, tmp_path, **PRICE)
        provider.finishes = False
        without_batches(provider, tmp_path, refused, **PRICE)
        assert (provider.live, len(provider.batches)) == (0, 1)
        provider.finishes = True
        without_batches(provider, tmp_path, answered, **PRICE)
        assert (provider.live, len(provider.batches)) == (3, 1)
        assert spent(tmp_path).usd == 18 * 5 * (1.0 if form == "together" else 0.5)
        assert spent(tmp_path).lost == 0


@EVERY_FORM
def test_rest_of_a_cancelled_batch_is_asked_without_one(form: str, tmp_path: Path) -> None:
    """A batch that was cancelled at the provider: what it has answered is used, and nothing waits."""

    async def answered(ledger: Ledger) -> None:
        assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))

    with BatchProvider(form, lambda dog, nth: "a dog" if int(dog[4:]) < 4 else None) as provider:
        submit_and_stop(provider, tmp_path)
        provider.cancels = True
        without_batches(provider, tmp_path, answered)
        assert (provider.live, len(provider.batches)) == (16, 1)


@pytest.mark.parametrize("form", ["anthropic", "gemini"])
def test_samples_that_a_batch_has_answered_are_not_asked_again(form: str, tmp_path: Path) -> None:
    """Where each sample is a line, only the samples without an answer are sent."""

    async def submitted(ledger: Ledger, lines: list[str]) -> None:
        asking = asyncio.ensure_future(ask_dogs(ledger, 1, n=3))
        await asyncio.to_thread(provider.wait_for_a_batch)
        asking.cancel()

    async def answered(ledger: Ledger) -> None:
        ((*samples,),) = await ask_dogs(ledger, 1, n=3)
        assert [answer.text for answer in samples if isinstance(answer, Completion)] == ["a dog 1", "a dog 2", "now"]

    with BatchProvider(form, lambda dog, nth: None if nth == 3 else f"a dog {nth}") as provider:
        provider.finishes = False
        with_batches(provider, tmp_path, submitted)
        provider.finishes = True
        without_batches(provider, tmp_path, answered)
        assert (provider.live, len(provider.batches)) == (1, 1)


@EVERY_FORM
def test_batch_that_no_run_needs_counts_with_its_real_cost(form: str, tmp_path: Path) -> None:
    """The prompt has changed while a batch was in progress. A run says what that batch may still cost, before it
    submits another one and also without one; once it has ended, its real cost replaces the highest possible one,
    which takes one look. Its answers are used when the prompt is the old one again."""

    async def others(ledger: Ledger, lines: list[str]) -> list[str]:
        await asyncio.gather(*(ledger.answer(Question(chat(f"cat {i}"), SAMPLING)) for i in range(2)))
        assert ledger.batches is not None
        await ledger.batches.settle_unasked()
        return lines

    async def nothing(ledger: Ledger) -> None:
        assert ledger.batches is not None
        await ledger.batches.settle_unasked()

    half = 1.0 if form == "together" else 0.5
    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path, **PRICE)
        provider.finishes = False
        (line,) = without_batches(provider, tmp_path, nothing, **PRICE)
        assert "20 requests ($" in line
        assert "cancel the batch at the provider" in line
        provider.finishes = True
        lines = with_batches(provider, tmp_path, others, **PRICE)
        assert "20 requests ($" in lines[0]
        assert (spent(tmp_path).lost, spent(tmp_path).reserved) == (20, 20 * 5 * half)
        looks = provider.looks
        assert without_batches(provider, tmp_path, nothing, **PRICE) == []
        assert provider.looks == looks
        without_batches(provider, tmp_path, ask_dogs, **PRICE)
        assert (spent(tmp_path).lost, spent(tmp_path).usd, provider.live) == (0, 22 * 5 * half, 0)


def test_results_are_not_in_memory() -> None:
    """The results of a batch may be gigabytes. They stay in a file, and reading all of them takes a small part of their
    size."""

    def parse(row: Any) -> Result:
        return Result(row["custom_id"], 200, orjson.dumps(row["body"]))

    text = "a dog in the rain " * 150
    tracemalloc.start()
    try:
        results = Results([spooled({"custom_id": f"line-{i}", "body": f"{text} {i}"} for i in range(10_000))], parse)
        bytes_read = sum(len(results.take(f"line-{i}")) for i in range(10_000))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bytes_read > 25e6
    assert peak_bytes < 8e6


def test_earlier_batches_that_another_teacher_reads_meanwhile_hang_nothing(tmp_path: Path) -> None:
    """A run announces two batches that it does not need, while another teacher of the run reads the second one. The
    run ended nowhere: its own batch was never submitted, and every question waited for ever."""

    async def stopped(ledger: Ledger, lines: list[str]) -> None:
        asked = asyncio.ensure_future(ledger.answer(Question(chat("cat"), SAMPLING)))
        await until(lambda: len(provider.batches) == 2)
        ledger.drain()
        with pytest.raises(StoppedError):
            await asked

    async def asks(ledger: Ledger, lines: list[str]) -> list[str]:
        class ReadMeanwhile(list[str]):
            def append(self, line: str) -> None:
                lines.append(line)
                labels = [
                    one.id.removeprefix("batch:") for one in ledger.store.artifacts("batch") if one.facts.get("lines")
                ]
                holds = ledger.store.holds(labels).values()
                ledger.store.write(*(hold.model_copy(update={"usd": 0.0, "open": False}) for hold in holds))

        assert ledger.batches is not None
        ledger.batches._say = ReadMeanwhile().append
        async with asyncio.timeout(60):
            await ledger.answer(Question(chat("bird"), SAMPLING))
        return lines

    with BatchProvider("openai") as provider:
        submit_and_stop(provider, tmp_path, **PRICE)
        provider.finishes = False
        with_batches(provider, tmp_path, stopped, **PRICE)
        provider.finishes = True
        lines = with_batches(provider, tmp_path, asks, **PRICE)
    assert ["that this run does not ask" in line for line in lines] == [True, True, False]
