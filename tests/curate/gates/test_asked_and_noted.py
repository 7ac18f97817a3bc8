# ruff: noqa: RUF001 (Cyrillic and full-width signs)
"""The gates on requested forms of address, lengths and single items, and on answers to notes."""

from __future__ import annotations

import json
from time import process_time

import pytest

from curate.gates.addressee import wrong_address_form, wrong_addressee
from curate.gates.asked_form import longer_than_asked, prose_before_code, several_instead_of_one
from curate.gates.asked_format import other_code, uneven_table, wrong_format
from curate.gates.asked_length import missed_length
from curate.gates.asked_marks import excluded_mark
from curate.gates.chat import answered
from curate.gates.content import lost_content
from curate.gates.damage import cut, encoding, fenced
from curate.gates.debris import foreign_markup, stray_character
from curate.gates.facts import swapped
from curate.gates.folding import fold
from curate.gates.form import echo, repetition
from curate.gates.limits import limits
from curate.gates.making import change_note, labelled_answer, restated_style
from curate.gates.mixed_language import mixed_language
from curate.gates.noted_facts import kept_facts
from curate.gates.placeholder import placeholder
from curate.gates.translations import translated
from curate.gates.units import changed_unit
from schemas.records import Imported, Pair
from tests.curate.gates.test_gate_rates import outcome_of


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
def test_familiar_address_is_rejected_under_a_formal_style(
    style: str, language: str, formal: str, familiar: str
) -> None:
    """If the style asks for formal address, no familiar form passes and the formal one does. Other styles do not
    matter."""
    assert wrong_address_form(style, familiar, language)
    assert wrong_address_form(style, formal, language) == ""
    assert wrong_address_form("Write it well.", familiar, language) == ""


def test_formal_address_is_rejected_under_a_familiar_style() -> None:
    """`Duzen` is violated by Sie, and `Nicht duzen` by du. A third person, or a quotation, addresses nobody."""
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
def test_missed_length_is_noticed(asked: str, language: str, text: str) -> None:
    """A requested number of words, characters, sentences or paragraphs, in figures or words, that the text misses."""
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
def test_length_is_quoted_as_in_the_style(asked: str, language: str, own: str) -> None:
    """A style with `한 문장` was quoted as `1 문장`, which it does not contain."""
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
def test_two_numbers_are_a_range_only_with_one_unit(asked: str, language: str, text: str, own: str) -> None:
    """Two numbers joined by `、` may be two lengths, or an item number and a length: three sentences in 500 characters
    were read as 3 to 500 characters, so seven sentences passed."""
    has = missed_length(fold(asked), text, language)
    assert (own in has) if own else not has


@pytest.mark.parametrize(
    ("asked", "language", "low", "high"),
    [
        ("一〜三文で。", "ja", 1, 3),  # U+301C, which Japanese uses between two numbers
        ("1〜3文で。", "ja", 1, 3),
        ("二、三文で。", "ja", 2, 3),
        ("一文から三文で。", "ja", 1, 3),
        ("用两三句话写。", "zh", 2, 3),
        ("用一到三句话写。", "zh", 1, 3),
        ("한 문장에서 세 문장으로.", "ko", 1, 3),
    ],
)
def test_a_range_is_met_by_either_end(asked: str, language: str, low: int, high: int) -> None:
    """Only one of the two numbers used to count, so that one sentence did not satisfy `一〜三文`. More than the
    upper end is too many."""
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
def test_met_length_passes(asked: str, text: str) -> None:
    """An upper bound does not require more, and a number of words next to one of sentences applies to each sentence."""
    assert missed_length(fold(asked), text, "en", at_least=True) == ""


def test_several_items_instead_of_one_and_prose_before_code() -> None:
    """A list of titles is not the one requested title, and "only the code" allows no sentence before it. Three
    requested titles, and prose where code is not all that is requested, pass."""
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
def test_reply_that_contradicts_the_note_is_rejected(language: str, message: str, text: str, code: str) -> None:
    """A note that begins with no may not be answered with yes, and its numbers belong to the same words."""
    judgement = kept_facts(pair(message, text), "reply", language, language)
    assert not judgement.keep
    assert judgement.reason.code in (code, "lost_negation")


def test_reply_that_follows_the_note_passes() -> None:
    """The same yes, and a no that is not an answer."""
    message = "Is it open?\n(yes, until 6)"
    assert kept_facts(pair(message, "Yes, it is open until 6."), "reply").keep
    assert kept_facts(pair("Is it open?\n(no entry after 6)", "Yes, but there is no entry after 6."), "reply").keep


def test_changed_unit_is_noticed() -> None:
    """Grams for kilograms, milligrams for micrograms, °F for °C; 34 f may be a woman."""
    assert swapped(pair("How heavy?\n(9 kg)", "It weighs 9 g."), "en", "reply").keep is False
    assert changed_unit("bake at 180 C", "Bake at 180 °F.", "en", "en")
    assert changed_unit("pt 34 f", "a 34-year-old woman", "en", "en") is None
    assert swapped(pair("3 hours?", "In 3 days."), "en", "reply").keep
    schema = {"type": "object", "properties": {"dose": {"type": "string"}}}
    row = {"kind": "extract", "language": "en", "schema": schema, "input": "levothyroxine 50 micrograms daily"}
    assert "values" in outcome_of({**row, "output": json.dumps({"dose": "50 mg"})}).flagging
    assert outcome_of({**row, "output": json.dumps({"dose": "50 micrograms"})}).flagging == frozenset()


def test_numbers_swapped_between_times_are_noticed() -> None:
    """82 at six and 71 at noon are not 71 at six and 82 at noon."""
    given = "pulse 82 at 6, 71 at noon"
    assert not swapped(pair(given, "The pulse was 71 at 6 and 82 at noon."), "en").keep
    assert swapped(pair(given, "The pulse was 82 at 6 and 71 at noon."), "en").keep


def test_translation_keeps_prohibitions_and_the_order_of_dates() -> None:
    """A prohibition is not covered by a `without` in the same sentence; two dates may not change places."""
    source = "Do not stop taking it without asking your doctor."
    assert not limits(pair(source, "Sluta ta den utan att fråga din läkare."), "sv", "en").keep
    assert limits(pair(source, "Sluta inte ta den utan att fråga din läkare."), "sv", "en").keep
    moved = pair("Le 12 avril devient le 21 avril.", "21 April becomes 12 April.")
    assert "number_order" in translated(moved, "fr", "en").flags
    assert not translated(pair("Le 12 avril devient le 21 avril.", "12 April becomes 21 April."), "fr", "en").flags


def test_fragments_and_artefacts_are_noticed() -> None:
    """A tag around a text, a lone punctuation mark or greeting, an unfinished code block, kana in a wrong encoding."""
    assert fenced(pair("dile que hay simulacro", "<output>Hay simulacro.</output>")).flags == ("tagged",)
    assert fenced(pair("an HTML paragraph", "<p>Hello.</p>")).flags == ()
    assert cut(pair("谁修的长城?", "。"), "zh").flags == ("unended",)
    assert cut(pair("dis aux parents que c'est reporté", "Parents,"), "fr").flags == ("unended",)
    assert cut(pair("Python: largest of a and b", "if a > b:\n    print(a)\nelse:"), "en").flags == ("unended",)
    assert encoding(pair("Later", "縺ゅ→縺ァ")).keep is False


def test_requested_repetition_is_only_flagged() -> None:
    """A finished sentence may stay as it is and a word may be repeated five times on request. An uncorrected text where
    a correction was requested is flagged."""
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
def test_report_of_a_demand_for_information_is_not_a_question(language: str, text: str) -> None:
    """In three languages "more information" matched both halves of "please give more information", so a report about
    somebody who demands it was rejected as an answer to the user."""
    judged = answered(pair("x", text), language=language)
    assert judged.keep
    assert not judged.flags


def test_headline_may_cover_only_part_of_a_report() -> None:
    """A headline that repeats the lead "lost" every later sentence, in a third of the good rows. One line for a short
    note must still keep its other contents."""
    lead = "The harbour of Trabzon was closed in the night."
    report = f"{lead} " + "Ships wait outside. The governor spoke to the press. Schools stay open. Buses run late. " * 3
    assert lost_content(pair(report, "The harbour of Trabzon was closed in the night")).keep
    note = "Lift out of order, use the stairs, back on Monday"
    assert not lost_content(pair(note, "Lift out of order, use the stairs")).keep


@pytest.mark.parametrize(
    ("style", "given", "bad", "good"),
    [
        ("No lists, please.", "What do I need?", "- flour\n- sugar", "Flour and sugar."),
        (
            "No heading.",
            "shop closed",
            "Notice to customers\n\nThe shop is closed today because of a burst pipe.",
            "The shop is closed.",
        ),
        ("Keine Ausrufezeichen.", "Wann?", "Wir öffnen um neun!", "Auf dem Schild steht „Halt!“."),
        ("箇条書きは使わない。", "持ち物は?", "- 水筒\n- 帽子", "水筒と帽子です。"),
        ("不要用问候语。", "几点?", "您好,九点。", "九点。"),
        ("Sans liste ni titre.", "Quoi ?", "- une gourde\n- un pull", "Une gourde et un pull."),
        ("Без приветствия.", "Когда?", "Здравствуйте! В девять.", "В девять."),
        ("No lists longer than three items.", "What?", "", "- flour\n- sugar"),
        ("Do not ask a question.", "When?", "At nine. Shall I book a table?", "At nine."),
    ],
)
def test_what_a_style_rules_out_is_noticed(style: str, given: str, bad: str, good: str) -> None:
    """A heading, list, question, exclamation mark or greeting that the style rules out is noticed; in a quotation, or
    if only some of them are ruled out, it is not."""
    assert bool(excluded_mark(style, given, bad)) == bool(bad)
    assert excluded_mark(style, given, good) == ""


@pytest.mark.parametrize(
    ("asked", "bad", "good"),
    [
        ("Answer as CSV.", "- yoga, 18:00\n- chess, 19:30", 'name,quote\nLea,"yes, sure"\nBo,no'),
        ("Nur CSV.", "name,age\nLea,7\nBo", "name;age\nLea;7"),
        ("Output YAML only.", '{"port": 80}', "pets:\n- cat\nowner:\n  name: Bo\n  notes: |\n    likes\n      cats"),
        ("Output YAML.", "a: b\n  c: d", "a: &b  # for both\n  port: 80\nc: !!map\n  <<: *b\n  d: 1"),
        ("Output YAML.", "server:\n  port: 80\n hosts:\n    - a", "server:\n  port: 80"),
        ("Return XML.", "<a><b></a>", '<?xml version="1.0"?><a><b/></a>'),
        ("Give it as HTML.", "<ul><li>a</li>", "<ul>\n<li>apple\n<li>pear\n</ul>"),
        ("CSVで出力してください。", "りんごは3個です。", "りんご,3"),
        ("As a Markdown table.", "Name: Lea, Age: 7", "| Name |\n|---|\n| Lea |"),
        ("Turn the CSV into sentences.", "", "Lea is 7."),
        ("What is YAML?", "", "A format for configuration files."),
    ],
)
def test_named_data_format_has_to_be_delivered(asked: str, bad: str, good: str) -> None:
    """A text in another format than the one asked for, or a broken one, is noticed; a format that is only mentioned
    asks for nothing."""
    assert bool(wrong_format(asked, bad)) == bool(bad)
    assert wrong_format(asked, good) == ""


def test_uneven_tables_other_code_and_longer_answers_are_noticed() -> None:
    """So are table rows of different widths, code in another language than the named one, words around code that was
    asked for alone, and a sentence where a number, yes or no, or one line was wanted."""
    assert uneven_table("| a | b |\n|---|---|\n| 1 |\n| 2 | 3 |") == "| 1 |"
    assert uneven_table("| a | b |\n|---|---|\n| 1 | `x|y` |\n| 2 | 3 |") == ""
    assert other_code("A function in Rust.", "def add(a, b):\n    return a + b") == "python"
    assert other_code("Rewrite this Python in Rust.", "fn f() {}") == ""
    assert prose_before_code("Nur der Code.", "x = 1\n\nDas setzt die Variable auf eins.")
    assert prose_before_code("Only YAML, text as a block.", "a: |\n  It is: so here.\n  She counts all of them.") == ""
    assert longer_than_asked("Only the number.", "Two spiders have 16 legs.")
    assert longer_than_asked("Number and unit only.", "152.4 cm") == ""
    assert longer_than_asked("Answer only yes or no.", "Yes, it is the capital.")
    for style in ("Answer yes or no and say why.", "Answer yes or no.", "Never answer only yes or no."):
        assert longer_than_asked(style, "Yes, it is the capital.") == ""
    assert several_instead_of_one("Одна строка для открытки.", "1. С юбилеем!\n2. Здоровья!")
    assert several_instead_of_one("Add one line of dedication above the poem.", "For Ann\nThe sea is wide.") == ""


def test_reply_greets_who_signed_the_message() -> None:
    """A reply does not greet somebody whom the message only mentions, nor misspell its writer's name. Diminutives,
    vocatives and forwarded messages are no mistakes."""
    mother = "My son Jules is ill. Ann Ferrand"
    assert wrong_addressee(mother, "Dear Jules, get well soon.", "en", "reply") == "Jules"
    assert wrong_addressee(mother, "Dear Ms Ferrand, we hope Jules gets well.", "en", "reply") == ""
    assert wrong_addressee("The tap drips. Regards, Hannah Berg", "Dear Hannah Burg, sorry.", "en", "reply")
    assert wrong_addressee("Where is it? Zoe Lund, Leeds", "Dear Zoe, it is near.", "en", "reply") == ""
    assert wrong_addressee("Wo ist es? Anna Berg, Fa. Holz", "Liebe Anna, es ist nah.", "de", "reply") == ""
    assert wrong_addressee("Zoe here: send it to 5 Mill Lane, Leeds", "Dear Zoe, we do.", "en", "reply") == ""
    assert wrong_addressee("I asked Peter. Zoe Lund, Leeds", "Dear Peter, it is near.", "en", "reply") == "Peter"
    assert wrong_addressee("Dear Tom, see you? Katherine", "Dear Kathy, yes!", "en", "reply") == ""
    assert wrong_addressee("Wracam w środę. Basia", "Cześć Basiu, jasne!", "pl", "reply") == ""
    assert wrong_addressee("See below. Marcus\n> No lid. Best, Harriet Lund", "Hi Marcus, sure.", "en", "reply") == ""
    passed_on = "Please tell Sabine that the key is here. Jochen"
    assert wrong_addressee(passed_on, "Dear Sabine, the key is here.", "en", "reply") == "Sabine"
    assert wrong_addressee(passed_on, "Dear Sabine, the key is here.", "en", "reply", "Write to Sabine.") == ""
    behalf = "Writing for my mother, Ruth Sands, who wants an answer. Tom"
    assert wrong_addressee(behalf, "Dear Ms Sands, we are glad to help.", "en", "reply") == ""
    letter = "Hi Zoe, can you swap shifts? Thanks, Ben"
    assert wrong_addressee(letter, "Hi Ben, could you swap shifts? Thanks, Zoe", "en") == "Ben"
    assert wrong_addressee(letter, "Hi Zoe, could you swap shifts? Thanks, Ben", "en") == ""


def test_debris_is_noticed() -> None:
    """Letters of another alphabet inside a word, invisible characters and markup of other systems are noticed, but not
    what scripts, units, emoji or the style account for."""
    for text in ("The f\u0435rry", "plea\u200bse", "the \u202eend", "Ανo\u03af\u03b3"):
        assert stray_character(text + " leaves", ""), text
    for text in (
        "Wi-Fi-роутер",
        "4.7 kΩ",
        "α-particles",
        "می\u200cخواهم",
        "👩\u200d🍳",
        "הקוד \u200eABC",
        "SMS\u0430",
        "Fäh\u00adre",
    ):
        assert stray_character(text, "") == "", text
    for text in ("It is \\textbf{closed}.", "[b]closed[/b]", "It is '''closed'''.", "20\\% off", "In [[Bath]]"):
        assert foreign_markup(text, ""), text
    assert foreign_markup("\\textbf{hello}", "Write it in LaTeX.") == ""
    assert foreign_markup("Then $\\text{area}$ is 3.", "") == ""


def test_garbled_text_is_rejected_whatever_else_it_contains() -> None:
    """A stray letter only flags a text, and does not save it from rejection: misread UTF-8 may contain one too."""
    for text in (
        "El perÃ\u00adodo del paÃ\u00ads",
        "The f\u0435rry caf\ufffd leaves",
        "\ufeffThe cafÃ© and the naÃ¯ve crew",
    ):
        assert not encoding(pair("x", text)).keep, text


def test_what_a_text_tells_of_its_making_is_noticed() -> None:
    """A style repeated as a statement, a label of the answer below reasoning, and notes on changes are noticed, unless
    they were asked for."""
    style = "You are a sommelier. Describe wines in two sentences without jargon."
    leaked = "I describe wines in two sentences without jargon. Riesling is crisp."
    assert restated_style(style, "Riesling", leaked, "en", "en", "free")
    assert (
        restated_style(
            "We bake sourdough bread daily.", "Bread?", "We bake sourdough bread. Daily.", "en", "en", "reply"
        )
        == ""
    )
    assert labelled_answer("", "kiedy?", "Rodzic pyta o termin.\nOdpowiedź: W czwartek.") == "odpowiedź"
    assert labelled_answer("", "when?", "Question: when?\nAnswer: At nine.") == ""
    assert change_note("", "an venido", 'Han venido.\n\n("an" corregido)')
    assert change_note("Corrige y anota los cambios.", "an venido", 'Han venido.\n\n("an" corregido)') == ""
    assert change_note("", "УК Берег, воды нет", "Воды нет.\n\nУК «Берег»") == ""


def test_korean_has_no_kana_and_a_sentence_of_hindi_ends() -> None:
    """Kana in a Korean text, a Hindi sentence without an end and XX before a currency are noticed."""
    assert mixed_language(pair("바다가 예뻤다", "바다가 예뻤고 宿は古かった."), "ko").keep is False
    begun = "नमस्ते, आपका कार्ड खो जाने का हमें खेद है। नया कार्ड 7 कार्यदिवस में आपके"
    assert cut(pair("कार्ड खो गया", begun), "hi").reason.detail != "it has an end"
    assert placeholder(pair("How much?", "It costs XX euros.")).keep is False
