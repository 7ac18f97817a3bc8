"""The scripts of docs/python.md and the notebook of the examples, run as they stand beside a loopback teacher."""

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


def test_texts_become_rows_in_twelve_lines_and_an_adapter_in_twenty_five() -> None:
    """Blank lines do not count, everything else does."""
    first, *_, last = scripts()
    assert lines_of_code(first) <= 12
    assert lines_of_code(last) <= 25


PRINTED = re.compile(r"^```python\n((?:(?!```).)*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("script", "printed"), PRINTED.findall(PAGE.read_text(encoding="utf-8")))
def test_functions_and_pairs_of_your_own_do_what_the_page_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, printed: str
) -> None:
    """The block under a script is its output; the project is one of two seeds."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(script)
    Path("captions").mkdir()
    Path("captions/seeds.txt").write_text("a red fox\na lighthouse\n")
    with LoopbackTeacher(rich) as teacher:
        Path("captions/pairsmith.toml").write_text(SPEC.format(url=teacher.url))
        run_path("own.py", run_name="own")
    assert capsys.readouterr().out == printed


@pytest.mark.timeout(1200)
def test_the_notebook_runs_in_a_kernel_whose_loop_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run of every cell buys nothing; gates are written in cells; tables and progress are shown."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    monkeypatch.setenv("PYTHONPATH", ":".join([str(ROOT), *filter(None, sys.path)]))
    (tmp_path / "train.py").write_text("raise SystemExit('took the decoy')\n")
    with LoopbackTeacher(rich) as teacher:
        text = (ROOT / "examples/python.ipynb").read_text(encoding="utf-8").replace(ADDRESS, teacher.url)
        for asked in (2, 2):
            notebook = nbformat.reads(text, as_version=4)
            # `execute` would make a loop that nobody closes.
            place = {"metadata": {"path": str(tmp_path)}}
            run = client(notebook, timeout=250, startup_timeout=250, resources=place)
            asyncio.run(run.async_execute())
            assert len(teacher.asked) == asked
    shown = [str(cell.get("outputs", "")) for cell in notebook.cells]
    assert "8 pairs kept" in shown[1] or "8 kept" in shown[1]
    assert "generate  8 of 8" in shown[1]
    assert "<table>" in shown[2]
    assert "2 accepted" in shown[2]
