"""The names of steps, as verdicts bear them: `kind/name@version`."""

from __future__ import annotations

from typing import NamedTuple

# Steps whose stored name is that of an earlier version, so that what they said still counts.
_STEPS_SHOWN = {"score/relevance@1": "score/pmi@1"}
INDEPENDENT = "check:"
"""The names of checks that no gate uses begin with it."""


class By(NamedTuple):
    """A verdict's `by` taken apart: `gate/user:rules:polite@1` is a gate by its key `user`, the one for
    `rules:polite`, in version 1; `gate/length@2` is for nothing in particular."""

    kind: str
    key: str
    of: str
    version: str

    @classmethod
    def read(cls, by: str) -> By:
        kind, _, rest = by.partition("/")
        name, _, version = rest.partition("@")
        key, _, of = name.partition(":")
        return cls(kind, key, of, version)

    @property
    def name(self) -> str:
        """Without its kind and version."""
        return f"{self.key}:{self.of}" if self.of else self.key


def shown_step(by: str) -> str:
    """The name of a step as people read it."""
    return _STEPS_SHOWN.get(by, by)
