"""What an endpoint reports about an answer's tokens and cost, under the names of different providers and gateways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.identity import construct
from schemas.money import sum_if_known
from schemas.records import Json, Usage

_MAX_TOKENS = 10**8  # of one request, more than any model reads or 128 long answers have; a higher count is invalid
_MAX_USD = 1e6  # of one request; a higher amount is in another unit
_BASIC_COUNTS = frozenset(("prompt_tokens", "completion_tokens", "total_tokens"))
_CACHE_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")
_COST_NAMES = ("cost", "estimated_cost", "cost_usd_total")
_FROM_CACHE = "from_cache"  # ours, in the usage of an answer
# With HIT, or Portkey's SEMANTIC HIT: Cloudflare's AI Gateway, Portkey, Helicone, OpenRouter.
_CACHE_HEADERS = ("cf-aig-cache-status", "x-portkey-cache-status", "helicone-cache", "x-openrouter-cache-status")
_CACHED_NAMES = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")  # DeepSeek; Moonshot, Together


def parse_usage(usage: Any) -> Usage | None:
    """The endpoint's token counts, or None if it sends no plausible ones."""
    if not isinstance(usage, dict):
        return None
    # Gateways to Anthropic's models pass on its field names.
    prompt = _token_count(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = _token_count(usage.get("completion_tokens", usage.get("output_tokens")))
    total = _token_count(usage.get("total_tokens"))
    if completion is None and prompt is not None and total is not None:  # Gemini omits it if all tokens were thinking
        completion = max(0, total - prompt)
    if prompt is None or completion is None or not (prompt or completion):  # gateways send zeros for unknown
        return None
    read = reasoning = None
    if not usage.keys() <= _BASIC_COUNTS:
        read = _usage_detail(usage, ("prompt", "input"), "cached_tokens")  # names of chat completions and of responses
        for name in _CACHED_NAMES:
            read = read or _token_count(usage.get(name))
        reasoning = _usage_detail(usage, ("completion", "output"), "reasoning_tokens")
        if "reasoning_tokens" in usage:  # SGLang
            reasoning = reasoning or _token_count(usage["reasoning_tokens"])
        if "prompt_tokens" not in usage:  # Anthropic counts cache reads and writes separately
            prompt += sum(_token_count(usage.get(name)) or 0 for name in _CACHE_COUNTS)
        if read and (read > prompt or total == prompt + completion + read):  # so do others, under other names
            prompt += read
    # Some (xAI, Gemini) do not count thinking as completion, only in the total.
    completion = max(completion, (total or 0) - prompt)
    completion += reasoning if reasoning and reasoning > completion else 0
    fields = {"prompt_tokens": prompt, "completion_tokens": completion}
    return construct(Usage, fields | {"cached_tokens": read or 0, "reasoning_tokens": reasoning or 0})


def _usage_detail(usage: Json, parts: Iterable[str], name: str) -> int | None:
    details = (usage.get(f"{part}_tokens_details") for part in parts)
    return next((_token_count(each.get(name)) for each in details if isinstance(each, dict)), None)


def charged(usage: Any) -> float | None:
    """US dollars that the endpoint reports to have charged, None if it does not: `cost` (OpenRouter and Vercel, with
    what the owner of the key pays upstream; Requesty; Perplexity, an object with fees included), DeepInfra's
    `estimated_cost`, LLM Gateway's `cost_usd_total` or xAI's `cost_in_usd_ticks`. An amount in another currency is not
    one."""
    if not isinstance(usage, dict) or usage.keys() <= _BASIC_COUNTS:
        return None
    cost = next((usage[name] for name in _COST_NAMES if name in usage), None)
    currency = (cost if isinstance(cost, dict) else usage).get("currency") or usage.get("currency") or "USD"
    if str(currency).upper() not in ("USD", "$"):
        return None
    if cost is None and "is_byok" not in usage:
        return _parse_amount(usage.get("cost_in_usd_ticks"), per_usd=1e10)
    if usage.get("is_byok"):  # without details the larger part is unknown
        details = usage.get("cost_details")
        upstream = details.get("upstream_inference_cost") if isinstance(details, dict) else None
        return sum_if_known((_parse_amount(cost), _parse_amount(upstream)))
    return _parse_amount(cost.get("total_cost") if isinstance(cost, dict) else cost)


def cache_hit(headers: Mapping[str, str]) -> str:
    """What a gateway says of its own cache if that holds the answer: HIT or SEMANTIC HIT; else empty."""
    for name in _CACHE_HEADERS:
        if name in headers and (status := headers[name].strip().upper()).endswith("HIT"):
            return status
    return ""


def with_cost_header(usage: Any, headers: Mapping[str, str], hit: str = "") -> Any:
    """`usage` with the cost that LiteLLM's proxy reports in a header instead, as its `cost`, and with a cost of 0 for a
    `hit` of another gateway's cache, which repeats the counts of the answer that was paid for.

    LiteLLM's is in US dollars, after the proxy's own discounts and margins, so it replaces what the provider charged. A
    cost of 0 counts only for an answer from the proxy's cache: for a model without a price it may be 0 as well
    (docs.litellm.ai/docs/proxy/response_headers; `cost_headers` in its source).
    """
    text = headers.get("x-litellm-response-cost")
    if text is None:
        return {**_without_payer(usage), "cost": 0.0, _FROM_CACHE: True} if hit else usage
    try:
        cost = _parse_amount(float(text))
    except ValueError:
        return usage
    if not (cost or (cost == 0 and headers.get("x-litellm-cache-key"))):
        return usage
    return {**_without_payer(usage), "cost": cost, **({} if cost else {_FROM_CACHE: True})}


def _without_payer(usage: Any) -> Json:
    """`usage` without whose key pays upstream and in which currency, which are about a cost that does not count."""
    counted = usage.items() if isinstance(usage, dict) else ()
    return {name: value for name, value in counted if name not in ("is_byok", "currency")}


def is_from_cache(usage: Any) -> bool:
    """Whether a reported cost of 0 is that of an answer from the gateway's cache."""
    return isinstance(usage, dict) and usage.get(_FROM_CACHE) is True


def _parse_amount(amount: Any, per_usd: float = 1.0) -> float | None:
    number = isinstance(amount, int | float) and not isinstance(amount, bool)
    return amount / per_usd if number and 0 <= amount < _MAX_USD * per_usd else None


def _token_count(count: Any) -> int | None:
    """A number of tokens, None if it cannot be one."""
    if type(count) is int and 0 <= count <= _MAX_TOKENS:
        return count
    number = isinstance(count, int | float) and not isinstance(count, bool) and 0 <= count <= _MAX_TOKENS
    return int(count) if number and count == int(count) else None
