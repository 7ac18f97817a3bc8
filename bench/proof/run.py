"""Do the intervals and the test of an evaluation have the promised error rates? `python -m bench.proof.run [RUNS]`

Everything here is SIMULATED: no model is asked. Each setting draws RUNS (2,000) evaluations in which the chance to pass
varies between inputs (beta-binomial): `icc` is the correlation of two answers to one input, `shared` how much of an
input's difficulty two systems have in common. Intervals and test are the product's own (`train.evaluation.intervals`),
compared with three public ones on the same draws: the percentile bootstrap over inputs (used by earlier versions of
pairsmith), Student's t over the inputs' differences, and the adjusted Wald interval of Bonett and Price (2012).

With one answer per input the probability of every outcome is known, so coverage and claims are also summed exactly,
without any draw (`exact_shares`, `exact_differences`).

Writes bench/results/proof.json: every setting with its counts. It prints the worst settings, each with the 95 %
Monte-Carlo bounds of its number.
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
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy
from scipy.stats import binom, binomtest

from bench.proof.related import contains, excludes_zero, related, worst_of_related
from curate.split import LEAST_TEST_INPUTS
from train.evaluation.intervals import student_quantile
from train.evaluation.limits import Bounds, Floats, difference_limits, share_limits, sign_flips

EXACT_SHARES, EXACT_DIFFERENCES = (5, 8, 12, 27, 100, 500), (5, 8, 12, 27, 100)
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
# Four systems beside the tuned one (base, few-shot, retrieval, teacher), sampled and greedy.
OTHERS = 4
# The bootstrap is the most expensive and no longer a candidate: it gets a quarter of the runs.
RESAMPLES, BOOTSTRAPPED, COMPARISONS, LEVEL = 1000, 4, 2 * OTHERS, 0.95
AGAIN = 25
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
RESULTS = Path(__file__).parents[1] / "results" / "proof.json"


def passes(
    rng: np.random.Generator,
    rates: tuple[float, ...],
    seeds: int,
    samples: int | NDArray[np.int64],
    icc: float,
    shared: float,
    runs: int,
) -> list[Floats]:
    """(runs, seeds) passes of one system for each rate; `samples` may differ by seed. Probabilities are beta: ratios of
    gammas, partly shared."""
    if icc == 0:
        return [rng.binomial(samples, rate, size=(runs, seeds)).astype(np.float64) for rate in rates]
    strength, size = (1 - icc) / icc, (runs, seeds)
    least_up, least_down = min(rates), 1 - max(rates)
    up, down = (_gamma(rng, shared * least * strength, size) for least in (least_up, least_down))
    passed = []
    for rate in rates:
        mine = up + _gamma(rng, rate * strength - shared * least_up * strength, size)
        both = mine + down + _gamma(rng, (1 - rate) * strength - shared * least_down * strength, size)
        # Tiny shapes underflow to 0 / 0: all answers to such an input pass, or none.
        chance = np.where(both > 0, mine / np.where(both > 0, both, 1), rng.random(size) < rate)
        passed.append(rng.binomial(samples, np.clip(chance, 0, 1)).astype(np.float64))
    return passed


def _gamma(rng: np.random.Generator, shape: float, size: tuple[int, int]) -> Floats:
    return rng.gamma(shape, size=size) if shape > 1e-12 else np.zeros(size)


def bootstrap(a: Floats, b: Floats | None, samples: int, rng: np.random.Generator) -> Bounds:
    """Percentiles over resampled inputs; for a share without variation the exact bound, as in earlier versions."""
    runs = max(1, len(a) // BOOTSTRAPPED)
    values = (a[:runs] if b is None else a[:runs] - b[:runs]) / samples
    seeds = a.shape[1]
    draws = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    low, high = np.quantile(draws @ values.T, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    estimate = values.mean(1)
    if b is None:
        bound = ((1 - LEVEL) / 2) ** (1 / seeds)
        low, high = np.where(estimate == 1, bound, low), np.where(estimate == 0, 1 - bound, high)
    return Bounds(estimate, low, high)


def student(a: Floats, b: Floats, samples: int) -> Bounds:
    """The t interval of the mean of the inputs' differences."""
    gaps = (a - b) / samples
    half = student_quantile(gaps.shape[1] - 1, LEVEL) * gaps.std(1, ddof=1) / np.sqrt(gaps.shape[1])
    return Bounds(gaps.mean(1), gaps.mean(1) - half, gaps.mean(1) + half)


def bonett_price(a: Floats, b: Floats, samples: int) -> Bounds:
    """Adds two inputs on which exactly one system passes, one in each direction."""
    gaps = (a - b) / samples
    seeds = gaps.shape[1] + 2
    middle = gaps.sum(1) / seeds
    half = Z * np.sqrt((((gaps**2).sum(1) + 2) / seeds - middle**2) / seeds)
    return Bounds(gaps.mean(1), np.maximum(middle - half, -1), np.minimum(middle + half, 1))


def shares(runs: int) -> Iterator[dict[str, Any]]:
    """Coverage and width of the interval of a share."""
    rng = np.random.default_rng(1)
    for seeds, samples, icc, rate in itertools.product(SEEDS, SAMPLES, ICC, RATES):
        (a,) = passes(rng, (rate,), seeds, samples, icc, 0.0, runs)
        place = {"seeds": seeds, "samples": samples, "icc": icc, "rate": rate}
        yield from _coverage_rows(
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
        claims = excludes_zero(ours)
        place = {"of": "difference", "seeds": seeds, "samples": samples, "icc": icc, "shared": shared}
        place |= {"rates": [low, high]}
        for row in _coverage_rows(
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
                row["claimed_alone"] = float(np.mean(claims & (p <= 1 - LEVEL)))
                # Holm's strictest step: what a comparison needs if it has the smallest p.
                row["claimed_first"] = float(np.mean(claims & (p <= (1 - LEVEL) / COMPARISONS)))
            yield row


def redraw_worst(rows: list[dict[str, Any]], runs: int) -> Iterator[dict[str, Any]]:
    """The worst setting of each number of inputs, drawn AGAIN times as often from another stream: the worst of many
    settings is partly bad luck, and this shows how much."""
    rng = np.random.default_rng(4)
    ours = [row for row in rows if row.get("method") == "score (pairsmith)"]
    for of, seeds in itertools.product(("share", "difference"), SEEDS):
        row = min((r for r in ours if (r["of"], r["seeds"]) == (of, seeds)), key=lambda r: r["coverage"])
        places = ("seeds", "samples", "icc", "shared", "rate", "rates")
        place: dict[str, Any] = {name: row[name] for name in places if name in row}
        rates, samples = tuple(row.get("rates", (row.get("rate"),))), row["samples"]
        held = 0
        for _ in range(AGAIN):
            b, *more = passes(rng, rates, seeds, samples, row["icc"], row.get("shared", 0.0), runs)
            asked = np.full_like(b, samples)
            limits = difference_limits(more[0], asked, b, asked, LEVEL) if more else share_limits(b, asked, LEVEL)
            truth = rates[-1] - rates[0] if more else rates[0]
            held += int(contains(limits, truth).sum())
        yield {"of": f"{of}, again", **place, "runs": AGAIN * runs, "coverage": held / (AGAIN * runs)}


def families(runs: int) -> Iterator[dict[str, Any]]:
    """Equal systems, sampled and greedy: how often at least one of the comparisons is called better or worse after
    Holm, without the minimum number of inputs, and how often all simultaneous intervals contain zero."""
    rng = np.random.default_rng(3)
    together = 1 - (1 - LEVEL) / COMPARISONS
    for seeds, icc, shared, rate in itertools.product(SEEDS, ICC, SHARED, RATES[1:-1]):
        claimed, held = np.zeros(runs, dtype=bool), np.ones(runs, dtype=bool)
        for samples in (3, 1):
            *rest, tuned = passes(rng, (rate,) * (OTHERS + 1), seeds, samples, icc, shared, runs)
            asked = np.full_like(tuned, samples)
            for other in rest:
                limits = difference_limits(tuned, asked, other, asked, LEVEL)
                p = sign_flips((tuned - other).astype(np.int64))
                # Holm claims something only if the smallest p, times the number of comparisons, is small enough.
                claimed |= excludes_zero(limits) & (p * COMPARISONS <= 1 - LEVEL)
                held &= ~excludes_zero(difference_limits(tuned, asked, other, asked, together))
        place = {"of": "family", "seeds": seeds, "icc": icc, "shared": shared, "rate": rate}
        yield {**place, "runs": runs, "any_claimed": float(claimed.mean()), "all_held": float(held.mean())}


def exact_shares() -> Iterator[dict[str, Any]]:
    """The coverage of a share with one answer per input, at rates from 0 to 1 in steps of 0.01: sums of binomials."""
    for seeds in EXACT_SHARES:
        hits = np.tril(np.ones((seeds + 1, seeds)), -1)
        limits = share_limits(hits, np.ones_like(hits), LEVEL)
        for rate in np.linspace(0, 1, 101):
            chance = binom.pmf(np.arange(seeds + 1), seeds, rate)
            place = {"of": "share, exact", "seeds": seeds, "rate": round(float(rate), 2)}
            yield {**place, "coverage": chance @ contains(limits, float(rate))}


def exact_differences() -> Iterator[dict[str, Any]]:
    """Coverage of a difference with one answer per input, and how often it is claimed: sums over all tables of inputs
    that both, one, the other or none passes. `both` is the share that both pass: as with independent systems, as large
    as the rates allow, or as small (`opposed`: one passes what the other fails)."""
    grid = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)
    for seeds in EXACT_DIFFERENCES:
        cells = np.array([(i, j, k) for i in range(seeds + 1) for j in range(seeds + 1 - i)
                          for k in range(seeds + 1 - i - j)])  # fmt: skip
        limits, p = _of_tables(cells, seeds)
        claims = excludes_zero(limits)
        whole = np.column_stack([cells, seeds - cells.sum(1)])
        ways = gammaln(seeds + 1) - gammaln(whole + 1).sum(1)
        for a, b in itertools.combinations_with_replacement(grid, 2):
            for both in sorted({a * b, a, max(0.0, a + b - 1)}):
                shares = (both, b - both, a - both, 1 - a - b + both)
                chance = np.exp(ways + sum(xlogy(whole[:, at], max(share, 0.0)) for at, share in enumerate(shares)))
                yield {
                    "of": "difference, exact",
                    "seeds": seeds,
                    "rates": [a, b],
                    "both": round(both, 4),
                    "opposed": bool(both < a * b - 1e-9),
                    "coverage": float(chance @ contains(limits, b - a)),
                    "claimed_alone": float(chance @ (claims & (p <= 1 - LEVEL))),
                    "claimed_first": float(chance @ (claims & (p <= (1 - LEVEL) / COMPARISONS))),
                }


def _of_tables(cells: Any, seeds: int) -> tuple[Bounds, Floats]:
    """The product's interval and p for every table (both, only b, only a), in chunks."""
    parts, place = [], np.arange(seeds)
    for chunk in np.array_split(cells, max(1, len(cells) * seeds // 2_000_000)):
        both, only_b, only_a = (chunk[:, at, None] for at in range(3))
        b = (place < both + only_b).astype(np.float64)
        a = ((place < both) | ((place >= both + only_b) & (place < both + only_b + only_a))).astype(np.float64)
        asked = np.ones_like(a)
        parts.append((*difference_limits(b, asked, a, asked, LEVEL), sign_flips((b - a).astype(np.int64))))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Bounds(*columns[:3]), columns[3]


def _coverage_rows(methods: dict[str, Bounds], truth: float, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, limits in methods.items():
        yield {
            **place,
            "method": name,
            "runs": len(limits.low),
            "coverage": float(contains(limits, truth).mean()),
            "width": round(float((limits.high - limits.low).mean()), 4),
            **({"excludes_zero": float(excludes_zero(limits).mean())} if place["of"] == "difference" else {}),
        }


def bounds(rate: float, runs: int) -> str:
    """A rate with its Monte-Carlo bounds (Wilson, 95 %), in percent."""
    ends = binomtest(round(rate * runs), runs).proportion_ci(LEVEL, "wilson")
    return f"{100 * rate:.1f} [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def worst(rows: list[dict[str, Any]], key: str, choose: Callable[..., Any]) -> list[str]:
    """The worst setting for each number of inputs."""
    rates = []
    for seeds in SEEDS:
        rows_here = [row for row in rows if row["seeds"] == seeds]
        row = choose(rows_here, key=lambda row: row[key])
        rates.append(bounds(row[key], row["runs"]))
    return rates


def _worst_exact(rows: list[dict[str, Any]], key: str, choose: Callable[..., Any]) -> list[str]:
    return [f"{100 * choose(row[key] for row in rows if row['seeds'] == seeds):.1f}" for seeds in SEEDS]


def mean(rows: list[dict[str, Any]], key: str) -> list[str]:
    return [f"{np.mean([row[key] for row in rows if row['seeds'] == seeds]):.3f}" for seeds in SEEDS]


def table(title: str, lines: dict[str, list[str]]) -> None:
    print(f"\n{title}\n\n| | " + " | ".join(f"{seeds} inputs" for seeds in SEEDS) + " |")
    print("|---|" + "---:|" * len(SEEDS))
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_tables(rows: list[dict[str, Any]]) -> None:
    for of in ("share", "difference"):
        rows_here = [row for row in rows if row["of"] == of]
        by = {
            name: [r for r in rows_here if r["method"] == name]
            for name in dict.fromkeys(r["method"] for r in rows_here)
        }
        table(
            f"Coverage of a {of}, worst setting, % (simulated)", {n: worst(r, "coverage", min) for n, r in by.items()}
        )
        table(f"Width of the interval of a {of}, mean of all settings", {n: mean(r, "width") for n, r in by.items()})
    redrawn = {
        f"a {of}": worst([row for row in rows if row["of"] == f"{of}, again"], "coverage", min)
        for of in ("share", "difference")
    }
    table(f"pairsmith's worst settings, drawn again {AGAIN} times as often: coverage, %", redrawn)
    gaps = [row for row in rows if row["of"] == "difference"]
    null = [row for row in gaps if row["rates"][0] == row["rates"][1]]
    lines = {
        f"{name}: the interval alone": worst([r for r in null if r["method"] == name], "excludes_zero", max)
        for name in dict.fromkeys(r["method"] for r in null)
    }
    ours = [row for row in null if "claimed_alone" in row]
    lines["pairsmith: interval and exact test, one comparison"] = worst(ours, "claimed_alone", max)
    family = [row for row in rows if row["of"] == "family"]
    lines[f"pairsmith: any of {COMPARISONS} comparisons, after Holm"] = worst(family, "any_claimed", max)
    table('Equal systems called "better" or "worse", worst setting, % (simulated)', lines)
    together = {"all of them": worst(family, "all_held", min)}
    table(f"Coverage of {COMPARISONS} simultaneous intervals together, worst setting, % (simulated)", together)
    of_shares = [row for row in rows if row["of"] == "share, exact"]
    gaps_known = [row for row in rows if row["of"] == "difference, exact"]
    of_gaps, opposed = ([row for row in gaps_known if row["opposed"] is yes] for yes in (False, True))
    alike = [row for row in gaps_known if row["rates"][0] == row["rates"][1]]
    exact = {
        "coverage of a share": _worst_exact(of_shares, "coverage", min),
        "coverage of a difference": _worst_exact(of_gaps, "coverage", min),
        "coverage of a difference, opposed systems": _worst_exact(opposed, "coverage", min),
        'equal systems called "better" or "worse", one comparison': _worst_exact(alike, "claimed_alone", max),
        f"the same, the first of {COMPARISONS}": _worst_exact(alike, "claimed_first", max),
    }
    table("One answer per input, worst rate, % (exact)", exact)
    power = {}
    for low, high in ((0.1, 0.3), (0.02, 0.27), (0.3, 0.7), (0.0, 0.3)):
        some = [r for r in gaps if r["rates"] == [low, high] and r["samples"] == 3 and "claimed_first" in r]
        cells = mean(some, "claimed_first")
        named = [cell if seeds >= LEAST_TEST_INPUTS else f"({cell})" for seeds, cell in zip(SEEDS, cells, strict=True)]
        power[f"{low:.0%} against {high:.0%}"] = named
    table("Share of evaluations that claim a real difference (the first of the comparisons, 3 samples)", power)


def group_by_setting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per setting, with the results of each method: [coverage, mean width, share that excludes zero]."""
    places: dict[str, dict[str, Any]] = {}
    for row in rows:
        names = ("of", "seeds", "samples", "icc", "shared", "rate", "rates", "both")
        place: dict[str, Any] = {name: row[name] for name in names if name in row}
        one = places.setdefault(json.dumps(place), place)
        if "method" in row:
            numbers = [row[name] for name in ("coverage", "width", "excludes_zero") if name in row]
            one.setdefault("methods", {})[row["method"]] = numbers
        more: tuple[str, ...] = ("claimed_alone", "claimed_first", "any_claimed", "all_held", "opposed")
        more += () if "method" in row else ("coverage", "runs")
        one |= {name: row[name] for name in more if name in row}
    return list(places.values())


def main(runs: int) -> None:
    started = time.monotonic()
    rows = [*exact_shares(), *exact_differences(), *shares(runs), *differences(runs), *families(runs)]
    rows += redraw_worst(rows, runs)
    RESULTS.parent.mkdir(exist_ok=True)
    clustered = [*related(passes, runs)]
    about = {"simulated": True, "runs": runs, "level": LEVEL, "seconds": round(time.monotonic() - started, 1)}
    body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in [*group_by_setting(rows), *clustered])
    RESULTS.write_text(f'{json.dumps(about)[:-1]}, "settings": [\n{body}\n]}}\n')
    print(f"{len(rows) + len(clustered)} settings of {runs} simulated evaluations each in {about['seconds']} s")
    print_tables(rows)
    print("\n" + "\n".join(f"| {what} | {100 * number:.1f} |" for what, number in worst_of_related(clustered)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
