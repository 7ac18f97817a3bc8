"""An answer that came as a stream of events, put together: some endpoints and gateways know no other."""

from __future__ import annotations

import orjson

from schemas.records import Json


def put_together(content: bytes) -> Json | None:
    """The chat completion that server-sent events amount to; None for what are none, or hold no piece of an answer.

    A choice that the stream left without a finish reason was cut, and bears the one of a server that gave up.
    """
    if not content.lstrip().startswith((b"data:", b"event:", b":", b"id:")):
        return None
    whole: Json = {}
    choices: dict[int, Json] = {}
    for line in content.splitlines():
        if not line.startswith(b"data:"):
            continue
        try:
            event = orjson.loads(line[5:])
        except orjson.JSONDecodeError:
            continue  # [DONE], or an event that was cut, whose choice has no end then
        if not isinstance(event, dict):
            continue
        whole |= {name: value for name, value in event.items() if value is not None and name != "choices"}
        pieces = event.get("choices")
        for piece in pieces if isinstance(pieces, list) else ():
            index = piece.get("index", 0) if isinstance(piece, dict) else None
            if isinstance(index, int):
                _add(choices.setdefault(index, {"index": index, "finish_reason": "abort", "message": {}}), piece)
    return {**whole, "choices": list(choices.values())} if choices else None


def _add(choice: Json, piece: Json) -> None:
    message, delta = choice["message"], piece.get("delta") or piece.get("message")
    for name, value in delta.items() if isinstance(delta, dict) else ():
        grows = isinstance(value, str | list) and name != "role" and isinstance(message.get(name), type(value))
        if value is not None:
            message[name] = message[name] + value if grows else value
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]
    if isinstance(logprobs := piece.get("logprobs"), dict) and isinstance(tokens := logprobs.get("content"), list):
        choice.setdefault("logprobs", {"content": []})["content"] += tokens
