"""The acceptance rate, its interval, and the cost of a narrower one."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import hypergeom

from bench.review.coverage import DESIGNS, GOOD, PROMISE, RULES, SETTINGS, SIZES, Design, exact, measure, watched
from curate.review.estimate import Stratum, acceptance_rate, advice, binomial, seconds_per_item


@pytest.mark.parametrize("population", [10, 60, 300])
@pytest.mark.parametrize("size", [5, 10])
def test_interval_of_a_plain_sample_has_exact_coverage(population: int, size: int) -> None:
    """For every possible number of good rows, the probability that the interval covers it, summed exactly over all
    outcomes, is at least 95 %: also near 0 and 1, and at sample sizes where approximations fail."""
    shares = [acceptance_rate([Stratum(population, size, k)]) for k in range(size + 1)]
    for good in range(population + 1):
        covered = sum(
            hypergeom.pmf(k, population, good, size)
            for k, share in enumerate(shares)
            if share is not None and share.low - 1e-9 <= good / population <= share.high + 1e-9
        )
        assert covered >= 0.95 - 1e-9


def test_a_census_has_no_interval() -> None:
    """If every row was answered, the share is known exactly."""
    share = acceptance_rate([Stratum(10, 10, 7), Stratum(5, 5, 5)])
    assert share is not None
    assert share.low == share.value == share.high == pytest.approx(12 / 15)


@pytest.mark.slow
def test_interval_of_two_strata_has_the_promised_coverage() -> None:
    """Summed over every outcome, the interval of two strata covers the true share as often as promised, including where
    a stratum is small or has few answers; bench/review/coverage.py runs the whole grid."""
    for coverage, setting in exact(((30, 2), (30, 5), (60, 3), (500, 5))):
        assert coverage >= PROMISE, setting


@pytest.mark.parametrize("good", [0, 4, 20, 33, 39, 40])
def test_anytime_interval_of_the_gate_holds_at_all_looks(good: int) -> None:
    """Looked at after every answer, it excludes the true share at any look in at most 5 % of reviews: computed exactly,
    over every order of 40 rows."""
    size, chances, missed = 40, {0: 1.0}, 0.0
    for reviewed in range(1, size + 1):
        after: dict[int, float] = {}
        for accepted, chance in chances.items():
            share = (good - accepted) / (size - reviewed + 1)
            for more, likely in ((1, share), (0, 1 - share)):
                if likely > 0:
                    after[accepted + more] = after.get(accepted + more, 0.0) + chance * likely
        chances = {}
        for accepted, chance in after.items():
            estimate = acceptance_rate([Stratum(size, reviewed, accepted)], anytime=True)
            if estimate and not estimate.low - 1e-9 <= good / size <= estimate.high + 1e-9:
                missed += chance
            else:
                chances[accepted] = chance
    assert missed <= 0.05


def test_share_is_weighted_by_the_population_of_each_stratum() -> None:
    """30 answers about 900 rows count for more than 30 about 100: Horvitz-Thompson with population / reviewed."""
    share = acceptance_rate([Stratum(100, 30, 30), Stratum(900, 30, 15)])
    assert share is not None
    assert share.value == pytest.approx(0.1 * 1 + 0.9 * 0.5)
    assert share.low < share.value < share.high
    assert share.effective < 60


def test_strata_without_rejections_are_not_certain() -> None:
    """Even if every answer is good, there may be bad rows."""
    share = acceptance_rate([Stratum(500, 10, 10), Stratum(500, 10, 10)])
    assert share is not None
    assert share.value == share.high == 1
    assert share.low < 0.9


def test_too_few_answers_give_no_estimate() -> None:
    """A stratum with one answer gives None instead of a number."""
    assert acceptance_rate([]) is None
    assert acceptance_rate([Stratum(100, 1, 1)]) is None
    assert acceptance_rate([Stratum(100, 50, 40), Stratum(100, 1, 1)]) is None
    assert acceptance_rate([Stratum(100, 50, 40), Stratum(0, 0, 0)]) is not None


def test_the_binomial_interval_is_clopper_pearson() -> None:
    """Known values: 0 of 10 and 8 of 10."""
    assert binomial(0, 10) == pytest.approx((0, 0.30850), abs=1e-4)
    assert binomial(8, 10) == pytest.approx((0.44390, 0.97479), abs=1e-4)


def test_review_stops_when_the_interval_is_as_narrow_as_requested() -> None:
    """For a margin of ±5 points 400 answers suffice and 40 do not; the advice names the cost of the next step."""
    narrow = acceptance_rate([Stratum(2_000, 400, 320)])
    wide = acceptance_rate([Stratum(2_000, 40, 32)])
    assert narrow
    assert wide
    stop, proceed = advice(narrow, 0.05, seconds=10), advice(wide, 0.05, seconds=10)
    assert stop.stop
    assert not proceed.stop
    assert str(stop).startswith("stop, or about")
    assert "would buy ±3 points" in str(stop)
    assert "would buy ±5 points" in str(proceed)
    assert proceed.minutes == pytest.approx(proceed.answers * 10 / 60)


def test_forecast_of_the_advice_is_right() -> None:
    """With the number of rows that the advice names, at the same share, the interval is as narrow as promised; with a
    tenth fewer it is not."""
    share = acceptance_rate([Stratum(5_000, 50, 40)])
    assert share
    rows = advice(share, 0.04, seconds=None).rows
    enough = acceptance_rate([Stratum(5_000, 50 + rows, round(0.8 * (50 + rows)))])
    fewer = acceptance_rate([Stratum(5_000, 50 + int(0.9 * rows), round(0.8 * (50 + int(0.9 * rows))))])
    assert enough
    assert fewer
    assert enough.margin_of_error <= 0.0405
    assert fewer.margin_of_error > 0.04


def test_all_answers_per_row_are_included_in_the_minutes() -> None:
    """Overlap and actively chosen rows take time too: twice the answers per row take twice as long."""
    share = acceptance_rate([Stratum(1_000, 50, 40)])
    assert share
    one, two = advice(share, 0.05, seconds=6), advice(share, 0.05, seconds=6, answers_per_row=2.0)
    assert one.rows == two.rows
    assert two.answers == 2 * one.answers
    assert one.minutes
    assert two.minutes == pytest.approx(2 * one.minutes)


def test_unsettled_rows_are_part_of_the_cost() -> None:
    """An interval that is wide only because reviewers disagree gets narrow by settling those rows, by one answer each.
    It was advised that a single answer would do."""
    share = acceptance_rate([Stratum(400, 200, 190)])
    assert share
    wide = replace(share, low=share.low - 0.2)
    one = advice(wide, 0.05, seconds=None, answers_per_row=2.0, left=200, unsettled=50)
    assert (one.rows, one.answers) == (50, 50)
    assert "50 more answers" in str(one)
    assert "1 more answer would" in str(advice(wide, 0.05, seconds=None, left=200, unsettled=1))
    more = advice(share, 0.01, seconds=None, answers_per_row=2.0, left=200, unsettled=50)
    assert more.answers == 50 + 2 * (more.rows - 50)


def test_without_measured_times_there_are_no_minutes() -> None:
    """Without any known time per answer, the advice gives the number of answers only."""
    share = acceptance_rate([Stratum(1_000, 50, 40)])
    assert share
    advised = advice(share, 0.05, seconds=seconds_per_item([None, None]))
    assert advised.minutes is None
    assert "more answers would buy" in str(advised)


def test_long_pause_does_not_change_the_seconds_per_item() -> None:
    """The median is used, because a mean would change."""
    assert seconds_per_item([7, 8, 9, None, 590]) == 8.5
    assert seconds_per_item([]) is None


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_reported_interval_covers_with_simulated_annotators(setting: object) -> None:
    """A short run of bench/review/coverage.py for each sampling setting: of 80 reviews by simulated annotators, no more
    miss than a true coverage of 93.5 % allows (5 standard errors), and the estimate is unbiased."""
    assert isinstance(setting, type(SETTINGS[0]))
    quick = setting._replace(batches=min(setting.batches, 2))
    measured = measure(quick, 80)
    assert measured["coverage"] >= 0.935 - 5 * math.sqrt(0.935 * 0.065 / 80)  # type: ignore[operator]
    assert abs(measured["bias"]) < 0.03  # type: ignore[arg-type]
    assert measured["annotators"] == "simulated"


def test_coverage_of_reviews_that_stop_by_a_rule() -> None:
    """A short run of the benchmark's grid, with every setting once: if all rows are good no interval misses, and
    nowhere do more miss than 30 reviews at the promised coverage allow."""
    rows = list(watched(Design(40, 0.5, 10, 2), 30))
    assert len({(one["good_accepted"], one["good_rest"], one["ended by"]) for one in rows}) == len(rows) == 144
    for one in rows:
        for rate in "coverage passed", "coverage accepted":
            assert one[rate] >= 0.935 - 5 * math.sqrt(0.935 * 0.065 / 30)  # type: ignore[operator]
            if one["good_accepted"] == one["good_rest"] == 1:
                assert one[rate] == 1


def test_simulated_population_would_reveal_a_wrong_estimate() -> None:
    """Counting actively chosen rows as random ones misses the true share in the simulated population, so its coverage
    is evidence."""
    from bench.review.coverage import population

    rows, good = population(SETTINGS[3])
    truth = sum(good.values()) / len(good)
    hard = [row for row in rows if (row.margin or 0) < 0.1 or (row.disagreement or 0) > 0.9]
    chosen = random.Random(1).sample(hard, 60)
    naive = acceptance_rate([Stratum(len(rows), 60, sum(good[row.pair_id] for row in chosen))])
    assert naive
    assert not naive.low <= truth <= naive.high


def test_stored_coverage_figures_cover_every_setting_and_keep_the_promise() -> None:
    """The last full run of bench/review/coverage.py has each setting of the grid once, with 20,000 reviews where
    reviews are drawn. The lowest coverage is the reported minimum, and is at least what is promised."""
    stored = json.loads((Path(__file__).parents[3] / "bench" / "results" / "review.json").read_text())["coverage"]
    assert len(stored["exact"]) == len(SIZES) + len(SIZES) * (len(SIZES) + 1) // 2
    settings = {
        tuple(one[key] for key in (*Design._fields, "good_accepted", "good_rest", "ended by"))
        for one in stored["stopped"]
    }
    assert len(settings) == len(stored["stopped"]) == len(DESIGNS) * len(GOOD) ** 2 * len(RULES)
    assert {one["runs"] for one in stored["stopped"]} == {20_000}
    least = [coverage for _, coverage in stored["exact"]]
    least += [one[f"at least {rate}"] for one in stored["stopped"] for rate in ("passed", "accepted")]
    least += [one["coverage"] for one in stored["drawn"]]
    assert min(least) == stored["minimum"] >= PROMISE
