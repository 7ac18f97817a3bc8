"""Apply the present price to answers that were bought before their price was known.

This happens when an evaluation is read and never changes its file, so a price that is set or corrected later takes
effect. Not covered: a provider that reported token counts for only some of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import Usage
from schemas.spec import Spec
from synth.prices import Prices, prices_of
from train.metrics import MODES, Evaluation, ModeResult, Output, SystemResult


def priced(evaluation: Evaluation, spec: Spec) -> Evaluation:
    """The evaluation with a price for the teacher's answers of unknown cost, if its model is the spec's teacher."""
    teacher = spec.teacher_for("evaluate")
    unpriced = [
        system
        for system in evaluation.systems
        if "teacher" in system.names
        and system.model == (teacher.identity or teacher.model)
        and any(_is_unpriced(getattr(system, mode)) for mode in MODES)
    ]
    prices = prices_of(teacher) if unpriced else None
    if prices is None:
        return evaluation
    systems = (_apply_price(prices, each, evaluation) if each in unpriced else each for each in evaluation.systems)
    return evaluation.model_copy(update={"systems": tuple(systems)})


def _is_unpriced(result: ModeResult) -> bool:
    return result.usd is None and result.usage != Usage()


def _apply_price(prices: Prices, system: SystemResult, evaluation: Evaluation) -> SystemResult:
    outputs = evaluation.outputs_of(system.name)
    usd = {
        mode: _estimate_usd(prices, result, outputs[mode])
        for mode in MODES
        if _is_unpriced(result := getattr(system, mode))
    }
    results: dict[str, ModeResult] = {
        mode: getattr(system, mode).model_copy(update={"usd": cost}) for mode, cost in usd.items() if cost is not None
    }
    return system.model_copy(update={**results, "priced_by": prices.source}) if results else system


def _estimate_usd(prices: Prices, result: ModeResult, outputs: Sequence[Output]) -> float | None:
    """The total cost, assuming that all requests have about the same length, because the price per token may depend on
    the length."""
    number, tokens = len({output.seed_id for output in outputs if output.answered}), result.usage.model_dump()
    shares = (
        Usage(**{name: count * (at + 1) // number - count * at // number for name, count in tokens.items()})
        for at in range(number)
    )
    costs = [prices.usd(share) for share in shares]
    return sum(cost or 0.0 for cost in costs) if costs and None not in costs else None
