"""`[review]`: human review."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from schemas.spec.section import EnvName, EnvNameIfAny, Section


class ReviewShares(Section):
    """How a batch is divided among the reasons to review a row; docs/review-method.md explains each."""

    estimation: float = Field(default=0.5, gt=0, le=1)
    calibration: float = Field(default=0.1, ge=0, lt=1)
    audit_accepted: float = Field(default=0.1, ge=0, lt=1)
    audit_rejected: float = Field(default=0.1, ge=0, lt=1)
    disagreement: float = Field(default=0.1, ge=0, lt=1)
    margin: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_sum(self) -> ReviewShares:
        total = sum(self.model_dump().values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self


Reason = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=40)]


class ReviewSettings(Section):
    """Human review in Argilla. With `enabled` false or `run --no-review`, the pipeline continues without reviewers and
    reports that.

    Without `url`, reviews use the server that `pairsmith review up` starts. With it, an existing Argilla is used:
    `key_env` names the variable with its API key, and `headers_env` gives for each further header the variable with its
    value, such as `Authorization` for a private Space. Without `workspace`, the project gets its own.

    `batch` rows are open for review at a time. `annotators_per_row` annotators answer every row, and one more answers a
    random share `overlap` of the rows, so that agreement can be measured. `run` continues if the whole `confidence`
    interval of the acceptance rate of automatically accepted rows is at or above `accept_at_least`, and stops if it is
    below. `margin_of_error` is the margin of error that the advice aims at. `adjudicators` are the users who may settle
    disagreements (default: anyone not involved in one). `gold` is a JSON Lines file of rows with known verdicts.
    `dataset` names the queue (default: the task's name); `seed` fixes which rows are drawn.
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
    def _check_url(self) -> ReviewSettings:
        if self.url and not self.key_env:
            raise ValueError("'url' needs 'key_env', the name of the variable that holds the API key")
        if self.url and "@" in urlsplit(self.url).netloc:
            raise ValueError(
                "'url' contains a user name or a password, which would be written to receipts: give the bare address, "
                "and the variable of an Authorization header in headers_env"
            )
        if len(set(self.reasons)) < len(self.reasons):
            raise ValueError("a reason appears twice in 'reasons'")
        return self
