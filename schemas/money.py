"""Money: what requests cost, what is reserved for requests with an unknown outcome, and how an amount is shown.

An unknown cost is None and is shown as "cost unknown", never as zero; only a request with a stated price of 0 is free.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

from pydantic import Field

from schemas.records import Json, Record, Usage, now
from schemas.wording import counted


class Hold(Record):
    """Money reserved for one request before it is sent: the most that it can cost in US dollars, None if no price is
    known. It stays `open` until the cost is known, including when the answer was lost after it may have been charged.

    Without a cap, one hold covers all `requests` in flight; a process that is killed leaves it open.
    """

    id: str
    usd: float | None
    requests: int = 1
    stage: str = ""
    teacher: str = ""
    prompt: str = ""
    open: bool = True
    at: datetime = Field(default_factory=now)


class Cost(Record):
    """What the requests of one stage to one teacher with one prompt cost; in a sum, these three names are empty.

    `usd` is the known part in US dollars, `unpriced` the number of requests without a known cost. `reserved` is held
    for requests whose outcome is unknown, and `lost` is their number. `uncounted` is the number of answers that came
    without their tokens, which `usage` lacks. `prices` is the source of the prices.
    """

    stage: str = ""
    teacher: str = ""
    prompt: str = ""
    requests: int = 0
    usage: Usage = Usage()
    usd: float = 0.0
    unpriced: int = 0
    reserved: float = 0.0
    lost: int = 0
    uncounted: int = 0
    prices: str = ""

    @property
    def total(self) -> float | None:
        """US dollars; None where any part is unknown."""
        return None if self.unpriced or self.lost else exact(self.usd)

    @property
    def tokens(self) -> str:
        """The tokens of prompts and of answers, for users."""
        least = "at least " if self.uncounted else ""
        return f"{least}{self.usage.prompt_tokens:,} + {self.usage.completion_tokens:,} tokens"

    @classmethod
    def read(cls, fields: Json) -> Cost:
        """The inverse of `as_json`."""
        usage = Usage(**{name: fields.get(name, 0) for name in Usage.model_fields})
        names = {name: fields.get(name, "") for name in ("stage", "teacher", "prompt", "prices")}
        return cls(
            **names,
            requests=fields["requests"],
            usage=usage,
            usd=fields["usd_known"],
            unpriced=fields["unpriced_requests"],
            reserved=fields["usd_reserved"],
            lost=fields["lost_requests"],
            uncounted=fields.get("uncounted_requests", 0),
        )

    def as_json(self) -> Json:
        """For programs: `usd` is null where any part of it is unknown, `usd_known` is the known part.

        Thinking tokens are included only where they were counted; the ledger's sums in a store do not separate them.
        """
        named = {name: value for name in ("stage", "teacher", "prompt", "prices") if (value := getattr(self, name))}
        uncounted = {"reasoning_tokens"} if not self.usage.reasoning_tokens else None
        return {
            **named,
            "requests": self.requests,
            **self.usage.model_dump(exclude=uncounted),
            "usd": self.total,
            "usd_known": exact(self.usd),
            "unpriced_requests": self.unpriced,
            "usd_reserved": exact(self.reserved),
            "lost_requests": self.lost,
            **({"uncounted_requests": self.uncounted} if self.uncounted else {}),
        }


def exact(usd: float) -> float:
    """An amount without the error of adding binary fractions; the price of one token has fewer digits."""
    return round(usd, 12)


def summed(usages: Iterable[Usage]) -> Usage:
    """The sum of token usages."""
    listed = list(usages)
    return Usage(**{name: sum(getattr(usage, name) for usage in listed) for name in Usage.model_fields})


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    listed = list(costs)
    numbers = ("requests", "usd", "unpriced", "reserved", "lost", "uncounted")
    sums = {name: sum(getattr(cost, name) for cost in listed) for name in numbers}
    return Cost(usage=summed(cost.usage for cost in listed), **sums)


def sum_if_known(amounts: Iterable[float | None]) -> float | None:
    """The sum of amounts; None if any of them is unknown."""
    listed = list(amounts)
    return None if None in listed else sum(amount or 0.0 for amount in listed)


def per_row(costs: Iterable[Cost], rows: int) -> float | None:
    """US dollars per row, without what evaluations cost; None if there are no rows or if any part of the cost is
    unknown."""
    cost = total(cost for cost in costs if cost.stage != "evaluate")
    return None if cost.total is None or not rows else exact(cost.total / rows)


def dollars(usd: float | None) -> str:
    """An amount for users: small amounts with their significant digits, zero as "free", None as "cost unknown"."""
    if usd is None:
        return "cost unknown"
    if usd == 0:
        return "free"
    if usd >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.{max(4, 1 - math.floor(math.log10(usd)))}f}"


def rounded_up(usd: float) -> str:
    """An amount rounded up, for use as a cap; `dollars` may round down."""
    digits = 2 if usd >= 1 else max(4, 1 - math.floor(math.log10(usd)))
    return f"${math.ceil(usd * 10**digits - 1e-9) / 10**digits:,.{digits}f}"


def describe_cost(cost: Cost) -> str:
    """A cost for users: `$1.20`, `free`, `cost unknown`, `at least $1.20, 3 requests of unknown cost`."""
    words = []
    if cost.unpriced:
        words.append(f"{counted(cost.unpriced, 'request', 'requests')} of unknown cost")
    if cost.lost:
        unsettled = f" for at most {dollars(cost.reserved)} more" if cost.reserved else ""
        words.append(f"{cost.lost:,} sent without an answer{unsettled}")
    if not words:
        return dollars(cost.usd)
    if not cost.usd and not cost.lost:
        return "cost unknown"
    return ", ".join([f"at least {dollars(cost.usd)}" if cost.usd else "cost unknown", *words])
