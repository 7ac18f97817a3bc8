"""An answer of an evaluation is read in the form of the task before it is checked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prompts.answer_form import AnswerForm
from schemas.records import Call, Seed
from schemas.spec import Spec
from train.checks import checks_for
from train.interview import _judged
from train.metrics import Output


@pytest.mark.parametrize(
    ("answer", "text", "passes"),
    [
        ('{"label": "Billing"}', "billing", True),
        ("Billing.", "billing", True),
        ("billing", "billing", True),
        ("refunds", "refunds", False),
    ],
)
def test_a_label_counts_however_a_system_was_asked_for_it(answer: str, text: str, passes: bool) -> None:
    """Few-shot and teacher are asked for JSON, the tuned model for the bare label: none is judged by its brackets."""
    task = {"kind": "classify", "name": "t", "style": "s", "labels": ["billing", "delivery"]}
    spec = Spec.model_validate({"task": task})
    form, checks = AnswerForm.of(spec.task, Path()), checks_for(spec, Path())
    plan: Any = SimpleNamespace(form=form, checks=checks, reference_of=lambda seed: None)
    seed = Seed(kind="input", text="I was charged twice.", source="t:1")
    call = Call(
        key="k",
        attempt=1,
        status="ok",
        request={},
        raw={"finish_reason": "stop"},
        text=answer,
        request_id="r",
        sample=0,
        teacher="m",
        endpoint="e",
        seconds=1.0,
    )
    blank = Output(system="few-shot", mode="greedy", seed_id=seed.id, sample=0, answered=False, key="k")
    output = _judged(blank, call, plan, seed)
    assert (output.text, output.all_pass) == (text, passes)
