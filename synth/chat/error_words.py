"""Extracts the message of an error, in whichever format a provider or gateway sends it."""

from __future__ import annotations

import html
import re
from typing import Any

import orjson

from schemas.records import Json
from synth.chat.streamed_answer import assemble_stream

# Fields in which errors hold their message, in whole or in part, the plainest first: OpenAI and most others; FastAPI
# and problem details (RFC 9457; NIM); various gateways; AWS; Apigee; Cloudflare and watsonx.
_MESSAGE_FIELDS = (
    *("message", "detail", "msg", "error_message", "error_msg", "errorMessage", "description", "error_description"),
    *("Message", "faultstring", "error", "errors", "fault", "base_resp", "status_msg", "title", "reason"),
)
_SUCCESS = frozenset(("200", "20000", "none", "ok", "success", "succeeded", "true", "成功"))  # also as a message
_MAX_LAYERS, _MAX_PARTS = 6, 3
_PAGE = re.compile(r"\s*<[a-z!?]", re.IGNORECASE)
_LONGEST_PAGE = 20_000  # characters of a page that are searched
_MARKUP = re.compile(r"<(script|style|svg)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE, _HEADING, _MESSAGE = (
    re.compile(rf"<{tag}\b[^>]*>(.*?)</{tag}\s*>", re.DOTALL | re.IGNORECASE) for tag in ("title", "h1", "message")
)


def error_body(content: bytes) -> tuple[Json, Json]:
    """Return the body as an object, and the error in it: its text as `message`, its other fields as texts or numbers.
    Both are empty if there is none. The error may be the first element of a list (Gemini) or an event of a stream."""
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        parsed = assemble_stream(content)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {}, {}
    wrapped = parsed.get("Response")  # Tencent's
    inner = wrapped.get("Error") if isinstance(wrapped, dict) else None
    error = parsed.get("error") or parsed.get("errors") or parsed.get("fault") or inner or parsed
    first = error[0] if isinstance(error, list) else error
    each = {name: _to_scalar(value) for name, value in (first if isinstance(first, dict) else parsed).items()}
    message = message_of(error) or message_of(parsed)
    return parsed, {**each, "message": message} if message else each


def is_error(body: Json) -> bool:
    """Whether it is an error object, by its fields: OpenAI and most others; vLLM; Baidu's, iFlytek's; Tencent's."""
    if body.get("error") or body.get("object") == "error" or not is_success(body.get("error_code")):
        return True
    text = body.get("msg", body.get("message"))
    answer, is_code = body.get("Response"), isinstance(text, str) and not is_success(text)
    return (is_code and not is_success(body.get("code"))) or (isinstance(answer, dict) and bool(answer.get("Error")))


def is_success(code: Any) -> bool:
    """Whether the code or message of a response stands for success: 0 in any spelling, 200, "ok"."""
    word = str(code).strip().rstrip(".!").lower()
    return not word.strip("0.") or word in _SUCCESS


def _to_scalar(value: Any) -> Any:
    try:
        return value if isinstance(value, str | int | float | None) else str(value)
    except RecursionError:  # deeply nested lists
        return ""


def message_of(value: Any, layers: int = _MAX_LAYERS) -> str:
    """The message in an error object, empty if it has none."""
    if isinstance(value, str):
        return value.strip()
    if layers and isinstance(value, list):
        return "; ".join(filter(None, (message_of(part, layers - 1) for part in value[:_MAX_PARTS])))
    if not layers or not isinstance(value, dict):
        return ""
    message = next(filter(None, (message_of(value[name], layers - 1) for name in _MESSAGE_FIELDS if name in value)), "")
    if message and isinstance(value.get("loc"), list):  # the name of the setting (FastAPI)
        return f"{'.'.join(map(str, value['loc']))}: {message}"
    upstream = value.get("metadata")
    cause = upstream.get("raw") if isinstance(upstream, dict) else None  # the error of a provider behind OpenRouter
    return f"{message} ({displayed_text(cause)})" if message and isinstance(cause, str) and cause.strip() else message


def displayed_text(text: str) -> str:
    """The text to show for a body that is no answer: an error's message, a page's title and heading, or the text."""
    if not _PAGE.match(text):
        try:
            return message_of(orjson.loads(text)) or text
        except orjson.JSONDecodeError:
            return text
    page = text[:_LONGEST_PAGE]
    parts = [_visible_text(part[1]) for pattern in (_TITLE, _HEADING, _MESSAGE) if (part := pattern.search(page))]
    parts = [part for number, part in enumerate(parts) if part and part not in parts[:number]]
    return ": ".join(parts) or _visible_text(page) or text


def _visible_text(markup: str) -> str:
    return " ".join(html.unescape(_MARKUP.sub(" ", markup)).split())
