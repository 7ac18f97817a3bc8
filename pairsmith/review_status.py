"""The output of `pairsmith review status`, read from the project's store without contacting the server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from curate.argilla.adjudication import Disagreement, disagreements
from curate.review.agreement import agreement
from curate.review.gold import accuracies, read_gold
from curate.review.population import Population
from curate.review.sampling import SHARE_KEYS
from curate.review.status import as_json, elsewhere_notice, review_status
from pairsmith.stages.review import judged_population
from schemas.errors import NoWork
from schemas.progress import Progress, Say, discard_message, unseen
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pairsmith.terminal.session import Session

SHOWN = 5  # disagreements shown in full


def read(project: Project, store: Store, say: Say = discard_message, progress: Progress = unseen) -> dict[str, Any]:
    """The review status, why rows were sampled, agreement, accuracy on gold rows, and what reviewers disagree about."""
    try:
        return status_of(project, store, judged_population(project, store, say, progress))
    except NoWork as nothing:
        return {"review": None, "why": str(nothing)}


def status_of(project: Project, store: Store, population: Population) -> dict[str, Any]:
    """The same, from a population that was read before."""
    reviews = store.reviews()
    reviewed = {pair_id: of_pair for pair_id, of_pair in reviews.items() if pair_id in population.rows}
    sampled = store.sampled()
    counted_draws = (draws for id_, draws in sampled.items() if id_ in population.rows or draws[0].reason == "gold")
    reasons = Counter(SHARE_KEYS.get(draw.reason, draw.reason) for draws in counted_draws for draw in draws)
    waiting = disagreements(population.pairs(reviewed), reviewed, project.spec.review.annotators_per_row)
    return {
        "review": as_json(review_status(project, store, population)),
        "sampled_for": dict(reasons),
        "inclusion_probabilities": population.drawn(sampled, project.spec.review).inclusion_probabilities,
        "agreement": [vars(measure) for measure in agreement(reviewed)],
        "gold": [{**vars(person), "value": person.value} for person in accuracies(read_gold(project, store), reviews)],
        "disagreements": [_disagreement(disagreement) for disagreement in waiting],
    }


def _disagreement(disagreement: Disagreement) -> Json:
    pair, why, answers = disagreement.pair, disagreement.why, disagreement.answers
    return {
        "pair_id": pair.id,
        "input": pair.input,
        "output": pair.output,
        "why": str(why),
        "answers": [
            {"reviewer": r.signature, "decision": r.decision, "reasons": list(r.reasons), "edited": r.edited}
            for r in answers
        ],
    }


def shown(session: Session, project: Project, facts: dict[str, Any]) -> list[RenderableType]:
    """The same for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    from pairsmith.stages.review import in_lines
    from pairsmith.terminal import screen

    name = project.spec.task.name
    if facts["review"] is None:
        return [screen.facts(session.lines([("review", f"{name}: {facts['why']}")]))]
    status = facts["review"]
    if not status["sampled"]:
        push, others = session.command("review push"), [("", notice) for notice in elsewhere_notice(status)]
        return [screen.facts([("review", f"{name}: no rows are sampled yet; `{push}` draws them"), *others])]
    decided = status["accepted"] + status["edited"] + status["rejected"]
    head = (
        f"{name}: {decided:,} of {status['sampled']:,} rows decided ({status['accepted']:,} accepted,"
        f" {status['edited']:,} edited, {status['rejected']:,} rejected), {status['unanswered']:,} unanswered,"
        f" {status['undecided']:,} to settle, {status['incomplete']:,} with too few annotators"
    )
    why = ", ".join(f"{reason} {count:,}" for reason, count in facts["sampled_for"].items())
    if sum(facts["sampled_for"].values()) > status["sampled"]:
        why += " (a row may be drawn for several reasons)"
    lines = [("review", head), ("drawn for", why), *in_lines(status)]
    if status["seconds_per_answer"] is not None:
        lines.append(("pace", f"{status['seconds_per_answer']:.0f} s an answer (median)"))
    parts: list[RenderableType] = [screen.facts(session.lines(lines))]
    if facts["agreement"]:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("question", "measure", "who", "rows", "agreed", "value", "95% interval"):
            table.add_column(title, no_wrap=title in ("question", "measure"))
        for measure in facts["agreement"]:
            value = "undefined" if measure["value"] is None else f"{measure['value']:.2f}"
            interval = "" if measure["low"] is None else f"{measure['low']:.2f} to {measure['high']:.2f}"
            who = ", ".join(measure["annotators"]) if measure["measure"] == "Cohen's kappa" else "all"
            numbers = (f"{measure['rows']:,}", f"{measure['agreed']:.0%}", value, interval)
            table.add_row(*map(escape, (measure["question"], measure["measure"], who, *numbers)))
        parts += ["", "[bold]agreement[/]", table]
    if facts["gold"]:
        known = [
            (
                person["reviewer"],
                f"{person['right']} of {person['answered']} right ({person['low']:.0%} to {person['high']:.0%})",
            )
            for person in facts["gold"]
        ]
        parts += ["", "[bold]on rows with known answers[/]", screen.facts(known)]
    for disagreement in facts["disagreements"][:SHOWN]:
        answers = [
            (a["reviewer"], " ".join(filter(None, [a["decision"], ", ".join(a["reasons"])])))
            for a in disagreement["answers"]
        ]
        texts = [("input", disagreement["input"]), ("output", disagreement["output"])]
        lines = [("to settle", disagreement["pair_id"][:12]), *texts, *answers, ("", disagreement["why"])]
        parts += ["", screen.facts(lines)]
    if (more := len(facts["disagreements"]) - SHOWN) > 0:
        parts += ["", f"and {more} more to settle; --json lists them all"]
    return parts
