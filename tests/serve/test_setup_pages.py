"""The setup pages of a project: how a file is read, kept input, allowed hosts, prices, and failures."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from starlette.testclient import TestClient

from pairsmith.serve.access import ALL, Role
from pairsmith.serve.pages import setup
from pairsmith.serve.pages.columns import sources
from pairsmith.serve.pages.figures import Snapshot
from schemas.errors import NoWork
from schemas.spec import Spec, TrainSettings
from schemas.spec_file import SPEC_NAME, load, set_keys
from schemas.store import Store
from synth.sources.seeds import read_seeds
from tests.pairsmith.conftest import answer
from tests.serve.people import MINE, Service
from tests.synth.loopback import LoopbackTeacher

HTML = {"Accept": "text/html"}
TICKETS = "Ticket Subject;Customer message;Agent answer;Product line\n" + "".join(
    f"late {n};My order {n} is late again and nobody answers;Your parcel {n} is on its way to you now;"
    f"{'Halo' if n % 2 else 'Dock'}\n"
    for n in range(8)
)


def create_project(service: Service, name: str, file: str, content: str, **form: str) -> TestClient:
    """Create a project from a file through the page; returns the client that created it."""
    browser = service.browser("owner")
    sent: dict[str, Any] = {"data": {"name": name, **form}, "files": {"file": (file, content.encode())}}
    answer = browser.post("/new", **sent)
    assert answer.status_code == 303, answer.text
    return browser


def spec_of(service: Service, name: str) -> Spec:
    return service.workspace.project(name).spec


def word_limits(service: Service, name: str) -> tuple[int, int]:
    length = spec_of(service, name).curate.gates.length
    assert length
    return length.min_words, length.max_words


def bodies(service: Service, name: str) -> list[tuple[str, str | None]]:
    project = service.workspace.project(name)
    return [(seed.body, seed.reference) for seed in read_seeds(project.spec.seeds, project.folder).seeds]


def test_longer_input_column_is_the_body_of_a_ticket(service: Service) -> None:
    """Both 'Ticket Subject' and 'Customer message' look like inputs: the longer column is the body, and the subject is
    placed above it."""
    create_project(service, "tickets", "tickets export (3).csv", TICKETS)
    assert bodies(service, "tickets")[0] == (
        "late 0\n\nMy order 0 is late again and nobody answers",
        "Your parcel 0 is on its way to you now",
    )


def test_column_roles_can_be_chosen(service: Service) -> None:
    """The page shows each column with its first cell and its role. The chosen roles are used from then on, and the
    comments in the spec about guessed columns are removed."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    page = browser.get("/p/tickets/setup").text
    roles = re.findall(r'aria-label="([^"]+) is">(.*?)</select>', page, re.DOTALL)
    chosen = {header: re.findall(r'value="(\w*)" selected', options) for header, options in roles}
    assert chosen == {"Ticket Subject": ["input"], "Customer message": ["input"],
                      "Agent answer": ["output"], "Product line": ["kept"]}  # fmt: skip
    text = service.workspace.folder("tickets") / "pairsmith.toml"
    assert "chosen by its name" in text.read_text()

    form = {"source": "0", "header": list(chosen), "role": ["", "input", "", "kept"]}
    assert browser.post("/p/tickets/setup/columns", data=form).status_code == 303
    assert bodies(service, "tickets")[0] == ("My order 0 is late again and nobody answers", None)
    assert spec_of(service, "tickets").needs_teacher
    assert "chosen by its name" not in text.read_text()
    form = {"source": "0", "header": list(chosen), "role": ["", "", "output", ""]}
    assert browser.post("/p/tickets/setup/columns", data=form).status_code == 303
    assert spec_of(service, "tickets").seeds[0].kind == "output"


def test_choosing_json_objects_as_output_makes_the_task_extract(service: Service) -> None:
    """If a column of JSON objects is chosen as the output, the task becomes extract, with a schema derived from the
    objects, as if the project had been created so; the page says so. A kind that the user chose stays."""
    rows = [{"text": f"ticket number {n} is late again", "erwartet": {"produkt": "TV", "rang": n}} for n in range(8)]
    content = "".join(f"{json.dumps(row)}\n" for row in rows)
    columns = {"source": "0", "header": ["text", "erwartet"], "role": ["input", "output"]}
    browser = create_project(service, "records", "r.jsonl", content)
    assert spec_of(service, "records").task.kind == "rewrite"
    answer = browser.post("/p/records/setup/columns", data=columns)
    assert answer.status_code == 303, answer.text
    assert "so the task is now extract" in browser.get(answer.headers["location"]).text
    task = spec_of(service, "records").task
    assert (task.kind, task.answer_schema) == ("extract", "schema.json")
    assert bodies(service, "records")[0] == ("ticket number 0 is late again", '{"produkt":"TV","rang":0}')
    assert not spec_of(service, "records").needs_teacher
    assert spec_of(service, "records").evaluate.sampling.max_tokens == 64

    create_project(service, "replies", "r.jsonl", content, kind="reply")
    assert browser.post("/p/replies/setup/columns", data=columns).status_code == 303
    assert spec_of(service, "replies").task.kind == "reply"


@pytest.mark.parametrize(
    ("headers", "roles", "says"),
    [
        (["a", "b"], ["output", "output"], "only one column can be the output"),
        (["a", "b"], ["", "kept"], "no column is the input or the output"),
        (["a", "z"], ["input", "output"], "the columns of the file have changed"),
        (["a"], ["input", "output"], "the columns of the file have changed"),
    ],
)
def test_unusable_column_roles_are_refused(service: Service, headers: list[str], roles: list[str], says: str) -> None:
    """The message is shown beside the columns; the spec stays unchanged."""
    browser = create_project(service, "two", "two.csv", "a,b\n" + "first words of it,second words of it\n")
    before = spec_of(service, "two")
    form = {"source": "0", "header": headers, "role": roles}
    refused = browser.post("/p/two/setup/columns", data=form)
    assert refused.status_code in (400, 422)
    seeds = refused.text.partition('<section id="seeds"')[2].partition("<section")[0]
    assert says in unescape(seeds).lower()
    assert spec_of(service, "two") == before


def test_columns_with_reserved_or_equal_names_can_be_kept(service: Service) -> None:
    """A column whose name is reserved in prompts gets another name, and so does one of two whose names become equal."""
    browser = create_project(
        service, "odd", "odd.csv", "Style,a-b,a b,question\n" + "warm,one,two,where do I find the door\n" * 2
    )
    headers = ["Style", "a-b", "a b", "question"]
    form = {"source": "0", "header": headers, "role": ["kept", "kept", "kept", "input"]}
    assert browser.post("/p/odd/setup/columns", data=form).status_code == 303
    assert set(spec_of(service, "odd").seeds[0].columns.values()) == set(headers)


def test_lines_can_be_finished_outputs(service: Service) -> None:
    """A project can start from a list of excellent outputs; the setup page can change that to inputs."""
    browser = create_project(service, "prompts", "p.txt", "A fox in fog.\nA tram in the rain.\n", lines="output")
    assert spec_of(service, "prompts").seeds[0].kind == "output"
    assert browser.post("/p/prompts/setup/columns", data={"source": "0", "kind": "input"}).status_code == 303
    assert spec_of(service, "prompts").seeds[0].kind == "input"


def test_replacement_seeds_are_read_by_their_columns(service: Service) -> None:
    """A table that replaces lines of text needs no specific column names."""
    browser = create_project(service, "later", "p.txt", "A fox in fog.\n")
    sent = browser.post("/p/later/setup/seeds", files={"file": ("t.csv", TICKETS.encode())})
    assert sent.status_code == 303, sent.text
    assert [source.kind for source in spec_of(service, "later").seeds] == ["pair"]
    assert len(bodies(service, "later")) == 8


def test_replaced_table_leaves_nothing_behind(service: Service) -> None:
    """A new table under the same name is read by its own columns: its group is stored, and neither the old group nor
    the old comments stay, which had made the seeds unreadable and described columns that were no longer there."""
    rows = "".join(f"Where is parcel {n} now?,It is on the road {n} again,c{n % 12}\n" for n in range(48))
    browser = create_project(service, "groups", "t.csv", f"question,answer,customer\n{rows}")
    assert spec_of(service, "groups").seeds[0].group == "customer"
    other = "\n".join(row.rpartition(",")[0] for row in rows.splitlines())
    for name, content, group in (
        ("t.csv", f"Frage,Antwort\n{other}\n", None),
        ("new.csv", f"question,answer,customer\n{rows}", "customer"),
        ("t.csv", f"question,answer\n{other}\n", None),  # the earlier file of this name is kept
    ):
        sent = browser.post("/p/groups/setup/seeds", files={"file": (name, content.encode())})
        assert sent.status_code == 303, sent.text
        (source,) = spec_of(service, "groups").seeds
        assert source.group == group
        assert len(bodies(service, "groups")) == 48
        notes = "\n".join(sources(service.workspace.project("groups"))[0].notes)
        assert [header in notes for header in ("Antwort", "answer", "customer")] == [
            header in content for header in ("Antwort", "answer", "customer")
        ]
    assert source.path == "seeds/t-2.csv"


def test_seeds_replaced_by_a_colleague_are_not_overwritten_unseen(service: Service) -> None:
    """A page that was open meanwhile says so, keeps the text or the chosen file, and replaces them when sent again."""
    browser = create_project(service, "both", "p.txt", "A fox in fog.\n")
    seen = browser.get("/p/both/setup").text.split("setup/seeds#seeds")[1].split('name="seen" value="')[1].split('"')[0]
    browser.post("/p/both/setup/seeds", data={"pasted": "A tram in the rain.\n", "seen": seen})
    late: dict[str, Any] = {"data": {"seen": seen}, "files": {"file": ("late.txt", b"A late kite.\n")}}
    refused = browser.post("/p/both/setup/seeds", **late)
    assert refused.status_code == 412
    assert 'name="chosen_before" value="late.txt#' in refused.text
    assert bodies(service, "both") == [("A tram in the rain.", None)]
    seen = refused.text.split("setup/seeds#seeds")[1].split('name="seen" value="')[1].split('"')[0]
    browser.post("/p/both/setup/seeds", data={"chosen_before": "late.txt", "seen": seen})
    assert bodies(service, "both") == [("A late kite.", None)]


def test_group_of_rows_is_chosen_among_the_columns(service: Service) -> None:
    """The page says which column keeps rows in one split, and another one, or none, can be chosen."""
    rows = "".join(f"Where is parcel {n} now?,It is on the road {n} again,c{n % 12},r{n % 11}\n" for n in range(48))
    browser = create_project(service, "groups", "t.csv", f"question,answer,customer,road\n{rows}")
    (shown,) = sources(service.workspace.project("groups"))
    assert [role for _, _, role in shown.columns] == ["input", "output", "group", "kept"]
    assert "leave out this grouping" in "".join(shown.notes)
    headers = [header for header, _, _ in shown.columns]
    for roles, group in (
        (["input", "output", "kept", "group"], "road"),
        (["input", "output", "", "group"], "road"),
        (["input", "output", "", ""], None),
    ):
        form = {"source": "0", "header": headers, "role": roles}
        assert browser.post("/p/groups/setup/columns", data=form).status_code == 303
        assert spec_of(service, "groups").seeds[0].group == group
    twice = {"source": "0", "header": headers, "role": ["input", "output", "group", "group"]}
    page = browser.post("/p/groups/setup/columns", data=twice).text
    assert "Only one column can say which rows belong" in page
    assert page.count('<option value="group" selected>') == 2  # nothing chosen is lost


def test_settings_derived_from_outputs_follow_them(service: Service) -> None:
    """Labels, and bounds on words that nobody chose, come from the outputs of a file. Kept for other outputs, they
    would reject every row."""
    table = "text,label\n" + "".join(f"the lamp {n} is out again,{'dark' if n % 2 else 'light'}\n" for n in range(20))
    browser = create_project(service, "lamps", "t.csv", table)
    for dark, light, labels in (("dim", "Light.", ["dark", "dim", "light"]), ("on", "off", ["off", "on"])):
        changed = table.replace(",dark", f",{dark}").replace(",light", f",{light}")
        sent = browser.post("/p/lamps/setup/seeds", files={"file": ("t.csv", changed.encode())})
        assert "done=fitted" in sent.headers["location"]
        assert sorted(spec_of(service, "lamps").task.labels) == labels
        notes = sources(service.workspace.project("lamps"))[0].notes
        assert len(notes) == len(set(notes)) == 3

    german = "".join(f"die Lampe {n} im Flur ist schon wieder aus,{'hell' if n % 2 else 'dunkel'}\n" for n in range(20))
    browser.post("/p/lamps/setup/seeds", files={"file": ("de.csv", f"text,label\n{german}".encode())})
    assert spec_of(service, "lamps").task.language == "de"
    short = "text,label\ndie Lampe ist aus,dunkel\nsie brennt,hell\nder Flur,dunkel\ndas Bad,hell\n"
    browser.post("/p/lamps/setup/seeds", files={"file": ("short.csv", short.encode())})
    assert spec_of(service, "lamps").task.language == "de"  # too little text to detect another one
    browser.post("/p/lamps/setup/seeds", files={"file": ("de.csv", f"text,label\n{german}".encode())})
    browser.post("/p/lamps/setup/style", data={"style": "One label.", "language": "fr"})
    browser.post("/p/lamps/setup/seeds", files={"file": ("t.csv", table.encode())})
    assert spec_of(service, "lamps").task.language == "fr"  # chosen by a user

    browser = create_project(service, "tickets", "t.csv", TICKETS)
    assert word_limits(service, "tickets") == (5, 20)
    headers = TICKETS.partition("\n")[0].split(";")
    form = {"source": "0", "header": headers, "role": ["", "input", "", "output"]}
    assert "done=fitted" in browser.post("/p/tickets/setup/columns", data=form).headers["location"]
    assert word_limits(service, "tickets") == (0, 2)
    browser.post("/p/tickets/setup/checks", data={"least_words": "1", "most_words": "99"})
    form = {"source": "0", "header": headers, "role": ["", "input", "output", ""]}
    browser.post("/p/tickets/setup/columns", data=form)
    assert word_limits(service, "tickets") == (1, 99)  # chosen by a user


def test_derived_schema_follows_the_records(service: Service) -> None:
    """Kept for records of another shape, it would reject every row. One that a user wrote or changed stays, and if no
    new record satisfies it, the page says so."""

    def table(*keys: str) -> str:
        rows = ({"text": f"ticket {n} is late again", "output": dict.fromkeys(keys, f"v{n}")} for n in range(9))
        return "".join(f"{json.dumps({**row, 'other': {'x': 1}})}\n" for row in rows)

    browser = create_project(service, "shapes", "t.jsonl", table("product"))
    schema = service.workspace.folder("shapes") / "schema.json"

    def keys() -> list[str]:
        return list(json.loads(schema.read_text())["properties"])

    def replaced_by(content: str) -> str:
        sent = browser.post("/p/shapes/setup/seeds", files={"file": ("u.jsonl", content.encode())})
        return sent.headers["location"]

    assert (spec_of(service, "shapes").task.kind, keys()) == ("extract", ["product"])
    assert "done=fitted" in replaced_by(table("city", "zip"))
    assert keys() == ["city", "zip"]
    form = {"source": "0", "header": ["text", "output", "other"], "role": ["input", "", "output"]}
    assert "done=fitted" in browser.post("/p/shapes/setup/columns", data=form).headers["location"]
    assert keys() == ["x"]
    schema.write_text(json.dumps(FIELDS))
    assert "done=unfit" in replaced_by(table("city"))
    assert json.loads(schema.read_text()) == FIELDS


def test_labels_are_read_from_a_column_of_any_name(service: Service) -> None:
    """For a classification task the labels in the file need not be entered by hand."""
    rows = "".join(f"das Gerät {n} geht nicht an,{'Strom' if n % 2 else 'Lärm'},{n}\n" for n in range(10))
    create_project(service, "labels", "t.csv", f"Text,Gruppe,nr\n{rows}", kind="classify")
    assert list(spec_of(service, "labels").task.labels) == ["Lärm", "Strom"]
    assert bodies(service, "labels")[0] == ("das Gerät 0 geht nicht an", "Lärm")


def test_eighty_lines_are_enough_for_a_test(service: Service) -> None:
    """The pages recommend 80 inputs, so a project with 80 lines shows no warning that its test can prove nothing."""
    browser = create_project(service, "eighty", "p.txt", "".join(f"a picture of {n} goats\n" for n in range(80)))
    assert "can prove nothing" not in browser.get("/p/eighty/setup").text


def test_form_input_is_kept_beside_the_error(service: Service) -> None:
    """A refused teacher and an example without an output are reported in their own section, with all fields as entered
    and without a path of the server."""
    browser = service.browser("editor")
    typed = {"teacher": "other", "url": "http://10.0.0.9:1/v1", "model": "big", "key_env": "BIG_KEY", "do": "test"}
    page = browser.post(f"/p/{MINE}/setup/teacher", data=typed).text
    section = page.partition('<section id="teacher"')[2].partition("<section")[0]
    assert 'role="alert"' in section
    for value in ("http://10.0.0.9:1/v1", "big", "BIG_KEY"):
        assert f'value="{value}"' in section
    assert 'value="other" checked' in section

    examples: dict[str, Any] = {"style": "Short.", "input": ["a fox", "a tram"], "output": ["A fox.", ""]}
    page = browser.post(f"/p/{MINE}/setup/style", data=examples).text
    section = page.partition('<section id="style"')[2].partition("<section")[0]
    assert "Worked example 2 has no output." in section
    assert all(f">{text}</textarea>" in section for text in ("Short.", "a fox", "A fox.", "a tram"))
    assert str(service.workspace.root) not in page


@pytest.mark.parametrize(
    "typed", [{"url": "", "key_env": ""}, {"url": "https://a.example/v1", "key_env": "sk-live-secret-12345"}]
)
def test_invalid_teacher_is_refused_with_a_message(service: Service, typed: dict[str, str]) -> None:
    """An empty address, or an API key entered in place of its variable name: no message repeats the key."""
    page = service.browser("owner").post(f"/p/{MINE}/setup/teacher", data={"teacher": "other", "do": "test", **typed})
    assert page.status_code == 400
    assert page.text.count("sk-live-secret-12345") <= 1, "the key is shown outside the field where it was entered"
    refused = service.browser("owner").post("/settings/hosts", data=typed)
    assert refused.status_code == 400
    assert "sk-live" not in refused.text


def test_changing_the_embedded_teacher_resets_the_attempts(service: Service) -> None:
    """Examples start with one attempt, because the embedded teacher's next candidate is as good. That value stayed when
    another teacher was chosen, whose answers that broke the schema were then never retried."""
    owner = service.browser("owner")
    assert owner.post("/api/v1/projects", json={"name": "lamps", "kind": "extract"}).status_code == 201
    assert service.workspace.project("lamps").spec.teacher.attempts == 1
    chosen = {"teacher": "http://localhost:8000/v1", "model": "qwen3"}
    assert owner.post("/settings/hosts", data={"url": chosen["teacher"], "key_env": ""}).status_code == 303
    assert owner.post("/p/lamps/setup/teacher", data=chosen).status_code == 303
    teacher = service.workspace.project("lamps").spec.teacher
    assert (teacher.model, teacher.attempts) == ("qwen3", 2)


def test_owners_allow_hosts_and_set_prices_on_the_pages(service: Service) -> None:
    """An editor is refused a new host and referred to Settings, where an owner of the service allows host and key; an
    owner of the project sets its token prices."""
    service.person("boss", Role.owner, MINE)
    editor, boss, owner = (service.browser(name) for name in ("editor", "boss", "owner"))
    teacher = {"teacher": "other", "url": "https://teacher.example/v1", "model": "big", "key_env": "BIG_KEY"}
    refused = editor.post(f"/p/{MINE}/setup/teacher", data=teacher)
    assert refused.status_code == 403
    assert "An owner can allow it under Settings." in refused.text
    host = {"url": "https://teacher.example/v1", "key_env": "BIG_KEY"}
    assert boss.post("/settings/hosts", data=host).status_code == 403
    assert owner.post("/settings/hosts", data=host).status_code == 303
    assert "teacher.example:443" in owner.get("/settings").text
    assert editor.post(f"/p/{MINE}/setup/teacher", data=teacher).status_code == 303
    assert 'name="price_in"' not in editor.get(f"/p/{MINE}/setup").text

    priced = {**teacher, "price_in": "0.4", "price_out": "$1.60"}
    assert editor.post(f"/p/{MINE}/setup/teacher", data=priced).status_code == 403
    assert boss.post(f"/p/{MINE}/setup/teacher", data=priced).status_code == 303
    held = spec_of(service, MINE).teacher
    assert (held.usd_per_million_prompt_tokens, held.usd_per_million_completion_tokens) == (0.4, 1.6)
    assert boss.post(f"/p/{MINE}/setup/teacher", data={**priced, "price_out": "0"}).status_code == 303
    assert spec_of(service, MINE).teacher.usd_per_million_completion_tokens == 0

    assert owner.post("/settings/hosts/forbid", data={"host": "teacher.example:443", "key_env": "BIG_KEY"}).is_redirect
    assert editor.post(f"/p/{MINE}/setup/teacher", data={**teacher, "do": "test"}).status_code == 403


def test_owner_can_allow_a_refused_host_in_place(service: Service) -> None:
    """An owner of the service can allow a host beside the refusal, with the input kept, and sees at once whether the
    server answers. Others are not offered this and may not do it. The audit log records it like the setting's own
    action."""
    service.person("boss", Role.owner, MINE)
    with LoopbackTeacher(answer) as server:
        typed = {"teacher": "other", "url": server.url, "model": "big", "key_env": "", "do": "test"}
        host = server.url.split("/")[2]
        for name in ("editor", "boss"):
            browser = service.browser(name)
            assert 'value="allow"' not in browser.post(f"/p/{MINE}/setup/teacher", data=typed).text
            assert browser.post(f"/p/{MINE}/setup/teacher", data={**typed, "do": "allow"}).status_code == 403
        owner = service.browser("owner")
        assert 'value="allow"' not in owner.get(f"/p/{MINE}/setup").text
        assert f">Allow {host} and test</button>" in owner.post(f"/p/{MINE}/setup/teacher", data=typed).text
        page = owner.post(f"/p/{MINE}/setup/teacher", data={**typed, "do": "allow"})
        assert page.status_code == 200
        assert "It answers in" in page.text
        assert f'value="{server.url}"' in page.text
        assert (
            service.browser("editor").post(f"/p/{MINE}/setup/teacher", data={**typed, "do": "save"}).status_code == 303
        )
    lines = service.app.state.audit.page(before=None, limit=50, project=None, user=None, action="allow_host")
    assert [(line["status"], host in line["target"]) for line in lines] == [(200, True)]


def test_errors_are_pages_for_browsers_and_problems_for_programs(service: Service) -> None:
    """For an unknown address, a session that has ended and a missing right, browsers get a page; the API still returns
    JSON."""
    browser = service.browser("viewer")
    for path, status in (("/nowhere", 404), ("/p/none", 404), ("/people", 403)):
        page = browser.get(path, headers=HTML)
        assert (page.status_code, page.text.count("<h1>")) == (status, 1), path
    signed_out = service.anonymous().post(f"/p/{MINE}/setup/style", data={"style": "x"}, headers=HTML)
    assert signed_out.status_code == 401
    assert "data-sign-in" in signed_out.text
    for path in ("/api/v1/nowhere", "/v1/nowhere"):
        assert browser.get(path, headers=HTML).headers["content-type"] == "application/problem+json"


def test_entering_argilla_without_a_running_server_is_refused(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reviewer gets a message that Argilla is not running; a viewer is refused."""
    monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(tmp_path / "argilla"))
    project = service.workspace.project(MINE)
    Store.open(Store.url_for(project)).close()
    for name, status in (("viewer", 403), ("reviewer", 409)):
        answer = service.browser(name).post(f"/p/{MINE}/review/argilla", headers=HTML)
        assert answer.status_code == status
        assert (status == 403) or "Argilla is not running." in answer.text


def test_checks_can_be_switched_off_in_the_browser(service: Service) -> None:
    """Each check shows whether it rejects, flags or is off. Only changed modes are written into the spec."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    page = browser.get("/p/tickets/setup").text
    shown = re.findall(r'name="check_(\w+)".*?value="(\w+)" selected', page, re.DOTALL)
    assert dict(shown)["cut"] == "reject"
    assert dict(shown)["pii"] == "off"
    form = {**{f"check_{name}": mode for name, mode in shown}, "check_cut": "flag", "check_duplicates": "off"}
    assert browser.post("/p/tickets/setup/checks", data={**form, "most_words": "90"}).status_code == 303
    spec = spec_of(service, "tickets").curate
    assert (spec.gates.cut, spec.duplicates.enabled, spec.gates.length.max_words) == ("flag", False, 90)  # type: ignore[union-attr]
    assert "repetition" not in (service.workspace.folder("tickets") / "pairsmith.toml").read_text()


def test_every_check_with_a_mode_is_on_the_page() -> None:
    """A new gate must also be switchable in the browser."""
    from pairsmith.serve.pages.checks import ABOUT
    from schemas.spec import GateSettings

    modes = {name for name, value in GateSettings() if value is True or value is False or value == "flag"}
    assert modes == set(ABOUT)


def test_base_epochs_and_test_share_are_set_in_the_browser(service: Service) -> None:
    """The base model, the epochs and the share of seeds for the test; an invalid number is refused."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    form = {"base": "Qwen/Qwen3-0.6B", "epochs": "6"}
    assert browser.post("/p/tickets/setup/model", data=form).status_code == 303
    assert browser.post("/p/tickets/setup/test", data={"test_share": "40 %"}).status_code == 303
    spec = spec_of(service, "tickets")
    assert (spec.train.base, spec.train.epochs, spec.split.test) == ("Qwen/Qwen3-0.6B", 6, 0.4)
    refused = browser.post("/p/tickets/setup/model", data={"epochs": "many"})
    assert refused.status_code in (400, 422)
    model = refused.text.partition('<section id="model"')[2].partition("<section")[0]
    assert "'many' is not a number above 0" in unescape(model)


def test_learning_rate_follows_the_base_model(service: Service) -> None:
    """The learning rate of the embedded base would ruin a larger model, so the rate and batch size change with the base
    and back again, and the page says so. A rate that the user chose stays."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    rate = TrainSettings().learning_rate

    def choose_base(base: str) -> tuple[float, int, bool]:
        answer = browser.post("/p/tickets/setup/model", data={"base": base}, follow_redirects=True)
        train = spec_of(service, "tickets").train
        assert train.base == base
        return train.learning_rate, train.batch, "the learning rate and batch size set to suit" in unescape(answer.text)

    assert choose_base("Qwen/Qwen3-1.7B") == (rate, 8, True)
    assert choose_base("Qwen/Qwen3-0.6B") == (rate, 8, False)
    assert choose_base("embedded") == (1e-3, 4, True)
    path = service.workspace.folder("tickets") / "pairsmith.toml"
    path.write_text(set_keys(path.read_text(), {"train.learning_rate": 3e-4}))
    assert choose_base("Qwen/Qwen3-0.6B") == (3e-4, 4, False)
    assert choose_base("embedded") == (3e-4, 4, False)


@pytest.mark.parametrize(
    ("step", "form", "says"),
    [
        ("checks", {"check_cut": "perhaps"}, "'perhaps' is not a mode of a check"),
        ("checks", {"most_words": "few"}, "'few' is not a number of words"),
        ("model", {"base": "/etc"}, "'/etc'"),
        ("test", {"test_share": "100"}, "'100' is not a number above 0"),
        ("test", {"check_name": "order", "check_pattern": ""}, "check 1 has no pattern"),
        ("test", {"check_name": "order", "check_pattern": "order ["}, "is not a regular expression"),
        ("test", {"check_name": "order", "check_pattern": "a{99999999999}"}, "is not a regular expression"),
        ("test", {"check_name": "order", "check_pattern": "(" * 1500 + ")" * 1500}, "is not a regular expression"),
        ("test", {"check_name": ["order", "Order"], "check_pattern": ["a", "b"]}, "two checks have the same name"),
    ],
)
def test_invalid_check_model_or_test_settings_change_nothing(
    service: Service, step: str, form: dict[str, str], says: str
) -> None:
    """An invalid mode, number, base or pattern is reported beside the fields, which keep the input, and the spec stays
    unchanged."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    before = spec_of(service, "tickets")
    refused = browser.post(f"/p/tickets/setup/{step}", data=form)
    assert 400 <= refused.status_code < 500
    section = unescape(refused.text.partition(f'<section id="{step}"')[2].partition("<section")[0])
    assert says in section.lower()
    assert all(f'value="{value}"' in section for value in form.values() if step == "test" and isinstance(value, str))
    assert spec_of(service, "tickets") == before


def test_evaluation_checks_are_set_on_the_page(service: Service) -> None:
    """A name and a pattern make a check of the test's answers; emptied fields remove it. A viewer may not set any and
    sees no field for them, and the other test settings stay unchanged."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    before = spec_of(service, "tickets")
    form = {"check_name": ["Names the parcel", "", ""], "check_pattern": [r"(?i)parcel \d+ ", "", ""]}
    assert browser.post("/p/tickets/setup/test", data=form).status_code == 303
    spec = spec_of(service, "tickets")
    assert [(c.name, c.pattern) for c in spec.evaluate.checks] == [("names_the_parcel", r"(?i)parcel \d+ ")]
    assert spec.model_copy(update={"evaluate": before.evaluate}) == before
    page = unescape(browser.get("/p/tickets/setup").text)
    assert re.findall(r'name="check_name" value="([^"]*)"', page) == ["names_the_parcel", "", ""]
    assert browser.post("/p/tickets/setup/test", data={"answer_tokens": "90"}).status_code == 303
    assert spec_of(service, "tickets").evaluate.checks == spec.evaluate.checks
    assert browser.post("/p/tickets/setup/test", data={"check_name": "", "check_pattern": ""}).status_code == 303
    assert spec_of(service, "tickets").evaluate.checks == ()
    viewer = service.browser("viewer")
    assert viewer.post("/p/mine/setup/test", data=form).status_code == 403
    assert spec_of(service, "mine").evaluate.checks == ()
    assert 'name="check_name"' in service.browser("editor").get("/p/mine/setup").text
    assert 'name="check_' not in viewer.get("/p/mine/setup").text


@pytest.mark.parametrize(("code", "strong"), [(8, "Change setup"), (5, "Try again")])
def test_failed_job_offers_first_what_can_help(code: int, strong: str, service: Service) -> None:
    """A job that would fail again in the same way leads to the setup, one whose teacher was away to another try."""
    browser, jobs = service.browser("editor"), service.app.state.jobs
    job = browser.post("/api/v1/projects/mine/jobs", json={"command": "curate"}).json()["id"]
    jobs.cancel(job)
    jobs.folder(job).mkdir(parents=True)
    end = {"code": code, "problem": {"what": "nothing was accepted."}}
    (jobs.folder(job) / "exit-0.json").write_text(json.dumps(end))
    page = browser.get(f"/p/mine/run?job={job}").text
    assert re.findall(r'class="(?:button )?strong"[^>]*>([^<]+)<', page) == [strong]


def test_curation_without_accepted_rows_names_the_responsible_check(service: Service) -> None:
    """The run page counts the rows as rejected, names the reason and links to the checks. The setup page names the
    responsible check first, and after it is set to flag the rows are accepted."""
    from pairsmith.stages.curate import curate
    from pairsmith.stages.generate import generate

    rows = "".join(
        f"where is order {n},Order {n} left our depot this morning. It will arrive together with\n" for n in range(8)
    )
    browser = create_project(service, "broken", "t.csv", f"message,reply\n{rows}")
    project = service.workspace.project("broken")
    with Store.open(Store.url_for(project)) as store:
        generate(project, store)
        with pytest.raises(
            NoWork, match=r'curate\.gates\.cut = "flag" keeps and flags them; in the browser this is under Setup'
        ):
            curate(project, store)
    page = unescape(browser.get("/p/broken/run").text)
    assert re.search(r"<dt>rejected</dt><dd>8<", page)
    assert "It ends mid-text." in page
    assert "/p/broken/setup#checks" in page
    assert "8 rows were rejected by <em>cut</em>" in browser.get("/p/broken/setup").text
    assert browser.post("/p/broken/setup/checks", data={"check_cut": "flag"}).status_code == 303
    project = service.workspace.project("broken")
    with Store.open(Store.url_for(project)) as store:
        assert curate(project, store).counts.accepted == 8
    assert "8 read, no teacher used" in browser.get("/p/broken/run").text


OBJECTS = "".join(
    json.dumps({"text": f"Meine Lampe {n} ist noch nicht da", "felder": {"produkt": "Lampe", "nummer": n}}) + "\n"
    for n in range(9)
)
FIELDS = {
    "type": "object",
    "properties": {"produkt": {"type": "string", "maxLength": 40}, "nummer": {"type": "integer"}},
    "required": ["produkt", "nummer"],
    "additionalProperties": False,
}


def test_objects_in_a_file_are_the_outputs_to_extract(service: Service) -> None:
    """For an extraction task with a schema, a column of objects is the output, whatever its name; the page shows an
    object as rows store it, even if the column is not used."""
    browser = create_project(service, "fields", "t.jsonl", OBJECTS, kind="extract", schema=json.dumps(FIELDS))
    assert [source.kind for source in spec_of(service, "fields").seeds] == ["pair"]
    assert not spec_of(service, "fields").needs_teacher
    form = {"source": "0", "header": ["text", "felder"], "role": ["input", ""]}
    assert browser.post("/p/fields/setup/columns", data=form).status_code == 303
    assert "it contains JSON objects" not in (service.workspace.folder("fields") / "pairsmith.toml").read_text()
    assert '{"produkt":"Lampe","nummer":0}' in unescape(browser.get("/p/fields/setup").text)
    sent = browser.post("/p/fields/setup/seeds", files={"file": ("u.jsonl", OBJECTS.encode())})
    assert sent.status_code == 303, sent.text
    assert [source.kind for source in spec_of(service, "fields").seeds] == ["pair"]


def test_list_is_shown_as_the_first_cell_of_its_column(service: Service) -> None:
    """A column of lists cannot be read, but its row on the page is not blank."""
    rows = (
        {"tags": [] if n == 0 else ["lamp", n], "ask": f"Where is my lamp {n}?", "reply": "On its way."}
        for n in range(9)
    )
    browser = create_project(service, "tags", "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows), kind="reply")
    assert '["lamp", 1]' in unescape(browser.get("/p/tags/setup").text)


def test_new_project_trains_the_embedded_base_like_init(service: Service) -> None:
    """At the learning rate of larger models it would learn next to nothing from a first file, of lines or of a
    table."""
    create_project(service, "ideas", "i.txt", "a kettle\na lamp\n")
    create_project(service, "orders", "o.csv", "question,answer\nwhere is it,on its way\nand mine,here\n", kind="reply")
    for name in ("ideas", "orders"):
        spec = spec_of(service, name)
        assert (spec.train.base, spec.train.learning_rate, spec.train.batch) == ("embedded", 1e-3, 4)
        assert spec.evaluate.samples == 1


def test_new_project_on_a_gpu_uses_the_base_that_fits_like_init(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor gets it too, because it is one of the known models. It is not trained at the embedded base's rate."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho NVIDIA RTX 4090, 24564\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    service.person("maker", Role.editor, ALL)
    create_project(service, "ideas", "i.txt", "a kettle\na lamp\n")
    sent = service.browser("maker").post("/new", data={"name": "theirs", "pasted": "a kettle\na lamp"})
    assert sent.status_code == 303, sent.text
    for name in ("ideas", "theirs"):
        train = spec_of(service, name).train
        assert (train.base, train.learning_rate) == ("Qwen/Qwen3-4B-Instruct-2507", TrainSettings().learning_rate)


GERMAN = "".join(f"{what} {where}\n" for what in ("ein rotes Boot", "eine nasse Gasse", "ein altes Schloss")
                 for where in ("im Nebel", "am Hafen", "bei Nacht", "im Frühling"))  # fmt: skip

THINGS = (
    "iPhone 15 Pro Max 256GB\nSamsung Galaxy S24 Ultra\nSony WH-1000XM5\nLogitech MX Master 3S\nDyson V15 Detect\n"
    "Nintendo Switch OLED\nKindle Paperwhite\nGoPro Hero 12\nBose QC Ultra\nGarmin Fenix 7\nLenovo ThinkPad X1\n"
)


def test_language_is_detected_from_the_lines(service: Service) -> None:
    """Otherwise every answer in that language would be paid for and rejected. A language that the user chose comes
    first, and too few lines are not used for detection. It is shown under Style, where it can be changed."""
    browser = create_project(service, "scenes", "s.txt", GERMAN)
    assert spec_of(service, "scenes").task.language == "de"
    create_project(service, "few", "f.txt", "ein Boot\n")
    assert spec_of(service, "few").task.language == "en"
    names = "Anna Müller\nJosé García\nLi Wei\nOlga Petrova\nYuki Tanaka\n" * 5
    for project, guessed in (("names", names), ("things", THINGS)):  # identified as Hungarian and Luxembourgish
        create_project(service, project, "n.txt", guessed)
        assert spec_of(service, project).task.language == "en"
    create_project(service, "asked", "a.txt", GERMAN, language="nl")
    assert spec_of(service, "asked").task.language == "nl"
    create_project(service, "abroad", "b.txt", GERMAN, kind="translate", to="fr")
    assert spec_of(service, "abroad").task.languages == ("de", "fr")
    create_project(service, "back", "c.txt", GERMAN, kind="translate", to="de", lines="output")
    assert spec_of(service, "back").task.languages == ("en", "de")
    style = {"style": "In einem Satz."}
    assert browser.post("/p/scenes/setup/style", data=style).status_code == 303
    assert spec_of(service, "scenes").task.language == "de"
    assert '<input name="language" required maxlength="100" value="de">' in browser.get("/p/scenes/setup").text
    assert browser.post("/p/scenes/setup/style", data={**style, "language": "it"}).status_code == 303
    assert spec_of(service, "scenes").task.language == "it"
    refused = browser.post("/p/scenes/setup/style", data={**style, "language": "Deutsch"})
    assert refused.status_code in (400, 422)
    assert 'value="Deutsch"' in refused.text


def test_answer_length_is_measured_with_the_tokenizer_like_init(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the tokenizer is available, the answer limit is half as much again as the tokens of the longest output; a
    limit by bytes would be five times too large. Measured for pasted outputs, for worked examples, for a table and for
    a column of outputs or records that is chosen on the page."""
    tokenizers = pytest.importorskip("tokenizers", reason="training needs the train extra")
    read = tokenizers.Tokenizer(tokenizers.models.WordLevel({"road": 0, "?": 1}, unk_token="?"))
    read.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    (tmp_path / "cache" / "smollm2-135m-instruct").mkdir(parents=True)
    read.save(str(tmp_path / "cache" / "smollm2-135m-instruct" / "tokenizer.json"))
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    create_project(service, "whole", "o.txt", "road " * 200 + "\n", lines="output")
    assert spec_of(service, "whole").evaluate.sampling.max_tokens == 320
    browser = create_project(service, "answers", "a.txt", "where is it\n", kind="reply")
    example = {"style": "Say where it is.", "input": "Where?", "output": "road " * 100}
    assert browser.post("/p/answers/setup/style", data=example).status_code == 303
    assert spec_of(service, "answers").evaluate.sampling.max_tokens == 320
    create_project(service, "pairs", "p.csv", f"question,answer\nwhere is it,{'road ' * 200}\n", kind="reply")
    assert spec_of(service, "pairs").evaluate.sampling.max_tokens == 320
    record = {"text": "where is it", "erwartet": {"way": "road " * 200}}
    browser = create_project(service, "records", "r.jsonl", json.dumps(record) + "\n")
    assert spec_of(service, "records").evaluate.sampling.max_tokens != 320
    columns = {"source": "0", "header": list(record), "role": ["input", "output"]}
    assert browser.post("/p/records/setup/columns", data=columns).status_code == 303
    assert spec_of(service, "records").evaluate.sampling.max_tokens == 320
    table = f"question,answer,letter\nwhere is it,road,{'road ' * 200}\n"
    browser = create_project(service, "letters", "l.csv", table, kind="reply")
    assert spec_of(service, "letters").evaluate.sampling.max_tokens == 64
    columns = {"source": "0", "header": ["question", "answer", "letter"]}
    for roles in (["input", "kept", "output"], ["input", "output", "kept"]):
        assert browser.post("/p/letters/setup/columns", data={**columns, "role": roles}).status_code == 303
        assert spec_of(service, "letters").evaluate.sampling.max_tokens == 320, "it is never lowered"


def test_answer_length_of_the_test_is_set_on_the_page(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For lines of inputs the limit is that of generation, for finished outputs it fits the longest. It is shown under
    Test, and changing it leaves the other sampling settings unchanged."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "nothing"))
    browser = create_project(service, "ideas", "i.txt", "a kettle\na lamp\n")
    assert spec_of(service, "ideas").evaluate.sampling.max_tokens == 128
    create_project(service, "whole", "o.txt", "word " * 60 + "\n", lines="output")
    assert spec_of(service, "whole").evaluate.sampling.max_tokens == 320
    create_project(service, "answers", "a.txt", "where is it\n", kind="reply")
    assert spec_of(service, "answers").evaluate.sampling.max_tokens == 512
    create_project(service, "abroad", "t.txt", "word " * 60 + "\n", kind="translate", to="fr")
    assert spec_of(service, "abroad").evaluate.sampling.max_tokens == 512
    create_project(service, "sorted", "l.txt", "where is it\n", kind="classify", labels="order\nbill")
    assert spec_of(service, "sorted").evaluate.sampling.max_tokens == 128
    fields = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    create_project(service, "records", "r.txt", "where is it\n", kind="extract", schema=fields)
    assert spec_of(service, "records").evaluate.sampling.max_tokens == 128
    assert browser.post("/p/ideas/setup/test", data={"answer_tokens": "90"}).status_code == 303
    sampling = spec_of(service, "ideas").evaluate.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (90, 0.7, 0.95)
    assert 'name="answer_tokens" inputmode="numeric" value="90"' in browser.get("/p/ideas/setup").text
    assert browser.post("/p/answers/setup/test", data={"answer_tokens": "200"}).status_code == 303
    assert spec_of(service, "answers").evaluate.sampling.max_tokens == 200
    refused = browser.post("/p/ideas/setup/test", data={"answer_tokens": "many"})
    assert "is not a number above 0" in unescape(refused.text)


def test_unchanged_seed_file_is_not_read_again(service: Service) -> None:
    """Reading ten thousand rows took half a second per view; a file whose modification time changes is read again."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    assert "late 0</span>" in browser.get("/p/tickets/setup").text
    path = service.workspace.folder("tickets") / "seeds" / "t.csv"
    at = path.stat()
    path.write_text(TICKETS.replace("late 0", "gone 0"))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert "gone 0</span>" not in browser.get("/p/tickets/setup").text
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns + 1_000_000))
    assert "gone 0</span>" in browser.get("/p/tickets/setup").text


def test_spreadsheet_upload_is_refused_with_advice(service: Service) -> None:
    """Most users have spreadsheets: both upload forms give the same advice as the command line."""
    browser = create_project(service, "tickets", "t.csv", TICKETS)
    files = {"file": ("Anfragen März.xlsx", b"PK")}
    for path, form in (("/new", {"name": "sheet"}), ("/p/tickets/setup/seeds", {})):
        refused = browser.post(path, data=form, files=files)
        assert refused.status_code in (400, 422)
        assert "is a spreadsheet, but only tables, JSON and lines of text can be read." in refused.text
        assert "Save each sheet with texts as &#34;CSV UTF-8&#34;" in refused.text


def test_local_server_is_offered_with_its_precondition(service: Service) -> None:
    """It is listed among the teachers, with a note that an owner must allow its host first, until one has."""
    browser = create_project(service, "local", "i.txt", "a kettle\na lamp\n")
    says = "Ollama on this machine; $0"
    assert f"{says}; an owner must allow it first" in browser.get("/p/local/setup").text
    service.app.state.policy.allow("http://localhost:11434/v1", "", "ann")
    page = browser.get("/p/local/setup").text
    assert says in page
    assert f"{says}; an owner" not in page


def test_seeds_are_read_again_only_for_settings_that_decide_their_summary(service: Service) -> None:
    """Saving a teacher, a base model or a cap read all seeds again, ten seconds for 100,000. A share of test inputs
    decides what there are too few seeds for, and a comment above a source is shown, so these read them again."""
    create_project(service, "reread", "tickets.csv", TICKETS)
    folder = service.workspace.folder("reread")
    spec = folder / "pairsmith.toml"

    def summary() -> Any:
        return setup._seeds(Snapshot("reread", service.workspace.project("reread"), None, (), (), ()))

    before = summary()
    for keys in ({"budget.max_usd": 3.0}, {"train.epochs": 7}, {"task.style": "Answer in one line."}):
        spec.write_text(set_keys(spec.read_text(), keys))
        assert summary() is before
    spec.write_text(set_keys(spec.read_text(), {"split.test": 0.4}))
    assert (after := summary()) is not before
    spec.write_text(spec.read_text().replace("[[seeds]]", "# Checked by hand.\n[[seeds]]"))
    assert summary() is not after


@pytest.mark.parametrize("kind", ["rewrite", "classify"])
def test_summary_of_the_seeds_reads_no_setting_that_it_is_cached_without(tmp_path: Path, kind: str) -> None:
    """Whatever it read of such a setting would be shown as it was before the setting was saved."""
    labels = 'labels = ["late", "broken"]' if kind == "classify" else ""
    (tmp_path / SPEC_NAME).write_text(
        f'[task]\nname = "a"\nkind = "{kind}"\nstyle = "Short."\n{labels}\n[generate.backward]\nenabled = true\n'
        '[[seeds]]\npath = "t.csv"\n[seeds.columns]\ntext = "text"\n[[exemplars]]\ninput = "ticket 1"\n'
        'output = "late"\n[curate.contamination]\nfiles = ["held.txt"]\n'
    )
    (tmp_path / "t.csv").write_text("text\n" + "".join(f"ticket {n} is late again\n" for n in range(60)))
    (tmp_path / "held.txt").write_text("ticket 7 is late again\n")
    project = load(tmp_path)
    spec, unread = project.spec, object()
    sections: dict[str, Any] = {name: unread for name, whole in setup._NOT_DECIDING.items() if whole is True}
    for name, keys in setup._NOT_DECIDING.items():
        if keys is not True:
            sections[name] = getattr(spec, name).model_copy(update=dict.fromkeys(keys, unread))
    sections["curate"] = spec.curate.model_copy(update={"gates": SimpleNamespace(user=spec.curate.gates.user)})
    known = setup._read_seeds(project)
    assert known["short"]
    assert known["left_out"]
    poisoned = replace(project, spec=spec.model_copy(update=sections))
    assert setup._read_seeds(poisoned) == known
    assert sources(poisoned) == sources(project)
