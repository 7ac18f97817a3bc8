"""`pairsmith init`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from pairsmith.new_project import (
    EXAMPLES,
    FIRST_OF_KIND,
    IGNORED,
    files_of,
    template_folder,
    with_base,
    with_teacher,
    write_project,
)
from pairsmith.teachers.search import EMBEDDED, FoundTeacher, find_teacher
from pairsmith.terminal.session import Folder, Session, on_project
from pairsmith.user_file.encoding import UTF_8, AmbiguousEncoding, encoding_of, normalised, unicode_encoding
from pairsmith.user_file.guess import SCHEMA, guess
from pairsmith.user_file.guess_table import Guess
from pairsmith.user_file.guessed_spec import spec_text, task_name
from schemas.compressed import ending_of, open_unpacked
from schemas.errors import InputError, UsageError
from schemas.kinds import KINDS, KindName
from schemas.spec_file import SPEC_NAME, parse, set_keys

if TYPE_CHECKING:
    from curate.split import Shortage
    from schemas.spec import Spec
    from synth.sources.seeds import SeedReading

_TEXT = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_NEEDED_COLUMNS = {
    "labels": "column of labels with recurring values",
    "schema": "column of outputs that are all JSON objects",
    "to": "pair of columns in different languages (named after them, such as en and de)",
}
_SHOWN = 90  # characters of the file shown for each candidate encoding


@click.command()
@click.argument("folder_named", metavar="[DIR]", required=False, type=Folder(path_type=Path))
@click.option(
    "--example",
    metavar="NAME",
    shell_complete=lambda *typed: [name for name in EXAMPLES if name.startswith(typed[2])],
    help=f"Start from an example: {', '.join(EXAMPLES)}.",
)
@click.option("--kind", type=click.Choice(KINDS), help="Start from a task of this kind (see `pairsmith docs tasks`).")
@click.option(
    "--from",
    "user_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Start from your own CSV, JSON, JSONL or Parquet file.",
)
@click.option("--encoding", metavar="NAME", help="The encoding of that file if it is not UTF-8, for example cp1252.")
@click.option("--embedded", is_flag=True, help="Use the embedded teacher without looking for another one.")
@on_project
def command(
    session: Session,
    folder_named: Path | None,
    example: str | None,
    kind: KindName | None,
    user_file: Path | None,
    encoding: str | None,
    embedded: bool,
) -> None:
    """Create a project in DIR: a commented pairsmith.toml and seeds.

    The teacher is detected: an API key in the environment, then vLLM or Ollama on this machine, else the embedded
    model. With --from, pairsmith inspects your file, explains how it reads the columns, and copies the file into DIR.
    Pairs in it need no teacher. Add --kind to read the columns for a task of that kind.
    """
    if session.overrides:
        raise UsageError("init does not accept --set.", fix="Edit the spec file that it writes.")
    if example and (kind or user_file):
        others = [f"--{name}" for name, value in (("kind", kind), ("from", user_file)) if value]
        raise UsageError(f"--example and {' and '.join(others)} both say what to start from.", fix="Pass one of them.")
    if encoding and not user_file:
        raise UsageError("--encoding says how to read a file, but no file is given.", fix="Name it: --from FILE.")
    known = _encoding_of(user_file, encoding or "") if user_file else None
    _make(session, folder_named or session.folder, example, kind, user_file, known, embedded=embedded)


# `--set` is accepted but hidden, so that the error message can say what to do instead.
vars(next(option for option in command.params if option.name == "overrides"))["hidden"] = True


def _make(
    session: Session,
    folder: Path,
    example: str | None,
    kind: KindName | None,
    user_file: Path | None,
    encoding: str | None,
    *,
    embedded: bool,
) -> None:
    from rich.markup import escape

    from pairsmith.terminal.screen import Columns

    guessed = _guessed(session, user_file, kind, encoding) if user_file else None
    if user_file and guessed:
        if kind:
            _refuse_without_needs(user_file, kind, guessed)
        text, files = _files_for(user_file, guessed, folder)
    else:
        template = files_of(template_folder(FIRST_OF_KIND[kind] if kind else example))
        text, files = template[SPEC_NAME].decode(), {**template}
        if not example:
            text = set_keys(text, {"task.name": task_name(folder.resolve().name)})
    spec = parse(text, folder).spec
    # Read the file before anything is written: a file without a single usable row must not leave a project behind.
    read = _shortages(session, spec, user_file.resolve().parent) if user_file else None
    asks = spec.needs_teacher
    teacher = EMBEDDED if embedded or not asks else find_teacher()
    text = with_teacher(text, teacher) if asks else text
    text = with_base(text) if user_file or not (example or kind) else text
    written = write_project(folder, {**files, SPEC_NAME: text.encode()}, unless_there=IGNORED)
    short, reading = read or _shortages(session, spec, folder)
    folder_to_name = Path() if folder.resolve() == Path.cwd() else folder
    run_command = replace(session, folder=folder_to_name, overrides=()).command("run")
    names = [path.relative_to(folder).as_posix() for path in written]
    teacher_found = {"url": teacher.url, "model": teacher.model, "why": teacher.why, "tried": teacher.tried}
    data = {
        "folder": str(folder),
        "files": names,
        "teacher": teacher_found if asks else None,
        **({"guessed": {"kind": guessed.kind, **guessed.settings, "why": guessed.why}} if guessed else {}),
        "not_used": reading.not_used,
        "shortages": [shortage.what for shortage in short],
        "next": run_command,
    }
    own = "your own texts into seeds.jsonl and your style, exemplars and patterns"
    change = "what makes a good output" if user_file else own
    first = "" if example else f"Put {change} into pairsmith.toml, then:\n"
    lines = (
        f"Created a project in {folder.resolve()}: {', '.join(names)}\n",
        *([f"Read as rows of kind {guessed.kind}:"] if guessed else []),
        *(f"  - {sentence}" for sentence in (guessed.why if guessed else [])),
        *(f"  - {reading.not_used}; the first: {lost.where}: {lost.what}" for lost in reading.problems[:1]),
        *(["  To read it differently, edit [[seeds]] in pairsmith.toml (`pairsmith docs seeds`)."] if guessed else []),
        *(_in_lines(teacher) if asks else ["Teacher   none needed: the rows already have outputs"]),
    )
    lacks = [Columns([("\nAs it is", escape(f"\n{lack.what}.\n{lack.fix}"))], 8) for lack in short]
    session.answer(data, *map(escape, lines), *lacks, escape(f"\n{first}  {run_command}"))


def _encoding_of(file: Path, encoding: str) -> str | None:
    """The encoding of a text file that is not UTF-8, or None. Raises InputError, with an excerpt for each candidate, if
    the encoding was not given and cannot be derived from the bytes."""
    if encoding:
        normalised(encoding, file.name)
    if ending_of(file) not in _TEXT or not file.is_file():
        return None  # the reader of that format reports what is wrong
    with open_unpacked(file, file.name) as stream:
        if known := unicode_encoding(stream):
            return None if known == UTF_8 else known
    try:
        with open_unpacked(file, file.name) as stream:
            return encoding_of(stream.read(), file.name, encoding)
    except AmbiguousEncoding as asked:
        lines = (
            f"\n  --encoding {one.name:<10} {' / '.join(filter(None, one.lines))[:_SHOWN]}" for one in asked.readings
        )
        fix = f"Choose the one that reads correctly, or save the file as UTF-8:{''.join(lines)}"
        raise InputError(asked.what, where=asked.where, why=asked.why, fix=fix) from None


def _refuse_without_needs(path: Path, kind: KindName, guessed: Guess) -> None:
    """Raise InputError for a file that lacks what a task of this kind needs."""
    needs = KINDS[kind].needs
    if needs and needs not in guessed.task:
        raise InputError(
            f"has no {_NEEDED_COLUMNS[needs]}, but a task of kind '{kind}' needs '{needs}'.",
            where=path.name,
            fix=f"Leave out --kind {kind} to see how the file is read, or run `pairsmith init DIR --kind {kind}` and "
            "name the file in its [[seeds]] (`pairsmith docs seeds`).",
        )


def _in_lines(teacher: FoundTeacher) -> list[str]:
    tried = (f"          ({line})" for line in teacher.tried)
    return [f"Teacher   {teacher.model} ({teacher.url})", f"          {teacher.why}", *tried]


def _files_for(file: Path, guessed: Guess, folder: Path) -> tuple[str, dict[str, bytes | Path]]:
    """The spec of a project that starts from the user's own file, and all its files, the user's as a path."""
    text = spec_text(file, guessed, task_name(folder.resolve().name))
    schema = {SCHEMA: orjson.dumps(guessed.schema, option=orjson.OPT_INDENT_2)} if guessed.schema else {}
    own = {} if file.resolve().parent == folder.resolve() else {file.name: file}
    return text, {SPEC_NAME: text.encode(), **schema, **own}


def _guessed(session: Session, file: Path, kind: KindName | None, encoding: str | None) -> Guess:
    with session.progress() as progress:
        progress("columns", {"message": f"comparing those of {file.name}"})
        try:
            return guess(file, kind or "", encoding)
        except InputError as error:
            if "[[seeds]]" not in (error.fix or "") or "`pairsmith init`" in (error.fix or ""):
                raise
            fix = f"{error.fix} There is no spec yet: `pairsmith init` writes one, in which you can name this file."
            raise InputError(error.what, where=error.where, why=error.why, fix=fix) from None


def _shortages(session: Session, spec: Spec, folder: Path) -> tuple[list[Shortage], SeedReading]:
    """What the seeds in `folder` are too few for, and the seeds as they were read."""
    from curate.split import assign_splits, shortages
    from synth.sources.seeds import read_seeds

    with session.progress() as progress:
        reading = read_seeds(spec.seeds, folder, progress=progress)
        return shortages(assign_splits(reading.seeds, spec.split), spec), reading
