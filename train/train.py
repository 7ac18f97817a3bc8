"""The training stage: from an exported dataset to an adapter."""

from __future__ import annotations

from pathlib import Path

from schemas.progress import Progress
from schemas.project import Project
from train.outcome import TrainResult
from train.rows import read_rows
from train.sft import fine_tune
from train.student import find_student


def train(
    project: Project, dataset_folder: Path, dataset_id: str, out_dir: Path, progress: Progress | None = None
) -> TrainResult:
    """Tune `train.base` on the train split of an exported dataset; the adapter is `out_dir/<adapter id>`.

    The same dataset, settings and base again find the finished adapter and do nothing (`reused`). Blocks for minutes,
    so call it in a thread of its own from asyncio. The caller stores `result.artifact`. Errors: see `fine_tune` and
    `find_student`.
    """
    settings = project.spec.train
    student = find_student(settings.base, project.folder, progress)
    splits = {"train": read_rows(dataset_folder, "train"), "validation": read_rows(dataset_folder, "validation")}
    return fine_tune(student, splits, dataset_id, settings, out_dir, progress=progress)
