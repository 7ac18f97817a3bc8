"""Tests of what `generate` reports about personal data in seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsmith.checks.personal_data_warning import addresses_elsewhere, warn_about_personal_data
from schemas.records import Seed
from schemas.spec import Spec, TeacherSettings
from tests.pairsmith.conftest import Project

PAIRS = """input,output
Please write to mona.berg@post.example.org about my boots.,We have written to you.
Take the money back on 4111 1111 1111 1111.,The charge is cancelled.
Do you open on Monday?,"Yes, or call us on +45 28 14 95 03."
"""
SPEC = '[task]\nname = "t"\nkind = "reply"\nstyle = "Short."\n[[seeds]]\npath = "pairs.csv"\nkind = "pair"\n'


@pytest.mark.slow
def test_personal_data_in_pairs_that_no_teacher_sees_is_reported(tmp_path: Path) -> None:
    """Pairs of a file are trained on and exported as they are, so their personal data is reported although no request
    is sent, with the key that changes it. After `redact` and `reject` there is nothing to report."""
    (tmp_path / "pairs.csv").write_text(PAIRS, encoding="utf-8")
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    first = Project(tmp_path).run("generate")
    assert first.returncode == 0, first.stderr
    held = "1 e-mail address, 1 telephone number, 1 card number"
    assert f"the seeds contain {held}, and so will the dataset" in first.stderr
    assert "[personal]" in first.stderr
    (tmp_path / "pairsmith.toml").write_text(
        f'{SPEC}[personal]\nemail = "redact"\nphone = "redact"\ncard = "reject"\n', encoding="utf-8"
    )
    assert "so will the dataset" not in Project(tmp_path).run("generate").stderr


def test_personal_data_in_inputs_for_a_teacher_on_this_machine_is_reported() -> None:
    """An input that no request sends off this machine becomes a row all the same; its reference does not."""
    spec = Spec.model_validate({"task": {"name": "t", "style": "Short."}, "seeds": [{"path": "s.jsonl"}]})
    text = "ring til Mona på +45 28 14 95 03, koden er AKIAIOSFODNN7EXAMPL2"
    seeds = [Seed(kind="input", text=text, source="s.jsonl:1", reference="ring til +45 28 14 95 04")]
    lines: list[str] = []
    warn_about_personal_data(lines.append, seeds, [TeacherSettings(url="http://localhost:8000/v1")], spec)
    assert [line.split(". [")[0] for line in lines] == [
        "warning: the seeds contain 1 telephone number, 1 key or password, and so will the dataset"
    ]


@pytest.mark.parametrize("command", ["forecast", "preview", "generate"])
def test_personal_data_that_leaves_the_machine_is_reported_before_the_first_request(
    tmp_path: Path, command: str
) -> None:
    """By whichever command sends the first one, with the address, although nothing answers there."""
    (tmp_path / "s.txt").write_text("write to mona.berg@post.example.org\nlamp flickers\n", encoding="utf-8")
    spec = '[task]\nname = "t"\nstyle = "Short."\n[[seeds]]\npath = "s.txt"\n'
    spec += '[[exemplars]]\ninput = "call +45 28 14 95 03"\noutput = "Please call."\n'
    spec += '[teacher]\nurl = "http://teacher.invalid/v1"\nmodel = "m"\nretries = 0\n'
    (tmp_path / "pairsmith.toml").write_text(spec, encoding="utf-8")
    stderr = Project(tmp_path).run(command).stderr
    assert "the seeds contain 1 e-mail address; requests send it from this machine to http://teacher.invalid" in stderr
    assert "the [[exemplars]] contain 1 telephone number; every request sends it" in stderr


@pytest.mark.slow
def test_a_large_file_is_read_at_equal_distances(tmp_path: Path) -> None:
    """Of 2,400 rows every second is read, and the message says so."""
    rows = [f"Row {n} is about boots,Write to a{n}.berg@post.example.org today." for n in range(2400)]
    (tmp_path / "pairs.csv").write_text("\n".join(["input,output", *rows]), encoding="utf-8")
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    done = Project(tmp_path).run("generate")
    assert done.returncode == 0, done.stderr
    assert "a sample of 1,200 of the 2,400 rows contains 1,200 e-mail addresses" in done.stderr


@pytest.mark.parametrize(
    ("url", "model", "leaves"),
    [
        ("http://localhost:11434/v1", "qwen3:8b", False),
        ("http://localhost:11434/v1", "gpt-oss:120b-cloud", True),
        ("http://127.0.0.1:11434/v1", "glm-5:cloud", True),
        ("http://127.0.0.1:8000/v1", "acme/point-cloud", False),
        ("embedded", "smollm2-135m-instruct", False),
        ("http://gpu:8000/v1", "qwen3", True),
    ],
)
def test_an_address_on_this_machine_may_pass_texts_on(url: str, model: str, leaves: bool) -> None:
    """A local Ollama passes on what is asked of models in its cloud, so personal data would leave unannounced."""
    assert addresses_elsewhere([TeacherSettings(url=url, model=model)]) == ([url] if leaves else [])
