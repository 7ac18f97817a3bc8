"""Tests of what would change a verdict: each line, carried out alone, changes it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.train.evaluation.test_verdict import evaluation
from train.evaluation.verdict import FORM_ONLY_NOTE, verdict


@pytest.mark.parametrize(
    "rates",
    [
        {"base": 0.27, "few-shot": 0.35, "retrieval": 0.3, "tuned": 0.3},
        {"base": 0.1, "few-shot": 0.6, "retrieval": 0.2, "tuned": 0.15},
        {"base": 0.3, "few-shot": (0.3, 0.6), "retrieval": 0.3, "tuned": 0.3},
    ],
)
def test_a_lead_over_one_of_several_prompts_is_not_stated_alone(rates: dict[str, Any]) -> None:
    """Tuned ties with several prompts that pass differently often, or loses to one. A lead over the weakest changes
    nothing, but was stated on a line of its own, which the report read out as the change; a lead over all of them does.
    """
    seen = verdict(evaluation(**rates))
    assert seen.fine_tune == "do not fine-tune"
    (flip,) = seen.flips_when
    leads = re.findall(r"(?:led|and) ([a-z, -]+) by about (\d+) points?( \(\w+\))?", flip)
    assert len([name for names, *_ in leads for name in names.split(", ")]) == 3
    most = [0.0, 0.0]
    for names, points, mode in leads:
        for name in names.split(", "):
            rate = rates[name]
            pair = rate if isinstance(rate, tuple) else (rate, rate)
            for at in (0, 1) if not mode else ("sampled" not in mode,):
                most[at] = max(most[at], pair[at] + int(points) / 100 + 0.05)
    enough = tuple(max(rate, 0.1) for rate in most)
    assert verdict(evaluation(**{**rates, "tuned": (enough[0], enough[1])})).fine_tune != "do not fine-tune"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tuned", "few_shot", "asks_for_a_lead"),
    [((0.5, 0.4), (0.47, 0.25), True), ((0.7, 0.45), (0.45, 0.6), True), ((0.8, 0.6), (0.65, 0.55), False)],
)
def test_more_inputs_are_stated_only_where_they_decide(
    tuned: tuple[float, float], few_shot: tuple[float, float], asks_for_a_lead: bool
) -> None:
    """With ever more inputs and the same rates, tuned stays undecided against a prompt that does as well under its own
    best decoding, or that is ahead under one: "about 170 more test inputs" left the verdict as it was."""
    rates: dict[str, Any] = {"tuned": tuned, "few-shot": few_shot}
    seen = verdict(evaluation(inputs=40, **rates))
    assert seen.decision == "not enough evidence"
    (flip,) = seen.flips_when
    assert ("tuned led few-shot by about" in flip) == asks_for_a_lead, flip
    assert ("more test inputs" in flip) != asks_for_a_lead
    later = verdict(evaluation(inputs=400, **rates))
    assert (later.fine_tune != "not enough evidence") != asks_for_a_lead


def test_more_inputs_are_those_that_confirm_a_lead() -> None:
    """At 15 inputs tuned leads few-shot by 13 points when greedy, and by none when sampled. Five more were stated,
    enough for the latter, although at 20 inputs nothing is decided."""
    rates: dict[str, Any] = {"tuned": (0.6, 0.73), "few-shot": (0.6, 0.6)}
    (flip,) = verdict(evaluation(inputs=15, **rates)).flips_when
    (more,) = re.findall(r"about (\d+) more test inputs", flip)
    assert verdict(evaluation(inputs=20, **rates)).decision == "not enough evidence"
    assert verdict(evaluation(inputs=15 + int(more), **rates)).decision != "not enough evidence"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "tuned", "ship_at"), [(60, 0.9, 0.5), (20, 1.0, 0.5), (120, 0.9, 0.8), (60, 0.35, 0.6)]
)
def test_the_stated_pass_rate_is_where_the_decision_changes(inputs: int, tuned: float, ship_at: float) -> None:
    """A model that passes 90 % ships at a bar of 50 %. "Fewer than 50 % passed" was said to change that, but at 60 %
    the bar already lies within the interval."""

    def decision(rate: float) -> str:
        return verdict(evaluation(inputs=inputs, tuned=rate), ship_at).decision

    (flip,) = [line for line in verdict(evaluation(inputs=inputs, tuned=tuned), ship_at).flips_when if "passed" in line]
    (percent,) = re.findall(r"about (\d+) % passed: evaluate.ship_at would lie within the interval", flip)
    beyond, within = (-1, 1) if flip.startswith("fewer than") else (1, -1)
    assert decision(int(percent) / 100 + beyond / inputs) == "not enough evidence"
    assert decision(int(percent) / 100 + 5 * within / inputs) == decision(tuned)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "tuned", "ship_at", "decision"),
    [
        (60, 0.9, 0.85, "ship"),
        (60, 0.45, 0.5, "do not ship"),
        (60, (0.45, 0.4), 0.5, "do not ship"),
        (60, (0.4, 0.6), 0.5, "ship"),
    ],
)
def test_the_inputs_that_decide_a_rate_at_the_bar_are_counted(
    inputs: int, tuned: float | tuple[float, float], ship_at: float, decision: str
) -> None:
    """While the bar lies within the interval, "more test inputs" were asked for without a number, which may be a dozen
    or thousands. Either decoding may be above the bar; below it are both."""
    seen = verdict(evaluation(inputs=inputs, tuned=tuned), ship_at)
    assert (seen.decision, seen.fine_tune) == ("not enough evidence", "fine-tune")
    (more,) = re.findall(r"about (\d+) more test inputs and the pass rate stayed the same", seen.flips_when[0])
    later = inputs + round(1.1 * int(more)) + 4
    assert verdict(evaluation(inputs=later, tuned=tuned), ship_at).decision == decision
    soon = inputs + round(0.7 * int(more))
    assert verdict(evaluation(inputs=soon, tuned=tuned), ship_at).decision == "not enough evidence"


@pytest.mark.parametrize(("inputs", "decision"), [(12, "not enough evidence"), (60, "do not ship")])
def test_few_inputs_decide_nothing_by_form_alone_either(inputs: int, decision: str) -> None:
    """Two of twelve labels in the right form were "do not ship"; below 20 inputs nothing is decided. What is stated
    beside a check of correctness is what it would leave open."""
    labels = {"check_names": ("label",)}
    seen = verdict(evaluation(inputs=inputs, tuned=2 / 12, base=2 / 12).model_copy(update=labels))
    assert seen.decision == decision
    assert FORM_ONLY_NOTE in seen.because
    assert seen.flips_when[0].startswith("each test input had a reference")
    assert ("; and there were about 8 more test inputs" in seen.flips_when[0]) == (inputs == 12)
    assert not any(line.startswith("tuned") for line in seen.flips_when)
