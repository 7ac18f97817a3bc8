"""The invented-detail rate: the share of answers that contain a number, a date, a contact or a name without a source.

The gates that detect them in training rows (`invented`, `contacts`, `invented_name`, and `values` of a record) check
every complete answer, if they are enabled in the spec, even if only to flag. The rate is shown beside the pass rate and
decides nothing: what a gate calls invented may be knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curate.gates import GateStep, gates_for, judge_text
from schemas.records import Seed
from schemas.spec import Spec
from schemas.step_names import By
from train.evaluation.intervals import ALONE, Interval, grouped, share
from train.evaluation.metrics import Output

DETAILS = ("invented", "contacts", "invented_name", "values")


def detail_gates(spec: Spec, folder: Path, seeds: Sequence[Seed] = ()) -> tuple[GateStep, ...]:
    """The spec's gates that detect invented details. Gates added by the kind of task, such as the one for labels, are
    not among them."""
    gates = gates_for(spec.task, spec.curate.gates, folder, seeds=seeds)
    return tuple(gate for gate in gates if By.read(gate.by).name in DETAILS)


def invented_rate(
    outputs: Sequence[Output],
    inputs: Mapping[str, str],
    references: Mapping[str, str],
    gates: Sequence[GateStep],
    groups: Mapping[str, str] = ALONE,
) -> Interval | None:
    """The share of complete answers in which a gate finds an invented detail; None without a gate or an answer.
    `inputs` and `references` are by seed id. Answers that a gate could not judge do not count as invented, nor do
    details that also occur in the reference."""
    if not gates:
        return None
    invents_by_seed: dict[str, list[bool]] = {}
    for output in outputs:
        if output.whole:
            source = "\n".join((inputs[output.seed_id], references.get(output.seed_id, "")))
            judged = judge_text(source, output.text, gates).values()
            invents = any(judgement.keep is False or judgement.flags for judgement in judged)
            invents_by_seed.setdefault(output.seed_id, []).append(bool(invents))
    if not invents_by_seed:
        return None
    per_seed, seed_groups = invents_by_seed.values(), grouped([*invents_by_seed], groups)
    return share([sum(flags) for flags in per_seed], [len(flags) for flags in per_seed], groups=seed_groups)
