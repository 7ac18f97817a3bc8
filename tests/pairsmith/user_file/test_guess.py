"""Tests of `pairsmith init --from FILE`: how a file is interpreted, that the written spec reads it, and what is left
alone."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import jsonschema
import pyarrow
import pyarrow.parquet as parquet
import pytest

from curate.gates.words import count_words
from pairsmith.serve.pages.columns import keys_for_roles, sources
from pairsmith.user_file.guess import guess
from pairsmith.user_file.guessed_spec import spec_text
from prompts.answer_form import AnswerForm
from schemas.errors import InputError
from schemas.kinds import KindName
from schemas.spec import SeedSource
from schemas.spec_file import SPEC_NAME, load
from synth.sources.seeds import read_seeds
from tests.pairsmith.conftest import ROOT, Project

LONG = (
    "A lighthouse stands on black rocks while the evening light falls on its lamp and the waves below it turn to foam. "
)
GERMAN = "Vielen Dank für Ihre Nachricht, wir schicken Ihnen morgen ein neues Gerät und holen das alte kostenlos ab."
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def guessed_settings(folder: Path, name: str, content: str) -> dict[str, Any]:
    """The settings in the spec written for the file; checks that it loads and reads every row of the file."""
    (folder / name).write_text(content, encoding="utf-8")
    guessed = guess(folder / name)
    (folder / SPEC_NAME).write_text(spec_text(folder / name, guessed, "mine"), encoding="utf-8")
    project = load(folder)
    reading = read_seeds(project.spec.seeds, folder)
    assert reading.problems == []
    assert len(reading.seeds) == reading.rows_in > 0
    (source,) = project.spec.seeds
    settings = {"kind": source.kind, "task": project.spec.task.kind, "template": source.input}
    return {**settings, **source.columns, "why": " ".join(guessed.why), "spec": project.spec}


def test_inputs_without_an_output_are_pointed_out(tmp_path: Path) -> None:
    """Of a file in which people have answered every third row, two thirds were left out with nothing but a count of
    blank cells: whoever wanted a teacher to answer them was not told how."""

    def hints(every: int) -> list[str]:
        replies = [GERMAN.replace("morgen", f"am {n}. Mai") if n % every == 0 else "" for n in range(60)]
        rows = [{"ticket": f"Mein Gerät {n} geht heute nicht an", "reply": reply} for n, reply in enumerate(replies)]
        (tmp_path / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        guessed = guess(tmp_path / "tickets.jsonl")
        assert guessed.kind == "pair"
        return [sentence for sentence in guessed.why if "left out" in sentence]

    assert hints(3) == [
        "67% of the inputs have no 'reply' and are left out: for a teacher to write it, put these rows into a file of"
        " their own, and read it as inputs"
    ]
    assert hints(1) == []


def german_row(number: int) -> str:
    product = "Uhr" if number % 2 else "Lampe"
    return f"{number};Frage zu {number};Mein Gerät geht heute nicht an;{product};{GERMAN}\n"


GERMAN_TICKETS = "id;Betreff;Nachricht;Produkt;Antwort\n" + "".join(map(german_row, range(8)))
JOINED = "{{ betreff }}\n\n{{ nachricht }}"
QUESTION = '{"question": "How do I reset it?", "answer": "Press it."}\n'
FLAN = '{"inputs": "Say it in French: good day", "targets": "Bonjour à vous tous."}\n'
LABELS = "text,label\n" + "".join(f"number {n} does not work,{'power' if n % 2 else 'noise'}\n" for n in range(8))


BODIES = [("customer", "Where is my parcel now?"), ("agent", "On its way to you."), ("customer", "Thanks")]
THREAD = json.dumps({"id": 7, "thread": [{"author": who, "body": body} for who, body in BODIES]}) + "\n"
ASKED, GOOD, BAD = (
    [{"role": role, "content": content}]
    for role, content in (("user", "Where is my parcel?"), ("assistant", "On its way to you."), ("assistant", "No."))
)
PREFERENCE = json.dumps({"prompt": ASKED, "chosen": GOOD, "rejected": BAD}) + "\n"
IMPLICIT = json.dumps({"chosen": ASKED + GOOD, "rejected": ASKED + BAD}) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.csv",
            GERMAN_TICKETS,
            {"kind": "pair", "task": "reply", "template": JOINED, "output": "Antwort", "produkt": "Produkt"},
        ),
        ("a.jsonl", QUESTION, {"kind": "pair", "input": "question", "output": "answer"}),
        ("a.jsonl", FLAN, {"kind": "pair", "task": "free", "input": "inputs", "output": "targets"}),
        ("a.csv", LABELS, {"kind": "pair", "task": "classify", "input": "text", "output": "label"}),
        (
            "a.json",
            json.dumps([{"instruction": "Add one.", "input": "1", "output": "2"}]),
            {"kind": "pair", "task": "free"},
        ),
        ("a.jsonl", json.dumps({"messages": CHAT}) + "\n", {"kind": "pair"}),
        ("a.jsonl", json.dumps({"conversations": CHAT * 2}) + "\n", {"kind": "conversation"}),
        ("a.jsonl", THREAD, {"kind": "pair", "task": "reply", "messages": "thread"}),
        ("a.jsonl", PREFERENCE, {"kind": "pair", "task": "free"}),
        ("a.jsonl", IMPLICIT, {"kind": "pair", "task": "reply"}),
        ("a.csv", "n,idea\n1,a lighthouse at dusk\n2,two goats on a roof\n", {"kind": "input", "text": "idea"}),
        ("a.jsonl", json.dumps({"caption": LONG * 3}) + "\n", {"kind": "output", "text": "caption"}),
    ],
    ids=[
        "German tickets",
        "questions",
        "Flan",
        "labels",
        "alpaca",
        "openai",
        "sharegpt",
        "thread",
        "dpo",
        "implicit",
        "ideas",
        "outputs",
    ],
)
def test_a_file_is_interpreted_by_its_contents(tmp_path, name, content, expected):
    """Names and contents of the columns decide; the written spec loads, reads every row and says why."""
    reading = guessed_settings(tmp_path, name, content)
    assert {key: reading[key] for key in expected} == expected
    assert reading["why"]


def test_length_bounds_and_language_fit_the_outputs(tmp_path):
    """Outputs in the user's file are not rejected for being short, long or German."""
    rows = "".join(f"Frage {n} zu meinem Gerät,{GERMAN} Nummer {n}.\n" for n in range(5))
    spec = guessed_settings(tmp_path, "a.csv", f"input,output\n{rows.replace(', wir', ' wir')}")["spec"]
    assert spec.task.language == "de"
    assert spec.curate.gates.length.max_words >= 2 * 20
    assert spec.curate.gates.length.min_ratio == 0


@pytest.mark.parametrize(
    "content",
    [
        "text\n" + "".join(f"{GERMAN} {n}\n" for n in range(4)).replace(",", ""),
        "text,label\n" + "".join(f"{GERMAN.replace(',', '')} {n},{'an' if n % 2 else 'aus'}\n" for n in range(8)),
        "text,output\n" + "".join(f'{GERMAN.replace(",", "")} {n},"{{""n"": {n}, ""ok"": true}}"\n' for n in range(8)),
    ],
)
def test_the_language_comes_from_the_inputs_if_outputs_have_none(tmp_path, content):
    """Inputs without outputs were taken for English, and their German outputs rejected after they were paid for; labels
    and JSON have no language."""
    assert guessed_settings(tmp_path, "a.csv", content)["spec"].task.language == "de"


def test_texts_without_a_language_keep_the_default(tmp_path):
    """The language identifier has a three-letter code for "no language", which the spec does not accept."""
    rows = "".join(f'"{n} {n * 7} 0x{n:04x} -> {n * n}","{{""{n}"": {n * 31}}}"\n' for n in range(1, 60))
    assert len(guessed_settings(tmp_path, "a.csv", "input,output\n" + rows)["spec"].task.language) == 2


def test_columns_without_a_header_are_ignored(tmp_path):
    """Spreadsheets write empty columns after the table, pandas one of row numbers before it."""
    reading = guessed_settings(tmp_path, "a.csv", ",question,answer,,\n0,How do I reset it?,Press it for long.,,\n")
    assert (reading["kind"], reading["input"], reading["output"]) == ("pair", "question", "answer")
    assert "not read" not in reading["why"]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "How do I reset it?", "response": "Press it.", "context": "", "history": [["Hi", "Hello"]]},
        {"messages": CHAT, "history": []},
    ],
)
def test_unread_columns_of_a_known_format_are_named(tmp_path, row):
    """Otherwise earlier turns in a column of their own would be lost silently."""
    assert "not read: history" in guessed_settings(tmp_path, "a.jsonl", json.dumps(row))["why"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_columns_that_the_first_row_lacks_are_read(tmp_path, name):
    """Exports leave out what is empty. A column that many rows have, but not the first, was refused as missing, or not
    mentioned; a history makes conversations."""
    rows = [
        {"instruction": "Name a fish.", "output": "A trout."},
        {"instruction": "And a bird?", "input": "of the sea", "output": "A gull.", "history": [["Hi", "Hello"]]},
        {"instruction": "Name a tree.", "output": "An elm.", "source": "me"},
    ]
    text = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    reading = guessed_settings(tmp_path, name, text)
    assert reading["kind"] == "conversation"
    assert "not read: source" in reading["why"]


def test_a_file_without_headers_is_noticed(tmp_path):
    """Otherwise its first row would be lost and become the column names."""
    rows = "My kettle leaks at the bottom since the last two days.\nThe lamp does not go on in the evening any more.\n"
    assert "looks like a row: 'My kettle leaks" in guessed_settings(tmp_path, "a.csv", rows)["why"]


def test_recurring_values_are_labels(tmp_path):
    """The task gets all labels of all rows, so that none of the file's own outputs is unknown to it."""
    assert set(guessed_settings(tmp_path, "a.csv", LABELS)["spec"].task.labels) == {"noise", "power"}


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("message,verdict", "number {n} does not work,{label}"),
        ("word,label", "word{n},{label}"),
        ("wort,Klasse", "Wort{n},{label}"),
    ],
)
def test_a_label_column_is_the_output(tmp_path: Path, header: str, row: str) -> None:
    """A label column beside a single column of texts or words used to be kept as an extra column, with the texts as
    inputs for a teacher."""
    rows = "".join(row.format(n=n, label="power" if n % 2 else "noise") + "\n" for n in range(20))
    shown = guessed_settings(tmp_path, "a.csv", f"{header}\n{rows}")
    text, label = header.split(",")
    assert (shown["task"], shown["kind"], shown["input"], shown["output"]) == ("classify", "pair", text, label)
    assert f"'{label}' is the output" in shown["why"]
    assert f"'{text}' is the input" in shown["why"]


@pytest.mark.parametrize("id_column", ["ticket_id", "uuid"])
def test_an_id_column_is_not_the_input(tmp_path: Path, id_column: str) -> None:
    """An id is longer than the word beside it and may be named like a text: it was the classifier's input."""
    rows = "".join(f"T-2026-{n:05},red {'abcdefghijklmnopqrst'[n]},{'ab'[n % 2]}\n" for n in range(20))
    shown = guessed_settings(tmp_path, "a.csv", f"{id_column},item,category\n{rows}")
    assert (shown["task"], shown["input"], shown["output"]) == ("classify", "item", "category")


def test_a_possible_label_column_is_named_with_advice(tmp_path: Path) -> None:
    """A product may be context for a prompt or the label to predict: the message says which was assumed and how to get
    the other."""
    rows = "".join(f"number {n} does not work,{'lamp' if n % 2 else 'clock'}\n" for n in range(20))
    shown = guessed_settings(tmp_path, "a.csv", f"message,product\n{rows}")
    assert (shown["task"], shown["text"], shown["product"]) == ("rewrite", "message", "product")
    advice = "the task is to classify: start a new project of the kind `classify` (`--kind classify`)"
    assert f"if the model should predict 'product', {advice}" in shown["why"]
    assert guess(tmp_path / "a.csv", "classify").task == {"kind": "classify", "labels": ["clock", "lamp"]}


def test_the_label_column_named_in_the_advice_is_the_one_used(tmp_path: Path) -> None:
    """Customers' names recur too and come first in the file: following the advice gives the column that it names, with
    labels merged across upper and lower case."""
    names = ["Siti", "Agus", "Dewi", "Rudi", "Putri"]
    spelt = ["broken", "BROKEN", "Broken", "late", "LATE", "Late"]
    rows = "".join(f"{names[n % 5]},{spelt[n % 6]},parcel {n} did not come as it should\n" for n in range(30))
    shown = guessed_settings(tmp_path, "a.csv", f"customer,why,message\n{rows}")
    assert "if the model should predict 'why', the task is to classify" in shown["why"]
    labels = guess(tmp_path / "a.csv", "classify").task["labels"]
    assert [label.casefold() for label in labels] == ["broken", "late"]


def test_a_column_is_never_both_input_and_output(tmp_path: Path) -> None:
    """In a file of only ids and twenty labels there is no text to classify."""
    rows = "".join(f"{n},kind{n % 20}\n" for n in range(100))
    (tmp_path / "a.csv").write_text(f"id,category\n{rows}")
    guessed = guess(tmp_path / "a.csv")
    assert (guessed.kind, guessed.settings["columns"]) == ("input", {"text": "id", "category": "category"})


def test_unpaired_preference_marks_are_not_a_column_of_the_task(tmp_path: Path) -> None:
    """For TRL's unpaired preferences the spec reads the preferred completions, and init says that the others are left
    out."""
    rows = "".join(
        json.dumps({"prompt": f"Is number {n} here?", "completion": "It is over there.", "label": n != 3}) + "\n"
        for n in range(8)
    )
    (tmp_path / "a.jsonl").write_text(rows)
    guessed = guess(tmp_path / "a.jsonl")
    assert guessed.settings == {"columns": {"input": "prompt", "output": "completion"}}
    assert any("rows whose 'label' is false, reject or ignore are left out" in sentence for sentence in guessed.why)


EARLIER = [{"role": role, "content": "and?"} for role in ("user", "assistant", "user")]


HEADERS = [
    ("प्रश्न", "उत्तर"),
    ("Câu hỏi", "Trả lời"),
    ("CÂU HỎI CỦA KHÁCH".lower(), "Câu trả lời"),
    ("Întrebare", "Răspuns"),
    ("Kérdés", "Válasz"),
    ("Swali", "Jibu"),
    ("প্রশ্ন", "উত্তর"),
    ("คำถาม", "คำตอบ"),
    (unicodedata.normalize("NFD", "Nội dung"), unicodedata.normalize("NFD", "Réponse")),
    (unicodedata.normalize("NFD", "질문"), unicodedata.normalize("NFD", "답변")),
    ("Question", "Answer"),
    ("Müşteri mesajı", "Cevabımız"),  # noqa: RUF001
    ("Asiakkaan viesti", "Vastauksemme"),
    ("Ügyfél üzenete", "Válaszunk"),
    ("Mesajul clientului", "Răspunsul nostru"),
    ("Μήνυμα πελάτη", "Η απάντησή μας"),  # noqa: RUF001
    ("הודעת הלקוח", "התשובה שלנו"),
    ("رسالة العميل", "ردنا"),
    ("客戶訊息", "我們的回覆"),
    ("نص السؤال", "الجواب"),
    ("Anfragetext", "Antworttext"),
]


@pytest.mark.parametrize(("asked", "answer"), HEADERS)
def test_headers_are_recognized_in_many_scripts(tmp_path: Path, asked: str, answer: str) -> None:
    """Vowel signs are part of a word, accents may be separate characters as on a Mac, and names may have several words;
    texts may be short if the headers say what they are."""
    rows = "".join(f"thing {n},word {n}\n" for n in range(5))
    reading = guessed_settings(tmp_path, "a.csv", f"{asked},{answer}\n{rows}")
    assert (reading["kind"], reading["task"]) == ("pair", "reply")
    assert (reading["input"], reading["output"]) == (asked, answer)


def test_turns_can_be_inputs_and_outputs(tmp_path: Path) -> None:
    """Exported model traces have an object with messages as input and one turn as output. Neither is a record; an
    object that has `from` and `author` as data fields is."""
    asked = [{"role": "user", "content": "Where is my parcel?"}]
    for side in (asked, {"messages": asked}):
        row = {"input": side, "output": {"role": "assistant", "content": "On its way to you."}}
        reading = guessed_settings(tmp_path, "a.jsonl", json.dumps(row) + "\n")
        assert (reading["kind"], reading["task"]) == ("pair", "free")
        (seed,) = read_seeds(reading["spec"].seeds, tmp_path).seeds
        assert (seed.body, seed.reference) == ("Where is my parcel?", "On its way to you.")
    trips = [{"text": f"By train {n} from Rome to Bari", "output": {"from": "Rome", "author": "Ann"}} for n in range(3)]
    assert guessed_settings(tmp_path, "b.jsonl", "".join(json.dumps(row) + "\n" for row in trips))["task"] == "extract"


def test_chats_written_by_a_data_frame_are_read(tmp_path: Path) -> None:
    """pandas and `datasets` write a list of turns into CSV as a Python literal."""
    chats = [CHAT, [{**CHAT[0], "content": 'It\'s "here"'}, CHAT[1]]]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "messages"], *([n, str(chat)] for n, chat in enumerate(chats))])
    content = (tmp_path / "a.csv").read_text(encoding="utf-8")
    reading = guessed_settings(tmp_path, "a.csv", content)
    assert [seed.body for seed in read_seeds(reading["spec"].seeds, tmp_path).seeds] == ["Hi", 'It\'s "here"']


def test_preferences_are_recognized(tmp_path: Path) -> None:
    """The better answer is the output although it is the longest text, with a worse one beside it: the spec reads both,
    and init says what the worse one is for."""
    for name, rows in {
        "pair": [
            {"prompt": f"Is number {n} here?", "chosen": "It is there.", "rejected": "No.", "id": n} for n in range(8)
        ],
        "conversation": [
            {
                "chosen": [*EARLIER, {"role": "assistant", "content": f"{n}"}],
                "rejected": [*EARLIER, {"role": "assistant", "content": "no"}],
            }
            for n in range(8)
        ],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        guessed = guess(tmp_path / f"{name}.jsonl")
        assert (guessed.kind, guessed.settings) == (name, {})
        assert "a worse one, 'rejected'" in guessed.why[0]
    assert guess(tmp_path / "pair.jsonl").why[1] == "not read: id"


def test_columns_named_chosen_and_rejected_alone_are_no_preference(tmp_path: Path) -> None:
    """If no other column is recognised, a table with `chosen` and `rejected` is read as an ordinary table, not
    refused."""
    rows = "".join(f"Please send the parcel number {n} again.,{n},{n % 3}\n" for n in range(8))
    (tmp_path / "votes.csv").write_text(f"text,chosen,rejected\n{rows}")
    assert guess(tmp_path / "votes.csv").settings["columns"].items() >= {"input": "text", "output": "chosen"}.items()


def test_enums_need_all_rows_to_be_read(tmp_path: Path) -> None:
    """A status that first occurred after the rows that are inspected was rejected as invalid."""

    def written(rows: int) -> Path:
        lines = (
            {"text": f"Parcel {n} has not come yet.", "output": {"status": "open" if n % 2 else "paid"}}
            for n in range(rows)
        )
        path = tmp_path / f"{rows}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    for rows, choices in ((20, ["open", "paid"]), (10_001, None)):
        schema = guess(written(rows)).schema
        assert schema is not None
        assert schema["properties"]["status"].get("enum") == choices


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    """Its columns are interpreted like those of any table; an invalid file is a clear error."""
    rows = [{"question": f"How do I reset number {n}?", "answer": "Press it.", "at": None} for n in range(4)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    done = Project(tmp_path).run("init", "mine", "--from", "a.parquet")
    assert done.returncode == 0, done.stderr
    project = load(tmp_path / "mine")
    assert project.spec.seeds[0].columns == {"input": "question", "output": "answer"}
    assert len(read_seeds(project.spec.seeds, project.folder).seeds) == 4
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    refused = Project(tmp_path).run("init", "other", "--from", "b.parquet")
    assert (refused.returncode, "b.parquet: is not a Parquet file" in refused.stderr) == (4, True)


def test_ids_are_left_out_and_recurring_values_kept(tmp_path):
    """A column with a different value in each row is left out and named as not read; one with recurring values is
    kept."""
    rows = "".join(f"T{n},how do I do number {n},do it like number {n},{'ab'[n % 2]}\n" for n in range(10))
    reading = guessed_settings(tmp_path, "a.csv", f"id,question,answer,team\n{rows}")
    assert "not read: id" in reading["why"]
    assert reading["team"] == "team"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,n\n1,2\n3,4\n", "no column contains text; its columns: 'id', 'n'"),
        (
            "a.jsonl",
            '{"id": 1, "data": {"q": {"text": "Is it open?"}, "stars": 5, "a": {"text": "Yes."}}}\n',
            r'columns = \{ text = "data.q.text" \}\. Paths: data.q.text, data.a.text\.',
        ),
        ("a.json", '{"version": 2,\n "data": [{"input": "Is it open?", "output": "Yes."}]}', r"with `jq \.data`"),
        ("a.txt", "some lines\n", "of format text has no columns"),
        ("a.jsonl", "[1]\n", "does not begin with an object"),
        ("a.jsonl", "", "does not begin with an object"),
        ("a.jsonl", "{\n", "is not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_interpreted_is_refused(tmp_path, name, content, message):
    """Without any indication nothing is guessed, and the message says what to do."""
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        guess(tmp_path / name)


@pytest.mark.parametrize("first", [[], [{"role": "user", "content": "is anybody there?"}]])
def test_an_unanswered_first_chat_does_not_hide_the_others(tmp_path: Path, first: list[dict[str, str]]) -> None:
    """Exports may begin with an empty or open ticket: the others are still chats, not inputs to rewrite."""
    turns = [{"role": "user", "content": "where is my parcel?"}, {"role": "assistant", "content": "With the carrier."}]
    rows = [{"thread": first}, {"thread": turns}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    guessed = guess(tmp_path / "a.jsonl")
    assert (guessed.task["kind"], guessed.kind) == ("reply", "pair")
    assert guessed.settings == {"columns": {"messages": "thread"}}


def test_a_log_with_one_message_per_line_is_refused(tmp_path: Path) -> None:
    """A chat log used to be read as inputs, half of them the answers to learn from."""
    lines = "".join(f"{n // 2},{'agent' if n % 2 else 'Customer'},how do I reset number {n} of it?\n" for n in range(8))
    (tmp_path / "a.csv").write_text(f"conversation_id,sender,text\n{lines}")
    with pytest.raises(InputError, match=r"one message per line \('sender' names the speaker\)"):
        guess(tmp_path / "a.csv")


def test_if_no_row_can_be_read_the_first_is_named(tmp_path: Path) -> None:
    """If every row has a comma too many, the message names the first row and does not say that there are none."""
    (tmp_path / "a.csv").write_text("question,answer\nWhere, oh where?,Here.\nWho, then?,You.\n")
    with pytest.raises(InputError, match=r"a.csv:2: none of its rows can be used; the first: cells: 3 cells for 2"):
        guess(tmp_path / "a.csv")


@pytest.mark.parametrize(("named", "message"), [("gone.csv", "there is no file 'gone.csv'"), (".", "'.' is a folder")])
def test_a_missing_file_or_a_folder_is_a_clear_error(tmp_path: Path, named: str, message: str) -> None:
    """A missing file used to be "of a format without columns", and a folder a traceback."""
    done = Project(tmp_path).run("init", "mine", "--from", named)
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {message}")
    # A folder of texts can be used too, and the message says how.
    assert (named == ".") == ('[[seeds]]: each line is a seed, or each file with format = "document"' in done.stderr)


def test_a_file_without_usable_rows_leaves_no_project_behind(tmp_path: Path) -> None:
    """Once the file is fixed the same command works, because no project folder is in its way."""
    turns = [{"role": "narrator", "content": "It rains."}, {"role": "assistant", "content": "Take a coat."}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    refused = Project(tmp_path).run("init", "mine", "--from", "a.jsonl")
    assert "its one row cannot be used: role" in refused.stderr
    assert refused.returncode == 4
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(("first", "second"), [("en", "de"), ("English", "German"), ("EN", "de"), ("inglés", "alemán")])
def test_columns_named_after_languages_are_a_translation(tmp_path: Path, first: str, second: str) -> None:
    """A table of sentences in two languages used to be inputs for a rewrite, with one column not read."""
    rows = "".join(f"{n},the ferry leaves at {n},die Fähre fährt um {n} ab\n" for n in range(1, 9))
    reading = guessed_settings(tmp_path, "a.csv", f"id,{first},{second}\n{rows}")
    assert (reading["kind"], reading["task"], reading["input"], reading["output"]) == (
        "pair",
        "translate",
        first,
        second,
    )
    assert (reading["spec"].task.language, reading["spec"].task.to) == ("en", "de")


ENGLISH = "the ferry leaves the old harbour at {} in the morning and comes back late in the evening"
IN_FRENCH = "le bac quitte le vieux port à {} heures du matin et revient tard dans la soirée"
NOTES = "".join(f"{ENGLISH.format(n)},{IN_FRENCH.format(n)},{'ok' if n % 3 else 'late'}\n" for n in range(12))
KINDS_OF_ONE_FILE = [
    ("classify", "before,after,note", {"input": "before", "output": "note", "labels": {"late": "", "ok": ""}}),
    ("classify", "input,x,label", {"input": "input", "output": "label", "labels": {"late": "", "ok": ""}}),
    ("rewrite", "input,x,label", {"input": "input", "output": "label"}),
    ("free", "question,answer,note", {"input": "question", "output": "answer"}),
    ("translate", "before,after,note", {"input": "before", "output": "after", "to": "fr", "language": "en"}),
    ("translate", "target,source,note", {"input": "source", "output": "target", "to": "en", "language": "fr"}),
]


@pytest.mark.parametrize(("kind", "headers", "expected"), KINDS_OF_ONE_FILE)
def test_a_given_kind_decides_how_a_file_is_read(
    tmp_path: Path, kind: KindName, headers: str, expected: dict[str, Any]
) -> None:
    """The same table for each kind: the spec uses what the given kind needs, even where the columns suggest another
    kind."""
    (tmp_path / "a.csv").write_text(f"{headers}\n{NOTES}", encoding="utf-8")
    done = Project(tmp_path).run("init", "mine", "--kind", kind, "--from", "a.csv", "--embedded")
    assert done.returncode == 0, done.stderr
    task = load(tmp_path / "mine").spec.task
    (source,) = load(tmp_path / "mine").spec.seeds
    shown = {**source.columns, "labels": task.labels, "to": task.to, "language": task.language}
    assert {"kind": task.kind, **{name: shown[name] for name in expected}} == {"kind": kind, **expected}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("classify", "a.csv: has no column of labels with recurring values, but a task of kind 'classify' needs"),
        ("extract", "a.csv: has no column of outputs that are all JSON objects"),
        ("translate", "a.csv: has no pair of columns in different languages (named after them, such as en and de)"),
    ],
)
def test_a_file_that_does_not_fit_the_given_kind_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    """If the file lacks what the kind needs, no project is created, and the message says what would be needed."""
    rows = "".join(f"how do I find number {n},go along this road for {n} miles\n" for n in range(9))
    (tmp_path / "a.csv").write_text(f"question,answer\n{rows}")
    done = Project(tmp_path).run("init", "mine", "--kind", kind, "--from", "a.csv")
    assert (done.returncode, (tmp_path / "mine").exists()) == (4, False), done.stderr
    assert message in done.stderr


def test_forty_recurring_values_are_labels(tmp_path: Path) -> None:
    """Tasks may have dozens of labels; unlike ids they recur. Spellings that differ in case are merged into the most
    frequent one, also in Turkish, whose capital i has a dot."""
    names = [f"Konu {n}" for n in range(39)] + ["İade"]
    rows = [{"metin": f"bilgi istiyorum ben {n}", "etiket": names[n % 40]} for n in range(400)]
    rows += [{"metin": "bir sorum daha var", "etiket": "İade".lower()}, {"metin": "bir soru daha", "etiket": "IADE"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in ("", "classify"):
        assert guess(tmp_path / "a.jsonl", kind).task == {"kind": "classify", "labels": sorted(names)}


def test_the_only_other_text_beside_a_question_is_the_output(tmp_path: Path) -> None:
    """Of two text columns, one named question, the other is the output whatever its name."""
    rows = "".join(
        f"How many orders above {n} euros?,SELECT count(*) FROM orders WHERE total > {n}\n" for n in range(9)
    )
    assert (guessed_settings(tmp_path, "a.csv", f"question,sql\n{rows}")["output"]) == "sql"
    swapped = "".join(",".join(reversed(line.split(","))) + "\n" for line in rows.splitlines())
    assert (guessed_settings(tmp_path, "b.csv", f"sql,question\n{swapped}")["output"]) == "sql"


def test_of_two_texts_in_the_same_words_the_second_is_the_output(tmp_path: Path) -> None:
    """Without known names, a text and what shares its words row by row are an input and its output, beside a label too
    if a rewriting is asked for; two remarks on different things are not."""
    things = (
        "kettle",
        "blanket",
        "bicycle",
        "camera",
        "lamp",
        "tent",
        "backpack",
        "scarf",
        "toaster",
        "jacket",
        "chair",
    )
    rows = [
        (f"{thing}; {n + 3} kg; steel", f"This {thing} made of steel weighs {n + 3} kg.")
        for n, thing in enumerate(things)
    ]
    lines = "".join(f'"{one}","{other}"\n' for one, other in rows)
    settings = guessed_settings(tmp_path, "a.csv", f"specs,copy\n{lines}")
    assert (settings["kind"], settings["input"], settings["output"]) == ("pair", "specs", "copy")
    assert "uses the words of 'specs'; swap the two if it is the input" in settings["why"]
    labelled = "".join(f'"{one}","{other}",{("home", "away")[n % 2]}\n' for n, (one, other) in enumerate(rows))
    settings = guessed_settings(tmp_path, "c.csv", f"specs,copy,category\n{labelled}")  # of which either may be meant
    assert settings["output"] == "category"
    assert (
        "if the text in 'copy' or 'specs' is the output, start a new project of the kind `rewrite`" in settings["why"]
    )
    (tmp_path / "c.csv").write_text(f"specs,copy,category\n{labelled}")
    assert guess(tmp_path / "c.csv", "rewrite").settings["columns"]["output"] == "copy"
    lines = "".join(f'"{one}","{other}"\n' for (one, _), (_, other) in zip(rows, rows[1:] + rows[:1], strict=True))
    assert guessed_settings(tmp_path, "b.csv", f"specs,copy\n{lines}")["kind"] == "input"


def test_numbers_and_empty_columns_beside_two_texts_say_nothing(tmp_path: Path) -> None:
    """Beside a text and its version there may be a number of the row and empty remarks."""
    rows = "".join(f"{n};Zawiadamia się o przerwie w dostawie nr {n};Nie będzie prądu nr {n};\n" for n in range(9))
    settings = guessed_settings(tmp_path, "a.csv", f"Lp.;Tekst urzędowy;Wersja prosta;Uwagi\n{rows}")
    assert (settings["kind"], settings["input"], settings["output"]) == ("pair", "Tekst urzędowy", "Wersja prosta")
    remarks = "".join(
        f"{n};Why was there no power on day {n}?;The caller was rather angry on day {n}\n" for n in range(9)
    )
    for remark in ("Remarks", "Note", "Kommentar"):  # are no outputs
        assert guessed_settings(tmp_path, "b.csv", f"id;question;{remark}\n{remarks}")["kind"] == "input"


def test_a_question_needs_its_schema_and_queries_are_no_replies(tmp_path: Path) -> None:
    """The tables are part of the input, whose words are counted together, and no output of their own; a query in a
    column `answer` answers nobody."""
    asked = [(n, f"How many orders above {n} euros?", f"orders_{n % 3} (id, customer, total)") for n in range(9)]
    rows = [dict(zip(("id", "question", "schema"), row, strict=True)) for row in asked]
    settings = guessed_settings(tmp_path, "a.json", json.dumps(rows))
    assert (settings["kind"], settings["template"]) == ("input", "{{ question }}\n\n{{ c_schema }}")
    answered = [{**row, "answer": f"SELECT count(*) FROM orders WHERE total > {row['id']}"} for row in rows]
    settings = guessed_settings(tmp_path, "b.json", json.dumps(answered))
    assert (settings["task"], settings["output"]) == ("free", "answer")
    assert "the input is 'question' and 'schema' (10 words per row)" in settings["why"]
    advised = [{**row, "answer": f"Select Orders from the menu, then the number {row['id']}."} for row in rows]
    assert guessed_settings(tmp_path, "c.json", json.dumps(advised))["task"] == "reply"


def test_texts_inside_objects_can_be_inputs(tmp_path: Path) -> None:
    """Subject and body inside a ticket object are read by their paths; a row without a subject is read too."""
    tickets = [
        {"ticket": {"subject": f"Printer {n} jams" if n % 2 else None, "body": f"It jams on page {n} again."}}
        for n in range(8)
    ]
    rows = "".join(
        json.dumps(one | {"reply": f"Please open the rear door {n}."}) + "\n" for n, one in enumerate(tickets)
    )
    read = guessed_settings(tmp_path, "a.jsonl", rows)
    assert (read["kind"], read["template"]) == ("pair", "{{ ticket_subject }}\n\n{{ ticket_body }}")
    assert (read["ticket_body"], read["output"]) == ("ticket.body", "reply")
    nested = [
        {
            "ticket": {"body": f"It jams on page {n} again."},
            "reply": {"text": f"Please open the rear door and lift the lid {n}.", "by": {"name": "Lan"}},
        }
        for n in range(8)
    ]
    read = guessed_settings(tmp_path, "b.jsonl", "".join(json.dumps(one) + "\n" for one in nested))
    assert (read["input"], read["output"]) == ("ticket.body", "reply.text")


def test_a_file_in_another_encoding_is_read_with_the_option(tmp_path: Path) -> None:
    """For a file that Excel wrote in Arabic, init shows how each encoding reads it and guesses nothing. With --encoding
    the spec names the file and its encoding; no converted copy is made."""
    rows = "".join(f'{n};"متى يصل طلبي رقم {n}؟";"طلبك رقم {n} في الطريق إليك الآن."\r\n' for n in range(9))
    content = f"تقرير خدمة العملاء;;\r\nالرقم;رسالة العميل;رد الموظف\r\n{rows}".encode("cp1256")  # noqa: RUF001  Arabic
    (tmp_path / "a.csv").write_bytes(content)
    here = Project(tmp_path)
    asked = here.run("init", "mine", "--from", "a.csv")
    assert (asked.returncode, (tmp_path / "mine").exists()) == (4, False)
    assert asked.stderr.index("--encoding cp1256     تقرير خدمة العملاء") < asked.stderr.index("--encoding cp1252")
    for folder in ("mine", "."):
        done = here.run("init", folder, "--from", "a.csv", "--encoding", "windows-1256")
        assert done.returncode == 0, done.stderr
        assert "'رد الموظف' is the output" in done.stdout
        assert [path.name for path in (tmp_path / folder).glob("*.csv")] == ["a.csv"]
        assert (tmp_path / folder / "a.csv").read_bytes() == content
        seeds = load(tmp_path / folder).spec.seeds
        assert seeds[0].encoding == "cp1256"
        assert [seed.body for seed in read_seeds(seeds, tmp_path / folder).seeds[:1]] == ["متى يصل طلبي رقم 0؟"]
    assert here.run("init", "other", "--from", "a.csv", "--encoding", "latin9").returncode == 4
    assert here.run("init", "other", "--encoding", "cp1256").returncode == 2


def test_a_file_with_a_recognizable_encoding_is_read(tmp_path: Path) -> None:
    """Excel's "Unicode text" is UTF-16 with tabs: the user is not asked, and the spec names the encoding."""
    content = "question\tanswer\r\n" + "".join(f"Wo ist der Hörer {n}?\tEr liegt dort.\r\n" for n in range(4))
    (tmp_path / "a.tsv").write_bytes(content.encode("utf-16"))
    done = Project(tmp_path).run("init", "--from", "a.tsv")
    assert done.returncode == 0, done.stderr
    (source,) = load(tmp_path).spec.seeds
    assert (source.encoding, source.columns) == ("utf-16", {"input": "question", "output": "answer"})
    assert len(read_seeds([source], tmp_path).seeds) == 4


def test_chats_are_a_classification_with_the_option(tmp_path: Path) -> None:
    """Recurring answers are labels only with --kind classify; otherwise they are replies."""
    rows = (
        {"messages": [{"role": "user", "content": f"lamp {n} is broken"}, {"role": "assistant", "content": label}]}
        for n, label in enumerate(["repair", "return"] * 4)
    )
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert guess(tmp_path / "a.jsonl", "classify").task == {"kind": "classify", "labels": ["repair", "return"]}
    assert guess(tmp_path / "a.jsonl").task == {"kind": "reply"}


def test_init_copies_and_explains_the_file_and_overwrites_nothing(tmp_path):
    """The example's tickets become pairs with subject and body joined, without a teacher. A second init, or another
    file of that name in the folder, changes nothing."""
    here, tickets = Project(tmp_path), ROOT / "examples" / "ticket-replies" / "tickets.csv"
    done = here.run("init", "mine", "--from", str(tickets))
    assert done.returncode == 0, done.stderr
    assert "'reply' is the output" in done.stdout
    assert "the input is 'subject' and 'body'" in done.stdout
    assert "none needed" in done.stdout
    assert (tmp_path / "mine" / "tickets.csv").read_bytes() == tickets.read_bytes()
    before = (tmp_path / "mine" / SPEC_NAME).read_bytes()
    again = here.run("init", "mine", "--from", str(tickets))
    assert again.returncode == 2
    assert (tmp_path / "mine" / SPEC_NAME).read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tickets.csv").write_text("mine")
    refused = here.run("init", "other", "--from", str(tickets))
    assert "tickets.csv would be overwritten" in refused.stderr
    assert (tmp_path / "other" / "tickets.csv").read_text() == "mine"
    example = here.json("init", "mine3", "--example", "ticket-replies")
    assert "tickets.csv" in example["files"]
    assert example["teacher"] is None
    beside = here.json("init", "mine2", "--from", str(tickets))
    assert beside["guessed"]["kind"] == "pair"
    assert beside["teacher"] is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x7f"])
def test_a_header_cannot_inject_spec_lines(tmp_path: Path, end: str) -> None:
    """Line ends and other control characters in a header, e.g. in a third-party table, set no key of the spec."""
    header = f'answer{end}[evaluate]{end}user = ["os:getcwd"]{end}#'
    rows = "".join(f"where do I find number {n},go along this road for {n} miles\n" for n in range(4))
    (tmp_path / "a.csv").write_text(f'question,"{header.replace(chr(34), chr(34) * 2)}"\n{rows}', newline="")
    guessed = guess(tmp_path / "a.csv")
    (tmp_path / SPEC_NAME).write_text(spec_text(tmp_path / "a.csv", guessed, "mine"), encoding="utf-8")
    assert load(tmp_path).spec.evaluate.user == ()


def test_a_header_with_non_ascii_letters_is_kept(tmp_path: Path) -> None:
    """An informative column is kept under its own name."""
    rows = "".join(f"where do I find it,go along road {n},{'low' if n % 2 else 'high'}\n" for n in range(8))
    assert guessed_settings(tmp_path, "a.csv", f"question,answer,höhe\n{rows}")["höhe"] == "höhe"


def test_json_objects_are_the_output_of_an_extraction(tmp_path: Path) -> None:
    """With --kind extract a column of JSON objects is the output whatever its name; for other kinds it is only named as
    not read."""
    rows = "".join(
        json.dumps({"text": f"my lamp {n} came too late", "fields": {"product": "lamp", "number": n}}) + "\n"
        for n in range(9)
    )
    (tmp_path / "a.jsonl").write_text(rows)
    guessed = guess(tmp_path / "a.jsonl", "extract")
    assert (guessed.kind, guessed.settings["columns"]) == ("pair", {"input": "text", "output": "fields"})
    assert "'fields' is the output: it contains JSON objects" in guessed.why[0]
    other = guess(tmp_path / "a.jsonl", "rewrite")
    assert (other.kind, other.settings["columns"]) == ("input", {"text": "text"})
    assert "not read: fields" in other.why


def test_objects_whose_values_are_in_the_texts_are_their_output(tmp_path: Path) -> None:
    """Texts beside objects of what they say (names, counts, places) were inputs for a teacher, and the records that
    somebody had written were not read. Objects that describe where a text came from, or repeat it, are no outputs; of
    several, those that were extracted are, also if `--kind extract` names the task."""

    def columns(record: Callable[[int, str], dict[str, Any]], kind: KindName | None = None) -> dict[str, str]:
        texts = [f"{who} orders {n + 2} chairs for {place}" for n, (who, place) in enumerate([("Ana", "Oslo")] * 9)]
        rows = [json.dumps({"text": text} | record(n, text)) + "\n" for n, text in enumerate(texts)]
        (tmp_path / "a.jsonl").write_text("".join(rows))
        return dict(guess(tmp_path / "a.jsonl", kind or "").settings["columns"])

    def order(n: int) -> dict[str, Any]:
        return {"customer": "Ana", "items": [{"count": float(n + 2)}], "express": False, "paid_by": None}

    extracted = {"input": "text", "output": "parsed"}
    assert columns(lambda n, text: {"parsed": order(n)}) == extracted
    assert columns(lambda n, text: {"parsed": json.dumps(order(n))}) == extracted
    assert columns(lambda n, text: {"origin": {"by": "mail", "at": n}, "parsed": order(n)}, "extract") == extracted
    for record in ({"by": "mail", "queue": "a1"}, {}):
        assert columns(lambda n, text, record=record: {"origin": record}) == {"text": "text"}  # type: ignore[misc]
    assert columns(lambda n, text: {"raw": {"message": text, "customer": "Ana"}}) == {"text": "text"}
    for name in ("metadata", "template_vars", "choices"):
        assert columns(lambda n, text, name=name: {name: {"customer": "Ana"}}) == {"text": "text"}  # type: ignore[misc]
    before = columns(lambda n, text: {"text": order(n), "description": text})
    assert before == {"text": "description"}


FIELDS = [{"product": "lamp", "price": 2, "parts": [{"n": 1}]}, {"price": 2.5, "product": None, "late": True}]
FIELDS_SCHEMA = {
    "type": "object",
    "properties": {
        "product": {"type": ["string", "null"]},
        "price": {"type": "number"},
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "required": ["n"],
                "additionalProperties": False,
            },
        },
        "late": {"type": "boolean"},
    },
    "required": ["product", "price"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("spelt", [json.dumps, lambda fields: fields], ids=["as text", "as object"])
def test_json_outputs_become_an_extraction_with_a_schema(tmp_path: Path, spelt: Callable[[Any], Any]) -> None:
    """If all outputs are JSON objects, as objects or as text, `init` writes an extraction task and a schema of their
    keys and types that all of them satisfy."""
    rows = [{"text": f"my lamp {n} came too late", "output": spelt(FIELDS[n % 2])} for n in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = Project(tmp_path).run("init", "mine", "--from", "a.jsonl")
    assert done.returncode == 0, done.stderr
    assert "so outputs are records: check their keys and types in schema.json" in done.stdout
    project = load(tmp_path / "mine")
    assert (project.spec.task.kind, project.spec.task.answer_schema) == ("extract", "schema.json")
    assert json.loads((tmp_path / "mine" / "schema.json").read_text()) == FIELDS_SCHEMA
    form = AnswerForm.of(project.spec.task, project.folder)
    assert form.schema is not None
    for seed in read_seeds(project.spec.seeds, project.folder).seeds:
        jsonschema.validate(json.loads(seed.reference or ""), form.schema)


def test_fields_with_few_recurring_values_become_enums(tmp_path: Path) -> None:
    """A field with few recurring values becomes an enum in the schema, and init says that this is a guess. Values
    copied from the text and dates stay free, and so does a field with a value that occurs once, since there may be
    more."""
    rows = [
        {
            "text": f"my {('lamp', 'kettle')[n % 2]} came {n} days too late, said {('Ann', 'Bo')[n % 2]}",
            "output": {
                "topic": ("delivery", "return", "delivery")[n % 3],
                "product": ("lamp", "kettle")[n % 2],
                "tone": None if n % 4 else "angry" if n % 8 else "calm",
                "day": f"2026-05-0{n % 3 + 1}",
                "seen": "once" if n == 7 else ("read", "open")[n % 2],
                "steps": [{"by": ("mail", "phone")[n % 2]}, {"by": "phone"}],
            },
        }
        for n in range(40)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    guessed = guess(tmp_path / "a.jsonl")
    assert guessed.schema is not None
    fields = guessed.schema["properties"]
    assert fields["topic"] == {"type": "string", "enum": ["delivery", "return"]}
    assert fields["steps"]["items"]["properties"]["by"]["enum"] == ["mail", "phone"]
    assert fields["tone"]["enum"] == ["angry", "calm", None]
    assert not any("enum" in fields[name] for name in ("product", "day", "seen"))
    assert "'topic' and 'tone' and 'steps.[].by' must be one of the values" in guessed.why[-1]
    for row in rows:
        jsonschema.validate(row["output"], guessed.schema)


def test_what_only_a_few_records_have_is_pointed_out(tmp_path: Path) -> None:
    """A number as a text, a key that one record adds and one that is missing were allowed by the schema without a word.
    A field that is often left out, `null`, a float among integers and keys that are data are no exceptions."""
    records: list[dict[str, Any]] = [
        {
            "guest": {"name": f"guest {n}", **({"email": f"g{n}@example.org"} if n % 4 == 0 else {})},
            "stay": {"nights": n, "price": n + 0.5 if n == 9 else n, "note": None if n == 3 else "late"},
            "extras": [{"kind": f"dog {n}"}],
        }
        for n in range(40)
    ]
    text = "guest {n}, dog {n}, {n} nights, late"

    def hints() -> str:
        rows = [{"text": text.format(n=n), "output": record} for n, record in enumerate(records)]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return " ".join(guess(tmp_path / "a.jsonl").why)

    assert "a few records differ" not in hints()
    records[5]["stay"]["nights"] = "five"
    records[6]["stay"]["rooms"] = 2
    del records[7]["guest"]["name"]
    records[8]["extras"][0]["kind"] = ["dog 8"]
    expected = (
        "a few records differ, and schema.json allows it: 'guest.name' is missing in 1 of 40; 'stay.nights' is of type"
        " string in 1 of 40; 'extras.[].kind' is of type array in 1 of 40; 'stay.rooms' is in 1 of 40."
    )
    assert expected in hints()


@pytest.mark.parametrize("other", ["a lamp", "[1, 2]", '{"product": NaN}', '{"product": '])
def test_one_output_that_is_no_json_object_rules_out_extraction(tmp_path: Path, other: str) -> None:
    """No schema could describe a column in which one text is not a JSON object."""
    rows = [{"text": f"my lamp {n} came too late", "output": f'{{"product": "lamp {n}"}}'} for n in range(8)]
    rows.append({"text": "my kettle came too late", "output": other})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    guessed = guess(tmp_path / "a.jsonl")
    assert (guessed.schema, guessed.task["kind"]) == (None, "free")


def test_an_object_with_very_many_keys_stays_open_in_the_schema(tmp_path: Path) -> None:
    """Keys that are data (ids, dates) are not listed: the schema only says that there is an object."""
    rows = [
        {"text": f"line {n} of the order", "output": {"lines": {f"id-{n}-{k}": k for k in range(20)}}} for n in range(9)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    guessed = guess(tmp_path / "a.jsonl")
    assert guessed.schema is not None
    assert guessed.schema["properties"] == {"lines": {"type": "object"}}


@pytest.mark.parametrize(("words", "tokens"), [(2, 64), (30, 160), (300, 512)])
def test_max_tokens_fit_the_longest_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: int, tokens: int
) -> None:
    """No token is shorter than a byte, so the bytes of the longest output are enough. An untuned model that does not
    stop is thereby cut off earlier than at the usual limit, which is never exceeded."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "nothing"))
    rows = "".join(f"where do I find it,{'road ' * words}{n}\n" for n in range(4))
    spec = guessed_settings(tmp_path, "a.csv", f"question,answer\n{rows}")["spec"]
    assert spec.evaluate.sampling.max_tokens == tokens
    assert spec.evaluate.sampling.temperature == 0.7


@pytest.mark.parametrize(("words", "tokens"), [(2, 64), (80, 128), (300, 480), (900, 928)])
def test_max_tokens_are_measured_if_the_tokenizer_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: int, tokens: int
) -> None:
    """1.5 times the longest output's tokens, up to the usual limit, but never fewer than that output needs."""
    tokenizers = pytest.importorskip("tokenizers", reason="training needs the train extra")
    read = tokenizers.Tokenizer(tokenizers.models.WordLevel({"road": 0, "?": 1}, unk_token="?"))
    read.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "smollm2-135m-instruct").mkdir(parents=True)
    read.save(str(tmp_path / "cache" / "smollm2-135m-instruct" / "tokenizer.json"))
    rows = "".join(f"where do I find it,{'road ' * words}{n}\n" for n in range(4))
    spec = guessed_settings(tmp_path, "a.csv", f"question,answer\n{rows}")["spec"]
    assert spec.evaluate.sampling.max_tokens == tokens


def test_broken_lines_among_pairs_are_skipped(tmp_path: Path) -> None:
    """A file is recognised although its first line and three of its eleven lines are broken, and `init` counts the
    unused rows. In files without outputs a broken line stops a run, so it stops `init` before anything is written."""
    good = [{"instruction": f"Explain part {n}.", "input": "", "output": f"Part {n} holds a lamp."} for n in range(8)]
    lines = ["{not json", '{"instruction": "Explain.", "outptu": "x"}', *map(json.dumps, good), '{"instruction": "a']
    (tmp_path / "alpaca.jsonl").write_text("\n".join(lines))
    done = Project(tmp_path).run("init", "mine", "--from", "alpaca.jsonl")
    assert done.returncode == 0, done.stderr
    assert "like Alpaca" in done.stdout
    assert "3 of 11 rows are not used: json 2, column 1; the first: alpaca.jsonl:1: json: " in done.stdout
    (tmp_path / "notes.jsonl").write_text('{"text": "My lamp flickers at night"}\n{broken\n')
    refused = Project(tmp_path).run("init", "other", "--from", "notes.jsonl")
    assert refused.returncode == 4
    assert "notes.jsonl:2: is not valid JSON" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_guessing_the_language_releases_its_model(tmp_path: Path) -> None:
    """The language identifier takes 70 MB, which a server that inspects a user's file would otherwise keep for good."""
    (tmp_path / "a.csv").write_text(GERMAN_TICKETS, encoding="utf-8")
    code = (
        "import gc, pathlib, sys\n"
        "from pairsmith.user_file.guess import guess\n"
        "from pairsmith.user_file.guessed_spec import spec_text\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "assert 'language = \"de\"' in spec_text(path, guess(path), 'mine')\n"
        "from py3langid.langid import LanguageIdentifier\n"
        "assert not [one for one in gc.get_objects() if isinstance(one, LanguageIdentifier)]\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")], check=True, cwd=ROOT)


IN_CHINESE = "我的包裹{n}在哪里请告诉我,您好您的包裹{n}今天会送达请耐心等待"
IN_JAPANESE = "番号{n}の荷物はどこですか,お問い合わせありがとうございます番号{n}は本日お届けします"
IN_THAI = "พัสดุหมายเลข{n}ของฉันอยู่ที่ไหน,สวัสดีค่ะพัสดุหมายเลข{n}จะถึงวันนี้"
IN_RUSSIAN = "Где моя посылка номер {n},Здравствуйте ваша посылка номер {n} прибудет сегодня"
IN_ARABIC = "أين الطرد رقم {n} الخاص بي,مرحبا سيصل الطرد رقم {n} اليوم بعد الظهر"


@pytest.mark.parametrize(
    ("headers", "row", "language"),
    [
        ("问题,回答", IN_CHINESE, "zh"),
        ("客户问题,客服回复", IN_CHINESE, "zh"),
        ("質問,返信", IN_JAPANESE, "ja"),
        ("question,answer", IN_THAI, "th"),
        ("Вопрос,Ответ", IN_RUSSIAN, "ru"),
        ("السؤال,الإجابة", IN_ARABIC, "ar"),
    ],
)
def test_pairs_in_any_script_are_recognized(tmp_path: Path, headers: str, row: str, language: str) -> None:
    """A text without spaces is a text, not a word; headers may be in the same language; and the length bounds are
    counted as the gate counts."""
    rows = "".join(row.format(n=1000 + n) + "\n" for n in range(12))
    shown = guessed_settings(tmp_path, "a.csv", f"{headers}\n{rows}")
    question, answer = headers.split(",")
    assert (shown["kind"], shown["task"], shown["input"], shown["output"]) == ("pair", "reply", question, answer)
    assert shown["spec"].task.language == language
    bounds = shown["spec"].curate.gates.length
    for one in read_seeds(shown["spec"].seeds, tmp_path).seeds:
        assert bounds.min_words <= count_words(one.reference) <= bounds.max_words


@pytest.mark.parametrize("header", ["部署", "Отдел", "Übergabe an", "विभाग", "القسم", "Größe (cm)", "① Team", "2x"])
def test_an_extra_column_may_have_any_header(tmp_path: Path, header: str) -> None:
    """A header in any script becomes a name that the spec accepts and a prompt can use."""
    rows = "".join(
        f"Where is my parcel number {n}?,We send parcel {n} today.,{'a' if n % 2 else 'b'}\n" for n in range(9)
    )
    shown = guessed_settings(tmp_path, "a.csv", f"question,answer,{header}\n{rows}")
    (source,) = shown["spec"].seeds
    (name,) = source.extra
    asked = source.model_copy(
        update={"input": f"{{{{ question }}}} {{{{ {name} }}}}", "columns": {name: header, "output": "answer"}}
    )
    seeds = read_seeds((asked,), tmp_path).seeds
    assert {seed.asked[-2:] for seed in seeds} == {" a", " b"}


def test_labels_in_scripts_without_spaces_are_labels(tmp_path: Path) -> None:
    """Recurring values of two to six characters are labels, not texts."""
    rows = "".join(f"我的包裹{n}在哪里请告诉我,{'快递问题' if n % 2 else '退货'}\n" for n in range(12))
    shown = guessed_settings(tmp_path, "a.csv", f"文本,标签\n{rows}")
    assert (shown["task"], shown["input"], shown["output"]) == ("classify", "文本", "标签")


def test_advice_on_a_second_text_column(tmp_path: Path) -> None:
    """Two texts in one language may belong to the input together, and two in different languages may be a translation;
    a column that is named like a worse answer is none of these. For each the message says what to write."""
    rows = "".join(
        f"Stainless steel kettle {n},holds {n} litres and switches off when it boils dry\n" for n in range(9)
    )
    (tmp_path / "shop.csv").write_text("name,features\n" + rows)
    (shop,) = (sentence for sentence in guess(tmp_path / "shop.csv").why if "belongs to the input" in sentence)
    assert shop == "if 'name' belongs to the input, make it an input too (`pairsmith docs seeds`)"
    mails = "".join(
        f"My kettle {n} leaks,We send kettle {n} again today,Kettle {n} is not our fault\n" for n in range(9)
    )
    (tmp_path / "mails.csv").write_text("message,reply,Rejected\n" + mails)
    why = guess(tmp_path / "mails.csv").why
    assert (
        "if 'Rejected' is a worse answer, add rejected = \"Rejected\" to learn from both (`pairsmith docs seeds`)"
        in why
    )
    assert not any("belongs to the input" in sentence for sentence in why)
    german = "".join(f"The museum opens at {n} in the morning,Das Museum öffnet morgens um {n} Uhr\n" for n in range(9))
    (tmp_path / "signs.csv").write_text("Sign (front),Schild (hinten)\n" + german)
    translated = (
        "if one is a translation of the other, start a new project of the kind `translate` (`--kind translate`)"
    )
    assert translated in guess(tmp_path / "signs.csv").why
    assert translated not in guess(tmp_path / "shop.csv").why


def test_a_signature_of_most_outputs_is_pointed_out(tmp_path: Path) -> None:
    """The last line that most outputs share is named, because the style should ask for it; that of a few is not."""

    def sentences(signed: int) -> list[str]:
        signatures = ["Un saludo,\nVivero Alba"] * signed + ["Gracias"] * (12 - signed)
        rows = [{"mensaje": f"¿Hay {n}?", "respuesta": f"Sí, {n}.\n\n{end}"} for n, end in enumerate(signatures)]
        (tmp_path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [why for why in guess(tmp_path / "replies.jsonl").why if "Vivero Alba" in why]

    assert sentences(11) == [
        "11 of 12 outputs end with 'Vivero Alba', so it does not count as invented: ask for it in the style too, which"
        " is all that the untuned model is told"
    ]
    assert not sentences(5)


def test_a_text_file_is_refused_with_advice(tmp_path: Path) -> None:
    """A text file has no columns to inspect, and the message says where to name it instead."""
    (tmp_path / "prompts.txt").write_text("a lighthouse\n")
    with pytest.raises(InputError, match=r"create a project with `pairsmith init` and set this one as the path"):
        guess(tmp_path / "prompts.txt")


def test_dolly_context_is_part_of_the_input(tmp_path: Path) -> None:
    """A question about a text needs the text: Dolly's context comes after the instruction, and its category is named as
    not read."""
    other = {"response": "A king.", "category": "qa"}
    rows = [{"instruction": f"Who is {n}?", "context": f"{n} is king.", **other} for n in "ABCDEF"]
    settings = guessed_settings(tmp_path, "dolly.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (first, *_) = read_seeds(settings["spec"].seeds, tmp_path).seeds
    assert (first.text, first.reference) == ("Who is A?\n\nA is king.", "A king.")
    assert "like Dolly" in settings["why"]
    assert "not read: category" in settings["why"]


def test_class_labels_are_read_by_name(tmp_path: Path) -> None:
    """A number means nothing to a model: a ClassLabel column is read as `label.name`, from Parquet and from a folder,
    and as numbers if an older spec names only the column. A number without a name is not a label."""
    names, numbers = ["lost_card", "top_up"], [0, 1, -1] * 8
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    held = {"text": [f"my card number {n} is not here" for n in range(24)], "label": numbers}
    data = datasets.Dataset.from_dict(held, features=features)
    data.to_parquet(tmp_path / "own.parquet")
    data.save_to_disk(tmp_path / "own")
    guessed = guess(tmp_path / "own.parquet")
    assert guessed.task == {"kind": "classify", "labels": names}
    for path, output, expected in (
        ("own.parquet", "label.name", ["lost_card", "top_up"] * 8),
        ("own", "label.name", ["lost_card", "top_up"] * 8),
        ("own.parquet", "label", ["0", "1", "-1"] * 8),
    ):
        source = SeedSource(path=path, kind="pair", columns={"input": "text", "output": output})
        reading = read_seeds([source], tmp_path)
        assert [seed.reference for seed in reading.seeds] == expected
        assert {problem.code for problem in reading.problems} <= {"blank"}


def test_a_label_beside_a_reply_is_mentioned(tmp_path: Path) -> None:
    """Students' answers with marks are read as replies to learn from; that the mark may be the target is mentioned, as
    docs/seeds.md promises."""
    rows = [f"{'right' if n % 2 else 'wrong'},What is {n} plus {n}?,I think that it is {2 * n}\n" for n in range(8)]
    settings = guessed_settings(tmp_path, "marks.csv", "label,question,student_answer\n" + "".join(rows))
    assert "if the model should predict 'label', the task is to classify" in settings["why"]


def _mails(header: str, values: Callable[[int], object], rows: int = 120) -> str:
    lines = (f"{values(at)},How do I reset lamp number {at}?,Press the button on lamp {at}." for at in range(rows))
    return f"{header},question,answer\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "header", ["customer_id", "conversationId", "Thread", "Document No", "Kundennummer", "客户编号", "user email"]
)
def test_rows_that_belong_together_are_a_group(tmp_path: Path, header: str) -> None:
    """A column with a grouping name and recurring values becomes the source's `group`. It is not part of the prompt,
    and the spec explains it."""
    settings = guessed_settings(tmp_path, "mails.csv", _mails(header, lambda at: f"c-{at // 3}"))
    (source,) = settings["spec"].seeds
    assert source.group == header
    assert header not in source.columns.values()
    assert f"rows with the same '{header}' (40 values in 120 rows) belong together" in settings["why"]
    spec = (tmp_path / SPEC_NAME).read_text(encoding="utf-8")
    assert "If they are independent, leave out this grouping (`group`)" in spec
    assert len({seed.meta["group"] for seed in read_seeds([source], tmp_path).seeds}) == 40


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("customer_id", lambda at: f"c-{at}"),
        ("customer_type", lambda at: f"t-{at % 40}"),
        ("document", lambda at: f"d-{at % 4}"),
        ("customer_age", lambda at: 18 + at % 60),
        ("user_count", lambda at: at % 20),
        ("id", lambda at: at % 40),
        ("shop_city", lambda at: f"town {at % 40}"),
        ("customer_id", lambda at: f"c-{at}" if at < 40 else "guest"),
    ],
)
def test_other_columns_are_not_taken_for_groups(tmp_path: Path, header: str, values: Callable[[int], object]) -> None:
    """All values are distinct, there are only a few, the name is another one, it is an attribute of the customer, or
    most rows have the same value: as a group they would be nearly all of the test part or of the training."""
    settings = guessed_settings(tmp_path, "mails.csv", _mails(header, values))
    assert settings["spec"].seeds[0].group is None
    assert "belong together" not in settings["why"]


def test_setup_page_shows_the_group_in_a_role_of_its_own(tmp_path: Path) -> None:
    """Otherwise, saving the roles shown on the setup page would keep every customer number with the rows."""
    guessed_settings(tmp_path, "mails.csv", _mails("customer_id", lambda at: f"c-{at // 3}"))
    (shown,) = sources(load(tmp_path))
    roles = [role for _, _, role in shown.columns]
    assert roles == ["group", "input", "output"]
    keys = keys_for_roles(load(tmp_path), 0, [name for name, _, _ in shown.columns], roles, "")
    assert keys["seeds.0.columns"] == {"input": "question", "output": "answer"}
    assert keys["seeds.0.group"] == "customer_id"


def test_of_two_group_columns_the_coarser_is_used(tmp_path: Path) -> None:
    """A customer has several conversations, and those of one customer are not independent either."""
    mails = _mails("customer_id,thread_id", lambda at: f"c{at // 6},t{at // 2}")
    assert guessed_settings(tmp_path, "mails.csv", mails)["spec"].seeds[0].group == "customer_id"


def test_an_annotated_copy_of_a_text_is_not_what_the_model_reads(tmp_path: Path) -> None:
    """MASSIVE's `annot_utt` is `utt` with its slots marked, and was taken as the longer of the two texts; a longer text
    that is no such copy still is."""

    def rows(longer: Callable[[int], str]) -> str:
        asked = ({"utt": f"wake me up at nine on day {i}", "long": longer(i), "intent": "ab"[i % 2]} for i in range(60))
        return "\n".join(map(json.dumps, asked))

    read = guessed_settings(
        tmp_path, "massive.jsonl", rows(lambda i: f"wake me up at [time : nine] on [date : day {i}]")
    )
    assert (read["input"], read["output"]) == ("utt", "intent")
    assert "not read: long" in read["why"]
    assert "make it an input" not in read["why"]
    read = guessed_settings(
        tmp_path, "full.jsonl", rows(lambda i: f"wake me up at nine on day {i} because of trip {i} [to town]")
    )
    assert read["input"] == "long"


def test_outputs_that_are_lists_are_pointed_out(tmp_path: Path) -> None:
    """A cell that contains a list as text is learned as it is, which the message says. A JSON list is not a text and is
    not read."""
    cells = "".join(f"\"What is the capital of land {i}?\",\"['City {i}', 'Town {i}']\"\n" for i in range(20))
    read = guessed_settings(tmp_path, "lists.csv", f"question,answers\n{cells}")
    assert "every value of 'answers' is a list, which the model will write as it is" in read["why"]
    labels = "".join(f"What is the capital of land {i}?,[CITY_{i % 3}]\n" for i in range(20))
    placeholders = guessed_settings(tmp_path, "labels.csv", f"question,label\n{labels}")
    assert "is a list" not in placeholders["why"]
    nested = (json.dumps({"question": f"What is the capital of land {i}?", "answers": ["A", "B"]}) for i in range(20))
    assert "not read: answers (lists, or empty)" in guessed_settings(tmp_path, "nested.jsonl", "\n".join(nested))["why"]


def test_a_glossary_is_no_translation(tmp_path):
    """Its terms are in the target language, so a file of texts to translate was read as finished translations."""
    texts = "".join(
        f"Please close the valve in room {n}.,Bitte schließen Sie den Hahn in Raum {n}.\n" for n in range(20)
    )
    (tmp_path / "a.csv").write_text(f"text,glossary\n{texts}", encoding="utf-8")
    assert "to" not in guess(tmp_path / "a.csv", "translate").task
    (tmp_path / "b.csv").write_text(f"text,version\n{texts}", encoding="utf-8")
    assert guess(tmp_path / "b.csv", "translate").task == {"kind": "translate", "language": "en", "to": "de"}


@pytest.mark.parametrize("header", ["category", "Kategorie", "customer label", "فئة العميل", "고객 유형", "类别"])
def test_a_label_is_no_reply(tmp_path: Path, header: str) -> None:
    """Whoever wants replies gets them generated, and keeps a column of labels for prompts; it had become the reply
    (`gold`), without a teacher. A column named after replies stays one."""
    rows = [f"My kettle number {n} leaks at the lid.,{('gold', 'silver', 'plain')[n % 3]}" for n in range(12)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([f"text,{header}", *rows]), encoding="utf-8")
    assert guess(path, "reply").kind == "input"
    path.write_text("\n".join(["text,reply", *rows]), encoding="utf-8")
    assert guess(path, "reply").kind == "pair"


@pytest.mark.parametrize(
    ("headers", "kind", "expected"),
    [
        ("message,answer,reply", "reply", ("message", "reply")),
        ("message,answer,reply", "", ("message", "reply")),
        ("answer,agent text,message", "reply", ("message", "agent text")),
        ("Frage,Antwort,Bemerkung", "reply", ("Frage", "Bemerkung")),
        ("message,answer,agent text", "", ("message", "answer")),
        ("question,context,answer", "reply", ("question and context", "answer")),
        ("message,answer", "reply", ("message", "answer")),
    ],
)
def test_yes_or_no_is_no_reply_beside_a_written_one(
    tmp_path: Path, headers: str, kind: str, expected: tuple[str, str]
) -> None:
    """A column of yes and no named `answer` had become the reply, and the written reply its input. If nothing else can
    be the reply, it is, with a word about labels."""
    texts = [f"The {{}} of order {n} is in room {n + 3} since Monday." for n in range(40)]
    choice = headers.split(",")[[name in ("answer", "Antwort") for name in headers.split(",")].index(True)]
    rows = [
        ",".join(
            "yes" if name == choice and n % 3 else "no" if name == choice else text.format(name)
            for name in headers.split(",")
        )
        for n, text in enumerate(texts)
    ]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([headers, *rows]))
    asked, answer = expected
    why = guess(path, kind).why
    assert why[0].startswith(f"'{answer}' is the output")
    assert all(f"'{name}'" in why[1] for name in asked.split(" and "))
    about_labels = any("every output is one of 'no', 'yes'" in line for line in why)
    assert about_labels == (kind == "reply" and answer == choice)


@pytest.mark.parametrize(
    ("headers", "output"),
    [("note,letter", "letter"), ("letter,decision", ""), ("input,profile", "profile"), ("message,profile", "")],
)
def test_a_letter_may_be_what_was_answered(tmp_path: Path, headers: str, output: str) -> None:
    """A letter first is no output of the text after it, which would reverse the pair; what a model was asked for is."""
    rows = "".join(f"{ENGLISH.format(n)},the crew of ferry {n} rests in the harbour until noon\n" for n in range(12))
    (tmp_path / "a.csv").write_text(f"{headers}\n{rows}", encoding="utf-8")
    assert guess(tmp_path / "a.csv").settings["columns"].get("output", "") == output
