"""An answer that came as a stream of events, put together: some endpoints and gateways know no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from schemas.records import Json

_BEGINS = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:data:|event:|id:|retry:|:)")


def put_together(content: bytes) -> Json | None:
    """The chat completion that server-sent events amount to, or the error among them; None for what are none, or hold
    neither.

    A choice that the stream left without a finish reason was cut, and bears the one of a server that gave up. One that
    goes on behind an event that nobody can read may lack a piece, and bears an error.
    """
    if not _BEGINS.match(content):
        return None
    whole: Json = {}
    choices: dict[int, Json] = {}
    holed = False
    for event in _events(content):
        if event is None:
            holed = True
            continue
        whole |= {name: value for name, value in event.items() if value is not None and name != "choices"}
        pieces = event.get("choices")
        for piece in pieces if isinstance(pieces, list) else ():
            index = piece.get("index") if isinstance(piece, dict) else ""
            if index is None or (str(index).isdecimal() and len(str(index)) < 10):
                number = int(index or 0)
                choice = choices.setdefault(number, {"index": number, "finish_reason": "abort", "message": {}})
                if holed and choice["finish_reason"] == "abort":
                    choice["error"] = "an event of its stream cannot be read"
                _add(choice, piece)
    return {**whole, "choices": list(choices.values())} if choices or "error" in whole else None


def _events(content: bytes) -> Iterator[Json | None]:
    """The objects that events hold: each in the lines of data up to an empty line (WHATWG, 9.2.6), or, where a server
    leaves these out, each in a line of its own. None for one that is damaged."""
    data: list[bytes] = []
    for line in (*content.removeprefix(b"\xef\xbb\xbf").splitlines(), b""):
        if line.startswith((b"data:", b"{")):  # the whole answer behind comments that kept the connection open
            data.append(line.removeprefix(b"data:"))
        if not line.strip():
            if whole := _object(b"\n".join(data)):
                yield whole
            else:
                objects = ((_object(text), text) for text in data)
                yield from (value for value, text in objects if value or text.lstrip().startswith(b"{"))
            data = []


def _object(text: bytes) -> Json | None:
    """None for [DONE], a part of an event, or one that is damaged. Half of a surrogate pair, NaN or a byte that is not
    UTF-8 damages no more than the text that it ends up in."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(text.decode(errors="surrogateescape"))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _add(choice: Json, piece: Json) -> None:
    message, delta = choice["message"], piece.get("delta")
    grows = isinstance(delta, dict) and bool(delta)
    for name, value in _fields(delta if grows else piece.get("message")):
        message[name] = value if name == "role" else _grown(message.get(name), value, grows=grows)
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]
    if isinstance(logprobs := piece.get("logprobs"), dict) and isinstance(tokens := logprobs.get("content"), list):
        choice.setdefault("logprobs", {"content": []})["content"] += tokens


def _fields(message: Any) -> list[tuple[str, Any]]:
    return [field for field in message.items() if field[1] is not None] if isinstance(message, dict) else []


def _grown(text: Any, more: Any, *, grows: bool) -> Any:
    """`text` with what comes after it; a message that begins with it holds the whole so far (MiniMax). One of both may
    be a list of parts, as where a model has thought before it answers (Mistral)."""
    if not isinstance(text, str | list) or not isinstance(more, str | list):
        return more
    if isinstance(text, str) and isinstance(more, str):
        if not grows and more.strip().startswith(text.strip()):
            return more
        # Where the halves of a surrogate pair came in two events, they are one character now.
        both = text + more
        halved = "\ud800" <= text[-1:] <= "\udbff"
        return both.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if halved else both
    return [*(text if isinstance(text, list) else _part(text)), *(more if isinstance(more, list) else _part(more))]


def _part(text: str) -> list[Json]:
    return [{"type": "text", "text": text}] if text else []
