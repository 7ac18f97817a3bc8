"""Names in other cases and behind nouns, and questions that were answered."""

from __future__ import annotations

from curate.gates.addressee import wrong_addressee
from curate.gates.chat import answered
from curate.gates.names import invented_name
from tests.curate.tiny import pair


def test_a_name_behind_a_german_noun_is_new() -> None:
    """Two new capitalised words after a noun are a name, in German too; nouns of a closing or of the input are not."""
    note = "kassenwart berichtet plus 300 €"
    assert not invented_name(pair(note, "Kassenwart Bernd Hoffmann berichtet von 300 € Überschuss."), "de").keep
    assert invented_name(pair("danke, der vorstand", "Vielen Dank für alles.\nViele Grüße Euer Vorstand"), "de").keep
    known = "trainer m. brandt und michael sehr stolz"
    assert invented_name(pair(known, "Trainer Michael Brandt zeigt sich sehr stolz."), "de").keep


def test_a_name_in_another_case_is_the_same_name() -> None:
    """In a language with cases, another ending makes no other name: Anna is greeted as Anno. In English it does."""
    assert invented_name(pair("кошка, телефон Иры дома", "Звоните, пожалуйста, вечером Ире."), "ru").keep
    given = "Chciałabym przesunąć rezerwację. Anna Wrona"
    assert wrong_addressee(given, "Dzień dobry, Pani Anno, przesunęliśmy rezerwację.", "pl", "reply") == ""
    given = "Proszę o rabat dla Anny. Piotr Nowak"
    assert wrong_addressee(given, "Dzień dobry, Panie Piotrze, chętnie.", "pl", "reply") == ""
    assert wrong_addressee("Tell Anna it is late. Ella Wren", "Dear Anna, it is late.", "en", "reply") == "Anna"


def test_a_rewritten_question_does_not_begin_with_yes_or_no() -> None:
    """A rewrite that begins with yes or no answers the question; not if the input says yes or no itself, or if the
    rewrite asks the question too."""
    for given, text, language in (
        ("予約の変更ってできる?", "はい、ご予約の変更は可能でございます。", "ja"),
        ("ask if they have places", "Yes, we still have places.", "en"),
    ):
        assert answered(pair(given, text), "", language).flags == ("answered",)
    for given, text in (
        ("sunday ok? yes, bring cake", "Yes, Sunday is fine, and I'll bring a cake."),
        ("can u tell them no? we're full", "No, I'm afraid we are full."),
        ("ok for me, are you coming?", "Yes, that suits me. Are you coming?"),
    ):
        assert not answered(pair(given, text), "", "en").flags
