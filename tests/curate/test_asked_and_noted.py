# ruff: noqa: RUF001 (Cyrillic and full-width signs)
"""The gates on a form of address, a length and a single thing that are asked for, and on what a note answers."""

from __future__ import annotations

import json
from time import process_time

import pytest

from curate.gates.asked_form import prose_before_code, several_instead_of_one
from curate.gates.asked_length import missed_length
from curate.gates.chat import answered
from curate.gates.content import lost_content
from curate.gates.damage import cut, encoding, fenced
from curate.gates.facts import swapped
from curate.gates.folding import fold
from curate.gates.form import echo, repetition
from curate.gates.limits import limits
from curate.gates.noted_facts import kept_facts
from curate.gates.register import wrong_address_form
from curate.gates.translations import translated
from curate.gates.units import changed_unit
from schemas.records import Imported, Pair
from tests.curate.test_gate_rates import outcome_of


def pair(given: str, text: str) -> Pair:
    return Pair(seed_id="s", input=given, output=text, system="", origin=Imported(source="test"))


@pytest.mark.parametrize(
    ("style", "language", "formal", "familiar"),
    [
        ("Sie-Form, höflich.", "de", "Bitte schicken Sie uns Ihre Unterlagen.", "Bitte schick uns deine Unterlagen."),
        ("Vouvoiement.", "fr", "Envoyez-nous votre dossier.", "Envoie-nous ton dossier."),
        ("Trato de usted.", "es", "Traiga su carné, se lo pide la escuela a usted.", "Trae tu carné."),
        ("Dare del Lei.", "it", "Può mandarci le Sue foto, se Lei vuole.", "Puoi mandarci le tue foto."),
        ("Use the formal you.", "nl", "Neem uw paspoort mee.", "Neem je paspoort mee."),
        ("На «вы».", "ru", "Пришлите, пожалуйста, акт.", "Пришли, пожалуйста, акт."),
        ("Per Pan/Pani.", "pl", "Czy może Pan przyjść?", "Czy możesz przyjść do mnie, bo na ciebie czekam?"),
        ("존댓말로.", "ko", "내일 오세요.", "내일 와야 해."),
    ],
)
def test_a_text_says_you_as_its_style_asks(style: str, language: str, formal: str, familiar: str) -> None:
    """Where a style names the formal address no familiar form passes; the formal one does."""
    assert wrong_address_form(style, familiar, language)
    assert wrong_address_form(style, formal, language) == ""
    assert wrong_address_form("Write it well.", familiar, language) == ""


def test_a_familiar_style_is_not_answered_formally() -> None:
    """`Duzen` is missed by Sie, a style that says not to is the other one, and a third person is nobody's address."""
    assert wrong_address_form("Duzen, locker.", "Bitte stellen Sie Ihr Fahrrad weg.", "de") == "Sie"
    assert wrong_address_form("Nicht duzen.", "Stell dein Fahrrad weg.", "de") == "dein"
    assert wrong_address_form("Duzen.", "Frau Kern kommt. Sie bringt Kuchen.", "de") == ""
    assert wrong_address_form("Tutoyer le lecteur.", "Prends ton rendez-vous.", "fr") == ""
    assert wrong_address_form("Sie-Form.", 'Das Stück heißt "Du und ich".', "de") == ""


@pytest.mark.parametrize(
    ("asked", "language", "text"),
    [
        ("Raconte sa vie en six à huit phrases.", "fr", "Elle mourut à Rouen."),
        ("Escribe un cuento de unas 120 palabras.", "es", "El faro se apagó."),
        ("Three to five sentences, with the reason.", "en", "Fitted in May."),
        (
            "At most twelve words.",
            "en",
            "This line has a good many more words than the twelve that a reader was promised.",
        ),
        ("Höchstens zwei Sätze.", "de", "Es regnet. Es ist kalt. Es wird spät. Wir gehen."),
        ("不超过二十个字。", "zh", "光年是天文学上常用的长度单位,指光在真空中沿直线传播一年所经过的距离。"),
        ("В пяти предложениях.", "ru", "Дождь."),
        ("One paragraph.", "en", "One.\n\nTwo.\n\nThree."),
    ],
)
def test_a_length_in_words_is_kept(asked: str, language: str, text: str) -> None:
    """A number of words, characters, sentences or paragraphs that is asked for, in figures or words, is met."""
    assert missed_length(fold(asked), text, language, at_least=True)


@pytest.mark.parametrize(
    ("asked", "language", "own"),
    [
        ("정확히 한 문장으로 쓰세요.", "ko", "한 문장"),
        ("In two sentences.", "en", "two sentences"),
        ("In 2 sentences.", "en", "2 sentences"),
        ("Höchstens zwei Sätze.", "de", "zwei sätze"),
        ("请用二句话回答。", "zh", "二句话"),
        ("用一到三句话写。", "zh", "一到三句话"),
        ("一〜三文で書く。", "ja", "一〜三文"),
    ],
)
def test_a_length_is_quoted_as_the_style_has_it(asked: str, language: str, own: str) -> None:
    """A style that says `한 문장` was quoted as `1 문장`, which stands nowhere in it."""
    text = "비가 온다. 춥다. 늦었다. 우리는 간다. 끝이다." if language == "ko" else "One. Two. Three. Four. Five. Six."
    assert missed_length(fold(asked), text, language) == own


@pytest.mark.parametrize(
    ("asked", "language", "text", "own"),
    [
        ("3文、500字以内で。", "ja", "雨。" * 7, "3文"),
        ("三段、五百字。", "zh", "\n\n".join(["雨。"] * 8), "三段"),
        ("2、100字。", "zh", "雨" * 170, "100字"),
        ("100文字から150文字で。", "ja", "雨" * 145, ""),
        ("100文字から150文字で。", "ja", "雨" * 240, "100文字から150文字"),
    ],
)
def test_two_numbers_are_a_range_of_one_unit(asked: str, language: str, text: str, own: str) -> None:
    """What `、` joins may be two lengths, or the number of an item and one: three sentences in 500 signs were a range
    of 3 to 500 signs, so seven sentences kept to it."""
    has = missed_length(fold(asked), text, language)
    assert (own in has) if own else not has


@pytest.mark.parametrize(
    ("asked", "language", "low", "high"),
    [
        ("一〜三文で。", "ja", 1, 3),  # U+301C, which Japanese has between two numbers
        ("1〜3文で。", "ja", 1, 3),
        ("二、三文で。", "ja", 2, 3),
        ("一文から三文で。", "ja", 1, 3),
        ("用两三句话写。", "zh", 2, 3),
        ("用一到三句话写。", "zh", 1, 3),
        ("한 문장에서 세 문장으로.", "ko", 1, 3),
    ],
)
def test_a_range_is_met_by_either_end(asked: str, language: str, low: int, high: int) -> None:
    """Of two numbers the last alone counted, or the first: one sentence was no `一〜三文`. More than either are too
    many."""
    dot = ". " if language == "ko" else "。"
    texts = {n: "비가 온다. " * n if language == "ko" else f"雨{dot}" * n for n in (low, high, high + 3)}
    has = {n: missed_length(fold(asked), text.strip(), language, at_least=True) for n, text in texts.items()}
    assert [bool(has[n]) for n in (low, high, high + 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("At most twenty words.", "It is open."),
        ("Two sentences.", "It is open; come early."),
        ("Three sentences of at most ten words.", "It is open. Please come early on Sunday. We close at six."),
        ("About 10 words", "We are open on Sunday from ten until four, come early."),
        ("Up to 3 paragraphs", "One."),
    ],
)
def test_a_length_that_is_met_is_no_other(asked: str, text: str) -> None:
    """A bound from above asks for no more, and a number of words beside one of sentences is of each."""
    assert missed_length(fold(asked), text, "en", at_least=True) == ""


def test_one_is_not_several_and_only_code_has_no_sentence() -> None:
    """One title is no list of titles; only the code begins with no sentence. Three titles and prose are wanted so."""
    titles = "- Darn It\n- A Stitch in Time\n- Holy Socks"
    assert several_instead_of_one("Give me one title. Just the title.", titles) == "one title"
    assert several_instead_of_one("Give me three titles.", titles) == ""
    assert prose_before_code("Only the code: reverse s.", "Certainly! You can slice it like so:\n\ns[::-1]")
    assert prose_before_code("Reverse s.", "You can slice it like so:\n\ns[::-1]") == ""
    assert prose_before_code("Only the code: reverse s.", "def back(s):\n    return s[::-1]") == ""


@pytest.mark.parametrize(
    ("language", "message", "text", "code"),
    [
        ("en", "Can I take it?\n(no, needs own seat)", "Yes, you can take it; it needs its own seat.", "contrary"),
        ("de", "Geht das?\n(nein, zu schwer)", "Ja, das geht, obwohl es nicht zu schwer ist.", "contrary"),
        ("ko", "포장 되나요?\n(안 됨, 쇼핑백만 가능)", "네, 쇼핑백만 가능합니다.", "contrary"),
        ("en", "How many?\n(adults 20, children 5)", "Adults take 5 drops and children 20 drops.", "swapped"),
    ],
)
def test_a_note_is_answered_as_it_says(language: str, message: str, text: str, code: str) -> None:
    """A note that begins with no is not answered yes, and its numbers stay beside their words."""
    judgement = kept_facts(pair(message, text), "reply", language, language)
    assert not judgement.keep
    assert judgement.reason.code in (code, "lost_negation")


def test_a_note_that_is_kept_passes() -> None:
    """The same yes, and a no that is no answer."""
    message = "Is it open?\n(yes, until 6)"
    assert kept_facts(pair(message, "Yes, it is open until 6."), "reply").keep
    assert kept_facts(pair("Is it open?\n(no entry after 6)", "Yes, but there is no entry after 6."), "reply").keep


def test_a_unit_stays_what_it_is() -> None:
    """Grams are no kilograms, micrograms no milligrams, °F is no °C; 34 f may be a woman."""
    assert swapped(pair("How heavy?\n(9 kg)", "It weighs 9 g."), "en", "reply").keep is False
    assert changed_unit("bake at 180 C", "Bake at 180 °F.", "en", "en")
    assert changed_unit("pt 34 f", "a 34-year-old woman", "en", "en") is None
    assert swapped(pair("3 hours?", "In 3 days."), "en", "reply").keep
    schema = {"type": "object", "properties": {"dose": {"type": "string"}}}
    row = {"kind": "extract", "language": "en", "schema": schema, "input": "levothyroxine 50 micrograms daily"}
    assert "values" in outcome_of({**row, "output": json.dumps({"dose": "50 mg"})}).flagging
    assert outcome_of({**row, "output": json.dumps({"dose": "50 micrograms"})}).flagging == frozenset()


def test_a_number_stays_at_its_time() -> None:
    """82 at six and 71 at noon are not 71 at six and 82 at noon."""
    given = "pulse 82 at 6, 71 at noon"
    assert not swapped(pair(given, "The pulse was 71 at 6 and 82 at noon."), "en").keep
    assert swapped(pair(given, "The pulse was 82 at 6 and 71 at noon."), "en").keep


def test_a_translation_forbids_and_dates_as_its_source() -> None:
    """A prohibition beside a `without` is not told by the `without`; two days do not change places."""
    source = "Do not stop taking it without asking your doctor."
    assert not limits(pair(source, "Sluta ta den utan att fråga din läkare."), "sv", "en").keep
    assert limits(pair(source, "Sluta inte ta den utan att fråga din läkare."), "sv", "en").keep
    moved = pair("Le 12 avril devient le 21 avril.", "21 April becomes 12 April.")
    assert "number_order" in translated(moved, "fr", "en").flags
    assert not translated(pair("Le 12 avril devient le 21 avril.", "12 April becomes 21 April."), "fr", "en").flags


def test_scraps_are_flagged() -> None:
    """A tag around a text, a sign or a greeting alone, a block of code that is only begun, kana in another encoding."""
    assert fenced(pair("dile que hay simulacro", "<output>Hay simulacro.</output>")).flags == ("tagged",)
    assert fenced(pair("an HTML paragraph", "<p>Hello.</p>")).flags == ()
    assert cut(pair("谁修的长城?", "。"), "zh").flags == ("unended",)
    assert cut(pair("dis aux parents que c'est reporté", "Parents,"), "fr").flags == ("unended",)
    assert cut(pair("Python: largest of a and b", "if a > b:\n    print(a)\nelse:"), "en").flags == ("unended",)
    assert encoding(pair("Later", "縺ゅ→縺ァ")).keep is False


def test_what_is_asked_for_is_not_held_against_a_text() -> None:
    """A finished sentence may stay as it is, a word may be said five times, and what was to be mended may not stay."""
    clean = "The gallery is closed on Mondays."
    assert (echo(pair(clean, clean)).keep, echo(pair(clean, clean)).flags) == (True, ("echo",))
    assert echo(pair("gallery closed", "gallery closed")).keep is False
    again = repetition(pair('Write "echo" five times.', "echo echo echo echo echo"))
    assert (again.keep, again.flags) == (True, ("loop",))
    wrong = "He recieved many adress labels."
    assert echo(pair(f'Correct the spelling: "{wrong}"', wrong), kind="free").flags == ("echo",)


def test_long_styles_and_texts_take_linear_time() -> None:
    """Ten times the text takes about ten times as long."""

    def seconds(times: int) -> float:
        asked, text = fold("at most twelve words or 3 to 5 sentences " * times), "du und Sie " * times
        start = process_time()
        missed_length(asked, text, "en", at_least=True)
        wrong_address_form("Sie-Form. " * times, text.replace("du", "er"), "de")
        return process_time() - start

    seconds(10)
    assert min(seconds(2000) for _ in range(3)) < 40 * max(seconds(200), 0.005)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("tr", "Muhalefet temsilcileri ise daha fazla bilgi verilmesini talep etti."),
        ("ko", "야당은 더 자세한 설명을 요구했다."),
        ("hi", "विपक्ष ने और जानकारी की मांग की।"),
    ],
)
def test_who_is_told_to_want_to_know_more_asks_nobody(language: str, text: str) -> None:
    """In three languages "more information" was both halves of "please give more information", so that a report of
    somebody who demands it was an answer in place of a rewriting."""
    judged = answered(pair("x", text), language=language)
    assert judged.keep
    assert not judged.flags


def test_the_headline_of_a_report_says_one_thing_of_many() -> None:
    """One that repeats the lead had "lost" each sentence behind it, in a third of good rows; a short note's line still
    has to keep what else is in it."""
    lead = "The harbour of Trabzon was closed in the night."
    report = f"{lead} " + "Ships wait outside. The governor spoke to the press. Schools stay open. Buses run late. " * 3
    assert lost_content(pair(report, "The harbour of Trabzon was closed in the night")).keep
    note = "Lift out of order, use the stairs, back on Monday"
    assert not lost_content(pair(note, "Lift out of order, use the stairs")).keep
