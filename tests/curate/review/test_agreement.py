"""Agreement between annotators, and their accuracy on gold rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curate.argilla.push import draw_batch
from curate.review.agreement import Agreement, Measure, _alpha, _cohen, _fleiss, _measure_with_interval, agreement
from curate.review.gold import accuracies, read_gold
from curate.review.population import read_population
from schemas.errors import InputError
from schemas.project import Project
from schemas.reviews import Review
from schemas.store import Store
from tests.curate.review.review_project import SCOPE, fill, project

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: nominal data, four observers, twelve
# units, missing answers; alpha = 0.743. The five categories stand for sets of reasons here.
OBSERVERS = {
    "a": "1 2 3 3 2 1 4 1 2 . . .",
    "b": "1 2 3 3 2 2 4 1 2 5 . 3",
    "c": ". 3 3 3 2 3 4 2 2 5 1 .",
    "d": "1 2 3 3 2 4 4 1 2 5 1 .",
}


def verdicts(table: dict[str, str]) -> dict[str, list[Review]]:
    """Reviews from a table with one letter per row: a(ccept), r(eject), e(dit), or a dot for none."""
    words = {"a": "accept", "r": "reject", "e": "edit"}
    reviews: dict[str, list[Review]] = {}
    for reviewer, line in table.items():
        for row, letter in enumerate(line.split()):
            if letter != ".":
                review = Review.model_validate({"pair_id": f"p{row}", "reviewer": reviewer, "decision": words[letter]})
                reviews.setdefault(f"p{row}", []).append(review)
    return reviews


def measure(agreements: list[Agreement], name: str, question: str = "verdict") -> list[Agreement]:
    return [one for one in agreements if one.measure == name and one.question == question]


def value(of: Measure, kinds: list[tuple[str, ...]], times: Sequence[int]) -> float | None:
    """The value of a measure for this many rows of each kind."""
    rows = Counter(kind for kind, number in zip(kinds, times, strict=True) for _ in range(number))
    return _measure_with_interval("", "", (), rows, of).value


def test_alpha_is_krippendorffs_published_value() -> None:
    """The published example with missing answers gives 0.743."""
    units = [
        tuple(line.split()[unit] for line in OBSERVERS.values() if line.split()[unit] != ".") for unit in range(12)
    ]
    assert value(_alpha, [unit for unit in units if len(unit) > 1], [1] * 11) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.slow
def test_measures_are_those_of_the_packages() -> None:
    """Alpha equals that of `krippendorff`, the kappas those of `statsmodels`, for many counts of kinds of row."""
    import krippendorff
    from statsmodels.stats import inter_rater

    draw = np.random.default_rng(3)
    kinds = [("a", "a"), ("a", "r"), ("e", "r"), ("r", "a"), ("r", "r")]
    unequal = [("a", "a"), ("a", "a", "r"), ("e", "r"), ("a", "e", "r", "r"), ("r", "r")]
    for sample in draw.multinomial(60, [0.3, 0.1, 0.1, 0.2, 0.3], size=20):
        for rows in (kinds, unequal):
            table = [[kind.count(answer) for answer in "aer"] for kind in rows]
            counts = np.repeat(np.array(table), sample, axis=0)
            expected = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
            assert value(_alpha, rows, sample) == pytest.approx(expected)
        counts = np.repeat(np.array([[kind.count(answer) for answer in "aer"] for kind in kinds]), sample, axis=0)
        assert value(_fleiss, kinds, sample) == pytest.approx(inter_rater.fleiss_kappa(counts))
        square = np.zeros((3, 3))
        for (one, other), times in zip(kinds, sample, strict=True):
            square["aer".index(one), "aer".index(other)] += times
        assert value(_cohen, kinds, sample) == pytest.approx(inter_rater.cohens_kappa(square, return_results=False))


@pytest.mark.slow
def test_fifty_annotators_and_two_thousand_reasons_are_measured_without_pairs() -> None:
    """With more than ten annotators only alpha and Fleiss' kappa remain: 1,225 pairs of annotators with 2,000 resamples
    for each reason took hours."""
    reviews = {
        f"p{row}": [
            Review(pair_id=f"p{row}", reviewer=f"n{(row + at) % 50}", decision="reject", reasons=(f"r{row // 2}",))
            for at in range(2)
        ]
        for row in range(4_000)
    }
    measures = agreement(reviews)
    assert {one.measure for one in measures} == {"Krippendorff's alpha", "Fleiss' kappa"}
    assert len(measures) == 2 * 2_001
    assert measure(measures, "Krippendorff's alpha", "reason r7")[0].rows == 4_000


def test_kappa_is_the_textbook_value() -> None:
    """20 rows accepted by both, 15 rejected by both, 5 and 10 with different verdicts: agreement 0.70, by chance 0.50,
    kappa 0.40."""
    ann = ["a"] * 25 + ["r"] * 25
    bob = ["a"] * 20 + ["r"] * 5 + ["a"] * 10 + ["r"] * 15
    measures = agreement(verdicts({"ann": " ".join(ann), "bob": " ".join(bob)}))
    (kappa,) = measure(measures, "Cohen's kappa")
    assert kappa.value == pytest.approx(0.4)
    assert kappa.agreed == pytest.approx(0.7)
    assert kappa.annotators == ("ann", "bob")
    assert kappa.low is not None
    assert kappa.high is not None
    assert kappa.low == pytest.approx(0.108, abs=0.01)  # of 50 rows, 17.9 to 44.6 % disagree (Clopper and Pearson)
    assert kappa.high == pytest.approx(0.642, abs=0.01)
    assert measure(measures, "Fleiss' kappa") == []


def test_every_pair_of_annotators_has_its_kappa() -> None:
    """Of four annotators, one of whom answered nothing: three kappas on the rows of each pair, one Fleiss' kappa on the
    rows that all three answered, and one alpha on the rows with at least two answers."""
    measures = agreement(
        verdicts({"ann": "a a r r a r", "bob": "a a r r r r", "cid": "a r r . a r", "dan": ". . . . . ."})
    )
    assert [k.annotators for k in measure(measures, "Cohen's kappa")] == [
        ("ann", "bob"),
        ("ann", "cid"),
        ("bob", "cid"),
    ]
    (fleiss,) = measure(measures, "Fleiss' kappa")
    assert fleiss.rows == 5
    (alpha,) = measure(measures, "Krippendorff's alpha")
    assert alpha.rows == 6


def test_reasons_are_questions_of_their_own() -> None:
    """A reason on which both annotators agree and one that only one gives: agreement is reported for each, and its
    interval claims no certainty from ten rows. Resampled rows gave "0.00 to 0.00", or no interval."""
    reviews = {
        f"p{row}": [
            Review(pair_id=f"p{row}", reviewer="ann", decision="reject", reasons=("long",) if row % 2 else ()),
            Review(pair_id=f"p{row}", reviewer="bob", decision="reject", reasons=("long", "odd") if row % 2 else ()),
        ]
        for row in range(10)
    }
    measures = agreement(reviews)
    assert measure(measures, "Cohen's kappa", "reason long")[0].value == pytest.approx(1)
    assert measure(measures, "Cohen's kappa", "reason odd")[0].value == pytest.approx(0)
    (agreed,), (odd,) = (measure(measures, "Cohen's kappa", f"reason {reason}") for reason in ("long", "odd"))
    assert (agreed.low, agreed.high) == (pytest.approx(0.383, abs=0.01), 1)  # 0 of 10 rows differ: at most 30.8 %
    assert odd.low == pytest.approx(-0.63, abs=0.01)
    assert odd.high == pytest.approx(0.63, abs=0.01)


@pytest.mark.slow
def test_the_interval_of_kappa_holds_for_few_rows_and_a_rare_answer() -> None:
    """20 and 60 rows, of which each annotator rejects a tenth independently of the other (kappa 0) or mostly the same
    ones (0.4): the interval holds in at least 95 % of draws. Percentiles of resampled rows held in 78 % and 64 %."""
    draw = np.random.default_rng(4)
    kinds = [("a", "a"), ("a", "r"), ("r", "a"), ("r", "r")]
    for rows, kappa in ((20, 0.0), (20, 0.4), (60, 0.0), (60, 0.4)):
        apart = 0.09 * (1 - kappa)
        chances = (0.9 - apart, apart, apart, 0.1 - apart)
        measures = [
            _measure_with_interval("", "", (), +Counter(dict(zip(kinds, times, strict=True))), _cohen)
            for times in draw.multinomial(rows, chances, size=300).tolist()
        ]
        limits = [(one.low, one.high) for one in measures if one.low is not None and one.high is not None]
        assert sum(low <= kappa <= high for low, high in limits) >= 0.95 * len(limits)


def test_without_variety_a_measure_is_undefined_not_perfect() -> None:
    """If everybody accepts everything, agreement cannot be distinguished from chance, so there is no value."""
    (alpha, kappa) = agreement(verdicts({"ann": "a a a", "bob": "a a a"}))
    assert alpha.value is alpha.low is kappa.value is kappa.high is None
    assert alpha.agreed == 1


def test_rows_with_a_single_answer_give_no_agreement() -> None:
    """Without overlap there is no agreement to measure."""
    assert agreement(verdicts({"ann": "a r .", "bob": ". . a"})) == []


@pytest.mark.slow
def test_accuracy_on_gold_is_measured_for_each_annotator(tmp_path: Path) -> None:
    """Right answers over answered gold rows, with an interval, per annotator."""
    items = read_gold(project(tmp_path))
    good, bad = (item.pair.id for item in items)
    reviews = {
        good: [Review(pair_id=good, reviewer=name, decision="accept") for name in ("ann", "bob")],
        bad: [
            Review(pair_id=bad, reviewer="ann", decision="reject"),
            Review(pair_id=bad, reviewer="bob", decision="edit"),
        ],
    }
    ann, bob = accuracies(items, reviews)
    assert (ann.reviewer, ann.right, ann.answered, ann.value) == ("ann", 2, 2, 1)
    assert (bob.reviewer, bob.right, bob.answered) == ("bob", 1, 2)
    assert 0.15 < ann.low < 0.2
    assert ann.high == 1


@pytest.mark.slow
def test_gold_item_keeps_its_id_in_another_order(tmp_path: Path) -> None:
    """With another order, a new item at the top or another system prompt, nobody is asked the same item again, and
    existing answers still count."""
    project_ = project(tmp_path)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        draw_batch(project_, store, read_population(project_, store, [SCOPE]))
        before = {item.pair.output: item.pair.id for item in read_gold(project_, store)}
        assert set(before.values()) == {id_ for id_, why in store.sampled().items() if why[0].reason == "gold"}
        file = tmp_path / "gold.jsonl"
        new = '{"input": "a new cat", "output": "A new cat is in the house.", "verdict": "accept"}\n'
        file.write_text(new + "".join(reversed(file.read_text().splitlines(keepends=True))))
        task = project_.spec.task.model_copy(update={"system": "Rewrite it."})
        project_ = Project(project_.folder, project_.spec.model_copy(update={"task": task}))
        after = {item.pair.output: item.pair.id for item in read_gold(project_, store)}
        assert set(after.items()) > set(before.items())
        assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    "line",
    ['{"simple": "x"}', "nonsense", '{"simple": "x", "enhanced": "y", "verdict": "maybe"}', "[1]"],
)
def test_invalid_gold_file_error_names_the_line(tmp_path: Path, line: str) -> None:
    """The error names the line and has a fix; a missing file is an error too."""
    project_ = project(tmp_path)
    (tmp_path / "gold.jsonl").write_text('{"simple": "x", "enhanced": "y", "verdict": "edit"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"gold\.jsonl:2") as caught:
        read_gold(project_)
    assert caught.value.fix
    (tmp_path / "gold.jsonl").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_gold(project_)
