"""A new project in the browser: what a file may do to its spec, its names, and the kinds of task."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

import pairsmith
from curate.split import LEAST_TEST_INPUTS

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith import guessed_spec
from pairsmith.serve.access import ALL, Role
from schemas.kinds import KINDS
from schemas.spec import Spec
from tests.serve.people import Service


@pytest.mark.parametrize(
    "keys",
    ['[evaluate]\nuser = ["os:getcwd"]', '[store]\nurl = "sqlite:////tmp/x.db"', "[budget]\nmax_usd = 1e6"],
    ids=["code", "machine", "fenced"],
)
def test_a_file_of_a_new_project_sets_nothing_that_is_fenced(
    service: Service, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers with line ends set no key; and if a file ever found a way to, an editor's project is not made of it."""
    service.person("maker", Role.editor, ALL)
    browser, name = service.browser("maker"), f"of-a-file-{len(keys)}"
    header = f"answer\n{keys}\n#".replace('"', '""')
    table = f'question,"{header}"\n' + "where do I find this,go along this road\n" * 3
    sent: dict[str, Any] = {"data": {"name": name}, "files": {"file": ("t.csv", table.encode())}}
    assert browser.post("/new", **sent).status_code == 303
    spec = service.workspace.project(name).spec
    assert (spec.evaluate.user, spec.store, spec.budget.max_usd) == ((), Spec.model_fields["store"].get_default(), None)

    monkeypatch.setattr(guessed_spec, "comment", lambda sentence: f"# {sentence}")
    refused = browser.post("/new", **{**sent, "data": {"name": f"{name}-2"}})
    assert refused.status_code == 403, refused.text
    assert f"{name}-2" not in service.workspace.projects()


def test_two_presses_make_one_project(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of one name is refused, and takes nothing of the first away, however close they are."""
    browser = service.browser("owner")
    form = {"name": "twice", "pasted": "a kite"}
    assert browser.post("/new", data=form).status_code == 303
    # The moment between the look and the folder, in which the other press has made it.
    monkeypatch.setattr(type(service.workspace), "projects", lambda _: [])
    monkeypatch.setattr(Path, "exists", lambda path, **_: path.name != "twice" and os.path.exists(path))
    assert browser.post("/new", data={**form, "pasted": "a crane"}).status_code == 400
    folder = service.workspace.new_folder("twice")
    assert (folder / "seeds" / "seeds.txt").read_text() == "a kite\n"


def test_a_file_that_was_chosen_is_not_lost_with_an_error(service: Service) -> None:
    """It stands in the form under its name until the project is made, for whoever chose it; another one takes its
    place, and one that is gone has to be chosen again."""
    service.person("maker", Role.editor, ALL)
    browser, table = service.browser("maker"), "question,answer\n" + "where do I find this,go along this road\n" * 3
    refused = browser.post("/new", data={"name": " "}, files={"file": ("tickets.csv", table.encode())})
    assert refused.status_code == 400
    assert 'value="tickets.csv" checked' in refused.text
    mine, theirs = ({"name": "kept", "chosen_before": "tickets.csv"}, service.browser("owner"))
    assert "is no longer available" in theirs.post("/new", data=mine).text
    assert "is no longer available" in browser.post("/new", data={**mine, "chosen_before": "../jobs.db"}).text
    assert browser.post("/new", data=mine).status_code == 303
    assert (service.workspace.folder("kept") / "seeds" / "tickets.csv").read_text() == table
    again = browser.post("/new", data={**mine, "name": "again"})
    assert "is no longer available" in again.text
    other = {"file": ("other.csv", table.replace("road", "lane").encode())}
    browser.post("/new", data={"name": " "}, files={"file": ("tickets.csv", table.encode())})
    sent = browser.post("/new", data={**mine, "name": "fresh"}, files=other)
    assert sent.status_code == 303, sent.text
    assert service.workspace.project("fresh").spec.seeds[0].path == "seeds/other.csv"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Über uns!", "uber-uns"),
        ("Straße_2", "strasse-2"),
        ('"crème" 🍮', "creme"),
        ("../etc", "etc"),
        ("x" * 90, "x" * 63),
    ],
)
def test_a_name_becomes_an_address(service: Service, name: str, slug: str) -> None:
    """Whatever of a name can stand in an address is the project's: letters without their marks, hyphens between."""
    answer = service.browser("owner").post("/new", data={"name": name, "pasted": "a kite"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/p/{slug}/setup")


def test_a_name_in_letters_that_no_address_has_is_the_title(service: Service) -> None:
    """A project called by letters of any script gets an address of its own, and is shown as it is called: in the list,
    over its pages, over the API. A project of another's name begins without its title."""
    browser = service.browser("owner")
    for n, name in enumerate(("提示词", "مشروع", "🎈", "Über uns"), 1):
        answer = browser.post("/new", data={"name": name, "pasted": "a kite"})
        slug = f"project-{n}" if n < 4 else "uber-uns"
        assert (answer.status_code, answer.headers["location"]) == (303, f"/p/{slug}/setup")
        assert f'href="/p/{slug}">{name}</a>' in browser.get("/").text
        page = browser.get(f"/p/{slug}/setup").text
        assert f'href="/p/{slug}">{name}</a>' in page
        assert f"Setup · {name} · pairsmith</title>" in page
        assert browser.get(f"/api/v1/projects/{slug}").json()["title"] == name
    for wrong in ("", "  ", "a\u202eb"):
        refused = browser.post("/new", data={"name": wrong, "pasted": "a kite"})
        assert refused.status_code == 400
        assert "Enter a name such as my-prompts." in refused.text


@pytest.mark.parametrize("name", ["a" * 300 + ".txt", "входы.txt", "a" * 300])
def test_a_file_of_a_new_project_may_be_called_anything(service: Service, name: str) -> None:
    """Long names and other scripts are names of text files; none is a defect."""
    slug = f"called-{len(name)}"
    sent = service.browser("owner").post("/new", data={"name": slug}, files={"file": (name, b"a kite\n")})
    assert sent.status_code in (303, 422), sent.text
    assert (sent.status_code == 303) == name.endswith(".txt")


SCHEMA = '{"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}'
NEEDS = {
    "classify": {"labels": 'late: a parcel that is late\r\n"odd" one\r\nother: this: and that\r\n'},
    "extract": {"schema": SCHEMA},
    "translate": {"to": "fr"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_says_what_kind_of_task_it_is(service: Service, kind: str) -> None:
    """Every kind stands on the page with its line, and a project of it has the defaults of the kind; what the kind
    needs is asked for, and without it nothing is made and nothing that was written is lost."""
    browser = service.browser("owner")
    assert escape(KINDS[kind].about) in browser.get("/new").text  # type: ignore[index]
    form = {"name": kind, "kind": kind, "pasted": "Where is my parcel?\nCan I return it?", "language": "de"}
    if kind in NEEDS:
        refused = browser.post("/new", data=form)
        assert refused.status_code == 422, refused.text
        assert "Where is my parcel?" in refused.text
        assert f'value="{kind}" checked' in refused.text
        assert kind not in service.workspace.projects()
    answer = browser.post("/new", data={**form, **NEEDS.get(kind, {})})
    assert answer.status_code == 303, answer.text
    spec = service.workspace.project(kind).spec
    assert (spec.task.kind, spec.task.language) == (kind, "de")
    defaults = {"task.system": "Rewrite the input in the house style.", **KINDS[kind].defaults}  # type: ignore[index]
    assert spec.task.system == defaults["task.system"]
    if kind != "rewrite":
        assert spec.generate.forward.prompt == defaults["generate.forward.prompt"]
        assert spec.generate.forward.n == defaults.get("generate.forward.n", 4)
    if kind == "classify":
        assert spec.task.labels == {"late": "a parcel that is late", '"odd" one': "", "other": "this: and that"}


@pytest.mark.parametrize(
    ("kind", "field", "value", "says"),
    [
        ("classify", "labels", "a\na: again", "appears twice"),
        ("extract", "schema", "{", "is not JSON"),
        ("extract", "schema", "[]", "schema"),
        ("extract", "schema", "os:getcwd", "is not JSON"),
        ("translate", "to", "French", "to"),
        ("nothing", "to", "fr", "kind"),
    ],
)
def test_what_a_kind_needs_is_checked(service: Service, kind: str, field: str, value: str, says: str) -> None:
    """What cannot be used is a sentence on a page, and makes nothing."""
    form = {"name": "wrong", "kind": kind, "pasted": "Where is it?", field: value}
    refused = service.browser("owner").post("/new", data=form)
    assert refused.status_code in (400, 422), refused.text
    assert "<h1" in refused.text
    assert says in refused.text
    assert not service.workspace.new_folder("wrong").exists()


def test_a_kind_that_is_chosen_goes_before_what_a_file_is_taken_for(service: Service) -> None:
    """A table of replies may be of another kind; one that is not chosen stays with what its columns show."""
    table = b"question,reply\n" + b"where do I find this,go along this road\n" * 3
    for name, kind, taken in (("as-it-is", "", "reply"), ("as-told", "free", "free")):
        sent: dict[str, Any] = {"data": {"name": name, "kind": kind}, "files": {"file": ("t.csv", table)}}
        assert service.browser("owner").post("/new", **sent).status_code == 303
        assert service.workspace.project(name).spec.task.kind == taken


@pytest.mark.parametrize("kind", ["", "extract", "free"])
def test_a_file_of_records_needs_no_schema(service: Service, kind: str) -> None:
    """Records in a column, also spelt as texts, make a project that extracts, with a schema of their own, unless
    another kind of task was chosen; nobody is asked."""
    label = json.dumps({"produkt": "Lampe", "nummer": 3})
    rows = "".join(json.dumps({"text": f"Lampe {n} ist kaputt, bitte", "label": label}) + "\n" for n in range(9))
    sent: dict[str, Any] = {"data": {"name": "labels", "kind": kind}, "files": {"file": ("t.jsonl", rows.encode())}}
    answer = service.browser("owner").post("/new", **sent)
    assert answer.status_code == 303, answer.text
    project = service.workspace.project("labels")
    wanted = ("free", None) if kind == "free" else ("extract", "schema.json")
    assert (project.spec.task.kind, project.spec.task.answer_schema) == wanted
    assert not project.spec.needs_teacher
    if kind != "free":
        schema = json.loads((project.folder / "schema.json").read_text())
        assert schema["properties"] == {"produkt": {"type": "string"}, "nummer": {"type": "integer"}}


def test_a_record_in_place_of_a_schema_is_an_example_of_it(service: Service) -> None:
    """What is no schema says nothing of an answer: of a record the schema is made that it keeps."""
    record, form = (
        {"category": "repair", "urgent": True},
        {"name": "by-example", "kind": "extract", "pasted": "it broke"},
    )
    browser = service.browser("owner")
    assert browser.post("/new", data={**form, "schema": json.dumps(record)}).status_code == 303
    schema = json.loads((service.workspace.folder("by-example") / "schema.json").read_text())
    assert schema["properties"] == {"category": {"type": "string"}, "urgent": {"type": "boolean"}}
    written = json.dumps({"type": "object", "title": "A ticket"})
    assert browser.post("/new", data={**form, "name": "by-schema", "schema": written}).status_code == 303
    assert (service.workspace.folder("by-schema") / "schema.json").read_text() == written


def test_a_command_in_a_sentence_is_code_and_a_text_is_none(service: Service) -> None:
    """What a terminal shows between backticks is code on a page; whatever else stands there is escaped as ever."""
    table = "question;answer\nwo ist der Hörer;dort auf dem Tisch\0\n".encode("latin-1")  # in no encoding
    files = {"file": ("<b>`x`.csv", table)}
    page = service.browser("owner").post("/new", data={"name": "sheet"}, files=files).text
    assert "<code>iconv -f ENCODING -t UTF-8 OLD &gt; NEW</code>" in page
    assert "<b>" not in page


def test_a_sentence_on_a_file_has_the_file_in_it(service: Service) -> None:
    """What is wrong with a file, at which line, is one sentence on a page: its subject is the place, which a command
    line writes before it."""
    table = "question,answer\nwo ist meine Lampe,sie ist unterwegs, dauert aber nicht länger\0\n".encode("cp1252")
    sent: dict[str, Any] = {"data": {"name": "excel"}, "files": {"file": ("t.csv", table)}}
    page = service.browser("owner").post("/new", **sent)
    assert page.status_code == 422
    assert "<strong>t.csv:2 is not UTF-8: byte" in page.text


def test_a_file_that_is_not_utf_8_is_asked_about(service: Service) -> None:
    """Each encoding that can read it stands with what it makes of the first lines, the likeliest chosen; the file need
    not be chosen again. So it is with other seeds later, and over the API by name."""
    browser = service.browser("owner")
    table = "Frage;Antwort\nWo ist der Hörer?;Er liegt auf dem Tisch.\nWas kostet das?;Fünf €.\n".encode("cp1252")
    files = {"file": ("t.csv", table)}
    asked = browser.post("/new", data={"name": "sheet"}, files=files)
    assert asked.status_code == 422
    page = unescape(asked.text)
    assert (
        '<input type="radio" name="encoding" value="cp1252" checked autofocus>Western Europe, Windows (cp1252)' in page
    )
    assert "<q>Wo ist der Hörer?;Er liegt auf dem Tisch.</q>" in page
    assert "<q>Wo ist der HЎrer?" in page or "<q>Wo ist der Hцrer?" in page
    again = {"name": "sheet", "chosen_before": "t.csv", "encoding": "cp1252"}
    assert browser.post("/new", data=again).status_code == 303
    assert "Wo ist der Hörer?" in unescape(browser.get("/p/sheet/setup").text)

    asked = browser.post("/p/sheet/setup/seeds", files=files)
    assert 'name="chosen_before" value="t.csv" checked' in asked.text
    wrong = {"chosen_before": "t.csv", "encoding": "cp932"}
    assert "cannot be read as Japanese, Shift JIS (cp932)" in browser.post("/p/sheet/setup/seeds", data=wrong).text
    assert browser.post("/p/sheet/setup/seeds", data={**wrong, "encoding": "cp1252"}).status_code == 303

    japanese = {"file": ("u.csv", "質問;答え\n注文はどこですか;配送中です。\n".encode("cp932"))}
    for path in ("/new", "/p/sheet/setup/seeds"):  # the choice was that of the file before
        another = browser.post(path, data={"name": "questions", "encoding": "cp1252"}, files=japanese)
        assert "<q>注文はどこですか;" in another.text

    program = service.program("owner")
    files = {"file": ("more.txt", table)}
    refused = program.post("/api/v1/projects/sheet/seeds", files=files)
    assert refused.status_code == 422
    assert "such as Western Europe, Windows (cp1252)" in refused.json()["fix"]
    added = program.post("/api/v1/projects/sheet/seeds", files=files, data={"encoding": "cp1252"})
    assert added.status_code == 201, added.text


def test_columns_of_a_file_in_another_encoding_are_shown(service: Service) -> None:
    """A project that was made on the command line names the encoding of its file: the setup page reads it so, too."""
    browser = service.browser("owner")
    files = {"file": ("t.csv", "Frage;Antwort\nWo ist der Hörer?;Er liegt auf dem Tisch.\n".encode("cp1252"))}
    again = {"name": "sheet", "encoding": "cp1252", "chosen_before": "t.csv"}
    browser.post("/new", data={"name": "sheet"}, files=files)
    assert browser.post("/new", data=again).status_code == 303
    folder = service.workspace.folder("sheet")
    path = folder / "seeds" / "t.csv"
    path.write_bytes(path.read_text().encode("cp1252"))
    spec = (folder / "pairsmith.toml").read_text()
    (folder / "pairsmith.toml").write_text(spec.replace('"seeds/t.csv"', '"seeds/t.csv"\nencoding = "cp1252"'))
    page = unescape(browser.get("/p/sheet/setup").text)
    assert '<input type="hidden" name="header" value="Frage">' in page


@pytest.mark.parametrize("path", ["/new", "/p/mine/setup/seeds"])
def test_of_lines_and_a_file_none_wins_unseen(service: Service, path: str) -> None:
    """Given both, at once or one after the other, a person says which; each stays in the form until then."""
    browser = service.browser("owner")
    lines = {"name": "both", "pasted": "a kite\na crane\n"}
    at_once: dict[str, Any] = {"data": lines, "files": {"file": ("t.txt", b"a fox\n")}}
    for sent in (at_once, {"data": {**lines, "chosen_before": "t.txt"}}):
        page = browser.post(path, **sent)
        assert page.status_code == 422
        assert "only one of them can be used" in page.text
        assert "a kite\na crane\n</textarea>" in page.text
        assert 'name="chosen_before" value="t.txt" checked' in page.text
    read = browser.post(path, data={"name": "both", "chosen_before": "t.txt"})
    assert "a fox" in browser.get(read.headers["location"]).text
    written = browser.post(path, data={**lines, "name": "others"})
    assert "a crane" in browser.get(written.headers["location"]).text


_ABOUT = {"Gator": "Potthål, ca {} cm djupt", "Avfall": "Soptunnan tömdes inte vecka {}", "Bygglov": "Altan, {} m2?"}
_CELLS = [("Meddelande", "Avdelning"), *((text.format(n), to) for n in range(1, 10) for to, text in _ABOUT.items())]


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_table_that_is_pasted_is_a_table(service: Service, separator: str) -> None:
    """Cells of a spreadsheet bring their labels. By lines each input would have held its own label, and the headers
    would have been an input."""
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in row] for row in _CELLS]
    pasted = "\r\n".join(separator.join(row) for row in quoted) + "\r\n"
    form = {"name": f"cells-{ord(separator)}", "kind": "classify", "pasted": pasted}
    assert service.browser("owner").post("/new", data=form).status_code == 303
    task, sources = (getattr(service.workspace.project(form["name"]).spec, key) for key in ("task", "seeds"))
    assert set(task.labels) == {"Avfall", "Bygglov", "Gator"}
    assert sources[0].columns == {"input": "Meddelande", "output": "Avdelning"}
    lines = service.browser("owner").post("/new", data={**form, "name": "as-lines", "lines": "input", "labels": "a\nb"})
    assert lines.status_code == 303
    assert service.workspace.project("as-lines").spec.seeds[0].path == "seeds/seeds.txt"
    service.workspace.project("as-lines").folder.rename(service.workspace.root / f"gone-{ord(separator)}")


def test_unicode_text_of_excel_is_a_table(service: Service) -> None:
    """What Excel saves so is UTF-16 with tabs and called `.txt`; so it is for a project that is there."""
    content = "\r\n".join("\t".join(row) for row in _CELLS).encode("utf-16")
    browser = service.browser("owner")
    sent: dict[str, Any] = {"files": {"file": ("arenden.txt", content)}}
    assert browser.post("/new", data={"name": "excel", "kind": "classify"}, **sent).status_code == 303
    assert set(service.workspace.project("excel").spec.task.labels) == {"Avfall", "Bygglov", "Gator"}
    again = browser.post("/p/excel/setup/seeds", files={"file": ("andra.txt", content)})
    assert again.status_code == 303
    (source,) = service.workspace.project("excel").spec.seeds
    assert (source.path, source.kind) == ("seeds/andra.csv", "pair")


@pytest.mark.parametrize(
    "pasted",
    [
        "Berlin,Germany\nParis,France\nRome,Italy",
        "castle,sunset,oil painting\nforest,night,photo",
        "I came;I saw\nHe came;he saw",
        "import os,sys\nprint(text,label)",
        "print(text,label)\nprint(a,b)",
        "1.\tWrite a poem\n2.\tDraw a cat\n3.\tSing",
        "\u2022\tWrite a poem\n\u2022\tDraw a cat",
        "a)\tWrite a poem\nb)\tDraw a cat",
        "\tif it rains:\n\tstay at home\n\tand read",
        "Ada:\tWhere is it?\nBob:\tHere it is.",
        "Roses are red,\nViolets are blue,\nand so on.",
        "[" * 5000,
        '["a", "b"]',
        '{"a": 1,\n"b": 2}',
    ],
)
def test_lines_that_only_look_like_a_table_are_lines(service: Service, pasted: str) -> None:
    """A list from a word processor has tabs, places and tags have commas: each line is an input, the first one too."""
    name = f"looks-{hashlib.sha256(pasted.encode()).hexdigest()[:8]}"
    answer = service.browser("owner").post("/new", data={"name": name, "pasted": pasted})
    assert answer.status_code == 303, answer.text
    (source,) = service.workspace.project(name).spec.seeds
    assert (source.path, source.kind) == ("seeds/seeds.txt", "input")
    kept = (service.workspace.folder(name) / source.path).read_text()
    assert kept == pasted + "\n"
    service.workspace.folder(name).rename(service.workspace.root / f"gone-{name}")


def test_records_may_be_inputs_line_by_line(service: Service) -> None:
    """Where the columns of a text taken for a table cannot be read, it says how it is none, in a new project and in one
    that is there; said so, each line is an input."""
    browser, pasted = service.browser("owner"), '{"part": "lid", "eur": 3}\n{"part": "jug", "eur": 9}\n'
    form = {"name": "records", "pasted": pasted}
    refused = browser.post("/new", data=form)
    assert refused.status_code == 422
    assert "select that under Lines of text" in refused.text
    assert browser.post("/new", data={**form, "lines": "input"}).status_code == 303
    path = "/p/records/setup/seeds"
    again = browser.post(path, data={"pasted": pasted})
    assert again.status_code == 422
    assert "select that under Lines of text" in again.text
    assert "legend>Lines of text are" in again.text
    assert browser.post(path, data={"pasted": pasted.upper(), "lines": "output"}).status_code == 303
    (source,) = service.workspace.project("records").spec.seeds
    assert (source.path, source.kind) == ("seeds/seeds.txt", "output")


def test_json_that_is_pasted_is_read_as_json(service: Service) -> None:
    """Objects, one a line or in a list, are rows with columns and no texts."""
    rows = [{"question": f"Where is parcel {n}?", "answer": f"Parcel {n} is on its way."} for n in range(3)]
    for name, pasted in (("objects", "\n".join(map(json.dumps, rows))), ("list", json.dumps(rows, indent=1))):
        assert service.browser("owner").post("/new", data={"name": name, "pasted": pasted}).status_code == 303
        assert service.workspace.project(name).spec.seeds[0].kind == "pair"


def test_a_project_is_deleted_on_its_page_by_an_owner_who_writes_its_name(service: Service) -> None:
    """It goes to the trash and leaves the list; another name, or another role, deletes nothing."""
    service.person("maker", Role.editor, ALL)
    owner = service.browser("owner")
    for name in ("wrong", "kept"):
        assert owner.post("/new", data={"name": name, "pasted": "a kite"}).status_code == 303
    assert "/p/wrong/delete" in owner.get("/p/wrong").text
    assert "/p/wrong/delete" not in service.browser("maker").get("/p/wrong").text
    assert service.browser("maker").post("/p/wrong/delete", data={"name": "wrong"}).status_code == 403
    assert "nothing was deleted" in owner.post("/p/wrong/delete", data={"name": "kept"}).text
    assert service.workspace.folder("wrong").is_dir()
    gone = owner.post("/p/wrong/delete", data={"name": " wrong "})
    assert "in the trash" in owner.get(gone.headers["location"]).text
    assert [*(service.workspace.serve / "trash").glob("wrong-*")]
    there = service.workspace.projects()
    assert "wrong" not in there
    assert "kept" in there


def test_what_the_first_page_calls_enough_is_enough() -> None:
    """The number of inputs that it names gives a new project the test inputs that an evaluation asks for."""
    spec = tomllib.loads((Path(pairsmith.__file__).parent / "starter/pairsmith.toml").read_text())
    page = (Path(pairsmith.__file__).parent / "serve/templates/projects.html.j2").read_text()
    assert "A conclusive test needs at least 80" in page
    assert round(80 * spec["split"]["test"]) == LEAST_TEST_INPUTS


def test_what_is_wrong_with_a_new_project_is_said_without_the_machines_paths(service: Service) -> None:
    """A schema that is none was shown at the place where the project is being made, of which nothing is left."""
    form = {"name": "bills", "kind": "extract", "schema": "{not json", "pasted": "Total: 3"}
    page = service.browser("owner").post("/new", data=form)
    assert page.status_code == 422
    assert "schema.json is not JSON" in page.text
    assert ".making-" not in page.text
    assert str(service.workspace.root) not in page.text
