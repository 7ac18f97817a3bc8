"""Judges the answers of one run, and ends the run if all further answers would be useless."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.errors import TeacherError
from schemas.identity import changed_copy
from schemas.records import Call, FinishMeaning, Json, content_id
from synth.answer_copies import COPY
from synth.answers import JudgedAnswer, Violation, finish_word, judge_or_malformed, schema_violation
from synth.chat.completions import one_line
from synth.endpoints.endpoint import Endpoint
from synth.meter import Meter
from synth.question import Question

# This many questions in a row whose answers are only thinking end a run, which would pay for useless answers. Fewer
# suffice at the beginning: if half of all answers are only thinking, 1 run in 256 has eight in a row, none has twenty.
_THINKING_FIRST, _THINKING_LATER = 8, 20
# This many answers in a row without a usable one end a run: with a max_tokens that is too low, or the wrong server,
# every row would use up its attempts. If one answer in seven is good, 1 run in 20 begins like this; if one in three is,
# none does. Half as many suffice where they cost money, before any good one, unless one was refused, as rows on one
# topic are: if every second answer is good, 1 run in 1,000 begins like this.
_UNUSABLE, _UNUSABLE_FIRST = 20, 10

_FIX = (
    "Fix the cause, then run the same command again, with --retry-failed if nothing that is sent has changed; "
    "`pairsmith rows --state failed` lists them."
)
_FIX_READABLE = (
    "Use a model that answers in the form it is asked for, or change its settings, then run the same command again. "
    "The answers are kept, so with the same model and settings they are not asked for again."
)

Repeat = Callable[[Json, str, Question], Awaitable[str | None]]
"""Repeats a question that was answered before, with the settings of this request of this prompt, and judges the answer
as one to this question. Returns why it is unusable, empty if it is good, None if that is unknown."""


@dataclass
class _Streak:
    """The answers to one prompt in this run: how many questions in a row had useless ones, and whether any had a good
    one. A good answer to another prompt says nothing about this one."""

    decide_at: int = _UNUSABLE
    thinking: int = 0
    unusable: int = 0
    answered: bool = False

    def record_good(self) -> None:
        self.answered, self.thinking, self.unusable = True, 0, 0
        self.decide_at = max(self.decide_at, _UNUSABLE)


class AnswerJudge:
    """Judges the answers of one run, and ends the run if all further answers to a prompt would be useless.

    If `meter` says that answers may cost money, few requests of a prompt are open until one of its answers is usable.

    If many answers in a row are unusable, the rows may be the cause: `repeat` decides, and not again until twice as
    many in a row are unusable. If it cannot, a run without a good answer ends. Without `repeat` no such answers end it.
    Those of a batch, which is paid for as a whole, do not count, not even if they are only thinking.
    """

    def __init__(
        self,
        declared: Mapping[str, FinishMeaning],
        endpoint: Endpoint,
        repeat: Repeat | None,
        meter: Meter | None,
        *,
        keep_asking: bool = False,
    ) -> None:
        self._declared, self._endpoint = declared, endpoint
        self._violations: dict[str, Violation] = {}
        self._repeat, self._keep_asking = repeat, keep_asking
        self._meter = None if keep_asking else meter
        self._streaks = defaultdict[str, _Streak](_Streak)

    def begin(self, prompt: str) -> None:
        """A question of this prompt is about to be asked."""
        if self._meter is None or prompt in self._streaks:
            return
        may_charge = self._meter.may_charge
        self._streaks[prompt] = _Streak(_UNUSABLE_FIRST if may_charge else _UNUSABLE)
        if may_charge:
            self._endpoint.flow.first.wait_for(prompt)

    def judged(self, call: Call, question: Question) -> Call:
        """The row with its current judgement."""
        violation, schema = None, question.judged_by
        if schema is not None:
            violation = self._violations.setdefault(content_id("schema", schema), schema_violation(schema))
        if violation is not None and question.refused is not None:
            violation = _first_violation(violation, question.refused)
        alone = call.request.get("n", 1) == 1 or call.facts.get("choices") == 1
        tokens = call.usage.completion_tokens if alone else 0
        verdict = judge_or_malformed(call.raw, violation, self._declared, call.request, tokens)
        return changed_copy(call, {"status": verdict.status, "text": verdict.text, "reason": verdict.reason})

    def received(self, call: Call, question: Question) -> Call:
        """The row of an answer to a row of this run, judged."""
        call = self.judged(call, question)
        if self.is_usable(call, question):
            self._endpoint.flow.first.usable(question.prompt)
        return call

    def is_usable(self, answer: Call | JudgedAnswer, question: Question) -> bool:
        """Whether an answer is good, and the caller can use it."""
        return answer.status == "ok" and (question.readable is None or bool(question.readable(answer.text)))

    def are_good(self, calls: Sequence[Call], question: Question) -> bool:
        """Whether all answers to a question can be used, as they nearly always can; if so, records that."""
        for call in calls:
            if not self.is_usable(call, question):
                return False
        self._streaks[calls[0].prompt].record_good()
        return True

    async def stop_if_useless(self, calls: Sequence[Call], question: Question) -> None:
        """Raise TeacherError if these answers to one question, with those before them, show that all further ones would
        be useless."""
        if self.are_good(calls, question):
            return
        self.stop_if_unknown(calls)
        if not any(call.transport == "batch" for call in calls):
            self._stop_if_thinking(calls)
            await self._stop_if_unusable(calls, question)

    def stop_if_unknown(self, calls: Sequence[Call]) -> None:
        """Raise TeacherError for an answer with an unknown finish reason."""
        if (call := next((call for call in calls if call.status == "unknown_finish"), None)) is None:
            return
        word = finish_word(call.raw)
        raise TeacherError(
            f"An answer ended with finish_reason '{word}', which pairsmith does not know.",
            where=self._endpoint.url,
            why="The answer may have been cut off or refused, so it is kept but not used, and not bought again.",
            fix=f'If it means a complete answer, add teacher.finish_reasons = ["{word}"] to the spec; if not, '
            f'teacher.finish_reasons = {{ "{word}" = "truncated" }} (or "refused", "failed").',
        )

    def _stop_if_thinking(self, calls: Sequence[Call]) -> None:
        """Raise once the answers to several questions in a row are only thinking; `calls` answer one of them."""
        written = [call for call in calls if call.status != "refused"]
        if not written or self._keep_asking:
            return
        streak = self._streaks[calls[0].prompt]
        if any(call.status != "thinking" for call in written):
            streak.thinking = 0
            return
        streak.thinking += 1
        if streak.thinking >= (_THINKING_LATER if streak.answered else _THINKING_FIRST):
            raise TeacherError(
                f"The answers to {streak.thinking} questions in a row contain no text ({written[-1].reason}).",
                where=self._endpoint.url,
                why="Every further answer would cost money and be useless.",
            )

    async def _stop_if_unusable(self, calls: Sequence[Call], question: Question) -> None:
        """Raise once many answers in a row are unusable, and a repeated question gets no usable answer either."""
        streak = self._streaks[calls[0].prompt]
        if any(self.is_usable(call, question) for call in calls):
            streak.record_good()
            return
        if self._repeat is None or any(call.status == "unsettled" for call in calls):
            return
        if any(call.status == "refused" for call in calls):
            streak.decide_at = max(streak.decide_at, _UNUSABLE)
        streak.unusable += 1
        count, last = streak.unusable, calls[-1]
        if count < streak.decide_at:
            return
        streak.decide_at *= 2
        text = None
        if COPY not in last.reason:  # a cache would answer a question that was answered before
            text = await self._repeat(last.request, last.prompt, question)
        is_unclear = text is None and streak.answered and COPY not in last.reason
        if text == "" or is_unclear or streak.unusable < count:
            return
        what, why = f"None of the {'last' if streak.answered else 'first'} {count} answers can be used", ""
        if text is not None:
            what = f"The last {count} answers cannot be used"
            why = "A question that had a good answer before was repeated, and the answer cannot be used either. "
        raise TeacherError(
            f"{what}; the last: {last.reason.rstrip('.') or repr(one_line(last.text, 200))}.",
            where=self._endpoint.url,
            why=f"{why}Every further answer would cost money and be useless.",
            fix=_FIX if question.readable is None else _FIX_READABLE,
        )


def _first_violation(first: Violation, second: Violation) -> Violation:
    return lambda text: first(text) or second(text)
