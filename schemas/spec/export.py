"""`[export]`: what may leave the project."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.spec.section import Section

Named = Annotated[str, Field(min_length=1)]
NOT_STATED = "not stated"


class ExportSettings(Section):
    """The licenses of seeds and the terms of teachers that an exported row may have, as they were declared. Case is
    ignored, and `not stated` allows rows without a declaration. An empty list allows everything."""

    licenses: tuple[Named, ...] = ()
    terms: tuple[Named, ...] = ()
