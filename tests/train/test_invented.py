"""The invented-detail rate: answers with a number, contact or name from nowhere, as the spec's gates find them."""

from __future__ import annotations

from pathlib import Path

from schemas.spec import Spec
from schemas.spec_file import load
from schemas.step_names import By
from tests.train.evaluated import spec
from train.invented import DETAILS, detail_gates, invented_rate
from train.metrics import Output


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


def test_a_detail_from_nowhere_is_counted_whether_its_gate_flags_or_rejects() -> None:
    """A number, and an address; what the input says is no invention."""
    assert rate({"s": "The parcel came on 3 May and weighed 17 kilos.", "t": "A fox stands in the snow."}) == 0.5
    assert rate({"s": "The parcel came on 3 May.", "t": "A fox in snow; write to fox@example.org for more."}) == 0.5
    assert rate({"s": "The parcel came on 3 May.", "t": "A fox stands in the snow."}) == 0.0


def test_what_a_person_answered_too_is_no_invention() -> None:
    """The reference is as good a source as the input."""
    answered = {"s": "The parcel came on 3 May and weighed 17 kilos."}
    assert rate(answered) == 1.0
    assert rate(answered, references={"s": "It weighed 17 kilos."}) == 0.0


def test_no_gate_and_no_whole_answer_is_no_rate() -> None:
    """Nothing measured is not 0."""
    assert rate({"s": "It weighed 17 kilos."}, invented=False) is None
    gates = gates_of(invented=True)
    cut = [output("It weighed 17 kilos and", finish="length"), output(" ")]
    assert invented_rate(cut, INPUTS, {}, gates) is None  # type: ignore[arg-type]


def test_the_project_may_be_anywhere() -> None:
    """Gates of a task with a schema need it, and it is a file of the project: an evaluation from elsewhere broke off
    when every answer was there."""
    project = load(Path(__file__).parents[2] / "examples" / "invoices")
    assert [By.read(gate.by).name for gate in detail_gates(project.spec, project.folder)] == ["values"]


def test_a_wrong_label_is_no_invented_detail() -> None:
    """A kind of task brings gates of its own (that a label is one, that an input is one): they have no part in it. A
    value of a record that the text does not hold is one, unless a person wrote it too."""
    labels = Spec.model_validate({"task": {"kind": "classify", "name": "t", "style": "s", "labels": ["bug", "praise"]}})
    assert detail_gates(labels, Path()) == ()
    project = load(Path(__file__).parents[2] / "examples" / "invoices")
    gates, texts = detail_gates(project.spec, project.folder), {"s": "Kettle Ltd bills $40 for one kettle"}
    answer = output('{"supplier": "Kettle Ltd", "total": 99.5}')
    for references, share in (({}, 1.0), ({"s": '{"supplier": "Kettle Ltd", "total": 99.5}'}, 0.0)):
        invented = invented_rate([answer], texts, references, gates)
        assert invented
        assert invented.estimate == share
