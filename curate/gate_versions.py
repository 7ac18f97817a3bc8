"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    **dict.fromkeys(("answered", "injection", "pii"), 7),
    "fenced": 8,
    **dict.fromkeys(("label", "language", "sums", "toxic"), 9),
    "echo": 14,
    **dict.fromkeys(("contacts", "invented_name", "repetition", "thinking"), 14),
    "encoding": 15,
    **dict.fromkeys(("input", "mixed_language"), 16),
    "instructed": 17,
    "placeholder": 20,
    "cut": 21,
    "facts": 22,
    "limits": 23,
    **dict.fromkeys(("invented", "lost_content", "values"), 24),
    **dict.fromkeys(("swapped", "translated"), 28),
    "preamble": 31,
}
