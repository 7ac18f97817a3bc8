"""The arithmetic of a record, and results, switches and refusals in scripts and tasks where they had been missed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from curate.gates.accounts import lost_sign, omitted_line, wrong_accounts, wrong_gross, wrong_line, wrong_total
from curate.gates.sides import names_turned, parts_turned, reversed_result
from tests.curate.gates.test_gate_rates import Row, outcome_of

INVOICE = "2 x Lamp 35.00 70.00\n3 x Rug 10.00 30.00\nTotal 100.00"
LAMP = {"quantity": 2, "unit_price": 35, "amount": 70}
RUG = {"quantity": 3, "unit_price": 10, "amount": 30}


@cache
def rows(name: str) -> tuple[Row, ...]:
    text = (Path(__file__).parent / f"{name}.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


@pytest.mark.slow
def test_no_good_record_or_side_is_flagged() -> None:
    """Discounts, fees, part payments, wrong sums of the source, records of a part, and results told by the loser."""
    assert len(rows("accounts_and_sides")) >= 60
    assert len({row["language"] for row in rows("accounts_and_sides")}) >= 8
    judged = [(row, outcome_of(row)) for row in rows("accounts_and_sides")]
    assert [row for row, outcome in judged if outcome.rejecting or outcome.flagging] == []


@pytest.mark.slow
def test_wrong_accounts_and_sides_are_flagged() -> None:
    """Amounts that changed lines, a total, net and gross that do not add up, a lost line or minus, in ten languages; on
    for off, a result turned without its names, and a refusal in the words of its request."""
    judged = [(row, outcome_of(row)) for row in rows("wrong_accounts_and_sides")]
    assert [row for row, outcome in judged if row["defect"] not in outcome.rejecting | outcome.flagging] == []


def test_a_line_is_wrong_only_if_the_text_has_its_product() -> None:
    """The text may itself be wrong, or give a discount."""
    assert wrong_line(INVOICE, LAMP | {"amount": 35}) == ("amount", 35, "70")
    assert wrong_line(INVOICE, LAMP) is None
    assert wrong_line("2 x Lamp 35.00 72.00", LAMP | {"amount": 72}) is None
    assert wrong_line("2 x Lamp 35.00 70.00, less 7.00", LAMP | {"amount": 63}) is None


def test_a_total_is_wrong_only_if_nothing_explains_it() -> None:
    """A fee, a part payment or a rate of the text explains a total that is not the sum of the lines."""
    assert wrong_total(INVOICE, {"total": 70}, [LAMP, RUG]) == ("total", 70, "100")
    assert wrong_total(f"{INVOICE}\nDelivery 8.00, to pay 108.00", {"total": 108}, [LAMP, RUG]) is None
    assert wrong_total(f"{INVOICE} and 5 % 105.00", {"total": 105}, [LAMP, RUG]) is None


def test_net_and_tax_make_gross() -> None:
    """Also if the three only changed places; a deduction of the text explains the difference."""
    text = "net 100, VAT 19, total 119"
    assert wrong_gross(text, {"net": 100, "tax": 19, "gross": 100}) == ("gross", 100, "119")
    assert wrong_gross(text, {"net": 119, "tax": 19, "gross": 100}) == ("gross", 100, "138")
    assert wrong_gross(text, {"net": 100, "tax": 19, "gross": 119}) is None
    assert wrong_gross("base 1000, IVA 210, IRPF 150, total 1060", {"net": 1000, "tax": 210, "gross": 1060}) is None


def test_a_line_is_omitted_only_if_the_total_includes_it() -> None:
    """A record of one article has the total of that article; a fee is no line."""
    assert omitted_line(INVOICE, {"total": 100}, [RUG]) == "2, 35, 70"
    assert omitted_line(INVOICE, {"total": 30}, [RUG]) == ""
    assert omitted_line("3 x Rug 10 30\nDelivery 2 x 35 70\nTotal 100", {"total": 100}, [RUG]) == ""


def test_a_minus_is_lost_only_where_signs_matter() -> None:
    """A discount of -15 is a discount of 15. A hyphen in a range is no minus."""
    assert lost_sign("It was -7 degrees.", {"temperature_c": 7}) == ("temperature_c", 7)
    assert lost_sign("Discount: -15", {"discount": 15}) is None
    assert lost_sign("between 3-7 degrees", {"temperature": 7}) is None


def test_records_inside_a_record_are_checked() -> None:
    """The fault may be at any depth, and each one is named once."""
    nested = {"orders": [{"invoice": {"items": [LAMP | {"amount": 30}, RUG], "weather": {"temperature": 7}}}]}
    faults = list(wrong_accounts(f"{INVOICE}. It was -7 degrees.", nested))
    assert [fault.partition(" ")[0] for fault in faults] == ["amount", "temperature"]


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), -1, 0, True, "3"])
def test_numbers_that_are_no_amounts_are_left_alone(number: object) -> None:
    """JSON allows any number of digits, and a reader makes infinity of some."""
    record = {"quantity": number, "unit_price": number, "amount": 7, "temperature": number, "total": number}
    assert list(wrong_accounts(INVOICE, record | {"net": number, "tax": number, "gross": number})) == []


def test_a_result_is_told_from_its_other_side() -> None:
    """Turned names, an opponent who becomes the subject, and parts turned with their ratio."""
    assert names_turned("Ajax beat PSV 2-1", "PSV lost 1-2 to Ajax")
    assert names_turned("won 3-1 against Leeds", "Leeds lost 1-3")
    assert not names_turned("Leeds won 3-1", "Leeds lost 1-3")
    assert parts_turned("water and syrup 4:1", "syrup and water 1:4", "en")
    assert not parts_turned("water and syrup 4:1", "water and syrup 1:4", "en")
    assert reversed_result("主队3比2获胜", "主队最终以2比3获胜。", "zh") == ("3比2", "2比3")
    assert reversed_result("主队3比2获胜", "客队以2比3输给主队。", "zh") is None
