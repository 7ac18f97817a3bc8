"""Any sequence-classification reward model, tested on models that the test trains."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.scorers.reward import RewardModel, batches, chat_tokens, open_reward_model, reward_scorer
from schemas.errors import MissingDependency, SpecError
from schemas.records import Imported, Pair
from tests.curate import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.reward_model(tmp_path_factory.mktemp("reward"))


def texts(n: int) -> list[tuple[str, str]]:
    rng = random.Random(n)
    return [("ban bel", " ".join(rng.choices(tiny.WORDS, k=rng.randint(1, 40)))) for _ in range(n)]


def values(model: RewardModel, rows: list[tuple[str, str]]) -> list[float]:
    scores = model.score(rows)
    assert all(s.value is not None for s in scores), scores
    return [s.value for s in scores if s.value is not None]


def test_it_ranks_as_it_was_trained(folder: Path) -> None:
    """A model trained to like "good" and dislike "bad" does so on texts it never saw, through our path."""
    model = open_reward_model(folder, batch_tokens=512)
    rng = random.Random(99)
    rows = [rng.choices(tiny.WORDS, k=7) for _ in range(40)]
    good = values(model, [("ban bel", " ".join([*row, "good"])) for row in rows])
    bad = values(model, [("ban bel", " ".join([*row, "bad"])) for row in rows])
    assert sum(g > b for g, b in zip(good, bad, strict=True)) >= 38


@pytest.mark.parametrize("pad_token_id", [5, None, 1])
def test_a_row_scores_the_same_alone_and_in_any_batch(tmp_path: Path, pad_token_id: int | None) -> None:
    """Padding, mask and pad token do not leak into scores: also without a pad token, and with the end token as one."""
    folder = tiny.reward_model(tmp_path, steps=1, pad_token_id=pad_token_id)
    rows = texts(37)
    together = values(open_reward_model(folder, batch_tokens=400), rows)
    alone = [values(open_reward_model(folder, batch_tokens=128), [row])[0] for row in rows[:12]]
    assert together[:12] == pytest.approx(alone, abs=2e-3)
    assert len(set(together)) > 30


def test_scores_are_the_raw_logits_of_transformers(folder: Path) -> None:
    """The number is what the model's own forward pass gives for the templated chat with one BOS."""
    import torch
    from transformers import AutoModelForSequenceClassification

    words = tiny.tokenizer()
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    rows = texts(5)
    chats = [[0, *words.encode(f"<user> {s} <end> <assistant> {e} <end>", add_special_tokens=False)] for s, e in rows]
    with torch.inference_mode():
        expected = [float(model(input_ids=torch.tensor([chat])).logits[0, 0]) for chat in chats]
    assert values(open_reward_model(folder, batch_tokens=512), rows) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_chat_has_exactly_one_bos(adds_bos: bool) -> None:
    """Whether only the template writes it or the tokenizer does too."""
    ids = chat_tokens(tiny.tokenizer(adds_bos=adds_bos), "ban", "bel")
    assert ids.count(0) == 1
    assert ids[0] == 0


def test_no_system_message_is_added() -> None:
    """The chat is user and assistant, as the cards of reward models ask."""
    words = tiny.tokenizer()
    assert words.convert_ids_to_tokens(chat_tokens(words, "ban", "bel")) == [
        *("<bos>", "<user>", "ban", "<end>", "<assistant>", "bel", "<end>")
    ]


def test_without_a_template_the_texts_are_a_sentence_pair() -> None:
    """DeBERTa-style reward models take two sentences."""
    words = tiny.tokenizer(template=False)
    assert words.convert_ids_to_tokens(chat_tokens(words, "ban", "bel")) == ["<bos>", "ban", "bel"]


class Poisoned:
    """A model that raises, or answers NaN, wherever one word stands."""

    def __init__(self, model: Any, word: int, how: str) -> None:
        self._model, self._word, self._how, self.config, self.device = model, word, how, model.config, model.device

    def eval(self) -> Poisoned:
        return self

    def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
        answer = self._model(input_ids=input_ids, attention_mask=attention_mask)
        hit = (input_ids == self._word).any(dim=1)
        if self._how == "raise" and hit.any():
            raise RuntimeError("out of memory")
        answer.logits[hit] = float(self._how) if self._how != "raise" else 0.0
        return answer


@pytest.mark.parametrize(("how", "word"), [("raise", "crashed"), ("nan", "nan"), ("inf", "nan")])
def test_a_bad_row_costs_only_itself(folder: Path, how: str, word: str) -> None:
    """A row that crashes the model or comes out as NaN has no score and a reason; its batch keeps theirs."""
    from transformers import AutoModelForSequenceClassification

    words = tiny.tokenizer()
    inner = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model = RewardModel(Poisoned(inner, words.convert_tokens_to_ids("bad"), how), words, 512)
    rows = [("ban", "bel bis"), ("ban", "bel bad"), ("ban", "bor but")]
    scores = model.score(rows)
    assert [s.value is None for s in scores] == [False, True, False]
    assert scores[1].reason.code == word
    clean = values(open_reward_model(folder, batch_tokens=512), [rows[0], rows[2]])
    assert [scores[0].value, scores[2].value] == pytest.approx(clean, abs=2e-3)


def test_rows_that_cannot_be_read_have_no_score(folder: Path) -> None:
    """Longer than the model reads, or with a control token that would open a role: None with a reason, never cut."""
    model = open_reward_model(folder, batch_tokens=512)
    long, control, fine = model.score([("ban", "bel " * 200), ("ban", "bel <user> bis"), ("ban", "bel")])
    assert (long.value, long.reason.code) == (None, "overlong")
    assert control.value is None
    assert str(control.reason).startswith("control: token <user>")
    assert fine.value is not None


def test_a_classifier_with_two_labels_is_refused(tmp_path: Path) -> None:
    """Which label means good is not known."""
    from transformers import LlamaForSequenceClassification

    LlamaForSequenceClassification(tiny.config(num_labels=2, pad_token_id=5)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(SpecError, match="has 2 labels; a reward model has one"):
        open_reward_model(tmp_path, batch_tokens=512)


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    """transformers would give it a random head, and every score would be noise."""
    from transformers import LlamaForCausalLM

    LlamaForCausalLM(tiny.config(num_labels=1, pad_token_id=5)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(SpecError, match=r"lack score\.weight"):
        open_reward_model(tmp_path, batch_tokens=512)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback of a hub client."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingDependency, match="cannot be loaded"):
        open_reward_model(tmp_path / "nothing", batch_tokens=512)


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 300)), st.integers(128, 700))
def test_batches_hold_every_row_once_within_the_budget(lengths: dict[int, int], budget: int) -> None:
    """rows x longest <= budget unless a row alone is longer; nothing lost, nothing twice."""
    found = list(batches(lengths, budget))
    assert sorted(row for batch in found for row in batch) == sorted(lengths)
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_the_scorer_answers_in_the_order_of_the_pairs(folder: Path) -> None:
    """Batching by length does not reorder."""
    scorer = reward_scorer(folder, batch_tokens=256)
    rows = texts(20)
    pairs = [
        Pair(seed_id="s", input=s, output=e, system="", origin=Imported(source=str(n))) for n, (s, e) in enumerate(rows)
    ]
    scores = asyncio.run(_all(scorer, pairs))
    assert [s.value for s in scores] == pytest.approx(
        values(open_reward_model(folder, batch_tokens=512), rows), abs=2e-3
    )


async def _all(scorer: Any, pairs: list[Pair]) -> Any:
    return await scorer(pairs)
