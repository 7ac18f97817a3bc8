"""Conclusions from an evaluation: whether to ship the tuned model, whether to fine-tune at all, and what would change
either decision.

The burden of proof is on training. A prompt needs no training run, so if the untuned base with a prompt (base,
few-shot, retrieval) does as well, the recommendation is not to fine-tune. A lead that the test does not confirm, and
that is no tie (`train.evaluation.relation`), is not enough evidence. The teacher serves as a price comparison, not as a
bar.

Not covered: the cost of the machine that serves the tuned model, and the value of a passing answer to the user.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from curate.split import LEAST_TEST_INPUTS
from schemas.money import dollars
from schemas.records import Record
from schemas.step_names import INDEPENDENT, PROMPTED
from schemas.wording import counted
from train.evaluation.flips import (
    inputs_beyond_the_bar,
    percent,
    what_ends_the_lead,
    what_moves_the_rate,
    what_would_decide,
)
from train.evaluation.incomplete import MAX_UNKNOWN, incomplete_systems, why_incomplete
from train.evaluation.intervals import Interval, format_interval
from train.evaluation.metrics import TUNED, Evaluation, Mode, SystemResult
from train.evaluation.relation import (
    TIE_MARGIN,
    Relation,
    comparisons_with,
    lead_at_best,
    leads_in_both_directions,
    leads_under_one_only,
    relation,
    unfinished_modes,
    untuned,
)

Decision = Literal["ship", "do not ship", "not enough evidence"]
FineTune = Literal["fine-tune", "do not fine-tune", "not enough evidence"]

FORM_ONLY_NOTE = "any answer in the right form passes: nothing checks whether a label or a record is correct"
GATES_ONLY_NOTE = (
    "no independent check was used (evaluate.checks, evaluate.user): only the gates that chose the training rows judge,"
    " and a wrong answer in the right form may pass them"
)
_UNKNOWN: Literal["not enough evidence"] = "not enough evidence"
_MONTHLY_USD, _MANY_CUT = 100.0, 0.1
_NONE_PASSES = "no answer of tuned passes: the checks are too hard for this base with these rows, or they are wrong"
_LARGER_BASE = "a larger base (`pairsmith models`), more rows or other checks let it pass some"
_CHECK_CORRECTNESS = "each test input had a reference, or your own check (evaluate.user) judged what is correct"
_INDEPENDENT_CHECK = "a check of your own (evaluate.checks, evaluate.user) judged what is correct"
_RERUN = "the server of the tuned model responded: run the evaluation again"
_RERUN_MISSING = "the missing answers arrived: run `pairsmith evaluate` again, which requests only those"
_REPAIR_CHECK = (
    "every answer could be judged: correct the check that crashes, times out or returns None, and run"
    " `pairsmith evaluate` again, which requests nothing"
)


class ModelVerdict(Record):
    """`decision` is about shipping the tuned model, `fine_tune` about fine-tuning at all, each with its reasons;
    `flips_when` lists what would change them, each line alone. `break_even` is the number of calls per month at which
    every $100 per month spent on serving the tuned model is paid back compared with the teacher; None if the teacher
    has no price, or if one of the two was not measured."""

    decision: Decision
    fine_tune: FineTune
    because: tuple[str, ...]
    flips_when: tuple[str, ...]
    break_even: int | None = None
    teacher_usd_per_1000: float | None = None


def is_form_only(names: Sequence[str]) -> bool:
    """Whether the task has one right answer but only built-in gates check the answers, so that a wrong label passes.
    `names` are in the form of `Checks.names`."""
    of_form, independent = {"label", "schema"}, (INDEPENDENT, "user:")
    return not of_form.isdisjoint(names) and not any(name.startswith(independent) for name in names)


def is_gates_only(names: Sequence[str]) -> bool:
    """Whether only gates check the answers, in a task where answers of any wording are right."""
    return not is_form_only(names) and not any(name.startswith(INDEPENDENT) for name in names)


class _Conclusion(NamedTuple):
    """A verdict in the making: what a later rule adds comes first in `because` and `flips`."""

    decision: Decision
    fine_tune: FineTune
    because: Sequence[str]
    flips: Sequence[str]


_Relations = Sequence[tuple[SystemResult, Relation]]


def verdict(evaluation: Evaluation, ship_at: float = 0.5) -> ModelVerdict:
    """The verdict; `ship_at` is the minimum pass rate of the tuned model (`evaluate.ship_at`)."""
    relations = [(system, relation(evaluation, system)) for system in untuned(evaluation)]
    concluded = _conclude(evaluation, relations, ship_at)
    concluded = _unless_saturated(evaluation, relations, concluded)
    concluded = _unless_form_only(evaluation, relations, ship_at, concluded)
    concluded = _unless_incomplete(evaluation, relations, concluded)
    concluded = _unless_unscored(evaluation, relations, concluded)
    concluded = _noting_shortened(evaluation, concluded)
    decision, fine_tune, because, flips = _noting_gates_only(evaluation, concluded)
    price, calls, money = _break_even(evaluation)
    return ModelVerdict(
        decision=decision,
        fine_tune=fine_tune,
        because=tuple(dict.fromkeys([*because, *money])),
        flips_when=tuple(dict.fromkeys(flips)),
        break_even=calls,
        teacher_usd_per_1000=price,
    )


def _conclude(evaluation: Evaluation, relations: _Relations, ship_at: float) -> _Conclusion:
    """The conclusion from how tuned compares with each untuned system and with `ship_at`, if every check is right and
    judged every answer."""
    fine_tune = _fine_tune([how for _, how in relations])
    because = [_describe_relation(evaluation, system, how) for system, how in relations]
    decisive = _decisive(relations, fine_tune)
    if fine_tune == "fine-tune":
        flips = what_ends_the_lead(evaluation, [system for system, _ in decisive])
    else:
        flips = what_would_decide(evaluation, decisive)
    tuned = evaluation.system(TUNED)
    if not tuned.count("answered"):
        return _Conclusion(_UNKNOWN, fine_tune, ["no answer of tuned arrived, so nothing is known about it"], [_RERUN])
    if not tuned.count("complete"):
        ways, flip = why_incomplete(evaluation, tuned)
        return _Conclusion("do not ship", _UNKNOWN, [f"tuned gave no complete answer: {ways}"], [flip])
    if fine_tune == "fine-tune":
        decision, why, flip = _compare_with_bar(evaluation, ship_at)
        return _Conclusion(decision, fine_tune, [why, *because], [flip, *flips])
    if fine_tune == "not enough evidence":
        return _Conclusion(fine_tune, fine_tune, because, flips)
    if _passes_nothing(evaluation) and not any(system.count("passed") for system, _ in relations):
        because, flips = [_NONE_PASSES, *because], [_LARGER_BASE, *flips]
    return _Conclusion("do not ship", fine_tune, because, flips)


def _decisive(relations: _Relations, fine_tune: FineTune) -> list[tuple[SystemResult, Relation]]:
    """The systems on which a recommendation rests."""
    return [(system, how) for system, how in relations if how in _DECISIVE[fine_tune]]


def _unless_saturated(evaluation: Evaluation, relations: _Relations, concluded: _Conclusion) -> _Conclusion:
    """Not enough evidence if tuned only ties, by built-in gates that nearly all answers pass: hardly anything else was
    possible."""
    decisive = _decisive(relations, concluded.fine_tune)
    if not is_gates_only(names := evaluation.check_names) or any(name.startswith("user:") for name in names):
        return concluded
    systems = [evaluation.system(TUNED), *(system for system, _ in decisive)]
    rates = [rate for system in systems for rate in (system.sampled.pass_rate, system.greedy.pass_rate) if rate]
    if {how for _, how in decisive} != {"tie"} or any(rate.estimate < 1 - TIE_MARGIN for rate in rates):
        return concluded
    tied = " or ".join(system.label for system, _ in decisive)
    why = f"the gates alone cannot tell tuned from {tied}: nearly all answers of each pass them"
    return _Conclusion(_UNKNOWN, _UNKNOWN, [why, *concluded.because], [_INDEPENDENT_CHECK, *concluded.flips])


def _unless_form_only(
    evaluation: Evaluation, relations: _Relations, ship_at: float, concluded: _Conclusion
) -> _Conclusion:
    """Not enough evidence, or do not ship, if only the form of the one right answer was judged. At most as many answers
    are correct as have the right form; a system with an equal share may be correct far less often."""
    is_worse = any(how == "worse" for _, how in relations)
    if not is_form_only(evaluation.check_names) or is_worse or _passes_nothing(evaluation):
        return concluded
    bar, why, flip = _compare_with_bar(evaluation, ship_at)
    is_below = bar == "do not ship" and evaluation.number_of_groups >= LEAST_TEST_INPUTS
    because = [*([why] if is_below else []), FORM_ONLY_NOTE, *concluded.because]
    # What else is open stays open if correctness is checked; a lead in form alone decides nothing.
    still_open = concluded.flips if concluded.fine_tune == _UNKNOWN else []
    flips = ["; and ".join([_CHECK_CORRECTNESS, *still_open]), *([flip] if is_below else [])]
    return _Conclusion(bar if is_below else _UNKNOWN, _UNKNOWN, because, flips)


def _unless_incomplete(evaluation: Evaluation, relations: _Relations, concluded: _Conclusion) -> _Conclusion:
    """Nothing ships while more than a few answers are missing."""
    systems = [evaluation.system(TUNED), *(system for system, _ in relations)]
    if concluded.decision != "ship" or not (incomplete := [*incomplete_systems(systems)]):
        return concluded
    return concluded._replace(decision=_UNKNOWN, because=[*incomplete, *concluded.because], flips=[_RERUN_MISSING])


def _unless_unscored(evaluation: Evaluation, relations: _Relations, concluded: _Conclusion) -> _Conclusion:
    """Both recommendations without those that a crashed check may have caused. Answers that it could not judge count as
    not passed: a rival may be as good as tuned, and tuned may be good enough."""
    decision, fine_tune, because, flips = concluded
    tuned = evaluation.system(TUNED)
    unclear = [rival for rival, how in relations if how == "unclear" and fine_tune == "not enough evidence"]
    gaps = [gap for rival in unclear for gap in comparisons_with(evaluation, rival) if gap.hangs_on_unscored]
    hanging = {gap.b if gap.judged_outcome == "better" else gap.a for gap in gaps}
    ask_of_rivals = fine_tune == "fine-tune" or bool(hanging - {tuned.name})
    of_rivals = [*_unscored_systems((rival for rival, _ in relations), hanging)] if ask_of_rivals else []
    ask_of_tuned = decision == "do not ship" or tuned.name in hanging
    of_tuned = [*_unscored_systems([tuned], hanging)] if ask_of_tuned else []
    if not (of_tuned or of_rivals):
        return concluded
    if of_tuned or decision == "ship":
        decision = "not enough evidence"
    if of_rivals or fine_tune == "do not fine-tune":
        fine_tune = "not enough evidence"
    kept = [flip for flip in flips if flip.startswith((_CHECK_CORRECTNESS, _RERUN_MISSING))]
    return _Conclusion(decision, fine_tune, [*of_tuned, *of_rivals, *because], [_REPAIR_CHECK, *kept])


def _noting_gates_only(evaluation: Evaluation, concluded: _Conclusion) -> _Conclusion:
    """With a note, as the last reason, if only the gates that chose the training rows judge."""
    if not is_gates_only(evaluation.check_names):
        return concluded
    is_possible = evaluation.number_of_groups >= LEAST_TEST_INPUTS and not _passes_nothing(evaluation)
    flips = [*concluded.flips, *([_INDEPENDENT_CHECK] if is_possible else [])]
    return concluded._replace(because=[*concluded.because, GATES_ONLY_NOTE], flips=flips)


def _noting_shortened(evaluation: Evaluation, concluded: _Conclusion) -> _Conclusion:
    """With a reason for each prompt that had no room for all examples; what it would do with them was not measured."""
    shortened = [one for system in untuned(evaluation) for one in system.shortened]
    untried = [one.untried for one in shortened] if concluded.fine_tune == "fine-tune" else []
    because = [*concluded.because, *(one.in_words for one in shortened)]
    return concluded._replace(because=because, flips=[*concluded.flips, *untried])


def _unscored_systems(systems: Iterable[SystemResult], hanging: Collection[str]) -> Iterator[str]:
    """Systems with more than a few answers that no check failed but one could not judge; of those named in `hanging`,
    the few decide a comparison."""
    for system in systems:
        unscored, answered = system.count("not_scored"), system.count("answered")
        if unscored > MAX_UNKNOWN * answered or system.name in hanging:
            yield f"a check could not judge {unscored} of {answered} answers of {system.label}, which may be good ones"


def _passes_nothing(evaluation: Evaluation) -> bool:
    return not evaluation.system(TUNED).count("passed")


def _fine_tune(relations: Sequence[Relation]) -> FineTune:
    if {"worse", "tie"} & {*relations}:
        return "do not fine-tune"
    return "fine-tune" if relations and {*relations} == {"better"} else "not enough evidence"


# The relations that determine each recommendation, so a change in them would change it.
_DECISIVE: dict[FineTune, frozenset[Relation]] = {
    "fine-tune": frozenset({"better"}),
    "do not fine-tune": frozenset({"worse", "tie"}),
    "not enough evidence": frozenset({"unclear", "few", "not measured"}),
}


def _describe_relation(evaluation: Evaluation, other: SystemResult, how: Relation) -> str:
    numbers = _differences(evaluation, other)
    there = f"there {'is 1 test input' if evaluation.seeds == 1 else f'are {evaluation.seeds} test inputs'}"
    there += evaluation.group_note
    differences = (gap.difference for gap in comparisons_with(evaluation, other) if gap.difference)
    gap = min(differences, key=lambda gap: gap.seeds, default=None)
    if gap and gap.seeds < evaluation.seeds:  # answers of either may be missing
        there = f"tuned and {other.label} both answered only {gap.seeds} of {evaluation.seeds} test inputs"
        there += f" (of {counted(gap.groups, 'group', 'groups')})" if gap.groups else ""
    sentences = {
        "better": f"tuned passes more often than {other.label} ({numbers}){_cut_note(other)}",
        "worse": f"{other.label} passes more often than tuned, without any training ({numbers})",
        "tie": f"{other.label} passes {_how_often(evaluation, other)} without any training ({numbers})",
        "unclear": f"tuned and {other.label} do not differ significantly, but the result is too uncertain to be called"
        f" a tie ({numbers})",
        "few": f"{there}, and fewer than {LEAST_TEST_INPUTS}{' groups' * bool(evaluation.groups)} prove nothing",
        "not measured": f"tuned and {other.label} were not both measured: one did not answer",
    }
    if how == "not measured" and (unfinished := unfinished_modes(other)):
        ways = why_incomplete(evaluation, other, unfinished)[0]
        few = f"too few of its {' and '.join(unfinished)} answers are complete"
        return f"{other.label} was not measured: {few} ({ways})"
    if how == "unclear" and leads_under_one_only(evaluation, other):
        often = "more often than" if lead_at_best(evaluation, other) < -TIE_MARGIN else "about as often as"
        return f"{other.label}, decoded as suits it best, passes {often} tuned decoded as suits tuned ({numbers})"
    if how == "unclear" and leads_in_both_directions(evaluation, other):
        return (
            f"tuned passes more often than {other.label} under one decoding and less often under the other ({numbers})"
        )
    return sentences[how]


def _cut_note(system: SystemResult) -> str:
    """If many of a rival's answers were cut, the limit may have made part of the difference."""
    cut, answered = system.count("truncated"), system.count("answered")
    note = f"; {cut} of {answered} answers of {system.label} were cut at the token limit"
    return f"{note} (evaluate.sampling.max_tokens) and count as not passed" if cut > _MANY_CUT * answered else ""


def _differences(evaluation: Evaluation, other: SystemResult) -> str:
    """`sampled +0.12 [+0.03, +0.21], greedy ...`: tuned minus the other system."""
    gaps = [(gap.mode, gap.shown) for gap in comparisons_with(evaluation, other) if gap.shown]
    return ", ".join(f"{mode} {format_interval(shown, '+')}" for mode, shown in gaps)


def _how_often(evaluation: Evaluation, other: SystemResult) -> str:
    """A tie in words: the difference is not significant, but in these answers the other system may be far ahead."""
    leads = [gap.shown.estimate for gap in comparisons_with(evaluation, other) if gap.shown]
    return "at least as often" if leads and max(leads) < -TIE_MARGIN else "about as often"


def _compare_with_bar(evaluation: Evaluation, ship_at: float) -> tuple[Decision, str, str]:
    """Whether the pass rate is high enough, under the decoding in which tuned does best; it is too low only if it is
    under both."""
    tuned = evaluation.system(TUNED)
    rates: list[tuple[Mode, Interval]] = [("sampled", r) for r in (tuned.sampled.pass_rate,) if r]
    rates += [("greedy", r) for r in (tuned.greedy.pass_rate,) if r]
    mode, rate = max(rates, key=lambda pair: pair[1].low)
    if rate.low < ship_at:
        mode, rate = max(rates, key=lambda pair: pair[1].high)
    passes = f"tuned passes {percent(rate.estimate)} [{percent(rate.low)}, {percent(rate.high)}] of {mode} answers"
    bar = f"evaluate.ship_at = {ship_at:g}"
    if rate.low >= ship_at or rate.high < ship_at:
        needed = what_moves_the_rate([of for _, of in rates], ship_at) if ship_at else "evaluate.ship_at was above 0"
        if rate.low >= ship_at:
            return "ship", f"{passes}, which is above {bar}", needed
        return "do not ship", f"{passes}, which is below {bar}", needed
    needed = inputs_beyond_the_bar(evaluation, [of for _, of in rates], ship_at)
    return "not enough evidence", f"{passes}, and {bar} lies within the interval", needed


def _break_even(evaluation: Evaluation) -> tuple[float | None, int | None, list[str]]:
    teacher = next((system for system in evaluation.systems if "teacher" in system.names), None)
    if teacher is None:
        return None, None, []
    quality = []
    if TUNED not in teacher.names and PROMPTED.isdisjoint(teacher.names) and relation(evaluation, teacher) == "worse":
        quality = [f"the teacher passes more often than tuned ({_differences(evaluation, teacher)})"]
    price = teacher.usd_per_1000
    if teacher.sampled.pass_rate is None and teacher.greedy.pass_rate is None:
        return None, None, ["too few answers of the teacher are complete, so there is no break-even point"]
    if price is None:
        return None, None, [*quality, "the teacher's price is not known, so there is no break-even point"]
    if price == 0:
        return price, None, [*quality, "the teacher's price is 0 (free), so cost is no reason for your own model"]
    tuned = evaluation.system(TUNED)
    if not tuned.count("complete"):
        return price, None, quality
    calls = round(_MONTHLY_USD / price * 1000)
    at = f" at the current price ({teacher.priced_by}), because what they cost one by one was not recorded"
    at = at if teacher.priced_by else ""
    sentence = (
        f"the teacher costs {dollars(price)} per 1,000 outputs{at}: every {dollars(_MONTHLY_USD)} a month spent on"
        f" serving the tuned model is paid back from {calls:,} calls a month"
    )
    return price, calls, [*quality, sentence]


def in_words(verdict: ModelVerdict) -> list[str]:
    """The verdict as lines for a terminal."""
    head = f"Verdict: {verdict.decision}. Should you fine-tune at all? {verdict.fine_tune}."
    return [head, *_list_lines("because", verdict.because), *_list_lines("it would change if", verdict.flips_when)]


def _list_lines(heading: str, sentences: Iterable[str]) -> list[str]:
    return [f"  {heading if not number else ' ' * len(heading)} {line}" for number, line in enumerate(sentences)]
