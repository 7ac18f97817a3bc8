"""Do the intervals and the test of an evaluation hold what they promise? `python bench/proof/run.py [RUNS]`

Everything here is SIMULATED: no model is asked. Each setting draws RUNS (2,000) evaluations in which the chance to pass
varies from input to input (beta-binomial): `icc` is the correlation of two answers to one input, `shared` how much of
an input's difficulty two systems have in common. Intervals and test are the product's own (`train.intervals`), beside
three public ones on the same draws: the percentile bootstrap over inputs (what earlier versions of pairsmith used),
Base's t over the inputs' differences, and the adjusted Wald interval of Bonett and Price (2012).

Writes bench/results/proof.json: every setting with its counts. What it prints are the worst settings, each with the
95 % Monte-Carlo bounds of its number.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from curate.split import LEAST_TEST_INPUTS
from train.intervals import Floats, Limits, difference_limits, share_limits, sign_flips, student_quantile

SEEDS, SAMPLES, ICC, SHARED = (5, 8, 12, 27, 100), (1, 3), (0.0, 0.3, 0.6, 0.9), (0.0, 0.8)
RATES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
UNEQUAL = (
    (0.05, 0.1),
    (0.1, 0.3),
    (0.02, 0.27),
    (0.0, 0.3),
    (0.3, 0.7),
    (0.6, 0.7),
    (0.5, 0.9),
    (0.9, 1.0),
    (0.0, 1.0),
)
# The bootstrap costs most and is no candidate any more: it gets a quarter of the runs.
RESAMPLES, BOOTSTRAPPED, COMPARISONS, LEVEL = 1000, 4, 6, 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
RESULTS = Path(__file__).parents[1] / "results" / "proof.json"


def passes(
    rng: np.random.Generator, rates: tuple[float, ...], seeds: int, samples: int, icc: float, shared: float, runs: int
) -> list[Floats]:
    """(runs, seeds) passes of one system for each rate. Chances are beta: ratios of gammas, part of them in common."""
    if icc == 0:
        return [rng.binomial(samples, rate, size=(runs, seeds)).astype(np.float64) for rate in rates]
    strength, size = (1 - icc) / icc, (runs, seeds)
    least_up, least_down = min(rates), 1 - max(rates)
    up, down = (_gamma(rng, shared * least * strength, size) for least in (least_up, least_down))
    found = []
    for rate in rates:
        mine = up + _gamma(rng, rate * strength - shared * least_up * strength, size)
        both = mine + down + _gamma(rng, (1 - rate) * strength - shared * least_down * strength, size)
        # Tiny shapes underflow to 0 / 0: such an input is all or nothing.
        chance = np.where(both > 0, mine / np.where(both > 0, both, 1), rng.random(size) < rate)
        found.append(rng.binomial(samples, np.clip(chance, 0, 1)).astype(np.float64))
    return found


def _gamma(rng: np.random.Generator, shape: float, size: tuple[int, int]) -> Floats:
    return rng.gamma(shape, size=size) if shape > 1e-12 else np.zeros(size)


def bootstrap(a: Floats, b: Floats | None, samples: int, rng: np.random.Generator) -> Limits:
    """Percentiles over resampled inputs; for a share without variation the exact bound, as earlier versions had it."""
    runs = max(1, len(a) // BOOTSTRAPPED)
    values = (a[:runs] if b is None else a[:runs] - b[:runs]) / samples
    seeds = a.shape[1]
    draws = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    low, high = np.quantile(draws @ values.T, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    estimate = values.mean(1)
    if b is None:
        bound = ((1 - LEVEL) / 2) ** (1 / seeds)
        low, high = np.where(estimate == 1, bound, low), np.where(estimate == 0, 1 - bound, high)
    return Limits(estimate, low, high)


def student(a: Floats, b: Floats, samples: int) -> Limits:
    """The t interval of the mean of the inputs' differences."""
    gaps = (a - b) / samples
    half = student_quantile(gaps.shape[1] - 1, LEVEL) * gaps.std(1, ddof=1) / np.sqrt(gaps.shape[1])
    return Limits(gaps.mean(1), gaps.mean(1) - half, gaps.mean(1) + half)


def bonett_price(a: Floats, b: Floats, samples: int) -> Limits:
    """Two inputs are added on which one system is right and the other wrong, one each way."""
    gaps = (a - b) / samples
    seeds = gaps.shape[1] + 2
    middle = gaps.sum(1) / seeds
    half = Z * np.sqrt((((gaps**2).sum(1) + 2) / seeds - middle**2) / seeds)
    return Limits(gaps.mean(1), np.maximum(middle - half, -1), np.minimum(middle + half, 1))


def shares(runs: int) -> Iterator[dict[str, Any]]:
    """Coverage and width of the interval of a share."""
    rng = np.random.default_rng(1)
    for seeds, samples, icc, rate in itertools.product(SEEDS, SAMPLES, ICC, RATES):
        (a,) = passes(rng, (rate,), seeds, samples, icc, 0.0, runs)
        place = {"seeds": seeds, "samples": samples, "icc": icc, "rate": rate}
        yield from _covered(
            {
                "score (pairsmith)": share_limits(a, np.full_like(a, samples), LEVEL),
                "bootstrap": bootstrap(a, None, samples, rng),
            },
            rate,
            {"of": "share", **place},
        )


def differences(runs: int) -> Iterator[dict[str, Any]]:
    """Coverage, width, and how often a difference is claimed."""
    rng = np.random.default_rng(2)
    pairs = (*((rate, rate) for rate in RATES), *UNEQUAL)
    for seeds, samples, icc, shared, (low, high) in itertools.product(SEEDS, SAMPLES, ICC, SHARED, pairs):
        b, a = passes(rng, (low, high), seeds, samples, icc, shared, runs)
        asked = np.full_like(a, samples)
        p = sign_flips((a - b).astype(np.int64))
        ours = difference_limits(a, asked, b, asked, LEVEL)
        apart = (ours.low > 0) | (ours.high < 0)
        place = {"of": "difference", "seeds": seeds, "samples": samples, "icc": icc, "shared": shared}
        place |= {"rates": [low, high]}
        for row in _covered(
            {
                "score (pairsmith)": ours,
                "bootstrap": bootstrap(a, b, samples, rng),
                "t": student(a, b, samples),
                "Bonett-Price": bonett_price(a, b, samples),
            },
            high - low,
            place,
        ):
            if row["method"] == "score (pairsmith)":
                row["claimed_alone"] = float(np.mean(apart & (p <= 1 - LEVEL)))
                # Holm's strictest step: what one of six comparisons needs if it is the first.
                row["claimed_of_six"] = float(np.mean(apart & (p <= (1 - LEVEL) / COMPARISONS)))
            yield row


def families(runs: int) -> Iterator[dict[str, Any]]:
    """Four equal systems, sampled and greedy: how often at least one of the six comparisons is called better or worse
    after Holm, if the least number of inputs were not asked for."""
    rng = np.random.default_rng(3)
    for seeds, icc, shared, rate in itertools.product(SEEDS, ICC, SHARED, RATES[1:-1]):
        claimed = np.zeros(runs, dtype=bool)
        for samples in (3, 1):
            *rest, tuned = passes(rng, (rate,) * 4, seeds, samples, icc, shared, runs)
            asked = np.full_like(tuned, samples)
            for other in rest:
                limits = difference_limits(tuned, asked, other, asked, LEVEL)
                apart = (limits.low > 0) | (limits.high < 0)
                p = sign_flips((tuned - other).astype(np.int64))
                # Something is claimed after Holm only if the smallest p, times six, is small enough.
                claimed |= apart & (p * COMPARISONS <= 1 - LEVEL)
        place = {"of": "family", "seeds": seeds, "icc": icc, "shared": shared, "rate": rate}
        yield {**place, "runs": runs, "any_claimed": float(claimed.mean())}


def _covered(methods: dict[str, Limits], truth: float, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, limits in methods.items():
        inside = (limits.low <= truth + 1e-9) & (truth - 1e-9 <= limits.high)
        apart = (limits.low > 0) | (limits.high < 0)
        yield {
            **place,
            "method": name,
            "runs": len(inside),
            "coverage": float(inside.mean()),
            "width": round(float((limits.high - limits.low).mean()), 4),
            **({"excludes_zero": float(apart.mean())} if place["of"] == "difference" else {}),
        }


def bounds(rate: float, runs: int) -> str:
    """The Monte-Carlo bounds of a rate (Wilson, 95 %), in percent."""
    z2 = Z * Z
    middle = (rate + z2 / (2 * runs)) / (1 + z2 / runs)
    half = Z * np.sqrt(rate * (1 - rate) / runs + z2 / (4 * runs * runs)) / (1 + z2 / runs)
    return f"{100 * rate:.1f} [{100 * max(0, middle - half):.1f}, {100 * min(1, middle + half):.1f}]"


def worst(rows: list[dict[str, Any]], key: str, choose: Callable[..., Any]) -> list[str]:
    """The worst setting for each number of inputs."""
    found = []
    for seeds in SEEDS:
        here = [row for row in rows if row["seeds"] == seeds]
        row = choose(here, key=lambda row: row[key])
        found.append(bounds(row[key], row["runs"]))
    return found


def mean(rows: list[dict[str, Any]], key: str) -> list[str]:
    return [f"{np.mean([row[key] for row in rows if row['seeds'] == seeds]):.3f}" for seeds in SEEDS]


def table(title: str, lines: dict[str, list[str]]) -> None:
    print(f"\n{title}\n\n| | " + " | ".join(f"{seeds} inputs" for seeds in SEEDS) + " |")
    print("|---|" + "---:|" * len(SEEDS))
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def tell(rows: list[dict[str, Any]]) -> None:
    for of in ("share", "difference"):
        here = [row for row in rows if row["of"] == of]
        by = {name: [r for r in here if r["method"] == name] for name in dict.fromkeys(r["method"] for r in here)}
        table(
            f"Coverage of a {of}, worst setting, % (simulated)", {n: worst(r, "coverage", min) for n, r in by.items()}
        )
        table(f"Width of the interval of a {of}, mean of all settings", {n: mean(r, "width") for n, r in by.items()})
    gaps = [row for row in rows if row["of"] == "difference"]
    null = [row for row in gaps if row["rates"][0] == row["rates"][1]]
    lines = {
        f"{name}: the interval alone": worst([r for r in null if r["method"] == name], "excludes_zero", max)
        for name in dict.fromkeys(r["method"] for r in null)
    }
    ours = [row for row in null if "claimed_alone" in row]
    lines["pairsmith: interval and exact test, one comparison"] = worst(ours, "claimed_alone", max)
    family = [row for row in rows if row["of"] == "family"]
    lines["pairsmith: any of six comparisons, after Holm"] = worst(family, "any_claimed", max)
    table('Equal systems called "better" or "worse", worst setting, % (simulated)', lines)
    power = {}
    for low, high in ((0.1, 0.3), (0.02, 0.27), (0.3, 0.7), (0.0, 0.3)):
        some = [r for r in gaps if r["rates"] == [low, high] and r["samples"] == 3 and "claimed_of_six" in r]
        cells = mean(some, "claimed_of_six")
        named = [cell if seeds >= LEAST_TEST_INPUTS else f"({cell})" for seeds, cell in zip(SEEDS, cells, strict=True)]
        power[f"{low:.0%} against {high:.0%}"] = named
    table("Share of evaluations that call a real difference so, the first of six comparisons, 3 samples", power)


def grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a setting, with what each method came to: [coverage, mean width, share that excludes zero]."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        place = {
            name: row[name] for name in ("of", "seeds", "samples", "icc", "shared", "rate", "rates") if name in row
        }
        one = found.setdefault(json.dumps(place), place)
        if "method" in row:
            numbers = [row[name] for name in ("coverage", "width", "excludes_zero") if name in row]
            one.setdefault("methods", {})[row["method"]] = numbers
        one |= {name: row[name] for name in ("claimed_alone", "claimed_of_six", "any_claimed") if name in row}
    return list(found.values())


def main(runs: int) -> None:
    started = time.monotonic()
    rows = [*shares(runs), *differences(runs), *families(runs)]
    RESULTS.parent.mkdir(exist_ok=True)
    about = {"simulated": True, "runs": runs, "level": LEVEL, "seconds": round(time.monotonic() - started, 1)}
    body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in grouped(rows))
    RESULTS.write_text(f'{json.dumps(about)[:-1]}, "settings": [\n{body}\n]}}\n')
    print(f"{len(rows)} settings of {runs} simulated evaluations each in {about['seconds']} s")
    tell(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
