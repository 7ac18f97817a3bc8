"""Questions that are asked without a coroutine for each, which is dearer than all that is done for a question.

Many are on their way at once, so what happens to them happens to many: all that is ready is sent, and whatever has come
meanwhile is read, queued for the disk, judged, made into pairs and written together. That is the way of nearly all. One
whose request fails, or whose answer is bad, is handed over: `Ledger.answer` goes on with it from what came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import orjson

from schemas.failpoints import failpoint
from schemas.records import Call, Json, Record
from schemas.tracing import is_on
from synth.chat_completions import Answer, StoppedError, meant, read_answer
from synth.connections import Connection, Outcome
from synth.flow import Tries
from synth.question import Completion, Question, completion
from synth.teacher_host import Sending

if TYPE_CHECKING:
    from synth.ledger import Ledger
    from synth.meter import Reserved


class Asker(Protocol):
    """Who asks a question in bulk. One of `durable`, `alone` and `ended` is called, and once."""

    def made_of(self, answers: list[Completion]) -> Sequence[Record]:
        """What is to be written beside these answers, of which each is a good one."""

    def durable(self) -> None:
        """It is written, and they are."""

    def alone(self) -> None:
        """Ask `Ledger.answer` in a coroutine: it goes on from what came."""

    def ended(self, error: BaseException) -> None:
        """The run has ended before there was an answer."""


class Underway:
    """A question on its way. It waits as a future does: for a place among all that is not durable, which is told by
    None, and then for one on the wire."""

    __slots__ = (
        *("asker", "body", "bulk", "data", "keys", "n", "placed", "question"),
        *("answer", "began", "calls", "connection", "error", "good", "outcome", "reserved", "sending", "sent", "tries"),
    )

    def __init__(self, bulk: Bulk, question: Question, keys: list[str], asker: Asker, body: Json) -> None:
        self.bulk, self.question, self.keys, self.asker, self.body = bulk, question, keys, asker, body
        self.data, self.n = orjson.dumps(body), len(keys)
        self.calls: list[Call] = []  # what came, judged
        self.good: list[Completion] = []  # the same, where all are there and good
        self.outcome: Outcome | None = None  # what came over the wire; None: nothing was sent
        self.error: Exception | None = None
        self.placed = False  # among all that is not durable
        self.sent: int
        self.tries: Tries
        self.sending: Sending
        self.reserved: Reserved
        self.began: float
        self.connection: Connection
        self.answer: Answer

    def done(self) -> bool:
        return self not in self.bulk.waiting

    def set_result(self, place: Sending | None) -> None:
        if place is None:
            self.bulk.send(self)
        else:
            self.bulk.write(self, place)

    def set_exception(self, error: Exception) -> None:
        self.bulk.end(self, error)


class Bulk:
    """The questions of one run that are asked of one ledger in bulk."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._endpoint, self._meter = ledger, ledger.endpoint, ledger.meter
        self.waiting: set[Underway] = set()  # for a place
        self._on_wire: set[Underway] = set()
        self._came: list[Underway] = []
        self._keeping: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def may_ask(self) -> bool:
        """Whether asking takes no waiting but for a place and the answer: it does not where a span is told of each, the
        endpoint is not open yet, or there is a cap. A hold has to be durable before a request is sent, or will be once
        one that was taken to be free has been charged for, and then none may be waiting here."""
        return self._endpoint.waits_only and self._ledger.store.budget is None and not (self._closed or is_on())

    def begin(self, question: Question, n: int, asker: Asker) -> bool:
        """Ask for samples 0 to n - 1 of a question; False if somebody has asked for one of them before."""
        ledger = self._ledger
        keys = ledger.keys(question, n)
        if any(key in ledger.asking or key in ledger.answered for key in keys):
            return False
        body = self._endpoint.dialect.body(question.messages, question.drawn(0, 0), n, question.schema)
        asked = Underway(self, question, keys, asker, body)
        for key in keys:
            ledger.asking[key] = None
        self.waiting.add(asked)
        ledger.undurable.take(asked)
        return True

    def send(self, asked: Underway) -> None:
        """It may be sent, as soon as there is a place on the wire."""
        asked.placed = True
        asked.sent = self._ledger.refusals.sent()
        tokens, limit_s = self._endpoint.limits(asked.body, len(asked.data))
        asked.tries = Tries(limit_s)
        try:
            self._endpoint.flow.begin(asked, tokens, asked.tries)
        except StoppedError as error:
            self.end(asked, error)

    def write(self, asked: Underway, sending: Sending) -> None:
        """Its turn has come: send it, if there is a connection, and no cap since it was begun."""
        self.waiting.discard(asked)
        asked.sending = sending
        connections = self._endpoint.connections[sending.host.url]
        if self._ledger.store.budget is not None or (connection := connections.kept()) is None:
            self._hand_over(asked)
        else:
            asked.reserved = self._meter.mark(asked.question.prompt, asked.body, len(asked.data))
            asked.connection, asked.began = connection, time.perf_counter()
            self._on_wire.add(asked)
            sending.begin(partial(self._late, asked))
            connections.send(connection, asked.data, partial(self._tell, asked))
            self._endpoint.has_sent(sending)

    def _late(self, asked: Underway) -> bool:
        asked.connection.end()
        self._tell(asked, asked.sending.late)
        return True

    def _tell(self, asked: Underway, outcome: Outcome) -> None:
        self._on_wire.discard(asked)
        asked.sending.came()
        asked.outcome = outcome
        if not self._came:
            asyncio.get_running_loop().call_soon(self._take)
        self._came.append(asked)

    def _take(self) -> None:
        """Read what has come, give its places on the wire to others, and keep it."""
        came, self._came = self._came, []
        batch = [asked for asked in came if self._read(asked)]
        self._ledger.unconfirmed += len(batch)
        for asked in batch:
            self._endpoint.flow.done(asked.sending, asked.answer, None, 0)
        if batch:
            self._ledger.in_flight_peak = max(self._ledger.in_flight_peak, self._ledger.in_flight)
            keeping = asyncio.get_running_loop().create_task(self._keep(batch))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    def _read(self, asked: Underway) -> bool:
        """Whether an answer came, as nearly always; what else it may be is for `Endpoint` to say, and to raise what is
        raised here: the others that came with it go on."""
        if isinstance(asked.outcome, tuple):
            status, headers, content = asked.outcome
            with suppress(Exception):
                status, content = meant(status, content)
                seconds = time.perf_counter() - asked.began
                if status == 200 and (answer := read_answer(content, seconds, asked.body, asked.reserved)).choices:
                    failpoint("received")
                    asked.answer = self._endpoint.took(answer, asked.sending, headers)
                    with_schema = asked.question.schema is not None
                    self._endpoint.dialect.learn(asked.body, answer, n=asked.n, schema=with_schema)
                    return True
        self._hand_over(asked)
        return False

    async def _keep(self, batch: list[Underway]) -> None:
        """Make answers durable, and with them what is made of them; then tell who has asked."""
        ledger = self._ledger
        try:
            received: list[Call] = []
            judged: list[Call] = []
            settled: list[Record] = []
            beside: list[Record] = []
            for asked in batch:
                asked.calls, holds = ledger.rows(asked.question, asked.keys, range(asked.n), asked.answer, None)
                received += asked.calls
                settled += holds
            # Queued before any code looks into them: whatever judging does, they are written.
            work, written = ledger.store.put_revisable([*received, *settled])
            for asked in batch:
                asked.calls = [ledger.judge.judged(call, asked.question) for call in asked.calls]
                judged += asked.calls
                beside += self._made_of(asked)
            revised = work.replace([*judged, *settled, *beside])
            await written
            if not revised:
                await ledger.store.judge(*judged)
                await ledger.store.put(*beside)
            for asked in batch:
                failpoint("committed")
                for call in asked.calls:
                    ledger.answered.add(call.key, call.attempt, call.status)
            await ledger.refusals.answered(max(asked.sent for asked in batch))
        except Exception as error:
            for asked in batch:
                self.end(asked, error)
            return
        finally:
            ledger.unconfirmed -= len(batch)
        for asked in batch:
            self._kept(asked)

    def _made_of(self, asked: Underway) -> Sequence[Record]:
        """What is to be written beside its answers; nothing where one of them is bad or missing."""
        if len(asked.calls) < asked.n or not self._ledger.judge.are_good(asked.calls):
            return ()
        try:
            asked.good = list(map(completion, asked.calls))
            return asked.asker.made_of(asked.good)
        except Exception as error:
            asked.error = error
            return ()

    def _kept(self, asked: Underway) -> None:
        """Its answers are durable."""
        if asked.error is not None:
            self.end(asked, asked.error)
        elif not asked.good:
            asked.placed = False
            self._ledger.undurable.give_back()
            self._hand_over(asked)
        else:
            for good in asked.good:
                self._ledger.release(good.key, good, None)
            self._ledger.undurable.give_back()
            asked.asker.durable()

    def _hand_over(self, asked: Underway) -> None:
        self._ledger.begun.update(dict.fromkeys(asked.keys, asked))
        asked.asker.alone()

    def end(self, asked: Underway, error: BaseException) -> None:
        """It ends without an answer that could be used."""
        self._let_go(asked, error)
        asked.asker.ended(error)

    def _let_go(self, asked: Underway, error: BaseException) -> None:
        self.waiting.discard(asked)
        for key in asked.keys:
            self._ledger.release(key, None, error)
        if asked.placed:
            # Not at once: the next one may end at that, and so on, deeper than calls may go.
            asyncio.get_running_loop().call_soon(self._ledger.undurable.give_back)

    def cancel(self) -> None:
        """Send nothing more, and wait for nothing on the wire; what has come is kept."""
        self._closed = True
        for asked in list(self.waiting):
            self.end(asked, asyncio.CancelledError())
        for asked in list(self._on_wire):
            self._on_wire.discard(asked)
            asked.connection.end()
            asked.sending.came()
            self._meter.lose(asked.reserved)
            self._endpoint.flow.done(asked.sending, None, None, 0)
            self.end(asked, asyncio.CancelledError())
        for asked in {asked for asked in self._ledger.begun.values() if asked.bulk is self}:
            for key in asked.keys:
                del self._ledger.begun[key]
            if not asked.calls:
                if asked.outcome is not None:
                    self._meter.lose(asked.reserved)
                self._endpoint.flow.done(asked.sending, None, None, 0)
            self._let_go(asked, asyncio.CancelledError())  # its task, which has not begun, is cancelled as well

    async def kept(self) -> None:
        """Wait until all that has come is durable."""
        if self._came:
            self._take()
        await asyncio.gather(*self._keeping)
