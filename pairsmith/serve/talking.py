"""The local model that users chat with: one at a time, started on demand, stopped when a job needs the machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairsmith.serve.problems import Refusal
from pairsmith.serve.workspace import Workspace
from schemas.errors import TeacherError
from schemas.files import is_locked
from train.evaluation.metrics import TUNED
from train.results import TrainResult

if TYPE_CHECKING:
    import aiohttp

    from train.evaluation.systems import LocalModel

IDLE_S = 600.0
_CHECK_EVERY_S = 2.0
_ASK_TIMEOUT_S = 300.0


class Tuned(NamedTuple):
    """An adapter of a project under its OpenAI name; if `adapter` is False, its base model without the adapter."""

    name: str
    project: str
    result: TrainResult
    folder: Path
    adapter: bool
    created: int


class _Running(NamedTuple):
    key: str
    url: str
    base: str
    closing: AsyncExitStack
    check: Callable[[], None]
    """Raises TeacherError if its process has ended."""

    @property
    def has_ended(self) -> bool:
        try:
            self.check()
        except TeacherError:
            return True
        return False


class TunedModelServer:
    """Runs the server of one base model with one adapter."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._running: _Running | None = None
        self._lock = asyncio.Lock()
        self._in_flight, self._last_request_s = 0, 0.0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Manage the model while the service runs, and stop it at the end."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self._stop()

    async def ask(self, tuned: Tuned, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The status and body of the model's response. Raises what `stream_response` raises."""
        async with self.stream_response(tuned, body) as response:
            return response.status, await response.json()

    @asynccontextmanager
    async def stream_response(self, tuned: Tuned, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The streamed response of the model.

        Raises Refusal (503) while a job needs the machine, also if one takes it in the meantime, and whatever keeps the
        model from starting.
        """
        import aiohttp

        self._refuse_while_busy()
        starting = asyncio.ensure_future(self._reserve(tuned))
        try:
            running = await asyncio.shield(starting)
        except asyncio.CancelledError:  # a client that waits for less than a start finds the model running next time
            starting.add_done_callback(self._release)
            raise
        try:
            named = {**body, "model": TUNED if tuned.adapter else running.base}
            timeout = aiohttp.ClientTimeout(sock_read=_ASK_TIMEOUT_S)
            url = f"{running.url}/chat/completions"
            async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=named) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Refusal(
                503, "the model was stopped or does not respond.", code="model_stopped", retry_after_s=30
            ) from error
        finally:
            self._release()

    def _refuse_while_busy(self) -> None:
        if is_busy(self._workspace):
            raise Refusal(
                503,
                "a job needs the model's memory now.",
                code="busy_with_a_job",
                fix="The list of projects shows which job, and its run page for how long.",
                retry_after_s=60,
            )

    async def _reserve(self, tuned: Tuned) -> _Running:
        async with self._lock:
            running = await self._ensure_running(tuned)
            self._in_flight += 1
            return running

    def _release(self, reserved: asyncio.Future[_Running] | None = None) -> None:
        if reserved is None or not (reserved.cancelled() or reserved.exception()):
            self._in_flight -= 1
            self._last_request_s = time.monotonic()

    async def _ensure_running(self, tuned: Tuned) -> _Running:
        # An adapter's server also serves its base; a merged model needs a server of its own.
        quantized = tuned.adapter and tuned.result.settings.method == "qlora"
        key = f"{tuned.result.base_hash} {tuned.folder} {quantized}"
        has_ended = self._running is not None and self._running.has_ended  # killed, for example for want of memory
        if self._running and self._running.key == key and not has_ended:
            return self._running
        if self._in_flight and not has_ended:
            raise Refusal(503, "another model is answering a request.", code="model_busy", retry_after_s=10)
        await self._stop()
        from train.local_model import serving

        local = await asyncio.to_thread(_load_model, tuned, self._workspace)
        closing = AsyncExitStack()
        server, _ = await closing.enter_async_context(serving(local, max_batch=4))
        self._running = _Running(key, server.base_url, server.model, closing, server.check)
        return self._running

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running:
            with contextlib.suppress(ProcessLookupError):
                await running.closing.aclose()

    async def _watch(self) -> None:
        """Stop the model when it is idle, or when a job needs the GPU."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            idle = not self._in_flight and time.monotonic() - self._last_request_s > IDLE_S
            if self._running and (idle or await asyncio.to_thread(is_busy, self._workspace)):
                async with self._lock:
                    await self._stop()


def is_busy(workspace: Workspace) -> bool:
    """Whether a job's process is running a model: it then holds the workspace's single lock for that."""
    return is_locked(workspace.jobs_folder / "heavy.lock")


def _load_model(tuned: Tuned, workspace: Workspace) -> LocalModel:
    """The model that was evaluated, or the base it was tuned from. Raises Refusal if the base has changed since, and
    InputError if the weights are not those that training wrote."""
    from train.base_models.base_model import find_base
    from train.evaluation.systems import LocalModel
    from train.local_model import tuned_model
    from train.results import refuse_changed

    settings = tuned.result.settings
    if settings.trust_remote_code:  # as the spec says now, not when the adapter was trained
        trusted = workspace.project(tuned.project).spec.train.trust_remote_code
        settings = settings.model_copy(update={"trust_remote_code": trusted})
    base = find_base(settings, workspace.folder(tuned.project))
    trained = tuned.result.model_copy(update={"folder": str(tuned.folder)})
    if not base.is_base_of(trained):
        raise Refusal(409, "the base model is not the one that the adapter was trained on.", code="other_base")
    refuse_changed(trained)
    local, _ = tuned_model(base, base.folder, trained)
    if local.is_merged and not tuned.adapter:
        return LocalModel(base.folder, template_arguments=local.template_arguments, runs_code=base.runs_code)
    return local
