"""What the sources of a project are read as: which column is the input, which the output, which stays with the row."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairsmith.own_columns import Column, columns_of
from pairsmith.own_file import guess, settings_of
from pairsmith.own_spec import comment
from schemas.errors import InputError, PairsmithError, UsageError
from schemas.project import Project
from schemas.spec import SeedSource
from schemas.wording import capital
from synth.columns import WORSE, layout, variables

TABLES = (".csv", ".json", ".jsonl", ".tsv")
ROLES = {"input": "input", "output": "output", "kept": "stays with the row", "": "not read"}
LINES = {"input": "inputs: what your users type", "output": "finished outputs: inputs are written for them"}


class SourceShown(NamedTuple):
    """A source with what may be said of it: its columns, each with its first cell and its role, or what a line is."""

    at: int
    path: str
    kind: str
    columns: list[tuple[str, str, str]]


def sources(project: Project) -> list[SourceShown]:
    """The sources whose reading a person may change here: lines, and tables that hold no chats."""
    shown = [_shown(at, source, project.folder) for at, source in enumerate(project.spec.seeds)]
    return [source for source in shown if source is not None]


def _shown(at: int, source: SeedSource, folder: Path) -> SourceShown | None:
    path = folder / source.path
    if not path.is_file() or path.suffix.lower() not in (*TABLES, ".txt"):
        return None
    if path.suffix.lower() == ".txt":
        return SourceShown(at, source.path, source.kind, [])
    try:
        columns = columns_of(path, source.encoding)
    except PairsmithError:
        return None  # what is wrong with it is said where its seeds are shown
    roles = _roles(columns, source)
    if roles is None:
        return None
    cells = [(c.header, next(iter(c.filled), "")[:300], roles.get(n, "")) for n, c in enumerate(columns)]
    return SourceShown(at, source.path, source.kind, cells)


def _roles(columns: Sequence[Column], source: SeedSource) -> dict[int, str] | None:
    """The role of each column that is read; None where a column holds chats, system prompts or worse answers, which
    have no role."""
    try:
        places = layout([column.header for column in columns], source, source.path, []).columns
    except InputError:
        return {}  # a column that the spec names is not there: none is chosen yet
    if {"messages", "system", WORSE} & places.keys():
        return None
    joined = variables(source)
    text = "output" if source.kind == "output" else "input"
    own = {"input": "input", "instruction": "input", "output": "output", "text": text}
    return {place: "input" if name in joined else own.get(name, "kept") for name, place in places.items()}


def as_told(project: Project, at: int, headers: Sequence[str], roles: Sequence[str], kind: str) -> dict[str, Any]:
    """The keys of the spec that read source number `at` so. Raises UsageError for roles that make no row."""
    if not 0 <= at < len(project.spec.seeds):
        raise UsageError("there is no such file of seeds.", where="seeds", fix="Open the page anew.")
    source = project.spec.seeds[at]
    path = project.folder / source.path
    if path.suffix.lower() not in TABLES:
        return keys_of(at, {"kind": "output" if kind == "output" else "input"})
    columns = columns_of(path, source.encoding)
    if [column.header for column in columns] != list(headers) or len(roles) != len(headers):
        raise UsageError("the file has other columns now.", where=path.name, fix="Open the page anew.")
    of = {role: [c for c, r in zip(columns, roles, strict=True) if r == role] for role in ROLES}
    if len(of["output"]) > 1 or not (of["input"] or of["output"]):
        wrong = "two columns cannot be the output" if of["output"] else "no column is the input or the output"
        raise UsageError(f"{wrong}.", where=path.name, fix="Choose one output, one or more inputs, or both.")
    kind, settings = settings_of(of["input"], next(iter(of["output"]), None), of["kept"])
    return keys_of(at, {"kind": kind, **settings})


def outputs_of(project: Project, at: int, roles: Sequence[str]) -> tuple[str, ...]:
    """What the column of a table holds that is told to be the output; nothing where none is."""
    source = project.spec.seeds[at]
    path = project.folder / source.path
    if path.suffix.lower() not in TABLES or "output" not in roles:
        return ()
    return columns_of(path, source.encoding)[roles.index("output")].filled


def guessed(content: bytes, name: str, task: str) -> dict[str, Any]:
    """The keys of a source that read a table as its columns show in a task of this kind. Raises InputError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        source = guess(path, task)
    return {"kind": source.kind, **source.settings}


def keys_of(at: int, reads: Mapping[str, Any]) -> dict[str, Any]:
    """What source number `at` is read as, as keys of the spec."""
    return {f"seeds.{at}.{name}": reads.get(name) or None for name in ("kind", "columns", "input")}


def without_guesses(text: str, path: Path, task: str, encoding: str | None) -> str:
    """A spec without the sentences on what its file was taken for: a person has said it."""
    for sentence in guess(path, task, encoding).why if path.suffix.lower() in TABLES else ():
        text = text.replace(comment(f"{capital(sentence)}.") + "\n", "", 1)
    return text
