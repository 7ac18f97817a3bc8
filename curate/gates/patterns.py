"""Gates given as regular expressions in the spec: `must` and `must_not`."""

from __future__ import annotations

import re

from curate.gates.judgement import Judgement, passed, quote, rejected
from schemas.records import Pair


def must(pair: Pair, name: str, pattern: re.Pattern[str]) -> Judgement:
    """`pattern` is found somewhere in the output. Reason: `missing:<name>`.

    The pattern is searched as written: flags and anchors are the spec's (`(?i)`, `\\A`, `\\Z`). Not covered: a pattern
    that takes exponential time; `re` cannot be stopped.
    """
    if match := pattern.search(pair.output):
        return passed(f"found {quote(match[0])}" if match[0].strip() else "found")
    end = quote(pair.output[-60:])
    return rejected(f"missing:{name}", f"nothing matches {quote(pattern.pattern)}; the text ends with {end}")


def must_not(pair: Pair, name: str, pattern: re.Pattern[str]) -> Judgement:
    """`pattern` is found nowhere in the output. Reason: `present:<name>`, with what was found."""
    if match := pattern.search(pair.output):
        return rejected(f"present:{name}", f"found {quote(match[0])} at character {match.start() + 1}")
    return passed("not found")
