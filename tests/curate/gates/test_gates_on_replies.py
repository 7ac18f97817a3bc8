# ruff: noqa: RUF001 (Turkish)
"""Replies with other values than their message, repeated prompts, cyclic lists, and weekdays in any grammatical
case."""

from __future__ import annotations

import pytest

from curate.gates import limits, swapped
from curate.gates.folding import fold
from curate.gates.form import echo, repetition
from curate.gates.judgement import Judgement
from curate.gates.mixed_language import mixed_language
from curate.gates.names import other_addressee
from curate.gates.number_words import invented_weekday
from tests.curate.tiny import pair


def reply(input: str, output: str, language: str = "en") -> Judgement:
    return swapped(pair(input, output), language=language, kind="reply")


@pytest.mark.parametrize(
    ("language", "input", "output", "code"),
    [
        ("en", "Is the kitchen open?\n(closes at 21:00)", "It closes at 22:00, I'm afraid.", "changed_time"),
        ("en", "We meet in room 12 at 9:30. Where was it?", "We meet in room 21 at 9:30.", "changed_number"),
        ("en", "Our table is for 14 March. May we bring a dog?", "Yes, it is welcome on 15 March.", "changed_date"),
        ("de", "Mein Termin ist am Dienstag.", "Ihr Termin am Donnerstag ist abgesagt.", "changed_date"),
        ("tr", "40317 numaralı sipariş gelmedi.", "40371 numaralı siparişiniz yolda.", "changed_number"),
        ("ja", "注文40317のランプを返品できますか。", "ご注文40817は返品いただけます。", "changed_number"),
        ("es", "Pagué 49,90 euros por la lámpara.", "Te devolveremos 59,90 euros.", "changed_number"),
        ("vi", "Mình trả 490.000 đồng rồi.", "Bạn sẽ nhận lại 940.000 đồng.", "changed_number"),
        ("hi", "मैंने ₹1,250 दिए।", "आपको ₹1,520 वापस मिलेंगे।", "changed_number"),
        ("vi", "NM20551, mua chỗ khác rồi", "Dạ em đã huỷ đơn NM20155 ạ.", "changed_number"),
        ("en", "68 kg", "For 86 kg I would take the firm one.", "changed_number"),
        ("vi", "Sáng thứ 7", "Dạ em hẹn sáng chủ nhật ạ.", "changed_date"),
        ("en", "Call me on 0171 555 1234.", "We will call you on 0171 555 1243.", "changed_number"),
    ],
)
def test_reply_that_changes_a_value_of_its_message_is_noticed(
    language: str, input: str, output: str, code: str
) -> None:
    """A time, number or date that the reply gives differently, without repeating the message's own."""
    assert reply(input, output, language).reason.code == code


@pytest.mark.parametrize(
    ("language", "input", "output"),
    [
        ("en", "Can I come on Saturday?", "We are closed on Saturday, but open on Sunday."),
        ("en", "Can I check in at 11:00?", "Check-in is from 15:00."),
        ("fr", "Vous faites des gâteaux pour samedi ?", "Oui, sur commande jusqu'à jeudi midi."),
        ("en", "Is it open?\n(closes 9 pm)", "It is open until 21:00."),
        ("en", "Flight at 18:40 from gate 7.", "Your flight leaves at 6:40 pm from gate 7; gate 9 is for buses."),
        ("en", "Is room 204 free?", "Room 205 is."),
        ("en", "I bought it in 2023.", "Then the warranty lasts until 2025."),
        ("de", "Der Zug um 10.15 Uhr fiel aus.", "Es gibt noch einen um 10.45 Uhr."),
        ("en", "My balance was 1,250.00 pounds.", "After the fee of 100.00 it is 1,150.00 pounds."),
        ("en", "It was 120 pounds in March.", "In March it was 120 pounds; now it is 130."),
        ("pl", "Zapłaciłem 149 zł.", "Dostawa kosztuje 14,99 zł."),
        ("en", "Is the LX-2040 still made?", "It was replaced by the LX-2041."),
        ("en", "My flight LH 204 was cancelled.", "You are on flight LH 206 at noon."),
        ("en", "Error 403 on the portal.", "It is a login error, not the 404 that others see."),
        ("en", "Raise my limit from 50,000.", "Your limit is now 60,000."),
        ("en", "We sold 140 tickets and 6 more today.", "You have sold 146 tickets in all."),
        ("en", "We are 12, please add two.", "We have reserved for 14."),
        ("de", "Ich habe 49,90 und 10 Euro Porto bezahlt.", "Das waren 59,90 Euro."),
        ("pl", "Pokój 204 jest za głośny.", "Przenieśliśmy Panią do pokoju 206."),
        ("en", "My parcel is late.", "It will come by 14:30 on Friday, 3 May, to locker 12."),
    ],
)
def test_reply_may_name_other_values_than_requested(language: str, input: str, output: str) -> None:
    """Another day than the requested one, the same time on the other clock, additional values."""
    assert reply(input, output, language).keep is True


def test_of_several_changes_the_alphabetically_first_is_reported() -> None:
    """The reason is the same in every process, whatever the order of its sets."""
    detail = reply("Wing 2, room 12, gate 7.", "Gate 8, room 13, wing 3.").reason.detail
    assert detail == "the message says “gate 7”, the reply “gate 8”"


def test_repeated_prompt_is_an_echo() -> None:
    """Only if it is exactly the prompt; an answer in the prompt's words is not."""
    prompt = "Write a haiku about a train station at night."
    assert echo(pair(prompt, prompt), kind="free").keep is False
    assert echo(pair("Say: good night", "Good night"), kind="free").keep is True
    assert echo(pair("An empty array, please.", "[]"), kind="free").keep is True


def test_cyclic_list_is_a_loop() -> None:
    """Single words too; a list in which some items occur twice is not."""
    round_trip = "\n".join(f"{n}. {item}" for n, item in enumerate(["Towel", "Water", "Hat"] * 3, 1))
    assert repetition(pair("pack list", round_trip)).reason.code == "loop"
    lanes = "\n".join(f"{n}. {item}" for n, item in enumerate(["Ada", "Bo", "Ada", "Cy", "Di", "Bo", "Ed"], 1))
    assert repetition(pair("turns", lanes)).keep is True


@pytest.mark.parametrize(
    ("language", "input", "output", "day"),
    [
        ("uk", "збори в п'ятницю", "Збори відбудуться в середу.", "середу"),
        ("cs", "schůze v pátek", "Schůze je v sobotu.", "sobotu"),
        ("hr", "sastanak u petak", "Sastanak je u srijedu.", "srijedu"),
        ("sl", "sestanek v petek", "Sestanek je v sredo.", "sredo"),
        ("ro", "vineri la 10", "Joia la 10.", "joia"),
        ("pl", "zebranie w srode", "Zebranie odbędzie się w środę.", ""),
        ("uk", "збори в суботу", "Збори відбудуться в суботу.", ""),
        ("hu", "pénteken zárva", "Pénteken zárva vagyunk.", ""),
    ],
)
def test_weekday_is_recognised_in_every_grammatical_case(language: str, input: str, output: str, day: str) -> None:
    """In the declined forms of a language, and as people write them without accents."""
    assert invented_weekday(fold(output), fold(input), language, language) == day


def test_word_of_another_script_in_a_non_latin_text_is_noticed() -> None:
    """Chinese within Russian is noticed although the input is not in Latin script either, and allowed if the input has
    it."""
    stray = "Поставщик просит предоплату, 否则 не привезёт плитку."
    assert mixed_language(pair("поставщик просит предоплату", stray), "ru").keep is False
    assert mixed_language(pair("слово 否则 по-китайски", "Слово 否则 значит «иначе»."), "ru").keep is True


@pytest.mark.parametrize(
    "text",
    [
        "0.1 + 0.2 is 0.30000000000000004.",
        "The mask is 0xFFFFFFFFFFFFFFFF.",
        f"Pad it to {'0' * 64}.",
        "10^15: 1" + "0" * 15,
    ],
)
def test_zeros_of_a_number_are_no_loop(text: str) -> None:
    """Rounding errors, masks and powers of ten repeat a digit; a model that loops repeats it until it is stopped."""
    assert repetition(pair("How?", text)).keep
    assert not repetition(pair("How?", f"Pi is 3.14159{'0' * 65}")).keep


@pytest.mark.parametrize(
    ("language", "message", "greeting", "other"),
    [
        ("es", "No llegó. Saludos, Ana Ruiz", "Hola, Eva:", True),
        ("fr", "Où est mon colis ? Claire Morel", "Bonjour Sophie,", True),
        ("de", "Wo ist es? Viele Grüße, Jana", "Hallo Lena,", True),
        ("ru", "Где заказ? Анна Петрова", "Здравствуйте, Ольга!", True),
        ("en", "Where is it? Regards, Tom", "Dear Thomas,", False),
        ("fr", "Où est mon colis ? Claire Morel", "Bonjour Madame Morel,", False),
        ("pl", "Gdzie paczka? Pozdrawiam, Ewa Nowak", "Droga Ewo,", False),
        ("en", "I need help with Excel. Thanks!", "Hello Maria,", False),
        ("en", "Where is it? Regards, Tom", "Dear customer,", False),
    ],
)
def test_a_reply_greets_who_signed_its_message(language: str, message: str, greeting: str, other: bool) -> None:
    """A greeting with another name than the one that signs the message is noticed; a nickname, a surname, a case and a
    message without a signature are not."""
    assert bool(other_addressee(f"{greeting}\n\nit is near.", message, language)) is other


@pytest.mark.parametrize(
    ("language", "input", "output", "code"),
    [
        ("en", "Please confirm 12 vegetarian meals for Friday.", "We confirm 12 vegetarian meals for Friday.", ""),
        ("en", "Please confirm 12 vegetarian meals for us.", "Could you confirm 12 vegetarian meals for us?", "echo"),
        ("en", "Confirm my booking for two nights.", "We confirm your booking for two nights.", ""),
        ("en", "Confirm my booking for two nights.", "Please confirm my booking for two nights.", "echo"),
        ("en", "Please cancel my subscription.", "We have cancelled your subscription.", ""),
        ("en", "Please cancel my subscription.", "I want to cancel my subscription.", "echo"),
        ("en", "Why is the museum closed on Monday?", "Why the museum is closed on Monday.", "echo"),
        ("en", "How much does the red kettle cost?", "The red kettle does cost this much.", "echo"),
        (
            "en",
            "Parcel 12 arrived broken; a cup is missing.",
            "The parcel 12 arrived broken; a cup is missing.",
            "echo",
        ),
        ("en", "When it is ready, can you call me?", "When it is ready, we will call you.", ""),
        (
            "de",
            "Heizung in Wohnung 12 ist wieder aus, bitte helfen Sie.",
            "Die Heizung in Wohnung 12 ist wieder aus.",
            "echo",
        ),
        (
            "es",
            "¿Cuándo abre la biblioteca de la calle Molino?",
            "La biblioteca de la calle Molino abre cuando.",
            "echo",
        ),
        ("de", "Haben Sie am 3. Mai geöffnet?", "Wir haben am 3. Mai geöffnet.", ""),
        ("es", "¿Hacen envíos a Canarias?", "Hacemos envíos a Canarias.", ""),
        ("sv", "Vänligen bekräfta 12 måltider till fredag.", "Vi bekräftar 12 måltider till fredag.", ""),
    ],
)
def test_confirmed_request_is_no_echo(language: str, input: str, output: str, code: str) -> None:
    """A reply may state in the words of its message what the message asks for; asking for it again is an echo."""
    judgement = echo(pair(input, output), language=language, kind="reply")
    assert ("" if judgement.keep and not judgement.flags else judgement.reason.code) == code


@pytest.mark.parametrize(
    ("input", "output", "keeps"),
    [
        ("Gesso 6 sem. Elevar membro.", "Vai ficar com gesso seis semanas. Mantenha o braço levantado.", True),
        ("Fisioterapia 3x/sem, 2 sem de repouso.", "Fisioterapia três vezes por semana, repouso de duas.", True),
        ("Gesso 6 sem, sem esforços.", "Vai ficar com gesso seis semanas e pode fazer esforços.", False),
        ("Quarto 2 sem vista para o mar.", "O quarto 2 tem vista para o mar.", False),
    ],
)
def test_unit_spelt_like_a_denial_denies_nothing(input: str, output: str, keeps: bool) -> None:
    """`6 sem` are six weeks in Portuguese, and `2 sem vista` is a room without a view."""
    assert limits(pair(input, output), "pt").keep is keeps
