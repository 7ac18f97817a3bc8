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
    files_of,
    template_folder,
    with_base,
    with_teacher,
    write_project,
)
from pairsmith.own_encoding import EncodingAsked, encoding_of
from pairsmith.own_file import SCHEMA, Guess, guess, refuse_without_needs
from pairsmith.own_spec import spec_text, task_name
from pairsmith.session import Session, on_project
from pairsmith.teacher_search import EMBEDDED, FoundTeacher, find_teacher
from schemas.errors import InputError, UsageError
from schemas.kinds import KINDS, KindName
from schemas.spec_file import SPEC_NAME, parse

if TYPE_CHECKING:
    from curate.split import Shortage
    from schemas.spec import Spec
    from synth.seeds import SeedReading

_TEXT = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_SHOWN = 90  # letters of what an encoding makes of a file


@click.command()
@click.argument("folder_named", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--example", metavar="NAME", help=f"Begin with an example: {', '.join(EXAMPLES)}.")
@click.option("--kind", type=click.Choice(KINDS), help="Begin with a task of this kind (`pairsmith docs tasks`).")
@click.option(
    "--from",
    "own",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Begin with a CSV, JSON, JSONL or Parquet file of yours.",
)
@click.option("--encoding", metavar="NAME", help="The encoding of that file, as in cp1252, where it is not UTF-8.")
@click.option("--embedded", is_flag=True, help="Take the embedded teacher without looking for another.")
@on_project
def command(
    session: Session,
    folder_named: Path | None,
    example: str | None,
    kind: KindName | None,
    own: Path | None,
    encoding: str | None,
    embedded: bool,
) -> None:
    """Make a project in DIR: a commented pairsmith.toml and seeds.

    It looks for a teacher: an API key in the environment, then vLLM or Ollama on this machine, else the embedded model.
    With --from it looks at a file of yours, says what it takes its columns for, and copies it into DIR;
    pairs in it need no teacher. With --kind as well, its columns are taken for a task of that kind.
    """
    if session.overrides:
        raise UsageError("init takes no --set.", fix="Change the spec file that it writes.")
    if example and (kind or own):
        others = [f"--{name}" for name, value in (("kind", kind), ("from", own)) if value]
        raise UsageError(f"--example and {' and '.join(others)} both say what to begin with.", fix="Give one of them.")
    if encoding and not own:
        raise UsageError("--encoding says how a file is read, and no file is given.", fix="Name it: --from FILE.")
    known = _encoding_of(own, encoding or "") if own else None
    _make(session, folder_named or session.folder, example, kind, own, known, embedded=embedded)


# Taken, so that a sentence can tell what to do instead.
vars(next(option for option in command.params if option.name == "overrides"))["hidden"] = True


def _make(
    session: Session,
    folder: Path,
    example: str | None,
    kind: KindName | None,
    own: Path | None,
    encoding: str | None,
    *,
    embedded: bool,
) -> None:
    from rich.markup import escape

    guessed = guess(own, kind or "", encoding) if own else None
    if own and guessed:
        if kind:
            refuse_without_needs(own, kind, guessed)
        files = _files_for(own, guessed, folder)
    else:
        files = files_of(template_folder(FIRST_OF_KIND[kind] if kind else example))
    text = files[SPEC_NAME].decode()
    spec = parse(text, folder).spec
    # Before anything is written: a file of which no row can be used leaves no project behind.
    read = _shortages(spec, own.resolve().parent) if own else None
    asks = spec.asks_teacher
    teacher = EMBEDDED if embedded or not asks else find_teacher()
    text = with_teacher(text, teacher) if asks else text
    text = with_base(text) if own or not (example or kind) else text
    written = write_project(folder, {**files, SPEC_NAME: text.encode()})
    short, reading = read or _shortages(spec, folder)
    go = replace(session, folder=Path() if folder.resolve() == Path.cwd() else folder, overrides=()).command("run")
    names = [path.relative_to(folder).as_posix() for path in written]
    teacher_found = {"url": teacher.url, "model": teacher.model, "why": teacher.why, "tried": teacher.tried}
    data = {
        "folder": str(folder),
        "files": names,
        "teacher": teacher_found if asks else None,
        **({"guessed": {"kind": guessed.kind, **guessed.settings, "why": guessed.why}} if guessed else {}),
        "not_used": reading.not_used,
        "shortages": [shortage.what for shortage in short],
        "next": go,
    }
    change = (
        "what a good output is" if own else "your own texts into seeds.jsonl and your style, exemplars and patterns"
    )
    first = "" if example else f"Put {change} into pairsmith.toml, then:\n"
    lines = (
        f"Made a project in {folder.resolve()}: {', '.join(names)}\n",
        *(_guess_in_lines(guessed) if guessed else []),
        *(f"  - {reading.not_used}; the first: {lost.where}: {lost.what}" for lost in reading.problems[:1]),
        *(_in_lines(teacher) if asks else ["Teacher   none is asked: the rows bring their outputs"]),
        *(f"\nAs it is: {shortage.what}.\n          {shortage.fix}" for shortage in short),
        f"\n{first}  {go}",
    )
    session.answer(data, *map(escape, lines))


def _encoding_of(own: Path, encoding: str) -> str | None:
    """The encoding of a text that is not UTF-8. Raises InputError for a file whose encoding nobody has given and its
    bytes do not show, with what each makes of it."""
    if own.suffix.lower() not in _TEXT or not own.is_file():
        return None  # its reader says what it is
    try:
        return encoding_of(own.read_bytes(), own.name, encoding)
    except EncodingAsked as asked:
        lines = (
            f"\n  --encoding {one.name:<10} {' / '.join(filter(None, one.lines))[:_SHOWN]}" for one in asked.readings
        )
        fix = f"Name the one that reads right, or save it as UTF-8:{''.join(lines)}"
        raise InputError(asked.what, where=asked.where, why=asked.why, fix=fix) from None


def _guess_in_lines(guessed: Guess) -> list[str]:
    return [f"Taken for rows of kind {guessed.kind}:", *(f"  - {sentence}" for sentence in guessed.why)]


def _in_lines(teacher: FoundTeacher) -> list[str]:
    tried = (f"          ({line})" for line in teacher.tried)
    return [f"Teacher   {teacher.model} ({teacher.url})", f"          {teacher.why}", *tried]


def _files_for(own: Path, guessed: Guess, folder: Path) -> dict[str, bytes]:
    """The files of a project that begins with a file of the user's."""
    files = {SPEC_NAME: spec_text(own, guessed, task_name(folder.resolve().name)).encode()}
    files |= {SCHEMA: orjson.dumps(guessed.schema, option=orjson.OPT_INDENT_2)} if guessed.schema else {}
    return files | ({} if own.resolve().parent == folder.resolve() else {own.name: own.read_bytes()})


def _shortages(spec: Spec, folder: Path) -> tuple[list[Shortage], SeedReading]:
    """The uses that the seeds are too few for, and what was read of them in `folder`."""
    from curate.split import shortages, with_splits
    from synth.seeds import read_seeds

    reading = read_seeds(spec.seeds, folder)
    return shortages(with_splits(reading.seeds, spec.split), spec), reading
