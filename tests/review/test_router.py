"""The draws: known probabilities, logged so that they can be drawn again, and never mixed up by a second batch."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.review.pool import strata
from curate.review.router import (
    REASONS,
    RouterRow,
    divide,
    draw,
    frames,
    inclusion,
    order,
    sample,
)
from schemas.records import RoutingReason, content_id
from schemas.spec import ReviewShares


def pool(rows: int = 40) -> list[RouterRow]:
    """Every fifth row is rejected by a gate; every third of the others is accepted."""
    return [
        RouterRow(
            pair_id=content_id("pair", number),
            passed=number % 5 != 0,
            accepted=number % 5 != 0 and number % 3 == 0,
            disagreement=(number % 7) / 7,
            border=(number % 11) / 11,
        )
        for number in range(rows)
    ]


WANTED: dict[RoutingReason, int] = {"certify": 8, "audit_accepted": 4, "audit_rejected": 5, "disagree": 2, "border": 1}
RUNS = 10_000


def _within(times: int, probability: float, runs: int) -> bool:
    """Within 4.5 standard errors: of the 40 rows of a test, one in 3,700 tests would miss by chance."""
    return abs(times / runs - probability) <= 4.5 * math.sqrt(probability * (1 - probability) / runs) + 1e-12


def test_drawing_again_ten_thousand_times_gives_the_logged_probabilities() -> None:
    """Over 10,000 seeds every row is chosen as often as its total inclusion probability says, and each reason's
    sample as often as size / population; rows that several reasons may choose included."""
    rows = pool()
    of = frames(rows)
    sizes = {reason: min(WANTED.get(reason, 0), len(of[reason])) for reason in of}
    claimed = inclusion(of, sizes)
    total, by_reason = Counter[str](), Counter[tuple[str, str]]()
    for seed in range(RUNS):
        for drawn in draw(of, WANTED, seed):
            assert drawn.probability == pytest.approx(claimed[drawn.pair_id])
            total[drawn.pair_id] += 1
            by_reason.update((drawn.pair_id, reason) for reason, _ in drawn.draws)
    for row in rows:
        assert _within(total[row.pair_id], claimed.get(row.pair_id, 0.0), RUNS)
    for reason in ("certify", "audit_accepted", "audit_rejected", "disagree"):
        for id_ in of[reason]:  # type: ignore[index]
            assert _within(by_reason[id_, reason], sizes[reason] / len(of[reason]), RUNS)  # type: ignore[index]


def test_two_batches_are_one_sample() -> None:
    """Drawn in two goes, the rows are those of one go, no row comes twice, and the probability is that of both."""
    of = frames(pool())
    for seed in range(50):
        once = {d.pair_id for d in draw(of, {"certify": 12}, seed)}
        first = draw(of, {"certify": 5}, seed)
        routed = {"certify": {d.pair_id for d in first}}
        second = draw(of, {"certify": 7}, seed, routed)
        assert {d.pair_id for d in first} | {d.pair_id for d in second} == once
        assert not {d.pair_id for d in first} & {d.pair_id for d in second}
        assert {d.probability for d in second} == {12 / len(of["certify"])}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.data())
def test_a_logged_draw_can_be_drawn_again_from_its_log(seed: int, size: int, data: st.DataObject) -> None:
    """Seed, population, size and the frame's hash are enough to check that a row was rightly in the sample."""
    rows = data.draw(st.permutations(pool()))
    of = frames(rows)
    for drawn in draw(of, {"certify": size, "audit_rejected": size}, seed):
        for reason, log in drawn.draws:
            assert log.population == len(of[reason])
            assert log.frame == content_id("frame", sorted(of[reason]))
            assert drawn.pair_id in order(log.seed, reason, of[reason])[: log.size]
            assert log.size == min(size, len(of[reason]))


def test_rows_that_join_or_leave_move_no_other_row() -> None:
    """More candidates do not reshuffle the sample: the order of the old rows stays, and the sample is a prefix."""
    small, large = frames(pool(40)), frames(pool(60))
    old = order(3, "certify", small["certify"])
    assert tuple(id_ for id_ in order(3, "certify", large["certify"]) if id_ in set(old)) == old
    routed = {d.pair_id for d in draw(small, {"certify": 10}, 3)}
    more = draw(large, {"certify": 6}, 3, {"certify": routed})
    now = sample(3, "certify", large["certify"], routed | {d.pair_id for d in more})
    assert tuple(now) == order(3, "certify", large["certify"])[: len(now)]
    assert {d.pair_id for d in more} <= set(now)


def test_certify_draws_from_everything_that_passed_the_gates_and_nothing_else() -> None:
    """Whatever the scores say, the certificate's sample is a plain random one of the rows that passed."""
    rows = [*pool(), RouterRow("f" * 32, passed=None)]
    of = frames(rows)
    assert set(of["certify"]) == {row.pair_id for row in rows if row.passed}
    assert set(of["audit_rejected"]).isdisjoint(of["audit_accepted"])
    assert all("f" * 32 not in frame for frame in of.values()), "what no gate could judge waits"


def test_reasons_are_told_in_their_order_and_a_row_is_shown_once() -> None:
    """A row that two reasons choose comes once, with both, and what is drawn at random comes first."""
    of = frames(pool())
    drawn = draw(of, dict.fromkeys(REASONS, 40), 1)
    ids = [d.pair_id for d in drawn]
    assert len(ids) == len(set(ids)) == 40
    for one in drawn:
        told = [REASONS.index(reason) for reason, _ in one.draws]
        assert told == sorted(told)
    assert {d.probability for d in drawn} == {1.0}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 500))
def test_a_batch_is_divided_without_a_rest(batch: int) -> None:
    """The parts of a batch add up to it, each within one row of its share; an empty frame's part goes to certify."""
    of = frames(pool())
    rows = divide(batch, ReviewShares(), of)
    assert sum(rows.values()) == batch
    assert all(abs(rows[reason] - getattr(ReviewShares(), reason) * batch) < 1 for reason in rows)
    alone = divide(batch, ReviewShares(), {"certify": of["certify"]})
    assert alone == {"certify": batch}


def test_actively_chosen_rows_never_enter_the_estimate_alone() -> None:
    """What only `border`, `disagree` or `fit` chose is not counted, however many people answered it."""
    rows = pool()
    of = frames(rows)
    random_ids = {d.pair_id for d in draw(of, {"certify": 20}, 5)}
    active = {d.pair_id for d in draw(of, {"border": 3, "disagree": 3, "fit": 10}, 5)} - random_ids
    routed: dict[RoutingReason, set[str]] = {"certify": random_ids, "border": active, "disagree": active, "fit": active}
    good = dict.fromkeys(random_ids, True)
    assert active
    told = strata(rows, routed, {**good, **dict.fromkeys(active, False)}, 5)
    assert told == strata(rows, routed, good, 5)
    assert sum(part.reviewed for part in told) == 20
    assert all(part.accepted == part.reviewed for part in told)


def test_a_part_with_too_few_answers_is_pooled_with_the_random_sample() -> None:
    """While the accepted rows have fewer than two answers, the estimate stands on the plain random sample alone."""
    rows = [RouterRow(content_id("pair", n), True, accepted=n < 2) for n in range(50)]
    of = frames(rows)
    seed = next(s for s in range(999) if not set(order(s, "certify", of["certify"])[:5]) & set(of["audit_accepted"]))
    chosen = order(seed, "certify", of["certify"])[:5]
    (one,) = strata(rows, {"certify": set(chosen)}, dict.fromkeys(chosen, True), seed)
    assert one == (50, 5, 5)
