"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    "pii": 7,
    "fenced": 6,
    **dict.fromkeys(("answered", "injection", "label", "toxic"), 7),
    **dict.fromkeys(("language", "sums"), 8),
    "invented_name": 12,
    "echo": 12,
    **dict.fromkeys(("contacts", "encoding", "input", "repetition"), 13),
    **dict.fromkeys(("instructed", "mixed_language", "thinking"), 14),
    "facts": 17,
    **dict.fromkeys(("lost_content", "values"), 18),
    "invented": 19,
    **dict.fromkeys(("cut", "limits", "placeholder"), 20),
    **dict.fromkeys(("swapped", "translated"), 23),
    "preamble": 26,
}
