"""Whose matter a refusal is: a row's own (too long, moderated), or everybody's (a wrong setting, an empty account).

No status and no sentence tells for sure, but the company does: what is refused among answers is the row's own, and what
is refused without an end is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.errors import TeacherError
from schemas.records import Call, CallStatus
from synth.answers import NO_COMPLETION

# So many questions in a row, refused in the same words, end a run: before anything was answered, and after.
_FIRST, _LATER = 8, 20
_VARIABLE = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")


class Refusals:
    """The refusals of one run since its endpoint last answered.

    Until the first answer a refusal is `unsettled`: kept, but no attempt of its row. Any answer settles it
    (`declined`), and too many in a row, with no answer to a request that was sent after the first of them, unsettle
    them all: no row is lost to a cause that it has no part in.
    """

    def __init__(self, *, keep_asking: bool = False) -> None:
        self._keep_asking, self._answered = keep_asking, keep_asking
        self._in_a_row: list[tuple[int, Sequence[Call]]] = []  # when each came, and its rows
        self._clock = 0
        self._error: TeacherError | None = None

    @property
    def status(self) -> CallStatus:
        """The status of a refusal that comes now."""
        return "declined" if self._answered and self._error is None else "unsettled"

    def sent(self) -> int:
        """Note that a request is about to be sent: when that is."""
        self._clock += 1
        return self._clock

    def came(self, calls: Sequence[Call], url: str) -> tuple[list[Call], TeacherError | None]:
        """One more question was refused. Too many in a row: their rows, unsettled, and the error that ends the run."""
        self._in_a_row = [*self._in_a_row[1 - _LATER :], (self._clock, calls)]
        if self._error is None and not self._keep_asking and self._is_everybodys():
            self._error = TeacherError(
                f"{len(self._in_a_row)} requests in a row were turned down: {calls[0].reason.rstrip('.')}.",
                where=url,
                why="What turns all of them down concerns no single row, so none of them is given up.",
                fix="Mend what it says, then run the same command again; `pairsmith doctor --ask` tries one request.",
            )
        return (self._changed("unsettled") if self._error else []), self._error

    def _is_everybodys(self) -> bool:
        words = [_VARIABLE.sub("_", row[0].reason.partition(NO_COMPLETION)[0]) for _, row in self._in_a_row]
        most = _LATER if self._answered else _FIRST
        same = len(words) >= most and len(set(words[-most:])) == 1
        return same or (not self._answered and len(words) == _LATER)

    def answered(self, sent: int) -> list[Call]:
        """A request that was sent then was answered: what was refused is its rows' own matter. The rows that this
        settles. Those refused after it was sent may yet turn out to be the beginning of the end."""
        self._answered = True
        if self._error is not None or not self._in_a_row:
            return []
        settled = self._changed("declined")
        self._in_a_row = [(came, row) for came, row in self._in_a_row if came >= sent]
        return settled

    def _changed(self, status: CallStatus) -> list[Call]:
        """Give the refusals in a row this status. Those that had another."""
        before = ("declined", "malformed") if status == "unsettled" else ("unsettled",)
        changed: list[Call] = []
        for number, (came, row) in enumerate(self._in_a_row):
            now = [call.model_copy(update={"status": status}) if call.status in before else call for call in row]
            changed += [call for call, old in zip(now, row, strict=True) if call is not old]
            self._in_a_row[number] = came, now
        return changed
