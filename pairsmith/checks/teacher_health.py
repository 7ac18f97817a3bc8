"""The checks of teachers in `pairsmith doctor`: key, URL, model, context, thinking, and one answer with --ask."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pairsmith.checks.health import Check, failed
from schemas.errors import PairsmithError
from schemas.progress import discard_message
from schemas.project import Project
from schemas.records import Messages, Sampling
from schemas.spec import Purpose, TeacherSettings

if TYPE_CHECKING:
    from synth.chat.listed_models import EndpointCheck

MOST_TOKENS = 64
_CHARACTERS_PER_TOKEN = 3  # fewer than in any usual text, so that prompt lengths are overestimated


def teachers(project: Project, *, ask: bool) -> Iterator[Check]:
    """Check every teacher that the spec asks. Several teachers are shown by name."""
    spec = project.spec
    if not spec.measures_teacher:
        yield Check("teacher", "ok", "not needed: the seeds have outputs")
    ways: tuple[Purpose, ...] = (*spec.generate.directions,) if spec.needs_teacher else ()
    ways += ("evaluate",) if spec.measures_teacher else ()
    directions = {spec.teacher_name(way): way for way in reversed(ways)}
    by_name = {name: spec.teacher_for(way) for name, way in directions.items()}
    if spec.train.base == "embedded" or any(teacher.url == "embedded" for teacher in by_name.values()):
        yield _weights()
    for name, teacher in by_name.items():
        yield from _secrets(teacher)
        yield from _capped(project, directions[name], teacher)
        if teacher.url == "embedded" or not all(map(os.environ.get, _variables(teacher))):
            continue
        about = name if name and len(by_name) > 1 else "teacher"
        if teacher.url == "vllm":
            yield Check(about, "ok", f"a vLLM server with {teacher.vllm} is started when it is needed")
            continue
        for url in teacher.addresses:
            alone = teacher.model_copy(update={"url": url, "urls": ()})
            yield from _check_teacher(project, alone, about, directions[name], ask=ask)


def judges(project: Project) -> Iterator[Check]:
    """Check the judges and reward models reached over HTTP: that their keys are set, that they respond, and whether
    they belong to the same family as the models whose texts they judge, in curation or in the evaluation. No judgement
    is requested."""
    from curate.scorers.judge import same_family_warnings
    from train.evaluation.judging import warnings

    spec = project.spec
    curate = spec.curate
    served = [curate.score.teacher] if curate.score.teacher else []
    for name in dict.fromkeys([*curate.judge.teachers, *spec.evaluate.judges, *served]):
        teacher = spec.teachers[name]
        yield from _secrets(teacher)
        if teacher.url in ("embedded", "vllm") or not all(map(os.environ.get, _variables(teacher))):
            continue
        try:
            asyncio.run(_check_endpoint(teacher))
            yield Check(name, "ok", f"{teacher.url} responds; it judges with {teacher.model}")
        except PairsmithError as error:
            yield failed(name, error)
    writers = [spec.teacher_for("forward"), spec.teacher_for("backward")] if spec.needs_teacher else []
    for warning in dict.fromkeys([*same_family_warnings(spec, curate.judge.teachers, writers), *warnings(spec)]):
        yield Check("judge", "warn", warning, "Name another judge, of a family that none of the judged models is of.")


def _capped(project: Project, way: Purpose, teacher: TeacherSettings) -> Iterator[Check]:
    """Check that a cap in the spec can be enforced, and that batches can be created and read. Otherwise the first
    request would be refused."""
    from synth.batch.api import batches_unavailable
    from synth.meter import unkeepable_cap_error
    from synth.prices import FREE, prices_of
    from synth.question import max_answer_tokens

    cap = project.spec.budget.max_usd
    in_batches = way != "evaluate" and teacher.batch
    if in_batches and (refusal := batches_unavailable(teacher)):
        yield failed("batch", refusal)
    prices = prices_of(teacher)
    if cap is None or teacher.url in ("embedded", "vllm"):
        return
    if prices is None or (prices.source != FREE and max_answer_tokens(_sampling(project, way).body()) is None):
        name = project.spec.teacher_name(way)
        table = f"teachers.{name}" if name else "teacher"
        yield failed("budget", unkeepable_cap_error("budget.max_usd", teacher, prices, table))


def _variables(teacher: TeacherSettings) -> list[str]:
    return [*([teacher.key_env] if teacher.key_env else []), *teacher.headers_env.values(), *teacher.query_env.values()]


def _secrets(teacher: TeacherSettings) -> Iterator[Check]:
    for variable in _variables(teacher):
        if os.environ.get(variable, "").strip():
            yield Check("key", "ok", f"{variable} is set")
        else:
            yield Check("key", "fail", f"{variable} is not set", f"Set it: export {variable}=...")


def _weights() -> Check:
    from schemas.cache import cache_folder
    from synth.embedded.weights import NAME

    try:
        folder = cache_folder() / NAME
    except PairsmithError as error:
        return failed("weights", error)
    if not (folder / "source.json").is_file():
        return Check("weights", "ok", "not downloaded yet; the first run downloads them once (93 to 270 MB)")
    return Check("weights", "ok", f"in {folder}")


def _check_teacher(
    project: Project, teacher: TeacherSettings, about: str, way: Purpose, *, ask: bool
) -> Iterator[Check]:
    from synth.chat.listed_models import (
        EndpointCheck,
        UnlistedModelError,
        context_length,
        is_chat_model,
        retirement_date,
        thinks_by_default,
    )

    try:
        check = asyncio.run(_check_endpoint(teacher))
    except PairsmithError as error:
        if not (ask and isinstance(error, UnlistedModelError)):
            yield failed(about, error)
            return
        check = EndpointCheck(None, 0.0, instead=f"it does not list model '{teacher.model}'")
    if check.models is None:
        alone = "Only a real request can show more: `pairsmith doctor --ask`"
        yield Check(about, "warn", f"{teacher.url}: {check.instead}", "" if ask else alone)
    else:
        timing = f"(responded in {check.seconds * 1000:.0f} ms)"
        yield Check(about, "ok", f"{teacher.url} serves {teacher.model} {timing}")
    listed = check.listed or {"id": teacher.model}
    if not is_chat_model(listed):
        yield Check("model", "warn", f"{teacher.model} does not seem to be a chat model", "Name one that is.")
    if (day := retirement_date(listed)) is not None:
        fix = "Finish before then, or choose another model; a different model is asked for every answer again."
        yield Check("model", "warn", f"{teacher.model} will be shut down on {day}, according to its model list", fix)
    sampling = _sampling(project, way)
    if thinks_by_default(teacher.model) and not sampling.extra:
        yield Check(
            "thinking",
            "warn",
            f"{teacher.model} thinks before it answers, and thinking costs tokens",
            _thinking_advice(),
        )
    questions = _longest_and_shortest(project, way)
    if questions is None:
        return
    yield from _context(teacher, context_length(listed), questions[0], sampling)
    if ask:
        yield _asked(teacher, *questions, sampling)


def _asked(teacher: TeacherSettings, longest: Messages, shortest: Messages, sampling: Sampling) -> Check:
    """One real request, and if it is refused another one: one seed that a provider does not answer is no fault of the
    teacher."""
    from synth.chat.completions import RefusedError, UnansweredError

    try:
        return asyncio.run(_answered(teacher, longest, sampling))
    except PairsmithError as error:
        return failed("answer", error)
    except (RefusedError, UnansweredError) as failure:
        advice = "See the error, and `pairsmith docs teachers`."
        if isinstance(failure, RefusedError) and shortest != longest:
            other = _asked(teacher, shortest, shortest, sampling)
            if other.state == "ok":
                refused = f"refused for the longest seed ({failure}), but not for the shortest: {other.what}"
                return Check("answer", "warn", refused, "A seed that the teacher refuses becomes a failed row.")
        return Check("answer", "fail", f"one request returned no answer: {failure}", advice)


def _thinking_advice() -> str:
    from synth.chat.thinking import NO_THINKING

    return f"Raise max_tokens, or turn thinking off in the sampling table: extra = {NO_THINKING}."


def _sampling(project: Project, way: Purpose) -> Sampling:
    generate = project.spec.generate
    return generate.backward.sampling if way == "backward" else generate.forward.sampling


def _longest_and_shortest(project: Project, way: Purpose) -> tuple[Messages, Messages] | None:
    """The requests for the longest and the shortest seed of a direction. None if seeds or prompt cannot be read, which
    other checks report, or if the seeds come from standard input."""
    from synth.generators import Backward, Forward
    from synth.sources.seeds import read_seeds

    if any(source.path == "-" for source in project.spec.seeds):
        return None
    kind = Backward if way == "backward" else Forward
    try:
        seeds = [*read_seeds(project.spec.seeds, project.folder).seeds]
        if way == "evaluate":  # a teacher that is only evaluated is asked about pairs too
            seeds = [
                seed.model_copy(update={"kind": "input", "text": seed.asked}) for seed in seeds if seed.kind != "output"
            ]
        seeds = [seed for seed in seeds if seed.kind in kind.takes]
        if not seeds:
            return None
        seeds.sort(key=lambda seed: len(seed.text or ""))
        asking = kind.of(project, None)
        (longest, _), (shortest, _) = (asking.questions(seed)[0] for seed in (seeds[-1], seeds[0]))
    except (PairsmithError, OSError):
        return None
    return tuple(longest.messages), tuple(shortest.messages)


def _context(teacher: TeacherSettings, context: int | None, question: Messages, sampling: Sampling) -> Iterator[Check]:
    from synth.question import max_answer_tokens

    characters = sum(len(message.content) for message in question)
    most = characters // _CHARACTERS_PER_TOKEN + (max_answer_tokens(sampling.body()) or 0)
    lengths = f"the longest prompt has {characters:,} characters; with max_tokens that is at most {most:,} tokens"
    if context is not None and most > context:
        yield Check(
            "context",
            "warn",
            f"{lengths}; {teacher.model} accepts {context:,}",
            "Shorten the prompt, or lower max_tokens.",
        )
    elif context is not None:
        yield Check("context", "ok", f"{lengths} of {context:,}")
    elif ":11434" in teacher.url and most > 4096:
        fix = "Start it with OLLAMA_CONTEXT_LENGTH set, or give the model PARAMETER num_ctx in a Modelfile."
        yield Check("context", "warn", f"{lengths}; Ollama silently truncates what exceeds its context", fix)


async def _check_endpoint(teacher: TeacherSettings) -> EndpointCheck:
    from synth.teachers import opened

    async with opened(teacher.model_copy(update={"timeout_s": 10.0}), discard_message) as endpoint:
        return await endpoint.check()


async def _answered(teacher: TeacherSettings, question: Messages, sampling: Sampling) -> Check:
    """One real request of at most 64 tokens. The answer is shown and not stored."""
    from synth.answers import judged
    from synth.teachers import opened

    async with opened(teacher.model_copy(update={"retries": 0}), discard_message) as endpoint:
        answer = await endpoint.ask(question, _limited(sampling))
    if not answer.choices:
        return Check(
            "answer", "fail", f"the response is not a chat completion: {answer.body[:200]}", "Check teacher.url."
        )
    judged_answer = judged(answer.choices[0], None, teacher.finish_reasons, answer.request, 0)
    facts = {name: value for name, value in (answer.facts or {}).items() if name != "usage"}
    counted = f", {answer.usage.completion_tokens} tokens" if answer.usage else ", tokens not counted"
    who = ", ".join(f"{name} {value}" for name, value in facts.items())
    what = f"{judged_answer.text.strip()[:80]!r} in {answer.seconds:.1f} s{counted} ({who})"
    if judged_answer.status == "thinking":
        return Check(
            "answer",
            "warn",
            f"{MOST_TOKENS} tokens of thinking and no text in {answer.seconds:.1f} s",
            _thinking_advice(),
        )
    if judged_answer.status in ("ok", "truncated"):
        return Check("answer", "ok", what)
    return Check("answer", "warn", f"{judged_answer.reason}: {what}", "See `pairsmith docs teachers`.")


def _limited(sampling: Sampling) -> Sampling:
    """`sampling` with at most 64 tokens for an answer, under each name that it uses for that limit."""
    in_extra = dict.fromkeys(sampling.extra.keys() & {"max_tokens", "max_completion_tokens"}, MOST_TOKENS)
    limit = None if in_extra and sampling.max_tokens is None else min(sampling.max_tokens or MOST_TOKENS, MOST_TOKENS)
    return sampling.model_copy(update={"max_tokens": limit, "extra": sampling.extra | in_extra})
