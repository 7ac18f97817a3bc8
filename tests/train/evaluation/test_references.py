"""Tests of comparing answers with reference outputs."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.review.estimate import binomial
from prompts.answer_form import AnswerForm
from schemas.step_names import REFERENCE
from tests.train.evaluated import spec
from train.evaluation.checks import Checks, checks_for, describe_void_references, void_references
from train.evaluation.metrics import ReferenceResult
from train.evaluation.references import NO_LABEL, GivenAnswer, _mean, compare_with_references

LABELS = ("bug", "question", "praise")


def compared(pairs: list[tuple[str, str]], labels: tuple[str, ...] = (), *, is_json: bool = False) -> ReferenceResult:
    """The comparison for (reference, answer) pairs, each with an input of its own."""
    references = {str(number): reference for number, (reference, _) in enumerate(pairs)}
    answers = [GivenAnswer(seed_id=str(number), text=text) for number, (_, text) in enumerate(pairs)]
    result = compare_with_references(answers, references, labels, is_json=is_json)
    assert result
    return result


ANSWERED = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "", "nonsense"])), min_size=1, max_size=40
)


@given(ANSWERED)
def test_macro_f1_is_the_mean_f1_of_the_labels(pairs: list[tuple[str, str]]) -> None:
    """Over the labels that occur in the references; an answer that is no label is wrong, but no label's false
    positive."""
    result = compared(pairs, LABELS)
    scores = []
    for label in {reference for reference, _ in pairs}:
        right = sum(pair == (label, label) for pair in pairs)
        precision = right / max(1, sum(answer == label for _, answer in pairs))
        recall = right / sum(reference == label for reference, _ in pairs)
        scores.append(2 * precision * recall / (precision + recall) if right else 0.0)
    expected = sum(scores) / len(scores)
    assert result.macro_f1
    assert result.macro_f1.value == pytest.approx(expected)
    assert result.macro_f1.low <= result.macro_f1.high
    assert result.exact.estimate == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


def test_the_confusion_counts_every_answer() -> None:
    """By reference and answer; answers that are no label have a column of their own."""
    result = compared([("bug", "bug"), ("bug", "praise"), ("question", "I think a bug"), ("question", "")], LABELS)
    assert result.confusion == {"bug": {"bug": 1, "praise": 1}, "question": {NO_LABEL: 2}}


def test_many_inputs_of_many_labels_fit_into_memory() -> None:
    """1,000 inputs of 100 labels take less than 25 MiB, not the 160 of a table of all labels for each input."""
    labels = tuple(f"label {number}" for number in range(100))
    pairs = [(labels[at % 100], labels[at * 7 % 100]) for at in range(1_000)]
    tracemalloc.start()
    result = compared(pairs, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.macro_f1
    assert peak < 25 * 2**20


@pytest.mark.parametrize(("reference", "answer"), [("cà phê sữa đá", "cà phê sữa đá"), ("한국어 문장", "한국어 문장")])
def test_composed_and_decomposed_letters_are_equal(reference: str, answer: str) -> None:
    """A server that writes a letter and its accent as two characters loses nothing, in the confusion matrix neither."""
    apart = normalize("NFD", answer)
    assert apart != reference
    result = compared([(reference, apart)])
    assert result.chrf
    assert result.rouge_l
    assert (result.exact.estimate, result.chrf.value, result.rouge_l.value) == (1, pytest.approx(1), 1)
    label = compared([(reference, apart)], (apart,))
    assert label.confusion == {reference: {reference: 1}}
    assert label.macro_f1
    assert label.macro_f1.value == 1


def test_two_inputs_of_a_rare_label_prove_little() -> None:
    """Half of macro F1 depends on the two of forty inputs that are spam: both right may be half right in truth, both
    wrong half wrong. In simulations a jackknife interval alone covered 63 %."""
    common = [("ham", "ham")] * 38
    right, wrong = (
        compared([*common, *[("spam", answer)] * 2], ("ham", "spam")).macro_f1 for answer in ("spam", "ham")
    )
    assert right
    assert wrong
    assert (right.value, right.high) == (1, 1)
    assert right.low < 0.65
    assert wrong.high > 0.85
    many = compared([*[("ham", "ham")] * 20, *[("spam", "spam")] * 20], ("ham", "spam")).macro_f1
    assert many
    assert many.low > 0.8


def test_labels_without_a_test_input_may_do_well_or_badly() -> None:
    """Macro F1 is that of the task, but a label that no test input has is unknown: 20 of 20 right with two of three
    labels leave a third of the scale open below, and 0 of 20 above. A label that the spec does not list is known."""
    right, wrong = (
        compared([*[("bug", bug)] * 10, *[("praise", praise)] * 10], LABELS).macro_f1
        for bug, praise in (("bug", "praise"), ("", ""))
    )
    assert right
    assert wrong
    assert (right.value, wrong.value) == (1, 0)
    assert compared([("bug", "bug"), ("praise", "")], (*LABELS, "legal")).untested == ("legal", "question")
    assert right.low < 2 / 3 < right.value <= right.high
    assert wrong.low == 0
    assert wrong.high > 1 / 3
    all_three = [(label, label) for label in (*LABELS, "crash") for _ in range(10)]
    full = compared(all_three, LABELS).macro_f1
    assert full
    assert full.low > 0.7


def test_a_reference_that_is_no_label_counts_too() -> None:
    """It has a row of its own and lowers the mean unless it is answered; by itself it causes neither a crash nor
    certainty."""
    result = compared([("bug", "bug"), ("crash", "bug"), ("crash", "crash")], LABELS)
    assert result.confusion == {"bug": {"bug": 1}, "crash": {"bug": 1, "crash": 1}}
    assert result.macro_f1
    assert result.macro_f1.value == pytest.approx(2 / 3)
    alone = compared([("crash", "bug"), ("crash", "")], LABELS).macro_f1
    assert alone
    assert (alone.value, alone.low) == (0, 0)
    assert 0.5 < alone.high < 1


@pytest.mark.parametrize(
    ("reference", "answer", "f1"),
    [
        ({"a": {"b": 1}}, {"a.b": 1}, 0.0),
        ({"a": [1]}, {"a[]": 1}, 0.0),
        ({"a": [[1, 2], [3]]}, {"a": [[3], [2, 1]]}, 1.0),
        ({"a": 1}, {"a": True}, 0.0),
        ({"a": 1, "b": "x"}, {"a": 1.0, "b": "x"}, 1.0),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, 0.5),
        ({"a": 1, "b": "x"}, {"a": 1}, 2 / 3),
        ({"items": [{"n": 1}, {"n": 2}]}, {"items": [{"n": 2}, {"n": 1}]}, 1.0),
        ({"items": []}, {"items": []}, 1.0),
        ({"a": 1, "b": None}, "not JSON", 0.0),
        ({"a": 1, "b": None}, {"a": 1}, 1.0),
        ({"a": 1}, {"a": 1, "b": None, "c": {"d": None, "e": {"f": None}}}, 1.0),
        ({}, {"a": {"b": None}}, 1.0),
        ({"a": [{"b": None}]}, {}, 0.0),
        ({"a": []}, {}, 0.0),
        ({"a": 1, "b": None}, {"a": 2, "b": None}, 0.0),
        ({"a": None}, {"b": None}, 1.0),
        ({"a": None}, {"a": 1}, 0.0),
        ({"a": [1, None]}, {"a": [1]}, 2 / 3),
        *(({"a": 1}, depth * "[" + depth * "]", 0.0) for depth in range(900, 1010, 10)),
    ],
)
def test_field_f1_counts_paths_and_values(reference: object, answer: object, f1: float) -> None:
    """A right value at a right path counts in any order; invalid JSON has no fields. A key with null equals a missing
    key: the prompt asks to leave it out, and tables have null."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    result = compared([(json.dumps(reference), text)], is_json=True)
    assert result.field_f1
    assert result.field_f1.value == pytest.approx(f1)


@given(st.lists(st.sampled_from("abcd"), max_size=9), st.lists(st.sampled_from("abcd"), max_size=9))
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(a: list[str], b: list[str]) -> None:
    """As defined, checked by trying every subsequence of the shorter text."""
    short, long = sorted((a, b), key=len)

    def inside(part: tuple[str, ...]) -> bool:
        rest = iter(long)
        return all(word in rest for word in part)

    longest = next(size for size in range(len(short), -1, -1) if any(map(inside, itertools.combinations(short, size))))
    expected = 2 * longest / (len(a) + len(b)) if a and b else float(a == b)
    measured = compared([(" ".join(a), " ".join(b))]).rouge_l
    assert measured
    assert measured.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "answer", "f1"),
    [
        ("police killed the gunman", "police kill the gunman", 0.75),  # Lin 2004, section 3.2
        ("police killed the gunman", "the gunman kill police", 0.5),
        ("The cat, on the mat.", "the CAT on the mat", 1.0),
        ("猫在垫子上", "猫在床上", 2 * 3 / 9),
        ("!!!", "!!!", 1.0),
        ("a fox", "", 0.0),
        ("مرحبا يا عالم", "مرحبا عالم", 2 * 2 / 5),
        ("שלום לך עולם", "שלום עולם", 2 * 2 / 5),
        ("caf\u00e9", "cafe\u0301", 1.0),
    ],
)
def test_rouge_l_of_known_texts(reference: str, answer: str, f1: float) -> None:
    """The paper's examples; case, punctuation and Unicode composition do not matter, Chinese is split into characters,
    and writing direction makes no difference."""
    measured = compared([(reference, answer)]).rouge_l
    assert measured
    assert measured.value == pytest.approx(f1)


def test_chrf_of_equal_similar_and_empty_texts() -> None:
    """chrF is 1 for the reference itself, 0 for an empty text, and in between for a similar text."""
    values = [
        compared([("the cat sat on the mat", text)]).chrf for text in ("the cat sat on the mat", "the cat sat", "")
    ]
    same, near, nothing = (value.value for value in values if value)
    assert same == pytest.approx(1)
    assert 0.2 < near < 0.9
    assert nothing == 0


def test_inputs_without_a_reference_are_left_out() -> None:
    """There is nothing to compare them with; if no input has a reference there is no comparison."""
    answers = [GivenAnswer(seed_id="a", text="x"), GivenAnswer(seed_id="b", text="y")]
    result = compare_with_references(answers, {"a": "x"}, (), is_json=False)
    assert result
    assert (result.inputs, result.exact.estimate) == (1, 1.0)
    assert compare_with_references(answers, {}, (), is_json=False) is None


def test_the_exact_check_compares_with_the_reference(tmp_path: Path) -> None:
    """It passes for the reference, fails with the reference in the reason, and is undecided without one; it changes the
    fingerprint of the checks."""
    checks = Checks(exact=True)
    assert checks.names == (REFERENCE,)
    assert checks("in", "bug", "bug").all_pass is True
    assert checks("in", "praise", "bug").reasons == {REFERENCE: "wrong: the reference is “bug”"}
    assert checks("in", "bug").all_pass is None
    assert checks.fingerprint != Checks().fingerprint == Checks().fingerprint


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_an_invalid_reference_is_matched_by_nothing() -> None:
    """Neither repeating the mistake in it nor an empty answer is right: the row counts against every system, and is
    reported with the invalid key. A reference that satisfies the schema stays valid."""
    fine, broken, torn = '{"n": 1}', '{"n": "one"}', '{"n": '
    void = void_references([fine, broken, torn], AnswerForm(schema=SCHEMA))
    assert {*void} == {broken, torn}
    assert "at $.n: 'one' is not of type 'integer'" in void[broken]
    assert void_references(["bug", "crash"], AnswerForm(labels={"bug": ""})).keys() == {"crash"}
    assert void_references([torn], AnswerForm()) == {}
    checks = Checks(exact=True, void=void)
    assert checks("in", fine, fine).all_pass is True
    assert checks("in", broken, broken).all_pass is False
    assert "the reference cannot be matched" in checks("in", broken, broken).reasons[REFERENCE]
    assert checks.fingerprint != Checks(exact=True).fingerprint
    for answer in ("", fine):
        measured = compared([(torn, answer)], is_json=True).field_f1
        assert measured
        assert measured.value == 0
    (sentence,) = describe_void_references([f"tickets.jsonl:{row}: why" for row in range(1, 6)])
    assert sentence.startswith("5 references are not valid for the task, so no answer can match: tickets.jsonl:1: ")
    assert sentence.endswith("; and 2 more.")


@pytest.mark.parametrize(
    ("output", "same"),
    [
        ('{"n": 4.0}', True), ('{"n": 4}', True), ('{"n": 4e0}', True), ('{"n": "4"}', False), ('{"n": true}', False),
        ('{"n": 4.5}', False), ('{"n": 1e999}', False), ('{"n": 4', False), ("4", False), ("", False),
    ],
)  # fmt: skip
def test_numbers_in_records_are_compared_by_value(output: str, same: bool) -> None:
    """4.0 equals the reference's 4 in JSON and in field F1, so it does in the exact match too."""
    assert Checks(exact=True)("in", output, '{"n": 4}').passed == {REFERENCE: same}
    assert Checks(exact=True)("in", output.replace("4", "1"), '{"n": 1}').passed == {REFERENCE: same}
    result = compare_with_references([GivenAnswer(seed_id="a", text=output)], {"a": '{"n": 4}'}, (), is_json=True)
    assert result
    assert result.exact.estimate == same


def test_accents_typed_in_two_ways_are_the_same_letter() -> None:
    """Files of a Mac often store an accented letter as two characters, and models write one: the record is right."""
    one, two = '{"caf\u00e9": "\u00e9t\u00e9"}', '{"cafe\u0301": "e\u0301te\u0301"}'
    assert Checks(exact=True)("in", one, two).passed == {REFERENCE: True}
    assert Checks(exact=True)("in", one.replace("\u00e9", "e"), two).passed == {REFERENCE: False}
    result = compared([(two, one)], is_json=True)
    assert result.field_f1
    assert (result.exact.estimate, result.field_f1.value) == (1, 1)


@pytest.mark.parametrize(
    ("output", "same"),
    [
        ('{"n": 4}', True), ('{"n": 4, "at": null}', True), ('{"n": 4, "in": [{"x": 1, "y": null}]}', False),
        ('{"n": 4, "at": ""}', False), ('{"n": null}', False), ('{"n": [4, null]}', False),
        ('{"n": 4, "at": {"x": null, "y": {"z": null}}}', True), ('{"n": 4, "at": {}}', True),
        ('{"n": 4, "at": {"x": 0}}', False), ('{"n": 4, "at": []}', False), ('{"n": 4, "at": [null]}', False),
    ],
)  # fmt: skip
def test_an_optional_field_may_be_null_or_left_out(output: str, same: bool) -> None:
    """The `extract` prompt asks to leave a key out, and references from a table have null: the difference decides no
    comparison."""
    assert Checks(exact=True)("in", output, '{"n": 4, "at": null}').passed == {REFERENCE: same}
    assert Checks(exact=True)("in", '{"n": 4, "at": null}', output).passed == {REFERENCE: same}


_RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1, width=16) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(_RECORDS.filter(lambda held: isinstance(held, dict)), _RECORDS.filter(lambda held: isinstance(held, dict)))
def test_exact_match_and_field_f1_agree(reference: object, answer: object) -> None:
    """For records without lists a record matches exactly if and only if all of its fields are right, so no table shows
    F1 1 beside a wrong record or less beside a right one."""
    result = compared([(json.dumps(reference), json.dumps(answer))], is_json=True)
    assert result.field_f1
    assert (result.field_f1.value == 1.0) == (result.exact.estimate == 1.0)


def test_a_check_of_the_users_own_sees_the_reference(tmp_path: Path) -> None:
    """`evaluate.user` functions get a pair with input, output and reference."""
    (tmp_path / "near_enough.py").write_text("def near(pair):\n    return pair.reference in pair.output\n")
    evaluate = {"user": ["near_enough:near"], "checks": [], "samples": 1}
    checks = checks_for(spec(flag=".", evaluate=evaluate), tmp_path)
    assert checks("in", "it is a bug", "bug").all_pass is True
    assert checks("in", "it is a bug", "praise").all_pass is False


@pytest.mark.parametrize("inputs", [1, 3, 8, 30])
def test_a_perfect_measure_has_an_interval(inputs: int) -> None:
    """Even if all labels, fields or texts are right, with few inputs the true value may be far lower."""
    answers = [GivenAnswer(seed_id=f"s{n}", text="a") for n in range(inputs)]
    by_label = compare_with_references(answers, {a.seed_id: "a" for a in answers}, ["a"], is_json=False)
    by_letters = compare_with_references(answers, {a.seed_id: "a" for a in answers}, [], is_json=False)
    fields = [answer.model_copy(update={"text": '{"x": 1}'}) for answer in answers]
    by_field = compare_with_references(fields, {a.seed_id: '{"x": 1}' for a in answers}, [], is_json=True)
    assert by_label is not None
    assert by_letters is not None
    assert by_field is not None
    for estimate in (by_label.macro_f1, by_letters.chrf, by_field.field_f1):
        assert estimate is not None
        assert estimate.value == pytest.approx(1.0)
        low = by_label.exact.low if estimate is by_label.macro_f1 else binomial(inputs, inputs)[0]
        assert estimate.low == pytest.approx(low, abs=0.02)


def test_many_right_fields_of_few_records_prove_little() -> None:
    """Twelve records of four fields, three answers to each: all fields are right, and some answers have one more. If a
    tenth of all records were wrong, twelve would often contain none of them. The interval began above 0.85, as if the
    variation between these records were all there is, and held in 87 % of draws."""
    right, more = json.dumps(dict.fromkeys("abcd", 1)), json.dumps(dict.fromkeys("abcde", 1))
    answers = [
        GivenAnswer(seed_id=f"{n:02}", text=more if again < n % 4 else right) for n in range(12) for again in range(3)
    ]
    result = compare_with_references(answers, {a.seed_id: right for a in answers}, [], is_json=True)
    assert result is not None
    assert result.field_f1 is not None
    assert result.field_f1.value > 0.9
    assert result.field_f1.low < 0.78


@pytest.mark.parametrize(
    ("inputs", "failing", "together"), [(20, 0.1, True), (20, 0.1, False), (20, 0.05, True), (50, 0.05, True)]
)
def test_the_interval_of_a_mean_score_holds_where_some_inputs_score_nothing(
    inputs: int, failing: float, together: bool
) -> None:
    """Simulated, ten answers to an input: a share of the inputs (or of the answers) score 0, the others 0.95. The 95 %
    interval holds in at least 94 % of 200 draws; one at the effective number of answers held in 86 % (20 inputs, a
    tenth of them failing)."""
    rng, held = np.random.default_rng(11), 0
    truth = (1 - failing) * float(np.clip(rng.normal(0.95, 0.02, 100_000), 0, 0.97).mean())
    for _ in range(200):
        failed = rng.random((inputs, 1 if together else 10)) < failing
        scores = np.where(failed, 0.0, np.clip(rng.normal(0.95, 0.02, (inputs, 10)), 0, 0.97))
        estimate = _mean(scores.sum(axis=1), np.full(inputs, 10.0), None)
        held += estimate.low <= truth <= estimate.high
    assert held >= 0.94 * 200


def test_the_interval_of_a_mean_score_counts_groups() -> None:
    """Inputs that belong together count as one: five copies of twenty inputs give the interval of the twenty."""
    scores = np.random.default_rng(2).random(20)
    alone, copied = (
        _mean(scores, np.ones(20), None),
        _mean(np.repeat(scores, 5), np.ones(100), [f"{n // 5:02d}" for n in range(100)]),
    )
    assert (copied.low, copied.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
