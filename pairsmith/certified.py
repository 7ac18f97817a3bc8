"""Whether the last certificate still holds. It is bound to the rows and to what scores them, not to later stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairsmith import plan
from pairsmith.receipts.outcome import CertifyOutcome, CurateOutcome
from schemas.project import CERTIFICATE, Project
from schemas.records import Json
from schemas.store import Store
from schemas.store.latest import last_good, last_judged
from schemas.wording import capital, counted, percent

# Reasons to run a stage again that change no row and no score, and settings that only affect later steps.
_HARMLESS = (plan.ANSWERED, plan.ANSWERS_ERASED, "a certification has run since", " is missing", plan.UNCERTIFIED)
_LATER_SETTINGS = ("split.", "task.name", *(f"curate.select.{name}" for name in ("certified", "rows", "spread")))


def last_certification(project: Project, store: Store, steps: Sequence[plan.PlannedStage] | None = None) -> Json | None:
    """The last run of `certify`: its `words`, whether its certificate `holds` for the present rows, and `why` not. None
    if it never ran."""
    looked = last_good(store.receipts("certify"), "certify")
    if looked is None:
        return None
    outcome = CertifyOutcome.of(looked)
    why = _why_not(project, store, outcome, steps or plan.plan(project, store))
    since, words = store.review_count() - outcome.review_count, outcome.words
    if outcome.artifact_id and "disputed" not in outcome.certificate:
        words += "; an earlier version issued it without the rows whose answers settle nothing, which count as bad now:"
        words += " `pairsmith certify` checks again"
    return {
        "words": words,
        "id": outcome.artifact_id,
        "holds": bool(outcome.artifact_id) and not why,
        "why": why,
        "answers_since": since,
    }


def _why_not(project: Project, store: Store, outcome: CertifyOutcome, steps: Sequence[plan.PlannedStage]) -> str:
    if outcome.artifact_id and not (project.folder / CERTIFICATE).is_file():
        return f"{CERTIFICATE} is missing"
    for step in steps:
        if step.stage in ("generate", "curate") and not step.done and not step.why.endswith(_HARMLESS):
            why = plan.why_not(step.stage, project, store, _LATER_SETTINGS)
            if why and not why.endswith(_HARMLESS):
                return f"{step.stage}: {why}"
    curated = last_judged(store.receipts("curate"))
    shaped = CurateOutcome.of(curated).more.get("shaped_rows") if curated else None
    if shaped is None:
        return "the rows were curated by an earlier version; run `pairsmith curate`"
    names = [name for name in shaped if outcome.parts.get(name, shaped[name]) != shaped[name]]
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} changed since" if names else ""


def in_words(state: Mapping[str, Any]) -> str:
    """The result of the last certification as a sentence, or why its certificate is no longer valid. `state` is the
    result of `last_certification` or the facts of a job that certified."""
    if state.get("id") and state.get("why"):
        return f"The certificate is no longer valid: {state['why']}."
    return f"{capital(state.get('words') or 'no check has been made yet').rstrip('.')}."


def share_in_words(certificate: Json) -> str:
    """The estimated share of good rows as a sentence; empty if there are too few labels. Labels of more rows than there
    are mean nothing to a reader, so such a comparison is left out."""
    if not (share := certificate.get("share")):
        return ""
    effective = round(share["effective"])
    alone = f", which together carry as much information as {counted(effective, 'label', 'labels')} alone"
    return (
        f"Of the {counted(share['rows'], 'row', 'rows')} that the automatic steps accept, an estimated"
        f" {share['value']:.1%} are good"
        f" ({share['low']:.1%} to {share['high']:.1%} with {percent(share['confidence'])} confidence), based on"
        f" {counted(share['labels'], 'label', 'labels')} and P(good){alone if effective <= share['rows'] else ''}."
    )


def in_lines(state: Json | None) -> list[tuple[str, str]]:
    """The same as lines for the terminal."""
    if state is None:
        return []
    if state["id"] and not state["holds"]:
        return [("certified", f"{in_words(state)} `pairsmith certify` checks again")]
    count = state["answers_since"]
    words = ("review", "reviews") if count > 0 else ("review was erased", "reviews were erased")
    since = f" ({counted(abs(count), *words)} since)" if count else ""
    return [("certified", f"{state['words']}{since}")]
