"""The verdict: ship or not, fine-tune or not, and what would flip it, whichever way the numbers fall."""

from __future__ import annotations

import re

import pytest

from schemas.records import Sampling, Usage
from tests.train.test_metrics import output
from train.failures import REFUSAL
from train.intervals import Interval
from train.metrics import (
    MODES,
    NO_ANSWER,
    AdapterCheck,
    Evaluation,
    Mode,
    Output,
    SystemResult,
    compare_last,
    summarise,
)
from train.results_table import comparison_lines, systems_table
from train.verdict import in_words, relation, verdict

NAMES = ("base", "few-shot", "retrieval", "teacher", "tuned")


def evaluation(
    *, inputs: int = 60, teacher_usd: float | None = 0.0, cut: str = "", **rates: float | tuple[float, float]
) -> Evaluation:
    """Systems that pass the given share of inputs, sampled and greedy (a pair: different ones); the others 0.

    Who passes which input is spread so that the systems are independent, nearly.
    """

    def answers(name: str, mode: Mode) -> list[Output]:
        rate = rates.get(name, 0.0)
        share = rate if isinstance(rate, float | int) else rate[MODES.index(mode)]
        passes = {(at * 37 + NAMES.index(name) * 17) % inputs for at in range(round(share * inputs))}
        how = {"finish": "length"} if name == cut else {}
        return [output(name, f"s{at:03}", 0, at in passes, mode=mode, **how) for at in range(inputs)]

    given = {name: {mode: answers(name, mode) for mode in MODES} for name in NAMES}
    systems = []
    for name in NAMES:
        usd = teacher_usd if name == "teacher" else 0.0
        results = {mode: summarise(given[name][mode], Usage(), ("a",), usd) for mode in MODES}
        plain = {"model": "m", "revision": None, "system_prompt": "", "exemplars": 0}
        systems.append(SystemResult(name=name, names=(name,), **plain, **results))
    return Evaluation(
        id="e",
        adapter_id="a",
        test_set="t",
        checks_fingerprint="c",
        check_names=("a",),
        seeds=inputs,
        samples=1,
        sampling=Sampling(),
        greedy=Sampling(),
        concurrency=1,
        systems=tuple(systems),
        comparisons=compare_last([given[name] for name in NAMES]),
        adapter_check=AdapterCheck(text="x", base=-2, tuned=-1, base_again=-2, tokens=1),
        side_by_side=(),
        side_by_side_seed=1,
        outputs=tuple(one for of in given.values() for mode in MODES for one in of[mode]),
        calls_sent=0,
        calls_reused=0,
        usage=Usage(),
        usd=0.0,
        seconds=0.0,
    )


def test_a_clear_gain_over_every_prompt_ships() -> None:
    """Better than base, few-shot and retrieval, and above the bar; the teacher may be better still."""
    seen = verdict(evaluation(tuned=0.9, base=0.1, retrieval=0.3, teacher=1.0, **{"few-shot": 0.3}))
    assert (seen.decision, seen.fine_tune) == ("ship", "fine-tune")
    assert any("smaller (no longer significant)" in line for line in seen.flips_when)


@pytest.mark.parametrize(
    ("inputs", "base", "tuned"), [(30, 0.05, 0.6), (60, 0.05, 0.3), (60, 0.2, 0.6), (60, 0.4, 0.8), (120, 0.2, 0.45)]
)
def test_a_lead_that_is_so_much_smaller_is_not_told_apart(inputs: int, base: float, tuned: float) -> None:
    """Tried out: with a lead that is as much smaller as the verdict says, "better" is gone, and with one that loses 8
    points less it is not. The end of the shown interval, which stood there before, is too near: there it is better."""

    def better(rate: float) -> bool:
        one = evaluation(inputs=inputs, base=base, tuned=rate, teacher=1.0)
        return relation(one, one.system("base")) == "better"

    words = " ".join(verdict(evaluation(inputs=inputs, base=base, tuned=tuned, teacher=1.0)).flips_when)
    (points,) = re.findall(r"lead over base was about (\d+) points? smaller", words)
    assert not better(tuned - int(points) / 100)
    assert better(tuned - max(0.0, int(points) / 100 - 0.08))


def test_a_lead_that_is_of_groups_is_lost_by_groups() -> None:
    """Tuned passes all of twenty groups of five inputs, and the others none: eight groups are confirmed by no test of
    eight comparisons, so 60 points less are not told apart, and not 45, as single inputs would have it."""
    alone = evaluation(inputs=100, tuned=1.0)
    groups = {output.seed_id: f"{int(output.seed_id[1:]) // 5}" for output in alone.outputs}
    given = [alone.outputs_of(name) for name in NAMES]
    of_groups = alone.model_copy(update={"groups": groups, "comparisons": compare_last(given, groups)})
    (points,) = re.findall(r"lead over base was about (\d+) points smaller", " ".join(verdict(of_groups).flips_when))
    assert 55 <= int(points) <= 65


@pytest.mark.parametrize(
    ("names", "shipped"),
    [
        (("length", "label"), False),
        (("schema", "values"), False),
        (("length", "label", "check:reference"), True),
        (("schema", "check:near"), True),
        (("label", "user:rules:right"), True),
        (("length", "answered"), True),
    ],
)
def test_the_form_of_a_label_ships_nothing(names: tuple[str, ...], shipped: bool) -> None:
    """Where one answer is right, any label of the task passes the gates: unless a reference or a check or gate of the
    user's own says which, a model that is wrong each time would ship."""
    clear = evaluation(tuned=0.9, base=0.1, retrieval=0.3, teacher=1.0, **{"few-shot": 0.3})
    seen = verdict(clear.model_copy(update={"check_names": names}))
    assert (seen.decision == "ship", seen.fine_tune == "fine-tune") == (shipped, shipped)
    assert shipped or seen.decision == seen.fine_tune == "not enough evidence"
    assert shipped or "nothing checks whether a label or a record is correct" in seen.because[0]
    assert shipped or "reference" in seen.flips_when[0]
    beaten = evaluation(tuned=0.5, base=0.9).model_copy(update={"check_names": names})
    assert verdict(beaten).decision == "do not ship"


@pytest.mark.parametrize("rate", [1.0, 0.9])
def test_a_tie_in_form_does_not_say_that_a_prompt_does_as_well(rate: float) -> None:
    """Base and tuned both write a label of the task each time, and one of them may be wrong each time: nobody is told
    to take the base, nor that more test inputs would decide it."""
    seen = verdict(evaluation(tuned=1.0, base=rate).model_copy(update={"check_names": ("label",)}))
    assert seen.decision == seen.fine_tune == "not enough evidence"
    assert "nothing checks whether a label or a record is correct" in seen.because[0]
    assert "reference" in seen.flips_when[0]


@pytest.mark.parametrize("base", [0.1, 0.3])
def test_what_mostly_lacks_the_form_does_not_ship(base: float) -> None:
    """No answer is right that is not even a label, so a tuned model below the bar in form is below it in truth."""
    seen = verdict(evaluation(inputs=200, tuned=0.3, base=base).model_copy(update={"check_names": ("label",)}))
    assert (seen.decision, seen.fine_tune) == ("do not ship", "not enough evidence")
    assert "which is below evaluate.ship_at" in seen.because[0]
    nothing = verdict(evaluation(tuned=0.0, base=0.0).model_copy(update={"check_names": ("label",)}))
    assert nothing.decision == "do not ship"


@pytest.mark.parametrize("who", ["few-shot", "retrieval", "base"])
@pytest.mark.parametrize(("rate", "tuned"), [(0.9, 0.9), (0.88, 0.9), (1.0, 0.9), (0.4, 0.4)])
def test_a_prompt_that_ties_means_do_not_fine_tune(who: str, rate: float, tuned: float) -> None:
    """Whatever the other prompts reach: what needs no training does as well, and the verdict says which. A lead that no
    model can have over it is not asked for."""
    rates = {"base": 0.0, "few-shot": 0.1, "retrieval": 0.1, who: rate}
    seen = verdict(evaluation(tuned=tuned, **rates))
    assert (seen.decision, seen.fine_tune) == ("do not ship", "do not fine-tune")
    assert any(line.startswith(f"{who} ") and "without any training" in line for line in seen.because)
    flip = f"room for a lead: {who} passes {100 * rate:.0f} % of these" if rate > 0.85 else f"tuned led {who} by"
    assert any(flip in line for line in seen.flips_when)
    assert in_words(seen)[0] == "Verdict: do not ship. Should you fine-tune at all? do not fine-tune."


def test_where_nothing_passes_the_verdict_says_so_first() -> None:
    """At 0 of 40 everywhere a tie says little about prompts and much about checks, rows and base; one pass is a tie."""
    seen = verdict(evaluation(inputs=40))
    assert (seen.decision, seen.fine_tune) == ("do not ship", "do not fine-tune")
    assert seen.because[0].startswith("no answer of tuned passes")
    assert "larger base" in seen.flips_when[0]
    assert verdict(evaluation(inputs=40, tuned=1 / 40)).because[0].startswith("base passes about as often")
    assert verdict(evaluation(inputs=1)).because[0] == "there is 1 test input, and fewer than 20 prove nothing"


def test_who_leads_by_far_is_not_said_to_be_alike() -> None:
    """A tie is what the test does not confirm; 8 of 21 beside 2 of 21 is none to a reader, who sees both numbers."""
    seen = verdict(evaluation(inputs=21, tuned=2 / 21, base=8 / 21))
    assert seen.fine_tune == "do not fine-tune"
    assert seen.because[0].startswith("base passes at least as often without any training (")


def test_a_slow_machine_is_not_said_to_stand_still() -> None:
    """Beside other work a request may get less than a token a second, and that is not 0."""
    seen = evaluation(inputs=20)
    sampled = seen.systems[-1].sampled.model_copy(update={"tokens_per_s": 0.4})
    slow = seen.systems[-1].model_copy(update={"sampled": sampled})
    (column,) = [
        of for of in systems_table(seen.model_copy(update={"systems": (slow,)})).columns if of.header == "tokens/s"
    ]
    assert [*column.cells] == ["0.4"]


def test_few_inputs_are_not_enough_evidence() -> None:
    """However clear it looks, and it says how many are lacking."""
    seen = verdict(evaluation(inputs=12, tuned=1.0))
    assert (seen.decision, seen.fine_tune) == ("not enough evidence", "not enough evidence")
    assert seen.because[0] == "there are 12 test inputs, and fewer than 20 prove nothing"
    assert seen.flips_when == ("there were about 8 more test inputs",)


def test_inputs_that_one_did_not_answer_do_not_count() -> None:
    """25 inputs of which few-shot answered 17 are 17 for that comparison, and the verdict does not say "there are 25"
    and that this is fewer than 20."""
    seen = evaluation(inputs=25, tuned=1.0)
    answered = [o.model_copy(update={"answered": o.system != "few-shot" or o.seed_id < "s017"}) for o in seen.outputs]
    of = [{mode: [o for o in answered if (o.system, o.mode) == (name, mode)] for mode in MODES} for name in NAMES]
    conclusion = verdict(seen.model_copy(update={"outputs": tuple(answered), "comparisons": compare_last(of)}))
    assert conclusion.decision == "not enough evidence"
    few = "tuned and few-shot both answered only 17 of 25 test inputs, and fewer than 20 prove nothing"
    assert few in conclusion.because
    assert conclusion.flips_when == ("there were about 3 more test inputs",)


@pytest.mark.parametrize(("who", "missing", "decision"), [
    ("tuned", 1, "ship"), ("tuned", 20, "not enough evidence"), ("few-shot", 20, "not enough evidence"),
    ("teacher", 60, "ship"),
])  # fmt: skip
def test_what_happened_to_come_ships_nothing(who: str, missing: int, decision: str) -> None:
    """A system that fell silent midway is known by the part that came, of which a gate in CI would say that it ships;
    one answer that is lost, and a teacher that is no bar, change nothing."""
    seen = evaluation(tuned=0.95, base=0.1)
    outputs = tuple(o.model_copy(update={"answered": (o.system, o.seed_id >= f"s{missing:03}") != (who, False)})
                    for o in seen.outputs)  # fmt: skip
    of = [{mode: [o for o in outputs if (o.system, o.mode) == (name, mode)] for mode in MODES} for name in NAMES]
    systems = tuple(
        system.model_copy(update={mode: summarise(given[mode], Usage(), ("a",)) for mode in MODES})
        for system, given in zip(seen.systems, of, strict=True)
    )
    changed = {"outputs": outputs, "systems": systems, "comparisons": compare_last(of)}
    conclusion = verdict(seen.model_copy(update=changed))
    assert conclusion.decision == decision
    if decision != "ship":
        assert conclusion.because[0].startswith(f"40 of 120 answers of {who} never arrived")
        assert "`pairsmith evaluate` again" in conclusion.flips_when[0]


def test_a_lead_that_the_test_does_not_confirm_is_not_enough_evidence() -> None:
    """It is no tie: ten points on 40 inputs may be a gain. How many more would decide it hangs on the decoding, which
    is named, for the report tells the number of the other one."""
    measured = evaluation(inputs=40, tuned=0.7, **{"few-shot": 0.5})
    seen = verdict(measured)
    assert (seen.decision, seen.fine_tune) == ("not enough evidence", "not enough evidence")
    (flip,) = seen.flips_when
    gaps = [gap for gap in measured.comparisons if gap.b == "few-shot" and gap.more_inputs]
    more, mode = min((gap.more_inputs or 0, gap.mode) for gap in gaps)
    assert flip.endswith(f"{more} more test inputs, and the {mode} difference from few-shot stayed the same")


def test_a_better_model_that_mostly_fails_does_not_ship() -> None:
    """Fine-tuning helps, and the result is still no good; the bar is the spec's, and between is undecided."""
    low = evaluation(tuned=0.3)
    assert (verdict(low).decision, verdict(low).fine_tune) == ("do not ship", "fine-tune")
    assert verdict(low, ship_at=0.1).decision == "ship"
    between = verdict(evaluation(tuned=0.55))
    assert (between.decision, between.fine_tune) == ("not enough evidence", "fine-tune")


def test_better_one_way_and_worse_the_other_is_no_verdict() -> None:
    """Sampled it wins, greedy it loses: neither is hidden behind the other."""
    seen = verdict(evaluation(tuned=(0.9, 0.1), **{"few-shot": (0.1, 0.9)}))
    assert seen.fine_tune == "not enough evidence"


def test_a_base_without_a_whole_answer_proves_no_gain() -> None:
    """If every answer of the base was cut, nobody knows whether it could do it."""
    seen = verdict(evaluation(tuned=0.9, cut="base"))
    assert seen.decision == "not enough evidence"
    assert any("max_tokens" in line for line in seen.flips_when)


@pytest.mark.parametrize(
    ("usd", "calls", "word"),
    [(0.12, 50_000, "50,000 calls a month"), (0.0, None, "free"), (None, None, "not known")],
)
def test_the_teachers_price_says_when_serving_pays(usd: float | None, calls: int | None, word: str) -> None:
    """60 answers for $0.12 are $2 for 1,000: $100 a month is 50,000 calls. An unknown price is no zero."""
    seen = verdict(evaluation(tuned=0.9, teacher=0.9, teacher_usd=usd))
    assert seen.break_even == calls
    assert any(word in line for line in seen.because)


def test_a_model_without_a_whole_answer_does_not_ship() -> None:
    """If every answer of the tuned model was cut, it is not the others that lack something."""
    seen = verdict(evaluation(cut="tuned"))
    assert (seen.decision, seen.fine_tune) == ("do not ship", "not enough evidence")
    assert [line.partition(" gave")[0] for line in seen.flips_when] == ["tuned"]


def test_a_model_that_could_not_be_asked_is_not_judged() -> None:
    """Cut and empty answers are its own fault; where none came, nothing is known of it."""
    seen = evaluation(tuned=0.9)
    silent = {"pass_rate": None, "answered": 0, "passed": 0}
    tuned = seen.systems[-1]
    away = tuned.model_copy(update={mode: getattr(tuned, mode).model_copy(update=silent) for mode in MODES})
    gone = [one.model_copy(update={"difference": None}) for one in seen.comparisons]
    conclusion = verdict(seen.model_copy(update={"systems": (*seen.systems[:-1], away), "comparisons": tuple(gone)}))
    assert (conclusion.decision, conclusion.fine_tune) == ("not enough evidence", "not enough evidence")
    assert conclusion.because[0] == "no answer of tuned arrived, so nothing is known about it"


@pytest.mark.parametrize(
    ("tuned", "ship_at", "decision", "flip"),
    [
        (0.9, 0.0, "ship", "evaluate.ship_at was above 0"),
        (1.0, 1.0, "not enough evidence", "evaluate.ship_at was below 1: no number of answers proves that all pass"),
        (0.9, 0.9, "not enough evidence", "the rate moved away from 90 %"),
        (0.9, 0.85, "not enough evidence", "more test inputs put the whole interval on one side of 85 %"),
    ],
)
def test_a_bar_at_the_edge_says_what_would_flip_it(tuned: float, ship_at: float, decision: str, flip: str) -> None:
    """No bar that everything passes or that nothing can, and no rate just at it, ends in a sentence without sense."""
    seen = verdict(evaluation(tuned=tuned), ship_at)
    assert (seen.decision, seen.flips_when[0]) == (decision, flip)


def test_one_of_anything_is_told_in_the_singular() -> None:
    """A table of one sample, and a comparison that lacks one input, read as a person would write them."""
    seen = evaluation(inputs=19, tuned=1.0).model_copy(update={"samples": 1})
    assert systems_table(seen).title == "Pass rate on 19 held-out inputs, 1 sample each, 95% intervals"
    lines = [line for line in comparison_lines(seen) if "not enough evidence" in line]
    assert lines
    assert all(line.endswith("not enough evidence; it needs about 1 more test input") for line in lines)


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    """The lines of comparisons and the verdict write one difference alike: `-0.00` would say that tuned is worse."""
    seen = evaluation(tuned=0.5)
    gaps = [gap.model_copy(update={"simultaneous": nothing(gap.difference)}) for gap in seen.comparisons]
    seen = seen.model_copy(update={"comparisons": tuple(gaps)})
    assert "+0.00 [+0.00, +0.10]" in comparison_lines(seen)[0]
    assert not any("-0.00" in line for line in comparison_lines(seen))


def nothing(difference: Interval | None) -> Interval:
    assert difference is not None
    return difference.model_copy(update={"estimate": -0.001, "low": -0.002, "high": 0.1})


@pytest.mark.parametrize(
    ("how", "ways", "flip"),
    [
        ({"finish": "length"}, "120 cut", "raise evaluate.sampling.max_tokens"),
        ({"text": " "}, "120 empty", "tuned gave complete answers: look at what it writes"),
        (
            {"text": "", "reasons": {NO_ANSWER: "refused", REFUSAL: "maximum context length is 2048 tokens"}},
            "120 refused",
            'the server accepted the requests to tuned (it answered "maximum context length is 2048 tokens")',
        ),
        ({"text": "", "reasons": {NO_ANSWER: "refused"}}, "120 refused", "the server accepted the requests to tuned"),
        (
            {"answered": False},
            "nothing is known about it",
            "the server of the tuned model responded: run the evaluation again",
        ),
    ],
)
def test_without_a_whole_answer_the_advice_fits_what_came(how: dict[str, object], ways: str, flip: str) -> None:
    """More tokens help answers that were cut; of those that a server refused they change nothing."""
    seen = evaluation(tuned=0.0, base=0.1)
    outputs = tuple(
        one.model_copy(update=how | {"all_pass": False}) if one.system == "tuned" else one for one in seen.outputs
    )
    of = [{mode: [o for o in outputs if (o.system, o.mode) == (name, mode)] for mode in MODES} for name in NAMES]
    systems = tuple(
        system.model_copy(update={mode: summarise(given[mode], Usage(), ("a",)) for mode in MODES})
        for system, given in zip(seen.systems, of, strict=True)
    )
    changed = {"outputs": outputs, "systems": systems, "comparisons": compare_last(of)}
    conclusion = verdict(seen.model_copy(update=changed))
    assert ways in conclusion.because[0]
    assert flip in conclusion.flips_when[0]
    assert ("max_tokens" in conclusion.flips_when[0]) == ("finish" in how)


def test_more_inputs_that_decide_one_comparison_alone_change_nothing() -> None:
    """At 20 inputs neither base (10 %) nor few-shot and retrieval (0 %) are told from 25 %: one number decides all of
    them. The 24 that decide the easier two stood beside it as if they were enough."""
    rates = {"tuned": 0.25, "base": 0.1}
    seen = verdict(evaluation(inputs=20, **rates))
    assert seen.fine_tune == "not enough evidence"
    (flip,) = seen.flips_when
    number = int(re.findall(r"\d+", flip)[0])
    assert flip.endswith("and the greedy difference from base, few-shot, retrieval stayed the same")
    assert verdict(evaluation(inputs=20 + number, **rates)).fine_tune == "fine-tune"
    assert verdict(evaluation(inputs=20 + 24, **rates)).fine_tune == "not enough evidence"
