"""How often the intervals of mean scores, win rates and agreement contain the true value: `python -m
bench.proof.measures [DRAWS]`

Everything here is SIMULATED, and the intervals are the product's own. Writes bench/results/proof_measures.json, and
prints the worst setting of each number of rows.

- **Mean scores** (chrF, ROUGE-L, similarity: `train.evaluation.references`): beta-distributed ones, all or nothing, and
  few values that many inputs share, with one answer per input and three.
- **Win rates** (`train.evaluation.judgements`): two orders per input; decided, decided by order alone in half of the
  inputs, mostly ties, and two judges who answer alike.
- **Pass rates of inputs that are not beta-distributed**: some inputs always pass and some never, or half of the inputs
  do so and the others at the rate, or inputs pass never, in half of the answers or always. Shares, differences of two
  systems whose inputs are independent, and how often two equal ones are told apart.
- **Agreement** (`curate.review.agreement`): two annotators with the same rate of one answer and a given kappa (the
  common-correlation model), and three annotators with three answers.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.harness import keep
from bench.proof.run import bounds
from curate.review.agreement import _cohen, _fleiss, _measure_with_interval
from train.evaluation.limits import Floats, difference_limits, seed_differences, share_limits, sign_flips
from train.evaluation.references import _mean

ROWS, RATES = (5, 20, 60), (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
Draw = Callable[[Any], Floats]
# Name: the values of inputs, and their mean.
SCORES: dict[str, tuple[Callable[[np.random.Generator, Any], Floats], float]] = {
    "alike": (lambda rng, shape: rng.beta(2, 2, shape), 0.5),
    "high": (lambda rng, shape: rng.beta(1.8, 0.2, shape), 0.9),
    "low": (lambda rng, shape: rng.beta(0.05, 0.95, shape), 0.05),
    "one in ten 0, else 0.8": (lambda rng, shape: np.where(rng.random(shape) < 0.1, 0.0, 0.8), 0.72),
    "0 or 1": (lambda rng, shape: (rng.random(shape) < 0.5).astype(float), 0.5),
    "mostly 0": (lambda rng, shape: (rng.random(shape) < 0.05).astype(float), 0.05),
    "0, 0.5 or 1": (lambda rng, shape: rng.choice([0, 0.5, 1], shape, p=[0.05, 0.15, 0.8]), 0.875),
    "1, 0.99, rarely 0.2": (lambda rng, shape: rng.choice([1, 0.99, 0.2], shape, p=[0.6, 0.38, 0.02]), 0.9802),
    "one in twenty 0": (lambda rng, shape: np.where(rng.random(shape) < 0.05, 0, rng.beta(16, 4, shape)), 0.76),
}
SAME = 0.7  # the chance that an answer has the value of its input, and not one of its own


def mean_scores(draws: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(1)
    for rows, answers, (name, (values, truth)) in itertools.product(ROWS, (1, 3), SCORES.items()):
        held = 0
        for _ in range(draws):
            own, same = values(rng, (rows, answers)), rng.random((rows, answers)) < (SAME if answers > 1 else 0)
            estimate = _mean(np.where(same, values(rng, (rows, 1)), own).sum(1), np.full(rows, float(answers)), None)
            held += estimate.low - 1e-9 <= truth <= estimate.high + 1e-9
        yield {"of": "mean score", "rows": rows, "answers": answers, "values": name, "coverage": held / draws}


def win_rates(draws: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(2)
    for rows, rate in itertools.product(ROWS, RATES):
        shape = (draws, rows)
        decided = 2.0 * (rng.random(shape) < rate)
        either = rng.beta(rate / 2, (1 - rate) / 2, shape)
        settings = {
            "decided": (decided, 2, rate),
            "half by order alone": (np.where(rng.random(shape) < 0.5, 1, decided), 2, 0.25 + rate / 2),
            "six of ten tied": (np.where(rng.random(shape) < 0.6, 1, decided), 2, 0.3 + 0.4 * rate),
            "inputs differ": (rng.binomial(2, either).astype(float), 2, rate),
            "two judges alike": (2.0 * rng.binomial(2, either), 4, rate),
        }
        for name, (wins, decisions, truth) in settings.items():
            limits = share_limits(wins, np.full_like(wins, decisions))
            held = (limits.low <= truth + 1e-9) & (truth - 1e-9 <= limits.high)
            yield {"of": "win rate", "rows": rows, "rate": rate, "choices": name, "coverage": float(held.mean())}


# Name: the chance to pass of every input, whose mean is the rate.
MIXTURES: dict[str, Callable[[np.random.Generator, float, Any], Floats]] = {
    "all or none": lambda rng, rate, shape: (rng.random(shape) < rate).astype(float),
    "half of them all or none": lambda rng, rate, shape: np.where(
        rng.random(shape) < 0.5, rate, rng.random(shape) < rate
    ),
    "never, half or always": lambda rng, rate, shape: (
        np.floor(2 * rate) / 2 + 0.5 * (rng.random(shape) < 2 * rate - np.floor(2 * rate))
    ),
}
PAIRS = ((0.5, 0.5), (0.05, 0.05), (0.98, 0.98), (0.9, 0.6), (0.3, 0.1), (1.0, 0.8))


def mixtures(draws: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(4)
    for rows, answers, (name, chances) in itertools.product((*ROWS, 200), (1, 3), MIXTURES.items()):
        shape, setting = (draws, rows), {"rows": rows, "answers": answers, "inputs": name}
        asked = np.full(shape, float(answers))
        for rate in RATES:
            limits = share_limits(rng.binomial(answers, chances(rng, rate, shape)).astype(float), asked)
            held = (limits.low <= rate + 1e-9) & (rate - 1e-9 <= limits.high)
            yield {"of": "share of a mixture", **setting, "rate": rate, "coverage": float(held.mean())}
        for pair in PAIRS:
            a, b = (rng.binomial(answers, chances(rng, rate, shape)).astype(float) for rate in pair)
            limits, gap = difference_limits(a, asked, b, asked), pair[0] - pair[1]
            held = (limits.low <= gap + 1e-9) & (gap - 1e-9 <= limits.high)
            yield {"of": "difference of mixtures", **setting, "rates": pair, "coverage": float(held.mean())}
            if gap == 0:
                p = sign_flips(seed_differences(a, asked, b, asked))
                told_apart = (p <= 0.05) & ((limits.low > 0) | (limits.high < 0))
                yield {
                    "of": "equal mixtures not told apart",
                    **setting,
                    "rates": pair,
                    "coverage": float(1 - told_apart.mean()),
                }


def agreement(draws: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(3)
    kinds = [*itertools.product("ar", repeat=2)]
    for rows, rate, kappa in itertools.product(ROWS, (0.5, 0.8, 0.9), (0.0, 0.4, 0.7, 0.9)):
        apart = rate * (1 - rate) * (1 - kappa)
        counts = rng.multinomial(rows, (rate - apart, apart, apart, 1 - rate - apart), size=draws)
        known = _known(kinds, counts, _cohen)
        setting = {"of": "Cohen's kappa", "rows": rows, "rate": rate, "kappa": kappa}
        yield {**setting, **_held(known, kappa, draws)}
    rates, right = np.array([0.6, 0.3, 0.1]), 0.8
    triples = [*itertools.product(range(3), repeat=3)]
    # Each annotator gives the row's own answer with this chance, else any answer by its rate.
    given = right * np.eye(3) + (1 - right) * rates
    chances = [float(sum(rates[own] * np.prod(given[own, list(kind)]) for own in range(3))) for kind in triples]
    for rows in ROWS:
        names = [tuple("aer"[answer] for answer in kind) for kind in triples]
        known = _known(names, rng.multinomial(rows, chances, size=draws), _fleiss)
        yield {"of": "Fleiss' kappa", "rows": rows, "rate": 0.6, "kappa": 0.64, **_held(known, right**2, draws)}


def _known(kinds: list[tuple[str, ...]], counts: Any, measure: Any) -> list[tuple[float, float]]:
    """The intervals of the draws in which the measure is defined."""
    tables = ({tuple(sorted(k)) if measure is _fleiss else k: 0 for k in kinds} for _ in range(len(counts)))
    intervals = []
    for table, times in zip(tables, counts.tolist(), strict=True):
        rows = Counter(table)
        for kind, number in zip(kinds, times, strict=True):
            rows[tuple(sorted(kind)) if measure is _fleiss else kind] += number
        one = _measure_with_interval("", "", (), +rows, measure)
        if one.low is not None and one.high is not None:
            intervals.append((one.low, one.high))
    return intervals


def _held(known: list[tuple[float, float]], truth: float, draws: int) -> dict[str, float]:
    """The coverage of the intervals, and the share of draws without one."""
    held = sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in known)
    return {"coverage": held / max(1, len(known)), "undefined": 1 - len(known) / draws}


def main(draws: int) -> None:
    started = time.process_time()
    rows = [*mean_scores(max(50, draws // 5)), *win_rates(draws), *mixtures(draws), *agreement(max(50, draws // 2))]
    number = {"mean score": max(50, draws // 5)}
    worst = {}
    for of, size in dict.fromkeys((row["of"], row["rows"]) for row in rows):
        here = [row for row in rows if (row["of"], row["rows"]) == (of, size)]
        least = min(row["coverage"] for row in here)
        worst[f"{of}, {size} rows, {len(here)} settings"] = bounds(
            least, number.get(of, max(50, draws // 2) if "kappa" in of else draws)
        )
    figures = {"simulated": True, "draws": draws, "cpu_s": round(time.process_time() - started, 1)}
    keep("proof_measures", {**figures, "worst": worst, "settings": rows}, whole=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
