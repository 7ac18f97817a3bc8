"""A causal language model of transformers with its tokenizer and LoRA adapters, as the decode loop uses it."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from synth.embedded.rows import RowCache

# A character of a private plane: it marks where text that must not be read as a special token was taken out.
_MARK = "\U000f5a5a"


class UnsupportedModel(Exception):
    """A model this decode loop would run wrongly; the message says what about it."""


def best_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies it natively (twice as fast as float32, half the memory), else float32."""
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


class ChatModel:
    """One base model and any number of LoRA adapters over it, one of them (or none) switched on at a time.

    `adapters` maps a served name to a PEFT folder. Adapters stay unmerged, in the base's dtype. Models with
    sliding-window or linear attention, or whose logits through `RowCache` differ from their own plain forward pass,
    raise `UnsupportedModel`. Not thread safe: one thread owns it.
    """

    def __init__(self, folder: Path, adapters: Mapping[str, Path], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        if not self.tokenizer.chat_template:
            raise UnsupportedModel(f"{folder} has no chat template, so its prompt format is unknown")
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, low_cpu_mem_usage=True).eval()
        config = self._model.config.get_text_config()
        self.context_tokens = int(config.max_position_embeddings)
        self.vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        self._shape = _cache_shape(config)
        self.end_tokens = _end_tokens(self._model, self.tokenizer)
        parameters = inspect.signature(type(self._model).forward).parameters
        # transformers 5.24 renamed the argument.
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        self._special = _special_pattern(self.tokenizer)
        self._tuned: Any = None
        self._slots = {name: f"adapter{index}" for index, name in enumerate(adapters)}
        for name, adapter in adapters.items():
            self._load_adapter(name, adapter)
        self._on: str | None = None
        self.use(None)
        self._compare_with_plain_forward()

    def _load_adapter(self, name: str, folder: Path) -> None:
        from peft import PeftModel

        slot = self._slots[name]
        if self._tuned is None:
            self._tuned = PeftModel.from_pretrained(
                self._model, str(folder), adapter_name=slot, autocast_adapter_dtype=False
            ).eval()
        else:
            self._tuned.load_adapter(str(folder), adapter_name=slot, autocast_adapter_dtype=False)
        if self._tuned.peft_config[slot].is_prompt_learning:
            raise UnsupportedModel(f"the adapter {name!r} is of a prompt-learning kind; only LoRA is served")
        self._tuned.to(self.dtype)

    def use(self, adapter: str | None) -> None:
        """Switches to an adapter by its served name, or to the bare base with None."""
        if self._tuned is None or (adapter == self._on and adapter is not None):
            return
        if adapter is None:
            self._tuned.base_model.disable_adapter_layers()
        else:
            self._tuned.base_model.enable_adapter_layers()
            self._tuned.base_model.set_adapter(self._slots[adapter])
        self._on = adapter

    def new_rows(self) -> RowCache:
        layers, heads, width = self._shape
        return RowCache(layers, heads, width, self.dtype)

    def bytes_per_token(self) -> int:
        """Memory that keys and values of one token take in a `RowCache`."""
        layers, heads, width = self._shape
        return 2 * layers * heads * width * self.dtype.itemsize

    def forward(
        self,
        rows: RowCache,
        first: int,
        ids_RS: torch.Tensor,
        positions_RS: torch.Tensor,
        *,
        every_logit: bool = False,
    ) -> torch.Tensor:
        """Runs S new tokens of R rows; returns float32 logits [R, S, vocabulary], or [R, 1, ...] of the last token."""
        mask = rows.aim(first, positions_RS)
        output = self._model(
            input_ids=ids_RS,
            position_ids=positions_RS,
            attention_mask=mask,
            use_cache=True,
            logits_to_keep=0 if every_logit else 1,
            **{self._cache_argument: rows.cache},
        )
        logits: torch.Tensor = output.logits
        return logits.float()

    @torch.inference_mode()
    def _compare_with_plain_forward(self) -> None:
        """A model that keeps more state than keys and values would decode nonsense silently; better not to start."""
        ids = (torch.arange(12) * 997 + 500).remainder(self.vocabulary)[None]
        plain = self._model(input_ids=ids, use_cache=False).logits.float()
        rows = self.new_rows()
        rows.reserve(1, 12)
        steps = [
            self.forward(rows, 0, ids[:, a:b], torch.arange(a, b)[None], every_logit=True)
            for a, b in ((0, 8), (8, 11), (11, 12))
        ]
        distance = float((torch.cat(steps, dim=1) - plain).norm() / plain.norm())
        tolerance = 0.1 if self.dtype is torch.bfloat16 else 1e-3
        if not distance <= tolerance:
            raise UnsupportedModel(
                f"logits through the row cache differ from the plain ones by {distance:.2g} (relative)"
            )

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of the chat up to where the assistant's answer starts.

        A message that spells a special token ("<|im_end|>") is tokenised as plain text there: a message can never
        end its own turn or open another role.
        """
        safe, lifted = _lift_special_texts(messages, self._special)
        text: str = self.tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=True)
        ids: list[int] = []
        for index, piece in enumerate(text.split(_MARK)):
            if index:
                ids += self.tokenizer(next(lifted), add_special_tokens=False, split_special_tokens=True).input_ids
            ids += self.tokenizer(piece, add_special_tokens=False).input_ids
        return ids

    def encode(self, text: str) -> list[int]:
        """Tokens of an assistant's answer, special tokens read as plain text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def wordy_tokens(self) -> torch.Tensor:
        """A bool tensor [vocabulary]: tokens that hold a letter. The decoding aids leave all others alone."""
        special = set(self.tokenizer.all_special_ids)
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        wordy = [token not in special and any(map(str.isalpha, text)) for token, text in enumerate(texts)]
        return torch.tensor((wordy + [False] * self.vocabulary)[: self.vocabulary])


def _lift_special_texts(
    messages: Sequence[Mapping[str, str]], special: re.Pattern[str]
) -> tuple[list[dict[str, str]], Iterator[str]]:
    """The messages with every special token's text replaced by a mark, and those texts in order."""
    lifted: list[str] = []

    def lift(match: re.Match[str]) -> str:
        lifted.append(match.group())
        return _MARK

    safe = [{**message, "content": special.sub(lift, message["content"])} for message in messages]
    return safe, iter(lifted)


def _special_pattern(tokenizer: Any) -> re.Pattern[str]:
    added = tokenizer.added_tokens_decoder.values()
    texts = sorted({str(token) for token in added} | {_MARK}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts)))


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the generation config may name more than the tokenizer does."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    found = dict.fromkeys(token for token in (*listed, tokenizer.eos_token_id) if token is not None)
    if not found:
        raise UnsupportedModel("neither the tokenizer nor the generation config names an end token")
    return list(found)


def _cache_shape(config: Any) -> tuple[int, int, int]:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UnsupportedModel(f"layers of kind {', '.join(sorted(kinds))} are not supported, only full attention is")
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or math.floor(config.hidden_size / config.num_attention_heads)
    return int(config.num_hidden_layers), int(heads), int(width)
