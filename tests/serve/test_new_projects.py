"""A new project in the browser: what a file may do to its spec, its names, and the kinds of task."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith import own_file
from pairsmith.serve.access import ALL, Role
from schemas.spec import Spec
from tests.serve.people import Service, staffed


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return staffed(tmp_path / "space")


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
    sent = {"data": {"name": name}, "files": {"file": ("t.csv", table.encode())}}
    assert browser.post("/new", **sent).status_code == 303
    spec = service.workspace.project(name).spec
    assert (spec.evaluate.user, spec.store, spec.budget.max_usd) == ((), Spec.model_fields["store"].get_default(), None)

    monkeypatch.setattr(own_file, "_comment", lambda sentence: f"# {sentence}")
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


@pytest.mark.parametrize("name", ["a" * 300 + ".txt", "входы.txt", "a" * 300])
def test_a_file_of_a_new_project_may_be_called_anything(service: Service, name: str) -> None:
    """Long names and other scripts are names of text files; none is a defect."""
    slug = f"called-{len(name)}"
    sent = service.browser("owner").post("/new", data={"name": slug}, files={"file": (name, b"a kite\n")})
    assert sent.status_code in (303, 422), sent.text
    assert (sent.status_code == 303) == name.endswith(".txt")
