"""The frozen language model under the Bradley-Terry head: last-token states, log-probabilities, and saving it with a
head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from curate.scorers.pmi import messages
from curate.scorers.reward import batches, chat_tokens, without_bars
from schemas.allocator import keep_large_blocks


class FrozenEncoder:
    """A causal model, run in batches of at most `batch_tokens` tokens including padding."""

    def __init__(
        self, folder: Path, batch_tokens: int, progress: Callable[[str, dict[str, Any]], None] | None = None
    ) -> None:
        from synth.embedded.model import best_dtype

        keep_large_blocks()
        self._folder, self._batch_tokens, self._progress = folder, batch_tokens, progress
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        with without_bars():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=best_dtype(), trust_remote_code=False)
        self._model: Any = model.eval()

    def states(self, texts: Sequence[tuple[str, str]]) -> tuple[np.ndarray, list[int]]:
        """States [texts, hidden] at the last token of each (input, output) chat, and the number of tokens of each."""
        rows = [chat_tokens(self._tokenizer, input, output) for input, output in texts]
        states = np.zeros((len(rows), self._model.config.hidden_size))
        for batch, hidden in self._forward(rows, "fit reward model"):
            for at, row in enumerate(batch):
                states[row] = hidden[at, len(rows[row]) - 1].double().numpy()
        return states, [len(row) for row in rows]

    def pmi(self, system: str, texts: Sequence[tuple[str, str]]) -> np.ndarray:
        """[texts]: log p(output | input) - log p(output) in nats, in the form documented in `pmi.py`."""
        with_input = self._logprobs([(messages(system, input), output) for input, output in texts])
        without = self._logprobs([(messages(system, ""), output) for _, output in texts])
        return np.asarray(with_input - without)

    def _logprobs(self, asked: Sequence[tuple[list[dict[str, str]], str]]) -> np.ndarray:
        starts, rows = [], []
        for chat, completion in asked:
            before = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            prompt = self._tokenizer(before, add_special_tokens=False)["input_ids"]
            starts.append(len(prompt))
            rows.append([*prompt, *self._tokenizer(completion, add_special_tokens=False)["input_ids"]])
        sums = np.zeros(len(rows))
        for batch, hidden in self._forward(rows, "PMI baseline"):
            for at, row in enumerate(batch):
                start, end = starts[row], len(rows[row])
                with torch.inference_mode():
                    logits = self._model.get_output_embeddings()(hidden[at, start - 1 : end - 1]).float()
                    tokens = torch.tensor(rows[row][start:])
                    sums[row] = float(torch.log_softmax(logits, -1).gather(1, tokens[:, None]).sum())
        return sums

    def _forward(self, rows: Sequence[list[int]], stage: str) -> Any:
        """Yield row indices and their hidden states [rows, longest, hidden], right-padded."""
        done = 0
        for batch in batches({at: len(row) for at, row in enumerate(rows)}, self._batch_tokens):
            width = max(len(rows[row]) for row in batch)
            ids = torch.tensor([rows[row] + [0] * (width - len(rows[row])) for row in batch])
            mask = torch.tensor([[1] * len(rows[row]) + [0] * (width - len(rows[row])) for row in batch])
            with torch.inference_mode():
                hidden = self._model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
            yield batch, hidden
            done += len(batch)
            if self._progress:
                self._progress(stage, {"done": done, "total": len(rows)})

    def save_reward_model(self, folder: Path, weights: np.ndarray) -> None:
        """Save the model with `weights` [hidden] as its one-label head: an ordinary sequence-classification folder."""
        reward: Any = AutoModelForSequenceClassification.from_config(
            type(self._model.config).from_pretrained(self._folder, num_labels=1), dtype=self._model.dtype
        )
        reward.base_model.load_state_dict(self._model.base_model.state_dict())
        with torch.no_grad():
            reward.score.weight.copy_(torch.from_numpy(weights)[None])
        reward.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
