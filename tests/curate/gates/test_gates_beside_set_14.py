"""Rules derived from the fourteenth set of rows: what they catch, and 316 similar good rows that they leave alone.

The first 202 good rows, `beside_rules.jsonl`, are by the author of the rules, the others by the people who tested them
adversarially: most of these were once rejected or flagged. Each names the rule that it resembles.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from curate.gates import judge_text
from curate.gates.arithmetic import wrong_column, wrong_end, wrong_unit
from curate.gates.damage import cut, encoding, fenced
from curate.gates.facts import swapped
from curate.gates.foreign_letters import foreign_spelling
from curate.gates.form import echo, repetition
from curate.gates.instructed import instructed
from curate.gates.language import language
from curate.gates.making import empty_statement
from curate.gates.mixed_language import mixed_language
from curate.gates.phrases import FOLDER, lexicon, phrases
from curate.gates.placeholder import placeholder
from curate.gates.records import is_computed, miscounted_field
from curate.gates.repeated_parts import repeated_part
from curate.gates.unfinished import broken_code_end
from tests.curate.gates.test_gate_rates import steps_of
from tests.curate.tiny import pair

ROWS = [json.loads(line) for line in (Path(__file__).parent / "beside_rules.jsonl").read_text("utf-8").splitlines()]
BESIDE = {
    "unfinished code": {"cut", "placeholder", "encoding", "fenced", "mixed_language", "language"},
    "reckoned": {"sums"},
    "said twice": {"echo"},
    "letters of another language": {"language", "mixed_language", "translated"},
    "of the model": {"preamble", "injection", "answered"},
    "counted": {"values"},
    "times": {"swapped", "sums"},
    "slots in code": {"placeholder"},
    "form": {"instructed", "encoding", "fenced", "cut", "language"},
}


@cache
def judged(at: int) -> dict[str, Any]:
    row = ROWS[at]
    judgements = judge_text(row["input"], row["output"], steps_of(row))
    return {by.removeprefix("gate/").partition("@")[0]: judgement for by, judgement in judgements.items()}


@pytest.mark.parametrize("rule", BESIDE)
def test_good_rows_similar_to_a_rule_are_left_alone(rule: str) -> None:
    """No gate rejects any of them, and the gate with the rule flags none."""
    for at, row in enumerate(ROWS):
        if row["rule"] == rule:
            rejecting = {name for name, judgement in judged(at).items() if not judgement.keep}
            flagging = {name for name in BESIDE[rule] if name in judged(at) and judged(at)[name].flags}
            assert not rejecting, (row, rejecting)
            assert not flagging, (row, flagging)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a +", "a, b = b, a +"),
        ("SELECT p.*\nFROM products p\nLEFT JOIN order_items oi ON oi.product_id = p.id\nWHERE", "WHERE"),
        ("<table>\n  <tr><th>Nom</th></tr>\n  <tr><td>1", "<table>"),
        (
            "import csv\n\nwith open('a.csv') as f:\n    # ... restante do código aqui ...",
            "# ... restante do código aqui ...",
        ),
        ("function f(a) {\n  if (a) {\n    return 1;", "{"),
        ("f = open(path)\nrows = list(csv.reader(f", "("),
        ("```js\nconst a = b &&\n```", "const a = b &&"),
        ("x = [\n  'a)',  # (\n]", ""),
        ("a = s.split(/[(]/).length;\nshow(a);", ""),
        ("def f(limit):\n    return limit", ""),
        ("HOST=a\nPASSWORD=", ""),
        ("# ... runs every night\n0 2 * * * backup.sh", ""),
    ],
)
def test_truncated_code_is_flagged(text: str, end: str) -> None:
    """An operator or keyword that needs something after it, an unclosed bracket or tag, a placeholder for the rest.
    Strings, comments and regexes open nothing, and a name or an empty setting may come last."""
    assert broken_code_end(text) == end
    assert bool(cut(pair("some code", text)).flags) == bool(end)


@pytest.mark.parametrize(
    ("given", "text", "code", "wrong"),
    [
        ("¿Cuántos gramos son 2,5 kilos?", "2,5 kilos son 250 gramos.", "es", "2,5 kilos son 250 gramos"),
        ("半公里等于多少米。", "半公里等于50米。", "zh", "0.5公里等于50米"),
        ("Ein Film beginnt um 20:15 und dauert 128 Minuten. Wann endet er?", "Um 21:43 Uhr.", "de", "21:43"),
        ("Um wie viel Uhr landen wir? Abflug 10:00, Flug 8 Stunden.", "Um 12:00 Uhr Ortszeit.", "de", ""),
        ("How long is a lesson?", "1 hour is 45 minutes.", "en", ""),
        ("How long is it?", "3 h 20 min is 3.33 h.", "en", ""),
        ("How long?", "2 h 15 min is 2.25 h.", "en", ""),
    ],
)
def test_plainly_requested_calculations_are_checked(given: str, text: str, code: str, wrong: str) -> None:
    """A conversion off by a factor of ten and the end of a time span are noticed, but only where nothing is
    ambiguous."""
    assert (wrong_unit(text, code) or wrong_end(given, text, code)) == wrong


def test_calculations_in_a_table_are_checked_against_its_other_rows() -> None:
    """An amount that is not a product although another row's is, and a total that is not the sum of the products. A
    column that does not multiply or add up is left alone."""
    head = "| Item | Qty | Price | Sum |\n|---|---|---|---|"
    table = f"{head}\n| Pens | 12 | 1.50 | 18.00 |\n| Folders | 5 | 3.20 | {{}} |"
    assert wrong_column(table.format("18.50")) == "5 * 3.20 = 18.50"
    assert wrong_column(table.format("16.00")) == ""
    assert wrong_column(table.format("16.00") + "\n| **Total** | | | **36.00** |") == "36.00"
    assert wrong_column(table.format("16.00") + "\n| **Total** | | | **34.00** |") == ""
    total = "| a | b |\n|---|---|\n| x | 120,00 |\n| davon y | 80,50 |\n| Summe | 120,00 |"
    assert wrong_column(total) == ""


def test_repeated_greeting_or_list_item_is_noticed() -> None:
    """The greeting again on its own line, or one item of a short list twice; a refrain and exercises may repeat."""
    assert repeated_part("Buongiorno,\n\nno, lunedì.\n\nBuongiorno,\n\nno, si consegna lunedì.", "") == "buongiorno,"
    items = "1. Sleep at a fixed time.\n2. Rest.\n3. Sleep at a fixed time."
    assert repeated_part(items, "") == "sleep at a fixed time"
    assert repeated_part("Dear Tom,\n\nthe sea is calm.\n\nDear Tom,\n\nboats are in.\n\nCome home.", "") == ""
    assert repeated_part("Canta, río,\nes noche.\n\nCanta, río,\nes alba.\n\nFin.", "") == ""
    assert repeated_part("1. 10 sit-ups\n2. 1 minute of rest\n3. 10 squats\n4. 1 minute of rest", "") == ""


def test_characters_of_scripts_without_spaces_are_not_words() -> None:
    """A Thai notice uses few characters, mostly those of its note, and is neither a loop nor an echo; a Thai loop is
    rejected."""
    notice = "พรุ่งนี้จะมีการล้างแทงก์น้ำ เวลา 9.00-12.00 น. ในช่วงดังกล่าวน้ำจะไม่ไหล กรุณาสำรองน้ำไว้ล่วงหน้า"
    given = "พรุ่งนี้ล้างแทงค์น้ำ 9-12 น้ำไม่ไหล เก็บน้ำไว้ก่อน"
    assert repetition(pair(given, notice), language="th").keep is True
    assert echo(pair(given, notice), language="th").flags == ()
    assert repetition(pair(given, "น้ำจะไม่ไหลในวันพรุ่งนี้" * 8), language="th").keep is False


def test_words_in_the_spelling_of_another_language_are_noticed() -> None:
    """Polish in a Czech notice, Chinese in a Japanese reply, Russian instead of Ukrainian; loan words and names of
    dishes are left alone."""
    assert foreign_spelling("Knihy vracejte, dziękujemy.", "cs", "") == "dziękujemy"
    assert foreign_spelling("Café s paní Wałęsovou a crème brûlée.", "cs", "") == ""
    assert foreign_spelling("Na stole bude żurek a kürtőskalács.", "cs", "") == ""
    mixed = "チェックアウトは11時でございます。您可以在退房后将行李寄存在前台。"
    assert mixed_language(pair("何時ですか。", mixed), "ja").keep is False
    russian = pair("Your luggage will arrive on the next flight.", "Ваш багаж прибудет следующим рейсом.")
    assert mixed_language(russian, "uk", "en").keep is False


def test_an_input_may_name_the_language_of_its_answer() -> None:
    """Two Spanish lines for a Spanish neighbour are not an error, and a shell command is not English."""
    lines = "Querida Pilar: que cada mañana sin despertador te sepa a gloria. ¡Feliz jubilación y a disfrutar!"
    assert language(pair("Two lines for my Spanish neighbour.", lines), "en").keep is True
    assert language(pair("Two lines for my neighbour.", lines), "en").keep is False
    assert mixed_language(pair("Two lines for my Spanish neighbour.", lines), "en").keep is True
    assert mixed_language(pair("Two lines for my neighbour.", lines), "en").keep is False
    machine = pair("wasmachine kapot niet gebruiken", "Die Waschmaschine ist defekt. Bitte nicht benutzen.")
    assert mixed_language(machine, "nl").keep is False  # `wasmachine` does not name the language `chinees`
    assert mixed_language(pair("Найди большие файлы.", "find . -type f -size +100M"), "ru").keep is True


@pytest.mark.parametrize("code", sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "any"))
def test_every_language_has_lists_for_talk_of_the_model(code: str) -> None:
    """`As a language model`, `here is how you can answer` and `if you tell me more` are listed for every language."""
    assert phrases(code).known
    for name in ("trained", "ai_words", "how_to_reply", "offers", "change", "cannot", "comply"):
        assert lexicon(code).words(name), (code, name)


def test_list_exceptions_name_a_word() -> None:
    """A lone `!` without the excepted word would disable the whole list; `好的` is an empty courtesy."""
    for path in FOLDER.glob("*.toml"):
        known = lexicon(path.stem)
        assert not [name for name in known.lists.texts if "!" in known.words(name)], path.name
    assert empty_statement("好的.", "下周出差去成都 周三回 有事找小陈", "zh") == "好的"


def test_numbers_of_a_record_belong_to_their_fields() -> None:
    """A price without its currency, a table number as a quantity, a percentage added as an amount are noticed; a sum of
    two amounts can be computed from the text."""
    chairs = "We need 30 folding chairs at 14 pounds each."
    assert miscounted_field(chairs, {"quantity": 14, "unit_price": 30}, "en") == ("unit_price", 30)
    assert miscounted_field(chairs, {"quantity": 30, "unit_price": 14}, "en") is None
    assert miscounted_field("Nasi goreng 4 porsi, meja nomor 9.", {"jumlah": 9}, "id") == ("jumlah", 9)
    assert miscounted_field("Subtotaal 200 euro, btw 21%.", {"totaal": 221}, "nl") == ("totaal", 221)
    assert miscounted_field("Mesa 4 personas, 2 niños.", {"cantidad": 4}, "es") is None
    assert miscounted_field("200 with 10% off, plus 10 for delivery.", {"total": 210}, "en") is None
    assert is_computed("Labour 320.00, materials 80.00, plus 20% VAT", 400.0)
    assert not is_computed("Labour 320.00, plus 20% VAT", 340.0)


def test_swapped_minutes_and_dates_are_noticed() -> None:
    """Minutes swapped with another number, and a postponement in the wrong direction."""
    given = "coach leaves 8.15 from bay 12"
    assert swapped(pair(given, "The coach leaves at 8.12 from bay 15.")).keep is False
    assert swapped(pair(given, "The coach leaves at 8.15 from bay 12.")).keep is True
    earlier = pair("now 14 june, was 21 june", "It moves from 21 June to 14 June.")
    assert swapped(earlier).keep is True
    moved = "Uw afspraak van 21 juni wordt verplaatst naar 14 juni."
    assert swapped(pair("afspraak 14 juni wordt 21 juni", moved), language="nl").keep is False


def test_form_excluded_by_the_style_is_noticed() -> None:
    """An emoji, another number of lines, a code fence, code quotes around text, a blank for an hour."""
    assert instructed(pair("Habt ihr auf?", "Ja! 😊"), style="Keine Emojis.", language="de", kind="reply").keep is False
    verse, four = pair("Un poema.", "a\nb\nc\nd\ne"), "Exactamente cuatro versos."
    assert instructed(verse, style=four, language="es", input_language="es", kind="free").keep is False
    stanzas = pair("Un poema.", "a\nb\nc\nd\n\ne\nf\ng\nh")
    assert instructed(stanzas, style=four, language="es", input_language="es", kind="free").keep is True
    query = pair("Cuenta las filas.", "```sql\nSELECT 1;\n```")
    assert fenced(query, style="Solo SQL, sin bloque de código.").keep is False
    assert fenced(pair("spóźnię się", '"""\nSpóźnię się.\n"""')).flags == ("tagged",)
    assert placeholder(pair("zebranie w sobotę", "Zebranie w sobotę o __:__."), language="pl").keep is False
    verse_with_slot = "Wave by wave;\n<insert couple's names here>, be bold."
    assert placeholder(pair("a verse", verse_with_slot)).keep is False
    assert encoding(pair("a link", '<a href="/x">Thé &amp; café</a>')).keep is True
    assert encoding(pair("a line", "Thé &amp; café")).keep is False
