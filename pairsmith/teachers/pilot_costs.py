"""The cost of a pilot's seeds according to the ledger, and intervals for others like them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
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
    until when, in seconds, and `ranks` how many requests the teacher had answered before each, if that is known.
    `seconds` is None for answers in batches, whose time is that of others."""

    prompt_tokens: float
    tokens: float
    usd: float | None
    batch_usd: float | None
    seconds: float | None
    cached_tokens: float = 0
    requests: float = 1
    spans: tuple[tuple[float, float], ...] = ()
    size: int = 0
    ranks: tuple[int, ...] = ()

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


def seed_cost(
    store: Store,
    ledger: Ledger,
    generator: Forward | Backward,
    seed: Seed,
    *,
    batch: bool,
    order: Mapping[str, int] = MappingProxyType({}),
) -> SeedCost:
    """The cost of the answers about a seed, including unusable ones, according to the ledger. `batch`: others will be
    asked in batches. `order` is the rank of each request of the teacher."""
    questions = generator.questions(seed)
    keys = [key for question, n in questions for key in ledger.keys(question, n)]
    calls, prices = [call for key in keys for call in store.calls(key)], ledger.meter.prices
    first = list({call.request_id: call for call in reversed(calls)}.values())
    usage = summed(call.usage for call in calls)
    usd = sum_if_known(_price(call, prices) for call in calls)
    has_batch_price = prices is not None and (batch or prices.batch_share is not None)
    in_batch = any(call.transport == "batch" for call in first)
    return SeedCost(
        usage.prompt_tokens,
        usage.prompt_tokens + usage.completion_tokens,
        usd,
        sum_if_known(_batch_price(call, prices) for call in calls) if prices and has_batch_price else None,
        None if in_batch else sum(call.seconds for call in first),
        usage.cached_tokens,
        max(1, len(first)),
        tuple((call.at.timestamp() - call.seconds, call.at.timestamp()) for call in first),
        len(seed.asked),
        tuple(order[call.request_id] for call in first) if all(call.request_id in order for call in first) else (),
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
    """The cost of `share` times the answers to the same prompt, if it is sent and paid for `of_prompt` times as often.
    Money is computed from the token prices if they are known."""
    prompt, answers = cost.prompt_tokens * of_prompt, cost.completion_tokens * share
    ratio = (prompt + answers) / cost.tokens if cost.tokens else share
    if prices:
        both = prices.rate(cost.usage, {})
        asking = prices.rate(cost.usage.model_copy(update={"completion_tokens": 0}), {})
        ratio = (asking * of_prompt + (both - asking) * share) / both if both else share
    usd, batch_usd = (None if money is None else money * ratio for money in (cost.usd, cost.batch_usd))
    requests, seconds = cost.requests * of_prompt, None if cost.seconds is None else cost.seconds * of_prompt
    return cost._replace(
        prompt_tokens=prompt,
        tokens=prompt + answers,
        usd=usd,
        batch_usd=batch_usd,
        requests=requests,
        seconds=seconds,
    )


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
    largest, slowest = (
        max((getattr(one, name) or 0.0 for one in costs), default=0.0) for name in ("tokens", "seconds")
    )
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

    def interval(name: str, most: float | None) -> Range | None:
        values = [getattr(one, name) for one in costs]
        whole = None if None in values else forecast_sum(values[skipped:], others, most)
        extra = (
            sum(values[:skipped]) - (sum(values) if without_pilot else 0.0) + of_sizes.get(name, 0.0) if whole else 0.0
        )
        return None if whole is None else Range(*(end + extra for end in whole))

    measured = {name: interval(name, most) for name, most in ceilings.items()}
    if prices and prices.highest and (usd := measured["usd"]):  # the run may go on in the hours with that price
        sample = Usage(prompt_tokens=1_000, completion_tokens=1_000)
        dearer = (prices.usd(sample, highest=True) or 0.0) / (prices.usd(sample) or 1.0)
        measured["usd"] = usd._replace(high=usd.high * dearer)
    as_seen = interval("seconds", slowest)
    measured["minutes"] = _minutes(teacher, costs, others, measured, as_seen, without_pilot=without_pilot)
    return {name: measured[name] for name in ("tokens", "usd", "batch_usd", "minutes")}


def _minutes(
    teacher: TeacherSettings,
    costs: Sequence[SeedCost],
    others: int,
    measured: Mapping[str, Range | None],
    as_seen: Range | None,
    *,
    without_pilot: bool,
) -> Range | None:
    """The time that a run with the `measured` requests, tokens and seconds of answers takes; `as_seen` are the seconds
    if none takes longer than those of the pilot.

    It takes at least what the spec's rates allow and, with the pilot, what that took. At best, the spec's concurrency
    is in flight at the seconds that the pilot's answers took. The middle and the other end are the pace that the server
    reached, for the tokens that are to be written or for the seconds, whichever vary more: what requests wait for each
    other does not count twice, nor does the time of others that were in flight beside them. A long answer may be the
    last. None if answers came in batches, which show no pace.
    """
    rates = {"requests": teacher.requests_per_minute, "tokens": teacher.tokens_per_minute}
    bounds = [[end / rate for end in whole] for name, rate in rates.items() if rate and (whole := measured[name])]
    spans = [span for one in costs for span in one.spans]
    taken_s = sum_if_known(one.seconds for one in costs)
    if taken_s is None:
        return None
    if taken_s and as_seen and (seconds := measured["seconds"]):
        each = _steady_seconds(spans) / max(1, len(spans)) * _own_share(costs)
        pace = max(each * sum(one.requests for one in costs), taken_s / teacher.concurrency) / 60
        written, seen = measured["completion_tokens"], sum(one.completion_tokens for one in costs)
        whole, of_pilot = (written, seen) if written and seen else (seconds, taken_s)
        middle, high = pace * whole.middle / of_pilot, pace * max(whole.high / of_pilot, as_seen.high / taken_s)
        at_best = Range(*(end / 60 / teacher.concurrency for end in seconds))
        last_s = max((end - begin for begin, end in spans), default=0.0) if others else 0.0
        bounds.append([middle, min(at_best.low, middle), max(at_best.middle, high) + last_s / 60])
    if not bounds:
        return None
    least = 0.0 if without_pilot else _seconds_covered(spans) / 60
    return Range(*(max(least, *ends) for ends in zip(*bounds, strict=True)))


def _own_share(costs: Sequence[SeedCost]) -> float:
    """The share of these requests in the time that they took: others of the teacher were answered between them, of
    another direction, or of the run that had asked about these seeds before."""
    times = sorted(
        (rank, end, end - begin) for one in costs for rank, (begin, end) in zip(one.ranks, one.spans, strict=False)
    )
    # A request has at most the time that it took, so that a pause between two runs does not count.
    gaps = [
        (min(took_s, max(0.0, end - before)), rank - earlier)
        for (earlier, before, _), (rank, end, took_s) in pairwise(times)
    ]
    whole = sum(gap for gap, _ in gaps)
    return sum(gap / max(1, answered) for gap, answered in gaps) / whole if whole else 1.0


def _steady_seconds(spans: Sequence[tuple[float, float]]) -> float:
    """How long requests with these times take while others follow them: at the pace until the last was sent, or at
    least half had ended, because after that fewer and fewer are in flight. The first counts only if it was not sent
    alone."""
    number, ordered = len(spans), sorted(spans)
    if number > 2 and ordered[0][1] <= ordered[1][0]:
        del ordered[0]
    ends = sorted(end for _, end in ordered)
    followed = sum(end <= ordered[-1][0] for end in ends)
    covered = (
        _seconds_covered([(begin, min(end, until)) for begin, end in ordered if begin < until]) / count
        for count, until in enumerate(ends, 1)
        if 2 * count >= len(ends) and count >= followed
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

    size, prompt, cached, requests = (
        np.array([getattr(one, name) for one in costs], float)
        for name in ("size", "prompt_tokens", "cached_tokens", "requests")
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
        from_cache = min(1.0, max(0.0, float(from_mean @ (cached / requests)) / spread / slope))
        thousand = Usage(prompt_tokens=1_000, cached_tokens=round(1_000 * from_cache))
        of_prompt = (prices.usd(thousand) - prices.usd(Usage())) / 1_000
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
