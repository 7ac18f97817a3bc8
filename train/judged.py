"""Asks judges about the answers of an evaluation: the first sampled answer of every system to every test input.

One answer is enough: what makes an interval narrow is inputs, and each costs a checklist a system and two comparisons
a system but one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from curate.judge import Judge, of_one_family, open_judge
from schemas.blocking import together
from schemas.money import Cost
from schemas.progress import Progress, Say
from schemas.project import Project
from schemas.records import Reason
from schemas.spec import Spec, TeacherSettings
from schemas.store import Store
from train.judgements import Checklist, JudgedEvaluation, PairwiseChoice, checklist_result, first_wins, win_rates
from train.metrics import Output
from train.systems import EvaluationPlan

OpenJudge = Callable[[AsyncExitStack], Awaitable[Judge | None]]


class Spent:
    """What was sent to the judges of one evaluation."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.costs: list[Cost] = judge.costs if judge else []
        self.sent, self.reused = (judge.sent, judge.reused) if judge else (0, 0)


def judges_of(project: Project, store: Store, say: Say) -> OpenJudge:
    """Opens the judges that a spec names for its evaluation."""

    async def opener(opened: AsyncExitStack) -> Judge | None:
        return await open_judge(project, store, project.spec.evaluate.judges, opened, say)

    return opener


def warnings(spec: Spec) -> list[str]:
    """What should be known of the judges of an evaluation: the family they share with who is judged, and whether they
    chose the training rows, too."""
    names, base = spec.evaluate.judges, TeacherSettings(model=spec.train.base)
    judged = [*([spec.teacher_for("evaluate")] if spec.asks_teacher else []), base]
    chose = [name for name in dict.fromkeys(names) if name in spec.curate.judge.teachers]
    return [
        *of_one_family(spec, names, judged),
        *(f"the judge {name} judged the training rows, too: tuned was chosen by its taste" for name in chose),
    ]


async def judged(
    plan: EvaluationPlan, outputs: Sequence[Output], open_judge: OpenJudge | None, progress: Progress
) -> tuple[JudgedEvaluation | None, Spent]:
    """What the judges say of the answers, and what that cost; None where the spec names no judge."""
    async with AsyncExitStack() as opened:
        judge = None if open_judge is None else await open_judge(opened)
        if judge is None:
            return None, Spent()
        return await _Judging(plan, outputs, judge, progress).all(), Spent(judge)


class _Judging:
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
        # A system whose answers were all cut or empty is not measured: no checklist, and nobody to win against.
        self._measured = {output.system for output in self._first.values() if output.whole}
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
        self._tell()
        if isinstance(answers, Reason):
            return Checklist(**place, answers={}, reason=str(answers))
        return Checklist(**place, answers=answers)

    async def _choice(self, against: str, tuned: Output, other: Output) -> PairwiseChoice:
        choice = PairwiseChoice(against=against, seed_id=tuned.seed_id, wins=(), longer=tuned.words - other.words)
        if not {tuned.system, other.system} <= self._measured:
            self._tell()
            return choice.model_copy(update={"reason": "one of the two gave no whole answer", "asked": False})
        if not tuned.whole or not other.whole or tuned.text == other.text:
            self._tell()
            wins = (True, False) if tuned.whole == other.whole else (tuned.whole, tuned.whole)
            return choice.model_copy(update={"wins": (wins,) * len(self._judge.ledgers), "asked": False})
        asked, system = self._asked[tuned.seed_id], self._system[tuned.seed_id]
        preferences = await self._judge.preferences(asked, tuned.text, other.text, system)
        self._tell()
        if isinstance(preferences, Reason):
            return choice.model_copy(update={"reason": str(preferences)})
        return choice.model_copy(update={"wins": tuple((p.as_first, p.as_second) for p in preferences)})

    def _tell(self) -> None:
        self._done += 1
        self._progress("judge", {"done": self._done, "total": self._total})
