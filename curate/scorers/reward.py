"""Scores of a reward model: any `AutoModelForSequenceClassification` with one label, from a folder or a hub id.

A public reward model judges whether an answer is a good reply to its user, so the user turn has to say what is wanted:
what the model is told, the rules, then the input (curate/rules.py). No system message is added, as model cards of
Skywork-Reward-V2 and its kind ask. The chat goes through the tokenizer's own template; a tokenizer without one gets
question and output as a sentence pair (BERT and DeBERTa), with their token types. The score is the raw logit, so only
scores of answers to one input compare.

Not covered: models with custom code (`.score()` heads), several labels, several GPUs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.rules import asked_of
from curate.scorers import Score, Scorer
from schemas.allocator import keep_large
from schemas.errors import MissingDependency, SpecError, first_line
from schemas.records import Pair, Reason

if TYPE_CHECKING:
    import torch

_ROWS = 64  # rows in a batch at most, however short they are


class Tokens(NamedTuple):
    """A row as the model reads it; `types` tell the two sentences of a pair apart, where the model knows them."""

    ids: list[int]
    types: list[int] | None = None


class RewardModel:
    """A loaded reward model. `batch_tokens` bounds rows x longest row of a batch, padding counted.

    Not thread safe. Open one with `open_reward_model`.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        keep_large()
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens
        self._fits = float("inf")  # rows x longest row that there is memory for
        self._text_config = model.config.get_text_config()
        added = tokenizer.added_tokens_decoder.values()
        self._control = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
        self._own_pad = self._text_config.pad_token_id
        self._limit, self._padding_was_tried = _most_tokens(model), False
        for head in (getattr(model, name, None) for name in ("score", "classifier")):
            if head is not None and next(head.parameters(), None) is not None:
                # A 16-bit head rounds logits to two or three digits, which makes ties of close candidates.
                head.float()
                head.register_forward_pre_hook(lambda _, inputs: tuple(one.float() for one in inputs))

    def score(self, rows: Sequence[tuple[Sequence[dict[str, str]], str]]) -> list[Score]:
        """The raw logit of each (chat, output), in the order given.

        A row that is too long for the model, holds a control token of its template, crashes it or comes out as NaN or
        infinite has no score. A batch that crashes is run again by halves, so one bad row costs only itself; where
        memory ran out, later batches are no larger than what fitted.
        """
        scores: list[Score] = [Score(None, Reason("unscored"))] * len(rows)
        tokens: dict[int, Tokens] = {}
        for row, (chat, output) in enumerate(rows):
            read = self._tokens(chat, output)
            if isinstance(read, Reason):
                scores[row] = Score(None, read)
            else:
                tokens[row] = read
        for batch in batches({row: len(read.ids) for row, read in tokens.items()}, self._batch_tokens):
            for row, score in zip(batch, self._safely([tokens[row] for row in batch]), strict=True):
                scores[row] = score
        return scores

    def _tokens(self, chat: Sequence[dict[str, str]], output: str) -> Reason | Tokens:
        """The tokens of a row, or why it cannot be scored."""
        texts = [output, *(turn["content"] for turn in chat)]
        control = next((t for t in self._control if any(t in text for text in texts)), None)
        if control is not None:
            return Reason("control", f"token {control} stands in the text; it would change the roles of the chat")
        try:
            tokens = encoded(self._tokenizer, chat, output)
        except Exception as error:
            return Reason("crashed", f"the tokenizer raised {type(error).__name__}: {error}")
        if self._limit is not None and len(tokens.ids) > self._limit:
            return Reason("overlong", f"{len(tokens.ids)} tokens, the model reads {self._limit}")
        return tokens

    def _safely(self, rows: list[Tokens]) -> list[Score]:
        size = len(rows) * max(len(row.ids) for row in rows)
        problem = None
        if len(rows) == 1 or size <= self._fits:
            try:
                logits = self._logits(rows)
                if not self._reads_padding(rows, logits):
                    return [_as_score(logit) for logit in logits]
                self._fits, no_memory = 0, False
            except Exception as error:  # whatever a model's code raises
                problem = f"the model raised {type(error).__name__}: {str(error)[:200]}"
                if no_memory := _is_of_memory(error):
                    self._fits = min(self._fits, size // 2)
            # Here the error is gone, and with it the tensors that it held.
            if no_memory:
                _free_memory()
        if len(rows) == 1:
            return [Score(None, Reason("crashed", problem or ""))]
        half = len(rows) // 2
        return [*self._safely(rows[:half]), *self._safely(rows[half:])]

    def _reads_padding(self, rows: list[Tokens], logits: list[float]) -> bool:
        """Whether the shortest row of a first batch with padding comes out otherwise alone, as of models that look at
        padding whatever the mask says (XLNet, FNet, YOSO): their rows are read one by one."""
        if self._padding_was_tried or len(rows[0].ids) == len(rows[-1].ids):
            return False
        import torch

        self._padding_was_tried = True
        alone = self._logits(rows[-1:])[0]
        noise = max(1e-3, 16 * torch.finfo(self._model.dtype).eps)  # of sums in another order
        return abs(alone - logits[-1]) > noise * max(1.0, abs(alone))

    def _logits(self, rows: list[Tokens]) -> list[float]:
        """Raw logits of right-padded rows.

        The model reads the last token that is not padding. Where its config names no padding token, one that ends no
        row is used, so the last token stays the one that a row alone would be read at.
        """
        import torch

        pad = self._own_pad
        if pad is None:
            last = {row.ids[-1] for row in rows}
            pad = self._text_config.pad_token_id = next(i for i in range(len(last) + 1) if i not in last)
        width = max(len(row.ids) for row in rows)

        def padded(values: Iterable[list[int]], filler: int) -> torch.Tensor:
            return torch.tensor([row + [filler] * (width - len(row)) for row in values], device=self._model.device)

        given = {
            "input_ids": padded((row.ids for row in rows), pad),
            "attention_mask": padded(([1] * len(row.ids) for row in rows), 0),
        }
        if rows[0].types is not None:
            given["token_type_ids"] = padded((row.types or [] for row in rows), 0)
        with torch.inference_mode():
            logits: torch.Tensor = self._model(**given).logits
        return [float(value) for value in self._read(logits.float())]

    def _read(self, logits: torch.Tensor) -> torch.Tensor:
        """[rows]: the number of each row in logits [rows, labels]."""
        return logits[:, 0]


def _most_tokens(model: Any) -> int | None:
    """The longest row that the model has positions for, None where it has one for each. RoBERTa and its kind count
    them from behind that of padding; a row beyond them would end a CUDA process."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, part in model.named_modules():
        if name.endswith(".position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return int(part.num_embeddings - part.padding_idx - 1)
    return limit if limit and limit > 0 else None  # XLNet's says -1


def chat_tokens(tokenizer: Any, input: str, output: str) -> list[int]:
    """Token ids of [user: input, assistant: output] in the template with one BOS, or of the sentence pair."""
    return encoded(tokenizer, [{"role": "user", "content": input}], output).ids


def encoded(tokenizer: Any, chat: Sequence[dict[str, str]], output: str) -> Tokens:
    """The chat with the output as its answer, in the template with one BOS, or the sentence pair."""
    if not tokenizer.chat_template:
        pair = tokenizer("\n".join(turn["content"] for turn in chat), output)
        types = pair.get("token_type_ids")
        return Tokens(list(pair["input_ids"]), None if types is None else list(types))
    whole = [*chat, {"role": "assistant", "content": output}]
    ids = list(tokenizer(tokenizer.apply_chat_template(whole, tokenize=False))["input_ids"])
    bos = tokenizer.bos_token_id
    # The template may have written one BOS and the tokenizer another.
    return Tokens(ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids)


def _as_score(logit: float) -> Score:
    if math.isfinite(logit):
        return Score(logit, Reason("scored"))
    return Score(None, Reason("nan", f"the model's logit is {logit}"))


def _is_of_memory(error: Exception) -> bool:
    """Whether there was too little memory: CUDA, Apple's GPU and the CPU each say so in their own way."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
    """Load the reward model in folder or hub id `where`, on a GPU if there is one, there in bfloat16.

    Raises SpecError for a model that is not a reward model (its head is missing, or it has several labels), and
    MissingDependency where transformers is not installed or the model cannot be fetched.
    """
    key = f"curate.score.model = {str(where)!r}"

    def check(config: Any) -> None:
        if config.num_labels != 1:
            raise SpecError(
                f"this model has {config.num_labels} labels; a reward model has one.",
                where=key,
                why="Which of its labels means good is not known, so its numbers would rank nothing.",
                fix="Choose a sequence-classification reward model with num_labels = 1, or 'auto' or 'pmi'.",
            )

    model, tokenizer = load_classifier(where, key, check, revision)
    return RewardModel(model, tokenizer, batch_tokens)


def load_classifier(
    where: str | Path, key: str, check: Callable[[Any], None], revision: str | None = None
) -> tuple[Any, Any]:
    """A sequence-classification model and its tokenizer. `check` may refuse its config before the weights are read;
    `key` is the key of the spec that names it. Raises as `open_reward_model`."""
    try:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            f"a reward model needs PyTorch and transformers ({error}).", fix="Run: pip install 'pairsmith[train]'"
        ) from None
    try:
        config = AutoConfig.from_pretrained(where, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MissingDependency(
            f"the model cannot be loaded: {first_line(error)}",
            where=key,
            fix="Name a folder with config.json, weights and tokenizer, or a hub id that this machine can reach.",
        ) from None
    check(config)
    dtype, device = place()
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            where,
            revision=revision,
            dtype=dtype,
            device_map=device,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise MissingDependency(
            f"the model cannot be loaded: {first_line(error)}", where=key, fix="Is its folder complete?"
        ) from None
    if missing := sorted(info["missing_keys"]):
        raise SpecError(
            f"the weights of this model lack {', '.join(missing[:3])}.",
            where=key,
            why="They would be random numbers, and so would every score.",
            fix="Name a model that was trained for this, not a language model.",
        )
    return model, tokenizer


def place() -> tuple[Any, dict[str, int | str] | None]:
    """The precision and the device: bfloat16 on CUDA; elsewhere as stored, unless a CPU would only emulate that."""
    import torch

    from synth.embedded.model import best_dtype

    if torch.cuda.is_available():
        return (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16), {"": 0}
    if torch.backends.mps.is_available():
        return "auto", {"": "mps"}
    return ("auto" if best_dtype() == torch.bfloat16 else torch.float32), None


def reward_scorer(where: str | Path, *, batch_tokens: int, rules: str = "", revision: str | None = None) -> Scorer:
    """A Scorer that loads the model, in a thread, when it first has something to score. `rules` stand in front of every
    input, as `asked_of` says."""
    opened: list[RewardModel] = []

    def work(pairs: Sequence[Pair]) -> list[Score]:
        if not opened:
            opened.append(open_reward_model(where, batch_tokens=batch_tokens, revision=revision))
        return opened[0].score([(asked_of(pair, rules), pair.output) for pair in pairs])

    async def score(pairs: Sequence[Pair]) -> Sequence[Score]:
        return await asyncio.to_thread(work, pairs) if pairs else []

    return score
