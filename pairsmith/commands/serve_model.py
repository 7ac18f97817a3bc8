"""`pairsmith serve-model`: serve the tuned model to other programs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import click

from pairsmith.terminal.number_options import WholeNumber
from pairsmith.terminal.session import Session, on_project
from schemas.ports import listening

_LOOPBACK = ("127.0.0.1", "localhost", "::1")  # other machines cannot reach these


@click.command()
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 admits other machines.",
)
@click.option("--port", type=WholeNumber(1, 65535), default=8001, show_default=True, help="The port to listen on.")
@on_project
def command(session: Session, host: str, port: int) -> None:
    """Serve the tuned model through an OpenAI-compatible chat completions API, under the name `tuned`, until Ctrl-C.

    It serves exactly what was evaluated: the adapter on its base (which is served under its own name), or the merged
    model for QLoRA. Requests without decoding settings get those of the evaluation. There is no authentication: anyone
    who can reach the port can use it.
    """
    from curate.export.licences import refuse_unlicensed
    from pairsmith.stages.evaluate import latest_adapter
    from schemas.blocking import run
    from train.base_models.base_model import find_trained_base
    from train.local_model import serving, tuned_model

    project = session.project()
    with session.store(project, write=False) as store:
        trained = latest_adapter(project, store)
        if host not in _LOOPBACK:
            refuse_unlicensed(project, store, [a for a in store.artifacts("adapter") if a.id == trained.adapter_id])
    listening(host, port).close()  # fail before a model is loaded if the port is taken
    base = find_trained_base(trained, project.spec.train, project.folder)
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
                    session.say(f"Send this system message with every request, as in training: {trained.system_prompt}")
                session.say(f"Its context is {server.context_tokens:,} tokens, for prompt and answer together.")
                session.say("Press Ctrl-C to stop it.")
                while not stop.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), timeout=1)
        session.say("the model is no longer served.")

    run(serve())
