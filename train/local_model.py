"""The models of an evaluation on this machine, for the evaluation itself, for `try` and for `serve-model`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from schemas.progress import Say, unheard
from schemas.records import Sampling, Seed
from synth.answers import clean
from synth.chat_completions import RefusedError
from synth.embedded.process import EmbeddedServer, embedded
from synth.endpoint import Endpoint
from train.base_model import Base, hash_model
from train.checks import Checked
from train.merge import merged_folder
from train.metrics import TUNED, Mode
from train.remote_code import runnable, trust_entry
from train.results import TrainResult
from train.systems import ASK_TIMEOUT_S, EvaluationPlan, LocalModel, System
from train.verdict import form_alone


def tuned_model(base: Base, weights: Path | None, trained: TrainResult) -> tuple[LocalModel, str]:
    """What is measured and exported, and its revision: the adapter over `weights` (None: the embedded ones), for QLoRA
    the merged model, which is made here where an earlier version has not."""
    arguments = tuple(sorted(trained.settings.template_arguments.items()))
    if trained.settings.method != "qlora":
        local = LocalModel(weights, Path(trained.folder), arguments, runs_code=base.runs_code)
        return local, f"{trained.adapter_id} on {trained.settings.method} base"
    merged = merged_folder(base, trained)
    # What the files of the adapter say of trust is for people: whoever made them may have written it.
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
    say: Say = unheard,
) -> AsyncIterator[tuple[EmbeddedServer, str]]:
    """A server of the model, and the name under which it answers: `tuned` for an adapter over its base and for a merged
    model, else the base's own. `defaults`: the decoding of a request that names none. Raises what `embedded` does."""
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
    """The answer of one system: `passes` is None where it could not be judged, as where one answer is right and nobody
    has said which; `failed` names the checks it failed, or says that the server refused the question."""

    system: str
    text: str
    whole: bool
    passes: bool | None
    failed: tuple[str, ...]
    seconds: float


def without_reference(checked: Checked) -> bool | None:
    """Whether an answer passes that is compared with no reference; None also where its form alone was judged, for any
    label of the task has that."""
    return None if checked.all_pass and form_alone([*checked.passed]) else checked.all_pass


REFUSED = "refused"
Ask = Callable[[Seed, Mode], Coroutine[Any, Any, list[SystemAnswer]]]


@asynccontextmanager
async def side_by_side(plan: EvaluationPlan, say: Say = unheard) -> AsyncIterator[Ask]:
    """A function that asks every system of `plan` that runs here, as it was measured, and judges the answers."""
    async with AsyncExitStack() as running:
        endpoints: dict[LocalModel, tuple[Endpoint, int]] = {}
        notes = set[str]()
        models = dict.fromkeys(system.model.local for system in plan.systems if system.model.local is not None)
        # Adapters first: what serves one answers as its base too, which would else be loaded twice.
        for local in sorted(models, key=lambda local: local.adapter is None):
            if local in endpoints:
                continue
            server, name = await running.enter_async_context(serving(local, max_batch=4, say=say))
            for model, served in {replace(local, adapter=None): server.model, local: name}.items():
                endpoint = Endpoint(server.base_url, served, timeout_s=ASK_TIMEOUT_S)
                endpoints[model] = await running.enter_async_context(endpoint), server.context_tokens

        async def one(system: System, local: LocalModel, seed: Seed, mode: Mode) -> SystemAnswer:
            began, (endpoint, context) = time.monotonic(), endpoints[local]
            try:
                answer = await endpoint.ask(system.messages(seed), system.sampling(mode, seed))
                (choice,) = answer.choices
                text = plan.form.canonical(clean(choice["message"]["content"] or ""))
                whole = choice["finish_reason"] != "length"
            except RefusedError as refused:
                return SystemAnswer(system.name, f"({refused})", False, False, (REFUSED,), time.monotonic() - began)
            used = answer.usage
            if not whole and used and used.prompt_tokens + used.completion_tokens >= context and not notes:
                notes.add(f"a context of {context:,} tokens, prompt and answer together, cut an answer short")
                say(*notes)
            checked = plan.checks(seed.body, text, None)
            failed = tuple(name for name, passed in checked.passed.items() if passed is False)
            passes = without_reference(checked) if whole else False
            return SystemAnswer(system.name, text, whole, passes, failed, time.monotonic() - began)

        async def ask(seed: Seed, mode: Mode) -> list[SystemAnswer]:
            asked: Sequence[Coroutine[Any, Any, SystemAnswer]] = [
                one(system, system.model.local, seed, mode) for system in plan.systems if system.model.local is not None
            ]
            return await asyncio.gather(*asked)

        yield ask
