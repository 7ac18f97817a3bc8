"""What the setup page shows of a preview and a forecast after settings change."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith import Project
from pairsmith.serve.workspace import Workspace
from pairsmith.stages import forecast, preview
from schemas.spec_file import SPEC_NAME, load, set_keys
from schemas.store import Store
from tests.serve.conftest import Browse, write_project
from tests.synth.loopback import LoopbackTeacher

PRICES = {"teacher.usd_per_million_prompt_tokens": 0.4, "teacher.usd_per_million_completion_tokens": 1.6}


def test_preview_is_outdated_only_by_settings_that_affect_answers(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """A price, a cap and the number of epochs do not affect answers. After token prices are entered, the page says how
    to see the cost and does not ask for prices again. A changed style is named."""
    folder = write_project(workspace, "tiny", teacher.url)
    with Store.open(Store.url_for(project := load(folder))) as store:
        preview.preview(project, store)
    client = browse(workspace)
    spec, outdated_note, price_note = (
        folder / SPEC_NAME,
        "so the run may give different answers",
        "The teacher now has a price",
    )

    def page(**keys: object) -> str:
        spec.write_text(set_keys(spec.read_text(), {name.replace("__", "."): value for name, value in keys.items()}))
        return client.get("/p/tiny/setup").text

    first = page()
    assert "at an unknown cost" in first
    assert "✗ rejected" not in first
    assert "Enter the token prices under Teacher" in first
    priced = page(**PRICES, budget__max_usd=2, train__epochs=1)
    assert price_note in priced
    assert "Enter the token prices" not in priced
    assert outdated_note not in priced
    asked = len(teacher.asked)
    with Store.open(Store.url_for(project := load(folder))) as store:
        preview.preview(project, store)
    assert len(teacher.asked) == asked
    assert price_note not in page()
    page(curate__gates={"must": [{"name": "never", "pattern": "--never"}]})
    with Store.open(Store.url_for(project := load(folder))) as store:
        preview.preview(project, store)
    assert "✗ rejected" in page()
    assert "Since this preview, “Style” (task.style) has changed, so the run may give different answers" in page(
        task__style="Briefly."
    )


def test_preview_of_an_older_version_is_shown(workspace: Workspace, teacher: LoopbackTeacher, browse: Browse) -> None:
    """Its rows do not record whether a gate rejects them."""
    folder = write_project(workspace, "tiny", teacher.url)
    with Store.open(url := Store.url_for(project := load(folder))) as store:
        preview.preview(project, store)
        receipt = store.receipts()[-1]
    for row in receipt.facts["rows"]:
        row.pop("rejected")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as held, held:
        held.execute("UPDATE receipts SET body = ?", [receipt.model_dump_json()])
    page = browse(workspace).get("/p/tiny/setup")
    assert page.status_code == 200, page.text
    assert "at an unknown cost" in page.text


def test_cap_that_the_run_may_reach_is_shown_with_the_forecast(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """As in a terminal, and with the current cap: a sufficient cap is not mentioned."""
    folder = write_project(workspace, "tiny", teacher.url)
    spec = folder / SPEC_NAME
    spec.write_text(set_keys(spec.read_text(), PRICES))
    with Store.open(Store.url_for(project := load(folder))) as store:
        usd = forecast.forecast(project, store).whole["usd"]
    client = browse(workspace)
    for cap, says in ((usd["low"] / 2, "the run costs more than budget.max_usd, $"), (2 * usd["high"], "")):
        spec.write_text(set_keys(spec.read_text(), {"budget.max_usd": cap}))
        page = client.get("/p/tiny/setup").text
        assert "90 % intervals" in page
        assert says in page
        assert ("it stops there cleanly" in page) == bool(says)


def test_forecast_is_outdated_by_settings_that_affect_rows(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """A disabled check and a changed language affect how many rows the same answers give; a cap and the number of
    epochs do not."""
    folder = write_project(workspace, "tiny", teacher.url)
    with Store.open(Store.url_for(project := load(folder))) as store:
        forecast.forecast(project, store)
    client, spec = browse(workspace), folder / SPEC_NAME
    before = spec.read_text()
    cases = {
        "curate.gates.cut": (False, "“Checks” (curate.gates.cut)"),
        "task.language": ("de", "“Style” (task.language)"),
        "budget.max_usd": (2, ""),
        "train.epochs": (1, ""),
    }
    for key, (value, named) in cases.items():
        spec.write_text(set_keys(before, {key: value}))
        page = client.get("/p/tiny/setup").text
        assert "90 % intervals" in page
        assert ("Since this forecast" in page) == bool(named)
        assert f"Since this forecast, {named} has changed" in page or not named


@pytest.mark.slow
def test_messages_of_a_prompt_are_shown_behind_many_newer_rows(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """The messages of a prompt are those of its newest row, even if the other direction has requested over a hundred
    rows since. The page had said that no row had been requested with the prompt."""
    folder = write_project(workspace, "tiny", teacher.url, ("a brass kettle",))
    spec = folder / SPEC_NAME
    sources = [{"path": "seeds.jsonl"}, {"path": "outputs.txt", "kind": "output"}]
    both = {"seeds": sources, "generate.backward.enabled": True, "generate.backward.levels": ["short"]}
    spec.write_text(set_keys(spec.read_text(), both))
    (folder / "outputs.txt").write_text("".join(f"lamp number {n} in the hall, lit at dusk\n" for n in range(110)))
    Project(folder).generate()
    page = browse(workspace).get("/p/tiny/prompts?ref=enhance/v1").text
    assert "For the most recent row requested with enhance/v1" in page
    assert page.count("a brass kettle") == 1


def test_rows_before_curation_are_not_said_to_have_passed(
    workspace: Workspace, teacher: LoopbackTeacher, browse: Browse
) -> None:
    """A run that was stopped while it generated had shown why rows do not pass; afterwards its page said that no row
    had been rejected."""
    folder = write_project(workspace, "tiny", teacher.url)
    Project(folder).generate()
    page = browse(workspace).get("/p/tiny/run").text
    assert "Curation has not judged the rows yet." in page
    assert "No row has been rejected" not in page
