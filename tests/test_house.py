"""The rules of the house: import direction, file names, sizes, what a wheel holds, and a quick start."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["schemas", "prompts", "synth", "curate", "train", "pairsmith"]
HEAVY = {"torch", "transformers", "vllm", "argilla", "ray", "datasets", "pandas", "pyarrow", "numpy", "alembic"}
# One module by design: the server loads it by name, under its own pins and without a parent package. The other one is
# written by a script, a method for each operation of the API.
LONG = {
    ROOT / "curate" / "argilla" / "engine" / "pairsmith_sql_engine.py",
    ROOT / "pairsmith" / "client" / "calls.py",
}
LONG_FUNCTIONS = {
    "curate/gates/__init__.py:gates_for",
    "curate/gates/damage.py:cut",
    "schemas/store/migrations/versions/0001_first.py:upgrade",
}
# Names that say of a value only that somebody found, told, said or made it.
EMPTY = {"found", "told", "said", "made"}
# Where a text is cut apart at a colon, once for each kind of text.
CUT_AT_A_COLON = {
    "schemas/records.py": "a seed's source, `file:row`",
    "schemas/user_modules.py": "the user's `module:name`",
    "schemas/failpoints.py": "a variable of the environment",
    "schemas/step_names.py": "a step's name, `gate/must:name@1`",
    "curate/gates/damage.py": "what a sentence lists",
    "pairsmith/style/reasons.py": "a reason's code, `missing:name`",
    "pairsmith/serve/network.py": "`host:port`",
    "pairsmith/serve/pages/drafts.py": "a line that a person typed",
}
FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def test_a_layer_imports_only_layers_below_it() -> None:
    """Data flows one way: pairsmith, train, curate, synth, prompts, schemas."""
    checker = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([checker, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_named_for_what_they_hold_and_are_one_subject() -> None:
    """No drawer for leftovers, no file that outgrew its subject, and a docstring that says what the file is for."""
    drawers = {"utils", "util", "helpers", "common", "base", "manager", "factory", "misc", "core"}
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    assert not [path for path in FILES if path.stem in drawers]
    assert not [path for path in FILES if len(texts[path].splitlines()) > 430 and path not in LONG]
    assert not [path for path in FILES if not ast.get_docstring(ast.parse(texts[path]))], "says what it is for"


def _bound(node: ast.AST) -> str | None:
    """The name of a variable, a field, an argument, an attribute or an alias, where it is given a value."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case ast.arg(arg=name) | ast.alias(asname=name) | ast.ExceptHandler(name=name):
            return name
        case ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return name
    return None


@pytest.mark.parametrize("folder", [*LAYERS, "tests", "bench"])
def test_a_variable_is_named_for_its_content(folder: str) -> None:
    """No variable, field or argument has one of the names that fit everything, in tests and benchmarks as little as in
    the product."""
    assert not [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} {_bound(node)}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _bound(node) in EMPTY
    ]


def test_a_class_name_is_one_idea() -> None:
    """No two classes of the product share a name. The client's are those of the service, whose copies they are;
    `Project` is a folder with its spec, and the same as Python's door opens it; a person's `Answer` is a body of the
    API."""
    names = [
        node.name
        for path in FILES
        if ROOT / "pairsmith" / "client" not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert {name for name, times in Counter(names).items() if times > 1} == {"Answer", "Project"}


def test_what_a_text_with_a_colon_means_is_read_in_one_place() -> None:
    """No file cuts a text apart at a colon but those that read this kind of text for all others."""
    cut = re.compile(r"""\.r?(?:split|partition)\((["']): ?\1""")
    assert {str(path.relative_to(ROOT)) for path in FILES if cut.search(path.read_text(encoding="utf-8"))} == set(
        CUT_AT_A_COLON
    )


def test_supervised_fine_tuning_is_read_from_top_to_bottom() -> None:
    """No function of it is longer than a screen."""
    tree = ast.parse((ROOT / "train" / "sft.py").read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert max((node.end_lineno or 0) - node.lineno + 1 for node in functions) < 60


def test_a_function_fits_on_a_screen() -> None:
    """No function of the product has more than 60 lines, but for the first migration and two of the gates."""
    functions = (
        (f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in FILES
        if path not in LONG
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert {name for name, lines in functions if lines > 60} <= LONG_FUNCTIONS


def test_no_path_of_a_machine_no_registry_and_no_secret_is_committed() -> None:
    """Nothing in the repository works only where it was written."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    forbidden = re.compile(
        r"/work/|/root/|/opt/wheels|pypi\.org|files\.pythonhosted|sk-[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}"
    )
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in {".png", ".parquet"} or not path.exists() or path == Path(__file__):
            continue
        match = forbidden.search(path.read_text(errors="replace"))
        assert not match, f"{name}: {match[0] if match else ''}"


def _run(code: str, *arguments: str) -> tuple[str, float]:
    """Standard output and CPU seconds of a Python child."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=200, cwd=ROOT, check=True
    )
    after = os.times()
    return done.stdout, (after.children_user - before.children_user) + (after.children_system - before.children_system)


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["run", "--help"]])
def test_nothing_heavy_is_imported_to_show_help(command: list[str]) -> None:
    """The command line starts without torch, transformers, datasets and their like."""
    code = (
        "import sys; sys.argv[0] = 'pairsmith'\n"
        "from pairsmith.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    output, _ = _run(code, *command)
    loaded = set(output.rpartition("MODULES")[2].split())
    assert not loaded & HEAVY
    assert "pydantic" not in loaded


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip wheel .` builds."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("pairsmith-*.whl")
    return built


@pytest.mark.slow
def test_a_quick_run_goes_without_what_its_environment_lacks(tmp_path: Path) -> None:
    """Wherever it runs: what would fail where `make test-quick` has made its environment fails here too, and says what
    to do; and every file that is left to it can be read there."""

    def quick(*more: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "--quick", "-n", "0", "-q", "-p", "no:cacheprovider", *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)

    (tmp_path / "test_it.py").write_text("def test_it():\n    import torch\n")
    tried = quick("-p", "tests.conftest", tmp_path)
    assert "name its file in SLOW_FILES" in tried.stdout
    assert "1 failed" in tried.stdout
    read = quick("--collect-only", "tests")
    assert read.returncode == 0, read.stdout[-3000:]


def test_a_built_wheel_holds_every_layer_and_its_data(wheel: Path) -> None:
    """Prompts, migrations, examples and the report's page travel with the code; tests and benchmarks do not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "schemas/store/migrations/versions/0001_first.py",
        "schemas/store/migrations/env.py",
        "curate/gates/phrases/en.toml",
        "curate/gates/phrases/any.toml",
        "pairsmith/examples/release-notes/gates.py",
        "pairsmith/examples/release-notes/prompts/commit/v1.jinja",
        "pairsmith/examples/image-prompts/pairsmith.toml",
        "pairsmith/examples/image-prompts/seeds.jsonl",
        "pairsmith/examples/support-replies/pairsmith.toml",
        "pairsmith/docs/spec.md",
        "pairsmith/docs/index.md",
    ):
        assert needed in names
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in names
    assert not any(name.startswith(("tests/", "bench/", "docs/")) for name in names)


def test_the_wheel_works_where_nothing_of_the_checkout_is(wheel: Path, tmp_path: Path) -> None:
    """Installed from the wheel alone, `init` makes a project and `status` reads it, in a folder with decoys."""
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        timeout=120,
    )
    home = tmp_path / "home"
    home.mkdir()
    for decoy in ("train.py", "schemas.py", "synth.py"):
        (home / decoy).write_text("raise SystemExit('a decoy was imported')\n")
    # Only the dependencies come from this environment: its own editable install is behind the wheel on the path.
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for arguments in (["init", "shop", "--example", "image-prompts"], ["status", "--project", "shop"]):
        done = subprocess.run(
            [sys.executable, "-m", "pairsmith", *arguments],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import schemas, train; print(schemas.__file__, train.__file__)"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.count(str(site)) == 2


TYPED = """
from pairsmith import Project
from pairsmith.client import Client, ProblemError
from schemas.records import Pair

def gate(pair: Pair) -> str | None:
    return None if len(pair.output) > 3 else "short"

accepted: int = Project("captions").generate().counts.accepted
service = Client("http://127.0.0.1:8660", key="ps_x")
try:
    job = service.start_job("captions", {"command": "run"}, idempotency_key="monday")
    state: str = service.wait(job)["state"]
except ProblemError as problem:
    status: int = problem.status
"""


def test_the_types_of_a_wheel_reach_its_users(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own a strict checker passes a small program and sees two mistakes in it."""
    pytest.importorskip("mypy", reason="needs pairsmith[dev]")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=120)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    (tmp_path / "right.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(TYPED + "service.job(7)\nname: str = accepted\n")
    python = str(tmp_path / "venv/bin/python")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir", os.devnull]
    checked = subprocess.run(
        [*command, "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    seen = re.findall(r"(\S+):\d+: error: .*\[([\w-]+)\]", checked.stdout)
    assert seen == [("wrong.py", "arg-type"), ("wrong.py", "assignment")], checked.stdout + checked.stderr
    assert "checked 2 source files" in checked.stdout
