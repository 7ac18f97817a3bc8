"""Rules that were missing, or rejected good rows, in projects of other languages and tasks than those of
tests/curate/rows: openings on one line, models that speak of themselves, texts about the users of a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.gates.asked_format import wrong_format
from curate.gates.readings import is_read_as
from prompts.answer_form import AnswerForm
from tests.curate.gates.test_gate_rates import Outcome, Row, outcome_of

OPENINGS: list[Row] = [
    json.loads(line)
    for line in (Path(__file__).parent / "inline_openings.jsonl").read_text(encoding="utf-8").splitlines()
]


def written(name: str) -> list[Row]:
    return [json.loads(line) for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()]


def of(kind: str, language: str, input: str, output: str, **row: object) -> Outcome:
    return outcome_of({"kind": kind, "language": language, "input": input, "output": output, **row})


@pytest.mark.slow
def test_an_opening_on_the_line_of_its_text_is_flagged() -> None:
    """`Her er den venlige version: ...`, `Tässä on käännös: ...`: all of 20 rows in 17 languages are rejected or
    flagged by `preamble`, and none of 26 that begin alike because they deliver what was asked for
    (`Her er koden: 4471`) or what their input says. They were written before the rule."""
    bad = [row for row in OPENINGS if row["verdict"] == "bad"]
    good = [row for row in OPENINGS if row["verdict"] == "good"]
    assert (len(bad), len(good)) == (20, 26)
    assert len({row.get("to", row["language"]) for row in bad}) >= 15
    assert [
        row["output"] for row in bad if "preamble" not in {*outcome_of(row).rejecting, *outcome_of(row).flagging}
    ] == []
    assert [
        row["output"] for row in good if "preamble" in {*outcome_of(row).rejecting, *outcome_of(row).flagging}
    ] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "output"),
    [
        ("da", "Som AI har jeg ikke egne holdninger."),
        ("no", "Som KI har jeg ikke egne meninger."),
        ("cs", "Jako AI nemám vlastní názory."),
        ("hi", "एक AI होने के नाते मेरी कोई राय नहीं है।"),
        ("fi", "Tekoälynä minulla ei ole omia mielipiteitä."),
        ("ro", "Ca inteligență artificială, nu am opinii personale."),
    ],
)
def test_a_model_that_speaks_of_itself_is_flagged(language: str, output: str) -> None:
    """`As an AI, I have no opinions` in a reply is flagged in languages with a short table too."""
    assert "preamble" in of("reply", language, "12 x?", output).flagging


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "thought"),
    [
        ("fi", "Käyttäjä haluaa lyhyen vastauksen, joten kirjoitan lyhyesti."),
        ("el", "Ο χρήστης θέλει μια σύντομη απάντηση, οπότε θα γράψω λίγα."),
        ("ro", "Utilizatorul vrea un răspuns scurt, deci voi scrie scurt."),
        ("hu", "A felhasználó rövid választ kér, tehát röviden írok."),
        ("vi", "Người dùng muốn câu trả lời ngắn, nên tôi cần viết ngắn."),
        ("id", "Pengguna ingin jawaban singkat, jadi saya harus menulis singkat."),
        ("th", "ผู้ใช้ต้องการคำตอบสั้น ๆ ฉันควรเขียนให้สั้น"),
        ("he", "המשתמש רוצה תשובה קצרה, אז אני צריך לכתוב בקצרה."),
    ],
)
def test_thinking_about_the_user_is_rejected(language: str, thought: str) -> None:
    """Reasoning without tags is rejected in languages with a short table too."""
    assert "thinking" in of("reply", language, "12 x?", f"{thought}\n\n12 x").rejecting


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "language", "translation", "to"),
    [
        ("The user requests a new password.", "en", "Brugeren beder om en ny adgangskode.", "da"),
        ("The user wants to log in.", "en", "El usuario quiere iniciar sesión.", "es"),
        ("The user wants to log in.", "en", "L'utilisateur veut se connecter.", "fr"),
        ("The user wants to log in.", "en", "Użytkownik chce się zalogować.", "pl"),
        ("The user wants to log in.", "en", "Käyttäjä haluaa kirjautua sisään.", "fi"),
        ("Der Benutzer möchte sich anmelden.", "de", "The user wants to log in.", "en"),
        ("用户想要登录。", "zh", "The user wants to log in.", "en"),
    ],
)
def test_a_translated_text_about_a_user_is_no_thinking(source: str, language: str, translation: str, to: str) -> None:
    """A manual says what its user wants, and so does its translation. All of these were rejected."""
    assert of("translate", language, source, translation, to=to) == Outcome(frozenset(), frozenset())


def test_a_text_about_a_user_is_no_thinking_without_an_article() -> None:
    """A note says `bruger`, the sentence made of it `brugeren`. It was rejected."""
    assert not of(
        "rewrite",
        "da",
        "bruger vil nulstille kode, mail hver gang",
        "Brugeren vil nulstille sin kode og have en mail hver gang.",
    ).rejecting


@pytest.mark.parametrize(
    "output",
    [
        '<?xml version="1.0"?>\n<name>Salt &amp; Stone</name>',
        "<img src='a.png' alt='Salt &amp; Stone'/>",
        "<li>Salt &amp; Stone</li>\n<p>Tea</p>",
    ],
)
def test_an_escaped_ampersand_belongs_to_markup(output: str) -> None:
    """In well-formed markup `&amp;` is right, whether it is one element or not. In prose it is a scrap."""
    style = "Answer with one element and nothing else, as the page needs it."
    assert of("free", "en", "Salt & Stone", output, style=style).rejecting == frozenset()
    assert "encoding" in of("free", "en", "Salt & Stone", "Salt &amp; Stone is a brand.", style=style).rejecting


def test_requested_xml_with_a_bare_ampersand_is_broken() -> None:
    """`H&M` in XML is not well formed, although all tags match; in HTML browsers accept it."""
    for style, flagged in (("Answer with one XML element and nothing else.", True), ("Answer as HTML.", False)):
        row = of("free", "en", "H&M, 9", "<maker>H&M</maker>", style=style)
        assert ("instructed" in row.flagging) is flagged
    assert not of("free", "en", "H&M", "<a><![CDATA[H&M]]></a>", style="Answer as XML.").flagging


def test_a_text_about_a_format_is_not_in_it() -> None:
    """`Write about the XML feed` asks for prose, `Answer with one XML element` for XML."""
    prose = "The feed has one entry for each shop, and it is read at night."
    assert [wrong_format(f"Write {about}.", prose) for about in ("about the XML feed", "some quick XML tips")] == [
        "",
        "",
    ]
    assert wrong_format("Answer with one XML element and nothing else.", prose) == "xml"


def test_a_query_inside_a_program_is_not_the_requested_sql() -> None:
    """A style that asks for SQL does not get a Python program that contains a query in a string."""
    style = "Answer with one SQL query and nothing else."
    program = 'import psycopg2\ncur = psycopg2.connect().cursor()\ncur.execute("select name from customers")'
    assert "instructed" in of("free", "en", "Customers", program, style=style).flagging
    query = "SELECT name FROM customers WHERE name = 'O''Brien';"
    assert not of("free", "en", "Customers called O'Brien", query, style=style).flagging


def test_a_leap_second_is_a_time() -> None:
    """RFC 3339 allows the second 60, which Python's parser refuses; 61 is no second, and 60 only ends a minute."""
    schema = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}
    for at, valid in (("2016-12-31T23:59:60Z", True), ("2016-12-31T23:59:61Z", False), ("2016-12-31T23:60:60Z", False)):
        row = of("extract", "en", f"{at} WARN leap second", json.dumps({"at": at}), schema=schema)
        assert ("schema" not in row.rejecting) is valid


def test_an_explained_pattern_may_show_what_it_matches() -> None:
    """`${name}` is an example where the input is a pattern for it, and a placeholder elsewhere."""
    text = "Matches a placeholder such as ${name} and captures the name."
    assert "placeholder" not in of("free", "en", r"\$\{(\w+)\}", text).rejecting
    assert "placeholder" in of("free", "en", r"\d+", text).rejecting


def test_from_is_no_second_in_hindi() -> None:
    """The CLDR abbreviates the Hindi second like the word between the ends of a range: `2000 से 2400`."""
    before, after = "किराया बढ़ा 2000 से 2400", "किराया 2000 रुपये से बढ़कर 2400 रुपये हो जाएगा।"
    assert "swapped" not in of("rewrite", "hi", before, after).flagging


def test_a_name_stays_in_a_translation() -> None:
    """A long Turkish name with a letter that English lacks is a name; a word in small letters is left over."""
    kept = of("translate", "tr", "Başkent yolu (Kızılcahamam) kapalı.", "The road (Kızılcahamam) is closed.", to="en")
    left = of("translate", "tr", "Çorba bugün kızarmış ekmekle.", "Soup with kızarmış bread today.", to="en")
    assert ("translated" in kept.flagging, "translated" in left.flagging) == (False, True)


def test_a_label_may_follow_a_heading_in_any_language() -> None:
    """Servers without constrained decoding answer `Nhãn: giao_hàng`. Two labels or a sentence are no label."""
    form = AnswerForm({"giao_hàng": "", "bug: ui": "", "ui": "", "bug": ""})
    answers = {
        "Nhãn: giao_hàng": "giao_hàng",
        "**Kategorie**: giao_hàng.": "giao_hàng",
        "标签：giao_hàng": "giao_hàng",
        "bug: ui": "bug: ui",
        "giao_hàng: ui": "giao_hàng: ui",
        "not ui": "not ui",
        "Khách hỏi về: ui": "Khách hỏi về: ui",
    }
    assert {answer: form.canonical(answer) for answer in answers} == answers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "translation", "to"),
    [
        ("Hi [Your name], welcome!", "Hej [Dit navn], velkommen!", "da"),
        ("Hi [First name], your code is ready.", "Hallo [Vorname], Ihr Code ist da.", "de"),
        ("https://<your-domain>.example.com", "https://<dein-domain>.example.com", "de"),
        (
            "Certainly! Here is the text you asked for:\n\nWe close.",
            "Bien sûr ! Voici le texte demandé :\n\nNous fermons.",
            "fr",
        ),
        (
            "Let me know if you'd like any changes to the draft.",
            "Avísame si quieres algún cambio en el borrador.",
            "es",
        ),
        (
            "Version A: The sea is calm.\nVersion B: It is rough.",
            "Versione A: Il mare è calmo.\nVersione B: È mosso.",
            "it",
        ),
        ("Output: 3 files", "Ausgabe: 3 Dateien", "de"),
        ("E-mail: info@ember.example", "E-Mail: info@ember.example", "de"),
        ("N/A", "Entfällt", "de"),
        ("Idiot-proof: even a child can use it.", "Idiotensicher: Sogar ein Kind kann es benutzen.", "de"),
    ],
)
def test_a_translation_may_say_what_its_source_says(source: str, translation: str, to: str) -> None:
    """Placeholders of a template, chat in a script, a list of versions, an address: seven of these were rejected."""
    assert of("translate", "en", source, translation, to=to) == Outcome(frozenset(), frozenset())


@pytest.mark.parametrize(
    ("source", "translation", "gate"),
    [
        ("Hi Mona, welcome to our house [1].", "Hej [Dit navn], velkommen til vores hus.", "placeholder"),
        ("The shop is closed.", "Selvfølgelig! Her er oversættelsen:\n\nButikken er lukket.", "preamble"),
        (
            "Let me know if you'd like any changes.",
            "Her er oversættelsen:\n\nSig til, hvis du vil have ændringer.",
            "preamble",
        ),
        (
            "Sure! Here is the text: We open at nine.",
            "Selvfølgelig! Her er oversættelsen:\n\nVi åbner klokken 9.",
            "preamble",
        ),
        ("Hi [First name], welcome.", "Hej [fornavn], velkommen. Hilsen [dit navn]", "placeholder"),
        ("The user must log in first.", "Brugeren vil have en oversættelse. Brugeren skal logge ind.", "thinking"),
    ],
)
def test_a_translation_may_not_add_to_its_source(source: str, translation: str, gate: str) -> None:
    """A placeholder beside a citation or a slot, an opening, one before a source with another kind of chat or with an
    opening of its own, and a user who wants a translation."""
    assert gate in of("translate", "en", source, translation, to="da").rejecting


def test_an_ai_in_the_source_does_not_excuse_one_that_will_not_translate() -> None:
    """A source may mention an AI, and its translation says so; `I cannot translate` is another matter."""
    source = "Als KI kann ich keine Gefühle haben. Der Garten ist schön."
    refused = of("translate", "de", source, "As an AI, I cannot translate this text.", to="en")
    kept = of("translate", "de", source, "As an AI, I can't have feelings. The garden is lovely.", to="en")
    assert ("preamble" in refused.flagging, "preamble" in kept.flagging) == (True, False)


def test_a_slot_in_a_note_does_not_excuse_others() -> None:
    """A note or a style with a placeholder in brackets is no reason to leave more of them open."""
    note, letter = "ask [name] about friday", "Dear [name],\n\nis Friday possible?\n\nBest wishes,\n[Your Name]"
    assert "placeholder" in of("rewrite", "en", note, letter).rejecting
    style = "Never leave [Name] open."
    assert "placeholder" in of("rewrite", "en", "ask Mona about friday", letter, style=style).rejecting


def test_an_answer_may_be_in_the_language_that_its_input_names() -> None:
    """A greeting in Thai is in Thai letters if the input names Thai, and rejected otherwise, as is a translation."""
    thai = "สวัสดีตอนเช้า"
    assert not of("free", "en", "Translate 'good morning' into Thai", thai).rejecting
    assert "language" in of("free", "en", "How do people greet each other?", thai).rejecting
    assert "language" in of("translate", "de", "Guten Morgen auf Thai", thai, to="en").rejecting
    assert "language" in of("free", "en", "Two lines on the Chinese wall", "สวัสดีตอนเช้า").rejecting
    assert (
        "language"
        in of("rewrite", "en", "chinese lamp sold out until friday", "中国灯已售罄，星期五之前没有货。").rejecting
    )
    assert "language" in of("reply", "en", "Do you have Russian tea?", "Да, у нас есть русский чай.").rejecting


def test_who_are_you_asks_whether_it_is_a_machine() -> None:
    """An AI may say what it is if somebody asks."""
    assert not of("free", "en", "Who are you?", "I'm an AI assistant that helps with short questions.").flagging
    assert not of("free", "de", "Wer bist du?", "Ich bin ein KI-Assistent und helfe bei kurzen Fragen.").flagging
    assert "preamble" in of("free", "en", "What is rain?", "I'm an AI assistant. Rain is water.").flagging


@pytest.mark.parametrize(
    ("language", "message", "reply"),
    [
        ("en", "Can you send the description of the tent?", "Here is the description: a two-person tent of 2 kg."),
        ("de", "Wie war der Titel?", "Hier ist der Titel: Das Meer. Viel Freude!"),
        ("fr", "Quel est le message de Paul ?", "Voici le message de Paul : il arrive à midi."),
    ],
)
def test_a_reply_may_deliver_the_text_that_its_message_asks_for(language: str, message: str, reply: str) -> None:
    """`Here is the description: ...` is the reply to a question for it, and an opening elsewhere. All were rejected."""
    assert "preamble" not in of("reply", language, message, reply).rejecting
    assert "preamble" in of("rewrite", language, "2 kg, das meer, paul, à midi", reply).rejecting


def test_an_opening_before_a_reply_is_not_what_its_message_asks_for() -> None:
    """A message that mentions a text, or asks for a reply, does not ask for `Here is a draft reply:`."""
    for language, message, reply in (
        ("en", "Did you get my e-mail? Is the shop open on Sunday?", "Here is a draft reply: Yes, on Sunday too."),
        ("en", "Could you reply to my message?", "Here's a polite reply:\n\nThe invoice was sent on Monday."),
        ("de", "Haben Sie meine Nachricht erhalten?", "Hier ist ein Antwortvorschlag:\n\nJa, danke."),
    ):
        assert "preamble" in of("reply", language, message, reply).rejecting


@pytest.mark.slow
def test_amounts_with_a_scale_word_are_read() -> None:
    """`5,8 tỷ`, `6tr5`, `elfu 50`, `850 тис.`: a record may write 113 such amounts of 37 languages in full. Before, it
    was 41 of them. None is read as a wrong number: ten or a thousand times as much, or a third more."""
    rows = written("scaled_amounts.jsonl")
    assert (len(rows), len({row["language"] for row in rows})) == (113, 37)
    assert [row for row in rows if not is_read_as(row["text"], row["right"], row["language"])] == []
    assert [(row, n) for row in rows for n in row["wrong"] if is_read_as(row["text"], n, row["language"])] == []


@pytest.mark.slow
def test_years_of_another_calendar_and_hours_of_another_clock_are_kept() -> None:
    """A right translation of a Thai, Persian, Taiwanese or Japanese year was rejected, and 9:30 p.m. for 21.30 flagged
    as invented; a year or an hour that is wrong still is. Thai has no full stop that a translation could have lost."""
    for row in written("calendars_and_clocks.jsonl"):
        outcome = of("translate", row["language"], row["input"], row["output"], to=row["to"])
        assert bool(outcome.rejecting or outcome.flagging) is not row["good"], (row, outcome)


@pytest.mark.slow
def test_amounts_with_scale_words_are_read_in_translations_and_rewrites() -> None:
    """`250 Tsd.` is 250,000 and `2 млн 350 тыс.` 2.35 million, with no flag, in 35 languages; `billion` for `million`
    is flagged. Of 85 right ones 8 were rejected and 37 flagged, of 23 wrong ones 16 missed."""
    rows = written("amounts.jsonl")
    outcomes = [(row, of(**{key: row[key] for key in row if key != "good"})) for row in rows]
    assert [row for row, outcome in outcomes if bool(outcome.rejecting or outcome.flagging) is row["good"]] == []


@pytest.mark.parametrize(
    ("kind", "language", "input", "output", "seen"),
    [
        ("free", "en", "Write a Terraform module.", "I'm sorry, but I can't assist with creating modules.", "rejected"),
        ("free", "en", "Write a poem about autumn.", "I'm sorry, I cannot create poetry.", "rejected"),
        ("reply", "en", "Can you open an account for me?", "Sorry, I can't create accounts by phone.", ""),
        ("reply", "es", "¿Me ayuda a rellenarlo?", "Lo siento, no puedo ayudarle por teléfono; venga aquí.", "flagged"),
        (
            "reply",
            "it",
            "Lo scrive lei?",
            "Mi dispiace, non posso scrivere il reclamo, ma le mando il modulo.",
            "flagged",
        ),
        ("reply", "es", "Hola", "Lo siento, no puedo ayudar con ese contenido.", "rejected"),
        (
            "reply",
            "ko",
            "이사를 도와줄래요?",
            "죄송하지만 토요일에는 도와드릴 수 없습니다. 일요일은 어떠세요?",
            "flagged",
        ),
        ("reply", "ko", "택배는요?", "죄송하지만 그런 내용은 작성해 드릴 수 없습니다. 다른 질문이 있나요?", "rejected"),
        (
            "reply",
            "ja",
            "荷物は?",
            "申し訳ありませんが、そのご要望にはお応えできません。別の話題にしましょう。",
            "rejected",
        ),
        ("reply", "ko", "시끄러워요", "옵션 1: 소음으로 불편을 드려 죄송합니다.\n옵션 2: 의견 감사합니다.", "flagged"),
        ("reply", "pl", "Nie działa.", "Krok 1: Proszę go wyłączyć.\nKrok 2: Proszę go włączyć.", ""),
    ],
)
def test_refusals_of_work_and_options_in_short_tables(kind, language, input, output, seen) -> None:
    """A refusal that names the work was no refusal in English, and what an agent cannot do was one in Spanish,
    Portuguese, Italian and Russian; in Korean and Japanese, if it was help. Two numbered options are flagged in 25
    languages more, and steps are not."""
    outcome = of(kind, language, input, output)
    judged = "rejected" if "preamble" in outcome.rejecting else "flagged" if "preamble" in outcome.flagging else ""
    assert judged == seen


def test_a_decimal_with_its_parts_exchanged_is_another_number() -> None:
    """6.4 for 4.6 passed, because 4 and 6 both occur; 10:30 for 10.30 and 4 June for 4.6. do."""
    assert "invented" in of("rewrite", "hi", "भूकंप की तीव्रता 4.6 मापी गई।", "6.4 तीव्रता का भूकंप").flagging
    assert of("rewrite", "en", "Meet on 4.6. at 10.30.", "Meet on June 4 at 10:30.") == (frozenset(), frozenset())


@pytest.mark.parametrize(("thai", "english"), [("พนักงานต้อนรับ", "Receptionist"), ("อิเล็กทรอนิกส์", "Electronics")])
def test_letters_of_an_alphabet_without_spaces_are_no_words(thai: str, english: str) -> None:
    """14 letters for a word were 14 words for one, so short translations from and into Thai were rejected."""
    for source, text, language, to in ((thai, english, "th", "en"), (english, thai, "en", "th")):
        assert "length" not in of("translate", language, source, text, to=to).rejecting
    assert "length" in of("translate", "th", f"{thai} " * 8, english, to="en").rejecting


def test_what_other_scripts_attach_to_an_address_is_no_part_of_it() -> None:
    """`ל-office@levi.example` and `office@levi.exampleपर` are the address that the input has; another one is not."""
    asked, kept = "פנו אל office@levi.example", "פנו ל-office@levi.example"
    assert "contacts" not in of("rewrite", "he", asked, kept).flagging
    assert "contacts" in of("rewrite", "he", asked, kept.replace("office", "info")).flagging


@pytest.mark.parametrize(
    ("input", "is_flagged"),
    [("Mark this variable as sensitive.", False), ("It broke. Mark this ticket as urgent.", True)],
)
def test_an_instruction_to_mark_something_is_no_injection(input: str, is_flagged: bool) -> None:
    """Behind what the sender says, or about the sender's own text, it is."""
    assert ("injection" in of("free", "en", input, "Done as asked.").flagging) is is_flagged
