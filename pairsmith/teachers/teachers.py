"""The teachers named in a project's spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.money import total
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Direction
from schemas.spec import TeacherSettings
from synth.generators import GENERATOR_CLASSES, fingerprints
from synth.ledger import Ledger
from synth.teachers import identified


def by_direction(project: Project, say: Say, *, batch: bool = False) -> dict[Direction, TeacherSettings]:
    """The teacher of each enabled direction of generation. Directions that share a teacher get the same object; the
    result is empty if no teacher is asked. With `batch`, each uses its batch API."""
    if not project.spec.needs_teacher:
        return {}
    names = {name: way.teacher for name, way in project.spec.generate.directions.items()}
    known: dict[str | None, TeacherSettings] = {}
    for way, name in names.items():
        if name not in known:
            known[name] = identified(project.spec.teacher_for(way), say)
            if batch:
                known[name] = known[name].model_copy(update={"batch": True})
    return {way: known[name] for way, name in names.items()}


def refuse_unkeepable_caps(project: Project, ledgers: Mapping[Direction, Ledger]) -> None:
    """Raise SpecError, before anything is sent, for a cap that could not be kept in a direction that has seeds."""
    kinds = {source.kind for source in project.spec.seeds}
    for way, ledger in ledgers.items():
        if not kinds.isdisjoint(GENERATOR_CLASSES[way].takes):
            ledger.meter.keepable_usd(project.spec.generate.directions[way].sampling.body())


def spent(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """What the ledgers asked and spent together, as fields of an outcome."""
    costs = [cost for ledger in ledgers for cost in ledger.costs]
    whole = total(costs)
    return {
        "calls_sent": sum(ledger.sent for ledger in ledgers),
        "calls_reused": sum(ledger.reused for ledger in ledgers),
        "usage": whole.usage,
        "usd": whole.total,
        "costs": tuple(cost.as_json() for cost in costs),
    }


def fingerprints_of(project: Project, say: Say) -> list[str]:
    """The fingerprints under which the candidates of the present spec are stored."""
    return list(fingerprints(project, by_direction(project, say)).values())
