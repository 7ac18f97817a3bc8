"""The pool and its steps: every row is accounted for, a missing verdict never accepts, and reviewers outrank gates."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.curation import curate
from curate.gates import GateStep
from curate.gates.judgement import Judgement, crashed, passed, rejected
from curate.pool import Pool
from curate.rows import Row, fold
from curate.scorers import Score
from curate.split import recorded_splits
from curate.steps import Step, best, decontaminate, duplicates, each, id_of, named, scored, split
from schemas.errors import StoreError
from schemas.records import Candidate, Imported, Pair, Reason, Seed, Verdict
from schemas.reviews import Review
from schemas.spec import SplitSettings
from schemas.store import Store
from tests.curate import tiny

AT = datetime(2026, 1, 1, tzinfo=UTC)


def pair(output: str, input: str = "a fox", seed: str = "s1", n: int = 0) -> Pair:
    return Pair(seed_id=seed, input=input, output=output, system="", origin=Imported(source=f"row {n}"))


def run(pool: Pool, *steps: Step) -> Pool:
    return asyncio.run(curate(pool, steps))


def gate(name: str = "word", word: str = "good") -> GateStep:
    """Keeps an output that contains `word`, cannot judge one that contains "odd", and crashes on one that contains
    "bomb"."""

    def judge(pair: Pair) -> Judgement:
        if "bomb" in pair.output:
            raise RuntimeError("boom")
        if "odd" in pair.output:
            return Judgement(None, None, Reason("unsure", "it is odd"))
        return passed() if word in pair.output else rejected("missing", f"no {word}")

    return GateStep(f"gate/{name}@1", "settings", judge)


async def by_length(pairs: Sequence[Pair]) -> Sequence[Score]:
    """Scores by length. Crashes on "poison", alone or in a batch, and gives "blank" no score."""
    if any("poison" in pair.output for pair in pairs):
        raise RuntimeError("out of memory")
    return [
        Score(None, Reason("nan")) if "blank" in p.output else Score(float(len(p.output)), Reason("scored"))
        for p in pairs
    ]


def scorer() -> Step:
    return scored(by_length, "score/length@1", "settings")


async def silent(pool: Pool) -> AsyncIterator[Verdict]:
    """A step that yields no verdict."""
    for verdict in ():
        yield verdict


def outcome(pool: Pool) -> list[tuple[Any, ...]]:
    return [(row.candidate, row.keep, row.step, row.reason, row.score) for row in pool.rows()]


words = st.lists(st.sampled_from(["good", "odd", "bomb", "poison", "blank", "fox", "snow"]), max_size=4).map(" ".join)
pairs = st.lists(st.tuples(words, st.sampled_from(["a", "b"]), st.sampled_from(["s1", "s2"])), max_size=10)
decisions = st.lists(st.sampled_from([None, None, None, "accept", "reject", "edit"]), min_size=10, max_size=10)
orders = st.permutations(range(7))


def steps_of(order: Sequence[int], many: int) -> list[Step]:
    every: list[Step] = [
        each(gate()),
        each(gate("snow", "snow")),
        decontaminate({"s2": "good fox"}, 0.7),
        scorer(),
        best(1),
        duplicates(0.7),
        split(SplitSettings(), {}),
    ]
    return [every[at] for at in order[:many]]


def pool_of(rows: list[tuple[str, str, str]], decisions: list[str | None]) -> Pool:
    pairs = [pair(text, input, seed, n) for n, (text, input, seed) in enumerate(rows)]
    reviews = [
        Review(pair_id=p.id, reviewer="ann", decision=d, edited="good snow" if d == "edit" else None, at=AT)  # type: ignore[arg-type]
        for p, d in zip(pairs, decisions, strict=False)
        if d
    ]
    return Pool.of(pairs, reviews)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pairs, decisions, orders, st.integers(0, 7))
def test_every_row_is_counted_in_any_order_of_steps(
    rows: list[tuple[str, str, str]], decisions: list[str | None], order: list[int], many: int
) -> None:
    """For any steps, order and reviews: accepted + rejected + waiting adds up to the rows in, every row that is not
    accepted has one reason, the rows agree with the totals, and a second run changes nothing."""
    pool = run(pool_of(rows, decisions), *steps_of(order, many))
    counts = pool.counts
    assert counts.adds_up
    assert counts.rows_in == len(rows)
    assert sum(pool.reasons.values()) == counts.rows_in - counts.accepted
    judged = list(pool.rows())
    assert sum(row.keep is True for row in judged) == counts.accepted == len(list(pool.accepted()))
    assert sum(row.keep is False for row in judged) == counts.rejected
    codes = [row.reason.code for row in judged if row.reason]
    assert {code: codes.count(code) for code in codes} == pool.reasons
    assert outcome(run(pool, *steps_of(order, many))) == outcome(pool)


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(pairs, orders, st.integers(1, 7))
def test_accepted_row_has_a_keep_verdict_from_every_step(
    rows: list[tuple[str, str, str]], order: list[int], many: int
) -> None:
    """Without reviews, an accepted row has one verdict of each step, in order, and each of them keeps it."""
    pool = run(pool_of(rows, []), *steps_of(order, many))
    for row in pool.accepted():
        assert [(v.by, v.fingerprint) for v in row.verdicts] == [(step.by, step.settings) for step in pool.steps]
        assert all(verdict.keep for verdict in row.verdicts)


def test_row_without_verdict_stays_waiting() -> None:
    """A row without a verdict from some step stays waiting as `unjudged`, even if reviewers accepted it."""
    pairs = [pair("good", n=1), pair("good snow", n=2)]
    accepted = Review(pair_id=pairs[1].id, reviewer="ann", decision="accept", at=AT)
    pool = run(Pool.of(pairs, [accepted]), each(gate()), silent)
    assert [row.keep for row in pool.rows()] == [None, None]
    assert pool.reasons == {"unjudged": 2}


def test_scorer_crash_affects_only_its_row() -> None:
    """The rest of the batch is scored. The row itself waits as `crashed`, and only that row is scored again next
    time."""
    given = [pair(f"good {n} {'poison' if n == 7 else 'snow'}", seed=f"s{n}", n=n) for n in range(12)]
    pool = run(Pool.of(given), scorer(), best(1))
    keeps = [row.keep for row in pool.rows()]
    assert keeps == [None if n == 7 else True for n in range(12)]
    assert pool.reasons == {"crashed": 1}

    async def fixed(pairs: Sequence[Pair]) -> Sequence[Score]:
        assert [p.id for p in pairs] == [given[7].id], "only the crashed row is scored again"
        return [Score(1.0, Reason("scored"))]

    assert run(pool, scored(fixed, "score/length@1", "settings"), best(1)).counts.accepted == 12


def test_fold_is_the_least_of_false_none_true() -> None:
    """A rejection decides, then a step that could not judge; no verdicts at all is no objection."""
    assert fold([]) is True
    assert fold([True, None, True]) is None
    assert fold([None, False, True]) is False


def test_reviewers_outrank_gates_and_scores_but_not_contamination_and_duplicates() -> None:
    """A reviewer's accept overrides gates and scorers, but not contamination or a duplicate. A simulated review
    overrides nothing."""
    held = {"t": "an old fisherman mending a torn net"}
    texts = ["no", "odd", "bomb", "good blank", "an old fisherman mending a torn net!", "good one two", "good one two."]
    pairs = [pair(text, seed=f"s{n}", n=n) for n, text in enumerate(texts)]
    reviews = [Review(pair_id=p.id, reviewer="ann", decision="accept", at=AT) for p in pairs]
    steps = [each(gate()), decontaminate(held, 0.7), scorer(), best(1), duplicates(0.7)]
    pool = run(Pool.of(pairs, reviews), *steps)
    assert [row.keep for row in pool.rows()][:5] == [True, True, True, True, False]
    assert pool.reasons == {"contamination": 1, "duplicate": 1}
    simulated = [review.model_copy(update={"simulated": True}) for review in reviews]
    assert run(Pool.of(pairs[:1], simulated), *steps).counts.rejected == 1


def test_what_reviewers_write_for_a_test_row_is_held_out() -> None:
    """It is the reference that answers are compared with, so no training row may repeat it. What they write in the
    place of a generated output is no reference: a training row with it stays."""
    written = "An old net is mended by a fisherman at dawn."
    pairs = [pair("good for the test", seed="t"), pair("An old net is mended by a fisherman, at dawn!", "a net", "s")]
    edit = Review(pair_id=pairs[0].id, reviewer="ann", decision="edit", edited=written, at=AT)
    pool = run(Pool.of(pairs, [edit]), decontaminate({"t": "a fox"}, 0.7))
    assert (pool.counts.accepted, pool.reasons) == (1, {"contamination": 1})
    assert "edited output of test row" in str([row.reason for row in pool.rows()])
    assert run(Pool.of(pairs), decontaminate({"t": "a fox"}, 0.7)).counts.accepted == 2
    generated = tiny.made_pair(Seed(kind="input", text="a fox", source="s:1"), "good for the test", 0)
    edit = Review(pair_id=generated.id, reviewer="ann", decision="edit", edited=written, at=AT)
    pool = run(Pool.of([generated, pairs[1]], [edit]), decontaminate({generated.seed_id: "a fox"}, 0.7))
    assert pool.counts.accepted == 2


def test_row_with_disagreeing_reviewers_waits() -> None:
    """A row on which two reviewers disagree stays waiting, even though every step keeps it."""
    (one,) = pairs = [pair("good")]
    reviews = [Review(pair_id=one.id, reviewer=who, decision=d, at=AT) for who, d in (("a", "accept"), ("b", "reject"))]
    pool = run(Pool.of(pairs, reviews), each(gate()))
    (row,) = pool.rows()
    assert (row.keep, row.step) == (None, "review")
    assert pool.reasons == {"disagreement": 1}


def test_decisions_on_copies_are_combined_in_any_order() -> None:
    """Of an unreviewed copy, a rejection of the text outweighs that reviewers disagree about it, and an acceptance
    outweighs both, whichever row comes first. A decision on a copy is not counted as one of people."""
    texts = {"ann": "good", "bob": " good ", "cyd": "good\n", "": "good"}
    of_copy = {"undecided": None, "reject": False, "accept": True}
    for verdicts in permutations(of_copy):
        for some in (verdicts[:1], verdicts[:2], verdicts):
            rows = [pair(text, seed=f"s{n}", n=n) for n, text in enumerate(texts.values())]
            votes = {"undecided": ("accept", "reject"), "reject": ("reject",), "accept": ("accept",)}
            reviews = [
                Review(pair_id=row.id, reviewer=f"{n}", decision=vote, at=AT)  # type: ignore[arg-type]
                for row, verdict in zip(rows, some, strict=False)
                for n, vote in enumerate(votes[verdict])
            ]
            pool = run(Pool.of(rows, reviews), each(gate()))
            strongest = max(some, key=[*of_copy].index)
            *_, copy = pool.rows()
            assert (copy.keep, len(pool.decisions())) == (of_copy[strongest], len(some))
            assert copy.keep or "with the same texts" in str(copy.reason)


def test_no_cluster_of_near_duplicates_vanishes() -> None:
    """A duplicate always names an accepted row: a row that `best` outranked does not also remove its
    near-duplicates."""
    alike, other = "a red fox in deep snow at dawn", "a long text about something that is quite another thing"
    pairs = [pair(alike, "fox", "s1", 0), pair(f"{other} {other}", "fox", "s1", 1), pair(f"{alike}!", "dog", "s2", 2)]
    pool = run(Pool.of(pairs), scorer(), best(1), duplicates(0.7))
    assert [row.keep for row in pool.rows()] == [False, True, True]
    assert pool.reasons == {"outranked": 1}


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["good fox", "good fox!", "Good fox", "good snow"]), max_size=8), st.randoms())
def test_duplicates_name_an_accepted_row_whatever_the_order(texts: list[str], rng: Any) -> None:
    """Which row of a cluster is kept depends on the rows, not on their order in the store."""
    pairs = [pair(text, seed=f"s{n}", n=n) for n, text in enumerate(texts)]
    shuffled = pairs.copy()
    rng.shuffle(shuffled)
    pools = [run(Pool.of(some), duplicates(0.7)) for some in (pairs, shuffled)]
    accepted = [{row.pair.id for row in pool.accepted() if row.pair} for pool in pools]
    assert accepted[0] == accepted[1]
    for row in pools[0].rows():
        assert row.keep or any(id_ in str(row.reason) for id_ in accepted[0])


def test_duplicate_is_kept_by_split_then_review_then_score() -> None:
    """Of duplicates, the row of the test split is kept, then one of the validation split; within one split, a row that
    a reviewer accepted, then the one with the highest score, whichever id is larger."""
    texts = {"train": "good one two three", "validation": "good one two three!", "test": "Good one two three"}
    pairs = [pair(text, seed=part) for part, text in texts.items()]
    kept = run(Pool.of(pairs), duplicates(0.7, lambda seed_id: seed_id))  # type: ignore[arg-type,return-value]
    assert [row.candidate.seed_id for row in kept.accepted()] == ["test"]
    reviews = [Review(pair_id=pairs[0].id, reviewer="ann", decision="accept", at=AT)]
    kept = run(Pool.of(pairs[:2], reviews), duplicates(0.7, lambda seed_id: seed_id))  # type: ignore[arg-type,return-value]
    assert [row.candidate.seed_id for row in kept.accepted()] == ["validation"]
    twins = [pair("good 1 2", "a", "s1"), pair("good 1 2 !!", "A!", "s2")]
    for preferred in ("a", "A!"):  # one of them has the larger id
        by_score = scored(
            named(lambda one, preferred=preferred: float(one.input == preferred), f"score/{len(preferred)}@1")
        )
        kept = run(Pool.of(twins), by_score, duplicates(0.7))
        assert [row.pair.input for row in kept.accepted() if row.pair] == [preferred]
        other = next(twin for twin in twins if twin.input != preferred)
        reviews = [Review(pair_id=other.id, reviewer="ann", decision="accept", at=AT)]
        kept = run(Pool.of(twins, reviews), by_score, duplicates(0.7))
        assert [row.pair.id for row in kept.accepted() if row.pair] == [other.id]


def test_judging_returns_a_new_pool() -> None:
    """Judging returns a new pool and leaves the one before unchanged."""
    one = pair("good")
    before = Pool.of([one])
    step = id_of(each(gate()))
    verdict = Verdict(pair_id=one.id, by=step.by, fingerprint=step.settings, keep=False, reason=Reason("no"))
    after = before.judged_by(step, [verdict])
    assert [row.keep for row in before.rows()] == [True]
    assert [(row.keep, row.verdicts) for row in after.rows()] == [(False, (verdict,))]
    assert after.judged_by(step, [verdict.model_copy(update={"keep": True})]).counts.accepted == 1
    assert after.counts.rejected == 1


def test_rows_of_one_input_come_together() -> None:
    """Rows of one seed and input form one group, even if other rows lie between them or a reviewer edited one. Another
    seed or input is another group."""
    pairs = [pair(f"text {n}", input, seed, n) for n, (input, seed) in enumerate(("as", "bs", "as", "at"))]
    edit = Review(pair_id=pairs[2].id, reviewer="ann", decision="edit", edited="better", at=AT)
    groups = [[row.pair.output for row in rows if row.pair] for rows in Pool.of(pairs, [edit]).by_input()]
    assert groups == [["text 0", "better"], ["text 1"], ["text 3"]]


def test_a_pool_is_read_without_the_texts_of_its_pairs(tmp_path: Path) -> None:
    """Texts are read only where a step needs them: reading them with the pool would read most of them twice."""
    one = pair("a good fox")
    place = {"fingerprint": "g", "seed_id": one.seed_id, "generator": "imported", "sample": 0, "pair_id": one.id}
    with Store.open(f"sqlite:///{tmp_path / 'p.db'}") as store:
        store.write(Candidate.model_validate(place))  # without its pair
        pool = Pool.read(store, ["g"], {one.seed_id})
        assert one.id in pool
        store.write(one)
        assert [len(rows) for rows in pool.by_input()] == [1]


def test_step_id_depends_on_function_name_and_settings() -> None:
    """A plain function is identified by its module and name; other settings give another step id."""
    assert id_of(silent).by == "pool/tests.curate.test_pool.silent@1"
    assert id_of(silent) == id_of(silent)
    assert id_of(named(silent, "pool/mine@1", 1)) != id_of(named(silent, "pool/mine@1", 2))
    assert id_of(best(1)) != id_of(best(2))


def test_crashed_gate_leaves_the_row_waiting() -> None:
    """A gate that raises leaves the row waiting as `crashed`."""
    pool = run(Pool.of([pair("bomb")]), each(gate()))
    (row,) = pool.rows()
    assert (row.keep, row.reason) == (None, crashed("RuntimeError: boom").reason)


@pytest.mark.slow
def test_a_pool_becomes_a_dataset_of_its_accepted_rows() -> None:
    """The dataset has the accepted rows with their texts and scores, and no others."""
    pool = run(Pool.of([pair("good"), pair("bad", n=1)]), each(gate()), scorer())
    (row,) = pool.to_dataset()
    assert (row["output"], row["input"], row["score"]) == ("good", "a fox", 4.0)


def test_flags_decide_nothing() -> None:
    """A flag is kept with its verdict, and the row is accepted as if it had none."""

    async def flagging(pool: Pool) -> AsyncIterator[Verdict]:
        for row in pool.accepted():
            assert row.pair is not None
            yield Verdict(
                pair_id=row.pair.id, by="pool/f@1", fingerprint="", keep=True, reason=Reason("ok"), flags=("odd",)
            )

    rows: list[Row] = list(run(Pool.of([pair("good")]), flagging).rows())
    assert rows[0].keep is True
    assert [verdict.flags for verdict in rows[0].verdicts] == [("odd",)]


def test_source_use_setting_decides_the_split() -> None:
    """A source's `use` overrides the hash, and setting it changes the step's id; seeds without it leave the id
    unchanged."""
    plain, fresh = (Seed(kind="output", text=text, source="a.jsonl:1") for text in ("good one", "good two"))
    fresh = fresh.model_copy(update={"meta": {"use": "validation"}})
    nothing_held_out = SplitSettings(test=0, validation=0)
    step = split(nothing_held_out, recorded_splits([plain, fresh], nothing_held_out))
    pool = run(Pool.of([pair("good one", seed=plain.id), pair("good two", seed=fresh.id)]), step)
    assert [row.verdicts[-1].reason.code for row in pool.rows()] == ["train", "validation"]
    unset = recorded_splits([plain], nothing_held_out)
    assert id_of(split(nothing_held_out, unset)) == id_of(split(nothing_held_out, {})) != id_of(step)


def test_damaged_pair_in_store_is_a_store_error(tmp_path: Path) -> None:
    """A damaged pair raises a StoreError with a clear message, both while it is judged and where a step reads only its
    texts."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    whole = Pair(seed_id="s", input="a fox", output="A fox.", system="", origin=Imported(source="rows"))
    place = {"fingerprint": "g", "seed_id": "s", "generator": "imported", "sample": 0, "pair_id": whole.id}
    with Store.open(url) as store:
        store.write(whole, Candidate.model_validate(place))
    without_origin = '{"input": "a fox", "output": "A fox."}'
    for body in ('{"inp', '{"input": "a fox"}', without_origin):
        with sqlite3.connect(tmp_path / "p.db") as damage:
            damage.execute("UPDATE pairs SET body = ?", (body,))
        damage.close()
        with Store.open(url) as store:
            pool = Pool.read(store, ["g"], {"s"})
            with pytest.raises(StoreError, match="a Pair in it cannot be read"):
                asyncio.run(curate(pool, [each(kept_by_all)], store))
            if body != without_origin:
                with pytest.raises(StoreError, match="a Pair in it cannot be read"):
                    asyncio.run(curate(pool, [duplicates(0.7)]))


def kept_by_all(pair: Pair) -> bool:
    """Keeps every row."""
    return True
