"""Everything that the store knows about one pair, as data and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pairsmith.rows.curated import flagged_reason
from schemas.errors import PairsmithError, UsageError
from schemas.project import Project
from schemas.records import Artifact, Call, Generated, Pair, Receipt, RowState, Verdict
from schemas.step_names import display_step
from schemas.store import Store
from schemas.store.latest import listed_artifacts, members_of

if TYPE_CHECKING:
    from rich.console import RenderableType


def pair_by_prefix(store: Store, id_prefix: str) -> Pair:
    """The pair whose id starts with `id_prefix`. Raises UsageError if there are none or several."""
    pairs = store.find_pair(id_prefix.lower())
    if not pairs:
        raise UsageError(
            f"no pair has an id that starts with '{id_prefix}'.",
            fix="`pairsmith rows --limit 0` lists the ids; the exported rows and report.html contain them too.",
        )
    if len(pairs) > 1:
        first = "\n  ".join(f"{pair.id}  {pair.input[:60]}" for pair in pairs[:10])
        more = f"\n  and {len(pairs) - 10} more" if len(pairs) > 10 else ""
        raise UsageError(f"{len(pairs)} ids start with '{id_prefix}':\n  {first}{more}\n", fix="Type more digits.")
    return pairs[0]


def lineage_of(project: Project, store: Store, pair: Pair) -> dict[str, Any]:
    """Seed, prompt, teacher, sampling, raw answers, verdicts, reviews of the pair and of those it replaces, the last
    curation's decision on its slots (or the edit that is there now, `replaced_by`), split, and the artifacts that
    contain the pair."""
    from curate.review.decision import after_edits, replaced_pairs
    from curate.split import seed_split, split_of
    from curate.states import last_curation, read_states

    seed = store.seeds_by_id([pair.seed_id]).get(pair.seed_id)
    curation = last_curation(store)
    call_refs = pair.origin.calls if isinstance(pair.origin, Generated) else ()
    calls = [call for key, attempt in call_refs if (call := store.call(key, attempt))]
    states = list(read_states(store, curation, pair_id=pair.id)) if curation else []
    edited = pair if states else after_edits(pair, store)
    reviewed = [one.id for one in (*replaced_pairs(pair, store)[::-1], pair)]
    reviews = store.reviews(reviewed)
    return {
        "id": pair.id,
        "input": pair.input,
        "output": pair.output,
        "system": pair.system,
        "turns": [turn.model_dump() for turn in pair.turns],
        "columns": pair.columns,
        "seed": None if seed is None else {"id": seed.id, "kind": seed.kind, "text": seed.body, "source": seed.source},
        "origin": pair.origin.model_dump(mode="json"),
        "prompt": _prompt(project, pair),
        "calls": [_call(call) for call in calls],
        "verdicts": _verdicts(store.verdicts([pair.id]).get(pair.id, []), curation),
        "reviews": [r.model_dump(mode="json") | {"who": r.signature} for id_ in reviewed for r in reviews.get(id_, [])],
        "rows": [_as_json(state) for state in states],
        "replaced_by": None if edited.id == pair.id else edited.id,
        "split": seed_split(seed, project.spec.split) if seed else split_of(pair.seed_id, project.spec.split),
        "artifacts": [
            {"kind": a.kind, "id": a.id, "path": a.path, "split": split} for a, split in _holding(store, pair.id)
        ],
        "meta": pair.meta,
    }


def _prompt(project: Project, pair: Pair) -> dict[str, Any] | None:
    if not isinstance(pair.origin, Generated):
        return None
    import prompts

    try:
        prompt = prompts.load(pair.origin.prompt, project.folder)
    except PairsmithError as error:
        return {"ref": pair.origin.prompt, "text": None, "note": str(error)}
    return {"ref": prompt.ref, "text": prompt.text, "note": None}


def _call(call: Call) -> dict[str, Any]:
    kept = "key attempt sample status reason teacher endpoint text raw request facts seconds request_id"
    return call.model_dump(mode="json", include=set(kept.split())) | {"at": call.at.isoformat(timespec="seconds")}


def _verdicts(verdicts: Sequence[Verdict], curation: Receipt | None) -> list[dict[str, Any]]:
    """The verdicts as JSON. Those of other settings or versions of gates than the last curation's, and of a scorer that
    it did not use, come last."""
    facts = curation.facts if curation else {}
    gates, steps = facts.get("gates"), facts.get("steps")

    def by_other_rules(verdict: Verdict) -> bool:
        if verdict.by.startswith("score/"):
            return steps is not None and verdict.by not in steps
        return gates is not None and verdict.by.startswith("gate/") and gates.get(verdict.by) != verdict.fingerprint

    others = [by_other_rules(verdict) for verdict in verdicts]
    ordered = sorted(zip(others, verdicts, strict=True), key=lambda one: one[0])
    return [{**_as_json(verdict), "other_rules": is_other} for is_other, verdict in ordered]


def _as_json(record: Verdict | RowState) -> dict[str, Any]:
    """The record as JSON, with its reason as the line shown to users."""
    if isinstance(record, Verdict) and record.flags:
        return {**record.model_dump(mode="json"), "reason": flagged_reason(record)}
    reason = None if record.reason is None else str(record.reason)
    return {**record.model_dump(mode="json"), "reason": reason}


def _holding(store: Store, pair_id: str) -> list[tuple[Artifact, str | None]]:
    """The datasets that contain the pair, and everything derived from them, oldest first."""
    splits = {id_: members[pair_id] for id_, members in members_of(store, holding=pair_id)}
    holding: dict[str, tuple[Artifact, str | None]] = {}
    for artifact, _ in listed_artifacts(store):
        split = splits.get(artifact.id)
        inherited = any(parent in holding for parent in artifact.parents)
        if split is not None or inherited:
            holding[artifact.id] = (artifact, split)
    return list(holding.values())


def screen(lineage: dict[str, Any]) -> list[RenderableType]:
    """The lineage in chronological order."""
    from rich.rule import Rule
    from rich.text import Text

    from pairsmith.terminal.screen import Columns, facts, verdict_mark

    origin, seed, prompt = lineage["origin"], lineage["seed"], lineage["prompt"]
    own_system = lineage["system"] if origin["by"] == "imported" else ""
    top = [
        ("pair", lineage["id"]),
        *((("system", own_system),) if own_system else ()),
        *((turn["role"], turn["content"]) for turn in lineage["turns"]),
        ("input", lineage["input"]),
        ("output", lineage["output"]),
        *lineage["columns"].items(),
        ("split", lineage["split"]),
    ]
    origins = [("seed", f"{seed['source']} ({seed['kind']}, {seed['id'][:12]})" if seed else "no longer in the store")]
    if prompt:
        origins.append(("prompt", prompt["ref"] + (f" ({prompt['note']})" if prompt["note"] else "")))
    if origin["by"] == "generated":
        sampling = ", ".join(f"{k} {v}" for k, v in origin["sampling"].items() if v not in (None, {}, ()))
        origins += [("teacher", f"{origin['teacher']}, {origin['generator']}"), ("sampling", sampling)]
    else:
        origins.append((origin["by"], origin.get("source") or origin["parent_id"]))
    parts: list[RenderableType] = [facts(top), Rule("origin", style="dim"), facts(origins)]
    for call in lineage["calls"]:
        which = f"{call['key'][:12]} attempt {call['attempt']}, {call['seconds']:.2f} s, {call['at']}"
        asked = [(f"  {message['role']}", message["content"]) for message in call["request"].get("messages", [])]
        others = [(f"  {name}", str(value)) for name, value in call["facts"].items() if name != "usage"]
        parts += [facts([("call", which)]), *(facts([turn]) for turn in asked)]
        parts.append(facts([("  answer", call["text"]), *others]))
    parts.append(Rule("verdicts and reviews", style="dim"))
    verdicts = [
        (
            verdict_mark(verdict["keep"], verdict["flags"]),
            Text(display_step(verdict["by"])),
            Text("" if verdict["score"] is None else f"{verdict['score']:.3f}"),
            Text(f"{'(by other rules) ' if verdict['other_rules'] else ''}{verdict['reason']}"),
        )
        for verdict in lineage["verdicts"]
    ]
    widths = [max((row[at].cell_len for row in verdicts), default=0) for at in range(3)]
    parts.append(Columns(verdicts, *widths) if verdicts else "no step has judged it yet")
    for row in lineage["rows"]:
        why = f": {row['reason']} ({display_step(row['step'])})" if row["reason"] else ""
        parts.append(facts([("state", row["state"] + why)]))
    if edit := lineage["replaced_by"]:
        parts.append(facts([("state", f"replaced by a reviewer's edit, pair {edit[:12]}")]))
    for review in lineage["reviews"]:
        reasons = f": {', '.join(review['reasons'])}" if review["reasons"] else ""
        parts.append(facts([("review", f"{review['decision']} by {review['who']}{reasons}")]))
    parts.append(Rule("used in", style="dim"))
    used_in = [
        (a["kind"], f"{a['id'][:12]}  {a['path']}" + (f"  ({a['split']})" if a["split"] else ""))
        for a in lineage["artifacts"]
    ]
    parts.append(facts(used_in, width=12) if used_in else "no dataset")
    return parts
