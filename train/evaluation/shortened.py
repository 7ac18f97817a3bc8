"""What few-shot and retrieval could not show, because the context of the base is too small for it, and its words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.records import Record

_KINDS = {"retrieval": ("training row", "training rows")}
_EXAMPLES = ("worked example", "worked examples")


class Shortened(Record):
    """The examples that the prompts of `system` show: `fewest` to `most` instead of `wanted`, because its context holds
    `context` tokens for prompt and answer, of which the answer gets `answer`. All of them would take a context of
    `needed` tokens."""

    system: str
    wanted: int
    fewest: int
    most: int
    context: int
    answer: int
    needed: int

    @property
    def range(self) -> str:
        """`1 to 3 of 5`, `2 of 5`, `none of 5`."""
        shown = f"{self.most}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{shown if self.most else 'none'} of {self.wanted}"

    @property
    def in_words(self) -> str:
        """What was shown, why, and what it means."""
        one, many = _KINDS.get(self.system, _EXAMPLES)
        room = (
            f"the base's context holds {self.context:,} tokens for prompt and answer, of which the answer gets"
            f" {self.answer:,}"
        )
        if not self.most:
            return f"{self.system} cannot be used with this base: {room}, and not one {one} fits beside an input"
        return f"{self.system} shows {self.range} {many}, as many as fit beside each input: {room}"

    @property
    def untried(self) -> str:
        """What this evaluation could therefore not measure."""
        many = _KINDS.get(self.system, _EXAMPLES)[1]
        return (
            f"{self.system} with all {self.wanted} {many} passed as often as tuned: a base with a context of about"
            f" {self.needed:,} tokens could show them"
        )


def examples_shown(names: Sequence[str], exemplars: int, shortened: Iterable[Shortened]) -> str:
    """The number of examples in the prompts of a system, such as `5 examples`."""
    count = f"{exemplars} example{'s' * (exemplars != 1)}" if exemplars else "no examples"
    ranges = [f"{one.range} fit" if one.system == names[0] else f"{one.system}: {one.range} fit" for one in shortened]
    return f"{count} ({', '.join(ranges)})" if ranges else count
