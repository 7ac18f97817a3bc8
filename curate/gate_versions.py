"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    **dict.fromkeys(("json_schema", "length", "schema"), 2),
    "broken_json": 3,
    "pii": 5,
    **dict.fromkeys(("answered", "fenced", "toxic"), 6),
    **dict.fromkeys(("contacts", "injection", "label", "language", "sums"), 7),
    **dict.fromkeys(("instructed", "invented_name"), 8),
    "input": 9,
    **dict.fromkeys(("echo", "encoding"), 10),
    **dict.fromkeys(("facts", "repetition"), 11),
    **dict.fromkeys(("mixed_language", "thinking"), 13),
    "invented": 14,
    **dict.fromkeys(("cut", "values"), 15),
    **dict.fromkeys(("lost_content", "placeholder"), 16),
    **dict.fromkeys(("limits", "swapped", "translated"), 18),
    "preamble": 21,
}
