"""How often a repeated worked example is recognised, and what is mistaken for one: on good rows in many languages."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from curate.gates.repeated_parts import copied_example
from curate.gates.words import words
from schemas.records import Generated, Imported, Pair, Sampling
from tests.curate.gates.test_gate_rates import Row, rows

SHOWN = 8  # worked examples in a prompt
WRITTEN = Generated(generator="backward", prompt="simplify/v1@0", teacher="t", sampling=Sampling(), calls=(("k", 1),))


def pair(row: Row, **other: str) -> Pair:
    texts = {"input": row["input"], "output": row["output"], **other}
    origin = WRITTEN if "input" in other else Imported(source="rows")
    return Pair(seed_id="s", system="", origin=origin, **texts)


@pytest.mark.slow
def test_copied_example_is_recognised_and_no_original_row_is() -> None:
    """Eight other rows of the same task and language are the examples. A row that repeats the output or input of one is
    recognised in 99 of 100 cases, and no unchanged row is taken for a copy. Rows with the same answer, such as a regex,
    are not used as examples."""
    rng, comparable = random.Random(7), defaultdict[tuple[str, str], list[Row]](list)
    for row in rows("good"):
        if row["kind"] in ("rewrite", "reply", "translate", "free"):
            comparable[row["kind"], row.get("to") or row["language"]].append(row)
    wrong, recognised = list[Row](), list[bool]()
    for (_, language), every in comparable.items():
        for row in every if len(every) > SHOWN else ():
            different = [other for other in every if words(other["output"]) != words(row["output"])]
            others = rng.sample(different, SHOWN)
            shown = [(other["input"], other["output"]) for other in others]
            given, answer = rng.choice(shown)
            wrong += [row] if copied_example(pair(row), shown, language) else []
            recognised += [copied_example(pair(row, output=answer), shown, language) is not None]
            recognised += [copied_example(pair(row, input=given), shown, language) is not None]
    assert len(recognised) > 4_000
    assert sum(recognised) >= 0.99 * len(recognised)
    assert wrong == []
