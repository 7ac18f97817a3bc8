"""From a seed to pairs: forward (input to candidates), backward (excellent output to inputs).

Backward follows Prompt Expansion (Datta et al. 2023, arXiv:2312.16720): excellent outputs are shortened at several
levels of abstraction, so that the student sees inputs from terse to detailed for one and the same target.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from prompts import OLD_NAMES, Prompt
from schemas.errors import PromptError
from schemas.records import Candidate, Generated, Messages, Pair, Sampling, Seed, content_id, identity
from schemas.spec import BackwardSettings, Exemplar, ForwardSettings, TaskSettings
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

    `prompt` may use the variables style, exemplars, simple, system and language. A JSON schema in the prompt file binds
    the answers.
    """
    render = _renderer(prompt, task, exemplars, "input")
    named = fingerprint("forward", task, exemplars, settings, prompt, ledger)

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

    `prompt` may use the variables style, exemplars, enhanced, level, system and language. Sample i of a seed is level
    i, which the pair names in `meta`.
    """
    render = _renderer(prompt, task, exemplars, "output", "level")
    named = fingerprint("backward", task, exemplars, settings, prompt, ledger)

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
    ledger: Ledger,
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
        [ledger.identity, ledger.revision],
    ]
    return content_id("scope", [generator, shapes])


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
        """The pair of the seed's side and the answer; a failure for a miss, or if cleaning leaves nothing."""
        if isinstance(answer, Miss):
            return Outcome(self._candidate(failure=answer.reason), None)
        text = clean(answer.text)
        if not text:
            return Outcome(self._candidate(failure="empty: the answer was only quotes or a fence"), None)
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

    def _candidate(self, *, pair_id: str | None = None, failure: str | None = None) -> Candidate:
        return Candidate(
            fingerprint=self.fingerprint,
            seed_id=self.seed.id,
            generator=self.generator,
            sample=self.sample,
            pair_id=pair_id,
            failure=failure,
        )


_FENCE = re.compile(r"```[\w-]*\n((?:(?!```).)*)```", re.DOTALL)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c", "'": "'"}


def clean(text: str) -> str:
    """The answer without what surrounds it: outer blanks, one code fence, one pair of quotes around the whole.

    Quotes go only if none of the same kind is inside, so `"a" and "b"` stays. Nothing inside is changed; chatter
    before or after the answer is left for a gate to reject. The raw answer stays in the ledger.
    """
    text = text.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if len(text) >= 2 and (closing := _QUOTES.get(text[0])) and text[-1] == closing:
        inside = text[1:-1]
        if text[0] not in inside and closing not in inside:
            text = inside.strip()
    return text


def _renderer(
    prompt: Prompt, task: TaskSettings, exemplars: Sequence[Exemplar], *varying: str
) -> Callable[..., Messages]:
    """`prompt.render` for what changes from seed to seed, as far as the prompt uses it; the rest is given once."""
    known = {"style": task.style, "exemplars": exemplars, "system": task.system, "language": task.language}
    for name in prompt.variables:
        if name not in known and name not in varying and name not in map(OLD_NAMES.get, varying):
            raise PromptError(
                f"asks for the variable '{name}', which generation does not have.",
                where=str(prompt.path),
                fix=f"It may use: {', '.join(sorted({*known, *varying}))}.",
            )
    render = prompt.given(**{name: value for name, value in known.items() if name in prompt.variables})
    used = [name for name in varying if prompt.takes(name)]
    return lambda **values: render(**{name: values[name] for name in used})
