"""Opens a teacher (an endpoint by URL, or the embedded model in a child process) and the ledger that keeps its answers.

with teacher("http://localhost:8000/v1", "qwen3") as t:
    ...
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.blocking import run
from schemas.errors import AuthError, UsageError
from schemas.progress import Say, discard_message
from schemas.python_terms import python_terms
from schemas.spec import TeacherSettings, given
from schemas.store.shared import DEFAULT, shared
from synth.embedded.weights import NAME, embedded_weights
from synth.endpoints.endpoint import Endpoint, Reach
from synth.ledger import Ledger
from synth.prices import free

if TYPE_CHECKING:
    from synth.local_vllm import VllmServer

EMBEDDED_TIMEOUT_S = 3600.0  # a child process does not vanish unnoticed, and a slow machine may write for long


class TeacherBlock(AbstractContextManager[Ledger]):
    """What `teacher` returns: each `with` opens the teacher anew, so that a cell of a notebook can run again."""

    def __init__(self, block: Callable[[], AbstractContextManager[Ledger]], name: str) -> None:
        self._block, self._name = block, name
        self._open: AbstractContextManager[Ledger] | None = None

    def __repr__(self) -> str:
        return f"teacher({self._name}), {'open' if self._open else 'to be opened by `with`'}"

    @python_terms()
    def __enter__(self) -> Ledger:
        if self._open is not None:
            raise UsageError("this teacher is open already.", fix="Use it in its block, or call teacher(...) again.")
        block = self._block()
        ledger = block.__enter__()
        self._open = block
        return ledger

    @python_terms()
    def __exit__(self, *failure: Any) -> bool | None:
        assert self._open is not None
        block, self._open = self._open, None
        return block.__exit__(*failure)


def teacher(
    url: str = "embedded",
    model: str = NAME,
    *,
    store: str | Path = DEFAULT,
    retry_failed: bool = False,
    max_usd: float | None = None,
    say: Say = discard_message,
    **settings: Any,
) -> TeacherBlock:
    """Open a teacher for generators, for the duration of a `with` block. Works in a notebook too.

    `url` is an OpenAI-compatible endpoint, or `embedded`, a small model that needs no key. `settings` are further keys
    of `[teacher]`: key_env, revision, concurrency, timeout_s, attempts, ... Every answer is kept in `store` (a file, or
    the URL of a store), so that no answer is paid for twice. `retry_failed` asks again for samples that never got a
    usable answer. `max_usd` caps the spending on this store during the block, including that of other teachers.

    Raises UsageError for invalid settings, StoreError, MissingDependency.
    """

    def block() -> AbstractContextManager[Ledger]:
        if "api_key" in settings:
            fix = 'Put it into an environment variable and name that: key_env="OPENAI_API_KEY".'
            raise UsageError("teacher takes no key.", why="Code is copied and shared with what it contains.", fix=fix)
        checked = given(TeacherSettings, "teacher", url=url, model=model, **settings)
        return _opened_with_store(checked, store, say, max_usd=max_usd, retry_failed=retry_failed)

    return TeacherBlock(block, f"{model!r} at {url}")


@contextmanager
def _opened_with_store(
    settings: TeacherSettings, store: str | Path, say: Say, *, max_usd: float | None, retry_failed: bool
) -> Iterator[Ledger]:
    named = identified(settings, say)
    stack = AsyncExitStack()
    with shared(store, max_usd=max_usd) as records:
        endpoint = run(stack.enter_async_context(opened(named, say)))
        try:
            yield Ledger(records, endpoint, named, retry_failed=retry_failed)
        finally:
            run(stack.aclose())


def identified(teacher: TeacherSettings, say: Say) -> TeacherSettings:
    """Return the teacher with everything that its call keys need.

    For the embedded teacher these are the name of its model, the hash of its weights (downloaded if they are missing)
    and prices of 0, whatever the settings say. Only a `revision` next to its own name is kept, because earlier projects
    have it in their keys. Raises MissingDependency.
    """
    if teacher.url != "embedded":
        return teacher
    named = teacher.known_as
    if named == NAME and teacher.model == NAME and teacher.revision:
        return free(teacher)
    if named != NAME:
        say(f"the embedded teacher is {NAME}: its answers are kept under that name, not as {named}.")
    weights = embedded_weights(say)
    return free(teacher.model_copy(update={"model": NAME, "identity": None, "revision": weights.revision}))


@asynccontextmanager
async def opened(teacher: TeacherSettings, say: Say) -> AsyncIterator[Endpoint]:
    """An endpoint for the teacher. Its key is read, and the embedded model started, only when the first request is
    about to be sent: a run that has every answer already needs neither.

    Requests then raise AuthError if the variable of the key is not set, and whatever starting the embedded model
    raises.
    """
    embedded = teacher.url == "embedded"
    async with AsyncExitStack() as running:

        async def start() -> Reach:
            if teacher.vllm is not None and teacher.url == "vllm":
                vllm = await running.enter_async_context(run_own_vllm(teacher, say))
                endpoint.check_server = vllm.check
                return vllm.base_url, os.environ.get(vllm.key_env or "")
            if not embedded:
                query = {
                    name: _read_secret(env, "teacher.query_env", teacher.url) for name, env in teacher.query_env.items()
                }
                key = _read_secret(teacher.key_env, "teacher.key_env", teacher.url) if teacher.key_env else None
                return teacher.addresses, key, _read_headers(teacher), query
            from synth.embedded import process

            server = await running.enter_async_context(process.embedded(max_batch=teacher.concurrency, progress=say))
            endpoint.check_server = server.check
            return server.base_url, None

        endpoint = Endpoint(
            teacher.url,
            NAME if embedded else teacher.model,
            key_env=teacher.key_env,
            query=teacher.query,
            first_byte_s=teacher.first_byte_s,
            token_s=teacher.token_s,
            timeout_s=EMBEDDED_TIMEOUT_S if embedded else teacher.timeout_s,
            retries=teacher.retries,
            concurrency=teacher.concurrency,
            requests_per_minute=teacher.requests_per_minute,
            tokens_per_minute=teacher.tokens_per_minute,
            start=start,
        )
        endpoint.flow.say = say
        async with endpoint:
            yield endpoint


def run_own_vllm(teacher: TeacherSettings, say: Say, *first: str) -> AbstractAsyncContextManager[VllmServer]:
    """Run the vLLM of `teacher.vllm` for the duration of a `with` block. `teacher.vllm_args` follow `first`, and so
    take precedence."""
    from synth.local_vllm import vllm

    assert teacher.vllm is not None
    return vllm(teacher.vllm, python=teacher.vllm_python, more=(*first, *teacher.vllm_args), say=say)


def _read_headers(teacher: TeacherSettings) -> dict[str, str]:
    """All headers of the spec with their values. Raises AuthError."""
    named = {} if teacher.organization is None else {"OpenAI-Organization": teacher.organization}
    secret = {name: _read_secret(env, "teacher.headers_env", teacher.url) for name, env in teacher.headers_env.items()}
    return {**named, **teacher.headers, **secret}


def _read_secret(variable: str, key: str, url: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise AuthError(
            f"the environment variable {variable} is not set.",
            where=key,
            fix=f"Set it to the key of {url}: export {variable}=...",
        )
    return value
