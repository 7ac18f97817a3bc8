"""What the first rows of a table that a person has hold in its columns."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from curate.words import SIGNS, plain
from pairsmith.header_words import LABELS
from pairsmith.own_records import is_record
from schemas.errors import InputError
from schemas.labels import different_labels, folded_label
from schemas.spec import SeedSource
from synth.columns import Cells, Fault, check_columns, inside, plain_text
from synth.columns import paths_in as paths_in_source
from synth.seed_rows import names_of, rows_of
from synth.turns import turns_in, turns_of

LOOKED_AT = 10_000  # rows
TEXT_WORDS = 3.0  # a column with so many words a cell on average holds text
CATEGORIES = 30  # most different values of a column that says something of many rows
_OFTEN, _LABELS = 5, 300  # times that each of more values comes back on average, and the most, where they are labels
_ONCE = 10  # one row in so many may have a label of its own, where most labels come once
_BARE = re.compile(r"(?=\D*\d)(?:[!-~]+|[\d\s.,:/+-]+)")
_BETWEEN = re.compile(rf"(?:[^\w{SIGNS}]|_)+")  # names in a header


@cache
def _names(listed: str) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """Listed names: words, phrases between blanks, and what stands in a script that parts no words."""
    from curate.gates.words import count_words

    every = [plain(name.replace("_", " ")) for name in listed.split()]
    phrases = tuple(f" {name} " for name in every if " " in name)
    alone = tuple(name for name in every if " " not in name and count_words(name) > 1)
    return frozenset(every), phrases, alone


class Column(NamedTuple):
    """What the rows looked at hold in one column; `name` is ours and fits a prompt. `words`: of a filled cell on
    average, where three characters are one if words are not parted. `objects`: JSON objects, as such or as texts that
    spell them; `nested`: some as such."""

    name: str
    header: str
    texts: tuple[str, ...]
    words: float
    objects: bool = False
    nested: bool = False

    @property
    def filled(self) -> tuple[str, ...]:
        return tuple(text for text in self.texts if text)

    @property
    def is_text(self) -> bool:
        return self.words >= TEXT_WORDS

    def called(self, listed: str) -> bool:
        """Whether one of the listed names stands in the header."""
        names, phrases, alone = _names(listed)
        header = plain(self.header)
        parts = [part for part in _BETWEEN.split(header) if part]
        spaced = f" {' '.join(parts)} "
        return not names.isdisjoint(parts) or any(n in spaced for n in phrases) or any(n in header for n in alone)

    @property
    def says_something(self) -> bool:
        """It has a few values that come back, so it is neither an id nor the same everywhere."""
        different = len(set(self.filled))
        return not self.objects and 1 < different <= CATEGORIES and different <= len(self.filled) / 2

    @property
    def is_bare(self) -> bool:
        """It holds numbers, ids or times, which say nothing to who reads them alone."""
        return all(map(_BARE.fullmatch, self.filled))

    @property
    def is_category(self) -> bool:
        """It says a thing of many rows in a word or two: it may be what a classifier tells, of hundreds of labels too
        where each comes back often. A list to which many rows add a value that comes once has no end, unless it is
        called as labels are."""
        if self.objects or self.is_text:
            return False
        different, rows = len(different_labels(self.filled)), len(self.filled)
        once = sum(times == 1 for times in Counter(map(folded_label, self.filled)).values())
        is_open = 2 * once > different and once > rows / _ONCE and not self.called(LABELS)
        return not is_open and 1 < different <= min(rows / 2, max(CATEGORIES, min(_LABELS, rows / _OFTEN)))


def columns_of(path: Path, encoding: str | None = None) -> list[Column]:
    """The columns of a CSV or JSON file with what their first rows hold. Raises InputError."""
    names = names_of(path, encoding)
    check_columns(names, path.name)
    return columns_in(names, first_rows(path, names, encoding)) if names else []


def columns_in(names: Sequence[str], rows: Sequence[Cells]) -> list[Column]:
    columns = [_column(at, name, rows) for at, name in enumerate(names)]
    # Headers that differ in their signs alone have one name; the later one gets the number of its column.
    first = {column.name: at for at, column in reversed(list(enumerate(columns)))}
    return [c if first[c.name] == at else c._replace(name=f"{c.name}_{at + 1}") for at, c in enumerate(columns)]


def first_rows(
    path: Path, names: Sequence[str], encoding: str | None = None, *, strict: bool = False, behind: int = 0
) -> list[Cells]:
    """The first rows, or those `behind` so many, under the numbers of their columns. A line that is not JSON is left
    out, as it is of rows that bring their outputs; with `strict` it raises InputError, as it does of others."""
    every = {f"c{at}": name for at, name in enumerate(names) if name.strip()}
    if not every:
        raise InputError("has no headers.", where=f"{path.name}:1", fix="Write a name above each column.")
    first, header = next(iter(every.items()))
    source = SeedSource(path=path.name, encoding=encoding, columns=every, input=f"{{{{ {first} }}}}")
    if not strict:  # an output that is the input: needed by no row, and none of them asks for it
        columns, both = {**every, "output": header}, f"{{{{ {first} }}}}{{{{ output }}}}"
        source = source.model_copy(update={"kind": "pair", "columns": columns, "input": both})
    with ExitStack() as stack:
        looked_at = list(islice(rows_of(source, path.parent, None, [], stack), behind, behind + LOOKED_AT))
    paths = paths_in_source(source)  # of a header with a dot, as numbers of labels have for their names
    parts = (row if isinstance(row, Fault) else inside(paths, row) for _, row in looked_at)
    rows = [row for row in parts if not isinstance(row, Fault)]
    faults = ((number, row) for number, row in looked_at if isinstance(row, Fault) and row.code != "blank")
    if not rows and not behind and (fault := next(faults, None)):
        number, (code, detail) = fault
        raise InputError(f"none of its rows can be used; the first: {code}: {detail}", where=f"{path.name}:{number}")
    return rows


def _column(at: int, header: str, rows: Sequence[Cells]) -> Column:
    from curate.gates.words import count_words

    parts = "".join(letter if f"a{letter}".isidentifier() else " " for letter in header.casefold()).split()
    name = "_".join(parts).strip("_") or f"column_{at + 1}"
    held = [turns_in(cell) or cell for cell in (row.get(f"c{at}") for row in rows)]
    texts = tuple("" if isinstance(text := plain_text(_spelt(cell)), Fault) else text for cell in held)
    spelt = [text for text in texts if text]
    nested = any(isinstance(cell, dict) for cell in held)
    objects = nested or (bool(spelt) and all(map(is_record, spelt)))
    words = fmean((2 * len(text.split()) + count_words(text)) / 3 for text in spelt) if spelt else 0.0
    return Column(name if name.isidentifier() else f"c_{name}", header, texts, words, objects, nested)


def _spelt(cell: object) -> object:
    """A cell as a text: what a list of turns says, an object as JSON, anything else as it is."""
    turns = turns_of(cell) if isinstance(cell, list) else None
    if isinstance(turns, list):
        return "\n\n".join(turn.content for turn in turns)
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, dict) else cell


def inner_columns(column: Column) -> list[Column]:
    """The texts that stand in a column's objects, as columns that a spec names by their paths."""
    held = [json.loads(text) if is_record(text) else None for text in column.texts]
    paths = dict.fromkeys(path for value in held for path in paths_in(value, ""))
    cells = [{f"c{at}": _at(value, path) for at, path in enumerate(paths)} for value in held]
    return [_column(at, f"{column.header}{path}", cells) for at, path in enumerate(paths)]


def _at(value: object, path: str) -> object:
    for name in path.split(".")[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def paths_in(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str):
        yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from paths_in(inner, f"{path}.{name}")


def language_of(texts: Sequence[str]) -> str:
    """The two letters of the language that these texts are in together; en where they are too few to tell, or no
    language is likelier than all others together, as of lists of names and of products."""
    sample = " ".join(texts)[:20_000]
    if len(sample.encode()) < 200:
        return "en"
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    from curate.gates.language import relatives

    # One of our own, which goes with the call: the library's would keep 70 MB in a server for as long as that runs.
    ranked = dict(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).rank(sample))
    code = str(next(iter(ranked)))
    is_sure = sum(ranked.get(other, 0.0) for other in relatives(code)) > 0.5
    return code if is_sure and len(code) == 2 else "en"  # "zxx" are texts in no language
