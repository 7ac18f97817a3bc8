"""Good rows of strangers' own projects that were flagged, each cause with a bad row that still is."""

from __future__ import annotations

import pytest

from curate.gates.number_order import swapped_numbers
from curate.gates.personal import personal
from tests.curate.gates.test_gate_rates import outcome_of


@pytest.mark.parametrize(
    ("request_", "good", "bad", "gate"),
    [
        (
            "Capture the domain of an email",
            r"@([A-Za-z0-9.-]+\.[A-Za-z]{2,})$",
            "It is [the domain] here.",
            "placeholder",
        ),
        ("Words of vowels", "^[aeiou]+$", "Hello [Name]?", "placeholder"),
        ("Match text between double quotes", '"([^"]*)"', 'It is "the text between them.', "cut"),
        ("Regex for the basic emoticons", r"[\u{1F600}-\u{1F64F}]+", "function f(x) {\n  return x +", "cut"),
        ("Lines that do not contain 'debug'", r"^(?!.*debug).*$", "The debug lines.", "instructed"),
        (
            "rename column mail to email",
            "ALTER TABLE users RENAME COLUMN mail TO email;",
            "You ask: rename column mail to email",
            "echo",
        ),
        (
            "pivot sales by quarter",
            "SELECT year,\n"
            + "".join(f"       SUM(CASE WHEN quarter = {n} THEN amount END) AS q{n},\n" for n in range(1, 5))
            + "       1\nFROM sales;",
            "SELECT year,\n" + 9 * "       SUM(CASE WHEN quarter = 1 THEN amount END) AS q,\n" + "FROM sales;",
            "repetition",
        ),
    ],
)
def test_regexes_and_queries_are_no_damaged_prose(request_: str, good: str, bad: str, gate: str) -> None:
    """Seven of 44 good answers in SQL and regular expressions were flagged: a character class as a placeholder, a
    quotation mark in it as never closed, a pivot's columns as a loop. None is now."""
    row = {"kind": "free", "language": "en", "input": request_}
    judged = outcome_of({**row, "output": good})
    assert judged.rejecting | judged.flagging == frozenset()
    judged = outcome_of({**row, "output": bad})
    assert gate in judged.rejecting | judged.flagging


def test_a_word_that_code_repeats_is_a_loop() -> None:
    """Up to twelve different lines of code are no loop, but one of them may hang."""
    code = "def f(x):\n    return '" + 15 * "spam " + "'"
    judged = outcome_of({"kind": "free", "language": "en", "input": "A function that answers", "output": code})
    assert "repetition" in judged.rejecting | judged.flagging


@pytest.mark.parametrize(
    ("source", "text", "languages", "turned"),
    [
        ("5段階中4以上の評価", "Rated 4 or higher out of 5", "ja en", ""),
        ("2つのうち1つを選択", "Choose 1 of 2", "ja en", ""),
        ("3 out of 10 trains were late", "열차 10대 중 3대가 늦었다", "en ko", ""),
        ("毎月1日に¥1,200が請求されます。", "You'll be charged ¥1,200 on the 1st of every month.", "ja en", ""),
        ("価格が900円から1,200円に変わります。", "The price changes from ¥1,200 to ¥900.", "ja en", "900, 1,200"),
        ("1日に5人、中庭に8人", "8 people in the yard, 5 on day 1", "ja en", "1, 5"),
    ],
)
def test_a_part_and_its_whole_change_places_between_languages(
    source: str, text: str, languages: str, turned: str
) -> None:
    """Japanese names the whole first, and ¥ was no unit by which a price is recognised in another place."""
    assert swapped_numbers(source, text, *languages.split()) == turned


@pytest.mark.parametrize(
    ("row", "flagged"),
    [
        (
            ("translate", "ja", "共有リンクは24時間後に無効になります。", "The share link expires after 24 hours."),
            False,
        ),
        (("translate", "ja", "このリンクは無効です。", "This link is active."), True),
        (
            ("rewrite", "pt", "só assino se tirarem a cláusula 7", "A assinatura fica condicionada à exclusão da 7."),
            False,
        ),
        (("rewrite", "pt", "só assino se tirarem a cláusula 7", "Eu assino e tiram a cláusula 7."), True),
        (
            ("rewrite", "pt", "ele divide o custo do muro?", "Consultamos V. Sa. sobre a divisão do custo do muro."),
            False,
        ),
        (("rewrite", "pt", "ele divide o custo do muro?", "Ele divide o custo do muro."), True),
    ],
)
def test_a_limit_in_other_words_is_kept(row: tuple[str, str, str, str], flagged: bool) -> None:
    """A link that expires is no longer valid; what is subject to a condition, or consulted on, is limited, or asked."""
    kind, language, given, text = row
    judged = outcome_of({"kind": kind, "language": language, "to": "en", "input": given, "output": text})
    assert ("limits" in judged.flagging) is flagged


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("パスワードは8文字以上64文字以下で入力してください。", []),
        ("密码是8位以上的字母", []),
        ("비밀번호는 8자리이상이어야 합니다", []),
        ("パスワードはk3yX77sです。", ["k3yX77s"]),
        ("密码是Abc12345。", ["Abc12345"]),
        ("비밀번호는 abc12345입니다", ["abc12345"]),
    ],
)
def test_the_length_of_a_password_is_no_password(text: str, secrets: list[str]) -> None:
    """The rules of a form were reported as two keys or passwords in the seeds."""
    assert [held for kind, held in personal(text) if kind == "secret"] == secrets
