"""Determines which columns of a source are used for what, from the spec or from the column names."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from schemas.errors import InputError, is_missing
from schemas.spec import SeedSource
from schemas.wording import listed
from synth.sources.errors import column_hint
from synth.sources.input_template import JsonText, TextList, as_texts, rendered, variables

MAX_CHARS = 100_000
"""A row with a longer text is a problem: few teachers accept it, and it nearly always means a broken file."""
MAX_COLUMNS = 16_384  # the limit of common spreadsheets
_MAX_LISTED = 20  # columns listed in a message
_SURROGATE = re.compile("[\ud800-\udfff]")
_INVISIBLE = {"Cf", "Cc", "Zs", "Zl", "Zp"}  # categories of invisible characters: joiners, direction marks, spaces


class SeedProblem(NamedTuple):
    """A problem or a note about one row. `code` is a stable word for tests and counts: `blank`, `duplicate`, `type`,
    `nul`, `surrogate`, `long`, `column`, `cells`, `json`, `role`, `turns`, `disliked` for a row that is not used;
    `bom`, `header`, `shape`, `lines`, `unnamed` for something that was fixed, recognised or left out."""

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
_INPUT_OUTPUT = _Shape("columns input and output", {"input": ("input",), "output": ("output",)}, _SYSTEM)
_BETTER, _WORSE = ("chosen", "preferred_output"), ("rejected", "non_preferred_output")
WORSE = "is worse"  # our name for the column of the rejected answer; not a name that a spec can contain
_QUESTION = ("prompt", "question", "query", "conversations", "messages", "input")
PREFERENCES = ("instruction", *_QUESTION, *_BETTER, *_WORSE, *_SYSTEM)
_PAIR_SHAPES = (
    _Shape(
        "preferences (instruction, chosen, rejected)",
        {"instruction": ("instruction",), "output": _BETTER, WORSE: _WORSE},
        {"input": ("input",), **_SYSTEM},
    ),
    _Shape("preferences (prompt, chosen, rejected)", {"input": _QUESTION, "output": _BETTER, WORSE: _WORSE}, _SYSTEM),
    _Shape("preferences (chosen, rejected)", {"messages": _BETTER, WORSE: _WORSE}, _SYSTEM),
    _Shape("OpenAI chat (messages)", {"messages": ("messages",)}, _SYSTEM),
    _Shape("ShareGPT (conversations)", {"messages": ("conversations",)}, _SYSTEM),
    _Shape(
        "Alpaca (instruction, input, output)",
        {"instruction": ("instruction",), "output": ("output",)},
        {"input": ("input",), "history": ("history",), **_SYSTEM},
    ),
    _INPUT_OUTPUT,
    _Shape("prompt and completion", {"input": ("prompt",), "output": ("completion", "response")}, _SYSTEM),
    _Shape("question and answer", {"input": ("question", "query"), "output": ("answer", "response")}, _SYSTEM),
    _Shape(
        "Dolly (instruction, context, response)",
        {"instruction": ("instruction",), "output": ("response",)},
        {"input": ("context",), **_SYSTEM},
    ),
)
# Columns by which TRL's unpaired preferences and Prodigy's annotations are recognised, and the one that marks bad rows.
_MARKED = (({"prompt", "completion", "label"}, "label"), ({"_task_hash", "answer"}, "answer"))
GROUP_COLUMN = "is of"  # our name for the column with a row's group; not a name that a spec can contain
LABEL_COLUMN = "is liked"  # our name for the label column; not a name that a spec can contain
_TEMPLATE_INPUT = _Shape("an input built from columns, and output", {"output": ("output",)}, _SYSTEM)
_SHAPES = {
    "input": (_Shape("", {"text": ("text", "input")}),),
    "output": (_Shape("", {"text": ("text", "output")}),),
    "pair": _PAIR_SHAPES,
    "conversation": _PAIR_SHAPES,
}
_CHAT_SHAPE = next(shape for shape in _PAIR_SHAPES if shape.columns == {"messages": ("messages",)})
# Columns that are read where they exist, and that rows of JSON may leave out.
_OPTIONAL = {name for shape in _PAIR_SHAPES for names in shape.optional.values() for name in names} | {*_WORSE, "label"}


class Layout(NamedTuple):
    """Which columns of a source are read: our names with their indices, and the names that every row must have."""

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
    by_name, by_key = _index_by(columns, str), _index_by(columns, _normalise)
    for name in sorted(name for name, at in by_name.items() if name.strip() and len(at) > 1):
        notes.append(SeedProblem(where, "header", f"{len(by_name[name])} columns have the name '{name}'."))
    known = set(by_key)
    shapes = _shapes(source)
    fitting = [shape for shape in shapes if _matches(shape, known)]
    others = [shape for shape in fitting if WORSE not in shape.columns]
    if any("output" in shape.columns for shape in others):  # next to an output, `chosen` means something else
        fitting = others
    if not fitting and not source.rejected and any(_matches(one, known | {*_WORSE}) for one in shapes):
        what = f"there is a better answer but no 'rejected' beside it; found: {quote_column_names(columns)}."
        fix = 'To learn from better answers alone, name the columns: columns = { input = "...", output = "chosen" }.'
        raise InputError(what, where=where, fix=fix)
    shape = next(iter(fitting), _INPUT_OUTPUT if _INPUT_OUTPUT in shapes else shapes[-1])
    names = {**shape.columns, **{k: wanted for k, wanted in shape.optional.items() if not known.isdisjoint(wanted)}}
    names |= {name: (name,) for name in variables(source)}
    names |= {name: (column,) for name, column in source.columns.items()}
    names |= {"reference": (source.reference,)} if source.reference else {}
    names |= {GROUP_COLUMN: (source.group,)} if source.group else {}
    label = unpaired(columns) if source.imported else None
    names |= {LABEL_COLUMN: (label,)} if label and label != source.columns.get("output") else {}
    if source.imported and (
        worse := source.rejected or find_rejected_column(names.get("output", names.get("messages", ())), columns)
    ):
        names |= {WORSE: (worse,)}
    places = {
        name: _locate(by_name, by_key, wanted, where, notes, source, objects, name) for name, wanted in names.items()
    }
    if source.imported:
        notes.append(SeedProblem(where, "shape", f"{shape.name}."))
    if source.kind == "input" and "output" in known and by_key["output"][0] not in places.values():
        ways = 'add reference = "output" to compare answers with it, or kind = "pair" to train on it'
        notes.append(SeedProblem(where, "shape", f"the column 'output' is not read: {ways}."))
    needed = frozenset(shape.columns) & places.keys() - {WORSE, GROUP_COLUMN, *variables(source), *source.extra}
    return Layout(shape.name, places, needed)


def optional_keys(row: Iterable[str], known: Container[str]) -> list[str]:
    """The keys of a row, other than the `known` ones, that a shape of pairs reads where they exist."""
    return [key for key in row if key not in known and _normalise(key) in _OPTIONAL]


def check_columns(columns: Sequence[str], where: str) -> None:
    """Raise InputError for too many columns, because each is compared with every known name."""
    if len(columns) > MAX_COLUMNS:
        raise InputError(
            f"has {len(columns):,} columns; at most {MAX_COLUMNS:,} can be read.",
            where=where,
            fix="Keep only the columns with the texts.",
        )


def quote_column_names(names: Iterable[str]) -> str:
    """Quoted column names for a message, at most 20 of them."""
    return listed([repr(name) for name in names], _MAX_LISTED) or "none"


def _shapes(source: SeedSource) -> Sequence[_Shape]:
    """The shapes that are still possible under the spec; only one if the spec names a column of it."""
    shapes = _SHAPES[source.kind]
    if source.input is not None:
        return (_TEMPLATE_INPUT,) if source.imported else (_Shape("", {}),)
    if not source.imported:
        return shapes
    if "messages" in source.columns:
        return (_CHAT_SHAPE,)
    if {"input", "output"} & source.columns.keys():
        return (_INPUT_OUTPUT,)
    return shapes


def unpaired(columns: Iterable[str]) -> str | None:
    """The column that marks bad rows, if the columns are those of TRL's unpaired preferences or of Prodigy."""
    known = {_normalise(column): column for column in columns}
    return next((known[label] for names, label in _MARKED if known.keys() >= names), None)


def find_rejected_column(answers: Iterable[str], columns: Iterable[str]) -> str | None:
    """The column of the rejected answer, if a file has preferences; `answers` are possible names of the chosen one."""
    known = {_normalise(column): column for column in columns}
    better = any(_normalise(name) in _BETTER for name in answers)
    return next((known[name] for name in _WORSE if better and name in known), None)


def dislike_fault(cells: Cells) -> Fault | None:
    """A fault for a row that is marked as one not to train on."""
    mark = str(cells.get(LABEL_COLUMN)).strip().casefold()
    if mark not in ("false", "reject", "ignore"):
        return None
    return Fault("disliked", f"it is marked '{mark}', as TRL and Prodigy mark a row that is not to be learned from.")


def _matches(shape: _Shape, known: set[str]) -> bool:
    return all(any(_normalise(name) in known for name in names) for names in shape.columns.values())


def _normalise(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()


def _index_by(columns: Sequence[str], of: Callable[[str], str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at, column in enumerate(columns):
        places.setdefault(of(column), []).append(at)
    return places


def _locate(
    by_name: Mapping[str, Sequence[int]],
    by_key: Mapping[str, Sequence[int]],
    headers: Sequence[str],
    where: str,
    notes: list[SeedProblem],
    source: SeedSource,
    objects: bool,
    ours: str,
) -> int:
    for name in headers:
        exact = by_name.get(name, ())
        hits = exact or by_key.get(_normalise(name), ())
        if len(hits) > 1:
            raise InputError(
                f"columns {' and '.join(str(at + 1) for at in hits)} have the same name '{name}'.",
                where=where,
                why="It is ambiguous which one is meant.",
                fix="Rename one of them.",
            )
        if hits and not exact:
            spelt = next(header for header, at in by_name.items() if hits[0] in at)
            notes.append(SeedProblem(where, "header", f"the column '{spelt}' was read as '{name}'."))
        if hits:
            return hits[0]
        if objects and (outer := name.partition(".")[0]) != name and len(by_name.get(outer, ())) == 1:
            return by_name[outer][0]  # an object, in which `follow` follows the rest of the path
    plain = {_normalise(column): column for column in by_name if column.strip()}
    near = [plain[hit] for name in headers for hit in difflib.get_close_matches(_normalise(name), plain, n=1)]
    hint = f"Did you mean '{near[0]}'? " if near else ""
    example = near[0] if near else next(iter(plain.values()), "prompt")
    raise InputError(
        f"there is no column '{headers[0]}'; found: {quote_column_names(plain.values())}.",
        where=where,
        fix=f"{hint}Name the column in its [[seeds]], as in {column_hint(ours, example, source, variables(source))}.",
    )


def count_known_headers(cells: Iterable[str], source: SeedSource) -> int:
    """How many cells are names of columns that the source or one of its possible shapes needs."""
    known_names = {*_in_spec(source).values(), *variables(source)}
    known_names |= {name for shape in _shapes(source) for names in shape.columns.values() for name in names}
    known = {_normalise(name) for name in known_names}
    return sum(_normalise(cell) in known for cell in cells)


def _template_value(name: str, cell: object) -> str | TextList | Fault:
    """The value of a column in a template. A list keeps its texts."""
    if isinstance(cell, list):
        texts = [_scalar(part) for part in cell]
        fault = next((text for text in texts if isinstance(text, Fault)), None)
        return fault or as_texts([text for text in texts if not isinstance(text, Fault)], name)
    return _scalar(cell)


def _scalar(cell: object) -> str | Fault:
    text = plain_text(cell)
    return JsonText.of(text, cell) if text and isinstance(text, str) and isinstance(cell, int | float) else text


def joined_list(cell: object) -> object:
    """A list of texts as one text, with commas; any other cell as it is."""
    value = _template_value("", cell) if isinstance(cell, list) else cell
    return ", ".join(filter(len, value)) if isinstance(value, TextList) else value


def render_input(source: SeedSource, cells: Cells) -> str | Fault:
    """The input that the source's template renders for a row; a `blank` fault if all its columns are empty."""
    values: dict[str, str | TextList] = {}
    for name in variables(source):
        value = _template_value(name, cells.get(name))
        if isinstance(value, Fault):
            return value
        values[name] = value
    if not any(map(len, values.values())):
        return Fault("blank", f"there is no text in {', '.join(values)}.")
    try:
        return rendered(source, values)
    except ValueError as error:
        return Fault("template", f"{error}.")


def object_columns(source: SeedSource, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns that must contain objects, because the spec names a path into them."""
    return {k: columns[k] for k, path in _in_spec(source).items() if path.startswith(f"{columns.get(k, path)}.")}


def parse_json(text: str | bytes) -> Any:
    """The JSON value in `text`.

    NaN and lone surrogates, which Python's own JSON writer produces although strict JSON has neither, are accepted too:
    they make one text unusable, not the file. Raises orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        with suppress(ValueError, RecursionError):
            text = text.decode() if isinstance(text, bytes) else text
            if "NaN" in text or "Infinity" in text or "\\ud" in text.lower():
                return json.loads(text)
        raise


def open_objects(objects: Mapping[str, str], cells: Cells) -> Cells | Fault:
    """The row with the objects in the columns from `object_columns`, which may be written as JSON. A Fault if one has
    something else."""
    opened = dict(cells) if objects else cells
    for name, column in objects.items():
        cell = cells[name]
        if isinstance(cell, str):
            with suppress(orjson.JSONDecodeError):
                cell = parse_json(cell) if cell.strip() else None
        if not isinstance(cell, dict | list | None):
            return Fault("type", f"expected an object in '{column}'.")
        opened = {**opened, name: cell}
    return opened


def _in_spec(source: SeedSource) -> dict[str, str]:
    others = (("reference", source.reference), (WORSE, source.rejected), (GROUP_COLUMN, source.group))
    return {**source.columns, **{name: column for name, column in others if column}}


def paths_in(source: SeedSource) -> dict[str, list[str]]:
    """The paths in the spec, split into parts: `translation.en` leads into the column `translation`."""
    return {name: path.split(".") for name, path in _in_spec(source).items() if "." in path}


def follow(paths: Mapping[str, Sequence[str]], cells: Cells) -> Cells | Fault:
    """The row with every path replaced by the value it leads to. A number is a place in a list, counted from 0. A path
    through `null` is empty (`milestone.title` of an issue without a milestone), and so is one to a place behind the end
    of a list."""
    values = dict(cells)
    for name, (outer, *keys) in paths.items():
        is_followed = isinstance(cell := values.get(name), dict) or (isinstance(cell, list) and keys[0].isdecimal())
        for at, key in enumerate(keys if is_followed else ()):
            if (value := values[name]) is None:
                break
            if isinstance(value, list) and key.isdecimal():
                values[name] = value[int(key)] if int(key) < len(value) else None
                continue
            if not isinstance(value, dict) or key not in value:
                there = ", ".join(map(repr, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
                return Fault("column", f"no '{key}' in {'.'.join([outer, *keys[:at]])}; found: {there or 'none'}.")
            values[name] = value[key]
    return values


def without_single_lists(cells: Cells) -> Cells:
    """The row with every list of one text, or of the same text repeated, replaced by that text, such as SQuAD's
    answers.text, or doccano's label."""
    lists = [(name, cell) for name, cell in cells.items() if isinstance(cell, list) and cell]
    if not lists:
        return cells
    ones = {name: cell[0] for name, cell in lists if isinstance(cell[0], str) and len({*map(str, cell)}) == 1}
    return {**cells, **ones} if ones else cells


def plain_text(cell: object) -> str | Fault:
    """The text of a cell that may also be empty, a number, a date or a time."""
    if is_missing(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    text = check_text(str(cell) if isinstance(cell, int | float | Decimal | date | time) else cell)
    return "" if isinstance(text, Fault) and text.code == "blank" else text


def check_text(cell: object, of: str = "") -> str | Fault:
    """The text of a cell, stripped, or why it cannot be used; `of` names the cell in messages."""
    if isinstance(cell, Fault):
        return cell
    if isinstance(cell, str) and cell.isascii() and "\0" not in cell and len(cell) <= MAX_CHARS:
        text = cell.strip()
        if text[:1].isalnum():
            return text  # the usual case
    part = f" in {of}" if of else ""
    cell = None if is_missing(cell) else cell
    if cell is not None and not isinstance(cell, str):
        value = repr(cell)
        value = value if len(value) <= 40 else f"{value[:40]}..."
        return Fault("type", f"expected text{part}, found {type(cell).__name__} {value}.")
    text = (cell or "").strip()
    if not text[:1].isalnum() and all(unicodedata.category(character) in _INVISIBLE for character in text):
        return Fault("blank", f"there is no text{part}.")
    if not text.isascii() and (half := _SURROGATE.search(text)):
        return Fault("surrogate", f"character {half.start() + 1}{part} is half of a surrogate pair, which is not text.")
    if "\0" in text:
        return Fault("nul", f"character {text.index(chr(0)) + 1} is a NUL, which databases cannot store.")
    if len(text) > MAX_CHARS:
        return Fault("long", f"the text has {len(text):,} characters; the limit is {MAX_CHARS:,}.")
    return text
