"""The versions of gates that are above 1. `status` recognises outdated rules by them without importing the gates."""

from __future__ import annotations

# Raise a version with every change of a gate's rules. Verdicts of older versions stay in the projects that have them.
VERSIONS = {
    "length": 3,
    **dict.fromkeys(("broken_json", "json_schema", "schema"), 3),
    **dict.fromkeys(("answered", "pii"), 7),
    **dict.fromkeys(("fenced", "injection"), 8),
    **dict.fromkeys(("label", "language", "sums", "toxic"), 9),
    **dict.fromkeys(("echo", "invented_name", "repetition", "thinking"), 14),
    **dict.fromkeys(("contacts", "encoding"), 15),
    **dict.fromkeys(("input", "mixed_language"), 16),
    "instructed": 18,
    "placeholder": 20,
    **dict.fromkeys(("cut", "facts"), 22),
    **dict.fromkeys(("invented", "limits", "lost_content", "values"), 24),
    **dict.fromkeys(("swapped", "translated"), 28),
    "preamble": 31,
}
