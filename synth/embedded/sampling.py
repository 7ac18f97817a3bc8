"""From logits to the next token of every row: repetition controls, constraints, temperature, top-k, top-p, the draw.

The order is vLLM's: repetition controls, then the schema's mask, then temperature, top-k, top-p. Reported
log-probabilities are the model's own, before any of these.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch

from synth.embedded.constrain import Constraint

# Far below any logit, but finite: if a schema allows only banned tokens, they can still be compared.
_BANNED = -1e6
# Sorting all 49,152 probabilities is too expensive for every step; the nucleus nearly always lies within the top ones.
_NUCLEUS_GUESS = 1024
_BLOCK = 256


@dataclass(frozen=True)
class TokenSampling:
    """Sampling parameters. Temperature 0 is greedy; `top_k` <= 0, `top_p` 1, penalty 1 and n-gram size 0 are off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0


@dataclass
class RowSampler:
    """The sampling state of one row: its parameters, its random stream, and the tokens generated so far.

    The repetition controls (penalty and n-gram ban) consider generated tokens only. Including the prompt, as
    transformers' processors do, would forbid the very style of a few-shot prompt. Tokens without a letter (digits,
    punctuation, line ends, parts of a character) are exempt from both: `--ar 16:9`, commas and JSON repeat them.
    """

    sampling: TokenSampling
    generator: torch.Generator
    constraint: Constraint | None = None
    seen: dict[int, None] = field(default_factory=dict)
    _tail: tuple[int, ...] = ()
    _followers: dict[tuple[int, ...], list[int]] = field(default_factory=lambda: defaultdict(list))

    def record(self, token: int, has_letter: bool) -> None:
        """Record a generated token; `has_letter` is whether it contains a letter."""
        if has_letter:
            self.seen[token] = None
        size = self.sampling.no_repeat_ngram_size
        if size:
            if has_letter and len(self._tail) == size - 1:
                self._followers[self._tail].append(token)
            self._tail = (*self._tail, token)[-(size - 1) :] if size > 1 else ()

    def adjust(self, logits: torch.Tensor) -> None:
        """Apply the repetition controls and the constraint to this row's logits [vocabulary], in place.

        The penalty is that of CTRL (Keskar et al., 2019): a positive logit is divided by it, a negative one multiplied.
        """
        penalty = self.sampling.repetition_penalty
        if penalty != 1.0 and self.seen:
            ids = torch.tensor(list(self.seen))
            old = logits[ids]
            logits[ids] = torch.where(old > 0, old / penalty, old * penalty)
        banned = self._followers.get(self._tail)
        if banned:
            logits[torch.tensor(banned)] = _BANNED
        if self.constraint is not None:
            logits.masked_fill_(~self.constraint.allowed(), float("-inf"))


def next_tokens(logits: torch.Tensor, draws: list[RowSampler]) -> list[int]:
    """One token for each row of `logits` [rows, vocabulary] (overwritten).

    A sampled row takes exactly one uniform number from its own generator and inverts the cumulative distribution in
    vocabulary order. So a draw depends only on the row's own seed and logits, and a tiny change of the logits changes
    it only if the number falls close to a boundary. The logits themselves may round differently in another batch, so a
    text is reproducible only within the same batch.
    """
    for row, draw in zip(logits, draws, strict=True):
        draw.adjust(row)
    chosen = logits.argmax(dim=-1)
    sampled = [index for index, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if sampled:
        picked = [draws[index].sampling for index in sampled]
        probabilities = _probabilities(logits[sampled], picked)
        uniform = torch.cat([torch.rand(1, generator=draws[i].generator, dtype=torch.float64) for i in sampled])
        chosen[sampled] = _invert(probabilities, uniform)
    return [int(token) for token in chosen]


def _probabilities(logits: torch.Tensor, sampling: list[TokenSampling]) -> torch.Tensor:
    logits = logits / torch.tensor([one.temperature for one in sampling])[:, None]
    vocabulary = logits.shape[-1]
    top_k = [one.top_k if 0 < one.top_k < vocabulary else vocabulary for one in sampling]
    limited = [index for index, k in enumerate(top_k) if k < vocabulary]
    if limited:
        widest = max(top_k[index] for index in limited)
        best = logits[limited].topk(widest).values
        floor = best.gather(1, torch.tensor([[top_k[index] - 1] for index in limited]))
        logits[limited] = logits[limited].masked_fill_(logits[limited] < floor, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    nucleus = [index for index, one in enumerate(sampling) if one.top_p < 1]
    if nucleus:
        share = torch.tensor([sampling[index].top_p for index in nucleus])[:, None]
        kept = probabilities[nucleus]
        floor = _nucleus_floor(kept, share)
        probabilities[nucleus] = kept.masked_fill_(kept < floor, 0.0)
    return probabilities


def _nucleus_floor(probabilities: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """The lowest probability in each row's nucleus: the smallest set of tokens with a total probability of `share`
    (Holtzman et al., 2020)."""
    vocabulary = probabilities.shape[-1]
    width = min(_NUCLEUS_GUESS, vocabulary)
    best = probabilities.topk(width).values
    before = best.cumsum(dim=-1) - best
    floor = best.gather(1, (before < share).sum(dim=-1, keepdim=True) - 1)
    wider = (before[:, -1] < share[:, 0]).nonzero()[:, 0]
    if width < vocabulary and len(wider):
        best = probabilities[wider].sort(descending=True).values
        before = best.cumsum(dim=-1) - best
        floor[wider] = best.gather(1, (before < share[wider]).sum(dim=-1, keepdim=True) - 1)
    return floor


def _invert(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The token at which each row's cumulative distribution passes its uniform number, searched in two levels."""
    rows, vocabulary = probabilities.shape
    padded = torch.nn.functional.pad(probabilities, (0, -vocabulary % _BLOCK))
    blocks = padded.view(rows, -1, _BLOCK)
    ends = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    target = uniform[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=ends.shape[1] - 1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp_(min=0)), 0.0)
    inside = blocks[torch.arange(rows), block[:, 0]].cumsum(dim=-1, dtype=torch.float64) + before
    token = block * _BLOCK + torch.searchsorted(inside, target, right=True).clamp_(max=_BLOCK - 1)
    return token[:, 0].clamp_(max=vocabulary - 1)
