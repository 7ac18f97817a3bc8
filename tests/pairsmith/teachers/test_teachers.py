"""Tests of a teacher's identity, whatever the spec says besides its address."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.spec import TeacherSettings
from synth.teachers import identified
from tests.pairsmith.conftest import Project, answer, subject_of
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

NAME = "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("settings", "identity", "revision"),
    [
        ({}, NAME, "sha256:weights"),
        ({"revision": "mine"}, NAME, "mine"),
        ({"model": "gpt-4.1-mini"}, NAME, "sha256:weights"),
        ({"model": "gpt-4.1-mini", "revision": "2025-04-14"}, NAME, "sha256:weights"),
        ({"identity": "gpt-4.1-mini", "revision": "2025-04-14"}, NAME, "sha256:weights"),
        ({"model": "gpt-4.1-mini", "identity": NAME, "revision": "x"}, NAME, "sha256:weights"),
    ],
)
def test_the_embedded_teacher_keeps_its_own_name(
    settings: dict[str, Any], identity: str, revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other model is credited with the embedded model's output, no cost is counted for it, and earlier projects keep
    their keys."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "source.json").write_text(json.dumps({"revision": "sha256:weights", "source": "a test"}))
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    in_spec = TeacherSettings(url="embedded", usd_per_million_completion_tokens=4.0, **settings)
    sentences: list[str] = []
    teacher = identified(in_spec, sentences.append)
    assert (teacher.known_as, teacher.revision) == (identity, revision)
    assert teacher.usd_per_million_completion_tokens == 0
    assert bool(sentences) == ("gpt-4.1-mini" in (settings.get("identity") or settings.get("model") or ""))


def test_more_attempts_ask_again_for_failed_rows(make_project: Callable[..., Project]) -> None:
    """A failed row is requested again once `teacher.attempts` is raised, and not before."""

    def reply(ask: Ask) -> Reply:
        return says(*['""'] * ask.n) if subject_of(ask) == "night tram" and ask.nth == 1 else answer(ask)

    with LoopbackTeacher(reply) as teacher:
        project = make_project(teacher.url)
        failed = project.json("generate", "--set", "teacher.attempts=1")
        assert failed["reasons"] == {"empty": 2}
        asked = len(teacher.asked)
        project.json("generate", "--set", "teacher.attempts=1")
        assert len(teacher.asked) == asked
        retried = project.json("generate", "--set", "teacher.attempts=2")
        assert (retried["failed"], retried["rows_in"]) == (0, failed["rows_in"])
        assert len(teacher.asked) == asked + 1
