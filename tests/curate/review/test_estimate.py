"""The acceptance rate, its interval, and what a tighter one would cost."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from scipy.stats import hypergeom

from bench.review.coverage import DESIGNS, GOOD, PROMISE, RULES, SETTINGS, SIZES, Design, exact, measure, watched
from curate.review.estimate import Stratum, acceptance_rate, advice, binomial, seconds_per_item


@pytest.mark.parametrize("population", [10, 60, 300])
@pytest.mark.parametrize("size", [5, 10])
def test_the_interval_of_a_plain_sample_covers_every_truth(population: int, size: int) -> None:
    """For every possible number of good rows the probability that the interval holds it, summed exactly over all
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
    """When every row was answered, the share is known."""
    share = acceptance_rate([Stratum(10, 10, 7), Stratum(5, 5, 5)])
    assert share is not None
    assert share.low == share.value == share.high == pytest.approx(12 / 15)


@pytest.mark.slow
def test_the_interval_of_two_parts_covers_every_truth() -> None:
    """Summed over every outcome, the interval of two strata holds the truth as often as was promised, also where one of
    them is small, hardly asked, or good throughout; bench/review/coverage.py has the whole grid."""
    for coverage, setting in exact(((30, 2), (30, 5), (60, 3), (500, 5))):
        assert coverage >= PROMISE, setting


@pytest.mark.parametrize("good", [0, 4, 20, 33, 39, 40])
def test_the_interval_that_the_gate_watches_holds_at_all_looks_together(good: int) -> None:
    """Looked at after every answer, it excludes the truth at any look in less than 5 % of reviews: exact, over every
    order in which 40 rows may come."""
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


def test_the_share_is_weighted_by_what_each_part_stands_for() -> None:
    """30 answers about 900 rows weigh more than 30 about 100: Horvitz-Thompson with population / reviewed."""
    share = acceptance_rate([Stratum(100, 30, 30), Stratum(900, 30, 15)])
    assert share is not None
    assert share.value == pytest.approx(0.1 * 1 + 0.9 * 0.5)
    assert share.low < share.value < share.high
    assert share.effective < 60


def test_a_part_without_a_rejection_is_not_taken_for_certain() -> None:
    """All good in every part still leaves room for bad rows."""
    share = acceptance_rate([Stratum(500, 10, 10), Stratum(500, 10, 10)])
    assert share is not None
    assert share.value == share.high == 1
    assert share.low < 0.9


def test_too_few_answers_are_no_estimate() -> None:
    """One answer says nothing of a part; the caller is told so instead of a number."""
    assert acceptance_rate([]) is None
    assert acceptance_rate([Stratum(100, 1, 1)]) is None
    assert acceptance_rate([Stratum(100, 50, 40), Stratum(100, 1, 1)]) is None
    assert acceptance_rate([Stratum(100, 50, 40), Stratum(0, 0, 0)]) is not None


def test_the_binomial_interval_is_clopper_pearson() -> None:
    """Known values: 0 of 10 and 8 of 10."""
    assert binomial(0, 10) == pytest.approx((0, 0.30850), abs=1e-4)
    assert binomial(8, 10) == pytest.approx((0.44390, 0.97479), abs=1e-4)


def test_review_stops_when_the_interval_is_as_tight_as_asked() -> None:
    """At ±5 points asked: 400 answers suffice, 40 do not; a larger sample asks for fewer more rows."""
    tight = acceptance_rate([Stratum(2_000, 400, 320)])
    loose = acceptance_rate([Stratum(2_000, 40, 32)])
    assert tight
    assert loose
    stop, go_on = advice(tight, 0.05, seconds=10), advice(loose, 0.05, seconds=10)
    assert stop.stop
    assert not go_on.stop
    assert str(stop).startswith("stop, or about")
    assert "would buy ±3 points" in str(stop)
    assert "would buy ±5 points" in str(go_on)
    assert go_on.minutes == pytest.approx(go_on.answers * 10 / 60)


def test_the_forecast_is_kept_when_the_rows_come_in() -> None:
    """With the rows that the advice asks for, at the same share, the interval is as tight as was promised, and with
    a tenth fewer it is not."""
    share = acceptance_rate([Stratum(5_000, 50, 40)])
    assert share
    rows = advice(share, 0.04, seconds=None).rows
    enough = acceptance_rate([Stratum(5_000, 50 + rows, round(0.8 * (50 + rows)))])
    fewer = acceptance_rate([Stratum(5_000, 50 + int(0.9 * rows), round(0.8 * (50 + int(0.9 * rows))))])
    assert enough
    assert fewer
    assert enough.margin_of_error <= 0.0405
    assert fewer.margin_of_error > 0.04


def test_answers_that_do_not_count_cost_time_too() -> None:
    """Overlap and actively chosen rows are part of the minutes: twice the answers a row is twice the time."""
    share = acceptance_rate([Stratum(1_000, 50, 40)])
    assert share
    one, two = advice(share, 0.05, seconds=6), advice(share, 0.05, seconds=6, answers_per_row=2.0)
    assert one.rows == two.rows
    assert two.answers == 2 * one.answers
    assert one.minutes
    assert two.minutes == pytest.approx(2 * one.minutes)


def test_without_a_measured_time_no_minutes_are_made_up() -> None:
    """Where nobody's seconds are known the advice counts answers."""
    share = acceptance_rate([Stratum(1_000, 50, 40)])
    assert share
    advised = advice(share, 0.05, seconds=seconds_per_item([None, None]))
    assert advised.minutes is None
    assert "more answers would buy" in str(advised)


def test_one_long_pause_does_not_move_the_seconds() -> None:
    """The median stands where a mean would not."""
    assert seconds_per_item([7, 8, 9, None, 590]) == 8.5
    assert seconds_per_item([]) is None


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_reported_interval_covers_with_simulated_annotators(setting: object) -> None:
    """A short run of bench/review/coverage.py for each sampling setting: of 80 reviews by simulated annotators so few
    miss that a true coverage of 93.5 % is not ruled out (5 standard errors), and the estimate is unbiased."""
    assert isinstance(setting, type(SETTINGS[0]))
    quick = setting._replace(batches=min(setting.batches, 2))
    measured = measure(quick, 80)
    assert measured["coverage"] >= 0.935 - 5 * math.sqrt(0.935 * 0.065 / 80)  # type: ignore[operator]
    assert abs(measured["bias"]) < 0.03  # type: ignore[arg-type]
    assert measured["annotators"] == "simulated"


def test_a_review_that_ends_by_a_rule_is_counted_as_it_would_go() -> None:
    """A short run of the benchmark's grid: every setting once; where all rows are good no interval misses, and nowhere
    do more miss than 30 reviews at the promised coverage admit."""
    rows = list(watched(Design(40, 0.5, 10, 2), 30))
    assert len({(one["good_accepted"], one["good_rest"], one["ended by"]) for one in rows}) == len(rows) == 144
    for one in rows:
        for rate in "coverage passed", "coverage accepted":
            assert one[rate] >= 0.935 - 5 * math.sqrt(0.935 * 0.065 / 30)  # type: ignore[operator]
            if one["good_accepted"] == one["good_rest"] == 1:
                assert one[rate] == 1


def test_the_population_of_the_simulation_would_show_a_wrong_estimate() -> None:
    """Counting actively chosen rows as if they were random misses the truth in the simulation's population, so its
    coverage is evidence."""
    from bench.review.coverage import population

    rows, good = population(SETTINGS[3])
    truth = sum(good.values()) / len(good)
    hard = [row for row in rows if (row.margin or 0) < 0.1 or (row.disagreement or 0) > 0.9]
    chosen = random.Random(1).sample(hard, 60)
    naive = acceptance_rate([Stratum(len(rows), 60, sum(good[row.pair_id] for row in chosen))])
    assert naive
    assert not naive.low <= truth <= naive.high


def test_the_figures_that_are_kept_are_of_every_setting_and_keep_the_promise() -> None:
    """The last whole run of bench/review/coverage.py: each setting of the grid is in it once, with 20,000 reviews where
    reviews are drawn, and the least coverage of all is the minimum that is told, above what is promised."""
    kept = json.loads((Path(__file__).parents[3] / "bench" / "results" / "review.json").read_text())["coverage"]
    assert len(kept["exact"]) == len(SIZES) + len(SIZES) * (len(SIZES) + 1) // 2
    settings = {
        tuple(one[key] for key in (*Design._fields, "good_accepted", "good_rest", "ended by"))
        for one in kept["stopped"]
    }
    assert len(settings) == len(kept["stopped"]) == len(DESIGNS) * len(GOOD) ** 2 * len(RULES)
    assert {one["runs"] for one in kept["stopped"]} == {20_000}
    least = [coverage for _, coverage in kept["exact"]]
    least += [one[f"at least {rate}"] for one in kept["stopped"] for rate in ("passed", "accepted")]
    least += [one["coverage"] for one in kept["drawn"]]
    assert min(least) == kept["minimum"] >= PROMISE
