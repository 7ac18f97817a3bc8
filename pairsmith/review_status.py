"""What `pairsmith review status` tells of a project: from its store, without asking the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curate.argilla.adjudication import Disagreement, disagreements
from curate.review.agreement import agreement
from curate.review.gold import accuracies, read_gold
from curate.review.status import as_json, review_status
from pairsmith.stages.review import judged_pool
from schemas.errors import NoWork
from schemas.progress import Say, unheard
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 5  # disagreements


def read(project: Project, store: Store, say: Say = unheard) -> dict[str, Any]:
    """The standing, why rows were routed, agreement, accuracy on gold, and what people disagree about."""
    try:
        pool = judged_pool(project, store, say)
    except NoWork as nothing:
        return {"review": None, "why": str(nothing)}
    reviews = store.reviews()
    people = {id_: own for id_, own in reviews.items() if id_ in pool.pairs}
    reasons: dict[str, int] = {}
    for id_, why in store.sampled().items():
        for record in why if id_ in pool.pairs or why[0].reason == "gold" else ():
            reasons[record.reason] = reasons.get(record.reason, 0) + 1
    return {
        "review": as_json(review_status(project, store, pool)),
        "routed_for": reasons,
        "agreement": [vars(one) for one in agreement(people)],
        "gold": [{**vars(one), "value": one.value} for one in accuracies(read_gold(project), reviews)],
        "disagreements": [_disagreement(one) for one in disagreements(people, pool.pairs.values())],
    }


def _disagreement(one: Disagreement) -> Json:
    answers = [
        {"reviewer": r.who, "decision": r.decision, "reasons": list(r.reasons), "edited": r.edited} for r in one.answers
    ]
    return {
        "pair_id": one.pair.id,
        "input": one.pair.input,
        "output": one.pair.output,
        "why": str(one.why),
        "answers": answers,
    }


def shown(project: Project, told: dict[str, Any]) -> list[RenderableType]:
    """The same for a person."""
    from rich.markup import escape
    from rich.table import Table

    from pairsmith.screen import facts
    from pairsmith.stages.review import in_lines

    name = project.spec.task.name
    if told["review"] is None:
        return [facts([("review", f"{name}: {told['why']}")])]
    at = told["review"]
    if not at["routed"]:
        return [facts([("review", f"{name}: nothing is routed yet; `pairsmith review push` draws the first rows")])]
    decided = at["accepted"] + at["edited"] + at["rejected"]
    head = (
        f"{name}: {decided:,} of {at['routed']:,} rows decided ({at['accepted']:,} accepted,"
        f" {at['edited']:,} edited, {at['rejected']:,} rejected), {at['unanswered']:,} unanswered,"
        f" {at['undecided']:,} to settle, {at['incomplete']:,} with too few annotators"
    )
    why = ", ".join(f"{reason} {count:,}" for reason, count in told["routed_for"].items())
    lines = [("review", head), ("drawn for", why), *in_lines(at)]
    if at["seconds_per_answer"] is not None:
        lines.append(("pace", f"{at['seconds_per_answer']:.0f} s an answer (median)"))
    parts: list[RenderableType] = [facts(lines)]
    if told["agreement"]:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("question", "measure", "who", "rows", "agreed", "value", "95% interval"):
            table.add_column(title, no_wrap=title in ("question", "measure"))
        for one in told["agreement"]:
            value = "undefined" if one["value"] is None else f"{one['value']:.2f}"
            spread = "" if one["low"] is None else f"{one['low']:.2f} to {one['high']:.2f}"
            who = ", ".join(one["annotators"]) if one["measure"] == "Cohen's kappa" else "all"
            cells = (one["question"], one["measure"], who, f"{one['rows']:,}", f"{one['agreed']:.0%}", value, spread)
            table.add_row(*map(escape, cells))
        parts += ["", "[bold]agreement[/]", table]
    if told["gold"]:
        known = [
            (one["reviewer"], f"{one['right']} of {one['answered']} right ({one['low']:.0%} to {one['high']:.0%})")
            for one in told["gold"]
        ]
        parts += ["", "[bold]on rows with known answers[/]", facts(known)]
    for one in told["disagreements"][:SHOWN]:
        said = [
            (a["reviewer"], " ".join(filter(None, [a["decision"], ", ".join(a["reasons"])]))) for a in one["answers"]
        ]
        parts += [
            "",
            facts(
                [
                    ("to settle", one["pair_id"][:12]),
                    ("input", one["input"]),
                    ("output", one["output"]),
                    *said,
                    ("", one["why"]),
                ]
            ),
        ]
    if (more := len(told["disagreements"]) - SHOWN) > 0:
        parts += ["", f"and {more} more to settle; --json lists them all"]
    return parts
