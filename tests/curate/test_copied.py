"""How often a worked example said again is seen, and what is taken for one: on good rows of many languages."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from curate.gates.copied_examples import copied_example
from curate.gates.words import words
from schemas.records import Generated, Imported, Pair, Sampling
from tests.curate.test_gate_rates import Row, rows

SHOWN = 8  # worked examples in a prompt
WRITTEN = Generated(generator="backward", prompt="simplify/v1@0", teacher="t", sampling=Sampling(), calls=(("k", 1),))


def pair(row: Row, **other: str) -> Pair:
    texts = {"input": row["input"], "output": row["output"], **other}
    origin = WRITTEN if "input" in other else Imported(source="rows")
    return Pair(seed_id="s", system="", origin=origin, **texts)


@pytest.mark.slow
def test_a_copy_of_an_example_is_seen_and_an_answer_of_ones_own_is_none() -> None:
    """Eight other rows of the same task and language are the examples: a row that says the output or the input of one
    of them is seen in 99 of 100 cases, and of the rows as they are none is taken for a copy. Rows of two sets with one
    answer, a regex, are no such examples."""
    rng, alike = random.Random(7), defaultdict[tuple[str, str], list[Row]](list)
    for row in rows("good"):
        if row["kind"] in ("rewrite", "reply", "translate", "free"):
            alike[row["kind"], row.get("to") or row["language"]].append(row)
    wrong, seen = list[Row](), list[bool]()
    for (_, language), every in alike.items():
        for row in every if len(every) > SHOWN else ():
            different = [other for other in every if words(other["output"]) != words(row["output"])]
            others = rng.sample(different, SHOWN)
            shown = [(other["input"], other["output"]) for other in others]
            given, answer = rng.choice(shown)
            wrong += [row] if copied_example(pair(row), shown, language) else []
            seen += [copied_example(pair(row, output=answer), shown, language) is not None]
            seen += [copied_example(pair(row, input=given), shown, language) is not None]
    assert len(seen) > 4_000
    assert sum(seen) >= 0.99 * len(seen)
    assert wrong == []
