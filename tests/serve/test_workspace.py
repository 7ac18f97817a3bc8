"""A workspace of projects."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from pairsmith.plan import pinned
from pairsmith.serve import workspace
from pairsmith.serve.job import COMMANDS, JobOptions, check_options
from pairsmith.serve.readers import Readers
from pairsmith.serve.talking import is_busy
from pairsmith.serve.workspace import NoSuchProject, Workspace
from prompts import library
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


@pytest.mark.slow
def test_files_beside_the_spec_are_followed(tmp_path: Path) -> None:
    """What pages cache of a project depends on exactly the files that its plan depends on, whatever names them: a
    pattern of seed files, a prompt, a schema, a function in a file or a package, held-out and gold rows, a local base
    model. Seeds behind a pattern, and a package, were not followed, so that pages showed stages as done."""
    space = Workspace(tmp_path)
    folder = write_project(space, "tiny", "http://127.0.0.1:9")
    texts = {
        "s/a.jsonl": '{"text": "a kite"}\n',
        "s/deep/b.jsonl": '{"text": "a boat"}\n',
        "prompts/enhance/v9.jinja": library.load("enhance/v1").text,
        "prompts/judge/v9.jinja": library.load("judge").text,
        "checks.py": "def short(text): return True\n",
        "own/__init__.py": "def long(text): return True\n",
        "shape.json": '{"type": "object"}\n',
        "held.txt": "a lamp\n",
        "gold.jsonl": "\n",
        "base/config.json": "{}\n",
        "report.html": "<p>\n",
        "dataset/x/train.jsonl": "{}\n",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    keys = {
        "curate.gates.user": ["checks:short"],
        "evaluate.user": ["own:long"],
        "curate.gates.json_schema": "shape.json",
        "curate.contamination.files": ["held.txt"],
        "curate.judge.teachers": ["one"],
        "teachers.one": {"url": "http://127.0.0.1:9", "model": "one"},
        "review.gold": "gold.jsonl",
        "train.base": "base",
    }
    spec = folder / SPEC_NAME
    spec.write_text(set_keys(spec.read_text().replace("seeds.jsonl", "s/**/*.jsonl"), keys))
    readers = Readers(space)
    project = readers.project("tiny")
    followed = set()
    for name, text in texts.items():
        before, planned = readers.input_marker("tiny"), pinned(project, None)
        assert readers.input_marker("tiny") == before
        (folder / name).write_text(f"{text}\n")
        if pinned(project, None) != planned:
            followed.add(name)
        assert (readers.input_marker("tiny") != before) is (name in followed), name
    assert followed == texts.keys() - {"report.html", "dataset/x/train.jsonl"}


def test_a_text_of_the_spec_is_no_file(tmp_path: Path) -> None:
    """Only settings that name files are looked up. A style of 90 Chinese characters, too long for a file's name, made
    every page of the project fail, and a pattern `/` had each of them walk the whole disk."""
    space = Workspace(tmp_path)
    spec = write_project(space, "tiny", "http://127.0.0.1:9") / SPEC_NAME
    before = Readers(space).input_marker("tiny")
    keys = {"task.style": "把短句改写" * 18, "curate.gates.must_not": [{"name": "path", "pattern": "/"}]}
    spec.write_text(set_keys(spec.read_text(), keys))
    assert Readers(space).input_marker("tiny") == before
