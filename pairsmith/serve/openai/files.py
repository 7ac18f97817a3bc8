"""`/v1/files`: training files of conversations, validated on upload."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import sqlalchemy as sa
from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from pydantic import BaseModel
from starlette.responses import FileResponse

from pairsmith.serve import limits
from pairsmith.serve.access import Caller, Right, needs
from pairsmith.serve.database import files, row, rows, write
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of
from schemas.errors import InputError
from schemas.spec import SeedSource
from schemas.temporary_folders import temporary_folder
from synth.sources.seeds import read_seeds

router = APIRouter(prefix="/v1", tags=["openai"])
Item = TypeVar("Item")
Uploader = Annotated[Caller, needs(Right.edit, somewhere=True)]


class UploadedFile(BaseModel):
    """An OpenAI file object."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"


class ListPage(BaseModel, Generic[Item]):
    """A page of an OpenAI list."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = False


class FileList(ListPage[UploadedFile]):
    first_id: str | None
    last_id: str | None


class DeletedFile(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


@router.post("/files", name="openai_upload")
def upload(
    caller: Uploader,
    request: Request,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[str, Form(max_length=40)],
) -> UploadedFile:
    """Upload JSON Lines of `{"messages": [...]}`. If a line cannot be used, the error names it and nothing is
    stored."""
    if purpose != "fine-tune":
        raise Refusal(400, f"the purpose '{purpose}' is not supported.", code="purpose", fix="Use fine-tune.")
    _, content = limits.unpacked("the file", file.file.read(limits.UPLOAD_BYTES + 1))
    query = sa.select(files.c.bytes).where(files.c.user == caller.user)
    used = sum(record["bytes"] for record in rows(state_of(request).engine, query))
    limits.check_quota("your files", used + len(content), "Delete some.")
    answers_of(content)
    new: dict[str, Any] = {
        "id": f"file-{secrets.token_hex(12)}",
        "user": caller.user,
        "name": (file.filename or "upload.jsonl")[:200],
        "bytes": len(content),
        "created": int(time.time()),
    }
    path = upload_path(request, new["id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    write(state_of(request).engine, sa.insert(files).values(new))
    return _uploaded_file(new)


@router.get("/files", name="openai_files")
def list_files(
    caller: Uploader,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: Annotated[str | None, Query(max_length=100)] = None,
    purpose: Annotated[str | None, Query(max_length=40)] = None,
) -> FileList:
    """Your files, newest first."""
    query = sa.select(files).where(files.c.user == caller.user).order_by(files.c.created.desc(), files.c.id)
    mine = [dict(record) for record in rows(state_of(request).engine, query)] if purpose in (None, "fine-tune") else []
    data, more = page_after(mine, after, limit)
    shown = list(map(_uploaded_file, data))
    ends = (shown[0].id, shown[-1].id) if shown else (None, None)
    return FileList(data=shown, first_id=ends[0], last_id=ends[1], has_more=more)


@router.get("/files/{file}", name="openai_file")
def retrieve(caller: Uploader, file: str, request: Request) -> UploadedFile:
    """One of your files."""
    return _uploaded_file(file_of(request, caller, file))


@router.get(
    "/files/{file}/content",
    name="openai_download_file",
    response_class=FileResponse,
    responses={200: {"content": {"application/jsonl": {}}}},
)
def content(caller: Uploader, file: str, request: Request) -> FileResponse:
    """The content of a file."""
    row = file_of(request, caller, file)
    return FileResponse(upload_path(request, file), media_type="application/jsonl", filename=row["name"])


@router.delete("/files/{file}", name="openai_delete_file")
def delete(caller: Uploader, file: str, request: Request) -> DeletedFile:
    """Delete a file. A project created from it keeps its copy."""
    file_of(request, caller, file)
    write(state_of(request).engine, sa.delete(files).where(files.c.id == file))
    upload_path(request, file).unlink(missing_ok=True)
    return DeletedFile(id=file)


def file_of(request: Request, caller: Caller, file: str) -> dict[str, Any]:
    """A file of the caller. Raises Refusal if they have no such file."""
    query = sa.select(files).where(files.c.id == file, files.c.user == caller.user)
    if (record := row(state_of(request).engine, query)) is None:
        raise not_there(f"you have no file '{file[:80]}'.")
    return dict(record)


def page_after(rows: list[Any], after: str | None, limit: int) -> tuple[list[Any], bool]:
    """OpenAI's paging: the rows after the one with the id `after`, and whether there are more. Raises Refusal."""
    begin = 0
    if after is not None:
        ids = [row["id"] if isinstance(row, dict) else row.id for row in rows]
        if after not in ids:
            raise Refusal(400, f"there is no '{after[:80]}' to continue after.", code="bad_cursor")
        begin = ids.index(after) + 1
    return rows[begin : begin + limit], begin + limit < len(rows)


def answers_of(content: bytes) -> list[str]:
    """The last answer of each conversation. Raises Refusal that names the first invalid line."""
    with temporary_folder() as folder:
        (folder / "upload.jsonl").write_bytes(content)
        source = SeedSource.model_validate({"path": "upload.jsonl", "kind": "conversation"})
        try:
            reading = read_seeds([source], folder, most_rows=limits.UPLOAD_ROWS)
        except InputError as error:
            raise Refusal(400, error.what, where=error.where, fix=error.fix, code="invalid_file") from None
    wrong = [problem for problem in reading.problems if problem.code != "duplicate"]
    if wrong:
        raise Refusal(
            400,
            wrong[0].what,
            where=wrong[0].where,
            code="invalid_file",
            fix='Each line has to be {"messages": [...]}.',
        )
    return [seed.reference for seed in reading.seeds if seed.reference]


def upload_path(request: Request, file: str) -> Path:
    """Where the content of a file is. `file_of` checks who may have it."""
    return state_of(request).workspace.serve / "uploads" / file


def _uploaded_file(row: dict[str, Any]) -> UploadedFile:
    return UploadedFile(id=row["id"], bytes=row["bytes"], created_at=row["created"], filename=row["name"])
