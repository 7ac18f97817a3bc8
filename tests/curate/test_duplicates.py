"""Near-duplicates and contamination."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.curation import curate
from curate.near_duplicates import NearDuplicateIndex, bigrams, contaminations, duplicates, jaccard, similar_pairs
from curate.pool import Pool
from curate.steps import duplicates as duplicate_step
from schemas.kinds import KINDS, KindName
from schemas.records import Imported, Pair

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def pair(output: str, input: str = "a fox", seed: str = "s1", n: int = 0) -> Pair:
    return Pair(seed_id=seed, input=input, output=output, system="", origin=Imported(source=f"row {n}"))


def text(rng: random.Random, words: int = 40) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def near(rng: random.Random, original: str, changes: int) -> str:
    words = original.split()
    for at in rng.sample(range(len(words)), changes):
        words[at] = rng.choice(WORDS)
    return " ".join(words)


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    """Of 4,000 texts with 500 planted near-duplicates (Jaccard 0.7 to 0.95), at least 99 % go and no other row does."""
    rng = random.Random(7)
    originals = [text(rng) for _ in range(3500)]
    planted = []
    while len(planted) < 500:
        copy = near(rng, original := rng.choice(originals), rng.randint(1, 3))
        if jaccard(bigrams(copy), bigrams(original)) >= 0.7:
            planted.append(copy)
    texts = [(t, False) for t in originals] + [(t, True) for t in planted]
    # Originals first, or a planted copy would stay and its original go, which is as right but harder to count.
    pairs = [pair(t, seed=f"s{n}", n=n) for n, (t, _) in enumerate(texts)]
    answers = duplicates(pairs, 0.7)
    removed = [is_copy for answer, (_, is_copy) in zip(answers, texts, strict=True) if answer.of]
    assert all(removed)
    assert len(removed) >= 495


@given(st.lists(st.text(alphabet="ab ", max_size=12), max_size=25), st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_a_removed_row_is_like_the_kept_row_it_names(texts: list[str], threshold: float) -> None:
    """No chain and no unverified hash: every removal names a row that stays and is at least as alike as asked."""
    pairs = [pair(t, seed=f"s{n}", n=n) for n, t in enumerate(texts)]
    answers = list(duplicates(pairs, threshold))
    kept = [answer.pair for answer in answers if answer.of is None]
    assert [answer.pair for answer in answers] == pairs
    for removed, by, *_ in answers:
        if by is not None:
            assert by in kept
            same = removed.output.split() == by.output.split()
            assert same or jaccard(bigrams(removed.output), bigrams(by.output)) >= threshold


@given(st.lists(st.sampled_from(["the red fox", "The  red fox!", "a dog", "cats"]), max_size=12))
def test_one_of_every_group_of_equal_texts_stays(texts: list[str]) -> None:
    """Exact duplicates, whatever their case and punctuation, leave exactly one row, the first."""
    answers = duplicates([pair(t, seed=f"s{n}", n=n) for n, t in enumerate(texts)], 0.7)
    forms = [t.casefold().replace("!", "").split() for t in texts]
    assert [answer.of is None for answer in answers] == [form not in forms[:n] for n, form in enumerate(forms)]


def test_a_chain_of_likenesses_does_not_remove_its_far_end() -> None:
    """b is like a, c is like b but not like a: a and c stay."""
    a = "one two three four five six seven eight nine ten"
    b = "zero two three four five six seven eight nine ten"
    c = "zero two three four five six seven eight nine eleven"
    assert jaccard(bigrams(a), bigrams(b)) >= 0.75 > jaccard(bigrams(a), bigrams(c))
    answers = duplicates([pair(t, seed=t[:4], n=n) for n, t in enumerate((a, b, c))], 0.75)
    assert [answer.of is None for answer in answers] == [True, False, True]


def test_simple_versions_of_one_excellent_output_are_not_duplicates() -> None:
    """They share the target by design; only one that repeats another's input goes."""
    target = "a red fox in deep snow at dawn, soft light"
    levels = ["fox in snow", "a red fox standing in the snow at dawn", "Fox in snow."]
    answers = duplicates([pair(target, input, n=n) for n, input in enumerate(levels)], 0.7)
    assert [answer.of is None for answer in answers] == [True, True, False]


def stays(pairs: list[Pair], kind: KindName) -> int:
    return sum(answer.of is None for answer in duplicates(pairs, 0.7, KINDS[kind]))


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
def test_rows_by_one_template_are_rows(kind: KindName) -> None:
    """Sixty replies, records, labels or statements alike, each for an input of its own: not one of them goes."""
    pairs = [pair(output, input, seed=f"s{n}") for n, (input, output) in enumerate(TEMPLATED[kind])]
    assert stays(pairs, kind) == len(pairs)


@pytest.mark.parametrize("kind", TEMPLATED)
def test_the_same_row_twice_is_one_row(kind: KindName) -> None:
    """For every kind of task, whichever seeds the two come from."""
    (input, output) = TEMPLATED[kind][0]
    assert stays([pair(output, input, seed="s1"), pair(output, input, seed="s2")], kind) == 1


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
def test_what_makes_two_rows_one_hangs_on_the_kind(
    kind: KindName, one: tuple[str, str], other: tuple[str, str], rows: int
) -> None:
    """Both sides where texts are written, the input where it is labelled or read, every letter where anything goes."""
    assert stays([pair(one[1], one[0], seed="s1"), pair(other[1], other[0], seed="s2")], kind) == rows


def test_a_label_does_not_hang_on_a_number() -> None:
    """Two texts that differ in a number alone are one row of a classification, and two of an extraction."""
    texts = [f"Please tell me when my order number {n} will be shipped to my new address" for n in (41, 42)]
    pairs = [pair("delivery", text, seed=text) for text in texts]
    assert (stays(pairs, "classify"), stays(pairs, "extract")) == (1, 2)


def test_two_labels_for_one_text_are_flagged() -> None:
    """One of the two is wrong, and which is not for a machine to say: the row that stays is flagged as well."""
    rows = [pair("billing", "Where is my parcel now?", "s1"), pair("delivery", "where is my parcel now", "s2")]
    rows.append(pair("billing", "Why was I charged twice?", "s3"))
    pool = asyncio.run(curate(Pool.of(rows), [duplicate_step(0.7, kind="classify")]))
    flags = {row.candidate.seed_id: [v.flags for v in row.verdicts] for row in pool.rows()}
    assert flags == {"s1": [("two_labels",)], "s2": [("two_labels",)], "s3": [()]}
    assert pool.counts.accepted == 2


def test_one_output_for_different_inputs_is_flagged_where_texts_are_rewritten() -> None:
    """It stays, for it may be right, and says that it is worth a look. A reply is not flagged."""
    target = "a red fox in deep snow at dawn, soft light"
    rows = [pair(target, "fox", "s1"), pair(target, "winter animal", "s2"), pair("a boat", "boat", "s3")]
    assert [answer.flag for answer in duplicates(rows, 0.7)] == [None, "one_output", None]
    assert [answer.flag for answer in duplicates(rows, 0.7, KINDS["reply"])] == [None, None, None]


def test_a_thousand_answers_to_one_prompt_are_not_each_compared_with_all() -> None:
    """A crowd around one input is found by its outputs: its duplicates go, the others stay."""
    rng = random.Random(3)
    texts = [text(rng) for _ in range(600)]
    pairs = [pair(t, "write a text", seed=f"s{n}") for n, t in enumerate([*texts, *texts[500:]])]
    answers = list(duplicates(pairs, 0.7))
    assert [answer.of is None for answer in answers] == [True] * 600 + [False] * 100
    assert [answer.of and answer.of.output for answer in answers[600:]] == texts[500:]


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_training_row_with_a_test_seeds_text_is_contaminated(side: str) -> None:
    """A near-duplicate of a test seed on either side of a pair is rejected, and the answer names seed and side."""
    held = {"t1": "an old fisherman mending a torn net on the quay"}
    texts = {"input": "a boat", "output": "a white boat far out at sea, blue light"}
    texts[side] = "An old fisherman mending a torn net on the quay!"
    (answer,) = contaminations([pair(texts["output"], texts["input"])], held, 0.7)
    assert (answer.seed_id, answer.side) == ("t1", side)


def test_pairs_of_the_test_seeds_themselves_are_clean() -> None:
    """The test split is made of them."""
    (answer,) = contaminations([pair("a fox in snow", "fox", seed="t1")], {"t1": "fox"}, 0.7)
    assert answer.seed_id is None


def test_similar_pairs_are_all_pairs_alike() -> None:
    """Seeds alike are reported in pairs, with the exact similarity."""
    assert similar_pairs(["a red fox", "a blue whale", "A red fox."], 0.7) == [(0, 2, 1.0)]


def test_languages_without_spaces_are_compared_by_character() -> None:
    """A Japanese sentence with one character changed is alike; another sentence is not."""
    index = NearDuplicateIndex(0.6)
    index.add("古い漁師が港で網を直している")
    assert [n.number for n in index.like("古い漁師が港で網を直していた")] == [0]
    assert list(index.like("赤い狐が雪の中を走っている朝")) == []
