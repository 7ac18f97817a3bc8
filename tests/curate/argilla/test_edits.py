"""How an answer corrects an output: a label is replaced, a record changed field by field."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from curate.argilla.edits import MAX_LABELS, edited_text, offered_labels, question_names, suggestions
from curate.argilla.pull import review_of
from curate.argilla.responses import Response
from prompts.answer_form import ANY_TEXT, AnswerForm
from schemas.records import Imported, Pair
from schemas.reviews import Review

SCHEMA = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "number": {"type": "string"},
        "total": {"type": "number"},
        "due": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
    },
    "required": ["vendor", "number", "total", "due"],
    "$defs": {"Line": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}},
}
RECORD = {"vendor": "Sea View", "number": "12", "total": 240.0, "due": "2024-06-05"}
FORM, LABELS = AnswerForm(schema=SCHEMA), AnswerForm(labels={"yes": "", "no": "not at all"})
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TITLES = dict(zip(question_names(FORM), SCHEMA["properties"], strict=True))


def pair(output: str) -> Pair:
    return Pair(seed_id="s", input="a bill", output=output, system="", origin=Imported(source="x"))


def filled_in(**fields: str) -> dict[str, str]:
    """The answer of a page with every field filled in, with these fields changed; an empty one is not sent."""
    shown = {"vendor": "Sea View", "number": "12", "total": "240.0", "due": "2024-06-05"} | fields
    return {name: shown[title] for name, title in TITLES.items() if shown.get(title)}


def test_page_suggests_each_field_as_plain_text() -> None:
    """A string is shown without quotation marks, a number as it is; a missing field is empty; labels get no
    suggestion."""
    filled = suggestions(FORM, pair(json.dumps(RECORD)))
    assert filled == {"edited_1": "Sea View", "edited_2": "12", "edited_3": "240.0", "edited_4": "2024-06-05"}
    assert suggestions(FORM, pair("no JSON")) == {}
    assert suggestions(LABELS, pair("yes")) == {}
    assert suggestions(ANY_TEXT, pair("a text")) == {"edited": "a text"}


def test_more_labels_than_argilla_offers_are_corrected_as_text() -> None:
    """Argilla refuses a question with more than 500 labels. The right label is then written into the box that holds
    the present one, in any case."""
    many = AnswerForm(labels=dict.fromkeys((f"Label {number}" for number in range(MAX_LABELS + 1)), ""))
    assert offered_labels(many) == ()
    assert offered_labels(LABELS) == ("yes", "no")
    assert suggestions(many, pair("Label 7")) == {"edited": "Label 7"}
    assert edited_text(many, pair("Label 7"), {"edited": "label 8"}, {}) == "Label 8"


@pytest.mark.parametrize(
    ("changed", "becomes"),
    [
        ({"total": "182.40"}, {"total": 182.4}),
        ({"number": "0012"}, {"number": "0012"}),
        ({"number": "{1}"}, {"number": "{1}"}),
        ({"due": ""}, {"due": None}),
        ({"due": "null"}, {"due": None}),
        ({"total": "about 9"}, {"total": "about 9"}),
        ({"lines": '[{"text": "two nights"}]'}, {"lines": [{"text": "two nights"}]}),
    ],
)
def test_corrected_field_gets_the_type_of_its_schema(changed: dict[str, str], becomes: dict[str, object]) -> None:
    """A number if the schema wants a number, a string that looks like a number if it wants a string, null if allowed. A
    value that the schema refuses stays as written; the gates will report it."""
    corrected = edited_text(FORM, pair(json.dumps(RECORD)), filled_in(**changed), TITLES)
    assert corrected is not None
    assert json.loads(corrected) == RECORD | becomes
    assert list(json.loads(corrected))[:4] == list(RECORD)


def test_unchanged_fields_are_not_an_edit() -> None:
    """All fields sent back unchanged give the same output, even if the schema's order of fields has changed since the
    queue was created; no field at all gives none."""
    bill = pair('{"vendor": "Sea View", "number": "12", "total": 240.0, "due": "2024-06-05"}')
    assert edited_text(FORM, bill, filled_in(), TITLES) == bill.output
    assert edited_text(FORM, bill, {}, TITLES) is None
    reordered = AnswerForm(schema={**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))})
    assert edited_text(reordered, bill, filled_in(), TITLES) == bill.output
    corrected = edited_text(reordered, bill, filled_in(total="9.5"), TITLES)
    assert corrected is not None
    assert json.loads(corrected) == RECORD | {"total": 9.5}


def test_another_label_is_an_edit_whatever_the_verdict() -> None:
    """Accept with another label is an edit, as with a text; choosing the row's own label is not."""

    def review(verdict: str, label: str) -> Review:
        values = {"verdict": verdict, "edited": label}
        return review_of(
            Response("p", "r", "ann", "annotator", "submitted", values, (), NOW), pair("yes"), None, LABELS
        )

    assert (review("accept", "no").decision, review("accept", "no").edited) == ("edit", "no")
    assert (review("accept", "yes").decision, review("accept", "yes").edited) == ("accept", None)
    assert (review("edit", "no").decision, review("edit", "no").edited) == ("edit", "no")


def test_best_of_several_is_a_ranking_with_ties() -> None:
    """Choosing one output ranks it first and all others second."""
    values = {"verdict": "accept", "best": "B"}
    review = review_of(Response("p", "r", "ann", "annotator", "submitted", values, ("q", "s"), NOW), pair("x"), None)
    assert dict(review.ranking) == {pair("x").id: 2, "q": 2, "s": 1}
