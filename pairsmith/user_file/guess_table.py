"""Guesses which columns of a user's table are input and output, and explains why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pairsmith.user_file.chats import refuse_single_messages
from pairsmith.user_file.columns import TEXT_WORDS, Column, find_group, inner_columns, labels_of, paths_in, size_of
from pairsmith.user_file.doubts import (
    hint_of_rivals,
    hint_of_unanswered,
    hint_to_join,
    hints_of_lists,
    hints_of_transcripts,
)
from pairsmith.user_file.header_words import AID, INPUT, LABELS, MODEL, OUTPUT, REMARK, THREAD
from pairsmith.user_file.languages import detect_language
from pairsmith.user_file.roles import (
    LONG_WORDS,
    answers_inside,
    find_inputs,
    find_output,
    is_alike,
    is_of_queries,
    is_reply,
    is_system,
    likeness_to_body,
    main_text,
    names_in,
    parts_of,
    side_of,
    sides_inside,
    sides_of,
)
from schemas.errors import InputError
from schemas.kinds import KINDS
from schemas.labels import distinct_labels
from schemas.records import Json
from schemas.spec.task import RESERVED
from schemas.wording import listed
from synth.sources.columns import quote_column_names, unpaired
from synth.sources.turns import parse_role

_TRANSLATION = "if one is a translation of the other, start a new project of the kind `translate` (`--kind translate`)"
_REWRITE = (
    "outputs use the words of their inputs: if they say the same as these, set task.kind to 'rewrite', whose gates also"
    " compare numbers, names and negations"
)
_LISTED = 8  # paths and columns that are listed by name
_MOST = 0.7  # share of the words of an object, with its keys, that its only text has
_COPY_RATIO = 50  # outputs that equal their input are intended if they are at least one in this many


class Guess(NamedTuple):
    """How a file is read. `task` holds keys of `[task]`, `settings` those of its `[[seeds]]`, and `why` one sentence
    for each guess. `spoken` are the texts used to detect the language. `asked` is the input of each output, if known.
    `schema` is the schema of outputs that are records, to be written to SCHEMA next to the spec."""

    task: dict[str, Any]
    kind: str
    settings: dict[str, Any]
    why: list[str]
    outputs: tuple[str, ...]
    spoken: tuple[str, ...]
    schema: Json | None = None
    asked: tuple[str, ...] = ()

    @property
    def copies(self) -> int:
        """How many outputs equal their input, for example sentences that needed no correction. 0 if they are so few
        that they may be mistakes, or if the kind of task does not check it."""
        same = sum(map(str.__eq__, self.outputs, self.asked)) if self.asked else 0
        minds = KINDS[self.task["kind"]].defaults.get("curate.gates.echo", True)
        return same if minds and same > 1 and same * _COPY_RATIO >= len(self.outputs) else 0


def guess_table(path: Path, columns: Sequence[Column], wanted: str) -> Guess:
    """Guess how the columns of the file `path` are read, for the kind of task `wanted`, or any if it is empty. Raises
    InputError if no column contains text, and for files of single messages."""
    if wanted != "classify":
        refuse_single_messages(path, columns)
    columns, texts = _with_texts_inside(columns, wanted)
    output, reason, rivals = find_output(columns, texts, wanted)
    if output is None and wanted in ("", "free", "reply") and (answers := answers_inside(columns)):
        output, reason, columns = answers, "chosen by the name of its column", [*columns, answers]
    sides = _languages(columns, texts, output, wanted)
    if len(sides) > 1 and wanted in ("", "translate"):
        return _translation(sides, columns)
    inputs, columns = find_inputs(columns, texts, output)
    if not inputs and (output is None or output.nested):
        raise InputError(
            f"no column contains text; its columns: {quote_column_names(column.header for column in columns)}.",
            where=path.name,
            why=f"A text column has at least {TEXT_WORDS:g} words per row.",
            fix=f"Write the spec by hand (`pairsmith docs seeds`).{_path_hint(columns)}",
        )
    if output is None or not inputs:
        return _one_text(path, main_text(inputs or texts or columns), columns)
    return _pairs(inputs, output, rivals, columns, reason, wanted)


def _with_texts_inside(columns: Sequence[Column], wanted: str) -> tuple[Sequence[Column], Sequence[Column]]:
    """The columns, and those of them that are texts. All texts may be inside objects, as in traces of a model: these
    texts then replace the columns of objects."""
    texts = [column for column in columns if column.is_text and (not column.objects or column.called(OUTPUT))]
    if any(c.filled and not c.objects and (c.is_text or c.called(INPUT)) for c in columns):
        return columns, texts
    inner = [one for column in columns if column.nested for one in inner_columns(column)]
    inner_texts = [column for column in inner if column.is_text]
    inside = find_output(inner, inner_texts, wanted)[0]
    is_alone = len(inner_texts) == 1 and all(c is inner_texts[0] or c.is_bare or c.reference for c in inner)
    is_clear = not inside.called(MODEL) if inside else is_alone and not names_in(columns)
    if is_clear and all(map(_is_one_text, texts)):
        return [*(column for column in columns if column not in texts), *inner], inner_texts
    return columns, texts


def _is_one_text(record: Column) -> bool:
    """Whether objects contain a text and little else, such as who wrote it."""
    inner = inner_columns(record)
    return len(inner) == 1 or [c.words >= _MOST * record.words for c in inner if c.is_text] == [True]


def _languages(
    columns: Sequence[Column], texts: Sequence[Column], output: Column | None, wanted: str
) -> dict[str, Column]:
    """The columns named after languages, by language; in a translation, else the two that are in different ones."""
    sides = sides_of(texts)
    if len(sides) == 1 and not wanted and output in (None, *sides.values()):
        sides = _with_other_language(sides, texts)
    if not sides and (output is None or output.nested or wanted == "translate"):
        sides = sides_inside(columns)
    if len(sides) > 1 or wanted != "translate":
        return sides
    sides = {}
    for column in sorted((c for c in texts if not c.called(AID)), key=lambda c: (c is output, not c.called(INPUT))):
        sides.setdefault(detect_language(column.filled), column)
    return sides if len(sides) == 2 else {}


def _with_other_language(sides: dict[str, Column], texts: Sequence[Column]) -> dict[str, Column]:
    """The column named after the language that it is in, after the only other text of the table, if that is in another
    language."""
    ((code, named),) = sides.items()
    others = [
        column
        for column in texts
        if column is not named and not (column.is_informative or column.called(f"{AID} {REMARK}"))
    ]
    source = detect_language(others[0].filled, "") if len(others) == 1 else ""
    is_clear = source not in ("", code) and detect_language(named.filled, "") == code
    return {source: others[0], code: named} if is_clear else sides


def _pairs(
    inputs: Sequence[Column],
    output: Column,
    rivals: Sequence[Column],
    columns: Sequence[Column],
    reason: str,
    wanted: str,
) -> Guess:
    """Rows with one or several inputs and their output, which was chosen for a `reason`, over its `rivals`."""
    body = side_of(inputs, "user") if parse_role(output.header) else None
    body = body or max(inputs, key=likeness_to_body)
    parts = parts_of(body, columns, output, rivals)
    kind, settings = seed_settings(parts, output, ())
    why = [f"'{output.header}' is the output: {reason} ({size_of(output)})"]
    joined = " and ".join(repr(column.header) for column in parts)
    sentence = "the input is {} ({})" if parts[1:] else "{} is the input ({})"
    why.append(sentence.format(joined, size_of(*parts)))
    task: dict[str, Any] = {"kind": "reply" if is_reply(output) else "free"}
    values = distinct_labels(output.filled)
    if not wanted and output.is_category and len(values) > 1:
        task = {"kind": "classify", "labels": values}
    prose = output.is_text and not output.filled[0].startswith(("{", "["))
    texts_of_body = (output if prose else body).filled
    rows = zip(output.texts, *(column.texts for column in parts), strict=True)
    asked = tuple("\n".join(texts) for answer, *texts in rows if answer)
    guessed = Guess(task, kind, settings, why, output.filled, texts_of_body, asked=asked)
    languages = [detect_language(c.filled) for c in (body, output)] if task["kind"] == "free" and prose else []
    if len(set(languages)) > 1:
        why.append("the input is in {} and the output in {}: {}".format(*languages, _TRANSLATION))
    elif languages and not is_of_queries(output) and is_alike(body, output):
        why.append(_REWRITE)
    others = [column for column in inputs if column not in (*parts, *rivals) and not is_system(column)]
    if task["kind"] == "classify" and others:
        names = " or ".join(repr(column.header) for column in [*parts, *others][:_LISTED])
        why.append(
            f"if the text in {names} is the output, start a new project of the kind `rewrite` (`--kind rewrite`)"
        )
    why += hint_of_unanswered(output, body) + hints_of_lists(output) + hint_of_rivals(output, rivals)
    why += hint_to_join(others)
    return _with_extra(guessed, [output, *parts], columns)


def _translation(sides: dict[str, Column], columns: Sequence[Column]) -> Guess:
    """Columns named after languages, the first translated into the second."""
    (language, source), (to, target), *others = sides.items()
    kind, settings = seed_settings([source], target, ())
    why = [
        f"'{source.header}' ({language}, {size_of(source)}) is translated into '{target.header}' ({to}, "
        f"{size_of(target)}); for the other direction, swap them here and swap language and to above"
    ]
    if others:
        names = listed([f"'{column.header}' ({code})" for code, column in others], _LISTED)
        why.append(f"other languages: {names}. A model translates into one: name its column and `to`")
    task = {"kind": "translate", "language": language, "to": to}
    return _with_extra(Guess(task, kind, settings, why, target.filled, source.filled), [source, target], columns)


def seed_settings(
    inputs: Sequence[Column], output: Column | None, extra: Sequence[Column]
) -> tuple[Literal["input", "output", "pair"], dict[str, Any]]:
    """The kind and the keys of a `[[seeds]]` that reads these columns. Several inputs are joined; `extra` columns are
    kept with the row."""
    kind: Literal["input", "output", "pair"] = "input" if output is None else "pair" if inputs else "output"
    settings: dict[str, Any] = {}
    kept: dict[str, str] = {}
    if len(inputs) > 1:
        settings["input"] = "\n\n".join(f"{{{{ {_safe_name(column)} }}}}" for column in inputs)
        # A header that is already a safe name, in any case, needs no other name.
        kept |= {_safe_name(c): c.header for c in inputs if _safe_name(c) != c.header.casefold()}
    elif inputs:
        kept["input" if output else "text"] = inputs[0].header
    if output:
        kept["output" if inputs else "text"] = output.header
    kept |= {_safe_name(column): column.header for column in extra}
    return kind, {**settings, "columns": kept}


def _safe_name(column: Column) -> str:
    """The column's name, with a prefix if it collides with a reserved name in prompts and sources."""
    return f"c_{column.name}" if column.name in RESERVED else column.name


def _one_text(path: Path, text: Column, columns: Sequence[Column]) -> Guess:
    if text.turns:
        raise InputError(
            f"'{text.header}' contains turns of chats, but no column contains their answers.",
            where=path.name,
            why="An input is a text, and a chat to learn from ends with its answer.",
            fix="Write the text alone into each row, or the whole chat as `messages` (`pairsmith docs seeds`).",
        )
    finished = text.words >= LONG_WORDS or text.called(OUTPUT)
    kind = "output" if finished else "input"
    what = "finished outputs, for which inputs are generated" if finished else "inputs, for which outputs are generated"
    parts = [text] if finished else parts_of(text, columns, None)
    joined, contains = " and ".join(repr(column.header) for column in parts), "contain" if parts[1:] else "contains"
    why = [f"{joined} {contains} {what} ({size_of(*parts)})", *hints_of_transcripts(text)]
    around = [c for c in columns if c.objects and any(part.header.startswith(f"{c.header}.") for part in parts)]
    others = [column for column in columns if column.is_text and column not in (*parts, *around)][:_LISTED]
    others = others or (names_in(columns)[:_LISTED] if finished else [])
    if others:
        names = " or ".join(repr(column.header) for column in others)
        why.append(f"if {names} is its input or output, make the two a pair: one the input, one the output")
        if not finished:
            why += hint_to_join(others)
        one = others[0] if len(others) == 1 and others[0].is_text else text
        if detect_language(one.filled) != detect_language(text.filled):
            why.append(_TRANSLATION)
    settings = seed_settings(parts, None, ())[1] if parts[1:] else {"columns": {"text": text.header}}
    guessed = Guess({"kind": "rewrite"}, kind, settings, why, text.filled if finished else (), text.filled)
    return _with_extra(guessed, parts, columns)


def _with_extra(guessed: Guess, used: Sequence[Column], columns: Sequence[Column]) -> Guess:
    """The guess including the columns that are not `used`: informative ones are kept, others are listed as not read."""
    label = unpaired(column.header for column in columns)
    rest = [column for column in columns if column not in used and column.header != label]
    if guessed.kind == "pair":  # also read: a row's system prompt, and objects that contain the input or output
        records = [c for c in rest if c.objects and any(one.header.startswith(f"{c.header}.") for one in used)]
        rest = [c for c in rest if c not in records and not is_system(c)]
    group = find_group(rest)
    extra = [c for c in rest if c.is_informative and c.name not in RESERVED and c is not group]
    if len(extra) > _LISTED:  # the answers of a survey, for example: a spec should stay readable
        extra = [column for column in extra if not column.is_bare][:_LISTED]
    kept = {**guessed.settings["columns"], **{column.name: column.header for column in extra}}
    read = [column.header for column in (*used, *extra, *filter(None, [group]))]
    why = [f"'{c.header}' is kept with every row for use in prompts, because its values recur" for c in extra]
    if group:
        size = f"{len(set(group.filled)):,} values in {len(group.filled):,} rows"
        why.append(
            f"rows with the same '{group.header}' ({size}) belong together: they get the same split and count as one"
            " input in the evaluation. If they are independent, leave out this grouping (`group`)"
        )
    labels = labels_of(c for c in extra if guessed.kind != "pair" or c.called(LABELS))
    if labels and guessed.task["kind"] != "classify":
        tells = f"if the model should predict '{labels.header}', the task is to classify"
        why.append(f"{tells}: start a new project of the kind `classify` (`--kind classify`)")
    if label and label not in read and guessed.kind == "pair":
        why.append(
            f"rows whose '{label}' is false, reject or ignore are left out: TRL and Prodigy mark bad rows this way"
        )
    if guessed.kind == "input" and (thread := next((c for c in columns if c.called(THREAD) and _recurs(c)), None)):
        why.append(
            f"if each row is one message of a conversation ('{thread.header}'), half of these inputs may be answers:"
            " group them into one list, `messages` (`pairsmith docs seeds`)"
        )
    times = Counter(column.header for column in columns)  # `hint_of_names` speaks of names that occur several times
    why += not_read((f"{c.header}{c.why_unusable}" for c in rest if c.header.strip() and times[c.header] == 1), read)
    settings = {**guessed.settings, "columns": kept, **({"group": group.header} if group else {})}
    return guessed._replace(settings=settings, why=[*guessed.why, *why])


def _recurs(column: Column) -> bool:
    return not column.is_text and 1 < len(set(column.filled)) < len(column.filled)


def _path_hint(columns: Sequence[Column]) -> str:
    """How a spec names texts inside objects; empty if there are none."""
    paths = list(islice((path for column in columns if column.objects for path in _paths_in(column)), _LISTED))
    if not paths:
        return ""
    inner = [one for column in columns if column.nested for one in inner_columns(column)]
    longest = max(inner, key=lambda column: column.words).header if inner else paths[0]
    return f' Name a text inside an object by its path, columns = {{ text = "{longest}" }}. Paths: {", ".join(paths)}.'


def _paths_in(column: Column) -> Iterator[str]:
    for text in column.filled:
        with suppress(ValueError):  # one of the cells is not an object
            return paths_in(json.loads(text), column.header)
    return iter(())


def not_read(names: Iterable[str], read: Sequence[str]) -> list[str]:
    """The sentence that lists the columns which are not read, if any."""
    left = [name for name in names if name not in read and name.strip()]
    return [f"not read: {listed(left, _LISTED)}"] if left else []
