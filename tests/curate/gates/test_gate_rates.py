"""How often each gate is wrong and what it catches, on tests/curate/rows: not written by the author of the rules.

docs/gate-rates.md shows the resulting tables and docs/gates.md their sums, which `python -m
tests.curate.gates.test_gate_rates` writes. Bounds are one-sided 95 % Clopper-Pearson bounds.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from curate.gates import GateStep, gates_for, judge_text
from curate.review.estimate import binomial
from schemas.kinds import KINDS, with_defaults
from schemas.spec import Spec

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
STYLE = "Write it well."  # for rows without a style
Row = dict[str, Any]
Counts = tuple[int, int, int]
FEW = 10  # fewer rows than this of a defect or language: no share of its own


class Outcome(NamedTuple):
    """The gates that reject a row, and the gates that flag it."""

    rejecting: frozenset[str]
    flagging: frozenset[str]


@cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows of every file `good*.jsonl`, `bad*.jsonl` or `held_out*.jsonl`."""
    files = sorted((Path(__file__).parents[1] / "rows").glob(f"{name}*.jsonl"))
    return tuple(json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())


@cache
def steps(
    kind: str, language: str, to: str | None, labels: tuple[str, ...], schema: str, style: str = STYLE
) -> tuple[GateStep, ...]:
    """The gates of a spec that describes its task and sets nothing about gates."""
    task: Row = {"name": "rows", "kind": kind, "style": style, "language": language}
    if kind == "translate":
        task["to"] = to
    if labels:
        task["labels"] = labels
    with TemporaryDirectory() as folder:
        if schema:
            (Path(folder) / "answer.json").write_text(schema, encoding="utf-8")
            task["schema"] = "answer.json"
        spec = Spec.model_validate(with_defaults({"task": task}))
        return tuple(gates_for(spec.task, spec.curate.gates, Path(folder)))


def bounded(schema: Any) -> Any:
    """The schema with the size bounds that a spec requires, wide enough for every row."""
    if isinstance(schema, list):
        return [bounded(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    types = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")]
    bounds = ({"maxLength": 400} if "string" in types else {}) | ({"maxItems": 40} if "array" in types else {})
    return bounds | {key: bounded(part) for key, part in schema.items()}


def steps_of(row: Row) -> tuple[GateStep, ...]:
    schema = json.dumps(bounded(row["schema"])) if "schema" in row else ""
    return steps(
        row["kind"], row["language"], row.get("to"), tuple(row.get("labels", ())), schema, row.get("style") or STYLE
    )


def outcome_of(row: Row) -> Outcome:
    asked = steps_of(row)
    judgements = judge_text(row["input"], row["output"], asked)
    assert all(judgement.keep is not None for judgement in judgements.values()), (row, judgements)
    named = {by.removeprefix("gate/").partition("@")[0]: judgement for by, judgement in judgements.items()}
    return Outcome(
        frozenset(name for name, judgement in named.items() if not judgement.keep),
        frozenset(name for name, judgement in named.items() if judgement.flags),
    )


@cache
def judged(name: str) -> tuple[tuple[Row, Outcome], ...]:
    return tuple((row, outcome_of(row)) for row in rows(name))


def share(k: int, n: int) -> str:
    return f"{k} of {n} | {k / n:.1%} | {binomial(k, n, 0.9)[1]:.1%}"


@cache
def gates_of(kind: str) -> dict[str, bool]:
    """Gate -> whether it rejects by default in a task of this kind."""
    asked = steps_of(next(row for row in rows("good") if row["kind"] == kind))
    return {step.by.removeprefix("gate/").partition("@")[0]: not step.flags for step in asked}


def count_by_gate_and_kind(which: Callable[[Outcome], Iterable[str]]) -> Counter[tuple[str, str]]:
    return Counter((gate, row["kind"]) for row, outcome in judged("good") for gate in which(outcome))


def cell(rejects: bool | None, rejected: int, flagged: int) -> str:
    """What a gate does with the good rows of a kind; `off` where it does not run."""
    if rejects is None:
        return "off"
    return ", ".join(
        [*([str(rejected)] if rejects else []), *([f"{flagged} flagged"] if flagged or not rejects else [])]
    )


def false_rejections() -> str:
    """One line per gate, one column per kind: the good rows that it rejects, and those that it only flags. The share
    counts rejected rows, or flagged rows for a gate that only flags."""
    n = Counter(row["kind"] for row in rows("good"))
    rejected, flagged = count_by_gate_and_kind(lambda s: s.rejecting), count_by_gate_and_kind(lambda s: s.flagging)
    names = list(dict.fromkeys(name for kind in KINDS for name in gates_of(kind)))
    lines = ["| gate | " + " | ".join(f"{kind} ({n[kind]})" for kind in KINDS) + " | of all | share | at most |"]
    lines.append("|---" * (len(KINDS) + 4) + "|")
    for name in names:
        asked = {kind: gates_of(kind)[name] for kind in KINDS if name in gates_of(kind)}
        hits = rejected if any(asked.values()) else flagged
        cells = [cell(asked.get(kind), rejected[name, kind], flagged[name, kind]) for kind in KINDS]
        of_all = share(sum(hits[name, kind] for kind in asked), sum(n[kind] for kind in asked))
        lines.append(f"| `{name}` | {' | '.join(cells)} | {of_all} |")
    for title, which in (("any that rejects", "rejecting"), ("any that flags", "flagging")):
        hit = Counter(row["kind"] for row, outcome in judged("good") if getattr(outcome, which))
        cells = [str(hit[kind]) for kind in KINDS]
        lines.append(f"| {title} | {' | '.join(cells)} | {share(hit.total(), n.total())} |")
    return "\n".join(lines)


def good_by_language() -> str:
    n = Counter(row["language"] for row in rows("good"))
    rejected = Counter(row["language"] for row, outcome in judged("good") if outcome.rejecting)
    flagged = Counter(row["language"] for row, outcome in judged("good") if outcome.flagging)
    caught = Counter(row["language"] for row, outcome in judged("bad") if outcome.rejecting or outcome.flagging)
    bad = Counter(row["language"] for row in rows("bad"))
    every = sorted(n.keys() | bad.keys())
    few = [language for language in every if n[language] < FEW]
    lines = []
    for of in [*([language] for language in every if language not in few), few]:
        cells = [str(sum(counts[language] for language in of)) for counts in (n, rejected, flagged, bad, caught)]
        lines.append(f"| {' | '.join([' '.join(of), *cells])} |")
    head = "| language | good rows | rejected | flagged | bad rows | rejected or flagged |\n|---|---|---|---|---|---|"
    return "\n".join([head, *lines])


def defect_of(row: Row) -> str:
    """The name of a row's defect in one spelling: each author wrote it in their own."""
    return row["defect"].replace("-", " ").replace("_", " ").lower()


def recall(name: str = "bad") -> dict[str, Counts]:
    """Defect, with spelling variants merged -> bad rows rejected, flagged only, and total."""
    totals: dict[str, list[int]] = {}
    for row, outcome in judged(name):
        counts = totals.setdefault(defect_of(row), [0, 0, 0])
        counts[0] += bool(outcome.rejecting)
        counts[1] += not outcome.rejecting and bool(outcome.flagging)
        counts[2] += 1
    return {defect: (k, f, n) for defect, (k, f, n) in sorted(totals.items())}


def recall_table(name: str = "bad") -> str:
    """By defect, with rare defects in one line. `recall_table("held_out_*bad")` is the table of the held-out rows."""
    counts = recall(name)
    few = {defect: counts.pop(defect) for defect, (_, _, n) in recall(name).items() if n < FEW}
    counts[f"{len(few)} kinds of fewer than {FEW} rows"] = summed(few)
    counts["all of them"] = summed(recall(name))
    lines = [f"| {defect} | {k} | {f} | {n} |" for defect, (k, f, n) in counts.items()]
    return "\n".join(["| defect | rejected | flagged only | bad rows |", "|---|---|---|---|", *lines])


def summed(counts: dict[str, Counts]) -> Counts:
    k, f, n = (sum(column) for column in zip(*counts.values(), strict=True))
    return k, f, n


def held_out() -> str:
    """The same in brief on `held_out*.jsonl`, on which no rule was tuned and whose author had not seen the rules."""
    if not rows("held_out"):
        return "No rows are held out now."
    lines = ["| held-out rows | n | rejected | at most | flagged only | by |", "|---|---|---|---|---|---|"]
    good, bad = judged("held_out_*good"), judged("held_out_*bad")
    defects = {name: [one for one in bad if one[0]["defect"].startswith(begin)] for name, begin in DEFECTS.items()}
    kinds = {f"good: {kind}": [one for one in good if one[0]["kind"] == kind] for kind in KINDS}
    for title, judged_rows in {"good": good, **kinds, "bad": bad, **defects}.items():
        k = sum(bool(outcome.rejecting) for _, outcome in judged_rows)
        flagged = sum(not outcome.rejecting and bool(outcome.flagging) for _, outcome in judged_rows)
        gates = Counter(gate for _, outcome in judged_rows for gate in (outcome.rejecting or outcome.flagging))
        by = ", ".join(f"`{gate}` {times}" for gate, times in sorted(gates.items(), key=lambda one: (-one[1], one[0])))
        n = len(judged_rows)
        lines.append(f"| {title} | {n} | {k} | {binomial(k, n, 0.9)[1]:.1%} | {flagged} | {by} |")
    missed = Counter(defect_of(row) for row, outcome in bad if not outcome.rejecting and not outcome.flagging)
    often = ", ".join(f"{name} ({n})" for name, n in sorted(missed.items()) if n >= 3)
    return "\n".join(
        [*lines, "", f"Of {len(missed)} kinds of defect some row was missed; of these three or more: {often}."]
    )


DEFECTS = {"bad: thinking": "thinking", "bad: placeholders": "placeholder"}


def summary() -> str:
    """The sums of all gates, on the rows that the rules were tuned on and on those held out."""
    lines = ["| rows | good | rejected | flagged | bad | rejected or flagged |", "|---|---|---|---|---|---|"]
    for title, prefix in (("that the rules were tuned on", ""), ("of four sets held out", "held_out_*")):
        good, bad = [[outcome for _, outcome in judged(f"{prefix}{name}")] for name in ("good", "bad")]
        rejected = sum(bool(outcome.rejecting) for outcome in good)
        flagged = sum(bool(outcome.flagging and not outcome.rejecting) for outcome in good)
        caught = sum(bool(outcome.rejecting or outcome.flagging) for outcome in bad)
        cells = [len(good), f"{rejected} ({rejected / len(good):.1%})", f"{flagged} ({flagged / len(good):.0%})"]
        lines.append(f"| {' | '.join(map(str, [title, *cells, len(bad), f'{caught} ({caught / len(bad):.0%})']))} |")
    return "\n".join(lines)


TABLES = {
    "gate-rates": {
        "false rejections": false_rejections,
        "languages": good_by_language,
        "recall": recall_table,
        "held out": held_out,
    },
    "gates": {"summary": summary},
}


def pages() -> dict[Path, str]:
    """The pages with the tables as measured now."""
    texts = {}
    for page, tables in TABLES.items():
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        for name, table in tables.items():
            block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            assert block.search(text), f"docs/{page}.md has no markers for the table `{name}`"
            text = block.sub(lambda match, table=table: f"{match[1]}\n{table()}\n\n{match[2]}", text)
        texts[DOCS / f"{page}.md"] = text
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_rejects_at_most_one_good_row_in_a_hundred(kind: str) -> None:
    """No gate rejects more than 1 % of the good rows of a kind; of a kind with fewer than 100 rows, none."""
    n = sum(row["kind"] == kind for row in rows("good"))
    counts = Counter(gate for row, outcome in judged("good") if row["kind"] == kind for gate in outcome.rejecting)
    assert {gate: k for gate, k in counts.items() if k > 0.01 * n} == {}


@pytest.mark.slow
def test_all_gates_together_reject_at_most_three_good_rows_in_a_hundred() -> None:
    """All gates together reject at most 3 % of the good rows, overall and of every kind."""
    for kind in (*KINDS, None):
        hits = [bool(outcome.rejecting) for row, outcome in judged("good") if kind in (None, row["kind"])]
        assert sum(hits) <= 0.03 * len(hits), kind


@pytest.mark.slow
def test_few_good_rows_are_flagged() -> None:
    """At most one good row in ten is flagged, so that a flag is informative."""
    hits = [bool(outcome.flagging) for _, outcome in judged("good")]
    assert sum(hits) <= 0.1 * len(hits)


@pytest.mark.slow
def test_bad_rows_are_caught() -> None:
    """At least 85 % of the bad rows are rejected or flagged; of thinking blocks and open placeholders, 99 % are
    rejected."""
    assert sum(k + f for k, f, _ in recall().values()) >= 0.85 * len(rows("bad"))
    for name in ("thinking", "placeholder"):
        counts = [counts for defect, counts in recall().items() if name in defect]
        assert sum(k for k, _, _ in counts) >= 0.99 * sum(n for _, _, n in counts)


@pytest.mark.slow
def test_the_documented_tables_are_the_measured_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/gate-rates.md shows exactly the measured tables, including those of the held-out rows, and docs/gates.md
    their sums. The test also prints them."""
    with capsys.disabled():
        print("", *(table() for tables in TABLES.values() for table in tables.values()), sep="\n\n")
    assert pages() == {path: path.read_text(encoding="utf-8") for path in pages()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
