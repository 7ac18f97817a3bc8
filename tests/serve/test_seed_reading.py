"""Tests of the reading of seeds that is kept from an upload for the page after it."""

from __future__ import annotations

import os
from pathlib import Path

from pairsmith.serve.pages.seed_reading import keep_reading, seed_reading
from schemas.project import Project
from schemas.spec_file import parse
from synth.sources.seeds import read_seeds

SPEC = """
[task]
name = "kept"
style = "plain"
[[seeds]]
path = "seeds.txt"
kind = "input"
[teacher]
url = "http://localhost:1"
model = "m"
"""


def _project_of(name: str, folder: Path) -> Project:
    folder.mkdir()
    (folder / "seeds.txt").write_text(f"a row of {name}\n", encoding="utf-8")
    os.utime(folder / "seeds.txt", ns=(10**18, 10**18))
    return parse(SPEC, folder)


def test_a_reading_is_of_its_own_project_only(tmp_path: Path) -> None:
    """The page of one project showed the rows of another if their files were as large and written within one tick of
    the file system's clock. A project that is moved, as a new one is, keeps its reading; it is used once."""
    ann, ben = (_project_of(name, tmp_path / name) for name in ("ann", "ben"))
    kept = read_seeds(ann.spec.seeds, ann.folder)
    keep_reading(ann, kept)
    assert [seed.text for seed in seed_reading(ben).seeds] == ["a row of ben"]
    moved = parse(SPEC, ann.folder.rename(tmp_path / "moved"))
    assert seed_reading(moved) is kept
    assert seed_reading(moved) is not kept
