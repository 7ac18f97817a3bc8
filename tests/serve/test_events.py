"""What is moving: a file of JSON lines, and a hub that tells the present state."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pairsmith.serve import events
from pairsmith.serve.events import Hub, each, last, record_progress


def test_the_last_report_of_every_stage_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast a stage reports, a few lines a second are written, and never without its last word."""
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


def test_a_line_that_a_crash_has_cut_is_passed_over(tmp_path: Path) -> None:
    """The line before it is the state, the next process begins a line of its own."""
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


def test_a_long_job_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many lines a tenth as many are written."""
    monkeypatch.setattr(events, "_MANY", 0)
    clock = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock) * 0.3)
    path = tmp_path / "events.jsonl"
    with record_progress(path) as progress:
        for done in range(100):
            progress("train", {"done": done})
    assert 10 <= len(list(each(path))) <= 15


def test_a_full_disk_stops_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be written is left out."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("no device that is always full")
    with record_progress(path) as progress:
        progress("train", {"done": 1})


def test_numbers_that_json_has_no_word_for_do_no_harm(tmp_path: Path) -> None:
    """A loss that is not a number, and a path in a message, reach the file as something that can be read."""
    path = tmp_path / "events.jsonl"
    with record_progress(path) as progress:
        progress("train", {"done": 1, "loss": float("nan"), "message": tmp_path})
    line = path.read_text().strip()
    assert "NaN" not in line, "no browser reads it"
    assert json.loads(line)["numbers"]["loss"] is None


async def _heard(hub: Hub, slugs: list[str], count: int) -> list[dict[str, Any]]:
    heard = []
    async with aclosing(hub.subscribe(slugs)) as states:  # type: ignore[type-var]
        async for state in states:
            heard.append(state)
            if len(heard) == count:
                break
    return heard


def test_a_subscriber_hears_states_not_a_log() -> None:
    """Who comes later hears what is so now, at once; who is slow hears the newest only; nobody hears of a project that
    is not theirs."""

    async def scene() -> None:
        hub = Hub()
        hub.publish("job", "mine", "job:mine", {"done": 1})
        hub.publish("job", "mine", "job:mine", {"done": 2})
        hub.publish("job", "other", "job:other", {"done": 9})
        assert [state["data"] for state in await _heard(hub, ["mine"], 1)] == [{"done": 2}]
        slow = hub.subscribe(["mine"])
        assert (await anext(slow))["data"] == {"done": 2}
        for done in range(3, 100):
            hub.publish("job", "mine", "job:mine", {"done": done})
        hub.publish("review", "mine", "review:mine", {"waiting": 4})
        hub.publish("job", "mine", "job:mine", {"done": 100})
        rest = [await anext(slow), await anext(slow)]
        assert [state["data"] for state in rest] == [{"waiting": 4}, {"done": 100}]
        assert [state["number"] for state in rest] == [101, 102], "in the order of what is told"
        cut_off = hub.subscribe(["mine"], after=101)
        assert (await anext(cut_off))["number"] == 102, "what it has heard before is not told again"
        await cut_off.aclose()  # type: ignore[attr-defined]
        assert hub.subscriber_count == 1
        await slow.aclose()  # type: ignore[attr-defined]
        assert hub.subscriber_count == 0
        assert [state["event"] for state in hub.states()] == ["job", "review", "job"]

    asyncio.run(scene())
