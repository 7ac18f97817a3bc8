"""One OpenAI-compatible chat-completions endpoint over HTTP: asks, retries by kind of failure, and explains errors.

Built for speed: one aiohttp session, JSON by orjson, no model objects per request. Storing answers is the ledger's job.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import orjson

from schemas.errors import PairsmithError, TeacherError
from schemas.failpoints import armed, failpoint
from schemas.records import Json, Message, Sampling
from synth.answer_copies import AnswerCopies
from synth.chat.completions import (
    LOST_BY_A_GATEWAY,
    Answer,
    BrokenError,
    LostError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
    UnconfirmedError,
    UnreadableError,
    base_url,
    effective_response,
    new_request_id,
    one_line,
    query_of,
    read_answer,
)
from synth.chat.error_words import displayed_text, error_body
from synth.chat.http_status import Target, fatal_error, is_elsewhere, may_be_temporary, meaning, unknown_model
from synth.chat.listed_models import EndpointCheck, NoListError, check_listing, is_listed, parse_model_list
from synth.chat.redaction import refuse_unsendable
from synth.endpoints import gen_ai
from synth.endpoints.connections import Connections, Outcome, Response
from synth.endpoints.dialect import Dialect
from synth.endpoints.flow import Flow
from synth.endpoints.host import InFlight, unreachable
from synth.endpoints.proxy import proxy_note
from synth.endpoints.rate_limits import retry_after_s
from synth.endpoints.wire import Wire
from synth.question import max_answer_tokens

if TYPE_CHECKING:
    from synth.bulk import BulkRequest
    from synth.meter import Meter, Reserved

Urls = str | Sequence[str]
Secrets = Mapping[str, str] | None
Reach = tuple[Urls, str | None, *tuple[Secrets, ...]]
Start = Callable[[], Coroutine[Any, Any, Reach]]
Control = Callable[[Json], Awaitable[str | None]]


class Endpoint:
    """An open connection to a teacher. Use as an async context manager, or `await close()` it.

    `key` is sent with requests and appears nowhere else: it is removed from errors that repeat it, but never from an
    answer. `key_env` is the name of its variable, for error messages. `headers` are sent with every request and kept
    secret like the key. `query` is added to every address. `url` may be several addresses of the same model. An answer
    must begin within `first_byte_s` and may take `timeout_s`, plus `token_s` for each token that it may have. `Flow`
    decides what is in flight, where, and when it is retried.

    `start`, if given, is awaited once, before the first request. It returns the address, the key, and optionally
    headers and a secret part of the query, which replace `url`, `key` and `headers`. So work whose answers are all in
    the store needs no key and starts nothing. An exception of `start` is raised by every request.

    `connections` are those to its addresses.

    Counters: `sent` (HTTP requests for completions, retries included), `lost` (those of them whose answer never
    arrived, so that their cost is unknown). `answered`: a request of this run has been answered.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        model: str,
        *,
        key: str | None = None,
        key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 120,
        first_byte_s: float | None = None,
        token_s: float = 0,
        retries: int = 5,
        concurrency: int = 32,
        backoff_s: float = 0.5,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        start: Start | None = None,
    ) -> None:
        self.model = model
        self.sent = self.lost = 0
        self.answered = False
        self._copies = AnswerCopies()
        self.flow = Flow(
            concurrency=concurrency,
            retries=retries,
            backoff_s=backoff_s,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        self._key_env = key_env
        self._timeout_s, self._token_s, self._query = timeout_s, token_s, dict(query or {})
        self._start = start
        self._starting: asyncio.Task[Reach] | None = None
        self.refuse: Callable[[], None] = lambda: None  # called before the first request; may raise
        self.check_server: Callable[[], None] = lambda: None  # called when a connection broke; may raise
        self._wire = Wire(connect_s=min(timeout_s, 15.0), first_byte_s=first_byte_s)
        self.dialect = Dialect(model)
        self.url = url if isinstance(url, str) else url[0]
        if start is None:
            self._set_address(url, key, headers)

    def _set_address(self, url: Urls, key: str | None, headers: Secrets = None, secret_query: Secrets = None) -> None:
        first, *others = [url] if isinstance(url, str) else url
        urls = [base_url(first), *map(base_url, others)]
        secret, plain = dict(secret_query or {}), {**query_of(first), **self._query}
        self.url = urls[0]
        self.flow.set_addresses(list(dict.fromkeys(urls)))
        self._wire.configure((key or "").strip(), headers or {}, plain, secret)
        refuse_unsendable(self._wire.key, self._key_env, self._wire.headers)

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, model={self.model!r}, key={'set' if self._wire.key else 'none'})"

    @property
    def connections(self) -> dict[str, Connections]:
        return self._wire.connections

    def open_directly(self) -> bool:
        """Open it, unless something must be started first (what prevents that is raised by the first request). Returns
        whether a request is just sent over `connections` and waited for."""
        if not self._wire.is_open and self._start is None:
            with suppress(PairsmithError, StoppedError):
                self.refuse()
                self._wire.open([host.url for host in self.flow.hosts])
        return self._wire.is_direct

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self.close()

    async def _open(self) -> None:
        if not self._wire.is_open:
            self.refuse()
        if self._start is not None:
            if self._starting is None:
                self._starting = asyncio.ensure_future(self._start())
            try:
                reach = await asyncio.shield(self._starting)
            except asyncio.CancelledError:
                if self._starting.cancelled() and self.flow.draining.is_set():
                    raise StoppedError from None
                raise
            if self._start is not None:
                self._set_address(*reach)
                self._start = None
        self._wire.open([host.url for host in self.flow.hosts])

    async def close(self) -> None:
        """Close the connections for good. Safe to call twice. The caller stops what `start` has started."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        await self._wire.close()

    def drain(self) -> None:
        """Send nothing more: requests in flight may finish, waiting ones raise StoppedError. A `start` in progress is
        cancelled: it has nothing in flight and may take minutes."""
        self.flow.drain()
        if self._starting is not None:
            self._starting.cancel()

    # -- requests ------------------------------------------------------------------------------------------------

    async def ask(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        n: int = 1,
        schema: Json | None = None,
        *,
        account: Meter | None = None,
        prompt: str = "",
        started: BulkRequest | None = None,
        control: Control | None = None,
    ) -> Answer:
        """Ask for up to `n` choices in one request, and retry by kind of failure. `account` records the cost of each.
        A request `started` in bulk is continued. `control` (see `Flow`) asks once, with the settings of the given
        request, a question that was answered before; it returns "" if that is answered.

        A server may return fewer choices than `n`; the caller asks again for the rest.

        Raises UnansweredError (429, 5xx, cut off or timed out, after all retries) and RefusedError (400), which concern
        this row alone. AuthError, Unreachable and TeacherError end a run. Raises StoppedError after `drain()`.
        """
        if not self._wire.is_open:
            await self._open()
        body = self.dialect.body(messages, sampling, n, schema) if started is None else started.body
        answer = await self.send(body, account=account, prompt=prompt, started=started, control=control)
        self.dialect.learn(body, answer, n=n, schema=schema is not None)
        return answer

    async def send(
        self,
        body: Json,
        *,
        account: Meter | None = None,
        prompt: str = "",
        started: BulkRequest | None = None,
        control: Control | None = None,
        once: bool = False,
        ahead: bool = False,
    ) -> Answer:
        """`ask` with a complete request body, which is adapted in place to what the server accepts. With `once`, it is
        not sent again after a failure, and `ahead` puts it before the requests that wait."""
        if not self._wire.is_open:
            await self._open()
        again = False
        while True:
            data = orjson.dumps(body)
            limits = self.limits(body, len(data))
            ask = partial(self._ask_once, body, data, account, prompt, started)
            request, is_up = gen_ai.traced(self.model, body, ask), control and partial(control, body)
            try:
                return await self.flow.send_with_retries(
                    request, *limits, started, is_up, prompt=prompt, once=once, ahead=ahead, again=again
                )
            except RefusedError as refusal:
                if not self.dialect.adapt(body, refusal):
                    raise
                started, again = None, True

    def limits(self, body: Json, size_bytes: int) -> tuple[float, float]:
        """Estimated tokens of a request of this size with its answer, and how long the answer may take."""
        limit, n = max_answer_tokens(body) or 0, int(body.get("n") or 1)
        return self.flow.estimated_tokens(size_bytes, limit or None, n), self._timeout_s + self._token_s * limit * n

    async def _ask_once(
        self,
        body: Json,
        data: bytes,
        account: Meter | None,
        prompt: str,
        started: BulkRequest | None,
        sending: InFlight,
    ) -> Answer:
        outcome = started.outcome if started is not None and started.sending is sending else None
        reserved: Reserved | None
        if started is not None and outcome is not None:
            reserved, began = started.reserved, started.began
        else:
            reserved = await account.reserve(prompt, body, len(data), self.flow.draining.is_set) if account else None
            began = time.perf_counter()
        try:
            answer = await self._answer(body, data, sending, began, reserved, outcome)
        except BaseException as failure:
            if account is not None and reserved is not None:
                await account.failed(reserved, failure, is_sent=sending.is_sent)
            raise
        self.answered = self.answered or bool(answer.choices)
        # A body without choices is an error rather than an answer, and may repeat the key.
        answer = answer if answer.choices else answer._replace(body=self._wire.without_secrets(answer.body))
        return self._checked(answer, sending)

    def mark_sent(self, sending: InFlight) -> None:
        """Record that the request has been handed to the socket."""
        sending.mark_sent()
        self.sent += 1
        if armed("sent"):
            asyncio.get_running_loop().call_soon(failpoint, "sent")

    def accept_answer(self, answer: Answer, sending: InFlight, headers: Mapping[str, str]) -> Answer:
        """Record an answer, with choices, that came over `connections`; return it with the address it came from."""
        sending.host.record_limits(sending, headers, asyncio.get_running_loop().time())
        self.answered = True
        return self._checked(answer, sending)

    def _checked(self, answer: Answer, sending: InFlight) -> Answer:
        answer = self._copies.checked(answer, self.flow.note)
        return answer if sending.host.url == self.url else answer._replace(url=sending.host.url)

    async def _answer(
        self, body: Json, data: bytes, sending: InFlight, began: float, reserved: Any, outcome: Outcome | None
    ) -> Answer:
        """The answer of status 200, read from `outcome` if the request was already sent; raises any other outcome."""
        try:
            with sending:
                status, headers, content = await self._response(data, sending, outcome)
        except (UnansweredError, UnreadableError) as failure:
            self.lost += sending.is_sent and failure.may_be_paid
            if isinstance(failure, UnreadableError) and self.answered:
                raise UnconfirmedError(failure.what, None, failure) from None
            if isinstance(failure, BrokenError):
                self.check_server()
            raise
        sending.host.record_limits(sending, headers, asyncio.get_running_loop().time())
        seconds = time.perf_counter() - began
        status, content = effective_response(status, content, body)
        if status != 200:
            raise await self.failure(status, headers, content, body, seconds, sending.host.url)
        failpoint("received")
        answer = read_answer(content, seconds, body, reserved, headers)
        if self.answered and not answer.choices and answer.usage is None:
            # A gateway's page, or an error in an unknown format: temporary, like any other server fault.
            page = one_line(self.shown(displayed_text(content.decode(errors="replace"))), 120) or "nothing"
            raise LostError(f"the answer was not a chat completion: {page}", retry_after_s(headers, page, body))
        return answer

    async def _response(self, data: bytes, sending: InFlight, outcome: Outcome | None) -> Response:
        if outcome is None:
            return await self._wire.completion(sending.host.url, data, partial(self.mark_sent, sending))
        if isinstance(outcome, BaseException):
            raise self._wire.failure(outcome, sending.host.url) from None
        return outcome

    def shown(self, text: str) -> str:
        """`text` from a server, without secrets, for messages and the store."""
        return self._wire.shown(text)

    # -- error responses -----------------------------------------------------------------------------------------

    async def failure(
        self, status: int, headers: Mapping[str, str], content: bytes, body: Json, seconds: float, base: str = ""
    ) -> Exception:
        """The exception for a response of the address `base` whose HTTP status is not 200."""
        error, text, message = self._describe_error(status, headers, content, base)
        kind, setting = meaning(status, error, text, body, answered=self.answered, url=base or self.url)
        wait_s = retry_after_s(headers, text if kind in ("throttled", "server") else "", body)
        if status == 402 and wait_s is not None:
            kind = "throttled"  # requests in flight use up the credit (OpenRouter)
        refused = RefusedError(message, Answer([], None, seconds, new_request_id(None), None, body, text), status)
        if kind == "setting" and self.dialect.omit(setting):
            return refused
        if kind == "model":
            served = await self._served_models()
            return refused if is_listed(self.model, served) else unknown_model(message, self._target(base), served)
        if kind in ("throttled", "server"):
            lost = LostError if status in LOST_BY_A_GATEWAY else ServerFaultError
            return (ThrottledError if kind == "throttled" else lost)(message, wait_s)
        verdict = refused if kind == "refused" else fatal_error(kind, setting, message, self._target(base))
        others = kind == "key" and len(self.flow.hosts) > 1  # may accept it
        is_sure = not ((self.answered or others) and may_be_temporary(status, kind, text, body))
        return verdict if is_sure else UnconfirmedError(message, wait_s, verdict)

    def _describe_error(
        self, status: int, headers: Mapping[str, str], content: bytes, base: str = ""
    ) -> tuple[Json, str, str]:
        """Return the error object of a response, its whole text, and its status and message in one line."""
        _, error = error_body(content)
        text = self.shown(content.decode(errors="replace"))
        message = one_line(self.shown(str(error.get("message") or displayed_text(text))))
        via = proxy_note(self._wire.proxies.get(base or self.url), base or self.url)
        message = f"HTTP {status}{via}: {message}" if message else f"HTTP {status}{via}"
        if status < 400 and "Location" in headers:
            message += f". It points to {self.shown(headers['Location'])}"
        return error, text, message

    def _target(self, base: str = "") -> Target:
        url, suffix = base or self.url, self._wire.shown_suffix
        return Target(url, f"{url}/chat/completions{suffix}", self.model, self._key_env, bool(self._wire.key))

    async def _served_models(self) -> list[str]:
        try:
            return [str(row["id"]) for row in await self.listing()]
        except (UnansweredError, TeacherError):
            return []

    async def access(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        """For batches: the key (empty if there is none), further headers, and the query of every address."""
        await self._open()
        return self._wire.key, self._wire.headers, self._wire.params

    # -- models --------------------------------------------------------------------------------------------------

    async def listing(self) -> list[Json]:
        """The rows of `GET /models`, with their `id`. Raises TeacherError (NoListError: no list) or UnansweredError."""
        await self._open()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, headers, content = await self._wire.models(self.url)
                if status == 401 and b"x-api-key" in content:  # Anthropic's list only accepts its native key header
                    anthropic = {"x-api-key": self._wire.key, "anthropic-version": "2023-06-01"}  # 20 models by default
                    status, headers, content = await self._wire.models(self.url, anthropic)
        except TimeoutError:
            raise TimedOutError(f"no answer within {self._timeout_s:g} s") from None
        if status == 200 and (rows := parse_model_list(content)) is not None:
            return rows
        status, content = effective_response(status, content)  # MiniMax refuses a key with 200
        error, text, message = self._describe_error(status, headers, content)
        kind = "key" if status in (401, 403) else meaning(status, error, text, {}, answered=False).kind
        moved = status < 400 and is_elsewhere(headers.get("Location", ""), self.url)
        if moved or (kind in ("key", "quota") and b"model.read" not in content):  # OpenAI's keys may be limited to chat
            raise fatal_error(kind, "", message, self._target())
        if kind == "server" and status != 501:  # 501: it has no such list
            raise ServerFaultError(message)
        raise NoListError(
            f"The endpoint does not list its models ({message}).", where=f"{self.url}/models", fix="Check teacher.url."
        )

    async def check(self) -> EndpointCheck:
        """Check that the endpoint is there and accepts the key, by listing its models: no tokens are spent.

        Raises AuthError, Unreachable, and TeacherError if the model is not listed or the account is empty. An endpoint
        that lists no models passes with `models=None`: only a real request would show more.
        """
        await self._open()  # outside the try: its errors do not concern the list
        began = time.perf_counter()
        try:
            rows = await self.listing()
        except UnansweredError as failure:
            raise unreachable(failure, self.url) from None
        except NoListError as error:
            return EndpointCheck(None, time.perf_counter() - began, instead=error.what)
        return check_listing(rows, self._target(), time.perf_counter() - began)
