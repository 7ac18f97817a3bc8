"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    "broken_json": 3,
    "pii": 5,
    **dict.fromkeys(("label", "fenced"), 5),
    **dict.fromkeys(("toxic", "answered", "instructed"), 6),
    **dict.fromkeys(("language", "injection", "contacts", "sums", "facts"), 7),
    **dict.fromkeys(("input", "invented_name"), 8),
    "encoding": 9,
    "echo": 10,
    **dict.fromkeys(("thinking", "invented", "repetition"), 11),
    **dict.fromkeys(("values", "mixed_language"), 12),
    **dict.fromkeys(("cut", "lost_content"), 13),
    **dict.fromkeys(("limits", "placeholder", "translated"), 15),
    "swapped": 16,
    "preamble": 19,
}
