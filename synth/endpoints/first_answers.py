"""Lets few requests go until an answer is usable, so that what spoils every answer of a run costs a few of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# In flight until then, enough that one slow answer does not delay the others; and after so many answers to anything
# nothing more is learnt by waiting: the judge has decided, or the prompt is hardly asked.
_FIRST, _ENOUGH = 5, 40


class FirstAnswers:
    """The prompts of which no answer has been usable yet. `dispatch` is called once there are none."""

    def __init__(self, dispatch: Callable[[], None]) -> None:
        self._prompts, self._answers, self._dispatch = set[str](), 0, dispatch

    def wait_for(self, prompt: str) -> None:
        """Let few requests go until an answer to this prompt is usable."""
        self._prompts.add(prompt)
        self._answers = 0

    def limit(self, concurrency: int) -> int:
        """How many requests may be in flight now."""
        return min(_FIRST, concurrency) if self._prompts else concurrency

    def usable(self, prompt: str) -> None:
        """An answer to this prompt is usable."""
        if prompt in self._prompts:
            self._prompts.discard(prompt)
            asyncio.get_running_loop().call_soon(self._dispatch)

    def ended(self, *, slow: bool) -> None:
        """A request has been answered, or has failed in a way that takes long or may be paid for (`slow`)."""
        self._answers += 1
        if slow or self._answers >= _ENOUGH:
            self._prompts.clear()
