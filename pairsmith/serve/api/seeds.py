"""Seeds of a project: uploads are validated as a whole before they are added."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from pydantic import BaseModel

from pairsmith.serve import limits
from pairsmith.serve.access import Caller, Editor, Viewer
from pairsmith.serve.api.specs import etag_of, save_keys, save_spec, spec_text
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of
from pairsmith.user_file.encoding import as_utf8
from schemas.errors import PairsmithError
from schemas.files import is_inside, replaced
from schemas.spec import SeedSource
from schemas.temporary_folders import temporary_folder
from synth.sources.non_text_files import refuse_by_name
from synth.sources.seeds import read_seeds

router = APIRouter(prefix="/api/v1/projects/{project}", tags=["seeds"])
ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
EXCERPTS = 20
_REMEMBERED = 64  # sources
_remembered: OrderedDict[tuple[Path, str], tuple[object, SeedFile]] = OrderedDict()
_MAX_UNCOMPRESSED = 2_000_000_000  # bytes of a Parquet file after decompression


class SeedExcerpt(BaseModel):
    kind: str
    text: str


class UnusableSeed(BaseModel):
    where: str
    what: str


class SeedFile(BaseModel):
    """A source of seeds: what was read, its first seeds, and the rows that cannot be used."""

    path: str
    kind: str
    rows: int
    kinds: dict[str, int]
    first: list[SeedExcerpt]
    problems: list[UnusableSeed]
    problem: str | None = None


class SeedList(BaseModel):
    items: list[SeedFile]


@router.get("/seeds", name="seeds")
def seeds(caller: Viewer, project: str, request: Request) -> SeedList:
    """The seed sources in the spec, read as `generate` reads them."""
    opened = state_of(request).readers.project(project)
    items = []
    for source in opened.spec.seeds:
        file = SeedFile(path=source.path, kind=source.kind, rows=0, kinds={}, first=[], problems=[])
        try:
            if source.path != "-" and source.format != "hub":
                file = _read_once(source, opened.folder)
        except PairsmithError as error:
            file = file.model_copy(update={"problem": str(error)})
        items.append(file)
    return SeedList(items=items)


_FIELDS = ("file", "text", "name", "kind", "encoding")


async def _known_fields(request: Request) -> None:
    """Refuses an unknown field and a second file, which the framework would drop without a word."""
    form = await request.form()
    if unknown := sorted(form.keys() - {*_FIELDS}):
        fix = f"Fields: {', '.join(_FIELDS)}."
        raise Refusal(422, f"there is no field '{unknown[0]}'.", where=f"/body/{unknown[0]}", code="not_valid", fix=fix)
    if len(form.getlist("file")) > 1:
        what, fix = "only one file can be sent at a time.", "Send each with a request of its own."
        raise Refusal(422, what, where="/body/file", code="not_valid", fix=fix)


@router.post("/seeds", name="add_seeds", status_code=201, dependencies=[Depends(_known_fields)])
def add_seeds(
    caller: Editor,
    project: str,
    request: Request,
    file: Annotated[UploadFile | None, File()] = None,
    text: Annotated[str | None, Form(max_length=900_000)] = None,
    name: Annotated[str | None, Form(max_length=80)] = None,
    kind: Annotated[Literal["input", "output", "pair", "conversation"], Form()] = "input",
    encoding: Annotated[str, Form(max_length=40)] = "",
) -> SeedFile:
    """Upload a file of seeds, or lines of text; it is added to the spec once all of it can be read.

    `encoding` is the encoding of a file that is not UTF-8, UTF-16 or UTF-32, for example cp1252; the file is stored as
    UTF-8.
    """
    if (file is None) == (text is None):
        what, fix = (
            "send either a file or text.",
            'Send the form field "file" or "text", as in `curl -F file=@seeds.csv`.',
        )
        raise Refusal(422, what, code="not_valid", fix=fix)
    stem = name or (file.filename if file else None) or "pasted.txt"
    if file:
        stem, content = limits.unpacked(stem, file.file.read())
    refuse_by_name(stem)
    content = as_utf8(content, stem, encoding) if file else str(text).encode()
    return add(request, caller, project, content, stem, kind)


@router.delete("/seeds/{file}", name="delete_seeds", status_code=204)
def delete_seeds(caller: Editor, project: str, file: str, request: Request) -> None:
    """Remove a file from the spec and delete it. What was generated from it stays."""
    folder, path = _file(request, project, file)
    sources = state_of(request).readers.project(project).spec.seeds
    if not path.is_file() and file in [source.path for source in sources]:
        path = folder / file  # a file of an example, next to the spec
    if not path.is_file():
        raise not_there(f"there is no seed file '{file}'.", fix="GET .../seeds lists the files.")
    named = path.relative_to(folder).as_posix()
    gone = {f"seeds.{n}": None for n, source in reversed(list(enumerate(sources))) if source.path == named}
    if gone:
        save_keys(request, caller, project, gone)
    path.unlink()


def add(
    request: Request,
    caller: Caller,
    slug: str,
    content: bytes,
    name: str,
    kind: str,
    reads: Mapping[str, Any] = MappingProxyType({}),
) -> SeedFile:
    """Check a file of seeds, store it as `seeds/NAME` and add it to the spec.

    `reads` are other keys of its source, used for the check only; the caller saves them. Raises Refusal, InputError,
    SpecError.
    """
    folder, path = _file(request, slug, name)
    limits.check_size(len(content))
    used = sum(
        existing.stat().st_size for existing in folder.rglob("*") if existing.is_file() and not existing.is_symlink()
    )
    limits.check_quota("the project", used + len(content), "Delete files that are not needed.")
    source = SeedSource.model_validate({"path": f"seeds/{name}", "kind": kind, **reads})
    with temporary_folder(place=state_of(request).workspace.serve) as scratch:
        partial = scratch / "seeds" / name
        partial.parent.mkdir()
        partial.write_bytes(content)
        check_size_inside(partial)
        shown = _read(source, scratch, limits.UPLOAD_ROWS)
        path.parent.mkdir(exist_ok=True)
        text = spec_text(request, slug)
        known = any(existing.path == source.path for existing in state_of(request).readers.project(slug).spec.seeds)
        if path.exists() and not known:
            raise Refusal(409, f"there is already a file '{name}'.", code="exists", fix="Choose another name.")
        with replaced(path) as file:
            file.write_bytes(content)
    if not known:
        entry = f'\n[[seeds]]\npath = "seeds/{name}"\nkind = "{kind}"\n'
        try:
            save_spec(request, caller, slug, text.rstrip("\n") + "\n" + entry, if_match=etag_of(text))
        except BaseException:
            path.unlink()
            raise
    return shown


def _file(request: Request, slug: str, name: str) -> tuple[Path, Path]:
    folder = state_of(request).workspace.folder(slug)
    if not _NAME.fullmatch(name) or not name.lower().endswith(ENDINGS):
        raise Refusal(
            422,
            f"'{name[:80]}' is not a valid name for a seed file.",
            code="not_valid",
            fix=f"Use letters, digits, dots and dashes, and one of the endings {', '.join(ENDINGS)}.",
        )
    path = folder / "seeds" / name
    if not is_inside(path, folder):
        raise Refusal(403, "the path leads out of the project.", code="fenced")
    return folder, path


def _read_once(source: SeedSource, folder: Path) -> SeedFile:
    """What is in a source, remembered until one of its files changes: 100,000 seeds take seconds to read."""
    paths = [folder / one.path for one in source.each(folder)]
    if not all(path.is_file() for path in paths):
        return _read(source, folder)
    # The time of the last change, unlike that of the last write, also moves if a copy keeps the file's times.
    now = (source, [(path, path.stat().st_ctime_ns, path.stat().st_size) for path in paths])
    known = _remembered.pop((folder, source.path), None)
    if known is None or known[0] != now:
        known = now, _read(source, folder)
    _remembered[folder, source.path] = known
    while len(_remembered) > _REMEMBERED:
        _remembered.popitem(last=False)
    return known[1]


def _read(source: SeedSource, folder: Path, most_rows: int | None = None) -> SeedFile:
    reading = read_seeds([source], folder, most_rows=most_rows, inside=True)
    return SeedFile(
        path=source.path,
        kind=source.kind,
        rows=reading.rows_in,
        kinds=dict(reading.kinds),
        first=[SeedExcerpt(kind=seed.kind, text=seed.body[:2000]) for seed in reading.seeds[:EXCERPTS]],
        problems=[UnusableSeed(where=problem.where, what=problem.what) for problem in reading.problems[:200]],
    )


def check_size_inside(path: Path) -> None:
    """Raises Refusal for a Parquet file that is too large uncompressed, according to its metadata.

    A compressed file can expand to a thousand times its size, so this is checked before it is read.
    """
    if path.suffix.lower() != ".parquet":
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(path)
        size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    except (pa.ArrowException, OSError):
        return  # the reader will report what is wrong with it
    if size > _MAX_UNCOMPRESSED:
        what = f"the file has {size / 1e9:.0f} GB of uncompressed data."
        raise Refusal(413, what, code="too_large", fix="Split it into several files.")
