"""Code that comes with a base model. It runs only where the spec names the model and this very code: an entry
`NAME@HASH` of `train.trust_remote_code`, NAME as in `train.base`, HASH over every Python file of the model's folder. A
name alone would let whoever changes the files later run what they like.

What a process has once run it keeps: other code of the same `model_type` takes a new process.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.files import sha256
from schemas.records import content_id


def brings_code(folder: Path) -> bool:
    """Whether a config of the model names classes that come with it."""
    return any(_classes(folder))


def marked(base: str, folder: Path) -> str:
    """The entry of `train.trust_remote_code` that lets the present code of `folder` run."""
    files = ((path.relative_to(folder).as_posix(), sha256(path)) for path in _code(folder))
    return f"{base}@{content_id('remote code', list(files))}"


def is_named(base: str, trusted: Sequence[str]) -> bool:
    """Whether an entry is for the model, whatever its hash."""
    return any(base in (entry, entry.rpartition("@")[0]) for entry in trusted)


def may_run(base: str, folder: Path, trusted: Sequence[str]) -> bool:
    """Whether the code of the model in `folder` runs: it comes with some, and `trusted` names it.

    Raises InputError where `trusted` names the model with other code than lies there, and where code is taken from
    elsewhere, of which the hash says nothing.
    """
    if not is_named(base, trusted) or not brings_code(folder):
        return False
    for name in _elsewhere(folder):
        raise InputError(
            f"the base takes '{name}' from another place than its own folder.",
            where=str(folder),
            why="What lies there may change, and train.trust_remote_code names the code of one folder.",
            fix="Copy that file into the folder, name it in the config, and read it.",
        )
    if (entry := marked(base, folder)) not in trusted:
        raise InputError(
            "the code that comes with the base is not what train.trust_remote_code names.",
            where=str(folder),
            why="It can do what you can do on this machine, and it would be run unread.",
            fix=f'Read its *.py, then set train.trust_remote_code = ["{entry}"].',
        )
    return True


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Around the loading of a model that may need code which nobody has named: InputError in place of what the library
    says, whose advice is to trust it."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise InputError(
            "the base needs code that comes with it, and that is run only by name.",
            where=str(folder),
            fix="Choose another base; or let `pairsmith doctor` show the name of its code, and read it.",
        ) from None


def copy_code(base: Path, target: Path) -> None:
    """Have `target` hold the Python files of `base`, and no other: what transformers puts there it has laid flat."""
    for path in _code(target):
        path.unlink()
    for path in _code(base):
        place = target / path.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _code(folder: Path) -> list[Path]:
    """Every Python file, `.PY` too, which macOS takes for the same. Folders that are links are not gone into."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".py" and path.is_file())


def _elsewhere(folder: Path) -> Iterator[str]:
    """What is taken from another place: a folder that is a link, a class of another repository (`name--file.Class`, of
    most with an owner) or of a file that is not there."""
    yield from (path.name for path in folder.rglob("*") if path.is_symlink() and path.is_dir())
    for name in _classes(folder):
        if "--" in name or "/" in name or not (folder / f"{name.rpartition('.')[0]}.py").is_file():
            yield name


def _classes(folder: Path) -> Iterator[str]:
    """Every class that an `auto_map` in a config of the folder names, as `file.Class`. A config may send its reader to
    `config.4.0.0.json`."""
    for path in sorted(folder.glob("*config*.json")):
        try:
            yield from _in_maps(json.loads(path.read_bytes()), inside=False)
        except ValueError:
            continue  # a config that cannot be read is refused by whoever needs it


def _in_maps(value: Any, *, inside: bool) -> Iterator[str]:
    if inside and isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _in_maps(item, inside=inside)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _in_maps(item, inside=inside or key == "auto_map")
