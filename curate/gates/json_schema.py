"""The gate for tasks whose output is JSON: it parses, and it is valid under a JSON Schema file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from curate.gates.judgement import Gate, Judgement, crashed, passed, quote, rejected
from schemas.errors import SpecError
from schemas.records import Pair


def load_schema(path: Path) -> dict[str, Any]:
    """The schema in the file at `path`.

    Raises SpecError if the file is missing, is not JSON or not a JSON Schema, or refers to something outside of itself.
    """
    from jsonschema import exceptions, validators

    key = "'curate.gates.json_schema'"
    try:
        schema = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SpecError(
            f"{key}: {path} cannot be read: {error.strerror}.", fix="Name a file, relative to the folder of the spec."
        ) from None
    except orjson.JSONDecodeError as error:
        raise SpecError(f"{key}: {path} is not JSON: {error}.", fix="Mend that place.") from None
    if not isinstance(schema, dict):
        raise SpecError(f"{key}: {path} holds {type(schema).__name__}, a JSON Schema is an object.")
    try:
        validators.validator_for(schema).check_schema(schema)
    except exceptions.SchemaError as error:
        raise SpecError(f"{key}: {path} is not a JSON Schema: {error.message} (at {error.json_path}).") from None
    if outside := next((ref for ref in _references(schema) if not ref.startswith("#")), None):
        raise SpecError(
            f"{key}: {path} refers to '{outside}', outside its own file.",
            why="A gate must give the same answer without a network.",
            fix="Copy that definition into '$defs' and refer to '#/$defs/...'.",
        )
    return schema


def json_schema(schema: Any) -> Gate:
    """A gate: the output is JSON (RFC 8259: no NaN, no comment, no code fence) and valid under `schema`.

    Reasons: `not_json` with line and column, `schema` with the path of the worst error. `format` is not checked, as the
    standard leaves it. A schema that cannot be applied (a reference that leads nowhere or in a circle) judges nothing.
    """
    from jsonschema import exceptions, validators
    from referencing import Registry

    validator = validators.validator_for(schema)(schema, registry=Registry())

    def gate(pair: Pair) -> Judgement:
        try:
            value = orjson.loads(pair.output)
        except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
            return rejected("not_json", f"{error}: {quote(pair.output)}")
        try:
            worst = exceptions.best_match(validator.iter_errors(value))
        except Exception as error:
            return crashed(f"the schema cannot be applied: {type(error).__name__}: {error}")
        if worst is not None:
            return rejected("schema", f"at {worst.json_path}: {' '.join(worst.message.split())[:200]}")
        return passed("it is valid")

    return gate


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
