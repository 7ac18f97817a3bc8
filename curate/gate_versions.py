"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "broken_json": 3,
    **dict.fromkeys(("json_schema", "schema"), 4),
    "length": 6,
    **dict.fromkeys(("fenced", "label"), 9),
    "answered": 10,
    **dict.fromkeys(("injection", "language", "pii", "personal"), 11),
    **dict.fromkeys(("sums", "toxic"), 12),
    "encoding": 16,
    "thinking": 17,
    **dict.fromkeys(("contacts", "echo", "invented_name", "mixed_language", "repetition"), 18),
    "input": 19,
    "instructed": 22,
    "placeholder": 24,
    "facts": 27,
    **dict.fromkeys(("cut", "invented", "lost_content", "values"), 28),
    "limits": 29,
    **dict.fromkeys(("swapped", "translated"), 33),
    "preamble": 35,
}
