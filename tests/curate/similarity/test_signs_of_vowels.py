"""Words that differ in vowel signs are different words, and a share of changes means the same in every script."""

from __future__ import annotations

import pytest

from curate.similarity.near_duplicates import duplicates
from curate.words import words

OTHER_WORDS = [
    ("कल दिन में दुकान खुली है", "कल दीन में दुकान खुली है"),
    ("मेरी बेटी का नाम मीरा है", "मेरा बेटा का नाम मीरा है"),
    ("कम दाम में काम होगा", "काम दाम में कम होगा"),
    ("पाँच किलो आटा लाना", "पाँच किलो आटे लाने"),
    ("सुबह की ट्रेन पुणे जाती है", "सुबह की ट्रेन पुना जाता है"),
    ("बिल भेज दो", "बेल भेज दो"),
    ("पीना है", "पाना है"),
    ("दिल्ली", "दुल्ले"),
    ("ฉันไม่กินข้าว", "ฉันไม้กินข้าว"),
    ("กินข้าวกัน", "กันข้าวกิน"),
    ("ซื้อเสื้อสีขาว", "ซื้อเสือสีข่าว"),
    ("ใกล้บ้าน", "ไกลบาน"),
    ("ขายม้า", "ขายหมา"),
    ("ปู่มาแล้ว", "ป่ามาแล้ว"),
    ("আজ দিন ভালো", "আজ দান ভালো"),
    ("আমার মেয়ে স্কুলে যায়", "আমার মায়া স্কুলে যায়"),
    ("বই কিনি", "বই কানা"),
    ("তিন কেজি চাল", "তান কাজ চুল"),
    ("பாலை வாங்கு", "பல வங்கி"),
    ("கடை மூடியது", "காடு மடியது"),
    ("அவன் வீடு", "அவன் வடி"),
    ("நாளை வா", "நளி வே"),
]
SAME_WORDS = [
    ("ذَهَبَ الوَلَدُ إِلى المَدرَسَةِ", "ذهب الولد إلى المدرسة"),
    ("كِتَابٌ جَدِيدٌ", "كتاب جديد"),
    ("مُحَمَّدٌ هُنا", "محمد هنا"),
]
# A text, the same text reworded, and one with two or three different details.
REWORDED = [
    (
        "Please send the blue kettle back to our workshop in Leeds by Friday and keep the receipt for your records",
        "Please send the blue kettle back to our workshop in Leeds by Friday, and do keep the receipt for your records",
        "Please send the green kettle back to our workshop in York by Monday and keep the receipt for your records",
    ),
    (
        "The library opens at nine on weekdays and the reading room stays open until eight in the evening",
        "The library opens at nine on weekdays, and the reading room stays open till eight in the evening",
        "The museum opens at ten on weekends and the reading room stays open until six in the evening",
    ),
    (
        "Bitte schicken Sie den blauen Kessel bis Freitag an unsere "
        "Werkstatt in Kiel zurück und heben Sie den Beleg gut auf",
        "Bitte schicken Sie den blauen Kessel bis Freitag an unsere Werkstatt "
        "in Kiel zurück und bewahren Sie den Beleg gut auf",
        "Bitte schicken Sie den grünen Kessel bis Montag an unsere "
        "Werkstatt in Bonn zurück und heben Sie den Beleg gut auf",
    ),
    (
        "Die Bücherei öffnet werktags um neun und der Lesesaal bleibt bis acht Uhr abends geöffnet",
        "Die Bücherei öffnet werktags um neun, und der Lesesaal bleibt bis acht Uhr am Abend geöffnet",
        "Das Museum öffnet sonntags um zehn und der Lesesaal bleibt bis sechs Uhr abends geöffnet",
    ),
    (
        "青いやかんを金曜日までに仙台の工房へ送り返し、領収書は大切に保管してください。",
        "青いやかんを金曜日までに仙台の工房へ送り返して、領収書は大切に保管してください。",
        "緑のやかんを月曜日までに札幌の工房へ送り返し、領収書は大切に保管してください。",
    ),
    (
        "図書館は平日九時に開き、閲覧室は夜八時まで開いています。",
        "図書館は平日の九時に開き、閲覧室は夜八時まで開いております。",
        "美術館は週末十時に開き、閲覧室は夜六時まで開いています。",
    ),
    (
        "请在周五之前把蓝色水壶寄回我们在成都的工坊,并妥善保管收据。",
        "请在周五之前把蓝色水壶寄回我们在成都的工坊,并请妥善保管收据。",
        "请在周一之前把绿色水壶寄回我们在西安的工坊,并妥善保管收据。",
    ),
    (
        "图书馆工作日九点开门,阅览室开放到晚上八点。",
        "图书馆工作日早上九点开门,阅览室开放到晚上八点。",
        "博物馆周末十点开门,阅览室开放到晚上六点。",
    ),
    (
        "กรุณาส่งกาน้ำสีฟ้ากลับมาที่ร้านของเราในเชียงใหม่ภายในวันศุกร์ และเก็บใบเสร็จไว้",
        "กรุณาส่งกาน้ำสีฟ้ากลับมาที่ร้านของเราในเชียงใหม่ภายในวันศุกร์ และเก็บใบเสร็จไว้ด้วย",
        "กรุณาส่งกาน้ำสีแดงกลับมาที่ร้านของเราในขอนแก่นภายในวันจันทร์ และเก็บใบเสร็จไว้",
    ),
    (
        "ห้องสมุดเปิดเก้าโมงในวันธรรมดา และห้องอ่านหนังสือเปิดถึงสองทุ่ม",
        "ห้องสมุดเปิดเวลาเก้าโมงในวันธรรมดา และห้องอ่านหนังสือเปิดถึงสองทุ่ม",
        "พิพิธภัณฑ์เปิดสิบโมงในวันหยุด และห้องอ่านหนังสือเปิดถึงหกโมง",
    ),
    (
        "कृपया नीली केतली शुक्रवार तक पुणे की हमारी कार्यशाला में वापस भेजें और रसीद सँभालकर रखें",
        "कृपया नीली केतली शुक्रवार तक पुणे की हमारी कार्यशाला में वापस भेजें और रसीद भी सँभालकर रखें",
        "कृपया हरी केतली सोमवार तक दिल्ली की हमारी कार्यशाला में वापस भेजें और रसीद सँभालकर रखें",
    ),
]


@pytest.mark.parametrize(("one", "other"), OTHER_WORDS)
def test_vowel_signs_distinguish_words(one: str, other: str) -> None:
    """In Hindi, Thai, Bengali and Tamil: 12 of these 22 pairs were once duplicates."""
    assert words(one) != words(other)
    assert duplicates([(one,), (other,)], 0.7) == {}


@pytest.mark.parametrize(("one", "other"), SAME_WORDS)
def test_optional_vowel_signs_make_no_difference(one: str, other: str) -> None:
    """Arabic with and without harakat."""
    assert words(one) == words(other)
    assert list(duplicates([(one,), (other,)], 0.7)) == [1]


@pytest.mark.parametrize(("text", "reworded", "another"), REWORDED)
def test_reworded_text_is_a_duplicate_and_one_with_other_details_is_not(text: str, reworded: str, another: str) -> None:
    """At a threshold of 0.7, whether words or characters are counted."""
    assert list(duplicates([(text,), (reworded,), (another,)], 0.7)) == [1]
