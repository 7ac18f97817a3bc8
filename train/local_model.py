"""The locally served models of an evaluation, for the evaluation itself, `try` and `serve-model`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from schemas.progress import Say, discard_message
from schemas.records import Sampling, Seed
from synth.answers import clean
from synth.chat.completions import RefusedError
from synth.embedded.process import EmbeddedServer, embedded
from synth.endpoints.endpoint import Endpoint
from train.base_models.base_model import Base, hash_model
from train.base_models.remote_code import runnable, trust_entry
from train.evaluation.checks import Checked
from train.evaluation.metrics import TUNED, Mode
from train.evaluation.systems import ASK_TIMEOUT_S, EvaluationPlan, LocalModel, System
from train.evaluation.verdict import is_form_only
from train.export.merge import merged_folder
from train.results import TrainResult


def tuned_model(base: Base, weights: Path | None, trained: TrainResult) -> tuple[LocalModel, str]:
    """The model that is measured and exported, and its revision: the adapter over `weights` (None: the embedded ones),
    or for QLoRA the merged model, which is created here if an earlier version has not."""
    arguments = tuple(sorted(trained.settings.template_arguments.items()))
    if trained.settings.method != "qlora":
        local = LocalModel(weights, Path(trained.folder), arguments, runs_code=base.runs_code)
        return local, f"{trained.adapter_id} on {trained.settings.method} base"
    merged = merged_folder(base, trained)
    # Trust comes from the base, not from the adapter's own files, which anyone could have written.
    named = (trust_entry(trained.settings.base, base.folder),) if base.runs_code else ()
    copy = runnable(trained.settings.base, merged, named)
    local = LocalModel(copy or merged, template_arguments=arguments, is_merged=True, runs_code=copy is not None)
    return local, f"{trained.adapter_id} merged, {hash_model(copy or merged)}"


@asynccontextmanager
async def serving(
    local: LocalModel,
    *,
    max_batch: int,
    listen: tuple[str, int] | None = None,
    defaults: Sampling | None = None,
    say: Say = discard_message,
) -> AsyncIterator[tuple[EmbeddedServer, str]]:
    """Serve the model, and yield the server and the name under which it answers: `tuned` for an adapter over its base
    and for a merged model, otherwise the base's own name. `defaults` is the decoding for requests that set none. Raises
    the errors of `embedded`."""
    adapters = {} if local.adapter is None else {TUNED: local.adapter}
    async with embedded(
        local.folder,
        adapters=adapters,
        max_batch=max_batch,
        template_arguments=dict(local.template_arguments),
        runs_code=local.runs_code,
        name=TUNED if local.is_merged else None,
        defaults=None if defaults is None else defaults.model_copy(update={"seed": None, "extra": {}}).body(),
        listen=listen,
        progress=say,
    ) as server:
        yield server, TUNED if adapters else server.model


class SystemAnswer(NamedTuple):
    """The answer of one system. `passes` is None if it could not be judged, e.g. if the task has one right answer and
    there is no reference. `failed` names the checks it failed, or that the server refused the request."""

    system: str
    text: str
    whole: bool
    passes: bool | None
    failed: tuple[str, ...]
    seconds: float


def passes_without_reference(checked: Checked) -> bool | None:
    """Whether an answer passes without a comparison to a reference; None also if only its form was checked, because any
    label of the task has that form."""
    return None if checked.all_pass and is_form_only([*checked.passed]) else checked.all_pass


REFUSED = "refused"
Ask = Callable[[Seed, Mode], Coroutine[Any, Any, list[SystemAnswer]]]


@asynccontextmanager
async def side_by_side(plan: EvaluationPlan, say: Say = discard_message) -> AsyncIterator[Ask]:
    """Yield a function that asks every locally served system of `plan`, with the decoding that was measured, and judges
    the answers."""
    async with AsyncExitStack() as stack:
        endpoints: dict[LocalModel, tuple[Endpoint, int]] = {}
        notes = set[str]()
        models = dict.fromkeys(system.model.local for system in plan.systems if system.model.local is not None)
        # Adapters first: their server also serves the base, which would otherwise be loaded twice.
        for local in sorted(models, key=lambda local: local.adapter is None):
            if local in endpoints:
                continue
            server, name = await stack.enter_async_context(serving(local, max_batch=4, say=say))
            for model, served in {replace(local, adapter=None): server.model, local: name}.items():
                endpoint = Endpoint(server.base_url, served, timeout_s=ASK_TIMEOUT_S)
                endpoints[model] = await stack.enter_async_context(endpoint), server.context_tokens

        async def ask_one(system: System, local: LocalModel, seed: Seed, mode: Mode) -> SystemAnswer:
            started, (endpoint, context) = time.monotonic(), endpoints[local]
            try:
                answer = await endpoint.ask(system.messages(seed), system.sampling(mode, seed))
                (choice,) = answer.choices
                text = plan.form.canonical(clean(choice["message"]["content"] or ""))
                is_complete = choice["finish_reason"] != "length"
            except RefusedError as refused:
                return SystemAnswer(system.name, f"({refused})", False, False, (REFUSED,), time.monotonic() - started)
            used = answer.usage
            if not is_complete and used and used.prompt_tokens + used.completion_tokens >= context and not notes:
                notes.add(f"an answer was cut short by the context of {context:,} tokens (prompt and answer together)")
                say(*notes)
            checked = plan.checks(seed.body, text, None)
            failed = tuple(name for name, passed in checked.passed.items() if passed is False)
            passes = passes_without_reference(checked) if is_complete else False
            return SystemAnswer(system.name, text, is_complete, passes, failed, time.monotonic() - started)

        async def ask(seed: Seed, mode: Mode) -> list[SystemAnswer]:
            requests: Sequence[Coroutine[Any, Any, SystemAnswer]] = [
                ask_one(system, system.model.local, seed, mode)
                for system in plan.systems
                if system.model.local is not None
            ]
            return await asyncio.gather(*requests)

        yield ask
