"""The evaluation page: systems with their intervals, the verdict, and the outputs, filtered by failed check."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from pydantic import ValidationError

from pairsmith.plan import due
from pairsmith.report import proof
from pairsmith.serve.access import Viewer
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import Snapshot, displayed_run, jobs_of, live_job, snapshot
from pairsmith.serve.pages.page_terms import on_page
from pairsmith.serve.pages.shell import link, page_router, project_page
from pairsmith.stages.evaluate import refuse_modified
from schemas.errors import InputError, PairsmithError
from schemas.records import Artifact, Seed
from schemas.store import tables
from schemas.store.latest import latest
from train.evaluation.metrics import TUNED, Evaluation, Output

if TYPE_CHECKING:
    from train.evaluation.verdict import ModelVerdict

router = page_router()
_PAGE = 20


@router.get("/p/{project}/evaluation", name="page_evaluation")
def evaluation(
    caller: Viewer,
    project: str,
    request: Request,
    check: str | None = None,
    system: str | None = None,
    worse: bool = False,
    q: str | None = None,
    begin: int = 0,
    evaluation: str | None = None,
) -> Response:
    """The latest evaluation, or another one by its id, with its filtered outputs."""
    job = live_job(request, project)
    now = snapshot(request, project).for_job(displayed_run(job, jobs_of(request, project)))
    artifacts = now.store.artifacts("evaluation")[::-1] if now.store else []
    shown = next((a for a in artifacts if a.id == evaluation), latest(now.store, "evaluation") if now.store else None)
    retouched: PairsmithError | None = None
    try:
        measured = read_evaluation(now, shown) if shown else None
    except InputError as error:
        measured, retouched = None, error
    concluded = _conclude(now, measured) if measured else None
    heading = words.evaluation(measured, concluded) if measured and concluded else None
    rows = _rows(now, measured, check, system, worse, q) if measured else []
    begin = max(0, begin)
    query = {"check": check, "system": system, "worse": "1" if worse else None, "q": q}
    base = f"/p/{project}/evaluation"
    return project_page(
        request,
        "evaluation",
        caller,
        project,
        heading=heading or _empty_heading(now, shown, retouched),
        error=retouched,
        cautions=[
            *words.changed_verdict(now, measured.id, concluded),
            *_stale_warning(now, measured),
            proof.headline(measured),
            *proof.caution(measured),
        ]
        if measured and concluded
        else [],
        differences=proof.sampled_differences(measured) if measured else [],
        v=measured,
        verdict=concluded,
        proof=proof,
        rows=rows[begin : begin + _PAGE],
        total=len(rows),
        following=link(base, **query, begin=begin + _PAGE) if len(rows) > begin + _PAGE else None,
        before=begin > 0,
        query=query,
        to=lambda **changed: link(base, **{**query, **changed}) + "#outputs",
        checks=_checks(measured) if measured else [],
        history=[artifact for artifact in artifacts if shown is None or artifact.id != shown.id],
        job=job,
        with_teacher=now.project.spec.measures_teacher,
        trained=bool(now.store and now.last("train")),
    )


def _conclude(now: Snapshot, evaluation: Evaluation) -> ModelVerdict:
    """The verdict, as `pairsmith evaluate` and the report give it, in the terms of the pages."""
    from train.evaluation.priced import priced
    from train.evaluation.verdict import verdict

    concluded = verdict(priced(evaluation, now.project.spec), now.project.spec.evaluate.ship_at)
    lines = {name: tuple(map(on_page, getattr(concluded, name))) for name in ("because", "flips_when")}
    return concluded.model_copy(update=lines)


def _stale_warning(now: Snapshot, evaluation: Evaluation) -> list[str]:
    """A warning if the evaluation is not of the current adapter, or older than the project's rows or settings, so that
    it is not mistaken for their evidence."""
    adapter = latest(now.store, "adapter") if now.store else None
    if adapter is not None and adapter.id != evaluation.adapter_id:
        return [f"This evaluation is of adapter {evaluation.adapter_id[:8]}. The current one is {adapter.id[:8]}."]
    if now.store is None or now.next_stage is None:
        return []
    first = due(now.project, now.store)
    return [on_page(f"Not up to date: {first.stage} is due ({first.why}).")] if first else []


def _empty_heading(now: Snapshot, shown: Artifact | None, retouched: PairsmithError | None) -> str:
    if retouched is not None:
        return "The evaluation file differs from what was measured."
    if shown is not None:
        return "The evaluation file is missing. Evaluate again to rebuild it; no stored answer is requested again."
    return f"Nothing has been evaluated yet{now.prerequisite('evaluate')}."


def read_evaluation(now: Snapshot, artifact: Artifact) -> Evaluation | None:
    """Read the evaluation from its file. None if the file is missing or has another version's format. Raises InputError
    if it was edited by hand."""
    try:
        content = (now.project.folder / artifact.path).read_bytes()
    except OSError:
        return None
    if now.store:
        refuse_modified(now.store, artifact.id, hashlib.sha256(content).hexdigest(), artifact.path)
    return _parsed(content)


@lru_cache(maxsize=4)
def _parsed(content: bytes) -> Evaluation | None:
    with suppress(ValidationError):
        return Evaluation.model_validate_json(content)
    return None


def _sampled_by_seed(evaluation: Evaluation) -> dict[str, dict[str, list[Output]]]:
    """The sampled outputs in order, by seed and then by system."""
    by_seed: dict[str, dict[str, list[Output]]] = {}
    for output in evaluation.outputs:
        if output.mode == "sampled":
            by_seed.setdefault(output.seed_id, {}).setdefault(output.system, []).append(output)
    for systems in by_seed.values():
        for outputs in systems.values():
            outputs.sort(key=lambda output: output.sample)
    return by_seed


def _rows(
    now: Snapshot, evaluation: Evaluation, check: str | None, system: str | None, worse: bool, q: str | None
) -> list[dict[str, Any]]:
    """The test inputs that match the filters, each with the outputs of every system. `worse` selects inputs for which
    the first sample of the tuned model fails and that of the teacher passes."""
    by_seed, rows = _sampled_by_seed(evaluation), list[dict[str, Any]]()
    teacher = next((s.name for s in evaluation.systems if "teacher" in s.names), "")  # it may be few-shot too
    read = now.store.bodies(tables.seeds, by_seed) if now.store else ()
    # An input written for a finished output is not a seed in the store.
    inputs = {example.seed_id: example.input for example in evaluation.side_by_side} | evaluation.inputs
    inputs |= {id_: Seed.model_validate_json(body).body for id_, body in read}
    for seed_id, systems in by_seed.items():
        chosen = [o for name, outputs in systems.items() if system in (None, "", name) for o in outputs]
        if check and not any(output.checks.get(check) is False for output in chosen):
            continue
        first = [bool(of and of[0].passes) if (of := systems.get(name)) else None for name in (TUNED, teacher)]
        if worse and first != [False, True]:
            continue
        text = inputs.get(seed_id, seed_id)
        if q and q.lower() not in text.lower() and not any(q.lower() in o.text.lower() for o in chosen):
            continue
        columns = [(s, systems.get(s.name, [])) for s in evaluation.systems]
        rows.append({"seed": seed_id, "input": text, "columns": columns})
    return rows


def _checks(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The checks, each with its pattern, the share of every system's sampled answers that pass it, and how many of the
    tuned model's fail it. `plain` is one without a pattern that every answer passes: its name says it all."""
    failed, patterns = dict.fromkeys(evaluation.check_names, 0), evaluation.patterns
    for output in evaluation.outputs:
        if output.mode == "sampled" and output.system == TUNED:
            for name, passed in output.checks.items():
                failed[name] = failed.get(name, 0) + (passed is False)
    shares = {name: [system.sampled.checks.get(name) for system in evaluation.systems] for name in failed}
    return [
        {
            "key": name,
            "name": proof.check_name(name)[0],
            "pattern": patterns.get(name),
            "shares": shares[name],
            "plain": name not in patterns and {1.0} == {*shares[name]} - {None},
            "failed": count,
        }
        for name, count in failed.items()
    ]
