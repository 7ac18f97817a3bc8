"""Answers, faults and refusals in the shapes of endpoints that nobody had in mind: read, waited out or named."""

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
from schemas.records import Json, Sampling
from schemas.store import Store
from synth.answers import finish_meaning, judged
from synth.batch_forms import FORMS
from synth.chat_completions import read_answer
from synth.http_status import meaning
from synth.ledger import Completion, FailedSample, Ledger
from synth.rate_limits import retry_after_s
from synth.thinking import split_thinking
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails
from tests.synth.test_ledger import PLAIN, chat, texts, with_ledger
from tests.synth.test_refusals import run

# What came with status 200 in place of an answer: pages of gateways, errors in words of a provider's own (MiniMax,
# Baidu, Cloudflare).
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
def test_what_is_no_answer_is_waited_out_once_others_were(name: str, tmp_path: Path) -> None:
    """In the midst of a run each is a fault that passes: no row is lost to it, and none is given up."""
    with LoopbackTeacher(lambda ask: Reply(body=NO_ANSWERS[name]) if 40 < ask.number <= 56 else Reply()) as teacher:
        result = run(teacher, tmp_path, 60, retries=8)
    assert (result.rows_in, result.failed) == (120, 0)


@pytest.mark.parametrize("name", ["page", "MiniMax"])
def test_what_is_no_answer_from_some_moment_on_ends_the_run_and_burns_no_row(name: str, tmp_path: Path) -> None:
    """A login page after a hundred good answers: the run ends with what came, and once it is gone every row comes."""
    gone = Reply(body=NO_ANSWERS[name])
    caught = pytest.raises(TeacherError, match=r"not a chat completion: .*Maintenance|HTTP 429: rate limit")
    with LoopbackTeacher(lambda ask: Reply() if ask.number <= 40 else gone) as teacher, caught:
        run(teacher, tmp_path, 80)
    with LoopbackTeacher() as mended:
        result = run(mended, tmp_path, 80)
        assert (result.rows_in, result.failed) == (160, 0)


def events(*pieces: Json, done: bool = True) -> bytes:
    """Server-sent events as OpenAI writes them."""
    lines = [b": comment", *(b"data: " + orjson.dumps(piece) for piece in pieces), *([b"data: [DONE]"] if done else [])]
    return b"\n\n".join(lines) + b"\n\n"


def streamed(*texts: str, finish: str | None = "stop") -> bytes:
    """Two choices of those pieces, whose reasoning stands in a field of its own."""
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
def test_an_endpoint_that_only_streams_is_asked_to_and_put_together(words: str, tmp_path: Path) -> None:
    """It refuses once, in its own words (DashScope's are documented), and is streamed from then on."""

    def reply(ask: Ask) -> Reply:
        if not ask.body.get("stream"):
            return fails(400, words)
        return Reply(body=streamed("a ", "dog"))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.complete(chat("one"), PLAIN, 2)) == ["a dog", "a dog"]
            assert texts(await ledger.complete(chat("two"), PLAIN, 2)) == ["a dog", "a dog"]
            assert ledger.usage.prompt_tokens == 14
            assert len(teacher.asked) == 3

        with_ledger(teacher, tmp_path, ask)


def test_an_endpoint_that_streams_and_counts_nothing_is_asked_without_a_count(tmp_path: Path) -> None:
    """It takes `stream` and not `stream_options`, which nobody could take out of a sampling table."""

    def reply(ask: Ask) -> Reply:
        if not ask.body.get("stream"):
            return fails(400, "Stream must be set to true")
        if "stream_options" in ask.body:
            return fails(400, "Unrecognized request argument supplied: stream_options")
        return Reply(body=streamed("a ", "dog"))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.complete(chat("one"), PLAIN)) == ["a dog"]
            assert texts(await ledger.complete(chat("two"), PLAIN)) == ["a dog"]
            assert len(teacher.asked) == 4

        with_ledger(teacher, tmp_path, ask)


def test_a_stream_that_ends_too_early_is_no_answer() -> None:
    """Half of the events, the last one cut: its choices failed, whatever they hold."""
    (choice, _) = read_answer(streamed("a ", "do", finish=None)[:-40], 0, {}).choices
    assert choice["message"]["content"] == "a do"
    assert judged(choice, None, {}, {}, 0).status == "failed"


def test_a_stream_keeps_log_probabilities_and_errors() -> None:
    """They are told piece by piece, and an error in the midst as an event of its own."""
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
def test_an_odd_event_of_a_stream_costs_no_more_than_itself(odd: Json) -> None:
    """What is no piece of an answer is passed over: it neither ends the run nor spoils the answer around it."""
    begins: Json = {"choices": [{"index": 0, "delta": {"content": "a "}}]}
    ends: Json = {"choices": [{"index": 0, "delta": {"content": "dog"}, "finish_reason": "stop"}]}
    (whole,) = read_answer(events(begins, odd, ends), 0, {}).choices
    assert judged(whole, None, {}, {}, 0)[:2] == ("ok", "a dog")


@pytest.mark.parametrize(
    ("error", "bad"),
    [({"code": 500, "message": "gone"}, True), ("gone", True), (None, False), ({"message": "", "code": None}, False)],
)
def test_an_error_beside_the_choices_spoils_them(error: Any, bad: bool) -> None:
    """A gateway that gave up while the answer was written says so at the top, and calls its half a whole one; an error
    object whose fields are empty is none."""
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "a do"}}], "error": error}
    (choice,) = read_answer(orjson.dumps(body), 0, {}).choices
    assert judged(choice, None, {}, {}, 0).status == ("failed" if bad else "ok")


def test_zeros_are_no_count_of_tokens() -> None:
    """Gateways write them for what they do not know, and an answer that cost nothing would be a false price."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "a dog"}}], "usage": usage}
    assert read_answer(orjson.dumps(body), 0, {}).usage is None


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
def test_a_part_of_a_word_tells_what_went_wrong_and_never_that_all_is_well(word: str, meaning: str | None) -> None:
    """A new word for a limit, a filter or a fault is one; what may be an end is asked about (`normal` is Baidu's)."""
    assert finish_meaning(word, {}) == meaning


def test_what_the_spec_declares_comes_before_a_part_of_a_word() -> None:
    """A server may call a whole answer what it likes."""
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
def test_reasoning_leaves_in_the_marks_of_other_servers_too(text: str) -> None:
    """gpt-oss without its marks, MedGemma, Open WebUI, Ollama's terminal, tags that prompts have taught models."""
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
def test_what_only_looks_like_them_is_an_answer(text: str) -> None:
    """A block that nothing follows, words without their end, prose about the marks."""
    assert split_thinking(text) == (None, text)


@pytest.mark.parametrize(("asked", "kept"), [("Write an analysis and a label.", True), ("Label this.", False)])
def test_a_block_whose_word_the_request_has_is_asked_for(asked: str, kept: bool) -> None:
    """<analysis> is a part of a report as easily as a model's habit."""
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
    ],
)
def test_a_wait_is_read_in_the_words_of_other_servers(
    headers: dict[str, str], text: str, seconds: float | None
) -> None:
    """Lengths with units in the header, minutes and whole words in the text."""
    assert retry_after_s(headers, text) == seconds


def test_a_wait_until_a_date_is_by_the_clock_of_the_server_that_says_it() -> None:
    """This machine's clock may be an hour off; a moment since the epoch, which brings no other clock, is by ours."""
    then = datetime.now(UTC) - timedelta(hours=5)
    headers = {"Date": format_datetime(then, usegmt=True)}
    headers["Retry-After"] = format_datetime(then + timedelta(seconds=90), usegmt=True)
    assert retry_after_s(headers) == 90
    moment = datetime.now(UTC).timestamp() + 90
    assert retry_after_s({"Retry-After": f"{moment:.0f}"}) == pytest.approx(90, abs=5)


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
    ],
)
def test_what_other_providers_say_is_understood(status: int, error: Json, kind: str) -> None:
    """Empty accounts in the words of Moonshot, Zhipu, DashScope and OpenRouter, what plans allow in hours or weeks in
    those of Ollama's cloud, Z.ai and Gemini, and a model that is no more."""
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
def test_a_server_without_a_system_role_is_told_it_in_the_users_turn(
    message: str, system: bool, tmp_path: Path
) -> None:
    """As those models' own pages say to; in all later requests at once. Other refusals change nothing."""

    def reply(ask: Ask) -> Reply:
        return fails(400, message) if ask.body["messages"][0]["role"] == "system" else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", "two", "three"):
                (answer,) = await ledger.complete(chat(word), PLAIN)
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
def test_a_template_that_fails_is_no_fault_of_the_server(message: str, tmp_path: Path) -> None:
    """llama.cpp and SGLang say with status 500 what others refuse: no wait mends it, and without the system role it is
    taken, with one request more."""

    def reply(ask: Ask) -> Reply:
        return fails(500, message) if ask.body["messages"][0]["role"] == "system" else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", "two", "three"):
                (answer,) = await ledger.complete(chat(word), PLAIN)
                assert isinstance(answer, Completion)

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 4


def test_turns_that_a_template_does_not_take_are_that_rows_matter(tmp_path: Path) -> None:
    """Asked once, whether others were answered before or not; a fault that quotes a row about templates passes."""
    odd, quoted = f"{TEMPLATE}conversation roles must alternate user and assistant", "mend this jinja template"

    def reply(ask: Ask) -> Reply:
        if len(ask.body["messages"]) > 2:
            return fails(500, odd)
        texts = [one.body["messages"][-1]["content"] for one in teacher.asked]
        return fails(500, f"busy with: {quoted}") if texts[-1] == quoted and texts.count(quoted) == 1 else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answered,) = await ledger.complete(chat("one"), PLAIN)
            (refused,) = await ledger.complete((*chat("one"), *chat("two")[1:]), PLAIN)
            (passed,) = await ledger.complete(chat(quoted), PLAIN)
            assert isinstance(refused, FailedSample)
            assert refused.reason.startswith("refused: HTTP 500")
            assert [type(answered), type(passed)] == [Completion, Completion]

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 4


def test_a_conversation_out_of_turn_changes_no_other_request(tmp_path: Path) -> None:
    """Two turns of the user in a row are refused in the same words; the others keep their system text."""

    def reply(ask: Ask) -> Reply:
        odd = len(ask.body["messages"]) > 2
        return fails(400, "Conversation roles must alternate user/assistant/user/assistant/...") if odd else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (odd,) = await ledger.complete((*chat("one"), *chat("two")[1:]), PLAIN)
            (even,) = await ledger.complete(chat("three"), PLAIN)
            assert isinstance(odd, FailedSample)
            assert isinstance(even, Completion)

        with_ledger(teacher, tmp_path, ask)
        assert teacher.asked[-1].body["messages"][0]["role"] == "system"


def test_a_refusal_that_quotes_a_row_about_system_roles_changes_no_other_request(tmp_path: Path) -> None:
    """A server that has taken a system text has that role, whatever a refused row speaks of."""
    odd = "system role not supported"

    def reply(ask: Ask) -> Reply:
        return fails(400, f"flagged: {odd}") if odd in str(ask.body["messages"]) else Reply()

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", odd, "three"):
                (answer,) = await ledger.complete(chat(word), PLAIN)
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
def test_a_server_that_takes_no_schema_is_asked_without_in_whatever_words(
    message: str, refused: int, tmp_path: Path
) -> None:
    """What it refuses with a schema it is asked without; after two such answers the schema is left out at once, and
    after one where the refusal names it."""
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}}

    def reply(ask: Ask) -> Reply:
        return fails(400, message) if "response_format" in ask.body else Reply(texts=('{"yes": true}',))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for word in ("one", "two", "three", "four"):
                (answer,) = await ledger.complete(chat(word), PLAIN, schema=schema)
                assert isinstance(answer, Completion)
            assert len(teacher.asked) == 4 + refused

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize(
    ("reason", "tokens", "status"), [(None, 9, "truncated"), ("", 9, "truncated"), (None, 8, "ok")]
)
def test_an_answer_without_a_finish_reason_that_took_all_it_was_given_was_cut(
    reason: str | None, tokens: int, status: str
) -> None:
    """A server that says nothing of the end is believed only below the limit."""
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
def test_a_stop_in_the_midst_of_a_sentence_at_the_limit_is_a_cut(text: str, tokens: int, status: str) -> None:
    """Gateways before Ollama and Anthropic, and small servers, call every end a stop: an answer that took exactly what
    it was given, and breaks off in a sentence behind others, was cut. One that counts otherwise, or ends like a text,
    is believed, and one that keeps its schema."""
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
def test_a_whole_answer_of_exactly_the_limit_is_believed(text: str) -> None:
    """Where short answers are asked for with a tight limit, many take exactly what they may, and end without a full
    stop as they should: none of them is taken for a cut one, today or when a store of yesterday is read again."""
    raw = {"finish_reason": "stop", "message": {"content": text}}
    assert judged(raw, None, {}, {"max_tokens": 9}, 9).status == "ok"


def test_a_stop_at_the_limit_is_seen_where_several_choices_were_asked_for(tmp_path: Path) -> None:
    """Those that call every end a stop give one choice whatever n is, so what was counted is that one's."""
    cut = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "A dog runs. It is on a"}}]}
    body = orjson.dumps({**cut, "usage": {"prompt_tokens": 9, "completion_tokens": 7}})

    async def ask(ledger: Ledger, store: Store) -> None:
        both = await ledger.complete(chat("a dog"), Sampling(max_tokens=7), 2)
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
def test_what_stands_behind_a_gateways_stop_is_read(native: str | None, status: str) -> None:
    """OpenRouter hands on the provider's own word beside its own, which may be a plain "stop"; a word that nobody
    knows, or a tool's, as which some give a schema, says nothing against it."""
    raw = {"finish_reason": "stop", "native_finish_reason": native, "message": {"content": "A dog."}}
    assert judged(raw, None, {}, {}, 0).status == status


@pytest.mark.parametrize(
    ("base", "endpoint"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions"),
        ("https://gateway.example/v1/account/gateway/openai", "/v1/chat/completions"),
        ("https://mine.openai.azure.com/openai", "/chat/completions"),
    ],
)
def test_a_batch_is_asked_for_at_the_endpoint_of_its_provider(base: str, endpoint: str) -> None:
    """A gateway that names the version before the account (Cloudflare's) hands on to OpenAI, which refuses a batch for
    any other endpoint; Azure's older addresses have one without a version."""
    jobs: list[Json] = []

    async def call(method: str, url: str, **given: Any) -> bytes:
        jobs.append(given.get("json") or {})
        return b'{"id": "file-1", "status": "processed"}'

    asyncio.run(FORMS["openai"].submit(call, base, "m", [], "label"))
    assert [job["endpoint"] for job in jobs if job] == [endpoint]
