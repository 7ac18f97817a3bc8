"""Tests of the report's section on judges: it shows all results, and is missing if nothing was judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pairsmith.report import render
from pairsmith.report.gather import gather
from schemas.store import Store
from tests.pairsmith import report_project
from train.evaluation.judgements import (
    Checklist,
    JudgedEvaluation,
    PairwiseChoice,
    checklist_result,
    first_wins,
    win_rates,
)


def test_the_page_shows_judges_checklists_and_win_rates(tmp_path: Path) -> None:
    """The page shows the judges, every system's checklist, win rates, the judges' position bias, and warnings."""
    project = report_project.project_in(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        report_project.generated(project, store)
        report_project.evaluated(
            project, store, report_project.trained(project, store, report_project.curated(project, store))
        )
        evidence = gather(project, store)
    evaluation = evidence.evaluation
    assert evaluation is not None
    assert "What judges say" not in render(evidence)
    seeds = sorted({output.seed_id for output in evaluation.outputs})
    names = [system.name for system in evaluation.systems]
    answers = [Checklist(system=n, seed_id=s, answers={"calm": 0.75}) for n in names for s in seeds]
    answers[0] = answers[0].model_copy(update={"answers": {}, "reason": "unreadable: <b>hm</b>"})
    choices = [PairwiseChoice(against=names[0], seed_id=s, wins=((True, False),), longer=3) for s in seeds]
    judged = JudgedEvaluation(
        judges=("<judge>",),
        questions={"calm": "Is it calm?"},
        warnings=("the judge is a cousin",),
        checklists=tuple(checklist_result(name, [a for a in answers if a.system == name]) for name in names),
        win_rates=win_rates(choices),
        first=first_wins(choices),
        answers=tuple(answers),
        choices=tuple(choices),
    )
    page = render(replace(evidence, evaluation=evaluation.model_copy(update={"judged": judged})))
    assert "What judges say" in page
    assert "&lt;judge&gt; answered 1 question" in page
    assert "1 not scored" in page
    assert "the effect of length cannot be separated" in page
    assert "The judges choose the answer shown first in 1.00" in page
    assert "The judge is a cousin." in page
