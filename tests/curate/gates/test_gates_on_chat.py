# ruff: noqa: RUF001
"""Text that a model adds or withholds, recognised by form and by word lists: policy talk, speaker labels, further
turns, titles, empty answers, keys, and names that were to be left out."""

from __future__ import annotations

import pytest

from curate.gates.chat import thinking
from curate.gates.contacts import contacts
from curate.gates.damage import cut, encoding
from curate.gates.facts import swapped
from curate.gates.mixed_language import mixed_language
from curate.gates.names import invented_name
from curate.gates.placeholder import placeholder
from curate.gates.preamble import preamble
from curate.gates.translations import translated
from tests.curate.tiny import pair


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "input", "output"),
    [
        (
            "en",
            "a poem on taxes",
            "I'd rather stay away from this. I've left out the duel, as it could be seen as violent.",
        ),
        (
            "de",
            "krimi am meer",
            "Der Schuh lag da. Ich verzichte hier auf Einzelheiten, da Gewalt verletzend wirken kann.",
        ),
        ("fr", "un sketch", "Je préfère ne pas me moquer, car cela peut être blessant."),
        ("es", "un chiste", "He decidido no incluir el chiste, porque puede ofender a otras personas."),
        ("pt", "uma piada", "Prefiro não escrever isto, pois pode reforçar estereótipos."),
        ("it", "una battuta", "Ho scelto di non scrivere la battuta, perché potrebbe offendere qualcuno."),
        ("ru", "шутка о блондинках", "Я предпочту не шутить об этом, чтобы не поддерживать стереотипы."),
        ("zh", "写一个笑话", "这个话题比较敏感,我更愿意换一个轻松的主题。"),
        ("ja", "面白い悪口", "不快に思われる方もいるため、悪口は控えさせていただきます。"),
        ("ar", "نكتة", "أفضل عدم كتابة نكتة كهذه لأنها قد تكون مسيئة."),
    ],
)
def test_policy_talk_is_flagged(language: str, input: str, output: str) -> None:
    """A sentence that declines in the first person and gives a model's reason, anywhere in the text."""
    assert preamble(pair(input, output), language=language).flags == ("policy",)


@pytest.mark.parametrize(
    ("language", "input", "output"),
    [
        ("en", "cant come tmrw, doctor", "I'm sorry, I can't come tomorrow because I have to see a doctor."),
        ("de", "kein alkohol für mich", "Für mich bitte ein Wasser, danke."),
        ("en", "flat too loud", "I'd rather move to a quieter flat."),
    ],
)
def test_person_who_declines_is_not_flagged(language: str, input: str, output: str) -> None:
    """People write refusals without such a reason, and reasons without a refusal."""
    assert preamble(pair(input, output), language=language).flags == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "language", "input", "output"),
    [
        ("speaker", "en", "Is it open?", "Agent: It opens at nine."),
        ("speaker", "tr", "Kargom nerede?", "Destek: Kargonuz yolda."),
        ("next_turn", "ru", "Покупатель: Яблоки есть?", "Есть, свежие!\n\nПокупатель: Тогда два кило."),
        ("next_turn", "en", "How do I dry figs?", "Halve them.\n\nThanks, how long do I dry them?\n\nEight hours."),
        ("preamble", "de", "miete zu spät", "Gerne! Hier ist die Klausel in einfacher Sprache: Wer zu spät zahlt, ..."),
        ("preamble", "fr", "loyer en retard", "Bien sûr ! Voici la clause en langage clair : si le loyer tarde, ..."),
        ("preamble", "id", "Your bag is full.", "Terjemahan: Tasmu penuh."),
        ("title", "ko", "첫눈", "[완성된 시]\n\n첫눈이 왔다"),
        ("title", "ru", "статья о музее", "Заголовок: «Горячее прошлое»"),
        ("options", "es", "noticia", "- Cierra la mercería\n- Adiós, botones\n\n¡Elige el que más te guste!"),
        ("comment", "de", "zug", "Nach Süden: dieser Titel spielt auf die Züge an."),
        ("empty", "de", "Mein Konto ist gesperrt, was nun?", "Vielen Dank für Ihre Nachricht!"),
        ("empty", "en", "sql for the total of sales", "```sql\n\n```"),
        ("empty", "fr", "Quand ouvre le musée ?", "Aucune réponse."),
        ("afterword", "de", "apfelmus", "### Aufgabe\nSchreib um.\n\n### Antwort\nÄpfel schälen."),
    ],
)
def test_forms_of_a_chat_are_flagged(code: str, language: str, input: str, output: str) -> None:
    """A speaker label, a next turn, a title, a choice, a remark and an empty answer, each with its code."""
    judgement = preamble(pair(input, output), language=language)
    assert (judgement.keep, judgement.flags) == (True, (code,))


@pytest.mark.parametrize(
    ("style", "input", "output"),
    [
        ("a dialogue", "open at nine", "Agent: We open at nine."),
        ("", "form", "Customer: Moss\nProblem: no light\nSince: Monday"),
        ("", "summary of the night", "**Summary:** disk full\n\n**Timeline**\n- 3 a.m.: full"),
        ("", "Thanks!", "You're welcome!"),
    ],
)
def test_requested_forms_are_left_alone(style: str, input: str, output: str) -> None:
    """A dialogue, a form, a report with headings, and an answer to thanks."""
    assert preamble(pair(input, output), style).flags == ()


KEY = "sk-" + "proj-9fT2LwQx7RbVn4KzYd83"


@pytest.mark.parametrize(
    ("code", "input", "output"),
    [
        ("secret", "call an API", f'KEY = "{KEY}"'),
        ("secret", f"my key is {KEY}", f"Use {KEY} to sign in."),
        ("secret", "ssh entry", "# -----BEGIN OPENSSH " + "PRIVATE KEY-----\n# b3BlbnNzaC1rZXktdjEAAAAA"),
        ("secret", "wifi for guests", "Sign in as root with Wq7!teLm29 on the page."),
        ("invented_contact", "pay us", "Pay to DE89 3704 0044 0532 0130 00, please."),
        ("invented_contact", "連絡してください。", "電話は03-9999-5678までお願いします。"),
        ("kept_name", "anonymise: Grace Amadi complained about noise", "Ms Amadi complained about the noise."),
        ("kept_name", "remove identifiers: NHS 943 476 5919, pain", "The patient (943 476 5919) was in pain."),
    ],
)
def test_leaked_secrets_and_names_are_rejected(code: str, input: str, output: str) -> None:
    """Keys, also in code and even if the input contains them; invented passwords and accounts; names to be left out."""
    judgement = contacts(pair(input, output))
    assert (judgement.keep, judgement.reason.code) == (False, code)


@pytest.mark.parametrize(
    ("input", "output"),
    [
        ("call an API", 'KEY = "sk-your-key-here-0123456789abcd"'),
        ("aws", "AKIAIOSFODNN7" + "EXAMPLE is the key of the manual."),
        ("wifi: Sunny!Day22", "The password is Sunny!Day22."),
        ("anonymise: Grace Amadi complained", "A resident complained."),
        ("commit", "The commit is 3f786850e387550fdab836ed7e6dc881de23001b."),
        ("メールは taro@example.jp です", "連絡先はtaro@example.jpです。"),
        ("邮箱是li@example.cn。", "请写信到li@example.cn，谢谢"),
    ],
)
def test_text_that_only_looks_like_a_secret_is_left_alone(input: str, output: str) -> None:
    """A sample, a hash, and data of the input are not leaks, whatever is directly next to an address."""
    assert contacts(pair(input, output)).keep is True


def test_question_marks_in_place_of_letters_are_damage() -> None:
    """Two words with a question mark inside have lost letters; questions and query strings have not."""
    assert encoding(pair("toplantı yok", "Arkada?lar, yar?n toplant? yok.")).reason.code == "mojibake"
    assert encoding(pair("who?what", "Who? What? See example.com/a?b=c and d?e=f.")).keep is True


def test_a_list_that_stops_before_its_last_items_is_flagged() -> None:
    """A table with only the first items of the input is flagged; one with a selection is not."""
    rooms = "Table of rooms: A1 30 seats; A2 12 seats; B1 80 seats; B2 8 seats"
    assert cut(pair(rooms, "| Room | Seats |\n|---|---|\n| A1 | 30 |\n| A2 | 12 |")).flags == ("unended",)
    assert cut(pair(rooms, "| Room | Seats |\n|---|---|\n| A1 | 30 |\n| B2 | 8 |")).flags == ()


def test_a_unit_keeps_its_number() -> None:
    """If both texts give a unit one number, it must be the same; a spoon is not a millilitre."""
    assert (
        swapped(pair("500 mg twice a day, review in 3 months", "500 mg three times a day, review in 2 months.")).keep
        is False
    )
    assert swapped(pair("sirop 5 ml", "Donnez 5 cuillères de sirop."), "fr").reason.code == "changed_unit"
    assert swapped(pair("500 mg twice, review in 3 months", "500 mg twice, review in three months.")).keep is True


def test_names_after_a_comma_and_placeholders_of_other_languages_are_noticed() -> None:
    """A name after a comma is a name, and placeholders are recognised in languages without a table."""
    assert invented_name(pair("chair opened at 9", "The chair, Margaret Hollis, opened at 9.")).keep is False
    assert placeholder(pair("ραντεβού", "Με εκτίμηση,\n[Ονοματεπώνυμο]"), language="el").keep is False


def test_untranslated_parts_are_flagged() -> None:
    """A string in JSON, and words of the source within quotation marks that are not a quotation of it."""
    texts = translated(pair('{"a": "Back", "b": "Need help?"}', '{"a": "Назад", "b": "Need help?"}'), "en", "ru")
    quoted = translated(pair("„Er kam und aß“, sagte sie.", "“He came kam und aß”, she said."), "de", "en")
    assert texts.flags == quoted.flags == ("left_over",)


def test_short_text_in_another_script_is_rejected() -> None:
    """A dozen Latin letters and none of the language's own are another language; a link is not."""
    assert mixed_language(pair("شكرا على رسالتكم", "Thank you, friend"), "ar").keep is False
    assert mixed_language(pair("رابط", "https://example.org/menu"), "ar").keep is True


def test_reasoning_between_two_drafts_is_rejected() -> None:
    """A plan alone is only flagged, because a text may tell one; a text that then starts again has been redone."""
    draft, aloud = (
        "The lift is out of service until Friday evening",
        'Wait, "noon" means midday, so I should be precise.',
    )
    asked = "lift broken till fri noon"
    assert not thinking(pair(asked, f"{draft}. {aloud} Let me redo that.\n\n{draft}, 12:00.")).keep
    plan = thinking(pair(asked, f"{draft}. {aloud} Let me redo that.\n\nOut of service until Friday, 12:00."))
    assert plan.keep
    assert plan.flags
