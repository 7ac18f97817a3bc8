"""What is read out of an invoice."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Invoice(BaseModel):
    """An invoice or a receipt."""

    model_config = ConfigDict(extra="forbid")

    vendor: str = Field(description="who wants the money, as it is written", max_length=120)
    number: str = Field(description="the number of the invoice itself, not of the order", max_length=40)
    total: float = Field(description="what is to be paid, taxes included")
    currency: Literal["EUR", "GBP", "USD"]
    due: datetime.date | None = Field(description="the last day of payment; null if none is named")
