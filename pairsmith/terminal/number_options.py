"""Options that take a number. Their messages say which numbers are accepted."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import click


class FiniteNumber(click.FloatRange):
    """A finite number in a range. `nan` compares false with every bound, so a plain range would accept it."""

    name = "number"  # shown in the help

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = math.nan
        with suppress(click.BadParameter):
            number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            raise click.BadParameter(f"'{value}' is not a number{_bounds(self)}.", ctx, param)
        return number


class WholeNumber(click.IntRange):
    """A whole number in a range."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise click.BadParameter(f"'{value}' is not a whole number{_bounds(self)}.", ctx, param) from None


def _bounds(numbers: click.FloatRange | click.IntRange) -> str:
    least = "" if numbers.min is None else f"above {numbers.min:g}" if numbers.min_open else f"{numbers.min:g}"
    if numbers.max is None:
        return f" {least}" if numbers.min_open else f" of at least {least}"
    return f" from {least} to {'below ' if numbers.max_open else ''}{numbers.max:g}"


max_usd_option = click.option(
    "--max-usd",
    type=FiniteNumber(min=0, min_open=True),
    metavar="USD",
    help="Stop cleanly before this command spends more than this on teachers.",
)
