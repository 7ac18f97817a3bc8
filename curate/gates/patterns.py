"""Gates given in the spec as regular expressions: `must` and `must_not`."""

from __future__ import annotations

import re

from curate.gates.formatted import has_mark, without_formatting
from curate.gates.judgement import Judgement, crashed, passed, quote, rejected
from schemas.records import Pair
from schemas.time_limit import CheckTimedOut, search


def must(pair: Pair, name: str, pattern: re.Pattern[str]) -> Judgement:
    """The output contains a match of `pattern`. Reason: `missing:<name>`.

    The pattern is searched as written, with the flags and anchors of the spec (`(?i)`, `\\A`, `\\Z`). A row on which
    the search takes too long waits (`schemas.time_limit`). A match in the text without markup that only formats it
    counts, too.
    """
    try:
        match = _search(pattern, pair, f"must '{name}'", as_markdown=True)
    except CheckTimedOut as late:
        return crashed(str(late))
    if match:
        return passed(f"found {quote(match[0])}" if match[0].strip() else "found")
    end = quote(pair.output[-60:])
    return rejected(f"missing:{name}", f"nothing matches {quote(pattern.pattern)}; the text ends with {end}")


def must_not(pair: Pair, name: str, pattern: re.Pattern[str]) -> Judgement:
    """The output contains no match of `pattern`. Reason: `present:<name>`, with the match.

    An item of a list in HTML has no hyphen, and code no backtick: a pattern against Markdown does not object to them.
    """
    try:
        match = _search(pattern, pair, f"must_not '{name}'", as_markdown=False)
    except CheckTimedOut as late:
        return crashed(str(late))
    if match:
        return rejected(f"present:{name}", f"found {quote(match[0])} at character {match.start() + 1}")
    return passed("not found")


def _search(pattern: re.Pattern[str], pair: Pair, what: str, *, as_markdown: bool) -> re.Match[str] | None:
    """Search an output, and if nothing matches, the text alone of one in markup. Raises CheckTimedOut."""
    if (match := search(pattern, pair.output, what, describe_row(pair))) or not has_mark(pair.output):
        return match
    text = without_formatting(pair.output, as_markdown=as_markdown)
    return search(pattern, text, what, describe_row(pair)) if text != pair.output else None


def describe_row(pair: Pair) -> str:
    """Describe a row in a message: its id as commands accept it, and the start of its input."""
    return f"{pair.id[:8]} ({quote(pair.input, 30)})"
