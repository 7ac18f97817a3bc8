"""What each gate rejects and what it accepts: short cases written for the rules, none of them a row of the defect
files."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from curate.gate_versions import VERSIONS
from curate.gates import Judgement, free_tables, gates_for, judge, judge_text
from curate.gates.chat import answered
from curate.gates.content import lost_content, quotations
from curate.gates.damage import encoding
from curate.gates.form import echo, length, repetition
from curate.gates.language import language
from curate.gates.phrases import lexicon, phrases
from curate.gates.preamble import preamble
from schemas.errors import SpecError
from schemas.kinds import with_defaults
from schemas.records import Generated, Imported, Pair, Sampling
from schemas.spec import GateSettings, LengthSettings, Pattern, Spec, TaskSettings

TASK = TaskSettings(name="demo", style="Rewrite it in full.")


def pair(input: str, output: str, system: str = "") -> Pair:
    return Pair(seed_id="s", input=input, output=output, system=system, origin=Imported(source="test"))


def backward(input: str, output: str) -> Pair:
    origin = Generated(
        generator="backward", prompt="simplify/v1@0", teacher="t", sampling=Sampling(), calls=(("k", 1),)
    )
    return Pair(seed_id="s", input=input, output=output, system="", origin=origin)


def word(judgement: Judgement) -> str:
    """The reason code of a rejection; `ok` for a pass."""
    assert judgement.keep is (judgement.reason.code == "ok"), judgement
    return judgement.reason.code


BAND = LengthSettings(min_words=4, max_words=8, min_ratio=1.5, max_ratio=6)


@pytest.mark.parametrize(
    ("input", "output", "expected"),
    [
        ("red fox", "a red fox", "short"),
        ("red fox", "a red fox in fresh white snow", "ok"),
        ("red fox", "a red fox in fresh snow --ar 16:9", "ok"),
        ("red fox", "a red fox in fresh white snow --ar 16:9", "long"),
        ("red fox", "one two three four five six seven eight nine", "long"),
        ("fox", "one two three four five six seven", "long"),
        ("a red fox in deep snow", "a red fox in the deep snow", "short"),
        ("狐狸", "一只红色的狐狸", "ok"),
        ("", "one two three four", "ok"),
    ],
)
def test_length_counts_words_and_their_ratio(input: str, output: str, expected: str) -> None:
    """Limits apply to the word count and to the ratio of output to input. An option counts as two words; scripts
    without spaces are counted by character."""
    assert word(length(pair(input, output), BAND)) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("a street at night, a neon street at night, a neon street at night, a neon street at night, a neon", "loop"),
        ("a tall ship under a very very very very dark sky by the old harbour wall", "loop"),
        ("soft light, wooden table, soft light, bread and butter, soft light, morning haze, blue plates", "loop"),
        ("a calm sea and then noooooooooooooooooooo", "loop"),
        ("a lone seal, a lone bird, a lone cry, a lone boat, a lone man, a lone wave, grey", "loop"),
        ("a long, long road between long walls, soft light from the left, soft shadows on the right", "ok"),
        ("row upon row of white tents, no people, no flags, no trees, a very, very quiet plain", "ok"),
        ("Thank you for your order. Thank you for your patience while the parcel was on its way to you.", "ok"),
        ('[{"name": "bolt", "qty": 4}, {"name": "nut", "qty": 8}, {"name": "washer", "qty": 2}]', "ok"),
        ("-------------------- a heading --------------------", "ok"),
        ("", "ok"),
    ],
)
def test_repetition_finds_loops_and_leaves_lists_alone(output: str, expected: str) -> None:
    """A loop is distinguished from a list, an anaphora, a horizontal rule and the keys of JSON text."""
    assert word(repetition(pair("x", output))) == expected


@pytest.mark.parametrize(
    ("input", "output", "expected"),
    [
        ("a red fox in snow", "A red fox in  snow! --ar 3:2", "echo"),
        ("two cats sleep on a warm roof", "An image of two cats that sleep on the warm roof", "echo"),
        ("a red fox", "", "echo"),
        ("a red fox in snow", "a red fox in snow at dusk, frost on its whiskers", "ok"),
        ("refund order 4471", "We have sent the refund for your order 4471 today.", "ok"),
    ],
)
def test_echo_rejects_the_repeated_input(input: str, output: str, expected: str) -> None:
    """Changes of case, options and filler words do not count as additions; a few real words do."""
    assert word(echo(pair(input, output))) == expected


SHOWN = (
    ("where is the old mill", "The old mill by the river can be visited."),
    ("bridge in fog", "an iron bridge in fog"),
)


@pytest.mark.parametrize(
    ("row", "kind", "keeps", "flags"),
    [
        (pair("a red fox in snow", "The old mill, by the river, can be visited"), "rewrite", False, ()),
        (pair("a red fox in snow", "The old mill by the river can be visited."), "reply", True, ("echo",)),
        (pair("old mill?", "The old mill by the river can be visited."), "rewrite", True, ()),
        (pair("where is the old mill", "It stands by the river, and takes visitors on Sundays."), "rewrite", True, ()),
        (backward("bridge in fog", "a carousel at a fair, at dusk"), "rewrite", False, ()),
        (backward("bridge in fog", "a red suspension bridge in deep sea fog"), "rewrite", True, ()),
    ],
)
def test_repeated_worked_example_is_an_echo(row: Pair, kind: Any, keeps: bool, flags: tuple[str, ...]) -> None:
    """Small teachers repeat a worked example when they have nothing to say, including as the output for an input they
    generate. A row that legitimately shares its content with the example is kept."""
    judged = echo(row, kind=kind, exemplars=SHOWN)
    assert (judged.keep, judged.flags) == (keeps, flags)
    assert keeps or "worked example" in str(judged.reason)


@pytest.mark.parametrize("output", ["in snow a red fox", "Red foxes, in snow", "A Red Fox, in Snow!"])
def test_reordered_or_inflected_echo_is_flagged(output: str) -> None:
    """It may be what was asked for, e.g. a note put in order or a corrected mistake."""
    assert echo(pair("a red fox in snow", output)).keep is True
    assert echo(pair("a red fox in snow", output)).flags == ("echo",)


@pytest.mark.parametrize(
    ("language", "input", "output"),
    [
        (
            "en",
            "The shop is shut on sundays it opens again on Monday.",
            "The shop is shut on Sundays. It opens on Monday.",
        ),
        ("en", "I look forward to here from you soon.", "I look forward to hearing from you soon."),
        ("de", "Ich hoffe das du gut angekommen bist.", "Ich hoffe, dass du gut angekommen bist."),
        ("ru", "Мы знаем что вы заняты.", "Мы знаем, что вы заняты."),
        ("zh", "他跑的很快。", "他跑得很快。"),
    ],
)
def test_corrected_sentence_is_not_an_echo(language: str, input: str, output: str) -> None:
    """Correcting a good text changes little of it: a comma, a capital, a spelling mistake. The same change in a reply
    is an echo of the question."""
    corrected = echo(pair(input, output), language=language)
    assert (corrected.keep, corrected.flags) == (True, ())
    assert word(echo(pair("Is it in?", "Is it IN?"), kind="reply")) == "echo"


def test_unchanged_text_is_only_flagged_where_the_style_asks_for_corrections() -> None:
    """If the style asks for corrections, in any language, an unchanged text is only flagged, and a corrected note is
    not flagged at all. Under another style an unchanged text is rejected."""
    assert echo(pair("All is well.", "All is well."), style="Proofread the text.").flags == ("echo",)
    assert echo(pair("all is well", "all is well"), style="Be brief.").keep is False
    assert (
        echo(pair("komme spaeter heim", "Komme später heim"), style="Rechtschreibung prüfen", language="de").flags == ()
    )


def test_repeated_instruction_is_an_echo() -> None:
    """An output that starts like the system prompt or the style is rejected, unless the input has the same words."""
    system = "Rewrite the input as one rich line. End with: yours truly, the friendly team of the shop"
    leaked = "Rewrite the input as one rich line: a fox on a hill at dawn"
    assert word(echo(pair("a fox", leaked, system))) == "echo"
    assert word(echo(pair("a fox", leaked), style=system)) == "echo"
    assert "instruction" not in echo(pair("rewrite the input as one rich line: a fox", leaked, system)).reason.detail
    assert word(echo(pair("late", "It comes today. Yours truly, the friendly team of the shop", system))) == "ok"


@pytest.mark.parametrize(
    ("input", "output", "expected"),
    [
        ("a fox", "Sure, here's an enhanced image prompt: a fox in the snow", "preamble"),
        ("a fox", "Certainly! A fox in the snow, soft light", "preamble"),
        ("a fox", "Rewritten prompt: a fox in the snow", "preamble"),
        ("a fox", "**Output:** a fox in the snow", "preamble"),
        ("a fox", "I've rewritten it for you. A fox in the snow", "preamble"),
        ("a fox", "a fox in the snow<|im_end|>", "special_token"),
        ("a fox", "a fox in the snow\n\nUser: a dog\nAssistant: a dog on a beach", "special_token"),
        ("a fox", "a fox in the snow. Feel free to adjust it to your taste.", "afterword"),
        ("a fox", "a fox in the snow. This prompt captures the beauty of winter.", "afterword"),
        ("a fox", "I'm sorry, but I can't generate images of animals.", "refusal"),
        ("a sign 'Sure, here it is'", "a sign 'Sure, here it is' above a door", "ok"),
        ("order late", "Sure! We have looked into your order, and it arrives tomorrow.", "ok"),
        ("order late", "I'm sorry, but I can't change your order any more, it has left our shop.", "ok"),
        ("new label", "Here is the update that you asked for: your label is attached.", "ok"),
        ("firmware?", "Here is the latest version of the firmware for your lamp.", "ok"),
        ("plan change", "Let me know if you need any changes to your plan.", "ok"),
        ("hours", "Feel free to contact us from 9 to 5 on any day of the week.", "ok"),
    ],
)
def test_preamble_rejects_chat_but_not_courtesy(input: str, output: str, expected: str) -> None:
    """Talk about the text is rejected; a polite sentence in a reply is not."""
    assert word(preamble(pair(input, output))) == expected


PROMPT_STYLE = "Expand the user's words into one rich image prompt."
REPLY_STYLE = "Turn the agent's note into the reply to the customer."


@pytest.mark.parametrize(
    ("input", "output", "expected"),
    [
        ("a fox", "That's a wonderful idea! Foxes are shy.", "answered"),
        ("a fox", "I would be happy to draw a fox for you.", "answered"),
        ("a fox", "Could you tell me what style you would like for the scene?", "answered"),
        ("a fox", "a fox is asleep in the snow, its tail around its nose", "ok"),
        ("photo of a fox", "photo of a fox in the snow, 85mm lens", "ok"),
        ("crack, warranty yes", "The photo that you sent shows a crack, so your warranty covers it.", "ok"),
        ("more info", "Could you tell us more about the problem, and which model you have?", "ok"),
        ("reset steps", "To reset your password, open the settings and press the key.", "ok"),
        ("help", "We are happy to help you with your order.", "ok"),
        ("got it", "Your request has been received and we are on it.", "ok"),
        ("a painting of a fox", "a painting of a fox on a kitchen wall", "ok"),
    ],
)
@pytest.mark.parametrize("style", ["", PROMPT_STYLE, REPLY_STYLE])
def test_answered_rejects_replies_to_the_asker(input: str, output: str, expected: str, style: str) -> None:
    """Talking to the asker is rejected under every style; questions and offers of help in a reply are not."""
    assert word(answered(pair(input, output), style)) == expected


@pytest.mark.parametrize(
    ("style", "input", "output"),
    [
        (PROMPT_STYLE, "paint a fox", "To paint a fox, start with the outline of the head."),
        (PROMPT_STYLE, "a fox", "The image shows a fox that sleeps in the snow."),
        (PROMPT_STYLE, "a fox", "A fox is a kind of small wild dog."),
        (PROMPT_STYLE, "old mill", "The old mill dates back to the 17th century."),
        (PROMPT_STYLE, "a fox", "a fox, adding more details such as its fur would help"),
        (REPLY_STYLE, "parcel late", "You should tell the customer that the parcel is late."),
    ],
)
@pytest.mark.parametrize(
    "other_style",
    [
        "Write the alt text of the picture.",
        "Write the how-to for the topic.",
        "Explain the term for a glossary.",
        "Write guidance for support agents.",
        "Write the brochure text.",
        "Send a prompt, friendly e-mail.",
        "",
    ],
)
def test_style_specific_rules_apply_only_under_that_style(
    style: str, input: str, output: str, other_style: str
) -> None:
    """Rules measured on prompts or on replies apply only where the style mentions them."""
    assert word(answered(pair(input, output), style)) == "answered"
    assert word(answered(pair(input, output), other_style)) == "ok"


def test_the_style_may_ask_for_a_phrase() -> None:
    """A phrase that the style itself requires is not rejected."""
    text = pair("a fox", "The image shows a fox in the snow.")
    assert word(answered(text, style="Rewrite the prompt.")) == "answered"
    assert word(answered(text, style='Rewrite the prompt. Begin with "The image shows".')) == "ok"


LABELLED = (
    "Blank page after an empty form\n\nSystem: Linux\nUser: any\nInput: an empty form\nOutput: a blank page",
    "Nora: Who is it?\nUser: Me.\nSystem: And who is that?",
    "The tool reads a table.\n\nInput: a CSV file\nOutput: one line per column",
    "Browser: Firefox\nResponse: none\nExpected: a page",
    "Input: two spaces\nOutput: a crash\n\nExpected: an error",
)


@pytest.mark.parametrize("text", LABELLED)
def test_label_within_a_text_is_not_a_leak(text: str) -> None:
    """Bug reports, runbooks and dialogues have lines such as `Input:`; only a label at the start of the output is
    suspect."""
    assert word(preamble(pair("notes", text))) == "ok"


@pytest.mark.parametrize("label", ["Input", "Output", "System", "User", "**Answer**", "### Response"])
def test_label_at_the_start_is_a_leak_unless_the_task_uses_labels(label: str) -> None:
    """`Output: a fox` is a copied label, unless the style asks for a dialogue or the input has the same label."""
    text = f"{label}: a fox in the snow"
    assert word(preamble(pair("a fox", text))) in ("preamble", "special_token")
    if "#" not in label:
        assert word(preamble(pair("a fox", text), "Write the dialogue of the two.")) == "ok"
        assert word(preamble(pair(f"a fox, {label.strip('*')} first", text))) == "ok"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't help with that over the phone, but I have sent you a link by e-mail.", "ok"),
        ("Hello Ben, I'm not able to assist with that printer, its maker is.", "ok"),
        ("I'm unable to provide a refund after 60 days.", "ok"),
        ("I can't see the photo that you attached to your message.", "ok"),
        ("I cannot draw the money from your card before Monday.", "ok"),
        ("I can't help with that.", "refusal"),
        ("I'm sorry, but I can't assist with that request.", "refusal"),
        ("I can't write this message for you.", "refusal"),
        ("I'm not able to generate such a description.", "refusal"),
        ("As an AI language model, I cannot help with that.", "refusal"),
        ("I'm sorry, but as an AI, I'm unable to assist with this request.", "refusal"),
    ],
)
def test_refusal_is_distinguished_from_customer_service(text: str, expected: str) -> None:
    """`I can't help with that` within a reply is service; on its own, or about the writing itself, it is a refusal."""
    assert word(preamble(pair("note", text))) == expected


@pytest.mark.parametrize(
    "text", ["As an AI, I can't help with that over the phone.", "I'm an AI. What can I do for you?"]
)
def test_ai_that_mentions_itself_is_flagged(text: str) -> None:
    """A bot may say that it is one, so the row is kept and flagged for a look."""
    assert preamble(pair("note", text)).keep is True
    assert preamble(pair("note", text)).flags == ("refusal",)


@pytest.mark.parametrize(
    ("input", "output", "expected"),
    [
        ("three owls", "3 owls on a branch", "ok"),
        ("3 owls", "a trio of owls on a branch", "ok"),
        ("two cats", "a pair of cats", "ok"),
        ("a dozen eggs", "twelve eggs in a basket", "ok"),
        ("25 candles", "twenty-five candles on a cake", "ok"),
        ("205 lamps", "two hundred and five lamps", "ok"),
        ("1,200 chairs", "1200 chairs in a hall", "ok"),
        ("refund 20.00", "we refund 20 euros", "ok"),
        ("5k run", "a run of 5,000 metres, a crowd at the finish", "ok"),
        ("1980s diner", "a diner from the '80s", "ok"),
        ("pickup 3pm", "pickup at 15:00 at our door", "ok"),
        ("pickup 14:00", "pickup at 2 p.m. at our door", "ok"),
        ("delivery 5/3", "delivery on 5 March", "ok"),
        ("2nd floor flat", "a flat on the second floor", "ok"),
        ("tracking PW55120", "your tracking number is PW-55120", "ok"),
        ("phone 555 0132", "phone us under 555-0132", "ok"),
        ("a 16:9 shot of a dune", "a shot of a dune --ar 16:9", "ok"),
        ("one fox", "a fox in the snow", "ok"),
        ("1. a fox\n2. a hen", "a fox and a hen", "ok"),
        ("three owls", "four owls on a branch", "lost_number"),
        ("three owls", "owls on a branch --ar 3:2", "lost_number"),
        ("35 balloons", "balloons in the sky, 35mm lens", "lost_number"),
        ("35 balloons", "balloons in the sky, 35mm anamorphic lens", "lost_number"),
        ("tyre 32 fits", "a tyre of 32 mm fits your wheel", "ok"),
        ("pitch 35mm film, three rolls", "three rolls of 35mm film", "ok"),
        ("order 91008", "your order 91080", "lost_number"),
        ("tracking PW55120", "your tracking number is PX55120", "lost_number"),
        ("refund 20.50", "we refund 20 euros", "lost_number"),
        ('sign "OPEN"', "a sign that says 'Open', wet street", "ok"),
        ("“Nightjar” lamp", 'the "Nightjar," a lamp', "ok"),
        ('6" pipe and 8" pipe', "a pipe of 6 inches and a pipe of 8 inches", "ok"),
        ("the dog's bowl and the cat's bed", "the bowl of the dog, the bed of the cat", "ok"),
        ('sign "OPEN LATE"', "a sign that says OPEN, it is late", "lost_quote"),
        ('"Nightjar" lamp', "a lamp that burns all night", "lost_quote"),
        ("wolves in fog", "a wolf that howls in the fog", "ok"),
        ("light house", "a lighthouse above the sea", "ok"),
        ("lighthouse", "a light house above the sea", "ok"),
        ("light on a table", "a lighthouse above the sea", "lost_subject"),
        ("lighthouse on a cliff", "a light above a street, soft morning", "lost_subject"),
        ("firefighter", "a fire in the yard", "lost_subject"),
        ("bookkeeper", "a book on a shelf", "lost_subject"),
        ("sky", "a spooky house by the road", "lost_subject"),
        ("sunflower", "the sun above a flower shop", "lost_subject"),
        ("the baker's oven", "ovens of bakers", "ok"),
        ("children running", "a child that ran", "ok"),
        ("astronout in space", "an astronaut far from home", "ok"),
        ("pw reset, acct locked", "Your password was reset and your account is open.", "ok"),
        ("angry cust, apologise, parcel late", "We are sorry that your parcel has not come.", "ok"),
        ("sad robot", "a robot with drooping arms", "ok"),
        ("a heron in the reeds", "a penguin on the ice", "lost_subject"),
        ("a kettle on an old blue stove", "a dog on a lawn beside an old wall", "lost_subject"),
        ("an interview with a woman who has tuned pianos for 50 years", "A Life in Tune", "ok"),
        ("an interview with a woman who has tuned pianos for 50 years", "It was a life in tune.", "lost_number"),
        ("three boats on the sea at dawn", "boats on the sea", "lost_number"),
        ("the", "a fox", "ok"),
        ("", "a fox", "ok"),
    ],
)
def test_lost_content_is_strict_on_numbers_and_quotes_and_mild_on_words(input: str, output: str, expected: str) -> None:
    """A number may be written in any usual way, a quotation must keep its words, a subject may take any of its
    forms."""
    assert word(lost_content(pair(input, output))) == expected


def test_quotations_are_recognised_in_every_kind_of_marks() -> None:
    """Straight, curly, low and angled marks open a quotation; an inch mark and an apostrophe do not."""
    text = "\"one\" \u201ctwo\u201d «three» „four\u201c 'five' \u2018six\u2019 7\" it's the dogs' 8\""
    assert quotations(text) == ("one", "two", "three", "four", "five", "six")


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        ("en", "Una città di notte sotto la pioggia, luci al neon riflesse sull'asfalto bagnato e lucido", "language"),
        ("en", "a tower clock, ein alter Turm über dem Marktplatz, warmes Licht am Abend, ruhige Stimmung", "language"),
        ("de", "Your order has left our shop today and will arrive on Friday, thank you for waiting.", "language"),
        ("en", "一只猫在窗边睡觉", "language"),
        ("en", "рыжая лиса на снегу", "language"),
        ("ru", "Your order has left our shop today and will arrive on Friday, thank you for waiting.", "language"),
        ("de", "Vielen Dank für Ihre Nachricht, Ihre Bestellung ist heute aus dem Haus gegangen.", "ok"),
        ("ja", "窓辺で眠る猫、やわらかな朝の光", "ok"),
        ("en", "sushi bar, tokyo, bokeh", "ok"),
        ("en", "café au lait, croissant, Alphonse Mucha", "ok"),
        ("en", "kintsugi bowl, wabi-sabi, tatami, shoji, matcha, Kyoto machiya, ikebana, washi, noren --ar 3:2", "ok"),
        ("en", "macro, 85mm, f/1.4, 8k", "ok"),
        ("en", "", "ok"),
        ("en", "🦊❄️!!!", "ok"),
    ],
)
def test_language_rejects_only_certain_cases(code: str, output: str, expected: str) -> None:
    """Sentences in another language or script are rejected; fragments, names and loan words are not."""
    assert word(language(pair("x", output), code)) == expected


def test_text_quoted_from_the_input_does_not_count_towards_the_language() -> None:
    """A long foreign sign text that the user asked for does not make the prompt foreign."""
    sign = "Willkommen in der alten Bäckerei am Marktplatz, heute frisches Brot und Kuchen aus dem Ofen"
    assert (
        word(language(pair(f'a sign "{sign}"', f'a sign that says "{sign}" above a narrow green door'), "en")) == "ok"
    )


def test_generated_input_is_judged_and_a_users_input_is_not() -> None:
    """In the backward direction the input is generated, so it is judged; otherwise a user typed it, and it is not."""
    chatty, excellent = "Sure! Here is a short version of the prompt: a fox", "a fox in the snow, soft morning light"
    assert word(preamble(backward(chatty, excellent))) == "preamble"
    assert word(preamble(pair(chatty, excellent))) == "ok"
    assert word(repetition(backward("fox fox fox fox fox", excellent))) == "loop"
    assert word(repetition(pair("fox fox fox fox fox", excellent))) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "gate"),
    [
        ("Aquí tiene la traducción: Hay que guardar silencio de 22 a 6 h.", "preamble"),
        ("Claro, aquí está la traducción:\nHay que guardar silencio de 22 a 6 h.", "preamble"),
        ("Lo siento, no puedo traducir este texto.", "preamble"),
        ("Please be quiet from 10 p.m. to 6 a.m.", "mixed_language"),
        ("Cisza nocna jest od 22 do 6.", "mixed_language"),
        ("Hay que guardar silencio de 22 a 6 h.", ""),
    ],
)
def test_a_generated_source_of_a_translation_is_judged_in_its_own_language(source: str, gate: str) -> None:
    """A source that a teacher wrote backward is in the language of the inputs, and without chat or a refusal in it. It
    is no excuse for itself."""
    task = {"name": "signs", "kind": "translate", "style": "Krótko.", "language": "es", "to": "pl"}
    spec = Spec.model_validate(with_defaults({"task": task}))
    verdicts = judge(
        backward(source, "Cisza nocna obowiązuje od 22 do 6."), gates_for(spec.task, spec.curate.gates, Path())
    )
    objecting = [verdict.by for verdict in verdicts if not verdict.keep or verdict.flags]
    assert any(f"/{gate}@" in by for by in objecting) if gate else objecting == []


def test_patterns_are_gates_of_their_own() -> None:
    """Each missing or forbidden pattern is reported by name, and one does not hide another."""
    gates = GateSettings(
        length=False,
        must=(Pattern(name="ar_flag", pattern=r"--ar \d+:\d+\Z"), Pattern(name="light", pattern=r"(?i)\blight\b")),
        must_not=(Pattern(name="slot", pattern=r"\[[^\]]*\]"),),
    )
    judgements = judge_text("fox", "a fox in [place], soft light", gates_for(TASK, gates, Path()))
    assert judgements["gate/must:ar_flag@1"].reason.code == "missing:ar_flag"
    assert judgements["gate/must:light@1"].keep is True
    assert judgements["gate/must_not:slot@1"].reason.code == "present:slot"
    assert "[place]" in judgements["gate/must_not:slot@1"].reason.detail


def test_a_pattern_name_used_twice_is_refused() -> None:
    """Two patterns of one name could not be distinguished in a report."""
    gates = GateSettings(must=(Pattern(name="flag", pattern="a"), Pattern(name="flag", pattern="b")))
    with pytest.raises(SpecError, match="two patterns are named 'flag'"):
        gates_for(TASK, gates, Path())


def test_every_language_listed_as_known_is_a_label_of_the_model() -> None:
    """`is_known` answers for common languages without loading the model, so the model must know each of them."""
    gate = import_module("curate.gates.identification")
    assert {*gate.WRITTEN.split()} <= {*gate.shared_identifier().labels}
    assert gate.is_known("en")
    assert gate.is_known("rw")
    assert not gate.is_known("xx")


def test_unknown_language_is_refused_unless_the_gate_is_off() -> None:
    """A language that the identifier does not know raises SpecError at once; with the language gate off it is
    allowed."""
    task = TASK.model_copy(update={"language": "xx"})
    with pytest.raises(SpecError, match=r"task\.language.*'xx'"):
        gates_for(task, GateSettings(), Path())
    assert gates_for(task, GateSettings(language=False), Path())


def test_fingerprint_of_a_gate_depends_only_on_its_settings() -> None:
    """Changing a gate's settings changes the fingerprint of that gate and of no other; equal settings give equal
    fingerprints."""
    before = {s.by: s.fingerprint for s in gates_for(TASK, GateSettings(), Path())}
    after = {s.by: s.fingerprint for s in gates_for(TASK, GateSettings(length=LengthSettings(min_words=9)), Path())}
    assert before == {s.by: s.fingerprint for s in gates_for(TASK, GateSettings(), Path("elsewhere"))}
    assert {by for by in before if before[by] != after[by]} == {f"gate/length@{VERSIONS['length']}"}


def test_a_gate_that_raises_leaves_the_row_waiting() -> None:
    """A crash in a gate is neither a pass nor a rejection; its reason names the exception."""
    step = gates_for(TASK, GateSettings(), Path())[0]
    broken = type(step)(step.by, step.fingerprint, partial(length, bounds=None))  # type: ignore[arg-type]
    (verdict,) = judge(pair("a", "b"), [broken])
    assert verdict.keep is None
    assert str(verdict.reason).startswith("crashed: AttributeError")


def test_judge_and_judge_text_agree() -> None:
    """The evaluation uses the same gates that selected the training rows."""
    steps = gates_for(TASK, GateSettings(), Path())
    subject = pair("a red fox", "a red fox asleep in fresh snow, frost on its whiskers, soft dawn light")
    verdicts = judge(subject, steps)
    assert [v.by for v in verdicts] == [s.by for s in steps]
    assert {v.pair_id for v in verdicts} == {subject.id}
    judgements = judge_text(subject.input, subject.output, steps)
    assert {v.by: (v.keep, v.score, v.reason, v.flags) for v in verdicts} == {
        by: tuple(j) for by, j in judgements.items()
    }


@pytest.mark.parametrize("mark", ["\x00", "\x1b[31m", "\x07", "\x7f"])
def test_control_character_is_rejected(mark: str) -> None:
    """Databases refuse a NUL, and a model learns terminal colour codes. A control character that the input has too, a
    tab, CR LF or a form feed is allowed."""
    assert str(encoding(pair("a fox", f"a red {mark}fox asleep in snow")).reason).startswith("control: ")
    assert encoding(pair(f"a {mark}fox", f"a red {mark}fox")).keep is True
    assert encoding(pair("a fox", "a red fox\tasleep\r\nin snow\x0c")).keep is True


@pytest.mark.slow  # each language that a later test needs is loaded again
def test_freed_tables_are_loaded_again() -> None:
    """`generate` frees the phrase tables after the gates have judged the exemplars, because 10 MB would be held during
    the whole run. A gate that runs later gives the same judgement."""
    phrases("en")
    refusal = pair("a fox", "I'm sorry, but I can't help with that.")
    before = preamble(refusal)
    assert before.keep is False
    free_tables()
    assert phrases.cache_info().currsize == lexicon.cache_info().currsize == 0
    assert preamble(refusal) == before
    assert lexicon.cache_info().currsize > 0


@pytest.mark.slow  # as above
def test_tables_are_freed_while_a_module_of_the_gates_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, another thread may judge rows and import a module at that moment."""
    name = "curate.gates.of_another_thread"
    module, imported = ModuleType(name), SimpleNamespace()
    imported.cache_clear = lambda: setattr(module, "imported_now", imported)
    module.table = imported  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    free_tables()
    assert hasattr(module, "imported_now")
