"""The documentation cannot go stale: every block in it is loaded, parsed or run, and every link has a target."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from runpy import run_path
from typing import NamedTuple

import click
import pytest

from pairsmith.commands import group
from schemas.spec import Spec
from tests.door.test_door import rich
from tests.pairsmith.conftest import Project
from tests.synth.loopback import LoopbackTeacher, says

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"toml", "json", "jsonl", "python", "console", "text", "yaml", "jinja", "html", "diff"}
MINIMAL = """
[task]
name = "t"
style = "s"
"""


class Block(NamedTuple):
    """A fenced block and its place (page:line)."""

    where: str
    language: str
    text: str


def _blocks() -> list[Block]:
    blocks = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            blocks.append(Block(f"{page.relative_to(ROOT)}:{line}", match[1], match[2]))
    return blocks


def _parameters(*languages: str) -> list[object]:
    return [pytest.param(block, id=block.where) for block in _blocks() if block.language in languages]


def test_every_block_has_a_language() -> None:
    """Every block is marked with a known language. Nothing would check a block without one."""
    for block in _blocks():
        assert block.language in LANGUAGES, f"{block.where} is marked {block.language!r}"


@pytest.mark.parametrize("block", _parameters("toml"))
def test_toml_blocks_are_legal_parts_of_a_spec(block: Block) -> None:
    """Every excerpt of pairsmith.toml in the manual is a valid part of a spec."""
    merged = tomllib.loads(MINIMAL)
    for name, table in tomllib.loads(block.text).items():
        merged[name] = {**merged.get(name, {}), **table} if isinstance(table, dict) else table
    Spec.model_validate(merged)


@pytest.mark.parametrize("block", _parameters("json", "python"))
def test_json_and_python_blocks_are_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JSON block can be parsed. A Python block runs as it is in an empty folder, against a local teacher.

    Blocks that train or open a project are run by tests/door, and calls to the service by tests/serve/test_schema.py.
    """
    monkeypatch.chdir(tmp_path)
    if block.language == "json":
        json.loads(block.text)
        return
    with LoopbackTeacher(rich) as teacher:
        text = block.text.replace("http://localhost:8000/v1", teacher.url)
        elsewhere = "docs/python.md" in block.where and ("fine_tune" in text or "Project(" in text)
        if elsewhere or "docs/service.md" in block.where:
            compile(text, block.where, "exec")
            return
        (tmp_path / "block.py").write_text(text)  # a user's function is identified by its source
        run_path("block.py", run_name="block")


@pytest.mark.parametrize("block", _parameters("console"))
def test_commands_in_the_manual_exist_with_their_options(block: Block) -> None:
    """Every `$ pairsmith ...` line is a valid call, and every `$ make ...` line names a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            continue
        words = shlex.split(line[2:], comments=True)
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        if words[0] != "pairsmith":
            continue
        command: click.Command = group
        context = click.Context(group, info_name="pairsmith")
        arguments = words[1:]
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            subcommand = command.get_command(context, arguments[0])
            if subcommand is None and command.name == "serve":
                arguments.insert(0, "up")
                continue
            assert subcommand is not None, line
            command, arguments = subcommand, arguments[1:]
            context = click.Context(command, parent=context, info_name=command.name)
        if isinstance(command, click.Group):
            assert set(arguments) <= {"--help", "--version"}, line
        else:
            command.make_parser(context).parse_args(list(arguments))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_existing_files(page: Path) -> None:
    """Every link within the repository points to an existing file."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


HOW_TO_ADD = """
[task]
name = "added"
style = "Rewrite the prompt richly."
[[seeds]]
path = "seeds.toml"
[teacher]
url = "@URL@/v1"
model = "loopback"
[generate.forward]
n = 2
[generate.children]
enabled = true
n = 1
[curate]
gates = { length = false, shouting = true }
score = { model = "length" }
"""


@pytest.mark.slow
def test_diffs_of_contributing_work(tmp_path: Path) -> None:
    """With all diffs of CONTRIBUTING.md applied as written, the gate rejects, the scorer ranks, the generator sends
    requests and the seed format is read. Readers do not have to fill any gaps."""
    code = tmp_path / "code"
    for layer in ("pairsmith", "train", "curate", "synth", "prompts", "schemas"):
        shutil.copytree(ROOT / layer, code / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for block in _blocks():
        for name, before, after in _changes(block) if block.language == "diff" else ():
            text = (code / name).read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{block.where}: {name}"
            (code / name).write_text(text.replace(before, after), encoding="utf-8")
    project = Project(tmp_path / "added", {"PYTHONPATH": str(code)})
    project.folder.mkdir()
    (project.folder / "seeds.toml").write_text('[[rows]]\ntext = "a red kite"\n[[rows]]\ntext = "a paper boat"\n')
    with LoopbackTeacher(lambda ask: says(*(_ANSWERS[: ask.n] if ask.n > 1 else ["A BOAT"]))) as teacher:
        (project.folder / "pairsmith.toml").write_text(HOW_TO_ADD.replace("@URL@", teacher.url))
        project.json("generate")
    assert sum("for children" in ask.prompt for ask in teacher.asked) == 2
    project.json("curate")
    rows = project.json("rows")
    assert rows["reasons"] == {"shouting": 2, "outranked": 2}
    assert {row["output"] for row in rows["rows"] if row["state"] == "accepted"} == {max(_ANSWERS, key=len)}


_ANSWERS = ("a kite above the old harbour at noon", "a kite above the old harbour at noon, seen from a wet stone wall")


def _changes(block: Block) -> list[tuple[str, str, str]]:
    """The file, the old lines and the new lines of each part of a diff."""
    changes = []
    for part in re.split(r"^--- a/", block.text, flags=re.MULTILINE)[1:]:
        name, _, lines = part.partition("\n")
        before = "".join(f"{line[1:]}\n" for line in lines.splitlines() if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in lines.splitlines() if not line.startswith("-"))
        changes.append((name, before, after))
    return changes
