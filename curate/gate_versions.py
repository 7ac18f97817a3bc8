"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 4,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    **dict.fromkeys(("answered", "pii"), 8),
    "fenced": 8,
    **dict.fromkeys(("injection", "label", "language"), 9),
    **dict.fromkeys(("sums", "toxic"), 10),
    **dict.fromkeys(("echo", "invented_name", "repetition", "thinking", "encoding"), 15),
    **dict.fromkeys(("contacts", "input", "mixed_language"), 16),
    "instructed": 19,
    "placeholder": 21,
    "cut": 23,
    "facts": 24,
    **dict.fromkeys(("invented", "limits", "lost_content", "values"), 26),
    **dict.fromkeys(("swapped", "translated"), 30),
    "preamble": 33,
}
