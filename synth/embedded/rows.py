"""Keys and values of the sequences being decoded, one row each, in place of transformers' own cache.

The rows are left aligned and may differ in length, so a finished row can be dropped and a new one admitted between
two steps (continuous batching; Yu et al., Orca, OSDI 2022), and the keys and values of a prompt's beginning can be
copied in instead of computed again.
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

_LENGTH_STEP, _ROW_STEP, _SHOWN_STEP = 64, 4, 32
# A pass over one or two tokens takes other kernels, which round differently, than a pass over a dozen.
_FRESH_TOKENS = 16


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers is seen as untyped
    """Writes new keys and values where `RowCache.aim` said, and shows attention the rows and cells it asked for."""

    def __init__(self, owner: RowCache) -> None:
        super().__init__()
        self._owner = owner
        self.store = torch.empty(0)
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: `RowCache.reserve` makes room before every forward pass."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        aim, (heads, width) = self._owner, key_states.shape[1::2]
        for part, states in ((0, key_states), (1, value_states)):
            cells = self.store[part].view(-1, heads, width)
            cells.index_copy_(0, aim.cells, states.transpose(1, 2).reshape(-1, heads, width))
        shown = self.store[:, aim.first : aim.last, : aim.shown].transpose(2, 3)
        return shown[0], shown[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._owner.shown, 0

    def get_seq_length(self) -> int:
        return self._owner.shown

    def get_max_length(self) -> int:
        return -1


class RowCache:
    """Up to `rows` sequences of up to `length` tokens; each layer's store is [2, rows, length, heads, width].

    `windows` says for each kind of layer how many tokens back it sees (None: all). Layers with a window keep all their
    keys too; the mask hides the old ones.
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
        self.first = self.last = self.shown = 0
        self.cells = torch.empty(0, dtype=torch.long)

    def reserve(self, rows: int, length: int) -> None:
        """Makes room, keeping what is stored. Cells start as zeros: attention multiplies even masked ones."""
        rows = max(self.rows, -(-rows // _ROW_STEP) * _ROW_STEP)
        length = max(self.length, -(-length // _LENGTH_STEP) * _LENGTH_STEP)
        if (rows, length) == (self.rows, self.length):
            return
        for layer in self._layers:
            old = layer.store
            shape = (2, rows, length, self._heads, self._width)
            layer.store = torch.zeros(shape, dtype=self._dtype, device=self._device)
            if self.rows:
                layer.store[:, : self.rows, : self.length] = old
        self.rows, self.length = rows, length

    def release(self) -> None:
        """Gives the memory back; only when no row is in use."""
        for layer in self._layers:
            layer.store = torch.empty(0)
        self.rows = self.length = 0

    def aim(self, first: int, positions_RS: torch.Tensor) -> dict[str, torch.Tensor]:
        """Points the next forward pass at rows `first`..`first + R`, whose new tokens stand at `positions_RS`.

        Returns the additive attention masks [R, 1, S, shown] by kind of layer: a token sees its own row up to itself,
        as far back as the layer's window goes.
        """
        count = positions_RS.shape[0]
        self.first, self.last = first, first + count
        # In whole steps: attention sums in vector lanes, so a row would round differently next to a longer one.
        self.shown = -(-(int(positions_RS.max()) + 1) // _SHOWN_STEP) * _SHOWN_STEP
        row_starts = torch.arange(first, first + count)[:, None] * self.length
        self.cells = (row_starts + positions_RS).reshape(-1).to(self._device)
        at, cells = positions_RS.to(self._device)[:, None, :, None], torch.arange(self.shown, device=self._device)
        zeros = torch.zeros((cells > at).shape, dtype=self._dtype, device=self._device)
        return {
            kind: zeros.masked_fill(
                (cells > at) if window is None else (cells > at) | (cells <= at - window), -math.inf
            )
            for kind, window in self._windows.items()
        }

    def move(self, source: int, target: int, length: int) -> None:
        for layer in self._layers:
            layer.store[:, target, :length] = layer.store[:, source, :length]

    def read(self, row: int, length: int) -> torch.Tensor:
        """A copy [layers, 2, length, heads, width] of a row's beginning."""
        return torch.stack([layer.store[:, row, :length] for layer in self._layers])

    def write(self, row: int, block: torch.Tensor, length: int) -> None:
        for layer, part in zip(self._layers, block, strict=True):
            layer.store[:, row, :length] = part[:, :length]


class RowTokens:
    """In place of a `RowCache` for a model that keeps more than keys and values (linear attention, convolutions): only
    the tokens are kept, [rows, length], and every step computes the whole row again. Slow, and right for any model."""

    def __init__(self) -> None:
        self.tokens = torch.zeros(0, 0, dtype=torch.long)

    def reserve(self, rows: int, length: int) -> None:
        had_rows, had_length = self.tokens.shape
        tokens = torch.zeros(max(rows, had_rows), max(length, had_length), dtype=torch.long)
        tokens[:had_rows, :had_length] = self.tokens
        self.tokens = tokens

    def release(self) -> None:
        self.tokens = torch.zeros(0, 0, dtype=torch.long)

    def place(self, first: int, ids_RS: torch.Tensor, positions_RS: torch.Tensor) -> torch.Tensor:
        """Put new tokens into rows `first`..`first + R`; returns those rows [R, L], as long as the longest needs.

        What stands behind a row's last token is of no meaning, and does not change what stands before it.
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
    """Keys and values of recent prompts, so that a beginning they share with a new prompt is copied, not computed.

    Least recently used goes first once `max_tokens` are held. Entries belong to one model name: an adapter changes
    keys and values.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens, self._tokens = max_tokens, 0
        self._entries: OrderedDict[tuple[str, bytes], tuple[npt.NDArray[np.int64], torch.Tensor]] = OrderedDict()

    def longest(self, model: str, prompt: list[int]) -> tuple[int, torch.Tensor | None]:
        """How many of the prompt's first tokens are known, and where; the last 16 are always left to compute."""
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
        """Forget all of them."""
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
