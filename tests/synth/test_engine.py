"""The engine: every slot gets an outcome, a rerun requests only slots without one, memory and overshoot are bounded."""

from __future__ import annotations

import asyncio
import resource
import shutil
import subprocess
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import StoreFull, TeacherError
from schemas.progress import unseen
from schemas.records import Pair, Seed
from schemas.store import Store
from synth.engine import GenerateResult, generate
from synth.imports import Import
from tests.curate.argilla.small_disk import small_disk
from tests.ledger_rows import call_index
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, cuts, fails, says
from tests.synth.rig import Rig, input, output, rig


def run(
    teacher: LoopbackTeacher,
    folder: Path,
    seeds: Any,
    *,
    options: dict[str, Any] | None = None,
    concurrency: int = 8,
    **rig_options: Any,
) -> tuple[GenerateResult, Rig]:
    async def go() -> tuple[GenerateResult, Rig]:
        async with rig(teacher.url, folder, concurrency=concurrency, **rig_options) as r:
            result = await generate(r.store, seeds, r.generators, concurrency=concurrency, **(options or {}))
            return result, r

    return asyncio.run(go())


def test_every_slot_has_an_outcome_and_a_rerun_sends_nothing(tmp_path: Path) -> None:
    """Every sample of an input seed and every level of an output seed becomes a pair in the store. A rerun sends no
    request. More seeds and more samples send only what is new."""
    seeds: list[Seed] = [*input(10), *output(5)]
    with LoopbackTeacher() as teacher:
        result, r = run(teacher, tmp_path, seeds)
        assert result.counts.model_dump() == {
            "rows_in": 30,
            "accepted": 0,
            "rejected": 0,
            "waiting": 30,
            "failed": 0,
        }
        assert (result.pairs_made, result.pairs_kept, r.ledger.sent) == (30, 0, 20)
        asked = len(teacher.asked)
        again, r = run(teacher, tmp_path, seeds)
        assert again.counts == result.counts
        assert (again.pairs_made, again.pairs_kept, r.ledger.sent, r.ledger.reused) == (0, 30, 0, 0)
        assert len(teacher.asked) == asked
        grown, r = run(teacher, tmp_path, [*seeds, *input(12)[10:]], n=3)
        assert (grown.counts.rows_in, grown.pairs_made) == (46, 16)
        assert r.ledger.sent == 12
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
        assert len(store.pairs()) == 46


def test_failures_are_rows_with_reasons_and_affect_no_others(tmp_path: Path) -> None:
    """One seed each is answered empty, refused, cut off and truncated: this gives four reasons, and all other rows are
    there."""
    faults = {"dog 1": says("", ""), "dog 2": fails(400), "dog 3": cuts(), "dog 4": says("a", "b", finish="length")}
    with LoopbackTeacher(lambda ask: faults.get(ask.prompt, says())) as teacher:
        result, _ = run(teacher, tmp_path, input(10))
        assert result.reasons == {"empty": 2, "refused": 2, "broken": 2, "truncated": 2}
        assert (result.failed, result.waiting) == (8, 12)
        asked = teacher.counts()
        faults.clear()
        result, r = run(teacher, tmp_path, input(10))
        # The cut one got no response, so it is requested again. The others have used up their attempts.
        assert result.reasons == {"empty": 2, "refused": 2, "truncated": 2}
        assert teacher.counts() - asked == {"dog 3": 1}
        result, r = run(teacher, tmp_path, input(10), retry_failed=True)
        assert result.counts.waiting == 20
        assert r.ledger.sent == 3
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
        assert all(pair.output.strip() for pair in store.pairs())
        assert all(candidate.failure is None for candidate in store.candidates())


def test_accept_returns_true_false_or_none_for_waiting(tmp_path: Path) -> None:
    """True, False and None are three outcomes, and pairs from an earlier run are passed to `accept` as well."""

    async def accept(pair: Pair) -> bool | None:
        return {"0": True, "1": False}.get(pair.input[-1])

    with LoopbackTeacher() as teacher:
        for kept in (0, 6):
            result, _ = run(teacher, tmp_path, input(3), options={"accept": accept})
            assert (result.accepted, result.rejected, result.waiting, result.pairs_kept) == (2, 2, 2, kept)


@pytest.mark.parametrize("n", [1, 4])
def test_a_target_is_not_overshot_by_more_than_a_seed(n: int, tmp_path: Path) -> None:
    """No more slots are open than may still be needed, so no money is spent beyond the target."""

    async def accept(pair: Pair) -> bool:
        return int(pair.input.removeprefix("dog ")) % 3 != 0

    with LoopbackTeacher(latency_s=0.002) as teacher:
        options = {"accept": accept, "targets": {"forward": 20}}
        result, _ = run(teacher, tmp_path, input(500), n=n, options=options, concurrency=16)
        assert 20 <= result.accepted < 20 + n
        assert result.rows_in == sum(ask.n for ask in teacher.asked)
        assert result.counts.adds_up
        asked = len(teacher.asked)
        run(teacher, tmp_path, input(500), n=n, options=options, concurrency=16)
        assert len(teacher.asked) == asked


@pytest.mark.parametrize("backward_first", [True, False])
def test_a_target_counts_and_ends_forward_generation_only(backward_first: bool, tmp_path: Path) -> None:
    """Whatever the order of the seeds, the target bounds the forward rows, and every backward row is generated."""

    async def accept(pair: Pair) -> bool:
        return True

    seeds = [*output(10), *input(10)] if backward_first else [*input(10), *output(10)]
    with LoopbackTeacher() as teacher:
        result, _ = run(teacher, tmp_path, seeds, options={"accept": accept, "targets": {"forward": 6}})
        forward = sum(ask.n for ask in teacher.asked if ask.prompt.startswith("dog"))
        assert (forward, result.rows_in) == (6, 6 + 2 * 10)
        assert result.counts.adds_up


def test_each_direction_has_a_target_and_a_limit_of_candidates(tmp_path: Path) -> None:
    """Backward generation ends at its own target. Forward generation, of which nothing is accepted, ends at its
    limit."""

    async def accept(pair: Pair) -> bool:
        return not pair.input.startswith("dog")

    options = {"accept": accept, "targets": {"forward": 4, "backward": 6}, "candidates": {"forward": 9}}
    with LoopbackTeacher() as teacher:
        for _ in range(2):
            result, _ = run(teacher, tmp_path, [*input(20), *output(20)], options=options)
            forward = sum(ask.n for ask in teacher.asked if ask.prompt.startswith("dog"))
            assert (forward, len(teacher.asked) - forward // 2) == (8, 6)
            assert (result.accepted, result.rejected) == (6, 8)


def test_only_the_rows_of_a_seed_that_are_kept_count_towards_a_target(tmp_path: Path) -> None:
    """Of four accepted rows of an input, curation keeps one: 20 rows to be accepted need 20 inputs, not 5, also when
    some of them are of an earlier run."""

    async def accept(pair: Pair) -> bool:
        return True

    with LoopbackTeacher(latency_s=0.002) as teacher:
        run(teacher, tmp_path, input(7), n=4)
        options = {"accept": accept, "targets": {"forward": 20}, "counted": {"forward": 1}}
        result, _ = run(teacher, tmp_path, input(500), n=4, options=options, concurrency=16)
        assert (len(teacher.asked), result.accepted, result.missed) == (20, 80, {})
        options["targets"] = {"forward": 31}
        result, _ = run(teacher, tmp_path, input(30), n=4, options=options)
    assert (result.accepted, result.missed) == (120, {"forward": 30})


def test_target_without_accept_is_an_error(tmp_path: Path) -> None:
    """A target needs `accept`: without it nothing would ever be accepted."""
    with LoopbackTeacher() as teacher, pytest.raises(ValueError, match="accept"):
        run(teacher, tmp_path, input(1), options={"targets": {"forward": 5}})


def test_seeds_are_streamed(tmp_path: Path) -> None:
    """Seeds are read as needed: the source is never far ahead of the finished work, and memory stays flat."""
    taken, ahead = 0, 0

    def stream() -> Iterator[Seed]:
        nonlocal taken, ahead
        for seed in input(600):
            taken += 1
            ahead = max(ahead, taken - len(teacher.asked))
            yield seed

    with LoopbackTeacher() as teacher:
        result, r = run(teacher, tmp_path, stream(), n=1, concurrency=4)
        assert (result.rows_in, r.ledger.sent) == (600, 600)
        assert ahead <= 4 * 4 + 1
        tracemalloc.start()
        run(teacher, tmp_path, (seed for seed in input(600)), n=1)
        assert tracemalloc.get_traced_memory()[1] < 8e6
        tracemalloc.stop()


def test_progress_reports_counts(tmp_path: Path) -> None:
    """Progress reports done, total, failed, in flight, tokens and money. The last call has the final values."""
    seen: list[dict[str, float]] = []
    with LoopbackTeacher() as teacher:
        options = {"progress": lambda stage, numbers: seen.append({"stage": stage, **numbers})}
        run(teacher, tmp_path, [*input(4), *output(1)], options=options)
    assert seen[-1] == {
        "stage": "generate",
        "done": 10,
        "total": 10,
        "failed": 0,
        "kept": 0,
        "in_flight": 0,
        "tokens": 50,
        "usd": None,
        "usd_known": 0.0,
        "message": "",
    }


def test_imports_are_not_part_of_the_pace(tmp_path: Path) -> None:
    """Pairs from a file count as rows for which nothing is asked: they change neither the time left nor the price
    per answer of a run that reads 40 pairs and asks for 2."""
    seen: list[Mapping[str, Any]] = []

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        seen.append(numbers)

    async def go(teacher: LoopbackTeacher) -> None:
        async with rig(teacher.url, tmp_path) as r:
            generators = [Import(), r.forward]
            seeds = [Seed(kind="pair", text=f"lamp {n}", reference=f"a lamp {n}", source="a.csv") for n in range(40)]
            await generate(r.store, [*seeds, *input(1)], generators, concurrency=8, progress=progress)

    with LoopbackTeacher() as teacher:
        asyncio.run(go(teacher))
    assert (seen[-1]["done"], seen[-1]["kept"]) == (42, 40)


def test_stored_rows_count_before_new_requests(tmp_path: Path) -> None:
    """Rows that were paid for earlier count first. After a forecast had sampled twenty seeds, a run with a target of
    accepted rows used to start at the first seed, buy new rows, and leave the pilot's rows to curation, which then had
    more than requested."""

    async def accept(pair: Pair) -> bool:
        return True

    seeds = input(30)
    with LoopbackTeacher() as teacher:
        run(teacher, tmp_path, seeds[20:])
        asked = len(teacher.asked)
        result, _ = run(teacher, tmp_path, seeds, options={"accept": accept, "targets": {"forward": 24}})
    assert (result.pairs_kept, result.accepted, result.missed) == (20, 24, {})
    assert len(teacher.asked) == asked + 2


def test_missed_target_is_reported(tmp_path: Path) -> None:
    """When all seeds are used and too few rows were accepted, the result reports how many are missing. The run used to
    end as a success without saying so."""

    async def accept(pair: Pair) -> bool:
        return pair.input == "dog 1"

    with LoopbackTeacher() as teacher:
        result, _ = run(teacher, tmp_path, input(3), options={"accept": accept, "targets": {"forward": 5}})
    assert result.missed == {"forward": 2}


def test_rate_limit_wait_is_reported(tmp_path: Path) -> None:
    """While a server asks to wait, progress says so. A wait of half a minute used to be silent."""
    messages: list[str] = []
    waited = threading.Event()

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        messages.append(numbers["message"])
        if numbers["message"]:
            waited.set()

    def reply(ask: Ask) -> Reply:
        return says("a dog") if waited.is_set() else fails(429, headers={"Retry-After": "2"})

    with LoopbackTeacher(reply) as teacher:
        run(teacher, tmp_path, input(2), options={"progress": progress})
    assert any(message.startswith("held by the rate limit (HTTP 429: no), next request in ") for message in messages)
    assert messages[-1] == ""


def test_stop_drains_and_the_next_run_continues(tmp_path: Path) -> None:
    """After Ctrl-C nothing more is sent, requests in flight are finished and stored, and no prompt is sent twice over
    both runs."""

    async def interrupted() -> GenerateResult:
        stop = asyncio.Event()
        async with rig(teacher.url, tmp_path) as r:
            running = asyncio.create_task(generate(r.store, input(100), r.generators, concurrency=8, stop=stop))
            await asyncio.to_thread(teacher.wait_for, 38)
            stop.set()
            asyncio.get_running_loop().call_later(0.05, stopped.set)
            result = await running
            assert len(call_index(r.store)) == 2 * len(teacher.asked)
            return result

    stopped = threading.Event()
    with LoopbackTeacher(lambda ask: Reply(when=lambda: ask.number <= 30 or stopped.is_set())) as teacher:
        result = asyncio.run(interrupted())
        assert result.stopped
        assert result.counts.adds_up
        assert 0 < result.rows_in < 200
        # Everything requested was finished: nothing was sent and thrown away.
        assert result.rows_in == 2 * len(teacher.asked)
        again, _ = run(teacher, tmp_path, input(100))
        assert again.counts.waiting == 200
        assert set(teacher.counts().values()) == {1}


def test_teacher_failure_is_raised_after_draining(tmp_path: Path) -> None:
    """Answers that were in flight when the quota ended are stored, and the caller gets the counts."""

    def reply(ask: Ask) -> Reply:
        if ask.number == 20:
            return fails(429, "You exceeded your quota", code="insufficient_quota")
        return Reply(delay_s=0.05)

    result = GenerateResult()
    with LoopbackTeacher(reply) as teacher:
        with pytest.raises(TeacherError, match="no quota"):
            run(teacher, tmp_path, input(100), options={"result": result})
        assert len(teacher.asked) < 40
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
            assert len(call_index(store)) == 2 * (len(teacher.asked) - 1)
    assert result.rows_in == result.waiting == 2 * (len(teacher.asked) - 1)


@pytest.mark.slow
def test_a_full_disk_stops_everything_at_once(tmp_path: Path) -> None:
    """A full disk raises StoreFull after a bounded number of further requests, and the reopened store has everything
    that was confirmed."""
    with LoopbackTeacher() as teacher:
        run(teacher, tmp_path, input(20))
        asked = len(teacher.asked)
        largest = max(path.stat().st_size for path in tmp_path.glob("pairsmith.db*"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 65_536, hard))
        try:
            with pytest.raises(StoreFull):
                run(teacher, tmp_path, input(2000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert len(teacher.asked) - asked < 200
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            assert len(store.pairs()) >= 40
            confirmed = len(call_index(store))
        again, r = run(teacher, tmp_path, input(100))
        assert again.counts.waiting == 200
        assert r.ledger.sent <= (200 - confirmed) / 2


def test_nothing_is_sent_while_the_disk_is_full(tmp_path: Path) -> None:
    """A run in cron starts again every hour. On a disk that was full already it sent a window of requests each time
    before its first commit failed, and all their answers were lost. What the store has already is still given."""
    with small_disk("3m") as disk, LoopbackTeacher() as teacher:
        with pytest.raises(StoreFull, match=r"only \d\.\d MiB are free on its disk"):
            run(teacher, disk, input(20))
        assert not teacher.asked
        remount = subprocess.run(["mount", "-o", "remount,size=20m", disk], capture_output=True, text=True)
        assert remount.returncode == 0, remount.stderr
        run(teacher, disk, input(20))
        asked = len(teacher.asked)
        (disk / "large").write_bytes(bytes(shutil.disk_usage(disk).free - 2**20))
        run(teacher, disk, input(20))
        assert len(teacher.asked) == asked


def test_seeds_are_counted_only_for_a_progress_display(tmp_path: Path) -> None:
    """The total number of rows is needed only for a display. Counting all seeds costs as much as reading them, so a
    command whose output goes to a program does not do it."""

    class Counted(list[Seed]):
        times = 0

        def __iter__(self) -> Iterator[Seed]:
            self.times += 1
            return super().__iter__()

    shown: list[Any] = []
    with LoopbackTeacher() as teacher:
        for progress, times in ((unseen, 1), (lambda _stage, numbers: shown.append(numbers["total"]), 2)):
            seeds = Counted(input(3))
            result, _ = run(teacher, tmp_path, seeds, options={"progress": progress})
            assert (result.waiting, seeds.times) == (6, times)
    assert set(shown) == {6}


FAULTS = st.sampled_from(
    [
        says(),
        says(""),
        says(None),
        says("cut sh", finish="length"),
        Reply(body=b"<html>"),
        Reply(body=b'{"choices": []}'),
        fails(429, headers={"Retry-After": "0.001"}),
        fails(500),
        fails(400),
        cuts(),
    ]
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FAULTS, max_size=80), st.integers(1, 3), st.booleans())
def test_rows_are_conserved_under_any_faults(schedule: list[Reply], n: int, honours_n: bool) -> None:
    """Whatever the server does, in any order: rows in = waiting + failed, every pair has text and no answer is lost.
    Once every row has an answer or no attempts left, another run sends nothing."""
    faults = iter(schedule)
    with (
        tempfile.TemporaryDirectory() as folder,
        LoopbackTeacher(lambda ask: next(faults, says()), honours_n=honours_n) as teacher,
    ):
        seeds = [*input(6), *output(3)]
        result, _ = run(teacher, Path(folder), seeds, n=n)
        assert result.counts.adds_up
        assert result.rows_in == 6 * n + 3 * 2
        assert result.failed == sum(result.reasons.values())
        again, _ = run(teacher, Path(folder), seeds, n=n)
        assert again.counts.adds_up
        assert again.rows_in == result.rows_in
        assert again.waiting >= result.waiting
        with Store.open(f"sqlite:///{Path(folder) / 'pairsmith.db'}", write=False) as store:
            assert len(store.pairs()) == again.waiting
            assert all(pair.input.strip() and pair.output.strip() for pair in store.pairs())
            assert len(store.candidates()) == again.rows_in
            for rows in call_index(store).values():
                assert [status for _, status in rows].count("ok") <= 1
                assert len(rows) <= 2
        sent = len(teacher.asked)
        third, _ = run(teacher, Path(folder), seeds, n=n)
        assert len(teacher.asked) == sent or again.reasons.keys() & {"broken", "server", "throttled"}
        assert third.counts.adds_up
