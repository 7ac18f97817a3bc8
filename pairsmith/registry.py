"""A folder of released models: versions that never change, and aliases that point to the version in use.

registry/TASK/v1, v2, ...     copies of exports
registry/TASK/latest          a link to a version; likewise every other alias, such as `production`
registry/TASK/aliases.json    the versions that each alias has pointed to, oldest first, for rollback
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, KeysView
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from curate.export.licences import refuse_unlicensed
from schemas.errors import InputError, NotLicensed, NoWork, UsageError, first_line
from schemas.files import copy_folder, exclusive_lock, files_in, replaced, replaced_folder, sha256
from schemas.project import Project
from schemas.records import Json
from schemas.spec.export import ExportSettings
from schemas.store import Store

LATEST = "latest"
_ALIASES = "aliases.json"
_VERSION = re.compile(r"v([1-9]\d*)")
_ALIAS = re.compile(r"[a-z][a-z0-9-]*")
# Files in a hub repository that would load or describe the model of another version.
_OF_A_VERSION = re.compile(
    r"adapter_(config\.json|model\.safetensors)|(config|training)\.json"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|gguf/[^/]+\.(gguf|check\.json)|gguf/Modelfile"
)
_TAG = "pairsmith"  # tag in every model card (`train.export.model_card`)
_NAMED = TypeAdapter(dict[str, Annotated[list[str], Field(min_length=1)]])


class _ExportMark(BaseModel):
    """The part of an export's `export.json` that is used here."""

    model_config = ConfigDict(extra="allow")
    adapter: str = ""
    gguf: dict[str, str] = Field(default_factory=dict, exclude_if=lambda gguf: not gguf)


class Registry:
    """The released models of one task in `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[str]:
        """The versions, oldest first."""
        names = [
            mark.parent.name for mark in self.folder.glob("v*/export.json") if _VERSION.fullmatch(mark.parent.name)
        ]
        return sorted(names, key=lambda name: int(name[1:]))

    def aliases(self) -> dict[str, list[str]]:
        """alias -> the versions it has pointed to, the present one last."""
        try:
            return _NAMED.validate_json((self.folder / _ALIASES).read_bytes(), strict=True)
        except FileNotFoundError:
            return {}
        except ValueError:
            raise UsageError(
                "it is damaged, so the versions of the aliases are unknown.",
                where=str(self.folder / _ALIASES),
                fix="Restore it from a backup, or delete it and set the aliases again.",
            ) from None

    def add(self, export: Path) -> str:
        """Copy an export into the registry as the next version, and point `latest` to it. If the same export with all
        of its files is already there, it is not copied again.

        Raises NoWork if `export` is not an export or contains no model, and InputError if the weights are not those
        that were trained or a file is not the one described by its evidence.
        """
        mark = export / "export.json"
        if not mark.is_file() or not (export / "adapter").is_dir():
            raise NoWork(
                "there is no export with a model in it.", where=str(export), fix="Run `pairsmith export` first."
            )
        refuse_other_weights(export)
        verdict_in(export)
        contents = _identity(export)
        with self._locked():
            for left in self.folder.glob(".v*.partial"):  # of a release that was killed: nobody else holds the lock
                shutil.rmtree(left, ignore_errors=True)
            version = next((name for name in self.versions() if _identity(self.folder / name) == contents), None)
            if version is None:
                # The number of a deleted version is not reused: an alias may have pointed to it.
                used = [*self.versions(), *(name for named in self.aliases().values() for name in named)]
                version = f"v{max((int(name[1:]) for name in used), default=0) + 1}"
                with replaced_folder(self.folder / version) as partial:
                    copy_folder(export, partial)
            self._point(LATEST, version)
        return version

    def _locked(self) -> AbstractContextManager[None]:
        """Lock the registry for the block, so that two concurrent releases become two versions."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return exclusive_lock(self.folder / ".lock")

    def point(self, alias: str, version: str) -> str | None:
        """Point `alias` to `version`, and return the decision in its evidence (`verdict_in`). Raises UsageError for an
        invalid alias or an unknown version, and InputError for a version with a missing or changed file."""
        if not _ALIAS.fullmatch(alias) or _VERSION.fullmatch(alias):
            raise UsageError(
                f"'{alias}' cannot be an alias.",
                fix="Use lower-case letters, digits and dashes, for example production.",
            )
        if version not in self.versions():
            known = ", ".join(self.versions()) or "none"
            fix = (
                "`pairsmith registry list` shows them; `pairsmith registry add` releases an export as the next version."
            )
            what = f"there is no version '{version}'; existing versions: {known}."
            raise UsageError(what, where=str(self.folder), fix=fix)
        with self._refusing_damage(version, alias):
            verdict = verdict_in(self.folder / version)
        with self._locked():
            self._point(alias, version)
        return verdict

    def _point(self, alias: str, version: str) -> None:
        named = self.aliases()
        before = named.get(alias, [])
        self._refuse_folder(alias)
        if before[-1:] != [version]:  # first: a change that was killed can then be repeated, or rolled back
            self._write({**named, alias: [*before, version]})
        self._link(alias, version)

    def roll_back(self, alias: str) -> str:
        """Point `alias` back to its previous version and return that version. Raises UsageError if there is none, and
        InputError if a file of it is missing or has changed."""
        if alias not in self.aliases():
            fix = "`pairsmith registry list` shows them."
            raise UsageError(f"there is no alias '{alias}'.", where=str(self.folder), fix=fix)
        with self._locked():
            named = self.aliases()
            if len(named.get(alias, [])) < 2:
                fix = f"Point it to another version: `pairsmith registry alias {alias} VERSION`."
                raise UsageError(f"'{alias}' has no previous version.", where=str(self.folder), fix=fix)
            if (before := named[alias][-2]) not in self.versions():
                what = f"the previous version of '{alias}', {before}, no longer exists."
                fix = f"Point it to another version: `pairsmith registry alias {alias} VERSION`."
                raise UsageError(what, where=str(self.folder), fix=fix)
            with self._refusing_damage(before, alias):
                named[alias].pop()
            self._link(alias, before)
            self._write(named)  # last: a rollback that was killed and is repeated goes back one version, not two
        return before

    @contextmanager
    def _refusing_damage(self, version: str, alias: str) -> Iterator[None]:
        """Raise InputError if a file of a version is missing or has changed since training and export wrote it, or if
        the block finds damage."""
        try:
            refuse_other_weights(self.folder / version)
            yield
        except InputError as damage:
            fix = f"Restore the file, or choose another version: `pairsmith registry alias {alias} VERSION`."
            raise InputError(damage.what, where=damage.where, why=damage.why, fix=fix) from None

    def folder_of(self, name: str) -> Path:
        """The folder of a version or an alias. Raises UsageError."""
        version = (self.aliases().get(name) or [name])[-1]
        if version not in self.versions():
            what, fix = f"there is no version or alias '{name}'.", "`pairsmith registry list` shows them."
            if version != name:
                what = f"'{name}' points to {version}, which no longer exists."
                fix = (
                    f"Point it to another version: `pairsmith registry alias {name} VERSION`, or to the one before: "
                    f"`pairsmith registry rollback {name}`."
                )
            raise UsageError(what, where=str(self.folder), fix=fix)
        return self.folder / version

    def listed(self) -> list[Json]:
        """Each version with its aliases and the ids of its contents."""
        present = {alias: versions[-1] for alias, versions in self.aliases().items()}
        return [
            {
                "version": version,
                "aliases": sorted(alias for alias, named in present.items() if named == version),
                **mark_of(self.folder / version).model_dump(),
            }
            for version in self.versions()
        ]

    def _write(self, named: dict[str, list[str]]) -> None:
        with replaced(self.folder / _ALIASES) as partial:
            partial.write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")

    def _refuse_folder(self, alias: str) -> None:
        if (place := self.folder / alias).exists() and not place.is_symlink():
            raise UsageError(f"'{alias}' is a file or folder, not an alias.", where=str(place), fix="Move it away.")

    def _link(self, alias: str, version: str) -> None:
        self._refuse_folder(alias)
        new = self.folder / f".{alias}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(version, target_is_directory=True)
        os.replace(new, self.folder / alias)


def mark_of(folder: Path) -> _ExportMark:
    """The contents of a folder's `export.json`. Raises UsageError if it is damaged."""
    mark = folder / "export.json"
    try:
        return _ExportMark.model_validate_json(mark.read_bytes())
    except ValueError:
        fix = f"Delete the folder {folder.name}, or restore the file from a backup."
        raise UsageError(
            "it is damaged, so the contents of this version are unknown.", where=str(mark), fix=fix
        ) from None


def _identity(export: Path) -> tuple[bytes, KeysView[str]]:
    """What distinguishes exports: `export.json` and the paths of all files. An export to which a GGUF was added later
    is a different one."""
    return (export / "export.json").read_bytes(), files_in(export).keys()


def refuse_other_weights(export: Path) -> None:
    """Raise InputError if a file of the exported adapter or merged model is missing or differs from the record of its
    training, or if a GGUF is not the exported one."""
    from train.results import read_result, refuse_changed

    trained = read_result(export / "adapter")
    if trained is None:
        raise InputError(
            "the record of its training is missing, so it cannot be verified that this is the evaluated model.",
            where=str(export / "adapter" / "training.json"),
            fix="Export again: `pairsmith export`.",
        )
    refuse_changed(trained, export / "model")
    for name, digest in mark_of(export).gguf.items():
        if not (file := export / "gguf" / name).is_file() or sha256(file) != digest:
            fix = "Export again: `pairsmith export --gguf KIND`."
            raise InputError("it is missing, or is not the one that was exported.", where=str(file), fix=fix)


def refuse_unlicensed_model(project: Project, store: Store, folder: Path) -> None:
    """Raise NotLicensed if `[export]` keeps back a row that the model in `folder` learned from, or if the project's
    store does not know that model."""
    adapter = mark_of(folder).adapter
    known = [each for each in store.artifacts("adapter") if each.id == adapter]
    if not known and project.spec.export != ExportSettings():
        raise NotLicensed(
            "the store does not know this model, so the licences of its rows are unknown.",
            where=str(folder),
            fix="Release an export of this project: `pairsmith registry add`.",
        )
    refuse_unlicensed(project, store, known)


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload the model in `folder` (a version) to the hub as `repository`, and return its URL.

    The token is the hub's own (`HF_TOKEN`, `hf auth login`). One commit contains the merged model if there is one, else
    the adapter, and GGUFs. It deletes files that another version left there: an adapter next to a merged model would be
    loaded instead of it, and an old GGUF would be another model. Other files in the repository are kept.

    Raises UsageError for a public repository unless that is asked for, and for one with a model that pairsmith did not
    push.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors

    refuse_other_weights(folder)
    hub = HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        model = files_in(folder / "model") or files_in(folder / "adapter")
        files = model | {f"gguf/{name}": path for name, path in files_in(folder / "gguf").items()}
        info = hub.model_info(repository)
        if private and info.private is False:
            raise UsageError(
                f"'{repository}' already exists and is public.",
                why="The model would become public, which you have not asked for.",
                fix="Choose another repository, make this one private on its page, or add --public.",
            )
        model_files = sorted(file.rfilename for file in info.siblings or () if _OF_A_VERSION.fullmatch(file.rfilename))
        if model_files and _TAG not in (info.tags or ()):
            raise UsageError(
                f"'{repository}' contains a model that pairsmith did not push ({model_files[0]}).",
                why="Its card and its files would be replaced or deleted.",
                fix=f"Choose another repository, delete that model's files, or add the tag {_TAG} to its card.",
            )
        stale = [name for name in model_files if name not in files]
        changes: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(*item) for item in files.items()
        ]
        changes += map(CommitOperationDelete, stale)
        hub.create_commit(repository, changes, commit_message=folder.name)
    except UsageError:
        raise
    except errors.HFValidationError as error:
        fix = "Use OWNER/NAME with letters, digits, `-`, `_` and `.`."
        raise UsageError(f"'{repository}' is not a valid repository name: {first_line(error)}", fix=fix) from None
    except Exception as error:  # the client also raises errors of its HTTP library
        fix = "Check the repository name, HF_TOKEN, and whether the hub can be reached."
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            fix = "The hub is busy or down: run the same command again later."
        # The actual complaint comes last, after an empty line.
        reason = " ".join(str(error).split())[:500].removesuffix(".") or type(error).__name__
        raise NoWork(f"the hub at {hub.endpoint} refused the upload: {reason}.", fix=fix) from None
    return f"{hub.endpoint}/{repository}"


def verdict_in(export: Path) -> str | None:
    """The decision in the evidence of an export; None without an evaluation. Raises InputError if a file is not the one
    described by it."""
    if not (evidence := export / "evidence.json").is_file():
        return None
    from pairsmith.report.evidence_file import read_evidence

    verdict = read_evidence(evidence).evidence.verdict
    return verdict.decision if verdict else None
