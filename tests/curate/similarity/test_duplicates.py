"""Near-duplicates and contamination."""

from __future__ import annotations

import asyncio
import cProfile
import dataclasses
import random
import time
import tracemalloc
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.curation import curate
from curate.pool import Pool
from curate.similarity import near_duplicates, overlap, set_join
from curate.similarity.hashed_words import hashed_words
from curate.similarity.near_duplicates import duplicates, find_repeated_rows
from curate.similarity.overlap import contaminated
from curate.similarity.set_join import SimilarRows, TokenSets, find_similar_rows
from curate.steps import duplicates as duplicate_step
from curate.words import numbers_in, words
from schemas.kinds import KINDS, KindName
from schemas.records import Imported, Pair

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
TEXTS = st.lists(
    st.text(alphabet="ab \u4e00\u4e8c\u00e9\ufb01E!\n7\u0667\u0e01\u0e35\uac00\u0640", max_size=14), max_size=25
)

HELD = "Please tell me how I can renew my yearly library card online today"


def bigrams(text: str) -> frozenset[object]:
    """The compared tokens of a text, by the simplest implementation."""
    tokens = words(text)
    return frozenset(pairwise(tokens)) if len(tokens) > 1 else frozenset(tokens)


def jaccard(a: str, b: str) -> float:
    one, other = bigrams(a), bigrams(b)
    return len(one & other) / len(one | other)


def brute_force_pairs(texts: Sequence[tuple[str, ...]], threshold: float) -> list[SimilarRows]:
    """All similar pairs, by comparing every pair."""
    similar = (
        SimilarRows(later, earlier, min(jaccard(a, b) for a, b in zip(texts[later], texts[earlier], strict=True)))
        for later in range(len(texts))
        for earlier in range(later)
    )
    return [pair for pair in similar if pair.similarity >= threshold]


def text(rng: random.Random, length: int = 40) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


def near(rng: random.Random, original: str, changes: int) -> str:
    changed = original.split()
    for at in rng.sample(range(len(changed)), changes):
        changed[at] = rng.choice(WORDS)
    return " ".join(changed)


@given(TEXTS.filter(bool))
def test_bulk_hashing_gives_the_words_of_words(texts: list[str]) -> None:
    """The fast bulk reader yields the same words as `words`: equal words have equal hashes, different words different
    ones."""
    hashes, number = hashed_words(texts)
    expected = list(map(words, texts))
    assert list(map(len, expected)) == number.tolist()
    one_hash: dict[str, int] = {}
    for word, hash_ in zip(chain.from_iterable(expected), hashes.tolist(), strict=True):
        assert one_hash.setdefault(word, hash_) == hash_
    assert len(set(one_hash.values())) == len(one_hash)


def test_every_letter_of_a_long_word_counts() -> None:
    """Words are read eight bytes at a time: another letter at any place makes another word, and so does another length.
    The texts around a word make no difference."""
    long = "abcdefghij" * 12
    varied = [*(f"{long[:place]}0{long[place + 1 :]}" for place in range(120)), *(long[:end] for end in range(1, 121))]
    hashes = hashed_words(varied)[0]
    assert len(set(hashes.tolist())) == len(varied)
    among, number = hashed_words([f"the {word.upper()}!" for word in varied] + ["?!"])
    assert number.tolist() == [2] * len(varied) + [1]
    assert among[1:-1:2].tolist() == hashes.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("내 소포가 언제 도착하는지 알려 주세요", "내소포가 언제 도착하는지 알려주세요"),
        ("ขอบคุณครับ ที่ติดต่อเรา สินค้า 12 ชิ้น", "ขอบคุณครับที่ติดต่อ\u200bเรา สินค้า 12ชิ้น"),
        ("أين طلبي رقم ٤٤٧١ الذي دفعت ثمنه ٢٥٠ ريالا", "أَيْنَ طلبي رقم 4471 الذي دفعت ثمنـــه 250 ريالا"),
        ("سفارش ۴۴۷۱ من که ۲۵۰ تومان پرداختم کجاست", "سفارش 4471 من که 250 تومان پرداختم کجاست"),
        ("मेरा ऑर्डर ४४७१ कहाँ है जो १२ मार्च को भेजा गया था", "मेरा ऑर्डर 4471 कहाँ है जो 12 मार्च को भेजा गया था"),
        ("注文４４７１番はどこですか", "注文4471番はどこですか"),
        ("Die Donau\u00addampf\u00adschifffahrt kommt heute", "die Donaudampfschifffahrt kommt heute"),
    ],
)  # fmt: skip
def test_spelling_variants_of_a_text_are_duplicates(one: str, other: str) -> None:
    """Optional spaces, native digits, vowel signs and joiners make no difference: the two texts are one row, and either
    one held out matches the other. A different number makes a different row."""
    for texts in ((one, other), (other, one)):
        assert set(duplicates([(text,) for text in texts], 1.0)) == {1}
        rows = [pair("answer", text, seed=text) for text in texts]
        assert len(find_repeated_rows(lambda rows=rows: rows, 1.0, KINDS["extract"]).of) == 1
        assert set(contaminated(lambda texts=texts: [(texts[1], "x")], [texts[0]], 1.0, equal_numbers=True)) == {0}
    rows = [pair("answer", text, seed=text) for text in (one, other.replace("4471", "4472"))]
    assert len(find_repeated_rows(lambda: rows, 1.0, KINDS["extract"]).of) == ("4471" not in other)


@pytest.mark.parametrize(
    ("one", "other"), [("โทร ๐๒ ๑๒๓ ๔๕", "โทร ๐๒๑ ๒๓๔๕"), ("ရွေးပါ ၁ ၂", "ရွေးပါ ၁၂"), ("ជ្រើស ១ ២", "ជ្រើស ១២")]
)
def test_space_between_numbers_separates_them_in_every_script(one: str, other: str) -> None:
    """Thai, Burmese and Khmer put no spaces between words, and their digits are in the same Unicode blocks as their
    letters. Adjacent numbers used to be merged into one."""
    assert numbers_in(one) != numbers_in(other)
    assert duplicates([(one,), (other,)], 1.0) == {}


def test_time_is_linear_in_a_run_of_spaces() -> None:
    """Text from a web page may have thousands in a row: 20,000 took four seconds, and twice as many four times as
    long."""
    began = time.process_time()
    assert words("ä" + "\u200b " * 50_000 + "b") == ["ä", "b"]
    assert time.process_time() - began < 1


def similar_pairs(texts: list[str], threshold: float) -> list[SimilarRows]:
    with TokenSets((text,) for text in texts) as sets:
        return list(find_similar_rows(sets, threshold))


@pytest.mark.parametrize("pairs_a_text", [40, 0])
@given(TEXTS, st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_join_equals_brute_force(pairs_a_text: int, texts: list[str], threshold: float) -> None:
    """The join gives the same pairs as comparing all of them, including where tokens are so frequent that rows are
    processed one at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_join, "_PAIRS", pairs_a_text)
        assert similar_pairs(texts, threshold) == brute_force_pairs([(one,) for one in texts], threshold)


@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.7, 1.0]))
def test_rows_of_two_texts_are_similar_only_if_both_texts_are(
    inputs: list[str], outputs: list[str], threshold: float
) -> None:
    """A row repeats another only if its input and its output each do."""
    rows = list(zip(inputs, outputs, strict=False))
    with TokenSets(rows) as sets:
        assert list(find_similar_rows(sets, threshold)) == brute_force_pairs(rows, threshold)


@pytest.mark.parametrize("pairs_a_text", [40, 0])
@given(TEXTS, st.sampled_from([0.3, 0.7, 1.0]))
def test_each_removed_row_repeats_a_kept_one(pairs_a_text: int, texts: list[str], threshold: float) -> None:
    """One pass in order: a row is removed if it is similar to a kept row, and the first such row is reported."""
    everything = brute_force_pairs([(one,) for one in texts], threshold)
    expected: dict[int, SimilarRows] = {}
    for pair in everything:
        if pair.later not in expected and pair.earlier not in expected:
            expected[pair.later] = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_join, "_PAIRS", pairs_a_text)
        assert duplicates([(one,) for one in texts], threshold) == expected


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    """Of 4,000 texts with 500 planted near-duplicates (Jaccard 0.7 to 0.95), exactly those are removed."""
    rng = random.Random(7)
    originals = [text(rng) for _ in range(3500)]
    planted: list[str] = []
    while len(planted) < 500:
        copy = near(rng, original := rng.choice(originals), rng.randint(1, 3))
        if jaccard(copy, original) >= 0.7:
            planted.append(copy)
    removed = duplicates([(one,) for one in (*originals, *planted)], 0.7)
    assert set(removed) == set(range(3500, 4000))


class CountedSets(TokenSets):
    """Sets that count how many pairs are compared."""

    compared = 0

    def similarity(self, one: int, other: int) -> float:
        self.compared += 1
        return super().similarity(one, other)

    def similarities(self, ones: set_join.Numbers, others: set_join.Numbers) -> NDArray[np.float64]:
        self.compared += len(ones)
        return super().similarities(ones, others)


@pytest.mark.parametrize("fields", [1, 2])
def test_rows_of_one_template_are_rarely_compared_in_vain(fields: int) -> None:
    """Replies from a template share rare words with hundreds of others, and 163 sets a row were read and compared:
    10,000 took 18 s, twice as many four times as long. Their sketches exclude nearly all, and none that is similar."""
    rng = random.Random(3)

    def reply() -> str:
        a, b, c, d = (rng.choice(WORDS[:30]) for _ in range(4))
        steps = [
            f"we have {a} the {b} and {c} it",
            f"the {d} will be {b} in {c}",
            f"you can write to {a} about the {d}",
        ]
        return f"Thank you for your letter about the {a} {b} from {c}. {'. '.join(rng.sample(steps, 3))}. Goodbye {d}."

    rows = [tuple(reply() for _ in range(fields)) for _ in range(600)]
    rows[-1] = rows[0]
    with CountedSets(rows) as sets:
        similar = list(find_similar_rows(sets, 0.7))
        assert similar == brute_force_pairs(rows, 0.7)
        assert len(similar) <= sets.compared < len(similar) + 4 * len(rows)


@pytest.mark.slow
def test_cost_of_a_large_cluster_is_linear_in_its_rows() -> None:
    """Of twenty thousand replies from one template, each with another name, one is kept, without comparing all
    pairs."""
    rows = [
        (f"Dear {name}{number}, thank you for your message, we will look into it and write to you by Friday.",)
        for number, name in enumerate(WORDS * 28)
    ]
    compared = 0
    similarity = TokenSets.similarity

    def counted(self: TokenSets, one: int, other: int) -> float:
        nonlocal compared
        compared += 1
        return similarity(self, one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenSets, "similarity", counted)
        assert len(duplicates(rows, 0.7)) == len(rows) - 1
    assert compared < 3 * len(rows)


def test_chain_of_similar_texts_keeps_both_ends() -> None:
    """b is similar to a, and c to b but not to a: a and c are kept."""
    a = "one two three four five six seven eight nine ten"
    b = "zero two three four five six seven eight nine ten"
    c = "zero two three four five six seven eight nine eleven"
    assert jaccard(a, b) >= 0.75 > jaccard(a, c)
    assert set(duplicates([(a,), (b,), (c,)], 0.75)) == {1}


def test_several_inputs_of_one_output_are_not_duplicates() -> None:
    """They share the output by design; only the one that repeats another's input is removed."""
    target = "a red fox in deep snow at dawn, soft light"
    levels = ["fox in snow", "a red fox standing in the snow at dawn", "Fox in snow."]
    assert set(duplicates([(level, target) for level in levels], 0.7)) == {2}


def test_same_reply_to_different_questions_is_not_a_duplicate() -> None:
    """Templated replies are what some tasks learn."""
    reply = "Thank you for your message, we will look into it and write to you by Friday."
    assert duplicates([("My parcel is late", reply), ("The invoice is wrong", reply)], 0.7) == {}


def pair(output: str, input: str, seed: str = "s1") -> Pair:
    return Pair(seed_id=seed, input=input, output=output, system="", origin=Imported(source="t"))


def count_kept(pairs: list[Pair], kind: KindName) -> int:
    return len(pairs) - len(find_repeated_rows(lambda: pairs, 0.7, KINDS[kind]).of)


ORDERS = [f"{48000 + 37 * n}" for n in range(60)]
TEMPLATED: dict[KindName, list[tuple[str, str]]] = {
    "reply": [
        (
            f"Hello, my order {order} has not arrived yet and I have been waiting for it since last week.",
            f"Hello, thank you for writing. Order {order} left our warehouse and will reach you within three working "
            "days. We are sorry for the wait. Happy riding, the Pedalwick team",
        )
        for order in ORDERS
    ],
    "extract": [
        (
            f"INVOICE No. {n} from ACME Ltd, 12 High Street, total amount due {n}.50 EUR",
            f'{{"no": {n}, "total": {n}.5}}',
        )
        for n in ORDERS
    ],
    "classify": [(f"{' '.join(WORDS[7 * n : 7 * n + 6])} is broken", ("repair", "return")[n % 2]) for n in range(60)],
    "rewrite": [
        (f"rows of table {n} by month", f"SELECT month, count(*) FROM table_{n} GROUP BY month ORDER BY month;")
        for n in ORDERS
    ],
    "translate": [
        (f"Order {n} has been shipped today.", f"La commande {n} a été expédiée aujourd'hui.") for n in ORDERS
    ],
    "free": [("Name a fruit.", name) for name in WORDS[:60]],
}


@pytest.mark.parametrize("kind", TEMPLATED)
def test_rows_from_one_template_are_all_kept(kind: KindName) -> None:
    """Sixty similar replies, records, labels or statements, each for a different input: all are kept."""
    pairs = [pair(output, input, seed=f"s{n}") for n, (input, output) in enumerate(TEMPLATED[kind])]
    assert count_kept(pairs, kind) == len(pairs)


@pytest.mark.parametrize("kind", TEMPLATED)
def test_the_same_row_twice_is_one_row(kind: KindName) -> None:
    """A repeated row is a duplicate for every kind of task, even if the two come from different seeds."""
    (input, output) = TEMPLATED[kind][0]
    assert count_kept([pair(output, input, seed="s1"), pair(output, input, seed="s2")], kind) == 1


@pytest.mark.parametrize(
    ("kind", "one", "other", "rows"),
    [
        ("reply", ("Where is my parcel now?", "It is on its way."), ("Where is my parcel, now?", "It is lost."), 2),
        ("reply", ("Where is my parcel now?", "It is on its way."), ("where is my parcel now", "it is on its way"), 1),
        ("classify", ("Where is my parcel now?", "delivery"), ("where is my parcel now", "billing"), 1),
        ("extract", ("Total of the order: 5 EUR", '{"t": 5}'), ("Total of the order: 5 EUR!", '{"t": 6}'), 1),
        ("extract", ("Total of the order: 5 EUR", '{"t": 5}'), ("Total of the order: 6 EUR", '{"t": 6}'), 2),
        ("free", ("Write a haiku.", "one"), ("Write a haiku!", "one"), 2),
        ("free", ("Write a haiku.", "one"), ("Write a haiku. ", "one"), 1),
    ],
)  # fmt: skip
def test_duplicate_criterion_depends_on_the_kind(
    kind: KindName, one: tuple[str, str], other: tuple[str, str], rows: int
) -> None:
    """Both sides for written texts, the input for labels and records, exact text (apart from outer spaces) for free
    tasks."""
    assert count_kept([pair(one[1], one[0], seed="s1"), pair(other[1], other[0], seed="s2")], kind) == rows


def test_numbers_are_ignored_for_classify_and_compared_for_extract() -> None:
    """Two texts that differ only in a number are one row of a classification, and two rows of an extraction."""
    texts = [f"Please tell me when my order number {n} will be shipped to my new address" for n in (41, 42)]
    pairs = [pair("delivery", text, seed=text) for text in texts]
    assert (count_kept(pairs, "classify"), count_kept(pairs, "extract")) == (1, 2)


def test_two_labels_for_one_text_are_flagged() -> None:
    """One of the labels is wrong, but a program cannot know which: the row that is kept is flagged as well."""
    rows = [pair("billing", "Where is my parcel now?", "s1"), pair("delivery", "where is my parcel now", "s2")]
    rows.append(pair("billing", "Why was I charged twice?", "s3"))
    pool = asyncio.run(curate(Pool.of(rows), [duplicate_step(0.7, kind="classify")]))
    flags = {row.candidate.seed_id: [v.flags for v in row.verdicts] for row in pool.rows()}
    assert flags == {"s1": [("two_labels",)], "s2": [("two_labels",)], "s3": [()]}
    reasons = [v.reason.detail for row in pool.rows() for v in row.verdicts if v.flags]
    assert sum("but a near-duplicate has the label" in reason for reason in reasons) == 1
    assert sum(reason.startswith("a near-duplicate has the label") for reason in reasons) == 1
    assert pool.counts.accepted == 2


def test_one_output_for_different_inputs_is_flagged_where_texts_are_rewritten() -> None:
    """Such a row may be right, so it is kept and flagged for a look. A reply is not flagged, nor is a row that is
    removed."""
    target = "a red fox in deep snow at dawn, soft light"
    rows = [pair(target, "fox", "s1"), pair(target, "winter animal", "s2"), pair("a boat", "boat", "s3")]
    assert find_repeated_rows(lambda: rows, 0.7, KINDS["rewrite"]) == ({}, {1}, {})
    assert find_repeated_rows(lambda: rows, 0.7, KINDS["reply"]) == ({}, set(), {})
    repeated = find_repeated_rows(lambda: [*rows, pair(target, "Fox!", "s4")], 0.7, KINDS["rewrite"])
    assert (repeated.of.keys(), repeated.flagged) == ({3}, {1})


@pytest.mark.parametrize("pairs_a_row", [40, 0])
@settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.7, 1.0]))
def test_two_sided_duplicates_equal_a_single_pass_over_both_sides(
    pairs_a_row: int, inputs: list[str], outputs: list[str], threshold: float
) -> None:
    """Starting with the side that has fewer pairs gives the same duplicates as one pass over both sides."""
    rows = [pair(output, input) for input, output in zip(inputs, outputs, strict=False)]
    kind = dataclasses.replace(KINDS["reply"], equal_numbers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_PAIRS", pairs_a_row)
        repeats = find_repeated_rows(lambda: rows, threshold, kind).of
    assert repeats == duplicates([(row.input, row.output) for row in rows], threshold)


@pytest.mark.parametrize("crowded", ["outputs", "inputs", "both"])
def test_many_equal_texts_on_one_side_are_not_compared_pairwise(crowded: str) -> None:
    """Two thousand templated replies to as many messages, or answers to one prompt, must not take two million
    comparisons."""
    rng = random.Random(5)
    reply = "Dear {}, thank you for your message, we will look into it and write to you by Friday at the latest."
    rows = [
        pair(
            text(rng, 30) if crowded == "inputs" else reply.format(rng.choice(WORDS)),
            text(rng, 8) if crowded == "outputs" else "a message",
        )
        for _ in range(2000)
    ]
    compared = 0
    similarity = TokenSets.similarity

    def counted(self: TokenSets, one: int, other: int) -> float:
        nonlocal compared
        compared += 1
        return similarity(self, one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenSets, "similarity", counted)
        of = find_repeated_rows(lambda: rows, 0.7, KINDS["reply"]).of
    assert len(of) == (len(rows) - 1 if crowded == "both" else 0)
    assert compared < 10 * len(rows)


@pytest.mark.parametrize("side", [0, 1])
def test_a_training_row_with_a_test_seeds_text_is_contaminated(side: int) -> None:
    """A near-duplicate of a test seed on either side of a pair is reported, with the seed and the side."""
    held = ["of something else entirely", "an old fisherman mending a torn net on the quay"]
    row = ["a boat", "a white boat far out at sea, blue light"]
    row[side] = "An old fisherman mending a torn net on the quay!"
    assert contaminated(lambda: [("a fox", "a fox in snow"), tuple(row)], held, 0.7) == {1: (1, side, 1.0)}


@pytest.mark.parametrize(
    "hidden",
    [
        HELD.replace("e", "\u0435").replace("a", "\u0430"),
        HELD.replace("ar", "a\u200br").replace("en", "e\u200dn"),
        HELD.replace(" ", "&nbsp;"),
    ],
)
def test_what_looks_the_same_is_contamination(hidden: str) -> None:
    """Cyrillic letters in English words, characters of no width, and spaces as HTML escapes them hid a test input from
    the comparison, but not from the model that learns it. Russian words stay equal in both cases."""
    assert contaminated(lambda: [(hidden, "x")], [HELD], 0.7) == {0: (0, 0, 1.0)}
    assert contaminated(lambda: [(HELD, "x")], [hidden], 0.7) == {0: (0, 0, 1.0)}
    asked = "\u041a\u043e\u0433\u0434\u0430 \u043f\u0440\u0438\u0434\u0435\u0442 \u0437\u0430\u043a\u0430\u0437"
    assert contaminated(lambda: [(asked.upper(), "x")], [asked], 0.7) == {0: (0, 0, 1.0)}


def test_a_test_input_in_the_other_chinese_script_is_contamination() -> None:
    """A model that learned a test input in Traditional characters has seen it, although it is tested in Simplified."""
    traditional, simplified = "我的訂單什麼時候能送到上海的家裡呢", "我的订单什么时候能送到上海的家里呢"
    assert contaminated(lambda: [(traditional, "x")], [simplified], 0.7) == {0: (0, 0, 1.0)}
    assert contaminated(lambda: [(simplified, "x")], [traditional], 0.7) == {0: (0, 0, 1.0)}


def test_held_out_text_inside_a_longer_one_is_contamination() -> None:
    """A held-out text inside a long training text is contamination, although the two are not similar as wholes. A few
    common words are not."""
    held = "The courier left parcel 4471 with a neighbour whose name nobody at this address has ever heard."
    long = f"Hello, I am writing about an order. {held} Please send it again, or return the money, and tell me when."
    touch = contaminated(lambda: [("late parcel", long), ("late parcel", long.replace(held, ""))], [held], 0.7)
    assert touch == {0: (0, 1, pytest.approx(1.0))}
    assert contaminated(lambda: [("red fox", "a red fox in deep snow at dawn")], ["red fox"], 0.99) == {0: (0, 0, 1.0)}


@pytest.mark.parametrize(
    ("held", "near", "far"),
    [
        ("red car on a bridge", "Red cars on a bridge", "red fox in a forest"),
        ("Wo ist mein Paket?", "wo ist mein paket", "Wo ist die Rechnung?"),
        ("返品の方法を教えてください", "返品の方法を教えて下さい", "配送状況を知りたいです"),
    ],
)
def test_short_texts_are_compared_by_character_n_grams(held: str, near: str, far: str) -> None:
    """A short test input with a changed word or ending is recognised; another text about the same subject does not
    match."""
    assert set(contaminated(lambda: [(far, "x"), (near, "x")], [held], 0.6)) == {1}


def test_texts_with_different_numbers_match_only_without_equal_numbers() -> None:
    """A question about one invoice does not repeat one about the next, in short or in long texts. Without
    `equal_numbers`, as for labels, it does."""
    held = ["lighthouse number 12", "Please send invoice 4471 again, the first one got lost in the post."]
    other = [("lighthouse number 112",), (held[1].replace("4471", "4472"),)]
    same = [("Lighthouse number 12!",), (f"Hello. {held[1]} It is 3 weeks late by now.",)]
    assert contaminated(lambda: other, held, 0.6, equal_numbers=True) == {}
    assert set(contaminated(lambda: same, held, 0.6, equal_numbers=True)) == {0, 1}
    assert set(contaminated(lambda: other, held, 0.6)) == {0, 1}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["lamp", "lamps", "a red lamp"]), st.integers(0, 120)), max_size=4),
    st.lists(st.tuples(st.sampled_from(["lamp", "lamps", "red lamp"]), st.integers(0, 120)), max_size=4),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    st.booleans(),
)
def test_lookup_of_short_templated_texts_equals_brute_force(
    ours: list[tuple[str, int]], theirs: list[tuple[str, int]], threshold: float, equal_numbers: bool
) -> None:
    """Candidates are looked up by rare n-grams and by numbers; the result equals comparing all texts with all, which
    share too little here for a template."""
    rows, held = ([f"{word} {number}" for word, number in texts] for texts in (ours, theirs))
    matches = contaminated(lambda: [(row,) for row in rows], held, threshold, equal_numbers=equal_numbers)

    def four_grams(text: str) -> set[str]:
        whole = f" {text} "
        return {whole[at : at + 4] for at in range(len(whole) - 3)}

    expected = {
        number
        for number, row in enumerate(rows)
        for text in held
        if (row.split()[-1] == text.split()[-1] or not equal_numbers)
        and (
            len(four_grams(row) & four_grams(text)) / len(four_grams(row) | four_grams(text)) >= threshold
            or len(bigrams(row) & bigrams(text)) / len(bigrams(row) | bigrams(text)) >= threshold
        )
    }
    assert matches.keys() == expected


def test_similar_pairs_reports_the_exact_similarity() -> None:
    """Similar texts are reported as pairs of indices with their exact similarity."""
    assert similar_pairs(["a red fox", "a blue whale", "A red fox."], 0.7) == [(2, 0, 1.0)]


def test_languages_without_spaces_are_compared_by_character() -> None:
    """A Japanese sentence with one character changed is similar; another sentence is not."""
    texts = ["古い漁師が港で網を直している", "古い漁師が港で網を直していた", "赤い狐が雪の中を走っている朝"]
    assert [(one.later, one.earlier) for one in similar_pairs(texts, 0.6)] == [(1, 0)]


def test_too_little_to_compare_is_not_an_error() -> None:
    """No rows, a single row, and rows without words."""
    assert duplicates([], 0.7) == {}
    assert similar_pairs(["a"], 0.7) == []
    assert duplicates([("...",), ("!",), ("...",), ("",), ("",)], 0.7).keys() == {2, 4}
    assert contaminated(list, ["a"], 0.7) == contaminated(lambda: [("a", "b")], [], 0.7) == {}


def test_more_rows_than_fit_in_a_key_are_refused() -> None:
    """A row number of more than 24 bits would be truncated and refer to another row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_join, "_ROW", np.uint64(1))
        with pytest.raises(ValueError, match="at most 1"):
            duplicates([("a b",), ("a b",)], 0.7)


def test_join_takes_at_most_26_bytes_per_frequent_token() -> None:
    """If every token is frequent, as in a million short texts, this takes most of the memory."""
    rows, each = 20_000, 12
    tokens = np.random.default_rng(7).integers(1, 900, rows * each).astype(np.uint64)
    keys = np.sort(tokens << np.uint64(24) | np.repeat(np.arange(rows, dtype=np.uint64), each))
    tracemalloc.start()
    try:
        crowded = set_join._RowsWithFrequentTokens(keys, np.full(rows, 3, np.uint8))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert crowded.holds.all()
    assert most / len(keys) < 26 - keys.itemsize


def test_short_held_out_text_takes_at_most_900_bytes_while_rows_are_compared() -> None:
    """Each rare n-gram used to be a dict entry with a list of its own: 2,400 bytes, a tenth of which was held for every
    seed of a project that generates."""
    held = [f"lighthouse number {number}" for number in range(5_000)]
    rows = [(f"lighthouse number {number} at dusk",) for number in range(5_000, 6_000)]
    contaminated(lambda: rows[:9], held[:9], 0.7, equal_numbers=True)  # builds what is cached
    tracemalloc.start()
    try:
        contaminated(lambda: rows, held, 0.7, equal_numbers=True)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 900 * len(held)


def test_number_shared_by_most_held_out_texts_is_not_looked_up_in_each() -> None:
    """A text was compared with every held-out text that has its first number, such as a 1. The time was quadratic: 4.8
    s for 60,000 rows instead of 1.7 s."""
    held = [f"the 1 cabin of lighthouse {number}" for number in range(2_000, 4_000)]
    rows = [(f"the 1 cabin of lighthouse number {number}",) for number in range(3_900, 4_100)]
    with cProfile.Profile() as profile:
        assert set(contaminated(lambda: rows, held, 0.5, equal_numbers=True)) == set(range(100))
    lookups = {entry.code: entry.callcount for entry in profile.getstats() if "issuperset" in str(entry.code)}
    assert 0 < sum(lookups.values()) < 5 * (len(rows) + len(held))


class Text(NamedTuple):
    """The texts of a row."""

    asked: str
    output: str


def late_parcel(name: str, thing: str, town: str, please: str = "Please") -> str:
    """A message from a template."""
    return (
        f"Hello, I ordered the {thing} in your shop two weeks ago and it has not arrived at my address in {town} yet."
        f" {please} tell me where my parcel is and when it will be here. Kind regards, {name}"
    )


_VARYING = (
    *("Anna green Lyon", "Bob blue Hamburg", "Carla small Porto", "David round Graz", "Elena heavy Turin"),
    *("Farid old Ghent", "Grace tall Leeds", "Hugo white Basel", "Ines cheap Brno", "Jakob grey Dublin"),
    *("Kemal narrow Seville", "Lena brass Utrecht", "Marta wide Malmo", "Nils paper Krakow"),
)
LATE_PARCELS = [late_parcel(name, f"{kind} lamp", town) for name, kind, town in map(str.split, _VARYING)]


def test_a_shared_template_is_not_contamination() -> None:
    """Sixty tickets from one template lost all 48 training rows, because each was 70 % like a test input. Rows that
    differ from it in what varies stay. Copies of a test input do not, whatever is changed around these words; and with
    fewer than five similar texts, nothing shows what the template is."""
    held, rows = LATE_PARCELS[:3], [(text, "x") for text in LATE_PARCELS[3:]]
    reworded = late_parcel("Bob", "blue lamp", "Hamburg", "Kindly")
    leaks = [(leak, "x") for leak in (held[1].upper(), f"{held[1]} PS: thank you", reworded)]
    assert contaminated(lambda: rows, held, 0.7) == {}
    assert set(contaminated(lambda: [*rows, *leaks], held, 0.7)) == {11, 12, 13}
    assert contaminated(lambda: rows[:3], held, 0.7) == {}
    assert set(contaminated(lambda: rows[:3], held[:1], 0.7)) == {0, 1, 2}


def test_template_with_optional_sentences_is_not_contamination() -> None:
    """A sentence that a quarter of the messages lack passed for many edits, so that half of 600 rows were removed. What
    is missing in one piece is no edit. A shortened copy of a test input is still one."""
    rng = random.Random(4)

    def message() -> str:
        thing, town, name = rng.sample(WORDS, 3)
        asked = ["Please tell me where my parcel is now", "I have written to you twice already about this order"]
        return ". ".join(
            [
                f"I ordered the {thing} lamp in your shop two weeks ago",
                f"it has not arrived at my address in {town} yet",
                *(sentence for sentence in asked if rng.random() < 0.75),
                f"Kind regards {name}",
            ]
        )

    texts = list(dict.fromkeys(message() for _ in range(400)))
    held, rows = texts[:50], [(text, "x") for text in texts[50:]]
    assert len(contaminated(lambda: rows, held, 0.7)) < 0.02 * len(rows)
    shortened = [(text.rsplit(" ", 4)[0], "x") for text in held[:20]]
    assert len(contaminated(lambda: [*rows, *shortened], held, 0.7).keys() & range(len(rows), len(rows) + 20)) >= 19


def test_cost_of_contamination_in_one_template_is_linear() -> None:
    """Each of 90,000 rows of one template was compared with each of 10,000 test inputs, which took hours. What the
    template is shows in a few of them. The rows that repeat a test input are the same, in any order."""
    draw = random.Random(2)
    texts = [late_parcel(draw.choice(WORDS), f"{draw.choice(WORDS)} lamp", draw.choice(WORDS)) for _ in range(1_200)]
    texts = list(dict.fromkeys(texts))
    held, rows = texts[:100], [(text, "x") for text in texts[100:]]
    rows[::100] = [(text.replace("Please tell me", "Tell us"), "x") for text in held[: len(rows[::100])]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "_MOST_MATCHES", len(rows) * len(held) * 2)
        exact = contaminated(lambda: rows, held, 0.7)
        assert exact.keys() >= {*range(0, len(rows), 100)}
        patch.setattr(overlap, "_MOST_MATCHES", 1_000)
        with cProfile.Profile() as profile:
            assert contaminated(lambda: rows, held, 0.7).keys() == exact.keys()
        backwards = contaminated(lambda: rows[::-1], held, 0.7)
    assert {len(rows) - 1 - number for number in backwards} == exact.keys()
    calls = {entry.code: entry.callcount for entry in profile.getstats()}
    assert calls[overlap._Similarity._of.__code__] < 0.4 * len(rows) * len(held)


def edited_copies(words: int, edits: int, count: int, seed: int = 5) -> list[str]:
    """Copies of one text, each with a few other words replaced, added or left out."""
    rng = random.Random(seed)
    original, copies = [rng.choice(WORDS) for _ in range(words)], []
    for _ in range(count):
        copy = [*original]
        for _ in range(edits):
            at, change = rng.randrange(len(copy)), rng.choice(["replaced", "added", "left out"])
            copy[at : at + (change != "added")] = [] if change == "left out" else [rng.choice(WORDS)]
        copies.append(" ".join(copy))
    return copies


@pytest.mark.parametrize("count", [6, 9])
def test_few_edited_copies_of_one_text_are_not_from_a_template(count: int) -> None:
    """A handful of texts show a template only if nearly all contain it whole: each edit breaks it somewhere else."""
    copies = edited_copies(40, 2, count)
    rows = [Text(copy, "x") for copy in copies]
    assert len(find_repeated_rows(lambda: rows, 0.7, KINDS["classify"]).of) >= count - 2
    assert len(contaminated(lambda: [(copy, "x") for copy in copies[1:]], copies[:1], 0.7)) >= count - 2


@pytest.mark.parametrize("count", [5, 9])
def test_few_copies_with_one_word_changed_are_no_template(count: int) -> None:
    """Where the same word is changed in each copy of a text, all contain the rest whole, as if they had filled it in.
    Every such copy was a row of its own, and none a leak."""
    base = text(random.Random(3)).split()
    copies = [
        " ".join([*base[:20], word, *base[21:]])
        for word in ["amber", "brass", "coral", "dusty", "empty", "fancy", "gritty", "heavy", "icy"]
    ]
    copies = copies[:count]
    assert len(find_repeated_rows(lambda: [Text(copy, "x") for copy in copies], 0.7, KINDS["classify"]).of) == count - 1
    assert len(contaminated(lambda: [(copy, "x") for copy in copies[1:]], copies[:1], 0.7)) == count - 1


def test_few_copies_with_a_sentence_more_are_no_template() -> None:
    """A copy that has all of another text, with a sentence before or after it, is the same row."""
    rng = random.Random(3)
    base, more = text(rng), [text(rng, 6) for _ in range(6)]
    copies = [base, *(f"{base} {words}" for words in more[:3]), *(f"{words} {base}" for words in more[3:])]
    assert len(find_repeated_rows(lambda: [Text(copy, "x") for copy in copies], 0.7, KINDS["classify"]).of) == 6


def test_few_short_copies_are_no_template() -> None:
    """Short texts share a bigram or none, which is no template: copies of a short test input stayed from five on."""
    copies = ["return policies", "returns policy", "retun policy", "return polizy", "a return policy"]
    assert len(contaminated(lambda: [(copy, "x") for copy in copies], ["return policy"], 0.4)) == 5


@pytest.mark.parametrize(("words", "edits"), [(40, 1), (150, 3)])
def test_edited_copies_of_one_text_are_not_from_a_template(words: int, edits: int) -> None:
    """Of a dozen copies of an article in which one to three words were changed, each counted as a text of its own that
    fills in a template: all stayed, and all were trained on if one of them was in the test. From ten copies on, those
    changes were taken for what matters."""
    copies = edited_copies(words, edits, 14)
    rows = [Text(copy, answer) for copy, answer in zip(copies, edited_copies(words, edits, 14, seed=6), strict=True)]
    for kind in ("reply", "classify", "extract"):
        assert len(find_repeated_rows(lambda: rows, 0.7, KINDS[kind]).of) >= 12
    contaminated_rows = contaminated(lambda: [(copy, "x") for copy in copies[1:]], copies[:1], 0.7)
    assert len(contaminated_rows) >= 12
    backwards = contaminated(lambda: [(copy, "x") for copy in copies[:0:-1]], copies[:1], 0.7)
    assert {12 - number: touch for number, touch in backwards.items()} == contaminated_rows, "order decides nothing"


def test_many_answers_to_one_input_are_no_template() -> None:
    """A dozen answers to an input that repeats a held-out reference do not hide the reference in a crowd."""
    held = LATE_PARCELS[0]
    rows = [("where is my lamp", held.replace("parcel", f"{word} parcel")) for word in "abcdefghijkl"]
    assert len(contaminated(lambda: rows, [held], 0.7)) == len(rows)


@pytest.mark.parametrize("kind", ["reply", "classify", "extract", "translate", "rewrite"])
def test_rows_from_one_template_are_not_duplicates(kind: KindName) -> None:
    """One of sixty rows from a template was kept, also where the records that they give differ. A copy is still a
    duplicate, and so are near-identical answers to one input."""
    answer = "Dear {}, thank you for your message; we are very sorry and will send your lamp before Friday evening."
    rows = [Text(message, answer.format(message.split()[-1])) for message in LATE_PARCELS]
    again = [Text(rows[4].asked.upper(), rows[4].output), Text(rows[5].asked, rows[5].output.replace("very", "so"))]
    repeats = find_repeated_rows(lambda: [*rows, *again], 0.6, KINDS[kind])
    assert {number: one.earlier for number, one in repeats.of.items()} == {14: 4, 15: 5}
    assert repeats.flagged <= {5, 15}
    few = find_repeated_rows(lambda: rows[:6], 0.6, KINDS[kind])
    assert few.of == {}, "six show it if all contain it whole"
    assert len(find_repeated_rows(lambda: rows[:4], 0.6, KINDS[kind]).of) == 3, "four do not"


def test_a_long_comparison_reports_progress() -> None:
    """Seeds of one template are compared with hundreds of others each, which takes minutes for 100,000 of them: the
    screen shows how many are compared. It stood still after they were read."""
    rows = [(f"How do I change the monthly order for my second order number {number}?",) for number in range(1_200)]
    reports: list[tuple[str, Any]] = []
    duplicates(rows, 0.7, lambda *report: reports.append(report))
    assert reports[0] == ("comparisons", {"done": 0, "total": reports[-1][1]["total"]})
    assert ("comparisons", {"done": 1_000, "total": reports[-1][1]["total"]}) in reports
    assert reports[-1][1]["done"] == reports[-1][1]["total"] >= 1_000
