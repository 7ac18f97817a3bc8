"""Every command that a message or a page of the manual suggests can be run as it is printed."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pairsmith.commands import COMMANDS, group

_ROOT = Path(__file__).parents[2]
_NAMES = "|".join(sorted((name for name, _, _ in COMMANDS), key=len, reverse=True))
_BARE = re.compile(rf"\bpairsmith (?:{_NAMES})\b")
_SHORT = re.compile(r"`(?:review (?:up|down|push|pull|invite|people)|registry \w+|teacher up|rollback)\b[^`]*`")
_MENTIONED = re.compile(rf"{_BARE.pattern}|`(?:pairsmith|review|registry|teacher|rollback)\b")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|\.\.\.")


def _sentences(tree: ast.Module) -> Iterator[str]:
    """The texts in a module that are no docstrings; a value that is put into one is `{}`."""
    skipped, nodes = set(), list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            skipped |= {id(first.value)} if isinstance(first, ast.Expr) else set()
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def _messages() -> Iterator[tuple[str, str]]:
    for layer in ("pairsmith", "train", "curate", "synth", "prompts", "schemas"):
        for file in sorted((_ROOT / layer).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if _MENTIONED.search(text):
                yield from ((file.relative_to(_ROOT).as_posix(), sentence) for sentence in _sentences(ast.parse(text)))


def _problem(line: str) -> str | None:
    """Why the command line cannot be run; None if it can. Placeholders such as ID stand for any value."""
    words = shlex.split(_PLACEHOLDER.sub("X", line.replace("[", "").replace("]", "")))[1:]
    command: click.Command = group
    context = click.Context(group, info_name="pairsmith")
    while isinstance(command, click.Group) and words and words[0] not in ("X", "COMMAND"):
        if command.name == "serve" and words[0] not in command.commands:  # a workspace or an option
            words = ["up", *words]
        if words[0].startswith("-") or (command.invoke_without_command and words[0] not in command.commands):
            break
        inner = command.get_command(context, words[0])
        if inner is None:
            return f"no command {words[0]}"
        command, words = inner, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    options = [word for word in words[: words.index("--") if "--" in words else None] if word.startswith("-")]
    known = {name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)}
    unknown = [option for option in options if option.partition("=")[0] not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else None


def test_commands_in_messages_exist() -> None:
    """A command in a message is in backquotes, begins with `pairsmith`, exists and knows its options: what has no
    backquotes gets no --project, and `review up` alone is no command of a shell."""
    problems, seen = [], 0
    for file, sentence in _messages():
        for line in re.findall(r"`(pairsmith [\w{][^`]*)`", sentence):
            seen += 1
            if problem := _problem(line):
                problems.append(f"{file}: {line}: {problem}")
        bare = re.sub(r"`[^`]*`?", "", sentence)
        if file not in _NO_MESSAGES and (_BARE.search(bare) or _SHORT.search(sentence)):
            problems.append(f"{file}: no command as it can be copied: {sentence[:120]}")
    assert not problems, "\n".join(problems)
    assert seen > 100


# Help and titles, not advice: `pairsmith --help` names the manual, models its page; a webhook has a title.
_NO_MESSAGES = {"pairsmith/commands/__init__.py", "pairsmith/commands/models.py", "curate/argilla/webhook.py"}


@pytest.mark.parametrize("page", sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md")]), ids=lambda page: page.name)
def test_commands_in_the_manual_exist(page: Path) -> None:
    """A command within a sentence of the manual exists and knows its options (tests/test_docs.py: those in blocks)."""
    if page.name in ("NOTES.md", "CHANGELOG.md"):
        pytest.skip("these tell of earlier versions too")
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"`(pairsmith [^`]*)`", text)
    problems = [f"{line}: {problem}" for line in lines if (problem := _problem(line))]
    assert not problems, "\n".join(problems)
