"""What a server's list of models says about each one: is it a chat model, its context, does it think by default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from schemas.errors import TeacherError
from schemas.records import Json
from synth.chat.http_status import Target, unknown_model

# Models that are not chat models, by words in their name or type. The last names are OpenAI's own for models that only
# its Responses API serves; gateways that serve these as chat models list them with a prefix.
_NOT_CHAT = re.compile(
    r"embed|rerank|bge-|\be5-|\bgte-|minilm|mpnet|\bparaphrase-|colbert|whisper|transcri|\basr\b|\btts"
    r"|speech(?!less)|audio|voice|realtime|kokoro|orpheus|parakeet|dall-e|image|diffusion|flux|sora|\bveo-|\blyria"
    r"|video(?!-?llama)|moderation|guard|shieldgemma|davinci-002|babbage-002|turbo-instruct|\bocr\b|\bclip\b|reward"
    r"|search-api|\A(codex-|computer-use-|o\d[\w-]*-(pro|deep-research)\b|gpt-5[\w.-]*-(codex|pro)\b)",
    re.IGNORECASE,
)
# OpenAI, Mistral, OpenRouter.
_END_DATE_FIELDS = ("shutdown_date", "deprecation", "expiration_date")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CONTEXT_FIELDS = (
    *("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length"),
    "max_input_tokens",  # LiteLLM
)
# llama-server: of a slot; of the model, which older versions list alone
_META_CONTEXT_FIELDS = ("n_ctx", "n_ctx_train")
# Families that think unless told otherwise, according to their model cards.
_THINKING = re.compile(
    r"qwen-?3(?!.*(instruct|coder|non-?thinking))|\bqwq|deepseek-?(r1|reasoner|v[4-9]|(flash|pro)\b)|gpt-oss|\bo[134](-mini|-pro)?\b|gpt-5"
    r"|magistral|glm-(4\.[5-9]|z1|5)|minimax-m|nemotron|smollm3|seed-oss|gemini-(2\.5-(pro|flash(?!-lite))|[3-9])"
    r"|kimi-k(2\.[5-9]|[3-9])|grok-([4-9](?!.*non-reasoning)|3-mini)|claude-(fable|mythos|(opus|sonnet|haiku)-[5-9])"
    r"|(?<!non)[-_](think(ing)?|reason(er|ing))\b",
    re.IGNORECASE,
)
_RELAYED = re.compile(r":([^:/]*-)?cloud\Z", re.IGNORECASE)  # a tag: `glm-5:cloud`, `gpt-oss:120b-cloud`


class EndpointCheck(NamedTuple):
    """The result of checking an endpoint: the models it lists (None if it lists none; `instead` then says what it
    answered), how long that took, and the list's entry for the requested model."""

    models: tuple[str, ...] | None
    seconds: float
    listed: Json | None = None
    instead: str = ""


class NoListError(TeacherError):
    """The endpoint is there but does not list its models."""


class UnlistedModelError(TeacherError):
    """The endpoint lists other models. It may serve more (LiteLLM's wildcard routes, Bedrock's inference profiles)."""


def parse_model_list(content: bytes) -> list[Json] | None:
    """The models listed in a response, each with its `id`; None if it is not a list of models."""
    try:
        raw: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    rows = raw.get("data") if isinstance(raw, dict) else raw  # Together sends a bare list
    return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else None


def is_listed(model: str, served: Sequence[str]) -> bool:
    """Whether a model is among the served names. Gemini and Ollama may extend a name, and OpenRouter lists it without
    its routing suffix (`vendor/model:nitro`)."""
    names = [name.removeprefix("models/") for name in served]
    return any(name in (model, f"{model}:latest") or ("/" in model and model.startswith(f"{name}:")) for name in names)


def check_listing(rows: Sequence[Json], target: Target, seconds: float) -> EndpointCheck:
    """Check the model of `target` against a list of models. Raises UnlistedModelError if it is not listed."""
    served = [str(row["id"]) for row in rows]
    if served and not is_listed(target.model, served):
        if not lists_deployments(target.url):
            instead = f"it lists models, and '{target.model}' is not one of them; it may be a deployment"
            return EndpointCheck(None, seconds, instead=instead)
        error = unknown_model("it is not listed", target, served)
        more = " If it serves more than it lists, `pairsmith doctor --ask` sends one request."
        raise UnlistedModelError(error.what, where=error.where, fix=f"{error.fix}{more}")
    listed = next((row for row in rows if is_listed(target.model, [str(row["id"])])), None)
    return EndpointCheck(tuple(served), seconds, listed)


def lists_deployments(url: str) -> bool:
    """Whether the list at an address contains the names that requests use. Azure lists models, while requests use the
    names of deployments, which their owner chooses."""
    return not (urlsplit(url).hostname or "").endswith((".azure.com", ".azure.us", ".azure.cn"))


def is_chat_model(row: Json) -> bool:
    """Whether a listed model seems to be a chat model, rather than one for embeddings, ranking, images or speech."""
    capabilities = row.get("capabilities")
    if isinstance(capabilities, dict) and capabilities.get("completion_chat") is False:
        return False
    return not _NOT_CHAT.search(f"{row.get('id')} {row.get('type') or row.get('mode') or ''}")


def context_length(row: Json) -> int | None:
    """The context length of a listed model in tokens, None if the list does not give it."""
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    lengths = [row.get(name) for name in _CONTEXT_FIELDS] + [(meta or {}).get(name) for name in _META_CONTEXT_FIELDS]
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def retirement_date(row: Json) -> str | None:
    """The date on which a listed model is shut down (YYYY-MM-DD), None if the list does not give it."""
    days = (_DATE.match(str(row.get(name))) for name in _END_DATE_FIELDS)
    return next((day[0] for day in days if day), None)


def is_relayed(name: str) -> bool:
    """Whether an Ollama on this machine passes requests for a model of this name on to its cloud, which may charge."""
    return _RELAYED.search(name) is not None


def thinks_by_default(name: str) -> bool:
    """Whether models of this name are known to think before each answer unless told otherwise."""
    return _THINKING.search(name) is not None
