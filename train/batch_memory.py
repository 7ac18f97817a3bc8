"""How many rows of a batch a CPU computes at a time: it keeps the activations of all of them for the backward pass."""

from __future__ import annotations

from typing import Any

import torch

# Shorter and longer text by which activations per token are measured; what does not grow with the text cancels out.
_SHORT, _LONG = 16, 80
# Bytes that a learned token takes per entry of the vocabulary: its logits in bfloat16, in float32, their logarithms,
# and the gradients of all three. It is the peak of the backward pass, and measured for four models on a CPU.
_LOSS_BYTES = 16
_SHARE = 0.5  # of the free memory; gradients, the optimiser and other programs need some of the rest


def rows_at_once(model: Any, batch: int, longest: int, learned: int, free_bytes: int) -> int:
    """The largest divisor of `batch` so that this many rows fit into half of the free memory, and at least 1.

    `longest` and `learned` are the tokens of the longest row, and the most learned ones of a row, which a reward model
    has none of. Not covered: memory that grows faster than the text, as that of attention without a fused kernel.
    """
    vocabulary = int(model.get_output_embeddings().weight.shape[0]) if learned else 0
    row = longest * _saved_bytes_per_token(model) + learned * _LOSS_BYTES * vocabulary
    fitting = _SHARE * free_bytes / row
    return max(rows for rows in range(1, batch + 1) if batch % rows == 0 and (rows <= fitting or rows == 1))


def _saved_bytes_per_token(model: Any) -> float:
    """What a forward pass in training keeps for the backward pass, apart from the output layer."""
    short, long = (_saved_bytes(model, tokens) for tokens in (_SHORT, _LONG))
    return (long - short) / (_LONG - _SHORT)


def _saved_bytes(model: Any, tokens: int) -> int:
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved = dict[int, int]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    in_bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=model.dtype == torch.bfloat16)
    was_training = model.training
    model.train()
    # With the random state of before, so that training does not depend on whether this was measured.
    with (
        torch.random.fork_rng(devices=[]),
        in_bfloat16,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept),
    ):
        ids = torch.zeros(1, tokens, dtype=torch.long)
        last = {} if model.get_output_embeddings() is None else {"logits_to_keep": 1}
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **last)
    model.train(was_training)
    return sum(saved.values())
