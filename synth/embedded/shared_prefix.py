"""Attention over rows with a common prefix, such as the prompts of one generation: the attention of all rows' new
tokens to that prefix is computed at once. Keys are read in place, without first being copied for every query head.

The prefix's keys and values are therefore read once per step instead of once per row; on a CPU, reading them is most of
the cost of decoding 32 rows of a few-shot prompt. The two parts are combined through their log-sum-exps, so the result
is exact (Juravsky et al., Hydragen, 2024, section 3; Dao et al., FlashAttention, 2022). Not covered: layers with a
window, a softcap or sinks, and devices other than a CPU. These use transformers' own attention.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prefix"
# Options of attention layers that change the scores, which the code below does not support.
_UNSUPPORTED_OPTIONS = ("softcap", "s_aux", "position_bias", "sliding_window")


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    shared_prefix: int = 0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Query [rows, heads, tokens, width]; keys and values [rows, key heads, cells, width]; additive mask [rows, 1,
    tokens, cells].

    The first `shared_prefix` cells (0: none) are the same in all rows and masked in none. Returns [rows, tokens, heads,
    width].
    """
    if attention_mask is None or any(options.get(option) is not None for option in _UNSUPPORTED_OPTIONS):
        shown: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return shown
    (rows, heads, tokens, width), key_heads = query.shape, key.shape[1]
    per_key = heads // key_heads
    # The kernel reads any other memory layout as if it were this one.
    grouped = query.reshape(rows, key_heads, per_key * tokens, width).contiguous()
    mask = attention_mask[..., shared_prefix:]
    if tokens > 1:
        mask = mask.repeat(1, 1, per_key, 1)
    rest, rest_lse = _attention_with_lse(grouped, key[:, :, shared_prefix:], value[:, :, shared_prefix:], mask, scaling)
    whole = rest
    if shared_prefix:
        all_queries = grouped.transpose(0, 1).reshape(1, key_heads, -1, width)
        prefix, prefix_lse = _attention_with_lse(
            all_queries, key[:1, :, :shared_prefix], value[:1, :, :shared_prefix], None, scaling
        )
        by_row = (key_heads, rows, per_key * tokens)
        share = torch.sigmoid(prefix_lse.view(by_row).transpose(0, 1) - rest_lse.view(rows, key_heads, -1))[..., None]
        whole = rest.lerp(prefix.view(*by_row, -1).transpose(0, 1), share.to(rest.dtype))
    return whole.reshape(rows, heads, tokens, -1).transpose(1, 2), None


def _attention_with_lse(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [..., width], and the log-sum-exp of its scores."""
    answer: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=mask, scale=scaling
    )
    return answer


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
