"""One prompt file: TOML front matter, then the chat turns as Jinja text. Both are parsed and rendered strictly.

A file looks like this::

    +++
    about = "What it is for."
    [variables]
    style = "what this variable holds"
    exemplars = "..."
    input = "..."
    +++
    === system ===
    {{ style }}
    === user for exemplar in exemplars ===
    {{ exemplar.input }}
    === assistant for exemplar in exemplars ===
    {{ exemplar.output }}
    === user ===
    {{ input }}

Neighbouring turns with the same `for` are repeated together, once for every item. The text is split into turns before
anything is rendered, and each turn becomes the content of one message, so no value can open a role or a tag.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, cast

from prompts.answer_schema import FLATTEN, check_answer_schema
from schemas import toml
from schemas.errors import PromptError
from schemas.identity import construct
from schemas.records import Json, Message, Messages

if TYPE_CHECKING:
    from jinja2 import Template

Role = Literal["system", "user", "assistant"]

_FRONT = re.compile(r"\A\+\+\+\n(?P<toml>.*?)^\+\+\+(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_MARKER_LIKE = re.compile(r"={3}\s.*\s={3}\s*")
_MARKER = re.compile(r"=== (?P<role>system|user|assistant)(?: for (?P<item>[a-z_]\w*) in (?P<items>[a-z_]\w*))? ===\s*")
_PLAIN = re.compile(r"\{\{ ([a-z_]\w*) \}\}")
_FRONT_KEYS = ("about", "variables", "schema")


class PromptTurn(NamedTuple):
    """One marked part of the file: rendered once, or once for every `item` of the variable `items`.

    `uses` are the variables it needs, including `items`. `plain` is set if it consists of text and simple variables
    only: these parts alternate, and rendering them needs no Jinja.
    """

    role: Role
    item: str | None
    items: str | None
    line: int
    template: Template
    uses: frozenset[str]
    plain: tuple[str, ...] | None


# A released prompt never changes, so older files still use these names.
OLD_NAMES = {"input": "simple", "output": "enhanced"}


@dataclass(frozen=True)
class Prompt:
    """A parsed prompt file. `variables` maps each name that `render` takes to its meaning; `schema` is the JSON schema
    that the answer must conform to, if the file has one."""

    name: str
    version: str
    path: Path
    text: str
    about: str
    variables: Mapping[str, str]
    schema: Json | None
    turns: tuple[PromptTurn, ...]

    @classmethod
    def read(cls, path: Path, name: str) -> Prompt:
        """Parse the file at `path`, whose stem is the version. Raises PromptError naming the file and the line."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PromptError(
                f"cannot be read: {error}.", where=str(path), fix="Save it as a UTF-8 text file."
            ) from None
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        try:
            about, variables, schema, body_line = _front_matter(text, path)
        except RecursionError:
            raise PromptError("its front matter is nested too deeply.", where=str(path), fix=FLATTEN) from None
        turns = _turns(text.split("\n")[body_line:], body_line + 1, path, variables)
        return cls(name, path.stem, path, text, about, variables, schema, turns)

    @cached_property
    def hash(self) -> str:
        """The first 8 hex digits of the file's SHA-256, with line ends normalised."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    @property
    def ref(self) -> str:
        """`name/version@hash`, which pairs store so that their prompt can be identified."""
        return f"{self.name}/{self.version}@{self.hash}"

    def render(self, **values: Any) -> Messages:
        """The chat messages for `values`, which must be exactly the declared variables, none of them None.

        Strings are inserted unchanged: not trimmed, not escaped, not parsed as Jinja. Raises PromptError, which names
        the file and the variable, if one is missing, unknown, or lacks a field that the template uses.
        """
        return self.given()(**values)

    def given(self, **fixed: Any) -> Callable[..., Messages]:
        """`render` with the values of `fixed` bound once for many renderings.

        Turns that use no other variables, such as the worked examples, are rendered here, which is most of the work.
        """
        fixed = self._with_declared_names(fixed)
        self._check(fixed, fixed)
        groups = [
            (turns, self._render_group(turns, fixed) if all(turn.uses <= fixed.keys() for turn in turns) else None)
            for turns in (list(g) for _, g in groupby(self.turns, key=lambda turn: (turn.item, turn.items)))
        ]

        def render(**values: Any) -> Messages:
            values = self._with_declared_names(values) | fixed
            self._check(values, self.variables)
            messages: list[Message] = []
            for turns, ready in groups:
                messages += self._render_group(turns, values) if ready is None else ready
            return tuple(messages)

        return render

    def shows_turns(self, name: str) -> bool:
        """Whether each item of the list variable `name` is one exchange, which earlier turns can precede."""
        return [turn.role for turn in self.turns if turn.items == name] == ["user", "assistant"]

    def takes(self, name: str) -> bool:
        """Whether the prompt declares the variable `name`, under this name or its old name."""
        return name in self.variables or OLD_NAMES.get(name) in self.variables

    def _with_declared_names(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` under the names by which this file declares them."""
        renamed = self._renamed
        return {renamed.get(name, name): value for name, value in values.items()}

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """The old name of each variable that this file declares only under that name."""
        return {name: old for name, old in OLD_NAMES.items() if name not in self.variables and old in self.variables}

    def _check(self, values: Mapping[str, Any], needed: Iterable[str]) -> None:
        if values.keys() == self.variables.keys() and NoneType not in map(type, values.values()):
            return
        for name in values:
            if name not in self.variables:
                self._refuse(f"does not take a variable '{name}'", f"It takes: {', '.join(self.variables)}.")
        for name in needed:
            if values.get(name) is None:
                self._refuse(f"needs the variable '{name}'", f"It stands for {self.variables[name]}.")

    def _render_group(self, turns: list[PromptTurn], values: Mapping[str, Any]) -> list[Message]:
        """The messages of neighbouring turns that are repeated for the same items, or are not repeated. The `turns` of
        an item, if it has any, come before its own."""
        item, items = turns[0].item, turns[0].items
        if item is None or items is None:
            return [self._render_message(turn, values) for turn in turns]
        if isinstance(values[items], str | bytes | Mapping) or not hasattr(values[items], "__iter__"):
            self._refuse(f"repeats turns for every item of '{items}', which is not a list", "Give a list.")
        return [
            message
            for one in values[items]
            for message in (
                *getattr(one, "turns", ()),
                *(self._render_message(turn, {**values, item: one}) for turn in turns),
            )
        ]

    def _render_message(self, turn: PromptTurn, values: Mapping[str, Any]) -> Message:
        if turn.plain is not None:
            parts: list[Any] = list(turn.plain)
            parts[1::2] = map(values.get, turn.plain[1::2])
            if {*map(type, parts)} == {str}:
                sent = {"role": turn.role, "content": "".join(parts)}
                return construct(Message, sent, sent=sent)
        from jinja2 import TemplateError

        try:
            return Message(role=turn.role, content=turn.template.render(values))
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            line = turn.line + _line_in_template(error) - 1
            raise PromptError(
                f"cannot be rendered: {error}.", where=f"{self.path}:{line}", fix="Check the variable and its value."
            ) from None

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise PromptError(f"{what}.", where=str(self.path), fix=fix)


def _front_matter(text: str, path: Path) -> tuple[str, dict[str, str], Json | None, int]:
    """About, variables, schema, and the number of lines of the front matter."""
    front = _FRONT.match(text)
    if front is None:
        raise PromptError(
            "does not begin with TOML between two lines of +++.",
            where=f"{path}:1",
            fix="`pairsmith docs prompts` shows the format of a prompt file.",
        )
    try:
        raw = toml.loads(front["toml"])
    except tomllib.TOMLDecodeError as error:
        raise PromptError(f"its front matter is not valid TOML: {error}.", where=str(path)) from None
    for key in raw:
        if key not in _FRONT_KEYS:
            raise PromptError(f"unknown key '{key}'.", where=str(path), fix=f"Legal here: {', '.join(_FRONT_KEYS)}.")
    about, variables, schema = raw.get("about"), raw.get("variables"), raw.get("schema")
    if not isinstance(about, str) or not about.strip():
        raise PromptError("has no 'about'.", where=str(path), fix="Describe in one sentence what the prompt is for.")
    if not isinstance(variables, dict) or not all(isinstance(v, str) for v in variables.values()):
        raise PromptError(
            "has no table [variables].",
            where=str(path),
            fix='Write one line for each variable, such as input = "the seed\'s text".',
        )
    if schema is not None:
        if not isinstance(schema, dict):
            raise PromptError("'schema' is not a table.", where=str(path), fix="Write a JSON schema as [schema].")
        check_answer_schema(schema, path)
    return about, variables, schema, front[0].count("\n")


def _turns(lines: list[str], first: int, path: Path, variables: Mapping[str, str]) -> tuple[PromptTurn, ...]:
    """Split the body, whose first line is line `first` of the file, at its markers, and compile each part."""
    turns: list[PromptTurn] = []
    marks: list[tuple[int, re.Match[str]]] = []
    for at, line in enumerate(lines):
        if mark := _MARKER.fullmatch(line):
            marks.append((at, mark))
        elif _MARKER_LIKE.fullmatch(line):
            raise PromptError(
                f"'{line.strip()}' is not a turn.",
                where=f"{path}:{first + at}",
                fix="Write === system ===, === user === or === assistant ===, "
                "or === user for exemplar in exemplars === to repeat a turn.",
            )
        elif not marks and line.strip():
            raise PromptError(
                "there is text before the first turn.", where=f"{path}:{first + at}", fix="Add === user ===."
            )
    if not marks:
        raise PromptError("has no turn.", where=str(path), fix="Write === user === above the text.")
    ends = [at for at, _ in marks[1:]] + [len(lines)]
    for (at, mark), end in zip(marks, ends, strict=True):
        where = f"{path}:{first + at}"
        start = next((i for i in range(at + 1, end) if lines[i].strip()), None)
        if start is None:
            raise PromptError("this turn is empty.", where=where, fix="Write its text, or delete the line.")
        role, item, items = cast("tuple[Role, str | None, str | None]", mark.group("role", "item", "items"))
        if items and items not in variables:
            raise _undeclared(items, where)
        source = "\n".join(lines[start:end]).strip()
        template, used = compiled(source, str(path), first + start)
        for name in sorted(used - variables.keys() - {item}):
            raise _undeclared(name, f"{path}:{first + start}")
        uses = frozenset(used - {item} | ({items} if items else set()))
        turns.append(PromptTurn(role, item, items, first + start, template, uses, _plain(source, uses)))
    _check_order(turns, path)
    return tuple(turns)


def _plain(source: str, uses: frozenset[str]) -> tuple[str, ...] | None:
    """Texts and names of variables, alternating; None if the source contains anything else."""
    parts = tuple(_PLAIN.split(source))
    plain = uses.issuperset(parts[1::2]) and not any("{" in text or "}" in text for text in parts[::2])
    return parts if plain else None


def compiled(source: str, where: str, line: int = 1) -> tuple[Template, set[str]]:
    """Compile the Jinja template `source`, which starts at `line` of `where`; returns it with the variables it uses.

    Raises PromptError.
    """
    from jinja2 import TemplateSyntaxError, meta

    from prompts.sandbox import Sandbox, undeclared

    sandbox = Sandbox()
    try:
        tree = sandbox.parse(source)
        used = undeclared(tree)
        refers = any(True for _ in meta.find_referenced_templates(tree))
        template = sandbox.from_string(source)
    except TemplateSyntaxError as error:
        raise PromptError(
            f"is not valid Jinja: {error.message}".rstrip(".") + ".",
            where=f"{where}:{line + error.lineno - 1}",
            fix=_spaced_name_fix(source) or "Fix that line.",
        ) from None
    except RecursionError:
        raise PromptError("is nested too deeply.", where=f"{where}:{line}", fix="Make it simpler.") from None
    if refers:
        raise PromptError(
            "includes another file.", where=f"{where}:{line}", fix="A prompt is a single file: copy the text into it."
        )
    return template, used


def _spaced_name_fix(source: str) -> str:
    """How to use a column whose name has spaces, if the template names one; otherwise empty."""
    spaced = re.search(r"\{\{\s*(\w+(?:[ \t]+[\w()/&#%°€$.-]+)+)\s*\}\}", source)
    if spaced is None:
        return ""
    name = "_".join(re.findall(r"\w+", spaced[1].casefold()))
    return f'A name in {{{{ }}}} has no spaces: write {{{{ {name} }}}}, and columns = {{ {name} = "{spaced[1]}" }}.'


def _undeclared(name: str, where: str) -> PromptError:
    return PromptError(
        f"uses the variable '{name}', which [variables] does not declare.",
        where=where,
        fix="Declare it with its meaning, or correct its name.",
    )


def _check_order(turns: list[PromptTurn], path: Path) -> None:
    """Require an optional system turn, then user and assistant alternating, ending with the user: every chat template
    accepts this. Repeated turns must be whole exchanges, so that it holds for any number of items, including zero."""
    chat = turns[1:] if turns[0].role == "system" and turns[0].items is None else turns
    expected = ["user", "assistant"] * (len(chat) // 2) + ["user"]
    if [turn.role for turn in chat] != expected:
        raise PromptError(
            f"its turns are {', '.join(turn.role for turn in turns)}.",
            where=str(path),
            why="Many models refuse a chat in any other order.",
            fix="Write an optional system turn, then alternate user and assistant, and end with user.",
        )
    for (_, items), group in groupby(chat, key=lambda turn: (turn.item, turn.items)):
        repeated = list(group)
        if items and (repeated[0].role != "user" or repeated[-1].role != "assistant"):
            raise PromptError(
                f"the turns repeated for '{items}' are not complete exchanges.",
                where=f"{path}:{repeated[0].line}",
                fix="Repeat a user turn together with the assistant turn that follows it.",
            )


def _line_in_template(error: BaseException) -> int:
    """The line of an error within its template: Jinja rewrites tracebacks so that the innermost frame named <template>
    has the template's line number."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
