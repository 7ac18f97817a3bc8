"""Corruptions, the fitted reward model, and whether its reported accuracy is honest."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.scorers.bradley_terry import VERSION, GoodText, drawn, fit, preference_pairs, with_inputs
from curate.scorers.corruptions import CORRUPTIONS, ENGLISH, GROUPS, corrupt
from curate.scorers.cross_validation import credit, head, interval, lengths, measured
from curate.scorers.reward import open_reward_model
from schemas.records import content_id
from synth.embedded.weights import Weights
from tests.curate import tiny

SUBJECTS = ("fox", "tower", "harbor", "violin", "glacier", "market", "orchard", "tram", "pianist", "canyon")
PLACES = ("snow", "fog", "moonlight", "spring", "rain", "autumn", "summer", "winter")
GOOD = [
    f"an old {s} in {p}, soft light from the {side}, a {p2} palette with copper, close study of the {s} --ar 3:2"
    for n, s in enumerate(SUBJECTS)
    for p, p2, side in [(PLACES[n % 8], PLACES[(n * 3 + 1) % 8], ("left", "right")[n % 2])]
]
LETTERS = [
    f"Hello,\nthank you for asking about the {s}. We will bring it in {p}, and you pay nothing.\n\nYours, the {s} team"
    for s, p in zip(SUBJECTS, PLACES * 2, strict=False)
]


@given(st.sampled_from(sorted(CORRUPTIONS)), st.sampled_from(GOOD + LETTERS), st.integers(0, 10_000))
def test_corruption_changes_the_text_but_not_its_length(corruption: str, text: str, seed: int) -> None:
    """The number of words changes by at most one, the words or their order differ, and line breaks stay: form alone
    reveals nothing."""
    corpus = GOOD if text in GOOD else LETTERS
    corrupted = corrupt(corruption, text, text.split()[2], [t for t in corpus if t != text], random.Random(seed))
    if corrupted is None:
        return
    assert corrupted.split() != text.split()
    assert abs(len(corrupted.split()) - len(text.split())) <= 1
    before, after = ([w.count("\n") for w in t.split(" ")] for t in (text, corrupted))
    assert abs(sum(before) - sum(after)) <= 1


@pytest.mark.parametrize("corruption", sorted(CORRUPTIONS))
def test_every_corruption_applies_to_ordinary_texts(corruption: str) -> None:
    """Each corruption applies to ordinary texts; one that never applies would not be tested."""
    done = [
        corrupt(corruption, t, t.split()[2], [o for o in GOOD if o != t], random.Random(n)) for n, t in enumerate(GOOD)
    ]
    assert sum(d is not None for d in done) >= 8


JAPANESE = [
    f"古い{s}が{p}の中に立ち、左から柔らかい光が差し込み、銅色の配色。{s}をiPhone 15で近くから撮影。 --ar 3:2"
    for s, p in zip("狐塔港城山森船橋", "雪霧春雨秋夏冬夜", strict=True)
]
THAI = [
    f"กระเป๋า{s}สีน้ำตาล, ขนาดกะทัดรัดใส่{p}ได้, พร้อมส่งฟรี, รับประกันหนึ่งปี"
    for s, p in zip(["หนัง", "ผ้า", "สาน", "ถือ"], ["โทรศัพท์", "หนังสือ", "เอกสาร", "กุญแจ"], strict=True)
]
HINDI = [f"{s} घर पहुँच गया है। कृपया बिल देखें, और {s} की जाँच करें। धन्यवाद, टीम" for s in ("पार्सल", "सामान", "फ़ोन", "बैग")]


@pytest.mark.parametrize(("corpus", "shared"), [(JAPANESE, "狐の写真"), (THAI, "กระเป๋าหนัง"), (HINDI, "पार्सल कहाँ है?")])
@pytest.mark.parametrize("corruption", sorted(set(CORRUPTIONS) - set(GROUPS[ENGLISH])))
def test_scripts_without_spaces_are_corrupted_too(corruption: str, corpus: list[str], shared: str) -> None:
    """Every corruption applies, changes more than spaces, and adds hardly any to a script without them."""
    text, others = corpus[0], corpus[1:]
    tries = [corrupt(corruption, text, shared, others, random.Random(n)) for n in range(5)]
    applied = [one for one in tries if one]
    assert applied
    for one in applied:
        assert "".join(one.split()) != "".join(text.split())
        assert 0.6 * len(text) < len(one) < 1.5 * len(text)
        assert len(one.split()) <= len(text.split()) + 2


def test_another_language_is_not_corrupted_with_english() -> None:
    """The language alone would reveal the corruption, and the model's measured accuracy would look better than it
    is."""
    pairs = preference_pairs(with_inputs([GoodText("", t) for t in JAPANESE * 6]), random.Random(0), "ja")
    assert {pair.group for pair in pairs} == set(GROUPS) - {ENGLISH}
    assert {pair.corruption for pair in pairs} == set(CORRUPTIONS) - set(GROUPS[ENGLISH])


def test_comparisons_use_every_corruption_about_equally() -> None:
    """No group is tested on a handful of pairs only."""
    pairs = preference_pairs(with_inputs([GoodText("", t) for t in GOOD * 3]), random.Random(0))
    counts = {corruption: sum(c.corruption == corruption for c in pairs) for corruption in CORRUPTIONS}
    assert min(counts.values()) >= max(counts.values()) - 6
    assert {c.group for c in pairs} == set(GROUPS)


def test_a_missing_input_is_made_of_the_rarest_words() -> None:
    """They keep the order of the text; an existing input stays."""
    texts = with_inputs([GoodText("", "the fox sees the glacier"), GoodText("mine", "the fox sees the moon")])
    assert texts[0].input.split()[0] in {"sees", "glacier"}
    assert "glacier" in texts[0].input
    assert texts[1].input == "mine"


def planted(
    shift: float, longer: bool, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[int], list[int], list[str]]:
    """States of 40 good and 240 corrupted texts: corruptions shift one direction by `shift`, or add words."""
    rng = np.random.default_rng(seed)
    groups = [f"f{n % 5}" for n in range(240)]
    good, bad = [n % 40 for n in range(240)], list(range(40, 280))
    topics = rng.normal(size=(40, 24))
    states = np.concatenate([topics, topics[good] + 0.5 * rng.normal(size=(240, 24))])
    states[bad, 0] -= shift
    sizes = rng.integers(20, 30, (3, 280)).astype(float)
    if longer:
        sizes[:, bad] += 20
    return states, sizes, good, bad, groups


def test_signal_shared_by_all_corruptions_generalises_to_unseen_groups() -> None:
    """A signal that all corruptions have in common beats length, with the whole interval above it."""
    facts = measured(*planted(shift=2.0, longer=False))
    assert facts["low"] > facts["length_only"]
    assert facts["accuracy"] > 0.9
    assert set(facts["by_group"]) == {f"f{n}" for n in range(5)}


def test_noise_does_not_beat_length() -> None:
    """Without a signal, the lower bound rarely exceeds the accuracy of length and of chance (1 of 40 when measured)."""
    exceeds = [
        facts["low"] > max(facts["length_only"], 0.5)
        for facts in (measured(*planted(shift=0.0, longer=False, seed=s)) for s in range(10))
    ]
    assert sum(exceeds) <= 1


def test_model_cannot_beat_length_if_length_decides() -> None:
    """If corrupted texts are longer, the length-only rule is always right, and the model cannot be above it."""
    facts = measured(*planted(shift=1.0, longer=True))
    assert facts["length_only"] == 1.0
    assert not facts["low"] > facts["length_only"]


def test_signals_of_single_groups_do_not_count_as_a_common_signal() -> None:
    """Every group has a direction of its own: accuracy is almost perfect on seen groups and low on unseen ones."""
    states, sizes, good, bad, groups = planted(shift=0.0, longer=False)
    for row, group in zip(bad, groups, strict=True):
        states[row, int(group[1])] -= 6
    facts = measured(states, sizes, good, bad, groups)
    assert facts["accuracy_seen"] > 0.95
    assert facts["accuracy"] < 0.75


def test_ties_are_half_right_and_the_interval_resamples_texts() -> None:
    """Credits are 1, 1/2 and 0; ten equal comparisons of one text count as one observation, not ten."""
    assert credit(np.array([2.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]
    credits_, texts, groups = np.array([1.0, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2]), np.array(["a", "b"] * 3)
    repeated = interval(*(np.repeat(x, 10) for x in (credits_, texts, groups)))
    assert repeated == interval(credits_, texts, groups)
    assert repeated[0] < credits_.mean() < repeated[1]


def test_lengths_are_words_characters_and_tokens() -> None:
    """The three measures that the length rule may choose from."""
    assert lengths(["a bc", "d"], [5, 3]).tolist() == [[2, 1], [4, 1], [5, 3]]


def test_the_head_orders_as_it_was_fitted_and_is_centred() -> None:
    """The weights give the good text the higher logit, and the mean state a logit near 0."""
    states, _, good, bad, _ = planted(shift=3.0, longer=False)
    weights = head(states + 5.0, good, bad, 0.1)
    assert credit((states[good] - states[bad]) @ weights).mean() > 0.9
    assert abs((states + 5.0).mean(axis=0) @ weights) < 0.5


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tiny.language_model(tmp_path_factory.mktemp("model")), "rev", "test")


def tiny_texts(n: int) -> list[GoodText]:
    """Texts in the tiny tokenizer's vocabulary: a fixed frame that corruptions break, with a few words of their own."""
    rng = random.Random(n)
    frame = rng.sample(tiny.WORDS, 15)
    return [
        GoodText("", " , ".join(" ".join([*frame[k : k + 3], rng.choice(tiny.WORDS)]) for k in range(0, 15, 3)))
        for _ in range(n)
    ]


def test_loading_the_base_draws_no_bar(weights: Weights, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers' own bar, "Loading weights", appeared in the middle of the live line."""
    from curate.scorers.frozen_encoder import FrozenEncoder

    FrozenEncoder(weights.folder, 100)
    assert capsys.readouterr().err == ""


def test_fitted_model_is_loaded_like_any_reward_model(tmp_path: Path, weights: Weights) -> None:
    """The saved model scores like the head on the last token's state."""
    fitted = fit(tiny_texts(20), weights, tmp_path, system="Rewrite.")
    facts = fitted.facts
    assert facts["examples"] == 20
    assert 0 <= facts["low"] <= facts["accuracy"] <= facts["high"] <= 1
    assert facts["comparisons"] == sum(f["comparisons"] for f in facts["by_group"].values())
    assert (
        facts["beats_length"]
        == (facts["low"] > max(facts["length_only"], 0.5))
        == (fitted.folder / "config.json").exists()
    )
    assert facts["beats_length"], "the frame is easy to learn; without a model the rest of this test is void"
    model = open_reward_model(fitted.folder, batch_tokens=512)
    full = with_inputs(tiny_texts(20))
    pairs = preference_pairs(full, random.Random(1))
    good = model.score([full[c.example] for c in pairs])
    bad = model.score([(full[c.example].input, c.corrupted) for c in pairs])
    margins = np.array([(g.value or 0) - (b.value or 0) for g, b in zip(good, bad, strict=True)])
    assert credit(margins).mean() > 0.8


def test_second_fit_reuses_the_first(tmp_path: Path, weights: Weights) -> None:
    """With the same examples and weights the stored facts are read and the weights are not opened. Other examples are
    fitted again."""
    examples = tiny_texts(20)
    first = fit(examples, weights, tmp_path)
    missing = Weights(tmp_path / "gone", "rev", "test")
    assert fit(examples, missing, tmp_path) == first
    assert fit(examples[:19], weights, tmp_path).folder != first.folder


def test_model_fitted_by_an_earlier_version_is_reused(tmp_path: Path) -> None:
    """It is not fitted again because a fact has been renamed since."""
    weights = Weights(tmp_path, "rev", "test")
    examples = [GoodText("", text) for text in GOOD]
    identity = content_id("bradley-terry", [VERSION, [["", text] for text in GOOD], "", "rev"])
    folder = tmp_path / f"reward-{identity[:12]}"
    folder.mkdir()
    old = {"identity": identity, "beats_length": False, "relevance": {"accuracy": 0.5}, "by_family": {"loop": {}}}
    (folder / "fit.json").write_text(json.dumps(old))
    facts = fit(examples, weights, tmp_path).facts
    assert (facts["pmi"], facts["by_group"]) == ({"accuracy": 0.5}, {"loop": {}})


def test_only_the_two_newest_fitted_models_are_kept(tmp_path: Path) -> None:
    """Each contains a language model; other folders next to them stay."""
    import os

    from curate.scorers.bradley_terry import forget_old_fits

    for number, name in enumerate(("reward-b", "reward-a", "reward-c", "mine")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fit.json").write_text("{}")
        os.utime(tmp_path / name / "fit.json", (number, number))
    (tmp_path / "reward-unfitted").mkdir()
    forget_old_fits(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "reward-a", "reward-c", "reward-unfitted"]


def test_many_good_texts_are_fitted_on_a_draw_of_them() -> None:
    """Corrupting each text with all others takes quadratic time, and the fit cubic: three thousand texts took hours.
    The draw depends on the texts alone, so one more text seldom fits again."""
    examples = [GoodText("", f"{text} {number}") for number, text in enumerate(GOOD * 100)]
    chosen = drawn(examples)
    assert len(chosen) == 128
    assert drawn(examples[:128]) == examples[:128]
    assert drawn([example for example in examples if example != chosen[0]]) != chosen
    assert drawn(examples[::-1]) == chosen[::-1]
    left_out = next(example for example in examples if example not in chosen)
    assert drawn([example for example in examples if example != left_out]) == chosen


def test_fit_of_all_of_many_texts_by_an_earlier_version_is_reused(tmp_path: Path) -> None:
    """Rows that it has scored are not scored again."""
    examples = [GoodText("", f"{text} {number}") for number, text in enumerate(GOOD * 20)]
    identity = content_id("bradley-terry", [VERSION, list(map(list, examples)), "", "rev"])
    folder = tmp_path / f"reward-{identity[:12]}"
    folder.mkdir()
    (folder / "fit.json").write_text(json.dumps({"identity": identity, "beats_length": False}))
    assert fit(examples, Weights(tmp_path, "rev", "test"), tmp_path).facts["identity"] == identity
