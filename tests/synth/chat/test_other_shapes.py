"""Responses, faults and refusals in formats of less common endpoints are read, waited out or reported."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import TeacherError
from schemas.money import total
from schemas.records import Json, Sampling
from schemas.store import Store
from synth.answers import finish_meaning, judged
from synth.batch.forms import FORMS
from synth.chat.completions import read_answer
from synth.chat.http_status import meaning
from synth.chat.thinking import split_thinking
from synth.endpoints.rate_limits import remaining_in_headers, retry_after_s
from synth.engine import generate
from synth.ledger import Completion, FailedSample, Ledger, Question
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails
from tests.synth.rig import input, rig
from tests.synth.test_ledger import PLAIN, chat, texts, with_ledger
from tests.synth.test_refusals import run

# Bodies that came with status 200 instead of an answer: pages of gateways, and errors in providers' own formats
# (MiniMax, Baidu, Cloudflare).
NO_ANSWERS = {
    "page": b"<html><title>Maintenance</title></html>",
    "MiniMax": b'{"choices": null, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}',
    "Baidu": b'{"error_code": 336501, "error_msg": "Rate limit reached for RPM"}',
    "Cloudflare": b'{"success": false, "errors": [{"code": 3040, "message": "Capacity exceeded"}], "result": null}',
    "a code of its own": b'{"code": 429, "message": "too many"}',
    "nothing": b"",
    "null": b"null",
    "no choice": b'{"choices": [], "usage": null}',
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_non_answers_in_the_middle_of_a_run_are_waited_out(name: str, tmp_path: Path) -> None:
    """In the middle of a run each of them is a temporary fault: no row fails and none is given up."""
    with LoopbackTeacher(lambda ask: Reply(body=NO_ANSWERS[name]) if 40 < ask.number <= 56 else Reply()) as teacher:
        result = run(teacher, tmp_path, 60, retries=8)
    assert (result.rows_in, result.failed) == (120, 0)


@pytest.mark.parametrize("name", ["page", "MiniMax"])
def test_lasting_non_answers_end_the_run_and_fail_no_row(name: str, tmp_path: Path) -> None:
    """A login page after good answers ends the run with an error that shows it, and so does a rate limit that lasts
    ten minutes. Once it is gone, every row is generated."""
    page = Reply(body=NO_ANSWERS[name])

    async def until_it_ends(teacher: LoopbackTeacher) -> None:
        async with rig(teacher.url, tmp_path) as r:
            running = asyncio.create_task(generate(r.store, input(80), [r.forward], concurrency=8))
            await asyncio.to_thread(teacher.wait_for, 56)  # every good answer has been read by then
            r.ledger.endpoint.flow.retrying.silent_s += 600
            await running

    caught = pytest.raises(TeacherError, match=r"not a chat completion: .*Maintenance|HTTP 429: rate limit")
    with LoopbackTeacher(lambda ask: Reply() if ask.number <= 40 else page) as teacher, caught:
        asyncio.run(until_it_ends(teacher))
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 80)
        assert (result.rows_in, result.failed) == (160, 0)


CAFE = {"finish_reason": "stop", "message": {"content": "Un café, € 3."}}


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("; charset=ISO-8859-1", json.dumps({"choices": [CAFE]}, ensure_ascii=False).encode("cp1252"), "Un café, € 3."),
        ("; charset=iso-8859-15", orjson.dumps({"choices": [CAFE]}).decode().encode("iso-8859-15"), "Un café, € 3."),
        ('; Charset="gb18030"', json.dumps({"choices": [CAFE]}, ensure_ascii=False).encode("gb18030"), "Un café, € 3."),
        ("; charset=utf-16-le", json.dumps({"choices": [CAFE]}).encode("utf-16-le"), "Un café, € 3."),
        ("; charset=latin1", json.dumps({"choices": [CAFE]}, ensure_ascii=False).encode(), "Un café, € 3."),
        ("; charset=unheard-of", json.dumps({"choices": [CAFE]}, ensure_ascii=False).encode("cp1252"), None),
        ("; charset=utf-8", json.dumps({"choices": [CAFE]}, ensure_ascii=False).encode("cp1252"), None),
        ("", json.dumps({"choices": [CAFE]}, ensure_ascii=False).encode("cp1252"), None),
        ("", json.dumps({"choices": CAFE}).encode(), "Un café, € 3."),
        ("", json.dumps({"choices": {"0": CAFE, "1": CAFE}}).encode(), "Un café, € 3."),
    ],
)
def test_an_answer_in_another_encoding_or_shape(charset: str, body: bytes, text: str | None) -> None:
    """What a header declares is believed unless the body is UTF-8. No encoding is guessed: without a header a damaged
    text is malformed. A single choice, or choices by number, need no list."""
    answer = read_answer(body, 0.1, {}, headers={"Content-Type": f"application/json{charset}"})
    verdicts = [judged(choice, None, {}, {}, 0) for choice in answer.choices]
    assert {verdict.text for verdict in verdicts} == {text or ""}
    assert {verdict.status for verdict in verdicts} == {"ok" if text else "malformed"}
    assert len(verdicts) == (2 if b'"1"' in body else 1)


def events(*pieces: Json, done: bool = True) -> bytes:
    """Server-sent events in OpenAI's format."""
    lines = [b": comment", *(b"data: " + orjson.dumps(piece) for piece in pieces), *([b"data: [DONE]"] if done else [])]
    return b"\n\n".join(lines) + b"\n\n"


def streamed(*texts: str, finish: str | None = "stop") -> bytes:
    """Two choices in these pieces, with their reasoning in a separate field."""
    pieces: list[Json] = [
        {"id": "x", "model": "m", "choices": [{"index": i, "delta": {"role": "assistant", "content": ""}}]}
        for i in range(2)
    ]
    pieces += [{"choices": [{"index": i, "delta": {"content": t}}]} for t in texts for i in range(2)]
    pieces += [{"choices": [{"index": i, "delta": {"reasoning_content": "hm"}}]} for i in range(2)]
    pieces += [{"choices": [{"index": i, "delta": {}, "finish_reason": finish}]} for i in range(2)]
    return events(*pieces, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}, done=bool(finish))


@pytest.mark.parametrize(
    "words",
    [
        "This model only support stream mode, please enable the stream parameter to access it.",
        "Non-streaming requests are disabled for this key",
        "stream=false is not supported by this model",
        '[{"loc": ["body", "stream"], "msg": "Input should be True"}]',
        "'stream' is required to be set to true",
    ],
)
def test_endpoint_that_only_streams_is_streamed_and_reassembled(words: str, tmp_path: Path) -> None:
    """It refuses once, in its own words (DashScope's are documented), and is streamed from then on."""

    def reply(ask: Ask) -> Reply:
        if not ask.body.get("stream"):
            return fails(400, words)
        return Reply(body=streamed("a ", "dog"))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("one"), PLAIN), 2)) == ["a dog", "a dog"]
            assert texts(await ledger.answer(Question(chat("two"), PLAIN), 2)) == ["a dog", "a dog"]
            assert ledger.usage.prompt_tokens == 14
            assert len(teacher.asked) == 3

        with_ledger(teacher, tmp_path, ask)


def test_endpoint_that_rejects_stream_options_is_streamed_without(tmp_path: Path) -> None:
    """It accepts `stream` but not `stream_options`, which a user could not remove from the sampling settings."""

    def reply(ask: Ask) -> Reply:
        if not ask.body.get("stream"):
            return fails(400, "Stream must be set to true")
        if "stream_options" in ask.body:
            return fails(400, "Unrecognized request argument supplied: stream_options")
        return Reply(body=streamed("a ", "dog"))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("one"), PLAIN))) == ["a dog"]
            assert texts(await ledger.answer(Question(chat("two"), PLAIN))) == ["a dog"]
            assert len(teacher.asked) == 4

        with_ledger(teacher, tmp_path, ask)


def test_stream_that_ends_early_is_no_answer() -> None:
    """If the stream ends early, with its last event cut, its choices failed, whatever text they have."""
    (choice, _) = read_answer(streamed("a ", "do", finish=None)[:-40], 0, {}).choices
    assert choice["message"]["content"] == "a do"
    assert judged(choice, None, {}, {}, 0).status == "failed"


def test_a_stream_keeps_log_probabilities_and_errors() -> None:
    """Log probabilities come in pieces and are joined. An error in the stream is an event of its own and fails the
    choice."""
    one = {"token": "a", "logprob": -0.1}
    pieces: list[Json] = [{"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [one]}}]}] * 2
    end: Json = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    (whole,) = read_answer(events(*pieces, end), 0, {}).choices
    assert whole["logprobs"]["content"] == [one, one]
    (broken,) = read_answer(events(*pieces, end, {"error": {"code": 502, "message": "gone"}}), 0, {}).choices
    assert judged(broken, None, {}, {}, 0).status == "failed"


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"index": [], "delta": {"content": "x"}}]},
        {"choices": [{"index": 0, "delta": "x"}]},
        {"choices": 5},
        {"choices": ["x"]},
    ],
)
def test_malformed_event_of_a_stream_is_skipped(odd: Json) -> None:
    """An event that is no piece of an answer is skipped. It neither ends the run nor spoils the answer around it."""
    begins: Json = {"choices": [{"index": 0, "delta": {"content": "a "}}]}
    ends: Json = {"choices": [{"index": 0, "delta": {"content": "dog"}, "finish_reason": "stop"}]}
    (whole,) = read_answer(events(begins, odd, ends), 0, {}).choices
    assert judged(whole, None, {}, {}, 0)[:2] == ("ok", "a dog")


@pytest.mark.parametrize(
    ("error", "bad"),
    [({"code": 500, "message": "gone"}, True), ("gone", True), (None, False), ({"message": "", "code": None}, False)],
)
def test_error_beside_the_choices_fails_them(error: Any, bad: bool) -> None:
    """A gateway that gave up while the answer was written reports it at the top level, and calls the half answer
    complete. An error object whose fields are empty is no error."""
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "a do"}}], "error": error}
    (choice,) = read_answer(orjson.dumps(body), 0, {}).choices
    assert judged(choice, None, {}, {}, 0).status == ("failed" if bad else "ok")


def test_zero_token_counts_are_unknown() -> None:
    """Gateways write zeros for unknown counts. An answer that seems to cost nothing would have a wrong price."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "a dog"}}], "usage": usage}
    assert read_answer(orjson.dumps(body), 0, {}).usage is None


@pytest.mark.parametrize(("counts", "text"), [((9, 0), "a dog"), ((0, 5), "a dog"), ((9, 0), "")])
def test_text_without_completion_tokens_and_prompt_without_tokens_have_an_unknown_cost(
    counts: tuple[int, int], text: str, tmp_path: Path
) -> None:
    """Each has at least one token, so the other count alone would be priced too low, and a cap exceeded. No text needs
    no token."""
    usage = dict(zip(("prompt_tokens", "completion_tokens"), counts, strict=True))
    body = orjson.dumps({"choices": [{"finish_reason": "stop", "message": {"content": text}}], "usage": usage})
    prices = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 2.0}

    async def ask(ledger: Ledger, store: Store) -> None:
        await ledger.answer(Question(chat("a dog"), Sampling(max_tokens=7)))
        assert total(ledger.costs).total == (None if text else pytest.approx(9e-6 * ledger.sent))

    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:
        with_ledger(teacher, tmp_path, ask, **prices)


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("REASON_MAX_LEN", "truncated"),
        ("max_completion_tokens", "truncated"),
        ("length_limit", "truncated"),
        ("context_window_exceeded", "truncated"),
        ("content_policy_violation", "refused"),
        ("SAFETY_FILTERED", "refused"),
        ("ip_blocked", "refused"),
        ("stream_error", "failed"),
        ("deadline_exceeded", "failed"),
        ("preempted", "failed"),
        ("TOO_MANY_TOOL_CALLS", "malformed"),
        ("repetition_truncation", "failed"),
        ("output_truncated", "truncated"),
        ("max_output_reached", "truncated"),
        ("rejected", "refused"),
        ("normal", "complete"),
        ("done", None),
        ("stopped", None),
    ],
)
def test_parts_of_finish_reasons_mark_faults_but_never_success(word: str, meaning: str | None) -> None:
    """A new finish reason for a limit, a filter or a fault is recognised by a part of it. A reason that may mean a
    normal end stays unknown, and the user is asked (`normal` is Baidu's)."""
    assert finish_meaning(word, {}) == meaning


def test_declared_finish_reason_takes_precedence_over_parts() -> None:
    """A server may call a complete answer what it likes."""
    assert finish_meaning("length_ok", {"length_ok": "complete"}) == "complete"


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>assistant\n<think>so</think>A dog.",
        "<|start_header_id|>assistant<|end_header_id|>\n\n<think>so</think>A dog.",
        "<reason>so</reason>A dog.",
        "<scratchpad>so</scratchpad>\nA dog.",
        "<Analysis>so</Analysis>\n\nA dog.",
        "<inner_monologue>so</inner_monologue>A dog.",
        "<思考>so</思考>A dog.",
        "<|think|>so<|/think|>A dog.",
        "<|thinking_start|>so<|thinking_end|>A dog.",
        "<|begin_of_thinking|>so<|end_of_thinking|>A dog.",
        "<unused94>thought\nso<unused95>A dog.",
        '<details type="reasoning" done="true"><summary>Thought</summary>so</details>\nA dog.',
        "Thinking...\nso\n...done thinking.\n\nA dog.",
        "analysisThe user wants a dog. Short.assistantfinalA dog.",
        "The user wants a dog.assistantfinalA dog.",
        "assistantfinalA dog.",
        "<think>so</think><final_answer>A dog.</final_answer>",
        "<think>so</think>\n<answer>A dog.",
    ],
)
def test_reasoning_is_separated_in_other_formats(text: str) -> None:
    """gpt-oss without its special tokens, MedGemma, Open WebUI, Ollama's terminal, and tags that prompts teach
    models."""
    assert split_thinking(text).answer.strip() == "A dog."


@pytest.mark.parametrize(
    "text",
    [
        "<analysis>The market grew.</analysis>",
        "<reason>late</reason>",
        "<scratchpad>never closed, A dog.",
        "Thinking... and then a dog.",
        "Servers glue `analysis...assistantfinal` together.",
        "The analysis took a day.",
        "analysisReport",
    ],
)
def test_text_that_only_resembles_reasoning_stays_in_the_answer(text: str) -> None:
    """A block that nothing follows, an opening without its end, and prose about the markers."""
    assert split_thinking(text) == (None, text)


@pytest.mark.parametrize(("asked", "kept"), [("Write an analysis and a label.", True), ("Label this.", False)])
def test_block_named_in_the_request_is_kept(asked: str, kept: bool) -> None:
    """<analysis> can be a part of a report as well as a model's habit."""
    raw = {"finish_reason": "stop", "message": {"content": "<analysis>so</analysis><label>x</label>"}}
    request = {"messages": [{"role": "user", "content": asked}]}
    assert judged(raw, None, {}, request, 0).text.startswith("<analysis>") is kept


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"Retry-After": "5s"}, "", 5),
        ({"Retry-After": "1m30s"}, "", 90),
        ({"Retry-After": " 7 "}, "", 7),
        ({}, "Please try again in 7m12s. Visit us.", 432),
        ({}, "Try again in 2 minutes", 120),
        ({}, "Please retry after 12 seconds.", 12),
        ({}, "please wait 30 seconds before retrying", 30),
        ({}, '{"detail": "slow down", "retry_after": 12}', 12),
        ({}, "wait a moment", None),
        ({"Retry-After": "soon"}, "", None),
        ({"retry-after-ms": "300", "Retry-After": "9"}, "", 0.3),
        ({"retry-after-ms": "inf", "Retry-After": "9"}, "", 9),
        ({"retry-after-ms": "soon", "Retry-After": "9"}, "", 9),
        ({"retry-after-ms": "inf"}, "", None),
    ],
)
def test_wait_is_parsed_from_other_formats(headers: dict[str, str], text: str, seconds: float | None) -> None:
    """Durations with units in the header, minutes and whole words in the text."""
    assert retry_after_s(headers, text) == seconds


def test_retry_date_is_relative_to_the_clock_of_the_server() -> None:
    """This machine's clock may be an hour off: a run would be held that long, or stopped by a long wait. That holds for
    each form of a point in time, also for the reset of a limit. Without a readable Date header our clock is used."""
    then = (datetime.now(UTC) - timedelta(hours=5)).replace(microsecond=0)
    until = then + timedelta(seconds=90)
    date = {"Date": format_datetime(then, usegmt=True)}
    stamp = until.timestamp()
    for form in (format_datetime(until, usegmt=True), until.isoformat(), f"{stamp:.0f}", f"{stamp * 1000:.0f}"):
        assert retry_after_s({**date, "Retry-After": form}) == 90
        (left,) = remaining_in_headers({**date, "x-ratelimit-remaining": "0", "x-ratelimit-reset": form})
        assert left.reset_s == 90
    assert retry_after_s({"Date": "soon", "Retry-After": "90"}) == 90
    moment = datetime.now(UTC) + timedelta(seconds=90)
    forms = format_datetime(moment, usegmt=True), f"{moment.timestamp():.0f}"
    # A clock that was never set, or one of another machine: the wait would end the run, or be none.
    for server_date in (
        None,
        "soon",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 01 Jan 2099 00:00:00 GMT",
        "1 Jan 9" + "9" * 19,
    ):
        for form in forms:
            headers = {"Retry-After": form} | ({"Date": server_date} if server_date else {})
            assert retry_after_s(headers) == pytest.approx(90, abs=5)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"message": "Your account is suspended", "type": "exceeded_current_quota_error"}, "quota"),
        (429, {"message": "您的账户已欠费", "code": "1113"}, "quota"),
        (
            400,
            {"message": "Access denied, please make sure your account is in good standing.", "code": "Arrearage"},
            "quota",
        ),
        (429, {"message": "Rate limit exceeded: free-models-per-day."}, "quota"),
        (429, {"message": "Rate limit reached: balance your load"}, "throttled"),
        (429, {"message": "Retry in 33s.", "details": [{"quotaId": "GenerateRequestsPerDayPerProject-Free"}]}, "quota"),
        (
            429,
            {"message": "Retry in 3s.", "details": [{"quotaId": "GenerateRequestsPerMinute"}]},
            "throttled",
        ),
        (429, {"message": "Rate limit reached on tokens per day (TPD). Please try again in 7m12s"}, "throttled"),
        (410, {"message": "The model has been retired"}, "model"),
        (429, {"message": "you (me) have reached your weekly usage limit, upgrade for higher limits"}, "quota"),
        (
            429,
            {"message": "Usage limit reached for 5 hour. Your limit will reset at 2026-11-29", "code": "1308"},
            "quota",
        ),
        (429, {"message": "Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-12-01"}, "quota"),
        (429, {"message": "You have exceeded your daily quota.", "code": "quota_exceeded"}, "quota"),
        (429, {"message": "Usage limit: 60 requests per minute"}, "throttled"),
        (429, {"message": "Too many tokens per day, please wait before trying again."}, "quota"),
    ],
)
def test_errors_of_more_providers_are_recognised(status: int, error: Json, kind: str) -> None:
    """Empty accounts in the words of Moonshot, Zhipu, DashScope and OpenRouter; limits of plans per hours or weeks in
    those of Ollama's cloud, Z.ai, Gemini and Bedrock; and a retired model."""
    assert meaning(status, error, json.dumps(error, ensure_ascii=False), {}, answered=False).kind == kind


@pytest.mark.parametrize(
    ("message", "system"),
    [
        ("System role not supported", False),
        ("invalid params, chat content has invalid message role: system (2013)", False),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", False),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", False),
        ("Conversation roles must alternate user/assistant/user/assistant/...", False),
        ("Your prompt is too long for this system.", True),
    ],
)
def test_system_text_moves_to_the_user_turn_if_the_role_is_refused(message: str, system: bool, tmp_path: Path) -> None:
    """As those models' documentation recommends, and in all later requests from the start. Other refusals change
    nothing."""

    def reply(ask: Ask) -> Reply:
        return fails(400, message) if ask.body["messages"][0]["role"] == "system" else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", "two", "three"):
                (answer,) = await ledger.answer(Question(chat(word), PLAIN))
                assert isinstance(answer, FailedSample if system else Completion)

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == (3 if system else 4)
        assert teacher.asked[-1].body["messages"] == (
            [{"role": "system", "content": "Write."}, {"role": "user", "content": "three"}]
            if system
            else [{"role": "user", "content": "Write.\n\nthree"}]
        )


TEMPLATE = (
    "\n------------\nWhile executing CallExpression at line 47, column 32 in source:\n...== 0) %}\u21b5            "
    "{{- raise_exception('After the optional system message, con...\n^\nError: Jinja Exception: "
)


@pytest.mark.parametrize("message", ["System role not supported", f"{TEMPLATE}System role not supported"])
def test_failing_chat_template_is_no_server_fault(message: str, tmp_path: Path) -> None:
    """llama.cpp and SGLang report with status 500 what others reject. Waiting does not help; without the system role
    the request is accepted, at the cost of one more request."""

    def reply(ask: Ask) -> Reply:
        return fails(500, message) if ask.body["messages"][0]["role"] == "system" else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for text in ("one", "two", "three"):
                (answer,) = await ledger.answer(Question(chat(text), PLAIN))
                assert isinstance(answer, Completion)

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 4


def test_turns_that_a_template_rejects_fail_only_their_row(tmp_path: Path) -> None:
    """The row is sent once, after an answered one. A server fault that merely quotes a row about templates is
    retried."""
    odd, quoted = f"{TEMPLATE}conversation roles must alternate user and assistant", "mend this jinja template"

    def reply(ask: Ask) -> Reply:
        if len(ask.body["messages"]) > 2:
            return fails(500, odd)
        texts = [one.body["messages"][-1]["content"] for one in teacher.asked]
        return fails(500, f"busy with: {quoted}") if texts[-1] == quoted and texts.count(quoted) == 1 else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answered,) = await ledger.answer(Question(chat("one"), PLAIN))
            (refused,) = await ledger.answer(Question((*chat("one"), *chat("two")[1:]), PLAIN))
            (passed,) = await ledger.answer(Question(chat(quoted), PLAIN))
            assert isinstance(refused, FailedSample)
            assert refused.reason.startswith("refused: HTTP 500")
            assert [type(answered), type(passed)] == [Completion, Completion]

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 4


def test_a_conversation_out_of_turn_changes_no_other_request(tmp_path: Path) -> None:
    """Two user turns in a row are refused in the same words. Other requests keep their system text."""

    def reply(ask: Ask) -> Reply:
        odd = len(ask.body["messages"]) > 2
        return fails(400, "Conversation roles must alternate user/assistant/user/assistant/...") if odd else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (odd,) = await ledger.answer(Question((*chat("one"), *chat("two")[1:]), PLAIN))
            (even,) = await ledger.answer(Question(chat("three"), PLAIN))
            assert isinstance(odd, FailedSample)
            assert isinstance(even, Completion)

        with_ledger(teacher, tmp_path, ask)
        assert teacher.asked[-1].body["messages"][0]["role"] == "system"


def test_a_refusal_that_quotes_a_row_about_system_roles_changes_no_other_request(tmp_path: Path) -> None:
    """A server that has accepted a system text supports that role, whatever a refused row is about."""
    odd = "system role not supported"

    def reply(ask: Ask) -> Reply:
        return fails(400, f"flagged: {odd}") if odd in str(ask.body["messages"]) else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", odd, "three"):
                (answer,) = await ledger.answer(Question(chat(word), PLAIN))
                assert isinstance(answer, FailedSample if word == odd else Completion)

        with_ledger(teacher, tmp_path, ask)
        assert [ask.body["messages"][0]["role"] for ask in teacher.asked] == ["system"] * 3


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("This model does not support response format `json_schema`.", 1),
        ("Structured outputs are not enabled for this deployment.", 2),
        ("Guided decoding is disabled", 2),
    ],
)
def test_schema_is_left_out_whatever_the_words_of_the_refusal(message: str, refused: int, tmp_path: Path) -> None:
    """A request refused with a schema is repeated without it. The schema is left out from the start after two such
    answers, or after one if the refusal names it."""
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}}

    def reply(ask: Ask) -> Reply:
        return fails(400, message) if "response_format" in ask.body else Reply(texts=('{"yes": true}',))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", "two", "three", "four"):
                (answer,) = await ledger.answer(Question(chat(word), PLAIN, schema))
                assert isinstance(answer, Completion)
            assert len(teacher.asked) == 4 + refused

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize(
    ("reason", "tokens", "status"), [(None, 9, "truncated"), ("", 9, "truncated"), (None, 8, "ok")]
)
def test_answer_of_max_tokens_without_a_finish_reason_is_truncated(
    reason: str | None, tokens: int, status: str
) -> None:
    """Without a finish reason an answer counts as complete only below the limit."""
    raw = {"finish_reason": reason, "message": {"content": "A dog on"}}
    assert judged(raw, None, {}, {"max_tokens": 9}, tokens).status == status


@pytest.mark.parametrize(
    ("text", "tokens", "status"),
    [
        ("A dog runs. It is on", 9, "truncated"),
        ("Look there! A dog, and then, \n", 9, "truncated"),
        ("一只狗在跑。它在", 9, "truncated"),
        ('{"text": "A dog runs. It is', 9, "truncated"),
        ("A dog runs. It is on a hill.", 9, "ok"),
        ('"A dog runs. It is on a hill."', 9, "ok"),
        ("A dog runs. It is on", 8, "ok"),
        ("A dog runs. It is on", 10, "ok"),
    ],
)
def test_stop_within_a_sentence_at_the_limit_is_truncated(text: str, tokens: int, status: str) -> None:
    """Gateways in front of Ollama and Anthropic, and small servers, call every end a stop. An answer of exactly
    max_tokens that ends within a sentence after others was cut. It counts as complete if the token count differs, if it
    ends like a text, or if it satisfies its schema."""
    raw = {"finish_reason": "stop", "message": {"content": text}}
    assert judged(raw, None, {}, {"max_tokens": 9}, tokens).status == status
    assert judged(raw, lambda _: None, {}, {"max_tokens": 9}, tokens).status == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "positive",
        "A dog on a hill",
        "dog, hill, 4k, golden hour",
        "一只狗在山上",
        "สุนัขวิ่งบนเนินเขา",
        "The old pond;\na frog jumps in.\nThe sound of water",
        "Thank you for your letter.\n\nBest regards,\nAnna Smith",
        "1. A dog\n2. A hill",
        "# Dogs\n\nThey run.\n\n- on hills\n- at sea",
        "def total(values):\n    return sum(values) or nothing",
        "Sent to Mr. Smith",
        "Runs from 9 a.m. to 5 p.m",
        "Price on request. 15",
    ],
)
def test_complete_answer_of_exactly_the_limit_is_accepted(text: str) -> None:
    """With a tight limit for short answers, many take exactly max_tokens and rightly end without a full stop. None of
    them counts as truncated, neither now nor when an older store is read again."""
    raw = {"finish_reason": "stop", "message": {"content": text}}
    assert judged(raw, None, {}, {"max_tokens": 9}, 9).status == "ok"


def test_stop_at_the_limit_is_detected_with_several_choices(tmp_path: Path) -> None:
    """Servers that call every end a stop return one choice whatever n is, so the token count is that of this choice."""
    cut = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "A dog runs. It is on a"}}]}
    body = orjson.dumps({**cut, "usage": {"prompt_tokens": 9, "completion_tokens": 7}})

    async def ask(ledger: Ledger, store: Store) -> None:
        both = await ledger.answer(Question(chat("a dog"), Sampling(max_tokens=7)), 2)
        assert [isinstance(one, FailedSample) and one.reason.split(":")[0] for one in both] == ["truncated"] * 2

    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:
        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize(
    ("native", "status"),
    [
        ("MAX_TOKENS", "truncated"),
        ("SAFETY", "refused"),
        ("abort", "failed"),
        ("tool_use", "ok"),
        ("done", "ok"),
        (None, "ok"),
    ],
)
def test_native_finish_reason_of_a_gateway_is_used(native: str | None, status: str) -> None:
    """OpenRouter passes on the provider's reason beside its own, which may be a plain "stop". An unknown native reason,
    or a tool's, which some providers report for a schema, does not count against the answer."""
    raw = {"finish_reason": "stop", "native_finish_reason": native, "message": {"content": "A dog."}}
    assert judged(raw, None, {}, {}, 0).status == status


@pytest.mark.parametrize(
    ("own", "status"),
    [
        ({"native_finish_reason": "model_length"}, "truncated"),
        ({"native_finish_reason": "insufficient_system_resource"}, "failed"),
        ({"native_finish_reason": "MODEL_ARMOR"}, "refused"),
        ({"native_finish_reason": "COMPLETE"}, "ok"),
        ({"native_finish_reason": "tool_use"}, "ok"),
        ({"native_finish_reason": 1}, "ok"),
        ({"native_finish_reason": "weird"}, "unknown_finish"),
        ({"error": {"code": 502, "message": "gone"}}, "failed"),
        ({}, "ok"),
        (None, "ok"),
    ],
)
def test_finish_reason_that_litellm_calls_a_stop_is_the_one_it_keeps(own: Json | None, status: str) -> None:
    """LiteLLM reports errors, and every reason that it does not know, as "stop" and keeps the provider's own. One that
    pairsmith does not know either ends the run, as if the provider had been asked directly, until the spec says what it
    means."""
    raw = {"finish_reason": "stop", "provider_specific_fields": own, "message": {"content": "A dog."}}
    verdict = judged(raw, None, {}, {}, 0)
    assert verdict.status == status
    assert "'stop'" not in verdict.reason
    assert judged(raw, None, {"weird": "complete"}, {}, 0).status == ("ok" if status == "unknown_finish" else status)


@pytest.mark.parametrize(
    ("base", "endpoint"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions"),
        ("https://gateway.example/v1/account/gateway/openai", "/v1/chat/completions"),
        ("https://mine.openai.azure.com/openai", "/chat/completions"),
    ],
)
def test_batch_names_the_endpoint_of_its_provider(base: str, endpoint: str) -> None:
    """A gateway with the version before the account (Cloudflare's) forwards to OpenAI, which rejects a batch for any
    other endpoint. Azure's older addresses have an endpoint without a version."""
    jobs: list[Json] = []

    async def call(method: str, url: str, **given: Any) -> bytes:
        jobs.append(given.get("json") or {})
        return b'{"id": "file-1", "status": "processed"}'

    asyncio.run(FORMS["openai"].submit(call, base, "m", [], "label"))
    assert [job["endpoint"] for job in jobs if job] == [endpoint]
