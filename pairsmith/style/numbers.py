"""Number formatting for people: units, signs, non-breaking spaces, and a dash for missing values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from schemas.money import dollars
from schemas.records import Json, Receipt, State
from schemas.wording import counted

if TYPE_CHECKING:  # `status` uses this module too, and has to start fast
    from train.evaluation.intervals import Interval
    from train.evaluation.metrics import Spread

MISSING = "—"
_THIN, _HARD, _MINUS = "\u202f", "\u00a0", "\u2212"


def count(number: float | None) -> str:
    """A whole number with a comma between thousands, as on the terminal and in the manual."""
    return rounded(number, 0)


def row_sum(counts: Mapping[str, int]) -> str:
    """Rows by state as a sum, `9 rows in = 5 accepted + 2 rejected + 1 waiting + 1 failed`; `rows_in` is what a command
    counted itself."""
    parts = " + ".join(f"{count(counts.get(state, 0))} {state}" for state in get_args(State))
    return f"{count(counts.get('rows_in', sum(counts.values())))} rows in = {parts}"


_OLD_KINDS = {"simple": "input", "enhanced": "output"}  # in receipts of 0.1


def seeds(kinds: Mapping[str, int]) -> str:
    """The number of seeds of each kind, under its present name."""
    now = {_OLD_KINDS.get(kind, kind): number for kind, number in kinds.items()}
    *others, last = [counted(number, kind, f"{kind}s") for kind, number in now.items()] or ["0 seeds"]
    return f"{', '.join(others)} and {last}" if others else last


def spread(numbers: Spread | None) -> str:
    """A median with the 10th and 90th percentile."""
    if numbers is None:
        return MISSING
    return f"{numbers.p50:.0f} ({numbers.p10:.0f}\u2013{numbers.p90:.0f})"


def latency(seconds: Spread | None) -> str:
    """Median and 95th percentile of seconds; the latter is missing in evaluations of earlier versions."""
    if seconds is None:
        return MISSING
    return " / ".join(rounded(value, 0 if value and value >= 99.95 else 1) for value in (seconds.p50, seconds.p95))


def price(usd: float | None) -> str:
    """US dollars per thousand outputs."""
    return MISSING if usd is None else dollars(usd)


def rounded(number: float | None, digits: int = 1) -> str:
    """A measured number with `digits` decimals."""
    return MISSING if number is None else f"{number:z,.{digits}f}".replace("-", _MINUS)


def percent(share: float | None) -> str:
    """A share in 0..1 as a whole percentage."""
    return MISSING if share is None else f"{100 * share:.0f}{_THIN}%"


def share_of(part: int, whole: int) -> str:
    """`part` of `whole` as a percentage; a dash if `whole` is 0."""
    return percent(part / whole) if whole else MISSING


def bounds(interval: Interval | None) -> str:
    """The ends of a share's interval, in percent."""
    return "" if interval is None else format_bounds(interval.low, interval.high)


def format_bounds(low: float, high: float) -> str:
    """The ends of an interval from a receipt, in percent."""
    return f"[{100 * low:.0f},{_HARD}{100 * high:.0f}]"


def signed(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    value = round(100 * share)
    return f"+{value}" if value > 0 else f"{_MINUS}{-value}" if value < 0 else "0"


def signed_bounds(interval: Interval) -> str:
    """The ends of a difference's interval, in percentage points."""
    return f"[{signed(interval.low)},{_HARD}{signed(interval.high)}]"


def points(interval: Interval) -> str:
    """A difference of shares with its interval."""
    return f"{signed(interval.estimate)}{_HARD}points {signed_bounds(interval)}"


def at_least(number: int, missing: int) -> str:
    """A sum in which the numbers of `missing` parts are not included."""
    return f"at least {count(number)}" if missing else count(number)


def uncounted(receipt: Receipt) -> int:
    """How many answers of a command came without their tokens."""
    return sum(cost.get("uncounted_requests", 0) for cost in receipt.facts.get("costs") or ())


def money(receipt: Receipt) -> str:
    """The cost of a command; a dash for one that sent no requests."""
    return dollars(receipt.usd) if receipt.calls_sent else MISSING


def duration(seconds: float | None) -> str:
    """Seconds in a readable form."""
    if seconds is None:
        return MISSING
    if seconds < 120:
        return f"{seconds:.{1 if seconds < 10 else 0}f}{_THIN}s"
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes}{_THIN}min {remainder:02d}{_THIN}s"


def between(ends: Mapping[str, float] | None, shown: Callable[[float], str], unknown: str) -> str:
    """The ends of an estimated range, as `$1.20 to $3`, or a single value if both are displayed alike. A cost whose
    lower end is zero is shown as `at most`, not as free."""
    if not ends:
        return unknown
    if shown is dollars and ends["low"] <= 0 < ends["high"]:
        return f"at most {dollars(ends['high'])}"
    low, high = shown(max(0.0, ends["low"])), shown(ends["high"])
    return low if low == high else f"{low} to {high}"


def moment(at: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def describe_failure(failure: Json) -> str:
    """The most frequent message of failed rows, how many they are, and where the first one comes from."""
    rows = f"{failure['rows']:,} rows, the first from" if failure["rows"] > 1 else "1 row, from"
    return f"{failure['what']} ({rows} {failure['first']})"
