"""Does a certificate keep its promise if it is checked after every batch, and what does it accept?

    python -m bench.certificate.run [DRAWS]            # writes bench/results/certificate.json

DRAWS (400) reviews for each of five scorers, from one that knows nothing to one that is nearly always right. Labels are
SIMULATED: each row is good with a given probability, and annotators are always right. Each review answers 16 batches of
50 of 2,000 rows with the default shares (25 random ones of the estimation half, 15 for calibration, the rest on rows
that gates and scorers rejected, which certify nothing) and checks after every batch, with the product's own calibrator,
sets, evidence and trials. A review fails if the certified rows are less precise than promised at any look.

For comparison, on the same labels: `naive`, the lowest threshold whose labelled precision is as promised, also at every
look; and `spent`, Learn-then-Test with an exact hypergeometric test whose error is spent over the looks (1 / k(k + 1)
of it at look k, with looks at 25 labels and then at each half as many more), over which the product's evidence was
chosen.

The second part measures PPI++: how much less the estimated share of good rows varies with predictions than without,
compared with its formula.
"""

from __future__ import annotations

import json
import math
import sys
import time
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, hypergeom

from bench.harness import keep
from curate.certificate.calibration import Calibrator, calibrate
from curate.certificate.certificate import Trial, sets_above, trials_for
from curate.certificate.certifying import most_accepting_look
from curate.certificate.evidence import good_share, max_bad_rows

ROWS, BATCHES = 2_000, 16
ESTIMATION, CALIBRATION = 25, 15  # reviews per batch
PRECISION, CONFIDENCE = 0.9, 0.9
MOST_FAILURES = 0.12
PARTS = {"generation": "g", "scorer": "s"}


class Scorer(NamedTuple):
    """A scorer where `share` of the rows are good and a good row's score is higher by `apart` standard deviations on
    average. `floor` is the minimum share of rows to accept at the last look, set after 15 draws and before the 400."""

    name: str
    share: float
    apart: float
    floor: float


SCORERS = (
    Scorer("knows nothing, 85 % are good", 0.85, 0.0, 0.0),
    Scorer("knows little", 0.7, 1.0, 0.0),
    Scorer("knows something", 0.7, 2.0, 0.40),
    Scorer("knows much", 0.7, 3.5, 0.60),
    Scorer("knows little, 93 % are good", 0.93, 0.5, 0.15),
)


def review(scorer: Scorer, generator: Any) -> dict[str, list[tuple[int, bool]]]:
    """How many rows each rule accepts at every look, and whether they are less precise than promised."""
    good = generator.random(ROWS) < scorer.share
    scores = generator.normal(size=ROWS) + scorer.apart * good
    lengths = generator.normal(1.0, 0.3, size=ROWS)
    ids = [f"{n:032x}" for n in range(ROWS)]
    ranks = scores.argsort().argsort() / ROWS
    rows = np.column_stack([scores, ranks, lengths, lengths**2, generator.random(ROWS) < 0.05]).tolist()
    features = dict(zip(ids, rows, strict=True))
    order = generator.permutation(ROWS)
    half = ROWS // 2
    estimation, calibration = order[:half], order[half:]
    truth = dict(zip(ids, good.tolist(), strict=True))
    accepted: dict[str, list[tuple[int, bool]]] = {"certificate": [], "naive": [], "spent": []}
    trials: list[Trial] = []
    spent = _ErrorSpending()
    for batch in range(1, BATCHES + 1):
        answered = {ids[n]: truth[ids[n]] for n in calibration[: batch * CALIBRATION]}
        labels = {ids[n]: truth[ids[n]] for n in estimation[: batch * ESTIMATION]}
        trials = trials_for(trials, PRECISION, PARTS, features, answered, ids)
        if not trials:
            for of in accepted.values():
                of.append((0, False))
            continue
        best_look = most_accepting_look(trials, features, ids, labels, half, CONFIDENCE)
        p = dict(best_look.probabilities)
        accepted["certificate"].append(_accepted_and_broken(best_look.certificate.rows, truth))
        accepted["naive"].append(_accepted_and_broken(naive(p, labels), truth))
        accepted["spent"].append(_accepted_and_broken(spent.look(trials[-1], p, labels), truth))
    return accepted


def _accepted_and_broken(rows: Any, truth: dict[str, bool]) -> tuple[int, bool]:
    return len(rows), sum(not truth[id_] for id_ in rows) > max_bad_rows(len(rows), PRECISION)


def naive(p: dict[str, float], labels: dict[str, bool]) -> list[str]:
    """All rows above the lowest threshold at which the labels have the promised precision."""
    ordered = sorted(labels, key=lambda id_: -p[id_])
    good, threshold = 0, math.inf
    for count, id_ in enumerate(ordered, 1):
        good += labels[id_]
        if good >= PRECISION * count:
            threshold = p[id_]
    return [id_ for id_, value in p.items() if value >= threshold]


class _ErrorSpending:
    """The comparison rule that spends its error over the looks, which it remembers."""

    def __init__(self) -> None:
        self.looks, self.next, self.rows = 0, 25, list[str]()

    def look(self, trial: Trial, p: dict[str, float], labels: dict[str, bool]) -> list[str]:
        if len(labels) < self.next:
            return self.rows
        self.looks += 1
        self.next = math.ceil(1.5 * len(labels))
        error = (1 - CONFIDENCE) / (self.looks * (self.looks + 1))
        self.rows = []
        for of in sets_above(trial.thresholds, p, labels):
            if _chance(of.size, of.seen, of.bad) > error:
                break
            self.rows = [id_ for id_, value in p.items() if value >= of.threshold]
        return self.rows


@cache
def _chance(size: int, seen: int, bad: int) -> float:
    return float(hypergeom.cdf(bad, size, max_bad_rows(size, PRECISION) + 1, seen))


def promises(scorer: Scorer, draws: int, seed: int) -> dict[str, Any]:
    """How often each rule failed at any look, with the upper end of the 95 % interval, and what it accepted."""
    generator = np.random.default_rng(seed)
    outcomes = [review(scorer, generator) for _ in range(draws)]
    row: dict[str, Any] = {**scorer._asdict(), "draws": draws}
    for rule in outcomes[0]:
        failed = sum(any(broken for _, broken in outcome[rule]) for outcome in outcomes)
        upper = float(beta.ppf(0.95, failed + 1, draws - failed)) if failed < draws else 1.0
        by_look = {
            str(look * ESTIMATION): round(float(np.mean([o[rule][look - 1][0] / ROWS for o in outcomes])), 3)
            for look in (2, 4, 6, 8, 12, 16)
        }
        row[rule] = {"failed": failed / draws, "failed_at_most": round(upper, 4), "accepted_by_labels": by_look}
    return row


def _probabilities(fitted: Calibrator, scores: Any) -> Any:
    """P(good) of rows that differ only in their score."""
    z = fitted.intercept + fitted.weights[0] * (scores - fitted.mean[0]) / fitted.scale[0]
    return 1 / (1 + np.exp(-z))


def predictions(draws: int, seed: int) -> list[dict[str, Any]]:
    """The gain of PPI++ in labels, measured and by its formula, and how often its 90 % interval contains the share.

    Each draw is a population of its own: `labels` labelled rows and the others, with predictions of a calibrator that
    was fitted on other rows.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for apart in (1.0, 2.0, 3.5):
        labels, others, share = 200, 3_000, 0.7
        values, plain, covered, formula = [], [], 0, []
        for _ in range(draws):
            good = generator.random(labels + others + 300) < share
            scores = generator.normal(size=len(good)) + apart * good
            known = {f"{n:032x}": (float(s), 0.5, 1.0, 1.0, 0.0) for n, s in enumerate(scores[-300:])}
            fitted = calibrate(known, dict(zip(known, good[-300:].tolist(), strict=True)))
            p = _probabilities(fitted, scores[:-300])
            estimate = good_share(good[:labels].tolist(), p[:labels], p[labels:], CONFIDENCE)
            assert estimate is not None
            values.append(estimate.value)
            plain.append(good[:labels].mean())
            covered += estimate.low <= share <= estimate.high
            rho = np.corrcoef(good[:-300], p)[0, 1]
            formula.append(1 / (1 - rho**2 / (1 + labels / others)))
        gain, promised = float(np.var(plain) / np.var(values)), float(np.mean(formula))
        rows.append(
            {
                "apart": apart,
                "labels": labels,
                "others": others,
                "draws": draws,
                "gain": round(gain, 3),
                "gain_by_formula": round(promised, 3),
                "of_formula": round(gain / promised, 3),
                "covered": covered / draws,
            }
        )
    return rows


def main() -> None:
    draws, started = int(sys.argv[1]) if len(sys.argv) > 1 else 400, time.process_time()
    results: dict[str, Any] = {
        "labels": "simulated",
        "rows": ROWS,
        "precision": PRECISION,
        "confidence": CONFIDENCE,
        "looks": BATCHES,
        "most_failures": MOST_FAILURES,
        "scorers": [],
    }
    all_kept = True
    for number, scorer in enumerate(SCORERS):
        row = promises(scorer, draws, 17 + number)
        results["scorers"].append(row)
        certificate, last = row["certificate"], str(BATCHES * ESTIMATION)
        row["kept"] = certificate["failed"] <= MOST_FAILURES
        row["yielded"] = certificate["accepted_by_labels"][last] >= scorer.floor
        all_kept &= row["kept"] and row["yielded"]
        print(json.dumps(row), flush=True)
    results["predictions"] = predictions(10 * draws, 99)
    for row in results["predictions"]:
        row["reached"] = row["of_formula"] >= 0.95
        all_kept &= row["reached"]
        print(json.dumps(row), flush=True)
    results["passed"], results["cpu_s"] = bool(all_kept), round(time.process_time() - started, 1)
    keep("certificate", results, whole=True)
    sys.exit(0 if all_kept else 1)


if __name__ == "__main__":
    main()
