"""Determines which columns of a source are used for what, from the spec or from the column names."""

from __future__ import annotations

import csv
import difflib
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from prompts import compiled
from schemas.errors import InputError
from schemas.spec import SeedSource
from synth.unreadable import column_named

if TYPE_CHECKING:
    from jinja2 import Template

MAX_CHARS = 100_000
"""A row with a longer text is a problem: few teachers accept it, and it nearly always means a broken file."""
MOST_COLUMNS = 16_384  # the limit of common spreadsheets
_NAMED = 20  # columns listed in a message
_HALF = re.compile("[\ud800-\udfff]")
_UNSEEN = {"Cf", "Cc", "Zs", "Zl", "Zp"}  # categories of invisible characters: joiners, direction marks, spaces


class SeedProblem(NamedTuple):
    """A problem or a note about one row. `code` is a stable word for tests and counts: `blank`, `duplicate`, `type`,
    `nul`, `surrogate`, `long`, `column`, `cells`, `json`, `role`, `turns`, `disliked` for a row that is not used;
    `bom`, `header`, `shape`, `lines` for something that was fixed or recognised."""

    where: str
    code: str
    detail: str

    @property
    def what(self) -> str:
        """Code and detail in one line."""
        return f"{self.code}: {self.detail}"


class Fault(NamedTuple):
    """Why a row or a cell is unusable; `code` and `detail` are those of `SeedProblem`."""

    code: str
    detail: str


Cells = Mapping[str, object]
"""A row: its cells by our names for the columns."""


class _Shape(NamedTuple):
    """A known row shape: our name for each column -> the names it may have in the file."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]] = {}


_SYSTEM = {"system": ("system",)}
_SIDES = _Shape("columns input and output", {"input": ("input",), "output": ("output",)}, _SYSTEM)
_BETTER, _WORSE = ("chosen", "preferred_output"), ("rejected", "non_preferred_output")
WORSE = "is worse"  # our name for the column of the rejected answer; not a name that a spec can contain
_ASKED = ("prompt", "question", "query", "conversations", "messages", "input")
PREFERENCES = ("instruction", *_ASKED, *_BETTER, *_WORSE, *_SYSTEM)
_ROWS = (
    _Shape(
        "preferences (instruction, chosen, rejected)",
        {"instruction": ("instruction",), "output": _BETTER, WORSE: _WORSE},
        {"input": ("input",), **_SYSTEM},
    ),
    _Shape("preferences (prompt, chosen, rejected)", {"input": _ASKED, "output": _BETTER, WORSE: _WORSE}, _SYSTEM),
    _Shape("preferences (chosen, rejected)", {"messages": _BETTER, WORSE: _WORSE}, _SYSTEM),
    _Shape("OpenAI chat (messages)", {"messages": ("messages",)}, _SYSTEM),
    _Shape("ShareGPT (conversations)", {"messages": ("conversations",)}, _SYSTEM),
    _Shape(
        "Alpaca (instruction, input, output)",
        {"instruction": ("instruction",), "output": ("output",)},
        {"input": ("input",), **_SYSTEM},
    ),
    _SIDES,
    _Shape("prompt and completion", {"input": ("prompt",), "output": ("completion", "response")}, _SYSTEM),
    _Shape("question and answer", {"input": ("question", "query"), "output": ("answer", "response")}, _SYSTEM),
    _Shape(
        "Dolly (instruction, context, response)",
        {"instruction": ("instruction",), "output": ("response",)},
        {"input": ("context",), **_SYSTEM},
    ),
)
_UNPAIRED = ("prompt", "completion", "label")  # TRL's unpaired preferences: the label of a bad completion is false
TOGETHER = "is of"  # our name for the column with a row's group; not a name that a spec can contain
LIKED = "is liked"  # our name for the label column; not a name that a spec can contain
_JOINED = _Shape("an input joined of columns, and output", {"output": ("output",)}, _SYSTEM)
_SHAPES = {
    "input": (_Shape("", {"text": ("text", "input")}),),
    "output": (_Shape("", {"text": ("text", "output")}),),
    "pair": _ROWS,
    "conversation": _ROWS,
}
_CHAT = next(shape for shape in _ROWS if shape.columns == {"messages": ("messages",)})


class Layout(NamedTuple):
    """Which columns of a source are read. `columns` maps our names to column indices; `needed` are the names without
    which a row cannot be used."""

    shape: str
    columns: Mapping[str, int]
    needed: frozenset[str]


def layout(
    columns: Sequence[str], source: SeedSource, where: str, notes: list[SeedProblem], *, objects: bool = True
) -> Layout:
    """Find what `source` needs among `columns`, whose names are at `where`. With `objects` a name may be a path into an
    object. An exact name wins; a difference in case or spaces is accepted and noted. Raises InputError for a missing
    column and for too many columns."""
    check_columns(columns, where)
    called, alike = _by(columns, str), _by(columns, _plain)
    for name in sorted(name for name, at in called.items() if name.strip() and len(at) > 1):
        notes.append(SeedProblem(where, "header", f"{len(called[name])} columns have the name '{name}'."))
    known = set(alike)
    shapes = _shapes(source)
    fitting = [shape for shape in shapes if _fits(shape, known)]
    others = [shape for shape in fitting if WORSE not in shape.columns]
    if any("output" in shape.columns for shape in others):  # with outputs, these two mean other things
        fitting = others
    shape = next(iter(fitting), _SIDES if _SIDES in shapes else shapes[-1])
    names = {**shape.columns, **{k: wanted for k, wanted in shape.optional.items() if not known.isdisjoint(wanted)}}
    names |= {name: (name,) for name in variables(source)}
    names |= {name: (column,) for name, column in source.columns.items()}
    names |= {"reference": (source.reference,)} if source.reference else {}
    names |= {TOGETHER: (source.group,)} if source.group else {}
    label = unpaired(columns) if source.imported else None
    names |= {LIKED: (label,)} if label and label != source.columns.get("output") else {}
    if source.imported and (
        worse := source.rejected or worse_than(names.get("output", names.get("messages", ())), columns)
    ):
        names |= {WORSE: (worse,)}
    places = {
        name: _place(called, alike, wanted, where, notes, source, objects, name) for name, wanted in names.items()
    }
    if source.imported:
        notes.append(SeedProblem(where, "shape", f"{shape.name}."))
    if source.kind == "input" and "output" in known and alike["output"][0] not in places.values():
        ways = 'add reference = "output" to compare answers with it, or kind = "pair" to train on it'
        notes.append(SeedProblem(where, "shape", f"the column 'output' is not read: {ways}."))
    needed = frozenset(shape.columns) & places.keys() - {WORSE, TOGETHER, *variables(source), *source.extra}
    return Layout(shape.name, places, needed)


def check_columns(columns: Sequence[str], where: str) -> None:
    """Raise InputError for too many columns, because each is compared with every known name."""
    if len(columns) > MOST_COLUMNS:
        raise InputError(
            f"has {len(columns):,} columns; at most {MOST_COLUMNS:,} can be read.",
            where=where,
            fix="Keep only the columns with the texts.",
        )


def some_of(names: Iterable[str]) -> str:
    """Quoted column names for a message, at most 20 of them."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - _NAMED:,} more" if len(quoted) > _NAMED else ""
    return f"{', '.join(quoted[:_NAMED])}{more}" if quoted else "none"


def _shapes(source: SeedSource) -> Sequence[_Shape]:
    """The shapes that are still possible under the spec; only one if the spec names a column of it."""
    shapes = _SHAPES[source.kind]
    if source.input is not None:
        return (_JOINED,) if source.imported else (_Shape("", {}),)
    if not source.imported:
        return shapes
    if "messages" in source.columns:
        return (_CHAT,)
    if {"input", "output"} & source.columns.keys():
        return (_SIDES,)
    return shapes


def unpaired(columns: Iterable[str]) -> str | None:
    """The label column, if the columns are those of TRL's unpaired preferences."""
    known = {_plain(column): column for column in columns}
    return known["label"] if known.keys() >= set(_UNPAIRED) else None


def worse_than(answers: Iterable[str], columns: Iterable[str]) -> str | None:
    """The column of the rejected answer, if a file has preferences; `answers` are possible names of the chosen one."""
    known = {_plain(column): column for column in columns}
    better = any(_plain(name) in _BETTER for name in answers)
    return next((known[name] for name in _WORSE if better and name in known), None)


def disliked(cells: Cells) -> Fault | None:
    """A fault for a row whose label marks its completion as one not to train on."""
    if LIKED not in cells or str(cells[LIKED]).strip().casefold() != "false":
        return None
    return Fault("disliked", "its label is false, which marks a bad completion in TRL's unpaired preferences.")


def _fits(shape: _Shape, known: set[str]) -> bool:
    return all(any(_plain(name) in known for name in names) for names in shape.columns.values())


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _by(columns: Sequence[str], of: Callable[[str], str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at, column in enumerate(columns):
        places.setdefault(of(column), []).append(at)
    return places


def _place(
    called: Mapping[str, Sequence[int]],
    alike: Mapping[str, Sequence[int]],
    wanted: Sequence[str],
    where: str,
    notes: list[SeedProblem],
    source: SeedSource,
    objects: bool,
    ours: str,
) -> int:
    for name in wanted:
        exact = called.get(name, ())
        hits = exact or alike.get(_plain(name), ())
        if len(hits) > 1:
            raise InputError(
                f"columns {' and '.join(str(at + 1) for at in hits)} have the same name '{name}'.",
                where=where,
                why="It is ambiguous which one is meant.",
                fix="Rename one of them.",
            )
        if hits and not exact:
            notes.append(SeedProblem(where, "header", f"the column '{_at(called, hits[0])}' was read as '{name}'."))
        if hits:
            return hits[0]
        if objects and (outer := name.partition(".")[0]) != name and len(called.get(outer, ())) == 1:
            return called[outer][0]  # an object, in which `inside` follows the rest of the path
    plain = {_plain(column): column for column in called if column.strip()}
    near = [plain[hit] for name in wanted for hit in difflib.get_close_matches(_plain(name), plain, n=1)]
    hint = f"Did you mean '{near[0]}'? " if near else ""
    example = near[0] if near else next(iter(plain.values()), "prompt")
    raise InputError(
        f"there is no column '{wanted[0]}'; there is: {some_of(plain.values())}.",
        where=where,
        fix=f"{hint}Name the column in its [[seeds]], as in {column_named(ours, example, source, variables(source))}.",
    )


def _at(called: Mapping[str, Sequence[int]], place: int) -> str:
    return next(name for name, at in called.items() if place in at)


def known_headers(cells: Iterable[str], source: SeedSource) -> int:
    """How many cells are names of columns that the source or one of its possible shapes needs."""
    wanted = {*_named(source).values(), *variables(source)}
    wanted |= {name for shape in _shapes(source) for names in shape.columns.values() for name in names}
    known = {_plain(name) for name in wanted}
    return sum(_plain(cell) in known for cell in cells)


def delimiter(header: str, source: SeedSource) -> str:
    """The separator that yields the most known column names, then the most cells; a comma if in doubt."""

    def rank(separator: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=separator), [])
        except csv.Error:  # a lone carriage return, which is quoted only under another separator
            return 0, 0
        return known_headers(cells, source), len(cells)

    return max(",;\t|", key=rank)


def variables(source: SeedSource) -> tuple[str, ...]:
    """The columns that the source's input template uses. Raises PromptError for an invalid template."""
    return tuple(sorted(_template(source.input)[1])) if source.input is not None else ()


@cache
def _template(text: str) -> tuple[Template, frozenset[str]]:
    template, used = compiled(text, "seeds.input")
    if not used:
        raise InputError("uses no column, so all inputs would be the same.", where=f"seeds.input = {text!r}")
    return template, frozenset(used)


def _by_value(compare: Callable[[Any, Any], bool]) -> Any:
    def of(self: _JsonText, other: object) -> bool:
        if isinstance(other, _JsonText):
            return compare(self.value, other.value)
        return compare(str(self) if isinstance(other, str) else self.value, other)

    return of


class _JsonText(str):
    """A JSON number or boolean in a template: rendered as text, but tested and compared by value, so that
    `{% if paid %}` works as expected. Compared with a string, it is a string."""

    __slots__ = ("value",)
    value: float

    @classmethod
    def of(cls, text: str, value: float) -> _JsonText:
        written = cls(text)
        written.value = value
        return written

    def __bool__(self) -> bool:
        return bool(self.value)

    __hash__ = str.__hash__
    __eq__, __ne__ = _by_value(operator.eq), _by_value(operator.ne)
    __lt__, __le__, __gt__, __ge__ = map(_by_value, (operator.lt, operator.le, operator.gt, operator.ge))


def joined(source: SeedSource, cells: Cells) -> str | Fault:
    """The input that the source's template renders for a row; a `blank` fault if all its columns are empty."""
    from jinja2 import TemplateError

    assert source.input is not None
    template, names = _template(source.input)
    values: dict[str, str] = {}
    for name in names:
        text = plain_text(cell := cells.get(name))
        if isinstance(text, Fault):
            return text
        values[name] = _JsonText.of(text, cell) if text and isinstance(cell, int | float) else text
    if not any(map(len, values.values())):
        return Fault("blank", f"there is no text in {', '.join(sorted(names))}.")
    try:
        return template.render(values)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Fault("template", f"{error}.")


def of_objects(source: SeedSource, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns that must contain objects, because the spec names a path into them."""
    return {name: column for name, column in columns.items() if _named(source).get(name, "").startswith(f"{column}.")}


def flat(objects: Mapping[str, str], cells: Cells) -> Fault | None:
    """A fault if a row has something other than an object in one of the columns from `of_objects`."""
    for name, column in objects.items():
        if not isinstance(cells[name], dict | None):
            return Fault("type", f"expected an object in '{column}'.")
    return None


def _named(source: SeedSource) -> dict[str, str]:
    others = {"reference": source.reference, WORSE: source.rejected, TOGETHER: source.group}
    return dict(source.columns) | {name: column for name, column in others.items() if column}


def paths_in(source: SeedSource) -> dict[str, list[str]]:
    """The paths in the spec, split into parts: `translation.en` leads into the column `translation`."""
    return {name: path.split(".") for name, path in _named(source).items() if "." in path}


def inside(paths: Mapping[str, Sequence[str]], cells: Cells) -> Cells | Fault:
    """The row with every path replaced by the value it leads to. A path through `null` is empty (`milestone.title` of
    an issue without a milestone); a list of one text, or of the same text repeated, becomes that text."""
    if not paths:
        return cells
    values = dict(cells)
    for name, (outer, *keys) in paths.items():
        for at, key in enumerate(keys if isinstance(values.get(name), dict) else ()):
            if (value := values[name]) is None:
                break
            if not isinstance(value, dict) or key not in value:
                there = ", ".join(map(repr, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
                return Fault("column", f"no '{key}' in {'.'.join([outer, *keys[:at]])}; there is: {there or 'none'}.")
            values[name] = value[key]
        if isinstance(held := values[name], list) and held and isinstance(held[0], str) and len({*map(str, held)}) == 1:
            values[name] = held[0]  # such as SQuAD's answers.text
    return values


def plain_text(cell: object) -> str | Fault:
    """The text of a cell that may also be empty, a number, a date or a time."""
    if cell is None or _is_nan(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    text = checked(str(cell) if isinstance(cell, int | float | Decimal | date | time) else cell)
    return "" if isinstance(text, Fault) and text.code == "blank" else text


def checked(cell: object, of: str = "") -> str | Fault:
    """The text of a cell, stripped, or why it cannot be used; `of` names the cell in messages."""
    if isinstance(cell, Fault):
        return cell
    part = f" in {of}" if of else ""
    cell = None if _is_nan(cell) else cell
    if cell is not None and not isinstance(cell, str):
        value = repr(cell)
        value = value if len(value) <= 40 else f"{value[:40]}..."
        return Fault("type", f"expected text{part}, found {type(cell).__name__} {value}.")
    text = (cell or "").strip()
    if not text[:1].isalnum() and all(unicodedata.category(character) in _UNSEEN for character in text):
        return Fault("blank", f"there is no text{part}.")
    if not text.isascii() and (half := _HALF.search(text)):
        return Fault("surrogate", f"character {half.start() + 1}{part} is half of a surrogate pair, which is not text.")
    if "\0" in text:
        return Fault("nul", f"character {text.index(chr(0)) + 1} is a NUL, which databases cannot store.")
    if len(text) > MAX_CHARS:
        return Fault("long", f"the text has {len(text):,} characters; the limit is {MAX_CHARS:,}.")
    return text


def _is_nan(cell: object) -> bool:
    """Whether a cell is NaN, which data frames use for an empty cell."""
    return isinstance(cell, float) and math.isnan(cell)
