"""Creating a project in the browser: what a file may put into its spec, project names, and the kinds of task."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pairsmith
from curate.split import LEAST_TEST_INPUTS

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve.access import ALL, Role
from pairsmith.serve.pages.columns import sources
from pairsmith.user_file import guessed_spec
from schemas.kinds import KINDS
from schemas.spec import Spec
from schemas.spec_file import SPEC_NAME, load
from tests.serve.people import Service


@pytest.mark.parametrize(
    "keys",
    ['[evaluate]\nuser = ["os:getcwd"]', '[store]\nurl = "sqlite:////tmp/x.db"', "[budget]\nmax_usd = 1e6"],
    ids=["code", "machine", "fenced"],
)
def test_file_of_a_new_project_cannot_set_fenced_keys(
    service: Service, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Column headers with line breaks set no key. Even if a file found a way to, an editor's project with fenced keys
    would not be created."""
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


def test_two_clicks_create_one_project(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request with the same name is refused and leaves the first project intact, however close they are."""
    browser = service.browser("owner")
    form = {"name": "twice", "pasted": "a kite"}
    assert browser.post("/new", data=form).status_code == 303
    # Simulates the moment between the check and the creation of the folder, in which the other request has created it.
    monkeypatch.setattr(type(service.workspace), "projects", lambda _: [])
    monkeypatch.setattr(Path, "exists", lambda path, **_: path.name != "twice" and os.path.exists(path))
    assert browser.post("/new", data={**form, "pasted": "a crane"}).status_code == 400
    folder = service.workspace.new_folder("twice")
    assert (folder / "seeds" / "seeds.txt").read_text() == "a kite\n"


def test_two_people_name_projects_in_another_script_at_once(service: Service) -> None:
    """Both get a project, although no slug can be derived from either name and both are given the first free one."""
    names = ["客户回复", "ответы", "ردود", "답장"]
    for number in range(len(names)):
        service.person(f"maker{number}", Role.editor, ALL)
    browsers = [service.browser(f"maker{number}") for number in range(len(names))]
    begin = Barrier(len(names))

    def create(browser: Any, name: str) -> int:
        begin.wait(60)
        return int(browser.post("/new", data={"name": name, "pasted": "one two three"}).status_code)

    with ThreadPoolExecutor(len(names)) as pool:
        assert set(pool.map(create, browsers, names)) == {303}
    assert {f"project-{n}" for n in range(1, 1 + len(names))} <= set(service.workspace.projects())


def test_every_page_is_named_by_the_title_of_its_project(service: Service) -> None:
    """A project named in another script has the slug `project-1`, and so were the tabs of its run and its overview."""
    service.person("maker", Role.editor, ALL)
    browser = service.browser("maker")
    assert browser.post("/new", data={"name": "客户回复", "pasted": "one two three"}).headers["location"]
    for page in ("", "/run", "/training", "/setup", "/rows", "/downloads"):
        shown = browser.get(f"/p/project-1{page}").text
        titles = re.findall(r'<title>([^<]*)<|data-title="([^"]*)"', shown)
        assert titles
        assert all("客户回复" in "".join(title) for title in titles), (page, titles)


def test_a_file_of_the_same_name_from_another_tab_is_not_used(service: Service) -> None:
    """With two forms open, the second file of a name took the place of the first, whose form then made its project of
    the other file without a word."""
    service.person("maker", Role.editor, ALL)
    browser = service.browser("maker")

    def chosen(word: str) -> str:
        table = "question,answer\n" + f"where do I find this,go along this {word}\n" * 3
        page = browser.post("/new", data={"name": " "}, files={"file": ("tickets.csv", table.encode())}).text
        reference = re.search(r'name="chosen_before" value="([^"]+)"', page)
        assert reference
        return reference[1]

    first, second = chosen("road"), chosen("lane")
    refused = browser.post("/new", data={"name": "first", "chosen_before": first})
    assert "The file tickets.csv is no longer available" in refused.text
    assert browser.post("/new", data={"name": "second", "chosen_before": second}).status_code == 303
    assert "lane" in (service.workspace.folder("second") / "seeds" / "tickets.csv").read_text()


def test_chosen_file_survives_an_error(service: Service) -> None:
    """The form keeps the uploaded file by name until the project is created, for the same user only. Another file
    replaces it, and a file that is gone has to be chosen again."""
    service.person("maker", Role.editor, ALL)
    browser, table = service.browser("maker"), "question,answer\n" + "where do I find this,go along this road\n" * 3
    refused = browser.post("/new", data={"name": " "}, files={"file": ("tickets.csv", table.encode())})
    assert refused.status_code == 400
    assert 'value="tickets.csv#' in refused.text
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
def test_project_name_becomes_a_slug(service: Service, name: str, slug: str) -> None:
    """Letters lose their diacritics, runs of other characters become hyphens, and the length is limited."""
    answer = service.browser("owner").post("/new", data={"name": name, "pasted": "a kite"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/p/{slug}/setup")


def test_name_without_latin_letters_becomes_the_title(service: Service) -> None:
    """A project named in any script gets a slug and keeps its name as the title: in the list, on its pages and in the
    API. After it is deleted, a project of the same slug starts without its title. Empty names and names with a
    direction override are refused."""
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
    assert browser.delete("/api/v1/projects/uber-uns").status_code == 204
    assert browser.post("/new", data={"name": "uber-uns", "pasted": "a kite"}).status_code == 303
    assert browser.get("/api/v1/projects/uber-uns").json()["title"] == "uber-uns"
    assert "Über uns" not in browser.get("/").text
    for wrong in ("", "  ", "a\u202eb"):
        refused = browser.post("/new", data={"name": wrong, "pasted": "a kite"})
        assert refused.status_code == 400
        assert "Enter a name such as my-prompts." in refused.text


@pytest.mark.parametrize("name", ["a" * 300 + ".txt", "входы.txt", "a" * 300])
def test_file_of_a_new_project_can_have_any_name(service: Service, name: str) -> None:
    """Long names and other scripts are accepted for text files; no name causes a server error."""
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
def test_kind_of_task_can_be_chosen(service: Service, kind: str) -> None:
    """Every kind is on the page with its description, and its project gets the defaults of the kind. If a required
    setting is missing, nothing is created and the input is kept."""
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
def test_settings_of_a_kind_are_validated(service: Service, kind: str, field: str, value: str, says: str) -> None:
    """An invalid setting gives a message on the page, and no project is created."""
    form = {"name": "wrong", "kind": kind, "pasted": "Where is it?", field: value}
    refused = service.browser("owner").post("/new", data=form)
    assert refused.status_code in (400, 422), refused.text
    assert "<h1" in refused.text
    assert says in refused.text
    assert not service.workspace.new_folder("wrong").exists()


def test_name_of_a_language_is_not_cut_to_two_letters(service: Service) -> None:
    """The browser cut it, so that Swedish became Swahili, and Slovak Slovenian; now the message asks for letters."""
    browser = service.browser("owner")
    page = browser.get("/new").text
    for field in ("to", "language"):
        (tag,) = re.findall(rf'<input name="{field}"[^>]*>', page)
        assert int(re.findall(r'maxlength="(\d+)"', tag)[0]) >= 40
        form = {"name": "wrong", "kind": "translate", "pasted": "Where is it?", "to": "fr", field: "swedish"}
        refused = browser.post("/new", data=form)
        assert refused.status_code == 422
        assert "expected the two letters of a language" in unescape(refused.text)


def test_columns_of_a_parquet_file_are_guessed(service: Service) -> None:
    """As those of a CSV file, in a new project and where it replaces the seeds: the outputs were dropped in silence."""
    content = io.BytesIO()
    pq.write_table(pa.table({"input": ["Where is it?", "Is it here?"], "output": ["There.", "It is."]}), content)
    browser = service.browser("owner")
    files = {"file": ("t.parquet", content.getvalue())}
    assert browser.post("/new", data={"name": "columnar", "kind": "reply"}, files=files).status_code == 303
    assert browser.post("/new", data={"name": "lines", "kind": "reply", "pasted": "Where?"}).status_code == 303
    assert browser.post("/p/lines/setup/seeds", files=files).status_code == 303
    for slug in ("columnar", "lines"):
        (source,) = service.workspace.project(slug).spec.seeds
        assert (source.kind, dict(source.columns)) == ("pair", {"input": "input", "output": "output"})
        assert "finished outputs" in browser.get(f"/p/{slug}/setup").text
    assert ".parquet" in browser.get("/new").text


def test_chosen_kind_overrides_the_guessed_kind(service: Service) -> None:
    """A table of replies can be used for another kind; without a choice the columns decide."""
    table = b"question,reply\n" + b"where do I find this,go along this road\n" * 3
    for name, kind, taken in (("as-it-is", "", "reply"), ("as-told", "free", "free")):
        sent: dict[str, Any] = {"data": {"name": name, "kind": kind}, "files": {"file": ("t.csv", table)}}
        assert service.browser("owner").post("/new", **sent).status_code == 303
        assert service.workspace.project(name).spec.task.kind == taken


@pytest.mark.parametrize("kind", ["", "extract", "free"])
def test_schema_is_derived_from_a_file_of_records(service: Service, kind: str) -> None:
    """JSON objects in a column, even if encoded as strings, make an extraction project with a schema derived from them,
    unless another kind was chosen. The user is not asked."""
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


def test_record_entered_as_schema_is_used_as_an_example(service: Service) -> None:
    """A plain record is not a schema and would constrain nothing, so a schema that it satisfies is derived from it."""
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


def test_commands_in_messages_are_shown_as_code(service: Service) -> None:
    """What a terminal shows between backticks is code on a page; everything else is escaped as usual."""
    table = "question;answer\nwo ist der Hörer;dort auf dem Tisch\0\n".encode("latin-1")  # invalid in every encoding
    files = {"file": ("<b>`x`.csv", table)}
    page = service.browser("owner").post("/new", data={"name": "sheet"}, files=files).text
    assert "<code>iconv -f ENCODING -t UTF-8 OLD &gt; NEW</code>" in page
    assert "<b>" not in page


def test_message_about_a_file_names_the_file_and_line(service: Service) -> None:
    """On a page the place is the subject of the message; the command line prints it before the message."""
    table = "question,answer\nwo ist meine Lampe,sie ist unterwegs, dauert aber nicht länger\0\n".encode("cp1252")
    sent: dict[str, Any] = {"data": {"name": "excel"}, "files": {"file": ("t.csv", table)}}
    page = service.browser("owner").post("/new", **sent)
    assert page.status_code == 422
    assert "<strong>t.csv:2 is not UTF-8: byte" in page.text


def test_encoding_of_a_non_utf8_file_can_be_chosen(service: Service) -> None:
    """Each encoding that can decode the file is shown with the first lines, the likeliest one selected; the file need
    not be uploaded again. The same applies to seeds added later, and the API accepts an encoding by name."""
    browser = service.browser("owner")
    table = "Frage;Antwort\nWo ist der Hörer?;Er liegt auf dem Tisch.\nWas kostet das?;Fünf €.\n".encode("cp1252")
    files = {"file": ("t.csv", table)}
    asked = browser.post("/new", data={"name": "sheet"}, files=files)
    assert asked.status_code == 422
    page = unescape(asked.text)
    assert (
        '<input type="radio" name="encoding" value="cp1252" checked autofocus>Western Europe, Windows (cp1252)' in page
    )
    assert "<q>Wo ist der Hörer?;Er liegt auf</q>" in page
    assert "<q>Wo ist der HЎrer?" in page or "<q>Wo ist der Hцrer?" in page
    again = {"name": "sheet", "chosen_before": "t.csv", "encoding": "cp1252"}
    assert browser.post("/new", data=again).status_code == 303
    assert "Wo ist der Hörer?" in unescape(browser.get("/p/sheet/setup").text)

    asked = browser.post("/p/sheet/setup/seeds", files=files)
    assert 'name="chosen_before" value="t.csv#' in asked.text
    wrong = {"chosen_before": "t.csv", "encoding": "cp932"}
    assert "cannot be read as Japanese, Shift JIS (cp932)" in browser.post("/p/sheet/setup/seeds", data=wrong).text
    assert browser.post("/p/sheet/setup/seeds", data={**wrong, "encoding": "cp1252"}).status_code == 303

    japanese = {"file": ("u.csv", "質問;答え\n注文はどこですか;配送中です。\n".encode("cp932"))}
    for path in ("/new", "/p/sheet/setup/seeds"):  # the choice was made for the previous file
        another = browser.post(path, data={"name": "questions", "encoding": "cp1252"}, files=japanese)
        assert "<q>注文はどこですか;" in another.text

    program = service.program("owner")
    files = {"file": ("more.txt", table)}
    refused = program.post("/api/v1/projects/sheet/seeds", files=files)
    assert refused.status_code == 422
    assert "such as Western Europe, Windows (cp1252)" in refused.json()["fix"]
    added = program.post("/api/v1/projects/sheet/seeds", files=files, data={"encoding": "cp1252"})
    assert added.status_code == 201, added.text


def test_columns_are_read_with_the_encoding_of_the_spec(service: Service) -> None:
    """A spec written for the command line may name the encoding of its file: the setup page uses it too."""
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


def test_doubts_about_a_file_are_shown(service: Service) -> None:
    """What `init --from` says on the screen was only in the spec file of a project made in the browser. Once somebody
    has decided what the columns are, it is gone."""
    browser = service.browser("owner")
    rows = "".join(f"Where is parcel {n} now?,{'NULL' if n % 2 else f'It is on road {n}'}\n" for n in range(20))
    browser.post("/new", data={"name": "doubts"}, files={"file": ("t.csv", f"question,answer\n{rows}".encode())})
    doubt = "10 of 20 outputs are 'NULL': remove these rows if that is no answer."
    page = browser.get("/p/doubts/setup").text
    assert f"<li>{doubt}</li>" in unescape(page)
    seen = page.split("setup/columns#seeds")[1].split('name="seen" value="')[1].split('"')[0]
    roles = {"source": "0", "seen": seen, "header": ["question", "answer"], "role": ["input", "output"]}
    assert browser.post("/p/doubts/setup/columns", data=roles).status_code == 303
    assert doubt not in unescape(browser.get("/p/doubts/setup").text)


def test_advice_about_a_file_names_what_the_page_has(service: Service) -> None:
    """The comments in the spec advise what to do there or in a terminal. On the page, they name its own fields instead
    of options, keys and commands."""
    texts = [f"the pump {n} in the cellar hums" for n in range(40)]
    french = [f"la pompe {n} dans la cave ronronne encore" for n in range(40)]
    states, owners = ["on", "off"] * 20, [f"o{n % 12}" for n in range(40)]
    files: dict[str, dict[str, list[str]]] = {
        "start a new project of the kind `classify`": {"remark": texts, "state": states},
        "start a new project of the kind `translate`": {"source text": texts, "target text": french},
        "and the other target language": {"en": texts, "fr": french},
        "make the two a pair: one the input, one the output": {"one": texts, "two": french},
        "make it an input too": {"question": texts, "answer": french, "place": texts[::-1]},
        "leave out this grouping": {"question": texts, "answer": french, "customer": owners},
        "can be read as rejected, or left out": {"question": texts, "answer": french, "answer 2": texts[::-1]},
        "so 'echo', which would reject them, is off": {"question": texts, "answer": texts},
        "into one list, `messages`": {"text": texts, "thread_id": owners},
    }
    browser = service.browser("owner")
    for at, (advice, columns) in enumerate(files.items()):
        table = "".join(",".join(row) + "\n" for row in [list(columns), *zip(*columns.values(), strict=True)])
        browser.post("/new", data={"name": f"n{at}"}, files={"file": ("t.csv", table.encode())})
        (shown,) = sources(service.workspace.project(f"n{at}"))
        notes = "\n".join(shown.notes)
        assert advice in notes
        assert not re.search(r"`pairsmith|--\w|\[\[|\w = |'group'|`rejected`", notes), notes


def test_comments_belong_to_the_source_below_them(tmp_path: Path) -> None:
    """Also if the spec begins with its first source."""
    sources_ = "".join(f'[[seeds]]\npath = "{n}.csv"\nkind = "pair"\n\n# Note on {n + 1}.\n' for n in range(2))
    (tmp_path / SPEC_NAME).write_text(f'{sources_}[task]\nname = "t"\nsystem = "Rewrite it."\nstyle = "Plain."\n')
    for n in range(2):
        (tmp_path / f"{n}.csv").write_text("input,output\na fox,a red fox\n")
    assert [source.notes for source in sources(load(tmp_path))] == [[], ["Note on 1."]]


@pytest.mark.parametrize("path", ["/new", "/p/mine/setup/seeds"])
def test_pasted_lines_and_a_file_together_must_be_decided(service: Service, path: str) -> None:
    """If both are given, at once or one after the other, the user must choose; each stays in the form until then."""
    browser = service.browser("owner")
    lines = {"name": "both", "pasted": "a kite\na crane\n"}
    at_once: dict[str, Any] = {"data": lines, "files": {"file": ("t.txt", b"a fox\n")}}
    for sent in (at_once, {"data": {**lines, "chosen_before": "t.txt"}}):
        page = browser.post(path, **sent)
        assert page.status_code == 422
        assert "only one of them can be used" in page.text
        assert "a kite\na crane\n</textarea>" in page.text
        assert 'name="chosen_before" value="t.txt#' in page.text
    read = browser.post(path, data={"name": "both", "chosen_before": "t.txt"})
    assert "a fox" in browser.get(read.headers["location"]).text
    written = browser.post(path, data={**lines, "name": "others"})
    assert "a crane" in browser.get(written.headers["location"]).text


_ABOUT = {"Gator": "Potthål, ca {} cm djupt", "Avfall": "Soptunnan tömdes inte vecka {}", "Bygglov": "Altan, {} m2?"}
_CELLS = [("Meddelande", "Avdelning"), *((text.format(n), to) for n in range(1, 10) for to, text in _ABOUT.items())]


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_pasted_table_is_read_as_a_table(service: Service, separator: str) -> None:
    """Pasted spreadsheet cells include their labels. Read by lines, each input would have contained its own label, and
    the headers would have become an input."""
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


def test_excel_unicode_text_is_read_as_a_table(service: Service) -> None:
    """Excel's "Unicode text" is UTF-16 with tabs in a `.txt` file; it is also accepted for an existing project."""
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
def test_lines_that_only_look_like_a_table_stay_lines(service: Service, pasted: str) -> None:
    """Lists from a word processor contain tabs, and places and tags contain commas: each line is an input, including
    the first."""
    name = f"looks-{hashlib.sha256(pasted.encode()).hexdigest()[:8]}"
    answer = service.browser("owner").post("/new", data={"name": name, "pasted": pasted})
    assert answer.status_code == 303, answer.text
    (source,) = service.workspace.project(name).spec.seeds
    assert (source.path, source.kind) == ("seeds/seeds.txt", "input")
    kept = (service.workspace.folder(name) / source.path).read_text()
    assert kept == pasted + "\n"
    service.workspace.folder(name).rename(service.workspace.root / f"gone-{name}")


def test_json_lines_can_be_plain_inputs(service: Service) -> None:
    """If a pasted text is taken for a table whose columns cannot be read, the message says how to treat it as lines,
    for a new and for an existing project; then each line is an input."""
    browser, pasted = service.browser("owner"), '{"part": "A-17", "eur": 3}\n{"part": "B-22", "eur": 9}\n'
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


def test_pasted_json_is_read_as_json(service: Service) -> None:
    """Objects, one per line or in a list, become rows with columns, not plain texts."""
    rows = [{"question": f"Where is parcel {n}?", "answer": f"Parcel {n} is on its way."} for n in range(3)]
    for name, pasted in (("objects", "\n".join(map(json.dumps, rows))), ("list", json.dumps(rows, indent=1))):
        assert service.browser("owner").post("/new", data={"name": name, "pasted": pasted}).status_code == 303
        assert service.workspace.project(name).spec.seeds[0].kind == "pair"


def test_owner_deletes_a_project_by_entering_its_name(service: Service) -> None:
    """The project moves to the trash and leaves the list; a wrong name or another role deletes nothing."""
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


def test_owner_deletes_a_project_whose_spec_cannot_be_read(service: Service) -> None:
    """Its pages show what is wrong with the spec, and to an owner the form that deletes the project."""
    service.person("mender", Role.editor, ALL)
    owner = service.browser("owner")
    assert owner.post("/new", data={"name": "torn", "pasted": "a kite"}).status_code == 303
    (service.workspace.folder("torn") / "pairsmith.toml").write_text("[task\n")
    for page in ("/p/torn", "/p/torn/setup"):
        assert '"/p/torn/delete"' in owner.get(page).text
        assert "/p/torn/delete" not in service.browser("mender").get(page).text
    assert owner.post("/p/torn/delete", data={"name": "torn"}).status_code == 303
    assert "torn" not in service.workspace.projects()


def test_recommended_number_of_inputs_is_sufficient() -> None:
    """The number of inputs that the first page recommends gives a new project the test inputs that an evaluation
    requires."""
    spec = tomllib.loads((Path(pairsmith.__file__).parent / "starter/pairsmith.toml").read_text())
    page = (Path(pairsmith.__file__).parent / "serve/templates/projects.html.j2").read_text()
    assert "A conclusive test needs at least 80" in page
    assert round(80 * spec["split"]["test"]) == LEAST_TEST_INPUTS


def test_errors_of_a_new_project_show_no_server_paths(service: Service) -> None:
    """The message about an invalid schema used to show the temporary folder of the new project, which no longer
    exists."""
    form = {"name": "bills", "kind": "extract", "schema": "{not json", "pasted": "Total: 3"}
    page = service.browser("owner").post("/new", data=form)
    assert page.status_code == 422
    assert "schema.json is not JSON" in page.text
    assert ".making-" not in page.text
    assert str(service.workspace.root) not in page.text
