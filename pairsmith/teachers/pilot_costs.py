"""The cost of a pilot's seeds according to the ledger, and intervals for others like them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from curate.forecast import Range, forecast_sum
from pairsmith.receipts.outcome import ENDLESS
from schemas.money import sum_if_known, summed
from schemas.records import Call, Json, Seed, Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat.usage import charged
from synth.generators import Backward, Forward
from synth.ledger import Ledger
from synth.prices import Prices, prices_of


class SeedCost(NamedTuple):
    """The cost of the answers about one seed of `size` characters. `spans` are the times of its requests, each from and
    until when, in seconds."""

    prompt_tokens: float
    tokens: float
    usd: float | None
    batch_usd: float | None
    seconds: float
    cached_tokens: float = 0
    requests: float = 1
    spans: tuple[tuple[float, float], ...] = ()
    size: int = 0


def sum_ranges(parts: Sequence[Json | None]) -> Json | None:
    """The parts added up; None if any of them is unknown. Adding the ends of intervals makes them wider than
    necessary."""
    known = [part for part in parts if part is not None]
    return {end: sum(part[end] for part in known) for end in Range._fields} if len(known) == len(parts) else None


def seed_cost(store: Store, ledger: Ledger, generator: Forward | Backward, seed: Seed, *, batch: bool) -> SeedCost:
    """The cost of the answers about a seed, including unusable ones, according to the ledger. `batch`: others will be
    asked in batches."""
    questions = generator.questions(seed)
    keys = [key for question, n in questions for key in ledger.keys(question, n)]
    calls, prices = [call for key in keys for call in store.calls(key)], ledger.meter.prices
    first = list({call.request_id: call for call in reversed(calls)}.values())
    usage = summed(call.usage for call in calls)
    usd = sum_if_known(_price(call, prices) for call in calls)
    has_batch_price = prices is not None and (batch or prices.batch_share is not None)
    return SeedCost(
        usage.prompt_tokens,
        usage.prompt_tokens + usage.completion_tokens,
        usd,
        sum_if_known(_batch_price(call, prices) for call in calls) if prices and has_batch_price else None,
        sum(call.seconds for call in first),
        usage.cached_tokens,
        max(1, len(first)),
        tuple((call.at.timestamp() - call.seconds, call.at.timestamp()) for call in first),
        len(seed.asked),
    )


def _is_charged(call: Call, prices: Prices | None) -> bool:
    """Whether its cost is the one in the ledger: the provider has reported it, or it cannot be computed."""
    return prices is None or not call.usage.prompt_tokens or charged(call.facts.get("usage")) is not None


def _batch_price(call: Call, prices: Prices) -> float | None:
    """What an answer would cost in a batch; if only its cost is known, the usual fraction of that."""
    if not _is_charged(call, prices):
        return prices.batch_usd(call.usage)
    share = prices.usual_share if prices.batch_share is None else prices.batch_share
    return None if call.usd is None else call.usd * share


def _price(call: Call, prices: Prices | None) -> float | None:
    """What an answer would cost if it were requested now, regardless of how it was bought. A charge reported by the
    provider is kept."""
    if prices is None or _is_charged(call, prices):
        return call.usd
    tier = str(call.facts.get("service_tier") or call.request.get("service_tier") or "")
    return prices.usd(call.usage, tier=tier)


def scaled(cost: SeedCost, share: float, of_prompt: float, prices: Prices | None) -> SeedCost:
    """The cost of `share` times the answers to the same prompt, if the prompt is paid for `of_prompt` times as often.
    Money is computed from the token prices if they are known."""
    prompt, answers = cost.prompt_tokens * of_prompt, (cost.tokens - cost.prompt_tokens) * share
    ratio = (prompt + answers) / cost.tokens if cost.tokens else share
    if prices:
        usage = Usage(prompt_tokens=round(cost.prompt_tokens), cached_tokens=round(cost.cached_tokens))
        asking = prices.rate(usage, {})
        both = prices.rate(usage.model_copy(update={"completion_tokens": round(cost.tokens - cost.prompt_tokens)}), {})
        ratio = (asking * of_prompt + (both - asking) * share) / both if both else share
    usd, batch_usd = (None if money is None else money * ratio for money in (cost.usd, cost.batch_usd))
    requests = cost.requests * of_prompt
    return cost._replace(prompt_tokens=prompt, tokens=prompt + answers, usd=usd, batch_usd=batch_usd, requests=requests)


def costs_of(
    teacher: TeacherSettings,
    costs: Sequence[SeedCost],
    others: int,
    limit: int | None,
    answers: int,
    *,
    without_pilot: bool = False,
    sizes: Sequence[int] | None = None,
) -> dict[str, Range | None]:
    """The intervals for the pilot's seeds and `others`, or with `without_pilot` for `others` only.

    Each of the `answers` about a seed has at most `limit` tokens, and a bad one is requested again, so a seed may cost
    `teacher.attempts` times as much. Without a limit, one of them is assumed to have `ENDLESS` tokens on top of the
    longest. `sizes` are those of the other seeds, from which the tokens of their prompts are known. The time is what
    the slowest of concurrency and the spec's rates takes. It ends at the throughput that the pilot reached, and begins
    no earlier than the pilot itself ended. If the first seed, asked alone, found no prompt in the cache and others did,
    it predicts nothing.
    """
    prices, prompt = prices_of(teacher), max((one.prompt_tokens for one in costs), default=0.0)
    largest, slowest = (max((getattr(one, name) for one in costs), default=0.0) for name in ("tokens", "seconds"))
    longest = teacher.attempts * (prompt + limit * answers) if limit else largest + ENDLESS
    most_asked = prompt * teacher.attempts if limit else prompt
    maximum_usd = (
        prices.usd(Usage(prompt_tokens=round(most_asked), completion_tokens=round(longest - most_asked)))
        if prices
        else None
    )
    ceilings = {"tokens": longest, "usd": maximum_usd, "batch_usd": maximum_usd}
    ceilings["requests"] = float(answers * teacher.attempts)
    ceilings["seconds"] = slowest * max(10.0, longest / largest) if largest else None

    skipped = int(bool(costs) and not costs[0].cached_tokens and any(one.cached_tokens for one in costs))

    def interval(name: str) -> Range | None:
        values = [getattr(one, name) for one in costs]
        known: Sequence[float] = values[skipped:]
        shift = 0.0
        if name == "tokens" and sizes is not None:
            known, shift = of_one_size(known, costs[skipped:], sizes)
        whole = None if None in values else forecast_sum(known, others, ceilings[name])
        extra = sum(values[:skipped]) - (sum(values) if without_pilot else 0.0) + shift if whole else 0.0
        return None if whole is None else Range(*(end + extra for end in whole))

    measured = {name: interval(name) for name in ceilings}
    if prices and prices.highest and (usd := measured["usd"]):  # the run may go on in the hours with that price
        sample = Usage(prompt_tokens=1_000, completion_tokens=1_000)
        dearer = (prices.usd(sample, highest=True) or 0.0) / (prices.usd(sample) or 1.0)
        measured["usd"] = usd._replace(high=usd.high * dearer)
    measured["minutes"] = _minutes(teacher, costs, measured, without_pilot=without_pilot)
    return {name: measured[name] for name in ("tokens", "usd", "batch_usd", "minutes")}


def _minutes(
    teacher: TeacherSettings, costs: Sequence[SeedCost], measured: Mapping[str, Range | None], *, without_pilot: bool
) -> Range | None:
    """The time that a run with the `measured` seconds of answers, requests and tokens takes."""
    rates = {
        "seconds": 60 * teacher.concurrency,
        "requests": teacher.requests_per_minute,
        "tokens": teacher.tokens_per_minute,
    }
    limited = [(whole, rate) for name, rate in rates.items() if rate and (whole := measured[name]) is not None]
    minutes = [[end / rate for end in whole] for whole, rate in limited]
    time = Range(*map(max, zip(*minutes, strict=True))) if minutes else None
    if time and (seconds := measured["seconds"]):
        spans = [span for one in costs for span in one.spans]
        taken_s = _seconds_covered(spans)
        in_flight = sum(end - begin for begin, end in spans) / taken_s if taken_s else teacher.concurrency
        least = 0.0 if without_pilot else taken_s / 60
        high = max(time.high, seconds.high / 60 / min(max(in_flight, 1.0), teacher.concurrency))
        return Range(max(time.middle, least), max(time.low, least), max(high, least))
    return time


def of_one_size(
    tokens: Sequence[float], costs: Sequence[SeedCost], sizes: Sequence[int]
) -> tuple[Sequence[float], float]:
    """The `tokens` that the pilot's seeds would have if all were of its mean size, and how many more the others, of
    these `sizes`, have because of theirs. Unchanged if the size does not determine the tokens of the prompt.

    A regression estimator (Cochran, Sampling Techniques, 1977, ch. 7) whose slope is that of the prompts alone: seeds
    of very different lengths are in no pilot, but their lengths are known.
    """
    import numpy as np

    size, prompt = (np.array([getattr(one, name) for one in costs], float) for name in ("size", "prompt_tokens"))
    from_mean = size - size.mean() if len(size) else size
    spread = float(from_mean @ from_mean)
    slope = float(from_mean @ prompt) / spread if spread else 0.0
    left = prompt - prompt.mean() - slope * from_mean if len(size) else prompt
    if slope <= 0 or float(left @ left) > 0.1 * slope * slope * spread:
        return tokens, 0.0
    shift = slope * (sum(sizes) - len(sizes) * float(size.mean()))
    return list(np.asarray(tokens, float) - slope * from_mean), shift


def _seconds_covered(spans: Sequence[tuple[float, float]]) -> float:
    """The seconds in at least one of these spans: pauses between two runs of a pilot do not count."""
    covered, until = 0.0, -math.inf
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered


def hull(one: Range | None, other: Range | None) -> Range | None:
    """The interval that contains both, around the mean of their central estimates; None if either is unknown."""
    if one is None or other is None:
        return None
    return Range((one.middle + other.middle) / 2, min(one.low, other.low), max(one.high, other.high))
