# ruff: noqa: RUF001 (Cyrillic, Arabic)
"""What gates still catch next to the good rows for which their rules were relaxed: a row for each, and a similar good
one."""

from __future__ import annotations

import pytest

from curate.gates.answers import values
from curate.gates.asked_length import _lengths
from curate.gates.content import lost_content
from curate.gates.damage import cut
from curate.gates.doubted_labels import doubt_about_label
from curate.gates.facts import swapped
from curate.gates.limits import limits
from curate.gates.promises import invented_promise
from curate.gates.units import quantities
from tests.curate.tiny import pair

NOTE = "Le conseil a adopté le projet de piste, après deux heures de débat animé, malgré l'opposition des riverains"
SHORT = "Le conseil a adopté le projet de piste, malgré l'opposition des riverains."


@pytest.mark.parametrize(
    ("language", "given", "output"),
    [
        ("en", "2 500 g packs of flour", "Two packs of flour, 500 g each."),
        ("en", "6 250 ml bottles", "Six bottles of 250 ml each."),
        ("de", "4 100 g tafeln schokolade", "Vier Tafeln Schokolade zu je 100 g."),
        ("de", "miete 1200 euro", "Die Miete beträgt 1'200 Euro."),
        ("fr", "le prix est de 1500 euros", "Le prix s'élève à 1\u202f500 euros."),
    ],
)
def test_number_before_a_quantity_is_not_part_of_it(language: str, given: str, output: str) -> None:
    """Two packs of 500 g are not one of 2500; in languages that write spaces between thousands, 1 500 is one number."""
    assert swapped(pair(given, output), language).keep


def test_grouped_digits_keep_their_value() -> None:
    """A different grouped number is noticed, and so is one that lost its first group."""
    assert not swapped(pair("товар стоит 12000 рублей", "Товар стоит 21 000 рублей."), "ru").keep
    assert not swapped(pair("le prix est de 1 500 euros", "Le prix s'élève à 500 euros."), "fr").keep
    assert not swapped(pair("miete 1200 euro", "Die Miete beträgt 1'300 Euro."), "de").keep
    ((forms, _, written),) = quantities("It costs € 1 234 500 now", "fr")
    assert (forms, written) == ({"1234500"}, "€ 1 234 500")


def test_lost_part_of_a_much_shorter_text_is_reported() -> None:
    """Being short is no excuse unless the style asks for a summary. A style that forbids one, or a résumé in the
    English sense, does not ask for one."""
    plain = (
        "Plain: You may cancel at any time, provided that you give 30 days' notice in writing and that no payment is"
        " outstanding."
    )
    assert lost_content(pair(plain, "You may cancel at any time.")).reason.code == "lost_part"
    assert lost_content(pair(NOTE, SHORT), "fr", "Résumé en une phrase.").keep
    for style in ("Do not summarise.", "Never shorten it; keep all.", "Rewrite as a résumé bullet.", "For my resume."):
        assert lost_content(pair(NOTE, SHORT), "fr", style).reason.code == "lost_part"
    raised = pair("led 12 people, cut costs by 40 %, shipped on time", "Led people and cut costs, and shipped on time.")
    assert lost_content(raised, "en", "A résumé bullet.").reason.code == "lost_number"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "question", "answer", "polite"),
    [
        ("fi", "milloin tulette?", "Te tulette huomenna.", "Pyydän kertomaan, milloin tulette."),
        ("ro", "când veniți?", "Veniți mâine la noi.", "Vă rog să îmi spuneți când veniți."),
        ("hu", "mikor jöttök?", "Holnap jöttök.", "Kérem, írják meg, mikor jönnek."),
        ("vi", "khi nào bạn đến?", "Bạn đến vào ngày mai.", "Vui lòng cho biết khi nào bạn đến."),
        ("id", "kapan kalian datang?", "Kalian datang besok.", "Mohon kabari kapan kalian datang."),
        ("th", "มาเมื่อไหร่?", "มาพรุ่งนี้", "กรุณาแจ้งว่ามาเมื่อไหร่"),
        ("sv", "när kommer ni?", "Ni kommer imorgon.", "Vänligen meddela när ni kommer."),
        ("da", "hvornår kommer I?", "I kommer i morgen.", "Skriv venligst, hvornår I kommer."),
        ("no", "når kommer dere?", "Dere kommer i morgen.", "Vennligst si fra når dere kommer."),
        ("uk", "коли ви приїдете?", "Ви приїдете завтра.", "Прошу повідомити, коли ви приїдете."),
        ("cs", "kdy přijedete?", "Přijedete zítra.", "Prosím o zprávu, kdy přijedete."),
        ("bg", "кога идвате?", "Идвате утре.", "Кога ще дойдете?"),
    ],
)
def test_lost_question_is_noticed_in_every_language(language: str, question: str, answer: str, polite: str) -> None:
    """Also in languages without a list of question words; a polite request counts as a question."""
    assert limits(pair(question, answer), language).reason.code == "lost_question"
    assert limits(pair(question, polite), language).keep


@pytest.mark.parametrize(
    ("language", "given", "output"),
    [
        ("fr", "ne venez pas mardi", "Venez mardi au lieu convenu."),
        ("cs", "není volné místo", "Je volné místo."),
        ("ar", "لا يوجد سكن", "يوجد بدل سكن."),
    ],
)
def test_place_is_not_a_negation(language: str, given: str, output: str) -> None:
    """`au lieu de` and `místo úterý` negate what is next to them; a place negates nothing."""
    assert limits(pair(given, output), language).reason.code == "lost_negation"


@pytest.mark.parametrize(
    ("language", "given", "reply"),
    [
        ("en", "in total three parcels are late.", "we will give you a full refund."),
        ("fr", "j'ai attendu trois jours au total.", "nous vous offrons un remboursement complet."),
        ("de", "insgesamt warte ich fünf tage, total nervig.", "wir geben ihnen einen gutschein."),
    ],
)
def test_total_of_days_does_not_mention_money(language: str, given: str, reply: str) -> None:
    """`in total` does not mention a price; the total of a bill does."""
    assert invented_promise(given, reply, language)
    assert not invented_promise("the total is wrong", "we will refund the difference", "en")


def test_label_within_another_is_distinguished_by_a_negation() -> None:
    """`not allergic` contains `allergic`; a text without a negation speaks against it."""
    labels = ("allergic", "not allergic", "unknown")
    assert doubt_about_label("I am allergic to penicillin.", "not allergic", labels, "en")
    assert not doubt_about_label("I am allergic to penicillin.", "allergic", labels, "en")
    assert not doubt_about_label("Nothing makes me allergic.", "not allergic", labels, "en")
    assert doubt_about_label("My delivery was late.", "live", ("live", "delivery"), "en")


def test_characters_of_a_play_are_not_a_length() -> None:
    """Two people are not a length; an eight-character password or a 4 character code is."""
    assert not _lengths("a scene of two characters in a bar", "en")
    assert [one.high for one in _lengths("a password of 8 characters", "en")] == [8]
    assert [one.high for one in _lengths("a 4 character code please", "en")] == [4]


def test_truncated_sentence_that_begins_with_a_number_is_flagged() -> None:
    """`40 EUR` after a sentence is a price; the subject of a truncated sentence is not."""
    source = "The committee met on Monday to look at the new plan for the old harbour. 40 boats came to see it."
    begun = "The committee met on Monday to look at the new plan for the old harbour and its cranes. 40 boats"
    assert cut(pair(source, begun)).flags
    assert not cut(pair(source, begun.replace("40 boats", "40 EUR"))).flags


def test_number_beyond_float_range_is_invented() -> None:
    """A number that no float can hold is in no input, and is no sum of numbers in it."""
    assert values(pair("5 apples and 7 pears", f'{{"a": {10**400}}}'), None).reason.code == "value"
