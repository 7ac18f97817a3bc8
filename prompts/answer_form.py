"""What an answer of a task must be: any text, one of the task's labels, or JSON by its schema.

The teacher is asked for it (`asked`), its answers are read by it (`canonical`), and so are those of an evaluation.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from prompts.answer_schema import bounded, check_answer_schema, load_schema
from schemas.errors import SpecError
from schemas.labels import label_in
from schemas.own_modules import OwnName, module_beside
from schemas.own_output import own_output
from schemas.records import Json
from schemas.spec import TaskSettings

_MODEL = re.compile(r"[\w.]+:\w+")
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class AnswerForm:
    """Labels with their definitions, or a JSON schema, or neither: then any text will do. `model` is the pydantic model
    that the schema is of, where it is of one."""

    labels: Mapping[str, str] = field(default_factory=dict)
    schema: Json | None = None
    model: Any = field(default=None, compare=False)

    @classmethod
    def of(cls, task: TaskSettings, folder: Path) -> AnswerForm:
        """That of a spec's task. Raises SpecError or PromptError for a schema that cannot bind answers."""
        if task.answer_schema is None:
            return cls(task.labels)
        schema, model = _schema(task.answer_schema, folder), model_of(task, folder)
        return cls(task.labels, schema, model and model[0])

    @property
    def has_one_right(self) -> bool:
        """Whether one answer to an input is right and no other, as no translation is the only one."""
        return bool(self.labels) or self.schema is not None

    @cached_property
    def asked(self) -> Json | None:
        """The JSON schema that a teacher is sent: an object around a label, because some servers take nothing else, or
        the task's with an end to every text and list."""
        if not self.labels:
            return self.schema and bounded(self.schema)
        label = {"type": "string", "enum": list(self.labels)}
        return {"type": "object", "properties": {"label": label}, "required": ["label"], "additionalProperties": False}

    @property
    def binds(self) -> bool:
        """Whether an answer that breaks `asked` is asked for again. A label is read out of whatever was answered, and
        is for a gate to judge: not every server keeps to a schema."""
        return self.schema is not None

    def refused(self, text: str) -> str | None:
        """What the model has against an answer, None if nothing; a validator that crashes has not spoken, and a gate
        will make the row wait."""
        try:
            return None if self.model is None else refused_by(self.model, self.canonical(text))
        except Exception:  # the user's code; anything may come out of it
            return None

    def canonical(self, text: str) -> str:
        """`text` as a row holds it: a label as the spec writes it, JSON without a fence around it, in the order of the
        schema's keys and with one blank after each comma and colon. What is neither stays, for a gate to reject."""
        if self.labels:
            return label_in(self.labels, _bare_label(text)) or text
        if self.schema is None:
            return text
        try:
            fenced = _FENCED.fullmatch(text)
            value = json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
            spelt = json.dumps(_ordered(value, self.schema, self.schema), ensure_ascii=False, allow_nan=False)
            spelt.encode()  # half a character, which JSON can escape and no file can hold
            return spelt
        except (ValueError, RecursionError):
            return text


ANY_TEXT = AnswerForm()


def _bare_label(text: str) -> str:
    """The label in `{"label": "x"}`, and in `Label: x`, as models write it where nothing constrains them."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return re.sub(r"\A\W*label\W*[:=]", "", text, flags=re.IGNORECASE)
    held = value.get("label") if isinstance(value, dict) else value
    return held if isinstance(held, str) else text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _ordered(value: Any, schema: Any, root: Json) -> Any:
    """`value` with the keys of each object in the order in which its schema names them; others behind, sorted."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [_ordered(item, schema.get("items"), root) for item in value]
    if not isinstance(value, dict):
        return value
    named = {name: part for way in alternatives(schema, root) for name, part in way.get("properties", {}).items()}
    keys = [*(key for key in named if key in value), *sorted(value.keys() - named.keys())]
    return {key: _ordered(value[key], named.get(key), root) for key in keys}


def resolved(schema: Any, root: Json) -> Json:
    """The schema that a reference within `root` leads to, or `schema` itself; what is no object is the open schema."""
    for _ in range(20):  # a chain of references; one in a circle is refused when it is read
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: Any = root
        for part in filter(None, reference[1:].split("/")):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        schema = target
    return schema if isinstance(schema, dict) else {}


def alternatives(schema: Json, root: Json) -> list[Json]:
    """The schema and those that it is combined of by anyOf, oneOf and allOf."""
    parts = [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, ())]
    return [schema, *(way for part in parts for way in alternatives(resolved(part, root), root))]


def model_of(task: TaskSettings, folder: Path) -> tuple[Any, str] | None:
    """The pydantic model that `task.schema` names and the hash of its file; None where it names a JSON schema. A model
    may ask more than its JSON schema tells: validators, dates, decimals. Raises SpecError."""
    name = task.answer_schema
    if name is None or not _MODEL.fullmatch(name):
        return None
    _, source, module = module_beside(name, folder, "task.schema")
    return getattr(module, OwnName.read(name).name), hashlib.sha256(source).hexdigest()


def refused_by(model: Any, text: str) -> str | None:
    """What the user's own model says against a record, None if nothing. What a validator of its raises, this raises."""
    from pydantic import ValidationError

    try:
        with own_output():
            model.model_validate_json(text)
    except ValidationError as error:
        worst = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, worst["loc"]))
        complaint = " ".join(worst["msg"].split())[:200]
        return f"{model.__name__} says {f'at {place}: ' if place else ''}{complaint}"
    return None


def _schema(name: str, folder: Path) -> Json:
    key = "task.schema"
    if _MODEL.fullmatch(name):
        path, _, module = module_beside(name, folder, key)
        schema = _model_schema(module, name, path)
    else:
        path = folder / name
        schema = load_schema(path, key)
    check_answer_schema(bounded(schema), path)
    return schema


def _model_schema(module: Any, name: str, path: Path) -> Json:
    called = OwnName.read(name).name
    model: Any = getattr(module, called, None)
    if not _is_model(model):
        models = [known for known, value in vars(module).items() if _is_model(value)]
        near = difflib.get_close_matches(called, models, n=1)
        fix = f"Did you mean '{near[0]}'?" if near else f"Write `class {called}(pydantic.BaseModel): ...` there."
        raise SpecError(f"'task.schema': {name} is no pydantic model.", where=str(path), fix=fix)
    try:
        # As servers send it back, with nothing in it that only Python knows.
        return orjson.loads(orjson.dumps(model.model_json_schema()))  # type: ignore[no-any-return]
    except Exception as error:  # whatever pydantic says of a model that has no JSON schema
        raise SpecError(f"'task.schema': {name} has no JSON schema: {error}.", where=str(path)) from None


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and hasattr(value, "model_json_schema") and value.__name__ != "BaseModel"
