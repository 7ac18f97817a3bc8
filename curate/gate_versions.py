"""The versions of the gates that are not at their first: `status` tells older rules by them, without the gates."""

from __future__ import annotations

# Raised with every change of a rule; what older rules said stays as it is, in the projects that have it.
VERSIONS = {
    "broken_json": 3,
    **dict.fromkeys(("label", "facts", "pii"), 4),
    **dict.fromkeys(("toxic", "instructed", "sums", "fenced"), 5),
    **dict.fromkeys(("language", "contacts", "injection", "answered"), 6),
    **dict.fromkeys(("input", "invented_name"), 7),
    **dict.fromkeys(("encoding", "thinking"), 8),
    **dict.fromkeys(("invented", "echo"), 9),
    **dict.fromkeys(("mixed_language", "repetition", "values"), 10),
    "lost_content": 11,
    **dict.fromkeys(("limits", "cut", "placeholder", "translated"), 12),
    "swapped": 13,
    "preamble": 17,
}
