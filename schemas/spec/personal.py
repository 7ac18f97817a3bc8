"""`[personal]`: what is done about personal data, secrets and insults in seeds, and in what a teacher writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.spec.section import Section

Treatment = Literal["flag", "redact", "reject"]
# Left out of the dump where it only flags, so that no hash of a spec without it changes.
_ONLY_FLAGS = Field(exclude_if=lambda treatment: treatment == "flag")
_Treatment = Annotated[Treatment, _ONLY_FLAGS]


class PersonalSettings(Section):
    """For each kind what happens to a seed that holds it, before anything of it is kept or sent: `flag` says so,
    `redact` puts words in its place, which makes another seed, and `reject` leaves the seed out. What a teacher writes
    is redacted before it is a row, and a row that holds what is rejected is rejected. An insult has no words that could
    stand in its place."""

    email: _Treatment = "flag"
    phone: _Treatment = "flag"
    card: _Treatment = "flag"
    iban: _Treatment = "flag"
    ip: _Treatment = "flag"
    secret: _Treatment = "flag"
    toxic: Annotated[Literal["flag", "reject"], _ONLY_FLAGS] = "flag"

    def kinds(self, treatment: Treatment) -> tuple[str, ...]:
        """The kinds that are treated so."""
        return tuple(kind for kind in type(self).model_fields if getattr(self, kind) == treatment)
