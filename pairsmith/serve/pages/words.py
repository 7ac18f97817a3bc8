"""The sentences on the pages. Each page has a one-sentence summary, derived from the figures that it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pairsmith import certified
from pairsmith.plan import ANSWERED, NOT_RUN, PlannedStage
from pairsmith.serve.job import Job
from pairsmith.serve.pages.page_terms import on_page
from pairsmith.style.numbers import between, bounds, count, format_bounds, percent
from pairsmith.style.reasons import sentence_of
from schemas.money import describe_cost, dollars
from schemas.records import Receipt, now
from schemas.step_names import PROMPTED, By, display_step
from schemas.wording import capital, counted

if TYPE_CHECKING:
    from pairsmith.serve.pages.figures import JobProgress, Snapshot
    from train.evaluation.metrics import Evaluation
    from train.evaluation.verdict import ModelVerdict

_PLACE = re.compile(r"^(?:https?://\S+|--[a-z-]+): ")  # an address or option before a message
_HASH = re.compile(r"\b[0-9a-f]{32}\b")
STATES = ("accepted", "rejected", "waiting", "failed")
_SILENT_S = 60
STOPPING = "Stopping. What has begun ends first, and everything finished is kept."
_NEEDS_SENTENCE = ("outranked", "duplicate")  # the detail alone (a rank or a similarity) does not explain the reason
JOB_STATES = {
    "queued": "queued",
    "waits_for_gpu": "waiting for compute",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "waits_for_people": "waiting for review",
    "done": "done",
    "failed": "failed",
}
_ACTIVITIES = {
    "generate": "generating", "curate": "curating", "review": "review", "train": "training",
    "evaluate": "evaluating", "export": "exporting", "preview": "previewing", "forecast": "forecasting",
    "review-push": "sending rows to reviewers", "review-pull": "fetching answers", "run": "running",
    "certify": "certifying rows that need no review", "train-reward": "training a reward model",
    "argilla": "starting Argilla for review",
}  # fmt: skip

_DONE = {
    "review-pull": "answers have been fetched",
    "review-push": "rows have been sent for review",
    "run": "the run is done",
}


def minutes(seconds: float | None) -> str:
    """An approximate remaining time in words."""
    if seconds is None:
        return ""
    if seconds < 90:
        return "about a minute"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


def ago(at: datetime | None) -> str:
    """How long ago something happened."""
    if at is None:
        return "never"
    seconds = max(0.0, (now() - at).total_seconds())
    for most, unit, size in ((90, "s", 1), (5400, "min", 60), (129600, "h", 3600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} days ago"


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux")


def browser(agent: str) -> str:
    """A browser and its system by name, from a user agent; the start of the user agent if the browser is unknown."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((system for system in _SYSTEMS if system in agent), "")
    return " on ".join(part for part in (name, system) if part) if name else agent[:60] or "unknown"


# Projects


def project(snapshot: Snapshot, job: Job | None, progress: JobProgress | None) -> str:
    """The status of a project, as a clause."""
    if job is not None:
        verb = _step(snapshot, job, progress) if progress else _ACTIVITIES.get(job.command, job.command)
        is_complete = progress is not None and progress.total is not None and progress.done == progress.total
        if progress and is_complete and progress.stage.split()[0] not in _ACTIVITIES:
            verb, progress = _stage_of_step(snapshot, job, progress), None  # one step is done, the next is loading
        if job.state in ("queued", "waits_for_gpu"):
            return f"{JOB_STATES[job.state]}{_position(job)}"
        if job.state == "stopping":
            return "stopping; every answer is kept"
        done = ""
        if progress and progress.total and progress.done is not None:
            done = f", {count(progress.done)} of {count(progress.total)}"
        left = f", {minutes(progress.left_s)} left" if progress and progress.left_s else ""
        return f"{verb}{done}{left}"
    if not snapshot.receipts:
        return _nothing_finished(snapshot)
    stopped = snapshot.receipts[-1]
    if stopped.facts.get("stopped"):
        return f"{stopped.command} was stopped"
    if not stopped.ok and stopped.facts.get("error") != "stopped by Ctrl-C":
        why = str(stopped.facts.get("error", "the receipt does not say why"))
        return f"{stopped.command} failed: {_without_details(on_page(_PLACE.sub('', why)).partition('. ')[0])}"
    step = snapshot.next_stage
    if step is None:
        return verdict(snapshot) or "every stage is done"
    if step.stage == "review":
        return why if "review" in (why := on_page(step.why)) else f"waiting for review: {why}"
    return _next(step)


def _next(step: PlannedStage) -> str:
    """The next stage, and why it is not done unless it has simply not run yet."""
    return f"{step.stage} is next{'' if step.why == NOT_RUN else f': {on_page(step.why)}'}"


def verdict(snapshot: Snapshot) -> str | None:
    """The outcome of the last evaluation as on its page, but as decided then; None if there is none of the tuned
    model."""
    receipt = snapshot.last("evaluate")
    rates: Mapping[str, Any] = (receipt.facts.get("pass_rate") or {}) if receipt else {}
    if "tuned" not in rates:
        return None
    sides = {}
    for side, label in _sides({label: rate["share"] for label, rate in rates.items()}).items():
        rate = rates[label]
        interval = f" {format_bounds(rate['low'], rate['high'])}" if "low" in rate else ""
        sides[side] = f"{percent(rate['share'])}{interval}"
    return _in_words(_decided(receipt), sides)


def _decided(receipt: Receipt | None) -> str | None:
    return (receipt.facts.get("verdict") or {}).get("decision") if receipt else None


def _sides(shares: Mapping[str, float]) -> dict[str, str]:
    """Name in a sentence -> label of the tuned system and of the untuned one that passes most often, as in the report.
    The base may be cut or fail where a prompt does as well as tuned."""
    sides, untuned = dict[str, str](), list[str]()
    for label in shares:
        names = {*label.split(" = ")}
        if "tuned" in names:
            sides["tuned"] = label
        elif PROMPTED & names:
            untuned.append(label)
    if untuned:
        best = max(untuned, key=lambda label: shares[label])
        sides["its base" if "base" in best.split(" = ") else f"{best} without training"] = best
    return sides


def _in_words(decision: str | None, sides: Mapping[str, str]) -> str:
    return ": ".join(filter(None, [decision, ", ".join(f"{side} passes {rate}" for side, rate in sides.items())]))


def changed_verdict(snapshot: Snapshot, evaluation_id: str, concluded: ModelVerdict) -> list[str]:
    """A caution if the last evaluation is this one and its verdict then, which the list of projects shows, is not the
    present one."""
    receipt = snapshot.last("evaluate")
    decision = _decided(receipt)
    if receipt is None or receipt.facts.get("made") != evaluation_id or decision in (None, concluded.decision):
        return []
    return [
        f"The last evaluation concluded {decision!r}, and the list of projects shows that. The rules of the verdict or"
        f" its settings have changed since: the same answers now give {concluded.decision!r}. Evaluate again to record"
        " that; answers that exist are not requested again."
    ]


def projects(several: int, running: int, waiting: int, queued: int = 0, *, all_seen: bool = True) -> str:
    """The summary of the start page. A reviewer does not see the runs of a project, so not `all_seen`."""
    if not several:
        return "There are no projects yet. Start with your own data or with an example."
    reviews = f"{counted(waiting, 'is', 'are')} waiting for review" if waiting else ""
    parts = [
        f"{counted(running, 'is', 'are')} running" if running else "none is running" if all_seen else "",
        f"{counted(queued, 'is queued', 'are queued')}" if queued else "",
        reviews or ("" if all_seen else "none is waiting for review"),
    ]
    return f"{'; '.join(filter(None, (counted(several, 'project', 'projects'), ', '.join(filter(None, parts)))))}."


def overview(snapshot: Snapshot, job: Job | None, progress: JobProgress | None) -> str:
    """The summary of the overview page."""
    where = capital(project(snapshot, job, progress)).rstrip(".")
    c = snapshot.counts
    if not c.rows_in:
        return f"{where}."
    if snapshot.last("curate"):
        return f"{count(c.accepted)} of {counted(c.rows_in, 'row', 'rows')} accepted; {where[0].lower()}{where[1:]}."
    return f"{counted(c.rows_in - c.failed, 'pair', 'pairs')} generated; {where[0].lower()}{where[1:]}."


def evaluation(of: Evaluation, concluded: ModelVerdict) -> str:
    """The summary of the evaluation page: the verdict, and the pass rates of the tuned model and of the best untuned
    system in sampled answers."""
    rates = {system.label: system.sampled.pass_rate for system in of.systems if system.sampled.pass_rate}
    named = _sides({label: rate.estimate for label, rate in rates.items()})
    sides = {side: f"{percent(rates[label].estimate)} {bounds(rates[label])}" for side, label in named.items()}
    return f"{capital(_in_words(concluded.decision, sides))}."


def _without_details(what: str) -> str:
    """An error message for a heading, without the details in parentheses, which are shown in full below it."""
    return what.partition(" (")[0].rstrip(". ")


# Stages and jobs


def _nothing_finished(snapshot: Snapshot) -> str:
    """The state of a project without receipts. A run in a terminal that goes on or was killed has only answers."""
    asked = snapshot.spent.requests
    return f"no stage has ended yet, after {counted(asked, 'request', 'requests')}" if asked else "nothing has run yet"


def progress_text(progress: JobProgress) -> str:
    """The progress of a running stage in a few words."""
    parts = []
    if progress.done is not None:
        parts.append(f"{count(progress.done)} of {count(progress.total)}" if progress.total else count(progress.done))
    if progress.left_s:
        parts.append(f"{minutes(progress.left_s)} left")
    return " · ".join(parts) or (progress.message or "started")


def stage(snapshot: Snapshot, planned: PlannedStage, receipt: Receipt | None) -> str:
    """What a stage did, or why it is not done."""
    if not planned.done:
        return on_page(planned.why) or NOT_RUN
    done = planned.why.partition(" (")[0] or "done"  # leave out terminal commands in parentheses
    if receipt is None:
        return done
    c, facts = receipt.counts, receipt.facts
    if planned.stage == "generate":
        if not snapshot.project.spec.needs_teacher:
            return f"{count(c.rows_in)} read, no teacher used"
        return f"{counted(c.rows_in, 'row', 'rows')}, {count(c.failed)} failed"
    if planned.stage == "curate":
        return f"{count(c.accepted)} of {count(c.rows_in)} accepted"
    if planned.stage == "train" and facts.get("steps"):
        return f"{count(facts['steps'])} steps, loss {facts.get('last_loss') or 0:.2f}"
    if planned.stage == "evaluate":
        return verdict(snapshot) or done
    return done


def run(
    snapshot: Snapshot,
    job: Job | None,
    progress: JobProgress | None,
    spent_usd: float | None,
    cap: float | None,
    rows: int | None = 0,
) -> str:
    """The summary of the run page, by the state of its job."""
    step = snapshot.next_stage
    if job is None:
        if not snapshot.receipts:
            return f"{capital(_nothing_finished(snapshot))}."
        return "Every stage is done." if step is None else f"Nothing is running; {_next(step)}."
    match job.state:
        case "queued" | "waits_for_gpu":
            return f"Waiting {'in the queue' if job.state == 'queued' else 'for compute'}{_position(job)}."
        case "running":
            return _running(snapshot, job, progress, spent_usd, cap)
        case "stopping":
            trains = progress and progress.stage.startswith("train") and progress.done != progress.total
            return "Training stops after this step. The best state so far is kept." if trains else STOPPING
        case "stopped":
            kept = "Every row is" if rows is None else counted(rows, "row is", "rows are")
            again = "none of these requests" if snapshot.project.spec.needs_teacher else "nothing that is finished"
            return f"Stopped. {kept} kept; continuing repeats {again}."
        case "waits_for_people":
            return _waiting(job, step)
        case "failed":
            what = (job.problem or {}).get("what") or "the job failed; see its log"
            return f"{capital(_without_details(on_page(str(what))))}."
    if job.command == "certify":
        return certified.in_words((job.answer or {}).get("facts") or {})
    if job.command in ("preview", "forecast"):
        return f"The {job.command} is done; see the setup page for the result."
    return f"{capital(_DONE.get(job.command, f'{job.command} is done'))}; {project(snapshot, None, None)}."


def _position(job: Job) -> str:
    return f", position {job.position}" if job.position else ""


def _waiting(job: Job, step: PlannedStage | None) -> str:
    """Why a run waits for people, or that it can go on."""
    if step is None:
        return "The review is in progress."
    if step.why == ANSWERED:
        return "Reviewers have answered since. Continue to include their answers."
    if step.stage in ("generate", "curate"):
        return f"{capital(_next(step))}."
    gate = ((job.answer or {}).get("facts") or {}).get("gate")
    why = job.note if gate == "uncertified" and step.stage == "train" else step.why
    return f"{capital(on_page(why or 'the review is in progress'))}."


def _running(
    snapshot: Snapshot, job: Job, progress: JobProgress | None, spent_usd: float | None, cap: float | None
) -> str:
    if progress is None:
        began = "the run" if job.command == "run" else _ACTIVITIES.get(job.command, job.command)
        return f"{capital(began)} has started."
    following = snapshot.next_stage
    stages = {stage.stage: stage.done for stage in snapshot.stages}
    over = progress.done == progress.total and stages.get(progress.stage)
    if job.command == "run" and following and over:
        return f"{capital(_ACTIVITIES[following.stage])} has started."  # it is loading and has not reported yet
    if progress.stage.startswith("train"):
        steps = f" step {count(progress.done)} of {count(progress.total)}" if progress.total else ""
        ends = f"; {minutes(progress.left_s)} left" if progress.left_s else ""
        return f"Training,{steps or ' just started'}{ends}."
    if progress.total and progress.done == progress.total and progress.stage.split()[0] not in stages:
        return f"{_stage_of_step(snapshot, job, progress)}: one step is done, the next is loading."
    what, of_total = _step(snapshot, job, progress), f" of {count(progress.total)}" if progress.total else ""
    unit = {"generate": "rows", "curate": "rows judged"}.get(progress.stage.split()[0], "done")
    so_far = progress.message if progress.done is None else f"{count(progress.done)}{of_total} {unit}"
    parts = [f"{what}: {so_far}" if so_far else what]
    if progress.passed is not None:
        parts.append(f"{count(progress.passed)} passed so far")
    if spent_usd is not None and (spent_usd or cap):
        sum_ = dollars(spent_usd) if spent_usd else "nothing"
        parts.append(f"{sum_} of {dollars(cap)}" if cap else f"{sum_} spent")
    if progress.left_s:
        parts.append(f"{minutes(progress.left_s)} left")
    return "; ".join(parts).rstrip(".") + "."


def _step(snapshot: Snapshot, job: Job, progress: JobProgress) -> str:
    """The current activity: a stage, or a step within one."""
    named = progress.stage.split()[0]
    if named in _ACTIVITIES:
        return capital(_ACTIVITIES[named])
    return f"{_stage_of_step(snapshot, job, progress)}, {named}"


def _stage_of_step(snapshot: Snapshot, job: Job, progress: JobProgress) -> str:
    stage = snapshot.stage_of(job, progress)
    return capital(_ACTIVITIES.get(stage, stage))


def activity(job: Job) -> str:
    """The activity of a job, for a link to it."""
    return capital(_ACTIVITIES.get(job.command, job.command))


def last_activity(job: Job) -> str:
    """How long ago the process of a job last reported, wrote or computed anything, with a warning if that is long."""
    at = job.last_sign_of_life or job.started
    if at is None:
        return "just started" if job.state in ("running", "stopping") else f"created {ago(job.created)}"
    silent = (now() - at).total_seconds()
    if job.state in ("running", "stopping") and silent > _SILENT_S:
        return f"no activity for {round(silent / 60)} min: the process is alive but neither reports nor computes"
    return f"last activity {ago(at)}"


def reason(code: str | None, detail: str | None = None) -> str:
    """Why a row is not accepted, as a sentence."""
    sentence = sentence_of(code or "")
    if not detail:
        return sentence
    shown = _HASH.sub(lambda hash_: hash_[0][:8], detail)
    return f"{sentence.rstrip('.')}: {shown}" if code in _NEEDS_SENTENCE else capital(shown)


def step(by: str) -> str:
    """The name of the step that gave a verdict, e.g. `check lost content`, without the version of its rules."""
    read = By.read(display_step(by))
    return f"check {read.name.replace('_', ' ')}" if read.kind == "gate" else read.name or by


def spent(snapshot: Snapshot) -> str:
    """What the teacher has cost so far, and the cap if there is one."""
    cost = describe_cost(snapshot.spent) if snapshot.spent.requests else "nothing"
    if not snapshot.cap_usd:
        return cost
    sum_, comma, rest = ("nothing" if snapshot.spent.total == 0 else cost).partition(", ")
    return f"{sum_} of {dollars(snapshot.cap_usd)}{comma}{rest}"


def money_range(interval: Mapping[str, Any] | None) -> str:
    """A forecast cost with its interval."""
    cost = between(interval, dollars, "")
    return f"for {cost}" if cost else "at an unknown cost"
