"""Tests of the whole pipeline on the command line with the real embedded model as teacher and base, on a few seeds."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pairsmith import forked
from tests.pairsmith.conftest import Project, write_seeds

pytestmark = [pytest.mark.model, pytest.mark.pipeline, pytest.mark.timeout(1800)]

SEEDS = (
    "a red kite", "old harbour crane", "two goats", "a paper boat", "snow on pines", "a brass telescope",
    "a tired fisherman", "a cracked teapot", "three umbrellas", "a desert road", "night tram", "a fox in wheat",
)  # fmt: skip

SPEC = """
[task]
name = "pipeline"
style = "Rewrite the image prompt with a place and a light. Reply with one short line."
system = "Rewrite the image prompt."

[[seeds]]
path = "seeds.jsonl"

[[seeds]]
path = "excellent.jsonl"
kind = "output"

[[exemplars]]
input = "a lighthouse"
output = "a lighthouse on a cliff, sunset light"

[[exemplars]]
input = "two apples"
output = "two apples on a table, window light"

[[exemplars]]
input = "old gardener"
output = "old gardener by a wall, morning light"

[generate.forward]
n = 2
sampling = { temperature = 0.5, top_p = 0.9, max_tokens = 32 }

[generate.backward]
levels = ["two or three words"]
sampling = { temperature = 0.5, top_p = 0.9, max_tokens = 16 }

[curate.gates]
length = { min_words = 4, max_words = 40 }

[curate.score]
model = "none"

[review]
enabled = false

[split]
test = 0.25
validation = 0.15

[train]
method = "lora"
batch = 4
epochs = 1
learning_rate = 1e-3
max_length = 256

[evaluate]
samples = 2
max_seeds = 2
resamples = 200
sampling = { temperature = 0.7, top_p = 0.95, max_tokens = 32 }
checks = [{ name = "light", pattern = "light|sun|lamp" }, { name = "two_parts", pattern = ", " }]
"""

EXCELLENT = (
    "a stone bridge over a stream, grey dawn light",
    "a sleeping cat on a sill, warm lamp light",
    "wet bicycles by a canal, pale evening light",
    "a baker in a doorway, golden morning light",
)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A project whose run was killed during curation and during training, and then finished."""
    folder: Path = tmp_path_factory.mktemp("pipeline")
    (folder / "pairsmith.toml").write_text(SPEC)
    write_seeds(folder, SEEDS)
    (folder / "excellent.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in EXCELLENT))
    project = Project(folder, kind=forked.MODELS)
    for moment in ("mid_curate", "mid_train"):
        killed = project.run("run", timeout_s=600, PAIRSMITH_FAILPOINT=moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    calls = project.rows("SELECT count(*) FROM calls")[0][0]
    done = project.run("run", "--json", timeout_s=600)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["facts"]["stages"] == ["train", "evaluate"], "stages finished before the kill are not repeated"
    assert project.rows("SELECT count(*) FROM calls")[0][0] > calls
    return project, answer


def test_the_run_ends_with_an_evaluation_and_a_report(finished_run: tuple[Project, dict[str, Any]]) -> None:
    """The tuned model was compared with base, few-shot, retrieval and teacher; the report and evidence exist. A few
    test inputs prove nothing, so nothing is called better."""
    project, answer = finished_run
    outcomes = answer["facts"]["outcomes"]
    assert list(outcomes) == ["base", "few-shot", "retrieval", "teacher"]
    assert answer["facts"]["verdict"]["decision"] == "not enough evidence"
    assert (project.folder / "evidence.json").is_file()
    words = {word for modes in outcomes.values() for word in modes.values()}
    assert words <= {"not enough evidence", "not measured"}
    assert set(answer["facts"]["pass_rate"]) <= {*outcomes, "tuned"}
    for name, measured in answer["facts"]["systems"].items():
        assert measured.get("sampled") == answer["facts"]["pass_rate"].get(name)
        assert all(0 <= rate["low"] <= rate["share"] <= rate["high"] for rate in measured.values())
    assert (project.folder / "report.html").stat().st_size > 10_000
    parts = ("accepted", "rejected", "waiting", "failed")
    assert answer["rows_in"] == 2 * len(SEEDS) + len(EXCELLENT) == sum(answer[part] for part in parts)
    assert answer["accepted"] > 0
    assert project.is_intact()


def test_a_second_run_sends_nothing_and_is_fast(finished_run: tuple[Project, dict[str, Any]]) -> None:
    """Everything is reused: no request, no training, and the tables come from the stored evaluation."""
    project, _ = finished_run
    started_s = time.monotonic()
    done = project.run("run")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started_s < 200  # generating, judging and training take minutes
    assert project.receipts()[-1]["calls_sent"] == 0
    for part in ("Pass rate on", "tuned against base", "report.html"):
        assert part in done.stdout
    assert project.json("status")["next"] == []


@pytest.mark.parametrize("command", ["generate", "curate", "train", "evaluate"])
def test_each_stage_reuses_its_own_work(command: str, finished_run: tuple[Project, dict[str, Any]]) -> None:
    """A stage that is run again by itself sends nothing and refers to the same artefact."""
    project, _ = finished_run
    before = [receipt for receipt in project.receipts() if receipt["command"] == command and receipt["ok"]][-1]
    again = project.json(command)
    assert again["calls_sent"] == 0
    assert again["facts"]["made"] == before["facts"]["made"]


def test_explain_names_the_models_trained_on_a_row(finished_run: tuple[Project, dict[str, Any]]) -> None:
    """A row of the train split leads to its dataset, the adapter trained on it and that adapter's evaluation."""
    project, _ = finished_run
    row = json.loads((project.folder / "dataset" / "data" / "train.jsonl").read_text().splitlines()[0])
    lineage = project.json("explain", row["pair_id"])
    assert [artifact["kind"] for artifact in lineage["artifacts"]] == ["dataset", "adapter", "evaluation"]
    assert lineage["split"] == "train"


def test_the_export_is_complete(finished_run: tuple[Project, dict[str, Any]], tmp_path: Path) -> None:
    """The export contains the adapter and the dataset with their cards, the evaluation, the report and its evidence."""
    project, _ = finished_run
    project.json("export", "--out", str(tmp_path / "out"))
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    files = {"evaluation.json", "report.html", "evidence.json", "pairsmith.toml"}
    assert {"adapter/README.md", "dataset/README.md", *files} <= names
