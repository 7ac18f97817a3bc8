"""Sequence-classification reward models of any kind, tested on models trained here."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.scorers import Score
from curate.scorers.reward import RewardModel, batches, chat_tokens, open_reward_model, reward_scorer
from curate.scorers.rules import asked_of
from schemas.errors import MissingDependency, SpecError
from schemas.records import Imported, Message, Pair, Reason
from tests.curate import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.reward_model(tmp_path_factory.mktemp("reward"))


def texts(n: int) -> list[tuple[str, str]]:
    rng = random.Random(n)
    return [("ban bel", " ".join(rng.choices(tiny.WORDS, k=rng.randint(1, 40)))) for _ in range(n)]


def scored(model: RewardModel, rows: list[tuple[str, str]]) -> list[Score]:
    return model.score([([{"role": "user", "content": input}], output) for input, output in rows])


def values(model: RewardModel, rows: list[tuple[str, str]]) -> list[float]:
    scores = scored(model, rows)
    assert all(s.value is not None for s in scores), scores
    return [s.value for s in scores if s.value is not None]


def test_model_ranks_as_it_was_trained(folder: Path) -> None:
    """A model trained to prefer "good" to "bad" does so on unseen texts when it is loaded by pairsmith."""
    model = open_reward_model(folder, batch_tokens=512)
    rng = random.Random(99)
    rows = [rng.choices(tiny.WORDS, k=7) for _ in range(40)]
    good = values(model, [("ban bel", " ".join([*row, "good"])) for row in rows])
    bad = values(model, [("ban bel", " ".join([*row, "bad"])) for row in rows])
    assert sum(g > b for g, b in zip(good, bad, strict=True)) >= 38


@pytest.mark.parametrize("pad_token_id", [5, None, 1])
def test_a_row_scores_the_same_alone_and_in_any_batch(tmp_path: Path, pad_token_id: int | None) -> None:
    """Padding, mask and pad token do not affect scores, including without a pad token or with the end token as one."""
    folder = tiny.reward_model(tmp_path, steps=1, pad_token_id=pad_token_id)
    rows = texts(37)
    together = values(open_reward_model(folder, batch_tokens=400), rows)
    alone = [values(open_reward_model(folder, batch_tokens=128), [row])[0] for row in rows[:12]]
    assert together[:12] == pytest.approx(alone, abs=2e-3)
    assert len(set(together)) > 30


def test_scores_are_the_raw_logits_of_transformers(folder: Path) -> None:
    """A score equals the model's own forward pass on the templated chat with one BOS token."""
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
    """Whether only the template adds it or the tokenizer does too."""
    ids = chat_tokens(tiny.tokenizer(adds_bos=adds_bos), "ban", "bel")
    assert ids.count(0) == 1
    assert ids[0] == 0


def test_no_system_message_is_added() -> None:
    """The chat is a user and an assistant turn, as the model cards of reward models require."""
    words = tiny.tokenizer()
    assert words.convert_ids_to_tokens(chat_tokens(words, "ban", "bel")) == [
        *("<bos>", "<user>", "ban", "<end>", "<assistant>", "bel", "<end>")
    ]


def test_without_a_template_the_texts_are_a_sentence_pair() -> None:
    """DeBERTa-style reward models expect two sentences."""
    words = tiny.tokenizer(template=False)
    assert words.convert_ids_to_tokens(chat_tokens(words, "ban", "bel")) == ["<bos>", "ban", "bel"]


class Poisoned:
    """A model that raises, or returns NaN or infinity, for each row that contains one word."""

    def __init__(self, model: Any, word: int, how: str) -> None:
        self._model, self._word, self._how = model, word, how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

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
def test_bad_row_does_not_affect_its_batch(folder: Path, how: str, word: str) -> None:
    """A row that crashes the model, or whose score is NaN or infinite, has a reason instead of a score; the rest of its
    batch is scored."""
    from transformers import AutoModelForSequenceClassification

    words = tiny.tokenizer()
    inner = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model = RewardModel(Poisoned(inner, words.convert_tokens_to_ids("bad"), how), words, 512)
    rows = [("ban", "bel bis"), ("ban", "bel bad"), ("ban", "bor but")]
    scores = scored(model, rows)
    assert [s.value is None for s in scores] == [False, True, False]
    assert scores[1].reason.code == word
    clean = values(open_reward_model(folder, batch_tokens=512), [rows[0], rows[2]])
    assert [scores[0].value, scores[2].value] == pytest.approx(clean, abs=2e-3)


def test_rows_that_cannot_be_read_have_no_score(folder: Path) -> None:
    """A row that is too long, or has a control token that would start a turn, has a reason instead of a score; it is
    never truncated."""
    model = open_reward_model(folder, batch_tokens=512)
    long, control, fine = scored(model, [("ban", "bel " * 200), ("ban", "bel <user> bis"), ("ban", "bel")])
    assert (long.value, long.reason.code) == (None, "overlong")
    assert control.value is None
    assert str(control.reason).startswith("control: the text contains the token <user>")
    assert fine.value is not None


def test_a_classifier_with_two_labels_is_refused(tmp_path: Path) -> None:
    """It is unknown which label means good."""
    from transformers import LlamaForSequenceClassification

    LlamaForSequenceClassification(tiny.config(num_labels=2, pad_token_id=5)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(SpecError, match="has 2 labels; a reward model has one"):
        open_reward_model(tmp_path, batch_tokens=512)


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    """transformers would give it a randomly initialised head, and every score would be noise."""
    from transformers import LlamaForCausalLM

    LlamaForCausalLM(tiny.config(num_labels=1, pad_token_id=5)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(SpecError, match=r"do not include score\.weight"):
        open_reward_model(tmp_path, batch_tokens=512)


def test_missing_folder_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises MissingDependency instead of an error of the hub client."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingDependency, match="cannot be loaded"):
        open_reward_model(tmp_path / "nothing", batch_tokens=512)


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 300)), st.integers(128, 700))
def test_batches_contain_every_row_once_within_the_budget(lengths: dict[int, int], budget: int) -> None:
    """rows x longest row <= budget, unless a single row is longer; no row is lost or repeated."""
    grouped = list(batches(lengths, budget))
    assert sorted(row for batch in grouped for row in batch) == sorted(lengths)
    for batch in grouped:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_scores_are_in_the_order_of_the_pairs(folder: Path) -> None:
    """Batching by length does not reorder them."""
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


def pair(input: str, output: str, system: str = "", turns: tuple[Message, ...] = ()) -> Pair:
    return Pair(seed_id="s", input=input, output=output, system=system, turns=turns, origin=Imported(source="t"))


def test_instruction_and_rules_are_part_of_the_first_user_turn() -> None:
    """A public reward model judges replies to a user, so the instruction and the rules are put before the first user
    turn of the conversation, and no system message is added."""
    plain = pair("a fox", "x", system="Rewrite it.")
    assert asked_of(plain, "Name a light.") == [{"role": "user", "content": "Rewrite it.\n\nName a light.\n\na fox"}]
    assert asked_of(plain, "") == [{"role": "user", "content": "a fox"}], "a fitted model gets the form of its training"
    turns = (Message(role="user", content="Hello"), Message(role="assistant", content="Hi"))
    conversation = asked_of(pair("And now?", "x", turns=turns), "Be short.")
    assert [turn["role"] for turn in conversation] == ["user", "assistant", "user"]
    assert conversation[0]["content"] == "Be short.\n\nHello"
    opened_by_the_assistant = asked_of(pair("And now?", "x", turns=turns[1:]), "Be short.")
    assert [turn["role"] for turn in opened_by_the_assistant] == ["user", "assistant", "user"]


def test_the_rules_reach_the_model(folder: Path) -> None:
    """With and without rules the same pair has different scores, and the score is that of the whole chat."""
    rows = [pair("ban bel", "bis good")]
    (alone,) = asyncio.run(_all(reward_scorer(folder, batch_tokens=512), rows))
    (with_rules,) = asyncio.run(_all(reward_scorer(folder, batch_tokens=512, rules="dor dut"), rows))
    assert alone.value is not None
    assert with_rules.value is not None
    assert abs(alone.value - with_rules.value) > 1e-4
    whole = [("dor dut ban bel", "bis good")]
    assert [with_rules.value] == pytest.approx(values(open_reward_model(folder, batch_tokens=512), whole), abs=2e-3)


def bert(folder: Path, **labels: Any) -> Path:
    """A random sentence-pair model that depends on token types, with one label unless `labels` says otherwise."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tiny.WORDS]
    core = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, [("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(words), initializer_range=0.5, **shape, **(labels or {"num_labels": 1}))
    BertForSequenceClassification(config).save_pretrained(folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    read = ["input_ids", "token_type_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=read, **special).save_pretrained(folder)
    return folder


def test_a_sentence_pair_keeps_its_token_types(tmp_path: Path) -> None:
    """BERT distinguishes question and answer by them: without them the scores differ."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = bert(tmp_path / "bert")
    plain, words = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = [(" ".join(tiny.WORDS[n : n + 3]), " ".join(tiny.WORDS[n + 3 : n + 5 + n])) for n in range(6)]
    with torch.inference_mode():
        expected = [float(plain(**words(a, b, return_tensors="pt")).logits[0, 0]) for a, b in rows]
        untyped = words(*rows[0], return_tensors="pt")
        untyped.pop("token_type_ids")
        without = float(plain(**untyped).logits[0, 0])
    scores = values(open_reward_model(folder, batch_tokens=512), rows)
    assert scores == pytest.approx(expected, abs=0.03 * max(map(abs, expected)))
    assert abs(without - expected[0]) > 0.03 * max(map(abs, expected))


class LimitedMemoryModel:
    """A model with memory for a limited number of tokens per batch."""

    def __init__(self, model: Any, tokens: int) -> None:
        self._model, self._tokens = model, tokens
        self.tried: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def eval(self) -> LimitedMemoryModel:
        return self

    def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
        self.tried.append(input_ids.numel())
        if input_ids.numel() > self._tokens:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self._model(input_ids=input_ids, attention_mask=attention_mask)


def test_a_batch_that_does_not_fit_is_halved_and_later_ones_begin_smaller(folder: Path) -> None:
    """No row is lost, rows are not processed one by one, and a size that did not fit is not tried again and again."""
    from transformers import AutoModelForSequenceClassification

    inner = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = [("ban bel", f"{' '.join(tiny.WORDS[n % 40 : n % 40 + 6])}") for n in range(96)]
    small = LimitedMemoryModel(inner, 150)
    scores = scored(RewardModel(small, tiny.tokenizer(), 512), rows)
    assert [s.value for s in scores] == pytest.approx(
        values(open_reward_model(folder, batch_tokens=512), rows), abs=2e-3
    )
    failed = [tokens for tokens in small.tried if tokens > 150]
    assert len(failed) <= 2, "later batches are no larger than the one that fitted"
    assert len(small.tried) < 96 / 3


def random_model(folder: Path, kind: str, **more: Any) -> Path:
    """An untrained model of another architecture, with words as tokens and no chat template."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, vocab_size=len(tiny.WORDS) + 10, num_labels=1, pad_token_id=5, **more)
    model = AutoModelForSequenceClassification.from_config(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    tiny.tokenizer(template=False, adds_bos=False).save_pretrained(folder)
    return folder


def test_a_model_that_reads_padding_gets_its_rows_one_by_one(tmp_path: Path) -> None:
    """XLNet attends to the padding whatever the mask says, so a row's score depended on longer rows in its batch. Its
    config gives -1 positions, by which every row was too long."""
    folder = random_model(tmp_path / "xlnet", "xlnet", d_model=32, n_layer=2, n_head=4, d_inner=48)
    rows = [("ban", " ".join(tiny.WORDS[n : n + length])) for n, length in enumerate((30, 21, 12, 5, 3))]
    alone = [values(open_reward_model(folder, batch_tokens=4096), [row])[0] for row in rows]
    together = values(open_reward_model(folder, batch_tokens=4096), rows)
    assert together == pytest.approx(alone, abs=1e-4)


def test_positions_reserved_for_padding_reduce_the_token_limit(tmp_path: Path) -> None:
    """Of RoBERTa's 512 positions 510 are usable, of 514 512: a longer row crashed, and on a GPU so did every row after
    it."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    folder = random_model(tmp_path / "roberta", "roberta", max_position_embeddings=26, **sizes)
    rows = [("ban", " ".join(tiny.WORDS[:words])) for words in (19, 20)]
    whole, longer = scored(open_reward_model(folder, batch_tokens=4096), rows)
    assert whole.value is not None
    assert longer.reason == Reason("overlong", "21 tokens; the model reads at most 20")
