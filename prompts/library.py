"""Finds a prompt by name: in the project's own files first, then among those that come with pairsmith."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from prompts.prompt import Prompt
from schemas.errors import PromptError

_BUNDLED = Path(__file__).parent
_REF = re.compile(r"(?P<name>[a-z0-9][a-z0-9_-]*)(?:/(?P<version>v[1-9]\d*)(?:@(?P<hash>[0-9a-f]{8}))?)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VERSION_FILE = re.compile(r"v[1-9]\d*\.jinja")
_TEMPLATE = re.compile(r"\.(?:jinja2?|j2)\b", re.IGNORECASE)
_PROMPT_LIKE = re.compile("prompt|template", re.IGNORECASE)
# Files that a folder may contain next to prompts: notes, the user's own Python package, files of editors and systems.
_NOT_A_PROMPT = re.compile(r"\..*|README.*|.*\.pyc?|.*~|#.*#|Thumbs\.db", re.IGNORECASE)


def load(name: str, folder: Path | None = None) -> Prompt:
    """Load and check the prompt that `name` refers to.

    `enhance` is the newest version, `enhance/v1` one version, `enhance/v1@d1754fc5` one version with exactly that
    content. Files in `folder/prompts/enhance/` take precedence over ours: if there are any, "newest" is the newest of
    those, so a later pairsmith with a higher version never replaces a project's own prompt.

    Raises PromptError if there is no such prompt, if its file is malformed or has another hash, or if a file in
    `folder/prompts` has a name under which it would never be found.
    """
    ref = _REF.fullmatch(name)
    if ref is None:
        raise PromptError(
            f"'{name}' is not the name of a prompt.", fix="Write a name such as enhance, or enhance/v1 for one version."
        )
    roots = _roots(folder)
    versions = {version: path for root in reversed(roots) for version, path in _versions(root / ref["name"]).items()}
    version = ref["version"]
    if version is None:
        own = next((versions_here for root in roots if (versions_here := _versions(root / ref["name"]))), {})
        version = max(own, key=lambda v: int(v[1:]), default=None)
    if version is None:
        raise _unknown_prompt(ref["name"], roots)
    if version not in versions:
        known = ", ".join(f"{ref['name']}/{v}" for v in sorted(versions, key=lambda v: int(v[1:])))
        raise PromptError(f"there is no prompt '{ref['name']}/{version}'.", fix=f"Available: {known or 'none'}.")
    prompt = Prompt.read(versions[version], ref["name"])
    if ref["hash"] and ref["hash"] != prompt.hash:
        raise PromptError(
            f"is {prompt.ref}, not {name}: it has been changed.",
            where=str(prompt.path),
            why="The same name would refer to two prompts.",
            fix="Restore the old text, and save the new one in a file with the next version number.",
        )
    return prompt


def available(folder: Path | None = None) -> list[str]:
    """`name/version` of every prompt that can be loaded, sorted. Does not read the files."""
    roots = _roots(folder)
    return sorted({f"{sub.name}/{v}" for root in roots for sub in _folders(root) for v in _versions(sub)})


def unused(used: Iterable[str], folder: Path) -> list[str]:
    """The project's own prompts that none of the `used` names refers to. Empty unless one of the names refers to a
    bundled prompt: only then may an unused one, such as `prompts/enhanse`, be a misspelling."""
    project_prompts = {sub.name for sub in _folders(folder / "prompts") if _versions(sub)}
    names = {name.partition("/")[0] for name in used}
    return sorted(project_prompts - names - {"judge", "compare"}) if names - project_prompts else []


def _roots(folder: Path | None) -> list[Path]:
    """The folders that are searched for prompts, the project's own first. Raises PromptError for a file in the project
    that looks like a prompt but would be ignored."""
    if folder is None or (folder / "prompts").resolve() == _BUNDLED:
        return [_BUNDLED]
    own = folder / "prompts"
    _refuse_misplaced(folder, own)
    for path in sorted(own.iterdir()) if own.is_dir() else ():
        if _NOT_A_PROMPT.fullmatch(path.name) or path.name == "__pycache__":
            continue
        if not path.is_dir():
            name = re.sub(r"[^a-z0-9_-]+", "-", path.name.partition(".")[0].lower()).strip("-_") or "NAME"
            raise _misnamed(path, f"Move it to {own / name / 'v1.jinja'}.")
        versions = [file for file in path.iterdir() if _is_version(file)]
        if not _NAME.fullmatch(path.name):
            if not versions and not any(_TEMPLATE.search(file.name) for file in path.iterdir()):
                continue
            near = re.sub(r"[^a-z0-9_-]+", "-", path.name.lower()).strip("-_") or "enhance"
            raise _misnamed(path, f"Its name may contain only a-z, 0-9, - and _: rename it to {own / near}.")
        for file in sorted(path.iterdir()):
            if file.is_dir() and not _NOT_A_PROMPT.fullmatch(file.name):
                if _is_version(Path(f"{file.name}.jinja")):  # a separate folder for each version
                    raise _misnamed(file, f"Save it as a single file, {path / file.name}.jinja.")
                for one in filter(_is_version, sorted(file.iterdir())):
                    raise _misnamed(one, f"Move it to {path}.")
            if not (file.is_dir() or _VERSION_FILE.fullmatch(file.name) or _NOT_A_PROMPT.fullmatch(file.name)):
                raise _misnamed(file, f"Rename it to {_free_name(file)}.")
    return [own, _BUNDLED]


def _refuse_misplaced(folder: Path, own: Path) -> None:
    """Raise PromptError for a prompt that is in the project but outside its `prompts` folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = _TEMPLATE.split(path.name)[0]
        if path.is_dir() and path.name != own.name and _PROMPT_LIKE.search(path.name):
            misspelt = path.name.lower() in ("prompt", "prompts")  # otherwise it may belong to another program
            for file in (*path.glob("v[1-9]*.jinja"), *path.glob("*/v[1-9]*.jinja")):
                if (misspelt or (_BUNDLED / file.parent.name).is_dir()) and not (own / file.parent.name).is_dir():
                    raise _misnamed(path, f"{'Move its contents' if own.is_dir() else 'Rename it'} to {own}.")
        elif name != path.name and (_BUNDLED / name).is_dir() and not (own / name).is_dir():
            raise _misnamed(path, f"Move it to {own / name / 'v1.jinja'}.")


def _is_version(path: Path) -> bool:
    return _VERSION_FILE.fullmatch(path.name.lower()) is not None


def _misnamed(path: Path, fix: str) -> PromptError:
    return PromptError(
        "is not read: a prompt is a file prompts/NAME/vN.jinja.",
        where=str(path),
        why="Another prompt would be used without any warning.",
        fix=fix,
    )


def _free_name(path: Path) -> str:
    """The file name that a misnamed version should have: with its own number if it has a free one, else the next."""
    taken = [int(version[1:]) for version in _versions(path.parent)]
    number = next((int(digits) for digits in re.findall(r"\d+", path.name)), 0)
    return f"v{number}.jinja" if number and number not in taken else f"v{max(taken, default=0) + 1}.jinja"


def _folders(root: Path) -> list[Path]:
    return [sub for sub in root.iterdir() if sub.is_dir()] if root.is_dir() else []


def _versions(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if _VERSION_FILE.fullmatch(path.name)}


def _unknown_prompt(name: str, roots: list[Path]) -> PromptError:
    names = sorted({sub.name for root in roots for sub in _folders(root) if _versions(sub)})
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return PromptError(f"there is no prompt '{name}'.", fix=f"{hint}Available: {', '.join(names)}.")
