"""`pairsmith teacher`: a vLLM server on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from pairsmith.terminal.number_options import WholeNumber
from pairsmith.terminal.session import Session, on_project
from schemas.errors import Interrupted, UsageError


@click.group()
def command() -> None:
    """Run a local teacher: a vLLM server in its own Python environment."""


@command.command(short_help="Start vLLM, check it, and stop it on Ctrl-C.")
@click.option("--model", metavar="M", help="A model on the Hugging Face hub, or a folder; teacher.vllm by default.")
@click.option("--port", type=WholeNumber(0, 65535), default=8000, show_default=True, help="The port to listen on.")
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 admits other machines.",
)
@click.option("--lora", multiple=True, metavar="NAME=FOLDER", help="An adapter to serve as the model NAME; repeatable.")
@click.option(
    "--structured-output", metavar="BACKEND", help="The backend that enforces schemas: xgrammar, guidance, ..."
)
@click.option(
    "--python", metavar="PATH", help="A Python with vLLM installed; by default an environment is created on first use."
)
@click.option("--gpu/--cpu", default=None, help="Which build of vLLM to install; detected by default.")
@click.option("--check", is_flag=True, help="Stop again as soon as it has answered one request.")
@click.argument("more", nargs=-1, metavar="[-- VLLM-ARGUMENT...]")
@on_project
def up(session: Session, *, model: str | None, check: bool, **options: Any) -> None:
    """Start vLLM with a model, wait until it has answered a request, and keep it running until Ctrl-C.

    On first use a Python environment is created for it (CPU build 3 GB, GPU build 12 GB). A spec with `[teacher] vllm =
    "MODEL"` does not need this command: the server is started when it is needed and stopped afterwards.
    """
    from rich.markup import escape

    from pairsmith.user_file.guessed_spec import in_toml
    from schemas.blocking import run
    from schemas.spec_file import SPEC_NAME
    from synth.local_vllm import vllm

    is_named = session.folder != Path()
    if model is None and (is_named or (session.folder / SPEC_NAME).exists()):
        settings = session.project().spec.teacher
        model, options["python"] = settings.vllm, options["python"] or settings.vllm_python
        options["more"] = (*settings.vllm_args, *options["more"])
    if model is None:
        raise UsageError(
            "no model is given.", fix="Name one, for example: `pairsmith teacher up --model Qwen/Qwen3-8B`"
        )

    async def serve() -> None:
        with session.stopping.draining() as stop:
            starting = vllm(model, say=session.say, **options)
            entering, stopped = asyncio.ensure_future(starting.__aenter__()), asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait((entering, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not entering.done():
                    entering.cancel()
                    await asyncio.gather(entering, return_exceptions=True)
                    raise Interrupted("vLLM was stopped before it was ready.")
                server = await entering
                try:
                    settings = {"url": server.base_url, "model": server.model}
                    settings |= {"key_env": server.key_env} if server.key_env else {}
                    spec = "\n".join(["[teacher]", *(f"{name} = {in_toml(value)}" for name, value in settings.items())])
                    session.answer({"command": "teacher up", **settings, "seconds": server.seconds}, escape(spec))
                    if not check:
                        session.say("Press Ctrl-C to stop it.")
                        ended = asyncio.ensure_future(server.process.wait())
                        await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
                        ended.cancel()
                        if not stop.is_set():
                            server.check()
                finally:
                    await starting.__aexit__(None, None, None)
            finally:
                stopped.cancel()
        session.say("vLLM has stopped.")

    run(serve())
