"""The local model that people talk to: one at a time, started when asked, stopped when a job needs the machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairsmith.serve.problems import Refusal
from pairsmith.serve.workspace import Workspace
from schemas.files import is_locked
from train.metrics import TUNED
from train.results import TrainResult

if TYPE_CHECKING:
    import aiohttp

    from train.systems import LocalModel

IDLE_S = 600.0
_LOOK_S = 2.0
_ASK_TIMEOUT_S = 300.0


class Tuned(NamedTuple):
    """An adapter of a project under its OpenAI name; `adapter` False is its base without it."""

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


class Talking:
    """The server of one base with one adapter, and who may use it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._running: _Running | None = None
        self._lock = asyncio.Lock()
        self._asking, self._asked_s = 0, 0.0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Watch over the model while the service runs; stop it at the end."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self._stop()

    async def ask(self, talker: Tuned, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the model's answer. Raises what `asked` raises."""
        async with self.asked(talker, body) as response:
            return response.status, await response.json()

    @asynccontextmanager
    async def asked(self, talker: Tuned, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The model's answer as it comes. Raises Refusal (503) while a job needs the machine, also if one takes it
        meanwhile, and whatever keeps the model from starting."""
        import aiohttp

        self._refuse_while_busy()
        async with self._lock:
            running = await self._started(talker)
            self._asking += 1
        try:
            named = {**body, "model": TUNED if talker.adapter else running.base}
            timeout = aiohttp.ClientTimeout(total=_ASK_TIMEOUT_S)
            url = f"{running.url}/chat/completions"
            async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=named) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Refusal(
                503, "the model was stopped or does not answer.", code="model_stopped", retry_after_s=30
            ) from error
        finally:
            self._asking -= 1
            self._asked_s = time.monotonic()

    def _refuse_while_busy(self) -> None:
        if is_busy(self._workspace):
            raise Refusal(
                503,
                "a job needs the model's place in memory now.",
                code="busy_with_a_job",
                fix="The list of projects says which, and its run page how long.",
                retry_after_s=60,
            )

    async def _started(self, talker: Tuned) -> _Running:
        # An adapter's server answers for its base too; a merged model is a server of its own.
        own = talker.adapter and talker.result.settings.method == "qlora"
        key = f"{talker.result.base_hash} {talker.folder} {own}"
        if self._running and self._running.key == key:
            return self._running
        if self._asking:
            raise Refusal(503, "another model is asked just now.", code="model_busy", retry_after_s=10)
        await self._stop()
        from train.local_model import serving

        local = await asyncio.to_thread(_model_of, talker, self._workspace)
        closing = AsyncExitStack()
        server, _ = await closing.enter_async_context(serving(local, max_batch=4))
        self._running = _Running(key, server.base_url, server.model, closing)
        return self._running

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running:
            with contextlib.suppress(ProcessLookupError):
                await running.closing.aclose()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            idle = not self._asking and time.monotonic() - self._asked_s > IDLE_S
            if self._running and (idle or await asyncio.to_thread(is_busy, self._workspace)):
                async with self._lock:
                    await self._stop()


def is_busy(workspace: Workspace) -> bool:
    """Whether a job's process computes a model: it holds the workspace's one lock for that."""
    return is_locked(workspace.jobs_folder / "heavy.lock")


def _model_of(talker: Tuned, workspace: Workspace) -> LocalModel:
    """What was measured, or the base that it was tuned from. Raises Refusal if the base is another one now."""
    from train.base_model import find_base
    from train.local_model import tuned_model
    from train.systems import LocalModel

    settings = talker.result.settings
    if settings.trust_remote_code:  # what the spec says now, not what it said when the adapter was made
        trusted = workspace.project(talker.project).spec.train.trust_remote_code
        settings = settings.model_copy(update={"trust_remote_code": trusted})
    base = find_base(settings, workspace.folder(talker.project))
    if base.hash != talker.result.base_hash:
        raise Refusal(409, "the base model is another one than it was trained on.", code="other_base")
    local, _ = tuned_model(base, base.folder, talker.result.model_copy(update={"folder": str(talker.folder)}))
    if local.is_merged and not talker.adapter:
        return LocalModel(base.folder, template_arguments=local.template_arguments, runs_code=base.runs_code)
    return local
