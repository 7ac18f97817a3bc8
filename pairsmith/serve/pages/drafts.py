"""The files behind the setup page: a new project's, its seeds, its spec. Each is checked before it is kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, UploadFile

from pairsmith.new_project import EXAMPLES, files_of, template_folder, with_teacher, write_project
from pairsmith.own_file import guess, spec_text
from pairsmith.serve.access import Caller, Right
from pairsmith.teacher_search import EMBEDDED
from schemas.errors import InputError, UsageError
from schemas.files import replaced
from schemas.spec_file import SPEC_NAME, parse, set_keys

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ENDINGS = (".txt", ".jsonl", ".json", ".csv", ".tsv")
MOST_BYTES = 50_000_000
PASTED = "seeds.txt"
_SPEC = '''# A pairsmith project. `pairsmith docs spec` describes every key.

[task]
name = "my-task"
# What the tuned model will be told, in production too: short, because training teaches the rest.
system = "Rewrite the input in the house style."
# The whole house style, told to the teacher. Write what a stranger could check in the output.
style = "Rewrite the input."

# What your users would type.
[[seeds]]
path = "seeds.txt"

[teacher]
url = "embedded"
model = "smollm2-135m-instruct"

[generate.forward]
n = 4  # candidates for every seed
sampling = { temperature = 0.7, top_p = 0.95, max_tokens = 128 }

[curate.select]
best = 1  # of the candidates of one seed, keep the best

[train]
method = "lora"
'''


async def new_project(
    request: Request, *, name: str, style: str, pasted: str, file: UploadFile | None, example: str
) -> str:
    """Make the project and give its slug. Raises UsageError, InputError and SpecError; then nothing is made."""
    slug = name.strip().lower().replace(" ", "-").replace("_", "-")
    if not _SLUG.fullmatch(slug):
        raise UsageError(
            f"'{name[:60]}' cannot be the name of a project.",
            where="name",
            fix="Take small letters, digits and hyphens, such as my-prompts.",
        )
    workspace = request.app.state.workspace
    if slug in workspace.projects():
        raise UsageError(f"there is a project '{slug}' already.", where="name", fix="Take another name.")
    if example:
        if example not in EXAMPLES:
            raise UsageError(f"there is no example '{example}'.", fix=f"There are: {', '.join(EXAMPLES)}.")
        files = files_of(template_folder(example))
        text = files[SPEC_NAME].decode()
        files[SPEC_NAME] = (with_teacher(text, EMBEDDED) if "[teacher]" in text else text).encode()
        write_project(workspace.new_folder(slug), files)
        return slug
    folder: Path = workspace.new_folder(slug)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"the folder of '{slug}' is not empty.", where="name", fix="Take another name.")
    try:
        seeds = await keep_seeds(folder, pasted, file)
        write_project(folder, {SPEC_NAME: _spec_of(folder, seeds, slug, style).encode()})
        parse((folder / SPEC_NAME).read_text(encoding="utf-8"), folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return slug


def _spec_of(folder: Path, seeds: str, slug: str, style: str) -> str:
    values: dict[str, Any] = {"task.name": slug}
    if style.strip():
        values["task.style"] = style.strip().replace("\r\n", "\n")
    if Path(seeds).suffix in (".csv", ".json", ".jsonl", ".tsv"):
        found = guess(folder / seeds)
        return set_keys(spec_text(folder / seeds, found, slug), values)
    return set_keys(_SPEC, values)


async def keep_seeds(folder: Path, pasted: str, file: UploadFile | None) -> str:
    """Write what was pasted or uploaded into the project and give the file's name. Raises InputError."""
    if file is not None and file.filename:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(file.filename.replace("\\", "/")).name).strip(".-") or "seeds.txt"
        if Path(name).suffix.lower() not in _ENDINGS:
            raise InputError(
                f"the file '{file.filename[:80]}' is none that seeds are read from.",
                fix=f"Upload one that ends in {', '.join(_ENDINGS)}.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        size = 0
        with replaced(folder / name) as partial, partial.open("wb") as out:
            while chunk := await file.read(1 << 20):
                size += len(chunk)
                if size > MOST_BYTES:
                    raise InputError("the file is larger than 50 MB.", where=name, fix="Upload a part of it.")
                out.write(chunk)
        return name
    lines = [line for line in pasted.replace("\r\n", "\n").split("\n") if line.strip()]
    if not lines:
        raise InputError("there is no input yet.", where="seeds", fix="Paste some, one a line, or choose a file.")
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(folder / PASTED) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return PASTED


def save_keys(request: Request, caller: Caller, slug: str, values: Mapping[str, Any]) -> None:
    """Set keys of the spec, checked as a whole and against what the service allows. Raises SpecError and Refusal."""
    folder: Path = request.app.state.workspace.folder(slug)
    path = folder / SPEC_NAME
    text = set_keys(path.read_text(encoding="utf-8"), values)
    project, before = parse(text, folder), request.app.state.workspace.project(slug)
    policy = getattr(request.app.state, "policy", None)
    if policy is not None:
        policy.check(project, before=before.spec, owner=caller.may(Right.own, slug))
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")
