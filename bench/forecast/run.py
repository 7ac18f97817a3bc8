"""Do the forecast's intervals hold? Simulated projects, each with a pilot and the whole run that followed.

SIMULATED, not measured: no teacher is asked. A project has heavy-tailed costs whose candidates are alike within a seed,
a share of accepted candidates that differs from seed to seed, and rows that repeat: none, a few, finitely many distinct
ones, or by a power law. What is printed is how often the whole run fell into the interval that its pilot gave.

    python -m bench.forecast.run [PROJECTS]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.harness import keep
from curate.forecast import Pilot, accepted_rows, summed_up

PILOT_SEEDS = 20


class Simulated(NamedTuple):
    """A whole run, seed by seed: cost, rows before duplicates with what each says, and the most that a seed costs."""

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
    spread, alike = random.uniform(0.2, 1.2), random.uniform(0, 0.9)
    usd = []
    for _ in range(seeds):
        of_seed = random.normal()
        z = np.sqrt(alike) * of_seed + np.sqrt(1 - alike) * random.normal(size=n)
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
    """What each row says, as a number: equal ones are duplicates."""
    model = random.choice(["none", "few", "finite", "power"])
    if model == "none":
        yield from range(rows)
        return
    if model == "finite":
        there = int(random.integers(max(20, rows // 4), 8 * rows))
        while True:
            yield int(random.integers(there))
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


def coverage(projects: int) -> dict[str, float]:
    """The shares of projects whose whole run lay in the pilot's interval, and the median widths."""
    inside: Counter[str] = Counter()
    widths: dict[str, list[float]] = {"usd": [], "rows": []}
    for number in range(projects):
        run = project(number)
        others = len(run.usd) - PILOT_SEEDS
        first = [kind for rows in run.rows[:PILOT_SEEDS] for kind in rows]
        pilot = Pilot([len(rows) for rows in run.rows[:PILOT_SEEDS]], list(Counter(first).values()))
        money = summed_up(run.usd[:PILOT_SEEDS], others, run.most_usd)
        rows = accepted_rows(pilot, others, run.best)
        assert money is not None
        assert rows is not None
        truth = {"usd": sum(run.usd), "rows": float(len({kind for kinds in run.rows for kind in kinds}))}
        for name, interval in (("usd", money), ("rows", rows)):
            inside[name] += interval.low <= truth[name] <= interval.high
            widths[name].append((interval.high - interval.low) / max(truth[name], 1e-9))
    shares = {f"{name}_coverage": inside[name] / projects for name in widths}
    return {"projects": projects, **shares, **{f"{name}_width": float(np.median(w)) for name, w in widths.items()}}


def main() -> None:
    shares = coverage(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    keep("forecast", {"simulated": True, **shares}, whole=True)


if __name__ == "__main__":
    main()
