"""Tests of the invented-detail rate: the share of answers with a number, contact or name from no source, as detected by
the spec's gates."""

from __future__ import annotations

from pathlib import Path

from schemas.spec import Spec
from schemas.spec_file import load
from schemas.step_names import By
from tests.train.evaluated import spec
from train.evaluation.invented import DETAILS, detail_gates, invented_rate
from train.evaluation.metrics import Output


def output(text: str, seed_id: str = "s", **more: object) -> Output:
    fields = {"system": "tuned", "mode": "sampled", "seed_id": seed_id, "sample": 0, "answered": True, "key": "k"}
    return Output.model_validate({**fields, "text": text, **more})


def gates_of(**modes: object) -> list[object]:
    settings = spec()
    gates = settings.curate.gates.model_copy(update={**dict.fromkeys(DETAILS, False), **modes})
    changed = settings.model_copy(update={"curate": settings.curate.model_copy(update={"gates": gates})})
    return list(detail_gates(changed, Path()))


INPUTS = {"s": "a parcel that came on 3 May", "t": "a fox in snow"}


def rate(texts: dict[str, str], references: dict[str, str] | None = None, **modes: object) -> float | None:
    gates = gates_of(**(modes or {"invented": "flag", "contacts": True}))
    outputs = [output(text, seed_id) for seed_id, text in texts.items()]
    invented = invented_rate(outputs, INPUTS, references or {}, gates)  # type: ignore[arg-type]
    return invented and invented.estimate


def test_details_without_a_source_are_counted() -> None:
    """A number or an address that is not in the input counts, whether its gate flags or rejects."""
    assert rate({"s": "The parcel came on 3 May and weighed 17 kilos.", "t": "A fox stands in the snow."}) == 0.5
    assert rate({"s": "The parcel came on 3 May.", "t": "A fox in snow; write to fox@example.org for more."}) == 0.5
    assert rate({"s": "The parcel came on 3 May.", "t": "A fox stands in the snow."}) == 0.0


def test_details_in_the_reference_are_not_invented() -> None:
    """The reference is as good a source as the input."""
    answered = {"s": "The parcel came on 3 May and weighed 17 kilos."}
    assert rate(answered) == 1.0
    assert rate(answered, references={"s": "It weighed 17 kilos."}) == 0.0


def test_without_gate_or_complete_answer_there_is_no_rate() -> None:
    """What was not measured is not 0."""
    assert rate({"s": "It weighed 17 kilos."}, invented=False) is None
    gates = gates_of(invented=True)
    cut = [output("It weighed 17 kilos and", finish="length"), output(" ")]
    assert invented_rate(cut, INPUTS, {}, gates) is None  # type: ignore[arg-type]


def test_gates_are_loaded_from_the_projects_folder() -> None:
    """A task with a schema reads a file of the project: an evaluation started from another folder used to fail after
    every answer had arrived."""
    project = load(Path(__file__).parents[3] / "examples" / "invoices")
    assert [By.read(gate.by).name for gate in detail_gates(project.spec, project.folder)] == ["values"]


def test_a_wrong_label_is_no_invented_detail() -> None:
    """The gates of a task's kind (valid labels, valid records) are not part of the rate. A value in a record that is
    not in the text is invented, unless the reference has it."""
    labels = Spec.model_validate({"task": {"kind": "classify", "name": "t", "style": "s", "labels": ["bug", "praise"]}})
    assert detail_gates(labels, Path()) == ()
    project = load(Path(__file__).parents[3] / "examples" / "invoices")
    gates, texts = detail_gates(project.spec, project.folder), {"s": "Kettle Ltd bills $40 for one kettle"}
    answer = output('{"supplier": "Kettle Ltd", "total": 99.5}')
    for references, share in (({}, 1.0), ({"s": '{"supplier": "Kettle Ltd", "total": 99.5}'}, 0.0)):
        invented = invented_rate([answer], texts, references, gates)
        assert invented
        assert invented.estimate == share
