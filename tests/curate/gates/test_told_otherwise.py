# ruff: noqa: RUF001 (Cyrillic)
"""Good rows that say the same thing another way, and bad rows beside them that are still flagged."""

from __future__ import annotations

import pytest

from tests.curate.gates.test_gate_rates import outcome_of


def gates_against(kind: str, languages: str, given: str, text: str) -> frozenset[str]:
    """The gates that reject or flag a row; `languages` are one code, or those of a translation."""
    language, _, to = languages.partition(" ")
    judged = outcome_of({"kind": kind, "language": language, "to": to or None, "input": given, "output": text})
    return judged.rejecting | judged.flagging


GOOD = [
    ("rewrite", "en", "mix water and syrup 4:1", "Mix syrup and water at a ratio of 1:4."),
    ("rewrite", "de", "Wasser und Sirup 4:1 mischen", "Sirup und Wasser im Verhältnis 1:4 mischen."),
    ("rewrite", "es", "mezcla agua y jarabe 4:1", "Mezcle jarabe y agua en proporción 1:4."),
    ("rewrite", "en", "won 3-1 vs Leeds", "Leeds lost 1-3."),
    ("rewrite", "de", "3:1 gegen Köln gewonnen", "Köln verliert 1:3."),
    ("rewrite", "pt", "Porto venceu o Braga por 2-1", "O Braga perdeu por 1-2 com o Porto."),
    ("rewrite", "fr", "Lyon bat Nice 2-0", "Nice s'incline 0-2 face à Lyon."),
    ("translate", "en de", "Arsenal beat Leeds 3-1.", "Leeds unterlag Arsenal mit 1:3."),
    ("translate", "de en", "Bayern gewinnt 3:1 gegen Köln.", "Cologne lose 1-3 to Bayern."),
    ("translate", "es en", "El Betis ganó 2-1 al Sevilla.", "Sevilla lost 1-2 to Betis."),
    ("translate", "en de", "Sales rose to 1,200 from 900.", "Der Absatz stieg von 900 auf 1.200."),
    ("translate", "en ja", "Sales rose from 900 to 1,200.", "売上は1,200となり、900から増加した。"),
    ("translate", "fr en", "Le prix est passé de 900 à 750.", "The price is now 750, down from 900."),
    ("rewrite", "pt", "paguei 2 vezes o boleto", "Paguei em duplicidade o boleto da conta."),
    ("rewrite", "es", "me cobraron 2 veces", "Me han cobrado por duplicado la factura."),
    ("rewrite", "pl", "pobrano 2 razy", "Kwota została pobrana podwójnie, proszę sprawdzić."),
    ("rewrite", "sv", "dragit 2 gånger", "Beloppet har dragits dubbelt, vänligen kontrollera."),
    (
        "rewrite",
        "pt",
        "tem que registrar a venda do imóvel",
        "A venda do imóvel deve ser levada ao Registro de Imóveis.",
    ),
    ("rewrite", "es", "hay que inscribir la casa", "La casa debe inscribirse en el Registro de la Propiedad."),
    ("rewrite", "it", "registrare il contratto", "Il contratto va registrato presso l'Agenzia delle Entrate."),
    ("rewrite", "ko", "환불 안 됩니다 교환만", "환불은 어렵고 교환만 가능합니다."),
    ("rewrite", "ko", "배송 안 와서 환불 원해요", "배송이 지연되어 환불을 요청드립니다."),
    ("translate", "en ko", "Unless we cancel, you do not get a refund.", "저희가 취소하지 않는 한 환불되지 않습니다."),
    ("reply", "en", "How long is the cable?", "The cable is 14 in"),
    ("rewrite", "en", "shelf 30 inches wide and 14 inches deep", "The shelf is 30 in wide; its depth is 14 in"),
    ("translate", "es en", "La mesa mide 30 pulgadas de ancho.", "The table has a width of 30 in"),
    ("rewrite", "de", "75 % der mitglieder stimmten zu", "Drei Viertel der Mitglieder stimmten zu."),
    ("translate", "en fr", "75% of members agreed.", "Les trois quarts des membres étaient d'accord."),
    ("translate", "en nl", "3/4 of the members agreed.", "Driekwart van de leden was het eens."),
    ("translate", "da en", "Tre fjerdedele af medlemmerne.", "75% of the members."),
    ("translate", "ja en", "会員の4分の3が賛成した。", "3/4 of the members agreed."),
    ("translate", "zh en", "四分之三的会员同意。", "75% of the members agreed."),
    ("translate", "ko en", "회원의 4분의 3이 찬성했다.", "75% of the members agreed."),
    ("rewrite", "ru", "полстакана сахара", "Добавьте 1/2 стакана сахара, пожалуйста."),
    ("translate", "sv en", "Tillsätt en halvliter mjölk.", "Add 1/2 litre of milk."),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "languages", "given", "text"), GOOD)
def test_the_same_thing_told_otherwise_is_not_flagged(kind: str, languages: str, given: str, text: str) -> None:
    """A ratio turned with its parts, a result from the loser's side, a fall told backwards, twice as a duplicate, an
    office of every town, a polite no, inches at the end, and a fraction as words or as a percentage."""
    assert gates_against(kind, languages, given, text) == frozenset()


BAD = [
    ("rewrite", "en", "mix water and syrup 4:1", "Mix water and syrup at a ratio of 1:4.", "swapped"),
    ("rewrite", "de", "Wasser und Sirup 4:1 mischen", "Wasser und Sirup im Verhältnis 1:4 mischen.", "swapped"),
    ("rewrite", "en", "Leeds won 3-1 at home", "Leeds lost 1-3 at home.", "swapped"),
    ("rewrite", "pt", "Porto venceu o Braga por 2-1", "O Porto perdeu com o Braga por 1-2.", "swapped"),
    ("translate", "en de", "Arsenal beat Leeds 3-1.", "Arsenal unterlag Leeds mit 1:3.", "translated"),
    ("translate", "de en", "Bayern gewinnt 3:1 gegen Köln.", "Bayern lose 1-3 to Cologne.", "translated"),
    ("translate", "en de", "Sales rose from 900 to 1,200.", "Der Absatz stieg von 1.200 auf 900.", "translated"),
    ("translate", "en ja", "Sales rose from 900 to 1,200.", "売上は1,200から900に増加した。", "translated"),
    ("rewrite", "pt", "paguei 3 vezes o boleto", "Paguei em duplicidade o boleto da conta.", "lost_content"),
    ("rewrite", "pt", "tem que registrar a venda", "A venda deve ser levada ao Rui Barbosa.", "invented_name"),
    ("rewrite", "ko", "환불 안 됩니다", "환불 됩니다.", "limits"),
    ("reply", "en", "When do you open on Monday?", "On Monday morning we open at 9 in", "cut"),
    ("reply", "en", "When was the house built?", "The old house was built in 1990 in", "cut"),
    ("rewrite", "de", "75 % der mitglieder stimmten zu", "Zwei Drittel der Mitglieder stimmten zu.", "lost_content"),
    ("translate", "en fr", "75% of members agreed.", "40 % des membres étaient d'accord.", "translated"),
    ("translate", "ja en", "会員の4分の3が賛成した。", "2/5 of the members agreed.", "invented"),
    (
        "rewrite",
        "de",
        "75 % der boote liegen an der küste",
        "Drei der Boote, also 75 %, liegen an der Küste.",
        "invented",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "languages", "given", "text", "gate"), BAD)
def test_another_thing_in_like_words_is_still_flagged(
    kind: str, languages: str, given: str, text: str, gate: str
) -> None:
    """The figures turned and not their names, another share, another number of times, a person for an office, and a
    sentence that breaks off after an hour or a year."""
    assert gate in gates_against(kind, languages, given, text)
