"""Scores of a reward model: any `AutoModelForSequenceClassification` with one label, from a folder or a hub id.

The pair becomes the chat [user: input, assistant: output] through the tokenizer's own template, as model cards
of Skywork-Reward-V2 and its kind ask; no system message is added. A tokenizer without a template gets the two texts
as a sentence pair (DeBERTa-style reward models). The score is the raw logit, so only scores of answers to one input
compare.

Not covered: models with custom code (`.score()` heads), generative judges, several labels.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.scorers import Score, Scorer
from schemas.errors import MissingDependency, SpecError
from schemas.records import Pair, Reason

if TYPE_CHECKING:
    import torch

_ROWS = 64  # rows in a batch at most, however short they are


class RewardModel:
    """A loaded reward model. `batch_tokens` bounds rows x longest row of a batch, padding counted.

    Not thread safe. Open one with `open_reward_model`.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens
        self._text_config = model.config.get_text_config()
        added = tokenizer.added_tokens_decoder.values()
        self._control = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
        self._own_pad = self._text_config.pad_token_id
        head = getattr(model, "score", None)
        if head is not None and hasattr(head, "weight"):
            # A 16-bit head rounds logits to two or three digits, which makes ties of close candidates.
            head.float()
            head.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(head.weight.dtype),))

    def score(self, texts: Sequence[tuple[str, str]]) -> list[Score]:
        """The raw logit of each (input, output), in the order given.

        A row that is too long for the model, holds a control token of its template, crashes it or comes out as NaN or
        infinite has no score. A batch that crashes is run again row by row, so one bad row costs only itself.
        """
        scores: list[Score] = [Score(None, Reason("unscored"))] * len(texts)
        tokens: dict[int, list[int]] = {}
        for row, (input, output) in enumerate(texts):
            problem, ids = self._tokens(input, output)
            if problem:
                scores[row] = Score(None, problem)
            else:
                tokens[row] = ids
        for batch in batches({row: len(ids) for row, ids in tokens.items()}, self._batch_tokens):
            for row, score in zip(batch, self._safely([tokens[row] for row in batch]), strict=True):
                scores[row] = score
        return scores

    def _tokens(self, input: str, output: str) -> tuple[Reason | None, list[int]]:
        """A problem (or nothing) and the token ids of the pair."""
        control = next((t for t in self._control if t in input or t in output), None)
        if control is not None:
            sentence = f"token {control} stands in the text; it would change the roles of the chat"
            return Reason("control", sentence), []
        try:
            ids = chat_tokens(self._tokenizer, input, output)
        except Exception as error:
            return Reason("crashed", f"the tokenizer raised {type(error).__name__}: {error}"), []
        limit = getattr(self._text_config, "max_position_embeddings", None)
        if limit is not None and len(ids) > limit:
            return Reason("overlong", f"{len(ids)} tokens, the model reads {limit}"), []
        return None, ids

    def _safely(self, rows: list[list[int]]) -> list[Score]:
        try:
            logits = self._logits(rows)
        except Exception as error:  # whatever a model's code raises, out of memory included
            if len(rows) > 1:
                return [self._safely([row])[0] for row in rows]
            sentence = f"the model raised {type(error).__name__}: {str(error)[:200]}"
            return [Score(None, Reason("crashed", sentence))]
        return [
            Score(logit, Reason("scored"))
            if math.isfinite(logit)
            else Score(None, Reason("nan", f"the model's logit is {logit}"))
            for logit in logits
        ]

    def _logits(self, rows: list[list[int]]) -> list[float]:
        """Raw logits of right-padded rows.

        The model reads the last token that is not padding. Where its config names no padding token, one that ends no
        row is used, so the last token stays the one that a row alone would be read at.
        """
        import torch

        pad = self._own_pad
        if pad is None:
            last = {ids[-1] for ids in rows}
            pad = self._text_config.pad_token_id = next(i for i in range(len(last) + 1) if i not in last)
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=self._model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._model.device)
        with torch.inference_mode():
            logits: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).logits
        return [float(logit) for logit in logits[:, 0].float()]


def chat_tokens(tokenizer: Any, input: str, output: str) -> list[int]:
    """Token ids of [user: input, assistant: output] in the template with one BOS, or of the sentence pair."""
    if not tokenizer.chat_template:
        return list(tokenizer(input, output)["input_ids"])
    chat = [{"role": "user", "content": input}, {"role": "assistant", "content": output}]
    ids = list(tokenizer(tokenizer.apply_chat_template(chat, tokenize=False))["input_ids"])
    bos = tokenizer.bos_token_id
    # The template may have written one BOS and the tokenizer another.
    return ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids


def batches(lengths: dict[int, int], batch_tokens: int) -> Iterator[list[int]]:
    """The keys of `lengths` in batches of like length, longest first, so that what does not fit in memory fails soon.

    rows x longest row <= batch_tokens, except for a single row that is longer by itself.
    """
    batch: list[int] = []
    for row in sorted(lengths, key=lambda row: (-lengths[row], row)):
        if batch and ((len(batch) + 1) * lengths[batch[0]] > batch_tokens or len(batch) == _ROWS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def open_reward_model(where: str | Path, *, batch_tokens: int, revision: str | None = None) -> RewardModel:
    """Load the reward model in folder or hub id `where`, on a GPU if there is one, in the precision it is stored in.

    Raises SpecError for a model that is not a reward model (its head is missing, or it has several labels), and
    MissingDependency where transformers is not installed or the model cannot be fetched.
    """
    try:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            f"a reward model needs PyTorch and transformers ({error}).", fix="Run: pip install 'pairsmith[train]'"
        ) from None
    key = f"curate.score.model = {str(where)!r}"
    try:
        config = AutoConfig.from_pretrained(where, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
    except (OSError, ValueError) as error:
        raise MissingDependency(
            f"the model cannot be loaded: {str(error).splitlines()[0]}",
            where=key,
            fix="Name a folder with config.json, weights and tokenizer, or a hub id that this machine can reach.",
        ) from None
    if config.num_labels != 1:
        raise SpecError(
            f"this model has {config.num_labels} labels; a reward model has one.",
            where=key,
            why="Which of its labels means good is not known, so its numbers would rank nothing.",
            fix="Choose a sequence-classification reward model with num_labels = 1, or 'auto' or 'pmi'.",
        )
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            where,
            revision=revision,
            dtype=_dtype(),
            device_map={"": 0} if torch.cuda.is_available() else None,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise MissingDependency(
            f"the model cannot be loaded: {str(error).splitlines()[0]}", where=key, fix="Is its folder complete?"
        ) from None
    if missing := sorted(info["missing_keys"]):
        raise SpecError(
            f"the weights of this model lack {', '.join(missing[:3])}.",
            where=key,
            why="They would be random numbers, and so would every score.",
            fix="Name a model that was trained as a reward model, not a language model.",
        )
    return RewardModel(model, tokenizer, batch_tokens)


def _dtype() -> Any:
    """As stored, except where a CPU would only emulate 16-bit numbers."""
    import torch

    native = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "auto" if native else torch.float32


def reward_scorer(where: str | Path, *, batch_tokens: int) -> Scorer:
    """A Scorer that loads the model, in a thread, when it first has something to score."""
    opened: list[RewardModel] = []

    def work(pairs: Sequence[Pair]) -> list[Score]:
        if not opened:
            opened.append(open_reward_model(where, batch_tokens=batch_tokens))
        return opened[0].score([(pair.input, pair.output) for pair in pairs])

    async def score(pairs: Sequence[Pair]) -> Sequence[Score]:
        return await asyncio.to_thread(work, pairs) if pairs else []

    return score
