"""Finds conversations in the columns of a user's table."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pairsmith.user_file.columns import Column, value_at
from schemas.errors import InputError
from schemas.wording import listed
from synth.sources.columns import Cells, Fault
from synth.sources.turns import CONTENT, TOOLS, exchange, parse_role

_EXPORTS = (
    (
        {"mapping", "current_node"},
        "is an export of ChatGPT, in which the messages of a chat form a tree",
        ".mapping as $m | [.current_node | recurse($m[.].parent; . != null) | $m[.].message | select(. and"
        ' (.author.role | IN("user", "assistant"))) | {role: .author.role, content: (.content.parts // []'
        ' | map(strings) | join("\\n\\n"))} | select(.content != "")] | reverse | {messages: .}',
    ),
    (
        {"conversation_parts", "source"},
        "has conversations of Intercom, whose first message is outside the list of the others",
        "{messages: [.source, .conversation_parts.conversation_parts[] | select(.body and .author) | {author:"
        ' .author.type, body: (.body | gsub("<[^>]*>"; ""))}]}',
    ),
    (
        {"comments", "requester_id"},
        "has tickets of Zendesk, whose comments have ids instead of roles",
        ".requester_id as $by | {messages: [.comments[] | select(.public) | {role: (if .author_id == $by then"
        ' "user" else "assistant" end), content: (.plain_body // .body)}]}',
    ),
    (
        {"annotations", "data", "predictions"},
        "has tasks of Label Studio, with what was annotated deep inside lists (its export JSON-MIN is a table)",
        "select(.annotations[0].result[0]) | .data + {label: .annotations[0].result[0].value | (.choices // .text)[0]}",
    ),
    ({"custom_id", "method", "body"}, "has the requests of a batch", "{text: .body.messages[-1].content}"),
)
"""Exports that a path cannot read: columns by which they are recognised, what they are, and how `jq` writes their
rows."""

CHATS = ("messages", "conversations")
"""Columns of these names are read as chats without being named in the spec."""
SPEAKER = re.compile("role|from|author|sender|speaker|user|name|character|participant|person")  # in a key of a turn
_LISTED = 3  # names that are listed
_EXAMINED, _DEPTH = 20, 3  # lists and objects examined to detect chats; levels of objects around a chat


def chats_in(names: Sequence[str], rows: Sequence[Cells]) -> Iterator[tuple[str, list[object]]]:
    """The columns and paths into their objects that contain chats, each with its cells. Not all cells need be chats: a
    chat may be empty or end before an answer."""
    for at, name in enumerate(names):
        cells = [row.get(f"c{at}") for row in rows]
        if name.casefold() in CHATS or _are_chats(cells):
            yield name, cells
            continue
        objects = islice((cell for cell in cells if isinstance(cell, dict)), _EXAMINED)
        paths = dict.fromkeys(path for cell in objects for path in _paths_to_lists(cell, ()))
        for path in paths:
            inner = [value_at(cell, path) for cell in cells]
            if "." not in "".join((name, *path)) and _are_chats(inner):
                yield ".".join((name, *path)), inner


def _are_chats(cells: Sequence[object]) -> bool:
    lists = islice((cell for cell in cells if isinstance(cell, list)), _EXAMINED)
    return any(not isinstance(exchange({"messages": cell}, several=True), Fault) for cell in lists)


def _paths_to_lists(value: dict[str, object], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, inner in value.items():
        if isinstance(inner, list):
            yield (*path, name)
        elif isinstance(inner, dict) and len(path) + 1 < _DEPTH:
            yield from _paths_to_lists(inner, (*path, name))


def refuse_exports(path: Path, names: Sequence[str], rows: Sequence[Cells]) -> None:
    """Raise InputError, with a command that writes rows, for what another program exported in a form that no spec can
    read; and for whole answers of an API, which a model would learn to write as they are."""
    shaped = {name for at, name in enumerate(names) if any(isinstance(row.get(f"c{at}"), dict | list) for row in rows)}
    for columns, what, program in _EXPORTS:
        if columns <= set(names) and columns & shaped:
            fix = f"Write rows with `{command_of(path, program)}`, and use that file."
            raise InputError(f"{what}.", where=path.name, fix=fix)
    for at, name in enumerate(names):
        objects = [cell for row in rows[:_EXAMINED] if isinstance(cell := row.get(f"c{at}"), dict)]
        inner = next((key for key in (("choices",), ("body", "choices")) if _are_choices(objects, key)), None)
        if inner:
            answer = ".".join((name, *inner, "0.message.content"))
            raise InputError(
                f"has whole answers of an API in '{name}', which the model would learn to write.",
                where=path.name,
                fix='Create a project with `pairsmith init`, name the file in its [[seeds]], and add kind = "pair" and'
                f' columns = {{ input = "...", output = "{answer}" }}. The input is the column, or the path to it, with'
                " the text or the messages that were sent; if they are in another file, join the two first.",
            )


def refuse_chats_of_people(path: Path, names: Sequence[str], rows: Sequence[Cells]) -> None:
    """Raise InputError, with a command that writes rows, for a column that would be read as chats but is
    `among_people`."""
    for at, name in enumerate(names):
        chats = [cell for row in rows[:_EXAMINED] if isinstance(cell := row.get(f"c{at}"), list)]
        if name.casefold() in CHATS and not _are_chats(chats) and (people := among_people(name, chats)):
            fix = f"Write rows with `{command_of(path, people[1])}`, and use that file."
            raise InputError(f"{people[0]}.", where=path.name, fix=fix)


def among_people(name: str, chats: Sequence[list[object]]) -> tuple[str, str] | None:
    """That a column has chats among people, whose turns have a speaker and a text but no known role, and the program
    for `jq`, for a shell's single quotes, that joins them into a text. None for other lists."""
    turns = [turn for chat in chats for turn in chat if isinstance(turn, dict)]
    text = next((key for key in CONTENT if any(isinstance(turn.get(key), str) for turn in turns)), "")
    for key in (key for key in dict.fromkeys(key for turn in turns for key in turn) if SPEAKER.search(key.casefold())):
        people = [who for turn in turns if isinstance(who := turn.get(key), str)]
        if text and len(people) == len(turns) > len(set(people)) > 1 and not any(map(parse_role, people)):
            quoted = (json.dumps(one, ensure_ascii=False).replace("'", "\\u0027") for one in (key, text, name))
            who, what, cell = (f"[{one}]" for one in quoted)
            spoken = f'[(.{cell} // [])[] | .{who} + ": " + (.{what} // "")] | join("\\n")'
            some = listed([repr(one) for one in dict.fromkeys(people)], _LISTED)
            problem = f"has chats among people in '{name}' ({some}), of whom none is the user or the assistant"
            return problem, f"{{chat: ({spoken})}} + del(.{cell})"
    return None


def command_of(path: Path, program: str) -> str:
    """The command that writes the rows of a file with a program for `jq`."""
    jq, file = f"jq -c 'if type == \"array\" then .[] else . end | {program}'", shlex.quote(path.name)
    return f"{f'gzip -dcf < {file} | {jq}' if path.suffix.lower() == '.gz' else f'{jq} {file}'} > rows.jsonl"


def _are_choices(objects: Sequence[dict[str, object]], path: Sequence[str]) -> bool:
    """Whether a path leads to OpenAI's list of answers in each of these objects."""
    lists = [value_at(one, path) for one in objects]
    return bool(lists) and all(isinstance(value_at(one, ("0", "message")), dict) for one in lists)


def refuse_single_messages(path: Path, columns: Sequence[Column]) -> None:
    """Raise InputError for a file with one message per line: its answers would be read as inputs."""
    if speaker := next(filter(_names_speakers, columns), None):
        raise InputError(
            f"has one message per line ('{speaker.header}' names the speaker), but a row must be a whole conversation.",
            where=path.name,
            fix="Group the lines of each conversation into one list, `messages` (`pairsmith docs seeds`).",
        )


def _names_speakers(column: Column) -> bool:
    """Its values are all roles, at least two, of which some may be tools."""
    names = set(column.filled)
    return any(map(parse_role, names)) and len(names) > 1 and all(parse_role(n) or n.casefold() in TOOLS for n in names)
