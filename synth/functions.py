"""A custom generator: a function from a seed's text to outputs."""

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
from schemas.errors import PairsmithError, checked_text
from schemas.functions import Identity, crash_of, function_identity
from schemas.records import Generated, Pair, Reason, Sampling, Seed, content_id
from synth.slots import Kind, Name, Outcome, Slot

AT_ONCE = 8  # concurrent calls of a function if no teacher sets the concurrency
MAX_OUTPUTS = 100_000  # outputs of a seed


class Function:
    """Generates pairs with `function(text)`, which returns one output of an input seed or several of them.

    The function may be async or a generator. A plain function runs in its own threads, several calls at a time. An
    exception, or an output that is not a text, fails only its own slots, with a reason. `named` is an identity to use
    instead of the function's qualified name and source. The function is not called again for a seed whose outputs are
    in the store.
    """

    name: ClassVar[Name] = "forward"
    takes: ClassVar[tuple[Kind, ...]] = ("input",)
    samples = None
    ledger = None

    def __init__(self, function: Callable[[str], Any], system: str = "", named: str | None = None) -> None:
        self.function, self.system = function, checked_text(system, "system")
        if named:
            self.identity = Identity(checked_text(named, "named"), "")
        else:
            self.identity = function_identity(function, 'Function(function, named="a-name-1")')

    @cached_property
    def fingerprint(self) -> str:
        return content_id("scope", ["function", [*self.identity, self.system]])

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Threads for this function only: with shared threads, a function that calls `generate` could deadlock."""
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
        # The sample number is part of a pair, so that the same output twice makes two pairs.
        pair = Pair(seed_id=seed.id, origin=origin, meta={"sample": sample}, **texts)
        return Outcome(slot.filled(pair), pair)

    async def _outputs(self, text: str) -> list[str | Reason]:
        loop, context = asyncio.get_running_loop(), copy_context()  # the caller's context: spans, loggers, decimals
        try:
            result = await loop.run_in_executor(self._threads, context.run, self._call, text)
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, AsyncIterable):
                result = await _collect_async(result)
            outputs = _as_list(result)
        except PairsmithError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # fails only this seed
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            return [crash_of(error)]
        return [_check_output(output) for output in outputs] or [Reason("empty", "the function returned nothing")]

    def _call(self, text: str) -> Any:
        """Call the function in its thread, and consume a lazy iterable there too.

        A StopIteration is converted, because a future cannot hold one: awaiting it would never return.
        """
        try:
            result = self.function(text)
            return result if inspect.isawaitable(result) or isinstance(result, AsyncIterable) else _as_list(result)
        except StopIteration:
            raise RuntimeError("the function raised StopIteration") from None


def _as_list(result: Any) -> list[Any]:
    """The outputs as a list. Mappings and data frames, which would iterate over their keys or columns, count as one."""
    several = isinstance(result, Iterable) and not isinstance(result, str | bytes | Mapping)
    if not several or hasattr(result, "columns"):
        return [result]
    return _refuse_endless(list(islice(result, MAX_OUTPUTS + 1)))


async def _collect_async(result: AsyncIterable[Any]) -> list[Any]:
    outputs: list[Any] = []
    async for output in result:
        outputs.append(output)
        _refuse_endless(outputs)
    return outputs


def _refuse_endless(outputs: list[Any]) -> list[Any]:
    if len(outputs) > MAX_OUTPUTS:
        raise ValueError(f"it returned more than {MAX_OUTPUTS:,} outputs, and does not seem to end")
    return outputs


def _check_output(output: object) -> str | Reason:
    if not isinstance(output, str):
        return Reason("malformed", f"the function returned {type(output).__name__}, not a text")
    return output.strip() or Reason("empty", "the function returned a blank text")
