"""Paths that cannot be used, given to the functions of the Python API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from curate import curate, gates
from schemas.errors import PairsmithError
from synth import generate, pairs

LONG = "x" * 300


def framed(text: str) -> list[str]:
    return [f"{text} at dusk, seen from a wet harbour wall"]


def store_at(path: str) -> object:
    return generate(["a lamp"], framed, store=path, progress=False)


@pytest.mark.parametrize(
    ("call", "path", "sentence"),
    [
        (store_at, "afolder", "the store 'afolder' is a folder."),
        (store_at, "afile/x.db", "this is a file where the folder of the store should be."),
        (store_at, "nowhere/x.db", "the folder of the store does not exist."),
        (store_at, LONG, "it cannot be used (File name too long). Choose a shorter name."),
        (store_at, "a\0b", "a path contains a NUL character."),
        (pairs, "nofile.csv", "there is no such file."),
        (pairs, f"{LONG}.csv", "it cannot be used (File name too long). Choose a shorter name."),
        (pairs, "afolder/a\0b.csv", "a path contains a NUL character."),
    ],
)
def test_a_path_that_cannot_be_used_is_a_sentence(
    call: Callable[[str], object], path: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some were errors of the operating system, or of Python, without a word on what to do."""
    monkeypatch.chdir(tmp_path)
    Path("afolder").mkdir()
    Path("afile").write_text("a", encoding="utf-8")
    with pytest.raises(PairsmithError) as refused:
        call(path)
    assert sentence in str(refused.value)


def test_a_folder_without_access_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where pairsmith only asks whether a file is there."""

    def denied(path: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    file = tmp_path / "mine.csv"
    monkeypatch.setattr(Path, "is_file", denied)
    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(PairsmithError, match="read and write access there"):
        pairs(file)


def test_an_error_of_a_function_of_ones_own_is_not_reworded() -> None:
    """A gate that cannot read its own file has crashed, so its row waits; the path is not one of pairsmith's."""

    def own(pair: object) -> bool:
        raise PermissionError(13, "Permission denied", "/secret/mine")

    assert curate([("a", "b")], [*gates(own, length=False)], progress=False).reasons == {"crashed": 1}
