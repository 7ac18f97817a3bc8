"""Do the forecast's intervals hold? Simulated projects, each with a pilot and the whole run that followed.

SIMULATED, not measured: no teacher is asked. A project has heavy-tailed costs that are correlated within a seed, a
share of accepted candidates that differs between seeds, and repeated rows: none, a few, finitely many distinct ones, or
by a power law. The result is how often the whole run fell into its pilot's interval: over all such projects, and
separately for each of the kinds for which twenty seeds are least informative.

    python -m bench.forecast.run [PROJECTS]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from bench.forecast import costs
from bench.harness import keep
from curate.forecast import Pilot, forecast_accepted_rows, forecast_sum
from pairsmith.receipts.outcome import ENDLESS

PILOT_SEEDS = 20
_USD = 1.6e-6  # per token


class Simulated(NamedTuple):
    """A whole run, seed by seed: cost, rows before duplicate removal by content, and the maximum cost of a seed."""

    usd: list[float]
    rows: list[list[int]]
    most_usd: float
    best: int


def project(number: int) -> Simulated:
    """The `number`-th project; the pilot's seeds come first."""
    random = np.random.default_rng(number)
    seeds, n = int(random.choice([60, 200, 800, 2_000])), int(random.choice([1, 2, 4]))
    best = int(random.choice([1, min(n, 2)]))
    limit = 512.0
    shape = random.choice(["lognormal", "pareto", "bimodal", "gamma"])
    spread, correlation = random.uniform(0.2, 1.2), random.uniform(0, 0.9)
    usd = []
    for _ in range(seeds):
        of_seed = random.normal()
        z = np.sqrt(correlation) * of_seed + np.sqrt(1 - correlation) * random.normal(size=n)
        if shape == "lognormal":
            tokens = 80 * np.exp(spread * z)
        elif shape == "pareto":
            tokens = 30 * (1 + random.pareto(1.5, size=n)) * np.exp(0.3 * of_seed)
        elif shape == "bimodal":
            tokens = np.where(random.random() < 0.15, 400.0, 60.0) * np.exp(0.2 * z)
        else:
            tokens = random.gamma(2, 50, size=n)
        prompt = random.integers(80, 200)
        usd.append(float(prompt * 0.4 + np.minimum(tokens, limit).sum() * 1.6) / 1e6)
    a, b = random.choice([[8.0, 2.0], [2.0, 2.0], [0.7, 0.7], [1.0, 4.0]])
    passes = random.beta(a, b, size=seeds)
    kinds = _kinds(random, seeds * best)
    rows = [[next(kinds) for _ in range(min(best, int(random.binomial(n, share))))] for share in passes]
    return Simulated(usd, rows, (200 * 0.4 + n * limit * 1.6) / 1e6, best)


def _kinds(random: np.random.Generator, rows: int) -> Iterator[int]:
    """The content of each row as a number: equal numbers are duplicates."""
    model = random.choice(["none", "few", "finite", "power"])
    if model == "none":
        yield from range(rows)
        return
    if model == "finite":
        distinct = int(random.integers(max(20, rows // 4), 8 * rows))
        while True:
            yield int(random.integers(distinct))
    discount = 0.0 if model == "few" else float(random.uniform(0.3, 0.7))
    theta = float(np.exp(random.uniform(np.log(30), np.log(3_000))))
    kinds: list[int] = []
    sizes: list[int] = []
    while True:
        new = (theta + discount * len(sizes)) / (theta + len(kinds))
        if not kinds or random.random() < new:
            kind = len(sizes)
            sizes.append(1)
        else:
            weight = np.asarray(sizes) - discount
            kind = int(random.choice(len(sizes), p=weight / weight.sum()))
            sizes[kind] += 1
        kinds.append(kind)
        yield kind


# The content of each row of a project; all its seeds cost the same.
ROWS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "100 different rows in all": lambda random, rows: random.integers(100, size=rows),
    "300 different rows in all": lambda random, rows: random.integers(300, size=rows),
    "each row twice": lambda random, rows: random.permutation(np.arange(rows) // 2),
    "each row ten times": lambda random, rows: random.permutation(np.arange(rows) // 10),
    "Zipf, exponent 1.2": lambda random, rows: random.zipf(1.2, size=rows),
    "five rows are a tenth of all": lambda random, rows: np.where(
        random.random(rows) < 0.1, -1 - random.integers(5, size=rows), np.arange(rows)
    ),
}


def _giants(share: float, times: float, random: np.random.Generator, answers: int) -> np.ndarray:
    return 100 * np.exp(0.3 * random.normal(size=answers)) * np.where(random.random(answers) < share, times, 1)


# Tokens of answers without `max_tokens`.
TOKENS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "2 % of answers 50 times as long": partial(_giants, 0.02, 50.0),
    "2 % of answers 100 times as long": partial(_giants, 0.02, 100.0),
    "1 % of answers 300 times as long": partial(_giants, 0.01, 300.0),
    "lognormal, sigma 2": lambda random, answers: 100 * np.exp(2 * random.normal(size=answers)),
    "Pareto, index 1.1": lambda random, answers: 30 * (1 + random.pareto(1.1, size=answers)),
}
# All answers to 5 % of the seeds run to a `max_tokens` of 512 and are requested again, the others have about 40 tokens.
CUT, _LIMIT, _ATTEMPTS = "5 % of seeds at max_tokens", 512, 2


def hard(kind: str, number: int) -> Simulated:
    """The `number`-th project of a kind for which twenty seeds are little informative."""
    random = np.random.default_rng(number)
    seeds, n = int(random.choice([60, 200, 800, 2_000])), int(random.choice([1, 2, 4]))
    usd, limit = [1.0] * seeds, 1.0
    if kind == CUT:
        lengths = np.minimum(40 * np.exp(0.3 * random.normal(size=seeds)), _LIMIT)
        of_seed = np.where(random.random(seeds) < 0.05, _ATTEMPTS * _LIMIT, lengths)
        usd, limit = [float(cost) for cost in n * of_seed * _USD], n * _ATTEMPTS * _LIMIT * _USD  # as in `costs_of`
    elif kind in TOKENS:
        tokens = np.minimum(TOKENS[kind](random, seeds * n), ENDLESS).reshape(seeds, n)
        if random.random() < 0.5:  # all answers to a seed are as long as its first
            tokens = np.repeat(tokens[:, :1], n, axis=1)
        usd = [float(cost) for cost in tokens.sum(1) * _USD]
        limit = max(usd[:PILOT_SEEDS]) + ENDLESS * _USD  # as in `costs_of`
    best = min(n, 2)
    count = random.binomial(best, random.beta(2, 2, size=seeds))
    rows = int(count.sum())
    contents = iter((ROWS[kind](random, rows) if kind in ROWS else np.arange(rows)).tolist())
    return Simulated(usd, [[next(contents) for _ in range(of_seed)] for of_seed in count], limit, best)


def coverage(projects: int, simulated: Callable[[int], Simulated] = project) -> dict[str, float]:
    """The shares of projects whose whole run was within the pilot's interval, and the median widths."""
    inside: Counter[str] = Counter()
    widths: dict[str, list[float]] = {"usd": [], "rows": []}
    for number in range(projects):
        run = simulated(number)
        others = len(run.usd) - PILOT_SEEDS
        # Equal candidates of one seed are one row.
        first = [kind for rows in run.rows[:PILOT_SEEDS] for kind in set(rows)]
        pilot = Pilot([len(set(rows)) for rows in run.rows[:PILOT_SEEDS]], list(Counter(first).values()))
        money = forecast_sum(run.usd[:PILOT_SEEDS], others, run.most_usd)
        rows = forecast_accepted_rows(pilot, others, run.best)
        assert money is not None
        assert rows is not None
        truth = {"usd": sum(run.usd), "rows": float(len({kind for kinds in run.rows for kind in kinds}))}
        for name, interval in (("usd", money), ("rows", rows)):
            inside[name] += interval.low <= truth[name] * (1 + 1e-9) and truth[name] <= interval.high * (1 + 1e-9)
            widths[name].append((interval.high - interval.low) / max(truth[name], 1e-9))
    shares = {f"{name}_coverage": inside[name] / projects for name in widths}
    return {"projects": projects, **shares, **{f"{name}_width": float(np.median(w)) for name, w in widths.items()}}


def hard_coverage(projects: int) -> dict[str, dict[str, float]]:
    """For each kind for which twenty seeds are least informative, the share of intervals that contained the run and
    their median width."""
    kinds = {**dict.fromkeys(ROWS, "rows"), **dict.fromkeys((*TOKENS, CUT), "usd")}
    shares = {kind: coverage(projects, partial(hard, kind)) for kind in kinds}
    return {
        kind: {name: round(shares[kind][f"{of}_{name}"], 3) for name in ("coverage", "width")}
        for kind, of in kinds.items()
    }


def main() -> None:
    projects = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    shares = {**coverage(projects), "hard": hard_coverage(projects), "costs": costs.coverage(projects // 2)}
    keep("forecast", {"simulated": True, **shares}, whole=True)


if __name__ == "__main__":
    main()
