"""What a value must be: pydantic's errors in our users' words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = {
    "string_type": "a string",
    "string_unicode": "a string in valid Unicode",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "json_invalid": "valid JSON",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "a length of at least {min_length}",
    "string_too_long": "a length of at most {max_length}",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
_TABLES = ("model_type", "model_attributes_type", "dict_type")
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


def expected(error: Mapping[str, Any], table: str = "a table") -> str:
    """`expected a whole number`, for a pydantic error: what is wrong, in the words of our users. `table` is what the
    place at hand calls a mapping."""
    kind, context = error["type"], dict(error.get("ctx", {}))
    for name, limit in context.items():
        context[name] = int(limit) if isinstance(limit, float) and limit.is_integer() else limit  # as users write it
    if kind == "missing":
        return "it is missing"
    if kind == "extra_forbidden":
        return "there is no such field"
    words = PATTERNS.get(context.get("pattern", "")) or TYPES.get(kind, "").format(**context)
    words = table if kind in _TABLES else words
    return f"expected {words}" if words else str(error["msg"]).removeprefix("Value error, ")
