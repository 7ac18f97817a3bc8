"""What a teacher's tokens cost: from the spec, else from the table of `genai-prices`, else unknown.

The table is the one in the installed package; nothing is downloaded. A price of 0 must be explicit: the embedded model
has it, and for a local server it has to be written into the spec. Not covered: cache writes (Anthropic), fees for
tools, account discounts.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from schemas.records import Usage, now
from schemas.spec import TeacherSettings

Rate = Callable[[Usage, Mapping[str, str]], float]
"""US dollars for a request's tokens. The context selects among prices: service tier, `batch` or not."""

Clock = Callable[[], datetime]

FREE = "free"  # the source of prices that were explicitly set to 0
SPEC = "pairsmith.toml"  # part of the source of other prices that the spec sets
_BATCH = {"processing": "batch"}
_MILLION, _HALF = 1e6, 0.5
_HALF_HOUR, _WEEK = timedelta(minutes=30), 7 * 48
_SATURDAY, _PEAK_HOURS, _BETWEEN_PEAKS = 5, (1, 2, 3, 6, 7, 8, 9), 5
# Of names in Gemini's list of models, and of those that Vertex AI's compatible endpoint takes.
_GOOGLE_PREFIX = re.compile(r"\A(models|google)/")
# Hosts that the table does not know -> hosts of the same provider that it does.
_HOST_ALIASES = {"api.together.ai": "api.together.xyz"}


@dataclass(frozen=True)
class Prices:
    """The prices of one model at one provider. `source` is where they come from, with a version.

    `highest` is the highest price within a week, if the price depends on the hour (DeepSeek); `rate` is that of now.
    `batch` is the price in a batch, if it is listed: it may leave cached tokens at their usual price (OpenAI's older
    models). `batch_share` is the same for as many tokens of input and output as a fraction of the usual price (0.5:
    half), for an amount whose tokens are unknown or have a price of the spec. If no batch price is known, both are None
    and `usual_share` applies: half, as OpenAI, Anthropic, Gemini, Mistral and Groq all state, or the full price at
    Together, which discounts only a few models.
    """

    source: str
    rate: Rate
    batch_share: float | None = None
    usual_share: float = _HALF
    highest: Rate | None = None
    batch: Callable[[Usage], float] | None = None

    def usd(self, usage: Usage, *, tier: str = "", highest: bool = False) -> float:
        """The price of a request, at the hour with the `highest` or now."""
        rate = self.highest if highest and self.highest is not None else self.rate
        return rate(usage, {"service_tier": tier} if tier else {})

    def batch_usd(self, usage: Usage) -> float:
        """The price of a request through a batch API."""
        if self.batch is not None:
            return self.batch(usage)
        return (self.usual_share if self.batch_share is None else self.batch_share) * self.rate(usage, {})


def free(teacher: TeacherSettings) -> TeacherSettings:
    """The teacher with prices of 0, for one that runs on this machine as our own child process."""
    kinds = ("prompt", "completion", "cached")
    return teacher.model_copy(update={f"usd_per_million_{kind}_tokens": 0.0 for kind in kinds})


def prices_of(teacher: TeacherSettings, clock: Clock = now) -> Prices | None:
    """The teacher's prices, None if they are unknown. `clock` returns the time in UTC, on which they may depend."""
    prices = _prices_of(teacher, clock)
    full_price = teacher.batch_format == "together"
    return replace(prices, usual_share=1.0) if prices is not None and full_price else prices


def _prices_of(teacher: TeacherSettings, clock: Clock) -> Prices | None:
    listed = _listed_prices(teacher.url, teacher.model, clock)
    prompt, completion = teacher.usd_per_million_prompt_tokens, teacher.usd_per_million_completion_tokens
    cached = teacher.usd_per_million_cached_tokens
    if (prompt, completion, cached) == (None, None, None):
        return listed
    if listed is None and (prompt is None or completion is None):
        return None
    cached = prompt if cached is None else cached
    free = not (prompt or completion or cached) and None not in (prompt, completion)
    complete = listed is None or None not in (prompt, completion)
    source = FREE if free else SPEC if complete or listed is None else f"{SPEC}, {listed.source}"
    rates = None if complete or listed is None else (listed.rate, listed.highest or listed.rate)
    usual, highest = (_spec_rate(prompt, cached, completion, rates and rates[i]) for i in (0, 1))
    return Prices(source, usual, listed.batch_share if listed else None, highest=highest)


def _spec_rate(prompt: float | None, cached: float | None, completion: float | None, listed: Rate | None) -> Rate:
    """The prices of the spec; for those it does not set, the listed prices for a request of that length."""

    def rate(usage: Usage, context: Mapping[str, str]) -> float:
        read = min(usage.cached_tokens, usage.prompt_tokens)
        fresh, written = usage.prompt_tokens - read, usage.completion_tokens
        parts = ((prompt, fresh), (cached, read), (completion, written))
        spec_usd = sum(price * count for price, count in parts if price is not None) / _MILLION
        if listed is None:
            return spec_usd
        # The list may have higher prices for long prompts, so each part is priced with prompts of the same length.
        prompt_only = usage.model_copy(update={"completion_tokens": 0, "reasoning_tokens": 0})
        fee, prompt_usd = listed(Usage(), context), listed(prompt_only, context)
        uncached = listed(prompt_only.model_copy(update={"cached_tokens": 0}), context) - fee
        fresh_usd = uncached * fresh / max(1, usage.prompt_tokens)
        listed_usd = (fresh_usd, prompt_usd - fee - fresh_usd, listed(usage, context) - prompt_usd)
        return fee + spec_usd + sum(usd for usd, (price, _) in zip(listed_usd, parts, strict=True) if price is None)

    return rate


def _listed_prices(url: str, model: str, clock: Clock) -> Prices | None:
    """The prices in `genai-prices` for the model at this address."""
    host = urlsplit(url).hostname or ""
    if "." not in host or _is_ip_address(host):
        return None  # local machines are not listed, and loading the table takes a moment
    from genai_prices import data_snapshot

    url = url.replace(host, _HOST_ALIASES.get(host, host))
    if host.endswith(".googleapis.com"):
        model = _GOOGLE_PREFIX.sub("", model)
    try:
        provider, known = data_snapshot.get_snapshot().find_provider_model(model, None, None, url)
    except LookupError:
        return None

    opened = clock()
    price_now = known.get_prices(opened)
    if price_now.input_mtok is None or price_now.output_mtok is None:
        return None  # listed without a price, or for something other than text

    def table_rate(moment: datetime) -> Rate:
        def rate(usage: Usage, context: Mapping[str, str]) -> float:
            genai_usage, options = _to_genai_usage(usage), {"price_context": cast(Any, context) or None}
            cost = known.calc_price(genai_usage, provider, genai_request_timestamp=moment, **options)
            return float(cost.total_price)

        return rate

    rates: dict[int, Rate] = {}  # by the price that applies: it may depend on the hour, or change on a day

    def rate_at(moment: datetime) -> Rate:
        if provider.id == "deepseek" and moment.weekday() >= _SATURDAY and moment.hour in _PEAK_HOURS:
            # "Peak hours are 01:00 - 04:00 and 06:00 - 10:00 UTC, Monday through Friday"; the table has only the hours.
            moment = moment.replace(hour=_BETWEEN_PEAKS)
        price = known.get_prices(moment)
        if id(price) not in rates:
            tiers = any(hasattr(value, "tiers") for value in vars(price).values())
            rates[id(price)] = table_rate(moment) if tiers else _linear(table_rate(moment))
        return rates[id(price)]

    week = {id(rate): rate for rate in (rate_at(opened + number * _HALF_HOUR) for number in range(_WEEK))}.values()
    sample, varies = Usage(prompt_tokens=1_000, completion_tokens=1_000), len(week) > 1
    usual, batch = (table_rate(opened)(sample, context) for context in ({}, _BATCH))
    # A batch variant lists only the prices that differ; a model without one has the same price "in a batch".
    # Of a model that the table has under another provider (Azure: OpenAI's) it does not apply the variants.
    is_own = any(model is known for model in provider.models)
    listed = is_own and any(variant.when == _BATCH for variant in known.price_variants or ())  # perhaps no discount
    has_batch = usual > 0 and (listed or batch != usual)
    version = importlib.metadata.version("genai-prices")
    return Prices(
        f"genai-prices {version}, {provider.id}/{known.id}{', by the hour' if varies else ''}",
        (lambda usage, context: rate_at(clock())(usage, context)) if varies else rate_at(opened),
        batch / usual if has_batch else None,
        highest=(lambda usage, context: max(rate(usage, context) for rate in week)) if varies else None,
        batch=(lambda usage: rate_at(clock())(usage, _BATCH)) if has_batch else None,
    )


def _linear(rate: Rate) -> Rate:
    """The same as `rate` for prices that do not depend on the length, without evaluating the table per request."""

    @cache
    def unit_prices(*context_items: tuple[str, str]) -> tuple[float, float, float, float, float]:
        context = dict(context_items)
        usages = (
            Usage(prompt_tokens=1_000_000),
            Usage(prompt_tokens=1_000_000, cached_tokens=1_000_000),
            Usage(completion_tokens=1_000_000),
            Usage(completion_tokens=1_000_000, reasoning_tokens=1_000_000),
        )
        fee = rate(Usage(), context)  # per request, whatever its size (Perplexity)
        fresh, read, written, reasoning = ((rate(usage, context) - fee) / _MILLION for usage in usages)
        return fee, fresh, read, written, reasoning

    def linear_rate(usage: Usage, context: Mapping[str, str]) -> float:
        fee, fresh, read, written, reasoning = unit_prices(*context.items())
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        thinking = min(usage.reasoning_tokens, usage.completion_tokens)
        return (
            fee
            + (usage.prompt_tokens - cached) * fresh
            + cached * read
            + (usage.completion_tokens - thinking) * written
            + thinking * reasoning
        )

    return linear_rate


def _to_genai_usage(usage: Usage) -> Any:
    from genai_prices import Usage as GenaiUsage

    read = min(usage.cached_tokens, usage.prompt_tokens)
    reasoning = min(usage.reasoning_tokens, usage.completion_tokens)
    more = {"cache_read_tokens": read} if read else {}
    more |= {"output_reasoning_tokens": reasoning} if reasoning else {}
    return GenaiUsage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, **more)


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
