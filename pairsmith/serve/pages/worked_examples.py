"""Worked examples as the setup shows them: with what would be said against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pairsmith.serve.pages import words
from schemas.errors import PairsmithError
from schemas.project import Project

if TYPE_CHECKING:
    from curate.gates import GateStep

_OF_THE_TEST = (
    "No run begins with it: it is like a seed that is kept for the test, which no teacher may see. Write another one, "
    "which is not among the seeds."
)


def harmless_gates(project: Project) -> list[GateStep]:
    """The gates of a spec that run no pattern, schema or function of its writer: those run in a job's process alone,
    where one that never ends hurts nobody else."""
    from curate.gates import gates_for

    own = {"must": (), "must_not": (), "json_schema": None, "user": ()}
    task = project.spec.task
    if task.answer_schema is not None or task.kind == "extract":
        return []
    return gates_for(task, project.spec.curate.gates.model_copy(update=own), project.folder, project.spec.exemplars)


def judged(project: Project, of_the_test: Mapping[int, str]) -> list[dict[str, Any]]:
    """The worked examples, each with what the built-in gates have against it, or that a run would refuse it."""
    from curate.gates import judge_text

    try:
        steps = harmless_gates(project)
    except PairsmithError as error:
        return [{"input": e.input, "output": e.output, "against": [error.what]} for e in project.spec.exemplars]
    against_each = []
    for number, exemplar in enumerate(project.spec.exemplars):
        judgements = judge_text(exemplar.input, exemplar.output, steps)
        against = [words.reason(j.reason.code, j.reason.detail) for j in judgements.values() if j.keep is False]
        if number in of_the_test:
            against.insert(0, f"{_OF_THE_TEST} It is near: “{of_the_test[number][:80]}”.")
        against_each.append({"input": exemplar.input, "output": exemplar.output, "against": against})
    return against_each
