"""Whether the last certificate still holds: it is bound to the rows and to what scores them, and to nothing behind."""

from __future__ import annotations

from collections.abc import Sequence

from pairsmith import plan
from pairsmith.outcome import CertifyOutcome, CurateOutcome
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store
from schemas.store.latest import last_good, last_judged

FILE = "certificate.json"
# Reasons for a stage to be done again that change no row and no score.
_HARMLESS = ("people have answered since", "somebody has certified since", " is gone", plan.UNCERTIFIED)


def last_look(project: Project, store: Store, steps: Sequence[plan.PlannedStage] | None = None) -> Json | None:
    """The last look: its `words`, whether its certificate `holds` for the rows as they are, and `why` not. None before
    the first."""
    looked = last_good(store.receipts("certify"), "certify")
    if looked is None:
        return None
    outcome = CertifyOutcome.of(looked)
    why = _why_not(project, store, outcome, steps or plan.plan(project, store))
    since = store.review_count() - outcome.review_count
    return {
        "words": outcome.words,
        "id": outcome.artifact_id,
        "holds": bool(outcome.artifact_id) and not why,
        "why": why,
        "answers_since": since,
    }


def _why_not(project: Project, store: Store, outcome: CertifyOutcome, steps: Sequence[plan.PlannedStage]) -> str:
    if outcome.artifact_id and not (project.folder / FILE).is_file():
        return f"{FILE} is gone"
    for step in steps:
        if step.stage in ("generate", "curate") and not step.done and not step.why.endswith(_HARMLESS):
            return f"{step.stage}: {step.why}"
    curated = last_judged(store.receipts("curate"))
    shaped = CurateOutcome.of(curated).more.get("shaped_rows") if curated else None
    if shaped is None:
        return "the rows were curated by an earlier version; run `pairsmith curate`"
    names = [name for name in shaped if outcome.parts.get(name, shaped[name]) != shaped[name]]
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} changed since" if names else ""


def in_lines(state: Json | None) -> list[tuple[str, str]]:
    """The same for a person."""
    if state is None:
        return []
    if state["id"] and not state["holds"]:
        return [("certified", f"no longer: {state['why']}. `pairsmith certify` looks again")]
    since = f" ({state['answers_since']:,} answers since)" if state["answers_since"] else ""
    return [("certified", f"{state['words']}{since}")]
