"""What every table of the spec file shares: unknown keys are refused, and values that several tables have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import UsageError, misused
from schemas.records import Sampling
from schemas.secret_names import ALONE, ANYWHERE


class Section(BaseModel):
    """A table of the spec file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, raw: Any) -> Any:
        return _no_switch_for_a_number(cls, raw)


def _no_switch_for_a_number(model: type[BaseModel], raw: Any) -> Any:
    """`raw` as it is. True would be taken for 1: `accepted = true` ended a run at its first row."""
    for name, value in raw.items() if isinstance(raw, Mapping) else ():
        field = model.model_fields.get(name) if isinstance(value, bool) else None
        if field and {int, float} & (types := {field.annotation, *get_args(field.annotation)}) and bool not in types:
            raise ValueError(f"'{name}' is a number, not {str(value).lower()}")
    return raw


Given = TypeVar("Given", bound=Section)


def is_env(loc: Iterable[int | str]) -> bool:
    """Whether a key, or a table that it stands in, holds names of environment variables."""
    return any(str(part).endswith("_env") for part in loc)


def given(section: type[Given], where: str, **values: Any) -> Given:
    """A section from values in Python code, for what stands there as `where`. Raises UsageError."""
    try:
        return section(**values)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            legal = ", ".join(section.model_fields)
            raise UsageError(f"{where} has no setting '{key}'.", fix=f"It has: {legal}.") from None
        # What stands in place of a variable's name, or in a table of headers, may be the secret itself.
        is_shown = not is_env(first["loc"]) and not isinstance(first.get("input"), Mapping)
        place = f": {key} = {first.get('input')!r}" if is_shown else f": {key}"
        raise misused([first], where=f"{where}{place}" if key else where) from None


# A word of a variable's name is short, or has a number at its end; keys of letters and digits alone (Groq, Azure,
# Hugging Face, Fireworks) would do for a name, and a name is said in errors.
_KEY_CHARS, _KEY_NUMBERS = 16, 3


def _of_a_variable(name: str | None) -> str | None:
    if name is None:
        return None
    looks_like_a_key = any(
        len(word) >= _KEY_CHARS and len(re.findall(r"\d+", word)) >= _KEY_NUMBERS for word in name.split("_")
    )
    if looks_like_a_key or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is not the name of an environment variable")
    return name


EnvName = Annotated[str, AfterValidator(_of_a_variable)]
EnvNameIfAny = Annotated[str | None, AfterValidator(_of_a_variable)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except RecursionError:
        raise ValueError("is not a regular expression: its groups stand too deep in each other") from None
    except (re.error, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_compiles)]
UserFunction = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


class Pattern(Section):
    """A named regular expression, searched in the output."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    pattern: Regex = Field(min_length=1)


def _leaves_the_question(sampling: Sampling) -> Sampling:
    if ours := sorted({"model", "messages", "stream", "n"} & sampling.extra.keys()):
        raise ValueError(
            f"extra may not set '{ours[0]}': pairsmith sets it itself (teacher.model, the prompt, generate.forward.n)"
        )
    # A request is kept as it was sent, and `extra_headers` of a client's library is no header but a part of it.
    tables = (table for part, table in sampling.extra.items() if part.endswith("headers") and isinstance(table, dict))
    headers = filter(ANYWHERE.search, (name for table in tables for name in table))
    if secret := next(iter([*filter(ALONE.fullmatch, sampling.extra), *headers]), None):
        raise ValueError(
            f"extra may not hold '{secret}', for requests are kept: teacher.key_env or teacher.headers_env"
        )
    return sampling


def _without_unset(sampling: Any) -> Any:
    """A setting that is "unset" is left to the endpoint and not sent: reasoning models refuse a temperature."""
    if not isinstance(sampling, dict):
        return sampling
    _no_switch_for_a_number(Sampling, sampling)
    return {name: None if value == "unset" else value for name, value in sampling.items()}


Drawing = Annotated[Sampling, BeforeValidator(_without_unset), AfterValidator(_leaves_the_question)]
