"""Tests of the counts in the receipt of `evaluate`, and of its outcomes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pairsmith.receipts.outcome import EvaluateOutcome
from pairsmith.stages.evaluate import _planned_requests, counts_of, outcomes
from schemas.records import Receipt
from schemas.spec import Spec
from tests.pairsmith import report_project
from tests.train.evaluation.test_verdict import evaluation
from train.evaluation.judgements import Checklist, JudgedEvaluation


def test_a_truncated_answer_is_rejected_with_its_reason(tmp_path: Path) -> None:
    """A truncated answer that satisfies every check still does not pass: the row is rejected because it was cut."""
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


def test_outcomes_for_the_receipt(tmp_path: Path) -> None:
    """One outcome for each system and decoding, and never "better" from the twelve inputs of this project."""
    project, store = report_project.whole(tmp_path, merged=False)
    with store:
        evaluation = report_project.evaluated(
            project, store, report_project.TrainResult.model_validate_json(_training(tmp_path)), merged=False
        )
    by_system = outcomes(evaluation)
    assert list(by_system) == ["base", "few-shot", "teacher"]
    assert {tuple(modes) for modes in by_system.values()} == {("sampled", "greedy")}
    assert {word for modes in by_system.values() for word in modes.values()} == {"not enough evidence"}


def test_results_show_themselves_in_a_line(tmp_path: Path) -> None:
    """A training or an evaluation at the end of a notebook's cell filled it with every step and every answer."""
    project, store = report_project.whole(tmp_path)
    with store:
        trained = report_project.TrainResult.model_validate_json(_training(tmp_path))
        evaluation = report_project.evaluated(project, store, trained)
    line = (
        f"TrainResult({trained.base} on {trained.train_rows} rows, 56 steps: loss 2.53 to 0.75, on validation 2.62 to"
    )
    assert repr(trained).startswith(line)
    assert repr(trained) == str(trained)
    preferred = trained.model_copy(update={"settings": trained.settings.model_copy(update={"objective": "orpo"})})
    assert f"on {trained.train_rows} preferences, 56 steps" in repr(preferred)
    assert len(repr(trained)) < 250
    assert trained._repr_html_().count("<tr>") == 1 + len(trained.validation)
    assert len(repr(evaluation)) < 250
    assert evaluation._repr_html_().count("<tr>") == 1 + 2 * len(evaluation.systems)


def test_pass_rates_of_older_receipts_are_read() -> None:
    """Version 0.1 called them strict_pass and had no outcomes."""
    old = Path(__file__).parents[2] / "projects" / "v0_1" / "receipts" / "0005-evaluate.json"
    outcome = EvaluateOutcome.of(Receipt.model_validate_json(old.read_bytes()))
    assert outcome.pass_rate["teacher"] == {"share": 1.0, "low": 0.1581, "high": 1.0}
    assert "strict_pass" not in outcome.facts


def _training(folder: Path) -> str:
    return (folder / "adapters" / "one" / "training.json").read_text()


def test_planned_requests_are_announced(tmp_path: Path) -> None:
    """The number of answers and their maximum length are shown first, so that the user can reduce them."""
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


def test_missing_answers_of_an_evaluation_are_announced(tmp_path: Path) -> None:
    """Missing answers are requested again, which is announced; a complete evaluation requests and announces nothing."""
    complete = evaluation(inputs=4)
    plan: Any = SimpleNamespace(id=complete.id)
    path = tmp_path / f"{complete.id}.json"
    path.write_text(complete.model_dump_json())
    assert not [*_planned_requests(plan, tmp_path)]
    lost = complete.outputs[0].model_copy(update={"answered": False})
    path.write_text(complete.model_copy(update={"outputs": (lost, *complete.outputs[1:])}).model_dump_json())
    assert [*_planned_requests(plan, tmp_path)] == ["1 answer missing from this evaluation will be requested again"]
    silent = Checklist(system="tuned", seed_id="s", answers={}, reason="crashed: HTTP 503")
    none: Any = dict.fromkeys(("judges", "checklists", "win_rates", "choices"), ())
    judged = JudgedEvaluation(**none, questions={}, first=None, answers=(silent, silent))
    path.write_text(complete.model_copy(update={"judged": judged}).model_dump_json())
    assert [*_planned_requests(plan, tmp_path)] == ["2 judgements missing from this evaluation will be requested again"]
