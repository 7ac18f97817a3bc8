"""Code gates: each one looks at one pair and returns keep, reject or "cannot tell", with a reason.

    steps = gates(min_words=8, language="de")          # in Python, for `curate`: see help(gates.__call__)
    steps = gates_of(project)
    verdicts = judge(pair, steps)                      # to be stored
    judgements = judge_text(input, output, steps)      # the same gates on two strings, for the evaluation

A gate is a plain function `Pair -> Judgement`; its settings are bound with `functools.partial`. docs/gates.md describes
what each gate detects and misses, and gives its measured precision and recall.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import Parameter, Signature, signature
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from curate.gate_versions import VERSIONS
from curate.gates.answers import YEAR, generated_input, values
from curate.gates.chat import answered, injection, thinking, toxic
from curate.gates.contacts import contacts
from curate.gates.content import lost_content
from curate.gates.damage import broken_json, cut, encoding, fenced
from curate.gates.doubted_labels import label
from curate.gates.facts import invented, swapped
from curate.gates.form import echo, length, repetition
from curate.gates.formatted import asks_for_markup, is_in_markup, without_formatting
from curate.gates.identification import check_language, is_known
from curate.gates.instructed import instructed
from curate.gates.json_schema import json_schema
from curate.gates.judgement import Gate, GateStep, Judgement, flagged, on_shortened, on_text_alone, run_gate
from curate.gates.language import language
from curate.gates.last_line import end_openly
from curate.gates.limits import limits
from curate.gates.mixed_language import mixed_language
from curate.gates.names import invented_name
from curate.gates.noted_facts import kept_facts
from curate.gates.patterns import must, must_not
from curate.gates.personal import WORDS, pii
from curate.gates.phrases import phrases
from curate.gates.placeholder import placeholder
from curate.gates.preamble import preamble
from curate.gates.scripts import in_one_script, in_simplified, table_code
from curate.gates.shared_facts import beside_shared, imported_outputs, imported_sample, shared_facts, without_shared_end
from curate.gates.style_facts import beside_conversation, beside_style
from curate.gates.sums import sums
from curate.gates.translations import translated
from curate.gates.user import user_gate
from curate.gates.usual_values import beside_usual, usual_values
from prompts.answer_form import AnswerForm, model_of
from prompts.answer_schema import load_schema
from schemas.errors import SpecError
from schemas.project import Project
from schemas.records import Imported, Pair, Seed, Verdict, content_id, identity
from schemas.spec import Exemplar, GateSettings, LengthSettings, Mode, Pattern, Spec, TaskSettings

__all__ = ["Gate", "GateStep", "Judgement", "gates_for", "gates_of", "judge", "judge_text"]


# Gates whose key in the spec is their name, with the task settings each one takes as arguments. They run in this order.
_STYLE, _LANGUAGE, _BOTH, _TWO = ("style",), ("language",), ("style", "language"), ("language", "input_language")
_BY_KEY: dict[str, tuple[Callable[..., Judgement], tuple[str, ...]]] = {
    "thinking": (thinking, _BOTH),
    "placeholder": (placeholder, (*_BOTH, "kind")),
    "encoding": (encoding, ()),
    "broken_json": (broken_json, _STYLE),
    "fenced": (fenced, _STYLE),
    "cut": (cut, ("language", "style", "kind")),
    "repetition": (repetition, _LANGUAGE),
    "echo": (echo, (*_BOTH, "kind", "exemplars")),
    "preamble": (preamble, (*_BOTH, "input_language", "kind")),
    "answered": (answered, _BOTH),
    "lost_content": (lost_content, ("language", "style")),
    "invented": (invented, _TWO),
    "contacts": (contacts, ("input_language",)),
    "invented_name": (invented_name, _LANGUAGE),
    "swapped": (swapped, ("language", "kind")),
    "limits": (limits, (*_TWO, "style")),
    "instructed": (instructed, ("style", "language", "input_language", "kind")),
    "facts": (kept_facts, ("kind", *_TWO, "style")),
    "sums": (sums, ("language", "kind")),
    "injection": (injection, ("style", "input_language")),
    "toxic": (toxic, _TWO),
    "pii": (pii, ()),
}
# Gates on the markup itself; the first two object to none where it is the form of the answers.
_OF_MARKUP = ("encoding", "fenced", "broken_json")
# Gates that apply only to some kinds of task.
_OF_KINDS = {"instructed": ("rewrite", "reply", "translate", "free"), "facts": ("reply", "free")}
# Gates that look for what the input does not say, and do not object to what the style says.
_BESIDE_STYLE = ("invented", "contacts", "invented_name")
# Gates that do not object to what earlier turns say, and to what many imported outputs say.
_BESIDE_CONVERSATION = (*_BESIDE_STYLE, "facts", "swapped")
_BESIDE_SHARED = (*_BESIDE_CONVERSATION, "cut")


def gates_for(
    task: TaskSettings,
    gates: GateSettings,
    folder: Path,
    exemplars: Sequence[Exemplar] = (),
    seeds: Sequence[Seed] = (),
) -> list[GateStep]:
    """Return the gates that the spec asks for, cheap ones first.

    Each pattern and each user function is a gate of its own. Names look like `gate/length@1`, `gate/must:ar_flag@1` and
    `gate/user:rules:polite@1`. Paths and user modules are resolved relative to `folder`. An output that copies one of
    the `exemplars` counts as an echo. What the outputs in `seeds` have in common is no invention (`shared_facts`),
    and what contradicts nearly all of them is flagged (`usual_values`).
    Raises SpecError for anything that would make a gate useless: an unknown language, an invalid schema file, a missing
    function, or two patterns with the same name.
    """
    style, form, codes = task.style, AnswerForm.of(task, folder), _language_codes(task)
    if "zh" in codes and "ja" not in codes:  # Japanese has characters that look Traditional
        style = in_simplified(style)
    asked = chain(
        [_Asked("length", partial(length, bounds=gates.length), identity(gates.length), of_text=True)]
        if gates.length
        else [],
        _listed_gates(task, gates, style, exemplars, seeds),
        _language_gates(task, gates),
        _pattern_gates(gates),
        _gates_of_form(task, form, gates, style, folder),
        _gates_in_files(gates, folder),
    )
    as_written = asks_for_markup(style)
    return [one.step(as_written) for one in asked]


class _Asked(NamedTuple):
    """A gate that the spec asks for. Its verdicts also depend on `settings`. One `of_text` sees no markup that only
    formats it, unless the style asks for markup."""

    name: str
    gate: Gate
    settings: Any = None
    mode: Mode = True
    of_text: bool = False

    def step(self, as_written: bool) -> GateStep:
        version, flags = VERSIONS.get(self.name, 1), self.mode == "flag"
        settings = self.settings if self.mode is True else [self.settings, self.mode]
        if self.of_text and as_written:
            settings = [settings, "as written"]
        fingerprint = content_id("gate", [self.name, version, settings])
        gate = on_text_alone(self.gate) if self.of_text and not as_written else self.gate
        return GateStep(f"gate/{self.name}@{version}", fingerprint, flagged(gate) if flags else gate, flags)


def _language_codes(task: TaskSettings) -> tuple[str, str]:
    """The codes of the language of outputs and of inputs, as the tables of phrases are named."""
    return table_code(task.output_language), table_code(task.language)


def _listed_gates(
    task: TaskSettings, gates: GateSettings, style: str, exemplars: Sequence[Exemplar], seeds: Sequence[Seed]
) -> Iterator[_Asked]:
    """The gates in `_BY_KEY`."""
    code, input_code = _language_codes(task)
    tables, shown = phrases(code).digest, str if asks_for_markup(style) else without_formatting
    task_values: dict[str, Any] = {
        "style": style,
        "language": code,
        "input_language": input_code,
        "kind": task.kind,
        "exemplars": tuple(
            (in_simplified(shown(one.input), input_code), in_simplified(shown(one.output), code)) for one in exemplars
        ),
    }
    parts = tuple(in_simplified(part, code) for part in shared_facts(seeds, task.kind, task.output_language))
    outputs = imported_outputs(seeds, task.kind).items()
    examples = [*(one.output for one in exemplars), *(seed.reference or "" for seed in imported_sample(seeds))]
    marked = is_in_markup(examples)
    usual = usual_values((in_simplified(input, input_code), in_simplified(output, code)) for output, input in outputs)
    for name, (gate, needs) in _BY_KEY.items():
        mode = getattr(gates, name) if task.kind in _OF_KINDS.get(name, (task.kind,)) else False
        if not mode:
            continue
        known = {key: task_values[key] for key in needs}
        if marked and name in _OF_MARKUP[:2]:
            known["marked"] = True
        if name == "cut" and end_openly(examples):
            del known["kind"]  # of which some require a full stop
        bound: Gate = partial(gate, **known)
        if name in _BESIDE_STYLE:
            known["style"] = style
            bound = beside_style(bound, style, input_code, code)
        if name in _BESIDE_CONVERSATION:
            bound = beside_conversation(bound, input_code, code)
        if parts and name in _BESIDE_SHARED:
            known["shared"] = parts
            bound = without_shared_end(bound, parts) if name == "cut" else beside_shared(bound, parts, code)
        if usual and name == "facts":
            known["usual"] = usual
            bound = beside_usual(bound, usual, style)
        # `repetition` detects a loop by its length, so it needs the whole text.
        wrapped = bound if name == "repetition" else on_shortened(bound)
        if name != "encoding":
            wrapped = in_one_script(wrapped, code, input_code)
        yield _Asked(name, wrapped, [*dict.fromkeys(known.values()), tables], mode, name not in _OF_MARKUP)


def _language_gates(task: TaskSettings, gates: GateSettings) -> Iterator[_Asked]:
    """The gates on the language of outputs. Raises SpecError for one that cannot be identified."""
    code, input_code = _language_codes(task)
    for name, identify in (("language", partial(language, kind=task.kind)), ("mixed_language", mixed_language)):
        if gates.language and (mode := getattr(gates, name)):
            for language_code in dict.fromkeys((input_code, code)):
                check_language(language_code)
            judged: Any = code if code == input_code else [code, input_code]
            if name == "language" and task.kind == "free":  # which may be in a language that its input names
                judged = [judged, task.kind]
            gate = on_shortened(partial(identify, code=code, input_code=input_code))
            yield _Asked(name, gate, judged, mode, of_text=True)


def _pattern_gates(gates: GateSettings) -> Iterator[_Asked]:
    for kind, patterns, search in (("must", gates.must, must), ("must_not", gates.must_not, must_not)):
        _check_names(kind, patterns)
        for given in patterns:
            bound = partial(search, name=given.name, pattern=re.compile(given.pattern))
            yield _Asked(f"{kind}:{given.name}", bound, given.pattern)


def _gates_of_form(
    task: TaskSettings, form: AnswerForm, gates: GateSettings, style: str, folder: Path
) -> Iterator[_Asked]:
    """The gates on a generated input, a label, and a record, and the one on translations."""
    code, input_code = _language_codes(task)
    settings: list[Any]
    if form.asked:
        input_gates = [partial(repetition, language=input_code), partial(preamble, style=style, language=input_code)]
        if is_known(input_code):
            input_gates.append(partial(language, code=input_code))
        settings = [style, input_code, phrases(input_code).digest]
        gate = on_shortened(partial(generated_input, gates=input_gates))
        yield _Asked("input", in_one_script(gate, input_code, input_code), settings, of_text=True)
    if form.labels:
        named = tuple(form.labels)
        settings = [list(named), input_code, phrases(code).digest]
        yield _Asked("label", partial(label, labels=named, language=input_code), settings)
    if form.schema:
        model, source_hash = model_of(task, folder) or (None, "")
        yield _Asked("schema", json_schema(form.schema, model), [form.schema, source_hash] if model else form.schema)
    if gates.values:
        keys = json.loads(in_simplified(json.dumps(form.schema, ensure_ascii=False), input_code))
        years = YEAR.findall(style)
        gate = on_shortened(partial(values, schema=keys, language=input_code, years=years, style=style))
        settings = [form.schema, input_code, style]
        yield _Asked("values", in_one_script(gate, input_code, input_code), settings, gates.values, of_text=True)
    if gates.translated:
        gate = on_shortened(partial(translated, language=input_code, to=code, style=style))
        settings = [input_code, code, style]
        yield _Asked("translated", in_one_script(gate, code, input_code), settings, gates.translated)


def _gates_in_files(gates: GateSettings, folder: Path) -> Iterator[_Asked]:
    if gates.json_schema is not None:
        schema = load_schema(folder / gates.json_schema)
        yield _Asked("json_schema", json_schema(schema), schema)
    for name in dict.fromkeys(gates.user):
        check, source_hash = user_gate(name, folder)
        yield _Asked(f"user:{name}", check, source_hash)


def gates_of(project: Project, seeds: Sequence[Seed] = ()) -> list[GateStep]:
    """Return the gates of a project's spec and `seeds`, plus one for the kinds of personal data that it rejects."""
    spec, gates = project.spec, project.spec.curate.gates
    if spec.personal.toxic == "reject":
        gates = gates.model_copy(update={"toxic": True})
    steps = gates_for(spec.task, gates, project.folder, spec.exemplars, seeds)
    if kinds := [kind for kind in spec.personal.kinds("reject") if kind in WORDS]:
        gate = on_shortened(partial(pii, kinds=kinds))
        personal = _Asked("personal", gate, kinds, of_text=True)
        steps.append(personal.step(asks_for_markup(spec.task.style)))
    return steps


def rejected_personal_kinds(spec: Spec) -> list[str]:
    """Return the kinds of personal data (`curate.gates.personal`) for which a gate of the spec rejects a row."""
    every = spec.curate.gates.pii is True
    return [kind for kind in WORDS if every or kind in spec.personal.kinds("reject")]


def _check_names(kind: str, patterns: Sequence[Pattern]) -> None:
    twice = [name for name, times in Counter(pattern.name for pattern in patterns).items() if times > 1]
    if twice:
        raise SpecError(
            f"'curate.gates.{kind}': two patterns are named '{twice[0]}'.",
            why="Their verdicts could not be distinguished.",
            fix="Give each pattern its own name.",
        )


def judge(pair: Pair, steps: Sequence[GateStep]) -> list[Verdict]:
    """Return one verdict per step, in order. All steps run, even after a rejection, so that every reason is counted.

    A gate that raises gives `keep=None` and the reason `crashed: ...`, and the row waits.
    """
    judged = ((step, run_gate(step, pair)._asdict()) for step in steps)
    return [Verdict(pair_id=pair.id, by=step.by, fingerprint=step.fingerprint, **one) for step, one in judged]


def judge_text(
    input: str, output: str, steps: Sequence[GateStep], system: str = "", reference: str | None = None
) -> dict[str, Judgement]:
    """Run the same gates on two strings, and return the judgements by step name.

    The text passes strictly if `all(j.keep for j in judge_text(...).values())`.
    """
    origin = Imported(source="text")
    pair = Pair(seed_id="", input=input, output=output, system=system, reference=reference, origin=origin)
    return {step.by: run_gate(step, pair) for step in steps}


def free_tables() -> None:
    """Free the phrase tables and everything derived from them, some 10 MB; the next gate that runs loads them again."""
    for name, module in list(sys.modules.items()):
        if name.startswith(__name__):
            for value in list(vars(module).values()):  # another thread may import something meanwhile
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


class _Door(ModuleType):
    """Makes this package callable, so that `from curate import gates` can be used as a function."""

    @property
    def __signature__(self) -> Signature:
        """That of the function with its settings spelled out, which notebooks show and complete."""
        from curate.python_api import gates

        named = signature(gates).parameters
        fields = {**LengthSettings.model_fields, **GateSettings.model_fields}
        settings = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=field.get_default(), annotation=field.annotation)
            for name, field in fields.items()
            if name not in named and name != "length"
        ]
        return Signature([*(one for one in named.values() if one.kind is not Parameter.VAR_KEYWORD), *settings])

    def __call__(self, *own: Any, **settings: Any) -> Any:
        """The built-in gates as steps, cheap ones first, then `own` gates: gates(my_gate, min_words=8, pii="flag").

        Settings are the keys of `[curate.gates]` and of its `length`; `must` and `must_not` map a name to a pattern.
        `help(curate.python_api.gates)` describes all of them.
        """
        from curate.python_api import gates

        return gates(*own, **settings)


sys.modules[__name__].__class__ = _Door
