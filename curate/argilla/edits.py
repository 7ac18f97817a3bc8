"""How an output is shown and corrected on the page, by what a task's answers are: a text in one box, a label by
choosing another, a record field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prompts.answer_form import AnswerForm, alternatives, resolved
from schemas.records import Json, Pair

EDITED = "edited"  # the question; of a record `edited_1`, `edited_2`, ..., each with the name of its field as its title
MAX_FIELDS = 12  # a record of more, or one whose schema names none, is corrected as one text
_ABSENT = object()


def record_fields(form: AnswerForm) -> dict[str, Any]:
    """The fields that a record is corrected by, with their schemas; none if outputs are no such records."""
    if form.schema is None:
        return {}
    ways = alternatives(resolved(form.schema, form.schema), form.schema)
    named = {name: part for way in ways for name, part in way.get("properties", {}).items()}
    return named if len(named) <= MAX_FIELDS else {}


def question_names(form: AnswerForm) -> list[str]:
    """The names of the questions that correct an output."""
    return [f"{EDITED}_{number}" for number in range(1, len(record_fields(form)) + 1)] or [EDITED]


def questions(form: AnswerForm, client: Any) -> list[Any]:
    """The questions of `question_names`, for the official client."""
    import argilla as rg

    if form.labels:
        labels = {label: label for label in form.labels}
        return [rg.LabelQuestion(name=EDITED, title="The right label", labels=labels, required=False, client=client)]
    titles = list(record_fields(form)) or ["Corrected output"]
    described = "Shift+Enter to write, Esc to stop. A change here with Accept counts as an edit."
    return [
        rg.TextQuestion(name=name, title=title, description=described, required=False, client=client)
        for name, title in zip(question_names(form), titles, strict=True)
    ]


def suggestions(form: AnswerForm, pair: Pair) -> dict[str, str]:
    """What the page fills in, by the question: the output as it is. Of labels none, because it would be submitted."""
    if form.labels:
        return {}
    if not record_fields(form):
        return {EDITED: pair.output}
    record = _parse_record(pair)
    if record is None:
        return {}
    held = {name: display_value(record[field]) for name, field in zip(question_names(form), record_fields(form), strict=True)
            if field in record}  # fmt: skip
    return {name: text for name, text in held.items() if text}


def display_value(value: Any) -> str:
    """A value of a record as people read and write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def by_field(form: AnswerForm, pair: Pair) -> dict[str, str] | None:
    """A record's fields with their values as people read them; None if the output is no such record."""
    record = _parse_record(pair) if record_fields(form) else None
    return None if record is None else {name: display_value(value) for name, value in record.items()}


def edited_text(form: AnswerForm, pair: Pair, values: Mapping[str, Any], titles: Mapping[str, str]) -> str | None:
    """The whole corrected output that an answer's `values` make; None if it corrects nothing. `titles` are those of the
    queue's questions, because the schema may name its fields in another order by now.

    A field that was emptied is null where its schema admits that, else it is left out. A text that the schema does not
    admit is kept as it is, for the gates to tell.
    """
    if EDITED in values:
        return str(values[EDITED])
    given = {titles.get(name, name): text for name, text in values.items() if name.startswith(f"{EDITED}_")}
    if not given:
        return None
    record, fields = _parse_record(pair), record_fields(form)
    # The page sends every field that holds a text, and leaves out one that was emptied.
    emptied = [field for field in record or {} if field in fields and field in titles.values() and field not in given]
    corrected = dict(record or {})
    for field, text in [*given.items(), *((field, "") for field in emptied)]:
        if field in corrected and display_value(corrected[field]).strip() == text.strip():
            continue
        value = _parse_value(text.strip(), fields.get(field, {}), form.schema or {})
        if value is _ABSENT:
            corrected.pop(field, None)
        else:
            corrected[field] = value
    return pair.output if corrected == record else form.canonical(json.dumps(corrected, ensure_ascii=False))


def _parse_record(pair: Pair) -> Json | None:
    try:
        value = json.loads(pair.output)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parse_value(text: str, schema: Any, root: Json) -> Any:
    """What a person wrote, as the kind of value that the schema admits."""
    from jsonschema import validators

    try:
        read = [json.loads(text)]
    except (ValueError, RecursionError):
        read = []
    admits = validators.validator_for(root)(_field_schema(schema, root))
    for value in (*read, text) if text else (None,):
        if admits.is_valid(value):
            return value
    return text or _ABSENT


def _field_schema(schema: Any, root: Json) -> Json:
    """The schema of a field by itself, with the definitions that it may refer to."""
    definitions = {name: root[name] for name in ("$schema", "$defs", "definitions") if name in root}
    return {**definitions, **(schema if isinstance(schema, dict) else {})}
