"""Opens the teacher that the spec names: an endpoint by URL, or the embedded model in a child process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from schemas.errors import AuthError
from schemas.records import Json, Message, Sampling
from schemas.spec import TeacherSettings
from schemas.spec_file import Project
from synth.chat_completions import Answer, Stopped
from synth.endpoint import Endpoint

Say = Callable[[str], None]


def identified(project: Project, say: Say) -> TeacherSettings:
    """The spec's teacher with all that its call keys need.

    The embedded model is what is served, whatever else stands in the spec: its own name, the hash of its weights, which
    are fetched if this machine has none, and no price. Only a `revision` beside its own name is taken as it stands,
    because earlier projects have it in their keys. Raises MissingDependency.
    """
    teacher = project.spec.teacher
    if teacher.url != "embedded":
        return teacher
    from synth.embedded.weights import NAME, embedded_weights

    named = teacher.identity or teacher.model
    if named == NAME and teacher.model == NAME and teacher.revision:
        return teacher
    if named != NAME:
        say(f"the embedded teacher is {NAME}: what it writes is kept under that name, not as {named}.")
    free = {"usd_per_million_prompt_tokens": 0.0, "usd_per_million_completion_tokens": 0.0}
    weights = embedded_weights(say)
    return teacher.model_copy(update={"model": NAME, "identity": None, "revision": weights.revision, **free})


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


class Asleep(Endpoint):
    """A stand-in for a run that may have every answer already: it sends nothing and starts no child process. Where it
    is asked after all it says so in `was_asked`, and the question stays open."""

    was_asked = False

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, n: int = 1, schema: Json | None = None
    ) -> Answer:
        self.was_asked = True
        raise Stopped


def asleep(teacher: TeacherSettings) -> Asleep:
    """The teacher's stand-in."""
    return Asleep("http://127.0.0.1:9/v1" if teacher.url == "embedded" else teacher.url, teacher.model)


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
