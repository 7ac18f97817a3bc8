"""Patterns for names that denote a secret. They share one word list; each place uses a pattern that rejects no harmless
names there."""

from __future__ import annotations

import re

_WORDS = "auth|key|token|secret|cookie|passw|pwd|credential|signature"
ANYWHERE = re.compile(_WORDS.replace("auth", "auth(?!or(?!i[sz]))"), re.IGNORECASE)
"""For headers, variables and lines of a file; "author" does not match."""

_WHOLE = "(authorization|auth|key|token|secret|cookie|passw(or)?d|pwd|credentials?|signature)"
AT_END = re.compile(rf"({_WHOLE}|^sig)$", re.IGNORECASE)
"""For query parameters: a name that only starts with such a word (key-version, token_type) describes the secret."""

_OF_ACCESS = "access|api|auth|bearer|client|private|refresh|secret|session|subscription"
ALONE = re.compile(
    rf"(x[-_])?{_WHOLE}|([a-z\d]+[-_])*(({_OF_ACCESS})[-_]?{_WHOLE}|secret|passw(or)?d|credentials?)", re.IGNORECASE
)
"""For a key of a request body, matched as a whole: other keys with such an ending (prompt_cache_key, eos_token) are
model settings."""
