"""The message of an error is shown and understood, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import TeacherError
from schemas.records import Sampling, Usage
from synth.chat.completions import effective_response, read_answer
from synth.chat.error_words import displayed_text, error_body
from synth.chat.http_status import Target, fatal_error, meaning
from synth.endpoints.rate_limits import remaining_in_headers, retry_after_s
from tests.synth.loopback import LoopbackTeacher, Reply, fails
from tests.synth.test_refusals import run

CLOUDFLARE = (
    "<!DOCTYPE html>\n<html lang='en'><head><title>example.org | 502: Bad gateway</title><style>p{color:red}</style>"
    "</head><body><h1 class='x'>Bad gateway <span>Error code 502</span></h1><script>if (a<b) c()</script></body></html>"
)
AWS = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>The request &amp; key differ</Message></Error>'
WORDS: dict[str, tuple[Any, str]] = {
    "OpenAI": ({"error": {"message": "no", "code": None}}, "no"),
    "a text": ({"error": "Model is overloaded", "error_type": "overloaded"}, "Model is overloaded"),
    "Gemini": ([{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}], "no"),
    "FastAPI": ({"detail": "Not authenticated"}, "Not authenticated"),
    "a setting": (
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]},
        "body.top_k: Extra inputs are not permitted",
    ),
    "Mistral": ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}}, "body.n: no"),
    "Cloudflare": ({"success": False, "errors": [{"code": 5007, "message": "No such model"}]}, "No such model"),
    "Apigee": ({"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "x"}}}, "Invalid ApiKey"),
    "problem details": (
        {"status": 403, "title": "Forbidden", "detail": "Authorization failed"},
        "Authorization failed",
    ),
    "a title alone": ({"status": 403, "title": "Forbidden"}, "Forbidden"),
    "Databricks": ({"error_code": "BAD_REQUEST", "message": "no"}, "no"),
    "AWS": ({"Message": "Bearer Token has expired"}, "Bearer Token has expired"),
    "null beside it": ({"error": None, "message": "no"}, "no"),
    "MiniMax": ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "insufficient balance"),
    "behind OpenRouter": (
        {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error": {"message": "too hot"}}'}}},
        "Provider returned error (too hot)",
    ),
    "a page": (CLOUDFLARE, "example.org | 502: Bad gateway: Bad gateway Error code 502"),
    "nginx": ("<html>\r\n<head><title>403 Forbidden</title></head><center><h1>403 Forbidden</h1>", "403 Forbidden"),
    "a page without a title": ("<html><body><p>Sign&nbsp;in</p> to go on</body></html>", "Sign in to go on"),
    "XML": (AWS, "The request & key differ"),
    "a plain text": ("Too Many Requests", "Too Many Requests"),
    "no words": ({"code": 3}, '{"code":3}'),
    "nothing": ("", ""),
}


def body_of(content: Any) -> bytes:
    return content.encode() if isinstance(content, str) else orjson.dumps(content)


@pytest.mark.parametrize("form", WORDS)
def test_message_of_an_error_is_shown(form: str) -> None:
    """Not as JSON with its brackets, not as a page with its tags, and never as "None"."""
    content, words = WORDS[form]
    _, error = error_body(body_of(content))
    assert (error.get("message") or displayed_text(body_of(content).decode())) == words


@pytest.mark.slow
def test_html_page_is_shown_by_its_title(tmp_path: Path) -> None:
    """Also if the page comes with status 200 instead of an answer, or after other answers."""
    for reply in (Reply(status=400, body=CLOUDFLARE.encode()), Reply(body=CLOUDFLARE.encode())):
        with LoopbackTeacher(lambda ask, reply=reply: reply) as teacher:
            with pytest.raises(TeacherError, match=r"502: Bad gateway") as caught:
                run(teacher, tmp_path, 20)
            assert "<" not in str(caught.value)
    (tmp_path / "later").mkdir()
    page = Reply(body=CLOUDFLARE.encode())
    with LoopbackTeacher(lambda ask: page if ask.prompt == "dog 9" else Reply()) as teacher:
        result = run(teacher, tmp_path / "later", 20, n=1)
        (message,) = result.sentences
        assert "502: Bad gateway" in message
        assert "<" not in message


@pytest.mark.parametrize("status", [400, 401, 500])
def test_html_page_sends_no_escape_sequences_to_the_terminal(status: int, tmp_path: Path) -> None:
    """A title is shown as plain text: no colours, no hidden text, no terminal commands."""
    title = b"<html><title>\x1b[31;8mred\x1b[0m \x1b]0;mine\x07owl</title></html>"
    for body in (title, orjson.dumps({"error": {"message": "\x1b[31;8mred\x1b[0m \x1b]0;mine\x07owl"}})):
        with LoopbackTeacher(lambda ask, body=body: Reply(status=status, body=body)) as teacher:
            try:
                (words,) = run(teacher, tmp_path, 1, retries=0).sentences
            except TeacherError as error:
                words = str(error)
            assert "red ]0;mine owl" in words
            assert words.isprintable()


@pytest.mark.slow
def test_html_page_of_unclosed_tags_is_parsed_quickly() -> None:
    """The page comes from anywhere, so parsing time must not grow quadratically."""
    for text in ("<script>" * 100_000, "<title>" * 100_000, "<!--" * 100_000, "<" * 500_000):
        assert displayed_text(f"<html>{text}")


def test_deeply_nested_error_fails_only_its_row(tmp_path: Path) -> None:
    """It fails its own row, with a one-line message, and ends no run."""
    deep = b'{"error": "no\\nroom", "d": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    for status in (200, 400):
        (folder := tmp_path / str(status)).mkdir()
        odd = Reply(status=status, body=deep)
        with LoopbackTeacher(lambda ask, odd=odd: odd if ask.prompt == "dog 9" else Reply()) as teacher:
            result = run(teacher, folder, 20, n=1)
        assert (result.rows_in, result.failed) == (20, 1)
        assert "no room" in next(iter(result.sentences))


def test_response_instead_of_an_answer_is_shown_on_one_line(tmp_path: Path) -> None:
    """Its message may have line breaks that were escaped in JSON."""
    odd = Reply(body=orjson.dumps({"detail": "no\nroom"}))
    with LoopbackTeacher(lambda ask: odd) as teacher, pytest.raises(TeacherError) as caught:
        run(teacher, tmp_path, 20)
    assert "no room" in str(caught.value)


BODY = {
    "top_k": 5,
    "temperature": 0.9,
    "stop": ["x"],
    "logprobs": True,
    "presence_penalty": 0.1,
    "top_p": 0.9,
    "reasoning_effort": "low",
    "thinking": {"type": "disabled"},
    "response_format": {},
    "messages": [{"role": "user", "content": "a dog"}],
}
FREE = "you have used up your daily free allocation of 10,000 neurons, please upgrade to the Workers Paid plan"
XAI = "Client specified an invalid argument"
MONTH = "You are using a Trial key, which is limited to 1000 API calls / month."
KINDS: list[tuple[int, Any, str, str]] = [  # the kind before anything was answered, and after
    (429, {"errors": [{"message": FREE, "code": 3036}]}, "quota", "quota"),
    (429, {"errors": [{"message": "No more data centers to forward it to"}]}, "throttled", "throttled"),
    (400, {"errors": [{"message": "AiError: No such model @cf/x or task", "code": 5007}]}, "model", "refused"),
    (429, {"message": MONTH}, "quota", "quota"),
    (429, {"message": MONTH.replace("month", "minute")}, "throttled", "throttled"),
    (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}, "quota", "quota"),
    (403, {"errors": [{"message": "You reached the token quota for this month"}]}, "quota", "quota"),
    (429, rb'{"error": {"message": "\u4f59\u989d\u4e0d\u8db3", "code": "1113"}}', "quota", "quota"),
    (400, {"code": XAI, "error": "Argument not supported on this model: presencePenalty"}, "setting", "refused"),
    (400, {"code": XAI, "error": "Argument not supported on this model: reasoningEffort"}, "setting", "refused"),
    (422, {"error": "Input validation error: `temperature` must be strictly positive"}, "setting", "refused"),
    (400, {"error": {"message": "`temperature` may only be set to 1 when thinking is on."}}, "setting", "refused"),
    (422, {"error": {"message": "Failed to deserialize: top_k: invalid type: float"}}, "setting", "refused"),
    (403, {"error": {"message": "You are not allowed to request logprobs from this model"}}, "setting", "refused"),
    (403, {"error": "Content violates usage guidelines. API key ID: y, Failed check: SAFETY"}, "refused", "refused"),
    (403, {"Message": "Bearer Token has expired"}, "key", "key"),
    (403, {"title": "Forbidden", "detail": "Authorization failed"}, "key", "refused"),
    (403, {"message": "Forbidden"}, "key", "refused"),
    (403, {"message": "Forbidden content"}, "refused", "refused"),
    (400, {"message": "The provided model identifier is invalid."}, "model", "refused"),
    (400, {"error": {"message": "The model `x` has been decommissioned."}}, "model", "refused"),
    (446, {"error": {"message": "The guardrail checks failed."}}, "refused", "refused"),
    (405, {"error": "Method Not Allowed"}, "address", "refused"),
    (429, {"error": {"message": "Usage limit.", "code": "organization_usage_limit_exceeded"}}, "quota", "quota"),
    (429, {"error": {"message": "No more credits.", "code": "credit_balance_exhausted"}}, "quota", "quota"),
    (
        429,
        {"error": {"message": "Paused.", "details": {"error_code": "enforced_spend_limit_reached"}}},
        "quota",
        "quota",
    ),
    (403, {"error": {"code": 403, "message": "Budget limit exceeded"}}, "quota", "quota"),
    (429, {"error": {"message": "The API has reached its daily call limit.", "code": "1304"}}, "quota", "quota"),
    (429, {"error": {"message": "该 API 已达今日调用次数限额", "code": "1304"}}, "quota", "quota"),
    (429, {"error": {"message": "您的 GLM Coding Plan 套餐已到期", "code": "1309"}}, "quota", "quota"),
    (429, {"error": {"message": "您的账户已被锁定", "code": "1112"}}, "quota", "quota"),
    (429, {"error": {"message": "您当前使用该 API 的频率过高,请降低频率", "code": "1303"}}, "throttled", "throttled"),
    (429, {"code": "Throttling.AllocationQuota", "message": "Free allocated quota exceeded."}, "quota", "quota"),
    (429, {"error": {"message": "You reached your daily limit of 60 requests per minute"}}, "throttled", "throttled"),
    (429, {"error": {"message": "You have reached the usage limit, wait a moment"}}, "throttled", "throttled"),
    # A day's limit that is named, not used up.
    (
        429,
        {"error": {"message": "Limit exceeded for parallel calls. Your daily quota is 9."}},
        "throttled",
        "throttled",
    ),
    (429, {"error": {"message": "Too fast; your daily quota has not been exceeded"}}, "throttled", "throttled"),
    (429, {"error": {"message": "Your daily limit for gpt-4.1 has been reached"}}, "quota", "quota"),
    (400, {"error": {"message": "This Model is Cold / Not Ready for Inference"}}, "server", "server"),
    (400, {"error": {"message": "This model is coldly received"}}, "refused", "refused"),
    (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}, "throttled", "throttled"),
    (400, {"__type": "ServiceQuotaExceededException", "message": "Too much"}, "throttled", "throttled"),
    (403, [{"error": {"code": 403, "message": "no", "status": "RATE_LIMIT_EXCEEDED"}}], "throttled", "throttled"),
    (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000"}, "refused", "refused"),
    # Models and gateways of 2026: OpenAI, Anthropic, xAI, Groq, Cerebras, Bedrock, Ollama, llama-server, W&B, ngrok.
    (
        404,
        {"error": {"message": "This model is only supported in v1/responses.", "param": "model"}},
        "model",
        "refused",
    ),
    (400, {"error": {"message": "`temperature` is deprecated for this model."}}, "setting", "refused"),
    (400, {"error": {"message": "`temperature` and `top_p` cannot both be specified."}}, "setting", "refused"),
    (400, {"error": {"message": '"thinking.type.disabled" is not supported for this model.'}}, "setting", "refused"),
    (400, {"code": XAI, "error": "Model x does not support parameter reasoningEffort."}, "setting", "refused"),
    (400, {"error": {"message": "`reasoning_effort` must be one of `none` or `default`"}}, "setting", "refused"),
    (400, {"message": "reasoning_effort\n Input should be 'low' or 'high' [type=enum]"}, "setting", "refused"),
    (
        400,
        {"error": {"message": "'minimal' is not supported.", "param": "reasoning_effort", "code": "unsupported_value"}},
        "setting",
        "setting",
    ),
    (400, {"error": {"message": "model `x` isn't supported on this route"}}, "model", "refused"),
    (400, {"error": {"code": 400, "message": "model not found", "type": "invalid_request_error"}}, "model", "refused"),
    (400, {"error": {"code": 400, "message": "model is not loaded"}}, "server", "server"),
    (429, {"error": "you (ann) have reached your weekly usage limit, upgrade for higher limits"}, "quota", "quota"),
    (402, {"error": {"message": "You exceeded your current quota"}}, "quota", "quota"),
    (429, {"error": {"message": "Concurrency limit reached for requests"}}, "throttled", "throttled"),
    (403, {"error": {"message": "Your account has run out of credit", "code": "ERR_NGROK_4026"}}, "quota", "quota"),
]


@pytest.mark.parametrize(("status", "content", "before", "after"), KINDS)
def test_error_is_classified_in_every_format(status: int, content: Any, before: str, after: str) -> None:
    """Cloudflare, Cohere, Novita, watsonx, Zhipu, xAI, TGI, Anthropic, DeepSeek, OpenAI, Bedrock, NIM, Groq and Portkey
    report the same causes in their own words and formats."""
    content = content if isinstance(content, bytes) else orjson.dumps(content)
    _, error = error_body(content)
    kinds = [meaning(status, error, content.decode(), BODY, answered=answered).kind for answered in (False, True)]
    assert kinds == [before, after]


def test_error_that_quotes_the_first_row_is_not_about_a_setting() -> None:
    """An error may quote the row, and a row may be about temperatures that must be high. Then it is an ordinary
    refusal."""
    text = "flagged: the temperature of the oven must be high"
    asked = {"temperature": 1, "messages": [{"role": "user", "content": text[9:]}]}
    assert meaning(400, {"message": text}, text, asked, answered=False).kind == "refused"
    assert meaning(400, {"message": text}, text, {**asked, "messages": []}, answered=False).kind == "setting"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"error": {"type": "invalid_request_error", "message": "no such field"}}, 400),
        ({"error": {"code": "content_filter", "message": "filtered"}}, 400),
        ({"error": {"code": None, "message": "upstream"}}, 502),
        ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, 429),
        ({"error": {"code": "503", "message": "x"}}, 503),
        ([{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}], 503),
        # Without an error object: Baidu and Tencent.
        ({"code": 336501, "msg": "Rate limit reached for RPM"}, 429),
        ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, 429),
        ({"error_code": 110, "error_msg": "Access token invalid or no longer valid"}, 401),
        ({"Response": {"Error": {"Code": "RequestLimitExceeded", "Message": "Too frequent"}, "RequestId": "1"}}, 429),
        ({"Response": {"Error": {"Code": "AuthFailure.SecretIdNotFound", "Message": "No such key"}}}, 401),
        ({"code": 2, "msg": "Service temporarily unavailable"}, 502),
        ({"code": 1113, "msg": "余额不足或无可用资源包,请充值。"}, 402),
        # Not errors, or not known to be.
        ({"code": 0, "msg": "success", "result": "a dog"}, 200),
        ({"code": 20000, "msg": "success", "result": "a dog"}, 200),
        ({"code": "OK", "msg": "", "result": "a dog"}, 200),
        ({"code": 1, "msg": "ok", "result": "a dog"}, 200),
        ({"code": "00000", "msg": "done", "result": "a dog"}, 200),
        ({"error_code": "0", "result": "a dog"}, 200),
        ({"code": None, "msg": None, "result": "a dog"}, 200),
        ({"Response": {"Error": None, "Choices": [{"Message": {"Content": "a dog"}}]}}, 200),
        ({"error_code": 17, "error_msg": "x", "usage": {"completion_tokens": 3}}, 200),
        ({"detail": "no room"}, 200),
    ],
)
def test_an_error_inside_a_200_has_the_status_it_means(content: Any, status: int) -> None:
    """A request that can never be accepted is not a server fault, and is not sent six times. An error that has no
    object of its own used to be an answer, which used up the attempts of its row."""
    assert effective_response(200, orjson.dumps(content))[0] == status


def test_an_error_inside_a_200_that_quotes_the_row_is_not_about_the_account() -> None:
    """A row about credit would have ended every run, as an empty account does."""
    request = {"messages": [{"role": "user", "content": "my credit card and its balance"}]}
    quoted = orjson.dumps({"error": {"message": "failed on 'my credit card and its balance'"}})
    assert effective_response(200, quoted)[0] == 402
    assert effective_response(200, quoted, request)[0] == 502
    for empty in ("your quota is used up", "Insufficient credits", "insufficient balance"):
        content = orjson.dumps({"error": {"message": empty}})
        assert effective_response(200, content, request)[0] == 402, "the row has the word, but is not quoted"


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        # Gemini leaves out the completion tokens if all of them were reasoning. Missing this would make the bill zero.
        ({"prompt_tokens": 9, "total_tokens": 73}, (9, 64, 0, 0)),
        # The answer has a text, which has tokens.
        ({"prompt_tokens": 9, "completion_tokens": None, "total_tokens": 9}, None),
        # Reasoning is counted separately from the completion, and there is no total.
        (
            {"prompt_tokens": 9, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 100}},
            (9, 103),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 120, "completion_tokens_details": {"reasoning_tokens": 100}},
            (9, 120),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 100}}, (109, 3, 100)),
        # Moonshot and Together have cached tokens at the top level. Anthropic counts them separately.
        ({"prompt_tokens": 90, "completion_tokens": 3, "cached_tokens": 80}, (90, 3, 80)),
        # Several that differ, as gateways pass them on: always the same one counts.
        ({"prompt_tokens": 90, "completion_tokens": 3, "cache_read_input_tokens": 9, "cached_tokens": 8}, (90, 3, 8)),
        (
            {
                "prompt_tokens": 90,
                "completion_tokens": 3,
                "cache_read_input_tokens": 9,
                "cached_tokens": 8,
                "prompt_cache_hit_tokens": 7,
            },
            (90, 3, 7),
        ),
        (
            {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 50},
            (63, 3, 4),
        ),
        ({"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}, (9, 3)),
        ({"prompt_tokens": 9, "completion_tokens": 3, "reasoning_tokens": 100}, (9, 103, 0, 100)),
        ({"prompt_tokens": 9}, None),
        ({"prompt_tokens": "9", "completion_tokens": "3"}, None),
        ({"prompt_tokens": -9, "completion_tokens": 3}, None),
        ({"prompt_tokens": 9, "completion_tokens": 10**12}, None),  # no answer has so many
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 10**12}, (9, 3)),
    ],
)
def test_odd_counts_never_make_a_bill_smaller(usage: dict[str, Any], counted: tuple[int, ...] | None) -> None:
    """Tokens that a provider counts separately are added, and an invalid count is unknown, not zero."""
    choice = {"index": 0, "message": {"content": "a dog"}, "finish_reason": "stop"}
    answer = read_answer(orjson.dumps({"choices": [choice], "usage": usage}), 0.1, {})
    values = None if answer.usage is None else tuple(answer.usage.model_dump().values())[: len(counted or ())]
    assert values == counted
    assert list(Usage.model_fields) == ["prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"]


def test_wait_is_parsed_from_the_text_if_the_header_is_unreadable() -> None:
    """The wait then comes from the error's text. The IETF draft that many frameworks follow has limit and reset in one
    header."""
    for header in ("", "soon", "PT30S"):
        assert retry_after_s({"Retry-After": header}, "Please try again in 20s") == 20
    assert retry_after_s({"Retry-After": "soon"}) is None
    (left,) = remaining_in_headers({"RateLimit": "limit=100, remaining=0, reset=30"})
    assert left == ("requests", 0, 30)


@pytest.mark.slow
@pytest.mark.parametrize("status", [413, 520, 521, 523, 525, 527, 530])
def test_cdn_errors_are_temporary_once_others_were_answered(status: int, tmp_path: Path) -> None:
    """Cloudflare's own status codes are server faults. 413 is the row's own."""
    fault = fails(status) if status == 413 else Reply(status=status, body=b"error code: 1033")
    with LoopbackTeacher(lambda ask: fault if ask.prompt == "dog 15" and ask.nth == 1 else Reply()) as teacher:
        assert run(teacher, tmp_path, 20, n=1).failed == (status == 413)


@pytest.mark.parametrize(
    ("setting", "fix"), [("top_k", 'top_k = "unset"'), ("verbosity", "Remove verbosity from extra")]
)
def test_advice_about_a_setting_names_an_existing_key(setting: str, fix: str) -> None:
    """`verbosity` belongs in `extra`. As a key of the sampling table the spec would reject it."""
    error = fatal_error("setting", setting, "HTTP 400: no", Target("u", "u", "m", None, has_key=False))
    assert fix in str(error)
    assert (setting in Sampling.model_fields) == ("unset" in str(error))
