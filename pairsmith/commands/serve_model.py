"""`pairsmith serve-model`: the tuned model for other programs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import click

from pairsmith.session import Session, on_project
from schemas.ports import listening

_OWN = ("127.0.0.1", "localhost", "::1")  # nobody else reaches these


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(1, 65535), default=8001, show_default=True, help="Where it answers.")
@on_project
def command(session: Session, host: str, port: int) -> None:
    """Serve the tuned model as OpenAI's chat completions, under the name `tuned`, until Ctrl-C.

    It is what was measured: the adapter over its base, which answers under its own name, or for QLoRA the merged model.
    A request that names no decoding gets that of the evaluation. There is no key: whoever reaches the port may ask.
    """
    from curate.licences import refuse_unlicensed
    from pairsmith.stages.evaluate import latest_adapter
    from schemas.blocking import run
    from train.base_model import base_of
    from train.local_model import serving, tuned_model

    project = session.project()
    with session.store(project, write=False) as store:
        trained = latest_adapter(project, store)
        if host not in _OWN:
            refuse_unlicensed(project, store, [a for a in store.artifacts("adapter") if a.id == trained.adapter_id])
    listening(host, port).close()  # before a model is loaded
    base = base_of(trained, project.spec.train, project.folder)
    local, _ = tuned_model(base, base.folder, trained)

    async def serve() -> None:
        with session.stopping.draining() as stop:
            batch = project.spec.evaluate.concurrency
            decoding = project.spec.evaluate.sampling
            async with serving(local, max_batch=batch, listen=(host, port), defaults=decoding, say=session.say) as (
                server,
                name,
            ):
                data = {
                    "command": "serve-model",
                    "url": server.base_url,
                    "model": name,
                    "adapter": trained.adapter_id,
                    "system_prompt": trained.system_prompt,
                    "context_tokens": server.context_tokens,
                }
                session.answer(data, f"{name} at {server.base_url}")
                if trained.system_prompt:
                    session.say(f"It was trained with this system message: {trained.system_prompt}")
                session.say(f"Its context holds {server.context_tokens:,} tokens, prompt and answer together.")
                session.say("Ctrl-C stops it.")
                while not stop.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), timeout=1)
        session.say("the model is no longer served.")

    run(serve())
