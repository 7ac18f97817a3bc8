"""From a seed to pairs: forward (input to candidates), backward (excellent output to inputs).

Backward follows Prompt Expansion (Datta et al. 2023, arXiv:2312.16720): excellent outputs are shortened at several
levels of abstraction, so that the student sees inputs from terse to detailed for one and the same target.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from prompts import OLD_NAMES, Prompt, load
from schemas.errors import PromptError
from schemas.project import Project
from schemas.records import Candidate, Generated, Messages, Pair, Reason, Sampling, Seed, content_id, identity
from schemas.spec import BackwardSettings, Exemplar, ForwardSettings, TaskSettings, TeacherSettings
from synth.answers import clean
from synth.ledger import Completion, Ledger, Miss

Name = Literal["forward", "backward"]


class Outcome(NamedTuple):
    """What asking for one sample of a seed came to: the place in the pool, and the pair unless it failed."""

    candidate: Candidate
    pair: Pair | None


@dataclass(frozen=True)
class Generator:
    """Called with a seed, yields the outcome of each of its `samples` places, in any order.

    It takes seeds of kind `takes`. `scope` names everything that shapes its pairs (see `scope`).
    """

    name: Name
    fingerprint: str
    takes: Literal["input", "output"]
    samples: int
    ledger: Ledger
    outcomes: Callable[[Seed], AsyncIterator[Outcome]]

    def __call__(self, seed: Seed) -> AsyncIterator[Outcome]:
        return self.outcomes(seed)


def forward(
    task: TaskSettings, exemplars: Sequence[Exemplar], settings: ForwardSettings, prompt: Prompt, ledger: Ledger
) -> Generator:
    """`settings.n` candidates of each input seed, asked for in one request.

    `prompt` must use the variable simple, and may use style, exemplars, system and language. A JSON schema in the
    prompt file binds the answers.
    """
    render = rendering(prompt, task, exemplars, {"input": _TWO_TEXTS})
    named = fingerprint("forward", task, exemplars, settings, prompt, ledger.teacher)

    async def outcomes(seed: Seed) -> AsyncIterator[Outcome]:
        answers = await ledger.complete(render(input=seed.text), settings.sampling, settings.n, prompt.schema)
        for sample, answer in enumerate(answers):
            place = _Place(named, seed, "forward", sample)
            yield place.outcome(answer, task, prompt, ledger, settings.sampling, input=seed.text)

    return Generator("forward", named, "input", settings.n, ledger, outcomes)


def backward(
    task: TaskSettings, exemplars: Sequence[Exemplar], settings: BackwardSettings, prompt: Prompt, ledger: Ledger
) -> Generator:
    """One simple version of each output seed at every level of `settings.levels`, asked for at the same time.

    `prompt` must use the variable enhanced, and level if there are several, and may use style, exemplars, system and
    language. Sample i of a seed is level i, which the pair names in `meta`.
    """
    render = rendering(prompt, task, exemplars, {"output": _TWO_TEXTS, "level": settings.levels})
    named = fingerprint("backward", task, exemplars, settings, prompt, ledger.teacher)

    async def outcomes(seed: Seed) -> AsyncIterator[Outcome]:
        chats = [render(output=seed.text, level=level) for level in settings.levels]
        asked = [asyncio.create_task(ledger.complete(chat, settings.sampling, schema=prompt.schema)) for chat in chats]
        try:
            for sample, (level, question) in enumerate(zip(settings.levels, asked, strict=True)):
                (answer,) = await question
                place = _Place(named, seed, "backward", sample)
                meta = {"level": level}
                yield place.outcome(answer, task, prompt, ledger, settings.sampling, output=seed.text, meta=meta)
        except asyncio.CancelledError:
            for question in asked:
                question.cancel()
            raise
        finally:
            # After an error in one level the answers on their way for the others are still worth having.
            await asyncio.gather(*asked, return_exceptions=True)

    return Generator("backward", named, "output", len(settings.levels), ledger, outcomes)


def fingerprint(
    generator: Name,
    task: TaskSettings,
    exemplars: Sequence[Exemplar],
    settings: ForwardSettings | BackwardSettings,
    prompt: Prompt,
    teacher: TeacherSettings,
) -> str:
    """`Candidate.scope`: a hash of all that shapes a generator's pairs.

    In it: the prompt's name and content, style, system prompt, language, exemplars, sampling, levels, teacher and
    revision. Not in it: `n`, so that asking for more candidates keeps those there are, and address, concurrency,
    timeouts, retries.
    """
    shapes = [
        prompt.ref,
        [task.style, task.system, task.language],
        [[e.input, e.output] for e in exemplars],
        identity(settings.sampling),
        list(settings.levels) if isinstance(settings, BackwardSettings) else None,
        [teacher.identity or teacher.model, teacher.revision],
    ]
    return content_id("scope", [generator, shapes])


def fingerprints(project: Project, teacher: TeacherSettings) -> dict[str, str]:
    """generator -> the scope of its candidates under the present spec, for each that is enabled. Asks nobody.

    `teacher` is the spec's with its revision. Raises PromptError.
    """
    spec = project.spec
    ways: dict[Name, ForwardSettings | BackwardSettings] = {
        "forward": spec.generate.forward,
        "backward": spec.generate.backward,
    }
    return {
        name: fingerprint(name, spec.task, spec.exemplars, way, load(way.prompt, project.folder), teacher)
        for name, way in ways.items()
        if way.enabled
    }


class _Place(NamedTuple):
    """One place in the pool."""

    fingerprint: str
    seed: Seed
    generator: Name
    sample: int

    def outcome(
        self,
        answer: Completion | Miss,
        task: TaskSettings,
        prompt: Prompt,
        ledger: Ledger,
        sampling: Sampling,
        *,
        input: str | None = None,
        output: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Outcome:
        """The pair of the seed's side and the cleaned answer; a failure for a miss."""
        if isinstance(answer, Miss):
            return Outcome(self._candidate(failure=Reason.read(answer.reason)), None)
        text = clean(answer.text)
        pair = Pair(
            seed_id=self.seed.id,
            input=text if input is None else input,
            output=text if output is None else output,
            system=task.system,
            origin=Generated(
                generator=self.generator,
                prompt=prompt.ref,
                teacher=ledger.identity,
                sampling=sampling,
                calls=((answer.key, answer.attempt),),
            ),
            meta=meta or {},
        )
        return Outcome(self._candidate(pair_id=pair.id), pair)

    def _candidate(self, *, pair_id: str | None = None, failure: Reason | None = None) -> Candidate:
        return Candidate(
            fingerprint=self.fingerprint,
            seed_id=self.seed.id,
            generator=self.generator,
            sample=self.sample,
            pair_id=pair_id,
            failure=failure,
        )


_TWO_TEXTS = ("A heron stands in the shallow water.", "Seven red kites over the old harbour.")


def rendering(
    prompt: Prompt, task: TaskSettings, exemplars: Sequence[Exemplar], varying: Mapping[str, Sequence[str]]
) -> Callable[..., Messages]:
    """`prompt.render` for what changes from seed to seed; the rest is given once.

    `varying` holds some values of each such variable. Raises PromptError for a prompt that asks for what generation
    does not have, or that is the same whatever one of them says: everything would get the same answers.
    """
    known = {"style": task.style, "exemplars": exemplars, "system": task.system, "language": task.language}
    for name in prompt.variables:
        if name not in known and name not in varying and name not in map(OLD_NAMES.get, varying):
            raise PromptError(
                f"asks for the variable '{name}', which generation does not have.",
                where=str(prompt.path),
                fix=f"It may use: {', '.join(sorted({*known, *varying}))}.",
            )
    given = prompt.given(**{name: value for name, value in known.items() if name in prompt.variables})
    used = [name for name in varying if prompt.takes(name)]

    def render(**values: str) -> Messages:
        return given(**{name: values[name] for name in used})

    for name, values in varying.items():
        if not _tells_apart(
            prompt, render, {other: some[0] for other, some in varying.items() if some}, name, set(values)
        ):
            raise PromptError(
                f"says the same whatever '{name}' is.",
                where=str(prompt.path),
                why=f"Every {'seed' if name != 'level' else 'level of a seed'} would be asked the same question, "
                "and get the same answers.",
                fix=f"Declare {name} in [variables] and write {{{{ {name} }}}} where it belongs.",
            )
    return render


def _tells_apart(
    prompt: Prompt, render: Callable[..., Messages], values: Mapping[str, str], name: str, some: set[str]
) -> bool:
    """Whether the prompt is another one for each of `some` values of the variable."""
    if len(some) < 2:
        return True
    if not any({name, OLD_NAMES.get(name)} & turn.uses for turn in prompt.turns):
        return False
    try:
        return len({render(**{**values, name: value}) for value in some}) == len(some)
    except PromptError:
        return True  # it takes the text apart in a way that ours does not fit; a real one will tell
