"""Assigning seeds to the splits."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.groups import groups_of
from curate.split import (
    SPLITS,
    assign_splits,
    disputed_questions,
    held_out_inputs,
    max_test_inputs,
    max_train_rows,
    seed_split,
    shortages,
    split_of,
)
from schemas.identity import random_sort_key
from schemas.records import Message, Seed, content_id
from schemas.spec import Spec, SplitSettings
from schemas.streamed import Streamed


@pytest.mark.slow
@given(st.text(), st.floats(0, 0.49), st.floats(0, 0.49))
def test_every_seed_has_one_split_and_keeps_it(seed_id: str, test: float, validation: float) -> None:
    """The split depends only on the seed and the settings, not on which other seeds there are."""
    split = SplitSettings(test=test, validation=validation)
    assert split_of(seed_id, split) in SPLITS
    assert split_of(seed_id, split) == split_of(seed_id, split)


@given(st.text(), st.floats(0, 0.4), st.floats(0, 0.3))
def test_a_larger_test_share_only_adds_to_the_test(seed_id: str, test: float, more: float) -> None:
    """A test seed stays in the test split when the test share grows."""
    if split_of(seed_id, SplitSettings(test=test, validation=0)) == "test":
        assert split_of(seed_id, SplitSettings(test=test + more, validation=0)) == "test"


def test_shares_are_those_of_the_spec() -> None:
    """Of 5,000 seeds, test and validation are within two points of 20 and 10 %."""
    splits = Counter(split_of(f"seed {n}", SplitSettings()) for n in range(5000))
    assert abs(splits["test"] / 5000 - 0.2) < 0.02
    assert abs(splits["validation"] / 5000 - 0.1) < 0.02


def _numbered_seeds(kind: Literal["input", "output"], numbers: range) -> list[Seed]:
    return [Seed(kind=kind, text=f"{kind} {n}", source="s") for n in numbers]


@given(st.integers(0, 90), st.integers(0, 90), st.sampled_from([(0.2, 0.1), (0.5, 0.0), (0.0, 0.3), (0.0, 0.0)]))
def test_splits_have_the_requested_size(inputs: int, outputs: int, shares: tuple[float, float]) -> None:
    """For each kind of seed exactly the requested share, rounded to whole seeds: whether there is a test set is not
    left to chance."""
    settings = SplitSettings(test=shares[0], validation=shares[1])
    seeds = assign_splits(
        [*_numbered_seeds("input", range(inputs)), *_numbered_seeds("output", range(outputs))], settings
    )
    for kind, number in (("input", inputs), ("output", outputs)):
        splits = Counter(seed.split for seed in seeds if seed.kind == kind)
        assert splits["test"] == round(shares[0] * number)
        assert splits["validation"] == round(shares[1] * number)
        assert splits.total() == number


@pytest.mark.slow
@given(st.lists(st.integers(1, 25), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_seed_never_moves_and_new_ones_fill_the_shares(sizes: list[int], rng: random.Random) -> None:
    """Seeds read in several batches, in any order and while others disappear, keep their first split. After each
    reading where none disappear, the shares of test and validation are exact."""
    settings, earlier, every_seed = SplitSettings(), list[Seed](), list[Seed]()
    for size in sizes:
        every_seed += _numbered_seeds("input", range(len(every_seed), len(every_seed) + size))
        seeds = assign_splits(rng.sample(every_seed, len(every_seed)), settings, earlier)
        assert {seed.id: seed.split for seed in seeds}.items() >= {seed.id: seed.split for seed in earlier}.items()
        splits = Counter(seed.split for seed in seeds)
        assert splits["test"] == round(settings.test * len(seeds))
        assert splits["validation"] == round(settings.validation * len(seeds))
        earlier = seeds
    assert assign_splits(earlier[::2], settings, earlier) == earlier[::2]


def test_seeds_of_an_earlier_version_stay_where_their_hash_put_them() -> None:
    """In a store without recorded splits, each seed keeps the split of its hash."""
    settings, seeds = SplitSettings(), _numbered_seeds("input", range(50))
    again = assign_splits([*seeds, *_numbered_seeds("input", range(50, 60))], settings, seeds)
    assert [seed.split for seed in again[:50]] == [split_of(seed.id, settings) for seed in seeds]


def test_recorded_split_is_not_part_of_the_seed_id() -> None:
    """Recording it changes no id, so nothing is paid for twice."""
    (seed,) = _numbered_seeds("input", range(1))
    assert seed.model_copy(update={"split": "test"}).id == seed.id


def test_another_salt_gives_another_split() -> None:
    """A lucky split can be checked with another salt."""
    ids = [f"seed {n}" for n in range(200)]
    assert [split_of(i, SplitSettings()) for i in ids] != [split_of(i, SplitSettings(salt="other")) for i in ids]


def test_known_seeds_stay_where_released_versions_put_them() -> None:
    """The hash must never change: it would move test seeds into training."""
    assert [split_of(f"seed {n}", SplitSettings()) for n in range(10)] == [
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
        "test",
        "train",
    ]


def _spec(**more: Any) -> Spec:
    checks = [{"name": "a", "pattern": "a"}, {"name": "b", "pattern": "b"}]
    evaluate = {"checks": checks, **more.pop("evaluate", {})}
    return Spec.model_validate(
        {"task": {"name": "t", "style": "s"}, "seeds": [{"path": "s.jsonl"}], "evaluate": evaluate, **more}
    )


def _seeds(count: int, kind: Literal["input", "output"] = "input") -> list[Seed]:
    return [Seed(kind=kind, text=f"text {i}", source="s") for i in range(count)]


def test_enough_seeds_give_no_warning() -> None:
    """With 200 input seeds and the default split there is no warning."""
    assert shortages(_seeds(200), _spec()) == []


def test_warning_gives_the_actual_number_of_test_inputs() -> None:
    """The number is that of these seeds under this split, not what the share promises."""
    spec, seeds = _spec(), _seeds(60)
    asked = sum(split_of(seed.id, spec.split) == "test" for seed in seeds)
    (short, *_) = shortages(seeds, spec)
    assert asked == len(held_out_inputs(seeds, spec)) < 20
    assert short.what.startswith(f"{asked} test inputs (of 60 input seeds); fewer than 20 can prove nothing")
    assert "about 100 input seeds" in short.fix


def test_a_target_that_the_best_of_each_input_cannot_reach_is_a_shortage() -> None:
    """Somebody who wants 200 rows sets `generate.accepted = 200`, and only the best of each input remain, here 100.
    The user learns it before paying."""
    (short,) = shortages(_seeds(100), _spec(generate={"accepted": 200}, split={"test": 0.3}))
    assert "generate.accepted = 200 cannot be reached" in short.what
    assert "at most 1 of each of 100 inputs" in short.what
    assert "curate.select.best" in short.fix
    enough = {"generate": {"accepted": 200}, "curate": {"select": {"best": 2}}, "split": {"test": 0.3}}
    assert shortages(_seeds(100), _spec(**enough)) == []
    assert shortages(_seeds(200), _spec(generate={"accepted": 200})) == []


def test_limit_on_test_inputs_causes_a_shortage() -> None:
    """If evaluate.max_seeds makes them few, the warning says to raise it."""
    (short,) = shortages(_seeds(300), _spec(evaluate={"max_seeds": 5}))
    assert short.what.startswith("5 test inputs")
    assert "evaluate.max_seeds" in short.fix


@pytest.mark.parametrize(
    ("seeds", "more", "fix"),
    [
        (_seeds(100, "output"), {"generate": {"backward": {"enabled": False}}}, "Add input seeds"),
        (_seeds(100), {"split": {"test": 0.0}}, "Raise the test share"),
        (_seeds(100), {"split": {"test": 0.0001}}, "raise the test share"),
    ],
)
def test_missing_test_inputs_are_reported(seeds: list[Seed], more: dict[str, Any], fix: str) -> None:
    """Only outputs without backward generation, or no test split: nothing can be evaluated, and the user learns it in
    advance."""
    short = shortages(seeds, _spec(**more))[0]
    assert "nothing can be evaluated" in short.what
    assert fix in short.fix


def test_few_training_rows_are_warned_about() -> None:
    """Counted from the training seeds, the candidates kept per seed and the levels, and limited by
    `generate.accepted`."""
    spec = _spec(curate={"select": {"best": 2}}, generate={"backward": {"levels": ["a", "b"]}})
    input, output = _seeds(20), _seeds(5, "output")
    inside = [sum(split_of(s.id, spec.split) == "train" for s in split) for split in (input, output)]
    rows = max_train_rows([*input, *output], spec)
    assert rows == 2 * inside[0] + 2 * inside[1] < 50
    assert any(f"at most {rows} rows to train on" in one.what for one in shortages([*input, *output], spec))
    assert max_train_rows(_seeds(200), _spec(generate={"accepted": 30})) == 30
    assert max_train_rows(_seeds(200), _spec(generate={"forward": {"enabled": False}})) == 0


def test_a_source_can_name_the_split_of_its_seeds() -> None:
    """`use` overrides the hash and an earlier split; a seed without it gets the split of its hash."""
    settings = SplitSettings(test=0.5, validation=0.3)
    for n in range(20):
        plain = Seed(kind="input", text=f"seed {n}", source="a.jsonl:1")
        assert seed_split(plain, settings) == split_of(plain.id, settings)
        for split in SPLITS:
            for recorded in (None, *SPLITS):
                named = plain.model_copy(update={"meta": {"use": split}, "split": recorded})
                assert seed_split(named, settings) == split


def test_named_split_of_a_seed_says_nothing_about_its_group() -> None:
    """Another source's seeds of the same group are drawn as if that seed were not there."""
    named = Seed(kind="input", text="named", source="s", meta={"group": "a" * 32, "use": "test"})
    drawn = Seed(kind="input", text="drawn", source="t", meta={"group": "a" * 32})
    assert [seed.split for seed in assign_splits([drawn], SplitSettings(test=0.0, validation=0.0), [named])] == [
        "train"
    ]


def test_a_file_of_fresh_inputs_is_the_test_set() -> None:
    """With `use = "test"` on one source and a test share of 0, exactly the seeds of that source are evaluated."""
    fresh = [seed.model_copy(update={"text": f"{seed.text}!", "meta": {"use": "test"}}) for seed in _seeds(30)]
    seeds, spec = [*_seeds(100), *fresh], _spec(split={"test": 0.0})
    assert {seed.id for seed in held_out_inputs(seeds, spec)} == {seed.id for seed in fresh}
    assert shortages(seeds, spec) == []
    (short,) = shortages([*_seeds(100), *fresh[:5]], spec)
    assert 'use = "test"' in short.fix


def test_repeated_question_counts_once() -> None:
    """Files of real inputs contain many repeats. Rows that differ only in another column, in case or in whitespace are
    one question, and the number of test inputs shown before any cost counts questions too."""
    rows = [("where is my order?", "7"), ("Where is  my order?", "8"), ("where is my order?", "9"), ("refund", "9")]
    seeds = [
        Seed(
            kind="pair",
            text=text,
            reference=f"answer {number}",
            columns={"ticket": number},
            source="a",
            meta={"use": "test"},
        )
        for text, number in rows
    ]
    asked = held_out_inputs(seeds, _spec())
    assert {seed.asked.casefold().split()[0] for seed in asked} == {"where", "refund"}
    assert len(asked) == 2
    assert asked == held_out_inputs(seeds[::-1], _spec())
    turns = tuple(Message(role=role, content=text) for role, text in (("assistant", "hello"), ("user", "refund")))
    later = Seed(kind="conversation", messages=turns, reference="r", source="a", meta={"use": "test"})
    assert len(held_out_inputs([*seeds, later], _spec())) == 3
    assert max_test_inputs(seeds, _spec()) == 2


class CountedPairs(Streamed[Seed]):
    """100,000 pairs, of which every 120th is a test input, read one at a time."""

    read = 0

    def __len__(self) -> int:
        return 100_000

    def __iter__(self) -> Iterator[Seed]:
        for number in range(len(self)):
            self.read += 1
            split = "train" if number % 120 else "test"
            yield Seed(kind="pair", text=f"question {number}", reference="answer", source="a", split=split)


def test_a_small_test_share_is_checked_on_few_of_many_seeds() -> None:
    """Of the first 2,000 seeds 17 are test inputs, too few to prove anything, but of the next ones enough are. All
    100,000 were read then, and were in memory together."""
    seeds = CountedPairs()
    assert shortages(seeds, _spec()) == []
    assert seeds.read <= 20_000


def test_held_out_outputs_are_test_inputs_too() -> None:
    """A collection of excellent outputs can be evaluated: backward generation writes the inputs, and the output is the
    reference. The possible number of test inputs, and that 50 outputs are too few, is known before any request."""
    many, few = (assign_splits(_seeds(count, "output"), SplitSettings()) for count in (100, 50))
    assert max_test_inputs(many, _spec()) == 20
    assert shortages(many, _spec()) == []
    (short, *_) = shortages(few, _spec())
    assert short.what.startswith("10 test inputs (of 50 excellent outputs)")
    assert "about 100 excellent outputs, or raise the test share from 20 % (split.test)" in short.fix
    mixed = [*assign_splits(_seeds(50), SplitSettings()), *few]
    assert max_test_inputs(mixed, _spec()) == 20
    assert max_test_inputs(mixed, _spec(evaluate={"max_seeds": 7})) == 7


@pytest.mark.parametrize(
    ("kind", "noun"), [("pair", "pairs"), ("conversation", "conversations"), ("input", "input seeds")]
)
def test_shortage_names_the_kind_of_seeds_in_use(kind: str, noun: str) -> None:
    """A user with pairs is not told to add input seeds, or to keep more candidates if nothing is generated."""
    seeds = []
    for number in range(30):
        text = f"text {number}"
        content = {"messages": (Message(role="user", content=text),)} if kind == "conversation" else {"text": text}
        reference = None if kind == "input" else "an answer"
        seeds.append(Seed.model_validate({"kind": kind, "reference": reference, "source": "s", **content}))
    proof, rows = shortages(assign_splits(seeds, SplitSettings()), _spec())
    assert f"(of 30 {noun})" in proof.what
    assert f"about 100 {noun}, or raise the test share" in proof.fix
    assert ("select.best" in rows.fix) == (kind == "input")
    if kind != "input":  # a file of test inputs changes nothing about it
        asked = Seed(kind="input", text="a test input", source="t", meta={"use": "test"})
        (rows,) = (
            one for one in shortages([*assign_splits(seeds, SplitSettings()), asked], _spec()) if "train" in one.what
        )
        assert "select.best" not in rows.fix
    named = [*(other for other in ("pairs", "conversations", "input seeds") if other != noun)]
    assert not any(other in proof.what + proof.fix for other in named)


def test_each_kind_of_seed_may_have_shares_of_its_own() -> None:
    """Outputs may have a smaller test share than inputs. A kind without an entry has the default, and a table that
    leaves a kind no training seeds, or names an unknown kind, is refused by name."""
    settings = SplitSettings.model_validate({"test": {"input": 0.5, "output": 0.05}, "validation": {"output": 0.0}})
    split = Counter((seed.kind, seed.split) for seed in assign_splits([*_seeds(40), *_seeds(40, "output")], settings))
    assert split == {
        ("input", "test"): 20,
        ("input", "validation"): 4,
        ("input", "train"): 16,
        ("output", "test"): 2,
        ("output", "train"): 38,
    }
    with pytest.raises(ValueError, match="nothing of kind 'pair' to train on"):
        SplitSettings.model_validate({"test": {"pair": 0.95}})
    with pytest.raises(ValueError, match="story"):
        SplitSettings.model_validate({"test": {"story": 0.2}})


def test_question_with_several_references_is_reported() -> None:
    """Only one of the references is used, which would go unnoticed. An empty reference counts as a different one;
    questions outside the test split are not reported."""
    rows = [("a", "x"), ("A ", "y"), ("b", "x"), ("b", "x"), ("c", None), ("c", "z")]
    seeds = [
        Seed(kind="input", text=text, reference=reference, source=f"t:{n}", meta={"use": "test"})
        for n, (text, reference) in enumerate(rows)
    ]
    kept = held_out_inputs(seeds, _spec())
    assert disputed_questions(seeds, _spec()) == [seed for seed in kept if seed.text.strip().lower() != "b"]
    train = [seed.model_copy(update={"meta": {"use": "train"}}) for seed in seeds]
    assert disputed_questions(train, _spec()) == []


def test_texts_that_training_will_leave_out_are_named_before_they_are_paid_for() -> None:
    """Transcripts of 6,000 words passed `doctor`, were answered, scored and reviewed, and then training had no row left
    but those within `train.max_length`. Texts of the test are read in the evaluation, which cuts nothing."""
    seeds = _seeds(200)
    long = [seed.model_copy(update={"text": f"{seed.text} {'word ' * 6_000}"}) for seed in seeds[:80]]
    (short,) = shortages([*long, *seeds[80:]], _spec())
    assert re.match(r"\d+ of \d+ texts to train on have more than train.max_length = 1024 tokens", short.what)
    assert "the longest has at least 4,28" in short.fix
    hindi = [
        seed.model_copy(update={"text": f"{seed.text} {'नमस्ते ' * 400}"}) for seed in seeds[:80]
    ]  # 2,800 characters
    assert shortages([*hindi, *seeds[80:]], _spec()) == []
    assert shortages([*long, *seeds[80:]], _spec(train={"max_length": 8192})) == []
    tested = [seed.model_copy(update={"meta": {"use": "test"}}) for seed in long]
    assert not any("max_length" in short.what for short in shortages([*tested, *seeds[80:]], _spec()))


def test_length_of_a_row_counts_earlier_turns_and_no_padding() -> None:
    """Only the last turn of a chat was counted. Tables aligned by blanks, of which a run is one token, were said to be
    left out, but fit: 2,500 of these 11,000 characters are no padding."""
    turns = [Message(role="user" if n % 2 else "assistant", content=f"{n} " + "word " * 60) for n in range(42)]
    chat = Seed(kind="conversation", messages=(*turns[1:],), reference="Yes.", source="s", meta={"use": "train"})
    (short,) = shortages([*_seeds(200), chat], _spec())
    assert short.what.startswith("1 of ")
    table = "".join(f"{'Web design and support':<50}{n:>60}\n" for n in range(100))
    tables = [Seed(kind="input", text=f"Invoice {n}\n{'=' * 78}\n{table}", source="s") for n in range(200)]
    assert shortages(tables, _spec()) == []


def test_without_a_scorer_all_candidates_may_be_trained_on() -> None:
    """Without scores there is no best candidate, so the warning counts as many rows as curation can accept."""
    seeds = _seeds(60)
    (best,) = [one for one in shortages(seeds, _spec()) if "to train on" in one.what]
    assert best.fix.endswith("keep more candidates of each: curate.select.best.")
    unscored = _spec(curate={"score": {"model": "none"}}, generate={"forward": {"n": 2}})
    assert max_train_rows(seeds, unscored) == 2 * max_train_rows(seeds, _spec())
    few = _spec(curate={"score": {"model": "none"}}, generate={"forward": {"n": 1}})
    (short,) = [one for one in shortages(seeds, few) if "to train on" in one.what]
    assert short.fix.endswith("ask for more candidates of each: generate.forward.n.")


def _grouped_seeds(sizes: list[int], start: int = 0) -> list[Seed]:
    return [
        Seed(kind="input", text=f"{start + of}: {n}", source="s", meta={"group": f"{start + of:032x}"})
        for of, size in enumerate(sizes)
        for n in range(size)
    ]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_group_is_in_one_split_and_its_new_rows_follow(sizes: list[int], rng: random.Random) -> None:
    """Parts of one document in both training and test would make the test easier. So groups are drawn as a whole, by
    their share of the groups, and a later row joins its group."""
    settings, seeds = SplitSettings(), _grouped_seeds(sizes)
    some = rng.sample(seeds, max(1, len(seeds) // 2))
    first = assign_splits(some, settings)
    again = assign_splits(rng.sample(seeds, len(seeds)), settings, first)
    assert {seed.id: seed.split for seed in again}.items() >= {seed.id: seed.split for seed in first}.items()
    for read in (first, again):
        splits_of_groups = {(seed.meta["group"], seed.split) for seed in read}
        groups = Counter(group for group, _ in splits_of_groups)
        assert set(groups.values()) == {1}
    assert sum(split == "test" for _, split in {(s.meta["group"], s.split) for s in first}) == round(
        0.2 * len({seed.meta["group"] for seed in first})
    )
    assert not any("in the test" in short.what for short in shortages(again, _spec()))


def _answered(sizes: list[int], start: int = 0) -> list[Seed]:
    """Pairs: of each question as many as a size says, each with another answer."""
    return [
        Seed(kind="pair", text=f"Question {start + of}?".upper() if n % 2 else f"Question {start + of}?",
             reference=f"{n}", source="s")
        for of, size in enumerate(sizes)
        for n in range(size)
    ]  # fmt: skip


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_answers_to_one_question_are_in_one_split(sizes: list[int], rng: random.Random) -> None:
    """Four agents answered each of sixty questions. Drawn pair by pair, most questions had one answer in the test, and
    their other answers were lost as contaminated. The order of the file makes no difference, and later answers join
    the earlier ones."""
    settings, pairs = SplitSettings(), _answered(sizes)
    first = assign_splits(pairs, settings)
    shuffled = assign_splits(rng.sample(pairs, len(pairs)), settings)
    assert {pair.id: pair.split for pair in shuffled} == {pair.id: pair.split for pair in first}
    later = assign_splits(_answered([size + 2 for size in sizes]), settings, first)
    for read in (first, later):
        splits = {(pair.text.casefold(), pair.split) for pair in read}
        assert len(splits) == len(sizes)
    assert sum(split == "test" for _, split in {(p.text.casefold(), p.split) for p in first}) == round(0.2 * len(sizes))


def test_a_question_with_many_answers_is_in_the_test_no_more_often() -> None:
    """Each answer was a ticket: of questions with eight answers 35 % were in the test, of those with one 5 %. The test
    consisted of the questions that people ask most."""
    pairs = _answered([8, 1] * 500)
    splits = {pair.text.casefold(): pair.split for pair in assign_splits(pairs, SplitSettings())}
    often = Counter(splits[pair.text.casefold()] for pair in pairs[::9])
    assert len(splits) == 1_000
    assert 60 <= often["test"] <= 140


def test_pairs_with_different_inputs_are_drawn_as_before() -> None:
    """The splits of a file in which no input occurs twice are those of released versions."""
    pairs = _answered([1] * 50)
    by_hash = sorted(pairs, key=lambda pair: random_sort_key(f"{SplitSettings().salt}\0{pair.id}"))
    assert {pair.id for pair in assign_splits(pairs, SplitSettings()) if pair.split == "test"} == {
        pair.id for pair in by_hash[:10]
    }


def test_pairs_that_were_drawn_one_by_one_keep_their_split() -> None:
    """Answers to one question that an earlier version drew one by one stay where they are: a model may have seen
    them."""
    pairs = _answered([4] * 20)
    earlier = [pair.model_copy(update={"split": split_of(pair.id, SplitSettings(), "pair")}) for pair in pairs]
    assert len({(pair.text.casefold(), pair.split) for pair in earlier}) > 20
    assert [p.split for p in assign_splits(pairs, SplitSettings(), earlier)] == [p.split for p in earlier]


def test_new_answers_to_a_question_in_several_splits_join_the_test() -> None:
    """Elsewhere they would be lost as repeating a test input, whatever the order of the earlier pairs."""
    pairs = _answered([3])
    earlier = [pair.model_copy(update={"split": split}) for pair, split in zip(pairs, SPLITS, strict=True)]
    (new,) = _answered([4])[3:]
    for order in (earlier, earlier[::-1]):
        assert [pair.split for pair in assign_splits([*pairs, new], SplitSettings(), order)] == [*SPLITS, "test"]


def test_group_added_later_moves_no_seed_and_is_warned_about() -> None:
    """Seeds that were drawn one by one keep their split, since a model may have seen them. Groups in several splits are
    warned about, also where a test file contains rows of a training group."""
    grouped = _grouped_seeds([5] * 20)
    before = assign_splits([seed.model_copy(update={"meta": {}}) for seed in grouped], SplitSettings())
    seeds = assign_splits(grouped, SplitSettings(), before)
    assert [seed.split for seed in seeds] == [seed.split for seed in before]
    (short,) = [short for short in shortages(seeds, _spec()) if "in the test" in short.what]
    assert short.what.split(" groups have")[0].isdecimal()
    mixed = [Seed(kind="input", text=use, source="s", meta={"group": "a", "use": use}) for use in ("train", "test")]
    (short,) = [short for short in shortages(mixed, _spec()) if "in the test" in short.what]
    assert short.what.startswith("1 group has")


def _chat(number: int, group: str = "") -> Seed:
    turns = (("user", "hi"), ("assistant", "How can I help?"), ("user", f"question {number}"))
    messages = tuple(Message(role=role, content=text) for role, text in turns)  # type: ignore[arg-type]
    meta = {"group": content_id("group", group)} if group else {}
    return Seed(kind="conversation", messages=messages, reference="ok", source="s", meta=meta)


def test_chats_with_the_same_greeting_keep_their_split() -> None:
    """Chats that all begin with the same greeting are not moved: read again, each keeps its split, whether or not its
    group is still given."""
    settings, chats = SplitSettings(), [_chat(number, f"customer {number // 2}") for number in range(60)]
    first = assign_splits(chats, settings)
    assert {seed.split for seed in first} == set(SPLITS)
    for again in (chats, [_chat(number) for number in range(60)]):
        assert [seed.split for seed in assign_splits(again, settings, first)] == [seed.split for seed in first]


def test_new_row_joins_the_earlier_split_of_its_group() -> None:
    """This week's export has none of last week's rows but the same customers: those of the test split stay in it."""
    settings, seeds = SplitSettings(), _grouped_seeds([1] * 10)
    first = assign_splits(seeds, settings)
    later = [seed.model_copy(update={"text": f"again {seed.text}"}) for seed in seeds[:5]] + _grouped_seeds(
        [1] * 40, 10
    )
    again = assign_splits(later, settings, first)
    assert [seed.split for seed in again[:5]] == [seed.split for seed in first[:5]]


def test_groups_in_several_splits_are_noticed_after_thousands_of_rows() -> None:
    """A test file after a long training file is checked too if the spec names a group column."""
    alone = [Seed(kind="input", text=f"{n}", source="s") for n in range(2_100)]
    mixed = [Seed(kind="input", text=use, source="s", meta={"group": "a", "use": use}) for use in ("train", "test")]
    spec = _spec(seeds=[{"path": "s.jsonl", "group": "customer"}])
    (short,) = shortages([*assign_splits(alone, spec.split), *mixed], spec)
    assert short.what.startswith("1 group has")


@pytest.mark.parametrize(("groups", "is_short"), [(19, True), (20, False)])
def test_too_few_test_groups_are_warned_about_before_any_cost(groups: int, is_short: bool) -> None:
    """A group says no more than one input, and 19 of them are not enough for any verdict, however many inputs each
    has."""
    seeds = [seed.model_copy(update={"meta": {**seed.meta, "use": "test"}}) for seed in _grouped_seeds([5] * groups)]
    short = [short.what for short in shortages(seeds, _spec()) if "groups" in short.what]
    assert short == ([f"{5 * groups} test inputs, but of {groups} groups: fewer than 20 can prove nothing,"
                      " however many inputs they have"] if is_short else [])  # fmt: skip


def test_seeds_are_grouped_by_group_or_first_exchange() -> None:
    """Two chats that begin alike form one group without any setting; a single input has no group."""

    def chat(*more: str) -> Seed:
        turns = zip(("user", "assistant", "user"), ("hi", "yes", *more), strict=False)
        messages = tuple(Message(role=role, content=text) for role, text in turns)
        return Seed(kind="conversation", messages=messages, reference="ok", source="s")

    chats, alone = [chat("a"), chat("b")], Seed(kind="input", text="x", source="s")
    group = groups_of([*chats, alone, *_grouped_seeds([1, 2])])
    assert len(group) == 4
    assert group[chats[0].id] == group[chats[1].id]
    assert alone.id not in group
