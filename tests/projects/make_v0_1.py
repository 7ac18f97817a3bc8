"""Created tests/projects/v0_1: a project of pairsmith 0.1.0 (schema 0002), kept as an example of that version's stores.

It was run on commit c7b5447 with `python -m tests.projects.make_v0_1` and must never be run again. A later version
creates different records, and the tests of old projects are about these. It stays beside the data to show how every row
came about: the real commands against the loopback teacher, reviews through the functions that pull and push use, and a
random base model of two layers, whose weights are left out.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from curate.review.decision import edited_pair
from curate.review.gold import read_gold
from curate.review.pool import Pool, read_pool
from curate.review.pull import Response, Role, review_of, timed
from curate.review.push import route
from schemas.records import Pair, Review
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith.conftest import Project
from tests.pairsmith.conftest import answer as good_answer
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says

KEPT = Path(__file__).parent / "v0_1"
SPEC = """\
[task]
name = "old-prompts"
system = "Rewrite the image prompt."
style = "Rewrite the prompt richly, name a place and a light, and end with the word END."
language = "en"

[[seeds]]
path = "seeds.jsonl"
license = "CC0-1.0"

[[seeds]]
path = "excellent.csv"
kind = "enhanced"
columns = { text = "prompt" }
limit = 4

[[exemplars]]
simple = "a lighthouse"
enhanced = "a lighthouse on a rocky cliff above the sea, white waves on dark stones END"

[[exemplars]]
simple = "two apples"
enhanced = "two apples on an oak table, window light from the left, quiet and plain END"

[teacher]
url = "@URL@"
model = "loopback"
revision = "r1"
concurrency = 4
timeout_s = 30
attempts = 2
retries = 1
usd_per_million_prompt_tokens = 1.5
usd_per_million_completion_tokens = 6.0

[generate.forward]
n = 2
prompt = "enhance/v1"
sampling = { temperature = 0.7, top_p = 0.95, max_tokens = 64, stop = ["###"], extra = { min_p = 0.05 } }

[generate.backward]
levels = ["three to five words", "one plain sentence"]
sampling = { temperature = 0.5, max_tokens = 32, seed = 11 }

[curate.gates]
length = { min_words = 6, max_words = 60, min_ratio = 1.0, max_ratio = 40.0 }
repetition = false
echo = false
answered = false
language = false
must = [{ name = "ends", pattern = 'END\\Z' }]
must_not = [{ name = "brand", pattern = '(?i)\\bkodak\\b' }]
user = ["house:in_the_present"]

[curate.duplicates]
jaccard = 0.7

[curate.score]
model = "none"

[curate.select]
best = 2

[review]
enabled = false
workspace = "old"
reasons = ["wrong", "invented", "off_style"]
overlap = 0.25
half_width = 0.2
confidence = 0.9
batch = 14
gold = "gold.jsonl"
seed = 3
[review.shares]
certify = 0.4
fit = 0.1
audit_accepted = 0.2
audit_rejected = 0.2
disagree = 0.05
border = 0.05

[split]
test = 0.25
validation = 0.15
salt = "mill"

[train]
base = "base-model"
method = "lora"
r = 2
alpha = 4
learning_rate = 2e-2
batch = 4
epochs = 4
max_length = 256
seed = 5

[evaluate]
samples = 1
max_seeds = 2
resamples = 200
concurrency = 4
sampling = { temperature = 0.7, top_p = 0.95, max_tokens = 8 }
checks = [{ name = "light", pattern = "light|sun" }, { name = "place", pattern = "wall|fence|arch|door|bank|stall" }]
"""
SEEDS = (
    "a red kite", "old harbour crane", "two goats on a roof", "a paper boat", "snow on pines", "a brass telescope",
    "fisherman at noon", "a cracked teapot", "three umbrellas", "a desert road", "night tram", "a fox in wheat",
    "an empty birdcage", "a long wooden pier", "a locked safe", "a torn letter", "a blue bicycle", "the old mill",
    "seven candles", "a stone bridge", "seven candles",
)  # fmt: skip
EXCELLENT = (
    "a wet bicycle chained to an iron railing, pale evening light on the canal, still and cold END",
    "a baker in a doorway, flour on both arms, golden morning sun from the street, warm END",
    "a blue teapot with a crack down its side, lamp light on a bare table, lonely END",
    "a heron in shallow water beside a river bank, grey dawn light, patient END",
    "a fifth row that the limit leaves out END",
)
GATE = '''\
"""A gate of the user's own, which cannot judge every row."""


def in_the_present(pair):
    if "kite" in pair.simple:
        raise ValueError("kites are not understood")
    return " was " not in pair.enhanced
'''
GOLD = (
    {
        "simple": "a gold ring",
        "enhanced": "a gold ring on a stone wall, dawn light from left, calm END",
        "verdict": "accept",
    },
    {"simple": "a lead pipe", "enhanced": "I think this was a pipe", "verdict": "reject"},
)
# The teacher's reaction to seeds that get no good answer.
ODD: dict[str, Reply] = {
    "an empty birdcage": says("", ""),
    "a long wooden pier": says("a long wooden pier beside a stone wall and", "a long wooden pier", finish="length"),
    "a locked safe": fails(400, "this prompt was filtered", code="content_filter"),
    "a blue bicycle": says("Sure! Here is your prompt: a blue bicycle by a fence END", "a blue bicycle END"),
    "three umbrellas": says(*["three umbrellas beside a stone wall, wet leaves all around, lamp light, calm END"] * 2),
}


def teach(ask: Ask) -> Reply:
    """Good answers, except for the seeds above. "a torn letter" gets an empty one first, and "the old mill" one in a
    fence."""
    shown = ask.prompt
    if (level := re.search(r"Write it as (.+)\.\Z", shown)) is not None:
        if "teapot" in shown:
            return says("a cracked teapot")  # this is a seed of the test split
        return says(" ".join(shown.split()[: 4 if level[1].startswith("three") else 7]).strip(","))
    subject = shown.rpartition(": ")[2]
    if subject in ODD:
        return ODD[subject]
    if subject == "a torn letter" and ask.nth == 1:
        return says(*[""] * ask.n)
    if subject == "the old mill":
        text = "the old mill beside a river bank, smoke drifting behind it, evening sun from right, calm END"
        return says(f"```\n{text}\n```", f'"{text.replace("calm", "tense and dark, ropes on the ground")}"')
    return good_answer(ask)


def make(project: Project, url: str) -> None:
    """Write the project's files and run every stage, with reviews between two curations."""
    folder = project.folder
    (folder / "pairsmith.toml").write_text(SPEC.replace("@URL@", url))
    (folder / "seeds.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SEEDS))
    (folder / "excellent.csv").write_text("prompt\n" + "".join(f'"{text}"\n' for text in EXCELLENT))
    (folder / "house.py").write_text(GATE)
    (folder / "gold.jsonl").write_text("".join(json.dumps(item) + "\n" for item in GOLD))
    make_base(folder / "base-model")
    print(project.json("generate"))
    print(project.json("curate", "--set", "curate.score.model=relevance"))
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        review(folder, store)
    for command in ("curate", "train", "evaluate"):
        print(project.json(command))


def make_base(folder: Path) -> None:
    """A random Llama with the tokenizer of the embedded model."""
    from synth.embedded.weights import embedded_weights
    from tests.train.tiny import make_student

    make_student(folder, embedded_weights().folder)


def review(folder: Path, store: Store) -> None:
    """Route rows as `review push` does, and store answers as `review pull` reads them."""
    project = load(folder)
    scopes = list(dict.fromkeys(candidate.scope for candidate in store.candidates()))
    pool = read_pool(project, store, scopes)
    route(project, store, pool)
    gold = {item.pair.id for item in read_gold(project)} & store.routed().keys()
    rows = [id_ for id_ in store.routed() if id_ not in gold]
    good = [id_ for id_ in rows if pool.rows[id_].passed]
    bad = [id_ for id_ in rows if not pool.rows[id_].passed]
    accepted, edited, refused, taken_back, disputed, adjudicated, simulated, *more = good
    answers = [
        response_of("ann", accepted, pool, 1, ranking=True),
        response_of(
            "ann", edited, pool, 2, text=pool.pairs[edited].enhanced.replace(" END", ", seen from far away END")
        ),
        response_of("ann", refused, pool, 3, "reject", reasons=["invented", "off_style"]),
        response_of("ann", taken_back, pool, 4),
        response_of("ann", disputed, pool, 5),
        response_of("ben", disputed, pool, 6, "reject", reasons=["wrong"]),
        response_of("ann", adjudicated, pool, 7, "reject"),
        response_of("ben", adjudicated, pool, 8),
        response_of("cleo", adjudicated, pool, 30, role="adjudicator"),
        response_of("simulated-1", simulated, pool, 9, "reject", reasons=["wrong"]),
        *(response_of("ben", id_, pool, 10 + n) for n, id_ in enumerate(more)),
        *(response_of("ann", id_, pool, 40 + n) for n, id_ in enumerate(bad[:2])),
        *(response_of("ben", id_, pool, 60 + n, "reject") for n, id_ in enumerate(bad[2:])),
        *(response_of("ann", id_, pool, 80 + n, "accept") for n, id_ in enumerate(sorted(gold))),
    ]
    pairs: dict[str, Pair] = {**pool.pairs, **{pair.id: pair for pair in store.pairs(gold)}}
    for response in timed(answers):
        pair, why = pairs[response.pair_id], store.routed([response.pair_id])[response.pair_id]
        one = review_of(response, pair, why[-1].sampling_probability)
        store.write(one, *([edited_pair(pair, one)] if one.decision == "edit" else []))
    store.write(Review(pair_id=taken_back, reviewer="ann", decision="withdrawn", at=at(90)))


def at(minute: int) -> datetime:
    return datetime(2026, 11, 25, 9, 0, tzinfo=UTC) + timedelta(minutes=minute)


def response_of(
    who: str,
    pair_id: str,
    pool: Pool,
    minute: int,
    verdict: str = "accept",
    *,
    text: str | None = None,
    reasons: Sequence[str] = (),
    ranking: bool = False,
    role: Role = "annotator",
) -> Response:
    """A reviewer's answer."""
    rivals = tuple(pair.id for pair in pool.rivals(pool.pairs[pair_id])) if pair_id in pool.pairs else ()
    values: dict[str, Any] = {"verdict": verdict, "edited": text, "reasons": list(reasons)}
    if ranking:
        values["ranking"] = [{"value": name, "rank": 1} for name in ("this", "A")]
    return Response(pair_id, who, role, "submitted", values, rivals, at(minute))


def keep(project: Project) -> None:
    """Copy small files, write the store as SQL text, and record every id in the store's columns."""
    folder = project.folder
    shutil.rmtree(KEPT, ignore_errors=True)
    leave = shutil.ignore_patterns("base-model", "pairsmith.db*", "tokenizer*", "*.jinja", "__pycache__", "artefacts")
    expected = golden(project)
    shutil.copytree(folder, KEPT, ignore=leave)
    with closing(sqlite3.connect(folder / "pairsmith.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (KEPT / "store.sql").write_text("\n".join(connection.iterdump()) + "\n")
    (KEPT / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def golden(project: Project) -> dict[str, Any]:
    """Every id, the accepted rows, and the output of `status` and `explain`."""
    latest = [artifact for (artifact,) in project.rows("SELECT body FROM artifacts WHERE kind = 'dataset'")][-1]
    members = json.loads(latest)["members"]
    edited = next(id_ for (id_, body) in project.rows("SELECT id, body FROM pairs") if '"by":"edited"' in body)
    failed = project.rows("SELECT pair_id FROM verdicts WHERE by = 'gate/preamble@1' AND body LIKE '%\"keep\":false%'")
    (evaluation,) = (project.folder / "evaluations").glob("*.json")
    rungs = json.loads(evaluation.read_text())["rungs"]
    status = project.json("status")
    return {
        "ids": {
            table: [id_ for (id_,) in project.rows(f"SELECT id FROM {table} ORDER BY position")]
            for table in ("seeds", "pairs", "reviews", "routed", "artifacts")
        },
        "calls": project.rows("SELECT key, attempt, status FROM calls ORDER BY position"),
        "revisions": {"loopback": "r1", **{rung["model"]: rung["revision"] for rung in rungs}},
        "candidates": [
            [one.get(key) for key in ("scope", "seed_id", "generator", "sample", "pair_id", "failure")]
            for (body,) in project.rows("SELECT body FROM candidates ORDER BY position")
            for one in [json.loads(body)]
        ],
        "scopes": dict(project.rows("SELECT generator, scope FROM candidates")),
        "accepted": members,
        "curated": {key: status["stages"][1][key] for key in ("counts", "reasons")},
        "status": status | {"folder": "FOLDER"},
        "explain": [project.json("explain", id_) for id_ in (edited, failed[0][0])],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, LoopbackTeacher(teach) as teacher:
        project = Project(Path(folder))
        make(project, f"{teacher.url}/v1")
        keep(project)


if __name__ == "__main__":
    main()
