"""Code that comes with a base model. It runs only where the spec names the model and this very code: an entry
`NAME@HASH` of `train.trust_remote_code`, NAME as in `train.base`, HASH over every Python file of the model's folder. A
name alone would let whoever changes the files later run what they like. What runs is a copy, made before it is looked
at: whatever becomes of the model's folder between the look and the loading, or while a server starts, is not run. A
copy that was not asked for in 30 days is deleted.

What a process has once run it keeps: other code of the same `model_type` takes a new process.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.files import sha256
from schemas.records import content_id
from synth.embedded.weights import cache_folder

_COPIES = "own-code"
_UNUSED_S = 30 * 24 * 3600  # no process runs what it last asked for so long ago


def has_code(folder: Path) -> bool:
    """Whether a config of the model names classes that come with it."""
    return any(_classes(folder))


def trust_entry(base: str, folder: Path) -> str:
    """The entry of `train.trust_remote_code` that lets the present code of `folder` run."""
    files = ((path.relative_to(folder).as_posix(), sha256(path)) for path in _code(folder))
    return f"{base}@{content_id('remote code', list(files))}"


def is_named(base: str, trusted: Sequence[str]) -> bool:
    """Whether an entry is for the model, whatever its hash."""
    return any(base in (entry, entry.rpartition("@")[0]) for entry in trusted)


def runnable(base: str, folder: Path, trusted: Sequence[str]) -> Path | None:
    """The model in `folder` with the code that may run: a folder of that name in the cache folder with copies of its
    code and configs, and links to the rest. None where no code runs: it brings none, or `trusted` does not name it.

    Raises InputError where `trusted` names the model with other code than lies there, and where code is taken from
    elsewhere, of which the hash says nothing.
    """
    if not is_named(base, trusted) or not has_code(folder):
        return None
    kept = cache_folder() / _COPIES
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept, prefix=".") as scratch:
        copy = Path(scratch, "copy", name := folder.resolve().name)
        _copy(folder, copy)
        for taken in (*_linked_folders(folder), *_elsewhere(copy)):
            raise InputError(
                f"the base takes '{taken}' from another place than its own folder.",
                where=str(folder),
                why="What lies there may change, and train.trust_remote_code names the code of one folder.",
                fix="Copy that file into the folder, name it in the config, and read it.",
            )
        if (entry := trust_entry(base, copy)) not in trusted:
            raise InputError(
                "the code that comes with the base is not what train.trust_remote_code names.",
                where=str(folder),
                why="It can do what you can do on this machine, and it would be run unread.",
                fix=f'Read its *.py, then set train.trust_remote_code = ["{entry}"].',
            )
        place = kept / _name_of(copy)
        if place.is_dir() and _name_of(place / name) != place.name:
            shutil.rmtree(place)  # not what was put there
        try:
            copy.parent.rename(place)
        except OSError:
            if not place.is_dir():  # by now or before
                raise
    with suppress(OSError):  # a cache that others keep
        os.utime(place)
    for old in kept.iterdir():
        with suppress(FileNotFoundError):  # another process puts its own in its place
            if time.time() - old.stat().st_mtime > _UNUSED_S:
                shutil.rmtree(old, ignore_errors=True)
    return place / name


def _copy(folder: Path, copy: Path) -> None:
    copied = {*_code(folder), *(path for path in folder.glob("*.json") if path.is_file())}
    copy.mkdir(parents=True)
    for path in copied:
        place = copy / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    for path in folder.iterdir():
        if path.is_file() and path not in copied:
            (copy / path.name).symlink_to(path.resolve())


def _name_of(copy: Path) -> str:
    """What tells a copy from every other: its folder's name, its files, and where its links lead."""
    files = [path for path in sorted(copy.rglob("*")) if not path.is_dir()]
    holds = [str(path.readlink()) if path.is_symlink() else sha256(path) for path in files]
    names = [str(path.relative_to(copy.parent)) for path in files]
    return content_id("copied code", [*zip(names, holds, strict=True)])


@contextmanager
def explain_untrusted_code(folder: Path) -> Iterator[None]:
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


def _linked_folders(folder: Path) -> Iterator[str]:
    yield from (path.name for path in folder.rglob("*") if path.is_symlink() and path.is_dir())


def _elsewhere(folder: Path) -> Iterator[str]:
    """What is taken from another place: a class of another repository (`name--file.Class`, of most with an owner) or of
    a file that is not there."""
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
