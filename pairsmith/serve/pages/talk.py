"""Talking to the result: one text, answered by the tuned model and by its base, side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from starlette.concurrency import run_in_threadpool

from pairsmith.serve.access import Viewer
from pairsmith.serve.openai.chat import models_of, with_system
from pairsmith.serve.pages.shell import page_router, render
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import state_of
from pairsmith.serve.talking import Tuned
from schemas.errors import PairsmithError
from schemas.store.latest import latest

router = page_router()
_MOST_TOKENS = 256


@router.post("/p/{project}/talk", name="page_talk")
async def talk(
    caller: Viewer, project: str, request: Request, text: Annotated[str, Form(min_length=1, max_length=20_000)]
) -> Response:
    """The answers of both, as long as those of the evaluation; while a job needs the model's place, why not."""
    answers, error = list[tuple[str, str]](), None
    measured = state_of(request).readers.project(project).spec.evaluate.sampling.max_tokens
    most = min(_MOST_TOKENS, measured or _MOST_TOKENS)
    try:
        for talker in await run_in_threadpool(_present, request, project):
            messages = with_system([{"role": "user", "content": text}], talker)
            with state_of(request).limits.one_of("chat"):
                status, answer = await state_of(request).talking.ask(
                    talker, {"messages": messages, "max_tokens": most, "temperature": 0}
                )
            if status != 200:
                raise Refusal(502, f"the model refused: {answer.get('error', {}).get('message', status)}.")
            name = "tuned" if talker.adapter else "base"
            answers.append((name, str(answer["choices"][0]["message"]["content"])))
    except PairsmithError as raised:
        error = raised
    return render(
        request,
        "talk",
        caller,
        slug=project,
        place="Evaluation",
        title=f"Talk · {project} · pairsmith",
        heading=f"To “{text if len(text) < 80 else text[:79] + '…'}” the two models say:"
        if answers
        else "Neither model has answered.",
        typed=text,
        answers=answers,
        error=error,
    )


def _present(request: Request, slug: str) -> list[Tuned]:
    """The tuned model that downloads and evaluation are of, and its base. Raises Refusal where there is none."""
    store = state_of(request).readers.store(slug)
    adapter = latest(store, "adapter") if store else None
    if store is None or adapter is None:
        raise Refusal(409, "nothing is trained yet.", code="no_model", fix="Train first.")
    both = [each for each in models_of(request, slug, store) if each.name.endswith(f"::{adapter.id[:8]}")]
    if not both:
        raise Refusal(409, "the files of the tuned model are gone.", code="no_model", fix="Train again.")
    return sorted(both, key=lambda each: not each.adapter)
