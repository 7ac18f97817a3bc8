"""A spec for a file that a person has: looks at its columns and rows, and says what it takes them for, and why."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from pairsmith.own_records import is_record, schema_of
from prompts.languages import language_code
from schemas.errors import InputError
from schemas.labels import folded_label
from schemas.records import Json
from schemas.spec import SeedSource
from schemas.spec.task import RESERVED
from synth.columns import Cells, Fault, check_columns, plain_text, some_of
from synth.seed_rows import names_of, rows_of
from synth.turns import exchange

_LOOKED_AT = 10_000  # rows
_TEXT_WORDS = 3.0  # a column with so many words a cell on average holds text
_LONG_WORDS = 40.0  # a lone column of texts as long as these holds finished outputs
_HEADER_WORDS = 7  # a longer header is a row of a file without headers
_NAMED = 40  # columns that are not read
_PATHS = 8  # texts in objects, and columns, that are named
_CATEGORIES = 30  # most different values of a column that says something of many rows
# Names of columns in exports of help desks, forms and datasets, in the languages that we know them in.
_OUTPUT = """
output reply answer response completion target label category summary solution rewritten corrected translation chosen
resolution antwort lösung reponse réponse respuesta risposta kategorie klasse ergebnis ausgabe zusammenfassung
übersetzung catégorie categoria categoría etiqueta étiquette traduction traducción
"""
_REPLY = "reply answer response resolution antwort lösung reponse réponse respuesta risposta"
_INPUT = """
input prompt question query body message request text ticket instruction source frage nachricht anfrage
"""
SCHEMA = "schema.json"
_ALPACA = ("instruction", "input", "output", "system")
_HEAD = "subject title headline betreff titel sujet asunto oggetto"


class Column(NamedTuple):
    """What the rows looked at hold in one column; `name` is ours and fits a prompt. `objects`: JSON objects, as such or
    as texts that spell them; `nested`: some as such."""

    name: str
    header: str
    texts: tuple[str, ...]
    objects: bool = False
    nested: bool = False

    @property
    def filled(self) -> tuple[str, ...]:
        return tuple(text for text in self.texts if text)

    @property
    def words(self) -> float:
        return fmean(len(text.split()) for text in self.filled) if self.filled else 0.0

    @property
    def is_text(self) -> bool:
        return self.words >= _TEXT_WORDS

    def called(self, words: str) -> bool:
        return bool(set(words.split()) & set(re.split(r"[\W_]+", self.header.casefold())))

    @property
    def says_something(self) -> bool:
        """It has a few values that come back, so it is neither an id nor the same everywhere."""
        different = len(set(self.filled))
        return not self.objects and 1 < different <= _CATEGORIES and different <= len(self.filled) / 2


class Guess(NamedTuple):
    """What a file was taken for. `task` are keys of `[task]`, `settings` those of its `[[seeds]]`, `why` sentences, one
    for each guess. `spoken` are the texts that tell the language. `schema` is that of outputs which are records, for
    the file SCHEMA beside the spec."""

    task: dict[str, Any]
    kind: str
    settings: dict[str, Any]
    why: list[str]
    outputs: tuple[str, ...]
    spoken: tuple[str, ...]
    schema: Json | None = None


def guess(path: Path, kind: str = "") -> Guess:
    """Look at the first rows of a CSV or JSON file; `kind` is the kind of task that a person has named, for which a
    column of labels may be called anything. Raises InputError for a file that cannot be read or has no text."""
    guessed = _guess(path, kind)
    schema = schema_of(guessed.outputs) if guessed.kind == "pair" and kind in ("", "extract") else None
    if schema is None:
        return guessed
    why = f"every output is a JSON object, so they are records: {SCHEMA} has their keys and types, for you to check"
    return guessed._replace(task={"kind": "extract", "schema": SCHEMA}, schema=schema, why=[*guessed.why, why])


def _guess(path: Path, kind: str) -> Guess:
    names = names_of(path)
    check_columns(names, path.name)
    chat = next((name for name in names if name.casefold() in ("messages", "conversations")), None)
    rows = _rows(path, names) if names else []
    if not rows:
        raise InputError("has no rows.", where=path.name, fix="Write at least one row below the headers.")
    if chat:
        return _chat(chat, names, rows)
    columns = _columns(names, rows)
    if {"instruction", "output"} <= set(names):
        outputs = next(column.filled for column in columns if column.header == "output")
        why = ["it has the columns instruction and output, as Alpaca has", *_not_read(names, _ALPACA)]
        return Guess({"kind": "free"}, "pair", {}, why, outputs, outputs)
    guessed = _table(path, columns, kind)
    if guessed.kind != "pair":
        _rows(path, names, strict=True)
    if row := next((name for name in names if len(name.split()) > _HEADER_WORDS), None):
        guessed.why.append(f"the first line was taken for headers, and looks like a row: '{row[:40]}...'")
    return guessed


def columns_of(path: Path) -> list[Column]:
    """The columns of a CSV or JSON file with what their first rows hold. Raises InputError."""
    names = names_of(path)
    check_columns(names, path.name)
    return _columns(names, _rows(path, names)) if names else []


def _columns(names: Sequence[str], rows: Sequence[Cells]) -> list[Column]:
    columns = [_column(at, name, rows) for at, name in enumerate(names)]
    # Headers that differ in their signs alone have one name; the later one gets the number of its column.
    first = {column.name: at for at, column in reversed(list(enumerate(columns)))}
    return [c if first[c.name] == at else c._replace(name=f"{c.name}_{at + 1}") for at, c in enumerate(columns)]


def _rows(path: Path, names: Sequence[str], *, strict: bool = False) -> list[Cells]:
    """The first rows, under the numbers of their columns. A line that is not JSON is left out, as it is of rows that
    bring their outputs; with `strict` it raises InputError, as it does of others."""
    every = {f"c{at}": name for at, name in enumerate(names) if name.strip()}
    if not every:
        raise InputError("has no headers.", where=f"{path.name}:1", fix="Write a name above each column.")
    first, header = next(iter(every.items()))
    source = SeedSource(path=path.name, columns=every, input=f"{{{{ {first} }}}}")
    if not strict:  # an output that is the input: needed by no row, and none of them asks for it
        source = SeedSource(
            path=path.name, kind="pair", columns={**every, "output": header}, input=f"{{{{ {first} }}}}{{{{ output }}}}"
        )
    with ExitStack() as stack:
        rows = (row for _, row in rows_of(source, path.parent, None, [], stack))
        return [row for row in islice(rows, _LOOKED_AT) if not isinstance(row, Fault)]


def _column(at: int, header: str, rows: Sequence[Cells]) -> Column:
    name = re.sub(r"\W+", "_", header.strip().casefold()).strip("_") or f"column_{at + 1}"
    held = [row.get(f"c{at}") for row in rows]
    cells = (plain_text(json.dumps(cell, ensure_ascii=False) if isinstance(cell, dict) else cell) for cell in held)
    texts = tuple("" if isinstance(cell, Fault) else cell for cell in cells)
    spelt = [text for text in texts if text]
    nested = any(isinstance(cell, dict) for cell in held)
    objects = nested or (bool(spelt) and all(map(is_record, spelt)))
    return Column(f"c_{name}" if name[0].isdigit() else name, header, texts, objects, nested)


def _inside(columns: Sequence[Column]) -> str:
    """How a spec names the texts that stand in objects; empty where there are none."""
    paths = list(islice((path for column in columns if column.objects for path in _paths_in(column)), _PATHS))
    if not paths:
        return ""
    return f' Texts in objects are named by a path, columns = {{ text = "{paths[0]}" }}; there is: {", ".join(paths)}.'


def _paths_in(column: Column) -> Iterator[str]:
    for text in column.filled:
        with suppress(ValueError):  # a text among the objects
            return _paths(json.loads(text), column.header)
    return iter(())


def _paths(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str):
        yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from _paths(inner, f"{path}.{name}")


def _chat(column: str, names: Sequence[str], rows: Sequence[Cells]) -> Guess:
    at = names.index(column)
    conversations = [exchange({"messages": row.get(f"c{at}")}, several=True) for row in rows]
    usable = [one for one in conversations if not isinstance(one, Fault)]
    several = any(len([turn for turn in one.asked if turn.role != "system"]) > 1 for one in usable)
    turns = "some rows have several turns" if several else "every row is a question and its answer"
    outputs = tuple(one.answer for one in usable)
    why = [f"the column '{column}' holds chats; {turns}", *_not_read(names, (column, "system"))]
    return Guess({"kind": "reply"}, "conversation" if several else "pair", {}, why, outputs, outputs)


def _not_read(names: Sequence[str], read: Sequence[str]) -> list[str]:
    left = [name for name in names if name not in read and name.strip()]
    more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
    return [f"not read: {', '.join(left[:_NAMED])}{more}"] if left else []


def _table(path: Path, columns: Sequence[Column], wanted: str) -> Guess:
    texts = [column for column in columns if column.is_text and (not column.objects or column.called(_OUTPUT))]
    sides = {code: column for column in texts if (code := language_code(column.header))}
    if len(sides) == 2 and wanted in ("", "translate"):
        return _translation(sides, columns)
    output = next((column for column in columns if column.filled and column.called(_OUTPUT)), None)
    shown_by = "it is called so"
    if output is None and wanted == "extract":
        output = next((column for column in columns if column.objects), None)
        shown_by = "it holds JSON objects"
    if output is None and wanted == "classify":
        labels = [column for column in columns if column.says_something and not column.is_text]
        output = min(labels, key=lambda column: len(set(column.filled)), default=None)
        shown_by = "its values come back"
    inputs = [column for column in texts if column is not output]
    if not inputs and (output is None or output.nested):
        raise InputError(
            f"no column holds text; there is: {some_of(column.header for column in columns)}.",
            where=path.name,
            why=f"A column of text has {_TEXT_WORDS:g} words a row or more.",
            fix=f"Write the spec by hand: `pairsmith docs seeds` shows how.{_inside(columns)}",
        )
    if output is None or not inputs:
        return _one_text(max(texts or columns, key=lambda column: column.words), columns)
    # A head is called "ticket subject" as well: of those that are called an input, the longest is the body.
    body = max(inputs, key=lambda column: (column.called(_INPUT), column.words))
    heads = [column for column in columns if column.called(_HEAD) and column.filled and column is not body]
    kind, settings = settings_of([*heads, body], output, ())
    why = [f"'{output.header}' is the output: {shown_by} ({_size(output)})"]
    joined = " and ".join(repr(column.header) for column in (*heads, body))
    why.append(f"the input is {joined} ({_size(body)})" if heads else f"{joined} is the input ({_size(body)})")
    folded = {folded_label(label): label for label in sorted(set(output.filled), reverse=True)}
    task: dict[str, Any] = {"kind": "reply" if output.called(_REPLY) else "free"}
    if output.says_something and not output.is_text and len(folded) > 1:
        task = {"kind": "classify", "labels": sorted(folded.values())}
        why.append(f"'{output.header}' has {len(folded)} values that come back, so they are labels")
    prose = output.is_text and not output.filled[0].startswith(("{", "["))
    spoken = (output if prose else body).filled
    return _with_extra(Guess(task, kind, settings, why, output.filled, spoken), [output, body, *heads], columns)


def _translation(sides: dict[str, Column], columns: Sequence[Column]) -> Guess:
    """Two columns that are called as languages, the first translated into the second."""
    (language, source), (to, target) = sides.items()
    kind, settings = settings_of([source], target, ())
    why = [
        f"'{source.header}' and '{target.header}' are languages: the first ({_size(source)}) is translated into the "
        f"second ({_size(target)}); for the other direction swap them here, and language and to above"
    ]
    task = {"kind": "translate", "language": language, "to": to}
    return _with_extra(Guess(task, kind, settings, why, target.filled, source.filled), [source, target], columns)


def settings_of(
    inputs: Sequence[Column], output: Column | None, extra: Sequence[Column]
) -> tuple[Literal["input", "output", "pair"], dict[str, Any]]:
    """The kind and the keys of a `[[seeds]]` that reads these columns: several inputs are joined, `extra` stay with
    the row."""
    kind: Literal["input", "output", "pair"] = "input" if output is None else "pair" if inputs else "output"
    settings: dict[str, Any] = {}
    kept: dict[str, str] = {}
    if len(inputs) > 1:
        settings["input"] = "\n\n".join(f"{{{{ {_free(column)} }}}}" for column in inputs)
        # A header that is a name, in whichever case, needs no other one.
        kept |= {_free(c): c.header for c in inputs if _free(c) != c.header.casefold()}
    elif inputs:
        kept["input" if output else "text"] = inputs[0].header
    if output:
        kept["output" if inputs else "text"] = output.header
    kept |= {_free(column): column.header for column in extra}
    return kind, {**settings, "columns": kept}


def _free(column: Column) -> str:
    """Its name, or another one where prompts and sources call something of their own so."""
    return f"c_{column.name}" if column.name in RESERVED else column.name


def _one_text(text: Column, columns: Sequence[Column]) -> Guess:
    finished = text.words >= _LONG_WORDS or text.called(_OUTPUT)
    kind = "output" if finished else "input"
    what = "finished outputs: inputs are written for them" if finished else "inputs: outputs are written for them"
    why = [f"'{text.header}' holds {what} ({_size(text)})"]
    others = [repr(column.header) for column in columns if column.is_text and column is not text][:_PATHS]
    if others:
        why.append(f'if {" or ".join(others)} is its output, write kind = "pair" and name both as input and output')
    settings = {"columns": {"text": text.header}}
    guessed = Guess({"kind": "rewrite"}, kind, settings, why, text.filled if finished else (), text.filled)
    return _with_extra(guessed, [text], columns)


def _with_extra(guessed: Guess, used: Sequence[Column], columns: Sequence[Column]) -> Guess:
    """The guess with the columns beside those that are `used`: kept if they say something, else named as not read."""
    rest = [column for column in columns if column not in used]
    extra = [column for column in rest if column.says_something and column.name not in RESERVED]
    kept = {**guessed.settings["columns"], **{column.name: column.header for column in extra}}
    read = [column.header for column in (*used, *extra)]
    why = [f"'{c.header}' stays with every row and may be asked for in prompts: its values come back" for c in extra]
    why += _not_read([column.header for column in rest], read)
    return guessed._replace(settings={**guessed.settings, "columns": kept}, why=[*guessed.why, *why])


def _size(column: Column) -> str:
    return f"{column.words:.0f} words a row"


def task_name(folder: str) -> str:
    """The name of a folder as that of a task."""
    return re.sub(r"[^a-z0-9]+", "-", folder.casefold()).strip("-") or "my-task"


def spec_text(path: Path, guessed: Guess, task: str) -> str:
    """The spec for the file at `path`, which lies beside it."""
    imported = guessed.kind in ("pair", "conversation")
    seeds = [f"path = {_toml(path.name)}", f"kind = {_toml(guessed.kind)}"]
    seeds += [f"{key} = {_toml(value)}" for key, value in guessed.settings.items()]
    return "\n".join(
        [
            comment(f"Written by `pairsmith init --from {path.name}`. `pairsmith docs spec` describes every key."),
            "",
            "[task]",
            *(f"{key} = {_toml(value)}" for key, value in guessed.task.items()),
            f"name = {_toml(task)}",
            "# What the tuned model will be told, in production too: short, because training teaches the rest.",
            f'system = "{"Answer as our examples do." if imported else "Rewrite the input in the house style."}"',
            "# Replace this: what a good output is, in words that a stranger could check. The untuned model is told it",
            "# in the evaluation" + ("." if imported else ", and the teacher with every seed."),
            'style = "A good output is correct, complete and as long as the task asks."',
            *(() if "language" in guessed.task else (f'language = "{_language(guessed.spoken)}"',)),
            "",
            *(comment(f"{sentence[0].upper()}{sentence[1:]}.") for sentence in guessed.why),
            "[[seeds]]",
            *seeds,
            "",
            *(() if imported else _EXEMPLARS),
            *(_lengths(guessed.outputs) if guessed.outputs else ()),
            *(_room(guessed.outputs) if guessed.outputs else ()),
        ]
    )


_EXEMPLARS = (
    "# Two to four worked examples, shown to the teacher with every seed, as in",
    "# [[exemplars]]",
    '# input = "..."',
    '# output = "..."',
    "",
)


def _lengths(outputs: Sequence[str]) -> list[str]:
    """The bounds of the outputs that are there, with room on both sides."""
    words = sorted(len(output.split()) for output in outputs)
    bounds = f"min_words = {words[0] // 2}, max_words = {2 * words[-1]}, min_ratio = 0.0, max_ratio = 1000.0"
    return ["[curate.gates]", f"# The outputs have {words[0]} to {words[-1]} words.", f"length = {{ {bounds} }}", ""]


def answer_tokens(outputs: Sequence[str]) -> int:
    """So many tokens that each of these outputs is an answer: no token is shorter than a byte. What the setting is
    without a file, at most: an untuned model that does not end costs all of them, again and again."""
    longest = max((len(output.encode()) for output in outputs), default=0)
    return min(512, max(64, 32 * math.ceil(longest / 32)))


def _room(outputs: Sequence[str]) -> list[str]:
    room = f"max_tokens = {answer_tokens(outputs)}  # room for the longest of the outputs"
    return ["[evaluate.sampling]", "temperature = 0.7", "top_p = 0.95", room, ""]


def _language(texts: Sequence[str]) -> str:
    sample = " ".join(texts)[:20_000]
    if len(sample) < 200:
        return "en"
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # One of our own, which goes with the call: the library's would keep 70 MB in a server for as long as that runs.
    code = str(LanguageIdentifier.from_model_file(MODEL_FILE).classify(sample)[0])
    return code if len(code) == 2 else "en"  # "zxx" are texts in no language


def comment(sentence: str) -> str:
    """One line, whatever is in a header or in the name of a file: a line end in it would begin keys of the spec."""
    return "# " + re.sub(r"[\x00-\x1f\x7f]+", " ", sentence)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)
