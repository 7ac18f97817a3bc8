"""Answers that were bought before anybody knew their price, at the price that stands now.

It is applied where an evaluation is read, never to its file: what was measured stays, and a price that is set or
corrected later counts. Not covered: a provider that counted the tokens of some of the answers only.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import Usage
from schemas.spec import Spec
from synth.prices import Prices, prices_of
from train.metrics import MODES, Evaluation, ModeResult, Output, SystemResult


def priced(evaluation: Evaluation, spec: Spec) -> Evaluation:
    """The same with a price for the teacher's answers whose cost nobody knows, where its model is the spec's."""
    teacher = spec.teacher_for("evaluate")
    lacking = [
        system
        for system in evaluation.systems
        if "teacher" in system.names
        and system.model == (teacher.identity or teacher.model)
        and any(_lacks(getattr(system, mode)) for mode in MODES)
    ]
    prices = prices_of(teacher) if lacking else None
    if prices is None:
        return evaluation
    systems = (_at(prices, one, evaluation) if one in lacking else one for one in evaluation.systems)
    return evaluation.model_copy(update={"systems": tuple(systems)})


def _lacks(result: ModeResult) -> bool:
    return result.usd is None and result.usage != Usage()


def _at(prices: Prices, system: SystemResult, evaluation: Evaluation) -> SystemResult:
    outputs = evaluation.outputs_of(system.name)
    usd = {mode: _usd(prices, result, outputs[mode]) for mode in MODES if _lacks(result := getattr(system, mode))}
    results: dict[str, ModeResult] = {
        mode: getattr(system, mode).model_copy(update={"usd": cost}) for mode, cost in usd.items() if cost is not None
    }
    return system.model_copy(update={**results, "priced_by": prices.source}) if results else system


def _usd(prices: Prices, result: ModeResult, outputs: Sequence[Output]) -> float | None:
    """The sum of as many requests as there were, each of about the same length: a price may depend on the length."""
    number, tokens = len({output.seed_id for output in outputs if output.answered}), result.usage.model_dump()
    shares = (
        Usage(**{name: count * (at + 1) // number - count * at // number for name, count in tokens.items()})
        for at in range(number)
    )
    costs = [prices.usd(share) for share in shares]
    return sum(cost or 0.0 for cost in costs) if costs and None not in costs else None
