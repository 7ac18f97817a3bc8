"""`[personal]`: how personal data, secrets and insults are handled in seeds and in what a teacher writes."""

from __future__ import annotations

from typing import Literal

from schemas.spec.section import Section, later

Treatment = Literal["flag", "redact", "reject"]


class PersonalSettings(Section):
    """For each kind of data, what happens to a seed that contains it, before anything of the seed is stored or sent:
    `flag` marks it, `redact` replaces the data with a placeholder, which makes it another seed, and `reject` leaves the
    seed out.

    What a teacher writes is redacted before it becomes a row; a row that contains rejected data is rejected. Insults
    cannot be redacted.
    """

    email: Treatment = later("flag")
    phone: Treatment = later("flag")
    card: Treatment = later("flag")
    iban: Treatment = later("flag")
    ip: Treatment = later("flag")
    secret: Treatment = later("flag")
    toxic: Literal["flag", "reject"] = later("flag")

    def kinds(self, treatment: Treatment) -> tuple[str, ...]:
        return tuple(kind for kind in type(self).model_fields if getattr(self, kind) == treatment)
