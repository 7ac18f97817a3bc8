"""Worked examples for the setup page, each with the objections to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairsmith.serve.pages import words
from schemas.errors import PairsmithError
from schemas.project import Project
from schemas.records import Seed

if TYPE_CHECKING:
    from curate.gates import GateStep

_OF_THE_TEST = (
    "A run will not start with this example: it is too similar to a seed in the test split, which the teacher must not "
    "see. Write another example that is not among the seeds."
)


def built_in_gates(project: Project, seeds: Sequence[Seed] = ()) -> list[GateStep]:
    """The gates of a project and its seeds without its own patterns, schemas and functions.

    User-defined code runs only in a job's process, where code that never ends does not block the server."""
    from curate.gates import gates_for

    own = {"must": (), "must_not": (), "json_schema": None, "user": ()}
    task = project.spec.task
    if task.answer_schema is not None or task.kind == "extract":
        return []
    settings = project.spec.curate.gates.model_copy(update=own)
    return gates_for(task, settings, project.folder, project.spec.exemplars, seeds)


def judge_examples(
    project: Project, of_the_test: Mapping[int, str], seeds: Sequence[Seed] = ()
) -> list[dict[str, Any]]:
    """The worked examples, each with the reasons why a built-in gate would reject it or a run would refuse it."""
    from curate.gates import judge_text

    if not project.spec.exemplars:  # what imported seeds have in common takes most of a second to find
        return []
    try:
        steps = built_in_gates(project, seeds)
    except PairsmithError as error:
        return [{"input": e.input, "output": e.output, "against": [error.what]} for e in project.spec.exemplars]
    against_each = []
    for number, exemplar in enumerate(project.spec.exemplars):
        judgements = judge_text(exemplar.input, exemplar.output, steps)
        against = [words.reason(j.reason.code, j.reason.detail) for j in judgements.values() if j.keep is False]
        if number in of_the_test:
            against.insert(0, f"{_OF_THE_TEST} Similar seed: “{of_the_test[number][:80]}”.")
        against_each.append({"input": exemplar.input, "output": exemplar.output, "against": against})
    return against_each
