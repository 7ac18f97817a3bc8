"""Tests of errors of the Python API, which say what to do in Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PairsmithError
from schemas.python_terms import in_python
from synth import Forward, generate, pairs, teacher
from tests.synth.loopback import LoopbackTeacher, Reply

ROOT = Path(__file__).parents[2]
SPEC_WORDS = re.compile(
    r"\[\[|\[teacher|pairsmith\.toml|the spec\b|(?<![\w-])--(?!$)[a-z-]+|`pairsmith (?!docs|models|init)"
    r"|\b(?:teacher|train|evaluate)\.[a-z_]+|(?:same|the) command\b| = \"unset\""
)
# Shown by commands only: `init`, a spec without seeds, a server that is started, redirects of the review.
COMMANDS_ONLY = (
    "create a project with",
    "Start from one file",
    "init DIR",
    "Write some into a file",
    "--lora",
    "teacher up",
)
MODULES = ("synth/chat", "synth/endpoints", "synth/sources", "synth/answer_judge.py", "synth/refusals.py")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (
            "Fix the cause, then run the same command again, with --retry-failed if nothing that is sent has changed; "
            "`pairsmith rows --state failed` lists them.",
            "Fix the cause, then run the same code again, with teacher(..., retry_failed=True) if nothing that is sent "
            "has changed.",
        ),
        ("no answer within 5 s; raise teacher.timeout_s", "no answer within 5 s; raise teacher(timeout_s=...)"),
        (
            'add teacher.finish_reasons = ["end!"] to the spec; if not, '
            'teacher.finish_reasons = { "end!" = "truncated" } (or "refused", "failed").',
            'pass teacher(finish_reasons=["end!"]); if not, '
            'teacher(finish_reasons={"end!": "truncated"}) (or "refused", "failed").',
        ),
        (
            'Remove it from the sampling table of pairsmith.toml, or write top_p = "unset" there.',
            'Remove it from `sampling`, or pass sampling={"top_p": "unset"}.',
        ),
        (
            'Name the column in its [[seeds]], as in columns = { input = "a", output = "b" }.',
            'Name the column, as in columns = {"input": "a", "output": "b"}.',
        ),
        ("raise evaluate.sampling.max_tokens", 'raise evaluate(sampling={"max_tokens": ...})'),
        ("see https://teacher.url.com/v1", "see https://teacher.url.com/v1"),
        ("runs/train.base/my-teacher.model", "runs/train.base/my-teacher.model"),
        ("train.csv and teacher.jsonl are files", "train.csv and teacher.jsonl are files"),
    ],
)
def test_a_message_in_the_terms_of_python(written: str, shown: str) -> None:
    """Options and keys become arguments; what no code can do is left out, and a second pass changes nothing."""
    assert in_python(written) == shown
    assert in_python(shown) == shown


def messages(path: Path) -> list[str]:
    """The texts of a module that may be shown, whole, with placeholders."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "name" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | comments:
            texts.append(node.value)
    return [text for text in texts if " " in text]


@pytest.mark.slow
def test_no_message_of_a_teacher_or_a_file_speaks_of_commands_and_the_spec() -> None:
    """Those that a notebook can meet: it has no spec and no command line."""
    files = [
        file for name in MODULES for file in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))
    ]
    shown = [in_python(text) for file in files for text in messages(file)]
    left = [text for text in shown if SPEC_WORDS.search(text) and not any(words in text for words in COMMANDS_ONLY)]
    assert len(shown) > 400
    assert left == []


def test_errors_of_each_function_are_in_the_terms_of_python(tmp_path: Path, monkeypatch: Any) -> None:
    """What they recommend exists: the file is then read."""
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_bytes("frage,antwort\nwie heißt du?,gut\n".encode("cp1252"))
    with pytest.raises(PairsmithError, match=r'Pass its encoding to pairs\(...\), such as encoding = "cp1252"'):
        pairs("own.csv")
    with pytest.raises(PairsmithError, match=r"as in columns = \{\"input\": \"...\", \"output\": \"...\"\}"):
        pairs("own.csv", encoding="cp1252")
    assert len(pairs("own.csv", encoding="cp1252", columns={"input": "frage", "output": "antwort"})) == 1
    with pytest.raises(PairsmithError, match=r"pairsmith sets it itself \(teacher\(model=...\)"):
        Forward(None, "x", sampling={"extra": {"model": "other"}})  # type: ignore[arg-type]
    with (
        LoopbackTeacher(lambda ask: Reply(b'{"object": "list"}')) as server,
        teacher(server.url, "loopback", attempts=1) as t,
        pytest.raises(PairsmithError) as raised,
    ):
        generate([f"a fox {number}" for number in range(30)], Forward(t, "Expand it."), progress=False)
    assert "the same code again, with teacher(..., retry_failed=True)" in str(raised.value)
    assert "--" not in str(raised.value)
