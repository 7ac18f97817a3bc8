"""Batches under a cap: the most that a batch may cost is held before it is submitted."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from schemas.errors import BudgetReached, SpecError
from schemas.money import Cost
from schemas.store.budget import Budget
from synth.ledger import Completion, Ledger
from tests.synth.batch_loopback import BatchProvider
from tests.synth.test_batch_leftovers import PRICE, spent
from tests.synth.test_batches import EVERY_FORM, SAMPLING, chat, with_batches

_MOST, _COST = 32.0, 2.5  # of an answer in a batch: its 64 tokens at most, and the 5 that it has


def ask_under_cap(provider: BatchProvider, folder: Path, usd: float, **price: float) -> list[object]:
    """The answers to twenty questions in batches, or their errors, under this cap of the project."""

    async def work(ledger: Ledger, lines: list[str]) -> list[object]:
        ledger.store.budget = Budget(ledger.store.spent(), project_usd=usd)
        asked = (ledger.complete(chat(f"dog {i}"), SAMPLING) for i in range(20))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert not provider.batches or usd >= 1_000 or [line for line in lines if "budget has no room for" in line]
        return [one if isinstance(one, BaseException) else one[0] for one in answers]

    answers: list[object] = with_batches(provider, folder, work, **(price or PRICE))
    return answers


def assert_never_above(batches: list[list[str]], usd: float, most: float, cost: float) -> None:
    used = 0.0
    for batch in batches:
        assert used + len(batch) * most <= usd
        used += len(batch) * cost


@EVERY_FORM
def test_batches_stay_under_a_cap(form: str, tmp_path: Path) -> None:
    """Only as many requests are submitted as the cap has room for at their highest price, and the others when the real
    cost of these is known. What does not fit then ends the run in order, and a higher cap continues it. A cap and
    --batch used to exclude each other."""
    factor = 2 if form == "together" else 1  # no discount
    most, cost = _MOST * factor, _COST * factor
    with BatchProvider(form) as provider:
        answers = ask_under_cap(provider, tmp_path, 70.0 * factor)
        assert sum(isinstance(one, Completion) for one in answers) == 16
        assert sum(isinstance(one, BudgetReached) for one in answers) == 4
        assert len(provider.batches[0]) == 2
        assert_never_above(provider.batches, 70.0 * factor, most, cost)
        assert spent(tmp_path).usd == 16 * cost
        answers = ask_under_cap(provider, tmp_path, 1_000.0)
        assert all(isinstance(one, Completion) for one in answers)
        assert (spent(tmp_path).usd, len(provider.batches[-1])) == (20 * cost, 4)


def test_nothing_is_submitted_for_which_a_cap_has_no_room(tmp_path: Path) -> None:
    """Not even one request fits, or nobody knows what one costs."""
    with BatchProvider("openai") as provider:
        (error,) = {str(one) for one in ask_under_cap(provider, tmp_path, 31.0)}
        assert "the budget of $31.00 does not cover a single request, which may cost $32.00" in error
        (kind,) = {type(one) for one in ask_under_cap(provider, tmp_path, 31.0, timeout_s=9)}
        assert (kind, provider.batches) == (SpecError, [])
    assert spent(tmp_path) == Cost()


def test_answers_of_unknown_cost_stay_reserved(tmp_path: Path) -> None:
    """The results of a batch have no token counts: their highest price counts, as for other answers under a cap."""
    with BatchProvider("openai") as provider:
        provider.wraps = lambda body: re.sub(rb',"usage":\{[^}]*\}', b"", body)
        answers = ask_under_cap(provider, tmp_path, 6.5 * _MOST)
        assert sum(isinstance(one, Completion) for one in answers) == 6
    assert (spent(tmp_path).reserved, spent(tmp_path).usd, len(provider.batches)) == (6 * _MOST, 0, 1)
