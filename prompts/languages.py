"""English names of languages for prompts: a model follows "in Portuguese" more reliably than "in pt"."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from unicodedata import normalize

_TABLE: dict[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_NAMES = dict(row.split("=") for row in _TABLE["english"].split())
_REGION = re.compile(r"(?<=\A[a-z]{2})[-_](?:[A-Z]{2}|[A-Z][a-z]{3})\Z")
_BRACKETED = re.compile(r"[(\[]([^()\[\]]+)[)\]]\s*\Z")
_CODES = {name.casefold(): code for code, name in _NAMES.items()} | {code: code for code in _NAMES}
_CODES = {
    name.replace("_", " ").casefold(): code
    for code, name in (row.split("=") for part in ("foreign", "own") for row in _TABLE[part].split())
} | _CODES


def language_name(code: str) -> str:
    """The English name of a language by its two-letter code (ISO 639-1), or a phrase that contains an unknown code."""
    return _NAMES.get(code, f"the language with the ISO 639-1 code {code}")


def language_code(name: str) -> str | None:
    """The two-letter code of a language, from a code, a code with a region or script (`pt-BR`), or its name in
    English, in the language itself or in another common one, which may be in brackets (`Source (English)`); None if it
    is not a known language."""
    name = normalize("NFC", bracketed[1] if (bracketed := _BRACKETED.search(name)) else name).strip()
    return _CODES.get(_REGION.sub("", name).casefold())
