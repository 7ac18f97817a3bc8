"""A transformers causal language model with its tokenizer and LoRA adapters, as the decode loop uses it."""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from schemas.cores import multiplies_bfloat16
from schemas.errors import InputError, PairsmithError, first_line
from schemas.memory import free_bytes
from synth.chat_template import Chat
from synth.embedded import shared_prefix
from synth.embedded.hub_code import import_bitsandbytes
from synth.embedded.rows import RowCache, RowTokens

# Rough activation memory of a small model for one token; it bounds how many rows are recomputed together.
_RECOMPUTED_BYTES = 16 * 2**10


_FEW_ROWS = 48
_LAYER = re.compile(r"(.*?)\.(\d+)\.(.+)")


class UnsupportedModel(Exception):
    """A model that this decode loop cannot run correctly; the message gives the reason."""


# How far logits computed through the row cache may be from those of a plain pass, relative to their norm.
_LOGIT_TOLERANCE = {torch.bfloat16: 0.1, torch.float16: 0.02, torch.float32: 1e-3}
# The share of free memory used for keys and values, and limits in MiB. On a CPU memory is shared with everything else.
# 32 rows of 900 tokens of the embedded model take 1,300 MiB in float32.
_KV_SHARE = {"cuda": 0.7, "mps": 0.7, "cpu": 1 / 8}
_MIN_KV_MIB, _MIN_CPU_KV_MIB, _MAX_CPU_KV_MIB = 64, 400, 2048


def best_device() -> str:
    """`cuda` for the first NVIDIA or AMD GPU, `mps` for an Apple GPU, else `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 if the device multiplies it natively, else float16 on a GPU and float32 on a CPU.

    On a CPU that supports it, bfloat16 is twice as fast as float32 and takes half the memory.
    """
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return torch.float16
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


def free_kv_mib(device: str) -> int:
    """Memory available for keys and values once the model is loaded, in MiB."""
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
    elif device == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    else:
        free = free_bytes()
        share = max(_MIN_CPU_KV_MIB, min(_MAX_CPU_KV_MIB, int(_KV_SHARE[device] * free / 2**20)))
        return max(_MIN_KV_MIB, min(share, free // 2**21))
    return max(_MIN_KV_MIB, int(_KV_SHARE[device] * free / 2**20))


def make_head_input_contiguous(model: Any) -> None:
    """Make the inputs of a causal language model's head contiguous.

    torch (2.13) multiplies a slice of the hidden states, such as `logits_to_keep` creates, row by row with a copy of
    the head's weights for each row. In a profile this took a third of a LoRA step of SmolLM2 on a CPU.
    """
    head = model.get_output_embeddings()
    if head is not None:  # a model's own code may not expose its head
        head.register_forward_pre_hook(lambda head, given: (given[0].contiguous(), *given[1:]))


def refuse_incomplete(folder: Path, *, runs_code: bool = False) -> None:
    """Raise InputError if transformers would load other weights from `folder` than its model files hold: random numbers
    for missing ones, fewer layers than there are, or an adapter beside them on that adapter's own base. Reads headers
    only.

    A model that needs code which is not trusted remains transformers' ValueError.
    """
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            "this folder contains an adapter beside the model, and it would be loaded with a base of its own.",
            where=str(folder / "adapter_config.json"),
            why="The tuned and measured model would not be the one in this folder.",
            fix="Remove adapter_config.json and adapter_model.safetensors, or copy the model without them.",
        )
    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=runs_code,
        )
    except Exception as error:  # config and code come from third parties and may be wrong in any way
        if "trust_remote_code" in str(error):
            raise
        raise InputError(
            f"transformers cannot load the model: {first_line(error)}",
            where=str(folder),
            fix="It may need other packages, or another version of transformers; otherwise use another model.",
        ) from None
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
    names = {name for name, _ in model.named_parameters()}
    missing = sorted(names & {*loading["missing_keys"]})
    other_shape = sorted(name for name, *_ in loading["mismatched_keys"])
    if missing or other_shape:
        what, named = ("are missing", missing) if missing else ("have other shapes than its config says", other_shape)
        others = sorted(loading["unexpected_keys"]) if missing else ()
        instead = f"; the files have others, such as {others[0]}" if others else ""
        fix = "Use the folder or the hub id of a complete model."
        if missing and not _of_text(model, missing):
            fix += " What is missing does not read text: a text model of its own has text_config as its config.json."
        raise InputError(
            f"weights of the model {what}: {len(named)} of {len(names)}, such as {named[0]}{instead}.",
            where=str(folder),
            why="transformers would put random numbers in their place.",
            fix=fix,
        )
    _refuse_left_out_layers(folder, names, loading["unexpected_keys"], model.config.get_text_config(decoder=True))


def _of_text(model: Any, names: Sequence[str]) -> bool:
    """Whether any of these weights belongs to the part of `model` that reads and writes text. Vision and audio towers
    and their projectors do not."""
    text = [model.get_decoder(), model.get_output_embeddings()]
    places = tuple(f"{name}." for name, module in model.named_modules() if name and any(module is one for one in text))
    return not places or any(name.startswith(places) for name in names)


def _refuse_left_out_layers(folder: Path, names: set[str], unexpected: Iterable[str], config: Any) -> None:
    """Raise InputError if the files have more layers than the config, which transformers does not report.

    Weights that belong to no layer of this kind are usual: vision towers, heads that predict further tokens (also as
    layers, which the config counts as `num_nextn_predict_layers`), stored tables of positions.
    """
    sizes = Counter(prefix for prefix, *_ in {(prefix, number) for prefix, number, _ in map(_numbered, names)})
    kinds = {(prefix, rest) for prefix, _, rest in map(_numbered, names)}
    left_out: dict[str, set[int]] = {}
    for prefix, number, rest in map(_numbered, unexpected):
        if prefix and number >= sizes[prefix] and (prefix, rest) in kinds:
            left_out.setdefault(prefix, set()).add(number)
    further = getattr(config, "num_nextn_predict_layers", None) or 0
    for prefix, numbers in left_out.items():
        if len(numbers) > further:
            raise InputError(
                f"the files have {sizes[prefix] + len(numbers)} layers in {prefix}, and config.json describes only"
                f" {sizes[prefix]}.",
                where=str(folder),
                why="transformers would leave the others out without an error.",
                fix="Use the config.json that came with the weights. A model that was shortened on purpose has to be"
                " saved again with save_pretrained, which writes only the layers it has.",
            )


def _numbered(name: str) -> tuple[str, int, str]:
    """The name of a weight in a list of layers: the list, the layer's number, and the rest. Without a list: empty."""
    match = _LAYER.match(name)
    return (match[1], int(match[2]), match[3]) if match else ("", -1, name)


class FewRowsLinear(torch.nn.Linear):
    """A linear layer that multiplies a few rows as weight x input instead of input x weight: MKL does not divide the
    latter among threads, if it has few rows. A row is also rounded alike beside 1 to 47 others, which input x weight
    does only for 2 to 8 rows in the larger matrices. For 2 to 7 rows that costs time: with one thread 50 % for 4.

    Measured for all matrices of SmolLM2-135M in float32 on 2 cores, milliseconds before and after: 8 rows 95 and 68, 32
    rows 167 and 81, 48 rows 187 and 97, 96 rows 179 and 185.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = input.reshape(-1, self.in_features)
        if not 1 < len(rows) <= _FEW_ROWS:
            return super().forward(input)
        product = torch.mm(self.weight, rows.t()).t().contiguous()
        biased = product if self.bias is None else product + self.bias
        return biased.view(*input.shape[:-1], self.out_features)


class ChatModel:
    """One base model and any number of LoRA adapters over it, of which at most one is active at a time.

    `adapters` maps a served name to a PEFT folder. Adapters stay unmerged, in the base's dtype. If a model's logits
    through `RowCache` differ from those of its plain forward pass, as with linear attention or convolutions, whole rows
    are recomputed for every token (`RowTokens`). Not thread safe: one thread owns it.
    """

    def __init__(
        self,
        folder: Path,
        adapters: Mapping[str, Path],
        dtype: torch.dtype,
        template_arguments: Mapping[str, Any] | None = None,
        device: str = "cpu",
        *,
        runs_code: bool = False,
    ) -> None:
        self.dtype, self.device = dtype, device
        try:
            refuse_incomplete(folder, runs_code=runs_code)
            self.chat = Chat(AutoTokenizer.from_pretrained(folder, trust_remote_code=runs_code), template_arguments)
        except PairsmithError as error:
            raise UnsupportedModel(f"{folder}: {error.what}") from error
        self.tokenizer: Any = self.chat.tokenizer
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            low_cpu_mem_usage=True,
            device_map={"": device} if device != "cpu" else None,
            trust_remote_code=runs_code,
        ).eval()
        make_head_input_contiguous(self._model)
        has_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        if device == "cpu" and dtype == torch.float32 and has_mkl:
            for module in self._model.modules():
                if type(module) is torch.nn.Linear:
                    module.__class__ = FewRowsLinear
        config = self._model.config.get_text_config()
        self.context_tokens = int(getattr(config, "max_position_embeddings", self.tokenizer.model_max_length))
        self.longest_token = max(map(len, self.tokenizer.get_vocab()))
        head = self._model.get_output_embeddings()
        self.vocabulary = int(config.vocab_size if head is None else head.weight.shape[0])
        self.end_tokens = self.chat.end_tokens(self._model.generation_config.eos_token_id)
        parameters = inspect.signature(type(self._model).forward).parameters
        # transformers 5.24 renamed the argument.
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        self._can_select_logits = "logits_to_keep" in parameters
        self._tuned: Any = None
        self._slots = {name: f"adapter{index}" for index, name in enumerate(adapters)}
        for name, adapter in adapters.items():
            self._load_adapter(name, adapter)
        self._active_adapter: str | None = None
        self.activate(None)
        self._layout = self._verify_layout(_layout(config))
        self._shares_prefixes = self._can_share_prefixes(parameters)

    def _can_share_prefixes(self, parameters: Mapping[str, inspect.Parameter]) -> bool:
        """Whether `shared_prefix.attend` can compute this model's attention.

        That needs a CPU, layers without an attention window, and a forward pass that hands the prefix length on to its
        layers. Other models compute every row separately.
        """
        passes_on = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        plain = self._layout is not None and set(self._layout.windows.values()) == {None}
        if not (plain and passes_on and self.device == "cpu" and self._model.config._attn_implementation == "sdpa"):
            return False
        self._model.set_attn_implementation(shared_prefix.NAME)
        return True

    def _load_adapter(self, name: str, folder: Path) -> None:
        import_bitsandbytes()
        from peft import PeftModel

        slot = self._slots[name]
        if self._tuned is None:
            self._tuned = PeftModel.from_pretrained(
                self._model, str(folder), adapter_name=slot, autocast_adapter_dtype=False
            ).eval()
        else:
            self._tuned.load_adapter(str(folder), adapter_name=slot, autocast_adapter_dtype=False)
        if self._tuned.peft_config[slot].is_prompt_learning:
            raise UnsupportedModel(f"the adapter {name!r} is a prompt-learning adapter; only LoRA adapters are served")
        # Only parameters: rotary position frequencies are buffers and must stay as exact as without an adapter.
        for parameter in self._tuned.parameters():
            parameter.data = parameter.data.to(device=self.device, dtype=self.dtype)

    def activate(self, adapter: str | None) -> None:
        """Switch to an adapter by its served name, or to the base alone with None."""
        if self._tuned is None or (adapter == self._active_adapter and adapter is not None):
            return
        if adapter is None:
            self._tuned.base_model.disable_adapter_layers()
        else:
            self._tuned.base_model.enable_adapter_layers()
            self._tuned.base_model.set_adapter(self._slots[adapter])
        self._active_adapter = adapter

    def new_rows(self) -> RowCache | RowTokens:
        return RowCache(*self._layout, self.dtype, self.device) if self._layout else RowTokens()

    def bytes_per_token(self) -> int:
        """Memory that one token of a row takes: keys and values, or the temporary activations of recomputing it."""
        if self._layout is None:
            return _RECOMPUTED_BYTES
        layers, heads, width, _ = self._layout
        return 2 * layers * heads * width * self.dtype.itemsize

    def forward(
        self,
        rows: RowCache | RowTokens,
        first: int,
        ids_RS: torch.Tensor,
        positions_RS: torch.Tensor,
        *,
        every_logit: bool = False,
        shared: int = 0,
    ) -> torch.Tensor:
        """Run S new tokens of R rows; returns float32 logits [R, S, vocabulary], or [R, 1, ...] of the last token.

        The first `shared` tokens of all rows are identical, which saves work if S is 1. Logits of the last token only,
        from which tokens are drawn, are on the CPU; with `every_logit` they are on the model's device.
        """
        if isinstance(rows, RowTokens):
            wanted_RS = positions_RS if every_logit else positions_RS[:, -1:]
            recomputed = self._recompute(rows.write_tokens(first, ids_RS, positions_RS), wanted_RS)
            return recomputed if every_logit else recomputed.cpu()
        masks = rows.select_rows(first, positions_RS)
        more = {"shared_prefix": shared} if shared and self._shares_prefixes and ids_RS.shape[1] == 1 else {}
        output = self._model(
            input_ids=ids_RS.to(self.device),
            position_ids=positions_RS.to(self.device),
            # Models with several kinds of layers take a mask for each kind, all others a single mask.
            attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
            use_cache=True,
            **self._logits_argument(0 if every_logit else 1),
            **{self._cache_argument: rows.cache},
            **more,
        )
        logits: torch.Tensor = output.logits
        return logits.float() if every_logit else logits[:, -1:].float().cpu()

    def _logits_argument(self, which: int | torch.Tensor) -> dict[str, Any]:
        """The argument that selects logits; empty if the model's own code does not accept it."""
        return {"logits_to_keep": which} if self._can_select_logits else {}

    def _recompute(self, ids_RL: torch.Tensor, wanted_RS: torch.Tensor) -> torch.Tensor:
        """Logits at the wanted positions of whole rows. Padding on the right does not affect earlier positions."""
        kept, places = torch.unique(wanted_RS.to(self.device), return_inverse=True)
        ids = ids_RL.to(self.device)
        logits: torch.Tensor = self._model(input_ids=ids, use_cache=False, **self._logits_argument(kept)).logits
        logits = logits if self._can_select_logits else logits[:, kept]
        return logits[torch.arange(len(ids), device=self.device)[:, None], places].float()

    @torch.inference_mode()
    def _verify_layout(self, layout: CacheSizes | None) -> CacheSizes | None:
        """`layout` if decoding through it gives the logits of a plain forward pass, else None.

        Without this check a model that keeps more state than keys and values would silently decode nonsense.
        """
        self._layout = layout
        if layout is None:
            return None
        ids = (torch.arange(12) * 997 + 500).remainder(self.vocabulary)[None]
        plain = self._model(input_ids=ids.to(self.device), use_cache=False).logits.float()
        rows = self.new_rows()
        rows.reserve(1, 12)
        try:
            steps = [
                self.forward(rows, 0, ids[:, a:b], torch.arange(a, b)[None], every_logit=True)
                for a, b in ((0, 8), (8, 11), (11, 12))
            ]
        except Exception:  # other architectures and models' own code fail with all kinds of errors
            return None
        distance = float((torch.cat(steps, dim=1) - plain).norm() / plain.norm())
        return layout if distance <= _LOGIT_TOLERANCE[self.dtype] else None

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def tokens_with_letters(self) -> torch.Tensor:
        """A bool tensor [vocabulary]: which tokens contain a letter. Repetition controls apply only to these."""
        special = set(self.tokenizer.all_special_ids)
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        has_letter = [token not in special and any(map(str.isalpha, text)) for token, text in enumerate(texts)]
        return torch.tensor((has_letter + [False] * self.vocabulary)[: self.vocabulary])


class CacheSizes(NamedTuple):
    """The dimensions of a `RowCache`, and how many tokens back each kind of layer attends (None: all)."""

    layers: int
    heads: int
    width: int
    windows: dict[str, int | None]


def _layout(config: Any) -> CacheSizes | None:
    """The cache layout that a model's configuration describes; None if its layers keep more than keys and values."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"]
    windows = {kind: {"full_attention": None, "sliding_attention": window}.get(kind, 0) for kind in kinds}
    if 0 in windows.values():
        return None
    try:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or math.floor(config.hidden_size / config.num_attention_heads)
    except RuntimeError:  # transformers reports no single width if layers differ in it, as in Gemma 4
        return None
    return CacheSizes(int(config.num_hidden_layers), int(heads), int(width), windows)
