"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    "pii": 6,
    **dict.fromkeys(("answered", "fenced"), 6),
    **dict.fromkeys(("injection", "label", "toxic"), 7),
    **dict.fromkeys(("invented_name", "language", "sums"), 8),
    "contacts": 10,
    **dict.fromkeys(("echo", "input", "instructed", "repetition"), 12),
    **dict.fromkeys(("encoding", "facts"), 13),
    **dict.fromkeys(("mixed_language", "thinking"), 14),
    "invented": 16,
    "values": 17,
    **dict.fromkeys(("cut", "lost_content"), 18),
    "limits": 19,
    "placeholder": 20,
    "swapped": 21,
    "translated": 22,
    "preamble": 25,
}
