"""The batched decode loop: one thread that owns the model, admits requests between steps and drops finished rows.

Each served model name (the base, or an adapter over it) has its own lane. Lanes with work alternate, one step each.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import torch

from schemas.memory import is_out_of_memory
from synth.embedded.constrain import Constraint
from synth.embedded.jobs import Choice, DecodedRow, GenerationJob, Likelihood, ScoringJob, TokenLogprob
from synth.embedded.model import ChatModel
from synth.embedded.rows import PrefixStore, RowCache, RowTokens, cells_for
from synth.embedded.sampling import RowSampler, next_tokens

# Prompts with fewer new tokens than this run together, padded. Longer ones run one at a time and are kept in the prefix
# store.
_LONG_TOKENS = 32
# Tokens of one long prompt, or of one batch of completions to score, in a forward pass; this bounds activation memory.
_PROMPT_CHUNK_TOKENS = 512
_SCORE_CHUNK_TOKENS = 256
# Matrix products of one to three rows use kernels that round differently from those for four or more. Padding a batch
# to four rows makes a single answer come out as it would in a larger batch on most processors. On some (for example
# those with AMX) rounding depends on every batch size, so nothing may rely on this.
_MIN_ROWS = 4
# A shared prefix is used in multiples of this many tokens; a shorter one is not worth a separate pass.
_SHARED_PREFIX_STEP = 64
# Memory for cached prompt prefixes, as a share of the key-value budget and in addition to it.
_PREFIX_SHARE, _MIN_PREFIX_MIB = 1 / 8, 96

JobT = TypeVar("JobT", GenerationJob, ScoringJob)


@dataclass(eq=False)
class _Lane:
    """The state of one served model name. Row i of `active` is stored in row i of `cache`."""

    cache: RowCache | RowTokens
    active: list[DecodedRow] = field(default_factory=list)
    waiting: deque[DecodedRow] = field(default_factory=deque)
    scoring: deque[ScoringJob] = field(default_factory=deque)
    starting: list[GenerationJob | ScoringJob] = field(default_factory=list)
    """Jobs taken from a queue whose rows are not active yet; they also fail if the step fails."""

    def has_work(self) -> bool:
        return bool(self.active or self.starting or self.waiting or self.scoring)

    def shared_prefix(self) -> int:
        """How many leading tokens the prompts of all active rows share, a multiple of `_SHARED_PREFIX_STEP`."""
        prompts = [row.job.prompt for row in self.active]
        first, last = min(prompts), max(prompts)  # in lexicographic order: a prefix that these two share, all share
        shared = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        return shared // _SHARED_PREFIX_STEP * _SHARED_PREFIX_STEP

    def cells_needed(self, more: Sequence[DecodedRow] = ()) -> tuple[int, int]:
        """Rows and tokens a row that the cache needs once every active row, and every row in `more`, has reached its
        token limit."""
        limits = [len(row.job.prompt) + row.job.max_tokens for row in chain(self.active, more)]
        return len(limits), max(limits, default=0)

    def reserve(self, rows: int, length: int) -> None:
        """Make room for `rows` rows of `length` tokens, including the active ones, which may be longer."""
        self.cache.reserve(rows, max([length, *(row.length for row in self.active)]))


class Decoder:
    """Runs generation and scoring jobs in its own thread, with at most `max_batch` rows of a lane in a step.

    `models` maps each served name to an adapter of `model`, or to None for the base alone. `kv_mib` bounds the keys and
    values over all lanes, of which those with work get equal shares: a row waits until its worst case fits (one that
    never fits is run alone).
    """

    def __init__(
        self,
        model: ChatModel,
        models: Mapping[str, str | None],
        start_constraint: Callable[[str], Constraint],
        *,
        max_batch: int,
        kv_mib: int,
    ) -> None:
        self._model, self._adapters, self._start_constraint = model, dict(models), start_constraint
        self._max_batch, self._min_rows = max_batch, _MIN_ROWS
        self._max_cells = kv_mib * 2**20 // model.bytes_per_token()
        prefix_mib = max(_MIN_PREFIX_MIB, int(_PREFIX_SHARE * kv_mib))
        self._prefixes = PrefixStore(prefix_mib * 2**20 // model.bytes_per_token())
        self._has_letter: list[bool] = model.tokens_with_letters().tolist()
        self._lanes = {name: _Lane(model.new_rows()) for name in models}
        self._inbox: queue.SimpleQueue[GenerationJob | ScoringJob | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self.generated_tokens = self.computed_prompt_tokens = self.reused_prompt_tokens = 0
        self._thread.start()

    def submit(self, job: GenerationJob | ScoringJob) -> None:
        """Queue a job. Thread safe."""
        self._inbox.put(job)

    def close(self) -> None:
        """Finish the step in progress and stop. Unfinished jobs are cancelled."""
        self._inbox.put(None)
        self._thread.join()

    def load(self) -> dict[str, int]:
        """Current row counts and the token counters so far, for the health route."""
        lanes = self._lanes.values()
        return {
            "rows_active": sum(len(lane.active) for lane in lanes),
            "rows_waiting": sum(len(lane.waiting) for lane in lanes),
            "generated_tokens": self.generated_tokens,
            "computed_prompt_tokens": self.computed_prompt_tokens,
            "reused_prompt_tokens": self.reused_prompt_tokens,
        }

    @torch.inference_mode()
    def _run(self) -> None:
        while self._take_inbox():
            for name, lane in self._lanes.items():
                if lane.has_work():
                    failure: Exception | None = None
                    try:
                        self._step(name, lane)
                    except Exception as error:
                        failure = error.with_traceback(None)  # the traceback would keep the step's tensors in memory
                    # A failed step must not stop the server: only its own requests get the error.
                    if failure is not None and not (is_out_of_memory(failure) and self._retry_halved(lane)):
                        self._fail(lane, failure)
        for lane in self._lanes.values():
            for row in chain(lane.active, lane.waiting):
                row.job.future.cancel()
            for job in lane.scoring:
                job.future.cancel()

    def _take_inbox(self) -> bool:
        """Move new jobs to their lanes, blocking while there is no other work; False after `close`."""
        idle = not any(lane.has_work() for lane in self._lanes.values())
        while idle or not self._inbox.empty():
            job = self._inbox.get()
            idle = False
            if job is None:
                return False
            lane = self._lanes[job.model]
            if isinstance(job, ScoringJob):
                lane.scoring.append(job)
            else:
                lane.waiting.extend(self._new_row(job, index) for index in range(job.n))
        return True

    def _new_row(self, job: GenerationJob, index: int) -> DecodedRow:
        seed = secrets.randbits(62) if job.seed is None else job.seed + index
        generator = torch.Generator().manual_seed(seed % 2**63)
        constraint = self._start_constraint(job.grammar) if job.grammar is not None else None
        return DecodedRow(job, index, RowSampler(job.sampling, generator, constraint), length=len(job.prompt))

    def _step(self, name: str, lane: _Lane) -> None:
        """One step of a lane: a waiting scoring job if there is one, then new rows, then one token for every row."""
        self._model.activate(self._adapters[name])
        for slot in reversed(range(len(lane.active))):
            if lane.active[slot].job.future.done():
                _remove(lane, slot)
        if lane.scoring:
            job = lane.scoring.popleft()
            lane.starting = [job]
            self._score(job)
        self._admit(lane)
        lane.starting = []
        if lane.active:
            lengths = [row.length for row in lane.active]
            spare = self._padded(*lane.cells_needed()) - len(lane.active)
            lane.reserve(len(lengths) + spare, max(lengths) + 1)
            lengths += [0] * spare
            ids = torch.tensor([[row.ids[-1]] for row in lane.active] + [[0]] * spare)
            logits = self._model.forward(
                lane.cache, 0, ids, torch.tensor(lengths)[:, None], shared=0 if spare else lane.shared_prefix()
            )
            for row in lane.active:
                row.length += 1
            self._draw_tokens(lane, 0, logits[: len(lane.active), -1])
        if not lane.active:
            lane.cache.release()

    def _padded(self, rows: int, length: int) -> int:
        """At least `_MIN_ROWS` rows, unless these would need more than a lane's share, or memory has run out before."""
        return self._min_rows if rows < self._min_rows and cells_for(self._min_rows, length) <= self._share() else rows

    def _share(self) -> int:
        """The cells that each lane with work may fill with new rows."""
        return self._max_cells // max(1, sum(lane.has_work() for lane in self._lanes.values()))

    def _retry_halved(self, lane: _Lane) -> bool:
        """Restart the rows of a step that ran out of memory, half as many at a time and not padded.

        False if the step had only one row and no padding, or if part of an answer has already been streamed: decoded
        again, its beginning could differ.
        """
        waiting = {(row.job, row.index) for row in lane.waiting}
        jobs = {*lane.starting, *(row.job for row in lane.active)}
        scoring = [job for job in jobs if isinstance(job, ScoringJob)]
        generation = [(job, index) for job in jobs if isinstance(job, GenerationJob) for index in range(job.n)]
        missing = [
            (job, index) for job, index in generation if index not in job.choices and (job, index) not in waiting
        ]
        rows = min(self._max_batch, max(len(missing), len(scoring)))
        if (rows <= 1 and self._min_rows == 1) or any(row.sent for row in lane.active):
            return False
        self._max_batch, self._min_rows = rows // 2 if rows > 1 else self._max_batch, 1
        lane.scoring.extendleft(scoring)
        lane.waiting.extend(self._new_row(job, at) for job, at in missing)
        lane.starting, lane.active = [], []
        lane.cache.release()
        self._prefixes.clear()
        torch.cuda.empty_cache()  # does nothing without a CUDA GPU
        return True

    def _fail(self, lane: _Lane, error: Exception) -> None:
        for job in {*lane.starting, *(row.job for row in lane.active)}:
            with suppress(InvalidStateError):  # the client may cancel at any moment
                job.future.set_exception(error)
        lane.starting, lane.active = [], []
        lane.cache.release()

    def _admit(self, lane: _Lane) -> None:
        """Start as many waiting rows as fit, computing each prompt once, and draw their first tokens."""
        choices: dict[GenerationJob, list[DecodedRow]] = {}
        for row in self._take_waiting(lane):
            choices.setdefault(row.job, []).append(row)
        if not choices:
            return
        lane.starting = list(choices)
        first = len(lane.active)
        rows = self._padded(*lane.cells_needed([*chain(*choices.values())]))
        lane.reserve(rows, max(len(job.prompt) for job in choices))
        order, logits = self._run_prompts(lane, first, list(choices))
        lane.active += [choices[job][0] for job in order]
        source = list(range(len(order)))
        for place, job in enumerate(order):
            for sibling in choices[job][1:]:
                lane.cache.move(first + place, len(lane.active), len(job.prompt))
                lane.active.append(sibling)
                source.append(place)
        self._draw_tokens(lane, first, logits[source])

    def _take_waiting(self, lane: _Lane) -> list[DecodedRow]:
        taken: list[DecodedRow] = []
        others = [other for other in self._lanes.values() if other is not lane]
        room = min(self._share(), self._max_cells - sum(map(self._most_cells, others)))
        while lane.waiting and len(lane.active) + len(taken) < self._max_batch:
            row = lane.waiting[0]
            if not row.job.future.done():
                busy = bool(lane.active or taken or any(other.active for other in others))
                if busy and self._most_cells(lane, [*taken, row]) > room:
                    break
                taken.append(row)
            lane.waiting.popleft()
        return taken

    def _most_cells(self, lane: _Lane, more: Sequence[DecodedRow] = ()) -> int:
        """The cells of a lane once its rows and those in `more` have reached their limits; at least what it holds now,
        unless there are more rows, for which it is reserved anew."""
        rows, length = lane.cells_needed(more)
        worst = cells_for(self._padded(rows, length), length)
        return worst if more else max(worst, lane.cache.cells_reserved)

    def _run_prompts(self, lane: _Lane, first: int, jobs: Sequence[JobT]) -> tuple[list[JobT], torch.Tensor]:
        """Compute each job's prompt in its own row, starting at row `first`.

        Returns the jobs in the order of their rows, and the logits [jobs, vocabulary] after each prompt.
        """
        order: list[JobT] = []
        logits: list[torch.Tensor] = []
        short: list[tuple[JobT, int, torch.Tensor | None]] = []
        for job in jobs:
            known, block = self._prefixes.longest(job.model, job.prompt)
            slot = first + len(order)
            if len(job.prompt) - known < _LONG_TOKENS:
                short.append((job, known, block))
                continue
            if block is not None:
                lane.cache.write(slot, block, known)
            logits.append(self._prefill(lane, slot, [job.prompt], [known]))
            self._prefixes.add(job.model, job.prompt, lane.cache.read(slot, len(job.prompt)))
            order.append(job)
        if short:
            slot = first + len(order)
            for place, (_, known, block) in enumerate(short):
                if block is not None:
                    lane.cache.write(slot + place, block, known)
            prompts = [job.prompt for job, _, _ in short]
            logits.append(self._prefill(lane, slot, prompts, [known for _, known, _ in short]))
            order += [job for job, _, _ in short]
        return order, torch.cat(logits)

    def _prefill(self, lane: _Lane, first: int, prompts: Sequence[list[int]], known: Sequence[int]) -> torch.Tensor:
        """Compute the part of each prompt beyond its `known` tokens, in rows from `first` on.

        Returns the logits [prompts, vocabulary] after each prompt.
        """
        new = [len(prompt) - start for prompt, start in zip(prompts, known, strict=True)]
        self.computed_prompt_tokens += sum(new)
        self.reused_prompt_tokens += sum(known)
        width = max(new)
        ends = torch.tensor([len(prompt) for prompt in prompts])[:, None]
        # Right aligned, so that every row's last token comes last. A shorter row is padded by computing its first new
        # token repeatedly, which writes the same value into the same cell.
        positions = (ends - width + torch.arange(width)).maximum(torch.tensor(known)[:, None])
        ids = torch.tensor([[prompt[at] for at in row] for prompt, row in zip(prompts, positions, strict=True)])
        for part_ids, part_positions in zip(*_even_chunks(ids, positions), strict=True):
            logits = self._model.forward(lane.cache, first, part_ids, part_positions)
        return logits[:, -1]

    def _draw_tokens(self, lane: _Lane, first: int, logits: torch.Tensor) -> None:
        """Draw a token for each active row from `first` on, and remove the rows that end with it."""
        rows = lane.active[first:]
        # Computed before the draw, which overwrites the logits.
        reports = [
            None if row.job.top_logprobs is None else row_logits.log_softmax(-1)
            for row, row_logits in zip(rows, logits, strict=True)
        ]
        tokens = next_tokens(logits, [row.draw for row in rows])
        self.generated_tokens += len(tokens)
        for slot in reversed(range(first, len(lane.active))):
            if self._take_token(rows[slot - first], tokens[slot - first], reports[slot - first]):
                _remove(lane, slot)

    def _take_token(self, row: DecodedRow, token: int, logprobs: torch.Tensor | None) -> bool:
        """Add a token to its row; True if this finished the row, in which case its choice is stored with the job."""
        job = row.job
        if token in self._model.end_tokens:
            self._finish(row, self._model.decode(row.ids), "stop", len(row.ids) + 1)
            return True
        row.ids.append(token)
        row.draw.record(token, self._has_letter[token])
        if logprobs is not None:
            row.logprobs.append(_token_logprob(logprobs, token, job.top_logprobs or 0))
        complete = row.draw.constraint is not None and row.draw.constraint.take(token)
        text = self._model.decode(row.ids) if job.stop or job.tell else ""
        cuts = [at for at in map(text.find, job.stop) if at >= 0]
        if not (cuts or complete or len(row.ids) == job.max_tokens):
            row.send_piece(text, whole=False)
            return False
        whole = text[: min(cuts)] if cuts else self._model.decode(row.ids)
        self._finish(row, whole, "stop" if cuts or complete else "length", len(row.ids))
        return True

    def _finish(self, row: DecodedRow, text: str, reason: str, tokens: int) -> None:
        job = row.job
        row.send_piece(text, whole=True)
        job.choices[row.index] = Choice(text, reason, tokens, tuple(row.logprobs))
        if len(job.choices) == job.n:
            _set_result(job, [job.choices[index] for index in range(job.n)])

    def _score(self, job: ScoringJob) -> None:
        """Score the completions of a job, in batches of similar length, computing their prompt once."""
        start, scratch = len(job.prompt), _Lane(self._model.new_rows())
        scratch.reserve(1, start)
        _, after_prompt = self._run_prompts(scratch, 0, [job])
        prompt = scratch.cache.read(0, start)
        first_logprobs = after_prompt[0].log_softmax(-1)
        scores: dict[int, Likelihood] = {i: Likelihood(0.0, 0) for i, ids in enumerate(job.completions) if not ids}
        todo = sorted((i for i, ids in enumerate(job.completions) if ids), key=lambda i: len(job.completions[i]))
        room = self._max_cells - sum(other.cache.cells_reserved for other in self._lanes.values())
        ready = 1
        while todo and not job.future.done():
            width = len(job.completions[todo[-1]])
            count = min(len(todo), self._max_batch, max(1, _SCORE_CHUNK_TOKENS // width))
            count = next((rows for rows in range(count, 1, -1) if cells_for(rows, start + width) <= room), 1)
            batch, todo = todo[-count:], todo[:-count]
            scratch.reserve(max(ready, count), start + width)
            for row in range(ready, count):
                scratch.cache.write(row, prompt, start)
            ready = max(ready, count)
            ids = torch.zeros(count, width, dtype=torch.long)
            for place, index in enumerate(batch):
                ids[place, : len(job.completions[index])] = torch.tensor(job.completions[index])
            sums = first_logprobs[ids[:, 0]].double()
            for at in range(0, width - 1, _SCORE_CHUNK_TOKENS):
                inputs, targets = ids[:, at : at + _SCORE_CHUNK_TOKENS][:, : width - 1 - at], ids[:, at + 1 :]
                targets = targets[:, : inputs.shape[1]]
                positions = (start + at + torch.arange(inputs.shape[1])).expand(count, -1)
                logits = self._model.forward(scratch.cache, 0, inputs, positions, every_logit=True)
                logprobs = logits.gather(2, targets.to(logits.device)[:, :, None])[:, :, 0] - logits.logsumexp(-1)
                lengths = torch.tensor([len(job.completions[index]) for index in batch])[:, None]
                counted = at + 1 + torch.arange(inputs.shape[1]) < lengths
                sums += logprobs.cpu().double().masked_fill(~counted, 0.0).sum(-1)
            for index, total in zip(batch, sums.tolist(), strict=True):
                scores[index] = Likelihood(total, len(job.completions[index]))
        _set_result(job, [scores[index] for index in sorted(scores)])


def _even_chunks(ids: torch.Tensor, positions: torch.Tensor) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
    """Both tensors [rows, tokens] split into chunks of at most `_PROMPT_CHUNK_TOKENS` tokens, of about equal size."""
    parts = -(-ids.shape[1] // _PROMPT_CHUNK_TOKENS)
    return ids.tensor_split(parts, dim=1), positions.tensor_split(parts, dim=1)


def _remove(lane: _Lane, slot: int) -> None:
    """Remove a finished row, moving the last row into its place."""
    last = lane.active.pop()
    if slot < len(lane.active):
        lane.cache.move(len(lane.active), slot, last.length)
        lane.active[slot] = last


def _token_logprob(logprobs: torch.Tensor, token: int, top: int) -> TokenLogprob:
    best = logprobs.topk(top)
    pairs = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(logprobs[token]), pairs)


def _set_result(job: GenerationJob | ScoringJob, result: Any) -> None:
    # The client may cancel at any moment; then there is nobody to deliver the result to.
    with suppress(InvalidStateError):
        job.future.set_result(result)
