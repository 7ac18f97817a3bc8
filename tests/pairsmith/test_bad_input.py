"""Tests that a user's mistake ends in one clear message, a documented exit code and an intact store, and that the run
continues once it is fixed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pairsmith.commands import start
from tests.pairsmith.conftest import SUBJECTS, Project, answer, write_seeds
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

SpecEdit = Callable[[str], str]
DURABLE = "SELECT DISTINCT json_extract(body, '$.request.user') FROM calls"


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line; only progress may precede it."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == lines[0]
    return lines[0]


def edit(project: Project, change: SpecEdit) -> None:
    path = project.folder / "pairsmith.toml"
    path.write_text(change(path.read_text()))


def break_line(project: Project) -> None:
    lines = (project.folder / "seeds.jsonl").read_text().splitlines()
    lines[4] = '{"text": "half a li'
    (project.folder / "seeds.jsonl").write_text("\n".join(lines) + "\n")


BREAKAGES: dict[str, tuple[Callable[[Project], object], int, tuple[str, ...]]] = {
    "no project": (lambda p: (p.folder / "pairsmith.toml").unlink(), 3, ("pairsmith init",)),
    "a missing file": (lambda p: (p.folder / "seeds.jsonl").unlink(), 4, ("seeds.jsonl",)),
    "a broken JSONL line": (break_line, 4, ("seeds.jsonl:5",)),
    "a wrong column": (
        lambda p: edit(p, lambda t: t.replace('"seeds.jsonl"', '"seeds.jsonl"\ncolumns = { text = "prompt" }')),
        4,
        ("seeds.jsonl", "prompt", "text"),
    ),
    "an empty seed file": (lambda p: (p.folder / "seeds.jsonl").write_text(""), 4, ("seeds.jsonl", "no rows")),
    "an unknown spec key": (
        lambda p: edit(p, lambda t: t.replace("concurrency = 4", "concurency = 4")),
        3,
        ("pairsmith.toml:16", "teacher.concurency", "Did you mean 'concurrency'?"),
    ),
    "a wrong value": (
        lambda p: edit(p, lambda t: t.replace("concurrency = 4", "concurrency = 0")),
        3,
        ("pairsmith.toml:16", "teacher.concurrency"),
    ),
    "broken TOML": (lambda p: edit(p, lambda t: t + "\n[oops\n"), 3, ("pairsmith.toml", "not valid TOML")),
    "an unknown prompt": (
        lambda p: edit(p, lambda t: t.replace("n = 2", 'n = 2\nprompt = "enhanse"')),
        4,
        ("enhanse", "enhance"),
    ),
    "an unreachable endpoint": (
        lambda p: edit(p, lambda t: t.replace("http://127.0.0.1:", "http://127.0.0.1:9/was-")),
        5,
        ("Nothing answers", "127.0.0.1:9", "pairsmith doctor"),
    ),
    "a variable without a key": (
        lambda p: edit(p, lambda t: t.replace('model = "loopback"', 'model = "loopback"\nkey_env = "NO_SUCH_KEY"')),
        5,
        ("NO_SUCH_KEY is not set", "export NO_SUCH_KEY"),
    ),
    "an unknown model": (
        lambda p: edit(p, lambda t: t.replace('model = "loopback"', 'model = "unheard-of"')),
        5,
        ("unheard-of", "loopback"),
    ),
    "a gate that is not there": (
        lambda p: edit(
            p, lambda t: t.replace("[curate.gates]", '[generate]\naccepted = 4\n[curate.gates]\nuser = ["mine:good"]')
        ),
        3,
        ("mine",),
    ),
    "a store that is no store": (
        lambda p: (p.folder / "pairsmith.db").write_text("not a database\n" * 99),
        6,
        ("not a pairsmith store",),
    ),
}


@pytest.fixture
def picky() -> Iterator[LoopbackTeacher]:
    """A teacher that serves only one model."""

    def reply(ask: Ask) -> Reply:
        if ask.body["model"] != "loopback":
            return Reply(status=404, body=b'{"error": {"message": "no such model"}}')
        return answer(ask)

    with LoopbackTeacher(reply) as serving:
        yield serving


@pytest.mark.parametrize("what", BREAKAGES)
def test_a_mistake_gets_one_message_and_costs_nothing(
    what: str, picky: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """Each mistake has its exit code and a message with the place and the fix, and no request is answered; once it is
    fixed the run works."""
    breakage, code, words = BREAKAGES[what]
    project = make_project(picky.url)
    original = {name: (project.folder / name).read_bytes() for name in ("pairsmith.toml", "seeds.jsonl")}
    breakage(project)
    done = project.run("generate")
    assert done.returncode == code, done.stderr
    message = sentence(done)
    for word in words:
        assert word in message
    assert not [ask for ask in picky.asked if ask.body["model"] == "loopback"], "the teacher answered a request"
    for name, body in original.items():
        (project.folder / name).write_bytes(body)
    if what == "a store that is no store":
        (project.folder / "pairsmith.db").unlink()
    assert project.run("generate").returncode == 0
    assert project.is_intact()
    assert project.rows("SELECT count(*) FROM candidates") == [(2 * len(SUBJECTS),)]


def test_a_wrong_key_stops_the_run_and_is_never_shown(make_project: Callable[..., Project]) -> None:
    """A refused key ends the run after a few requests with its exit code, and is in no message, receipt or store."""
    with LoopbackTeacher(answer, key="sesame") as teacher:
        project = make_project(teacher.url)
        edit(project, lambda t: t.replace('model = "loopback"', 'model = "loopback"\nkey_env = "TINY_KEY"'))
        done = project.run("generate", TINY_KEY="wrong-secret")
        assert done.returncode == 5
        assert "TINY_KEY" in sentence(done)
        assert len(teacher.asked) <= 8, "a refused key is not tried for every seed"
        assert project.run("generate", TINY_KEY="sesame").returncode == 0
    written = b"".join(path.read_bytes() for path in project.folder.rglob("*") if path.is_file())
    for secret in (b"wrong-secret", b"sesame"):
        assert secret not in done.stderr.encode() + written


def test_with_json_an_error_is_json(project: Project) -> None:
    """With --json a failure is an object with kind, exit code, message and fix, and with what was warned of before."""
    import json

    done = project.run("generate", "--json", "--set", "teacher.url=http://127.0.0.1:9")
    answer = json.loads(done.stdout)
    error = answer["error"]
    assert (error["kind"], error["exit_code"], done.returncode) == ("Unreachable", 5, 5)
    assert "http://127.0.0.1:9" in error["message"]
    assert len(answer["warnings"]) == 2
    assert error["fix"]


@pytest.mark.parametrize("words", [["init", "b", "--from"], ["init"], ["try"], ["export", "--out"]], ids=" ".join)
def test_an_argument_that_is_not_utf_8_is_refused(project: Project, words: list[str]) -> None:
    """For example a file name from an old archive, or a word typed in another encoding: no folder with an unusable name
    is created."""
    done = project.run(*words, os.fsdecode(b"caf\xe9.csv"))
    assert done.returncode == 2
    assert r"'caf\udce9.csv' is not UTF-8" in sentence(done)


def test_a_wrong_override_is_named_by_its_key(project: Project) -> None:
    """An error in --set names the key, not a line of the file."""
    message = sentence(project.run("generate", "--set", "generate.forward.promt=mine"))
    assert "--set generate.forward.promt" in message
    assert "Did you mean 'prompt'?" in message


def test_unusable_seed_rows_are_reported_by_row(project: Project) -> None:
    """Blank and duplicate rows are left out, reported on stderr with their row, and listed in the receipt. A run that
    has nothing left to do reports them again."""
    with (project.folder / "seeds.jsonl").open("a") as file:
        file.write(f'{{"text": ""}}\n{{"text": "{SUBJECTS[0]}"}}\n')
    rows = len(SUBJECTS)
    for _ in range(2):
        done = project.run("generate")
        assert done.returncode == 0, done.stderr
        assert f"seeds.jsonl:{rows + 1}: blank" in done.stderr
        assert f"seeds.jsonl:{rows + 2}: duplicate" in done.stderr
        assert len(project.receipts()[-1]["facts"]["seed_problems"]) == 2


def test_seeds_from_standard_input(project: Project) -> None:
    """The path `-` reads seeds from standard input."""
    body = (project.folder / "seeds.jsonl").read_text()
    done = project.run("generate", "--set", "seeds.0.path=-", "--set", "seeds.0.format=jsonl", stdin=body)
    assert done.returncode == 0, done.stderr
    assert project.rows("SELECT count(*) FROM candidates") == [(2 * len(SUBJECTS),)]


def test_a_second_writer_is_refused_and_readers_are_not(make_project: Callable[..., Project]) -> None:
    """While one process writes, a second writer ends with code 6 and the pid of the first; reading commands work."""
    release = threading.Event()  # until it is set the teacher does not answer, so the first process keeps running
    with LoopbackTeacher(lambda ask: replace(answer(ask), when=release.is_set)) as teacher:
        project = make_project(teacher.url, tuple(f"{subject} number {i}" for subject in SUBJECTS for i in range(30)))
        with subprocess.Popen(
            project.command("generate"),
            cwd=project.folder,
            env=project.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as first:
            try:
                while not teacher.asked:
                    assert first.poll() is None
                    time.sleep(0.01)
                second = project.run("generate")
                reading = project.run("status")
                first.send_signal(signal.SIGINT)
                assert first.stderr is not None
                while b"press Ctrl-C again" not in first.stderr.readline():
                    assert first.poll() is None
                release.set()
                first.communicate(timeout=200)
                assert first.returncode == 130
            finally:
                first.kill()
    assert second.returncode == 6
    assert f"pid {first.pid}" in sentence(second)
    assert reading.returncode == 0
    assert project.is_intact()
    assert max(teacher.counts().values()) == 1


def test_a_file_size_limit_is_reported_like_a_full_disk(project: Project) -> None:
    """If the store's file cannot grow any further, the run ends with code 6 and says what to do."""
    write_seeds(project.folder, tuple(f"{subject} number {i}" for subject in SUBJECTS for i in range(30)))
    little_room = 'ulimit -f 586 && exec "$@"'  # blocks of 512 bytes
    done = subprocess.run(
        ["/bin/sh", "-c", little_room, "sh", *project.command("generate")],
        cwd=project.folder,
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert_reports_full_disk(done)


def assert_reports_full_disk(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 6, done.stderr
    message = sentence(done)
    assert "no space is left" in message
    assert "continues where it stopped" in message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six MiB; only root can mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if not mounted or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here: this needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_loses_no_stored_answer(small_disk: Path, make_project: Callable[..., Project]) -> None:
    """On a disk that becomes full the run ends with code 6 and an intact store, and the next one sends nothing. With
    space again it finishes, and no stored answer is requested again."""

    def answer_and_fill(ask: Ask) -> Reply:
        if len(teacher.asked) == 200:
            with (small_disk / "filler").open("wb") as filler, suppress(OSError):
                while True:
                    filler.write(bytes(4096))
                    filler.flush()
        return answer(ask)

    with LoopbackTeacher(answer_and_fill) as teacher:
        project = make_project(teacher.url, tuple(f"{subject} number {i}" for subject in SUBJECTS for i in range(30)))
        shutil.move(project.folder, small_disk / "project")
        project = Project(small_disk / "project")
        assert_reports_full_disk(project.run("generate"))
        sent = len(teacher.asked)
        again = project.run("generate")
        assert (again.returncode, len(teacher.asked)) == (6, sent)
        assert "MiB are free on its disk" in sentence(again)
        durable = {text for (text,) in project.rows("SELECT json_extract(body, '$.request.user') FROM calls")}
        assert durable, "something was durable before the disk was full"
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        before = teacher.counts()
        assert project.is_intact()
        assert project.run("generate").returncode == 0
        asked_again = {prompt for prompt, times in teacher.counts().items() if times > before[prompt]}
        assert not asked_again & durable
        assert project.rows("SELECT count(*) FROM candidates") == [(2 * 30 * len(SUBJECTS),)]
        assert project.is_intact()


def test_a_misspelt_project_is_no_project_that_can_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor` and `review status` succeeded for a folder that does not exist. `teacher up` outside a project asked for
    a project instead of a model."""
    (tmp_path / "mine").mkdir()
    assert start(["doctor", "--project", str(tmp_path / "mien")]) == 1
    assert "spec must be fixed before this can run" in capsys.readouterr().out
    assert start(["review", "status", "--project", str(tmp_path / "mien")]) == 3
    done = Project(tmp_path / "mine").run("teacher", "up")
    assert (done.returncode, "--model Qwen" in done.stderr) == (2, True)
