"""Results of a project: receipts, artifacts and downloads, evaluations, review status, and the report."""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.responses import FileResponse, StreamingResponse

from curate.export.files import is_dataset
from curate.export.licences import refuse_unlicensed
from pairsmith.serve.access import Caller, Member, Right, Viewer, needs
from pairsmith.serve.api.pages import Cursor, Limit, Page, attachment_headers, page_of
from pairsmith.serve.api.row_files import ChunkBuffer
from pairsmith.serve.edge import CSP
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of
from pairsmith.stages.evaluate import refuse_modified
from pairsmith.stages.export import EXPORT, MARK, REPORT
from schemas.errors import UsageError
from schemas.files import sha256, size_of
from schemas.records import Artifact
from schemas.store.latest import listed_artifacts

router = APIRouter(prefix="/api/v1/projects/{project}", tags=["results"])
_CHUNK = 256 * 1024
_SPLIT_FILES = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
_ANY_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}, "application/jsonl": {}, "application/json": {}}}
}
_REPORT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


class ArtifactInfo(BaseModel):
    """An artifact. Download its files with `/artifacts/{id}/download`."""

    id: str
    kind: str
    parents: list[str]
    rows: int
    bytes: int
    at: str
    facts: dict[str, Any]


@router.get("/receipts", name="receipts")
def receipts(
    caller: Viewer,
    project: str,
    request: Request,
    command: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """The receipts of all commands, newest first: rows, tokens, money, seconds, versions."""
    store = state_of(request).readers.store(project)
    rows = store.receipts(command)[::-1] if store else []
    return page_of(rows, limit, cursor, lambda row: row.model_dump(mode="json"))


@router.get("/artifacts", name="artifacts")
def artifacts(
    caller: Viewer, project: str, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> Page[ArtifactInfo]:
    """Datasets, adapters and evaluations, newest first."""
    store = state_of(request).readers.store(project)
    artifacts = [one for one in listed_artifacts(store)[::-1] if one[0].kind != "batch"] if store else []
    folder = state_of(request).workspace.folder(project)
    return page_of(artifacts, limit, cursor, lambda one: _artifact_info(folder, *one))


@router.get("/artifacts/{artifact}/download", name="download_artifact", response_class=Response, responses=_ANY_FILE)
def download_artifact(
    caller: Annotated[Caller, needs(Right.download_dataset)],
    project: str,
    artifact: str,
    request: Request,
    format: Literal["zip", "jsonl", "parquet"] = "zip",
    split: Literal["train", "validation", "test"] | None = None,
) -> Response:
    """All files of an artifact as a streamed zip, or one split of a dataset, by default `train`, as JSONL or
    Parquet."""
    if format == "zip" and split:
        fix = "Add format=jsonl or format=parquet, or leave split out."
        raise Refusal(422, "a zip has all splits.", where="/query/split", code="not_valid", fix=fix)
    wanted = artifact_of(request, project, artifact)
    if wanted.kind != "dataset":
        caller.require(Right.download_adapter, project)
    check_licences(request, project, {wanted.id})
    path = path_of(request, project, wanted)
    name = f"{project}-{wanted.kind}-{wanted.id[:8]}"
    if format != "zip":
        split = split or "train"
        file = path / "data" / f"{split}.{format}"
        if wanted.kind != "dataset" or not file.is_file():
            raise not_there(f"the artifact has no {split} split as {format}.", fix="Download the zip.")
        return FileResponse(file, media_type=_SPLIT_FILES[format], filename=f"{name}-{split}.{format}")
    if path.is_file():
        return FileResponse(path, media_type="application/json", filename=f"{name}{path.suffix}")
    return StreamingResponse(
        _stream_zip(path, name), media_type="application/zip", headers=attachment_headers(f"{name}.zip")
    )


@router.get("/export", name="download_export", response_class=Response, responses=_ANY_FILE)
def download_export(
    caller: Annotated[Caller, needs(Right.download_adapter)], project: str, request: Request
) -> Response:
    """The last export as a streamed zip: dataset, model, GGUFs, evaluation, report."""
    folder = state_of(request).workspace.folder(project) / EXPORT
    if not (folder / MARK).is_file():
        raise not_there("there is no export yet.", fix="Start a job `export` to create it.")
    check_licences(request, project, set(map(str, orjson.loads((folder / MARK).read_bytes()).values())))
    name = f"{project}-export"
    return StreamingResponse(
        _stream_zip(folder, name), media_type="application/zip", headers=attachment_headers(f"{name}.zip")
    )


@router.get("/evaluations", name="evaluations")
def evaluations(
    caller: Viewer, project: str, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """Evaluations with their systems, intervals and verdicts, newest first, without the individual outputs."""
    store = state_of(request).readers.store(project)
    measured = store.artifacts("evaluation")[::-1] if store else []
    return page_of(measured, limit, cursor, lambda each: {"id": each.id, "at": each.at.isoformat(), **each.facts})


@router.get("/evaluations/{evaluation}/outputs", name="evaluation_outputs")
def evaluation_outputs(
    caller: Viewer,
    project: str,
    evaluation: str,
    request: Request,
    system: Annotated[str | None, Query(max_length=80)] = None,
    failed_check: Annotated[str | None, Query(max_length=80)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """The outputs of an evaluation: all, those of one system, or those that failed a check.

    A file that was changed by hand is refused.
    """
    measured = artifact_of(request, project, evaluation, "evaluation")
    path = path_of(request, project, measured)
    if store := state_of(request).readers.store(project):
        refuse_modified(store, measured.id, sha256(path), measured.path)
    outputs: list[dict[str, Any]] = orjson.loads(path.read_bytes()).get("outputs", [])
    _refuse_unknown("system", system, {output["system"] for output in outputs})
    _refuse_unknown("failed_check", failed_check, {check for output in outputs for check in output.get("checks", {})})
    chosen = [
        output
        for output in outputs
        if system in (None, output["system"])
        and (failed_check is None or output.get("checks", {}).get(failed_check) is False)
    ]
    return page_of(chosen, limit, cursor, dict)


def _refuse_unknown(parameter: str, value: str | None, known: Collection[str]) -> None:
    """A misspelled name must not look like one without outputs."""
    if value is None or value in known:
        return
    there = ", ".join(sorted(known)) or "none"
    raise UsageError(
        f"this evaluation has no {parameter.split('_')[-1]} '{value}'.", where=parameter, fix=f"It has: {there}."
    )


@router.get("/review", name="review")
def review(caller: Member, project: str, request: Request) -> dict[str, Any]:
    """Review progress: acceptance with its interval, agreement, and what more answers would gain.

    `certificate` is the result of the last attempt to certify: its `words`, whether it `holds`, and if not, `why`.
    Reviewers get `review` only: the rest names reviewers, or results of runs.
    """
    from pairsmith import certified, review_status

    readers = state_of(request).readers
    store = readers.store(project)
    if store is None:
        return {"review": None, "why": "nothing has been generated yet"}
    status = review_status.read(readers.project(project), store)
    status["certificate"] = certified.last_certification(readers.project(project), store)
    if not caller.may(Right.see_work, project):
        return {name: status[name] for name in ("review", "why") if name in status}
    return status


@router.get("/report", name="report", response_class=Response, responses=_REPORT)
def report(caller: Viewer, project: str, request: Request) -> Response:
    """The report of the last run, as a sandboxed page, because it contains texts from other users."""
    path = state_of(request).workspace.folder(project) / REPORT
    if not path.is_file():
        raise not_there("there is no report yet.", fix="A `run` writes it when all stages are done.")
    policy = CSP.replace("style-src 'self'", "style-src 'unsafe-inline'").replace("script-src 'self'; ", "")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": f"sandbox; {policy}"})


def artifact_of(request: Request, slug: str, artifact: str, kind: str | None = None) -> Artifact:
    """An artifact by its id. Raises Refusal."""
    store = state_of(request).readers.store(slug)
    artifacts = [each for each, _ in listed_artifacts(store, kind)] if store else []
    newest = next((each for each in artifacts if each.id == artifact and each.kind != "batch"), None)
    if newest is None:
        raise not_there(f"there is no artifact '{artifact[:80]}'.", fix="GET .../artifacts lists the artifacts.")
    return newest


def check_licences(request: Request, slug: str, ids: Collection[str]) -> None:
    """Raises NotLicensed if the `[export]` settings withhold a source of one of these artifacts."""
    if store := state_of(request).readers.store(slug):
        artifacts = [artifact for artifact, _ in listed_artifacts(store) if artifact.id in ids]
        refuse_unlicensed(state_of(request).workspace.project(slug), store, artifacts)


def files_of(folder: Path, artifact: Artifact) -> Path | None:
    """The path of an artifact's files in a project's folder. None if they are missing, are those of a later dataset, or
    are outside the project."""
    path = (folder / artifact.path).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        return None
    return path if artifact.kind != "dataset" or is_dataset(path, artifact.id) else None


def path_of(request: Request, slug: str, artifact: Artifact) -> Path:
    """The path of an artifact's files. Raises Refusal if there are none."""
    path = files_of(state_of(request).workspace.folder(slug), artifact)
    if path is None:
        what = f"the files of this {artifact.kind} are missing"
        what += ", or a later curation has replaced them" if artifact.kind == "dataset" else ""
        raise Refusal(409, f"{what}.", code="gone", fix="Start a job to create them again.")
    return path


def _artifact_info(folder: Path, artifact: Artifact, rows: Counter[str]) -> ArtifactInfo:
    return ArtifactInfo(
        id=artifact.id,
        kind=artifact.kind,
        parents=list(artifact.parents),
        rows=rows.total(),
        bytes=size_of(path) if (path := files_of(folder, artifact)) else 0,
        at=artifact.at.isoformat(),
        facts=artifact.facts,
    )


def _stream_zip(folder: Path, name: str) -> Iterator[bytes]:
    """A folder as a zip, with only a chunk of it in memory. If a job replaces the folder meanwhile, no file of the new
    one gets into the zip: the download breaks off."""
    buffer = ChunkBuffer()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for inside in _names_in(descriptor):
                into = zipfile.ZipInfo(f"{name}/{inside}")
                with (
                    os.fdopen(os.open(inside, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptor), "rb") as file,
                    archive.open(into, "w", force_zip64=True) as entry,
                ):
                    while chunk := file.read(_CHUNK):
                        entry.write(chunk)
                        yield buffer.take()
        yield buffer.take()
    finally:
        os.close(descriptor)


def _names_in(descriptor: int) -> list[str]:
    """The relative paths of all files in an open folder, without links."""
    return sorted(
        os.path.normpath(os.path.join(at, name))
        for at, _, names, opened in os.fwalk(dir_fd=descriptor)
        for name in names
        if stat.S_ISREG(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)
    )
