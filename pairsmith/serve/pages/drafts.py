"""The files behind the setup page: a new project's, its seeds, its spec. Each is checked before it is kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from pairsmith.new_project import write_project
from pairsmith.own_file import guess, spec_text
from pairsmith.serve.access import Caller, Right
from pairsmith.serve.api.projects import NewProject, new_project_in
from pairsmith.serve.api.seeds import ENDINGS, add
from pairsmith.serve.api.specs import etag_of, save_spec
from schemas.errors import InputError, UsageError
from schemas.spec_file import SPEC_NAME, parse, set_keys
from synth.seeds import read_seeds

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PASTED = "seeds.txt"
_SPEC = """# A pairsmith project. `pairsmith docs spec` describes every key.

[task]
name = "my-task"
# What the tuned model will be told, in production too: short, because training teaches the rest.
system = "Rewrite the input in the house style."
# The whole house style, told to the teacher. Write what a stranger could check in the output.
style = "Rewrite the input."

# What your users would type.
[[seeds]]
path = "seeds/seeds.txt"

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
"""


def new_project(
    request: Request, caller: Caller, *, name: str, style: str, seeds: tuple[str, bytes] | None, example: str
) -> str:
    """Make the project and give its slug. Raises UsageError, InputError, SpecError, Refusal; then nothing is made."""
    slug = name.strip().lower().replace(" ", "-").replace("_", "-")
    if not _SLUG.fullmatch(slug):
        raise UsageError(
            f"'{name[:60]}' cannot be the name of a project.",
            where="name",
            fix="Take small letters, digits and hyphens, such as my-prompts.",
        )
    if example:
        new_project_in(request, caller, NewProject(name=slug, example=example))
        return slug
    workspace = request.app.state.workspace
    folder: Path = workspace.new_folder(slug)
    if slug in workspace.projects():
        raise UsageError(f"there is a project '{slug}' already.", where="name", fix="Take another name.")
    assert seeds is not None
    if Path(seeds[0]).suffix.lower() not in ENDINGS:
        endings = ", ".join(ENDINGS)
        raise InputError(f"seeds are not read from '{seeds[0][:80]}'.", fix=f"Upload a file that ends in {endings}.")
    # Whoever makes the folder has the name: what fails takes away its own alone, not that of a second press.
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"there is a project '{slug}' already.", where="name", fix="Take another name.") from None
    try:
        path = folder / "seeds" / seeds[0]
        path.parent.mkdir()
        path.write_bytes(seeds[1])
        project = parse(text := _spec_of(path, slug, style), folder)
        read_seeds(project.spec.seeds, folder)
        # The file has a say in the spec, so nothing fenced may be in it that is not in ours.
        owner = caller.may(Right.own, slug)
        request.app.state.policy.check(project, before=parse(_SPEC, folder).spec, owner=owner, administrator=owner)
        write_project(folder, {SPEC_NAME: text.encode()})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return slug


def _spec_of(seeds: Path, slug: str, style: str) -> str:
    """The spec of a new project: of a table what its columns are taken for, else inputs to be rewritten."""
    values: dict[str, Any] = {"task.name": slug, "seeds.0.path": f"seeds/{seeds.name}"}
    if style.strip():
        values["task.style"] = style.strip().replace("\r\n", "\n")
    if seeds.suffix.lower() in (".csv", ".json", ".jsonl", ".tsv"):
        return set_keys(spec_text(seeds, guess(seeds), slug), values)
    return set_keys(_SPEC, values)


def save_keys(request: Request, caller: Caller, slug: str, values: Mapping[str, Any]) -> None:
    """Set keys of the spec, checked as a whole and against what the service allows. Raises SpecError and Refusal."""
    text = (request.app.state.workspace.folder(slug) / SPEC_NAME).read_text(encoding="utf-8-sig")
    save_spec(request, caller, slug, set_keys(text, values), if_match=etag_of(text))


async def given_seeds(pasted: str, file: UploadFile | None) -> tuple[str, bytes]:
    """Name and content of what was pasted or uploaded. Raises InputError where nothing was."""
    if file is not None and file.filename:
        return _plain_name(Path(file.filename.replace("\\", "/"))), await file.read()
    lines = [line for line in pasted.replace("\r\n", "\n").split("\n") if line.strip()]
    if not lines:
        raise InputError("there is no input yet.", where="seeds", fix="Paste some, one a line, or choose a file.")
    return PASTED, ("\n".join(lines) + "\n").encode()


def _plain_name(given: Path) -> str:
    """A name that the API takes too: ASCII, not long; of a name in another script the ending stays."""
    stem, ending = (re.sub(r"[^A-Za-z0-9._-]+", "-", part)[:60].strip(".-") for part in (given.stem, given.suffix))
    return f"{stem or 'seeds'}.{ending}" if ending else stem or PASTED


def keep_seeds(request: Request, caller: Caller, slug: str, name: str, content: bytes) -> None:
    """Make these the seeds of the project, in place of those that it reads now. Raises InputError, Refusal."""
    before = [source.path for source in request.app.state.workspace.project(slug).spec.seeds]
    add(request, caller, slug, content, name, "input")
    path = f"seeds/{name}"
    gone = {f"seeds.{at}": None for at, held in reversed(list(enumerate(before))) if held != path}
    if gone:
        save_keys(request, caller, slug, gone)
