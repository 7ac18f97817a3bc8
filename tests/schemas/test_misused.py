"""An invalid value gets the same error message wherever it was given."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from schemas.errors import UsageError, usage_error_from
from schemas.spec.generate import ForwardSettings
from schemas.spec.section import given


class FormInput(BaseModel):
    """What a form or a command line may contain."""

    seeds: int = Field(ge=1)

    @field_validator("seeds")
    @classmethod
    def _even(cls, seeds: int) -> int:
        if seeds % 2:
            raise ValueError("is odd")
        return seeds


@pytest.mark.parametrize(
    ("seeds", "where", "sentence"),
    [
        (0, None, "seeds: expected at least 1. Correct it."),
        (3, None, "seeds: is odd. Correct it."),
        (3, "how many", "how many: is odd. Correct it."),
    ],
)
def test_first_mistake_is_one_clear_message(seeds: int, where: str | None, sentence: str) -> None:
    """The message says what is wrong, where, and what to do, without the validation library's wording around it."""
    with pytest.raises(ValidationError) as refused:
        FormInput(seeds=seeds)
    assert str(usage_error_from(refused.value.errors(), where=where, fix="Correct it.")) == sentence


def test_a_setting_given_in_python_is_shown() -> None:
    """A program has no form that shows the value, so the message includes it."""
    with pytest.raises(UsageError, match=r"Forward: n = 0: expected at least 1\."):
        given(ForwardSettings, "Forward", n=0)
