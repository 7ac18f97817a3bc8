"""The curation stage: row counts, resuming, reviews."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.outcome import CurateResult, _near_duplicates_across_splits, curate_project
from curate.preferences import BY_PEOPLE
from curate.scorers.choose import EmbeddedModel, choose
from curate.split import seed_split, split_of
from schemas.errors import NoWork
from schemas.progress import unseen
from schemas.project import Project
from schemas.records import Candidate, Counts, Edited, Pair, RowState, Seed
from schemas.reviews import Review
from schemas.spec_file import parse
from schemas.store import Store, tables
from synth.embedded.weights import Weights
from tests.curate import tiny
from tests.servers import served

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, tiny.spec())


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with Store.open(Store.url_for(project)) as opened:
        yield opened


def run(project: Project, store: Store, **more: Any) -> CurateResult:
    return asyncio.run(curate_project(project, store, fingerprints=["now"], **more))


def words(n: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(tiny.WORDS, k=n))


def answers(inputs: int, each: int = 2) -> dict[str, list[str]]:
    """Inputs with answers that pass the gate and differ from each other."""
    return {f"input {n}": [f"must {words(12, n * 100 + k)}" for k in range(each)] for n in range(inputs)}


def test_rows_in_are_accepted_rejected_waiting_and_failed(project: Project, store: Store) -> None:
    """Each outcome is counted under its reason code, and the reasons sum to the rows that were not accepted."""
    tiny.pool(
        store,
        project,
        {"a": ["must be fine", "no such word", "must  be fine!", "must something quite else"]},
        {"b": "empty: nothing came", "c": "refused: it would not"},
    )
    result = run(project, store)
    assert result.counts == Counts(rows_in=6, accepted=2, rejected=2, failed=2)
    assert result.reasons.pop("duplicate") == 1
    assert result.reasons.pop("empty") == 1
    assert result.reasons.pop("refused") == 1
    assert sum(result.reasons.values()) == 1
    assert next(iter(result.reasons)).startswith("missing")


texts = st.sampled_from(["must be", "must be!", "must go on and on", "nothing", "must be it", "x"])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=25
)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(texts, max_size=4), min_size=1),
    st.dictionaries(st.sampled_from("uvw"), st.sampled_from(["empty: x", "refused"])),
    st.randoms(use_true_random=False),
)
def test_every_row_is_counted_whatever_reviewers_decide(
    given_answers: dict[str, list[str]], failures: dict[str, str], rng: random.Random
) -> None:
    """For any rows and reviews the counts add up, and a second run appends nothing. What reviewers accept or write only
    repeats an accepted row if it is not accepted; what they reject or replace is in no accepted row, nor any copy."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), tiny.spec())
        with Store.open(Store.url_for(project)) as store:
            tiny.pool(store, project, given_answers, failures)
            before = store.pairs()
            for n, pair in enumerate(before):
                if rng.random() < 0.4:
                    decision = rng.choice(["accept", "reject", "edit"])
                    edited = "must be mended" if decision == "edit" else None
                    review = Review(pair_id=pair.id, reviewer="ana", decision=decision, edited=edited, at=AT)
                    store.write(review.model_copy(update={"at": AT + timedelta(seconds=n)}))
            if not store.candidates():
                with pytest.raises(NoWork):
                    run(project, store)
                return
            first = run(project, store)
            assert first.counts.adds_up
            assert first.counts.rows_in == len(store.candidates())
            _check_people_decide(store, first, before)
            assert first.counts.failed == len(failures)
            c = first.counts
            assert sum(first.reasons.values()) == c.rejected + c.waiting + c.failed
            assert len(first.accepted) == c.accepted
            second = run(project, store)
            assert second.facts["verdicts_appended"] == 0
            assert (second.counts, second.reasons, second.accepted) == (first.counts, first.reasons, first.accepted)


def _check_people_decide(store: Store, result: CurateResult, generated: list[Pair]) -> None:
    """Compare the outcome with the only review of each reviewed row."""
    answers = {id_: reviews[0] for id_, reviews in store.reviews().items()}
    good = {(p.input, answers[p.id].edited or p.output) for p in generated if _answer(answers, p) in ("accept", "edit")}
    bad = {(p.input, p.output) for p in generated if _answer(answers, p) in ("reject", "edit")}
    accepted = {(a.pair.input, a.pair.output) for a in result.accepted}
    assert not accepted & (bad - good)
    assert all(not (bad - good) & {(p.chosen.input, p.chosen.output)} for p in result.preferences)
    assert all(p.by in BY_PEOPLE or (p.rejected.input, p.rejected.output) not in good for p in result.preferences)
    repeated = {(s.seed_id, s.sample) for s in store.row_states(result.facts["curation"], code="duplicate")}
    accepted_states = store.row_states(result.facts["curation"], state="accepted")
    in_ = {(s.seed_id, s.sample) for s in accepted_states} | repeated
    slots = {c.pair_id: (c.seed_id, c.sample) for c in store.candidates()}
    assert all(slots[id_] in in_ for id_, review in answers.items() if review.decision in ("accept", "edit"))


def _answer(answers: dict[str, Review], pair: Pair) -> str:
    return answers[pair.id].decision if pair.id in answers else ""


def test_a_second_run_appends_nothing(project: Project, store: Store) -> None:
    """Idempotent: the verdicts in the store are unchanged."""
    tiny.pool(store, project, answers(90))
    first = run(project, store)
    before = store.verdicts()
    second = run(project, store)
    assert first.facts["verdicts_appended"] > 0
    assert second.facts["verdicts_appended"] == 0
    assert store.verdicts() == before
    assert second.accepted == first.accepted


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_curation_resumes(project: Project, nth: int) -> None:
    """SIGKILL between two appends of verdicts or states: the store is intact, the next run judges only the rest and has
    the same result, and nothing of the killed run's states is left."""
    with Store.open(Store.url_for(project)) as store:
        tiny.pool(store, project, answers(150))
    command = [sys.executable, "-m", "tests.curate.curate_once", str(project.folder)]
    environment = os.environ | {"PAIRSMITH_FAILPOINT": f"mid_curate:{nth}"}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Store.open(Store.url_for(project)) as store:
        stored = sum(len(v) for v in store.verdicts().values())
        assert stored > 0
        resumed = run(project, store)
        assert resumed.facts["verdicts_appended"] + stored == sum(len(v) for v in store.verdicts().values())
        assert resumed.counts == Counts(rows_in=300, accepted=300)
        assert {state.curation for state in store.pages(RowState, tables.row_states)} == {resumed.facts["curation"]}


def test_only_current_candidates_count(project: Project, store: Store) -> None:
    """Candidates of another generation, and of seeds that are no longer active, stay in the store and are not part of
    the result."""
    tiny.pool(store, project, answers(3))
    seed = next(iter(store.active_seeds()))
    old = tiny.made_pair(seed, "must be of an older prompt", 7)
    store.write(old, Candidate(fingerprint="before", seed_id=seed.id, generator="forward", sample=0, pair_id=old.id))
    store.set_active_seeds(list(store.active_seeds())[:2])
    result = run(project, store)
    assert result.counts.rows_in == 4
    assert old.id not in {a.pair.id for a in result.accepted}


def test_empty_pool_is_an_error(project: Project, store: Store) -> None:
    """If there is nothing to judge, the error says what is missing: any generation at all, active seeds, or candidates
    under the current settings."""
    with pytest.raises(NoWork, match="nothing has been generated"):
        run(project, store)
    tiny.pool(store, project, {"red fox": ["must be a red fox there"]})
    with pytest.raises(NoWork, match="under other settings"):
        asyncio.run(curate_project(project, store, fingerprints=["of another prompt"]))
    store.set_active_seeds([])
    with pytest.raises(NoWork, match="active") as raised:
        run(project, store)
    assert "set_active_seeds" in str(raised.value)


def decide(store: Store, pair: Pair, decision: Any, edited: str | None = None, **more: Any) -> None:
    store.write(Review(pair_id=pair.id, reviewer="ana", decision=decision, edited=edited, **{"at": AT, **more}))


def test_review_outranks_the_gates(project: Project, store: Store) -> None:
    """A reject removes a row that passed, an accept keeps a row that a gate rejected, and the counts reflect both."""
    tiny.pool(store, project, {"a": ["must be fine"], "b": ["not by the rules"]})
    passed, failed = sorted(store.pairs(), key=lambda p: "must" not in p.output)
    decide(store, passed, "reject")
    decide(store, failed, "accept")
    result = run(project, store)
    assert [a.pair for a in result.accepted] == [failed]
    assert result.counts == Counts(rows_in=2, accepted=1, rejected=1)
    assert result.reasons == {"review": 1}
    assert result.accepted[0].reviews[0].reviewer == "ana"


def test_edit_replaces_the_row(project: Project, store: Store) -> None:
    """The corrected text replaces the pair, with its parent and the review in its origin. The counts still add up, and
    the edited row can be reviewed again."""
    tiny.pool(store, project, {"a": ["not by the rules"]})
    (parent,) = store.pairs()
    decide(store, parent, "edit", "must be mended")
    result = run(project, store)
    (row,) = result.accepted
    assert result.counts == Counts(rows_in=1, accepted=1)
    assert row.pair.output == "must be mended"
    assert isinstance(row.pair.origin, Edited)
    assert row.pair.origin.parent_id == parent.id
    assert [review.id for review in store.reviews()[parent.id]] == [row.pair.origin.review_id]
    assert store.pairs([row.pair.id]) == [row.pair]
    decide(store, row.pair, "reject", at=AT + timedelta(days=1))
    assert run(project, store).counts == Counts(rows_in=1, rejected=1)


def test_the_latest_review_counts_and_a_simulated_one_does_not(project: Project, store: Store) -> None:
    """Reviewers may change their mind; a simulated review overrides nothing."""
    tiny.pool(store, project, {"a": ["must be fine"], "b": ["must be good as well"]})
    first, second = store.pairs()
    decide(store, first, "reject")
    decide(store, first, "accept", at=AT + timedelta(days=1))
    decide(store, second, "reject", simulated=True)
    assert run(project, store).counts == Counts(rows_in=2, accepted=2)


def test_accepted_row_is_kept_and_its_near_duplicate_removed(project: Project, store: Store) -> None:
    """Of two similar rows in one split, the reviewed one is kept, although without a review it is the other one."""
    tiny.pool(store, project, {"a": ["must be one and the same thing", "must be one and the same thing!"]})
    (unreviewed,) = run(project, store).accepted
    (other,) = (pair for pair in store.pairs() if pair.id != unreviewed.pair.id)
    decide(store, other, "accept")
    result = run(project, store)
    assert [a.pair.id for a in result.accepted] == [other.id]
    assert result.reasons == {"duplicate": 1}


def test_rows_like_a_test_seed_are_rejected_and_similar_seeds_reported(project: Project, store: Store) -> None:
    """A training row with a test seed's text is contamination even if a reviewer accepted it; similar seeds are
    reported."""
    spec = project.spec.split
    names = [f"{first}{second}" for first in "bdfgklmnpr" for second in ("ana", "elo", "iri", "osa", "umo", "ela")]
    texts = [f"must sail past the old lighthouse at noon with {name}" for name in names]
    parts = {text: split_of(Seed(kind="input", text=text, source="").id, spec) for text in texts}
    test = next(t for t, part in parts.items() if part == "test")
    train = next(t for t, part in parts.items() if part == "train")
    tiny.pool(store, project, {test: ["must be of the test"], train: [f"{test}!", "must be clean"]})
    decide(store, next(p for p in store.pairs() if p.output.endswith("!")), "accept")
    result = run(project, store)
    # Both rows of the training seed contain its text, which is similar to the test seed's.
    assert result.reasons == {"contamination": 2}
    assert [a.split for a in result.accepted] == ["test"]
    (similar,) = result.facts["near_duplicate_seeds"]
    assert sorted(similar["splits"]) == ["test", "train"]
    assert similar["jaccard"] >= 0.7


def test_one_seed_text_used_thousands_of_times_is_not_paired_with_itself(project: Project, store: Store) -> None:
    """3,000 seeds of one text in several splits are counted and a hundred are listed; their pairs, over two million,
    took minutes and gigabytes and were stored in each receipt."""
    seeds = [Seed(kind="pair", text="Where is my parcel?", reference=f"Answer {n}.", source="s") for n in range(3_000)]
    splits = [seed_split(seed, project.spec.split) for seed in seeds]
    facts = _near_duplicates_across_splits(project, seeds, unseen)
    assert facts["near_duplicate_seed_count"] == sum(split != splits[0] for split in splits)
    assert len(facts["near_duplicate_seeds"]) == 100
    assert all(listed["seeds"][0] == seeds[0].id for listed in facts["near_duplicate_seeds"])


def test_row_with_a_crashed_gate_waits_until_the_gate_works(tmp_path: Path) -> None:
    """A crash is neither a rejection nor a pass, and the next run tries again."""
    project = Project(tmp_path, tiny.spec(gates={**tiny.OFF, "user": ["own_rules:polite"]}))
    rules = tmp_path / "own_rules.py"
    rules.write_text("import os\ndef polite(pair):\n    return bool(os.environ['PAIRSMITH_TEST_MENDED'])\n")
    with Store.open(Store.url_for(project)) as store, pytest.MonkeyPatch.context() as patch:
        tiny.pool(store, project, {"a": ["must be fine"]})
        patch.delenv("PAIRSMITH_TEST_MENDED", raising=False)
        waiting = run(project, store)
        assert waiting.counts == Counts(rows_in=1, waiting=1)
        assert waiting.reasons == {"crashed": 1}
        assert run(project, store).facts["verdicts_appended"] == 0
        patch.setenv("PAIRSMITH_TEST_MENDED", "1")
        assert run(project, store).counts == Counts(rows_in=1, accepted=1)


def test_a_reward_model_chooses_the_best_of_every_input(tmp_path: Path) -> None:
    """With a model trained here: one row per input is kept, the one the model prefers; a row that it cannot read
    waits."""
    tiny.reward_model(tmp_path / "rm")
    project = Project(tmp_path, tiny.spec(score={"model": "rm"}, select={"best": 1}))
    inputs = {f"input {n}": [f"must {words(6, n)} bad", f"must {words(6, n + 50)} good"] for n in range(6)}
    inputs["input 5"].append("must be <user> a chat")
    with Store.open(Store.url_for(project)) as store:
        tiny.pool(store, project, inputs)
        result = run(project, store)
        assert result.counts == Counts(rows_in=13, accepted=6, rejected=6, waiting=1)
        assert result.reasons == {"outranked": 6, "control": 1}
        assert all(a.pair.output.endswith("good") for a in result.accepted)
        assert all(a.score is not None for a in result.accepted)
        assert "score/reward@1" in {step.by for step in result.steps}
        again = run(project, store)
        assert again.facts["verdicts_appended"] == 0
        assert again.accepted == result.accepted


@asynccontextmanager
async def scoring_server() -> AsyncIterator[Any]:
    """Serves /score: a completion is likelier after a user turn that shares words with it."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        asked = set(body["messages"][-1]["content"].split())
        return web.json_response(
            {"data": [{"logprob": len(asked & set(c.split())) - 9.0, "tokens": 3} for c in body["completions"]]}
        )

    app = web.Application()
    app.router.add_post("/score", handle)
    async with served(app) as url:
        yield SimpleNamespace(base_url=f"{url}/v1", model="tiny")


@pytest.mark.parametrize("model", ["pmi", "auto"])
def test_pmi_is_used_on_request_and_when_nothing_can_be_fitted(tmp_path: Path, model: str) -> None:
    """With too few good texts, `auto` uses the PMI score and says why. A second run starts no server."""
    project = Project(tmp_path, tiny.spec(score={"model": model}))
    weights = Weights(tmp_path, "rev", "test")
    with Store.open(Store.url_for(project)) as store:
        tiny.pool(store, project, {"red fox": ["must be a dog", "must be a red fox there", "must run, fox"]})
        result = run(project, store, own=EmbeddedModel(lambda: weights, scoring_server))
        assert [a.pair.output for a in result.accepted] == ["must be a red fox there"]
        assert result.accepted[0].score == 2.0
        scorer = result.facts["scorer"]
        assert scorer["by"] == "score/relevance@1", "the name that keeps scores of older stores valid"
        assert ("too few" in scorer["why"]) == (model == "auto")

        def never() -> Any:
            raise AssertionError("the server was started for nothing")

        again = run(project, store, own=EmbeddedModel(lambda: weights, never))
        assert again.accepted == result.accepted


def test_auto_fits_no_model_if_each_input_has_one_candidate(tmp_path: Path) -> None:
    """An input written for an output has one candidate, and so has each input with `generate.forward.n = 1`: no model
    is fitted or started, however many good texts there are. With an input seed that gets several answers, one is."""
    project = Project(tmp_path, tiny.spec(score={"model": "auto"}))
    one_each = parse('generate.forward.n = 1\n[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "s.txt"', tmp_path)
    outputs = [Seed(kind="output", text=f"must be {words(9, n)}", source=f"{n}") for n in range(40)]

    def never() -> Any:
        raise AssertionError("a model was looked for")

    async def chosen(project: Project, *seeds: Seed) -> Any:
        async with AsyncExitStack() as opened:
            return await choose(project, seeds, opened, EmbeddedModel(never, never))

    asked = Seed(kind="input", text="a red fox", source="0")
    assert asyncio.run(chosen(project, *outputs)) is None
    assert asyncio.run(chosen(one_each, asked, *outputs)) is None
    with pytest.raises(AssertionError, match="a model was looked for"):
        asyncio.run(chosen(project, asked, *outputs))


def test_a_cancelled_fit_ends_at_its_next_report(tmp_path: Path) -> None:
    """After Ctrl-C the process waited in silence for the whole fit, which takes minutes."""
    project = Project(tmp_path, tiny.spec(score={"model": "auto"}))
    weights = Weights(tiny.language_model(tmp_path / "lm"), "rev", "test")
    texts = [Seed(kind="output", text=f"must be {words(9, n)}", source=f"{n}") for n in range(40)]
    asked, reports, ended = Seed(kind="input", text="a red fox", source="0"), list[str](), threading.Event()

    async def cancelled() -> None:
        def report(stage: str, _: Any) -> None:
            reports.append(stage)
            loop.call_soon_threadsafe(choosing.cancel)
            ended.wait(60)

        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as opened:
            own = EmbeddedModel(lambda: weights, scoring_server)
            choosing = asyncio.ensure_future(choose(project, [asked, *texts], opened, own, progress=report))
            try:
                await choosing
            finally:
                ended.set()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())  # waits for the threads
    assert len(reports) == 1
    assert not list(tmp_path.glob("artifacts/reward-*"))


def test_auto_fits_a_model_once_and_records_it(tmp_path: Path) -> None:
    """With enough excellent seeds the fitted model scores, or relevance if the model is no better than length."""
    project = Project(tmp_path, tiny.spec(score={"model": "auto"}))
    weights = Weights(tiny.language_model(tmp_path / "lm"), "rev", "test")
    frame = words(6, 1).split()
    excellent = [
        Seed(kind="output", text=" ".join(f"{f} {words(2, n * 9 + k)} ," for k, f in enumerate(frame)), source=f"{n}")
        for n in range(34)
    ]
    with Store.open(Store.url_for(project)) as store:
        tiny.pool(store, project, {"ban": [f"must {words(9, n)}" for n in range(3)]})
        store.set_active_seeds([*store.active_seeds(), *excellent])
        result = run(project, store, own=EmbeddedModel(lambda: weights, scoring_server))
        facts = result.facts["scorer"]
        in_test = sum(split_of(s.id, project.spec.split) == "test" for s in excellent)
        assert facts["examples"] == 34 - in_test
        assert result.counts.adds_up
        assert result.counts.accepted == 1
        fitted = facts["by"] == "score/bradley_terry@1"
        assert fitted == facts["beats_length"]
        assert len(store.artifacts("reward_model")) == fitted
        again = run(project, store, own=EmbeddedModel(lambda: weights, scoring_server))
        assert again.facts["verdicts_appended"] == 0
        assert again.facts["scorer"] == facts
