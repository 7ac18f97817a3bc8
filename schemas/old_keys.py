"""Spec keys and values that were renamed. The old names still load, and a notice gives the new name.

A path names tables and keys from the top; `*` stands for every entry of a list. Another rename only needs a new row.
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
    """Bring `raw`, a parsed spec, up to date in place; return a notice for each renamed key or value in it.

    Where both the old and the new name are set, the old one is left, so that it is rejected as an unknown key.
    """
    notices: dict[str, None] = {}
    for path, new in KEYS:
        *parents, old = path.split(".")
        for table in _tables(raw, parents):
            if old in table and new not in table:
                table[new] = table.pop(old)
                notices[_rename_notice(path, new)] = None
    for path, old, new in VALUES:
        *parents, key = path.split(".")
        for table in _tables(raw, parents):
            if table.get(key) == old:
                table[key] = new
                notices[f'\'{_display_path(path)} = "{old}"\' is now written "{new}"; the old value still works.'] = (
                    None
                )
    return list(notices)


def renamed_path(keys: Sequence[str]) -> tuple[str, ...]:
    """The parts of a dotted key, with old names replaced by current ones."""
    current_keys = list(keys)
    for path, new in KEYS:
        parts = path.split(".")
        if len(keys) >= len(parts) and all(part in ("*", key) for part, key in zip(parts, keys, strict=False)):
            current_keys[len(parts) - 1] = new
    return tuple(current_keys)


def current(key: str) -> str:
    """`renamed_path` for a dotted key. Receipts and `--set` may hold the old name."""
    return ".".join(renamed_path(key.split(".")))


def old_name_notices(keys: Collection[str]) -> list[str]:
    """A notice for each of the dotted `keys` that has been renamed."""
    return [_rename_notice(path, new) for path, new in KEYS if path in keys]


def _rename_notice(path: str, new: str) -> str:
    return f"'{_display_path(path)}' is now called '{new}'; the old name still works."


def _display_path(path: str) -> str:
    return path.replace(".*", "")


def _tables(node: Any, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every table that `parts` leads to."""
    if not parts:
        if isinstance(node, dict):
            yield node
    elif parts[0] == "*":
        for entry in node if isinstance(node, list) else ():
            yield from _tables(entry, parts[1:])
    elif isinstance(node, dict):
        yield from _tables(node.get(parts[0]), parts[1:])
