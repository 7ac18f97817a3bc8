"""Column names found in exports of help desks and forms and in datasets, in the languages we cover."""

from __future__ import annotations

import tomllib
from pathlib import Path

_LISTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
REPLY, INPUT, LABELS, MODEL, HEAD, PASSAGE, AID, REMARK, REWRITTEN, DOCUMENT, DIRECTED, ATTRIBUTE, THREAD, ID = (
    _LISTS[name]
    for name in (
        *("reply", "input", "labels", "model", "head", "passage", "aid", "remark"),
        *("rewritten", "document", "directed", "attribute", "thread", "id"),
    )
)
COMPOUNDS = frozenset(_LISTS["compounds"].split())
GROUP = f"{_LISTS['group']} {THREAD}"
OUTPUT = f"{_LISTS['output']} {REPLY}"
