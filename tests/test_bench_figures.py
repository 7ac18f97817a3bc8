"""Benchmark figures are stored as measured, and the manual quotes the stored ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.harness import keep, kept

ROOT = Path(__file__).parents[1]


def test_full_run_drops_figures_of_earlier_runs(tmp_path: Path) -> None:
    """A partial run adds to the file of figures. A full run replaces it, so figures that are no longer measured
    disappear."""
    file = tmp_path / "figures.json"
    keep(file, {"old": 1, "ratio": 2})
    keep(file, {"ratio": 3})
    assert kept(file) == {"old": 1, "ratio": 3}
    keep(file, {"ratio": 4}, whole=True)
    assert kept(file) == {"ratio": 4}


def _results(name: str) -> Any:
    return json.loads((ROOT / f"bench/results/{name}.json").read_text(encoding="utf-8"))


def _quoted_figures() -> Iterator[tuple[str, str]]:
    """Pairs of a page and the text with which it quotes a figure from `bench/results`."""
    curate, dedup, training, forecast = map(_results, ("curate", "dedup", "training", "forecast"))
    yield "gates", f"{curate['rows_per_s']:,.0f} rows a second on two cores"
    yield (
        "bench/dedup/README.md",
        f"in {dedup['cpu_ratio']:.2f} times the CPU of exact hashing and {dedup['peak_mb']} MB, of which the",
    )
    yield "bench/dedup/README.md", f"texts take {dedup['texts_mb']}"
    ours, bare = training["pairsmith"], training["trl"]
    yield "bench/training/README.md", f"a step takes {ours['wall_s']:.2f} seconds against {bare['wall_s']:.2f}"
    yield "bench/training/README.md", f"and {ours['cpu_s']:.2f} of CPU against {bare['cpu_s']:.2f}"
    hard = {kind: f"{round(100 * row['coverage'], 1):g} %" for kind, row in forecast["hard"].items()}
    usd, rows = (f"{round(100 * forecast[f'{name}_coverage'], 1):g} %" for name in ("usd", "rows"))
    yield "money", f"in {usd} for money and {rows} for rows"
    yield "money", f"{hard['100 different rows in all']} where a teacher has 100 different rows in all"
    yield "money", f"{hard['each row ten times']} where each row comes ten times"
    yield "money", f"{hard['Zipf, exponent 1.2']} of Zipf's law"
    yield "money", f"{hard['1 % of answers 300 times as long']} where one answer in a hundred is 300 times as long"
    yield "money", f"It was {hard['5 % of seeds at max_tokens']} where the answers to one seed in twenty run to"
    for row in forecast["hard"].values():
        yield "bench/forecast/README.md", f"| {100 * row['coverage']:.1f} % | {row['width']:.2f} |"
    yield from _proof_sentences()
    generation, faults = _results("generation"), _results("faults")
    for client, cpu_ms in generation["cpu_ms_per_request"].items():
        yield "bench/generation/README.md", f"| {client} | {cpu_ms:.3f} |"
    yield "bench/generation/README.md", f"| CPU per request, relative to bare aiohttp | {generation['cpu_ratio']:.2f}"
    for name, rows in (("peak_mb_2k", "2,000"), ("peak_mb_100k", "100,000")):
        yield "bench/generation/README.md", f"| peak memory, {rows} prompts | {generation[name]} MB"
    lost = f"The committed run lost {faults['rows_lost']} of 2,000 rows"
    yield from (("bench/faults/README.md", words) for words in (lost, f"was {faults['wall_ratio']:.2f} at load"))
    review, coverage = "bench/review/README.md", _results("review")["coverage"]
    least = {reason: _lowest_rate(coverage["stopped"], reason, "passed") for reason in {*_ENDS}}
    yield review, f"every outcome summed, exact | {100 * min(least for _, least in coverage['exact']):.1f} % |"
    for ended, words in _ENDS.items():
        yield review, f"{words} | {_how_measured(ended)} | {100 * least[ended]:.1f} % |"
    lowest_watched = min(_lowest_rate(coverage["stopped"], ended, "accepted") for ended in _ENDS)
    yield review, f"what the gate watches, in all of these | the same | {100 * lowest_watched:.1f} % |"
    for scorer in _results("certificate")["scorers"]:
        of = scorer["certificate"]
        shares = " / ".join(f"{100 * of['accepted_by_labels'][labels]:.0f}" for labels in ("100", "200", "400"))
        broken, at_most = (100 * of[name] + 1e-9 for name in ("failed", "failed_at_most"))  # .25 rounds to .3
        yield review, f"| {shares} % | {broken:.1f} % ({at_most:.1f} %) |"


def _proof_sentences() -> Iterator[tuple[str, str]]:
    """What the benchmark's README says about inputs that belong together, many answers, and F1."""
    settings = _results("proof")["settings"]

    def of(kind: str, key: str = "coverage", **where: Any) -> list[float]:
        rows = [row for row in settings if row["of"] == kind and key in row]
        return [row[key] for row in rows if all(row[name] == value for name, value in where.items())]

    def least(kind: str, key: str = "coverage", **where: Any) -> str:
        return f"{math.floor(1000 * min(of(kind, key, **where)) + 1e-9) / 10:.1f}"

    def most(key: str) -> str:
        return f"{math.ceil(1000 * max(of('difference, groups', key)) - 1e-9) / 10:.1f}"

    shares, gaps, fields, many, many_gaps, labels = (
        "share, groups", "difference, groups", "field F1", "share, many answers", "difference, many answers",
        "macro F1",
    )  # fmt: skip
    counts = {kind: len(of(kind)) for kind in (shares, gaps, fields, many, many_gaps, labels)}
    alone, in_fours = least(shares, "alone"), least(shares, "alone", sizes=[4])
    absent = math.ceil(100 * max(row["absent"] / row["labels"] for row in settings if row["of"] == labels) - 1)
    page = "bench/proof/README.md"
    yield (
        page,
        f"of a share held in at least {least(shares)} % of draws ({counts[shares]} settings), that of a difference in"
        f" at least {least(gaps)} % ({counts[gaps]} settings), and equal systems were called different in at most"
        f" {most('claimed')} %.",
    )
    yield page, f"held in as little as {alone} % ({in_fours} % for groups of four)"
    yield page, f"equal systems were called different in up to {most('claimed_alone')} %."
    yield page, f"a share held in at least {least(many)} % of draws ({counts[many]} settings)"
    yield page, f"in at least {least(fields)} % of draws ({counts[fields]} settings of records"
    yield page, f"all labels in at least {least(labels)} % of draws ({counts[labels]} settings"
    yield page, f"up to {absent} % of them without a test input"
    for kind, words in (
        (shares, "a share of inputs that belong together"),
        (gaps, "a difference of those"),
        (many, "a share, 5 to 20 answers per input"),
        (many_gaps, "a difference, 5 to 20 answers per input"),
        (fields, "field F1"),
        (labels, "macro F1 of all labels, some without a test input"),
    ):
        yield page, f"| {words} | {counts[kind]} | {least(kind)} |"
    least_of_20, plain_of_20 = (least(many_gaps, key, samples=20) for key in ("coverage", "plain"))
    yield page, f"at 20 answers the interval of a difference holds in at least {least_of_20} %, and without it in"
    yield page, f"without it in {plain_of_20} %"
    at_10, widths = (
        least(many_gaps, samples=10),
        [*of(many_gaps, "width", samples=5), *of(many_gaps, "width", samples=10)],
    )
    yield page, f"at five and ten answers it holds in at least {min(at_10, least(many_gaps, samples=5))} % without it"
    yield page, f"{100 * (fmean(widths) - 1):.0f} % wider on average"
    claimed = max(of(many_gaps, "claimed"))
    yield page, f"Equal systems are called different in at most {math.ceil(1000 * claimed - 1e-9) / 10:.1f} %"


_ENDS = {
    "one batch": "ended after one batch",
    "three batches": "ended after three batches",
    "±10 points": "ended at ±10 points",
    "the gate": "ended by the gate",
}


def _how_measured(ended: str) -> str:
    return "20,000 reviews each; lower end of a 99.9 % interval" if ended == "one batch" else "the same"


def _lowest_rate(settings: list[dict[str, Any]], ended: str, rate: str) -> float:
    return min(one[f"at least {rate}"] for one in settings if one["ended by"] == ended)


def test_manual_quotes_the_figures_of_the_last_runs() -> None:
    """Every benchmark figure in the manual and in the benchmarks' READMEs is the one stored in `bench/results`."""
    files = {name: ROOT / (name if "/" in name else f"docs/{name}.md") for name, _ in _quoted_figures()}
    pages = {name: " ".join(file.read_text(encoding="utf-8").split()) for name, file in files.items()}
    assert [(name, sentence) for name, sentence in _quoted_figures() if sentence not in pages[name]] == []
