"""Finds conversations in the columns of a user's table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pairsmith.file_columns import Column, value_at
from schemas.errors import InputError
from synth.columns import Cells, Fault
from synth.turns import TOOLS, exchange, parse_role

CHATS = ("messages", "conversations")
"""Columns of these names are read as chats without being named in the spec."""
_EXAMINED, _DEPTH = 20, 3  # lists and objects examined to detect chats; levels of objects around a chat


def chats_in(names: Sequence[str], rows: Sequence[Cells]) -> Iterator[tuple[str, list[object]]]:
    """The columns and paths into their objects that contain chats, each with its cells. Not all cells need be chats: a
    chat may be empty or end before an answer."""
    for at, name in enumerate(names):
        cells = [row.get(f"c{at}") for row in rows]
        if name.casefold() in CHATS or _are_chats(cells):
            yield name, cells
            continue
        objects = islice((cell for cell in cells if isinstance(cell, dict)), _EXAMINED)
        paths = dict.fromkeys(path for cell in objects for path in _paths_to_lists(cell, ()))
        for path in paths:
            inner = [value_at(cell, path) for cell in cells]
            if "." not in "".join((name, *path)) and _are_chats(inner):
                yield ".".join((name, *path)), inner


def _are_chats(cells: Sequence[object]) -> bool:
    lists = islice((cell for cell in cells if isinstance(cell, list)), _EXAMINED)
    return any(not isinstance(exchange({"messages": cell}, several=True), Fault) for cell in lists)


def _paths_to_lists(value: dict[str, object], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, inner in value.items():
        if isinstance(inner, list):
            yield (*path, name)
        elif isinstance(inner, dict) and len(path) + 1 < _DEPTH:
            yield from _paths_to_lists(inner, (*path, name))


def refuse_single_messages(path: Path, columns: Sequence[Column]) -> None:
    """Raise InputError for a file with one message per line: its answers would be read as inputs."""
    if speaker := next(filter(_names_speakers, columns), None):
        raise InputError(
            f"has one message per line ('{speaker.header}' names the speaker), but a row must be a whole conversation.",
            where=path.name,
            fix="Group the lines of each conversation into one list, `messages` (`pairsmith docs seeds`).",
        )


def _names_speakers(column: Column) -> bool:
    """Its values are all roles, at least two, of which some may be tools."""
    names = set(column.filled)
    return any(map(parse_role, names)) and len(names) > 1 and all(parse_role(n) or n.casefold() in TOOLS for n in names)
