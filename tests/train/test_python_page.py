"""Test of the script in docs/python.md that trains, on a tiny base model."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from tests.door.test_door import rich
from tests.door.test_python_page import ADDRESS, scripts
from tests.synth.loopback import LoopbackTeacher
from train.base_models.base_model import Base


def test_the_training_script_of_the_page_runs(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As printed, except for the teacher's address, the base and smaller settings; each system is printed with its
    rate."""
    monkeypatch.chdir(tmp_path)
    with LoopbackTeacher(rich) as teacher:
        trains = next(script for script in scripts() if "fine_tune" in script)
        text = trains.replace(ADDRESS, teacher.url).replace('"embedded"', repr(str(tiny_base.folder)))
        text = text.replace("samples=1", 'samples=1, sampling={"temperature": 0.7, "max_tokens": 8}')
        Path("script.py").write_text(text.replace('method="qlora"', 'method="lora", batch=2'))
        run_path("script.py", run_name="script")
    printed = capsys.readouterr().out
    assert "base" in printed
    assert "tuned" in printed
