"""Reads the rows of a seed source as a stream: one reader for each format, all yielding `(row number, cells)`."""

from __future__ import annotations

import io
import re
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import orjson

from schemas.compressed import ending_of, open_unpacked
from schemas.errors import InputError
from schemas.spec import SeedSource
from schemas.wide_text import wide_encoding
from synth.sources.columns import Fault, SeedProblem, layout, object_columns, open_objects, optional_keys, parse_json
from synth.sources.csv_rows import (
    BLANK,
    MAX_LINE_BYTES,
    Lines,
    Rows,
    csv_names,
    csv_rows,
    display_name,
    split_leading_blanks,
)
from synth.sources.errors import (
    LINES_OF_TEXT,
    OTHER_FILE,
    chat_log_error,
    first_suffix,
    lone_cr_error,
    missing_error,
    not_one_file_error,
    not_utf8_error,
    one_per_line_hint,
)
from synth.sources.input_template import variables
from synth.sources.non_text_files import refuse_by_head, refuse_by_name
from synth.sources.single_object import single_object_error
from synth.sources.table_rows import datasets_rows, hub_rows, parquet_names, parquet_rows
from synth.sources.transcoding import Utf8Reader

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
}
_SAMPLED_ROWS = 100
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")  # columns with media that a chat refers to
_JSON_HEAD = re.compile(r"\s*(?:\{|\[\s*(?:[{\"\[]|$))")


Readable = BinaryIO | Utf8Reader


def rows_of(
    source: SeedSource,
    folder: Path,
    stdin: BinaryIO | None,
    notes: list[SeedProblem],
    stack: ExitStack,
    keys: Sequence[str] = (),
) -> Rows:
    """The rows of `source`: cells under our column names (a str, None, or whatever a broken row contains), or a Fault.

    `keys` are columns of JSON that need not be in its first row. Files are opened in `stack`, and fixes are reported in
    `notes`. Raises InputError if the source cannot be read.
    """
    path = folder / source.path
    kind = source.format or _format_by_name(source, path)
    if kind == "hub":
        return object_rows(enumerate(hub_rows(source, notes), 1), source, notes)
    stream: Readable
    if source.path == "-":
        stream = stdin if stdin is not None else sys.stdin.buffer
    elif not path.exists():
        raise missing_error(source, path)
    elif kind == "datasets":
        return datasets_rows(source, path, notes)
    elif path.is_dir():
        fix = f'Name its files by a pattern: path = "{source.path.rstrip("/")}/*{first_suffix(path, _FORMATS)}".'
        raise InputError(f"is a folder, not a {kind} file.", where=source.path, fix=fix)
    elif kind == "parquet":
        return parquet_rows(source, path, notes)
    else:
        try:
            stream = stack.enter_context(open_unpacked(path, source.path))
        except OSError as error:
            raise InputError(f"cannot be opened: {error.strerror}.", where=source.path) from None
    if source.encoding is not None:
        stream = stack.enter_context(Utf8Reader(stream, source.encoding, display_name(source)))
    if kind == "json":
        return _json_rows(stream.read(), source, notes, keys)
    lines = _read_lines(stream, source, notes)
    if kind == "guess":
        blank, lines = split_leading_blanks(lines)
        head = next(lines, None)
        kind = "jsonl" if head and isinstance(head[1], str) and _JSON_HEAD.match(head[1]) else "text"
        lines = chain(blank, [] if head is None else [head], lines)
    if kind == "jsonl":
        return _jsonl_rows(lines, source, notes, keys)
    if kind == "csv":
        return csv_rows(lines, source, notes)
    if kind == "document":
        return _text_rows(_join_lines(lines), source, notes)
    if kind == "text":
        return _text_rows(lines, source, notes)
    raise InputError(
        f"{kind} cannot be read from standard input.",
        where=display_name(source),
        fix="Save it to a file and name that file.",
    )


def read_column_names(path: Path, encoding: str | None = None) -> list[str]:
    """The column names of a file: its headers, its columns, or the keys that at least a quarter of the first objects of
    JSON or JSONL have; broken lines are skipped. Raises InputError.
    """
    source = SeedSource(path=path.name or str(path))
    if error := not_one_file_error(path, _FORMATS):
        raise error
    kind = _format_by_name(source, path)
    if kind == "parquet":
        return parquet_names(path)
    if kind not in ("csv", "json", "jsonl"):
        fix = f"{OTHER_FILE.format('this one')}{LINES_OF_TEXT}"
        if error := chat_log_error(path):
            raise error
        raise InputError(f"a source of format {kind} has no columns.", where=path.name, fix=fix)
    with ExitStack() as stack:
        file = stack.enter_context(open_unpacked(path, path.name))
        text: Readable = file if encoding is None else stack.enter_context(Utf8Reader(file, encoding, path.name))
        return _names_in(text, kind, source)


def _names_in(stream: Readable, kind: str, source: SeedSource) -> list[str]:
    """The column names of a text file. Only a file of `kind` json is read as a whole."""
    content = stream.read() if kind == "json" else b""
    is_list = kind == "json" and _is_list(content)
    only = _only_object(content) if kind == "json" and not is_list else None
    if is_list:
        objects = _parse_list(content, source)[:_SAMPLED_ROWS]
        row = next(iter(objects), None)
        if isinstance(row, dict):
            return _common_names([tuple(row) for row in objects if isinstance(row, dict)])
    elif only is not None:
        if error := single_object_error(only, source.path):
            raise error
        row = only
    else:
        numbered = _read_lines(io.BytesIO(content) if kind == "json" else stream, source, [])
        lines = (line for _, line in numbered if isinstance(line, str) and line.strip())
        head = next(lines, "")
        if kind == "csv":
            return csv_names(chain([head], lines), source)
        first = () if one_per_line_hint(head) else islice(chain([head], lines), _SAMPLED_ROWS)
        if names := list(filter(None, map(_object_keys, first))):
            return _common_names(names)
        try:
            row = parse_json(head) if head else None
        except orjson.JSONDecodeError as error:
            fix = one_per_line_hint(head) or "Fix this line."
            raise InputError(f"is not valid JSON: {error}.", where=f"{source.path}:1", fix=fix) from None
    if not isinstance(row, dict):
        raise InputError("does not begin with an object.", where=source.path, fix='Write rows such as {"text": "..."}.')
    return list(row)


def _common_names(objects: Sequence[tuple[str, ...]]) -> list[str]:
    return [name for name, rows in Counter(chain.from_iterable(objects)).items() if 4 * rows >= len(objects)]


def refuse_non_text_file(name: str) -> None:
    """Raise InputError if a file name is that of a spreadsheet or an archive rather than text."""
    if _FORMATS.get(ending_of(name), "parquet") == "parquet":
        refuse_by_name(name)


def _format_by_name(source: SeedSource, path: Path) -> str:
    if source.path == "-":
        return "guess"
    if path.is_dir():
        return "datasets"
    by_ending = _FORMATS.get(ending_of(path))
    if by_ending and (by_ending != "parquet" or ending_of(path) == path.suffix.lower()):
        return by_ending
    if path.exists():
        refuse_non_text_file(source.path)
        raise InputError(
            f"its format cannot be determined from the file extension '{path.suffix}'.",
            where=source.path,
            fix=f'Give it the extension of its format ({", ".join(_FORMATS)}), or add format = "jsonl" (or csv,'
            " parquet, text, document) to its [[seeds]].",
        )
    raise missing_error(source, path)


def _read_lines(stream: Readable, source: SeedSource, notes: list[SeedProblem]) -> Lines:
    """Numbered lines with their line ends, one at a time. A line that is too long is yielded as a Fault."""
    number = offset = 0
    is_begun = False
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        size = len(raw)
        if not is_begun and (is_begun := bool(raw.strip())):
            refuse_by_head(raw, display_name(source), is_document=source.format == "document")
        if number == 1 and (wide := wide_encoding(raw)):
            raise InputError(
                f"is {wide[:6].upper()}.",
                where=f"{display_name(source)}:1",
                fix=f'Save it as UTF-8, or add encoding = "{wide}" to its [[seeds]].',
            )
        if mark := len(BOM_UTF8) if raw.startswith(BOM_UTF8) else 0:  # also where files were joined
            notes.append(SeedProblem(f"{display_name(source)}:{number}", "bom", "a byte order mark was skipped."))
        if size > MAX_LINE_BYTES:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(MAX_LINE_BYTES)
                size += len(raw)
            yield number, Fault("long", f"the line has {size:,} bytes; the limit is {MAX_LINE_BYTES:,}.")
        else:
            try:
                yield number, raw[mark:].decode()
            except UnicodeDecodeError as error:
                raise not_utf8_error(error, raw[mark:], f"{display_name(source)}:{number}", offset + mark) from None
        offset += size


def _jsonl_rows(
    lines: Iterable[tuple[int, str | Fault]], source: SeedSource, notes: list[SeedProblem], keys: Sequence[str]
) -> Rows:
    def objects() -> Iterator[tuple[int, object]]:
        for number, line in lines:
            if isinstance(line, Fault):
                yield number, line
            elif not line.strip():
                yield number, BLANK
            else:
                try:
                    yield number, parse_json(line.rstrip())
                except orjson.JSONDecodeError as error:
                    what = f"is not valid JSON at column {error.colno}: {error.msg}."
                    if not source.imported:
                        raise InputError(
                            what,
                            where=f"{display_name(source)}:{number}",
                            why="Every line of JSONL must be a complete object.",
                            fix=one_per_line_hint(line) or "Fix or delete this line.",
                        ) from None
                    yield number, Fault("json", what)

    return object_rows(objects(), source, notes, keys)


def _object_keys(line: str) -> tuple[str, ...]:
    """The keys of the JSON object in a line; empty if it is not an object."""
    try:
        row = parse_json(line)
    except orjson.JSONDecodeError:
        return ()
    return tuple(row) if isinstance(row, dict) else ()


def _join_lines(lines: Lines) -> Lines:
    """All lines of a file joined into one text, or the first Fault among them."""
    parts = list[str]()
    for number, line in lines:
        if isinstance(line, Fault):
            yield number, line
            return
        parts.append(line)
    yield 1, "".join(parts).replace("\r\n", "\n")


def _text_rows(lines: Lines, source: SeedSource, notes: list[SeedProblem]) -> Rows:
    if source.imported or source.extra or source.reference or variables(source):
        layout(["text"], source, display_name(source), notes, objects=False)  # raises for any column other than `text`
    for number, line in lines:
        if isinstance(line, str) and number == 1 and "\r" in line.strip() and not line.endswith("\n"):
            raise lone_cr_error(f"{display_name(source)}:1")
        yield number, line if isinstance(line, Fault) else {"text": line}


def _json_rows(content: bytes, source: SeedSource, notes: list[SeedProblem], keys: Sequence[str]) -> Rows:
    """The objects of a JSON list, which is held in memory; a file that does not begin with a list is read as JSONL."""
    if not _is_list(content):
        if (row := _only_object(content)) is not None:
            return object_rows([(1, row)], source, notes, keys)
        return _jsonl_rows(_read_lines(io.BytesIO(content), source, notes), source, notes, keys)
    return object_rows(enumerate(_parse_list(content, source), 1), source, notes, keys)


def _only_object(content: bytes) -> dict[str, object] | None:
    """The object that is the whole file, possibly over many lines; None if there is more."""
    with suppress(orjson.JSONDecodeError):
        value = parse_json(content.removeprefix(BOM_UTF8))
        return value if isinstance(value, dict) else None
    return None


def _is_list(content: bytes) -> bool:
    return content.removeprefix(BOM_UTF8).lstrip().startswith(b"[")


def _parse_list(content: bytes, source: SeedSource) -> list[object]:
    try:
        rows: list[object] = parse_json(content.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        where = f"{display_name(source)}:{error.lineno}"
        raise InputError(f"is not valid JSON at column {error.colno}: {error.msg}.", where=where) from None
    return rows


def object_rows(
    rows: Iterable[tuple[int, object]], source: SeedSource, notes: list[SeedProblem], keys: Sequence[str] = ()
) -> Rows:
    """Rows from JSON objects. The first object's keys, and `keys`, determine which ones the others must have. An
    optional one, such as `system`, may first appear in any row.

    Among rows that contain their own output, the first object of a known shape determines it, since preferences may
    begin without a worse answer; one that is not an object, or does not fit, is only a Fault.
    """
    columns: dict[str, str] | None = None
    head = list(islice(rows := iter(rows), _SAMPLED_ROWS if source.imported else 0))
    needed, inner, names, shape = frozenset[str](), dict[str, str](), list[str](), ""
    first_error: InputError | None = None
    for number, row in chain(head, rows):
        if isinstance(row, Fault):
            yield number, row
            continue
        where = f"{display_name(source)}:{number}"
        try:
            if not isinstance(row, dict):
                fix = 'Write lines such as {"text": "..."}.'
                raise InputError(f"is a JSON {type(row).__name__}, not an object.", where=where, fix=fix)
            if columns is None:
                names = list(dict.fromkeys([*keys, *(_first_keys(head, source) or row)]))
                shape, places, required = layout(names, source, where, notes)
                columns = {name: names[at] for name, at in places.items()}
                needed, inner = frozenset(columns[name] for name in required), object_columns(source, columns)
            if source.imported and (more := optional_keys(row, names)):
                later = layout([*names, *more], source, where, [])
                names += more
                if later.shape == shape:
                    columns = {name: names[at] for name, at in later.columns.items()} | columns
                    inner = object_columns(source, columns)
        except InputError as error:
            if not source.imported:
                raise
            first_error = first_error or error
            yield number, Fault("column", error.what)
            continue
        if not needed <= row.keys():
            missing_column = next(column for column in columns.values() if column in needed and column not in row)
            there = ", ".join(map(repr, row)) or "none"
            yield number, Fault("column", f"there is no '{missing_column}' in this row; found: {there}.")
            continue
        if "messages" in columns and (media := next((name for name in _MEDIA if row.get(name)), None)):
            yield number, Fault("type", f"the row has '{media}', but only text is read.")
            continue
        yield number, open_objects(inner, {name: row.get(column) for name, column in columns.items()})
    if columns is None and first_error:
        raise first_error


def _first_keys(rows: Iterable[tuple[int, object]], source: SeedSource) -> list[str]:
    """The keys of the first object in which all columns of `source` are found; empty if there is none."""
    for _, row in rows:
        if isinstance(row, dict):
            with suppress(InputError):
                layout(list(row), source, "", [])
                return list(row)
    return []
