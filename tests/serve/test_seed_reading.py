"""How pages and the API read the files of a project: an upload's reading is kept, and no link leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

from pairsmith.serve.pages.seed_reading import keep_reading, seed_reading
from pairsmith.serve.workspace import Workspace
from schemas.project import Project
from schemas.spec_file import SPEC_NAME, parse
from synth.sources.seeds import read_seeds
from tests.serve.conftest import write_project
from tests.serve.people import browsing

SPEC = """
[task]
name = "kept"
style = "plain"
[[seeds]]
path = "seeds.txt"
kind = "input"
[teacher]
url = "http://localhost:1"
model = "m"
"""


def _project_of(name: str, folder: Path) -> Project:
    folder.mkdir()
    (folder / "seeds.txt").write_text(f"a row of {name}\n", encoding="utf-8")
    os.utime(folder / "seeds.txt", ns=(10**18, 10**18))
    return parse(SPEC, folder)


def test_a_reading_is_of_its_own_project_only(tmp_path: Path) -> None:
    """The page of one project showed the rows of another if their files were as large and written within one tick of
    the file system's clock. A project that is moved, as a new one is, keeps its reading; it is used once."""
    ann, ben = (_project_of(name, tmp_path / name) for name in ("ann", "ben"))
    kept = read_seeds(ann.spec.seeds, ann.folder)
    keep_reading(ann, kept)
    assert [seed.text for seed in seed_reading(ben).seeds] == ["a row of ben"]
    moved = parse(SPEC, ann.folder.rename(tmp_path / "moved"))
    assert seed_reading(moved) is kept
    assert seed_reading(moved) is not kept


def test_no_seeds_are_read_through_a_link_that_leads_out_of_the_project(tmp_path: Path) -> None:
    """The policy refuses such a project when it is saved or started; pages and `GET .../seeds` showed what is in the
    file. A link inside the project is followed; one to itself is an error as any missing file is."""
    (tmp_path / "secret.csv").write_text("text\nhunter2 of the neighbours\n", encoding="utf-8")
    with browsing(workspace := Workspace(tmp_path / "space"), headers={"Accept": "text/html"}) as client:
        folder = write_project(workspace, "mine", "http://127.0.0.1:9/v1")
        spec = (folder / SPEC_NAME).read_text(encoding="utf-8")
        for path, target, shows in (
            ("a.csv", tmp_path / "secret.csv", False),
            ("b*.csv", tmp_path / "secret.csv", False),
            ("c.csv", "kept.csv", True),
            ("d.csv", "d.csv", False),
        ):
            (folder / "kept.csv").write_text("text\nhunter2 of our own\n", encoding="utf-8")
            (folder / path.replace("*", "1")).symlink_to(target)
            (folder / SPEC_NAME).write_text(spec.replace('path = "seeds.jsonl"', f'path = "{path}"'), encoding="utf-8")
            for page in ("/p/mine/setup", "/api/v1/projects/mine/seeds"):
                assert (path, page, "hunter2" in client.get(page).text) == (path, page, shows)
            assert shows or path == "d.csv" or "leads out of the project" in client.get(page).text


def test_no_held_out_texts_are_read_through_a_link_that_leads_out_of_the_project(tmp_path: Path) -> None:
    """The page shows a held-out text that is similar to a seed or a worked example, and so showed any file of the
    machine. A file that cannot be compared is an error on the page, which was no page at all."""
    secret = "a lighthouse with the password hunter2 on a cliff"
    (tmp_path / "secret.txt").write_text(f"{secret}\n", encoding="utf-8")
    with browsing(workspace := Workspace(tmp_path / "space"), headers={"Accept": "text/html"}) as client:
        folder = write_project(workspace, "mine", "http://127.0.0.1:9/v1")
        spec = (folder / SPEC_NAME).read_text(encoding="utf-8").replace('"a lighthouse"', f'"{secret[:-8]}"')
        (folder / "kept.txt").write_text(f"{secret}\n", encoding="utf-8")
        for path, target, shows, says in (
            ("a.txt", tmp_path / "secret.txt", False, "leads out of the project"),
            ("b.txt", "kept.txt", True, "Similar seed: “a lighthouse with the password hunter2 on a cliff”"),
            ("c.txt", "c.txt", False, "c.txt"),
        ):
            (folder / path).symlink_to(target)
            held_out = f'\n[curate.contamination]\nfiles = ["{path}"]\n'
            (folder / SPEC_NAME).write_text(spec + held_out, encoding="utf-8")
            page = client.get("/p/mine/setup")
            assert (path, page.status_code, "hunter2 on a cliff" in page.text) == (path, 200, shows)
            assert says in page.text


def test_no_schema_is_shown_through_a_link_that_leads_out_of_the_project(tmp_path: Path) -> None:
    """The page lists the keys of the schema of records."""
    schema = '{"type": "object", "properties": {"hunter2": {"type": "string"}}}'
    with browsing(workspace := Workspace(tmp_path / "space"), headers={"Accept": "text/html"}) as client:
        folder = write_project(workspace, "mine", "http://127.0.0.1:9/v1")
        spec = (folder / SPEC_NAME).read_text(encoding="utf-8")
        task = '[task]\nkind = "extract"\nschema = "schema.json"'
        (folder / SPEC_NAME).write_text(spec.replace("[task]", task), encoding="utf-8")
        for place, shows in ((tmp_path, False), (folder, True)):
            (place / "real.json").write_text(schema, encoding="utf-8")
            (folder / "schema.json").unlink(missing_ok=True)
            (folder / "schema.json").symlink_to(place / "real.json")
            page = client.get("/p/mine/setup")
            assert (page.status_code, "hunter2" in page.text) == (200, shows)
