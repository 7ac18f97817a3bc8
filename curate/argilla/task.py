"""The task as annotators see it in Argilla: fields, questions, metadata, and what one row puts into them.

Argilla's page writes plain text and chat fields into itself as HTML, and custom fields into a frame of its own origin,
so a text with `<img onerror=...>` in it would run as code, signed in as the reader. Only Markdown is sanitised: every
field is Markdown that holds one HTML block, whose texts are escaped. No style is set: a search would find its words.
"""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from curate.argilla import edits, rules
from curate.review.population import Population
from curate.words import ALONE, SIGNS, SPACED
from prompts.answer_form import AnswerForm
from schemas.kinds import KINDS
from schemas.project import Project
from schemas.records import Json, Message, Pair, Verdict
from schemas.reviews import Review, SamplingReason
from schemas.step_names import By

VERDICTS = {"accept": "Accept", "reject": "Reject", "edit": "Edit"}
LETTERS = "ABCDEFGH"  # the other candidates; more are not shown
THIS = "this"
_MAX_EXAMPLES = 4  # of either kind
_SPLIT = re.compile(  # where a script has no blanks, each letter and sign of a vowel
    rf"(\d{{1,3}}(?:[,\uff0c]\d{{3}})+(?!\d)|(?:{SPACED}|[{SIGNS}])+|[\w{ALONE}])"
)
_MAX_GUIDELINES = 9_500  # signs; Argilla takes 10,000, and a queue's mark is a part of them
_TEXT_LIMITS = (10_000, 2_000, 1_000, 500, 250, 100, 0)  # signs of a text; of the house style more
_MAX_COMPARED = 100_000  # pairs of equal words; two texts of 3,000 words have fewer
_SHORT_WORD = 3  # letters; a word of no more says little about where it came from
# Reasons whose labels an estimate or an annotator's accuracy stands on: such a row is judged by itself, so nothing that
# a program found and no other output stands beside it. That also leaves nothing by which to tell gold from the rest.
BLIND_REASONS: tuple[SamplingReason, ...] = ("certify", "audit_accepted", "audit_rejected", "gold")


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
    The correction comes next: in a text a digit does nothing, so a verdict's key that is pressed twice chooses no
    reason. `min_submitted` answers complete a row. Annotators can filter and sort by `length`; the other metadata would
    tell them what the programs think. `length` is no number: in the page's filter for numbers Enter submits the row,
    and Backspace discards it.
    """
    import argilla as rg

    shown = LETTERS[:other_candidates]
    task = project.spec.task
    kind = KINDS[task.kind]
    of = {"input": f" ({task.language})", "output": f" ({task.to})"} if task.to else {"input": "", "output": ""}
    fields = [
        rg.ChatField(name="conversation", title="Earlier turns", required=False, use_markdown=True, _client=client)
        if conversation
        else None,
        _field("simple", kind.input.capitalize() + of["input"], client, required=True),
        _field("enhanced", kind.output.capitalize() + of["output"], client, required=True),
        _field("answers", "What the annotators said; your answer is final", client) if adjudication else None,
        _field("findings", "What the programs found", client),
        _field("rules", "House style", client),
        _field("candidates", "Other outputs for this input", client) if shown else None,
    ]
    hidden = {"visible_for_annotators": False, "client": client}
    return rg.Settings(
        guidelines=guidelines,
        fields=[field for field in fields if field],
        questions=_questions(project, shown, client),
        metadata=[
            rg.TermsMetadataProperty(name="length", title="Length of the output", client=client),
            rg.TermsMetadataProperty(name="chosen_for", title="Chosen for", **hidden),
            rg.TermsMetadataProperty(name="rejected_by", title="Rejected by", **hidden),
            # Named as in the queues that servers already hold.
            rg.TermsMetadataProperty(name="rivals", title="Other outputs, A first", **hidden),
        ],
        distribution=rg.TaskDistribution(min_submitted=min_submitted),
        allow_extra_metadata=False,
    )


def _questions(project: Project, others: str, client: Any) -> list[Any]:
    """What is asked about a row; which output is best, where there are `others`, named by letters."""
    import argilla as rg

    task, form = project.spec.task, AnswerForm.of(project.spec.task, project.folder)
    reasons = {reason: reason.replace("_", " ").capitalize() for reason in project.spec.review.reasons}
    optional = {"required": False, "client": client}
    best = {
        "description": "Only where other outputs are shown.",
        "labels": {THIS: "This one", **{letter: letter for letter in others}},
    }
    return [
        rg.LabelQuestion(
            name="verdict", title=f"Is the {KINDS[task.kind].output} good?", labels=VERDICTS, client=client
        ),
        *edits.questions(form, client),
        rg.MultiLabelQuestion(name="reasons", title="What is wrong with it?", labels=reasons, **optional),
        *([rg.LabelQuestion(name="best", title="Which output is best?", **best, **optional)] if others else []),
    ]


def _field(name: str, title: str, client: Any, *, required: bool = False) -> Any:
    import argilla as rg

    return rg.TextField(name=name, title=title, use_markdown=True, required=required, client=client)


def record(
    project: Project,
    population: Population,
    pair: Pair,
    reasons: Sequence[SamplingReason],
    *,
    messages: Sequence[Message] = (),
    answers: Sequence[Review] = (),
    gold: GoldDisguise | None = None,
    form: AnswerForm | None = None,
) -> Json:
    """One row as the bulk endpoint of Argilla's API takes it, suggestions by the question's name. `external_id` is the
    pair's id. `messages`: the seed's conversation. `answers`: what annotators said, for an adjudicator. `gold`: what a
    gold item shows where it looks like a row for calibration.
    `form`: that of the task, where it is known already.

    The metadata has no score and no rank, which a gold item never has: people can filter by what the page hides."""
    blind = bool(set(reasons) & set(BLIND_REASONS)) and gold is None
    # In the order of their ids, which says nothing of them: people rank what they read.
    others = () if blind else population.other_candidates(pair.id)[: len(LETTERS)]
    other_candidates = gold.others if gold else population.pairs(sorted(others))
    findings = list(gold.findings) if gold else population.findings(pair.id)
    doubts = () if blind else findings
    form = form or AnswerForm.of(project.spec.task, project.folder)
    before, after = render_texts(project, form, pair)
    earlier = [m for m in messages if m.role != "system"]
    if earlier and earlier[-1].content == pair.input:
        del earlier[-1]  # it is the input
    fields: Json = {
        "simple": f"<div>{before}</div>",
        "enhanced": f"<div>{after}</div>",
        "answers": _answers(pair, answers),
        "findings": _findings(doubts),
        "rules": _paragraphs(rules.lines(project, pair, doubts, escaped)),
        "candidates": _candidates(form, list(other_candidates.values())),
        "conversation": [{"role": m.role, "content": f"<div>{escaped(m.content)}</div>"} for m in earlier],
    }
    metadata: Json = {
        "length": _length(pair.output),
        "chosen_for": list(dict.fromkeys(_disguised_reason(reason, gold) for reason in reasons)),
        "rejected_by": [verdict.by for verdict in findings if verdict.keep is False],
        "rivals": list(other_candidates),
    }
    return {
        "external_id": pair.id,
        "fields": {name: value for name, value in fields.items() if value},
        "metadata": {name: value for name, value in metadata.items() if value != []},
        # The text to edit and nothing else. A verdict would be copied, and nothing here knows how likely a row is good.
        # What the page fills in it also submits, so reasons or a ranking would come back as the person's answer.
        "suggestions": [
            {"question": question, "value": text, "agent": "model"}
            for question, text in edits.suggestions(form, pair).items()
        ],
    }


@dataclass(frozen=True)
class GoldDisguise:
    """What a gold item shows that looks like a row for calibration: the gates' verdicts of it that are worth a look,
    and other outputs for its input, by id."""

    findings: Sequence[Verdict]
    others: Mapping[str, Pair]


def _disguised_reason(reason: SamplingReason, gold: GoldDisguise | None) -> str:
    """Not even the hidden metadata tells gold from the rows that it stands among."""
    return reason if reason != "gold" else "fit" if gold else "certify"


def render_texts(project: Project, form: AnswerForm, pair: Pair) -> tuple[str, str]:
    """Input and output as HTML: a record field by field; the difference mark_differences where words are meant to be kept, which
    is where a gate looks for lost content."""
    if (values := edits.by_field(form, pair)) is not None:
        return escaped(pair.input), "".join(f"<p><b>{escaped(k)}</b> {escaped(v)}</p>" for k, v in values.items())
    if project.spec.curate.gates.lost_content:
        return mark_differences(pair.input, pair.output)
    return escaped(pair.input), escaped(pair.output)


def _length(text: str) -> str:
    """As in `030 to 039 words`, so that texts of like length are found together and sort as numbers do."""
    words = len(text.split())
    step = 10 if words < 100 else 100
    least = words // step * step
    return f"{least:03} to {least + step - 1:03} words"


def escaped(text: str) -> str:
    """A text as HTML on one line of a Markdown block: tags are shown, not made, and nothing in it ends the block."""
    return re.sub(r"\r\n?|\n", "<br>", html.escape(text, quote=False))


def displayed_field_text(field: str) -> str:
    """The text of a field as `record` makes it, whatever was mark_differences in it."""
    return html.unescape(re.sub(r"</?(?:div|del|ins|b|p)>", "", field.replace("<br>", "\n"))).strip()


def mark_differences(before: str, after: str) -> tuple[str, str]:
    """Both texts as HTML, complete, with the difference mark_differences: in `before` the words that `after` has nowhere are
    struck through; in `after` the smaller part is mark_differences, what is new (underlined) or what was taken over (bold).

    Taken over are words that stand in the same order in both, and of the others each that is long or holds a digit,
    once for each time that `before` has it: a number that moved is the same number, a second `the` another word. Of a
    script without blanks a letter is taken over together with one beside it: alone it says as little as one of `fox`.
    """
    old, new = _SPLIT.split(before), _SPLIT.split(after)
    was, now = _normalised_words(old), _normalised_words(new)
    gone = [escaped(part) for part in old]
    for at, there in enumerate(_present_in_other(old, was, new, now)):
        gone[2 * at + 1] = _tagged("del", old[2 * at + 1], not there)
    # A long text that goes round and round could be compared for minutes: there order says nothing.
    counts = Counter(was)
    compared = sum(counts[word] for word in now) <= _MAX_COMPARED
    blocks = difflib.SequenceMatcher(None, was, now, autojunk=False).get_matching_blocks() if compared else []
    kept = [any(block.b <= at < block.b + block.size for block in blocks) for at in range(len(now))]
    left = Counter(was) - Counter(word for word, is_kept in zip(now, kept, strict=True) if is_kept)
    for at, there in enumerate(_present_in_other(new, now, old, was)):
        if _is_unspaced_character(now[at]):
            kept[at] = there
        elif not kept[at] and left[now[at]] and (len(now[at]) > _SHORT_WORD or any(sign.isdigit() for sign in now[at])):
            kept[at], left[now[at]] = True, left[now[at]] - 1
    taken = sum(len(word) for word, is_kept in zip(now, kept, strict=True) if is_kept)
    tag, mark = ("b", True) if 2 * taken < sum(map(len, now)) else ("ins", False)
    return "".join(gone).replace("</del><del>", ""), "".join(_render_runs(new, [is_kept is mark for is_kept in kept], tag))


def _normalised_words(parts: Sequence[str]) -> list[str]:
    """The words among what `_SPLIT` parts, with 2,480 and its wide form as 2480."""
    words = (unicodedata.normalize("NFKC", part).casefold() for part in parts[1::2])
    return [word.replace(",", "") if word[0].isdigit() else word for word in words]


def _is_unspaced_character(word: str) -> bool:
    return len(word) == 1 and re.match(SPACED, word) is None


def _present_in_other(parts: Sequence[str], words: Sequence[str], others: Sequence[str], other_words: Sequence[str]) -> list[bool]:
    """Which of the words the other text has; a letter that has neighbours, if it has one of them beside it, too."""
    single, pairs = set(other_words), set(_adjacent_words(others, other_words))
    mine = [None, *_adjacent_words(parts, words), None]
    around = [[pair for pair in mine[at : at + 2] if pair] for at in range(len(words))]
    return [
        any(pair in pairs for pair in near) if near and _is_unspaced_character(word) else word in single
        for word, near in zip(words, around, strict=True)
    ]


def _adjacent_words(parts: Sequence[str], words: Sequence[str]) -> list[tuple[str, str] | None]:
    """Each word with the next one, if nothing stands between them."""
    return [None if parts[2 * at + 2] else pair for at, pair in enumerate(pairwise(words))]


def _render_runs(parts: Sequence[str], marks: Sequence[bool], tag: str) -> Iterator[str]:
    """Words and what stands between them, with one tag around mark_differences neighbours; a sign alone is never mark_differences."""
    at = 0
    while at < len(parts):
        end = at
        if at % 2 and marks[at // 2]:
            while end + 2 < len(parts) and marks[end // 2 + 1] and not parts[end + 1].strip():
                end += 2
            yield _tagged(tag, "".join(parts[at : end + 1]), True)
        else:
            yield escaped(parts[at])
        at = end + 1


def _tagged(tag: str, text: str, mark: bool) -> str:
    return f"<{tag}>{escaped(text)}</{tag}>" if mark and text.strip() else escaped(text)


def _findings(findings: Sequence[Verdict]) -> str:
    lines = []
    for verdict in findings:
        step = By.read(verdict.by).key
        reason = verdict.reason
        words = reason.detail if reason.code == "ok" and reason.detail else str(reason)  # what is flagged is not ok
        lines.append(f"<b>{escaped(step)}</b> {escaped(words)}")
    return _paragraphs(lines)


def _candidates(form: AnswerForm, pairs: Sequence[Pair]) -> str:
    def text(pair: Pair) -> str:
        values = edits.by_field(form, pair)
        return pair.output if values is None else ", ".join(f"{name}: {value}" for name, value in values.items())

    return _paragraphs([f"<b>{letter}</b> {escaped(text(pair))}" for letter, pair in zip(LETTERS, pairs, strict=False)])


def _answers(pair: Pair, answers: Sequence[Review]) -> str:
    """One below the other: who, the verdict, why, and the text of an edit with what it changes."""
    lines = []
    for review in answers:
        why = ", ".join(reason.replace("_", " ") for reason in review.reasons)
        text = f"<br>{mark_differences(pair.output, review.edited)[1]}" if review.edited else ""
        lines.append(f"<b>{escaped(review.who)}</b> {review.decision}{escaped(f' ({why})' if why else '')}{text}")
    return _paragraphs(lines)


def _paragraphs(lines: Sequence[str]) -> str:
    return f"<div>{''.join(f'<p>{line}</p>' for line in lines)}</div>" if lines else ""


# On the server of our own a small script is added to the page (curate/argilla/engine/page.js); another has Argilla's.
_KEYS = {
    True: [
        "Every other choice bears the letter that chooses it: what is wrong with a row, and which output is best. "
        "Letters and numbers mean the same wherever you are on the page. `←` and `→` show other rows, and `Ctrl`+`S` "
        "keeps a draft.",
    ],
    False: [
        "After the verdict, `Shift`+`Enter` starts writing and `Esc` ends it. `↓` goes on to what is wrong, if you "
        "want to say so: there numbers choose. `←` and `→` show other rows, `↑` leads back, `Tab` brings the keys back "
        "after a click elsewhere, and `Ctrl`+`S` keeps a draft.",
    ],
}


def _how_to_edit(project: Project) -> str:
    if project.spec.task.labels:
        return "Choose the right label; that alone is an edit."
    if project.spec.review.url is None:
        fields = " `Tab` goes on to the next field." if project.spec.task.answer_schema else ""
        return f"The key puts you into the text; write, and leave with `Esc`.{fields}"
    return "Correct the text on the right."


def guidelines(project: Project, bad: Sequence[tuple[Pair, str]]) -> str:
    """What annotators read first, in Markdown: the task, the keys, good examples (the spec's) and `bad` ones (rows that
    a gate rejected, with its words). As long as Argilla takes: where texts are long, each of them is cut."""
    for most in _TEXT_LIMITS:
        text = _guidelines(project, bad, most)
        if len(text) <= _MAX_GUIDELINES:
            break
    return text


def _guidelines(project: Project, bad: Sequence[tuple[Pair, str]], most: int) -> str:
    task, kind = project.spec.task, KINDS[project.spec.task.kind]
    marks = [
        "- **Bold** in the output: taken over from the input. Where most of it was taken over, what is new is "
        "<ins>underlined</ins> instead.",
        "- <del>Struck through</del> in the input: a word that the output does not have.",
        "",
    ]
    lines = [
        f"# {task.name}",
        "",
        f"A person wrote the **{kind.input}**, a model the **{kind.output}**: {kind.about}. Is the {kind.output} what "
        "the house style asks for?",
        "",
        f"- `1` **Accept**: you would be glad to see this {kind.output} in the training data, as it is.",
        "- `2` **Reject**: it is wrong, or correcting it would take longer than writing it anew.",
        f"- `3` **Edit**: it is good after the change that you make. {_how_to_edit(project)}",
        "- `Enter` submits and shows the next row. Only the verdict must be given.",
        "- `Backspace` discards the row: you cannot tell.",
        "",
        *_KEYS[project.spec.review.url is None],
        "",
        *(marks if project.spec.curate.gates.lost_content and not task.labels and not task.answer_schema else ()),
        "## The house style",
        "",
        f"<p>{escaped(_cut(task.style.strip(), max(4 * most, 1_000)))}</p>",
    ]
    if project.spec.exemplars:
        lines += ["", "## Good", ""]
        for exemplar in project.spec.exemplars[:_MAX_EXAMPLES]:
            lines += [_example(_cut(exemplar.input, most), _cut(exemplar.output, most), ""), ""]
    if bad:
        lines += ["", "## Bad", ""]
        for pair, reason in bad:
            lines += [_example(_cut(pair.input, most), _cut(pair.output, most), _cut(reason, most)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most].rstrip()} [...]"


def _example(input: str, output: str, reason: str) -> str:
    why = f"<br><i>Why not: {escaped(reason)}</i>" if reason else ""
    return f"<p><b>Input</b> {escaped(input)}<br><b>Output</b> {escaped(output)}{why}</p>"


def bad_examples(population: Population) -> list[tuple[Pair, str]]:
    """Rows that a gate rejected with its reason, one for every gate, by the name of the gate."""
    shown = [(by, population.rejected[by]) for by in sorted(population.rejected)][:_MAX_EXAMPLES]
    pairs = population.pairs(pair_id for _, pair_id in shown)
    reasons = {(v.by, v.pair_id): str(v.reason) for id_ in pairs for v in population.findings(id_) if v.keep is False}
    return [(pairs[pair_id], reasons[by, pair_id]) for by, pair_id in shown]
