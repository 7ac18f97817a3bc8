"""Opens the teacher that the spec names: an endpoint by URL, or the embedded model in a child process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from schemas.errors import AuthError
from schemas.spec import TeacherSettings
from schemas.spec_file import Project
from synth.endpoint import Endpoint

Say = Callable[[str], None]


def identified(project: Project, say: Say) -> TeacherSettings:
    """The spec's teacher with all that its call keys need: for the embedded model the revision of its weights, which
    are fetched if this machine has none. Raises MissingDependency."""
    teacher = project.spec.teacher
    if teacher.url != "embedded" or teacher.revision:
        return teacher
    from synth.embedded.weights import embedded_weights

    return teacher.model_copy(update={"revision": embedded_weights(say).revision})


@asynccontextmanager
async def opened(teacher: TeacherSettings, say: Say) -> AsyncIterator[Endpoint]:
    """The teacher, ready to be asked. Raises AuthError if the variable of its key is not set, and what starting the
    embedded model raises."""
    if teacher.url == "embedded":
        from synth.embedded.process import embedded

        async with (
            embedded(max_batch=teacher.concurrency, progress=say) as server,
            _endpoint(server.base_url, teacher, model=server.model) as endpoint,
        ):
            yield endpoint
        return
    async with _endpoint(teacher.url, teacher, key=_key(teacher)) as endpoint:
        yield endpoint


@asynccontextmanager
async def asleep(teacher: TeacherSettings) -> AsyncIterator[Endpoint]:
    """A stand-in for a run that has every answer already: it has no connection and starts no child process. Were it
    asked after all, nothing would answer, and that would be an error."""
    async with _endpoint("http://127.0.0.1:9/v1" if teacher.url == "embedded" else teacher.url, teacher) as endpoint:
        yield endpoint


def _key(teacher: TeacherSettings) -> str | None:
    if teacher.key_env is None:
        return None
    key = os.environ.get(teacher.key_env)
    if not key:
        raise AuthError(
            f"the environment variable {teacher.key_env} is not set.",
            where="teacher.key_env",
            fix=f"Set it to the key of {teacher.url}: export {teacher.key_env}=...",
        )
    return key


def _endpoint(url: str, teacher: TeacherSettings, *, model: str | None = None, key: str | None = None) -> Endpoint:
    return Endpoint(
        url,
        model or teacher.model,
        key=key,
        key_env=teacher.key_env,
        timeout_s=teacher.timeout_s,
        retries=teacher.retries,
        concurrency=teacher.concurrency,
    )
