"""Have judges compare the answers of an evaluation: the first sampled answer of every system to every test input.

One answer per input is enough, because the number of inputs determines the width of an interval. Each input costs one
checklist per system, and two comparisons per system other than the tuned one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from curate.scorers.judge import Judge, same_family_warnings
from schemas.blocking import together
from schemas.money import total
from schemas.progress import Progress
from schemas.records import Reason
from schemas.spec import Spec, TeacherSettings
from train.evaluation.comparison import is_measured
from train.evaluation.judgements import (
    Checklist,
    JudgedEvaluation,
    PairwiseChoice,
    checklist_result,
    first_wins,
    win_rates,
)
from train.evaluation.metrics import Evaluation, Output
from train.evaluation.systems import EvaluationPlan

OpenJudge = Callable[[AsyncExitStack], Awaitable[Judge | None]]
"""Opens the judges that the spec names for its evaluation until the stack is closed; None if it names none."""


def warnings(spec: Spec) -> list[str]:
    """Cautions about the judges of an evaluation: which share a model family with a system they judge, and which also
    chose the training rows."""
    names, base = spec.evaluate.judges, TeacherSettings(model=spec.train.base)
    judged = [*([spec.teacher_for("evaluate")] if spec.measures_teacher else []), base]
    chose = [name for name in dict.fromkeys(names) if name in spec.curate.judge.teachers]
    return [
        *same_family_warnings(spec, names, judged),
        *(f"the judge {name} also chose the training rows, so it may favour the tuned model" for name in chose),
    ]


async def judged(
    plan: EvaluationPlan, outputs: Sequence[Output], open_judge: OpenJudge | None, progress: Progress
) -> tuple[JudgedEvaluation, Judge] | tuple[None, None]:
    """The judges' results for the answers, and the judges, which know what these cost; None if the spec names none."""
    async with AsyncExitStack() as stack:
        judge = None if open_judge is None else await open_judge(stack)
        return (None, None) if judge is None else (await _JudgingRun(plan, outputs, judge, progress).all(), judge)


async def judged_again(
    plan: EvaluationPlan, answered: Evaluation, open_judge: OpenJudge | None, progress: Progress
) -> Evaluation:
    """The evaluation of `plan`, which differs in its judges only from `answered`: its systems are not asked again, and
    their models not started."""
    started = time.monotonic()
    judgements, judge = await judged(plan, answered.outputs, open_judge, progress)
    costs = tuple(judge.costs) if judge else ()
    reused, spent = len(answered.outputs) + (judge.reused if judge else 0), total(costs)
    of_run = {"calls_sent": judge.sent if judge else 0, "calls_reused": reused, "usage": spent.usage}
    of_run |= {"usd": spent.total, "costs": costs, "seconds": time.monotonic() - started}
    return answered.model_copy(update={"id": plan.id, "judged": judgements, **of_run})


class _JudgingRun:
    def __init__(self, plan: EvaluationPlan, outputs: Sequence[Output], judge: Judge, progress: Progress) -> None:
        self._plan, self._judge, self._progress = plan, judge, progress
        self._asked = {seed.id: seed.asked for seed in plan.seeds}
        self._system = {seed.id: seed.system for seed in plan.seeds}
        self._first = {
            (output.system, output.seed_id): output
            for output in outputs
            if (output.mode, output.sample) == ("sampled", 0) and output.answered
        }
        self._done = 0

    async def all(self) -> JudgedEvaluation:
        names = [system.name for system in self._plan.systems]
        *others, tuned = names
        # A system that is not measured gets no checklist and no comparison.
        first = {name: [one for one in self._first.values() if one.system == name] for name in names}
        self._measured = {name for name, outputs in first.items() if is_measured(outputs)}
        pairs = [
            (other, self._first[tuned, id_], self._first[other, id_])
            for other in others
            for id_ in self._asked
            if (tuned, id_) in self._first and (other, id_) in self._first
        ]
        self._total = len(self._first) + len(pairs)
        answers = await together(self._checklist(output) for output in self._first.values())
        choices = await together(self._choice(*pair) for pair in pairs)
        judge, groups = self._judge, self._plan.groups
        return JudgedEvaluation(
            judges=tuple(ledger.identity for ledger in judge.ledgers),
            questions={question.name: question.question for question in judge.questions},
            warnings=tuple(warnings(self._plan.spec)),
            checklists=tuple(
                checklist_result(name, [a for a in answers if a.system == name and name in self._measured], groups)
                for name in names
            ),
            win_rates=win_rates(choices, groups),
            first=first_wins(choices, groups),
            answers=tuple(answers),
            choices=tuple(choices),
        )

    async def _checklist(self, output: Output) -> Checklist:
        place = {"system": output.system, "seed_id": output.seed_id}
        if not output.whole:
            answers: dict[str, float] | Reason = {question.name: 0.0 for question in self._judge.questions}
        else:
            answers = await self._judge.answers(self._asked[output.seed_id], output.text, self._system[output.seed_id])
        self._report_progress()
        if isinstance(answers, Reason):
            return Checklist(**place, answers={}, reason=str(answers))
        return Checklist(**place, answers=answers)

    async def _choice(self, against: str, tuned: Output, other: Output) -> PairwiseChoice:
        choice = PairwiseChoice(against=against, seed_id=tuned.seed_id, wins=(), longer=tuned.words - other.words)
        if not {tuned.system, other.system} <= self._measured:
            self._report_progress()
            return choice.model_copy(update={"reason": "one of the two systems was not measured", "asked": False})
        if not tuned.whole or not other.whole or tuned.text == other.text:
            self._report_progress()
            wins = (True, False) if tuned.whole == other.whole else (tuned.whole, tuned.whole)
            reason = "" if tuned.whole and other.whole else "an answer is not complete"
            wins_of_judges = (wins,) * len(self._judge.ledgers)
            return choice.model_copy(update={"wins": wins_of_judges, "asked": False, "reason": reason})
        input_text, system = self._asked[tuned.seed_id], self._system[tuned.seed_id]
        preferences = await self._judge.preferences(input_text, tuned.text, other.text, system)
        self._report_progress()
        if isinstance(preferences, Reason):
            return choice.model_copy(update={"reason": str(preferences)})
        return choice.model_copy(update={"wins": tuple((p.as_first, p.as_second) for p in preferences)})

    def _report_progress(self) -> None:
        self._done += 1
        self._progress("judge", {"done": self._done, "total": self._total})
