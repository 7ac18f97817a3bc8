"""Ranges whose ends change places, in one sentence or from notes to prose."""

from __future__ import annotations

import pytest

from curate.gates.facts import swapped
from tests.curate.gates.test_gates import pair


@pytest.mark.parametrize(
    ("kind", "language", "given", "output"),
    [
        ("rewrite", "en", "open between 9 and 11, ring bell", "We are open between 11 and 9. Please ring the bell."),
        ("rewrite", "en", "kids 6 to 12 pay half", "Children aged 12 to 6 pay half price."),
        ("rewrite", "en", "between 9am and 11am monday", "We will call on Monday between 11 am and 9 am."),
        ("reply", "en", "When can I come? (open 9-17 mon-fri)", "You can come from 17 to 9, Monday to Friday."),
        ("rewrite", "de", "lieferung in 3-5 werktagen", "Die Lieferung erfolgt in 5 bis 3 Werktagen."),
        ("rewrite", "fr", "ouvert de 8 à 12", "Nous sommes ouverts de 12 à 8 heures."),
        ("rewrite", "pt", "entre 9h e 11h amanhã", "Amanhã, entre as 11h e as 9h."),
        ("rewrite", "ja", "9時から17時まで営業", "営業時間は17時から9時までです。"),
        ("rewrite", "zh", "3到5天送达", "5到3天内送达。"),
        ("rewrite", "en", "The price rose from $12 to $15.", "Up it went: the price rose from $15 to $12."),
        ("rewrite", "de", "Preis: von 12 € auf 15 €", "Der Preis stieg von 15 € auf 12 €."),
        ("rewrite", "tr", "Kurs: 10.00-22.00", "Kurs 22.00-10.00."),
        ("rewrite", "ko", "가게는 9시부터 20시까지 엽니다.", "영업시간은 20시부터 9시까지입니다."),
    ],
)
def test_a_reversed_range_is_noticed(kind: str, language: str, given: str, output: str) -> None:
    """Both numbers are there, so no gate that looks for lost or invented numbers would notice."""
    assert swapped(pair(given, output), language, kind).reason.code == "swapped"


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ("open between 9 and 11, ring bell", "Ring the bell: we are open from 9 to 11."),
        ("open 8 to 12 and 14 to 18", "In the afternoon we are open from 14 to 18, in the morning from 8 to 12."),
        ("price up, 40 to 60", "The price went up from 40 to 60; it will not go back from 60 to 40."),
        ("released 2024-05-17, v 1-3", "It was released on 17-05-2024."),
        ("up, $12 to $15", "The price rose to $15 from $12."),
        ("night shift 22 to 6", "The night shift is from 22 to 6."),
    ],
)
def test_numbers_in_another_order_are_no_reversed_range(given: str, output: str) -> None:
    """Two numbers that in another sentence, a range that the output has as well, a date and a night are none."""
    assert swapped(pair(given, output), "en").keep
