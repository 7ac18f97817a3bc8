"""The versions of the gates that are not at their first: `status` tells older rules by them, without the gates."""

from __future__ import annotations

# Raised with every change of a rule; what older rules said stays as it is, in the projects that have it.
VERSIONS = {
    **dict.fromkeys(("broken_json", "instructed", "facts"), 3),
    **dict.fromkeys(("label", "sums"), 4),
    **dict.fromkeys(("pii", "fenced"), 4),
    **dict.fromkeys(("language", "toxic", "contacts", "answered", "injection"), 5),
    "input": 6,
    **dict.fromkeys(("invented_name", "encoding", "thinking"), 7),
    "echo": 8,
    **dict.fromkeys(("mixed_language", "invented", "repetition", "values"), 9),
    "lost_content": 10,
    **dict.fromkeys(("cut", "placeholder", "translated"), 11),
    **dict.fromkeys(("swapped", "limits"), 12),
    "preamble": 16,
}
