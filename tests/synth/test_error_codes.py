"""Errors that providers send under another HTTP status, or in words of their own, are read as what they are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.records import Json
from synth.chat.completions import effective_response, read_answer
from synth.chat.error_words import error_body
from synth.chat.http_status import Kind, meaning

REQUEST: Json = {
    "model": "m",
    "messages": [{"role": "user", "content": "a dog on a hill"}],
    "max_tokens": 64,
    "temperature": 2,
}


def baidu(code: int, message: str) -> Json:
    return {"error_code": code, "error_msg": message, "id": "as-1"}


def minimax(code: int, message: str, **more: Any) -> Json:
    return {"base_resp": {"status_code": code, "status_msg": message}, **more}


def iflytek(code: int, message: str) -> Json:
    return {"code": code, "message": message, "sid": "cht1"}


def error(message: str, **more: Any) -> Json:
    return {"error": {"message": message, **more}}


EMPTY = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ""}}]
# Status, body, what it means. From the pages of errors of these providers and servers, and llama.cpp's and FastChat's
# sources.
ERRORS: dict[str, tuple[int, Json, Kind]] = {
    "Baidu, invalid messages": (200, baidu(336003, "the role of the last message must be user"), "refused"),
    "Baidu, too long": (200, baidu(336103, "Prompt tokens too long"), "refused"),
    "Baidu, its own fault": (200, baidu(336000, "Internal error"), "server"),
    "Baidu, busy": (200, baidu(336100, "please try again"), "server"),
    "Baidu, in all": (200, baidu(19, "Open api total request limit reached"), "quota"),
    "Baidu, a second": (200, baidu(18, "Open api qps request limit reached"), "throttled"),
    "Baidu, no permission": (200, baidu(6, "No permission to access data"), "key"),
    "Baidu, no token": (200, baidu(100, "Invalid parameter"), "key"),
    "Baidu, permission": (200, baidu(336004, "no permission"), "key"),
    "Baidu, no model": (200, baidu(336005, "the API does not exist"), "model"),
    "Baidu v2, too long": (200, {"code": "tokens_too_long", "msg": "Prompt tokens too long"}, "refused"),
    "MiniMax, plan": (200, minimax(2061, "your current token plan not support model"), "key"),
    "MiniMax, output": (200, minimax(1027, "output new_sensitive", choices=EMPTY), "refused"),
    "MiniMax, its own fault": (200, minimax(1024, "internal error"), "server"),
    "Novita, no credit": (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": ""}, "quota"),
    "Novita, no credit, images": (400, {"reason": "BILLING_BALANCE_NOT_ENOUGH", "message": ""}, "quota"),
    "DeepInfra, no card": (403, {"detail": {"error": "prohibited, please enter a payment method"}}, "quota"),
    "few credits": (403, error("You don't have enough credits to perform this request"), "quota"),
    "an expired token": (403, {"message": "Token expired"}, "key"),
    "iFlytek, licence": (200, iflytek(11200, "AppIdNoAuthError(licc limit)"), "key"),
    "iFlytek, a second": (200, iflytek(11202, "AppIdQpsOverFlowError"), "throttled"),
    "iFlytek, a second, as an error": (200, {**error("AppIdQpsOverFlowError", code="11202"), "sid": "x"}, "throttled"),
    "iFlytek, a day": (200, iflytek(11201, "AppIdNoAuthError"), "quota"),
    "iFlytek, input": (200, iflytek(10013, "InvalidInputTextError"), "refused"),
    "iFlytek, too long": (200, iflytek(10907, "too many tokens"), "refused"),
    "iFlytek, its own fault": (200, iflytek(10012, "EngineInternalError"), "server"),
    "another's code": (200, {"code": 10013, "message": "upstream failed"}, "server"),
    "Tencent, package": (200, {"Response": {"Error": {"Code": "FailedOperation.ResourcePackExhausted"}}}, "quota"),
    "CloudBase, quota": (429, {"code": "EXCEED_TOKEN_QUOTA_LIMIT", "message": "exceeded quota limit"}, "quota"),
    "New API, account": (403, error("用户额度不足", code="insufficient_user_quota"), "quota"),
    "New API, key": (403, error("token quota is not enough", code="pre_consume_token_quota_failed"), "quota"),
    "Zhipu, plan": (429, error("当前订阅套餐暂未开放glm-5权限", code="1311"), "key"),
    "Zhipu, access": (403, error("您无权访问 glm-5", code="1220"), "key"),
    "NVIDIA, busy": (502, error("ResourceExhausted: Worker local total request limit reached (33/32)"), "server"),
    "llama.cpp, stopped": (400, error("model name=qwen is not running", type="invalid_request_error"), "server"),
    "GitHub, no model": (400, error("Unavailable model: x", code="unavailable_model"), "model"),
    "Databricks, no access": (
        403,
        {"error_code": "PERMISSION_DENIED", "message": "PERMISSION_DENIED: disabled due to a rate limit of 0."},
        "key",
    ),
    "Azure's gateway": (
        403,
        {"statusCode": 403, "message": "Token quota is exceeded. Try again in 12 hours."},
        "quota",
    ),
    "FastChat, no memory": (400, {"object": "error", "message": "(CUDA out of memory)", "code": 50002}, "server"),
    "FastChat, busy": (400, {"object": "error", "message": "busy", "code": 42903}, "throttled"),
    "FastChat, too long": (400, {"object": "error", "message": "maximum context", "code": 40303}, "refused"),
    "OpenAI, banned": (429, error("Your access was terminated due to violation of our policies"), "key"),
    "blocked for a moment": (429, error("Your organization is temporarily blocked. Try again in 20s."), "throttled"),
    "Moonshot, a day": (429, error("Your account org-x request reached organization max RPD: 1500"), "quota"),
    "Volcengine, five hours": (
        429,
        error("You have exceeded the 5-hour usage quota. It will reset at 2026-12-01.", code="AccountQuotaExceeded"),
        "quota",
    ),
    "watsonx, plan": (
        403,
        {"errors": [{"code": "token_quota_reached", "message": "Request of 1 token(s) from quota was rejected"}]},
        "quota",
    ),
    "Anthropic, a value": (400, error("temperature: range: 0..1", type="invalid_request_error"), "setting"),
    "a day, in the code of a minute": (
        429,
        error("You exceeded your daily token limit", code="rate_limit_exceeded"),
        "quota",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_read_by_its_own_code(name: str) -> None:
    """Otherwise a row that can never be answered is sent again until it fails, a busy server costs rows, and a run
    waits ten minutes for an account that no waiting helps."""
    status, body, kind = ERRORS[name]
    status, content = effective_response(status, orjson.dumps(body), REQUEST)
    _, parsed = error_body(content)
    assert meaning(status, parsed, content.decode(), REQUEST, answered=False).kind == kind


def test_answer_beside_an_error_code_is_kept() -> None:
    """MiniMax filters a part of some answers: the rest is a text that was paid for, and is judged as one."""
    answer = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a dog"}}]
    body = minimax(1027, "output new_sensitive", choices=answer)
    assert effective_response(200, orjson.dumps(body), REQUEST)[0] == 200


@pytest.mark.parametrize(
    "success", [{"code": 0, "message": "success"}, {"code": "200", "message": "OK"}, "ok", {}, None]
)
def test_success_in_the_field_of_an_error_is_no_error(success: Any) -> None:
    """Answers that carry it were "the server gave up while it was writing", and ended the run after ten were paid."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a dog"}}
    answers = [
        read_answer(orjson.dumps({"choices": [choice], "error": one}), 0, REQUEST) for one in (success, {"code": 502})
    ]
    assert ["error" in answer.choices[0] for answer in answers] == [False, True]


def test_message_without_a_code_is_no_error() -> None:
    """Ollama's own format has a message, which is an object; a greeting has no code."""
    for body in ({"message": {"role": "assistant", "content": "a dog"}, "done": True}, {"message": "ok", "code": 0}):
        assert effective_response(200, orjson.dumps(body), REQUEST)[0] == 200
