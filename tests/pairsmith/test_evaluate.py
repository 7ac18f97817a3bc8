"""What the receipt of `evaluate` counts, and what it says may be claimed."""

from __future__ import annotations

from pathlib import Path

from pairsmith.stages.evaluate import counted, outcomes
from tests.pairsmith import report_project as made


def test_a_cut_answer_is_a_rejected_row_with_its_reason(tmp_path: Path) -> None:
    """It passes every check and is still no pass: the row counts as rejected because it was cut."""
    project, store = made.whole(tmp_path)
    with store:
        found = made.evaluated(project, store, made.TrainResult.model_validate_json(_training(tmp_path)))
    before, reasons = counted(found)
    assert "cut" not in reasons
    passing = [output for output in found.outputs if output.passes]
    cut = {output.key: output.model_copy(update={"finish": "length"}) for output in passing[:7]}
    counts, reasons = counted(
        found.model_copy(update={"outputs": tuple(cut.get(output.key, output) for output in found.outputs)})
    )
    assert reasons["cut"] == 7
    assert counts.accepted == before.accepted - 7
    assert counts.rows_in == counts.accepted + counts.rejected + counts.waiting + counts.failed


def test_outcomes_stand_in_the_receipt(tmp_path: Path) -> None:
    """One word for each system and decoding, and never "better" from the twelve inputs of this project."""
    project, store = made.whole(tmp_path, merged=False)
    with store:
        found = made.evaluated(project, store, made.TrainResult.model_validate_json(_training(tmp_path)), merged=False)
    said = outcomes(found)
    assert list(said) == ["base", "few-shot", "teacher"]
    assert {tuple(modes) for modes in said.values()} == {("sampled", "greedy")}
    assert {word for modes in said.values() for word in modes.values()} == {"not enough evidence"}


def _training(folder: Path) -> str:
    return (folder / "adapters" / "one" / "training.json").read_text()
