"""Does the interval of the acceptance rate cover the truth? `python -m bench.review.coverage [RUNS] [--json FILE]`

Prints the coverage at every setting of a grid, and its minimum. The verdicts of a population are fixed and SIMULATED
annotators give them. There are three parts, all with the product's own intervals:

- `exact`: a review that ends after a fixed number of rows. The probability that the interval contains the truth is
  summed over every outcome, for strata of many sizes and every share from 0 to 1 (every number of acceptable rows up to
  60).
- `stopped`: RUNS (20,000) reviews at every setting of a grid: three designs (rows, share that the programs accept, rows
  per batch), six shares of good rows among what the programs accept combined with each of them among the rest, and four
  stopping rules: after one batch, after three, at a margin of error, or by the review gate of a spec that requires
  nearly the true share, which is the hardest. Rows are drawn as the product draws them (one random half, a random order
  for estimation and one for each audit). `at least` is the lower end of the exact 99.9 % interval of the coverage,
  which is what RUNS reviews can support.
- `drawn`: 500 reviews through the product's own draws and strata, which the second part imitates.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom

from bench.harness import keep
from curate.review import estimate as estimation
from curate.review.acceptance import Drawn, strata
from curate.review.estimate import Stratum, acceptance_rate, binomial
from curate.review.sampling import SamplingRow, divide, draw, frames
from schemas.records import content_id
from schemas.reviews import SamplingReason
from schemas.spec import ReviewShares

SIZES = (
    *((10, 2), (10, 5), (10, 10), (30, 2), (30, 5), (30, 20), (60, 3), (60, 15), (100, 2), (300, 3), (300, 6)),
    *((500, 5), (1_000, 12), (1_000, 30)),
)
SHARES = (0, 0.02, 0.05, *(tenth / 10 for tenth in range(1, 10)), 0.95, 0.98, 1)
PROMISE = 0.935
rate = lru_cache(maxsize=None)(acceptance_rate)


def cache_interval_parts() -> None:
    """Cache the parts of the product's intervals, which are computed for the same strata a million times here."""
    uncached, every = (
        estimation._chances,
        cache(lambda size, seen: uncached(Stratum(size, seen, 0), np.arange(size + 1))),
    )

    def chances(stratum: Stratum, totals: Any) -> Any:
        if len(totals) != totals[-1] - totals[0] + 1:
            return uncached(stratum, totals)
        return every(stratum.population, stratum.reviewed)[totals[0] : totals[-1] + 1]

    estimation._chances = chances
    estimation._limits = cache(estimation._limits)
    estimation._candidate_totals = cache(estimation._candidate_totals)


# ---- a fixed number of rows: every outcome ---------------------------------------------------------------------------


def exact(sizes: tuple[tuple[int, int], ...]) -> Iterator[tuple[float, str]]:
    """Yield (minimum coverage over the shares, description of the setting) for one stratum, and for every pair of
    strata."""
    for rows, seen in sizes:
        outcomes: list[tuple[Stratum, ...]] = [(Stratum(rows, seen, k),) for k in range(seen + 1)]
        yield _least_covered(outcomes, [(rows, seen)]), f"{seen} of {rows}"
    for one, two in itertools.combinations_with_replacement(sizes, 2):
        outcomes = [
            (Stratum(*one, j), Stratum(*two, k)) for j, k in itertools.product(range(one[1] + 1), range(two[1] + 1))
        ]
        yield _least_covered(outcomes, [one, two]), f"{one[1]} of {one[0]} and {two[1]} of {two[0]}"


def _least_covered(outcomes: list[tuple[Stratum, ...]], sizes: list[tuple[int, int]]) -> float:
    population = sum(rows for rows, _ in sizes)
    estimates = [rate(outcome) for outcome in outcomes]
    low, high = (np.array([getattr(e, end) for e in estimates if e]) * population for end in ("low", "high"))
    chances = [_chances(rows, seen) for rows, seen in sizes]
    least = 1.0
    for truth in itertools.product(*chances):
        total = sum(truth)
        chance = chances[0][truth[0]]
        for number, of in zip(truth[1:], chances[1:], strict=True):
            chance = np.outer(chance, of[number]).ravel()
        least = min(least, float(chance[(low <= total + 1e-6) & (high >= total - 1e-6)].sum()))
    return least


@cache
def _chances(rows: int, seen: int) -> dict[int, Any]:
    """Map each number of acceptable rows to the probabilities of each number among the reviewed ones."""
    truths = range(rows + 1) if rows <= 60 else sorted({round(share * rows) for share in SHARES})
    return {truth: hypergeom.pmf(np.arange(seen + 1), rows, truth, seen) for truth in truths}


# ---- checked after every batch, and ended by a rule ------------------------------------------------------------------


class Design(NamedTuple):
    """A population of `rows`, of which the programs accept the share `accepted`, reviewed in at most `batches` batches
    of `batch` rows."""

    rows: int
    accepted: float
    batch: int
    batches: int


DESIGNS = (Design(200, 0.5, 10, 10), Design(400, 0.25, 25, 8), Design(800, 0.25, 50, 8))
GOOD = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the rows that programs accept and, in every combination, of the others
RULES = ("one batch", "three batches", "±10 points", "the gate")


def gate_asks(good: float) -> float:
    """Return an `accept_at_least` just above the truth, so that the review is accepted only by mistake, which is the
    hardest case for an interval that ends the review. If all rows are good, a little less."""
    return good + 0.01 if good < 1 else 0.95


def watched(design: Design, runs: int) -> Iterator[dict[str, object]]:
    """Coverage of both rates at the end of `runs` reviews, at every setting of one design. All settings use the same
    drawn rows."""
    started = time.monotonic()
    sizes = (round(design.rows * design.accepted), design.rows - round(design.rows * design.accepted))
    counted = _count_rows(design, sizes, runs)
    interval = lru_cache(maxsize=None)(partial(_interval, sizes))
    for (one, two), rule in itertools.product(itertools.product(range(len(GOOD)), repeat=2), RULES):
        good = round(sizes[0] * GOOD[one]), round(sizes[1] * GOOD[two])
        truths = {"passed": sum(good) / design.rows, "accepted": good[0] / sizes[0]}
        covered = dict.fromkeys(truths, 0)
        at_least = gate_asks(GOOD[one])
        for review in counted:
            ends = _final_intervals(review, one, two, rule, at_least, sizes, interval)
            for name, (low, high) in zip(truths, ends, strict=True):
                covered[name] += low - 1e-9 <= truths[name] <= high + 1e-9
        row: dict[str, object] = {**design._asdict(), "good_accepted": GOOD[one], "good_rest": GOOD[two]}
        row |= {"ended by": rule, "runs": runs}
        for name, times in covered.items():
            row[f"coverage {name}"] = times / runs
            row[f"at least {name}"] = round(binomial(times, runs, 0.999)[0], 4)
        yield {**row, "seconds": round(time.monotonic() - started, 1)}


def _count_rows(design: Design, sizes: tuple[int, int], runs: int) -> list[list[list[int]]]:
    """For every review and every batch: the number of reviewed rows among the programs' accepted ones, and of those the
    acceptable ones at each share of `GOOD`; the same for the other rows; and both again for the rows drawn for
    estimation only."""
    drawn_for: tuple[SamplingReason, ...] = ("certify", "audit_accepted", "audit_rejected", "fit")
    parts = divide(design.batch, ReviewShares(), dict.fromkeys(drawn_for, ("",)))
    limits = [np.array([round(size * share) for share in GOOD]) for size in sizes]
    generator, reviews = np.random.default_rng(1), []
    for _ in range(runs):
        half = np.flatnonzero(generator.random(design.rows) < 0.5)
        orders = [half, half[half < sizes[0]], half[half >= sizes[0]]]
        orders = [generator.permutation(order) for order in orders]
        review = []
        for turn in range(1, design.batches + 1):
            drawn = [order[: turn * parts[reason]] for order, reason in zip(orders, drawn_for, strict=False)]
            counts: list[int] = []
            for rows in np.unique(np.concatenate(drawn)), np.sort(drawn[0]):
                border = int(np.searchsorted(rows, sizes[0]))
                for own, limit in ((rows[:border], limits[0]), (rows[border:] - sizes[0], limits[1])):
                    counts += [len(own), *np.searchsorted(own, limit).tolist()]
            review.append(counts)
        reviews.append(review)
    return reviews


def _interval(sizes: tuple[int, int], *seen: int) -> tuple[float, float]:
    """The interval for two strata if there are four numbers (reviewed and acceptable, twice); for two numbers, that of
    the first stratum, valid at all looks together; for three (the last unused), that of all rows as one stratum."""
    if len(seen) == 3:
        of: tuple[Stratum, ...] = (Stratum(sum(sizes), *seen[:2]),)
    else:
        of = tuple(Stratum(size, *seen[2 * at : 2 * at + 2]) for at, size in enumerate(sizes) if 2 * at < len(seen))
    estimate = acceptance_rate(of, anytime=len(seen) == 2)
    return (estimate.low, estimate.high) if estimate else (0.0, 1.0)


def _final_intervals(
    review: list[list[int]],
    one: int,
    two: int,
    rule: str,
    at_least: float,
    sizes: tuple[int, int],
    interval: Callable[..., tuple[float, float]],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The intervals of both rates when a review ends."""
    width = len(GOOD) + 1
    last = {"one batch": 1, "three batches": 3}.get(rule, len(review))
    passed = accepted = (0.0, 1.0)
    for turn, counts in enumerate(review[:last], 1):
        first, rest = (counts[0], counts[1 + one]), (counts[width], counts[width + 1 + two])
        pooled = min(first[0], rest[0]) < 2
        accepted = (0.0, 1.0) if pooled else interval(*first)
        ended = turn == last or (rule == "the gate" and (accepted[0] >= at_least or accepted[1] < at_least))
        if ended or rule == "±10 points":
            of_one, of_two = counts[2 * width :: width]
            good = counts[2 * width + 1 + one] + counts[3 * width + 1 + two]
            passed = interval(of_one + of_two, good, 0) if pooled else interval(*first, *rest)
            ended = ended or passed[1] - passed[0] <= 0.2
        if ended:
            break
    return passed, accepted


# ---- through the product's own draws ---------------------------------------------------------------------------------


class Setting(NamedTuple):
    """`good_accepted` and `good_rest`: the share of good rows among those that the programs accept, and among the
    others that passed the gates. `stop_at`: the margin of error at which the review stops (0: never before the last
    batch)."""

    name: str
    rows: int
    accepted: float
    good_accepted: float
    good_rest: float
    shares: ReviewShares
    batch: int
    batches: int
    stop_at: float


ONLY_RANDOM = ReviewShares(estimation=1.0, calibration=0, audit_accepted=0, audit_rejected=0, disagreement=0, margin=0)
MUCH_AUDIT = ReviewShares(
    estimation=0.3, calibration=0, audit_accepted=0.4, audit_rejected=0.3, disagreement=0, margin=0
)
MUCH_ACTIVE = ReviewShares(
    estimation=0.4, calibration=0.1, audit_accepted=0, audit_rejected=0.1, disagreement=0.2, margin=0.2
)
SETTINGS = (
    Setting("random only, 20 rows, share near 1", 400, 0.5, 0.98, 0.94, ONLY_RANDOM, 20, 1, 0),
    Setting("default shares, 100 rows", 800, 0.4, 0.9, 0.5, ReviewShares(), 50, 2, 0),
    Setting("audits at 70 %, shares near 1 and 0, 60 rows", 600, 0.3, 0.97, 0.06, MUCH_AUDIT, 30, 2, 0),
    Setting("active at 50 %, batches until +-5 points", 800, 0.5, 0.85, 0.6, MUCH_ACTIVE, 100, 8, 0.05),
)


def population(setting: Setting) -> tuple[list[SamplingRow], dict[str, bool]]:
    """Rows with fixed verdicts. Rows near the margin or with disagreement are worse than the rest, so an estimate that
    treated actively chosen rows as random ones would miss the truth."""
    chance = random.Random(setting.name)
    rows, good = [], {}
    for number in range(setting.rows):
        id_ = content_id("row", [setting.name, number])
        accepted = number < setting.accepted * setting.rows
        margin, disagreement = chance.random(), chance.random()
        share = setting.good_accepted if accepted else setting.good_rest
        hard = margin < 0.1 or disagreement > 0.9
        good[id_] = chance.random() < (share * 0.6 if hard else share)
        rows.append(SamplingRow(id_, True, accepted, disagreement, margin))
    return rows, good


def run(setting: Setting, rows: list[SamplingRow], good: dict[str, bool], seed: int) -> tuple[bool, float, float, int]:
    """Simulate one review and return (covered, margin of error, estimate, rows shown)."""
    of = frames(rows, seed)
    sampled: dict[SamplingReason, set[str]] = {}
    answers: dict[str, bool] = {}
    share = None
    for _ in range(setting.batches):
        for drawn in draw(of, divide(setting.batch, setting.shares, of), seed, sampled):
            answers[drawn.pair_id] = good[drawn.pair_id]
            for reason, _log in drawn.draws:
                sampled.setdefault(reason, set()).add(drawn.pair_id)
        share = rate(tuple(strata(Drawn(rows, sampled, seed), answers)))
        if share and share.margin_of_error <= setting.stop_at:
            break
    assert share is not None
    truth = statistics.fmean(good.values())
    return share.low - 1e-9 <= truth <= share.high + 1e-9, share.margin_of_error, share.value, len(answers)


def measure(setting: Setting, runs: int) -> dict[str, object]:
    rows, good = population(setting)
    started = time.monotonic()
    results = [run(setting, rows, good, seed) for seed in range(runs)]
    truth = statistics.fmean(good.values())
    return {
        "setting": setting.name,
        "annotators": "simulated",
        "runs": runs,
        "truth": round(truth, 4),
        "coverage": statistics.fmean(covered for covered, *_ in results),
        "mean_margin_of_error": round(statistics.fmean(margin for _, margin, _, _ in results), 4),
        "bias": round(statistics.fmean(value for _, _, value, _ in results) - truth, 5),
        "mean_rows_shown": round(statistics.fmean(shown for *_, shown in results), 1),
        "seconds": round(time.monotonic() - started, 1),
    }


def main(runs: int, file: Path | None) -> None:
    cache_interval_parts()
    least: list[tuple[float, str]] = []
    every: dict[str, list[Any]] = {"exact": [], "stopped": [], "drawn": []}
    for coverage, name in exact(SIZES):
        print(f"exact    {coverage:.4f}  {name}", flush=True)
        least.append((coverage, f"exact, {name}"))
        every["exact"].append([name, round(coverage, 4)])
    for row in itertools.chain.from_iterable(watched(design, runs) for design in DESIGNS):
        print("stopped ", json.dumps(row), flush=True)
        every["stopped"].append(row)
        least += [(float(str(row[f"at least {name}"])), f"{row}, {name}") for name in ("passed", "accepted")]
    for setting in SETTINGS:
        drawn = measure(setting, max(1, runs // 40))
        print("drawn   ", json.dumps(drawn), flush=True)
        every["drawn"].append(drawn)
    coverage, where = min(least)
    print(f"minimum {coverage:.4f} ({'kept' if coverage >= PROMISE else 'BROKEN'}: promised {PROMISE}) at {where}")
    if file:
        figures = {"annotators": "simulated", "promised": PROMISE, "minimum": round(coverage, 4), "at": where, **every}
        keep(file, {"coverage": figures})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("runs", type=int, nargs="?", default=20_000)
    parser.add_argument("--json", type=Path, help="keep every figure there, as bench/results/review.json")
    options = parser.parse_args()
    main(options.runs, options.json)
