"""The required form of an answer: any text, one of the task's labels, or JSON that conforms to its schema.

It determines the schema sent to the teacher (`asked`) and how answers are normalised (`canonical`), in generation and
in evaluation.
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

from prompts.answer_schema import FLATTEN, bounded, check_answer_schema, check_informative, load_schema
from schemas.errors import SpecError
from schemas.labels import label_in
from schemas.records import Json
from schemas.spec import TaskSettings
from schemas.strict_json import strict_json
from schemas.user_modules import UserReference, load_user_module
from schemas.user_output import user_output

_MODEL = re.compile(r"[\w.]+:\w+")
# `Label: `, in any language: vowel signs are no \w. Bounded, as an answer may be any text.
_HEADED = re.compile(r"\A\W*[^\W\d_][^\s:=\uff1a]{0,40}(?:[ -][^\s:=\uff1a]{1,40})?\W{0,9}?[:=\uff1a]")
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class AnswerForm:
    """Labels with their definitions, or a JSON schema, or neither, which allows any text. `model` is the pydantic model
    that the schema comes from, if any."""

    labels: Mapping[str, str] = field(default_factory=dict)
    schema: Json | None = None
    model: Any = field(default=None, compare=False)

    @classmethod
    def of(cls, task: TaskSettings, folder: Path) -> AnswerForm:
        """The answer form of a spec's task. Raises SpecError or PromptError for a schema that cannot be used."""
        if task.answer_schema is None:
            return cls(task.labels)
        schema, model = _schema(task.answer_schema, folder), model_of(task, folder)
        return cls(task.labels, schema, model and model[0])

    @property
    def has_single_answer(self) -> bool:
        """Whether an input has exactly one right answer, unlike, for example, a translation."""
        return bool(self.labels) or self.schema is not None

    @cached_property
    def asked(self) -> Json | None:
        """The JSON schema sent to the teacher: an object with a label, because some servers accept only objects, or the
        task's schema with a limit for every string and array."""
        if not self.labels:
            return self.schema and bounded(self.schema)
        label = {"type": "string", "enum": list(self.labels)}
        return {"type": "object", "properties": {"label": label}, "required": ["label"], "additionalProperties": False}

    @property
    def binds(self) -> bool:
        """Whether an answer that violates `asked` is requested again. A label is instead extracted from any answer and
        judged by a gate, because not every server follows a schema."""
        return self.schema is not None

    def refused(self, text: str) -> str | None:
        """The pydantic model's complaint about an answer, or None. A validator that crashes counts as no complaint: a
        gate will leave the row waiting."""
        try:
            return None if self.model is None else refused_by(self.model, self.canonical(text))
        except Exception:  # the user's code may raise anything
            return None

    def canonical(self, text: str) -> str:
        """`text` in the form that rows store: a label as spelled in the spec, or JSON without a code fence, in the
        schema's key order, with one space after each comma and colon. Other text is unchanged, for a gate to reject."""
        if self.labels:
            answer = _extract_label(text)
            headed = _HEADED.match(answer)
            named = headed and not label_in(self.labels, headed[0][:-1]) and answer[headed.end() :]
            return label_in(self.labels, answer) or label_in(self.labels, named or "") or text
        if self.schema is None:
            return text
        try:
            fenced = _FENCED.fullmatch(text)
            value = strict_json(fenced[1] if fenced else text)
            spelt = json.dumps(_order_keys(value, self.schema, self.schema), ensure_ascii=False, allow_nan=False)
            spelt.encode()  # fails for a lone surrogate, which JSON can escape but no file can store
            return spelt
        except (ValueError, RecursionError):
            return text


ANY_TEXT = AnswerForm()


def _extract_label(text: str) -> str:
    """The label in `{"label": "x"}`, or in `Label: x`, which models write without constrained decoding. A label that
    looks like a number or like `true` may lack its quotation marks."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return re.sub(r"\A\W*label\W*[:=]", "", text, flags=re.IGNORECASE)
    label = value.get("label") if isinstance(value, dict) else value
    if isinstance(label, int | float):
        return json.dumps(label)
    return label if isinstance(label, str) else text


def _order_keys(value: Any, schema: Any, root: Json) -> Any:
    """`value` with the keys of each object in the order of its schema; unknown keys follow, sorted."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [_order_keys(item, schema.get("items"), root) for item in value]
    if not isinstance(value, dict):
        return value
    named = {name: part for way in alternatives(schema, root) for name, part in way.get("properties", {}).items()}
    keys = [*(key for key in named if key in value), *sorted(value.keys() - named.keys())]
    return {key: _order_keys(value[key], named.get(key), root) for key in keys}


def resolved(schema: Any, root: Json) -> Json:
    """The schema that a reference within `root` leads to, or `schema` itself; the empty schema if it is not an
    object."""
    for _ in range(20):  # follows a chain of references; circular ones are refused when the schema is loaded
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: Any = root
        for part in filter(None, reference[1:].split("/")):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        schema = target
    return schema if isinstance(schema, dict) else {}


def alternatives(schema: Json, root: Json) -> list[Json]:
    """The schema and all those it is composed of by anyOf, oneOf and allOf."""
    parts = [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, ())]
    return [schema, *(way for part in parts for way in alternatives(resolved(part, root), root))]


def model_of(task: TaskSettings, folder: Path) -> tuple[Any, str] | None:
    """The pydantic model that `task.schema` names and the hash of its file; None if it names a JSON schema file.

    A model may require more than its JSON schema expresses: validators, dates, decimals. Raises SpecError.
    """
    name = task.answer_schema
    if name is None or not _MODEL.fullmatch(name):
        return None
    _, source, module = load_user_module(name, folder, "task.schema")
    return getattr(module, UserReference.read(name).name), hashlib.sha256(source).hexdigest()


def refused_by(model: Any, text: str) -> str | None:
    """The complaint of the user's pydantic model about a record, or None. Exceptions of its validators propagate."""
    from pydantic import ValidationError

    try:
        with user_output():
            model.model_validate_json(text)
    except ValidationError as error:
        worst = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, worst["loc"]))
        complaint = " ".join(worst["msg"].split())[:200]
        return f"{model.__name__} says {f'at {place}: ' if place else ''}{complaint}"
    return None


def _schema(name: str, folder: Path) -> Json:
    key, schema = "task.schema", None
    if _MODEL.fullmatch(name):
        path, _, module = load_user_module(name, folder, key)
        schema = _model_schema(module, name, path)
        check_informative(schema, path)
    else:
        path = folder / name
    try:
        if schema is None:
            schema = load_schema(path, key)
        check_answer_schema(bounded(schema), path)
    except RecursionError:
        raise SpecError(f"'{key}': {name} is nested too deeply.", where=str(path), fix=FLATTEN) from None
    return schema


def _model_schema(module: Any, name: str, path: Path) -> Json:
    called = UserReference.read(name).name
    model: Any = getattr(module, called, None)
    if not _is_model(model):
        models = [known for known, value in vars(module).items() if _is_model(value)]
        near = difflib.get_close_matches(called, models, n=1)
        fix = f"Did you mean '{near[0]}'?" if near else f"Write `class {called}(pydantic.BaseModel): ...` there."
        raise SpecError(f"'task.schema': {name} is not a pydantic model.", where=str(path), fix=fix)
    try:
        # A round trip through JSON, so that it contains no Python-only values.
        return orjson.loads(orjson.dumps(model.model_json_schema()))  # type: ignore[no-any-return]
    except Exception as error:  # pydantic raises various errors for a model that has no JSON schema
        raise SpecError(f"'task.schema': {name} has no JSON schema: {error}.", where=str(path)) from None


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and hasattr(value, "model_json_schema") and value.__name__ != "BaseModel"
