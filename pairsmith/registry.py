"""A folder of released models: versions that never change, and aliases that say which one is in use.

registry/TASK/v1, v2, ...     copies of exports
registry/TASK/latest          a link to a version; so is every other alias, such as `production`
registry/TASK/aliases.json    what each alias has named, oldest first: the way back
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import KeysView
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from curate.licences import refuse_unlicensed
from schemas.errors import InputError, MissingDependency, NotLicensed, NoWork, UsageError, first_line
from schemas.files import copy_folder, files_in, one_at_a_time, replaced, replaced_folder, sha256
from schemas.project import Project
from schemas.records import Json
from schemas.spec.export import ExportSettings
from schemas.store import Store

LATEST = "latest"
_ALIASES = "aliases.json"
_VERSION = re.compile(r"v([1-9]\d*)")
_ALIAS = re.compile(r"[a-z][a-z0-9-]*")
# Files of a hub's repository by which a model of another version would be loaded, or told of.
_OF_A_VERSION = re.compile(
    r"adapter_(config\.json|model\.safetensors)|(config|training)\.json"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|gguf/[^/]+\.(gguf|check\.json)|gguf/Modelfile"
)
_TAG = "pairsmith"  # of every card (`train.model_card`)
_NAMED = TypeAdapter(dict[str, Annotated[list[str], Field(min_length=1)]])


class _Mark(BaseModel):
    """An export's `export.json`, as far as it is read here."""

    model_config = ConfigDict(extra="allow")
    adapter: str = ""
    gguf: dict[str, str] = Field(default_factory=dict, exclude_if=lambda gguf: not gguf)


class Registry:
    """The released models of one task, in `folder`, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[str]:
        """The versions, oldest first."""
        names = [
            mark.parent.name for mark in self.folder.glob("v*/export.json") if _VERSION.fullmatch(mark.parent.name)
        ]
        return sorted(names, key=lambda name: int(name[1:]))

    def aliases(self) -> dict[str, list[str]]:
        """alias -> the versions that it has named, the present one last."""
        try:
            return _NAMED.validate_json((self.folder / _ALIASES).read_bytes(), strict=True)
        except FileNotFoundError:
            return {}
        except ValueError:
            where, fix = str(self.folder / _ALIASES), "Put it back from a copy, or delete it and set the aliases anew."
            raise UsageError("it is damaged, so nobody knows what aliases named.", where=where, fix=fix) from None

    def add(self, export: Path) -> str:
        """Copy an export in as the next version, which `latest` then names. An export that is there already, with all
        of its files, is found and not copied again. Raises NoWork where `export` is none or holds no model, InputError
        for weights that are not those that were trained, and for another file than its evidence speaks of."""
        mark = export / "export.json"
        if not mark.is_file() or not (export / "adapter").is_dir():
            raise NoWork(
                "there is no export with a model in it.", where=str(export), fix="Run `pairsmith export` first."
            )
        refuse_other_weights(export)
        if (evidence := export / "evidence.json").is_file():
            from pairsmith.report.evidence_file import read_evidence

            read_evidence(evidence)
        contents = _contents(export)
        with self._alone():
            version = next((name for name in self.versions() if _contents(self.folder / name) == contents), None)
            if version is None:
                # The number of a version that was deleted is not given again: an alias may have named it.
                given = [*self.versions(), *(name for named in self.aliases().values() for name in named)]
                version = f"v{max((int(name[1:]) for name in given), default=0) + 1}"
                with replaced_folder(self.folder / version) as partial:
                    copy_folder(export, partial)
            self._point(LATEST, version)
        return version

    def _alone(self) -> AbstractContextManager[None]:
        """Until the end of the block nobody else changes the registry: two releases at once are two versions."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return one_at_a_time(self.folder / ".lock")

    def point(self, alias: str, version: str) -> None:
        """Let `alias` name `version`. Raises UsageError for a name that is none and a version that is not there."""
        if not _ALIAS.fullmatch(alias) or _VERSION.fullmatch(alias):
            raise UsageError(f"'{alias}' cannot be an alias.", fix="Use small letters, digits and dashes: production.")
        if version not in self.versions():
            known = ", ".join(self.versions()) or "none"
            raise UsageError(f"there is no version '{version}'; there are: {known}.", where=str(self.folder))
        with self._alone():
            self._point(alias, version)

    def _point(self, alias: str, version: str) -> None:
        named = self.aliases()
        before = named.get(alias, [])
        if (place := self.folder / alias).exists() and not place.is_symlink():
            raise UsageError(f"'{alias}' is a file or a folder there, no alias.", where=str(place), fix="Move it away.")
        if before[-1:] != [version]:
            self._write({**named, alias: [*before, version]})
        self._link(alias, version)

    def roll_back(self, alias: str) -> str:
        """Let `alias` name what it named before; returns that version. Raises UsageError where there was none."""
        if alias not in self.aliases():
            raise UsageError(f"there is no alias '{alias}'.", where=str(self.folder))
        with self._alone():
            return self._roll_back(alias)

    def _roll_back(self, alias: str) -> str:
        named = self.aliases()
        if len(named.get(alias, [])) < 2:
            raise UsageError(f"'{alias}' has named nothing before.", where=str(self.folder))
        if (before := named[alias][-2]) not in self.versions():
            fix = f"Name another one: `pairsmith registry alias {alias} VERSION`."
            raise UsageError(f"'{alias}' named {before} before, which is gone.", where=str(self.folder), fix=fix)
        named[alias].pop()
        self._write(named)
        self._link(alias, named[alias][-1])
        return named[alias][-1]

    def found(self, name: str) -> Path:
        """The folder of a version or an alias. Raises UsageError."""
        version = (self.aliases().get(name) or [name])[-1]
        if version not in self.versions():
            what, fix = f"there is no version or alias '{name}'.", "`pairsmith registry list` shows them."
            if version != name:
                what = f"'{name}' names {version}, which is gone."
                fix = f"Let it name another one: `pairsmith registry alias {name} VERSION`, or `rollback {name}`."
            raise UsageError(what, where=str(self.folder), fix=fix)
        return self.folder / version

    def listed(self) -> list[Json]:
        """Each version with its aliases and the ids of what is in it."""
        present = {alias: versions[-1] for alias, versions in self.aliases().items()}
        return [
            {
                "version": version,
                "aliases": sorted(alias for alias, named in present.items() if named == version),
                **self._told(version),
            }
            for version in self.versions()
        ]

    def _told(self, version: str) -> Json:
        return _mark_of(self.folder / version).model_dump()

    def _write(self, named: dict[str, list[str]]) -> None:
        with replaced(self.folder / _ALIASES) as partial:
            partial.write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")

    def _link(self, alias: str, version: str) -> None:
        new = self.folder / f".{alias}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(version, target_is_directory=True)
        os.replace(new, self.folder / alias)


def _mark_of(folder: Path) -> _Mark:
    """What the `export.json` of a folder tells. Raises UsageError for one that is damaged."""
    mark = folder / "export.json"
    try:
        return _Mark.model_validate_json(mark.read_bytes())
    except ValueError:
        fix = f"Delete the folder {folder.name}, or put the file back from a copy."
        raise UsageError("it is damaged, so nobody knows what was released.", where=str(mark), fix=fix) from None


def _contents(export: Path) -> tuple[bytes, KeysView[str]]:
    """What tells exports apart. The places of all files: with a GGUF that was added later it is another one."""
    return (export / "export.json").read_bytes(), files_in(export).keys()


def refuse_other_weights(export: Path) -> None:
    """Raises InputError if a file of the adapter or the merged model of an export is gone, or is not what its record of
    training says, and for a GGUF that is not the one that was exported."""
    from train.results import read_result, refuse_changed

    trained = read_result(export / "adapter")
    if trained is None:
        raise InputError(
            "the record of its training is gone, so nobody can tell whether this is the model that was measured.",
            where=str(export / "adapter" / "training.json"),
            fix="Export again: `pairsmith export`.",
        )
    refuse_changed(trained, export / "model")
    for name, digest in _mark_of(export).gguf.items():
        if not (file := export / "gguf" / name).is_file() or sha256(file) != digest:
            fix = "Export again: `pairsmith export --gguf KIND`."
            raise InputError("it is gone, or is not the one that was exported.", where=str(file), fix=fix)


def may_leave(project: Project, store: Store, folder: Path) -> None:
    """Raises NotLicensed where `[export]` keeps in a row that the model in `folder` learnt, or the store of the project
    does not know that model."""
    adapter = _mark_of(folder).adapter
    known = [each for each in store.artifacts("adapter") if each.id == adapter]
    if not known and project.spec.export != ExportSettings():
        raise NotLicensed(
            "the store does not know this model, so nobody can tell what its rows stand on.",
            where=str(folder),
            fix="Release an export of this project: `pairsmith registry add`.",
        )
    refuse_unlicensed(project, store, known)


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload the model in `folder` (a version) to a hub as `repository`; returns its address. The key is the hub's own
    (`HF_TOKEN`, `hf auth login`). The merged model is uploaded where there is one, else the adapter, and GGUFs, all in
    one commit. It takes away what another version left there: an adapter beside a merged model would be loaded in place
    of it, and a GGUF would be of another model. Other files of the repository stay. Raises UsageError for a repository
    that everybody reads, unless that is asked for, and for one that holds a model of somebody else."""
    try:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors
    except ImportError:
        fix = "Run: pip install 'pairsmith[train]'"
        raise MissingDependency("a hub is reached through the package huggingface_hub.", fix=fix) from None
    refuse_other_weights(folder)
    hub = HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        model = files_in(folder / "model") or files_in(folder / "adapter")
        files = model | {f"gguf/{name}": path for name, path in files_in(folder / "gguf").items()}
        there = hub.model_info(repository)
        if private and there.private is False:
            raise UsageError(
                f"'{repository}' is there already, and everybody can read it.",
                why="The model would be public, which you have not asked for.",
                fix="Name another repository, make this one private on its page, or add --public.",
            )
        held = sorted(file.rfilename for file in there.siblings or () if _OF_A_VERSION.fullmatch(file.rfilename))
        if held and _TAG not in (there.tags or ()):
            raise UsageError(
                f"'{repository}' holds a model that pairsmith did not push ({held[0]}).",
                why="Its card and its files would be replaced or taken away.",
                fix=f"Name another repository, or delete that model's files, or add the tag {_TAG} to its card.",
            )
        stale = [name for name in held if name not in files]
        changes: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationAdd(*one) for one in files.items()]
        changes += map(CommitOperationDelete, stale)
        hub.create_commit(repository, changes, commit_message=folder.name)
    except UsageError:
        raise
    except errors.HFValidationError as error:
        fix = "A name is OWNER/NAME of letters, digits, `-`, `_` and `.`."
        raise UsageError(f"'{repository}' is no repository: {first_line(error)}", fix=fix) from None
    except Exception as error:  # the client raises the errors of its HTTP library, too
        fix = "Look at the repository's name, at HF_TOKEN, and at whether the hub can be reached."
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            fix = "It is busy or down: run the same command again later."
        # What it minds comes last, behind an empty line.
        reason = " ".join(str(error).split())[:500].removesuffix(".") or type(error).__name__
        raise NoWork(f"the hub at {hub.endpoint} does not take it: {reason}.", fix=fix) from None
    return f"{hub.endpoint}/{repository}"
