"""Whose matter a refusal is: a row's own (too long, moderated), or everybody's (a wrong setting, an empty account).

No status and no sentence tells for sure, but the company does: what is refused among answers is the row's own. Where no
answer follows, one request tells: what was answered before is asked once more, in the settings of what was refused.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice

from schemas.errors import TeacherError
from schemas.records import Call, CallStatus, Json
from schemas.store import Store
from schemas.store.latest import latest_answers
from synth.answers import NO_COMPLETION

# So many questions in a row, refused in the same words, or in whichever words, raise the doubt.
_SAME, _ANY = 8, 20
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|[\w.:/-]*\d[\w.:/-]*")  # what is quoted, numbers, ids

Again = Callable[[Call], Awaitable[str | None]]
"""Asks what was answered before once more, as this refused one was asked: the words that it is turned down with, empty
if it is answered, None if nothing was answered before, or nobody knows."""
Keep = Callable[[Sequence[Call]], Awaitable[None]]
"""Writes what refusals turn out to be."""


class Refusals:
    """The refusals of one run since its endpoint last answered.

    A refusal is `unsettled` when it comes: kept, but no attempt of its row. An answer to a request that was sent after
    it settles it (`declined`). After many in a row, and at the end of the run, `again` tells: if that is answered they
    are their rows' own matter, else they stay unsettled and the run ends, so that no row is lost to a cause that it has
    no part in. Nothing answered so far, eight in the same words end it as well. `keep_asking`: they are all rows' own.
    """

    def __init__(self, again: Again, keep: Keep, *, keep_asking: bool = False) -> None:
        self.status: CallStatus = "declined" if keep_asking else "unsettled"  # of a refusal that comes
        self._again, self._keep, self._keep_asking, self._answered = again, keep, keep_asking, False
        self._in_a_row: list[tuple[int, Sequence[Call]]] = []  # when each came, and its rows
        self._clock, self._doubt_at, self._asking = 0, _SAME, False
        self._error: TeacherError | None = None

    def sent(self) -> int:
        """Note that a request is about to be sent: when that is."""
        self._clock += 1
        return self._clock

    async def came(self, calls: Sequence[Call], url: str) -> None:
        """One more question was refused. Raises TeacherError if that, with those before it, is everybody's matter."""
        if self._keep_asking:
            return
        self._in_a_row.append((self._clock, calls))
        count = len(self._in_a_row)
        doubtful = count >= self._doubt_at and not self._asking and (count >= _ANY or len(self._words(_SAME)) == 1)
        if self._error is not None or doubtful:
            await self.decide(url)

    async def decide(self, url: str) -> None:
        """Tell whose matter the refusals are that no answer has settled. Raises TeacherError if it is everybody's."""
        if self._error is None and self._in_a_row:
            sent, self._asking = self.sent(), True
            try:
                words = await self._again(self._in_a_row[-1][1][0])
            finally:
                self._asking = False
            self._doubt_at *= 2
            if words == "":
                await self._settle(sent)
            elif self._in_a_row:
                self._error = self._everybodys(words, url)
        if self._error is not None:
            await self._change(self._in_a_row, "unsettled")
            raise self._error

    def _everybodys(self, words: str | None, url: str) -> TeacherError | None:
        """The error, unless nobody can tell: then the next run asks these again."""
        known = words is not None and (self._answered or _bare(words) in self._words())
        if not known and (self._answered or len(self._in_a_row) < _SAME):
            return None
        last, count = self._in_a_row[-1][1][0], len(self._in_a_row)
        many = f"{count} requests in a row were" if count > 1 else "A request was"
        return TeacherError(
            f"{many} turned down: {last.reason.rstrip('.')}.",
            where=url,
            why=("What had been answered before was turned down as well when it was asked once more. " if known else "")
            + "What turns all of them down concerns no single row, so none of them is given up.",
            fix="Mend what it says, then run the same command again; `pairsmith doctor --ask` tries one request.",
        )

    async def answered(self, sent: int) -> None:
        """A request that was sent then was answered: what was refused before is its rows' own matter. Those refused
        after it was sent may yet turn out to be the beginning of the end."""
        self._answered, self._doubt_at = True, _SAME
        if self._in_a_row and self._error is None:
            await self._settle(sent)

    async def _settle(self, sent: int) -> None:
        before = [row for row in self._in_a_row if row[0] < sent]
        self._in_a_row = self._in_a_row[len(before) :]
        await self._change(before, "declined")

    def _words(self, last: int = 0) -> set[str]:
        return {_bare(row[0].reason) for _, row in self._in_a_row[-last:]}

    async def _change(self, rows: Sequence[tuple[int, Sequence[Call]]], status: CallStatus) -> None:
        """Give the refusals, and where they are to be unsettled the answers without a choice, this status."""
        before = "malformed" if status == "unsettled" else "unsettled"
        those = [call for _, row in rows for call in row if call.status == before]
        await self._keep([call.model_copy(update={"status": status}) for call in those])


def once_more(store: Store, refused: Call, model: str) -> Iterator[tuple[Json, Call]]:
    """Two requests for what was answered before, each with that answer, in the settings of what was refused: those may
    be what is turned down. Two, because one of them may be moderated by now, and would stop every later run."""
    settings = {name: value for name, value in refused.request.items() if name != "n"} | {"model": model}
    for before in islice(latest_answers(store, refused.teacher, refused.prompt), 2):
        yield settings | {"messages": before.request["messages"]}, before


def _bare(words: str) -> str:
    """A refusal without what may differ from one request to the next."""
    return _VARIABLE.sub("_", words.partition(NO_COMPLETION)[0])
