"""Run examples to the end, and write the results into the table of examples/README.md.

    python -m bench.examples.run FOLDER [NAME ...]

Each example becomes a project in FOLDER and is run without human review, with the embedded model and the example's own
settings, one after the other. An existing project resumes where it stopped, so this can be interrupted and started
again; for a finished one only its row is written. A row of the table is the last run of its example.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from pathlib import Path

from examples.demo import run_example
from train.evaluation.metrics import Evaluation, ModeResult
from train.evaluation.verdict import verdict

EXAMPLES = Path(__file__).parents[2] / "examples"
README = EXAMPLES / "README.md"
HEAD = "| example | when | test inputs | base | few-shot | retrieval | teacher | tuned | verdict |"
_SYSTEMS = ("base", "few-shot", "retrieval", "teacher", "tuned")


def evaluated(folder: Path) -> Evaluation | None:
    """Run the example named like `folder` to its end there, and return its evaluation; None if there is none."""
    code = run_example(folder, folder.name)
    evaluations = sorted((folder / "evaluations").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return Evaluation.model_validate(json.loads(evaluations[-1].read_bytes())) if evaluations and code == 0 else None


def table_row(name: str, evaluation: Evaluation, when: str) -> str:
    """The example's row of the table: for each system the pass rates, sampled and greedy, with intervals for tuned."""
    cells = []
    for wanted in _SYSTEMS:
        system = next((one for one in evaluation.systems if wanted in one.names), None)
        with_interval = wanted == "tuned"
        rates = () if system is None else (_rate(system.sampled, with_interval), _rate(system.greedy, with_interval))
        cells.append(", ".join(rates) or "none")
    return " | ".join([f"| `{name}`", when, str(evaluation.seeds), *cells, f"{verdict(evaluation).decision} |"])


def _rate(result: ModeResult, with_interval: bool) -> str:
    rate = result.pass_rate
    if rate is None:
        return "not measured"
    return f"{rate.estimate:.2f}" + (f" [{rate.low:.2f}, {rate.high:.2f}]" if with_interval else "")


def insert_row(text: str, name: str, row: str) -> str:
    """`text` with the example's row in the table under `HEAD`, in the place of its old one or at the end."""
    old = re.compile(rf"^\| `{re.escape(name)}` \| .*$", re.MULTILINE)
    before, head, after = text.partition(HEAD)
    table, gap, rest = after.partition("\n\n")
    table = old.sub(lambda _: row, table) if old.search(table) else f"{table}\n{row}"
    return before + head + table + gap + rest


def main(folder: Path, wanted: list[str]) -> None:
    """Run the examples and write their rows."""
    for name in wanted or sorted(spec.parent.name for spec in EXAMPLES.glob("*/pairsmith.toml")):
        evaluation = evaluated(folder / name)
        if evaluation is None:
            print(f"{name}: did not finish")
            continue
        row = table_row(name, evaluation, date.today().isoformat())
        README.write_text(insert_row(README.read_text(encoding="utf-8"), name, row), encoding="utf-8")
        print(row)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
