"""The task as annotators see it in Argilla: fields, questions, metadata, and what one row puts into them.

Argilla's custom fields render in a frame of its own origin into which the record is written unescaped, so a text with
`</script>` in it would run as code. Everything here is plain text, or Markdown whose texts are escaped.
"""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Sequence
from typing import Any

from curate.review.pool import Pool
from schemas.records import Json, Message, Pair, Review, RoutingReason, Verdict
from schemas.spec_file import Project

VERDICTS = {"accept": "Accept", "reject": "Reject", "edit": "Accept with my edit"}
LETTERS = "ABCDEFGH"  # the other candidates; more are not shown
THIS = "this"
# Reasons whose labels the estimate or an annotator's accuracy stands on: no verdict is suggested, lest it be copied.
BLIND: tuple[RoutingReason, ...] = ("certify", "audit_accepted", "audit_rejected", "gold")


def settings(
    project: Project,
    client: Any,
    guidelines: str,
    *,
    rivals: int,
    min_submitted: int,
    conversation: bool = False,
    adjudication: bool = False,
) -> Any:
    """`argilla.Settings` of one queue. `rivals`: how many other candidates an input has at most (at most 8 are shown).

    The verdict comes first and is the only question that must be answered, so a row is one key (1, 2 or 3) and Enter.
    `min_submitted` answers complete a row.
    """
    import argilla as rg

    shown = min(rivals, len(LETTERS))
    fields = [
        rg.TextField(name="simple", title="Input", client=client),
        rg.TextField(name="enhanced", title="Output", client=client),
        _markdown("answers", "What the annotators said", client) if adjudication else None,
        rg.ChatField(name="conversation", title="Conversation", required=False, use_markdown=False, _client=client)
        if conversation
        else None,
        _markdown("findings", "What the programs found", client),
        _markdown("changes", "From input to output", client),
        _markdown("candidates", "Other outputs for this input", client) if shown else None,
    ]
    reasons = {reason: reason.replace("_", " ").capitalize() for reason in project.spec.review.reasons}
    questions = [
        rg.LabelQuestion(name="verdict", title="Is the output good?", labels=VERDICTS, client=client),
        rg.TextQuestion(
            name="edited",
            title="Corrected output",
            description="A change here with Accept counts as an edit.",
            required=False,
            client=client,
        ),
        rg.MultiLabelQuestion(
            name="reasons", title="What is wrong with it?", labels=reasons, required=False, client=client
        ),
        rg.RankingQuestion(
            name="ranking",
            title="Which output is best?",
            values={THIS: "This output", **{letter: f"Output {letter}" for letter in LETTERS[:shown]}},
            required=False,
            client=client,
        )
        if shown
        else None,
    ]
    hidden = {"visible_for_annotators": False, "client": client}
    return rg.Settings(
        guidelines=guidelines,
        fields=[field for field in fields if field],
        questions=[question for question in questions if question],
        metadata=[
            rg.TermsMetadataProperty(name="chosen_for", title="Chosen for", **hidden),
            rg.FloatMetadataProperty(name="score", title="Score", **hidden),
            rg.FloatMetadataProperty(name="percentile", title="Percentile within the input", **hidden),
            rg.FloatMetadataProperty(name="probability", title="Sampling probability", **hidden),
            rg.TermsMetadataProperty(name="rejected_by", title="Rejected by", **hidden),
            rg.TermsMetadataProperty(name="rivals", title="Other outputs, A first", **hidden),
        ],
        distribution=rg.TaskDistribution(min_submitted=min_submitted),
        allow_extra_metadata=False,
    )


def _markdown(name: str, title: str, client: Any) -> Any:
    import argilla as rg

    return rg.TextField(name=name, title=title, use_markdown=True, required=False, client=client)


def record(
    project: Project,
    pool: Pool,
    pair: Pair,
    reasons: Sequence[RoutingReason],
    probability: float | None,
    *,
    messages: Sequence[Message] = (),
    answers: Sequence[Review] = (),
) -> Json:
    """One row as the bulk endpoint of Argilla's API takes it, suggestions by the question's name. `external_id` is the
    pair's id. `messages`: the seed's conversation. `answers`: what annotators said, for an adjudicator."""
    rivals = pool.rivals(pair)[: len(LETTERS)]
    findings = pool.findings.get(pair.id, ())
    row = pool.rows.get(pair.id)
    fields: Json = {
        "simple": pair.simple,
        "enhanced": pair.enhanced,
        "changes": diff(pair.simple, pair.enhanced),
        "findings": _findings(findings),
        "candidates": _candidates(rivals, pool),
        "answers": _answers(answers),
        "conversation": [message.model_dump() for message in messages],
    }
    score = pool.scores.get(pair.id)
    metadata: Json = {
        "chosen_for": list(reasons),
        "score": score,
        "percentile": row.percentile if row else None,
        "probability": probability,
        "rejected_by": [verdict.by for verdict in findings if verdict.keep is False],
        "rivals": [rival.id for rival in rivals],
    }
    return {
        "external_id": pair.id,
        "fields": {name: value for name, value in fields.items() if value},
        "metadata": {name: value for name, value in metadata.items() if value not in (None, [])},
        "suggestions": _suggestions(project, pool, pair, reasons, rivals),
    }


def _suggestions(
    project: Project, pool: Pool, pair: Pair, reasons: Sequence[RoutingReason], rivals: Sequence[Pair]
) -> list[Json]:
    """The text to edit on every row; what programs think of the row only where nobody's measure depends on it."""
    origin = pair.origin
    agent = origin.teacher if origin.by == "generated" else origin.by
    found: list[Json] = [{"question": "edited", "value": pair.enhanced, "agent": agent_name(agent), "type": "model"}]
    if set(reasons) & set(BLIND):
        return found
    row = pool.rows.get(pair.id)
    if row and row.passed is not None:
        verdict, score = ("accept" if row.accepted else "reject"), row.percentile
        by = (pool.scorer if row.passed else None) or "gates"
        told = {"question": "verdict", "value": verdict, "agent": agent_name(by), "type": "model"}
        found.append(told if score is None else {**told, "score": score if row.accepted else 1 - score})
    words = {word for v in pool.findings.get(pair.id, ()) for word in (_gate(v.by), v.reason.split()[0].rstrip(":"))}
    named = [reason for reason in project.spec.review.reasons if reason in words]
    if named:
        found.append({"question": "reasons", "value": named, "agent": "gates", "type": "model"})
    scored = [id_ for id_ in (pair.id, *(rival.id for rival in rivals)) if id_ in pool.scores]
    if rivals and len(scored) == 1 + len(rivals):
        names = dict(zip((pair.id, *(rival.id for rival in rivals)), (THIS, *LETTERS), strict=False))
        ranked = sorted(scored, key=lambda id_: (-pool.scores[id_], id_))
        value = [{"value": names[id_], "rank": rank} for rank, id_ in enumerate(ranked, 1)]
        by = agent_name(pool.scorer or "score")
        found.append({"question": "ranking", "value": value, "agent": by, "type": "model"})
    return found


def agent_name(name: str) -> str:
    """A name that Argilla takes for an agent: `score/reward@1` becomes `score/reward v1`."""
    return re.sub(r"[^\w:./\s-]", "-", name.replace("@", " v"), flags=re.ASCII)[:200]


def _gate(by: str) -> str:
    return by.partition("/")[2].partition("@")[0].partition(":")[0]


def escaped(text: str) -> str:
    """A text as HTML within one Markdown block: tags are shown, not made, and a blank line does not end the block."""
    return html.escape(text).replace("\r\n", "\n").replace("\n", "<br>")


def diff(before: str, after: str) -> str:
    """The words of `after`, with what it adds to `before` underlined and what it leaves out struck through."""
    old, new = re.findall(r"\s+|\w+|[^\w\s]", before), re.findall(r"\s+|\w+|[^\w\s]", after)
    parts = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(escaped("".join(new[c:d])))
            continue
        if b > a:
            parts.append(f"<del>{escaped(''.join(old[a:b]))}</del>")
        if d > c:
            parts.append(f"<ins>{escaped(''.join(new[c:d]))}</ins>")
    return f"<div>{''.join(parts)}</div>"


def _findings(findings: Sequence[Verdict]) -> str:
    lines = [f"<li><b>{escaped(v.by)}</b> {escaped(v.reason)}</li>" for v in findings]
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _candidates(rivals: Sequence[Pair], pool: Pool) -> str:
    lines = []
    for letter, rival in zip(LETTERS, rivals, strict=False):
        row = pool.rows.get(rival.id)
        state = "rejected by a gate: " if row and row.passed is False else ""
        lines.append(f"<p><b>{letter}</b> {state}{escaped(rival.enhanced)}</p>")
    return f"<div>{''.join(lines)}</div>" if lines else ""


def _answers(answers: Sequence[Review]) -> str:
    lines = []
    for review in answers:
        reasons = f" ({', '.join(review.reasons)})" if review.reasons else ""
        text = f"<br>{escaped(review.edited)}" if review.decision == "edit" and review.edited else ""
        lines.append(f"<li><b>{escaped(review.reviewer)}</b>: {review.decision}{escaped(reasons)}{text}</li>")
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def guidelines(project: Project, bad: Sequence[tuple[Pair, str]]) -> str:
    """What annotators read first, in Markdown: the task, the keys, good examples (the spec's) and `bad` ones (rows that
    a gate rejected, with its words)."""
    task = project.spec.task
    lines = [
        f"# {escaped(task.name)}",
        "",
        "You see an **input** as a person typed it and an **output** that a model wrote. Say whether the output is "
        "what the house style asks for.",
        "",
        "## The house style",
        "",
        f"<blockquote>{escaped(task.style)}</blockquote>",
        "",
        "## How to answer",
        "",
        "| key | verdict | when |",
        "|---|---|---|",
        "| `1` | Accept | you would be glad to find this output in the training data, as it is |",
        "| `2` | Reject | it is wrong, or mending it would take longer than writing it anew |",
        "| `3` | Accept with my edit | it is good after the change you make in *Corrected output* |",
        "",
        "`Enter` submits and shows the next row. Everything but the verdict may be left as it is. A changed text with "
        "Accept counts as an edit. If you cannot tell, discard the row with `Backspace`.",
        "",
        "Reasons: " + ", ".join(f"`{reason}`" for reason in project.spec.review.reasons) + ".",
    ]
    if project.spec.exemplars:
        lines += ["", "## Good", ""]
        for exemplar in project.spec.exemplars:
            lines += [_example(exemplar.simple, exemplar.enhanced, ""), ""]
    if bad:
        lines += ["", "## Bad", ""]
        for pair, reason in bad:
            lines += [_example(pair.simple, pair.enhanced, reason), ""]
    return "\n".join(lines).rstrip() + "\n"


def _example(simple: str, enhanced: str, reason: str) -> str:
    why = f"<br><i>Why not: {escaped(reason)}</i>" if reason else ""
    return f"<p><b>Input</b> {escaped(simple)}<br><b>Output</b> {escaped(enhanced)}{why}</p>"


def bad_examples(pool: Pool, most: int = 4) -> list[tuple[Pair, str]]:
    """Rows that a gate rejected, one for every gate, in the order of their ids."""
    found: dict[str, tuple[Pair, str]] = {}
    for id_ in sorted(pool.findings):
        for verdict in pool.findings[id_]:
            if verdict.keep is False:
                found.setdefault(verdict.by, (pool.pairs[id_], verdict.reason))
    return [found[by] for by in sorted(found)][:most]
