"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "broken_json": 3,
    **dict.fromkeys(("json_schema", "schema"), 4),
    "length": 6,
    **dict.fromkeys(("fenced", "label"), 9),
    **dict.fromkeys(("answered", "pii", "personal"), 10),
    **dict.fromkeys(("injection", "language"), 11),
    **dict.fromkeys(("sums", "toxic"), 12),
    "encoding": 16,
    **dict.fromkeys(("echo", "invented_name", "repetition", "thinking"), 17),
    **dict.fromkeys(("contacts", "input", "mixed_language"), 18),
    "instructed": 21,
    "placeholder": 23,
    **dict.fromkeys(("cut", "facts"), 26),
    **dict.fromkeys(("invented", "limits", "lost_content", "values"), 27),
    "translated": 31,
    "swapped": 32,
    "preamble": 34,
}
