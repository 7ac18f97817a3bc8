"""The judges' verdicts on an evaluation's answers and the results: how much of the checklist each system passes, and
how often the tuned model's answer is preferred to another system's.

These are shown beside the pass rate and do not affect it: a judge is another model's opinion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from curate.split import LEAST_TEST_INPUTS
from schemas.records import Record
from train.evaluation.intervals import ALONE, Interval, grouped, holm, share, sign_flip_p
from train.evaluation.length_control import LengthControlled, length_controlled

Preferred = Literal["preferred", "not preferred", "inconclusive", "not enough evidence", "not measured"]


_UNANSWERED = "crashed:"  # the code of `Judge` for a request without an answer


class Checklist(Record):
    """The checklist of one answer: question -> P(yes). Empty, with a `reason`, if no judge could answer. An empty or
    cut answer has P(yes) = 0 for every question."""

    system: str
    seed_id: str
    answers: dict[str, float]
    reason: str = ""

    @property
    def passes(self) -> bool:
        """True if every question is answered with yes."""
        return bool(self.answers) and all(p >= 0.5 for p in self.answers.values())


class PairwiseChoice(Record):
    """A comparison of the tuned model's answer with another system's: for every judge, whether the tuned answer won
    when shown first, and when shown second. `longer` is the number of words by which the tuned answer is longer.

    `asked` is False if no judge was needed: equal texts win once and lose once, and an empty or cut answer loses to a
    complete one; of two such answers neither wins. `reason` says that an answer was incomplete, or, if `wins` is
    empty, why no judge could answer.
    """

    against: str
    seed_id: str
    wins: tuple[tuple[bool, bool], ...]
    longer: int
    asked: bool = True
    reason: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both answers are complete and equal, as far as a record of an earlier version shows it."""
        return not (self.asked or self.reason or self.longer) and all(sum(won) == 1 for won in self.wins)


class ChecklistResult(Record):
    """One system's first sampled answers: the share that passes the whole checklist, and the mean P(yes) of each
    question. Answers that no judge could judge are counted in `not_scored` only."""

    system: str
    pass_rate: Interval | None
    questions: dict[str, float]
    not_scored: int


class WinRate(Record):
    """How often the tuned model's answer is preferred to that of `against`, over both orders and all judges; 0.5 means
    equally often. `p_value` is from the exact sign-flip test, `p_holm` is adjusted for all systems.

    `length_controlled` is the win rate at equal length; None if one of the two is nearly always longer. `longer` is the
    share of inputs on which the tuned answer is longer.
    """

    against: str
    rate: Interval | None
    p_value: float | None = None
    p_holm: float | None = None
    longer: float | None = None
    length_controlled: LengthControlled | None = None
    not_scored: int = 0

    @property
    def outcome(self) -> Preferred:
        """A preference is reported only with enough inputs (or groups), and if the adjusted exact test and the interval
        agree."""
        if self.rate is None or self.p_holm is None:
            return "not measured"
        if self.rate.units < LEAST_TEST_INPUTS:
            return "not enough evidence"
        if self.p_holm > 1 - self.rate.level + 1e-12 or self.rate.low <= 0.5 <= self.rate.high:
            return "inconclusive"
        return "preferred" if self.rate.estimate > 0.5 else "not preferred"


class JudgedEvaluation(Record):
    """The judges' results of an evaluation. `warnings` are cautions about the judges. `first` is how often they choose
    the answer shown first, over all comparisons they were asked for; 0.5 means no position bias."""

    judges: tuple[str, ...]
    questions: dict[str, str]
    warnings: tuple[str, ...] = ()
    checklists: tuple[ChecklistResult, ...]
    win_rates: tuple[WinRate, ...]
    first: Interval | None
    answers: tuple[Checklist, ...]
    choices: tuple[PairwiseChoice, ...]

    @property
    def unanswered(self) -> int:
        """How many checklists and comparisons are missing because a judge did not answer."""
        reasons = [*(answer.reason for answer in self.answers), *(choice.reason for choice in self.choices)]
        return sum(reason.startswith(_UNANSWERED) for reason in reasons)


def checklist_result(system: str, answers: Sequence[Checklist], groups: Mapping[str, str] = ALONE) -> ChecklistResult:
    """The numbers of one system. `groups` maps seed to group, here and below."""
    judged = [answer for answer in answers if answer.answers]
    seed_groups = grouped([answer.seed_id for answer in judged], groups)
    names = judged[0].answers if judged else {}
    return ChecklistResult(
        system=system,
        pass_rate=share([answer.passes for answer in judged], [1] * len(judged), groups=seed_groups)
        if judged
        else None,
        questions={name: sum(answer.answers[name] for answer in judged) / len(judged) for name in names},
        not_scored=len(answers) - len(judged),
    )


def win_rates(choices: Sequence[PairwiseChoice], groups: Mapping[str, str] = ALONE) -> tuple[WinRate, ...]:
    """A win rate for every system the tuned one was compared with; the p-values are adjusted for one another."""
    names = dict.fromkeys(choice.against for choice in choices)
    rates = [_win_rate(name, [c for c in choices if c.against == name], groups) for name in names]
    p_holm = iter(holm([rate.p_value for rate in rates if rate.p_value is not None]))
    return tuple(rate if rate.p_value is None else rate.model_copy(update={"p_holm": next(p_holm)}) for rate in rates)


def first_wins(choices: Sequence[PairwiseChoice], groups: Mapping[str, str] = ALONE) -> Interval | None:
    """How often the answer shown first is chosen, by input over all comparisons; None if no judge was asked."""
    firsts: dict[str, list[bool]] = {}
    for choice in choices:
        if choice.asked:
            for as_first, as_second in choice.wins:
                firsts.setdefault(choice.seed_id, []).extend((as_first, not as_second))
    per_seed, seed_groups = firsts.values(), grouped([*firsts], groups)
    return share([sum(won) for won in per_seed], [len(won) for won in per_seed], groups=seed_groups) if firsts else None


def _win_rate(against: str, choices: Sequence[PairwiseChoice], groups: Mapping[str, str] = ALONE) -> WinRate:
    judged = [choice for choice in choices if choice.wins]
    not_scored = len(choices) - len(judged)
    if not judged:
        return WinRate(against=against, rate=None, not_scored=not_scored)
    decisions = [2 * len(choice.wins) for choice in judged]
    wins = [sum(map(sum, choice.wins)) for choice in judged]
    losses = [count - won for count, won in zip(decisions, wins, strict=True)]
    # The length of an empty or cut answer is meaningless, so those comparisons are left out. Equal texts are a tie at
    # equal length, which says as much as any other answer.
    compared = [at for at, choice in enumerate(judged) if choice.asked or choice.is_equal]
    ids = [choice.seed_id for choice in judged]
    seed_groups = grouped(ids, groups)
    return WinRate(
        against=against,
        rate=share(wins, decisions, groups=seed_groups),
        p_value=sign_flip_p(wins, decisions, losses, decisions, groups=seed_groups),
        longer=sum(choice.longer > 0 for choice in judged) / len(judged),
        length_controlled=length_controlled(
            [wins[at] for at in compared],
            [decisions[at] for at in compared],
            [judged[at].longer for at in compared],
            grouped([ids[at] for at in compared], groups),
        ),
        not_scored=not_scored,
    )
