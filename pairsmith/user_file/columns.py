"""Inspects the columns of a user's table by its first rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from curate.words import SIGNS, plain
from pairsmith.user_file.header_words import COMPOUNDS, GROUP, ID, LABELS, MODEL
from pairsmith.user_file.record_schema import is_record
from pairsmith.user_file.values import are_references
from schemas.errors import InputError
from schemas.labels import distinct_labels, label_counts
from schemas.spec import SeedSource
from schemas.wording import counted
from synth.sources.columns import Cells, Fault, SeedProblem, check_columns, follow, plain_text, without_single_lists
from synth.sources.columns import paths_in as paths_in_source
from synth.sources.csv_rows import Rows
from synth.sources.rows import read_column_names, rows_of
from synth.sources.turns import as_json, extract_turns, parse_turns

LOOKED_AT = 10_000  # rows that are inspected: half of them the first ones
_MOST = 50_000_000  # characters of these rows; with longer rows, fewer are inspected
TEXT_WORDS = 3.0  # a column with at least this many words per cell on average is text
CATEGORIES = 30  # a column that carries information has at most this many distinct values
_MAX_COMPARED, _COMPARED_ROWS = 200, 500  # columns that are compared each with each other, and rows of each
# a column of labels may have up to _MAX_LABELS distinct values if each occurs at least _OFTEN times on average
_OFTEN, _MAX_LABELS = 5, 300
_ONCE_PER = 10  # at most one row in this many may have a label of its own
_CONSTANT = 3  # rows with the same value
_MIN_GROUPS = 10  # a column that says which rows belong together has at least this many distinct values
_BEFORE_END = 4  # letters in front of the last word of a compound
_CASES = ("".join(filter(case, map(chr, range(0x530)))) for case in (str.islower, str.isupper))  # to Cyrillic
_CAMEL = re.compile("(?<=[{}])(?=[{}])".format(*_CASES))
_BARE = re.compile(r"(?=\D*\d)(?:[!-~]+|[\d\s.,:/+-]+)")
_WORD = re.compile(r"\w+")
_SEPARATORS = re.compile(rf"(?:[^\w{SIGNS}]|_)+")  # separates the words of a header


@cache
def _names(listed: str) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The words of a list, its phrases between spaces, its entries in scripts that do not separate words or, as Korean,
    join the words of a name, and those that end compounds."""
    from curate.gates.words import count_words

    words = [plain(name.replace("_", " ")) for name in listed.split()]
    phrases = tuple(f" {name} " for name in words if " " in name)
    alone = tuple(name for name in words if " " not in name and (count_words(name) > 1 or "가" <= name[0] <= "힣"))
    ends = tuple(plain(name) for name in listed.split() if name in COMPOUNDS)
    return frozenset(words), phrases, alone, ends


class Column(NamedTuple):
    """What the rows read so far contain in one column. `name` is a safe name for prompts. `words` is the average number
    of words per filled cell; if words are not separated by spaces, three characters count as one. `objects`: cells are
    JSON objects, or strings that contain them; `nested`: some are actual objects. `reference`: they are dates, contacts
    or other values that mean nothing as a text. `first` is the first cell that is not empty, as JSON if it is no text.
    `turns`: they are turns of a chat."""

    name: str
    header: str
    texts: tuple[str, ...]
    words: float
    objects: bool = False
    nested: bool = False
    reference: bool = False
    first: str = ""
    turns: bool = False

    @property
    def filled(self) -> tuple[str, ...]:
        return tuple(text for text in self.texts if text)

    @property
    def is_text(self) -> bool:
        return self.words >= TEXT_WORDS and not self.reference

    @property
    def why_unusable(self) -> str:
        """Why it contains no text, in brackets; empty if it does."""
        if self.filled:
            return ""
        return " (too long, or no text)" if self.first.startswith('"') else " (lists, or empty)"

    @property
    def is_constant(self) -> bool:
        """At least three rows have the same value."""
        return len(self.filled) >= _CONSTANT and len(set(self.filled)) == 1

    def called(self, listed: str) -> bool:
        """Whether the header contains one of the listed names."""
        names, phrases, alone, ends = _names(listed)
        header = plain(_CAMEL.sub(" ", self.header))
        parts = [part for part in _SEPARATORS.split(header) if part]
        spaced = f" {' '.join(parts)} "
        if not names.isdisjoint(parts) or any(n in spaced for n in phrases) or any(n in header for n in alone):
            return True
        return any(part.endswith(end) and len(part) >= len(end) + _BEFORE_END for part in parts for end in ends)

    @property
    def is_informative(self) -> bool:
        """It has a few recurring values, so it is neither an id nor constant."""
        different = len(set(self.filled))
        described = 1 < different <= CATEGORIES and different <= len(self.filled) / 2
        return described and not self.objects and not self.reference

    @property
    def is_bare(self) -> bool:
        """It contains only numbers, ids or times, which mean nothing on their own."""
        return all(map(_BARE.fullmatch, self.filled))

    @property
    def is_category(self) -> bool:
        """It describes many rows in a word or two, so it may be the label of a classifier, with up to hundreds of
        values if each recurs often. A column in which many values occur only once is open-ended and is no category,
        unless its header names labels."""
        if self.objects or ((self.is_text or self.reference) and not self.called(LABELS)):
            return False
        counts, rows = label_counts(self.filled), len(self.filled)
        different = len(counts)
        if self.is_text and different > min(CATEGORIES, rows / _OFTEN):  # labels of several words
            return False
        once = sum(times == 1 for times in counts.values())
        is_open = 2 * once > different and once > rows / _ONCE_PER and not self.called(LABELS)
        return not is_open and 1 < different <= min(rows / 2, max(CATEGORIES, min(_MAX_LABELS, rows / _OFTEN)))


def columns_of(path: Path, encoding: str | None = None) -> list[Column]:
    """The columns of a CSV or JSON file with what their first rows contain. Raises InputError."""
    names = read_column_names(path, encoding)
    check_columns(names, path.name)
    return columns_in(names, first_rows(path, names, encoding)) if names else []


def columns_in(names: Sequence[str], rows: Sequence[Cells]) -> list[Column]:
    columns = [_column(at, name, rows) for at, name in enumerate(names)]
    # Headers that differ only in punctuation get the same name; later ones get the number of their column as a suffix.
    first = {column.name: at for at, column in reversed(list(enumerate(columns)))}
    return [c if first[c.name] == at else c._replace(name=f"{c.name}_{at + 1}") for at, c in enumerate(columns)]


def first_rows(
    path: Path,
    names: Sequence[str],
    encoding: str | None = None,
    *,
    strict: bool = False,
    spread: bool = False,
    notes: list[SeedProblem] | None = None,
) -> list[Cells]:
    """The first rows, with cells keyed by column number; with `spread`, half of them from the whole file. A line that
    is not JSON is skipped, as for rows with outputs; with `strict` it raises InputError, as for other rows. Columns of
    the same name are not read. What was noticed about the columns is added to `notes`, and with `spread` whether rows
    were left out (`sampled`)."""
    notes = [] if notes is None else notes
    times = Counter(names)
    named = {f"c{at}": name for at, name in enumerate(names) if name.strip() and times[name] == 1}
    if not named:
        fix = "Write a name of its own above each column, in a single line."
        raise InputError("has no column with a name of its own.", where=f"{path.name}:1", fix=fix)
    first, header = next(iter(named.items()))
    source = SeedSource(path=path.name, encoding=encoding, columns=named, input=f"{{{{ {first} }}}}")
    if not strict:  # read as pairs whose output equals the input: no row needs it, so no row is refused for lacking one
        columns, both = {**named, "output": header}, f"{{{{ {first} }}}}{{{{ output }}}}"
        source = source.model_copy(update={"kind": "pair", "columns": columns, "input": both})
    with ExitStack() as stack:
        every = rows_of(source, path.parent, None, notes, stack, names)
        rows_read = _spread(every, path.name, notes) if spread else list(_first(every, LOOKED_AT, _MOST))
    paths = paths_in_source(source)  # for headers with a dot, whose parts are the keys of objects
    parts = (row if isinstance(row, Fault) else follow(paths, row) for _, row in rows_read)
    rows = [without_single_lists(row) for row in parts if not isinstance(row, Fault)]
    faults = ((number, row) for number, row in rows_read if isinstance(row, Fault) and row.code != "blank")
    if not rows and (fault := next(faults, None)):
        number, (code, detail) = fault
        raise InputError(f"none of its rows can be used; the first: {code}: {detail}", where=f"{path.name}:{number}")
    return rows


def _spread(rows: Rows, name: str, notes: list[SeedProblem]) -> list[tuple[int, Cells | Fault]]:
    """The first rows, which show what belongs together, and as many at equal distances among the others, because a file
    may be sorted by its labels."""
    first, others, step = list(_first(rows, LOOKED_AT // 2, _MOST // 2)), list[tuple[int, Cells | Fault]](), 1
    size = 0
    for at, row in enumerate(rows):
        if at % step == 0:
            others.append(row)
            size += _size(row)
        if len(others) > LOOKED_AT // 2 or (size > _MOST // 2 and len(others) > 1):
            others, step = others[::2], 2 * step
            size = sum(map(_size, others))
    if step > 1:
        notes.append(SeedProblem(name, "sampled", "only some rows were inspected."))
    return first + others


def _first(rows: Rows, count: int, size: int) -> Rows:
    """The first `count` rows, or fewer that reach `size`."""
    for row in islice(rows, count):
        yield row
        size -= _size(row)
        if size <= 0:
            return


def _size(row: tuple[int, Cells | Fault]) -> int:
    """About how many characters a row has."""
    _, cells = row
    if isinstance(cells, Fault):
        return 0
    return sum(len(cell if isinstance(cell, str) else repr(cell)) for cell in cells.values())


def _column(at: int, header: str, rows: Sequence[Cells]) -> Column:
    from curate.gates.words import count_words

    parts = "".join(letter if f"a{letter}".isidentifier() else " " for letter in header.casefold()).split()
    name = "_".join(parts).strip("_") or f"column_{at + 1}"
    cells = [row.get(f"c{at}") for row in rows]
    turns = [extract_turns(cell) or cell for cell in cells]
    texts = tuple("" if isinstance(text := plain_text(_cell_text(cell)), Fault) else text for cell in turns)
    spelt = [text for text in texts if text]
    nested = any(isinstance(cell, dict) for cell in turns)
    objects = nested or (bool(spelt) and all(map(is_record, spelt)))
    spaced = [_spaced(cell) or text for cell, text in zip(turns, texts, strict=True) if text]
    words = fmean((2 * len(text.split()) + count_words(text)) / 3 for text in spaced) if spaced else 0.0
    name = name if name.isidentifier() else f"c_{name}"
    first = next(iter(spelt), "") or next(
        (json.dumps(cell, ensure_ascii=False, default=str) for cell in cells if cell), ""
    )
    of_chats = any(turn is not cell for turn, cell in zip(turns, cells, strict=True))
    return Column(name, header, texts, words, objects, nested, are_references(spelt), first, of_chats)


def _cell_text(cell: object) -> object:
    """A cell as text: the contents of a list of turns, an object as the JSON it is read as, anything else unchanged."""
    turns = parse_turns(cell) if isinstance(cell, list) else None
    if isinstance(turns, list):
        return "\n\n".join(turn.content for turn in turns)
    if isinstance(cell, dict) and not isinstance(text := as_json(cell), str):
        return _spaced(cell)  # raises RecursionError for one that is nested too deeply
    return text if isinstance(cell, dict) else cell


def _spaced(cell: object) -> str:
    """An object as JSON with blanks between its values, whose words are those of the values; '' for anything else."""
    return json.dumps(cell, ensure_ascii=False, default=str) if isinstance(cell, dict) else ""


def labels_of(columns: Iterable[Column]) -> Column | None:
    """The column that a classifier would predict: among recurring values, those of people before a model's, words
    before bare codes, then the fewest values."""
    labels = (column for column in columns if column.is_category)
    return min(labels, key=lambda c: (c.called(MODEL), c.is_bare, len(distinct_labels(c.filled))), default=None)


def without_annotated(columns: Sequence[Column]) -> list[Column]:
    """The columns without copies of another one to which annotations were added, such as `[time : nine am]` (MASSIVE):
    the words of the other one, in the same order, and a few recurring words more, in rows with more brackets. All
    columns are returned if there are too many to compare each with each other."""
    if len(columns) > _MAX_COMPARED:
        return list(columns)
    first = [(column.texts[:_COMPARED_ROWS], sum(map(len, column.texts))) for column in columns]
    longer = [[other for other, less in first if less < size] for _, size in first]
    return [
        column
        for column, (texts, _), others in zip(columns, first, longer, strict=True)
        if not any(_annotates(texts, other) for other in others)
    ]


def _annotates(annotated: Sequence[str], texts: Sequence[str]) -> bool:
    added, rows = set[str](), 0
    for marked, text in zip(annotated, texts, strict=True):
        if not (marked and text):
            continue
        rows += 1
        rest = iter(words := _WORD.findall(marked))
        if not all(word in rest for word in _WORD.findall(text)):
            return False
        more = Counter(words) - Counter(_WORD.findall(text))
        if more and not set(marked) & set("[]<>{}()|") - set(text):
            return False
        added |= more.keys()
        if len(added) > CATEGORIES:
            return False
    return 0 < len(added) <= rows / 2


def inner_columns(column: Column) -> list[Column]:
    """The texts inside a column's objects, as columns named by the paths that at least a quarter of the objects
    have. Keys that are data, such as ids, are none."""
    records = [json.loads(text) if is_record(text) else None for text in column.texts]
    times = Counter(path for value in records for path in paths_in(value, ""))
    least = len(column.filled) / 4
    paths = [path for path, rows in times.items() if rows >= least]
    cells = [{f"c{at}": _at(value, path) for at, path in enumerate(paths)} for value in records]
    return [_column(at, f"{column.header}{path}", cells) for at, path in enumerate(paths)]


def _at(value: object, path: str) -> object:
    inner = value_at(value, path.split(".")[1:])
    return _only_text(inner) if isinstance(inner, list) else inner


def value_at(value: object, path: Iterable[str]) -> object:
    """What a path leads to inside objects; None if there is nothing. A number is a place in a list."""
    for name in path:
        if isinstance(value, list) and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _only_text(values: list[object]) -> object:
    """The text of a list of one text, or of the same text repeated."""
    return without_single_lists({"": values})[""] if values and isinstance(values[0], str) else None


def paths_in(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) or (isinstance(value, list) and _only_text(value) is not None):
        yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from paths_in(inner, f"{path}.{name}")
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield from paths_in(value[0], f"{path}.0")


def find_group(columns: Sequence[Column]) -> Column | None:
    """The column that says which rows belong together, such as `customer_id`: its header consists of words for that,
    and its values recur but are more than a handful, which would be labels and too few for a test. Of several, the one
    with the fewest values, which contain the groups of the others."""
    fitting = [column for column in columns if _names_groups(column.header) and _has_groups(column)]
    return min(fitting, key=lambda column: len(set(column.filled)), default=None)


def _names_groups(header: str) -> bool:
    words = {part for part in _SEPARATORS.split(plain(_CAMEL.sub(" ", header))) if part}
    allowed, needed = _words_of_groups()
    return words <= allowed and not words.isdisjoint(needed)


@cache
def _words_of_groups() -> tuple[set[str], set[str]]:
    """The words that a header of groups may have, and those of which it has one."""
    groups, ids = ({plain(name) for name in listed.replace("_", " ").split()} for listed in (GROUP, ID))
    return groups | ids, groups | {word for word in ids if len(word) > 2 and word.startswith(tuple(groups))}


def _has_groups(column: Column) -> bool:
    """If one value has most of the rows, such as `guest` or `0`, it stands for rows that belong to nothing."""
    counts, rows = Counter(column.filled), len(column.filled)
    recur = _MIN_GROUPS <= len(counts) < rows and max(counts.values()) <= rows / 2
    return recur and not column.objects and not column.is_text


def size_of(*columns: Column) -> str:
    """The average number of words in a row of these columns together."""
    rows = max(len(column.filled) for column in columns)
    words = sum(column.words * len(column.filled) for column in columns) / max(1, rows)
    return f"{counted(round(words), 'word', 'words')} per row"
