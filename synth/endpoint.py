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
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import aiohttp
import orjson

from schemas.errors import AuthError, TeacherError, Unreachable
from schemas.failpoints import failpoint
from schemas.records import Json, Message, Sampling
from synth.chat_completions import (
    Answer,
    BrokenError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
    base_url,
    error_body,
    error_status,
    new_request_id,
    one_line,
    query_of,
    read_answer,
    retry_after_s,
)
from synth.http_status import Place, every_rows, meaning, unknown_model, unreachable
from synth.proxy import proxy_for
from synth.redaction import without_key, without_user_info

MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 600.0
FIRST_CONNECT_TRIES = 3
TIMEOUT_RETRIES = 1  # each may be paid for, and none is seen
Reach = tuple[str, str | None] | tuple[str, str | None, Mapping[str, str]]
Start = Callable[[], Coroutine[Any, Any, Reach]]


class Check(NamedTuple):
    """Whether an endpoint is there: the models it lists (None: it lists none), and how long that took."""

    models: tuple[str, ...] | None
    seconds: float


class Endpoint:
    """An open connection to a teacher. Use as an async context manager, or `await close()` it.

    `key` is sent as a bearer token and appears nowhere else: it is taken out of errors that repeat it, never out of an
    answer. `key_env` is the variable's name, for error messages. `headers` are sent with every request and kept secret
    like the key, `query` is added to every address. `concurrency` does not limit callers: the ledger does. An answer
    may take `timeout_s` (None: as long as it likes) and `token_s` for each token that it may hold, and must begin
    within `first_byte_s`; one that is late is asked for once more, with twice the time. `retries` is how often a
    request that brought no answer is sent again, after a wait of full-jitter exponential backoff (uniform in
    [0, min(30 s, backoff_s * 2**i)]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015) or of Retry-After
    if that is longer.

    `start`, where given, is awaited once, before the first request, and gives address, key and perhaps headers in place
    of `url`, `key` and `headers`: so nothing is started, and no key is needed, for work whose every answer is in the
    store already. What it raises, every request raises.

    Counters: `sent` (HTTP requests for completions, retries included), `retries_by_kind`, `lost` (sent, and the answer
    never came: what they cost is unknown). `answered`: a request of this run has brought an answer.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float | None = 120,
        first_byte_s: float | None = None,
        token_s: float = 0,
        retries: int = 5,
        concurrency: int = 32,
        backoff_s: float = 0.5,
        start: Start | None = None,
    ) -> None:
        self.model = model
        self.sent = 0
        self.lost = 0
        self.answered = False
        self.retries_by_kind: Counter[str] = Counter()
        self.draining = asyncio.Event()
        self._key_env = key_env
        self._query = dict(query or {})
        self._timeout_s, self._first_byte_s, self._token_s = timeout_s, first_byte_s, token_s
        self._retries = retries
        self._concurrency = concurrency
        self._backoff_s = backoff_s
        self._start = start
        self._starting: asyncio.Task[Reach] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._connected = False
        self._given_up_in_a_row = 0
        self._takes_n = True
        self._n_worked = False
        self._n_refused = 0
        self._max_tokens_name = "max_tokens"
        self.url, self._key, self._headers = url, "", dict[str, str]()
        if start is None:
            self._reach_at(url, key, headers)

    def _reach_at(self, url: str, key: str | None, headers: Mapping[str, str] | None = None) -> None:
        self.url = base_url(url)
        self._key, self._headers = (key or "").strip(), dict(headers or {})
        asked_with = urlencode({**query_of(url), **self._query})
        self._suffix = f"?{asked_with}" if asked_with else ""
        self._completions = f"{self.url}/chat/completions{self._suffix}"
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
                # No limit: a request that waited here for a connection would use up its own time.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={**headers, **self._headers},
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
        self, messages: Sequence[Message], sampling: Sampling, n: int = 1, schema: Json | None = None
    ) -> Answer:
        """One request for up to `n` choices, sent again by kind of failure.

        A server may return fewer choices than `n`; the caller asks again for the rest. Raises UnansweredError (429,
        5xx, cut or timed out, after all retries) and RefusedError (400) for this row alone; AuthError, Unreachable and
        TeacherError stop a run. StoppedError after `drain()`.
        """
        await self._open()
        body = self._body(messages, sampling, n, schema)
        tries = 0
        patience = 1
        while True:
            if self.draining.is_set():
                raise StoppedError
            try:
                answer = await self._ask_once(body, patience)
            except UnansweredError as failure:
                tries += 1
                patience *= 2 if isinstance(failure, TimedOutError) else 1
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

    async def _ask_once(self, body: Json, patience: int = 1) -> Answer:
        self.sent += 1
        began = time.perf_counter()
        # The callback runs when this coroutine waits for the answer, so after the request was handed to the socket.
        asyncio.get_running_loop().call_soon(failpoint, "sent")
        tokens = (body.get("max_tokens") or body.get("max_completion_tokens") or 0) * body.get("n", 1)
        within_s = None if self._timeout_s is None else patience * (self._timeout_s + self._token_s * tokens)
        data = orjson.dumps(body)
        status, headers, content = await self._exchange("POST", self._completions, data, within_s, patience)
        seconds = time.perf_counter() - began
        if status == 200 and (said := error_status(content)) is not None:
            status = said
        if status != 200:
            raise await self._failure(status, headers, content, body, seconds)
        failpoint("received")
        answer = read_answer(content, seconds, body)
        self.answered = self.answered or bool(answer.choices)
        # A body without a choice is no answer but an error in disguise, which may repeat the key.
        return answer if answer.choices else answer._replace(body=self._without_secrets(answer.body))

    async def _exchange(
        self, method: str, url: str, data: bytes | None = None, within_s: float | None = 15.0, patience: int = 1
    ) -> tuple[int, Mapping[str, str], bytes]:
        session = self._session or await self._open()
        limit = aiohttp.ClientTimeout(total=within_s, sock_connect=min(within_s or 15.0, 15.0))
        begins_s = self._first_byte_s and self._first_byte_s * patience
        try:
            async with asyncio.timeout(begins_s) as beginning:
                async with session.request(method, url, data=data, allow_redirects=False, timeout=limit) as response:
                    beginning.reschedule(None)
                    content = await response.read()
                    self._connected = True
                    return response.status, response.headers, content
        except aiohttp.ConnectionTimeoutError as error:
            raise BrokenError(self._shown(_said(error))) from None
        except TimeoutError:
            self._connected = True
            self.lost += data is not None
            late_s, key = (begins_s, "first_byte_s") if beginning.expired() else (within_s, "timeout_s")
            raise TimedOutError(f"no answer within {late_s:g} s; if it needs longer, raise teacher.{key}") from None
        except (aiohttp.ClientError, OSError) as error:
            self.lost += data is not None and not isinstance(error, aiohttp.ClientConnectorError)
            raise BrokenError(self._shown(_said(error))) from None

    def _without_secrets(self, text: str) -> str:
        for secret in (self._key, *self._headers.values()):
            text = without_key(text, secret)
        return text

    def _shown(self, text: str) -> str:
        """What a server said, fit for messages and the store."""
        return without_user_info(self._without_secrets(text))

    async def _wait_or_give_up(self, failure: UnansweredError, tries: int) -> None:
        """Wait before the next try, or raise what the failure amounts to."""
        if not self._connected and isinstance(failure, BrokenError) and tries >= FIRST_CONNECT_TRIES:
            raise unreachable(str(failure), self.url)
        if tries > (min(TIMEOUT_RETRIES, self._retries) if isinstance(failure, TimedOutError) else self._retries):
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
        kind, setting = meaning(status, error, text, body, answered=self.answered)
        if status == 402 and retry_after_s(headers) is not None:
            kind = "throttled"  # what is on its way uses the credit up (OpenRouter)
        refused = RefusedError(told, Answer([], None, seconds, new_request_id(None), None, body, text))
        if kind == "model":
            served = await self._served()
            return refused if self._is_listed(served) else unknown_model(told, self._place, served)
        if kind in ("throttled", "server"):
            return (ThrottledError if kind == "throttled" else ServerFaultError)(told, retry_after_s(headers))
        location = f" It points to {self._shown(headers['Location'])}." if "Location" in headers else ""
        return refused if kind == "refused" else every_rows(kind, setting, told + location, self._place)

    @property
    def _place(self) -> Place:
        return Place(self.url, self._completions, self.model, self._key_env, bool(self._key))

    async def _served(self) -> list[str]:
        try:
            return await self.models()
        except (UnansweredError, TeacherError):
            return []

    def _is_listed(self, served: Sequence[str]) -> bool:
        return any(name.removeprefix("models/") in (self.model, f"{self.model}:latest") for name in served)

    # -- looking -------------------------------------------------------------------------------------------------

    async def models(self) -> list[str]:
        """The ids that `GET /models` lists, in its order. Raises AuthError, TeacherError or UnansweredError."""
        await self._open()
        status, _, content = await self._exchange("GET", f"{self.url}/models{self._suffix}", None, self._timeout_s)
        raw, error = error_body(content)
        told = f"HTTP {status}: {one_line(self._shown(str(error.get('message', ''))))}".rstrip(": ")
        if status in (401, 403):
            raise every_rows("key", "", told, self._place)
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
            raise unreachable(str(failure), self.url) from None
        except AuthError:
            raise
        except TeacherError:
            return Check(None, time.perf_counter() - began)
        if served and not self._is_listed(served):
            raise unknown_model("it is not listed", self._place, served)
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
