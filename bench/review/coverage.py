"""Does the interval of the acceptance rate cover the truth? `python bench/review/coverage.py [RUNS]`

Annotators are SIMULATED: the verdict of every row is fixed before the first draw, and a simulated annotator tells it.
The sampling, the strata and the interval are the product's own; only people are replaced. Each setting draws RUNS
(2,000) times with another seed from one fixed population, batch after batch, stops where the product would advise to
stop (or after `batches`), and counts how often the reported 95 % interval holds the true share of that population.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from typing import NamedTuple

from curate.review.acceptance import strata
from curate.review.estimate import acceptance_rate
from curate.review.sampling import SamplingRow, divide, draw, frames
from schemas.records import content_id
from schemas.reviews import SamplingReason
from schemas.spec import ReviewShares


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
        rate = setting.good_accepted if accepted else setting.good_rest
        hard = margin < 0.1 or disagreement > 0.9
        good[id_] = chance.random() < (rate * 0.6 if hard else rate)
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
        share = acceptance_rate(strata(rows, sampled, told, seed))
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


if __name__ == "__main__":
    for one in SETTINGS:
        print(json.dumps(measure(one, int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)), flush=True)
