"""Decides whether a refusal concerns one row (too long, moderated) or every row (a wrong setting, an empty account).

No status or error text is conclusive, but the context is: a refusal among answers concerns its own row. If no answer
follows, one request decides: a question that was answered before is repeated, with the settings of the refused one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from schemas.errors import TeacherError
from schemas.records import Call, CallStatus, Json
from schemas.store import Store
from schemas.store.latest import latest_answers
from synth.answers import NO_COMPLETION

# This many refusals in a row, with the same text or with any text, call for a decision.
_SAME_TEXT, _ANY_TEXT = 8, 20
_KINDS = 100  # texts that are remembered
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|[\w.:/-]*\d[\w.:/-]*")  # quotations, numbers, ids


class RepeatRequest(Protocol):
    """Repeats a question that was answered before, with the settings of this request of this prompt. Returns the text
    of the refusal, empty if it is answered, None if nothing was answered before or the outcome is unknown. Meanwhile
    few others of this prompt are sent, unless `beside`."""

    async def __call__(self, request: Json, prompt: str, *, beside: bool) -> str | None: ...


SaveStatuses = Callable[[Sequence[Call]], Awaitable[None]]
"""Writes the final statuses of refusals."""


class Refusals:
    """The refusals of one run since its endpoint last answered.

    A refusal arrives as `unsettled`: it is stored but does not count as an attempt. An answer to a request that was
    sent after it settles it as `declined`. After many in a row, and at the end of the run, `repeat` decides. If that
    request is answered, the refusals concern their own rows. If it is refused too, they stay unsettled and the run
    ends, so that no row is lost to a cause outside it. If its outcome is unknown, they stay unsettled and the next run
    asks again. If nothing has been answered at all, eight with the same text also end the run. With `keep_asking`,
    every refusal concerns its own row.

    While `repeat` decides, other requests wait only for refusals of a kind that has not concerned single rows before:
    a filter refuses at once what takes long to answer, so many in a row are usual.
    """

    def __init__(self, repeat: RepeatRequest, save: SaveStatuses, *, keep_asking: bool = False) -> None:
        self.status: CallStatus = "declined" if keep_asking else "unsettled"  # of a new refusal
        self._repeat, self._save, self._keep_asking, self._answered = repeat, save, keep_asking, False
        self._in_a_row: list[tuple[int, Sequence[Call]]] = []  # (time on `_clock`, ledger rows) of each
        self._clock, self._decide_at, self._asking = 0, _SAME_TEXT, False
        self._of_rows: set[str] = set()  # texts of refusals that answers followed
        self._error: TeacherError | None = None

    def sent(self) -> int:
        """Return the logical time at which a request is sent."""
        self._clock += 1
        return self._clock

    async def record_refusal(self, calls: Sequence[Call], url: str) -> None:
        """Record one more refused question. Raises TeacherError if it and those before it concern every row."""
        if self._keep_asking:
            return
        self._in_a_row.append((self._clock, calls))
        count = len(self._in_a_row)
        is_due = (
            count >= self._decide_at and not self._asking and (count >= _ANY_TEXT or len(self._texts(_SAME_TEXT)) == 1)
        )
        if self._error is not None or is_due:
            await self.decide(url)

    async def decide(self, url: str) -> None:
        """Decide the refusals that no answer has settled. Raises TeacherError if they concern every row."""
        if self._error is None and self._in_a_row:
            sent, self._asking = self.sent(), True
            try:
                last = self._in_a_row[-1][1][0]
                is_usual = not self._of_rows.isdisjoint(self._texts(_SAME_TEXT))
                text = await self._repeat(last.request, last.prompt, beside=is_usual)
            finally:
                self._asking = False
            self._decide_at *= 2
            if text == "":
                await self._settle(sent)
            elif self._in_a_row:
                self._error = self._error_for_all(text, url)
        if self._error is not None:
            await self._change(self._in_a_row, "unsettled")
            raise self._error

    def _error_for_all(self, text: str | None, url: str) -> TeacherError | None:
        """The error that ends the run; None if that cannot be decided, and the next run asks these rows again."""
        known = text is not None and (self._answered or _normalized(text) in self._texts())
        if not known and (self._answered or len(self._in_a_row) < _SAME_TEXT):
            return None
        last, count = self._in_a_row[-1][1][0], len(self._in_a_row)
        many = f"{count} requests in a row were" if count > 1 else "A request was"
        return TeacherError(
            f"{many} refused: {last.reason.removeprefix('refused: ').rstrip('.')}.",
            where=url,
            why=("A question that had been answered before was refused as well when repeated. " if known else "")
            + "The cause concerns every row, so no row is given up.",
            fix="Fix the cause, then run the same command again; `pairsmith doctor --ask` sends one request.",
        )

    async def answered(self, sent: int) -> None:
        """Record an answer to a request that was sent at `sent`: earlier refusals concern their own rows. Refusals
        after it was sent may still be the first of many."""
        self._answered, self._decide_at = True, _SAME_TEXT
        if self._in_a_row and self._error is None:
            await self._settle(sent)

    async def _settle(self, sent: int) -> None:
        before = [row for row in self._in_a_row if row[0] < sent]
        self._in_a_row = self._in_a_row[len(before) :]
        if len(self._of_rows) < _KINDS:
            self._of_rows |= {_normalized(row[0].reason) for _, row in before[:_KINDS]}
        await self._change(before, "declined")

    def _texts(self, last: int = 0) -> set[str]:
        return {_normalized(row[0].reason) for _, row in self._in_a_row[-last:]}

    async def _change(self, rows: Sequence[tuple[int, Sequence[Call]]], status: CallStatus) -> None:
        """Set the status of the refusals and, if that is `unsettled`, of the answers without choices."""
        before = "malformed" if status == "unsettled" else "unsettled"
        changed = [call for _, row in rows for call in row if call.status == before]
        await self._save([call.model_copy(update={"status": status}) for call in changed])


def repeated_requests(
    store: Store, request: Json, model: str, identity: str, prompt: str, *, only_this_prompt: bool = False
) -> Iterator[tuple[Json, Call]]:
    """Two requests that repeat questions which this teacher answered before, each with that answer, with the settings
    of `request`, which may be the cause. Two, because one may be moderated by now, and would then stop every later run.
    They have this prompt if any of it was answered; otherwise any prompt, unless `only_this_prompt`."""
    settings = {name: value for name, value in request.items() if name != "n"} | {"model": model}
    for before in islice(latest_answers(store, identity, prompt), 2):
        if only_this_prompt and before.prompt != prompt:
            return
        yield settings | {"messages": before.request["messages"]}, before


def _normalized(text: str) -> str:
    """A refusal's text without the parts that may differ between requests."""
    return _VARIABLE.sub("_", text.partition(NO_COMPLETION)[0])
