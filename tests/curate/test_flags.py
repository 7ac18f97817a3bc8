"""Flags decide nothing but count in every selection; gates share a pass; rows that only one gate rejects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

import pytest

from curate.curation import curate
from curate.gates.judgement import GateStep, Judgement, flagged, passed, rejected
from curate.pool import Pool
from curate.review.sampling import SamplingRow, targets
from curate.steps import best, duplicates, each, named, scored
from curate.tallies import spec_key_of_gate, tally
from schemas.records import Imported, Pair
from schemas.reviews import Review
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


def test_flagging_gate_rejects_nothing() -> None:
    """A gate set to "flag" keeps every row; its code becomes a flag of the row."""
    rows = {row.pair.output: row for row in judged(each(gate("odd", flags=True))).rows() if row.pair}
    assert all(row.keep for row in rows.values())
    assert {output for output, row in rows.items() if row.flags == ("odd",)} == {o for o in OUTPUTS if "odd" in o}


def test_unflagged_candidate_is_preferred() -> None:
    """Of the candidates of an input, one without a flag is chosen, whatever their scores."""
    preferring = scored(named(lambda one: float("odd" in one.output), "score/odd@1"))
    pool = judged(each(gate("bad")), each(gate("odd", flags=True)), preferring, best(1))
    assert [row.pair.output for row in pool.accepted() if row.pair] == ["good one"]


@pytest.mark.parametrize("odd", ["first", "other"])
def test_unflagged_duplicate_is_kept(odd: str) -> None:
    """Of two duplicates, the one without a flag is kept, whatever their scores and whichever has the smaller id."""
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
    preferring = scored(named(lambda one: float(odd in one.input), "score/odd@1"))
    pool = asyncio.run(curate(Pool.of(twins), [each(gate), preferring, duplicates(0.3)]))
    (row,) = pool.accepted()
    assert row.pair is not None
    assert odd not in row.pair.input


def test_consecutive_gates_share_one_pass_over_the_rows() -> None:
    """Every gate judges the first rows, each row once, before any gate judges the later ones; a second run judges
    nothing."""
    seen: list[str] = []
    steps = [each(gate("odd", seen)), each(gate("bad", seen))]
    outputs = [f"row {at}" for at in range(300)]
    pool = asyncio.run(curate(Pool.of(pairs(outputs)), steps))
    assert sorted(seen) == sorted(f"{word}:{output}" for output in outputs for word in ("odd", "bad"))
    assert seen.index("bad:row 0") < seen.index("odd:row 299")
    asyncio.run(curate(pool, steps))
    assert len(seen) == 2 * len(outputs)


def test_step_between_gates_sees_the_rows_left_by_earlier_gates() -> None:
    """Only consecutive gates share a pass."""
    remaining: list[str] = []

    async def look(pool: Pool):  # type: ignore[no-untyped-def]
        remaining.extend(row.pair.output for row in pool.accepted() if row.pair)
        return
        yield

    judged(each(gate("bad")), named(look, "pool/look@1"), each(gate("odd")))
    assert remaining == ["good one", "odd one", "odd two"]


def test_rows_rejected_by_one_gate_alone_are_counted_and_shown() -> None:
    """A row that two gates reject counts for neither; up to five rows are shown. A gate's key in the spec can be looked
    up."""
    tallied = tally(judged(each(gate("odd")), each(gate("bad"))))
    assert (tallied["gate/odd@1"]["rejected"], tallied["gate/odd@1"]["alone"]) == (3, 2)
    assert (tallied["gate/bad@1"]["rejected"], tallied["gate/bad@1"]["alone"]) == (2, 1)
    by_output = {pair.output: pair.id for pair in pairs()}
    assert set(tallied["gate/odd@1"]["shown"]) == {by_output["odd one"], by_output["odd two"]}
    assert spec_key_of_gate("gate/length@2") == "curate.gates.length"
    assert spec_key_of_gate("gate/must:ar_flag@1") == "curate.gates.must"
    assert spec_key_of_gate("gate/label@1") == "task.labels"


@pytest.mark.parametrize(("decision", "overruled"), [("accept", 1), ("edit", 1), ("reject", 0)])
def test_row_that_reviewers_decided_is_not_up_to_a_gate(
    decision: Literal["accept", "edit", "reject"], overruled: int
) -> None:
    """Another setting of the gate would not change it, so it is not among the rows that the gate alone rejects. What
    reviewers accept or write against the gate is counted."""
    decided = next(pair for pair in pairs() if pair.output == "odd one")
    review = Review(pair_id=decided.id, reviewer="ann", decision=decision, edited="odd text of a person")
    pool = asyncio.run(curate(Pool.of(pairs(), [review]), [each(gate("odd"))]))
    counts = tally(pool)["gate/odd@1"]
    assert (counts["rejected"], counts["alone"], counts.get("overruled", 0)) == (3, 2, overruled)
    assert not {decided.id, *(pair.id for pair in pool.edited)} & {*counts["shown"]}
    copy = Pair(**decided.model_dump(exclude={"id", "seed_id"}), seed_id="another")
    counts = tally(asyncio.run(curate(Pool.of([*pairs(), copy], [review]), [each(gate("odd"))])))["gate/odd@1"]
    assert (counts["rejected"], counts["alone"]) == (4, 3 if decision == "accept" else 2)


def test_flagged_rows_are_sampled_for_review() -> None:
    """Flagged rows come first among borderline rows, even without scores."""
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
def test_step_name_is_parsed_into_its_parts(by: str, parts: tuple[str, ...], name: str) -> None:
    """A gate's name has its key in the spec, its pattern or function, and its version."""
    assert (By.read(by), By.read(by).name) == (parts, name)
