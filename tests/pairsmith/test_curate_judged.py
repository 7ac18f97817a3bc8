"""`curate` with a judge, as a person runs it: its cost is in the receipt, what should be known is said first."""

from __future__ import annotations

from pathlib import Path

from pairsmith.stages.curate import curate, summary
from pairsmith.stages.table import Audience
from schemas.project import Project
from schemas.store import Store
from tests.curate import tiny
from tests.curate.judging import checklist, part
from tests.curate.test_judge import by_word, project
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says


def test_the_receipt_tells_what_judging_cost_and_the_command_warns(tmp_path: Path) -> None:
    """Requests, tokens and money by stage, also where the budget ends it; a judge of the writer's family is told."""
    sentences: list[str] = []
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url}, model="smollm-judge")
        opened = Project(project_.folder, project_.spec)
        with Store.open(Store.url_for(opened)) as store:
            _pool(store, opened)
            outcome = curate(opened, store, Audience(say=sentences.append))
            again = curate(opened, store, Audience(say=sentences.append))
    assert outcome.calls_sent == 2
    assert [(cost["stage"], cost["requests"]) for cost in outcome.costs or ()] == [("judge", 2)]
    assert outcome.usd == 2 * 15e-6
    assert outcome.scorer is not None
    assert outcome.scorer["by"] == "judge/checklist@2"
    assert again.calls_sent == 0
    assert any("Hugging Face" in sentence for sentence in sentences)
    assert not any("leave this machine" in sentence for sentence in sentences), "the judge is on it"
    assert list((tmp_path / "receipts").glob("*-curate.json"))


def test_a_judge_whose_answer_is_prose_makes_its_row_wait_and_what_helps_is_told(tmp_path: Path) -> None:
    """Asked again it would say the same, so the rows wait until somebody else is asked: a person is told where they are
    and what to do."""

    def prose(ask: Ask) -> Reply:
        return says("I like this one a lot.") if "calm" in part(ask, "output") else checklist(by_word)(ask)

    with LoopbackTeacher(prose) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        opened = Project(project_.folder, project_.spec)
        with Store.open(Store.url_for(opened)) as store:
            _pool(store, opened)
            outcome = curate(opened, store)
    assert (outcome.counts.accepted, outcome.counts.waiting) == (1, 1)
    assert dict(summary(outcome))["judged by"] == (
        "a, by 2 questions; 1 row whose answer could not be read: they wait, `pairsmith rows --state waiting` shows"
        " what was said; another judge, or a prompts/judge of your own, is asked anew"
    )


def _pool(store: Store, opened: Project) -> None:
    """Two rows under the fingerprint of the spec's own generation."""
    from pairsmith import teachers

    fingerprint = teachers.fingerprints_of(opened, lambda sentence: None)[0]
    tiny.pool(store, opened, {"a fox": ["must be calm", "must be bright"]}, fingerprint=fingerprint)
