"""The downloads page: artifacts with their size, hash and parents, and how to fetch them from code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Request, Response

from pairsmith.exported_model import GGUF
from pairsmith.serve.access import Viewer
from pairsmith.serve.api.results import files_of
from pairsmith.serve.pages.figures import live_job, snapshot
from pairsmith.serve.pages.shell import page_router, project_page
from pairsmith.serve.state import state_of
from pairsmith.stages.export import EXPORT, FORMATS, MARK
from pairsmith.style.numbers import count
from schemas.files import sha256, size_of
from schemas.records import Artifact
from schemas.store.latest import listed_artifacts, present
from schemas.wording import counted

router = page_router()
_KINDS = ("dataset", "adapter", "evaluation")
_SPLITS = ("train", "validation", "test")
_HASHED_BYTES = 200_000_000


class File(NamedTuple):
    """A file to download. `sha256` is empty for files that are too large to hash for a page."""

    name: str
    href: str
    size: str
    sha256: str


@router.get("/p/{project}/downloads", name="page_downloads")
def downloads(caller: Viewer, project: str, request: Request) -> Response:
    """Everything that can be downloaded."""
    now = snapshot(request, project)
    listed, on_disk = (listed_artifacts(now.store), present(now.store)) if now.store else ([], {})
    folder = now.project.folder
    base = f"/api/v1/projects/{project}"
    things = [_artifact_view(folder, base, *one) for one in reversed(listed) if one[0].kind in _KINDS]
    newest = [thing for one in on_disk.values() for thing in things if thing["id"] == one.id]
    report = folder / "report.html"
    return project_page(
        request,
        "downloads",
        caller,
        project,
        heading=_heading(newest),
        newest=newest,
        older=[thing for thing in things if thing["id"] not in {one.id for one in on_disk.values()}][:20],
        report=_size(report) if report.is_file() else None,
        base=base,
        address=state_of(request).settings.address,
        adapter=on_disk.get("adapter"),
        dataset=on_disk.get("dataset"),
        export=_export(folder, on_disk),
        kinds=GGUF,
        formats=FORMATS,
        job=live_job(request, project),
    )


def _export(folder: Path, present: Mapping[str, Artifact]) -> dict[str, Any] | None:
    """What the last `export` built, and which of its artifacts are outdated. None if there is no export."""
    mark = folder / EXPORT / MARK
    if not mark.is_file():
        return None
    saved = json.loads(mark.read_bytes())
    inside = sorted(path.name for path in mark.parent.iterdir() if path.name != MARK)
    return {
        "at": datetime.fromtimestamp(mark.stat().st_mtime, UTC),
        "size": _size(mark.parent),
        "inside": [name for name in inside if name not in ("gguf", "chat")]
        + [
            f"{name}/{path.name}"
            for name in ("gguf", "chat")
            if name in inside
            for path in sorted((mark.parent / name).iterdir())
        ],
        "older": [kind for kind, artifact in present.items() if saved.get(kind) != artifact.id],
    }


def _heading(newest: Sequence[Mapping[str, Any]]) -> str:
    """The summary of the page. Only artifacts whose files exist can be downloaded."""
    if not newest:
        return "There is nothing to download yet. Curation creates the first dataset."
    there = {thing["kind"]: thing for thing in newest if thing["there"]}
    if not there:
        return "The artifact files are missing. Run the project again to rebuild them."
    parts = [f"a dataset of {counted(there['dataset']['members'], 'row', 'rows')}"] if "dataset" in there else []
    parts += ["an adapter"] if "adapter" in there else []
    parts += ["an evaluation"] if "evaluation" in there else []
    sentence = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"Ready to download: {sentence}."


def _artifact_view(folder: Path, base: str, artifact: Artifact, splits: Counter[str]) -> dict[str, Any]:
    path = files_of(folder, artifact)
    download = f"{base}/artifacts/{artifact.id}/download"
    files: list[File] = []
    if path and artifact.kind == "dataset":
        for split in _SPLITS:
            for ending in ("jsonl", "parquet"):
                file = path / "data" / f"{split}.{ending}"
                if file.is_file():
                    href = f"{download}?format={ending}&split={split}"
                    files.append(File(file.name, href, _size(file), _hash(file, file.stat().st_mtime_ns)))
    rows = ", ".join(f"{count(splits[split])} {split}" for split in _SPLITS if split in splits)
    return {
        "kind": artifact.kind,
        "id": artifact.id,
        "at": artifact.at,
        "there": path is not None,
        "zip": download,
        "members": splits.total(),
        "size": _size(path) if path else "",
        "rows": rows,
        "parents": artifact.parents,
        "files": files,
        "one_file": path is not None and path.is_file(),
        "sha256": _hash(path, path.stat().st_mtime_ns) if path and path.is_file() else "",
    }


@lru_cache(maxsize=256)
def _hash(path: Path, changed: int) -> str:
    return "" if path.stat().st_size > _HASHED_BYTES else sha256(path)


def _size(path: Path) -> str:
    size = float(size_of(path))
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
