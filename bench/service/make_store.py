"""Creates a store with many rows, as generation and curation leave it, for measuring pages; its texts are random
words."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.records import (
    Artifact,
    Call,
    Candidate,
    Counts,
    Generated,
    Pair,
    Reason,
    Receipt,
    RowState,
    Sampling,
    Seed,
    Usage,
    Verdict,
)
from schemas.reviews import Review
from schemas.store import Store

EACH = 4  # slots per input
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
_WORDS = """
lighthouse fog harbour lantern granite teal pewter wave storm keeper oilskin stair cobble alley bicycle rust moss window
rain amber dusk copper kettle steam market stall spice linen thread needle loom orchard apple ladder frost river barge
rope anchor gull chalk cliff meadow clover bee hive honey jar shelf cellar candle smoke violin bow
""".split()  # noqa: SIM905
_WHY = (
    ("rejected", "short", "It has 5 words; at least 8 are asked for.", "gate/length@1"),
    ("rejected", "echo", "It repeats the input.", "gate/echo@1"),
    ("rejected", "outranked", "Another candidate for this input is better.", "select/best@1"),
    ("waiting", "unscored", "The scorer gave no number.", "score/pmi@1"),
)
SPEC = """[task]
name = "many"
style = "Rewrite it as a rich scene."
[[seeds]]
path = "seeds.txt"
[teacher]
url = "embedded"
model = "smollm2-135m-instruct"
"""


def make(folder: Path, rows: int) -> Path:
    """Create a project in `folder` with `rows` slots, and return the folder."""
    folder.mkdir(parents=True)
    (folder / "pairsmith.toml").write_text(SPEC)
    (folder / "seeds.txt").write_text("a lighthouse in fog\n")
    draw, states, reasons = random.Random(0), Counter[str](), Counter[str]()
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        seeds, members = list[Seed](), list[tuple[str, str]]()
        for start in range(0, rows // EACH, 500):
            records: list[Any] = []
            for number in range(start, min(start + 500, rows // EACH)):
                seed = Seed(kind="input", text=f"{_text(draw, 4)} {number}", source=f"seeds.txt:{number + 1}")
                seeds.append(seed)
                for sample in range(EACH):
                    records += _slot(draw, seed, f"{number:08d}{sample:02d}", sample, members)
            slots = [record for record in records if isinstance(record, RowState)]
            states.update(slot.state for slot in slots)
            reasons.update(slot.reason.code for slot in slots if slot.reason)
            store.append(*records).result()
        store.set_active_seeds(seeds)
        sizes = Counts(rows_in=states.total(), **states)
        pair_counts = Counts(rows_in=sizes.rows_in, waiting=sizes.rows_in - sizes.failed, failed=sizes.failed)
        shared = {"seconds": 60.0, "started": AT, "spec_hash": "x", "ok": True}
        facts = {"curation": "now", "scopes": ["now"], "made": "d1", "steps": {}, "review_count": 300}
        store.write(
            Receipt(
                command="generate",
                counts=pair_counts,
                reasons={"empty": sizes.failed},
                calls_sent=sizes.rows_in,
                facts={"scopes": {"forward": "now"}, "seeds": {"input": len(seeds)}},
                **shared,
            ),
            Receipt(command="curate", counts=sizes, reasons=reasons, facts=facts, **shared),
            Artifact(id="d1", kind="dataset", path="dataset/d1", members=tuple(members[:1000])),
        )
    return folder


def _slot(draw: random.Random, seed: Seed, key: str, sample: int, members: list[tuple[str, str]]) -> list[Any]:
    """The records of a slot. An accepted row is added to `members`."""
    slot = {"seed_id": seed.id, "generator": "forward", "sample": sample}
    call = Call(
        key=key,
        attempt=1,
        status="ok",
        raw={},
        text="",
        request_id=key,
        sample=sample,
        teacher="mock",
        endpoint="http://127.0.0.1",
        seconds=1.0,
        usd=0.0001,
        stage="generate",
        prompt="enhance/v1",
        usage=Usage(prompt_tokens=80, completion_tokens=60),
        at=AT,
    )
    if draw.random() < 0.08:
        why = Reason("empty", "The answer was empty.")
        return [
            call,
            Candidate(fingerprint="now", failure=why, **slot),
            RowState(curation="now", generation="now", state="failed", reason=why, step="generate", **slot),
        ]
    origin = Generated(
        generator="forward", prompt="enhance/v1@00000000", teacher="mock", sampling=Sampling(), calls=((key, 1),)
    )
    pair = Pair(
        seed_id=seed.id, input=seed.body, output=_text(draw, draw.randint(12, 60)), system="Rewrite.", origin=origin
    )
    judgements = [
        Verdict(pair_id=pair.id, by=f"gate/{name}@1", fingerprint="s", keep=True, reason=Reason("ok"))
        for name in ("length", "echo", "loop")
    ]
    state = {"curation": "now", "generation": "now", "pair_id": pair.id, "score": round(draw.gauss(0, 1), 3), **slot}
    records = [call, pair, Candidate(fingerprint="now", pair_id=pair.id, **slot), *judgements]
    if draw.random() < 0.28:
        split = draw.choices(("train", "validation", "test"), (8, 1, 1))[0]
        members.append((pair.id, split))
        records.append(RowState(state="accepted", split=split, **state))
        if len(members) <= 300:
            records.append(
                Review(pair_id=pair.id, reviewer="argilla:x/1", name="ann", decision="accept", seconds=6, at=AT)
            )
    else:
        word, code, sentence, step = draw.choices(_WHY, (5, 3, 12, 1))[0]
        records.append(RowState(state=word, reason=Reason(code, sentence), step=step, **state))
    return records


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))
