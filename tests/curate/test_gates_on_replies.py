"""Replies that name another value than their message, a prompt given back, lists that go round, days in any case."""

from __future__ import annotations

import pytest

from curate.gates import swapped
from curate.gates.folding import fold
from curate.gates.form import echo, repetition
from curate.gates.judgement import Judgement
from curate.gates.language import mixed_language
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
    ],
)
def test_a_reply_names_the_time_the_day_and_the_room_of_its_message(
    language: str, input: str, output: str, code: str
) -> None:
    """What the message states and the reply gives otherwise, without the message's own, is worth a look."""
    assert reply(input, output, language).reason.code == code


@pytest.mark.parametrize(
    ("language", "input", "output"),
    [
        ("en", "Can I come on Saturday?", "We are closed on Saturday, but open on Sunday."),
        ("en", "Can I check in at 11:00?", "Check-in is from 15:00."),
        ("fr", "Vous faites des gâteaux pour samedi ?", "Oui, sur commande jusqu'à jeudi midi."),
        ("en", "Is it open?\n(closes 9 pm)", "It is open until 21:00."),
        ("en", "Flight at 18:40 from gate 7.", "Your flight leaves at 6:40 pm from gate 7; gate 9 is for buses."),
        ("en", "My parcel is late.", "It will come by 14:30 on Friday, 3 May, to locker 12."),
    ],
)
def test_a_reply_may_offer_what_the_message_asks_for_in_vain(language: str, input: str, output: str) -> None:
    """Another day than the one that was asked for, the same time on the other clock, values of its own."""
    assert reply(input, output, language).keep is True


def test_the_first_thing_by_name_is_told_where_several_changed() -> None:
    """The reason is the same in every process, whatever order its sets have."""
    detail = reply("Wing 2, room 12, gate 7.", "Gate 8, room 13, wing 3.").reason.detail
    assert detail == "the message says “gate 7”, the reply “gate 8”"


def test_a_prompt_given_back_is_no_answer() -> None:
    """To the letter; an answer in the prompt's words is one."""
    prompt = "Write a haiku about a train station at night."
    assert echo(pair(prompt, prompt), kind="free").keep is False
    assert echo(pair("Say: good night", "Good night"), kind="free").keep is True
    assert echo(pair("An empty array, please.", "[]"), kind="free").keep is True


def test_a_list_that_goes_round_is_a_loop() -> None:
    """Single words too; a list in which some items come twice is none."""
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
def test_a_day_is_known_in_every_case(language: str, input: str, output: str, day: str) -> None:
    """As a language declines its days, and as people write them without accents."""
    assert invented_weekday(fold(output), fold(input), language, language) == day


def test_a_word_of_a_third_script_is_a_slip_in_a_text_of_a_second_one() -> None:
    """Chinese in Russian is found though the input is in no Latin letters either, and left alone where it says so."""
    stray = "Поставщик просит предоплату, 否则 не привезёт плитку."
    assert mixed_language(pair("поставщик просит предоплату", stray), "ru").keep is False
    assert mixed_language(pair("слово 否则 по-китайски", "Слово 否则 значит «иначе»."), "ru").keep is True
