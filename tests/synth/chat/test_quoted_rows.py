"""Errors that quote a row about keys, quotas and limits: they concern that row, whatever it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.records import Seed
from synth.chat.completions import effective_response
from synth.chat.error_words import error_body
from synth.chat.http_status import may_be_temporary, meaning
from synth.engine import generate
from tests.synth.loopback import Ask, LoopbackTeacher, Reply
from tests.synth.rig import input, rig

ROWS = (
    "Your API key is invalid or has expired, please provide a valid api key.",
    "daily limit exceeded: you have reached your daily usage limit",
    "Error: insufficient_quota. You exceeded your current quota, please check your plan and billing details.",
    "The account has been suspended because the credit balance is too low.",
    "maximum context length is 8192 tokens, request too large for context_length_exceeded",
    "The model does not exist or is not found",
    "Rate limit reached, please try again later. Server overloaded temporarily",
    "access denied: your region is not authorized; permission required",
    "temperature must be between 0 and 1; unsupported parameter temperature is not supported",
    "content policy violation flagged by moderation safety filter",
    'Please check: "insufficient balance"\nmodel not loaded',
)


def quoting(row: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Errors of different providers and servers that quote the row: whole, cut, escaped, or in other letters."""
    request = {"type": "invalid_request_error"}
    yield 400, {"error": {"message": f"Invalid content in messages[1]: '{row}'", "param": "messages", **request}}
    yield 400, {"error": {"message": f"Invalid prompt: '{row[:50]}...' was flagged.", "code": "invalid_prompt"}}
    yield 400, {"error": {"message": f"The prompt was filtered: {row[:80].upper()}", "code": "content_filter"}}
    yield 400, {"error": {"message": f"Failed to parse {json.dumps(row)[:60]}", "code": 400}}
    yield 400, {"object": "error", "message": f"1 validation error: input_value={row!r}", "type": "BadRequestError"}
    yield 400, {"error": {"message": f"Disallowed text: \u201c{'  '.join(row.split())}\u201d", **request}}
    yield 400, {"type": "error", "error": {"message": f"text must be non-empty, got: {row[:33]}", **request}}
    yield 400, {"error": {"message": f"OpenAIException - {json.dumps({'error': {'message': row}})}", "code": "400"}}
    yield 403, {"error": {"message": f"Your input was flagged: {row}", "metadata": {"flagged_input": row[:100]}}}
    yield 403, {"error": {"message": f"Forbidden text: {row}"}}
    yield 413, {"error": {"message": f"Request too large: {row}", **request}}
    yield 422, {"detail": [{"loc": ["body", "messages", 1], "msg": f"not valid: {row[:40]}", "input": row}]}
    yield 500, {"error": {"message": f"Jinja template error near '{row}'"}}


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("row", ROWS)
def test_an_error_that_quotes_a_row_concerns_that_row(row: str, answered: bool) -> None:
    """Whether it comes first or after answers, it ends no run, is not waited for, and changes no setting."""
    messages = [{"role": "system", "content": "Write."}, {"role": "user", "content": f"Rewrite politely: {row}"}]
    body = {"model": "m", "temperature": 0.9, "max_tokens": 100, "top_p": 1, "messages": messages}
    for status, error in quoting(row):
        for ascii in (True, False):
            content = json.dumps(error, ensure_ascii=ascii)
            kind = meaning(status, error_body(content.encode())[1], content, body, answered=answered).kind
            assert kind == "refused", content
            assert not (answered and may_be_temporary(status, kind, content, body)), content


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"code": "insufficient_quota", "message": "You exceeded your current quota."}, "quota"),
        (400, {"type": "billing_error", "message": "Your credit balance is too low."}, "quota"),
        (429, {"code": "context_length_exceeded", "message": "Request too large."}, "refused"),
        (400, {"code": "ThrottlingException", "message": "Rate exceeded."}, "throttled"),
        (401, {"code": "invalid_api_key", "message": "Incorrect API key provided."}, "key"),
    ],
)
def test_the_code_of_an_error_counts_whatever_the_row_says(status: int, error: dict[str, str], kind: str) -> None:
    """A row that contains all words of an error does not hide what its code says."""
    body = {"messages": [{"role": "user", "content": " ".join(error.values())}]}
    content = json.dumps({"error": error})
    assert meaning(status, error_body(content.encode())[1], content, body, answered=True).kind == kind


def test_a_fault_that_quotes_a_row_about_validation_is_temporary() -> None:
    """A 500 whose text is FastAPI's rejection of the request is final, unless those are the row's words."""
    error = orjson.dumps({"error": {"message": "1 validation error: {'loc': ('body', 'top_k'), 'msg': 'x'}"}})
    for row, status in (("a dog", 422), ("Explain 1 validation error: {'loc': ('body', 'top_k')}", 500)):
        assert effective_response(500, error, {"messages": [{"role": "user", "content": row}]})[0] == status


def test_a_run_goes_on_after_an_error_that_quotes_its_first_row(tmp_path: Path) -> None:
    """The first rows are refused in words that would otherwise end a run; all others are answered."""
    rows = [Seed(kind="input", text=row, source=f"seeds.jsonl:{number}") for number, row in enumerate(ROWS, 1)]

    def reply(ask: Ask) -> Reply:
        if ask.prompt not in ROWS:
            return Reply()
        errors = list(quoting(ask.prompt))
        status, error = errors[ROWS.index(ask.prompt) % len(errors)]
        return Reply(status=status, body=json.dumps(error).encode())

    async def go() -> tuple[int, int]:
        async with rig(teacher.url, tmp_path, n=1) as r:
            result = await generate(r.store, [*rows[:7], *input(20)], [r.forward], concurrency=1)
            return result.pairs_made, result.failed

    with LoopbackTeacher(reply) as teacher:
        assert asyncio.run(go()) == (20, 7)
