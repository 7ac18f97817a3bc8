"""Tests of a reward model trained on the project's own preferences: it learns them, is tested on held-out inputs, and
scores like any other scorer."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from curate.outcome import curate_project
from curate.preferences import Preference
from curate.review.sampling import in_estimation_half
from curate.scorers.reward import reward_scorer
from curate.split import seed_split
from schemas.errors import Interrupted, NoWork
from schemas.project import Project
from schemas.records import Pair, Seed
from schemas.reviews import Review
from schemas.spec import Spec
from schemas.store import Store
from tests.curate import tiny
from train import reward_training
from train.base_models.base_model import Base, hash_model
from train.reward_training import (
    RewardResult,
    input_of,
    is_held_out,
    own_preferences,
    refuse_few,
    train_reward,
    with_near_questions,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    pytest.importorskip("trl", reason="training needs the train extra")
    folder = tiny.language_model(tmp_path_factory.mktemp("base"))
    return Base("tiny", folder, hash_model(folder))


def project(folder: Path, **train: Any) -> Project:
    settings = {"r": 4, "learning_rate": 0.01, "batch": 8, "epochs": 3, "max_length": 64, **train}
    raw = tiny.spec().model_dump(mode="json", exclude_defaults=True) | {"train": settings}
    raw["task"]["style"], raw["task"]["system"] = "dor", "dut"
    return Project(folder, Spec.model_validate(raw))


def preferred(count: int, words: tuple[str, str] = ("good", "bad"), *, longer: int = 0) -> list[Preference]:
    """One preference per input: the chosen text contains the first of `words` and is longer by `longer` words."""
    rng, preferences = random.Random(5), []
    for number in range(count):
        seed = Seed(kind="input", text=f"ban bel {number}", source="s")
        text, at = rng.choices(tiny.WORDS, k=6), rng.randrange(7)
        sides = [
            tiny.made_pair(seed, " ".join([*text[:at], word, *text[at:], *extra]), sample)
            for sample, (word, extra) in enumerate(zip(words, (text[:longer], []), strict=True))
        ]
        preferences.append(Preference("verdict", "train", *sides))
    return preferences


def test_it_learns_preferences_and_scores_like_any_scorer(
    base: Base, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Held-out pairs are ordered correctly where length says nothing; the tested model is the one that is saved, and
    training with the same preferences reuses it. The trainer used to print its log to standard output,
    and transformers that the new head has no stored weights."""
    subject, rows = project(tmp_path), preferred(160)
    result = train_reward(rows, base, subject, tmp_path / "reward-models")
    assert capfd.readouterr() == ("", "")
    assert result.accuracy.estimate > 0.9
    assert result.length_only.estimate == 0.5
    assert result.beats_length
    assert result.by == {"verdict": 160}
    assert result.held_out == result.held_out_inputs == sum(is_held_out(input_of(p)) for p in rows)
    again = train_reward(rows, base, subject, tmp_path / "reward-models")
    assert again == result
    scorer = reward_scorer(result.folder, batch_tokens=512, rules="dor")
    fresh = preferred(170)[160:]

    async def scores(pairs: list[Pair]) -> list[float]:
        return [score.value or 0.0 for score in await scorer(pairs)]

    chosen = asyncio.run(scores([p.chosen for p in fresh]))
    rejected = asyncio.run(scores([p.rejected for p in fresh]))
    assert sum(a > b for a, b in zip(chosen, rejected, strict=True)) >= 9


def test_fewer_preferences_at_a_time_learn_the_same(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the preferences of a batch could take too much memory, they are computed one after the other, which is
    reported, in as many steps and with the same losses. All were computed at once, whatever was free."""
    curves, messages = [], []
    subject = project(tmp_path, batch=6, epochs=2, learning_rate=1e-3, precision="float32")
    for free in (2**40, 0):
        losses = list[float]()

        def note(_: str, numbers: Mapping[str, Any], losses: list[float] = losses) -> None:
            losses.extend([numbers["loss"]] if "loss" in numbers else [])
            messages.extend([numbers["message"]] if "message" in numbers else [])

        monkeypatch.setattr(reward_training, "free_bytes", lambda free=free: free)
        train_reward(preferred(80), base, subject, tmp_path / str(free), note)
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert [message.endswith("so they are computed 1 at a time") for message in messages] == [True]


def test_the_only_step_of_a_fit_is_no_warm_up(base: Base, tmp_path: Path) -> None:
    """With all preferences in one batch something is learned: the learning rate of the only step was 0."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    result = train_reward(preferred(80), base, project(tmp_path, epochs=1, batch=128), tmp_path / "out")
    untrained = train_reward(
        preferred(80), base, project(tmp_path, epochs=1, batch=128, learning_rate=1e-12), tmp_path / "out"
    )
    weights = [load_file(Path(each.folder) / "model.safetensors") for each in (result, untrained)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_fit_ended_by_ctrl_c_says_that_it_starts_over(base: Base, tmp_path: Path) -> None:
    """Nothing of a fit that Ctrl-C ends is kept. It used to be advised to continue, like commands that do."""

    def press_ctrl_c(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="was not trained") as raised:
        train_reward(preferred(80), base, project(tmp_path), tmp_path / "out", press_ctrl_c)
    assert raised.value.fix == "Run the same command again: it starts over."
    assert not [*(tmp_path / "out").iterdir()]


def test_a_model_that_only_knows_length_is_not_called_better(base: Base, tmp_path: Path) -> None:
    """If the better answer is always longer, length alone is always right: the model is no gain. The tokenizer needs
    neither an end token nor one for padding, as for an adapter; without both this ended inside the trainer."""
    folder = tmp_path / "endless"
    shutil.copytree(base.folder, folder)
    endless = tiny.tokenizer(pad=None)
    endless.eos_token = None
    endless.save_pretrained(folder)
    base = Base("endless", folder, hash_model(folder))
    result = train_reward(preferred(80, ("ban", "ban"), longer=4), base, project(tmp_path, epochs=1), tmp_path / "out")
    assert result.length_only.estimate == 1.0
    assert result.length_rule == "longer"
    assert not result.beats_length


def test_no_input_is_on_both_sides_of_the_test(base: Base, tmp_path: Path) -> None:
    """Imported answers to one question are seeds of their own, and so are the tickets of a customer. Each was held out
    by itself, so the model was tested on questions whose other answers it had learned, which counted as independent
    inputs."""
    rows = []
    for one in preferred(80):
        number = int(one.chosen.input.split()[-1])
        question = f"ban bel {number // 2}" if number < 40 else one.chosen.input
        sides = [pair.model_copy(update={"input": question.upper() if number % 2 else question}) for pair in one[2:4]]
        rows.append(one._replace(chosen=sides[0], rejected=sides[1]))
    groups = {one.chosen.seed_id: f"customer {number // 4}" for number, one in enumerate(rows) if number >= 40}
    names = {input_of(one, groups) for one in rows}
    assert len(names) == 20 + 10
    with pytest.raises(NoWork, match="80 preferences of 30 inputs"):
        refuse_few(rows, groups)
    result = train_reward(
        rows, base, project(tmp_path, epochs=1), tmp_path / "out", groups=dict(list(groups.items())[:8])
    )
    names = {input_of(one, dict(list(groups.items())[:8])) for one in rows}
    assert result.held_out_inputs == sum(map(is_held_out, names)) < result.held_out


def test_nearly_the_same_question_is_one_input(tmp_path: Path) -> None:
    """A question that was asked in slightly other words stood on both sides of the test: the model had learned its
    answers, and it counted as an independent input."""
    rows, words = preferred(40), random.Random(1)
    for number in range(0, 40, 2):
        question = " ".join(words.sample(tiny.WORDS, k=12))
        for at, asked in ((number, question), (number + 1, f"{question} please")):
            sides = [pair.model_copy(update={"input": asked}) for pair in rows[at][2:4]]
            rows[at] = rows[at]._replace(chosen=sides[0], rejected=sides[1])
    assert len({input_of(one) for one in rows}) == 40
    groups = {rows[0].chosen.seed_id: "customer", rows[2].chosen.seed_id: "customer"}
    near = with_near_questions(rows, groups, project(tmp_path))
    assert [input_of(a, near) == input_of(b, near) for a, b in zip(rows[::2], rows[1::2], strict=True)] == [True] * 20
    assert len({input_of(one, near) for one in rows}) == 19
    assert with_near_questions(rows, near, project(tmp_path)) == near


def test_too_few_preferences_are_refused(base: Base, tmp_path: Path) -> None:
    """Before any weights are read, with the number of preferences and the number needed."""
    folder = shutil.copytree(base.folder, tmp_path / "weightless", ignore=shutil.ignore_patterns("*.safetensors"))
    weightless = Base("tiny", Path(folder), base.hash)
    with pytest.raises(NoWork, match="40 preferences of 40 inputs; a reward model needs 64 preferences of 32 inputs"):
        train_reward(preferred(40), weightless, project(tmp_path), tmp_path / "out")
    one_input = [p._replace(chosen=preferred(1)[0].chosen, rejected=preferred(1)[0].rejected) for p in preferred(80)]
    with pytest.raises(NoWork, match="of 1 input;"):
        train_reward(one_input, weightless, project(tmp_path), tmp_path / "out")
    with pytest.raises(NoWork, match=r"0 inputs \(80 more are longer than train\.max_length\).* Raise train\.max_l"):
        train_reward(preferred(80), weightless, project(tmp_path, max_length=16), tmp_path / "out")
    with pytest.raises(NoWork, match=r"\(3 more are longer than train\.max_length\).* Have people review more"):
        refuse_few(preferred(40), too_long=3)  # too few even with them


def test_reviews_of_the_estimation_half_are_not_learned(tmp_path: Path) -> None:
    """Of rejected rows paired with accepted ones, only rows outside the estimation half are used."""
    subject = project(tmp_path)
    with Store.open(Store.url_for(subject)) as store:
        answers = {f"ban {n}": [f"must good {n}", f"must poor {n}", f"gone {n}"] for n in range(12)}
        tiny.pool(store, subject, answers)
        for n, seed in enumerate(list(store.active_seeds())):
            good, poor, _ = (tiny.made_pair(seed, text, i) for i, text in enumerate(answers[seed.text or ""]))
            for pair, decision in ((good, "accept"), (poor, "reject")):
                store.write(_review(pair, decision, n))
        asyncio.run(curate_project(subject, store, fingerprints=["now"]))
        preferences = asyncio.run(own_preferences(subject, store, ["now"]))
        seed_number = subject.spec.review.seed
    by_people = [p for p in preferences if p.by == "verdict"]
    assert by_people
    assert not any(in_estimation_half(seed_number, p.chosen.id) for p in by_people)
    assert not any(in_estimation_half(seed_number, p.rejected.id) for p in by_people)
    assert len(by_people) < 12


def test_a_rejected_answer_is_compared_with_an_accepted_one_that_may_be_used(tmp_path: Path) -> None:
    """Of several accepted answers, the one of the nearest length was chosen before it was asked whether it may be used:
    if it was in the estimation half, the rejected answer was lost, although reviewers had accepted others."""
    subject = project(tmp_path)
    with Store.open(Store.url_for(subject)) as store:
        words = random.Random(2)
        texts = {
            " ".join(words.sample(tiny.WORDS, k=8)): [
                f"must {' '.join(words.sample(tiny.WORDS, k=8))}" for _ in range(4)
            ]
            for _ in range(30)
        }
        tiny.pool(store, subject, texts)
        usable = 0
        for n, seed in enumerate(list(store.active_seeds())):
            pairs = [tiny.made_pair(seed, text, i) for i, text in enumerate(texts[seed.text or ""])]
            for i, pair in enumerate(pairs):
                store.write(_review(pair, "accept" if i else "reject", n))
            halves = [in_estimation_half(subject.spec.review.seed, pair.id) for pair in pairs]
            usable += not (seed_split(seed, subject.spec.split) == "test" or halves[0] or all(halves[1:]))
        asyncio.run(curate_project(subject, store, fingerprints=["now"]))
        by_people = [p for p in asyncio.run(own_preferences(subject, store, ["now"])) if p.by == "verdict"]
    assert len(by_people) == usable > 2
    assert not any(in_estimation_half(subject.spec.review.seed, id_) for p in by_people for id_ in p.ids)


def test_lengths_are_balanced_without_the_estimation_half(tmp_path: Path) -> None:
    """Preferences of the gates were thinned against all of the reviewers', of which half were removed afterwards: what
    was left taught that the shorter answer is better."""
    subject = project(tmp_path)
    with Store.open(Store.url_for(subject)) as store:
        reviewed = {f"ban {n}": [f"must aaaa bbbb {n}", f"must {n}"] for n in range(10, 40)}
        judged = {f"ban {n}": [f"must {n}", f"gone aaaa bbbb {n}"] for n in range(40, 70)}
        tiny.pool(store, subject, reviewed | judged)
        for n, seed in enumerate(list(store.active_seeds())):
            for i, decision in enumerate(("accept", "reject")):
                if texts := reviewed.get(seed.text or ""):
                    store.write(_review(tiny.made_pair(seed, texts[i], i), decision, n))
        asyncio.run(curate_project(subject, store, fingerprints=["now"]))
        preferences = asyncio.run(own_preferences(subject, store, ["now"]))
    sides = [(p.by, p.longer) for p in preferences]
    assert 0 < sides.count(("verdict", 1)) < 30
    assert sides.count(("gate", -1)) == sides.count(("verdict", 1)) == len(sides) / 2


def _review(pair: Pair, decision: Any, number: int) -> Review:
    return Review(pair_id=pair.id, reviewer=f"kim{number}", decision=decision, seconds=3)


def test_the_artifact_has_identity_and_test_results(base: Base, tmp_path: Path) -> None:
    """The store's artifact has an identity, as every reward model has, and its test results."""
    result = train_reward(preferred(64), base, project(tmp_path, epochs=1), tmp_path / "out")
    artifact = result.artifact
    assert artifact.kind == "reward_model"
    assert artifact.facts["identity"] == result.id
    kept = RewardResult.model_validate({k: v for k, v in artifact.facts.items() if k != "identity"})
    assert kept.accuracy == result.accuracy
