"""`[review]`: what people are asked."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from schemas.spec.section import EnvName, EnvNameIfAny, Section


class ReviewShares(Section):
    """The shares of a batch among the reasons to look at a row; docs/review-method.md tells what each is for."""

    estimation: float = Field(default=0.5, gt=0, le=1)
    calibration: float = Field(default=0.1, ge=0, lt=1)
    audit_accepted: float = Field(default=0.1, ge=0, lt=1)
    audit_rejected: float = Field(default=0.1, ge=0, lt=1)
    disagreement: float = Field(default=0.1, ge=0, lt=1)
    margin: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _make_a_whole(self) -> ReviewShares:
        whole = sum(self.model_dump().values())
        if abs(whole - 1) > 1e-6:
            raise ValueError(f"the shares add up to {whole:g}, not to 1")
        return self


Reason = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=40)]


class ReviewSettings(Section):
    """Human review in Argilla. `enabled` false, or `run --no-review`: the pipeline goes on without people and says so.

    `url` absent: the server that `pairsmith review up` starts; else an existing Argilla, with `key_env` naming the
    variable that holds its API key, and `headers_env` for each further header the variable that holds its value, such
    as `Authorization` for a private Space. `workspace` absent: one for this project alone.

    `batch` rows wait for people at a time. `annotators_per_row` people answer every row, and one more answers a random
    share `overlap` of the rows, so that agreement can be measured. `run` goes on if the `confidence` interval of the
    acceptance rate of what the programs accept lies at `accept_at_least` or above, and stops where it lies below;
    advice aims at a margin of error of `margin_of_error`. `adjudicators` are the users who may settle disagreements
    (default: anybody who is no party to one). `gold` is a JSON Lines file of rows with known verdicts. `dataset` names
    the queue (default: the task's name); `seed` fixes which rows are drawn.
    """

    enabled: bool = True
    url: str | None = Field(default=None, pattern=r"^https?://")
    key_env: EnvNameIfAny = None
    headers_env: dict[str, EnvName] = Field(default_factory=dict)
    workspace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    dataset: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    reasons: tuple[Reason, ...] = Field(
        default=("wrong", "invented", "lost_content", "off_style", "too_long", "too_short", "bad_language"),
        min_length=2,
    )
    annotators_per_row: int = Field(default=1, ge=1, le=20)
    overlap: float = Field(default=0.2, ge=0, le=1)
    adjudicators: tuple[str, ...] = ()
    margin_of_error: float = Field(default=0.05, gt=0, lt=0.5)
    accept_at_least: float = Field(default=0.5, ge=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    batch: int = Field(default=50, ge=1, le=10_000)
    shares: ReviewShares = ReviewShares()
    gold: str | None = None
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _key_with_url(self) -> ReviewSettings:
        if self.url and not self.key_env:
            raise ValueError("a url needs key_env, the name of the variable that holds the API key")
        if self.url and "@" in urlsplit(self.url).netloc:
            raise ValueError(
                "the url holds a user or a password, and would be written to receipts: give the bare address, and the "
                "variable of an Authorization header in headers_env"
            )
        if len(set(self.reasons)) < len(self.reasons):
            raise ValueError("a reason stands twice in 'reasons'")
        return self
