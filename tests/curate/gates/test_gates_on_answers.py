"""Gates for structured outputs: labels, JSON with values from the input, translations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unicode_rbnf import RbnfEngine

from curate.gates import gates_for, judge_text
from curate.gates.amounts import changed_scale
from curate.gates.answers import values
from curate.gates.number_forms import Number, is_roman
from curate.gates.readings import is_read_as
from curate.gates.translations import translated
from schemas.records import Generated, Sampling
from schemas.spec import Spec
from tests.curate.tiny import pair

INVOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "total": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "due": {"type": "string", "format": "date"},
        "paid": {"type": "boolean"},
        "currency": {"enum": ["EUR", "USD"]},
        "kind": {"$ref": "#/$defs/kind"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"what": {"type": "string"}, "n": {}}}},
    },
    "$defs": {"kind": {"enum": ["service", "goods"]}},
}


EVERY = {"length", "thinking", "placeholder", "encoding", "sums", "injection", "toxic"}


def reason_code(input: str, record: dict[str, Any], language: str = "en") -> str:
    return values(pair(input, json.dumps(record)), INVOICE, language).reason.code


_PRICES = [
    ("Ewa sprzedaje lokal za cenę 87 400,00 zł.", "pl"),
    ("The flat is sold for 87,400.00 PLN.", "en"),
    ("Der Preis beträgt 87.400,00 EUR.", "de"),
    ("Le prix est de 87\u202f400,00 EUR.", "fr"),
    ("Priset är 87 400 kr.", "sv"),
]


@pytest.mark.parametrize(("input", "language"), _PRICES)
def test_an_amount_ten_or_a_hundred_times_too_large_is_found(input: str, language: str) -> None:
    """The digits of 874000 are in `87 400,00`, as if that were a telephone number that is grouped differently, and a
    text such as pydantic writes for a Decimal was not read as a number at all."""
    for right in (87400, 87400.0, "87400.00", "87400.0"):
        assert reason_code(input, {"total": right}, language) == "ok", right
    for wrong in (874000, 8740000, 8740.0, "874000.0", "874000.00", "8740.00", "8740000.00"):
        assert reason_code(input, {"total": wrong}, language) == "value", wrong


@pytest.mark.parametrize(
    ("input", "wrong", "right", "language"),
    [
        ("Giá 2.500.000 đồng", 250000, 2500000, "vi"),
        ("Deposit ₹12,34,567 due", 123456, 1234567, "en"),
        ("कुल राशि ₹१२,३४,५६७ है", 123456, 1234567, "hi"),
        ("مبلغ ۱۲۳٬۴۵۶ تومان", 12345, 123456, "fa"),
    ],
)
def test_an_amount_without_its_last_digit_is_found(input: str, wrong: int, right: int, language: str) -> None:
    """Its digits are in the text, as those of a telephone number are that is grouped differently."""
    assert reason_code(input, {"total": right}, language) == "ok"
    assert reason_code(input, {"total": wrong}, language) == "value"


def test_an_amount_in_cents_is_that_of_the_input() -> None:
    """Payment services want hundredths, in a field that says so."""
    for input, cents in (("Total $12,345.60 due", 1_234_560), ("Total $19.99 due", 1_999)):
        assert values(pair(input, json.dumps({"amount_cents": cents})), None, "en").reason.code == "ok"
        assert values(pair(input, json.dumps({"amount": cents})), None, "en").reason.code == "value"
        assert values(pair(input, json.dumps({"amount_cents": cents * 10})), None, "en").reason.code == "value"
    assert values(pair("Total $5 due", json.dumps({"amount_cents": 10**400})), None, "en").reason.code == "value"


@pytest.mark.parametrize(
    ("input", "value", "language"),
    [
        ("Ring 01.23.45.67.89 an", "0123456789", "fr"),
        ("Telefon 0171 / 2345 678", "0171 2345678", "de"),
        ("CNPJ 12.345.678/0001-95", "12345678000195", "pt"),
        ("IBAN DE89 3704 0044 0532 0130 00", "37040044", "de"),
        ("Beginn um 14:30 Uhr", "14.30", "de"),
        ("It starts at half past two", "14.30", "en"),
        ("Item 4.20 of the list", "4.20", "en"),
        ("labour 320.00, materials 80.00", "400.00", "en"),
    ],
)
def test_a_text_of_digits_may_be_grouped_differently(input: str, value: str, language: str) -> None:
    """A telephone number or an identifier is the same without its points; a time and a sum may be texts."""
    assert reason_code(input, {"vendor": value}, language) == "ok"


@pytest.mark.parametrize(
    ("input", "record", "language"),
    [
        ("Invoice from ACME  Gmbh, total 1,200.50 EUR", {"vendor": "Acme GmbH", "total": 1200.5}, "en"),
        ("Rechnung der Müller & Söhne KG über 1.200,50 €", {"vendor": "Müller & Söhne KG", "total": 1200.5}, "de"),
        ("Factura: 1 200,50 euros", {"total": 1200.5}, "es"),
        ("We sold three lamps", {"lines": [{"what": "lamps", "n": 3}]}, "en"),
        ("Zahlbar bis 05.03.2024", {"due": "2024-03-05"}, "de"),
        ("Due March 5, '24", {"due": "2024-03-05"}, "en"),
        ("nothing said", {"vendor": "", "total": None, "paid": True, "currency": "EUR", "kind": "goods"}, "en"),
        ("서울에서 보냈습니다", {"vendor": "서울"}, "ko"),
        ("株式会社山田への請求書、合計5000円", {"vendor": "株式会社山田", "total": 5000}, "ja"),
        ("فاتورة من شركة النور", {"vendor": "شركة النور"}, "ar"),
        ("Price: € 5", {"lines": [{"what": "€", "n": 5}]}, "en"),
        ("Call +49 30 / 123-456", {"vendor": "+49 30 123456"}, "en"),
        ("a line\nbroken name here", {"vendor": "line broken  Name"}, "en"),
        ("minus 5 degrees, so -5", {"total": -5}, "en"),
        ("id 00417", {"vendor": "00417"}, "en"),
        ("Piso de tres habitaciones", {"lines": [{"n": 3}]}, "es"),
        ("We pay 40-50k, so nine hundred a week", {"total": 40000}, "en"),
        ("See you at half past four on 14 August", {"vendor": "16:30", "due": "08-14"}, "en"),
        ("ring the printers about the leaflets", {"lines": [{"what": "call the printer"}]}, "en"),
        ("koszt 300 zł", {"vendor": "PLN", "total": 300}, "pl"),
        ("Drill, 2.1kW", {"power": {"value": 2100, "unit": "W"}, "quantity": 1}, "en"),
        ("Juice 33cl", {"volume_ml": 330}, "en"),
        ("Meeting of 90 minutes", {"lasts": {"value": 1.5, "unit": "hours"}}, "en"),
        ("Spaghetti n.5 500g x 12", {"weight": {"value": 500, "unit": "g"}, "pack": 12}, "en"),
        ("Kaucja 100 zł za dwadzieścia pięć sztuk, 3 tygodnie", {"vendor": "25 sztuk", "term": "21 dni"}, "pl"),
        ("Hauptstraße einhundertzwanzig, 2. Stock, halb acht", {"vendor": "Hauptstraße 120, um 19:30 Uhr"}, "de"),
    ],
)
def test_values_from_the_input_pass(input: str, record: dict[str, Any], language: str) -> None:
    """In any case, spacing, number format, unit, inflection and script. Values of a list or boolean in the schema, and
    the count of a single thing, may be inferred."""
    assert reason_code(input, record, language) == "ok"


@pytest.mark.parametrize(
    ("input", "record", "at"),
    [
        ("Invoice from ACME, total 1,200.50", {"vendor": "Acme", "total": 1250.5}, "“1250.5” at $.total"),
        ("Invoice from ACME", {"vendor": "Apex"}, "“Apex” at $.vendor"),
        ("Invoice of 2015", {"total": 15}, "“15” at $.total"),
        ("Invoice of 2015", {"vendor": "201"}, "“201” at $.vendor"),
        ("Due on March 5", {"due": "2024-03-05"}, "“2024-03-05” at $.due"),
        ("two lamps", {"lines": [{"what": "lamps", "n": 2}, {"what": "chair"}]}, "“chair” at $.lines[1].what"),
        ("a key the schema lacks", {"else": {"x": "invented"}}, "“invented” at $.else.x"),
        ("Drill, 2.1kW", {"power": {"value": 210, "unit": "W"}}, "“210” at $.power.value"),
        ("Flour 500 g", {"weight": {"value": 500, "unit": "kg"}}, "says “500 g”, the record “500 kg”"),
        ("Beer, 24 x 33cl", {"volume_cl": 33, "pack": 1}, "“1” at $.pack"),
        ("Xarelto 20 mg wieczorem", {"dawka": "15 mg"}, "“15 mg” at $.dawka"),
        ("25 kg картошки", {"вес": "35 кг"}, "“35 кг” at $.вес"),
    ],
)
def test_value_missing_in_the_input_is_reported_with_its_place(input: str, record: dict[str, Any], at: str) -> None:
    """Invented texts and numbers are rejected at any depth; parts of words and numbers do not match. A number within a
    text may be spelt out, in any language, but not be another one."""
    language = {"dawka": "pl", "вес": "ru"}.get(next(iter(record)), "en")
    judgement = values(pair(input, json.dumps(record)), INVOICE, language)
    assert judgement.reason.code == "value"
    assert at in judgement.reason.detail


@pytest.mark.parametrize(
    ("source", "translation", "languages"),
    [
        ("All 1,200 lamps shipped on 14 March.", "Les 1 200 lampes sont parties le 14 mars.", "en fr"),
        ("We open at 2pm and close at 10pm.", "Nous ouvrons à 14 h et fermons à 22 h.", "en fr"),
        ("Three people waited 20 minutes.", "Drei Personen warteten zwanzig Minuten.", "en de"),
        ("In the 19th century 2 million left.", "Au XIXe siècle, deux millions sont partis.", "en fr"),
        ("Il en reste 3.", "Three are left.", "fr en"),
        ("Le XIXe siècle", "The 19th century", "fr en"),
        ("Write to help@x.com, see https://x.com/a.", "Schreiben Sie an help@x.com, siehe https://x.com/a", "en de"),
        ("It costs $1,299.99 (ref. PW-55120).", "Das kostet 1.299,99 $ (Ref. PW-55120).", "en de"),
        ("OK", "OK", "en de"),
        ("会议在2024年5月3日举行、共有128人参加。", "The meeting took place on 3 May 2024 with 128 people.", "zh en"),
        ("1000 thanks", "Mille mercis", "en fr"),
    ],
)  # fmt: skip
def test_a_faithful_translation_passes(source: str, translation: str, languages: str) -> None:
    """Numbers are compared by value, in the formats of both languages."""
    language, to = languages.split()
    judgement = translated(pair(source, translation), language, to)
    assert judgement.keep is True, judgement


@pytest.mark.parametrize(
    ("source", "translation", "code"),
    [
        ("The order of 1,250 lamps is late.", "La commande de 1 520 lampes est en retard.", "lost_number"),
        ("Order PW-55120 is late.", "La commande PW-55210 est en retard.", "lost_number"),
        ("Write to help@example.com today.", "Écrivez à aide@example.com aujourd'hui.", "lost_address"),
        ("The lamp in the hall is broken.", "The lamp in the hall is broken!", "untranslated"),
    ],
)
def test_a_translation_that_lost_something_is_rejected(source: str, translation: str, code: str) -> None:
    """A number, a code, an address, or a text that was not translated at all."""
    assert translated(pair(source, translation), "en", "fr").reason.code == code


@pytest.mark.parametrize(
    ("source", "translation", "languages", "flags"),
    [
        ("The letter was signed by Anna Kowalski.", "La lettre est signée Anna Kowalski.", "en fr", ()),
        ("The letter was signed by Anna Kowalski.", "La lettre est signée Marie Dupont.", "en fr", ("lost_name",)),
        ("We met Mr Okafor at noon.", "Nous avons vu M. Okafor à midi.", "en fr", ()),
        ("We met Mr Okafor at noon.", "Nous avons vu quelqu'un à midi.", "en fr", ("lost_name",)),
        ("She lives in the United States now.", "Elle vit maintenant aux États-Unis.", "en fr", ()),
        ("The letter was signed by Anna Kowalski.", "Письмо подписала Анна Ковальская.", "en ru", ()),
        ("Der neue Bericht der Abteilung ist da.", "The department's new report is here.", "de en", ()),
    ],
)
def test_missing_name_in_a_translation_is_flagged(
    source: str, translation: str, languages: str, flags: tuple[str, ...]
) -> None:
    """It is not rejected: languages have their own names for places and people."""
    judgement = translated(pair(source, translation), *languages.split())
    assert (judgement.keep, judgement.flags) == (True, flags)


def steps_of(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    spec = Spec.model_validate({"task": {"name": "t", "style": "s", **task}})
    steps = gates_for(spec.task, spec.curate.gates, folder)
    return {"names": {step.by.removeprefix("gate/").partition("@")[0] for step in steps}, "steps": steps}


def test_output_that_is_not_a_label_is_rejected_with_the_list_of_labels(tmp_path: Path) -> None:
    """The reason quotes the output and lists the labels."""
    gates = steps_of({"kind": "classify", "labels": ["billing", "delivery"]}, tmp_path)
    assert gates["names"] == EVERY | {"broken_json", "input", "label"}
    judgements = judge_text("Where is it?", "refunds", gates["steps"])
    assert judgements["gate/label@9"].reason.code == "label"
    assert judgements["gate/label@9"].reason.detail == "“refunds” is not one of the 2 labels: billing, delivery"
    assert all(judgement.keep for judgement in judge_text("Where is it?", "delivery", gates["steps"]).values())


@pytest.mark.parametrize(
    ("input", "code"),
    [
        ("Where is my parcel? It should have been here on Monday.", "ok"),
        ("I'm sorry, I cannot write that text.", "refusal"),
        ("my parcel my parcel my parcel my parcel my parcel my parcel", "loop"),
        ("Wo bleibt denn bloß mein Paket, das schon am Montag hier bei mir hätte ankommen sollen?", "language"),
    ],
)
def test_generated_input_for_a_label_is_judged_as_a_text(input: str, code: str, tmp_path: Path) -> None:
    """Refusals, loops and texts in another language would be learnt as texts with this label. Inputs of users are not
    judged."""
    steps = steps_of({"kind": "classify", "labels": ["billing", "delivery"]}, tmp_path)["steps"]
    (step,) = (step for step in steps if step.by.startswith("gate/input@"))
    origin = Generated(generator="backward", prompt="p", teacher="t", sampling=Sampling(), calls=())
    written = pair(input, "delivery")
    assert step.judge(written).keep is True
    assert step.judge(written.model_copy(update={"origin": origin})).reason.code == code


def test_each_kind_has_the_gates_that_fit_it(tmp_path: Path) -> None:
    """The gates depend on what an output is; those for rewriting judge only rewrites."""
    (tmp_path / "record.json").write_text('{"type": "object"}')
    form = EVERY | {"broken_json", "fenced", "cut", "repetition", "preamble", "language", "mixed_language"}
    compared = {"answered", "lost_content", "invented", "invented_name", "swapped", "limits"}
    instruction_gates = {"instructed", "facts"}
    assert steps_of({}, tmp_path)["names"] == form | compared | {"echo", "contacts", "instructed"}
    assert steps_of({"kind": "reply"}, tmp_path)["names"] == form | instruction_gates | {"echo", "contacts", "swapped"}
    assert steps_of({"kind": "free"}, tmp_path)["names"] == form | instruction_gates | {"echo", "contacts"}
    translation = form | {"translated", "contacts", "invented", "limits", "instructed"}
    assert steps_of({"kind": "translate", "to": "fr"}, tmp_path)["names"] == translation
    extraction = EVERY | {"input", "schema", "values"}
    assert steps_of({"kind": "extract", "schema": "record.json"}, tmp_path)["names"] == extraction


def test_a_translation_is_judged_in_its_own_language(tmp_path: Path) -> None:
    """The output is judged in `task.to`, not in the language of the inputs."""
    steps = steps_of({"kind": "translate", "to": "fr"}, tmp_path)["steps"]
    source = "The museum is closed on Mondays and opens late on Thursdays, when the entry is free for everybody."
    french = (
        "Le musée est fermé le lundi et ouvre plus tard le jeudi, jour où l'entrée est gratuite pour tout le monde."
    )
    spanish = (
        "El museo cierra los lunes y abre hasta tarde los jueves, cuando la entrada es gratuita para todo el mundo."
    )
    assert judge_text(source, french, steps)["gate/language@11"].keep is True
    assert judge_text(source, spanish, steps)["gate/language@11"].keep is False


def test_rules_for_numbers_in_words_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each language: reading its rules takes longer than spelling out a number, and the first row of a project may
    need a hundred numbers."""
    read, for_language = list[str](), RbnfEngine.for_language
    monkeypatch.setattr(RbnfEngine, "for_language", lambda language: read.append(language) or for_language(language))
    assert is_read_as("sjey hundar", 7, "fo")
    assert is_read_as("tríggir hundar", 3, "fo")
    assert read.count("fo") <= 1  # not at all if another test has asked about this language


def test_verdict_does_not_depend_on_the_order_of_a_set() -> None:
    """The order differs from process to process, and with it the verdict: the 19 of 3/4/19 is 2019 or 1919 too, and of
    two amounts that changed, either was named."""
    for number, numeral in enumerate(["X", "XI", "XII", "XIII", "XIV", "XV", "XVI", "XVII", "XVIII", "XIX"], 10):
        forms = frozenset({str(number), f"19{number}", f"20{number}"})
        assert is_roman(Number(str(number), forms), f"au {numeral}e siècle")
    for first, second in ((3, 5), (5, 3), (7, 9), (9, 7)):
        before, after = (f"{first} {scale}, then {second} {scale}" for scale in ("million", "billion"))
        assert changed_scale(before, after, "en", "en") == (f"{first} million", f"{first} billion")
