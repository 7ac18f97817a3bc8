"""Assembles an answer from a stream of events, for endpoints and gateways that can only stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from schemas.records import Json

# Fields of a choice that say how it ended: OpenAI; OpenRouter; LiteLLM.
_END_FIELDS = ("finish_reason", "native_finish_reason", "error", "provider_specific_fields")
_NO_END = "abort"  # that of a server that gave up
_OPEN = (_NO_END, "not_finished")  # watsonx, before the end
_STREAM_START = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:data:|event:|id:|retry:|:)")


def assemble_stream(content: bytes) -> Json | None:
    """The chat completion in server-sent events, or the error among them. None if `content` is not an event stream or
    contains neither.

    A choice without a finish reason was cut off, and gets that of a server that gave up ("abort"). A choice that
    continues after an unreadable event may lack a piece, and gets an error.
    """
    if not _STREAM_START.match(content):
        return None
    fields: Json = {}
    choices: dict[int, Json] = {}
    has_gap = False
    for event in _events(content):
        if event is None:
            has_gap = True
            continue
        # A last event may have an empty usage, after one with the counts.
        fields |= {name: value for name, value in event.items() if value not in (None, {}) and name != "choices"}
        pieces = event.get("choices")
        for piece in pieces if isinstance(pieces, list) else ():
            index = piece.get("index") if isinstance(piece, dict) else ""
            if index is None or (str(index).isdecimal() and len(str(index)) < 10):
                number = int(index or 0)
                choice = choices.setdefault(number, {"index": number, "finish_reason": _NO_END, "message": {}})
                if has_gap and choice["finish_reason"] == _NO_END:
                    choice["error"] = "an event of its stream cannot be read"
                _add_piece(choice, piece)
    return {**fields, "choices": list(choices.values())} if choices or "error" in fields else None


def _events(content: bytes) -> Iterator[Json | None]:
    """The objects in the events. An event is all data lines up to an empty line (WHATWG, 9.2.6), or a single line if a
    server omits the empty lines. None for a damaged event."""
    data: list[bytes] = []
    for line in (*content.removeprefix(b"\xef\xbb\xbf").splitlines(), b""):
        if line.startswith((b"data:", b"{")):  # "{": the whole answer, after comments that kept the connection open
            data.append(line.removeprefix(b"data:"))
        if not line.strip():
            if event := _object(b"\n".join(data)):
                yield event
            else:
                objects = ((_object(text), text) for text in data)
                yield from (value for value, text in objects if value or text.lstrip().startswith(b"{"))
            data = []


def _object(text: bytes) -> Json | None:
    """Parse a JSON object. None for [DONE], a part of an event, or damaged JSON. Half of a surrogate pair, NaN or a
    byte that is not UTF-8 only affects the text that contains it."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(text.decode(errors="surrogateescape"))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _add_piece(choice: Json, piece: Json) -> None:
    message, delta = choice["message"], piece.get("delta")
    is_delta = isinstance(delta, dict) and bool(delta)
    for name, value in _fields(delta if is_delta else piece.get("message")):
        message[name] = value if name == "role" else _append(message.get(name), value, is_delta=is_delta)
    ends = {name: piece[name] for name in _END_FIELDS if piece.get(name)}
    if ends.get("finish_reason") == "stop" and str(choice["finish_reason"]).lower() not in _OPEN:
        del ends["finish_reason"]  # gateways close every stream with it, also one that ended with "length"
    choice |= ends
    if isinstance(logprobs := piece.get("logprobs"), dict) and isinstance(tokens := logprobs.get("content"), list):
        choice.setdefault("logprobs", {"content": []})["content"] += tokens


def _fields(message: Any) -> list[tuple[str, Any]]:
    return [field for field in message.items() if field[1] is not None] if isinstance(message, dict) else []


def _append(text: Any, more: Any, *, is_delta: bool) -> Any:
    """`text` followed by `more`. A message that begins with `text` is the complete text so far and replaces it
    (MiniMax). Either may be a list of parts, e.g. if a model thinks before it answers (Mistral)."""
    if not isinstance(text, str | list) or not isinstance(more, str | list):
        return more
    if isinstance(text, str) and isinstance(more, str):
        if not is_delta and more.strip().startswith(text.strip()):
            return more
        # The two halves of a surrogate pair may arrive in separate events; join them to one character.
        joined = text + more
        halved = "\ud800" <= text[-1:] <= "\udbff"
        return joined.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if halved else joined
    return [*(text if isinstance(text, list) else _part(text)), *(more if isinstance(more, list) else _part(more))]


def _part(text: str) -> list[Json]:
    return [{"type": "text", "text": text}] if text else []
