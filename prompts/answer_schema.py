"""Loads JSON schemas, and checks one that a teacher's answers must conform to before any answer is paid for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import PromptError, SpecError
from schemas.records import Json

if TYPE_CHECKING:
    from referencing import Resource
    from referencing._core import Resolver

# Keys whose contents are values, not schemas, and keys whose contents are schemas by user-defined names.
_VALUE_KEYS = ("enum", "const", "default", "examples")
_NAMED_KEYS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# Keywords of JSON Schema and its dialects (OpenAPI, Gemini) that do not constrain a value by themselves.
_ANNOTATION_KEYWORDS = """
    $schema $id $anchor $dynamicAnchor $vocabulary $comment id then else minContains maxContains contentEncoding
    contentMediaType contentSchema deprecated readOnly writeOnly nullable discriminator example propertyOrdering
"""
_ANNOTATIONS = frozenset(_ANNOTATION_KEYWORDS.split())
_BOUND_PAIRS = tuple((f"min{what}", f"max{what}") for what in ("Length", "Items", "Properties", "imum"))
_DEFAULT_LIMITS = {"maxLength": 2000, "maxItems": 100}
FLATTEN = "Write inner parts of the schema into '$defs', and refer to them with '$ref'."
_EXAMPLES: tuple[Any, ...] = ({}, [], "", 0, 0.5, True, None)


def load_schema(path: Path, key: str = "curate.gates.json_schema") -> Json:
    """Load the schema in the file at `path`; `key` is the key of the spec that names it.

    Raises SpecError if the file is missing, is not JSON or not a JSON Schema, or refers to anything outside itself.
    """
    from jsonschema import exceptions, validators

    key = f"'{key}'"
    try:
        schema = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SpecError(
            f"{key}: {path} cannot be read: {error.strerror}.", fix="Name a file, relative to the folder of the spec."
        ) from None
    except orjson.JSONDecodeError as error:
        raise SpecError(f"{key}: {path} is not JSON: {error}.", fix="Correct the file there.") from None
    if not isinstance(schema, dict):
        raise SpecError(f"{key}: {path} contains {type(schema).__name__}, but a JSON Schema is an object.")
    try:
        validators.validator_for(schema).check_schema(schema)
    except exceptions.SchemaError as error:
        raise SpecError(f"{key}: {path} is not a JSON Schema: {error.message} (at {error.json_path}).") from None
    if is_example(schema):
        raise SpecError(
            f"{key}: {path} contains no JSON Schema keywords.",
            why="Any answer would satisfy it.",
            fix='If it is an example of a record, describe its keys: {"type": "object", "properties": {...}}.',
        )
    if outside := next((ref for ref in _references(schema) if not ref.startswith("#")), None):
        raise SpecError(
            f"{key}: {path} refers to '{outside}', outside its own file.",
            why="A gate must give the same result without a network.",
            fix="Copy that definition into '$defs' and refer to '#/$defs/...'.",
        )
    return schema


def is_example(value: Json) -> bool:
    """Whether an object has no JSON Schema keywords, and so is probably an example of a record."""
    words = _keywords() - _ANNOTATIONS
    return bool(value) and not any(key in words or key.startswith("$") for key in value)


@cache
def _keywords() -> frozenset[str]:
    from jsonschema.validators import Draft4Validator, Draft202012Validator

    words = (
        *_NAMED_KEYS,
        *_VALUE_KEYS,
        *Draft4Validator.VALIDATORS,
        *Draft202012Validator.VALIDATORS,
        "title",
        "description",
    )
    return frozenset(words) | _ANNOTATIONS


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def check_answer_schema(schema: Json, path: Path) -> None:
    """Raise PromptError, naming the file and the key, unless any answer can be validated against `schema`.

    Refused are: values that JSON does not have (dates, inf), an unknown draft, anything that the draft's meta-schema
    refuses (an unknown type, a bound that is not a number), an invalid regular expression, a reference that leads
    nowhere, out of the file or back to itself, strings and arrays without a limit, a misspelt keyword, which would be
    ignored, requirements that no answer can meet, if one part alone shows it, and a schema that takes too long to apply
    to its own enum or to an empty value. Not covered: a pattern that takes exponential time on other texts, and parts
    that contradict each other.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    from schemas.time_limit import LIMIT_S, CheckTimedOut, limited

    _check_json(schema, "", path)
    unknown: Any = None
    draft = schema.get("$schema")
    kind = validator_for(schema) if draft is None else unknown
    if isinstance(draft, str):
        kind = validator_for(schema, default=unknown)
    if kind is None:
        raise _schema_error("$schema", "names an unknown draft of JSON Schema", path, "Leave it out.")
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise _schema_error(".".join(map(str, error.absolute_path)), error.message, path) from None
    _check_words(schema, kind, path)
    _check_bounded(schema, path)
    _check_patterns(schema, path)
    _check_references(schema, path)
    validator = kind(schema, registry=Registry())
    references = [{"$ref": node["$ref"]} for _, node in _subschemas(schema) if "$ref" in node]

    def apply() -> None:
        _check_possible(schema, validator, path)
        for part in (schema, *references):
            for example in _EXAMPLES:
                for _ in validator.evolve(schema=part).iter_errors(example):
                    pass

    try:
        limited("the JSON schema", orjson.dumps(schema).decode(), "of the schema itself", apply)
    except PromptError:
        raise
    except CheckTimedOut:
        fix = "Write its patterns with a single repeat, and fewer references to one definition."
        raise _schema_error("", f"takes more than {LIMIT_S:g} s to apply", path, fix) from None
    except Unresolvable:
        pass  # relative to an $id within the schema; `_check_references` has checked that each one resolves
    except Exception as error:  # the first answer would raise it too
        raise _schema_error("", f"cannot be applied ({type(error).__name__}: {str(error)[:200]})", path) from None


def check_informative(schema: Json, path: Path) -> None:
    """Raise PromptError for a field of a pydantic model that can only be null, as `date: Optional[date] = None` makes
    one: the field hides the type. One of several alternatives may have such a field, also by a reference."""
    unions = [node[word] for _, node in _subschemas(schema) for word in ("anyOf", "oneOf") if word in node]
    several = any(len([way for way in ways if way != {"type": "null"}]) > 1 for ways in unions)
    skipped = {"anyOf", "oneOf", *(["$defs"] if several else [])}
    for key, node in _subschemas(schema):
        for name, part in node.get("properties", {}).items() if skipped.isdisjoint(key.split(".")) else ():
            if part.get("type") == "null":
                fix = f"If it has the name of its type, it hides that: import the type by another name than '{name}'."
                raise _schema_error(f"{key}.properties.{name}", "can only be null", path, fix)


def _schema_error(key: str, what: str, path: Path, fix: str = "Correct it; see json-schema.org.") -> PromptError:
    name = ".".join(part for part in ("schema", key.removeprefix("schema").removeprefix(".")) if part)
    return PromptError(
        f"'{name}': {what.rstrip('.')}.", where=str(path), why="No answer could be checked against it.", fix=fix
    )


def _check_json(node: Any, key: str, path: Path) -> None:
    """Refuse values that TOML can express but JSON cannot, because they cannot be sent to a server."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, part in parts:
        _check_json(part, f"{key}.{name}".removeprefix("."), path)
    if not isinstance(node, dict | list | str | int | float | None) or (isinstance(node, float) and not isfinite(node)):
        raise _schema_error(key, f"'{node}' is not a JSON value", path, "Write it as a string or a number.")


def bounded(schema: Json) -> Json:
    """`schema` with a limit added to every string and array without one. A schema written for validation may well omit
    limits, but a server that constrains decoding needs them."""
    closed: Json = deepcopy(schema)
    for _, node, bound in _unbounded_parts(closed):
        node[bound] = max(_DEFAULT_LIMITS[bound], node.get(bound.replace("max", "min"), 0))
    return closed


def is_closed(schema: Json) -> bool:
    """Whether every object in it requires all its keys and allows no others, as OpenAI's strict mode demands."""
    objects = [node for _, node in _subschemas(schema) if node.get("type") == "object" or "properties" in node]
    return all(
        node.get("additionalProperties") is False and set(node.get("required", ())) == set(node.get("properties", ()))
        for node in objects
    )


def _unbounded_parts(schema: Json) -> Iterator[tuple[str, Json, str]]:
    """The key and schema of every string and array without a limit, and the keyword of the missing limit."""
    for key, node in _subschemas(schema):
        kinds = node.get("type")
        for kind, bound in (("string", "maxLength"), ("array", "maxItems")):
            is_one = kinds == kind or (isinstance(kinds, list) and kind in kinds)
            if is_one and bound not in node and "enum" not in node and "const" not in node:
                yield key, node, bound


def _subschemas(node: Any, key: str = "schema") -> Iterator[tuple[str, Json]]:
    """Every schema in `node`, itself first, with its key."""
    if isinstance(node, list):
        for number, part in enumerate(node):
            yield from _subschemas(part, f"{key}.{number}")
    if not isinstance(node, dict):
        return
    yield key, node
    for name, part in node.items():
        if name in _NAMED_KEYS and isinstance(part, dict):
            for own, schema in part.items():
                yield from _subschemas(schema, f"{key}.{name}.{own}")
        elif name not in _VALUE_KEYS:
            yield from _subschemas(part, f"{key}.{name}")


def _check_words(schema: Json, kind: Any, path: Path) -> None:
    if is_example(schema):
        fix = "Describe the keys of the answer; of OpenAI's {name, strict, schema} use only the value of schema."
        raise _schema_error("", "has no JSON Schema keywords, so any answer would satisfy it", path, fix)
    judging = _keywords() - _ANNOTATIONS
    for key, node in _subschemas(schema):
        for word in node.keys() - _keywords():
            for near in difflib.get_close_matches(word, judging, n=1, cutoff=0.8):
                if _accepts_value(kind, near, node[word]):
                    what = "is not a JSON Schema keyword and would be ignored"
                    raise _schema_error(f"{key}.{word}", what, path, f"Write {near}.")


def _accepts_value(kind: Any, word: str, value: Any) -> bool:
    """Whether the keyword `word` could have this value; an annotation of another tool (a `note`, a `tsType`) usually
    could not."""
    from jsonschema.exceptions import SchemaError

    try:
        kind.check_schema({word: value})
    except SchemaError:
        return False
    return True


def _check_possible(schema: Json, validator: Any, path: Path) -> None:
    """Refuse a part that no value can satisfy."""
    for key, node in _subschemas(schema):
        for lower, upper in _BOUND_PAIRS:
            if node.get(lower, 0) > node.get(upper, node.get(lower, 0)):
                raise _schema_error(key, f"no answer can satisfy {lower} {node[lower]} and {upper} {node[upper]}", path)
        is_closed_one = node.get("additionalProperties") is False and "patternProperties" not in node
        for name in node.get("required", ()) if is_closed_one else ():
            if name not in node.get("properties", {}):
                raise _schema_error(
                    key, f"requires '{name}', which is not in its properties and additionalProperties forbids", path
                )
        if "enum" in node and not any(map(validator.evolve(schema=node).is_valid, node["enum"])):
            raise _schema_error(key, "no value of its enum satisfies the rest of the schema", path)


def _check_bounded(schema: Json, path: Path) -> None:
    """Refuse a schema that allows answers of unlimited length: constrained decoding could run into the token limit."""
    for key, _, bound in _unbounded_parts(schema):
        raise PromptError(
            f"'{key}' is of type {'string' if bound == 'maxLength' else 'array'} and has no {bound}.",
            where=str(path),
            why="An answer without a length limit may be cut off at the token limit and lost.",
            fix=f"Add {bound}.",
        )


def _check_patterns(schema: Json, path: Path) -> None:
    for key, node in _subschemas(schema):
        for name, pattern in _patterns(node):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                where = f"{key}.{name}".removeprefix("schema.")
                raise _schema_error(
                    where, f"is not a regular expression: {error}", path, "Correct the pattern."
                ) from None


def _patterns(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(pattern := node.get("pattern"), str):
        yield "pattern", pattern
    if isinstance(named := node.get("patternProperties"), dict):
        yield from (("patternProperties", pattern) for pattern in named)


def _check_references(schema: Json, path: Path) -> None:
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    uri = resource.id() or ""
    _resolve(resource, Registry().with_resource(uri, resource).resolver(uri), path)


def _resolve(resource: Resource[Any], resolver: Resolver[Any], path: Path) -> None:
    from referencing.exceptions import Unresolvable

    contents = resource.contents
    for name in ("$ref", "$dynamicRef", "$recursiveRef"):
        reference = contents.get(name) if isinstance(contents, dict) else None
        if not isinstance(reference, str):
            continue
        try:
            resolver.lookup(reference)
        except Unresolvable:
            what = f"'{reference}' does not exist in this file, and references are not fetched"
            raise _schema_error(name, what, path, "Write the definition into [schema.'$defs'].") from None
    for sub in resource.subresources():
        _resolve(sub, resolver.in_subresource(sub), path)
