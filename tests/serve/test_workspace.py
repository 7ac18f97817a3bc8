"""A workspace of projects."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from pairsmith.serve import workspace
from pairsmith.serve.job import COMMANDS, JobOptions, check_options
from pairsmith.serve.readers import Readers
from pairsmith.serve.talking import is_busy
from pairsmith.serve.workspace import NoSuchProject, Workspace
from schemas.errors import StoreBusy, StoreError, UsageError
from schemas.spec_file import SPEC_NAME, set_keys
from tests.serve.conftest import write_project


def _project(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "pairsmith.toml").write_text("")


def test_projects_are_in_projects_or_in_the_workspace_itself(tmp_path: Path) -> None:
    """Both are listed by name, once each. Folders without a spec and hidden folders are not projects."""
    for name in ("projects/tickets", "captions", "projects/captions", ".serve/trash/old"):
        _project(tmp_path / name)
    (tmp_path / "notes").mkdir()
    workspace = Workspace(tmp_path)
    assert workspace.projects() == ["captions", "tickets"]
    assert workspace.folder("captions") == tmp_path / "projects/captions"
    assert workspace.folder("tickets") == tmp_path / "projects/tickets"
    assert Workspace(tmp_path / "absent").projects() == []


@pytest.mark.parametrize("slug", ["..", ".", "", ".serve", "a/b", "../tickets", "a\\b", "a\nb", "a\0b", "absent"])
def test_path_is_not_a_project_name(tmp_path: Path, slug: str) -> None:
    """No slug in a URL can reach a folder outside the workspace."""
    _project(tmp_path / "space/tickets")
    _project(tmp_path / "space/a/b")
    (tmp_path / "pairsmith.toml").write_text("")
    with pytest.raises(NoSuchProject):
        Workspace(tmp_path / "space").folder(slug)


def _hold(root: Path, ready: object, end: object) -> None:
    with Workspace(root).lock():
        ready.set()  # type: ignore[attr-defined]
        end.wait(600)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_workspace_has_one_server_at_a_time(tmp_path: Path) -> None:
    """A second server is refused with the pid of the first; after the first is gone, even killed, a new one may
    start."""
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, end), daemon=True)
    other.start()
    assert ready.wait(120)
    with pytest.raises(StoreBusy, match=str(other.pid)), Workspace(tmp_path).lock():
        pass
    other.kill()
    other.join()
    with Workspace(tmp_path).lock():
        pass


def test_checking_for_a_server_does_not_prevent_one_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pairsmith jobs` checks by taking a shared lock for a moment; a server that starts just then waits for it."""
    monkeypatch.setattr(workspace, "_LOCK_TIMEOUT_S", 60.0)
    with Workspace(tmp_path).lock():
        pass
    with (tmp_path / ".serve" / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        let_go = threading.Timer(0.3, fcntl.flock, (looking, fcntl.LOCK_UN))
        let_go.start()
        with Workspace(tmp_path).lock():
            let_go.join()


def test_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without file locks it would be impossible to know whether a job is running."""

    def refuses(descriptor: int, how: int) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(StoreError, match="local disk"), Workspace(tmp_path).lock():
        pass


def test_project_folder_is_not_a_workspace(tmp_path: Path) -> None:
    """`pairsmith serve` in a project's folder gives an error instead of showing an empty list."""
    (tmp_path / "pairsmith.toml").write_text("")
    with pytest.raises(UsageError, match="not a workspace"), Workspace(tmp_path).lock():
        pass


def test_job_accepts_only_the_options_of_its_command() -> None:
    """An option that would be ignored is refused."""
    check_options("generate", JobOptions(cap_usd=1, retry_failed=True))
    with pytest.raises(UsageError, match="retry_failed"):
        check_options("curate", JobOptions(retry_failed=True))
    with pytest.raises(UsageError, match="jobs cannot run 'init'"):
        check_options("init", JobOptions())
    assert {option for command in COMMANDS.values() for option in command.takes} == set(JobOptions.model_fields)


def test_shared_lock_does_not_count_as_busy(tmp_path: Path) -> None:
    """Another process that checks the lock does not count as a computing job; a job that holds it does."""
    workspace = Workspace(tmp_path)
    workspace.jobs_folder.mkdir(parents=True)
    assert not is_busy(workspace)
    with (workspace.jobs_folder / "heavy.lock").open("a") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_SH)
        assert not is_busy(workspace)
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        assert is_busy(workspace)
    assert not is_busy(workspace)


def test_failed_project_creation_leaves_nothing(tmp_path: Path) -> None:
    """If writing its files fails, its folder is removed. If two projects of one name are created at once, the first to
    be complete gets the name. What a killed server left does not occupy a name and is removed by the next server;
    folders of others stay."""
    workspace, taken = Workspace(tmp_path), UsageError("there is a project 'captions' already.")
    with pytest.raises(StoreError), workspace.making("captions", taken) as folder:  # noqa: PT012
        (folder / "seeds.txt").write_text("a fox")
        raise StoreError("the disk is full.")
    assert list((tmp_path / "projects").iterdir()) == []

    killed = workspace.making("captions", taken)
    (killed.__enter__() / "seeds.txt").write_text("of a server that is killed here")
    assert workspace.projects() == workspace.hidden() == []
    with pytest.raises(UsageError, match="already"), workspace.making("captions", taken) as later:  # noqa: PT012
        (later / "pairsmith.toml").touch()
        with workspace.making("captions", taken) as first:
            (first / "seeds.txt").write_text("a fox")
            (first / "pairsmith.toml").touch()
    with pytest.raises(UsageError, match="already"), workspace.making("captions", taken):
        pytest.fail("the project already exists")
    assert (workspace.folder("captions") / "seeds.txt").read_text() == "a fox"
    (own := tmp_path / "projects" / ".making-of").mkdir()  # a user's own folder with a similar name
    with workspace.lock():
        assert {path.name for path in (tmp_path / "projects").iterdir()} == {"captions", own.name}

    (strange := tmp_path / "projects" / "notes").mkdir()
    (strange / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="'notes' that is not a project"), workspace.making("notes", taken) as folder:
        (folder / "pairsmith.toml").touch()
    assert [path.name for path in strange.iterdir()] == ["notes.txt"]


def test_files_beside_the_spec_are_followed(tmp_path: Path) -> None:
    """What pages cache of a project depends on every file that its stages read: a prompt version that was saved without
    a change of the spec, seeds that were replaced, the file of a check. Pages had shown the stages as done until the
    next write to the store. What stages write themselves does not count."""
    space = Workspace(tmp_path)
    folder = write_project(space, "tiny", "http://127.0.0.1:9")
    (folder / "checks.py").write_text("def short(text): return True\n")
    spec = folder / SPEC_NAME
    spec.write_text(set_keys(spec.read_text(), {"curate.gates.user": ["checks:short"]}))
    readers, seeds = Readers(space), next(folder.glob("seeds*"))
    (folder / "prompts" / "enhance").mkdir(parents=True)
    changes = {folder / "prompts/enhance/v9.jinja": "new", folder / "checks.py": "pass\n", seeds: "a new kite\n"}
    for path, text in changes.items():
        before = readers.input_marker("tiny")
        assert readers.input_marker("tiny") == before
        path.write_text(text)
        assert readers.input_marker("tiny") != before, path
    before = readers.input_marker("tiny")
    (folder / "report.html").write_text("<p>")
    (folder / "adapters").mkdir()
    assert readers.input_marker("tiny") == before


def test_texts_of_a_spec_are_no_file_names(tmp_path: Path) -> None:
    """A style or a label that happens to be a path, like `..` or `/`, is not looked for on the disk."""
    space = Workspace(tmp_path)
    folder = write_project(space, "tiny", "http://127.0.0.1:9")
    spec = folder / SPEC_NAME
    spec.write_text(set_keys(spec.read_text(), {"task.style": ".."}))
    readers = Readers(space)
    before = readers.input_marker("tiny")
    (folder.parent / "elsewhere.txt").write_text("new")
    assert readers.input_marker("tiny") == before
