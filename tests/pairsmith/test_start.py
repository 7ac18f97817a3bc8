"""Tests that commands start fast, help is complete, and a user's files do not shadow the product's packages."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pairsmith.commands import COMMANDS, group
from synth.embedded.child import child_command, child_environment
from tests.pairsmith import forked
from tests.pairsmith.conftest import ROOT, Project


@pytest.fixture(autouse=True)
def _start_new_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about how an interpreter starts, so commands must not be forked from one that has started."""
    monkeypatch.setattr(forked, "can_fork", lambda environment: False)


def imported(command: list[str], project: Project) -> set[str]:
    """The modules that a command imports beyond those of any Python on this machine. They determine the start-up time
    and, unlike it, are the same on every machine; `make bench-generation` measures the seconds."""
    environment = project.environ() | {"PYTHONPROFILEIMPORTTIME": "1"}

    def modules(argv: list[str]) -> set[str]:
        done = subprocess.run(argv, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))

    return modules(command) - modules([sys.executable, "-c", "pass"])


def packages(modules: set[str]) -> set[str]:
    """The packages that are not part of Python itself."""
    names = {module.partition(".")[0] for module in modules}
    return {name for name in names - sys.stdlib_module_names if not name.startswith("_")} - {"org"}


def test_help_imports_little(tmp_path: Path) -> None:
    """`pairsmith --help` imports click and a handful of the product's modules: under 0.1 s of CPU where this was
    written."""
    somewhere = Project(tmp_path)
    modules = imported(somewhere.command("--help"), somewhere)
    assert packages(modules) <= {"click", "pairsmith", "schemas"}
    assert len([module for module in modules if module.startswith(("pairsmith", "schemas"))]) <= 10


def test_status_imports_little(project: Project) -> None:
    """`pairsmith status` in a project with a store imports what reads a spec and a store and draws a table, but nothing
    for requests, arrays or training: neither aiohttp nor numpy nor anything heavier."""
    assert project.run("generate").returncode == 0
    assert project.run("curate").returncode == 0
    modules = imported(project.command("status"), project)
    reads = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "sqlalchemy"}
    draws = {"jinja2", "markupsafe", "click", "rich", "orjson"}
    ours = {"pairsmith", "schemas", "prompts", "curate"}
    assert packages(modules) <= reads | draws | ours
    assert len([module for module in modules if module.partition(".")[0] in ours]) <= 80


def test_generate_loads_neither_language_model_nor_numpy(project: Project) -> None:
    """The checks for later stages run before a teacher is asked without the 100 MB of the language gate's model, the
    comparison with the test without the 13 MB of numpy, and ASCII examples without the 10 MB of ftfy."""
    unused = {"py3langid", "numpy", "ftfy", "wcwidth"}
    assert unused.isdisjoint(packages(imported(project.command("generate"), project)))


WORKSPACE_COMMANDS = {name for name, section, _ in COMMANDS if section == "Collaboration"}


def _calls() -> list[str]:
    """Every command that does something, including each command of a group."""
    calls = []
    for name, _, _ in COMMANDS:
        command = group.get_command(click.Context(group), name)
        calls += [f"{name} {own}" for own in command.commands] if isinstance(command, click.Group) else [name]
    return calls


@pytest.mark.parametrize("call", _calls())
def test_every_command_has_help_and_the_common_options(tmp_path: Path, call: str) -> None:
    """Every command has help and accepts --project, --set and --json. Commands for several projects have a workspace
    instead, and `init` has no spec to override."""
    done = Project(tmp_path).run(*call.split(), "--help")
    assert done.returncode == 0, done.stderr
    if call.split()[0] in WORKSPACE_COMMANDS:
        assert "workspace" in done.stdout.lower()
        return
    for option in ("--project", "--set", "--json"):
        assert (option in done.stdout) is (call != "init" or option != "--set")


def test_help_names_every_command(tmp_path: Path) -> None:
    """The help page lists all commands, each with a line of its own."""
    shown = Project(tmp_path).run("--help").stdout
    for name, _, line in COMMANDS:
        assert re.search(rf"^  {name} +{re.escape(line[:30])}", shown, re.MULTILINE)


@pytest.mark.parametrize("argument", ["no-such-command", "--no-such-option", "status --no-such-option"])
def test_a_wrong_command_line_is_a_usage_error(tmp_path: Path, argument: str) -> None:
    """An unknown command or option ends with code 2 and no traceback."""
    done = Project(tmp_path).run(*argument.split())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "pairsmith --help" in done.stderr or "--help" in done.stderr


def test_a_misspelt_name_gets_a_suggestion(tmp_path: Path) -> None:
    """For a misspelt command, a misspelt project folder, or the folder above the projects, the message suggests what
    exists. If nothing is similar there is no suggestion."""
    for name in ("mine", "yours"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pairsmith.toml").write_text("")
    here = Project(tmp_path)
    assert "'statsu'. Did you mean 'status'?" in here.run("statsu").stderr
    assert "Did you mean" not in here.run("no-such-command").stderr
    far, near = str(tmp_path / "other"), str(tmp_path / "mien")
    for words, meant in (
        ([], "mine or yours"),
        (["--project", "mien"], "mine"),
        (["--project", near], str(tmp_path / "mine")),
        (["--project", "other"], ""),
        (["--project", far], ""),  # most of a long path is the same for any name
    ):
        done = here.run("status", *words)
        assert done.returncode == 3
        assert (f"here. Did you mean {meant}? Run" if meant else "here. Run") in done.stderr


@pytest.mark.parametrize("words", ["gen", "generat --retry"])
def test_shell_completion(tmp_path: Path, words: str) -> None:
    """A partial word is completed; after an unknown option nothing is offered, and nothing is printed to stderr."""
    typed = {"COMP_WORDS": f"pairsmith {words}", "COMP_CWORD": str(len(words.split()))}
    done = Project(tmp_path).run(_PAIRSMITH_COMPLETE="bash_complete", **typed)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("generate" in done.stdout) == (words == "gen")


IN_SHELLS = {
    "bash": "COMP_WORDS=(pairsmith {words}); COMP_CWORD={last}; _pairsmith_completion pairsmith; echo ${{COMPREPLY}}",
    "fish": "complete -C 'pairsmith {words}'",
    "zsh": "pairsmith {words}\t",
}


@pytest.mark.parametrize("shell", IN_SHELLS)
@pytest.mark.parametrize(
    ("words", "offered"),
    [("gener", "generate"), ("review pul", "pull"), ("rows --state re", "rejected"), ("docs sp", "spec")],
)
def test_shells_complete(tmp_path: Path, shell: str, words: str, offered: str) -> None:
    """The scripts work in the shells themselves. In fish a help text is shown to its end; click's own script cut it off
    at a comma."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    (program := tmp_path / "pairsmith").write_text(f'#!/bin/sh\nexec {sys.executable} -m pairsmith "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    source = f"env _PAIRSMITH_COMPLETE={shell}_source pairsmith"
    typed = IN_SHELLS[shell].format(words=words, last=len(words.split()))
    if shell == "zsh":
        prepare = f'PS1=; autoload -Uz compinit; compinit -D -u; eval "$({source})"; echo REA""DY'
        shown = typed_in_zsh(prepare, typed, f"{words.rpartition(' ')[0]} {offered} ".lstrip(), environment)
    else:
        load = f"{source} | source" if shell == "fish" else f'eval "$({source})"'
        bare = "--no-config" if shell == "fish" else "--norc"
        run = [shell, bare, "-c", f"{load}; {typed}"]
        shown = subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=200).stdout
    assert offered in shown
    if shell == "fish" and words == "gener":
        everything = subprocess.run(
            [shell, bare, "-c", f"{load}; complete -C 'pairsmith cu'"], env=environment, capture_output=True, text=True
        )
        assert everything.stdout == "curate\tBuild the accepted dataset: gates, duplicates, scores.\n"


def typed_in_zsh(prepare: str, typed: str, until: str, environment: dict[str, str]) -> str:
    """What a terminal shows until `until` has appeared, after `typed` was typed into a zsh that has run `prepare`."""
    terminal, inside = pty.openpty()
    command = ["zsh", "-f", "-i"]
    process = subprocess.Popen(
        command, env=environment, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
    )
    shown = ""
    try:
        for line, awaited in ((f"{prepare}\n", "READY"), (typed, until)):
            os.write(terminal, line.encode())
            before = len(shown)
            while awaited not in shown[before:]:
                ready, _, _ = select.select([terminal], [], [], 100)
                assert ready, shown
                shown += os.read(terminal, 65_536).decode(errors="replace")
    finally:
        process.kill()
        process.wait(100)
        os.close(terminal)
        os.close(inside)
    return shown


DECOYS = ("schemas", "train", "curate", "synth", "prompts", "click", "rich", "pydantic", "sqlalchemy", "aiohttp")


@pytest.fixture
def decoys(project: Project) -> Project:
    """A project folder in which files that end the process have the names of packages that the product imports."""
    for name in DECOYS:
        (project.folder / f"{name}.py").write_text(f"raise SystemExit('took the decoy {name}')\n")
    return project


def test_a_users_files_do_not_shadow_ours_with_dash_m(decoys: Project) -> None:
    """`python -m pairsmith` puts the working directory first on the path, and the product's packages are still
    imported."""
    assert decoys.run("generate").returncode == 0
    assert decoys.run("status").returncode == 0


def test_a_users_files_do_not_shadow_ours_on_pythonpath(decoys: Project) -> None:
    """The same if the folder is on PYTHONPATH."""
    done = decoys.run("generate", PYTHONPATH=os.pathsep.join([str(decoys.folder), str(ROOT)]))
    assert done.returncode == 0, done.stderr


def test_a_users_files_do_not_shadow_ours_in_the_script(decoys: Project, tmp_path: Path) -> None:
    """The installed script, which is these lines, imports the product's packages as well."""
    script = tmp_path / "bin" / "pairsmith"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom pairsmith.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    done = subprocess.run(
        [script, "generate"], cwd=decoys.folder, env=decoys.environ(), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


def test_a_users_files_do_not_shadow_ours_in_a_child_process(decoys: Project) -> None:
    """The embedded teacher's process is started without the project's folder on its path."""
    done = subprocess.run(
        child_command("synth.embedded.child"),
        cwd=decoys.folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def test_gates_in_a_users_train_py_work(project: Project) -> None:
    """A user's `train.py` is imported as a gate's module and does not replace the product's package."""
    (project.folder / "train.py").write_text("def not_red(pair):\n    return 'red' not in pair.input\n")
    target = ("--set", "generate.accepted=4", "--set", 'curate.gates.user=["train:not_red"]')
    counted = project.json("generate", *target)
    assert counted["accepted"] >= 4
    assert counted["rejected"] == 2, "both candidates of the red kite"


def test_every_page_of_the_manual_can_be_printed(tmp_path: Path) -> None:
    """`pairsmith docs` lists the pages and prints each in full, and an unknown page is a clear error."""
    manual = ROOT / "docs"
    listed = json.loads(Project(tmp_path).run("docs", "--json").stdout)["pages"]
    assert sorted(listed) == sorted(path.stem for path in manual.glob("*.md"))
    for name in ("spec", "gates", "review-method"):
        assert Project(tmp_path).run("docs", name).stdout.strip() == (manual / f"{name}.md").read_text().strip()
    missing = Project(tmp_path).run("docs", "nothing")
    assert missing.returncode == 2
    assert "spec" in missing.stderr


def test_messages_refer_to_manual_pages_by_command() -> None:
    """An installed pairsmith has no docs folder, so no message contains a path to it."""
    for layer in ("pairsmith", "train", "curate", "synth", "prompts", "schemas", "examples"):
        for path in [*(ROOT / layer).rglob("*.py"), *(ROOT / layer).rglob("*.toml")]:
            assert not re.search(r"(fix|why|epilog)=f?\"[^\"]*docs/", path.read_text()), path
