"""The form of a task's answers: what a teacher is sent, and how what it says is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from prompts.answer_form import ANY_TEXT, AnswerForm, refused_by
from schemas.errors import PairsmithError
from schemas.spec import TaskSettings

LABELS = AnswerForm({"Billing": "money", "change of address": "", "返品": ""})
RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string", "maxLength": 80},
        "total": {"type": "number"},
        "lines": {"type": "array", "maxItems": 9, "items": {"$ref": "#/$defs/line"}},
    },
    "required": ["vendor"],
    "$defs": {"line": {"type": "object", "properties": {"what": {"type": "string", "maxLength": 9}, "n": {}}}},
}


def form_of(schema: str, folder: Path) -> AnswerForm:
    return AnswerForm.of(TaskSettings(kind="extract", name="t", style="s", schema=schema), folder)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"label": "billing"}', "Billing"), ("BILLING.", "Billing"), ('"Change of Address"', "change of address"),
        ("Label: Billing", "Billing"), ("**Label:** billing", "Billing"),
        ('{"label": "refund"}', '{"label": "refund"}'),
        ("It is about billing", "It is about billing"), ('{"label": 3}', '{"label": 3}'), ("[1", "[1"),
        ("返品", "返品"),
    ],
)  # fmt: skip
def test_a_label_is_read_out_of_what_was_answered(text: str, label: str) -> None:
    """In JSON as it was asked for, or bare as servers answer that keep to no schema. What is no label stays."""
    assert LABELS.canonical(text) == label
    assert LABELS.canonical(label) == label


def test_json_has_one_spelling() -> None:
    """Keys in the order of the schema, also of what a list holds; blanks as `json.dumps` writes them; no escapes."""
    text = '{"total":12.50,"other":null,\n"lines":[{"n":1,"what":"Käse"}],"vendor":"M\\u00fcller"}'
    spelt = '{"vendor": "Müller", "total": 12.5, "lines": [{"what": "Käse", "n": 1}], "other": null}'
    assert AnswerForm(schema=RECORD).canonical(text) == spelt
    assert AnswerForm(schema=RECORD).canonical(spelt) == spelt


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```\n", "  ```JSON {} ```"])
def test_a_record_in_a_fence_is_that_record(fence: str) -> None:
    """Pairs that exist often bring JSON as a chat wrote it, and every such row was rejected as no JSON."""
    spelt = AnswerForm(schema=RECORD).canonical(fence.format('{"late": true}'))
    assert spelt == '{"late": true}'
    broken = "```json\n{late\n```"
    assert AnswerForm(schema=RECORD).canonical(broken) == broken


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_canonical_json_says_the_same(value: Any) -> None:
    """Whatever was answered, nothing but its spelling is changed, and a second reading changes nothing."""
    spelt = AnswerForm(schema=RECORD).canonical(json.dumps(value))
    assert json.loads(spelt) == value
    assert AnswerForm(schema=RECORD).canonical(spelt) == spelt


@pytest.mark.parametrize(
    "text", ["Sure! {}", '{"total": NaN}', '{"total": 1e999}', "[" * 100_000, '{"vendor": "\\ud800"}', ""]
)
def test_what_is_no_json_stays_as_it_is(text: str) -> None:
    """A gate says what is wrong with it; it is not mended, and nothing is raised."""
    assert AnswerForm(schema=RECORD).canonical(text) == text


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    """A tree of unknown depth is ordered as deep as the answer goes."""
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "parts": {"items": {"$ref": "#"}}}}
    text = '{"parts": [{"parts": [{"name": "c"}], "name": "b"}], "name": "a"}'
    spelt = '{"name": "a", "parts": [{"name": "b", "parts": [{"name": "c"}]}]}'
    assert AnswerForm(schema=tree).canonical(text) == spelt


def test_any_text_is_left_alone() -> None:
    """A task without labels and schema asks for nothing and changes nothing."""
    assert ANY_TEXT.asked is None
    assert ANY_TEXT.canonical(' "Billing". ') == ' "Billing". '


def test_a_teacher_is_asked_for_one_of_the_labels() -> None:
    """The schema is a closed object, which every server takes that takes a schema at all; its answer is not bound."""
    assert LABELS.asked == {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": ["Billing", "change of address", "返品"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    assert (LABELS.binds, AnswerForm(schema=RECORD).binds) == (False, True)


def test_a_schema_is_a_file_or_a_pydantic_model_beside_the_spec(tmp_path: Path) -> None:
    """`record.json`, or `records:Invoice` with annotations as they are usually written."""
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    assert form_of("record.json", tmp_path).asked == RECORD
    (tmp_path / "records.py").write_text(
        "from __future__ import annotations\nimport datetime\nfrom pydantic import BaseModel, Field\n"
        "class Line(BaseModel):\n    what: str = Field(max_length=40)\n"
        "class Invoice(BaseModel):\n    due: datetime.date | None = None\n"
        "    lines: list[Line] = Field(max_length=5)\n"
    )
    schema = form_of("records:Invoice", tmp_path).schema
    assert schema is not None
    assert list(schema["properties"]) == ["due", "lines"]


def test_what_a_model_prints_stays_out_of_what_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A validator of the user's own may print; on standard output is the command's JSON."""

    class Record(BaseModel):
        due: str

        @field_validator("due")
        @classmethod
        def look(cls, value: str) -> str:
            print("looking at", value)
            return value

    assert refused_by(Record, '{"due": "today"}') is None
    assert capsys.readouterr() == ("", "looking at today\n")


def test_a_teacher_is_given_an_end_to_what_has_none(tmp_path: Path) -> None:
    """A schema that a person wrote to say what is right rarely bounds texts and lists: it is taken as it is, and what
    is sent has bounds. Those that it has stay."""
    open_ended = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": ["array", "null"]}}}
    (tmp_path / "record.json").write_text(json.dumps(open_ended))
    form = form_of("record.json", tmp_path)
    assert form.schema == open_ended
    assert form.asked is not None
    assert form.asked["properties"] == {
        "a": {"type": "string", "maxLength": 2000},
        "b": {"type": ["array", "null"], "maxItems": 100},
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.json", "cannot be read"),
        ("broken.json", "is not JSON"),
        ("records:Absent", "is not a pydantic model"),
        ("records:function", "is not a pydantic model"),
        ("nowhere:Model", "there is no module 'nowhere'"),
        ("records.py:Bug", "Did you mean 'records:Bug'? Write the file's name without .py."),
        ("records:Bog", "Did you mean 'Bug'?"),
    ],
)
def test_a_schema_that_cannot_bind_answers_is_refused(name: str, message: str, tmp_path: Path) -> None:
    """Before a teacher is asked, with the file and what to do."""
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "records.py").write_text(
        "from pydantic import BaseModel\ndef function(): ...\nclass Bug(BaseModel):\n    title: str\n"
    )
    with pytest.raises(PairsmithError) as caught:
        form_of(name, tmp_path)
    assert message in str(caught.value)
