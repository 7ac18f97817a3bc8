"""An impossible value at any key of the spec gives one clear error."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from schemas.errors import SpecError
from schemas.spec import Spec
from schemas.spec_file import parse

SPEC = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "a.jsonl"\n'
ODD = (
    *("-1", "1.5", "true", '""', '"x"', "2024-01-01", "12:00:00"),
    *("[]", "[[]]", "[{}]", "[1]", '["x", 1]', '[["x"]]', '["a", "a"]', '[{name = "a", pattern = "("}]'),
    *("{}", "{a = [1]}", "{a = {b = 1}}"),
)
LISTED = {"task": "", "seeds": "", "exemplars": "[[exemplars]]\n"}


def keys(section: type[BaseModel], *before: str) -> Iterator[tuple[str, ...]]:
    """Every key of a table and its sub-tables."""
    for name, field in section.model_fields.items():
        yield (here := (*before, field.alias or name))
        kinds = [field.annotation]
        while kinds:
            kind = kinds.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys(kind, *here)
            kinds += get_args(kind)


def text_with(key: tuple[str, ...], value: str) -> str:
    table, *rest = key
    line = f"{'.'.join(rest)} = {value}\n"
    if table not in LISTED or not rest:
        return f"{'.'.join(key)} = {value}\n{SPEC}"
    return SPEC.replace("[task]\n", f"[task]\n{line}") if table == "task" else f"{SPEC}{LISTED[table]}{line}"


@pytest.mark.slow
@pytest.mark.parametrize("value", ODD)
def test_odd_value_of_any_key_is_accepted_or_a_spec_error(value: str, tmp_path: Path) -> None:
    """A list of tables for labels, a number for addresses, a date for anything: the value is accepted or raises
    SpecError, and nothing else is ever raised."""
    checked = 0
    for key in keys(Spec):
        text = text_with(key, value)
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue  # the key is already in the text
        checked += 1
        with suppress(SpecError):
            parse(text, tmp_path)
    assert checked > 150
