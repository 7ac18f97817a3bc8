"""What may not be trained on: the texts of the locked test split, their references, and files that the spec names.

Rows of training seeds are judged in curation (`curate.steps.decontaminate`); seeds and exemplars before anything is
paid for them (`clear_of_the_test`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from curate.near_duplicates import contaminated
from curate.pool import Pool
from curate.split import brings_output, seed_split
from curate.words import words
from schemas.errors import InputError
from schemas.kinds import KINDS
from schemas.records import Seed
from schemas.spec import SeedSource, Spec
from synth.columns import delimiter

_LEAST_WORDS = 4  # of a cell of a file: labels, ids and dates stand in every row


class HeldOut(NamedTuple):
    """Texts that no training row may repeat, what each is called in a reason, the ids of the test seeds, and whether a
    text with other numbers is another one (`TaskKind.equal_numbers`)."""

    texts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    seed_ids: frozenset[str] = frozenset()
    equal_numbers: bool = False


def held_out_of(spec: Spec, folder: Path, seeds: Iterable[Seed]) -> HeldOut:
    """What the seeds of the test split ask, their references where outputs of this kind of task do not recur by
    nature (`TaskKind.outputs_recur`), and every text of `curate.contamination.files`.

    Raises InputError, with file and line, for a file that cannot be read.
    """
    texts, names, ids = list[str](), list[str](), set[str]()
    for seed in seeds:
        if seed_split(seed, spec.split) != "test":
            continue
        ids.add(seed.id)
        texts.append(seed.asked)
        names.append(f"test seed {seed.id}")
        if seed.reference and not KINDS[spec.task.kind].outputs_recur:
            texts.append(seed.reference)
            names.append(f"the reference of test seed {seed.id}")
    for name in spec.curate.contamination.files:
        for place, text in _texts_of(folder / name, name):
            texts.append(text)
            names.append(place)
    return HeldOut(tuple(texts), tuple(names), frozenset(ids), KINDS[spec.task.kind].equal_numbers)


def with_inputs_of(pool: Pool, held: HeldOut) -> HeldOut:
    """`held`, and what accepted rows of its seeds ask in other words than these: a teacher writes the input of an
    excellent output, so what the test asks is known only once it is generated."""
    known = set(held.texts)
    rows = pool.rows(row.pair_id for row in pool.survivors() if row.seed_id in held.seed_ids)
    written = {row.pair.asked: row.pair.id for row in rows if row.pair and row.pair.asked not in known}
    names = (f"the input of test row {id_}" for id_ in written.values())
    return held._replace(texts=(*held.texts, *written), names=(*held.names, *names))


class Likeness(NamedTuple):
    """A text of ours that is like a held-out one, before a row is made of it."""

    number: int
    """The place among what was asked about."""
    sentence: str
    """`82 % like test seed 1f...`"""


def like_the_test(rows: Iterable[tuple[str, ...]], held: HeldOut, jaccard: float) -> list[Likeness]:
    """The rows (texts of seeds or exemplars) that repeat a held-out text, in order."""
    touches = contaminated(rows, held.texts, jaccard, held.equal_numbers) if held.texts else {}
    return [
        Likeness(number, f"{touch.similarity:.0%} like {held.names[touch.held_out]}")
        for number, touch in sorted(touches.items())
    ]


def clear_of_the_test(
    seeds: Sequence[Seed], spec: Spec, folder: Path
) -> tuple[list[Seed], list[tuple[Seed, Likeness]], list[Likeness]]:
    """The seeds that a teacher may be asked about; those that a curation would reject whatever came of them; and the
    exemplars (by number) that show the teacher a held-out text.

    Seeds of the test split, and pairs that exist already and cost nothing, are asked about in any case.
    """
    held, jaccard = held_out_of(spec, folder, seeds), spec.curate.duplicates.jaccard
    judged = [seed for seed in seeds if seed.id not in held.seed_ids and not brings_output(seed)]
    touched = like_the_test(((seed.asked,) for seed in judged), held, jaccard)
    left_out = [(judged[likeness.number], likeness) for likeness in touched]
    ids = {seed.id for seed, _ in left_out}
    exemplars = like_the_test(((one.input, one.output) for one in spec.exemplars), held, jaccard)
    return [seed for seed in seeds if seed.id not in ids], left_out, exemplars


def _texts_of(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Every text of at least four words in a file, with its place (`bench.jsonl:14`): lines of a text file, else all
    strings of a row of JSON, JSONL, CSV, TSV or Parquet."""
    try:
        for number, value in _rows_of(path):
            for text in _strings(value):
                if len(words(text)) >= _LEAST_WORDS:
                    yield f"{name}:{number}", text
    except FileNotFoundError:
        raise InputError(
            f"there is no file '{name}'.",
            where="curate.contamination.files",
            why="Rows that repeat its texts would be trained on.",
            fix="Paths are relative to the spec.",
        ) from None
    except (OSError, ValueError, csv.Error) as error:  # orjson's and the decoder's errors are ValueErrors
        raise InputError(f"'{name}' cannot be read: {error}.", where="curate.contamination.files") from None


def _rows_of(path: Path) -> Iterator[tuple[int, Any]]:
    ending = path.suffix.lower()
    if ending == ".parquet":
        import pyarrow.parquet as pq

        number = 0
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        return
    content = path.read_bytes()
    if ending == ".json":
        value = orjson.loads(content)
        yield from enumerate(value if isinstance(value, list) else [value], 1)
        return
    text = content.decode("utf-8-sig")
    if ending in (".csv", ".tsv"):
        yield from enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text, ending)), 1)
        return
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line.strip():
            yield number, orjson.loads(line) if ending in (".jsonl", ".ndjson") else line.rstrip("\n")


def _separator(text: str, ending: str) -> str:
    """What stands between the cells: with another one a row would be a single text, which no row of ours repeats."""
    if ending == ".tsv":
        return "\t"
    return delimiter(text.partition("\n")[0], SeedSource(path="-"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from _strings(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _strings(inside)
