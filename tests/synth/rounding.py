"""Whether answers are the same up to rounding.

A processor may round a row of a matrix product differently if other rows are beside it: kernels differ in how they
split a sum, and bfloat16 keeps 8 bits. Then a draw close to an edge takes another token, and from there on the texts
differ. So answers are compared token by token up to where they diverge.
"""

from __future__ import annotations

from collections.abc import Sequence

Drawn = tuple[object, float]
"""A token and its reported log-probability."""


def assert_same_but_for_rounding(
    one: Sequence[Sequence[Drawn]], other: Sequence[Sequence[Drawn]], *, tolerance: float, least: float
) -> None:
    """Answer i of `one` is answer i of `other` up to rounding.

    As long as both have the same tokens, log-probabilities differ by at most `tolerance` (nats), and this covers at
    least the share `least` of all tokens. Answers with another seed, prompt or row diverge at once.
    """
    total = alike = 0
    for first, second in zip(one, other, strict=True):
        total += max(len(first), len(second))
        for (token, logprob), (other_token, other_logprob) in zip(first, second, strict=False):
            if token != other_token:
                break
            assert abs(logprob - other_logprob) <= tolerance, f"{token!r}: {logprob} and {other_logprob}"
            alike += 1
    assert total
    assert alike >= least * total, f"{alike} of {total} tokens come before the answers diverge"
