"""What is asked of a provider's batch API: its form, its address, and the faults that are waited out."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import aiohttp
import orjson

from schemas.errors import TeacherError, Unreachable, UsageError
from schemas.spec import TeacherSettings
from synth.batch_forms import FORMS, Form
from synth.batch_lines import Announced, BatchLine, Result, State
from synth.chat_completions import DoubtedError, ThrottledError
from synth.connections import tls_failure
from synth.endpoint import Endpoint
from synth.proxy import REFUSALS, proxy_for, proxy_refusal
from synth.teacher_host import MAX_RETRY_AFTER_S

_FAULTS_IN_A_ROW = 20
_SLIPS_IN_A_ROW = 3  # of a key that was taken before: seven seconds
_NOT_THERE = re.compile(r"not exist|not found", re.IGNORECASE)  # in a 403 (Gemini)


def not_in_batches(teacher: TeacherSettings, cap: str = "") -> UsageError | None:
    """Why a teacher is not asked in batches: nobody reads its form, or `cap`, if there is one, could not be kept."""
    if teacher.url in ("embedded", "vllm") or teacher.batches_like is None:
        return UsageError(f"'{teacher.url}' has no batch API that is read.", fix="Go without teacher.batch.")
    if not cap:
        return None
    return UsageError(
        f"{cap} cannot be kept in a batch.",
        why="Its requests are paid for together, within a day, whatever is spent meanwhile.",
        fix="Go without --batch and teacher.batch, or take the cap away after a look at `pairsmith forecast`.",
    )


class NotThereError(TeacherError):
    """The provider does not know what it was asked for."""


class BatchApi:
    """The batch API of an endpoint's provider; `form` and `base` are its form and address."""

    def __init__(
        self, endpoint: Endpoint, form: Form, model: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> None:
        # Azure's files and batches are the resource's, not a deployment's.
        self.form, self.base = form, endpoint.url.partition("/deployments/")[0]
        self._endpoint, self._model, self._params = endpoint, model, params
        self._takes_key = False
        self._proxy = proxy_for(self.base)
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(total=600, sock_connect=15), proxy=self._proxy
        )

    @classmethod
    async def opened(cls, endpoint: Endpoint, teacher: TeacherSettings) -> Self:
        """The one of `endpoint`, with its key and headers."""
        key, headers, params = await endpoint.access()
        assert teacher.batches_like is not None
        form = FORMS[teacher.batches_like]
        every = {"User-Agent": "pairsmith", **dict(form.headers), **form.key(key), **headers}
        return cls(endpoint, form, teacher.model, every, params)

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    async def submit(self, lines: Sequence[BatchLine], label: str) -> str:
        """Hand a batch over; its id."""
        return await self.form.submit(self._call, self.base, self._model, lines, label)

    async def find(self, one: Announced) -> str | None:
        """The id of a batch that was announced, None if it was not made, or nobody tells."""
        try:
            return await self.form.find(self._call, self.base, one)
        except NotThereError:
            return None

    async def state(self, batch: str) -> State:
        """How far it is. Raises NotThereError."""
        state = await self.form.state(self._call, self.base, batch)
        return state if state.failure is None else replace(state, failure=self._endpoint.shown(state.failure))

    async def results(self, state: State) -> Iterator[Result]:
        """What came of its lines. Raises NotThereError."""
        return await self.form.results(self._call, self.base, state)

    async def _call(self, method: str, url: str, *, json: Any = None, form: aiohttp.FormData | None = None) -> bytes:
        """The body of an answer of status 200. A passing fault of a GET is waited out; what makes something is sent
        once, because nobody knows whether it was made."""
        faults = 0
        while True:
            data = form if form is not None else orjson.dumps(json) if json is not None else None
            named = {"Content-Type": "application/json"} if json is not None else None
            asked_to_wait_s: float | None = None
            try:
                async with self._session.request(
                    method, url, params=self._params, data=data, headers=named, allow_redirects=False
                ) as response:
                    status, headers, content = response.status, response.headers, await response.read()
                if status in (200, 201):
                    self._takes_key = True
                    return content
                if status == 407 and self._proxy is not None:
                    raise proxy_refusal(self._proxy, url, status)
                gone = status in (404, 410) or (status == 403 and _NOT_THERE.search(content.decode(errors="replace")))
                if gone and method == "GET":
                    raise NotThereError(
                        f"The provider does not know it (HTTP {status}).",
                        where=url,
                        fix="Everything answered is kept. If it has no batch API, run without --batch.",
                    )
                a_slip = status == 401 and self._takes_key and method == "GET" and faults < _SLIPS_IN_A_ROW
                if status < 500 and not a_slip:
                    asked_to_wait_s = await self._wait_or_raise(status, headers, content, url)
                why = f"HTTP {status}"
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in REFUSALS:
                    raise proxy_refusal(self._proxy or "", url, error.status) from None
                if (of_tls := tls_failure(url, error)) is not None:
                    raise of_tls from None
                why = type(error).__name__
            faults += 1
            may_be_there = method != "GET" and asked_to_wait_s is None
            if may_be_there or faults >= _FAULTS_IN_A_ROW:
                raise Unreachable(
                    f"The provider's batch API does not answer ({why}).",
                    where=url,
                    fix="Everything answered is kept, and batches on their way are found by the next run with --batch.",
                )
            with contextlib.suppress(TimeoutError):
                wait_s = max(asked_to_wait_s or 0.0, min(60.0, 2.0 ** (faults - 1)))
                await asyncio.wait_for(self._endpoint.flow.draining.wait(), wait_s)

    async def _wait_or_raise(self, status: int, headers: Mapping[str, str], content: bytes, url: str) -> float:
        """How long it asks to wait, where it takes no more just now; raises what any other refusal amounts to."""
        failure = await self._endpoint.failure(status, headers, content, {}, 0.0)
        failure = failure.verdict if isinstance(failure, DoubtedError) else failure
        if isinstance(failure, ThrottledError):
            return min(failure.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        if isinstance(failure, TeacherError):
            raise failure
        raise TeacherError(
            f"The provider's batch API answers {str(failure).removeprefix('refused: ')}.",
            where=url,
            fix="Everything answered is kept. If it has no batch API, run without --batch; "
            f"teacher.batch_api names its form ({', '.join(FORMS)}).",
        )
