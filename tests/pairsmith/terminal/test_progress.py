"""Tests of progress output: a live line on a terminal, plain lines in a pipe, nothing with --json."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pairsmith.stages.table import Audience, stage
from schemas import progress_line as progress
from schemas.progress import reporting
from schemas.progress_line import Pace, clock, reported, shown
from schemas.spec import GateSettings
from schemas.spec_file import parse
from schemas.store import Store


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def _last_frame(stream: Terminal) -> str:
    """The live line as it was painted last."""
    return stream.getvalue().rpartition("\x1b[2K")[2]


def _wait_until(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_rates_count_from_the_first_report() -> None:
    """Rows that existed before the run count neither for its rate nor for the time left."""
    pace = Pace("generate", {"done": 100, "total": 200, "tokens": 0}, at_s=10.0)
    pace.update({"done": 150, "tokens": 500}, at_s=20.0)
    assert pace.rate("tokens") == 50
    assert pace.left_s == 10
    assert pace.parts() == ["150 of 200", "50 tok/s", "10s left"]


def test_rates_leave_out_rows_that_nothing_is_asked_for() -> None:
    """Imports and rows of an earlier run arrive at once; requests take their time. A run that had read 40 pairs gave
    a minute for its remaining 168 rows before a single answer had arrived."""
    pace = Pace("generate", {"done": 0, "kept": 0, "total": 208}, at_s=0.0)
    pace.update({"done": 40, "kept": 40}, at_s=1.0)
    assert pace.left_s is None
    pace.update({"done": 30}, at_s=2.0)  # fewer are done than are kept: a forecast gave "-0.2s left"
    assert pace.left_s is None
    pace.update({"done": 48}, at_s=10.0)
    assert pace.rate("done") == 0.8
    assert pace.left_s == 200


def test_token_counts_that_restart_are_summed() -> None:
    """A stage of several parts counts each part's tokens from zero; the rate is that of all of them."""
    pace = Pace("evaluate", {"done": 9, "total": 27, "tokens": 100}, at_s=0.0)
    pace.update({"done": 12, "tokens": 270}, at_s=5.0)
    pace.update({"done": 18, "tokens": 30}, at_s=10.0)
    assert pace.parts() == ["18 of 27", "20 tok/s", "10s left"]


def test_parts_show_known_numbers_and_those_of_the_stage() -> None:
    """Known numbers come in a fixed order, others under their own names; zeros are left out."""
    pace = Pace(
        "train", {"done": 3, "total": 9, "failed": 0, "in_flight": 2, "usd": 1.5, "validation_loss": 1.23456}, 0.0
    )
    assert pace.parts() == ["3 of 9", "2 in flight", "$1.50 spent", "validation loss 1.235"]


@pytest.mark.parametrize(
    ("usd", "known", "words"),
    [(None, 1.5, "at least $1.50 spent"), (None, 0.0, "cost unknown"), (1.5, 1.5, "$1.50 spent")],
)
def test_one_request_of_unknown_cost_hides_no_other(usd: float | None, known: float, words: str) -> None:
    """What is known is shown as the least that was spent."""
    assert words in Pace("generate", {"done": 3, "usd": usd, "usd_known": known}, 0.0).parts()


def test_time_left_is_plausible_after_the_first_of_many_concurrent_requests() -> None:
    """Requests in flight count as half done. So after the first of twenty concurrent answers the time left is wrong by
    half, not twentyfold, and it is right once answers arrive steadily."""
    pace = Pace("evaluate", {"done": 0, "total": 200, "in_flight": 20}, at_s=0.0)
    pace.update({"done": 1}, at_s=55.0)
    assert pace.left_s == pytest.approx(992.6, abs=0.1)
    pace.update({"done": 110, "in_flight": 20}, at_s=360.0)
    assert pace.left_s == pytest.approx(242.5, abs=0.1)


def test_time_left_of_sequential_requests() -> None:
    """A request that was just sent has made no progress: after the first of ten, nine times its duration is left."""
    pace = Pace("generate", {"done": 0, "total": 10, "in_flight": 1}, at_s=0.0)
    pace.update({"done": 1, "in_flight": 1}, at_s=20.0)
    assert pace.left_s == pytest.approx(180)


def test_no_time_is_left_that_has_already_passed() -> None:
    """The last of 105 answers took minutes, and the line said all the while that 10 s were left."""
    pace = Pace("evaluate", {"done": 0, "total": 105}, at_s=0.0)
    pace.update({"done": 104, "in_flight": 1, "tokens": 0}, at_s=1040.0)
    assert pace.left_s == pytest.approx(10)
    pace.update({"tokens": 90}, at_s=1049.0)
    assert pace.left_s == pytest.approx(10, abs=0.1)
    pace.update({"tokens": 300}, at_s=1060.0)
    assert pace.left_s is None


def test_an_upper_bound_of_the_time_left_is_shown_as_such() -> None:
    """If a stage knows an upper bound before anything has finished, that is shown instead of a guess."""
    pace = Pace("evaluate", {"done": 0, "total": 216, "tokens": 0}, at_s=0.0)
    pace.update({"tokens": 800, "most_s": 730.0}, at_s=10.0)
    assert pace.parts() == ["0 of 216", "80 tok/s", "at most 12m 10s left at this pace"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4s"), (9.96, "10s"), (59.4, "59s"), (65, "1m 05s"), (7380, "2h 03m"), (273_600, "3d 04h")],
)
def test_durations_are_short_and_exact(seconds: float, text: str) -> None:
    """Durations are written as a person would write them."""
    assert clock(seconds) == text


def test_a_pipe_gets_occasional_lines_and_a_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred reports within a second give one line; a report after the end adds none."""
    stream = io.StringIO()
    with shown(silent=False, stream=stream) as report:
        for done in range(101):
            report("generate", {"done": done, "total": 100})
        report("generate", {"done": 100, "total": 100})
    assert stream.getvalue().splitlines() == ["generate  100 of 100"]
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    stream = io.StringIO()
    with shown(silent=False, stream=stream) as report:
        for done in range(3):
            report("curate", {"done": done, "total": 3})
    assert len(stream.getvalue().splitlines()) == 3


def test_a_pipe_gets_a_report_that_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that says only what it begins is named once it has taken a while, not after its end. `certify` said
    nothing for half a minute, and `erase` nothing for the seven minutes in which Argilla was installed."""
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.02)
    stream = io.StringIO()
    with shown(silent=False, stream=stream) as report:
        began_s = time.monotonic()
        report("certify", {"message": "calibrating"})
        assert stream.getvalue() == "" or time.monotonic() - began_s >= 0.02
        _wait_until(stream.getvalue)
        assert stream.getvalue() == "certify   calibrating\n"
        time.sleep(0.1)
    assert stream.getvalue() == "certify   calibrating\n"
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_a_reader_that_pauses_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pairsmith run 2>&1 | less` stood still once the pipe was full, until someone scrolled. Lines are left out."""
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as paused, os.fdopen(writer, "w", encoding="utf-8") as stream:
        with shown(silent=False, stream=stream) as report:
            for done in range(5_000):  # more than a pipe holds
                report("generate", {"done": done, "total": 6_000})
        lines = os.read(paused.fileno(), 1 << 20).splitlines()
    assert lines[0] == b"generate  0 of 6,000"
    assert len(lines) < 5_000


def test_a_notebook_keeps_the_last_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Work without a total is shown to its end. A generator of one's own that made 132 rows stayed at 2 under its
    cell. (Without a kernel, IPython prints what it would display.)"""
    pytest.importorskip("IPython")
    with progress._notebook_progress() as report:
        for done in range(133):
            report("generate", {"done": done})
    assert "generate  132" in capsys.readouterr().out.splitlines()[-1]


class FullDisk(io.StringIO):
    """A log on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_line_that_nobody_waits_for_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, or in a pipe whose reader is gone, the thread that writes such reports died with a traceback in
    the middle of the log. The work continues, and its next line is written or fails as before."""
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.02)
    with shown(silent=False, stream=FullDisk()) as report:
        report("certify", {"message": "calibrating"})
        time.sleep(0.1)
        assert "progress" in {thread.name for thread in threading.enumerate()}
        with pytest.raises(OSError, match="No space"):
            report("certify", {"message": "writing"})


def test_a_stage_that_restarts_is_shown_again() -> None:
    """The trainings of a learning curve, or DPO after supervised training, are stages with one name: each is shown to
    its end, in a pipe and on a terminal, and the time left is that of the current one."""
    for stream in (io.StringIO(), Terminal()):
        with shown(silent=False, stream=stream) as report:
            for training in (1, 2, 3):
                for done in range(5):
                    report("train", {"done": done, "total": 4, "seed": training})
        ends = [part for part in stream.getvalue().split("train")[1:] if "4 of 4" in part]
        assert [sum(f"seed {training}" in part for part in ends) > 0 for training in (1, 2, 3)] == [True] * 3
    paces: dict[str, Pace] = {}
    for at_s, done in enumerate((0, 2, 4, 0, 1)):
        pace = reported(paces, "train", {"done": done, "total": 4}, float(at_s))
    assert pace.left_s == 3


def test_a_terminal_keeps_one_line_for_each_stage() -> None:
    """The live line is cleared at the end; one line per stage remains."""
    stream = Terminal()
    with shown(silent=False, stream=stream) as report:
        report("generate", {"done": 1, "total": 4, "in_flight": 3})
        report("generate", {"done": 4, "total": 4, "in_flight": 0})
        report("curate", {"done": 2, "total": 4})
    last_words = stream.getvalue().rpartition("generate")[2]
    assert "curate" in last_words
    assert "4 of 4" in stream.getvalue()
    assert "2 of 4" in last_words
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h"), "the cursor is shown again"


def test_a_terminal_shows_the_whole_name_of_a_step() -> None:
    """Also of the longest one, in a terminal of 80 columns."""
    stream = Terminal()
    with shown(silent=False, stream=stream) as report:
        report("bradley_terry", {"done": 88, "total": 88})
    assert "bradley_terry" in stream.getvalue()


def test_the_live_line_is_one_line_with_the_time_left() -> None:
    """On 80 columns the bar took the room of the cost and the time left, which wrapped into two lines; on 40 columns,
    into seven. So did a long name."""
    stream = Terminal()
    with shown(silent=False, stream=stream) as report:
        for done in (4, 40):
            report("generate", {"done": done, "total": 660, "in_flight": 4, "tokens": 20 * done, "usd": None})
            _wait_until(lambda done=done: f" {done} of 660" in _last_frame(stream))
        frame = _last_frame(stream)
        assert re.search(r"40 of 660 · \S+ left · 4 in flight · [\d,]+ tok/s · cost", frame), frame
        assert "\n" not in frame
        report("fit reward model", {"done": 1, "total": 9})
        _wait_until(lambda: "fit" in _last_frame(stream))
        frame = _last_frame(stream)
        assert "fit reward model 1 of 9" in re.sub(r"\x1b\[[\d;]*m", "", " ".join(frame.split()))
        assert "\n" not in frame


def test_json_is_silent() -> None:
    """With --json nothing is written, even to a terminal."""
    stream = Terminal()
    with shown(silent=True, stream=stream) as report:
        report("generate", {"done": 4, "total": 4})
    assert stream.getvalue() == ""


_SWITCHES = (name for name in GateSettings.model_fields if name not in ("must", "must_not", "json_schema", "user"))
PAIRS = f"""
[task]
kind = "free"
name = "many"
style = "Answer in one sentence."
[[seeds]]
path = "pairs.jsonl"
kind = "pair"
[curate.gates]
{"".join(f"{name} = false{chr(10)}" for name in _SWITCHES)}
"""


@pytest.mark.slow
def test_no_phase_of_many_rows_is_silent(tmp_path: Path) -> None:
    """Reading, splitting and storing seeds, storing decisions, and writing a dataset and its tables are reported at
    least every thousand rows
    and at their end. For 100,000 pairs, all of the reading and two fifths of a curation passed without a word."""
    rows = 2_300
    lines = (json.dumps({"input": f"Question {n}?", "output": f"Answer number {n}."}) for n in range(rows))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    reports: dict[str, list[tuple[int, int | None]]] = defaultdict(list)

    def keep(name: str, numbers: Mapping[str, Any]) -> None:
        reports[name].append((numbers["done"], numbers.get("total")))

    project = parse(PAIRS, tmp_path)
    with Store.open(Store.url_for(project)) as store:
        for name in ("generate", "curate"):
            stage(name).do(project, store, Audience(keep))
    assert reports["seeds"] == [(1_000, None), (2_000, None), (2_300, 2_300)] + [
        (done, 2_300)
        for done in (0, 1_000, 2_000, 2_300)  # compared with each other
    ]
    for name in ("splits", "store"):
        assert reports[name] == [(done, rows) for done in (0, 1_000, 2_000, rows)]
    assert reports["decisions"] == [(done, rows) for done in (0, 1_000, 2_000, rows)]
    assert reports["dataset"] == [(done, rows) for done in (0, 1_000, 2_000, rows)]
    assert reports["tables"][-1][0] > 1_000


def test_few_rows_are_not_reported() -> None:
    """A phase over fewer than a thousand rows is over before anybody could read a report. One whose last report was
    made early ends with a report as well."""

    def reports(rows: int, total: int | None) -> list[Mapping[str, Any]]:
        seen: list[Mapping[str, Any]] = []
        assert list(reporting(range(rows), lambda _, numbers: seen.append(numbers), "rows", total)) == [*range(rows)]
        return seen

    assert reports(999, None) == reports(999, 999) == []
    assert reports(1_000, None) == [{"done": 1_000}, {"done": 1_000, "total": 1_000}]
    assert reports(1_001, 1_001)[-1] == {"done": 1_001, "total": 1_001}
