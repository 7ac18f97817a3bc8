"""Redact or leave out seeds and answers with personal data, secrets or insults, as the spec asks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from curate.gates import rejected_personal_kinds
from curate.gates.chat import find_insult
from curate.gates.folding import fold
from curate.gates.personal import ONE, REMOVED, WORDS, parse_record, personal, pieces, to_half_width
from curate.gates.scripts import in_simplified
from curate.words import SPACED
from schemas.id_map import IdMap
from schemas.progress import Progress, reporting, unseen
from schemas.records import Seed
from schemas.spec import Spec
from schemas.spec.personal import PersonalSettings, Treatment
from schemas.spooled_seeds import SpooledSeeds
from synth.generators import NO_REDACTION, Redaction
from synth.sources.seeds import SeedProblem, SeedReading

PERSONAL_DATA = "personal data"  # the name of the search in progress reports
_SHORT = 7  # characters; a secret up to this length is redacted only as a separate word, if it occurs as one


def treated(
    reading: SeedReading,
    settings: PersonalSettings,
    languages: tuple[str, str] = ("en", "en"),
    progress: Progress = unseen,
) -> SeedReading:
    """Apply `settings` to the seeds of a reading; `languages` are those of the task's inputs and outputs.

    A seed that is left out becomes a problem that names the kind of data but not the text. A redacted seed is a new
    seed (`meta["redacted"]` holds the kinds), reported as a note. The number of rows read stays the same.
    """
    treatment = _treatment(settings)
    if settings == PersonalSettings():
        return reading
    seeds, first_seen = SpooledSeeds(), IdMap()
    problems, notes = list(reading.problems), list(reading.notes)
    for seed in reporting(reading.seeds, progress, PERSONAL_DATA, len(reading.seeds)):
        kinds = {
            kind for text, language in texts_of(seed, *languages) for kind, _ in find_personal_data(text, language)
        }
        # Insults do not count in rejected answers: they may be why these were rejected.
        kinds |= {kind for text in seed.meta.get("rejected", ()) for kind, _ in pieces(text)}
        if to_reject := sorted(kind for kind in kinds if treatment[kind] == "reject"):
            problems.append(
                SeedProblem(seed.source, "personal", f"it contains {' and '.join(map(ONE.__getitem__, to_reject))}.")
            )
            continue
        if to_redact := sorted(kind for kind in kinds if treatment[kind] == "redact"):
            seed = _redacted(seed, treatment, to_redact)
            notes.append(SeedProblem(seed.source, "redacted", f"{' and '.join(map(WORDS.__getitem__, to_redact))}."))
        place = first_seen.setdefault(seed.id, len(seeds))
        if place < len(seeds):
            first = seeds[place].source
            problems.append(SeedProblem(seed.source, "duplicate", f"redacted, it is the same text as {first}."))
            continue
        seeds.append(seed)
    return SeedReading(seeds, problems, notes, reading.rows_in)


def find_personal_data(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Find the pieces of personal data in a text, and an insult in its language, each with its kind, a key of
    `[personal]`."""
    yield from pieces(text)
    if insult := find_insult(fold(in_simplified(text, language)), language):
        yield "toxic", insult


def answer_redaction(settings: PersonalSettings) -> Redaction:
    """The same redaction for a teacher's answers: an answer that is redacted is a different pair."""
    treatment = _treatment(settings)

    def redact(text: str) -> tuple[str, list[str]]:
        to_redact = sorted({kind for kind, _ in pieces(text) if treatment[kind] == "redact"})
        return (redacted(text, treatment), to_redact) if to_redact else (text, to_redact)

    kinds = settings.kinds("redact")
    return Redaction(kinds, redact) if kinds else NO_REDACTION


def display_redactor(spec: Spec) -> Callable[[str], str]:
    """A function that redacts the kinds of personal data that rows are rejected for, so that rejected rows can be
    shown."""
    kinds = rejected_personal_kinds(spec)
    treatment: dict[str, Treatment] = {kind: "redact" if kind in kinds else "flag" for kind in ONE}
    return lambda text: redacted(text, treatment) if kinds else text


def _treatment(settings: PersonalSettings) -> dict[str, Treatment]:
    return {kind: getattr(settings, kind) for kind in ONE}


def redacted(text: str, treatment: Mapping[str, Treatment]) -> str:
    """Replace every piece whose kind is to be redacted, wherever it occurs.

    JSON stays valid: if the replacement would break it, or escapes hide a piece, its values are redacted one by one.
    """
    kinds = {piece: kind for kind, piece in pieces(text) if treatment[kind] == "redact"}
    if not kinds:
        return text
    plain, record = _replace_pieces(text, kinds), parse_record(text)
    if record is None or parse_record(plain) == (clean := _redact_json(record, kinds)):
        return plain
    return json.dumps(clean, ensure_ascii="\\ud" in text.lower())


def _redact_json(value: Any, kinds: Mapping[str, str]) -> Any:
    if isinstance(value, dict):  # redact a key only if it is personal by itself; elsewhere the word may be a password
        return {
            _replace_pieces(name, {piece: kinds[piece] for _, piece in personal(name) if piece in kinds}): _redact_json(
                item, kinds
            )
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_redact_json(item, kinds) for item in value]
    if isinstance(value, str):
        return _replace_pieces(value, kinds)
    return REMOVED[kinds[str(value)]] if str(value) in kinds and not isinstance(value, bool) else value


def _replace_pieces(text: str, kinds: Mapping[str, str]) -> str:
    if not kinds:
        return text
    written, end, narrow = list[str](), 0, to_half_width(text)
    for match in re.finditer("|".join(_piece_patterns(kinds, narrow)), narrow):
        written += text[end : match.start()], REMOVED[kinds[match[0]]]
        end = match.end()
    return "".join(written) + text[end:]


def _piece_patterns(kinds: Mapping[str, str], text: str) -> Iterator[str]:
    """Regular expressions for the pieces, longest first. A short password may be part of many words, so it only matches
    as a separate word, unless it never occurs as one."""
    for piece in sorted(kinds, key=len, reverse=True):
        literal = re.escape(piece)
        as_word = rf"(?<!{SPACED}){literal}(?!{SPACED})"
        is_word = kinds[piece] == "secret" and len(piece) <= _SHORT and re.search(as_word, text)
        yield as_word if is_word else literal


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
    """Each text of a seed, or each that is sent to a teacher (`sent`), with its language.

    The language matters because a plain word in one language may be an insult in another (Spanish `con` in French,
    Danish `slut` in English). Columns are in the language of the inputs.
    """
    for turn in seed.messages or ():
        yield turn.content, of_outputs if turn.role == "assistant" else of_inputs
    if seed.text:
        yield seed.text, of_outputs if seed.kind == "output" else of_inputs
    if seed.reference and not sent:
        yield seed.reference, of_outputs
    for text in seed.columns.values():
        yield text, of_inputs
