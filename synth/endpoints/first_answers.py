"""Lets few requests go until an answer is usable, so that what spoils every answer of a run costs a few of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

# Sent and not judged until then, enough that one slow answer does not delay the others; and after so many answers to
# the prompt nothing more is learnt by waiting: the judge has decided.
_FIRST, _ENOUGH = 5, 40
_SLOW_S = 10.0
P = ParamSpec("P")
T = TypeVar("T")


def reported_wait(decide: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """`decide`, a method of a ledger whose answer shows whether further requests make sense, called with a request and
    its prompt. Meanwhile few others of this prompt are sent, unless `beside`, and if that takes long, a line reports
    the wait. The control of an outage (`once`) holds nothing back: the flow does."""

    @wraps(decide)
    async def reporting(*arguments: P.args, **more: P.kwargs) -> T:
        ledger: Any = arguments[0]
        first: FirstAnswers = ledger.endpoint.flow.first
        words = (
            f"waiting for {ledger.endpoint.url}: many requests in a row brought no usable answer, so a question that"
            " was answered before is asked again, to see whether others make sense. teacher.timeout_s limits the wait."
        )
        report = asyncio.get_running_loop().call_later(_SLOW_S, ledger.endpoint.flow.say, words)
        try:
            holds_none = more.get("once") or more.get("beside")
            with nullcontext() if holds_none else first.deciding(str(arguments[2])):
                return await decide(*arguments, **more)
        finally:
            report.cancel()

    return reporting


class FirstAnswers:
    """The prompts of which no answer of this run has been usable yet. `dispatch` is called when more requests may go.

    What an earlier run has stored says nothing about the endpoint as it is now. Answers that are not judged yet count
    like requests in flight, because a fast endpoint answers many times before the first answer is on the disk.
    """

    def __init__(self, dispatch: Callable[[], None]) -> None:
        self._answers: dict[str | None, int] = {}  # of each of these prompts, none of them usable
        self._open, self._deciding, self._dispatch = Counter[str | None](), Counter[str | None](), dispatch
        self.unjudged = 0

    def wait_for(self, prompt: str) -> None:
        """Let few requests go until an answer to this prompt is usable."""
        self._answers[prompt] = 0

    def limit(self, prompt: str | None, concurrency: int) -> int:
        """How many requests of this prompt may be in flight or not judged."""
        return min(_FIRST, concurrency) if prompt in self._answers else concurrency

    def may_go(self, prompt: str | None) -> bool:
        """Whether one more request of this prompt may be sent."""
        if self._deciding[prompt]:  # of a prompt with usable answers a few may go: one of them may be answered, too
            return prompt not in self._answers and self._open[prompt] < _FIRST
        return prompt not in self._answers or self._open[prompt] < _FIRST

    def usable(self, prompt: str) -> None:
        """An answer to this prompt is usable."""
        if self._answers.pop(prompt, None) is not None:
            self.dispatch_soon()

    def sent(self, prompt: str | None) -> None:
        """A request of this prompt is sent."""
        self._open[prompt] += 1

    def ended(self, prompt: str | None, *, counts: bool) -> None:
        """A request of this prompt has ended. `counts`: it was answered, or what it cost is unknown."""
        self._open[prompt] -= 1
        if counts and prompt in self._answers:
            self._answers[prompt] += 1
            if self._answers[prompt] >= _ENOUGH:
                del self._answers[prompt]

    def received(self, prompt: str) -> None:
        """An answer to this prompt is to be stored and judged."""
        self.unjudged += 1
        self._open[prompt] += 1

    def judged(self, prompt: str) -> None:
        """It is stored and judged."""
        self.unjudged -= 1
        self._open[prompt] -= 1
        if self._answers:
            self.dispatch_soon()

    @contextmanager
    def deciding(self, prompt: str) -> Iterator[None]:
        """Meanwhile, send nothing of this prompt, or little: a question decides whether further requests make sense."""
        self._deciding[prompt] += 1
        try:
            yield
        finally:
            self._deciding[prompt] -= 1
            self.dispatch_soon()

    def dispatch_soon(self) -> None:
        """Call `dispatch` when the running step of this process has ended."""
        asyncio.get_running_loop().call_soon(self._dispatch)
