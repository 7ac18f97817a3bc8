"""Outputs that contradict their input, as a local model of natural language inference sees it: a flag, no rejection.

A "not" too many is what neither words nor embeddings show. Any sequence-classification model with a label
`contradiction` will do (DeBERTa-MNLI and its kind); the input is the premise and the output the hypothesis. None is a
default: such models take what is new for what is wrong, mostly on long texts and outside English.

A row that the model cannot read, because it is too long, is flagged as not looked at; it neither waits nor goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.pool import Pool
from curate.rows import StepId
from curate.scorers import Score
from curate.scorers.reward import RewardModel, load_classifier
from curate.steps import Named
from schemas.errors import SpecError
from schemas.records import Pair, Reason, Verdict, content_id

if TYPE_CHECKING:
    import torch

CONTRADICTION = "nli/contradiction@1"
FLAG, UNREAD = "contradiction", "contradiction_unread"
_ROWS, _LEAST = 256, 0.5


class InferenceModel(RewardModel):
    """P(contradiction) of (input, output)."""

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        super().__init__(model, tokenizer, batch_tokens)
        self._label = _label(model.config)

    def _read(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=-1)[:, self._label]


def contradictions(where: str | Path, *, batch_tokens: int, revision: str | None = None) -> Named:
    """The step: accepted rows that it has not looked at yet. `revision` names the weights, where `where` does not.
    Raises SpecError and MissingDependency when the first row comes."""
    id_ = StepId(CONTRADICTION, content_id("step", [CONTRADICTION, str(where), revision]), per_row=True)
    opened: list[InferenceModel] = []

    def work(pairs: Sequence[Pair]) -> list[Score]:
        if not opened:
            opened.append(InferenceModel(*load_classifier(where, "curate.nli", _check), batch_tokens))
        return opened[0].score([([{"role": "user", "content": pair.asked}], pair.output) for pair in pairs])

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        rows = (row.pair for row in pool.unsettled(id_) if row.pair)
        while chunk := list(islice(rows, _ROWS)):
            for pair, score in zip(chunk, await asyncio.to_thread(work, chunk), strict=True):
                yield step.verdict(pair.id, True, score.value, *_read(score))

    step = Named(id_, look, at_once=_ROWS)
    return step


def _read(score: Score) -> tuple[Reason, tuple[str, ...]]:
    if score.value is None:
        return Reason("unread", score.reason.detail), (UNREAD,)
    if score.value >= _LEAST:
        return Reason("contradiction", f"P(contradiction) {score.value:.2f}"), (FLAG,)
    return Reason("consistent"), ()


def _label(config: Any) -> int | None:
    labels = {str(name).lower(): number for name, number in (config.label2id or {}).items()}
    return next((int(number) for name, number in labels.items() if name.startswith("contradict")), None)


def _check(config: Any) -> None:
    if _label(config) is None:
        raise SpecError(
            f"this model has no label 'contradiction', but {', '.join(map(str, config.label2id or ()))}.",
            where="curate.nli",
            fix="Name a model of natural language inference.",
        )
