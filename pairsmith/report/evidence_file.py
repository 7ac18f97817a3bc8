"""`evidence.json`: everything the report says, every answer with its id, and the SHA-256 of the files it speaks of.

The report is rendered again from this file alone. A changed number is found by the file's own digest, a changed spec,
dataset, adapter or evaluation by the digests in it. That is no signature: who rewrites all of it leaves no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from pairsmith.report.evidence import Evidence
from schemas.errors import InputError
from schemas.files import replaced, sha256
from schemas.project import Project
from schemas.records import Artifact, Json
from schemas.spec_file import SPEC_NAME

_FORMAT = 1
_AGAIN = "`pairsmith report` writes report and evidence of what is there now."


class Bound(NamedTuple):
    """A file that the evidence speaks of. `path` is its place in the project, `exported` the one in an export; empty
    for a file to which the export adds something."""

    path: str
    exported: str
    sha256: str


class CheckedEvidence(NamedTuple):
    """The evidence, which of its files were there and are the same, and which are not there."""

    evidence: Evidence
    same: tuple[str, ...]
    missing: tuple[str, ...]


def write_evidence(project: Project, evidence: Evidence, artifacts: Iterable[Artifact], out: Path) -> None:
    """Write the evidence as `out`. `artifacts` are those it speaks of: their files are bound by their SHA-256."""
    bound = [_bound(project.folder, SPEC_NAME, SPEC_NAME), *_of_artifacts(project, artifacts)]
    body: Json = {
        "format": _FORMAT,
        "evidence": _ADAPTER.dump_python(_without_places(evidence), mode="json"),
        "files": [one._asdict() for one in bound if one],
    }
    with replaced(out) as partial:
        partial.write_bytes(orjson.dumps({**body, "sha256": _digest(body)}, option=orjson.OPT_INDENT_2))


def read_evidence(path: Path, folders: Sequence[Path] = ()) -> CheckedEvidence:
    """The evidence in `path`. Its files are looked for beside it and in `folders`.

    Raises InputError for what is no evidence file, and where a hash does not match.
    """
    body = _parsed(path)
    if body.pop("sha256", None) != _digest(body):
        raise InputError(
            "the evidence was changed after it was written: its own SHA-256 does not match.",
            where=str(path),
            why="A number in it may be none that was measured.",
            fix=_AGAIN,
        )
    try:
        evidence = _ADAPTER.validate_python(body["evidence"])
        bound = [Bound(**one) for one in body["files"]]
    except (ValidationError, KeyError, TypeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise _not_evidence(path, first) from None
    same, missing = [], []
    for one in bound:
        place = _place_of(one, [path.parent, *folders])
        if place is None:
            missing.append(one.path)
            continue
        if (now := sha256(place)) != one.sha256:
            raise InputError(
                f"this is not the file that the evidence speaks of: SHA-256 {now[:12]}... instead of"
                f" {one.sha256[:12]}...",
                where=str(place),
                why="The report would tell of data, settings or weights that are not these.",
                fix=f"Put the file of then back, or: {_AGAIN}",
            )
        same.append(one.path)
    return CheckedEvidence(evidence, tuple(same), tuple(missing))


_ADAPTER = TypeAdapter(Evidence)


def _without_places(evidence: Evidence) -> Evidence:
    """Without the folders of this machine."""
    training, evaluation = evidence.training, evidence.evaluation
    return replace(
        evidence,
        training=training and training.model_copy(update={"folder": "", "masks": ()}),
        evaluation=evaluation and evaluation.model_copy(update={"path": ""}),
    )


def _of_artifacts(project: Project, artifacts: Iterable[Artifact]) -> Iterator[Bound | None]:
    for artifact in artifacts:
        source = project.folder / artifact.path
        path = project.inside(source)
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            # A card is prose, to which later stages add.
            if file.is_file() and file.name != "README.md":
                inside = file.relative_to(source).as_posix() if source.is_dir() else ""
                place = _exported(artifact.kind, inside) if inside else artifact.kind + source.suffix
                yield _bound(project.folder, f"{path}/{inside}" if inside else path, place)


def _exported(kind: str, inside: str) -> str:
    """Where an export has a file of a folder: a merged model has one of its own, and what decodes is added to."""
    if inside.endswith("generation_config.json"):
        return ""
    return f"model/{inside.removeprefix('merged/')}" if inside.startswith("merged/") else f"{kind}/{inside}"


def _bound(folder: Path, path: str, exported: str) -> Bound | None:
    file = folder / path
    return Bound(path, exported, sha256(file)) if file.is_file() else None


def _place_of(bound: Bound, folders: Sequence[Path]) -> Path | None:
    names = dict.fromkeys(filter(None, (bound.path, bound.exported)))
    places = (folder / name for folder in folders for name in names)
    return next((place for place in places if place.is_file()), None)


def _digest(body: Json) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _parsed(path: Path) -> Json:
    try:
        body = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"the evidence cannot be read: {error.strerror or error}.", where=str(path)) from None
    except orjson.JSONDecodeError as error:
        raise _not_evidence(path, str(error)) from None
    if not isinstance(body, dict) or body.get("format") != _FORMAT:
        raise _not_evidence(path, f"its format is not {_FORMAT}")
    return body


def _not_evidence(path: Path, why: str) -> InputError:
    return InputError(f"this is no evidence file that this version reads: {why}.", where=str(path), fix=_AGAIN)
