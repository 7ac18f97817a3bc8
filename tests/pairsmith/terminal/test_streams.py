"""Tests of output streams that are closed, full or gone: a command still does its work, or reports a clear error."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsmith.commands.docs import _widths
from tests.pairsmith.conftest import Project
from tests.synth.loopback import LoopbackTeacher
from train.base_models.models import KNOWN

needs_a_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")


def shell(project: Project, command: str, redirected: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as a shell starts it."""
    line = f'"{sys.executable}" -m pairsmith {command} --project "{project.folder}" {redirected}'
    return subprocess.run(["/bin/sh", "-c", line], env=project.environ(), capture_output=True, text=True, timeout=250)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_stop_a_command(
    closed: str, make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """Cron and daemons may start commands like this. The output is discarded and ends up in no file of the project."""
    project = make_project(teacher.url, ("a dog", "an owl"))
    assert shell(project, "generate", closed).returncode == 0
    assert project.is_intact()
    assert not [path for path in project.folder.rglob("*") if path.is_file() and b"rows in" in path.read_bytes()]


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    """With a Latin-1 locale, the first text in another script ended the command with a traceback."""
    command, latin = [sys.executable, "-m", "pairsmith", "docs", "seeds"], {"PYTHONIOENCODING": "latin-1"}
    shown = subprocess.run(command, env=Project(tmp_path).environ(**latin), capture_output=True, timeout=250)
    assert (shown.returncode, b"\\u" in shown.stdout) == (0, True), shown.stderr


@needs_a_full_device
@pytest.mark.parametrize("option", ["", "--json"])
def test_a_full_disk_behind_stdout_is_a_clear_error(
    option: str, make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """`pairsmith status > report.txt` on a full disk is not reported as a defect of pairsmith."""
    project = make_project(teacher.url, ("a dog",))
    ended = shell(project, f"status {option}", "> /dev/full")
    assert ended.returncode == 6
    assert "no more data can be written (No space left on device). Free some space" in ended.stderr
    assert "Traceback" not in ended.stderr


@needs_a_full_device
def test_an_error_that_cannot_be_shown_has_its_exit_code(make_project: Callable[..., Project]) -> None:
    """With stderr on a full disk every error ended with 1, as if it were a defect of pairsmith."""
    project = make_project("http://127.0.0.1:9/v1", ("a dog",))
    assert shell(project, "status --set nothing.here=1", "2> /dev/full").returncode == 3
    assert shell(project, "status --bogus", "2> /dev/full").returncode == 2


def test_a_copy_onto_a_full_disk_names_the_copy(make_project: Callable[..., Project]) -> None:
    """`export --out` named the dataset that it copied, as if the disk of the project were full. A limit on the size of
    files stands for a full disk here."""
    project = make_project("http://localhost")
    copying = """import resource, shutil, sys
from pairsmith.terminal.failures import exit_code_of
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    shutil.copyfile("pairsmith.toml", "copy.toml")
except OSError as error:
    sys.exit(exit_code_of(error, None))"""
    command = [sys.executable, "-c", copying]
    ended = subprocess.run(
        command, env=project.environ(), cwd=project.folder, capture_output=True, text=True, timeout=250
    )
    assert (ended.returncode, ended.stderr.startswith("error: copy.toml: no more data can be written")) == (6, True)


def test_a_report_that_cannot_be_written_is_no_defect_of_pairsmith(
    make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """Exit code 1 is for defects of pairsmith. Where a folder is named, or a file as one, the advice is not to free
    space."""
    project = make_project(teacher.url, ("a dog",))
    project.run("generate")
    for out in ("pairsmith.toml/report.html", "."):
        ended = project.run("report", "--out", out)
        assert (ended.returncode, "the report cannot be written" in ended.stderr) == (6, True), ended.stderr
        assert "Name a file in a folder." in ended.stderr


def test_a_reader_that_stops_reading_ends_a_command_in_silence(make_project: Callable[..., Project]) -> None:
    """`pairsmith docs spec | head -1` is not a defect of pairsmith."""
    environ, ends = make_project("http://localhost").environ(), os.pipe()
    os.close(ends[0])
    command = [sys.executable, "-m", "pairsmith", "docs", "spec"]
    ended = subprocess.run(command, env=environ, stdout=ends[1], stderr=subprocess.PIPE, text=True, timeout=250)
    os.close(ends[1])
    assert (ended.returncode, ended.stderr) == (0, "")


def unread(project: Project, *command: str, streams: tuple[str, ...] = ("stdout", "stderr")) -> int:
    """The exit code of a command that writes these streams to a pipe whose reader has gone."""
    ends = os.pipe()
    os.close(ends[0])
    both = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL) | dict.fromkeys(streams, ends[1])
    line, environ = project.command(*command), project.environ()
    code = subprocess.run(line, env=environ, cwd=project.folder, timeout=250, **both).returncode  # type: ignore[call-overload]
    os.close(ends[1])
    return int(code)


@pytest.mark.slow
def test_work_goes_on_when_its_reader_has_gone(make_project: Callable[..., Project], teacher: LoopbackTeacher) -> None:
    """`pairsmith generate 2>&1 | head -1` ended at the next note, with exit code 0, before it had sent a request. The
    work is finished, and the exit code is that of the work: `evaluate --gate | head` passed whatever the verdict."""
    project = make_project(teacher.url, ("a dog", "an owl"))
    assert unread(project, "generate") == 0
    assert teacher.asked
    assert project.is_intact()
    missing = ("doctor", "--set", "seeds.0.path=missing.jsonl")
    assert unread(project, *missing, "--json") == 1
    assert unread(project, "--help", streams=("stdout",)) == 0


def on_terminal(project: Project, columns: int, *command: str, typed: bytes = b"") -> str:
    """What both streams write to a terminal of `columns` columns, without escape sequences. `typed` waits there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    line, environment = project.command(*command), project.environ(NO_COLOR="1", TERM="xterm")
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=project.folder):
        os.close(theirs)
        os.write(ours, typed)
        shown = b""
        while part := _read(ours):
            shown += part
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


def test_seeds_may_be_typed(make_project: Callable[..., Project], teacher: LoopbackTeacher) -> None:
    """On a terminal, seeds from standard input are asked for in words, and one Ctrl-D ends them: it took two."""
    project = make_project(teacher.url)
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text().replace('path = "seeds.jsonl"', 'path = "-"'))
    shown = on_terminal(project, 120, "generate", typed=b"a kite\n\x04")
    assert "reading the seeds from the terminal, one per line; Ctrl-D" in shown
    assert "0 accepted" in shown


def _read(descriptor: int) -> bytes:
    """The next bytes from a terminal, or empty once the other side has closed it."""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # what Linux raises for a terminal that the other side has closed
        return b""


def test_lines_wrap_between_words_on_a_terminal_only(
    make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """Messages are wrapped to the width of the terminal, on both streams, and never in a pipe; a long word in them is
    not broken."""
    project = make_project(teacher.url, ("a dog", "an owl"))
    columns = max(60, len(f"pairsmith run --project '{project.folder}'"))
    long = "seeds.0.path=" + "a-folder-of-a-long-name/" * 4 + "s.jsonl"
    for command in (("status",), ("generate", "--set", "teacher.url=http://127.0.0.1:9/v1")):
        lines = on_terminal(project, columns, *command).splitlines()
        joined = " ".join(line.strip() for line in lines)
        piped = project.run(*command)
        for sentence in (piped.stdout + piped.stderr).splitlines():
            if sentence.startswith(("warning: ", "pairsmith run")):
                assert sentence in joined
        assert max(len(line) for line in lines if line.startswith(("warning: ", "pairsmith run"))) <= columns
    whole = f"pairsmith run --set {long}"
    assert whole in " ".join(on_terminal(project, 60, "status", "--set", long).split())


def test_a_command_to_copy_stays_whole_on_a_narrow_terminal(tmp_path: Path) -> None:
    """A printed command may be longer than a line, so that it can be copied as one line; a folder's name is shown
    literally, including brackets that a markup library would interpret."""
    folder = "texts of [bold] dogs and of owls, [red]of March[/]"
    whole = f"  pairsmith run --project '{folder}'"
    assert whole in on_terminal(Project(tmp_path), 60, "init", folder, "--kind", "reply", "--embedded").splitlines()
    given = ("--set", "task.style=Short, as in [b]a note[/b], and never in more than a line or two of it")
    shown = on_terminal(Project(tmp_path), 60, "status", "--project", folder, *given).splitlines()
    assert f"{whole.strip()} --set '{given[1]}'" in shown


@pytest.mark.slow
def test_a_command_in_an_error_can_be_copied(make_project: Callable[..., Project], tmp_path: Path) -> None:
    """Errors name the project in their commands, as screens do, and no line ends within a command. Those of `registry`,
    `rows` and `explain` left the project out, and were broken between any two words."""
    there, above = make_project("http://localhost").folder, Project(tmp_path)
    options = ("--project", there.relative_to(tmp_path).as_posix(), "--set", "train.epochs=2")
    copied = "`pairsmith registry list {}`".format(" ".join(options))
    assert copied in above.run("registry", "rollback", *options).stderr
    assert copied in on_terminal(above, 40, "registry", "rollback", *options)
    failed = json.loads(above.run("train", *options, "--json").stdout)["error"]
    assert failed["fix"] == f"Run `pairsmith curate {' '.join(options)}` first."
    assert "`pairsmith registry list`" in Project(there).run("registry", "rollback").stderr


def test_lists_of_pages_and_models_fit_a_terminal(tmp_path: Path) -> None:
    """`docs` lists every page of the manual with its subject, in the manual's order, and `models` shows every name and
    licence whole: in 80 columns a table had cut licences to three letters."""
    pages = on_terminal(Project(tmp_path), 80, "docs").splitlines()
    listed = [line.split("  ")[0] for line in pages if line]
    names = sorted(path.stem for path in (Path(__file__).parents[3] / "docs").glob("*.md"))
    assert (listed[:2], sorted(listed)) == (["index", "cli"], names)
    models = on_terminal(Project(tmp_path), 80, "models")
    assert [known.name for known in KNOWN if f"{known.name} " not in models or known.licence not in models] == []
    assert max(map(len, models.splitlines())) <= 80


def test_a_page_of_the_manual_is_laid_out_on_a_terminal(tmp_path: Path) -> None:
    """No escape sequence appears as text, a link shows its words and its page, and no key in a table is cut off."""
    shown = on_terminal(Project(tmp_path), 100, "docs", "index")
    assert "Commands (cli.md)" in shown
    assert "x1b" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    spec = on_terminal(Project(tmp_path), 80, "docs", "spec")
    assert "teacher.usd_per_million_completion_tokens" in "".join(
        line.partition("  ")[0].strip() for line in spec.splitlines()
    )
    assert {"repetition_penalty", "no_repeat_ngram_size"} <= {
        line.strip().partition(" ")[0] for line in spec.splitlines()
    }


@given(
    st.lists(st.integers(1, 40).flatmap(lambda word: st.tuples(st.just(word), st.integers(word, 300))), max_size=9),
    st.integers(9, 200),
)
def test_a_table_fits_and_breaks_words_only_if_necessary(columns: list[tuple[int, int]], room: int) -> None:
    """Columns are no wider than the room; if all longest words fit, none is broken; no column is wider than its widest
    cell."""
    widths = _widths(columns, room)
    assert sum(widths) <= room
    assert all(1 <= width <= cell for width, (_, cell) in zip(widths, columns, strict=True))
    if sum(word for word, _ in columns) <= room:
        assert all(width >= word for width, (word, _) in zip(widths, columns, strict=True))


def test_a_secret_in_an_override_is_not_printed(tmp_path: Path) -> None:
    """The next command is printed with the overrides of this one, except for a key or a password in them."""
    assert Project(tmp_path).run("init", "mine", "--kind", "reply", "--embedded").returncode == 0
    key = "sk-" + "abcdefgh12345678" * 2
    for typed in (
        "teacher.url=http://anna:hunter2@127.0.0.1:9/v1",
        f'generate.forward.sampling.extra={{ user = "{key}" }}',
    ):
        shown = Project(tmp_path).run("status", "--project", "mine", "--set", typed).stdout
        assert f"--set '{typed.split('=')[0]}=" in " ".join(shown.split())
        assert "hunter2" not in shown
        assert key not in shown


def test_rows_are_written_as_json_without_being_in_memory() -> None:
    """`rows --limit 0 --json` took 479 MB for 100,000 rows: all of them, and all of the text. Nothing is written if one
    of them cannot be read, and nothing after an object: two are no JSON."""
    writing = """import sys, tracemalloc
from pairsmith.terminal.failures import json_on_stdout
def rows(last):
    for number in range(20_001):
        yield {"number": number, "text": "long\\n" * 200} if number < 20_000 else last()
with json_on_stdout(True) as write:
    write({"rows": iter(()), "more": False})
    write({"error": "a signal that came while it was read"})
with json_on_stdout(True) as write:
    tracemalloc.start()
    try:
        write({"rows": rows(lambda: 1 / 0), "more": False})
    except ZeroDivisionError:
        write({"rows": rows(dict), "more": False})
    print(tracemalloc.get_traced_memory()[1], file=sys.stderr)"""
    ended = subprocess.run([sys.executable, "-c", writing], capture_output=True, text=True, timeout=250)
    assert int(ended.stderr) < 6_000_000 < len(ended.stdout)
    first, second = ended.stdout.split("\n}\n{\n")
    assert first == '{\n  "rows": [],\n  "more": false'
    written = json.loads(f"{{\n{second}")
    assert [len(written["rows"]), written["rows"][7], written["more"]] == [
        20_001,
        {"number": 7, "text": "long\n" * 200},
        False,
    ]
