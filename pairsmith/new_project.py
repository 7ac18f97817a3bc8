"""Makes the files of a new project from a template: our starter, or one of the examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pairsmith.teacher_search import Found
from schemas.errors import MissingDependency, UsageError
from schemas.spec_file import SPEC_NAME

EXAMPLES = ("release-notes", "image-prompts", "support-replies")
_COPIED = (".jsonl", ".py", ".jinja")  # seeds; gates, checks and prompts of the project's own
_TEACHER = re.compile(r"^\[teacher\]\n(?:.+\n)*", re.MULTILINE)
# Settings that other servers refuse or understand differently.
_EMBEDDED_ONLY = re.compile(r"(?:top_k|repetition_penalty|no_repeat_ngram_size) = [\d.]+, ")
_EMBEDDED_NOTE = re.compile(r"^# The penalties keep .+\n", re.MULTILINE)


def template_folder(example: str | None) -> Path:
    """The folder to copy: in a wheel the examples lie in this package, in a checkout beside it.

    Raises UsageError for an example that does not exist, MissingDependency if the examples are not installed.
    """
    here = Path(__file__).parent
    if example is None:
        return here / "starter"
    if example not in EXAMPLES:
        raise UsageError(f"there is no example '{example}'.", fix=f"There are: {', '.join(EXAMPLES)}.")
    for root in (here / "examples", here.parent / "examples"):
        if (root / example / SPEC_NAME).is_file():
            return root / example
    raise MissingDependency("the examples are not installed.", where=str(here), fix="Install pairsmith again.")


def write_project(folder: Path, template: Path, teacher: Found) -> list[Path]:
    """Copy the template's files into `folder`, with `teacher` in the spec, and return them.

    Writes nothing and raises UsageError if a project is there, or if a file of the template would be overwritten.
    """
    spec_text = (template / SPEC_NAME).read_text(encoding="utf-8")
    copied = [path for path in sorted(template.rglob("*")) if path.suffix in _COPIED]
    files = {path.relative_to(template).as_posix(): path.read_bytes() for path in copied}
    files[SPEC_NAME] = with_teacher(spec_text, teacher).encode()
    if (folder / SPEC_NAME).exists():
        raise UsageError(
            "this folder is a project already; nothing was changed.",
            where=str(folder / SPEC_NAME),
            fix="Name another folder, or move the old spec away.",
        )
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise UsageError(
            f"{', '.join(taken)} would be overwritten; nothing was changed.",
            where=str(folder),
            fix="Name another folder: pairsmith init NEW-FOLDER.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, body in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(body)
    except OSError as error:
        raise UsageError(
            f"cannot be written: {error.strerror}.", where=str(folder), fix="Name another folder."
        ) from None
    return [folder / name for name in files]


def with_teacher(spec_text: str, teacher: Found) -> str:
    """The spec with the lines of its `[teacher]` table, up to the first empty line, replaced; for any other teacher
    than the embedded one, without the sampling settings that only that one has."""
    lines = ["[teacher]", f"# {teacher.why}"]
    lines += [f"url = {json.dumps(teacher.url)}", f"model = {json.dumps(teacher.model)}"]
    if teacher.key_env:
        lines.append(f"key_env = {json.dumps(teacher.key_env)}  # the name of the variable, never the key")
        lines.append("# Fill these in to see and cap what you spend:")
        lines += ["# usd_per_million_prompt_tokens = 0.0", "# usd_per_million_completion_tokens = 0.0"]
    lines.append(f"concurrency = {16 if 'localhost:11434' in teacher.url else 32}")
    if teacher.url != "embedded":
        spec_text = _EMBEDDED_NOTE.sub("", _EMBEDDED_ONLY.sub("", spec_text))
    else:
        lines.append("attempts = 1  # a candidate that was cut is not asked for again: the next one is as good")
    return _TEACHER.sub(lambda _: "\n".join(lines) + "\n", spec_text, count=1)
