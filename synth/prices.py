"""What a teacher's tokens cost: from the spec, else from the table of `genai-prices`, else nobody knows.

The table is the one that the installed package brings; nothing is fetched. A price of 0 is free because somebody wrote
it: the embedded model's is, a local server's has to be written into the spec. Not covered: cache writes (Anthropic),
fees for tools, discounts of an account.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from schemas.records import Usage
from schemas.spec import TeacherSettings

Rate = Callable[[Usage, Mapping[str, str]], float]
"""US dollars of a request's tokens, under the context that chooses among prices: its service tier, `batch` or not."""

FREE = "free"  # the source of prices that are 0 because somebody said so
_BATCH = {"processing": "batch"}
_MILLION, _HALF = 1e6, 0.5
# Addresses that the table does not know, and those of the same provider that it does.
_RENAMED = {"api.together.ai": "api.together.xyz"}


@dataclass(frozen=True)
class Prices:
    """The prices of one model at one provider. `source` says where they are from, with its version.

    `batch_share` is a batch price as a share of the usual one (0.5: half), None where no batch price is known; then it
    is `usual_share`: half, as OpenAI, Anthropic, Gemini, Mistral and Groq all say, or the whole at Together, which
    takes something off for a few models only.
    """

    source: str
    rate: Rate
    batch_share: float | None = None
    usual_share: float = _HALF

    def usd(self, usage: Usage, *, tier: str = "", batch: bool = False) -> float | None:
        """The price of a request; None for a batch without a known price."""
        if batch:
            return None if self.batch_share is None else self.batch_share * self.rate(usage, {})
        return self.rate(usage, {"service_tier": tier} if tier else {})

    def in_batch(self, usage: Usage) -> float:
        """The price of a request that goes through a batch API."""
        return (self.usual_share if self.batch_share is None else self.batch_share) * self.rate(usage, {})


def free(teacher: TeacherSettings) -> TeacherSettings:
    """The teacher with prices of 0: what runs on this machine as our own child."""
    rates = {"usd_per_million_prompt_tokens": 0.0, "usd_per_million_completion_tokens": 0.0}
    return teacher.model_copy(update=rates)


def prices_of(teacher: TeacherSettings) -> Prices | None:
    """The teacher's prices, None if nobody knows them."""
    prices = _prices_of(teacher)
    whole = teacher.batches_like == "together"
    return replace(prices, usual_share=1.0) if prices is not None and whole else prices


def _prices_of(teacher: TeacherSettings) -> Prices | None:
    listed = _listed(teacher.url, teacher.model)
    prompt, completion = teacher.usd_per_million_prompt_tokens, teacher.usd_per_million_completion_tokens
    cached = teacher.usd_per_million_cached_tokens
    if (prompt, completion, cached) == (None, None, None):
        return listed
    if listed is None and (prompt is None or completion is None):
        return None
    cached = prompt if cached is None else cached
    free = not prompt and not completion and None not in (prompt, completion)
    whole = listed is None or None not in (prompt, completion)
    source = FREE if free else "pairsmith.toml" if whole or listed is None else f"pairsmith.toml, {listed.source}"
    rate = _spec_rate(prompt, cached, completion, None if whole else listed)
    return Prices(source, rate, listed.batch_share if listed else None)


def _spec_rate(prompt: float | None, cached: float | None, completion: float | None, listed: Prices | None) -> Rate:
    """The prices of the spec; where it has none, what the list says of a request of that length."""

    def rate(usage: Usage, context: Mapping[str, str]) -> float:
        read = min(usage.cached_tokens, usage.prompt_tokens)
        fresh, written = usage.prompt_tokens - read, usage.completion_tokens
        parts = ((prompt, fresh), (cached, read), (completion, written))
        own = sum(price * count for price, count in parts if price is not None) / _MILLION
        if listed is None:
            return own
        # A list may ask other prices for long prompts, so each part of it is told by prompts of the same length.
        asked = usage.model_copy(update={"completion_tokens": 0, "reasoning_tokens": 0})
        fee, asked_usd = listed.rate(Usage(), context), listed.rate(asked, context)
        uncached = listed.rate(asked.model_copy(update={"cached_tokens": 0}), context) - fee
        fresh_usd = uncached * fresh / max(1, usage.prompt_tokens)
        theirs = (fresh_usd, asked_usd - fee - fresh_usd, listed.rate(usage, context) - asked_usd)
        return fee + own + sum(usd for usd, (price, _) in zip(theirs, parts, strict=True) if price is None)

    return rate


def _listed(url: str, model: str) -> Prices | None:
    """The prices that `genai-prices` lists for the model at this address."""
    host = urlsplit(url).hostname or ""
    if "." not in host or _is_address(host):
        return None  # nobody lists a machine of one's own, and the table takes a moment to load
    from genai_prices import data_snapshot

    url = url.replace(host, _RENAMED.get(host, host))
    try:
        provider, known = data_snapshot.get_snapshot().find_provider_model(model, None, None, url)
    except LookupError:
        return None

    price = known.get_prices(datetime.now(UTC))
    if price.input_mtok is None and price.output_mtok is None:
        return None  # it is listed without a price

    def rate(usage: Usage, context: Mapping[str, str]) -> float:
        counted = _counted(usage)
        return float(known.calc_price(counted, provider, price_context=cast(Any, context) or None).total_price)

    some = Usage(prompt_tokens=1_000, completion_tokens=1_000)
    usual, batch = rate(some, {}), rate(some, _BATCH)
    # A variant for batches lists only what differs, so a model without one costs the same "in a batch".
    version = importlib.metadata.version("genai-prices")
    tiers = any(hasattr(value, "tiers") for value in vars(price).values())
    return Prices(
        f"genai-prices {version}, {provider.id}/{known.id}",
        rate if tiers else _straight(rate),
        batch / usual if usual and batch != usual else None,
    )


def _straight(rate: Rate) -> Rate:
    """The same for prices that do not depend on the length, without working the table at every request."""

    @cache
    def each(tier: str) -> tuple[float, float, float, float, float]:
        context = {"service_tier": tier} if tier else {}
        one = (
            Usage(prompt_tokens=1_000_000),
            Usage(prompt_tokens=1_000_000, cached_tokens=1_000_000),
            Usage(completion_tokens=1_000_000),
            Usage(completion_tokens=1_000_000, reasoning_tokens=1_000_000),
        )
        fee = rate(Usage(), context)  # of a request, whatever it holds (Perplexity)
        fresh, read, written, thought = ((rate(usage, context) - fee) / _MILLION for usage in one)
        return fee, fresh, read, written, thought

    def straight(usage: Usage, context: Mapping[str, str]) -> float:
        fee, fresh, read, written, thought = each(context.get("service_tier", ""))
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        thinking = min(usage.reasoning_tokens, usage.completion_tokens)
        return (
            fee
            + (usage.prompt_tokens - cached) * fresh
            + cached * read
            + (usage.completion_tokens - thinking) * written
            + thinking * thought
        )

    return straight


def _counted(usage: Usage) -> Any:
    from genai_prices import Usage as Counted

    read = min(usage.cached_tokens, usage.prompt_tokens)
    thought = min(usage.reasoning_tokens, usage.completion_tokens)
    more = {"cache_read_tokens": read} if read else {}
    more |= {"output_reasoning_tokens": thought} if thought else {}
    return Counted(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, **more)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
