"""Recognises files that are no text by their names and first bytes, so that none is read as lines of text."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.errors import InputError

_BY_ENDING = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "is a spreadsheet"),
    **dict.fromkeys((".gz", ".zst", ".bz2", ".xz", ".zip"), "is compressed"),
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf", ".pages"), "is a formatted document"),
    **dict.fromkeys((".srt", ".vtt", ".ass"), "has subtitles"),
    **dict.fromkeys((".mbox", ".eml", ".msg"), "has e-mails"),
    **dict.fromkeys((".tmx", ".xliff", ".xlf", ".sdlxliff", ".po"), "is a translation memory"),
    **dict.fromkeys((".yaml", ".yml"), "is YAML"),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), "is a database"),
}
_BINARY = (
    (re.compile(rb"PK\x03\x04"), "is a spreadsheet or an archive"),
    (re.compile(rb"\x1f\x8b"), "is compressed"),
    (re.compile(rb"%PDF-\d\.\d\s*(?:%|\d+ \d+ obj|\Z)"), "is a formatted document"),
)
# The head of a file, not a sentence about one. A whole page in one line may be a text to learn.
_MARKUP = (
    (re.compile(rb"\{\\rtf\d*\s*(?:[\\{]|\Z)"), "is a formatted document"),
    (
        re.compile(
            rb"""(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)\b(?:[^<>]*[>"'])?\s*(?!.*</html>\s*\Z)(?:<|\Z)""",
            re.IGNORECASE | re.DOTALL,
        ),
        "is a web page",
    ),
)
_SAVE_SHEET = (
    'Save each sheet with texts as "CSV UTF-8" (Excel: File, Save as; Google Sheets: File, Download), or with Python: '
    "`pandas.read_excel(FILE, dtype=str).to_csv('rows.csv', index=False)`."
)
_FIXES = {
    "is a spreadsheet": _SAVE_SHEET,
    "is compressed": "Unpack it, and name the file inside it.",
    "is a spreadsheet or an archive": f"If it is an archive, unpack it. If it is a spreadsheet: {_SAVE_SHEET}",
    "is a formatted document": "Save it as plain text.",
    "has subtitles": "Write a CSV file with one subtitle per row, without numbers and times; for a translation, with a"
    " column for each language, such as `en` and `es`.",
    "has e-mails": "Write a CSV file with one message and its answer per row (`subject`, `message`, `reply`), without"
    " headers, signatures and quoted text. Python's `mailbox` and `email` read such files.",
    "is a translation memory": "Export it as CSV or TSV with a column for each language, such as `en` and `de`.",
    "is YAML": "Write its list of records as JSON: `python -c 'import json, sys, yaml; print(json.dumps(yaml.safe_load("
    "sys.stdin), default=str))' < FILE > rows.json` (`pip install pyyaml`). If a whole file is one text, add format ="
    ' "document" to its [[seeds]].',
    "is a database": "Export the table: `sqlite3 -header -csv FILE 'select * from TABLE' > rows.csv`.",
    "is a web page": "A service may have sent its sign-in page instead of the file: sign in, and download it again. If"
    ' the page is a text of yours, add format = "document" to its [[seeds]].',
}


def refuse_by_name(name: str) -> None:
    """Raise InputError if a file name is that of a spreadsheet, an archive or another file without rows of text."""
    _refuse(_BY_ENDING.get(Path(name).suffix.lower()), name)


def refuse_by_head(first_line: bytes, name: str, *, is_document: bool) -> None:
    """Raise InputError if a file begins like a spreadsheet, an archive or a formatted document, or, unless the whole
    file is one text, like a web page."""
    heads = _BINARY if is_document else _BINARY + _MARKUP
    _refuse(next((what for head, what in heads if head.match(first_line)), None), name)


def _refuse(what: str | None, name: str) -> None:
    if what:
        raise InputError(f"{what}, but only tables, JSON and lines of text can be read.", where=name, fix=_FIXES[what])
