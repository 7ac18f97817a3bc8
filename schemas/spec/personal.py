"""`[personal]`: how personal data, secrets and insults are handled in seeds and in what a teacher writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.spec.section import Section

Treatment = Literal["flag", "redact", "reject"]
# Omitted from the dump at its default, so that the hash of a spec without it does not change.
_ONLY_FLAGS = Field(exclude_if=lambda treatment: treatment == "flag")
_Treatment = Annotated[Treatment, _ONLY_FLAGS]


class PersonalSettings(Section):
    """For each kind of data, what happens to a seed that contains it, before anything of the seed is stored or sent:
    `flag` marks it, `redact` replaces the data with a placeholder, which makes it another seed, and `reject` leaves the
    seed out.

    What a teacher writes is redacted before it becomes a row; a row that contains rejected data is rejected. Insults
    cannot be redacted.
    """

    email: _Treatment = "flag"
    phone: _Treatment = "flag"
    card: _Treatment = "flag"
    iban: _Treatment = "flag"
    ip: _Treatment = "flag"
    secret: _Treatment = "flag"
    toxic: Annotated[Literal["flag", "reject"], _ONLY_FLAGS] = "flag"

    def kinds(self, treatment: Treatment) -> tuple[str, ...]:
        return tuple(kind for kind in type(self).model_fields if getattr(self, kind) == treatment)
