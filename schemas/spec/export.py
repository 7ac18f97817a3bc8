"""`[export]`: what may leave the project."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.spec.section import Section

Named = Annotated[str, Field(min_length=1)]
NOT_STATED = "not stated"


class ExportSettings(Section):
    """The licenses of seeds and the terms of teachers that an exported row may have, as they are declared; capitals do
    not count, and `not stated` lets through what nobody declared. An empty list lets everything through."""

    licenses: tuple[Named, ...] = ()
    terms: tuple[Named, ...] = ()
