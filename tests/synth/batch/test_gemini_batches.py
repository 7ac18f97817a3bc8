"""Gemini's batches: results that do not say which request they answer, and what of a request is not sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from schemas.errors import TeacherError
from schemas.records import Json
from synth.ledger import Completion, Ledger, Question
from tests.synth.batch.test_batches import SAMPLING, ask_dogs, with_batches
from tests.synth.batch_loopback import BatchProvider
from tests.synth.test_ledger import chat

TREE: Json = {"type": "object", "properties": {"trees": {"type": "array", "items": {"$ref": "#"}}}}


async def _fails(ledger: Ledger, lines: list[str]) -> str:
    with pytest.raises(TeacherError) as caught:
        await asyncio.wait_for(ask_dogs(ledger, 6), 60)
    return str(caught.value)


def test_results_without_keys_are_given_to_no_row(tmp_path: Path) -> None:
    """The order of inline results is not reliable (python-genai#1909) and their keys are missing at times (#2008). The
    run ends with that sentence and buys no second batch; without --batch the same questions are asked directly, as the
    error advises. Before, they were asked again in batch after batch."""
    with BatchProvider("gemini") as provider:
        provider.keeps_key = lambda number: False
        text = with_batches(provider, tmp_path, _fails)
        assert "6 answers of batch batches/b1 came without the key of the request" in text
        assert "a row could get the answer to another one" in text
        assert len(provider.batches) == 1

        async def directly(ledger: Ledger, lines: list[str]) -> list[str]:
            answers = await asyncio.wait_for(ask_dogs(ledger, 6), 60)
            assert [answer.text for (answer,) in answers if isinstance(answer, Completion)] == ["now"] * 6
            return lines

        spoken = with_batches(provider, tmp_path, directly, submits=False)
        assert any("6 requests are paid for again" in line for line in spoken)
        assert (len(provider.batches), provider.live) == (1, 6)


def test_of_some_results_without_keys_the_others_are_kept(tmp_path: Path) -> None:
    """Four of six have their key: these rows are written, and the run says how many cannot be assigned."""
    with BatchProvider("gemini") as provider:
        provider.keeps_key = lambda number: number < 4

        async def work(ledger: Ledger, lines: list[str]) -> None:
            dogs = (ledger.answer(Question(chat(f"dog {i}"), SAMPLING), 1) for i in range(6))
            answers = await asyncio.gather(*dogs, return_exceptions=True)
            assert sum(isinstance(answer, list) for answer in answers) == 4
            assert "2 answers of batch" in str(next(one for one in answers if isinstance(one, TeacherError)))

        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [6]


def test_results_that_are_somewhere_else_are_not_bought_again(tmp_path: Path) -> None:
    """The batch has six answers according to its counts, and none of them in its results."""
    with BatchProvider("gemini") as provider:
        provider.to_file = True
        assert "No result of batch batches/b1 can be read" in with_batches(provider, tmp_path, _fails)
        assert len(provider.batches) == 1


@pytest.mark.parametrize(("kind", "config"), [("json_object", {"responseMimeType": "application/json"}), ("text", {})])
def test_a_response_format_without_a_schema_is_sent(kind: str, config: Json, tmp_path: Path) -> None:
    """Any JSON, or text, requested with sampling.extra. The run ended with an error of the batch API's format."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        sampling = SAMPLING.model_copy(update={"extra": {"response_format": {"type": kind}}})
        await ledger.answer(Question(chat("dog 0"), sampling), 1)

    warnings: list[str] = []
    with BatchProvider("gemini", lambda dog, nth: "{}") as provider:
        with_batches(provider, tmp_path, work, warn=warnings.append)
        assert warnings == []
        sent = provider.bodies[-1]["generationConfig"]
        assert {name: sent[name] for name in sent if name.startswith("response")} == config


@pytest.mark.parametrize("form", ["gemini", "anthropic"])
def test_what_a_batch_cannot_express_is_announced(form: str, tmp_path: Path) -> None:
    """A schema that refers to itself reaches Gemini as a request for JSON only, and Anthropic not at all: the rows are
    judged by it, but more of them will be rejected, so a line says it before the batch is submitted."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        await asyncio.gather(*(ledger.answer(Question(chat(f"dog {i}"), SAMPLING, TREE), 1) for i in range(3)))

    warnings: list[str] = []
    with BatchProvider(form, lambda dog, nth: '{"trees": []}') as provider:
        with_batches(provider, tmp_path, work, warn=warnings.append)
    assert "no setting for the JSON schema, by which the answers are judged all the same" in warnings[-1]
    assert len(warnings) == (2 if form == "anthropic" else 1)  # the seed
