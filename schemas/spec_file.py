"""Reading `pairsmith.toml`: types, overrides, and mistakes named by key, line and nearest legal key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from schemas.errors import SpecError
from schemas.records import content_id
from schemas.spec import Spec

SPEC_NAME = "pairsmith.toml"


@dataclass(frozen=True)
class Project:
    """A folder with a spec file in it. Paths in the spec are relative to `folder`."""

    folder: Path
    spec: Spec

    @property
    def spec_hash(self) -> str:
        return content_id("spec", self.spec.model_dump(mode="json"))


def load(folder: Path, overrides: Sequence[str] = ()) -> Project:
    """Read `folder/pairsmith.toml`, apply `a.b=value` overrides (TOML values; a bare word is a string), check it.

    Raises SpecError naming the file, the line and the key of the first mistake. Comments and order are not kept.
    """
    path = folder / SPEC_NAME
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError(
            f"there is no {SPEC_NAME} here.",
            where=str(folder),
            fix="Run `pairsmith init DIR` to make a project, or name its folder with --project DIR.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot be read: {error}.", where=str(path), fix="Save it as a UTF-8 text file.") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"is not valid TOML: {error}.", where=str(path), fix="Mend that line.") from None
    set_keys = [_override(raw, item) for item in overrides]
    try:
        return Project(folder, Spec.model_validate(raw))
    except ValidationError as error:
        raise _explained(error, path, text, set_keys) from None


def _override(raw: dict[str, Any], item: str) -> tuple[str, ...]:
    key, equals, value = item.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise SpecError(f"--set {item}: expected KEY=VALUE, such as --set train.epochs=2.")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    table: Any = raw
    for part in keys[:-1]:
        table = table[int(part)] if isinstance(table, list) and part.isdigit() else table.setdefault(part, {})
        if not isinstance(table, dict | list):
            raise SpecError(f"--set {item}: {part} is a value, not a table.")
    if isinstance(table, list):
        raise SpecError(f"--set {item}: name an entry by its number, as in seeds.0.path=other.jsonl.")
    table[keys[-1]] = parsed
    return keys


def _explained(error: ValidationError, path: Path, text: str, set_keys: Iterable[tuple[str, ...]]) -> SpecError:
    """The first mistake as a sentence. Unknown keys come first: the others are often their consequence."""
    details = error.errors()
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    loc = tuple(part for part in map(str, first["loc"]) if (part[:1].islower() and "[" not in part) or part.isdigit())
    key = ".".join(loc)
    from_set = any(keys[: len(loc)] == loc for keys in set_keys)
    line = None if from_set else key_line(text, loc)
    where = f"--set {key}" if from_set else f"{path}:{line}" if line else str(path)
    if first["type"] == "extra_forbidden":
        legal = _legal_keys(loc[:-1])
        near = difflib.get_close_matches(loc[-1], legal, n=1, cutoff=0.0)
        hint = f"Did you mean '{near[0]}'?" if near else ""
        return SpecError(
            f"unknown key '{key}'.",
            where=where,
            why="It would be ignored silently, so it is refused.",
            fix=f"{hint} Legal here: {', '.join(legal)}.".strip(),
        )
    if first["type"] == "missing":
        return SpecError(f"the key '{key}' is missing.", where=where, fix="Add it; docs/spec.md describes every key.")
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    message = first["msg"].removeprefix("Value error, ")
    subject = f"'{key}': " if key else ""
    return SpecError(f"{subject}{message}{shown}.", where=where, fix="See docs/spec.md.")


def _legal_keys(loc: Sequence[str]) -> list[str]:
    model: Any = Spec
    for part in loc:
        if part.isdigit():
            continue
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is not None:
            model = _model_in(field.annotation) or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


_HEADER = re.compile(r"^\s*(\[\[?)\s*([\w.\-\"' ]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([\w\-.\"']+)\s*=")


def key_line(text: str, loc: Sequence[str]) -> int | None:
    """The 1-based line of the spec that sets `loc`, or of the deepest table on the way to it; None if no line does.

    It reads tables, arrays of tables and plain keys line by line and skips multi-line strings; a key inside an inline
    table is reported at the line of that table.
    """
    here: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    best, best_depth, quote = None, 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if header := _HEADER.match(line):
            here = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[here] = counts.get(here, -1) + 1
                here = (*here, str(counts[here]))
            found = here
        elif assign := _KEY.match(line):
            found = (*here, *(part.strip("\"'") for part in assign[1].split(".")))
        else:
            continue
        depth = len(found)
        if depth > best_depth and tuple(loc[:depth]) == found:
            best, best_depth = number, depth
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark
    return best
