"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    **dict.fromkeys(("answered", "fenced", "injection", "pii"), 7),
    **dict.fromkeys(("label", "language", "sums", "toxic"), 8),
    "echo": 12,
    **dict.fromkeys(("contacts", "invented_name", "repetition"), 13),
    **dict.fromkeys(("encoding", "input", "mixed_language", "thinking"), 14),
    "instructed": 15,
    "facts": 18,
    **dict.fromkeys(("invented", "lost_content", "values"), 19),
    **dict.fromkeys(("cut", "placeholder"), 20),
    "limits": 21,
    **dict.fromkeys(("swapped", "translated"), 23),
    "preamble": 27,
}
