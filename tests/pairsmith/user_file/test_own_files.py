"""Tests of `pairsmith init --from FILE` on files as people have them: exports of shops, help desks and chats."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairsmith.user_file import columns as file_columns
from pairsmith.user_file.guess import guess
from pairsmith.user_file.guess_table import Guess
from pairsmith.user_file.languages import hint_of_languages
from pairsmith.user_file.values import are_references
from schemas.errors import InputError
from schemas.spec import SeedSource
from synth.sources.seeds import read_seeds

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
PAIRED = list(enumerate(zip(ENGLISH, GERMAN, strict=True)))
SIDES = [(asked, gefragt) for _, ((asked, _), (gefragt, _)) in PAIRED]


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
    """Of two columns named like inputs, the one with SQL is the answer, also if a few answers are none; they made the
    tables and the queries the input, and left the questions out."""
    rows = [
        {"db": "shop", "question": f"How many orders above {n}?", "query": f"SELECT count(*) FROM orders WHERE t > {n}"}
        for n in range(9)
    ]
    bad = [
        {
            "db": "shop",
            "question": "Which orders have no number?",
            "query": "I'm sorry, but I cannot write this query.",
        },
        {"db": "shop", "question": "Which is the first order?", "query": "```sql\nSELECT min(id) FROM orders\n```"},
    ]
    for answered in (rows, [*rows, *rows, *rows, *bad]):
        guessed, _ = read(tmp_path, "a.jsonl", lines_of(answered))
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


@pytest.mark.parametrize(
    "form",
    ["12.03.26, 09:{n} - {who}: {text}", "[3/12/26, 9:{n}:10 AM] {who}: {text}", "[{who}] [오후 3:{n}] {text}"],
)
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


def test_joined_files_lose_their_marks_and_headers(tmp_path: Path) -> None:
    """`cat a.csv b.csv` leaves a byte order mark and the headers in the middle: they were read as a pair."""
    part = "\ufeffquestion,answer\n" + "".join(f"{question},{answer}\n" for question, answer in ENGLISH)
    other = part.replace("kettle", "toaster")
    _, seeds = read(tmp_path, "a.csv", part + other)
    assert len(seeds) == len(ENGLISH) + 1
    assert not any("\ufeff" in seed.text or seed.text == "question" for seed in seeds)
    lines = "\ufeff" + lines_of([{"question": question, "answer": answer} for question, answer in ENGLISH])
    _, seeds = read(tmp_path, "b.jsonl", lines + lines.replace("kettle", "toaster"))
    assert len(seeds) == len(ENGLISH) + 1


def test_objects_in_cells_are_read_by_their_paths(tmp_path: Path) -> None:
    """A column of JSON in a CSV file, as databases export it. `init --from` named such a path, and no reader followed
    it. A cell that is no object costs its row, and a header with a dot in it is not a path."""
    table = [[json.dumps({"subject": f"Case {n}", "body": text}), answer] for n, (text, answer) in enumerate(ENGLISH)]
    guessed, seeds = read(tmp_path, "a.csv", csv_of(["payload", "reply"], table))
    assert guessed.settings["columns"]["output"] == "reply"
    assert [(seed.text, seed.reference) for seed in seeds] == [
        (f"Case {n}\n\n{text}", answer) for n, (text, answer) in enumerate(ENGLISH)
    ]
    (tmp_path / "a.csv").write_text(csv_of(["payload", "reply"], [*table, ["broken {", "Sorry about that."]]))
    source = SeedSource(path="a.csv", kind="pair", **guessed.settings)
    assert [problem.code for problem in read_seeds([source], tmp_path).problems] == ["type"]
    (tmp_path / "a.csv").write_text(csv_of(["payload"], [['{"body": "A lamp is late", "score": NaN}']]))
    scored = SeedSource(path="a.csv", columns={"text": "payload.body"})
    assert [seed.text for seed in read_seeds([scored], tmp_path).seeds] == ["A lamp is late"], "as Python writes it"
    (tmp_path / "b.csv").write_text(csv_of(["text", "result.json"], [["An order of two lamps", '{"lamps": 2}']]))
    dotted = SeedSource(path="b.csv", kind="pair", columns={"input": "text", "output": "result.json"})
    assert read_seeds([dotted], tmp_path).seeds[0].reference == '{"lamps": 2}'


def test_a_path_may_lead_into_a_list(tmp_path: Path) -> None:
    """Argilla writes the answers of reviewers as lists; a row without an entry has an empty cell."""
    rows = [
        {
            "status": "completed",
            "fields": {"text": text},
            "responses": {"label": [{"value": ("billing", "delivery")[n % 2], "user_id": "u1"}]},
        }
        for n, (text, _) in enumerate(ENGLISH)
    ]
    guessed, seeds = read(tmp_path, "a.json", json.dumps([*rows, {**rows[0], "responses": {"label": []}}]))
    assert guessed.settings["columns"] == {"input": "fields.text", "output": "responses.label.0.value"}
    assert guessed.task == {"kind": "classify", "labels": ["billing", "delivery"]}
    assert len(seeds) == len(rows)


def test_a_text_and_its_answer_may_both_be_inside_objects(tmp_path: Path) -> None:
    """Objects with a text each were no columns with text."""
    rows = [{"input": {"text": text}, "output": {"text": answer}} for text, answer in ENGLISH]
    guessed, seeds = read(tmp_path, "a.jsonl", lines_of(rows))
    assert guessed.settings == {"columns": {"input": "input.text", "output": "output.text"}}
    assert [(seed.text, seed.reference) for seed in seeds] == ENGLISH


def csv_of(headers: list[str], rows: list[list[str]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows([headers, *rows])
    return written.getvalue()


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"message": {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}}}


def _chatgpt(question: str, answer: str) -> dict[str, Any]:
    edited = {**_turn("user", "A first version, edited later"), "parent": "root"}
    asked, answered = {**_turn("user", question), "parent": "root"}, {**_turn("assistant", answer), "parent": "asked"}
    root = {"message": None, "parent": None}
    mapping = {"root": root, "edited": edited, "asked": asked, "answered": answered}
    return {"title": "Case", "mapping": mapping, "current_node": "answered"}


def _intercom(question: str, answer: str) -> dict[str, Any]:
    parts = [{"body": f"<p>{answer}</p>", "author": {"type": "admin"}}, {"body": None, "author": {"type": "bot"}}]
    source = {"type": "conversation", "body": f"<p>{question}</p>", "author": {"type": "user"}}
    return {"id": "1", "source": source, "conversation_parts": {"conversation_parts": parts}}


def _zendesk(question: str, answer: str) -> dict[str, Any]:
    notes = [(7, question, True), (9, "Ask the warehouse first", False), (9, answer, True)]
    comments = [{"author_id": who, "body": body, "public": public} for who, body, public in notes]
    return {"subject": "Case", "description": question, "requester_id": 7, "comments": comments}


def _label_studio(question: str, answer: str) -> dict[str, Any]:
    annotations = [{"result": [{"value": {"text": [answer]}, "type": "textarea"}]}]
    return {"id": 1, "annotations": annotations, "predictions": [], "data": {"text": question}}


def _meeting(question: str, answer: str) -> dict[str, Any]:
    """As messengers write them, with what changes between turns but is nobody's name; and shell quotes in a key."""
    turns = [("Zoë", question), ("Max", "Yes")]
    messages = [{"type": who[:1], "lang": "en", "speaker's name": who, "text": text} for who, text in turns]
    return {"messages": messages, "summary": answer}


@pytest.mark.parametrize("row_of", [_chatgpt, _intercom, _zendesk, _label_studio, _meeting])
@pytest.mark.parametrize("form", ["list", "lines", "packed"])
@pytest.mark.skipif(not shutil.which("jq"), reason="the command runs jq")
def test_an_export_without_rows_is_refused_with_a_command_that_writes_them(
    tmp_path: Path, row_of: Callable[[str, str], dict[str, Any]], form: str
) -> None:
    """Their titles or priorities were taken for what to learn, and chats among people listed known roles.
    The command works as it is printed: pasted into a shell, it writes the questions and the answers."""
    exported = [row_of(*pair) for pair in ENGLISH]
    text = json.dumps(exported, indent=1) if form == "list" else lines_of(exported)
    path = tmp_path / ("my export.json.gz" if form == "packed" else "my export.json")
    path.write_bytes(gzip.compress(text.encode()) if form == "packed" else text.encode())
    with pytest.raises(InputError) as refused:
        guess(path)
    command = str(refused.value.fix).split("`")[1]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=200)
    guessed = guess(tmp_path / "rows.jsonl")
    source = SeedSource(path="rows.jsonl", kind="pair", **guessed.settings)
    expected = [(f"Zoë: {asked}\nMax: Yes", answer) for asked, answer in ENGLISH] if row_of is _meeting else ENGLISH
    assert [(seed.text, seed.reference) for seed in read_seeds([source], tmp_path).seeds] == expected


def test_whole_answers_of_an_api_are_not_learned(tmp_path: Path) -> None:
    """They were records to extract. The path in the message reads the answers, and the messages that were sent."""
    rows = [
        {
            "request": {"model": "m", "messages": [{"role": "user", "content": question}]},
            "response": {"body": {"choices": [{"message": {"role": "assistant", "content": answer}}]}},
        }
        for question, answer in ENGLISH
    ]
    (tmp_path / "log.jsonl").write_text(lines_of(rows))
    with pytest.raises(InputError, match="has whole answers of an API in 'response'") as refused:
        guess(tmp_path / "log.jsonl")
    path = str(refused.value.fix).split('output = "')[1].split('"')[0]
    source = SeedSource(path="log.jsonl", kind="pair", columns={"input": "request.messages", "output": path})
    assert [(seed.text, seed.reference) for seed in read_seeds([source], tmp_path).seeds] == ENGLISH


def test_turns_without_answers_are_no_inputs(tmp_path: Path) -> None:
    """`init --from` named a column of objects as the text, and then no row could be used."""
    rows = [{"asked": {"messages": [{"role": "user", "content": question}]}} for question, _ in ENGLISH]
    (tmp_path / "a.jsonl").write_text(lines_of(rows))
    with pytest.raises(InputError, match="'asked' contains turns of chats, but no column contains their answers"):
        guess(tmp_path / "a.jsonl")


def test_marks_of_missing_outputs_are_pointed_out(tmp_path: Path) -> None:
    """Together, whatever they are: five different ones among twenty outputs were no doubt."""
    marks = ["N/A", "NaN", "None", r"\N", "-"]
    rows = [[text, answer] for text, answer in ENGLISH] + [[f"Question {mark} of a customer", mark] for mark in marks]
    guessed, _ = read(tmp_path, "a.csv", csv_of(["question", "answer"], rows))
    assert "5 of 11 outputs mark a missing one" in " ".join(guessed.why)


def test_a_word_that_all_rows_have_is_no_output(tmp_path: Path) -> None:
    """All exported issues of Jira are `Fixed`, in a column named `Resolution`."""
    rows = [[text, "Fixed"] for text, _ in ENGLISH]
    guessed, _ = read(tmp_path, "a.csv", csv_of(["Description", "Resolution"], rows))
    assert (guessed.kind, guessed.settings["columns"]) == ("input", {"text": "Description"})


def test_a_heading_stands_once_in_an_input(tmp_path: Path) -> None:
    """Zendesk exports the subject twice."""
    rows = [[f"Case {n}", f"Case {n}", text] for n, (text, _) in enumerate(ENGLISH)]
    guessed, _ = read(tmp_path, "a.csv", csv_of(["subject", "raw_subject", "description"], rows))
    assert guessed.settings["input"] == "{{ subject }}\n\n{{ description }}"


def test_a_spec_keeps_few_columns_of_a_wide_survey(tmp_path: Path) -> None:
    """Sixty answers from 1 to 5 were sixty columns of the spec, and a line of comment each."""
    marks = [f"q{n}" for n in range(60)]
    rows = [
        [*(str((n + at) % 3) for at in range(60)), ("web", "shop")[n % 2], text] for n, (text, _) in enumerate(ENGLISH)
    ]
    guessed, _ = read(tmp_path, "a.csv", csv_of([*marks, "where", "comment"], rows))
    assert guessed.settings["columns"] == {"text": "comment", "where": "where"}


@pytest.mark.parametrize("headers", [["en", "de", "fr"], ["Source (English)", "German", "Target [fr]"]])
def test_a_table_of_several_languages_is_a_translation_into_one(tmp_path: Path, headers: list[str]) -> None:
    """With `Source (English)`, German was translated into French; with three codes, nothing was. The others are
    named."""
    rows = [
        [en, de, f"Le texte {n} est en français"]
        for n, ((en, _), (de, _)) in enumerate(zip(ENGLISH, GERMAN, strict=True))
    ]
    guessed, _ = read(tmp_path, "a.csv", csv_of(headers, rows))
    assert guessed.task == {"kind": "translate", "language": "en", "to": "de"}
    assert f"other languages: '{headers[2]}' (fr)" in " ".join(guessed.why)


def test_last_turns_of_conversations_may_be_equal(tmp_path: Path) -> None:
    """`Thanks!` at the end of different conversations is not one question with different answers."""
    names = (("user", "assistant"), ("role", "content"))
    rows = [{"messages": [*turns(*names, pair), *turns(*names, ("Thanks!", pair[1]))]} for pair in ENGLISH]
    guessed, _ = read(tmp_path, "a.jsonl", lines_of(rows))
    assert "several different" not in " ".join(guessed.why)


@pytest.mark.parametrize(
    "columns",
    [("comments", "requester_id", "reply"), ("data", "annotations", "predictions"), ("custom_id", "method", "body")],
)
def test_columns_with_the_names_of_an_export_may_be_a_table(tmp_path: Path, columns: list[str]) -> None:
    """Only what has the objects or lists of an export is refused as one."""
    rows = [{name: f"parcel {number} is late, says the {name}" for name in columns} for number in range(8)]
    read(tmp_path, "rows.jsonl", lines_of(rows))


def test_a_question_and_its_answer_in_two_languages_are_no_translation(tmp_path: Path) -> None:
    """A language that two columns have in brackets says nothing about what is translated."""
    header = "question (en),answer (en),question (de),answer (de),id\n"
    rows = [f'"{asked}","{reply}","{gefragt}","{antwort}",{at}' for at, ((asked, reply), (gefragt, antwort)) in PAIRED]
    guessed, seeds = read(tmp_path, "rows.csv", header + "\n".join(rows))
    assert guessed.task["kind"] != "translate"
    guessed, seeds = read(
        tmp_path, "more.csv", "en,de,note (en)\n" + "\n".join(f'"{a}","{b}","{a} too"' for a, b in SIDES)
    )
    assert (guessed.task["kind"], seeds[0].text, seeds[0].reference) == ("translate", *SIDES[0])


def test_of_long_rows_fewer_are_inspected_but_all_labels_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that are kept in memory are bounded by their size, not only by their number. What needs all rows, the
    labels and the choices of a record, follows the rows that were read."""
    monkeypatch.setattr(file_columns, "_MOST", 20_000)
    texts = [f"ticket {number} " + "about the late parcel " * 20 for number in range(300)]
    labels = [("late", "lost", "other")[number % 3] for number in range(299)] + ["last of all"]
    rows = lines_of([{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)])
    guessed, _ = read(tmp_path, "labels.jsonl", rows)
    assert sorted(guessed.task["labels"]) == ["last of all", "late", "lost", "other"]
    columns = file_columns.columns_of(tmp_path / "labels.jsonl")
    assert 0 < len(columns[0].texts) < 60, "also where only the first rows are read"
    records = [{"text": text, "output": {"state": label}} for text, label in zip(texts, labels, strict=True)]
    guessed, _ = read(tmp_path, "records.jsonl", lines_of(records))
    assert guessed.schema is not None
    assert "enum" not in json.dumps(guessed.schema)


def test_an_explained_label_does_not_stop_the_project(tmp_path: Path) -> None:
    """A teacher's label with an explanation below it became one of `task.labels`, and `init` ended with an error in a
    spec that was never written. It is no label now, and a sentence says what becomes of its row."""
    rows = [{"text": f"parcel {n} is late", "intent": ("late", "lost")[n % 2]} for n in range(20)]
    rows.append({"text": "where is it", "intent": "late\n\nExplanation: the customer waits"})
    guessed, _ = read(tmp_path, "a.jsonl", lines_of(rows))
    assert guessed.task == {"kind": "classify", "labels": ["late", "lost"]}
    assert "1 of 21 outputs have several lines or over 200 characters and cannot be labels" in " ".join(guessed.why)


@pytest.mark.parametrize(
    ("spoilt", "kind", "task"),
    [
        (['{"product": "lam', 'Here it is: {"product": "lamp"}'], "", "extract"),
        (["We could not find a product."], "", "free"),
        (["We could not find a product."], "extract", "extract"),
    ],
)
def test_a_few_spoilt_records_leave_the_task_an_extraction(
    tmp_path: Path, spoilt: list[str], kind: str, task: str
) -> None:
    """Two outputs of sixty that a model cut off or wrapped in words made the task free, without a schema, and
    `--kind extract` was refused with the advice to leave it out. Answers in words may be meant, so they still do."""
    rows = [{"text": f"my lamp {n} came too late", "output": f'{{"product": "lamp {n}"}}'} for n in range(58)]
    rows += [{"text": f"my kettle came {n} days too late", "output": text} for n, text in enumerate(spoilt)]
    guessed, _ = read(tmp_path, "a.jsonl", lines_of(rows), kind)
    assert (guessed.task["kind"], guessed.schema is not None) == (task, task == "extract")
    assert f"{len(spoilt)} of {len(rows)} outputs are no" in " ".join(guessed.why)


def test_a_table_of_rewritten_texts_is_told_of_its_kind(tmp_path: Path) -> None:
    """A note and the letter written from it were read as a free task, which compares no numbers, names or negations,
    and nothing said so."""
    things = "tenant kettle garden invoice ladder window parcel letter bicycle curtain meeting harbour"
    rows = [{"note": f"{one} back monday", "letter": f"The {one} will be here again."} for one in things.split()]
    guessed, _ = read(tmp_path, "a.jsonl", lines_of(rows))
    assert guessed.task == {"kind": "free"}
    assert "set task.kind to 'rewrite'" in " ".join(guessed.why)
