"""The evaluation page and its outputs over the API, with modified evaluation files."""

from __future__ import annotations

import json
import os
from html import unescape

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.receipts.outcome import EvaluateOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.report import render
from pairsmith.report.gather import gather
from pairsmith.serve.pages.page_terms import on_page
from pairsmith.serve.workspace import Workspace
from schemas.files import sha256
from schemas.records import Counts
from schemas.spec_file import SPEC_NAME, set_keys
from schemas.store.latest import latest
from tests.pairsmith import report_project
from tests.serve.conftest import Browse

CHANGED = "this evaluation was changed after it was written"


def test_tampered_evaluation_is_not_shown(workspace: Workspace, browse: Browse) -> None:
    """Neither the page nor the API shows a modified evaluation: both report the change and what to do, like the report.
    A filter by an unknown name is refused, which had looked like a system that answered nothing."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    project, store = report_project.whole(folder, merged=False)
    with store:
        evaluation = latest(store, "evaluation")
        assert evaluation is not None
        file = folder / evaluation.path
        with recording(project, store, "evaluate", EvaluateOutcome()) as record:
            counts = Counts(rows_in=1, accepted=1)
            record.outcome = EvaluateOutcome(counts=counts, artifact_id=evaluation.id, sha256=sha256(file))
    client = browse(workspace)
    outputs = f"/api/v1/projects/whole/evaluations/{evaluation.id}/outputs"
    written, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    assert "Systems" in client.get("/p/whole/evaluation").text
    every = client.get(outputs).json()["items"]
    assert every
    assert client.get(outputs, params={"system": every[0]["system"]}).json()["items"]
    for name in "system", "failed_check":
        unknown = client.get(outputs, params={name: "tunned"})
        assert (unknown.status_code, unknown.json()["where"]) == (400, name)
        assert "'tunned'" in unknown.json()["what"]
        assert every[0]["system"] in unknown.json()["fix"] or name == "failed_check"
    file.write_bytes(written.replace(b'"all_pass":false', b'"all_pass":true', 1))
    os.utime(file, ns=times)  # as a copy that keeps times does
    page = client.get("/p/whole/evaluation")
    assert page.status_code == 422
    assert CHANGED in page.text.replace("This evaluation", "this evaluation")
    assert "Delete the file" in page.text
    assert "Systems" not in page.text
    assert CHANGED in client.get(outputs).json()["what"]
    file.write_bytes(written)
    assert "Systems" in client.get("/p/whole/evaluation").text
    file.unlink()
    file.mkdir()  # it cannot be read, like one that is deleted while the page is rendered
    assert "file is missing. Evaluate again" in client.get("/p/whole/evaluation").text


def test_the_verdict_is_that_of_the_report(workspace: Workspace, browse: Browse) -> None:
    """The page begins with the verdict, and says why and what would change it. It had said "it is better" of a model
    whose verdict in the terminal and the report was "not enough evidence"."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    project, store = report_project.whole(folder, merged=False)
    with store:
        concluded = gather(project, store).verdict
    page = unescape(browse(workspace).get("/p/whole/evaluation").text)
    assert concluded is not None
    assert f"<h1>{concluded.decision.capitalize()}: tuned passes " in page
    assert f"Verdict: <b>{concluded.decision}</b>. Should you fine-tune at all?" in page
    for line in (*concluded.because, *concluded.flips_when):
        assert f"<li>{on_page(line)}</li>" in page


def test_generated_test_input_is_shown(workspace: Workspace, browse: Browse) -> None:
    """For a seed that is a finished output, the test uses an input that the teacher wrote, which is not a seed in the
    store. It is shown above its answers like any other and can be searched."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    project, store = report_project.whole(folder, merged=False)
    with store:
        evaluation = latest(store, "evaluation")
        assert evaluation is not None
        file = folder / evaluation.path
        asked = json.loads(file.read_bytes())["outputs"][0]["seed_id"]
        text = file.read_text().replace(asked, "0" * 32)
        file.write_text(json.dumps({**json.loads(text), "inputs": {"0" * 32: "a kite that the teacher thought of"}}))
        with recording(project, store, "evaluate", EvaluateOutcome()) as record:
            counts = Counts(rows_in=1, accepted=1)
            record.outcome = EvaluateOutcome(counts=counts, artifact_id=evaluation.id, sha256=sha256(file))
    client = browse(workspace)
    page = client.get("/p/whole/evaluation?q=thought").text
    assert "a kite that the teacher thought of" in page
    assert "0" * 32 not in page


def test_answers_stand_beside_their_reference(workspace: Workspace, browse: Browse) -> None:
    """An input's answers can be judged against what a person wrote, and the measures against references are on the
    page, as in the report. They were in the report only, and the reference itself nowhere."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    project, store = report_project.whole(folder)
    with store:
        evaluation = latest(store, "evaluation")
        assert evaluation is not None
        file = folder / evaluation.path
        record = json.loads(file.read_bytes())
        record["references"] = dict.fromkeys({o["seed_id"] for o in record["outputs"]}, "a kite as a person saw it")
        sampled = record["systems"][-1]["sampled"]
        exact, chrf = sampled["pass_rate"], {"value": 0.31, "low": 0.2, "high": 0.4}
        sampled["by_reference"] = {"inputs": len(record["references"]), "exact": exact, "chrf": chrf}
        file.write_text(json.dumps(record))
        with recording(project, store, "evaluate", EvaluateOutcome()) as record_of_run:
            counts = Counts(rows_in=1, accepted=1)
            record_of_run.outcome = EvaluateOutcome(counts=counts, artifact_id=evaluation.id, sha256=sha256(file))
        report = render(gather(project, store))
    for page in (unescape(browse(workspace).get("/p/whole/evaluation").text), unescape(report)):
        assert "<span>reference</span>a kite as a person saw it</p>" in page
        assert "0.31 [0.20, 0.40]" in page


def test_a_teacher_that_is_also_few_shot_can_be_compared(workspace: Workspace, browse: Browse) -> None:
    """With the embedded model, few-shot and teacher are one system. The filter for inputs where the tuned model fails
    and the teacher passes found none, because it looked for answers of a system called teacher."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    _, store = report_project.whole(folder)
    store.close()
    client = browse(workspace)
    assert "tuned fails where the teacher passes" in client.get("/p/whole/evaluation").text
    assert "No test inputs match" not in client.get("/p/whole/evaluation?worse=1").text


def test_a_pattern_is_shown_once(workspace: Workspace, browse: Browse) -> None:
    """A check's pattern stands beside its name, not under every answer that it fails, and answers are folded except for
    the first input: the page was nine screens long. The counts are those of the stored outputs, and the pattern is the
    one that they were checked with, also once the spec has another: that one had been shown beside the old shares."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    project, store = report_project.whole(folder, merged=False)
    with store:
        evaluation = latest(store, "evaluation")
        assert evaluation is not None
        outputs = json.loads((folder / evaluation.path).read_bytes())["outputs"]
    (pattern,) = (one.pattern for one in project.spec.curate.gates.must)
    spec = folder / SPEC_NAME
    spec.write_text(set_keys(spec.read_text(), {"curate.gates.must": [{"name": "ar_flag", "pattern": "another"}]}))
    page = unescape(browse(workspace).get("/p/whole/evaluation").text)
    assert "another" not in page
    assert (page.count(pattern), page.count("nothing matches “")) == (1, 0)
    assert page.count('<details class="draw" open>') == 1
    tuned = [o for o in outputs if o["system"] == "tuned" and o["mode"] == "sampled"]
    failed = sum(o["checks"]["must:ar_flag"] is False for o in tuned)
    label = "1 answer of" if failed == 1 else f"{failed} answers of"
    assert failed == 0 or f'aria-label="{label} tuned that fail must:ar_flag">{failed}</a>' in page


def test_a_cut_answer_is_marked_as_cut(workspace: Workspace, browse: Browse) -> None:
    """A system whose answers were all cut is "not measured", and had a cross at each of them, as if checks had failed
    it."""
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    project, store = report_project.whole(folder, merged=False)
    with store:
        evaluation = latest(store, "evaluation")
        assert evaluation is not None
        file = folder / evaluation.path
        record = json.loads(file.read_bytes())
        for output in record["outputs"]:
            if output["system"] == "base":
                output["finish"] = "length"
        file.write_text(json.dumps(record))
        with recording(project, store, "evaluate", EvaluateOutcome()) as record_of_run:
            counts = Counts(rows_in=1, accepted=1)
            record_of_run.outcome = EvaluateOutcome(counts=counts, artifact_id=evaluation.id, sha256=sha256(file))
    page = unescape(browse(workspace).get("/p/whole/evaluation").text)
    marks = page.count('<span>base <span class="fail">cut</span></span>')
    assert marks == page.count('<details class="draw"') > 0
