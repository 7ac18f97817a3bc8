"""The form of a task's answers: the schema that is sent to a teacher, and how its answers are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from prompts.answer_form import ANY_TEXT, AnswerForm, refused_by
from schemas.errors import PairsmithError, PromptError
from schemas.spec import TaskSettings

LABELS = AnswerForm({"Billing": "money", "change of address": "", "返品": "", "शिकायत": "", "অভিযোগ": ""})
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
    ("labels", "text", "label"),
    [
        ("12345", '{"label": 4}', "4"), ("12345", '{"label": 7}', '{"label": 7}'),
        (["true", "false"], '{"label": true}', "true"), (["0.5", "1"], '{"label": 0.5}', "0.5"),
        (["1", "true"], '{"label": 1}', "1"),
    ],
)  # fmt: skip
def test_label_that_looks_like_a_number_needs_no_quotation_marks(labels: Iterable[str], text: str, label: str) -> None:
    """Servers without schema support return `{"label": 4}` for the fourth of five stars: every row was rejected."""
    assert AnswerForm(dict.fromkeys(labels, "")).canonical(text) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"label": "billing"}', "Billing"), ("BILLING.", "Billing"), ('"Change of Address"', "change of address"),
        ("Label: Billing", "Billing"), ("**Label:** billing", "Billing"),
        ('{"label": "refund"}', '{"label": "refund"}'),
        ("It is about billing", "It is about billing"), ('{"label": 3}', '{"label": 3}'), ("[1", "[1"),
        ("返品", "返品"), ("カテゴリー\uff1a返品", "返品"), ("श्रेणी: शिकायत।", "शिकायत"), ("বিভাগ: **অভিযোগ**", "অভিযোগ"),
        ("Category (1): billing", "Billing"), ("My own guess: billing", "My own guess: billing"),
    ],
)  # fmt: skip
def test_label_is_extracted_from_an_answer(text: str, label: str) -> None:
    """In the requested JSON, or bare as from servers without schema support. A text that is no label stays."""
    assert LABELS.canonical(text) == label
    assert LABELS.canonical(label) == label


def test_json_is_normalised() -> None:
    """Keys in the order of the schema, also within lists; spaces as in `json.dumps`; no escapes."""
    text = '{"total":12.50,"other":null,\n"lines":[{"n":1,"what":"Käse"}],"vendor":"M\\u00fcller"}'
    normalised = '{"vendor": "Müller", "total": 12.5, "lines": [{"what": "Käse", "n": 1}], "other": null}'
    assert AnswerForm(schema=RECORD).canonical(text) == normalised
    assert AnswerForm(schema=RECORD).canonical(normalised) == normalised


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```\n", "  ```JSON {} ```"])
def test_a_record_in_a_fence_is_that_record(fence: str) -> None:
    """Existing pairs often have JSON as a chat returned it, and every such row used to be rejected as not JSON."""
    normalised = AnswerForm(schema=RECORD).canonical(fence.format('{"late": true}'))
    assert normalised == '{"late": true}'
    broken = "```json\n{late\n```"
    assert AnswerForm(schema=RECORD).canonical(broken) == broken


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_normalised_json_has_the_same_value(value: Any) -> None:
    """Only the notation of an answer changes, and normalising it again changes nothing."""
    normalised = AnswerForm(schema=RECORD).canonical(json.dumps(value))
    assert json.loads(normalised) == value
    assert AnswerForm(schema=RECORD).canonical(normalised) == normalised


@pytest.mark.parametrize(
    "text",
    [
        "Sure! {}",
        '{"total": NaN}',
        '{"vendor": "Acme", "total": 1, "total": 2}',
        '{"total": 1e999}',
        "[" * 100_000,
        '{"vendor": "\\ud800"}',
        "",
    ],
)
def test_invalid_json_is_left_alone(text: str) -> None:
    """A gate reports what is wrong with it. It is not repaired, and nothing is raised."""
    assert AnswerForm(schema=RECORD).canonical(text) == text


def test_recursive_schema_terminates() -> None:
    """A tree of unknown depth is ordered as deep as the answer goes."""
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "parts": {"items": {"$ref": "#"}}}}
    text = '{"parts": [{"parts": [{"name": "c"}], "name": "b"}], "name": "a"}'
    normalised = '{"name": "a", "parts": [{"name": "b", "parts": [{"name": "c"}]}]}'
    assert AnswerForm(schema=tree).canonical(text) == normalised


def test_free_text_is_left_alone() -> None:
    """A task without labels and schema requests no form and changes nothing."""
    assert ANY_TEXT.asked is None
    assert ANY_TEXT.canonical(' "Billing". ') == ' "Billing". '


def test_a_teacher_is_asked_for_one_of_the_labels() -> None:
    """The schema is a closed object, which every server with schema support accepts. The answer is not bound to it."""
    assert LABELS.asked == {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(LABELS.labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    assert (LABELS.binds, AnswerForm(schema=RECORD).binds) == (False, True)


def test_a_schema_is_a_file_or_a_pydantic_model_beside_the_spec(tmp_path: Path) -> None:
    """`record.json`, or `records:Invoice` with annotations in the usual style."""
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


@pytest.mark.parametrize(
    "around", ["", "class Order(BaseModel):\n    bills: list[Bill]\n    last: Optional[Bill] = None\n"]
)
def test_a_field_that_hides_its_own_type_is_refused(around: str, tmp_path: Path) -> None:
    """`date: Optional[date] = None` only accepts null: 82 answers were paid for and refused. In a union a field that is
    always null tells its alternatives apart, and in a file that `init` wrote a value may have been null everywhere."""
    head = "from datetime import date\nfrom typing import Optional\nfrom pydantic import BaseModel\n"
    hidden = "class Bill(BaseModel):\n    total: float\n    date: Optional[date] = None\n"
    (tmp_path / "records.py").write_text(head + hidden + around)
    with pytest.raises(PromptError, match=r"properties\.date': can only be null\..*another name than 'date'"):
        form_of("records:Order" if around else "records:Bill", tmp_path)
    (tmp_path / "either.py").write_text(
        f"{head}class Good(BaseModel):\n    error: None = None\n    total: float\n"
        "class Bad(BaseModel):\n    error: date\nclass Either(BaseModel):\n    result: Good | Bad\n"
    )
    assert form_of("either:Either", tmp_path).schema
    (tmp_path / "bill.json").write_text('{"type": "object", "properties": {"due": {"type": "null"}}}')
    assert form_of("bill.json", tmp_path).schema


def test_output_of_a_user_model_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A user's validator may print, while standard output has the command's JSON."""

    class Record(BaseModel):
        due: str

        @field_validator("due")
        @classmethod
        def look(cls, value: str) -> str:
            print("looking at", value)
            return value

    assert refused_by(Record, '{"due": "today"}') is None
    assert capsys.readouterr() == ("", "looking at today\n")


def test_schema_sent_to_a_teacher_gets_bounds(tmp_path: Path) -> None:
    """A schema written to define correctness rarely bounds texts and lists. It is used unchanged for checking, and
    bounds are added to what is sent. Existing ones stay."""
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
def test_unusable_schema_is_refused(name: str, message: str, tmp_path: Path) -> None:
    """The error comes before a teacher is used, with the file and what to do."""
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "records.py").write_text(
        "from pydantic import BaseModel\ndef function(): ...\nclass Bug(BaseModel):\n    title: str\n"
    )
    with pytest.raises(PairsmithError) as caught:
        form_of(name, tmp_path)
    assert message in str(caught.value)
