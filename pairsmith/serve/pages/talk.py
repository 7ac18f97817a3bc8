"""Try the result: the tuned model and its base answer the same text, side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from starlette.concurrency import run_in_threadpool

from pairsmith.serve.access import Viewer
from pairsmith.serve.api.streams import while_connected
from pairsmith.serve.openai.chat import models_of, with_system_prompt
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
    """The answers of both models, limited to the length used in the evaluation, or the reason why there are none, e.g.
    that a job needs the machine."""
    answers, error = list[tuple[str, str]](), None
    measured = state_of(request).readers.project(project).spec.evaluate.sampling.max_tokens
    most = min(_MOST_TOKENS, measured or _MOST_TOKENS)
    try:
        for talker in await run_in_threadpool(_current_models, request, project):
            messages = with_system_prompt([{"role": "user", "content": text}], talker)
            async with while_connected(request):
                with state_of(request).limits.one_of("chat"):
                    status, answer = await state_of(request).talking.ask(
                        talker, {"messages": messages, "max_tokens": most, "temperature": 0}
                    )
            if status != 200:
                raise Refusal(502, f"the model returned an error: {answer.get('error', {}).get('message', status)}.")
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
        heading=f"Answers of both models to “{text if len(text) < 80 else text[:79] + '…'}”:"
        if answers
        else "Neither model answered.",
        typed=text,
        answers=answers,
        error=error,
    )


def _current_models(request: Request, slug: str) -> list[Tuned]:
    """The current tuned model, the one of the downloads and evaluation pages, and its base. Raises Refusal if there is
    none."""
    store = state_of(request).readers.store(slug)
    adapter = latest(store, "adapter") if store else None
    if store is None or adapter is None:
        raise Refusal(409, "no model has been trained yet.", code="no_model", fix="Run training first.")
    both = [each for each in models_of(request, slug, store) if each.name.endswith(f"::{adapter.id[:8]}")]
    if not both:
        raise Refusal(409, "the files of the tuned model are missing.", code="no_model", fix="Train again.")
    return sorted(both, key=lambda each: not each.adapter)
