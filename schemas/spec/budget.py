"""`[budget]`: what the project may spend."""

from __future__ import annotations

from pydantic import Field

from schemas.spec.section import Section


class BudgetSettings(Section):
    """`max_usd` caps the total spending on teachers through the store, for all purposes. The maximum cost of a request
    is reserved before it is sent, so a cap needs a price and a `max_tokens`."""

    max_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
