"""`[personal]`: what is done about personal data and secrets in seeds."""

from __future__ import annotations

from typing import Literal

from schemas.spec.section import Section

Treatment = Literal["flag", "redact", "reject"]


class PersonalSettings(Section):
    """For each kind what happens to a seed that holds it, before anything of it is kept or sent: `flag` says so,
    `redact` puts words in its place, which makes another seed, and `reject` leaves the seed out."""

    email: Treatment = "flag"
    phone: Treatment = "flag"
    card: Treatment = "flag"
    iban: Treatment = "flag"
    ip: Treatment = "flag"
    secret: Treatment = "flag"
