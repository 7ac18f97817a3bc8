"""Describes an answer in a form of another API: what it is, and the setting that leads to chat completions."""

from __future__ import annotations

from typing import Any

import orjson

_COMPATIBLE = "teacher.url must lead to the server's OpenAI-compatible address"
_STREAM = "a stream of JSON lines, which belongs to no OpenAI-compatible API"
_GATEWAY = "use an address of that server, or a gateway such as LiteLLM, that returns it without that field"


def foreign_form(text: str) -> str:
    """What a body of status 200 that is not a chat completion is, and what to do; empty if it is no known form."""
    lines = [line for line in text.splitlines() if line.strip()]
    values = [_parsed(line) for line in lines[:2]] if len(lines) > 1 else []
    body = values[0] if values and all(isinstance(value, dict) for value in values) else _parsed(text)
    form = _form(body)
    if body is not None and values and body is values[0]:
        return f"{_STREAM}{f', {form}' if form else f'; {_COMPATIBLE}'}"
    return form


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _form(body: Any) -> str:
    if isinstance(body, list):
        is_generated = bool(body) and isinstance(body[0], dict) and "generated_text" in body[0]
        return f"a list of generated texts (Hugging Face); {_COMPATIBLE}" if is_generated else ""
    if not isinstance(body, dict):
        return ""
    if "done" in body and ("message" in body or "response" in body):
        return f"in the form of Ollama's own API; {_COMPATIBLE}, http://localhost:11434/v1 by default"
    if body.get("type") == "message" and "stop_reason" in body:
        return f"in the form of Anthropic's Messages API; {_COMPATIBLE}, which is https://api.anthropic.com/v1 there"
    if body.get("object") == "response" and "output" in body:
        return "in the form of OpenAI's Responses API; teacher.url must end in /v1 or /chat/completions"
    if isinstance(body.get("candidates"), list):
        return f"in the form of Gemini's own API; {_COMPATIBLE}, which ends in /v1beta/openai there"
    if "text" in body and "finish_reason" in body:  # a choice
        return (
            "a text completion; teacher.url must end in /v1 or /chat/completions, and the model must be one for chats"
        )
    for name, value in body.items():
        inner = _parsed(value) if isinstance(value, str) and value.lstrip().startswith("{") else value
        if isinstance(inner, dict) and ("choices" in inner or "response" in inner or _form(inner)):
            return f"an answer inside the field '{name}'; {_GATEWAY}"
    return ""
