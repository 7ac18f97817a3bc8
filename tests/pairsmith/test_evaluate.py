"""What the receipt of `evaluate` counts, and what it says may be claimed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pairsmith.outcome import EvaluateOutcome
from pairsmith.stages.evaluate import _planned_requests, counts_of, outcomes
from schemas.records import Receipt
from schemas.spec import Spec
from tests.pairsmith import report_project
from tests.train.test_verdict import evaluation


def test_a_cut_answer_is_a_rejected_row_with_its_reason(tmp_path: Path) -> None:
    """It passes every check and is still no pass: the row counts as rejected because it was cut."""
    project, store = report_project.whole(tmp_path)
    with store:
        evaluation = report_project.evaluated(
            project, store, report_project.TrainResult.model_validate_json(_training(tmp_path))
        )
    before, reasons = counts_of(evaluation)
    assert "cut" not in reasons
    passing = [output for output in evaluation.outputs if output.passes]
    cut = {output.key: output.model_copy(update={"finish": "length"}) for output in passing[:7]}
    counts, reasons = counts_of(
        evaluation.model_copy(update={"outputs": tuple(cut.get(output.key, output) for output in evaluation.outputs)})
    )
    assert reasons["cut"] == 7
    assert counts.accepted == before.accepted - 7
    assert counts.rows_in == counts.accepted + counts.rejected + counts.waiting + counts.failed


def test_outcomes_stand_in_the_receipt(tmp_path: Path) -> None:
    """One word for each system and decoding, and never "better" from the twelve inputs of this project."""
    project, store = report_project.whole(tmp_path, merged=False)
    with store:
        evaluation = report_project.evaluated(
            project, store, report_project.TrainResult.model_validate_json(_training(tmp_path)), merged=False
        )
    by_system = outcomes(evaluation)
    assert list(by_system) == ["base", "few-shot", "teacher"]
    assert {tuple(modes) for modes in by_system.values()} == {("sampled", "greedy")}
    assert {word for modes in by_system.values() for word in modes.values()} == {"not enough evidence"}


def test_a_receipt_of_the_version_before_tells_its_pass_rates() -> None:
    """There they are called strict_pass, and there are no outcomes."""
    old = Path(__file__).parents[1] / "projects" / "v0_1" / "receipts" / "0005-evaluate.json"
    outcome = EvaluateOutcome.of(Receipt.model_validate_json(old.read_bytes()))
    assert outcome.pass_rate["teacher"] == {"share": 1.0, "low": 0.1581, "high": 1.0}
    assert "strict_pass" not in outcome.facts


def _training(folder: Path) -> str:
    return (folder / "adapters" / "one" / "training.json").read_text()


def test_what_takes_its_time_is_said_before(tmp_path: Path) -> None:
    """How many answers of how many tokens, so that a person can ask for fewer; nothing where it is done already."""
    systems = [SimpleNamespace(names=names) for names in (("base", "few-shot"), ("tuned",))]
    evaluate = {"samples": 1, "sampling": {"max_tokens": 64}}
    spec = Spec.model_validate({"task": {"name": "t", "style": "s"}, "evaluate": evaluate})
    plan: Any = SimpleNamespace(
        id="e", spec=spec, systems=systems, seeds=range(21), answers_per_system=42, validation=range(1)
    )
    assert [*_planned_requests(plan, tmp_path)] == [
        "84 answers: 21 test inputs x (1 sampled + 1 greedy) x base = few-shot, tuned, and 1 greedy answer of tuned to "
        "validation inputs, each of at most 64 tokens"
    ]


def test_an_evaluation_that_lacks_answers_says_how_many_it_asks_for(tmp_path: Path) -> None:
    """They are asked for again, and so it is not silent; a whole one asks nothing, and says nothing."""
    whole = evaluation(inputs=4)
    plan: Any = SimpleNamespace(id=whole.id)
    path = tmp_path / f"{whole.id}.json"
    path.write_text(whole.model_dump_json())
    assert not [*_planned_requests(plan, tmp_path)]
    lost = whole.outputs[0].model_copy(update={"answered": False})
    path.write_text(whole.model_copy(update={"outputs": (lost, *whole.outputs[1:])}).model_dump_json())
    assert [*_planned_requests(plan, tmp_path)] == ["1 answer missing from this evaluation will be requested again"]
