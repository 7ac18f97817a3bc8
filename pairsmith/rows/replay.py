"""Rebuilds a row offline from its records: the request is rendered again, and the stored answer is judged and cleaned
again."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import orjson

from curate.redaction import answer_redaction
from pairsmith.teachers import teachers
from pairsmith.teachers.ledgers import open_ledgers
from prompts import load
from schemas.errors import PairsmithError, UsageError
from schemas.progress import discard_message
from schemas.project import Project
from schemas.records import Call, Generated, Json, Pair, Seed
from schemas.store import Store
from synth.answers import judge_or_malformed, schema_violation
from synth.endpoints.dialect import Dialect, undone
from synth.generators import GENERATOR_CLASSES, Backward, Forward
from synth.ledger import Completion, Question


class Replay(NamedTuple):
    """The result of rebuilding a pair. `differs` lists what is different and why; it is empty if every byte is the
    same."""

    pair_id: str
    request: Json
    answer: str
    output: str
    differs: tuple[str, ...]


async def replay(project: Project, store: Store, pair: Pair) -> Replay:
    """Render the request of `pair` again from its seed, prompt and the spec, and build the pair again from the stored
    answer. No teacher is asked, and nothing is written.

    Not covered: the order of the seeds, and the verdicts of curation. Raises UsageError for a pair that no teacher
    generated, and for one whose seed or answer is not in the store.
    """
    origin = pair.origin
    if not isinstance(origin, Generated):
        fix = f"Replay {origin.parent_id}, from which it was made." if origin.by == "edited" else None
        raise UsageError(f"pair {pair.id[:12]} was {origin.by}, not generated, so there is no request.", fix=fix)
    key, attempt = origin.calls[0]
    call = store.call(key, attempt)
    seed = store.seeds_by_id([pair.seed_id]).get(pair.seed_id)
    if call is None or seed is None:
        raise UsageError(f"the {'answer' if call is None else 'seed'} of pair {pair.id[:12]} is not in the store.")
    by_direction = teachers.by_direction(project, discard_message)
    if origin.generator not in by_direction:
        raise UsageError(
            f"{origin.generator} generation is no longer enabled in the spec.", fix="Enable it for the replay."
        )
    differs: list[str] = []
    async with open_ledgers(store, by_direction, discard_message) as ledgers:
        ledger = ledgers[origin.generator]
        present = GENERATOR_CLASSES[origin.generator].of(project, ledger, answer_redaction(project.spec.personal))
        try:
            prompt = load(origin.prompt, project.folder)
        except PairsmithError as error:
            prompt = present.template
            differs.append(f"prompt: {error}")
        generator = replace(present, prompt=prompt, sampling=origin.sampling)
        question = _question(generator, seed, pair)
        if origin.teacher != ledger.identity:
            differs.append(f"teacher: it was {origin.teacher}, the spec now has {ledger.identity}")
        differs += _request_differs(question, call)
        if not differs and not any(
            key in keys for keys in question.keys(origin.teacher, ledger.revision, call.sample + 1)
        ):
            differs.append("key: the teacher's revision or the schema of answers has changed")
        violation = None if question.judged_by is None else schema_violation(question.judged_by)
        tokens = call.usage.completion_tokens
        verdict = judge_or_malformed(call.raw, violation, ledger.teacher.finish_reasons, call.request, tokens)
        if verdict.status != "ok":
            differs.append(f"answer: it is judged differently now ({verdict.reason})")
        elif verdict.text != call.text:
            differs.append("answer: the rules that separate its text from reasoning and stop texts have changed since")
        completion = Completion(verdict.text, key, attempt, call.raw.get("logprobs"), call.raw.get("finish_reason"))
        rebuilt = generator.outcome(seed, 0, completion, **pair.meta).pair
    assert rebuilt is not None, "a completion always gives a pair"
    if rebuilt.model_dump_json() != pair.model_dump_json():
        parts = [name for name in Pair.model_fields if getattr(rebuilt, name) != getattr(pair, name)]
        if parts != ["origin"] or not differs:  # what is said already is in the origin
            differs.append(f"pair: {', '.join(part for part in parts if part != 'origin' or not differs)}")
    return Replay(pair.id, call.request, verdict.text, rebuilt.output, tuple(differs))


def _question(generator: Forward | Backward, seed: Seed, pair: Pair) -> Question:
    """The question that the pair answers; for a backward generator, the one of its level."""
    questions = [question for question, _ in generator.questions(seed)]
    levels = generator.levels if isinstance(generator, Backward) else ()
    level = pair.meta.get("level")
    return questions[levels.index(level) if level in levels else 0]


def _request_differs(question: Question, call: Call) -> list[str]:
    """The parts of the request that was sent that differ from what would be rendered now."""
    now = Dialect(call.request.get("model", "")).body(question.messages, question.sampling, 1, question.schema)
    sent = undone(call.request, now)
    if "seed" in now and "seed" in sent:
        sent["seed"] = now["seed"]  # each request has its own random seed, which is part of its key
    differs = []
    for name in sorted({*sent, *now}):
        was, is_now = (orjson.dumps(part.get(name), option=orjson.OPT_SORT_KEYS) for part in (sent, now))
        if was != is_now:
            why = "the prompt, the style, the exemplars or the seed" if name == "messages" else "the sampling"
            differs.append(f"request: {name} differs from what was sent; {why} has changed since")
    return differs
