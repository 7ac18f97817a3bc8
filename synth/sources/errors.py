"""Errors for seed files that cannot be read: what is wrong, where, and how to save the file."""

from __future__ import annotations

import csv
import difflib
import re
import shlex
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path

from schemas.compressed import ending_of
from schemas.errors import InputError
from schemas.spec import SeedSource

_EXAMINED = 100  # lines of a text
_MESSAGE = re.compile(
    r"\W{0,3}(?:\d{1,4}[./-]){2}\d{1,4},?\s+\d{1,2}(?:[:.]\d{2}){1,2}[^:\n]{1,50}: "
    r"|[\[][^\]\n]{1,50}\] [\[][^\]\n\d]{0,6}\d{1,2}:\d{2}[^\]\n]{0,6}\] "
)


_FIX = "Give a CSV, TSV, JSON, JSONL or Parquet file"
OTHER_FILE = f"{_FIX}, or create a project with `pairsmith init` and set {{}} as the path of its [[seeds]]"
LINES_OF_TEXT = ': each line is a seed, or each file with format = "document".'
_SAVED = ("state.json", "dataset_dict.json")  # files in a folder saved by `datasets`


def not_one_file_error(path: Path, formats: Mapping[str, str]) -> InputError | None:
    """The error for a path that is not a file whose columns can be read: a folder, a pattern, nothing."""
    if path.is_file():
        return None
    saved = path.is_dir() and any((path / name).is_file() for name in _SAVED)
    if not saved and (first := _first_of_several(path, formats)):
        pattern = path.resolve() if "*" in path.name else first.resolve().parent / f"*{_endings(first)}"
        start = f"`pairsmith init DIR --from {shlex.quote(str(first))}`"
        fix = f"Start from one file, {start}, and set {pattern} as path in the spec it writes."
        return InputError(f"'{path}' is a {'pattern' if '*' in path.name else 'folder'}.", fix=fix)
    if path.is_dir():
        named = path.resolve() if saved else path.resolve() / f"*{first_suffix(path, formats)}"
        return InputError(f"'{path}' is a folder.", fix=OTHER_FILE.format(named) + ("." if saved else LINES_OF_TEXT))
    fix = f"{OTHER_FILE.format(path)}{LINES_OF_TEXT}" if "*" in path.name else f"{_FIX}."
    return InputError(f"there is no file '{path}'.", fix=fix)


def _first_of_several(path: Path, formats: Mapping[str, str]) -> Path | None:
    """The first table in a folder, at any depth, or of a pattern."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(path.name) if "*" in path.name else ()
    tables = (file for file in files if formats.get(ending_of(file), "text") != "text" and file.is_file())
    return min(islice(tables, _EXAMINED), default=None)


def _endings(path: Path) -> str:
    return path.name.removeprefix(path.name.removesuffix(".gz").removesuffix(ending_of(path)))


def first_suffix(folder: Path, formats: Collection[str]) -> str:
    """The ending of the first file in a folder whose format is known."""
    return next((_endings(path) for path in sorted(folder.iterdir()) if ending_of(path) in formats), ".txt")


def missing_error(source: SeedSource, path: Path) -> InputError:
    hub = "" if path.suffix else ' For a dataset on the hub add format = "hub".'
    hint = _path_hint(source.path, path)
    return InputError(
        "these seeds do not exist.", where=source.path, fix=f"{hint}Paths are relative to pairsmith.toml.{hub}"
    )


def _path_hint(named: str, path: Path) -> str:
    """How `named`, which leads to the missing `path`, may have been meant, as a sentence with a space; may be empty."""
    after = len(list(takewhile(lambda parent: not parent.is_dir(), path.parents)))  # parts behind the missing one
    missing = (path, *path.parents)[after]
    names: dict[str, str] = {}
    with suppress(OSError):  # a folder that may not be listed
        names = {entry.name.casefold(): entry.name for entry in missing.parent.iterdir() if entry.exists()}
    near = difflib.get_close_matches(missing.name.casefold(), names, n=1)
    if near and names[near[0]] != missing.name:
        parts = list(Path(named).parts)
        parts[-1 - after] = names[near[0]]
        return f"Did you mean '{Path(*parts)}'? "
    if "://" in named:
        return "Addresses are not downloaded: save the file and give its path. "
    if named.startswith("~") or "$" in named:
        return "'~' and variables are not expanded: write the whole path. "
    if "\\" in named or not named.isprintable():
        return "Write / between folders: \\ separates none here, and begins a special character in TOML. "
    if any(map(named.__contains__, "*?[")):
        return f"No file matches the pattern {path}; folders do not count. "
    return f"There is no folder '{missing.name}' in {missing.parent}. " if after else ""


def not_utf8_error(error: UnicodeDecodeError, line: bytes, where: str, offset: int) -> InputError:
    """The error for a line that is not UTF-8. `line` begins at byte `offset` of its file.

    No encoding is guessed, because a wrong one garbles characters.
    """
    return InputError(
        f"is not UTF-8: byte 0x{line[error.start]:02x} at offset {offset + error.start} "
        f"(byte {error.start + 1} of the line).",
        where=where,
        why="The encoding cannot be determined from the bytes, and a wrong guess garbles characters.",
        fix='Set the encoding in its [[seeds]], such as encoding = "cp1252", or save it as UTF-8: in Excel as '
        '"CSV UTF-8", elsewhere with `iconv -f ENCODING -t UTF-8 OLD > NEW`. Windows '
        "writes CP1252 in Western and CP1250 in Central Europe, CP1251 for Cyrillic, CP1254 for Turkish, CP1256 for "
        "Arabic, CP932 for Japanese, CP949 for Korean, GBK or BIG5 for Chinese.",
    )


def one_per_line_hint(line: str) -> str:
    """A hint for a JSONL line that holds only the beginning of a value; empty for any other mistake."""
    if line.strip() not in ("{", "[", "[{"):
        return ""
    return 'Write each object on one line; for a JSON list use the extension .json, or format = "json" in the spec.'


def lone_cr_error(where: str) -> InputError:
    return InputError(
        "has a lone carriage return at the end of a line, as old Macs wrote it.",
        where=where,
        fix="Save it with other line ends: in Excel as \"CSV UTF-8\", elsewhere with `tr '\\r' '\\n' < OLD > NEW`.",
    )


def invalid_csv_error(error: csv.Error, where: str) -> InputError:
    if str(error).startswith("new-line character"):
        return lone_cr_error(where)
    return InputError(
        f"is not valid CSV: {error}.",
        where=where,
        why="A quotation mark that is never closed swallows all following rows.",
        fix='Close it, or write a quotation mark inside a quoted cell twice ("").',
    )


def column_hint(ours: str, column: str, source: SeedSource, template: Collection[str]) -> str:
    """How to set in the spec that `column` of the file is what we call `ours`; `template` holds the names that the
    input template uses."""
    if ours in template and ours not in source.columns:
        if column.isidentifier():
            return f'input = "... {{{{ {column} }}}} ..."'
        return f'columns = {{ {ours} = "{column}" }} for the {{{{ {ours} }}}} of its input'
    if key := {"is worse": "rejected", "reference": "reference", "is of": "group"}.get(ours):
        return f'{key} = "{column}"'
    if source.imported and ours not in source.extra:
        return 'columns = { input = "...", output = "..." }'
    return f'columns = {{ {ours if ours in source.columns else "text"} = "{column}" }}'


def chat_log_error(path: Path) -> InputError | None:
    """The error for a text whose first lines mostly begin with a date and a speaker, as WhatsApp writes them, or
    a speaker and a time, as KakaoTalk does."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line for line in islice(file, _EXAMINED) if line.strip()]
    if len(lines) < 2 or 2 * sum(bool(_MESSAGE.match(line)) for line in lines) <= len(lines):
        return None
    return InputError(
        "is a chat log with one message per line, but a row must be a whole conversation.",
        where=path.name,
        fix="Write its messages as a list, `messages`, with the role of each speaker (`pairsmith docs seeds`).",
    )
