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
    r"^[a-z0-9][a-z0-9-]{0,62}$": "at most 63 lowercase letters, digits and hyphens, as in shop-replies",
    r"^[a-z0-9][a-z0-9_-]{0,62}$": "at most 63 lowercase letters, digits, hyphens and underscores, as in my-prompt",
    r"^([A-Za-z_][A-Za-z0-9_]*)?$": "the name of an environment variable, as in OPENAI_API_KEY",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable, as in OPENAI_API_KEY",
    r"^v[1-9][0-9]{0,5}$": "a version, as in v3",
    r"^https?://": "an address that begins with http:// or https://",
    r"^[\w.]+:\w+$": "module:function, as in checks:is_polite",
}


def expected_pattern(error: Mapping[str, Any]) -> str:
    """`expected lowercase letters ...`, for a pydantic error about a pattern; empty for any other."""
    words = PATTERNS.get(error.get("ctx", {}).get("pattern", ""))
    return f"expected {words}" if words else ""


def expected(error: Mapping[str, Any]) -> str:
    """`expected a table`, for a pydantic error; empty where pydantic's own message is good enough."""
    words = TYPES.get(error["type"])
    return f"expected {words}" if words else expected_pattern(error)
