"""Parses rows that contain their own output, in any known shape, into a question with earlier turns and an answer."""

from __future__ import annotations

import math
import re
import tomllib
from ast import literal_eval
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, TypeGuard, get_args
from unicodedata import normalize

import orjson

from schemas.records import Message, Messages
from synth.sources.columns import MAX_CHARS, WORSE, Cells, Fault, check_text

Role = Literal["system", "user", "assistant"]
_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ROLES: Mapping[str, Role] = {name.replace("_", " "): role for role in get_args(Role) for name in _TABLE[role].split()}
TOOLS = frozenset(_TABLE["tools"])
_WHY_NO_TOOLS = "and a model that cannot see what a tool returns would learn to make it up"
_MEDIA_TAG = re.compile(r"\A\s*<(image|video|audio)>|<(image|video|audio)>\s*\Z")  # placeholders of LLaVA and others
_SPEAKERS = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLE = ("role", "from", "author", "speaker", "sender")
CONTENT = ("content", "value", "text", "body", "parts", "utterance", "message")


class Exchange(NamedTuple):
    """The question (an optional system prompt, earlier turns, the last user turn) and the answer."""

    asked: Messages
    answer: str


def exchange(cells: Cells, *, several: bool) -> Exchange | Fault:
    """The exchange in a row with `messages`, or with `input`, `output` and optionally `instruction` and `system`; each
    side may be a list of turns.

    Consecutive turns by one side are joined; user turns after the last answer are dropped. Earlier turns are allowed
    only with `several`.
    """
    turns = parse_turns(cells["messages"]) if "messages" in cells else _turns_of_sides(cells)
    if isinstance(turns, Fault):
        return turns
    if (system := cells.get("system")) and turns[0].role != "system":
        text = check_text(system, "system")
        if isinstance(text, Fault):
            return text if text.code != "blank" else _split_exchange(turns, several)
        turns = [Message(role="system", content=text), *turns]
    return _split_exchange(turns, several)


def _split_exchange(turns: list[Message], several: bool) -> Exchange | Fault:
    system = [turn.content for turn in turns if turn.role == "system"]
    if any(turn.role == "system" for turn in turns[len(system) :]):
        return Fault("turns", "there is a system turn in the middle of the conversation.")
    dialogue = _merge_consecutive(turns[len(system) :])
    while dialogue and dialogue[-1].role == "user":
        dialogue.pop()
    if not dialogue:
        return Fault("turns", "there is no answer by an assistant.")
    *before, answer = dialogue
    if not before:
        return Fault("turns", "there is no question before the answer.")
    if len(before) > 1 and not several:
        return Fault("turns", f'{len(dialogue)} turns, but a pair has two; kind = "conversation" reads them all.')
    if sum(len(turn.content) for turn in turns) > MAX_CHARS:
        return Fault("long", f"the turns have more than {MAX_CHARS:,} characters together.")
    first = (Message(role="system", content="\n\n".join(system)),) if system else ()
    return Exchange((*first, *before), answer.content)


def _merge_consecutive(turns: Iterable[Message]) -> list[Message]:
    return [
        Message(role=role, content="\n\n".join(turn.content for turn in group))
        for role, group in groupby(turns, key=lambda turn: turn.role)
    ]


def rejected_answer(cells: Cells, better: Exchange, *, several: bool) -> str | None:
    """The rejected answer of a row; None if it is unusable, the same answer, or an answer to another question."""
    key = "messages" if "messages" in cells else "output"
    other = exchange({**cells, key: cells[WORSE]}, several=several)
    if isinstance(other, Fault) or other.asked != better.asked:
        return None
    return None if other.answer == better.answer else other.answer


def _turns_of_sides(cells: Cells) -> list[Message] | Fault:
    sides: list[Message] = []
    side = "instruction" if "instruction" in cells else "input"
    more = check_text(cells.get("input") if side == "instruction" else None, "input")
    is_alone = isinstance(more, str) and getattr(check_text(cells[side], side), "code", "") == "blank"
    side = "input" if is_alone else side  # an instruction that is the same for all rows is often left out
    for name, role in ((side, "user"), ("output", "assistant")):
        if (given := extract_turns(cells[name])) is not None:
            turns = parse_turns(given)
            if isinstance(turns, Fault):
                return turns
            is_full = role == "assistant" and any(turn.role == "user" for turn in turns)
            sides = turns if is_full else [*sides, *turns]  # an output that repeats the question is the whole exchange
            continue
        text = check_text(as_json(cells[name]) if name == "output" else cells[name], name)
        if isinstance(text, Fault):
            return text
        sides.append(Message(role=ROLES[role], content=text))
    earlier = _history(cells.get("history"))
    if isinstance(earlier, Fault):
        return earlier
    if isinstance(more, Fault):
        return [*earlier, *sides] if more.code == "blank" else more
    if is_alone:
        return [*earlier, *sides]
    return [*earlier, Message(role="user", content=f"{sides[0].content}\n\n{more}"), *sides[1:]]


def _history(cell: object) -> list[Message] | Fault:
    """The earlier turns of a row of Alpaca's shape, as LLaMA-Factory writes them: a list of [question, answer]. What is
    no list, such as a text or a number, is a column that happens to have this name."""
    rounds = _parse_list(cell) if isinstance(cell, str) else cell
    if not _is_list(rounds):
        return []
    if not all(_is_list(one) and len(one) == 2 for one in rounds):
        return Fault("turns", "`history` is a list, but not of [question, answer]; rename it if it has no turns.")
    texts = [check_text(text, "history") for one in rounds if _is_list(one) for text in one]
    if fault := next((text for text in texts if isinstance(text, Fault)), None):
        return fault
    sides: tuple[Role, Role] = ("user", "assistant")
    return [Message(role=sides[at % 2], content=text) for at, text in enumerate(texts) if isinstance(text, str)]


def as_json(cell: object) -> object:
    """An output that is a label's number or a record rather than a text, as JSON; anything else unchanged.

    JSON has no NaN or infinity (orjson would write null), so these stay as they are, as does any value that JSON cannot
    represent.
    """
    if not isinstance(cell, bool | int | float | dict) or (isinstance(cell, float) and not math.isfinite(cell)):
        return cell
    try:
        return orjson.dumps(cell, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:
        return str(cell) if isinstance(cell, int) else cell


def parse_turns(cell: object) -> list[Message] | Fault:
    """The turns in a list of objects, in such a list as JSON, or in a text with `Human:` and `Assistant:` markers, as
    in Anthropic's transcripts."""
    if isinstance(cell, str) and _SPEAKERS.match(cell):
        _, *parts = _SPEAKERS.split(cell.strip())
        cell = [{"role": who, "content": text} for who, text in zip(parts[::2], parts[1::2], strict=True)]
    elif isinstance(cell, str) and (cell := _parse_list(cell)) is None:
        return Fault("json", "the turns are a string that is not valid JSON.")
    if not _is_list(cell):
        return Fault("type", f"expected a list of turns, found {type(cell).__name__}.")
    if len(cell) == 0:
        return Fault("turns", "the list of turns is empty.")
    turns: list[Message] = []
    read: list[tuple[int, object]] = []  # with their numbers, from 1
    for number, turn in enumerate(cell, 1):
        message = _message(turn, number)
        if not isinstance(message, Fault):
            turns.append(message)
            read.append((number, turn))
        elif message.code != "blank" or not _leaves_no_gap(cell, number - 1):
            return message
    if not turns:
        return Fault("blank", "there is no text in any turn.")
    first = read[0][1]
    if not (isinstance(first, dict) and first.keys() >= {"role", "content"}):  # where `system` instructs
        turns = _with_answering_system(turns)
    last = max((at for at, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if last is not None and _is_excluded(read[last][1]):
        return Fault("turns", f"turn {read[last][0]}, the last answer, is itself marked as not to be trained on.")
    return turns


def _leaves_no_gap(turns: list[object], at: int) -> bool:
    """Whether nothing is missing without a blank turn: it is a system prompt at the start, as some exports write where
    there is none, it is next to a turn of the same side, or it is the user's and nothing follows."""
    role = parse_role(_speaker(turn) or "") if isinstance(turn := turns[at], dict) else None
    if role == "system":
        return at == 0 and len(turns) > 1
    beside = (_message(turn, 1) for turn in (*turns[max(0, at - 1) : at], *turns[at + 1 : at + 2]))
    same_side = any(isinstance(message, Message) and message.role == role for message in beside)
    return same_side or (role == "user" and at == len(turns) - 1)


def _with_answering_system(turns: list[Message]) -> list[Message]:
    """The turns with `system` read as the assistant if nobody else answers, as in records of dialogue systems."""
    roles = [turn.role for turn in turns]
    if "assistant" in roles or "user" not in roles or "system" not in roles[roles.index("user") :]:
        return turns
    return [Message(role="assistant", content=turn.content) if turn.role == "system" else turn for turn in turns]


def _parse_list(text: str) -> object:
    """The value of a JSON text, or of a Python literal, which data frames write into CSV; None if it is neither."""
    for read in (orjson.loads, literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(text.strip())
    return None


def _is_excluded(turn: object) -> bool:
    """Whether OpenAI's `weight` or Axolotl's `train` excludes a turn from the loss."""
    return isinstance(turn, dict) and (turn.get("train") is False or ("weight" in turn and turn["weight"] == 0))


def extract_turns(side: object) -> list[object] | None:
    """The turns of a side that is not a text: a list of turns, as in TRL's conversational prompts and completions, a
    single turn with a known role, or an object with such a list as `messages`. None for any other value."""
    turns = side.get("messages", [side]) if isinstance(side, dict) else side
    first = turns[0] if _is_list(turns) and turns else None
    if not _is_list(turns) or not isinstance(first, dict) or first.keys().isdisjoint(_ROLE):
        return None
    is_turn = not first.keys().isdisjoint(CONTENT) and parse_role(_speaker(first) or "") is not None
    return turns if is_turn or turns is side else None  # a record may use `from` and `author` for other things


def _speaker(turn: dict[object, object]) -> str | None:
    """The name of a turn's speaker, which may be inside an object: {"author": {"role": "user"}}."""
    for key in _ROLE:
        who = turn.get(key)
        who = who.get("role", who.get("type")) if isinstance(who, dict) else who
        if isinstance(who, str):
            return who
    return None


def _is_list(cell: object) -> TypeGuard[list[object]]:
    return isinstance(cell, list)


def parse_role(name: str) -> Role | None:
    """The role for a speaker's name in a chat; None for an unknown name."""
    return ROLES.get(normalize("NFC", name.strip().casefold()))


def _message(turn: object, number: int) -> Message | Fault:
    if not isinstance(turn, dict):
        return Fault("type", f"turn {number} is a {type(turn).__name__}, not an object.")
    named = _speaker(turn)
    role = parse_role(named) if named else None
    if role is None and named and named.strip().casefold() in TOOLS:
        what = f"turn {number} is by a tool ('{named[:40]}'), {_WHY_NO_TOOLS}"
        return Fault("tool", f"{what}. Write its result into the question, or leave the chat out.")
    if role is None:
        who = f"the role '{named[:40]}' is unknown" if named else "it has no role"
        return Fault("role", f"turn {number}: {who}; known roles: {', '.join(ROLES)}.")
    content = next((turn[key] for key in CONTENT if key in turn), None)
    if not content and (turn.get("tool_calls") or turn.get("function_call")):
        return Fault("tool", f"turn {number} calls a tool, {_WHY_NO_TOOLS}.")
    if other := _media_in(content):
        return Fault("type", f"turn {number} contains {other}, but only text is read.")
    text = check_text(_join_text_parts(content), f"turn {number}")
    return text if isinstance(text, Fault) else Message(role=role, content=text)


def _media_in(content: object) -> str:
    """The type of the first part of a turn that is not text, or its media placeholder; empty if it is only text.

    Training on an answer about a picture that the model cannot see would teach it to make things up.
    """
    if _is_list(content):
        kinds = (part.get("type") for part in content if isinstance(part, dict))
        return next((repr(kind) for kind in kinds if isinstance(kind, str) and kind != "text"), "")
    marked = _MEDIA_TAG.search(content) if isinstance(content, str) else None
    return marked[0].strip() if marked else ""


def _join_text_parts(content: object) -> object:
    """The text of a content that is a list of text parts; anything else unchanged."""
    if not _is_list(content):
        return content
    parts = (part if isinstance(part, dict) and part.get("type", "text") == "text" else {} for part in content)
    texts = [part.get("text") for part in parts]
    return "\n\n".join(text for text in texts if text) if texts and all(isinstance(t, str) for t in texts) else content
