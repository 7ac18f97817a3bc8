"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    "pii": 6,
    **dict.fromkeys(("answered", "fenced"), 6),
    **dict.fromkeys(("injection", "label", "sums", "toxic"), 7),
    **dict.fromkeys(("contacts", "invented_name", "language"), 8),
    "instructed": 10,
    **dict.fromkeys(("echo", "input", "repetition"), 11),
    **dict.fromkeys(("encoding", "facts"), 12),
    "mixed_language": 13,
    "thinking": 14,
    "invented": 15,
    **dict.fromkeys(("cut", "values"), 16),
    "lost_content": 17,
    **dict.fromkeys(("limits", "placeholder"), 18),
    **dict.fromkeys(("swapped", "translated"), 20),
    "preamble": 23,
}
