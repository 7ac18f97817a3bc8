"""Tests of `pairsmith init`: what it writes, which teacher it chooses, and that it overwrites nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from pairsmith.commands import start
from pairsmith.new_project import EXAMPLES, template_folder, with_teacher, write_project
from pairsmith.stages.train import CURVE, CURVE_FILE
from pairsmith.stages.train_reward import REWARD_MODELS
from pairsmith.teachers.search import EMBEDDED, FoundTeacher, find_teacher
from pairsmith.terminal.watching import Watcher
from schemas.errors import UsageError
from schemas.spec_file import load
from tests.pairsmith.conftest import Project
from tests.servers import InThread
from tests.synth.loopback import LoopbackTeacher

NO_LOCAL_SERVER = (("vLLM", "http://127.0.0.1:9/v1"),)


def test_a_starter_project_loads_and_is_commented(tmp_path: Path) -> None:
    """Without an example, `init` writes a small commented spec that loads and seeds to replace, and says what to do
    next."""
    done = Project(tmp_path).run("init", "mine", "--embedded")
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "mine").spec.teacher.url == "embedded"
    assert "seeds.jsonl" in done.stdout
    assert "pairsmith run --project mine" in done.stdout
    assert "#" in (tmp_path / "mine" / "pairsmith.toml").read_text()
    assert "fewer than 20 can prove nothing" in done.stdout, "twelve seeds only show the format"
    assert "rows to train on" in done.stdout


@pytest.mark.parametrize(
    ("folder", "kind", "name"),
    [
        ("Kunden Antworten", "reply", "kunden-antworten"),
        ("crème_brûlée", None, "creme-brulee"),
        ("кот", None, "my-task"),
        (f"{'a' * 62} b", None, "a" * 62),
    ],
)
def test_a_task_is_named_after_its_folder(tmp_path: Path, folder: str, kind: str | None, name: str) -> None:
    """Projects begun without a file all had a task of the name `my-task`, or of the example whose texts are to be
    replaced, and so had their models and review queues. A folder in another script has no name that a task can have."""
    words = ("--kind", kind) if kind else ()
    assert Project(tmp_path).run("init", folder, "--embedded", *words).returncode == 0
    assert load(tmp_path / folder).spec.task.name == name


@pytest.mark.parametrize("example", ["release-notes", "image-prompts", "support-replies"])
def test_an_example_comes_with_its_seeds(tmp_path: Path, example: str) -> None:
    """An example's spec loads, all its seed files are copied and readable, and there are enough seeds to train on and
    to evaluate."""
    written = Project(tmp_path).json("init", "--example", example, "--embedded")
    assert written["shortages"] == []
    project = load(tmp_path)
    assert {source.path for source in project.spec.seeds} < set(written["files"])
    from synth.sources.seeds import read_seeds

    reading = read_seeds(project.spec.seeds, tmp_path)
    assert reading.problems == []
    assert {"input", "output"} <= {seed.kind for seed in reading.seeds} <= {"input", "output", "pair"}


def test_an_example_comes_with_its_own_gates_checks_and_prompts(tmp_path: Path) -> None:
    """Other files that the spec names are copied too, into the same subfolders."""
    written = Project(tmp_path).json("init", "--example", "release-notes", "--embedded")
    assert {"gates.py", "checks.py", "prompts/commit/v1.jinja"} < set(written["files"])
    assert all((tmp_path / name).is_file() for name in written["files"])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second init, or one over a user's file, changes nothing and says so."""
    here = Project(tmp_path)
    (tmp_path / "seeds.jsonl").write_text("mine\n")
    done = here.run("init", "--embedded")
    assert done.returncode == 2
    assert "seeds.jsonl would be overwritten; nothing was changed." in done.stderr
    assert not (tmp_path / "pairsmith.toml").exists()
    assert here.run("init", "sub", "--embedded").returncode == 0
    before = (tmp_path / "sub" / "pairsmith.toml").read_bytes()
    done = here.run("init", "sub", "--embedded", "--example", "image-prompts")
    assert done.returncode == 2
    assert "already a project" in done.stderr
    assert (tmp_path / "sub" / "pairsmith.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("file", "is a file, not a folder; nothing was changed."),
        ("file/in/it", "is a file, not a folder; nothing was changed."),
        ("link", "is a link to 'nowhere', which does not exist; nothing was changed."),
        ("new/" + 300 * "x", "the name of the folder is too long; nothing was changed."),
    ],
)
def test_a_path_at_which_no_folder_can_be_is_refused(tmp_path: Path, name: str, what: str) -> None:
    """The message says what is there, and no part of the path is created."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError) as refused:
        write_project(tmp_path / name, {"pairsmith.toml": b""})
    assert refused.value.what == what
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("command", [("init", ""), ("init", "--project", "")], ids=["argument", "option"])
def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, command: tuple[str, ...]) -> None:
    """`pairsmith init "$UNSET"` creates nothing."""
    done = Project(tmp_path).run(*command)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "the name of the folder is empty" in done.stderr


def test_git_leaves_out_what_pairsmith_writes(tmp_path: Path) -> None:
    """`git add .` takes the spec and the seeds, but no store, dataset, model, receipt or report. A `.gitignore` that
    exists is kept."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    subprocess.run([git, "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "rows.csv").write_text(
        "question,answer\n" + "".join(f"Is order {n} here?,Yes it is\n" for n in range(9))
    )
    new = Project(tmp_path / "new")
    assert Project(tmp_path).run("init", "new", "--from", "rows.csv").returncode == 0
    for stage in ("generate", "curate", "report"):
        assert new.run(stage).returncode == 0
    assert (new.folder / "report.html").exists()
    for model in (f"{REWARD_MODELS}/1f/model.safetensors", f"{CURVE}/2a/adapter.safetensors", CURVE_FILE):
        (new.folder / model).parent.mkdir(parents=True, exist_ok=True)
        (new.folder / model).write_text("weights")
    subprocess.run([git, "add", "new"], cwd=tmp_path, check=True)
    added = subprocess.run([git, "ls-files"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert added.split() == ["new/.gitignore", "new/pairsmith.toml", "new/rows.csv"]
    (tmp_path / ".gitignore").write_text("mine\n")
    assert Project(tmp_path).run("init", "--embedded").returncode == 0
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_an_unknown_example_lists_the_examples(tmp_path: Path) -> None:
    """The error for a typo in --example lists the existing examples."""
    done = Project(tmp_path).run("init", "--example", "image")
    assert done.returncode == 2
    assert "image-prompts, support-replies" in done.stderr


def test_an_accepted_api_key_is_chosen() -> None:
    """A key in the environment is tried; the spec gets the variable's name, never the key."""
    with LoopbackTeacher(key="sesame", models=("gpt-4.1-mini", "other")) as api:
        environ = {"OPENAI_API_KEY": "sesame", "OPENAI_BASE_URL": f"{api.url}/v1"}
        teacher = find_teacher(environ, NO_LOCAL_SERVER)
    assert (teacher.key_env, teacher.model) == ("OPENAI_API_KEY", "gpt-4.1-mini")
    assert "cost money" in teacher.why
    written = with_teacher((template_folder(None) / "pairsmith.toml").read_text(), teacher)
    assert 'key_env = "OPENAI_API_KEY"' in written
    assert "sesame" not in written
    assert api.asked == [], "looking for a teacher sends no paid request"


def test_model_lists_with_prefixed_names_are_understood() -> None:
    """Gemini lists `models/NAME` and expects NAME in requests; a listed known model is chosen."""
    with LoopbackTeacher(key="sesame", models=("models/gemini-2.5-pro", "models/gemini-2.5-flash-lite")) as api:
        teacher = find_teacher({"GEMINI_API_KEY": "sesame", "GEMINI_BASE_URL": f"{api.url}/v1"}, NO_LOCAL_SERVER)
    assert (teacher.key_env, teacher.model) == ("GEMINI_API_KEY", "gemini-2.5-flash-lite")
    with LoopbackTeacher(key="sesame", models=("models/gemini-2.5-pro", "models/gemini-2.0-flash")) as api:
        teacher = find_teacher({"GEMINI_API_KEY": "sesame", "GEMINI_BASE_URL": f"{api.url}/v1"}, NO_LOCAL_SERVER)
    assert teacher.model == "gemini-2.0-flash"


def test_a_refused_key_is_reported_and_not_chosen() -> None:
    """A wrong key is not chosen, and the reason is kept for the user."""
    with LoopbackTeacher(key="sesame") as api:
        teacher = find_teacher({"OPENAI_API_KEY": "wrong", "OPENAI_BASE_URL": f"{api.url}/v1"}, NO_LOCAL_SERVER)
    assert teacher.url == "embedded"
    assert any("OPENAI_API_KEY is set, but" in line and "refused" in line for line in teacher.tried)


def test_a_server_on_this_machine_is_found() -> None:
    """A local vLLM or Ollama is chosen with a model that it serves, but not one that Ollama's cloud answers: the spec
    would call it free, and texts would leave the machine."""
    with LoopbackTeacher(models=("glm-5:cloud", "gpt-oss:120b-cloud", "qwen3:8b")) as ollama:
        teacher = find_teacher({}, (*NO_LOCAL_SERVER, ("Ollama", f"{ollama.url}/v1")))
    assert (teacher.url, teacher.model, teacher.key_env) == (f"{ollama.url}/v1", "qwen3:8b", None)
    assert any("vLLM" in line and "nothing answers" in line for line in teacher.tried)
    with LoopbackTeacher(models=("glm-5:cloud",)) as relaying:
        teacher = find_teacher({}, (("Ollama", f"{relaying.url}/v1"),))
    assert teacher.url == "embedded"
    assert any("only models of Ollama's cloud" in line for line in teacher.tried)


def test_an_address_in_the_environment_needs_no_key() -> None:
    """A server in one's own network, named by OPENAI_BASE_URL, may ask for no key; a refusal there is reported."""
    with LoopbackTeacher(models=("qwen3",)) as server, LoopbackTeacher(key="sesame") as other:
        environ = {"GROQ_BASE_URL": f"{other.url}/v1", "OPENAI_BASE_URL": f"{server.url}/v1/"}
        teacher = find_teacher(environ, NO_LOCAL_SERVER)
        refused = find_teacher({"GROQ_BASE_URL": f"{other.url}/v1"}, NO_LOCAL_SERVER)
    assert (teacher.url, teacher.model, teacher.key_env) == (f"{server.url}/v1", "qwen3", None)
    assert refused.url == "embedded"
    assert any("GROQ_BASE_URL at" in line and "refused" in line for line in refused.tried)


@pytest.mark.parametrize(
    "address", ["gpu:8000/v1", "http://ann:sesame@gpu/v1", "http://gpu/v1?k=sesame", "http://[::1"]
)
@pytest.mark.parametrize("key", [{}, {"OPENAI_API_KEY": "sk-1"}])
def test_an_unusable_address_in_the_environment_stops_nothing(address: str, key: dict[str, str]) -> None:
    """It may be meant for another program. It is reported without its secrets."""
    teacher = find_teacher({"OPENAI_BASE_URL": address, **key}, NO_LOCAL_SERVER)
    assert teacher.url == "embedded"
    (line,) = [line for line in teacher.tried if "no endpoint can be: write http://" in line]
    assert "OPENAI_" in line
    assert "sesame" not in line


def test_a_server_that_takes_seconds_to_answer_is_found() -> None:
    """A server on a busy machine may answer slowly."""

    async def listed(request: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.json_response({"data": [{"id": "qwen3:8b"}]})

    app = web.Application()
    app.router.add_get("/v1/models", listed)
    with InThread(app) as ollama:
        assert find_teacher({}, (("Ollama", f"{ollama.address}/v1"),)).model == "qwen3:8b"


def test_without_key_or_server_the_embedded_teacher_is_chosen() -> None:
    """The embedded model is the fallback, and what was tried is listed."""
    teacher = find_teacher({}, NO_LOCAL_SERVER)
    assert teacher.url == EMBEDDED.url
    assert "OPENAI_API_KEY" in teacher.tried[0]


@pytest.mark.parametrize("example", [None, *EXAMPLES])
@pytest.mark.parametrize(
    "teacher",
    [
        EMBEDDED,
        FoundTeacher("http://localhost:8000/v1", 'a "quoted" model', "why", None),
        FoundTeacher("https://x/v1", "m", "why", "KEY"),
    ],
    ids=["embedded", "local", "paid"],
)
def test_every_template_accepts_every_teacher(tmp_path: Path, example: str | None, teacher: FoundTeacher) -> None:
    """The written spec loads, names exactly the chosen teacher, and uses no sampling setting that it may not support;
    the rest of the file is unchanged."""
    template = (template_folder(example) / "pairsmith.toml").read_text()
    (tmp_path / "pairsmith.toml").write_text(with_teacher(template, teacher))
    spec = load(tmp_path).spec
    assert (spec.teacher.url, spec.teacher.model, spec.teacher.key_env) == (teacher.url, teacher.model, teacher.key_env)
    (tmp_path / "pairsmith.toml").write_text(template)
    original = load(tmp_path).spec.model_copy(update={"teacher": spec.teacher}).model_dump()
    if teacher.url != "embedded":
        for name in ("top_k", "repetition_penalty", "no_repeat_ngram_size"):
            original["generate"]["forward"]["sampling"][name] = None
    assert spec.model_dump() == original


def test_the_split_of_the_demo_leaves_enough_to_test() -> None:
    """The image-prompts example holds out 24 to 30 input seeds for the test split and 8 to 14 for validation."""
    from curate.split import assign_splits
    from synth.sources.seeds import read_seeds

    folder = template_folder("image-prompts")
    spec = load(folder).spec
    seeds = assign_splits(read_seeds(spec.seeds, folder).seeds, spec.split)
    counted = [seed.split for seed in seeds if seed.kind == "input"]
    assert 24 <= counted.count("test") <= 30
    assert 8 <= counted.count("validation") <= 14


def test_a_setting_of_a_spec_is_named_together_with_the_command_that_writes_one(tmp_path: Path) -> None:
    """What a file needs in its [[seeds]] is no advice for somebody who has no spec yet, unless it says how to get
    one."""
    (tmp_path / "page.csv").write_text("<!DOCTYPE html>\n<html><body>hello</body></html>\n")
    end = Project(tmp_path).run("init", "new", "--from", "page.csv")
    assert end.returncode == 4, end.stderr
    assert 'format = "document"' in end.stderr
    assert "There is no spec yet: `pairsmith init` writes one" in " ".join(end.stderr.split())


def test_init_does_not_offer_the_set_option(tmp_path: Path) -> None:
    """Every command on a project has `--set`, but `init` has no spec to override yet: its help does not list it, and
    using it is refused."""
    project = Project(tmp_path)
    assert "--set" not in project.run("init", "--help").stdout
    assert "does not accept --set" in project.run("init", "x", "--set", "a=b").stderr


def test_reading_a_large_file_shows_progress(tmp_path: Path) -> None:
    """`init --from` read 100,000 rows for ten seconds of CPU without a sign of life."""
    lines = [
        json.dumps({"question": f"Where is order {number}?", "reply": f"It left on day {number}."})
        for number in range(1_200)
    ]
    (tmp_path / "tickets.jsonl").write_text("\n".join(lines))
    stages: list[str] = []
    watcher = Watcher(progress=lambda stage, _: stages.append(stage))
    project, file = str(tmp_path / "own"), str(tmp_path / "tickets.jsonl")
    assert start(["init", "--from", file, "--project", project, "--embedded", "--json"], watcher) == 0
    assert list(dict.fromkeys(stages)) == ["columns", "seeds"]
