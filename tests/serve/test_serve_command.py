"""`pairsmith serve`: what keeps it from starting is a sentence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pairsmith.commands import start


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two servers at one port: the command says so with what to do, before it makes a workspace or a link."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start(["serve", str(tmp_path / "here"), "--no-auth", "--port", str(port)]) == 2
    assert f"nothing can listen at 127.0.0.1:{port}" in capsys.readouterr().err
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("words", [["--host", "0.0.0.0", "--no-auth"], ["--no-auth", "--url", "https://a.test"]])
def test_nobody_signs_in_only_on_this_machine(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that others reach, or a proxy before it, is refused where nobody signs in."""
    assert start(["serve", str(tmp_path / "here"), "--port", "0", *words]) == 2
    assert "--no-auth" in capsys.readouterr().err


def test_a_database_that_is_away_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The address is named without its password, and no traceback is shown."""
    words = ["--no-auth", "--port", "0", "--database", "postgresql://ann:s3cr3t@127.0.0.1:1/x"]
    assert start(["serve", str(tmp_path), *words]) == 6
    said = capsys.readouterr().err
    assert "the database refuses" in said
    assert "Traceback" not in said
    assert "s3cr3t" not in said
