"""The gate for tasks with JSON output: the output parses and is valid under a JSON Schema file."""

from __future__ import annotations

import re
from datetime import datetime, time
from functools import partial
from typing import Any

import orjson

from curate.gates.judgement import Gate, Judgement, crashed, passed, quote, rejected
from curate.gates.patterns import describe_row
from prompts.answer_form import refused_by
from schemas.records import Pair
from schemas.strict_json import repeated_key
from schemas.time_limit import CheckTimedOut, limited


def json_schema(schema: Any, model: Any = None) -> Gate:
    """Return a gate that checks that the output is JSON and valid under `schema`, and under `model` if given.

    JSON is RFC 8259: no NaN, no comments, no code fence, no key twice in one object. `model` is the pydantic class
    that the schema was derived from.
    Reasons: `not_json` with line and column, `schema` with the path of the worst error. Of the formats, which the
    standard leaves open, `date`, `date-time` and `time` are checked; a model checks whatever it defines. A schema that
    cannot be applied (an unresolvable or circular reference) judges no row; a pattern that takes too long leaves the
    current row unjudged (`schemas.time_limit`).
    """
    from jsonschema import FormatChecker, validators
    from referencing import Registry

    formats = FormatChecker(("date",))
    for name, parse in (("date-time", datetime.fromisoformat), ("time", time.fromisoformat)):
        # A time has a colon; a date alone is no date-time.
        formats.checks(name, ValueError)(
            lambda value, parse=parse: (
                not isinstance(value, str) or (":" in value and bool(parse(_LEAP_SECOND.sub(":59", value.upper()))))
            )
        )
    checker = formats if model is None else None
    validator = validators.validator_for(schema)(schema, registry=Registry(), format_checker=checker)
    settings = repr(schema)

    def gate(pair: Pair) -> Judgement:
        try:
            value = orjson.loads(pair.output)
        except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
            return rejected("not_json", f"{error}: {quote(pair.output)}")
        if (key := repeated_key(pair.output)) is not None:
            return rejected("not_json", f"an object has the key '{key}' twice: {quote(pair.output)}")
        try:
            check = partial(_worst_error, validator, value)
            worst = limited("the JSON schema", settings, describe_row(pair), check)
        except CheckTimedOut as late:
            return crashed(str(late))
        except Exception as error:
            return crashed(f"the schema cannot be applied: {type(error).__name__}: {error}")
        if worst is not None:
            return rejected("schema", f"at {worst.json_path}: {' '.join(worst.message.split())[:200]}")
        return passed("it is valid") if model is None else _validate_with_model(model, pair.output)

    return gate


def _worst_error(validator: Any, value: Any) -> Any:
    from jsonschema.exceptions import best_match

    return best_match(validator.iter_errors(value))


_LEAP_SECOND = re.compile(r"(?<=:[0-5]9):60(?!\d)")  # RFC 3339 has it, Python's times do not


def _validate_with_model(model: Any, output: str) -> Judgement:
    """Validate a record with the user's own model, which is what reads the records in the end.

    A validator that raises leaves the row unjudged.
    """
    try:
        refusal = refused_by(model, output)
    except Exception as error:
        return crashed(f"{model.__name__} cannot be applied: {type(error).__name__}: {error}")
    return passed("it is valid") if refusal is None else rejected("schema", refusal)
