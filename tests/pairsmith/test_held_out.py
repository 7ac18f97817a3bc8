"""Tests that the held-out test set is not paid for again, not shown to the teacher and not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.similarity.contamination import collect_held_out
from pairsmith.project import Project
from pairsmith.stages.curate import summary
from schemas.errors import InputError, NoWork, UsageError
from schemas.progress import Say, discard_message
from schemas.spec_file import SPEC_NAME, load
from synth.sources.seeds import read_seeds
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

SPEC = """
[task]
name = "held-out"
style = "Say it in one rich sentence."

[[seeds]]
path = "train.txt"
use = "train"

[[seeds]]
path = "test.jsonl"
kind = "pair"
use = "test"

[curate.score]
model = "none"

[curate.gates]
lost_content = false

[review]
enabled = false
"""
TEST = "an old fisherman mending a torn net on the quay"
REFERENCE = "A weathered fisherman bends over a torn green net while gulls circle the empty quay at dawn."
OTHER = "A narrow street in the rain with {n} lanterns, wet cobbles and a cat beneath the last of the awnings."


def project(folder: Path, *, train: str, more: str = "") -> Path:
    (folder / "pairsmith.toml").write_text(SPEC + more)
    (folder / "train.txt").write_text(train)
    (folder / "test.jsonl").write_text(f'{{"input": "{TEST}", "output": "{REFERENCE}"}}\n')
    return folder


def opened(folder: Path, teacher: LoopbackTeacher, say: Say = discard_message) -> Project:
    asked = (f"teacher.url={teacher.url}", "teacher.model=loopback", "generate.forward.n=1")
    return Project(folder, list(asked), say=say)


def test_seeds_that_repeat_the_test_are_skipped(tmp_path: Path) -> None:
    """Curation would reject their rows, so nothing is paid for them; the seed and the test seed that it resembles are
    named."""
    lines: list[str] = []
    with LoopbackTeacher(lambda ask: says(OTHER.format(n=3))) as teacher:
        at = project(tmp_path, train="a street in the rain\nAn old fisherman, mending a torn net on the quay!\n")
        outcome = opened(at, teacher, lines.append).generate()
        assert [ask.prompt.rpartition(": ")[2] for ask in teacher.asked] == ["a street in the rain"]
    assert any(line.startswith("1 seed repeats a held-out text and is skipped. train.txt:2") for line in lines)
    assert outcome.counts.rows_in == 2, "the street, and the test pair, which costs nothing"
    (sentence,) = outcome.seed_problems
    assert sentence.startswith("train.txt:2: skipped, because it is 100% like test seed")


def test_seeds_that_repeat_a_test_input_without_output_are_skipped(tmp_path: Path) -> None:
    """Test inputs without outputs get no pairs, and seeds that repeat them get none either."""
    with LoopbackTeacher(lambda ask: says(OTHER.format(n=3))) as teacher:
        at = project(tmp_path, train="a street in the rain\nAn old fisherman, mending a torn net on the quay!\n")
        (at / "pairsmith.toml").write_text(SPEC.replace('kind = "pair"', 'kind = "input"'))
        (at / "test.jsonl").write_text(f'{{"text": "{TEST}"}}\n')
        outcome = opened(at, teacher).generate()
        assert [ask.prompt.rpartition(": ")[2] for ask in teacher.asked] == ["a street in the rain"]
    (sentence,) = outcome.seed_problems
    assert sentence.startswith("train.txt:2: skipped, because it is 100% like test seed")


def test_an_exemplar_from_the_test_is_refused(tmp_path: Path) -> None:
    """The teacher would see the test: the error names the exemplar, and nothing is sent."""
    more = f'\n[[exemplars]]\ninput = "a fisherman"\noutput = "{REFERENCE}"\n'
    with LoopbackTeacher(lambda ask: says("x")) as teacher:
        with pytest.raises(UsageError, match=r"exemplars\.0 is 100% like the reference of test seed"):
            opened(project(tmp_path, train="a street in the rain\n", more=more), teacher).generate()
        assert teacher.asked == []


def test_a_training_row_with_a_test_reference_is_contamination(tmp_path: Path) -> None:
    """A row whose output is the reference of a test input would teach the test's answer."""

    def answer(ask: Ask) -> Reply:
        return says(REFERENCE if "harbour" in ask.prompt else OTHER.format(n=7))

    with LoopbackTeacher(answer) as teacher:
        running = opened(project(tmp_path, train="a harbour man at work\na street in the rain\n"), teacher)
        running.generate()
        curated = running.curate()
    assert curated.reasons == {"contamination": 1}
    (state,) = running.rows("rejected")
    assert state.reason is not None
    assert "the reference of test seed" in state.reason.detail


def test_the_last_exchange_of_a_test_conversation_is_no_training_row(tmp_path: Path) -> None:
    """A pair that is the last question of a test conversation with its answer was trained on, because the question
    alone is not the conversation. The same question with another answer is a row."""
    ask, answer = "Can I still return the blue kettle?", "Yes, until Friday: bring it to any shop with its receipt."
    turns = [("user", "My kettle leaks."), ("assistant", "I am sorry to hear that."), ("user", ask)]
    chat = [{"role": role, "content": text} for role, text in [*turns, ("assistant", answer)]]
    other = "No, kettles that were used cannot be returned to us after they have been opened."
    rows = [{"input": ask, "output": answer}, {"input": f"{ask} Thanks", "output": other}]
    (tmp_path / "test.jsonl").write_text(json.dumps({"messages": chat}))
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / SPEC_NAME).write_text(
        '[task]\nname = "t"\nkind = "reply"\nstyle = "Be kind."\n'
        '[[seeds]]\npath = "test.jsonl"\nkind = "conversation"\nuse = "test"\n'
        '[[seeds]]\npath = "train.jsonl"\nkind = "pair"\nuse = "train"\n'
        "[review]\nenabled = false\n"
    )
    running = Project(tmp_path)
    running.generate()
    assert running.curate().reasons == {"contamination": 1}
    (state,) = running.rows("rejected")
    assert state.reason is not None
    assert "it repeats the last exchange of test seed" in state.reason.detail


def test_conversations_that_end_like_a_test_conversation_are_training_rows(tmp_path: Path) -> None:
    """Every training conversation that ended as a test conversation did ("Thank you", "You are welcome") was rejected,
    whatever it was about: 160 of 200 in a set of chats with customers."""
    thanks = ("Thank you, that helped me a lot.", "You are welcome! Please contact us again at any time.")
    for use, things in (("test", ("kettle", "lamp")), ("train", ("radio", "sofa", "clock"))):
        chats = [
            [f"My {thing} arrived without its {thing} cover.", f"We will post the cover of the {thing}.", *thanks]
            for thing in things
        ]
        rows = [
            {"messages": [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(chat)]}
            for chat in chats
        ]
        (tmp_path / f"{use}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / SPEC_NAME).write_text(
        '[task]\nname = "t"\nkind = "reply"\nstyle = "Be kind."\n[review]\nenabled = false\n'
        + "".join(
            f'[[seeds]]\npath = "{use}.jsonl"\nkind = "conversation"\nuse = "{use}"\n' for use in ("test", "train")
        )
    )
    running = Project(tmp_path)
    running.generate()
    assert "contamination" not in running.curate().reasons


def test_a_teacher_that_writes_one_input_for_all_outputs_is_named(tmp_path: Path) -> None:
    """All its rows repeat a test input then, and the advice was to name the column that says which seeds belong
    together."""
    texts = [OTHER.format(n=n) + f" The {n}th sign reads {n * n}." for n in range(20, 60)]
    (tmp_path / SPEC_NAME).write_text(
        SPEC.partition("[[seeds]]")[0] + '[[seeds]]\npath = "seeds.jsonl"\n'
        'kind = "output"\n[curate.score]\nmodel = "none"\n[review]\nenabled = false\n'
        "[generate.backward]\nenabled = true\n[generate.forward]\nenabled = false\n"
    )
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with LoopbackTeacher(lambda ask: says(*["a narrow street at night"] * ask.n)) as teacher:
        running = opened(tmp_path, teacher)
        running.generate()
        outcome = running.curate()
    (repeated,) = (sentence for word, sentence in summary(outcome) if word == "repeated")
    assert "the teacher wrote one and the same input, 'a narrow street at night': change the prompt (" in repeated
    assert "seeds.group" not in repeated


@pytest.mark.parametrize("kind", ["reply", "classify"])
def test_outputs_that_naturally_recur_are_no_contamination(kind: str, tmp_path: Path) -> None:
    """A test row's label or stock reply occurs in many other rows too, so only its input is held out."""
    spec = load(project(tmp_path, train="x\n")).spec
    read = read_seeds(spec.seeds, tmp_path).seeds
    assert [*collect_held_out(spec, tmp_path, read).texts] == [TEST, REFERENCE]
    other = spec.model_copy(update={"task": spec.task.model_copy(update={"kind": kind})})
    assert [*collect_held_out(other, tmp_path, read).texts] == [TEST]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bench.jsonl", '{"id": "q1", "question": {"text": "' + OTHER.format(n=5) + '"}}\n'),
        ("bench.csv", 'id,question\nq1,"' + OTHER.format(n=5) + '"\n'),
        ("bench.json", '["' + OTHER.format(n=5) + '"]'),
        ("bench.txt", "first line of no interest\n" + OTHER.format(n=5) + "\n"),
    ],
)
def test_rows_are_compared_with_benchmark_files(name: str, content: str, tmp_path: Path) -> None:
    """A public benchmark is kept out of the training rows; the reason names the file."""
    (tmp_path / name).write_text(content)
    more = f'\n[curate.contamination]\nfiles = ["{name}"]\n'
    with LoopbackTeacher(lambda ask: says(OTHER.format(n=5 if "rain" in ask.prompt else 90))) as teacher:
        running = opened(project(tmp_path, train="a street in the rain\n", more=more), teacher)
        running.generate()
        assert running.curate().reasons == {"contamination": 1}
    (state,) = running.rows("rejected")
    assert state.reason is not None
    assert f"near-duplicate of {name}:" in state.reason.detail


def test_rows_not_compared_with_a_benchmark_are_not_used(tmp_path: Path) -> None:
    """If a benchmark was added or changed after curation, training and export refuse the rows until they are curated
    again."""
    bench, more = tmp_path / "bench.txt", '\n[curate.contamination]\nfiles = ["bench.txt"]\n'
    bench.write_text("first line of no interest\n")
    with LoopbackTeacher(lambda ask: says(OTHER.format(n=5 if "rain" in ask.prompt else 90))) as teacher:
        running = opened(project(tmp_path, train="a street in the rain\na quay\n"), teacher)
        running.generate()
        running.curate()
        running.export()
        running = opened(project(tmp_path, train="a street in the rain\na quay\n", more=more), teacher)
        for use in (running.train, running.export):
            with pytest.raises(NoWork, match=r"not compared with 'bench.txt'"):
                use()
        running.curate()
        running.export()
        bench.write_text(OTHER.format(n=5))
        for use in (running.train, running.export):
            with pytest.raises(NoWork, match=r"not compared with 'bench.txt'"):
                use()
        running.curate()
        running.export()
    assert OTHER.format(n=5) not in (tmp_path / "export/dataset/data/train.jsonl").read_text()


def test_export_accepts_a_deleted_benchmark_and_refuses_a_misspelt_one(tmp_path: Path) -> None:
    """Rows were never compared with a misspelt file; they were compared with one that has been deleted since."""
    (tmp_path / "bench.txt").write_text("first line of no interest\n")
    named = '\n[curate.contamination]\nfiles = ["{}"]\n'
    with LoopbackTeacher(lambda ask: says(OTHER.format(n=5 if "rain" in ask.prompt else 90))) as teacher:
        running = opened(project(tmp_path, train="a quay\n", more=named.format("bench.txt")), teacher)
        running.generate()
        running.curate()
        (tmp_path / "bench.txt").unlink()
        running.export()
        running = opened(project(tmp_path, train="a quay\n", more=named.format("bensch.txt")), teacher)
        with pytest.raises(NoWork, match=r"not compared with 'bensch.txt'"):
            running.export()


def test_without_training_rows_no_base_is_loaded(tmp_path: Path) -> None:
    """A curation that leaves only test rows succeeds and says so; training ends before looking for its base, which may
    take minutes to load and here does not exist."""
    lines: list[str] = []
    with LoopbackTeacher(lambda ask: says(REFERENCE)) as teacher:
        running = opened(
            project(tmp_path, train="a quay\n", more='\n[train]\nbase = "none/such"\n'), teacher, lines.append
        )
        running.generate()
        assert running.curate().rows == {"train": 0, "validation": 0, "test": 1}
        assert any("nothing to learn from" in line for line in lines)
        with pytest.raises(NoWork, match="the dataset has no training rows"):
            running.train()


@pytest.mark.parametrize(
    "chat", [["Where is it?", "Which one?", "The blue one."], ["Be brief.", "Where is the blue one?"]]
)
def test_no_training_row_repeats_a_test_input_that_was_added_later(chat: list[str], tmp_path: Path) -> None:
    """Training compares its rows with the test as it is now. Conversations, and inputs with a system prompt of their
    own, were not compared, nor was what is beyond evaluate.max_seeds."""
    roles = ("user", "assistant", "user") if len(chat) == 3 else ("system", "user")
    turns = [{"role": role, "content": text} for role, text in zip(roles, chat, strict=True)]
    line = json.dumps({"messages": [*turns, {"role": "assistant", "content": "It is behind the door, as ever."}]})
    source = '[task]\nname = "own"\nkind = "reply"\nstyle = "Be kind."\n'
    source += '[[seeds]]\npath = "rows.jsonl"\nkind = "conversation"\nuse = "{}"\n[evaluate]\nmax_seeds = 1\n'
    (tmp_path / "rows.jsonl").write_text(line)
    (tmp_path / "pairsmith.toml").write_text(source.format("train"))
    running = Project(tmp_path)
    running.generate()
    running.curate()
    (tmp_path / "pairsmith.toml").write_text(source.format("test"))
    running = Project(tmp_path, ["train.base=none/such"])
    running.generate()
    with pytest.raises(InputError, match="is also a test input"):
        running.train()


def test_a_missing_or_broken_benchmark_is_an_error(tmp_path: Path) -> None:
    """Otherwise rows that were never compared would count as clean."""
    at = project(tmp_path, train="x\n", more='\n[curate.contamination]\nfiles = ["gone.txt"]\n')
    with pytest.raises(InputError, match=r"there is no file 'gone\.txt'"):
        collect_held_out(load(at).spec, at, ())
    (at / "gone.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        collect_held_out(load(at).spec, at, ())
    (at / "gone.txt").write_text("12\n\n")
    with pytest.raises(InputError, match=r"there is no text in 'gone\.txt'"):
        collect_held_out(load(at).spec, at, ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bench.csv", "Questions of May 2026\nby Ann, Bo\n\nid;question;x\n1;{text};2\n3;what is the moon;4\n"),
        ("bench.csv", "id;level;question\n1;easy;{text}\n2;hard;what is the capital of the moon\n"),
        ("bench.csv", "id,level,question\n1,easy,{text}\n"),
        ("bench.tsv", "id\tquestion\n1\t{text}\n"),
        ("bench.ndjson", '{{"id": 1, "question": "{text}\u2028"}}\n'),
        ("bench.csv", "question,page\n{text}," + "x" * 200_000 + "\n"),
        ("bench.csv", 'question,page\n"{text}" ,7\n"What" is the moon,8\n'),
        ("bench.json", '{{"question": "what is the moon"}}\n{{"question": "{text}"}}\n'),
        ("bench.json", '{{"answers": {{"{text}": "yes", "what is the capital of the moon": "no"}}}}'),
        ("bench.txt", "{text}\r\nwhat is the capital of the moon\r\n"),
    ],
)
def test_benchmark_texts_are_read_whatever_the_format(tmp_path: Path, name: str, content: str) -> None:
    """Semicolon-separated files, as Excel writes them in much of Europe, NDJSON, also if named .json, and objects that
    map texts to answers: if they were read as whole lines or ignored, no row would resemble them and copies of the
    benchmark would be trained on."""
    (tmp_path / name).write_bytes(content.format(text=TEST).encode())
    more = f'\n[curate.contamination]\nfiles = ["{name}"]\n'
    spec = load(project(tmp_path, train="a street in the rain\n", more=more)).spec
    assert TEST in [text.strip() for text in collect_held_out(spec, tmp_path, ()).texts]


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("bench.jsonl", '{"question": "x"}\n\n{"question": y}\n', "line 3 is not valid JSON, at column 14"),
        ("bench.json", '{"question": "x"}\n{"question": y}\n', "line 2 is not valid JSON"),
        ("bench.json", '[\n  {"question": "x"},\n  {"question": y}\n]\n', "line 3 column 16"),
        (
            "bench.csv",
            'question,label\n"what is it,a\nwhat is that,b\n',
            "the row that begins at line 2 has a quotation mark that is never closed",
        ),
        ("bench.csv", 'question,label\n"what" is it,"a\nwhat is that,b\n', "the row that begins at line 2"),
    ],
)
def test_a_broken_benchmark_row_is_named_by_its_line(tmp_path: Path, name: str, content: str, where: str) -> None:
    """A parser that gets one line at a time always reports line 1. After an unclosed quotation mark the rest of a table
    was one cell that resembled no row, without any message."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    more = f'\n[curate.contamination]\nfiles = ["{name}"]\n'
    spec = load(project(tmp_path, train="a street in the rain\n", more=more)).spec
    with pytest.raises(InputError, match=where):
        collect_held_out(spec, tmp_path, ())


PAIRS = """
[task]
kind = "KIND"
name = "pairs"
style = "By what is wanted."

[[seeds]]
path = "train.jsonl"
kind = "pair"
use = "train"

[[seeds]]
path = "test.jsonl"
kind = "pair"
use = "test"

[curate.contamination]
files = FILES
"""


def imported(folder: Path, kind: str, train: dict[str, str], test: dict[str, str], files: str = "[]") -> Project:
    """A curated project of existing pairs; a classification gets the training rows' labels."""
    spec = PAIRS.replace("KIND", kind).replace("FILES", files)
    labels = f"labels = {json.dumps(sorted(set(train.values())))}\n" if kind == "classify" else ""
    (folder / "pairsmith.toml").write_text(spec.replace("style =", f"{labels}style ="))
    for name, pairs in (("train", train), ("test", test)):
        lines = (json.dumps({"input": input, "output": output}) for input, output in pairs.items())
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    running = Project(folder)
    running.generate()
    running.curate()
    return running


@pytest.mark.parametrize(
    ("kind", "output"),
    [("classify", "cancel"), ("reply", "Thank you, it is stopped.")],
    ids=["a label", "a stock reply"],
)
def test_an_output_equal_to_a_short_test_input_is_no_contamination(kind: str, output: str, tmp_path: Path) -> None:
    """A one-word test message, "cancel", removed every training row with the label "cancel". It is compared with the
    inputs of training rows only, and detected there (for a reply the echo gate rejects that row first)."""
    train = {"please end my plan in March": output, output.upper(): output, "which bulb fits the lamp": "help"}
    running = imported(tmp_path, kind, train, {output: output})
    contaminated = [state.reason.detail for state in running.rows(reason="contamination") if state.reason]
    assert ["its input text is 100% like it" in detail for detail in contaminated] == [True] * (kind == "classify")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bench.txt", b"Caf\xc3\xa9 open?\n"),
        ("bench.csv", b"id,prompt,answer\nq1,Caf\xc3\xa9 open?,yes\nq2,Any cake?,yes\n"),
        ("bench.json", b'\xef\xbb\xbf[{"prompt": "Caf\xc3\xa9 open?", "answer": "yes"}]'),
    ],
)
def test_short_benchmark_texts_are_compared_with_inputs(name: str, content: bytes, tmp_path: Path) -> None:
    """Two-word prompts used to be ignored as if they were labels. A file does not say which of both a short text is, so
    no input may repeat it and any output may. A byte order mark is not part of the text."""
    (tmp_path / name).write_bytes(content)
    train = {"café open": "It is, until six o'clock today.", "is the shop closed on Sunday": "yes"}
    running = imported(tmp_path, "free", train, {"what do you sell there": "Lamps."}, f'["{name}"]')
    assert [state.reason.detail.partition(" (")[0] for state in running.rows("rejected") if state.reason] == [
        f"near-duplicate of {name}:{2 if name.endswith('csv') else 1}"
    ]


def test_rows_of_the_tests_template_stay_and_many_repeated_rows_are_explained(tmp_path: Path) -> None:
    """Tickets from the template of the test inputs are trained on, and the summary says that the test measures this
    template. If most rows repeat test inputs, it says how many, why, and what to do."""
    letter = (
        "Hello, two weeks ago I ordered the {} in your shop, and it has still not arrived at my address in {}. Please"
        " tell me where my parcel is, when it will be here, and whom I can call about it. Kind regards, {}"
    )
    things, towns = ("lamp", "desk", "rug", "mug", "clock", "vase"), ("Lyon", "Graz", "Porto", "Basel", "Leeds")
    names = "Ann Bob Eve Tom Mia Leo Ida Max Zoe Jan Kim Lea Ben Amy Sam Eli Una Gus Dan Joe Pam Ron Sue Ted"
    messages = [letter.format(things[n % 6], towns[n % 5], name) for n, name in enumerate(names.split(" "))]
    answers = {message: f"Dear customer {n}, your parcel is on its way." for n, message in enumerate(messages)}
    test = dict([*answers.items()][:10])
    running = imported(tmp_path, "reply", {text: answers[text] for text in messages[10:]}, test)
    outcome = running.curate()
    assert "contamination" not in outcome.reasons
    lines = dict(summary(outcome))
    assert "5 or more similar texts) stay: the test measures it" in lines["templates"]
    assert "repeated" not in lines
    (tmp_path / "copies").mkdir()
    copies = {f"{text} Thanks!": "It is on its way." for text in test}
    lines = dict(summary(imported(tmp_path / "copies", "reply", copies, test).curate()))
    assert lines["repeated"].startswith(
        "10 repeat a test text, of 20 rows; `pairsmith rows --reason contamination` lists"
    )
    assert "seeds.group" in lines["repeated"]
    assert "curate.duplicates.jaccard" in lines["repeated"]


def test_equal_candidates_of_one_input_are_no_lost_rows(tmp_path: Path) -> None:
    """A teacher that labels a text twice in the same way makes half of the rows duplicates, and nothing is lost. Where
    other rows are lost, a limit that is strict already is not recommended."""
    texts = "I was charged twice", "my parcel is late", "please close my account", "where is the invoice"
    (tmp_path / "train.txt").write_text("\n".join(texts))
    (tmp_path / "pairsmith.toml").write_text(
        '[task]\nkind = "classify"\nname = "labels"\nstyle = "One label."\nlabels = ["a", "b"]\n'
        '[[seeds]]\npath = "train.txt"\nuse = "train"\n[generate.forward]\nn = 2\n'
    )
    with LoopbackTeacher(lambda ask: says('{"label": "a"}')) as teacher:
        project = Project(tmp_path, [f"teacher.url={teacher.url}"])
        project.generate()
        outcome = project.curate()
        assert outcome.reasons == {"duplicate": 4}
        assert "repeated" not in dict(summary(outcome))
        (tmp_path / "train.txt").write_text("\n".join(f"I was charged twice for order {'ABCD'[n]}" for n in range(4)))
        project = Project(tmp_path, [f"teacher.url={teacher.url}", "curate.duplicates.jaccard=0.6"])
        project.generate()
        assert "curate.duplicates.jaccard=0.9" in dict(summary(project.curate()))["repeated"]
        (tmp_path / "train.txt").write_text("\n".join(f"I was charged twice for it{'!' * n}" for n in range(4)))
        project = Project(tmp_path, [f"teacher.url={teacher.url}", "curate.duplicates.jaccard=0.9"])
        project.generate()
        assert dict(summary(project.curate()))["repeated"].endswith("which belong together: seeds.group")
