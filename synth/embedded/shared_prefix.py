"""Attention of rows that begin alike, as the prompts of one generation do: what each new token gets from the common
beginning is computed for all rows at once. Keys are read where they lie, and not copied for every query head first.

Keys and values of the beginning are then read once a step and not once a row, which on a CPU is most of what decoding
32 rows of a few-shot prompt costs. The parts are joined by the logarithms of their sums, so nothing is approximated
(Juravsky et al., Hydragen, 2024, section 3; Dao et al., FlashAttention, 2022). Not covered: layers with a window, a
softcap or sinks, prompts (more than one new token a row), and devices other than a CPU; they take transformers' own.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prefix"
# What else an attention layer may ask for; each changes the scores, which the parts below do not know of.
_OTHER_RULES = ("softcap", "s_aux", "position_bias", "sliding_window")


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    shared_prefix: int = 0,
    **rules: Any,
) -> tuple[torch.Tensor, None]:
    """Query [rows, heads, 1, width]; keys and values [rows, key heads, cells, width]; additive mask [rows, 1, 1, all].

    The first `shared_prefix` cells of all rows (0: none) hold the same and are hidden from none. Returns [rows, 1,
    heads, width].
    """
    one_token = query.shape[2] == 1
    if not one_token or attention_mask is None or any(rules.get(rule) is not None for rule in _OTHER_RULES):
        shown: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rules
        )
        return shown
    (rows, heads, _, width), key_heads = query.shape, key.shape[1]
    grouped = query.reshape(rows, key_heads, heads // key_heads, width)
    rest, rest_sum = _flash(
        grouped, key[:, :, shared_prefix:], value[:, :, shared_prefix:], attention_mask[..., shared_prefix:], scaling
    )
    if not shared_prefix:
        return rest.reshape(rows, 1, heads, -1), None
    together = grouped.transpose(0, 1).reshape(1, key_heads, -1, width)
    beginning, its_sum = _flash(together, key[:1, :, :shared_prefix], value[:1, :, :shared_prefix], None, scaling)
    by_row = (key_heads, rows, heads // key_heads)
    share = torch.sigmoid(its_sum.view(by_row).transpose(0, 1) - rest_sum.view(rows, key_heads, -1))[..., None]
    whole = rest.lerp(beginning.view(*by_row, -1).transpose(0, 1), share.to(rest.dtype))
    return whole.reshape(rows, 1, heads, -1), None


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [..., width], and the logarithm of the sum of its exponentiated scores."""
    answer: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=mask, scale=scaling
    )
    return answer


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
