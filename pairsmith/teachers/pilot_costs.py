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

    @property
    def completion_tokens(self) -> float:
        return self.tokens - self.prompt_tokens

    @property
    def usage(self) -> Usage:
        counts = ("prompt_tokens", "cached_tokens", "completion_tokens")
        return Usage(**{name: round(getattr(self, name)) for name in counts})


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
    prompt, answers = cost.prompt_tokens * of_prompt, cost.completion_tokens * share
    ratio = (prompt + answers) / cost.tokens if cost.tokens else share
    if prices:
        both = prices.rate(cost.usage, {})
        asking = prices.rate(cost.usage.model_copy(update={"completion_tokens": 0}), {})
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
    longest. `sizes` are those of the other seeds, from which the tokens of their prompts and their price are known. The
    time is what the slowest of the spec's rates and the server takes, as `_minutes` says. If the first seed, asked
    alone, found no prompt in the cache and others did, it predicts nothing.
    """
    prices = prices_of(teacher)
    skipped = int(bool(costs) and not costs[0].cached_tokens and any(one.cached_tokens for one in costs))
    typical, of_sizes = of_one_size(costs[skipped:], sizes or (), prices)
    costs = [*costs[:skipped], *typical]
    prompt = max((one.prompt_tokens for one in costs), default=0.0)
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
    ceilings["completion_tokens"] = longest - (most_asked if limit else 0)
    ceilings["seconds"] = slowest * max(10.0, longest / largest) if largest else None

    def interval(name: str) -> Range | None:
        values = [getattr(one, name) for one in costs]
        whole = None if None in values else forecast_sum(values[skipped:], others, ceilings[name])
        extra = (
            sum(values[:skipped]) - (sum(values) if without_pilot else 0.0) + of_sizes.get(name, 0.0) if whole else 0.0
        )
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
    """The time that a run with the `measured` requests, tokens and seconds of answers takes.

    It takes at least what the spec's rates allow and, with the pilot, what that took. At best, the spec's concurrency
    is in flight at the seconds that the pilot's answers took. The middle and the other end are the pace that the server
    reached, for the tokens that are to be written: what requests wait for each other does not count twice.
    """
    rates = {"requests": teacher.requests_per_minute, "tokens": teacher.tokens_per_minute}
    bounds = [[end / rate for end in whole] for name, rate in rates.items() if rate and (whole := measured[name])]
    spans = [span for one in costs for span in one.spans]
    if (seconds := measured["seconds"]) and (taken_s := sum(one.seconds for one in costs)):
        pace = max(_steady_seconds(spans), taken_s / teacher.concurrency) / 60
        written, seen = measured["completion_tokens"], sum(one.completion_tokens for one in costs)
        whole, of_pilot = (written, seen) if written and seen else (seconds, taken_s)
        reached = Range(*(pace * end / of_pilot for end in whole))
        at_best = Range(*(end / 60 / teacher.concurrency for end in seconds))
        low, high = min(at_best.low, reached.middle), max(at_best.middle, reached.high)
        bounds.append([reached.middle, low, high])
    if not bounds:
        return None
    least = 0.0 if without_pilot else _seconds_covered(spans) / 60
    return Range(*(max(least, *ends) for ends in zip(*bounds, strict=True)))


def _steady_seconds(spans: Sequence[tuple[float, float]]) -> float:
    """How long requests with these times take while others follow them: at the pace until at least half of them had
    ended, because at the end fewer and fewer are in flight. The first counts only if it was not sent alone."""
    number, ordered = len(spans), sorted(spans)
    if number > 2 and ordered[0][1] <= ordered[1][0]:
        del ordered[0]
    ends = sorted(end for _, end in ordered)
    covered = (
        _seconds_covered([(begin, min(end, until)) for begin, end in ordered if begin < until]) / count
        for count, until in enumerate(ends, 1)
        if 2 * count >= len(ends)
    )
    return number * min(covered, default=0.0)


def of_one_size(
    costs: Sequence[SeedCost], sizes: Sequence[int], prices: Prices | None
) -> tuple[Sequence[SeedCost], dict[str, float]]:
    """The costs of these seeds if all were of their mean size, and how many more tokens and US dollars they and others
    of these `sizes` have because of theirs. Unchanged if the size does not determine the tokens of a prompt.

    A regression estimator (Cochran, Sampling Techniques, 1977, ch. 7) whose slope is that of the prompts alone: seeds
    of very different lengths are in no pilot, but their lengths are known. A token has its price, at the rate of what
    these seeds were charged.
    """
    import numpy as np

    size, prompt, requests = (
        np.array([getattr(one, name) for one in costs], float) for name in ("size", "prompt_tokens", "requests")
    )
    if not (costs and sizes):
        return costs, {}
    mean, each = float(size.mean()), prompt / requests
    from_mean = size - mean
    spread = float(from_mean @ from_mean)
    slope = float(from_mean @ each) / spread if spread else 0.0
    left = each - each.mean() - slope * from_mean
    if slope <= 0 or float(left @ left) > 0.1 * slope * slope * spread:
        return costs, {}
    more = slope * requests * from_mean
    whole = slope * float(requests.mean()) * (sum(sizes) - len(sizes) * mean) + float(more.sum())
    rates = {"prompt_tokens": 1.0, "tokens": 1.0}
    if prices and (listed := sum(prices.usd(one.usage) for one in costs)):
        of_prompt = (prices.usd(Usage(prompt_tokens=1_000)) - prices.usd(Usage())) / 1_000
        charged_for = {name: [getattr(one, name) for one in costs] for name in ("usd", "batch_usd")}
        rates |= {name: of_prompt * sum(usd) / listed for name, usd in charged_for.items() if None not in usd}
    typical = [
        one._replace(**{name: getattr(one, name) - rate * tokens for name, rate in rates.items()})
        for one, tokens in zip(costs, more.tolist(), strict=True)
    ]
    return typical, {name: rate * whole for name, rate in rates.items()}


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
