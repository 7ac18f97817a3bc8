"""Recognises files that are no text by their names and first bytes, so that none is read as lines of text."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.errors import InputError

_BY_ENDING = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "is a spreadsheet"),
    **dict.fromkeys((".gz", ".zst", ".bz2", ".xz", ".zip"), "is compressed"),
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
    "is a web page": "A service may have sent its sign-in page instead of the file: sign in, and download it again. If"
    ' the page is a text of yours, add format = "document" to its [[seeds]].',
}


def refuse_by_name(name: str) -> None:
    """Raise InputError if a file name is that of a spreadsheet or an archive."""
    _refuse(_BY_ENDING.get(Path(name).suffix.lower()), name)


def refuse_by_head(first_line: bytes, name: str, *, is_document: bool) -> None:
    """Raise InputError if a file begins like a spreadsheet, an archive or a formatted document, or, unless the whole
    file is one text, like a web page."""
    heads = _BINARY if is_document else _BINARY + _MARKUP
    _refuse(next((what for head, what in heads if head.match(first_line)), None), name)


def _refuse(what: str | None, name: str) -> None:
    if what:
        raise InputError(f"{what}, but only text files can be read.", where=name, fix=_FIXES[what])
