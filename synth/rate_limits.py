"""Rate limits as a spec and as providers' headers tell them.

A header is read whose name says what remains of a limit, of requests or of tokens, beside the one that says when it is
full again: `x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (OpenAI, Groq, vLLM gateways), the same
with `-tokens-minute` or `-requests-day` behind (Cerebras, DigitalOcean), `anthropic-ratelimit-input-tokens-remaining`,
`ratelimitbysize-remaining` (Mistral, tokens), `x-tokenlimit-remaining` (Together), `x-ratelimit-remaining` and
`ratelimit-remaining` (OpenRouter, the IETF's earlier drafts), `ratelimit: limit=100, remaining=50, reset=30` and
`ratelimit: "default";r=50;t=30` (its later ones).
A reset is a duration as Go writes it (`6m0s`, `7.66s`, `120ms`), seconds, a time since the epoch in seconds or
milliseconds, or a date: as those providers' pages on rate limits had it in 2026.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

Unit = Literal["requests", "tokens"]

_TOKENS = re.compile("token|bysize")
# Limits of requests, in a window of any length; not of seconds of audio, or of images.
_REQUESTS = re.compile(r"req|remaining(-(per-)?\d*(s|sec|second|m|min|minute|h|hour|d|day)s?)?$")
_IN_ONE = re.compile(r"\b(?:r|remaining)=(\d+)\b.*?\b(?:t|reset)=(\d+)\b")
_GO_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_GO_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_EPOCH_S, _EPOCH_MS = 1e9, 1e12  # no wait is so long, so a number above it is a moment
_LENGTH = r"\d{1,9}(?:\.\d{1,9})? ?(?:ms|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?|h(?:ours?)?)(?![a-z])"
_ASKED_TO_WAIT = re.compile(
    rf"(?:retry_?delay[\"': ]+|(?:retry|try again) (?:in|after) |wait (?:for )?)((?:{_LENGTH} ?)+)"
    r"|retry_?after(?:_s|_seconds)?[\"': ]+(\d{1,9}(?:\.\d{1,9})?)(?![\w.])",
    re.IGNORECASE,
)
_UNIT = re.compile(r"([\d.]+) ?(ms|m|s|h)", re.IGNORECASE)
_UNITS_A_S = {"ms": 1000.0, "s": 1.0, "m": 1 / 60, "h": 1 / 3600}
_MINUTE_S = 60.0
_CATCH_UP_S = 0.05  # how late a timer may be without losing what it was late for


class Left(NamedTuple):
    """How much of `unit` an endpoint still takes until `reset_s` seconds from now."""

    unit: Unit
    amount: float
    reset_s: float


def left_by_headers(headers: Mapping[str, str]) -> list[Left]:
    """What the headers of an answer say is left; nothing where they do not say until when."""
    shares = []
    for header, value in headers.items():
        name = header.lower()
        if "limit" not in name:
            continue
        unit: Unit | None = "tokens" if _TOKENS.search(name) else "requests" if _REQUESTS.search(name) else None
        limits = [(value, headers.get(name.replace("remaining", "reset")))] if "remaining" in name else []
        if name == "ratelimit":  # one or several limits
            unit, limits = "requests", [(both[1], both[2]) for both in _IN_ONE.finditer(value)]
        for amount, reset in limits:
            with suppress(ValueError, OverflowError):
                if unit is not None and reset is not None and float(amount) >= 0:  # -1: without a limit
                    shares.append(Left(unit, float(amount), reset_s(reset)))
    return shares


def reset_s(text: str) -> float:
    """Seconds from now until the moment that a reset header names, in any of its forms. Raises ValueError."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if number >= _EPOCH_S:
            moment = number / 1000 if number >= _EPOCH_MS else number
            number = moment - datetime.now(UTC).timestamp()
        if not math.isfinite(number):
            raise ValueError(text)
        return max(0.0, number)
    parts = _GO_DURATION.fullmatch(text)
    if text and parts:
        return sum(float(n) * unit for n, unit in zip(parts.groups(default="0"), _GO_UNITS_S, strict=True))
    try:
        moment_then = datetime.fromisoformat(text)
    except ValueError:
        moment_then = parsedate_to_datetime(text)
    if moment_then.tzinfo is None:
        moment_then = moment_then.replace(tzinfo=UTC)
    return max(0.0, (moment_then - datetime.now(UTC)).total_seconds())


def retry_after_s(headers: Mapping[str, str], text: str = "") -> float | None:
    """Seconds of `retry-after-ms` or `Retry-After` (a number or an HTTP date, by the server's own clock where it tells
    it; RFC 9110, 10.2.3; some write a length or a moment), or that the error's `text` asks to wait (Gemini's
    `retryDelay`, "try again in 7m12s"); None if neither can be read."""
    with suppress(ValueError, TypeError, OverflowError):
        if (ms := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(ms) / 1000)
        if (wait := headers.get("Retry-After", "").strip()).endswith("GMT") and "Date" in headers:
            return max(0.0, (parsedate_to_datetime(wait) - parsedate_to_datetime(headers["Date"])).total_seconds())
        if wait:
            return reset_s(wait)
    if (asked := _ASKED_TO_WAIT.search(text)) is None:
        return None
    parts = _UNIT.findall(asked[1] or "")
    return float(asked[2]) if asked[2] else sum(float(n) / _UNITS_A_S[unit.lower()] for n, unit in parts)


class RateLimit:
    """At most `per_minute` units in any 60 seconds, spread evenly: a virtual schedule (GCRA, ITU-T I.371) without a
    burst, on 59/60 of the rate, so that the units at both ends of a minute fit into it."""

    def __init__(self, per_minute: float) -> None:
        self._seconds_a_unit = _MINUTE_S / per_minute * 60 / 59
        self.free_at = 0.0

    def take(self, units: float, now: float) -> None:
        """Count `units` that are sent at `now`; the next may go at `free_at`."""
        self.free_at = max(self.free_at, now - _CATCH_UP_S) + units * self._seconds_a_unit

    def settle(self, units: float) -> None:
        """Count so many units more (fewer: negative) than were taken."""
        self.free_at += units * self._seconds_a_unit
