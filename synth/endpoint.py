"""One OpenAI-compatible chat-completions endpoint over HTTP: ask, retry by kind of failure, tell what went wrong.

Fast on purpose: one aiohttp session, JSON by orjson, no models built per request. Nothing here is remembered; keeping
answers is the ledger's work.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import orjson

from schemas.errors import AuthError, TeacherError, Unreachable
from schemas.failpoints import failpoint
from schemas.records import Json, Message, Sampling
from synth.chat_completions import (
    LOST_BY_A_GATEWAY,
    Answer,
    BrokenError,
    LostError,
    NotConnectedError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
    base_url,
    error_body,
    new_request_id,
    one_line,
    read_answer,
    retry_after_s,
)
from synth.proxy import proxy_for
from synth.redaction import without_key, without_user_info

MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 600.0
FIRST_CONNECT_TRIES = 3
Paid = Callable[[Json, int, Callable[[], bool]], AbstractAsyncContextManager[Any]]
Start = Callable[[], Coroutine[Any, Any, tuple[str, str | None]]]


def _unpaid(body: Json, size_bytes: int, stopped: Callable[[], bool]) -> AbstractAsyncContextManager[Any]:
    return nullcontext()


class Check(NamedTuple):
    """Whether an endpoint is there: the models it lists (None: it lists none), and how long that took."""

    models: tuple[str, ...] | None
    seconds: float


class Endpoint:
    """An open connection to a teacher. Use as an async context manager, or `await close()` it.

    `key` is sent as a bearer token and appears nowhere else: it is taken out of errors that repeat it, never out of an
    answer. `key_env` is the variable's name, for error messages. `concurrency` sizes the connection pool and does not
    limit callers: the ledger does. `retries` is how often a request that brought no answer is sent again, after a wait
    of full-jitter exponential backoff (uniform in [0, min(30 s, backoff_s * 2**i)]; "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015) or of Retry-After if that is longer.

    `start`, where given, is awaited once, before the first request, and gives the address and the key in place of `url`
    and `key`: so nothing is started, and no key is needed, for work whose every answer is in the store already. What it
    raises, every request raises.

    Counters: `sent` (HTTP requests for completions, retries included), `retries_by_kind`.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        key_env: str | None = None,
        timeout_s: float = 120,
        retries: int = 5,
        concurrency: int = 32,
        backoff_s: float = 0.5,
        start: Start | None = None,
    ) -> None:
        self.model = model
        self.sent = 0
        self.retries_by_kind: Counter[str] = Counter()
        self.draining = asyncio.Event()
        self._key_env = key_env
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s, 15.0))
        self._retries = retries
        self._concurrency = concurrency
        self._backoff_s = backoff_s
        self._start = start
        self._starting: asyncio.Task[tuple[str, str | None]] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._connected = False
        self._given_up_in_a_row = 0
        self._takes_n = True
        self._n_worked = False
        self._n_refused = 0
        self._max_tokens_name = "max_tokens"
        self.url, self._key = url, ""
        if start is None:
            self._reach_at(url, key)

    def _reach_at(self, url: str, key: str | None) -> None:
        self.url = base_url(url)
        self._key = (key or "").strip()
        self._completions = f"{self.url}/chat/completions"
        if any(ord(c) < 33 or ord(c) > 126 for c in self._key):
            raise AuthError(
                f"The key in {self._key_env or 'the key variable'} holds a blank or a non-ASCII character.",
                why="It could not be sent as an HTTP header.",
                fix="Set the variable to the key alone.",
            )

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, model={self.model!r}, key={'set' if self._key else 'none'})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> aiohttp.ClientSession:
        if self._start is not None:
            if self._starting is None:
                self._starting = asyncio.ensure_future(self._start())
            found = await asyncio.shield(self._starting)
            if self._start is not None:
                self._reach_at(*found)
                self._start = None
        if self._session is None:
            headers = {"Content-Type": "application/json", "User-Agent": "pairsmith"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._concurrency, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers=headers,
                proxy=proxy_for(self.url),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections. Safe to call twice. The caller ends what `start` has started."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        if self._session is not None:
            await self._session.close()
            self._session = None

    def drain(self) -> None:
        """Send nothing more: what is on the wire may finish; one that waits raises StoppedError."""
        self.draining.set()

    # -- asking --------------------------------------------------------------------------------------------------

    async def ask(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        n: int = 1,
        schema: Json | None = None,
        *,
        paid: Paid = _unpaid,
    ) -> Answer:
        """One request for up to `n` choices, sent again by kind of failure.

        A server may return fewer choices than `n`; the caller asks again for the rest. Each request is sent inside of
        `paid`, which is called with its body, its length in bytes and whether the run is stopping.

        Raises UnansweredError (429, 5xx, cut or timed out, after all retries) and RefusedError (400) for this row
        alone; AuthError, Unreachable and TeacherError stop a run. StoppedError after `drain()`.
        """
        await self._open()
        body = self._body(messages, sampling, n, schema)
        tries = 0
        while True:
            if self.draining.is_set():
                raise StoppedError
            try:
                answer = await self._ask_once(body, paid)
            except UnansweredError as failure:
                tries += 1
                await self._wait_or_give_up(failure, tries)
                self.retries_by_kind[failure.word] += 1
            except RefusedError as refusal:
                if not self._adapt(body, refusal):
                    self._given_up_in_a_row = 0
                    raise
            else:
                self._learn_of_n(n, body, answer)
                self._given_up_in_a_row = 0
                return answer

    def _body(self, messages: Sequence[Message], sampling: Sampling, n: int, schema: Json | None) -> Json:
        body: Json = {
            **sampling.body(),
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
        }
        if self._max_tokens_name != "max_tokens" and "max_tokens" in body:
            body[self._max_tokens_name] = body.pop("max_tokens")
        if n > 1 and self._takes_n:
            body["n"] = n
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        return body

    def _adapt(self, body: Json, refusal: RefusedError) -> bool:
        """Change a refused request into an equal one that this server may take; False if there is none.

        Some servers refuse n > 1, in whichever words, and newer OpenAI models take `max_completion_tokens` only:
        neither changes what is asked.
        """
        if "max_tokens" in body and "max_completion_tokens" in str(refusal):
            self._max_tokens_name = "max_completion_tokens"
            body["max_completion_tokens"] = body.pop("max_tokens")
            return True
        if _is_about_n(refusal) and "n" in body:
            self._takes_n = False
        return body.pop("n", None) is not None

    def _learn_of_n(self, n: int, body: Json, answer: Answer) -> None:
        """Leave `n` out from now on if the server refuses it: it said so, or it has never given several choices and has
        twice taken without `n` what it refused with it. One refusal may have had any other cause."""
        if n == 1:
            return
        if "n" in body:
            self._n_worked = self._n_worked or len(answer.choices) > 1
        elif not self._n_worked:
            self._n_refused += 1
            self._takes_n = self._takes_n and self._n_refused < 2

    async def _ask_once(self, body: Json, paid: Paid) -> Answer:
        data = orjson.dumps(body)
        async with paid(body, len(data), self.draining.is_set) as reserved:
            if self.draining.is_set():
                raise StoppedError
            self.sent += 1
            began = time.perf_counter()
            # The callback runs when this coroutine waits for the answer, so after the request was handed to the socket.
            asyncio.get_running_loop().call_soon(failpoint, "sent")
            status, headers, content = await self._exchange("POST", self._completions, data)
            seconds = time.perf_counter() - began
            if status != 200:
                raise await self._failure(status, headers, content, body, seconds)
        failpoint("received")
        answer = read_answer(content, seconds, body)._replace(reserved=reserved)
        # A body without a choice is no answer but an error in disguise, which may repeat the key.
        return answer if answer.choices else answer._replace(body=without_key(answer.body, self._key))

    async def _exchange(self, method: str, url: str, data: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:
        session = self._session or await self._open()
        try:
            async with session.request(method, url, data=data, allow_redirects=False) as response:
                content = await response.read()
                self._connected = True
                return response.status, response.headers, content
        except TimeoutError:
            raise TimedOutError(f"no answer within {self._timeout.total:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise NotConnectedError(self._shown(_said(error))) from None
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenError(self._shown(_said(error))) from None

    def _shown(self, text: str) -> str:
        """What a server said, fit for messages and the store."""
        return without_user_info(without_key(text, self._key))

    async def _wait_or_give_up(self, failure: UnansweredError, tries: int) -> None:
        """Wait before the next try, or raise what the failure amounts to."""
        if not self._connected and isinstance(failure, BrokenError | TimedOutError) and tries >= FIRST_CONNECT_TRIES:
            raise self._unreachable(str(failure))
        if tries > self._retries:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= max(10, self._concurrency):
                raise Unreachable(
                    f"The teacher has left the last {self._given_up_in_a_row} requests unanswered ({failure}).",
                    where=self.url,
                    why="Going on would fail every row that is left.",
                    fix="Everything answered is kept. See that the endpoint works, then run the same command again.",
                )
            raise failure
        wait_s = random.uniform(0, longest_backoff_s(self._backoff_s, tries))
        if failure.retry_after_s is not None:
            if failure.retry_after_s > MAX_RETRY_AFTER_S:
                raise TeacherError(
                    f"The teacher asks to wait {failure.retry_after_s:.0f} s before the next request.",
                    where=self.url,
                    fix="Everything answered is kept. Run the same command again then, or lower teacher.concurrency.",
                )
            wait_s = max(wait_s, failure.retry_after_s)
        try:
            async with asyncio.timeout(wait_s):
                await self.draining.wait()
        except TimeoutError:
            return
        raise StoppedError

    # -- what a status means -------------------------------------------------------------------------------------

    async def _failure(
        self, status: int, headers: Mapping[str, str], content: bytes, body: Json, seconds: float
    ) -> Exception:
        """The exception that an HTTP status other than 200 amounts to."""
        _, error = error_body(content)
        text = self._shown(content.decode(errors="replace"))
        said = one_line(self._shown(str(error.get("message") or text)))
        told = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        if status in (401, 403):
            return self._auth_error(told)
        if status == 402 or "insufficient_quota" in (error.get("code"), error.get("type")):
            return TeacherError(
                f"The account has no quota left ({told}).",
                where=self.url,
                fix="Everything answered is kept. Add credit, then run the same command again.",
            )
        if status == 429:
            return ThrottledError(told, retry_after_s(headers))
        if status >= 500 or status in (408, 409, 425):
            kind = LostError if status in LOST_BY_A_GATEWAY else ServerFaultError
            return kind(told, retry_after_s(headers))
        if status == 404:
            return await self._not_found(told)
        if status in (400, 413, 422):
            param = error.get("param")
            unsupported = str(error.get("code", "")).startswith("unsupported")
            if unsupported and param in body and param not in ("n", "max_tokens", "messages"):
                return TeacherError(
                    f"Model '{self.model}' does not take the setting '{param}' ({told}).",
                    where=self.url,
                    why="Every request would be refused.",
                    fix="Remove it from, or change it in, the sampling table of pairsmith.toml.",
                )
            return RefusedError(told, Answer([], None, seconds, new_request_id(None), None, body, text))
        location = f" It points to {self._shown(headers['Location'])}." if "Location" in headers else ""
        return TeacherError(
            f"The endpoint answers {told}.{location}",
            where=self._completions,
            fix="Check teacher.url: it should be the address that /chat/completions is added to.",
        )

    def _auth_error(self, told: str) -> AuthError:
        if not self._key_env:
            fix = "Name the environment variable that holds the key in teacher.key_env."
        elif not self._key:
            fix = f"Set the environment variable {self._key_env} to the key."
        else:
            fix = f"Check the key in the environment variable {self._key_env}, and that it may use '{self.model}'."
        return AuthError(f"The endpoint refuses the key ({told}).", where=self.url, fix=fix)

    async def _not_found(self, told: str) -> TeacherError:
        try:
            served = await self.models()
        except (UnansweredError, TeacherError):
            served = []
        if served:
            listed = ", ".join(served[:20]) + (f" and {len(served) - 20} more" if len(served) > 20 else "")
            fix = f"Set teacher.model to one that it serves: {listed}."
        else:
            fix = f"Check teacher.model, and teacher.url: requests go to {self._completions}."
        return TeacherError(f"The endpoint does not know model '{self.model}' ({told}).", where=self.url, fix=fix)

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(
            f"Nothing answers at the teacher's address ({reason}).",
            where=self.url,
            fix="Start the server or correct teacher.url; 'pairsmith doctor' tries it without spending anything.",
        )

    # -- looking -------------------------------------------------------------------------------------------------

    async def models(self) -> list[str]:
        """The ids that `GET /models` lists, in its order. Raises AuthError, TeacherError or UnansweredError."""
        await self._open()
        status, _, content = await self._exchange("GET", f"{self.url}/models")
        raw, error = error_body(content)
        told = f"HTTP {status}: {one_line(self._shown(str(error.get('message', ''))))}".rstrip(": ")
        if status in (401, 403):
            raise self._auth_error(told)
        rows = raw.get("data")
        if status != 200 or not isinstance(rows, list):
            raise TeacherError(
                f"The endpoint does not list its models ({told}).",
                where=f"{self.url}/models",
                fix="Check teacher.url.",
            )
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]

    async def check(self) -> Check:
        """Whether the endpoint is there and takes the key, by listing its models: no tokens are spent.

        Raises AuthError, Unreachable, and TeacherError where the model is not among those listed. An endpoint that
        lists no models passes with `models=None`: only a real request would tell.
        """
        began = time.perf_counter()
        try:
            served = await self.models()
        except UnansweredError as failure:
            raise self._unreachable(str(failure)) from None
        except AuthError:
            raise
        except TeacherError:
            return Check(None, time.perf_counter() - began)
        names = {self.model, f"{self.model}:latest"}
        if served and names.isdisjoint(served):
            raise await self._not_found("it is not listed")
        return Check(tuple(served), time.perf_counter() - began)


def _is_about_n(refusal: RefusedError) -> bool:
    """Whether a refusal speaks of the setting `n`: in `param`, or as a word of its own."""
    _, error = error_body(refusal.answer.body.encode())
    said = str(error.get("message") or refusal)
    return error.get("param") == "n" or re.search(r"(?<![\w\\])n(?!\w)", said) is not None


def longest_backoff_s(first_s: float, tries: int) -> float:
    """The upper bound of the wait after the `tries`-th try: it doubles from `first_s` up to 30 s."""
    return min(MAX_BACKOFF_S, first_s * 2.0 ** (tries - 1))


def _said(error: BaseException) -> str:
    return one_line(without_user_info(str(error))) or type(error).__name__
