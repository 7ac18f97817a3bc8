"""Calls a provider's batch API: selects its format and address, and waits out temporary faults."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO, Any, Self

import aiohttp
import orjson

from schemas.errors import InputError, TeacherError, Unreachable, UsageError
from schemas.money import dollars
from schemas.progress_line import clock
from schemas.spec import TeacherSettings
from schemas.wording import counted
from synth.batch.forms import FORMS, Form
from synth.batch.lines import FORMAT_ERRORS, Announced, BatchLine, Results, State, spool
from synth.chat.completions import StoppedError, ThrottledError, UnconfirmedError
from synth.endpoints.connections import tls_failure
from synth.endpoints.endpoint import Endpoint
from synth.endpoints.host import MAX_RETRY_AFTER_S
from synth.endpoints.proxy import PROXY_REFUSALS, proxy_for, proxy_refusal

_MAX_FAULTS, _REPORTED_WAIT_S = 20, 20.0
_POST_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=15)  # a large upload
_GET_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=15, sock_read=60)
_DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=120)
_READS = 3  # of results that are incomplete
_MAX_KEY_REFUSALS = 3  # refusals of a key that was accepted before: seven seconds
_NOT_FOUND = re.compile(r"not exist|not found", re.IGNORECASE)  # in a 403 (Gemini)


def batches_unavailable(teacher: TeacherSettings) -> UsageError | None:
    """The reason why a teacher cannot be asked in batches: its format is not supported."""
    if teacher.url in ("embedded", "vllm") or teacher.batch_format is None:
        return UsageError(
            f"'{teacher.url}' has no supported batch API.", fix="Leave out --batch, or remove teacher.batch."
        )
    return None


def overdue(base: str, batch: str, word: str, submitted_at: datetime) -> TeacherError:
    """The error for a batch whose status `word` is unknown, after the longest time that a batch takes."""
    hours = (datetime.now(UTC) - submitted_at).total_seconds() / 3600
    return TeacherError(
        f"Batch {batch} is '{word}' after {hours:.0f} hours, a status that pairsmith does not know, and it "
        "has no results.",
        where=base,
        why="Waiting longer is unlikely to help, and asking again would pay for its requests twice.",
        fix="Every answer so far is kept. Cancel or delete it at the provider, then run the same command again, "
        "which submits its requests again. Or run without --batch.",
    )


def explained(base: str, error: Exception) -> Exception:
    """`error`, or a TeacherError for one raised by parsing a response of an unexpected format."""
    if not isinstance(error, FORMAT_ERRORS):
        return error
    return TeacherError(
        f"The provider's batch API responds in an unexpected format ({type(error).__name__}: {error}).",
        where=base,
        why="A submitted batch may still be processed there, and be charged for.",
        fix="Cancel it there before you ask again; teacher.batch_api sets its format. Every answer so far is kept.",
    )


def not_ended(base: str, batch: str, lines: int, submitted_at: datetime) -> UsageError:
    """The error for questions that are in a batch in progress when none is to be waited for."""
    are = "request of this project is" if lines == 1 else "requests of this project are"
    return UsageError(
        f"{lines:,} {are} in batch {batch}, submitted on {submitted_at:%Y-%m-%d at %H:%M} UTC, which has not ended.",
        where=base,
        why="Without --batch they would be sent, and paid for, a second time.",
        fix="`pairsmith run --batch` waits for it. Or cancel it at the provider and run the same command again: what "
        "the batch has answered by then is used, and the rest is asked without it.",
    )


def unreadable_results(base: str, batch: str, missing: int, *, nameless: bool) -> TeacherError:
    """The error for a batch with results of which none belongs to a line, or of which so many are `missing`, because
    they do not name their line or the results break off."""
    what = f"No result of batch {batch} can be read as the answer to a request in it."
    some, why, again = counted(missing, "answer", "answers"), "", ""
    if nameless:
        what = f"{some} of batch {batch} came without the key of the request."
        why = "Their order is not reliable, so a row could get the answer to another one. "
    elif missing:
        what = f"{some} of batch {batch} cannot be read: its results break off, or have lines in another form."
        again = " Run the same command again, which reads them again."
    return TeacherError(
        what,
        where=base,
        why=f"{why}The requests are paid for, and another batch would probably end the same way.",
        fix=f"Every answer so far is kept.{again} Look at the results at the provider, correct teacher.batch_api, or "
        "run without --batch, which pays for these requests again.",
    )


def if_missing(lines: Sequence[BatchLine], usd: tuple[float, float] | None, *, is_earlier: bool) -> str:
    """What happens to the requests of a missing batch, given about the most that they cost, directly and in a batch."""
    price = "" if usd is None else f" (about {dollars(usd[1])} at most)"
    return (
        "pairsmith keeps looking for it a little longer; then "
        + ("its requests are submitted again" if is_earlier else "this run ends")
        + f". If it was deleted, the {len(lines):,} requests in it are paid for twice{price}. If it was created "
        "with another key or at another address, press Ctrl-C and use that one."
    )


class NotCreatedError(Unreachable):
    """The provider did not confirm an uploaded file, or accepted no batch, so there is none."""


class NotThereError(TeacherError):
    """The provider does not know the requested object."""


class BatchApi:
    """The batch API of an endpoint's provider, with its format (`form`) and address (`base`)."""

    def __init__(
        self, endpoint: Endpoint, form: Form, model: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> None:
        # Azure's files and batches belong to the resource, not to a deployment.
        self.form, self.base = form, endpoint.url.partition("/deployments/")[0]
        self._endpoint, self._model, self._params = endpoint, model, params
        self._key_accepted, self._stack, self._not_sent = False, contextlib.ExitStack(), set[str]()
        self._proxy = proxy_for(self.base)
        self._session = aiohttp.ClientSession(headers=headers, proxy=self._proxy)

    @classmethod
    async def connect(cls, endpoint: Endpoint, teacher: TeacherSettings) -> Self:
        """Open the batch API of `endpoint`, with its key and headers."""
        key, headers, params = await endpoint.access()
        assert teacher.batch_format is not None
        form = FORMS[teacher.batch_format]
        all_headers = {"User-Agent": "pairsmith", **dict(form.headers), **form.key(key), **headers}
        return cls(endpoint, form, teacher.model, all_headers, params)

    async def close(self) -> None:
        """Close its connections and files."""
        self._stack.close()
        await self._session.close()

    async def submit(self, lines: Sequence[BatchLine], label: str) -> str:
        """Submit a batch and return its id."""
        for setting in dict.fromkeys(name for line in lines for name in self.form.not_sent(line.body)):
            if setting not in self._not_sent:
                self._not_sent.add(setting)
                self._endpoint.flow.say(f"warning: this provider's batches have no setting for the {setting}.")
        return await self.form.submit(self._call, self.base, self._model, lines, label)

    async def find(self, one: Announced) -> str | None:
        """The id of an announced batch; None if the provider has none. Raises NotThereError if it lists no batches."""
        return await self.form.find(self._call, self.base, one)

    async def state(self, batch: str) -> State:
        """The state of a batch. Raises NotThereError."""
        state = await self.form.state(self._call, self.base, batch)
        return state if state.failure is None else replace(state, failure=self._endpoint.shown(state.failure))

    async def results(self, state: State, wait_s: float = 1.0) -> Results:
        """The results of a batch's lines, read again if they have fewer answers than the provider counts, or no line
        that can be read: a file may break off. Raises NotThereError."""
        results = Results()
        for nth in range(_READS):
            results.close()
            await asyncio.sleep(nth * wait_s)
            results = await self.form.results(self._download, self.base, state)
            self._stack.callback(results.close)
            if results.lines and (results.nameless or not results.missing(state.answered)):
                break
        return results

    async def _download(self, url: str) -> IO[bytes]:
        file = spool()
        self._stack.callback(file.close)
        await self._call("GET", url, to=file)
        return file

    def shown(self, error: BaseException) -> str:
        """An error in words, without keys."""
        return self._endpoint.shown(str(error) or type(error).__name__)

    async def _call(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        form: aiohttp.FormData | None = None,
        to: IO[bytes] | None = None,
    ) -> bytes:
        """Return the body of a response of status 200, or write it to the file `to`. Temporary faults of a GET are
        waited out. Requests that create something are sent once, since it is unknown whether a failed one has created
        it.

        Raises StoppedError, if the run is stopping, instead of creating something or waiting any longer. Nothing was
        created then."""
        faults, is_reported, began = 0, False, time.monotonic()
        while True:
            if self._endpoint.flow.draining.is_set() and (faults or method != "GET"):
                raise StoppedError
            data = form if form is not None else orjson.dumps(json) if json is not None else None
            content_type = {"Content-Type": "application/json"} if json is not None else None
            asked_to_wait_s: float | None = None
            try:
                status, headers, content = await self._request(method, url, data, content_type, to)
                if status in (200, 201):
                    self._key_accepted = True
                    return content
                if status == 407 and self._proxy is not None:
                    raise proxy_refusal(self._proxy, url, status)
                gone = status in (404, 410) or (status == 403 and _NOT_FOUND.search(content.decode(errors="replace")))
                if gone and method == "GET":
                    raise NotThereError(
                        f"The provider does not know this batch or file (HTTP {status}).",
                        where=url,
                        fix="Every answer so far is kept. If the provider has no batch API, run without --batch.",
                    )
                is_temporary = status == 401 and self._key_accepted and method == "GET" and faults < _MAX_KEY_REFUSALS
                why = f"HTTP {status}"
                if status < 500 and not is_temporary:
                    throttled = await self._throttled(status, headers, content, url)
                    why, asked_to_wait_s = throttled.what, min(throttled.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in PROXY_REFUSALS:
                    raise proxy_refusal(self._proxy or "", url, error.status) from None
                if (tls_error := tls_failure(url, error)) is not None:
                    raise tls_error from None
                why = type(error).__name__
            faults += 1
            may_exist = method != "GET" and asked_to_wait_s is None
            if may_exist or faults >= _MAX_FAULTS:
                is_certain = form is not None or (method != "GET" and not may_exist)
                raise _no_answer(NotCreatedError if is_certain else Unreachable, url, why)
            wait_s = max(asked_to_wait_s or 0.0, min(60.0, 2.0 ** (faults - 1)))
            if time.monotonic() - began + wait_s >= _REPORTED_WAIT_S and not is_reported:
                is_reported = True
                self._endpoint.flow.say(f"{url}: no answer ({why}); still retrying, next in {clock(wait_s)}.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._endpoint.flow.draining.wait(), wait_s)

    async def _request(
        self, method: str, url: str, data: Any, headers: Mapping[str, str] | None, to: IO[bytes] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        timeout = _DOWNLOAD_TIMEOUT if to is not None else _GET_TIMEOUT if method == "GET" else _POST_TIMEOUT
        options: Any = {"data": data, "headers": headers, "allow_redirects": False, "timeout": timeout}
        async with self._session.request(method, url, params=self._params, **options) as response:
            if to is not None and response.status == 200:
                await _write(response, to)
                return response.status, response.headers, b""
            return response.status, response.headers, await response.read()

    async def _throttled(self, status: int, headers: Mapping[str, str], content: bytes, url: str) -> ThrottledError:
        """The failure if the provider is throttling; raises the error for any other refusal."""
        failure = await self._endpoint.failure(status, headers, content, {}, 0.0)
        failure = failure.verdict if isinstance(failure, UnconfirmedError) else failure
        if isinstance(failure, ThrottledError):
            return failure
        if isinstance(failure, TeacherError):
            raise failure
        raise TeacherError(
            f"The provider's batch API answers {str(failure).removeprefix('refused: ')}.",
            where=url,
            fix="Every answer so far is kept. If the provider has no batch API, run without --batch; "
            f"teacher.batch_api sets its format ({', '.join(FORMS)}).",
        )


def _no_answer(kind: type[Unreachable], url: str, why: str) -> Unreachable:
    return kind(
        f"The provider's batch API does not answer ({why}).",
        where=url,
        fix="Every answer so far is kept, and the next run with --batch finds the batches in flight.",
    )


async def _write(response: aiohttp.ClientResponse, file: IO[bytes]) -> None:
    """Replace the content of `file` by the body of `response`."""
    file.seek(0)
    file.truncate()
    async for part in response.content.iter_chunked(1 << 16):
        try:
            file.write(part)
        except OSError as error:
            raise InputError(
                f"the results of a batch cannot be stored in a temporary file ({error.strerror}).",
                where=tempfile.gettempdir(),
                fix="Free some space there, or set TMPDIR to a larger folder, and run the same command again.",
            ) from None
