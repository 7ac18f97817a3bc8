"""The files behind the setup page: a new project's, its seeds, its spec. Each is checked before it is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from fastapi import Request
from pydantic import Field
from starlette.datastructures import UploadFile

from pairsmith.header_words import HEAD, INPUT, LABELS, OUTPUT
from pairsmith.new_project import with_base, write_project
from pairsmith.own_columns import Column, language_of
from pairsmith.own_encoding import as_utf8
from pairsmith.own_file import SCHEMA, Guess, guess
from pairsmith.own_records import schema_of
from pairsmith.own_spec import answer_tokens, spec_text
from pairsmith.serve import limits
from pairsmith.serve.access import Caller, Right
from pairsmith.serve.api.projects import NewProject, new_project_in
from pairsmith.serve.api.seeds import ENDINGS, add, check_size_inside
from pairsmith.serve.api.specs import etag_of, save_keys, save_spec
from pairsmith.serve.api.specs import spec_text as current_spec
from pairsmith.serve.pages.columns import TABLES, as_told, guessed, keys_of, outputs_of, without_guesses
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import slug_of
from prompts.answer_form import AnswerForm
from prompts.answer_schema import is_example
from schemas import toml
from schemas.errors import InputError, PairsmithError, UsageError
from schemas.kinds import KINDS, KindName
from schemas.spec_file import SPEC_NAME, parse, set_keys
from synth.csv_rows import is_table
from synth.seed_rows import refuse_other
from synth.seeds import read_seeds

PASTED = "seeds.txt"
_SPEC = Path(__file__).with_name("starter.toml").read_text(encoding="utf-8")


Lines = Annotated[str, Field(max_length=20_000)]
Short = Annotated[str, Field(max_length=10)]


class Wish(NamedTuple):
    """What the form of a new project has, beside a file; `chosen_before` names the file of one that was sent before. An
    empty `kind` leaves it to the columns of the file; `labels` are lines, each with its definition after a colon;
    `schema` is JSON. `lines` is what a line of text is; empty, an input where the text is no table. `encoding` is that
    of a file that does not show its own."""

    name: Annotated[str, Field(max_length=100)] = ""
    pasted: Annotated[str, Field(max_length=900_000)] = ""
    example: Annotated[str, Field(max_length=100)] = ""
    chosen_before: Annotated[str, Field(max_length=200)] = ""
    kind: KindName | Literal[""] = ""
    style: Lines = ""
    language: Short = ""
    labels: Lines = ""
    schema: Annotated[str, Field(max_length=100_000)] = ""
    to: Short = ""
    lines: Literal["", "input", "output"] = ""
    encoding: Annotated[str, Field(max_length=40)] = ""


def new_project(request: Request, caller: Caller, wish: Wish, seeds: tuple[str, bytes] | None) -> str:
    """Make the project and give its slug. Its title is its name, of which nothing may stand in an address. Raises
    UsageError, InputError, SpecError, Refusal; then nothing is made."""
    title = wish.name.strip()
    if not title or not title.isprintable():
        what = "it has a character that cannot be printed" if title else "the name of the project is missing"
        raise UsageError(f"{what}.", where="name", fix="Write one, such as my-prompts.")
    there = set(state_of(request).workspace.projects())
    free = (slug for n in count(1) if (slug := f"project-{n}") not in there)
    slug = slug_of(title) or next(free)
    if wish.example:
        new_project_in(request, caller, NewProject(name=slug, example=wish.example))
    else:
        _made_of(request, caller, slug, wish, seeds)
    if title != slug:
        state_of(request).accounts.set_title(slug, title)
    return slug


def _made_of(request: Request, caller: Caller, slug: str, wish: Wish, seeds: tuple[str, bytes] | None) -> None:
    assert seeds is not None
    if Path(seeds[0]).suffix.lower() not in ENDINGS:
        endings = ", ".join(ENDINGS)
        raise InputError(f"seeds are not read from '{seeds[0][:80]}'.", fix=f"Upload a file that ends in {endings}.")
    name, content = _as_it_shows(seeds[0], as_utf8(seeds[1], seeds[0], wish.encoding), wish.lines)
    taken = UsageError(f"there is a project '{slug}' already.", where="name", fix="Take another name.")
    with state_of(request).workspace.making(slug, taken) as folder:
        path = folder / "seeds" / name
        path.parent.mkdir()
        path.write_bytes(content)
        check_size_inside(path)
        with _or_lines(seeds[0], name):
            table = guess(path, wish.kind) if path.suffix.lower() in TABLES else None
        if schema := _schema_of(table, wish):
            (folder / SCHEMA).write_text(schema, encoding="utf-8")
        project = parse(text := _spec_of(path, table, slug, wish), folder)
        AnswerForm.of(project.spec.task, folder)
        read_seeds(project.spec.seeds, folder, most_rows=limits.UPLOAD_ROWS)
        # The file has a say in the spec, so nothing fenced may be in it that is not in ours.
        owner = caller.may(Right.own, slug)
        state_of(request).policy.check(project, before=parse(_SPEC, folder).spec, owner=owner, administrator=owner)
        write_project(folder, {SPEC_NAME: text.encode()})


_MISSING = {
    "labels": ("the labels are missing.", "Write them, one a line, or take a table that has a column of them."),
    "schema": ("the JSON schema of the output is missing.", "Paste it, or one record as an example, under Task."),
    "to": ("the language to translate into is missing.", "Write its two letters, such as fr."),
}


def _schema_of(table: Guess | None, wish: Wish) -> str:
    """The JSON schema that a person wrote or gave an example of, else that of the records which a table brings."""
    schema = table.schema if table else None
    if wish.kind == "extract" and (text := wish.schema.strip()):
        schema = schema_of([text])
        if not schema or not is_example(json.loads(text)):
            return text
    return json.dumps(schema, ensure_ascii=False, indent=2) if schema else ""


def _spec_of(seeds: Path, table: Guess | None, slug: str, wish: Wish) -> str:
    """The spec of a new project: of a table what its columns are taken for, else inputs; the wish comes first."""
    text = spec_text(seeds, table, slug) if table else _SPEC
    # As in the starter: eighty seeds are enough for a proof.
    values: dict[str, Any] = {"task.name": slug, "seeds.0.path": f"seeds/{seeds.name}", "split.test": 0.25}
    task = toml.loads(text)["task"]
    held = task.get("kind", "rewrite")
    if wish.kind and wish.kind != held:
        values |= _as_kind(wish.kind)
        values |= {"task.style": values["task.system"]} if values["task.system"] else {}
    if table is None:
        is_text = seeds.suffix.lower() == ".txt"
        lines = seeds.read_text(encoding="utf-8-sig", errors="replace").splitlines() if is_text else []
        room = _room(wish, lines)
        values |= {"seeds.0.kind": wish.lines or "input", "evaluate.sampling.max_tokens" if room else "evaluate": room}
        if (wish.kind, wish.lines) != ("translate", "output"):  # those are in the language that is translated into
            values["task.language"] = language_of(lines)
    needs = KINDS[wish.kind or held].needs
    given = {"labels": _labels(wish.labels), "schema": wish.schema.strip() and SCHEMA, "to": wish.to.strip()}
    values |= {f"task.{name}": value for name, value in given.items() if name == needs and value}
    if needs and not values.get(f"task.{needs}", None if f"task.{needs}" in values else task.get(needs)):
        what, fix = _MISSING[needs]
        raise InputError(what, where="task", fix=fix)
    values |= {f"task.{name}": value for name in ("style", "language") if (value := _plain(getattr(wish, name)))}
    return with_base(set_keys(text, values))


def _as_kind(kind: KindName) -> dict[str, Any]:
    """A task of another kind: what ours sets for rewriting gives way to what fits it."""
    defaults = KINDS[kind].defaults
    gone = {key: None for key in defaults if key.startswith("generate.")}
    return {**gone, "task.kind": kind, "task.labels": None, "task.system": defaults.get("task.system")}


def _room(wish: Wish, lines: Sequence[str]) -> int | None:
    """Tokens that an answer of the test may have, from what shows how long it is; None, for what a setting left out
    stands for, where nothing does: a reply."""
    shown: Sequence[str]
    if wish.lines == "output":
        shown = lines
    elif wish.kind in ("", "rewrite"):
        shown = ["a line in a richer style"]
    else:
        by_kind = {"classify": [*_labels(wish.labels)], "extract": [wish.schema], "translate": [2 * x for x in lines]}
        shown = by_kind.get(wish.kind, [])
    return max(128, answer_tokens(shown)) if shown else None


def room_of(examples: Sequence[str]) -> int:
    """The same of worked examples: twice the longest."""
    return max(128, answer_tokens([2 * example for example in examples]))


def _plain(text: str) -> str:
    return text.strip().replace("\r\n", "\n")


def _labels(text: str) -> dict[str, str]:
    """A label a line, with its definition behind the first colon. Raises InputError for one that stands twice."""
    labels: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        label, _, about = (part.strip() for part in line.partition(":"))
        if label in labels:
            raise InputError(f"the label '{label[:80]}' stands twice.", where="labels", fix="Take one of them out.")
        labels[label] = about
    return labels


def given_seeds(pasted: str, file: UploadFile | None) -> tuple[str, bytes]:
    """Name and content of what was pasted or uploaded. Raises InputError where nothing was, and for
    a spreadsheet."""
    if file is not None and file.filename:
        name = _plain_name(Path(file.filename.replace("\\", "/")))
        refuse_other(name)
        return name, file.file.read()
    if not pasted.strip():
        raise InputError("there is no input yet.", where="seeds", fix="Paste some, one a line, or choose a file.")
    return PASTED, pasted.replace("\r\n", "\n").encode()


def _as_it_shows(name: str, content: bytes, lines: str) -> tuple[str, bytes]:
    """A file with the ending of what it holds: cells of a spreadsheet and JSON are pasted, and saved as `.txt` by
    Excel; by lines each would be an input with its own output in it. Of `lines` that somebody says it has, blank ones
    are left out."""
    if Path(name).suffix.lower() != ".txt":
        return name, content
    text = content.decode("utf-8-sig", "replace")
    rows = [line for line in text.split("\n") if line.strip()]
    ending = "" if lines else _ending_of(text, rows)
    if ending:
        return str(Path(name).with_suffix(ending)), content
    return name, ("\n".join(rows) + "\n").encode() if name == PASTED else content


def _ending_of(text: str, rows: Sequence[str]) -> str:
    """`.jsonl` of objects, one a line, `.json` of a list of them, `.csv` of a table; empty for lines of text."""
    with suppress(ValueError):
        if rows and all(isinstance(orjson.loads(row), dict) for row in rows):
            return ".jsonl"
    with suppress(ValueError):
        if isinstance(whole := orjson.loads(text), list) and whole and all(isinstance(row, dict) for row in whole):
            return ".json"
    return ".csv" if is_table(text, _names_a_column) else ""


def _names_a_column(header: str) -> bool:
    return any(Column("", header, (), 0).called(words) for words in (INPUT, OUTPUT, LABELS, HEAD))


@contextmanager
def _or_lines(sent: str, name: str) -> Iterator[None]:
    """What is wrong with the table as which a text was taken, and that it may be said to be none."""
    try:
        yield
    except InputError as error:
        if sent == name:
            raise
        own = "If each line is an input, or an output, say so under Lines of text."
        fix = " ".join(filter(None, (own, error.fix)))
        raise InputError(error.what, where=error.where, why=error.why, fix=fix) from None


def _plain_name(given: Path) -> str:
    """A name that the API takes too: ASCII, not long; of a name in another script the ending stays."""
    stem, ending = (re.sub(r"[^A-Za-z0-9._-]+", "-", part)[:60].strip(".-") for part in (given.stem, given.suffix))
    return f"{stem or 'seeds'}.{ending}" if ending else stem or PASTED


def keep_seeds(
    request: Request, caller: Caller, slug: str, sent: str, given: bytes, encoding: str, says: str = ""
) -> None:
    """Make these the seeds of the project, in place of those that it reads now: a table is read as its columns show,
    lines as what somebody `says` they are, else as what they were before. Raises InputError, Refusal."""
    workspace = state_of(request).workspace
    name, content = _as_it_shows(sent, as_utf8(given, sent, encoding), says)
    spec = workspace.project(slug).spec
    before = spec.seeds
    if Path(name).suffix.lower() in TABLES:
        with _or_lines(sent, name):
            reads = guessed(content, name, spec.task.kind)
    else:
        lines = any(
            source.kind == "output" for source in before if source.path == f"seeds/{name}" or not source.columns
        )
        reads = {"kind": says or ("output" if lines else "input")}
    add(request, caller, slug, content, name, reads["kind"], reads)
    now = workspace.project(slug).spec.seeds
    at = next(number for number, source in enumerate(now) if source.path == f"seeds/{name}")
    gone = {f"seeds.{number}": None for number in reversed(range(len(now))) if number != at}
    save_keys(request, caller, slug, {**keys_of(at, reads), **gone})


def keep_columns(
    request: Request, caller: Caller, slug: str, source: int, headers: list[str], roles: list[str], kind: str
) -> str:
    """Read a file of seeds as a person says, and a task that was to rewrite as one to extract if the outputs are
    records. What was done, as pages say it. Raises UsageError, SpecError, Refusal."""
    folder = state_of(request).workspace.folder(slug)
    project = state_of(request).workspace.project(slug)
    values = as_told(project, source, headers, roles, kind)
    outputs = outputs_of(project, source, roles) if project.spec.task.kind in ("rewrite", "free") else ()
    schema = schema_of(outputs)
    if extracts := schema is not None and not (folder / SCHEMA).exists():
        values |= {**_as_kind("extract"), "task.schema": SCHEMA}
        if "sampling" not in project.spec.evaluate.model_fields_set:
            values |= {"evaluate.sampling.max_tokens": answer_tokens(outputs)}
    text = current_spec(request, slug)
    shown = project.spec.seeds[source]
    fresh = without_guesses(text, folder / shown.path, project.spec.task.kind, shown.encoding)
    if extracts:
        (folder / SCHEMA).write_text(json.dumps(schema, ensure_ascii=False, indent=2), encoding="utf-8")
    try:
        save_spec(request, caller, slug, set_keys(fresh, values), if_match=etag_of(text))
    except PairsmithError:
        if extracts:
            (folder / SCHEMA).unlink()
        raise
    return "records" if extracts else "saved"
