"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 2,
    "broken_json": 3,
    "pii": 5,
    **dict.fromkeys(("label", "toxic", "answered", "fenced"), 6),
    **dict.fromkeys(("language", "injection", "contacts", "sums"), 7),
    **dict.fromkeys(("invented_name", "instructed"), 8),
    "input": 9,
    **dict.fromkeys(("echo", "encoding", "facts"), 10),
    "repetition": 11,
    "thinking": 12,
    **dict.fromkeys(("invented", "mixed_language"), 13),
    "values": 14,
    **dict.fromkeys(("lost_content", "cut"), 15),
    "placeholder": 16,
    **dict.fromkeys(("limits", "translated", "swapped"), 17),
    "preamble": 21,
}
