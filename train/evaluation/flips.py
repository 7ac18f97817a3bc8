"""What would change a verdict. Each line is enough alone: where several comparisons stand in the way, one line names
all that has to change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from curate.split import LEAST_TEST_INPUTS
from schemas.wording import counted
from train.evaluation.comparison import Comparison
from train.evaluation.incomplete import why_incomplete
from train.evaluation.intervals import Interval, required_standard_errors, significant_lead, standard_errors
from train.evaluation.metrics import MODES, Evaluation, Mode, SystemResult
from train.evaluation.relation import (
    TIE_MARGIN,
    Relation,
    comparisons_with,
    lead_at_best,
    unfinished_modes,
)

_Standing = Sequence[tuple[SystemResult, Relation]]
_STEPS = 60  # halvings of a range
# A lead at its best that is no larger proves nothing under one decoding alone (`relation`).
_LEAST_LEAD = TIE_MARGIN + 0.01


def what_ends_the_lead(evaluation: Evaluation, rivals: Sequence[SystemResult]) -> list[str]:
    """For each system that tuned is better than, by how much the lead would have to be smaller."""
    return [
        f"tuned's lead over {rival.label} was about {_points(_spare_lead(evaluation, rival))} smaller"
        " (no longer significant)"
        for rival in rivals
    ]


def what_would_decide(evaluation: Evaluation, standing: _Standing) -> list[str]:
    """What all these comparisons together need until tuned is no longer tied, worse or undecided: complete answers,
    more inputs, larger leads."""
    behind = [
        (rival, how) for rival, how in standing if how in ("worse", "tie") or _needs_a_lead(evaluation, rival, how)
    ]
    undecided = [of for of in standing if of[1] == "few" or (of[1] == "unclear" and of not in behind)]
    more, is_enough = _more_inputs(evaluation, undecided) if undecided else ("", False)
    if is_enough:
        return [more]
    unfinished = [
        (rival, unfinished_modes(rival) or (MODES if how == "not measured" else ()))
        for rival, how in standing
        if how not in ("worse", "tie")
    ]
    conditions = [why_incomplete(evaluation, *of)[1] for of in unfinished if of[1]]
    conditions += [more] if more else []
    conditions += [_larger_leads(evaluation, behind, "" if more else " on the same number of inputs")] if behind else []
    return ["; and ".join(conditions)] if conditions else []


def _needs_a_lead(evaluation: Evaluation, rival: SystemResult, how: Relation) -> bool:
    """Whether more inputs alone would leave an undecided comparison undecided: a prompt at its best passes about as
    often as tuned at its best, so that a difference under one decoding is no gain, or each is ahead under one."""
    if how not in ("few", "unclear") or (how == "few" and _has_no_lead(evaluation, rival)):
        return False
    is_behind_under_one = min(_differences(evaluation, rival).values()) < -TIE_MARGIN
    return is_behind_under_one or lead_at_best(evaluation, rival) <= TIE_MARGIN


def _has_no_lead(evaluation: Evaluation, rival: SystemResult) -> bool:
    """Whether more inputs with the same differences would make a tie of it, or worse."""
    return max(_differences(evaluation, rival).values(), default=0.0) <= TIE_MARGIN


def _differences(evaluation: Evaluation, rival: SystemResult) -> dict[Mode, float]:
    gaps = comparisons_with(evaluation, rival)
    return {gap.mode: gap.difference.estimate for gap in gaps if gap.difference}


def _more_inputs(evaluation: Evaluation, undecided: _Standing) -> tuple[str, bool]:
    """The number of further test inputs at which all of these comparisons would be decided; a smaller number that
    decides one of them changes no recommendation. Except where tuned has no lead: the least number of inputs then makes
    a tie of the comparison, which is enough for "do not fine-tune" whatever else is open (then True)."""
    needed, ties, kept = 0, list[int](), dict[str, list[str]]()
    for other, how in undecided:
        gaps, ahead = comparisons_with(evaluation, other), _differences(evaluation, other)
        more = [(gap.more_inputs, f"{gap.mode} ") for gap in gaps if gap.more_inputs and ahead[gap.mode] > 0]
        least_more, mode = min(more, default=(evaluation.seeds, ""))
        units = (gap.difference.units for gap in gaps if gap.difference)
        up_to_least = LEAST_TEST_INPUTS - min(units, default=evaluation.number_of_groups)
        needed = max(needed, up_to_least, 0 if _needs_a_lead(evaluation, other, how) else least_more)
        if how == "unclear":
            kept.setdefault(mode, []).append(other.label)
        elif _has_no_lead(evaluation, other):
            ties.append(up_to_least)
    if ties:
        needed, kept = min(ties), {}
    inputs = "was 1 more test input" if needed == 1 else f"were about {needed} more test inputs"
    inputs += " of other groups" if evaluation.groups else ""
    same = " and ".join(f"the {mode}difference from {', '.join(labels)}" for mode, labels in kept.items())
    return f"there {inputs}" + (f", and {same} stayed the same" if same else ""), bool(ties)


def _larger_leads(evaluation: Evaluation, rivals: Sequence[tuple[SystemResult, Relation]], where: str) -> str:
    """The leads over all of these systems that would be significant, or those over which none is possible."""
    needed, full = dict[str, list[str]](), list[str]()
    for rival, how in rivals:
        rate, lead, mode = _significant_lead(evaluation, rival, how)
        needed.setdefault(f"by about {_points(lead)}{mode}", []).append(rival.label)
        full += [f"{rival.label} passes {percent(rate)}"] if rate + lead > 1 else []
    if full:
        return f"harder checks or inputs left room for a lead: {' and '.join(full)} of these"
    leads = (f"{', '.join(labels)} {lead}" for lead, labels in needed.items())
    return f"tuned led {' and '.join(leads)}{where}"


def _significant_lead(evaluation: Evaluation, rival: SystemResult, how: Relation) -> tuple[float, float, str]:
    """A system's pass rate under the decoding in which tuned would have to lead, the lead, and that decoding, if it
    matters. Any lead ends a tie. What is undecided takes one where tuned is behind, otherwise over the system at its
    best, if tuned is not better there yet."""
    gaps = [gap for gap in comparisons_with(evaluation, rival) if gap.difference]
    tests = sum(gap.p_value is not None for gap in evaluation.comparisons)
    units = max(LEAST_TEST_INPUTS, min(gap.difference.units for gap in gaps if gap.difference))
    rates = {gap.mode: getattr(rival, gap.mode).pass_rate.estimate for gap in gaps if gap.outcome != "better"}
    leads = {mode: max(significant_lead(rate, units, tests), _LEAST_LEAD) for mode, rate in rates.items()}
    possible = [mode for mode in rates if rates[mode] + leads[mode] <= 1] or [*rates]
    differences = _differences(evaluation, rival)
    mode = min(possible, key=leads.__getitem__) if how in ("tie", "worse") else min(rates, key=differences.__getitem__)
    if how in ("few", "unclear") and differences[mode] >= -TIE_MARGIN:
        mode = max(rates, key=rates.__getitem__)
    is_any = len(rates) == len(gaps) and len({_points(lead) for lead in leads.values()}) == 1
    return rates[mode], leads[mode], "" if is_any else f" ({mode})"


def _spare_lead(evaluation: Evaluation, other: SystemResult) -> float:
    """By how much the lead over a system exceeds the least significant one, under the decoding with more to spare."""
    gaps = comparisons_with(evaluation, other)
    return max(
        gap.difference.estimate - _min_significant_lead(evaluation, gap, other) for gap in gaps if gap.difference
    )


def _min_significant_lead(evaluation: Evaluation, gap: Comparison, other: SystemResult) -> float:
    """About the smallest lead that the adjusted test would confirm if tuned lost passes on arbitrary inputs.

    A lead d on n inputs (or groups) is d / sqrt(v) standard errors long. Of the lost passes, those on inputs that the
    other system fails reduce v by 1 / n each, the others increase it.
    """
    current = standard_errors(gap.p_value or 1.0)
    if gap.difference is None or current <= 0:
        return 0.0
    lead, n = gap.difference.estimate, gap.difference.seeds * evaluation.number_of_groups / evaluation.seeds
    rate = getattr(other, gap.mode).pass_rate
    decrease = max(0.0, 1 - 2 * (rate.estimate if rate else 0.0)) / n
    needed = required_standard_errors(gap.p_value, gap.p_holm) ** 2
    rest = max(0.0, (lead / current) ** 2 - decrease * lead)
    return (needed * decrease + math.sqrt((needed * decrease) ** 2 + 4 * needed * rest)) / 2


def what_moves_the_rate(rates: Sequence[Interval], ship_at: float) -> str:
    """The pass rate of tuned whose interval, from as many answers as these, would include `ship_at`, which is below one
    of `rates` (its two decodings) or above both."""
    within = "passed: evaluate.ship_at would lie within the interval"
    if above := [rate for rate in rates if rate.low >= ship_at]:
        low = min(_rate_at_edge(rate, ship_at, is_above=True) for rate in above)
        return f"fewer than about {math.floor(100 * low)} % {within}"
    high = max(_rate_at_edge(rate, ship_at, is_above=False) for rate in rates)
    return f"at least about {math.ceil(100 * high)} % {within}"


def inputs_beyond_the_bar(evaluation: Evaluation, rates: Sequence[Interval], ship_at: float) -> str:
    """How many more test inputs would put the whole interval of tuned's pass rate on one side of `ship_at`, which lies
    within it: that of one of `rates` (its two decodings) above, or those of both below."""
    ahead = [rate for rate in rates if rate.estimate > ship_at]
    if ship_at == 1:
        return "evaluate.ship_at was below 1: no number of answers proves that all pass"
    if not ahead and any(rate.estimate == ship_at for rate in rates):
        return f"the rate moved away from {percent(ship_at)}"
    numbers = [rate.units * _growth_until_beyond(rate, ship_at) for rate in ahead or rates]
    more = evaluation.more_inputs(max(1, math.ceil(min(numbers) if ahead else max(numbers))))
    return f"there were about {more} and the pass rate stayed the same"


def _growth_until_beyond(rate: Interval, ship_at: float) -> float:
    """By which share of itself the number of answers would have to grow until an end of the interval is `ship_at`."""
    end, sign = (0, 1) if rate.estimate > ship_at else (1, -1)
    present = _effective(rate)
    return _where(lambda number: sign * _limits(rate.estimate, number)[end], sign * ship_at, present, 1e9) / present - 1


def _rate_at_edge(rate: Interval, ship_at: float, *, is_above: bool) -> float:
    """The pass rate whose interval would have its lower (or upper) end at `ship_at`."""
    effective = _effective(rate)
    return _where(lambda estimate: _limits(estimate, effective)[not is_above], ship_at, 0.0, 1.0)


def _effective(rate: Interval) -> float:
    """The number of independent answers that an interval is as wide as."""

    def width(effective: float) -> float:
        low, high = _limits(rate.estimate, effective)
        return low - high

    return _where(width, rate.low - rate.high, 1.0, 1e7)


def _limits(estimate: float, effective: float) -> tuple[float, float]:
    import numpy as np  # 10 MB, which a service that starts does not need

    from train.evaluation.limits import score_limits

    _, low, high = score_limits(np.array(estimate), np.array(effective))
    return float(low), float(high)


def _where(rising: Callable[[float], float], value: float, low: float, high: float) -> float:
    """Where a rising function reaches a value."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return high


def percent(share: float) -> str:
    """A share as a whole number of percent."""
    return f"{100 * share:.0f} %"


def _points(share: float) -> str:
    return counted(max(1, round(100 * share)), "point", "points")
