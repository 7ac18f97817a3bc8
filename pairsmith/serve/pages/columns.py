"""How the seed sources of a project are read: which column is the input, the output, or kept with the row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from pairsmith.serve.api.seeds import check_size_inside
from pairsmith.serve.pages.page_terms import on_page
from pairsmith.user_file.columns import Column, columns_of
from pairsmith.user_file.guess import guess
from pairsmith.user_file.guess_table import Guess, seed_settings
from pairsmith.user_file.guessed_spec import comment
from pairsmith.user_file.record_schema import is_record
from prompts.answer_form import AnswerForm
from schemas.compressed import ending_of
from schemas.errors import InputError, PairsmithError, UsageError
from schemas.files import is_inside
from schemas.project import Project
from schemas.spec import SeedSource
from schemas.spec_file import SPEC_NAME, key_line
from schemas.temporary_folders import temporary_folder
from schemas.time_limit import CheckTimedOut, limited
from schemas.wording import capital
from synth.sources.columns import GROUP_COLUMN, WORSE, layout
from synth.sources.input_template import variables

_EXAMINED = 100  # outputs that are compared with a schema
TABLES = (".csv", ".json", ".jsonl", ".parquet", ".tsv")
ROLES = {
    "input": "input",
    "output": "output",
    "kept": "kept with the row",
    "group": "which rows belong together",
    "": "ignored",
}
LINES = {"input": "inputs: what your users type", "output": "finished outputs: the teacher writes inputs for them"}


class SourceView(NamedTuple):
    """A seed source for the setup page. `columns` holds (header, first cell, role). It is empty for lines of text,
    whose role is `kind`, and for chats, which have only notes. `notes` are the comments above it in the spec: how its
    file was interpreted, and doubts."""

    at: int
    path: str
    kind: str
    columns: list[tuple[str, str, str]]
    notes: Sequence[str] = ()


def sources(project: Project) -> list[SourceView]:
    """The sources whose reading can be changed on the page (lines of text, and tables without chats), and chats with
    notes."""
    shown = [_source_view(at, source, project.folder) for at, source in enumerate(project.spec.seeds)]
    return [source for source in shown if source is not None]


def _source_view(at: int, source: SeedSource, folder: Path) -> SourceView | None:
    path = folder / source.path
    if not path.is_file() or not is_inside(path, folder) or ending_of(path) not in (*TABLES, ".txt"):
        return None
    if ending_of(path) == ".txt":
        return SourceView(at, source.path, source.kind, [])
    try:
        columns = columns_of(path, source.encoding)
    except PairsmithError:
        return None  # the error is shown with its seeds
    roles = _roles(columns, source)
    notes = [on_page(note) for note in comments_above(at, folder)]
    if roles is None:
        return SourceView(at, source.path, "chats", [], notes) if notes else None
    cells = [(c.header, c.first[:300], roles.get(n, "")) for n, c in enumerate(columns)]
    return SourceView(at, source.path, source.kind, cells, notes)


def comments_above(at: int, folder: Path) -> list[str]:
    text = (folder / SPEC_NAME).read_text(encoding="utf-8")
    above = text.split("\n")[: (key_line(text, ("seeds", str(at))) or 1) - 1]
    return [line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("# "), reversed(above))][::-1]


def _roles(columns: Sequence[Column], source: SeedSource) -> dict[int, str] | None:
    """The role of each column that is read, by its index. None if a column holds chats, system prompts or worse
    answers, for which the page has no role."""
    try:
        places = layout([column.header for column in columns], source, source.path, []).columns
    except InputError:
        return {}  # a column named in the spec is missing: treat none as chosen
    if {"messages", "system", WORSE} & places.keys():
        return None
    joined = variables(source)
    text = "output" if source.kind == "output" else "input"
    roles = {"input": "input", "instruction": "input", "output": "output", "text": text, GROUP_COLUMN: "group"}
    by_name = {name: "input" if name in joined else roles.get(name, "kept") for name in places}
    first = sorted(places, key=GROUP_COLUMN.__ne__)  # a column that is also read as a text has that role
    return {places[name]: by_name[name] for name in first}


def keys_for_roles(
    project: Project, at: int, headers: Sequence[str], roles: Sequence[str], kind: str
) -> dict[str, Any]:
    """The spec keys that give source number `at` these roles. Raises UsageError if the roles define no row, or if the
    source or its columns have changed."""
    if not 0 <= at < len(project.spec.seeds):
        raise UsageError("this seed file does not exist.", where="seeds", fix="Reload the page.")
    source = project.spec.seeds[at]
    path = project.folder / source.path
    if ending_of(path) not in TABLES:
        return source_keys(at, {"kind": "output" if kind == "output" else "input"})
    columns = columns_of(path, source.encoding)
    if [column.header for column in columns] != list(headers) or len(roles) != len(headers):
        raise UsageError("the columns of the file have changed.", where=path.name, fix="Reload the page.")
    by_role = {role: [c for c, r in zip(columns, roles, strict=True) if r == role] for role in ROLES}
    if len(by_role["output"]) > 1 or not (by_role["input"] or by_role["output"]):
        wrong = "only one column can be the output" if by_role["output"] else "no column is the input or the output"
        raise UsageError(f"{wrong}.", where=path.name, fix="Choose one output, one or more inputs, or both.")
    if len(by_role["group"]) > 1:
        wrong = "only one column can say which rows belong together."
        raise UsageError(wrong, where=path.name, fix="Keep the others with the row, or ignore them.")
    kind, settings = seed_settings(by_role["input"], next(iter(by_role["output"]), None), by_role["kept"])
    return source_keys(at, {"kind": kind, **settings, "group": _group(source, columns, roles)})


def _group(source: SeedSource, columns: Sequence[Column], roles: Sequence[str]) -> str | None:
    """The column chosen to say which rows belong together. The source's own one stays, as the spec names it, if it has
    that role, or another one: it is also read as a text then."""
    headers = [column.header for column in columns]
    place = layout(headers, source, source.path, []).columns[GROUP_COLUMN] if source.group else None
    if place is not None and (roles[place] == "group" or (roles[place] and "group" not in roles)):
        return source.group
    return headers[roles.index("group")] if "group" in roles else None


def outputs_of(project: Project, at: int, roles: Sequence[str]) -> tuple[str, ...]:
    """The non-empty cells of the column with the role of the output; empty if there is no such column."""
    source = project.spec.seeds[at]
    path = project.folder / source.path
    if ending_of(path) not in TABLES or "output" not in roles:
        return ()
    return columns_of(path, source.encoding)[roles.index("output")].filled


def current_outputs(project: Project, at: int) -> tuple[str, ...]:
    """The outputs of source number `at` as it is read now; empty if it has none or cannot be read."""
    source = project.spec.seeds[at]
    path = project.folder / source.path
    if ending_of(path) not in TABLES or not path.is_file():
        return ()
    with suppress(PairsmithError):
        columns = columns_of(path, source.encoding)
        if (roles := _roles(columns, source)) is None:
            return guess(path, project.spec.task.kind, source.encoding).outputs
        return next((columns[n].filled for n, role in roles.items() if role == "output"), ())
    return ()


def guess_source(content: bytes, name: str, task: str) -> Guess:
    """Guess how to read a table for this kind of task. Raises InputError, and Refusal for one that is too large."""
    with temporary_folder() as folder:
        path = folder / name
        path.write_bytes(content)
        check_size_inside(path)
        return guess(path, task)


def source_keys(at: int, reads: Mapping[str, Any]) -> dict[str, Any]:
    """How source number `at` is read, as spec keys."""
    return {f"seeds.{at}.{name}": reads.get(name) or None for name in ("kind", "columns", "input", "group")}


def guess_sentences(project: Project, at: int) -> Sequence[str]:
    """What was guessed about the file of source number `at`, as written above it in the spec: with the kind of the task
    given, or detected."""
    source = project.spec.seeds[at]
    path = project.folder / source.path
    if ending_of(path) in TABLES and path.is_file():
        with suppress(PairsmithError):
            return [one for kind in (project.spec.task.kind, "") for one in guess(path, kind, source.encoding).why]
    return ()


def remove_comments(text: str, sentences: Sequence[str]) -> str:
    """The spec without these comments, now that a user has decided how the file is read, or replaced it."""
    for sentence in sentences:
        text = text.replace(comment(f"{capital(sentence)}.") + "\n", "", 1)
    return text


def any_satisfies_schema(project: Project, outputs: Sequence[str]) -> bool:
    """Whether any of the first outputs satisfies the task's own schema, or that cannot be told, or there is none."""
    from jsonschema.validators import validator_for

    records = [json.loads(text) for text in outputs[:_EXAMINED] if is_record(text)]
    with suppress(PairsmithError, CheckTimedOut):
        if (schema := AnswerForm.of(project.spec.task, project.folder).schema) is None:
            return True
        is_valid = validator_for(schema)(schema).is_valid
        return limited("the JSON schema", json.dumps(schema), "the new seeds", lambda: any(map(is_valid, records)))
    return True
