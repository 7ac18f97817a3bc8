"""The sentence for a reason code, shown when many rows share a reason and each row has its own detail."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from schemas.records import Reason
from schemas.wording import capital

_LISTED: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
SENTENCES, OF_GATES = _LISTED["rows"], _LISTED["gates"]
_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20}\b")


def shorten_ids(text: str) -> str:
    """`text` with ids of rows and seeds shortened, as lists of rows show them and as `explain` accepts them."""
    return _ID.sub(r"\1", text)


def detail_of(reason: str) -> str:
    """The detail of a check's reason, without the code if it adds nothing to the check's name."""
    read = Reason.read(reason)
    name, _, pattern = read.code.partition(":")
    known = pattern if name in ("missing", "present") else name in {*SENTENCES, *OF_GATES} - {"crashed"}
    return read.detail if known and read.detail else reason


def sentence_of(code: str) -> str:
    """The sentence of a code; an unknown code, such as one of a user's own gate, is shown with spaces."""
    name, _, of = code.partition(":")
    if name in ("missing", "present") and of:
        return f"It {'does not match' if name == 'missing' else 'matches'} the pattern {of}."
    return SENTENCES.get(code) or SENTENCES.get(name) or capital(code.replace("_", " "))
