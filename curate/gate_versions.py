"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    "broken_json": 3,
    "pii": 4,
    **dict.fromkeys(("label", "instructed", "fenced"), 5),
    **dict.fromkeys(("toxic", "contacts", "answered", "sums", "facts"), 6),
    **dict.fromkeys(("language", "injection"), 7),
    **dict.fromkeys(("input", "invented_name"), 8),
    "encoding": 9,
    **dict.fromkeys(("thinking", "echo"), 10),
    **dict.fromkeys(("invented", "mixed_language", "repetition"), 11),
    "values": 12,
    **dict.fromkeys(("cut", "lost_content"), 13),
    **dict.fromkeys(("limits", "placeholder"), 14),
    "translated": 15,
    "swapped": 16,
    "preamble": 18,
}
