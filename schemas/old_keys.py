"""Keys and values of the spec that were renamed: they load as before, and a sentence names the new one.

A path names tables and keys from the top; `*` stands for every entry of a list. A new row is all that another rename
needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

KEYS: tuple[tuple[str, str], ...] = (
    ("exemplars.*.simple", "input"),
    ("exemplars.*.enhanced", "output"),
    ("review.half_width", "margin_of_error"),
    ("review.shares.certify", "estimation"),
    ("review.shares.fit", "calibration"),
    ("review.shares.disagree", "disagreement"),
    ("review.shares.border", "margin"),
)
VALUES: tuple[tuple[str, str, str], ...] = (
    ("seeds.*.kind", "simple", "input"),
    ("seeds.*.kind", "enhanced", "output"),
    ("curate.score.model", "relevance", "pmi"),
)


def renamed(raw: dict[str, Any]) -> list[str]:
    """Bring `raw`, a parsed spec, up to date in place; a sentence for each renamed key or value that it holds.

    Where old and new name both stand, the old one is left, so that it is refused as an unknown key.
    """
    sentences: dict[str, None] = {}
    for path, new in KEYS:
        *above, old = path.split(".")
        for table in _tables(raw, above):
            if old in table and new not in table:
                table[new] = table.pop(old)
                sentences[_sentence(path, new)] = None
    for path, old, new in VALUES:
        *above, key = path.split(".")
        for table in _tables(raw, above):
            if table.get(key) == old:
                table[key] = new
                sentences[f'\'{_shown(path)} = "{old}"\' is written "{new}" now; the old word still works.'] = None
    return list(sentences)


def renamed_path(keys: Sequence[str]) -> tuple[str, ...]:
    """The dotted path of a key, with old names in it as they are called now."""
    now = list(keys)
    for path, new in KEYS:
        parts = path.split(".")
        if len(keys) >= len(parts) and all(part in ("*", own) for part, own in zip(parts, keys, strict=False)):
            now[len(parts) - 1] = new
    return tuple(now)


def current(key: str) -> str:
    """`renamed_path` of a dotted key. Receipts and `--set` may hold the old name."""
    return ".".join(renamed_path(key.split(".")))


def set_by_old_name(keys: Collection[str]) -> list[str]:
    """A sentence for each of the dotted `keys` that has another name now."""
    return [_sentence(path, new) for path, new in KEYS if path in keys]


def _sentence(path: str, new: str) -> str:
    return f"'{_shown(path)}' is called '{new}' now; the old name still works."


def _shown(path: str) -> str:
    return path.replace(".*", "")


def _tables(node: Any, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every table that `parts` lead to."""
    if not parts:
        if isinstance(node, dict):
            yield node
    elif parts[0] == "*":
        for entry in node if isinstance(node, list) else ():
            yield from _tables(entry, parts[1:])
    elif isinstance(node, dict):
        yield from _tables(node.get(parts[0]), parts[1:])
