"""Names that stand for a secret: one list, of which each place asks for as much as refuses nothing harmless."""

from __future__ import annotations

import re

_WORDS = "auth|key|token|secret|cookie|passw|pwd|credential|signature"
ANYWHERE = re.compile(_WORDS.replace("auth", "auth(?!or(?!i[sz]))"), re.IGNORECASE)
"""Of headers, variables and lines of a file: an author is none."""

_WHOLE = "(authorization|auth|key|token|secret|cookie|passw(or)?d|pwd|credentials?|signature)"
AT_END = re.compile(rf"({_WHOLE}|^sig)$", re.IGNORECASE)
"""Of a query: what stands before others (key-version, token_type) tells how a secret is to be read."""

_OF_ACCESS = "access|api|auth|bearer|client|private|refresh|secret|session|subscription"
ALONE = re.compile(
    rf"(x[-_])?{_WHOLE}|([a-z\d]+[-_])*(({_OF_ACCESS})[-_]?{_WHOLE}|secret|passw(or)?d|credentials?)", re.IGNORECASE
)
"""Of a request's body, as a whole: what else ends so (prompt_cache_key, eos_token) is a setting of a model."""
