"""Tests that `export` warns if its dataset is older than the project."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pairsmith.commands import start
from pairsmith.plan import inputs_of, warn_outdated
from pairsmith.project import Project
from pairsmith.receipts.outcome import TrainOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.report import render
from pairsmith.report.gather import gather
from pairsmith.stages.export import _write_chat_files, export
from pairsmith.stages.table import Audience
from pairsmith.terminal.session import Session
from pairsmith.terminal.stopping import Stopping
from schemas.errors import PairsmithError
from schemas.progress import discard_message
from schemas.records import Artifact, Counts
from schemas.spec_file import load
from schemas.store import Store
from tests.synth.loopback import LoopbackTeacher, says

SPEC = """
[task]
name = "older"
style = "Say it in one rich sentence."

[[seeds]]
path = "seeds.txt"

[generate.forward]
n = 1

[curate.score]
model = "none"

[review]
enabled = false
"""


def test_export_warns_if_its_dataset_is_out_of_date(tmp_path: Path) -> None:
    """Export warns about seeds without generation, then about pairs without curation, and not at all for a finished
    project."""
    (tmp_path / "pairsmith.toml").write_text(SPEC)
    (tmp_path / "seeds.txt").write_text("a street in the rain\n")
    lines: list[str] = []

    def warnings() -> list[str]:
        lines.clear()
        project.export()
        return [line for line in lines if line.startswith("warning: ")]

    with LoopbackTeacher(lambda ask: says("A narrow street in the rain, with lanterns above wet cobbles.")) as teacher:
        asked = [f"teacher.url={teacher.url}", "teacher.model=loopback"]
        project = Project(tmp_path, asked, say=lines.append)
        project.generate()
        project.curate()
        assert warnings() == []
        (tmp_path / "seeds.txt").write_text("a street in the rain\na harbour at dawn\n")
        (line,) = warnings()
        assert line.startswith("warning: `pairsmith generate` is due (")
        answers: list[dict[str, Any]] = []
        session = Session(tmp_path, (), answers.append, Stopping())
        with session.store(opened := load(tmp_path, asked)) as store:
            export(opened, store, Audience(say=session.say))
        session.answer({"command": "export"})
        (answer,) = answers
        assert answer["warnings"] == [session.with_project_options(line.removeprefix("warning: "))]
        project.generate()
        (line,) = warnings()
        assert line.startswith("warning: `pairsmith curate` is due (")
        assert line.endswith("; the exported dataset is out of date.")
        project.curate()
        assert warnings() == []
        # SQLite ignores the password, but a PostgreSQL URL would contain one like this.
        (tmp_path / "pairsmith.toml").write_text(SPEC + '[store]\nurl = "sqlite:///pairsmith.db?password=s3cr3t"\n')
        with pytest.raises(PairsmithError, match=r"store\.url: the store's URL contains a password") as caught:
            project.export()
        assert "s3cr3t" not in str(caught.value), "the password is not shown, and the spec is not exported with it"


def test_a_model_older_than_the_dataset_is_named_in_the_report_and_at_export(tmp_path: Path) -> None:
    """Once the dataset has been curated again, a report shows today's accepted rows beside the verdict on a model that
    learned from others. It says so, and `export` does too, although the review of the new rows is due as well."""
    (tmp_path / "pairsmith.toml").write_text(SPEC.replace("enabled = false", "enabled = true"))
    (tmp_path / "seeds.txt").write_text("a street in the rain\na harbour at dawn\n")
    warnings: list[str] = []
    with LoopbackTeacher(lambda ask: says("A narrow street in the rain, with lanterns above wet cobbles.")) as teacher:
        asked = [f"teacher.url={teacher.url}", "teacher.model=loopback"]
        project = Project(tmp_path, asked)
        project.generate()
        project.curate()
        opened = load(tmp_path, asked)
        with Store.open(Store.url_for(opened)) as store:
            with recording(opened, store, "train", TrainOutcome()) as record:
                inputs = inputs_of("train", opened, store)
                counts = Counts(rows_in=1, accepted=1)
                record.outcome = TrainOutcome(**inputs._asdict(), artifact_id="an-adapter", counts=counts)
            assert gather(opened, store).outdated == ""
        (tmp_path / "seeds.txt").write_text("a street in the rain\n")
        project.generate()
        project.curate()
    since = "`pairsmith train` is due (the stage before it produced something new)"
    with Store.open(Store.url_for(opened)) as store:
        evidence = gather(opened, store)
        warn_outdated(opened, store, {"train": "the exported adapter"}, warnings.append)
    assert evidence.outdated.startswith(f"Not up to date: {since}. ")
    assert "Not up to date: " in render(evidence)
    assert warnings == [f"warning: {since}; the exported adapter is out of date."]


def test_a_missing_prompt_does_not_stop_export_or_training(tmp_path: Path) -> None:
    """A prompt is no longer needed once there is a dataset. Without it `export` exports and `train` gets as far as the
    base, each warning that it cannot determine which stages are due."""
    (tmp_path / "pairsmith.toml").write_text(SPEC)
    (tmp_path / "seeds.txt").write_text("".join(f"a street in the rain {number}\n" for number in range(4)))
    lines: list[str] = []
    with LoopbackTeacher(lambda ask: says("A narrow street in the rain, with lanterns above wet cobbles.")) as teacher:
        asked = [f"teacher.url={teacher.url}", "teacher.model=loopback", "curate.gates.lost_content=false"]
        Project(tmp_path, asked).generate()
        Project(tmp_path, asked).curate()
    gone = Project(tmp_path, [*asked, "generate.forward.prompt=gone", "train.base=nowhere/at-all"], say=lines.append)
    gone.export()
    with pytest.raises(PairsmithError, match="nowhere/at-all"):
        gone.train()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert all("cannot determine whether" in line and "gone" in line for line in warnings)


def _curated(folder: Path) -> None:
    """Write, generate and curate a project of a few rows."""
    (folder / "pairsmith.toml").write_text(SPEC)
    (folder / "seeds.txt").write_text("".join(f"a street in the rain {number}\n" for number in range(4)))
    with LoopbackTeacher(lambda ask: says("A narrow street in the rain, with lanterns above wet cobbles.")) as teacher:
        asked = [f"teacher.url={teacher.url}", "teacher.model=loopback", "curate.gates.lost_content=false"]
        Project(folder, asked).generate()
        Project(folder, asked).curate()


def test_a_local_base_folder_is_not_written_into_trainer_configs(tmp_path: Path) -> None:
    """On another machine the folder does not exist, and the trainer would download whatever model a hub has under that
    name."""
    _curated(tmp_path)
    (tmp_path / "models" / "llama").mkdir(parents=True)
    formats = [word for name in ("axolotl", "llama-factory", "unsloth") for word in ("--format", name)]
    assert start(["export", "--project", str(tmp_path), "--set", "train.base=models/llama", *formats]) == 0
    files = [tmp_path / "export" / "chat" / name for name in ("axolotl/config.yml", "unsloth/train.py")]
    texts = [file.read_text() for file in (*files, files[0].parents[1] / "llama-factory" / "config.yaml")]
    assert all('"MODEL"' in text and "models/llama" not in text for text in texts)


def test_trainer_configs_use_the_method_that_training_chose(tmp_path: Path) -> None:
    """If the spec names no method, the size of the base decides. An adapter trained and measured on a 16-bit base is
    not exported as a 4-bit config, and the embedded base is never trained in 4 bits unless the spec asks for it."""
    _curated(tmp_path)
    assert start(["export", "--project", str(tmp_path), "--format", "axolotl"]) == 0

    def methods(adapter: Artifact | None, *keys: str) -> str:
        out = tmp_path / f"out-{len([*tmp_path.iterdir()])}"
        shutil.copytree(tmp_path / "export" / "dataset", out / "dataset")
        _write_chat_files(load(tmp_path, keys), out, ["axolotl"], adapter, discard_message, discard_message)
        config = (out / "chat" / "axolotl" / "config.yml").read_text()
        return config.partition("adapter: ")[2].partition("\n")[0]

    lora = Artifact(id="a", kind="adapter", path="adapters/a", facts={"settings": {"method": "lora"}})
    assert 'adapter: "lora"' in (tmp_path / "export" / "chat" / "axolotl" / "config.yml").read_text()
    assert methods(lora, "train.base=some/model") == '"lora"'
    assert methods(lora, "train.base=some/model", "train.method=qlora") == '"qlora"'
    assert methods(None, "train.base=some/model") == '"qlora"'


def test_export_warns_of_too_few_rows_for_a_trainer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenAI's documentation asks for at least ten examples: a smaller file would be refused at upload, so `export`
    warns first. The file of preferences is one of them."""
    _curated(tmp_path)
    assert start(["export", "--project", str(tmp_path), "--format", "openai", "--format", "axolotl"]) == 0
    captured = capsys.readouterr()
    warning = " ".join((captured.err + captured.out).split())
    assert "warning: openai accepts no file with fewer than 10 rows, and train.jsonl has" in warning
    assert "axolotl accepts no file" not in warning
    dataset = tmp_path / "out" / "dataset"
    shutil.copytree(tmp_path / "export" / "dataset", dataset)
    good, bad = ([{"role": "assistant", "content": text}] for text in ("good", "bad"))
    prompt = [{"role": "user", "content": "a fox"}]
    body = json.dumps({"prompt": prompt, "chosen": good, "rejected": bad, "split": "train"}).encode()
    (dataset / "preferences.jsonl").write_bytes(body)
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["files"]["preferences.jsonl"] = hashlib.sha256(body).hexdigest()
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    warnings: list[str] = []
    _write_chat_files(load(tmp_path), tmp_path / "out", ["openai"], None, warnings.append, discard_message)
    assert "fewer than 10 rows, and dpo/train.jsonl has 1 row." in warnings[-1]


def test_a_long_export_shows_what_it_does(tmp_path: Path) -> None:
    """An export of 100,000 rows in five formats showed nothing until its end."""
    _curated(tmp_path)
    shown: list[str] = []
    audience = Audience(progress=lambda stage, numbers: shown.append(numbers["message"]))
    project = load(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        export(project, store, audience, format=("openai", "unsloth"))
    rows = [f"writing the rows for {name}" for name in ("openai", "unsloth")]
    assert shown == ["checking the files and licences", "copying", *rows]
