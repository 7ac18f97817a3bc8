"""A store, a ledger and generators connected to a loopback teacher, as the command line would set them up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts import load
from schemas.records import Sampling, Seed
from schemas.spec import Exemplar, TaskSettings, TeacherSettings
from schemas.store import Store
from synth.endpoints.endpoint import Endpoint
from synth.generators import Backward, Forward, Generator
from synth.ledger import Ledger

TASK = TaskSettings(name="dogs", style="Write at length.")
LEVELS = ("three words", "one sentence")
EXEMPLARS = (Exemplar(input="a cat", output="a cat on a red sofa in the evening"),)


# Prompts for tests only, whose last turn begins with the seed, independent of the released ones. Their variables use
# the old names of input and output. Golden fingerprints depend on them, so they must not change.
PROMPTS = {
    "enhance": """+++
about = "A test's prompt."
variables = { style = "s", exemplars = "e", simple = "i" }
+++
=== system ===
{{ style }}
=== user for exemplar in exemplars ===
{{ exemplar.simple }}
=== assistant for exemplar in exemplars ===
{{ exemplar.enhanced }}
=== user ===
{{ simple }}
""",
    "simplify": """+++
about = "A test's prompt."
variables = { enhanced = "o", level = "l" }
+++
=== user ===
{{ enhanced }} ({{ level }})
""",
}


def prompts_in(folder: Path) -> Path:
    """Write the tests' prompts into `folder` and return it."""
    for name, text in PROMPTS.items():
        (folder / "prompts" / name).mkdir(parents=True, exist_ok=True)
        (folder / "prompts" / name / "v1.jinja").write_text(text)
    return folder


@dataclass
class Rig:
    """`generators` are forward with two samples and backward with two levels."""

    store: Store
    ledger: Ledger
    forward: Generator
    backward: Generator

    @property
    def generators(self) -> Sequence[Generator]:
        return (self.forward, self.backward)


def input(count: int) -> list[Seed]:
    """Input seeds `dog 0`, `dog 1`, ..."""
    return [Seed(kind="input", text=f"dog {i}", source=f"seeds.jsonl:{i + 1}") for i in range(count)]


def output(count: int) -> list[Seed]:
    """Output seeds."""
    return [Seed(kind="output", text=f"hound {i} on a hill at dawn", source=f"e.txt:{i + 1}") for i in range(count)]


@asynccontextmanager
async def rig(url: str, folder: Path, *, n: int = 2, retry_failed: bool = False, **teacher: Any) -> AsyncIterator[Rig]:
    """A rig on the store in `folder`."""
    spec = TeacherSettings(**{"url": url, "model": "loopback", "retries": 2, "concurrency": 8, **teacher})
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        endpoint = Endpoint(
            spec.addresses,
            spec.model,
            timeout_s=spec.timeout_s,
            retries=spec.retries,
            concurrency=spec.concurrency,
            backoff_s=0.001,
        )
        async with endpoint:
            ledger = Ledger(store, endpoint, spec, retry_failed=retry_failed)
            forward_options = {"prompt": load("enhance", prompts_in(folder)), "sampling": Sampling(temperature=0.9)}
            backward_options = {"prompt": load("simplify", folder), "sampling": Sampling(temperature=0.7)}
            yield Rig(
                store,
                ledger,
                Forward(ledger, TASK.style, n, exemplars=EXEMPLARS, **forward_options),
                Backward(ledger, TASK.style, LEVELS, exemplars=EXEMPLARS, **backward_options),
            )
