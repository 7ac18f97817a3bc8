"""Seeds and answers without the personal data, secrets and insults that the spec does not want: redacted, or left
out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from curate.gates import personal_kept_out
from curate.gates.chat import insult_in
from curate.gates.folding import fold
from curate.gates.personal import ONE, REMOVED, WORDS, narrowed, personal, pieces, record_in
from curate.words import SPACED
from schemas.numbered import Numbered
from schemas.records import Seed
from schemas.spec import Spec
from schemas.spec.personal import PersonalSettings, Treatment
from schemas.spooled_seeds import SpooledSeeds
from synth.generators import AS_WRITTEN, Redaction
from synth.seeds import SeedProblem, SeedReading

_SHORT = 7  # characters


def treated(reading: SeedReading, settings: PersonalSettings, languages: tuple[str, str] = ("en", "en")) -> SeedReading:
    """The reading after `settings`, of a task with inputs and outputs in `languages`. A seed that is left out is a
    problem that names the kind and not the text; one that is redacted is another seed (`meta["redacted"]` has the
    kinds), and a note. Rows stay counted."""
    treatment = _treatment(settings)
    if settings == PersonalSettings():
        return reading
    seeds, first_seen = SpooledSeeds(), Numbered()
    problems, notes = list(reading.problems), list(reading.notes)
    for seed in reading.seeds:
        held = {kind for text, language in texts_of(seed, *languages) for kind, _ in held_in(text, language)}
        held |= {kind for text in seed.meta.get("rejected", ()) for kind, _ in pieces(text)}  # an insult is why it is
        if out := sorted(kind for kind in held if treatment[kind] == "reject"):
            problems.append(
                SeedProblem(seed.source, "personal", f"it holds {' and '.join(map(ONE.__getitem__, out))}.")
            )
            continue
        if gone := sorted(kind for kind in held if treatment[kind] == "redact"):
            seed = _redacted(seed, treatment, gone)
            notes.append(SeedProblem(seed.source, "redacted", f"{' and '.join(map(WORDS.__getitem__, gone))}."))
        place = first_seen.setdefault(seed.id, len(seeds))
        if place < len(seeds):
            first = seeds[place].source
            problems.append(SeedProblem(seed.source, "duplicate", f"redacted, it is the same text as {first}."))
            continue
        seeds.append(seed)
    return SeedReading(seeds, problems, notes, reading.rows_in)


def held_in(text: str, language: str) -> Iterator[tuple[str, str]]:
    """The pieces of personal data in a text, and an insult of its language: each with its kind, a key of
    `[personal]`."""
    yield from pieces(text)
    if insult := insult_in(fold(text), language):
        yield "toxic", insult


def redaction_of(settings: PersonalSettings) -> Redaction:
    """The same for what a teacher writes: an answer that is redacted is another pair."""
    treatment = _treatment(settings)

    def redact(text: str) -> tuple[str, list[str]]:
        gone = sorted({kind for kind, _ in pieces(text) if treatment[kind] == "redact"})
        return (redacted(text, treatment), gone) if gone else (text, gone)

    kinds = settings.kinds("redact")
    return Redaction(kinds, redact) if kinds else AS_WRITTEN


def hidden_by(spec: Spec) -> Callable[[str], str]:
    """What shows a text without the personal data that rows are rejected for: a rejected row is shown with the rest."""
    kinds = personal_kept_out(spec)
    treatment: dict[str, Treatment] = {kind: "redact" if kind in kinds else "flag" for kind in ONE}
    return lambda text: redacted(text, treatment) if kinds else text


def _treatment(settings: PersonalSettings) -> dict[str, Treatment]:
    return {kind: getattr(settings, kind) for kind in ONE}


def redacted(text: str, treatment: Mapping[str, Treatment]) -> str:
    """`text` with words in place of every piece whose kind is to be redacted, wherever the piece stands. JSON stays
    JSON: where the words would break it, or a piece stands behind an escape, its values are redacted one by one."""
    kinds = {piece: kind for kind, piece in pieces(text) if treatment[kind] == "redact"}
    if not kinds:
        return text
    plain, record = _without(text, kinds), record_in(text)
    if record is None or record_in(plain) == (clean := _in_each(record, kinds)):
        return plain
    return json.dumps(clean, ensure_ascii="\\ud" in text.lower())


def _in_each(value: Any, kinds: Mapping[str, str]) -> Any:
    if isinstance(value, dict):  # a name is a word as any other, and may be a password elsewhere
        return {
            _without(name, {piece: kinds[piece] for _, piece in personal(name) if piece in kinds}): _in_each(
                held, kinds
            )
            for name, held in value.items()
        }
    if isinstance(value, list):
        return [_in_each(held, kinds) for held in value]
    if isinstance(value, str):
        return _without(value, kinds)
    return REMOVED[kinds[str(value)]] if str(value) in kinds and not isinstance(value, bool) else value


def _without(text: str, kinds: Mapping[str, str]) -> str:
    if not kinds:
        return text
    written, end, narrow = list[str](), 0, narrowed(text)
    for match in re.finditer("|".join(_places(kinds, narrow)), narrow):
        written += text[end : match.start()], REMOVED[kinds[match[0]]]
        end = match.end()
    return "".join(written) + text[end:]


def _places(kinds: Mapping[str, str], text: str) -> Iterator[str]:
    """Patterns of the pieces, the longest first. A short password is a part of many words, and none of them says it,
    unless it stands nowhere by itself."""
    for piece in sorted(kinds, key=len, reverse=True):
        literal = re.escape(piece)
        alone = rf"(?<!{SPACED}){literal}(?!{SPACED})"
        is_word = kinds[piece] == "secret" and len(piece) <= _SHORT and re.search(alone, text)
        yield alone if is_word else literal


def _redacted(seed: Seed, treatment: Mapping[str, Treatment], kinds: list[str]) -> Seed:
    def without(text: str | None) -> str | None:
        return None if text is None else redacted(text, treatment)

    turns = seed.messages and tuple(
        turn.model_copy(update={"content": redacted(turn.content, treatment)}) for turn in seed.messages
    )
    rejected = seed.meta.get("rejected")
    worse = {"rejected": [redacted(text, treatment) for text in rejected]} if rejected else {}
    return seed.model_copy(
        update={
            "text": without(seed.text),
            "messages": turns,
            "reference": without(seed.reference),
            "columns": {name: redacted(value, treatment) for name, value in seed.columns.items()},
            "meta": {**seed.meta, "redacted": kinds, **worse},
        }
    )


def texts_of(seed: Seed, of_inputs: str, of_outputs: str, *, sent: bool = False) -> Iterator[tuple[str, str]]:
    """Each text of a seed, or each that is `sent`, with the language that it is in: what is a plain word there may be
    an insult in the other one (Spanish `con` in French, Danish `slut` in English). Columns are in the language of the
    inputs."""
    for turn in seed.messages or ():
        yield turn.content, of_outputs if turn.role == "assistant" else of_inputs
    if seed.text:
        yield seed.text, of_outputs if seed.kind == "output" else of_inputs
    if seed.reference and not sent:
        yield seed.reference, of_outputs
    for text in seed.columns.values():
        yield text, of_inputs
