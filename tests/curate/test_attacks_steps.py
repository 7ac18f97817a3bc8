"""Steps and scorers that misbehave: no row is lost, none is accepted by mistake, and the user learns how to fix it."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from curate.curation import curate
from curate.pool import Pool
from curate.scorers import Score
from curate.scorers.choose import ChosenScorer
from curate.steps import NamedStep, Step, decontaminate, duplicates, each, named, scored
from curate.what_if import compare
from schemas.errors import UsageError
from schemas.progress_line import Pace
from schemas.project import Project
from schemas.records import Candidate, Pair, Reason, RowState, Verdict
from schemas.store import Store, tables
from tests.curate import tiny
from tests.curate.test_pool import pair

PAIRS = [pair(f"text {n}", n=n) for n in range(5)]
ROOT = Path(__file__).parents[2]


def run(*steps: Step) -> Pool:
    return asyncio.run(curate(Pool.of(PAIRS), steps))


def verdict_on(pair_id: str, keep: bool = False) -> Verdict:
    return Verdict(pair_id=pair_id, by="mine", fingerprint="f", keep=keep, score=None, reason=Reason("mine"))


def holding(word: str) -> Step:
    """A step that keeps rows containing `word`. Each one this function creates has the same name and source."""

    async def step(pool: Pool) -> AsyncIterator[Verdict]:
        for row in pool.rows():
            assert row.pair is not None
            yield verdict_on(row.pair.id, word in row.pair.output)

    return step


def test_two_steps_under_one_name_are_refused(tmp_path: Path) -> None:
    """The second would overwrite the verdicts of the first; with names of their own both count."""
    with pytest.raises(UsageError, match="two steps are called"):
        run(holding("text"), holding("text"))
    assert run(holding("text 1"), holding("text")).counts.accepted == 1  # the values of a closure are part of its id
    both = run(named(holding("text 1"), "pool/one@1"), named(holding("text"), "pool/all@1"))
    assert both.counts.accepted == 1


@pytest.mark.parametrize("foreign_id", ["ab" * 16, "no id", ""])
def test_a_verdict_on_a_pair_of_another_pool_is_refused(tmp_path: Path, foreign_id: str) -> None:
    """The error names the step and the pair, and none of the step's verdicts are stored."""

    async def step(pool: Pool) -> AsyncIterator[Verdict]:
        yield verdict_on(PAIRS[0].id)
        yield verdict_on(foreign_id)

    project = Project(tmp_path, tiny.spec())
    with Store.open(Store.url_for(project)) as store:
        message = f"pool/mine@1 judged the pair {foreign_id!r}, which is not in the pool"
        with pytest.raises(UsageError, match=message):
            asyncio.run(curate(Pool.of(PAIRS), [named(step, "pool/mine@1", per_row=True)], store))
        assert store.verdict_count() == 0


def test_verdicts_of_a_slow_scorer_are_stored_and_shown_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local model may take a second per row: its verdicts are stored and progress is shown as they come, not after
    256 rows, so that minutes of work are neither silent nor lost. A batch scorer gets batches of the size it asks
    for."""
    monkeypatch.setattr("curate.curation.MAX_WAIT_S", 0.0)
    given: list[int] = []

    def length(pair: Pair) -> int:
        given.append(1)
        if len(given) == 4:
            raise UsageError("the licence of this scorer has ended.")
        return len(pair.output)

    async def batch(pairs: Sequence[Pair]) -> list[Score]:
        given.append(len(pairs))
        return [Score(1.0, Reason("scored"))] * len(pairs)

    shown: list[int] = []
    with Store.open(Store.url_for(Project(tmp_path, tiny.spec()))) as store:
        steps, show = [scored(length)], lambda _, numbers: shown.append(numbers["done"])
        with pytest.raises(UsageError, match="licence"):
            asyncio.run(curate(Pool.of(PAIRS), steps, store, show))
        assert (shown, store.verdict_count()) == ([0, 1, 2, 3], 3)
    given.clear()
    shown.clear()
    asyncio.run(curate(Pool.of(PAIRS), [scored(batch, "score/mine@1", "mine", at_once=2)], progress=show))
    assert (given, shown) == ([2, 2, 1], [0, 2, 4, 5])
    mine = ChosenScorer("score/mine@1", "mine", batch, "mine", {})
    assert mine.at_once < 256


def test_a_scorer_gets_few_long_texts_at_once_and_the_candidates_of_an_input_together() -> None:
    """40 rows with transcripts of 6,000 words were one call of ten minutes and more: `0 of 40`, nothing stored if it
    was stopped. A local model computes an input once for all candidates of the same call."""
    given: list[list[str]] = []

    async def batch(pairs: Sequence[Pair]) -> list[Score]:
        given.append([pair.input[0] for pair in pairs])
        return [Score(1.0, Reason("scored"))] * len(pairs)

    rows = [tiny.pair(f"{letter} {'transcript ' * 1_400}", f"notes {n}") for letter in "abcde" for n in range(3)]
    asyncio.run(curate(Pool.of(rows), [scored(batch, "score/mine@1", "mine", at_once=32)]))
    assert given == [list("aaabbb"), list("cccddd"), list("eee")]
    given.clear()
    asyncio.run(curate(Pool.of(rows), [scored(batch, "score/mine@2", "mine", at_once=2)]))
    assert list(map(len, given)) == [2, 1] * 5


def test_a_step_over_the_whole_pool_forecasts_no_time() -> None:
    """Its verdicts come at its end: the line read "1 of 97,501, 6988h 17m left" after four minutes of comparing."""
    shown: list[dict[str, Any]] = []
    asyncio.run(curate(Pool.of(PAIRS), [duplicates(0.7)], progress=lambda _, numbers: shown.append(dict(numbers))))
    pace = Pace("duplicate", shown[0], 0.0)
    pace.update({**shown[-1], "done": 1}, 255.0)
    assert (pace.left_s, pace.parts()) == (None, ["1 of 5"])


@pytest.mark.parametrize(
    ("step", "activity"), [(decontaminate(["a held-out text of six words"]), ""), (duplicates(0.7), "comparisons")]
)
def test_a_step_over_a_large_pool_shows_what_it_does_before_its_first_verdict(step: NamedStep, activity: str) -> None:
    """The line stood still at 0 while 100,000 texts were read and compared, which took minutes."""
    rows = [pair(f"How do I change the monthly order for my order {number}?", n=number) for number in range(1_200)]
    reports: list[dict[str, Any]] = []
    asyncio.run(curate(Pool.of(rows), [step], progress=lambda _, numbers: reports.append(dict(numbers))))
    before = [one for one in reports if one.get("message")]
    assert reports.index(before[-1]) < next(number for number, one in enumerate(reports) if one.get("done"))
    assert "1,200 texts read" in {one["message"] for one in before}
    assert any(activity in one["message"] for one in before)
    assert not reports[-1]["message"]


def test_reading_a_large_pool_and_its_verdicts_is_shown(tmp_path: Path) -> None:
    """A second curation of 100,000 rows read them and two million verdicts for half a minute before its first sign of
    life."""
    pairs = [pair(f"text {number}", n=number, seed=f"s{number}") for number in range(1_500)]
    slots = [Candidate(fingerprint="f", seed_id=p.seed_id, generator="forward", sample=0, pair_id=p.id) for p in pairs]
    stages: list[str] = []

    def curated(store: Store) -> Pool:
        stages.clear()
        seeds = [one.seed_id for one in pairs]
        pool = Pool.read(store, ["f"], seeds, progress=lambda stage, _: stages.append(stage))
        return asyncio.run(curate(pool, [each(holding_gate)], store, lambda stage, _: stages.append(stage)))

    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.write(*pairs, *slots)
        assert curated(store).counts.accepted == 1_500
        assert stages[0] == "candidates"
        curated(store)
        assert list(dict.fromkeys(stages)) == ["candidates", "verdicts", "gates"]


def holding_gate(pair: Pair) -> bool:
    return "text" in pair.output


def test_unnamed_step_error_says_how_to_name_it() -> None:
    """A partial function as a step gives a clear error instead of a traceback."""
    with pytest.raises(UsageError, match=r"named\(function"):
        run(functools.partial(holding("text")))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_or_infinite_score_is_a_crash(value: float) -> None:
    """The row waits with the reason; it is never accepted without a score."""

    async def odd(pairs: Sequence[Pair]) -> Sequence[Score]:
        return [Score(value if "3" in pair.output else 1.0, Reason("scored")) for pair in pairs]

    pool = run(scored(odd, "score/odd@1", "f"))
    assert (pool.counts.accepted, pool.counts.waiting, pool.reasons) == (4, 1, {"crashed": 1})


def test_scorer_that_returns_too_few_scores_is_called_per_row() -> None:
    """Each pair is then scored on its own; a pair without a score waits."""

    async def first_only(pairs: Sequence[Pair]) -> Sequence[Score]:
        return [Score(float(pairs[0].output[-1]), Reason("scored"))]

    async def none(pairs: Sequence[Pair]) -> Sequence[Score]:
        return []

    assert [row.score for row in run(scored(first_only, "score/few@1", "f")).accepted()] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert run(scored(none, "score/none@1", "f")).counts.waiting == 5


@pytest.mark.slow
def test_curation_does_not_depend_on_the_order_of_sets(tmp_path: Path) -> None:
    """The same store curated under different hash seeds: the same rows in the same order, with the same reasons."""
    seen = set()
    for seed in ("0", "1", "77"):
        folder = tmp_path / seed
        folder.mkdir()
        project = Project(folder, tiny.spec())
        with Store.open(Store.url_for(project)) as store:
            answers = {f"seed {n}": [f"must {'alike ' * 9}{n % 3} {k}" for k in range(3)] + ["no"] for n in range(12)}
            tiny.pool(store, project, answers, {"lost": "empty"})
        done = subprocess.run(
            [sys.executable, "-m", "tests.curate.curate_once", str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        with Store.open(Store.url_for(project), write=False) as store:
            decided = list(store.pages(RowState, tables.row_states))
            assert len({state.curation for state in decided}) == 1
            states = [state.model_dump(mode="json", exclude={"curation"}) for state in decided]
        assert len(states) == 12 * 4 + 1
        seen.add(json.dumps(states))
    assert len(seen) == 1


def test_comparing_two_judgements_reads_the_texts_of_examples_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What-if read every row with its verdicts twice, a minute of CPU for 100,000 rows, for five examples."""
    pairs = [pair(f"text {number}", n=number, seed=f"s{number}") for number in range(300)]
    slots = [Candidate(fingerprint="f", seed_id=p.seed_id, generator="forward", sample=0, pair_id=p.id) for p in pairs]
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.write(*pairs, *slots)
        pool = Pool.read(store, ["f"], [one.seed_id for one in pairs])
        before, after = (asyncio.run(curate(pool, [each(gate)])) for gate in (holding_gate, with_a_one))
        read: list[str] = []
        pairs_of = Store.pairs

        def recorded(store: Store, ids: Iterable[str]) -> list[Pair]:
            asked = list(ids)
            read.extend(asked)
            return pairs_of(store, asked)

        monkeypatch.setattr(Store, "pairs", recorded)
        (move,) = compare(before, after).moves
    assert (move.before, move.after, move.rows) == ("accepted", "rejected", 162)
    assert len(read) == len(move.examples) == 5
    assert all("1" not in example.output for example in move.examples)


def with_a_one(pair: Pair) -> bool:
    return "1" in pair.output
