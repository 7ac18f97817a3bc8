"""Tests of answers that were requested before their price was known."""

from __future__ import annotations

import pytest

from schemas.records import Sampling, Usage
from schemas.spec import Spec
from tests.train.evaluation.test_verdict import evaluation
from train.evaluation.metrics import MODES, Evaluation
from train.evaluation.priced import priced
from train.evaluation.verdict import verdict


def evaluation_at(usd: float | None = None, usage: Usage | None = None, model: str = "big") -> Evaluation:
    """60 sampled and 60 greedy answers of a teacher; the token totals are not multiples of 60."""
    seen = evaluation(tuned=0.9, teacher=0.9, teacher_usd=usd)
    usage = Usage(prompt_tokens=6_010, completion_tokens=90) if usage is None else usage
    *others, teacher, tuned = seen.systems
    modes = {mode: getattr(teacher, mode).model_copy(update={"usage": usage}) for mode in ("sampled", "greedy")}
    return seen.model_copy(update={"systems": (*others, teacher.model_copy(update={**modes, "model": model}), tuned)})


def spec(**teacher: object) -> Spec:
    priced_at = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 8.0}
    return Spec.model_validate(
        {
            "task": {"name": "t", "style": "Long."},
            "teacher": {"url": "http://gpu:8000", "model": "big", **priced_at, **teacher},
        }
    )


def test_a_price_set_later_applies_to_earlier_answers() -> None:
    """6,010 prompt and 90 answer tokens for 60 answers are $0.01274: the verdict has the teacher's price and the
    break-even, and says that it is the current price."""
    conclusion = verdict(priced(evaluation_at(), spec()))
    assert conclusion.teacher_usd_per_1000 == pytest.approx(0.01274 / 60 * 1000)
    assert conclusion.break_even == round(100_000 / (0.01274 / 60 * 1000))
    assert any("at the current price (pairsmith.toml)" in line for line in conclusion.because)


@pytest.mark.parametrize(
    ("seen", "teacher"),
    [
        (evaluation_at(usd=0.06), {}),
        (evaluation_at(usd=0.0), {}),
        (evaluation_at(usage=Usage()), {}),
        (evaluation_at(model="other"), {}),
        (evaluation_at(), {"usd_per_million_prompt_tokens": None}),
    ],
    ids=["bought at another price", "free then", "no tokens counted", "another model", "no price now"],
)
def test_other_answers_keep_their_price(seen: Evaluation, teacher: dict[str, object]) -> None:
    """A recorded cost stays, and an unknown one stays unknown."""
    assert priced(seen, spec(**teacher)) == seen


def test_a_batch_price_is_not_that_of_single_requests() -> None:
    """A teacher without a temperature gives the answers of generation as its greedy ones, at half the price in a batch,
    or as one of four samples of a request: the break-even is that of single requests."""
    single = 0.01274
    batch, seen = evaluation_at(usd=single / 2), evaluation_at(usd=single / 4)
    batch = batch.model_copy(update={"outputs": tuple(o.model_copy(update={"seconds": 0.0}) for o in batch.outputs)})
    *others, teacher, tuned = seen.systems
    same = teacher.model_copy(update={"sampling": Sampling(max_tokens=9), "greedy_sampling": Sampling(max_tokens=9)})
    shared = seen.model_copy(update={"systems": (*others, same, tuned)})
    for evaluation_, recorded in ((batch, single / 2), (shared, single / 4)):
        assert verdict(evaluation_).teacher_usd_per_1000 == pytest.approx(recorded / 60 * 1000)
        shown = priced(evaluation_, spec())
        assert verdict(shown).teacher_usd_per_1000 == pytest.approx(single / 60 * 1000)
        assert any("one by one was not recorded" in line for line in verdict(shown).because)
        assert shown.system("tuned") == evaluation_.system("tuned")


def test_a_single_sample_has_its_recorded_price() -> None:
    """One sample, and a teacher without a temperature: its request asked for nothing else, so what it cost is the
    price, and the note that it was not recorded would be wrong."""
    seen = evaluation_at(usd=0.06)
    *others, teacher, tuned = seen.systems
    same = {"sampling": Sampling(max_tokens=9), "greedy_sampling": Sampling(max_tokens=9)}
    for shared in (False, True):
        greedy = teacher.greedy.model_copy(update={"shared": shared})
        one = teacher.model_copy(update={**same, "greedy": greedy})
        shown = priced(seen.model_copy(update={"systems": (*others, one, tuned)}), spec())
        assert (shown.system("teacher").priced_by == "") == (not shared)
        assert (verdict(shown).teacher_usd_per_1000 == pytest.approx(1.0)) == (not shared)


@pytest.mark.parametrize("priced_now", ["sampled", "greedy"])
def test_a_recorded_cost_is_not_called_the_current_price(priced_now: str) -> None:
    """Where only one mode was bought before the price was known, the words "at the current price" stand beside its
    cost and never beside the recorded cost of the other mode: greedy ones, if they have a cost."""
    seen = evaluation_at(usd=0.06)
    *others, teacher, tuned = seen.systems
    unknown = getattr(teacher, priced_now).model_copy(update={"usd": None})
    one = teacher.model_copy(update={priced_now: unknown})
    shown = priced(seen.model_copy(update={"systems": (*others, one, tuned)}), spec())
    conclusion, teacher = verdict(shown), shown.system("teacher")
    for mode in MODES:  # beside each in the report
        assert getattr(teacher, mode).at_current_price == (mode == priced_now)
    is_current = priced_now == "greedy"
    assert conclusion.teacher_usd_per_1000 == pytest.approx(0.01274 / 60 * 1000 if is_current else 1.0)
    assert any("current price" in line for line in conclusion.because) == is_current


def test_prices_by_prompt_length_apply_per_request() -> None:
    """A price list that charges twice as much for prompts over 200,000 tokens does not treat 60 prompts as one long
    one."""
    gemini = {"url": "https://generativelanguage.googleapis.com/v1beta/openai", "model": "gemini-2.5-pro"}
    unpriced = dict.fromkeys(("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens"))
    short = evaluation_at(usage=Usage(prompt_tokens=600_000, completion_tokens=6_000), model="gemini-2.5-pro")
    long = evaluation_at(usage=Usage(prompt_tokens=60 * 300_000, completion_tokens=6_000), model="gemini-2.5-pro")
    each = [priced(one, spec(**gemini, **unpriced)).system("teacher").usd_per_1000 for one in (short, long)]
    assert None not in each
    assert each[0] == pytest.approx((10_000 * 1.25 + 100 * 10) / 1000)
    assert each[1] == pytest.approx((300_000 * 2.5 + 100 * 15) / 1000)
