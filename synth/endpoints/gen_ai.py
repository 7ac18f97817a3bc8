"""Tracing of teacher requests by OpenTelemetry's conventions for generative AI, which are still in development.

All their attribute names are in this module. The texts of requests and answers are not recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from schemas.records import Json
from schemas.tracing import Facts, is_on, span
from synth.chat.completions import Answer
from synth.endpoints.host import InFlight

_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_SETTINGS = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
}
_PORTS = {"http": 80, "https": 443}


Ask = Callable[[InFlight], Awaitable[Answer]]


def traced(model: str, body: Json, ask: Ask) -> Ask:
    """Wrap `ask`, which sends one request for completions, in a span per request; `ask` itself if tracing is off."""
    if not is_on():
        return ask

    async def ask_in_span(sending: InFlight) -> Answer:
        with span(f"chat {model}", _request_facts(sending.host.url, model, body), "client") as set_facts:
            answer = await ask(sending)
            set_facts(_answer_facts(answer))
        return answer

    return ask_in_span


def _request_facts(url: str, model: str, body: Json) -> Facts:
    host = urlsplit(url)
    facts: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider(host.hostname or ""),
        "gen_ai.request.model": model,
        "gen_ai.output.type": "json" if "response_format" in body else "text",
        "server.address": host.hostname,
        "server.port": host.port or _PORTS.get(host.scheme),
    }
    facts |= {f"gen_ai.request.{name}": body.get(field) for field, name in _SETTINGS.items() if field in body}
    if body.get("n", 1) != 1:
        facts["gen_ai.request.choice.count"] = body["n"]
    return facts


def provider(host: str) -> str:
    """The provider name of a host. By the conventions, every other host with OpenAI's protocol is `openai`."""
    if host.endswith(".openai.azure.com"):
        return "azure.ai.openai"
    return _PROVIDERS.get(host, "openai")


def _answer_facts(answer: Answer) -> Facts:
    usage = answer.usage
    reasons = [str(choice.get("finish_reason")) for choice in answer.choices if isinstance(choice, dict)]
    return {
        "gen_ai.response.model": answer.model,
        "gen_ai.response.finish_reasons": reasons or None,
        "gen_ai.usage.input_tokens": usage.prompt_tokens if usage else None,
        "gen_ai.usage.output_tokens": usage.completion_tokens if usage else None,
    }
