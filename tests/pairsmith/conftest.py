"""Fixtures that run the command line as a user does: a real child process in a folder of its own."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.pairsmith import forked
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

ROOT = Path(__file__).parents[2]
LIGHTS = ("dawn light", "lamp light", "candle light", "evening sun")
PLACES = ("stone wall", "wooden fence", "brick arch", "glass door", "river bank", "market stall")
DETAILS = (
    "worn edges under fine dust", "cracked paint and rust", "wet leaves all around", "a long thin shadow",
    "frost on every surface", "smoke drifting behind it", "small birds resting nearby", "ropes coiled on the ground",
    "warm stones in tall grass", "two lamps far away",
)  # fmt: skip
MOODS = ("calm", "restless", "joyful", "lonely", "solemn", "playful", "tense", "tender")

SPEC = """
[task]
name = "tiny"
style = "Rewrite the prompt richly and end with the word END."

[[seeds]]
path = "seeds.jsonl"

[[exemplars]]
input = "a lighthouse"
output = "a lighthouse on a rocky cliff above the sea, white waves on dark stones END"

[teacher]
url = "{url}"
model = "loopback"
concurrency = 4
retries = 2

[generate.forward]
n = 2
sampling = {{ temperature = 0.7, max_tokens = 64 }}

[curate.gates]
length = {{ min_words = 6, max_words = 60 }}
must = [{{ name = "ends", pattern = 'END\\Z' }}]

[curate.score]
model = "none"

[curate.select]
best = 2

[evaluate]
checks = [{{ name = "light", pattern = "light|sun" }}, {{ name = "place", pattern = "wall|fence|arch|door|bank" }}]
"""

_LOADING_TORCH = [("doctor",), ("train",), ("evaluate",)]
"""Commands that always import torch, which takes two seconds."""

SUBJECTS = (
    "a red kite", "old harbour crane", "two goats on a roof", "a paper boat", "snow on pines", "a brass telescope",
    "fisherman at noon", "a cracked teapot", "three umbrellas", "a desert road", "night tram", "a fox in wheat",
)  # fmt: skip


def subject_of(ask: Ask) -> str:
    """The seed's text, which is at the end of the last message in every prompt."""
    return ask.prompt.rpartition(": ")[2]


def answer(ask: Ask) -> Reply:
    """A rewrite that keeps the subject and passes the gates, different for each sample."""
    subject = subject_of(ask)
    texts = []
    for i in range(ask.n):
        chance = random.Random(f"{subject} {ask.nth} {i}")
        place, light, mood = chance.choice(PLACES), chance.choice(LIGHTS), chance.choice(MOODS)
        details = " and ".join(chance.sample(DETAILS, chance.choice((1, 2))))
        side = chance.choice(("left", "right"))
        texts.append(f"{subject} beside a {place}, {details}, {light} from {side}, {mood} END")
    return says(*texts)


@dataclass
class Project:
    """A project folder and the command line run in it. `kind` selects which modules are already imported in the process
    that its commands are forked from (see `forked`)."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    kind: str = forked.COMMANDS

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pairsmith", *arguments]

    def environ(self, **extra: str) -> dict[str, str]:
        """This environment without API keys and with an Argilla folder of its own; PYTHONPATH is the repository, in
        case pairsmith is not installed."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        own = {"PYTHONPATH": str(ROOT), "PAIRSMITH_ARGILLA_HOME": str(self.folder / "argilla")}
        return {**kept, **own, **self.environment, **extra}

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = 250, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command in the folder and wait for it."""
        environment = self.environ(**extra)
        if forked.can_fork(environment):
            loads = arguments[:1] in _LOADING_TORCH and find_spec("trl") is not None
            kind = forked.MODELS if loads else self.kind
            return forked.run(list(arguments), self.folder, environment, stdin, timeout_s, kind)
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def json(self, *arguments: str, **extra: str) -> dict[str, Any]:
        """The JSON object printed by a command that must succeed."""
        done = self.run(*arguments, "--json", **extra)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "--json prints nothing but the object"
        output: dict[str, Any] = json.loads(done.stdout)
        return output

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "receipts").glob("*.json"))]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the store directly with SQL, bypassing the product's code."""
        with closing(sqlite3.connect(self.folder / "pairsmith.db")) as connection, connection:
            return connection.execute(sql).fetchall()

    def is_intact(self) -> bool:
        return self.rows("PRAGMA integrity_check") == [("ok",)]


def write_seeds(folder: Path, subjects: tuple[str, ...] = SUBJECTS) -> None:
    (folder / "seeds.jsonl").write_text("".join(json.dumps({"text": subject}) + "\n" for subject in subjects))


@pytest.fixture
def teacher() -> Iterator[LoopbackTeacher]:
    with LoopbackTeacher(answer) as serving:
        yield serving


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Returns a function that writes a tiny project whose teacher is at `url`."""

    def make(url: str, subjects: tuple[str, ...] = SUBJECTS, name: str = "project") -> Project:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pairsmith.toml").write_text(SPEC.format(url=url))
        write_seeds(folder, subjects)
        return Project(folder)

    return make


@pytest.fixture
def project(teacher: LoopbackTeacher, make_project: Callable[..., Project]) -> Project:
    return make_project(teacher.url)
