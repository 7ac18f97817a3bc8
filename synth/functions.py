"""A generator of your own: a function from a seed's text to outputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar

from schemas.blocking import is_cancelled
from schemas.errors import PairsmithError
from schemas.functions import Identity, identity_of
from schemas.records import Generated, Pair, Reason, Sampling, Seed, content_id
from synth.slots import Kind, Name, Outcome, Slot

AT_ONCE = 8  # calls of a function, where no teacher says how many
MOST = 100_000  # outputs of a seed


class Function:
    """`function(text)` gives the outputs of an input seed: a text, or several of them; it may be async or a generator.

    A plain function runs in a thread of its own, several at a time. What it raises, and what is no text, fails the slot
    with a reason and costs no other. `named` stands for its qualified name and source. What it gave for a seed once is
    not asked again.
    """

    name: ClassVar[Name] = "forward"
    takes: ClassVar[tuple[Kind, ...]] = ("input",)
    samples = None
    ledger = None

    def __init__(self, function: Callable[[str], Any], system: str = "", named: str | None = None) -> None:
        self.function, self.system = function, system
        self.identity = Identity(named, "") if named else identity_of(function, 'Function(function, named="a-name-1")')

    @cached_property
    def fingerprint(self) -> str:
        return content_id("scope", ["function", [*self.identity, self.system]])

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Of this function alone: one that calls `generate` itself would wait for threads that all wait for it."""
        return ThreadPoolExecutor(AT_ONCE)

    async def __call__(self, seed: Seed) -> list[Outcome]:
        outputs = await self._outputs(seed.text or "")
        return [self._outcome(seed, sample, output) for sample, output in enumerate(outputs)]

    def _outcome(self, seed: Seed, sample: int, output: str | Reason) -> Outcome:
        slot = Slot(self.fingerprint, seed.id, self.name, sample)
        if isinstance(output, Reason):
            return Outcome(slot.failed(output), None)
        origin = Generated(
            generator=self.name, prompt="@".join(self.identity), teacher="function", sampling=Sampling(), calls=()
        )
        texts = {"input": seed.text or "", "output": output, "system": self.system, "columns": seed.columns}
        # The same output twice is two pairs: each has the number of its sample.
        pair = Pair(seed_id=seed.id, origin=origin, meta={"sample": sample}, **texts)
        return Outcome(slot.filled(pair), pair)

    async def _outputs(self, text: str) -> list[str | Reason]:
        loop, context = asyncio.get_running_loop(), copy_context()  # of who called: spans, loggers, decimals
        try:
            given = await loop.run_in_executor(self._threads, context.run, self._called, text)
            if inspect.isawaitable(given):
                given = await given
            if isinstance(given, AsyncIterable):
                given = await _drained(given)
            outputs = _listed(given)
        except PairsmithError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # costs the seed it is raised for
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            return [Reason("crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")]
        return [_checked(output) for output in outputs] or [Reason("empty", "the function gave nothing")]

    def _called(self, text: str) -> Any:
        """What the function gives; what that is made of as it is read is read here, in the thread. No future can hold a
        StopIteration: whoever waits for it would wait for ever."""
        try:
            given = self.function(text)
            return given if inspect.isawaitable(given) or isinstance(given, AsyncIterable) else _listed(given)
        except StopIteration:
            raise RuntimeError("the function raised StopIteration") from None


def _listed(given: Any) -> list[Any]:
    """Several outputs, or one. What gives its keys or columns where texts are asked for is no list of outputs."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    if not several or hasattr(given, "columns"):
        return [given]
    return _ended(list(islice(given, MOST + 1)))


async def _drained(given: AsyncIterable[Any]) -> list[Any]:
    outputs: list[Any] = []
    async for output in given:
        outputs.append(output)
        _ended(outputs)
    return outputs


def _ended(outputs: list[Any]) -> list[Any]:
    if len(outputs) > MOST:
        raise ValueError(f"it gave more than {MOST:,} outputs, and does not seem to end")
    return outputs


def _checked(output: object) -> str | Reason:
    if not isinstance(output, str):
        return Reason("malformed", f"the function gave {type(output).__name__}, not a text")
    return output.strip() or Reason("empty", "the function gave a blank text")
