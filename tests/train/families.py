"""Tiny random models of widely tuned families, each with the family's architecture and chat template.

Templates come from two places. Those that TRL ships (`trl/chat_templates`, Apache-2.0) are read from the installed
package. The files in `templates/` are the makers' own as redistributed by others: the packages axolotl 0.19.0 and
(`phi4`) unsloth 2026.10.7, both Apache-2.0, and the sources of llama.cpp (Granite) and johnmai-dev/Jinja (SmolLM3),
both MIT. The tokenizer belongs to no family: it has bytes and the families' special tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

_HERE = Path(__file__).parent / "templates"


class Family(NamedTuple):
    """A family's template (source and name), its architecture, the end of its turn, and the tokenizer's own begin and
    end tokens; without an end token it has none for padding either."""

    name: str
    template: str
    architecture: str
    turn_end: str
    bos: str | None
    eos: str | None
    more: Mapping[str, Any] = MappingProxyType({})

    @property
    def text(self) -> str | None:
        """The template; None if the installed TRL does not ship it."""
        origin, _, name = self.template.partition("/")
        if origin != "trl":
            return (_HERE / f"{name}.jinja").read_text(encoding="utf-8")
        import trl

        path = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
        return path.read_text() if path.is_file() else None


_CHATML, _LLAMA, _GEMMA, _GRANITE = "<|im_end|>\n", "<|eot_id|>", "<end_of_turn>\n", "<|end_of_text|>\n"
_SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_CONVOLUTION = {"layer_types": ["conv", "full_attention"]}
_NEMOTRON = {
    "hybrid_override_pattern": "M*",
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "ssm_state_size": 8,
    "n_groups": 2,
}

FAMILIES = (
    Family("Qwen2.5", "trl/qwen2_5", "qwen2", _CHATML, None, "<|im_end|>"),
    Family("Qwen3", "trl/qwen3", "qwen3", _CHATML, None, "<|im_end|>"),
    Family("Qwen3-2507", "trl/qwen3_instruct_2507", "qwen3", _CHATML, None, "<|im_end|>"),
    Family("Qwen3.5", "trl/qwen3_5_think", "qwen3_5_text", _CHATML, None, "<|im_end|>", _HYBRID),
    Family("Qwen3.5 small", "trl/qwen3_5_nothink", "qwen3_5_text", _CHATML, None, "<|im_end|>", _HYBRID),
    Family("Qwen3.6", "trl/qwen3_6", "qwen3_5_text", _CHATML, None, "<|im_end|>", _HYBRID),
    Family("Qwen3.8", "trl/qwen3_8", "qwen3_5_text", _CHATML, None, "<|im_end|>", _HYBRID),
    Family("Llama 3", "trl/llama3", "llama", _LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    Family("Llama 3.1", "trl/llama3_1", "llama", _LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    Family("Llama 3.2", "trl/llama3_2", "llama", _LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    Family("Gemma 1", "axolotl/gemma", "gemma", _GEMMA, "<bos>", "<eos>"),
    Family("Gemma 2", "axolotl/gemma", "gemma2", _GEMMA, "<bos>", "<eos>", _SLIDING),
    Family("Gemma 3", "trl/gemma3", "gemma3_text", _GEMMA, "<bos>", "<eos>", _SLIDING),
    Family("Gemma 4", "trl/gemma4_v5", "gemma4_text", "<turn|>\n", "<bos>", "<eos>", _SLIDING),
    Family("Phi-3", "trl/phi3", "phi3", "<|end|>\n", "<s>", "<|endoftext|>", {"sliding_window": 8}),
    Family("Phi-3.5", "trl/phi3_5", "phi3", "<|end|>\n", "<s>", "<|endoftext|>", {"sliding_window": 8}),
    Family("Phi-4", "unsloth/phi4", "phi3", "<|im_end|>", "<|endoftext|>", "<|im_end|>"),
    Family("Phi-4 reasoning", "axolotl/phi_4", "phi3", "<|im_end|>", "<|endoftext|>", "<|endoftext|>"),
    Family("Mistral v1", "axolotl/mistral_v1", "mistral", "</s>", "<s>", "</s>", {"sliding_window": 8}),
    Family("Mistral v3", "axolotl/mistral_v2v3", "mistral", "</s>", "<s>", "</s>"),
    Family("Mistral Nemo", "axolotl/mistral_v3_tekken", "mistral", "</s>", "<s>", "</s>"),
    Family("Mistral Small", "axolotl/mistral_v7_tekken", "mistral", "</s>", "<s>", "</s>"),
    Family("SmolLM3", "Jinja/smollm3", "smollm3", _CHATML, None, "<|im_end|>"),
    Family("Granite 3.3", "llama.cpp/granite_3_3", "granite", _GRANITE, None, "<|end_of_text|>"),
    Family(
        "Granite 4",
        "llama.cpp/granite_4_0",
        "granitemoehybrid",
        _GRANITE,
        None,
        "<|end_of_text|>",
        {"layer_types": ["mamba", "attention"], "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8},
    ),
    Family("GLM-4.5", "trl/glm4moe", "glm4", "<|user|>\n", None, "<|endoftext|>"),
    Family("LFM2", "trl/lfm2", "lfm2", _CHATML, "<|startoftext|>", "<|im_end|>", _CONVOLUTION),
    Family("LFM2.5", "trl/lfm2_2_5_v2", "lfm2", _CHATML, "<|startoftext|>", "<|im_end|>", _CONVOLUTION),
    Family("Nemotron 3", "trl/nemotron_3_nano", "nemotron_h", _CHATML, None, "<|im_end|>", _NEMOTRON),
)
_SPECIAL = (
    "<pad>",
    *("<|im_start|>", "<|im_sep|>", "<|im_end|>", "<think>", "</think>", "<|endoftext|>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|startoftext|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "[gMASK]", "<sop>"),
)


def tokenizer_of(family: Family) -> Any:
    """A tokenizer of bytes and the special tokens of all families. Mistral's and Phi-3's put a space before a text, as
    the real ones do."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    spaced = family.architecture in ("mistral", "phi3")
    if spaced:
        texts = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
        core = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, [], byte_fallback=True, fuse_unk=True))
        core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        texts = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
        core = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, []))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token="<pad>" if family.eos else None,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = family.text
    return tokenizer


def make(family: Family, folder: Path) -> Path:
    """Save a random two-layer model of the family with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer_of(family)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.2,
    }
    more: Mapping[str, Any] = MappingProxyType({})
    if family.architecture == "qwen3_5_text":
        more = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
        more["linear_value_head_dim"] = 8
    if family.architecture == "gemma4_text":
        more = {"vocab_size_per_layer_input": len(tokenizer), "hidden_size_per_layer_input": 8, "global_head_dim": 16}
        more["num_kv_shared_layers"] = 0
    if family.architecture == "gemma2":
        more = {"query_pre_attn_scalar": 8}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family.architecture, **{**sizes, **more, **family.more})
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _row(family: Family) -> str:
    """A line of the table in docs/models.md."""
    import torch

    from synth.chat_template import Chat
    from synth.embedded.model import ChatModel

    own, chat = str(family.text), Chat(tokenizer_of(family))
    folded = "{%- if messages[0]['role'] == 'system' and messages | length > 1 %}" in str(chat.tokenizer.chat_template)
    first = chat.prompt([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
    system = (
        "folded into the first user turn" if folded else "in the user turn" if "S\n\nU" in first else "its own turn"
    )
    thinking = "switched off" if "enable_thinking" in own else "none"
    with TemporaryDirectory() as scratch:
        served = ChatModel(make(family, Path(scratch)), {}, torch.float32)
    cached = "cached" if served._layout else "recomputed"
    pinned = "same bytes, on one fixed day" if "strftime_now" in own else "same bytes"
    end = chat.turn.end.replace("\n", "⏎").replace("|", "\\|")
    cells = (family.name, family.template, system, thinking, f"`{end}`", "yes", cached, pinned)
    return f"| {' | '.join(cells)} |"


def table() -> list[str]:
    """The table of training, serving and export per family, for families whose template is available."""
    head = "| family | template from | system message | thinking | turn ends with | training | serving | export |"
    return [head, "|---|---|---|---|---|---|---|---|", *(_row(family) for family in FAMILIES if family.text)]


if __name__ == "__main__":
    print("\n".join(table()))
