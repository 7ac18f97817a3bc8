"""Flags decide nothing and are seen wherever something is chosen; gates share a pass; what one gate alone does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from curate.curation import curate
from curate.gates.judgement import GateStep, Judgement, flagged, passed, rejected
from curate.pool import Pool
from curate.review.sampling import SamplingRow, targets
from curate.steps import best, duplicates, each, named, scored
from curate.tallies import spec_key_of_gate, tally
from schemas.records import Imported, Pair
from schemas.step_names import By

OUTPUTS = ("good one", "odd one", "bad and odd", "bad", "odd two")


def pairs(outputs: Sequence[str] = OUTPUTS) -> list[Pair]:
    return [
        Pair(seed_id="s", input="x", output=output, system="", origin=Imported(source=f"t:{at}"))
        for at, output in enumerate(outputs)
    ]


def gate(word: str, seen: list[str] | None = None, *, flags: bool = False) -> GateStep:
    def judge(pair: Pair) -> Judgement:
        if seen is not None:
            seen.append(f"{word}:{pair.output}")
        return rejected(word, "it says so") if word in pair.output else passed()

    return GateStep(f"gate/{word}@1", word, flagged(judge) if flags else judge, flags)


def judged(*steps: object) -> Pool:
    return asyncio.run(curate(Pool.of(pairs()), steps))  # type: ignore[arg-type]


def test_a_flag_keeps_the_row_and_stands_beside_it() -> None:
    """A gate set to "flag" rejects nothing; its code is a flag of the row and of the verdict."""
    rows = {row.pair.output: row for row in judged(each(gate("odd", flags=True))).rows() if row.pair}
    assert all(row.keep for row in rows.values())
    assert {output for output, row in rows.items() if row.flags == ("odd",)} == {o for o in OUTPUTS if "odd" in o}


def test_a_flagged_row_is_chosen_last() -> None:
    """Of the candidates of an input one without a flag is best, whatever their scores."""

    pool = judged(each(gate("bad")), each(gate("odd", flags=True)), best(1))
    assert [row.pair.output for row in pool.accepted() if row.pair] == ["good one"]


@pytest.mark.parametrize("odd", ["first", "other"])
def test_of_rows_alike_the_one_without_a_flag_stays(odd: str) -> None:
    """Whatever their scores, and whichever has the smaller id."""
    twins = [
        Pair(
            seed_id=seed,
            input=f"a fox in deep snow at night, {seed}",
            output="a red fox in snow",
            system="",
            origin=Imported(source="t"),
        )
        for seed in ("first", "other")
    ]
    gate = GateStep(
        "gate/odd@1", odd, flagged(lambda one: rejected("odd", "it is") if odd in one.input else passed()), True
    )
    liked = scored(named(lambda one: float(odd in one.input), "score/odd@1"))
    pool = asyncio.run(curate(Pool.of(twins), [each(gate), liked, duplicates(0.3)]))
    (row,) = pool.accepted()
    assert row.pair is not None
    assert odd not in row.pair.input


def test_gates_in_a_row_share_one_pass_over_the_rows() -> None:
    """Every gate is asked about some rows, each row once, before those behind them are; a second run asks nothing."""
    seen: list[str] = []
    steps = [each(gate("odd", seen)), each(gate("bad", seen))]
    outputs = [f"row {at}" for at in range(300)]
    pool = asyncio.run(curate(Pool.of(pairs(outputs)), steps))
    assert sorted(seen) == sorted(f"{word}:{output}" for output in outputs for word in ("odd", "bad"))
    assert seen.index("bad:row 0") < seen.index("odd:row 299")
    asyncio.run(curate(pool, steps))
    assert len(seen) == 2 * len(outputs)


def test_a_step_between_gates_still_sees_what_those_before_it_left() -> None:
    """Only gates that follow each other are asked together."""
    left: list[str] = []

    async def look(pool: Pool):  # type: ignore[no-untyped-def]
        left.extend(row.pair.output for row in pool.accepted() if row.pair)
        return
        yield

    judged(each(gate("bad")), named(look, "pool/look@1"), each(gate("odd")))
    assert left == ["good one", "odd one", "odd two"]


def test_what_one_gate_alone_rejects_is_counted_with_rows_and_key() -> None:
    """A row that two gates reject is neither's; up to five rows are shown; the key is that of the spec."""
    tallied = tally(judged(each(gate("odd")), each(gate("bad"))))
    assert (tallied["gate/odd@1"]["rejected"], tallied["gate/odd@1"]["alone"]) == (3, 2)
    assert (tallied["gate/bad@1"]["rejected"], tallied["gate/bad@1"]["alone"]) == (2, 1)
    by_output = {pair.output: pair.id for pair in pairs()}
    assert set(tallied["gate/odd@1"]["shown"]) == {by_output["odd one"], by_output["odd two"]}
    assert spec_key_of_gate("gate/length@2") == "curate.gates.length"
    assert spec_key_of_gate("gate/must:ar_flag@1") == "curate.gates.must"
    assert spec_key_of_gate("gate/label@1") == "task.labels"


def test_what_is_flagged_comes_to_review() -> None:
    """Flagged rows are the first of those at the border, also where nothing is scored."""
    rows = [SamplingRow(f"p{n}", passed=True, accepted=True, flagged=n == 7) for n in range(20)]
    assert targets(rows)["border"] == ("p7",)
    assert "border" not in targets([row for row in rows if not row.flagged])


@pytest.mark.parametrize(
    ("by", "parts", "name"),
    [
        ("gate/length@2", ("gate", "length", "", "2"), "length"),
        ("gate/must:ar_flag@1", ("gate", "must", "ar_flag", "1"), "must:ar_flag"),
        ("gate/user:rules:polite@1", ("gate", "user", "rules:polite", "1"), "user:rules:polite"),
    ],
)
def test_the_name_of_a_step_has_a_key_and_what_it_is_for(by: str, parts: tuple[str, ...], name: str) -> None:
    """What a gate's name says of its key in the spec, its pattern or function and its version is read in one way."""
    assert (By.read(by), By.read(by).name) == (parts, name)
