"""Asks questions without one coroutine each, because a coroutine costs more than all other work for a question.

Many questions are in flight at once, so they are processed together, each step for all of them: answers that arrive
within a few milliseconds are read, the places that they free are given to the next questions, and the answers are
queued for the disk, judged, made into pairs and written. Nearly all questions take this path. One whose request fails,
or whose answer is bad, is handed over: `Ledger.answer` continues it from the outcome so far.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import orjson

from schemas.failpoints import failpoint
from schemas.records import Call, Json, Record
from schemas.tracing import is_on
from synth.chat.completions import Answer, effective_response, read_answer
from synth.endpoints.connections import Connection, Outcome
from synth.endpoints.host import InFlight, RetryState
from synth.question import Completion, Question, completion

if TYPE_CHECKING:
    from synth.engine import BulkRow
    from synth.ledger import Ledger
    from synth.meter import Reserved


# How long an answer may wait for others to be processed with it: at most, and as a share of the usual time of an
# answer. A step that is repeated for many answers finds its code and data in the processor's cache.
_GATHER_S, _GATHER_SHARE = 0.004, 1 / 16


class BulkRequest:
    """A question in flight. It waits like a future, first for one of the places for answers that are not durable yet
    (given with `set_result(None)`), then for a place in flight (given with `set_result(InFlight)`)."""

    __slots__ = (
        *("caller", "body", "bulk", "data", "keys", "n", "holds_place", "question", "answer", "began", "calls"),
        *("connection", "error", "good", "outcome", "reserved", "seconds", "sending", "sent", "tries"),
    )

    def __init__(self, bulk: Bulk, question: Question, keys: list[str], caller: BulkRow) -> None:
        self.bulk, self.question, self.keys, self.caller, self.n = bulk, question, keys, caller, len(keys)
        self.calls: list[Call] = []  # the answers, judged
        self.good: list[Completion] = []  # the same answers, if all have arrived and are good
        self.outcome: Outcome | None = None  # what came over the wire; None: nothing was sent
        self.error: Exception | None = None
        self.holds_place = False  # holds one of the places for answers that are not durable yet
        self.body: Json
        self.data: bytes
        self.sent: int
        self.tries: RetryState
        self.sending: InFlight
        self.reserved: Reserved
        self.began: float
        self.seconds: float  # from sending to the last byte of the response
        self.connection: Connection
        self.answer: Answer

    def done(self) -> bool:
        return self not in self.bulk.waiting

    def set_result(self, place: InFlight | None) -> None:
        if place is None:
            self.bulk.send(self)
        else:
            self.bulk.write(self, place)

    def set_exception(self, error: Exception) -> None:
        self.bulk.end(self, error)


class Bulk:
    """The questions that one run asks in bulk of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._endpoint, self._meter = ledger, ledger.endpoint, ledger.meter
        self.waiting: set[BulkRequest] = set()  # for a place in flight
        self._on_wire: set[BulkRequest] = set()
        self._received: list[BulkRequest] = []
        self._storing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def can_ask(self) -> bool:
        """Whether a question can be asked in bulk: whether it waits for nothing but a place and the answer.

        It cannot if a tracing span is recorded for each request, the endpoint has to be started first, or there is a
        cap. With a cap, a hold has to be durable before a request is sent. That may also begin later, when a teacher
        that was assumed to be free has charged, and then no question may be waiting here.
        """
        if self._closed or is_on() or self._ledger.store.budget is not None:
            return False
        return self._endpoint.open_directly()

    def begin(self, question: Question, n: int, caller: BulkRow) -> bool:
        """Ask for samples 0 to n - 1 of a question; False if one of them has been asked before."""
        ledger = self._ledger
        keys = ledger.keys(question, n)
        if any(key in ledger.pending or key in ledger.answered for key in keys) or ledger.may_be_in_batch(keys):
            return False
        request = BulkRequest(self, question, keys, caller)
        for key in keys:
            ledger.pending[key] = None
        self.waiting.add(request)
        ledger.judge.begin(question.prompt)
        ledger.places.take(request)
        return True

    def send(self, request: BulkRequest) -> None:
        """Request a place in flight for a question that holds its place for answers that are not durable."""
        request.holds_place, (messages, sampling, schema, *_) = True, request.question
        try:
            request.body = self._endpoint.dialect.body(messages, sampling, request.n, schema)
            request.data = orjson.dumps(request.body)
            tokens, limit_s = self._endpoint.limits(request.body, len(request.data))
            request.tries, request.sent = RetryState(limit_s, request.question.prompt), self._ledger.refusals.sent()
            self._endpoint.flow.request_place(request, tokens, request.tries)
        except Exception as error:  # StoppedError, or the spec's settings cannot be written as JSON
            self.end(request, error)

    def write(self, request: BulkRequest, sending: InFlight) -> None:
        """Send a question that has a place in flight, if there is a connection and no cap has been set meanwhile."""
        self.waiting.discard(request)
        request.sending = sending
        connections = self._endpoint.connections[sending.host.url]
        if self._ledger.store.budget is not None or (connection := connections.take_idle()) is None:
            self._hand_over(request)
        else:
            request.reserved = self._meter.mark(request.question.prompt, request.body, len(request.data))
            request.connection, request.began = connection, time.perf_counter()
            self._on_wire.add(request)
            sending.start_clock(partial(self._time_out, request))
            connections.send(connection, request.data, partial(self._receive, request))
            self._endpoint.mark_sent(sending)

    def _time_out(self, request: BulkRequest) -> bool:
        request.connection.cancel()
        self._receive(request, request.sending.timeout_error)
        return True

    def _receive(self, request: BulkRequest, outcome: Outcome) -> None:
        self._on_wire.discard(request)
        request.sending.stop_clock()
        request.outcome, request.seconds = outcome, time.perf_counter() - request.began
        self._received.append(request)
        if not self._on_wire:  # no other will arrive
            asyncio.get_running_loop().call_soon(self._process_received)
        elif len(self._received) == 1:
            gather_s = min(_GATHER_S, self._endpoint.flow.retrying.answer_s * _GATHER_SHARE)
            asyncio.get_running_loop().call_later(gather_s, self._process_received)

    def _process_received(self) -> None:
        """Read the responses that have arrived, free their places in flight, and store them. Does nothing if there are
        none, because another call has come first."""
        received, self._received = self._received, []
        batch = [request for request in received if self._read(request)]
        for request in batch:
            self._endpoint.flow.first.received(request.question.prompt)
            self._endpoint.flow.finish(request.sending, request.answer, None, 0)
        if batch:
            storing = asyncio.get_running_loop().create_task(self._store(batch))
            self._storing.add(storing)
            storing.add_done_callback(self._storing.discard)
        self._endpoint.flow.dispatch()

    def _read(self, request: BulkRequest) -> bool:
        """Whether the outcome is an answer, as it nearly always is. Everything else is handed over to `Endpoint`, which
        interprets it and raises any error, so that the other outcomes of this batch are not affected."""
        if isinstance(request.outcome, tuple):
            status, headers, content = request.outcome
            with suppress(Exception):
                status, content = effective_response(status, content)
                seconds, body, reserved = request.seconds, request.body, request.reserved
                if status == 200 and (answer := read_answer(content, seconds, body, reserved, headers)).choices:
                    failpoint("received")
                    request.answer = self._endpoint.accept_answer(answer, request.sending, headers)
                    with_schema = request.question.schema is not None
                    self._endpoint.dialect.learn(request.body, answer, n=request.n, schema=with_schema)
                    return True
        self._hand_over(request)
        return False

    async def _store(self, batch: list[BulkRequest]) -> None:
        """Make answers, and the records made of them, durable; then notify the callers."""
        ledger = self._ledger
        try:
            received: list[Call] = []
            judged: list[Call] = []
            settled: list[Record] = []
            additional: list[Record] = []
            for request in batch:
                request.calls, holds = ledger.rows(
                    request.question, request.keys, range(request.n), request.answer, first=True
                )
                received += request.calls
                settled += holds
            # Queued before any code looks at them, so that they are written whatever judging does.
            work, written = ledger.store.put_revisable([*received, *settled])
            for request in batch:
                request.calls = [ledger.judge.received(call, request.question) for call in request.calls]
                judged += request.calls
                additional += self._records_of(request)
            revised = work.replace([*judged, *settled, *additional])
            await written
            if not revised:
                await ledger.store.judge(*judged)
                await ledger.store.put(*additional)
            for request in batch:
                failpoint("committed")
                for call in request.calls:
                    ledger.answered.add(call.key, call.attempt, call.status)
            await ledger.refusals.answered(max(request.sent for request in batch))
        except Exception as error:
            for request in batch:
                self.end(request, error)
            return
        finally:
            for request in batch:
                self._endpoint.flow.first.judged(request.question.prompt)
        for request in batch:
            self._finish(request)

    def _records_of(self, request: BulkRequest) -> Sequence[Record]:
        """The records to write together with the answers; empty if an answer is bad or missing."""
        if len(request.calls) < request.n or not self._ledger.judge.are_good(request.calls, request.question):
            return ()
        try:
            request.good = list(map(completion, request.calls))
            return request.caller.records_of(request.good)
        except Exception as error:
            request.error = error
            return ()

    def _finish(self, request: BulkRequest) -> None:
        """Finish a question whose answers are durable."""
        if request.error is not None:
            self.end(request, request.error)
        elif not request.good:
            request.holds_place = False
            self._ledger.places.give_back()
            self._hand_over(request)
        else:
            for good in request.good:
                self._ledger.release(good.key, good, None)
            self._ledger.places.give_back()
            request.caller.on_durable()

    def _hand_over(self, request: BulkRequest) -> None:
        self._ledger.handed_over.update(dict.fromkeys(request.keys, request))
        request.caller.on_fallback()

    def end(self, request: BulkRequest, error: BaseException) -> None:
        """End a question without a usable answer."""
        self._release(request, error)
        request.caller.on_failure(error)

    def _release(self, request: BulkRequest, error: BaseException) -> None:
        self.waiting.discard(request)
        for key in request.keys:
            self._ledger.release(key, None, error)
        if request.holds_place:
            # Not immediately: the next question may end in turn, and so on, beyond the recursion limit.
            asyncio.get_running_loop().call_soon(self._ledger.places.give_back)

    def cancel(self) -> None:
        """Send nothing more and wait for nothing in flight; answers that have arrived are stored."""
        self._closed = True
        for request in list(self.waiting):
            self.end(request, asyncio.CancelledError())
        for request in list(self._on_wire):
            self._on_wire.discard(request)
            request.connection.cancel()
            request.sending.stop_clock()
            self._meter.lose(request.reserved)
            self._endpoint.flow.finish(request.sending, None, None, 0)
            self.end(request, asyncio.CancelledError())
        for request in {request for request in self._ledger.handed_over.values() if request.bulk is self}:
            for key in request.keys:
                del self._ledger.handed_over[key]
            if not request.calls:
                if request.outcome is not None:
                    self._meter.lose(request.reserved)
                self._endpoint.flow.finish(request.sending, None, None, 0)
            self._release(request, asyncio.CancelledError())  # its task, which has not begun, is cancelled as well
        self._endpoint.flow.dispatch()

    async def wait_until_stored(self) -> None:
        """Wait until all answers that have arrived are durable."""
        if self._received:
            self._process_received()
        await asyncio.gather(*self._storing)
