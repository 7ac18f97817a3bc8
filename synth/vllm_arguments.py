"""vLLM's arguments as vLLM itself reads them: the spelling of names, repeated ones, and numbers such as `32k`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

CONTEXT = "--max-model-len"
_SHORT_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kmgtKMGT])", re.ASCII)
_POWERS = {letter: power for power, letter in enumerate("kmgt", 1)}


def name_of(argument: str) -> str:
    """The name in `--name` or `--name=value`, as vLLM knows it: it takes `--max_model_len` for `--max-model-len`. Empty
    for a value."""
    return argument.partition("=")[0].replace("_", "-") if argument.startswith("--") else ""


def _named(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each named argument and its values: `--name value` or `--name=value`."""
    name, values = "", list[str]()
    for argument in arguments:
        if name_of(argument):
            if name:
                yield name, values
            _, equals, value = argument.partition("=")
            name, values = name_of(argument), [value] if equals else []
        else:
            values.append(argument)
    if name:
        yield name, values


def is_set(name: str, arguments: Sequence[str]) -> bool:
    """Whether an argument is among them, in either spelling."""
    return name in map(name_of, arguments)


def value_of(name: str, arguments: Sequence[str]) -> str:
    """The value of an argument, the last one if it is repeated, of several values the first; empty without one."""
    return next((values[0] for given, values in reversed([*_named(arguments)]) if given == name and values), "")


def context_in(arguments: Sequence[str]) -> int | None:
    """The context length that `--max-model-len` sets, in tokens; None if vLLM chooses it (`auto`, -1) or refuses the
    value."""
    length = number_of(value_of(CONTEXT, arguments))
    return length if length and length > 0 else None


def number_of(value: str) -> int | None:
    """A number as vLLM reads it (32768, `32_768`, `32K`, `25.6k`); None for anything else. Small letters are powers of
    1,000, capitals powers of 1,024, which vLLM refuses after a decimal point."""
    value = value.strip()
    if match := _SHORT_NUMBER.fullmatch(value):
        number, letter = match.groups()
        power = _POWERS[letter.lower()]
        if letter.islower():
            return int(float(number) * 1000**power)
        return int(number) * 1024**power if number.isdigit() else None
    try:
        return int(value)
    except ValueError:
        return None
