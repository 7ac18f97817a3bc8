"""Near-duplicates and contamination."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.near_duplicates import NearDuplicateIndex, bigrams, contaminations, duplicates, jaccard, similar_pairs
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
    for removed, by, _ in answers:
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


def test_two_seeds_with_one_output_give_one_row() -> None:
    """The same output for two inputs of different seeds is a duplicate."""
    target = "a red fox in deep snow at dawn, soft light"
    answers = duplicates([pair(target, "fox", "s1"), pair(target, "winter animal", "s2")], 0.7)
    assert [answer.of is None for answer in answers] == [True, False]


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
