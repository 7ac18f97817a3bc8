"""`pairsmith teacher`: a vLLM on this machine, for as long as it is wanted."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from pairsmith.session import Session, on_project
from schemas.errors import UsageError


@click.group()
def command() -> None:
    """A local teacher: a vLLM with a Python of its own."""


@command.command(short_help="Start vLLM, check it, and stop it at Ctrl-C.")
@click.option("--model", metavar="M", help="A model of the Hugging Face hub, or a folder; teacher.vllm if absent.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Where it answers.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--lora", multiple=True, metavar="NAME=FOLDER", help="An adapter to serve as a model NAME; repeatable.")
@click.option("--structured-output", metavar="BACKEND", help="Who holds answers to a schema: xgrammar, guidance, ...")
@click.option("--python", metavar="PATH", help="A Python that has vLLM; else one is made on first use.")
@click.option("--gpu/--cpu", default=None, help="Which build to make; what this machine has decides.")
@click.option("--check", is_flag=True, help="Stop it again as soon as it has answered one request.")
@click.argument("more", nargs=-1, metavar="[-- VLLM-ARGUMENT...]")
@on_project
def up(session: Session, *, model: str | None, check: bool, **options: Any) -> None:
    """Start a vLLM with a model, wait until it has answered a request, and keep it until Ctrl-C.

    The first time, a Python for it is made (CPU build 3 GB, GPU build 12 GB). A spec that says `[teacher] vllm =
    "MODEL"` needs no command: it is started when it is asked, and stopped afterwards.
    """
    from rich.markup import escape

    from pairsmith.own_spec import in_toml
    from schemas.blocking import run
    from synth.local_vllm import vllm

    if model is None:
        settings = session.project().spec.teacher
        model, options["python"] = settings.vllm, options["python"] or settings.vllm_python
        options["more"] = (*settings.vllm_args, *options["more"])
    if model is None:
        raise UsageError("no model is named.", fix="Write pairsmith teacher up --model Qwen/Qwen3-8B, for example.")

    async def serve() -> None:
        with session.stopping.draining() as stop:
            starting = vllm(model, say=session.say, **options)
            entering, stopped = asyncio.ensure_future(starting.__aenter__()), asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait((entering, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not entering.done():
                    entering.cancel()
                    await asyncio.gather(entering, return_exceptions=True)
                    return
                server = await entering
                try:
                    settings = {"url": server.base_url, "model": server.model}
                    settings |= {"key_env": server.key_env} if server.key_env else {}
                    spec = "\n".join(["[teacher]", *(f"{name} = {in_toml(value)}" for name, value in settings.items())])
                    session.answer({"command": "teacher up", **settings, "seconds": server.seconds}, escape(spec))
                    if not check:
                        session.say("Ctrl-C stops it.")
                        await stopped
                finally:
                    await starting.__aexit__(None, None, None)
            finally:
                stopped.cancel()
        session.say("vLLM is stopped.")

    run(serve())
