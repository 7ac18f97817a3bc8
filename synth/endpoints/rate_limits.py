"""Rate limits, as a spec sets them and as providers report them in headers.

A header is read if its name says what remains of a limit, of requests or of tokens, and another header says when the
limit resets: `x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (OpenAI, Groq, vLLM gateways), the same
followed by `-tokens-minute` or `-requests-day` (Cerebras, DigitalOcean), `anthropic-ratelimit-input-tokens-remaining`,
`ratelimitbysize-remaining` (Mistral, formerly), `x-tokenlimit-remaining` (Together), `x-ratelimit-remaining` and
`ratelimit-remaining` (OpenRouter, earlier IETF drafts), `ratelimit: limit=100, remaining=50, reset=30` and
`ratelimit: "default";r=50;t=30` (later IETF drafts). Without another header, a name that ends with `-minute` says it:
`x-ratelimit-remaining-req-minute` and `x-ratelimit-remaining-tokens-minute` (Mistral, mistralai/client-ts#169).
A reset is a duration in Go's format (`6m0s`, `7.66s`, `120ms`), seconds, a time since the epoch in seconds or
milliseconds, or a date. Source: the rate-limit pages of these providers in 2026.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from schemas.records import Json

Unit = Literal["requests", "tokens"]

_TOKENS = re.compile("token|bysize")
# Limits of requests per window of any length; not of seconds of audio or of images.
_REQUESTS = re.compile(r"req|remaining(-(per-)?\d*(s|sec|second|m|min|minute|h|hour|d|day)s?)?$")
_COMBINED = re.compile(r"\b(?:r|remaining)=(\d+)\b.*?\b(?:t|reset)=(\d+)\b")
_GO_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_GO_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_EPOCH_S, _EPOCH_MS = 1e9, 1e12  # no wait is this long, so a number above it is a point in time
_LENGTH = r"\d{1,9}(?:\.\d{1,9})? ?(?:ms|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?|h(?:ours?)?)(?![a-z])"
_WAIT_REQUEST = re.compile(
    rf"(?:retry_?delay[\"': ]+|(?:retry|try again) (?:in|after) |wait (?:for )?)((?:{_LENGTH} ?)+)"
    r"|retry_?after(?:_s|_seconds)?[\"': ]+(\d{1,9}(?:\.\d{1,9})?)(?![\w.])",
    re.IGNORECASE,
)
_UNIT = re.compile(r"([\d.]+) ?(ms|m|s|h)", re.IGNORECASE)
_UNITS_PER_S = {"ms": 1000.0, "s": 1.0, "m": 1 / 60, "h": 1 / 3600}
_MINUTE_S, _DAY_S = 60.0, 86_400.0
_LOOK_AGAIN_S = 15
_CATCH_UP_S = 0.05  # how late a timer may fire without losing capacity


class Remaining(NamedTuple):
    """How much of `unit` an endpoint still accepts until `reset_s` seconds from now."""

    unit: Unit
    amount: float
    reset_s: float


def remaining_in_headers(headers: Mapping[str, str]) -> list[Remaining]:
    """Read the remaining limits from response headers. A limit without a reset time or window is ignored."""
    limits_left = []
    for header, value in headers.items():
        name = header.lower()
        if "limit" not in name:
            continue
        unit: Unit | None = "tokens" if _TOKENS.search(name) else "requests" if _REQUESTS.search(name) else None
        limits = [(value, headers.get(name.replace("remaining", "reset")))] if "remaining" in name else []
        if limits and limits[0][1] is None and name.endswith("-minute"):
            limits = [(value, _until_next_minute(headers.get("Date")))]
        if name == "ratelimit":  # one header with one or several limits
            unit, limits = "requests", [(pair[1], pair[2]) for pair in _COMBINED.finditer(value)]
        for amount, reset in limits:
            with suppress(ValueError, OverflowError):
                if unit is not None and reset is not None and float(amount) >= 0:  # -1: unlimited
                    limits_left.append(Remaining(unit, float(amount), reset_s(reset, headers.get("Date"))))
    return limits_left


def reset_s(text: str, date: str | None = None) -> float:
    """Seconds from now until the time in a reset header, in any of its forms; now is the server's `date` if it is
    readable, because this machine's clock may be wrong. Raises ValueError."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(number):
            raise ValueError(text)
        if number >= _EPOCH_S:
            return _seconds_until(datetime.fromtimestamp(number / (1000 if number >= _EPOCH_MS else 1), UTC), date)
        return max(0.0, number)
    parts = _GO_DURATION.fullmatch(text)
    if text and parts:
        return sum(float(n) * unit for n, unit in zip(parts.groups(default="0"), _GO_UNITS_S, strict=True))
    try:
        reset_at = _in_utc(datetime.fromisoformat(text))
    except ValueError:
        reset_at = _in_utc(parsedate_to_datetime(text))
    return _seconds_until(reset_at, date)


def _until_next_minute(date: str | None) -> str:
    """Seconds until the next full minute of the server, by its `date` if it is readable, in which many count anew; at
    most 15, because others count the last 60 seconds. The next answer tells more."""
    moment = datetime.now(UTC)
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(date or "")
    return str(min(_LOOK_AGAIN_S, 60 - moment.second))


def _seconds_until(moment: datetime, date: str | None) -> float:
    with suppress(ValueError, TypeError, OverflowError):
        by_server = (moment - _in_utc(parsedate_to_datetime(date or ""))).total_seconds()
        if abs(by_server) < _DAY_S:  # else its `Date` is of another clock than the moment, such as one never set
            return max(0.0, by_server)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def retry_after_s(headers: Mapping[str, str], text: str = "", request: Json | None = None) -> float | None:
    """Seconds that a server asks to wait, or None if it does not say so in a readable form.

    Reads `retry-after-ms` or `Retry-After` (a number, or an HTTP date, RFC 9110, 10.2.3; some servers send a duration
    or a timestamp), else the error's `text` (Gemini's `retryDelay`, "try again in 7m12s"), except where it may quote
    the `request`. Points in time are relative to the server's own `Date` if present.
    """
    with suppress(ValueError):
        if math.isfinite(wait_ms := float(headers.get("retry-after-ms", "nan"))):
            return max(0.0, wait_ms / 1000)
    with suppress(ValueError, TypeError, OverflowError):
        if wait := headers.get("Retry-After", "").strip():
            return reset_s(wait, headers.get("Date"))
    asked = " ".join(str(turn.get("content")) for turn in (request or {}).get("messages", ())).lower()
    wait_match = next((match for match in _WAIT_REQUEST.finditer(text) if match[0].lower() not in asked), None)
    if wait_match is None:
        return None
    parts = _UNIT.findall(wait_match[1] or "")
    return float(wait_match[2]) if wait_match[2] else sum(float(n) / _UNITS_PER_S[unit.lower()] for n, unit in parts)


class RateLimit:
    """At most `per_minute` units in any 60 seconds, spread evenly.

    A virtual schedule (GCRA, ITU-T I.371) without bursts, at 59/60 of the rate, so that the units at both ends of a
    minute fit into it.
    """

    def __init__(self, per_minute: float) -> None:
        self._seconds_per_unit = _MINUTE_S / per_minute * 60 / 59
        self.free_at = 0.0

    def take(self, units: float, now: float) -> None:
        """Count `units` that are sent at `now`; the next ones may be sent at `free_at`."""
        self.free_at = max(self.free_at, now - _CATCH_UP_S) + units * self._seconds_per_unit

    def settle(self, units: float) -> None:
        """Correct the count by `units`: positive if more were used than taken, negative if fewer."""
        self.free_at += units * self._seconds_per_unit


class RateLimits:
    """The limits of a spec, per minute: on requests and on tokens, either of which may be missing."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._requests = RateLimit(requests_per_minute) if requests_per_minute else None
        self._tokens = RateLimit(tokens_per_minute) if tokens_per_minute else None

    @property
    def free_at(self) -> float:
        """When the next request may be sent."""
        return max((limit.free_at for limit in (self._requests, self._tokens) if limit is not None), default=0.0)

    def take(self, tokens: float, now: float) -> None:
        """Count a request of about `tokens` that is sent at `now`."""
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)

    def settle(self, tokens: float) -> None:
        """Correct the count by `tokens`."""
        if self._tokens is not None:
            self._tokens.settle(tokens)
