"""What follows from an evaluation: whether to ship the tuned model, whether to fine-tune at all, and what would flip
either.

The burden of proof lies with training: a prompt needs no training run, so where the untuned base with a prompt
(base, few-shot, retrieval) does as well, the answer is not to fine-tune. Two systems *tie* where the test does not tell
them apart and the tuned one passes at most 5 points more often, or its interval ends below 10 points. A larger
difference that the test does not confirm is not enough evidence. The teacher stands beside as a price, not as a bar.

Not covered: the price of the machine that serves the tuned model, and what a pass is worth to whoever ships it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from curate.split import LEAST_TEST_INPUTS
from schemas.money import dollars
from schemas.records import Record
from schemas.step_names import INDEPENDENT
from schemas.wording import counted
from train.failures import REFUSAL
from train.intervals import Interval, interval_in_words, required_standard_errors, standard_errors
from train.metrics import MODES, NO_ANSWER, TUNED, Comparison, Evaluation, Mode, SystemResult

Decision = Literal["ship", "do not ship", "not enough evidence"]
FineTune = Literal["fine-tune", "do not fine-tune", "not enough evidence"]
Relation = Literal["better", "worse", "tie", "unclear", "few", "not measured"]

PROMPTED = frozenset({"base", "few-shot", "retrieval"})
TIE, AT_MOST = 0.05, 0.10
UNANSWERED_AT_MOST = 0.02
FORM_ALONE = "whatever has the form of the task passes: nothing checks whether a label or a record is right"
_MONTHLY_USD = 100.0
_NOTHING = "not one answer of tuned passes: the checks are too hard for this base with these rows, or wrong"
_LARGER = "a larger base (`pairsmith models`), more rows or other checks let it pass some"
_RIGHT = "each test input has its reference, or a check of your own (evaluate.user) tells what is right"
_ASKED = "the model that serves tuned answers: run it again"
_AGAIN = "these answers come: run `pairsmith evaluate` again, it asks for no other"
_WHOLE = {
    "cut": "{} gives whole answers: raise evaluate.sampling.max_tokens, or look at its answers",
    "empty": "{} gives whole answers: look at what it writes",
    "refused": "the server takes what {} is asked",
    "missing": "the model that serves {} answers: run it again",
}


class ModelVerdict(Record):
    """`decision` on the tuned model and `fine_tune` on the way to it, each with its reasons; `flips_when` says what
    would change them. `break_even` is the number of calls a month from which each $100 a month that serving the tuned
    model costs is paid back against the teacher; None where the teacher has no price, or was not measured."""

    decision: Decision
    fine_tune: FineTune
    because: tuple[str, ...]
    flips_when: tuple[str, ...]
    break_even: int | None = None
    teacher_usd_per_1000: float | None = None


def form_alone(names: Sequence[str]) -> bool:
    """Whether one answer is right, and only built-in gates look at the answers: a wrong label passes those. `names` as
    `Checks.names` has them."""
    of_form, own = {"label", "schema"}, (INDEPENDENT, "user:")
    return not of_form.isdisjoint(names) and not any(name.startswith(own) for name in names)


def verdict(evaluation: Evaluation, ship_at: float = 0.5) -> ModelVerdict:
    """The verdict; `ship_at` is the pass rate that the tuned model must have at least (`evaluate.ship_at`)."""
    rivals = [system for system in evaluation.systems if PROMPTED & {*system.names} and TUNED not in system.names]
    relations = [(system, relation(evaluation, system)) for system in rivals]
    fine_tune = _fine_tune([how for _, how in relations])
    because = [_against(evaluation, system, how) for system, how in relations]
    flips = [_flip(evaluation, system, how) for system, how in relations if how in _DECIDES[fine_tune]]
    decision: Decision = "ship"
    if not _measured(evaluation.system(TUNED)):
        ways, flip = _without_whole(evaluation, evaluation.system(TUNED))
        decision, because, flips = "do not ship", [f"tuned gave no whole answer: {ways}"], [flip]
        if not evaluation.system(TUNED).sampled.answered + evaluation.system(TUNED).greedy.answered:
            decision, because = "not enough evidence", ["not one answer of tuned came: it could not be asked"]
            flips = [_ASKED]
    elif fine_tune != "fine-tune":
        decision = "do not ship" if fine_tune == "do not fine-tune" else fine_tune
        if fine_tune == "do not fine-tune" and _passes_nothing(evaluation):
            because, flips = [_NOTHING, *because], [_LARGER, *flips]
    else:
        decision, why, flip = _reaches(evaluation, ship_at)
        because, flips = [why, *because], [flip, *flips]
    is_worse = any(how == "worse" for _, how in relations)
    if form_alone(evaluation.check_names) and not is_worse and not _passes_nothing(evaluation):
        # No more answers are right than have the form; who has the form as often may be right far less often.
        bar, why, _ = _reaches(evaluation, ship_at)
        fine_tune, decision = "not enough evidence", bar if bar == "do not ship" else "not enough evidence"
        because = [*([why] if decision == "do not ship" else []), FORM_ALONE, *because]
        flips = [_RIGHT, *flips]
    if decision == "ship" and (lacking := [*_lacking([evaluation.system(TUNED), *rivals])]):
        decision, because, flips = "not enough evidence", [*lacking, *because], [_AGAIN, *flips]
    price, calls, money = _break_even(evaluation)
    return ModelVerdict(
        decision=decision,
        fine_tune=fine_tune,
        because=tuple(dict.fromkeys([*because, *money])),
        flips_when=tuple(dict.fromkeys(flips)),
        break_even=calls,
        teacher_usd_per_1000=price,
    )


def _measured(system: SystemResult) -> bool:
    return system.sampled.pass_rate is not None or system.greedy.pass_rate is not None


def _without_whole(evaluation: Evaluation, system: SystemResult) -> tuple[str, str]:
    """What the answers of a system are of which none is whole, and what would bring one."""
    outputs = [output for output in evaluation.outputs if output.system == system.name]
    ways = Counter(
        "missing" if not one.answered else "cut" if one.cut else one.reasons.get(NO_ANSWER, "empty") for one in outputs
    )
    most = next((way for way, _ in ways.most_common() if way != "missing"), "missing")
    refusals = Counter(one.reasons[REFUSAL] for one in outputs if REFUSAL in one.reasons)
    words = f': it refused with "{refusals.most_common(1)[0][0]}"' if most == "refused" and refusals else ""
    listed = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    return listed, _WHOLE.get(most, _WHOLE["empty"]).format(system.label) + words


def _lacking(systems: Iterable[SystemResult]) -> Iterator[str]:
    """Which systems stand on the part of their answers that happened to come, if more than a few lack: others may be
    unlike them."""
    for system in systems:
        asked, came = (
            sum(getattr(mode, of) for mode in (system.sampled, system.greedy)) for of in ("asked", "answered")
        )
        if asked - came > UNANSWERED_AT_MOST * asked:
            yield f"{asked - came} of {asked} answers of {system.label} never came, and nobody knows what they would be"


def _passes_nothing(evaluation: Evaluation) -> bool:
    tuned = evaluation.system(TUNED)
    return not tuned.sampled.passed + tuned.greedy.passed


def relation(evaluation: Evaluation, other: SystemResult) -> Relation:
    """Tuned against one system under both decodings: better or worse where one says so and none the opposite."""
    each = {_relation(gap) for gap in _gaps(evaluation, other)} - {"not measured"}
    for one, opposite in (("better", "worse"), ("worse", "better")):
        if one in each:
            return "unclear" if opposite in each else one
    order: tuple[Relation, ...] = ("unclear", "few", "tie")
    return next((how for how in order if how in each), "not measured")


def _relation(gap: Comparison) -> Relation:
    outcome, interval = gap.outcome, gap.difference
    if outcome in ("better", "worse"):
        return outcome
    if interval is None:
        return "not measured"
    if outcome == "not enough evidence":
        return "few"
    return "tie" if interval.estimate <= TIE or interval.high <= AT_MOST else "unclear"


def _fine_tune(relations: Sequence[Relation]) -> FineTune:
    if {"worse", "tie"} & {*relations}:
        return "do not fine-tune"
    return "fine-tune" if relations and {*relations} == {"better"} else "not enough evidence"


# The relations that a verdict hangs on, so that would flip it.
_DECIDES: dict[FineTune, frozenset[Relation]] = {
    "fine-tune": frozenset({"better"}),
    "do not fine-tune": frozenset({"worse", "tie"}),
    "not enough evidence": frozenset({"unclear", "few", "not measured"}),
}


def _gaps(evaluation: Evaluation, other: SystemResult) -> list[Comparison]:
    gaps = (evaluation.comparison(TUNED, other.name, mode) for mode in MODES)
    return [gap for gap in gaps if gap is not None]


def _against(evaluation: Evaluation, other: SystemResult, how: Relation) -> str:
    numbers = _numbers(_gaps(evaluation, other))
    there = f"there {'is 1 test input' if evaluation.seeds == 1 else f'are {evaluation.seeds} test inputs'}"
    there += evaluation.of_groups
    if (both := _compared(evaluation, other)) < evaluation.seeds:
        there = f"tuned and {other.label} both answered {both} of {evaluation.seeds} test inputs"
    sentences = {
        "better": f"tuned passes more often than {other.label} ({numbers})",
        "worse": f"{other.label} passes more often than tuned, without any training ({numbers})",
        "tie": f"{other.label} passes {_how_often(evaluation, other)} without any training ({numbers})",
        "unclear": f"tuned and {other.label} cannot be told apart, and may differ by more than a tie does ({numbers})",
        "few": f"{there}, and fewer than {LEAST_TEST_INPUTS} prove nothing",
        "not measured": f"tuned and {other.label} were not both measured: one gave no whole answer",
    }
    return sentences[how]


def _how_often(evaluation: Evaluation, other: SystemResult) -> str:
    """A tie in words: the test confirms no difference, but in these answers the other side may lead by far."""
    leads = [gap.shown.estimate for gap in _gaps(evaluation, other) if gap.shown]
    return "at least as often" if leads and max(leads) < -TIE else "about as often"


def _compared(evaluation: Evaluation, other: SystemResult) -> int:
    """The test inputs on which tuned is compared with `other`, where some lack an answer of either."""
    gaps = (gap.difference for gap in _gaps(evaluation, other))
    return min((gap.seeds for gap in gaps if gap), default=evaluation.seeds)


def _flip(evaluation: Evaluation, other: SystemResult, how: Relation) -> str:
    gaps = [gap for gap in _gaps(evaluation, other) if gap.shown is not None]
    if how == "not measured":
        return _without_whole(evaluation, other)[1]
    if how in ("few", "unclear"):
        more = [(gap.more_inputs, f"{gap.mode} ") for gap in gaps if gap.more_inputs]
        least_more, mode = min(more, default=(evaluation.seeds, ""))
        lacking = max(LEAST_TEST_INPUTS - _compared(evaluation, other), least_more)
        inputs = "is 1 more test input" if lacking == 1 else f"are about {lacking} more test inputs"
        inputs += " of other groups" if evaluation.groups else ""
        if how == "few":
            return f"there {inputs}"
        return f"there {inputs}, if the {mode}difference from {other.label} stays as it is"
    shown = [gap.shown for gap in gaps if gap.shown]
    if how == "better":
        least = max(gap.difference.estimate - _least_lead(evaluation, gap, other) for gap in gaps if gap.difference)
        return f"tuned's lead over {other.label} is about {_points(least)} smaller: then they are not told apart"
    # The interval is as wide on both sides, nearly: a lead beyond its reach would be told apart.
    reach = max(min(interval.high - interval.estimate for interval in shown), TIE)
    rates = [rate.estimate for rate in (other.sampled.pass_rate, other.greedy.pass_rate) if rate]
    if (least := min(rates, default=0.0)) + reach > 1:
        return f"harder checks or inputs leave room for a lead: {other.label} passes {_percent(least)} of these"
    return f"tuned leads {other.label} by about {_points(reach)} on as many inputs"


def _least_lead(evaluation: Evaluation, gap: Comparison, other: SystemResult) -> float:
    """About the least lead that the adjusted test would confirm, were tuned to lose passes anywhere: a lead d of n
    inputs (or groups of them) is d / sqrt(v) standard errors long, and of what it loses the part that the other fails
    makes v smaller by 1 / n each, the rest makes it larger."""
    here = standard_errors(gap.p_value or 1.0)
    if gap.difference is None or here <= 0:
        return 0.0
    lead, n = gap.difference.estimate, gap.difference.seeds * evaluation.apart / evaluation.seeds
    rate = getattr(other, gap.mode).pass_rate
    falls = max(0.0, 1 - 2 * (rate.estimate if rate else 0.0)) / n
    needed = required_standard_errors(gap.p_value, gap.p_holm) ** 2
    rest = max(0.0, (lead / here) ** 2 - falls * lead)
    return (needed * falls + math.sqrt((needed * falls) ** 2 + 4 * needed * rest)) / 2


def _reaches(evaluation: Evaluation, ship_at: float) -> tuple[Decision, str, str]:
    """Whether the pass rate is high enough, under the decoding in which tuned does best."""
    tuned = evaluation.system(TUNED)
    rates: list[tuple[Mode, Interval]] = [("sampled", r) for r in (tuned.sampled.pass_rate,) if r]
    rates += [("greedy", r) for r in (tuned.greedy.pass_rate,) if r]
    mode, rate = max(rates, key=lambda pair: pair[1].low)
    passes = f"tuned passes {_percent(rate.estimate)} [{_percent(rate.low)}, {_percent(rate.high)}] of {mode} answers"
    bar = f"evaluate.ship_at = {ship_at:g}"
    if rate.low >= ship_at:
        fewer = f"fewer than {_percent(ship_at)} pass (evaluate.ship_at)" if ship_at else "evaluate.ship_at is above 0"
        return "ship", f"{passes}, which lies above {bar}", fewer
    if rate.high < ship_at:
        return "do not ship", f"{passes}, which lies below {bar}", f"at least {_percent(ship_at)} pass"
    needed = f"more test inputs put the whole interval on one side of {_percent(ship_at)}"
    if ship_at == 1:
        needed = "evaluate.ship_at is below 1: no number of answers proves that all pass"
    elif rate.estimate == ship_at:
        needed = f"the rate moves away from {_percent(ship_at)}"
    return "not enough evidence", f"{passes}, and {bar} lies within the interval", needed


def _break_even(evaluation: Evaluation) -> tuple[float | None, int | None, list[str]]:
    teacher = next((system for system in evaluation.systems if "teacher" in system.names), None)
    if teacher is None:
        return None, None, []
    price = teacher.usd_per_1000
    if price is None:
        return None, None, ["the teacher's price is not known, so there is no break-even"]
    if price == 0:
        return price, None, ["the teacher is free by its price, so money does not speak for a model of one's own"]
    calls = round(_MONTHLY_USD / price * 1000)
    at = f" at the price of now ({teacher.priced_by}), as its answers were bought without one"
    at = at if teacher.priced_by else ""
    sentence = (
        f"the teacher costs {dollars(price)} for 1,000 outputs{at}: each {dollars(_MONTHLY_USD)} a month that serving"
        f" the tuned model costs is paid back from {calls:,} calls a month"
    )
    return price, calls, [sentence]


def in_words(verdict: ModelVerdict) -> list[str]:
    """The verdict in lines for a terminal."""
    head = f"Verdict: {verdict.decision}. Should you fine-tune at all? {verdict.fine_tune}."
    return [head, *_listed("because", verdict.because), *_listed("it flips when", verdict.flips_when)]


def _listed(word: str, sentences: Iterable[str]) -> list[str]:
    return [f"  {word if not number else ' ' * len(word)} {line}" for number, line in enumerate(sentences)]


def _numbers(gaps: Sequence[Comparison]) -> str:
    parts = [(gap.mode, gap.shown) for gap in gaps if gap.shown]
    return ", ".join(f"{mode} {interval_in_words(shown, '+')}" for mode, shown in parts)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(share: float) -> str:
    return counted(max(1, round(100 * share)), "point", "points")
