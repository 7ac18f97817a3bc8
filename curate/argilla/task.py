"""The task as annotators see it in Argilla: fields, questions, metadata, and what one row puts into them.

Argilla's page writes plain text and chat fields into itself as HTML, and custom fields into a frame of its own origin,
so a text with `<img onerror=...>` in it would run as code, signed in as the reader. Only Markdown is sanitised: every
field is Markdown that holds one HTML block, whose texts are escaped. No style is set: a search would find its words.
"""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Sequence
from typing import Any

from curate.review.population import Population
from schemas.project import Project
from schemas.records import Json, Message, Pair, Verdict
from schemas.reviews import Review, SamplingReason

VERDICTS = {"accept": "Accept", "reject": "Reject", "edit": "Edit"}
LETTERS = "ABCDEFGH"  # the other candidates; more are not shown
THIS = "this"
_EXAMPLES = 4  # of either kind
# Reasons whose labels an estimate or an annotator's accuracy stands on: such a row is judged by itself, so nothing that
# a program found and no other output stands beside it. That also leaves nothing by which to tell gold from the rest.
BLIND: tuple[SamplingReason, ...] = ("certify", "audit_accepted", "audit_rejected", "gold")


def settings(
    project: Project,
    client: Any,
    guidelines: str,
    *,
    other_candidates: int,
    min_submitted: int,
    conversation: bool = False,
    adjudication: bool = False,
) -> Any:
    """`argilla.Settings` of one queue. `other_candidates`: how many an input has at most (at most 8 are shown).

    The verdict comes first and is the only question that must be answered, so a row is one key (1, 2 or 3) and Enter.
    `min_submitted` answers complete a row. Annotators can filter and sort by `length`; the other metadata would tell
    them what the programs think. `length` is no number: in the page's filter for numbers Enter submits the row, and
    Backspace discards it.
    """
    import argilla as rg

    shown = min(other_candidates, len(LETTERS))
    fields = [
        _field("simple", "Input", client, required=True),
        _field("enhanced", "Output", client, required=True),
        _field("answers", "What the annotators said; your answer is final", client) if adjudication else None,
        rg.ChatField(name="conversation", title="Conversation", required=False, use_markdown=True, _client=client)
        if conversation
        else None,
        _field("findings", "What the programs found", client),
        _field("candidates", "Other outputs for this input", client) if shown else None,
    ]
    reasons = {reason: reason.replace("_", " ").capitalize() for reason in project.spec.review.reasons}
    questions = [
        rg.LabelQuestion(name="verdict", title="Is the output good?", labels=VERDICTS, client=client),
        rg.MultiLabelQuestion(
            name="reasons", title="What is wrong with it?", labels=reasons, required=False, client=client
        ),
        rg.TextQuestion(
            name="edited",
            title="Corrected output",
            description="Shift+Enter to write, Esc to stop. A change here with Accept counts as an edit.",
            required=False,
            client=client,
        ),
        rg.RankingQuestion(
            name="ranking",
            title="Which output is best?",
            description="Only where other outputs are shown. A number ranks the output that is marked; ties allowed.",
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
            rg.TermsMetadataProperty(name="length", title="Length of the output", client=client),
            rg.TermsMetadataProperty(name="chosen_for", title="Chosen for", **hidden),
            rg.FloatMetadataProperty(name="score", title="Score", **hidden),
            rg.FloatMetadataProperty(name="percentile", title="Percentile within the input", **hidden),
            rg.FloatMetadataProperty(name="probability", title="Sampling probability", **hidden),
            rg.TermsMetadataProperty(name="rejected_by", title="Rejected by", **hidden),
            # Named as in the queues that servers already hold.
            rg.TermsMetadataProperty(name="rivals", title="Other outputs, A first", **hidden),
        ],
        distribution=rg.TaskDistribution(min_submitted=min_submitted),
        allow_extra_metadata=False,
    )


def _field(name: str, title: str, client: Any, *, required: bool = False) -> Any:
    import argilla as rg

    return rg.TextField(name=name, title=title, use_markdown=True, required=required, client=client)


def record(
    project: Project,
    population: Population,
    pair: Pair,
    reasons: Sequence[SamplingReason],
    probability: float | None,
    *,
    messages: Sequence[Message] = (),
    answers: Sequence[Review] = (),
) -> Json:
    """One row as the bulk endpoint of Argilla's API takes it, suggestions by the question's name. `external_id` is the
    pair's id. `messages`: the seed's conversation. `answers`: what annotators said, for an adjudicator."""
    blind = bool(set(reasons) & set(BLIND))
    # In the order of their ids, which says nothing of them: people rank what they read.
    others = () if blind else population.other_candidates(pair.id)[: len(LETTERS)]
    other_candidates = population.pairs(sorted(others))
    findings = population.findings(pair.id)
    row = population.rows.get(pair.id)
    before, after = marked(pair.input, pair.output)
    fields: Json = {
        "simple": f"<div>{before}</div>",
        "enhanced": f"<div>{after}</div>",
        "answers": _answers(pair, answers),
        "findings": "" if blind else _findings(findings),
        "candidates": _candidates(list(other_candidates.values())),
        "conversation": [{"role": m.role, "content": f"<div>{escaped(m.content)}</div>"} for m in messages],
    }
    metadata: Json = {
        "length": _length(pair.output),
        "chosen_for": list(dict.fromkeys("certify" if reason == "gold" else reason for reason in reasons)),
        "score": population.scores.get(pair.id),
        "percentile": row.percentile if row else None,
        "probability": probability,
        "rejected_by": [verdict.by for verdict in findings if verdict.keep is False],
        "rivals": list(other_candidates),
    }
    return {
        "external_id": pair.id,
        "fields": {name: value for name, value in fields.items() if value},
        "metadata": {name: value for name, value in metadata.items() if value not in (None, [])},
        # The text to edit and nothing else. A verdict would be copied, and nothing here knows how likely a row is good.
        # What the page fills in it also submits, so reasons or a ranking would come back as the person's answer.
        "suggestions": [{"question": "edited", "value": pair.output, "agent": "model", "type": "model"}],
    }


def _length(text: str) -> str:
    """As in `030 to 039 words`, so that texts of like length are found together and sort as numbers do."""
    words = len(text.split())
    step = 10 if words < 100 else 100
    least = words // step * step
    return f"{least:03} to {least + step - 1:03} words"


def escaped(text: str) -> str:
    """A text as HTML on one line of a Markdown block: tags are shown, not made, and nothing in it ends the block."""
    return re.sub(r"\r\n?|\n", "<br>", html.escape(text, quote=False))


def shown_text(field: str) -> str:
    """The text of a field as `record` makes it, whatever was marked in it."""
    return html.unescape(re.sub(r"</?(?:div|del|ins|b)>", "", field.replace("<br>", "\n"))).strip()


def marked(before: str, after: str) -> tuple[str, str]:
    """Both texts as HTML, complete, with the difference marked: in `before` the words that `after` has nowhere are
    struck through; in `after` the smaller part is marked, what is new (underlined) or what was taken over (bold)."""
    words = {word.casefold() for word in re.findall(r"\w+", after)}
    gone = "".join(
        _tagged("del", part, at % 2 == 1 and part.casefold() not in words)
        for at, part in enumerate(re.split(r"(\w+)", before))
    )
    old, new = re.findall(r"\s+|\w+|[^\w\s]", before), re.findall(r"\s+|\w+|[^\w\s]", after)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    parts = [(tag == "equal", "".join(new[c:d])) for tag, _, _, c, d in codes if d > c]
    taken = sum(len(text) for equal, text in parts if equal)
    tag, mark = ("b", True) if 2 * taken < len(after) else ("ins", False)
    return gone, "".join(_tagged(tag, text, equal is mark) for equal, text in parts)


def _tagged(tag: str, text: str, mark: bool) -> str:
    return f"<{tag}>{escaped(text)}</{tag}>" if mark and text.strip() else escaped(text)


def _findings(findings: Sequence[Verdict]) -> str:
    lines = []
    for verdict in findings:
        step = verdict.by.partition("/")[2].partition("@")[0].partition(":")[0]
        lines.append(f"<b>{escaped(step)}</b> {escaped(str(verdict.reason))}")
    return _paragraphs(lines)


def _candidates(pairs: Sequence[Pair]) -> str:
    return _paragraphs(
        [f"<b>{letter}</b> {escaped(pair.output)}" for letter, pair in zip(LETTERS, pairs, strict=False)]
    )


def _answers(pair: Pair, answers: Sequence[Review]) -> str:
    """One below the other: who, the verdict, why, and the text of an edit with what it changes."""
    lines = []
    for review in answers:
        why = ", ".join(reason.replace("_", " ") for reason in review.reasons)
        text = f"<br>{marked(pair.output, review.edited)[1]}" if review.edited else ""
        lines.append(f"<b>{escaped(review.who)}</b> {review.decision}{escaped(f' ({why})' if why else '')}{text}")
    return _paragraphs(lines)


def _paragraphs(lines: Sequence[str]) -> str:
    return f"<div>{''.join(f'<p>{line}</p>' for line in lines)}</div>" if lines else ""


def guidelines(project: Project, bad: Sequence[tuple[Pair, str]]) -> str:
    """What annotators read first, in Markdown: the task, the keys, good examples (the spec's) and `bad` ones (rows that
    a gate rejected, with its words)."""
    task, reasons = project.spec.task, project.spec.review.reasons
    lines = [
        f"# {task.name}",
        "",
        "A person typed the **input**; a model wrote the **output**. Is the output what the house style asks for?",
        "",
        "- `1` **Accept**: you would be glad to see this output in the training data, as it is.",
        "- `2` **Reject**: it is wrong, or correcting it would take longer than writing it anew.",
        "- `3` **Edit**: it is good after the change that you make in *Corrected output*.",
        "- `Enter` submits and shows the next row. Only the verdict must be given.",
        "- `Backspace` discards the row: you cannot tell.",
        "",
        f"After the verdict, `1` to `{len(reasons)}` choose what is wrong, if you want to say so. `↓` and `↑` move "
        "between the questions, `←` and `→` between rows; `Tab` brings the keys back after a click elsewhere.",
        "In *Corrected output*, `Shift`+`Enter` starts writing and `Esc` ends it. `Ctrl`+`S` keeps a draft.",
        "",
        "- **Bold** in the output: taken over from the input. Where most of it was taken over, what is new is "
        "<ins>underlined</ins> instead.",
        "- <del>Struck through</del> in the input: a word that the output does not have.",
        "",
        "## The house style",
        "",
        f"<p>{escaped(task.style.strip())}</p>",
    ]
    if project.spec.exemplars:
        lines += ["", "## Good", ""]
        for exemplar in project.spec.exemplars[:_EXAMPLES]:
            lines += [_example(exemplar.input, exemplar.output, ""), ""]
    if bad:
        lines += ["", "## Bad", ""]
        for pair, reason in bad:
            lines += [_example(pair.input, pair.output, reason), ""]
    return "\n".join(lines).rstrip() + "\n"


def _example(input: str, output: str, reason: str) -> str:
    why = f"<br><i>Why not: {escaped(reason)}</i>" if reason else ""
    return f"<p><b>Input</b> {escaped(input)}<br><b>Output</b> {escaped(output)}{why}</p>"


def bad_examples(population: Population, most: int = _EXAMPLES) -> list[tuple[Pair, str]]:
    """Rows that a gate rejected with its reason, one for every gate, by the name of the gate."""
    shown = [(by, population.rejected[by]) for by in sorted(population.rejected)][:most]
    pairs = population.pairs(pair_id for _, pair_id in shown)
    reasons = {(v.by, v.pair_id): str(v.reason) for id_ in pairs for v in population.findings(id_) if v.keep is False}
    return [(pairs[pair_id], reasons[by, pair_id]) for by, pair_id in shown]
