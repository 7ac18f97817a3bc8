"""JSON of which every reader makes the same value: no NaN, no key twice in one object (RFC 8259, sections 4, 6)."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for NaN, Infinity or a repeated key, of which most readers silently
    keep the last value; RecursionError for a text that is nested too deeply."""
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unique_keys)


def repeated_key(text: str) -> str | None:
    """The key that an object in this JSON text has twice; None if there is none, also in a text nested too deeply to
    be read here."""
    try:
        strict_json(text)
    except RepeatedKeyError as error:
        return error.key
    except (ValueError, RecursionError):
        pass
    return None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its keys and values. Raises RepeatedKeyError."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return value


class RepeatedKeyError(ValueError):
    """An object has the same key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key '{key}' is repeated")
        self.key = key


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
