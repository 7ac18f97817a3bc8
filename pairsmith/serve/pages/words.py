"""The sentences of the pages. Each page is summarised by one; none of them says what no figure holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pairsmith.serve.job import Job
from pairsmith.style.numbers import between, bounds, count, in_brackets, percent
from pairsmith.style.reasons import sentence_of
from schemas.money import dollars, told
from schemas.records import Receipt, now
from schemas.wording import capital, counted

if TYPE_CHECKING:
    from pairsmith.plan import PlannedStage
    from pairsmith.serve.pages.figures import Moving, Snapshot
    from train.metrics import Evaluation

_HASH = re.compile(r"\b[0-9a-f]{32}\b")
STATES = ("accepted", "rejected", "waiting", "failed")
_SILENT_S = 60
_COMPARED = ("outranked", "duplicate")  # their details alone, a rank or a likeness, are no reason to a reader
JOB_STATES = {
    "queued": "waits in the queue",
    "waits_for_gpu": "waits its turn to compute",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "waits_for_people": "waits for people",
    "done": "done",
    "failed": "failed",
}
_VERBS = {
    "generate": "generating", "curate": "curating", "review": "asking people", "train": "training",
    "evaluate": "evaluating", "export": "exporting", "preview": "previewing", "forecast": "forecasting",
    "review-push": "sending rows to people", "review-pull": "bringing answers", "run": "running",
    "certify": "looking for rows that need no person", "train-reward": "fitting a reward model",
    "argilla": "starting Argilla, where people answer",
}  # fmt: skip

_DONE = {"review-pull": "answers are brought", "review-push": "rows are sent to people", "run": "the run is done"}


def sum_of(counts: Mapping[str, int]) -> str:
    """The sum that must hold."""
    parts = " + ".join(f"{count(counts.get(state, 0))} {state}" for state in STATES)
    return f"{count(sum(counts.values()))} rows in = {parts}"


def minutes(seconds: float | None) -> str:
    """A time that is left, as a person says it."""
    if seconds is None:
        return ""
    if seconds < 90:
        return "about a minute"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


def ago(at: datetime | None) -> str:
    """How long ago something was."""
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
    """A browser as a person knows it again; one that we do not know by what it says of itself."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((system for system in _SYSTEMS if system in agent), "")
    return " on ".join(part for part in (name, system) if part) if name else agent[:60] or "unknown"


# Projects


def project(of: Snapshot, job: Job | None, at: Moving | None) -> str:
    """Where a project stands, in half a sentence."""
    if job is not None:
        verb = _step(of, job, at) if at else _VERBS.get(job.command, job.command)
        if job.state in ("queued", "waits_for_gpu"):
            place = f", place {job.position}" if job.position else ""
            return f"{JOB_STATES[job.state]}{place}"
        if job.state == "stopping":
            return "stops, and keeps what was answered"
        done = f", {count(at.done)} of {count(at.total)}" if at and at.total and at.done is not None else ""
        left = f", {minutes(at.left_s)} left" if at and at.left_s else ""
        return f"{verb}{done}{left}"
    if not of.receipts:
        return "nothing has run yet"
    stopped = of.receipts[-1]
    if not stopped.ok and stopped.facts.get("error") != "stopped by Ctrl-C":
        why = str(stopped.facts.get("error", "the receipt does not say why"))
        return f"{stopped.command} failed: {_in_short(why.partition('. ')[0])}"
    step = of.next_stage
    if step is None:
        return verdict(of) or "every stage is done"
    if step.stage == "review":
        return f"waits for people: {step.why}"
    return f"{step.stage} is next: {step.why}"


def verdict(of: Snapshot) -> str | None:
    """The outcome of the last evaluation, in half a sentence."""
    receipt = of.last("evaluate")
    rates: Mapping[str, Any] = (receipt.facts.get("pass_rate") or {}) if receipt else {}
    if "tuned" not in rates:
        return None
    sides = []
    for name in ("tuned", "base"):
        # One system may be several: "base = few-shot".
        if rate := next((rate for label, rate in rates.items() if name in label.split(" = ")), None):
            interval = f" {in_brackets(rate['low'], rate['high'])}" if "low" in rate else ""
            sides.append(f"{name} passes {percent(rate['share'])}{interval}")
    return ", ".join(sides)


def projects(several: int, running: int, waiting: int, queued: int = 0) -> str:
    """The start page."""
    if not several:
        return "There is no project yet; start with what you have, or with an example."
    runs = f"{counted(running, 'runs', 'run')} now" if running else "nothing runs now"
    turns = f", {counted(queued, 'waits its turn', 'wait their turn')}" if queued else ""
    waits = f"{turns}, {counted(waiting, 'waits', 'wait')} for people" if waiting else turns
    return f"{counted(several, 'project', 'projects')}; {runs}{waits}."


def overview(of: Snapshot, job: Job | None, at: Moving | None) -> str:
    """The project's own page."""
    where = capital(project(of, job, at)).rstrip(".")
    c = of.counts
    if not c.rows_in:
        return f"{where}."
    if of.last("curate"):
        return f"{count(c.accepted)} of {counted(c.rows_in, 'row', 'rows')} accepted; {where[0].lower()}{where[1:]}."
    return f"{counted(c.rows_in - c.failed, 'pair', 'pairs')} generated; {where[0].lower()}{where[1:]}."


def evaluation(of: Evaluation) -> str:
    """The evaluation in one sentence: the tuned model beside its base, and whether that is a difference."""
    from train.verdict import form_alone

    by_name = {name: system.sampled.pass_rate for system in of.systems for name in system.names}
    tuned, base = by_name.get("tuned"), by_name.get("base")
    if tuned is None:
        return "The tuned model was not measured."
    sentence = f"Tuned passes {percent(tuned.estimate)} {bounds(tuned)} of its answers"
    if base is None:
        return f"{sentence}."
    gap = next((c for c in of.comparisons if c.mode == "sampled" and c.b in of.system("base").names), None)
    means = {"better": "it is better", "worse": "it is worse", "inconclusive": "that may be chance"}
    says = means.get(gap.outcome, "that is not enough evidence") if gap else ""
    says = "that is their form alone" if form_alone(of.check_names) else says
    return f"{sentence}, its base {percent(base.estimate)} {bounds(base)}{': ' + says if says else ''}."


def _in_short(what: str) -> str:
    """A failure for a heading: without the details in parentheses, which stand whole below it."""
    return what.partition(" (")[0].rstrip(". ")


# Stages and jobs


def moving_of(at: Moving) -> str:
    """A running stage in a few words."""
    parts = []
    if at.done is not None:
        parts.append(f"{count(at.done)} of {count(at.total)}" if at.total else count(at.done))
    if at.left_s:
        parts.append(f"{minutes(at.left_s)} left")
    return " · ".join(parts) or (at.message or "has begun")


def stage(of: Snapshot, planned: PlannedStage, receipt: Receipt | None) -> str:
    """What a stage did, or what it waits for."""
    if not planned.done:
        return planned.why or "not run yet"
    done = planned.why.partition(" (")[0] or "done"  # what to do about it in a terminal is no page's
    if receipt is None:
        return done
    c, facts = receipt.counts, receipt.facts
    if planned.stage == "generate":
        if not of.project.spec.asks_teacher:
            return f"{count(c.rows_in)} read, nobody asked"
        return f"{count(c.rows_in)} asked, {count(c.failed)} failed"
    if planned.stage == "curate":
        return f"{count(c.accepted)} of {count(c.rows_in)} accepted"
    if planned.stage == "train" and facts.get("steps"):
        return f"{count(facts['steps'])} steps, loss {facts.get('last_loss') or 0:.2f}"
    if planned.stage == "evaluate":
        return verdict(of) or done
    return done


def run(
    of: Snapshot, job: Job | None, at: Moving | None, spent_usd: float | None, cap: float | None, rows: int = 0
) -> str:
    """The run page, by the state of its job."""
    if job is None:
        step = of.next_stage
        if not of.receipts:
            return "Nothing has run yet."
        return "Every stage is done." if step is None else f"Nothing runs; {step.stage} is next: {step.why}."
    if job.state == "queued":
        return f"This waits in the queue{f', at place {job.position}' if job.position else ''}."
    if job.state == "waits_for_gpu":
        return f"This waits its turn to compute{f', at place {job.position}' if job.position else ''}."
    if job.state == "running":
        return _running(of, job, at, spent_usd, cap)
    if job.state == "stopping" and at and at.stage.startswith("train") and at.done != at.total:
        return "Training stops after this step; the best state so far is kept."
    if job.state == "stopping":
        return "This stops; what was sent is waited for, and every answer is kept."
    if job.state == "stopped":
        return f"Stopped. {counted(rows, 'row is', 'rows are')} kept; going on asks for none of them again."
    if job.state == "waits_for_people":
        step = of.next_stage
        gate = ((job.answer or {}).get("facts") or {}).get("gate")
        no_certificate = gate == "uncertified" and step is not None and step.stage == "train"
        why = job.note if no_certificate else step and step.why
        if step is not None and step.why == "people have answered since":
            return "People have answered since; going on counts their answers."
        return f"{capital(why or 'People are asked now')}."
    if job.state == "failed":
        problem = job.problem or {}
        return capital(_in_short(str(problem.get("what") or "it failed, and the log says why"))) + "."
    if job.command == "certify":
        return certificate((job.answer or {}).get("facts") or {})
    if job.command in ("preview", "forecast"):
        return f"The {job.command} is done, and stands in the setup."
    return f"{capital(_DONE.get(job.command, f'{job.command} is done'))}; {project(of, None, None)}."


def certificate(certified: Mapping[str, Any]) -> str:
    """What a look for rows that need no person has found, or why what it found holds no longer."""
    if certified.get("id") and certified.get("why"):
        return f"The certificate holds no longer: {certified['why']}."
    return f"{capital(str(certified.get('words') or 'nobody has looked yet')).rstrip('.')}."


def _running(of: Snapshot, job: Job, at: Moving | None, spent_usd: float | None, cap: float | None) -> str:
    if at is None:
        began = "the run" if job.command == "run" else _VERBS.get(job.command, job.command)
        return f"{capital(began)} has begun."
    following = of.next_stage
    over = at.done == at.total and any(stage.done for stage in of.stages if stage.stage == at.stage)
    if job.command == "run" and following and over:
        return f"{capital(_VERBS[following.stage])} has begun."  # it loads what it needs, and has not reported yet
    if at.stage.startswith("train"):
        steps = f" step {count(at.done)} of {count(at.total)}" if at.total else ""
        ends = f"; {minutes(at.left_s)} left" if at.left_s else ""
        return f"Training,{steps or ' just begun'}{ends}."
    if at.total and at.done == at.total and at.stage.split()[0] not in {stage.stage for stage in of.stages}:
        return f"{_stage_of_step(of, job, at)}: a step is done, the next one loads what it needs."
    what, whole = _step(of, job, at), f" of {count(at.total)}" if at.total else ""
    asked = {"generate": "rows asked", "curate": "rows judged"}.get(at.stage.split()[0], "done")
    so_far = at.message if at.done is None else f"{count(at.done)}{whole} {asked}"
    parts = [f"{what}: {so_far}" if so_far else what]
    if at.passed is not None:
        parts.append(f"{count(at.passed)} passed so far")
    if spent_usd is not None and (spent_usd or cap):
        sum_ = dollars(spent_usd) if spent_usd else "nothing"
        parts.append(f"{sum_} of {dollars(cap)}" if cap else f"{sum_} spent")
    if at.left_s:
        parts.append(f"{minutes(at.left_s)} left")
    return "; ".join(parts).rstrip(".") + "."


def _step(of: Snapshot, job: Job, at: Moving) -> str:
    """What is done now: a stage, or a step of one."""
    named = at.stage.split()[0]
    return capital(_VERBS[named]) if named in _VERBS else f"{_stage_of_step(of, job, at)}, {named}"


def _stage_of_step(of: Snapshot, job: Job, at: Moving) -> str:
    from pairsmith.serve.pages.figures import stage_of

    stage = stage_of(of, job, at)
    return capital(_VERBS.get(stage, stage))


def doing(job: Job) -> str:
    """What a job is about, for a link to it."""
    return capital(_VERBS.get(job.command, job.command))


def sign_of_life(job: Job) -> str:
    """How long ago it reported, wrote or computed anything; said in words where that is long."""
    at = job.last_sign_of_life or job.started
    if at is None:
        return "it has only just begun" if job.state in ("running", "stopping") else f"asked for {ago(job.created)}"
    silent = (now() - at).total_seconds()
    if job.state in ("running", "stopping") and silent > _SILENT_S:
        return f"no sign of life for {round(silent / 60)} min: its process neither reports nor computes, but lives"
    return f"last sign of life {ago(at)}"


def reason(code: str | None, detail: str | None = None) -> str:
    """Why a row is not accepted, as a sentence."""
    sentence = sentence_of(code or "")
    if not detail:
        return sentence
    shown = _HASH.sub(lambda hash_: hash_[0][:8], detail)
    return f"{sentence.rstrip('.')}: {shown}" if code in _COMPARED else capital(shown)


def spent(of: Snapshot) -> str:
    """What teachers have cost, against the cap."""
    cost = told(of.spent) if of.spent.requests else "nothing"
    if not of.cap_usd:
        return cost
    sum_, comma, rest = ("nothing" if of.spent.total == 0 else cost).partition(", ")
    return f"{sum_} of {dollars(of.cap_usd)}{comma}{rest}"


def money_range(interval: Mapping[str, Any] | None) -> str:
    """A forecast cost with its interval."""
    cost = between(interval, dollars, "")
    return f"for {cost}" if cost else "at a cost that nobody knows"
