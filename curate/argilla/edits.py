"""How an output is displayed and corrected on the page, depending on the task's answers: a text in one box, a label by
choosing another one, a record field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from curate.gates.personal import parse_record
from prompts.answer_form import AnswerForm, alternatives, resolved
from schemas.records import Json, Pair

EDITED = "edited"  # name of the question; for records `edited_1`, `edited_2`, ..., each titled with its field's name
MAX_LABELS = 500  # of a question in Argilla; where a task has more, the right label is written as text
MAX_FIELDS = 12  # a record with more fields, or whose schema names none, is corrected as one text
_ABSENT = object()


def record_fields(form: AnswerForm) -> dict[str, Any]:
    """Return the record fields that are corrected one by one, with their schemas; empty if outputs are not such
    records."""
    if form.schema is None:
        return {}
    variants = alternatives(resolved(form.schema, form.schema), form.schema)
    named = {name: part for variant in variants for name, part in variant.get("properties", {}).items()}
    return named if len(named) <= MAX_FIELDS else {}


def offered_labels(form: AnswerForm) -> tuple[str, ...]:
    """Return the labels among which the right one is chosen; empty if outputs are corrected as text."""
    return tuple(form.labels) if len(form.labels) <= MAX_LABELS else ()


def question_names(form: AnswerForm) -> list[str]:
    """Return the names of the questions in which an output is corrected."""
    return [f"{EDITED}_{number}" for number in range(1, len(record_fields(form)) + 1)] or [EDITED]


def questions(form: AnswerForm, client: Any) -> list[Any]:
    """Build the questions of `question_names` for Argilla's client."""
    import argilla as rg

    if offered := offered_labels(form):
        labels = {label: label for label in offered}
        return [rg.LabelQuestion(name=EDITED, title="The right label", labels=labels, required=False, client=client)]
    titles = list(record_fields(form)) or ["Corrected output"]
    description = "Shift+Enter to write, Esc to stop. A change here with Accept counts as an edit."
    return [
        rg.TextQuestion(name=name, title=title, description=description, required=False, client=client)
        for name, title in zip(question_names(form), titles, strict=True)
    ]


def suggestions(form: AnswerForm, pair: Pair) -> dict[str, str]:
    """Return the prefilled value of each correction question: the present output. Labels get none, because Argilla
    would submit it as an answer."""
    if offered_labels(form):
        return {}
    if not record_fields(form):
        return {EDITED: pair.output}
    record = _parse_record(pair)
    if record is None:
        return {}
    values = {
        name: display_value(record[field])
        for name, field in zip(question_names(form), record_fields(form), strict=True)
        if field in record
    }
    return {name: text for name, text in values.items() if text}


def display_value(value: Any) -> str:
    """Return a record's value as reviewers read and write it: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def by_field(form: AnswerForm, pair: Pair) -> dict[str, str] | None:
    """Return a record's fields with their display values; None if the output is not corrected field by field or is not
    a JSON object."""
    record = _parse_record(pair) if record_fields(form) else None
    return None if record is None else {name: display_value(value) for name, value in record.items()}


def edited_text(form: AnswerForm, pair: Pair, values: Mapping[str, Any], titles: Mapping[str, str]) -> str | None:
    """Return the complete corrected output that an answer's `values` describe; None if they contain no correction.

    `titles` are the titles of the queue's questions: they name the fields even if the schema's field order has changed
    since the queue was created.

    An emptied field becomes null if its schema allows null; otherwise it is left out. A text that the schema does not
    allow is kept as it is, so that the gates can report it.
    """
    if EDITED in values:
        text = str(values[EDITED])
        return form.canonical(text) if form.labels else text
    corrections = {titles.get(name, name): text for name, text in values.items() if name.startswith(f"{EDITED}_")}
    if not corrections:
        return None
    record, fields = _parse_record(pair), record_fields(form)
    # The page sends every field that contains text, and leaves out emptied ones.
    emptied = [
        field for field in record or {} if field in fields and field in titles.values() and field not in corrections
    ]
    corrected = dict(record or {})
    for field, text in [*corrections.items(), *((field, "") for field in emptied)]:
        if field in corrected and display_value(corrected[field]).strip() == text.strip():
            continue
        value = _parse_value(text.strip(), fields.get(field, {}), form.schema or {})
        if value is _ABSENT:
            corrected.pop(field, None)
        else:
            corrected[field] = value
    return pair.output if corrected == record else form.canonical(json.dumps(corrected, ensure_ascii=False))


def _parse_record(pair: Pair) -> Json | None:
    value = parse_record(pair.output)
    return value if isinstance(value, dict) else None


def _parse_value(text: str, schema: Any, root: Json) -> Any:
    """Convert a reviewer's text to a value that the schema allows: parsed as JSON if that is valid, otherwise the text
    itself. An empty text becomes None if null is allowed, otherwise `_ABSENT`."""
    from jsonschema import validators

    try:
        parsed = [json.loads(text)]
    except (ValueError, RecursionError):
        parsed = []
    validator = validators.validator_for(root)(_field_schema(schema, root))
    for value in (*parsed, text) if text else (None,):
        if validator.is_valid(value):
            return value
    return text or _ABSENT


def _field_schema(schema: Any, root: Json) -> Json:
    """Return a field's schema on its own, with the definitions of the root schema that it may refer to."""
    definitions = {name: root[name] for name in ("$schema", "$defs", "definitions") if name in root}
    return {**definitions, **(schema if isinstance(schema, dict) else {})}
