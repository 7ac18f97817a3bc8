"""Descriptions of what a spec value must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = {
    "model_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list",
    "string_type": "a string",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
PATTERNS = {
    r"^[a-z]{2}$": "the two letters of a language, such as pt",
    r"^[a-z0-9][a-z0-9-]*$": "lowercase letters, digits and hyphens, as in shop-replies",
    r"^[a-z0-9][a-z0-9_]*$": "lowercase letters, digits and underscores, as in wrong_tone",
    r"^[a-z][a-z0-9_]{0,39}$": "at most 40 lowercase letters, digits and underscores, starting with a letter",
    r"^[a-z0-9_]+$": "lowercase letters, digits and underscores, as in ends_well",
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, underscores and hyphens, as in Shop-replies",
    r"^\S(.*\S)?$": "a single line of text without leading or trailing spaces",
    r"^https?://": "an address that begins with http:// or https://",
    r"^[\w.]+:\w+$": "module:function, as in checks:is_polite",
}


def expected(error: Mapping[str, Any]) -> str:
    """`expected a table`, for a pydantic error; empty where pydantic's own message is good enough."""
    words = TYPES.get(error["type"]) or PATTERNS.get(error.get("ctx", {}).get("pattern", ""))
    return f"expected {words}" if words else ""
