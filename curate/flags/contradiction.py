"""Flag outputs that contradict their input according to a local model of natural language inference (NLI).

This finds e.g. a superfluous "not", which neither words nor embeddings show. Any sequence-classification model with a
label `contradiction` works (DeBERTa-MNLI and the like); the input is the premise and the output the hypothesis. There
is no default model: they tend to take new information for a contradiction, mostly in long texts and outside English.

The step never rejects. A row that is too long for the model is flagged as unread; it neither waits nor is rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.pool import Pool
from curate.rows import StepId
from curate.scorers import Score
from curate.scorers.reward import RewardModel, load_classifier
from curate.steps import NamedStep
from schemas.errors import SpecError
from schemas.records import Pair, Reason, Verdict, content_id
from schemas.streamed import batched

if TYPE_CHECKING:
    import torch

CONTRADICTION = "nli/contradiction@1"
FLAG, UNREAD = "contradiction", "contradiction_unread"
_BATCH_ROWS, _LEAST = 256, 0.5


class InferenceModel(RewardModel):
    """An NLI model whose score of (input, output) is P(contradiction)."""

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        super().__init__(model, tokenizer, batch_tokens)
        self._label = _contradiction_label(model.config)

    def _scores_from_logits(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=-1)[:, self._label]


def contradictions(where: str | Path, *, batch_tokens: int, revision: str | None = None) -> NamedStep:
    """The step; it looks at the accepted rows that it has not judged yet. `revision` identifies the weights if `where`
    does not.

    SpecError and MissingDependency are raised when the first row is judged.
    """
    id_ = StepId(CONTRADICTION, content_id("step", [CONTRADICTION, str(where), revision]), per_row=True)
    loaded: list[InferenceModel] = []

    def work(pairs: Sequence[Pair]) -> list[Score]:
        if not loaded:
            loaded.append(InferenceModel(*load_classifier(where, "curate.nli", _check), batch_tokens))
        return loaded[0].score([([{"role": "user", "content": pair.asked}], pair.output) for pair in pairs])

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        rows = (row.pair for row in pool.unsettled(id_) if row.pair)
        for chunk in batched(rows, _BATCH_ROWS):
            for pair, score in zip(chunk, await asyncio.to_thread(work, chunk), strict=True):
                yield step.verdict(pair.id, True, score.value, *_opinion(score))

    step = NamedStep(id_, look, at_once=_BATCH_ROWS)
    return step


def _opinion(score: Score) -> tuple[Reason, tuple[str, ...]]:
    if score.value is None:
        return Reason("unread", score.reason.detail), (UNREAD,)
    if score.value >= _LEAST:
        return Reason("contradiction", f"P(contradiction) {score.value:.2f}"), (FLAG,)
    return Reason("consistent"), ()


def _contradiction_label(config: Any) -> int | None:
    labels = {str(name).lower(): number for name, number in (config.label2id or {}).items()}
    return next((int(number) for name, number in labels.items() if name.startswith("contradict")), None)


def _check(config: Any) -> None:
    if _contradiction_label(config) is None:
        raise SpecError(
            f"this model has no label 'contradiction'; its labels are {', '.join(map(str, config.label2id or ()))}.",
            where="curate.nli",
            fix="Name a model for natural language inference (NLI).",
        )
