"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    "length": 5,
    **dict.fromkeys(("answered", "fenced", "label", "pii"), 9),
    **dict.fromkeys(("injection", "language"), 10),
    **dict.fromkeys(("sums", "toxic"), 11),
    **dict.fromkeys(("echo", "invented_name", "repetition", "thinking", "encoding"), 16),
    **dict.fromkeys(("contacts", "input", "mixed_language"), 17),
    "instructed": 20,
    "placeholder": 22,
    **dict.fromkeys(("cut", "facts"), 24),
    **dict.fromkeys(("invented", "limits", "lost_content", "values"), 26),
    **dict.fromkeys(("swapped", "translated"), 30),
    "preamble": 33,
}
