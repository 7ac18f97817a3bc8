"""What is said of a file of seeds that cannot be read: what is wrong with it, where, and how to save it."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection
from pathlib import Path

from schemas.errors import InputError
from schemas.spec import SeedSource


def missing(source: SeedSource, path: Path) -> InputError:
    names = [entry.name for entry in path.parent.iterdir() if entry.exists()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    if any(map(source.path.__contains__, "*?[")):
        hint = f"No file fits the pattern {path}; folders do not count. "
    hub = "" if path.suffix else ' For a dataset of the hub add format = "hub".'
    return InputError(
        "these seeds do not exist.", where=source.path, fix=f"{hint}Paths are relative to pairsmith.toml.{hub}"
    )


def no_utf8(error: UnicodeDecodeError, line: bytes, where: str, offset: int) -> InputError:
    """`line` begins at byte `offset` of its file. No one encoding is taken for granted: a wrong one garbles letters."""
    return InputError(
        f"is not UTF-8: byte 0x{line[error.start]:02x} at offset {offset + error.start} "
        f"(byte {error.start + 1} of the line).",
        where=where,
        why="Which encoding it is in cannot be told from its bytes, and a wrong guess garbles letters.",
        fix='Name its encoding in its [[seeds]], as in encoding = "cp1252", or save it as UTF-8: in Excel as '
        '"CSV UTF-8", elsewhere with `iconv -f ENCODING -t UTF-8 OLD > NEW`. Windows '
        "writes CP1252 in Western and CP1250 in Central Europe, CP1251 for Cyrillic, CP1254 for Turkish, CP1256 for "
        "Arabic, CP932 for Japanese, CP949 for Korean, GBK or BIG5 for Chinese.",
    )


def one_a_line(line: str) -> str:
    """What to do where a line of JSONL holds only the beginning of a value; empty where it is another mistake."""
    if line.strip() not in ("{", "[", "[{"):
        return ""
    return 'Write each object on one line; a file that is a list is called .json, or has format = "json" in the spec.'


def old_mac(where: str) -> InputError:
    return InputError(
        "has a carriage return alone where a line ends, as old Macs wrote it.",
        where=where,
        fix="Save it with other line ends: in Excel as \"CSV UTF-8\", elsewhere with `tr '\\r' '\\n' < OLD > NEW`.",
    )


def no_csv(error: csv.Error, where: str) -> InputError:
    if str(error).startswith("new-line character"):
        return old_mac(where)
    return InputError(
        f"is not valid CSV: {error}.",
        where=where,
        why="A quotation mark that is never closed swallows the rows behind it.",
        fix='Close it, or write a quotation mark inside a quoted cell twice ("").',
    )


def column_named(ours: str, column: str, source: SeedSource, template: Collection[str]) -> str:
    """How the spec says that `column` of the file is what we call `ours`, a name of the `template` or not."""
    if ours in template and ours not in source.columns:
        if column.isidentifier():
            return f'input = "... {{{{ {column} }}}} ..."'
        return f'columns = {{ {ours} = "{column}" }} beside the {{{{ {ours} }}}} of its input'
    if key := {"is worse": "rejected", "reference": "reference", "is of": "group"}.get(ours):
        return f'{key} = "{column}"'
    if source.imported and ours not in source.extra:
        return 'columns = { input = "...", output = "..." }'
    return f'columns = {{ {ours if ours in source.columns else "text"} = "{column}" }}'
