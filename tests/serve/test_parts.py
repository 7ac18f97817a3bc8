"""The processes of a job: their command lines, and which of them need the GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from pairsmith.commands import group
from pairsmith.exported_model import GGUF
from pairsmith.serve import child
from pairsmith.serve.job import COMMANDS, JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.parts import Part, Request, needs_gpu, next_part
from pairsmith.serve.workspace import Workspace
from pairsmith.stages.export import FORMATS
from pairsmith.stages.table import stage
from schemas.money import Hold
from schemas.reviews import Sampled
from schemas.spec_file import load, parse, set_keys
from schemas.store import Store
from tests.pairsmith.conftest import ROOT
from tests.serve.conftest import write_project
from tests.synth.loopback import LoopbackTeacher

EVERY: dict[str, Any] = {
    "retry_failed": True,
    "no_review": True,
    "batch": True,
    "more": True,
    "cap_usd": 2.5,
    "stop_after_accepted": 100,
    "seeds": 5,
    "precision": 0.95,
    "confidence": 0.8,
    "gguf": ("f16", "q8_0"),
    "format": ("openai", "axolotl"),
}


def request(command: str, **options: Any) -> Request:
    return Request(id="0", project="tiny", command=command, options=options, by="ann", continues=None)


@pytest.mark.parametrize("command", COMMANDS)
def test_job_commands_and_options_exist_on_the_command_line(workspace: Workspace, command: str) -> None:
    """Each option of a job is passed to its command under the command's own option name."""
    folder = write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    options = {name: value for name, value in EVERY.items() if name in COMMANDS[command].takes}
    part = next_part(request(command, **options), folder, None)
    assert part is not None
    words = [*part["argv"], *(["--max-usd", "2.5"] if part["cap_usd"] else [])]
    context: click.Context = click.Context(group)
    subcommand: click.Command = group
    while isinstance(subcommand, click.Group):
        name, subcommand, words = subcommand.resolve_command(context, words)  # type: ignore[assignment]
        context = click.Context(subcommand, parent=context, info_name=name)
    read = subcommand.make_context(subcommand.name, words, parent=context).params
    assert read["folder"] == folder
    given = {**read, "cap_usd": read.get("max_usd"), "stop_after_accepted": None}
    if "generate.accepted=100" in read["overrides"]:
        given["stop_after_accepted"] = 100
    assert {name: given[name] for name in options} == options
    assert next_part(request(command, **options), folder, part) is None or command == "run"


def test_run_is_split_into_processes_by_gpu_use(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """Adjacent stages of the same kind share a process; completed stages are skipped; the last process has no
    `until`."""
    folder = write_project(workspace, "tiny", teacher.url)
    parts: list[Part] = []
    while part := next_part(request("run", no_review=True), folder, parts[-1] if parts else None):
        parts.append(part)
    assert [(part["stage"], part["until"], part["heavy"]) for part in parts] == [
        ("generate", "train", False),
        ("train", None, True),
    ]
    spec = (folder / "pairsmith.toml").read_text()
    (folder / "pairsmith.toml").write_text(spec.replace('model = "none"', 'model = "pmi"'))
    assert (next_part(request("run"), folder, None) or {})["until"] == "curate"
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        stage("generate").do(project, store)
    part = next_part(request("run"), folder, None)
    assert part is not None
    assert (part["stage"], part["until"], part["heavy"]) == ("curate", "review", True)


def test_first_review_does_not_occupy_the_gpu(workspace: Workspace) -> None:
    """The first review installs Argilla, which takes minutes without the GPU; a later one may curate again, which needs
    it."""
    folder = write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    spec = (folder / "pairsmith.toml").read_text()
    (folder / "pairsmith.toml").write_text(spec.replace('model = "none"', 'model = "pmi"'))
    curated: Any = {**(next_part(request("run"), folder, None) or {}), "until": "review"}
    first = next_part(request("run"), folder, curated)
    with Store.open(Store.url_for(load(folder))) as store:
        store.write(Sampled(pair_id="1", reason="certify", sampling_probability=1, dataset="queue"))
    later = next_part(request("run"), folder, curated)
    assert [part and (part["stage"], part["until"], part["heavy"]) for part in (first, later)] == [
        ("review", "train", False),
        ("review", None, True),
    ]


@pytest.mark.parametrize(
    ("text", "heavy"),
    [
        ("", {"generate", "preview", "forecast", "curate", "review", "train", "evaluate"}),
        ('[teacher]\nurl = "https://a.example/v1"\nmodel = "m"', {"curate", "review", "train", "evaluate"}),
        (
            '[teacher]\nurl = "https://a.example/v1"\nmodel = "m"\n[curate.score]\nmodel = "none"',
            {"train", "evaluate"},
        ),
        (
            '[teachers.big]\nurl = "https://a.example/v1"\nmodel = "m"\n[generate]\nforward = { teacher = "big" }\n'
            'backward = { enabled = false }\n[curate.score]\nmodel = "none"',
            {"train", "evaluate"},
        ),
        ('[[seeds]]\npath = "pairs.jsonl"\nkind = "pair"', {"train", "evaluate"}),
        (
            '[teacher]\nurl = "https://a.example/v1"\nmodel = "m"\n[[seeds]]\npath = "o.txt"\nkind = "output"',
            {"train", "evaluate"},
        ),
        (
            '[[seeds]]\npath = "p.jsonl"\nkind = "pair"\n[curate.score]\nmodel = "pmi"',
            {"curate", "review", "train", "evaluate"},
        ),
    ],
)
def test_stages_that_need_the_gpu(tmp_path: Path, text: str, heavy: set[str]) -> None:
    """A stage needs the GPU if it runs a model on this machine, not if another machine does."""
    spec = parse(f'[task]\nname = "t"\nstyle = "s"\n{text}\n', tmp_path).spec
    every = {"generate", "preview", "forecast", "curate", "review", "train", "evaluate", "export", "report"}
    assert {name for name in every if needs_gpu(spec, name)} == heavy
    assert needs_gpu(spec, "certify") == needs_gpu(spec, "curate")
    assert needs_gpu(spec, "train-reward")


def test_cap_applies_to_the_job_across_its_processes(workspace: Workspace) -> None:
    """A restarted process may spend what the previous one left of the cap, not the whole cap again."""
    folder, job = write_project(workspace, "tiny", "http://127.0.0.1:9/v1"), workspace.root / "job"
    job.mkdir()
    part: dict[str, Any] = dict(next_part(request("generate", cap_usd=2.0), folder, None) or {})
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        store.write(Hold(id="before", usd=5.0))
    left = child._remaining_cap(part, child._check_pins(job, part))
    assert left == ["--max-usd", "2.000000000"]
    with Store.open(Store.url_for(project)) as store:
        store.write(Hold(id="now", usd=1.5))
    left = child._remaining_cap(part, child._check_pins(job, part))
    assert left == ["--max-usd", "0.500000000"]
    with Store.open(Store.url_for(project)) as store:
        store.write(Hold(id="again", usd=1.5))
    left = child._remaining_cap(part, child._check_pins(job, part))
    assert 0 < float(left[1]) < 1e-6, "more may be spent"
    assert json.loads((job / "pins.json").read_text())["usd"] == 5.0
    assert child._remaining_cap(dict(next_part(request("curate"), folder, None) or {}), 0.0) == []


def test_continued_job_keeps_its_cap(workspace: Workspace) -> None:
    """A job that is stopped and continued twice spends its cap once. A job that continues one which never started has
    the whole cap."""
    folder = write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    url = Store.url_for(load(folder))
    left = []
    for name, continues in (("first", None), ("second", "first"), ("third", "second"), ("fourth", "gone")):
        asked = request("generate", cap_usd=2.0)
        asked["continues"] = continues
        part: dict[str, Any] = dict(next_part(asked, folder, None) or {})
        (job := workspace.root / name).mkdir()
        left += child._remaining_cap(part, child._check_pins(job, part))[1:]
        with Store.open(url) as store:
            store.write(Hold(id=name, usd=0.75))
    assert left == ["2.000000000", "1.250000000", "0.500000000", "2.000000000"]


def test_continued_job_does_not_pay_for_other_jobs(workspace: Workspace) -> None:
    """What other jobs spend before it is continued does not count towards its cap; its own spending does. If its last
    process did not record its spending, everything spent since that process started counts."""
    folder = write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    url, left = Store.url_for(load(folder)), list[str]()

    def run(name: str, continues: str | None, nth: int, *, says: bool) -> None:
        asked = request("generate", cap_usd=2.0)
        asked["continues"] = continues
        part: dict[str, Any] = dict(next_part(asked, folder, None) or {})
        (job := workspace.jobs_folder / name).mkdir(parents=True, exist_ok=True)
        (job / f"part-{nth}.json").write_text("{}")
        left.extend(child._remaining_cap(part, child._check_pins(job, part))[1:])
        with Store.open(url) as store:
            store.write(Hold(id=f"{name} {nth}", usd=0.25))
        if says:
            child._write_exit(job, nth, {"code": 10, "spent_usd": child._current_spending(part)})
        with Store.open(url) as store:
            store.write(Hold(id=f"another after {name} {nth}", usd=1.0))

    run("first", None, 0, says=True)
    run("second", "first", 0, says=True)
    run("third", "second", 0, says=False)
    run("fourth", "third", 0, says=True)
    assert left == ["2.000000000", "1.750000000", "1.500000000", "0.250000000"]
    jobs = Jobs(workspace)
    assert [jobs.uncounted_usd(name) for name in ("first", "second", "third", "none")] == [0.0, 1.0, 2.0, None]


@pytest.mark.slow
def test_job_at_its_cap_reports_the_cap_it_needs(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """The message names the job's cap, the possible cost of the next request, and the cap that a new job needs,
    although the command itself only gets a tiny rest of the cap."""
    folder, job = write_project(workspace, "tiny", teacher.url), workspace.root / "job"
    prices = {"teacher.usd_per_million_prompt_tokens": 100.0, "teacher.usd_per_million_completion_tokens": 100.0}
    spec = folder / "pairsmith.toml"
    spec.write_text(set_keys(spec.read_text(), prices))
    part: dict[str, Any] = dict(next_part(request("generate", cap_usd=0.001), folder, None) or {})
    job.mkdir()
    (job / "part-0.json").write_text(json.dumps({**part, "heavy_lock": None}))
    command = "import sys; from pathlib import Path; from pairsmith.serve.child import main; main(Path(sys.argv[1]), 0)"
    subprocess.run([sys.executable, "-c", command, str(job)], cwd=ROOT, check=True, timeout=250)
    end = json.loads((job / "exit-0.json").read_text())
    assert (end["code"], end["problem"]["where"]) == (12, "cap_usd")
    assert end["problem"]["what"].startswith("the cap of this job, $0.0010, is reached: the next request may cost $0.")
    assert float(end["problem"]["fix"].partition("and $")[2].partition(" ")[0]) >= end["problem"]["request_usd"] > 0.01
    assert not teacher.asked


def test_invalid_job_options_are_refused() -> None:
    """A cap that is zero, negative or not a number, zero seeds and an unknown option are refused."""
    for wrong in ({"cap_usd": 0}, {"cap_usd": float("nan")}, {"cap_usd": -1}, {"seeds": 0}, {"other": 1}):
        with pytest.raises(ValueError, match="validation error"):
            JobOptions(**wrong)  # type: ignore[arg-type]


def test_export_options_of_jobs_match_the_command() -> None:
    """Jobs accept every kind of GGUF and every trainer format that the command supports."""
    kinds, formats = (get_args(get_args(JobOptions.model_fields[name].annotation)[0]) for name in ("gguf", "format"))
    assert (kinds, formats) == (GGUF, FORMATS)


def test_gguf_export_needs_the_gpu(workspace: Workspace) -> None:
    """It merges a model and runs it, so it waits for the GPU; an export that only copies files does not."""
    folder = write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    parts = [next_part(request("export", **options), folder, None) for options in ({}, {"gguf": ["q8_0"]})]
    assert [part and part["heavy"] for part in parts] == [False, True]
