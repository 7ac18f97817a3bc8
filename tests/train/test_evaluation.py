"""What is concluded from outputs: shares, differences, examples chosen blindly, and tables that show all of it."""

from __future__ import annotations

from schemas.records import Usage
from train.evaluation import Example, Output, compare, pick_examples, summarise


def output(
    rung: str, seed_id: str, sample: int, strict: bool | None, *, text: str = "a b", answered: bool = True
) -> Output:
    return Output(
        rung=rung,
        mode="sampled",
        seed_id=seed_id,
        sample=sample,
        answered=answered,
        text=text if answered else "",
        finish="stop",
        words=len(text.split()),
        seconds=1.0,
        checks={"a": strict, "b": True} if answered else {},
        strict=strict if answered else None,
        key=f"{rung}-{seed_id}-{sample}",
    )


def test_not_scored_and_empty_are_counted_and_never_pass() -> None:
    """They stay in the denominator, so a crash can only make a rung look worse; what never came is left out."""
    outputs = [
        output("tuned", "s1", 0, True),
        output("tuned", "s1", 1, None),
        output("tuned", "s2", 0, False, text=""),
        output("tuned", "s2", 1, None, answered=False),
    ]
    found = summarise(outputs, Usage(completion_tokens=9), ("a", "b"), 200, 1)
    assert (found.asked, found.answered, found.passed, found.not_scored, found.empty) == (4, 3, 1, 1, 1)
    assert found.strict is not None
    assert found.strict.estimate == 1 / 3
    assert found.checks == {"a": 1 / 3, "b": 1.0}
    assert found.usage.completion_tokens == 9


def test_a_rung_without_answers_has_no_share() -> None:
    """Nothing is reported as zero that was never measured."""
    found = summarise([output("teacher", "s1", 0, None, answered=False)], Usage(), ("a",), 200, 1)
    assert found.strict is None
    assert found.words is None
    assert found.checks == {}


def test_a_comparison_uses_only_seeds_that_both_answered() -> None:
    """A seed that one side never answered says nothing about the difference."""
    tuned = [output("tuned", "s1", 0, True), output("tuned", "s2", 0, True)]
    base = [output("base", "s1", 0, False), output("base", "s2", 0, None, answered=False)]
    found = compare(tuned, base, 200, 1)
    assert found is not None
    assert (found.a, found.b, found.difference.seeds, found.difference.estimate) == ("tuned", "base", 1, 1.0)
    assert compare(tuned[1:], base[1:], 200, 1) is None


def test_examples_are_drawn_without_looking() -> None:
    """The choice depends on the recorded seed and the list alone, and has no example twice."""
    seeds = [Example(seed_id=f"s{i}", input=str(i)) for i in range(30)]
    chosen = pick_examples(seeds, 10, 17)
    assert chosen == pick_examples(seeds, 10, 17)
    assert chosen != pick_examples(seeds, 10, 18)
    assert len({one.seed_id for one in chosen}) == 10
    assert len(pick_examples(seeds[:3], 10, 17)) == 3
