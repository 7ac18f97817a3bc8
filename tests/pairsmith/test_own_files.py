"""Tests of `pairsmith init --from FILE` on files as people have them: exports of shops, help desks and chats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairsmith.file_guess import Guess, guess
from pairsmith.file_languages import hint_of_languages
from pairsmith.file_values import are_references
from schemas.errors import InputError
from schemas.spec import SeedSource
from synth.seeds import read_seeds

GERMAN = [
    ("Mein Paket ist nicht angekommen, obwohl es zugestellt sein soll", "Wir haben beim Zusteller nachgefragt."),
    ("Der Wasserkocher, den ich gekauft habe, läuft unten aus", "Ein neues Gerät geht heute an Sie raus."),
    ("Ich wurde diesen Monat zweimal für dasselbe Abo belastet", "Die Abbuchung haben wir heute erstattet."),
    ("Wie kann ich die Lieferadresse meiner Bestellung ändern", "Öffnen Sie dazu bitte die Bestellung."),
    ("Die App stürzt jedes Mal ab, wenn ich die Rechnung öffne", "Bitte installieren Sie die neueste Version."),
    ("Ich möchte die blaue Lampe zurückgeben, weil sie flackert", "Das Etikett für die Rücksendung liegt bei."),
]
ENGLISH = [
    ("My parcel has not arrived although it is said to be delivered", "We have asked the carrier about it."),
    ("The kettle that I bought last week leaks at the bottom", "A new one leaves our warehouse today."),
    ("I was charged twice for the same subscription this month", "The second charge was refunded today."),
    ("How can I change the delivery address of my order", "Please open the order for that."),
    ("The app crashes every time I open the page of invoices", "Please install the newest version."),
    ("I would like to return the blue lamp because it flickers", "The label for the return is attached."),
]


def read(folder: Path, name: str, content: str, kind: str = "") -> tuple[Guess, list[Any]]:
    """How the file is read, and its seeds."""
    (folder / name).write_text(content, encoding="utf-8")
    guessed = guess(folder / name, kind)
    source = SeedSource(path=name, kind=guessed.kind, **guessed.settings)
    return guessed, list(read_seeds([source], folder).seeds)


def lines_of(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def turns(who: tuple[str, str], keys: tuple[str, str], pair: tuple[str, str]) -> list[dict[str, Any]]:
    return [{keys[0]: name, keys[1]: text} for name, text in zip(who, pair, strict=True)]


@pytest.mark.parametrize(
    ("path", "who", "keys"),
    [
        ("conversation.turns", ("customer", "agent"), ("speaker", "text")),
        ("data.transcript.entries", ("visitor", "operator"), ("sender", "message")),
        ("dialog", ("client", "agent"), ("role", "utterance")),
        ("turns", ("USER", "SYSTEM"), ("speaker", "utterance")),
        ("chat_messages", ("human", "assistant"), ("sender", "text")),
        ("Verlauf", ("Kundin", "Berater"), ("author", "body")),
        ("对话", ("客户", "客服"), ("speaker", "text")),
        ("послания.все", ("Клиент", "Оператор"), ("from", "content")),
    ],
)
def test_chats_are_found_under_any_name(tmp_path: Path, path: str, who: tuple[str, str], keys: tuple[str, str]) -> None:
    """Chats under other names, or inside objects, were refused, or their first message was taken for the input."""
    rows = []
    for number, pair in enumerate(GERMAN):
        value: Any = turns(who, keys, pair)
        for name in reversed(path.split(".")):
            value = {"lang": "de", name: value} if "." in path else {name: value}
        rows.append({"id": number, **value})
    guessed, seeds = read(tmp_path, "a.jsonl", lines_of(rows))
    assert (guessed.kind, guessed.settings) == ("pair", {"columns": {"messages": path}})
    assert [(seed.body, seed.reference) for seed in seeds] == GERMAN


def test_a_speaker_may_be_an_object(tmp_path: Path) -> None:
    """Exports of help desks name the author of a message by an object with a role or a type."""
    for key in ("role", "type"):
        rows = [
            {
                "posts": [
                    {"author": {key: who, "id": 1}, "body": text}
                    for who, text in zip(("user", "admin"), pair, strict=True)
                ]
            }
            for pair in GERMAN
        ]
        _, seeds = read(tmp_path, "a.jsonl", lines_of(rows))
        assert [(seed.body, seed.reference) for seed in seeds] == GERMAN


def test_system_is_the_answering_side_only_if_nobody_else_answers(tmp_path: Path) -> None:
    """Records of dialogue systems call it so; elsewhere it is the system prompt."""
    turn = [("user", "Hi"), ("system", "Be short."), ("assistant", "Hello")]
    row = {"turns": [{"role": role, "content": text} for role, text in turn]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    source = SeedSource(path="a.jsonl", kind="pair", columns={"messages": "turns"})
    with pytest.raises(InputError, match="a system turn in the middle"):
        read_seeds([source], tmp_path)


def test_a_system_prompt_without_an_answer_is_no_answer(tmp_path: Path) -> None:
    """In OpenAI's shape, `system` instructs the model: an instruction behind the question became the output."""
    turns = [("system", "Be kind."), ("user", "Hi"), ("system", "Be short.")]
    row = {"turns": [{"role": role, "content": text} for role, text in turns]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="a system turn in the middle"):
        read_seeds([SeedSource(path="a.jsonl", kind="pair", columns={"messages": "turns"})], tmp_path)


def test_a_chat_inside_an_object_does_not_replace_an_answered_table(tmp_path: Path) -> None:
    """The history in the metadata of a row became the conversation, and the row's own input and output were lost."""
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for output in ("answer", "label"):
        outputs = ["new", "old", "new", "old", "new", "old"] if output == "label" else [one for _, one in ENGLISH]
        rows = [
            {"question": text, output: one, "meta": {"history": chat}}
            for (text, _), one in zip(ENGLISH, outputs, strict=True)
        ]
        guessed, seeds = read(tmp_path, "a.jsonl", lines_of(rows))
        assert guessed.settings["columns"] == {"input": "question", "output": output}
        assert [seed.body for seed in seeds] == [text for text, _ in ENGLISH]


@pytest.mark.parametrize(
    "values", [("1980s", "1990s"), ("18-25", "26-40"), ("10 ml", "50 ml"), ("1950-1959", "1960-1969")]
)
def test_recurring_amounts_and_ranges_are_classes(tmp_path: Path, values: tuple[str, str]) -> None:
    """Decades, ages and sizes were taken for dates and amounts, so that nothing could be learned from them."""
    rows = "".join(f"{text.replace(',', ';')},{values[at % 2]}\n" for at, (text, _) in enumerate(ENGLISH))
    guessed, _ = read(tmp_path, "a.csv", f"message,group of it\n{rows}", "classify")
    assert guessed.task["labels"] == list(values)


def test_a_table_of_amounts_only_is_read(tmp_path: Path) -> None:
    """What is otherwise never an input is one if there is nothing else."""
    guessed, seeds = read(tmp_path, "a.csv", "metric,imperial\n" + "".join(f"{n} km,{n * 3} mi\n" for n in range(6)))
    assert (guessed.settings["columns"], len(seeds)) == ({"text": "metric"}, 6)


def test_two_answers_are_not_joined_as_an_input(tmp_path: Path) -> None:
    """`answer1` and `answer2` look like the texts of a comparison."""
    rows = "".join(f"{text.replace(',', ';')},{one},{one[::-1]}\n" for text, one in ENGLISH)
    guessed, _ = read(tmp_path, "a.csv", f"question,answer1,answer2\n{rows}")
    assert "input" not in guessed.settings


DATES = (
    "2026-03-01|01.03.2026 10:15|Mon, 2 Mar 2026 10:00:00 +0100|1 March 2026 at 10 am|3/4/2026 9:15am|12 мая 2026"
    "|4 de marzo de 2026|2026年3月1日 10:20|2026년 3월 1일 오전 10:20|15 Şubat 2026|Montag, 2. März 2026|2 mars 2026"
)
CONTACTS = (
    "a@b.example|Ann Lee <ann@b.org>|a@b.de; c@d.fr|https://x.org/a?b=c|www.shop.example|+49 30 5551-101"
    "|(0171) 555 1122"
)
AMOUNTS = "EUR 19,99|19,99 zł|$1,200.50|12 kg|5 %|1 200,50 €|35°"
TEXTS = (
    "The parcel came 3 days late|12 + 7 * 3 = 33|iPhone 12 64GB|Kettle 2 l|number 5 does not work|May I return it?"
    "|Samsung Galaxy S21|Boeing 737 800|42|S-1001|Call 030 5551 101 now|my mail is a@b.de|See https://x.org please"
    "|2 x Lampe|Die 3 Tage|3 apples and 5 pears|March for 3 days|12 - 7|Lamp 12|Req 3|CASE 7|what is 3 + 4|100 200"
)


def test_dates_contacts_and_amounts_are_told_from_texts() -> None:
    """In many languages, and no text, name or sum is taken for one."""
    values = "|".join((DATES, CONTACTS, AMOUNTS)).split("|")
    assert [value for value in values if not are_references([value])] == []
    assert [text for text in TEXTS.split("|") if are_references([text])] == []


NOISE: dict[str, Callable[[int], str]] = {
    "email": lambda n: f"Ann Lee {n} <ann{n}@example.org>",
    "phone": lambda n: f"+49 30 55 {n:02} 10 20",
    "created": lambda n: f"Mon, {n + 1} Mar 2026 10:00:00 +0100",
    "Ort": lambda n: "Unsere Filiale am Markt in Kiel",
    "website": lambda n: f"https://shop.example/p/{n}",
    "Betrag": lambda n: f"{n},50 €",
    "no": lambda n: f"T-{n}",
}


@pytest.mark.parametrize("texts", [("comment",), ("question", "answer"), ("Nachricht", "Antwort")])
def test_columns_of_references_and_constants_are_no_inputs(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """A date in words has more of them than a short comment, and an address that recurs was given to the teacher."""
    header = ";".join((*NOISE, *texts))
    rows = (
        ";".join(
            (*(value(n % 3) for value in NOISE.values()), *(f"{side} ({n})" for side in GERMAN[n % 6][: len(texts)]))
        )
        for n in range(18)
    )
    guessed, seeds = read(tmp_path, "a.csv", f"{header}\n" + "".join(f"{row}\n" for row in rows))
    assert set(guessed.settings["columns"].values()) - {"Betrag", "no"} == set(texts)
    assert len(seeds) == 18


@pytest.mark.parametrize(
    ("first", "second", "more", "output"),
    [
        ("premise", "hypothesis", "The customer {n} waits.", "label"),
        ("sentence1", "sentence2", "Case {n} is new.", "gold_label"),
        ("question1", "question2", "Where is case {n}?", "label"),
        ("text_a", "text_b", "Case {n} is new and open.", "label"),
        ("passage", "question", "is case {n} new", "answer"),
        ("文脈", "質問", "ケース番号{n}は新しいですか", "ラベル"),
    ],
)
def test_an_input_has_all_the_texts_that_it_is_about(
    tmp_path: Path, first: str, second: str, more: str, output: str
) -> None:
    """A question without its passage, or a half of a comparison, cannot be answered."""
    every = [
        {"id": n, first: f"{ENGLISH[n % 6][0]} {n}.", second: more.format(n=n), output: "ab"[n % 2]} for n in range(18)
    ]
    guessed, seeds = read(tmp_path, "a.jsonl", lines_of(every))
    assert guessed.settings["input"] == "\n\n".join(f"{{{{ {name} }}}}" for name in (first, second))
    assert guessed.settings["columns"]["output"] == output
    assert len(seeds) == 18


def test_an_answer_inside_an_object_is_the_output(tmp_path: Path) -> None:
    """Rows of SQuAD, whose answer is a list in an object; without it the passages were inputs for a teacher."""
    rows = [
        {
            "title": "Rivers",
            "context": f"The river Aller {n} rises near Seehausen and flows for {n} km to the sea.",
            "question": f"How long is the river Aller {n}?",
            "answers": {"text": [f"{n} km"], "answer_start": [50]},
        }
        for n in range(9)
    ]
    guessed, seeds = read(tmp_path, "a.jsonl", lines_of(rows))
    assert (guessed.kind, guessed.settings["columns"]["output"]) == ("pair", "answers.text")
    assert (
        seeds[3].asked
        == "The river Aller 3 rises near Seehausen and flows for 3 km to the sea.\n\n" + rows[3]["question"]
    )
    assert seeds[3].reference == "3 km"


def test_a_query_is_the_output_whatever_its_column_is_called(tmp_path: Path) -> None:
    """Of two columns named like inputs, the one with SQL is the answer."""
    rows = [
        {"db": "shop", "question": f"How many orders above {n}?", "query": f"SELECT count(*) FROM orders WHERE t > {n}"}
        for n in range(9)
    ]
    guessed, _ = read(tmp_path, "a.jsonl", lines_of(rows))
    assert guessed.settings["columns"] == {"input": "question", "output": "query"}


def test_a_header_in_camel_case_is_read_by_its_words(tmp_path: Path) -> None:
    """`AnswerBody` is an answer."""
    rows = [{"QuestionTitle": f"Case {n}", "QuestionBody": q, "AnswerBody": a} for n, (q, a) in enumerate(ENGLISH)]
    guessed, _ = read(tmp_path, "a.jsonl", lines_of(rows))
    assert guessed.settings["columns"]["output"] == "AnswerBody"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (("Billing, payments", "Returns, refunds", "Shipping", "Other"), "each is read as one label"),
        (("Food, drinks", "Drinks", "Books", "Toys, games"), "each is read as one label"),
        (("बिल, भुगतान", "वापसी", "डिलीवरी, पता"), "each is read as one label"),
        (("bug", "bug, ui", "ui", "docs, ui", "docs"), "has several labels in"),
        (("bug;ui", "ui;docs", "docs;bug"), "has several labels in"),
        (("dostawa|zwrot", "zwrot|płatność", "płatność"), "has several labels in"),
    ],
)
def test_labels_with_commas_are_told_from_several_labels(
    tmp_path: Path, labels: tuple[str, ...], sentence: str
) -> None:
    """By whether the parts recombine; what was decided is said."""
    rows = "".join(f'{ENGLISH[n % 6][0]} {n},"{labels[n % len(labels)]}"\n' for n in range(30))
    guessed, _ = read(tmp_path, "a.csv", f"text,category\n{rows}")
    assert sorted(guessed.task["labels"]) == sorted(labels)
    (decided,) = (one for one in guessed.why if one.startswith("'category' has"))
    assert sentence in decided


def test_texts_in_several_languages_are_pointed_out(tmp_path: Path) -> None:
    """The outputs in another language than the project's would be rejected one by one."""
    rows = "".join(f'"{q}","{a}"\n' for both in zip(ENGLISH, GERMAN, strict=True) for q, a in both)
    guessed, _ = read(tmp_path, "a.csv", f"question,answer\n{rows}")
    assert any(sentence.startswith("the texts are in several languages (") for sentence in guessed.why)


@pytest.mark.parametrize("texts", [GERMAN, ENGLISH])
def test_texts_in_one_language_are_not(texts: list[tuple[str, str]]) -> None:
    """Short texts are easily mistaken for ones in a related language."""
    assert hint_of_languages([side for pair in texts for side in pair]) == []


@pytest.mark.parametrize("form", ["12.03.26, 09:{n} - {who}: {text}", "[3/12/26, 9:{n}:10 AM] {who}: {text}"])
def test_a_chat_log_is_refused_with_advice(tmp_path: Path, form: str) -> None:
    """The advice was to read each line as a seed, which makes inputs of answers."""
    sides = [side for pair in ENGLISH for side in pair]
    lines = (form.format(n=10 + n, who=("Ann", "Shop")[n % 2], text=text) for n, text in enumerate(sides))
    (tmp_path / "chat.txt").write_text("\n".join(lines))
    with pytest.raises(InputError, match="is a chat log with one message per line"):
        guess(tmp_path / "chat.txt")


def test_a_heading_is_part_of_an_input(tmp_path: Path) -> None:
    """Without outputs too: what a customer wrote begins with its subject."""
    rows = "".join(f"Case {n},{text}\n" for n, (text, _) in enumerate(ENGLISH))
    guessed, seeds = read(tmp_path, "a.csv", f"subject,description\n{rows}")
    assert guessed.kind == "input"
    assert seeds[1].text == f"Case 1\n\n{ENGLISH[1][0]}"


def test_languages_may_be_named_in_themselves(tmp_path: Path) -> None:
    """Two columns named after languages are a translation in any of their languages."""
    rows = "".join(f"{english[0]};{german[0]}\n" for english, german in zip(ENGLISH, GERMAN, strict=True))
    guessed, _ = read(tmp_path, "a.csv", f"Englisch;Deutsch\n{rows}")
    assert guessed.task == {"kind": "translate", "language": "en", "to": "de"}


def test_the_only_text_inside_objects_is_the_input(tmp_path: Path) -> None:
    """Tools for annotation write the text into `data`, beside the annotations."""
    rows = [{"id": n, "data": {"text": text}, "annotations": [{"id": n}]} for n, (text, _) in enumerate(ENGLISH)]
    guessed, seeds = read(tmp_path, "a.json", json.dumps(rows))
    assert (guessed.kind, guessed.settings) == ("input", {"columns": {"text": "data.text"}})
    assert len(seeds) == len(rows)
