"""Reading `pairsmith.toml`: types, overrides, and errors that name the key, its line and the closest valid key."""

from __future__ import annotations

import difflib
import math
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from schemas import old_keys, toml
from schemas.errors import SpecError
from schemas.expected import expected
from schemas.files import refuse_non_utf8_name
from schemas.kinds import with_defaults
from schemas.project import Project
from schemas.spec import Spec
from schemas.spec.section import is_env, model_at, model_in, shown, written_key
from schemas.spec_line import suggest_fix
from schemas.wording import listed

SPEC_NAME = "pairsmith.toml"
_MAX_LISTED = 9  # errors listed after the first


def load(folder: Path, overrides: Sequence[str] = ()) -> Project:
    """Read `folder/pairsmith.toml`, apply `a.b=value` overrides (TOML values; a bare word is a string), and validate
    it.

    Raises SpecError with the file, the line and the key of the first error.
    """
    path = folder / SPEC_NAME
    refuse_non_utf8_name(folder.resolve())
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError(
            f"there is no {SPEC_NAME} here.",
            where=str(folder),
            fix=f"{_suggest_project(folder)}Run `pairsmith init DIR` to create a project, or name the folder of an "
            "existing one (on the command line with --project).",
        ) from None
    except NotADirectoryError:
        file = next((place for place in (folder, *folder.parents) if place.is_file()), folder)
        raise SpecError("is a file.", where=str(file), fix="Give the folder that contains it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot be read: {error}.", where=str(path), fix="Save it as a UTF-8 text file.") from None
    return parse(text, folder, overrides)


def parse(text: str, folder: Path, overrides: Sequence[str] = ()) -> Project:
    """The project for `folder` with a spec file of this `text`; nothing is read or written. Raises like `load`."""
    path = folder / SPEC_NAME
    try:
        raw = toml.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{at[1]}" if at else str(path)
        fix = (
            suggest_fix(text.split("\n")[int(at[1]) - 1]) if at else "Close the string or list that is open at its end."
        )
        raise SpecError(f"is not valid TOML: {error}.", where=where, fix=fix) from None
    except RecursionError:
        raise SpecError(
            "its values are nested too deeply.", where=str(path), fix="Remove that value; no key needs it."
        ) from None
    notices = old_keys.renamed(raw)
    # The task kind comes first, because it determines the defaults around the other keys.
    overridden = [_override(raw, item) for item in overrides if _sets_task_kind(item)]
    raw = with_defaults(raw)
    overridden += [_override(raw, item) for item in overrides if not _sets_task_kind(item)]
    written = _WrittenSpec(path, text, raw, overridden)
    if (bad_key := _find_bad_number(raw)) is not None:
        raise SpecError(
            f"'{'.'.join(bad_key)}' is not a usable number.",
            where=written.place(bad_key),
            why="It is infinite, NaN, or beyond 64 bits, and could be neither sent nor stored.",
            fix="Write a finite number of at most 18 digits.",
        )
    notices += old_keys.renamed(raw)
    notices += _strip_regions(raw)
    notices += old_keys.old_name_notices([item.partition("=")[0].replace(" ", "") for item in overrides])
    try:
        notes = tuple(f"{path}: {notice}" for notice in notices)
        return Project(folder, Spec.model_validate(raw), tuple(overrides), notes)
    except ValidationError as error:
        raise _combine_errors(error, written) from None


_REGIONAL = re.compile(r"([A-Za-z]{2})([-_][A-Za-z0-9]+)*")


def _strip_regions(raw: dict[str, Any]) -> list[str]:
    """Reduce the task's language codes to two letters, in place; return a notice for each region or script that was
    removed."""
    notes, at = list[str](), raw.get("task")
    task = at if isinstance(at, dict) else {}
    for key in ("language", "to"):
        code = task.get(key)
        if isinstance(code, str) and (parts := _REGIONAL.fullmatch(code)):
            task[key] = short = parts[1].lower()
            if parts[2]:
                notes.append(
                    f'\'task.{key}\' = "{code}" is taken as "{short}", because a language is a two-letter code here. '
                    "State the regional variant in 'task.style' instead."
                )
    return notes


def _suggest_project(folder: Path) -> str:
    """A `Did you mean` for projects inside a folder without a spec, or for one with a name close to that of a missing
    folder."""
    is_there = folder.is_dir()
    projects = {at.parent.name: at.parent for at in (folder if is_there else folder.parent).glob(f"*/{SPEC_NAME}")}
    near = sorted(projects) if is_there else difflib.get_close_matches(folder.name, projects, n=1)
    named = " or ".join(shlex.quote(str(projects[name])) for name in near)
    return f"Did you mean {named}? " if 0 < len(near) <= _MAX_LISTED else ""


def _find_bad_number(value: Any, key: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """The key of the first number under `value` that JSON or a database cannot hold."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return next((bad_key for name, part in parts if (bad_key := _find_bad_number(part, (*key, str(name))))), None)
    if isinstance(value, float):
        return None if math.isfinite(value) else key
    return key if isinstance(value, int) and not -(2**63) <= value < 2**63 else None


def set_keys(text: str, values: Mapping[str, Any], notes: Mapping[str, Sequence[str]] | None = None) -> str:
    """`text` with the dotted keys of `values` set, or removed where the value is None. Everything else, comments and
    order included, stays unchanged.

    A numeric part of a key names a list entry. A missing table is added at the end. `notes` are comment lines to insert
    above a key. The result is not validated; `parse` does that. Raises SpecError if `text` is not TOML or a key leads
    through a value that is not a table.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise SpecError(f"is not valid TOML: {error}.", where=SPEC_NAME, fix="Fix that line.") from None
    for key, value in values.items():
        try:
            _set_key(document, key, value)
        except (TOMLKitError, ValueError, IndexError, RecursionError):
            raise SpecError(
                f"'{key}' cannot be set to this.",
                where=SPEC_NAME,
                fix="A number must name an existing list entry. null removes a key and must be the whole value.",
            ) from None
    try:
        lines = tomlkit.dumps(document).split("\n")
    except (TOMLKitError, ValueError, RecursionError):
        what = f"{listed([*values], 3)} cannot be set to these values."
        raise SpecError(what, where=SPEC_NAME, fix="Set them one at a time, to find the one that is wrong.") from None
    for key, above in (notes or {}).items():
        at = key_line("\n".join(lines), key.split("."))
        if at is not None:
            lines[at - 1 : at - 1] = [f"# {line}" for line in above]
    return "\n".join(lines)


def _set_key(document: Any, key: str, value: Any) -> None:
    import tomlkit

    *path, last = key.split(".")
    table: Any = document
    for part in path:
        if isinstance(table, dict) and part not in table:
            if value is None:
                return
            table[part] = tomlkit.table()
        table = table[int(part)] if isinstance(table, list) else table[part]
        if not isinstance(table, dict | list):
            raise SpecError(f"'{key}' cannot be set: '{part}' is a value, not a table.", where=SPEC_NAME)
    place: Any = int(last) if isinstance(table, list) else last
    if isinstance(table, list) and isinstance(table[place], dict) and value is not None:
        if not isinstance(value, dict):
            raise ValueError("a table can only be replaced by a table")
        table[place].clear()
        table[place].update(value)
    elif value is not None:
        table[place] = value
    elif isinstance(table, list) or place in table:
        del table[place]


def _sets_task_kind(override: str) -> bool:
    return override.partition("=")[0].strip() == "task.kind"


def _override(raw: dict[str, Any], item: str) -> tuple[str, ...]:
    key, equals, value = item.partition("=")
    keys = old_keys.renamed_path([part.strip() for part in key.split(".")])
    if not equals or not all(keys):
        raise SpecError(f"--set {item}: expected KEY=VALUE, such as train.epochs=2.")
    table: Any = raw
    for at, part in enumerate(keys):
        place: Any = part
        if isinstance(table, list):
            name, last = ".".join(keys[:at]), len(table) - 1
            if not part.isdecimal() or int(part) > last:
                there = f"entries 0 to {last}" if last >= 0 else "no entries"
                raise SpecError(
                    f"--set {item}: '{name}' is a list with {there}.",
                    fix=f"Name one by its number, as in {name}.0, or set the whole list: {name}=[...].",
                )
            place = int(part)
        elif not isinstance(table, dict):
            raise SpecError(f"--set {item}: '{'.'.join(keys[:at])}' is a value, not a table.")
        if at == len(keys) - 1:
            table[place] = _toml_value(value)
        else:
            table = table[place] if isinstance(table, list) else table.setdefault(place, _defaults(keys[: at + 1]))
    return keys


def _defaults(keys: Sequence[str]) -> dict[str, Any]:
    """The content that an absent table stands for beyond the defaults of its keys, so that setting one key keeps the
    others and counts only that key as set."""
    model: type[BaseModel] | None = Spec
    value: Any = None
    for part in keys:
        field = model.model_fields.get(part) if model else None
        if field is None:
            return {}
        value = getattr(value, part) if isinstance(value, BaseModel) else field.get_default()
        model = model_in(field.annotation)
    if not isinstance(value, BaseModel):
        return {}
    return value.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


def _toml_value(text: str) -> Any:
    try:
        parsed = toml.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # More keys than ours: the text contained a newline, so it is a string that happens to look like TOML.
    return parsed["value"] if len(parsed) == 1 else text


class _WrittenSpec(NamedTuple):
    """A spec as the user wrote it: the file and its text, the parsed values with all overrides, and the overridden
    keys."""

    path: Path
    text: str
    raw: dict[str, Any]
    overridden: list[tuple[str, ...]]

    def place(self, key: tuple[str, ...]) -> str:
        """Where the user wrote a key: in --set, or on a line of the file."""
        if key and any(keys[: len(key)] == key or key[: len(keys)] == keys for keys in self.overridden):
            return f"--set {'.'.join(key)}"
        line = key_line(self.text, key)
        return f"{self.path}:{line}" if line else str(self.path)

    def key(self, error: Mapping[str, Any]) -> tuple[str, ...]:
        """The key that pydantic's error is about."""
        return written_key(self.raw, error)


def _combine_errors(error: ValidationError, written: _WrittenSpec) -> SpecError:
    """Combine all errors into one: the first in full, the others appended. Unknown keys come first, because a missing
    key is often their consequence."""
    details = error.errors()
    unknown = [d for d in details if d["type"] == "extra_forbidden"]
    others = [d for d in details if d not in unknown and not (unknown and d["type"] == "missing")]
    # A value with several allowed types is reported once rather than per type, with the allowed words added. Where a
    # key in a table is wrong, the other types that the table might have had are not reported.
    by_key: dict[tuple[str, ...], dict[str, Any]] = {}
    located = [(written.key(one), one) for one in [*unknown, *others]]
    for loc, detail in located:
        if any(loc == deeper[: len(loc)] and len(loc) < len(deeper) for deeper, _ in located):
            continue
        if loc not in by_key:
            by_key[loc] = {**detail}
        elif detail["type"] == "literal_error":
            by_key[loc]["words"] = f"{by_key[loc].get('words', '')}, or {detail['ctx']['expected']}"
    first, *more = [_to_spec_error(detail, written) for detail in by_key.values()]
    if not more:
        return first
    also = listed([_summarize(one, written.path) for one in more], _MAX_LISTED, "; ")
    return SpecError(first.what, where=first.where, why=first.why, fix=f"{first.fix} Also wrong: {also}.")


def _summarize(error: SpecError, path: Path) -> str:
    """`line 7: unknown key 'train.epohcs' (did you mean 'epochs'?)`"""
    place = str(error.where).replace(f"{path}:", "line ")
    near = re.match(r"Did you mean ('.*?')", error.fix or "")
    return f"{place}: {error.what.rstrip('.')}" + (f" (did you mean {near[1]}?)" if near else "")


def _to_spec_error(first: Mapping[str, Any], written: _WrittenSpec) -> SpecError:
    """One pydantic error as a SpecError."""
    loc = written.key(first)
    key, where = ".".join(loc), written.place(loc)
    named = where == f"--set {key}"
    if first["type"] == "extra_forbidden":
        valid_keys = _valid_keys(loc[:-1])
        near = difflib.get_close_matches(_in_our_words(loc[-1]), valid_keys, n=1) or _keys_one_level_deeper(loc)
        hint = f"Did you mean '{near[0]}'?" if near else ""
        return SpecError(
            "unknown key." if named else f"unknown key '{key}'.",
            where=where,
            why="It would be silently ignored, so it is rejected.",
            fix=f"{hint} Valid here: {', '.join(valid_keys)}.".strip(),
        )
    if first["type"] == "missing":
        return SpecError(
            f"the key '{key}' is missing.", where=where, fix="Add it; `pairsmith docs spec` describes every key."
        )
    if is_env(loc):
        # The value may be the secret itself, so it is not shown.
        return SpecError(
            f"'{key}' does not hold the name of an environment variable.",
            where=where,
            why="A secret in this file would soon end up in a repository.",
            fix="Put the secret into an environment variable and write its name here, such as OPENAI_API_KEY.",
        )
    given = first.get("input")
    got = f" (got {_shortened(shown(given))})" if isinstance(given, str | int | float | bool) else ""
    # Alternatives are irrelevant for a value of the right type.
    words = "" if first["type"] == "value_error" else first.get("words", "")
    message = expected(first) + words
    one_of = re.findall(r"'([^']*)'", message) if words or first["type"] == "literal_error" else []
    near = difflib.get_close_matches(str(given), one_of, n=1)
    subject = f"'{key}': " if key and not named else ""
    return SpecError(
        f"{subject}{message}{got}.",
        where=where,
        fix=(f"Did you mean '{near[0]}'? " if near else "")
        + "`pairsmith docs spec` describes every key and its values.",
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


def _valid_keys(loc: Sequence[str]) -> list[str]:
    return sorted(field.alias or name for name, field in model_at(Spec, loc).model_fields.items())


def _in_our_words(key: str) -> str:
    """A price per million input or output tokens, as many providers call them, in the words of the spec."""
    return key.replace("million_input", "million_prompt").replace("million_output", "million_completion")


def _keys_one_level_deeper(loc: Sequence[str]) -> list[str]:
    """The same key in a sibling table, such as `length.max_words` for a `max_words` that was set one table too high."""
    tables = [name for name in _valid_keys(loc[:-1]) if _valid_keys([*loc[:-1], name]) != _valid_keys(loc[:-1])]
    return [f"{name}.{loc[-1]}" for name in tables if loc[-1] in _valid_keys([*loc[:-1], name])]


_HEADER = re.compile(r"^\s*(\[\[?)\s*([\w.\-\"' ]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([\w\-.\"']+)\s*=")


def key_line(text: str, loc: Sequence[str]) -> int | None:
    """The 1-based line of the spec that sets `loc`, or of the deepest table on the way to it; None if there is no such
    line.

    It scans tables, arrays of tables and plain keys line by line and skips multi-line strings. A key inside an inline
    table is reported at the line of that table.
    """
    here: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    best, best_depth, quote = None, 0, ""
    # Not splitlines(): it also splits at characters that neither TOML nor editors treat as a newline.
    for number, line in enumerate(text.split("\n"), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        path: tuple[str, ...] = ()
        if header := _HEADER.match(line):
            here = ()
            parts = [part.strip().strip("\"'") for part in header[2].split(".")]
            for at, part in enumerate(parts):
                here = (*here, part)
                if header[1] == "[[" and at == len(parts) - 1:
                    counts[here] = counts.get(here, -1) + 1
                if here in counts:
                    here = (*here, str(counts[here]))
            path = here
        elif assign := _KEY.match(line):
            path = (*here, *(part.strip().strip("\"'") for part in assign[1].split(".")))
        # A line also opens the tables on the way to its key, unless an earlier line has.
        while len(path) > best_depth:
            if tuple(loc[: len(path)]) == path:
                best, best_depth = number, len(path)
            path = path[:-1]
        for mark in ('"""', "'''"):
            if not line.lstrip().startswith("#") and line.count(mark) % 2:
                quote = mark
    return best
