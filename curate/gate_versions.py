"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    **dict.fromkeys(("length", "schema", "json_schema"), 2),
    "broken_json": 3,
    **dict.fromkeys(("pii", "fenced"), 5),
    **dict.fromkeys(("toxic", "answered"), 6),
    **dict.fromkeys(("label", "language", "injection", "contacts", "sums", "instructed"), 7),
    "invented_name": 8,
    **dict.fromkeys(("encoding", "input"), 9),
    **dict.fromkeys(("echo", "facts"), 10),
    "repetition": 11,
    **dict.fromkeys(("thinking", "mixed_language"), 12),
    **dict.fromkeys(("cut", "invented"), 14),
    **dict.fromkeys(("placeholder", "values"), 15),
    "lost_content": 16,
    **dict.fromkeys(("limits", "translated", "swapped"), 18),
    "preamble": 20,
}
