"""Opens a teacher: an endpoint by URL, or the embedded model in a child process, and the ledger that keeps its answers.

with teacher("http://localhost:8000/v1", "qwen3") as t:
    ...
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.blocking import run
from schemas.errors import AuthError
from schemas.progress import Say, unheard
from schemas.spec import TeacherSettings, given
from schemas.store.shared import DEFAULT, shared
from synth.embedded.weights import NAME, embedded_weights
from synth.endpoint import Endpoint, Reach
from synth.ledger import Ledger
from synth.prices import free

if TYPE_CHECKING:
    from synth.local_vllm import VllmServer

EMBEDDED_TIMEOUT_S = 3600.0  # a child of ours does not vanish unseen, and a slow machine may write for long


@contextmanager
def teacher(
    url: str = "embedded",
    model: str = NAME,
    *,
    store: str | Path = DEFAULT,
    retry_failed: bool = False,
    max_usd: float | None = None,
    say: Say = unheard,
    **settings: Any,
) -> Iterator[Ledger]:
    """A teacher for generators to ask, for the length of the block, also in a notebook.

    `url` is an OpenAI-compatible endpoint, or `embedded`, a small model that needs no key. `settings` are further keys
    of `[teacher]`: key_env, revision, concurrency, timeout_s, attempts, ... Every answer is kept in `store` (a file, or
    a store's URL), so that what was asked once is never bought again. `retry_failed` asks once more for what never got
    a usable answer. `max_usd` caps what is spent on this store while the block lasts, by other teachers too.

    Raises UsageError for settings that are not legal, StoreError, MissingDependency.
    """
    named = identified(given(TeacherSettings, "teacher", url=url, model=model, **settings), say)
    stack = AsyncExitStack()
    with shared(store, max_usd=max_usd) as records:
        endpoint = run(stack.enter_async_context(opened(named, say)))
        try:
            yield Ledger(records, endpoint, named, retry_failed=retry_failed)
        finally:
            run(stack.aclose())


def identified(teacher: TeacherSettings, say: Say) -> TeacherSettings:
    """The teacher with all that its call keys need.

    The embedded model is what is served, whatever else stands in the settings: its own name, the hash of its weights,
    which are fetched if this machine has none, and no price. Only a `revision` beside its own name is taken as it
    stands, because earlier projects have it in their keys. Raises MissingDependency.
    """
    if teacher.url != "embedded":
        return teacher
    named = teacher.identity or teacher.model
    if named == NAME and teacher.model == NAME and teacher.revision:
        return free(teacher)
    if named != NAME:
        say(f"the embedded teacher is {NAME}: what it writes is kept under that name, not as {named}.")
    weights = embedded_weights(say)
    return free(teacher.model_copy(update={"model": NAME, "identity": None, "revision": weights.revision}))


@asynccontextmanager
async def opened(teacher: TeacherSettings, say: Say) -> AsyncIterator[Endpoint]:
    """The teacher, ready to be asked. Its key is read, and the embedded model is started, when the first request is
    about to be sent: a run that has every answer already needs neither.

    Asking then raises AuthError if the variable of the key is not set, and what starting the embedded model raises.
    """
    embedded = teacher.url == "embedded"
    async with AsyncExitStack() as running:

        async def start() -> Reach:
            if teacher.vllm is not None and teacher.url == "vllm":
                vllm = await running.enter_async_context(own_vllm(teacher, say))
                return vllm.base_url, os.environ.get(vllm.key_env or "")
            if not embedded:
                query = {
                    name: _secret(env, "teacher.query_env", teacher.url) for name, env in teacher.query_env.items()
                }
                return teacher.addresses, _key(teacher), _headers(teacher), query
            from synth.embedded import process

            server = await running.enter_async_context(process.embedded(max_batch=teacher.concurrency, progress=say))
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


def own_vllm(teacher: TeacherSettings, say: Say, *first: str) -> AbstractAsyncContextManager[VllmServer]:
    """The vLLM that `teacher.vllm` asks for, for the length of a block; what `teacher.vllm_args` say stands behind
    `first`, so that it wins."""
    from synth.local_vllm import vllm

    assert teacher.vllm is not None
    return vllm(teacher.vllm, python=teacher.vllm_python, more=(*first, *teacher.vllm_args), say=say)


def _key(teacher: TeacherSettings) -> str | None:
    return None if teacher.key_env is None else _secret(teacher.key_env, "teacher.key_env", teacher.url)


def _headers(teacher: TeacherSettings) -> dict[str, str]:
    """Every header of the spec with its value. Raises AuthError."""
    named = {} if teacher.organization is None else {"OpenAI-Organization": teacher.organization}
    secret = {name: _secret(env, "teacher.headers_env", teacher.url) for name, env in teacher.headers_env.items()}
    return {**named, **teacher.headers, **secret}


def _secret(variable: str, key: str, url: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise AuthError(
            f"the environment variable {variable} is not set.",
            where=key,
            fix=f"Set it to the key of {url}: export {variable}=...",
        )
    return value
