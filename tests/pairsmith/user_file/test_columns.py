"""Tests of which column of a file is the output if several have such a name, and of files that do not contain rows."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pairsmith.user_file.columns import Column, inner_columns, without_annotated
from pairsmith.user_file.guess import guess
from pairsmith.user_file.guess_table import Guess
from pairsmith.user_file.guessed_spec import spec_text
from schemas.errors import InputError
from schemas.kinds import KindName
from schemas.spec_file import parse
from synth.sources.seeds import read_seeds

REPLY = "Sorry for that and we send you a new lamp today"


def table(folder: Path, header: str, rows: Iterable[str], kind: str = "") -> Guess:
    (folder / "a.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return guess(folder / "a.csv", kind)


def lines(folder: Path, *rows: object, name: str = "a.jsonl", kind: str = "") -> Guess:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return guess(folder / name, kind)


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
    """Of two texts with a label only one was used as input, without a hint, if their names do not say that they belong
    together."""
    rows = [f"a man plays tune {n},somebody makes music {n},{('yes', 'no')[n % 2]}" for n in range(20)]
    guessed = table(tmp_path, "caption,sound,label", rows)
    assert "if 'sound' belongs to the input, make it an input too (`pairsmith docs seeds`)" in guessed.why


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
    assert any("so 'echo', which would reject them, is off" in sentence for sentence in guessed.why) is off


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
        (
            "prompt,gpt,human",
            "tell me of town {n} please,town {n} lies on a big river,town {n} is old and dear",
            "prompt",
        ),
        (
            "prompt,gpt,human",
            f"tell me of town {{n}} please,{'town {n} lies on a big river ' * 8},{'town {n} is old and dear ' * 9}",
            "prompt",
        ),
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


def test_an_object_of_texts_by_texts_is_refused_with_advice(tmp_path: Path) -> None:
    """A file {question: answer, ...} was read as one row with a column for each question."""
    (tmp_path / "a.json").write_text(json.dumps({f"where is my lamp {n}": f"it is in room {n}" for n in range(9)}))
    with pytest.raises(InputError, match=r"maps texts to texts.*to_entries"):
        guess(tmp_path / "a.json")


def test_a_file_with_a_single_row_is_read(tmp_path: Path) -> None:
    """A single object of texts or of turns is not taken for a table."""
    assert lines(tmp_path, {"input": "is it open now", "output": "yes it is"}, name="a.json").kind == "pair"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert lines(tmp_path, {"messages": chat, "chosen": chat}, name="a.json").settings == {}


@pytest.mark.parametrize(("file", "named"), [("state.json", "folder"), ("c", r"/\*\.txt")])
def test_the_advice_for_a_folder_fits_its_contents(tmp_path: Path, file: str, named: str) -> None:
    """A folder saved by `datasets` can be a source as it is; the advice was to name its text files, of which there are
    none."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / file).write_text("{}")
    with pytest.raises(InputError, match=rf"is a folder\..*set \S+{named} as the path of its \[\[seeds\]\]"):
        guess(tmp_path / "folder")


def test_one_file_of_a_folder_is_inspected(tmp_path: Path) -> None:
    """Datasets come as shards, in folders inside folders: the advice was to name text files, one seed per line."""
    for path in ("shards/data/train-1.parquet", "shards/data/train-0.parquet", "rows/b.csv.gz", "shards/README.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    shards = r"--from \S+shards/data/train-0\.parquet`, and set \S+/shards/data/\*\.parquet as path"
    advice = {
        "shards": shards,
        "shards/data/*.parquet": shards,
        "rows": r"--from \S+rows/b\.csv\.gz`, and set \S+/rows/\*\.csv\.gz as path",
    }
    for named, message in advice.items():
        with pytest.raises(InputError, match=message):
            guess(tmp_path / named)


ASKED = "where is my lamp number {n} now"


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        ("question,answer", f"{ASKED},{{null}}", "10 of 30 outputs are 'NULL': remove these rows if that is no answer"),
        ("question,answer", "where is my lamp {m} now,it is lamp {n}", "3 inputs have several different outputs"),
        ("text,label", "where is my lamp {m} now,{word}", "3 inputs have several different labels"),
        ("text,label", f"{ASKED},{{total}}", "labels that occur only once: '29'. Remove what is no label"),
        ("question,answer", f"{ASKED},<p>it is lamp {{n}}</p>", "outputs contain HTML tags"),
        ("prompt,response_a,response_b,winner", f"{ASKED},it is {{n}} or so,no lamp {{n}},b", "'response_b' is named"),
        ("sorry for that,late", f"{ASKED},{{word}}", "but its 'late' is a value of that column too"),
        ("note,question,answer,note", f"x,{ASKED},it is lamp {{n}},y", "none of them is read: 'note' (2 columns)"),
        (
            "id,chat",
            '{n},"Customer: where is {n}?\nAgent (Bo): it is here now"',
            "contains whole conversations as text",
        ),
        ("text,label", f"{ASKED},{{word}}", "so they are labels: 'broken', 'late'"),
        ("thread_id,sender,text", f"{{m}},Ann,{ASKED}", "half of these inputs may be answers: group them"),
    ],
)
def test_what_is_doubtful_about_a_file_is_said(tmp_path: Path, header: str, row: str, sentence: str) -> None:
    """Each of these files was read without a word: NULL as an answer, worse answers, the loser of two, a label that is
    the number of a line of totals, a first row as headers, answers of a conversation as inputs. Names that occur twice,
    which Jira writes for every second comment, made the file unreadable."""
    rows = [
        row.format(
            n=n,
            m=n % 3,
            word=("late", "broken")[n % 2],
            null=f"it is lamp {n}" if n % 3 else "NULL",
            total="29" if n == 29 else ("late", "broken")[n % 2],
        )
        for n in range(30)
    ]
    assert sentence in "\n".join(table(tmp_path, header, rows).why)


def test_a_label_by_a_person_is_preferred_to_a_prediction(tmp_path: Path) -> None:
    """The first of the two columns was learned, with the errors of the model that had filled it, or as a draft."""
    words = ("late", "broken", "other")
    rows = [f"where is my lamp {n} now,{words[n % 3]},{words[n * n % 3]}" for n in range(30)]
    guessed = table(tmp_path, "text,predicted_label,true_label", rows)
    assert output(guessed) == "true_label"
    assert "'predicted_label' is named like an output too: check that 'true_label'" in "\n".join(guessed.why)
    rows = [f"where is my lamp {n} now,it is in hall {n} or so,it is in hall {n}" for n in range(30)]
    assert output(table(tmp_path, "text,draft_reply,final_reply", rows)) == "final_reply"
    assert output(table(tmp_path, "text,model_answer,corrected_answer", rows)) == "corrected_answer"


def test_input_and_output_in_different_languages_may_be_a_translation(tmp_path: Path) -> None:
    """A file with `source_text` and `target_text` became a task of no kind, without a word."""
    rows = [
        f"the lamp number {n} is on the table in the garden,die Lampe Nummer {n} steht im Garten" for n in range(20)
    ]
    guessed = table(tmp_path, "source_text,target_text", rows)
    assert "the input is in en and the output in de: if one is a translation of the other" in "\n".join(guessed.why)


@pytest.mark.parametrize("header", ["reply_count", "in_reply_to", "answer_id"])
def test_numbers_of_replies_are_no_output(tmp_path: Path, header: str) -> None:
    """Slack's `reply_count` was the output of its messages, if no other column was named like one."""
    assert table(tmp_path, f"text,{header}", [f"{ASKED},{n}".format(n=n) for n in range(20)]).kind == "input"
    rows = [f"{ASKED},{n}".format(n=n) for n in range(20)]
    for itself in ("final_answer", "answer_value", "Answer number"):
        assert output(table(tmp_path, f"text,{itself}", rows)) == itself


def test_lines_without_words_are_searched_for_speakers_once(tmp_path: Path) -> None:
    """Each of 100,000 blank lines in a text was searched up to the next word, which takes minutes."""
    before_s = time.process_time()
    lines(tmp_path, {"text": "where is my lamp" + "\n" * 100_000 + "x"}, {"text": ASKED})
    assert time.process_time() - before_s < 20


def test_labels_of_several_words_are_labels(tmp_path: Path) -> None:
    """Three words counted as a text, which is one long word in Thai: such labels became texts to write."""
    for labels in (["Problem with a charged fee", "The parcel has not come"], ["เปลี่ยนสินค้า", "ขอคืนเงินค่าสินค้า"]):
        rows = [f"where is my lamp {n} now,{labels[n % 2]}" for n in range(20)]
        assert table(tmp_path, "text,category", rows).task == {"kind": "classify", "labels": sorted(labels)}
    spellings = ("no show", "no-show", "late", "late", "no show", "No_show")
    rows = [f"where is my lamp {n // 2} now,{spellings[n % 6]}" for n in range(20)]
    guessed = table(tmp_path, "text,category", [*rows, "where is it,too late", "where is he,too-late"])
    assert guessed.task["labels"] == ["late", "no show", "too late"]
    assert not [why for why in guessed.why if "different labels" in why or "only once" in why]


def test_labels_that_are_typing_errors_are_named(tmp_path: Path) -> None:
    """Only those of a single row were, so three rows of `biling` became a class of their own, as did `n/a`. Labels
    that are alike by their nature, or equally frequent, are left alone."""
    odd = {3: "biling", 33: "biling", 63: "retruns", 65: "n/a", 66: "n/a", 67: "class 3", 68: "unpaid", 69: "unpaid"}
    usual = ("billing", "returns", "class 1", "paid", "shipping", "skipping")
    rows = [f"where is my lamp {n} now,{odd.get(n, usual[n % 6])}" for n in range(240)]
    guessed = table(tmp_path, "text,label", rows)
    doubts = [why for why in guessed.why if why.startswith("labels that")]
    assert doubts == [
        "labels that mark a missing one: 'n/a'. Remove these rows",
        "labels that may be typing errors: 'biling' (2) for 'billing' (39), 'retruns' (1) for 'returns' (39). Correct"
        " them in the file, or they are classes",
        "labels that occur only once: 'class 3'. Remove what is no label, with its rows",
    ]


def test_labels_of_a_sorted_file_are_all_read(tmp_path: Path) -> None:
    """Only the first 10,000 rows were inspected: in a file sorted by its labels, the rows of the others were rejected.
    One that occurs in a single row is listed as such."""
    labels = [f"label {'abc'[n // 4_000]}" for n in range(12_000)]
    labels[11_501] = "label d"
    rows = (f"where is my lamp {n} now,{label},{n // 4}" for n, label in enumerate(labels))
    guessed = table(tmp_path, "text,label,customer_id", rows)
    assert guessed.task["labels"] == ["label a", "label b", "label c", "label d"]
    assert "labels that occur only once: 'label d'" in guessed.why[-1]
    assert guessed.settings["group"] == "customer_id"


def test_annotations_of_prodigy_are_read(tmp_path: Path) -> None:
    """Its `answer` says whether the label is right; it was taken for the label. A list of one text is that text, as
    doccano writes its labels too."""
    rows = [
        {
            "text": ASKED.format(n=n),
            "label": ["late", "broken"][n % 2],
            "_task_hash": n,
            "answer": ["accept", "reject", "ignore"][n % 3],
        }
        for n in range(30)
    ]
    guessed = lines(tmp_path, *rows)
    assert (guessed.task["labels"], output(guessed)) == (["broken", "late"], "label")
    spec = parse(spec_text(tmp_path / "a.jsonl", guessed, "a"), tmp_path).spec
    reading = read_seeds(spec.seeds, tmp_path)
    assert (len(reading.seeds), reading.not_used) == (10, "20 of 30 rows are not used: disliked 20")
    doccano = lines(tmp_path, *({"id": n, "text": ASKED.format(n=n), "label": [f"l {n % 2}"]} for n in range(20)))
    assert doccano.task == {"kind": "classify", "labels": ["l 0", "l 1"]}


@pytest.mark.parametrize("label", [{}, {"label": "SPAM"}])
def test_accepted_or_rejected_is_the_label_of_prodigy_if_there_is_no_other(
    tmp_path: Path, label: dict[str, str]
) -> None:
    """Binary annotation has one label for all texts, or none: its `answer` is the label, and no row is left out."""
    answers = ["accept", "reject"]
    rows = [{"text": ASKED.format(n=n), **label, "_task_hash": n, "answer": answers[n % 2]} for n in range(30)]
    for kind in ("", "classify"):
        guessed = lines(tmp_path, *rows, kind=kind)
        assert (guessed.task["labels"], output(guessed)) == (answers, "answer")
    spec = parse(spec_text(tmp_path / "a.jsonl", guessed, "a"), tmp_path).spec
    assert len(read_seeds(spec.seeds, tmp_path).seeds) == 30


def test_objects_with_input_and_output_inside_are_pairs(tmp_path: Path) -> None:
    """LangSmith's examples have all texts inside objects; they were refused. A model's suggestion is no reason to read
    them so."""
    rows = [{"inputs": {"question": ASKED.format(n=n)}, "outputs": {"answer": f"it is lamp {n}"}} for n in range(9)]
    assert lines(tmp_path, *rows).settings["columns"] == {"input": "inputs.question", "output": "outputs.answer"}
    rows = [
        {"fields": {"text": ASKED.format(n=n)}, "suggestions": {"label": f"l {n % 2}"}, "responses": [{"x": 1}]}
        for n in range(20)
    ]
    with pytest.raises(InputError, match="no column contains text"):
        lines(tmp_path, *rows)


def test_lists_without_known_roles_are_pointed_out(tmp_path: Path) -> None:
    """Zendesk's comments, which contain the replies, were listed as "lists, or empty". Where the speakers have names,
    the command that makes a text of them is shown."""
    chat = [{"author_id": 1, "body": "where is it"}, {"author_id": 2, "body": "it is here"}]
    guessed = lines(tmp_path, *({"description": ASKED.format(n=n), "comments": chat} for n in range(9)))
    assert "'comments' looks like chats, but is not read: turn 1: it has no role" in guessed.why[-1]
    meeting = [{"speaker": name, "text": "it is here"} for name in ("Zoë", "Max", "Zoë")]
    guessed = lines(tmp_path, *({"dialogue": meeting, "summary": f"it is lamp {n}, they say"} for n in range(9)))
    assert (
        "the file has chats among people in 'dialogue' ('Zoë', 'Max'), of whom none is the user or" in guessed.why[-1]
    )
    assert "write rows with `jq -c 'if type" in guessed.why[-1]


def test_turns_as_text_are_refused(tmp_path: Path) -> None:
    """In a CSV file of traces the turns are JSON in text, which the model would have learned to write."""
    turn = '"{{""role"": ""assistant"", ""content"": ""it is lamp {n}""}}"'
    with pytest.raises(InputError, match=r"turns of chats as text in JSON.*Export it as JSON or JSONL"):
        table(tmp_path, "input,output", [f"{ASKED},{turn}".format(n=n) for n in range(9)])


def test_a_log_with_messages_of_tools_is_refused(tmp_path: Path) -> None:
    """One row by a tool among one message per line hid the speakers, and the answers were read as inputs."""
    roles = ("user", "assistant", "tool")
    with pytest.raises(InputError, match="one message per line"):
        table(tmp_path, "id,role,text", [f"{n},{roles[n % 3]},{ASKED}".format(n=n) for n in range(12)])


def test_the_longest_list_of_an_object_contains_the_rows(tmp_path: Path) -> None:
    """The dataset viewer's `features` come before its `rows`, and messages of Teams have a `from` that is an object."""
    rows = [{"row_idx": n, "row": {"text": "x"}} for n in range(9)]
    deep = {"status": "ok", "answer": {"all rows": {"items": rows}}}
    for content, path, words in (
        ({"features": [{"name": "text"}], "rows": rows}, "rows", "jq .rows"),
        ({"rows": [{"from": {"user": "Ann"}}] * 2}, "rows", "jq .rows"),
        (deep, "answer.all rows.items", """jq '.answer["all rows"].items'"""),
    ):
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=re.escape(f"its rows are in the list '{path}'")) as refused:
            guess(tmp_path / "a.json")
        assert f"`{words}`" in (refused.value.fix or "")


def test_what_is_too_deep_or_too_long_is_an_error_that_says_so(tmp_path: Path) -> None:
    """Deep objects were a traceback, and cells of a megabyte "no column contains text"."""
    deep = '{"a":' * 600 + '"x"' + "}" * 600
    (tmp_path / "a.jsonl").write_text(f'{{"question": "where is my lamp", "answer": {deep}}}\n' * 3)
    with pytest.raises(InputError, match="nested too deeply"):
        guess(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"no column of its first row can be used; long: .* 400,000 characters"):
        table(tmp_path, "question,answer", [f"{'ab c' * 100_000},{'de f' * 100_000}"])


def test_keys_that_are_data_are_no_columns() -> None:
    """Objects with an id as the key made a column for each: a file of 4,000 rows took minutes and 3 GB."""
    texts = tuple(json.dumps({f"id {n}": "some words", "both": "more words"}) for n in range(50))
    assert [column.header for column in inner_columns(Column("a", "a", texts, 3.0, True, True))] == ["a.both"]


def test_many_text_columns_are_compared_by_few_rows() -> None:
    """A hundred columns of texts with brackets were read through some 10,000 times."""

    class Texts(tuple[str, ...]):
        read = 0

        def __iter__(self) -> Iterator[str]:
            Texts.read += 1
            return super().__iter__()

    texts = [Texts(f"[{n}] {'word ' * (n % 7)}{row}" for row in range(9)) for n in range(60)]
    columns = [Column(f"c{n}", f"c{n}", cells, 3.0) for n, cells in enumerate(texts)]
    Texts.read = 0
    assert len(without_annotated(columns)) == 60
    assert Texts.read <= 3 * len(columns)


def test_names_are_inputs_where_nothing_is_longer(tmp_path: Path) -> None:
    """A shop's list of products, for which descriptions are to be written, was refused: names have too few words to
    count as texts. Codes, prices and dates remain none, and next to finished outputs a hint names the column."""
    goods = [f"brass kettle {chr(97 + n)}" if n % 2 else f"lamp {chr(97 + n)}" for n in range(20)]
    rows = [f"SKU{n},{good},2025-01-01 10:00" for n, good in enumerate(goods)]
    guessed = table(tmp_path, "code,product,since", rows)
    assert (guessed.kind, guessed.settings["columns"]) == ("input", {"text": "product"})
    assert guessed.why[-1] == "not read: code, since"
    with pytest.raises(InputError, match="no column contains text"):
        table(tmp_path, "code,since", [f"SKU{n},2025-01-01 10:00" for n in range(20)])
    guessed = table(tmp_path, "product,body", [f"{good},{'made by hand in a small town ' * 9}" for good in goods])
    assert (guessed.kind, guessed.settings["columns"]) == ("output", {"text": "body"})
    assert "if 'product' is its input or output, make the two a pair" in guessed.why[1]


def test_several_labels_in_a_row_are_pointed_out(tmp_path: Path) -> None:
    """A file of texts with sets of labels was read as inputs to rewrite, or each set as a label, without a word on the
    task that can learn sets. A label with a comma of its own is one label."""
    sets = [["login"], ["login", "refund"], ["refund"], ["delivery", "login"]] * 5
    hint = "'labels' has several labels in 10 of 20 rows"
    for separator in "; ", ",", " | ":
        rows = [f'{ASKED.format(n=n)},"{separator.join(labels)}"' for n, labels in enumerate(sets)]
        assert any(why.startswith(hint) for why in table(tmp_path, "text,labels", rows).why)
        assert any(why.startswith(hint) for why in table(tmp_path, "text,labels", rows, "classify").why)
    listed = [{"text": ASKED.format(n=n), "labels": labels} for n, labels in enumerate(sets)]
    assert any(why.startswith(hint) for why in lines(tmp_path, *listed).why)
    as_object = [{"text": row["text"], "output": {"labels": row["labels"]}} for row in listed]
    assert lines(tmp_path, *as_object, kind="extract").task["kind"] == "extract"
    rows = [f'{ASKED.format(n=n)},"{("Sales, Marketing", "Support")[n % 2]}"' for n in range(20)]
    assert not any("several labels" in why for why in table(tmp_path, "text,label", rows).why)


COMPOUNDS = (
    *("리뷰상세내용 판매자답글", "문의내용 답변내용", "고객문의 상담원답변", "구매후기 사장님댓글"),
    *("Kundenanfrage Supportantwort", "Mieteranfrage Verwalterantwort", "klantvraag medewerkersantwoord"),
    *("ВопросКлиента ОтветОператора", "ЗапросПокупателя ОтветПродавца"),
    *("PytanieKlienta OdpowiedźAgenta", "DotazZákazníka OdpověďOperátora"),
    *("Kundfråga Kundtjänstsvar", "Kundebesked Medarbejdersvar", "Asiakaskysymys Tukivastaus"),
    *("Ügyfélkérdés Supportválasz", "Description Public_comment"),
)


@pytest.mark.parametrize("headers", COMPOUNDS)
@pytest.mark.parametrize("is_first", [False, True])
def test_a_name_may_end_a_compound(tmp_path: Path, headers: str, is_first: bool) -> None:
    """Of 82 tables of eleven languages with such headers 28 were read as meant: a seller's replies were the inputs.
    `Antwortzeit` and `Ansvar` are no replies."""
    asked, answered = headers.replace("_", " ").split(" ", 1)
    texts = {asked: "is lamp {n} broken now", answered: "we send you a new one {n} today", "Ansvar": "{word}"}
    names = [*([answered, asked] if is_first else [asked, answered]), "Ansvar", "Antwortzeit"]
    rows = [
        ",".join([*(texts[name].format(n=n, word=("Ann", "Ole")[n % 2]) for name in names[:3]), f"{n} min"])
        for n in range(12)
    ]
    guessed = table(tmp_path, ",".join(names), rows)
    assert (output(guessed), guessed.settings["columns"]["input"]) == (answered, asked)


THAI = ("ต้มยำกุ้งน้ำข้นหม้อไฟ", "ข้าวผัดปูจานใหญ่", "แกงเขียวหวานไก่", "ข้าวเหนียวมะม่วง", "ปลากะพงทอดน้ำปลา", "คอหมูย่างจิ้มแจ่ว")
DISHES = ("Creamy soup with prawns", "Fried rice with crab", "Green curry with chicken", "Mango and sticky rice")
DISHES = (*DISHES, "Deep-fried sea bass with fish sauce", "Grilled pork neck with a spicy dip")


def test_one_column_named_after_its_language_is_a_translation_of_the_other(tmp_path: Path) -> None:
    """`ชื่อเมนู, English, หมวด`: the dishes were inputs for a teacher. A remark in another language is no source."""
    rows = [f"{thai} {n},{dish},จาน{n % 2}" for n, (thai, dish) in enumerate(zip(THAI * 2, DISHES * 2, strict=True))]
    guessed = table(tmp_path, "ชื่อเมนู,English,หมวด", rows)
    assert (guessed.task["kind"], guessed.task["language"], guessed.task["to"]) == ("translate", "th", "en")
    assert output(guessed) == "English"
    assert table(tmp_path, "Notiz,English", [row.rpartition(",")[0] for row in rows]).task["kind"] != "translate"


def test_a_heading_inside_an_object_is_read_by_its_path(tmp_path: Path) -> None:
    """A list of articles as a news site sends it could not be read (`expected text, found dict`), and an object around
    the input was offered as another text."""
    articles = [
        {"headline": {"text": f"Rain in town {n}", "lang": "en"}, "body": [f"It rained for {n} days."]}
        for n in range(12)
    ]
    guessed = lines(tmp_path, *articles)
    assert guessed.settings["input"] == "{{ headline_text }}\n\n{{ body }}"
    notes = [{"sms": {"from": "07", "body": f"Where is my parcel {n}?"}, "id": n} for n in range(12)]
    guessed = lines(tmp_path, *notes)
    assert guessed.settings["columns"]["text"] == "sms.body"
    assert not any("'sms' " in why for why in guessed.why)
