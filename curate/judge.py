"""One judge for scoring, evaluation and round trips: language models under `[teachers]` that answer a checklist of
yes-or-no questions about a row, or choose between two outputs, through the call ledger.

A checklist asks for less than a mark from 1 to 10 does, and so says more (Cook et al. 2024, arXiv:2410.03608; Lee et
al. 2025, arXiv:2403.18771). Several judges are averaged. Two outputs are shown in both orders, because judges prefer a
place (Zheng et al. 2023, arXiv:2306.05685). What nobody could read, and what nobody answered, is not scored.

Not covered: whether the judges agree with people; only labels can tell.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import prompts
from curate.checklists import checklist_schema, questions_of, read_checklist, told_against
from curate.rules import rules_of
from curate.scorers import Score
from prompts import Prompt
from schemas.blocking import together
from schemas.money import Cost
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Json, Messages, Pair, Reason, Sampling, content_id
from schemas.spec import JudgeQuestion, Spec, TeacherSettings
from schemas.store import Store
from synth import teachers
from synth.answers import clean
from synth.families import families
from synth.ledger import Completion, FailedSample, Ledger, Question

STAGE = "judge"
_LOGPROBS = {"logprobs": True, "top_logprobs": 5}
_CHOICE: Json = {
    "type": "object",
    "properties": {"better": {"type": "string", "enum": ["first", "second"]}},
    "required": ["better"],
    "additionalProperties": False,
}
_BETTER = re.compile(r"(?:\A|better\W{1,5})(first|second)(?!\w)", re.IGNORECASE)
# First words of a failure after which no answer was seen, so that the next run asks again.
_UNANSWERED = ("throttled", "server", "broken", "timeout", "unanswered")


class JudgePreference(NamedTuple):
    """What one judge chose between outputs a and b: whether a won where it stood first, and where it stood second."""

    as_first: bool
    as_second: bool


@dataclass
class Judge:
    """The judges of a project: a ledger each, what they ask, the rules that rows were written by, and the `system`
    prompt of rows that bring none.

    `unreadable` and `unanswered` count answers that nobody could read and that never came.
    """

    ledgers: tuple[Ledger, ...]
    questions: tuple[JudgeQuestion, ...]
    rules: str
    system: str
    sampling: Sampling
    checklist: Prompt
    comparison: Prompt
    unreadable: int = field(default=0, init=False)
    unanswered: int = field(default=0, init=False)

    @cached_property
    def fingerprint(self) -> str:
        """Names all that shapes a checklist's verdict."""
        judges = [(ledger.identity, ledger.revision) for ledger in self.ledgers]
        return _named_by(judges, self.questions, self.rules, self.sampling, self.checklist)

    @property
    def costs(self) -> list[Cost]:
        """What this run has sent to the judges."""
        return [cost for ledger in self.ledgers for cost in ledger.costs]

    @property
    def facts(self) -> Json:
        """For a receipt: who judges, what is asked, and what came of no use."""
        return {
            "judges": [ledger.identity for ledger in self.ledgers],
            "questions": [question.name for question in self.questions],
            "unreadable": self.unreadable,
            "unanswered": self.unanswered,
        }

    @property
    def sent(self) -> int:
        """HTTP requests of this run."""
        return sum(ledger.sent for ledger in self.ledgers)

    @property
    def reused(self) -> int:
        """Answers that the store had already."""
        return sum(ledger.reused for ledger in self.ledgers)

    async def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """A `Scorer`: the weighted share of yes, between 0 and 1. A "no" to a question that must be answered with yes
        rejects the row, or flags it."""
        return await together(self._scored(pair) for pair in pairs)

    async def _scored(self, pair: Pair) -> Score:
        answers = await self.answers(pair.asked, pair.output, pair.system)
        if isinstance(answers, Reason):
            return Score(None, answers)
        weight = sum(question.weight for question in self.questions)
        value = sum(question.weight * answers[question.name] for question in self.questions) / weight
        against = [question for question in self.questions if answers[question.name] < 0.5]
        reasons = told_against({question.name: answers[question.name] for question in against})
        if must := next((question for question in against if question.must is True), None):
            return Score(value, Reason(f"judge:{must.name}", reasons), rejects=True)
        flags = tuple(question.name for question in against if question.must == "flag")
        return Score(value, Reason("judged", reasons or "yes to every question"), flags)

    def _rules(self, system: str | None) -> str:
        """The rules of a row: those of the project, behind what a system prompt of its own says."""
        own = "" if system in (None, self.system) else system
        return "\n\n".join(filter(None, (own, self.rules)))

    async def answers(self, input: str, output: str, system: str | None = None) -> dict[str, float] | Reason:
        """Question -> P(yes), the mean over the judges; why there is none where one of them gave no answer."""
        messages = self.checklist.render(style=self._rules(system), input=input, output=output, checks=self.questions)
        names = [question.name for question in self.questions]
        sampling, schema = _with_logprobs(self.sampling), checklist_schema(self.questions)
        read = []
        for answer in await self._ask(messages, sampling, schema, self.checklist):
            if isinstance(answer, Reason):
                return answer
            p_of = read_checklist(clean(answer.text), answer.logprobs, names)
            if p_of is None:
                return self._unreadable(answer)
            read.append(p_of)
        return {name: sum(p_of[name] for p_of in read) / len(read) for name in names}

    async def preferences(
        self, input: str, a: str, b: str, system: str | None = None
    ) -> list[JudgePreference] | Reason:
        """What each judge chooses between two outputs, which are shown in both orders; why there is no choice where one
        of them gave none."""
        shown = {"style": self._rules(system), "input": input}
        orders = [self.comparison.render(**shown, first=one, second=other) for one, other in ((a, b), (b, a))]
        asked = [self._ask(messages, self.sampling, _CHOICE, self.comparison) for messages in orders]
        chosen: list[list[bool]] = []
        for answers in await together(asked):
            firsts = []
            for answer in answers:
                if isinstance(answer, Reason):
                    return answer
                words = {match.lower() for match in _BETTER.findall(clean(answer.text))}
                if len(words) != 1:
                    return self._unreadable(answer)
                firsts.append(words == {"first"})
            chosen.append(firsts)
        return [JudgePreference(first, not second) for first, second in zip(*chosen, strict=True)]

    async def _ask(
        self, messages: Messages, sampling: Sampling, schema: Json, prompt: Prompt
    ) -> list[Completion | Reason]:
        # Not binding: what does not keep to the schema can often be read, and asking the same again changes little.
        question = Question(messages, sampling, schema, binding=False, prompt=prompt.ref)
        answers = await together(ledger.answer(question) for ledger in self.ledgers)
        return [self._came(answer) for (answer,) in answers]

    def _came(self, answer: Completion | FailedSample) -> Completion | Reason:
        if isinstance(answer, Completion):
            return answer
        if answer.reason.startswith(_UNANSWERED):
            self.unanswered += 1
            return Reason("crashed", f"the judge did not answer: {answer.reason}")
        self.unreadable += 1
        return Reason("unreadable", f"the judge's answer is of no use: {answer.reason}")

    def _unreadable(self, answer: Completion) -> Reason:
        self.unreadable += 1
        return Reason("unreadable", f"the judge answered {' '.join(answer.text.split())[:200]!r}")


async def open_judge(
    project: Project, store: Store, names: Sequence[str], opened: AsyncExitStack, say: Say
) -> Judge | None:
    """The judges of these names under `[teachers]`, for as long as `opened` is; None without a name. Nobody is asked,
    and no key is read, before there is something to judge. Raises PromptError."""
    if not names:
        return None
    spec, ledgers = project.spec, []
    for name in dict.fromkeys(names):
        settings = await asyncio.to_thread(teachers.identified, spec.teachers[name], say)
        endpoint = await opened.enter_async_context(teachers.opened(settings, say))
        ledgers.append(Ledger(store, endpoint, settings, stage=STAGE))
        opened.push_async_exit(ledgers[-1].settle_refusals)
    return Judge(
        tuple(ledgers),
        questions_of(spec.task.kind, spec.curate.judge.questions),
        rules_of(project),
        spec.task.system,
        spec.curate.judge.sampling,
        prompts.load("judge", project.folder),
        prompts.load("compare", project.folder),
    )


def judging(project: Project, names: Sequence[str]) -> str:
    """Names all that shapes what the judges of these names would say; empty without a name. Raises PromptError."""
    if not names:
        return ""
    spec = project.spec
    judges = [(judge.identity or judge.model, judge.revision) for judge in map(spec.teachers.__getitem__, names)]
    questions = questions_of(spec.task.kind, spec.curate.judge.questions)
    asked = [prompts.load(name, project.folder) for name in ("judge", "compare")]
    return _named_by(judges, questions, rules_of(project), spec.curate.judge.sampling, *asked)


def _named_by(
    judges: Sequence[tuple[str, str | None]],
    questions: Sequence[JudgeQuestion],
    rules: str,
    sampling: Sampling,
    *asked: Prompt,
) -> str:
    listed = [[q.name, q.question, q.weight, q.must] for q in questions]
    return content_id("judge", [judges, listed, rules, sampling.body(), [prompt.ref for prompt in asked]])


def of_one_family(spec: Spec, names: Sequence[str], writers: Sequence[TeacherSettings]) -> list[str]:
    """A sentence for every judge of `names` that is of one family with somebody whose texts it judges."""
    sentences = []
    for name in dict.fromkeys(names):
        judge = spec.teachers[name]
        for writer in dict.fromkeys(_named(writer) for writer in writers):
            if shared := families(_named(judge)) & families(writer):
                sentences.append(
                    f"the judge {name} ({judge.model}) and {writer} are both of {' and '.join(sorted(shared))}: "
                    "a judge prefers what its own family writes"
                )
    return sentences


def _named(teacher: TeacherSettings) -> str:
    return teacher.model if teacher.identity in (None, teacher.model) else f"{teacher.identity} ({teacher.model})"


def _with_logprobs(sampling: Sampling) -> Sampling:
    """Log-probabilities are asked for unless the spec says something of them itself."""
    if "logprobs" in sampling.extra:
        return sampling
    return sampling.model_copy(update={"extra": {**sampling.extra, **_LOGPROBS}})
