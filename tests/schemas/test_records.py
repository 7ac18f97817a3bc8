"""Records are frozen, strict, and identified by their content."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.errors import UsageError
from schemas.identity import changed_copy, construct
from schemas.records import (
    Call,
    Candidate,
    Counts,
    Generated,
    Json,
    Pair,
    Reason,
    Record,
    Sampling,
    Seed,
    Verdict,
    content_id,
)
from schemas.reviews import Review

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def pair(**changes: object) -> Pair:
    origin = Generated(generator="forward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=(("k", 1),))
    values = {"seed_id": "s", "input": "a", "output": "b", "system": "", "origin": origin}
    return Pair.model_validate({**values, **changes})


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_an_id_does_not_depend_on_the_order_of_keys(parts: dict[str, object]) -> None:
    """The same content has the same id, in whatever order its dict was filled."""
    assert content_id("x", parts) == content_id("x", dict(reversed(parts.items())))
    assert content_id("x", parts) != content_id("y", parts)


@given(st.text().filter(lambda text: text.isprintable()), st.sampled_from(["input", "output"]))
def test_a_record_survives_json(text: str, kind: str) -> None:
    """A record read back from its JSON is equal and has the same id."""
    seed = Seed.model_validate({"kind": kind, "text": text, "source": "x:1"})
    back = Seed.model_validate_json(seed.model_dump_json())
    assert back == seed
    assert back.id == seed.id


def test_where_a_seed_was_read_is_not_part_of_its_id() -> None:
    """The same text in two files is one seed. Another kind is another seed."""
    seed = Seed(kind="input", text="a", source="one:1")
    assert seed.id == Seed(kind="input", text="a", source="two:9", license="CC0-1.0").id
    assert seed.id != Seed(kind="output", text="a", source="one:1").id


@pytest.mark.parametrize("change", [{"seed_id": "t"}, {"input": "c"}, {"output": "c"}, {"system": "c"}])
def test_everything_a_student_sees_is_part_of_a_pairs_id(change: dict[str, str]) -> None:
    """Pairs with different texts, system prompts or seeds have different ids, also when one is a modified copy of the
    other."""
    first = pair()
    assert pair(**change).id != first.id
    assert first.model_copy(update=change).id == pair(**change).id


WRONG_RECORDS: list[tuple[Callable[[], object], str]] = [
    (lambda: setattr(pair(), "input", "c"), r"a Pair cannot be changed\. Make another one: \.model_copy\("),
    (lambda: Pair(input="a", output="b"), r"Pair lacks seed_id and system and origin\. It has: seed_id, input"),
    (lambda: pair().model_copy(update={"inptu": "x"}), "Pair has no field 'inptu'"),
    (lambda: Seed("a fox"), r"Seed takes its fields by name\. It has: kind, text"),
    (lambda: Seed(text="a fox"), r"Seed lacks kind and source\. It has: kind, text"),
    (lambda: Seed(txt="a fox"), r"Seed has no setting 'txt'\. Did you mean 'text'\?"),
    (lambda: Seed(kind="simple", text="a", source="s"), "Seed: kind = 'simple': expected 'input', 'output', "),
    (lambda: Seed(kind="input", source="s"), "Seed: a seed has either text or messages"),
    (lambda: Seed(kind="input", text="a", source="s", columns={"n": 3}), r"Seed: columns\.n = 3: expected a string"),
    (lambda: Seed(kind="k" * 5000, text="a", source="s"), "Seed: kind = 'k{79}: expected"),
    (lambda: Seed(kind="pair", messages=[{"role": "bot", "content": "a"}], source="s"), r"messages\.0\.role = 'bot': "),
    (lambda: Sampling(temprature=1), r"Sampling has no setting 'temprature'\. Did you mean 'temperature'\?"),
    (lambda: Sampling(temperature="hot"), "Sampling: temperature = 'hot': expected a number"),
    (lambda: Sampling(stop="END"), "Sampling: stop = 'END': expected a list"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG_RECORDS)
def test_a_wrong_record_in_python_is_one_sentence(wrong: Callable[[], object], sentence: str) -> None:
    """Records are facts: they cannot be changed, and a typo is an error; not pydantic's report of three lines."""
    with pytest.raises(UsageError, match=sentence) as refused:
        wrong()
    assert "\n" not in str(refused.value)


def test_slot_has_one_outcome() -> None:
    """A candidate is either a pair or a failure, never both or neither."""
    place = {"fingerprint": "x", "seed_id": "s", "generator": "forward", "sample": 0}
    for outcome in ({}, {"pair_id": "p", "failure": "empty"}):
        with pytest.raises(ValidationError, match="either a pair or a failure"):
            Candidate.model_validate({**place, **outcome})


def test_verdict_none_is_neither_true_nor_false() -> None:
    """The third verdict, None, survives JSON: it becomes neither False nor 0."""
    verdict = Verdict(
        pair_id="p", by="score/x@1", fingerprint="s", keep=None, score=None, reason="crashed: out of memory"
    )
    back = Verdict.model_validate_json(verdict.model_dump_json())
    assert back.keep is None
    assert back.score is None


def test_two_decisions_of_one_reviewer_are_two_reviews() -> None:
    """A changed decision has its own id."""
    first = Review(pair_id="p", reviewer="ann", decision="accept")
    assert first.id != Review(pair_id="p", reviewer="ann", decision="reject").id


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(-1, 1))
def test_counts_add_up_exactly_if_no_row_is_lost_or_duplicated(
    accepted: int, rejected: int, waiting: int, failed: int, off: int
) -> None:
    """Counts add up exactly if nothing was lost and nothing was counted twice."""
    rows_in = accepted + rejected + waiting + failed + off
    counts = Counts(rows_in=rows_in, accepted=accepted, rejected=rejected, waiting=waiting, failed=failed)
    assert counts.adds_up == (off == 0)


def test_sampling_sends_only_what_was_set() -> None:
    """Unset values are not in the request, and extras are passed through unchanged."""
    assert Sampling().body() == {}
    assert Sampling(temperature=0.0, extra={"min_p": 0.1}).body() == {"temperature": 0.0, "min_p": 0.1}


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("crashed: out of memory", "crashed", "out of memory"),
        ("short it has 3 words", "short", "it has 3 words"),
        ("missing:ar_flag nothing matches “--ar”", "missing:ar_flag", "nothing matches “--ar”"),
        ("ok", "ok", ""),
        ("", "unknown", ""),
    ],
)
def test_reason_of_an_older_store_is_split_once(text: str, code: str, detail: str) -> None:
    """`word: sentence` and `word sentence` become code and detail, and a colon inside the code stays. The result is
    then written and read unchanged."""
    old = '{"pair_id":"p","by":"b","fingerprint":"s","keep":null,"score":null,"reason":' + json.dumps(text) + "}"
    verdict = Verdict.model_validate_json(old)
    assert verdict.reason == Reason(code, detail)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    place = {"fingerprint": "s", "seed_id": "x", "generator": "forward", "sample": 0}
    assert Candidate.model_validate({**place, "failure": text}).failure == Reason(code, detail)
    assert str(Reason("short", "it has 3 words")) == "short: it has 3 words"
    assert str(Reason("ok")) == "ok"


GENERATED = {"generator": "forward", "prompt": "p/v1@00000000", "teacher": "t", "sampling": Sampling(), "calls": ()}
ANSWER = {"key": "k", "attempt": 1, "status": "ok", "raw": {}, "request_id": "r", "sample": 0, "teacher": "t"}
RECORDS: list[tuple[type[Record], Json]] = [
    (Call, {**ANSWER, "endpoint": "e", "seconds": 0.1, "at": "2026-11-26T00:00:00Z"}),
    (Candidate, {"fingerprint": "f", "seed_id": "s", "generator": "forward", "sample": 0, "pair_id": "p"}),
    (Generated, GENERATED),
    (Pair, {"seed_id": "s", "input": "i", "output": "o", "system": "", "origin": Generated.model_validate(GENERATED)}),
    (Seed, {"kind": "input", "text": "a heron", "source": "seeds.txt:1", "meta": {"also": []}}),
]


@pytest.mark.parametrize(("kind", "values"), RECORDS, ids=[kind.__name__ for kind, _ in RECORDS])
def test_record_created_without_validation_equals_a_validated_one(kind: type[Record], values: Json) -> None:
    """Fields, defaults, JSON bytes and id are the same, and two records share no mutable default."""
    checked = kind.model_validate(values)
    ours = construct(kind, {name: getattr(checked, name) for name in checked.model_fields_set})
    assert ours == checked
    assert ours.model_dump_json() == checked.model_dump_json()
    assert ours.model_fields_set == checked.model_fields_set
    assert getattr(ours, "id", None) == getattr(checked, "id", None)
    twin = construct(kind, {name: getattr(checked, name) for name in checked.model_fields_set})
    for name in kind.model_fields.keys() - values.keys():
        held = getattr(ours, name)
        assert not isinstance(held, dict) or held is not getattr(twin, name)


def test_copy_keeps_the_cached_id_only_if_it_is_passed() -> None:
    """A copy with another text gets a new id. A copy that is given an id has that id."""
    seed = Seed(kind="input", text="a heron", source="seeds.txt:1")
    assert seed.id == changed_copy(seed, {"split": "test"}, id=seed.id).id
    other = seed.model_copy(update={"text": "a kite"})
    assert other.id == Seed(kind="input", text="a kite", source="seeds.txt:1").id


def test_id_that_another_thread_caches_during_a_copy_is_not_copied() -> None:
    """The copy has other content, so it would be stored under the id of the original."""
    seed = Seed(kind="input", text="a lamp", source="x:1")

    class Change(dict[str, str]):
        def keys(self) -> Any:
            assert seed.id  # as another thread would at this moment
            return super().keys()

    copy = changed_copy(seed, Change(text="a kite"))
    assert copy.id == Seed(kind="input", text="a kite", source="x:1").id
