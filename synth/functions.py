"""A custom generator: a function from a seed's text to outputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property
from threading import Event
from typing import Any, ClassVar

from schemas.blocking import is_cancelled
from schemas.errors import PairsmithError, checked_text
from schemas.functions import Identity, check_takes_one, crash_of, function_identity
from schemas.records import Generated, Pair, Reason, Sampling, Seed, content_id
from synth.slots import Kind, Name, Outcome, Slot, Unfinished

AT_ONCE = 8  # concurrent calls of a function if no teacher sets the concurrency
MAX_OUTPUTS = 100_000  # outputs of a seed
_COLLECTED = object()  # instead of a result whose outputs were collected in the function's thread


class Function:
    """Generates pairs with `function(text)`, which returns one output of an input seed or several of them.

    The function may be async or a generator. A plain function runs in its own threads, several calls at a time. An
    exception, or an output that is not a text, fails only its own slot, with a reason: what was yielded before is kept.
    `named` is an identity to use instead of the function's qualified name and source. The function is not called again
    for a seed whose outputs are in the store, unless one of them failed.
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
        check_takes_one(function, "generator", "text")

    @cached_property
    def fingerprint(self) -> str:
        return content_id("scope", ["function", [*self.identity, self.system]])

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Threads for this function only: with shared threads, a function that calls `generate` could deadlock."""
        return ThreadPoolExecutor(AT_ONCE)

    async def __call__(self, seed: Seed) -> list[Outcome]:
        """Raises Unfinished if the run ends while the function has yielded some of its outputs."""
        outputs: list[Any] = []
        cause = await self._collect(seed.text or "", outputs)
        texts = [_check_output(output) for output in outputs]
        if cause is not None:
            is_stopped = _ends_run(cause) and not isinstance(cause, PairsmithError)
            texts.append(Reason("crashed", "the run was stopped meanwhile") if is_stopped else crash_of(cause))
        texts = texts or [Reason("empty", "the function returned nothing")]
        outcomes = [self._outcome(seed, sample, text) for sample, text in enumerate(texts)]
        if cause is not None and _ends_run(cause):
            raise Unfinished(outcomes, cause)
        return outcomes

    def _outcome(self, seed: Seed, sample: int, output: str | Reason) -> Outcome:
        slot = Slot(self.fingerprint, seed.id, self.name, sample)
        if isinstance(output, Reason):
            return Outcome(slot.failed(output), None)
        origin = Generated(
            generator=self.name, prompt="@".join(self.identity), teacher="function", sampling=Sampling(), calls=()
        )
        texts = {"input": seed.text or "", "output": output, "system": self.system, "columns": seed.columns}
        pair = Pair(seed_id=seed.id, origin=origin, meta={"sample": sample}, **texts)
        return Outcome(slot.filled(pair), pair)

    async def _collect(self, text: str, outputs: list[Any]) -> BaseException | None:
        """Call the function and append its outputs, each as it arrives. Returns the error that ended it."""
        loop, context = asyncio.get_running_loop(), copy_context()  # the caller's context: spans, loggers, decimals
        ended = Event()
        try:
            result = await loop.run_in_executor(self._threads, context.run, self._call, text, outputs, ended)
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, AsyncIterable):
                async for output in result:
                    _append(outputs, output)
            elif result is not _COLLECTED:
                _append_all(outputs, result, ended)
        except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
            ended.set()
            if _ends_run(error) and not outputs:
                raise
            return error
        return None

    def _call(self, text: str, outputs: list[Any], ended: Event) -> Any:
        """Call the function in its thread, and consume a lazy iterable there too, until `ended`.

        A StopIteration is converted, because a future cannot hold one: awaiting it would never return.
        """
        try:
            result = self.function(text)
            if inspect.isawaitable(result) or isinstance(result, AsyncIterable):
                return result
            _append_all(outputs, result, ended)
        except StopIteration:
            raise RuntimeError("the function raised StopIteration") from None
        return _COLLECTED


def _ends_run(error: BaseException) -> bool:
    """Whether an error concerns more than the seed on which it was raised."""
    is_stop = isinstance(error, asyncio.CancelledError) and is_cancelled()
    return is_stop or isinstance(error, PairsmithError | KeyboardInterrupt)


def _append_all(outputs: list[Any], result: Any, ended: Event) -> None:
    """Append what a function returned. Mappings and data frames, which would iterate over their keys or columns, count
    as one output."""
    several = isinstance(result, Iterable) and not isinstance(result, str | bytes | Mapping)
    if not several or hasattr(result, "columns"):
        outputs.append(result)
        return
    for output in result:
        _append(outputs, output)
        if ended.is_set():
            break


def _append(outputs: list[Any], output: Any) -> None:
    outputs.append(output)
    if len(outputs) > MAX_OUTPUTS:
        outputs.clear()
        raise ValueError(f"it returned more than {MAX_OUTPUTS:,} outputs, and does not seem to end")


def _check_output(output: object) -> str | Reason:
    if not isinstance(output, str):
        return Reason("malformed", f"the function returned {type(output).__name__}, not a text")
    return output.strip() or Reason("empty", "the function returned a blank text")
