# ruff: noqa: RUF001 (Cyrillic)
"""Why gates rejected or flagged good rows of the fifteenth set; each cause with a bad row that is still caught."""

from __future__ import annotations

import pytest

from curate.gates.answers import values
from curate.gates.asked_length import _lengths
from curate.gates.chat import thinking
from curate.gates.content import lost_content
from curate.gates.damage import cut, encoding
from curate.gates.doubted_labels import doubt_about_label
from curate.gates.facts import invented, swapped
from curate.gates.folding import fold, unaccented
from curate.gates.form import length
from curate.gates.identification import WRITTEN
from curate.gates.limits import limits
from curate.gates.names import invented_name, misspelt
from curate.gates.number_words import has_number_words, single_word_numbers, spelt_out_values
from curate.gates.opposites import contradicting_words
from curate.gates.placeholder import placeholder
from curate.gates.preamble import preamble
from curate.gates.promises import invented_promise, unstated_reason
from curate.gates.scripts import in_latin, in_same_script
from curate.gates.words import words
from schemas.spec import LengthSettings
from tests.curate.gates.test_gate_rates import outcome_of
from tests.curate.tiny import pair


@pytest.mark.slow
@pytest.mark.parametrize("language", sorted(WRITTEN.split()))
def test_number_words_of_every_language_are_read_without_a_crash(language: str) -> None:
    """The number words of every written language are read, also where the CLDR data ends (Tamil ordinals at 20)."""
    assert isinstance(spelt_out_values("21", language), set)
    assert isinstance(list(single_word_numbers("21", language)), list)


def test_the_cardinals_of_tamil_are_known() -> None:
    """Ordinals that end at 20 do not affect the cardinals."""
    assert has_number_words("ta")
    assert spelt_out_values("இரண்டு", "ta") == {"2"}


@pytest.mark.parametrize("code", ["nb", "nn"])
def test_norwegian_may_be_given_as_nb_or_nn(code: str) -> None:
    """`nb` and `nn` are codes of ISO 639-1, and tasks in them are judged like tasks in `no`."""
    row = {
        "kind": "rewrite",
        "language": code,
        "input": "rekker ikke møtet i morgen, tannlege, ta det uten meg",
        "output": "Hei! Jeg kommer dessverre ikke på møtet i morgen, for jeg skal til tannlegen. Bare ta det uten meg.",
    }
    assert not outcome_of(row).rejecting | outcome_of(row).flagging
    english = "Dear all, the meeting will take place at nine in the morning and not at ten, as we had said before."
    assert "language" in outcome_of(row | {"output": english}).rejecting


def test_length_ratio_is_applied_in_whole_words() -> None:
    """A fifth of twelve words is two; one word is too few, and seven for two are too many."""
    bounds = LengthSettings(min_words=1, max_words=400, min_ratio=0.2, max_ratio=3.0)
    twelve = "Je vous prie d'agréer, Monsieur le Directeur, l'expression de mes salutations distinguées."
    assert length(pair(twelve, "Yours faithfully,"), bounds).keep
    assert not length(pair(twelve, "Yours"), bounds).keep
    assert not length(pair("two words", "one two three four five six seven"), bounds).keep


def test_words_in_indic_scripts_are_not_split() -> None:
    """A vowel sign is part of a word and does not split it."""
    assert words("அம்மாவை அழைத்து") == ("அம்மாவை", "அழைத்து")
    assert words("पानी नहीं") == ("पानी", "नहीं")


def test_serbian_is_one_language_in_two_scripts() -> None:
    """Text in Cyrillic on one side and in Latin script on the other is compared as equal; a pair in one script is
    unchanged."""
    assert in_latin("Поруџбина, Његош, Љубица") == "Porudžbina, Njegoš, Ljubica"
    given, output = "pržiti 3 sata, javi Milici", "Пржити три сата и јавити Милици."
    row = {"kind": "rewrite", "language": "sr", "input": given, "output": output}
    assert not outcome_of(row).flagging
    assert outcome_of(row | {"output": "Пржити пет сати и јавити Милици."}).flagging
    same = pair("здраво, Милица", "Здраво, Милица!")
    assert in_same_script(same, "sr", "sr") is same
    history = {"kind": "translate", "language": "sr", "to": "en", "input": "Основао га је кнез Милош Обреновић."}
    assert not outcome_of(history | {"output": "It was founded by Prince Miloš Obrenović."}).flagging
    assert outcome_of(history | {"output": "It was founded by Prince Petar Karageorgević."}).flagging


def test_grouped_digits_are_one_number_on_either_side() -> None:
    """145 000 is the 145000 of the input, and the other way round; another number is invented."""
    joined, grouped = "цена 145000 евро", "Цена: 145 000 евро."
    assert invented(pair(joined, grouped), "bg").keep
    assert swapped(pair(joined, grouped), "bg").keep
    assert lost_content(pair("kolo, stačí mi 1500", "Prodám kolo. Cena 1 500 Kč."), "cs").reason.code != "lost_number"
    assert not invented(pair(joined, "Цена: 154 000 евро."), "bg").keep


def test_weekdays_are_recognised_abbreviated_and_by_their_last_word() -> None:
    """`jmosi` is Jumamosi, and Năm in thứ Năm is a weekday and not a name; another day is invented."""
    assert invented(pair("mkutano jmosi", "Mkutano utakuwa Jumamosi."), "sw").keep
    assert not invented(pair("mkutano jmosi", "Mkutano utakuwa Jumatatu."), "sw").keep
    note = "mai nghỉ học nha các em, cô bị sốt, thứ 5 học bù"
    assert invented_name(pair(note, "Mai lớp nghỉ học do cô bị sốt, học bù vào thứ Năm."), "vi").keep


def test_arabic_number_forms_missing_in_the_cldr() -> None:
    """تسع is nine for feminine nouns, ثلاثين is thirty after another word."""
    assert spelt_out_values("منذ تسع سنوات", "ar") == {"9"}
    assert spelt_out_values("خلال ثلاثين يوما", "ar") == {"30"}


def test_accents_are_removed_regardless_of_how_a_text_begins() -> None:
    """Greek loses its accents alone and within a text; Cyrillic keeps й."""
    assert unaccented("νύχτες") == unaccented("- νύχτες").removeprefix("- ")
    assert unaccented("край, días") == "край, dias"
    assert not misspelt("- Συναυλία «Νύχτες ρεμπέτικου»", "- Νύχτες ρεμπέτικου", "el")
    assert misspelt("- φίλοι της Αγγελικής", "- φίλοι της Αγγελλικής", "el")


@pytest.mark.slow
def test_record_values_are_matched_with_the_text() -> None:
    """Numbers before the name of their field, grouped digits, months, time spans and one-letter sizes match the text. A
    number that belongs to another field does not, and the message says so."""
    claims = "17 Claims, 6 Drawing Sheets."
    assert values(pair(claims, '{"claims": 17}'), None).keep
    other = values(pair(claims, '{"claims": 6}'), None)
    assert other.keep  # it is next to the field's name, on the other side
    assert not values(pair(claims, '{"claims": 9}'), None).keep
    baths = values(pair("3 beds, 2 baths, $2,400", '{"beds": 2, "baths": 3, "rent": 2400}'), None)
    assert baths.reason.detail.startswith("next to the name of $.baths, the input has another number than “3”")
    assert values(pair("přišlo 6 812 diváků", '{"diváků": 6812}'), None, "cs").keep
    assert values(pair("STK do 6/2025", '{"stk": "2025-06"}'), None, "cs").keep
    assert values(pair("السعر ١٬٢٥٠ ريال", '{"price": 1250}'), None, "ar").keep
    assert values(pair("الميزانية ٢٫٥ مليون", '{"budget": 2500000}'), None, "ar").keep
    assert not values(pair("الميزانية ٢٫٥ مليون", '{"budget": 3500000}'), None, "ar").keep
    assert "“2.5”" in str(invented(pair("جریمه", "هر روز ۲٫۵ هزار تومان"), "fa").reason)
    # The style says which year is meant where the text has none.
    move, of_2026 = "Ik verhuis op 28 juli van Leiden naar Breda.", '{"datum": "2026-07-28"}'
    assert values(pair(move, of_2026), None, "nl", ("2026",)).keep
    assert not values(pair(move, of_2026), None, "nl").keep
    assert not values(pair(move.replace("juli", "juli 2027"), of_2026), None, "nl", ("2026",)).keep
    assert not values(pair("STK do 6/2025", '{"stk": "2026-06"}'), None, "cs").keep
    assert values(pair("14h-17h, xưởng Mây", '{"gio": "14:00-17:00"}'), None, "vi").keep
    sizes = '{"ten": "Đầm linen cổ vuông", "size": ["S", "M", "L"]}'
    assert values(pair("Đầm linen cổ vuông, có size S, M, L, freeship nha cả nhà", sizes), None, "vi").keep
    total = "Consumo total 214,6 kWh. TOTAL 51,37 €"
    assert values(pair(total, '{"total": 51.37}'), None, "es").keep


def test_negation_may_become_instead_of() -> None:
    """`not X but Y` is `Y instead of X`, in the words of each language; in Japanese with an ending of the word."""
    assert limits(pair("акт не той, там 14 320 а має бути 13 420", "В акті 14 320 грн замість 13 420 грн."), "uk").keep
    assert limits(pair("水曜じゃなくて木曜にして", "水曜日ではなく木曜日にしていただけますか。"), "ja").keep
    assert limits(pair("le rendez-vous n'est pas mardi mais jeudi", "Rendez-vous jeudi au lieu de mardi."), "fr").keep
    assert not limits(pair("акт не той, там 14 320", "Акт той, там 14 320 грн."), "uk").keep


def test_question_may_become_a_polite_request() -> None:
    """Languages without a list of question words are not judged; a question that became a statement is rejected."""
    assert limits(pair("מתי אתם באים?", "אודה אם תודיעו מתי תגיעו."), "he").keep
    assert limits(pair("متى تجون؟", "أرجو إبلاغي بموعد حضوركم."), "ar").keep
    assert not limits(pair("Can you come on Monday?", "You come on Monday."), "en").keep


def test_text_without_a_final_stop_may_be_complete() -> None:
    """A headline, a command, a comma-separated list and a price after a sentence end like this; an ordinary sentence
    does not."""
    news = "Un perro encontró 3.000 euros en un parque de Gijón y su dueña, una jubilada de 71 años, los devolvió ayer."
    assert not cut(pair(news, "Una jubilada de Gijón devuelve 3.000 euros que encontró su perro"), "es").flags
    asked = "Find all files over 100 MB under /var and print them with human sizes, largest first."
    assert not cut(pair(asked, "find /var -xdev -type f -size +100M -exec du -h {} + | sort -rh"), "en").flags
    numerals = "I, II, III, IV, V, VI, VII, VIII, IX, X, XI, XII, XIII, XIV, XV"
    assert not cut(pair("Count from 1 to 15 in Roman numerals, comma separated.", numerals), "en").flags
    note = "Billy regal weiss, kratzer links, abholung köln, 15€ vb, tel nur nachm."
    sold = "Verkaufe ein weißes Regal mit einem Kratzer auf der linken Seite. Abholung in Köln, Anrufe nur nachmittags."
    assert not cut(pair(note, f"{sold} 15 € VB"), "de").flags
    assert cut(
        pair(asked, "Open the folder and look for all of the files that are larger than a hundred and then"), "en"
    ).flags


def test_ai_character_in_a_dialogue_is_not_flagged() -> None:
    """What an AI says in a story is part of the text; the same said by the model itself is flagged."""
    scene = '"A coffee."\n"As an AI waiter, I am not able to process requests without the word."\n"What word?"'
    assert not preamble(pair("A robot waiter refuses to serve a customer.", scene), kind="free").flags
    plain = "As an AI language model, I am not able to write that, for it goes against my policy."
    spoken = preamble(pair("A robot waiter serves a customer.", plain), kind="free")
    assert not spoken.keep or spoken.flags


def test_translated_courtesy_is_not_an_empty_answer() -> None:
    """Courtesy alone is an empty answer to a text, but not as the translation of courtesy."""
    row = {"kind": "translate", "language": "sv", "to": "en", "input": "Tack snälla", "output": "Thanks so much"}
    assert not outcome_of(row).flagging
    assert outcome_of(row | {"input": "Kan ni skicka fakturan till kontoret i Lund i stället?"}).flagging


def test_prohibitions_with_an_exception_are_permissions() -> None:
    """ "No entry except for staff" is "staff only". A negated need stays negated, though both have an exception."""
    assert limits(pair("関係者以外立入禁止", "Authorised personnel only"), "en", "ja").keep
    visa = "You don't need a visa unless you stay longer than 90 days."
    assert not limits(pair(visa, "Vous avez besoin d'un visa, sauf si vous restez plus de 90 jours."), "fr", "en").keep


def test_opposite_words_and_reasons_that_nobody_gave() -> None:
    """An opposite is flagged across languages too, with a denial in another clause but not in its own; a reason is if
    it is all that the text adds, and not if the input may say it in other words."""
    assert contradicting_words("The offer was turned down.", "L'offre a été acceptée.", "en", "fr")
    assert contradicting_words("We take the bus, not too late.", "Wir nehmen den Zug, nicht zu spät.", "en", "de")
    assert not contradicting_words("Cards are not accepted here.", "Solo efectivo.", "en", "es")
    assert not contradicting_words("never expensive, said Jo", "Cheap, said Jo", "en", "en")
    closed = "The museum is closed on Monday because of {}."
    assert unstated_reason("museum closed on monday", fold(closed.format("a strike")), "", "en")
    for given in ("museum closed on monday: strike", "museum closed on monday, staff ill"):
        assert not unstated_reason(given, fold(closed.format("a strike")), "", "en")


def test_other_causes_of_false_rejections() -> None:
    """A maximum after an abbreviation, people who are characters, a placeholder word that needs no filling, a refund in
    an API, a converted unit next to an unchanged number, and a label that contains another label."""
    assert [one.bound for one in _lengths("sms, maks. 160 znaków.", "pl")] == [True]
    assert not _lengths("two characters, a computer and an engineer.", "en")
    assert [one.high for one in _lengths("8字以内", "zh")] == [8]
    assert placeholder(pair("a horoscope", "Sceptics (any date): this week you will notice.")).keep
    assert not placeholder(pair("a letter", "We met on (the date) at the office.")).keep
    assert not invented_promise("it fires twice", "we see that `refund.created` is sent twice", "en")
    assert invented_promise("it fires twice", "we will refund the full price", "en")
    miles, km = (
        "The bridge is 1.2 miles long and carries 40,000 cars.",
        "El puente mide 1,9 kilómetros y pasan 40.000 coches.",
    )
    assert not contradicting_words(miles, km, "en", "es")
    assert contradicting_words(miles, "El puente mide 1,2 kilómetros y pasan 40.000 coches.", "en", "es")
    labels = ("allergic", "not allergic", "unknown")
    assert not doubt_about_label(
        "Pt denies any allergy to penicillin, allergic to nothing", "not allergic", labels, "en"
    )
    # A label within another one is its kind, unless the rest denies it.
    kinds = ("account", "account deletion", "billing")
    assert not doubt_about_label("Please remove my account for good.", "account deletion", kinds, "en")
    assert doubt_about_label("Please remove my account for good.", "billing", kinds, "en")
    assert doubt_about_label("I am allergic to nuts.", "not allergic", labels, "en")
    # Two compounds with the same first part are two things; an inflected word is the same one.
    german = ("Beleuchtung", "Straßenschäden")
    assert not doubt_about_label("Straßenlampe seit Tagen dunkel", "Beleuchtung", german, "de")
    doubt = doubt_about_label("wegen Straßenschäden gesperrt", "Beleuchtung", german, "de")
    assert doubt.endswith("the text has the words of “Straßenschäden”")


def test_style_that_asks_for_a_summary_allows_missing_parts() -> None:
    """A part of a note may be missing if the style asks for less, and only then."""
    note = "Le conseil a adopté le projet de piste, après deux heures de débat animé, malgré l'opposition des riverains"
    short = "Le conseil a adopté le projet de piste, malgré l'opposition des riverains."
    assert lost_content(pair(note, short), "fr", "Résumé en une phrase.").keep
    assert lost_content(pair(note, short), "fr", "Plus poli.").reason.code == "lost_part"


def test_quoted_string_in_code_is_not_a_quotation() -> None:
    """Strings in a query may be paraphrased; a quotation in a text must be kept."""
    query = "SELECT name FROM orders WHERE status <> 'cancelled' AND placed_at >= '2024-01-01' ORDER BY n DESC;"
    kept = lost_content(pair(query, "The names of orders since 1 January 2024 that were not cancelled."))
    assert kept.reason.code != "lost_quote"
    assert lost_content(pair('a sign that says "open late"', "A sign at a door.")).reason.code == "lost_quote"


def test_artefacts_that_the_input_asks_for_are_kept() -> None:
    """Garbled letters, a stub and reasoning tags are right if the input asks about them, and only then."""
    shown = "The letter is then shown as Ã©, for its two bytes are read as two characters."
    assert encoding(pair("Show é in UTF-8, read as Latin-1.", shown)).keep
    assert encoding(pair("What does the letter stand for?", shown)).reason.code == "mojibake"
    stub = "def parse(text: str) -> int:\n    # TODO: implement\n    pass"
    assert placeholder(pair("a stub of parse, I write the body", stub)).keep
    assert not placeholder(pair("tell me what to do to parse a number", stub)).keep
    tags = "Some write it between tags: <think>2 and 2 are 4</think> It is 4."
    assert thinking(pair("Show the tags that mark a model's reasoning.", tags)).keep
    assert not thinking(pair("What are 2 and 2?", tags)).keep
