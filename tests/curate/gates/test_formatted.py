"""Promises: formatting in HTML hides nothing from the gates, and markup that was asked for is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.gates import gates_for
from curate.gates.formatted import without_formatting
from curate.gates.judgement import run_gate
from schemas.spec import GateSettings, TaskSettings
from tests.curate.gates.test_gates import pair

ORDER, TAP = "Where is my order?", "How do I descale it?"


def rejections(kind: str, given: str, text: str) -> set[str]:
    task = TaskSettings(name="x", style="Write politely.", kind=kind)
    judged = [run_gate(step, pair(given, text)) for step in gates_for(task, GateSettings(), Path())]
    return {judgement.reason.code for judgement in judged if judgement.keep is False}


@pytest.mark.parametrize(
    ("kind", "given", "text", "code"),
    [
        ("reply", ORDER, "<p>Hello {{customer_name}},<br>we have received your request.</p>", "placeholder"),
        ("reply", ORDER, "<p>Hello [Name],</p><p>we have received your request.</p>", "placeholder"),
        ("reply", ORDER, '<div>See <a href="[LINK]">this page</a> for your order.</div>', "placeholder"),
        ("reply", ORDER, "<p>I'm sorry, but I can't assist with that request.</p>", "refusal"),
        ("rewrite", ORDER, "<p>Sure! Here is the rewritten version:</p><p>Where is my parcel?</p>", "preamble"),
        ("reply", TAP, "<div>Hello,<br>Close the tap, then lift the lid and turn the</div>", "cut"),
        ("reply", ORDER, "<div>&nbsp;</div>", "short"),
        ("reply", ORDER, "<p></p>", "short"),
        ("reply", "Which model is this component?", "<p>I'm sorry, but I can't help you with that.</p>", "refusal"),
        ("rewrite", f"<p>{ORDER}</p>", "<p>Hello {{customer_name}}, where is my order?</p>", "placeholder"),
    ],
)
def test_bad_answer_is_rejected_inside_formatting(kind: str, given: str, text: str, code: str) -> None:
    """With the reason that it would have without the tags."""
    assert code in rejections(kind, given, text)


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("reply", TAP, "<div>Hello,<br>Close the tap, then lift the lid.<br>Kind regards,<br>Anna</div>"),
        ("reply", TAP, "<ul><li>Close the tap</li><li>Lift the lid</li></ul>"),
        ("reply", TAP, "<p>Close the tap &amp; lift the lid. Then wait for it to cool down.</p>"),
        ("rewrite", "<p>where is my order</p>", "<p>Could you please tell me where my order is?</p>"),
        ("free", "Write an HTML paragraph that greets {{ name }}", "<p>Hello {{ name }}</p>"),
        ("free", "Eine Vorlage für einen Knopf", "<div><b>{{label}}</b></div>"),
    ],
)
def test_good_answer_passes_inside_formatting(kind: str, given: str, text: str) -> None:
    """As does markup that the input asks for, with its variables."""
    assert not rejections(kind, given, text)


@pytest.mark.parametrize(
    "text", ["a < b", "<script>x</script>", "<b>Note</b> that 3 < 4", "<x-card>a</x-card>", "<svg><p>a</p></svg>"]
)
def test_text_with_other_markup_stays_as_it_is(text: str) -> None:
    """Only a text that is wholly in tags that format it loses them."""
    assert without_formatting(text) == text
