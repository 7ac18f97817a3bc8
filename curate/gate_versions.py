"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    "pii": 5,
    **dict.fromkeys(("answered", "fenced"), 6),
    **dict.fromkeys(("contacts", "injection", "label", "sums", "toxic"), 7),
    **dict.fromkeys(("invented_name", "language"), 8),
    "instructed": 9,
    **dict.fromkeys(("echo", "input"), 10),
    **dict.fromkeys(("encoding", "facts", "repetition"), 11),
    "mixed_language": 13,
    **dict.fromkeys(("invented", "thinking"), 14),
    **dict.fromkeys(("cut", "values"), 15),
    "lost_content": 16,
    "placeholder": 17,
    "limits": 18,
    **dict.fromkeys(("swapped", "translated"), 19),
    "preamble": 22,
}
