"""Checks the JSON schema that a prompt file gives for its answers, before a single answer is paid for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import PromptError
from schemas.records import Json

if TYPE_CHECKING:
    from referencing import Resource
    from referencing._core import Resolver

_EXAMPLES: tuple[Any, ...] = ({}, [], "", 0, 0.5, True, None)


def check_answer_schema(schema: Json, path: Path) -> None:
    """Raise PromptError, naming the file and the key, unless `schema` can judge any answer.

    Refused are: a draft that nobody knows, whatever the draft's own meta-schema refuses (an unknown type, a bound that
    is no number), a pattern that is no regular expression, a reference that leads nowhere or out of the file, and
    strings and lists without a bound. Not covered: a pattern that takes for ever on some text.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    unknown: Any = None
    draft = schema.get("$schema")
    kind = validator_for(schema) if draft is None else unknown
    if isinstance(draft, str):
        kind = validator_for(schema, default=unknown)
    if kind is None:
        raise _wrong("$schema", "names no draft of JSON Schema that is known here", path, "Leave it out.")
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise _wrong(".".join(map(str, error.absolute_path)), error.message, path) from None
    _check_bounded(schema, "schema", path)
    _check_patterns(schema, "schema", path)
    _check_references(schema, path)
    validator = kind(schema, registry=Registry())
    try:
        for example in _EXAMPLES:
            for _ in validator.iter_errors(example):
                pass
    except Exception as error:  # whatever it is, it would come with the first answer, too
        raise _wrong("", f"cannot be applied ({type(error).__name__}: {str(error)[:200]})", path) from None


def _wrong(key: str, what: str, path: Path, fix: str = "Correct it; see json-schema.org.") -> PromptError:
    name = ".".join(part for part in ("schema", key) if part)
    return PromptError(
        f"'{name}': {what.rstrip('.')}.", where=str(path), why="No answer could be judged by it.", fix=fix
    )


def _check_bounded(node: Any, key: str, path: Path) -> None:
    """Refuse a schema that admits endless answers: a server that constrains decoding would run into the token limit."""
    if isinstance(node, list):
        for number, part in enumerate(node):
            _check_bounded(part, f"{key}.{number}", path)
    if not isinstance(node, dict):
        return
    closed = "enum" in node or "const" in node
    for kind, bound in (("string", "maxLength"), ("array", "maxItems")):
        if node.get("type") == kind and bound not in node and not closed:
            raise PromptError(
                f"'{key}' is of type {kind} and has no {bound}.",
                where=str(path),
                why="An answer without an end is cut at the token limit and lost.",
                fix=f"Add {bound}.",
            )
    for name, part in node.items():
        _check_bounded(part, f"{key}.{name}", path)


def _check_patterns(node: Any, key: str, path: Path) -> None:
    if isinstance(node, list):
        for number, part in enumerate(node):
            _check_patterns(part, f"{key}.{number}", path)
    if not isinstance(node, dict):
        return
    for name, pattern in _patterns(node):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            where = f"{key}.{name}".removeprefix("schema.")
            raise _wrong(where, f"is not a regular expression: {error}", path, "Correct the pattern.") from None
    for name, part in node.items():
        if name not in ("enum", "const", "default", "examples"):
            _check_patterns(part, f"{key}.{name}", path)


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
            what = f"'{reference}' leads nowhere in this file, and nothing is fetched"
            raise _wrong(name, what, path, "Write what it means into [schema.'$defs'].") from None
    for sub in resource.subresources():
        _resolve(sub, resolver.in_subresource(sub), path)
