"""Code shipped with a base model. It runs only if the spec names the model and exactly this code: an entry `NAME@HASH`
of `train.trust_remote_code`, with NAME as in `train.base` and HASH over every Python file of the model's folder. A name
alone would allow anyone who changes the files later to run any code.

The code that runs is a copy, made before it is checked, so changes to the model's folder between the check and the
loading, or while a server starts, have no effect. A copy that was not used for 30 days is deleted.

A process keeps the code it has once loaded: different code for the same `model_type` needs a new process.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from schemas.cache import cache_folder
from schemas.errors import InputError
from schemas.files import sha256
from schemas.records import content_id
from schemas.temporary_folders import temporary_folder

_COPIES = "own-code"
_UNUSED_S = 30 * 24 * 3600  # no process still runs a copy that it last requested so long ago


def has_code(folder: Path) -> bool:
    """Whether a config of the model names classes that are shipped with it."""
    return any(_classes(folder))


def trust_entry(base: str, folder: Path) -> str:
    """The entry of `train.trust_remote_code` that allows the present code of `folder` to run."""
    files = ((path.relative_to(folder).as_posix(), sha256(path)) for path in _code(folder))
    return f"{base}@{content_id('remote code', list(files))}"


def is_trusted_name(base: str, trusted: Sequence[str]) -> bool:
    """Whether an entry is for the model, whatever its hash."""
    return any(base in (entry, entry.rpartition("@")[0]) for entry in trusted)


def runnable(base: str, folder: Path, trusted: Sequence[str]) -> Path | None:
    """The model in `folder` with the code that may run: a folder of the same name in the cache folder, with copies of
    its code and configs, and links to the other files. None if no code runs: the model has none, or `trusted` does not
    name it.

    Raises InputError if `trusted` names the model with a different hash, or if code comes from outside the folder,
    which the hash does not cover.
    """
    if not is_trusted_name(base, trusted) or not has_code(folder):
        return None
    cache = cache_folder() / _COPIES
    cache.mkdir(parents=True, exist_ok=True)
    with temporary_folder(".", cache) as scratch:
        copy = scratch / "copy" / (name := folder.resolve().name)
        _copy(folder, copy)
        linked = (path.name for path in folder.rglob("*") if path.is_symlink() and path.is_dir())
        for outside in (*linked, *_outside_classes(copy)):
            raise InputError(
                f"the base loads '{outside}' from outside its own folder.",
                where=str(folder),
                why="That code may change, and train.trust_remote_code covers only the code of one folder.",
                fix="Copy that file into the folder, name it in the config, and review it.",
            )
        if (entry := trust_entry(base, copy)) not in trusted:
            raise InputError(
                "the code shipped with the base is not the code that train.trust_remote_code names.",
                where=str(folder),
                why="It would run with your permissions on this machine, without having been reviewed.",
                fix=f'Review its *.py, then set train.trust_remote_code = ["{entry}"].',
            )
        place = cache / _copy_id(copy)
        if place.is_dir() and _copy_id(place / name) != place.name:
            shutil.rmtree(place)  # its content was changed
        try:
            copy.parent.rename(place)
        except OSError:
            if not place.is_dir():  # otherwise the copy already exists
                raise
    with suppress(OSError):  # the cache may belong to another user
        os.utime(place)
    for old in cache.iterdir():
        with suppress(FileNotFoundError):  # another process is replacing it
            if time.time() - old.stat().st_mtime > _UNUSED_S:
                shutil.rmtree(old, ignore_errors=True)
    return place / name


def _copy(folder: Path, copy: Path) -> None:
    copied = {*_code(folder), *(path for path in folder.glob("*.json") if path.is_file())}
    copy.mkdir(parents=True)
    _copy_files(copied, folder, copy)
    for path in folder.iterdir():
        if path.is_file() and path not in copied:
            (copy / path.name).symlink_to(path.resolve())


def _copy_id(copy: Path) -> str:
    """Identifies a copy by its folder's name, its files, and the targets of its links."""
    files = [path for path in sorted(copy.rglob("*")) if not path.is_dir()]
    contents = [str(path.readlink()) if path.is_symlink() else sha256(path) for path in files]
    names = [str(path.relative_to(copy.parent)) for path in files]
    return content_id("copied code", [*zip(names, contents, strict=True)])


@contextmanager
def explain_untrusted_code(folder: Path) -> Iterator[None]:
    """Context for loading a model that may need untrusted code. It raises InputError instead of the library's error,
    whose advice is to trust the code."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise InputError(
            "the base needs the code shipped with it, which runs only if the spec trusts it.",
            where=str(folder),
            fix="Choose another base; or run `pairsmith doctor` for the entry to add, after reviewing the code.",
        ) from None


def copy_code(base: Path, target: Path) -> None:
    """Replace the Python files of `target` by those of `base`; those that transformers saved there have lost their
    folders."""
    for path in _code(target):
        path.unlink()
    _copy_files(_code(base), base, target)


def _copy_files(paths: Iterable[Path], base: Path, target: Path) -> None:
    for path in paths:
        place = target / path.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _code(folder: Path) -> list[Path]:
    """Every Python file, including `.PY`, which macOS treats the same. Linked folders are not followed."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".py" and path.is_file())


def _outside_classes(folder: Path) -> Iterator[str]:
    """Classes loaded from elsewhere: from another repository (`name--file.Class`, usually with an owner) or from a file
    that is not in the folder."""
    for name in _classes(folder):
        if "--" in name or "/" in name or not (folder / f"{name.rpartition('.')[0]}.py").is_file():
            yield name


def _classes(folder: Path) -> Iterator[str]:
    """Every class that an `auto_map` in a config of the folder names, as `file.Class`. A config may redirect to another
    file such as `config.4.0.0.json`."""
    for path in sorted(folder.glob("*config*.json")):
        try:
            yield from _iter_mapped_names(json.loads(path.read_bytes()), inside=False)
        except ValueError:
            continue  # an unreadable config is rejected where it is used


def _iter_mapped_names(value: Any, *, inside: bool) -> Iterator[str]:
    if inside and isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _iter_mapped_names(item, inside=inside)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _iter_mapped_names(item, inside=inside or key == "auto_map")
