"""The synchronous Python API of curation, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate import curation
from curate import gates as gates_package
from curate.gates import gates_for
from curate.pool import Pool
from curate.steps import NamedStep, Step, best, duplicates, each, scored
from schemas import progress_line
from schemas.blocking import run
from schemas.errors import UsageError, checked_text, several
from schemas.identity import random_sort_key
from schemas.python_terms import python_terms
from schemas.records import Imported, Pair, Seed
from schemas.spec import GateSettings, LengthSettings, Pattern, TaskSettings, given
from schemas.spec.section import no_setting
from schemas.store import Store
from schemas.store.shared import reader, shared
from synth.generation import Generation

_SOURCE = "python"
_READ = 2_400  # rows that are read for what imported ones have in common
_FACTORIES: dict[str, object] = {"best": best, "duplicates": duplicates, "each": each, "scored": scored}
_FILE_HINT = "To read a file, use `pairs(FILE)`."


@python_terms()
def curate(
    rows: Generation | Pool | Iterable[Pair | tuple[str, str]], steps: Sequence[Step], *, progress: bool = True
) -> Pool:
    """The pool after every step has judged the rows that the steps before it left.

    `rows` are the result of `synth.generate`, a pool, or pairs; a tuple (input, output) counts as a pair. Verdicts on
    single rows of a generation are stored in its store and not computed again. Raises UsageError and StoreError.
    """
    uncalled: Any = gates_package
    listed_steps = list(steps) if isinstance(steps, Iterable) else [steps]  # an iterator can be read once only
    if uncalled in listed_steps:
        raise UsageError("steps contains `gates` itself.", fix="Call it, and unpack its list: [*gates(), ...].")
    uncalled_names = (name for name, makes in _FACTORIES.items() if any(makes is one for one in listed_steps))
    if factory := next(uncalled_names, ""):
        raise UsageError(f"steps contains `{factory}` itself.", fix=f"Call it: [{factory}(...)].")
    if not isinstance(steps, Iterable):
        raise UsageError(f"steps is a single step, {steps!r:.80}, not a list of steps.", fix="Write [step].")
    if any(isinstance(step, list | tuple) for step in listed_steps):
        raise UsageError("steps contains a list of steps.", fix="`gates` returns a list: write [*gates(...), ...].")
    with ExitStack() as stack:
        shown = stack.enter_context(progress_line.shown(silent=not progress))
        kept: Store | None = None
        if isinstance(rows, Generation):
            kept = stack.enter_context(shared(rows.store))
            # The pool reads its texts on demand, after the writer has been closed.
            pool = Pool.read(reader(rows.store), rows.fingerprints, rows.seed_ids, forward_n=rows.forward_n)
        elif isinstance(rows, Pool):
            pool = rows
        else:
            listed = several(rows, "rows", "pairs, a pool or the result of generate", _FILE_HINT)
            pool = Pool.of(_pair(row, number) for number, row in enumerate(listed, 1))
        return run(curation.curate(pool, _beside_imported(pool, listed_steps), kept, shown))


def _beside_imported(pool: Pool, steps: Sequence[Step]) -> list[Step]:
    """`steps` with the built-in gates as they are beside the imported rows of a pool, of which a sample is read."""
    makers = {step.beside for step in steps if isinstance(step, NamedStep) and step.beside}
    ids = sorted((row.pair_id for row in pool.survivors()), key=random_sort_key)[:_READ] if makers else ()
    pairs = (row.pair for row in pool.rows(ids, verdicts=False))
    seeds = [
        Seed(kind="pair", text=pair.input, reference=pair.output, source=_SOURCE)
        for pair in pairs
        if pair and pair.origin.by == "imported"
    ]
    rebuilt = {maker: maker(seeds) for maker in makers} if seeds else {}
    return [
        rebuilt[step.beside][step.id.by] if isinstance(step, NamedStep) and step.beside in rebuilt else step
        for step in steps
    ]


@python_terms()
def gates(
    *own: Callable[[Pair], Any],
    style: str = "",
    language: str | bool = "en",
    must: Mapping[str, str] | None = None,
    must_not: Mapping[str, str] | None = None,
    **settings: Any,
) -> list[NamedStep]:
    """The built-in gates as steps, cheap ones first, then `own` gates.

    `settings` are the keys of `[curate.gates]` and of its `length`: min_words, max_words, min_ratio, max_ratio.
    `repetition=False` leaves out that gate, `language=False` the language gate. `must` and `must_not` map a name to a
    pattern of the output. Text that `style` itself or many imported rows contain is not held against an output. Raises
    UsageError for an invalid setting.
    """
    if isinstance(language, bool):
        settings["language"], language = language, "en"
    checked_text(style, "gates: style"), checked_text(language, "gates: language")
    bounds = {name: settings.pop(name) for name in LengthSettings.model_fields if name in settings}
    if unknown := sorted(settings.keys() - GateSettings.model_fields):
        raise no_setting("gates", unknown[0], [*LengthSettings.model_fields, *GateSettings.model_fields])
    if bounds:
        settings["length"] = given(LengthSettings, "gates", **bounds)
    patterns = {"must": _patterns(must), "must_not": _patterns(must_not)}
    checked = given(GateSettings, "gates", **patterns, **settings)
    task = TaskSettings.model_construct(name=_SOURCE, style=style, language=language)

    def beside(seeds: Sequence[Seed]) -> dict[str, NamedStep]:
        return {gate.by: replace(each(gate), beside=beside) for gate in gates_for(task, checked, Path(), seeds=seeds)}

    return [*beside(()).values(), *map(each, own)]


def _patterns(given_: object) -> tuple[Pattern, ...]:
    if not isinstance(given_, Mapping | None):
        fix = r'Give each pattern a name: must={"ends": r"\.\Z"}.'
        raise UsageError(f"gates: a pattern has no name: {given_!r:.80}.", fix=fix)
    return tuple(
        given(Pattern, f"gates: the pattern {name}", name=name, pattern=pattern)
        for name, pattern in (given_ or {}).items()
    )


def _pair(row: Pair | tuple[str, str], number: int) -> Pair:
    if isinstance(row, Pair):
        return row
    if not isinstance(row, tuple | list) or len(row) != 2 or not all(isinstance(text, str) for text in row):
        hints = {str: _FILE_HINT, dict: "To read objects, use `pairs(ROWS)`."}
        fix = next((hint for kind, hint in hints.items() if isinstance(row, kind)), None)
        raise UsageError(f"row {number} is neither a Pair nor (input, output): {row!r:.200}.", fix=fix)
    input, output = row
    seed = Seed(kind="input", text=input, source=f"{_SOURCE}:{number}")
    return Pair(seed_id=seed.id, input=input, output=output, system="", origin=Imported(source=seed.source))
