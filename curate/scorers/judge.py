"""The judge for scoring, evaluation and round trips: language models under `[teachers]` that answer a checklist of
yes-or-no questions about a row, or choose between two outputs. Requests go through the call ledger.

A checklist gives more reliable results than a mark from 1 to 10, because each question asks for less (Cook et al. 2024,
arXiv:2410.03608; Lee et al. 2025, arXiv:2403.18771). Several judges are averaged. Two outputs are compared in both
orders, because judges have a position bias (Zheng et al. 2023, arXiv:2306.05685). An answer that is unreadable or
missing gives no score.

Not covered: whether the judges agree with people; only labels can show that.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import prompts
from curate.scorers import Score
from curate.scorers.checklists import checklist_schema, describe_no_answers, questions_of, read_checklist
from curate.scorers.rules import rules_of
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
# At the start only as a sentence of its own: "First, both keep the light" chooses nothing, nor does "It is better first
# to keep the light".
_BETTER = re.compile(
    r"(?:\A(?=\w+(?:\W*\Z|\W*\n|[.!]\s| is better))|better(?!\s*[\w.,;!?])\W{1,5})(first|second)(?!\w)",
    re.IGNORECASE,
)
# First words of failures without any answer. Such a row counts as crashed, so the next run asks again.
_UNANSWERED = ("throttled", "server", "broken", "timeout", "unanswered")


def _has_checklist(text: str, names: Sequence[str]) -> bool:
    return read_checklist(clean(text), None, names) is not None


def _choice(text: str) -> str:
    """The output that an answer chooses, `first` or `second`; empty if none, or both."""
    choices = {match.lower() for match in _BETTER.findall(clean(text))}
    return choices.pop() if len(choices) == 1 else ""


class JudgePreference(NamedTuple):
    """One judge's choice between outputs a and b: whether a won when shown first, and when shown second."""

    as_first: bool
    as_second: bool


@dataclass
class Judge:
    """The judges of a project: a ledger for each, their questions, the rules for outputs, and the default `system`
    prompt.

    `unreadable` and `unanswered` count the answers that could not be parsed and those that never came.
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
        """Hash of everything that shapes a checklist's verdict."""
        judges = [(ledger.identity, ledger.revision) for ledger in self.ledgers]
        return _fingerprint_of(judges, self.questions, self.rules, self.sampling, self.checklist)

    @property
    def costs(self) -> list[Cost]:
        """The costs of the requests sent to the judges in this run."""
        return [cost for ledger in self.ledgers for cost in ledger.costs]

    @property
    def facts(self) -> Json:
        """For a receipt: the judges, their questions, and the number of unusable answers."""
        return {
            "judges": [ledger.identity for ledger in self.ledgers],
            "questions": [question.name for question in self.questions],
            "unreadable": self.unreadable,
            "unanswered": self.unanswered,
        }

    @property
    def sent(self) -> int:
        """The number of HTTP requests of this run."""
        return sum(ledger.sent for ledger in self.ledgers)

    @property
    def reused(self) -> int:
        """The number of answers taken from the store."""
        return sum(ledger.reused for ledger in self.ledgers)

    async def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """A `Scorer`: the weighted share of yes, between 0 and 1. A "no" to a question that must be answered with yes
        rejects or flags the row."""
        return await together(self._scored(pair) for pair in pairs)

    async def _scored(self, pair: Pair) -> Score:
        answers = await self.answers(pair.asked, pair.output, pair.system)
        if isinstance(answers, Reason):
            return Score(None, answers)
        weight = sum(question.weight for question in self.questions)
        value = sum(question.weight * answers[question.name] for question in self.questions) / weight
        against = [question for question in self.questions if answers[question.name] < 0.5]
        reasons = describe_no_answers({question.name: answers[question.name] for question in against})
        if must := next((question for question in against if question.must is True), None):
            return Score(value, Reason(f"judge:{must.name}", reasons), rejects=True)
        flags = tuple(question.name for question in against if question.must == "flag")
        return Score(value, Reason("judged", reasons or "yes to every question"), flags)

    def _rules(self, system: str | None) -> str:
        """The rules for a row: its own system prompt, if any, followed by those of the project."""
        instructions = "" if system in (None, self.system) else system
        return "\n\n".join(filter(None, (instructions, self.rules)))

    async def answers(self, input: str, output: str, system: str | None = None) -> dict[str, float] | Reason:
        """Map question to P(yes), averaged over the judges; the reason if one of them gave no usable answer."""
        messages = self.checklist.render(style=self._rules(system), input=input, output=output, checks=self.questions)
        names = [question.name for question in self.questions]
        sampling, schema = _with_logprobs(self.sampling), checklist_schema(self.questions)
        read, readable = [], partial(_has_checklist, names=names)
        for answer in await self._ask(messages, sampling, schema, self.checklist, readable):
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
        """Each judge's choice between two outputs, shown in both orders; the reason if one of them gave no usable
        answer."""
        shown = {"style": self._rules(system), "input": input}
        orders = [self.comparison.render(**shown, first=one, second=other) for one, other in ((a, b), (b, a))]
        requests = [self._ask(messages, self.sampling, _CHOICE, self.comparison, _choice) for messages in orders]
        chosen: list[list[bool]] = []
        for answers in await together(requests):
            firsts = []
            for answer in answers:
                if isinstance(answer, Reason):
                    return answer
                if not (choice := _choice(answer.text)):
                    return self._unreadable(answer)
                firsts.append(choice == "first")
            chosen.append(firsts)
        return [JudgePreference(first, not second) for first, second in zip(*chosen, strict=True)]

    async def _ask(
        self,
        messages: Messages,
        sampling: Sampling,
        schema: Json,
        prompt: Prompt,
        readable: Callable[[str], object],
    ) -> list[Completion | Reason]:
        # Not binding: an answer that breaks the schema can often be parsed, and a retry would change little.
        question = Question(messages, sampling, schema, binding=False, prompt=prompt.ref, readable=readable)
        answers = await together(ledger.answer(question) for ledger in self.ledgers)
        return [self._completion_or_reason(answer) for (answer,) in answers]

    def _completion_or_reason(self, answer: Completion | FailedSample) -> Completion | Reason:
        if isinstance(answer, Completion):
            return answer
        if answer.reason.startswith(_UNANSWERED):
            self.unanswered += 1
            return Reason("crashed", f"the judge did not answer: {answer.reason}")
        self.unreadable += 1
        return Reason("unreadable", f"the judge's answer is unusable: {answer.reason}")

    def _unreadable(self, answer: Completion) -> Reason:
        self.unreadable += 1
        return Reason("unreadable", f"the judge answered {' '.join(answer.text.split())[:200]!r}")


async def open_judge(
    project: Project, store: Store, names: Sequence[str], stack: AsyncExitStack, say: Say, stage: str = STAGE
) -> Judge | None:
    """Open the judges of these names under `[teachers]` until `stack` is closed; None without names. What they cost is
    recorded under `stage`.

    No request is sent and no key is read before there is a row to judge. Raises PromptError.
    """
    if not names:
        return None
    spec, ledgers = project.spec, []
    for name in dict.fromkeys(names):
        settings = await asyncio.to_thread(teachers.identified, spec.teachers[name], say)
        endpoint = await stack.enter_async_context(teachers.opened(settings, say))
        ledgers.append(Ledger(store, endpoint, settings, stage=stage))
        stack.push_async_exit(ledgers[-1].settle_refusals)
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
    """Hash of everything that shapes the answers of the judges of these names; empty without names. Raises
    PromptError."""
    if not names:
        return ""
    spec = project.spec
    judges = [(judge.known_as, judge.revision) for judge in map(spec.teachers.__getitem__, names)]
    questions = questions_of(spec.task.kind, spec.curate.judge.questions)
    templates = [prompts.load(name, project.folder) for name in ("judge", "compare")]
    return _fingerprint_of(judges, questions, rules_of(project), spec.curate.judge.sampling, *templates)


def _fingerprint_of(
    judges: Sequence[tuple[str, str | None]],
    questions: Sequence[JudgeQuestion],
    rules: str,
    sampling: Sampling,
    *asked: Prompt,
) -> str:
    listed = [[q.name, q.question, q.weight, q.must] for q in questions]
    return content_id("judge", [judges, listed, rules, sampling.body(), [prompt.ref for prompt in asked]])


def same_family_warnings(spec: Spec, names: Sequence[str], writers: Sequence[TeacherSettings]) -> list[str]:
    """A warning for every judge of `names` that belongs to the same model family as a model whose texts it judges."""
    sentences = []
    for name in dict.fromkeys(names):
        judge = spec.teachers[name]
        for writer in dict.fromkeys(_model_name(writer) for writer in writers):
            if shared := families(_model_name(judge)) & families(writer):
                sentences.append(
                    f"the judge {name} ({judge.model}) and {writer} are of one family ({', '.join(sorted(shared))}): "
                    "a judge prefers texts written by its own family"
                )
    return sentences


def _model_name(teacher: TeacherSettings) -> str:
    return teacher.model if teacher.identity in (None, teacher.model) else f"{teacher.identity} ({teacher.model})"


def _with_logprobs(sampling: Sampling) -> Sampling:
    """Request log-probabilities, unless the spec itself sets them."""
    if "logprobs" in sampling.extra:
        return sampling
    return sampling.model_copy(update={"extra": {**sampling.extra, **_LOGPROBS}})
