"""Types of options that take a number."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, ClassVar

import click


class _Bounded:
    """An error of a number option says which numbers are accepted, never `nan` (which compares false with every bound)
    and never infinity."""

    min: float | None
    max: float | None
    min_open: bool
    max_open: bool
    kind: ClassVar[str]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = math.nan
        with suppress(click.BadParameter):
            number = super().convert(value, param, ctx)  # type: ignore[misc]
        if math.isfinite(number):
            return number
        least = "" if self.min is None else f"above {self.min:g}" if self.min_open else f"{self.min:g}"
        most = "" if self.max is None else f"below {self.max:g}" if self.max_open else f"{self.max:g}"
        bounds = (
            f" from {least} to {most}" if least and most else f" {least}" if self.min_open else f" of at least {least}"
        )
        raise click.BadParameter(f"'{value}' is not {self.kind}{bounds}.", ctx, param)


class FiniteNumber(_Bounded, click.FloatRange):
    """A finite number in a range."""

    kind = "a number"


class WholeNumber(_Bounded, click.IntRange):
    """A whole number in a range."""

    kind = "a whole number"
