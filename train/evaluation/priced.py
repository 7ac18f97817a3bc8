"""Apply the present price to answers whose recorded cost is not what single requests cost: bought before a price was
known, in a batch at half the price, or together with further samples.

This happens when an evaluation is read and never changes its file, so a price that is set or corrected later takes
effect. Not covered: a provider that reported token counts for only some of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.money import sum_if_known
from schemas.records import Usage
from schemas.spec import Spec
from synth.prices import Prices, prices_of
from train.evaluation.metrics import MODES, Evaluation, Mode, ModeResult, Output, SystemResult


def priced(evaluation: Evaluation, spec: Spec) -> Evaluation:
    """The evaluation with the price of single requests for the teacher's answers, if its model is the spec's
    teacher."""
    teacher = spec.teacher_for("evaluate")
    unpriced: dict[str, list[Mode]] = {
        system.name: modes
        for system in evaluation.systems
        if "teacher" in system.names
        and system.model == teacher.known_as
        and (modes := [mode for mode in MODES if _is_unpriced(evaluation, system, mode)])
    }
    prices = prices_of(teacher) if unpriced else None
    if prices is None:
        return evaluation
    systems = (_apply_price(prices, each, evaluation, unpriced.get(each.name, [])) for each in evaluation.systems)
    return evaluation.model_copy(update={"systems": tuple(systems)})


def _is_unpriced(evaluation: Evaluation, system: SystemResult, mode: Mode) -> bool:
    """True if the cost is unknown, or was paid for a batch, whose answers have no time, or for several samples at once.
    Where that was not recorded: a model with only one way to sample gives its first sample as the greedy answer too."""
    result: ModeResult = getattr(system, mode)
    if result.usd is None or not result.usd or result.usage == Usage():
        return result.usd is None and result.usage != Usage()
    has_one_way = system.sampling is not None and system.sampling == system.greedy_sampling
    is_shared = mode == "greedy" and (has_one_way if result.shared is None else result.shared)
    return is_shared or any(each.answered and not each.seconds for each in evaluation.outputs_of(system.name)[mode])


def _apply_price(prices: Prices, system: SystemResult, evaluation: Evaluation, modes: Sequence[Mode]) -> SystemResult:
    outputs = evaluation.outputs_of(system.name)
    usd = {mode: _estimate_usd(prices, getattr(system, mode), outputs[mode]) for mode in modes}
    current = {mode: {"usd": cost} for mode, cost in usd.items() if cost is not None}
    if not current:
        return system
    results: dict[str, ModeResult] = {
        mode: getattr(system, mode).model_copy(update={"at_current_price": mode in current, **current.get(mode, {})})
        for mode in MODES
    }
    changed = system.model_copy(update=results)
    # The other mode may have been priced alone: then what is shown is a recorded cost.
    return changed.model_copy(update={"priced_by": prices.source if changed.priced_mode in current else ""})


def _estimate_usd(prices: Prices, result: ModeResult, outputs: Sequence[Output]) -> float | None:
    """The total cost, assuming that all requests have about the same length, because the price per token may depend on
    the length."""
    number, tokens = len({output.seed_id for output in outputs if output.answered}), result.usage.model_dump()
    shares = (
        Usage(**{name: count * (at + 1) // number - count * at // number for name, count in tokens.items()})
        for at in range(number)
    )
    return sum_if_known(map(prices.usd, shares)) if number else None
