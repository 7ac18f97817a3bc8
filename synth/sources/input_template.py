"""The template that builds an input from the columns of a row, and the values of columns in it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from prompts import compiled
from schemas.errors import InputError
from schemas.spec import SeedSource

if TYPE_CHECKING:
    from jinja2 import Template


def variables(source: SeedSource) -> tuple[str, ...]:
    """The columns that the source's input template uses. Raises PromptError for an invalid template."""
    return tuple(sorted(_template(source.input)[1])) if source.input is not None else ()


@cache
def _template(text: str) -> tuple[Template, frozenset[str]]:
    template, used = compiled(text, "seeds.input")
    if not used:
        fix = "Write the name of a column in double braces: {{ subject }}."
        raise InputError("uses no column, so all inputs would be the same.", where=f"seeds.input = {text!r}", fix=fix)
    return template, frozenset(used)


def _compare_by_value(compare: Callable[[Any, Any], bool]) -> Any:
    def of(self: JsonText, other: object) -> bool:
        if isinstance(other, JsonText):
            return compare(self.value, other.value)
        return compare(str(self) if isinstance(other, str) else self.value, other)

    return of


class JsonText(str):
    """A JSON number or boolean in a template: rendered as text, but tested and compared by value, so that
    `{% if paid %}` works as expected. Compared with a string, it is a string."""

    __slots__ = ("value",)
    value: float

    @classmethod
    def of(cls, text: str, value: float) -> JsonText:
        instance = cls(text)
        instance.value = value
        return instance

    def __bool__(self) -> bool:
        return bool(self.value)

    def lower(self) -> JsonText:
        """Itself: `sort`, `max` and `min` compare what this returns."""
        return self

    __hash__ = str.__hash__
    __eq__, __ne__ = _compare_by_value(operator.eq), _compare_by_value(operator.ne)
    __lt__, __le__, __gt__, __ge__ = map(_compare_by_value, (operator.lt, operator.le, operator.gt, operator.ge))


class _OneText(str):
    """A list whose texts are all the same, or blank, in a template: rendered as that text, but with the length and the
    items of the list."""

    __slots__ = ("texts",)
    texts: TextList

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __getitem__(self, at: Any) -> Any:
        return self.texts[at]


class TextList(list[str]):
    """A list of different texts in a template, or an empty one. Rendering several at once raises TypeError."""

    column = ""

    def __str__(self) -> str:
        if not self:
            return ""
        how = f"write {{{{ {self.column} | join(', ') }}}} or loop over it"
        raise TypeError(f"'{self.column}' is a list of {len(self)} texts: {how}")

    def __getitem__(self, at: Any) -> Any:
        part = list(self)[at]
        return part if isinstance(part, str) else as_texts(part, self.column)


def as_texts(texts: Sequence[str], column: str) -> _OneText | TextList:
    """The value in a template of a list in `column`. It keeps its order, repeated texts and blanks, so that a template
    may loop over two lists side by side; only a list of nothing but blanks is empty."""
    different = set(filter(len, map(str, texts)))
    several = TextList(texts if different else ())
    several.column = column
    if len(different) != 1:
        return several
    one = _OneText(*different)
    one.texts = several
    return one


def rendered(source: SeedSource, values: Mapping[str, str | TextList]) -> str:
    """The input that the source's template renders for `values`. Raises ValueError with the template's error."""
    from jinja2 import TemplateError

    assert source.input is not None
    try:
        return _template(source.input)[0].render(values)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(str(error)) from None
