"""Sampling for review: known probabilities, logged so that draws can be reproduced, and unaffected by further
batches."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.review.acceptance import Drawn, acceptance_rates, needs_whole_pool, strata
from curate.review.population import Population
from curate.review.sampling import (
    REASONS,
    SHARE_KEYS,
    SamplingRow,
    divide,
    draw,
    frames,
    in_estimation_half,
    inclusion,
    order,
    permanent_random_number,
    sample,
    targets,
)
from schemas.records import content_id
from schemas.reviews import Sampled, SamplingReason
from schemas.spec import ReviewSettings, ReviewShares


def population(rows: int = 40) -> list[SamplingRow]:
    """Every fifth row is rejected by a gate; every third of the others is accepted."""
    return [
        SamplingRow(
            pair_id=content_id("pair", number),
            passed=number % 5 != 0,
            accepted=number % 5 != 0 and number % 3 == 0,
            disagreement=(number % 7) / 7,
            margin=(number % 11) / 11,
        )
        for number in range(rows)
    ]


SIZES: dict[SamplingReason, int] = {"certify": 8, "audit_accepted": 4, "audit_rejected": 5, "disagree": 2, "border": 1}
RUNS = 10_000


def _within(times: int, probability: float, runs: int) -> bool:
    """Within 4.5 standard errors: with the 40 rows of a test, one test in 3,700 would fail by chance."""
    return abs(times / runs - probability) <= 4.5 * math.sqrt(probability * (1 - probability) / runs) + 1e-12


@pytest.mark.slow
def test_ten_thousand_draws_match_the_logged_probabilities() -> None:
    """Over 10,000 seeds every row is drawn as often as its inclusion probability says, given its half, and for each
    reason as often as size / population; including rows that several reasons may choose."""
    rows = population()
    total, by_reason = Counter[str](), Counter[tuple[str, str]]()
    claimed, claimed_by_reason = defaultdict[str, float](float), defaultdict[tuple[str, str], float](float)
    for seed in range(RUNS):
        of = frames(rows, seed)
        sizes = {reason: min(SIZES.get(reason, 0), len(of[reason])) for reason in of}
        probability = inclusion(of, sizes)
        for id_, p in probability.items():
            claimed[id_] += p / RUNS
        for reason in sizes:
            for id_ in of[reason]:
                claimed_by_reason[id_, reason] += sizes[reason] / len(of[reason]) / RUNS
        for drawn in draw(of, SIZES, seed):
            assert drawn.probability == pytest.approx(probability[drawn.pair_id])
            total[drawn.pair_id] += 1
            by_reason.update((drawn.pair_id, reason) for reason, _ in drawn.draws)
    for row in rows:
        assert _within(total[row.pair_id], claimed[row.pair_id], RUNS)
    for one, p in claimed_by_reason.items():
        assert _within(by_reason[one], p, RUNS)


def test_two_batches_are_one_sample() -> None:
    """Rows drawn in two batches are the same as in one, none is drawn twice, and the probability is that of both
    batches together."""
    for seed in range(50):
        of = frames(population(60), seed)
        once = {d.pair_id for d in draw(of, {"certify": 12}, seed)}
        first = draw(of, {"certify": 5}, seed)
        sampled = {"certify": {d.pair_id for d in first}}
        second = draw(of, {"certify": 7}, seed, sampled)
        assert {d.pair_id for d in first} | {d.pair_id for d in second} == once
        assert not {d.pair_id for d in first} & {d.pair_id for d in second}
        assert [d.probability for d in second] == [pytest.approx(12 / len(of["certify"]))] * len(second)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.data())
def test_draw_can_be_reproduced_from_its_log(seed: int, size: int, data: st.DataObject) -> None:
    """Seed, population, size and the hash of the frame are enough to verify that a row belongs to the sample."""
    rows = data.draw(st.permutations(population()))
    of = frames(rows, seed)
    for drawn in draw(of, {"certify": size, "audit_rejected": size}, seed):
        for reason, log in drawn.draws:
            assert log.population == len(of[reason])
            assert log.frame == content_id("frame", sorted(of[reason]))
            assert drawn.pair_id in order(log.seed, reason, of[reason])[: log.size]
            assert log.size == min(size, len(of[reason]))


def test_added_rows_do_not_reorder_the_sample() -> None:
    """More candidates do not reshuffle the sample: the order of the old rows stays, and the sample is a prefix."""
    small, large = frames(population(80), 3), frames(population(120), 3)
    old = order(3, "certify", small["certify"])
    assert tuple(id_ for id_ in order(3, "certify", large["certify"]) if id_ in set(old)) == old
    sampled = {d.pair_id for d in draw(small, {"certify": 10}, 3)}
    more = draw(large, {"certify": 6}, 3, {"certify": sampled})
    now = sample(3, "certify", large["certify"], sampled | {d.pair_id for d in more})
    assert tuple(now) == order(3, "certify", large["certify"])[: len(now)]
    assert {d.pair_id for d in more} <= set(now)


def test_certify_draws_from_everything_that_passed_the_gates_and_nothing_else() -> None:
    """Whatever the scores, the certificate's sample is a simple random sample of the rows that passed."""
    rows = [*population(), SamplingRow("f" * 32, passed=None)]
    of = targets(rows)
    assert set(of["certify"]) == {row.pair_id for row in rows if row.passed}
    assert set(frames(rows, 1)["certify"]) == {
        row.pair_id for row in rows if row.passed and in_estimation_half(1, row.pair_id)
    }
    assert set(of["audit_rejected"]).isdisjoint(of["audit_accepted"])
    assert all("f" * 32 not in frame for frame in of.values()), "a row that no gate could judge waits"


def test_reasons_are_in_order_and_a_row_is_shown_once() -> None:
    """A row that two reasons choose comes once with both, those of random samples first."""
    drawn = draw(targets(population()), dict.fromkeys(REASONS, 40), 1)
    ids = [d.pair_id for d in drawn]
    assert len(ids) == len(set(ids)) == 40
    for one in drawn:
        order = [REASONS.index(reason) for reason, _ in one.draws]
        assert order == sorted(order)
    assert {d.probability for d in drawn} == {1.0}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 500))
def test_batch_is_divided_without_a_remainder(batch: int) -> None:
    """The parts of a batch add up to it, each within one row of its share. The part of an empty frame goes to
    estimation, or to another reason with rows that the caller names."""
    of = targets(population())
    rows = divide(batch, ReviewShares(), of)
    assert sum(rows.values()) == batch
    assert all(abs(rows[reason] - getattr(ReviewShares(), SHARE_KEYS[reason]) * batch) < 1 for reason in rows)
    alone = divide(batch, ReviewShares(), {"certify": of["certify"]})
    assert alone == {"certify": batch} == divide(batch, ReviewShares(), {"certify": of["certify"]}, "fit")
    assert divide(batch, ReviewShares(), {"fit": of["fit"]}, "fit") == {"fit": batch}


def test_actively_chosen_rows_never_enter_the_estimate() -> None:
    """A row chosen only by `border`, `disagree` or `fit` does not count, however many answers it has."""
    rows = population(100)
    of = frames(rows, 5)
    random_ids = {d.pair_id for d in draw(of, {"certify": 20}, 5)}
    active = {d.pair_id for d in draw(of, {"border": 3, "disagree": 3, "fit": 10}, 5)}
    assert not active & random_ids
    sampled: dict[SamplingReason, set[str]] = {
        "certify": random_ids,
        "border": active,
        "disagree": active,
        "fit": active,
    }
    good = dict.fromkeys(random_ids, True)
    assert active
    parts = strata(Drawn(rows, sampled, 5), {**good, **dict.fromkeys(active, False)})
    assert parts == strata(Drawn(rows, sampled, 5), good)
    assert sum(part.reviewed for part in parts) == 20
    assert all(part.accepted == part.reviewed for part in parts)


def test_stratum_with_too_few_answers_is_pooled() -> None:
    """While the accepted rows have fewer than two answers, the estimate uses the simple random sample as a whole."""
    rows = [SamplingRow(content_id("pair", n), True, accepted=n < 2) for n in range(50)]
    best = {row.pair_id for row in rows if row.accepted}
    draws = ((s, order(s, "certify", frames(rows, s)["certify"])[:5]) for s in range(999))
    seed, chosen = next((s, ids) for s, ids in draws if not set(ids) & best)
    (one,) = strata(Drawn(rows, {"certify": set(chosen)}, seed), dict.fromkeys(chosen, True))
    assert one == (50, 5, 5)


BLIND_REASONS = {"certify", "audit_accepted", "audit_rejected"}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(10, 40))
def test_row_shown_with_an_opinion_is_never_drawn_blind(seed: int, batch: int) -> None:
    """Over the life of a project, with ten batches and a growing pool, no row is drawn for an estimate in one batch and
    for fitting, border or disagreement in another, in either order."""
    sampled: dict[SamplingReason, set[str]] = {}
    for turn in range(10):
        of = frames(population(40 + 5 * turn), seed, sampled)
        for drawn in draw(of, divide(batch, ReviewShares(), of), seed, sampled):
            for reason, _ in drawn.draws:
                sampled.setdefault(reason, set()).add(drawn.pair_id)
    blind = {id_ for reason, ids in sampled.items() if reason in BLIND_REASONS for id_ in ids}
    others = {id_ for reason, ids in sampled.items() if reason not in BLIND_REASONS for id_ in ids}
    assert blind
    assert others
    assert not blind & others


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.tuples(st.sampled_from([0.5, 0.95, 1.0]), st.integers(-10, 60)), max_size=8))
def test_changing_the_requested_share_draws_no_row_both_ways(seed: int, turns: list[tuple[float, int]]) -> None:
    """Whatever share is requested from one batch to the next, of a pool that grows and shrinks: no row is drawn both
    blind and with an opinion, and once rows of both halves are drawn for an estimate, all rows continue to belong to
    it."""
    sampled: dict[SamplingReason, set[str]] = {}
    size = 40
    for at_least, change in turns:
        size = max(5, size + change)
        rows = population(size)
        whole = needs_whole_pool(rows, sampled, seed, at_least)
        drawn_before = [(id_, reason) for reason, ids in sampled.items() for id_ in ids & {row.pair_id for row in rows}]
        other_half = any(reason in BLIND_REASONS and not in_estimation_half(seed, id_) for id_, reason in drawn_before)
        assert whole or not other_half or any(reason not in BLIND_REASONS for _, reason in drawn_before)
        of = frames(rows, seed, sampled, whole=whole)
        for drawn in draw(of, divide(20, ReviewShares(), of), seed, sampled):
            for reason, _ in drawn.draws:
                sampled.setdefault(reason, set()).add(drawn.pair_id)
    blind = {id_ for reason, ids in sampled.items() if reason in BLIND_REASONS for id_ in ids}
    assert not blind & {id_ for reason, ids in sampled.items() if reason not in BLIND_REASONS for id_ in ids}


def test_rows_drawn_both_ways_by_an_earlier_version_do_not_count() -> None:
    """In a store of the earlier version every blind answer still counts, in either half. A row that was also shown with
    an opinion does not, and neither is drawn again for a purpose it cannot serve."""
    rows, seed = population(200), 7
    of = targets(rows)
    old = {"certify": set(order(seed, "certify", of["certify"])[:60]), "fit": set(order(seed, "fit", of["fit"])[:40])}
    both = old["certify"] & old["fit"]
    assert both
    assert {in_estimation_half(seed, id_) for id_ in old["certify"] - both} == {True, False}
    sampled: dict[SamplingReason, set[str]] = {"certify": old["certify"], "fit": old["fit"]}
    parts = strata(Drawn(rows, sampled, seed), dict.fromkeys(old["certify"] | old["fit"], True))
    assert sum(part.reviewed for part in parts) == len(old["certify"] - both)
    drawn = draw(frames(rows, seed, sampled), dict.fromkeys(REASONS, 30), seed, sampled)
    for one in drawn:
        for reason, _ in one.draws:
            assert one.pair_id not in (old["fit"] if reason in BLIND_REASONS else old["certify"])


def test_estimation_half_is_independent_of_the_draw_order() -> None:
    """About half of the rows are in it, independent of the order in which a reason draws them."""
    ids = [content_id("pair", number) for number in range(4_000)]
    inside = {id_ for id_ in ids if in_estimation_half(1, id_)}
    assert abs(len(inside) - 2_000) < 150
    first = order(1, "certify", tuple(ids))[:2_000]
    assert abs(len(inside & set(first)) - 1_000) < 110


def test_draws_of_an_earlier_version_are_reproduced() -> None:
    """The strings that seed draws are frozen, whatever the spec calls the reasons, so that a sample can be
    continued."""
    assert permanent_random_number(1, "cert", "a" * 32) == 0.8486427848712643
    assert permanent_random_number(1, "certify", "a" * 32) == 0.8494064794387579
    assert list(SHARE_KEYS) == ["certify", "audit_accepted", "audit_rejected", "disagree", "border", "fit"]
    assert sorted(SHARE_KEYS.values()) == sorted(ReviewShares.model_fields)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_current_probabilities_weight_the_sample_to_the_population(whole: bool) -> None:
    """After any number of batches, the sum of 1 / probability over the counted rows equals the number of all rows in
    expectation, for half of the pool or the whole. The probabilities logged at each draw do not have that property
    after a second batch."""
    rows, runs = population(200), 400
    could_be_drawn = sum(row.passed is not None for row in rows)
    for batches in (1, 3):
        sums, as_logged = [], []
        for seed in range(runs):
            sampled: dict[SamplingReason, set[str]] = {}
            probabilities: dict[str, float] = {}
            for _ in range(batches):
                of = frames(rows, seed, sampled, whole=whole)
                for drawn in draw(of, divide(24, ReviewShares(), of), seed, sampled):
                    probabilities.setdefault(drawn.pair_id, drawn.probability / (1 if whole else 2))
                    for reason, _ in drawn.draws:
                        sampled.setdefault(reason, set()).add(drawn.pair_id)
            now = Drawn(rows, sampled, seed, whole).inclusion_probabilities
            assert set(now) == {id_ for reason, ids in sampled.items() if reason in BLIND_REASONS for id_ in ids}
            sums.append(sum(1 / p for p in now.values()))
            as_logged.append(sum(1 / probabilities[id_] for id_ in now))
        assert abs(sum(sums) / runs / could_be_drawn - 1) < 0.05
        assert batches == 1 or sum(as_logged) / runs / could_be_drawn > 1.3


def test_answers_set_aside_by_a_larger_pool_are_counted() -> None:
    """Rows that join a pool have their place in the draw order: until those before the end of the sample are drawn, the
    answers after them wait, and the status can say how many."""
    small, seed = population(80), 3
    sampled = {"certify": {d.pair_id for d in draw(frames(small, seed), {"certify": 20}, seed)}}
    answers = dict.fromkeys(sampled["certify"], True)
    assert acceptance_rates(Drawn(small, sampled, seed), answers).set_aside == 0
    large = population(90)
    aside = acceptance_rates(Drawn(large, sampled, seed), answers).set_aside
    assert 0 < aside < 20
    more = {d.pair_id for d in draw(frames(large, seed), {"certify": 20}, seed, sampled)}
    assert acceptance_rates(Drawn(large, {"certify": sampled["certify"] | more}, seed), answers).set_aside == 0


class _Read(Sequence[SamplingRow]):
    """Rows that count how often all of them are read."""

    def __init__(self, rows: Sequence[SamplingRow]) -> None:
        self.rows, self.times = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        return self.rows[at]

    def __iter__(self) -> Iterator[SamplingRow]:
        self.times += 1
        return iter(self.rows)


def test_an_answer_does_not_read_the_pool() -> None:
    """Rates after one more answer read no row of the pool again, and are what a fresh computation gives. Each answer on
    the review page had sorted and hashed 100,000 rows (2.3 s of CPU)."""
    rows = population(200)
    sampled: dict[SamplingReason, set[str]] = defaultdict(set)
    for row in draw(frames(rows, 3), SIZES, 3):
        for reason, _ in row.draws:
            sampled[reason].add(row.pair_id)
    ids = sorted({id_ for of_reason in sampled.values() for id_ in of_reason})
    drawn = Drawn(read := _Read(rows), sampled, 3)
    before = {id_: number % 4 > 0 for number, id_ in enumerate(ids[:-2])}
    assert acceptance_rates(drawn, before) == acceptance_rates(Drawn(rows, sampled, 3), before)
    probabilities, times = drawn.inclusion_probabilities, read.times
    for answers in (before | {ids[-2]: False}, before | {ids[-2]: True, ids[-1]: False}):
        unsettled = ids[:1]
        assert acceptance_rates(drawn, answers, 0.9, unsettled) == acceptance_rates(
            Drawn(rows, sampled, 3), answers, 0.9, unsettled
        )
    assert (drawn.inclusion_probabilities, read.times) == (probabilities, times)
    whole = Population(cast(Any, None), {row.pair_id: row for row in rows}, {}, {}, {}, ())
    records = {id_: [Sampled(pair_id=id_, reason="certify", sampling_probability=0.5, dataset="d")] for id_ in ids[:5]}
    kept = whole.drawn(records, ReviewSettings())
    assert whole.drawn(records, ReviewSettings()) is kept
    assert whole.drawn({ids[0]: records[ids[0]]}, ReviewSettings()) is not kept
