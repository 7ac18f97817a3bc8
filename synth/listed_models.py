"""What a server's list of models tells of each: whether it chats, how much it reads, whether it thinks unasked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from schemas.errors import TeacherError
from schemas.records import Json
from synth.http_status import Target, unknown_model

# What is served beside chat models, by the words in its name or its type.
_OTHER = re.compile(
    r"embed|rerank|bge-|\be5-|\bgte-|minilm|whisper|transcri|\btts|speech|audio|voice|realtime|dall-e|image|diffusion"
    r"|flux|sora|video|moderation|guard|davinci-002|babbage-002|turbo-instruct|\bocr\b|\bclip\b|reward|search-api",
    re.IGNORECASE,
)
# OpenAI, Mistral, OpenRouter.
_ENDS = ("shutdown_date", "deprecation", "expiration_date")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CONTEXT = ("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length")
# Families that think unless they are told not to, as their cards say.
_THINKING = re.compile(
    r"qwen-?3(?!.*(instruct|coder|non-?thinking))|\bqwq|deepseek-?(r1|reasoner|v[4-9]|(flash|pro)\b)|gpt-oss|\bo[134](-mini|-pro)?\b|gpt-5"
    r"|magistral|glm-(4\.[5-9]|z1|5)|minimax-m|nemotron|smollm3|seed-oss|gemini-(2\.5-(pro|flash(?!-lite))|[3-9])"
    r"|(?<!non)[-_](think(ing)?|reason(er|ing))\b",
    re.IGNORECASE,
)


class EndpointCheck(NamedTuple):
    """Whether an endpoint is there: the models it lists (None: it lists none, but answers `instead`), how long that
    took, and what it lists of the one that is asked."""

    models: tuple[str, ...] | None
    seconds: float
    listed: Json | None = None
    instead: str = ""


class NoListError(TeacherError):
    """The endpoint is there, and lists no models."""


def rows_of(content: bytes) -> list[Json] | None:
    """The models that an answer lists, each with its `id`; None if it lists none."""
    try:
        raw: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    rows = raw.get("data") if isinstance(raw, dict) else raw  # a list alone: Together
    return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else None


def is_listed(model: str, served: Sequence[str]) -> bool:
    """Whether a model is among the names of those that are served, as Gemini and Ollama may lengthen them, and
    OpenRouter leaves out how it is to be routed (`vendor/model:nitro`)."""
    names = [name.removeprefix("models/") for name in served]
    return any(name in (model, f"{model}:latest") or ("/" in model and model.startswith(f"{name}:")) for name in names)


def checked(rows: Sequence[Json], target: Target, seconds: float) -> EndpointCheck:
    """What a list of models says of the one that is asked at `target`. Raises TeacherError if it is not among them."""
    served = [str(row["id"]) for row in rows]
    if served and not is_listed(target.model, served):
        if not lists_deployments(target.url):
            instead = f"it lists models, and '{target.model}', if it is a deployment, is none of them"
            return EndpointCheck(None, seconds, instead=instead)
        raise unknown_model("it is not listed", target, served)
    listed = next((row for row in rows if is_listed(target.model, [str(row["id"])])), None)
    return EndpointCheck(tuple(served), seconds, listed)


def lists_deployments(url: str) -> bool:
    """Whether what is listed at an address are the names that requests have; Azure lists models, and a deployment of
    one is called as its owner likes."""
    return not (urlsplit(url).hostname or "").endswith((".azure.com", ".azure.us", ".azure.cn"))


def is_chat_model(row: Json) -> bool:
    """Whether a listed model seems to answer chats, and not to embed, rank, draw or speak."""
    capabilities = row.get("capabilities")
    if isinstance(capabilities, dict) and capabilities.get("completion_chat") is False:
        return False
    return not _OTHER.search(f"{row.get('id')} {row.get('type') or ''}")


def context_length(row: Json) -> int | None:
    """How many tokens a listed model reads and writes together, None where the list does not say."""
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    lengths = [*(row.get(name) for name in _CONTEXT), (meta or {}).get("n_ctx_train")]
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def shut_down_on(row: Json) -> str | None:
    """The day on which a listed model ends to be served (YYYY-MM-DD), None where the list does not say."""
    days = (_DATE.match(str(row.get(name))) for name in _ENDS)
    return next((day[0] for day in days if day), None)


def thinks_unasked(name: str) -> bool:
    """Whether a model of that name is known to think before each answer unless it is told not to."""
    return _THINKING.search(name) is not None
