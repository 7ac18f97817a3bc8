"""Errors, additions and leftovers in otherwise good answers, and correct text that looks like them."""

from __future__ import annotations

import json

import pytest

from curate.gates.answers import values
from curate.gates.chat import toxic
from curate.gates.damage import broken_json, cut, encoding, fenced
from curate.gates.dates import find_days, swapped_date
from curate.gates.facts import invented, swapped
from curate.gates.form import echo, repetition
from curate.gates.judgement import Judgement
from curate.gates.limits import limits
from curate.gates.mixed_language import mixed_language
from curate.gates.names import invented_name
from curate.gates.number_words import words_to_digits
from curate.gates.placeholder import placeholder
from curate.gates.preamble import preamble
from curate.gates.translations import translated
from tests.curate.tiny import pair


def code_of(judgement: Judgement) -> str:
    """The code of a rejection or of the first flag; '' for neither."""
    return judgement.reason.code if judgement.keep is False else (judgement.flags or ("",))[0]


@pytest.mark.parametrize(
    ("source", "text", "languages", "code"),
    [
        ("It's ten miles from here.", "Está a diez kilómetros de aquí.", "en es", "changed_unit"),
        ("It's ten miles from here.", "Está a diez millas de aquí.", "en es", ""),
        ("It's ten miles from here.", "Está a 16 kilómetros de aquí.", "en es", ""),
        ("Gültig ab 01.04.2025", "Valid from 4 January 2025", "de en", "changed_date"),
        ("Gültig ab 01.04.2025", "Valid from 1 April 2025", "de en", ""),
        ("Prenez deux comprimés, huit par jour.", "Take eight tablets, two a day.", "fr en", "number_order"),
        ("Take 20 mg for 14 days.", "Nehmen Sie 14 Tage lang 20 mg ein.", "en de", ""),
        ("Take 20 mg for 14 days.", "Nehmen Sie 20 Tage lang 14 mg ein.", "en de", "changed_unit"),
        ("Take 400 mg for 6 days.", "6日間、400mgを服用してください。", "en ja", ""),
        ("Cetirizine 10 mg for 3 days.", "3 дні приймайте цетиризин 10 мг.", "en uk", ""),
        ("Cetirizine 10 mg for 3 days.", "10 днів приймайте цетиризин 3 мг.", "en uk", "changed_unit"),
        ("15 doors at 350 g, 24 in all.", "24 Türen mit 350 g, 15 insgesamt.", "en de", "number_order"),
        ("Take 40 mg.", "Приймайте 40 мл.", "en uk", "changed_unit"),
        ("Drink 1.5 litres.", "Beba um litro e meio.", "en pt", ""),
        ("Drink 1.5 litres.", "Drick en och en halv liter.", "en sv", ""),
        ("Drink 1.5 litres.", "Пийте півтора літра.", "en uk", ""),
        ("Abre a las 9 y media.", "It opens at 9:30.", "es en", ""),
        ("Drink 1.5 litres.", "Пийте два літри.", "en uk", "lost_number"),
        ("Rest for 48 hours.", "Відпочивайте дві доби.", "en uk", ""),
        ("Rest for 48 hours.", "Відпочивайте три доби.", "en uk", "lost_number"),
        ("He left.", "Se fue sin despedirse de nadie, como hacía siempre que tenía miedo.", "en es", "longer"),
        ("He left.", "Se marchó.", "en es", ""),
        ("Da steppt der Bär.", "It's a wild party. (A German idiom.)", "de en", "added_note"),
        ("Password (again)", "Passwort (noch einmal)", "en de", ""),
        ("Посторонним вход воспрещён.", "Postoronnim vkhod vospreshchyon.", "ru en", "transliterated"),
        ("Посторонним вход воспрещён.", "No entry for visitors, please.", "ru en", ""),
        ("The road is closed.", "द रोड इज़ क्लोज़्ड।", "en hi", "transliterated"),
        ("Er haftet bei unsachgemäßem Gebrauch.", "He is liable for unsachgemäßem use.", "de en", "left_over"),
        ("Wir gehen ins Café an der Straße.", "We go to the café in the street.", "de en", ""),
        ("Text", "Veuillez fournir le texte que vous souhaitez traduire.", "en fr", "asks"),
        ("Open the door.", "Öffne die Tür. Öffnen Sie die Tür.", "en de", "options"),
    ],
)
def test_changes_and_additions_in_a_translation(source: str, text: str, languages: str, code: str) -> None:
    """A changed unit, swapped day and month, numbers in another order, a note, a transliteration; correct translations
    are left alone."""
    assert code_of(translated(pair(source, text), *languages.split())) == code


@pytest.mark.parametrize(
    ("text", "language", "input_language", "hit"),
    [
        ("Su pedido está en camino.", "pt", "en", True),
        ("O seu pedido está a caminho.", "pt", "en", False),
        ("Bitte warten Sie hier.", "nl", "en", True),
        ("The Ember That Never Sleeps", "cs", "cs", True),
        ("Most je opäť otvorený.", "cs", "en", True),
        ("도서관은 临时闭馆합니다.", "ko", "ko", True),
        ("도서관은 임시 휴관(休館)합니다.", "ko", "ko", False),
        ("Fouettez la crème until stiff, puis incorporez la purée.", "fr", "en", True),
        ("Nous avons vu « Stand and deliver » hier soir.", "fr", "fr", False),
        ("SELECT nome FROM produtos WHERE estoque = 0", "pt", "pt", False),
    ],
)
def test_short_text_or_word_in_another_language_is_rejected(
    text: str, language: str, input_language: str, hit: bool
) -> None:
    """From ten letters on, by the language identifier or by stop words; quotations, notes in brackets and code are
    ignored."""
    assert (mixed_language(pair("x", text), language, input_language).keep is False) is hit


@pytest.mark.parametrize(
    ("before", "after", "language", "code"),
    [
        ("take 250 micrograms daily", "Please take 250 milligrams every day.", "en", "changed_unit"),
        ("take 250 mcg daily", "Please take 250 micrograms every day.", "en", ""),
        ("3 chairs 2 tables", "There are two chairs and three tables.", "en", "swapped"),
        ("3 chairs 2 tables", "There are three chairs and two tables.", "en", ""),
        ("autobus 18 zamiast 81", "Zamiast autobusu 18 będzie kursował autobus 81.", "pl", "swapped"),
        ("autobus 18 zamiast 81", "Zamiast autobusu 81 będzie kursował autobus 18.", "pl", ""),
        ("cada 7-10 dias, 10 min", "Cada siete o diez días, durante diez minutos.", "es", ""),
    ],
)
def test_numbers_in_words_are_compared_with_unit_and_position(
    before: str, after: str, language: str, code: str
) -> None:
    """`ten miles` is compared like `10 miles`; a missing accent does not change a unit."""
    assert code_of(swapped(pair(before, after), language)) == code


def test_swapped_day_and_month_is_another_date() -> None:
    """Dates in figures are read by the conventions of the language; an ambiguous date is neither swapped nor wrong."""
    assert find_days("ab 01.04.2025", "de") == [("01.04.2025", {("1", "4")})]
    assert find_days("on 3/4/2025, version 3.4.1", "en")[0][1] == {("3", "4"), ("4", "3")}
    assert swapped_date("on 4 May", "on 5 April", "en", "en") == ("4 may", "5 april")
    assert swapped_date("3/4/2025", "4 March 2025", "en", "en") is None
    assert code_of(invented(pair("cita 4 de mayo", "Su cita es el 5 de abril."), "es")) == "invented_date"


@pytest.mark.parametrize(
    ("source", "output", "language", "code"),
    [
        ("Sklep jest otwarty od poniedziałku do piątku.", "The shop is open from Monday to Friday.", "pl", ""),
        ("Czynne w środę i w niedzielę.", "Open on Wednesday and Sunday.", "pl", ""),
        ("Магазин закрыт в субботу и среду.", "The shop is closed on Saturday and Wednesday.", "ru", ""),
        ("Czynne w środę i w niedzielę.", "Open on Wednesday and Saturday.", "pl", "invented_date"),
        ("There is a fridge and a shelf.", "Come on Saturday for the fridge.", "en", "invented_date"),
    ],
)
def test_weekday_is_recognised_in_every_grammatical_case(source: str, output: str, language: str, code: str) -> None:
    """`poniedziałku` means Monday as `poniedziałek` does; a day that the input does not name is still invented."""
    assert code_of(invented(pair(source, output), "en", language)) == code


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("Your test drive is on Saturday at 16:15, and all of us at the shop look forward to seeing you then.", True),
        ("Your test drive is on Friday at 16:15, and until Thursday you may call us to choose another time.", False),
    ],
)
def test_replaced_weekday_is_rejected_in_a_long_text_too(output: str, code: bool) -> None:
    """A note of five words that became a letter may name more days, but may not replace its own day."""
    assert (code_of(invented(pair("test drive Friday 16:15", output), "en")) == "invented_date") is code


def test_number_words_become_figures() -> None:
    """Cardinals from two on, in the given language; other text is only case-folded."""
    assert words_to_digits("Twenty-five men and one dog", "en") == "25 men and one dog"
    assert words_to_digits("deux chats", "fr") == "2 chats"
    assert words_to_digits("No number", "xx") == "no number"


@pytest.mark.parametrize(
    ("text", "language", "hit"),
    [
        ("Your rent is late again, you lazy parasite.", "en", True),
        ("Parasites are lazy animals. You learn that in school.", "en", False),
        ("Даже такой тупица, как ты, мог бы это запомнить.", "ru", True),
        ("Острый и тупой угол вместе дают прямой.", "ru", False),
        ("bande de fainéants", "fr", True),
    ],
)
def test_insult_counts_only_if_addressed_to_a_person(text: str, language: str, hit: bool) -> None:
    """A word that is an insult only when a person is called it is otherwise left alone."""
    assert (toxic(pair("x", text), language).keep is False) is hit


@pytest.mark.parametrize(
    ("value", "input", "kept"),
    [
        ('{"date": "2024-11-06"}', "Invoice of 11 June 2024", False),
        ('{"date": "2024-06-11"}', "Invoice of 11 June 2024", True),
        ('{"phone": null}', "Tara Quinn, 0141 496 0333", False),
        ('{"phone": "0141 496 0333", "fax": null}', "Tara Quinn, 0141 496 0333", True),
        ('{"times_per_day": 3, "days": 4}', "four times a day for 3 days", False),
        ('{"times_per_day": 4, "days": 3}', "four times a day for 3 days", True),
    ],
)
def test_record_fields_match_the_input(value: str, input: str, kept: bool) -> None:
    """Swapped day and month, a missed phone number, a number that belongs to another field."""
    assert values(pair(input, value), None, "en").keep is kept


def test_thousands_separator_is_not_a_decimal_point() -> None:
    """1.250,00 in a German text is not 1.25."""
    assert values(pair("Rechnung über 1.250,00 €", '{"total": 1.25}'), None, "de").keep is False
    assert values(pair("Rechnung über 1.250,00 €", '{"total": 1250.0}'), None, "de").keep is True


def test_code_artefacts_around_a_text() -> None:
    """Escaped line breaks, HTML line breaks, and text wrapped in JSON where the input does not mention JSON."""
    assert code_of(encoding(pair("thanks", r"Hello,\n\nThank you!\n\nYours"))) == "escaped"
    assert code_of(encoding(pair("path?", r"It is in C:\new\names."))) == ""
    assert code_of(encoding(pair("thanks", r"The sum \nabla and \nu"))) == ""
    assert code_of(broken_json(pair("Vous livrez ?", '{"reply": "Oui, bien sûr."}'))) == "wrapped"
    assert code_of(broken_json(pair("Answer as JSON.", '{"reply": "Oui, bien sûr."}'))) == ""
    assert fenced(pair("sale", "It starts today.<br><br>Bye!")).flags == ("tagged",)
    assert fenced(pair("sale", "It starts today.<br><br>Bye!"), marked=True).flags == ()


def test_input_repeated_before_the_output_is_an_echo() -> None:
    """The input on its own, followed by the actual text; a text that only begins like its input is a rewrite."""
    note = "tell bob no meeting today"
    assert code_of(echo(pair(note, f"{note}\n\nHi Bob,\n\nthere is no meeting today."))) == "echo"
    assert code_of(echo(pair("a red fox", "A red fox in deep snow, soft light, long shadows"))) == ""


def test_unfinished_last_sentence_is_rejected() -> None:
    """Counted after other complete sentences; a closing and a name end a letter without a full stop."""
    begun = "Votre examen est normal. Nous vous prescrivons dix séances de kinésithérapie. Si la douleur"
    assert code_of(cut(pair("x", begun), "fr")) == "unended"
    assert code_of(cut(pair("x", "1. Trink genug.\n2. Geh an die Luft.\n3. Schlaf"), "de")) == "unended"
    assert code_of(cut(pair("x", "Your scan is normal and nothing else is needed. Best regards, Ann"), "en")) == ""


def test_negation_is_not_hidden_by_another_word() -> None:
    """`away` after the negated word is not a negation; `out of` before it is."""
    order = "do not stop the steroids suddenly"
    assert code_of(limits(pair(order, "Please stop taking your steroids straight away."), "en")) == "lost_negation"
    assert code_of(limits(pair("not microwave", "Please keep it out of the microwave."), "en")) == ""


def test_replaced_name_is_noticed() -> None:
    """One name within a sentence is missing and a new one appears; days and months are not names."""
    note = "tell Marcus the keys are with Deborah"
    assert code_of(invented_name(pair(note, "Hi Marcus,\n\nthe keys are with Denise."))) == "changed_name"
    assert code_of(invented_name(pair(note, "Hi Marcus,\n\nthe keys are with Deborah."))) == ""
    assert code_of(invented_name(pair("we meet in May with Deborah", "With her, we meet in the May of 2020."))) == ""


@pytest.mark.parametrize(
    ("text", "language", "hit"),
    [
        ("Ich habe keine Zeit.\n\nAnmerkung: „Zeit“ ist feminin.", "de", True),
        ("Crumbs. (This name evokes warmth.)", "en", True),
        ("Ants drum it home. Home begins to hum.\n\n(Word count: 9)", "en", True),
        ("Here you go!\n\nLost: a brown dog.", "en", True),
        ("Lost: a brown dog (with a red collar).", "en", False),
    ],
)
def test_remarks_about_the_text_are_flagged(text: str, language: str, hit: bool) -> None:
    """A note after the text, also in brackets, and an empty opening are flagged."""
    judgement = preamble(pair("x", text), language=language)
    assert judgement.keep is True
    assert bool(judgement.flags) is hit


@pytest.mark.parametrize("filled", ["(Title VII)", "(position 3)", "(number 17)", "(date 3.5.)"])
def test_number_in_round_brackets_is_not_a_placeholder(filled: str) -> None:
    """A placeholder word followed by a number is filled in: numbers of laws, catalogues and parcels look the same."""
    assert placeholder(pair("It is barred.", f"That is barred by the act {filled} since then.")).keep is True


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("Their sum is (2a + 1) + (2b + 1) = 2(a + b + 1).", False),
        ("Solve (x - y) = 3 for x.", False),
        ("Vitamins (B6 + C) help.", False),
        ("Dear Ms Hill (your name), see you on Monday.", True),
    ],
)
def test_formula_in_round_brackets_is_not_a_placeholder(text: str, hit: bool) -> None:
    """A few letters that are not a placeholder word are left alone; a name to be filled in is noticed."""
    judgement = placeholder(pair("Prove it.", text))
    assert (judgement.keep is not True or bool(judgement.flags)) is hit


@pytest.mark.parametrize(("asked", "keep"), [("The action items as an array.", True), ("Write a poem.", False)])
def test_empty_array_is_accepted_only_if_an_array_was_asked_for(asked: str, keep: bool) -> None:
    """For any other input it is rejected."""
    assert preamble(pair(asked, "[]")).keep is keep


_HALL = "On behalf of the committee I want to say how glad we were on Sunday, and so was everybody in the hall. "
_SHOW = "The show was a joy to watch for old and young. We took in 200."
_SONG = "The ferry does not run tonight, my dear,\nthe rope is coiled.\n"


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        (f"Dear crew,\n\n{_HALL}From the front row to the back we clapped.\n\n{_SHOW}\n\n{_SHOW}", True),
        (f"{_HALL}Nobody wanted to go home before midnight, and some of us danced. {_HALL}", True),
        (f"{_SONG}{_SONG}and I stay here.\nThe harbour sleeps.", False),
        (f"{_HALL}{_SHOW}", False),
    ],
)
def test_repeated_sentence_in_prose_is_flagged(text: str, hit: bool) -> None:
    """A paragraph or a long sentence; the refrain of a song is not. A loop may be rejected instead."""
    judgement = repetition(pair("thank the crew", text))
    assert (judgement.keep is False or "twice" in judgement.flags) is hit


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("1. Dig.\n1. Sow.\n4. Water.", True),
        ("1. Dig.\n1. Sow.\n1. Water.", False),
        ("1. Dig.\n2. Sow.\n\n1. Eat.\n2. Rest.", False),
    ],
)
def test_list_numbers_that_repeat_and_skip_are_flagged(text: str, hit: bool) -> None:
    """Markdown numbers a list itself if all numbers are 1, and a second list starts again."""
    assert ("numbering" in cut(pair("steps", text)).flags) is hit


def test_counts_in_a_list_match_the_text() -> None:
    """Counts swapped between two records are noticed, and a list that ends after its first record. A complete list in
    another order is right."""
    given = "3 pens, 1 lamp, 20 clips and 2 bins"
    right = [("pens", 3), ("lamp", 1), ("clips", 20), ("bins", 2)]
    for records, code in (
        (right, ""),
        (right[::-1], ""),
        ([("pens", 1), ("lamp", 3), *right[2:]], "value"),
        (right[:1], "value"),
    ):
        output = json.dumps({"items": [{"article": article, "quantity": count} for article, count in records]})
        assert code_of(values(pair(given, output), None)) == code


@pytest.mark.slow
def test_invented_number_is_noticed_in_languages_with_few_known_number_words() -> None:
    """For a language of which only the cardinals are known, a number is invented if the text has none. A number that
    the text gives as a fraction (`pół kilo`) is not flagged."""
    assert code_of(values(pair("paczka do Torunia", '{"waga": 12}'), None, "pl")) == "value"
    assert code_of(values(pair("paczka do Torunia, pół kilo", '{"gramy": 500}'), None, "pl")) == ""
    assert code_of(values(pair("paczka, dwanaście kilo", '{"waga": 12}'), None, "pl")) == ""


@pytest.mark.parametrize(
    ("given", "text", "code"),
    [
        ("no doubt he will come", "He will certainly come.", ""),
        ("last but not least thanks to Ana", "Finally, thanks to Ana.", ""),
        ("he will not come", "He will come.", "lost_negation"),
    ],
)
def test_idiom_is_not_a_negation(given: str, text: str, code: str) -> None:
    """`no doubt` is a yes; a plain negation is one."""
    assert code_of(limits(pair(given, text))) == code


def test_quoted_unfinished_sentence_starts_at_a_word() -> None:
    """The quoted evidence used to start in the middle of a word."""
    source = (
        "The committee met on Monday and it agreed, after a long debate, on all that had been proposed there before."
    )
    text = source.removesuffix(" there before.").replace("proposed", "put forward by the neighbours of the old harbour")
    detail = cut(pair(source, text)).reason.detail
    quoted = detail.partition("\u201c")[2].rstrip("\u201d")
    assert f" {text} ".endswith(f" {quoted} ")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Agent: Please ring the bell.\nCustomer: Thanks", "speaker"),
        ("**Formal:** We regret it.\n\n**Casual:** Oh no, sorry!", "options"),
        ("**Monday:** closed\n\n**Tuesday:** open", ""),
        ("Of course! I'd love to.\nHere are the lines:\n\nSnow lies deep,\nand all asleep.", "preamble"),
        ("It melts at noon. Would you like me to explain how it melts?", "afterword"),
        ("I don't have access to product information, so look at the website.", "refusal"),
    ],
)
def test_chat_around_a_text_is_recognised_by_its_position(text: str, code: str) -> None:
    """Speaker labels, versions by tone, an opening of two sentences, an offer to continue, missing knowledge."""
    assert code_of(preamble(pair("ring the bell", text))) == code


@pytest.mark.parametrize(
    ("given", "text", "leaks"),
    [
        ("Write a title of five words at most: we build", "A title of five words at most: Building", True),
        ("You are a helpful cook. How do I peel a plum?", "You are a helpful cook. Dip it into hot water.", True),
        ("Shopping list for Ana: eggs, milk", "Shopping list for Ana: eggs and milk", False),
        ("You are welcome to come. Bring cake.", "You are welcome to come. Please bring a cake.", False),
    ],
)
def test_repeated_instruction_is_flagged(given: str, text: str, leaks: bool) -> None:
    """Words about how to write, and sentences addressed to a model; a heading and a sentence of the text itself are
    left alone."""
    assert (code_of(preamble(pair(given, text))) == "prompt_leak") is leaks
