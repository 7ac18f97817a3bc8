"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    **dict.fromkeys(("answered", "injection", "pii"), 7),
    **dict.fromkeys(("fenced", "label"), 8),
    **dict.fromkeys(("language", "sums", "toxic"), 9),
    "echo": 12,
    **dict.fromkeys(("contacts", "invented_name", "repetition"), 13),
    "thinking": 14,
    **dict.fromkeys(("encoding", "input"), 15),
    **dict.fromkeys(("instructed", "mixed_language"), 16),
    "facts": 19,
    **dict.fromkeys(("cut", "invented", "lost_content", "placeholder", "values"), 20),
    "limits": 22,
    **dict.fromkeys(("swapped", "translated"), 25),
    "preamble": 28,
}
