"""Scores by a reward model: any `AutoModelForSequenceClassification` with one label, from a folder or a hub id.

A public reward model judges whether an answer is a good reply to its user, so the user turn must say what is wanted:
the system prompt, the rules, then the input (`rules.py`). No system message is added, as the model cards of
Skywork-Reward-V2 and similar models ask. The chat is formatted by the tokenizer's own template; a tokenizer without one
gets question and output as a sentence pair (BERT and DeBERTa), with token types. The score is the raw logit, so only
scores of answers to the same input are comparable.

Not covered: models with custom code (`.score()` heads), several labels, several GPUs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.scorers import Score, Scorer, score_of_logit
from curate.scorers.rules import asked_of
from schemas.allocator import keep_large_blocks
from schemas.errors import MissingDependency, SpecError, first_line
from schemas.memory import is_out_of_memory
from schemas.records import Pair, Reason

if TYPE_CHECKING:
    import torch

_ROWS = 64  # largest batch size, however short the rows are


class Tokens(NamedTuple):
    """The tokens of a row; `types` distinguish the two sentences of a pair, if the model uses them."""

    ids: list[int]
    types: list[int] | None = None


class RewardModel:
    """A loaded reward model. `batch_tokens` limits rows x longest row of a batch, including padding.

    Not thread-safe. Open one with `open_reward_model`.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        keep_large_blocks()
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens
        self._fits = float("inf")  # the largest rows x longest row that fits in memory
        self._text_config = model.config.get_text_config()
        added = tokenizer.added_tokens_decoder.values()
        self._control = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
        self._own_pad = self._text_config.pad_token_id
        self._limit, self._padding_was_tested = _max_tokens(model), False
        for head in (getattr(model, name, None) for name in ("score", "classifier")):
            if head is not None and next(head.parameters(), None) is not None:
                # A 16-bit head rounds logits to two or three digits, so that close candidates would tie.
                head.float()
                head.register_forward_pre_hook(lambda _, inputs: tuple(one.float() for one in inputs))

    def score(self, rows: Sequence[tuple[Sequence[dict[str, str]], str]]) -> list[Score]:
        """The raw logit of each (chat, output), in the given order.

        A row has no score if it is too long for the model, contains a control token of its template, crashes it, or
        gives NaN or infinity. A batch that crashes is split in halves and run again, so that a bad row only affects
        itself. After running out of memory, later batches are no larger than what fitted.
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
            for row, score in zip(batch, self._logits_with_retries([tokens[row] for row in batch]), strict=True):
                scores[row] = score
        return scores

    def _tokens(self, chat: Sequence[dict[str, str]], output: str) -> Reason | Tokens:
        """The tokens of a row, or why it cannot be scored."""
        texts = [output, *(turn["content"] for turn in chat)]
        control = next((t for t in self._control if any(t in text for text in texts)), None)
        if control is not None:
            return Reason("control", f"the text contains the token {control}, which would change the roles of the chat")
        try:
            tokens = encoded(self._tokenizer, chat, output)
        except Exception as error:
            return Reason("crashed", f"the tokenizer raised {type(error).__name__}: {error}")
        if self._limit is not None and len(tokens.ids) > self._limit:
            return Reason("overlong", f"{len(tokens.ids)} tokens; the model reads at most {self._limit}")
        return tokens

    def _logits_with_retries(self, rows: list[Tokens]) -> list[Score]:
        size = len(rows) * max(len(row.ids) for row in rows)
        problem = None
        if len(rows) == 1 or size <= self._fits:
            try:
                logits = self._logits(rows)
                if not self._reads_padding(rows, logits):
                    return [score_of_logit(logit) for logit in logits]
                self._fits, out_of_memory = 0, False
            except Exception as error:  # the code of a model may raise anything
                problem = f"the model raised {type(error).__name__}: {str(error)[:200]}"
                if out_of_memory := is_out_of_memory(error):
                    self._fits = min(self._fits, size // 2)
            # Free memory only here, after the exception and the tensors that it references are gone.
            if out_of_memory:
                _free_memory()
        if len(rows) == 1:
            return [Score(None, Reason("crashed", problem or ""))]
        half = len(rows) // 2
        return [*self._logits_with_retries(rows[:half]), *self._logits_with_retries(rows[half:])]

    def _reads_padding(self, rows: list[Tokens], logits: list[float]) -> bool:
        """Whether padding changes the score, tested once: the shortest row of the first padded batch is run again
        alone.

        Some models attend to padding whatever the mask says (XLNet, FNet, YOSO). Their rows are run one by one.
        """
        if self._padding_was_tested or len(rows[0].ids) == len(rows[-1].ids):
            return False
        import torch

        self._padding_was_tested = True
        alone = self._logits(rows[-1:])[0]
        noise = max(1e-3, 16 * torch.finfo(self._model.dtype).eps)  # tolerance for a different order of summation
        return abs(alone - logits[-1]) > noise * max(1.0, abs(alone))

    def _logits(self, rows: list[Tokens]) -> list[float]:
        """Raw logits of right-padded rows.

        The model scores at the last token that is not padding. If its config names no padding token, one is used that
        ends no row, so that the scored token stays the same as for a row alone.
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
        return [float(value) for value in self._scores_from_logits(logits.float())]

    def _scores_from_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """[rows]: the score of each row from logits [rows, labels]."""
        return logits[:, 0]


def _max_tokens(model: Any) -> int | None:
    """The longest row that the model has positions for; None if it has no limit.

    RoBERTa and similar models count positions from after the padding index. A longer row would crash a CUDA process.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, part in model.named_modules():
        if name.endswith(".position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return int(part.num_embeddings - part.padding_idx - 1)
    return limit if limit and limit > 0 else None  # XLNet has -1


def chat_tokens(tokenizer: Any, input: str, output: str) -> list[int]:
    """Token ids of [user: input, assistant: output] in the chat template with one BOS, or of the sentence pair."""
    return encoded(tokenizer, [{"role": "user", "content": input}], output).ids


def encoded(tokenizer: Any, chat: Sequence[dict[str, str]], output: str) -> Tokens:
    """Tokens of the chat with the output as its answer, in the chat template with one BOS, or of the sentence pair."""
    if not tokenizer.chat_template:
        pair = tokenizer("\n".join(turn["content"] for turn in chat), output)
        types = pair.get("token_type_ids")
        return Tokens(list(pair["input_ids"]), None if types is None else list(types))
    conversation = [*chat, {"role": "assistant", "content": output}]
    ids = list(tokenizer(tokenizer.apply_chat_template(conversation, tokenize=False))["input_ids"])
    bos = tokenizer.bos_token_id
    # The template and the tokenizer may both have added a BOS.
    return Tokens(ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids)


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def batches(lengths: dict[int, int], batch_tokens: int) -> Iterator[list[int]]:
    """The keys of `lengths` in batches of similar length, longest first, so that running out of memory shows early.

    rows x longest row <= batch_tokens, except for a single row that exceeds it alone.
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
    """Load the reward model from the folder or hub id `where`, on a GPU if there is one, there in bfloat16.

    Raises SpecError for a model that is not a reward model (without a trained head, or with several labels), and
    MissingDependency if transformers is not installed or the model cannot be fetched.
    """
    key = f"curate.score.model = {str(where)!r}"

    def check(config: Any) -> None:
        if config.num_labels != 1:
            raise SpecError(
                f"this model has {config.num_labels} labels; a reward model has one.",
                where=key,
                why="It is not known which of its labels means good, so its scores could not rank outputs.",
                fix="Choose a sequence-classification reward model with num_labels = 1, or 'auto' or 'pmi'.",
            )

    model, tokenizer = load_classifier(where, key, check, revision)
    return RewardModel(model, tokenizer, batch_tokens)


@contextmanager
def without_bars() -> Iterator[None]:
    """Load models without transformers' own progress bars, which would break the live line."""
    from transformers.utils import logging

    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shows_bars:
            logging.enable_progress_bar()


def load_classifier(
    where: str | Path, key: str, check: Callable[[Any], None], revision: str | None = None
) -> tuple[Any, Any]:
    """Load a sequence-classification model and its tokenizer.

    `check` may reject its config before the weights are read; `key` is the spec key that names the model. Raises the
    same errors as `open_reward_model`.
    """
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
    dtype, device = dtype_and_device()
    try:
        with without_bars():
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
            f"the model cannot be loaded: {first_line(error)}", where=key, fix="Check that its folder is complete."
        ) from None
    if missing := sorted(info["missing_keys"]):
        raise SpecError(
            f"the weights of this model do not include {', '.join(missing[:3])}.",
            where=key,
            why="They would be initialised randomly, and every score would be random.",
            fix="Name a model that was trained as a classifier or reward model, not a plain language model.",
        )
    return model, tokenizer


def dtype_and_device() -> tuple[Any, dict[str, int | str] | None]:
    """The dtype and the device map: on CUDA bfloat16, or float16 on a card that would only emulate it; elsewhere as
    stored, or float32 on such a CPU."""
    import torch

    from synth.embedded.model import best_dtype

    if torch.cuda.is_available():
        return best_dtype("cuda"), {"": 0}
    if torch.backends.mps.is_available():
        return "auto", {"": "mps"}
    return ("auto" if best_dtype() == torch.bfloat16 else torch.float32), None


def reward_scorer(where: str | Path, *, batch_tokens: int, rules: str = "", revision: str | None = None) -> Scorer:
    """A Scorer that loads the model, in a thread, when there is something to score. `rules` precede every input, as in
    `asked_of`."""
    loaded: list[RewardModel] = []

    def work(pairs: Sequence[Pair]) -> list[Score]:
        if not loaded:
            loaded.append(open_reward_model(where, batch_tokens=batch_tokens, revision=revision))
        return loaded[0].score([(asked_of(pair, rules), pair.output) for pair in pairs])

    async def score(pairs: Sequence[Pair]) -> Sequence[Score]:
        return await asyncio.to_thread(work, pairs) if pairs else []

    return score
