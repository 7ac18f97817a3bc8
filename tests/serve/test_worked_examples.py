"""Worked examples on the setup page: what is derived from them, and whether a run would reject them."""

from __future__ import annotations

import re
from html import unescape
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from curate.split import seed_split
from pairsmith.stages.generate import load_seeds, without_test_overlap
from pairsmith.user_file.guessed_spec import answer_tokens
from schemas.store import Store
from schemas.store.opening import sqlite_url
from synth.sources.seeds import read_seeds
from tests.serve.people import Service
from tests.serve.test_setup_pages import create_project, spec_of


@pytest.mark.slow
def test_worked_examples_determine_the_answer_length(service: Service) -> None:
    """A project of inputs has no outputs to measure, so the limit is twice the length of the first examples, unless a
    user or a file has set it."""
    browser = create_project(service, "answers", "a.txt", "where is it\n", kind="reply")
    form = {"style": "Kind.", "input": ["where is it"], "output": ["It is on its way. " * 40]}
    twice = answer_tokens(["It is on its way. " * 80])
    assert twice > 128
    assert browser.post("/p/answers/setup/style", data=form).status_code == 303
    sampling = spec_of(service, "answers").evaluate.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (twice, 0.7, 0.95)
    form["output"] = ["It is on its way. " * 90]
    assert browser.post("/p/answers/setup/style", data=form).status_code == 303
    assert spec_of(service, "answers").evaluate.sampling.max_tokens == twice


@pytest.mark.slow
def test_worked_example_from_the_test_split_is_reported(service: Service) -> None:
    """Users often copy their best prompts as examples. A run refuses an example from the test split, and the page says
    so beside it, with the similar seed, before anything is started."""
    things, places = ("kettle", "tram", "goat"), ("roof", "cliff", "table")
    of_light = ("the left", "behind", "above", "below")
    lines = [f"a {thing} on a {place}, lit from {side}" for thing, place, side in product(things, places, of_light)]
    browser = create_project(service, "prompts", "p.txt", "\n".join(lines), lines="output")
    project = service.workspace.project("prompts")
    seeds = read_seeds(project.spec.seeds, project.folder).seeds
    of_the_test = next(seed.body for seed in seeds if seed_split(seed, project.spec.split) == "test")
    form = {"style": "Rich.", "input": ["a thing", "a lamp"], "output": [of_the_test, "a tall lamp seen from a boat"]}
    assert browser.post("/p/prompts/setup/style", data=form).status_code == 303
    page = unescape(browser.get("/p/prompts/setup").text)
    assert page.count("A run will not start with this example") == 1
    assert f"Similar seed: “{of_the_test}”." in page
    assert page.count("No check rejects it.") == 1


def test_seeds_similar_to_the_test_are_counted_before_a_run(service: Service) -> None:
    """A few prompts that end with the same words are similar (five would be a template), and no request is sent for
    seeds similar to a test seed. The setup page shows their number and the first of them."""
    ending = ", low golden light from the right, long soft shadows, film grain, muted blues, calm mood, wide shot"
    things = ("a kettle", "a tram", "a goat", "an owl")
    browser = create_project(service, "alike", "p.txt", "\n".join(thing + ending for thing in things), lines="output")
    page = unescape(browser.get("/p/alike/setup").text)
    assert "are too similar to a seed in the test split, so no request is sent for them" in page
    assert "The first is p.txt:" in page
    create_project(
        service, "apart", "p.txt", "\n".join(f"{thing} {n * thing}" for n, thing in enumerate(things)), lines="output"
    )
    assert "in the test split, so" not in browser.get("/p/apart/setup").text


@pytest.mark.slow
def test_page_names_the_seeds_that_a_run_leaves_out(service: Service, tmp_path: Path) -> None:
    """The page reads the splits as a run does, which draws an exact share of the seeds for the test, and as runs have
    recorded them."""
    things, faults = (
        ["kettle", "lamp", "tent", "watch", "drill"],
        ("leaks when tilted", "is missing a screw", "smells burnt"),
    )
    towns = ["Graz", "Leeds", "Porto", "Turin"]
    lines = [
        f"My {a} {b}, bought in May near {c}." for n, (a, b, c) in enumerate(product(things, faults, towns)) if n % 3
    ]
    browser = create_project(service, "mine-too", "p.txt", "\n".join(lines), lines="input")
    project = service.workspace.project("mine-too")
    messages: list[str] = []
    with Store.open(sqlite_url(tmp_path / "other.db")) as store:
        without_test_overlap(project, load_seeds(project, store, messages.append)[1], messages.append)
    skipped = next(message for message in messages if "skipped" in message)
    count, first = skipped.split()[0], re.findall(r"(p\.txt:\d+): skipped", skipped)[0]
    page = unescape(browser.get("/p/mine-too/setup").text)
    assert f">{count} are too similar to a seed in the test split" in page
    assert f"The first is {first}," in page
