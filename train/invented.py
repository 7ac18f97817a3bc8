"""The invented-detail rate: the share of answers with a number, a date, a contact or a name that came from nowhere.

The gates that find them in training rows (`invented`, `contacts`, `invented_name`, and `values` of a record) look at
every whole answer, as far as the spec has them on, be it only to flag. It stands beside the pass rate and decides
nothing: what a gate calls invented may be knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curate.gates import GateStep, gates_for, judge_text
from schemas.spec import Spec
from schemas.step_names import By
from train.intervals import ALONE, Interval, grouped, share
from train.metrics import Output

DETAILS = ("invented", "contacts", "invented_name", "values")


def detail_gates(spec: Spec, folder: Path) -> tuple[GateStep, ...]:
    """Those of the gates of the spec in `folder` that find invented details. A kind of task brings gates of its own,
    such as that a label is one, which say nothing of them."""
    gates = gates_for(spec.task, spec.curate.gates, folder)
    return tuple(gate for gate in gates if By.read(gate.by).name in DETAILS)


def invented_rate(
    outputs: Sequence[Output],
    inputs: Mapping[str, str],
    references: Mapping[str, str],
    gates: Sequence[GateStep],
    groups: Mapping[str, str] = ALONE,
) -> Interval | None:
    """The share of whole answers in which a gate finds an invented detail; None without a gate or an answer. `inputs`
    and `references` are by seed. What a gate could not judge, and what a person's answer holds too, is not counted as
    invented."""
    if not gates:
        return None
    invents_by_seed: dict[str, list[bool]] = {}
    for output in outputs:
        if output.whole:
            given = "\n".join((inputs[output.seed_id], references.get(output.seed_id, "")))
            judged = judge_text(given, output.text, gates).values()
            invents = any(judgement.keep is False or judgement.flags for judgement in judged)
            invents_by_seed.setdefault(output.seed_id, []).append(bool(invents))
    if not invents_by_seed:
        return None
    each, of_seeds = invents_by_seed.values(), grouped([*invents_by_seed], groups)
    return share([sum(one) for one in each], [len(one) for one in each], groups=of_seeds)
