# ruff: noqa: RUF001 (Cyrillic)
"""What the fifteenth set of good rows asked for: causes by which gates held good rows for bad ones, each with what is
still found beside it."""

from __future__ import annotations

import pytest

from curate.gates.answers import values
from curate.gates.asked_length import _lengths
from curate.gates.chat import preamble, thinking
from curate.gates.content import lost_content
from curate.gates.damage import cut, encoding
from curate.gates.doubted_labels import doubt_about_label
from curate.gates.facts import invented, swapped
from curate.gates.folding import unaccented
from curate.gates.form import length
from curate.gates.language import _WRITTEN
from curate.gates.limits import limits
from curate.gates.misspelt_names import misspelt
from curate.gates.names import invented_name
from curate.gates.number_words import has_number_words, single_word_numbers, spelt_out_values
from curate.gates.opposites import contradicting_words
from curate.gates.placeholder import placeholder
from curate.gates.promises import invented_promise
from curate.gates.scripts import in_latin, in_same_script
from curate.gates.words import words
from schemas.spec import LengthSettings
from tests.curate.test_gate_rates import outcome_of
from tests.curate.tiny import pair


@pytest.mark.parametrize("language", sorted(_WRITTEN.split()))
def test_no_language_makes_a_gate_crash_on_its_numbers(language: str) -> None:
    """The number words of every written language are read, where the CLDR stops at some (Tamil ordinals at 20) too."""
    assert isinstance(spelt_out_values("21", language), set)
    assert isinstance(list(single_word_numbers("21", language)), list)


def test_the_cardinals_of_tamil_are_known() -> None:
    """That ordinals stop at 20 takes nothing from the cardinals."""
    assert has_number_words("ta")
    assert spelt_out_values("இரண்டு", "ta") == {"2"}


@pytest.mark.parametrize("code", ["nb", "nn"])
def test_norwegian_may_be_named_by_each_of_its_forms(code: str) -> None:
    """`nb` and `nn` are codes of ISO 639-1, and tasks in them are judged like those in `no`."""
    row = {
        "kind": "rewrite",
        "language": code,
        "input": "rekker ikke møtet i morgen, tannlege, ta det uten meg",
        "output": "Hei! Jeg kommer dessverre ikke på møtet i morgen, for jeg skal til tannlegen. Bare ta det uten meg.",
    }
    assert not outcome_of(row).rejecting | outcome_of(row).flagging
    english = "Dear all, the meeting will take place at nine in the morning and not at ten, as we had said before."
    assert "language" in outcome_of(row | {"output": english}).rejecting


def test_a_share_of_words_is_told_in_whole_words() -> None:
    """A fifth of twelve words is two; none at all is too few, and ten times as many too many."""
    bounds = LengthSettings(min_words=1, max_words=400, min_ratio=0.2, max_ratio=3.0)
    twelve = "Je vous prie d'agréer, Monsieur le Directeur, l'expression de mes salutations distinguées."
    assert length(pair(twelve, "Yours faithfully,"), bounds).keep
    assert not length(pair(twelve, "Yours"), bounds).keep
    assert not length(pair("two words", "one two three four five six seven"), bounds).keep


def test_words_of_india_are_whole() -> None:
    """A sign of a vowel stands inside of a word, and parts none."""
    assert words("அம்மாவை அழைத்து") == ("அம்மாவை", "அழைத்து")
    assert words("पानी नहीं") == ("पानी", "नहीं")


def test_serbian_is_one_language_in_two_scripts() -> None:
    """What one side writes in Cyrillic and the other in Latin letters is the same; in one script nothing changes."""
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


def test_digits_in_groups_are_one_number_on_either_side() -> None:
    """145 000 is the 145000 of the input, and the other way round; another number is none."""
    joined, grouped = "цена 145000 евро", "Цена: 145 000 евро."
    assert invented(pair(joined, grouped), "bg").keep
    assert swapped(pair(joined, grouped), "bg").keep
    assert lost_content(pair("kolo, stačí mi 1500", "Prodám kolo. Cena 1 500 Kč."), "cs").reason.code != "lost_number"
    assert not invented(pair(joined, "Цена: 154 000 евро."), "bg").keep


def test_days_are_known_shortened_and_by_their_last_word() -> None:
    """`jmosi` is Jumamosi, and Năm of thứ Năm is a day and nobody's name; another day is made up."""
    assert invented(pair("mkutano jmosi", "Mkutano utakuwa Jumamosi."), "sw").keep
    assert not invented(pair("mkutano jmosi", "Mkutano utakuwa Jumatatu."), "sw").keep
    note = "mai nghỉ học nha các em, cô bị sốt, thứ 5 học bù"
    assert invented_name(pair(note, "Mai lớp nghỉ học do cô bị sốt, học bù vào thứ Năm."), "vi").keep


def test_arabic_numbers_have_forms_that_the_cldr_has_not() -> None:
    """تسع is the nine of feminine things, ثلاثين the thirty behind a word."""
    assert spelt_out_values("منذ تسع سنوات", "ar") == {"9"}
    assert spelt_out_values("خلال ثلاثين يوما", "ar") == {"30"}


def test_accents_are_taken_from_every_letter_or_none() -> None:
    """What a text begins with decides nothing: Greek loses its accents alone and in a text, Cyrillic keeps й."""
    assert unaccented("νύχτες") == unaccented("- νύχτες").removeprefix("- ")
    assert unaccented("край, días") == "край, dias"
    assert not misspelt("- Συναυλία «Νύχτες ρεμπέτικου»", "- Νύχτες ρεμπέτικου", "el")
    assert misspelt("- φίλοι της Αγγελικής", "- φίλοι της Αγγελλικής", "el")


def test_a_record_holds_what_its_text_says() -> None:
    """Numbers before the name of their field, in groups, months, spans of time and sizes of one letter stand there; a
    number that belongs to another field does not, and the sentence says so."""
    claims = "17 Claims, 6 Drawing Sheets."
    assert values(pair(claims, '{"claims": 17}'), None).keep
    other = values(pair(claims, '{"claims": 6}'), None)
    assert other.keep  # beside the name, on its other side
    assert not values(pair(claims, '{"claims": 9}'), None).keep
    baths = values(pair("3 beds, 2 baths, $2,400", '{"beds": 2, "baths": 3, "rent": 2400}'), None)
    assert baths.reason.detail.startswith("next to the name of $.baths, the input has another number than “3”")
    assert values(pair("přišlo 6 812 diváků", '{"diváků": 6812}'), None, "cs").keep
    assert values(pair("STK do 6/2025", '{"stk": "2025-06"}'), None, "cs").keep
    assert not values(pair("STK do 6/2025", '{"stk": "2026-06"}'), None, "cs").keep
    assert values(pair("14h-17h, xưởng Mây", '{"gio": "14:00-17:00"}'), None, "vi").keep
    sizes = '{"ten": "Đầm linen cổ vuông", "size": ["S", "M", "L"]}'
    assert values(pair("Đầm linen cổ vuông, có size S, M, L, freeship nha cả nhà", sizes), None, "vi").keep
    total = "Consumo total 214,6 kWh. TOTAL 51,37 €"
    assert values(pair(total, '{"total": 51.37}'), None, "es").keep


def test_what_was_denied_may_stand_behind_instead() -> None:
    """`not X but Y` is `Y instead of X`, in the words of each language; in Japanese with a word's own ending."""
    assert limits(pair("акт не той, там 14 320 а має бути 13 420", "В акті 14 320 грн замість 13 420 грн."), "uk").keep
    assert limits(pair("水曜じゃなくて木曜にして", "水曜日ではなく木曜日にしていただけますか。"), "ja").keep
    assert limits(pair("le rendez-vous n'est pas mardi mais jeudi", "Rendez-vous jeudi au lieu de mardi."), "fr").keep
    assert not limits(pair("акт не той, там 14 320", "Акт той, там 14 320 грн."), "uk").keep


def test_a_polite_request_asks() -> None:
    """A question may be a request; where no list tells how a language asks, nothing is said of it."""
    assert limits(pair("מתי אתם באים?", "אודה אם תודיעו מתי תגיעו."), "he").keep
    assert limits(pair("متى تجون؟", "أرجو إبلاغي بموعد حضوركم."), "ar").keep
    assert not limits(pair("Can you come on Monday?", "You come on Monday."), "en").keep


def test_an_end_without_a_stop_may_be_whole() -> None:
    """A headline, a command, a list between commas and a price behind a sentence end so; a sentence does not."""
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


def test_a_figure_of_a_dialogue_may_be_a_machine() -> None:
    """What an AI says in a story is told; said by the model it is flagged."""
    scene = '"A coffee."\n"As an AI waiter, I am not able to process requests without the word."\n"What word?"'
    assert not preamble(pair("A robot waiter refuses to serve a customer.", scene), kind="free").flags
    plain = "As an AI language model, I am not able to write that, for it goes against my policy."
    spoken = preamble(pair("A robot waiter serves a customer.", plain), kind="free")
    assert not spoken.keep or spoken.flags


def test_a_source_of_thanks_may_be_translated() -> None:
    """Courtesy alone is an empty answer to a text, and a translation of courtesy is none."""
    row = {"kind": "translate", "language": "sv", "to": "en", "input": "Tack snälla", "output": "Thanks so much"}
    assert not outcome_of(row).flagging
    assert outcome_of(row | {"input": "Kan ni skicka fakturan till kontoret i Lund i stället?"}).flagging


def test_prohibitions_with_an_exception_are_permissions() -> None:
    """No entry except for staff is staff only; a need that is denied stays denied, though both make an exception."""
    assert limits(pair("関係者以外立入禁止", "Authorised personnel only"), "en", "ja").keep
    visa = "You don't need a visa unless you stay longer than 90 days."
    assert not limits(pair(visa, "Vous avez besoin d'un visa, sauf si vous restez plus de 90 jours."), "fr", "en").keep


def test_small_causes() -> None:
    """A maximum behind an abbreviation, people that are characters, a slot that needs no filling, a refund of an API,
    a converted unit beside a number that stays, and a label that holds another one's word."""
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


def test_a_style_that_asks_for_a_summary_lets_parts_go() -> None:
    """A part of a note may be left out where the style says that less is asked for, and not where it does not."""
    note = "Le conseil a adopté le projet de piste, après deux heures de débat animé, malgré l'opposition des riverains"
    short = "Le conseil a adopté le projet de piste, malgré l'opposition des riverains."
    assert lost_content(pair(note, short), "fr", "Résumé en une phrase.").keep
    assert lost_content(pair(note, short), "fr", "Plus poli.").reason.code == "lost_part"


def test_a_quotation_of_code_is_none() -> None:
    """Strings of a query may be told in words; what a text quotes is kept."""
    query = "SELECT name FROM orders WHERE status <> 'cancelled' AND placed_at >= '2024-01-01' ORDER BY n DESC;"
    kept = lost_content(pair(query, "The names of orders since 1 January 2024 that were not cancelled."))
    assert kept.reason.code != "lost_quote"
    assert lost_content(pair('a sign that says "open late"', "A sign at a door.")).reason.code == "lost_quote"


def test_what_the_input_asks_to_be_shown_is_shown() -> None:
    """Garbled letters, a stub and tags of reasoning are right where the input asks about them, and nowhere else."""
    shown = "The letter is then shown as Ã©, for its two bytes are read as two characters."
    assert encoding(pair("Show é in UTF-8, read as Latin-1.", shown)).keep
    assert encoding(pair("What does the letter stand for?", shown)).reason.code == "mojibake"
    stub = "def parse(text: str) -> int:\n    # TODO: implement\n    pass"
    assert placeholder(pair("a stub of parse, I write the body", stub)).keep
    assert not placeholder(pair("tell me what to do to parse a number", stub)).keep
    tags = "Some write it between tags: <think>2 and 2 are 4</think> It is 4."
    assert thinking(pair("Show the tags that mark a model's reasoning.", tags)).keep
    assert not thinking(pair("What are 2 and 2?", tags)).keep
