"""What the pages say of a run that stopped, in their own words."""

from __future__ import annotations

from pathlib import Path

from pairsmith.plan import PlannedStage
from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import Snapshot
from schemas.project import Project
from schemas.records import now
from schemas.spec import Spec

SPEC = Spec.model_validate(
    {"task": {"name": "a", "style": "Write it well."}, "seeds": [{"path": "s.jsonl"}], "evaluate": {"checks": []}}
)


def page(next_stage: str, why: str, gate: str) -> str:
    """The run page of a job that waits, where `next_stage` is not done for the reason `why`."""
    job = Job(
        id="1", project="a", command="run", options=JobOptions(), by="ann", state="waits_for_people", created=now(),
        answer={"facts": {"gate": gate}}, note="115 rows wait for a certificate",
    )  # fmt: skip
    stages = (PlannedStage(next_stage, False, why),)
    of = Snapshot("a", Project(Path(), SPEC), None, stages, (), ())
    return words.run(of, job, None, None, None)


def test_a_run_that_waits_says_for_whom() -> None:
    """For people the present sentence of the review, which answers change; for a certificate what the run said, as long
    as training is what comes next."""
    assert page("review", "12 rows wait for people", "asking") == "12 rows wait for people."
    assert page("train", "not run yet", "uncertified") == "115 rows wait for a certificate."
    assert page("curate", "somebody has certified since", "uncertified") == "Somebody has certified since."
