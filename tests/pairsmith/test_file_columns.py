"""Tests of which column of a file is the output if several have such a name, and of files that do not contain rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from pairsmith.file_guess import Guess, guess
from pairsmith.guessed_spec import spec_text
from schemas.errors import InputError
from schemas.kinds import KindName
from schemas.spec_file import parse

REPLY = "Sorry for that and we send you a new lamp today"


def table(folder: Path, header: str, rows: Iterable[str], kind: str = "") -> Guess:
    (folder / "a.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return guess(folder / "a.csv", kind)


def lines(folder: Path, *rows: object, name: str = "a.jsonl") -> Guess:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return guess(folder / name)


def output(guessed: Guess) -> str:
    assert guessed.kind == "pair"
    return str(guessed.settings["columns"]["output"])


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("answer_id,question,answer", "{n}7,is lamp {n} broken now,it is lamp {n} after all", "answer"),
        ("request,response_time,response", "is lamp {n} broken now,{n} min,it is lamp {n} after all", "response"),
        ("category_id,message,category", "c{m},lamp {n} is broken,{word}", "category"),
        ("text,label,label_name", "lamp {n} is broken,{m},{word}", "label_name"),
        ("message,category,reply", f"lamp {{n}} is broken,{{word}},{REPLY}", "reply"),
        ("category,message,resolution_id", "{word},lamp {n} is broken,{n}", "category"),
        ("text,label", "lamp {n} is broken,{m}", "label"),  # numbers, if there is nothing else
        ("category,response", "{word},lamp {n} is broken", "category"),  # the only text is the input
        ("question,answer,answer_explanation", "is lamp {n} broken now,{word},it is lamp {n} after all", "answer"),
        ("编号,类别,回答,问题", "{n},类{m},第{n}号灯今天已经修好了,第{n}号灯坏了", "回答"),
    ],
)
def test_the_output_is_the_most_informative_of_several_candidate_columns(
    tmp_path: Path, header: str, row: str, expected: str
) -> None:
    """The first such column used to be chosen: an id or a time as the answer, and a reply beside its category was not
    read."""
    rows = [row.format(n=n, m=n % 2, word=("power", "noise")[n % 2]) for n in range(30)]
    assert output(table(tmp_path, header, rows)) == expected


def test_times_are_not_labels(tmp_path: Path) -> None:
    """Times recur, and their column is named like the replies' column, so they used to be taken for labels."""
    rows = [f"lamp {n} is broken,{REPLY},{n % 3}:30,{('sad', 'glad')[n % 2]}" for n in range(40)]
    assert output(table(tmp_path, "message,reply,reply_time,sentiment", rows, "classify")) == "sentiment"
    rows = [f"what is lamp {n} like,{n % 3},{('easy', 'hard')[n % 2]}" for n in range(40)]
    assert output(table(tmp_path, "question,answer,level", rows, "classify")) == "answer"


def test_a_label_in_all_rows_is_preferred_to_a_reply_in_few(tmp_path: Path) -> None:
    """Of forty messages all had a label and four had a reply, and the other 36 were left out."""
    rows = [f"lamp {n} is broken,{('power', 'noise')[n % 2]},{REPLY if n < 4 else ''}" for n in range(40)]
    assert output(table(tmp_path, "message,label,reply", rows)) == "label"


@pytest.mark.parametrize(
    ("kind", "expected"), [("", "reply"), ("classify", "priority"), ("extract", "fields"), ("reply", "reply")]
)
def test_a_given_kind_uses_the_column_that_it_needs(tmp_path: Path, kind: KindName, expected: str) -> None:
    """A column with an output's name used to hide the labels or records that the given kind needs."""
    rows = [f'lamp {n} is broken,{REPLY},{("high", "low")[n % 2]},"{{""lamp"": {n}}}"' for n in range(20)]
    guessed = table(tmp_path, "message,reply,priority,fields", rows, kind)
    assert output(guessed) == expected
    assert guessed.task.get("labels") == (["high", "low"] if kind == "classify" else None)


@pytest.mark.parametrize(
    ("values", "are_labels"),
    [
        (["none"] * 40 + [f"Person{n}" for n in range(20)], False),
        (["none"] * 58 + ["lost", "other"], True),  # rare labels
        (["lamp", "clock"] * 20 + ["radio"], True),
        (["Lamp", "lamp", "LAMP", "clock"] * 10 + ["Clock"], True),
    ],
)
def test_values_that_mostly_occur_once_are_not_labels(tmp_path: Path, values: list[str], are_labels: bool) -> None:
    """Names in some rows and "none" in many were taken for a list of labels, so every new name was rejected."""
    guessed = table(tmp_path, "text,output", [f"report {n} names somebody,{value}" for n, value in enumerate(values)])
    assert (guessed.task["kind"] == "classify") == are_labels


def test_texts_left_out_of_the_input_are_named_with_advice(tmp_path: Path) -> None:
    """Of two texts with a label, or a question with its passage, only one was used as input, without a hint."""
    rows = [f"a man plays tune {n},somebody makes music {n},{('yes', 'no')[n % 2]}" for n in range(20)]
    guessed = table(tmp_path, "premise,hypothesis,label", rows)
    assert "if 'hypothesis' belongs to the input, join them: see Other columns in `pairsmith docs seeds`" in guessed.why


@pytest.mark.parametrize(("copied", "of", "off"), [(6, 12, True), (2, 100, True), (1, 12, False), (2, 200, False)])
def test_outputs_equal_to_their_inputs_switch_the_echo_gate_off(
    tmp_path: Path, copied: int, of: int, off: bool
) -> None:
    """In a file of corrections some sentences need none, and each of those was rejected as an echo, half of the file.
    One in very many still counts as a mistake."""
    rows = [f"he go home at {n},he {'go' if n < copied else 'goes'} home at {n}" for n in range(of)]
    guessed = table(tmp_path, "original,corrected", rows)
    spec = parse(spec_text(tmp_path / "a.csv", guessed, "mine"), tmp_path).spec
    assert spec.curate.gates.echo is not off
    assert any("the gate 'echo' is off" in sentence for sentence in guessed.why) is off


def test_a_system_column_is_not_reported_as_unread(tmp_path: Path) -> None:
    """It is read, but used to be listed among the columns that are not."""
    guessed = lines(tmp_path, *({"input": f"is {n} open", "output": "yes it is", "System": "Be kind."} for n in (1, 2)))
    assert not any("ystem" in sentence for sentence in guessed.why)


def test_an_unread_column_named_like_a_prefix_is_reported(tmp_path: Path) -> None:
    """In a table headers with dots are not paths into objects: a column whose name is the first part of another's used
    to be missing from the list of unread columns."""
    rows = [f"U{n},is lamp {n} broken,it is lamp {n} after all" for n in range(9)]
    assert "not read: user" in table(tmp_path, "user,user.question,answer", rows).why


def test_columns_named_after_speakers_are_input_and_output(tmp_path: Path) -> None:
    """The system prompt, the longest text of all, used to be taken for the input."""
    rows = ({"system": "You are a shop of lamps.", "user": f"is {n} there", "bot": f"yes {n} is"} for n in range(9))
    guessed = lines(tmp_path, *rows)
    assert guessed.settings["columns"] == {"input": "user", "output": "bot"}
    assert guessed.task == {"kind": "reply"}


@pytest.mark.parametrize(
    ("header", "row", "text"),
    [
        (
            "customer,agent,issue",
            "Ann of Green Lane {n},Bo von Berg {m},the printer of room {n} is out of paper",
            "issue",
        ),
        ("prompt,gpt,human", "tell me of town {n} please,town {n} lies on a big river,town {n} is old and dear", "gpt"),
    ],
)
def test_columns_named_after_speakers_beside_another_text(tmp_path: Path, header: str, row: str, text: str) -> None:
    """Customers' names were taken for inputs and agents' names for outputs; of two answers to a prompt one became the
    other's input."""
    guessed = table(tmp_path, header, [row.format(n=n, m=n % 3) for n in range(30)])
    assert guessed.settings["columns"]["text"] == text


def test_a_column_named_label_may_have_rare_labels(tmp_path: Path) -> None:
    """In a small file many labels occur once, but the column's name says what it contains."""
    rows = [f"report {n} is about it,{label}" for n, label in enumerate("aaaaaaaabbbbcccdefgh")]
    assert table(tmp_path, "text,label", rows).task["kind"] == "classify"
    assert table(tmp_path, "text,output", rows).task["kind"] == "free"


def test_a_long_cell_of_numbers_is_scanned_once(tmp_path: Path) -> None:
    """Each number was tried as the one that makes the cell numeric: a table of measurements took hours."""
    cell = "12 5 " * 19_000
    assert output(table(tmp_path, "question,answer", [f"what was measured on day {n},{cell}mm" for n in range(20)]))


def test_language_keys_inside_other_columns_are_not_a_translation(tmp_path: Path) -> None:
    """Answers or shop names in two languages were taken for a translation task, and the questions were not read."""
    shop = {"en": "at the bridge", "de": "an der Brücke"}
    row: dict[str, object] = {"question": "is it open now", "answer": "yes it is open", "shop": shop}
    assert lines(tmp_path, row, row).task == {"kind": "reply"}
    row |= {"question": {"en": "is it open now", "de": "ist es offen jetzt"}, "answer": shop}
    with pytest.raises(InputError, match=r"question\.en"):
        lines(tmp_path, row, row)


def test_an_object_with_language_keys_is_a_translation(tmp_path: Path) -> None:
    """Translation datasets on the hub have this shape; the file was refused as one without texts."""
    rows = ({"translation": {"en": f"the ferry leaves at {n}", "de": f"die Fähre fährt um {n}"}} for n in range(9))
    guessed = lines(tmp_path, *rows)
    assert guessed.task == {"kind": "translate", "language": "en", "to": "de"}
    assert guessed.settings["columns"] == {"input": "translation.en", "output": "translation.de"}
    assert not any(sentence.startswith("not read") for sentence in guessed.why)
    with_region = table(tmp_path, "en-US,pt_BR", [f"the ferry leaves at {n},a balsa sai às {n}" for n in range(9)])
    assert with_region.task == {"kind": "translate", "language": "en", "to": "pt"}


@pytest.mark.parametrize(
    "content",
    [
        {"text": {"0": "it drips", "1": "it burns"}, "label": {"0": 1, "1": 0}},
        {"text": ["it drips", "it burns"], "label": [1, 0]},
        {"q1": {"question": "is it open", "answer": "yes"}, "q2": {"question": "is it far", "answer": "no"}},
    ],
)
def test_a_table_written_as_one_object_is_refused_with_advice(tmp_path: Path, content: object) -> None:
    """What pandas writes by default was refused with "no text", and the advice would have read a single cell."""
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"a single object whose values are the columns or the rows of a table.*records"
    ):
        guess(tmp_path / "a.json")


def test_a_file_with_a_single_row_is_read(tmp_path: Path) -> None:
    """A single object of texts or of turns is not taken for a table."""
    assert lines(tmp_path, {"input": "is it open now", "output": "yes it is"}, name="a.json").kind == "pair"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert lines(tmp_path, {"messages": chat, "chosen": chat}, name="a.json").settings == {}


@pytest.mark.parametrize(
    ("file", "named"), [("state.json", "folder"), ("b.csv", r"folder/\*\.csv"), ("c", r"/\*\.txt")]
)
def test_the_advice_for_a_folder_fits_its_contents(tmp_path: Path, file: str, named: str) -> None:
    """A folder saved by `datasets` can be a source as it is; the advice was to name its text files, of which there are
    none."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / file).write_text("{}")
    with pytest.raises(InputError, match=rf"is a folder\..*set \S+{named} as the path of its \[\[seeds\]\]"):
        guess(tmp_path / "folder")
