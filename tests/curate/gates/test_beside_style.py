"""What a style says is not held against a text: names, numbers and words of its own, and the texts that it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from curate.gates import judge
from schemas.records import Imported, Message, Pair
from tests.curate.gates.test_gate_rates import outcome_of, steps_of

FIELDS = {key: {"type": "string"} for key in ("item", "buyer", "phone")}


def flags_of(kind: str, style: str, given: str, text: str, language: str = "en", **more: Any) -> frozenset[str]:
    """The gates that reject or flag a row."""
    row = {"kind": kind, "language": language, "style": style, "input": given, "output": text, **more}
    rejecting, flagging = outcome_of(row)
    return rejecting | flagging


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("Always end with our hotline, 0800 555 0199.", "The lamp is back in stock. Call us on 0800 555 0199."),
        ("Give our address, shop@lindner.example.", "The lamp is back in stock. Write to shop@lindner.example."),
        ("Mention that we are open from 9 to 17.", "The lamp is back in stock. We are open from 9 to 17."),
        ("Sign as Helen Marsh.", "The lamp is back in stock.\n\nKind regards,\nHelen Marsh"),
    ],
)
def test_what_the_style_says_is_not_invented(style: str, text: str) -> None:
    """A number, an address, hours or a name that the style gives for every text is not flagged as invented; without
    that style it is."""
    assert not flags_of("rewrite", style, "lamp back in stock", text)
    assert flags_of("rewrite", "Write it well.", "lamp back in stock", text) & {"contacts", "invented", "invented_name"}


WILMA = "You are Wilma. A wash costs 4 euros. Call 01632 960 123 in an emergency. Mail: stay@pinelake.example."
ASKED = ("I am Ms Harper. Is there a washing machine?", "Yes, Ms Harper: in block C, for 4 euros. Call 01632 960 123.")


@pytest.mark.parametrize("begun", [{"system": WILMA}, {"turns": ASKED}])
def test_what_was_said_before_is_not_invented(begun: dict[str, Any]) -> None:
    """A price, an address or a name of earlier turns or of the row's own system prompt is not flagged, without them it
    is, and so is another one beside them."""
    steps = steps_of({"kind": "reply", "language": "en", "style": "Answer briefly."})
    turns = zip(("user", "assistant"), begun.get("turns", ()), strict=False)
    earlier = {"turns": tuple(Message(role=role, content=text) for role, text in turns)} if "turns" in begun else begun

    def objected(question: str, answer: str, **more: Any) -> bool:
        row = Pair(seed_id="", input=question, output=answer, origin=Imported(source="x"), **{"system": "", **more})
        return any(not verdict.keep or verdict.flags for verdict in judge(row, steps))

    kept = [("how much again?", "It is 4 euros."), ("which number?", "It is 01632 960 123.")]
    kept += [("bye", "Goodbye, Ms Harper!")] if "turns" in begun else [("your mail?", "It is stay@pinelake.example.")]
    for question, answer in kept:
        assert objected(question, answer)
        assert not objected(question, answer, **earlier)
    for question, answer in [("how much again?", "It is 9 euros."), ("which number?", "It is 01632 960 132.")]:
        assert objected(question, answer, **earlier)


@pytest.mark.parametrize(
    ("language", "style", "given", "text"),
    [
        ("en", "At most 60 words.", "lamp back in stock, with new shades", "The lamp is back, with 60 new shades."),
        ("en", "Give 3 examples.", "The course lasts a few months.", "The course lasts three months."),
        ("en", "Give three examples.", "The course lasts a few months.", "The course lasts 3 months."),
        ("sv", "Högst 30 ord.", "Cykeln är lätt och stark.", "Cykeln väger 30 kilo och är stark."),
        ("zh", "不超过50字。", "这家店卖很多种茶。", "这家店卖50种茶。"),
        ("ja", "3文以内で書いてください。", "会議は長かった", "会議は3時間かかりました。"),
        ("en", "Warm. Example: 'Ann will call within 3 days.'", "Somebody will call.", "Ann will call within 3 days."),
        (
            "en",
            "Never mention Veltron or its 19.99.",
            "our plan is cheap",
            "Our plan is cheaper than Veltron's at 19.99.",
        ),
        ("de", "Nenne keine Preise über 50 Euro.", "Das Zelt ist günstig.", "Das Zelt kostet 50 Euro."),
    ],
)
def test_a_number_of_examples_is_no_fact(language: str, style: str, given: str, text: str) -> None:
    """How much to write, an example of an output and what the style rules out excuse no number of a text."""
    assert "invented" in flags_of("rewrite", style, given, text, language)


@pytest.mark.parametrize(
    ("language", "style", "given", "text"),
    [
        ("en", "Mention the 14-day return period.", "shirt too small", "The shirt is too small; return it in 14 days."),
        ("en", "Don't forget our hotline, 0800 555 0199.", "lamp back", "The lamp is back. Call 0800-555-0199."),
        ("en", "No emojis, and sign as Helen Marsh.", "lamp back", "The lamp is back.\n\nHelen Marsh"),
        (
            "de",
            "Geöffnet: 9 bis 17 Uhr.",
            "lampe wieder da",
            "Die Lampe ist wieder da. Geöffnet zwischen 9 und 17 Uhr.",
        ),
        (
            "es",
            "Di que hay tres años de garantía.",
            "vuelve la lámpara",
            "Vuelve la lámpara, con tres años de garantía.",
        ),
        (
            "ko",
            "예의 바르게 답하세요: 끝에 02-555-0199를 쓰세요.",
            "램프 재입고",
            "램프가 재입고되었습니다. 02-555-0199",
        ),
        (
            "ja",
            "営業時間は9時から17時までと書いてください。",
            "ランプ入荷",
            "ランプが入荷しました。営業時間は9時〜17時です。",
        ),
    ],
)
def test_a_number_among_the_words_of_the_style_is_known(language: str, style: str, given: str, text: str) -> None:
    """Other words around it, or a denial of something else, do not make it an invention."""
    assert not flags_of("rewrite", style, given, text, language) & {"invented", "contacts", "invented_name"}


def test_numbers_of_the_style_are_weighed_in_a_reply_with_facts_too() -> None:
    """The gate for noted facts reads the style like the others."""
    given = "How long is the course?\n(a few months)"
    assert "facts" in flags_of("reply", "At most 60 words, 3 examples.", given, "The course lasts 3 months.")


def test_facts_noted_in_a_message_and_in_the_style_are_both_known() -> None:
    """A reply to a message with a note may also give the number and the name of the style."""
    text = "Yes, with milk.\n\nTom Hale, 020 7946 0000"
    assert not flags_of("reply", "Sign as Tom Hale, 020 7946 0000.", "Is there tea?\n(yes, with milk)", text)


def test_the_style_says_what_to_write_for_what_is_missing() -> None:
    """A value that the style gives for missing data is not invented; a value of another word is."""
    style, schema = 'JSON; write "not stated" for what is missing.', {"type": "object", "properties": FIELDS}
    for value, flagged in (("not stated", False), ("mobile", True)):
        record = f'{{"item": "honey", "buyer": "Ada", "phone": "{value}"}}'
        assert bool(flags_of("extract", style, "Honey for Ada.", record, schema=schema)) == flagged


@pytest.mark.parametrize(
    ("language", "style", "text"),
    [
        ("es", "Escribe una negativa amable.", "Lo siento, pero no puedo atenderle después del cierre."),
        ("it", "Scrivi un rifiuto cortese.", "Mi dispiace, ma non posso aiutarla dopo la chiusura."),
        ("ru", "Напиши вежливый отказ.", "Извините, но я не могу помочь вам после закрытия."),
        ("ja", "断りの一文を書いてください。", "誠に申し訳ございませんが、閉店後のご来店はお受けいたしかねます。"),
        ("ko", "정중한 거절 문장을 써 주세요.", "죄송합니다만, 영업 종료 후에는 도와드릴 수 없습니다."),
        ("pl", "Napisz uprzejmą odmowę.", "Przykro mi, ale nie mogę pomóc po zamknięciu."),
    ],
)
def test_a_refusal_may_be_the_text_that_was_asked_for(language: str, style: str, text: str) -> None:
    """A task that writes refusals gets refusals; a style that only mentions one does not excuse a model's own."""
    assert "preamble" not in flags_of("free", style, "19:30", text, language)
    english = "I'm sorry, but I can't help you with that."
    assert "preamble" in flags_of("free", "Customers wrote about our refusal. Sum up.", "late, cold, rude", english)


@pytest.mark.parametrize(
    ("language", "style", "text"),
    [
        ("en", "Write a polite refusal.", "I can't write that text for you."),
        ("en", "Write a polite refusal.", "I'm sorry, but I can't write this refusal. It goes against my guidelines."),
        ("es", "Escribe una negativa amable.", "Lo siento, pero no puedo escribir ese texto."),
        ("it", "Scrivi un rifiuto cortese.", "Mi dispiace, ma non posso scrivere questo testo."),
        ("ru", "Напиши вежливый отказ.", "Извините, я не могу написать этот текст."),
        ("ja", "断りの一文を書いてください。", "申し訳ありませんが、その文章を作成することはできません。"),
        ("ko", "정중한 거절 문장을 써 주세요.", "죄송하지만 그 문장을 작성할 수 없습니다."),
        ("pl", "Napisz uprzejmą odmowę.", "Przykro mi, ale nie mogę napisać tego tekstu."),
        ("nl", "Schrijf een beleefde afwijzing.", "Sorry, maar ik kan deze tekst niet schrijven."),
    ],
)
def test_a_model_that_refuses_to_write_a_refusal_is_rejected(language: str, style: str, text: str) -> None:
    """Where a refusal is the text to write, one that turns the writing down is the model's own."""
    row = {"kind": "free", "language": language, "style": style, "input": "19:30", "output": text}
    assert "preamble" in outcome_of(row).rejecting


def test_a_text_breaks_off_where_the_style_says_so() -> None:
    """An opening that is to break off in the middle of a sentence is not rejected as cut; any other one is."""
    text = "Every night the cat climbed the ninety steps. One evening the lamp stayed dark, and at the top she saw that"
    assert "cut" not in flags_of("free", "A story opening that breaks off in mid-sentence.", "lighthouse cat", text)
    assert "cut" in flags_of("free", "A story opening.", "lighthouse cat", text)


def test_a_style_without_questions_loses_none() -> None:
    """Where the style excludes question marks, a question may become a heading."""
    given, text = "hey so how do i change the card i pay with??", "Changing your payment card"
    assert "limits" not in flags_of("rewrite", "A heading, no question mark.", given, text)
    assert "limits" in flags_of("rewrite", "A heading.", given, text)


def test_a_note_of_the_translator_is_no_addition_where_it_is_asked_for() -> None:
    """A translation with the note that its style asks for has no added lines; `without notes` asks for none."""
    text = "Creamy rice\n\nNote: the Spanish word means a rice between dry and soupy."
    for style, flagged in (("Into English, with a translator's note.", False), ("Into English, without notes.", True)):
        flags = flags_of("translate", style, "Arroz meloso", text, "es", to="en")
        assert ("translated" in flags) == flagged


def test_an_offer_of_the_source_is_translated() -> None:
    """The last sentence of a translation is not the model's offer if the translation has no sentence more."""
    offer = "Would you like to know more? We would be happy to prepare a tailor-made quotation for you."
    given = "Wilt u meer weten? Wij maken graag een offerte op maat voor u."
    assert "preamble" not in flags_of("translate", "Naar het Engels.", given, offer, "nl", to="en")
    more = f"{offer} Let me know if you would like a shorter translation."
    assert "preamble" in flags_of("translate", "Naar het Engels.", given, more, "nl", to="en")
