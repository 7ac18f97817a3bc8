"""Tests that the scripts of docs/python.md and the example notebook run as they are, with a loopback teacher."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from runpy import run_path

import pytest

from tests.door.test_door import rich
from tests.door.test_project import SPEC
from tests.synth.loopback import LoopbackTeacher

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/python.md"
ADDRESS = "http://localhost:8000/v1"


def scripts() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def lines_of_code(script: str) -> int:
    return sum(bool(line.strip()) for line in script.splitlines())


def test_the_scripts_of_the_page_are_short() -> None:
    """At most twelve lines from texts to rows and twenty-five to an adapter, not counting blank lines."""
    first, *_, last = scripts()
    assert lines_of_code(first) <= 12
    assert lines_of_code(last) <= 25


PRINTED = re.compile(r"^```python\n((?:(?!```).)*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("script", "printed"), PRINTED.findall(PAGE.read_text(encoding="utf-8")))
def test_scripts_print_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, printed: str
) -> None:
    """The block after a script is its output, for a project of two seeds."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(script)
    Path("captions").mkdir()
    Path("captions/seeds.txt").write_text("a red fox\na lighthouse\n")
    with LoopbackTeacher(rich) as teacher:
        Path("captions/pairsmith.toml").write_text(SPEC.format(url=teacher.url))
        run_path("own.py", run_name="own")
    assert capsys.readouterr().out == printed


@pytest.mark.timeout(1200)
def test_the_notebook_runs_in_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel with a running event loop, a second run of every cell sends nothing; gates can be written in cells;
    tables and progress are shown."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    monkeypatch.setenv("PYTHONPATH", ":".join([str(ROOT), *filter(None, sys.path)]))
    (tmp_path / "train.py").write_text("raise SystemExit('took the decoy')\n")
    with LoopbackTeacher(rich) as teacher:
        text = (ROOT / "examples/python.ipynb").read_text(encoding="utf-8").replace(ADDRESS, teacher.url)
        for asked in (2, 2):
            notebook = nbformat.reads(text, as_version=4)
            # `execute` would create an event loop that is never closed.
            place = {"metadata": {"path": str(tmp_path)}}
            run = client(notebook, timeout=250, startup_timeout=250, resources=place)
            asyncio.run(run.async_execute())
            assert len(teacher.asked) == asked
    shown = [str(cell.get("outputs", "")) for cell in notebook.cells]
    assert "8 pairs kept" in shown[1] or "8 kept" in shown[1]
    assert "generate  8 of 8" in shown[1]
    assert "<table>" in shown[2]
    assert "2 accepted" in shown[2]
