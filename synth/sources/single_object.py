"""What is wrong with a JSON file whose whole content is one object, of which most are no row."""

from __future__ import annotations

import re
import shlex
from typing import Any

import orjson

from schemas.errors import InputError

_TURN_KEYS = frozenset(("role", "from"))
_JQ_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SENTENCE, _MAPPED = 3, 5  # words of a sentence, and the fewest texts that a file may map to others
_DEPTH = 5  # objects around the list of rows


def single_object_error(record: dict[str, Any], name: str) -> InputError | None:
    """The error for the file `name` with nothing but `record`, with the command that writes its rows; None if it may be
    a row."""
    if keys := _path_to_rows(record, _DEPTH):
        steps = "".join(f".{key}" if _JQ_NAME.fullmatch(key) else f"[{orjson.dumps(key).decode()}]" for key in keys)
        steps = steps if steps.startswith(".") else f".{steps}"
        what = f"is a single object; its rows are in the list '{'.'.join(keys)}'."
        fix = f"Save only that list, for example with `jq {shlex.quote(steps)}`."
    elif _is_table(record):
        what = "is a single object whose values are the columns or the rows of a table."
        fix = "Write rows: `df.to_json('rows.jsonl', orient='records', lines=True)`, or `jq -c '.[]'` for named rows."
    elif _is_mapping(record):
        what = "is a single object that maps texts to texts."
        fix = "Write them as rows, for example with `jq -c 'to_entries[] | {input: .key, output: .value}'`."
    else:
        return None
    return InputError(what, where=name, fix=fix)


def _path_to_rows(record: dict[str, Any], depth: int) -> tuple[str, ...]:
    """The keys that lead to the longest list of objects in a file's single object, through at most `depth` objects.

    Empty if that object is itself a row: it has texts of its own, or the listed objects are turns of a chat.
    """
    if not depth or any(isinstance(text, str) and " " in text.strip() for text in record.values()):
        return ()
    lists = {
        key: len(rows) for key, rows in record.items() if isinstance(rows, list) and rows and all(map(_is_row, rows))
    }
    if lists:
        return (max(lists, key=lambda key: lists[key]),)
    inner = ((key, _path_to_rows(value, depth - 1)) for key, value in record.items() if isinstance(value, dict))
    return next(((key, *keys) for key, keys in inner if keys), ())


def _is_mapping(record: dict[str, Any]) -> bool:
    """Whether the single object of a file maps texts to texts: most keys are sentences."""
    sentences = sum(len(key.split()) >= _SENTENCE for key in record)
    is_most = len(record) >= _MAPPED and 2 * sentences > len(record)
    return is_most and all(isinstance(text, str) for text in record.values())


def _is_row(value: object) -> bool:
    """Whether this is an object, but no turn of a chat."""
    return isinstance(value, dict) and not any(isinstance(value.get(key), str) for key in _TURN_KEYS)


def _is_table(record: dict[str, Any]) -> bool:
    """Whether the single object of a file holds a table, as data frames write it.

    Its values are either columns (lists of equal length) or named rows (objects with the same keys).
    """
    cells = list(record.values())
    lists = all(isinstance(one, list) and len(one) > 1 and not isinstance(one[0], dict) for one in cells)
    objects = all(isinstance(one, dict) and len(one) > 1 for one in cells) and len(set(map(frozenset, cells))) == 1
    return len(cells) > 1 and (
        (lists and len(set(map(len, cells))) == 1) or (objects and not _TURN_KEYS & cells[0].keys())
    )
