"""Tests that the evidence file renders the report again, and is refused if any file that it refers to has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from pairsmith.commands import registry, start
from pairsmith.project import Project as Door
from pairsmith.receipts.outcome import EvaluateOutcome, TrainOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.report import render_evidence, write_report
from pairsmith.report.evidence_file import _digest
from pairsmith.report.gather import gather
from pairsmith.stages.evaluate import CODES, drop_unfinished, exit_code, refuse_modified
from pairsmith.stages.export import export
from pairsmith.terminal.stopping import Stopping
from pairsmith.terminal.watching import NOBODY, Invocation
from schemas.errors import InputError
from schemas.files import sha256
from schemas.project import Project
from schemas.records import Counts
from schemas.store import Store
from schemas.store.latest import latest, present
from tests.pairsmith import own_pairs, report_project
from tests.train import tiny
from train.results import TrainResult


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Store]]:
    project, store = report_project.whole(tmp_path_factory.mktemp("whole"))
    (project.folder / "pairsmith.toml").write_text("# the spec")
    (project.folder / "dataset" / "data").mkdir(parents=True)
    (project.folder / "dataset" / "data" / "train.jsonl").write_text("{}\n")
    write_report(project, store, project.folder / "report.html")
    yield project, store
    store.close()


@pytest.fixture
def copy(whole: tuple[Project, Store], tmp_path: Path) -> Path:
    """A copy of the project's folder for a test to modify."""
    return Path(shutil.copytree(whole[0].folder, tmp_path / "copy"))


def test_the_report_is_rendered_from_the_evidence_alone(whole: tuple[Project, Store], tmp_path: Path) -> None:
    """The page is byte-identical without a store and other files, and the files that could not be compared are
    listed."""
    alone = Path(shutil.copy(whole[0].folder / "evidence.json", tmp_path / "evidence.json"))
    checked = render_evidence(alone, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (whole[0].folder / "report.html").read_bytes()
    assert not checked.same
    assert "evaluations/one.json" in checked.missing
    with_files = render_evidence(alone, tmp_path / "again.html", (whole[0].folder,))
    assert not with_files.missing
    assert {"dataset/data/train.jsonl", "adapters/one/training.json", "evaluations/one.json"} <= {*with_files.same}


def test_the_evidence_contains_every_answer_with_its_id(whole: tuple[Project, Store]) -> None:
    """It does not contain the path of the project's folder."""
    project, store = whole
    text = (project.folder / "evidence.json").read_text()
    evaluation = gather(project, store).evaluation
    assert evaluation is not None
    answers = json.loads(text)["evidence"]["evaluation"]["outputs"]
    assert [answer["key"] for answer in answers] == [output.key for output in evaluation.outputs]
    assert str(project.folder) not in text


@pytest.mark.parametrize(
    "name", ["dataset/data/train.jsonl", "adapters/one/training.json", "evaluations/one.json", "pairsmith.toml"]
)
def test_a_changed_file_is_refused(copy: Path, name: str) -> None:
    """One more byte in data, training record, evaluation or spec, and the report is not rendered."""
    (copy / name).write_text((copy / name).read_text() + "\n")
    page = copy / "again.html"
    with pytest.raises(InputError, match=f"{name}.*not the file that the evidence refers to") as refused:
        render_evidence(copy / "evidence.json", page)
    assert refused.value.fix
    assert not page.exists()


def test_an_edited_number_is_refused(copy: Path) -> None:
    """The file's own digest reveals any edit; a file that is not evidence is a clear error."""
    path = copy / "evidence.json"
    body = json.loads(path.read_text())
    body["evidence"]["evaluation"]["outputs"][0]["all_pass"] = True
    body["evidence"]["seeds"] = {"input": 9999}
    path.write_text(json.dumps(body))
    with pytest.raises(InputError, match="changed after it was written"):
        render_evidence(path, copy / "again.html")
    for other in ("[]", "{", '{"format": 7}'):
        path.write_text(other)
        with pytest.raises(InputError, match="not an evidence file"):
            render_evidence(path, copy / "again.html")
    with pytest.raises(InputError, match="cannot be read"):
        render_evidence(copy / "nothing.json", copy / "again.html")


@pytest.mark.parametrize("earlier", ["outcome", "unscored answers", "advice"])
def test_evidence_of_other_rules_says_that_the_verdict_was_decided_by_them(copy: Path, earlier: str) -> None:
    """A file of an earlier version keeps its verdict although its comparisons follow the present rules. The page says
    so if a comparison or the advice comes out differently, or numbers differ because a check could not judge some
    answers."""
    path, page = copy / "evidence.json", copy / "again.html"
    body = orjson.loads(path.read_bytes())
    evidence = body["evidence"]
    del body["sha256"], evidence["recomputed"]
    outcomes = evidence.pop("outcomes")
    if earlier == "outcome":
        outcomes["base"]["sampled"] = "better"
        (receipt,) = [run for run in evidence["receipts"] if run["command"] == "evaluate"]
        receipt["facts"]["outcomes"] = outcomes  # the only record of them in such a file
    elif earlier == "advice":
        evidence["verdict"]["fine_tune"] = "fine-tune"
    else:
        for answer in evidence["evaluation"]["outputs"]:
            if answer["system"] == "base":
                answer |= {"checks": dict.fromkeys(answer["checks"]), "all_pass": None}
    path.write_bytes(orjson.dumps({**body, "sha256": _digest(body)}))
    render_evidence(path, page)
    text = page.read_text()
    assert "The rules have changed since" in text
    change = "tuned against base (sampled): better then, not enough evidence now"
    assert (change in text) == (earlier == "outcome")
    assert ("should you fine-tune at all: fine-tune then, " in text) == (earlier == "advice")
    assert f"Verdict: <b>{evidence['verdict']['decision']}</b>" in text


def test_the_command_renders_and_refuses_with_a_code(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`pairsmith report --from FILE` needs neither spec nor store, names missing files, and refuses with code 4. A
    folder's name is shown literally."""
    page, one = copy / "[draft]" / "again.html", copy / "evaluations" / "one.json"
    elsewhere = one.rename(copy / "elsewhere.json")
    assert start(["report", "--from", str(copy / "evidence.json"), "--out", str(page)]) == 0
    screen = capsys.readouterr().out
    assert f"report    {page}\n" in screen
    assert "1 missing here, so not compared: evaluations/one.json\n" in screen
    elsewhere.rename(one)
    assert page.is_file()
    (copy / "evaluations" / "one.json").write_text("{}")
    assert start(["report", "--from", str(copy / "evidence.json"), "--out", str(page)]) == 4
    assert "instead of" in capsys.readouterr().err


def test_an_edited_evaluation_is_not_reused(tmp_path: Path) -> None:
    """A stored evaluation must be the file that was last written under its id; earlier receipts have no hash to compare
    with."""
    project = report_project.project_in(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        refuse_modified(store, "one", "1", "evaluations/one.json")
        for digest in ("1", "2"):
            with recording(project, store, "evaluate", EvaluateOutcome()) as record:
                counts = Counts(rows_in=1, accepted=1)
                record.outcome = EvaluateOutcome(counts=counts, artifact_id="one", sha256=digest)
        refuse_modified(store, "one", "2", "evaluations/one.json")
        with pytest.raises(InputError, match=r"one\.json: this evaluation was changed"):
            refuse_modified(store, "one", "1", "evaluations/one.json")


def test_an_evaluation_interrupted_before_its_receipt_is_repeated(tmp_path: Path) -> None:
    """A run that added missing answers and was killed leaves a file that differs from the previous run's receipt. Such
    a file is dropped and rebuilt from the store. An unchanged file stays, and so does a changed one whose evaluation
    was complete, since only a user can have changed that."""
    project, file = report_project.project_in(tmp_path), tmp_path / "one.json"
    with Store.open(Store.url_for(project)) as store:
        for whole in (False, True):
            file.write_text("as it was written")
            with recording(project, store, "evaluate", EvaluateOutcome()) as record:
                counts = Counts(rows_in=2, accepted=1 + whole, failed=1 - whole)
                record.outcome = EvaluateOutcome(counts=counts, artifact_id="one", sha256=sha256(file))
            drop_unfinished(store, "one", file)
            assert file.is_file()
            file.write_text("otherwise")
            drop_unfinished(store, "one", file)
            assert file.is_file() == whole


def test_no_report_of_an_edited_evaluation(tmp_path: Path) -> None:
    """Neither report nor evidence, which would vouch for the number, is written, and nothing is exported; with the
    original file the report works again."""
    project, store = report_project.whole(tmp_path)
    page, file = tmp_path / "report.html", tmp_path / "evaluations" / "one.json"
    written, evaluation = file.read_bytes(), latest(store, "evaluation")
    assert evaluation is not None
    with store:
        with recording(project, store, "evaluate", EvaluateOutcome()) as record:
            counts = Counts(rows_in=1, accepted=1)
            record.outcome = EvaluateOutcome(counts=counts, artifact_id=evaluation.id, sha256=sha256(file))
        file.write_bytes(written.replace(b'"all_pass":false', b'"all_pass":true', 1))
        assert file.read_bytes() != written
        with pytest.raises(InputError, match=r"one\.json: this evaluation was changed"):
            write_report(project, store, page)
        with pytest.raises(InputError, match=r"one\.json: this evaluation was changed"):
            export(project, store, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not page.exists()
        assert not page.with_name("evidence.json").exists()
        file.write_bytes(written)
        assert write_report(project, store, page).is_file()


def test_no_report_of_edited_losses(tmp_path: Path) -> None:
    """The losses in `training.json` are those that the run recorded. Otherwise the evidence would vouch for edited
    ones; receipts of earlier versions have no digest to compare with."""
    project, store = report_project.whole(tmp_path)
    page, adapter = tmp_path / "report.html", latest(store, "adapter")
    assert adapter is not None
    file = tmp_path / adapter.path / "training.json"
    result = TrainResult.model_validate_json(file.read_bytes())
    better = [one.model_copy(update={"loss": one.loss / 2}) for one in result.validation]
    with store:
        assert write_report(project, store, page).is_file()
        with recording(project, store, "train", TrainOutcome()) as record:
            counts, digests = Counts(rows_in=1, accepted=1), {"training.json": result.digest}
            record.outcome = TrainOutcome(counts=counts, artifact_id=adapter.id, digests=digests)
        assert write_report(project, store, page).is_file()
        file.write_text(result.model_copy(update={"validation": tuple(better)}).model_dump_json())
        with pytest.raises(InputError, match=r"training\.json: this file is not what training wrote"):
            write_report(project, store, page)


def test_models_may_lie_on_another_disk(tmp_path: Path) -> None:
    """With `adapters` linked to a folder elsewhere the evidence has paths in the project, also if the project is opened
    by a path with `..`; an adapter that is recorded outside has its absolute path."""
    project, store = report_project.whole(tmp_path / "project")
    adapters, elsewhere = project.folder / "adapters", tmp_path / "disk"
    page = project.folder / "report.html"
    with store:
        adapters.rename(elsewhere)
        adapters.symlink_to(elsewhere)
        assert project.inside(adapters / "one") == "adapters/one"
        roundabout = Project(tmp_path / "disk" / ".." / "project", project.spec)
        assert roundabout.inside(roundabout.folder / "adapters" / "one") == "adapters/one"
        write_report(project, store, page)
        assert "adapters/one/training.json" in render_evidence(page.with_name("evidence.json"), page).same
        adapters.unlink()
        adapter = store.artifacts("adapter")[-1]
        store.write(adapter.model_copy(update={"id": "moved", "path": str(elsewhere / "one")}))
        with recording(project, store, "train", TrainOutcome()) as record:
            record.outcome = TrainOutcome(counts=Counts(rows_in=1, accepted=1), artifact_id="moved")
        write_report(project, store, page)
        assert f"{elsewhere}/one/training.json" in render_evidence(page.with_name("evidence.json"), page).same


def test_returning_to_earlier_settings_uses_their_adapter(whole: tuple[Project, Store]) -> None:
    """Training reuses the earlier adapter: it is the one that is evaluated and exported, although another is newer. The
    evaluation of another adapter is neither exported nor in the report."""
    project, store = report_project.whole(whole[0].folder.with_name("back"))
    newer = store.artifacts("adapter")[-1].model_copy(update={"id": "younger"})

    def record_training(adapter_id: str) -> None:
        with recording(project, store, "train", TrainOutcome()) as record:
            record.outcome = TrainOutcome(counts=Counts(rows_in=1, accepted=1), artifact_id=adapter_id)

    with store:
        first = store.artifacts("adapter")[-1].id
        store.write(newer)
        record_training("younger")
        assert latest(store, "adapter") == newer
        assert gather(project, store).evaluation is None
        assert [*present(store)] == ["dataset", "adapter"]
        record_training(first)
        going_back = latest(store, "adapter")
        assert going_back is not None
        assert going_back.id == first
        assert gather(project, store).evaluation is not None
        assert [*present(store)] == ["dataset", "adapter", "evaluation"]


def test_the_verdict_sets_the_exit_code() -> None:
    """With the gate option 0, 14 and 15 for the three verdicts, otherwise always 0."""
    for decision, code in CODES.items():
        outcome = EvaluateOutcome(verdict={"decision": decision}, gated=True)
        assert exit_code(outcome) == code
        assert exit_code(EvaluateOutcome(verdict={"decision": decision})) == 0
    assert [*CODES.values()] == [0, 14, 15]


def test_an_outdated_report_is_not_exported(tmp_path: Path) -> None:
    """After another curation the existing report is about other rows: it is left out, with a warning that says why.
    Once it is written again it is exported and can be rendered there. Rows that were edited in the file are neither
    exported nor reported, and curation restores them."""
    lines = list[str]()
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in tiny.PAIRS))
    (tmp_path / "pairsmith.toml").write_text(tiny.SPEC)
    rows, out = Door(tmp_path, say=lines.append), tmp_path / "export"
    rows.generate()
    rows.curate()
    assert start(["report", "--project", str(tmp_path)]) == 0
    assert "evidence.json" in rows.export().written
    data = tmp_path / "dataset" / "data" / "train.jsonl"
    data.write_text(data.read_text().replace("warm", "cold"))
    with pytest.raises(InputError, match=r"train\.jsonl: the file is not the one that was exported"):
        rows.export()
    assert start(["report", "--project", str(tmp_path)]) == InputError.exit_code
    rows.curate()
    rows.export()
    rows = Door(tmp_path, ["split.test=0.3", "split.validation=0.3"], say=lines.append)
    rows.curate()
    assert not {"report.html", "evidence.json"} & {*rows.export().written}
    assert not (out / "report.html").exists()
    assert any(line.startswith("warning: report.html and evidence.json are left out, because ") for line in lines)
    assert start(["report", "--project", str(tmp_path)]) == 0
    assert "evidence.json" in rows.export().written
    render_evidence(out / "evidence.json", tmp_path / "again.html")


def test_a_release_that_is_not_proven_says_so(copy: Path, tmp_path: Path) -> None:
    """`registry add` took a model whose evaluation was not enough evidence, or that was never evaluated, without a
    word, and `registry alias` put it into production. One sentence names what its evaluation concluded, also with
    `--json`."""
    project_ = tmp_path / "project"
    project_.mkdir()
    (project_ / "pairsmith.toml").write_text(own_pairs.SPEC, encoding="utf-8")
    for number, decision in enumerate(("ship", "not enough evidence", None)):
        export = tmp_path / str(number)
        shutil.copytree(next((copy / "adapters").iterdir()), export / "adapter")
        (export / "export.json").write_text(json.dumps({"adapter": str(number)}))
        if decision:
            body = json.loads((copy / "evidence.json").read_text())
            body["evidence"]["verdict"]["decision"] = decision
            body.pop("sha256")
            (export / "evidence.json").write_bytes(orjson.dumps({**body, "sha256": _digest(body)}))
        answers: list[dict[str, Any]] = []
        for words in (["add", str(export)], ["alias", "production", f"v{number + 1}"]):
            ran = CliRunner().invoke(
                registry.command,
                [*words, "--project", str(project_), "--json"],
                obj=Invocation(answers.append, Stopping(), NOBODY, []),
            )
            assert ran.exit_code == 0, ran.output
        endings = {"ship": "", None: "it comes without the evidence of an evaluation."}
        expected = endings.get(decision, "its evaluation concluded 'not enough evidence'.")
        warnings = [f"v{number + 1} is not proven: {expected}"] if expected else []
        assert [answer.get("warnings", []) for answer in answers] == [warnings] * 2
