"""Existing pairs: every common format becomes pairs, and a row that does not fit costs only that row."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest

from schemas.errors import InputError
from schemas.records import Imported, Message, Seed
from schemas.spec import SeedSource
from synth.imports import Import, pair_of, pairs
from synth.sources.seeds import SeedReading, read_seeds


def read(folder: Path, rows: Any, name: str = "rows.jsonl", **settings: Any) -> SeedReading:
    """Read rows as JSON lines, or a text as it is, and check on every call that rows in = seeds + problems."""
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    reading = read_seeds([SeedSource(path=name, **{"kind": "pair", **settings})], folder)
    assert reading.rows_in == len(reading.seeds) + len(reading.problems)
    return reading


def turns(*texts: str, system: str = "", role: str = "role", content: str = "content") -> list[dict[str, str]]:
    words = {"role": ("user", "assistant", "system"), "from": ("human", "gpt", "system")}[role]
    chat = [{role: words[at % 2], content: text} for at, text in enumerate(texts)]
    return [*([{role: words[2], content: system}] if system else []), *chat]


CHAT = {"messages": turns("It drips", "Sorry.")}
PARTS = {"messages": [*turns("It drips"), {"role": "assistant", "content": [{"type": "text", "text": "Sorry."}]}]}
SHAREGPT = {"conversations": turns("It drips", "Sorry.", role="from", content="value")}
ANSWER = [{"role": "assistant", "content": "Sorry."}]
ALPACA = {"instruction": "It drips", "input": "", "output": "Sorry."}


@pytest.mark.parametrize(
    ("name", "rows", "shape"),
    [
        ("a.csv", "input,output\nIt drips,Sorry.\n", "columns input and output"),
        ("a.jsonl", [{"input": "It drips", "output": "Sorry."}], "columns input and output"),
        ("a.jsonl", [CHAT], "OpenAI chat"),
        ("a.jsonl", [PARTS], "OpenAI chat"),
        ("a.jsonl", [SHAREGPT], "ShareGPT"),
        ("a.json", json.dumps([SHAREGPT]), "ShareGPT"),
        ("a.json", json.dumps([ALPACA], indent=1), "Alpaca"),
        ("a.jsonl", [{"instruction": "It drips", "output": "Sorry."}], "Alpaca"),
        ("a.jsonl", [{"instruction": "It drips", "context": "", "response": "Sorry.", "category": "x"}], "Dolly"),
        ("a.jsonl", [{"prompt": "It drips", "completion": "Sorry."}], "prompt and completion"),
        ("a.jsonl", [{"prompt": turns("It drips"), "completion": ANSWER}], "prompt and completion"),
        ("a.csv", "Prompt,Response\nIt drips,Sorry.\n", "prompt and completion"),
        ("a.csv", "id;question;answer\n1;It drips;Sorry.\n", "question and answer"),
        ("a.jsonl", [{"question": "It is", "answer": "no", "input": "It drips", "output": "Sorry."}], "columns input"),
    ],
    ids=[
        *("csv", "jsonl", "openai", "openai parts", "sharegpt", "sharegpt list", "alpaca list", "alpaca", "dolly"),
        *("prompt", "prompt turns", "prompt csv", "question", "input before question"),
    ],
)
def test_every_format_becomes_the_same_seed_and_is_reported(tmp_path, name, rows, shape):
    """The format is recognised by the file's own column names, is reported, and does not affect the row's id."""
    reading = read(tmp_path, rows, name)
    assert [note.what for note in reading.notes if note.what.startswith(f"shape: {shape}")]
    (seed,) = reading.seeds
    assert (seed.text, seed.reference) == ("It drips", "Sorry.")
    assert seed.id == Seed(kind="pair", text="It drips", reference="Sorry.", source="elsewhere").id


def test_alpaca_input_follows_its_instruction(tmp_path):
    """Instruction and input become one input, in this order. Where the instruction is empty, the input stands alone;
    such rows were left out as blank, although they have a text."""
    rows = [("Translate.", "Hund"), ("", "Katze"), (None, "Maus"), ("Name a fish.", " "), (" ", "")]
    given = [{"instruction": above, "input": below, "output": "dog"} for above, below in rows]
    reading = read(tmp_path, given)
    assert [seed.text for seed in reading.seeds] == ["Translate.\n\nHund", "Katze", "Maus", "Name a fish."]
    assert [problem.detail for problem in reading.problems] == ["there is no text in instruction."]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_optional_column_may_first_appear_in_any_row(tmp_path, name):
    """Exports leave out what is empty. What Alpaca's first row lacked was dropped from all others without a word, so
    they answered another question; a completion that is labelled bad was learned from."""
    alpaca = [
        {"instruction": "name a fish", "output": "a trout"},
        {"instruction": "translate this", "input": "ein Fisch", "output": "a fish", "system": "Be brief."},
    ]
    first, second = read(tmp_path, alpaca, name=name).seeds
    assert (first.body, first.system) == ("name a fish", None)
    assert (second.body, second.system) == ("translate this\n\nein Fisch", "Be brief.")
    _, second = read(
        tmp_path,
        [{"question": "a", "chosen": "b"}, {"question": "c", "chosen": "d", "rejected": "e"}],
        name=name,
        columns={"input": "question", "output": "chosen"},
    ).seeds
    assert (second.reference, second.meta) == ("d", {"rejected": ["e"]})
    marked = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d", "label": False}]
    reading = read(tmp_path, marked, name=name)
    assert [seed.body for seed in reading.seeds] == ["a"]
    assert [problem.code for problem in reading.problems] == ["disliked"]


def test_preferences_may_begin_without_a_worse_answer(tmp_path):
    """Rows before the first worse answer were lost as having no column 'input', whatever the file called it, and so
    were rows before the first one with an optional column that the spec names."""
    rows = [{"prompt": "a", "chosen": "b"}, {"prompt": "c", "chosen": "d", "rejected": "e"}, {"prompt": "f"}]
    reading = read(tmp_path, rows)
    assert [(seed.body, seed.meta.get("rejected")) for seed in reading.seeds] == [("a", None), ("c", ["e"])]
    assert [problem.detail for problem in reading.problems] == ["there is no 'chosen' in this row; found: 'prompt'."]
    with pytest.raises(InputError, match="a better answer but no 'rejected' beside it; found: 'prompt', 'chosen'"):
        read(tmp_path, rows[:1])
    asked = [{"q": "a", "r": "b"}, {"q": "c", "r": "d", "rules": "Be brief."}]
    seeds = read(tmp_path, asked, columns={"input": "q", "output": "r", "system": "rules"}).seeds
    assert [(seed.body, seed.system) for seed in seeds] == [("a", None), ("c", "Be brief.")]


def test_history_of_an_alpaca_row_is_its_earlier_turns(tmp_path):
    """LLaMA-Factory writes the rounds before an instruction as `history`; without them it is another question. As a
    pair such a row is not used."""
    row = {"instruction": "and a bird?", "output": "a wren", "history": [["name a fish", "a trout"]]}
    plain = {"instruction": "name a tree", "output": "an elm", "history": []}
    first, second = read(tmp_path, [row, plain], kind="conversation").seeds
    assert [turn.content for turn in first.turns] == ["name a fish", "a trout"]
    assert (first.body, second.body, second.turns) == ("and a bird?", "name a tree", ())
    assert [problem.code for problem in read(tmp_path, [row, plain]).problems] == ["turns"]
    for other in ("asthma since 2019", "3", 3, {"orders": 3}):
        (patient,) = read(tmp_path, [{**plain, "history": other}]).seeds
        assert (patient.body, patient.turns) == ("name a tree", ())
    broken = read(tmp_path, [plain, {**row, "history": [["name a fish", "a trout", "a pike"]]}], kind="conversation")
    assert [problem.code for problem in broken.problems] == ["turns"]


def test_conversational_prompt_may_have_a_system_prompt_and_earlier_turns(tmp_path):
    """Prompts and completions may be lists of turns, as in TRL's datasets and in pairsmith's export."""
    prompt = turns("Hi", "Hello?", "It drips", system="Be brief.")
    (seed,) = read(tmp_path, [{"prompt": prompt, "completion": ANSWER}], kind="conversation").seeds
    pair = pair_of(seed)
    assert (pair.system, pair.turns[0].content, pair.input, pair.output) == ("Be brief.", "Hi", "It drips", "Sorry.")
    reading = read(tmp_path, [{"prompt": "It drips", "completion": ANSWER}, {"prompt": ANSWER, "completion": "x"}])
    assert [seed.reference for seed in reading.seeds] == ["Sorry."]
    assert reading.problems[0].what.startswith("turns: there is no question")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_dotted_column_reads_nested_values(tmp_path, ending):
    """Translations in the format of the hub are pairs with `columns = { input = "translation.en", ... }`. A row without
    that key costs only itself, and its problem lists the keys that exist."""
    rows: list[Any] = [{"translation": {"en": "dog", "de": "Hund"}}, {"translation": {"en": "cat", "de": None}}]
    if ending == "jsonl":
        rows += [{"translation": {"en": "owl", "fr": "hibou"}}, {"translation": "Uhu"}, {"translation": {}}]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    columns = {"input": "translation.en", "output": "translation.de"}
    source = SeedSource.model_validate({"path": f"rows.{ending}", "kind": "pair", "columns": columns})
    reading = read_seeds([source], tmp_path)
    assert [(seed.text, seed.reference) for seed in reading.seeds] == [("dog", "Hund")]
    problems = [problem.what for problem in reading.problems]
    assert problems[0].startswith("blank")
    assert ending == "parquet" or problems[1:] == [
        "column: no 'de' in translation; found: 'en', 'fr'.",
        "type: expected an object in 'translation'.",
        "column: no 'en' in translation; found: none.",
    ]


def test_dotted_column_needs_objects(tmp_path):
    """A path leads into a column of JSON objects, in the cells of a CSV too. If that column is absent, the message
    names it; text instead of an object costs the row, in Parquet too."""
    columns = {"input": "input.text", "output": "output"}
    with pytest.raises(InputError, match=r"no column 'input.text'"):
        read(tmp_path, "question,output\na,b\n", "a.csv", columns=columns)
    with pytest.raises(InputError, match="expected an object in 'input'"):
        read(tmp_path, "input,output\na,b\n", "a.csv", columns=columns)
    assert len(read(tmp_path, 'input,output\n"{""text"": ""a""}",b\n', "a.csv", columns=columns).seeds) == 1
    parquet.write_table(pyarrow.Table.from_pylist([{"input": "a", "output": "b"}]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="expected an object in 'input'"):
        read_seeds([SeedSource(path="a.parquet", kind="pair", columns=columns)], tmp_path)


def test_nested_value_in_a_null_is_empty(tmp_path):
    """An issue without a milestone has no milestone title. As an extra column this is an empty text and costs no row,
    as the text of a seed it is blank, and as a reference it is None."""
    rows = [
        {"title": "one", "milestone": None, "body": {"text": "a"}, "by": {"team": None}},
        {"title": "two", "milestone": {"title": "v1"}, "body": None, "by": {"team": {"name": "core"}}},
    ]
    columns = {"text": "title", "milestone": "milestone.title", "team": "by.team.name"}
    reading = read(tmp_path, rows, kind="input", columns=columns, reference="body.text")
    assert [(seed.text, dict(seed.columns), seed.reference) for seed in reading.seeds] == [
        ("one", {"milestone": "", "team": ""}, "a"),
        ("two", {"milestone": "v1", "team": "core"}, None),
    ]
    reading = read(tmp_path, rows, kind="input", columns={"text": "body.text"})
    assert [problem.what.partition(":")[0] for problem in reading.problems] == ["blank"]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ("<image>\nWhat is in it?", "contains <image>"),
        ("What is in it?\n<video>", "contains <video>"),
        ([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "a"}}], "'image_url'"),
    ],
)
def test_row_with_a_picture_in_a_turn_is_left_out(tmp_path, asked, what):
    """An answer about a picture that the model never sees would teach it to make things up. Text about the tag is
    fine."""
    seen = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "A red cat."}]}
    written = {"messages": turns("What does the tag <image> do in a prompt?", "It stands for a picture.")}
    reading = read(tmp_path, [seen, written])
    assert [seed.reference for seed in reading.seeds] == ["It stands for a picture."]
    assert what in reading.problems[0].what
    assert "only text is read" in reading.problems[0].what


def test_row_with_a_picture_beside_its_chat_is_left_out(tmp_path):
    """Pictures may be in a column of their own with no placeholder in the turns: the answer is about something the
    model never sees. An empty column costs nothing."""
    chat = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A red kite."}]
    rows = [{"conversations": chat, "images": ["a.png"]}, {"conversations": chat, "images": []}]
    reading = read(tmp_path, rows)
    assert [seed.reference for seed in reading.seeds] == ["A red kite."]
    assert [problem.what for problem in reading.problems] == ["type: the row has 'images', but only text is read."]


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}])
def test_answer_excluded_from_training_is_no_output(tmp_path, mark):
    """OpenAI's `weight` 0 and Axolotl's `train` false exclude a turn from the loss. For the last answer this costs the
    row; earlier in the chat it changes nothing."""
    chat = turns("It drips", "Where?", "Below", "We are sorry.")
    left_out = {"messages": [*chat[:3], {**chat[3], **mark}]}
    reading = read(tmp_path, [left_out, {"messages": [chat[0], {**chat[1], **mark}, *chat[2:]]}], kind="conversation")
    assert [problem.where for problem in reading.problems] == ["rows.jsonl:1"]
    assert "turn 4, the last answer, is itself marked" in reading.problems[0].what


REJECTED = [{"role": "assistant", "content": "Not ours."}]
HH_PROMPT, MAPPED = "\n\nHuman: It drips\n\nAssistant:", {"input": "q", "output": "a"}
HUMAN, GPT = {"from": "human", "value": "It drips"}, {"from": "gpt", "value": "Sorry."}


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ({"prompt": "It drips", "chosen": " Sorry.", "rejected": " Not ours."}, {}),
        ({"system": "Be kind.", "question": "It drips", "chosen": "Sorry.", "rejected": "Not ours."}, {}),
        ({"prompt": turns("It drips"), "chosen": ANSWER, "rejected": REJECTED}, {}),
        ({"chosen": turns("It drips", "Sorry."), "rejected": turns("It drips", "Not ours.")}, {}),
        ({"prompt": "It drips", "chosen": turns("It drips", "Sorry."), "rejected": turns("It drips", "Not ours.")}, {}),
        ({"chosen": f"{HH_PROMPT} Sorry.", "rejected": f"{HH_PROMPT} Not ours."}, {}),
        ({"conversations": [HUMAN], "chosen": GPT, "rejected": {**GPT, "value": "Not ours."}}, {}),
        ({"instruction": "It drips", "input": "", "chosen": "Sorry.", "rejected": "Not ours."}, {}),
        ({"input": {"messages": turns("It drips")}, "preferred_output": ANSWER, "non_preferred_output": REJECTED}, {}),
        ({"q": "It drips", "a": "Sorry.", "bad": "Not ours."}, {"columns": MAPPED, "rejected": "bad"}),
        ({"q": "It drips", "a": "Sorry.", "x": {"y": "Not ours."}}, {"columns": MAPPED, "rejected": "x.y"}),
        ({"q": "It drips", "Chosen": "Sorry.", "rejected": "Not ours."}, {"columns": {**MAPPED, "output": "Chosen"}}),
    ],
)  # fmt: skip
def test_rejected_answer_is_kept_beside_the_chosen_one(tmp_path, row, settings):
    """Preferences in the formats of TRL, OpenAI, LLaMA-Factory and Anthropic: the chosen answer is the output, and the
    rejected one is kept with it, whatever the spec calls the columns. The pair is the same as without it."""
    (seed,) = read(tmp_path, [row], **settings).seeds
    assert (seed.body, seed.reference) == ("It drips", "Sorry.")
    assert seed.meta == {"rejected": ["Not ours."]}
    if "system" not in row:
        (plain,) = read(tmp_path, [{"input": "It drips", "output": "Sorry."}]).seeds
        assert pair_of(seed).id == pair_of(plain).id


@pytest.mark.parametrize(
    ("row", "output"),
    [
        ({"input": "q", "output": "own", "chosen": True, "rejected": False}, "own"),
        ({"instruction": "q", "output": "own", "chosen": "2 of 3", "rejected": "1 of 3"}, "own"),
        ({"question": "q", "answer": "own", "chosen": "yes", "rejected": "no"}, "own"),
        ({"messages": turns("q", "Sorry."), "prompt": "q", "chosen": "Sorry.", "rejected": "Not ours."}, "Sorry."),
        ({"prompt": "q", "answer": "own", "chosen": "Sorry.", "rejected": "Not ours."}, "Sorry."),
    ],
)
def test_row_with_its_own_output_is_no_preference(tmp_path, row, output):
    """Other columns named `chosen` used to be ignored in such rows, and still are. Beside a chat they are its answer
    once more (UltraFeedback)."""
    (seed,) = read(tmp_path, [row]).seeds
    assert (seed.reference, "rejected" in seed.meta) == (output, output != "own")


def test_rejected_answer_must_differ_and_answer_the_same_question(tmp_path):
    """Both answers must have the same earlier turns. If they answer different questions, or are equal, only the chosen
    one is read, with a note. An empty cell is no answer."""
    chat = turns("It drips", "Where?", "Below", "Sorry.")
    rows = [
        {"chosen": chat, "rejected": [*chat[:3], *REJECTED]},
        {"chosen": turns("It rusts", "Sorry."), "rejected": turns("It leaks", "Not ours.")},
        {"chosen": turns("It is dry", "Good."), "rejected": turns("It is dry", "Good.")},
        {"chosen": turns("It is wet", "Oh."), "rejected": None},
    ]
    reading = read(tmp_path, rows, kind="conversation")
    assert [seed.meta.get("rejected") for seed in reading.seeds] == [["Not ours."], None, None, None]
    assert [note.where for note in reading.notes if note.code == "rejected"] == ["rows.jsonl:2", "rows.jsonl:3"]


def test_all_rejected_answers_of_one_chosen_answer_are_kept(tmp_path):
    """A ranking of four answers is written as three rows with the same chosen one. The later rows count as
    duplicates."""
    rows = [{"prompt": "It drips", "chosen": "Sorry.", "rejected": text} for text in ("No.", "What?", "No.")]
    reading = read(tmp_path, rows)
    (seed,) = reading.seeds
    assert seed.meta["rejected"] == ["No.", "What?"]
    assert [problem.code for problem in reading.problems] == ["duplicate", "duplicate"]


@pytest.mark.parametrize("columns", [{}, {"input": "prompt", "output": "completion", "label": "label"}])
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "a.jsonl",
            [{"prompt": p, "completion": "Sorry.", "label": p != "It rusts"} for p in ("It drips", "It rusts")],
        ),
        ("a.csv", "prompt,completion,label\nIt drips,Sorry.,True\nIt rusts,Sorry.,False\n"),
    ],
)
def test_completion_labelled_bad_is_no_output(tmp_path, name, rows, columns):
    """In TRL's unpaired preferences a completion with a false label would be learned as a good answer. It is left out
    and reported, whether the format is recognised or the columns are set."""
    reading = read(tmp_path, rows, name, columns=columns)
    assert [seed.body for seed in reading.seeds] == ["It drips"]
    assert [(problem.code, problem.where) for problem in reading.problems] == [
        ("disliked", f"{name}:{3 if name == 'a.csv' else 2}")
    ]
    assert "it is marked 'false'" in reading.problems[0].detail


def test_label_as_output_or_of_another_format_keeps_its_meaning(tmp_path):
    """A column named label keeps its meaning in other formats, and also if the spec makes it the output, however it is
    capitalised."""
    for label in ("label", "Label"):
        rows = [{"prompt": "Is it dry?", "completion": "x", label: False}]
        reading = read(tmp_path, rows, columns={"input": "prompt", "output": label})
        assert [seed.reference for seed in reading.seeds] == ["false"]
    assert len(read(tmp_path, [{"input": "It drips", "output": "Sorry.", "label": False}]).seeds) == 1


def test_system_prompt_of_a_row_goes_to_its_pair(tmp_path):
    """Chat rows keep their system prompt. Rows without one, or with a blank one, get the spec's."""
    rows = [{"messages": turns("a", "b", system="Be brief.")}, {"messages": turns("c", "d")}]
    rows += [{"messages": [{"role": "system", "content": " "}, *turns("e", "f")]}]
    first, second, third = (pair_of(seed, "Be kind.") for seed in read(tmp_path, rows).seeds)
    assert (third.system, third.input, third.output) == ("Be kind.", "e", "f")
    assert (first.system, first.input, first.output) == ("Be brief.", "a", "b")
    assert (second.system, second.input, second.output) == ("Be kind.", "c", "d")
    csv = "input,output,system\na,b,Be brief.\nc,d,\n"
    assert [pair_of(seed, "Be kind.").system for seed in read(tmp_path, csv, "a.csv").seeds] == [
        "Be brief.",
        "Be kind.",
    ]


def test_last_answer_of_a_conversation_is_the_output(tmp_path):
    """Earlier turns and the question are the input. Turns after the last answer are dropped, and consecutive turns of
    one role are joined."""
    chat = turns("Hi", "Hello, what is it?", "It drips", "Sorry.", "thanks!", system="Be brief.")
    chat.insert(4, {"role": "user", "content": "every morning"})
    (seed,) = read(tmp_path, [{"messages": chat}], kind="conversation").seeds
    pair = pair_of(seed, "unused")
    assert pair.turns == (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Hello, what is it?"),
    )
    assert (pair.system, pair.input, pair.output) == ("Be brief.", "It drips\n\nevery morning", "Sorry.")
    assert pair.origin == Imported(source="rows.jsonl")
    assert pair.reference is None


def test_blank_turn_that_leaves_no_gap_is_skipped(tmp_path):
    """A blank turn beside one of the same side, or of the user after the last answer, adds nothing; between two answers
    it is a question that nobody sees."""
    blank = {"role": "user", "content": " "}
    hello, drips, sorry = {"role": "assistant", "content": "Hello"}, *turns("It drips", "Sorry.")
    chats = [[hello, blank, drips, sorry], [hello, drips, blank, sorry, blank], [drips, hello, blank, sorry]]
    reading = read(tmp_path, [{"messages": chat} for chat in chats], kind="conversation")
    assert [(one.input, one.output) for one in (pair_of(seed, "") for seed in reading.seeds)] == [
        ("It drips", "Sorry.")
    ]
    assert [(problem.where, problem.code) for problem in reading.problems] == [
        ("rows.jsonl:2", "duplicate"),
        ("rows.jsonl:3", "blank"),
    ]


def test_unusable_line_costs_only_itself_and_is_reported(tmp_path):
    """Broken JSON, a value that is no object, another format, an unknown role, no answer, no question, a blank text,
    more turns than a pair has: each is one problem with its line, and the rest is read."""
    bad: list[Any] = [
        {"input": "a", "output": "b"},
        ["a list"],
        {"messages": [{"role": "narrator", "content": "x"}, *turns("a", "b")]},
        {"messages": turns("a")},
        {"messages": [{"role": "assistant", "content": "b"}]},
        {"messages": turns("a", "  ")},
        {"messages": turns("a", "b", "c", "d")},
        {"messages": []},
        {"messages": "not JSON"},
        {"messages": [*turns("a", "b"), {"role": "system", "content": "late"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *turns("x", "b")[1:]]},
        {"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]},
        {"messages": ["a", "b"]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in [{"messages": turns("good", "one")}, *bad]) + '{"messages": [\n'
    reading = read(tmp_path, text)
    assert [seed.text for seed in reading.seeds] == ["good"]
    words = [problem.what.partition(":")[0] for problem in reading.problems]
    expected = ["column", "column", "role", "turns", "turns", "blank", "turns", "turns", "json", "turns", "type"]
    assert words == [*expected, "blank", "type", "json"]
    assert reading.problems[7].what == "turns: the list of turns is empty."
    assert [problem.where for problem in reading.problems] == [f"rows.jsonl:{at}" for at in range(2, 16)]


def test_unusable_first_line_costs_only_itself(tmp_path):
    """A line of metadata above the rows is a problem and does not end the reading. For a file of only such lines the
    error says which columns it needs."""
    reading = read(tmp_path, [{"version": 1}, {"input": "a", "output": "b"}])
    assert [seed.text for seed in reading.seeds] == ["a"]
    assert reading.problems[0].where == "rows.jsonl:1"
    with pytest.raises(InputError, match="there is no column 'input'; found: 'version'") as error:
        read(tmp_path, [{"version": 1}, {"version": 2}])
    assert 'columns = { input = "...", output = "..." }' in (error.value.fix or "")


def test_one_question_with_two_answers_is_two_pairs_and_the_same_pair_twice_is_one(tmp_path):
    """The output is part of a pair's identity."""
    rows = [{"input": "a", "output": b} for b in ("b", "c", "b")]
    reading = read(tmp_path, rows)
    assert [seed.reference for seed in reading.seeds] == ["b", "c"]
    assert reading.problems[0].what == "duplicate: the same text as rows.jsonl:1."


def test_import_sends_no_request_and_fills_one_slot(tmp_path):
    """Each seed gives one pair with its columns, under a fingerprint that depends only on the system prompt."""
    csv = "input,output,product\na,b,kettle\n"
    columns = {"input": "input", "output": "output", "product": "product"}
    (seed,) = read(tmp_path, csv, "a.csv", columns=columns).seeds
    imports = Import("Be kind.")
    assert (imports.ledger, imports.samples) == (None, 1)

    (outcome,) = asyncio.run(imports(seed))
    assert outcome.candidate.generator == "imported"
    assert outcome.pair is not None
    assert outcome.pair.columns == {"product": "kettle"}
    assert outcome.pair.id == outcome.candidate.pair_id
    assert imports.fingerprint == Import("Be kind.").fingerprint != Import("Be brief.").fingerprint


def test_line_added_above_does_not_change_pair_ids(tmp_path):
    """Reviews refer to pair ids, so an id does not depend on the position in the file."""
    first, second = (
        {pair_of(seed).id for seed in read(tmp_path, f"input,output\n{above}a,b\n", "a.csv").seeds}
        for above in ("", "c,d\n")
    )
    assert first < second


def test_timestamp_column_becomes_text(tmp_path: Path) -> None:
    """A timestamp in a Parquet column, which is text in a CSV, used to cost every row of the file."""
    at, price = datetime(2026, 1, 2, 3, 4), Decimal("1.50")
    table = {"input": ["a"], "output": ["b"], "at": [at], "hour": [at.time()], "price": [price]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    source = SeedSource(path="a.parquet", kind="pair", columns={"at": "at", "hour": "hour", "price": "price"})
    (seed,) = read_seeds([source], tmp_path).seeds
    assert seed.columns == {"at": "2026-01-02 03:04:00", "hour": "03:04:00", "price": "1.50"}


def test_number_and_object_are_outputs():
    """Datasets have labels such as 0 and 1, and records as objects. Each becomes its JSON text."""
    rows = [("good", 1), ("bad", 0), ("so so", True), ("order 7", {"order": 7, "late": True})]
    assert [pair.output for pair in pairs(rows)] == ["1", "0", "true", '{"order":7,"late":true}']


def test_nan_of_a_data_frame_is_an_empty_cell(tmp_path: Path) -> None:
    """NaN used to be learned as the answer null, rejected as a system prompt, and written as nan into columns and
    references."""
    nan = float("nan")
    reading = read(tmp_path, [{"input": "a", "output": nan}, {"input": "b", "output": 1, "system": nan, "team": nan}])
    assert [problem.what for problem in reading.problems] == ["blank: there is no text in output."]
    (seed,) = reading.seeds
    assert (seed.body, seed.reference, seed.system) == ("b", "1", None)
    with pytest.raises(InputError, match="expected text in output, found float inf"):
        pairs([("a", float("inf"))])
    rows = [{"text": "b", "team": nan, "best": nan, "n": nan}]
    kept = {"columns": {"team": "team"}, "reference": "best", "input": "{{ text }}{% if n %}, {{ n }}{% endif %}"}
    (seed,) = read(tmp_path, rows, kind="input", **kept).seeds
    assert (seed.text, seed.columns, seed.reference) == ("b", {"team": ""}, None)


def test_a_missing_cell_of_pandas_is_blank(tmp_path):
    """NaN, in a list or in Python's JSON, used to become the answer `null`, and a number beyond 64 bits gave a
    traceback."""
    rows = [("a", "x"), ("b", math.nan), ("d", 10**30)]
    assert [pair.output for pair in pairs(rows)] == ["x", str(10**30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"input": input, "output": output}) + "\n" for input, output in rows[:2]))
    read = pairs(path)
    assert ([pair.output for pair in read], [problem.code for problem in read.problems]) == (["x"], ["blank"])


@pytest.mark.parametrize(
    ("turn", "sentence"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, "turn 2 calls a tool"),
        ({"role": "tool", "content": "in transit"}, r"turn 2 is by a tool \('tool'\)"),
        ({"from": "function_call", "value": "{}"}, r"turn 2 is by a tool \('function_call'\)"),
        ({"from": "observation", "value": "in transit"}, r"turn 2 is by a tool \('observation'\)"),
    ],
)
def test_turn_of_a_tool_is_reported_as_one(turn, sentence):
    """With "blank" or an unknown role as the reason, a user would look for a mistake in the file."""
    turns = [{"role": "user", "content": "Where is it?"}, turn, {"role": "assistant", "content": "Nearly there."}]
    with pytest.raises(InputError, match=f"{sentence}, and a model that cannot see what a tool returns would learn"):
        pairs([{"messages": turns}])


def test_chats_in_the_form_of_gemini_are_read(tmp_path):
    """Its turns have `parts`, whose texts have no type; a turn with an image costs its row, not its text."""
    answer = {"role": "model", "parts": [{"text": "Here."}]}
    image = {"inlineData": {"mimeType": "image/png", "data": "AA"}}
    parts = ([{"text": "Where?"}], [{"text": "What is this?"}, image])
    rows = [{"contents": [{"role": "user", "parts": asked}, answer]} for asked in parts]
    reading = read(tmp_path, rows, columns={"messages": "contents"})
    assert [(seed.body, seed.reference) for seed in reading.seeds] == [("Where?", "Here.")]
    assert [problem.code for problem in reading.problems] == ["type"]


def test_a_list_of_one_text_is_that_text(tmp_path):
    """doccano writes each label as a list; with two labels nothing says which one is meant."""
    rows = [{"text": f"Where is {n}?", "label": ["late", "broken"][:n]} for n in (1, 2)]
    reading = read(tmp_path, rows, columns={"input": "text", "output": "label"})
    assert [seed.reference for seed in reading.seeds] == ["late"]
    assert [problem.code for problem in reading.problems] == ["type"]
