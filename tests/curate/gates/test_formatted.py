"""Promises: formatting in HTML hides nothing from the gates, and markup that was asked for is left alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from curate.gates import GateStep, gates_for
from curate.gates.formatted import text_pair, without_formatting
from curate.gates.judgement import run_gate
from schemas.records import Seed
from schemas.spec import Exemplar, GateSettings, TaskSettings
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
    ("kind", "given", "text", "code"),
    [
        (
            "free",
            "How do locks work?",
            "<table><tr><td>I'm sorry, but I can't help with that.</td></tr></table>",
            "refusal",
        ),
        ("free", "How do locks work?", "[b]I'm sorry, but I can't help with that request.[/b]", "refusal"),
        (
            "rewrite",
            TAP,
            "<!-- wp:paragraph -->\n<p>I'm sorry, but I can't help with that.</p>\n<!-- /wp:paragraph -->",
            "refusal",
        ),
        ("reply", ORDER, "<html><head><style>p {}</style></head><body><p>&nbsp;</p></body></html>", "short"),
        ("reply", TAP, "<ol><li>Close the tap.</li><li>Lift the lid and turn the", "cut"),
        ("rewrite", ORDER, "TODO", "placeholder"),
    ],
)
def test_bad_answer_is_rejected_in_tables_pages_comments_and_bbcode(
    kind: str, given: str, text: str, code: str
) -> None:
    """As in any other form in which tools store answers."""
    assert code in rejections(kind, given, text)


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("reply", TAP, "Hello,<br><br>close the tap, then lift the lid.<br>Kind regards,<br>Anna"),
        ("reply", TAP, "<p>Run this:</p><pre><code>curl {{host}}/lid</code></pre><p>Then lift the lid.</p>"),
        (
            "rewrite",
            '<a class="button" href="/cart">View the cart</a>',
            '<a class="btn" href="/cart">View the cart</a>',
        ),
        ("free", "Salt & Stone", "<img src='a.png' alt='Salt &amp; Stone'/>"),
    ],
)
def test_markup_is_no_reason_to_reject(kind: str, given: str, text: str) -> None:
    """Line breaks alone, code within a text, new attributes and an image."""
    assert not rejections(kind, given, text)


def steps_of_pool(kind: str, outputs: list[str]) -> list[GateStep]:
    seeds = [Seed(text=f"Question {n}?", reference=text, kind="pair", source="t") for n, text in enumerate(outputs)]
    task = TaskSettings(name="x", style="Write politely.", kind=kind)
    return gates_for(task, GateSettings(), Path(), seeds=seeds)


def flags(steps: list[GateStep], text: str) -> set[str]:
    return {flag for step in steps for flag in run_gate(step, pair(TAP, text)).flags} | {
        judgement.reason.code for step in steps if (judgement := run_gate(step, pair(TAP, text))).keep is False
    }


def test_html_is_no_flag_where_it_is_the_form() -> None:
    """At least half of the imported answers are HTML: a paragraph in a tag, or an entity in a plain one, is normal."""
    html = [f"<p>Close tap {n}, then lift the lid.</p>" for n in range(6)]
    plain = [f"Close tap {n}, then lift the lid." for n in range(6)]
    for text, code in (("<p>Close the tap.</p>", "tagged"), ("Close the tap &amp; lift the lid.", "markup")):
        assert code not in flags(steps_of_pool("reply", html + plain), text)
        assert code in flags(steps_of_pool("reply", html[:2] + plain), text)


def test_signature_of_imported_html_is_known() -> None:
    """What imported answers share is read without their tags, as the answers are."""
    closing = "<p>Kind regards,<br>Marta Olsen<br>Fjord Pumps</p>"
    steps = steps_of_pool("reply", [f"<p>Close tap {n}, then lift the lid.</p>{closing}" for n in range(9)])
    assert "invented_name" not in flags(steps, f"<p>Close the tap first.</p>{closing}")


def test_patterns_see_the_raw_text_and_the_text_alone() -> None:
    """A `must` is met by either, a `must_not` broken by either."""
    text, task = "<p>I&#39;m glad.</p><p>Anna</p>", TaskSettings(name="x", style="Write politely.", kind="reply")
    for pattern in (r"<p>", r"I'm", r"Anna\Z"):
        named = [{"name": "one", "pattern": pattern}]
        for settings, kept in (({"must": named}, True), ({"must_not": named}, False)):
            steps = gates_for(task, GateSettings.model_validate(settings), Path())
            (step,) = (step for step in steps if "one" in step.by)
            assert run_gate(step, pair(TAP, text)).keep is kept


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?m)^\s*[-*] ", "<p>Do this:</p><ul><li>Close the tap</li><li>Lift the lid</li></ul>"),
        ("`", "<p>Run <code>ls</code>.</p><pre><code>ls -l</code></pre>"),
        (r"\|", "<table><tr><td>Close</td><td>Lift</td></tr></table>"),
        (r"(?m)^>", "[quote]Close the tap.[/quote]\nDone."),
    ],
)
def test_markdown_is_not_found_in_html(pattern: str, text: str) -> None:
    """`must_not` against Markdown had rejected every answer with a list in HTML, whose items are read with hyphens."""
    task = TaskSettings(name="x", style="Write politely.", kind="reply")
    gates = GateSettings.model_validate({"must_not": [{"name": "one", "pattern": pattern}]})
    (step,) = (step for step in gates_for(task, gates, Path()) if "one" in step.by)
    assert run_gate(step, pair(TAP, text)).keep is True


def test_patterns_are_searched_in_text_without_bbcode() -> None:
    """As in the text of HTML: a word with a tag in it is the word."""
    task = TaskSettings(name="x", style="Write politely.", kind="reply")
    for settings, kept in (("must", True), ("must_not", False)):
        gates = GateSettings.model_validate({settings: [{"name": "one", "pattern": r"\AHello there"}]})
        (step,) = (step for step in gates_for(task, gates, Path()) if "one" in step.by)
        assert run_gate(step, pair(TAP, "[b]Hello[/b] there, close the tap.")).keep is kept


def test_code_has_no_bbcode() -> None:
    """Letters in brackets are indexes, unless one of them is closed."""
    for code in ("a[i] = b[i].split(/[/\\s]/)", "x[s] in '[/tmp]'"):
        assert without_formatting(code) == code
    assert without_formatting("[i]a[/i] [B]b[/B]") == "a b"


def test_style_that_asks_for_markup_is_part_of_every_fingerprint_of_a_text() -> None:
    """Such a style turns the reading without tags off, so earlier verdicts are void, also those of gates that do not
    depend on the style otherwise."""

    def steps(style: str) -> dict[str, GateStep]:
        task = TaskSettings(name="x", style=style, kind="reply")
        settings = GateSettings.model_validate({"pii": True})
        return {step.by.partition("@")[0]: step for step in gates_for(task, settings, Path())}

    politely, warmly, as_html = steps("Write politely."), steps("Write warmly."), steps("Write HTML, politely.")
    for name in ("gate/length", "gate/language", "gate/mixed_language", "gate/pii"):
        assert politely[name].fingerprint == warmly[name].fingerprint != as_html[name].fingerprint
    short = pair(TAP, "<p></p>")
    assert run_gate(politely["gate/length"], short).keep is False
    assert run_gate(as_html["gate/length"], short).keep is True


def test_copied_worked_example_in_html_is_found() -> None:
    """Examples are read without their tags, as the answers are."""
    answer = "<p>Unscrew the cap, rinse the filter under warm water, then let it dry overnight.</p>"
    task = TaskSettings(name="x", style="Write politely.", kind="reply")
    given = [Exemplar(input="How do I clean the filter?", output=answer)]
    (echo,) = (step for step in gates_for(task, GateSettings(), Path(), given) if "/echo@" in step.by)
    assert run_gate(echo, pair("When do you open on Sundays?", answer)).reason.code == "echo"


def test_values_and_translations_are_compared_without_entities() -> None:
    """`&#39;` is no number 39, `1&nbsp;450` one number, and a tag that a translation loses is still missed."""
    task = TaskSettings(name="x", style="Into English.", kind="translate", language="it", to="en")
    steps = gates_for(task, GateSettings.model_validate({"translated": True}), Path())
    source = "<p>Cuocere per <b>mezz&#39;ora</b>, da 1&nbsp;450 a 1&nbsp;520 secondi.</p>"

    def judged(text: str) -> tuple[bool | None, tuple[str, ...]]:
        (judgement,) = (run_gate(step, pair(source, text)) for step in steps if "/translated@" in step.by)
        return judgement.keep, judgement.flags

    assert judged("<p>Bake for <b>half an hour</b>, from 1,450 to 1,520 seconds.</p>") == (True, ())
    assert judged("<p>Bake for half an hour, from 1,450 to 1,520 seconds.</p>") == (True, ("lost_variable",))


@pytest.mark.parametrize(
    "text", ["a < b", "<script>x</script>", "<b>Note</b> that 3 < 4", "<x-card>a</x-card>", "<svg><p>a</p></svg>"]
)
def test_text_with_other_markup_stays_as_it_is(text: str) -> None:
    """Only a text that is wholly in tags that format it loses them."""
    assert without_formatting(text) == text


def test_judged_pairs_keep_their_own_texts_in_another_process() -> None:
    """What a gate has read of a pair does not become the text of the pairs that are sent beside it."""
    given = [
        pair(ORDER, "Could you tell me where my order is?"),
        pair(TAP, "Lift the lid."),
        pair(TAP, "How do I <b>descale</b> it, please?"),
    ]
    shown = [text_pair(one) for one in given]
    sent = pickle.loads(pickle.dumps(given))
    assert [text_pair(one) for one in sent] == shown
