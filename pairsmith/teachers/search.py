"""Find a teacher for `pairsmith init`: an API key in the environment, a server on this machine, else the embedded
model."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.errors import AuthError, SpecError, TeacherError
from schemas.records import Usage
from schemas.spec import TeacherSettings


class Provider(NamedTuple):
    """A paid API: the environment variable of its key, the variable and default of its URL, and models in order of
    preference."""

    key_env: str
    url_env: str
    url: str
    models: tuple[str, ...]


_GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
APIS = (
    Provider("OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1", ("gpt-4.1-mini", "gpt-4o-mini")),
    Provider("OPENROUTER_API_KEY", "OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1", ("openai/gpt-4.1-mini",)),
    Provider("MISTRAL_API_KEY", "MISTRAL_BASE_URL", "https://api.mistral.ai/v1", ("mistral-small-latest",)),
    Provider(
        "DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL", "https://api.deepseek.com/v1", ("deepseek-chat", "deepseek-flash")
    ),
    Provider("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1", ("claude-haiku-4-5",)),
    Provider("GEMINI_API_KEY", "GEMINI_BASE_URL", _GEMINI, ("gemini-2.5-flash-lite",)),
    Provider("GROQ_API_KEY", "GROQ_BASE_URL", "https://api.groq.com/openai/v1", ("llama-3.3-70b-versatile",)),
)
_TIMEOUT_S = 10.0  # a busy machine takes seconds; a port without a listener fails at once
LOCAL = (("vLLM", "http://localhost:8000/v1"), ("Ollama", "http://localhost:11434/v1"))


@dataclass(frozen=True)
class FoundTeacher:
    """The teacher to write into the spec, why it was chosen, and what was tried before."""

    url: str
    model: str
    why: str
    key_env: str | None = None
    tried: tuple[str, ...] = ()


EMBEDDED = FoundTeacher(
    "embedded",
    "smollm2-135m-instruct",
    "It needs no key and no server. It is a very small model, so expect many of its answers to fail the gates.",
)


def find_teacher(environ: Mapping[str, str] | None = None, local: tuple[tuple[str, str], ...] = LOCAL) -> FoundTeacher:
    """The first teacher that responds. Only model lists are requested: nothing is generated and nothing costs money."""
    environ = os.environ if environ is None else environ
    attempts = []
    for api in APIS:
        key = environ.get(api.key_env, "")
        if not key:
            continue
        url = environ.get(api.url_env, api.url).rstrip("/")
        served = ask(url, key)
        if isinstance(served, str):
            attempts.append(f"{api.key_env} is set, but at {_shown(url)} {served}")
            continue
        model = next((name for name in api.models if name in served), "") or _cheapest(url, served) or api.models[0]
        why = f"{api.key_env} is set and {url} accepts it. Its answers cost money."
        return FoundTeacher(url, model, why, api.key_env, tuple(attempts))
    if not attempts:
        attempts.append("none of " + ", ".join(api.key_env for api in APIS) + " is set")
    keyless = [api.url_env for api in APIS if environ.get(api.url_env) and not environ.get(api.key_env)]
    from synth.chat.listed_models import is_relayed

    for name, url in (*((name, environ[name].rstrip("/")) for name in keyless), *local):
        served = ask(url, None)
        if isinstance(served, str):
            attempts.append(f"{name} at {_shown(url)}: {served}")
        elif here := [model for model in served if not is_relayed(model)]:
            return FoundTeacher(url, here[0], f"{name} at {url} serves {here[0]}.", None, tuple(attempts))
        else:
            none = "only models of Ollama's cloud, which may cost money" if served else "no chat model yet"
            attempts.append(f"{name} at {url}: it serves {none}")
    return replace(EMBEDDED, tried=tuple(attempts))


def _shown(url: str) -> str:
    """The address without what may be a secret."""
    from synth.chat.redaction import without_user_info

    return without_user_info(url.partition("?")[0])


def _cheapest(url: str, served: Sequence[str]) -> str:
    """The cheapest model of a provider without a preferred one, thinking models last; empty if there is none. A
    provider's list may start with its most expensive model."""
    from synth.chat.listed_models import thinks_by_default
    from synth.prices import prices_of

    def order(name: str) -> tuple[bool, float]:
        prices = prices_of(TeacherSettings(url=url, model=name))
        usd = None if prices is None else prices.usd(Usage(prompt_tokens=1000, completion_tokens=1000))
        return thinks_by_default(name), math.inf if usd is None else usd

    return min(served, key=order, default="")


async def _models_at(url: str, key: str | None) -> list[str]:
    """The chat models that an endpoint lists. Raises TeacherError, or UnansweredError if it does not answer."""
    from synth.chat.listed_models import is_chat_model
    from synth.endpoints.endpoint import Endpoint

    async with Endpoint(url, model="", key=key, timeout_s=_TIMEOUT_S) as endpoint:
        rows = await endpoint.listing()
        # Gemini's ids have this prefix
        return [str(row["id"]).removeprefix("models/") for row in rows if is_chat_model(row)]


def ask(url: str, key: str | None) -> list[str] | str:
    """The chat models at `url`, or the problem there as the end of a sentence. Nothing is generated."""
    from synth.chat.completions import UnansweredError

    try:
        return asyncio.run(_models_at(url, key))
    except SpecError:
        return "no endpoint can be: write http:// or https://, a host and a path, without a user or a query"
    except AuthError:
        return "access is refused"
    except TeacherError:
        return "no list of models is available"
    except UnansweredError:
        return "nothing answers"
