"""The base class of all tables of the spec file, which rejects unknown keys, and value types that several tables
share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import UsageError, usage_error_from
from schemas.records import Sampling
from schemas.secret_names import ALONE, ANYWHERE


class Section(BaseModel):
    """A table of the spec file, or a body of a request to the service."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _reject_booleans(cls, raw: Any) -> Any:
        return _reject_boolean_numbers(cls, raw)


def _reject_boolean_numbers(model: type[BaseModel], raw: Any) -> Any:
    """Return `raw` unchanged. Raises ValueError for a boolean in place of a number, because True would be taken for 1:
    `accepted = true` once ended a run at its first row."""
    for name, value in raw.items() if isinstance(raw, Mapping) else ():
        field = model.model_fields.get(name) if isinstance(value, bool) else None
        if field and {int, float} & (types := {field.annotation, *get_args(field.annotation)}) and bool not in types:
            raise ValueError(f"'{name}' must be a number, not {str(value).lower()}")
    return raw


def later(default: Any = None, **limits: Any) -> Any:
    """A key that was added after specs had been hashed. A dump leaves it out at its default, so that the hash of a spec
    without it does not change."""
    return Field(default=default, exclude_if=lambda value: value == default, **limits)


Given = TypeVar("Given", bound=Section)


def is_env(loc: Iterable[int | str]) -> bool:
    """Whether a key, or a table that contains it, holds names of environment variables."""
    return any(str(part).endswith("_env") for part in loc)


def shown(value: Any) -> str:
    """A wrong value as errors quote it: without the user and password of an address."""
    return re.sub(r"//[^/\s]*@", "//***@", repr(value))


def given(section: type[Given], where: str, **values: Any) -> Given:
    """Build a section from values in Python code; `where` names the code in errors. Raises UsageError."""
    try:
        return section(**values)
    except ValidationError as invalid:
        raise usage_error(section, where, values, invalid) from None


def usage_error(model: type[BaseModel], where: str, values: Mapping[str, Any], invalid: ValidationError) -> UsageError:
    """The first error of a model built from `values` in Python code, in one sentence; `where` names the code."""
    errors = invalid.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])  # `txt` before a missing text
    keys = written_key(values, first) or tuple(map(str, first["loc"]))  # the latter if a value stands for another
    key = ".".join(keys)
    if first["type"] == "extra_forbidden":
        return no_setting(where, key, model_at(model, keys[:-1]).model_fields)
    if first["type"] == "missing":
        missing = " and ".join(".".join(map(str, one["loc"])) for one in errors if one["type"] == "missing")
        return UsageError(
            f"{where} lacks {missing}.", fix=f"It has: {', '.join(model_at(model, keys[:-1]).model_fields)}."
        )
    # A value in place of a variable's name, or in a table of headers, may be the secret itself.
    is_shown = not is_env(first["loc"]) and not isinstance(first.get("input"), Mapping)
    place = f": {key} = {shown(first.get('input')):.80}" if is_shown else f": {key}"
    from schemas.python_terms import in_python  # not for commands

    error = usage_error_from([first], where=f"{where}{place}" if key else where)
    error.reword(in_python)
    return error


def written_key(values: Any, error: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of pydantic's error location that exist in `values`; pydantic also includes the union members it
    tried."""
    loc, is_missing = error["loc"], error["type"] == "missing"
    parts: list[str] = []
    for at, part in enumerate(loc):
        keys = range(len(values)) if isinstance(values, list | tuple) else values if isinstance(values, dict) else ()
        if there := part in keys:
            values = values[part]
        if there or (is_missing and at == len(loc) - 1):
            parts.append(str(part))
    return tuple(parts)


def model_at(model: type[BaseModel], keys: Iterable[str]) -> type[BaseModel]:
    """The model of the table that `keys` lead to from that of `model`, or of the last table on the way."""
    for part in keys:
        field = model.model_fields.get(str(part))
        model = (model_in(field.annotation) if field else None) or model
    return model


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in the type of a key; None if it is not a table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part))), None)


def no_setting(where: str, key: str, legal: Iterable[str]) -> UsageError:
    """The error for an unknown setting in Python code, with the most similar one of those that exist."""
    names = [*legal]
    near = difflib.get_close_matches(key.rpartition(".")[2], names, n=1)
    meant = f"Did you mean '{near[0]}'? " if near else ""
    return UsageError(f"{where} has no setting '{key}'.", fix=f"{meant}It has: {', '.join(names)}.")


# A word in a variable's name is short or has only a number at its end. Keys of letters and digits alone (Groq, Azure,
# Hugging Face, Fireworks) would be valid names, and names are shown in errors.
_KEY_CHARS, _KEY_NUMBERS = 16, 3


def _check_variable_name(name: str | None) -> str | None:
    if name is None:
        return None
    looks_like_a_key = any(
        len(word) >= _KEY_CHARS and len(re.findall(r"\d+", word)) >= _KEY_NUMBERS for word in name.split("_")
    )
    if looks_like_a_key or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is not the name of an environment variable")
    return name


EnvName = Annotated[str, AfterValidator(_check_variable_name)]
EnvNameIfAny = Annotated[str | None, AfterValidator(_check_variable_name)]


def _check_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except RecursionError:
        raise ValueError("is not a regular expression: its groups are nested too deeply") from None
    except (re.error, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_check_regex)]
UserFunction = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


class Pattern(Section):
    """A named regular expression, searched in the output."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    pattern: Regex = Field(min_length=1)


def _check_extra(sampling: Sampling) -> Sampling:
    if taken := sorted({"model", "messages", "stream", "n"} & sampling.extra.keys()):
        raise ValueError(
            f"extra may not set '{taken[0]}': pairsmith sets it itself (teacher.model, the prompt, generate.forward.n)"
        )
    # Requests are stored as sent. `extra_headers`, as client libraries call it, would be part of the request body.
    tables = (table for part, table in sampling.extra.items() if part.endswith("headers") and isinstance(table, dict))
    headers = filter(ANYWHERE.search, (name for table in tables for name in table))
    if secret := next(iter([*filter(ALONE.fullmatch, sampling.extra), *headers]), None):
        raise ValueError(
            f"extra may not hold '{secret}', because requests are stored: use teacher.key_env or teacher.headers_env"
        )
    return sampling


def _drop_unset(sampling: Any) -> Any:
    """Turn "unset" into None, which leaves a setting to the endpoint and is not sent: reasoning models reject a
    temperature."""
    if not isinstance(sampling, dict):
        return sampling
    _reject_boolean_numbers(Sampling, sampling)
    return {name: None if value == "unset" else value for name, value in sampling.items()}


Drawing = Annotated[Sampling, BeforeValidator(_drop_unset), AfterValidator(_check_extra)]
