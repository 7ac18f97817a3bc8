"""`[personal]`: what is done about personal data and secrets in seeds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.spec.section import Section

Treatment = Literal["flag", "redact", "reject"]
# Left out of the dump where it only flags, so that no hash of a spec without it changes.
_Treatment = Annotated[Treatment, Field(exclude_if=lambda treatment: treatment == "flag")]


class PersonalSettings(Section):
    """For each kind what happens to a seed that holds it, before anything of it is kept or sent: `flag` says so,
    `redact` puts words in its place, which makes another seed, and `reject` leaves the seed out."""

    email: _Treatment = "flag"
    phone: _Treatment = "flag"
    card: _Treatment = "flag"
    iban: _Treatment = "flag"
    ip: _Treatment = "flag"
    secret: _Treatment = "flag"
