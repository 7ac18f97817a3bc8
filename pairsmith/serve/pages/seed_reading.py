"""The seeds of a project as the last upload read them. The page that follows it shows them, and need not read the file
again: 50 MB take three seconds of a processor."""

from __future__ import annotations

from pairsmith.serve.pages.stale_forms import seed_files
from schemas.project import Project
from synth.sources.seeds import SeedReading, read_seeds

_last: dict[object, SeedReading] = {}  # at most one, whose seeds are in a temporary file


def keep_reading(project: Project, reading: SeedReading) -> None:
    """Keep the reading of all seeds of a project for whoever asks for it next."""
    _last.clear()
    _last[_key(project)] = reading


def seed_reading(project: Project) -> SeedReading:
    """The seeds in the files of a project; what only a run can read, standard input and the hub, is left out. Raises
    InputError."""
    if kept := _last.pop(_key(project), None):
        return kept
    sources = [s for s in project.spec.seeds if s.path != "-" and s.format != "hub"]
    return read_seeds(sources, project.folder, inside=True)


def _key(project: Project) -> object:
    """What a reading depends on: the settings, and which files these are, for other projects may have some of the same
    size and time. The folder does not count: a new project is written beside the others and then moved among them."""
    present = (path.stat() for path in seed_files(project) if path.is_file())
    files = [(file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size) for file in present]
    return repr(project.spec.seeds), tuple(files)
