"""How the tuned model compares with another system over both decodings.

Two systems *tie* if the test finds no significant difference and either the tuned one passes at most 5 points more
often, or its interval ends below 10 points. A larger difference that the test does not confirm is unclear.
"""

from __future__ import annotations

from typing import Literal

from schemas.step_names import PROMPTED
from train.evaluation.comparison import Comparison
from train.evaluation.metrics import MODES, TUNED, Evaluation, Mode, ModeResult, SystemResult

Relation = Literal["better", "worse", "tie", "unclear", "few", "not measured"]

TIE_MARGIN, _TIE_UPPER_BOUND = 0.05, 0.10


def untuned(evaluation: Evaluation) -> list[SystemResult]:
    """The systems on the untuned base, without one that turned out to be the tuned model."""
    return [system for system in evaluation.systems if PROMPTED & {*system.names} and TUNED not in system.names]


def relation(evaluation: Evaluation, other: SystemResult) -> Relation:
    """The tuned model against one system over both decodings: better or worse if one decoding says so and none says the
    opposite. Better is unclear if the other system does as well under the decoding that suits it, and not measured if
    that may be the one under which it was not. Nor are worse and a tie, if tuned at its best leads what was measured.
    """
    each = {_of_one_decoding(gap) for gap in comparisons_with(evaluation, other)} - {"not measured"}
    if leads_under_one_only(evaluation, other) or {"better", "worse"} <= each:
        return "unclear"
    if "better" in each:
        return "not measured" if unfinished_modes(other) else "better"
    order: tuple[Relation, ...] = ("worse", "unclear", "few", "tie")
    known: Relation = next((how for how in order if how in each), "not measured")
    is_open = bool(unmeasured_modes(other)) and lead_at_best(evaluation, other) > TIE_MARGIN
    return "not measured" if is_open and known in ("worse", "tie") else known


def unmeasured_modes(system: SystemResult) -> list[Mode]:
    """The decodings under which a system was asked but not measured."""
    results: dict[Mode, ModeResult] = {mode: getattr(system, mode) for mode in MODES}
    return [mode for mode, result in results.items() if result.asked and result.pass_rate is None]


def unfinished_modes(system: SystemResult) -> list[Mode]:
    """Those of them under which it answered, but too few answers are complete."""
    return [mode for mode in unmeasured_modes(system) if getattr(system, mode).answered]


def leads_under_one_only(evaluation: Evaluation, other: SystemResult) -> bool:
    """Whether tuned is better under one decoding, but at its best passes hardly more often than the other system at its
    best: a prompt whose greedy answers loop may do as well as tuned when it is sampled."""
    outcomes = {gap.outcome for gap in comparisons_with(evaluation, other)} - {"not measured"}
    return "better" in outcomes and outcomes != {"better"} and lead_at_best(evaluation, other) <= TIE_MARGIN


def leads_in_both_directions(evaluation: Evaluation, other: SystemResult) -> bool:
    """Whether each of the two is better under one decoding, which more inputs would hardly change."""
    return {"better", "worse"} <= {gap.outcome for gap in comparisons_with(evaluation, other)}


def lead_at_best(evaluation: Evaluation, other: SystemResult) -> float:
    """Tuned's pass rate under its better decoding, minus the other system's under its own."""
    return _best_rate(evaluation.system(TUNED)) - _best_rate(other)


def _best_rate(system: SystemResult) -> float:
    return max((rate.estimate for rate in (system.sampled.pass_rate, system.greedy.pass_rate) if rate), default=0.0)


def _of_one_decoding(gap: Comparison) -> Relation:
    outcome, interval = gap.outcome, gap.difference
    if outcome in ("better", "worse"):
        return outcome
    if interval is None:
        return "not measured"
    if outcome == "not enough evidence":
        return "few"
    if gap.hangs_on_unscored:
        return "unclear"
    return "tie" if interval.estimate <= TIE_MARGIN or interval.high <= _TIE_UPPER_BOUND else "unclear"


def comparisons_with(evaluation: Evaluation, other: SystemResult) -> list[Comparison]:
    gaps = (evaluation.comparison(TUNED, other.name, mode) for mode in MODES)
    return [gap for gap in gaps if gap is not None]
