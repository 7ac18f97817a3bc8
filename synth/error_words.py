"""What an error says in words, whatever form a provider or a gateway before it gives it."""

from __future__ import annotations

import html
import re
from typing import Any

import orjson

from schemas.records import Json
from synth.streamed_answer import put_together

# Under these names an error holds its words, in whole or in parts, the plainest first: OpenAI and most; FastAPI and
# problem details (RFC 9457; NIM); gateways of many kinds; AWS; Apigee; Cloudflare and watsonx.
_NAMES: tuple[str, ...] = ("message", "detail", "msg", "error_message", "error_msg", "errorMessage", "description")
_NAMES += ("error_description", "Message", "faultstring", "error", "errors", "fault", "base_resp", "status_msg")
_NAMES += ("title", "reason")
_MOST_LAYERS, _MOST_PARTS = 6, 3
_PAGE = re.compile(r"\s*<[a-z!?]", re.IGNORECASE)
_LONGEST_PAGE = 20_000  # of which anything is shown
_UNSEEN = re.compile(r"<(script|style|svg)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE, _HEADING, _MESSAGE = (
    re.compile(rf"<{tag}\b[^>]*>(.*?)</{tag}\s*>", re.DOTALL | re.IGNORECASE) for tag in ("title", "h1", "message")
)


def error_body(content: bytes) -> tuple[Json, Json]:
    """The body as an object, and the error in it: its words as `message`, what else it holds as texts or numbers; empty
    where there is none. A list holds it as its first element (Gemini), a stream as an event."""
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        parsed = put_together(content)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {}, {}
    error = parsed.get("error") or parsed.get("errors") or parsed.get("fault") or parsed
    first = error[0] if isinstance(error, list) else error
    each = {name: _plain(value) for name, value in (first if isinstance(first, dict) else parsed).items()}
    words = words_of(error) or words_of(parsed)
    return parsed, {**each, "message": words} if words else each


def _plain(value: Any) -> Any:
    try:
        return value if isinstance(value, str | int | float | None) else str(value)
    except RecursionError:  # of a thousand lists in each other
        return ""


def words_of(value: Any, layers: int = _MOST_LAYERS) -> str:
    """What an error's object says, empty if it has no words."""
    if isinstance(value, str):
        return value.strip()
    if layers and isinstance(value, list):
        return "; ".join(filter(None, (words_of(part, layers - 1) for part in value[:_MOST_PARTS])))
    if not layers or not isinstance(value, dict):
        return ""
    words = next(filter(None, (words_of(value[name], layers - 1) for name in _NAMES if name in value)), "")
    if words and isinstance(value.get("loc"), list):  # of which setting (FastAPI)
        return f"{'.'.join(map(str, value['loc']))}: {words}"
    upstream = value.get("metadata")
    cause = upstream.get("raw") if isinstance(upstream, dict) else None  # why a provider behind OpenRouter failed
    return f"{words} ({shown_of(cause)})" if words and isinstance(cause, str) and cause.strip() else words


def shown_of(text: str) -> str:
    """What is to be shown of an answer that is none: an error's words, a page's title and heading, or its text."""
    if not _PAGE.match(text):
        try:
            return words_of(orjson.loads(text)) or text
        except orjson.JSONDecodeError:
            return text
    page = text[:_LONGEST_PAGE]
    parts = [_seen(part[1]) for pattern in (_TITLE, _HEADING, _MESSAGE) if (part := pattern.search(page))]
    parts = [part for number, part in enumerate(parts) if part and part not in parts[:number]]
    return ": ".join(parts) or _seen(page) or text


def _seen(markup: str) -> str:
    return " ".join(html.unescape(_UNSEEN.sub(" ", markup)).split())
