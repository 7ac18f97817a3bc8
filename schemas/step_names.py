"""The names of steps as they appear in verdicts, `kind/name@version`, and of what is evaluated."""

from __future__ import annotations

from typing import NamedTuple

# Steps stored under the name from an earlier version, so that their old verdicts still count.
_DISPLAY_NAMES = {"score/relevance@1": "score/pmi@1"}
INDEPENDENT = "check:"
"""The prefix of the names of checks that no gate uses."""
REFERENCE = f"{INDEPENDENT}reference"
"""The check that an answer equals its reference."""
PROMPTED = frozenset({"base", "few-shot", "retrieval"})
"""The evaluated systems on the untuned base."""


class By(NamedTuple):
    """The parts of a verdict's `by`. `gate/user:rules:polite@1` is version 1 of the gate `user`, for `rules:polite`;
    `gate/length@2` has no such qualifier."""

    kind: str
    key: str
    of: str
    version: str

    @classmethod
    def read(cls, by: str) -> By:
        kind, _, parts = by.partition("/")
        name, _, version = parts.partition("@")
        key, _, of = name.partition(":")
        return cls(kind, key, of, version)

    @property
    def name(self) -> str:
        """The name without kind and version."""
        return f"{self.key}:{self.of}" if self.of else self.key


def display_step(by: str) -> str:
    """The name of a step as it is shown to users."""
    return _DISPLAY_NAMES.get(by, by)
