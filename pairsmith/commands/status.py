"""`pairsmith status`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from pairsmith.terminal.session import Session, on_project

if TYPE_CHECKING:
    from pairsmith.receipts.outcome import GenerateOutcome
    from schemas.project import Project
    from schemas.store import Store

_REASONS = 6  # shown by name
_NOT_LISTED = ("batch", "calibration", "certificate")


@click.command()
@on_project
def command(session: Session) -> None:
    """Show the contents of the store stage by stage, what was spent, and what `run` would do next."""
    from schemas.store import Store

    project = session.project()
    if Store.exists(Store.url_for(project)):
        with session.store(project, write=False) as store:
            data = status_of(project, store)
    else:
        data = status_of(project, None)
    session.answer(data, *(_screen(data, session) if session.write_json is None else ()))


def status_of(project: Project, store: Store | None) -> dict[str, Any]:
    """The data of `pairsmith status --json`. Without a store, nothing has been done yet."""
    from pairsmith.certified import last_certification
    from pairsmith.plan import plan
    from pairsmith.receipts.outcome import GenerateOutcome
    from schemas.money import per_row, total
    from schemas.store.latest import last_review, listed_artifacts

    costs, receipts, artifacts = (store.costs(), store.receipts(), listed_artifacts(store)) if store else ([], [], [])
    steps = plan(project, store)
    latest = {receipt.command: receipt for receipt in receipts}
    stages: list[dict[str, Any]] = []
    for step in steps:
        receipt = (step.stage == "review" and last_review(receipts)) or latest.get(step.stage)
        counts = receipt.counts.model_dump() if receipt else None
        stages.append({**step._asdict(), "counts": counts, "reasons": receipt.reasons if receipt else {}})
    curated, spent = latest.get("curate"), total(costs)
    generated = GenerateOutcome.of(latest["generate"]) if "generate" in latest else GenerateOutcome()
    for row in stages:
        row["failures"] = list(generated.failures) if row["stage"] == "generate" else []
    todo = [step.stage for step in steps if not step.done]
    return {
        "task": project.spec.task.name,
        "folder": str(project.folder.resolve()),
        "spec_hash": project.spec_hash,
        "running": store.current_writer if store else "",
        **_seeds_and_pairs(store, generated),
        "ledger": {
            **spent.as_json(),
            "usd_per_accepted_row": per_row(costs, curated.counts.accepted if curated else 0),
            "max_usd": project.spec.budget.max_usd,
            "costs": [cost.as_json() for cost in costs],
        },
        "stages": stages,
        "certificate": last_certification(project, store, steps) if store else None,
        "artifacts": [
            {"kind": a.kind, "id": a.id, "path": a.path, "exists": (project.folder / a.path).exists()}
            for a, _ in artifacts
            if a.kind not in _NOT_LISTED
        ],
        "next": todo,
        "unfinished": _unfinished(project, store) if store else None,
    }


def _unfinished(project: Project, store: Store) -> dict[str, Any] | None:
    """The last run, if it skipped review and failed, was stopped or ended early (`--until`), and the stages that it has
    left: `run` itself would begin a review. None otherwise. A run that was killed has no receipt, but the store knows
    the last command."""
    from pairsmith.plan import plan
    from pairsmith.receipts.outcome import RunOutcome

    run = next((receipt for receipt in reversed(store.receipts("run"))), None)
    last = store.last_writer
    killed = last is not None and last[0].endswith(" run --no-review") and (run is None or run.started < last[1])
    is_partial = run is not None and (not run.ok or RunOutcome.of(run).until is not None)
    if not project.spec.review.enabled or not (killed or is_partial):
        return None
    unreviewed = project.without_review
    left = [step.stage for step in plan(unreviewed, store) if not step.done]
    is_same = killed or (run and run.spec_hash == unreviewed.spec_hash)
    return {"command": "run --no-review", "next": left} if left and is_same else None


def _seeds_and_pairs(store: Store | None, generated: GenerateOutcome) -> dict[str, Any]:
    """Seeds and pairs as `generate` left them, recounted if rows were erased since."""
    from pairsmith.plan import erased_since

    as_generated = {"seeds": dict(generated.seeds), "pairs": generated.pairs_made + generated.pairs_kept}
    if store is None or not erased_since(store, generated):
        return as_generated
    slots = (slot for fingerprint in generated.fingerprints.values() for slot in store.skim_candidates(fingerprint))
    pairs = sum(1 for slot in slots if slot.get("pair_id"))
    return {"seeds": dict(Counter(seed.kind for seed in store.active_seeds())), "pairs": pairs}


def _summarized(reasons: Counter[str]) -> str:
    most, rest = reasons.most_common(_REASONS), reasons.most_common()[_REASONS:]
    more = [f"others {sum(count for _, count in rest):,}"] if rest else []
    return ", ".join([*(f"{reason} {count:,}" for reason, count in most), *more])


def _screen(data: dict[str, Any], session: Session) -> list[Any]:
    from rich.markup import escape

    from pairsmith.certified import in_lines
    from pairsmith.style.numbers import describe_failure, row_sum, seeds
    from pairsmith.terminal.screen import Columns, facts, spending

    rows = [("project", f"{data['task']} in {data['folder']}")]
    if data["running"]:
        rows.append(("running", f"{data['running']}; its stage appears here when it has finished"))
    if data["seeds"]:
        rows.append(("seeds", seeds(data["seeds"])))
        rows.append(("pairs", f"{data['pairs']:,}"))
    rows += session.lines(in_lines(data["certificate"]))
    rows += spending(data["ledger"])
    stages = []
    for stage in data["stages"]:
        word = "[green]done[/]" if stage["done"] else "[yellow]todo[/]"
        # A stage that was stopped or failed may have counted nothing yet.
        lines = [row_sum(counts)] if any((counts := stage["counts"] or {}).values()) else []
        if stage["reasons"]:
            lines.append(_summarized(Counter(stage["reasons"])))
        lines += [escape(describe_failure(failure)) for failure in stage["failures"]]
        why = escape(session.with_project_options(stage["why"]))
        lines += [f"[yellow]{why}[/]"] if stage["counts"] and why else [why]
        stages.append((f"[bold]{stage['stage']}[/]", word, "\n".join(filter(None, lines))))
    outputs = ((one["kind"], one["path"] + ("" if one["exists"] else " (deleted)")) for one in data["artifacts"])
    artifacts = list(dict.fromkeys(outputs))
    run = f"[bold]{escape(session.command('run'))}[/]"
    to_do = f"{run} will {', '.join(data['next'])}, then write the report"
    ending = to_do if data["next"] else f"Everything is done; {run} would only write the report again."
    endings = [ending]
    if unfinished := data["unfinished"]:
        again = f"[bold]{escape(session.command(unfinished['command']))}[/]"
        endings.append(f"{again} continues the last run and will {', '.join(unfinished['next'])}.")
    table = Columns(stages, 10, 4)
    return [facts(rows), "", table, "", *([facts(artifacts, width=12), ""] if artifacts else []), *endings]
