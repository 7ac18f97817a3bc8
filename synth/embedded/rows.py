"""The key-value cache of the sequences being decoded, one row each. It replaces transformers' own cache.

Rows are left aligned and may differ in length. So a finished row can be dropped and a new one admitted between two
steps (continuous batching; Yu et al., Orca, OSDI 2022), and the keys and values of a prompt's prefix can be copied in
instead of being computed again.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_LENGTH_STEP, _ROW_STEP, _VISIBLE_STEP = 64, 4, 32
# A pass over one or two tokens uses different kernels, which round differently, than a pass over a dozen.
_FRESH_TOKENS = 16


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """Writes new keys and values to the cells that `RowCache.select_rows` chose, and returns the visible cells."""

    def __init__(self, owner: RowCache) -> None:
        super().__init__()
        self._owner = owner
        self.store = torch.empty(0)
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: `RowCache.reserve` allocates memory before every forward pass."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        owner, (heads, width) = self._owner, key_states.shape[1::2]
        for part, states in ((0, key_states), (1, value_states)):
            cells = self.store[part].view(-1, heads, width)
            cells.index_copy_(0, owner.cells, states.transpose(1, 2).reshape(-1, heads, width))
        visible = self.store[:, owner.first : owner.last, : owner.visible].transpose(2, 3)
        return visible[0], visible[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._owner.visible, 0

    def get_seq_length(self) -> int:
        return self._owner.visible

    def get_max_length(self) -> int:
        return -1


def cells_for(rows: int, length: int) -> int:
    """The number of tokens that `RowCache.reserve` makes room for."""
    return math.prod(_rounded(rows, length))


def _rounded(rows: int, length: int) -> tuple[int, int]:
    """In steps, so that memory is not reserved anew for every row and token. One row with a long prompt is not rounded
    up to four of them."""
    return (-(-rows // _ROW_STEP) * _ROW_STEP if rows > _ROW_STEP else rows), -(-length // _LENGTH_STEP) * _LENGTH_STEP


class RowCache:
    """Up to `rows` sequences of up to `length` tokens; each layer's store is [2, rows, length, heads, width].

    `windows` gives, for each kind of layer, how many tokens back it attends (None: all). Layers with a window also keep
    all their keys; the mask hides the old ones.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        width: int,
        windows: Mapping[str, int | None],
        dtype: torch.dtype,
        device: str = "cpu",
    ) -> None:
        self._heads, self._width, self._windows, self._dtype = heads, width, windows, dtype
        self._device = device
        self._layers = [_Layer(self) for _ in range(layers)]
        self.cache = Cache(layers=self._layers)
        self.rows = self.length = 0
        self.first = self.last = self.visible = 0
        self.cells = torch.empty(0, dtype=torch.long)

    def reserve(self, rows: int, length: int) -> None:
        """Make room for `rows` sequences of `length` tokens, keeping what is stored of them. Nothing else is kept: many
        short rows and one long row, one after the other, must not take the memory of many long rows.

        New cells are zero: attention multiplies even masked cells.
        """
        rows, length = _rounded(rows, length)
        if rows <= self.rows and length <= self.length and self.cells_reserved <= 2 * rows * length:
            return
        kept_rows, kept_length = min(rows, self.rows), min(length, self.length)
        for layer in self._layers:
            old = layer.store
            shape = (2, rows, length, self._heads, self._width)
            layer.store = torch.zeros(shape, dtype=self._dtype, device=self._device)
            if kept_rows:
                layer.store[:, :kept_rows, :kept_length] = old[:, :kept_rows, :kept_length]
        self.rows, self.length = rows, length

    @property
    def cells_reserved(self) -> int:
        """The number of tokens that there is memory for."""
        return self.rows * self.length

    def release(self) -> None:
        """Free the memory; only while no row is in use."""
        for layer in self._layers:
            layer.store = torch.empty(0)
        self.rows = self.length = 0

    def select_rows(self, first: int, positions_RS: torch.Tensor) -> dict[str, torch.Tensor]:
        """Select rows `first`..`first + R` for the next forward pass, whose new tokens are at `positions_RS`.

        Returns the additive attention masks [R, 1, S, visible] by kind of layer: a token attends its own row up to
        itself, as far back as the layer's window reaches.
        """
        count = positions_RS.shape[0]
        self.first, self.last = first, first + count
        # A multiple of the step: attention sums in vector lanes, so a row would round differently next to a longer one.
        self.visible = -(-(int(positions_RS.max()) + 1) // _VISIBLE_STEP) * _VISIBLE_STEP
        row_starts = torch.arange(first, first + count)[:, None] * self.length
        self.cells = (row_starts + positions_RS).reshape(-1).to(self._device)
        at, cells = positions_RS.to(self._device)[:, None, :, None], torch.arange(self.visible, device=self._device)
        zeros = torch.zeros((cells > at).shape, dtype=self._dtype, device=self._device)
        return {
            kind: zeros.masked_fill(
                (cells > at) if window is None else (cells > at) | (cells <= at - window), -math.inf
            )
            for kind, window in self._windows.items()
        }

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` to row `target`."""
        for layer in self._layers:
            layer.store[:, target, :length] = layer.store[:, source, :length]

    def read(self, row: int, length: int) -> torch.Tensor:
        """A copy [layers, 2, length, heads, width] of a row's first `length` tokens."""
        return torch.stack([layer.store[:, row, :length] for layer in self._layers])

    def write(self, row: int, block: torch.Tensor, length: int) -> None:
        for layer, part in zip(self._layers, block, strict=True):
            layer.store[:, row, :length] = part[:, :length]


class RowTokens:
    """Replaces `RowCache` for a model that keeps more than keys and values (linear attention, convolutions).

    It stores only the tokens, [rows, length], and every step recomputes the whole row: slow, but correct for any model.
    """

    cells_reserved = 0  # compared with keys and values, tokens take no memory

    def __init__(self) -> None:
        self.tokens = torch.zeros(0, 0, dtype=torch.long)

    def reserve(self, rows: int, length: int) -> None:
        had_rows, had_length = self.tokens.shape
        tokens = torch.zeros(max(rows, had_rows), max(length, had_length), dtype=torch.long)
        tokens[:had_rows, :had_length] = self.tokens
        self.tokens = tokens

    def release(self) -> None:
        self.tokens = torch.zeros(0, 0, dtype=torch.long)

    def write_tokens(self, first: int, ids_RS: torch.Tensor, positions_RS: torch.Tensor) -> torch.Tensor:
        """Write new tokens into rows `first`..`first + R`; returns those rows [R, L], L being the longest row's length.

        Cells after a row's last token are arbitrary, and do not affect earlier positions.
        """
        rows = slice(first, first + len(ids_RS))
        self.tokens[rows].scatter_(1, positions_RS, ids_RS)
        return self.tokens[rows, : int(positions_RS.max()) + 1]

    def move(self, source: int, target: int, length: int) -> None:
        self.tokens[target, :length] = self.tokens[source, :length]

    def read(self, row: int, length: int) -> torch.Tensor:
        return self.tokens[row, :length].clone()

    def write(self, row: int, block: torch.Tensor, length: int) -> None:
        self.tokens[row, :length] = block[:length]


class PrefixStore:
    """Keys and values of recent prompts, so that a prefix shared with a new prompt is copied instead of computed.

    Holds at most `max_tokens`; the least recently used entry is evicted first. An entry belongs to one model name,
    because an adapter changes keys and values.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens, self._tokens = max_tokens, 0
        self._entries: OrderedDict[tuple[str, bytes], tuple[npt.NDArray[np.int64], torch.Tensor]] = OrderedDict()

    def longest(self, model: str, prompt: list[int]) -> tuple[int, torch.Tensor | None]:
        """The length of the longest stored prefix of `prompt`, and the block that holds it (None if there is none).

        The last 16 tokens of a prompt are never taken from the store.
        """
        tokens = np.asarray(prompt[:-_FRESH_TOKENS], dtype=np.int64)
        best, best_key = 0, None
        for key, (known, _) in self._entries.items():
            if key[0] != model:
                continue
            both = min(len(known), len(tokens))
            differs = known[:both] != tokens[:both]
            shared = int(differs.argmax()) if differs.any() else both
            if shared > best:
                best, best_key = shared, key
        if best_key is None:
            return 0, None
        self._entries.move_to_end(best_key)
        return best, self._entries[best_key][1]

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._tokens = 0

    def add(self, model: str, prompt: list[int], block: torch.Tensor) -> None:
        tokens = np.asarray(prompt, dtype=np.int64)
        key = (model, tokens.tobytes())
        if len(tokens) > self._max_tokens or key in self._entries:
            return
        self._entries[key] = (tokens, block)
        self._tokens += len(tokens)
        while self._tokens > self._max_tokens:
            _, (dropped, _) = self._entries.popitem(last=False)
            self._tokens -= len(dropped)
