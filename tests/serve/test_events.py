"""Progress: a file of JSON lines, and a hub that publishes the current state."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pairsmith.serve import events
from pairsmith.serve.events import Hub, each, last, record_progress


def test_last_report_of_every_stage_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast a stage reports, only a few lines per second are written, but always its last report."""
    clock = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock) / 1000)
    path = tmp_path / "events.jsonl"
    with record_progress(path) as progress:
        for done in range(1_000):
            progress("generate", {"done": done, "total": 2_000, "usd": None})
        for done in range(50):
            progress("curate", {"done": done})
    lines = [line for _, line in each(path)]
    assert len(lines) < 10
    assert [line["numbers"]["done"] for line in lines if line["stage"] == "generate"][-1] == 999
    assert last(path) == lines[-1]
    assert (lines[-1]["stage"], lines[-1]["numbers"]["done"]) == ("curate", 49)
    assert all(line["at"] > 1e9 for line in lines)


def test_truncated_line_is_skipped(tmp_path: Path) -> None:
    """After a crash the line before it is the state, and the next process starts a new line."""
    path = tmp_path / "events.jsonl"
    with record_progress(path) as progress:
        progress("train", {"done": 1})
    with path.open("ab") as file:
        file.write(b'{"at": 17, "sta')
    assert (last(path) or {})["numbers"] == {"done": 1}
    with record_progress(path) as progress:
        progress("train", {"done": 2})
    assert (last(path) or {})["numbers"] == {"done": 2}
    assert [line["numbers"]["done"] for _, line in each(path)] == [1, 2]
    assert last(tmp_path / "absent") is None
    assert list(each(tmp_path / "absent")) == []


def test_long_job_writes_fewer_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many lines, only about a tenth as many are written."""
    monkeypatch.setattr(events, "_MANY", 0)
    clock = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock) * 0.3)
    path = tmp_path / "events.jsonl"
    with record_progress(path) as progress:
        for done in range(100):
            progress("train", {"done": done})
    assert 10 <= len(list(each(path))) <= 15


def test_full_disk_does_not_stop_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be written is dropped."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("no device that is always full")
    with record_progress(path) as progress:
        progress("train", {"done": 1})


def test_values_that_json_cannot_represent_are_converted(tmp_path: Path) -> None:
    """NaN as a loss and a path in a message are written as valid JSON."""
    path = tmp_path / "events.jsonl"
    with record_progress(path) as progress:
        progress("train", {"done": 1, "loss": float("nan"), "message": tmp_path})
    line = path.read_text().strip()
    assert "NaN" not in line, "browsers cannot parse NaN"
    assert json.loads(line)["numbers"]["loss"] is None


async def _receive(hub: Hub, slugs: list[str], count: int) -> list[dict[str, Any]]:
    received = []
    async with aclosing(hub.subscribe(slugs)) as states:  # type: ignore[type-var]
        async for state in states:
            received.append(state)
            if len(received) == count:
                break
    return received


def test_subscribers_receive_states_not_a_log() -> None:
    """A late subscriber gets the current state at once, a slow one only the latest, and none gets states of a project
    that it did not subscribe to."""

    async def scene() -> None:
        hub = Hub()
        hub.publish("job", "mine", "job:mine", {"done": 1})
        hub.publish("job", "mine", "job:mine", {"done": 2})
        hub.publish("job", "other", "job:other", {"done": 9})
        assert [state["data"] for state in await _receive(hub, ["mine"], 1)] == [{"done": 2}]
        slow = hub.subscribe(["mine"])
        assert (await anext(slow))["data"] == {"done": 2}
        for done in range(3, 100):
            hub.publish("job", "mine", "job:mine", {"done": done})
        hub.publish("review", "mine", "review:mine", {"waiting": 4})
        hub.publish("job", "mine", "job:mine", {"done": 100})
        rest = [await anext(slow), await anext(slow)]
        assert [state["data"] for state in rest] == [{"waiting": 4}, {"done": 100}]
        assert [state["number"] for state in rest] == [101, 102], "not in the order of publication"
        cut_off = hub.subscribe(["mine"], after=101)
        assert (await anext(cut_off))["number"] == 102, "an old state was sent again"
        await cut_off.aclose()  # type: ignore[attr-defined]
        assert len(hub._subscribers) == 1
        await slow.aclose()  # type: ignore[attr-defined]
        assert not hub._subscribers
        kept = await _receive(hub, ["mine", "other"], 3)
        assert [state["event"] for state in kept] == ["job", "review", "job"]

    asyncio.run(scene())
