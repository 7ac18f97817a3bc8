"""Selection reports what it changed and how much length explains; on request, length does not decide."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.curation import curate
from curate.pool import Pool
from curate.selection.best import LengthFit, in_words, selection_summary
from curate.steps import NamedStep, best, named, scored
from schemas.records import Imported, Pair
from schemas.reviews import Review


def pair(input: str, output: str) -> Pair:
    return Pair(seed_id=input, input=input, output=output, system="", origin=Imported(source="t"))


def by_length(bonus: str = "gem", worth: float = 2.0) -> NamedStep:
    """Prefers longer outputs, and those that contain `bonus` by `worth`."""
    return scored(named(lambda p: len(p.output) / 20 + worth * (bonus in p.output), "score/long@1"))


def rows(inputs: int, seed: int = 1) -> list[Pair]:
    """Four candidates per input, of all lengths; one of them contains "gem"."""
    rng, pairs = random.Random(seed), []
    for number in range(inputs):
        gem = rng.randrange(4)
        for sample in range(4):
            text = " ".join(rng.choices(("red", "blue", "green"), k=rng.randint(4, 60)))
            pairs.append(pair(f"input {number}", f"{text} {'gem' if sample == gem else 'mud'} {sample}"))
    return pairs


def kept(pool: Pool) -> list[str]:
    return [row.pair.output for row in pool.accepted() if row.pair]


def test_length_control_removes_the_effect_of_length_from_selection() -> None:
    """A scorer that prefers length hides the better candidates; the residual of its score reveals them."""
    plain = asyncio.run(curate(Pool.of(rows(40)), [by_length(), best(1)]))
    controlled = asyncio.run(curate(Pool.of(rows(40)), [by_length(), best(1, length_control=True)]))
    by_score, by_residual = (sum("gem" in text for text in kept(pool)) for pool in (plain, controlled))
    assert by_residual > by_score + 5
    assert by_residual > 30
    assert [row.score for row in plain.rows()] == [row.score for row in controlled.rows()], "scores do not change"


def test_selection_reports_what_it_changed() -> None:
    """Rows left out, inputs where other rows than the first are kept, and the share of the score that length
    explains."""
    pool = asyncio.run(curate(Pool.of(rows(40)), [by_length(worth=0.0), best(1)]))
    selection = selection_summary(pool, 1)
    assert selection is not None
    assert (selection["inputs"], selection["left_out"]) == (40, 120)
    assert 20 < selection["not_first"] < 40
    assert selection["length_r_squared"] > 0.8
    assert selection["length_slope"] > 0
    words = in_words(selection)
    assert words.startswith("keeping the best left out 120 rows of 40 inputs with more candidates")
    assert "(longer is better)" in words
    flat = asyncio.run(curate(Pool.of(rows(5)), [scored(named(lambda p: 1.0, "score/flat@1")), best(1)]))
    unselective = selection_summary(flat, 1)
    assert unselective is not None
    assert in_words(unselective).endswith("; length explains 0% of the score within inputs")


def test_selection_that_changed_nothing_says_so() -> None:
    """The best four of four candidates is no selection, whatever their scores."""
    pool = asyncio.run(curate(Pool.of(rows(5)), [by_length(), best(4)]))
    selection = selection_summary(pool, 4)
    assert selection is not None
    assert selection["left_out"] == 0
    assert in_words(selection) == "selection changed nothing: no input had more candidates left than the best 4"
    assert selection_summary(Pool.of(rows(1)), 1) is None


def test_more_candidates_than_the_best_that_reviewers_accepted_are_counted() -> None:
    """Reviewers had accepted all four candidates of some inputs, and the sentence said that no input had more than two
    left."""
    pairs = rows(5)
    reviews = [Review(pair_id=pair.id, reviewer="kim", decision="accept", seconds=3) for pair in pairs]
    selection = selection_summary(asyncio.run(curate(Pool.of(pairs, reviews), [by_length(), best(1)])), 1)
    assert selection is not None
    more = len(pairs) - len({pair.seed_id for pair in pairs})
    assert (selection["left_out"], selection["by_people"]) == (0, more)
    assert in_words(selection) == (
        f"selection left out nothing: {more} rows beyond the best of an input stay, because reviewers accepted them"
    )


@example([[("000000", float(at == 1)) for at in range(5)]], 0.0)  # their mean is not exactly their length
@given(
    st.lists(st.lists(st.tuples(st.text(max_size=30), st.floats(-50, 50)), max_size=5), max_size=8),
    st.floats(-5, 5),
)
def test_residuals_are_independent_of_length(inputs: list[list[tuple[str, float]]], shift: float) -> None:
    """The fit of the residuals is flat, whatever constant is added to all scores of an input."""
    fit = LengthFit.of(inputs)
    assert 0 <= fit.r_squared <= 1
    residuals = [[(text, fit.residual(score, text) + shift * at) for text, score in of] for at, of in enumerate(inputs)]
    again = LengthFit.of(residuals)
    assert again.slope == pytest.approx(0, abs=1e-6)


def test_length_differences_between_inputs_explain_nothing() -> None:
    """If length depends on the input and not on the candidate, length explains none of the score."""
    of_inputs = [[("x" * 10 * n, float(n)), ("y" * 10 * n, n + 1.0)] for n in range(1, 9)]
    assert LengthFit.of(of_inputs).r_squared == 0


def test_fit_counts_only_inputs_with_several_candidates() -> None:
    """A single candidate says nothing about length within its input, so it is not one of the rows of the fit."""
    fit = LengthFit.of([[("alone", 1.0)], [("short", 1.0), ("much longer", 2.0)]])
    assert (fit.rows, fit.inputs) == (2, 1)
