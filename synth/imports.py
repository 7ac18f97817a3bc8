"""Existing pairs: rows that come with their outputs become pairs without a teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from prompts.answer_form import ANY_TEXT, AnswerForm
from schemas.errors import InputError, UsageError, checked_text, several
from schemas.python_terms import python_terms
from schemas.records import Imported, Pair, Seed, content_id
from schemas.spec import SeedSource, given
from schemas.wording import counted
from synth.slots import Kind, Name, Outcome, Slot
from synth.sources.columns import SeedProblem
from synth.sources.seeds import read_objects, read_seeds


@dataclass(frozen=True)
class Import:
    """Generates the single pair of a seed that has its own output.

    `system` applies to seeds without a system prompt; `form` determines how outputs are normalised.
    """

    name: ClassVar[Name] = "imported"
    takes: ClassVar[tuple[Kind, ...]] = ("pair", "conversation")
    samples = 1
    ledger = None
    system: str = ""
    form: AnswerForm = ANY_TEXT

    @cached_property
    def fingerprint(self) -> str:
        form = [] if self.form == ANY_TEXT else [list(self.form.labels.items()), self.form.schema]
        return content_id("scope", ["imported", self.system, *form])

    async def __call__(self, seed: Seed) -> list[Outcome]:
        pair = pair_of(seed, self.system, self.form)
        return [Outcome(Slot(self.fingerprint, seed.id, self.name, 0).filled(pair), pair)]


def pair_of(seed: Seed, system: str = "", form: AnswerForm = ANY_TEXT) -> Pair:
    """The pair in a seed of kind pair or conversation. `system` applies if the seed has no system prompt; a label or
    JSON output is normalised by `form`.

    Its origin names the file without the line, so that inserting a line above does not change the pair.
    """
    return Pair(
        seed_id=seed.id,
        input=seed.body,
        output=form.canonical(seed.reference or ""),
        system=system if seed.system is None else seed.system,
        origin=Imported(source=seed.file),
        turns=seed.turns,
        columns=seed.columns,
    )


@dataclass(frozen=True)
class Imports:
    """The result of `pairs`: the pairs in order, and a problem for each row that is not used."""

    pairs: tuple[Pair, ...]
    problems: tuple[SeedProblem, ...] = ()

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        words = Counter(problem.code for problem in self.problems)
        unused = ", ".join(f"{word} {count}" for word, count in words.items())
        return f"Imports({counted(len(self), 'pair', 'pairs')}{f', rows not used: {unused}' if unused else ''})"


@python_terms()
def pairs(
    rows: str | Path | Iterable[tuple[str, str] | Mapping[str, object]],
    *,
    kind: Literal["pair", "conversation"] = "pair",
    columns: Mapping[str, str] | None = None,
    input: str | None = None,
    system: str = "",
    format: str | None = None,
    encoding: str | None = None,
    split: str | None = None,
) -> Imports:
    """Read existing pairs for `curate` and `fine_tune`, from a file in any shape that `[[seeds]]` reads, or a list.

    A list entry is (input, output), or an object in one of these shapes. `columns` and `input`, and of a file `format`,
    `encoding` and `split`, are those of `[[seeds]]` (docs/seeds.md); `system` applies to rows without a system prompt.
    Raises InputError for a source that cannot be read at all, UsageError for invalid columns.
    """
    named: Any = columns
    if not isinstance(named, Mapping | None):
        fix = 'Map our names to those of the file: columns={"input": "question", "output": "answer"}.'
        raise UsageError(f"pairs: columns = {columns!r:.80} is not a mapping.", fix=fix)
    checked_text(system, "pairs: system")
    settings = {"kind": kind, "columns": dict(columns or {}), "input": input}
    of_file = {"format": format, "encoding": encoding, "split": split}
    if isinstance(rows, str | Path):
        path = Path(rows)
        if not path.exists() and not set("*?[") & set(path.name):
            raise InputError("there is no such file.", where=str(path.resolve()))
        path = path.resolve() if path.is_dir() else path  # of `.` the name is empty
        reading = read_seeds([given(SeedSource, "pairs", path=path.name, **settings, **of_file)], path.parent)
    else:
        source = given(SeedSource, "pairs", path="python", **settings)
        objects = [_as_object(number, row) for number, row in enumerate(several(rows, "rows", "pairs"), 1)]
        if not objects:
            raise UsageError("there are no pairs.", fix="Pass at least one (input, output).")
        reading = read_objects(source, objects)
    return Imports(tuple(pair_of(seed, system) for seed in reading.seeds), tuple(reading.problems))


def _as_object(number: int, row: object) -> object:
    """A row as JSON has it. A data frame may have numbers as names, and arrays of numpy where a file has lists."""
    if isinstance(row, Mapping):
        return {
            name if isinstance(name, str) else str(name): cell.tolist() if hasattr(cell, "tolist") else cell
            for name, cell in row.items()
        }
    row = row.tolist() if hasattr(row, "tolist") else row
    if not isinstance(row, tuple | list) or len(row) != 2:
        fix = 'Pass two texts, or a dict: {"input": ..., "output": ...}.'
        raise UsageError(f"pair {number} is {row!r:.80}, not (input, output).", fix=fix)
    return dict(zip(("input", "output"), row, strict=True))
