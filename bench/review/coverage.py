"""Does the interval of the acceptance rate cover the truth? `python bench/review/coverage.py [RUNS] [--json FILE]`

Prints the coverage of every setting of a grid, and its minimum. A population's verdicts are fixed; annotators are
SIMULATED and tell them. Three parts, all with the product's own intervals:

- `exact`: a review that ends after a fixed number of rows. The chance that the interval holds the truth is summed over
  every outcome, for strata of many sizes and every share from 0 to 1 (all whole numbers of acceptable rows up to 60).
- `stopped`: RUNS (20,000) reviews, batch after batch, each looked at after every batch and ended by a rule: the margin
  of error, or the human gate of a spec that asks for nearly the true share, which is the hardest. Rows come as the
  product draws them (one random half, a random order for estimation and one for each audit). `at least` is the lower
  end of the exact 99.9 % interval of the coverage, which the number of runs allows to claim.
- `drawn`: 500 reviews through the product's own draws and strata, which the second part imitates.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom

from curate.review.acceptance import strata
from curate.review.estimate import Estimate, Stratum, acceptance_rate, binomial
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


# ---- a fixed number of rows: every outcome ---------------------------------------------------------------------------


def exact(sizes: tuple[tuple[int, int], ...]) -> Iterator[tuple[float, str]]:
    """(least coverage over the shares, what the setting is) of one stratum, and of any two."""
    for rows, seen in sizes:
        outcomes = [(Stratum(rows, seen, k),) for k in range(seen + 1)]
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
    """A number of acceptable rows -> the probability of each number among the seen."""
    truths = range(rows + 1) if rows <= 60 else sorted({round(share * rows) for share in SHARES})
    return {truth: hypergeom.pmf(np.arange(seen + 1), rows, truth, seen) for truth in truths}


# ---- looked at after every batch, and ended by a rule ----------------------------------------------------------------


class Watched(NamedTuple):
    """A population of `rows`, of which the programs accept the share `accepted`; `good_accepted` of those and
    `good_rest` of the others are good. Batches of `batch` rows, `batches` at most; ended at the margin `stop_at`, or by
    the gate of a spec that asks for `at_least`."""

    rows: int
    accepted: float
    good_accepted: float
    good_rest: float
    batch: int
    batches: int
    stop_at: float = 0.0
    at_least: float | None = None


WATCHED = (
    Watched(800, 0.25, 0.98, 0.10, 50, 1),
    Watched(800, 0.25, 0.98, 0.10, 50, 2),
    Watched(800, 0.25, 0.98, 0.10, 50, 8, stop_at=0.10),
    Watched(800, 0.5, 1.0, 0.3, 50, 8, stop_at=0.10),
    Watched(400, 0.25, 0.5, 0.5, 25, 6, stop_at=0.10),
    Watched(400, 0.25, 0.55, 0.3, 25, 8, at_least=0.5),
    Watched(400, 0.25, 0.5, 0.3, 25, 8, at_least=0.51),
    Watched(200, 0.5, 0.9, 0.6, 10, 10, at_least=0.85),
    Watched(200, 0.25, 0.8, 0.2, 10, 10, at_least=0.75),
)


def watched(setting: Watched, runs: int) -> dict[str, object]:
    """Coverage of both rates at the end of `runs` reviews."""
    started = time.monotonic()
    n_accepted = round(setting.rows * setting.accepted)
    n_rest = setting.rows - n_accepted
    good = np.zeros(setting.rows, dtype=bool)
    good[: round(n_accepted * setting.good_accepted)] = True
    good[n_accepted : n_accepted + round(n_rest * setting.good_rest)] = True
    truths = {"passed": good.mean(), "accepted": good[:n_accepted].mean()}
    covered = dict.fromkeys(truths, 0)
    drawn_for: tuple[SamplingReason, ...] = ("certify", "audit_accepted", "audit_rejected", "fit")
    by_reason = divide(setting.batch, ReviewShares(), dict.fromkeys(drawn_for, ("",)))
    generator = np.random.default_rng(1)
    for _ in range(runs):
        for name, estimate in _review(setting, good, n_accepted, by_reason, generator).items():
            covered[name] += estimate is None or estimate.low - 1e-9 <= truths[name] <= estimate.high + 1e-9
    told: dict[str, object] = {**setting._asdict(), "runs": runs}
    for name, times in covered.items():
        told[f"coverage {name}"] = times / runs
        told[f"at least {name}"] = round(binomial(times, runs, 0.999)[0], 4)
    return {**told, "seconds": round(time.monotonic() - started, 1)}


def _review(
    setting: Watched, good: Any, n_accepted: int, by_reason: dict[SamplingReason, int], generator: Any
) -> dict[str, Estimate | None]:
    half = np.flatnonzero(generator.random(setting.rows) < 0.5)
    estimation = generator.permutation(half)
    audits = [generator.permutation(half[half < n_accepted]), generator.permutation(half[half >= n_accepted])]
    rates: dict[str, Estimate | None] = {}
    for turn in range(1, setting.batches + 1):
        drawn = [estimation[: turn * by_reason["certify"]]]
        drawn += [
            order[: turn * by_reason[reason]]
            for order, reason in zip(audits, ("audit_accepted", "audit_rejected"), strict=True)
        ]
        seen = np.unique(np.concatenate(drawn))
        parts = tuple(
            Stratum(size, len(of), int(good[of].sum()))
            for size, of in ((n_accepted, seen[seen < n_accepted]), (len(good) - n_accepted, seen[seen >= n_accepted]))
        )
        if min(part.reviewed for part in parts) < 2:
            parts = (Stratum(len(good), len(drawn[0]), int(good[drawn[0]].sum())),)
            rates = {"passed": rate(parts), "accepted": None}
            continue
        rates = {"accepted": rate(parts[:1], anytime=True)}
        accepted = rates["accepted"]
        if setting.at_least is not None:
            assert accepted
            if turn == setting.batches or accepted.low >= setting.at_least or accepted.high < setting.at_least:
                return {**rates, "passed": rate(parts)}
        else:
            rates["passed"] = rate(parts)
            if rates["passed"] and rates["passed"].margin_of_error <= setting.stop_at:
                break
    return rates


# ---- through the product's own draws ---------------------------------------------------------------------------------


class Setting(NamedTuple):
    """`good_accepted` and `good_rest`: how often a row is good among those the programs accept, and among the others
    that passed the gates. `stop_at`: the margin of error at which review stops (0: never before the last batch)."""

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
    """Rows with fixed verdicts. What is near the border or disagreed upon is worse than the rest, so an estimate that
    took actively chosen rows for random ones would miss."""
    chance = random.Random(setting.name)
    rows, good = [], {}
    for number in range(setting.rows):
        id_ = content_id("row", [setting.name, number])
        accepted = number < setting.accepted * setting.rows
        margin, disagreement = chance.random(), chance.random()
        share = setting.good_accepted if accepted else setting.good_rest
        hard = margin < 0.1 or disagreement > 0.9
        good[id_] = chance.random() < (share * 0.6 if hard else share)
        rows.append(SamplingRow(id_, True, accepted, None, disagreement, margin))
    return rows, good


def run(setting: Setting, rows: list[SamplingRow], good: dict[str, bool], seed: int) -> tuple[bool, float, float, int]:
    """(covered, margin of error, estimate, rows shown) of one review."""
    of = frames(rows, seed)
    sampled: dict[SamplingReason, set[str]] = {}
    told: dict[str, bool] = {}
    share = None
    for _ in range(setting.batches):
        for drawn in draw(of, divide(setting.batch, setting.shares, of), seed, sampled):
            told[drawn.pair_id] = good[drawn.pair_id]
            for reason, _log in drawn.draws:
                sampled.setdefault(reason, set()).add(drawn.pair_id)
        share = rate(tuple(strata(rows, sampled, told, seed)))
        if share and share.margin_of_error <= setting.stop_at:
            break
    assert share is not None
    truth = statistics.fmean(good.values())
    return share.low - 1e-9 <= truth <= share.high + 1e-9, share.margin_of_error, share.value, len(told)


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
    least: list[tuple[float, str]] = []
    every: dict[str, list[Any]] = {"exact": [], "stopped": [], "drawn": []}
    for coverage, setting in exact(SIZES):
        print(f"exact    {coverage:.4f}  {setting}", flush=True)
        least.append((coverage, f"exact, {setting}"))
        every["exact"].append([setting, round(coverage, 4)])
    for watching in WATCHED:
        told = watched(watching, runs)
        print("stopped ", json.dumps(told), flush=True)
        every["stopped"].append(told)
        least += [(float(str(told[f"at least {name}"])), f"{watching}, {name}") for name in ("passed", "accepted")]
    for setting in SETTINGS:
        drawn = measure(setting, max(1, runs // 40))
        print("drawn   ", json.dumps(drawn), flush=True)
        every["drawn"].append(drawn)
    coverage, where = min(least)
    print(f"minimum {coverage:.4f} ({'kept' if coverage >= PROMISE else 'BROKEN'}: promised {PROMISE}) at {where}")
    if file:
        figures = {"annotators": "simulated", "promised": PROMISE, "minimum": round(coverage, 4), "at": where, **every}
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("runs", type=int, nargs="?", default=20_000)
    parser.add_argument("--json", type=Path, help="write every figure there")
    asked = parser.parse_args()
    main(asked.runs, asked.json)
