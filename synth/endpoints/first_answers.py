"""Lets few requests go until an answer is usable, so that what spoils every answer of a run costs a few of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Sent and not judged until then, enough that one slow answer does not delay the others; and after so many answers to
# anything nothing more is learnt by waiting: the judge has decided, or the prompt is hardly asked.
_FIRST, _ENOUGH = 5, 40


class FirstAnswers:
    """The prompts of which no answer of this run has been usable yet. `dispatch` is called when more requests may go.

    What an earlier run has stored says nothing about the endpoint as it is now. Answers that are not judged yet count
    like requests in flight, because a fast endpoint answers many times before the first answer is on the disk.
    """

    def __init__(self, dispatch: Callable[[], None]) -> None:
        self._prompts, self._answers, self._dispatch = set[str](), 0, dispatch
        self._deciding = self.unjudged = 0

    def wait_for(self, prompt: str) -> None:
        """Let few requests go until an answer to this prompt is usable."""
        self._prompts.add(prompt)
        self._answers = 0

    def limit(self, concurrency: int) -> int:
        """How many requests may be in flight now."""
        if not self._prompts:
            return concurrency
        return 0 if self._deciding else min(_FIRST, concurrency) - self.unjudged

    def usable(self, prompt: str) -> None:
        """An answer to this prompt is usable."""
        if prompt in self._prompts:
            self._prompts.discard(prompt)
            self._continue()

    def ended(self) -> None:
        """A request has been answered, or has failed."""
        self._answers += 1
        if self._answers >= _ENOUGH:
            self._prompts.clear()

    def received(self, count: int) -> None:
        """So many answers are to be stored and judged."""
        self.unjudged += count

    def judged(self, count: int) -> None:
        """So many of them are stored and judged."""
        self.unjudged -= count
        if self._prompts:
            self._continue()

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Meanwhile, send nothing but the question that decides whether further answers would be useless."""
        self._deciding += 1
        try:
            yield
        finally:
            self._deciding -= 1
            self._continue()

    def _continue(self) -> None:
        asyncio.get_running_loop().call_soon(self._dispatch)
