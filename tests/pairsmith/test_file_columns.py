"""Which of a file's columns is the output where several are called so, and which shapes of a file are no rows."""

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
        ("text,label", "lamp {n} is broken,{m}", "label"),  # numbers, where there is nothing else
        ("category,response", "{word},lamp {n} is broken", "category"),  # the one text is what has the label
        ("question,answer,answer_explanation", "is lamp {n} broken now,{word},it is lamp {n} after all", "answer"),
        ("编号,类别,回答,问题", "{n},类{m},第{n}号灯今天已经修好了,第{n}号灯坏了", "回答"),
    ],
)
def test_of_columns_called_as_outputs_the_one_that_says_something(
    tmp_path: Path, header: str, row: str, expected: str
) -> None:
    """The first in the file was taken: an id or a time for the answer, and a reply beside its category left unread."""
    rows = [row.format(n=n, m=n % 2, word=("power", "noise")[n % 2]) for n in range(30)]
    assert output(table(tmp_path, header, rows)) == expected


def test_times_of_replies_are_no_labels(tmp_path: Path) -> None:
    """Times come back, and their column is called as the replies are: they were the labels."""
    rows = [f"lamp {n} is broken,{REPLY},{n % 3}:30,{('sad', 'glad')[n % 2]}" for n in range(40)]
    assert output(table(tmp_path, "message,reply,reply_time,sentiment", rows, "classify")) == "sentiment"
    rows = [f"what is lamp {n} like,{n % 3},{('easy', 'hard')[n % 2]}" for n in range(40)]
    assert output(table(tmp_path, "question,answer,level", rows, "classify")) == "answer"


def test_a_reply_that_few_rows_have_leaves_the_label_to_the_others(tmp_path: Path) -> None:
    """Of forty messages four were answered, and all had a label: the other 36 were left out."""
    rows = [f"lamp {n} is broken,{('power', 'noise')[n % 2]},{REPLY if n < 4 else ''}" for n in range(40)]
    assert output(table(tmp_path, "message,label,reply", rows)) == "label"


@pytest.mark.parametrize(
    ("kind", "expected"), [("", "reply"), ("classify", "priority"), ("extract", "fields"), ("reply", "reply")]
)
def test_a_named_kind_takes_the_column_that_it_needs(tmp_path: Path, kind: KindName, expected: str) -> None:
    """A column that is called as an output hid the labels or the records of who had named that kind."""
    rows = [f'lamp {n} is broken,{REPLY},{("high", "low")[n % 2]},"{{""lamp"": {n}}}"' for n in range(20)]
    guessed = table(tmp_path, "message,reply,priority,fields", rows, kind)
    assert output(guessed) == expected
    assert guessed.task.get("labels") == (["high", "low"] if kind == "classify" else None)


@pytest.mark.parametrize(
    ("values", "are_labels"),
    [
        (["none"] * 40 + [f"Person{n}" for n in range(20)], False),
        (["none"] * 58 + ["lost", "other"], True),  # rare ones of a list
        (["lamp", "clock"] * 20 + ["radio"], True),
        (["Lamp", "lamp", "LAMP", "clock"] * 10 + ["Clock"], True),
    ],
)
def test_values_that_nearly_all_come_once_are_no_labels(tmp_path: Path, values: list[str], are_labels: bool) -> None:
    """Names beside many rows that have none were a list of labels, and every new name was rejected as none of them."""
    guessed = table(tmp_path, "text,output", [f"report {n} names somebody,{value}" for n, value in enumerate(values)])
    assert (guessed.task["kind"] == "classify") == are_labels


def test_texts_that_are_left_out_of_the_input_are_named_with_the_way_in(tmp_path: Path) -> None:
    """Of two texts with a label, or a question with its passage, one was asked about without the other."""
    rows = [f"a man plays tune {n},somebody makes music {n},{('yes', 'no')[n % 2]}" for n in range(20)]
    guessed = table(tmp_path, "premise,hypothesis,label", rows)
    assert "if 'hypothesis' belongs to the input, join them: see Other columns in `pairsmith docs seeds`" in guessed.why


@pytest.mark.parametrize(("copied", "of", "off"), [(6, 12, True), (2, 100, True), (1, 12, False), (2, 200, False)])
def test_outputs_that_are_their_inputs_stay(tmp_path: Path, copied: int, of: int, off: bool) -> None:
    """Of sentences to mend some are right as they are: each of them was rejected as an echo, half of the file. One in
    very many is a mistake as before."""
    rows = [f"he go home at {n},he {'go' if n < copied else 'goes'} home at {n}" for n in range(of)]
    guessed = table(tmp_path, "original,corrected", rows)
    spec = parse(spec_text(tmp_path / "a.csv", guessed, "mine"), tmp_path).spec
    assert spec.curate.gates.echo is not off
    assert any("the gate 'echo' is off" in sentence for sentence in guessed.why) is off


def test_a_rows_own_system_prompt_is_not_said_to_be_unread(tmp_path: Path) -> None:
    """It is read, and was told as a column that is not."""
    guessed = lines(tmp_path, *({"input": f"is {n} open", "output": "yes it is", "System": "Be kind."} for n in (1, 2)))
    assert not any("ystem" in sentence for sentence in guessed.why)


def test_a_header_that_begins_as_another_is_told(tmp_path: Path) -> None:
    """A table with dots in its headers has no objects: a column called as the beginning of one that is read was not
    named as one that is not."""
    rows = [f"U{n},is lamp {n} broken,it is lamp {n} after all" for n in range(9)]
    assert "not read: user" in table(tmp_path, "user,user.question,answer", rows).why


def test_columns_called_as_who_speaks_are_the_two_sides(tmp_path: Path) -> None:
    """The system prompt, the longest text of all, was taken for the inputs."""
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
def test_columns_called_as_who_speaks_beside_another_text_are_no_sides(
    tmp_path: Path, header: str, row: str, text: str
) -> None:
    """Names of customers were inputs, and of agents their outputs; of two answers to a prompt one was asked with the
    other."""
    guessed = table(tmp_path, header, [row.format(n=n, m=n % 3) for n in range(30)])
    assert guessed.settings["columns"]["text"] == text


def test_a_column_called_as_labels_may_have_rare_ones(tmp_path: Path) -> None:
    """Of a few rows many labels come once, and the column says what it is."""
    rows = [f"report {n} is about it,{label}" for n, label in enumerate("aaaaaaaabbbbcccdefgh")]
    assert table(tmp_path, "text,label", rows).task["kind"] == "classify"
    assert table(tmp_path, "text,output", rows).task["kind"] == "free"


def test_a_long_cell_of_figures_is_looked_at_once(tmp_path: Path) -> None:
    """Each figure was tried as the one that makes a cell a number: a table of measurements took hours."""
    cell = "12 5 " * 19_000
    assert output(table(tmp_path, "question,answer", [f"what was measured on day {n},{cell}mm" for n in range(20)]))


def test_languages_within_a_question_and_its_answer_are_no_translation(tmp_path: Path) -> None:
    """The answers, or the names of shops, were translated and the questions left unread."""
    shop = {"en": "at the bridge", "de": "an der Brücke"}
    row: dict[str, object] = {"question": "is it open now", "answer": "yes it is open", "shop": shop}
    assert lines(tmp_path, row, row).task == {"kind": "reply"}
    row |= {"question": {"en": "is it open now", "de": "ist es offen jetzt"}, "answer": shop}
    with pytest.raises(InputError, match=r"question\.en"):
        lines(tmp_path, row, row)


def test_sides_in_an_object_called_as_languages_are_a_translation(tmp_path: Path) -> None:
    """As the hub has translations; the file was refused as one without texts."""
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
def test_a_table_written_as_one_object_is_told_as_one(tmp_path: Path, content: object) -> None:
    """What pandas writes by default held "no text", and the way out that was named would have read one cell of it."""
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"a single object whose values are the columns or the rows of a table.*records"
    ):
        guess(tmp_path / "a.json")


def test_one_row_in_a_file_is_a_row(tmp_path: Path) -> None:
    """An object of texts, and one of turns, is no table."""
    assert lines(tmp_path, {"input": "is it open now", "output": "yes it is"}, name="a.json").kind == "pair"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert lines(tmp_path, {"messages": chat, "chosen": chat}, name="a.json").settings == {}


@pytest.mark.parametrize(
    ("file", "named"), [("state.json", "folder"), ("b.csv", r"folder/\*\.csv"), ("c", r"/\*\.txt")]
)
def test_a_folder_is_named_as_what_is_in_it(tmp_path: Path, file: str, named: str) -> None:
    """What `datasets` saved is a source as it is, and was to be named as text files that it does not hold."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / file).write_text("{}")
    with pytest.raises(InputError, match=rf"is a folder\..*set \S+{named} as the path of its \[\[seeds\]\]"):
        guess(tmp_path / "folder")
